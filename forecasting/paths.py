"""Sample paths that agree with quantiles and move from step to step as the series did."""

from functools import lru_cache
from statistics import NormalDist

import numpy as np

from forecasting.intervals import NORMAL_SCORES
from forecasting.series import Floats

_BLOCK = 6  # periods that a resampled stretch of history keeps together, on average


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
    lots, heights = draw.random((n_paths, horizon)).T, walks.T
    order = np.argsort(heights, axis=1)
    # Equal walks (the first steps, sticky prices, few observations) are ranked by lot, not by number.
    ranked = np.take_along_axis(heights, order, axis=1)
    ties = (ranked[:, 1:] == ranked[:, :-1]).any(axis=1)
    order[ties] = np.lexsort((lots[ties], heights[ties]), axis=1)
    scores = _normal_scores(n_paths)
    rising = np.stack([_quantile_function(row, scores) for row in quantiles])
    paths = np.empty((horizon, n_paths))
    np.put_along_axis(paths, order, rising, axis=1)
    return paths.T


@lru_cache(maxsize=4)
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
