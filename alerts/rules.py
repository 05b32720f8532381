"""Rules: what counts as news, judged on plain values; each answers with a reading or says why it can't."""

import enum
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Any, ClassVar, Protocol, Self

from alerts.wording import (
    amount,
    chance,
    change,
    day,
    days,
    listing,
    month,
    months_between,
    percent,
    percent_span,
    period,
    shortened,
    span,
)
from forecasting.results import (
    MEDIAN,
    MarketProjection,
    ObservedPoint,
    ObservedSeries,
    SeriesForecast,
    Situation,
    SourceState,
    quantile,
)

HEADLINE_LIMIT = 120  # what a phone's notification shows


class Severity(enum.IntEnum):
    """How loudly to say it. Comparable: a higher one is more urgent."""

    INFO = 1
    WARNING = 2
    CRITICAL = 3


@dataclass(frozen=True, slots=True)
class Fact:
    """One number with its unit, as a reader sees it."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class ChartRef:
    """Which picture belongs to a reading; drawn elsewhere."""

    kind: str  # "series" | "market" | "volume" | "scorecard"
    subject: str
    scenario: str = ""
    # Of a volume: the mean that its limit is a share of; of a scorecard: the newest cutoffs that were judged.
    level: float = 0.0


@dataclass(frozen=True, slots=True)
class RuleOptions:
    """What the life of an incident needs to know about its rule; nothing here changes the measure."""

    for_evaluations: int = 1  # crossings in a row before it opens; a critical one doesn't wait
    clear_evaluations: int = 1  # clear readings in a row before it ends
    cooldown: timedelta = timedelta(days=14)  # a return within this re-opens the same incident
    route: str = "buyers"
    owner: str = ""
    runbook: str = ""  # a web address with what to do, or empty
    advice: str = ""  # one or two sentences for the reader: what to do with it


@dataclass(frozen=True, slots=True)
class Reading:
    """What one rule measured on one subject, with everything that a message needs to explain it.

    `value` and `limit` share `unit`; shares and probabilities are 0–1.
    """

    rule: str
    rule_version: str
    type: str
    route: str
    subject: str
    subject_title: str
    fingerprint: str
    input_id: str  # what was evaluated; equal input and rule version is the same evaluation
    value: float
    unit: str
    limit: float  # the enter limit that decided, or the lowest one when none is crossed
    severity: Severity | None  # highest severity whose enter limit is crossed
    is_clear: bool  # beyond the exit limit: may recover
    headline: str
    facts: tuple[Fact, ...] = ()
    drivers: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    data_through: date | None = None
    chart: ChartRef | None = None
    runbook: str = ""
    advice: str = ""
    owner: str = ""  # who looks after the rule
    measured: str = ""  # the measure with what it is measured against: "52 % of the 12-month mean"
    standing: str = ""  # one sentence: the measure and its limit, in the rule's own words
    # What has to happen before each severity is given up: "the chance falls below 60 %".
    exits: tuple[tuple[Severity, str], ...] = ()
    ended: str = ""  # sentences for the end: what a reader must not take it for
    direction: str = "above"  # the side of the limit that is bad news: "above" | "below"
    # Highest severity whose exit limit is not passed yet. None while not clear: keep what it was.
    holds: Severity | None = None

    def as_dict(self) -> dict[str, Any]:
        """A plain dictionary that JSON can hold; `from_dict` reverses it."""
        return {
            "rule": self.rule,
            "rule_version": self.rule_version,
            "type": self.type,
            "route": self.route,
            "subject": self.subject,
            "subject_title": self.subject_title,
            "fingerprint": self.fingerprint,
            "input_id": self.input_id,
            "value": self.value,
            "unit": self.unit,
            "limit": self.limit,
            "severity": self.severity.name if self.severity else None,
            "is_clear": self.is_clear,
            "headline": self.headline,
            "facts": [[fact.label, fact.value] for fact in self.facts],
            "drivers": list(self.drivers),
            "evidence": list(self.evidence),
            "data_through": self.data_through.isoformat() if self.data_through else None,
            "chart": [self.chart.kind, self.chart.subject, self.chart.scenario, self.chart.level]
            if self.chart
            else None,
            "runbook": self.runbook,
            "advice": self.advice,
            "owner": self.owner,
            "measured": self.measured,
            "standing": self.standing,
            "exits": [[severity.name, words] for severity, words in self.exits],
            "ended": self.ended,
            "direction": self.direction,
            "holds": self.holds.name if self.holds else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The reading that `as_dict` described; words that it no longer has are left out."""
        known = {field.name for field in fields(cls)}
        return cls(
            **{
                **{name: value for name, value in data.items() if name in known},
                "severity": Severity[data["severity"]] if data["severity"] else None,
                "facts": tuple(Fact(label, value) for label, value in data["facts"]),
                "drivers": tuple(data["drivers"]),
                "evidence": tuple(data["evidence"]),
                "data_through": date.fromisoformat(data["data_through"])
                if data["data_through"]
                else None,
                "chart": ChartRef(*data["chart"]) if data["chart"] else None,
                "exits": tuple((Severity[name], words) for name, words in data.get("exits", ())),
                "holds": Severity[data["holds"]] if data["holds"] else None,
            }
        )


