"""What is posted of an incident and what is only edited in, as sentences."""

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.lifecycle import DataState, Reason, State, attend, decide, failed, withdraw
from alerts.rules import NotEvaluated, RuleOptions, Severity
from alerts.telling import (
    FREELY,
    Around,
    acknowledge,
    beside,
    shown,
    snooze,
    still_calls,
    unsnooze,
)
from tests.builders import NOW, make_incident, make_reading

INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OPTIONS = RuleOptions(cooldown=14 * DAY)
SILENCED = Around(held="silenced by ana until 30 Jun 2025: plant is being moved")
EXPLAINED = Around(held="told as part of: World: 12 % short", held_by="id-of-the-shortfall")
ON_CALL = Around(call_after=4 * HOUR)
GAP = NotEvaluated(
    "magnet-exports-drop", "v1", "volume_drop", "cn_magnet_exports", "0123456789abcdef", "no data"
)


def reading(severity: Severity | None = WARNING, **changes):
    changes.setdefault("holds", severity)
    return make_reading(severity, **changes)


def look(incident, result, *, after=DAY, around=FREELY, options=OPTIONS):
    return decide(incident, result, options, now=NOW + after, new_id="id-1", around=around)


def attended(incident, *, after=DAY, around=FREELY):
    return attend(incident, OPTIONS, now=NOW + after, around=around)


def posts(decision) -> str:
    """What a decision brings into the channel, in one word."""
    if decision.calls:
        return "call"
    if decision.replies:
        return "reply"
    first = decision.says and decision.incident.revision == 1
    return "root" if first else "edit" if decision.says else "nothing"


# --- holds and releases ---------------------------------------------------------


@pytest.mark.parametrize("around", [SILENCED, EXPLAINED], ids=["silenced", "explained"])
def test_what_is_held_opens_unseen_and_says_what_holds_it(around):
    opened = look(None, reading(CRITICAL), around=around)
    assert (opened.reason, posts(opened)) == (Reason.OPENED, "nothing")
    incident = opened.incident
    assert (incident.state, incident.episode, incident.revision) == (State.FIRING, 1, 0)
    assert (incident.held, incident.held_by) == (around.held, around.held_by)
    assert (incident.told_state, incident.told_at) == (None, None)


def test_a_hold_that_is_gone_lets_it_be_told_for_the_first_time():
    held = look(None, reading(), around=SILENCED).incident
    told = attended(held, after=2 * DAY)
    assert (told.reason, posts(told)) == (Reason.RELEASED, "root")
    assert (told.incident.held, told.incident.told_state) == ("", State.FIRING)
    assert told.incident.told_at == NOW + 2 * DAY
    assert posts(attended(told.incident, after=3 * DAY)) == "nothing"


def test_what_begins_and_ends_while_it_is_held_is_never_told():
    held = look(None, reading(), around=SILENCED).incident
    ended = look(held, reading(None), around=SILENCED)
    assert (ended.reason, posts(ended)) == (Reason.RESOLVED, "nothing")
    assert posts(attended(ended.incident, after=3 * DAY)) == "nothing"


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(
            lambda one: look(one, reading(None), around=SILENCED), id="its condition cleared"
        ),
        pytest.param(lambda one: withdraw(one, now=NOW + DAY), id="its rule is gone"),
        pytest.param(
            lambda one: look(
                replace(one, reading=replace(one.reading, ends_on=NOW.date())),
                GAP,
                around=SILENCED,
            ),
            id="what it spoke of has passed",
        ),
    ],
)
def test_an_end_is_told_though_it_is_held_because_the_last_post_would_stay_untrue(end):
    ended = end(make_incident(held=SILENCED.held))
    assert posts(ended) == "reply"
    assert ended.incident.told_state is ended.incident.state
    assert (ended.incident.held, ended.incident.held_by) == ("", "")


def test_a_rise_while_held_is_edited_in_and_told_when_the_hold_is_gone():
    raised = look(make_incident(), reading(CRITICAL), around=SILENCED)
    assert (raised.reason, posts(raised)) == (Reason.ESCALATED, "edit")
    assert raised.incident.peak is WARNING  # nobody was told of more
    released = attended(raised.incident, after=2 * DAY)
    assert posts(released) == "reply"
    assert released.incident.peak is CRITICAL


