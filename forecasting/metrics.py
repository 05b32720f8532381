"""Measures of a forecast against what happened; each is one function, equal to an obvious loop."""

from collections.abc import Sequence

import numpy as np

from forecasting.results import QUANTILE_LEVELS
from forecasting.series import Flags, Floats


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
