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
from flows.validation import Observation, RejectedRow

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


def make_row(**changes: object) -> Observation:
    row = Observation(
        "dy_oxide", MARCH, 230.0, "USD/kg", SAID, "usgs", "high", "mean", "230", "USD/kg"
    )
    return replace(row, **changes)


def values(store: ObservationStore, known_at: datetime = EVER):
    return [(point.period, point.value) for point in store.points("dy_oxide", known_at)]


def test_the_same_rows_a_second_time_write_nothing(store):
    rows = [make_row(), make_row(period=APRIL, value=240.0)]
    assert store.add(rows, FETCHED) == Counts(new=2)
    assert store.add(rows, FETCHED + timedelta(days=1)) == Counts(unchanged=2)
    assert len(store.vintages("dy_oxide", MARCH)) == 1


def test_a_later_different_value_is_a_revision_and_the_first_one_stays(store):
    store.add([make_row()], FETCHED)
    later = SAID + timedelta(days=30)
    assert store.add([make_row(value=235.0, known_at=later)], FETCHED) == Counts(revised=1)
    assert values(store, later - timedelta(seconds=1)) == [(MARCH, 230.0)]
    assert values(store, later) == [(MARCH, 235.0)]


def test_an_equal_value_said_again_later_is_no_news(store):
    store.add([make_row()], FETCHED)
    again = make_row(known_at=SAID + timedelta(days=30))
    assert store.add([again], FETCHED) == Counts(unchanged=1)


def test_a_silent_correction_becomes_known_when_it_was_fetched(store):
    store.add([make_row()], FETCHED)
    corrected = make_row(value=999.0)
    next_day = FETCHED + timedelta(days=1)
    assert store.add([corrected], next_day) == Counts(revised=1)
    assert values(store, next_day - timedelta(seconds=1)) == [(MARCH, 230.0)]
    assert values(store, next_day) == [(MARCH, 999.0)]
    assert store.add([corrected], next_day + timedelta(days=1)) == Counts(unchanged=1)


def test_two_corrections_in_one_reading_are_both_kept(store):
    store.add([make_row()], FETCHED)
    both = [make_row(value=1.0), make_row(value=2.0)]
    assert store.add(both, FETCHED) == Counts(revised=2)
    assert [value for _, value in store.vintages("dy_oxide", MARCH)] == [230.0, 1.0, 2.0]


def test_an_older_vintage_that_arrives_late_does_not_change_today(store):
    store.add([make_row()], FETCHED)
    older = make_row(value=200.0, known_at=SAID - timedelta(days=10))
    assert store.add([older], FETCHED) == Counts(revised=1)
    assert values(store) == [(MARCH, 230.0)]
    assert values(store, SAID - timedelta(days=1)) == [(MARCH, 200.0)]


def test_vintages_of_one_batch_count_one_new_and_the_rest_revised(store):
    batch = [
        make_row(value=3.0, known_at=SAID + timedelta(days=2)),
        make_row(value=1.0),
        make_row(value=1.0, known_at=SAID + timedelta(days=1)),
    ]
    assert store.add(batch, FETCHED) == Counts(new=1, revised=1, unchanged=1)


def test_a_change_of_unit_is_a_change_of_figure(store):
    store.add([make_row()], FETCHED)
    other = make_row(unit="CNY/kg", known_at=SAID + timedelta(days=1))
    assert store.add([other], FETCHED) == Counts(revised=1)


def test_history_is_ordered_and_carries_source_and_confidence(store):
    store.add([make_row(period=APRIL, confidence="low"), make_row()], FETCHED)
    march, april = store.points("dy_oxide", FETCHED)
    assert (march.period, april.period) == (MARCH, APRIL)
    assert (april.source_id, april.confidence, april.known_at) == ("usgs", "low", SAID)


def test_nothing_is_known_before_it_was_said(store):
    store.add([make_row()], FETCHED)
    assert store.points("dy_oxide", SAID - timedelta(microseconds=1)) == ()


