"""A night's work on many series through batch and engine, against stock Prophet fitting and predicting each once.

python benchmarks/nightly.py [--monthly 1000 --daily 200] [--full] [--dask] [--json]

Forecast, calibration and selection (every model at past cutoffs of every series) of simulated monthly
series of 15 years, 12 months ahead, and business-daily ones of 10 years, 60 days ahead, with the
service's own models and settings. Checked, and exit code 1 when missed:

- stock Prophet's time divided by ours: at least 15. Stock is timed on a sample, which is scaled up and
  said so, or on every series with --full. A plain loop in one process fits, and predicts the past and
  the horizon as Prophet's quick start does; the ratio with the horizon alone is shown as well.
- twice as many monthly series take at most 2.2 times as long.
- memory of this process and all its children together, sampled: at most 2 GB. Pages that processes
  share are counted once for each, so the figure is an upper bound.
- with --dask: a local Dask cluster under Prefect gives the same forecasts to the last digit.
"""

import argparse
import hashlib
import json
import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from flows.engines import Engine, local_engine
from flows.settings import Settings, load_settings
from forecasting.batch import ForecastOptions, chunked
from forecasting.results import SeriesForecast
from forecasting.selection import forecast_history
from forecasting.series import History, from_grid

MONTHS, DAYS = 15 * 12, 10 * 261
AHEAD = {"month": 12, "day": 60}
SAMPLE = {"month": 40, "day": 10}
LEAST_RATIO, MOST_GROWTH, MOST_GB = 15.0, 2.2, 2.0


# --- what is forecast ----------------------------------------------------------------


def simulated(kind: str, number: int) -> History:
    """A price: drifting steps whose size comes and goes, with a weak season; each number its own."""
    draw = np.random.default_rng([number, kind == "day"])
    count, a_year, size = (MONTHS, 12, 0.05) if kind == "month" else (DAYS, 261, 0.012)
    volatility = np.exp(0.4 * np.cumsum(draw.normal(0, 1, count)) / np.sqrt(count))
    steps = draw.normal(0.2 / count, 1, count) * size * volatility
    season = 0.03 * np.sin(2 * np.pi * (np.arange(count) / a_year + draw.random()))
    values = 100 * np.exp(np.cumsum(steps) + season)
    if kind == "month":
        days = pd.date_range("2010-01-01", periods=count, freq="MS")
    else:
        days = pd.bdate_range("2015-01-01", periods=count)
    periods: tuple[date, ...] = tuple(day.date() for day in days)
    return from_grid(f"{kind}_{number}", periods, values, kind)


def histories_of(monthly: int, daily: int) -> list[History]:
    return [simulated("month", number) for number in range(monthly)] + [
        simulated("day", number) for number in range(daily)
    ]


# --- ours ----------------------------------------------------------------------------


def forecast_all(histories: Sequence[History], options: ForecastOptions) -> list[SeriesForecast]:
    """A chunk's work. The service reduces daily series to months first; here they stay daily."""
    return [
        forecast_history(
            history,
            horizon=AHEAD[history.frequency],
            model_names=options.model_names,
            n_paths=options.n_paths,
            seed=options.seed,
        )
        for history in histories
    ]


def fingerprint(forecast: SeriesForecast) -> str:
    """Equal for forecasts that are equal to the last digit."""
    digest = hashlib.sha256(f"{forecast.forecast_id} {forecast.model}".encode())
    for numbers in (forecast.quantiles, forecast.paths):
        digest.update(np.asarray(numbers).tobytes())
    return digest.hexdigest()


def night(
    histories: Sequence[History], settings: Settings, engine: Engine | None = None
) -> tuple[float, dict[str, str]]:
    """Seconds with everything from the start of the engine on, and the fingerprint of each forecast."""
    started = time.perf_counter()
    options = ForecastOptions(settings.models, settings.paths, settings.seed)
    chunks = chunked(histories, lambda history: float(len(history.periods)), settings.lanes)
    run = engine or local_engine(len(histories), settings.lanes)
    found = {}
    for _, forecasts in run(partial(forecast_all, options=options), chunks):
        found.update({one.series: fingerprint(one) for one in forecasts})
    return time.perf_counter() - started, found


def night_on_dask(monthly: int, daily: int, settings: Settings) -> dict[str, str]:
    """Fingerprints of the forecasts that a local Dask cluster makes as tasks of a Prefect run."""
    from prefect import flow
    from prefect.testing.utilities import prefect_test_harness

    from flows.pipeline import on_dask

    @flow
    def nightly() -> dict[str, str]:
        # Made in here: what a flow closes over travels with each of its tasks.
        return night(histories_of(monthly, daily), settings, partial(on_dask, settings))[1]

    with prefect_test_harness(server_startup_timeout=180):
        return nightly()


# --- stock Prophet -------------------------------------------------------------------


