"""The ledger: one decision an input, everything that follows in the same transaction."""

import multiprocessing
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from alerts.ledger import EVERYTHING, UPLOADS, EntryKind, OutboxState, Receipt
from alerts.lifecycle import Reason, State
from alerts.rules import NotEvaluated, RuleOptions, Severity
from flows.storage.database import Database, open_database
from flows.storage.ledger import SqlLedger
from flows.storage.tables import evaluation
from tests.delivery.helpers import (
    NOON,
    OPTIONS,
    clear,
    compose,
    make_reading,
    nothing,
    record,
    with_chart,
)

LEASE = timedelta(seconds=60)
SOON = NOON + timedelta(seconds=1)


@pytest.fixture
def database(database_url: str):
    with open_database(database_url) as opened:
        yield opened


@pytest.fixture
def ledger(database: Database):
    return SqlLedger(database)


def waiting(ledger: SqlLedger):
    return [(entry.kind.value, entry.state.value) for entry in ledger.entries()]


def send_next(ledger: SqlLedger, ts: str = "1.0", at=SOON):
    entry = ledger.claim(None, at, LEASE)
    assert entry is not None
    ledger.mark_sent(entry, Receipt("C0000001", ts), now=at)
    return entry


# --- deciding -------------------------------------------------------------------


def test_a_crossing_opens_an_incident_with_its_message(ledger):
    decision = record(ledger, make_reading())
    assert decision.reason is Reason.OPENED
    assert ledger.open_incidents("live") == (decision.incident,)
    assert ledger.incident(decision.incident.id) == decision.incident
    assert waiting(ledger) == [("root", "PENDING")]
    assert [
        (t.reason, t.state_before, t.state) for t in ledger.transitions(decision.incident.id)
    ] == [(Reason.OPENED, "", State.FIRING)]


def test_the_same_input_is_evaluated_once(ledger):
    first = record(ledger, make_reading())
    again = record(ledger, make_reading())
    assert again.reason is Reason.ALREADY_EVALUATED
    assert again.incident == first.incident
    assert not again.says
    assert len(ledger.entries()) == 1


def evaluations(database: Database) -> list[str]:
    with database.reading() as connection:
        query = select(evaluation.c.reason).order_by(evaluation.c.id)
        return list(connection.scalars(query))


def test_a_late_older_input_overturns_nothing_and_is_noted_once(ledger, database):
    record(ledger, make_reading(1))
    later = NOON + timedelta(hours=1)
    ended = record(ledger, clear(2), later)
    for _ in range(2):
        for late in (make_reading(1), make_reading(3, severity=Severity.CRITICAL)):
            kept = record(ledger, late)
            assert (kept.reason, kept.incident) == (Reason.KEPT_LAST, ended.incident)
            assert record(ledger, late).reason is Reason.KEPT_LAST
        # What was judged last is not judged a second time because something late came between.
        assert record(ledger, clear(2), later).reason is Reason.ALREADY_EVALUATED
    assert ledger.open_incidents("live") == ()
    assert evaluations(database)[:4] == ["OPENED", "RESOLVED", "KEPT_LAST", "KEPT_LAST"]


def test_a_late_crossing_opens_nothing_where_all_is_quiet_by_now(ledger):
    record(ledger, clear(2), SOON)
    assert record(ledger, make_reading(1), NOON).reason is Reason.KEPT_LAST
    assert ledger.incidents("live") == ()


def test_a_late_clear_input_does_not_end_what_is_open_by_now(ledger):
    record(ledger, make_reading(2), SOON)
    assert record(ledger, clear(1), NOON).reason is Reason.KEPT_LAST
    assert len(ledger.open_incidents("live")) == 1


def test_a_clock_set_back_does_not_judge_the_same_input_twice(ledger):
    record(ledger, make_reading(1), SOON)
    assert record(ledger, make_reading(1), NOON).reason is Reason.ALREADY_EVALUATED


