"""Rules on prices: how likely or how high a rise is, where a price stands, what one costs outside China."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from alerts.rules.limits import (
    Limit,
    Verdict,
    exits_of,
    for_severity,
    judge_falling,
    judge_rising,
    limit_is,
    limit_parts,
)
from alerts.rules.reading import (
    DEFAULT_OPTIONS,
    ChartRef,
    Fact,
    NotEvaluated,
    Reading,
    RuleOptions,
    labels_of_series,
    short_hash,
)
from alerts.rules.words import (
    capitalised,
    evidence_note,
    fitted,
    month_end,
    month_of,
    months_after,
    months_over,
    months_text,
    outcome_words,
    period_end,
    quantile_words,
    unjudged,
)
from alerts.wording import amount, chance, change, day, days, month, percent, period, span
from forecasting.results import (
    MEDIAN,
    QUANTILE_LEVELS,
    ObservedPoint,
    ObservedSeries,
    SeriesForecast,
    Situation,
    quantile,
)


@dataclass(frozen=True, slots=True)
class PriceSpike:
    """A chance, over the limit, that a price stands `rise` (0.25 = 25 %) higher in a month to come.

    It has to stand above that level at least once in the horizon. The rise is counted from the price
    `since_months` before the newest one, so that a price which is already on its way counts what it has
    done; 0 counts from the newest price, and then the chance is the calibrated one where there is one.

    With a `quantile`, what is judged is no chance but a rise: that quantile of the forecast, in the month
    of the horizon where it is highest, over the same base price. Limits are rises then, `rise` is not used.
    """

    type: ClassVar[str] = "price_spike"

    name: str
    series: tuple[str, ...]
    limits: tuple[Limit, ...]
    rise: float = 0.25
    horizon_months: int = 3
    since_months: int = 3
    quantile: float | None = None
    max_age_days: int = 100
    options: RuleOptions = DEFAULT_OPTIONS

    @property
    def version(self) -> str:
        measure = (self.rise,) if self.quantile is None else ("quantile", self.quantile)
        return short_hash(
            self.type,
            *limit_parts(self.limits),
            *measure,
            self.horizon_months,
            self.since_months,
            self.max_age_days,
        )

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a series; a series without a usable forecast says why."""
        return tuple(self._evaluate(subject, situation) for subject in self.series)

    def fingerprint(self, subject: str) -> str:
        measure = "probability" if self.quantile is None else "rise of a quantile"
        return short_hash(self.name, subject, self.horizon_months, "above", measure)

    def _evaluate(self, subject: str, situation: Situation) -> Reading | NotEvaluated:
        forecast = _forecast_of(
            subject, situation, self.horizon_months, self.max_age_days, "a rise over months"
        )
        if isinstance(forecast, str):
            return unjudged(self, subject, forecast)
        base_month = months_after(forecast.cutoff, -self.since_months)
        by_month = {month_of(observed): value for observed, value in forecast.history}
        base = forecast.last_value if self.since_months == 0 else by_month.get(base_month)
        if base is None or base <= 0:
            why = f"{forecast.title}: no price known for {month(base_month)} to count the rise from"
            return unjudged(self, subject, why)
        if self.quantile is None:
            return self._read(forecast, base, base_month, situation)
        return self._read_rise(forecast, base, base_month, self.quantile, situation)

    def _read(
        self, forecast: SeriesForecast, base: float, base_month: date, situation: Situation
    ) -> Reading:
        unit = forecast.unit
        level = base * (1 + self.rise)
        simulated = forecast.probability_above(level, self.horizon_months)
        calibrated = None
        if self.since_months == 0:
            key = (forecast.series, self.rise, self.horizon_months)
            calibrated = situation.rise_chances.get(key)
        probability = simulated if calibrated is None else calibrated
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
        facts = [
            Fact("Chance", in_full),
            Fact("Limit", f"{percent(verdict.limit.enter)} chance{for_severity(verdict)}"),
            Fact(
                "What counts",
                f"a rise of {percent(self.rise)} from {amount(base, unit)} ({month(base_month)})",
            ),
            Fact("Newest price", f"{newest} ({month(forecast.cutoff)})"),
            _range_fact(forecast, last_step),
        ]
        drivers = self._moved(forecast, base, base_month)
        if has_passed:
            drivers.append(
                f"It is already past {amount(level, unit)}, the level that counts as a spike."
            )
        else:
            drivers.append(
                f"It takes another {change(level / forecast.last_value - 1)} to reach "
                f"{amount(level, unit)}."
            )
        evidence = _forecast_evidence(forecast, situation)
        if calibrated is not None:
            evidence.insert(
                0,
                "The chance is calibrated on how often prices rose as much after such chances in the "
                f"past; of the forecast's own paths {chance(simulated)} rise as much.",
            )
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=forecast.series,
            subject_title=forecast.title,
            fingerprint=self.fingerprint(forecast.series),
            input_id=forecast.forecast_id
            if calibrated is None
            else short_hash(forecast.forecast_id, calibrated),
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
            ended=self._ended(forecast, base_month, moved, self.rise),
            holds=verdict.holds,
            ends_on=month_end(forecast.periods[last_step]),
            labels=labels_of_series(self, forecast.series, situation),
            rests_on=(forecast.series,),
            probability=probability,
        )

    def _read_rise(
        self,
        forecast: SeriesForecast,
        base: float,
        base_month: date,
        level: float,
        situation: Situation,
    ) -> Reading:
        unit = forecast.unit
        step, price = _furthest(forecast, level, self.horizon_months, max)
        rise = price / base - 1
        verdict = judge_rising(rise, self.limits)
        when = month(forecast.periods[step])
        outcome = outcome_words(level)
        newest = f"{amount(forecast.last_value, unit)} ({month(forecast.cutoff)})"
        reached = f"{quantile_words(amount(price, unit), level)} in {when}"
        against = f"the price of {month(base_month)}"
        measured = f"{change(rise)} on {against} in the {outcome}"
        over = amount(base * (1 + verdict.limit.enter), unit)
        last_step = self.horizon_months - 1
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=forecast.series,
            subject_title=forecast.title,
            fingerprint=self.fingerprint(forecast.series),
            input_id=forecast.forecast_id,
            value=rise,
            unit="rise",
            limit=verdict.limit.enter,
            severity=verdict.severity,
            is_clear=verdict.is_clear,
            headline=fitted(
                forecast.title,
                f"{change(rise)} by {when} in the {outcome}, at {amount(price, unit)}",
            ),
            facts=(
                Fact(capitalised(outcome), f"{reached}, {change(rise)} on {against}"),
                Fact("Limit", f"{change(verdict.limit.enter)}, {over}{for_severity(verdict)}"),
                Fact("Counted from", f"{amount(base, unit)} ({month(base_month)})"),
                Fact("Newest price", newest),
                _range_fact(forecast, last_step),
            ),
            drivers=tuple(self._moved(forecast, base, base_month)),
            evidence=tuple(_forecast_evidence(forecast, situation)),
            data_through=forecast.cutoff,
            chart=ChartRef("series", forecast.series),
            runbook=self.options.runbook,
            advice=self.options.advice,
            owner=self.options.owner,
            measured=measured,
            standing=f"In the {outcome} the price stands at {reached}, {change(rise)} on {against}; "
            f"{limit_is(verdict)} {change(verdict.limit.enter)}.",
            exits=tuple(
                (severity, f"the rise in the {outcome} falls below {percent(leave)}")
                for severity, leave in exits_of(self.limits)
            ),
            ended=self._ended(
                forecast, base_month, forecast.last_value / base - 1, verdict.limit.enter
            ),
            holds=verdict.holds,
            ends_on=month_end(forecast.periods[last_step]),
            labels=labels_of_series(self, forecast.series, situation),
            rests_on=(forecast.series,),
        )

    def _moved(self, forecast: SeriesForecast, base: float, base_month: date) -> list[str]:
        """What the price has done since the month that the rise is counted from."""
        if self.since_months == 0:
            return []
        moved = forecast.last_value / base - 1
        return [
            f"Between {month(base_month)} and {month(forecast.cutoff)} the price moved "
            f"{change(moved)}, from {amount(base, forecast.unit)} to "
            f"{amount(forecast.last_value, forecast.unit)}."
        ]

    def _ended(
        self, forecast: SeriesForecast, base_month: date, moved: float, counts: float
    ) -> str:
        """An end says that the rise is over; the price itself may still be high."""
        if self.since_months > 0:
            what = "The price no longer rises" if moved < 0 else "The rise is no longer steep"
            rise = (
                f"{what}: {change(moved)} over {months_text(self.since_months)}, since "
                f"{month(base_month)}, where {change(counts)} counts."
            )
        else:
            rise = f"A further rise of {percent(counts)} is no longer likely."
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


