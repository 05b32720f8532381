from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from forecasting.market.balance import CannotProjectError, Inputs, _ranks, project_market
from forecasting.market.definitions import Change, Component, Factor, Market, Scenario
from forecasting.results import ObservedPoint, ObservedSeries, SeriesForecast, quantile

KNOWN_AT = datetime(2025, 3, 21, tzinfo=UTC)


def factor(
    name: str, low: float, central: float, high: float, unit: str, confidence: str = "high"
) -> Factor:
    return Factor(name, low, central, high, unit, "a test", confidence)


FIXED = {
    f.name: f
    for f in (
        factor("kg_per_car", 2, 2, 2, "kg NdFeB/vehicle"),
        factor("licence_lead_days", 45, 45, 45, "days"),
        factor("new_control_per_month", 0, 0, 0, "probability/month"),
        factor("export_flow_in_freeze", 0.25, 0.25, 0.25, "share"),
        factor("china_share", 0.8, 0.8, 0.8, "share"),
        factor("weeks", 4, 4, 4, "weeks"),
    )
}
MARKET = Market(
    "importer",
    "An importer",
    "magnets",
    (
        Component("From China", "supply", balance=True, share="china_share", origin="China"),
        Component("From elsewhere", "supply", balance=True, share="china_share", rest=True),
        Component("Cars", "demand", series="cars", factors=("kg_per_car",)),
    ),
)
BASE = Scenario("base", "Base case")
FREEZE = Scenario("freeze", "A freeze", (Change("China", "export_flow_in_freeze", 0, 6),))


def cars(growth: float = 1.0) -> SeriesForecast:
    ahead = tuple(6e6 * growth**i for i in range(1, 5))
    return SeriesForecast(
        forecast_id="f-cars",
        series="cars",
        title="Cars sold",
        unit="vehicles",
        frequency="year",
        cutoff=date(2023, 1, 1),
        last_value=6e6,
        history=((date(2022, 1, 1), 6e6), (date(2023, 1, 1), 6e6)),
        periods=tuple(date(2024 + i, 1, 1) for i in range(4)),
        quantiles=tuple((value,) * 7 for value in ahead),
        paths=(ahead,) * 100,
        model="random_walk",
        reason="",
        scores=(),
        observations=10,
        vintage=datetime(2024, 5, 14, tzinfo=UTC),
    )


