"""A drill: one message that says nothing has happened, to see whether messages of a route arrive."""

from datetime import UTC, datetime

from alerts.incident import State
from alerts.messages import Message
from alerts.routing import Route
from alerts.rules import Fact, Reading, Severity, short_hash
from alerts.wording import day

BOOK = "drill"
"""How the book of a drill begins: no scheduled delivery empties it, and no list of alerts shows it."""

HEADLINE = "Drill: nothing has happened"


def drill_book(at: datetime) -> str:
    """A book of its own for each drill, to the microsecond: two in one second don't meet."""
    return f"{BOOK} {at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}"


def is_drill(book: str) -> bool:
    """Whether a book belongs to a drill."""
    return book.startswith(f"{BOOK} ")


def drill_reading(route: Route, book: str) -> Reading:
    """What a rule would have said, if one had: enough for the ledger to write a message."""
    return Reading(
        rule=BOOK,
        rule_version=BOOK,
        type=BOOK,
        route=route.name,
        subject=route.name,
        subject_title=f"Route {route.name}",
        fingerprint=short_hash(BOOK, route.name, route.channel),
        input_id=book,
        value=1.0,
        unit="drills",
        limit=1.0,
        severity=Severity.INFO,
        is_clear=False,
        headline=HEADLINE,
    )


def drill_message(route: Route, channel: str, *, by: str, at: datetime) -> Message:
    """What is posted: it can't be taken for an alert, and calls nobody."""
    instant = at.astimezone(UTC)
    return Message(
        kind="root",
        label="Test",
        headline=HEADLINE,
        severity=Severity.INFO,
        state=State.FIRING,
        lead=f"This only tests whether messages of the route {route.name} arrive here. Please do nothing.",
        why_now=f"Asked for by {by} on {day(instant)}, {instant:%H:%M} UTC.",
        facts=(Fact("Route", route.name), Fact("Channel", channel)),
        drivers=(),
        evidence=(),
        advice="",
        replay="",
        context=("Not an alert",),
        links=(),
    )
