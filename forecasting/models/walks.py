"""Random walks: as today, with a spread from past changes; the spread that other models borrow is here too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forecasting.intervals import (
    NORMAL_SCORES,
    row_quantiles,
    student_scores,
)
from forecasting.models.role import once
from forecasting.recency import mean_so_far, recency_weights
from forecasting.results import MEDIAN
from forecasting.series import MIN_OBSERVATIONS, Floats, Track

Steps = npt.NDArray[np.int64]

YEARLY_HALF_LIFE = 3.0
"""Years after which the past counts half: what sold in dozens ten years ago says little of now."""
HALF_LIFE = 104.0
"""The same in periods for empirical changes of daily, weekly and monthly series."""
MEMORY = 208.0
"""The same for changes that were divided by their own time's volatility: they keep their meaning longer."""


FAST, SLOW = 3.0, 13.0
"""Half-lives in periods of the two averages of squared changes that make today's volatility."""
RECENT_SHARE = 0.75
"""Their share in it; the rest is the long run's. Chosen on World Bank months, exchange rates, weekly oil and
simulated sticky prices together; between .65 and .85, and with more averages, the error hardly differed."""

# Changes over h periods that overlap tell little that is new: this many independent ones weigh as much
# as the theory they are blended with. Half of a past median is believed: all of it would chase trends.
_TRUST_CHANGES = 20.0
_MEDIAN_BELIEVED = 0.5
_MAX_FREEDOM = 6.0  # however many changes are known, their tails are not normal
_EMPIRICAL_FREEDOM = 8.0

_MOMENTUM_HALF_LIFE = 3.0
_MOMENTUM_PRIOR = 60.0  # independent changes' worth of belief that momentum means nothing
_WINDOW = 520  # newest values that are looked at: what is older weighs a sixth, and costs as much
_CELLS = 150_000
_CLIP = 3.0  # standard deviations beyond which a change teaches no more


@dataclass(frozen=True)
class GaussianWalk:
    """As today, normal changes, spread growing with the square root of time: what others are measured by."""

    name: str = "gaussian_walk"
    title: str = "Gaussian walk"
    needs: Mapping[str, int] = field(default_factory=lambda: MIN_OBSERVATIONS)

    def quantiles(self, track: Track, origins: Sequence[int], horizon: int) -> Floats:
        squares = np.cumsum(np.diff(track.values) ** 2)
        at = np.asarray(origins)
        sigma = np.sqrt(squares[at - 2] / (at - 1))
        steps = np.sqrt(np.arange(1, horizon + 1))
        spread = sigma[:, None, None] * steps[:, None] * NORMAL_SCORES
        return np.asarray(track.values[at - 1, None, None] + spread, dtype=np.float64)


@dataclass(frozen=True)
class EmpiricalWalk:
    """As today, spread as the changes over the same number of periods were, recent ones counting more."""

    name: str = "empirical_walk"
    title: str = "Empirical walk"
    needs: Mapping[str, int] = field(default_factory=lambda: MIN_OBSERVATIONS)

    def quantiles(self, track: Track, origins: Sequence[int], horizon: int) -> Floats:
        offsets = once(
            track,
            ("empirical offsets", horizon),
            origins,
            lambda asked: empirical_offsets(track, asked, horizon),
        )
        return today(track, origins)[:, :, None] + offsets


@dataclass(frozen=True)
class RandomWalk:
    """As today; past changes over their own time's volatility, times today's: filtered historical simulation."""

    name: str = "random_walk"
    title: str = "Random walk"
    needs: Mapping[str, int] = field(default_factory=lambda: MIN_OBSERVATIONS)

    def quantiles(self, track: Track, origins: Sequence[int], horizon: int) -> Floats:
        return today(track, origins)[:, :, None] + walk_offsets(track, origins, horizon)


@dataclass(frozen=True)
class MomentumWalk:
    """The random walk, moved by how far such a recent move went on before; shrunk towards not at all."""

    name: str = "momentum"
    title: str = "Momentum"
    needs: Mapping[str, int] = field(default_factory=lambda: {"day": 120, "week": 60, "month": 30})

    def quantiles(self, track: Track, origins: Sequence[int], horizon: int) -> Floats:
        path = today(track, origins) + _momentum(track.values, origins, horizon)
        return path[:, :, None] + walk_offsets(track, origins, horizon)


