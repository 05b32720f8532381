import logging
from datetime import date

import numpy as np
import pytest

from forecasting.models import REGISTRY, models_named
from forecasting.models.prophet_model import StockProphet
from forecasting.results import MEDIAN
from forecasting.series import MIN_OBSERVATIONS

MONTHS = [date(2018 + i // 12, i % 12 + 1, 1) for i in range(72)]
YEARS = [date(1990 + i, 1, 1) for i in range(30)]
VALUES = 4 + np.cumsum(0.05 * np.random.default_rng(8).normal(size=72))


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize(
    ("frequency", "periods"), [("month", MONTHS), ("year", YEARS)], ids=["months", "years"]
)
def test_a_model_gives_rising_quantiles_for_every_step(name, frequency, periods):
    model = REGISTRY[name]
    quantiles = model.fit_predict(VALUES[: len(periods)].copy(), periods, frequency, 4)
    assert quantiles.shape == (4, 7)
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert model.name == name


@pytest.mark.parametrize("name", REGISTRY)
def test_a_model_gives_the_same_answer_twice_and_changes_nothing(name):
    values, periods = VALUES.copy(), list(MONTHS)
    state = np.random.get_state()[1].tolist()
    first = REGISTRY[name].fit_predict(values, periods, "month", 6)
    assert np.array_equal(first, REGISTRY[name].fit_predict(values, periods, "month", 6))
    assert np.array_equal(values, VALUES)
    assert periods == MONTHS
    assert np.random.get_state()[1].tolist() == state


@pytest.mark.parametrize("name", REGISTRY)
def test_a_model_works_with_as_few_observations_as_it_asks_for(name):
    for frequency, periods in (("month", MONTHS), ("year", YEARS)):
        needed = REGISTRY[name].needs[frequency]
        assert needed >= MIN_OBSERVATIONS[frequency]
        quantiles = REGISTRY[name].fit_predict(
            VALUES[:needed].copy(), periods[:needed], frequency, 3
        )
        assert np.isfinite(quantiles).all()


@pytest.mark.parametrize("name", REGISTRY)
def test_a_constant_series_stays_where_it_is(name):
    quantiles = REGISTRY[name].fit_predict(np.full(40, 2.0), MONTHS[:40], "month", 6)
    assert quantiles == pytest.approx(np.full((6, 7), 2.0), abs=1e-6)


def test_a_random_walk_expects_today_when_the_past_went_nowhere():
    values = np.tile([0.0, 0.1], 30)
    walk = REGISTRY["gaussian_walk"].fit_predict(values, MONTHS[:60], "month", 3)
    assert walk[:, MEDIAN] == pytest.approx(0.1)


def test_drift_goes_on_growing_but_less_each_year():
    values = 0.3 * np.arange(10.0)
    medians = REGISTRY["drift"].fit_predict(values, YEARS[:10], "year", 4)[:, MEDIAN]
    growth = np.diff(medians, prepend=values[-1])
    assert (growth > 0).all()
    assert (np.diff(growth) < 0).all()
    assert growth[0] == pytest.approx(0.3 * 0.7)


def test_anchored_prophet_starts_from_the_last_observation_not_from_its_curve():
    values = VALUES.copy()
    values[-1] += 1.0  # a jump that a smooth trend leaves out
    anchored = REGISTRY["prophet"].fit_predict(values, MONTHS, "month", 1)[0, MEDIAN]
    stock = StockProphet().fit_predict(values, MONTHS, "month", 1)[0, MEDIAN]
    assert abs(anchored - values[-1]) < 0.2
    assert abs(stock - values[-1]) > 0.5


def test_prophet_and_its_compiler_say_nothing(capfd, caplog):
    with caplog.at_level(logging.DEBUG):
        REGISTRY["prophet"].fit_predict(VALUES.copy(), MONTHS, "month", 2)
    assert capfd.readouterr() == ("", "")
    assert not [r for r in caplog.records if r.name.startswith(("prophet", "cmdstanpy"))]


def test_stock_prophet_draws_from_its_own_seed_and_leaves_numpys_alone():
    before = np.random.get_state()[1].tolist()
    first = StockProphet(seed=3).fit_predict(VALUES.copy(), MONTHS, "month", 2)
    assert np.array_equal(
        first, StockProphet(seed=3).fit_predict(VALUES.copy(), MONTHS, "month", 2)
    )
    assert np.random.get_state()[1].tolist() == before


def test_an_unknown_model_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown model oracle; known: gaussian_walk, random_walk"):
        models_named(["theta", "oracle"])