def test_a_batch_that_cannot_be_written_leaves_nothing_of_it(store):
    bad = make_row(period=APRIL, known_at=datetime(2025, 5, 1))  # noqa: DTZ001
    with pytest.raises(Exception, match=r"no time zone|offset-naive"):
        store.add([make_row(), bad], FETCHED)
    assert values(store) == []


# --- rows that their publisher does not date -------------------------------------------


def undated(**changes: object) -> Observation:
    return make_row(is_dated=False, **changes)


def test_an_undated_value_is_known_since_its_usual_lag_and_fetched_again_is_no_news(store):
    assert store.add([undated()], FETCHED) == Counts(new=1)
    # The lag says something else by now (it was capped by the clock, or the catalogue was mended).
    again = undated(known_at=SAID + timedelta(days=5))
    assert store.add([again], FETCHED + timedelta(days=9)) == Counts(unchanged=1)
    assert store.vintages("dy_oxide", MARCH) == ((SAID, 230.0),)


def test_an_undated_revision_becomes_known_when_it_was_fetched(store):
    store.add([undated()], FETCHED)
    later = FETCHED + timedelta(days=30)
    assert store.add([undated(value=235.0)], later) == Counts(revised=1)
    assert values(store, later - timedelta(seconds=1)) == [(MARCH, 230.0)]
    assert values(store, later) == [(MARCH, 235.0)]
    assert store.add([undated(value=235.0)], later + timedelta(days=1)) == Counts(unchanged=1)


def test_an_undated_value_that_returns_is_a_revision_again(store):
    for day, value in enumerate((230.0, 235.0, 230.0)):
        store.add([undated(value=value)], FETCHED + timedelta(days=day))
    assert [value for _, value in store.vintages("dy_oxide", MARCH)] == [230.0, 235.0, 230.0]


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
            store.add(order[number::batches], FETCHED)
        kept = rows_in(database)["observation"]
        assert kept == len(rows)
        again = store.add(data.draw(st.permutations(rows)), FETCHED + timedelta(days=1))
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
    assert store.add(later, FETCHED) == Counts(new=1, unchanged=1)
    between = make_row(value=2.0, known_at=SAID + timedelta(days=1))
    assert store.add([between], FETCHED) == Counts(revised=1)
    assert values(store, SAID + timedelta(days=1)) == [(MARCH, 2.0)]
    assert values(store, SAID + timedelta(days=2)) == [(MARCH, 1.0)]


def test_a_value_said_again_by_a_later_edition_is_known_since_it_was_first_said(store):
    store.add([make_row(), make_row(known_at=SAID + timedelta(days=30))], FETCHED)
    (point,) = store.points("dy_oxide", EVER)
    assert point.known_at == SAID


def test_a_correction_before_noon_of_the_day_it_corrects_is_the_one_that_stays(store):
    morning = SAID - timedelta(hours=4)
    store.add([make_row()], morning)
    corrected = make_row(value=231.0)
    assert store.add([corrected], morning + timedelta(hours=1)) == Counts(revised=1)
    assert values(store) == [(MARCH, 231.0)]
    assert store.add([corrected], morning + timedelta(hours=2)) == Counts(unchanged=1)


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
    assert store.add(rows, FETCHED) == Counts(new=8, unchanged=8)
    assert store.add(rows[::-1], FETCHED) == Counts(unchanged=16)
    assert [value for _, value in values(store)] == [1.5, 3.0, 4.5, 6.0]


def test_names_that_a_database_sorts_in_another_way_are_placed_all_the_same(store):
    rows = [make_row(series=name) for name in ("b", "B", "a_1", "A", "a-1", "ä")]
    assert store.add(rows, FETCHED) == Counts(new=6)
    assert store.add(rows[::-1], FETCHED) == Counts(unchanged=6)


# --- reading ----------------------------------------------------------------------------


