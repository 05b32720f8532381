"""Our posterior mode against stock Prophet's: seconds of a fit, objective reached, forecast made.

python benchmarks/prophet_map.py [--series 24] [--json]

Both sides run `Prophet.fit` with the same defaults on the same simulated series, one after the other
in one process, and then forecast the horizon only. `backend alone` is Prophet itself with nothing but
its Stan backend replaced; `ours` is our subclass, which also spares Prophet's preparation.

Stan stops early on this objective, whose slopes have kinks. So its forecasts are compared where it has
arrived (within 1e-4 of our objective): as it stopped, and for weeks and months also after Stan's own
Newton steps from there, which are too slow for days. Exit status 1 when a target is missed.
"""

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

# This one first: it silences Prophet's complaints, which begin when it is imported.
from forecasting.models.prophet_backend import FastProphet, MapBackend

from prophet import Prophet  # isort: skip

PANELS = {
    # name: pandas period, rows, horizon, how many times faster a fit has to be, whether Stan is refined
    "business days, 10 years": ("B", 2600, 22, 40.0, False),
    "weeks, 10 years": ("W-SUN", 520, 13, 20.0, True),
    "months, 15 years": ("MS", 180, 12, 10.0, True),
}
CONVERGED = 1e-4  # objective above ours, as a share, up to which Stan counts as having arrived
WORST_OBJECTIVE = 1e-3
WORST_FORECAST = 0.01  # of the series' range
REPEATS = 3


def simulated(freq: str, rows: int, seed: int) -> pd.DataFrame:
    """Every other series smooth with breaks, the rest random walks; season and noise on all."""
    draw = np.random.default_rng(seed)
    dates = pd.date_range("2010-01-03", periods=rows, freq=freq)
    t = np.linspace(0, 1, rows)
    season = draw.uniform(0.2, 1.0) * np.sin(2 * np.pi * (dates.dayofyear / 365.25 + draw.random()))
    if seed % 2:
        level = np.cumsum(draw.normal(0, 6 / np.sqrt(rows), rows))
    else:
        level = draw.normal(0, 4) * t
        for at in draw.uniform(0.1, 0.8, 3):
            level = level + draw.normal(0, 8) * np.maximum(t - at, 0)
    values = 12 + level + season + draw.normal(0, draw.uniform(0.1, 0.4), rows)
    return pd.DataFrame({"ds": dates, "y": np.asarray(values)})


def with_our_backend() -> Prophet:
    model = Prophet(uncertainty_samples=0)
    model.stan_backend = MapBackend()
    return model


def timed_fit(make, frame):
    start = time.perf_counter()
    model = make().fit(frame)
    return time.perf_counter() - start, model


def objective_of(model) -> float:
    return -model.params["lp__"].item()


def refined(stock, frame):
    """Stan again, with its slow Newton steps, from where its quick ones stopped."""
    init = {name: stock.params[name][0] for name in ("delta", "beta")}
    init |= {name: stock.params[name].item() for name in ("k", "m", "sigma_obs")}
    again = Prophet(uncertainty_samples=0).fit(frame, algorithm="Newton", init=init)
    return min((stock, again), key=objective_of)