@dataclass(frozen=True, slots=True)
class PriceLevel:
    """A price on the wrong side of a limit in its own unit: as it was quoted last, or as it is forecast.

    With `horizon_months` 0 the newest quote is judged (of a day, a month or a year); else a quantile of the
    monthly forecast, in the month of the horizon where it is highest, or lowest when `direction` is "below".
    """

    type: ClassVar[str] = "price_level"

    name: str
    series: tuple[str, ...]
    limits: tuple[Limit, ...]
    direction: str = "above"  # "above" | "below"
    unit: str = ""  # of the limits; empty: the series' own
    horizon_months: int = 0
    quantile: float = 0.5
    max_age_days: int = 100
    options: RuleOptions = DEFAULT_OPTIONS

    @property
    def version(self) -> str:
        ahead = (self.horizon_months, self.quantile) if self.horizon_months else ()
        return short_hash(
            self.type,
            *limit_parts(self.limits),
            self.direction,
            self.unit,
            "ahead",
            *ahead,
            self.max_age_days,
        )

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a series; one in another unit, too old or without a forecast says so."""
        return tuple(self._evaluate(subject, situation) for subject in self.series)

    def fingerprint(self, subject: str) -> str:
        return short_hash(self.name, subject, self.horizon_months, self.direction, "price")

    def _evaluate(self, subject: str, situation: Situation) -> Reading | NotEvaluated:
        if self.horizon_months == 0:
            observed = _recent(subject, situation, self.max_age_days)
            if isinstance(observed, str):
                return unjudged(self, subject, observed)
            if why := self._other_unit(observed.title, observed.unit):
                return unjudged(self, subject, why)
            return self._read_newest(observed, situation)
        forecast = _forecast_of(
            subject, situation, self.horizon_months, self.max_age_days, "a price months ahead"
        )
        if isinstance(forecast, str):
            return unjudged(self, subject, forecast)
        if why := self._other_unit(forecast.title, forecast.unit):
            return unjudged(self, subject, why)
        return self._read_ahead(forecast, situation)

    def _other_unit(self, title: str, unit: str) -> str:
        """Why the limits can't be held against prices in this unit; empty when they can."""
        if self.unit in ("", unit):
            return ""
        return f"{title}: its prices are in {unit}, the rule's limits in {self.unit}"

    def _judge(self, value: float) -> Verdict:
        judge = judge_falling if self.direction == "below" else judge_rising
        return judge(value, self.limits)

    def _read_newest(self, observed: ObservedSeries, situation: Situation) -> Reading:
        newest = observed.points[-1]
        unit, value = observed.unit, newest.value
        verdict = self._judge(value)
        when = period(newest.period, observed.frequency)
        said = f"{amount(value, unit)} in {when}"
        if observed.frequency == "day":
            said = f"{amount(value, unit)} on {when}"
        facts = [
            Fact("Newest price", f"{amount(value, unit)} ({when})"),
            self._limit_fact(verdict, unit),
            Fact("Known from", day(newest.known_at)),
        ]
        drivers = []
        if len(observed.points) > 1:
            before = observed.points[-2]
            moved = f", {change(value / before.value - 1)}" if before.value > 0 else ""
            drivers.append(
                f"The price before was {amount(before.value, unit)} "
                f"({period(before.period, observed.frequency)}){moved}."
            )
        return self._reading(
            subject=observed.series,
            title=observed.title,
            unit=unit,
            value=value,
            verdict=verdict,
            input_id=_points_id((newest,)),
            finding=f"{said}, {self._compared(verdict, unit)}",
            facts=tuple(facts),
            drivers=tuple(drivers),
            evidence=(f"{capitalised(evidence_note((newest,)))} ({newest.source_id}).",),
            data_through=newest.period,
            measured=said,
            standing=f"The newest price is {said}",
            where="the price",
            ends_on=None,
            situation=situation,
        )

    def _read_ahead(self, forecast: SeriesForecast, situation: Situation) -> Reading:
        unit, level = forecast.unit, self.quantile
        step, value = _furthest(
            forecast, level, self.horizon_months, min if self.direction == "below" else max
        )
        verdict = self._judge(value)
        when = month(forecast.periods[step])
        outcome = outcome_words(level)
        said = f"{quantile_words(amount(value, unit), level)} in {when}, {outcome}"
        return self._reading(
            subject=forecast.series,
            title=forecast.title,
            unit=unit,
            value=value,
            verdict=verdict,
            input_id=forecast.forecast_id,
            finding=f"{quantile_words(amount(value, unit), level)} forecast for {when}, "
            f"{self._compared(verdict, unit)}",
            facts=(
                Fact(
                    capitalised(outcome), f"{quantile_words(amount(value, unit), level)} ({when})"
                ),
                self._limit_fact(verdict, unit),
                Fact(
                    "Newest price",
                    f"{amount(forecast.last_value, unit)} ({month(forecast.cutoff)})",
                ),
                _range_fact(forecast, step),
            ),
            drivers=(),
            evidence=tuple(_forecast_evidence(forecast, situation)),
            data_through=forecast.cutoff,
            measured=said,
            standing=f"The forecast for {when} is {quantile_words(amount(value, unit), level)} "
            f"in the {outcome}",
            where=f"the forecast price ({outcome})",
            ends_on=month_end(forecast.periods[self.horizon_months - 1]),
            situation=situation,
        )

    def _compared(self, verdict: Verdict, unit: str) -> str:
        limit = amount(verdict.limit.enter, unit)
        if verdict.severity is None:
            return f"limit {limit}"
        side = "at or below" if self.direction == "below" else "at or above"
        return f"{side} the limit of {limit}"

    def _limit_fact(self, verdict: Verdict, unit: str) -> Fact:
        side = "less" if self.direction == "below" else "more"
        return Fact(
            "Limit", f"{amount(verdict.limit.enter, unit)} or {side}{for_severity(verdict)}"
        )

    def _reading(
        self,
        *,
        subject: str,
        title: str,
        unit: str,
        value: float,
        verdict: Verdict,
        input_id: str,
        finding: str,
        facts: tuple[Fact, ...],
        drivers: tuple[str, ...],
        evidence: tuple[str, ...],
        data_through: date,
        measured: str,
        standing: str,
        where: str,
        ends_on: date | None,
        situation: Situation,
    ) -> Reading:
        is_falling = self.direction == "below"
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=subject,
            subject_title=title,
            fingerprint=self.fingerprint(subject),
            input_id=input_id,
            value=value,
            unit=unit,
            limit=verdict.limit.enter,
            severity=verdict.severity,
            is_clear=verdict.is_clear,
            headline=fitted(title, finding),
            facts=facts,
            drivers=drivers,
            evidence=evidence,
            data_through=data_through,
            chart=ChartRef("series", subject),
            runbook=self.options.runbook,
            advice=self.options.advice,
            owner=self.options.owner,
            measured=measured,
            standing=f"{standing}; {limit_is(verdict)} {amount(verdict.limit.enter, unit)}.",
            exits=tuple(
                (
                    severity,
                    f"{where} {'rises above' if is_falling else 'falls below'} {amount(leave, unit)}",
                )
                for severity, leave in exits_of(self.limits, is_falling=is_falling)
            ),
            direction=self.direction,
            holds=verdict.holds,
            ends_on=ends_on,
            labels=labels_of_series(self, subject, situation),
            rests_on=(subject,),
        )