def stock_seconds(histories: Sequence[History], horizon: int, freq: str) -> tuple[float, float]:
    """Time of a plain loop that fits and forecasts the horizon, and what the fitted past would add."""
    import cmdstanpy  # noqa: F401 - sets its log up when it is loaded
    from prophet import Prophet

    logging.getLogger("cmdstanpy").disabled = True
    logging.getLogger("prophet").setLevel(logging.ERROR)
    seconds, past_seconds = 0.0, 0.0
    for history in histories:
        frame = pd.DataFrame({"ds": pd.to_datetime(history.periods), "y": list(history.values)})
        started = time.perf_counter()
        model = Prophet()
        model.fit(frame)
        ahead = model.make_future_dataframe(periods=horizon, freq=freq, include_history=False)
        model.predict(ahead)
        seconds += time.perf_counter() - started
        started = time.perf_counter()
        model.predict(frame)
        past_seconds += time.perf_counter() - started
    return seconds, past_seconds


# --- memory --------------------------------------------------------------------------


@contextmanager
def memory_peak() -> Iterator[list[float]]:
    """Yields a list whose one entry becomes the most gigabytes that this process tree held."""
    peak, is_over, me = [0.0], threading.Event(), psutil.Process()

    def look() -> None:
        while not is_over.wait(0.2):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:  # ended between the two lines
                    continue
            peak[0] = max(peak[0], total / 1e9)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        is_over.set()
        watcher.join()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--monthly", type=int, default=1000, help="monthly series (default 1000)")
    parser.add_argument("--daily", type=int, default=200, help="business-daily series (200)")
    parser.add_argument("--full", action="store_true", help="stock Prophet on every series")
    parser.add_argument("--dask", action="store_true", help="the same on a local Dask cluster")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on stdout")
    options = parser.parse_args()
    with TemporaryDirectory() as home:
        settings = load_settings({}, Path(home) / "none.toml")

    histories = histories_of(options.monthly, options.daily)
    with memory_peak() as peak:
        seconds, found = night(histories, settings)
        monthly_seconds, _ = night(histories_of(options.monthly, 0), settings)
        doubled_seconds, _ = night(histories_of(2 * options.monthly, 0), settings)

    stock = stock_past = 0.0
    sampled = {}
    for kind, count, freq in (("month", options.monthly, "MS"), ("day", options.daily, "B")):
        size = count if options.full else min(count, SAMPLE[kind])
        sampled[kind] = size
        if size:
            some = [simulated(kind, number) for number in range(size)]
            ahead, past = stock_seconds(some, AHEAD[kind], freq)
            stock += ahead * count / size
            stock_past += past * count / size

    figures: dict[str, object] = {
        "series": {"month": options.monthly, "day": options.daily},
        "models": list(settings.models),
        "processes": settings.lanes,
        "seconds": round(seconds, 1),
        "stock_seconds": round(stock, 1),
        "stock_measured_on": sampled,
        "stock_is_scaled": sampled != {"month": options.monthly, "day": options.daily},
        "stock_past_seconds": round(stock_past, 1),
        "ratio": round((stock + stock_past) / seconds, 2),
        "ratio_horizon_only": round(stock / seconds, 2),
        "growth": round(doubled_seconds / monthly_seconds, 3),
        "peak_gb": round(peak[0], 2),
    }
    missed = [
        name
        for name, is_met in (
            (
                f"ratio of at least {LEAST_RATIO:g}",
                (stock + stock_past) / seconds >= LEAST_RATIO,
            ),
            (
                f"growth of at most {MOST_GROWTH:g}",
                doubled_seconds <= MOST_GROWTH * monthly_seconds,
            ),
            (f"memory of at most {MOST_GB:g} GB", peak[0] <= MOST_GB),
        )
        if not is_met
    ]
    if options.dask:
        figures["dask_is_equal"] = night_on_dask(options.monthly, options.daily, settings) == found
        missed += [] if figures["dask_is_equal"] else ["equal numbers on Dask"]
    figures["missed"] = missed

    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        how = "scaled up from a sample of" if figures["stock_is_scaled"] else "measured on all of"
        print(
            f"{options.monthly} monthly and {options.daily} daily series, {settings.lanes} processes"
        )
        print(f"ours           {seconds:8.1f} s, {', '.join(settings.models)}")
        print(f"stock Prophet  {stock:8.1f} s, {how} {sampled['month']} and {sampled['day']}")
        print(f"               {stock_past:8.1f} s more to predict the past as well, as it is used")
        print(f"ratio          {(stock + stock_past) / seconds:8.1f}   (at least {LEAST_RATIO:g})")
        print(f"               {stock / seconds:8.1f}   if stock predicted the horizon only")
        print(
            f"twice as many  {doubled_seconds / monthly_seconds:8.2f}   times as long (at most {MOST_GROWTH:g})"
        )
        print(f"peak memory    {peak[0]:8.2f} GB (at most {MOST_GB:g})")
        if options.dask:
            print(f"Dask           {'equal' if figures['dask_is_equal'] else 'DIFFERENT'} numbers")
        print(f"missed: {', '.join(missed)}" if missed else "all met")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