def test_a_history_is_a_table_of_typed_columns(store):
    store.add([make_row(), make_row(period=APRIL, value=240.0)], FETCHED)
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
    store.add([row], FETCHED)
    (kept,) = store.audit("dy_oxide", EVER)
    assert (kept.raw_value, kept.raw_unit, kept.note) == ("1,640,000", "CNY/t incl. VAT", "÷ 7.13")
    assert (kept.fetched_at, kept.known_at, kept.is_dated) == (FETCHED, SAID, True)
    assert kept.was_converted


def test_the_last_periods_up_to_a_day_are_those_before_it(store):
    store.add(
        [make_row(period=date(2025, month, 1), value=float(month)) for month in range(1, 5)],
        FETCHED,
    )
    store.add([make_row(period=MARCH, value=3.5, known_at=FETCHED)], FETCHED)
    assert store.last("dy_oxide", MARCH, 2) == ((date(2025, 2, 1), 2.0), (MARCH, 3.5))
    assert store.last("dy_oxide", date(2024, 1, 1), 2) == ()


def test_the_newest_period_is_told_with_the_moment_since_which_its_value_stands(store):
    later = SAID + timedelta(days=9)
    store.add([make_row(), make_row(period=APRIL, value=5.0, known_at=later)], FETCHED)
    store.add([make_row(period=APRIL, value=5.0, known_at=later + timedelta(days=9))], FETCHED)
    assert store.newest(EVER) == {"dy_oxide": Newest(APRIL, later, 5.0)}
    assert store.newest(later - timedelta(seconds=1)) == {"dy_oxide": Newest(MARCH, SAID, 230.0)}


def test_a_summary_counts_periods_and_vintages_as_known_then(store):
    store.add([make_row(), make_row(period=APRIL, known_at=FETCHED)], FETCHED)
    store.add([make_row(value=1.0, known_at=FETCHED)], FETCHED)
    (found,) = store.summary(EVER)
    assert (found.periods, found.vintages, found.first, found.newest) == (2, 3, MARCH, APRIL)
    (then,) = store.summary(SAID)
    assert (then.periods, then.vintages, then.newest) == (1, 1, MARCH)


# --- one reading is one transaction --------------------------------------------------------


def refused(**changes: object) -> RejectedRow:
    row = RejectedRow("prices", "prices.csv", 7, "dy_oxide,2025-13,abc", "period: no such month")
    return replace(row, **changes)


def test_a_refused_row_is_kept_once_and_its_last_sight_moves(store):
    assert store.quarantine([refused(), refused(row=8)], FETCHED) == 2
    later = FETCHED + timedelta(days=1)
    assert store.quarantine([refused()], later) == 0
    kept = store.quarantined("prices")
    assert [(row.row, row.at, row.last_at) for row in kept] == [
        (7, FETCHED, later),
        (8, FETCHED, FETCHED),
    ]
    assert kept[0].reason == "period: no such month"
    assert store.quarantined("trade") == ()


@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_a_row_that_is_refused_twice_in_one_reading_is_kept_once(store, monkeypatch, at_once):
    monkeypatch.setattr(observations, "ROWS_AT_ONCE", at_once)
    rows = [refused(), refused(row=8), refused(), refused(row=9), refused(row=8)]
    assert store.quarantine(rows, FETCHED) == 3
    assert store.count_quarantined() == 3


def test_refused_rows_are_counted_by_source(store):
    store.quarantine([refused(), refused(row=8), refused(source="trade")], FETCHED)
    assert store.count_quarantined("prices") == 2
    assert store.count_quarantined() == 3


def test_a_reading_is_remembered_with_its_counts(store):
    rows = [make_row(), make_row(period=APRIL)]
    run = store.keep(
        "prices", rows, [refused()], fetched_at=FETCHED, newest_period=APRIL, error="Dy: no answer"
    )
    assert (run.read, run.new, run.revised, run.unchanged, run.quarantined) == (3, 2, 0, 0, 1)
    empty = store.keep("trade", (), (), fetched_at=FETCHED, error="no answer")
    assert store.ingests("prices") == (run,)
    assert store.ingests() == (empty, run)
    assert (run.newest_period, run.error) == (APRIL, "Dy: no answer")


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
