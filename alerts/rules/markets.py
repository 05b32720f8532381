"""Rules on markets: how much demand stays unmet, how concentrated supply is, how long stocks last."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

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
    Rule,
    RuleOptions,
    Severity,
    labels_of_market,
    short_hash,
)
from alerts.rules.words import (
    WEAK,
    capitalised,
    coming_months,
    fitted,
    month_end,
    months_over,
    months_text,
    outcome_words,
    quantile_words,
    rounded,
    unjudged,
)
from alerts.wording import amount, chance, days, month, number, percent, percent_span, span
from forecasting.results import Indicator, Interval, MarketProjection, Situation, quantile

_SCENARIOS_TOLD = 3  # a message with more of them would be read as a table, and not read
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
    options: RuleOptions = DEFAULT_OPTIONS

    @property
    def version(self) -> str:
        tail = limit_parts((self.tail,) if self.tail else ())
        return short_hash(
            self.type,
            *limit_parts(self.limits),
            "tail",
            *tail,
            self.scenario,
            self.horizon_months,
            self.quantile,
            self.max_age_days,
        )

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a market; a market without a projection says so."""
        wanted = set(self.market)
        by_market: dict[str, list[MarketProjection]] = {name: [] for name in self.market}
        for (market, _), projection in situation.projections.items():
            if market in wanted:
                by_market[market].append(projection)
        return tuple(
            self._evaluate(subject, situation, by_market[subject]) for subject in self.market
        )

    def fingerprint(self, subject: str) -> str:
        return short_hash(
            self.name, f"{subject}/{self.scenario}", self.horizon_months, "above", "shortfall share"
        )

    def _evaluate(
        self, subject: str, situation: Situation, every: Sequence[MarketProjection]
    ) -> Reading | NotEvaluated:
        """The answer on a market; `every` are its projections, under all scenarios."""
        projection = _projection_of(self, subject, situation)
        if isinstance(projection, str):
            return unjudged(self, subject, projection)
        if why := _out_of_reach(projection, self.horizon_months, situation):
            return unjudged(self, subject, why)
        return self._read(projection, situation, every)

    def _read(
        self,
        projection: MarketProjection,
        situation: Situation,
        every: Sequence[MarketProjection],
    ) -> Reading:
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
        how_long = months_text(self.horizon_months)
        over = f"over {coming_months(self.horizon_months)}"
        wide = percent_span(low, high)
        unmet = _unmet(value, level)
        is_base = self.scenario == "base"
        chance_over = sum(1 for share in shares if share > limit.enter) / len(shares)
        finding = f"{unmet} of demand unmet over {how_long} in the {outcome}"
        if not is_base:
            # What is only supposed must be heard before the reader's phone cuts the line.
            brief = outcome.removesuffix(" of outcomes")
            finding = (
                f"{percent(value)} unmet over {how_long} in the {brief}; "
                f"scenario: {projection.scenario_title}"
            )
        elif level == _MIDDLE:
            finding += f" (80 % range {wide})"
        shown = Verdict(severity, holds, limit)
        first = projection.first_month_above(limit.enter)
        facts = [Fact("Middle outcome", f"{_unmet(middle, _MIDDLE)} of demand unmet {over}")]
        if level != _MIDDLE:
            facts.insert(0, Fact(capitalised(outcome), f"{unmet} of demand unmet {over}"))
        facts += [
            Fact("80 % range", f"{wide} of demand"),
            Fact("In tonnes, middle outcome", self._tonnes(projection)),
            Fact(
                "Limit",
                f"{percent(limit.enter)} of demand in the {outcome}{for_severity(shown)}",
            ),
            Fact(f"Chance of more than {percent(limit.enter)}", chance(chance_over)),
        ]
        if first is not None:
            facts.append(
                Fact(f"First month over {percent(limit.enter)}", f"{month(first)}, at even odds")
            )
        if not is_base:
            facts.append(Fact("Scenario", projection.scenario_title))
        facts += self._scenario_facts(projection, value, level, every)
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
            f"{limit_is(shown)} {percent(limit.enter)}.",
            exits=self._exits(),
            holds=holds,
            ends_on=month_end(projection.months[self.horizon_months - 1].month),
            labels=labels_of_market(self, projection.market, self.scenario),
            rests_on=_rests_on(projection.market, situation),
            probability=chance_over,
        )

    def _scenario_facts(
        self,
        projection: MarketProjection,
        value: float,
        level: float,
        every: Sequence[MarketProjection],
    ) -> list[Fact]:
        """What the same quantile is under other scenarios: the base case, then what differs most."""
        others = []
        for other in every:
            scenario = other.scenario
            if scenario == self.scenario:
                continue
            # Figures of another day, or over other months, would differ for that reason too.
            if other.months[0].month != projection.months[0].month:
                continue
            if self.horizon_months > len(other.months):
                continue
            share = quantile(other.shortfall_shares(self.horizon_months), level)
            if percent(share) != percent(value):
                others.append((scenario != "base", -abs(share - value), scenario, share, other))
        return [
            Fact(
                f"Under “{other.scenario_title.partition(':')[0]}”",
                f"{percent(share)} instead of {percent(value)} unmet in the {_outcome(level)}",
            )
            for *_, share, other in sorted(others, key=lambda one: one[:3])[:_SCENARIOS_TOLD]
        ]

    def _exits(self) -> tuple[tuple[Severity, str], ...]:
        """What each severity waits for: the outcome that is judged, the tail, or both."""
        found = {}
        own = dict(exits_of(self.limits))
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
        missing, wanted = quantile(short, 0.5), f"{rounded(quantile(asked, 0.5))} t"
        return (
            f"about {rounded(missing)} t short of {wanted}" if missing > 0 else f"0 t of {wanted}"
        )


