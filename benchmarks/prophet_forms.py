"""Stock Prophet, our anchored Prophet and the random walks, side by side on any panel.

python benchmarks/prophet_forms.py [PANEL.csv] [--freq MS --horizon 6 --step 12 --min-train 96] [--series 10]

PANEL.csv is long: unique_id,ds,y; without one, the monthly prices of the bundled snapshot. Printed per model: rel_crps (mean CRPS over the Gaussian random
walk's, on logarithms for positive series; below 1 is better), rel_mae, and the share of outcomes
inside the 80 % and the 95 % interval.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from forecasting.models.prophet_model import StockProphet
from forecasting.panel import PanelError, panel_backtest

MODELS = ("gaussian_walk", "random_walk", "prophet", StockProphet())


SNAPSHOT = Path(__file__).parents[1] / "flows" / "reference" / "snapshot" / "prices_monthly.csv"


def bundled_prices() -> pd.DataFrame:
    """The snapshot's monthly prices as a panel."""
    prices = pd.read_csv(SNAPSHOT).rename(
        columns={"series": "unique_id", "period": "ds", "value": "y"}
    )
    return prices[["unique_id", "ds", "y"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("panel", type=Path, nargs="?", help="CSV with the columns unique_id,ds,y")
    parser.add_argument("--freq", default="MS", help="pandas period: D, B, W, MS, YS (default MS)")
    parser.add_argument("--horizon", type=int, default=6, help="periods ahead (default 6)")
    parser.add_argument("--step", type=int, default=12, help="periods between cutoffs (default 12)")
    parser.add_argument("--min-train", type=int, default=96, help="periods before the first cutoff")
    parser.add_argument("--series", type=int, help="only so many series, evenly picked")
    options = parser.parse_args()
    frame = pd.read_csv(options.panel) if options.panel else bundled_prices()
    if options.series and "unique_id" in frame:
        names = sorted(frame["unique_id"].unique())
        frame = frame[frame["unique_id"].isin(names[:: max(1, len(names) // options.series)])]
    try:
        rows, summary = panel_backtest(
            frame,
            freq=options.freq,
            horizon=options.horizon,
            step=options.step,
            min_train=options.min_train,
            models=MODELS,
        )
    except PanelError as error:
        parser.error(str(error))
    print(f"{rows['unique_id'].nunique()} series, {summary['cutoffs']} cutoffs\n")
    print(
        f"{'model':<16}{'rel_crps':>10}{'rel_mae':>10}{'cover 80':>10}{'cover 95':>10}{'seconds':>10}"
    )
    for name, figures in summary["models"].items():
        values = [figures[key] for key in ("rel_crps", "rel_mae", "coverage_80", "coverage_95")]
        cells = "".join(f"{'–' if value is None else f'{value:.3f}':>10}" for value in values)
        print(f"{name:<16}{cells}{figures['seconds']:>10.1f}")
    for series, reason in summary.get("refused", {}).items():
        print(f"left out: {series}: {reason}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
