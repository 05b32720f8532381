import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.lifecycle import (
    DataState,
    Incident,
    Reason,
    State,
    attend,
    decide,
    incident_id,
    withdraw,
)
from alerts.rules import Limit, NotEvaluated, RuleOptions, Severity, judge_rising
from alerts.telling import Around
from tests.builders import NOW, make_incident, make_reading

INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
OPTIONS = RuleOptions(cooldown=timedelta(days=14))

QUIET = make_reading(None)
BAND = make_reading(None, is_clear=False)  # between exit and enter: neither crossed nor clear
WARN = make_reading(WARNING)
CRIT = make_reading(CRITICAL, headline="worse")
BLIND = NotEvaluated("magnet-exports-drop", "v1", "volume_drop", "x", WARN.fingerprint, "too old")

firing = make_incident()
critical = make_incident(severity=CRITICAL, peak=CRITICAL, reading=CRIT)
recovering = make_incident(State.RECOVERING, clear_runs=1)
pending = make_incident(State.PENDING)
resolved = make_incident(State.RESOLVED, changed_at=NOW - DAY, told_state=State.RESOLVED)
long_over = replace(resolved, changed_at=NOW - 14 * DAY)
withdrawn = make_incident(State.WITHDRAWN)


@pytest.mark.parametrize(
    ("before", "result", "reason", "state", "severity", "says", "replies"),
    [
        # nothing open
        pytest.param(None, QUIET, Reason.STILL_QUIET, None, None, False, False, id="quiet"),
        pytest.param(None, BAND, Reason.STILL_QUIET, None, None, False, False, id="not crossed"),
        pytest.param(None, BLIND, Reason.KEPT_LAST, None, None, False, False, id="never judged"),
        pytest.param(
            None, WARN, Reason.OPENED, State.FIRING, WARNING, True, False, id="first crossing"
        ),
        pytest.param(
            withdrawn, WARN, Reason.OPENED, State.FIRING, WARNING, True, False, id="a new rule"
        ),
        pytest.param(
            long_over, WARN, Reason.OPENED, State.FIRING, WARNING, True, False, id="a new story"
        ),
        pytest.param(
            resolved, WARN, Reason.REOPENED, State.FIRING, WARNING, True, False, id="back soon"
        ),
        pytest.param(
            resolved, CRIT, Reason.REOPENED, State.FIRING, CRITICAL, True, True, id="back, worse"
        ),
        pytest.param(
            resolved, QUIET, Reason.STILL_QUIET, State.RESOLVED, WARNING, False, False, id="stays"
        ),
        pytest.param(
            pending, QUIET, Reason.STILL_QUIET, State.RESOLVED, WARNING, False, False, id="blip"
        ),
        # open
        pytest.param(
            firing, WARN, Reason.UNCHANGED, State.FIRING, WARNING, False, False, id="as before"
        ),
        pytest.param(
            firing,
            replace(WARN, headline="new number"),
            Reason.UPDATED,
            State.FIRING,
            WARNING,
            True,
            False,
            id="new numbers are edited in",
        ),
        pytest.param(
            firing, CRIT, Reason.ESCALATED, State.FIRING, CRITICAL, True, True, id="worse at once"
        ),
        pytest.param(
            critical, WARN, Reason.LOWERED, State.FIRING, WARNING, True, False, id="less bad"
        ),
        pytest.param(
            critical,
            replace(WARN, holds=CRITICAL),
            Reason.UPDATED,
            State.FIRING,
            CRITICAL,
            True,
            False,
            id="severity falls only beyond its exit",
        ),
        pytest.param(
            firing,
            replace(WARN, holds=CRITICAL),
            Reason.UNCHANGED,
            State.FIRING,
            WARNING,
            False,
            False,
            id="an exit limit raises nothing",
        ),
        pytest.param(
            critical, BAND, Reason.UPDATED, State.FIRING, CRITICAL, True, False, id="in the gap"
        ),
        pytest.param(
            firing, QUIET, Reason.RESOLVED, State.RESOLVED, WARNING, True, True, id="over"
        ),
        pytest.param(
            recovering, WARN, Reason.UPDATED, State.FIRING, WARNING, True, False, id="relapse"
        ),
        pytest.param(
            firing, BLIND, Reason.KEPT_LAST, State.FIRING, WARNING, True, False, id="keep last"
        ),
        pytest.param(
            recovering, BLIND, Reason.KEPT_LAST, State.RECOVERING, WARNING, True, False, id="keep"
        ),
    ],
)
def test_one_step(before, result, reason, state, severity, says, replies):
    decision = decide(before, result, OPTIONS, now=NOW, book="live", new_id="new")

    assert decision.reason is reason
    assert (decision.says, decision.replies) == (says, replies)
    if state is None:
        assert decision.incident is None
    else:
        assert decision.incident is not None
        assert decision.incident.state is state
        assert decision.incident.severity is severity


