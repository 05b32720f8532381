"""The daily word that the service is alive: one message for operators, edited every day; nobody is notified of an edit."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from alerts.incident import State
from alerts.messages import Message
from alerts.rules import Fact, Reading, Severity, short_hash
from alerts.wording import instant

BOOK = "heartbeat"
"""A book of its own: no open alert, no outlook and no list shows it."""

HEADLINE = "Lodestone is alive"
EVERY = timedelta(hours=25)
"""How long a word stands at the most: where delivery runs once a day only, it may be an hour late."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the service knows of itself at one moment; counts are of messages that people rely on."""

    at: datetime
    judged_at: datetime | None  # when rules were judged last; None: never
    delivered_at: datetime | None  # when a message last arrived; None: never
    waiting: int
    unknown: int  # unclear whether they arrived
    dead: int  # given up
    open_incidents: int


def next_word_by(at: datetime) -> datetime:
    """Until when the word after that of `at` has to stand: later, the service is not alive."""
    return at + EVERY


def heartbeat_input(on: date) -> str:
    """What the word of a day is known by: the same day again says nothing new."""
    return f"alive on {on.isoformat()}"


def heartbeat_reading(route: str, vitals: Vitals) -> Reading:
    """What a rule would have said, if one had: enough for the ledger to post the word, and to edit it."""
    return Reading(
        rule=BOOK,
        rule_version=BOOK,
        type=BOOK,
        route=route,
        subject=BOOK,
        subject_title="Lodestone",
        fingerprint=short_hash(BOOK),
        input_id=heartbeat_input(vitals.at.astimezone(UTC).date()),
        value=1.0,
        unit="words",
        limit=1.0,
        severity=Severity.INFO,
        is_clear=False,
        headline=HEADLINE,
        facts=_facts(vitals),
    )


def heartbeat_message(vitals: Vitals) -> Message:
    """What is shown: it has no buttons and calls nobody."""
    by = next_word_by(vitals.at)
    return Message(
        kind="root",
        label="Alive",
        headline=HEADLINE,
        severity=Severity.INFO,
        state=State.FIRING,
        lead=(
            f"Written on {instant(vitals.at)}, and edited once a day. If it does not say a later day by "
            f"{instant(by)}, the service does not run or can't reach Slack: silence means nothing then."
        ),
        why_now="",
        facts=_facts(vitals),
        drivers=(),
        evidence=(),
        advice="",
        replay="",
        context=("Not an alert",),
        links=(),
    )


def _facts(vitals: Vitals) -> tuple[Fact, ...]:
    return (
        Fact("Rules last judged", _when(vitals.judged_at)),
        Fact("Last message delivered", _when(vitals.delivered_at)),
        Fact("Waiting", f"{vitals.waiting:,}"),
        Fact("Unclear", f"{vitals.unknown:,}"),
        Fact("Given up", f"{vitals.dead:,}"),
        Fact("Open incidents", f"{vitals.open_incidents:,}"),
        Fact("Next word by", instant(next_word_by(vitals.at))),
    )


def _when(at: datetime | None) -> str:
    return "never" if at is None else instant(at)
