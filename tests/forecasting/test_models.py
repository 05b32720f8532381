"""Promises that every registered model keeps; what is special about one stands in its own file."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from forecasting.models import REGISTRY, models_named, raw_quantiles
from forecasting.results import MEDIAN, QUANTILE_LEVELS
from forecasting.series import MIN_OBSERVATIONS, Track

OFFSETS = {"day": "B", "week": "W-FRI", "month": "MS", "year": "YS"}
LENGTHS = {"day": 300, "week": 160, "month": 96, "year": 24}
CASES = [(name, frequency) for name, model in REGISTRY.items() for frequency in model.needs]


def dates(frequency: str, length: int) -> tuple[date, ...]:
    stamps = pd.date_range("2001-01-01", periods=length, freq=OFFSETS[frequency])
    return tuple(stamp.date() for stamp in stamps)


def a_track(frequency: str = "month", length: int | None = None, seed: int = 8) -> Track:
    length = length or LENGTHS[frequency]
    values = 4 + np.cumsum(0.05 * np.random.default_rng(seed).normal(size=length))
    return Track(values, dates(frequency, length), frequency)


@pytest.mark.parametrize(("name", "frequency"), CASES)
def test_a_model_gives_rising_finite_quantiles_for_every_origin_and_step(name, frequency):
    track, horizon = a_track(frequency), 4
    origins = [LENGTHS[frequency] - 7, LENGTHS[frequency]]
    found = raw_quantiles(REGISTRY[name], track, origins, horizon)
    assert found.shape == (2, horizon, len(QUANTILE_LEVELS))
    assert np.isfinite(found).all()
    assert (np.diff(found, axis=-1) >= 0).all()
    assert REGISTRY[name].name == name


@pytest.mark.parametrize("name", REGISTRY)
def test_a_model_gives_the_same_answer_twice_and_changes_nothing(name):
    track, untouched = a_track(), a_track()
    state = np.random.get_state()[1].tolist()
    first = REGISTRY[name].quantiles(track, [90, 96], 6)
    assert np.array_equal(first, REGISTRY[name].quantiles(a_track(), [90, 96], 6))
    assert np.array_equal(track.values, untouched.values)
    assert track.periods == untouched.periods
    assert np.random.get_state()[1].tolist() == state


@pytest.mark.parametrize("name", REGISTRY)
def test_what_comes_after_an_origin_changes_nothing_there(name):
    track, origin = a_track(), 80
    values = np.array(track.values)
    values[origin:] = 50.0
    corrupted = Track(values, track.periods, track.frequency)
    here = REGISTRY[name].quantiles(track, [70, origin], 6)
    there = REGISTRY[name].quantiles(corrupted, [70, origin], 6)
    assert np.array_equal(here, there)


@pytest.mark.parametrize("name", REGISTRY)
def test_an_origin_gets_its_answer_whichever_others_are_asked(name):
    alone = REGISTRY[name].quantiles(a_track(), [90], 5)[0]
    among = REGISTRY[name].quantiles(a_track(), [60, 75, 90, 96], 5)[2]
    # A fit that starts from its neighbour's stops at the same optimum, give or take its tolerance.
    assert among == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize(("name", "frequency"), CASES)
def test_a_model_works_with_as_few_observations_as_it_asks_for(name, frequency):
    needed = REGISTRY[name].needs[frequency]
    assert needed >= MIN_OBSERVATIONS[frequency]
    found = REGISTRY[name].quantiles(a_track(frequency, needed), [needed], 3)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("level", [2.0, 0.0, -3.0])
@pytest.mark.parametrize("name", REGISTRY)
def test_a_constant_series_stays_where_it_is(name, level):
    track = Track(np.full(60, level), dates("month", 60), "month", is_log=False)
    found = REGISTRY[name].quantiles(track, [60], 6)
    assert found == pytest.approx(np.full((1, 6, 7), level), abs=1e-6)


@pytest.mark.parametrize("name", REGISTRY)
def test_an_outlier_of_a_billion_gives_numbers_all_the_same(name):
    track = a_track()
    values = np.array(track.values)
    values[60] = np.log(1e9)
    found = REGISTRY[name].quantiles(Track(values, track.periods, "month"), [96], 6)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", REGISTRY)
def test_a_price_that_was_fixed_for_years_and_then_moves_gets_a_finite_spread(name):
    values = np.full(96, 4.0)
    values[90:] = 4.0 + 0.05 * np.arange(1, 7)
    found = REGISTRY[name].quantiles(Track(values, dates("month", 96), "month"), [96], 6)
    assert np.isfinite(found).all()
    assert np.abs(found - 4.3).max() < 3


@pytest.mark.parametrize("name", ["empirical_walk", "random_walk", "momentum", "drift", "theta"])
def test_ties_of_sticky_prices_do_not_let_other_origins_in(name):
    draw = np.random.default_rng(2)
    values = 4 + np.cumsum(np.round(draw.normal(size=96)) * 0.05)
    track = Track(values, dates("month", 96), "month")
    alone = REGISTRY[name].quantiles(track, [80], 5)[0]
    others = Track(values, dates("month", 96), "month")
    assert np.array_equal(REGISTRY[name].quantiles(others, [50, 80, 96], 5)[1], alone)


def test_a_daily_season_is_a_week_of_five_days_or_of_seven():
    days = tuple(stamp.date() for stamp in pd.date_range("2024-01-01", periods=70, freq="D"))
    values = np.asarray([day.weekday() for day in days], dtype=float)
    track = Track(values, days, "day", is_log=False)
    medians = REGISTRY["seasonal_naive"].quantiles(track, [63], 7)[0, :, MEDIAN]
    assert medians == pytest.approx(values[63:70])


def test_drift_goes_on_growing_but_less_each_year():
    values = 0.3 * np.arange(10.0)
    track = Track(values, dates("year", 10), "year")
    medians = REGISTRY["drift"].quantiles(track, [10], 4)[0, :, MEDIAN]
    growth = np.diff(medians, prepend=values[-1])
    assert (growth > 0).all()
    assert (np.diff(growth) < 0).all()
    assert growth[0] == pytest.approx(0.3 * 0.7)


def test_the_seasonal_naive_says_what_the_same_months_said_last():
    values = np.arange(40.0)
    track = Track(values, dates("month", 40), "month", is_log=False)
    medians = REGISTRY["seasonal_naive"].quantiles(track, [36], 14)[0, :, MEDIAN]
    assert medians == pytest.approx([*range(24, 36), 24, 25])


def test_a_combination_is_the_mean_of_its_members_quantiles():
    track = a_track()
    blend = REGISTRY["blend"]
    members = [raw_quantiles(member, track, [96], 4) for member in blend.members]
    assert raw_quantiles(blend, track, [96], 4) == pytest.approx(np.mean(members, axis=0))


def test_a_combination_needs_what_the_most_demanding_member_needs():
    assert REGISTRY["blend"].needs["month"] == max(
        member.needs["month"] for member in REGISTRY["blend"].members
    )
    assert "year" not in REGISTRY["blend"].needs


def test_what_models_share_is_computed_once_an_origin():
    track = a_track()
    REGISTRY["random_walk"].quantiles(track, [96], 4)
    shared = track.memo["walk offsets", 4][96]
    REGISTRY["momentum"].quantiles(track, [90, 96], 4)
    assert track.memo["walk offsets", 4][96] is shared
    assert set(track.memo["walk offsets", 4]) == {90, 96}


def test_an_unknown_model_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown model oracle; known: gaussian_walk, empirical"):
        models_named(["theta", "oracle"])


def test_all_stands_for_every_model():
    assert models_named(["all"]) == tuple(REGISTRY.values())
    assert models_named(["theta", "all"])[0] is REGISTRY["theta"]
