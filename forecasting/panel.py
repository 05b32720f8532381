"""Models judged on anyone's series: a long table in, one row a forecast and one summary out."""

import re
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from forecasting.backtest import (
    BacktestResult,
    evaluate,
    origins_of,
    roll,
    row_means,
    with_learning,
)
from forecasting.batch import unforeseen
from forecasting.events import EventResult, event_backtest
from forecasting.metrics import is_inside
from forecasting.models import INCUMBENT, REGISTRY, YARDSTICK, Model, models_named
from forecasting.results import MEDIAN, QUANTILE_LEVELS
from forecasting.selection import require_walks, speaker_at
from forecasting.series import (
    MIN_OBSERVATIONS,
    CannotForecastError,
    Floats,
    History,
    Track,
    from_grid,
)

if TYPE_CHECKING:
    import pandas as pd

QUANTILE_COLUMNS = ("q025", "q10", "q25", "q50", "q75", "q90", "q975")
ROW_COLUMNS = ("unique_id", "cutoff", "model", "ds", "step", "y", *QUANTILE_COLUMNS)
_DAYS = "SUN|MON|TUE|WED|THU|FRI|SAT"
_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_PERIODS = re.compile(f"[DBA]|W(-({_DAYS}))?|M[SE]?|Y|Y[SE](-({_MONTHS}))?")
_CHUNK = 4  # series that one process tests at a time
_AT = {level: index for index, level in enumerate(QUANTILE_LEVELS)}


class PanelError(ValueError):
    """A table or a frequency that no backtest can start from; the text says what to change."""


@dataclass(frozen=True)
class Tested:
    """One series of a panel: its past forecasts, who would have spoken at each cutoff, time by model."""

    series: str
    result: BacktestResult | None
    picks: tuple[str, ...]
    seconds: Mapping[str, float]
    refused: str = ""  # why there is no result
    trace: str = ""  # of a failure that nobody foresaw, for the log


Engine = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[tuple[int, Any]]]
"""Runs a function over chunks and gives each one's number with its result, in any order."""


def in_turn(function: Callable[[Any], Any], chunks: Sequence[Any]) -> Iterable[tuple[int, Any]]:
    """One chunk after the other, here."""
    return ((number, function(chunk)) for number, chunk in enumerate(chunks))


