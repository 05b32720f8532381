"""A million observations into SQLite and PostgreSQL, against a plain DataFrame.to_sql of the same rows.

    python benchmarks/ingest.py [--rows 1000000] [--postgres URL] [--json]

Each measurement is a process of its own, so that its peak memory is its own. Without --postgres (and
without LODESTONE_TEST_POSTGRES_URL) a server is started from the Debian package for the time of the run.
That server does not wait for its disk (fsync off), for both sides alike; give a URL to measure one that does.
"plain" writes the validated rows into a table without keys; "ingest" validates the raw rows and stores
what is news with its vintages, constraint and account; "again" does that a second time with the same rows.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from sqlalchemy import create_engine, text

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from flows.catalog import SeriesEntry  # noqa: E402
from flows.storage.database import open_database  # noqa: E402
from flows.storage.observations import ObservationStore  # noqa: E402
from flows.validation import Batch, validate  # noqa: E402

PERIODS = 3000
TARGETS = {"ingest_to_plain": 1.5, "again_to_ingest": 1.0, "peak_mb": 1000.0, "history_ms": 20.0}
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LOOKS = 51


def series_names(rows: int) -> list[str]:
    return [f"series_{number:04d}" for number in range(-(-rows // PERIODS))]


def raw_rows(rows: int) -> pd.DataFrame:
    """What a source hands over: text, with words that repeat kept once."""
    names = series_names(rows)
    days = pd.bdate_range(end="2026-11-20", periods=PERIODS).strftime("%Y-%m-%d")
    number = np.arange(rows)
    draws = np.random.default_rng(20250404).normal(0, 0.01, size=rows)
    values = np.exp(
        4 + draws.reshape(-1).cumsum() - np.repeat(draws.cumsum()[::PERIODS], PERIODS)[:rows]
    )
    return pd.DataFrame(
        {
            "file": pd.Categorical.from_codes(np.zeros(rows, int), ["bench.csv"]),
            "row": number + 2,
            "raw": [f"{value:.4f}" for value in values],
            "series": pd.Categorical.from_codes(number // PERIODS, names),
            "period": pd.Categorical.from_codes(number % PERIODS, days),
            "value": [f"{value:.4f}" for value in values],
            "unit": pd.Categorical.from_codes(np.zeros(rows, int), ["USD/kg"]),
            "source_id": pd.Categorical.from_codes(np.zeros(rows, int), ["BENCH"]),
            "confidence": pd.Categorical.from_codes(np.zeros(rows, int), ["medium"]),
        }
    )


def validated(rows: int, store: ObservationStore | None = None) -> Batch:
    """The batch as the ingest step makes it."""
    entry = {"title": "", "unit": "USD/kg", "frequency": "day", "kind": "price", "source": "bench"}
    catalog = {name: SeriesEntry(series=name, jump=3.0, **entry) for name in series_names(rows)}
    return validate(
        "bench",
        raw_rows(rows),
        series=catalog,
        source_ids={"BENCH"},
        now=NOW,
        stored=store.around if store else None,
    )


def measured(what: str, url: str, rows: int) -> dict[str, float]:
    """One measurement, in this process: seconds and peak memory in MB."""
    if what == "plain":
        table = validated(rows).table
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE IF EXISTS plain"))
        started = time.perf_counter()
        with engine.begin() as connection:
            table.assign(fetched_at=NOW).to_sql("plain", connection, index=False)
        return done(started)
    with open_database(url) as database:
        store = ObservationStore(database)
        if what == "history":
            return looked(store, rows)
        raw_rows(1)  # what is imported late is not to be measured
        started = time.perf_counter()
        batch = validated(rows, store)
        judged = time.perf_counter()
        run = store.keep("bench", batch.table, batch.rejected, fetched_at=NOW)
        wanted = run.new if what == "ingest" else run.unchanged
        if wanted != rows:
            message = f"{what}: {run}"
            raise SystemExit(message)
        return done(started) | {"validation": judged - started}


def done(started: float) -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.perf_counter() - started, "peak_mb": peak}


def looked(store: ObservationStore, rows: int) -> dict[str, float]:
    """The median time to read one series, another one at each look."""
    names = series_names(rows)
    times = []
    for number in range(LOOKS):
        started = time.perf_counter()
        found = store.history(names[number * 7 % (len(names) - 1)], NOW)
        times.append(time.perf_counter() - started)
        assert len(found) == PERIODS
    return {"seconds": statistics.median(times)}


@contextmanager
def postgres(url: str) -> Iterator[str]:
    if url:
        yield url
        return
    from tests.postgres import running_server

    with running_server() as server, server.empty_database() as url:
        yield url


def benchmark(url: str, rows: int) -> dict[str, float]:
    with open_database(url) as database:
        database.upgrade()

    def run(what: str) -> dict[str, float]:
        command = [sys.executable, __file__, "--measure", what, "--url", url, "--rows", str(rows)]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
        return dict(json.loads(answer.stdout))

    plain, first, again, history = (run(what) for what in ("plain", "ingest", "again", "history"))
    return {
        "plain_seconds": plain["seconds"],
        "ingest_seconds": first["seconds"],
        "of_it_validation_seconds": first["validation"],
        "again_seconds": again["seconds"],
        "ingest_to_plain": first["seconds"] / plain["seconds"],
        "again_to_ingest": again["seconds"] / first["seconds"],
        "peak_mb": max(first["peak_mb"], again["peak_mb"]),
        "plain_peak_mb": plain["peak_mb"],
        "history_ms": history["seconds"] * 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--postgres", default="", metavar="URL")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(options.measure, options.url, options.rows)))
        return
    figures = {}
    if options.only != "postgresql":
        with tempfile.TemporaryDirectory() as folder:
            figures["sqlite"] = benchmark(f"sqlite:///{folder}/bench.db", options.rows)
    if options.only != "sqlite":
        with postgres(options.postgres) as url:
            figures["postgresql"] = benchmark(url, options.rows)
    if options.json:
        print(json.dumps(figures))
        return
    print(
        f"{options.rows:,} observations, {len(series_names(options.rows))} series of {PERIODS} days"
    )
    for name, found in figures.items():
        print(f"\n{name}")
        for key, value in found.items():
            limit = TARGETS.get(key)
            word = "" if limit is None else "met" if value <= limit else "MISSED"
            asked = "" if limit is None else f"   at most {limit:g}: {word}"
            print(f"  {key:<26} {value:10.2f}{asked}")


if __name__ == "__main__":
    main()
