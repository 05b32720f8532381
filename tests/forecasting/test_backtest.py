from datetime import date

import numpy as np
import pytest

from forecasting.backtest import backtest, evaluate, origins_of, roll, with_learning
from forecasting.models import REGISTRY, models_named
from forecasting.results import MEDIAN, QUANTILE_LEVELS
from forecasting.series import from_grid
from tests.forecasting.test_walks import simulated

MODELS = models_named(["gaussian_walk", "random_walk", "drift", "theta"])


def walk(length: int, seed: int = 1) -> np.ndarray:
    return np.exp(4 + np.cumsum(0.06 * np.random.default_rng(seed).normal(size=length)))


def history(values: np.ndarray, frequency: str = "month"):
    periods = [date(2005 + i // 12, i % 12 + 1, 1) for i in range(values.size)]
    return from_grid("s", periods, np.asarray(values, dtype=float), frequency)


@pytest.mark.parametrize("corrupt", [1e9, 1e-6, 0.0, -5.0], ids=str)
@pytest.mark.parametrize(
    "names", [("random_walk", "momentum", "drift", "theta"), ("prophet", "blend")], ids=str
)
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


@pytest.mark.parametrize("momentum", [0.0, 0.4], ids=["waves", "waves and momentum"])
def test_intervals_hold_within_two_points_on_series_of_known_truth(momentum):
    """Volatility in waves, six steps ahead, at cutoffs that have past errors to learn from."""
    names = ["random_walk", "momentum", "theta", "prophet", "blend"]
    models = models_named(["gaussian_walk", *names])
    held = {model.name: [] for model in models}
    for seed in range(120):
        values = np.exp(4 + simulated(1, 240, seed, momentum)[0])
        result = backtest(history(values), models, 6, 12, 150)
        for model in models:
            shares = [result.held(model.name, share).mean() for share in (0.5, 0.8, 0.95)]
            held[model.name].append(shares)
    for name in names:
        half, most, nearly_all = np.mean(held[name], axis=0)
        assert most == pytest.approx(0.80, abs=0.02), name
        assert nearly_all == pytest.approx(0.95, abs=0.02), name
        # Not corrected within chance, the middle of the fan stays a little wide.
        assert half == pytest.approx(0.50, abs=0.05), name
    # The yardstick isn't corrected: that is what makes it one.
    assert abs(np.mean(held["gaussian_walk"], axis=0)[2] - 0.95) > 0.01


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
    result = backtest(history(walk(60)), [*MODELS, REGISTRY["prophet"]], 3, 3, 18)
    scores = {score.model: score.cutoffs for score in result.scores()}
    assert scores["random_walk"] == len(result.origins)
    needed = REGISTRY["prophet"].needs["month"]
    assert 0 < scores["prophet"] == sum(seen >= needed for seen in result.origins)


def test_inputs_are_not_changed():
    values = walk(60)
    before = values.copy()
    backtest(history(values), MODELS, 3, 3, 40)
    assert np.array_equal(values, before)


class Broken:
    name, title, needs = "broken", "Broken", {"month": 12}

    def __init__(self, answer):
        self.answer = answer

    def quantiles(self, track, origins, horizon):
        if isinstance(self.answer, Exception):
            raise self.answer
        return np.full((len(origins), horizon, 7), self.answer)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ValueError("no seasonal terms"), "ValueError: no seasonal terms"),
        (np.linalg.LinAlgError("Singular matrix"), "LinAlgError: Singular matrix"),
        (np.inf, "gave a value that is not finite"),
    ],
    ids=["error", "singular", "infinite"],
)
def test_a_model_that_fails_is_named_and_the_others_go_on(answer, why):
    result = backtest(history(walk(60)), [*MODELS, Broken(answer)], 3, 3, 40)
    assert result.failures == {"broken": why}
    scores = {score.model: score.cutoffs for score in result.scores()}
    assert scores["broken"] == 0
    assert scores["theta"] == len(result.origins)


def test_a_mistake_in_our_own_code_is_not_taken_for_a_models_trouble():
    with pytest.raises(TypeError):
        backtest(history(walk(60)), [*MODELS, Broken(TypeError("ours"))], 3, 3, 40)


def test_a_series_that_falls_below_zero_is_on_logarithms_before_and_on_levels_after():
    values = walk(80)
    values[60:] -= values[60:].max() + 1
    result = backtest(history(values), MODELS, 3, 3, 48)
    assert not result.is_log
    before = result.quantiles["random_walk"][np.asarray(result.origins) <= 60]
    after = result.quantiles["random_walk"][np.asarray(result.origins) > 60]
    assert (before > 0).all()
    assert (after[..., 0] < 0).all()
    assert all(np.isfinite(found).all() for found in result.quantiles.values())


def test_what_only_teaches_intervals_is_not_scored():
    series = history(walk(90))
    scored = origins_of(series, horizon=6, step=12, min_train=48)
    origins = with_learning(series, scored, stride=3, until=scored[-1])
    assert set(scored) < set(origins)
    assert max(np.diff(origins)) <= 3
    assert backtest(series, MODELS, 6, 12, 48).origins == scored


def test_a_part_of_the_cutoffs_is_what_those_cutoffs_were():
    result = backtest(history(walk(90)), MODELS, 3, 3, 48)
    some = result.origins[2:5]
    part = result.at(some)
    assert part.origins == some
    assert np.array_equal(part.quantiles["theta"], result.quantiles["theta"][2:5])
    assert part.cutoffs == result.cutoffs[2:5]


def test_mean_crps_a_cutoff_leaves_unknown_outcomes_out():
    values = walk(60)
    values[50:52] = np.nan
    result = backtest(history(values), MODELS, 3, 1, 45)
    row = result.origins.index(50)
    crps = result.crps("theta")[row]
    assert np.isnan(crps).tolist() == [True, True, False]
    assert result.mean_crps["theta"][row] == crps[2]


def test_scores_say_bias_and_mase_on_the_scale_of_errors():
    series = history(walk(60))
    result = backtest(series, MODELS, 3, 3, 40)
    score = next(score for score in result.scores() if score.model == "drift")
    misses, units = [], []
    for at, seen in enumerate(result.origins):
        for step in range(3):
            forecast = np.log(result.quantiles["drift"][at, step, MEDIAN])
            misses.append(forecast - np.log(result.outcomes[at, step]))
            units.append(np.abs(np.diff(np.log(series.values[:seen]))).mean())
    assert score.bias == pytest.approx(np.mean(misses))
    assert score.mase == pytest.approx(np.mean(np.abs(misses) / np.asarray(units)))


def test_models_see_values_that_they_cannot_change():
    class Vandal(Broken):
        def quantiles(self, track, origins, horizon):
            track.values[0] = 0.0
            return np.zeros((len(origins), horizon, 7))

    result = backtest(history(walk(60)), [*MODELS, Vandal(0.0)], 3, 3, 40)
    assert "read-only" in result.failures["broken"]


def test_forecasts_at_one_cutoff_do_not_depend_on_later_ones():
    series = history(walk(90))
    few = evaluate(roll(series, MODELS, (40, 43, 46), 3), (46,), 3)
    more = evaluate(roll(series, MODELS, (40, 43, 46, 60, 80), 3), (46, 80), 3)
    for name in few.quantiles:
        assert more.quantiles[name][0] == pytest.approx(few.quantiles[name][0], rel=1e-12)
