"""flows/listen.py: presses against a stateful Slack, in this process and in a real `lodestone slack listen`."""

import copy
import hashlib
import hmac
import json
import logging
import os
import shutil
import signal
import socket as socketlib
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from alerts.errors import NotAppliedError, RefusedError, TokenRefusedError, UnclearError
from alerts.incident import Incident, Reason, State
from alerts.ledger import OutboxState
from alerts.rules import DEFAULT_OPTIONS, Reading, Severity
from alerts.ruleset import Ruleset
from alerts.slack_socket import SlackAnswers, SlackSocket
from alerts.wording import instant
from flows import desk, listen, steps, wiring
from flows.catalog import Catalog, load_catalog
from flows.errors import DatabaseUnusableError, SettingsError, UsageError
from flows.listen import Listener, introduce, listen_by_http, listen_by_socket
from flows.service import LIVE_BOOK, Moment, Service
from flows.settings import load_settings
from flows.storage.interactions import InteractionStore, Kept, Settling
from flows.telling import desk_of, teller
from tests.builders import make_reading
from tests.delivery.helpers import Clock
from tests.flows.cli_home import LendDatabase, own_home
from tests.slack_standin import Fault, Message, StandIn
from tests.slack_standin.socket_mode import Click

BOT, APP, SIGNING = "xoxb-1-THE-BOT-TOKEN", "xapp-1-THE-APP-TOKEN", "THE-SIGNING-SECRET"
ROOT = Path(__file__).resolve().parents[2]
DROP = make_reading(Severity.CRITICAL, chart=None)
ACK, NUMBERS = "lodestone:acknowledge", "lodestone:numbers"
DOWN = Fault("status", applied=False, status=503)


@pytest.fixture(autouse=True)
def _own_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lend_service_database: LendDatabase
) -> Iterator[None]:
    with own_home(monkeypatch, tmp_path, lend_service_database):
        monkeypatch.setenv("LODESTONE_SLACK_TOKEN", BOT)
        monkeypatch.setenv("LODESTONE_SLACK_APP_TOKEN", APP)
        monkeypatch.setenv("LODESTONE_SLACK_CHANNEL", "#alerts")
        monkeypatch.setenv("LODESTONE_SLACK_MIN_INTERVAL_SECONDS", "0")
        monkeypatch.setenv("LODESTONE_SLACK_RECONCILE_SECONDS", "0.2")
        yield


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with StandIn() as stand_in:
        stand_in.workspace.channel_id("#alerts")
        monkeypatch.setenv("LODESTONE_SLACK_BASE_URL", stand_in.api_url)
        yield stand_in


@pytest.fixture(scope="module")
def read_once() -> tuple[Catalog, Ruleset]:
    """Catalogue and rules, which no test here changes: reading them takes longer than most tests."""
    catalog = load_catalog()
    return catalog, wiring.rules(load_settings({}), catalog)


@pytest.fixture
def service(
    slack: StandIn,
    read_once: tuple[Catalog, Ruleset],
    sqlite_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Service]:
    catalog, ruleset = read_once
    (tmp_path / "home").mkdir()
    shutil.copy(sqlite_template, tmp_path / "home" / "lodestone.db")
    with monkeypatch.context() as known:
        known.setattr(wiring, "load_catalog", lambda *_: catalog)
        known.setattr(wiring, "rules", lambda *_: ruleset)
        opened = wiring.build(load_settings())
    with closing(opened):
        yield opened


@pytest.fixture
def listener(service: Service) -> Iterator[Listener]:
    """With threads for answers and deliveries; what is kept is applied when a test says so."""
    made = Listener(service, wiring.answers(service.settings))
    for hand in (made._answering, made._delivering):
        hand.start()
    yield made
    made.stop()


def record(service: Service, reading: Reading = DROP, book: str = LIVE_BOOK) -> Incident:
    """Judge one reading and send what it has to say."""
    at = Moment(service.clock(), book, live=False)
    told = teller(service, at, "", None, draws=False)
    decision = service.ledger.record(
        book,
        reading,
        DEFAULT_OPTIONS,
        now=at.known_at,
        compose=told.entries,
        desk=desk_of(service),
    )
    steps.deliver(service, at)
    assert decision.incident is not None
    return decision.incident


def root(slack: StandIn) -> Message:
    return slack.workspace.roots()[-1]


def buttons(message: Message) -> list[str]:
    parts = [part for block in message.blocks for part in block.get("elements", ())]
    return [part["action_id"] for part in parts if part.get("type") == "button"]


