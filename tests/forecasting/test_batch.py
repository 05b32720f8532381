"""forecasting/batch.py: one bad series among good ones, and chunks that keep every lane busy."""

import pickle
from datetime import date
from functools import partial

import pytest

from forecasting import batch
from forecasting.batch import (
    MOST_IN_CHUNK,
    ForecastOptions,
    ForecastTask,
    Refusal,
    chunked,
    forecast_chunk,
)
from forecasting.results import ObservedSeries, SeriesForecast
from forecasting.selection import forecast
from forecasting.series import PolicyEvent
from tests.builders import make_observed, month_after

OPTIONS = ForecastOptions(("random_walk", "drift"), n_paths=100, seed=5)


def monthly(name: str, count: int = 60) -> ObservedSeries:
    start = date(2015, 1, 1)
    return make_observed(
        {
            f"{month_after(start, step):%Y-%m}": 50.0 + (step * 37 % 11) + step / 10
            for step in range(count)
        },
        series=name,
    )


def task(name: str, count: int = 60) -> ForecastTask:
    return ForecastTask(monthly(name, count), horizon=6)


def alone(name: str) -> SeriesForecast:
    return forecast(
        monthly(name),
        horizon=6,
        model_names=OPTIONS.model_names,
        n_paths=OPTIONS.n_paths,
        seed=OPTIONS.seed,
    )


def test_a_series_gets_the_same_forecast_alone_and_in_any_company():
    first, second = forecast_chunk([task("a"), task("b")], OPTIONS)
    again, _ = forecast_chunk([task("b"), task("c")], OPTIONS)
    assert first == alone("a")
    assert second == again == alone("b")
    assert first.paths != second.paths


def test_a_series_that_is_too_short_is_refused_by_name_and_the_others_go_on():
    short, good = forecast_chunk([task("short", count=9), task("good")], OPTIONS)
    assert short == Refusal("short", "9 observations, 12 needed")
    assert isinstance(good, SeriesForecast)


def test_an_unforeseen_failure_is_told_by_its_type_and_stops_no_other_series(monkeypatch):
    def failing(observed, **rest):
        if observed.series == "broken":
            raise ZeroDivisionError
        return forecast(observed, **rest)

    monkeypatch.setattr(batch, "forecast", failing)
    broken, good = forecast_chunk([task("broken"), task("good")], OPTIONS)
    assert broken.reason == (
        "failed inside Lodestone (ZeroDivisionError); please report it with the log"
    )
    assert "in failing" in broken.trace
    assert good == alone("good")


def test_policy_events_reach_the_forecast_and_are_part_of_its_id():
    events = (PolicyEvent(date(2017, 3, 5), is_tightening=True),)
    (told,) = forecast_chunk([ForecastTask(monthly("a"), 6, events)], OPTIONS)
    assert told.forecast_id != alone("a").forecast_id


def test_work_and_results_can_travel_between_processes():
    work = partial(forecast_chunk, options=OPTIONS)
    sent, chunk = pickle.loads(pickle.dumps((work, (task("a"), task("short", count=3)))))
    results = sent(chunk)
    assert pickle.loads(pickle.dumps(results)) == results == work(chunk)


# --- chunks ------------------------------------------------------------------------


@pytest.mark.parametrize("lanes", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 1000])
def test_every_item_is_in_exactly_one_chunk(count, lanes):
    chunks = chunked(range(count), lambda item: 1.0 + item % 7, lanes)
    assert sorted(item for chunk in chunks for item in chunk) == list(range(count))
    assert all(0 < len(chunk) <= MOST_IN_CHUNK for chunk in chunks)


def test_the_costliest_items_come_first_and_equal_ones_keep_their_order():
    chunks = chunked(["a1", "b9", "c1", "d9"], lambda item: float(item[1]), lanes=1)
    assert [item for chunk in chunks for item in chunk] == ["b9", "d9", "a1", "c1"]


def lane_ends(costs: list[float], lanes: int) -> list[float]:
    """When each lane is done, if every lane takes the next chunk as soon as it is free."""
    ends = [0.0] * lanes
    for chunk in chunked(costs, lambda cost: cost, lanes):
        ends[ends.index(min(ends))] += sum(chunk)
    return ends


@pytest.mark.parametrize("lanes", [2, 3, 8])
def test_all_lanes_are_busy_to_the_end(lanes):
    costs = [2600.0] * 200 + [180.0] * 1000
    ends = lane_ends(costs, lanes)
    assert max(ends) - min(ends) <= 2600.0
    assert max(ends) <= 1.01 * sum(costs) / lanes


def test_chunks_are_few_enough_that_handing_them_out_costs_little():
    assert len(chunked([1.0] * 1000, lambda cost: cost, lanes=2)) < 80


def test_items_without_cost_are_chunked_too():
    assert sum(map(len, chunked(["a", "b", "c"], lambda item: 0.0, lanes=2))) == 3
