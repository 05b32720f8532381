"""Which model speaks for a series and why; the one entry from observations to a forecast."""

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.backtest import BacktestResult, evaluate, origins_of, roll
from forecasting.intervals import sample_paths
from forecasting.models import INCUMBENT, REGISTRY, YARDSTICK, models_named
from forecasting.results import ObservedSeries, Score, SeriesForecast
from forecasting.series import Floats, History, periods_after, prepare

MODEL_VERSION = "1"
"""Part of every forecast id: raise it when equal input may give different numbers."""

MARGIN = 0.02
"""Share by which a rival's CRPS must lie below the random walk's before it takes the place."""

MIN_CUTOFFS = 8
"""Past cutoffs that a comparison must rest on."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the past forecasts of a series are tested; all numbers are periods but `max_cutoffs`."""

    horizon: int
    step: int
    min_train: int
    max_cutoffs: int
    first_origin: int  # cutoffs from here to the first scored one only teach the intervals


def plan_for(history: History) -> Plan:
    """Two years ahead for yearly series, six months for monthly ones, at 24 cutoffs at the most."""
    if history.frequency == "year":
        return Plan(horizon=2, step=1, min_train=6, max_cutoffs=24, first_origin=6)
    count = history.values.size
    return Plan(
        horizon=6,
        step=3 if count >= 110 else 2,
        min_train=36 if count >= 72 else 24,
        max_cutoffs=24,
        first_origin=24,
    )


def choose(result: BacktestResult, until: int | None = None) -> tuple[str, str, tuple[Score, ...]]:
    """Model name, one sentence why, all scores: the random walk speaks unless it is clearly beaten.

    `until` limits the evidence to the first so many cutoffs.
    """
    scores = tuple(score for score in result.scores(until) if score.cutoffs)
    walk = next((score for score in scores if score.model == INCUMBENT), None)
    place = REGISTRY[INCUMBENT].title
    if walk is None or walk.cutoffs < MIN_CUTOFFS:
        count = result.observations
        reason = (
            f"{place} speaks for {result.series} by default: "
            f"{count} observations allow no test of anything better."
        )
        return INCUMBENT, reason, scores
    rivals = [
        score
        for score in scores
        if score.model not in (INCUMBENT, YARDSTICK) and score.cutoffs >= MIN_CUTOFFS
    ]
    best = min(rivals, key=lambda score: score.rel_crps, default=None)
    if best is None:
        reason = f"{place} speaks for {result.series}: no rival could be tested; {_held(walk)}"
        return INCUMBENT, reason, scores
    gain = 1 - best.rel_crps / walk.rel_crps if walk.rel_crps > 0 else 0.0
    if gain > MARGIN:
        reason = (
            f"{_title(best.model)} speaks for {result.series}: its CRPS was "
            f"{100 * gain:.0f} % below the random walk's in {best.cutoffs} past cutoffs; {_held(best)}"
        )
        return best.model, reason, scores
    # A small lead is chance as often as not, so it is reported but not rewarded.
    verdict = (
        f"CRPS {-100 * gain:.0f} % worse"
        if gain < 0
        else f"CRPS {100 * gain:.1f} % better, more than {100 * MARGIN:.0f} % asked"
    )
    reason = (
        f"{place} speaks for {result.series}: nothing beat it in {walk.cutoffs} past cutoffs "
        f"(best rival {_title(best.model)}, {verdict}); {_held(walk)}"
    )
    return INCUMBENT, reason, scores


def forecast(
    observed: ObservedSeries,
    *,
    horizon: int,
    model_names: Sequence[str],
    n_paths: int,
    seed: int,
) -> SeriesForecast:
    """Test the models on the series' own past, let the best speak, and draw its paths.

    The random walk and its yardstick always take part. Raises CannotForecastError for a series that
    nothing can speak about and ValueError for an unknown model.
    """
    models = models_named((YARDSTICK, INCUMBENT, *model_names))
    history = prepare(observed)
    plan = plan_for(history)
    scored = origins_of(history, horizon=plan.horizon, step=plan.step, min_train=plan.min_train)[
        -plan.max_cutoffs :
    ]
    learning = range(
        plan.first_origin + (plan.min_train - plan.first_origin) % plan.step,
        history.values.size,
        plan.step,
    )
    now = history.values.size
    origins = sorted(
        {*scored, *(seen for seen in learning if not history.is_filled[seen - 1]), now}
    )
    rolling = roll(history, models, origins, max(horizon, plan.horizon), asked={*scored, now})
    name, reason, scores = choose(evaluate(rolling, scored, plan.horizon))
    quantiles = rolling.calibrated(name, len(origins) - 1)[:horizon]
    paths = _paths(history, quantiles, n_paths, seed)
    return SeriesForecast(
        forecast_id=_forecast_id(history, [model.name for model in models], horizon, n_paths, seed),
        series=history.series,
        title=history.title,
        unit=history.unit,
        frequency=history.frequency,
        cutoff=history.periods[-1],
        last_value=float(history.values[-1]),
        history=tuple(zip(history.periods, history.values.tolist(), strict=True)),
        periods=periods_after(history.periods[-1], history.frequency, horizon),
        quantiles=tuple(tuple(row) for row in quantiles.tolist()),
        paths=tuple(tuple(row) for row in paths.tolist()),
        model=name,
        reason=f"{reason[:-1]} ({history.note})." if history.note else reason,
        scores=scores,
        observations=history.observations,
        vintage=history.vintage,
    )


def _paths(history: History, quantiles: Floats, n_paths: int, seed: int) -> Floats:
    """Paths in the unit of the series; the series' name is part of the seed, so that no two move alike."""
    scale = history.scale
    mixed = int(
        np.random.SeedSequence([seed, zlib.crc32(history.series.encode())]).generate_state(1)[0]
    )
    scaled = sample_paths(scale.forward(quantiles), scale.forward(history.values), n_paths, mixed)
    return scale.back(scaled)


def _title(model: str) -> str:
    """A model's name in a sentence; one that is not registered, as in benchmarks, goes by its plain name."""
    return REGISTRY[model].title if model in REGISTRY else model


def _held(score: Score) -> str:
    return f"its 80 % interval held {100 * score.coverage_80:.0f} % of outcomes."


def _forecast_id(
    history: History, models: Sequence[str], horizon: int, n_paths: int, seed: int
) -> str:
    content = [
        history.series,
        [period.isoformat() for period in history.periods],
        history.values.tolist(),
        list(models),
        horizon,
        n_paths,
        seed,
        MODEL_VERSION,
    ]
    return "f-" + hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