def eventually(ready: Callable[[], Any], what: str, seconds: float = 5.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = ready()
        if found:
            return found
        time.sleep(0.01)
    pytest.fail(f"not within {seconds} s: {what}")


def told_to(slack: StandIn, user: str, count: int = 1) -> str:
    """What the person was answered last, once there are so many answers."""

    def answers() -> list[Any]:
        return [one for one in slack.workspace.ephemerals if one.user == user]

    found = eventually(lambda: len(answers()) >= count and answers(), f"{count} answers to {user}")
    assert len(found) == count
    return str(found[-1].text)


def press(
    listener: Listener,
    slack: StandIn,
    action: str,
    user: str = "U0PRIYA",
    name: str = "priya",
    message: Message | None = None,
) -> Click:
    """Press, and apply it; nobody is connected, so it comes by our hand."""
    click = slack.click(message or root(slack), action, user, name)
    assert listener.hear(click.payload)
    listener.apply_waiting()
    return click


def life(service: Service, key: str) -> list[tuple[Reason, str]]:
    return [(one.reason, one.note) for one in service.ledger.transitions(key)]


def kept(service: Service) -> tuple[Kept, ...]:
    return InteractionStore(service.database).recent()


def now_is(service: Service, key: str) -> Incident:
    found = service.ledger.incident(key)
    assert found is not None
    return found


# --- what is asked for is done ------------------------------------------------------


def test_a_press_is_kept_before_anything_comes_of_it(service, slack, listener):
    drop = record(service)
    click = slack.click(root(slack), ACK)
    assert listener.hear(click.payload)
    (one,) = kept(service)
    assert (one.press.user_name, one.press.action, one.press.incident_id) == (
        "priya",
        "acknowledge",
        drop.id,
    )
    assert (one.done_at, one.outcome) == (None, "")
    assert life(service, drop.id) == [(Reason.OPENED, "")]


def test_an_acknowledgement_is_kept_shown_in_the_message_and_answered_to_one_person(
    service, slack, listener
):
    drop = record(service)
    press(listener, slack, ACK)
    assert life(service, drop.id)[1:] == [(Reason.ACKNOWLEDGED, "by priya")]
    assert "You have taken this on. Nobody else is called." in told_to(slack, "U0PRIYA")
    eventually(lambda: root(slack).edited, "the message is edited")
    assert "Taken on by priya" in root(slack).text
    assert ACK not in buttons(root(slack))
    assert len(slack.workspace.messages) == 1, "the channel hears nothing new"
    (one,) = kept(service)
    assert "You have taken this on." in one.outcome
    assert one.done_at is not None


@pytest.mark.parametrize(("action", "days"), [("snooze_1d", 1), ("snooze_7d", 7)])
def test_a_snooze_lasts_from_the_press_however_late_it_is_applied(
    service, slack, listener, action, days
):
    drop = record(service)
    assert listener.hear(slack.click(root(slack), f"lodestone:{action}").payload)
    (one,) = kept(service)
    listener.apply_waiting()
    assert now_is(service, drop.id).snoozed_until == one.received_at + timedelta(days=days)
    assert "Snoozed until" in told_to(slack, "U0PRIYA")
    eventually(lambda: "lodestone:unsnooze" in buttons(root(slack)), "the message offers its end")

    press(listener, slack, "lodestone:unsnooze")
    assert now_is(service, drop.id).snoozed_until is None
    assert "Awake again" in told_to(slack, "U0PRIYA", 2)
    assert [reason for reason, _ in life(service, drop.id)] == [
        Reason.OPENED,
        Reason.SNOOZED,
        Reason.WOKEN,
    ]


def test_numbers_are_shown_to_who_asked_and_change_nothing(service, slack, listener):
    drop = record(service)
    press(listener, slack, NUMBERS)
    told = told_to(slack, "U0PRIYA")
    assert "52 % of the mean" in told
    assert "60 % of the mean" in told
    shown = json.dumps(slack.workspace.ephemerals[0].blocks, ensure_ascii=False)
    assert "12-month mean" in shown
    assert "known from 20 May 2025" in shown
    assert life(service, drop.id) == [(Reason.OPENED, "")]
    assert (len(slack.workspace.messages), root(slack).edited) == (1, 0)
    assert kept(service)[0].outcome.startswith("shown the numbers of: China's exports")


def test_an_answer_in_a_thread_stays_there(service, slack, listener):
    record(service)
    click = slack.click(root(slack), NUMBERS)
    payload = copy.deepcopy(dict(click.payload))
    payload["container"]["thread_ts"] = root(slack).ts
    listener.hear(payload)
    listener.apply_waiting()
    told_to(slack, "U0PRIYA")
    assert slack.workspace.ephemerals[0].under == root(slack).ts


# --- once, and by the first ---------------------------------------------------------


def test_a_press_that_slack_sends_again_is_kept_and_applied_once(service, slack, listener):
    drop = record(service)
    click = press(listener, slack, ACK)
    for _ in range(3):
        assert listener.hear(click.payload), "Slack must hear that it is known"
        assert listener.apply_waiting() == 0
    assert len(kept(service)) == 1
    assert life(service, drop.id)[1:] == [(Reason.ACKNOWLEDGED, "by priya")]
    told_to(slack, "U0PRIYA")
    assert listener.heard == 1


def test_of_two_people_the_first_has_it_and_the_second_hears_who(service, slack, listener):
    drop = record(service)
    before = copy.deepcopy(root(slack))  # both look at the same message
    first = slack.click(before, ACK, "U0RAVI", "ravi")
    second = slack.click(before, ACK, "U0PRIYA", "priya")
    listener.hear(first.payload)
    listener.hear(second.payload)
    assert listener.apply_waiting() == 2
    assert now_is(service, drop.id).acknowledged_by == "ravi"
    assert "Taken on already by ravi on " in told_to(slack, "U0PRIYA")
    assert "You have taken this on." in told_to(slack, "U0RAVI")
    assert life(service, drop.id)[1:] == [(Reason.ACKNOWLEDGED, "by ravi")]
    assert len(kept(service)) == 2


def test_a_second_person_of_the_same_name_is_not_told_that_it_was_them(service, slack, listener):
    record(service)
    before = copy.deepcopy(root(slack))
    press(listener, slack, ACK, "U0ALEX1", "alex", message=before)
    press(listener, slack, ACK, "W0ALEX2", "alex", message=before)
    told = told_to(slack, "W0ALEX2")
    assert "Taken on already by alex on " in told
    assert "You" not in told


def test_a_snooze_by_a_button_never_shortens_a_longer_one(service, slack, listener):
    drop = record(service)
    before = copy.deepcopy(root(slack))
    press(listener, slack, "lodestone:snooze_7d", "U0RAVI", "ravi", message=before)
    until = now_is(service, drop.id).snoozed_until
    press(listener, slack, "lodestone:snooze_1d", message=before)
    assert now_is(service, drop.id).snoozed_until == until
    assert now_is(service, drop.id).snoozed_by == "ravi"
    told = told_to(slack, "U0PRIYA")
    assert f"Snoozed already until {instant(until)} by ravi: that is longer" in told
    assert [reason for reason, _ in life(service, drop.id)] == [Reason.OPENED, Reason.SNOOZED]


def test_a_snooze_by_a_button_makes_a_shorter_one_longer(service, slack, listener):
    drop = record(service)
    before = copy.deepcopy(root(slack))
    press(listener, slack, "lodestone:snooze_1d", "U0RAVI", "ravi", message=before)
    day = now_is(service, drop.id).snoozed_until
    press(listener, slack, "lodestone:snooze_7d", message=before)
    assert now_is(service, drop.id).snoozed_until > day + timedelta(days=5)
    assert now_is(service, drop.id).snoozed_by == "priya"


def test_somebody_of_another_workspace_is_told_that_they_may_not_and_it_is_kept(
    service, slack, listener
):
    drop = record(service)
    for number, action in enumerate((ACK, "lodestone:snooze_7d", NUMBERS), 1):
        payload = copy.deepcopy(dict(slack.click(root(slack), action, "U0OTHER", "eve").payload))
        payload["user"]["team_id"] = "T0OTHERS"
        assert listener.hear(payload)
        assert listener.hear(payload), "sent again"
        assert listener.apply_waiting() == 0
        assert "belongs to another workspace" in told_to(slack, "U0OTHER", number)
    assert life(service, drop.id) == [(Reason.OPENED, "")]
    for one in kept(service):
        assert one.press.user_name == "eve"
        assert "belongs to another workspace" in one.outcome
        assert one.done_at is not None


def test_a_press_that_changes_nothing_asks_for_no_delivery(service, slack, listener, monkeypatch):
    record(service)
    before = copy.deepcopy(root(slack))
    delivered: list[Moment] = []
    monkeypatch.setattr(steps, "deliver", lambda _, at, **__: delivered.append(at))
    for action in (NUMBERS, ACK, ACK, "lodestone:snooze_7d", "lodestone:snooze_1d"):
        press(listener, slack, action, message=before)
    told_to(slack, "U0PRIYA", 5)
    listener.stop()
    assert len(delivered) == 2, "for the first of both"


def test_what_another_listener_has_applied_is_forgotten(service, slack, listener):
    record(service)
    other = Listener(service, None)
    for number in range(3):
        listener.hear(slack.click(root(slack), NUMBERS, f"U{number}", f"p{number}").payload)
    assert other.apply_waiting() == 3
    assert listener.apply_waiting() == 0
    assert not listener._fresh
    assert not listener._coming


def test_two_listeners_apply_one_press_once(service, slack, listener, monkeypatch):
    drop = record(service)
    other = Listener(service, None)
    listener.hear(slack.click(root(slack), "lodestone:snooze_1d").payload)
    waiting = InteractionStore(service.database).waiting()
    # Both have read it before either applies it.
    monkeypatch.setattr(InteractionStore, "waiting", lambda _: waiting)
    assert (listener.apply_waiting(), other.apply_waiting()) == (1, 0)
    assert life(service, drop.id)[1:] == [
        (Reason.SNOOZED, life(service, drop.id)[1][1]),
    ]


def test_presses_that_come_at_one_moment_are_all_kept_once(service, slack, listener):
    record(service)
    clicks = [slack.click(root(slack), ACK, f"U{n}", f"p{n}") for n in range(4)]
    threads = [
        threading.Thread(target=listener.hear, args=(click.payload,))
        for click in clicks
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.press.user_id for one in kept(service)) == ["U0", "U1", "U2", "U3"]


# --- what can't be done is answered ---------------------------------------------------


def test_a_button_on_what_has_ended_says_when_it_ended(service, slack, listener):
    drop = record(service)
    before = copy.deepcopy(root(slack))
    for number in (2, 3):
        record(service, make_reading(None, input_id=f"input-{number}", chart=None))
    assert now_is(service, drop.id).state is State.RESOLVED
    press(listener, slack, ACK, message=before)
    told = told_to(slack, "U0PRIYA")
    assert told.splitlines()[1].startswith("This alert ended on ")
    assert told.endswith(": nothing to acknowledge.")
    assert now_is(service, drop.id).acknowledged_at is None
    assert kept(service)[0].outcome.endswith("nothing to acknowledge.")


def test_numbers_of_what_has_ended_are_still_shown(service, slack, listener):
    record(service)
    for number in (2, 3):
        record(service, make_reading(None, input_id=f"input-{number}", chart=None))
    press(listener, slack, NUMBERS)
    assert "of the mean" in told_to(slack, "U0PRIYA")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            {"value": "6f1c0a52-0000-5000-8000-00000000dead"},
            "not known here",
            id="unknown incident",
        ),
        pytest.param({"value": None}, "not known here", id="no incident"),
        pytest.param(
            {"action_id": "lodestone:escalate"}, "does not know this button", id="new button"
        ),
    ],
)
def test_a_button_that_leads_nowhere_is_answered_politely_and_kept(
    service, slack, listener, change, words
):
    record(service)
    payload = copy.deepcopy(dict(slack.click(root(slack), ACK).payload))
    payload["actions"][0] |= change
    assert listener.hear(payload)
    listener.apply_waiting()
    assert words in told_to(slack, "U0PRIYA")
    assert words in kept(service)[0].outcome


