import numpy as np
import pytest

from forecasting.intervals import (
    calibrate,
    effective_size,
    monotone,
    sample_paths,
    student_scores,
    walk_spread,
    weighted_quantiles,
)
from forecasting.metrics import coverage
from forecasting.results import MEDIAN, QUANTILE_LEVELS


def walks(count: int, length: int, horizon: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.cumsum(0.06 * draw.normal(size=(count, length + horizon)), axis=1)


@pytest.mark.parametrize("length", [12, 30, 160])
def test_the_80_percent_interval_of_a_true_walk_holds_80_percent(length):
    horizon = 6
    paths = walks(500, length, horizon, seed=1)
    spread = np.stack([walk_spread(path[:length], horizon) for path in paths])
    outcomes = paths[:, length:] - paths[:, length - 1, None]
    assert coverage(spread[..., 1], spread[..., 5], outcomes) == pytest.approx(0.80, abs=0.03)
    assert coverage(spread[..., 0], spread[..., 6], outcomes) == pytest.approx(0.95, abs=0.03)


def test_quantiles_that_were_far_too_narrow_are_widened_by_past_errors():
    draw = np.random.default_rng(5)
    held = []
    for _ in range(300):
        raw = np.linspace(-0.01, 0.01, 7)[None, :]
        errors, ages = draw.normal(size=(60, 1)), np.arange(60, 0, -1.0)
        quantiles = calibrate(raw, errors, ages)
        held.append(quantiles[0, 1] <= draw.normal() <= quantiles[0, 5])
    # The raw interval would hold one outcome in a hundred.
    assert np.mean(held) > 0.68


def test_unknown_errors_leave_the_raw_quantiles():
    raw = np.linspace(-1, 1, 14).reshape(2, 7)
    errors = np.full((20, 2), np.nan)
    assert calibrate(raw, errors, np.arange(20, 0, -1.0)).tolist() == raw.tolist()


def test_quantiles_never_fall():
    assert monotone(np.array([[1.0, 3.0, 2.0, 4.0]])).tolist() == [[1.0, 3.0, 3.0, 4.0]]


def test_recent_values_move_a_weighted_quantile():
    sample = np.array([0.0, 0.0, 0.0, 1.0, 1.0])
    assert weighted_quantiles(sample, np.array([1.0, 1, 1, 9, 9]))[MEDIAN] == 1.0
    assert weighted_quantiles(sample, np.ones(5))[MEDIAN] == 0.0


def test_equal_weights_count_as_many_as_they_are():
    assert effective_size(np.ones(7)) == pytest.approx(7)
    assert effective_size(np.array([1.0, 0.0])) == pytest.approx(1)


def test_student_scores_are_close_to_the_tables():
    # 97.5 % points of Student's t from the usual tables.
    for freedom, expected in ((5, 2.571), (10, 2.228), (30, 2.042)):
        assert student_scores(freedom)[-1] == pytest.approx(expected, rel=0.02)


def test_paths_have_the_quantiles_of_the_forecast():
    values = walks(1, 120, 0, seed=2)[0]
    quantiles = 3 + walk_spread(values, 12)
    paths = sample_paths(quantiles, values, 2000, seed=9)
    assert paths.shape == (2000, 12)
    np.testing.assert_allclose(np.quantile(paths, QUANTILE_LEVELS, axis=0).T, quantiles, atol=0.005)


def test_paths_keep_the_autocorrelation_of_a_walk():
    values = walks(1, 160, 0, seed=4)[0]
    paths = sample_paths(walk_spread(values, 12), values, 4000, seed=9)
    # Steps 6 and 12 of a walk share half of their variance: correlation sqrt(6/12).
    assert np.corrcoef(paths[:, 5], paths[:, 11])[0, 1] == pytest.approx(0.71, abs=0.1)


def test_the_same_seed_draws_the_same_paths_and_another_seed_others():
    values = walks(1, 60, 0, seed=4)[0]
    spread = walk_spread(values, 3)
    first = sample_paths(spread, values, 50, seed=1)
    assert np.array_equal(first, sample_paths(spread, values, 50, seed=1))
    assert not np.array_equal(first, sample_paths(spread, values, 50, seed=2))


def test_a_constant_series_has_no_spread_and_constant_paths():
    values = np.full(24, 2.0)
    spread = walk_spread(values, 4)
    assert not spread.any()
    assert set(sample_paths(2 + spread, values, 30, seed=1).ravel().tolist()) == {2.0}
