import numpy as np
import pytest

from forecasting.recency import mean_so_far, recency_weights


def test_the_past_halves_with_its_half_life():
    assert recency_weights(np.array([0.0, 4.0, 8.0]), 4.0).tolist() == [1.0, 0.5, 0.25]


def test_a_running_mean_equals_a_slow_loop():
    values = np.random.default_rng(2).normal(size=30)
    found = mean_so_far(values, 3.0)
    for at in (0, 7, 29):
        weights = [0.5 ** (age / 3) for age in range(at, -1, -1)]
        assert found[at] == pytest.approx(np.average(values[: at + 1], weights=weights))


def test_a_mean_that_starts_from_zero_says_little_at_first():
    found = mean_so_far(np.ones(40), 3.0, is_normalised=False)
    assert found[0] == pytest.approx(1 - 0.5 ** (1 / 3))
    assert found[-1] == pytest.approx(1, abs=0.001)