def test_the_beginning_of_an_id_is_no_id(service, slack, listener):
    drop = record(service)
    payload = copy.deepcopy(dict(slack.click(root(slack), ACK).payload))
    payload["actions"][0]["value"] = drop.id[:8]
    listener.hear(payload)
    listener.apply_waiting()
    assert "not known here" in told_to(slack, "U0PRIYA")
    assert now_is(service, drop.id).acknowledged_at is None


def test_a_snooze_that_is_over_before_it_is_applied_changes_nothing(service, slack):
    drop = record(service)
    clock = Clock()
    late = Listener(replace(service, clock=clock), wiring.answers(service.settings))
    late._answering.start()
    assert late.hear(slack.click(root(slack), "lodestone:snooze_1d").payload)
    clock.forward(2 * 86400)
    late.apply_waiting()
    assert "Nothing was changed" in told_to(slack, "U0PRIYA")
    assert now_is(service, drop.id).snoozed_until is None
    late.stop()


def test_buttons_of_other_apps_are_heard_and_left_alone(service, slack, listener):
    record(service)
    payload = copy.deepcopy(dict(slack.click(root(slack), ACK).payload))
    payload["actions"][0]["action_id"] = "approve"
    assert listener.hear(payload)
    assert kept(service) == ()


# --- other books ----------------------------------------------------------------------


