"""Which model speaks for a series and why; the one entry from observations to a forecast."""

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.backtest import BacktestResult, Rolling, evaluate, origins_of, roll, with_learning
from forecasting.intervals import usual_gap
from forecasting.metrics import pit, pit_histogram
from forecasting.models import INCUMBENT, REGISTRY, YARDSTICK, models_named
from forecasting.paths import sample_paths
from forecasting.results import CutoffCheck, ObservedSeries, Score, Scorecard, SeriesForecast
from forecasting.series import (
    CannotForecastError,
    Floats,
    History,
    PolicyEvent,
    periods_after,
    prepare,
    scale_of,
)

MODEL_VERSION = "3"
"""Part of every forecast id: raise it when equal input may give different numbers."""

MARGIN = 0.02
"""Share by which a rival's CRPS must lie below what it competes with before it takes the place."""

SURE = 2.0
"""Standard errors by which it must be better as well: the best of many rivals leads by chance."""

KIN = {"day": "momentum", "week": "momentum", "month": "momentum", "year": "drift"}
"""The random walk with a median that moves, shrunk towards it already: a lead is enough for its place."""

_KIN_SURE = {"day": 0.0, "week": 0.0, "month": 0.0, "year": 1.0}
"""Standard errors that the lead needs all the same: few years show trends where there are none."""

MIN_CUTOFFS = 8
"""Past cutoffs that a comparison must rest on."""

CUTOFFS = 16
"""Past cutoffs that every model is tested at, if the history is long enough."""

_LESSONS = 6  # cutoffs before the first one that only teach intervals
_HEATS = (
    3  # a rival races at every third cutoff first, and is dropped unless it leads by the margin
)
_LEAST_HEATS = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """How the past forecasts of a series are tested; all numbers are periods."""

    horizon: int
    step: int
    min_train: int


_HORIZONS = {"year": 2, "month": 6, "week": 13, "day": 20}
"""Periods ahead that models are judged by: those that decisions are made for."""

_MIN_TRAIN = {"year": 6, "month": 36, "week": 78, "day": 250}
_MIN_TRAIN_SHORT = {"year": 6, "month": 24, "week": 52, "day": 120}


def plan_for(history: History) -> Plan:
    """`CUTOFFS` cutoffs spread over what the history allows, no further apart than a horizon."""
    count, frequency = history.values.size, history.frequency
    horizon, min_train = _HORIZONS[frequency], _MIN_TRAIN[frequency]
    if count < 2 * min_train:
        min_train = _MIN_TRAIN_SHORT[frequency]
    step = (count - min_train - horizon) // (CUTOFFS - 1)
    return Plan(horizon, min(max(step, 1), horizon), min_train)


@dataclass(frozen=True, slots=True)
class Pick:
    """The model that speaks after so many cutoffs, and what it was compared with."""

    model: str
    cutoffs: int  # that the random walk was tested at
    rival: str = ""  # the best one, the model itself if it is one; empty when none could be tested
    rival_cutoffs: int = 0  # that both were tested at
    gain: float = (
        0.0  # share by which the rival's CRPS lies below the random walk's, negative when above
    )


def pick(result: BacktestResult, until: int | None = None) -> Pick:
    """The random walk, unless a rival was clearly better in enough of the first `until` cutoffs."""
    crps = {model: values[:until] for model, values in result.mean_crps.items()}
    place = crps[INCUMBENT]
    cutoffs = int((~np.isnan(place)).sum())
    overlap = _overlap(result, until)
    others = {INCUMBENT, YARDSTICK, *result.dropped}
    rivals = [model for model in crps if model not in others]
    tested = {model: _comparison(crps[model], place, overlap) for model in rivals}
    kin = KIN[result.frequency]
    own = tested.get(kin, _Comparison(0, 0.0, 0.0))
    is_ahead = own.gain > 0 and own.errors_apart >= _KIN_SURE[result.frequency]
    speaks = kin if own.cutoffs >= MIN_CUTOFFS and is_ahead else INCUMBENT
    leads = {model: _comparison(crps[model], crps[speaks], overlap) for model in rivals}
    clear = [
        model
        for model, lead in leads.items()
        if lead.cutoffs >= MIN_CUTOFFS and lead.gain > MARGIN and lead.errors_apart >= SURE
    ]
    speaks = max(clear, key=lambda model: leads[model].gain, default=speaks)
    shown = speaks
    if speaks == INCUMBENT:
        seen = {model: found for model, found in tested.items() if found.cutoffs}
        shown = max(seen, key=lambda model: seen[model].gain, default="")
    if not shown:
        return Pick(speaks, cutoffs)
    return Pick(speaks, cutoffs, shown, tested[shown].cutoffs, tested[shown].gain)


@dataclass(frozen=True, slots=True)
class _Comparison:
    cutoffs: int
    gain: float  # share by which the mean CRPS lies below the other's
    errors_apart: float  # the same in standard errors


def _overlap(result: BacktestResult, until: int | None) -> float:
    """How often each outcome is counted: cutoffs within a horizon of each other share what happened."""
    return float(max(1.0, result.outcomes.shape[1] / usual_gap(result.origins[:until])))


