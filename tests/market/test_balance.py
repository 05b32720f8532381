from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecasting.market.balance import _ranks, _triangle, project_market
from forecasting.market.definitions import (
    CannotProjectError,
    Component,
    DemandChange,
    Factor,
    LicenceFreeze,
    LicenceRegime,
    Market,
    NewPlant,
    Project,
    ProjectSlip,
    Scenario,
    SupplyChange,
)
from forecasting.market.evidence import Inputs
from forecasting.market.flow import add_months
from forecasting.results import (
    MarketProjection,
    ObservedPoint,
    ObservedSeries,
    SeriesForecast,
    quantile,
)

KNOWN_AT = datetime(2025, 3, 21, tzinfo=UTC)


def factor(
    name: str, low: float, central: float, high: float, unit: str, confidence: str = "high"
) -> Factor:
    return Factor(name, low, central, high, unit, "a test", confidence)


def fixed(name: str, value: float, unit: str) -> Factor:
    return factor(name, value, value, value, unit)


FIXED = {
    f.name: f
    for f in (
        fixed("kg_per_car", 2, "kg NdFeB/vehicle"),
        fixed("licence_lead_days", 45, "days"),
        fixed("licence_granted_chance", 1, "share"),
        fixed("dy_tb_share", 0.6, "share"),
        fixed("free_grade_delay", 0.5, "share"),
        fixed("clearance_noise", 0, "share"),
        fixed("new_control_per_month", 0, "probability/month"),
        fixed("export_flow_in_freeze", 0.25, "share"),
        fixed("china_share", 0.8, "share"),
        fixed("weeks", 4, "weeks"),
        fixed("stock_rebuild_months", 6, "months"),
        fixed("common_shock_supply", 0.5, "share"),
        fixed("common_shock_demand", 0.5, "share"),
        fixed("project_slip_months", 0, "months"),
        fixed("project_ramp_months", 24, "months"),
        fixed("project_chance_planned", 1, "share"),
        fixed("project_chance_construction", 1, "share"),
        fixed("half", 0.5, "share"),
        fixed("more", 1.2, "share"),
        fixed("sure", 1, "share"),
        fixed("plant_capacity", 1200, "t NdFeB/year"),
        fixed("oxide_per_year", 120, "t NdPr oxide/year"),
        fixed("magnet_per_oxide", 2, "t NdFeB/t NdPr oxide"),
        fixed("cars_per_year", 6e6, "vehicles/year"),
        fixed("growth", 0.1, "share/year"),
    )
}
MARKET = Market(
    "importer",
    "An importer",
    "magnets",
    (
        Component("From China", "supply", balance=True, share="china_share", origin="China"),
        Component("From elsewhere", "supply", balance=True, rest=True, origin="Japan"),
        Component(
            "Cars", "demand", series="cars", factors=("kg_per_car",), use="electric vehicles"
        ),
    ),
    importer="India",
)
PLANT = Project(
    project="plant",
    title="A plant",
    owner="An owner",
    country="India",
    stage="magnet",
    product="sintered magnets",
    capacity=600,
    unit="t NdFeB/year",
    starts_on=date(2025, 6, 1),
    status="planned",
    known_on=date(2025, 1, 1),
    source="a test",
    confidence="medium",
)
WITH_PLANT = replace(
    MARKET,
    components=(
        *MARKET.components,
        Component("Made at home", "supply", project="plant", origin="India"),
    ),
)
REGIME = LicenceRegime(
    regime="spring",
    title="Licences of spring",
    origin="China",
    elements=("Dy", "Tb"),
    covers="dy_tb_share",
    granted="licence_granted_chance",
    lead_days="licence_lead_days",
    known_on=date(2025, 3, 20),
    starts_on=date(2025, 3, 20),
    source="a test",
    confidence="high",
)
REGIME_LATER = {"known_on": date(2025, 3, 21), "starts_on": date(2025, 3, 21)}
BASE = Scenario("base", "Base case")
FREEZE = Scenario(
    "freeze", "A freeze", freezes=(LicenceFreeze("China", 6, left="export_flow_in_freeze"),)
)


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
    *,
    regimes: tuple[LicenceRegime, ...] = (),
    plant: Project = PLANT,
    **factors: Factor,
) -> Inputs:
    return Inputs(
        forecasts={"cars": forecast or cars()},
        refusals={},
        exports={"China": observed or exports(5000, 5000, 5000, 5000, 5000, 5000)},
        factors=FIXED | factors,
        units={"cars": "vehicles"},
        known_at=KNOWN_AT,
        projects={"plant": plant},
        regimes=regimes,
    )