@dataclass(frozen=True, slots=True)
class NotEvaluated:
    """A rule could not judge a subject, and why: the last state is kept."""

    rule: str
    rule_version: str
    type: str
    subject: str
    fingerprint: str
    why: str


class Rule(Protocol):
    """A limit that someone asked for: plain values in, one answer a subject out."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def version(self) -> str:
        """Changes when, and only when, the judgement may change: limits, horizon, subjects' measure."""
        ...

    @property
    def options(self) -> RuleOptions: ...
    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]: ...


def short_hash(*parts: object) -> str:
    """Sixteen hex digits that stay the same for the same parts, on every machine."""
    text = json.dumps([str(part) for part in parts], ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Limit:
    """Where a severity begins and where it may end; the gap between keeps it from flapping."""

    severity: Severity
    enter: float
    exit: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """One measure against limits: what it crosses, what it still holds, and the limit to show."""

    severity: Severity | None
    holds: Severity | None
    limit: Limit

    @property
    def is_clear(self) -> bool:
        return self.holds is None


def judge_rising(value: float, limits: Sequence[Limit]) -> Verdict:
    """A measure that is bad when it rises: crossed at its enter limit, clear only below its exit limit."""
    ordered = sorted(limits, key=lambda limit: limit.severity, reverse=True)
    crossed = next((limit for limit in ordered if value >= limit.enter), None)
    held = next((limit for limit in ordered if value >= limit.exit), None)
    return Verdict(
        severity=crossed.severity if crossed else None,
        holds=held.severity if held else None,
        limit=crossed or ordered[-1],
    )


_WEAK = {"low", "background"}


def evidence_note(used: Sequence[ObservedPoint], noun: str = "months") -> str:
    """How many of the figures are weak: "5 of 11 months rest on low-confidence figures"."""
    weak = sum(1 for point in used if point.confidence in _WEAK)
    if len(used) == 1:
        return f"this figure is {'of low confidence' if weak else 'not of low confidence'}"
    if not weak:
        return f"none of the {len(used)} {noun} rests on low-confidence figures"
    verb = "rests" if weak == 1 else "rest"
    return f"{weak} of {len(used)} {noun} {verb} on low-confidence figures"


def fitted(title: str, finding: str, limit: int = HEADLINE_LIMIT) -> str:
    """Title and finding as one headline; when both don't fit, the title gives way, never the number."""
    room = limit - len(finding) - 2
    if len(title) > room:
        title = title.partition(" (")[0]
    if len(title) <= room:
        return f"{title}: {finding}"
    return f"{shortened(title, max(room, 12))}: {shortened(finding, limit - 14)}"


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
    options: RuleOptions = RuleOptions()

    @property
    def version(self) -> str:
        return short_hash(
            self.type,
            *_limit_parts(self.limits),
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
            return _unjudged(self, subject, f"{subject}: {why}")
        if forecast.frequency != "month":
            why = f"{forecast.title}: a {forecast.frequency}ly series can't show a rise over months"
            return _unjudged(self, subject, why)
        age = (situation.known_at.date() - _month_end(forecast.cutoff)).days
        if age > self.max_age_days:
            why = (
                f"{forecast.title}: newest price is for {month(forecast.cutoff)}, "
                f"{days(age)} old; the rule judges up to {days(self.max_age_days)}"
            )
            return _unjudged(self, subject, why)
        if self.horizon_months > len(forecast.periods):
            why = (
                f"{forecast.title}: {self.horizon_months} months asked, "
                f"{len(forecast.periods)} forecast"
            )
            return _unjudged(self, subject, why)
        base_month = _months_after(forecast.cutoff, -self.since_months)
        by_month = {_first(observed): value for observed, value in forecast.history}
        base = forecast.last_value if self.since_months == 0 else by_month.get(base_month)
        if base is None or base <= 0:
            why = f"{forecast.title}: no price known for {month(base_month)} to count the rise from"
            return _unjudged(self, subject, why)
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
            Fact("Limit", f"{percent(verdict.limit.enter)} chance{_for_severity(verdict)}"),
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
            evidence.append(f"Of the newest prices, {note}." if len(recent) > 1 else _cap(note))
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
            standing=f"The chance {event} is {chance(probability)}; {_limit_is(verdict)} "
            f"{percent(verdict.limit.enter)}.",
            exits=tuple(
                (severity, f"the chance falls below {percent(leave)}")
                for severity, leave in _exits(self.limits)
            ),
            ended=self._ended(forecast, base_month, moved),
            holds=verdict.holds,
        )

    def _ended(self, forecast: SeriesForecast, base_month: date, moved: float) -> str:
        """An end says that the rise is over; the price itself may still be high."""
        if self.since_months > 0:
            what = "The price no longer rises" if moved < 0 else "The rise is no longer steep"
            rise = (
                f"{what}: {change(moved)} over {_months(self.since_months)}, since "
                f"{month(base_month)}, where {change(self.rise)} counts."
            )
        else:
            rise = f"A further rise of {percent(self.rise)} is no longer likely."
        by_month = {_first(observed): value for observed, value in forecast.history}
        year_before = by_month.get(_months_after(forecast.cutoff, -12))
        if year_before is not None and year_before > 0:
            gap = percent(abs(forecast.last_value / year_before - 1))
            side = "above" if forecast.last_value >= year_before else "below"
            against = f", {gap} {side} the price a year before"
        else:
            against = ", which may still be high"
        price = amount(forecast.last_value, forecast.unit)
        return f"{rise} The price itself stands at {price} ({month(forecast.cutoff)}){against}."


_MIDDLE, _TAIL = 0.5, 0.9  # the quantiles of a shortfall that have a name of their own


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A market's projected shortfall, as a share of demand over the horizon, at one quantile of its paths.

    `tail`, when given, is a second way to its severity: the ninetieth percentile over its own limit,
    so that an even chance of nothing doesn't hide a small chance of much.
    """

    type: ClassVar[str] = "shortfall"

    name: str
    market: tuple[str, ...]
    limits: tuple[Limit, ...]
    scenario: str = "base"
    horizon_months: int = 6
    quantile: float = 0.5
    tail: Limit | None = None
    max_age_days: int = 120  # from the end of the newest month that the projection knows
    options: RuleOptions = RuleOptions()

    @property
    def version(self) -> str:
        tail = _limit_parts((self.tail,) if self.tail else ())
        return short_hash(
            self.type,
            *_limit_parts(self.limits),
            "tail",
            *tail,
            self.scenario,
            self.horizon_months,
            self.quantile,
            self.max_age_days,
        )

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a market; a market without a projection says so."""
        return tuple(self._evaluate(subject, situation) for subject in self.market)

    def fingerprint(self, subject: str) -> str:
        return short_hash(
            self.name, f"{subject}/{self.scenario}", self.horizon_months, "above", "shortfall share"
        )

    def _evaluate(self, subject: str, situation: Situation) -> Reading | NotEvaluated:
        projection = situation.projections.get((subject, self.scenario))
        if projection is None:
            return _unjudged(self, subject, f"{subject}: no projection under {self.scenario}")
        if self.horizon_months > len(projection.months):
            why = (
                f"{projection.title}: {self.horizon_months} months asked, "
                f"{len(projection.months)} projected"
            )
            return _unjudged(self, subject, why)
        age = (situation.known_at.date() - _month_end(projection.data_through)).days
        if age > self.max_age_days:
            why = (
                f"{projection.title}: its figures are known only through "
                f"{month(projection.data_through)}, {days(age)} ago; "
                f"the rule judges up to {days(self.max_age_days)}"
            )
            return _unjudged(self, subject, why)
        return self._read(projection)

    def _read(self, projection: MarketProjection) -> Reading:
        shares = projection.shortfall_shares(self.horizon_months)
        low, middle, high = (quantile(shares, level) for level in (0.1, 0.5, 0.9))
        value, level = quantile(shares, self.quantile), self.quantile
        verdict = judge_rising(value, self.limits)
        severity, holds = verdict.severity, verdict.holds
        limit = verdict.limit
        if self.tail is not None:
            tail = judge_rising(high, (self.tail,))
            severity = max((s for s in (severity, tail.severity) if s), default=None)
            holds = max((s for s in (holds, tail.holds) if s), default=None)
            by_tail = (tail.severity or 0, tail.holds or 0)
            if by_tail > (verdict.severity or 0, verdict.holds or 0):
                limit, value, level = self.tail, high, _TAIL
        outcome = _outcome(level)
        over = f"over the next {self.horizon_months} months"
        wide = percent_span(low, high)
        unmet = _unmet(value, level)
        is_base = self.scenario == "base"
        chance_over = sum(1 for share in shares if share > limit.enter) / len(shares)
        finding = f"{unmet} of demand unmet over {self.horizon_months} months in the {outcome}"
        if not is_base:
            # What is only supposed must be heard before the reader's phone cuts the line.
            brief = outcome.removesuffix(" of outcomes")
            finding = (
                f"{percent(value)} unmet over {self.horizon_months} months in the {brief}; "
                f"scenario: {projection.scenario_title}"
            )
        elif level == _MIDDLE:
            finding += f" (80 % range {wide})"
        shown = Verdict(severity, holds, limit)
        first = projection.first_month_above(limit.enter)
        facts = [Fact("Middle outcome", f"{_unmet(middle, _MIDDLE)} of demand unmet {over}")]
        if level != _MIDDLE:
            facts.insert(0, Fact(_cap(outcome), f"{unmet} of demand unmet {over}"))
        facts += [
            Fact("80 % range", f"{wide} of demand"),
            Fact("In tonnes, middle outcome", self._tonnes(projection)),
            Fact(
                "Limit",
                f"{percent(limit.enter)} of demand in the {outcome}{_for_severity(shown)}",
            ),
            Fact(f"Chance of more than {percent(limit.enter)}", chance(chance_over)),
        ]
        if first is not None:
            facts.append(
                Fact(f"First month over {percent(limit.enter)}", f"{month(first)}, at even odds")
            )
        if not is_base:
            facts.append(Fact("Scenario", projection.scenario_title))
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=projection.market,
            subject_title=projection.title,
            fingerprint=self.fingerprint(projection.market),
            input_id=projection.projection_id,
            value=value,
            unit=f"of demand in the {outcome}",
            limit=limit.enter,
            severity=severity,
            is_clear=holds is None,
            headline=fitted(projection.title, finding),
            facts=tuple(facts),
            drivers=_component_drivers(projection),
            evidence=_component_evidence(projection),
            data_through=projection.data_through,
            chart=ChartRef("market", projection.market, self.scenario),
            runbook=self.options.runbook,
            advice=self.options.advice,
            owner=self.options.owner,
            measured=f"{unmet} of demand in the {outcome}",
            standing=f"The projection leaves {unmet} of demand unmet in the {outcome}; "
            f"{_limit_is(shown)} {percent(limit.enter)}.",
            exits=self._exits(),
            holds=holds,
        )

    def _exits(self) -> tuple[tuple[Severity, str], ...]:
        """What each severity waits for: the outcome that is judged, the tail, or both."""
        found = {}
        own = dict(_exits(self.limits))
        for severity in {*own, *([self.tail.severity] if self.tail else [])}:
            parts = []
            # A severity lasts as long as any higher one does.
            leave = min((own[s] for s in own if s >= severity), default=None)
            if leave is not None:
                parts.append(f"below {percent(leave)} in the {_outcome(self.quantile)}")
            if self.tail is not None and self.tail.severity >= severity:
                parts.append(f"below {percent(self.tail.exit)} in the {_outcome(_TAIL)}")
            found[severity] = f"the unmet share falls {' and '.join(parts)}"
        return tuple(sorted(found.items(), reverse=True))

    def _tonnes(self, projection: MarketProjection) -> str:
        """Shortfall and demand over the horizon, each path summed before its middle is taken."""
        months = self.horizon_months
        short = tuple(sorted(sum(path[:months]) for path in projection.shortfall_t_paths))
        asked = tuple(sorted(sum(path[:months]) for path in projection.demand_t_paths))
        missing, wanted = quantile(short, 0.5), f"{_rounded(quantile(asked, 0.5))} t"
        return (
            f"about {_rounded(missing)} t short of {wanted}" if missing > 0 else f"0 t of {wanted}"
        )