@dataclass(frozen=True, slots=True)
class Premium:
    """What a material costs outside China over its price in China, as a share: 0.5 is half as much again.

    Judged at the newest period that both prices know.
    """

    type: ClassVar[str] = "premium"

    name: str
    series: tuple[str, ...]  # prices outside China
    against: str  # China's price of the same material
    limits: tuple[Limit, ...]
    max_age_days: int = 100
    options: RuleOptions = DEFAULT_OPTIONS

    @property
    def version(self) -> str:
        return short_hash(self.type, *limit_parts(self.limits), self.against, self.max_age_days)

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a price outside China; prices that can't be compared say why."""
        return tuple(self._evaluate(subject, situation) for subject in self.series)

    def fingerprint(self, subject: str) -> str:
        return short_hash(self.name, f"{subject}/{self.against}", "observed", "above", "premium")

    def _evaluate(self, subject: str, situation: Situation) -> Reading | NotEvaluated:
        found = []
        for name in (subject, self.against):
            observed = situation.observed.get(name)
            if observed is None or not observed.points:
                return unjudged(self, subject, f"{name}: no figures are known")
            found.append(observed)
        outside, china = found
        for what, theirs, its in (
            ("in", outside.unit, china.unit),
            ("by", outside.frequency, china.frequency),
        ):
            if theirs != its:
                why = f"{outside.title} is {what} {theirs}, {china.title} {what} {its}: no premium"
                return unjudged(self, subject, why)
        inside = {point.period: point for point in china.points}
        common = [point for point in outside.points if point.period in inside]
        if not common:
            why = f"{outside.title}: no {outside.frequency} is known of it and of {china.title}"
            return unjudged(self, subject, why)
        abroad = common[-1]
        home = inside[abroad.period]
        when = period(abroad.period, outside.frequency)
        age = (situation.known_at.date() - period_end(abroad.period, outside.frequency)).days
        if age > self.max_age_days:
            why = (
                f"{outside.title}: the newest {outside.frequency} that both prices know is {when}, "
                f"{days(age)} old; the rule judges up to {days(self.max_age_days)}"
            )
            return unjudged(self, subject, why)
        if home.value <= 0:
            why = f"{china.title}: {amount(home.value, china.unit)} in {when}; a price above 0 is needed"
            return unjudged(self, subject, why)
        return self._read(outside, china, abroad, home, situation)

    def _read(
        self,
        outside: ObservedSeries,
        china: ObservedSeries,
        abroad: ObservedPoint,
        home: ObservedPoint,
        situation: Situation,
    ) -> Reading:
        unit = outside.unit
        # A difference of two prices is off in its last digits: a limit met exactly must count as met.
        premium = round(abroad.value / home.value - 1, 12)
        verdict = judge_rising(premium, self.limits)
        when = period(abroad.period, outside.frequency)
        measured = f"{change(premium)} on China's price"
        prices = f"{amount(abroad.value, unit)} against {amount(home.value, unit)} in China"
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=outside.series,
            subject_title=outside.title,
            fingerprint=self.fingerprint(outside.series),
            input_id=_points_id((abroad, home)),
            value=premium,
            unit="on China's price",
            limit=verdict.limit.enter,
            severity=verdict.severity,
            is_clear=verdict.is_clear,
            headline=fitted(outside.title, f"{measured} in {when}"),
            facts=(
                Fact("Premium", f"{measured} ({when})"),
                Fact("Outside China", f"{amount(abroad.value, unit)} ({when})"),
                Fact("In China", f"{amount(home.value, unit)} ({when}; {china.title})"),
                Fact("Limit", f"{change(verdict.limit.enter)}{for_severity(verdict)}"),
                Fact("Confidence", evidence_note((abroad, home), "prices")),
            ),
            drivers=_premium_before(outside, china, abroad),
            evidence=(
                f"Outside China: {abroad.source_id}, known from {day(abroad.known_at)}. "
                f"In China: {home.source_id}, known from {day(home.known_at)}.",
            ),
            data_through=abroad.period,
            chart=ChartRef("series", outside.series),
            runbook=self.options.runbook,
            advice=self.options.advice,
            owner=self.options.owner,
            measured=measured,
            standing=f"In {when} it costs {prices}, {change(premium)}; "
            f"{limit_is(verdict)} {change(verdict.limit.enter)}.",
            exits=tuple(
                (severity, f"the premium falls below {percent(leave)}")
                for severity, leave in exits_of(self.limits)
            ),
            ended="The premium has come down; both prices may still be high.",
            holds=verdict.holds,
            labels=labels_of_series(self, outside.series, situation),
            rests_on=(outside.series, china.series),
        )


