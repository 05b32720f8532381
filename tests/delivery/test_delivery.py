"""Delivery against a stateful Slack, the real client and a real database: nothing lost, nothing twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.blockkit import render_slack
from alerts.delivery import DeliveryReport, Rendered, deliver, plain_text
from alerts.ledger import NewEntry, OutboxState
from alerts.lifecycle import Reason
from alerts.messages import Message, root_message, transition_reply
from alerts.rules import Fact, Severity
from alerts.slack import SlackSender
from flows.storage.ledger import SqlLedger
from tests.delivery.helpers import (
    NOON,
    OPTIONS,
    TOKEN,
    Clock,
    clear,
    compose,
    make_reading,
    record,
    with_chart,
)
from tests.slack_standin import Fault, StandIn

WINDOW = timedelta(seconds=60)


def render(message: Mapping[str, object]) -> Rendered:
    text = plain_text(message).text
    return Rendered(text, [{"type": "section", "text": {"type": "mrkdwn", "text": text}}])


def run(ledger, sender, clock: Clock, **options: object) -> DeliveryReport:
    options.setdefault("render", render)
    return deliver(ledger, sender, now=clock, reconcile_after=WINDOW, **options)


def until_rest(ledger, sender, clock: Clock, **options: object) -> DeliveryReport:
    """Call again at each due instant, as a worker would, until nothing is due any more."""
    report = run(ledger, sender, clock, **options)
    for _ in range(40):
        if report.next_due_at is None:
            break
        clock.at = max(clock.at, report.next_due_at)
        report = run(ledger, sender, clock, **options)
    return report


def at_rest(ledger, slack) -> None:
    """Every entry that counts as sent is a real message, and each key stands once."""
    for entry in ledger.entries():
        assert entry.state is OutboxState.SENT, entry
        assert entry.receipt is not None
        if entry.kind.value in ("root", "reply"):
            (message,) = slack.workspace.with_key(entry.delivery_key)
            assert (message.channel, message.ts) == (entry.receipt.channel_id, entry.receipt.ts)


# --- a healthy Slack ------------------------------------------------------------


def test_an_incident_is_one_message_edited_in_place_with_its_thread(ledger, slack, sender, clock):
    record(ledger, make_reading(1), compose=with_chart)
    report = run(ledger, sender, clock)
    assert (report.sent, report.is_drained, report.next_due_at) == (2, True, None)
    record(ledger, make_reading(2, severity=Severity.CRITICAL), NOON + timedelta(hours=1))
    record(ledger, clear(3), NOON + timedelta(hours=2))
    run(ledger, sender, clock)
    (root,) = slack.workspace.roots("#alerts")
    assert root.text.startswith("dy_oxide: reading 3")
    assert root.edited == 1
    chart, escalated, resolved = slack.workspace.thread(root.ts)
    assert chart.files
    assert escalated.text.startswith("ESCALATED")
    assert resolved.text.startswith("RESOLVED")
    at_rest(ledger, slack)


def test_the_same_evaluation_again_posts_nothing(ledger, slack, sender, clock):
    for _ in range(2):
        record(ledger, make_reading(1))
        run(ledger, sender, clock)
    assert len(slack.workspace.messages) == 1


def test_a_book_is_delivered_without_the_others(ledger, slack, sender, clock):
    record(ledger, make_reading(1))
    ledger.record("as-of 2025-06-21", make_reading(1), OPTIONS, now=NOON, compose=compose)
    report = run(ledger, sender, clock, book="as-of 2025-06-21")
    assert (report.sent, report.pending) == (1, 0)
    assert len(slack.workspace.messages) == 1


def test_at_most_bounds_the_entries_of_one_call(ledger, slack, sender, clock):
    for number in range(5):
        record(ledger, make_reading(1, f"s{number}"))
    assert run(ledger, sender, clock, at_most=2).sent == 2
    assert len(slack.workspace.messages) == 2


# --- unclear answers ------------------------------------------------------------

UNCLEAR = [
    Fault("lost", applied=True),
    Fault("lost", applied=False),
    Fault("reset", applied=True),
    Fault("reset", applied=False),
    Fault("cut", applied=True),
    Fault("html", applied=True),
    Fault("html", applied=False),
    Fault("late", applied=True, seconds=2.5),
    Fault("status", applied=True, status=500),
    Fault("status", applied=False, status=500),
    Fault("status", applied=True, status=503),
    Fault("error", applied=True, error="internal_error"),
    Fault("error", applied=False, error="internal_error"),
]


@pytest.mark.parametrize("fault", UNCLEAR, ids=lambda f: f"{f.kind}-{f.applied}-{f.status}")
def test_an_unclear_answer_ends_in_exactly_one_message(ledger, slack, sender, clock, fault):
    slack.fail("chat.postMessage", fault)
    record(ledger, make_reading(1))
    report = run(ledger, sender, clock)
    assert (report.sent, report.unknown) == (0, 1)
    until_rest(ledger, sender, clock)
    assert len(slack.workspace.messages) == 1
    at_rest(ledger, slack)


@pytest.mark.parametrize("fault", UNCLEAR, ids=lambda f: f"{f.kind}-{f.applied}-{f.status}")
def test_an_unclear_answer_to_a_reply_ends_in_exactly_one_reply(
    ledger, slack, sender, clock, fault
):
    record(ledger, make_reading(1))
    run(ledger, sender, clock)
    slack.fail("chat.postMessage", fault)
    record(ledger, clear(2), NOON + timedelta(hours=1))
    until_rest(ledger, sender, clock)
    (root,) = slack.workspace.roots()
    assert len(slack.workspace.thread(root.ts)) == 1
    at_rest(ledger, slack)


@pytest.mark.parametrize("applied", [True, False])
def test_an_unclear_edit_is_simply_made_again(ledger, slack, sender, clock, applied):
    record(ledger, make_reading(1))
    run(ledger, sender, clock)
    slack.fail("chat.update", Fault("lost", applied=applied))
    record(ledger, make_reading(2))
    until_rest(ledger, sender, clock)
    (message,) = slack.workspace.messages
    assert message.text.startswith("dy_oxide: reading 2")
    at_rest(ledger, slack)


def test_nothing_is_sent_again_before_the_window_has_passed(ledger, slack, sender, clock):
    slack.fail("chat.postMessage", Fault("lost", applied=False))
    record(ledger, make_reading(1))
    start = clock.at
    run(ledger, sender, clock)
    while len(slack.calls("chat.postMessage")) == 1:
        assert clock.at - start <= WINDOW + timedelta(seconds=1)
        clock.forward(1)
        run(ledger, sender, clock)
    assert clock.at - start >= WINDOW
    assert len(slack.calls("conversations.history")) >= 2


def test_a_message_that_history_shows_late_is_still_not_repeated(ledger, slack, sender, clock):
    slack.fail("chat.postMessage", Fault("lost", applied=True))
    slack.workspace.channel_id("#alerts")
    slack.workspace.history_lag_seconds = 999
    record(ledger, make_reading(1))
    run(ledger, sender, clock)
    clock.forward(1)
    run(ledger, sender, clock)
    slack.workspace.history_lag_seconds = 0
    until_rest(ledger, sender, clock)
    assert len(slack.workspace.messages) == 1
    at_rest(ledger, slack)


def test_a_newer_state_waits_behind_an_unclear_root_and_is_then_shown(ledger, slack, sender, clock):
    slack.fail("chat.postMessage", Fault("lost", applied=True))
    record(ledger, make_reading(1))
    run(ledger, sender, clock)
    record(ledger, clear(2), NOON + timedelta(hours=1))
    until_rest(ledger, sender, clock)
    (root,) = slack.workspace.roots()
    assert "RESOLVED" in root.text
    assert len(slack.workspace.thread(root.ts)) == 1
    at_rest(ledger, slack)


def test_a_root_that_never_arrived_is_posted_with_the_newest_text(ledger, slack, sender, clock):
    slack.fail("chat.postMessage", Fault("lost", applied=False))
    record(ledger, make_reading(1))
    run(ledger, sender, clock)
    record(ledger, clear(2), NOON + timedelta(hours=1))
    until_rest(ledger, sender, clock)
    (message,) = slack.workspace.messages
    assert "RESOLVED" in message.text
    assert "began as warning" in message.text
    assert message.edited == 0
    at_rest(ledger, slack)


def test_a_channel_that_may_not_be_read_gets_a_marked_repeat_after_the_window(
    ledger, slack, sender, clock
):
    nobody_may_look(slack)
    slack.fail("chat.postMessage", Fault("lost", applied=False))
    record(ledger, make_reading(1))
    start = clock.at
    report = run(ledger, sender, clock)
    assert report.unknown == 1
    until_rest(ledger, sender, clock)
    assert clock.at - start >= WINDOW
    (message,) = slack.workspace.messages
    assert "Possible repeat" in message.text


def nobody_may_look(slack: StandIn) -> None:
    slack.workspace.disabled |= {
        "conversations.history",
        "conversations.list",
        "conversations.replies",
    }


@pytest.mark.parametrize("fault", UNCLEAR, ids=lambda f: f"{f.kind}-{f.applied}-{f.status}")
def test_an_alert_is_never_posted_more_than_twice_where_nobody_may_look(
    ledger, slack, sender, clock, fault
):
    nobody_may_look(slack)
    slack.fail("chat.postMessage", *[replace(fault) for _ in range(20)])
    record(ledger, make_reading(1))
    record(ledger, make_reading(1, "tb_oxide"))
    report = until_rest(ledger, sender, clock)
    assert len(slack.calls("chat.postMessage")) == 4
    assert (report.dead, report.next_due_at) == (2, None)
    assert "sent twice, and no answer said whether it arrived" in report.problems[0]
    for entry in ledger.entries():
        assert len(slack.workspace.with_key(entry.delivery_key)) <= 2


def test_a_reply_is_never_posted_more_than_twice_where_nobody_may_look(
    ledger, slack, sender, clock
):
    nobody_may_look(slack)
    record(ledger, make_reading(1))
    run(ledger, sender, clock)
    slack.fail("chat.postMessage", *[Fault("error", error="internal_error") for _ in range(20)])
    record(ledger, clear(2), NOON + timedelta(hours=1))
    report = until_rest(ledger, sender, clock)
    (root,) = slack.workspace.roots()
    assert len(slack.workspace.thread(root.ts)) == 2
    assert report.dead == 1


def test_each_redrive_of_what_was_sent_twice_is_one_more_post(ledger, slack, sender, clock):
    nobody_may_look(slack)
    slack.fail("chat.postMessage", *[Fault("error", error="internal_error") for _ in range(20)])
    record(ledger, make_reading(1))
    until_rest(ledger, sender, clock)
    ledger.redrive()
    assert until_rest(ledger, sender, clock).dead == 1
    assert len(slack.calls("chat.postMessage")) == 3


def test_a_worker_that_dies_twice_where_nobody_may_look_leaves_two_posts(
    ledger, slack, sender, clock
):
    nobody_may_look(slack)
    record(ledger, make_reading(1))
    for _ in range(3):  # posted, and dead before the answer was written down
        entry = ledger.claim(None, clock.at, timedelta(seconds=1))
        if entry is not None:
            sender.post(entry.channel, "posted", [], entry.delivery_key)
        clock.forward(2)
        run(ledger, sender, clock, at_most=0)
        clock.forward(WINDOW.total_seconds())
        run(ledger, sender, clock, at_most=0)
    assert len(slack.workspace.messages) == 2
    assert run(ledger, sender, clock).dead == 1


def test_a_history_without_messages_never_leads_to_a_second_post(ledger, slack, sender, clock):
    slack.without["conversations.history"] = {"messages"}
    slack.fail("chat.postMessage", *[Fault("error", error="internal_error") for _ in range(20)])
    record(ledger, make_reading(1))
    report = until_rest(ledger, sender, clock)
    assert len(slack.workspace.messages) == 1
    assert report.unknown == 1
    assert "without its messages" in report.problems[0]
    slack.without.clear()
    assert until_rest(ledger, sender, clock).is_drained
    at_rest(ledger, slack)


def test_a_slack_that_says_only_ok_shows_each_alert_and_each_turn_of_it_once(
    ledger, slack, sender, clock
):
    slack.answers_only_ok = True
    record(ledger, make_reading(1), compose=with_chart)
    report = until_rest(ledger, sender, clock)
    assert (report.is_drained, report.sent, report.dead_charts) == (True, 1, 0)
    record(ledger, make_reading(2), NOON + timedelta(hours=1))
    assert until_rest(ledger, sender, clock).is_drained
    record(ledger, clear(3), NOON + timedelta(hours=2))
    assert until_rest(ledger, sender, clock).is_drained
    # Without a ts nothing can be edited or stand in a thread; the turn is told beside it.
    shown = [message.text for message in slack.workspace.roots("#alerts")]
    assert [text.split()[0] for text in shown] == ["dy_oxide:", "RESOLVED"]
    assert len(slack.workspace.messages) == 2
    kept = {(entry.kind.value, entry.state.value) for entry in ledger.entries()}
    assert kept == {
        ("root", "SENT"),
        ("chart", "SKIPPED"),
        ("edit", "SKIPPED"),
        ("reply", "SENT"),
    }
    assert not slack.calls("chat.update")


def test_a_reply_beside_a_root_without_a_ts_is_looked_for_in_the_channel(
    ledger, slack, sender, clock
):
    slack.without["chat.postMessage"] = {"ts"}
    record(ledger, make_reading(1))
    run(ledger, sender, clock)
    slack.fail("chat.postMessage", Fault("lost", applied=True))
    record(ledger, clear(2), NOON + timedelta(hours=1))
    assert until_rest(ledger, sender, clock).is_drained
    assert len(slack.workspace.messages) == 2


def test_a_slack_that_leaves_out_the_channel_is_edited_and_threaded_as_ever(
    ledger, slack, sender, clock
):
    slack.without["chat.postMessage"] = {"channel"}
    record(ledger, make_reading(1), compose=with_chart)
    until_rest(ledger, sender, clock)
    record(ledger, clear(2), NOON + timedelta(hours=1))
    # Another process: what was learnt of channels is gone.
    again = SlackSender(TOKEN, slack.api_url, timeout_seconds=2)
    assert until_rest(ledger, again, clock).is_drained
    (root,) = slack.workspace.roots()
    assert "RESOLVED" in root.text
    assert len(slack.workspace.thread(root.ts)) == 2


def test_trouble_while_looking_keeps_the_entry_unclear_and_visible(ledger, slack, sender, clock):
    slack.fail("chat.postMessage", Fault("lost", applied=True))
    slack.fail("conversations.history", *[Fault("status", status=503)] * 4)
    record(ledger, make_reading(1))
    run(ledger, sender, clock)
    clock.forward(1)
    report = run(ledger, sender, clock)
    assert report.unknown == 1
    assert "unclear whether it arrived" in report.problems[0]
    until_rest(ledger, sender, clock)
    assert len(slack.workspace.messages) == 1
    at_rest(ledger, slack)


# --- being asked to wait --------------------------------------------------------


@pytest.mark.parametrize("seconds", [1, 30])
def test_no_request_goes_to_a_channel_before_the_wait_is_over(
    ledger, slack, sender, clock, seconds
):
    fault = Fault("status", False, 429, headers={"Retry-After": str(seconds)})
    slack.fail("chat.postMessage", fault)
    record(ledger, make_reading(1))
    record(ledger, make_reading(1, "tb_oxide"))
    record(
        ledger,
        make_reading(1, "nd_oxide"),
        compose=lambda decision: compose(decision, channel="#other"),
    )
    report = run(ledger, sender, clock)
    assert report.sent == 1
    assert [m.channel for m in slack.workspace.messages] == [slack.workspace.channel_id("#other")]
    record(ledger, make_reading(1, "late_comer"))
    before = len(slack.requests)
    clock.forward(seconds - 0.01)
    report = run(ledger, sender, clock)
    assert len(slack.requests) == before
    assert report.pending == 3
    assert (report.next_due_at - clock.at).total_seconds() <= 1
    clock.forward(1)
    assert run(ledger, sender, clock).sent == 3
    at_rest(ledger, slack)


def test_an_alert_that_ends_while_slack_asks_to_wait_is_told_as_one_message(
    ledger, slack, sender, clock
):
    slack.fail("chat.postMessage", Fault("status", False, 429, headers={"Retry-After": "30"}))
    record(ledger, make_reading(1))
    run(ledger, sender, clock)
    record(ledger, clear(2), NOON + timedelta(hours=1))
    until_rest(ledger, sender, clock)
    (message,) = slack.workspace.messages
    assert "RESOLVED" in message.text
    assert "began as warning, “dy_oxide: reading 1”" in message.text
    at_rest(ledger, slack)


def test_a_slack_that_is_away_is_tried_a_few_times_and_nothing_is_lost(ledger, clock):
    with StandIn() as gone:
        address = gone.api_url
    sender = SlackSender(TOKEN, address, timeout_seconds=1)
    for number in range(6):
        record(ledger, make_reading(1, f"s{number}"))
    report = run(ledger, sender, clock)
    assert (report.sent, report.pending, report.unknown) == (0, 6, 0)
    assert report.oldest_unsent_seconds > 0
    clock.forward(600)
    with StandIn() as back:
        until_rest(ledger, SlackSender(TOKEN, back.api_url), clock)
        assert len(back.workspace.roots()) == 6


# --- refusals -------------------------------------------------------------------


def test_refused_blocks_are_told_as_text_once(ledger, slack, sender, clock):
    many = [{"type": "divider"}] * 71
    record(ledger, make_reading(1))
    report = run(ledger, sender, clock, render=lambda m: Rendered(plain_text(m).text, many))
    assert report.is_drained
    (message,) = slack.workspace.messages
    assert message.blocks == []
    assert message.text.startswith("dy_oxide: reading 1")
    assert len(slack.calls("chat.postMessage")) == 2
    at_rest(ledger, slack)


def test_text_that_is_too_long_is_cut_rather_than_lost(ledger, slack, sender, clock):
    record(ledger, make_reading(1))
    run(ledger, sender, clock, render=lambda _: Rendered("word " * 10_000))
    (message,) = slack.workspace.messages
    assert message.text.endswith("…")
    assert len(message.text) <= 3000


def test_content_refused_even_as_text_is_dead_and_says_why(ledger, slack, sender, clock):
    refusals = [Fault("error", False, error="invalid_blocks")] * 2
    slack.fail("chat.postMessage", *refusals)
    record(ledger, make_reading(1))
    report = run(ledger, sender, clock)
    assert (report.dead, report.problems) == (1, ("#alerts: chat.postMessage: invalid_blocks",))


def test_refused_blocks_of_an_edit_are_replaced_by_text(ledger, slack, sender, clock):
    record(ledger, make_reading(1))
    run(ledger, sender, clock)
    record(ledger, make_reading(2))
    slack.fail("chat.update", Fault("error", False, error="invalid_blocks"))
    assert run(ledger, sender, clock).is_drained
    (message,) = slack.workspace.messages
    assert (message.blocks, message.text[:19]) == ([], "dy_oxide: reading 2")


def test_whom_refused_blocks_would_have_called_the_text_calls(ledger, slack, sender, clock):
    record(ledger, make_reading(1))
    slack.fail("chat.postMessage", Fault("error", False, error="invalid_blocks"))
    block = {"type": "section", "text": {"type": "mrkdwn", "text": "<!here> look"}}
    run(ledger, sender, clock, render=lambda _: Rendered("look " * 700, [block], "<!here>"))
    (message,) = slack.workspace.messages
    assert message.blocks == []
    assert message.text.startswith("<!here>\nlook ")
    assert len(message.text) <= 3000


def test_a_renderer_that_stumbles_does_not_stop_the_alert(ledger, slack, sender, clock):
    def broken(_):
        raise KeyError("headline")

    record(ledger, make_reading(1))
    assert run(ledger, sender, clock, render=broken).is_drained
    assert slack.workspace.messages[0].text.startswith("dy_oxide: reading 1")


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        ("channel_not_found", "correct the route"),
        ("is_archived", "restore it"),
        ("not_in_channel", "invite it"),
        ("missing_scope", "permission"),
    ],
)
def test_a_refused_channel_is_told_with_its_mend_stops_nobody_and_is_redriven_once(
    ledger, slack, sender, clock, code, mend
):
    slack.workspace.closed_channels["alerts"] = code
    record(ledger, make_reading(1), compose=with_chart)
    record(
        ledger,
        make_reading(1, "tb_oxide"),
        compose=lambda decision: compose(decision, channel="#other"),
    )
    report = run(ledger, sender, clock)
    assert (report.sent, report.dead, report.pending) == (1, 1, 1)
    assert code in report.problems[0]
    assert mend in report.problems[0]
    assert report.next_due_at is None
    slack.workspace.closed_channels.clear()
    assert ledger.redrive() == 1
    assert run(ledger, sender, clock).is_drained
    assert len(slack.workspace.roots("#alerts")) == 1
    at_rest(ledger, slack)


def test_a_corrected_route_is_what_a_redrive_sends_to(ledger, slack, sender, clock):
    slack.workspace.closed_channels["alerts"] = "channel_not_found"
    record(ledger, make_reading(1), compose=with_chart)
    assert run(ledger, sender, clock).dead == 1
    assert ledger.redrive(channels={"buyers": "#right"}) == 1
    assert until_rest(ledger, sender, clock).is_drained
    (root,) = slack.workspace.roots("#right")
    assert len(slack.workspace.thread(root.ts)) == 1


def test_a_refused_token_stops_all_traffic_and_loses_nothing(ledger, slack, sender, clock):
    slack.workspace.tokens = {"another"}
    for number in range(3):
        record(ledger, make_reading(1, f"s{number}"))
    report = run(ledger, sender, clock)
    assert "LODESTONE_SLACK_TOKEN" in report.token_problem
    assert report.problems == (report.token_problem,)
    assert (report.pending, report.dead) == (3, 0)
    assert len(slack.requests) == 1
    for _ in range(59):
        clock.forward(1)
        run(ledger, sender, clock)
    assert len(slack.requests) == 1
    slack.workspace.tokens = {TOKEN}
    clock.forward(1)
    assert run(ledger, sender, clock).sent == 3
    at_rest(ledger, slack)


# --- charts ---------------------------------------------------------------------

STEPS = ["files.getUploadURLExternal", "upload", "files.completeUploadExternal"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("applied", [True, False])
def test_a_chart_whose_answer_is_lost_stands_there_once(
    ledger, slack, sender, clock, step, applied
):
    slack.fail(step, Fault("lost", applied=applied))
    record(ledger, make_reading(1), compose=with_chart)
    report = run(ledger, sender, clock)
    (root,) = slack.workspace.roots()
    assert report.sent == 1
    until_rest(ledger, sender, clock)
    assert len(slack.workspace.thread(root.ts)) == 1
    at_rest(ledger, slack)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "fault",
    [
        Fault("error", False, error="unknown_method"),
        Fault("status", False, 404),
        Fault("html", False),
        Fault("status", False, 500),
    ],
    ids=["unknown_method", "404", "html", "500"],
)
def test_a_chart_that_never_works_is_given_up_and_text_goes_on(
    ledger, slack, sender, clock, step, fault
):
    slack.fail(step, *[replace(fault) for _ in range(20)])
    record(ledger, make_reading(1), compose=with_chart)
    assert run(ledger, sender, clock).sent >= 1
    record(ledger, make_reading(2, severity=Severity.CRITICAL))
    run(ledger, sender, clock)
    (root,) = slack.workspace.roots()
    assert root.text.startswith("dy_oxide: reading 2")
    assert next(m for m in slack.workspace.thread(root.ts) if not m.files).text
    report = until_rest(ledger, sender, clock)
    assert report.is_drained
    if not (step == "upload" and fault.kind in ("html", "error")):
        # A full answer of the upload address counts; Slack then refuses the file as empty.
        assert len(slack.calls(step)) <= 3
    assert report.dead_charts == 1
    assert "the chart could not be shown" in report.problems[0]


def test_a_slack_that_knows_only_post_and_update_shows_every_alert(ledger, slack, sender, clock):
    slack.workspace.disabled |= set(slack.workspace.methods) - {"chat.postMessage", "chat.update"}
    record(ledger, make_reading(1), compose=with_chart)
    assert until_rest(ledger, sender, clock).is_drained
    record(ledger, make_reading(2, severity=Severity.CRITICAL), compose=with_chart)
    assert until_rest(ledger, sender, clock).is_drained
    record(ledger, clear(3), NOON + timedelta(hours=1), compose=with_chart)
    report = until_rest(ledger, sender, clock)
    assert (report.is_drained, report.dead_charts) == (True, 1)
    (root,) = slack.workspace.roots()
    assert root.text.startswith("dy_oxide: reading 3")
    assert root.edited == 2
    replies = [reply.text.split()[0] for reply in slack.workspace.thread(root.ts)]
    assert replies == ["ESCALATED", "RESOLVED"]
    assert [entry.error for entry in ledger.entries() if entry.kind.value != "chart"] == [""] * 5


@pytest.mark.parametrize("code", ["message_not_found", "cant_update_message", "edit_window_closed"])
def test_an_alert_whose_message_no_edit_reaches_gets_a_new_one_once(
    ledger, slack, sender, clock, code
):
    record(ledger, make_reading(1))
    run(ledger, sender, clock)
    (old,) = slack.workspace.roots()
    first_shown = ledger.entries()[0].sent_at
    if code == "message_not_found":
        slack.workspace.messages.remove(old)
    else:
        slack.fail("chat.update", Fault("error", applied=False, error=code))
    clock.forward(3600)
    record(ledger, clear(2), NOON + timedelta(hours=1))
    slack.fail("chat.postMessage", Fault("lost"))  # even so: once
    report = until_rest(ledger, sender, clock)
    assert (report.dead, report.pending) == (0, 0)
    new = [root for root in slack.workspace.roots() if root.ts != old.ts]
    assert len(new) == 1
    assert "RESOLVED" in new[0].text
    assert "Posted anew" in new[0].text
    # Its thread goes on under the new one, and that it was shown before stays true.
    root = ledger.entries()[0]
    assert root.receipt.ts == new[0].ts
    assert root.sent_at == first_shown
    record(ledger, make_reading(3), NOON + timedelta(days=9))
    until_rest(ledger, sender, clock)
    at_rest_but_skipped = [e for e in ledger.entries() if e.state is not OutboxState.SENT]
    assert all(entry.state is OutboxState.SKIPPED for entry in at_rest_but_skipped)


def test_a_message_taken_without_a_word_where_it_stands_is_found_at_once(
    ledger, slack, sender, clock
):
    record(ledger, make_reading(1))
    slack.without["chat.postMessage"] = {"ts", "channel", "message"}
    run(ledger, sender, clock)
    (root,) = slack.workspace.roots()
    assert ledger.entries()[0].receipt.ts == root.ts
    record(ledger, clear(2), NOON + timedelta(hours=1))
    until_rest(ledger, sender, clock)
    assert "RESOLVED" in slack.workspace.roots()[0].text


def test_a_worker_that_stood_still_for_longer_than_its_lease_sends_nothing(
    ledger, slack, sender, clock
):
    record(ledger, make_reading(1))
    real = ledger.claim

    def claim(*given, **named):
        entry = real(*given, **named)
        clock.forward(61)
        return entry

    ledger.claim = claim
    run(ledger, sender, clock, at_most=1)
    assert slack.calls("chat.postMessage") == []
    ledger.claim = real
    until_rest(ledger, sender, clock)
    assert len(slack.workspace.roots()) == 1


# --- the process dies -----------------------------------------------------------

WORKER = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from alerts.delivery import deliver
from alerts.slack import SlackSender
from flows.storage.database import open_database
from flows.storage.ledger import SqlLedger
with open_database(sys.argv[1]) as database:
    sender = SlackSender("xoxb-worker", sys.argv[2], timeout_seconds=5)
    report = deliver(
        SqlLedger(database),
        sender,
        now=lambda: datetime.now(UTC),
        lease=timedelta(seconds=float(sys.argv[3])),
        reconcile_after=timedelta(seconds=0.3),
    )
    print(report.sent)
"""


