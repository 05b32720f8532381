"""Models judged on anyone's series: a long table in, one row a forecast and one summary out."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from forecasting.backtest import BacktestResult, backtest
from forecasting.metrics import is_inside
from forecasting.models import INCUMBENT, YARDSTICK, Model, models_named
from forecasting.results import MEDIAN, QUANTILE_LEVELS
from forecasting.selection import choose
from forecasting.series import CannotForecastError, Floats, History, from_grid

if TYPE_CHECKING:
    import pandas as pd

QUANTILE_COLUMNS = ("q025", "q10", "q25", "q50", "q75", "q90", "q975")
ROW_COLUMNS = ("unique_id", "cutoff", "model", "ds", "step", "y", *QUANTILE_COLUMNS)
_AT = {level: index for index, level in enumerate(QUANTILE_LEVELS)}


class PanelError(ValueError):
    """A table or a frequency that no backtest can start from; the text says what to change."""


def panel_backtest(
    frame: "pd.DataFrame",
    *,
    freq: str,
    horizon: int,
    step: int,
    min_train: int,
    models: Sequence[str | Model],
    stopwatch: Callable[[], float] = time.perf_counter,
) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Rolling-origin test of models on a panel with the columns unique_id, ds, y.

    Returns rows (one a series, cutoff, model and step) and a summary: `cutoffs`, `models` and
    `champion`, whose choice at each cutoff rests on outcomes known by then. `rel_*` are means over all
    series and cutoffs of errors in units of the series' mean change before the cutoff, divided by the
    Gaussian walk's. A series that can't be tested is named under `refused` and the others go on.
    """
    import pandas as pd

    missing = [column for column in ("unique_id", "ds", "y") if column not in frame.columns]
    if missing:
        message = f"the panel has no column {', '.join(missing)}; unique_id, ds and y are needed"
        raise PanelError(message)
    timed = [_Timed(model, stopwatch) for model in _models(models)]
    refused: dict[str, str] = {}
    tables: list[pd.DataFrame] = []
    results: list[tuple[BacktestResult, list[str]]] = []
    for series, group in frame.groupby("unique_id", sort=True):
        try:
            history = _history(str(series), group, freq)
            result = backtest(history, timed, horizon, step, min_train)
        except CannotForecastError as error:
            refused[str(series)] = error.reason
            continue
        if not result.origins:
            needed = f"{min_train + horizon} needed for one cutoff"
            refused[str(series)] = f"{len(history.periods)} periods, {needed}"
            continue
        tables.extend(_rows(result, model.name) for model in timed)
        results.append((result, [choose(result, result.known_at(n))[0] for n in result.origins]))
    summary: dict[str, Any] = {
        "cutoffs": sum(len(result.origins) for result, _ in results),
        "models": {
            model.name: {
                **_figures([(result, [model.name] * len(picks)) for result, picks in results]),
                "seconds": round(model.seconds, 3),
            }
            for model in timed
        },
        "champion": {
            **_figures(results),
            "seconds": round(sum(model.seconds for model in timed), 3),
            "share": _shares([picks[-1] for _, picks in results]),
        },
    }
    if refused:
        summary["refused"] = refused
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*ROW_COLUMNS])
    return rows, summary


@dataclass
class _Timed:
    """A model that counts its own seconds."""

    model: Model
    stopwatch: Callable[[], float]
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def title(self) -> str:
        return self.model.title

    @property
    def needs(self) -> Mapping[str, int]:
        return self.model.needs

    @property
    def is_calibrated(self) -> bool:
        return self.model.is_calibrated

    def fit_predict(
        self, log_values: Floats, periods: Sequence[date], frequency: str, horizon: int
    ) -> Floats:
        start = self.stopwatch()
        quantiles = self.model.fit_predict(log_values, periods, frequency, horizon)
        self.seconds += self.stopwatch() - start
        return quantiles


def _models(asked: Sequence[str | Model]) -> list[Model]:
    by_name: dict[str, Model] = {
        model.name: model for model in models_named((YARDSTICK, INCUMBENT))
    }
    for item in asked:
        model = models_named((item,))[0] if isinstance(item, str) else item
        by_name[model.name] = model
    return list(by_name.values())


