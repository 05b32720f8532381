"""One look at everything that rules said, through the database: who is told, where, and what is kept."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import func, select

from alerts.grouping import Desk
from alerts.ledger import EntryKind, Judgement, NewEntry, OutboxState, Receipt
from alerts.lifecycle import DataState, Reason, State
from alerts.rules import NotEvaluated, RuleOptions, Severity
from alerts.silences import Silence
from alerts.telling import acknowledge, snooze
from flows.storage.database import Database, open_database
from flows.storage.ledger import IncidentScore, SqlLedger
from flows.storage.tables import evaluation, incident, outbox, transition
from tests.builders import NOW, make_reading

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OPTIONS = RuleOptions(cooldown=14 * DAY)
DESK = Desk(stale_series={"dy_oxide": "prices"})


@pytest.fixture
def database(database_url: str):
    with open_database(database_url) as opened:
        yield opened


@pytest.fixture
def ledger(database: Database):
    return SqlLedger(database)


def reading(rule: str, severity: Severity | None = WARNING, number: int = 1, **changes):
    changes.setdefault("is_clear", severity is None)
    changes.setdefault("holds", severity)
    return make_reading(
        severity,
        rule=rule,
        fingerprint=f"print-{rule}",
        input_id=f"{rule}-{number}",
        headline=f"{rule}: reading {number}",
        **changes,
    )


def stale(severity: Severity | None = WARNING, number: int = 1):
    return reading(
        "late", severity, number, type="stale_source", subject="prices", route="operators"
    )


def price(rule: str = "level", severity: Severity | None = WARNING, number: int = 1):
    return reading(
        rule, severity, number, type="price_level", subject="dy_oxide", rests_on=("dy_oxide",)
    )


def shortfall(severity: Severity | None = CRITICAL, number: int = 1):
    labels = (("market", "world-ndfeb"),)
    return reading(
        "short", severity, number, type="shortfall", rests_on=("exports",), labels=labels
    )


def drop(severity: Severity | None = WARNING, number: int = 1):
    return reading("drop", severity, number, type="volume_drop", rests_on=("exports",))


def gap(one, why: str = "no forecast") -> NotEvaluated:
    return NotEvaluated(one.rule, one.rule_version, one.type, one.subject, one.fingerprint, why)


def compose(decision):
    """The root as it is now, a line where one is due, and a notice elsewhere where someone is called."""
    one = decision.incident
    message = {
        "headline": one.reading.headline,
        "state": one.state.value,
        "severity": one.severity.name,
        "why": decision.reason.value,
        "beside": list(one.beside),
    }
    say = partial(NewEntry, route=one.route, channel=f"#{one.route}", message=message)
    if decision.says:
        yield say(kind=EntryKind.ROOT)
    if decision.replies or decision.calls:
        yield say(kind=EntryKind.REPLY)
    if decision.calls:
        yield NewEntry(EntryKind.NOTICE, "on-call", "#on-call", message)


MORNING = NOW + 12 * HOUR
NIGHT = replace(
    DESK, quiet_until=lambda reading, severity: MORNING if severity < CRITICAL else None
)
"""A desk at which everything but criticals is muted until the morning."""


def muted(decision):
    """As at night: a first message and every turn wait for the morning, an edit does not."""
    one = decision.incident
    until = NIGHT.quiet_until(one.reading, one.severity)
    for entry in compose(decision):
        waits = entry.kind is EntryKind.REPLY or one.revision == 1
        yield replace(entry, not_before=until) if waits else entry


def with_picture(decision):
    yield from muted(decision)
    yield NewEntry(EntryKind.CHART, "buyers", "#buyers", {}, image=b"png", not_before=MORNING)


def calling(decision):
    """Calls people by name in a first message and in a turn, as long as there is something to act on."""
    one = decision.incident
    for entry in compose(decision):
        names = one.state.is_open and (entry.kind is EntryKind.REPLY or one.revision == 1)
        yield replace(entry, message={**entry.message, "mention": "here" if names else ""})


def judge(
    ledger: SqlLedger,
    *results,
    after=timedelta(0),
    options=OPTIONS,
    desk=DESK,
    compose=compose,
    **others,
):
    return ledger.judge(
        "live",
        [Judgement(one, options) for one in results],
        now=NOW + after,
        compose=compose,
        desk=desk,
        **others,
    )


def attend(ledger: SqlLedger, after: timedelta, desk: Desk = DESK):
    return ledger.attend("live", now=NOW + after, compose=compose, desk=desk)


def of(ledger: SqlLedger, rule: str):
    (found,) = [one for one in ledger.incidents("live") if one.rule == rule]
    return found


def said(ledger: SqlLedger, rule: str) -> list[str]:
    """Kinds of what the outbox holds of a rule's only incident, oldest first."""
    entries = ledger.entries("live", incident_id=of(ledger, rule).id)
    return [entry.kind.value for entry in entries]


