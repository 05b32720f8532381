"""Measures of a forecast against what happened; each is one function, equal to an obvious loop."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.results import QUANTILE_LEVELS
from forecasting.series import Flags, Floats

_INTERVALS = {50: (0.25, 0.75), 80: (0.1, 0.9), 95: (0.025, 0.975)}


def pinball(
    quantiles: Floats, outcomes: Floats, levels: Sequence[float] = QUANTILE_LEVELS
) -> Floats:
    """Pinball loss of every quantile; `quantiles` is (..., level), `outcomes` is (...)."""
    miss = outcomes[..., None] - quantiles
    level = np.asarray(levels, dtype=np.float64)
    loss: Floats = np.maximum(level * miss, (level - 1) * miss)
    return loss


def crps_from_quantiles(
    quantiles: Floats, outcomes: Floats, levels: Sequence[float] = QUANTILE_LEVELS
) -> Floats:
    """Twice the mean pinball loss over the levels, one number an outcome: zero is a perfect forecast."""
    return np.asarray(2 * pinball(quantiles, outcomes, levels).mean(axis=-1), dtype=np.float64)


def is_inside(lower: Floats, upper: Floats, outcomes: Floats) -> Flags:
    """Which outcomes lie in [lower, upper], both ends included; unknown (NaN) ones lie nowhere.

    A price that did not move meets an interval without width: rounding must not count as a miss.
    """
    slack = 1e-9 * np.abs(outcomes)
    inside: Flags = (outcomes >= lower - slack) & (outcomes <= upper + slack)
    return inside


def coverage(lower: Floats, upper: Floats, outcomes: Floats) -> float:
    """Share of outcomes inside [lower, upper], both ends included; unknown (NaN) outcomes don't count."""
    known = ~np.isnan(outcomes)
    return float(is_inside(lower, upper, outcomes)[known].mean())


def mae(forecasts: Floats, outcomes: Floats) -> float:
    """Mean absolute error in the unit of the outcomes; unknown (NaN) outcomes don't count."""
    return float(np.nanmean(np.abs(forecasts - outcomes)))


def bias(forecasts: Floats, outcomes: Floats) -> float:
    """Mean error, forecast minus outcome: positive means we forecast too much; NaN outcomes don't count."""
    return float(np.nanmean(forecasts - outcomes))


def mase(medians: Floats, outcomes: Floats, change_scale: Floats) -> Floats:
    """Mean absolute scaled error of every step; below 1 is less than one period's usual change.

    `medians` and `outcomes` are (cutoff, step), in logs for prices; `change_scale` is (cutoff,), the mean
    absolute one-period change of the training part. NaN outcomes don't count, nor do cutoffs whose
    training part never moved: there is no unit to measure them in. NaN where nothing counts.
    """
    unit = np.where(change_scale > 0, change_scale, np.nan)[:, None]
    scaled = np.abs(medians - outcomes) / unit
    counted = (~np.isnan(outcomes) & ~np.isnan(unit)).sum(axis=0)
    total = np.where(np.isnan(outcomes) | np.isnan(unit), 0.0, scaled).sum(axis=0)
    return np.where(counted > 0, total / np.maximum(counted, 1), np.nan)


def interval_coverage(quantiles: Floats, outcomes: Floats) -> dict[int, float]:
    """Share of outcomes inside the central 50, 80 and 95 % intervals; `quantiles` is (..., level)."""
    at = {level: index for index, level in enumerate(QUANTILE_LEVELS)}
    return {
        percent: coverage(quantiles[..., at[low]], quantiles[..., at[high]], outcomes)
        for percent, (low, high) in _INTERVALS.items()
    }


