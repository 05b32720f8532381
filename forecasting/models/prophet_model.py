"""The one module that meets Prophet: anchored at the last observation, its trend and season as drift."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from forecasting.models.baselines import around, damped_steps
from forecasting.results import QUANTILE_LEVELS
from forecasting.series import Floats

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class AnchoredProphet:
    """Prophet says how trend and season move from today; today's value says from where.

    Prophet's own level is a smooth curve that today's price may be far from, and its own intervals
    held 43 % of outcomes where 80 % were promised; both are left aside.
    """

    name: str = "prophet"
    title: str = "Anchored Prophet"
    needs: Mapping[str, int] = field(
        default_factory=lambda: {"day": 250, "week": 104, "month": 24, "year": 12}
    )
    is_calibrated: bool = False

    def fit_predict(
        self, log_values: Floats, periods: Sequence[date], frequency: str, horizon: int
    ) -> Floats:
        path = np.full(horizon, log_values[-1])
        if np.ptp(log_values) > 0:
            components = _components(log_values, periods, frequency, horizon)
            trend = components["trend"].to_numpy(dtype=np.float64)
            season = components["additive_terms"].to_numpy(dtype=np.float64)
            growth = np.diff(trend)
            damping = TREND_BELIEVED * np.diff(damped_steps(frequency, horizon), prepend=0.0)
            path = path + np.cumsum(growth * damping) + (season[1:] - season[0]) * SEASON_BELIEVED
        return around(path, log_values, frequency)


# Shares of the fitted moves that are used. On prices, most of what looks like a trend or a season is
# chance: on World Bank monthly prices and on dysprosium and terbium, less was always better. These keep
# enough for a series that has a real one, and past errors decide whether Prophet speaks at all.
TREND_BELIEVED = 0.5
SEASON_BELIEVED = 0.25


@dataclass(frozen=True)
class StockProphet:
    """Prophet with its defaults, level and intervals its own: for comparison in benchmarks, never to speak."""

    name: str = "prophet_stock"
    title: str = "Stock Prophet"
    needs: Mapping[str, int] = field(
        default_factory=lambda: {"day": 250, "week": 104, "month": 24, "year": 12}
    )
    is_calibrated: bool = True
    seed: int = 0

    def fit_predict(
        self, log_values: Floats, periods: Sequence[date], frequency: str, horizon: int
    ) -> Floats:
        model = _fitted(log_values, periods, uncertainty_samples=1000)
        future = model.setup_dataframe(_future(periods, frequency, horizon).iloc[1:].copy())
        future["trend"] = model.predict_trend(future)
        # Prophet draws from numpy's global generator: lend it a seed, then give back what was there.
        before = np.random.get_state()
        np.random.seed(self.seed)
        try:
            draws = model.sample_posterior_predictive(future, vectorized=True)["yhat"]
        finally:
            np.random.set_state(before)
        return np.asarray(np.quantile(draws, QUANTILE_LEVELS, axis=1).T, dtype=np.float64)


def _components(
    log_values: Floats, periods: Sequence[date], frequency: str, horizon: int
) -> "pd.DataFrame":
    """Trend and season, in the scale of the values, at the last observation and at every step after it."""
    model = _fitted(log_values, periods, uncertainty_samples=0)
    frame: pd.DataFrame = model.predict(_future(periods, frequency, horizon))
    return frame


def _fitted(values: Floats, periods: Sequence[date], uncertainty_samples: int) -> Any:
    import pandas as pd

    for name in ("prophet", "cmdstanpy"):
        log = logging.getLogger(name)
        if not log.handlers:
            # Before the first fit: cmdstanpy adds a handler of its own when it finds none.
            log.addHandler(logging.NullHandler())
            log.setLevel(logging.WARNING)
            log.propagate = False

    from prophet import Prophet

    model = Prophet(
        growth="linear",
        weekly_seasonality=False,
        daily_seasonality=False,
        uncertainty_samples=uncertainty_samples,
    )
    frame = pd.DataFrame({"ds": pd.to_datetime(list(periods)), "y": np.array(values)})
    # Prophet takes Newton below 100 observations: the same optimum, ten times slower to reach.
    model.fit(frame, algorithm="LBFGS")
    return model


def _future(periods: Sequence[date], frequency: str, horizon: int) -> "pd.DataFrame":
    import pandas as pd

    last = pd.Timestamp(periods[-1])
    step = {
        "day": pd.offsets.BDay(),
        "week": pd.offsets.Week(),
        "month": pd.offsets.DateOffset(months=1),
        "year": pd.offsets.DateOffset(years=1),
    }[frequency]
    return pd.DataFrame({"ds": pd.date_range(last, periods=horizon + 1, freq=step)})