def send_all(ledger: SqlLedger, after: timedelta = timedelta(0)) -> None:
    now = NOW + after
    while (entry := ledger.claim("live", now, HOUR)) is not None:
        ledger.mark_sent(entry, Receipt(f"C{entry.route}", f"{entry.id}.0"), now=now)


def rows(database: Database, table) -> int:
    with database.reading() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def everything(database: Database) -> list:
    """All that a look can write, to compare before and after."""
    found = []
    with database.reading() as connection:
        for table in (incident, evaluation, transition, outbox):
            found += [tuple(row) for row in connection.execute(select(table).order_by(table.c.id))]
    return found


# --- inhibition -------------------------------------------------------------------


def test_a_late_source_and_its_price_at_once_are_one_message_whatever_their_order(ledger):
    told, _ = judge(ledger, price(), stale())
    assert (told.reason, told.says) == (Reason.OPENED, False)
    held = of(ledger, "level")
    assert (held.held_by, held.held) == (
        of(ledger, "late").id,
        "told as part of: late: reading 1",
    )
    assert said(ledger, "level") == []
    (root,) = ledger.entries("live", incident_id=of(ledger, "late").id)
    assert root.message["beside"] == ["level: reading 1"]


def test_a_price_that_was_explained_is_told_when_its_source_is_there_again(ledger):
    judge(ledger, stale(), price())
    send_all(ledger)
    late, level = judge(ledger, stale(None, 2), price(), after=DAY)
    assert late.reason is Reason.RESOLVED
    assert (level.reason, level.says) == (Reason.RELEASED, True)
    assert said(ledger, "level") == ["root"]
    assert ledger.transitions(of(ledger, "level").id)[-1].reason is Reason.RELEASED


def test_a_price_is_told_at_once_when_the_rule_that_explained_it_is_gone(ledger, database):
    judge(ledger, stale(), price())
    level, late = judge(ledger, price(), after=DAY, is_everything=True)
    assert (late.reason, level.reason) == (Reason.WITHDRAWN, Reason.RELEASED)
    before = everything(database)
    judge(ledger, price(), after=DAY, is_everything=True)
    assert everything(database) == before


def test_of_two_rules_on_one_price_the_critical_one_is_told_in_either_order(ledger):
    judge(ledger, price("level"), price("crisis", CRITICAL))
    assert of(ledger, "level").held_by == of(ledger, "crisis").id
    assert said(ledger, "level") == []
    assert said(ledger, "crisis") == ["root"]


def test_a_warning_is_told_at_the_look_at_which_the_louder_one_ends(ledger):
    judge(ledger, price("level"), price("crisis", CRITICAL))
    level, crisis = judge(ledger, price("level"), price("crisis", None, 2), after=DAY)
    assert crisis.reason is Reason.RESOLVED
    assert level.reason is Reason.RELEASED


def test_a_shortfall_names_the_drop_inside_and_takes_its_name_away_when_that_ends(ledger):
    judge(ledger, drop(), shortfall())
    send_all(ledger)
    assert of(ledger, "short").beside == ("drop: reading 1",)
    assert said(ledger, "drop") == []
    market, parts = judge(ledger, shortfall(), drop(None, 2), after=DAY)
    assert market.reason is Reason.ALREADY_EVALUATED
    assert parts.reason is Reason.RESOLVED
    assert of(ledger, "short").beside == ()
    assert said(ledger, "short") == ["root", "edit"]
    assert ledger.transitions(of(ledger, "short").id)[-1].reason is Reason.UPDATED
    assert said(ledger, "drop") == []  # nobody was told that it began


def test_what_is_named_inside_keeps_up_with_its_newest_number(ledger):
    judge(ledger, shortfall(), drop())
    send_all(ledger)
    judge(ledger, shortfall(), drop(number=2), after=DAY)
    _, edit = ledger.entries("live", incident_id=of(ledger, "short").id)
    assert edit.message["beside"] == ["drop: reading 2"]


def test_a_silence_holds_what_it_fits_and_nothing_else_until_it_ends(ledger):
    one = Silence("s1", (("rule", "drop"),), NOW + 2 * DAY, "known", "ana", NOW)
    ledger.add_silence(one)
    judge(ledger, drop(), price())
    assert said(ledger, "drop") == []
    assert said(ledger, "level") == ["root"]
    assert of(ledger, "drop").held == "silenced by ana until 23 Jun 2025: known"
    assert attend(ledger, DAY) == ()
    assert ledger.end_silence("s1", NOW + DAY)
    assert not ledger.end_silence("s1", NOW + DAY)
    (released,) = attend(ledger, DAY + HOUR)
    assert (released.reason, released.says) == (Reason.RELEASED, True)
    assert said(ledger, "drop") == ["root"]


# --- what nobody can read explains nothing ----------------------------------------------


def test_a_refused_message_explains_nothing_and_what_it_held_is_told(ledger):
    judge(ledger, stale(), price())
    root = ledger.claim("live", NOW, HOUR)
    assert of(ledger, "level").held
    ledger.mark_dead(root, "not_in_channel", now=NOW)
    (released,) = attend(ledger, timedelta(minutes=1))
    assert (released.incident.rule, released.reason) == ("level", Reason.RELEASED)
    crisis = judge(ledger, price("crisis", CRITICAL), after=HOUR)[0]
    assert (crisis.says, crisis.incident.held) == (True, "")