def project(
    market: Market = MARKET, given: Inputs | None = None, scenarios=(BASE, FREEZE), seed: int = 1
):
    quiet = given or inputs()
    return project_market(market, scenarios, quiet, months=12, paths=200, seed=seed)


def test_without_uncertainty_the_balance_is_the_plain_sum():
    base, _ = project()
    # 6 million cars x 2 kg = 12,000 t a year = 1,000 t a month, and imports are ordered to meet it.
    for month in base.months:
        assert month.demand_t.p10 == month.demand_t.p90 == pytest.approx(1000)
        assert month.supply_t.p50 == pytest.approx(1000)
        assert month.shortfall_t.p90 == pytest.approx(0)


def test_a_freeze_takes_three_quarters_of_what_comes_from_china():
    _, freeze = project()
    # 80 % x 75 % is missing for six months, and comes back licence by licence.
    shares = [month.shortfall_share.p50 for month in freeze.months]
    assert shares[:6] == pytest.approx([0.6] * 6)
    assert 0.6 > shares[6] > shares[7] > shares[11] > 0


def test_stock_is_used_up_before_demand_is_lost():
    buffered = replace(MARKET, stock_weeks="weeks")
    _, with_stock = project(buffered)
    _, without = project()
    lost = sum(m.shortfall_t.p50 for m in without.months) - sum(
        m.shortfall_t.p50 for m in with_stock.months
    )
    weeks_of_demand = 4 / (365.25 / 12 / 7) * 1000
    # A sixth of it is ordered again each month, and arrives as scarcely as the rest.
    reordered = weeks_of_demand / 6 * sum(m.supply_t.p50 / 1000 for m in without.months)
    assert weeks_of_demand < lost < weeks_of_demand + reordered
    calm, _ = project(buffered, scenarios=(BASE, BASE))
    assert calm.months[0].stock_cover_days.p50 == pytest.approx(28)
    assert with_stock.months[6].stock_cover_days.p50 == 0


def test_stock_is_rebuilt_after_a_shock_and_never_above_its_normal_cover():
    short = replace(FREEZE, freezes=(LicenceFreeze("China", 1, 1, left="export_flow_in_freeze"),))
    slow = {"licence_lead_days": fixed("licence_lead_days", 5, "days")}
    (shaken,) = project(replace(MARKET, stock_weeks="weeks"), inputs(**slow), (short,))
    cover = [month.stock_cover_days.p50 for month in shaken.months]
    assert cover[0] == pytest.approx(28)
    assert cover[1] < 28 - 15
    assert cover[1] < cover[3] < cover[6] < cover[11] < 28
    # A sixth of what is lacking comes back each month.
    assert 28 - cover[6] == pytest.approx((28 - cover[5]) * 5 / 6, rel=0.01)
    at_start, later = shaken.months[0], shaken.months[5]
    assert at_start.supply_t.p50 == pytest.approx(1000)
    assert later.supply_t.p50 > later.demand_t.p50


def test_makers_whose_feed_needs_a_licence_order_more_of_it_where_no_import_fills_demand():
    makers = Component(
        "Makers",
        "supply",
        level="oxide_per_year",
        factors=("magnet_per_oxide",),
        licences_of="China",
    )
    market = Market(
        "makers",
        "Makers",
        "magnets",
        (makers, Component("All uses", "demand", balance=True)),
        importer="Japan",
        stock_weeks="weeks",
    )
    short = replace(FREEZE, freezes=(LicenceFreeze("China", 1, left="export_flow_in_freeze"),))
    (shaken,) = project(market, scenarios=(short,))
    cover = [month.stock_cover_days.p50 for month in shaken.months]
    assert cover[1] < 10 < cover[11]


def test_what_already_happened_has_already_drawn_on_the_stock():
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