@dataclass(frozen=True, slots=True)
class Concentration:
    """One indicator of a market's exposure, by its name, against limits in the indicator's own unit.

    Limits whose exit lies above their enter are limits of an indicator that is bad when it falls, such as
    the demand that is covered without the largest origin.
    """

    type: ClassVar[str] = "concentration"

    name: str
    market: tuple[str, ...]
    limits: tuple[Limit, ...]
    indicator: str = "hhi_origins"
    scenario: str = "base"
    max_age_days: int = 400  # from the end of the newest month that the projection knows
    options: RuleOptions = DEFAULT_OPTIONS

    @property
    def version(self) -> str:
        return short_hash(
            self.type, *limit_parts(self.limits), self.indicator, self.scenario, self.max_age_days
        )

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a market; one whose projection lacks the indicator says which it has."""
        return tuple(self._evaluate(subject, situation) for subject in self.market)

    def fingerprint(self, subject: str) -> str:
        side = "below" if self._is_falling else "above"
        return short_hash(
            self.name, f"{subject}/{self.scenario}", "projected", side, self.indicator
        )

    @property
    def _is_falling(self) -> bool:
        return any(limit.exit > limit.enter for limit in self.limits)

    def _evaluate(self, subject: str, situation: Situation) -> Reading | NotEvaluated:
        projection = _projection_of(self, subject, situation)
        if isinstance(projection, str):
            return unjudged(self, subject, projection)
        found = {one.name: one for one in projection.indicators}
        if self.indicator not in found:
            has = f"it has {', '.join(found)}" if found else "it has none"
            why = f"{projection.title}: the projection has no indicator {self.indicator}; {has}"
            return unjudged(self, subject, why)
        if why := _out_of_reach(projection, len(projection.months), situation):
            return unjudged(self, subject, why)
        return self._read(projection, found[self.indicator], situation)

    def _read(
        self, projection: MarketProjection, indicator: Indicator, situation: Situation
    ) -> Reading:
        is_falling, unit = self._is_falling, indicator.unit
        judge = judge_falling if is_falling else judge_rising
        verdict = judge(indicator.value, self.limits)
        value = _indicator_words(indicator.value, unit)
        title = indicator.title[:1].lower() + indicator.title[1:]
        limit = _indicator_words(verdict.limit.enter, unit)
        side = "less" if is_falling else "more"
        facts = [
            Fact(indicator.title, value),
            Fact("Limit", f"{limit} or {side}{for_severity(verdict)}"),
        ]
        if indicator.reading:
            facts.append(Fact("What it means", indicator.reading))
        facts += [
            Fact("Computed from", indicator.source),
            Fact("Confidence", f"{indicator.confidence} (the weakest of what it rests on)"),
        ]
        if self.scenario != "base":
            facts.append(Fact("Scenario", projection.scenario_title))
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=projection.market,
            subject_title=projection.title,
            fingerprint=self.fingerprint(projection.market),
            input_id=short_hash(
                projection.projection_id, indicator.value, indicator.reading, indicator.confidence
            ),
            value=indicator.value,
            unit=unit,
            limit=verdict.limit.enter,
            severity=verdict.severity,
            is_clear=verdict.is_clear,
            headline=fitted(
                projection.title,
                _with_scenario(f"{value}, {title}", projection, self.scenario),
            ),
            facts=tuple(facts),
            drivers=_origin_drivers(projection) if "origins" in self.indicator else (),
            evidence=_component_evidence(projection),
            data_through=projection.data_through,
            chart=ChartRef("market", projection.market, self.scenario),
            runbook=self.options.runbook,
            advice=self.options.advice,
            owner=self.options.owner,
            measured=f"{value} ({title})",
            standing=f"{indicator.title}: {value}; {limit_is(verdict)} {limit}.",
            exits=tuple(
                (
                    severity,
                    f"it {'rises above' if is_falling else 'falls below'} "
                    f"{_indicator_words(leave, unit)}",
                )
                for severity, leave in exits_of(self.limits, is_falling=is_falling)
            ),
            direction="below" if is_falling else "above",
            holds=verdict.holds,
            ends_on=month_end(projection.months[-1].month),
            labels=labels_of_market(self, projection.market, self.scenario),
            rests_on=_rests_on(projection.market, situation),
        )


@dataclass(frozen=True, slots=True)
class StockCover:
    """How many days a market's stock lasts, in the month of the horizon where it lasts shortest.

    Limits are days and fall: a severity begins at `enter` or below, and ends above `exit`.
    """

    type: ClassVar[str] = "stock_cover"

    name: str
    market: tuple[str, ...]
    limits: tuple[Limit, ...]
    scenario: str = "base"
    horizon_months: int = 3
    quantile: float = 0.5  # 0.1, 0.5 or 0.9: those that a projection carries
    max_age_days: int = 120  # from the end of the newest month that the projection knows
    options: RuleOptions = DEFAULT_OPTIONS

    @property
    def version(self) -> str:
        return short_hash(
            self.type,
            *limit_parts(self.limits),
            self.scenario,
            self.horizon_months,
            self.quantile,
            self.max_age_days,
        )

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a market; one that knows of no stock says so."""
        return tuple(self._evaluate(subject, situation) for subject in self.market)

    def fingerprint(self, subject: str) -> str:
        return short_hash(
            self.name, f"{subject}/{self.scenario}", self.horizon_months, "below", "stock cover"
        )

    def _evaluate(self, subject: str, situation: Situation) -> Reading | NotEvaluated:
        projection = _projection_of(self, subject, situation)
        if isinstance(projection, str):
            return unjudged(self, subject, projection)
        if why := _out_of_reach(projection, self.horizon_months, situation):
            return unjudged(self, subject, why)
        has_stock = any(one.stock_cover_days.p90 > 0 for one in projection.months)
        if not has_stock and all(one.name != "stock_cover" for one in projection.indicators):
            why = f"{projection.title}: the market states no stock, so nothing can be covered by it"
            return unjudged(self, subject, why)
        return self._read(projection, situation)

    def _read(self, projection: MarketProjection, situation: Situation) -> Reading:
        months = projection.months[: self.horizon_months]
        lowest = min(months, key=lambda one: _at(one.stock_cover_days, self.quantile))
        value = _at(lowest.stock_cover_days, self.quantile)
        verdict = judge_falling(value, self.limits)
        when, outcome = month(lowest.month), _outcome_of_stock(self.quantile)
        cover = _cover_words(value, self.quantile)
        limit = days(verdict.limit.enter)
        first = months[0]
        wide = lowest.stock_cover_days
        finding = f"stock lasts {cover} at the end of {when}"
        if self.quantile != _MIDDLE:
            finding += f" in the {outcome}"
        facts = [
            Fact(f"Lowest cover, {outcome}", f"{cover} (end of {when})"),
            Fact("Limit", f"{limit} or less{for_severity(verdict)}"),
            Fact(f"80 % range, end of {when}", f"{int(wide.p10):,} to {days(wide.p90)}"),
        ]
        if lowest is not first:
            facts.append(
                Fact(
                    f"End of {month(first.month)}",
                    _cover_words(_at(first.stock_cover_days, self.quantile), self.quantile),
                )
            )
        if not math.isnan(lowest.shortfall_chance):
            facts.append(Fact(f"Chance of unmet demand, {when}", chance(lowest.shortfall_chance)))
        if self.scenario != "base":
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
            unit="days",
            limit=verdict.limit.enter,
            severity=verdict.severity,
            is_clear=verdict.is_clear,
            headline=fitted(projection.title, _with_scenario(finding, projection, self.scenario)),
            facts=tuple(facts),
            evidence=_component_evidence(projection),
            data_through=projection.data_through,
            chart=ChartRef("market", projection.market, self.scenario),
            runbook=self.options.runbook,
            advice=self.options.advice,
            owner=self.options.owner,
            measured=f"{cover} of stock in the {outcome}",
            standing=f"At the end of {when} stocks last {cover} in the {outcome}; "
            f"{limit_is(verdict)} {limit}.",
            exits=tuple(
                (severity, f"the lowest stock cover rises above {days(leave)}")
                for severity, leave in exits_of(self.limits, is_falling=True)
            ),
            direction="below",
            holds=verdict.holds,
            ends_on=month_end(months[-1].month),
            labels=labels_of_market(self, projection.market, self.scenario),
            rests_on=_rests_on(projection.market, situation),
        )