def _forecast_of(
    subject: str, situation: Situation, horizon_months: int, max_age_days: int, what: str
) -> SeriesForecast | str:
    """The monthly forecast of a series, long and new enough, and not over; else why there is none to judge."""
    forecast = situation.forecasts.get(subject)
    if forecast is None:
        why = situation.refusals.get(subject, "no forecast was made")
        return f"{subject}: {why}"
    if forecast.frequency != "month":
        return f"{forecast.title}: a {forecast.frequency}ly series can't show {what}"
    age = (situation.known_at.date() - month_end(forecast.cutoff)).days
    if age > max_age_days:
        return (
            f"{forecast.title}: newest price is for {month(forecast.cutoff)}, "
            f"{days(age)} old; the rule judges up to {days(max_age_days)}"
        )
    if horizon_months > len(forecast.periods):
        asked = months_text(horizon_months)
        return f"{forecast.title}: {asked} asked, {len(forecast.periods)} forecast"
    ends_on = month_end(forecast.periods[horizon_months - 1])
    return months_over(forecast.title, ends_on, situation.known_at) or forecast


def _recent(subject: str, situation: Situation, max_age_days: int) -> ObservedSeries | str:
    """A series whose newest figure is new enough; else why it can't be judged."""
    observed = situation.observed.get(subject)
    if observed is None or not observed.points:
        return f"{subject}: no figures are known"
    newest = observed.points[-1].period
    age = (situation.known_at.date() - period_end(newest, observed.frequency)).days
    if age > max_age_days:
        return (
            f"{observed.title}: newest price is for {period(newest, observed.frequency)}, "
            f"{days(age)} old; the rule judges up to {days(max_age_days)}"
        )
    return observed