def test_the_id_follows_everything_that_moves_a_figure():
    given_ = inputs(regimes=(REGIME,))
    base, _ = project(WITH_PLANT, given_)
    others = {
        "seed": project(WITH_PLANT, given_, seed=2),
        "regime": project(WITH_PLANT, inputs(regimes=(replace(REGIME, **REGIME_LATER),))),
        "plant": project(WITH_PLANT, inputs(regimes=(REGIME,), plant=replace(PLANT, capacity=700))),
        "unit": project(WITH_PLANT, replace(given_, units={"cars": "thousand vehicles"})),
    }
    for what, (other, _) in others.items():
        assert other.projection_id != base.projection_id, what
    note = inputs(regimes=(REGIME,), plant=replace(PLANT, note="seen on a map"))
    unknown = inputs(regimes=(REGIME, replace(REGIME, regime="x", known_on=date(2026, 1, 1))))
    assert project(WITH_PLANT, note)[0].projection_id == base.projection_id
    assert project(WITH_PLANT, unknown)[0].projection_id == base.projection_id
    # What a freeze concerns changes on the day on which a regime begins.
    spring = replace(REGIME, starts_on=date(2025, 3, 25))
    autumn = replace(REGIME, regime="y", elements=("Ho",), starts_on=date(2025, 3, 25))
    days = [datetime(2025, 3, day, tzinfo=UTC) for day in (24, 25)]
    ids = {
        project(given=replace(inputs(regimes=(spring, autumn)), known_at=day))[1].projection_id
        for day in days
    }
    assert len(ids) == 2


def test_an_overdue_plant_gives_each_day_a_name_of_its_own():
    overdue = inputs(plant=replace(PLANT, starts_on=date(2025, 2, 1)))
    first, second = (
        project(WITH_PLANT, replace(overdue, known_at=datetime(2025, 3, day, tzinfo=UTC)))[0]
        for day in (22, 30)
    )
    assert first.projection_id != second.projection_id
    assert part(first, "Made at home") != part(second, "Made at home")


def test_the_id_follows_the_content_and_not_the_hour():
    base, freeze = project()
    later = project(given=replace(inputs(), known_at=datetime(2025, 3, 30, 8, tzinfo=UTC)))[0]
    changed = project(given=inputs(exports(5000, 5000, 5000, 5000, 5000, 4999)))[0]
    assert base.projection_id == later.projection_id
    assert len({base.projection_id, freeze.projection_id, changed.projection_id}) == 3


def test_weak_evidence_is_named():
    wide = {"kg_per_car": factor("kg_per_car", 1, 2, 4, "kg NdFeB/vehicle", "background")}
    base, _ = project(given=inputs(**wide))
    assert "1 of its 9 factors are low-confidence or background figures." in base.notes
    assert next(c for c in base.components if c.name == "Cars").confidence == "background"


def test_a_line_that_takes_the_rest_is_as_weak_as_the_shares_beside_it():
    base, _ = project(
        given=inputs(china_share=factor("china_share", 0.7, 0.8, 0.9, "share", "low"))
    )
    assert part(base, "From elsewhere").confidence == "low"
    assert ("From elsewhere", "share", "china_share") in [
        (step.component, step.step, step.name) for step in base.trace
    ]


def test_the_parts_in_the_uncertainty_add_up_and_name_what_moves_the_shortfall():
    wide = {"kg_per_car": factor("kg_per_car", 1, 2, 4, "kg NdFeB/vehicle")}
    wide["clearance_noise"] = fixed("clearance_noise", 0.06, "share")
    base, _ = project(given=inputs(exports(5000, 5000, 5000, 5000, 2600, 1200), **wide))
    parts = {c.name: c.variance_share for c in base.components}
    assert sum(parts.values()) == pytest.approx(1)
    # Imports follow demand, so only licences decide what share of it stays unmet.
    assert max(parts, key=parts.__getitem__) == "Kept back by export licences and clearance"


def test_what_rounding_leaves_moves_nothing():
    wide = {"kg_per_car": factor("kg_per_car", 1, 2, 4, "kg NdFeB/vehicle")}
    base, _ = project(given=inputs(exports(5000, 5000, 5000, 5000, 2600, 1200), **wide))
    # The same share of demand is missing on every path, however many cars there are.
    assert {c.variance_share for c in base.components} == {0.0}


def test_what_licences_keep_back_is_told_in_tonnes():
    _, freeze = project()
    lost = next(c for c in freeze.components if c.side == "loss").tonnes_per_year.p50
    assert lost == pytest.approx(sum(m.shortfall_t.p50 for m in freeze.months))


def test_a_disturbed_month_is_named_first():
    shaken, _ = project(given=inputs(exports(5000, 5000, 5000, 5000, 2600, 1200)))
    calm, _ = project()
    assert shaken.notes[0] == "Exports: 1,200 t in February 2025, 24 % of a normal month."
    assert not any("normal month" in note for note in calm.notes)


