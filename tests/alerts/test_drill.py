"""alerts/drill.py: a drill can't be taken for an alert, and meets no other."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from alerts import telling
from alerts.blockkit import render_slack
from alerts.drill import drill_book, drill_message, drill_reading, is_drill
from alerts.incident import Incident, Reason, State
from alerts.interactions import Action
from alerts.lifecycle import decide
from alerts.messages import numbers_message, root_message
from alerts.routing import Route
from alerts.rules import DEFAULT_OPTIONS, Severity
from alerts.terminal import render_terminal

AT = datetime(2026, 11, 24, 8, 0, 0, 5, tzinfo=UTC)
KNOWN = {"known_at": AT, "book": drill_book(AT)}
ROUTE = Route("buyers", "#magnet-supply", mention="here")


def test_two_drills_of_one_second_have_books_of_their_own_that_fit_their_column():
    books = {drill_book(AT), drill_book(AT + timedelta(microseconds=1))}
    assert len(books) == 2
    assert all(is_drill(book) and len(book) <= 80 for book in books)
    india = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert drill_book(india) == drill_book(AT)
    assert not is_drill("live")
    assert not is_drill("as-of 2026-11-24")


@pytest.mark.parametrize(("number", "count"), [(1, 1), (3, 40), (1000, 1000)])
@pytest.mark.parametrize("severity", list(Severity))
def test_a_drill_says_that_nothing_has_happened_wherever_it_is_read_and_calls_nobody(
    number, count, severity
):
    message = drill_message(
        ROUTE,
        "#magnet-supply",
        by="<!channel> Asha",
        at=AT,
        number=number,
        count=count,
        severity=severity,
        incident="6f1c0a52",
    )
    content = render_slack(message)
    for shown in (content.text, str(content.blocks), render_terminal(message)):
        assert f"Drill {number} of {count}: nothing has happened" in shown
        assert "Asha" in shown
    for shown in (content.text, str(content.blocks)):
        assert "<!" not in shown


def test_a_drill_is_as_loud_as_it_was_asked_to_be_and_is_called_a_test():
    marks = {Severity.INFO: "🔵", Severity.WARNING: "🟠", Severity.CRITICAL: "🔴"}
    for severity, mark in marks.items():
        message = drill_message(ROUTE, "#magnet-supply", by="Asha", at=AT, severity=severity)
        assert render_slack(message).text.startswith(f"{mark} Test: Drill 1 of 1: ")


def test_the_buttons_of_a_drill_are_those_of_an_alert_and_need_its_incident():
    how = {"by": "Asha", "at": AT}
    message = drill_message(ROUTE, "#magnet-supply", **how, incident="6f1c0a52")
    assert message.actions == root_message(drilled(), Reason.OPENED, **KNOWN).actions

    buttons = [one for one in render_slack(message).blocks if one["type"] == "actions"]
    assert [one["value"] for one in buttons[0]["elements"]] == ["6f1c0a52"] * 4
    without = drill_message(ROUTE, "#magnet-supply", **how)
    assert "actions" not in {one["type"] for one in render_slack(without).blocks}


def test_a_drill_that_somebody_took_on_still_says_that_nothing_has_happened():
    decision = telling.acknowledge(drilled(), "Ravi", now=AT)
    message = root_message(decision.incident, decision.reason, **KNOWN)

    assert message.label == "Test"
    assert message.headline == "Drill 3 of 40: nothing has happened"
    assert "Taken on by Ravi on 24 Nov 2026" in message.lead
    assert message.why_now.startswith("This only tests whether messages")
    assert [(fact.label, fact.value) for fact in message.facts] == [
        ("Route", "buyers"),
        ("Channel", "#elsewhere"),
    ]
    assert "Not an alert" in message.context


def test_the_numbers_of_a_drill_hold_no_measure_that_nobody_took():
    message = numbers_message(drilled(), **KNOWN)

    assert [fact.label for fact in message.facts] == ["Route", "Channel"]


@pytest.mark.parametrize(
    ("incident", "todo"),
    [
        ("", "Please do nothing."),
        ("6f1c0a52", "Nothing has to be done; the buttons may be tried."),
    ],
)
def test_a_drill_invites_to_its_buttons_where_it_has_some_also_when_it_is_edited(incident, todo):
    message = drill_message(ROUTE, "#magnet-supply", by="Asha", at=AT, incident=incident)
    reading = drill_reading(ROUTE, drill_book(AT), has_buttons=bool(incident))
    for said in (message.lead, reading.standing):
        assert said.startswith("This only tests whether messages of the route buyers arrive here.")
        assert said.endswith(todo)


def test_a_drill_that_is_over_says_no_more_than_that():
    over = replace(drilled(), state=State.WITHDRAWN, changed_at=AT + timedelta(days=1))
    message = root_message(over, Reason.WITHDRAWN, **KNOWN)
    assert (message.label, message.why_now) == ("Test", "")
    assert message.lead == "Over since 25 Nov 2026: a drill ends by itself."
    assert message.headline == "Drill 3 of 40: nothing has happened"
    assert message.actions == (Action.NUMBERS,)


def test_routes_of_one_drill_are_told_apart():
    book = drill_book(AT)
    readings = [drill_reading(one, book) for one in (ROUTE, Route("operators", "#magnet-supply"))]
    assert len({reading.fingerprint for reading in readings}) == 2


def test_drills_of_one_route_are_told_apart_by_their_number():
    book = drill_book(AT)
    readings = [drill_reading(ROUTE, book, number=number, count=2) for number in (1, 2)]
    assert readings[0].fingerprint != readings[1].fingerprint
    assert [one.headline.split(":")[0] for one in readings] == ["Drill 1 of 2", "Drill 2 of 2"]


def drilled() -> Incident:
    """The incident of a critical drill, posted a minute ago."""
    reading = drill_reading(
        ROUTE, drill_book(AT), "#elsewhere", number=3, count=40, severity=Severity.CRITICAL
    )
    decision = decide(
        None, reading, DEFAULT_OPTIONS, now=AT, book=drill_book(AT), new_id="6f1c0a52"
    )
    assert decision.incident is not None
    return decision.incident
