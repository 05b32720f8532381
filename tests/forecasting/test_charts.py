from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from forecasting.charts import balance_fan, price_fan, score_panels, volume_bars
from forecasting.results import (
    Interval,
    MarketMonth,
    MarketProjection,
    ObservedPoint,
    ObservedSeries,
    Score,
    SeriesForecast,
)
from tests.builders import make_scorecard

KNOWN = datetime(2025, 6, 21, tzinfo=UTC)


def make_forecast(frequency: str = "month", horizon: int = 12, history: int = 60) -> SeriesForecast:
    days = [
        date(1990 + i, 1, 1) if frequency == "year" else date(2018 + i // 12, i % 12 + 1, 1)
        for i in range(history + horizon)
    ]
    steps = np.sqrt(np.arange(1, horizon + 1))[:, None]
    quantiles = 250 + 20 * steps * np.array([-2.0, -1.3, -0.7, 0, 0.7, 1.3, 2.0])
    return SeriesForecast(
        forecast_id="f-0",
        series="dy_oxide",
        title="Dysprosium oxide 99.5 %, FOB China",
        unit="USD/kg",
        frequency=frequency,
        cutoff=days[history - 1],
        last_value=250.0,
        history=tuple((day, 250.0 + 30 * np.sin(i / 5)) for i, day in enumerate(days[:history])),
        periods=tuple(days[history:]),
        quantiles=tuple(map(tuple, quantiles.tolist())),
        paths=(),
        model="random_walk",
        reason="",
        scores=(),
        observations=history,
        vintage=KNOWN,
    )


def make_projection(scenario: str = "base", cut: float = 0.0) -> MarketProjection:
    months = []
    for i in range(12):
        demand, supply = 1500.0 + 10 * i, 1480.0 - cut
        share = max(0.0, (demand - supply) / demand)
        months.append(
            MarketMonth(
                month=date(2025 + (6 + i) // 12, (6 + i) % 12 + 1, 1),
                supply_t=Interval(supply - 100, supply, supply + 100),
                demand_t=Interval(demand - 80, demand, demand + 80),
                shortfall_t=Interval(0, share * demand, share * demand + 100),
                shortfall_share=Interval(0, share, share + 0.1),
                stock_cover_days=Interval(20, 30, 40),
            )
        )
    return MarketProjection(
        projection_id="p-0",
        market="india-ndfeb",
        title="NdFeB magnets in India",
        product="NdFeB magnets",
        unit="t",
        scenario=scenario,
        scenario_title="China halts export licences for all magnets" if cut else "As things stand",
        months=tuple(months),
        shortfall_t_paths=(),
        demand_t_paths=(),
        components=(),
        notes=(),
        data_through=date(2025, 5, 1),
        vintage=KNOWN,
    )


def make_volumes(values: list[float]) -> ObservedSeries:
    points = tuple(
        ObservedPoint(
            date(2024 + i // 12, i % 12 + 1, 1), v, KNOWN, "src", "low" if i % 3 else "high"
        )
        for i, v in enumerate(values)
    )
    return ObservedSeries("cn_magnet_exports", "China's magnet exports", "t", "month", points)


def assert_fits_a_phone(png: bytes) -> None:
    assert png.startswith(b"\x89PNG")
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == (1200, 675)
    assert len(png) <= 90_000


@pytest.mark.parametrize(("frequency", "horizon"), [("month", 12), ("month", 1), ("year", 4)])
def test_a_price_fan_is_a_picture_for_a_phone(frequency, horizon):
    forecast = make_forecast(frequency, horizon)
    assert_fits_a_phone(price_fan(forecast, levels=[("alert", 312.5), ("critical", 320.0)]))


def test_equal_forecasts_give_equal_pictures():
    assert price_fan(make_forecast()) == price_fan(make_forecast())


def test_a_flat_forecast_and_a_short_history_can_be_drawn():
    flat = make_forecast(history=6)
    flat = replace(flat, quantiles=((0.0,) * 7,) * 12, last_value=0.0)
    flat = replace(flat, history=tuple((day, 0.0) for day, _ in flat.history))
    assert_fits_a_phone(price_fan(flat))


def test_a_balance_is_drawn_alone_and_beside_a_scenario():
    alone = balance_fan([make_projection()])
    beside = balance_fan([make_projection(), make_projection("licence-freeze", 600)])
    assert_fits_a_phone(alone)
    assert_fits_a_phone(beside)
    assert alone != beside


def test_a_balance_without_any_shortage_can_be_drawn():
    assert_fits_a_phone(balance_fan([make_projection(cut=-500)]))


def test_a_balance_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one projection"):
        balance_fan([])


def test_volumes_are_drawn_with_their_limit():
    volumes = make_volumes([5278, 4725, 5100, 5300, 2629, 1238])
    assert_fits_a_phone(volume_bars(volumes, trailing_mean=5100, limit_share=0.6))
    single = make_volumes([1238.0])
    assert_fits_a_phone(volume_bars(single, trailing_mean=5100, limit_share=0.6))


def test_volumes_without_a_point_are_refused():
    with pytest.raises(ValueError, match="cn_magnet_exports: no volumes to draw"):
        volume_bars(make_volumes([]), trailing_mean=1, limit_share=0.6)


def test_scores_are_drawn_whatever_is_known_of_them():
    card = make_scorecard()
    assert_fits_a_phone(score_panels(card))
    assert_fits_a_phone(score_panels(replace(card, checks=card.checks[:1])))
    unknown = Score("theta", 4, 0.9, 0.9, 0.8, 0.95)  # of an older version: no 50 % interval
    assert_fits_a_phone(score_panels(replace(card, scores=(unknown,))))
    assert_fits_a_phone(score_panels(replace(card, scores=(), checks=(), pit_share=())))


def test_a_picture_of_scores_shows_what_changed():
    card = make_scorecard()
    pictures = {
        score_panels(card),
        score_panels(card, newest=4),
        score_panels(replace(card, model="gaussian_walk")),
        score_panels(replace(card, pit_share=(0.3, *card.pit_share[1:]))),
        score_panels(make_scorecard((0.9,) * 15 + (2.0,))),
        # What was held at the newest cutoffs only: the whole past stays as it was.
        score_panels(make_scorecard(held=[0.8] * 8 + [0.4] * 8)),
    }
    assert len(pictures) == 6