def test_months_that_are_not_known_are_named():
    late = replace(inputs(), known_at=datetime(2025, 12, 21, tzinfo=UTC))
    base, _ = project(given=late)
    assert (
        "Exports are known through February 2025; the 10 months since are projected." in base.notes
    )


def test_without_any_known_export_month_licences_are_taken_as_normal_and_that_is_said():
    base, _ = project(given=replace(inputs(), exports={"China": exports()}))
    assert base.months[0].supply_t.p50 == pytest.approx(1000)
    assert any("too few months are known" in note for note in base.notes)


def test_embedded_demand_is_shown_and_not_balanced():
    embedded = Component(
        "In parts", "demand", series="cars", factors=("kg_per_car",), channel="embedded"
    )
    base, _ = project(replace(MARKET, components=(*MARKET.components, embedded)))
    assert base.months[0].demand_t.p50 == pytest.approx(1000)
    assert next(c for c in base.components if c.name == "In parts").side == "memo"


def test_imports_grow_with_demand_when_nothing_disturbs_them():
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


def test_a_triangle_s_quantiles_are_its_own():
    one = factor("x", 0, 12, 24, "months")
    assert _triangle(np.array([0.0, 0.125, 0.5, 1.0]), one) == pytest.approx([0, 6, 12, 24])


# --- shares, limits, closing


def sharing(*shares: str, rest: bool = False) -> Market:
    """Imports of a market by shares of what closes it."""
    imports = [
        Component(f"Import {i}", "supply", balance=True, share=name)
        for i, name in enumerate(shares)
    ]
    if rest:
        imports.append(Component("Other imports", "supply", balance=True, rest=True))
    return replace(MARKET, components=(*imports, MARKET.components[-1]))


def test_shares_of_imports_with_ranges_still_close_the_market():
    wide = {
        "china_share": factor("china_share", 0.4, 0.6, 0.8, "share"),
        "half": factor("half", 0.2, 0.4, 0.6, "share"),
    }
    base, _ = project(sharing("china_share", "half"), inputs(**wide))
    assert max(month.shortfall_t.p90 for month in base.months) == pytest.approx(0, abs=1e-9)


def test_drawn_shares_above_one_are_scaled_down_and_leave_nothing_to_the_rest():
    wide = {"china_share": fixed("china_share", 0.8, "share"), "half": fixed("half", 0.6, "share")}
    base, _ = project(sharing("china_share", "half", rest=True), inputs(**wide))
    assert sum(part(base, "Other imports").monthly_t) == 0
    assert base.months[0].supply_t.p50 == pytest.approx(1000)


def test_a_limit_of_a_shared_series_is_shared_as_well():
    cap = {"limit": "cars_per_year", "limit_factors": ("kg_per_car",)}
    halves = tuple(
        Component(name, "demand", series="cars", factors=("kg_per_car",), **how, **cap)
        for name, how in (("Here", {"share": "half"}), ("Elsewhere", {"rest": True}))
    )
    market = replace(MARKET, components=(*MARKET.components[:2], *halves))
    base, _ = project(market, inputs(forecast=cars(growth=3.0)))
    # 6 million cars at the most, both lines together: 12,000 t a year.
    assert base.months[-1].demand_t.p50 == pytest.approx(1000)


def test_a_demand_that_closes_sees_the_limits_and_the_part_of_growth():
    limited = Component(
        "Mine",
        "supply",
        level="cars_per_year",
        factors=("kg_per_car",),
        limit="oxide_per_year",
        limit_factors=("magnet_per_oxide",),
    )
    market = Market("m", "M", "magnets", (limited, Component("Uses", "demand", balance=True)))
    (base,) = project(market, scenarios=(BASE,))
    assert base.months[0].supply_t.p50 == base.months[0].demand_t.p50 == pytest.approx(20)


def test_a_market_that_asks_for_nothing_lacks_nothing():
    later = replace(PLANT, starts_on=date(2030, 1, 1))
    market = Market(
        "m",
        "M",
        "magnets",
        (
            Component("Plant", "supply", project="plant"),
            Component("Uses", "demand", balance=True),
        ),
    )
    (base,) = project(market, inputs(plant=later), scenarios=(BASE,))
    assert base.probability_above(0.05, 6) == 0
    assert base.months[0].shortfall_share.p90 == 0


