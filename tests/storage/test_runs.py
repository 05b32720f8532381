"""Runs are written as they go, so that one that died can still be read."""

from datetime import UTC, datetime, timedelta

import pytest

from flows.storage.database import open_database
from flows.storage.runs import RunStore, StepRun

NOON = datetime(2025, 6, 21, 12, tzinfo=UTC)


@pytest.fixture
def store(database_url: str):
    with open_database(database_url) as database:
        yield RunStore(database)


def test_a_run_is_read_back_with_its_steps_in_order(store):
    store.start("r-1", "live", NOON, NOON)
    store.step("r-1", "ingest", 1.5, {"new": 3})
    store.step("r-1", "forecast", 9.25, {}, error="dy_oxide: 9 observations, 24 needed")
    store.finish("r-1", NOON + timedelta(minutes=1), ui_url="http://127.0.0.1:4200/runs/1")
    run = store.get("r-1")
    assert run.steps == (
        StepRun(1, "ingest", 1.5, {"new": 3}),
        StepRun(2, "forecast", 9.25, {}, "dy_oxide: 9 observations, 24 needed"),
    )
    assert run.finished_at == NOON + timedelta(minutes=1)
    assert run.ui_url.endswith("/runs/1")


def test_a_run_that_died_is_seen_as_not_finished(store):
    store.start("r-1", "live", NOON, NOON)
    store.step("r-1", "ingest", 1.5, {"new": 3})
    assert store.get("r-1").finished_at is None
    assert store.get("r-2") is None


def test_a_retried_start_keeps_the_first_instant(store):
    store.start("r-1", "live", NOON, NOON)
    store.start("r-1", "live", NOON, NOON + timedelta(hours=1))
    assert store.get("r-1").started_at == NOON


def test_the_latest_runs_are_those_of_the_book_asked_for(store):
    store.start("r-1", "live", NOON, NOON)
    store.start("r-2", "as-of 2025-06-21", NOON, NOON + timedelta(hours=1))
    store.start("r-3", "live", NOON, NOON + timedelta(hours=2))
    assert [run.run_id for run in store.latest("live", 5)] == ["r-3", "r-1"]
    assert [run.run_id for run in store.latest()] == ["r-3"]


def test_the_last_step_that_was_done_is_found_behind_any_number_of_failed_runs(store):
    store.start("good", "live", NOON, NOON)
    store.step("good", "raise-alerts", 1.0, {"evaluated": 16})
    for number in range(60):
        at = NOON + timedelta(days=number + 1)
        store.start(f"r-{number}", "live", at, at)
        store.step(f"r-{number}", "raise-alerts", 1.0, {}, error="the disk is full")
    later = NOON + timedelta(days=90)

    assert store.last_done("live", "raise-alerts", later) == (NOON, {"evaluated": 16})
    assert store.last_done("live", "raise-alerts", NOON - timedelta(days=1)) is None
    assert store.last_done("as-of 2025-06-21", "raise-alerts", later) is None
    assert store.last_done("live", "forecast", later) is None
