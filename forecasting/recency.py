"""What is recent counts more: weights that halve with age, and running means of what was known at each moment."""

from typing import Any

import numpy as np
import numpy.typing as npt

from forecasting.series import Floats


def recency_weights(ages: npt.NDArray[np.floating[Any]], half_life: float) -> Floats:
    """Weight of something `ages` periods old; today weighs 1."""
    return np.asarray(0.5 ** (ages / half_life), dtype=np.float64)


def mean_so_far(values: Floats, half_life: float, *, is_normalised: bool = True) -> Floats:
    """Mean of each value and those before it, weights halving every `half_life` steps.

    Not normalised, it starts from zero: few values say little.
    """
    keep = 0.5 ** (1 / half_life)
    mean = 0.0
    means = np.empty(values.size)
    for at, value in enumerate(values.tolist()):
        mean = keep * mean + (1 - keep) * value
        means[at] = mean
    if is_normalised:
        means /= 1 - keep ** np.arange(1, values.size + 1)
    return means
