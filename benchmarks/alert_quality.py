"""How good alerts are on panels of prices: the tables of docs/alert-quality.md, as Markdown.

python benchmarks/alert_quality.py --panel "World Bank months=worldbank.csv,MS,0.25,6" --panel …
python benchmarks/alert_quality.py --simulated 300 301 302

Panels come from `benchmarks/panels.py`; each is title=file,freq,rise,horizon. `--simulated` draws four panels
of twenty series and twenty years a seed: clustered volatility, momentum, regimes, a plain random walk;
with `--hard` two others: rare jumps, and prices that return to their mean.
"""

import argparse
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from alerts.rules import RuleOptions, Severity
from alerts.rules.limits import Limit
from alerts.rules.prices import PriceSpike
from alerts.scoring import Quality
from flows.replay.panel import (
    FALSE_TIME,
    OURS,
    SINGLE,
    WALK,
    Asked,
    Grid,
    read_grid,
    replay_panel,
)
from flows.replay.shapes import Shape, scored_limits
from flows.replay.tables import panel_histories

KINDS = ("volatility", "momentum", "regimes", "walk")
HARD = ("jumps", "reversion")  # nothing announces a jump; what falls back soon needs no second word
HEAD = (
    "| panel | rule | events | hit | false | a month | recall | precision | lead, days | skill | AUC "
    "| within series | posts |"
)
SHORT = "| panel | events | hysteresis | single_limit | random_walk |"
FIXED = "fixed, renewed"


def simulated(kind: str, seed: int, series: int = 20, months: int = 240) -> pd.DataFrame:
    """Monthly prices of one kind of market, above zero."""
    draw = np.random.default_rng([seed, (KINDS + HARD).index(kind)])
    days = pd.date_range("2000-01-01", periods=months, freq="MS")
    tables = []
    for number in range(series):
        shocks = draw.standard_t(5, months) / np.sqrt(5 / 3)
        size = draw.uniform(0.02, 0.09)
        moves = np.zeros(months)
        variance, momentum, is_wild, level = 1.0, 0.0, False, 0.0
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
            elif kind == "jumps":
                moves[at] = 0.3 * shock
                if draw.random() < 0.03:
                    moves[at] += draw.choice([-5.0, 5.0])
            elif kind == "reversion":
                moves[at] = 2 * shock - 0.15 * level
                level += moves[at]
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


def fixed_rule(grid: Grid, wanted: int) -> PriceSpike:
    """One limit for all of the time, as a file states it, with the gap and cooldown of the shipped rule.

    In hindsight: the limit whose false episodes come nearest to `wanted`.
    """
    gap = float(np.log(0.65 / 0.35))  # from an enter limit of 0.50 to an exit of 0.35
    shape = Shape(gap, cooldown_days=21.0, renew_periods=grid.truth.horizon)
    enters = np.unique(np.quantile(grid.chances[~np.isnan(grid.chances)], np.linspace(0, 1, 400)))
    _, false = scored_limits(shape, grid.days, grid.chances, grid.truth, enters)
    enter = enters[[int(np.argmin(np.abs(false - wanted)))]]
    limit = Limit(Severity.WARNING, float(enter[0]), float(shape.exits(enter)[0]))
    return PriceSpike(FIXED, (), (limit,), options=RuleOptions(cooldown=timedelta(days=21)))


def row(title: str, name: str, one: Quality, within: float | None) -> str:
    return (
        f"| {title} | {name} | {one.events} | {one.hits} | {one.false_episodes} "
        f"| {figure(one.false_per_month, 3)} | {share(one.recall, one.recall_interval)} "
        f"| {share(one.precision, one.precision_interval)} "
        f"| {figure(one.median_lead_days, 0)} | {figure(one.brier_skill, 3)} "
        f"| {figure(one.auc, 3)} | {figure(within, 3)} | {one.posts} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--panel", action="append", default=[], metavar="TITLE=CSV,FREQ,RISE,H")
    parser.add_argument("--simulated", type=int, nargs="*", default=[], metavar="SEED")
    parser.add_argument(
        "--hard", action="store_true", help="simulate jumps and returns to the mean instead"
    )
    parser.add_argument("--placebo", type=int, metavar="SEED")
    parser.add_argument("--false-time", type=float, default=FALSE_TIME)
    parser.add_argument(
        "--short", action="store_true", help="one line a panel: hits / false alarms"
    )
    parser.add_argument("--fixed", action="store_true", help="also one fixed limit, in hindsight")
    options = parser.parse_args()
    panels = []
    for text in options.panel:
        title, rest = text.split("=", 1)
        path, freq, rise, horizon = rest.split(",")
        panels.append((title, pd.read_csv(Path(path)), freq, float(rise), int(horizon)))
    for seed in options.simulated:
        kinds = HARD if options.hard else KINDS
        panels += [(f"{kind}, seed {seed}", simulated(kind, seed), "MS", 0.25, 6) for kind in kinds]
    head = HEAD
    if options.short:
        head = SHORT + (f" {FIXED} |" if options.fixed else "")
    print(head)
    named = 1 if options.short else 2  # columns of words, then numbers
    print("|" + " --- |" * named + " ---: |" * (head.count("|") - 1 - named))
    kept = short_of_false = 0
    totals: dict[str, list[int]] = {}
    for title, frame, freq, rise, horizon in panels:
        histories, left_out = panel_histories(frame, freq)
        asked = Asked(
            freq, rise, horizon, seed=1, placebo=options.placebo, false_time=options.false_time
        )
        found = replay_panel(histories, asked, left_out=left_out)
        rules = dict(found.rules)
        within = found.extra["auc_by_series"]
        ours = rules[OURS]
        kept += ours.hits >= max(rules[SINGLE].hits, rules[WALK].hits)
        short_of_false += found.extra["limits"][WALK]["false_alarms_at_most"] < ours.false_episodes
        if options.fixed:
            rule = fixed_rule(read_grid(histories, asked), ours.false_episodes)
            rules[FIXED] = replay_panel(histories, replace(asked, rules=(rule,))).rules[FIXED]
            within = {**within, FIXED: within[OURS]}
        for name, one in rules.items():
            hits, false = totals.setdefault(name, [0, 0])
            totals[name] = [hits + one.hits, false + one.false_episodes]
        if options.short:
            told = " | ".join(f"{one.hits} / {one.false_episodes}" for one in rules.values())
            print(f"| {title} | {ours.events} | {told} |", flush=True)
        else:
            for name, one in rules.items():
                print(row(title, name, one, within[name]), flush=True)
    hits = ", ".join(f"{name} {hit} / {false}" for name, (hit, false) in totals.items())
    print(
        f"\nAt least as many hits as both plain rules on {kept} of {len(panels)} panels; "
        f"hits / false alarms of all: {hits}. No limit gives {WALK} as many false alarms as {OURS} "
        f"on {short_of_false} of {len(panels)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