@dataclass(frozen=True, slots=True)
class DropLimit:
    """A severity of a falling volume: so many months running, each below `enter` x the mean before them."""

    severity: Severity
    enter: float
    exit: float
    months_running: int = 1


@dataclass(frozen=True, slots=True)
class VolumeDrop:
    """A monthly volume far below the mean of the twelve ordinary months before it.

    A month that was itself below the enter limit when it came is no ordinary month: it is left out, and
    the mean reaches further back instead. So a collapse is never judged by itself, and one that lasts
    doesn't become the new normal. It clears when `clear_months` months running are back at the exit
    limit or above.
    """

    type: ClassVar[str] = "volume_drop"

    name: str
    series: tuple[str, ...]
    limits: tuple[DropLimit, ...]
    clear_months: int = 2
    min_known_months: int = 4
    max_age_days: int = 120  # from the end of the newest month
    options: RuleOptions = RuleOptions()

    @property
    def version(self) -> str:
        parts = [
            part
            for limit in self.limits
            for part in (limit.severity.name, limit.enter, limit.exit, limit.months_running)
        ]
        return short_hash(
            self.type, *parts, self.clear_months, self.min_known_months, self.max_age_days
        )

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a series; too few or too old figures are not judged."""
        return tuple(self._evaluate(subject, situation) for subject in self.series)

    def fingerprint(self, subject: str) -> str:
        return short_hash(self.name, subject, "observed", "below", "share of trailing mean")

    def _evaluate(self, subject: str, situation: Situation) -> Reading | NotEvaluated:
        observed = situation.observed.get(subject)
        if observed is None or not observed.points:
            return _unjudged(self, subject, f"{subject}: no figures are known")
        if observed.frequency != "month":
            why = f"{observed.title}: a {observed.frequency}ly series, months are needed"
            return _unjudged(self, subject, why)
        newest = _first(observed.points[-1].period)
        age = (situation.known_at.date() - _month_end(newest)).days
        if age > self.max_age_days:
            why = (
                f"{observed.title}: newest month is {month(newest)}, {days(age)} old; "
                f"the rule judges up to {days(self.max_age_days)}"
            )
            return _unjudged(self, subject, why)
        judged = self._judged(observed)
        if newest not in judged:
            why = (
                f"{observed.title}: fewer than {self.min_known_months} months known "
                f"in the year before {month(newest)}"
            )
            return _unjudged(self, subject, why)
        return self._read(observed, judged, newest)

    def _judged(self, observed: ObservedSeries) -> dict[date, "_Judged"]:
        """Every month that has a mean to be judged by. Forward in time: each decides for the later ones."""
        by_month = {_first(point.period): point for point in observed.points}
        enter = max(limit.enter for limit in self.limits)
        start = min(by_month)
        judged: dict[date, _Judged] = {}
        for judged_month, point in by_month.items():
            base: list[ObservedPoint] = []
            left_out: list[ObservedPoint] = []
            slots, back = _MEAN_MONTHS, _months_after(judged_month, -1)
            while slots > 0 and back >= start:
                before = by_month.get(back)
                if before is not None and back in judged and judged[back].share < enter:
                    left_out.append(before)
                else:
                    slots -= 1  # also for a month that is not known
                    if before is not None:
                        base.append(before)
                back = _months_after(back, -1)
            mean = sum(one.value for one in base) / len(base) if base else 0.0
            if len(base) >= self.min_known_months and mean > 0:
                judged[judged_month] = _Judged(point, tuple(base), tuple(left_out), mean)
        return judged

    def _read(
        self, observed: ObservedSeries, judged: Mapping[date, "_Judged"], newest: date
    ) -> Reading:
        ordered = sorted(self.limits, key=lambda limit: limit.severity)
        crossed = [
            limit
            for limit in ordered
            if len(_running(judged, newest, limit.enter)) >= limit.months_running
        ]
        limit = crossed[-1] if crossed else ordered[0]
        severity = limit.severity if crossed else None
        back = [judged.get(_months_after(newest, -count)) for count in range(self.clear_months)]
        # A severity lasts until months enough are back, whatever single months do in between.
        exits = {
            each.severity: max(one.exit for one in ordered if one.severity >= each.severity)
            for each in ordered
        }
        holds = max(
            (
                held
                for held, leave in exits.items()
                if (severity is not None and held <= severity)
                or any(one is None or one.share < leave for one in back)
            ),
            default=None,
        )
        # Before it is crossed, the run that is told is the newest month alone.
        run = _running(judged, newest, limit.enter) or [judged[newest]]
        window = run[-1]  # the mean of the first month of the run holds for all of them
        unit = observed.unit
        share = run[0].share
        value = amount(run[0].point.value, unit)
        finding = f"{value} in {month(newest)}, {_against(share)} the 12-month mean"
        if len(run) > 1:
            finding += f", {_ordinal_word(len(run))} month running"
        used = (*(one.point for one in run), *window.base)
        facts = [Fact("Newest month", f"{value} ({month(newest)}), {percent(share)} of the mean")]
        if len(run) > 1:
            before = run[1]
            facts.append(
                Fact(
                    "Month before",
                    f"{amount(before.point.value, unit)} ({month(before.point.period)}), "
                    f"{percent(before.share)} of the mean",
                )
            )
        if len(run) > 2:
            months = months_between([one.point.period for one in run])
            facts.append(Fact("Running below the limit", f"{len(run)} months ({months})"))
        facts.append(
            Fact(
                "12-month mean",
                f"{amount(window.mean, unit)}, from {len(window.base)} known months "
                f"({months_between([point.period for point in window.base])})",
            )
        )
        left_out = run[0].left_out
        if left_out:
            facts.append(
                Fact(
                    "Left out of the mean",
                    f"{_months(len(left_out))} below the limit "
                    f"({months_between([point.period for point in left_out])})",
                )
            )
        facts += [
            Fact(
                "Limit",
                _drop_limit_text(limit) + (f" ({severity.name.lower()})" if severity else ""),
            ),
            Fact("Confidence", evidence_note(used)),
        ]
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=observed.series,
            subject_title=observed.title,
            fingerprint=self.fingerprint(observed.series),
            input_id=self._input_id(observed, judged, newest),
            value=share,
            unit="of the mean",
            limit=limit.enter,
            severity=severity,
            is_clear=holds is None,
            headline=fitted(observed.title, finding),
            facts=tuple(facts),
            drivers=_month_drivers(run[:3], observed),
            evidence=_drop_evidence(used, window, newest),
            data_through=newest,
            chart=ChartRef("volume", observed.series, level=window.mean),
            runbook=self.options.runbook,
            advice=self.options.advice,
            owner=self.options.owner,
            measured=f"{percent(share)} of the 12-month mean",
            standing=f"{_standing_months(run[: limit.months_running])}; "
            f"the {f'{severity.name.lower()} ' if severity else ''}limit is "
            f"{_drop_limit_text(limit)}.",
            exits=tuple(
                (
                    held,
                    f"{_months_at(self.clear_months)} {percent(leave)} of the 12-month mean or above",
                )
                for held, leave in exits.items()
            ),
            direction="below",
            holds=holds,
        )

    def _input_id(
        self, observed: ObservedSeries, judged: Mapping[date, "_Judged"], newest: date
    ) -> str:
        """Changes with every figure that the answer rests on, and with nothing else."""
        reach = max(self.clear_months, *(limit.months_running for limit in self.limits))
        asked = [judged.get(_months_after(newest, -count)) for count in range(reach)]
        first = min(
            min(point.period for point in (one.point, *one.base, *one.left_out))
            for one in asked
            if one is not None
        )
        points = [point for point in observed.points if point.period >= first]
        return short_hash(
            *(p for x in points for p in (x.period, x.value, x.known_at, x.confidence)),
            *(point.period for point in judged[newest].left_out),
        )


_MEAN_MONTHS = 12


@dataclass(frozen=True, slots=True)
class _Judged:
    """One month, the known ordinary months that it is judged by, and the low ones passed over."""

    point: ObservedPoint
    base: tuple[ObservedPoint, ...]
    left_out: tuple[ObservedPoint, ...]
    mean: float

    @property
    def share(self) -> float:
        return self.point.value / self.mean


def _running(judged: Mapping[date, _Judged], newest: date, enter: float) -> list[_Judged]:
    """The months in a row below the limit that end with the newest one, newest first."""
    run: list[_Judged] = []
    period = newest
    while period in judged and judged[period].share < enter:
        run.append(judged[period])
        period = _months_after(period, -1)
    return run


def _month_drivers(run: Sequence[_Judged], observed: ObservedSeries) -> tuple[str, ...]:
    """Each judged month: how it moved, and from when that was known."""
    by_month = {_first(point.period): point for point in observed.points}
    lines = []
    for point in (one.point for one in run):
        before = by_month.get(_months_after(_first(point.period), -1))
        moved = (
            f", {change(point.value / before.value - 1)} on {month(before.period)}"
            if before is not None and before.value > 0
            else ""
        )
        lines.append(
            f"{month(point.period)}: {amount(point.value, observed.unit)}{moved}; "
            f"known from {day(point.known_at)}."
        )
    return tuple(lines)


def _drop_evidence(used: Sequence[ObservedPoint], window: _Judged, newest: date) -> tuple[str, ...]:
    evidence = []
    weak = [point.period for point in used if point.confidence in _WEAK]
    if weak:
        evidence.append(f"Months with low-confidence figures: {months_between(weak)}.")
        if newest in weak:
            evidence.append(f"The newest month itself ({month(newest)}) is one of them.")
    missing = _MEAN_MONTHS - len(window.base)
    if missing:
        evidence.append(
            f"{missing} of the 12 months that the mean should have "
            f"{'is' if missing == 1 else 'are'} not known; it is the mean of the others."
        )
    return tuple(evidence)


_STALE_ADVICE = (
    "Newer prices come with lodestone ingest --live. Newer export and yearly figures go into your snapshot "
    "folder (LODESTONE_SNAPSHOT_DIR), then lodestone ingest: its report names rejected rows by file and field. "
    "Alerts that need this source stay as they were."
)


@dataclass(frozen=True, slots=True)
class StaleSource:
    """A publisher whose newest figure is older than the catalogue allows: for operators, not buyers."""

    type: ClassVar[str] = "stale_source"

    name: str
    source: tuple[str, ...] = ()  # empty: every source
    severity: Severity = Severity.WARNING
    options: RuleOptions = RuleOptions(route="operators")

    @property
    def version(self) -> str:
        return short_hash(self.type, self.severity.name)

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a source that the service watches."""
        names = self.source or tuple(sorted(situation.sources))
        return tuple(self._evaluate(name, situation) for name in names)

    def fingerprint(self, subject: str) -> str:
        return short_hash(self.name, subject, "now", "above", "days since newest figure")

    def _evaluate(self, subject: str, situation: Situation) -> Reading | NotEvaluated:
        state = situation.sources.get(subject)
        if state is None:
            return _unjudged(self, subject, f"{subject}: no such source is watched")
        asked_on = day(situation.known_at)
        if state.newest_known_at is None:
            age, is_stale, weeks = 0, True, 0
            measured = "without any figure"
            finding = "no figure has ever arrived"
            since = "none yet"
            standing = "No figure has ever arrived."
        else:
            age = max((situation.known_at - state.newest_known_at).days, 0)
            is_stale = state.is_stale(situation.known_at)
            # Told again by the week: an edit a day would say nothing new.
            weeks = (age - state.limit_days) // 7 if is_stale else 0
            finding = f"no new figure for {days(age)} (limit {days(state.limit_days)})"
            if not is_stale:
                finding = f"newest figure {days(age)} old (limit {days(state.limit_days)})"
            since = f"known since {day(state.newest_known_at)}"
            measured = f"{days(age)} old"
            standing = (
                f"On {asked_on} the newest figure was {days(age)} old; "
                f"the limit is {days(state.limit_days)}."
            )
        facts = [
            Fact("Source", state.title),
            Fact("Newest figure", since),
            Fact("Limit", days(state.limit_days)),
        ]
        if state.newest_period is not None:
            facts.append(Fact("Newest period", period(state.newest_period, state.frequency)))
        if is_stale:
            facts.append(Fact("Meanwhile", "rules that need it can't notice anything new"))
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=subject,
            subject_title=state.title,
            fingerprint=self.fingerprint(subject),
            input_id=short_hash(
                state.title,
                state.newest_period,
                state.newest_known_at,
                state.limit_days,
                f"stale for {weeks} weeks" if is_stale else "fresh",
            ),
            value=float(age),
            unit="days",
            limit=float(state.limit_days),
            severity=self.severity if is_stale else None,
            is_clear=not is_stale,
            headline=fitted(state.title, finding),
            facts=tuple(facts),
            data_through=_last_month(state),
            runbook=self.options.runbook,
            advice=self.options.advice or _STALE_ADVICE,
            owner=self.options.owner,
            measured=measured,
            standing=standing,
            exits=(
                (
                    self.severity,
                    f"every watched series of this source has a {'newer ' if age else ''}figure",
                ),
            ),
            holds=self.severity if is_stale else None,
        )