class _MarketRule(Rule, Protocol):
    """What rules on markets have in common."""

    @property
    def scenario(self) -> str: ...
    @property
    def max_age_days(self) -> int: ...


def _projection_of(rule: _MarketRule, subject: str, situation: Situation) -> MarketProjection | str:
    """The projection of a market under the rule's scenario, new enough; else why there is none to judge."""
    projection = situation.projections.get((subject, rule.scenario))
    if projection is None:
        return f"{subject}: no projection under {rule.scenario}"
    age = (situation.known_at.date() - month_end(projection.data_through)).days
    if age > rule.max_age_days:
        return (
            f"{projection.title}: its figures are known only through "
            f"{month(projection.data_through)}, {days(age)} ago; "
            f"the rule judges up to {days(rule.max_age_days)}"
        )
    return projection


def _out_of_reach(projection: MarketProjection, asked: int, situation: Situation) -> str:
    """Why the first `asked` months can't be judged: too few are projected, or they are over; else empty."""
    if asked > len(projection.months):
        return f"{projection.title}: {months_text(asked)} asked, {len(projection.months)} projected"
    ends_on = month_end(projection.months[asked - 1].month)
    return months_over(projection.title, ends_on, situation.known_at)


def _rests_on(market: str, situation: Situation) -> tuple[str, ...]:
    return tuple(sorted(situation.market_series.get(market, ())))


