"""Rolling-origin tests: what each model would have said at past cutoffs, and how it turned out."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from forecasting.intervals import calibrate, half_life_of, monotone
from forecasting.metrics import coverage, crps_from_quantiles
from forecasting.models import YARDSTICK, Model
from forecasting.results import MEDIAN, QUANTILE_LEVELS, Score
from forecasting.series import Floats, History, scale_of

_AT = {level: index for index, level in enumerate(QUANTILE_LEVELS)}


@dataclass(frozen=True, eq=False)
class Rolling:
    """Raw quantiles of every model at every origin, in the unit of the series, and what came after.

    An origin is the number of periods seen. `raw[model]` is (origin, step, level), NaN where the model
    needs more observations; `outcomes` is (origin, step), NaN where nothing was observed (yet).
    """

    history: History
    origins: tuple[int, ...]
    raw: Mapping[str, Floats]
    outcomes: Floats
    models: Mapping[str, Model]

    def calibrated(self, model: str, at: int) -> Floats:
        """Quantiles (step x level) at the origin in position `at`, using only what was known there."""
        raw: Floats = self.raw[model][at]
        if np.isnan(raw).any():
            return raw
        seen = self.origins[at]
        scale = scale_of(self.history.values[:seen])
        if self.models[model].is_calibrated:
            return scale.back(scale.forward(raw))
        medians = self.raw[model][:at, :, MEDIAN]
        origins = np.asarray(self.origins[:at], dtype=np.float64)
        steps = np.arange(1, raw.shape[0] + 1)
        is_known = (origins[:, None] + steps <= seen) & ~np.isnan(medians)
        outcomes = np.where(is_known, self.outcomes[:at], np.nan)
        filled = np.where(is_known, medians, 1.0)
        errors = scale.forward(np.where(np.isnan(outcomes), 1.0, outcomes)) - scale.forward(filled)
        errors[np.isnan(outcomes)] = np.nan
        half_life = half_life_of(self.history.frequency)
        return scale.back(calibrate(scale.forward(raw), errors, seen - origins, half_life))


@dataclass(frozen=True, eq=False)
class BacktestResult:
    """Past forecasts of one series beside what happened, in the unit of the series.

    `quantiles[model]` is (cutoff, step, level); `outcomes` is (cutoff, step), NaN where nothing was
    observed; `change_scale` is the mean absolute one-period change before each cutoff.
    """

    series: str
    frequency: str
    observations: int  # in the whole series
    origins: tuple[int, ...]  # periods seen at each cutoff
    cutoffs: tuple[date, ...]
    periods: tuple[tuple[date, ...], ...]
    outcomes: Floats
    quantiles: Mapping[str, Floats]
    change_scale: Floats
    is_log: bool  # errors are measured on logarithms

    def crps(self, model: str) -> Floats:
        """CRPS (cutoff x step), on logarithms for positive series; NaN where no outcome is known."""
        return crps_from_quantiles(
            self._measured(self.quantiles[model]), self._measured(self.outcomes)
        )

    def absolute_error(self, model: str) -> Floats:
        """Absolute error of the median (cutoff x step), on logarithms for positive series."""
        medians = self._measured(self.quantiles[model][..., MEDIAN])
        return np.abs(self._measured(self.outcomes) - medians)

    def scores(self, until: int | None = None) -> tuple[Score, ...]:
        """One score a model, over the first `until` cutoffs (default all) that every one could serve."""
        return tuple(self._score(model, until) for model in self.quantiles)

    def known_at(self, origin: int) -> int:
        """How many cutoffs had all their outcomes by the time that `origin` periods had been seen."""
        horizon = self.outcomes.shape[1]
        return sum(1 for seen in self.origins if seen + horizon <= origin)

    def _score(self, model: str, until: int | None) -> Score:
        crps = self.crps(model)[:until]
        served = ~np.isnan(crps).all(axis=1)
        yardstick = self.crps(YARDSTICK)[:until][served]
        errors = self.absolute_error(model)[:until][served]
        walk_errors = self.absolute_error(YARDSTICK)[:until][served]
        quantiles = self.quantiles[model][:until][served]
        outcomes = self.outcomes[:until][served]
        if not served.any():
            nan = float("nan")
            return Score(model, 0, nan, nan, nan, nan)
        return Score(
            model=model,
            cutoffs=int(served.sum()),
            rel_crps=_ratio(float(np.nanmean(crps[served])), float(np.nanmean(yardstick))),
            rel_mae=_ratio(float(np.nanmean(errors)), float(np.nanmean(walk_errors))),
            coverage_80=coverage(quantiles[..., _AT[0.1]], quantiles[..., _AT[0.9]], outcomes),
            coverage_95=coverage(quantiles[..., _AT[0.025]], quantiles[..., _AT[0.975]], outcomes),
        )

    def _measured(self, values: Floats) -> Floats:
        return np.log(values) if self.is_log else values


def roll(
    history: History,
    models: Sequence[Model],
    origins: Sequence[int],
    horizon: int,
    on_fit: Callable[[str, int], None] | None = None,
    *,
    asked: Collection[int] | None = None,
) -> Rolling:
    """Fit every model at every origin on what had been seen there, and nothing else.

    `on_fit(model, origin)` is called before each fit, for progress and timing. `asked` are the origins
    whose forecasts are wanted (default all): the others only teach intervals, so models that need no
    such lesson are spared there.
    """
    raw = {
        model.name: np.full((len(origins), horizon, len(QUANTILE_LEVELS)), np.nan)
        for model in models
    }
    observed = np.where(history.is_filled, np.nan, history.values)
    padded = np.concatenate([observed, np.full(horizon, np.nan)])
    outcomes = np.asarray([padded[seen : seen + horizon] for seen in origins]).reshape(-1, horizon)
    for at, seen in enumerate(origins):
        values = history.values[:seen]
        scale = scale_of(values)
        periods = history.periods[:seen]
        for model in models:
            if seen < model.needs.get(history.frequency, seen + 1):
                continue
            if asked is not None and seen not in asked and model.is_calibrated:
                continue
            if on_fit is not None:
                on_fit(model.name, seen)
            # Each model gets its own copy: none can change what the next one sees.
            scaled = scale.forward(values).copy()
            quantiles = monotone(model.fit_predict(scaled, periods, history.frequency, horizon))
            raw[model.name][at] = (
                np.exp(np.clip(quantiles, -600, 600)) if scale.is_log else quantiles
            )
    return Rolling(history, tuple(origins), raw, outcomes, {model.name: model for model in models})


def origins_of(history: History, *, horizon: int, step: int, min_train: int) -> tuple[int, ...]:
    """Numbers of periods seen at each cutoff: from `min_train` on, as long as a whole horizon follows.

    A cutoff whose last value was filled from its neighbours is left out: the later one was not known.
    """
    last = history.values.size - horizon
    return tuple(
        seen for seen in range(min_train, last + 1, step) if not history.is_filled[seen - 1]
    )


def backtest(
    history: History,
    models: Sequence[Model],
    horizon: int,
    step: int,
    min_train: int,
    max_cutoffs: int | None = None,
    on_fit: Callable[[str, int], None] | None = None,
) -> BacktestResult:
    """Score models at the newest `max_cutoffs` cutoffs, each `step` periods after the one before.

    Origins in between and before `min_train` are fitted too, so that intervals have past errors to
    learn from; they are not scored.
    """
    scored = origins_of(history, horizon=horizon, step=step, min_train=min_train)
    scored = scored[-max_cutoffs:] if max_cutoffs else scored
    first = min(
        (model.needs.get(history.frequency, min_train) for model in models), default=min_train
    )
    stride = max(1, horizon // 2)
    start = min_train - (min_train - first) // stride * stride if first < min_train else min_train
    learning = origins_of(history, horizon=1, step=stride, min_train=start)
    origins = sorted({*scored, *(seen for seen in learning if scored and seen < scored[-1])})
    return evaluate(roll(history, models, origins, horizon, on_fit, asked=scored), scored, horizon)


def evaluate(rolling: Rolling, scored: Sequence[int], horizon: int) -> BacktestResult:
    """Calibrate at the scored origins and put the first `horizon` steps beside the outcomes."""
    history = rolling.history
    positions = [rolling.origins.index(seen) for seen in scored]
    outcomes = (
        np.stack([rolling.outcomes[at, :horizon] for at in positions])
        if positions
        else (np.empty((0, horizon)))
    )
    quantiles = {
        name: np.stack([rolling.calibrated(name, at)[:horizon] for at in positions])
        if positions
        else np.empty((0, horizon, len(QUANTILE_LEVELS)))
        for name in rolling.models
    }
    scale = history.scale
    changes = np.abs(np.diff(scale.forward(history.values)))
    return BacktestResult(
        series=history.series,
        frequency=history.frequency,
        observations=history.observations,
        origins=tuple(scored),
        cutoffs=tuple(history.periods[seen - 1] for seen in scored),
        periods=tuple(history.periods[seen : seen + horizon] for seen in scored),
        outcomes=outcomes,
        quantiles=quantiles,
        change_scale=np.asarray([changes[: seen - 1].mean() for seen in scored]),
        is_log=scale.is_log,
    )


def _ratio(value: float, yardstick: float) -> float:
    """Error over the yardstick's; 1 when neither errs, as on a constant series."""
    if yardstick > 0:
        return float(value / yardstick)
    return 1.0 if value == 0 else float("inf")
