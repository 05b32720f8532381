"""A drill: messages that say nothing has happened, to see whether messages of a route arrive."""

from datetime import UTC, datetime

from alerts.incident import State
from alerts.interactions import Action
from alerts.messages import DRILL, Message
from alerts.routing import Route
from alerts.rules import Fact, Reading, Severity, short_hash
from alerts.wording import day

BOOK = DRILL
"""How the book of a drill begins: no list of alerts shows it, and no rule is judged in it."""


def drill_book(at: datetime) -> str:
    """A book of its own for each drill, to the microsecond: two in one second don't meet."""
    return f"{BOOK} {at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}"


def is_drill(book: str) -> bool:
    """Whether a book belongs to a drill."""
    return book.startswith(f"{BOOK} ")


def drill_reading(
    route: Route,
    book: str,
    channel: str = "",
    *,
    number: int = 1,
    count: int = 1,
    severity: Severity = Severity.INFO,
    has_buttons: bool = False,
) -> Reading:
    """What a rule would have said, if one had: enough for the ledger, and for edits of the message."""
    return Reading(
        rule=BOOK,
        rule_version=BOOK,
        type=DRILL,
        route=route.name,
        subject=route.name,
        subject_title=f"Route {route.name}",
        fingerprint=short_hash(BOOK, route.name, route.channel, number),
        input_id=book,
        value=float(number),
        unit="drills",
        limit=float(count),
        severity=severity,
        is_clear=False,
        headline=_headline(number, count),
        facts=_facts(route, channel or route.channel),
        standing=_purpose(route, has_buttons=has_buttons),
    )


def drill_message(
    route: Route,
    channel: str,
    *,
    by: str,
    at: datetime,
    number: int = 1,
    count: int = 1,
    severity: Severity = Severity.INFO,
    incident: str = "",
) -> Message:
    """What is posted, the `number`-th of `count`: it can't be taken for an alert, and calls nobody.

    With the id of its `incident` it has the buttons of an alert, to try them.
    """
    instant = at.astimezone(UTC)
    return Message(
        kind="root",
        label="Test",
        headline=_headline(number, count),
        severity=severity,
        state=State.FIRING,
        lead=_purpose(route, has_buttons=bool(incident)),
        why_now=f"Asked for by {by} on {day(instant)}, {instant:%H:%M} UTC.",
        facts=_facts(route, channel),
        drivers=(),
        evidence=(),
        advice="",
        replay="",
        context=("Not an alert",),
        links=(),
        incident=incident,
        actions=(Action.ACKNOWLEDGE, Action.SNOOZE_DAY, Action.SNOOZE_WEEK, Action.NUMBERS),
    )


def _headline(number: int, count: int) -> str:
    return f"Drill {number} of {count}: nothing has happened"


def _purpose(route: Route, *, has_buttons: bool) -> str:
    todo = (
        "Nothing has to be done; the buttons may be tried." if has_buttons else "Please do nothing."
    )
    return f"This only tests whether messages of the route {route.name} arrive here. {todo}"


def _facts(route: Route, channel: str) -> tuple[Fact, ...]:
    return (Fact("Route", route.name), Fact("Channel", channel))