def test_a_limit_changed_and_changed_back_is_judged_each_time(ledger):
    tight = make_reading(1)
    loose = replace(clear(1), input_id=tight.input_id, rule_version="v2", limit=0.9)
    reasons = [
        record(ledger, result, NOON + timedelta(hours=hour)).reason
        for hour, result in enumerate([tight, loose, loose, tight, tight])
    ]
    assert reasons == [
        Reason.OPENED,
        Reason.LIMIT_CHANGED,
        Reason.ALREADY_EVALUATED,
        Reason.OPENED,
        Reason.ALREADY_EVALUATED,
    ]
    assert len(ledger.open_incidents("live")) == 1


@pytest.mark.parametrize(
    "again",
    [
        pytest.param([(1, "v1"), (2, "v1"), (1, "v1")], id="an older forecast comes back"),
        pytest.param([(1, "v1"), (1, "v2"), (1, "v1")], id="two workers with different rule files"),
    ],
)
def test_an_input_counts_once_towards_opening_when(ledger, again):
    patient = replace(OPTIONS, for_evaluations=3)
    reasons = [
        ledger.record(
            "live",
            replace(make_reading(number), rule_version=version),
            patient,
            now=NOON + timedelta(hours=hour),
            compose=compose,
        ).reason
        for hour, (number, version) in enumerate(again)
    ]
    assert reasons == [Reason.PENDING, Reason.PENDING, Reason.ALREADY_EVALUATED]


def test_a_limit_changed_and_changed_back_is_judged_again_for_what_is_open_and_needs_several(
    ledger,
):
    patient = replace(OPTIONS, for_evaluations=2)
    tight, loose = make_reading(2), replace(make_reading(2), rule_version="v2")
    reasons = [
        ledger.record(
            "live", one, patient, now=NOON + timedelta(hours=hour), compose=compose
        ).reason
        for hour, one in enumerate([make_reading(1), tight, loose, tight, tight])
    ]
    assert reasons == [
        Reason.PENDING,
        Reason.OPENED,
        Reason.LIMIT_CHANGED,
        Reason.LIMIT_CHANGED,
        Reason.ALREADY_EVALUATED,
    ]


def test_what_was_judged_before_a_rule_went_away_counts_anew_when_it_returns(ledger):
    patient = replace(OPTIONS, for_evaluations=2)
    for hour, number in enumerate((1, 2)):
        now = NOON + timedelta(hours=hour)
        opened = ledger.record("live", make_reading(number), patient, now=now, compose=compose)
    ledger.withdraw(opened.incident.id, now=NOON + timedelta(hours=2), compose=compose)
    later = NOON + timedelta(hours=3)
    again = ledger.record("live", make_reading(2), patient, now=later, compose=compose)
    assert again.reason is Reason.PENDING


def test_a_rule_switched_off_and_on_again_opens_again_on_the_same_input(ledger):
    opened = record(ledger, make_reading(1))
    ledger.withdraw(opened.incident.id, now=NOON + timedelta(hours=1), compose=compose)
    again = record(ledger, make_reading(1), NOON + timedelta(hours=2))
    assert again.reason is Reason.OPENED
    assert again.incident.id != opened.incident.id
    retried = record(ledger, make_reading(1), NOON + timedelta(hours=2))
    assert retried.reason is Reason.ALREADY_EVALUATED


def test_a_gap_between_does_not_count_the_same_input_twice(ledger):
    patient = replace(OPTIONS, for_evaluations=2)

    def judge(result, hour: int):
        now = NOON + timedelta(hours=hour)
        return ledger.record("live", result, patient, now=now, compose=compose).reason

    reading = make_reading(1)
    gap = NotEvaluated(
        reading.rule, "v1", reading.type, reading.subject, reading.fingerprint, "no forecast"
    )
    assert [judge(reading, 0), judge(gap, 1), judge(reading, 2), judge(make_reading(2), 3)] == [
        Reason.PENDING,
        Reason.KEPT_LAST,
        Reason.ALREADY_EVALUATED,
        Reason.OPENED,
    ]


