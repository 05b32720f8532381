"""Vintages: nothing is overwritten, counts are exact, the past reads as it was known."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from flows.storage import observations
from flows.storage.database import Database, open_database
from flows.storage.observations import Counts, Newest, ObservationStore
from flows.storage.tables import ingest_run, observation, quarantine
from flows.validation import Observation, RejectedRow, Span

MARCH = date(2025, 3, 1)
APRIL = date(2025, 4, 1)
SAID = datetime(2025, 4, 20, 12, tzinfo=UTC)
FETCHED = datetime(2025, 5, 1, 8, tzinfo=UTC)
EVER = FETCHED + timedelta(days=999)


@pytest.fixture
def database(database_url: str):
    with open_database(database_url) as opened:
        opened.upgrade()
        yield opened


@pytest.fixture
def store(database: Database):
    return ObservationStore(database)


def rows_in(database: Database) -> dict[str, int]:
    with database.reading() as connection:
        return {
            table.name: connection.scalars(select(func.count()).select_from(table)).one()
            for table in (observation, quarantine, ingest_run)
        }


def add(store: ObservationStore, rows: list[Observation], fetched_at: datetime) -> Counts:
    run = store.keep("prices", rows, (), fetched_at=fetched_at)
    return Counts(run.new, run.revised, run.unchanged)


def refuse(store: ObservationStore, rows: list[RejectedRow], at: datetime) -> int:
    """Keep refused rows; how many of them were not there before."""
    before = store.count_quarantined()
    store.keep("prices", (), rows, fetched_at=at)
    return store.count_quarantined() - before


def vintages(
    store: ObservationStore, series: str, period: date
) -> tuple[tuple[datetime, float], ...]:
    """Everything ever said about one period, in the order in which it became known."""
    found = observation.c
    query = (
        select(found.known_at, found.value)
        .where(found.series == series, found.period == period)
        .order_by(found.known_at)
    )
    with store._database.reading() as connection:
        return tuple((row.known_at, row.value) for row in connection.execute(query))


def make_row(**changes: object) -> Observation:
    row = Observation(
        "dy_oxide", MARCH, 230.0, "USD/kg", SAID, "usgs", "high", "mean", "230", "USD/kg"
    )
    return replace(row, **changes)


def values(store: ObservationStore, known_at: datetime = EVER):
    return [(point.period, point.value) for point in store.points("dy_oxide", known_at)]


def test_the_same_rows_a_second_time_write_nothing(store):
    rows = [make_row(), make_row(period=APRIL, value=240.0)]
    assert add(store, rows, FETCHED) == Counts(new=2)
    assert add(store, rows, FETCHED + timedelta(days=1)) == Counts(unchanged=2)
    assert len(vintages(store, "dy_oxide", MARCH)) == 1


def test_a_later_different_value_is_a_revision_and_the_first_one_stays(store):
    add(store, [make_row()], FETCHED)
    later = SAID + timedelta(days=30)
    assert add(store, [make_row(value=235.0, known_at=later)], FETCHED) == Counts(revised=1)
    assert values(store, later - timedelta(seconds=1)) == [(MARCH, 230.0)]
    assert values(store, later) == [(MARCH, 235.0)]


def test_an_equal_value_said_again_later_is_no_news(store):
    add(store, [make_row()], FETCHED)
    again = make_row(known_at=SAID + timedelta(days=30))
    assert add(store, [again], FETCHED) == Counts(unchanged=1)


def test_a_silent_correction_becomes_known_when_it_was_fetched(store):
    add(store, [make_row()], FETCHED)
    corrected = make_row(value=999.0)
    next_day = FETCHED + timedelta(days=1)
    assert add(store, [corrected], next_day) == Counts(revised=1)
    assert values(store, next_day - timedelta(seconds=1)) == [(MARCH, 230.0)]
    assert values(store, next_day) == [(MARCH, 999.0)]
    assert add(store, [corrected], next_day + timedelta(days=1)) == Counts(unchanged=1)


def test_two_corrections_in_one_reading_are_both_kept(store):
    add(store, [make_row()], FETCHED)
    both = [make_row(value=1.0), make_row(value=2.0)]
    assert add(store, both, FETCHED) == Counts(revised=2)
    assert [value for _, value in vintages(store, "dy_oxide", MARCH)] == [230.0, 1.0, 2.0]


def test_an_older_vintage_that_arrives_late_does_not_change_today(store):
    add(store, [make_row()], FETCHED)
    older = make_row(value=200.0, known_at=SAID - timedelta(days=10))
    assert add(store, [older], FETCHED) == Counts(revised=1)
    assert values(store) == [(MARCH, 230.0)]
    assert values(store, SAID - timedelta(days=1)) == [(MARCH, 200.0)]


def test_vintages_of_one_batch_count_one_new_and_the_rest_revised(store):
    batch = [
        make_row(value=3.0, known_at=SAID + timedelta(days=2)),
        make_row(value=1.0),
        make_row(value=1.0, known_at=SAID + timedelta(days=1)),
    ]
    assert add(store, batch, FETCHED) == Counts(new=1, revised=1, unchanged=1)


def test_a_change_of_unit_is_a_change_of_figure(store):
    add(store, [make_row()], FETCHED)
    other = make_row(unit="CNY/kg", known_at=SAID + timedelta(days=1))
    assert add(store, [other], FETCHED) == Counts(revised=1)


def test_history_is_ordered_and_carries_source_and_confidence(store):
    add(store, [make_row(period=APRIL, confidence="low"), make_row()], FETCHED)
    march, april = store.points("dy_oxide", FETCHED)
    assert (march.period, april.period) == (MARCH, APRIL)
    assert (april.source_id, april.confidence, april.known_at) == ("usgs", "low", SAID)


def test_nothing_is_known_before_it_was_said(store):
    add(store, [make_row()], FETCHED)
    assert store.points("dy_oxide", SAID - timedelta(microseconds=1)) == ()


def test_a_batch_that_cannot_be_written_leaves_nothing_of_it(store):
    bad = make_row(period=APRIL, known_at=datetime(2025, 5, 1))  # noqa: DTZ001
    with pytest.raises(Exception, match=r"no time zone|offset-naive"):
        add(store, [make_row(), bad], FETCHED)
    assert values(store) == []


# --- rows that their publisher does not date -------------------------------------------


def undated(**changes: object) -> Observation:
    return make_row(is_dated=False, **changes)


def test_an_undated_value_is_known_since_its_usual_lag_and_fetched_again_is_no_news(store):
    assert add(store, [undated()], FETCHED) == Counts(new=1)
    # The lag says something else by now (it was capped by the clock, or the catalogue was mended).
    again = undated(known_at=SAID + timedelta(days=5))
    assert add(store, [again], FETCHED + timedelta(days=9)) == Counts(unchanged=1)
    assert vintages(store, "dy_oxide", MARCH) == ((SAID, 230.0),)


def test_an_undated_revision_becomes_known_when_it_was_fetched(store):
    add(store, [undated()], FETCHED)
    later = FETCHED + timedelta(days=30)
    assert add(store, [undated(value=235.0)], later) == Counts(revised=1)
    assert values(store, later - timedelta(seconds=1)) == [(MARCH, 230.0)]
    assert values(store, later) == [(MARCH, 235.0)]
    assert add(store, [undated(value=235.0)], later + timedelta(days=1)) == Counts(unchanged=1)


def test_an_undated_value_that_returns_is_a_revision_again(store):
    for day, value in enumerate((230.0, 235.0, 230.0)):
        add(store, [undated(value=value)], FETCHED + timedelta(days=day))
    assert [value for _, value in vintages(store, "dy_oxide", MARCH)] == [230.0, 235.0, 230.0]


# --- whatever the order -----------------------------------------------------------------


DAYS = st.integers(0, 6)
# Figures that repeat: an edition that says again what an older one said is the hard case.
STATEMENTS = st.dictionaries(
    st.tuples(st.sampled_from([MARCH, APRIL]), DAYS), st.sampled_from([1.0, 2.0]), max_size=10
)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(statements=STATEMENTS, data=st.data())
def test_order_and_batches_of_dated_rows_change_nothing_and_a_repeat_writes_nothing(
    database: Database, statements: dict[tuple[date, int], float], data: st.DataObject
) -> None:
    store = ObservationStore(database)
    rows = [
        make_row(period=period, value=value, known_at=SAID + timedelta(days=day))
        for (period, day), value in statements.items()
    ]
    moments = [SAID + timedelta(days=day, hours=1) for day in range(-1, 8)]
    seen = []
    for _ in range(2):
        with database.writing() as connection:
            connection.execute(delete(observation))
        order = data.draw(st.permutations(rows))
        batches = data.draw(st.integers(1, 4))
        for number in range(batches):
            add(store, order[number::batches], FETCHED)
        kept = rows_in(database)["observation"]
        assert kept == len(rows)
        again = add(store, data.draw(st.permutations(rows)), FETCHED + timedelta(days=1))
        assert again == Counts(unchanged=len(rows))
        assert rows_in(database)["observation"] == kept
        seen.append([store.points("dy_oxide", moment) for moment in moments])
    assert seen[0] == seen[1]
    for moment, points in zip(moments, seen[0], strict=True):
        wanted = {}
        for (period, day), value in sorted(statements.items(), key=lambda it: it[0][1]):
            if SAID + timedelta(days=day) <= moment:
                wanted[period] = value
        assert {point.period: point.value for point in points} == wanted


def test_an_older_edition_read_last_comes_between_two_that_say_the_same(store):
    """Were a repeated value not kept, the middle one would hide the last."""
    later = [make_row(value=1.0), make_row(value=1.0, known_at=SAID + timedelta(days=2))]
    assert add(store, later, FETCHED) == Counts(new=1, unchanged=1)
    between = make_row(value=2.0, known_at=SAID + timedelta(days=1))
    assert add(store, [between], FETCHED) == Counts(revised=1)
    assert values(store, SAID + timedelta(days=1)) == [(MARCH, 2.0)]
    assert values(store, SAID + timedelta(days=2)) == [(MARCH, 1.0)]


def test_a_value_said_again_by_a_later_edition_is_known_since_it_was_first_said(store):
    add(store, [make_row(), make_row(known_at=SAID + timedelta(days=30))], FETCHED)
    (point,) = store.points("dy_oxide", EVER)
    assert point.known_at == SAID


def test_a_correction_of_an_old_edition_does_not_outrank_a_newer_one(store):
    older, newer = SAID, SAID + timedelta(days=365)
    add(store, [make_row(value=5.0, known_at=older), make_row(value=6.0, known_at=newer)], FETCHED)
    later = newer + timedelta(days=100)
    corrected = make_row(value=5.5, known_at=older)
    assert add(store, [corrected], later) == Counts(revised=1)
    assert values(store) == [(MARCH, 6.0)]
    assert values(store, later + timedelta(days=1)) == [(MARCH, 6.0)]
    again = [corrected, make_row(value=6.0, known_at=newer)]
    assert add(store, again, later + timedelta(days=1)) == Counts(unchanged=2)
    assert len(vintages(store, "dy_oxide", MARCH)) == 3


def test_a_correction_that_is_taken_back_is_another_correction(store):
    for day, value in enumerate((230.0, 235.0, 230.0)):
        add(store, [make_row(value=value)], FETCHED + timedelta(days=day))
    assert [value for _, value in vintages(store, "dy_oxide", MARCH)] == [230.0, 235.0, 230.0]
    assert values(store) == [(MARCH, 230.0)]
    assert values(store, FETCHED + timedelta(days=1)) == [(MARCH, 235.0)]
    (kept,) = store.audit("dy_oxide", EVER)
    assert kept.known_by == "correction, when fetched"


def test_an_undated_value_read_under_a_clock_that_went_back_is_no_news(store):
    add(store, [undated()], FETCHED)
    late = FETCHED + timedelta(days=30)
    add(store, [undated(value=235.0)], late)
    assert add(store, [undated(value=235.0)], FETCHED + timedelta(days=1)) == Counts(unchanged=1)
    assert add(store, [undated(value=240.0)], FETCHED + timedelta(days=2)) == Counts(revised=1)
    assert add(store, [undated(value=240.0)], FETCHED + timedelta(days=3)) == Counts(unchanged=1)
    assert values(store) == [(MARCH, 240.0)]


def test_a_value_that_an_old_edition_is_corrected_to_stands_since_the_newer_one_said_it(store):
    older, newer = SAID, SAID + timedelta(days=365)
    add(store, [make_row(value=5.0, known_at=older), make_row(value=6.0, known_at=newer)], FETCHED)
    add(store, [make_row(value=6.0, known_at=older)], newer + timedelta(days=100))
    (point,) = store.points("dy_oxide", EVER)
    assert (point.value, point.known_at) == (6.0, newer)


def test_a_dated_and_an_undated_row_of_one_period_are_read_again_without_news(store):
    rows = [undated(value=100.0), make_row(value=110.0, known_at=SAID + timedelta(days=3))]
    add(store, rows, FETCHED)
    before = vintages(store, "dy_oxide", MARCH)
    assert add(store, rows[::-1], FETCHED + timedelta(days=1)) == Counts(unchanged=2)
    assert vintages(store, "dy_oxide", MARCH) == before


def test_how_it_is_known_when_a_figure_came_out_is_told(store):
    add(store, [undated()], FETCHED)
    assert [row.known_by for row in store.audit("dy_oxide", EVER)] == ["usual lag"]
    add(store, [undated(value=235.0)], FETCHED + timedelta(days=1))
    assert [row.known_by for row in store.audit("dy_oxide", EVER)] == ["when fetched"]


def test_a_correction_before_noon_of_the_day_it_corrects_is_the_one_that_stays(store):
    morning = SAID - timedelta(hours=4)
    add(store, [make_row()], morning)
    assert values(store, morning) == [(MARCH, 230.0)]  # dated today, and here already
    corrected = make_row(value=231.0)
    assert add(store, [corrected], morning + timedelta(hours=1)) == Counts(revised=1)
    assert values(store, morning + timedelta(minutes=59)) == [(MARCH, 230.0)]
    assert values(store, morning + timedelta(hours=1)) == values(store) == [(MARCH, 231.0)]
    assert add(store, [corrected], morning + timedelta(hours=2)) == Counts(unchanged=1)


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 1000])
def test_how_many_rows_are_written_at_once_changes_nothing(store, monkeypatch, at_once):
    monkeypatch.setattr(observations, "ROWS_AT_ONCE", at_once)
    rows = [
        make_row(
            series=name, period=date(2025, month, 1), value=month * 1.5, known_at=SAID + edition
        )
        for name in ("dy_oxide", "tb_oxide")
        for month in (1, 2, 3, 4)
        for edition in (timedelta(0), timedelta(days=1))
    ]
    assert add(store, rows, FETCHED) == Counts(new=8, unchanged=8)
    assert add(store, rows[::-1], FETCHED) == Counts(unchanged=16)
    assert [value for _, value in values(store)] == [1.5, 3.0, 4.5, 6.0]


def test_names_that_a_database_sorts_in_another_way_are_placed_all_the_same(store):
    rows = [make_row(series=name) for name in ("b", "B", "a_1", "A", "a-1", "ä")]
    assert add(store, rows, FETCHED) == Counts(new=6)
    assert add(store, rows[::-1], FETCHED) == Counts(unchanged=6)


# --- reading ----------------------------------------------------------------------------


def test_a_history_is_a_table_of_typed_columns(store):
    add(store, [make_row(), make_row(period=APRIL, value=240.0)], FETCHED)
    table = store.history("dy_oxide", EVER)
    assert [str(kind) for kind in table.dtypes[:3]] == [
        "datetime64[s]",
        "float64",
        "datetime64[us, UTC]",
    ]
    assert table["value"].tolist() == [230.0, 240.0]
    assert store.history("nothing", EVER).empty


def test_everything_written_beside_a_value_can_be_read_again(store):
    row = make_row(raw_value="1,640,000", raw_unit="CNY/t incl. VAT", note="÷ 7.13")
    add(store, [row], FETCHED)
    (kept,) = store.audit("dy_oxide", EVER)
    assert (kept.raw_value, kept.raw_unit, kept.note) == ("1,640,000", "CNY/t incl. VAT", "÷ 7.13")
    assert (kept.fetched_at, kept.known_at, kept.edition) == (FETCHED, SAID, SAID)
    assert kept.known_by == "publisher"
    assert kept.was_converted


def around(store: ObservationStore, first: date, last: date, **changes: object):
    span = Span("USD/kg", first, last, is_whole=False, before=2)
    return store.around({"dy_oxide": replace(span, **changes)})["dy_oxide"]


def test_what_stands_around_and_between_the_rows_of_a_batch_is_told_as_known_now(store):
    months = [date(2025, month, 1) for month in range(1, 9)]
    add(store, [make_row(period=day, value=float(day.month)) for day in months], FETCHED)
    add(store, [make_row(period=date(2025, 4, 1), value=4.5, known_at=FETCHED)], FETCHED)
    april, june = date(2025, 4, 1), date(2025, 6, 1)
    assert [value for _, value in around(store, april, june)] == [2.0, 3.0, 4.5, 5.0, 6.0, 7.0]
    whole = around(store, april, june, is_whole=True)
    assert [value for _, value in whole] == [2.0, 3.0, 4.5, 7.0]
    assert around(store, april, june, is_whole=True, before=1)[0] == (date(2025, 3, 1), 3.0)


def test_before_the_first_and_after_the_last_period_there_is_nothing_around(store):
    add(store, [make_row()], FETCHED)
    assert around(store, date(2024, 1, 1), date(2024, 6, 1)) == ((MARCH, 230.0),)
    assert around(store, APRIL, date(2025, 9, 1)) == ((MARCH, 230.0),)
    assert store.around({"nothing": Span("USD/kg", MARCH, APRIL, is_whole=False, before=1)}) == {
        "nothing": ()
    }


def test_what_is_kept_in_another_unit_is_no_neighbour_and_no_history_of_this_one(store):
    add(store, [make_row(unit="CNY/kg"), make_row(period=APRIL)], FETCHED)
    assert around(store, APRIL, APRIL) == ((APRIL, 230.0),)
    assert store.history("dy_oxide", EVER, unit="USD/kg")["period"].dt.date.tolist() == [APRIL]
    assert len(store.history("dy_oxide", EVER)) == 2


def test_the_newest_period_is_as_old_as_its_first_vintage(store):
    later = SAID + timedelta(days=9)
    add(store, [make_row(), make_row(period=APRIL, value=5.0, known_at=later)], FETCHED)
    add(store, [make_row(period=APRIL, value=6.0, known_at=later + timedelta(days=9))], FETCHED)
    assert store.newest(EVER) == {"dy_oxide": Newest(APRIL, later)}
    assert store.newest(later - timedelta(seconds=1)) == {"dy_oxide": Newest(MARCH, SAID)}


def test_a_summary_counts_periods_and_vintages_as_known_then(store):
    add(store, [make_row(), make_row(period=APRIL, known_at=FETCHED)], FETCHED)
    add(store, [make_row(value=1.0, known_at=FETCHED)], FETCHED)
    (found,) = store.summary(EVER)
    assert (found.periods, found.vintages, found.first, found.newest) == (2, 3, MARCH, APRIL)
    (then,) = store.summary(SAID)
    assert (then.periods, then.vintages, then.newest) == (1, 1, MARCH)


# --- one reading is one transaction --------------------------------------------------------


def refused(**changes: object) -> RejectedRow:
    row = RejectedRow("prices", "prices.csv", 7, "dy_oxide,2025-13,abc", "period: no such month")
    return replace(row, **changes)


def test_a_refused_row_is_kept_once_and_its_last_sight_moves(store):
    assert refuse(store, [refused(), refused(row=8, raw="other")], FETCHED) == 2
    later = FETCHED + timedelta(days=1)
    assert refuse(store, [refused()], later) == 0
    kept = store.quarantined("prices")
    assert [(row.row, row.at, row.last_at) for row in kept] == [
        (7, FETCHED, later),
        (8, FETCHED, FETCHED),
    ]
    assert kept[0].reason == "period: no such month"
    assert store.quarantined("trade") == ()


@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_a_row_with_two_bad_figures_is_kept_twice_and_read_again_it_is_no_other(
    store, monkeypatch, at_once
):
    monkeypatch.setattr(observations, "ROWS_AT_ONCE", at_once)
    rows = [refused(), refused(raw="b"), refused(), refused(raw="c"), refused(raw="b")]
    assert refuse(store, rows, FETCHED) == store.count_quarantined() == 5
    assert refuse(store, rows[::-1], FETCHED + timedelta(days=1)) == 0


def test_a_jump_whose_neighbour_changed_is_the_same_refused_row(store):
    refuse(store, [refused(reason="value: 9 after 100 is a step")], FETCHED)
    assert refuse(store, [refused(reason="value: 9 after 101 is a step")], FETCHED) == 0
    assert refuse(store, [refused(reason="period: 9 is none")], FETCHED) == 1


def test_refused_rows_are_counted_by_source(store):
    refuse(store, [refused(), refused(raw="other"), refused(source="trade")], FETCHED)
    assert store.count_quarantined("prices") == 2
    assert store.count_quarantined() == 3


def test_a_reading_is_remembered_with_its_counts(store):
    rows = [make_row(), make_row(period=APRIL)]
    run = store.keep(
        "prices", rows, [refused()], fetched_at=FETCHED, newest_period=APRIL, error="Dy: no answer"
    )
    assert (run.read, run.new, run.revised, run.unchanged, run.quarantined) == (3, 2, 0, 0, 1)
    empty = store.keep("trade", (), (), fetched_at=FETCHED, error="no answer")
    assert store.last_visits() == (run, empty)
    assert (run.newest_period, run.error) == (APRIL, "Dy: no answer")


def test_a_visit_to_two_places_is_one_and_every_source_has_its_last(store):
    store.keep("komis", [make_row()], (), fetched_at=FETCHED, newest_period=MARCH)
    store.keep("komis", (), [refused()], fetched_at=FETCHED, error="no answer")
    store.keep("usgs", (), (), fetched_at=FETCHED - timedelta(days=40))
    for day in range(1, 60):
        store.keep("trade", (), (), fetched_at=FETCHED + timedelta(days=day))
    found = {visit.source: visit for visit in store.last_visits()}
    assert found.keys() == {"komis", "trade", "usgs"}
    komis = found["komis"]
    assert (komis.read, komis.new, komis.quarantined) == (2, 1, 1)
    assert (komis.newest_period, komis.error) == (MARCH, "no answer")


def test_a_bad_row_that_moved_down_its_file_is_the_same_row(store):
    refuse(store, [refused()], FETCHED)
    assert refuse(store, [refused(row=8)], FETCHED + timedelta(days=1)) == 0
    assert refuse(store, [refused(raw="", row=8)], FETCHED) == 1
    assert refuse(store, [refused(raw="", row=9)], FETCHED) == 1


def test_refused_rows_of_a_door_are_found_under_its_name(store):
    names = ("csv_drop.smm", "csv_drop.vahan", "csv_dropper", "csv_drop")
    refuse(store, [refused(source=name) for name in names], FETCHED)
    assert store.count_quarantined("csv_drop") == 3
    assert {row.source for row in store.quarantined("csv_drop")} == set(names) - {"csv_dropper"}


def test_a_reading_whose_account_cannot_be_written_leaves_nothing(store, database, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(observations, "_record", fail)
    with pytest.raises(RuntimeError):
        store.keep("prices", [make_row()], [refused()], fetched_at=FETCHED)
    assert set(rows_in(database).values()) == {0}


CHILD = """
import sys, time
from datetime import timedelta
from flows.storage import observations
from flows.storage.database import open_database
from tests.storage.test_observations import FETCHED, refused, many_rows