def test_a_new_incident_has_the_new_id_and_an_old_one_keeps_its_own():
    assert decide(long_over, WARN, OPTIONS, now=NOW, new_id="new").incident.id == "new"
    assert decide(resolved, WARN, OPTIONS, now=NOW, new_id="new").incident.id == resolved.id


def test_not_evaluated_changes_nothing_of_what_is_not_open():
    for before in (None, resolved, pending):
        assert decide(before, BLIND, OPTIONS, now=NOW).incident is before


@pytest.mark.parametrize("before", [firing, recovering])
def test_what_is_open_and_not_evaluated_is_marked_once_and_keeps_its_state(before):
    marked = decide(before, BLIND, OPTIONS, now=NOW)
    again = decide(marked.incident, BLIND, OPTIONS, now=NOW + DAY)

    assert marked.incident.data_state is DataState.STALE
    assert (marked.incident.data_why, marked.incident.data_since) == ("too old", NOW)
    assert (marked.says, marked.replies) == (True, False)
    assert (
        replace(
            marked.incident,
            data_state=DataState.FRESH,
            data_why="",
            data_since=None,
            revision=before.revision,
        )
        == before
    )
    assert (again.says, again.incident) == (False, marked.incident)


def test_a_new_answer_takes_the_mark_away_and_a_reader_sees_it():
    marked = decide(firing, BLIND, OPTIONS, now=NOW).incident
    judged = decide(marked, WARN, OPTIONS, now=NOW + DAY)

    assert judged.incident.data_state is DataState.FRESH
    assert judged.says


def test_the_same_answer_again_takes_the_mark_away_and_counts_for_nothing():
    marked = decide(firing, BLIND, OPTIONS, now=NOW).incident
    looked = attend(marked, OPTIONS, now=NOW + DAY, is_answered=True)

    assert looked.incident.data_state is DataState.FRESH
    assert looked.incident.true_runs == marked.true_runs
    assert (looked.says, looked.replies) == (True, False)


def test_two_of_three_crossings_open_and_two_quiet_ones_between_do_not_wait_for_ever():
    options = replace(OPTIONS, for_evaluations=2, out_of=3)
    first = decide(None, WARN, options, now=NOW, new_id="a").incident
    gap = decide(first, QUIET, options, now=NOW + DAY).incident
    opened = decide(gap, WARN, options, now=NOW + 2 * DAY)
    second_gap = decide(gap, QUIET, options, now=NOW + 2 * DAY)

    assert (first.state, gap.state) == (State.PENDING, State.PENDING)
    assert opened.reason is Reason.OPENED
    # The first crossing has left the window of any that may come.
    assert second_gap.incident.state is State.RESOLVED
    assert second_gap.incident.episode == 0


CLAIM_END = (NOW + 30 * DAY).date()
CLAIMED = replace(WARN, ends_on=CLAIM_END)
LATER = replace(CLAIMED, ends_on=CLAIM_END + 30 * DAY)


def test_what_still_holds_when_its_time_is_over_is_said_anew_once():
    opened = decide(None, CLAIMED, OPTIONS, now=NOW, new_id="a").incident
    before = decide(opened, LATER, OPTIONS, now=NOW + 30 * DAY)
    renewed = decide(before.incident, LATER, OPTIONS, now=NOW + 31 * DAY)
    after = decide(renewed.incident, LATER, OPTIONS, now=NOW + 32 * DAY)

    assert opened.claim_ends_on == CLAIM_END
    assert before.reason is Reason.UNCHANGED
    assert (renewed.reason, renewed.replies) == (Reason.RENEWED, True)
    assert (renewed.incident.id, renewed.incident.renewals) == ("a", 1)
    assert renewed.incident.since == opened.since  # it never closed
    assert renewed.incident.claim_ends_on == LATER.ends_on
    assert after.reason is Reason.UNCHANGED


