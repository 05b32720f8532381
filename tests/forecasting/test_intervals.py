import numpy as np
import pytest

from forecasting.intervals import (
    NORMAL_SCORES,
    conformal,
    row_quantiles,
)
from forecasting.metrics import coverage
from forecasting.results import MEDIAN, QUANTILE_LEVELS


def rolled(spread: float, origins: int = 120, steps: int = 4, seed: int = 5, drift: float = 0.0):
    """Forecasts of a unit walk whose spread is `spread` times the true one, at every second period."""
    draw = np.random.default_rng(seed)
    values = np.cumsum(draw.normal(size=2 * origins + steps + 10))
    seen = np.arange(10, 10 + 2 * origins, 2)
    fan = spread * np.sqrt(np.arange(1, steps + 1))[:, None] * NORMAL_SCORES
    quantiles = values[seen - 1, None, None] + fan + drift
    outcomes = np.stack([values[n : n + steps] for n in seen])
    return quantiles, outcomes, seen.tolist()


@pytest.mark.parametrize("spread", [0.4, 0.7, 1.0, 1.5])
def test_intervals_of_any_width_come_to_hold_what_they_promise(spread):
    held_80, held_95, held_50, raw = [], [], [], []
    for seed in range(30):
        quantiles, outcomes, seen = rolled(spread, seed=seed)
        asked = list(range(90, 118))
        found = conformal(quantiles, outcomes, seen, asked, 208.0)
        held_80.append(coverage(found[..., 1], found[..., 5], outcomes[asked]))
        held_95.append(coverage(found[..., 0], found[..., 6], outcomes[asked]))
        held_50.append(coverage(found[..., 2], found[..., 4], outcomes[asked]))
        raw.append(coverage(quantiles[asked][..., 1], quantiles[asked][..., 5], outcomes[asked]))
    # Half-corrected is what a belief in the model leaves; nearer than before, and near.
    assert abs(np.mean(held_80) - 0.80) <= max(0.02, abs(np.mean(raw) - 0.80) / 3)
    assert np.mean(held_95) == pytest.approx(0.95, abs=0.05)
    assert np.mean(held_50) == pytest.approx(0.50, abs=0.12)


def test_a_lack_within_chance_is_left_alone():
    unchanged = 0
    for seed in range(20):
        quantiles, outcomes, seen = rolled(1.0, origins=30, seed=seed)
        found = conformal(quantiles, outcomes, seen, [29], 208.0)[0]
        unchanged += np.array_equal(found[:, [1, 5]], quantiles[29][:, [1, 5]])
    assert unchanged >= 10


def test_only_outcomes_seen_by_an_origin_correct_it():
    quantiles, outcomes, seen = rolled(0.5)
    corrupted = outcomes.copy()
    late = np.asarray(seen)[:, None] + np.arange(1, 5) > seen[60]
    corrupted[late] = 1e6
    honest = conformal(quantiles, outcomes, seen, [60], 208.0)
    assert np.array_equal(honest, conformal(quantiles, corrupted, seen, [60], 208.0))
    assert not np.array_equal(honest[0], quantiles[60])


def test_the_newest_errors_count_before_a_whole_horizon_is_over():
    quantiles, outcomes, seen = rolled(0.5)
    partly = np.asarray(seen)[:, None] + np.arange(1, 5) > seen[60]
    only_whole = np.where(partly.any(axis=1)[:, None], np.nan, outcomes)
    assert not np.array_equal(
        conformal(quantiles, outcomes, seen, [60], 208.0),
        conformal(quantiles, only_whole, seen, [60], 208.0),
    )


def test_the_median_stays_and_quantiles_never_cross():
    quantiles, outcomes, seen = rolled(0.4)
    found = conformal(quantiles, outcomes, seen, [100], 208.0)[0]
    assert found[:, MEDIAN] == pytest.approx(quantiles[100][:, MEDIAN])
    assert (np.diff(found, axis=-1) >= 0).all()


def test_without_past_errors_quantiles_stay_as_they_are():
    quantiles, outcomes, seen = rolled(0.4)
    unknown = np.full_like(outcomes, np.nan)
    assert np.array_equal(conformal(quantiles, unknown, seen, [50], 208.0)[0], quantiles[50])
    assert np.array_equal(conformal(quantiles, outcomes, seen, [0], 208.0)[0], quantiles[0])


def test_an_interval_without_width_holds_a_price_that_did_not_move():
    quantiles = np.full((40, 3, 7), 2.0)
    outcomes = np.full((40, 3), 2.0)
    found = conformal(quantiles, outcomes, list(range(10, 50)), [39], 208.0)
    assert np.array_equal(found[0], quantiles[39])


def test_an_outcome_at_minus_infinity_is_a_miss_like_others():
    quantiles, outcomes, seen = rolled(1.0)
    outcomes[40:60] = -np.inf
    assert np.isfinite(conformal(quantiles, outcomes, seen, [100], 208.0)).all()


def test_inputs_are_not_changed():
    quantiles, outcomes, seen = rolled(0.4)
    before = quantiles.copy(), outcomes.copy()
    conformal(quantiles, outcomes, seen, [80, 90], 208.0)
    assert np.array_equal(quantiles, before[0])
    assert np.array_equal(outcomes, before[1])


def test_weighted_quantiles_equal_a_slow_loop():
    draw = np.random.default_rng(3)
    sample, weights = draw.normal(size=(5, 40)), draw.random(size=(5, 40))
    # The first row has few values that count; values that don't are infinite and weigh nothing.
    weights[0, 5:] = 0.0
    sample[0, 5:] = np.inf
    found, sizes = row_quantiles(sample, weights)
    for row in range(5):
        pairs = sorted((x, w) for x, w in zip(sample[row], weights[row], strict=True) if w > 0)
        total = sum(w for _, w in pairs)
        middles, below = [], 0.0
        for _, w in pairs:
            middles.append((below + w / 2) / total)
            below += w
        expected = np.interp(QUANTILE_LEVELS, middles, [x for x, _ in pairs])
        assert found[row] == pytest.approx(expected)
        assert sizes[row] == pytest.approx(total**2 / sum(w * w for _, w in pairs))


def test_rows_of_nothing_and_of_one_value_have_quantiles_too():
    sample = np.array([[np.inf, np.inf], [np.inf, 3.0]])
    found, sizes = row_quantiles(sample, np.array([[0.0, 0.0], [0.0, 0.2]]))
    assert found.tolist() == [[0.0] * 7, [3.0] * 7]
    assert sizes.tolist() == [0.0, 1.0]


def test_recent_values_move_a_weighted_quantile():
    sample = np.array([[0.0, 0.0, 0.0, 1.0, 1.0]])
    recent, _ = row_quantiles(sample, np.array([[1.0, 1, 1, 9, 9]]))
    equal, size = row_quantiles(sample, np.ones((1, 5)))
    assert recent[0, MEDIAN] == 1.0
    assert equal[0, MEDIAN] == 0.0
    assert size[0] == pytest.approx(5)