def _last_month(state: SourceState) -> date | None:
    """The month that the newest period ends in."""
    if state.newest_period is None or state.frequency != "year":
        return state.newest_period
    return state.newest_period.replace(month=12)


def _unjudged(
    rule: "PriceSpike | Shortfall | VolumeDrop | StaleSource", subject: str, why: str
) -> NotEvaluated:
    return NotEvaluated(rule.name, rule.version, rule.type, subject, rule.fingerprint(subject), why)


def _limit_parts(limits: Sequence[Limit]) -> list[object]:
    return [part for limit in limits for part in (limit.severity.name, limit.enter, limit.exit)]


def _for_severity(verdict: Verdict) -> str:
    """The severity in brackets when the limit shown is crossed, so that a reader knows which it is."""
    if verdict.severity is None:
        return ""
    return f" ({verdict.limit.severity.name.lower()})"


def _component_drivers(projection: MarketProjection) -> tuple[str, ...]:
    """The three balanced components that the shortfall depends on most."""
    balanced = [part for part in projection.components if part.side != "memo"]
    balanced.sort(key=lambda part: part.variance_share, reverse=True)
    return tuple(
        f"{part.name} ({part.side}): {percent(part.variance_share)} of the uncertainty; "
        f"80 % range {span(part.tonnes_per_year.p10, part.tonnes_per_year.p90, 't a year')}."
        for part in balanced[:3]
        if part.variance_share >= 0.005
    )


