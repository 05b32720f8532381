"""Rules: what counts as news, judged on plain values; each answers with a reading or says why it can't."""

import enum
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

    kind: str  # "series" | "market" | "volume"
    subject: str
    scenario: str = ""


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
    standing: str = ""  # one sentence: the measure and its limit, in the rule's own words
    ends_when: str = ""  # one sentence: what has to happen before it ends
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
            "chart": [self.chart.kind, self.chart.subject, self.chart.scenario]
            if self.chart
            else None,
            "runbook": self.runbook,
            "advice": self.advice,
            "standing": self.standing,
            "ends_when": self.ends_when,
            "direction": self.direction,
            "holds": self.holds.name if self.holds else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The reading that `as_dict` described."""
        return cls(
            **{
                **data,
                "severity": Severity[data["severity"]] if data["severity"] else None,
                "facts": tuple(Fact(label, value) for label, value in data["facts"]),
                "drivers": tuple(data["drivers"]),
                "evidence": tuple(data["evidence"]),
                "data_through": date.fromisoformat(data["data_through"])
                if data["data_through"]
                else None,
                "chart": ChartRef(*data["chart"]) if data["chart"] else None,
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
    """A chance, over the limit, that a price rises by `rise` (0.25 = 25 %) at least once in the horizon.

    The rise is counted from the price `since_months` before the newest one, so that a price which is
    already on its way counts what it has done; 0 counts from the newest price.
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
        now_text = f"now {amount(forecast.last_value, unit)}"
        has_passed = forecast.last_value > level
        if has_passed:
            finding = (
                f"up {percent(moved)} since {month(base_month)}, "
                f"at {amount(forecast.last_value, unit)} in {month(forecast.cutoff)}"
            )
        else:
            finding = (
                f"{chance(probability)} chance of passing {amount(level, unit)} "
                f"by {until} ({now_text})"
            )
        low, median, high = (forecast.quantiles[last_step][i] for i in (1, MEDIAN, -2))
        facts = [
            Fact("Chance", f"{chance(probability)} of passing {amount(level, unit)} by {until}"),
            Fact("Limit", f"{percent(verdict.limit.enter)} chance{_for_severity(verdict)}"),
            Fact(
                "What counts",
                f"a rise of {percent(self.rise)} from {amount(base, unit)} ({month(base_month)})",
            ),
            Fact("Newest price", f"{amount(forecast.last_value, unit)} ({month(forecast.cutoff)})"),
            Fact(
                f"80 % range for {until}",
                f"{span(low, high, unit)}, middle {amount(median, unit)}",
            ),
        ]
        drivers = []
        if self.since_months > 0:
            drivers.append(
                f"Between {month(base_month)} and {month(forecast.cutoff)} the price moved "
                f"{change(moved)}, from {amount(base, unit)} to {amount(forecast.last_value, unit)}."
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
            f"{forecast.observations:,} observations, the newest published {day(forecast.vintage)}."
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
            standing=f"The chance is {chance(probability)}; {_limit_is(verdict)} "
            f"{percent(verdict.limit.enter)}.",
            ends_when=f"It ends when the chance falls below {percent(_lowest_exit(self.limits))}.",
            holds=verdict.holds,
        )


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
        return self._read(projection)

    def _read(self, projection: MarketProjection) -> Reading:
        shares = projection.shortfall_shares(self.horizon_months)
        low, middle, high = (quantile(shares, level) for level in (0.1, 0.5, 0.9))
        value = quantile(shares, self.quantile)
        verdict = judge_rising(value, self.limits)
        by_tail = False
        severity, holds = verdict.severity, verdict.holds
        limit = verdict.limit
        if self.tail is not None:
            tail = judge_rising(high, (self.tail,))
            severity = max((s for s in (severity, tail.severity) if s), default=None)
            holds = max((s for s in (holds, tail.holds) if s), default=None)
            if tail.severity is not None and tail.severity > (verdict.severity or 0):
                by_tail, limit, value = True, self.tail, high
        over = f"over the next {self.horizon_months} months"
        wide = percent_span(low, high)
        is_base = self.scenario == "base"
        chance_over = sum(1 for share in shares if share > limit.enter) / len(shares)
        if by_tail:
            finding = f"1 chance in 10 that more than {percent(high)} of demand is unmet {over}"
        else:
            finding = f"about {percent(middle)} of demand unmet {over} (80 % range {wide})"
        if not is_base:
            # What is only supposed must be heard before the reader's phone cuts the line.
            finding = (
                f"{percent(value)} of demand unmet over {self.horizon_months} months; "
                f"scenario: {projection.scenario_title}"
            )
        shown = Verdict(severity, holds, limit)
        what = "One outcome in ten leaves more than" if by_tail else "The projection leaves"
        ends_when = f"It ends when the share falls below {percent(_lowest_exit(self.limits))}"
        if self.tail is not None:
            ends_when += f", and its worst tenth below {percent(self.tail.exit)}"
        tonnes = self._tonnes(projection)
        first = projection.first_month_above(limit.enter)
        facts = [
            Fact("Middle outcome", f"{percent(middle)} of demand unmet {over}"),
            Fact("80 % range", f"{wide} of demand"),
            Fact("In tonnes", tonnes),
            Fact(
                "Limit",
                f"{percent(limit.enter)} of demand"
                f"{_for_severity(shown)}"
                f"{', for the worst tenth of outcomes' if by_tail else ''}",
            ),
            Fact(f"Chance of more than {percent(limit.enter)}", chance(chance_over)),
        ]
        if first is not None:
            facts.append(Fact("First month over the limit", f"{month(first)}, at even odds"))
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
            unit="of demand in the worst tenth of outcomes" if by_tail else "of demand",
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
            standing=f"{what} {percent(value)} of demand unmet; {_limit_is(shown)} "
            f"{percent(limit.enter)}.",
            ends_when=f"{ends_when}.",
            holds=holds,
        )

    def _tonnes(self, projection: MarketProjection) -> str:
        """Shortfall and demand over the horizon, each path summed before its middle is taken."""
        months = self.horizon_months
        short = tuple(sorted(sum(path[:months]) for path in projection.shortfall_t_paths))
        asked = tuple(sorted(sum(path[:months]) for path in projection.demand_t_paths))
        return (
            f"about {_rounded(quantile(short, 0.5))} t short of {_rounded(quantile(asked, 0.5))} t"
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
    """A monthly volume far below the mean of the known months of the year before it.

    The months under suspicion are left out of the mean that they are judged by. It clears when
    `clear_months` months running are back at the exit limit or above.
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
        by_month = {_first(point.period): point for point in observed.points}
        if self._window(by_month, newest, 1) is None:
            why = (
                f"{observed.title}: fewer than {self.min_known_months} months known "
                f"in the year before {month(newest)}"
            )
            return _unjudged(self, subject, why)
        return self._read(observed, by_month, newest)

    def _window(
        self, by_month: Mapping[date, ObservedPoint], newest: date, running: int
    ) -> "_Window | None":
        """The newest `running` months and the known months of the year before them, if all are there."""
        months = [_months_after(newest, -back) for back in range(running)]
        judged = [by_month[period] for period in months if period in by_month]
        first = months[-1]
        before = [_months_after(first, -back) for back in range(12, 0, -1)]
        base = [by_month[period] for period in before if period in by_month]
        if len(judged) < running or len(base) < self.min_known_months:
            return None
        mean = sum(point.value for point in base) / len(base)
        return _Window(tuple(judged), tuple(base), mean) if mean > 0 else None

    def _read(
        self, observed: ObservedSeries, by_month: Mapping[date, ObservedPoint], newest: date
    ) -> Reading:
        severity: Severity | None = None
        ordered = sorted(self.limits, key=lambda limit: limit.severity)
        limit = ordered[0]
        window = self._window(by_month, newest, 1)
        for candidate in ordered:
            tested = self._window(by_month, newest, candidate.months_running)
            if tested is not None and max(tested.shares) < candidate.enter:
                severity, limit, window = candidate.severity, candidate, tested
        if window is None:  # pragma: no cover - `_evaluate` has looked
            message = f"{observed.series}: no window"
            raise AssertionError(message)
        back = self._window(by_month, newest, self.clear_months)
        exit_share = max(candidate.exit for candidate in self.limits)
        is_clear = severity is None and back is not None and min(back.shares) >= exit_share

        share = window.shares[0]
        unit = observed.unit
        finding = (
            f"{amount(window.judged[0].value, unit)} in {month(newest)}, "
            f"{_against(share)} the 12-month mean"
        )
        if severity is not None and limit.months_running > 1:
            finding += f", {_ordinal_word(limit.months_running)} month running"
        used = (*window.judged, *window.base)
        note = evidence_note(used)
        facts = [
            Fact(
                "Newest month",
                f"{amount(window.judged[0].value, unit)} ({month(newest)}), "
                f"{percent(share)} of the mean",
            )
        ]
        facts += [
            Fact(
                "Month before",
                f"{amount(point.value, unit)} ({month(point.period)}), {percent(part)} of the mean",
            )
            for point, part in zip(window.judged[1:], window.shares[1:], strict=True)
        ]
        facts += [
            Fact(
                "Mean of the year before",
                f"{amount(window.mean, unit)}, from {len(window.base)} known months "
                f"({months_between([point.period for point in window.base])})",
            ),
            Fact(
                "Limit",
                _drop_limit_text(limit) + (f" ({severity.name.lower()})" if severity else ""),
            ),
            Fact("Confidence", note),
        ]
        weak = [point for point in used if point.confidence in _WEAK]
        evidence = []
        if weak:
            months = months_between([point.period for point in weak])
            evidence.append(f"Months with low-confidence figures: {months}.")
            if window.judged[0] in weak:
                evidence.append(f"The newest month itself ({month(newest)}) is one of them.")
        missing = 12 - len(window.base)
        if missing:
            evidence.append(
                f"{missing} of the 12 months before {month(window.judged[-1].period)} "
                f"{'is' if missing == 1 else 'are'} not known and left out of the mean."
            )
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=observed.series,
            subject_title=observed.title,
            fingerprint=self.fingerprint(observed.series),
            input_id=short_hash(
                *(
                    part
                    for point in observed.points
                    if point.period >= _months_after(newest, -12 - self._reach)
                    for part in (point.period, point.value, point.known_at, point.confidence)
                )
            ),
            value=share,
            unit="of the mean",
            limit=limit.enter,
            severity=severity,
            is_clear=is_clear,
            headline=fitted(observed.title, finding),
            facts=tuple(facts),
            drivers=self._drivers(window, by_month, unit),
            evidence=tuple(evidence),
            data_through=newest,
            chart=ChartRef("volume", observed.series),
            runbook=self.options.runbook,
            advice=self.options.advice,
            standing=f"{_standing_months(window)}; "
            f"the {f'{severity.name.lower()} ' if severity else ''}limit is "
            f"{_drop_limit_text(limit)}.",
            ends_when=f"It ends when {_months_at(self.clear_months)} {percent(exit_share)} "
            "of the 12-month mean or above.",
            direction="below",
        )

    @property
    def _reach(self) -> int:
        """How many newest months any question of this rule looks at."""
        return max(self.clear_months, *(limit.months_running for limit in self.limits))

    def _drivers(
        self, window: "_Window", by_month: Mapping[date, ObservedPoint], unit: str
    ) -> tuple[str, ...]:
        """Each judged month: how it moved, and when that became known."""
        lines = []
        for point in window.judged:
            before = by_month.get(_months_after(_first(point.period), -1))
            moved = (
                f", {change(point.value / before.value - 1)} on {month(before.period)}"
                if before is not None and before.value > 0
                else ""
            )
            lines.append(
                f"{month(point.period)}: {amount(point.value, unit)}{moved}; "
                f"published {day(point.known_at)}."
            )
        return tuple(lines)


@dataclass(frozen=True, slots=True)
class _Window:
    """Judged months, newest first, and the months that they are compared with."""

    judged: tuple[ObservedPoint, ...]
    base: tuple[ObservedPoint, ...]
    mean: float

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(point.value / self.mean for point in self.judged)


_STALE_ADVICE = (
    "Run lodestone ingest --live and read its report: rejected rows name their file and field. If the "
    "publisher is down or has changed its page, wait, or load a file by hand."
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
        if state.newest_known_at is None:
            age, is_stale = 0, True
            finding = "no figure has ever arrived"
            age_text = "none yet"
            standing = "No figure has ever arrived."
        else:
            age = max((situation.known_at - state.newest_known_at).days, 0)
            is_stale = age > state.limit_days
            finding = f"no new figure for {days(age)} (limit {days(state.limit_days)})"
            if not is_stale:
                finding = f"newest figure {days(age)} old (limit {days(state.limit_days)})"
            age_text = f"{days(age)} old, known since {day(state.newest_known_at)}"
            standing = (
                f"The newest figure is {days(age)} old; the limit is {days(state.limit_days)}."
            )
        facts = [
            Fact("Source", state.title),
            Fact("Newest figure", age_text),
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
            input_id=short_hash(state.newest_period, state.newest_known_at, age, state.limit_days),
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
            standing=standing,
            ends_when="It ends when a newer figure arrives.",
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


def _lowest_exit(limits: Sequence[Limit]) -> float:
    return min(limits, key=lambda limit: limit.severity).exit


def _drop_limit_text(limit: DropLimit) -> str:
    running = (
        f"{_count_word(limit.months_running)} months running " if limit.months_running > 1 else ""
    )
    return f"{running}below {percent(limit.enter)} of the 12-month mean"


def _standing_months(window: _Window) -> str:
    parts = [
        f"{month(point.period)} at {percent(share)}"
        for point, share in zip(window.judged, window.shares, strict=True)
    ]
    return f"{listing(parts)} of the 12-month mean"


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


def _count_word(count: int) -> str:
    return {2: "two", 3: "three", 4: "four"}.get(count, str(count))


def _ordinal_word(count: int) -> str:
    return {2: "second", 3: "third", 4: "fourth"}.get(count, f"{count}th")


def _cap(text: str) -> str:
    return text[:1].upper() + text[1:]


def _first(period: date) -> date:
    return date(period.year, period.month, 1)


def _months_after(period: date, count: int) -> date:
    ordinal = period.year * 12 + period.month - 1 + count
    return date(ordinal // 12, ordinal % 12 + 1, 1)


def _month_end(period: date) -> date:
    return _months_after(period, 1) - timedelta(days=1)