def test_a_return_that_was_only_edited_in_is_told_when_the_cooldown_is_over(ledger):
    options = RuleOptions(cooldown=timedelta(days=14), clear_evaluations=2)

    def judge(result, days: float):
        now = NOON + timedelta(days=days)
        return ledger.record("live", result, options, now=now, compose=compose)

    judge(make_reading(1), 0)
    send_next(ledger)
    judge(clear(2), 0.5)
    assert judge(clear(3), 1).replies  # resolved, and told so
    returned = judge(make_reading(4), 2)
    assert (returned.reason, returned.replies) == (Reason.REOPENED, False)
    assert judge(make_reading(4), 14).reason is Reason.ALREADY_EVALUATED
    told = judge(make_reading(4), 15)
    assert told.replies
    assert told.incident.true_runs == returned.incident.true_runs
    assert [entry.message["state"] for entry in ledger.entries()][-1] == "FIRING"
    assert judge(make_reading(4), 15).reason is Reason.ALREADY_EVALUATED
    assert judge(make_reading(4), 40).reason is Reason.ALREADY_EVALUATED


def test_telling_a_return_late_does_not_count_its_clear_reading_twice(ledger):
    options = RuleOptions(cooldown=timedelta(days=14), clear_evaluations=2)

    def judge(result, days: float):
        now = NOON + timedelta(days=days)
        return ledger.record("live", result, options, now=now, compose=compose)

    for day, result in enumerate(
        [make_reading(1), clear(2), clear(3), make_reading(4), clear(5)], start=0
    ):
        judge(result, day)
        if day == 0:
            send_next(ledger)
    told = judge(clear(5), 20)
    assert told.replies
    assert told.incident.state is State.RECOVERING
    assert judge(clear(6), 21).reason is Reason.RESOLVED


def test_the_same_input_under_a_changed_rule_is_evaluated_again(ledger):
    record(ledger, make_reading())
    changed = replace(make_reading(), rule_version="v2", limit=0.4)
    assert record(ledger, changed).reason is Reason.LIMIT_CHANGED


def test_books_do_not_disturb_each_other(ledger):
    record(ledger, make_reading())
    past = ledger.record("as-of 2025-06-21", make_reading(), OPTIONS, now=NOON, compose=compose)
    assert past.reason is Reason.OPENED
    assert len(ledger.open_incidents("live")) == 1
    assert ledger.open_incidents("as-of 2025-06-21") == (past.incident,)
    assert ledger.open_incidents("live") != (past.incident,)


def test_a_result_that_could_not_be_judged_keeps_the_incident_and_is_noted_once(ledger):
    opened = record(ledger, make_reading())
    reading = make_reading()
    gap = NotEvaluated(
        reading.rule, "v1", reading.type, reading.subject, reading.fingerprint, "no forecast"
    )
    kept = record(ledger, gap)
    again = record(ledger, gap)

    assert kept.reason is again.reason is Reason.KEPT_LAST
    assert kept.incident.state is opened.incident.state
    assert kept.incident.data_why == "no forecast"
    assert (kept.says, again.says) == (True, False)
    assert ledger.incidents("live") == (kept.incident,)


def test_what_is_quiet_is_remembered_and_writes_nothing_else(ledger):
    assert record(ledger, clear()).reason is Reason.STILL_QUIET
    assert ledger.incidents("live") == ()
    assert record(ledger, clear()).reason is Reason.ALREADY_EVALUATED


def test_an_incident_after_an_ended_one_is_a_new_one_with_its_own_message(ledger):
    first = record(ledger, make_reading(1))
    send_next(ledger)
    record(ledger, clear(2), NOON + timedelta(days=1))
    later = record(ledger, make_reading(3), NOON + timedelta(days=2))
    assert later.reason is Reason.OPENED
    assert later.incident.id != first.incident.id


def test_a_compose_that_fails_leaves_no_trace(ledger):
    def broken(_):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        record(ledger, make_reading(), compose=broken)
    assert ledger.incidents("live") == ()
    assert record(ledger, make_reading()).reason is Reason.OPENED


def test_a_withdrawn_rule_ends_its_incident_and_says_so(ledger):
    opened = record(ledger, make_reading())
    send_next(ledger)
    decision = ledger.withdraw(opened.incident.id, now=SOON, compose=compose)
    assert decision.reason is Reason.WITHDRAWN
    assert ledger.open_incidents("live") == ()
    assert ("edit", "PENDING") in waiting(ledger)
    assert ledger.withdraw(opened.incident.id, now=SOON, compose=compose).says is False


