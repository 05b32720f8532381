from datetime import date

import numpy as np
import pytest

from forecasting.intervals import student_scores
from forecasting.metrics import coverage
from forecasting.models.walks import (
    EmpiricalWalk,
    GaussianWalk,
    MomentumWalk,
    RandomWalk,
)
from forecasting.results import MEDIAN, QUANTILE_LEVELS
from forecasting.series import Track

MONTHS = [date(1900 + i // 12, i % 12 + 1, 1) for i in range(1500)]


def track_of(values: np.ndarray, frequency: str = "month") -> Track:
    return Track(values, MONTHS[: values.size], frequency)


def simulated(count: int, length: int, seed: int, momentum: float = 0.0) -> np.ndarray:
    """Walks whose volatility comes in waves, with changes that go on by `momentum`."""
    draw = np.random.default_rng(seed)
    level = np.zeros((count, length))
    for i in range(1, length):
        level[:, i] = 0.95 * level[:, i - 1] + 0.15 * draw.normal(size=count)
    shocks = 0.03 * np.exp(level) * draw.normal(size=(count, length))
    changes = np.zeros_like(shocks)
    for i in range(1, length):
        changes[:, i] = momentum * changes[:, i - 1] + shocks[:, i]
    return np.cumsum(changes, axis=1)


@pytest.mark.parametrize("walk", [EmpiricalWalk(), RandomWalk()], ids=lambda walk: walk.name)
@pytest.mark.parametrize("length", [30, 160])
def test_intervals_of_true_walks_hold_what_they_promise(walk, length):
    draw = np.random.default_rng(1)
    paths = np.cumsum(0.06 * draw.normal(size=(600, length + 6)), axis=1)
    found = np.concatenate([walk.quantiles(track_of(path[:length]), [length], 6) for path in paths])
    outcomes = paths[:, length:]
    # With few changes the tails are taken to be heavy, so that short histories promise a little less.
    assert coverage(found[..., 1], found[..., 5], outcomes) == pytest.approx(0.80, abs=0.05)
    assert coverage(found[..., 0], found[..., 6], outcomes) == pytest.approx(0.95, abs=0.03)


def test_the_random_walk_is_wide_in_a_storm_and_narrow_in_a_calm():
    draw = np.random.default_rng(3)
    calm, storm = 0.01 * draw.normal(size=60), 0.08 * draw.normal(size=60)
    widths = {}
    for name, changes in (("storm", [*calm, *storm]), ("calm", [*storm, *calm])):
        values = np.cumsum(changes)
        found = RandomWalk().quantiles(track_of(values), [values.size], 3)[0]
        widths[name] = found[2, 5] - found[2, 1]
    assert widths["storm"] > 2 * widths["calm"]


def test_the_random_walk_beats_the_empirical_one_when_volatility_comes_in_waves():
    paths = simulated(150, 220, seed=2)
    loss = {}
    for walk in (GaussianWalk(), EmpiricalWalk(), RandomWalk()):
        total = 0.0
        for path in paths:
            found = walk.quantiles(track_of(path), [200], 6)[0]
            miss = path[200:206, None] - found
            levels = np.asarray(QUANTILE_LEVELS)
            total += np.maximum(levels * miss, (levels - 1) * miss).mean()
        loss[walk.name] = total
    assert loss["random_walk"] < loss["empirical_walk"] < loss["gaussian_walk"]


def test_momentum_follows_a_move_where_moves_went_on_and_ignores_it_where_they_did_not():
    shift = {}
    for momentum in (0.0, 0.6):
        shifts = []
        for path in simulated(60, 300, seed=5, momentum=momentum):
            path[-1] = path[-2] + 0.1
            track = track_of(path)
            moved = MomentumWalk().quantiles(track, [300], 6)[0, 5, MEDIAN]
            shifts.append(moved - RandomWalk().quantiles(track, [300], 6)[0, 5, MEDIAN])
        shift[momentum] = np.mean(shifts)
    assert abs(shift[0.0]) < 0.01
    assert shift[0.6] > 0.04


def test_momentum_equals_a_slow_regression():
    values = simulated(1, 120, seed=7, momentum=0.4)[0]
    origin, step = 100, 4
    changes = np.diff(values[:origin])
    sigma = np.sqrt(
        [
            (_ewma(changes[: i + 1] ** 2, 13.0) + _ewma(changes[: i + 1] ** 2, 104.0)) / 2
            for i in range(changes.size)
        ]
    )
    rows = []
    for i in range(changes.size - step):
        features = [changes[i], _ewma(changes[: i + 1], 3.0)]
        features = np.clip(np.asarray(features) / sigma[i], -3, 3)
        moved = np.clip((values[i + 1 + step] - values[i + 1]) / sigma[i], -6, 6)
        rows.append((features, moved, 0.5 ** ((changes.size - step - 1 - i) / 208)))
    gram, target, total = np.zeros((2, 2)), np.zeros(2), 0.0
    for features, moved, weight in rows:
        gram += weight * np.outer(features, features)
        target += weight * features * moved
        total += weight
    gram += np.eye(2) * 60 * step * np.trace(gram) / 2 / total
    slopes = np.linalg.solve(gram, target)
    now = np.clip(np.asarray([changes[-1], _ewma(changes, 3.0)]) / sigma[-1], -3, 3)
    expected = float(slopes @ now * sigma[-1])
    track = track_of(values)
    moved = MomentumWalk().quantiles(track, [origin], step)
    walk = RandomWalk().quantiles(track, [origin], step)
    assert (moved - walk)[0, step - 1, MEDIAN] == pytest.approx(expected)


def _ewma(values: np.ndarray, half_life: float) -> float:
    weights = 0.5 ** (np.arange(values.size - 1, -1, -1) / half_life)
    return float(np.average(values, weights=weights))


@pytest.mark.parametrize("origin", [20, 100])
def test_the_random_walk_equals_a_slow_filtered_simulation(origin):
    values = simulated(1, 120, seed=7)[0]
    squares = np.diff(values) ** 2
    seen = origin - 1  # changes known
    recent = [
        (_ewma(squares[: i + 1], 3.0) + _ewma(squares[: i + 1], 13.0)) / 2 for i in range(seen)
    ]
    sigma = np.sqrt([0.75 * r + 0.25 * _ewma(squares[:seen], 104.0) for r in recent])
    found = RandomWalk().quantiles(track_of(values), [60, origin], 3)[1] - values[origin - 1]
    for step in (1, 2, 3):
        starts = range(seen - step)
        moved = [(values[i + 1 + step] - values[i + 1]) / sigma[i] for i in starts]
        weights = np.asarray([0.5 ** ((seen - 1 - i) / 208) for i in starts])
        order = np.argsort(moved)
        middles = np.cumsum(weights[order]) - weights[order] / 2
        own = np.interp(QUANTILE_LEVELS, middles / weights.sum(), np.asarray(moved)[order])
        own -= own[MEDIAN] / 2
        size = weights.sum() ** 2 / (weights**2).sum()
        if step == 1:
            scale = np.sqrt(np.average(np.square(moved), weights=weights))
            theory = student_scores(min(size - 1, 6.0)) * scale
        trust = size / step / (size / step + 20)
        expected = (trust * own + (1 - trust) * theory * np.sqrt(step)) * sigma[-1]
        assert found[step - 1] == pytest.approx(expected)


def test_the_gaussian_walk_is_the_textbook_one():
    values = simulated(1, 50, seed=1)[0]
    found = GaussianWalk().quantiles(track_of(values), [40, 50], 4)
    sigma = np.sqrt(np.mean(np.diff(values[:40]) ** 2))
    assert found[0, 3, 5] == pytest.approx(values[39] + sigma * 2 * 1.2815515655)
    assert found[1, 0, MEDIAN] == values[-1]


def test_steps_between_the_computed_ones_follow_their_neighbours():
    values = simulated(1, 400, seed=4)[0]
    found = RandomWalk().quantiles(track_of(values, "day"), [400], 40)[0]
    widths = found[:, 5] - found[:, 1]
    assert (np.diff(widths) > -0.03).all()
    short = RandomWalk().quantiles(track_of(values, "day"), [400], 3)[0]
    assert found[:3] == pytest.approx(short)


def test_student_scores_are_close_to_the_tables():
    # 97.5 % points of Student's t from the usual tables.
    for freedom, expected in ((5, 2.571), (10, 2.228), (30, 2.042)):
        assert student_scores(freedom)[-1] == pytest.approx(expected, rel=0.02)