def today(track: Track, origins: Sequence[int]) -> Floats:
    """The last seen value at each origin, as a column (origin x 1)."""
    return np.asarray(track.values[np.asarray(origins) - 1, None])


def around(paths: Floats, track: Track, origins: Sequence[int]) -> Floats:
    """Median paths (origin x step) with the spread of the random walk, as quantiles (origin x step x level)."""
    offsets = walk_offsets(track, origins, paths.shape[1])
    return paths[:, :, None] + offsets - offsets[:, :, MEDIAN, None]


def walk_offsets(track: Track, origins: Sequence[int], horizon: int) -> Floats:
    """Offsets (origin x step x level) of the random walk's quantiles from today's value."""
    return once(
        track,
        ("walk offsets", horizon),
        origins,
        lambda asked: filtered_offsets(track, asked, horizon),
    )


def filtered_offsets(track: Track, origins: Sequence[int], horizon: int) -> Floats:
    """Quantiles of past changes over their own time's volatility, times today's; years are too few for it."""
    if track.frequency == "year":
        return empirical_offsets(track, origins, horizon)
    recent, long_run = _variances(np.diff(track.values))
    return _offsets(track.values, origins, horizon, MEMORY, _MAX_FREEDOM, recent, long_run)


def empirical_offsets(track: Track, origins: Sequence[int], horizon: int) -> Floats:
    """Quantiles of past changes over 1..horizon periods as they were."""
    half_life = YEARLY_HALF_LIFE if track.frequency == "year" else HALF_LIFE
    constant = np.ones(track.values.size - 1)
    return _offsets(
        track.values, origins, horizon, half_life, _EMPIRICAL_FREEDOM, constant, constant
    )


def _variances(changes: Floats) -> tuple[Floats, Floats]:
    """Recent and long-run mean of squared changes, as known after each change."""
    squares = changes**2
    recent = (mean_so_far(squares, FAST) + mean_so_far(squares, SLOW)) / 2
    return recent, mean_so_far(squares, HALF_LIFE)