@pytest.mark.parametrize(
    ("minutes", "is_held"),
    [pytest.param(60, True, id="an hour"), pytest.param(61, False, id="longer than an hour")],
)
def test_a_message_that_waits_explains_for(ledger, minutes, is_held):
    judge(ledger, stale())
    (told,) = judge(ledger, price(), after=timedelta(minutes=minutes))
    assert bool(told.incident.held) is is_held
    assert told.says is not is_held


def test_a_message_that_stands_explains_however_old_it_is(ledger):
    judge(ledger, stale())
    send_all(ledger)
    assert judge(ledger, price("level", CRITICAL), after=9 * DAY)[0].incident.held


def test_a_look_into_the_past_measures_waiting_by_the_wall_clock(ledger):
    judge(ledger, stale(), written_at=NOW + 90 * DAY)
    again = NOW + 90 * DAY + HOUR
    assert judge(ledger, price(), after=DAY, written_at=again)[0].incident.held


def test_a_message_that_is_muted_until_the_morning_explains_nothing_at_night(ledger):
    late, level = judge(ledger, stale(), price("level", CRITICAL), desk=NIGHT, compose=muted)
    assert late.says
    assert (level.says, level.incident.held) == (True, "")
    attend(ledger, timedelta(minutes=5), NIGHT)
    assert ledger.claim("live", NOW, HOUR).incident_id == level.incident.id


def test_a_louder_alert_that_was_refused_leaves_the_milder_one_to_speak(ledger):
    judge(ledger, price("crisis", CRITICAL))
    ledger.mark_dead(ledger.claim("live", NOW, HOUR), "is_archived", now=NOW)
    assert judge(ledger, price("level"), after=HOUR)[0].says


# --- silences, snoozes, and a message that still waits -----------------------------------


def silence_all(ledger: SqlLedger, after: timedelta, days: int = 2) -> None:
    made = NOW + after
    ledger.add_silence(Silence("s1", (("rule", "*"),), made + days * DAY, "known", "ana", made))


def test_a_silence_takes_back_a_message_that_nobody_tried_to_send(ledger):
    judge(ledger, drop(), desk=NIGHT, compose=muted)
    silence_all(ledger, HOUR)
    attend(ledger, 2 * HOUR, NIGHT)
    held = of(ledger, "drop")
    assert (held.told_state, held.told_at, held.revision) == (None, None, 0)
    assert (held.peak, held.claim_ends_on) == (Severity.INFO, None)
    assert ledger.entries("live") == ()
    judge(ledger, drop(number=2), after=DAY, desk=NIGHT, compose=muted)
    assert ledger.entries("live") == ()
    ledger.end_silence("s1", NOW + DAY)
    (released,) = attend(ledger, DAY, NIGHT)
    assert (released.reason, released.incident.revision) == (Reason.RELEASED, 1)
    assert said(ledger, "drop") == ["root"]


def test_what_ends_under_a_silence_that_took_its_message_back_is_never_told(ledger):
    judge(ledger, drop())
    silence_all(ledger, HOUR)
    attend(ledger, HOUR)
    judge(ledger, drop(None, 2), after=2 * HOUR)
    assert of(ledger, "drop").state is State.RESOLVED
    assert ledger.entries("live") == ()


def test_a_silence_leaves_a_message_that_may_stand_already(ledger):
    judge(ledger, drop())
    root = ledger.claim("live", NOW, HOUR)
    ledger.release(root, not_before=NOW + HOUR, error="ratelimited")
    silence_all(ledger, HOUR)
    attend(ledger, HOUR)
    assert said(ledger, "drop") == ["root"]
    assert of(ledger, "drop").told_state is State.FIRING


def snoozed(ledger: SqlLedger, rule: str, until: timedelta):
    asleep = partial(snooze, by="ana", until=NOW + until, now=NOW + HOUR)
    return ledger.act(
        of(ledger, rule).id, asleep, note="ana", now=NOW + HOUR, compose=compose, desk=NIGHT
    )


def test_a_snooze_takes_back_a_message_that_waits_and_tells_it_when_it_ends(ledger):
    judge(ledger, drop(), desk=NIGHT, compose=with_picture)
    assert said(ledger, "drop") == ["root", "chart"]
    decision = snoozed(ledger, "drop", 7 * DAY)
    assert (decision.reason, decision.says) == (Reason.SNOOZED, False)
    assert said(ledger, "drop") == []
    assert ledger.transitions(of(ledger, "drop").id)[-1].note == "ana"
    assert attend(ledger, 2 * DAY, NIGHT) == ()
    (woken,) = attend(ledger, 8 * DAY, NIGHT)
    assert woken.says
    assert said(ledger, "drop") == ["root"]


