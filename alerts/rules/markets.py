"""Rules on markets: how much of the demand stays unmet."""

from dataclasses import dataclass
from typing import ClassVar

from alerts.rules.limits import (
    Limit,
    Verdict,
    exits_of,
    for_severity,
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
    Severity,
    short_hash,
)
from alerts.rules.words import WEAK, capitalised, fitted, month_end, rounded, unjudged
from alerts.wording import chance, days, month, percent, percent_span, span
from forecasting.results import MarketProjection, Situation, quantile

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
        return tuple(self._evaluate(subject, situation) for subject in self.market)

    def fingerprint(self, subject: str) -> str:
        return short_hash(
            self.name, f"{subject}/{self.scenario}", self.horizon_months, "above", "shortfall share"
        )

    def _evaluate(self, subject: str, situation: Situation) -> Reading | NotEvaluated:
        projection = situation.projections.get((subject, self.scenario))
        if projection is None:
            return unjudged(self, subject, f"{subject}: no projection under {self.scenario}")
        if self.horizon_months > len(projection.months):
            why = (
                f"{projection.title}: {self.horizon_months} months asked, "
                f"{len(projection.months)} projected"
            )
            return unjudged(self, subject, why)
        age = (situation.known_at.date() - month_end(projection.data_through)).days
        if age > self.max_age_days:
            why = (
                f"{projection.title}: its figures are known only through "
                f"{month(projection.data_through)}, {days(age)} ago; "
                f"the rule judges up to {days(self.max_age_days)}"
            )
            return unjudged(self, subject, why)
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
        )

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
