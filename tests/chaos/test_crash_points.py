"""A worker is killed at each point where it can die; the channel ends as if nobody had been.

The points are those of docs/delivery.md, c1 to c14.
"""

import signal
import time
from contextlib import closing

import pytest
from alembic import command
from alembic.config import Config

from alerts.incident import Reason
from flows.delivering import deliver
from flows.desk import leave_drills
from flows.moments import moment
from flows.settings import load_settings
from flows.storage.database import MIGRATIONS, open_database
from flows.storage.interactions import InteractionStore
from flows.storage.ledger import SqlLedger
from flows.storage.tables import HEAD
from flows.wiring import build
from tests.chaos.harness import (
    Worker,
    judge,
    play,
    play_and_die,
    play_until_killed_by_slack,
    seen_by_a_reader,
)
from tests.chaos.story import CHANNEL, of_a_day, tell
from tests.slack_standin import Fault

POST, EDIT = "chat.postMessage", "chat.update"
UPLOAD_STEPS = ("files.getUploadURLExternal", "upload", "files.completeUploadExternal")


def ends_as_if_unharmed(database_url, slack, unharmed, story: str = "day") -> None:
    """A worker that is started again finds everything, and makes the channel what it should be."""
    play(database_url, slack, "--story", story)
    assert seen_by_a_reader(slack.workspace) == unharmed(story)
    with open_database(database_url) as database:
        verdict = judge(SqlLedger(database), slack.workspace)
    assert verdict.is_clean, verdict


# --- in the worker ----------------------------------------------------------------------

IN_THE_WORKER = [
    pytest.param("ledger.judge:before", 2, id="c1 before the transaction that judges"),
    pytest.param("ledger.judge:statement", 6, id="c1 in the middle of that transaction"),
    pytest.param("ledger.judge:commit", 1, id="c1 before its commit"),
    pytest.param("ledger.judge:commit", 3, id="c1 before the commit of a rise"),
    pytest.param("ledger.judge:after", 1, id="c2 after the commit"),
    pytest.param("ledger.judge:after", 4, id="c2 after the commit of an end"),
    pytest.param("ledger.claim:commit", 1, id="c2 before the lease is committed"),
    pytest.param("ledger.claim:after", 1, id="c3 after the lease, before a root is posted"),
    pytest.param("ledger.claim:after", 3, id="c3 after the lease, before a picture is sent"),
    pytest.param("sender.post:before", 4, id="c3 before a reply is posted"),
    pytest.param("sender.edit:before", 1, id="c3 before an edit"),
    pytest.param("sender.post:after", 1, id="c6 a root's answer is read, not kept"),
    pytest.param("ledger.mark_sent:commit", 1, id="c6 before a root's receipt is committed"),
    pytest.param("ledger.mark_sent:commit", 2, id="c6 before a member's receipt is committed"),
    pytest.param("sender.post:after", 4, id="c6 a reply's answer is read, not kept"),
    pytest.param("sender.edit:after", 1, id="c8 an edit's answer is read, not kept"),
    pytest.param("ledger.mark_sent:commit", 5, id="c8 before an edit's receipt is committed"),
    pytest.param("sender.upload:after", 1, id="c9 a picture's answer is read, not kept"),
    pytest.param("ledger.mark_sent:after", 1, id="c13 a leader stands, its member does not"),
]


@pytest.mark.parametrize(("point", "nth"), IN_THE_WORKER)
def test_a_worker_that_dies_there_is_made_up_for_by_the_next(
    database_url, slack, unharmed, point, nth
):
    play_and_die(database_url, slack, "--story", "day", "--kill", point, "--nth", str(nth))
    ends_as_if_unharmed(database_url, slack, unharmed)


