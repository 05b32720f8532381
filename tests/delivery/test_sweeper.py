"""What lands after its time was over: a second copy is taken out, and nothing else is touched."""

from datetime import timedelta

import pytest

from alerts.delivery import SWEPT_FOR, deliver
from alerts.ledger import OutboxState
from tests.delivery.helpers import NOON, TOKEN, clear, make_reading, record, with_chart
from tests.slack_standin import Fault

WINDOW = timedelta(seconds=60)
POST = "chat.postMessage"
COMPLETE = "files.completeUploadExternal"


@pytest.fixture
def run(ledger, sender, clock):
    def call():
        return deliver(ledger, sender, now=clock, reconcile_after=WINDOW)

    return call


def land(slack, request):
    """The request that was given up reaches Slack after all."""
    slack.workspace.call(request.method, dict(request.params), TOKEN)


@pytest.fixture
def twice(ledger, slack, until_rest):
    """An alert whose first request was lost, sent again after the window, and then landed."""
    record(ledger, make_reading(1))
    slack.fail(POST, Fault("lost", applied=False))
    report = until_rest()
    assert report.sent == 1
    land(slack, slack.calls(POST)[0])
    first, second = slack.workspace.roots()
    assert first.delivery_key == second.delivery_key
    return first, report


def test_a_post_that_lands_after_the_window_is_taken_out_by_one_sweep(
    slack, ledger, run, clock, twice
):
    kept, report = twice
    assert report.first_sweep_at is not None
    clock.at = report.first_sweep_at
    assert run().removed == 1
    (root,) = slack.workspace.roots()
    (entry,) = ledger.entries()
    assert entry.receipt is not None
    assert root.ts == entry.receipt.ts == kept.ts


def test_nothing_is_swept_before_its_time_and_nobody_waits_twice_for_it(slack, run, clock, twice):
    assert run().removed == 0
    clock.forward(WINDOW.total_seconds())
    report = run()
    assert report.removed == 1
    assert report.first_sweep_at is None
    looks = len(slack.calls("conversations.history"))
    run()
    assert len(slack.calls("conversations.history")) == looks


def test_a_copy_that_lands_hours_later_is_found_by_a_later_sweep(slack, run, clock, twice):
    clock.forward(WINDOW.total_seconds())
    run()
    land(slack, slack.calls(POST)[0])
    assert len(slack.workspace.roots()) == 2
    clock.forward(3600)
    assert run().removed == 1
    assert len(slack.workspace.roots()) == 1


def test_a_sweep_ends_some_day(slack, run, clock, twice):
    for _ in range(int(SWEPT_FOR.total_seconds() // 3600) + 10):
        clock.forward(3601)
        run()
    looks = len(slack.calls("conversations.history"))
    clock.forward(86_400)
    run()
    assert len(slack.calls("conversations.history")) == looks


def test_what_was_sent_once_is_never_looked_for(ledger, slack, run, clock):
    record(ledger, make_reading(1))
    slack.fail(POST, Fault("lost"))  # it arrived, and was found
    run()
    clock.forward(1)
    run()
    looks = len(slack.calls("conversations.history"))
    clock.forward(7200)
    run()
    assert len(slack.calls("conversations.history")) == looks


def test_a_reply_that_landed_twice_is_taken_out_of_its_thread(
    ledger, slack, run, until_rest, clock
):
    record(ledger, make_reading(1))
    run()
    record(ledger, clear(2), NOON + timedelta(hours=1))
    slack.fail(POST, Fault("lost", applied=False))
    report = until_rest()
    (root,) = slack.workspace.roots()
    before = len(slack.workspace.thread(root.ts))
    assert before >= 1
    land(slack, slack.calls(POST)[1])
    assert len(slack.workspace.thread(root.ts)) == before + 1
    assert report.first_sweep_at is not None
    clock.at = report.first_sweep_at
    assert run().removed == 1
    assert len(slack.workspace.thread(root.ts)) == before


def test_a_chart_that_landed_twice_is_taken_out_of_its_thread(
    ledger, slack, run, until_rest, clock
):
    record(ledger, make_reading(1), compose=with_chart)
    slack.fail(COMPLETE, Fault("lost", applied=False))
    report = until_rest()
    (root,) = slack.workspace.roots()
    assert len(slack.workspace.thread(root.ts)) == 1
    land(slack, slack.calls(COMPLETE)[0])
    clock.at = report.first_sweep_at or clock.at
    assert run().removed == 1
    (chart,) = slack.workspace.thread(root.ts)
    assert chart.files


def test_a_message_of_somebody_else_that_carries_our_key_is_neither_believed_nor_removed(
    ledger, slack, run, until_rest, clock
):
    record(ledger, make_reading(1))
    slack.fail(POST, Fault("lost", applied=False))
    run()
    land(slack, slack.calls(POST)[0])
    (copied,) = slack.workspace.roots()
    copied.bot_id = "B0SOMEBODY"
    report = until_rest()
    assert len(slack.workspace.roots()) == 2  # ours is told though theirs has our key
    clock.at = report.first_sweep_at or clock.at
    assert run().removed == 0
    assert len(slack.workspace.roots()) == 2


@pytest.mark.parametrize("fault", [Fault("status", applied=False, status=429), Fault("lost")])
def test_a_sweep_that_meets_trouble_is_made_again(slack, run, clock, twice, fault):
    slack.fail("chat.delete", fault)
    clock.forward(WINDOW.total_seconds())
    assert run().removed == 0
    clock.forward(WINDOW.total_seconds())
    run()
    assert len(slack.workspace.roots()) == 1


def test_a_copy_that_may_not_be_removed_is_told_to_operators(ledger, slack, run, clock, twice):
    slack.fail("chat.delete", Fault("error", applied=False, error="cant_delete_message"))
    clock.forward(WINDOW.total_seconds())
    (problem,) = run().problems
    assert "#alerts" in problem
    assert "cant_delete_message" in problem
    assert "by hand" in problem
    assert [entry.state for entry in ledger.entries()] == [OutboxState.SENT]