def test_a_hold_that_comes_later_takes_nothing_back():
    later = attended(make_incident(), around=EXPLAINED)
    assert (later.reason, posts(later)) == (Reason.UNCHANGED, "nothing")
    assert later.incident.held_by == "id-of-the-shortfall"
    assert later.incident.told_state is State.FIRING


def test_a_return_while_held_is_not_posted_and_not_forgotten():
    ended = make_incident(State.RESOLVED, told_state=State.RESOLVED, told_at=NOW)
    back = look(ended, reading(CRITICAL), around=SILENCED)
    assert (back.reason, posts(back)) == (Reason.REOPENED, "edit")
    assert posts(attended(back.incident, after=2 * DAY)) == "reply"


def test_a_hold_that_goes_while_its_rule_cannot_judge_is_noted_all_the_same():
    blind = look(make_incident(), GAP, around=SILENCED).incident
    assert blind.held == SILENCED.held
    again = look(blind, GAP, after=2 * DAY)
    assert (again.reason, again.incident.held) == (Reason.KEPT_LAST, "")


def test_a_failing_rule_marks_what_is_held_without_posting():
    held = look(None, reading(), around=SILENCED).incident
    marked = failed(held, "KeyError", OPTIONS, now=NOW + 2 * DAY, around=SILENCED)
    assert (marked.reason, posts(marked)) == (Reason.EVAL_ERROR, "nothing")
    assert marked.incident.data_state is DataState.EVAL_ERROR


# --- snoozes ---------------------------------------------------------------------


def asleep(hours: int = 48, **changes):
    snoozed = snooze(make_incident(**changes), "ana", NOW + hours * HOUR, now=NOW)
    assert (snoozed.reason, posts(snoozed)) == (Reason.SNOOZED, "edit")
    return snoozed.incident


@pytest.mark.parametrize(
    ("result", "after", "reason", "posted"),
    [
        pytest.param(reading(CRITICAL), DAY, Reason.ESCALATED, "reply", id="a rise wakes it"),
        pytest.param(
            reading(WARNING, headline="new"), DAY, Reason.UPDATED, "edit", id="new numbers do not"
        ),
        pytest.param(reading(WARNING), 2 * DAY, Reason.WOKEN, "reply", id="its time has come"),
        pytest.param(reading(None), DAY, Reason.RESOLVED, "reply", id="an end is told"),
        pytest.param(GAP, DAY, Reason.KEPT_LAST, "edit", id="a mark is edited in"),
    ],
)
def test_what_a_snooze_keeps_quiet_and_what_wakes_it(result, after, reason, posted):
    decision = look(asleep(), result, after=after)
    assert (decision.reason, posts(decision)) == (reason, posted)
    is_asleep = decision.incident.snoozed_until is not None
    assert is_asleep == (posted == "edit")


def test_a_snooze_that_ends_is_said_once():
    woken = attended(asleep(), after=2 * DAY)
    assert (woken.reason, posts(woken)) == (Reason.WOKEN, "reply")
    assert (woken.incident.snoozed_by, woken.incident.snoozed_at) == ("", None)
    assert posts(attended(woken.incident, after=3 * DAY)) == "nothing"


def test_a_snooze_of_a_critical_outlasts_its_going_down_and_up_again():
    critical = asleep(severity=CRITICAL, peak=CRITICAL, reading=reading(CRITICAL))
    down = look(critical, reading(WARNING), after=HOUR)
    assert (down.reason, posts(down)) == (Reason.LOWERED, "edit")
    up = look(down.incident, reading(CRITICAL), after=2 * HOUR)
    assert (up.reason, posts(up)) == (Reason.ESCALATED, "edit")


def test_a_snooze_that_runs_out_under_a_silence_posts_nothing():
    assert posts(attended(asleep(), after=2 * DAY, around=SILENCED)) == "edit"


def test_what_was_snoozed_before_anybody_saw_it_is_told_when_it_wakes():
    held = look(None, reading(), around=SILENCED).incident
    snoozed = snooze(held, "ana", NOW + 3 * DAY, now=NOW + DAY)
    assert posts(snoozed) == "nothing"
    assert posts(attended(snoozed.incident, after=2 * DAY)) == "nothing"
    assert posts(attended(snoozed.incident, after=3 * DAY)) == "root"