def _component_evidence(projection: MarketProjection) -> tuple[str, ...]:
    balanced = [part for part in projection.components if part.side != "memo"]
    weak = [part.name for part in balanced if part.confidence in _WEAK]
    lines = []
    if weak:
        names = weak[:3] if len(weak) > 3 else weak
        more = f" and {len(weak) - 3} more" if len(weak) > 3 else ""
        verb = "rests" if len(weak) == 1 else "rest"
        lines.append(
            f"{len(weak)} of {len(balanced)} components {verb} on low-confidence figures: "
            f"{', '.join(names)}{more}."
        )
    elif balanced:
        lines.append(f"None of the {len(balanced)} components rests on low-confidence figures.")
    return (*lines, *projection.notes[:3])


def _limit_is(verdict: Verdict) -> str:
    if verdict.severity is None:
        return "the limit is"
    return f"the {verdict.limit.severity.name.lower()} limit is"


def _exits(limits: Sequence[Limit]) -> list[tuple[Severity, float]]:
    """Where each severity ends, highest first: not before every higher one has ended too."""
    ordered = sorted(limits, key=lambda limit: limit.severity, reverse=True)
    return [
        (limit.severity, min(higher.exit for higher in ordered[: place + 1]))
        for place, limit in enumerate(ordered)
    ]