def _comparison(own: Floats, other: Floats, overlap: float) -> _Comparison:
    both = ~np.isnan(own) & ~np.isnan(other)
    count = int(both.sum())
    if not count:
        return _Comparison(0, 0.0, 0.0)
    lead, level = other[both] - own[both], float(other[both].mean())
    gain = float(lead.mean())
    if gain == 0 or level <= 0:
        return _Comparison(count, 0.0, 0.0)
    error = float(lead.std()) / np.sqrt(count / overlap)
    apart = gain / error if error > 0 else float(np.copysign(np.inf, gain))
    return _Comparison(count, gain / level, apart)


def speaker_at(evidence: BacktestResult, history: History, seen: int) -> str:
    """The model that would have spoken when `seen` periods were known, on the scale chosen there."""
    known = evidence.measured_as(scale_of(history.values[:seen]).is_log)
    return pick(known, evidence.known_at(seen)).model


def require_walks(rolling: Rolling) -> None:
    """Raise CannotForecastError where the models that everything rests on gave no numbers."""
    for name in (YARDSTICK, INCUMBENT):
        if name in rolling.failures:
            raise CannotForecastError(rolling.history.series, f"{name} {rolling.failures[name]}")


def choose(result: BacktestResult, until: int | None = None) -> tuple[str, str, tuple[Score, ...]]:
    """Model name, one sentence why, all scores: the random walk speaks unless it is clearly beaten.

    `until` limits the evidence to the first so many cutoffs.
    """
    found = pick(result, until)
    scores = tuple(score for score in result.scores(until) if score.cutoffs)
    place = REGISTRY[INCUMBENT].title
    if found.cutoffs < MIN_CUTOFFS:
        reason = (
            f"{place} speaks for {result.series} by default: "
            f"{result.observations} observations allow no test of anything better."
        )
        return INCUMBENT, reason, scores
    held = next(_held(score) for score in scores if score.model == found.model)
    if not found.rival:
        why = "its rivals fell behind early" if result.dropped else "no rival could be tested"
        reason = f"{place} speaks for {result.series}: {why}; {held}"
        return INCUMBENT, reason, scores
    if found.model != INCUMBENT:
        reason = (
            f"{_title(found.model)} speaks for {result.series}: its CRPS was "
            f"{_share(found.gain)} below the random walk's in {found.rival_cutoffs} past cutoffs; "
            f"{held}"
        )
        return found.model, reason, scores
    reason = (
        f"{place} speaks for {result.series}: nothing beat it in {found.cutoffs} past cutoffs "
        f"(best rival {_title(found.rival)}, {_verdict(found)}); {held}"
    )
    return INCUMBENT, reason, scores


def _verdict(found: Pick) -> str:
    """Why the best rival does not speak."""
    # A small or an unsteady lead is chance as often as not, so it is reported but not rewarded.
    few = (
        f" in the {found.rival_cutoffs} it was tested at"
        if found.rival_cutoffs < found.cutoffs
        else ""
    )
    if found.gain <= -0.005:
        return f"CRPS {-100 * found.gain:.0f} % worse{few}"
    if found.gain <= 0:
        return f"no better{few}"
    better = f"CRPS {_share(found.gain)} better{few}"
    if found.rival_cutoffs < MIN_CUTOFFS:
        return f"{better}, {MIN_CUTOFFS} needed"
    if found.gain <= MARGIN:
        return f"{better}, more than {100 * MARGIN:.0f} % asked"
    return f"{better}, but not steadily enough to rule out chance"


def _share(gain: float) -> str:
    if gain >= MARGIN:
        return f"{100 * gain:.0f} %"
    return f"{100 * gain:.1f} %" if gain >= 0.001 else "less than 0.1 %"


def forecast(
    observed: ObservedSeries,
    *,
    horizon: int,
    model_names: Sequence[str],
    n_paths: int,
    seed: int,
    events: tuple[PolicyEvent, ...] = (),
) -> SeriesForecast:
    """Test the models on the series' own past, let the best speak, and draw its paths.

    The random walk and its yardstick always take part. Raises CannotForecastError for a series that
    nothing can speak about and ValueError for an unknown model.
    """
    history = prepare(observed, events)
    return forecast_history(
        history, horizon=horizon, model_names=model_names, n_paths=n_paths, seed=seed
    )