WHILE_LOOKING = [
    pytest.param("ledger.expire:commit", 1, id="before the lost lease is taken back"),
    pytest.param("ledger.expire:after", 1, id="after the lost lease is taken back"),
    pytest.param("sender.find:before", 1, id="before the look"),
    pytest.param("sender.find:after", 1, id="after the look"),
    pytest.param("ledger.look_again:commit", 1, id="before what was seen is committed"),
    pytest.param("ledger.release:commit", 1, id="before it is put back in line"),
    pytest.param("ledger.release:after", 1, id="after it is put back in line"),
]


@pytest.mark.parametrize(("point", "nth"), WHILE_LOOKING)
@pytest.mark.parametrize("applied", [True, False], ids=["it stands", "it does not stand"])
def test_a_worker_that_dies_while_it_looks_for_a_message_is_made_up_for(
    database_url, slack, unharmed, point, nth, applied
):
    if applied and point.startswith(("ledger.look_again", "ledger.release")):
        point = "ledger.mark_sent:commit"  # what is found is marked, neither looked for again nor released
    died_at = "sender.post:after" if applied else "sender.post:before"
    play_and_die(database_url, slack, "--story", "day", "--kill", died_at)
    play_and_die(database_url, slack, "--story", "day", "--kill", point, "--nth", str(nth))
    ends_as_if_unharmed(database_url, slack, unharmed)


@pytest.mark.parametrize("nth", [1, 5, 9], ids=lambda n: f"{n} of 10 stand")
def test_c13_a_worker_that_dies_in_the_middle_of_a_digest_leaves_nobody_out(
    database_url, slack, unharmed, nth
):
    point = ("--kill", "ledger.mark_sent:after", "--nth", str(nth))
    play_and_die(database_url, slack, "--story", "storm", *point)
    assert len(slack.workspace.messages) == nth
    ends_as_if_unharmed(database_url, slack, unharmed, "storm")


WHILE_SWEEPING = [
    pytest.param("sender.delete:before", id="before the copy is deleted"),
    pytest.param("sender.delete:after", id="after it is deleted"),
    pytest.param("ledger.swept:commit", id="before that is committed"),
]


@pytest.mark.parametrize("point", WHILE_SWEEPING)
def test_c12_a_worker_that_dies_while_it_takes_a_copy_out_leaves_one_message(
    database_url, slack, unharmed, point
):
    slack.fail(POST, Fault("lands_late", applied=False, seconds=1.0))  # later than the window
    play_and_die(database_url, slack, "--story", "day", "--kill", point)
    copies = len(slack.workspace.with_key(slack.workspace.messages[0].delivery_key))
    assert copies == (2 if point == "sender.delete:before" else 1)
    ends_as_if_unharmed(database_url, slack, unharmed)


@pytest.mark.parametrize("phase", ["received", "applied"])
def test_c12_a_worker_that_dies_while_slack_deletes_a_copy_leaves_one_message(
    database_url, slack, unharmed, phase
):
    slack.fail(POST, Fault("lands_late", applied=False, seconds=1.0))
    play_until_killed_by_slack(database_url, slack, "chat.delete", phase, 1, "--story", "day")
    ends_as_if_unharmed(database_url, slack, unharmed)


# --- in the middle of a request -------------------------------------------------------------

IN_A_REQUEST = [
    pytest.param(POST, "half_body", 1, id="c4 half of a post is written"),
    pytest.param(POST, "received", 1, id="c4 a post is written, not taken yet"),
    pytest.param(POST, "applied", 1, id="c5 a root stands, its answer does not come"),
    pytest.param(POST, "applied", 2, id="c5 a member stands, its answer does not come"),
    pytest.param(POST, "applied", 4, id="c5 a reply stands, its answer does not come"),
    pytest.param(EDIT, "half_body", 1, id="c8 half of an edit is written"),
    pytest.param(EDIT, "received", 1, id="c8 an edit is written, not taken yet"),
    pytest.param(EDIT, "applied", 1, id="c8 an edit is made, its answer does not come"),
    *(
        pytest.param(step, phase, 1, id=f"c9 step {number} of a picture, {phase}")
        for number, step in enumerate(UPLOAD_STEPS, start=1)
        for phase in ("half_body", "received", "applied", "answered")
    ),
]