def test_a_look_into_the_past_offers_its_numbers_which_say_first_what_they_are(
    service, slack, listener
):
    record(service, book="as-of 2025-06-21")
    assert buttons(root(slack)) == [NUMBERS]
    press(listener, slack, NUMBERS)
    assert told_to(slack, "U0PRIYA").startswith("[Replay: as known on ")
    first = slack.workspace.ephemerals[0].blocks[0]["text"]["text"]
    assert first.startswith("*Replay: as known on ")


def test_nothing_can_be_done_about_a_look_into_the_past(service, slack, listener):
    past = record(service, book="as-of 2025-06-21")
    payload = copy.deepcopy(dict(slack.click(root(slack), NUMBERS).payload))
    payload["actions"][0]["action_id"] = ACK
    listener.hear(payload)
    listener.apply_waiting()
    assert "This is a look into the past: there is nothing to do" in told_to(slack, "U0PRIYA")
    assert now_is(service, past.id).acknowledged_at is None
    assert "look into the past" in kept(service)[0].outcome


def test_a_drill_can_be_taken_on_and_snoozed_like_an_alert(service, slack, listener):
    _, (key, _) = desk.leave_drills(service, 2, by="asha", channel="#alerts")
    at = Moment(service.clock(), LIVE_BOOK, live=False)
    steps.deliver(service, Moment(at.known_at, now_is(service, key).book, live=False))
    message = eventually(
        lambda: next((m for m in slack.workspace.roots() if "Drill 1 of 2" in m.text), None),
        "the drill is posted",
    )
    press(listener, slack, ACK, message=message)
    assert now_is(service, key).acknowledged_by == "priya"
    eventually(lambda: "Taken on by priya" in message.text, "the drill's message is edited")
    assert "Drill 1 of 2" in message.text
    press(listener, slack, "lodestone:snooze_1d", message=message)
    assert now_is(service, key).snoozed_until is not None
    press(listener, slack, NUMBERS, message=message)
    assert "Drill 1 of 2" in told_to(slack, "U0PRIYA", 3)
    assert len(slack.workspace.messages) == 2


# --- when something is broken -----------------------------------------------------------


def test_while_slack_is_down_it_is_taken_on_and_the_message_says_so_later(service, slack, listener):
    drop = record(service)
    slack.fail("chat.postEphemeral", *[DOWN] * 1)
    slack.fail("chat.update", *[DOWN] * 3)
    press(listener, slack, ACK)
    assert now_is(service, drop.id).acknowledged_by == "priya"
    assert kept(service)[0].done_at is not None
    states = (OutboxState.PENDING, OutboxState.UNKNOWN)
    eventually(lambda: slack.calls("chat.update"), "an edit was tried")
    eventually(lambda: service.ledger.entries(LIVE_BOOK, states=states), "the edit waits")
    assert slack.workspace.ephemerals == []

    listener.stop()
    clock = Clock()
    later = replace(service, clock=clock, pause=clock.forward)
    at = Moment(clock(), LIVE_BOOK, live=False)
    steps.deliver(later, at, patience_seconds=600.0)
    assert "Taken on by priya" in root(slack).text
    assert len(life(service, drop.id)) == 2


def test_an_edit_whose_answer_is_lost_is_made_again_without_waiting_for_the_next_delivery(
    service, slack, listener
):
    record(service)
    slack.fail("chat.update", Fault("status", applied=False, status=502))
    press(listener, slack, ACK)
    eventually(lambda: "Taken on by priya" in root(slack).text, "the message is edited", 8)


def test_a_press_that_can_not_be_kept_is_not_acknowledged_and_the_person_hears_so(
    service, slack, listener, monkeypatch, caplog
):
    drop = record(service)

    def full(*_: object) -> bool:
        message = "/data/lodestone.db: the disk is full; make room"
        raise DatabaseUnusableError(message)

    monkeypatch.setattr(InteractionStore, "keep", full)
    with caplog.at_level(logging.WARNING, "lodestone.listen"):
        assert not listener.hear(slack.click(root(slack), ACK).payload)
    told = told_to(slack, "U0PRIYA")
    assert f"lodestone alerts ack {drop.id[:8]}" in told
    assert "the disk is full; make room" in caplog.text


def test_a_press_waits_for_a_database_that_can_not_be_used_and_is_applied_once(
    service, slack, listener, monkeypatch
):
    drop = record(service)
    listener.hear(slack.click(root(slack), ACK).payload)
    act = service.ledger.act
    tries = iter([DatabaseUnusableError("stayed locked for 30 s"), None])

    def busy(*given: Any, **more: Any) -> Any:
        if (problem := next(tries)) is not None:
            raise problem
        return act(*given, **more)

    monkeypatch.setattr(type(service.ledger), "act", lambda _self, *g, **m: busy(*g, **m))
    monkeypatch.setattr(listen, "RETRY_SECONDS", 0.05)
    listener._applying.start()
    listener._wake.set()
    assert "You have taken this on." in told_to(slack, "U0PRIYA")
    assert life(service, drop.id)[1:] == [(Reason.ACKNOWLEDGED, "by priya")]