def forecast_history(
    history: History, *, horizon: int, model_names: Sequence[str], n_paths: int, seed: int
) -> SeriesForecast:
    """`forecast` of a history that was prepared already; raises ValueError for an unknown model."""
    rolling, result = _tested(history, model_names, horizon, in_heats=True)
    name, reason, scores = choose(result)
    quantiles = rolling.calibrated(name, [history.values.size])[0, :horizon]
    scale = history.scale
    in_unit = scale.back(quantiles)
    paths = _paths(history, quantiles, n_paths, seed)
    notes = [history.note] if history.note else []
    notes += [f"{_title(model)} failed: {why}" for model, why in result.failures.items()]
    return SeriesForecast(
        forecast_id=_forecast_id(history, list(rolling.raw), horizon, n_paths, seed),
        series=history.series,
        title=history.title,
        unit=history.unit,
        frequency=history.frequency,
        cutoff=history.periods[-1],
        last_value=float(history.values[-1]),
        history=tuple(zip(history.periods, history.values.tolist(), strict=True)),
        periods=periods_after(history.periods[-1], history.frequency, horizon),
        quantiles=tuple(tuple(row) for row in in_unit.tolist()),
        paths=tuple(tuple(row) for row in paths.tolist()),
        model=name,
        reason=f"{reason[:-1]} ({'; '.join(notes)})." if notes else reason,
        scores=scores,
        observations=history.observations,
        vintage=history.vintage,
    )


def scorecard(
    observed: ObservedSeries,
    *,
    model_names: Sequence[str],
    events: tuple[PolicyEvent, ...] = (),
) -> Scorecard:
    """How every model did at the past cutoffs of a series, and what the service would have said there.

    Raises CannotForecastError for a series that nothing can speak about.
    """
    history = prepare(observed, events)
    _, result = _tested(history, model_names, plan_for(history).horizon, in_heats=False)
    name, reason, scores = choose(result)
    checks, chosen = [], []
    for row, seen in enumerate(result.origins):
        model = speaker_at(result, history, seen)
        chosen.append(result.quantiles[model][row])
        inside = result.held(model, 0.8)[row]
        checks.append(
            CutoffCheck(
                cutoff=result.cutoffs[row],
                model=model,
                crps=float(result.mean_crps[model][row]),
                walk_crps=float(result.mean_crps[YARDSTICK][row]),
                held_80=float(inside),
            )
        )
    shares = (
        pit_histogram(pit(result.measured(np.asarray(chosen)), result.measured(result.outcomes)))
        if chosen
        else np.zeros(0)
    )
    return Scorecard(
        series=history.series,
        title=history.title,
        unit=history.unit,
        frequency=history.frequency,
        horizon=result.outcomes.shape[1],
        model=name,
        reason=reason,
        scores=scores,
        checks=tuple(check for check in checks if not np.isnan(check.crps)),
        pit_share=tuple(shares.tolist()),
        vintage=history.vintage,
    )


def _tested(
    history: History, model_names: Sequence[str], horizon: int, *, in_heats: bool
) -> tuple[Rolling, BacktestResult]:
    """Every model at the cutoffs of the series' plan and now.

    `in_heats` a rival is tested at every third cutoff first, and at the others only if it led the random
    walk by the margin there.
    """
    models = models_named((YARDSTICK, INCUMBENT, *model_names))
    plan = plan_for(history)
    now = history.values.size
    scored = origins_of(history, horizon=plan.horizon, step=plan.step, min_train=plan.min_train)[
        -CUTOFFS:
    ]
    origins = with_learning(history, scored, stride=plan.step, until=now, lessons=_LESSONS)
    heats = scored[::-1][::_HEATS][::-1]
    walks = [
        model for model in models if model.name in (YARDSTICK, INCUMBENT, KIN[history.frequency])
    ]
    rivals = [model for model in models if model not in walks]
    is_raced = in_heats and len(heats) >= _LEAST_HEATS
    first = walks if is_raced else list(models)
    rolling = roll(history, first, (*origins, now), max(horizon, plan.horizon))
    dropped: set[str] = set()
    if is_raced:
        rolling = rolling.with_models(rivals, at=heats)
        rows = [row for row, seen in enumerate(rolling.origins) if seen in heats]
        place = rolling.raw_crps(INCUMBENT, plan.horizon)[rows]
        finalists = [
            model
            for model in rivals
            if _comparison(rolling.raw_crps(model.name, plan.horizon)[rows], place, 1.0).gain
            > MARGIN
        ]
        dropped = {model.name for model in rivals if model not in finalists}
        rolling = rolling.with_models(finalists, at={*scored, now})
    require_walks(rolling)
    return rolling, evaluate(rolling, scored, plan.horizon, dropped=dropped)


def _paths(history: History, quantiles: Floats, n_paths: int, seed: int) -> Floats:
    """Paths in the unit of the series; the series' name is part of the seed, so that no two move alike."""
    scale = history.scale
    mixed = int(
        np.random.SeedSequence([seed, zlib.crc32(history.series.encode())]).generate_state(1)[0]
    )
    return scale.back(sample_paths(quantiles, scale.forward(history.values), n_paths, mixed))


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
        history.frequency,
        history.periods[0].isoformat(),
        history.periods[-1].isoformat(),
        [(event.on.isoformat(), event.is_tightening) for event in history.events],
        list(models),
        horizon,
        n_paths,
        seed,
        MODEL_VERSION,
    ]
    digest = hashlib.sha256(json.dumps(content).encode())
    # Periods are regular: the first, the last and the number of values say them all.
    digest.update(history.values.tobytes())
    digest.update(history.is_filled.tobytes())
    return "f-" + digest.hexdigest()[:16]
