from statistics import NormalDist

import numpy as np
import pytest

from forecasting.metrics import (
    auc,
    bias,
    brier,
    brier_skill,
    coverage,
    crps_from_quantiles,
    interval_coverage,
    mae,
    mase,
    pinball,
    pit,
    pit_histogram,
    reliability,
)
from forecasting.results import QUANTILE_LEVELS


@pytest.fixture
def case():
    draw = np.random.default_rng(3)
    quantiles = np.sort(draw.normal(size=(5, 4, 7)), axis=-1)
    return quantiles, draw.normal(size=(5, 4))


@pytest.fixture
def events():
    draw = np.random.default_rng(8)
    # Away from the edges of bins, where rounding would decide.
    probabilities = draw.integers(0, 12, size=60) / 12 + 0.01
    return probabilities, (draw.random(60) < probabilities).astype(float)


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


def test_bias_is_positive_when_we_forecast_too_much():
    assert bias(np.array([12.0, 9.0, 4.0]), np.array([10.0, 10.0, np.nan])) == pytest.approx(0.5)


def test_bias_equals_a_slow_loop(case):
    quantiles, outcomes = case
    total = 0.0
    for forecast, outcome in zip(quantiles[..., 3].ravel(), outcomes.ravel(), strict=True):
        total += forecast - outcome
    assert bias(quantiles[..., 3], outcomes) == pytest.approx(total / 20)


def test_mase_is_one_when_the_error_is_one_usual_change():
    medians = np.array([[10.0, 10.0]])
    assert mase(medians, np.array([[12.0, 6.0]]), np.array([2.0])).tolist() == [1.0, 2.0]


def test_mase_equals_a_slow_loop_without_unknown_outcomes_and_series_that_never_moved(case):
    quantiles, outcomes = case
    outcomes = outcomes.copy()
    outcomes[0, 1] = np.nan
    outcomes[:, 3] = np.nan
    scale = np.array([1.0, 2.0, 0.0, 0.5, 3.0])
    fast = mase(quantiles[..., 3], outcomes, scale)
    for step in range(3):
        errors = []
        for cutoff in range(5):
            if scale[cutoff] > 0 and not np.isnan(outcomes[cutoff, step]):
                error = abs(quantiles[cutoff, step, 3] - outcomes[cutoff, step])
                errors.append(error / scale[cutoff])
        assert fast[step] == pytest.approx(sum(errors) / len(errors))
    assert np.isnan(fast[3])


def test_each_interval_counts_its_own_outcomes(case):
    quantiles, outcomes = case
    shares = interval_coverage(quantiles, outcomes)
    assert list(shares) == [50, 80, 95]
    for percent, (low, high) in {50: (2, 4), 80: (1, 5), 95: (0, 6)}.items():
        inside = 0
        for i in range(5):
            for j in range(4):
                inside += quantiles[i, j, low] <= outcomes[i, j] <= quantiles[i, j, high]
        assert shares[percent] == inside / 20


def test_an_outcome_above_the_median_has_a_transform_above_one_half():
    quantiles = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]])
    assert pit(quantiles, np.array([4.5]))[0] == pytest.approx(0.625)
    assert pit(quantiles, np.array([4.0]))[0] == pytest.approx(0.5)


def test_an_outcome_beyond_the_outer_quantiles_stands_in_the_middle_of_the_tail():
    quantiles = np.tile(np.arange(1.0, 8.0), (3, 1))
    assert pit(quantiles, np.array([-50.0, 50.0, np.nan])).tolist()[:2] == [0.0125, 0.9875]
    assert np.isnan(pit(quantiles, np.array([-50.0, 50.0, np.nan]))[2])


def test_a_price_that_did_not_move_lies_in_the_middle_of_equal_quantiles():
    resting = np.array([[3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0], [1.0, 2.0, 3.0, 3.0, 3.0, 4.0, 5.0]])
    assert pit(resting, np.array([3.0, 3.0])).tolist() == [0.5, 0.5]
    assert pit(resting, np.array([2.9, 3.1]))[0] == 0.0125


