"""Limits with a gap between entering and leaving, and what a measure means against them."""

from collections.abc import Sequence
from dataclasses import dataclass

from alerts.rules.reading import Severity


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


def judge_falling(value: float, limits: Sequence[Limit]) -> Verdict:
    """A measure that is bad when it falls: crossed at its enter limit, clear only above its exit limit."""
    ordered = sorted(limits, key=lambda limit: limit.severity, reverse=True)
    crossed = next((limit for limit in ordered if value <= limit.enter), None)
    held = next((limit for limit in ordered if value <= limit.exit), None)
    return Verdict(
        severity=crossed.severity if crossed else None,
        holds=held.severity if held else None,
        limit=crossed or ordered[-1],
    )


def limit_parts(limits: Sequence[Limit]) -> list[object]:
    """What a rule's version has to know of its limits."""
    return [part for limit in limits for part in (limit.severity.name, limit.enter, limit.exit)]


def for_severity(verdict: Verdict) -> str:
    """The severity in brackets when the limit shown is crossed, so that a reader knows which it is."""
    if verdict.severity is None:
        return ""
    return f" ({verdict.limit.severity.name.lower()})"


def limit_is(verdict: Verdict) -> str:
    """The beginning of a sentence: "the limit is", with the severity once it is crossed."""
    if verdict.severity is None:
        return "the limit is"
    return f"the {verdict.limit.severity.name.lower()} limit is"


def exits_of(limits: Sequence[Limit], *, is_falling: bool = False) -> list[tuple[Severity, float]]:
    """Where each severity ends, highest first: not before every higher one has ended too."""
    ordered = sorted(limits, key=lambda limit: limit.severity, reverse=True)
    furthest = max if is_falling else min
    return [
        (limit.severity, furthest(higher.exit for higher in ordered[: place + 1]))
        for place, limit in enumerate(ordered)
    ]