def pit(quantiles: Floats, outcomes: Floats, levels: Sequence[float] = QUANTILE_LEVELS) -> Floats:
    """Probability integral transform: the level at which each outcome lies in its forecast, 0–1.

    `quantiles` is (..., level) and never falls along it; `outcomes` is (...), NaN in either gives NaN. Between two
    quantiles the level is interpolated. Beyond the outer ones nothing is known but the tail's share, so
    the outcome stands in the tail's middle: .0125 and .9875 for the usual levels. An outcome that equals
    several quantiles (a price that did not move) takes the middle of their levels.
    """
    level = np.asarray(levels, dtype=np.float64)
    below = (quantiles < outcomes[..., None]).sum(axis=-1)
    reached = (quantiles <= outcomes[..., None]).sum(axis=-1)
    last = level.size - 1
    left, right = np.clip(below - 1, 0, last), np.clip(below, 0, last)
    low = np.take_along_axis(quantiles, left[..., None], axis=-1)[..., 0]
    high = np.take_along_axis(quantiles, right[..., None], axis=-1)[..., 0]
    width = np.where(high > low, high - low, 1.0)
    inside = level[left] + (level[right] - level[left]) * (outcomes - low) / width
    met = (level[np.clip(below, 0, last)] + level[np.clip(reached - 1, 0, last)]) / 2
    placed = np.where(below == 0, level[0] / 2, inside)
    placed = np.where(below == level.size, (1 + level[-1]) / 2, placed)
    placed = np.where(reached > below, met, placed)
    return np.where(np.isnan(outcomes) | np.isnan(quantiles).any(axis=-1), np.nan, placed)


def pit_histogram(pits: Floats, bins: int = 10) -> Floats:
    """Share of transforms in each of `bins` equal parts of 0–1; flat (1/bins each) when calibrated."""
    known = pits[~np.isnan(pits)]
    counts, _ = np.histogram(known, bins=bins, range=(0.0, 1.0))
    return np.asarray(counts / max(known.size, 1), dtype=np.float64)


def brier(probabilities: Floats, outcomes: Floats) -> float:
    """Mean squared error of probabilities of an event (outcomes 1 or 0); NaN outcomes don't count."""
    return float(np.nanmean((probabilities - outcomes) ** 2))


def brier_skill(probabilities: Floats, outcomes: Floats) -> float:
    """Part of climatology's Brier score that is saved: 1 is perfect, 0 no better, below 0 worse.

    Climatology says the base rate of these same outcomes every time, which nobody knew beforehand.
    NaN when all outcomes are the same.
    """
    base_rate = float(np.nanmean(outcomes))
    climatology = base_rate * (1 - base_rate)
    return 1 - brier(probabilities, outcomes) / climatology if climatology > 0 else float("nan")


def auc(probabilities: Floats, outcomes: Floats) -> float:
    """Chance that an event had a higher probability than a non-event, ties counting half.

    0.5 is no skill at ranking. NaN outcomes don't count; NaN when there is only one kind of outcome.
    """
    known = ~np.isnan(outcomes)
    happened = outcomes[known] == 1
    _, inverse, counts = np.unique(probabilities[known], return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    events = int(happened.sum())
    others = happened.size - events
    if not events or not others:
        return float("nan")
    return float((ranks[happened].sum() - events * (events + 1) / 2) / (events * others))


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """What happened after forecasts of about the same probability; the two shares agree when calibrated."""

    mean_forecast: float  # 0–1
    observed_share: float  # 0–1
    n: int


def reliability(
    probabilities: Floats, outcomes: Floats, bins: int = 10
) -> tuple[ReliabilityBin, ...]:
    """Forecasts in equal parts of 0–1 beside the share that came true; empty bins are left out."""
    known = ~np.isnan(outcomes)
    forecasts, happened = probabilities[known], outcomes[known]
    number = np.minimum((forecasts * bins).astype(np.int64), bins - 1)
    return tuple(
        ReliabilityBin(
            float(forecasts[number == index].mean()),
            float(happened[number == index].mean()),
            int((number == index).sum()),
        )
        for index in np.unique(number).tolist()
    )