def start_worker(url: str, slack: StandIn, lease: float = 0.2) -> "subprocess.Popen[str]":
    arguments = [url, slack.api_url, str(lease)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(ledger: SqlLedger, slack: StandIn) -> None:
    """What a restarted worker does, in real time with short windows."""
    sender = SlackSender(TOKEN, slack.api_url)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        report = deliver(
            ledger,
            sender,
            now=lambda: datetime.now(UTC),
            reconcile_after=timedelta(seconds=0.3),
            lease=timedelta(seconds=0.2),
        )
        if report.is_drained:
            return
        time.sleep(0.05)
    pytest.fail(f"not drained: {report}")


@pytest.mark.parametrize("applied", [True, False], ids=["after the post", "before the post"])
@pytest.mark.parametrize("method", ["chat.postMessage", "chat.update", STEPS[2]])
def test_a_worker_killed_in_the_middle_of_a_request_neither_loses_nor_repeats(
    ledger, slack, database_url, method, applied
):
    record(ledger, make_reading(1), compose=with_chart)
    if method == "chat.update":
        finish(ledger, slack)
        record(ledger, make_reading(2))
    worker: list[subprocess.Popen[str]] = []

    def kill() -> None:
        os.kill(worker[0].pid, signal.SIGKILL)

    slack.fail(method, Fault("lost", applied=applied, hook=kill))
    worker.append(start_worker(database_url, slack))
    assert worker[0].wait(timeout=30) == -signal.SIGKILL
    worker[0].communicate()
    finish(ledger, slack)
    (root,) = slack.workspace.roots()
    assert [len(reply.files) for reply in slack.workspace.thread(root.ts)] == [1]
    at_rest(ledger, slack)


def test_a_resolve_while_no_worker_ran_is_told_once(ledger, slack, sender, clock):
    record(ledger, make_reading(1))
    run(ledger, sender, clock)
    record(ledger, clear(2), NOON + timedelta(hours=1))
    clock.forward(86_400)
    run(ledger, sender, clock)
    (root,) = slack.workspace.roots()
    assert "RESOLVED" in root.text
    assert len(slack.workspace.thread(root.ts)) == 1


def test_two_workers_at_once_post_each_alert_once(ledger, slack, database_url):
    for number in range(12):
        record(ledger, make_reading(1, f"s{number}"))
    workers = [start_worker(database_url, slack, lease=30) for _ in range(2)]
    told = [worker.communicate(timeout=60) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], told
    assert sum(int(out) for out, _ in told) == 12
    assert len(slack.workspace.roots()) == 12
    at_rest(ledger, slack)


def test_ten_toggles_are_one_root_and_few_posts(ledger, slack, sender, clock):
    options = replace(OPTIONS, cooldown=timedelta(days=14))
    for number in range(10):
        for reading in (make_reading(2 * number), clear(2 * number + 1)):
            clock.forward(3600)
            ledger.record("live", reading, options, now=clock.at, compose=compose)
            run(ledger, sender, clock)
    assert len(slack.workspace.roots()) == 1
    assert len(slack.workspace.messages) <= 2
    at_rest(ledger, slack)


# --- the messages of this service -----------------------------------------------


def test_the_services_own_messages_go_through_ledger_and_slack_unharmed(
    ledger, slack, sender, clock
):
    def own(decision):
        incident, reason = decision.incident, decision.reason
        entries = []
        for is_due, kind, words in (
            (decision.says, "root", root_message),
            (decision.replies, "reply", transition_reply),
        ):
            if is_due:
                message = words(incident, reason, known_at=NOON, book="live")
                entries.append(NewEntry(kind, "buyers", "#alerts", message.as_dict()))
        return entries

    def own_render(message):
        content = render_slack(Message.from_dict(message))
        return Rendered(content.text, content.blocks)

    hostile = replace(
        make_reading(1),
        headline="<!channel> & <https://x|click> price above 300 USD/kg",
        facts=(Fact("Chance", "51 %"), Fact("Limit", "50 %")),
    )
    record(ledger, hostile, compose=own)
    record(ledger, clear(2), NOON + timedelta(days=1), compose=own)
    record(ledger, replace(make_reading(1, "tb_oxide")), compose=own)
    run(ledger, sender, clock, render=own_render)
    told, _ = slack.workspace.roots()
    shown = json.dumps(told.blocks)
    assert "Told late: it began as warning" in shown
    assert "<!channel>" not in told.text
    record(ledger, clear(2, "tb_oxide"), NOON + timedelta(days=1), compose=own)
    run(ledger, sender, clock, render=own_render)
    assert [len(slack.workspace.thread(m.ts)) for m in slack.workspace.roots()] == [0, 1]
    assert ledger.incidents("live")[0].state.value == Reason.RESOLVED.value
    at_rest(ledger, slack)