def test_pit_equals_a_slow_loop(case):
    quantiles, outcomes = case
    fast = pit(quantiles, outcomes)
    for i in range(5):
        for j in range(4):
            q, y = quantiles[i, j], outcomes[i, j]
            if y < q[0]:
                expected = 0.0125
            elif y > q[6]:
                expected = 0.9875
            else:
                k = next(k for k in range(6) if q[k] <= y <= q[k + 1])
                part = (y - q[k]) / (q[k + 1] - q[k])
                expected = QUANTILE_LEVELS[k] * (1 - part) + QUANTILE_LEVELS[k + 1] * part
            assert fast[i, j] == pytest.approx(expected)


def test_transforms_of_true_quantiles_are_flat_and_those_of_narrow_ones_are_not():
    normal = NormalDist()
    scores = np.array([normal.inv_cdf(level) for level in QUANTILE_LEVELS])
    outcomes = np.random.default_rng(1).normal(size=20_000)
    honest = pit(np.tile(scores, (outcomes.size, 1)), outcomes)
    narrow = pit(np.tile(scores / 2, (outcomes.size, 1)), outcomes)
    assert pit_histogram(honest).sum() == pytest.approx(1)
    # Straight lines between quantiles bend the truth a little.
    assert pit_histogram(honest) == pytest.approx(np.full(10, 0.1), abs=0.03)
    assert pit_histogram(narrow)[0] > 0.2


def test_brier_punishes_a_sure_miss_most():
    assert brier(np.array([1.0]), np.array([0.0])) == 1
    assert brier(np.array([0.9, 0.5]), np.array([1.0, np.nan])) == pytest.approx(0.01)


def test_brier_skill_is_zero_for_climatology_and_positive_for_better():
    outcomes = np.array([1.0, 0.0, 0.0, 0.0, np.nan])
    assert brier_skill(np.full(5, 0.25), outcomes) == pytest.approx(0)
    assert brier_skill(np.array([0.7, 0.1, 0.1, 0.1, 0.9]), outcomes) > 0.5
    assert brier_skill(np.array([0.1, 0.7, 0.1, 0.1, 0.9]), outcomes) < 0
    assert np.isnan(brier_skill(np.full(2, 0.5), np.zeros(2)))


def test_brier_and_its_skill_equal_a_slow_loop(events):
    probabilities, outcomes = events
    total, happened = 0.0, 0.0
    for probability, outcome in zip(probabilities, outcomes, strict=True):
        total += (probability - outcome) ** 2
        happened += outcome
    score, rate = total / len(outcomes), happened / len(outcomes)
    assert brier(probabilities, outcomes) == pytest.approx(score)
    assert brier_skill(probabilities, outcomes) == pytest.approx(1 - score / (rate * (1 - rate)))


def test_auc_equals_comparing_every_event_with_every_other_case(events):
    probabilities, outcomes = events
    assert len(set(probabilities)) < len(probabilities)  # there are ties
    won, pairs = 0.0, 0
    for p, y in zip(probabilities, outcomes, strict=True):
        for q, z in zip(probabilities, outcomes, strict=True):
            if y == 1 and z == 0:
                won += 1.0 if p > q else 0.5 if p == q else 0.0
                pairs += 1
    assert auc(probabilities, outcomes) == pytest.approx(won / pairs)


def test_auc_is_one_when_every_event_had_the_higher_probability():
    outcomes = np.array([0.0, 1.0, np.nan, 1.0])
    assert auc(np.array([0.1, 0.2, 0.0, 0.3]), outcomes) == 1
    assert auc(np.array([0.3, 0.2, 0.0, 0.1]), outcomes) == 0
    assert np.isnan(auc(np.array([0.1, 0.2]), np.zeros(2)))


def test_reliability_equals_a_slow_loop_and_leaves_empty_bins_out(events):
    probabilities, outcomes = events
    table = reliability(probabilities, outcomes, bins=5)
    expected = []
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        pairs = [
            (p, y)
            for p, y in zip(probabilities, outcomes, strict=True)
            if low <= p < low + 0.2 or (low == 0.8 and p == 1)
        ]
        if pairs:
            expected.append(
                (len(pairs), *(sum(side) / len(pairs) for side in zip(*pairs, strict=True)))
            )
    assert [row.n for row in table] == [row[0] for row in expected]
    for row, (_, forecast, share) in zip(table, expected, strict=True):
        assert row.mean_forecast == pytest.approx(forecast)
        assert row.observed_share == pytest.approx(share)
    assert [
        row.n for row in reliability(np.array([0.05, 0.95, 1.0]), np.array([0.0, 1.0, 1.0]))
    ] == [1, 2]