def test_only_what_crosses_the_border_needs_a_licence():
    exported = replace(MARKET.components[0], exported="half")
    market = replace(MARKET, components=(exported, *MARKET.components[1:]))
    _, freeze = project(market)
    assert freeze.months[2].shortfall_share.p50 == pytest.approx(0.8 * 0.5 * 0.75)


def test_a_base_year_is_a_whole_one():
    months_known = (*((date(2024, m, 1), 5e5) for m in range(1, 13)), (date(2025, 1, 1), 9e5))
    monthly = replace(
        cars(),
        frequency="month",
        cutoff=date(2025, 1, 1),
        history=months_known,
        periods=tuple(add_months(date(2025, 2, 1), i) for i in range(30)),
        quantiles=((5e5,) * 7,) * 30,
        paths=((5e5,) * 30,) * 10,
    )
    market = Market(
        "m",
        "M",
        "magnets",
        (
            Component("Cars", "demand", series="cars", factors=("kg_per_car",)),
            Component("Level", "supply", level="plant_capacity"),
            Component("Uses", "demand", balance=True),
        ),
    )
    double = {"plant_capacity": fixed("plant_capacity", 24_000, "t NdFeB/year")}
    (base,) = project(market, inputs(forecast=monthly, **double), scenarios=(BASE,))
    # In 2024 the cars took 12,000 of 24,000 t.
    assert part(base, "Uses").monthly_t[0] == pytest.approx(1000)
    assert "in 2024, the last year" in " ".join(base.notes)


# --- plants


def test_a_plant_at_home_replaces_imports_as_it_ramps():
    base, _ = project(WITH_PLANT)
    last = base.months[-1]
    at_home = part(base, "Made at home").monthly_t
    assert at_home[0] == 0 < at_home[5] < at_home[-1] < 50
    assert last.supply_t.p50 == pytest.approx(last.demand_t.p50)
    assert part(base, "From China").monthly_t[-1] == pytest.approx(0.8 * (1000 - at_home[-1]))


def test_a_plant_that_nobody_knew_of_is_left_out_and_that_is_said():
    later = replace(PLANT, known_on=date(2025, 11, 26))
    base, _ = project(WITH_PLANT, inputs(plant=later))
    assert sum(part(base, "Made at home").monthly_t) == 0
    assert "Not in the sources of that time, and left out: A plant." in base.notes


def test_a_plant_gives_no_more_than_its_oxide_allows():
    limited = replace(
        WITH_PLANT.components[-1], limit="oxide_per_year", limit_factors=("magnet_per_oxide",)
    )
    old = replace(PLANT, starts_on=date(2020, 1, 1), status="operating")
    market = replace(WITH_PLANT, components=(*MARKET.components, limited))
    base, _ = project(market, inputs(plant=old))
    assert part(base, "Made at home").monthly_t == pytest.approx([120 * 2 / 12] * 12)


def test_a_slip_delays_what_does_not_produce_yet_and_buyers_did_not_see_it_coming():
    slip = Scenario("slip", "A slip", slips=(ProjectSlip(6),))
    base, late = project(WITH_PLANT, scenarios=(BASE, slip))
    assert part(late, "Made at home").monthly_t[6:] == pytest.approx(
        part(base, "Made at home").monthly_t[:6], abs=1e-9
    )
    assert late.months[-1].shortfall_t.p50 == pytest.approx(
        part(base, "Made at home").monthly_t[-1] - part(late, "Made at home").monthly_t[-1]
    )
    running = replace(PLANT, status="ramping", starts_on=date(2024, 6, 1))
    base, late = project(WITH_PLANT, inputs(plant=running), scenarios=(BASE, slip))
    assert part(late, "Made at home") == part(base, "Made at home")


# --- scenarios


def test_a_supply_change_holds_for_its_months_only():
    cut = Scenario("cut", "A cut", supply=(SupplyChange("China", "half", "magnet", 2, 3),))
    _, cut = project(scenarios=(BASE, cut))
    shares = [month.shortfall_share.p50 for month in cut.months]
    assert shares == pytest.approx([0, 0, 0.4, 0.4, 0.4, *[0] * 7], abs=1e-9)


def test_a_supply_change_of_another_stage_changes_nothing():
    cut = Scenario("cut", "A cut", supply=(SupplyChange("China", "half", "mine"),))
    base, cut = project(scenarios=(BASE, cut))
    assert cut.months == base.months