@pytest.mark.parametrize(
    ("result", "options", "reason"),
    [
        pytest.param(BAND, OPTIONS, Reason.EXPIRED, id="in the gap"),
        pytest.param(QUIET, OPTIONS, Reason.RESOLVED, id="clear"),
        pytest.param(
            QUIET, replace(OPTIONS, clear_evaluations=2), Reason.EXPIRED, id="not clear enough"
        ),
    ],
)
def test_what_does_not_hold_any_more_when_its_time_is_over_ends(result, options, reason):
    opened = decide(None, CLAIMED, options, now=NOW, new_id="a").incident
    ended = decide(opened, result, options, now=NOW + 31 * DAY)

    assert ended.reason is reason
    assert ended.incident.state.is_ended
    assert ended.replies


def test_a_renewal_that_may_not_be_posted_is_told_when_it_may():
    opened = decide(None, CLAIMED, OPTIONS, now=NOW, new_id="a").incident
    held = Around(held="silenced by Ann")
    hidden = decide(opened, LATER, OPTIONS, now=NOW + 31 * DAY, around=held)
    later = attend(hidden.incident, OPTIONS, now=NOW + 33 * DAY, is_answered=True)

    assert (hidden.reason, hidden.replies) == (Reason.UNCHANGED, False)
    assert hidden.incident.renewals == 0
    assert (later.reason, later.replies, later.incident.renewals) == (Reason.RENEWED, True, 1)


def test_a_renewal_keeps_a_severity_whose_exit_limit_is_not_passed():
    worse = replace(CRIT, ends_on=CLAIM_END)
    opened = decide(None, worse, OPTIONS, now=NOW, new_id="a").incident
    milder = replace(LATER, holds=CRITICAL)
    kept = decide(opened, milder, OPTIONS, now=NOW + 31 * DAY)
    lowered = decide(opened, LATER, OPTIONS, now=NOW + 31 * DAY)

    assert kept.incident.severity is CRITICAL
    assert lowered.incident.severity is WARNING


def test_a_height_that_was_told_long_ago_is_told_again_and_a_recent_one_is_not():
    opened = decide(None, CRIT, OPTIONS, now=NOW, new_id="a").incident
    eased = decide(opened, WARN, OPTIONS, now=NOW + 2 * DAY).incident
    soon = decide(eased, CRIT, OPTIONS, now=NOW + 5 * DAY)
    late = decide(eased, CRIT, OPTIONS, now=NOW + 40 * DAY)

    assert eased.severity is WARNING
    assert (soon.reason, soon.replies) == (Reason.ESCALATED, False)
    assert (late.reason, late.replies) == (Reason.ESCALATED, True)


def test_a_rise_while_it_was_held_is_told_as_a_rise_when_nothing_holds_it_any_more():
    opened = decide(None, WARN, OPTIONS, now=NOW, new_id="a").incident
    held = Around(held="silenced by Ann")
    risen = decide(opened, CRIT, OPTIONS, now=NOW + DAY, around=held)
    freed = attend(risen.incident, OPTIONS, now=NOW + 2 * DAY)

    assert not risen.replies
    assert (freed.reason, freed.replies) == (Reason.ESCALATED, True)


def test_nobody_is_called_about_a_rise_before_they_had_the_time_to_take_it_on():
    around = Around(call_after=4 * HOUR)
    opened = decide(None, CRIT, OPTIONS, now=NOW, new_id="a", around=around).incident
    eased = decide(opened, WARN, OPTIONS, now=NOW + HOUR, around=around).incident
    back = decide(eased, CRIT, OPTIONS, now=NOW + DAY, around=around)
    later = attend(back.incident, OPTIONS, now=NOW + DAY + 4 * HOUR, around=around)

    assert not back.calls
    assert later.calls


def test_crossings_under_other_limits_count_for_nothing():
    options = replace(OPTIONS, for_evaluations=2)
    first = decide(None, WARN, options, now=NOW, new_id="a").incident
    changed = decide(first, replace(WARN, rule_version="v2"), options, now=NOW + DAY)

    assert (changed.reason, changed.incident.true_runs) == (Reason.PENDING, 1)


def test_what_spoke_of_days_that_have_passed_expires_when_nothing_newer_can_be_judged():
    spoke = replace(firing, reading=replace(WARN, ends_on=(NOW + 2 * DAY).date()))
    on_the_day = decide(spoke, BLIND, OPTIONS, now=NOW + 2 * DAY)
    after = decide(on_the_day.incident, BLIND, OPTIONS, now=NOW + 3 * DAY)
    back = decide(after.incident, WARN, OPTIONS, now=NOW + 4 * DAY, new_id="new")

    assert on_the_day.incident.state is State.FIRING
    assert (after.reason, after.incident.state) == (Reason.EXPIRED, State.EXPIRED)
    assert (after.says, after.replies) == (True, True)
    assert (back.reason, back.incident.id) == (Reason.OPENED, "new")