def test_a_critical_that_rises_above_a_snooze_is_told_though_its_message_was_taken_back(ledger):
    judge(ledger, drop(), desk=NIGHT, compose=muted)
    snoozed(ledger, "drop", 7 * DAY)
    (risen,) = judge(ledger, drop(CRITICAL, 2), after=2 * HOUR, desk=NIGHT, compose=muted)
    assert (risen.says, risen.incident.snoozed_until) == (True, None)
    assert ledger.claim("live", NOW + 2 * HOUR, HOUR).message["severity"] == "CRITICAL"


def test_what_was_to_stand_in_a_thread_that_is_taken_back_is_told_by_itself(ledger):
    pair(ledger)
    made = Silence("s1", (("rule", "lead"),), NOW + 9 * DAY, "known", "ana", NOW)
    ledger.add_silence(made)
    attend(ledger, HOUR)
    assert of(ledger, "member").leader == ""
    send_all(ledger, HOUR)
    assert said(ledger, "lead") == []
    (root,) = ledger.entries("live", incident_id=of(ledger, "member").id)
    assert (root.state, root.thread) == (OutboxState.SENT, None)


# --- grouping and storms -------------------------------------------------------------


def test_a_rule_that_opens_on_three_subjects_has_one_message_with_a_thread(ledger):
    subjects = {"nd": WARNING, "dy": CRITICAL, "tb": WARNING}
    results = [
        replace(reading("spike", level), fingerprint=f"print-{name}", headline=name)
        for name, level in subjects.items()
    ]
    judge(ledger, *results)
    found = {one.fingerprint: one for one in ledger.incidents("live")}
    lead = found["print-dy"]
    assert [found[f"print-{name}"].leader for name in subjects] == [lead.id, "", lead.id]
    assert set(lead.beside) == {"nd", "tb"}
    entries = {entry.incident_id: entry for entry in ledger.entries("live")}
    assert len(entries) == len(subjects)
    assert set(entries[lead.id].message["beside"]) == {"nd", "tb"}


def test_an_unchanged_look_at_a_group_writes_nothing(ledger, database):
    results = [replace(reading("spike"), fingerprint=f"print-{name}") for name in "cab"]
    judge(ledger, *results)
    send_all(ledger)
    before = everything(database)
    judge(ledger, *reversed(results), after=DAY)
    attend(ledger, DAY)
    assert everything(database) == before


def test_a_later_one_has_a_message_of_its_own(ledger):
    first, second = (replace(reading("spike"), fingerprint=f"print-{name}") for name in "ab")
    judge(ledger, first)
    judge(ledger, first, second, after=HOUR)
    assert [one.leader for one in ledger.incidents("live")] == ["", ""]


def test_nine_at_once_are_one_digest_and_eight_are_not(ledger):
    def rules(count, number):
        return [replace(reading(f"rule-{number}-{i}"), subject=str(i)) for i in range(count)]

    judge(ledger, *rules(8, 1))
    assert {one.leader for one in ledger.incidents("live")} == {""}
    judge(ledger, *rules(9, 2), after=HOUR)
    late = [one for one in ledger.incidents("live") if one.rule.startswith("rule-2")]
    (lead,) = [one for one in late if not one.leader]
    assert {one.leader for one in late} == {"", lead.id}
    assert len(lead.beside) == 8


def pair(ledger: SqlLedger, **others) -> None:
    """Two alerts on one market at one look: "lead" is critical, "member" stands in its thread."""
    market = (("market", "m"),)
    lead = replace(reading("lead", CRITICAL, labels=market), subject="a")
    member = replace(reading("member", labels=market), subject="b")
    judge(ledger, lead, member, **others)
    assert of(ledger, "member").leader == of(ledger, "lead").id


def test_what_was_to_stand_in_the_thread_of_a_refused_message_is_told_by_itself(ledger):
    pair(ledger)
    lead = ledger.claim("live", NOW, HOUR)
    assert ledger.claim("live", NOW, HOUR) is None
    ledger.mark_dead(lead, "invalid_blocks", now=NOW)
    alone = ledger.claim("live", NOW, HOUR)
    assert (alone.incident_id, alone.thread) == (of(ledger, "member").id, None)
    ledger.mark_sent(alone, Receipt("C1", "1.0"), now=NOW)
    assert of(ledger, "member").leader == ""
    # What follows goes under its own message too, and the refused one doesn't name it any more.
    judge(ledger, reading("member", CRITICAL, 2, labels=(("market", "m"),)), after=HOUR)
    send_all(ledger, HOUR)
    states = {one.state for one in ledger.entries("live", incident_id=of(ledger, "member").id)}
    assert states == {OutboxState.SENT}
    assert of(ledger, "lead").beside == ()


def test_what_may_be_posted_now_does_not_wait_for_a_leader_that_is_muted(ledger):
    desk = replace(DESK, quiet_until=lambda reading, _: MORNING if reading.rule == "lead" else None)
    market = (("market", "m"),)
    results = [reading("lead", CRITICAL, labels=market), reading("member", labels=market)]
    results = [replace(one, subject=one.rule) for one in results]
    judge(ledger, *results, desk=desk)
    assert of(ledger, "member").leader == ""


