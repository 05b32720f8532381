"""Results come back as they were saved, and the last one said at a moment is found."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from flows.storage.database import open_database
from flows.storage.forecasts import ForecastStore
from forecasting.results import (
    QUANTILE_LEVELS,
    ComponentShare,
    Indicator,
    Interval,
    MarketMonth,
    MarketProjection,
    Score,
    SeriesForecast,
    TraceStep,
)

NOON = datetime(2025, 6, 21, 12, tzinfo=UTC)


@pytest.fixture
def store(database_url: str):
    with open_database(database_url) as database:
        yield ForecastStore(database)


def single(value: float) -> float:
    return float(np.float32(value))


def make_forecast(**changes: object) -> SeriesForecast:
    result = SeriesForecast(
        forecast_id="f-1",
        series="dy_oxide",
        title="Dysprosium oxide — 99.5 %",
        unit="USD/kg",
        frequency="month",
        cutoff=date(2025, 5, 1),
        last_value=0.1 + 0.2,
        history=((date(2025, 4, 1), 229.99999999999997), (date(2025, 5, 1), 0.1 + 0.2)),
        periods=(date(2025, 6, 1), date(2025, 7, 1)),
        quantiles=tuple(tuple(1.1 * step for _ in QUANTILE_LEVELS) for step in (1, 2)),
        paths=tuple((single(200 + n / 7), single(210 + n / 3)) for n in range(50)),
        model="random_walk",
        reason="Random walk speaks for dy_oxide by default.",
        scores=(Score("random_walk", 24, 1.0, 1.0, 0.79, float("inf"), 0.51, 2.3, -0.04),),
        observations=160,
        vintage=NOON - timedelta(days=3),
    )
    return replace(result, **changes)


def make_projection(**changes: object) -> MarketProjection:
    interval = Interval(1.0, 2.5, 3.0)
    result = MarketProjection(
        projection_id="p-1",
        market="india-ndfeb",
        title="India",
        product="NdFeB",
        unit="t",
        scenario="base",
        scenario_title="Base",
        months=(
            MarketMonth(
                date(2025, 6, 1), interval, interval, interval, interval, interval, 1 / 3, 0.97
            ),
        ),
        shortfall_t_paths=tuple((single(n / 9),) for n in range(20)),
        demand_t_paths=tuple((single(100 + n / 9),) for n in range(20)),
        components=(
            ComponentShare(
                "imports",
                "supply",
                interval,
                0.7,
                "comtrade",
                "medium",
                "China",
                monthly_t=(2 / 3,),
            ),
        ),
        notes=("Stocks are assumed.",),
        data_through=date(2025, 5, 1),
        vintage=NOON,
        importer="India",
        trace=(
            TraceStep("imports", "supply", "factor", "kg", 1, 2.5, 3, "kg/t", "x", "low"),
            TraceStep("imports", "supply", "licence", "cn", 1, 1, 1, "t", "x", "high", NOON, "May"),
        ),
        indicators=(Indicator("hhi", "HHI", 1e4, "0-10000", "high", "medium", "DERA"),),
    )
    return replace(result, **changes)


def test_a_forecast_comes_back_as_it_was_saved(store):
    result = make_forecast()
    store.save(result, NOON, "run-1")
    assert store.latest_forecast("dy_oxide", NOON) == result


def test_a_projection_comes_back_as_it_was_saved(store):
    result = make_projection()
    store.save(result, NOON, "run-1")
    assert store.latest_projection("india-ndfeb", "base", NOON) == result
    assert store.latest_projection("india-ndfeb", "licence-freeze", NOON) is None


def test_what_was_said_of_a_market_before_is_found_with_its_day_and_without_its_paths(store):
    march, april, june = (NOON - timedelta(days=days) for days in (92, 60, 0))
    store.save(make_projection(projection_id="p-march"), march, "run-1")
    store.save(make_projection(projection_id="p-april"), april, "run-2")
    store.save(make_projection(projection_id="p-june"), june, "run-3")
    found = store.previous_projection("india-ndfeb", "base", june, other_than="p-june")
    assert found is not None
    assert found.known_at == april
    bare = make_projection(projection_id="p-april", shortfall_t_paths=(), demand_t_paths=())
    assert found.projection == bare


def test_a_market_that_nothing_new_came_in_for_is_compared_with_the_last_that_differs(store):
    monday, tuesday, wednesday = (NOON + timedelta(days=days) for days in (0, 1, 2))
    store.save(make_projection(projection_id="p-old"), monday, "run-1")
    store.save(make_projection(projection_id="p-new"), tuesday, "run-2")
    store.save(make_projection(projection_id="p-new"), wednesday, "run-3")
    found = store.previous_projection("india-ndfeb", "base", wednesday, other_than="p-new")
    assert found is not None
    assert (found.projection.projection_id, found.known_at) == ("p-old", monday)


def test_nothing_was_said_before_the_first_projection_nor_of_another_market_or_scenario(store):
    store.save(make_projection(projection_id="p-first"), NOON, "run-1")
    store.save(make_projection(projection_id="p-later"), NOON + timedelta(days=9), "run-2")

    def before(market: str, scenario: str, days: int) -> object:
        at = NOON + timedelta(days=days)
        return store.previous_projection(market, scenario, at, other_than="p-later")

    assert before("india-ndfeb", "base", 0) is None  # said at that moment, not before it
    assert before("india-ndfeb", "licence-freeze", 9) is None
    assert before("world-ndfeb", "base", 9) is None
    assert before("india-ndfeb", "base", 9) is not None


def test_paths_are_kept_to_seven_digits(store):
    result = make_forecast(paths=((123.456789, 1e-9), (98765.4321, 5.0)))
    store.save(result, NOON, "run-1")
    found = store.latest_forecast("dy_oxide", NOON)
    np.testing.assert_allclose(found.paths, result.paths, rtol=1e-7)


def test_what_was_said_later_is_not_seen_earlier(store):
    store.save(make_forecast(), NOON, "run-1")
    store.save(make_forecast(forecast_id="f-2"), NOON + timedelta(days=1), "run-2")
    assert store.latest_forecast("dy_oxide", NOON).forecast_id == "f-1"
    assert store.latest_forecast("dy_oxide", NOON + timedelta(days=2)).forecast_id == "f-2"
    assert store.latest_forecast("dy_oxide", NOON - timedelta(days=1)) is None


def test_an_equal_forecast_of_a_look_into_the_past_is_found_at_both_moments(store):
    past = NOON - timedelta(days=60)
    store.save(make_forecast(), NOON, "run-1")
    store.save(make_forecast(), past, "run-2", made_at=NOON)
    assert store.latest_forecast("dy_oxide", past) == make_forecast()
    assert store.latest_forecast("dy_oxide", NOON) == make_forecast()


def test_a_retried_step_says_its_forecast_once_and_the_last_word_counts(store):
    store.save(make_forecast(), NOON, "run-1")
    store.save(make_forecast(), NOON, "run-1")
    store.save(make_forecast(forecast_id="f-2"), NOON, "run-1")
    store.save(make_forecast(forecast_id="f-3", series="tb_oxide"), NOON, "run-1")
    found = [store.latest_forecast(series, NOON) for series in ("dy_oxide", "tb_oxide")]
    assert [one.forecast_id for one in found] == ["f-2", "f-3"]
    assert store.latest_forecast("dy_oxide", NOON - timedelta(seconds=1)) is None


def test_numpy_numbers_in_a_result_are_stored_as_numbers(store):
    store.save(make_forecast(last_value=np.float64(2.5), observations=np.int64(9)), NOON, "run-1")
    found = store.latest_forecast("dy_oxide", NOON)
    assert (found.last_value, found.observations) == (2.5, 9)
