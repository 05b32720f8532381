"""Several alerts in one thread, against a stateful Slack: the leader first, all of it in one place."""

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.delivery import deliver
from alerts.grouping import Desk
from alerts.ledger import EntryKind, Judgement, NewEntry, OutboxState
from alerts.rules import Severity
from flows.storage.ledger import SqlLedger
from tests.delivery.helpers import (
    NOON,
    OPTIONS,
    PNG,
    clear,
    compose,
    make_reading,
    with_chart,
)
from tests.slack_standin import Fault


def root_key(ledger, incident):
    """The delivery key of an incident's own message."""
    (key,) = [e.delivery_key for e in ledger.entries(incident_id=incident) if e.kind == "root"]
    return key


WINDOW = timedelta(seconds=60)
HOUR = timedelta(hours=1)
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL


@pytest.fixture
def run(ledger, sender, clock):
    """One call of `deliver`, with its bounds as arguments."""

    def call(**options):
        return deliver(ledger, sender, now=clock, reconcile_after=WINDOW, **options)

    return call


def judge(ledger: SqlLedger, *readings, after=timedelta(0), compose=compose, desk=None):
    return ledger.judge(
        "live",
        [Judgement(one, OPTIONS) for one in readings],
        now=NOON + after,
        compose=compose,
        desk=desk or Desk(),
    )


def pair(ledger: SqlLedger, compose=compose) -> tuple[str, str]:
    """Two alerts of one rule at one evaluation: ids of the one that leads, and of the one in its thread."""
    leader, member = make_reading(1, "dy_oxide", CRITICAL), make_reading(1, "nd_oxide")
    made = judge(ledger, leader, member, compose=compose)
    return made[0].incident.id, made[1].incident.id


def shown(slack):
    """The only message of the channel, and first words of its thread."""
    (root,) = slack.workspace.roots("#alerts")
    return root, [one.text.splitlines()[0] for one in slack.workspace.thread(root.ts)]


def test_what_opens_together_is_one_message_with_the_others_in_its_thread(
    ledger, slack, run, clock
):
    pair(ledger)
    report = run()
    assert (report.sent, report.is_drained) == (2, True)
    root, thread = shown(slack)
    assert root.text.startswith("dy_oxide: reading 1")
    assert thread == ["nd_oxide: reading 1"]


def test_a_member_waits_until_its_leader_stands(ledger, slack, run, clock):
    leader, member = pair(ledger)
    slack.fail("chat.postMessage", Fault("error", applied=False, error="ratelimited", status=429))
    report = run()
    assert slack.workspace.messages == []
    assert report.pending == 2
    clock.at = report.next_due_at
    run(at_most=1)
    states = {entry.incident_id: entry.state for entry in ledger.entries()}
    assert states == {leader: OutboxState.SENT, member: OutboxState.PENDING}
    run()
    assert shown(slack)[1] == ["nd_oxide: reading 1"]


def test_a_member_is_not_sent_while_nobody_knows_whether_its_leader_stands(
    ledger, slack, run, until_rest
):
    leader, member = pair(ledger)
    slack.fail("chat.postMessage", Fault("reset"))
    run()
    assert len(slack.workspace.messages) == 1
    states = {entry.incident_id: entry.state for entry in ledger.entries()}
    assert states == {leader: OutboxState.UNKNOWN, member: OutboxState.PENDING}
    assert until_rest().is_drained
    assert shown(slack)[1] == ["nd_oxide: reading 1"]


def test_turns_of_a_member_are_told_in_its_leaders_thread_and_edited_in_its_own_message(
    ledger, slack, run
):
    _, member = pair(ledger)
    run()
    judge(ledger, make_reading(2, "nd_oxide", CRITICAL), after=HOUR)
    judge(ledger, clear(3, "nd_oxide"), after=2 * HOUR)
    run()
    root, thread = shown(slack)
    assert root.text.startswith("dy_oxide: reading 1")
    assert thread == ["nd_oxide: reading 3", "ESCALATED", "RESOLVED"]
    (own,) = slack.workspace.with_key(root_key(ledger, member))
    assert (own.thread_ts, own.edited) == (root.ts, 1)
    assert "RESOLVED" in own.text


def test_turns_of_the_leader_stay_in_the_thread_too(ledger, slack, run):
    pair(ledger)
    run()
    judge(ledger, clear(2, "dy_oxide"), after=HOUR)
    run()
    root, thread = shown(slack)
    assert thread == ["nd_oxide: reading 1", "RESOLVED"]
    assert root.edited == 1


def test_charts_of_a_member_go_to_its_leaders_thread(ledger, slack, run):
    pair(ledger, compose=with_chart)
    assert run().sent == 4
    (root,) = slack.workspace.roots("#alerts")
    charts = [one for one in slack.workspace.messages if one.files]
    assert [one.thread_ts for one in charts] == [root.ts, root.ts]


@pytest.mark.parametrize(
    "fault",
    [Fault("lost"), Fault("reset"), Fault("status", status=502, applied=False)],
    ids=["the answer is lost", "the connection breaks", "it never arrived"],
)
def test_a_member_with_an_unclear_answer_is_looked_for_in_the_thread_and_stands_once(
    ledger, slack, run, until_rest, fault
):
    _, member = pair(ledger)
    run(at_most=1)
    slack.fail("chat.postMessage", fault)
    run()
    assert until_rest().is_drained
    assert slack.calls("conversations.replies")
    assert not slack.calls("conversations.history")
    (own,) = slack.workspace.with_key(root_key(ledger, member))
    assert own.thread_ts == shown(slack)[0].ts