def test_a_member_that_rises_at_night_leaves_a_leader_that_is_muted(ledger):
    market = (("market", "m"),)

    def at(rule: str, severity: Severity, number: int):
        return replace(reading(rule, severity, number, labels=market), subject=rule)

    first = [at("lead", WARNING, 1), at("member", WARNING, 1)]
    judge(ledger, *first, desk=NIGHT, compose=muted)
    assert of(ledger, "member").leader == of(ledger, "lead").id
    assert ledger.claim("live", NOW, HOUR) is None
    judge(ledger, at("member", CRITICAL, 2), after=HOUR, desk=NIGHT, compose=muted)
    told = ledger.claim("live", NOW + HOUR, HOUR)
    assert (told.incident_id, told.message["severity"]) == (of(ledger, "member").id, "CRITICAL")
    assert of(ledger, "lead").beside == ()


def test_a_leader_that_ended_names_what_is_open_in_its_thread_until_that_ends_too(ledger, database):
    pair(ledger)
    send_all(ledger)
    market = (("market", "m"),)
    over = replace(reading("lead", None, 2, labels=market), subject="a")
    judge(ledger, over, after=HOUR)
    assert (of(ledger, "lead").state, of(ledger, "lead").beside) == (
        State.RESOLVED,
        ("member: reading 1",),
    )
    send_all(ledger, HOUR)
    newer = replace(reading("member", WARNING, 2, labels=market), subject="b")
    judge(ledger, over, newer, after=2 * HOUR)
    newest = ledger.entries("live", incident_id=of(ledger, "lead").id)[-1]
    assert (newest.kind, newest.message["beside"]) == (EntryKind.EDIT, ["member: reading 2"])
    send_all(ledger, 2 * HOUR)
    before = everything(database)
    judge(ledger, over, newer, after=3 * HOUR)
    assert everything(database) == before
    judge(ledger, replace(reading("member", None, 3), subject="b"), after=4 * HOUR)
    assert of(ledger, "lead").beside == ()
    assert ledger.entries("live", incident_id=of(ledger, "lead").id)[-1].message["beside"] == []


# --- failures, gaps and late answers ----------------------------------------------------


def test_a_rule_that_fails_marks_what_is_open_of_it_and_leaves_the_others(ledger, database):
    judge(ledger, drop(), price())
    judged = rows(database, evaluation)
    (failed,) = judge(ledger, after=DAY, failures={"drop": "KeyError: 'exports'"})
    assert failed.reason is Reason.EVAL_ERROR
    marked = of(ledger, "drop")
    assert (marked.state, marked.data_state) == (State.FIRING, DataState.EVAL_ERROR)
    assert marked.data_why == "KeyError: 'exports'"
    assert of(ledger, "level").data_state is DataState.FRESH
    assert rows(database, evaluation) == judged  # nothing was evaluated
    assert judge(ledger, drop(), after=2 * DAY)[0].reason is Reason.UPDATED
    assert of(ledger, "drop").data_state is DataState.FRESH


def test_what_a_failed_rule_said_is_not_withdrawn_as_unspoken(ledger):
    judge(ledger, drop(), price())
    judge(ledger, after=DAY, failures={"drop": "KeyError"}, is_everything=True)
    assert of(ledger, "drop").state is State.FIRING
    assert of(ledger, "level").state is State.WITHDRAWN


def test_a_gap_in_which_something_was_told_does_not_count_the_same_input_twice(ledger):
    """A snooze ends during the gap: that is a step, and no judgement."""
    patient = replace(OPTIONS, clear_evaluations=2)
    judge(ledger, drop(), options=patient)
    send_all(ledger)
    judge(ledger, drop(None, 2), after=HOUR, options=patient)
    key = of(ledger, "drop").id
    until = NOW + 3 * HOUR
    asleep = partial(snooze, by="ana", until=until, now=NOW + HOUR)
    ledger.act(key, asleep, note="", now=NOW + HOUR, compose=compose)
    for hour in (2, 3):
        judge(ledger, gap(drop()), after=hour * HOUR, options=patient)
        judge(ledger, gap(drop(), f"why {hour}"), after=hour * HOUR, options=patient)
    assert of(ledger, "drop").snoozed_until is None
    (again,) = judge(ledger, drop(None, 2), after=4 * HOUR, options=patient)
    assert again.reason is not Reason.RESOLVED
    assert (of(ledger, "drop").state, of(ledger, "drop").clear_runs) == (State.RECOVERING, 1)


def test_an_input_whose_incident_expired_does_not_open_it_again(ledger):
    ends = {"ends_on": NOW.date()}
    judge(ledger, replace(drop(), **ends))
    assert judge(ledger, gap(drop()), after=2 * DAY)[0].reason is Reason.EXPIRED
    (again,) = judge(ledger, replace(drop(), **ends), after=3 * DAY)
    assert again.reason is Reason.ALREADY_EVALUATED
    assert ledger.open_incidents("live") == ()