_PARTS = {0.05: "twentieth", 0.1: "tenth", 0.2: "fifth", 0.25: "quarter"}


def _outcome(level: float) -> str:
    """A quantile of the shortfall in a reader's words: "middle outcome", "worst tenth of outcomes"."""
    if level == _MIDDLE:
        return "middle outcome"
    tail = round(min(level, 1 - level), 4)
    part = _PARTS.get(tail, percent(tail))
    # Below the middle, the share is one that all but a few outcomes reach.
    return f"worst {part} of outcomes" if level > _MIDDLE else f"best {part} of outcomes"


def _unmet(share: float, level: float) -> str:
    """The share at a quantile: a middle is "about"; a tail begins there."""
    if level == _MIDDLE:
        return f"about {percent(share)}" if share > 0 else percent(share)
    return f"{percent(share)} or {'more' if level > _MIDDLE else 'less'}"


def _drop_limit_text(limit: DropLimit) -> str:
    running = (
        f"{_count_word(limit.months_running)} months running " if limit.months_running > 1 else ""
    )
    return f"{running}below {percent(limit.enter)} of the 12-month mean"


def _standing_months(run: Sequence[_Judged]) -> str:
    parts = [f"{month(one.point.period)} at {percent(one.share)}" for one in run]
    return f"{listing(parts)} of the 12-month mean"


