"""What a rule answers: a reading with everything a message needs, or why it can't judge."""

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Any, Protocol, Self

from forecasting.results import Situation

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

    # Crossings among the last `out_of` evaluations before it opens; a critical one doesn't wait. Without
    # `out_of` they have to be in a row.
    for_evaluations: int = 1
    out_of: int = 0
    clear_evaluations: int = 1  # clear readings in a row before it ends
    cooldown: timedelta = timedelta(days=14)  # a return within this re-opens the same incident
    # Empty: the first route whose `match` fits the reading, else that of its kind (alerts.routing).
    route: str = "buyers"
    owner: str = ""
    runbook: str = ""  # a web address with what to do, or empty
    advice: str = ""  # one or two sentences for the reader: what to do with it
    labels: tuple[
        tuple[str, str], ...
    ] = ()  # for routes and silences, beside those of every reading
    mention: str = (
        ""  # who is called by name when it opens or rises: "U0123ABCD", "S0123ABCD", "here"
    )
    mutes: tuple[str, ...] = ()  # names of the windows in which nothing of it is posted

    @property
    def window(self) -> int:
        """How many of the last evaluations count towards opening."""
        return max(self.for_evaluations, self.out_of)


DEFAULT_OPTIONS = RuleOptions()
FOR_OPERATORS = RuleOptions(route="operators")


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
    # The last day that a projection speaks of: after it, an answer that came no more has expired.
    ends_on: date | None = None
    labels: tuple[tuple[str, str], ...] = ()  # "market", "series", "source", … and the rule's own
    rests_on: tuple[str, ...] = ()  # series that the measure comes from
    # Chance of what the rule warns of, 0–1, to be scored once the truth is known; None: it states none.
    probability: float | None = None

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
            "ends_on": self.ends_on.isoformat() if self.ends_on else None,
            "labels": [list(label) for label in self.labels],
            "rests_on": list(self.rests_on),
            "probability": self.probability,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The reading that `as_dict` described; words that it no longer has are left out."""
        return cls(
            **{
                **{name: value for name, value in data.items() if name in _WORDS},
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
                # Readings written before these were kept have none of them.
                "ends_on": date.fromisoformat(data["ends_on"]) if data.get("ends_on") else None,
                "labels": tuple((name, value) for name, value in data.get("labels", ())),
                "rests_on": tuple(data.get("rests_on", ())),
            }
        )


_WORDS = frozenset(field.name for field in fields(Reading))


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
    def fingerprint(self, subject: str) -> str:
        """Which signal a subject's answers belong to: rule, subject, horizon, direction, measure."""
        ...

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]: ...


def labels_of(rule: Rule, *own: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """What routes and silences may match: type and rule, then what the reading is about, then the rule's own."""
    return (("type", rule.type), ("rule", rule.name), *own, *rule.options.labels)


def labels_of_series(rule: Rule, series: str, situation: Situation) -> tuple[tuple[str, str], ...]:
    """The labels of a reading on one series: it, its publisher, and the rare earths that it prices."""
    named = (
        ("series", series),
        ("source", situation.series_source.get(series, "")),
        ("material", situation.series_material.get(series, "")),
    )
    return labels_of(rule, *((label, value) for label, value in named if value))


def labels_of_market(rule: Rule, market: str, scenario: str) -> tuple[tuple[str, str], ...]:
    """The labels of a reading on one market under one scenario."""
    return labels_of(rule, ("market", market), ("scenario", scenario))


def short_hash(*parts: object) -> str:
    """Sixteen hex digits that stay the same for the same parts, on every machine."""
    text = json.dumps([str(part) for part in parts], ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]