def test_a_rise_of_demand_comes_evenly_and_is_not_ordered_for():
    rise = Scenario(
        "rise", "A rise", demand=(DemandChange("more", ("electric vehicles",), 0, over_months=4),)
    )
    _, rise = project(scenarios=(BASE, rise))
    demand = [month.demand_t.p50 for month in rise.months]
    assert demand[:5] == pytest.approx([1050, 1100, 1150, 1200, 1200])
    assert rise.months[4].shortfall_t.p50 == pytest.approx(200)


def test_a_new_plant_adds_supply_in_its_market_only():
    plant = NewPlant("Joint venture", "importer", "India", "plant_capacity", "sure", 0, 12)
    helped = replace(FREEZE, scenario="both", plants=(plant,))
    elsewhere = replace(helped, plants=(replace(plant, market="other"),))
    freeze, with_plant, other = project(scenarios=(FREEZE, helped, elsewhere))
    made = part(with_plant, "Joint venture").monthly_t
    assert 0 < made[0] < made[-1] < 100
    assert with_plant.months[5].shortfall_t.p50 == pytest.approx(
        freeze.months[5].shortfall_t.p50 - made[5]
    )
    assert other.months == freeze.months


def test_a_regime_that_was_announced_yesterday_is_felt_before_any_export_month_shows_it():
    calm, _ = project()
    licensed, _ = project(given=inputs(regimes=(REGIME,)))
    assert calm.months[0].shortfall_t.p50 == pytest.approx(0, abs=1e-9)
    # April arrives what was shipped in March: eleven days under the new rule.
    assert licensed.months[0].shortfall_t.p50 > 100
    assert licensed.months[-1].shortfall_share.p50 < 0.05


def test_a_regime_that_nobody_knows_of_is_not_asked_for_its_factors():
    later = replace(REGIME, known_on=date(2026, 1, 1), covers="nobody_wrote_this_one_yet")
    (base,) = project(given=inputs(regimes=(later,)), scenarios=(BASE,))
    (alone,) = project(scenarios=(BASE,))
    assert base.months == alone.months


def test_a_freeze_of_controlled_grades_leaves_the_others_but_for_their_delay():
    old = replace(REGIME, known_on=date(2020, 1, 1), starts_on=date(2020, 1, 1))
    freeze = Scenario("freeze", "A freeze", freezes=(LicenceFreeze("China", 6),))
    _, frozen = project(given=inputs(regimes=(old,)), scenarios=(BASE, freeze))
    assert frozen.months[3].shortfall_share.p50 == pytest.approx(0.8 * (0.6 + 0.4 * 0.5), abs=1e-3)
    grades = replace(MARKET.components[0], grades="free")
    market = replace(MARKET, components=(grades, *MARKET.components[1:]))
    _, frozen = project(market, inputs(regimes=(old,)), scenarios=(BASE, freeze))
    assert frozen.months[3].shortfall_share.p50 == pytest.approx(0.8 * 0.5, abs=1e-3)


def test_a_line_that_needs_no_licence_is_not_held_up():
    open_door = replace(MARKET.components[0], licences_of="none")
    market = replace(MARKET, components=(open_door, *MARKET.components[1:]))
    base, freeze = project(market, inputs(exports(5000, 5000, 5000, 5000, 5000, 1000)))
    assert freeze.months == base.months
    assert base.months[0].shortfall_t.p50 == pytest.approx(0)
    assert not any(c.side == "loss" for c in base.components)


# --- what must hold for any market

