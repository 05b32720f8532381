"""The one module that meets statsforecast: Theta, exponential smoothing and ARIMA, fitted now and then."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from forecasting.models.walks import around
from forecasting.series import Floats, Track

_GROWTH_BETWEEN_FITS = 1.1
_LONGEST = 520
"""Newest observations that a fit sees: its time grows faster than they do, and its parameters no longer move."""


@dataclass(frozen=True)
class Statistical:
    """A method of statsforecast: parameters fitted each time history grew by a tenth, applied to all that was seen.

    Its path has the random walk's spread; past errors correct it.
    """

    name: str
    title: str
    method: Callable[[], Any]
    needs: Mapping[str, int] = field(
        default_factory=lambda: {"day": 60, "week": 52, "month": 24, "year": 8}
    )

    def quantiles(self, track: Track, origins: Sequence[int], horizon: int) -> Floats:
        fitted_at, model = 0, None
        paths = np.empty((len(origins), horizon))
        for row, seen in enumerate(origins):
            fit_at = _fit_at(seen, self.needs[track.frequency])
            # The compiled code keeps what it is given: copies, so that nothing of ours can change.
            if model is None or fit_at != fitted_at:
                past = track.values[:fit_at][-_LONGEST:].copy()
                fitted_at, model = fit_at, _asked(self.method().fit, past)
            newest = track.values[:seen][-_LONGEST:].copy()
            paths[row] = _asked(model.forward, y=newest, h=horizon)["mean"]
        return around(paths, track, origins)


def _asked(method: Callable[..., Any], *values: Any, **options: Any) -> Any:
    """What the library answers; raises RuntimeError for its errors, some of which have no type of their own."""
    try:
        return method(*values, **options)
    except Exception as error:
        message = f"statsforecast: {error}"
        raise RuntimeError(message) from error


def _fit_at(seen: int, first: int) -> int:
    """The newest origin of a fixed grid, so that an answer never depends on which others are asked."""
    at = first
    while round(at * _GROWTH_BETWEEN_FITS) <= seen:
        at = max(at + 1, round(at * _GROWTH_BETWEEN_FITS))
    return min(at, seen)


# season_length=1 throughout: a deseasonalised price series mostly loses its last moves.
def _theta() -> Any:
    from statsforecast.models import DynamicOptimizedTheta

    return DynamicOptimizedTheta(season_length=1)


def _ets() -> Any:
    from statsforecast.models import AutoETS

    return AutoETS(season_length=1)


def _arima() -> Any:
    from statsforecast.models import AutoARIMA

    return AutoARIMA(season_length=1, seasonal=False)


THETA = Statistical("theta", "Theta", _theta)
ETS = Statistical("ets", "AutoETS", _ets)
ARIMA = Statistical("arima", "AutoARIMA", _arima)
