"""Smallest readings, messages and clocks that delivery tests need."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from alerts.ledger import NewEntry
from alerts.lifecycle import Decision
from alerts.rules import Reading, RuleOptions, Severity
from flows.storage.ledger import SqlLedger

NOON = datetime(2025, 6, 21, 12, tzinfo=UTC)
TOKEN = "xoxb-1234-THIS-IS-THE-SECRET"
OPTIONS = RuleOptions(cooldown=timedelta(0))
PNG = b"\x89PNG\r\n\x1a\n" + b"picture" * 100


class Clock:
    """A clock that moves only when told to."""

    def __init__(self, at: datetime | None = None) -> None:
        self.at = at or datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.at

    def forward(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def make_reading(
    number: int = 1, subject: str = "dy_oxide", severity: Severity | None = Severity.WARNING
) -> Reading:
    return Reading(
        rule="dy-spike",
        rule_version="v1",
        type="price_spike",
        route="buyers",
        subject=subject,
        subject_title="Dysprosium oxide",
        fingerprint=f"print-{subject}",
        input_id=f"f-{number}",
        value=0.5 + number / 100,
        unit="chance",
        limit=0.5,
        severity=severity,
        is_clear=severity is None,
        headline=f"{subject}: reading {number}",
    )


def clear(number: int = 2, subject: str = "dy_oxide") -> Reading:
    return replace(make_reading(number, subject), severity=None, is_clear=True, value=0.1)


def compose(decision: Decision, *, channel: str = "#alerts", chart: bytes | None = None):
    """What the steps would say: the root as it is now, a reply if one is due, a chart at the start."""
    incident = decision.incident
    assert incident is not None
    message = {
        "kind": "root",
        "headline": incident.reading.headline,
        "state": incident.state.value,
        "severity": incident.severity.name,
        "lead": f"{incident.state.value} {incident.severity.name}",
        "why_now": decision.reason.value,
    }
    entries = []
    if decision.says:
        entries.append(NewEntry("root", "buyers", channel, message))
    if decision.replies:
        reply = {**message, "kind": "reply", "label": decision.reason.value}
        entries.append(NewEntry("reply", "buyers", channel, reply))
    if chart is not None and decision.reason.value == "OPENED":
        entries.append(NewEntry("chart", "buyers", channel, {}, chart, "Chart: chance 51 %"))
    return entries


def with_chart(decision: Decision):
    return compose(decision, chart=PNG)


def nothing(_: Decision):
    return []


def record(ledger: SqlLedger, reading: Reading, at: datetime = NOON, compose=compose):
    return ledger.record("live", reading, OPTIONS, now=at, compose=compose)