def test_a_gap_of_a_worker_that_is_late_does_not_mark_what_was_judged_since(ledger):
    judge(ledger, drop(), after=DAY)
    (late,) = judge(ledger, gap(drop()))
    assert late.reason is Reason.KEPT_LAST
    assert of(ledger, "drop").data_state is DataState.FRESH


@pytest.mark.parametrize(
    ("second", "state"), [(drop(CRITICAL, 2), State.FIRING), (drop(None, 2), State.RESOLVED)]
)
def test_two_answers_on_one_signal_at_once_are_both_kept(ledger, second, state):
    judge(ledger, drop(), second)
    (found,) = ledger.incidents("live")
    assert (found.state, found.reading.input_id) == (state, "drop-2")
    (root,) = ledger.entries("live")
    assert (root.kind, root.message["state"]) == (EntryKind.ROOT, state.value)


# --- withdrawing ----------------------------------------------------------------------


def test_what_nobody_speaks_of_is_withdrawn_and_told_and_only_then(ledger):
    judge(ledger, drop(), price())
    send_all(ledger)
    judge(ledger, drop(), after=HOUR)
    assert len(ledger.open_incidents("live")) == 2
    *_, gone = judge(ledger, drop(), after=2 * HOUR, is_everything=True)
    assert (gone.reason, gone.incident.rule, gone.replies) == (Reason.WITHDRAWN, "level", True)
    assert said(ledger, "level") == ["root", "edit", "reply"]
    assert of(ledger, "drop").state is State.FIRING


def test_one_that_waits_is_withdrawn_without_a_word(ledger):
    judge(ledger, drop(), options=replace(OPTIONS, for_evaluations=2))
    assert of(ledger, "drop").state is State.PENDING
    judge(ledger, after=HOUR, is_everything=True)
    assert of(ledger, "drop").state is State.WITHDRAWN
    assert said(ledger, "drop") == []


def test_another_book_is_not_withdrawn_with_this_one(ledger):
    ledger.record("as-of 2025-06-21", drop(), OPTIONS, now=NOW, compose=compose)
    judge(ledger, is_everything=True)
    assert len(ledger.open_incidents("as-of 2025-06-21")) == 1


# --- one transaction --------------------------------------------------------------------


class BrokenError(Exception):
    """Raised by a composer that can't."""


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_composer_that_fails_at_any_of_several_leaves_no_trace(ledger, database, at):
    judge(ledger, drop())
    send_all(ledger)
    before = everything(database)
    calls = 0

    def breaks(decision):
        nonlocal calls
        calls += 1
        if calls == at:
            raise BrokenError
        return tuple(compose(decision))

    results = [drop(CRITICAL, 2), price(), stale()]
    results[1] = replace(results[1], rests_on=())
    with pytest.raises(BrokenError):
        ledger.judge(
            "live",
            [Judgement(one, OPTIONS) for one in results],
            now=NOW + HOUR,
            compose=breaks,
            desk=DESK,
        )
    assert calls == at
    assert everything(database) == before


def test_a_retried_look_changes_nothing(ledger, database):
    look = partial(
        judge, ledger, stale(), price(), drop(), gap(shortfall()), after=HOUR, is_everything=True
    )
    look()
    before = everything(database)
    look()
    assert everything(database) == before


# --- what somebody asks for ---------------------------------------------------------------


def test_what_somebody_asked_for_is_noted_with_who_and_why_and_once(ledger):
    judge(ledger, drop())
    key = of(ledger, "drop").id
    for _ in range(2):
        ledger.act(
            key,
            partial(acknowledge, by="ana", now=NOW + HOUR),
            note="ana: calling suppliers",
            now=NOW + HOUR,
            compose=compose,
        )
    steps = ledger.transitions(key)
    assert [(step.reason, step.note) for step in steps] == [
        (Reason.OPENED, ""),
        (Reason.ACKNOWLEDGED, "ana: calling suppliers"),
    ]
    assert of(ledger, "drop").acknowledged_by == "ana"


def test_what_is_asked_of_one_that_nobody_has_seen_is_noted_and_posts_nothing(ledger):
    ledger.add_silence(Silence("s1", (("rule", "drop"),), NOW + 2 * DAY, "known", "ana", NOW))
    judge(ledger, drop())
    key = of(ledger, "drop").id
    asleep = partial(snooze, by="ben", until=NOW + DAY, now=NOW)
    ledger.act(key, asleep, note="ben: until Monday", now=NOW, compose=compose)
    assert ledger.transitions(key)[-1].note == "ben: until Monday"
    assert ledger.entries("live") == ()


