"""flows/engines.py and the engines of flows/pipeline.py: the same numbers everywhere, and an end to every failure."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from flows import pipeline, steps
from flows.engines import POOL_FROM, Pool, in_this_process, local_engine
from flows.errors import EngineError
from flows.settings import load_settings
from flows.wiring import build
from tests.flows.pool_work import (
    die_on_three,
    fail_on_three,
    leave_a_mark,
    sleep_unless_first,
    squares,
    threads_after_a_product,
)

ROOT = Path(__file__).resolve().parents[2]
JUNE = date(2025, 6, 21)
PATIENCE_SECONDS = 30.0


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that ended but was not waited for yet is still listed.
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, f"still alive: {[p for p in pids if is_alive(p)]}"
        time.sleep(0.05)


# --- the pool ------------------------------------------------------------------------


def test_the_pool_gives_each_chunk_the_result_that_this_process_gives():
    chunks = [(number, number + 1) for number in range(9)]
    assert dict(Pool(2)(squares, chunks)) == dict(in_this_process(squares, chunks))


def test_a_pool_is_used_only_for_enough_series_and_more_than_one_process():
    assert isinstance(local_engine(POOL_FROM, workers=2), Pool)
    assert local_engine(POOL_FROM - 1, workers=2) is in_this_process
    assert local_engine(10 * POOL_FROM, workers=1) is in_this_process


def test_no_chunks_are_no_work():
    assert list(Pool(2)(squares, [])) == []


def test_a_process_that_dies_is_a_named_error_and_no_hang():
    with pytest.raises(EngineError, match=r"a process that computes died.*LODESTONE_WORKERS"):
        list(Pool(2)(die_on_three, [(number,) for number in range(6)]))


def test_an_error_in_a_chunk_reaches_the_caller():
    with pytest.raises(LookupError, match="three"):
        list(Pool(2)(fail_on_three, [(number,) for number in range(6)]))


def test_who_stops_listening_ends_the_processes_though_they_are_at_work():
    results = Pool(1)(sleep_unless_first, [(0,), (1,), (2,)])
    _, pid = next(results)
    results.close()
    wait_until_gone([pid])


def test_results_wait_for_the_caller_instead_of_piling_up(tmp_path):
    results = Pool(2)(leave_a_mark, [(str(tmp_path), number) for number in range(40)])
    next(results)
    time.sleep(1.0)
    assert 1 <= len(list(tmp_path.iterdir())) <= 6
    assert len(list(results)) == 39
    assert len(list(tmp_path.iterdir())) == 40


@pytest.mark.parametrize("engine", [in_this_process, Pool(1)], ids=["here", "pool"])
def test_linear_algebra_keeps_to_one_thread(engine):
    assert dict(engine(threads_after_a_product, [None])) == {0: {1}}


SLEEPERS = """
import sys
from flows.engines import Pool
from tests.flows.pool_work import sleep_unless_first

