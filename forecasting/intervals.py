"""Spreads that hold what they promise: weighted quantiles as known at each origin, and their correction."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from forecasting.recency import recency_weights
from forecasting.results import MEDIAN, QUANTILE_LEVELS
from forecasting.series import Floats

LEVELS = np.asarray(QUANTILE_LEVELS)
NORMAL_SCORES = np.asarray([NormalDist().inv_cdf(level) for level in QUANTILE_LEVELS])

ERROR_HALF_LIFE = 208.0
"""Periods after which a past error counts half when intervals are corrected."""
_YEARLY_ERROR_HALF_LIFE = 6.0

# Intervals are corrected by what exceeds chance only: a coverage within one standard error of the promise
# says nothing, and correcting it costs more than it brings. Of the rest, so many independent past
# forecasts weigh as much as the belief that the model was right.
_CHANCE = 1.0
_TRUST_ERRORS = 20.0
_WIDEST, _NARROWEST = 3.0, 1 / 3
_FEWEST = 5  # past outcomes, below which nothing is corrected
_FARTHEST = (
    1e6  # an outcome at minus infinity, a price at zero on logarithms, is a number like others
)

_PAIRS = tuple((low, len(QUANTILE_LEVELS) - 1 - low) for low in range(MEDIAN))


def error_half_life(frequency: str) -> float:
    """Periods after which a past error counts half."""
    return _YEARLY_ERROR_HALF_LIFE if frequency == "year" else ERROR_HALF_LIFE


def row_quantiles(sample: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weighted quantiles (row x level) of each row, between mid-weights, and each row's effective size.

    Values that don't count have the weight 0 and are infinite; a row of nothing else gives zeros.
    """
    order = np.argsort(sample, axis=1)
    rows = np.arange(sample.shape[0])[:, None]
    flat = order + rows * sample.shape[1]
    ordered = sample.take(flat)
    # Ties of different weight must not be ordered by what else is in the table: such rows once more, in
    # the order of their columns.
    ties = ((ordered[:, 1:] == ordered[:, :-1]) & np.isfinite(ordered[:, 1:])).any(axis=1)
    if ties.any():
        order[ties] = np.argsort(sample[ties], axis=1, kind="stable")
        flat = order + rows * sample.shape[1]
    weight = weights.take(flat)
    cumulated = np.cumsum(weight, axis=1)
    total = cumulated[:, -1:]
    position = cumulated - weight / 2
    counted = np.count_nonzero(weights, axis=1)[:, None]
    # The first value at or past each level, and the one before it.
    targets = LEVELS * total
    above = np.stack(
        [np.count_nonzero(position < target[:, None], axis=1) for target in targets.T], axis=1
    )
    right = np.clip(above, 0, np.maximum(counted - 1, 0))
    left = np.clip(above - 1, 0, np.maximum(counted - 1, 0))
    low, high = ordered[rows, left], ordered[rows, right]
    gap = position[rows, right] - position[rows, left]
    share = np.clip((targets - position[rows, left]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)
    is_empty = counted == 0
    low, high = np.where(is_empty, 0.0, low), np.where(is_empty, 0.0, high)
    # A running sum: zeros beside what counts must not change so much as the last digit.
    squares = np.cumsum(weight * weight, axis=1)[:, -1]
    sizes = total[:, 0] ** 2 / np.where(squares > 0, squares, 1.0)
    return np.asarray(low + share * (high - low)), np.asarray(sizes)


def student_scores(freedom: float) -> Floats:
    """Standard scores at `QUANTILE_LEVELS` of Student's t: wide when the spread rests on few values."""
    z, nu = NORMAL_SCORES, max(freedom, 3.0)
    # Cornish–Fisher expansion: within 2 % of the exact quantile from three degrees of freedom on.
    return np.asarray(
        z + (z**3 + z) / (4 * nu) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * nu * nu),
        dtype=np.float64,
    )