def test_someone_is_called_once_and_never_for_what_was_taken_on(ledger):
    desk = Desk(call_after=lambda reading, severity: 4 * HOUR)
    judge(ledger, drop(CRITICAL), price("level", CRITICAL), desk=desk)
    send_all(ledger)
    taken = partial(acknowledge, by="ana", now=NOW + HOUR)
    level = of(ledger, "level").id
    ledger.act(level, taken, note="ana", now=NOW + HOUR, compose=compose, desk=desk)
    assert attend(ledger, 3 * HOUR, desk) == ()
    (called,) = attend(ledger, 4 * HOUR, desk)
    assert (called.reason, called.incident.rule) == (Reason.UNACKNOWLEDGED, "drop")
    assert attend(ledger, 9 * HOUR, desk) == ()
    assert said(ledger, "drop") == ["root", "edit", "reply", "notice"]
    assert "notice" not in said(ledger, "level")


def test_nobody_is_called_for_a_message_that_has_not_stood_for_long_enough(ledger):
    desk = Desk(call_after=lambda reading, severity: 4 * HOUR)
    judge(ledger, drop(CRITICAL), desk=desk)
    assert attend(ledger, 5 * HOUR, desk) == ()
    assert of(ledger, "drop").called_at is None
    send_all(ledger, 6 * HOUR)
    assert attend(ledger, 9 * HOUR, desk) == ()
    (called,) = attend(ledger, 10 * HOUR, desk)
    assert (called.reason, called.calls) == (Reason.UNACKNOWLEDGED, True)


def test_nobody_is_called_for_a_message_that_was_refused(ledger):
    desk = Desk(call_after=lambda reading, severity: 4 * HOUR)
    judge(ledger, drop(CRITICAL), desk=desk)
    ledger.mark_dead(ledger.claim("live", NOW, HOUR), "is_archived", now=NOW)
    assert attend(ledger, 5 * HOUR, desk) == ()


# --- a message that waits ------------------------------------------------------------------


def test_an_alert_that_came_back_before_its_message_was_sent_is_told_over_when_it_ends(ledger):
    """What its message says when it is sent is the last post, whatever was decided while it waited."""
    judge(ledger, drop())
    judge(ledger, drop(None, 2), after=HOUR)
    judge(ledger, drop(WARNING, 3), after=2 * HOUR)  # a mild return: only edited in
    send_all(ledger, 2 * HOUR)
    judge(ledger, drop(None, 4), after=3 * HOUR)
    assert said(ledger, "drop") == ["root", "edit", "reply"]


def test_so_is_one_that_came_back_while_nobody_knew_whether_its_message_stood(ledger):
    judge(ledger, drop())
    root = ledger.claim("live", NOW, HOUR)
    judge(ledger, drop(None, 2), after=HOUR)
    judge(ledger, drop(WARNING, 3), after=2 * HOUR)
    ledger.release(root, not_before=NOW)  # it did not arrive: it takes the newest text
    send_all(ledger, 2 * HOUR)
    judge(ledger, drop(None, 4), after=3 * HOUR)
    assert said(ledger, "drop") == ["root", "edit", "reply"]


def test_what_waited_behind_a_refused_message_does_not_overtake_what_it_says_by_now(ledger):
    judge(ledger, drop())
    root = ledger.claim("live", NOW, HOUR)
    judge(ledger, drop(CRITICAL, 2), after=HOUR)
    ledger.mark_dead(root, "channel_not_found", now=NOW + HOUR)
    judge(ledger, drop(None, 3), after=2 * HOUR)
    (entry,) = ledger.entries("live")
    assert (entry.kind, entry.message["state"]) == (EntryKind.ROOT, "RESOLVED")
    assert ledger.redrive() == 1


def test_a_critical_is_not_kept_until_the_morning_by_the_warning_that_it_was(ledger):
    judge(ledger, drop(), desk=NIGHT, compose=with_picture)
    judge(ledger, drop(number=2), after=timedelta(minutes=30), desk=NIGHT, compose=muted)
    assert ledger.claim("live", NOW + HOUR, HOUR) is None  # newer numbers end no night
    judge(ledger, drop(CRITICAL, 3), after=HOUR, desk=NIGHT, compose=muted)
    sent = ledger.claim("live", NOW + HOUR, HOUR)
    assert (sent.kind, sent.message["severity"]) == (EntryKind.ROOT, "CRITICAL")
    ledger.mark_sent(sent, Receipt("C1", "1.0"), now=NOW + HOUR)
    assert ledger.claim("live", NOW + HOUR, HOUR).kind is EntryKind.CHART


def test_a_message_that_slack_refused_for_a_while_is_not_hastened_by_newer_numbers(ledger):
    judge(ledger, drop())
    later = NOW + 2 * HOUR
    ledger.release(ledger.claim("live", NOW, HOUR), not_before=later, error="ratelimited")
    judge(ledger, drop(CRITICAL, 2), after=HOUR)
    (root,) = ledger.entries("live")
    assert (root.not_before, root.message["severity"]) == (later, "CRITICAL")


