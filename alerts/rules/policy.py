"""The rule on government decisions: one that was just made is news, whatever the figures say yet."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from alerts.rules.reading import (
    DEFAULT_OPTIONS,
    HEADLINE_LIMIT,
    Fact,
    NotEvaluated,
    Reading,
    RuleOptions,
    Severity,
    labels_of,
    short_hash,
)
from alerts.rules.words import unjudged
from alerts.wording import day, days, shortened
from forecasting.results import PolicyAct, Situation

_DIRECTIONS = {
    "tighten": "tightens supply",
    "loosen": "eases supply",
    "neutral": "leaves supply as it is",
    "unknown": "not known yet",
}


@dataclass(frozen=True, slots=True)
class PolicyEvent:
    """A government decision of these kinds and directions, while it is known for at most `days`.

    Each decision is a subject of its own. Once it is older it answers "clear", for `days` and two months
    more, so that its incident ends by itself; then nothing is said of it any more.
    """

    type: ClassVar[str] = "policy_event"

    name: str
    kinds: tuple[str, ...] = ("export_control",)
    directions: tuple[str, ...] = ("tighten",)
    materials: tuple[str, ...] = ()  # symbols of elements, "Dy"; empty: any, also what names none
    days: int = 30
    severity: Severity = Severity.WARNING
    options: RuleOptions = DEFAULT_OPTIONS

    @property
    def version(self) -> str:
        # Kinds, directions and materials say which decisions are judged, not how.
        return short_hash(self.type, self.days, self.severity.name)

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a decision that matches and isn't long past; none when there is none.

        Decisions of which none says its type are not judged: a rule on kinds would be quiet for ever.
        """
        if situation.policy_acts and not any(act.kind for act in situation.policy_acts):
            why = "no decision in policy_events.csv says its type, so none is of this rule's kinds"
            return (unjudged(self, "decisions", why),)
        return tuple(
            self._read(act, age)
            for act in situation.policy_acts
            if self._matches(act)
            and 0 <= (age := (situation.known_at.date() - act.known_on).days) <= self._answered_days
        )

    def fingerprint(self, subject: str) -> str:
        return short_hash(self.name, subject, "known", "below", "days since it was known")

    @property
    def _answered_days(self) -> int:
        return 2 * self.days + 60

    def _matches(self, act: PolicyAct) -> bool:
        return (
            act.kind in self.kinds
            and act.direction in self.directions
            and (not self.materials or not set(self.materials).isdisjoint(act.elements))
        )

    def _read(self, act: PolicyAct, age: int) -> Reading:
        is_news = age <= self.days
        since = day(act.known_on)
        until = day(act.known_on + timedelta(days=self.days))
        tail = f", known since {since}"
        kind = act.kind.replace("_", " ")
        direction = _DIRECTIONS.get(act.direction, act.direction)
        facts = [
            Fact("Decision", kind),
            Fact("Direction", direction),
            Fact("Concerns", ", ".join(part.strip() for part in act.materials.split(","))),
            Fact("Known since", since),
            Fact("Told as news", f"for {days(self.days)}, until {until}"),
        ]
        if act.source:
            facts.append(Fact("Source", act.source))
        if act.confidence:
            facts.append(Fact("Confidence", act.confidence))
        material = (("material", ",".join(act.elements)),) if act.elements else ()
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=act.act,
            subject_title=act.title,
            fingerprint=self.fingerprint(act.act),
            # A correction of the file is news; another day on which the decision stands is not.
            input_id=short_hash(
                act.act,
                act.title,
                act.kind,
                act.direction,
                act.known_on,
                act.materials,
                act.source,
                act.confidence,
                act.detail,
                "news" if is_news else "past",
            ),
            value=float(age),
            unit="days",
            limit=float(self.days),
            severity=self.severity if is_news else None,
            is_clear=not is_news,
            headline=f"{shortened(act.title, HEADLINE_LIMIT - len(tail))}{tail}",
            facts=tuple(facts),
            drivers=(act.detail,) if act.detail else (),
            runbook=self.options.runbook,
            advice=self.options.advice,
            owner=self.options.owner,
            measured=f"known since {since}",
            standing=f"The decision has been known since {since} and {direction}; it is news for "
            f"{days(self.days)}."
            if act.direction != "unknown"
            else f"The decision has been known since {since}; it is news for {days(self.days)}.",
            exits=((self.severity, f"{days(self.days)} have passed ({until})"),),
            ended="It is no news any more; the decision itself may still be in force.",
            direction="below",
            holds=self.severity if is_news else None,
            labels=labels_of(self, *material),
        )