def _history(series: str, group: "pd.DataFrame", freq: str) -> History:
    """One series on a regular grid: the last value of each period, holes left to the series layer."""
    import pandas as pd

    offset, frequency = _offset(freq)
    moments = pd.to_datetime(group["ds"], errors="coerce", utc=True).dt.tz_localize(None)
    values = pd.to_numeric(group["y"], errors="coerce")
    known = pd.Series(values.to_numpy(dtype=np.float64), index=pd.DatetimeIndex(moments)).dropna()
    known = known[known.index.notna()].sort_index(kind="stable")
    regular = known.resample(offset).last()
    return from_grid(
        series,
        [moment.date() for moment in pd.DatetimeIndex(regular.index)],
        regular.to_numpy(dtype=np.float64),
        frequency,
    )


def _offset(freq: str) -> tuple[str, str]:
    """The pandas name of a period and our word for it."""
    # pandas gave M and Y new names; people still write the old ones.
    alias = {"M": "MS", "Y": "YS", "A": "YS"}.get(freq.upper(), freq)
    word = {"Y": "year", "M": "month", "W": "week", "B": "day", "D": "day"}.get(alias[:1].upper())
    if word is None or alias[:1].isdigit():
        message = f"unknown period {freq!r}; D, B, W (W-FRI …), MS, ME, YS or YE expected"
        raise PanelError(message)
    return alias, word


def _rows(result: BacktestResult, model: str) -> "pd.DataFrame":
    import pandas as pd

    quantiles = result.quantiles[model]
    cutoffs, horizon, _ = quantiles.shape
    table = pd.DataFrame(
        {
            "unique_id": result.series,
            "cutoff": np.repeat([day.isoformat() for day in result.cutoffs], horizon),
            "model": model,
            "ds": [day.isoformat() for days in result.periods for day in days],
            "step": np.tile(np.arange(1, horizon + 1), cutoffs),
            "y": result.outcomes.ravel(),
        }
    )
    table[[*QUANTILE_COLUMNS]] = quantiles.reshape(-1, len(QUANTILE_COLUMNS))
    return table


def _figures(parts: Sequence[tuple[BacktestResult, Sequence[str]]]) -> dict[str, float | None]:
    """Figures of one model a cutoff, over all series: `parts` names the model for every cutoff."""
    sums = np.zeros(4)
    inside = np.zeros(2)
    count = 0
    for result, names in parts:
        quantiles = np.stack([result.quantiles[name][at] for at, name in enumerate(names)])
        known = ~np.isnan(quantiles[..., MEDIAN]) & ~np.isnan(result.outcomes)
        losses = [
            np.stack([measure(name)[at] for at, name in enumerate(names)])
            for measure in (result.crps, result.absolute_error)
        ]
        losses += [result.crps(YARDSTICK), result.absolute_error(YARDSTICK)]
        # A series that never moved before the cutoff has no unit to measure errors in.
        unit = np.where(result.change_scale > 0, result.change_scale, np.nan)[:, None]
        sums += [np.nansum(np.where(known, loss / unit, np.nan)) for loss in losses]
        for at, (low, high) in enumerate(((0.1, 0.9), (0.025, 0.975))):
            lower, upper = quantiles[..., _AT[low]], quantiles[..., _AT[high]]
            inside[at] += (is_inside(lower, upper, result.outcomes) & known).sum()
        count += int(known.sum())
    crps, error, walk_crps, walk_error = sums.tolist()
    return {
        "rel_mae": round(error / walk_error, 4) if walk_error > 0 else None,
        "rel_crps": round(crps / walk_crps, 4) if walk_crps > 0 else None,
        "coverage_80": round(float(inside[0]) / count, 4) if count else None,
        "coverage_95": round(float(inside[1]) / count, 4) if count else None,
    }


def _shares(picks: Sequence[str]) -> dict[str, float]:
    return {name: round(picks.count(name) / len(picks), 4) for name in sorted(set(picks))}