def test_a_snooze_ended_by_hand_is_edited_in_and_what_was_due_is_told_at_the_next_look():
    raised = look(asleep(peak=INFO), reading(WARNING), after=HOUR).incident
    awake = unsnooze(raised, now=NOW + 2 * HOUR)
    assert (awake.reason, posts(awake)) == (Reason.WOKEN, "edit")
    assert posts(attended(awake.incident)) == "reply"


@pytest.mark.parametrize(
    ("before", "until"),
    [
        pytest.param(make_incident(), NOW, id="until now"),
        pytest.param(make_incident(State.RESOLVED), NOW + DAY, id="of what is over"),
        pytest.param(make_incident(State.PENDING), NOW + DAY, id="of what nobody has seen"),
    ],
)
def test_a_snooze_that_means_nothing_changes_nothing(before, until):
    decision = snooze(before, "ana", until, now=NOW)
    assert (decision.reason, decision.incident) == (Reason.UNCHANGED, before)
    assert unsnooze(before, now=NOW).incident is before


# --- acknowledgements and calls ---------------------------------------------------


def test_the_first_who_takes_it_on_is_named_and_a_second_changes_nothing():
    taken = acknowledge(make_incident(), "ana", now=NOW)
    assert (taken.reason, posts(taken)) == (Reason.ACKNOWLEDGED, "edit")
    assert (taken.incident.acknowledged_by, taken.incident.acknowledged_at) == ("ana", NOW)
    second = acknowledge(taken.incident, "ben", now=NOW + HOUR)
    assert (second.reason, second.incident) == (Reason.UNCHANGED, taken.incident)


@pytest.mark.parametrize("state", [State.PENDING, State.RESOLVED, State.EXPIRED, State.WITHDRAWN])
def test_what_is_not_open_cannot_be_taken_on(state):
    before = make_incident(state)
    assert acknowledge(before, "ana", now=NOW).incident is before


@pytest.mark.parametrize(
    ("result", "by"),
    [
        pytest.param(reading(WARNING, headline="new"), "ana", id="new numbers leave it"),
        pytest.param(reading(CRITICAL), "", id="a rise is more than what was taken on"),
        pytest.param(reading(None), "ana", id="an end still says who had it"),
        pytest.param(GAP, "ana", id="a blind spot leaves it"),
    ],
)
def test_what_becomes_of_an_acknowledgement(result, by):
    taken = make_incident(acknowledged_by="ana", acknowledged_at=NOW, called_at=NOW)
    after = look(taken, result).incident
    assert after.acknowledged_by == by
    assert (after.acknowledged_at is None, after.called_at is None) == (not by, not by)


def test_a_new_episode_has_been_taken_on_by_nobody():
    ended = make_incident(State.RESOLVED, acknowledged_by="ana", acknowledged_at=NOW, called_at=NOW)
    back = look(ended, reading())
    assert back.reason is Reason.REOPENED
    assert (back.incident.acknowledged_by, back.incident.called_at) == ("", None)


def critical(**changes):
    told = {"severity": CRITICAL, "peak": CRITICAL, "reading": reading(CRITICAL), "told_at": NOW}
    return make_incident(**(told | changes))


@pytest.mark.parametrize(
    ("incident", "after", "around", "calls"),
    [
        pytest.param(critical(), 4 * HOUR, ON_CALL, True, id="after the time that was given"),
        pytest.param(critical(), 3.99 * HOUR, ON_CALL, False, id="not a moment before"),
        pytest.param(critical(), DAY, FREELY, False, id="not where nobody is named"),
        pytest.param(
            critical(acknowledged_by="ana", acknowledged_at=NOW),
            DAY,
            ON_CALL,
            False,
            id="not when someone has it",
        ),
        pytest.param(
            make_incident(told_at=NOW), DAY, ON_CALL, False, id="not for less than critical"
        ),
        pytest.param(critical(called_at=NOW), DAY, ON_CALL, False, id="not twice an episode"),
        pytest.param(
            critical(),
            DAY,
            replace(ON_CALL, held=SILENCED.held),
            False,
            id="not what is silenced",
        ),
        pytest.param(
            critical(snoozed_by="ana", snoozed_until=NOW + 2 * DAY, snoozed_at=CRITICAL),
            DAY,
            ON_CALL,
            False,
            id="not what is asleep",
        ),
        pytest.param(
            critical(state=State.RECOVERING), DAY, ON_CALL, False, id="not what is easing"
        ),
    ],
)
def test_when_someone_else_is_called(incident, after, around, calls):
    decision = attended(incident, after=after, around=around)
    assert decision.calls == calls
    assert (decision.reason is Reason.UNACKNOWLEDGED) == calls
    if calls:
        assert decision.says  # the message says that someone was called
        assert decision.incident.called_at == NOW + after
        assert not attended(decision.incident, after=after + DAY, around=around).calls