def _furthest(
    forecast: SeriesForecast, level: float, steps: int, choose: Callable[..., int]
) -> tuple[int, float]:
    """The step, among the first ones, where a quantile is highest or lowest (`choose`), and its value."""
    values = [_quantile_at(forecast, step, level) for step in range(steps)]
    step = choose(range(steps), key=values.__getitem__)
    return step, values[step]


def _quantile_at(forecast: SeriesForecast, step: int, level: float) -> float:
    """One quantile of one step; those that no forecast carries come from its paths."""
    if level in QUANTILE_LEVELS:
        return forecast.quantiles[step][QUANTILE_LEVELS.index(level)]
    return quantile(tuple(sorted(path[step] for path in forecast.paths)), level)


def _range_fact(forecast: SeriesForecast, step: int) -> Fact:
    low, median, high = (forecast.quantiles[step][i] for i in (1, MEDIAN, -2))
    return Fact(
        f"80 % range for {month(forecast.periods[step])}",
        f"{span(low, high, forecast.unit)}, middle {amount(median, forecast.unit)}",
    )


def _forecast_evidence(forecast: SeriesForecast, situation: Situation) -> list[str]:
    """Why this model speaks, how sure the newest prices are, and how many there are."""
    evidence = [forecast.reason]
    observed = situation.observed.get(forecast.series)
    if observed is not None and observed.points:
        recent = observed.points[-12:]
        note = evidence_note(recent)
        evidence.append(f"Of the newest prices, {note}." if len(recent) > 1 else capitalised(note))
    evidence.append(
        f"{forecast.observations:,} observations, the newest known from {day(forecast.vintage)}."
    )
    return evidence


def _premium_before(
    outside: ObservedSeries, china: ObservedSeries, newest: ObservedPoint
) -> tuple[str, ...]:
    """The premium of the common period before, where there is one."""
    inside = {point.period: point for point in china.points}
    before = [
        point
        for point in outside.points
        if point.period < newest.period
        and point.period in inside
        and inside[point.period].value > 0
    ]
    if not before:
        return ()
    point = before[-1]
    premium = point.value / inside[point.period].value - 1
    return (f"In {period(point.period, outside.frequency)} it was {change(premium)}.",)


def _points_id(points: tuple[ObservedPoint, ...]) -> str:
    """Changes with every figure that the answer rests on, and with nothing else."""
    return short_hash(*(p for x in points for p in (x.period, x.value, x.known_at, x.confidence)))