def test_a_fault_of_ours_is_told_and_does_not_stop_the_presses_behind_it(
    service, slack, listener, monkeypatch, caplog
):
    drop = record(service)
    acknowledge = desk.acknowledge

    def broken(service: Service, key: str, *, by: str, press: Settling) -> Any:
        if by == "ravi":
            message = f"a bug that says {BOT}"
            raise ZeroDivisionError(message)
        return acknowledge(service, key, by=by, press=press)

    monkeypatch.setattr(desk, "acknowledge", broken)
    message = copy.deepcopy(root(slack))
    listener.hear(slack.click(message, ACK, "U0RAVI", "ravi").payload)
    listener.hear(slack.click(message, ACK, "U0PRIYA", "priya").payload)
    with caplog.at_level(logging.INFO, "lodestone.listen"):
        assert listener.apply_waiting() == 2
    assert f"lodestone alerts ack {drop.id[:8]}" in told_to(slack, "U0RAVI")
    assert now_is(service, drop.id).acknowledged_by == "priya"
    assert [one.outcome for one in kept(service)][
        1
    ] == "failed inside Lodestone (ZeroDivisionError)"
    assert "ZeroDivisionError" in caplog.text
    assert BOT not in caplog.text


def test_an_answer_that_fails_is_logged_and_stops_nothing(service, slack, listener, caplog):
    drop = record(service)
    slack.workspace.closed_channels["alerts"] = "is_archived"
    click = slack.click(root(slack), ACK)
    payload = {**click.payload, "response_url": "https://example.com/steal"}
    with caplog.at_level(logging.WARNING, "lodestone.listen"):
        listener.hear(payload)
        listener.apply_waiting()
        eventually(lambda: "answer failed" in caplog.text, "the log says so")
    assert "is_archived" in caplog.text
    assert now_is(service, drop.id).acknowledged_by == "priya"


# --- the edge to Slack --------------------------------------------------------------------


def test_where_the_app_may_not_post_the_answer_goes_to_the_address_that_came_with_the_press(
    service, slack, listener
):
    record(service)
    slack.workspace.not_joined.add("alerts")
    slack.workspace.scopes.discard("channels:join")
    press(listener, slack, ACK)
    assert "You have taken this on." in told_to(slack, "U0PRIYA")
    assert [one.outcome for one in slack.requests if one.method == "chat.postEphemeral"] == [
        "not_in_channel"
    ]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "https://example.com/actions/1",
        "https://hooks.slack.com.example.com/actions/1",
        "http://hooks.slack.com/actions/1",
        "https://hooks.slack.com:8443/actions/1",
        "https://user@example.com#hooks.slack.com",
        "file:///etc/passwd",
        "http://127.0.0.1:1/response/x",
        "http://[",
    ],
)
def test_no_address_but_slacks_is_ever_answered(slack, monkeypatch, address):
    answers = SlackAnswers(BOT, slack.api_url, timeout_seconds=2)
    slack.fail("chat.postEphemeral", Fault("error", False, error="not_in_channel"))
    asked: list[str] = []
    monkeypatch.setattr(SlackAnswers, "_respond", lambda _self, url, *_: asked.append(url))
    with pytest.raises(RefusedError, match="not_in_channel"):
        answers.whisper("C0ALERTS", "U1", "text", [], response_url=address)
    assert asked == []


@pytest.mark.parametrize(
    "address", ["https://hooks.slack.com/actions/T1/2/3", "{slack}/response/x"]
)
def test_slacks_own_addresses_are_answered(slack, monkeypatch, address):
    answers = SlackAnswers(BOT, slack.api_url, timeout_seconds=2)
    slack.fail("chat.postEphemeral", Fault("error", False, error="not_in_channel"))
    asked: list[str] = []
    monkeypatch.setattr(SlackAnswers, "_respond", lambda _self, url, *_: asked.append(url))
    address = address.format(slack=slack.url)
    answers.whisper("C0ALERTS", "U1", "text", [], response_url=address)
    assert asked == [address]


def test_an_answer_that_may_have_been_shown_is_not_given_twice(slack, monkeypatch):
    answers = SlackAnswers(BOT, slack.api_url, timeout_seconds=2)
    slack.fail("chat.postEphemeral", Fault("lost"))
    channel = slack.workspace.channel_id("#alerts")
    with pytest.raises(UnclearError):
        answers.whisper(channel, "U1", "text", [], response_url="https://hooks.slack.com/actions/1")
    assert len(slack.workspace.ephemerals) == 1


def test_what_people_are_called_can_not_call_anybody(service, slack, listener):
    record(service)
    press(listener, slack, ACK, "U0RAVI", "<!channel> & <@U1>")
    eventually(lambda: root(slack).edited, "the message is edited")
    press(listener, slack, NUMBERS)  # a button that is still there
    listener.hear(slack.click(_with_button(root(slack)), ACK).payload)
    listener.apply_waiting()
    told = told_to(slack, "U0PRIYA", 2)
    assert "Taken on already by &lt;!channel&gt; &amp; &lt;@U1&gt; on " in told
    for shown in slack.workspace.ephemerals:
        for block in shown.blocks:
            texts = [block.get("text", {}), *block.get("elements", ()), *block.get("fields", ())]
            for text in texts:
                assert text.get("type") != "mrkdwn" or "<!" not in text["text"]


def _with_button(message: Message) -> Message:
    """The message as it was before somebody took it on."""
    old = copy.deepcopy(message)
    for block in old.blocks:
        if block["type"] == "actions":
            value = block["elements"][0]["value"]
            block["elements"].insert(
                0,
                {
                    "type": "button",
                    "action_id": ACK,
                    "value": value,
                    "text": {"type": "plain_text", "text": "Acknowledge"},
                },
            )
    return old


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid_auth", TokenRefusedError),
        ("not_allowed_token_type", TokenRefusedError),
        ("missing_scope", TokenRefusedError),
        ("unknown_method", RefusedError),
        ("internal_error", UnclearError),
        ("ratelimited", NotAppliedError),
    ],
)
def test_a_connection_that_slack_refuses_says_why(slack, code, kind):
    slack.fail("apps.connections.open", Fault("error", False, error=code))
    door = SlackSocket(APP, lambda _: True, slack.api_url, timeout_seconds=2)
    with pytest.raises(kind) as caught:
        door.connect()
    door.close(0)
    assert APP not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    if kind is TokenRefusedError:
        assert "LODESTONE_SLACK_APP_TOKEN" in str(caught.value)
        assert "connections:write" in str(caught.value)
    assert APP not in repr(door)


