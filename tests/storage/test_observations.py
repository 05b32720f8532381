"""Vintages: nothing is overwritten, counts are exact, the past reads as it was known."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from flows.storage.database import open_database
from flows.storage.observations import Counts, IngestRun, ObservationStore
from flows.validation import Observation

MARCH = date(2025, 3, 1)
APRIL = date(2025, 4, 1)
SAID = datetime(2025, 4, 20, 12, tzinfo=UTC)
FETCHED = datetime(2025, 5, 1, 8, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path):
    with open_database(f"sqlite:///{tmp_path / 'lodestone.db'}") as database:
        database.upgrade()
        yield ObservationStore(database)


def make_row(**changes: object) -> Observation:
    row = Observation(
        "dy_oxide", MARCH, 230.0, "USD/kg", SAID, "usgs", "high", "mean", "230", "USD/kg"
    )
    return replace(row, **changes)


def values(store: ObservationStore, known_at: datetime = FETCHED + timedelta(days=999)):
    return [(point.period, point.value) for point in store.history("dy_oxide", known_at)]


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
    march, april = store.history("dy_oxide", FETCHED)
    assert (march.period, april.period) == (MARCH, APRIL)
    assert (april.source_id, april.confidence, april.known_at) == ("usgs", "low", SAID)


def test_nothing_is_known_before_it_was_said(store):
    store.add([make_row()], FETCHED)
    assert store.history("dy_oxide", SAID - timedelta(microseconds=1)) == ()


def test_a_batch_that_cannot_be_written_leaves_nothing_of_it(store):
    bad = make_row(period=APRIL, known_at=datetime(2025, 5, 1))  # noqa: DTZ001
    with pytest.raises(Exception, match=r"no time zone|offset-naive"):
        store.add([make_row(), bad], FETCHED)
    assert values(store) == []


def test_fifteen_years_of_days_are_stored_and_recognised_quickly(store):
    first = date(2010, 1, 1)
    rows = [
        make_row(period=first + timedelta(days=n), value=float(n + 1), raw_value=str(n))
        for n in range(5_500)
    ]
    start = time.perf_counter()
    assert store.add(rows, FETCHED) == Counts(new=5_500)
    assert store.add(rows, FETCHED) == Counts(unchanged=5_500)
    assert time.perf_counter() - start < 3
    start = time.perf_counter()
    assert len(store.history("dy_oxide", FETCHED)) == 5_500
    assert time.perf_counter() - start < 0.5


@dataclass(frozen=True)
class Refused:
    source: str = "prices"
    file: str = "prices.csv"
    row: int = 7
    raw: str = "dy_oxide,2025-13,abc"
    reason: str = "period: no such month"


def test_a_refused_row_is_kept_once_and_its_last_sight_moves(store):
    assert store.quarantine([Refused(), Refused(row=8)], FETCHED) == 2
    later = FETCHED + timedelta(days=1)
    assert store.quarantine([Refused()], later) == 0
    kept = store.quarantined("prices")
    assert [(row.row, row.at, row.last_at) for row in kept] == [
        (7, FETCHED, later),
        (8, FETCHED, FETCHED),
    ]
    assert kept[0].reason == "period: no such month"
    assert store.quarantined("trade") == ()


def test_an_ingest_is_remembered_with_its_counts(store):
    run = IngestRun("prices", FETCHED, 10, 4, 1, 3, 2, MARCH)
    store.record_ingest(run)
    store.record_ingest(replace(run, source="trade", newest_period=None, error="no answer"))
    assert store.ingests("prices") == (run,)
    assert [found.error for found in store.ingests()] == ["no answer", ""]
