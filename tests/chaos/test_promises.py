"""What docs/delivery.md promises, by workers in processes of their own and by Slack's own clock."""

import itertools
import shutil
import sqlite3
import time
from datetime import timedelta
from pathlib import Path

import pytest

from alerts.delivery import RECONCILE_AFTER, timeout_for
from alerts.ledger import Judgement, OutboxState
from alerts.rules import Severity
from flows.storage.database import open_database
from flows.storage.ledger import SqlLedger
from tests.chaos.harness import Worker, judge, play, wait_for_rest
from tests.chaos.story import CHANNEL, of_a_day, tell
from tests.delivery.helpers import NOON, OPTIONS, clear, compose, make_reading, record, with_chart
from tests.slack_standin import Fault

POST = "chat.postMessage"
UPLOAD_STEPS = ("files.getUploadURLExternal", "upload", "files.completeUploadExternal")


def require_clean(ledger: SqlLedger, slack) -> None:
    verdict = judge(ledger, slack.workspace)
    assert verdict.is_clean, verdict


# --- answers and requests that come late ------------------------------------------------------


def test_a_request_that_lands_within_the_window_is_waited_for_and_never_made_again(
    ledger, slack, database_url
):
    slack.fail(POST, Fault("lands_late", applied=False, seconds=0.5))
    record(ledger, make_reading(1))
    play(database_url, slack, "--window", "1.5")
    assert len(slack.calls(POST)) == 1
    require_clean(ledger, slack)


def test_a_request_that_lands_after_the_window_is_one_message_after_one_sweep(
    ledger, slack, database_url
):
    slack.fail(POST, Fault("lands_late", applied=False, seconds=1.0))
    record(ledger, make_reading(1))
    play(database_url, slack, "--window", "0.3")
    assert len(slack.calls(POST)) == 2
    assert len(slack.calls("chat.delete")) == 1
    require_clean(ledger, slack)


def test_an_answer_that_takes_longer_than_the_client_waits_is_one_message(
    ledger, slack, database_url
):
    slack.fail(POST, Fault("late", seconds=1.0))
    record(ledger, make_reading(1))
    play(database_url, slack, "--timeout", "0.4", "--window", "0.8")
    assert len(slack.calls(POST)) == 1
    require_clean(ledger, slack)


def test_a_worker_that_sleeps_through_its_lease_and_posts_on_waking_leaves_one_message(
    ledger, slack, database_url
):
    record(ledger, make_reading(1))
    asleep = Worker(
        *(database_url, slack, "--token", "xoxb-asleep"),
        *("--kill", "sender.post:before", "--signal", "SIGSTOP"),
    )
    while ledger.entries()[0].state is OutboxState.PENDING:
        time.sleep(0.01)
    awake = Worker(database_url, slack, "--watch")
    wait_for_rest(ledger, 90)
    assert len(slack.workspace.messages) == 1
    asleep.resume()
    assert asleep.end() == 0, asleep.words()
    assert {one.token for one in slack.calls(POST)} == {"xoxb-asleep", "xoxb-worker"}
    end = time.monotonic() + 30
    while len(slack.workspace.messages) > 1 and time.monotonic() < end:
        time.sleep(0.02)
    awake.stop()
    require_clean(ledger, slack)


@pytest.mark.parametrize("window_seconds", [4, 12, RECONCILE_AFTER.total_seconds(), 600])
def test_no_request_is_waited_for_as_long_as_the_window(window_seconds):
    assert timeout_for(window_seconds) <= window_seconds / 4


def test_an_edit_that_lands_after_a_newer_one_does_not_stay(ledger, slack, database_url):
    record(ledger, make_reading(1))
    play(database_url, slack)
    slack.fail("chat.update", Fault("lands_late", applied=False, seconds=3.0))
    worker = Worker(database_url, slack, "--watch", "--window", "4", "--hurry", "10")
    record(ledger, make_reading(2, severity=Severity.CRITICAL), NOON + timedelta(hours=1))
    wait_for_rest(ledger, 90)
    record(ledger, clear(3), NOON + timedelta(hours=2))
    wait_for_rest(ledger, 90)
    (root,) = slack.workspace.roots(CHANNEL)
    assert "RESOLVED" in root.text
    assert slack.settle(30)
    assert "RESOLVED" not in root.text, "it landed in between: a test of nothing"
    end = time.monotonic() + 30
    while "RESOLVED" not in root.text and time.monotonic() < end:
        time.sleep(0.02)
    worker.stop()
    require_clean(ledger, slack)