def test_a_bot_token_is_no_app_token(slack):
    door = SlackSocket(BOT, lambda _: True, slack.api_url, timeout_seconds=2)
    with pytest.raises(TokenRefusedError, match="not_allowed_token_type"):
        door.connect()
    door.close(0)


@pytest.mark.parametrize(
    "url", [None, "http://127.0.0.1:1/", "ws://127.0.0.1:1/link", "ws://[::1", "file:///etc/passwd"]
)
def test_an_address_that_leads_to_no_connection_is_a_failure_and_no_end(slack, monkeypatch, url):
    door = SlackSocket(APP, lambda _: True, slack.api_url, timeout_seconds=2)
    client = door._client.door
    monkeypatch.setattr(client, "_call", lambda *_: {"ok": True, "url": url})
    with pytest.raises(NotAppliedError) as caught:
        door.connect()
    door.close(0)
    assert str(url) not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "is_safe"),
    [
        ("wss://wss-primary.slack.com/link/?ticket=1", True),
        ("wss://wss-primary.slack.com:443/link/", True),
        ("wss://wss-primary.slack.com:8443/link/", False),
        ("ws://wss-primary.slack.com/link/", False),
        ("wss:///link", False),
    ],
)
def test_presses_never_come_in_the_clear(url, is_safe):
    door = SlackSocket(APP, lambda _: True, "https://slack.com/api/", timeout_seconds=2)
    assert door._client.door._is_safe(url) is is_safe
    door.close(0)


# --- staying connected ----------------------------------------------------------------