observations.ROWS_AT_ONCE = 500
write = observations.append
seen = 0

def slowly(connection, table, columns):
    global seen
    write(connection, table, columns)
    seen += 1
    print(seen, flush=True)
    time.sleep(float(sys.argv[2]))

observations.append = slowly
with open_database(sys.argv[1]) as database:
    observations.ObservationStore(database).keep(
        "prices", many_rows(), [refused()], fetched_at=FETCHED
    )
print("done", flush=True)
"""


def many_rows() -> list[Observation]:
    first = date(2010, 1, 1)
    return [
        make_row(period=first + timedelta(days=n), value=float(n + 1), raw_value=str(n))
        for n in range(5_000)
    ]


def killed_after(parts: int, database_url: str, *, pause: str, delay: float = 0.0) -> int:
    """What a process that keeps a batch ended with, killed `delay` seconds after some writes."""
    root = Path(observations.__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, database_url, pause],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip() == str(parts):
                time.sleep(delay)
                child.send_signal(signal.SIGKILL)
                break
        return child.wait(timeout=30)


@pytest.mark.parametrize("parts", [1, 4, 10, 11])
def test_a_kill_in_the_middle_of_a_batch_leaves_nothing_of_it(database, database_url, parts):
    """Ten parts of the rows and one of refused rows; killed after so many of them were written."""
    assert killed_after(parts, database_url, pause="0.05") == -signal.SIGKILL
    assert set(rows_in(database).values()) == {0}
    store = ObservationStore(database)
    run = store.keep("prices", many_rows(), [refused()], fetched_at=FETCHED)
    assert (run.new, run.quarantined) == (5_000, 1)
    assert rows_in(database) == {"observation": 5_000, "quarantine": 1, "ingest_run": 1}


@pytest.mark.parametrize("delay", [0.0, 0.004, 0.02])
def test_a_kill_at_the_commit_leaves_the_whole_batch_or_none_of_it(database, database_url, delay):
    killed_after(11, database_url, pause="0", delay=delay)
    assert rows_in(database) in (
        {"observation": 0, "quarantine": 0, "ingest_run": 0},
        {"observation": 5_000, "quarantine": 1, "ingest_run": 1},
    )
