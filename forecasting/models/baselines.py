"""Models without a fit: damped drift, and the same season a year ago."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from forecasting.models.walks import around, today
from forecasting.recency import recency_weights
from forecasting.series import MIN_OBSERVATIONS, Floats, Track

_SEASON: Mapping[str, int] = {"week": 52, "month": 12}

_GROWTH_HALF_LIFE_YEARS = 4.0


@dataclass(frozen=True)
class Drift:
    """As it grew on average in the last years, each further period a little less."""

    name: str = "drift"
    title: str = "Drift"
    needs: Mapping[str, int] = field(default_factory=lambda: MIN_OBSERVATIONS)

    def quantiles(self, track: Track, origins: Sequence[int], horizon: int) -> Floats:
        growth = np.asarray([_growth(track.values[:seen], track.frequency) for seen in origins])
        paths = today(track, origins) + growth[:, None] * damped_steps(track.frequency, horizon)
        return around(paths, track, origins)


@dataclass(frozen=True)
class SeasonalNaive:
    """As in the same season last time."""

    name: str = "seasonal_naive"
    title: str = "Seasonal naive"
    needs: Mapping[str, int] = field(default_factory=lambda: {"day": 60, "week": 60, "month": 24})

    def quantiles(self, track: Track, origins: Sequence[int], horizon: int) -> Floats:
        season = _season(track)
        back = season - np.arange(horizon) % season
        paths = track.values[np.asarray(origins)[:, None] - back]
        return around(paths, track, origins)


def _season(track: Track) -> int:
    """Periods after which a season comes again: the year, or the week, which has five days or seven."""
    if track.frequency == "day":
        # The first fortnight says whether there are weekends; every origin has seen it.
        return 7 if any(day.weekday() >= 5 for day in track.periods[:14]) else 5
    return _SEASON[track.frequency]


def _growth(values: Floats, frequency: str) -> float:
    """Growth a period: the mean of the last years; in yearly series the newest year counts most."""
    if frequency == "year":
        changes = np.diff(values)
        ages = np.arange(changes.size - 1, -1, -1, dtype=np.float64)
        return float(np.average(changes, weights=recency_weights(ages, _GROWTH_HALF_LIFE_YEARS)))
    window = {"day": 250, "week": 104, "month": 36}[frequency]
    recent = values[-(window + 1) :]
    return float((recent[-1] - recent[0]) / (recent.size - 1))


def damped_steps(frequency: str, horizon: int) -> Floats:
    """How many periods of growth are believed after 1..horizon periods: fewer and fewer are added."""
    damping = {"day": 0.99, "week": 0.96, "month": 0.9, "year": 0.7}[frequency]
    return np.cumsum(damping ** np.arange(1, horizon + 1))
