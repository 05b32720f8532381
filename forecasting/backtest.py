"""Rolling-origin tests: what each model would have said at past cutoffs, and how it turned out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property

import numpy as np

from forecasting.intervals import conformal, error_half_life
from forecasting.metrics import (
    bias,
    crps_from_quantiles,
    interval_coverage,
    is_inside,
    mae,
    mase,
)
from forecasting.models import YARDSTICK, Model, raw_quantiles
from forecasting.results import MEDIAN, QUANTILE_LEVELS, Score
from forecasting.series import Floats, History, Scale, Track, scale_of

_AT = {level: index for index, level in enumerate(QUANTILE_LEVELS)}
LESSONS = 36
"""Origins before the first scored one that teach intervals, at most: what is older counts little."""


@dataclass(frozen=True, eq=False)
class Rolling:
    """Raw quantiles of every model at every origin, on the scale of that origin, and what came after.

    An origin is the number of periods seen. `raw[model]` is (origin, step, level), NaN where the model
    needs more observations or was not asked; `outcomes` is (origin, step), NaN where nothing was
    observed (yet).
    """

    history: History
    origins: tuple[int, ...]
    scales: tuple[Scale, ...]
    tracks: tuple[
        tuple[tuple[int, ...], Track], ...
    ]  # what models see, and for which rows of origins
    outcomes: Floats
    raw: Mapping[str, Floats] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)  # model -> what went wrong with it

    def with_models(self, models: Sequence[Model], at: Collection[int] | None = None) -> "Rolling":
        """The same with what these models say at every origin, or at those in `at` only.

        A model that fails on this series is named in `failures`; the others go on.
        """
        raw, failures = dict(self.raw), dict(self.failures)
        frequency, horizon = self.history.frequency, self.outcomes.shape[1]
        for model in models:
            found = np.full((len(self.origins), horizon, len(QUANTILE_LEVELS)), np.nan)
            needed = model.needs.get(frequency, self.history.values.size + 1)
            for rows, track in self.tracks:
                able = [row for row in rows if self.origins[row] >= needed]
                able = [row for row in able if at is None or self.origins[row] in at]
                if not able or model.name in failures:
                    continue
                asked = [self.origins[row] for row in able]
                try:
                    # Figures too large to be squared are an error, not a spread without end.
                    with np.errstate(over="raise"):
                        found[able] = raw_quantiles(model, track, asked, horizon)
                except (ValueError, ArithmeticError, RuntimeError, IndexError) as error:
                    # A model's trouble with one series is said with the result and stops nothing else.
                    failures[model.name] = f"{type(error).__name__}: {error}"
                    continue
                if not np.isfinite(found[able]).all():
                    failures[model.name] = "gave a value that is not finite"
            if model.name in failures:
                found[:] = np.nan
            raw[model.name] = found
        return replace(self, raw=raw, failures=failures)

    def raw_crps(self, model: str, steps: int) -> Floats:
        """CRPS before calibration at every origin, on its own scale, over the first so many steps."""
        raw, outcomes = self.raw[model][:, :steps], self.outcomes[:, :steps]
        return row_means(crps_from_quantiles(raw, outcomes))

    def calibrated(self, model: str, asked: Sequence[int], steps: int | None = None) -> Floats:
        """Quantiles (asked x step x level) at these origins, with the past errors known there.

        `steps` limits them, and the errors they learn from, to the first so many (default all).
        """
        positions = [self.origins.index(seen) for seen in asked]
        raw = self.raw[model][:, :steps]
        quantiles = raw[positions].copy()
        spoken = np.flatnonzero(~np.isnan(raw).any(axis=(1, 2)))
        able = [row for row, at in enumerate(positions) if at in spoken]
        # The yardstick is what others are measured by: it stays as it is defined.
        if able and model != YARDSTICK:
            quantiles[able] = conformal(
                raw[spoken],
                self.outcomes[spoken, :steps],
                [self.origins[row] for row in spoken],
                [int(np.searchsorted(spoken, positions[row])) for row in able],
                error_half_life(self.history.frequency),
            )
        return quantiles


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
    failures: Mapping[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()  # models that were not tested to the end

    def at(self, origins: Collection[int]) -> "BacktestResult":
        """The same at some of the cutoffs."""
        rows = [row for row, seen in enumerate(self.origins) if seen in origins]
        return replace(
            self,
            origins=tuple(self.origins[row] for row in rows),
            cutoffs=tuple(self.cutoffs[row] for row in rows),
            periods=tuple(self.periods[row] for row in rows),
            outcomes=self.outcomes[rows],
            quantiles={name: found[rows] for name, found in self.quantiles.items()},
            change_scale=self.change_scale[rows],
        )

    def measured_as(self, is_log: bool) -> "BacktestResult":
        """The same with errors on logarithms or on levels; what has no logarithm counts as unknown."""
        return self if is_log is self.is_log else self._otherwise

    @cached_property
    def _otherwise(self) -> "BacktestResult":
        return replace(self, is_log=not self.is_log)

    @cached_property
    def mean_crps(self) -> Mapping[str, Floats]:
        """CRPS of every model at every cutoff, mean over the steps with an outcome; NaN without any."""
        return {model: row_means(crps) for model, crps in self._crps.items()}

    def crps(self, model: str) -> Floats:
        """CRPS (cutoff x step), on logarithms for positive series; NaN where no outcome is known."""
        return self._crps[model]

    @cached_property
    def _crps(self) -> Mapping[str, Floats]:
        outcomes = self.measured(self.outcomes)
        return {
            model: crps_from_quantiles(self.measured(quantiles), outcomes)
            for model, quantiles in self.quantiles.items()
        }

    def error(self, model: str) -> Floats:
        """Median minus outcome (cutoff x step), on logarithms for positive series."""
        medians = self.measured(self.quantiles[model][..., MEDIAN])
        return np.asarray(medians - self.measured(self.outcomes), dtype=np.float64)

    def absolute_error(self, model: str) -> Floats:
        """Absolute error of the median (cutoff x step), on logarithms for positive series."""
        return np.abs(self.error(model))

    def held(self, model: str, share: float) -> Floats:
        """Share of the outcomes of each cutoff inside the interval that promised `share`."""
        low = _AT[round((1 - share) / 2, 3)]
        quantiles = self.quantiles[model]
        inside = is_inside(quantiles[..., low], quantiles[..., -1 - low], self.outcomes)
        known = ~np.isnan(self.outcomes)
        return np.asarray((inside & known).sum(axis=1) / np.maximum(known.sum(axis=1), 1))

    def scores(self, until: int | None = None) -> tuple[Score, ...]:
        """One score a model, over those of the first `until` cutoffs (default all) that it was tested at.

        Models that were dropped have none: theirs would compare other cutoffs.
        """
        tested = (model for model in self.quantiles if model not in self.dropped)
        return tuple(self._score(model, until) for model in tested)

    def known_at(self, origin: int) -> int:
        """How many cutoffs had all their outcomes by the time that `origin` periods had been seen."""
        horizon = self.outcomes.shape[1]
        return sum(1 for seen in self.origins if seen + horizon <= origin)

    def measured(self, values: Floats) -> Floats:
        """Values on the scale that errors are measured on."""
        if not self.is_log:
            return values
        return np.asarray(np.log(np.where(values > 0, values, np.nan)), dtype=np.float64)

    def _score(self, model: str, until: int | None) -> Score:
        crps = self.crps(model)[:until]
        served = ~np.isnan(crps).all(axis=1)
        if not served.any():
            nan = float("nan")
            return Score(model, 0, nan, nan, nan, nan)
        walk_crps = self.crps(YARDSTICK)[:until][served]
        quantiles = self.quantiles[model][:until][served]
        outcomes = self.outcomes[:until][served]
        medians, truth = self.measured(quantiles[..., MEDIAN]), self.measured(outcomes)
        walk = self.measured(self.quantiles[YARDSTICK][:until][served][..., MEDIAN])
        held = interval_coverage(quantiles, outcomes)
        return Score(
            model=model,
            cutoffs=int(served.sum()),
            rel_crps=_ratio(float(np.nanmean(crps[served])), float(np.nanmean(walk_crps))),
            rel_mae=_ratio(mae(medians, truth), mae(walk, truth)),
            coverage_80=held[80],
            coverage_95=held[95],
            coverage_50=held[50],
            mase=float(np.mean(mase(medians, truth, self.change_scale[:until][served]))),
            bias=bias(medians, truth),
        )


def roll(
    history: History, models: Sequence[Model], origins: Sequence[int], horizon: int
) -> Rolling:
    """What every model says at every origin, on what had been seen there and nothing else.

    Values are handed over up to the newest origin only, on logarithms for the origins that have seen
    none at or below zero.
    """
    origins = tuple(origins)
    scales = tuple(scale_of(history.values[:seen]) for seen in origins)
    tracks = []
    for is_log in (True, False):
        rows = tuple(row for row, scale in enumerate(scales) if scale.is_log is is_log)
        if rows:
            newest = origins[rows[-1]]
            values = scales[rows[-1]].forward(history.values[:newest])
            values.setflags(write=False)
            periods = history.periods[:newest]
            track = Track(values, periods, history.frequency, is_log, history.events)
            tracks.append((rows, track))
    outcomes = _outcomes(history, scales, origins, horizon)
    return Rolling(history, origins, scales, tuple(tracks), outcomes).with_models(models)


def _outcomes(
    history: History, scales: Sequence[Scale], origins: Sequence[int], horizon: int
) -> Floats:
    """What was observed after each origin (origin x step), on the scale of the origin."""
    observed = np.where(history.is_filled, np.nan, history.values)
    padded = np.concatenate([observed, np.full(horizon, np.nan)])
    rows = []
    for scale, seen in zip(scales, origins, strict=True):
        after = padded[seen : seen + horizon]
        if scale.is_log:
            # What fell to zero or below lies under every positive quantile.
            after = np.where(after <= 0, -np.inf, np.log(np.where(after > 0, after, np.nan)))
        rows.append(after)
    return np.asarray(rows).reshape(-1, horizon)


def origins_of(history: History, *, horizon: int, step: int, min_train: int) -> tuple[int, ...]:
    """Numbers of periods seen at each cutoff: from `min_train` on, as long as a whole horizon follows.

    A cutoff whose last value was filled from its neighbours is left out: the later one was not known.
    """
    last = history.values.size - horizon
    return tuple(
        seen for seen in range(min_train, last + 1, step) if not history.is_filled[seen - 1]
    )


def with_learning(
    history: History, scored: Sequence[int], *, stride: int, until: int, lessons: int = LESSONS
) -> tuple[int, ...]:
    """The scored origins, and those before and between them, up to `until`, that only teach intervals.

    They lie `stride` periods apart, on a grid through the first scored one, and at most
    `lessons` of them before it.
    """
    if not scored:
        return ()
    from_first = range(scored[0] - stride * min(lessons, scored[0] // stride), until, stride)
    learning = (seen for seen in from_first if seen >= 2 and not history.is_filled[seen - 1])
    return tuple(sorted({*scored, *learning}))


def backtest(
    history: History,
    models: Sequence[Model],
    horizon: int,
    step: int,
    min_train: int,
    max_cutoffs: int | None = None,
) -> BacktestResult:
    """Score models at the newest `max_cutoffs` cutoffs, each `step` periods after the one before."""
    scored = origins_of(history, horizon=horizon, step=step, min_train=min_train)
    scored = scored[-max_cutoffs:] if max_cutoffs else scored
    until = scored[-1] if scored else 0
    origins = with_learning(history, scored, stride=max(1, horizon // 2), until=until)
    return evaluate(roll(history, models, origins, horizon), scored, horizon)


def evaluate(
    rolling: Rolling, scored: Collection[int], horizon: int, dropped: Collection[str] = ()
) -> BacktestResult:
    """Calibrate at the scored origins and put the first `horizon` steps beside the outcomes, in their unit.

    Models in `dropped` are not calibrated: too few of their past errors are known.
    """
    history = rolling.history
    scored = tuple(scored)
    rows = [rolling.origins.index(seen) for seen in scored]
    observed = np.where(history.is_filled, np.nan, history.values)
    outcomes = np.asarray([observed[seen : seen + horizon] for seen in scored]).reshape(-1, horizon)
    quantiles = {}
    for name, raw in rolling.raw.items():
        if name in dropped:
            found = raw[rows][:, :horizon]
        else:
            found = rolling.calibrated(name, scored, horizon)
        quantiles[name] = found.reshape(-1, horizon, len(QUANTILE_LEVELS))
        for scale in {rolling.scales[row] for row in rows}:
            alike = [at for at, row in enumerate(rows) if rolling.scales[row] == scale]
            quantiles[name][alike] = scale.back(quantiles[name][alike])
    scale = history.scale
    changes = np.abs(np.diff(scale.forward(history.values)))
    # A filled value moved as its neighbours say: only changes that were seen count.
    changes[history.is_filled[1:] | history.is_filled[:-1]] = np.nan
    return BacktestResult(
        series=history.series,
        frequency=history.frequency,
        observations=history.observations,
        origins=scored,
        cutoffs=tuple(history.periods[seen - 1] for seen in scored),
        periods=tuple(history.periods[seen : seen + horizon] for seen in scored),
        outcomes=outcomes,
        quantiles=quantiles,
        change_scale=np.asarray([_mean_known(changes[: seen - 1]) for seen in scored]),
        is_log=scale.is_log,
        failures=rolling.failures,
        dropped=frozenset(dropped),
    )


def row_means(values: Floats) -> Floats:
    """Mean of what is known in each row; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mean_known(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _ratio(value: float, yardstick: float) -> float:
    """Error over the yardstick's; 1 when neither errs, as on a constant series."""
    if yardstick > 0:
        return float(value / yardstick)
    # Rounding is no error.
    return 1.0 if value < 1e-9 else float("inf")
