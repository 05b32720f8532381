"""alerts/drill.py: a drill can't be taken for an alert, and meets no other."""

from datetime import UTC, datetime, timedelta, timezone

from alerts.blockkit import render_slack
from alerts.drill import drill_book, drill_message, drill_reading, is_drill
from alerts.routing import Route
from alerts.terminal import render_terminal

AT = datetime(2026, 11, 24, 8, 0, 0, 5, tzinfo=UTC)
ROUTE = Route("buyers", "#magnet-supply", mention="here")


def test_two_drills_of_one_second_have_books_of_their_own_that_fit_their_column():
    books = {drill_book(AT), drill_book(AT + timedelta(microseconds=1))}
    assert len(books) == 2
    assert all(is_drill(book) and len(book) <= 80 for book in books)
    india = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert drill_book(india) == drill_book(AT)
    assert not is_drill("live")
    assert not is_drill("as-of 2026-11-24")


def test_a_drill_says_that_nothing_has_happened_wherever_it_is_read_and_calls_nobody():
    message = drill_message(ROUTE, "#magnet-supply", by="<!channel> Asha", at=AT)
    content = render_slack(message)
    for shown in (content.text, str(content.blocks), render_terminal(message)):
        assert "Drill: nothing has happened" in shown
        assert "Asha" in shown
    for shown in (content.text, str(content.blocks)):
        assert "<!here>" not in shown
        assert "<!channel>" not in shown


def test_routes_of_one_drill_are_told_apart():
    book = drill_book(AT)
    readings = [drill_reading(one, book) for one in (ROUTE, Route("operators", "#magnet-supply"))]
    assert len({reading.fingerprint for reading in readings}) == 2