def test_open_incidents_come_most_severe_first(ledger):
    record(ledger, make_reading(1, "a"))
    record(ledger, make_reading(1, "b", Severity.CRITICAL))
    assert [found.subject for found in ledger.open_incidents("live")] == ["b", "a"]


def test_eight_workers_with_the_same_input_open_one_incident(database_url, ledger):
    reasons: list[Reason] = []

    def work() -> None:
        with open_database(database_url) as database:
            reasons.append(record(SqlLedger(database), make_reading()).reason)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reasons) == [Reason.ALREADY_EVALUATED] * 7 + [Reason.OPENED]
    assert len(ledger.entries()) == 1


def _evaluate_many(url: str, answers) -> None:
    with open_database(url) as database:
        ledger = SqlLedger(database)
        for number in range(10):
            reading = make_reading(1, f"series_{number}")
            answers.put(record(ledger, reading).reason.value)


def test_two_processes_at_once_evaluate_each_input_once(database_url):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    workers = [
        context.Process(target=_evaluate_many, args=(database_url, answers)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=60) for _ in range(20)]
    for worker in workers:
        worker.join()
    assert sorted(found) == ["ALREADY_EVALUATED"] * 10 + ["OPENED"] * 10


def test_where_each_incident_is_told_is_one_answer_for_all_of_them(ledger):
    one = record(ledger, make_reading(1)).incident
    two = record(ledger, make_reading(1, "nd_oxide")).incident
    held = ledger.record(
        "live", make_reading(1, "tb_oxide"), OPTIONS, now=NOON, compose=lambda _: ()
    ).incident
    assert ledger.channels("live", [one.id, two.id, held.id, "nobody"]) == {
        one.id: "#alerts",
        two.id: "#alerts",
    }
    assert ledger.channels("live", []) == {}
    assert ledger.channels("another", [one.id]) == {}


# --- what waits -----------------------------------------------------------------


def test_a_root_that_waits_takes_the_newer_text(ledger):
    record(ledger, make_reading(1))
    record(ledger, make_reading(2))
    (entry,) = ledger.entries()
    assert entry.message["headline"] == "dy_oxide: reading 2"
    assert "Told late" not in entry.message["lead"]


def test_an_incident_that_ends_before_it_was_shown_is_told_as_one_message_that_says_both(ledger):
    record(ledger, make_reading(1))
    record(ledger, clear(2), NOON + timedelta(hours=1))
    (entry,) = ledger.entries()
    assert entry.kind is EntryKind.ROOT
    assert entry.message["state"] == "RESOLVED"
    assert "began as warning, “dy_oxide: reading 1”" in entry.message["lead"]


def test_how_it_began_is_kept_through_every_change_before_the_first_post(ledger):
    record(ledger, make_reading(1))
    record(ledger, make_reading(2, severity=Severity.CRITICAL))
    record(ledger, clear(3), NOON + timedelta(hours=1))
    (entry,) = ledger.entries()
    assert entry.message["lead"].count("Told late") == 1
    assert "began as warning, “dy_oxide: reading 1”" in entry.message["lead"]


def test_after_the_root_stands_only_the_newest_edit_waits(ledger):
    record(ledger, make_reading(1))
    send_next(ledger)
    record(ledger, make_reading(2))
    record(ledger, make_reading(3))
    assert waiting(ledger) == [("root", "SENT"), ("edit", "PENDING")]
    assert ledger.entries()[1].message["headline"] == "dy_oxide: reading 3"


def test_an_edit_under_way_is_followed_by_the_newer_one(ledger):
    record(ledger, make_reading(1))
    send_next(ledger)
    record(ledger, make_reading(2))
    assert ledger.claim(None, SOON, LEASE).kind is EntryKind.EDIT
    record(ledger, make_reading(3))
    assert waiting(ledger) == [("root", "SENT"), ("edit", "SENDING"), ("edit", "PENDING")]
    assert ledger.claim(None, SOON, LEASE) is None


