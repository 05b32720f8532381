"""What a replay answers: the quality of each rule, the timeline, and the messages that it would have made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from alerts.scoring import Quality


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One transition of one incident."""

    at: datetime
    incident: str  # id
    transition: str  # "PENDING → FIRING"; a new one begins at "INACTIVE"
    reason: str  # name of the decision's reason
    headline: str
    rule: str = ""
    subject: str = ""

    def as_dict(self) -> dict[str, Any]:
        """What `lodestone replay --json` prints of it."""
        return {
            "at": self.at.isoformat(),
            "incident": self.incident,
            "transition": self.transition,
            "reason": self.reason,
            "headline": self.headline,
        }


@dataclass(frozen=True, slots=True)
class ReplayMessage:
    """A message as it would have looked in the channel."""

    at: datetime
    incident: str
    rule: str
    kind: str  # "root" | "reply"
    text: str


@dataclass(frozen=True)
class ReplayResult:
    """The past as the rules would have told it."""

    rules: Mapping[str, Quality]
    timeline: tuple[TimelineRow, ...]
    messages: tuple[ReplayMessage, ...] = ()
    # Rules that nobody can call right or wrong: the rule's name and why. Their figures are None.
    without_truth: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)  # rules not replayed, and why
    # More keys of the JSON object, after "rules" and "timeline".
    extra: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """What `lodestone replay --json` prints: rules and timeline first, then whatever else is known."""
        rules = {}
        for name, quality in self.rules.items():
            rules[name] = quality.as_dict()
            if name in self.without_truth:
                # Nobody can say whether it was right: a nought would claim that somebody did.
                judged = dict.fromkeys(rules[name].keys() - {"posts"})
                rules[name] |= {**judged, "truth": self.without_truth[name]}
        found: dict[str, Any] = {
            "rules": rules,
            "timeline": [row.as_dict() for row in self.timeline],
        }
        if self.left_out:
            found["left_out"] = dict(self.left_out)
        return found | dict(self.extra)