if __name__ == "__main__":
    # Two processes: one says its name and goes on to sleep, the other sleeps.
    for _, pid in Pool(2)(sleep_unless_first, [(0,), (1,), (2,)]):
        print(pid, flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_a_pool_ends_with_its_parent_however_that_ends(tmp_path, how):
    script = tmp_path / "sleepers.py"
    script.write_text(SLEEPERS)
    # Only the parent gets the signal, as when Prefect ends a run.
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(how)
        parent.communicate(timeout=PATIENCE_SECONDS)
        wait_until_gone([pid])
    finally:
        parent.kill()
        parent.wait()


# --- the same numbers whichever engine ------------------------------------------------

SERIES = ("dy_oxide", "tb_oxide", "nd_oxide", "wind_additions_world")


@pytest.fixture(scope="module")
def prefect_server() -> Iterator[None]:
    with (
        prefect_test_harness(server_startup_timeout=180),
        # Its thread would keep each run for a second after the work is done.
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


def settings_of(home: Path, **more: str) -> dict[str, str]:
    return {
        "LODESTONE_HOME": str(home),
        "LODESTONE_PATHS": "200",
        "LODESTONE_WORKERS": "2",
        **more,
    }


def ingested(home: Path) -> None:
    service = build(load_settings(settings_of(home), home / "none.toml"))
    steps.ingest(service, steps.moment(service, JUNE, live=False))
    service.close()


def stored(home: Path) -> list[Any]:
    service = build(load_settings(settings_of(home), home / "none.toml"))
    at = steps.moment(service, JUNE, live=False)
    found = [service.forecasts.latest_forecast(name, at.known_at) for name in SERIES]
    service.close()
    return found


@pytest.fixture(scope="module")
def local_forecasts(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What a plain command on this machine keeps."""
    home = tmp_path_factory.mktemp("local")
    ingested(home)
    service = build(load_settings(settings_of(home), home / "none.toml"))
    steps.forecast(service, steps.moment(service, JUNE, live=False), SERIES, run_id="local")
    service.close()
    return stored(home)


def run_flow(monkeypatch: pytest.MonkeyPatch, home: Path, **more: str) -> dict[str, int]:
    for name, value in settings_of(home, **more).items():
        monkeypatch.setenv(name, value)
    return pipeline.forecast(as_of=JUNE, series=SERIES)


@pytest.mark.server
def test_a_local_dask_cluster_gives_the_numbers_of_this_machine_to_the_last_digit(
    prefect_server, local_forecasts, monkeypatch, tmp_path
):
    ingested(tmp_path)
    counts = run_flow(monkeypatch, tmp_path, LODESTONE_ENGINE="dask")
    assert counts == {"forecast": len(SERIES), "refused": 0}
    found = stored(tmp_path)
    assert [one.forecast_id for one in found] == [one.forecast_id for one in local_forecasts]
    assert [one.quantiles for one in found] == [one.quantiles for one in local_forecasts]
    assert [one.paths for one in found] == [one.paths for one in local_forecasts]
    assert found == local_forecasts


@pytest.mark.server
def test_a_dask_scheduler_of_the_users_is_used_by_its_address(
    prefect_server, local_forecasts, monkeypatch, tmp_path
):
    from distributed import LocalCluster

    ingested(tmp_path)
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address.removeprefix("tcp://")
        run_flow(monkeypatch, tmp_path, LODESTONE_ENGINE=f"dask://{address}")
    assert stored(tmp_path) == local_forecasts


@pytest.mark.server
def test_a_dask_scheduler_that_is_not_there_fails_the_run_by_name(
    prefect_server, monkeypatch, tmp_path
):
    monkeypatch.setattr(pipeline, "SCHEDULER_PATIENCE_SECONDS", 0.5)
    with pytest.raises(EngineError, match=r"Dask scheduler at 127\.0\.0\.1:1 can't be used"):
        run_flow(monkeypatch, tmp_path, LODESTONE_ENGINE="dask://127.0.0.1:1")


@pytest.mark.server
def test_a_run_over_many_series_shows_how_far_it_is(prefect_server, monkeypatch, tmp_path):
    ingested(tmp_path)
    monkeypatch.setattr(steps, "LONG_FROM", len(SERIES))
    run_flow(monkeypatch, tmp_path)
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["forecast-progress"]))
    with get_client(sync_client=True) as client:  # Artifact.get would leave its connection open
        (shown,) = client.read_artifacts(artifact_filter=wanted)
    assert float(shown.data) == 100.0


def test_the_local_pool_gives_the_numbers_of_this_process_to_the_last_digit(
    local_forecasts, monkeypatch, tmp_path
):
    ingested(tmp_path)
    monkeypatch.setattr("flows.engines.POOL_FROM", 1)
    service = build(load_settings(settings_of(tmp_path), tmp_path / "none.toml"))
    at = steps.moment(service, JUNE, live=False)
    report = steps.forecast(service, at, SERIES, run_id="pool")
    service.close()
    assert [one.series for one in report.forecasts] == list(SERIES)
    assert stored(tmp_path) == local_forecasts


def test_a_flow_called_without_prefect_computes_here_whatever_the_engine(
    local_forecasts, monkeypatch, tmp_path, caplog
):
    ingested(tmp_path)
    for name, value in settings_of(tmp_path, LODESTONE_ENGINE="dask").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(steps, "LONG_FROM", len(SERIES))
    with caplog.at_level(logging.INFO, logger="lodestone"):
        pipeline.forecast.fn(as_of=JUNE, series=SERIES)
    assert stored(tmp_path) == local_forecasts
    assert "4 of 4 series done" in caplog.text
