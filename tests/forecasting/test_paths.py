import numpy as np

from forecasting.intervals import NORMAL_SCORES
from forecasting.paths import sample_paths
from forecasting.results import QUANTILE_LEVELS


def a_walk(length: int, seed: int) -> np.ndarray:
    return np.cumsum(0.06 * np.random.default_rng(seed).normal(size=length))


def fan(horizon: int) -> np.ndarray:
    return 0.06 * np.sqrt(np.arange(1, horizon + 1))[:, None] * NORMAL_SCORES


def test_paths_have_the_quantiles_of_the_forecast():
    quantiles = 3 + fan(12)
    paths = sample_paths(quantiles, a_walk(120, 2), 2000, seed=9)
    assert paths.shape == (2000, 12)
    np.testing.assert_allclose(np.quantile(paths, QUANTILE_LEVELS, axis=0).T, quantiles, atol=0.005)


def test_paths_keep_the_autocorrelation_of_a_walk():
    paths = sample_paths(fan(12), a_walk(160, 4), 4000, seed=9)
    # Steps 6 and 12 of a walk share half of their variance: correlation sqrt(6/12).
    assert abs(np.corrcoef(paths[:, 5], paths[:, 11])[0, 1] - 0.71) < 0.1


def test_the_same_seed_draws_the_same_paths_and_another_seed_others():
    values = a_walk(60, 4)
    first = sample_paths(fan(3), values, 50, seed=1)
    assert np.array_equal(first, sample_paths(fan(3), values, 50, seed=1))
    assert not np.array_equal(first, sample_paths(fan(3), values, 50, seed=2))


def test_a_forecast_without_spread_has_constant_paths():
    values = np.full(24, 2.0)
    assert set(sample_paths(np.full((4, 7), 2.0), values, 30, seed=1).ravel().tolist()) == {2.0}