def test_replies_wait_for_the_root_and_keep_their_order(ledger):
    record(ledger, make_reading(1))
    root = ledger.claim(None, SOON, LEASE)
    record(ledger, make_reading(2, severity=Severity.CRITICAL))
    assert waiting(ledger) == [("root", "SENDING"), ("edit", "PENDING"), ("reply", "PENDING")]
    assert ledger.claim(None, SOON, LEASE) is None
    ledger.mark_sent(root, Receipt("C0000001", "7.5"), now=SOON)
    edit = ledger.claim(None, SOON, LEASE)
    assert (edit.kind, edit.root, edit.root_key) == (
        EntryKind.EDIT,
        Receipt("C0000001", "7.5"),
        root.delivery_key,
    )
    assert ledger.claim(None, SOON, LEASE) is None
    ledger.mark_sent(edit, edit.root, now=SOON)
    assert ledger.claim(None, SOON, LEASE).kind is EntryKind.REPLY


def test_a_root_that_did_not_arrive_takes_over_what_waited_behind_it(ledger):
    record(ledger, make_reading(1))
    root = ledger.claim(None, SOON, LEASE)
    record(ledger, clear(2), NOON + timedelta(hours=1))
    assert len(ledger.entries()) == 3
    ledger.release(root, not_before=SOON)
    (entry,) = ledger.entries()
    assert entry.message["state"] == "RESOLVED"
    assert entry.delivery_key == root.delivery_key


def test_a_chart_never_stands_before_text(ledger):
    record(ledger, make_reading(1), compose=with_chart)
    record(ledger, make_reading(1, "tb_oxide"))
    kinds = [send_next(ledger, ts=f"{n}.0").kind for n in range(3)]
    assert kinds == [EntryKind.ROOT, EntryKind.ROOT, EntryKind.CHART]


def test_a_given_up_chart_is_not_in_the_way_of_later_text(ledger):
    record(ledger, make_reading(1), compose=with_chart)
    send_next(ledger)
    chart = ledger.claim(None, SOON, LEASE)
    assert chart.image
    ledger.mark_dead(chart, "no such method", now=SOON)
    record(ledger, make_reading(2))
    assert ledger.claim(None, SOON, LEASE).kind is EntryKind.EDIT


def test_a_corrected_route_revives_a_root_that_was_refused(ledger):
    record(ledger, make_reading(1))
    ledger.mark_dead(ledger.claim(None, SOON, LEASE), "channel_not_found", now=SOON)
    record(ledger, make_reading(2))
    assert ledger.claim(None, SOON, LEASE) is None
    record(ledger, make_reading(3), compose=lambda d: compose(d, channel="#right"))
    entry = ledger.claim(None, SOON, LEASE)
    assert (entry.channel, entry.message["headline"]) == ("#right", "dy_oxide: reading 3")


def test_hostile_text_survives_the_database(ledger):
    headline = "nul \x00, half a character \ud800, <!channel>, مرحبا"
    record(ledger, replace(make_reading(), headline=headline))
    assert ledger.entries()[0].message["headline"] == headline


def test_hostile_text_of_a_refusal_survives_the_database(ledger):
    told = "nul \x00 and half a character \ud800"
    record(ledger, make_reading())
    ledger.pause(EVERYTHING, SOON, told)
    ledger.mark_dead(ledger.claim(None, SOON, LEASE), told, now=SOON)
    assert ledger.entries()[0].error == "nul  and half a character ?"
    assert ledger.summary(None, NOON).problems[0] == "nul  and half a character ?"


# --- leases ---------------------------------------------------------------------


def test_two_workers_never_hold_the_same_entry(ledger):
    record(ledger, make_reading())
    assert ledger.claim(None, SOON, LEASE) is not None
    assert ledger.claim(None, SOON, LEASE) is None


def test_a_crashed_claim_comes_back_as_unknown_when_its_lease_runs_out(ledger):
    record(ledger, make_reading())
    ledger.claim(None, SOON, LEASE)
    assert ledger.expire(None, SOON + LEASE) == 0
    later = SOON + LEASE + timedelta(seconds=1)
    assert ledger.expire(None, later) == 1
    (entry,) = ledger.reconcilable(None, later)
    assert entry.state is OutboxState.UNKNOWN
    assert entry.unknown_at == SOON + LEASE
    assert ledger.claim(None, later, LEASE) is None