def test_a_turn_that_is_muted_keeps_no_louder_one_back_and_is_not_told_after_it(ledger):
    judge(ledger, drop(Severity.INFO))
    send_all(ledger)
    judge(ledger, drop(WARNING, 2), after=HOUR, desk=NIGHT, compose=muted)
    send_all(ledger, HOUR)
    assert ledger.summary("live", NOW + HOUR).next_due_at == MORNING
    judge(ledger, drop(CRITICAL, 3), after=2 * HOUR, desk=NIGHT, compose=muted)
    assert ledger.summary("live", NOW + 2 * HOUR).next_due_at == NOW + 2 * HOUR
    send_all(ledger, 2 * HOUR)
    replies = [one for one in ledger.entries("live") if one.kind is EntryKind.REPLY]
    assert [(one.message["severity"], one.state) for one in replies] == [
        ("WARNING", OutboxState.SKIPPED),
        ("CRITICAL", OutboxState.SENT),
    ]
    assert "newer word" in replies[0].error
    assert ledger.summary("live", NOW + 3 * DAY).pending == 0


def test_an_edit_does_not_wait_behind_a_turn_that_is_muted(ledger):
    judge(ledger, drop(Severity.INFO))
    send_all(ledger)
    judge(ledger, drop(WARNING, 2), after=HOUR, desk=NIGHT, compose=muted)
    send_all(ledger, HOUR)
    judge(ledger, drop(WARNING, 3), after=2 * HOUR, desk=NIGHT, compose=muted)
    assert ledger.summary("live", NOW + 2 * HOUR).next_due_at == NOW + 2 * HOUR
    edit = ledger.claim("live", NOW + 2 * HOUR, HOUR)
    assert (edit.kind, edit.message["headline"]) == (EntryKind.EDIT, "drop: reading 3")
    ledger.mark_sent(edit, Receipt("C1", "1.0"), now=NOW + 2 * HOUR)
    assert ledger.claim("live", NOW + 2 * HOUR, HOUR) is None
    assert ledger.claim("live", MORNING, HOUR).kind is EntryKind.REPLY


def test_nothing_goes_before_a_message_that_is_muted(ledger):
    judge(ledger, drop(), desk=NIGHT, compose=with_picture)
    assert ledger.claim("live", MORNING - HOUR, HOUR) is None
    assert ledger.claim("live", MORNING, HOUR).kind is EntryKind.ROOT


def test_who_was_to_be_called_by_a_waiting_message_is_called_by_what_it_says_in_the_end(ledger):
    judge(ledger, drop(), compose=calling)
    judge(ledger, drop(number=2), after=HOUR, compose=calling)
    (root,) = ledger.entries("live")
    assert (root.message["headline"], root.message["mention"]) == ("drop: reading 2", "here")
    judge(ledger, drop(None, 3), after=2 * HOUR, compose=calling)
    (root,) = ledger.entries("live")
    assert root.message["mention"] == ""  # nothing is left to act on


@pytest.mark.parametrize("end", ["mark_dead", "release"])
def test_who_a_turn_would_have_called_is_called_by_the_message_that_takes_it_in(ledger, end):
    judge(ledger, drop())
    root = ledger.claim("live", NOW, HOUR)
    judge(ledger, drop(CRITICAL, 2), after=HOUR, compose=calling)
    if end == "mark_dead":
        ledger.mark_dead(root, "is_archived", now=NOW + HOUR)
    else:
        ledger.release(root, not_before=NOW + HOUR)
    (entry,) = ledger.entries("live")
    assert (entry.message["severity"], entry.message["mention"]) == ("CRITICAL", "here")


def test_who_a_rise_calls_is_called_by_the_message_that_waits(ledger):
    judge(ledger, drop())
    judge(ledger, drop(CRITICAL, 2), after=HOUR, compose=calling)
    (entry,) = ledger.entries("live")
    assert (entry.message["severity"], entry.message["mention"]) == ("CRITICAL", "here")


# --- scores and records -----------------------------------------------------------------------


def test_a_later_word_on_an_episode_takes_the_place_of_the_first(ledger):
    judge(ledger, drop())
    key = of(ledger, "drop").id
    early = IncidentScore(key, 1, "open", None, NOW, "the month is not known yet")
    late = IncidentScore(key, 1, "hit", 12.5, NOW + DAY, "exports fell below 60 % in May 2025")
    second = IncidentScore(key, 2, "false", None, NOW + DAY, "nothing fell")
    for score in (early, second, late):
        ledger.keep_score(score)
    assert set(ledger.scores("live")) == {late, second}
    assert ledger.scores() == ledger.scores("live")
    assert ledger.scores("as-of 2025-06-21") == ()


def test_a_track_record_is_of_a_rule_at_a_version_and_the_newest_counts(ledger):
    ledger.keep_record("drop", "v1", {"hits": 1}, NOW)
    ledger.keep_record("drop", "v2", {"hits": 5}, NOW)
    ledger.keep_record("drop", "v1", {"hits": 3, "why": "\u2603\x00"}, NOW + DAY)
    assert ledger.records() == {
        ("drop", "v1"): {"hits": 3, "why": "\u2603\x00"},
        ("drop", "v2"): {"hits": 5},
    }
