"""Models without a fit: the Gaussian walk as yardstick, the empirical random walk, damped drift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from forecasting.intervals import (
    NORMAL_SCORES,
    half_life_of,
    recency_weights,
    walk_spread,
)
from forecasting.series import MIN_OBSERVATIONS, Floats

_GROWTH_HALF_LIFE_YEARS = 4.0


@dataclass(frozen=True)
class GaussianWalk:
    """As today, normal changes, spread growing with the square root of time: what others are measured by."""

    name: str = "gaussian_walk"
    title: str = "Gaussian walk"
    needs: Mapping[str, int] = field(default_factory=lambda: MIN_OBSERVATIONS)
    is_calibrated: bool = True

    def fit_predict(
        self, log_values: Floats, periods: Sequence[date], frequency: str, horizon: int
    ) -> Floats:
        sigma = float(np.sqrt(np.mean(np.diff(log_values) ** 2)))
        steps = np.sqrt(np.arange(1, horizon + 1))
        return np.asarray(log_values[-1] + sigma * steps[:, None] * NORMAL_SCORES, dtype=np.float64)


@dataclass(frozen=True)
class RandomWalk:
    """As today, spread as the changes over the same number of periods were, recent ones counting more."""

    name: str = "random_walk"
    title: str = "Random walk"
    needs: Mapping[str, int] = field(default_factory=lambda: MIN_OBSERVATIONS)
    is_calibrated: bool = True

    def fit_predict(
        self, log_values: Floats, periods: Sequence[date], frequency: str, horizon: int
    ) -> Floats:
        return np.asarray(
            log_values[-1] + walk_spread(log_values, horizon, half_life_of(frequency)),
            dtype=np.float64,
        )


@dataclass(frozen=True)
class Drift:
    """As it grew on average in the last years, each further period a little less."""

    name: str = "drift"
    title: str = "Drift"
    needs: Mapping[str, int] = field(default_factory=lambda: MIN_OBSERVATIONS)
    is_calibrated: bool = False

    def fit_predict(
        self, log_values: Floats, periods: Sequence[date], frequency: str, horizon: int
    ) -> Floats:
        growth = _growth(log_values, frequency)
        path = log_values[-1] + growth * damped_steps(frequency, horizon)
        return around(path, log_values - growth * np.arange(log_values.size), frequency)


def _growth(log_values: Floats, frequency: str) -> float:
    """Growth a period: the mean of the last years; in yearly series the newest year counts most."""
    if frequency == "year":
        changes = np.diff(log_values)
        ages = np.arange(changes.size - 1, -1, -1, dtype=np.float64)
        return float(np.average(changes, weights=recency_weights(ages, _GROWTH_HALF_LIFE_YEARS)))
    window = {"day": 250, "week": 104, "month": 36}[frequency]
    recent = log_values[-(window + 1) :]
    return float((recent[-1] - recent[0]) / (recent.size - 1))


def damped_steps(frequency: str, horizon: int) -> Floats:
    """How many periods of growth are believed after 1..horizon periods: fewer and fewer are added."""
    damping = {"day": 0.99, "week": 0.96, "month": 0.9, "year": 0.7}[frequency]
    return np.cumsum(damping ** np.arange(1, horizon + 1))


def around(path: Floats, log_values: Floats, frequency: str) -> Floats:
    """A median path with the spread of a random walk, until past errors of the model say better."""
    offsets = walk_spread(log_values, path.size, half_life_of(frequency))
    median = offsets[:, offsets.shape[1] // 2, None]
    return np.asarray(path[:, None] + offsets - median, dtype=np.float64)
