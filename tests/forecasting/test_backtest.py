from datetime import date

import numpy as np
import pytest

from forecasting.backtest import backtest, origins_of
from forecasting.models import REGISTRY, models_named
from forecasting.results import QUANTILE_LEVELS
from forecasting.series import from_grid

MODELS = models_named(["gaussian_walk", "random_walk", "drift", "theta"])


def walk(length: int, seed: int = 1) -> np.ndarray:
    return np.exp(4 + np.cumsum(0.06 * np.random.default_rng(seed).normal(size=length)))


def history(values: np.ndarray, frequency: str = "month"):
    periods = [date(2005 + i // 12, i % 12 + 1, 1) for i in range(values.size)]
    return from_grid("s", periods, np.asarray(values, dtype=float), frequency)


@pytest.mark.parametrize("corrupt", [1e9, 1e-6, 0.0, -5.0], ids=str)
@pytest.mark.parametrize("names", [("random_walk", "drift", "theta"), ("prophet",)], ids=str)
def test_a_corrupted_future_changes_no_forecast_of_the_past(corrupt, names):
    values = walk(70)
    broken = values.copy()
    broken[60:] = corrupt
    models = models_named(("gaussian_walk", *names))
    honest = backtest(history(values), models, 3, 3, 48)
    corrupted = backtest(history(broken), models, 3, 3, 48)
    past = [at for at, seen in enumerate(honest.origins) if seen <= 60]
    assert len(past) == 5
    for name in honest.quantiles:
        assert np.array_equal(honest.quantiles[name][past], corrupted.quantiles[name][past])


def test_a_filled_month_is_no_cutoff_and_no_outcome():
    values = walk(60)
    values[50:52] = np.nan
    series = history(values)
    assert 51 not in origins_of(series, horizon=3, step=1, min_train=45)
    result = backtest(series, MODELS, 3, 1, 45)
    at = result.origins.index(50)
    assert np.isnan(result.outcomes[at]).tolist() == [True, True, False]
    assert np.isfinite(result.scores()[1].rel_crps)


def test_cutoffs_start_at_the_least_training_and_the_newest_are_kept():
    result = backtest(history(walk(60)), MODELS, 6, 2, 40, max_cutoffs=5)
    assert result.origins == (46, 48, 50, 52, 54)
    assert result.cutoffs[0] == date(2008, 10, 1)
    assert result.periods[0][0] == date(2008, 11, 1)


def test_scores_equal_a_slow_loop():
    series = history(walk(60))
    result = backtest(series, MODELS, 3, 3, 40)

    def slow_crps(model):
        losses = []
        for at in range(len(result.origins)):
            for step in range(3):
                outcome = np.log(result.outcomes[at, step])
                total = 0.0
                for index, level in enumerate(QUANTILE_LEVELS):
                    miss = outcome - np.log(result.quantiles[model][at, step, index])
                    total += max(level * miss, (level - 1) * miss)
                losses.append(2 * total / 7)
        return sum(losses) / len(losses)

    scores = {score.model: score for score in result.scores()}
    assert scores["gaussian_walk"].rel_crps == 1
    for name in ("random_walk", "theta"):
        expected = slow_crps(name) / slow_crps("gaussian_walk")
        assert scores[name].rel_crps == pytest.approx(expected)
        assert scores[name].cutoffs == len(result.origins)


def test_the_80_percent_interval_of_every_model_holds_on_walks_of_known_truth():
    inside = dict.fromkeys((m.name for m in MODELS), 0.0)
    for seed in range(40):
        result = backtest(history(walk(120, seed)), MODELS, 6, 12, 60)
        for score in result.scores():
            inside[score.model] += score.coverage_80 / 40
    for name, share in inside.items():
        assert share == pytest.approx(0.80, abs=0.05), name


def test_non_negative_values_with_zeros_stay_non_negative():
    values = np.round(walk(60) - 55).clip(0)
    result = backtest(history(values), MODELS, 3, 3, 40)
    assert not result.is_log
    assert all((quantiles >= 0).all() for quantiles in result.quantiles.values())


def test_a_series_that_never_moves_scores_even():
    result = backtest(history(np.full(60, 5.0)), MODELS, 3, 3, 40)
    scores = {score.model: score for score in result.scores()}
    assert scores["random_walk"].rel_crps == 1
    assert scores["random_walk"].coverage_80 == 1


def test_a_model_that_needs_more_is_left_out_until_then():
    result = backtest(history(walk(40)), [*MODELS, REGISTRY["prophet"]], 3, 3, 18)
    scores = {score.model: score.cutoffs for score in result.scores()}
    assert scores["random_walk"] == len(result.origins)
    assert scores["prophet"] == sum(seen >= 24 for seen in result.origins)


def test_inputs_are_not_changed():
    values = walk(60)
    before = values.copy()
    backtest(history(values), MODELS, 3, 3, 40)
    assert np.array_equal(values, before)