class FlakySocket:
    """Connects as a list says: None is a success, an error is raised."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.stop = threading.Event()
        self.is_connected = False
        self.is_closed = False

    def connect(self) -> None:
        if not self.outcomes:
            self.stop.set()
            return
        outcome = self.outcomes.pop(0)
        if outcome is not None:
            raise outcome

    def close(self) -> None:
        self.is_closed = True


REFUSED = TokenRefusedError("Slack refuses the app token (invalid_auth); set another")


def test_an_app_token_refused_at_the_start_ends_it_with_a_sentence():
    door = FlakySocket(REFUSED)
    with pytest.raises(SettingsError, match="invalid_auth"):
        listen_by_socket(door, stop=door.stop, say=lambda _: None, team="Magnets")
    assert door.is_closed


def test_later_refusals_and_losses_are_told_once_and_tried_again(monkeypatch):
    monkeypatch.setattr(listen, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(listen, "LONGEST_WAIT_SECONDS", 0.02)
    down = NotAppliedError("Socket Mode: no connection (ConnectionRefusedError)")
    door = FlakySocket(down, down, None, REFUSED, REFUSED, None)
    said: list[str] = []
    listen_by_socket(door, stop=door.stop, say=said.append, team="Magnets")
    assert said == [
        f"not connected, trying again: {down}",
        "listening as Magnets",
        f"not connected, trying again: {REFUSED}",
        "listening as Magnets again",
    ]
    assert door.is_closed


def test_slack_that_asks_to_wait_is_not_asked_again_before(monkeypatch):
    monkeypatch.setattr(listen, "FIRST_WAIT_SECONDS", 0.01)
    door = FlakySocket(NotAppliedError("apps.connections.open: Slack asks to wait", 0.3), None)
    began = time.monotonic()
    listen_by_socket(door, stop=door.stop, say=lambda _: None, team="")
    assert time.monotonic() - began >= 0.3


@contextmanager
def connected(listener: Listener, service: Service, slack: StandIn) -> Iterator[list[str]]:
    """A connection that is kept up, as the command keeps it."""
    stop, said = threading.Event(), []
    door = wiring.slack_socket(service.settings, listener.hear)
    how = {"stop": stop, "say": said.append, "team": "Magnets"}
    thread = threading.Thread(target=listen_by_socket, args=(door,), kwargs=how, daemon=True)
    thread.start()
    assert slack.socket_mode.wait_connected(5)
    yield said
    stop.set()
    thread.join(5)


def test_a_connection_that_breaks_is_made_again(service, slack, listener, monkeypatch):
    record(service)
    monkeypatch.setattr(listen, "FIRST_WAIT_SECONDS", 0.05)
    with connected(listener, service, slack) as said:
        for connection in list(slack.socket_mode._connections):
            connection.socket.shutdown(socketlib.SHUT_RDWR)
        eventually(lambda: slack.socket_mode.connected == 0, "Slack has noticed")
        assert slack.socket_mode.wait_connected(5)
        assert slack.click(root(slack), ACK).wait(3)
    assert said == ["listening as Magnets"], "a loss that is mended at once is nobody's concern"


def test_a_refresh_that_slack_asks_for_and_then_refuses_is_made_up_for(
    service, slack, listener, monkeypatch
):
    record(service)
    monkeypatch.setattr(listen, "FIRST_WAIT_SECONDS", 0.05)
    with connected(listener, service, slack):
        slack.fail("apps.connections.open", Fault("error", False, error="internal_error"))
        assert slack.socket_mode.disconnect() == 1
        assert slack.socket_mode.wait_connected(8)
        assert slack.click(root(slack), ACK).wait(3)


def test_a_press_on_a_message_of_any_length_is_heard(service, slack, listener):
    record(service)
    long = copy.deepcopy(root(slack))
    long.text = "x" * 2_000_000
    with connected(listener, service, slack):
        assert slack.click(long, ACK).wait(3)
    assert len(kept(service)) == 1


def test_a_press_is_not_acknowledged_before_it_is_written(service, slack, listener, monkeypatch):
    record(service)
    may_write = threading.Event()
    keep = InteractionStore.keep
    monkeypatch.setattr(
        InteractionStore, "keep", lambda *given: may_write.wait(10) and keep(*given)
    )
    with connected(listener, service, slack):
        click = slack.click(root(slack), ACK)
        assert not click.wait(0.3), "nothing that could still be lost is acknowledged"
        may_write.set()
        assert click.wait(3)
    assert len(kept(service)) == 1


def test_the_start_says_the_team_and_what_the_app_lacks(slack):
    said: list[str] = []
    assert introduce(SlackAnswers(BOT, slack.api_url), said.append) == "Stand-in"
    assert said == []
    slack.workspace.scopes.discard("files:write")
    introduce(SlackAnswers(BOT, slack.api_url), said.append)
    (line,) = said
    assert "files:write" in line
    assert "docs/slack-app.md" in line


def test_a_bot_token_that_slack_refuses_ends_the_start(slack):
    slack.workspace.tokens = set()
    with pytest.raises(SettingsError, match="LODESTONE_SLACK_TOKEN"):
        introduce(SlackAnswers(BOT, slack.api_url), lambda _: None)


def test_a_slack_that_can_not_be_asked_does_not_hold_up_the_start():
    said: list[str] = []
    assert introduce(SlackAnswers(BOT, "http://127.0.0.1:9/api/"), said.append) == ""
    assert "could not be checked" in said[0]


# --- by signed requests -------------------------------------------------------------------


@contextmanager
def by_http(listener: Listener, health: Any = None) -> Iterator[str]:
    stop, said = threading.Event(), []
    how = {
        "secret": SIGNING,
        "health": health or (lambda: (True, {"is_well": True})),
        "stop": stop,
        "say": said.append,
        "team": "Magnets",
    }
    thread = threading.Thread(
        target=listen_by_http, args=(listener, ("127.0.0.1", 0)), kwargs=how, daemon=True
    )
    thread.start()
    eventually(lambda: said, "it listens")
    assert said[0].startswith("listening as Magnets on http://127.0.0.1:")
    yield said[0].rpartition(" ")[2]
    began = time.monotonic()
    stop.set()
    thread.join(5)
    assert time.monotonic() - began < 2


def ask(url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, body, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_request_that_slack_signed_is_kept_answered_empty_and_applied(service, slack, listener):
    drop = record(service)
    click = slack.click(root(slack), ACK)
    headers, body = slack.signed_request(click, SIGNING)
    with by_http(listener) as url:
        assert ask(f"{url}/slack/interactions", body, **headers) == (200, b"")
        assert ask(f"{url}/slack/interactions", body, **headers) == (200, b""), "sent again"
    assert len(kept(service)) == 1
    listener.apply_waiting()
    assert life(service, drop.id)[1:] == [(Reason.ACKNOWLEDGED, "by priya")]


def test_a_press_that_came_by_both_ways_is_one(service, slack, listener):
    record(service)
    click = slack.click(root(slack), ACK)
    headers, body = slack.signed_request(click, SIGNING)
    listener.hear(click.payload)
    with by_http(listener) as url:
        assert ask(url, body, **headers)[0] == 200
    assert len(kept(service)) == 1


def test_what_slack_did_not_sign_is_refused_and_leaves_no_trace(service, slack, listener):
    record(service)
    click = slack.click(root(slack), ACK)
    headers, body = slack.signed_request(click, SIGNING)
    stale, _ = slack.signed_request(click, SIGNING, timestamp=int(time.time()) - 400)
    garbled, _ = slack.signed_request(click, SIGNING, timestamp="soon")
    forged, _ = slack.signed_request(click, "another secret")
    with by_http(listener) as url:
        assert ask(url, body, **forged)[0] == 401
        assert ask(url, body, **stale)[0] == 401
        assert ask(url, body, **garbled)[0] == 401
        assert ask(url, body)[0] == 401
        assert ask(url, body + b"&more=1", **headers)[0] == 401
        assert ask(url, body, **headers | {"X-Slack-Signature": "v0=\xe9"})[0] == 401
    assert kept(service) == ()


@pytest.mark.parametrize(
    "body",
    [
        b"payload=3",
        b"payload={",
        b"payload=%5B%5D",
        b"other=1",
        b"",
        b"\xff\xfe",
        b"payload=" + b"%5B" * 9000,
    ],
)
def test_a_signed_request_that_is_no_payload_is_refused(service, listener, body):
    at = str(int(time.time()))
    digest = hmac.new(SIGNING.encode(), b"v0:" + at.encode() + b":" + body, hashlib.sha256)
    sign = {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": f"v0={digest.hexdigest()}"}
    with by_http(listener) as url:
        assert ask(url, body, **sign)[0] == 400


def test_a_request_without_end_is_not_read(service, listener):
    with by_http(listener) as url:
        host, port = url.removeprefix("http://").split(":")
        for head, status in (
            ("Content-Length: 9999999", 413),
            ("Content-Length: -1", 411),
            ("Transfer-Encoding: chunked", 411),
        ):
            with socketlib.create_connection((host, int(port)), timeout=5) as raw:
                raw.sendall(f"POST / HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
                assert raw.recv(100).split()[1] == str(status).encode()


def test_a_press_that_can_not_be_kept_gets_no_ok(service, slack, listener, monkeypatch):
    record(service)
    headers, body = slack.signed_request(slack.click(root(slack), ACK), SIGNING)

    def full(*_: object) -> bool:
        message = "the disk is full; make room"
        raise DatabaseUnusableError(message)

    monkeypatch.setattr(InteractionStore, "keep", full)
    with by_http(listener) as url:
        assert ask(url, body, **headers)[0] == 503


@pytest.mark.parametrize(("is_well", "status"), [(True, 200), (False, 503)])
def test_health_is_told_to_whoever_asks(service, listener, is_well, status):
    with by_http(listener, lambda: (is_well, {"is_well": is_well, "dead": 2})) as url:
        got, body = ask(f"{url}/health")
        assert (got, json.loads(body)) == (status, {"is_well": is_well, "dead": 2})
        assert ask(f"{url}/")[0] == 404


def test_health_of_a_database_that_can_not_be_used_is_a_sentence(service, listener):
    def broken() -> Any:
        message = "stayed locked for 30 s"
        raise DatabaseUnusableError(message)

    with by_http(listener, broken) as url:
        got, body = ask(f"{url}/health")
    assert (got, json.loads(body)["why"]) == (503, "stayed locked for 30 s")


def test_an_address_that_is_taken_is_told(listener):
    with socketlib.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = taken.getsockname()
        with pytest.raises(UsageError, match=f"--http 127.0.0.1:{address[1]}: can't listen there"):
            listen_by_http(
                listener,
                address,
                secret=SIGNING,
                health=lambda: (True, {}),
                stop=threading.Event(),
                say=lambda _: None,
                team="",
            )


# --- a real process -------------------------------------------------------------------------

LISTEN = "\nimport sys\nfrom flows.cli import main\nsys.exit(main(['slack', 'listen']))"
DIES_AFTER_KEEPING = """
import os, signal
from flows.storage.interactions import InteractionStore
keep = InteractionStore.keep
def keep_and_die(*given):
    keep(*given)
    os.kill(os.getpid(), signal.SIGKILL)
