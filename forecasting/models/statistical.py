"""The one module that meets statsforecast: the dynamic optimised Theta method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from forecasting.models.baselines import around
from forecasting.series import Floats


@dataclass(frozen=True)
class Theta:
    """Half the long trend plus a smoothed level, both fitted at every cutoff; no season."""

    name: str = "theta"
    title: str = "Theta"
    needs: Mapping[str, int] = field(
        default_factory=lambda: {"day": 60, "week": 52, "month": 24, "year": 8}
    )
    is_calibrated: bool = False

    def fit_predict(
        self, log_values: Floats, periods: Sequence[date], frequency: str, horizon: int
    ) -> Floats:
        from statsforecast.models import DynamicOptimizedTheta

        # season_length=1: a deseasonalised price series mostly loses its last moves.
        model = DynamicOptimizedTheta(season_length=1)
        # A copy: the compiled code takes what it is given.
        path = model.forecast(y=np.array(log_values), h=horizon)["mean"]
        return around(np.asarray(path, dtype=np.float64), log_values, frequency)