def _offsets(
    values: Floats,
    origins: Sequence[int],
    horizon: int,
    half_life: float,
    freedom: float,
    recent: Floats,
    long_run: Floats,
) -> Floats:
    """Quantiles (origin x step x level) of past changes in units of their volatility, times today's.

    `recent[i]` and `long_run[i]` are variances as known once values[i + 1] was seen. The long run is
    today's also for past changes: a price that was fixed for years and then moves would make moves of
    any size look possible. The fewer independent changes, the more counts a walk with the same spread
    over one period.
    """
    steps = _grid(horizon)
    every = np.asarray(origins)
    # Origins at a time whose table of changes stays in the processor's cache.
    block = max(1, _CELLS // (steps.size * min(_WINDOW, int(every.max()))))
    parts = [
        _changes_quantiles(
            values, recent, long_run, every[at : at + block], steps, half_life, freedom
        )
        for at in range(0, every.size, block)
    ]
    return _between(np.concatenate(parts), steps, horizon)


def _changes_quantiles(
    values: Floats,
    recent: Floats,
    long_run: Floats,
    origins: Steps,
    steps: Steps,
    half_life: float,
    freedom: float,
) -> Floats:
    """`_offsets` at some origins, and at the steps of the grid."""
    width = min(_WINDOW, int(origins.max()) - 1)
    column = np.arange(width)
    # Row by origin, column by change, the newest last; short histories begin in the middle of a row.
    start = origins[:, None] - 1 - width + column
    is_there = start >= 0
    start = np.maximum(start, 0)
    today = long_run[origins - 2, None]
    sigma = np.sqrt(RECENT_SHARE * recent[start] + (1 - RECENT_SHARE) * today)
    now = sigma[:, -1]
    is_over = column < width - steps[:, None]
    usable = is_there[:, None] & is_over & (now > 0)[:, None, None]
    end = np.minimum(start[:, None] + 1 + steps[:, None], origins[:, None, None] - 1)
    moved = values[end] - values[start + 1][:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        sample = np.where(usable, moved / sigma[:, None], np.inf)
    weights = usable * recency_weights(width - 1.0 - column, half_life)
    flat = (-1, width)
    own, sizes = row_quantiles(sample.reshape(flat), weights.reshape(flat))
    own = own.reshape(origins.size, steps.size, -1)
    sizes = sizes.reshape(origins.size, steps.size)
    own -= (1 - _MEDIAN_BELIEVED) * own[..., MEDIAN, None]
    independent = sizes / steps
    trust = (independent / (independent + _TRUST_CHANGES))[..., None]
    squares = np.where(usable[:, 0], sample[:, 0], 0.0) ** 2
    total, spread = np.cumsum([weights[:, 0], weights[:, 0] * squares], axis=2)[..., -1]
    scale = np.sqrt(spread / np.where(total > 0, total, 1.0))
    scores = np.stack([student_scores(min(size - 1, freedom)) for size in sizes[:, 0]])
    theory = scores * np.where(total > 0, scale, 1.0)[:, None]
    expected = theory[:, None] * np.sqrt(steps)[:, None]
    return np.asarray((trust * own + (1 - trust) * expected) * now[:, None, None])


def _grid(horizon: int) -> Steps:
    """Steps whose quantiles are computed: every one up to 3, then wider and wider apart."""
    steps = list(range(1, min(horizon, 3) + 1))
    while steps[-1] < horizon:
        steps.append(min(horizon, round(steps[-1] * 1.6)))
    return np.asarray(steps)


def _between(offsets: Floats, steps: Steps, horizon: int) -> Floats:
    """Offsets at every step: those between the computed ones follow the square root of time."""
    if steps.size == horizon:
        return offsets
    every = np.arange(1, horizon + 1)
    per_root = offsets / np.sqrt(steps)[None, :, None]
    above = np.clip(np.searchsorted(steps, every), 1, steps.size - 1)
    share = (every - steps[above - 1]) / (steps[above] - steps[above - 1])
    mixed = (
        per_root[:, above - 1] * (1 - share)[None, :, None]
        + per_root[:, above] * share[None, :, None]
    )
    return np.asarray(mixed * np.sqrt(every)[None, :, None], dtype=np.float64)


def _momentum(values: Floats, origins: Sequence[int], horizon: int) -> Floats:
    """How far (origin x step) the median moves for the last change and the mean of the last few.

    A ridge regression at every step of h-period changes on both, in units of volatility; what overlaps
    counts once.
    """
    at = np.asarray(origins)
    changes = np.diff(values)
    # Steadier than the spread's: a regression on units that jump would learn from the calmest days.
    squares = changes**2
    sigma = np.sqrt((mean_so_far(squares, SLOW) + mean_so_far(squares, HALF_LIFE)) / 2)
    safe = np.where(sigma > 0, sigma, np.inf)
    recent = mean_so_far(changes, _MOMENTUM_HALF_LIFE)
    last, mean = (np.clip(x / safe, -_CLIP, _CLIP) for x in (changes, recent))
    weights = recency_weights(np.arange(changes.size - 1, -1, -1, dtype=np.float64), MEMORY)
    products = weights * np.stack(
        [np.ones(changes.size), last * last, last * mean, mean * mean, last, mean]
    )
    now = at - 2
    steps = _grid(horizon)
    shifts = np.zeros((at.size, steps.size))
    for column, step in enumerate(steps):
        count = max(changes.size - step, 0)
        limit = _CLIP * np.sqrt(step)
        moved = values[1 + step :] - values[1 : values.size - step]
        moved = np.clip(moved[:count] / safe[:count], -limit, limit)
        terms = products[:, :count].copy()
        terms[4:] *= moved
        sums = np.concatenate([np.zeros((6, 1)), np.cumsum(terms, axis=1)], axis=1)
        # The change that began after index i was over at origin i + 2 + step.
        total, aa, ab, bb, am, bm = sums[:, np.maximum(at - 1 - step, 0)]
        prior = _MOMENTUM_PRIOR * step * (aa + bb) / 2 / np.maximum(total, 1e-300)
        # Weights are relative to the end of the series; the prior's, to the newest that is known.
        prior = prior * weights[np.clip(at - 2 - step, 0, None)]
        aa, bb = aa + prior, bb + prior
        determinant = np.maximum(aa * bb - ab * ab, 1e-300)
        slope_a = (bb * am - ab * bm) / determinant
        slope_b = (aa * bm - ab * am) / determinant
        shifts[:, column] = (slope_a * last[now] + slope_b * mean[now]) * sigma[now]
    every = np.arange(1, horizon + 1)
    return np.stack([np.interp(every, steps, row) for row in shifts])