InteractionStore.keep = keep_and_die
"""
DIES_BEFORE_APPLYING = """
import os, signal, time
from flows.listen import Listener
def die(*_):
    time.sleep(0.5)  # until Slack has heard that it came
    os.kill(os.getpid(), signal.SIGKILL)
Listener._apply = die
"""
DIES_BEFORE_COMMITTING = """
import os, signal, time
from flows.storage.interactions import Settling
settle = Settling.settle
def settle_and_die(*given):
    settle(*given)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
Settling.settle = settle_and_die
"""


@contextmanager
def child(code: str = "") -> Iterator[subprocess.Popen[str]]:
    """A listener of its own, with what a test changes in it from outside."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LODESTONE_LOG_LEVEL": "DEBUG"}
    process = subprocess.Popen(
        [sys.executable, "-c", code + LISTEN],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_listener_hears_presses_survives_reconnects_and_ends_at_once(service, slack):
    drop = record(service)
    with child() as process:
        assert slack.socket_mode.wait_connected(20)
        message = copy.deepcopy(root(slack))
        clicks = []
        for user, name in (("U0RAVI", "ravi"), ("U0PRIYA", "priya")):
            # One after the other: of two within a millisecond, the SDK's threads say which is first.
            clicks.append(slack.click(message, ACK, user, name))
            assert clicks[-1].wait(3), "Slack waits three seconds for an ack"
        slack.redeliver(clicks[0])
        eventually(lambda: clicks[0].acks == 2, "the second delivery is acknowledged")
        eventually(lambda: "Taken on by ravi" in root(slack).text, "the message is edited")
        assert "Taken on already by ravi on " in told_to(slack, "U0PRIYA")

        assert slack.socket_mode.disconnect() == 1
        assert slack.socket_mode.wait_connected(10), "Slack asked it to connect anew"
        again = slack.click(root(slack), "lodestone:snooze_1d")
        assert again.wait(3)
        eventually(lambda: now_is(service, drop.id).snoozed_until, "the snooze is applied")

        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        out, err = process.communicate(timeout=10)
        assert time.monotonic() - began < 2
        assert process.returncode == 0
    assert out == "3 pressed, 3 applied\n"
    assert "listening as Stand-in\n" in err
    assert "Traceback" not in err
    for secret in (BOT, APP, "ticket="):
        assert secret not in out + err
    assert [reason for reason, _ in life(service, drop.id)] == [
        Reason.OPENED,
        Reason.ACKNOWLEDGED,
        Reason.SNOOZED,
    ]
    assert len(kept(service)) == 3


@pytest.mark.parametrize(
    ("code", "is_acked"),
    [
        pytest.param(DIES_AFTER_KEEPING, False, id="kept, Slack not told"),
        pytest.param(DIES_BEFORE_APPLYING, True, id="Slack told, not applied"),
        pytest.param(DIES_BEFORE_COMMITTING, True, id="applied, not committed"),
    ],
)
def test_a_press_outlives_a_kill_and_is_applied_once(service, slack, code, is_acked):
    drop = record(service)
    with child(code) as process:
        assert slack.socket_mode.wait_connected(20)
        click = slack.click(root(slack), ACK)
        process.wait(10)
        assert process.returncode == -signal.SIGKILL
    assert click.wait(0) is is_acked
    (one,) = kept(service)
    assert one.done_at is None
    assert life(service, drop.id) == [(Reason.OPENED, "")]

    # The next start finds it; Slack, which may not have heard, sends it again.
    after = Listener(service, wiring.answers(service.settings))
    after.start()
    assert after.hear(click.payload)
    eventually(lambda: "Taken on by priya" in root(slack).text, "the message is edited")
    told_to(slack, "U0PRIYA")
    after.stop()
    assert life(service, drop.id)[1:] == [(Reason.ACKNOWLEDGED, "by priya")]
    assert len(kept(service)) == 1


def test_slack_hears_at_once_while_applying_is_slow(service, slack, listener, monkeypatch):
    record(service)
    is_over = threading.Event()
    monkeypatch.setattr(Listener, "_apply", lambda *_: is_over.wait(20))
    listener._applying.start()
    door = wiring.slack_socket(service.settings, listener.hear)
    door.connect()
    assert slack.socket_mode.wait_connected(5)
    for number in range(3):
        click = slack.click(root(slack), ACK, f"U{number}", f"p{number}")
        assert click.wait(3)
        assert click.acked_after_seconds is not None
        assert click.acked_after_seconds < 1
    assert len(InteractionStore(service.database).waiting()) == 3
    is_over.set()
    door.close()