def test_a_crashed_edit_is_simply_made_again(ledger):
    record(ledger, make_reading(1))
    send_next(ledger)
    record(ledger, make_reading(2))
    ledger.claim(None, SOON, LEASE)
    later = SOON + 2 * LEASE
    ledger.expire(None, later)
    assert ledger.claim(None, later, LEASE).kind is EntryKind.EDIT


def test_a_worker_that_lost_its_lease_can_only_bring_proof(ledger):
    record(ledger, make_reading())
    slow = ledger.claim(None, SOON, LEASE)
    later = SOON + 2 * LEASE
    ledger.expire(None, later)
    (unknown,) = ledger.reconcilable(None, later)
    ledger.release(unknown, not_before=later)
    ledger.claim(None, later, LEASE)
    ledger.mark_dead(slow, "too late to say so", now=later)
    ledger.release(slow, not_before=later)
    ledger.mark_unknown(slow, "too late to say so", now=later, look_at=later)
    assert waiting(ledger) == [("root", "SENDING")]
    ledger.mark_sent(slow, Receipt("C0000001", "1.0"), now=later)
    assert waiting(ledger) == [("root", "SENT")]


def test_a_channel_is_known_by_id_once_something_stands_in_it(ledger):
    record(ledger, make_reading(1, "a"))
    send_next(ledger)
    record(ledger, make_reading(1, "b"))
    assert ledger.claim(None, SOON, LEASE).channel_id == "C0000001"


def test_a_channel_answered_by_its_name_is_not_taken_for_its_id(ledger):
    record(ledger, make_reading(1, "a"))
    send_next(ledger)
    record(ledger, make_reading(1, "b"))
    ledger.mark_sent(ledger.claim(None, SOON, LEASE), Receipt("#alerts", "2.0"), now=SOON)
    record(ledger, make_reading(1, "c"))
    assert ledger.claim(None, SOON, LEASE).channel_id == "C0000001"


def test_a_paused_channel_stays_quiet_and_others_speak(ledger):
    record(ledger, make_reading(1, "a"))
    record(ledger, make_reading(1, "b"), compose=lambda d: compose(d, channel="#other"))
    ledger.pause("#alerts", SOON + LEASE, "asked to wait")
    ledger.pause("#alerts", SOON, "a shorter pause does not end it")
    assert ledger.claim(None, SOON, LEASE).channel == "#other"
    assert ledger.claim(None, SOON, LEASE) is None
    assert ledger.claim(None, SOON + LEASE, LEASE).channel == "#alerts"


def test_a_pause_of_uploads_leaves_text_alone(ledger):
    record(ledger, make_reading(1), compose=with_chart)
    ledger.pause(UPLOADS, SOON + LEASE, "asked to wait")
    send_next(ledger)
    assert ledger.claim(None, SOON, LEASE) is None
    assert ledger.summary(None, SOON).next_due_at == SOON + LEASE


# --- what the operator sees -----------------------------------------------------


def test_the_summary_counts_what_has_not_arrived_and_how_old_it_is(ledger):
    record(ledger, make_reading(1, "a"))
    record(ledger, make_reading(1, "b"))
    record(ledger, make_reading(1, "c"))
    ledger.mark_dead(ledger.claim(None, SOON, LEASE), "is_archived", now=SOON)
    ledger.mark_unknown(ledger.claim(None, SOON, LEASE), "timeout", now=SOON, look_at=SOON + LEASE)
    summary = ledger.summary("live", NOON + timedelta(seconds=90))
    assert (summary.pending, summary.unknown, summary.dead) == (1, 1, 1)
    assert summary.oldest_unsent_seconds == 90
    assert summary.next_due_at == NOON + timedelta(seconds=90)
    assert summary.problems[0] == "#alerts: is_archived"
    assert ledger.summary("as-of 2025-06-21", SOON).pending == 0


