"""From raw rows to history: whatever the order of rows and batches, the past reads the same."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from flows.storage.database import Database, open_database
from flows.storage.observations import IngestRun, ObservationStore
from flows.storage.tables import ingest_run, observation, quarantine
from flows.validation import RawRow, validate
from tests.sources.specs import Spec

SERIES = {"output": Spec("t", "month", allows_zero=True), "price": Spec("USD/kg", "day")}
FIRST_EDITION = date(2025, 6, 1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def database(database_url: str):
    with open_database(database_url) as opened:
        opened.upgrade()
        yield opened


def raw_row(series: str, month: int, edition: int, value: int) -> RawRow:
    day = "" if series == "output" else "-02"
    return RawRow(
        file="figures.csv",
        row=month * 100 + edition,
        raw=f"{series},{month},{edition},{value}",
        series=series,
        period=f"2025-{month:02d}{day}",
        # One in four is none, and goes to quarantine.
        value="x" if value == 0 else str(value),
        unit=SERIES[series].unit,
        published_on=str(FIRST_EDITION + timedelta(days=edition)),
        source_id="USGS",
        confidence="high",
    )


def ingest(store: ObservationStore, rows: list[RawRow], now: datetime) -> IngestRun:
    batch = validate("usgs", rows, series=SERIES, source_ids={"USGS"}, now=now, stored=store.around)
    return store.keep("usgs", batch.table, batch.rejected, fetched_at=now)


STATEMENTS = st.dictionaries(
    st.tuples(st.sampled_from(sorted(SERIES)), st.integers(1, 3), st.integers(0, 4)),
    st.integers(0, 3),
    min_size=1,
    max_size=12,
)


@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(statements=STATEMENTS, data=st.data())
def test_any_order_of_rows_and_batches_gives_the_same_past_and_a_second_time_nothing(
    database: Database, statements: dict[tuple[str, int, int], int], data: st.DataObject
) -> None:
    store = ObservationStore(database)
    rows = [raw_row(*key, value) for key, value in statements.items()]
    bad = sum(value == 0 for value in statements.values())
    moments = [
        datetime.combine(FIRST_EDITION + timedelta(days=day), datetime.max.time(), tzinfo=UTC)
        for day in range(-1, 6)
    ]
    seen = []
    for _ in range(2):
        with database.writing() as connection:
            for table in (observation, quarantine, ingest_run):
                connection.execute(delete(table))
        order, batches = data.draw(st.permutations(rows)), data.draw(st.integers(1, 4))
        runs = [ingest(store, order[number::batches], NOW) for number in range(batches)]
        for run in runs:
            assert run.read == run.new + run.revised + run.unchanged + run.quarantined
        assert sum(run.read for run in runs) == len(rows)
        assert sum(run.quarantined for run in runs) == store.count_quarantined() == bad
        again = ingest(store, data.draw(st.permutations(rows)), NOW + timedelta(days=1))
        assert (again.new, again.revised, again.quarantined) == (0, 0, bad)
        assert store.count_quarantined() == bad
        seen.append([store.points(name, moment) for name in SERIES for moment in moments])
    assert seen[0] == seen[1]