def test_a_warning_waits_for_its_evaluations_and_a_critical_one_does_not():
    patient = replace(OPTIONS, for_evaluations=3)
    reasons, incident = run([WARN, WARN, WARN], patient)
    assert reasons == [Reason.PENDING, Reason.PENDING, Reason.OPENED]
    assert incident.true_runs == 3
    assert incident.episode == 1

    assert run([CRIT], patient)[0] == [Reason.OPENED]


def test_crossings_must_follow_each_other_to_open():
    reasons, incident = run([WARN, QUIET, WARN, QUIET], replace(OPTIONS, for_evaluations=2))

    assert Reason.OPENED not in reasons
    assert incident.episode == 0
    assert not incident.state.is_open


def test_an_end_needs_clear_readings_in_a_row():
    options = replace(OPTIONS, clear_evaluations=2)

    reasons, incident = run([WARN, QUIET, BAND, QUIET, QUIET], options)

    assert reasons == [
        Reason.OPENED,
        Reason.RECOVERING,
        Reason.UPDATED,
        Reason.RECOVERING,
        Reason.RESOLVED,
    ]
    assert incident.state is State.RESOLVED


def test_a_lower_severity_needs_the_clear_rule_too():
    options = replace(OPTIONS, clear_evaluations=2)

    reasons, incident = run([CRIT, WARN, WARN], options)

    assert reasons == [Reason.OPENED, Reason.UPDATED, Reason.LOWERED]
    assert incident.severity is WARNING


def test_readings_that_only_allow_less_do_not_count_towards_the_end():
    options = replace(OPTIONS, clear_evaluations=2)

    reasons, _ = run([CRIT, WARN, QUIET], options)

    assert reasons[-1] is Reason.RECOVERING


def test_ten_toggles_within_the_cooldown_are_one_root_and_one_reply():
    incident, roots, replies, reasons = None, set(), 0, []
    for hour in range(20):
        result = WARN if hour % 2 == 0 else QUIET
        decision = decide(incident, result, OPTIONS, now=NOW + hour * HOUR, new_id=f"id-{hour}")
        incident = decision.incident
        roots.add(incident.id)
        replies += decision.replies
        reasons.append(decision.reason)

    assert roots == {"id-0"}
    assert len(roots) + replies == 2  # the root and the first "resolved"; the rest is edited in
    assert incident.episode == 10
    assert reasons.count(Reason.REOPENED) == 9


def test_a_muted_return_is_told_once_the_cooldown_has_passed():
    back = decide(resolved_now(), WARN, OPTIONS, now=NOW + HOUR)
    assert not back.replies

    soon = decide(back.incident, WARN, OPTIONS, now=NOW + 13 * DAY)
    late = decide(back.incident, WARN, OPTIONS, now=NOW + 15 * DAY)
    again = decide(late.incident, WARN, OPTIONS, now=NOW + 40 * DAY)

    assert (soon.replies, late.replies, again.replies) == (False, True, False)


@pytest.mark.parametrize(
    ("before", "result", "replies"),
    [
        pytest.param("ended", WARN, False, id="a warning comes back: edited in"),
        pytest.param("ended", CRIT, True, id="it comes back critical: people are told"),
        pytest.param("back, muted", CRIT, True, id="a muted return turns critical: told"),
        pytest.param("back, told", CRIT, False, id="critical, as the last post says"),
    ],
)
def test_a_return_to_critical_is_told_however_soon(before, result, replies):
    _, ended = run([CRIT, QUIET], OPTIONS)
    histories = {"ended": [], "back, muted": [WARN], "back, told": [CRIT]}
    incident = ended
    for step in histories[before]:
        incident = decide(incident, step, OPTIONS, now=NOW + 3 * HOUR).incident

    decision = decide(incident, result, OPTIONS, now=NOW + 4 * HOUR)

    assert decision.replies is replies
    assert decision.incident.id == ended.id


def test_going_between_warning_and_critical_tells_a_height_once():
    levels = [WARN, CRIT] * 5
    incident, replies = None, 0
    for hour, result in enumerate(levels):
        decision = decide(incident, result, OPTIONS, now=NOW + hour * HOUR, new_id="id")
        incident, replies = decision.incident, replies + decision.replies

    assert replies == 1