NUMBERS = st.floats(0.1, 1.0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    share=NUMBERS,
    left=NUMBERS,
    covers=NUMBERS,
    delay=NUMBERS,
    capacity=st.floats(0, 20_000),
    newest=st.floats(500, 6000),
    weeks=st.floats(0, 12),
    spread=st.floats(0, 0.9),
    seed=st.integers(0, 10_000),
)
def test_taking_supply_away_never_lowers_the_shortfall_on_any_path(
    share, left, covers, delay, capacity, newest, weeks, spread, seed
):
    given_ = inputs(
        exports(5000, 5000, 5000, 5000, 5000, newest),
        regimes=(REGIME,),
        plant=replace(PLANT, capacity=capacity),
        china_share=factor("china_share", 0, share / 2, share, "share"),
        half=fixed("half", left, "share"),
        dy_tb_share=fixed("dy_tb_share", covers, "share"),
        free_grade_delay=fixed("free_grade_delay", delay, "share"),
        weeks=fixed("weeks", weeks, "weeks"),
        kg_per_car=factor("kg_per_car", 2 * (1 - spread), 2, 2 * (1 + spread), "kg NdFeB/vehicle"),
        project_slip_months=factor("project_slip_months", 0, 12, 24, "months"),
    )
    worse = (
        Scenario("freeze", "", freezes=(LicenceFreeze("China", 3, 1, left="half"),)),
        Scenario("cut", "", supply=(SupplyChange("Japan", "half"),)),
        Scenario("slip", "", slips=(ProjectSlip(9),)),
    )
    everything = replace(worse[0], scenario="all", supply=worse[1].supply, slips=worse[2].slips)
    base, *others, last = project_market(
        replace(WITH_PLANT, stock_weeks="weeks"),
        (BASE, *worse, everything),
        given_,
        months=12,
        paths=50,
        seed=seed,
    )
    for one in (*others, last):
        assert (paths_of(one) >= paths_of(base) - 1e-6).all()
        assert (paths_of(last) >= paths_of(one) - 1e-6).all()


@settings(max_examples=30, deadline=None)
@given(share=NUMBERS, kg=st.floats(0.5, 5), newest=st.floats(500, 6000), seed=st.integers(0, 99))
def test_the_lines_add_up_to_supply_and_demand(share, kg, newest, seed):
    given_ = inputs(
        exports(5000, 5000, 5000, 5000, 5000, newest),
        regimes=(REGIME,),
        china_share=fixed("china_share", share, "share"),
        kg_per_car=fixed("kg_per_car", kg, "kg NdFeB/vehicle"),
    )
    for one in project(WITH_PLANT, given_, seed=seed):
        supply = np.sum([c.monthly_t for c in one.components if c.side == "supply"], axis=0)
        demand = np.sum([c.monthly_t for c in one.components if c.side == "demand"], axis=0)
        lost = np.sum([c.monthly_t for c in one.components if c.side == "loss"], axis=0)
        # Imports were ordered for the whole demand: what licences kept back is what is missing.
        assert supply + lost == pytest.approx(demand)
        assert [m.expected_shortfall_t for m in one.months] == pytest.approx(list(lost), abs=1e-6)


def test_without_uncertainty_every_path_is_the_sum_by_hand():
    market = replace(
        WITH_PLANT,
        components=(
            Component("Mine", "supply", level="oxide_per_year", factors=("magnet_per_oxide",)),
            WITH_PLANT.components[-1],
            Component(
                "Cars", "demand", level="cars_per_year", factors=("kg_per_car",), growth="growth"
            ),
        ),
    )
    old = replace(PLANT, starts_on=date(2015, 1, 1), status="operating")
    (base,) = project(market, inputs(plant=old), scenarios=(BASE,))
    for i, month in enumerate(base.months):
        demand = 1000 * 1.1 ** (
            (9.5 + i) / 12
        )  # from the middle of 2024 to that of April 2025, and on
        assert month.demand_t.p10 == month.demand_t.p90 == pytest.approx(demand)
        assert month.supply_t.p10 == pytest.approx(20 + 50)
        assert month.shortfall_t.p50 == pytest.approx(demand - 70)
        assert month.expected_shortfall_t == pytest.approx(demand - 70)
        assert month.shortfall_chance == 1


def test_high_sales_of_one_kind_come_with_high_sales_of_another_as_far_as_the_factor_says():
    spread = tuple(tuple(6e6 * 1.05**k for _ in range(4)) for k in range(100))
    sold = {
        "cars": replace(cars(), paths=spread),
        "vans": replace(cars(), series="vans", paths=spread[::-1]),
    }
    market = replace(
        MARKET,
        components=(
            *MARKET.components,
            Component("Vans", "demand", series="vans", factors=("kg_per_car",)),
        ),
    )

    def deviation(shared: float) -> float:
        given_ = replace(
            inputs(common_shock_demand=fixed("common_shock_demand", shared, "share")),
            forecasts=sold,
            units={"cars": "vehicles", "vans": "vehicles"},
        )
        (base,) = project_market(market, (BASE,), given_, months=12, paths=4000, seed=1)
        return float(np.array(base.demand_t_paths)[:, -1].std())

    assert deviation(1.0) > 1.25 * deviation(0.0)
    # Two equal and independent parts: the sum deviates √2 as much as one, moving together twice.
    assert deviation(1.0) / deviation(0.0) == pytest.approx(2**0.5, rel=0.1)