# --- what ends while nobody delivers ----------------------------------------------------------


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_an_alert_that_ends_while_the_worker_is_gone_is_told_to_have_ended_once(
    ledger, slack, database_url, how
):
    worker = Worker(database_url, slack, "--watch")
    record(ledger, make_reading(1))
    wait_for_rest(ledger, 90)
    getattr(worker, how)()
    record(ledger, clear(2))
    play(database_url, slack)
    (root,) = slack.workspace.roots(CHANNEL)
    assert "RESOLVED" in root.text
    assert ["RESOLVED" in one.text for one in slack.workspace.thread(root.ts)] == [True]
    require_clean(ledger, slack)


def test_a_worker_that_is_asked_to_stop_leaves_nothing_in_question(ledger, slack, database_url):
    for number in range(5):
        record(ledger, make_reading(1, f"s{number}"))
    slack.fail(POST, Fault("late", seconds=0.5))
    worker = Worker(database_url, slack, "--watch", "--lease", "5")
    while not slack.calls(POST):
        time.sleep(0.01)
    worker.stop()
    assert worker.end() == 0, worker.words()
    states = [entry.state for entry in ledger.entries()]
    assert states == [OutboxState.SENT, *[OutboxState.PENDING] * 4]


def test_an_alert_that_ends_before_it_was_ever_shown_is_one_message_that_says_both(
    ledger, slack, database_url
):
    record(ledger, make_reading(1))
    record(ledger, clear(2))
    play(database_url, slack)
    (message,) = slack.workspace.messages
    assert "Told late: it began as warning" in message.text
    require_clean(ledger, slack)


def test_an_alert_that_ended_is_told_once_by_a_database_restored_from_a_backup(
    sqlite_url, slack, tmp_path: Path
):
    path, backup = Path(sqlite_url.removeprefix("sqlite:///")), tmp_path / "backup.db"
    with open_database(sqlite_url) as database:
        tell(SqlLedger(database), of_a_day()[0])
    play(sqlite_url, slack)
    with sqlite3.connect(path) as source, sqlite3.connect(backup) as copy:
        source.backup(copy)
    copy.close()
    source.close()
    for lost in path.parent.glob(f"{path.name}*"):
        lost.unlink()
    shutil.copy(backup, path)
    with open_database(sqlite_url) as database:
        ledger = SqlLedger(database)
        record(ledger, clear(2, "dy_oxide"), of_a_day()[3].at)
        play(sqlite_url, slack)
        ends = [one for one in slack.workspace.messages if one.text.startswith("RESOLVED")]
        assert len(ends) == 1
        require_clean(ledger, slack)


# --- many at once -----------------------------------------------------------------------------


def test_forty_at_once_come_one_at_a_time_and_none_is_hidden(ledger, slack, database_url):
    readings = [make_reading(1, f"s{number}") for number in range(40)]
    ledger.judge("live", [Judgement(one, OPTIONS) for one in readings], now=NOON, compose=compose)
    interval = 0.1
    play(database_url, slack, "--interval", str(interval))
    arrivals = [request.at for request in slack.calls(POST)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert min(gaps) >= interval - 0.005  # the worker's clock is another one than Slack's
    (digest,) = slack.workspace.roots(CHANNEL)
    assert len(slack.workspace.thread(digest.ts)) == 39
    require_clean(ledger, slack)


# --- pictures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("step", UPLOAD_STEPS)
def test_every_text_goes_before_the_first_picture_however_long_that_takes(
    ledger, slack, database_url, step
):
    slack.fail(step, *[Fault("late", seconds=0.4) for _ in range(3)])
    for number in range(3):
        record(ledger, make_reading(1, f"s{number}"), compose=with_chart)
    play(database_url, slack, "--timeout", "0.2")
    methods = [request.method for request in slack.requests if request.method != "auth.test"]
    assert methods[:4] == [POST, POST, POST, UPLOAD_STEPS[0]]
    require_clean(ledger, slack)