def conformal(
    quantiles: Floats,
    outcomes: Floats,
    origins: Sequence[int],
    asked: Sequence[int],
    half_life: float,
) -> Floats:
    """Quantiles at the positions `asked`, each interval scaled by what past intervals lacked.

    `quantiles` is (origin x step x level) and `outcomes` (origin x step), NaN where unknown; `origins`
    are periods seen, rising. An error counts from the origin at which its outcome had been seen, so the
    newest ones count before a whole horizon is over. The scale is the weighted quantile of
    |outcome − median| in units of the interval's own half-width (split conformal prediction, weighted
    towards the recent past): 1 leaves an interval as it is.
    """
    steps = quantiles.shape[1]
    seen_at = np.asarray(origins)
    known_at = (seen_at[:, None] + np.arange(1, steps + 1)).ravel()
    weights = np.repeat(recency_weights(seen_at[-1] - seen_at * 1.0, half_life), steps)
    at = np.asarray(asked)
    # Forecasts that start within one horizon of each other share most of what happened.
    newest, apart = int(at.max()), np.diff(seen_at)
    if newest > 0 and (apart[:newest] == apart[0]).all():
        gaps = np.where(at > 0, float(apart[0]), 1.0)
    else:
        gaps = np.asarray([usual_gap(seen_at[: row + 1]) for row in at])
    independent = np.minimum(1.0, 2 * gaps / steps) / steps
    corrected = quantiles[at].copy()
    medians = quantiles[..., MEDIAN]
    earlier = np.repeat(np.arange(seen_at.size), steps)
    for low, high in _PAIRS:
        promised = QUANTILE_LEVELS[high] - QUANTILE_LEVELS[low]
        misses = _misses(outcomes, medians, quantiles[..., low], quantiles[..., high]).ravel()
        usable = np.flatnonzero(~np.isnan(misses))
        order = usable[np.argsort(misses[usable], kind="stable")]
        is_past = (known_at[order] <= seen_at[at, None]) & (earlier[order] < at[:, None])
        factors = _factors(misses[order], is_past * weights[order], promised, independent)
        both = [low, high]
        median = medians[at, :, None]
        corrected[..., both] = median + factors[:, None, None] * (corrected[..., both] - median)
    return np.sort(corrected, axis=-1)


def _misses(outcomes: Floats, medians: Floats, lower: Floats, upper: Floats) -> Floats:
    """Distance of outcomes from the median in half-widths of the interval on their side."""
    side = np.where(outcomes >= medians, upper - medians, medians - lower)
    distance = np.abs(outcomes - medians)
    with np.errstate(divide="ignore", invalid="ignore"):
        misses = distance / side
    # A price that did not move meets an interval without width: it was held.
    still = (side <= 0) & (distance <= 1e-9 * (1 + np.abs(medians)))
    return np.where(still, 0.0, np.minimum(misses, _FARTHEST))


def usual_gap(origins: Sequence[int] | npt.NDArray[np.int64]) -> float:
    """Median distance between origins; 1 when there is no other."""
    return float(np.median(np.diff(origins))) if len(origins) > 1 else 1.0


def _factors(misses: Floats, weights: Floats, promised: float, independent: Floats) -> Floats:
    """By how much half-widths should have been larger for the share promised, one number a row of weights.

    `misses` rise; a weight of 0 is a miss that a row knows nothing of.
    """
    cumulated = np.cumsum(weights, axis=1)
    total = cumulated[:, -1] if misses.size else np.zeros(weights.shape[0])
    some = np.maximum(total, 1e-300)
    # Running sums: what is not known yet adds zeros, and must not change so much as the last digit.
    inside = int(np.searchsorted(misses, 1.0, side="right"))
    held = cumulated[:, inside - 1] / some if inside else np.zeros_like(some)
    squares = np.cumsum(weights * weights, axis=1)[:, -1] if misses.size else some
    sizes = total**2 / np.maximum(squares, 1e-300) * independent
    lack = np.abs(held - promised)
    chance = _CHANCE * np.sqrt(promised * (1 - promised) / np.maximum(sizes, 1.0))
    is_clear = (np.count_nonzero(weights, axis=1) >= _FEWEST) & (lack > chance)
    factors = np.ones(weights.shape[0])
    for row in np.flatnonzero(is_clear):
        known = weights[row] > 0
        position = (cumulated[row] - weights[row] / 2)[known] / total[row]
        needed = np.clip(np.interp(promised, position, misses[known]), _NARROWEST, _WIDEST)
        trust = sizes[row] / (sizes[row] + _TRUST_ERRORS)
        trust *= 1 - (chance[row] / lack[row]) ** 2
        factors[row] = np.exp(trust * np.log(needed))
    return factors