def test_a_reply_of_a_member_with_an_unclear_answer_is_looked_for_in_the_same_thread(
    ledger, slack, run, until_rest
):
    pair(ledger)
    run()
    judge(ledger, make_reading(2, "nd_oxide", CRITICAL), after=HOUR)
    slack.fail("chat.postMessage", Fault("lost"))
    run()
    assert until_rest().is_drained
    assert shown(slack)[1] == ["nd_oxide: reading 2", "ESCALATED"]


def test_a_refused_leader_leaves_its_members_a_message_of_their_own(ledger, slack, until_rest):
    pair(ledger)
    slack.fail("chat.postMessage", Fault("error", applied=False, error="msg_blocks_too_long"))
    report = until_rest()
    assert (report.dead, report.pending, report.next_due_at) == (1, 0, None)
    (root,) = slack.workspace.roots("#alerts")
    assert root.text.startswith("nd_oxide: reading 1")
    judge(ledger, make_reading(2, "nd_oxide", CRITICAL), after=HOUR)
    until_rest()
    assert [one.text.splitlines()[0] for one in slack.workspace.thread(root.ts)] == ["ESCALATED"]
    ledger.redrive()
    assert until_rest().is_drained
    assert len(slack.workspace.roots("#alerts")) == 2


def test_a_corrected_route_takes_a_leader_and_its_members_to_the_other_channel(
    ledger, slack, until_rest
):
    pair(ledger)
    slack.workspace.closed_channels["alerts"] = "is_archived"
    report = until_rest()
    assert (report.dead, report.pending, report.next_due_at) == (2, 0, None)
    assert "is_archived" in report.problems[0]
    ledger.redrive(channels={"buyers": "#magnets"})
    assert until_rest().is_drained
    assert len(slack.workspace.roots("#magnets")) == 2


def test_a_leader_that_ended_still_holds_the_thread_of_what_is_open(ledger, slack, run):
    pair(ledger)
    run()
    judge(ledger, clear(2, "dy_oxide"), after=HOUR)
    judge(ledger, make_reading(2, "nd_oxide", CRITICAL), after=2 * HOUR)
    run()
    assert shown(slack)[1] == ["nd_oxide: reading 2", "RESOLVED", "ESCALATED"]


def test_ten_at_once_are_one_message_with_nine_in_its_thread(ledger, slack, run):
    readings = [
        replace(make_reading(1, f"oxide-{number}"), rule=f"rule-{number}") for number in range(10)
    ]
    judge(ledger, *readings)
    assert run().sent == 10
    assert len(shown(slack)[1]) == 9


# --- a notice elsewhere ---------------------------------------------------------------


def calling(decision):
    """Also who is called, in a channel of their own."""
    entries = list(compose(decision))
    if decision.calls:
        text = {"headline": "Nobody has taken on: dy_oxide"}
        entries.append(NewEntry(EntryKind.REPLY, "buyers", "#alerts", {"headline": "called"}))
        entries.append(NewEntry(EntryKind.NOTICE, "on-call", "#on-call", text))
    return entries


ON_CALL = Desk(call_after=lambda reading, severity: HOUR)


def called(ledger: SqlLedger, run, clock) -> None:
    """A critical in a leader's thread that nobody took on, and that someone else is called for."""
    readings = make_reading(1, "nd_oxide", CRITICAL), make_reading(1, "dy_oxide", CRITICAL)
    judge(ledger, *readings, desk=ON_CALL)
    run()
    # An hour after its message stood: before that nobody could take it on.
    taken = ledger.attend("live", now=clock() + HOUR, compose=calling, desk=ON_CALL)
    assert [decision.calls for decision in taken] == [True, True]


def test_a_notice_stands_alone_in_its_own_channel(ledger, slack, run, clock):
    called(ledger, run, clock)
    assert run().is_drained
    notices = slack.workspace.roots("#on-call")
    assert [one.text for one in notices] == ["Nobody has taken on: dy_oxide"] * 2
    assert {one.thread_ts for one in notices} == {None}
    assert shown(slack)[1] == ["dy_oxide: reading 1", "called", "called"]


def test_an_unclear_notice_is_looked_for_in_its_channel_and_stands_once(
    ledger, slack, run, clock, until_rest
):
    called(ledger, run, clock)
    run(at_most=4)
    slack.fail("chat.postMessage", Fault("lost"))
    run()
    assert until_rest().is_drained
    assert len(slack.workspace.roots("#on-call")) == 2
    assert len({one.delivery_key for one in slack.workspace.messages}) == 6


def test_a_notice_that_has_to_wait_keeps_nothing_of_the_thread_back(ledger, slack, run, clock):
    called(ledger, run, clock)
    ledger.pause("#on-call", clock.at + 9 * HOUR, "Slack asks to wait")
    judge(ledger, clear(2, "nd_oxide"), after=2 * HOUR)
    report = run()
    assert slack.workspace.roots("#on-call") == []
    assert report.pending == 2
    assert shown(slack)[1][-1] == "RESOLVED"


def test_a_picture_in_a_thread_has_its_words(ledger, slack, run):
    pair(ledger, compose=with_chart)
    run()
    titles = {one.files[0]["alt_txt"] for one in slack.workspace.messages if one.files}
    assert titles == {"Chart: chance 51 %"}
    assert PNG in [one["data"] for one in slack.workspace.files.values()]
