"""Rules on prices: how likely a rise is."""

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from alerts.rules.limits import Limit, exits_of, for_severity, judge_rising, limit_is, limit_parts
from alerts.rules.reading import (
    DEFAULT_OPTIONS,
    ChartRef,
    Fact,
    NotEvaluated,
    Reading,
    RuleOptions,
    short_hash,
)
from alerts.rules.words import (
    capitalised,
    evidence_note,
    fitted,
    month_end,
    month_of,
    months_after,
    months_text,
    unjudged,
)
from alerts.wording import amount, chance, change, day, days, month, percent, span
from forecasting.results import MEDIAN, SeriesForecast, Situation


@dataclass(frozen=True, slots=True)
class PriceSpike:
    """A chance, over the limit, that a price stands `rise` (0.25 = 25 %) higher in a month to come.

    It has to stand above that level at least once in the horizon. The rise is counted from the price
    `since_months` before the newest one, so that a price which is already on its way counts what it has
    done; 0 counts from the newest price.
    """

    type: ClassVar[str] = "price_spike"

    name: str
    series: tuple[str, ...]
    limits: tuple[Limit, ...]
    rise: float = 0.25
    horizon_months: int = 3
    since_months: int = 3
    max_age_days: int = 100
    options: RuleOptions = DEFAULT_OPTIONS

    @property
    def version(self) -> str:
        return short_hash(
            self.type,
            *limit_parts(self.limits),
            self.rise,
            self.horizon_months,
            self.since_months,
            self.max_age_days,
        )

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a series; a series without a usable forecast says why."""
        return tuple(self._evaluate(subject, situation) for subject in self.series)

    def fingerprint(self, subject: str) -> str:
        return short_hash(self.name, subject, self.horizon_months, "above", "probability")

    def _evaluate(self, subject: str, situation: Situation) -> Reading | NotEvaluated:
        forecast = situation.forecasts.get(subject)
        if forecast is None:
            why = situation.refusals.get(subject, "no forecast was made")
            return unjudged(self, subject, f"{subject}: {why}")
        if forecast.frequency != "month":
            why = f"{forecast.title}: a {forecast.frequency}ly series can't show a rise over months"
            return unjudged(self, subject, why)
        age = (situation.known_at.date() - month_end(forecast.cutoff)).days
        if age > self.max_age_days:
            why = (
                f"{forecast.title}: newest price is for {month(forecast.cutoff)}, "
                f"{days(age)} old; the rule judges up to {days(self.max_age_days)}"
            )
            return unjudged(self, subject, why)
        if self.horizon_months > len(forecast.periods):
            why = (
                f"{forecast.title}: {self.horizon_months} months asked, "
                f"{len(forecast.periods)} forecast"
            )
            return unjudged(self, subject, why)
        base_month = months_after(forecast.cutoff, -self.since_months)
        by_month = {month_of(observed): value for observed, value in forecast.history}
        base = forecast.last_value if self.since_months == 0 else by_month.get(base_month)
        if base is None or base <= 0:
            why = f"{forecast.title}: no price known for {month(base_month)} to count the rise from"
            return unjudged(self, subject, why)
        return self._read(forecast, base, base_month, situation)

    def _read(
        self, forecast: SeriesForecast, base: float, base_month: date, situation: Situation
    ) -> Reading:
        unit = forecast.unit
        level = base * (1 + self.rise)
        probability = forecast.probability_above(level, self.horizon_months)
        verdict = judge_rising(probability, self.limits)
        last_step = self.horizon_months - 1
        until = month(forecast.periods[last_step])
        moved = forecast.last_value / base - 1
        newest = amount(forecast.last_value, unit)
        has_passed = forecast.last_value > level
        if has_passed:
            # What has happened is no chance any more; the chance is that it lasts.
            finding = f"up {percent(moved)} since {month(base_month)}, at {newest} in {month(forecast.cutoff)}"
            event = f"that it is still above {amount(level, unit)} in a coming month"
            measured = f"{chance(probability)} for a price still above {amount(level, unit)}"
            in_full = f"{chance(probability)} {event}, up to {until}"
        else:
            event = f"of a price above {amount(level, unit)} by {until}"
            measured = f"{chance(probability)} for a price above {amount(level, unit)} by {until}"
            in_full = measured
            finding = f"{chance(probability)} chance {event} (now {newest})"
        low, median, high = (forecast.quantiles[last_step][i] for i in (1, MEDIAN, -2))
        facts = [
            Fact("Chance", in_full),
            Fact("Limit", f"{percent(verdict.limit.enter)} chance{for_severity(verdict)}"),
            Fact(
                "What counts",
                f"a rise of {percent(self.rise)} from {amount(base, unit)} ({month(base_month)})",
            ),
            Fact("Newest price", f"{newest} ({month(forecast.cutoff)})"),
            Fact(
                f"80 % range for {until}",
                f"{span(low, high, unit)}, middle {amount(median, unit)}",
            ),
        ]
        drivers = []
        if self.since_months > 0:
            drivers.append(
                f"Between {month(base_month)} and {month(forecast.cutoff)} the price moved "
                f"{change(moved)}, from {amount(base, unit)} to {newest}."
            )
        if has_passed:
            drivers.append(
                f"It is already past {amount(level, unit)}, the level that counts as a spike."
            )
        else:
            drivers.append(
                f"It takes another {change(level / forecast.last_value - 1)} to reach "
                f"{amount(level, unit)}."
            )
        evidence = [forecast.reason]
        observed = situation.observed.get(forecast.series)
        if observed is not None and observed.points:
            recent = observed.points[-12:]
            note = evidence_note(recent)
            evidence.append(
                f"Of the newest prices, {note}." if len(recent) > 1 else capitalised(note)
            )
        evidence.append(
            f"{forecast.observations:,} observations, the newest known from {day(forecast.vintage)}."
        )
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=forecast.series,
            subject_title=forecast.title,
            fingerprint=self.fingerprint(forecast.series),
            input_id=forecast.forecast_id,
            value=probability,
            unit="chance",
            limit=verdict.limit.enter,
            severity=verdict.severity,
            is_clear=verdict.is_clear,
            headline=fitted(forecast.title, finding),
            facts=tuple(facts),
            drivers=tuple(drivers),
            evidence=tuple(evidence),
            data_through=forecast.cutoff,
            chart=ChartRef("series", forecast.series),
            runbook=self.options.runbook,
            advice=self.options.advice,
            owner=self.options.owner,
            measured=measured,
            standing=f"The chance {event} is {chance(probability)}; {limit_is(verdict)} "
            f"{percent(verdict.limit.enter)}.",
            exits=tuple(
                (severity, f"the chance falls below {percent(leave)}")
                for severity, leave in exits_of(self.limits)
            ),
            ended=self._ended(forecast, base_month, moved),
            holds=verdict.holds,
        )

    def _ended(self, forecast: SeriesForecast, base_month: date, moved: float) -> str:
        """An end says that the rise is over; the price itself may still be high."""
        if self.since_months > 0:
            what = "The price no longer rises" if moved < 0 else "The rise is no longer steep"
            rise = (
                f"{what}: {change(moved)} over {months_text(self.since_months)}, since "
                f"{month(base_month)}, where {change(self.rise)} counts."
            )
        else:
            rise = f"A further rise of {percent(self.rise)} is no longer likely."
        by_month = {month_of(observed): value for observed, value in forecast.history}
        year_before = by_month.get(months_after(forecast.cutoff, -12))
        if year_before is not None and year_before > 0:
            gap = percent(abs(forecast.last_value / year_before - 1))
            side = "above" if forecast.last_value >= year_before else "below"
            against = f", {gap} {side} the price a year before"
        else:
            against = ", which may still be high"
        price = amount(forecast.last_value, forecast.unit)
        return f"{rise} The price itself stands at {price} ({month(forecast.cutoff)}){against}."