def test_one_more_line_does_not_move_the_draws_of_the_others():
    wide = {"kg_per_car": factor("kg_per_car", 1, 2, 4, "kg NdFeB/vehicle")}
    base, _ = project(given=inputs(**wide))
    more, _ = project(WITH_PLANT, inputs(**wide))
    assert more.demand_t_paths == base.demand_t_paths


def test_every_number_of_a_line_is_traced_to_series_factor_vintage_and_source():
    base, _ = project(WITH_PLANT, inputs(regimes=(REGIME,)))
    steps = [(s.component, s.step, s.name) for s in base.trace]
    assert ("Cars", "activity", "cars") in steps
    assert ("Cars", "factor", "kg_per_car") in steps
    assert ("Made at home", "plant", "plant") in steps
    assert ("From China", "share", "china_share") in steps
    assert ("From China", "licence", "exports") in steps
    kept = "Kept back by export licences and clearance"
    assert (kept, "licence", "licence_lead_days") in steps
    assert (kept, "licence", "dy_tb_share") in steps
    assert ("How lines depend on each other", "common", "common_shock_demand") in steps
    assert {name for name, step, _ in steps if step == "result"} == {
        *(c.name for c in WITH_PLANT.components),
        kept,
    }
    assert all(step.source and step.confidence for step in base.trace)
    activity = next(step for step in base.trace if step.step == "activity")
    assert activity.known_at == cars().vintage
    # The line follows from it: 6 million vehicles a year at 2 kg.
    assert (activity.central, activity.unit) == (pytest.approx(6e6), "vehicles/year")
    result = next(s for s in base.trace if (s.component, s.step) == ("Cars", "result"))
    assert result.central == pytest.approx(activity.central * 2 / 1000)


def test_a_plant_that_may_not_come_is_as_sure_as_that_and_its_trace_says_so():
    weak = factor("project_chance_planned", 0.3, 0.5, 0.7, "share", "background")
    base, _ = project(WITH_PLANT, inputs(project_chance_planned=weak))
    assert part(base, "Made at home").confidence == "background"
    names = {s.name for s in base.trace if s.component == "Made at home" and s.step == "plant"}
    assert names == {
        *("plant", "project_chance_planned", "project_slip_months", "project_ramp_months")
    }
    running, _ = project(WITH_PLANT, inputs(plant=replace(PLANT, status="ramping")))
    assert part(running, "Made at home").confidence == "medium"
    # A forecast is no observation, whatever it saw.
    assert part(base, "Cars").confidence == "derived"


def test_exports_that_were_not_known_or_are_not_monthly_are_refused():
    late = replace(
        exports(5000, 5000),
        points=(
            ObservedPoint(date(2025, 1, 1), 5000, datetime(2025, 9, 1, tzinfo=UTC), "T", "high"),
        ),
    )
    with pytest.raises(
        CannotProjectError, match="January 2025 was known on 2025-09-01, later than"
    ):
        project(given=inputs(late))
    yearly = replace(exports(5000, 5000), frequency="year")
    with pytest.raises(CannotProjectError, match="is by year; licensed exports must be monthly"):
        project(given=inputs(yearly))


def test_exports_that_ended_long_ago_still_show_how_quick_licences_were():
    old = replace(REGIME, known_on=date(2024, 9, 1), starts_on=date(2024, 9, 1))
    slow = {"licence_lead_days": fixed("licence_lead_days", 365, "days")}
    late = datetime(2026, 3, 21, tzinfo=UTC)
    (quick,), (unseen,) = (
        project(
            given=replace(inputs(seen, regimes=(old,), **slow), known_at=late), scenarios=(BASE,)
        )
        for seen in (exports(5000, 5000, 5000, 5000, 5000, 5000), exports())
    )
    assert quick.months[0].shortfall_t.p50 == pytest.approx(0, abs=1e-6)
    assert unseen.months[0].shortfall_t.p50 > 100


def test_figures_from_after_the_moment_are_refused():
    late = replace(cars(), vintage=datetime(2025, 5, 14, tzinfo=UTC))
    with pytest.raises(
        CannotProjectError, match="importer: cars: its forecast rests on figures of"
    ):
        project(given=inputs(forecast=late))


def part(projection: MarketProjection, name: str):
    return next(c for c in projection.components if c.name == name)


def paths_of(projection: MarketProjection) -> np.ndarray:
    return np.array(projection.shortfall_t_paths)