def compared(frame: pd.DataFrame, freq: str, horizon: int, is_refined: bool) -> dict[str, float]:
    """Figures of one series; each side's time is the best of three, taken in turn."""
    fits = {
        "stock": lambda: Prophet(uncertainty_samples=0),
        "alone": with_our_backend,
        "ours": lambda: FastProphet(uncertainty_samples=0),
    }
    best_of = dict.fromkeys(fits, math.inf)
    models = {}
    for _ in range(REPEATS):
        for name, make in fits.items():
            taken, models[name] = timed_fit(make, frame)
            best_of[name] = min(best_of[name], taken)
    stock, ours = models["stock"], models["ours"]
    future = stock.make_future_dataframe(horizon, freq=freq, include_history=False)
    seconds = {}
    for name, model in (("stock", stock), ("ours", ours)):
        start = time.perf_counter()
        model.predict(future)
        seconds[name] = time.perf_counter() - start
    settled = refined(stock, frame) if is_refined else stock
    best = objective_of(ours)
    whole = pd.concat([frame[["ds"]], future])
    size = np.ptp(frame["y"].to_numpy())
    mine = ours.predict(whole)["yhat"].to_numpy()

    def gap(model) -> float:
        return float(np.abs(model.predict(whole)["yhat"].to_numpy() - mine).max() / size)

    return {
        "stock_s": best_of["stock"],
        "alone_s": best_of["alone"],
        "ours_s": best_of["ours"],
        "stock_predict_s": seconds["stock"],
        "ours_predict_s": seconds["ours"],
        "objective": (best - objective_of(stock)) / abs(objective_of(stock)),
        "objective_refined": (best - objective_of(settled)) / abs(objective_of(settled)),
        "yhat": gap(stock),
        "yhat_refined": gap(settled),
    }


def summary(rows: list[dict[str, float]], target: float) -> dict[str, float | int | bool | None]:
    """Medians and worst cases of one panel, and whether its targets are met."""

    def values(name: str) -> list[float]:
        return [row[name] for row in rows]

    def near(yhat: str, objective: str) -> list[float]:
        return [row[yhat] for row in rows if abs(row[objective]) <= CONVERGED]

    ratios = [row["stock_s"] / row["ours_s"] for row in rows]
    alone = [row["stock_s"] / row["alone_s"] for row in rows]
    arrived = near("yhat", "objective")
    settled = near("yhat_refined", "objective_refined")
    figures: dict[str, float | int | bool | None] = {
        "series": len(rows),
        "stock_fit_ms": 1e3 * statistics.median(values("stock_s")),
        "backend_alone_fit_ms": 1e3 * statistics.median(values("alone_s")),
        "ours_fit_ms": 1e3 * statistics.median(values("ours_s")),
        "times_faster": statistics.median(ratios),
        "times_faster_worst": min(ratios),
        "times_faster_backend_alone": statistics.median(alone),
        "stock_predict_ms": 1e3 * statistics.median(values("stock_predict_s")),
        "ours_predict_ms": 1e3 * statistics.median(values("ours_predict_s")),
        "objective_worst": max(values("objective")),
        "objective_median": statistics.median(values("objective")),
        "objective_worst_refined": max(values("objective_refined")),
        "yhat_all_median": statistics.median(values("yhat")),
        "yhat_all_worst": max(values("yhat")),
        "converged": len(arrived),
        "yhat_converged_worst": max(arrived, default=None),
        "converged_refined": len(settled),
        "yhat_converged_refined_median": statistics.median(settled) if settled else None,
        "yhat_converged_refined_worst": max(settled, default=None),
    }
    forecasts = [*arrived, *settled]
    figures["is_met"] = (
        statistics.median(ratios) >= target
        and max(values("objective") + values("objective_refined")) <= WORST_OBJECTIVE
        and bool(forecasts)
        and max(forecasts) <= WORST_FORECAST
    )
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=24, help="series a panel (default 24)")
    parser.add_argument("--json", action="store_true", help="print figures as JSON only")
    options = parser.parse_args()
    # What is loaded once is no part of a fit.
    for make in (lambda: Prophet(uncertainty_samples=0), with_our_backend, FastProphet):
        make().fit(simulated("MS", 60, 0))
    results = {}
    for name, (freq, rows, horizon, target, is_refined) in PANELS.items():
        measured = [
            compared(simulated(freq, rows, seed), freq, horizon, is_refined)
            for seed in range(options.series)
        ]
        results[name] = {"target": target, **summary(measured, target)}
        if not options.json:
            print(f"{name}: {'met' if results[name]['is_met'] else 'MISSED'}")
            for key, value in results[name].items():
                print(
                    f"  {key:<34}{value:.3g}" if isinstance(value, float) else f"  {key:<34}{value}"
                )
    if options.json:
        print(json.dumps(results, indent=2))
    return 0 if all(result["is_met"] for result in results.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