@pytest.mark.parametrize(("method", "phase", "nth"), IN_A_REQUEST)
def test_a_worker_that_dies_in_a_request_is_made_up_for_by_the_next(
    database_url, slack, unharmed, method, phase, nth
):
    play_until_killed_by_slack(database_url, slack, method, phase, nth, "--story", "day")
    ends_as_if_unharmed(database_url, slack, unharmed)


# --- a new version is started ---------------------------------------------------------------

IN_AN_UPGRADE = [
    pytest.param("upgrade:statement", 4, id="at its beginning"),
    pytest.param("upgrade:statement", 9, id="in its middle"),
    pytest.param("upgrade:commit", 1, id="before its commit"),
    pytest.param("upgrade:after", 1, id="after its commit"),
]


@pytest.mark.parametrize(("point", "nth"), IN_AN_UPGRADE)
def test_c14_a_start_that_dies_while_it_migrates_loses_nothing_that_waits(
    database_url, slack, unharmed, point, nth
):
    older = f"{int(HEAD) - 1:04d}"
    with open_database(database_url) as database:
        tell(SqlLedger(database), of_a_day()[0])
        with database.writing() as connection:
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.attributes["connection"] = connection
            command.downgrade(config, older)
    play_and_die(database_url, slack, "--kill", point, "--nth", str(nth))
    with open_database(database_url) as database:
        assert database.revision() == (HEAD if point == "upgrade:after" else older)
    assert slack.workspace.messages == []
    ends_as_if_unharmed(database_url, slack, unharmed)


# --- a button is pressed ------------------------------------------------------------------------

WHILE_HEARING = [
    pytest.param("press.keep:before", id="c10 heard, not written"),
    pytest.param("press.keep:commit", id="c10 written, not committed"),
    pytest.param("press.keep:after", id="c11 committed, Slack not told"),
]


@pytest.mark.parametrize("point", WHILE_HEARING)
def test_a_press_whose_listener_dies_is_sent_again_by_slack_and_applied_once(
    database_url, slack, tmp_path, point
):
    variables = {
        "LODESTONE_DATABASE_URL": database_url,
        "LODESTONE_SLACK_BASE_URL": slack.api_url,
        "LODESTONE_SLACK_TOKEN": "xoxb-test",
        "LODESTONE_HOME": str(tmp_path),
    }
    with closing(build(load_settings(variables))) as service:
        _, (drill,) = leave_drills(service, 1, by="test", channel=CHANNEL)
        deliver(service, moment(service, None, live=False))
        (message,) = slack.workspace.roots(CHANNEL)

        listener = Worker(database_url, slack, "--listen", str(tmp_path), "--kill", point)
        assert slack.socket_mode.wait_connected(60), listener.words()
        click = slack.click(message, "lodestone:acknowledge")
        assert listener.end() == -signal.SIGKILL, listener.words()
        assert not click.wait(0)

        listener = Worker(database_url, slack, "--listen", str(tmp_path))
        assert slack.socket_mode.wait_connected(60), listener.words()
        # As Slack does it: once may go to the connection of the dead, until that is seen to be dead.
        for _ in range(60):
            slack.redeliver(click)
            if click.wait(1):
                break
        assert click.acks, listener.words()
        end = time.monotonic() + 60
        while "Taken on by priya" not in message.text and time.monotonic() < end:
            time.sleep(0.02)
        listener.stop()
        life = [one.reason for one in service.ledger.transitions(drill)]
        assert life == [Reason.OPENED, Reason.ACKNOWLEDGED]
        assert len(InteractionStore(service.database).recent()) == 1
    assert "Taken on by priya" in message.text
    assert len(slack.workspace.messages) == 1
