"""flows/delivering.py: how long a delivery stays, what it waits for, and what it tells operators."""

from datetime import datetime, timedelta
from functools import partial
from types import SimpleNamespace

import pytest

from alerts.heartbeat import BOOK as HEARTBEAT
from alerts.ledger import LOOKS, OutboxState
from alerts.slack import SCOPES, SlackSender
from flows.delivering import deliver, keep_delivering
from flows.errors import DatabaseUnusableError
from flows.moments import LIVE_BOOK, Moment
from flows.settings import load_settings
from flows.storage.database import open_database
from flows.storage.ledger import SqlLedger
from tests.delivery.helpers import OPTIONS, TOKEN, Clock, compose, make_reading
from tests.slack_standin import Fault, StandIn

POST = "chat.postMessage"


@pytest.fixture
def slack():
    with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
def room(database_url, slack, tmp_path):
    """A post room whose clock moves only when somebody waits."""
    clock = Clock()
    with open_database(database_url) as database:
        yield SimpleNamespace(
            settings=load_settings({}, tmp_path / "none.toml"),
            ledger=SqlLedger(database),
            sender=SlackSender(TOKEN, slack.api_url, timeout_seconds=2),
            clock=clock,
            pause=clock.forward,
        )


@pytest.fixture
def at(room):
    return Moment(room.clock(), LIVE_BOOK, live=False)


def tell(room, count, *, book=LIVE_BOOK, channel="#alerts", first=0):
    for number in range(first, first + count):
        room.ledger.record(
            book,
            make_reading(1, f"s{number}"),
            OPTIONS,
            now=room.clock(),
            compose=partial(compose, channel=channel),
        )


def wait_for(seconds):
    return Fault("status", applied=False, status=429, headers={"Retry-After": str(seconds)})


def test_without_patience_it_waits_out_paces_and_nothing_else(room, at, slack):
    tell(room, 5)
    began = room.clock()
    assert deliver(room, at).sent == 5
    assert room.clock() - began < timedelta(seconds=6)
    tell(room, 1, first=5)
    slack.fail(POST, wait_for(30))
    began = room.clock()
    report = deliver(room, at)
    assert (report.sent, report.counts["pending"]) == (0, 1)
    assert room.clock() - began < timedelta(seconds=3)


def test_patience_begins_anew_with_each_message_that_goes(room, at, slack):
    tell(room, 4)
    slack.fail(POST, wait_for(30), Fault("hook"), wait_for(30), Fault("hook"), wait_for(30))
    began = room.clock()
    assert deliver(room, at, patience_seconds=40).sent == 4
    assert room.clock() - began > timedelta(seconds=90)


def test_it_leaves_when_its_longest_time_is_over(room, at):
    tell(room, 20)
    report = deliver(room, at, patience_seconds=40, longest_seconds=5)
    assert 4 <= report.sent <= 7
    assert report.counts["pending"] == 20 - report.sent


def test_a_request_to_stop_ends_a_wait_at_once(room, at, slack):
    tell(room, 2)
    slack.fail(POST, wait_for(600))
    began = room.clock()
    stop = began + timedelta(seconds=10)
    deliver(room, at, patience_seconds=900, is_stopped=lambda: room.clock() >= stop)
    assert room.clock() - stop < timedelta(seconds=1)


def test_a_second_copy_that_may_land_is_waited_for_once(room, at, slack):
    tell(room, 1)
    slack.fail(POST, Fault("lost", applied=False))
    deliver(room, at, patience_seconds=90)
    assert room.ledger.entries()[0].looks == 1  # it was swept before the delivery ended
    assert room.ledger.summary(LIVE_BOOK, room.clock()).first_sweep_at is None


def test_what_is_true_now_goes_together_and_looks_into_the_past_stay_apart(room, at, slack):
    tell(room, 1)
    tell(room, 1, book="drill 2026-11-30T12:00:00.000000", channel="#drills")
    tell(room, 1, book=HEARTBEAT, channel="#operators")
    tell(room, 1, book="as-of 2025-06-21", channel="#past")
    assert deliver(room, at).sent == 3
    assert slack.workspace.roots("#past") == []
    assert deliver(room, Moment(at.known_at, "as-of 2025-06-21", live=False)).sent == 1


def test_a_drill_under_way_takes_nothing_else_along(room, at, slack):
    tell(room, 1)
    book = "drill 2026-11-30T12:00:00.000000"
    tell(room, 1, book=book, channel="#drills")
    assert deliver(room, Moment(at.known_at, book, live=False)).sent == 1
    assert slack.workspace.roots("#alerts") == []


def test_a_slack_that_never_answers_is_left_after_one_try_of_patience(room, at, slack):
    tell(room, 40)
    slow = Fault("lost", applied=False, hook=lambda: room.clock.forward(10))
    slack.fail(POST, *[slow] * 40)
    began = room.clock()
    deliver(room, at)
    assert room.clock() - began <= timedelta(seconds=40)
    deliver(room, at, patience_seconds=60)
    assert room.clock() - began <= timedelta(seconds=190)


