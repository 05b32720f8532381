from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from forecasting.backtest import BacktestResult, roll
from forecasting.models import models_named
from forecasting.results import MEDIAN, QUANTILE_LEVELS, ObservedPoint, ObservedSeries
from forecasting.selection import choose, forecast, plan_for, require_walks, scorecard
from forecasting.series import CannotForecastError, PolicyEvent, prepare

KNOWN = datetime(2025, 6, 21, tzinfo=UTC)
OPTIONS = {"horizon": 12, "model_names": ["theta"], "n_paths": 400, "seed": 7}


def observed(values, name: str = "dy_oxide", frequency: str = "month") -> ObservedSeries:
    points = tuple(
        ObservedPoint(
            date(2010 + i, 1, 1) if frequency == "year" else date(2010 + i // 12, i % 12 + 1, 1),
            float(value),
            KNOWN,
            "src",
            "high",
        )
        for i, value in enumerate(values)
    )
    return ObservedSeries(name, "Dysprosium oxide", "USD/kg", frequency, points)


def walk(length: int, seed: int = 1) -> np.ndarray:
    return np.exp(5 + np.cumsum(0.06 * np.random.default_rng(seed).normal(size=length)))


def result_where(
    theta_error: float | list[float],
    cutoffs: int = 10,
    walk_error: float = 1.0,
    frequency: str = "month",
    **others: float,
) -> BacktestResult:
    """A backtest whose medians miss by these errors, one for all cutoffs or one each, without any spread."""
    errors = {"gaussian_walk": 1.0, "random_walk": walk_error, "theta": theta_error, **others}
    return BacktestResult(
        series="dy_oxide",
        frequency=frequency,
        observations=40,
        origins=tuple(range(30, 30 + cutoffs)),
        cutoffs=(date(2020, 1, 1),) * cutoffs,
        periods=((date(2020, 2, 1),),) * cutoffs,
        outcomes=np.zeros((cutoffs, 1)),
        quantiles={
            name: np.broadcast_to(np.reshape(error, (-1, 1, 1)), (cutoffs, 1, 7)).copy()
            for name, error in errors.items()
        },
        change_scale=np.ones(cutoffs),
        is_log=False,
    )


@pytest.mark.parametrize(
    ("theta_error", "cutoffs", "speaks", "sentence"),
    [
        pytest.param(
            0.9, 10, "theta", "Theta speaks for dy_oxide: its CRPS was 10 % below", id="beaten"
        ),
        pytest.param(
            0.99, 10, "random_walk", r"best rival Theta, CRPS 1.0 % better, more than 2 % asked",
            id="within the margin",
        ),
        pytest.param(
            1.03, 10, "random_walk", r"nothing beat it in 10 past cutoffs \(best rival Theta, CRPS 3 % worse",
            id="worse",
        ),
        pytest.param(
            [0.1] * 5 + [1.8] * 5, 10, "random_walk", r"CRPS 5 % better, but not steadily enough",
            id="unsteady",
        ),
        pytest.param(
            0.5, 7, "random_walk", "by default: 40 observations allow no test of anything better",
            id="too few cutoffs",
        ),
    ],
)  # fmt: skip
def test_the_random_walk_speaks_until_clearly_beaten(theta_error, cutoffs, speaks, sentence):
    name, reason, _ = choose(result_where(theta_error, cutoffs))
    assert name == speaks
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(reason)


@pytest.mark.parametrize(("frequency", "kin"), [("month", "momentum"), ("year", "drift")])
def test_a_lead_is_enough_for_the_walks_own_kin(frequency, kin):
    result = result_where(1.2, frequency=frequency, **{kin: 0.995})
    name, reason, _ = choose(result)
    assert name == kin
    assert f"{kin.capitalize()} speaks for dy_oxide: its CRPS was 0.5 % below" in reason
    behind = result_where(1.2, frequency=frequency, **{kin: 1.001})
    assert choose(behind)[0] == "random_walk"


def test_a_rival_has_to_beat_the_kin_that_speaks_already():
    assert choose(result_where(0.94, momentum=0.95))[0] == "momentum"
    assert choose(result_where(0.90, momentum=0.95))[0] == "theta"


def test_a_rival_tested_at_few_cutoffs_is_named_with_their_number_and_does_not_speak():
    result = result_where([0.5] * 6 + [np.nan] * 4)
    name, reason, _ = choose(result)
    assert name == "random_walk"
    assert "best rival Theta, CRPS 50 % better in the 6 it was tested at, 8 needed" in reason


def test_an_erratic_leader_does_not_stand_in_the_way_of_a_steady_rival():
    result = result_where([0.9] * 10, drift=[0.1] * 5 + [1.6] * 5)
    assert choose(result)[0] == "theta"


def test_even_errors_are_called_even():
    assert "best rival Theta, no better" in choose(result_where(1.0))[1]


def test_the_yardstick_never_speaks():
    assert choose(result_where(1.5, walk_error=1.2))[0] == "random_walk"


def test_evidence_can_be_limited_to_what_was_known():
    assert choose(result_where(0.5, cutoffs=10), until=7)[0] == "random_walk"


def test_a_forecast_says_everything_about_itself():
    result = forecast(observed(walk(60)), **OPTIONS)
    assert result.cutoff == date(2014, 12, 1)
    assert result.periods[0] == date(2015, 1, 1)
    assert len(result.periods) == len(result.quantiles) == 12
    assert {len(row) for row in result.quantiles} == {7}
    assert len(result.paths) == 400
    assert result.history[-1] == (result.cutoff, result.last_value)
    assert result.vintage == KNOWN
    assert result.observations == 60
    assert {score.model for score in result.scores} == {"gaussian_walk", "random_walk", "theta"}
    assert result.reason.startswith(f"{result.model.replace('_', ' ').capitalize()} speaks for")


def test_quantiles_rise_stay_positive_and_agree_with_the_paths():
    result = forecast(observed(walk(60)), **OPTIONS)
    quantiles, paths = np.array(result.quantiles), np.array(result.paths)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert (paths > 0).all()
    drawn = np.quantile(paths, QUANTILE_LEVELS, axis=0).T
    assert drawn == pytest.approx(quantiles, rel=0.01)


def test_equal_observations_give_an_equal_forecast_and_id():
    series = observed(walk(60))
    first, second = forecast(series, **OPTIONS), forecast(series, **OPTIONS)
    assert first == second
    assert first.forecast_id.startswith("f-")
    assert len(first.forecast_id) == 18
    for change in ({"seed": 8}, {"horizon": 11}, {"n_paths": 401}, {"model_names": ["drift"]}):
        assert forecast(series, **{**OPTIONS, **change}).forecast_id != first.forecast_id
    assert forecast(observed(walk(60, seed=2)), **OPTIONS).forecast_id != first.forecast_id


def test_two_series_with_equal_values_do_not_move_alike():
    values = walk(40)
    options = {**OPTIONS, "model_names": []}
    first = forecast(observed(values, "dy_oxide"), **options)
    second = forecast(observed(values, "tb_oxide"), **options)
    assert first.quantiles == second.quantiles
    assert first.paths != second.paths


def test_a_short_series_is_spoken_for_by_default():
    result = forecast(observed(walk(17), "nd_oxide"), **OPTIONS)
    assert result.model == "random_walk"
    assert result.reason == (
        "Random walk speaks for nd_oxide by default: 17 observations allow no test of anything better."
    )


def test_what_was_left_out_is_said_with_the_reason():
    series = observed(walk(60))
    gappy = ObservedSeries("s", "S", "t", "month", series.points[:10] + series.points[20:])
    reason = forecast(gappy, **OPTIONS).reason
    assert reason.endswith("(10 observations before 2011-09 left out).")


def test_years_of_steady_growth_are_not_left_to_the_random_walk():
    growth = np.exp(0.25 * np.arange(20) + 0.02 * np.random.default_rng(1).normal(size=20))
    result = forecast(
        observed(growth, "ev_sales", "year"),
        horizon=4,
        model_names=["drift", "theta"],
        n_paths=200,
        seed=1,
    )
    assert result.model in ("drift", "theta")
    assert result.periods == tuple(date(2030 + i, 1, 1) for i in range(4))
    assert result.quantiles[1][MEDIAN] > result.last_value * 1.3


@pytest.mark.parametrize("frequency", ["month", "year"])
@pytest.mark.parametrize("level", [5.0, 0.0, -3.0])
def test_a_constant_series_is_forecast_to_stay(level, frequency):
    result = forecast(observed(np.full(30, level), "flat", frequency), **OPTIONS)
    assert np.array(result.paths) == pytest.approx(np.full((400, 12), level))


def test_volumes_with_a_zero_never_go_below_it():
    values = walk(60)
    values[30] = 0.0
    result = forecast(observed(values), **OPTIONS)
    assert min(map(min, result.paths)) >= 0
    assert min(map(min, result.quantiles)) >= 0


def test_one_absurd_value_gives_numbers_all_the_same():
    values = walk(60)
    values[-1] = 1e9
    assert np.isfinite(np.array(forecast(observed(values), **OPTIONS).paths)).all()


def test_too_few_observations_are_a_named_error():
    with pytest.raises(CannotForecastError, match="dy_oxide: 9 observations, 12 needed"):
        forecast(observed(walk(9)), **OPTIONS)


def test_prophet_takes_part_in_the_choice():
    result = forecast(observed(seasonal(96)), **{**OPTIONS, "model_names": ["prophet"]})
    score = next(score for score in result.scores if score.model == "prophet")
    assert score.cutoffs >= 8
    assert score.rel_crps < 1


def seasonal(length: int) -> np.ndarray:
    """A strong season on little noise: Prophet's home game."""
    noise = 0.02 * np.random.default_rng(3).normal(size=length)
    return np.exp(5 + 0.4 * np.sin(np.arange(length) * 2 * np.pi / 12) + noise)


def test_rivals_that_fall_behind_in_the_heats_are_not_tested_further():
    names = ["momentum", "seasonal_naive", "prophet"]
    on_walk = forecast(observed(walk(180)), **{**OPTIONS, "model_names": names})
    cutoffs = {score.model: score.cutoffs for score in on_walk.scores}
    assert cutoffs["random_walk"] == cutoffs["momentum"] == 16
    # Those that fell behind at six cutoffs have no score: it would compare other times.
    assert "seasonal_naive" not in cutoffs
    on_season = forecast(observed(seasonal(180)), **{**OPTIONS, "model_names": names})
    cutoffs = {score.model: score.cutoffs for score in on_season.scores}
    assert cutoffs["prophet"] == 16
    assert on_season.model in ("prophet", "seasonal_naive")


def test_the_champion_does_not_depend_on_how_far_is_asked():
    options = {**OPTIONS, "model_names": ["momentum", "drift", "seasonal_naive"]}
    for seed in range(12):
        series = observed(walk(150, seed))
        names = {forecast(series, **{**options, "horizon": steps}).model for steps in (6, 12, 18)}
        assert len(names) == 1, seed


def test_a_scorecard_tests_every_model_everywhere_and_says_who_would_have_spoken():
    card = scorecard(observed(seasonal(180)), model_names=["momentum", "seasonal_naive"])
    assert {score.cutoffs for score in card.scores} == {16}
    assert len(card.checks) == 16
    # The first cutoffs had no evidence: by default, the random walk.
    assert card.checks[0].model == "random_walk"
    assert card.checks[-1].model == card.model == "seasonal_naive"
    assert sum(card.pit_share) == pytest.approx(1)
    ratio, held = card.recent(4)
    assert ratio < 0.7
    assert 0 <= held <= 1


def test_the_checks_of_a_scorecard_do_not_see_ahead():
    values = walk(120)
    broken = values.copy()
    broken[100:] *= 50
    honest = scorecard(observed(values), model_names=["momentum", "drift"])
    corrupted = scorecard(observed(broken), model_names=["momentum", "drift"])
    # The six months after such a cutoff are over before what was corrupted.
    over = [row for row, check in enumerate(honest.checks) if check.cutoff <= date(2017, 10, 1)]
    assert len(over) >= 8
    for row in over:
        assert corrupted.checks[row] == honest.checks[row]


def test_policy_events_change_the_forecast_of_a_model_that_listens_and_its_id():
    event = PolicyEvent(date(2017, 6, 1), is_tightening=True)
    options = {**OPTIONS, "model_names": ["prophet"]}
    plain = forecast(observed(walk(96)), **options)
    told = forecast(observed(walk(96)), **options, events=(event,))
    assert told.forecast_id != plain.forecast_id
    cards = [
        scorecard(observed(walk(96)), model_names=["prophet"], events=e) for e in ((), (event,))
    ]
    scores = [next(s for s in card.scores if s.model == "prophet") for card in cards]
    assert scores[0] != scores[1]


@pytest.mark.parametrize(
    ("frequency", "length", "step"),
    [("month", 60, 2), ("month", 180, 6), ("year", 20, 1), ("year", 40, 2)],
)
def test_cutoffs_are_spread_over_what_the_history_allows(frequency, length, step):
    assert plan_for(prepare(observed(walk(length), frequency=frequency))).step == step


def test_a_filled_month_makes_another_forecast_than_an_observed_one():
    values = walk(60)
    values[30] = np.sqrt(values[29] * values[31])
    whole = observed(values)
    holed = ObservedSeries("dy_oxide", "D", "t", "month", whole.points[:30] + whole.points[31:])
    assert forecast(whole, **OPTIONS).forecast_id != forecast(holed, **OPTIONS).forecast_id


def test_where_the_walk_itself_gives_no_numbers_the_series_is_refused_by_name():
    rolling = roll(prepare(observed(walk(60))), models_named(["random_walk"]), (60,), 3)
    require_walks(rolling)
    with pytest.raises(CannotForecastError, match="dy_oxide: random_walk overflow"):
        require_walks(replace(rolling, failures={"random_walk": "overflow"}))
