"""How good alerts are on panels of prices: the table of docs/alert-quality.md, as Markdown.

python benchmarks/alert_quality.py --panel "World Bank months=worldbank.csv,MS,0.25,6" --panel …
python benchmarks/alert_quality.py --simulated 200 201 202

Panels come from `benchmarks/panels.py`; each is title=file,freq,rise,horizon. `--simulated` draws four panels
of twenty series and twenty years a seed: clustered volatility, momentum, regimes, a plain random walk.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from flows.replay.panel import Asked, replay_panel
from flows.replay.tables import panel_histories

KINDS = ("volatility", "momentum", "regimes", "walk")
HEAD = "| panel | rule | events | hit | false | a month | recall | precision | lead, days | skill | AUC | posts |"


def simulated(kind: str, seed: int, series: int = 20, months: int = 240) -> pd.DataFrame:
    """Monthly prices of one kind of market, above zero."""
    draw = np.random.default_rng([seed, KINDS.index(kind)])
    days = pd.date_range("2000-01-01", periods=months, freq="MS")
    tables = []
    for number in range(series):
        shocks = draw.standard_t(5, months) / np.sqrt(5 / 3)
        size = draw.uniform(0.02, 0.09)
        moves = np.zeros(months)
        variance, momentum, is_wild = 1.0, 0.0, False
        for at, shock in enumerate(shocks):
            if kind == "volatility":
                moves[at] = np.sqrt(variance) * shock
                variance = 0.1 + 0.8 * variance + 0.1 * moves[at] ** 2
            elif kind == "momentum":
                momentum = 0.6 * momentum + 0.8 * shock
                moves[at] = momentum
            elif kind == "regimes":
                is_wild ^= draw.random() < (0.12 if is_wild else 0.03)
                moves[at] = 1.6 * shock + 0.5 if is_wild else 0.5 * shock
            else:
                moves[at] = shock
        values = 100 * np.exp(np.cumsum(size * moves))
        tables.append(pd.DataFrame({"unique_id": f"{kind}{number}", "ds": days, "y": values}))
    table = pd.concat(tables)
    return table.assign(ds=table["ds"].dt.strftime("%Y-%m-%d"))


def share(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or interval is None:
        return "–"
    return f"{100 * value:.0f} % ({100 * interval[0]:.0f}–{100 * interval[1]:.0f})"


def figure(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--panel", action="append", default=[], metavar="TITLE=CSV,FREQ,RISE,H")
    parser.add_argument("--simulated", type=int, nargs="*", default=[], metavar="SEED")
    parser.add_argument("--placebo", type=int, metavar="SEED")
    parser.add_argument("--false-time", type=float, default=0.10)
    options = parser.parse_args()
    panels = []
    for text in options.panel:
        title, rest = text.split("=", 1)
        path, freq, rise, horizon = rest.split(",")
        panels.append((title, pd.read_csv(Path(path)), freq, float(rise), int(horizon)))
    for seed in options.simulated:
        panels += [
            (f"simulated {kind}, seed {seed}", simulated(kind, seed), "MS", 0.25, 6)
            for kind in KINDS
        ]
    print(HEAD)
    print("| --- | --- |" + " ---: |" * 10)
    kept = 0
    totals: dict[str, int] = {}
    for title, frame, freq, rise, horizon in panels:
        histories, left_out = panel_histories(frame, freq)
        asked = Asked(
            freq, rise, horizon, seed=1, placebo=options.placebo, false_time=options.false_time
        )
        found = replay_panel(histories, asked, left_out=left_out)
        for name, one in found.rules.items():
            totals[name] = totals.get(name, 0) + one.hits
            print(
                f"| {title} | {name} | {one.events} | {one.hits} | {one.false_episodes} "
                f"| {figure(one.false_per_month, 3)} | {share(one.recall, one.recall_interval)} "
                f"| {share(one.precision, one.precision_interval)} "
                f"| {figure(one.median_lead_days, 0)} | {figure(one.brier_skill, 3)} "
                f"| {figure(one.auc, 3)} | {one.posts} |",
                flush=True,
            )
        ours, *others = (one.hits for one in found.rules.values())
        kept += ours >= max(others)
    hits = ", ".join(f"{name} {count}" for name, count in totals.items())
    print(
        f"\nAt least as many hits as both plain rules on {kept} of {len(panels)} panels; hits: {hits}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