def test_what_waits_behind_a_dead_root_has_no_due_instant(ledger):
    record(ledger, make_reading(1), compose=with_chart)
    ledger.mark_dead(ledger.claim(None, SOON, LEASE), "is_archived", now=SOON)
    summary = ledger.summary(None, SOON)
    assert (summary.pending, summary.dead, summary.next_due_at) == (1, 1, None)


def test_a_dead_chart_is_counted_apart(ledger):
    record(ledger, make_reading(1), compose=with_chart)
    send_next(ledger)
    ledger.mark_dead(ledger.claim(None, SOON, LEASE), "unknown_method", now=SOON)
    summary = ledger.summary(None, SOON)
    assert (summary.dead, summary.dead_charts, summary.oldest_unsent_seconds) == (0, 1, 0)


def test_a_redrive_tries_the_dead_again_at_once_and_ends_pauses(ledger):
    record(ledger, make_reading())
    ledger.mark_dead(ledger.claim(None, SOON, LEASE), "is_archived", now=SOON)
    ledger.pause(EVERYTHING, SOON + LEASE, "token refused")
    assert ledger.redrive("live") == 1
    assert ledger.claim(None, SOON, LEASE) is not None
    assert ledger.redrive() == 0


def test_a_redrive_takes_the_routes_as_they_are_now(ledger):
    record(ledger, make_reading(1, "a"), compose=with_chart)
    ledger.mark_dead(ledger.claim(None, SOON, LEASE), "channel_not_found", now=SOON)
    assert ledger.redrive(channels={"buyers": "#right", "operators": "#ops"}) == 1
    assert [entry.channel for entry in ledger.entries()] == ["#right", "#right"]
    assert ledger.claim(None, SOON, LEASE).channel == "#right"


def test_a_redrive_leaves_what_stands_or_may_stand_in_its_channel(ledger):
    record(ledger, make_reading(1, "a"))
    send_next(ledger)
    record(ledger, make_reading(2, "a", Severity.CRITICAL))
    ledger.mark_dead(ledger.claim(None, SOON, LEASE), "cant_update_message", now=SOON)
    record(ledger, make_reading(1, "b"))
    ledger.pause("#alerts", SOON, "asked to wait")
    ledger.mark_sent(ledger.claim(None, SOON, LEASE), Receipt("C0000001", "2.0"), now=SOON)
    unclear = ledger.claim(None, SOON, LEASE)
    ledger.mark_unknown(unclear, "timeout", now=SOON, look_at=SOON)
    assert ledger.redrive("live", {"buyers": "#right"}) == 1
    assert {entry.channel for entry in ledger.entries()} == {"#alerts"}


def test_a_redrive_of_one_book_leaves_the_routes_of_the_others(ledger):
    ledger.record("as-of 2025-06-21", make_reading(), OPTIONS, now=NOON, compose=compose)
    assert ledger.redrive("live", {"buyers": "#right"}) == 0
    assert [entry.channel for entry in ledger.entries()] == ["#alerts"]


def test_what_was_skipped_is_neither_waiting_nor_a_problem(ledger):
    record(ledger, make_reading(1))
    send_next(ledger, ts="")
    record(ledger, make_reading(2))
    ledger.mark_skipped(ledger.claim(None, SOON, LEASE), "it can't be edited", now=SOON)
    summary = ledger.summary(None, SOON)
    assert (summary.pending, summary.dead, summary.problems) == (0, 0, ())
    assert (ledger.entries()[1].state, ledger.entries()[1].error) == (
        OutboxState.SKIPPED,
        "it can't be edited",
    )
    assert ledger.redrive() == 0


def test_a_look_into_a_day_that_has_not_ended_is_sent_at_once(ledger):
    tonight = NOON + timedelta(hours=11)
    ledger.record(
        "as-of 2025-06-21", make_reading(), OPTIONS, now=tonight, compose=compose, written_at=NOON
    )
    assert ledger.claim(None, NOON, LEASE) is not None


def test_nothing_to_say_leaves_the_outbox_empty(ledger):
    record(ledger, make_reading(), compose=nothing)
    assert ledger.entries() == ()
