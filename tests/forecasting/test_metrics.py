import numpy as np
import pytest

from forecasting.metrics import coverage, crps_from_quantiles, mae, pinball
from forecasting.results import QUANTILE_LEVELS


@pytest.fixture
def case():
    draw = np.random.default_rng(3)
    quantiles = np.sort(draw.normal(size=(5, 4, 7)), axis=-1)
    return quantiles, draw.normal(size=(5, 4))


def test_crps_equals_a_slow_loop(case):
    quantiles, outcomes = case
    fast = crps_from_quantiles(quantiles, outcomes)
    for i in range(5):
        for j in range(4):
            total = 0.0
            for level, quantile in zip(QUANTILE_LEVELS, quantiles[i, j], strict=True):
                miss = outcomes[i, j] - quantile
                total += level * miss if miss > 0 else (level - 1) * miss
            assert fast[i, j] == pytest.approx(2 * total / 7)


def test_pinball_costs_more_on_the_side_the_level_guards():
    assert pinball(np.array([[10.0]]), np.array([12.0]), [0.9])[0, 0] == pytest.approx(1.8)
    assert pinball(np.array([[10.0]]), np.array([8.0]), [0.9])[0, 0] == pytest.approx(0.2)


def test_a_forecast_that_hits_every_outcome_has_no_crps():
    assert crps_from_quantiles(np.full((1, 7), 3.0), np.array([3.0]))[0] == 0


def test_coverage_equals_a_slow_loop(case):
    quantiles, outcomes = case
    hits = [
        quantiles[i, j, 1] <= outcomes[i, j] <= quantiles[i, j, 5]
        for i in range(5)
        for j in range(4)
    ]
    assert coverage(quantiles[..., 1], quantiles[..., 5], outcomes) == sum(hits) / len(hits)


def test_unknown_outcomes_do_not_count():
    outcomes = np.array([1.0, np.nan, 5.0])
    assert coverage(np.zeros(3), np.full(3, 2.0), outcomes) == 0.5
    assert mae(np.zeros(3), outcomes) == 3.0


def test_mae_equals_a_slow_loop(case):
    quantiles, outcomes = case
    errors = [f - y for f, y in zip(quantiles[..., 3].ravel(), outcomes.ravel(), strict=True)]
    assert mae(quantiles[..., 3], outcomes) == pytest.approx(sum(map(abs, errors)) / 20)
