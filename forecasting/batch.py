"""Many series at once: chunks that any engine can run, each series a forecast or the reason why there is none."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from forecasting.results import ObservedSeries, Scorecard, SeriesForecast
from forecasting.selection import forecast, scorecard
from forecasting.series import CannotForecastError, PolicyEvent

T = TypeVar("T")

MOST_IN_CHUNK = 32
"""Items that one chunk holds at most: its results are all in memory before the first is kept."""

SHARE_IN_CHUNK = 4.0
"""A chunk takes a quarter of what would be each lane's share of the work that is left."""


@dataclass(frozen=True, slots=True)
class ForecastTask:
    """One series to be forecast."""

    observed: ObservedSeries
    horizon: int  # periods ahead
    events: tuple[PolicyEvent, ...] = ()

    @property
    def cost(self) -> float:
        """How long it takes compared with others: models see each point at every cutoff."""
        return float(len(self.observed.points))


@dataclass(frozen=True, slots=True)
class ForecastOptions:
    """What is the same for every series of a run."""

    model_names: tuple[str, ...]
    n_paths: int
    seed: int  # each series mixes its name into it, so that it matters nothing what else is in its chunk


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a series has no forecast."""

    series: str
    reason: str
    trace: str = ""  # of a failure that nobody foresaw, for the log


def forecast_chunk(
    tasks: Sequence[ForecastTask], options: ForecastOptions
) -> tuple[SeriesForecast | Refusal, ...]:
    """A result for each task, in their order; whatever goes wrong with one series, the others go on."""
    return tuple(_forecast_or_refusal(task, options) for task in tasks)


def scorecard_chunk(
    tasks: Sequence[ForecastTask], model_names: tuple[str, ...]
) -> tuple[Scorecard | Refusal, ...]:
    """How the models did on the past of each task's series, in their order; one that fails stops no other."""
    return tuple(
        _or_refusal(
            task.observed.series,
            partial(scorecard, task.observed, model_names=model_names, events=task.events),
        )
        for task in tasks
    )


def chunked(
    items: Sequence[T], cost: Callable[[T], float], lanes: int
) -> tuple[tuple[T, ...], ...]:
    """Chunks for so many lanes that work side by side, the costliest items first.

    Chunks shrink toward the end, so that no lane is left alone with much work when the others are done.
    """
    ordered = sorted(items, key=cost, reverse=True)
    costs = [cost(item) for item in ordered]
    left = sum(costs)
    chunks = []
    start = 0
    while start < len(ordered):
        share = left / (SHARE_IN_CHUNK * lanes)
        end, taken = start + 1, costs[start]
        while end < len(ordered) and end - start < MOST_IN_CHUNK and taken + costs[end] <= share:
            taken += costs[end]
            end += 1
        chunks.append(tuple(ordered[start:end]))
        left -= taken
        start = end
    return tuple(chunks)


def _forecast_or_refusal(task: ForecastTask, options: ForecastOptions) -> SeriesForecast | Refusal:
    return _or_refusal(
        task.observed.series,
        partial(
            forecast,
            task.observed,
            horizon=task.horizon,
            model_names=options.model_names,
            n_paths=options.n_paths,
            seed=options.seed,
            events=task.events,
        ),
    )


def _or_refusal(series: str, compute: Callable[[], T]) -> T | Refusal:
    try:
        return compute()
    except CannotForecastError as error:
        return Refusal(series, error.reason)
    except Exception as error:  # noqa: BLE001 - told by name and by the log, and stops no other series
        return Refusal(series, unforeseen(error), traceback.format_exc())


def unforeseen(error: Exception) -> str:
    """What is said of an error that is ours to mend; its text may hold anything."""
    return f"failed inside Lodestone ({type(error).__name__}); please report it with the log"