def exports(*values: float) -> ObservedSeries:
    first = date(2024, 9, 1)
    points = tuple(
        ObservedPoint(
            date(first.year + (first.month + i - 1) // 12, (first.month + i - 1) % 12 + 1, 1),
            value,
            KNOWN_AT,
            "TEST",
            "high",
        )
        for i, value in enumerate(values)
    )
    return ObservedSeries("exports", "Exports", "t", "month", points)


def inputs(
    observed: ObservedSeries | None = None,
    forecast: SeriesForecast | None = None,
    **factors: Factor,
) -> Inputs:
    return Inputs(
        forecasts={"cars": forecast or cars()},
        refusals={},
        exports=observed or exports(5000, 5000, 5000, 5000, 5000, 5000),
        factors=FIXED | factors,
        units={"cars": "vehicles"},
        known_at=KNOWN_AT,
    )


def project(
    market: Market = MARKET, given: Inputs | None = None, scenarios=(BASE, FREEZE), seed: int = 1
):
    quiet = given or inputs()
    return project_market(market, scenarios, quiet, months=12, paths=200, seed=seed)


def noise_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forecasting.market.balance.MONTHLY_NOISE", 0.0)


def test_without_uncertainty_the_balance_is_the_plain_sum(monkeypatch):
    noise_free(monkeypatch)
    base, _ = project()
    # 6 million cars x 2 kg = 12,000 t a year = 1,000 t a month, and imports are ordered to meet it.
    for month in base.months:
        assert month.demand_t.p10 == month.demand_t.p90 == pytest.approx(1000)
        assert month.supply_t.p50 == pytest.approx(1000)
        assert month.shortfall_t.p90 == pytest.approx(0)


def test_a_freeze_takes_three_quarters_of_what_comes_from_china(monkeypatch):
    noise_free(monkeypatch)
    _, freeze = project()
    # The first month still receives what was shipped before; then 80 % x 75 % is missing.
    shares = [month.shortfall_share.p50 for month in freeze.months]
    assert shares[0] == pytest.approx(0)
    assert shares[1:7] == pytest.approx([0.6] * 6)
    assert shares[7] > shares[8] > shares[11] > 0


def test_stock_is_used_up_before_demand_is_lost(monkeypatch):
    noise_free(monkeypatch)
    buffered = replace(MARKET, stock_weeks="weeks")
    _, with_stock = project(buffered)
    _, without = project()
    lost = sum(m.shortfall_t.p50 for m in without.months) - sum(
        m.shortfall_t.p50 for m in with_stock.months
    )
    weeks_of_demand = 4 / (365.25 / 12 / 7) * 1000
    assert lost == pytest.approx(weeks_of_demand)
    assert with_stock.months[0].stock_cover_days.p50 == pytest.approx(28)
    assert with_stock.months[6].stock_cover_days.p50 == 0


def test_what_already_happened_has_already_drawn_on_the_stock(monkeypatch):
    noise_free(monkeypatch)
    buffered = replace(MARKET, stock_weeks="weeks")
    calm, _ = project(buffered)
    shaken, _ = project(buffered, inputs(exports(5000, 5000, 5000, 5000, 2600, 1200)))
    assert shaken.months[0].stock_cover_days.p50 < calm.months[0].stock_cover_days.p50
    assert (
        quantile(shaken.shortfall_shares(6), 0.5) > 0.05 > quantile(calm.shortfall_shares(6), 0.5)
    )


def test_a_scenario_that_removes_supply_never_lowers_the_shortfall_on_any_path():
    wide = {"kg_per_car": factor("kg_per_car", 1, 2, 4, "kg NdFeB/vehicle", "low")}
    base, freeze = project(given=inputs(**wide))
    assert (np.array(freeze.shortfall_t_paths) >= np.array(base.shortfall_t_paths) - 1e-9).all()


def test_the_same_seed_gives_the_same_result_and_another_one_does_not():
    wide = {"kg_per_car": factor("kg_per_car", 1, 2, 4, "kg NdFeB/vehicle")}
    first, again, other = (project(given=inputs(**wide), seed=seed)[0] for seed in (1, 1, 2))
    assert first == again
    assert first.demand_t_paths != other.demand_t_paths


def test_the_id_follows_the_content_and_not_the_hour():
    base, freeze = project()
    later = project(given=replace(inputs(), known_at=datetime(2025, 3, 30, 8, tzinfo=UTC)))[0]
    changed = project(given=inputs(exports(5000, 5000, 5000, 5000, 5000, 4999)))[0]
    assert base.projection_id == later.projection_id
    assert len({base.projection_id, freeze.projection_id, changed.projection_id}) == 3


def test_weak_evidence_is_named():
    wide = {"kg_per_car": factor("kg_per_car", 1, 2, 4, "kg NdFeB/vehicle", "background")}
    base, _ = project(given=inputs(**wide))
    assert "1 of its 2 factors are low-confidence or background figures." in base.notes
    assert next(c for c in base.components if c.name == "Cars").confidence == "background"


def test_the_parts_in_the_uncertainty_add_up_and_name_what_moves_the_shortfall():
    wide = {"kg_per_car": factor("kg_per_car", 1, 2, 4, "kg NdFeB/vehicle")}
    base, _ = project(given=inputs(exports(5000, 5000, 5000, 5000, 2600, 1200), **wide))
    parts = {c.name: c.variance_share for c in base.components}
    assert sum(parts.values()) == pytest.approx(1)
    # Imports follow demand, so only licences decide what share of it stays unmet.
    assert max(parts, key=parts.__getitem__) == "Kept back by export licences and clearance"


def test_what_licences_keep_back_is_told_in_tonnes(monkeypatch):
    noise_free(monkeypatch)
    _, freeze = project()
    lost = next(c for c in freeze.components if c.side == "loss").tonnes_per_year.p50
    assert lost == pytest.approx(sum(m.shortfall_t.p50 for m in freeze.months))


def test_a_disturbed_month_is_named_first():
    shaken, _ = project(given=inputs(exports(5000, 5000, 5000, 5000, 2600, 1200)))
    calm, _ = project()
    assert shaken.notes[0] == "Exports: 1,200 t in February 2025, 24 % of a normal month."
    assert not any("normal month" in note for note in calm.notes)


def test_months_that_are_not_known_are_named(monkeypatch):
    late = replace(inputs(), known_at=datetime(2025, 12, 21, tzinfo=UTC))
    base, _ = project(given=late)
    assert (
        "Exports are known through February 2025; the 10 months since are projected." in base.notes
    )


def test_without_any_known_export_month_licences_are_taken_as_normal_and_that_is_said(monkeypatch):
    noise_free(monkeypatch)
    base, _ = project(given=replace(inputs(), exports=exports()))
    assert base.months[0].supply_t.p50 == pytest.approx(1000)
    assert any("Too few export months" in note for note in base.notes)


def test_embedded_demand_is_shown_and_not_balanced(monkeypatch):
    noise_free(monkeypatch)
    embedded = Component(
        "In parts", "demand", series="cars", factors=("kg_per_car",), channel="embedded"
    )
    base, _ = project(replace(MARKET, components=(*MARKET.components, embedded)))
    assert base.months[0].demand_t.p50 == pytest.approx(1000)
    assert next(c for c in base.components if c.name == "In parts").side == "memo"


def test_imports_grow_with_demand_when_nothing_disturbs_them(monkeypatch):
    noise_free(monkeypatch)
    base, _ = project(given=inputs(forecast=cars(growth=1.3)))
    assert base.months[-1].demand_t.p50 > 1400
    assert base.months[-1].shortfall_share.p90 == pytest.approx(0, abs=1e-9)


def test_a_market_without_a_forecast_says_which_series_and_why():
    lacking = replace(inputs(), forecasts={}, refusals={"cars": "3 observations, 6 needed"})
    with pytest.raises(
        CannotProjectError, match="importer: cars can't be used: 3 observations, 6 needed"
    ):
        project(given=lacking)


def test_a_horizon_beyond_the_forecast_is_refused():
    short = replace(cars(), periods=(date(2024, 1, 1),), paths=((6e6,),) * 10)
    with pytest.raises(CannotProjectError, match="the market needs 2025"):
        project(given=inputs(forecast=short))


def test_equal_values_share_their_rank():
    assert list(_ranks(np.array([0.0, 5.0, 0.0, 0.0]))) == [2.0, 4.0, 2.0, 2.0]
