"""What lands after its time was over: a second copy is taken out, and nothing else is touched."""

from datetime import timedelta

import pytest

from alerts.delivery import SWEPT_FOR, deliver
from alerts.ledger import OutboxState
from alerts.rules import Severity
from flows.storage.database import open_database
from flows.storage.ledger import SqlLedger
from tests.delivery.helpers import NOON, TOKEN, clear, make_reading, record, with_chart
from tests.slack_standin import Fault

WINDOW = timedelta(seconds=60)
POST = "chat.postMessage"
COMPLETE = "files.completeUploadExternal"
EDIT = "chat.update"


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
    entry = ledger.entries()[0]
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
    assert ledger.entries()[0].state is OutboxState.SENT


# --- words that are older than those that stand -------------------------------------


def shown(slack):
    (root,) = slack.workspace.roots()
    return root.text


def test_an_edit_that_lands_after_a_newer_one_is_put_right_by_the_sweep(
    ledger, slack, run, until_rest, clock
):
    record(ledger, make_reading(1))
    run()
    record(ledger, make_reading(2, severity=Severity.CRITICAL), NOON + timedelta(hours=1))
    slack.fail(EDIT, Fault("lost", applied=False))
    run()
    record(ledger, clear(3), NOON + timedelta(hours=2))
    clock.forward(10)
    report = until_rest()
    assert "RESOLVED" in shown(slack)
    land(slack, slack.calls(EDIT)[0])
    assert "RESOLVED" not in shown(slack)
    assert report.first_sweep_at is not None
    clock.at = report.first_sweep_at
    until_rest()
    assert "RESOLVED" in shown(slack)


def test_an_edit_of_a_worker_that_died_is_put_right_too(ledger, slack, run, until_rest, clock):
    record(ledger, make_reading(1))
    run()
    record(ledger, make_reading(2, severity=Severity.CRITICAL), NOON + timedelta(hours=1))
    assert ledger.claim("live", clock(), timedelta(seconds=60)) is not None  # and it dies
    clock.forward(61)
    record(ledger, clear(3), NOON + timedelta(hours=2))
    report = until_rest()
    (root,) = slack.workspace.roots()
    root.text = "older words"
    clock.at = report.first_sweep_at or clock.at
    until_rest()
    assert "RESOLVED" in shown(slack)


def test_a_first_copy_with_older_words_that_is_kept_says_the_newest_in_the_end(
    ledger, slack, run, until_rest, clock
):
    record(ledger, make_reading(1))
    slack.fail(POST, Fault("lost", applied=False))
    run()
    record(ledger, clear(2), NOON + timedelta(hours=1))
    slack.fail(POST, Fault("lost"))
    while len(slack.calls(POST)) < 2:
        clock.forward(10)
        run()
    newer = slack.workspace.roots()[0]
    land(slack, slack.calls(POST)[0])
    older = next(one for one in slack.workspace.roots() if one is not newer)
    older.ts = f"{float(newer.ts) - 1:.6f}"  # it stands before the newer one
    until_rest()
    clock.forward(7200)
    until_rest()
    assert "RESOLVED" in shown(slack)


def test_what_a_worker_posts_after_its_lease_was_taken_from_it_says_the_newest_in_the_end(
    ledger, slack, sender, run, until_rest, clock
):
    record(ledger, make_reading(1))

    class Suspended:
        """A worker that is stopped right before its request, as a machine that goes to sleep."""

        def post(self, *given, **named):
            clock.forward(61)
            run()  # another one takes its lease
            record(ledger, clear(2), NOON + timedelta(hours=1))
            while ledger.entries()[0].state is not OutboxState.PENDING:
                clock.forward(10)
                deliver(ledger, sender, now=clock, reconcile_after=WINDOW, at_most=0)
            return sender.post(*given, **named)

        def __getattr__(self, name):
            return getattr(sender, name)

    deliver(ledger, Suspended(), now=clock, reconcile_after=WINDOW)
    until_rest()
    clock.forward(7200)
    until_rest()
    assert "RESOLVED" in shown(slack)


# --- trouble while looking ------------------------------------------------------------


def test_a_rate_limit_met_by_a_sweep_is_waited_for_by_all_of_them_and_counts_as_no_look(
    ledger, slack, run, until_rest, clock
):
    for number in range(6):
        record(ledger, make_reading(1, f"s{number}"))
    slack.fail(POST, *[Fault("lost", applied=False)] * 6)
    report = until_rest()
    before = len(slack.calls("conversations.history"))
    slack.fail(
        "conversations.history",
        Fault("status", applied=False, status=429, headers={"Retry-After": "100"}),
    )
    clock.at = report.first_sweep_at or clock.at
    for _ in range(9):
        report = run()
        clock.forward(10)
    assert len(slack.calls("conversations.history")) == before + 1
    assert report.first_sweep_at is not None  # whoever waits for the end still waits


def test_a_worker_hears_the_request_to_stop_between_two_looks_and_new_alerts_pass_them(
    ledger, slack, sender, run, clock
):
    for number in range(12):
        record(ledger, make_reading(1, f"s{number}"))
    slack.fail(POST, *[Fault("lost", applied=False)] * 12)
    for _ in range(4):
        run()  # three unclear answers in a row end a call
    clock.forward(30)
    record(ledger, make_reading(1, "news"))
    before = len(slack.calls("conversations.history"))
    run()
    assert any("news" in one.text for one in slack.workspace.roots())
    assert len(slack.calls("conversations.history")) - before < 8
    looks = len(slack.calls("conversations.history"))
    deliver(ledger, sender, now=clock, reconcile_after=WINDOW, is_stopped=lambda: True)
    assert len(slack.calls("conversations.history")) == looks


def test_a_clock_that_was_an_hour_ahead_when_it_was_sent_hides_nothing(
    ledger, slack, run, until_rest, clock
):
    clock.forward(3600)
    record(ledger, make_reading(1))
    slack.fail(POST, Fault("lost"))
    run()
    clock.forward(-3600)
    until_rest()
    assert len(slack.workspace.roots()) == 1


def test_looks_that_never_conclude_end_in_one_marked_repeat(ledger, slack, run, clock):
    record(ledger, make_reading(1))
    slack.fail(POST, Fault("lost", applied=False))
    run()
    slack.without["conversations.history"] = {"messages"}
    for _ in range(30):
        clock.forward(600)
        run()
    assert "Possible repeat" in shown(slack)


def test_two_installations_in_one_channel_leave_each_others_messages_alone(
    ledger, slack, sender, clock, tmp_path
):
    with open_database(f"sqlite:///{tmp_path / 'another.db'}") as database:
        database.upgrade()
        another = SqlLedger(database)
        for one in (ledger, another):
            record(one, make_reading(1))
        slack.fail(POST, Fault("lost", applied=False))
        for _ in range(60):
            for one in (another, ledger):
                deliver(one, sender, now=clock, reconcile_after=WINDOW)
            clock.forward(30)
        stand = {root.ts for root in slack.workspace.roots()}
        assert len(stand) == 2
        kept = {one.entries()[0].receipt.ts for one in (ledger, another)}
        assert kept == stand