def test_changed_limits_judge_the_open_incident_afresh_and_say_so():
    still = decide(firing, replace(WARN, rule_version="v2"), OPTIONS, now=NOW)
    assert (still.reason, still.says, still.replies) == (Reason.LIMIT_CHANGED, True, False)
    assert still.incident.id == firing.id
    assert still.incident.rule_version == "v2"

    gone = decide(firing, replace(QUIET, rule_version="v2"), OPTIONS, now=NOW)
    assert gone.reason is Reason.LIMIT_CHANGED
    assert (
        gone.incident.state is State.WITHDRAWN
    )  # the limit moved: "resolved" would claim too much
    assert gone.replies

    worse = decide(firing, replace(CRIT, rule_version="v2"), OPTIONS, now=NOW)
    assert worse.incident.severity is CRITICAL
    assert worse.replies


def test_a_removed_rule_withdraws_what_readers_see_and_says_so():
    seen = withdraw(firing, now=NOW)
    unseen = withdraw(pending, now=NOW)
    over = withdraw(resolved, now=NOW)

    assert (seen.reason, seen.says, seen.replies) == (Reason.WITHDRAWN, True, True)
    assert (unseen.says, unseen.replies) == (False, False)
    assert over.incident is resolved


def test_what_changed_is_kept_for_the_message_when_it_measures_the_same():
    worse = replace(CRIT, value=0.25)
    decision = decide(firing, worse, OPTIONS, now=NOW)
    assert decision.incident.previous_value == firing.reading.value
    assert decision.incident.previous_at == firing.reading_at

    other = decide(firing, replace(worse, unit="of something else"), OPTIONS, now=NOW)
    assert other.incident.previous_value is None


def test_what_it_was_is_told_in_the_words_of_that_time():
    at_75 = replace(WARN, value=0.62, measured="62 % for a price above 75 USD/kg")
    at_90 = replace(WARN, value=0.7, measured="70 % for a price above 90 USD/kg")

    decision = decide(make_incident(reading=at_75), at_90, OPTIONS, now=NOW)

    assert decision.incident.previous_measured == "62 % for a price above 75 USD/kg"


def test_quiet_days_after_an_end_do_not_move_the_day_of_what_was_last_read():
    _, ended = run([WARN, QUIET], OPTIONS)
    later = decide(ended, replace(QUIET, value=1.3), OPTIONS, now=NOW + 5 * DAY).incident

    assert (later.reading, later.reading_at) == (ended.reading, NOW + HOUR)
    assert later.read_at == NOW + 5 * DAY  # the last moment that was judged

    back = decide(later, WARN, OPTIONS, now=NOW + 6 * DAY).incident
    assert (back.previous_value, back.previous_at) == (QUIET.value, NOW + HOUR)


@pytest.mark.parametrize(
    ("before", "result"),
    [
        pytest.param(firing, WARN, id="open"),
        pytest.param(firing, QUIET, id="ending"),
        pytest.param(resolved, WARN, id="coming back"),
        pytest.param(pending, WARN, id="opening after a wait"),
    ],
)
def test_a_changed_route_is_taken_by_what_is_still_told(before, result):
    moved = decide(before, replace(result, route="operators"), OPTIONS, now=NOW)

    assert moved.incident.route == "operators"
    assert moved.says  # a message that could not be posted on the old way is due again


def test_a_changed_route_is_taken_while_it_waits():
    patient = replace(OPTIONS, for_evaluations=3)
    moved = decide(pending, replace(WARN, route="operators"), patient, now=NOW)

    assert (moved.reason, moved.incident.route) == (Reason.PENDING, "operators")


def test_a_clock_that_jumps_back_neither_crashes_nor_starts_a_second_incident():
    earlier = decide(resolved, WARN, OPTIONS, now=NOW - 30 * DAY, new_id="new")

    assert earlier.incident.id == resolved.id


def test_an_incident_survives_being_stored():
    for incident in (firing, pending, resolved, replace(firing, told_at=None, read_at=None)):
        assert Incident.from_dict(incident.as_dict()) == incident


def test_ids_are_equal_for_equal_stories_and_different_for_different_ones():
    assert incident_id("live", "f", 1) == incident_id("live", "f", 1)
    ids = {incident_id(b, f, n) for b in ("live", "as-of 2025-06-21") for f in "fg" for n in (1, 2)}
    assert len(ids) == 8


RESULTS = st.sampled_from([QUIET, BAND, WARN, CRIT, BLIND, replace(WARN, holds=CRITICAL)])
STEPS = st.lists(st.tuples(RESULTS, st.integers(-2, 20)), max_size=40)