def panel_backtest(
    frame: "pd.DataFrame",
    *,
    freq: str,
    horizon: int,
    step: int,
    min_train: int,
    models: Sequence[str | Model],
    engine: Engine = in_turn,
    on_series: Callable[[Sequence[Tested]], None] = lambda _: None,
) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Rolling-origin test of models on a panel with the columns unique_id, ds, y.

    Returns rows (one a series, cutoff, model and step) and a summary: `cutoffs`, `models` and
    `champion`, whose choice at each cutoff rests on outcomes known by then. `rel_*` are means over all
    series and cutoffs of errors in units of the series' mean change before the cutoff, divided by the
    Gaussian walk's. A series that can't be tested is named under `refused` and the others go on.
    `on_series` hears of series as they are done.
    """
    import pandas as pd

    _require_columns(frame)
    _offset(freq)
    if frame.empty:
        message = "the panel has no rows"
        raise PanelError(message)
    if min_train < 2:
        message = f"min_train {min_train}: a forecast needs at least 2 periods"
        raise PanelError(message)
    competing = _models(models)
    groups = [(str(name), group) for name, group in frame.groupby("unique_id", sort=True)]
    job = partial(
        series_tested,
        freq=freq,
        horizon=horizon,
        step=step,
        min_train=min_train,
        models=tuple(competing),
    )
    chunks = [groups[at : at + _CHUNK] for at in range(0, len(groups), _CHUNK)]
    by_chunk: dict[int, list[Tested]] = {}
    for number, tested in engine(job, chunks):
        by_chunk[number] = tested
        on_series(tested)
    done = [one for number in sorted(by_chunk) for one in by_chunk[number]]
    refused = {one.series: one.refused for one in done if one.result is None}
    nameless = int(frame["unique_id"].isna().sum())
    if nameless:
        refused["(no unique_id)"] = f"{nameless} rows don't say which series they belong to"
    results = [(one.result, one.picks) for one in done if one.result is not None]
    tables = [_rows(result, model.name) for result, _ in results for model in competing]
    seconds = {
        model.name: round(sum(one.seconds.get(model.name, 0.0) for one in done), 3)
        for model in competing
    }
    failures = {
        f"{result.series}: {model}": why
        for result, _ in results
        for model, why in result.failures.items()
    }
    summary: dict[str, Any] = {
        "cutoffs": sum(len(result.origins) for result, _ in results),
        "models": {
            model.name: {
                **_figures([(result, [model.name] * len(picks)) for result, picks in results]),
                "seconds": seconds[model.name],
            }
            for model in competing
        },
        "champion": {
            **_figures(results),
            "seconds": round(sum(seconds.values()), 3),
            "share": _shares([picks[-1] for _, picks in results]),
        },
    }
    if refused:
        summary["refused"] = refused
    for model in competing:
        if results and summary["models"][model.name]["coverage_80"] is None:
            needs = ", ".join(f"{count} {word}s" for word, count in model.needs.items())
            failures.setdefault(model.name, f"spoke at no cutoff; it needs {needs}")
    if failures:
        summary["failed"] = failures
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*ROW_COLUMNS])
    return rows, summary


def series_tested(
    groups: Sequence[tuple[str, "pd.DataFrame"]],
    *,
    freq: str,
    horizon: int,
    step: int,
    min_train: int,
    models: Sequence[Model],
) -> list[Tested]:
    """A result, or why there is none, for each group of rows; made to be run in another process."""
    done = []
    for series, group in groups:
        timed = [_Timed(model) for model in models]
        try:
            history = panel_history(series, group, freq)
            result, picks = _tested(history, timed, horizon, step, min_train)
        except CannotForecastError as error:
            done.append(Tested(series, None, (), {}, error.reason))
            continue
        except Exception as error:  # noqa: BLE001 - told by name and by the log, and stops no other series
            done.append(Tested(series, None, (), {}, unforeseen(error), traceback.format_exc()))
            continue
        seconds = {model.name: model.seconds for model in timed}
        done.append(Tested(series, result, tuple(picks), seconds))
    return done


def _tested(
    history: History, models: Sequence[Model], horizon: int, step: int, min_train: int
) -> tuple[BacktestResult, list[str]]:
    """The scored cutoffs of a series, and who would have spoken at each with the evidence known there."""
    scored = origins_of(history, horizon=horizon, step=step, min_train=min_train)
    if not scored:
        needed = f"{min_train + horizon} needed for one cutoff"
        reason = f"{len(history.periods)} periods, {needed}"
        raise CannotForecastError(history.series, reason)
    origins = with_learning(history, scored, stride=max(1, horizon // 2), until=scored[-1])
    rolling = roll(history, models, origins, horizon)
    require_walks(rolling)
    # What happened between the scored cutoffs is evidence as well.
    evidence = evaluate(rolling, origins, horizon)
    picks = [speaker_at(evidence, history, seen) for seen in scored]
    return evidence.at(scored), picks


@dataclass
class _Timed:
    """A model that counts its own seconds; what several share counts for the first that asks."""

    model: Model
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

    def quantiles(self, track: Track, origins: Sequence[int], horizon: int) -> Floats:
        start = time.perf_counter()
        found = self.model.quantiles(track, origins, horizon)
        self.seconds += time.perf_counter() - start
        return found


def panel_events(
    frame: "pd.DataFrame",
    *,
    freq: str,
    horizon: int,
    step: int,
    min_train: int,
    rise: float,
    seed: int,
) -> tuple[EventResult, dict[str, str]]:
    """Probabilities of a rise of `rise` (0.25 is 25 %) within the horizon, at every cutoff of a panel.

    Returns the result and why series, or some of their cutoffs, were left out.
    """
    _require_columns(frame)
    refused: dict[str, str] = {}
    histories = []
    for series, group in frame.groupby("unique_id", sort=True):
        try:
            histories.append(panel_history(str(series), group, freq))
        except CannotForecastError as error:
            refused[str(series)] = error.reason
    result = event_backtest(
        histories, horizon=horizon, step=step, min_train=min_train, rise=rise, seed=seed
    )
    return result, {**refused, **result.left_out}


def _require_columns(frame: "pd.DataFrame") -> None:
    missing = [column for column in ("unique_id", "ds", "y") if column not in frame.columns]
    if missing:
        found = ", ".join(map(str, frame.columns))[:120]
        message = (
            f"the panel has no column {', '.join(missing)}; unique_id, ds and y are needed, "
            f"with commas between them; found: {found}"
        )
        raise PanelError(message)


def _models(asked: Sequence[str | Model]) -> list[Model]:
    by_name: dict[str, Model] = {
        model.name: model for model in models_named((YARDSTICK, INCUMBENT))
    }
    for item in asked:
        found = models_named((item,)) if isinstance(item, str) else (item,)
        if not isinstance(item, str) and REGISTRY.get(item.name, item) is not item:
            # Combinations share what a model of this name said: it would speak for the registered one.
            message = f"the name {item.name} belongs to a registered model"
            raise PanelError(message)
        by_name |= {model.name: model for model in found}
    return list(by_name.values())


def panel_history(series: str, group: "pd.DataFrame", freq: str) -> History:
    """One series on a regular grid: the last value of each period, holes left to the series layer.

    A date counts as it is written, whatever its time zone: a day's price belongs to that day. Raises
    CannotForecastError naming the first date or value that can't be read.
    """
    import pandas as pd

    offset, frequency = _offset(freq)
    moments = _dates(series, group["ds"])
    values = pd.to_numeric(group["y"], errors="coerce")
    _refuse_unread(series, "y", group["y"], values, "a number")
    index = pd.DatetimeIndex(moments)
    if offset == "B":
        # A weekend's quote is not known on Friday: it is the next business day's.
        days = index.to_numpy().astype("M8[D]")
        index = pd.DatetimeIndex(np.busday_offset(days, 0, roll="forward"))
    known = pd.Series(values.to_numpy(dtype=np.float64), index=index).dropna()
    regular = known.sort_index(kind="stable").resample(offset).last()
    if not len(regular):
        raise CannotForecastError(series, f"0 observations, {MIN_OBSERVATIONS[frequency]} needed")
    return from_grid(
        series,
        [moment.date() for moment in pd.DatetimeIndex(regular.index)],
        regular.to_numpy(dtype=np.float64),
        frequency,
    )


# The offset at the end of an instant: Z, +05:30, -0800; a date's own hyphens are not one.
_ZONE = r"(?<=\d\d:\d\d)(:\d\d(?:\.\d+)?)?\s*(?:Z|[+-]\d\d(?::?\d\d)?)$"


def _dates(series: str, column: "pd.Series[Any]") -> "pd.Series[pd.Timestamp]":
    import pandas as pd

    if isinstance(column.dtype, pd.DatetimeTZDtype):
        naive: pd.Series[pd.Timestamp] = column.dt.tz_localize(None)
        return naive
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    text = column.astype("string").str.strip().str.replace(_ZONE, r"\1", regex=True)
    moments = pd.to_datetime(text, errors="coerce", format="ISO8601")
    _refuse_unread(series, "ds", column, moments, "a date like 2025-06-30")
    if moments.isna().any():
        missing = int(moments.isna().sum())
        raise CannotForecastError(series, f"ds is empty in {missing} rows, a date is needed")
    return moments


def _refuse_unread(
    series: str, name: str, given: "pd.Series[Any]", read: "pd.Series[Any]", allowed: str
) -> None:
    unread = read.isna() & given.notna() & (given.astype("string").str.strip() != "")
    if unread.any():
        first = str(given[unread].iloc[0])
        at = given.index[unread][0]
        place = f" in row {int(at) + 1}" if isinstance(at, Integral) else ""
        more = f" and {int(unread.sum()) - 1} more" if unread.sum() > 1 else ""
        raise CannotForecastError(series, f"{name} {first[:40]!r}{place}{more} is not {allowed}")


def _offset(freq: str) -> tuple[str, str]:
    """The pandas name of a period and our word for it."""
    if not _PERIODS.fullmatch(freq.upper()):
        message = f"unknown period {freq!r}; D, B, W (W-FRI …), MS, ME, YS or YE expected"
        raise PanelError(message)
    # pandas gave M and Y new names; people still write the old ones.
    alias = {"M": "MS", "Y": "YS", "A": "YS"}.get(freq.upper(), freq.upper())
    word = {"Y": "year", "M": "month", "W": "week", "B": "day", "D": "day"}[alias[:1]]
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
        # Every cutoff weighs the same, however many of its outcomes are known.
        sums += [np.nansum(row_means(np.where(known, loss / unit, np.nan))) for loss in losses]
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
