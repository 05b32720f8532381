"""Balances of every bundled market under four scenarios, against the same sums as pandas frames.

python benchmarks/market.py [--paths 10000] [--months 60] [--json]

The bundled markets, factors, plants, licences and scenarios, on histories of the bundled snapshot that are
continued as random walks (a forecast's own time is benchmarks/nightly.py's matter). Checked, and exit code
1 when missed:

- 6 markets x 4 scenarios x 10,000 paths x 60 months: at most 10 s.
- one market of 40 components, one scenario: at most 1 s.
- memory of this process: at most 1 GB.
- linear: twice the paths, and twice the components, take at most 2.3 times as long.

The peer adds up the components of one market that are series as pandas frames of paths x months, with
percentiles, and without licences, stock, plants, closing, shares or drivers; the ratio is its time for that
over ours for everything.
"""

import argparse
import csv
import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from flows.catalog import REFERENCE, Catalog, load_catalog
from forecasting.market.balance import project_market
from forecasting.market.definitions import Market, Scenario, composed
from forecasting.market.evidence import Inputs
from forecasting.results import MarketProjection, SeriesForecast

KNOWN_AT = datetime(2026, 11, 20, tzinfo=UTC)
SCENARIOS = ("base", "licence-freeze", "quota-cut", "demand-surge")
KEPT, YEARS = 1000, 8
MOST_SECONDS, MOST_SECONDS_ONE, MOST_GB, MOST_GROWTH = 10.0, 1.0, 1.0, 2.3


def histories() -> dict[str, dict[date, float]]:
    """Yearly series of the bundled snapshot, newest edition of each year."""
    found: dict[str, dict[date, float]] = {}
    for path in sorted((REFERENCE / "snapshot").iterdir(), key=lambda one: one.name):
        if not path.name.endswith("_yearly.csv"):
            continue
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        for row in sorted(rows, key=lambda one: one["published_on"]):
            if row["published_on"] <= KNOWN_AT.date().isoformat():
                period = date(int(row["period"][:4]), 1, 1)
                found.setdefault(row["series"], {})[period] = float(row["value"])
    return found


def continued(series: str, unit: str, known: Mapping[date, float]) -> SeriesForecast:
    """A history that goes on as a random walk of 10 % a year."""
    cutoff = max(known)
    draw = np.random.default_rng([len(series), *map(ord, series[:12])])
    steps = np.cumsum(draw.normal(0.03, 0.1, (KEPT, YEARS)), axis=1)
    paths = known[cutoff] * np.exp(steps)
    levels = np.quantile(paths, (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975), axis=0).T
    return SeriesForecast(
        forecast_id=f"f-{series}",
        series=series,
        title=series,
        unit=unit,
        frequency="year",
        cutoff=cutoff,
        last_value=known[cutoff],
        history=tuple(sorted(known.items())),
        periods=tuple(date(cutoff.year + 1 + i, 1, 1) for i in range(YEARS)),
        quantiles=tuple(map(tuple, levels.tolist())),
        paths=tuple(map(tuple, paths.tolist())),
        model="random_walk",
        reason="",
        scores=(),
        observations=len(known),
        vintage=KNOWN_AT,
    )


def inputs_of(catalog: Catalog) -> Inputs:
    known = histories()
    needed = {name for market in catalog.markets.values() for name in market.series}
    return Inputs(
        forecasts={name: continued(name, catalog.units[name], known[name]) for name in needed},
        refusals={},
        exports={},
        factors=catalog.factors,
        units=catalog.units,
        known_at=KNOWN_AT,
        projects=catalog.projects,
        regimes=catalog.regimes,
    )


def seconds_of(
    markets: Sequence[Market],
    scenarios: Sequence[Scenario],
    inputs: Inputs,
    months: int,
    paths: int,
) -> tuple[float, list[MarketProjection]]:
    started = time.perf_counter()
    made = [
        one
        for market in markets
        for one in project_market(market, scenarios, inputs, months=months, paths=paths, seed=1)
    ]
    return time.perf_counter() - started, made


def wide(market: Market, components: int) -> Market:
    """A market of so many components: its own, again and again under other names."""
    own = [one for one in market.components if one.series]
    closing = [one for one in market.components if not one.series]
    more = [replace(own[i % len(own)], name=f"Line {i}") for i in range(components - len(closing))]
    return replace(market, components=(*closing, *more))


def pandas_seconds(market: Market, inputs: Inputs, months: int, paths: int) -> float:
    """The components of a market as frames of paths x months, added up, with mean and percentiles a month."""
    draw = np.random.default_rng(1)
    columns = pd.date_range("2026-12-01", periods=months, freq="MS")
    started = time.perf_counter()
    frames: dict[str, pd.DataFrame] = {}
    for component in market.components:
        if not component.series:
            continue
        forecast = inputs.forecasts[component.series]
        years = pd.DataFrame(
            np.asarray(forecast.paths)[draw.integers(0, KEPT, paths)],
            columns=pd.to_datetime(forecast.periods),
        )
        monthly = years.T.reindex(columns, method="ffill").T / 12
        for name in component.factors:
            factor = inputs.factors[name]
            drawn = (
                draw.triangular(factor.low, factor.central, factor.high, paths)
                if factor.low < factor.high
                else factor.central
            )
            monthly = monthly.mul(drawn, axis=0)
        frames[component.name] = monthly
    sides = {
        side: sum(
            (frames[c.name] for c in market.components if c.series and c.side == side),
            pd.DataFrame(0.0, index=range(paths), columns=columns),
        )
        for side in ("supply", "demand")
    }
    shortfall = (sides["demand"] - sides["supply"]).clip(lower=0)
    shortfall.mean()
    for frame in (*sides.values(), shortfall, shortfall / sides["demand"]):
        frame.quantile([0.1, 0.5, 0.9])
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paths", type=int, default=10_000, help="draws (default 10000)")
    parser.add_argument("--months", type=int, default=60, help="months (default 60)")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on stdout")
    options = parser.parse_args()
    catalog = load_catalog()
    inputs = inputs_of(catalog)
    markets = list(catalog.markets.values())
    scenarios = [composed(catalog.scenarios[name], catalog.scenarios) for name in SCENARIOS]
    size = (options.months, options.paths)

    seconds, made = seconds_of(markets, scenarios, inputs, *size)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    world = catalog.markets["world-ndfeb"]
    base = scenarios[:1]

    def best(market: Market, paths: int) -> float:
        return min(seconds_of([market], base, inputs, options.months, paths)[0] for _ in range(3))

    one = best(wide(world, 40), options.paths)
    figures = {
        "projections": len(made),
        "seconds": round(seconds, 2),
        "seconds_40_components": round(one, 2),
        "peak_gb": round(peak_gb, 2),
        "growth_paths": round(best(world, 2 * options.paths) / best(world, options.paths), 2),
        "growth_components": round(best(wide(world, 80), options.paths) / one, 2),
        "pandas_ratio": round(
            min(pandas_seconds(world, inputs, *size) for _ in range(3))
            / best(world, options.paths),
            2,
        ),
    }
    missed = [
        name
        for name, most in (
            ("seconds", MOST_SECONDS),
            ("seconds_40_components", MOST_SECONDS_ONE),
            ("peak_gb", MOST_GB),
            ("growth_paths", MOST_GROWTH),
            ("growth_components", MOST_GROWTH),
        )
        if figures[name] > most
    ]
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<24} {value}")
    for name in missed:
        print(f"missed: {name}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