def _with_scenario(finding: str, projection: MarketProjection, scenario: str) -> str:
    """The finding with its scenario: what is only supposed must not be read as what is expected."""
    if scenario == "base":
        return finding
    return f"{finding}; scenario: {projection.scenario_title}"


def _at(interval: Interval, level: float) -> float:
    return {0.1: interval.p10, 0.5: interval.p50, 0.9: interval.p90}[level]


def _cover_words(cover_days: float, level: float) -> str:
    """A cover in whole days; one that doesn't last a day is no "0 days or more"."""
    return quantile_words(days(cover_days), level) if cover_days >= 1 else "less than a day"


def _outcome_of_stock(level: float) -> str:
    """A quantile of the cover in a reader's words; little stock is the bad end."""
    return outcome_words(level, upper="best", lower="worst")


def _indicator_words(value: float, unit: str) -> str:
    """An indicator's value with its unit; scales such as 0-10000 are said by their end."""
    if unit == "share":
        return percent(value)
    if unit == "days":
        return days(value)
    if unit.startswith("0-"):
        return f"{number(value)} of {number(float(unit.removeprefix('0-')))}"
    return amount(value, unit)


def _origin_drivers(projection: MarketProjection) -> tuple[str, ...]:
    """The three largest origins and their share of supply over the horizon, at the middle of each line."""
    tonnes: dict[str, float] = {}
    for line in projection.components:
        if line.side == "supply" and line.origin:
            tonnes[line.origin] = tonnes.get(line.origin, 0.0) + line.tonnes_per_year.p50
    total = sum(tonnes.values())
    if total <= 0:
        return ()
    largest = sorted(tonnes.items(), key=lambda one: (-one[1], one[0]))[:3]
    return tuple(
        f"{origin}: {percent(one / total)} of the supply whose origin is known, "
        f"about {rounded(one)} t a year."
        for origin, one in largest
    )


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
    weak = [part.name for part in balanced if part.confidence in WEAK]
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


def _outcome(level: float) -> str:
    """A quantile of the shortfall in a reader's words: "middle outcome", "worst tenth of outcomes"."""
    return outcome_words(level, upper="worst", lower="best")


def _unmet(share: float, level: float) -> str:
    """The share at a quantile: a middle is "about"; a tail begins there."""
    if level == _MIDDLE:
        return f"about {percent(share)}" if share > 0 else percent(share)
    return f"{percent(share)} or {'more' if level > _MIDDLE else 'less'}"