def _months(count: int) -> str:
    return "1 month" if count == 1 else f"{count} months"


def _months_at(count: int) -> str:
    return "a month is at" if count == 1 else f"{_count_word(count)} months running are at"


def _against(share: float) -> str:
    """How a share compares with its mean: "75 % below", "44 % above", "about at"."""
    gap = share - 1
    if abs(gap) < 0.005:
        return "about at"
    return f"{percent(abs(gap))} {'above' if gap > 0 else 'below'}"


def _rounded(tonnes: float) -> str:
    """Two significant digits: a balance knows no more than that."""
    if tonnes == 0:
        return "0"
    digits = max(len(str(int(abs(tonnes)))) - 2, 0)
    return f"{round(tonnes, -digits):,.0f}"


_TEENS = (11, 12, 13)


def _count_word(count: int) -> str:
    return {2: "two", 3: "three", 4: "four"}.get(count, str(count))


def _ordinal_word(count: int) -> str:
    words = ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
    if count - 2 < len(words):
        return words[count - 2]
    ending = (
        {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th") if count % 100 not in _TEENS else "th"
    )
    return f"{count}{ending}"


def _cap(text: str) -> str:
    return text[:1].upper() + text[1:]


def _first(period: date) -> date:
    return date(period.year, period.month, 1)


def _months_after(period: date, count: int) -> date:
    ordinal = period.year * 12 + period.month - 1 + count
    return date(ordinal // 12, ordinal % 12 + 1, 1)


def _month_end(period: date) -> date:
    return _months_after(period, 1) - timedelta(days=1)
