"""Spreads that hold what they promise, and sample paths that agree with them."""

from statistics import NormalDist

import numpy as np

from forecasting.results import MEDIAN, QUANTILE_LEVELS
from forecasting.series import Floats

HALF_LIFE = 104.0
"""Periods after which a past change or error counts half, in daily, weekly and monthly series."""
YEARLY_HALF_LIFE = 3.0
"""The same for yearly series: what sold in dozens ten years ago says little of how it grows now."""

LEVELS = np.asarray(QUANTILE_LEVELS)
NORMAL_SCORES = np.asarray([NormalDist().inv_cdf(level) for level in QUANTILE_LEVELS])

# Changes and errors over overlapping windows tell little that is new: this many independent ones weigh
# as much as the spread they are blended with. Half of a past median is believed: all of it would chase
# the last trend. Chosen on World Bank monthly prices, weekly Brent, dysprosium and terbium together.
_TRUST_CHANGES = 20.0
_TRUST_ERRORS = 8.0
_MEDIAN_BELIEVED = 0.5
_MAX_FREEDOM = 8.0  # prices jump: however many changes are known, their tails are not normal
_BLOCK = 6  # periods that a resampled stretch of history keeps together, on average


def half_life_of(frequency: str) -> float:
    """Periods after which the past counts half."""
    return YEARLY_HALF_LIFE if frequency == "year" else HALF_LIFE


def recency_weights(ages: Floats, half_life: float = HALF_LIFE) -> Floats:
    """Weight of something `ages` periods old; today weighs 1."""
    return np.asarray(0.5 ** (ages / half_life), dtype=np.float64)


def effective_size(weights: Floats) -> float:
    """How many equally weighted values carry as much as these."""
    total = float(weights.sum())
    return total * total / float((weights * weights).sum()) if total > 0 else 0.0


def weighted_quantiles(sample: Floats, weights: Floats) -> Floats:
    """Quantiles of a weighted sample at `QUANTILE_LEVELS`, interpolated between mid-weights."""
    order = np.argsort(sample, kind="stable")
    ordered, weight = sample[order], weights[order]
    position = (np.cumsum(weight) - weight / 2) / weight.sum()
    return np.asarray(np.interp(LEVELS, position, ordered), dtype=np.float64)


def student_scores(freedom: float) -> Floats:
    """Standard scores at `QUANTILE_LEVELS` of Student's t: wide when the spread rests on few values."""
    z, nu = NORMAL_SCORES, max(freedom, 3.0)
    # Cornish–Fisher expansion: within 2 % of the exact quantile from three degrees of freedom on.
    return np.asarray(
        z + (z**3 + z) / (4 * nu) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * nu * nu),
        dtype=np.float64,
    )


def walk_spread(values: Floats, horizon: int, half_life: float = HALF_LIFE) -> Floats:
    """Offsets (horizon x level) around today's value, from the changes over 1..horizon periods so far."""
    changes = np.diff(values)
    weights = recency_weights(np.arange(changes.size - 1, -1, -1, dtype=np.float64), half_life)
    sigma = float(np.sqrt(np.average(changes * changes, weights=weights)))
    theory = student_scores(min(effective_size(weights) - 1, _MAX_FREEDOM)) * sigma
    offsets = np.empty((horizon, LEVELS.size))
    for step in range(1, horizon + 1):
        expected = theory * np.sqrt(step)
        past = values[step:] - values[:-step]
        if past.size < 2:
            offsets[step - 1] = expected
            continue
        weight = weights[-past.size :]
        own = weighted_quantiles(past, weight)
        own -= (1 - _MEDIAN_BELIEVED) * own[MEDIAN]
        trust = _trust(effective_size(weight) / step, _TRUST_CHANGES)
        offsets[step - 1] = trust * own + (1 - trust) * expected
    return offsets


def calibrate(raw: Floats, errors: Floats, ages: Floats, half_life: float = HALF_LIFE) -> Floats:
    """Quantiles (horizon x level) whose spread is that of the model's own past errors.

    `errors[cutoff][step]` is outcome minus median at earlier cutoffs, NaN where it was not known yet;
    `ages[cutoff]` is how many periods ago that cutoff was. The fewer errors, the more of `raw` stays.
    """
    calibrated = raw.copy()
    weights = recency_weights(ages, half_life)
    gap = float(np.median(-np.diff(ages))) if ages.size > 1 else 1.0
    for step in range(raw.shape[0]):
        known = ~np.isnan(errors[:, step])
        if known.sum() < 3:
            continue
        median = raw[step, MEDIAN]
        independent = effective_size(weights[known]) * min(1.0, gap / (step + 1))
        trust = _trust(independent, _TRUST_ERRORS)
        own = weighted_quantiles(errors[known, step], weights[known])
        own -= (1 - _MEDIAN_BELIEVED) * own[MEDIAN]
        calibrated[step] = median + trust * own + (1 - trust) * (raw[step] - median)
    return monotone(calibrated)


def monotone(quantiles: Floats) -> Floats:
    """The same quantiles, never falling from one level to the next."""
    return np.maximum.accumulate(quantiles, axis=-1)


def sample_paths(quantiles: Floats, values: Floats, n_paths: int, seed: int) -> Floats:
    """Equally likely paths (path x step) with exactly these quantiles at every step.

    Which low goes with which low from step to step is taken from history: stretches of past changes
    are strung together, and only their ranks are kept.
    """
    draw = np.random.default_rng(seed)
    horizon = quantiles.shape[0]
    changes = np.diff(values)
    starts = draw.integers(0, changes.size, size=(n_paths, horizon))
    is_new = draw.random((n_paths, horizon)) < 1 / _BLOCK
    picked = np.empty((n_paths, horizon), dtype=np.int64)
    picked[:, 0] = starts[:, 0]
    for step in range(1, horizon):
        follow = (picked[:, step - 1] + 1) % changes.size
        picked[:, step] = np.where(is_new[:, step], starts[:, step], follow)
    walks = np.cumsum(changes[picked], axis=1)
    # Equal walks (sticky prices, few observations) are ranked by lot, not by their number.
    lots = draw.random((n_paths, horizon))
    scores = _normal_scores(n_paths)
    paths = np.empty((n_paths, horizon))
    for step in range(horizon):
        order = np.lexsort((lots[:, step], walks[:, step]))
        paths[order, step] = _quantile_function(quantiles[step], scores)
    return paths


def _trust(independent: float, half: float) -> float:
    return independent / (independent + half)


def _normal_scores(count: int) -> Floats:
    normal = NormalDist()
    return np.asarray([normal.inv_cdf((rank + 0.5) / count) for rank in range(count)])


def _quantile_function(quantiles: Floats, scores: Floats) -> Floats:
    """Straight lines between the known levels on a normal scale, the outer lines continued."""
    inner = np.interp(scores, NORMAL_SCORES, quantiles)
    low = (quantiles[1] - quantiles[0]) / (NORMAL_SCORES[1] - NORMAL_SCORES[0])
    high = (quantiles[-1] - quantiles[-2]) / (NORMAL_SCORES[-1] - NORMAL_SCORES[-2])
    inner += np.minimum(scores - NORMAL_SCORES[0], 0.0) * low
    inner += np.maximum(scores - NORMAL_SCORES[-1], 0.0) * high
    return np.asarray(inner, dtype=np.float64)