def test_a_call_is_counted_from_the_last_post_and_not_from_the_beginning():
    raised = look(make_incident(told_at=NOW - 30 * DAY), reading(CRITICAL), around=ON_CALL)
    assert (posts(raised), raised.calls) == ("reply", False)
    assert not attended(raised.incident, after=DAY + 3 * HOUR, around=ON_CALL).calls
    assert attended(raised.incident, after=DAY + 4 * HOUR, around=ON_CALL).calls


def test_someone_is_called_although_the_rule_can_no_longer_judge():
    blind = look(critical(), GAP, after=HOUR).incident
    called = look(blind, GAP, after=5 * HOUR, around=ON_CALL)
    assert (called.reason, posts(called)) == (Reason.UNACKNOWLEDGED, "call")


# --- what a reader sees -----------------------------------------------------------


def first_name(change) -> str:
    return next(iter(change))


@pytest.mark.parametrize(
    "change",
    [
        {"severity": CRITICAL},
        {"route": "board"},
        {"data_state": DataState.STALE},
        {"acknowledged_by": "ana"},
        {"snoozed_until": NOW},
        {"beside": ("another",)},
        pytest.param({"reading": make_reading(headline="another")}, id="headline"),
        pytest.param({"reading": make_reading(facts=())}, id="facts"),
        pytest.param({"reading": make_reading(drivers=())}, id="drivers"),
        pytest.param({"reading": make_reading(advice="Ask the supplier.")}, id="advice"),
        pytest.param({"reading": make_reading(owner="Magnet desk")}, id="owner"),
        pytest.param({"reading": make_reading(runbook="https://example.com/drop")}, id="runbook"),
    ],
    ids=first_name,
)
def test_a_change_that_a_reader_sees_is_worth_an_edit(change):
    assert shown(replace(make_incident(), **change)) != shown(make_incident())


@pytest.mark.parametrize(
    "change",
    [
        {"reading": make_reading(input_id="input-2", value=0.5)},
        {"true_runs": 9, "crossings": "1"},
        {"read_at": NOW, "data_why": "another day"},
        {"called_at": NOW},
    ],
    ids=first_name,
)
def test_a_change_that_no_reader_sees_is_not(change):
    assert shown(replace(make_incident(), **change)) == shown(make_incident())


def test_what_is_told_beside_it_is_edited_in_once():
    quiet = attended(make_incident())
    named = beside(quiet, ("Dysprosium: 12 % up",))
    assert (named.reason, posts(named)) == (Reason.UPDATED, "edit")
    assert named.incident.revision == quiet.incident.revision + 1
    again = beside(attended(named.incident), ("Dysprosium: 12 % up",))
    assert posts(again) == "nothing"


def test_what_is_told_beside_it_does_not_make_two_edits_of_one():
    updated = look(make_incident(), reading(headline="new"))
    named = beside(updated, ("Dysprosium: 12 % up",))
    assert (named.reason, named.incident.revision) == (updated.reason, updated.incident.revision)


def test_what_is_told_beside_something_unseen_posts_nothing():
    held = look(None, reading(), around=SILENCED)
    assert posts(beside(held, ("Dysprosium: 12 % up",))) == "nothing"


@pytest.mark.parametrize(
    ("changes", "calls"),
    [
        ({}, True),
        ({"state": State.RECOVERING}, True),
        ({"severity": WARNING}, False),
        ({"acknowledged_at": NOW}, False),
        ({"snoozed_until": NOW + DAY}, False),
        ({"held": "silenced by ana"}, False),
        ({"state": State.RESOLVED}, False),
    ],
    ids=["as it was", "easing", "less", "taken on", "snoozed", "silenced", "over"],
)
def test_people_still_have_to_hear_of_what_is_open_as_severe_as_it_was_and_nobodys(changes, calls):
    one = make_incident(**{"severity": CRITICAL, **changes})
    assert still_calls(one, CRITICAL) is calls