def test_a_look_that_has_to_wait_is_waited_for_without_spinning(room, at, slack):
    tell(room, 1)
    slack.fail(POST, Fault("lost", applied=False))
    deliver(room, at, patience_seconds=200, is_stopped=lambda: len(slack.calls(POST)) > 1)
    room.ledger.pause(LOOKS, room.clock() + timedelta(seconds=100), "Slack asks to wait 100 s")
    room.clock.forward(61)
    calls = []
    real = room.pause
    room.pause = lambda seconds: (calls.append(seconds), real(seconds))
    deliver(room, at, patience_seconds=60)
    assert len(calls) < 300
    assert all(seconds > 0.01 for seconds in calls)


def test_what_waits_says_why(room, at, slack):
    tell(room, 1)
    slack.fail(POST, wait_for(120))
    report = deliver(room, at)
    assert report.problems == ()
    assert any("#alerts" in line and "wait 120 s" in line for line in report.lines())
    room.clock.forward(200)
    room.sender = SlackSender(TOKEN, "http://127.0.0.1:9/api/", timeout_seconds=1)
    report = deliver(room, at)
    assert any("can't be reached" in line for line in report.lines())


# --- tokens and permissions ---------------------------------------------------------


def test_a_refused_token_is_told_at_once_and_asked_about_once_a_minute(room, at, slack):
    tell(room, 3)
    slack.workspace.tokens = {"xoxb-another"}
    report = deliver(room, at, patience_seconds=900)
    assert "LODESTONE_SLACK_TOKEN" in report.token_problem
    assert report.problems == (report.token_problem,)
    assert len(slack.requests) == 1
    for _ in range(5):
        assert deliver(room, at).token_problem == report.token_problem
        room.clock.forward(10)
    assert len(slack.requests) == 1
    room.clock.forward(60)
    slack.workspace.tokens = None
    assert deliver(room, at).sent == 3


def test_missing_permissions_are_told_with_what_is_missing_without_them(room, at, slack):
    tell(room, 1)
    slack.workspace.scopes = {"chat:write", "channels:read"}
    report = deliver(room, at)
    assert report.sent == 1
    lines = [line for line in report.lines() if "lacks" in line]
    assert len(lines) == len(SCOPES) - 2
    assert any("files:write (no charts)" in line for line in lines)


def test_nobody_is_asked_who_we_are_when_nothing_waits(room, at, slack):
    deliver(room, at)
    assert slack.requests == []


def test_without_a_token_everything_stays_where_it_is(room, at):
    tell(room, 2)
    room.sender = None
    report = deliver(room, at)
    assert (report.sent, report.counts["pending"]) == (0, 2)
    assert any("LODESTONE_SLACK_TOKEN is not set" in line for line in report.lines())


# --- watching -----------------------------------------------------------------------


def watched(room, at, seconds, **events):
    """Watch for that long by the room's clock; what happens meanwhile is called at its second."""
    told = []
    began = room.clock()
    waiting = sorted((int(when.removeprefix("at_")), what) for when, what in events.items())

    def is_stopped():
        while waiting and room.clock() - began >= timedelta(seconds=waiting[0][0]):
            waiting.pop(0)[1]()
        return room.clock() - began >= timedelta(seconds=seconds)

    sent = keep_delivering(room, at, is_stopped=is_stopped, told=told.append)
    return sent, told


def test_a_watching_delivery_sends_what_is_committed_within_a_second(room, at, slack):
    began: list[datetime] = []

    def commit():
        began.append(room.clock())
        tell(room, 1)

    sent, told = watched(room, at, 10, at_3=commit)
    (entry,) = room.ledger.entries()
    assert sent == 1
    assert entry.sent_at - began[0] <= timedelta(seconds=1)
    assert any("1 sent" in line for line in told)


def test_a_watching_delivery_tells_a_trouble_once_and_goes_on(room, at, slack):
    slack.workspace.unknown_channels.add("nowhere")
    tell(room, 1, channel="#nowhere")
    sent, told = watched(room, at, 20, at_10=lambda: tell(room, 1, first=1))
    assert sent == 1
    assert sum("channel_not_found" in line for line in told) == 1
    assert [entry.state for entry in room.ledger.entries()] == [OutboxState.DEAD, OutboxState.SENT]


def test_a_watching_delivery_asks_slack_nothing_while_nothing_is_due(room, at, slack):
    watched(room, at, 30)
    assert [request.method for request in slack.requests] == ["auth.test"]


def test_a_watching_delivery_waits_for_a_database_that_is_away(room, at, monkeypatch):
    tell(room, 1)
    real = room.ledger.summary
    calls = []

    def away(*given):
        calls.append(given)
        if 2 <= len(calls) <= 6:
            message = "the server can't be reached; check that it runs"
            raise DatabaseUnusableError(message)
        return real(*given)

    monkeypatch.setattr(room.ledger, "summary", away)
    sent, told = watched(room, at, 10)
    assert sent == 1
    assert sum("can't be reached" in line for line in told) == 1