@given(
    STEPS,
    st.builds(
        RuleOptions,
        for_evaluations=st.integers(1, 3),
        clear_evaluations=st.integers(1, 3),
        cooldown=st.integers(0, 20).map(lambda days: timedelta(days=days)),
    ),
)
def test_whatever_happens_the_life_stays_in_order(steps, options):
    incident, now, roots, posts = None, NOW, set(), Posts(options.cooldown)
    for ordinal, (result, days) in enumerate(steps):
        now += days * DAY
        before = incident
        decision = decide(before, result, options, now=now, new_id=f"id-{ordinal}")
        incident = decision.incident
        if isinstance(result, NotEvaluated):
            if before is None or not before.state.is_open:
                assert incident is before
                continue
            assert incident.state is before.state
            assert not decision.replies or before.told_state is not State.FIRING
        if incident is None:
            assert decision.reason is Reason.STILL_QUIET
            continue
        assert Incident.from_dict(incident.as_dict()) == incident
        if decision.reason is Reason.OPENED:
            roots.add(incident.id)
            assert not decision.replies
        posts.note(decision, now)
        if incident.state.is_open:
            assert incident.id in roots  # nothing is open that nobody was shown
            assert incident.episode >= 1
        is_answer = not isinstance(result, NotEvaluated)
        if is_answer and result.severity is not None and incident.state.is_open:
            assert incident.severity >= result.severity
        same = before is not None and before.id == incident.id
        assert incident.revision - (before.revision if same else 0) == decision.says
        if same and before.state.is_open and not incident.state.is_open:
            assert not isinstance(result, NotEvaluated)
            assert result.is_clear  # a band or a blind spot never ends anything
    posts.check()


CHANCE = (Limit(WARNING, 0.5, 0.35), Limit(CRITICAL, 0.8, 0.6))


def test_two_hundred_random_walks_stay_within_what_may_be_posted():
    options = replace(OPTIONS, cooldown=30 * DAY)  # as shipped for balances and volumes
    posted, turns = 0, 0
    for seed in range(200):
        draw, value = random.Random(seed), 0.4
        incident, posts = None, Posts(options.cooldown)
        for day in range(120):
            value = (
                0.42 + 0.7 * (value - 0.42) + draw.gauss(0, 0.12)
            )  # to and fro across the limits
            verdict = judge_rising(value, CHANCE)
            result = make_reading(
                verdict.severity,
                holds=verdict.holds,
                is_clear=verdict.is_clear,
                value=value,
                headline=f"{value:.3f}",
            )
            now = NOW + day * DAY
            decision = decide(incident, result, options, now=now, new_id=f"{seed}/{day}")
            incident = decision.incident
            posts.note(decision, now)
            turns += decision.reason in {Reason.OPENED, Reason.REOPENED, Reason.RESOLVED}
        posts.check()
        posted += posts.total
    assert posted < turns / 2  # each of these turns would have been a post


@dataclass
class Posts:
    """Counts what reaches readers as a post, and what the lifecycle promises at most.

    An incident is told open once by its root, once more for a height, for each later episode that turns
    critical, and for each cooldown that passes; and it is told over at most as often as it was told open.
    """

    cooldown: timedelta
    of: Counter = field(default_factory=Counter)
    critical: dict[str, set[int]] = field(default_factory=dict)
    passed: timedelta = timedelta(0)
    last: datetime | None = None
    steps: int = 0

    @property
    def total(self) -> int:
        return sum(self.of.values())

    def note(self, decision, now):
        self.steps += 1
        if self.last is not None and now > self.last:
            self.passed += now - self.last
        self.last = now
        if (incident := decision.incident) is None:
            return
        self.of[incident.id] += (decision.reason is Reason.OPENED) + decision.replies
        if incident.state.is_open and incident.severity is CRITICAL:
            self.critical.setdefault(incident.id, set()).add(incident.episode)

    def check(self):
        late = self.passed // self.cooldown if self.cooldown else self.steps
        for name, posts in self.of.items():
            episodes = self.critical.get(name, set())
            told_open = 1 + len(episodes - {1}) + late
            assert posts <= 2 * told_open + bool(episodes), name


def run(results, options):
    incident, reasons = None, []
    for hour, result in enumerate(results):
        decision = decide(incident, result, options, now=NOW + hour * HOUR, new_id="id")
        incident = decision.incident
        reasons.append(decision.reason)
    return reasons, incident


def resolved_now():
    return decide(firing, QUIET, OPTIONS, now=NOW).incident
