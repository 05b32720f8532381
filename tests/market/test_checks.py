import math
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.market.checks import (
    check_common_factors,
    check_market,
    check_project,
    check_regimes,
    check_scenario,
    limit_scale,
    unit_scale,
)
from forecasting.market.common import CHANCES, COMMON_FACTORS, LICENCE_LEAD, SHOCK_DEMAND
from forecasting.market.definitions import (
    Component,
    DemandChange,
    Factor,
    LicenceFreeze,
    LicenceRegime,
    Market,
    MarketDefinitionError,
    NewPlant,
    Project,
    ProjectSlip,
    Scenario,
    SupplyChange,
)


def factor(name: str, low: float, central: float, high: float, unit: str) -> Factor:
    return Factor(name, low, central, high, unit, "a test", "high")


FACTORS = {
    f.name: f
    for f in (
        factor("kg_per_car", 1, 1.6, 2.5, "kg NdFeB/vehicle"),
        factor("t_per_mw", 0.4, 0.5, 0.6, "t NdFeB/MW"),
        factor("pm_share", 0.8, 0.9, 1, "share"),
        factor("pm_percent", 80, 90, 100, "%"),
        factor("half", 0.4, 0.5, 0.6, "share"),
        factor("some", 0.2, 0.3, 0.4, "share"),
        factor("third", 0.3, 0.3334, 0.4, "share"),
        factor("above_one", 0.5, 0.9, 1.1, "share"),
        factor("below_zero", -0.1, 0.2, 0.3, "share"),
        factor("endless", 0, 1, math.inf, "share"),
        factor("odd", 1, 2, 3, "t NdFeBB"),
        replace(factor("unsure", 0, 0.5, 1, "share"), confidence="perhaps"),
        factor("more", 1.1, 1.2, 1.3, "share"),
        factor("cars_per_year", 9, 10, 11, "vehicles/year"),
        factor("cars_per_month", 9, 10, 11, "vehicles/month"),
        factor("cars_back", -1, 10, 11, "vehicles/year"),
        factor("minus_kg_per_car", -1, 1, 2, "kg NdFeB/vehicle"),
        factor("growth", -0.02, 0.02, 0.04, "share/year"),
        factor("growth_percent", -2, 2, 4, "%/year"),
        factor("vanishing", -1, 0, 0.1, "share/year"),
        factor("oxide_per_year", 400, 500, 500, "t NdPr oxide/year"),
        factor("kg_oxide_per_year", 4e5, 5e5, 5e5, "kg NdPr oxide/year"),
        factor("mb_ratio_net", 1.7, 2.05, 2.4, "t finished magnet / t NdPr oxide"),
        factor("machined", 0.6, 0.73, 0.85, "t NdFeB/t NdFeB gross"),
        factor("jv_per_year", 1000, 2000, 3000, "t NdFeB/year"),
        factor("stock_weeks", 2, 5, 8, "weeks"),
        factor("lead_days", 40, 45, 90, "days"),
        factor("no_days", 0, 45, 90, "days"),
        factor("never_granted", 0, 0.5, 0.9, "share"),
    )
}
UNITS = {
    "cars": "thousand vehicles",
    "wind": "MW",
    "daily": "vehicles",
    "mine": "kt REO",
    "spelt": "vehiclez",
    "rate": "t NdFeB/month",
    "yearly_rate": "t NdFeB/year",
    "unknown_rhythm": "vehicles",
}
FREQUENCIES = {
    "cars": "year",
    "wind": "month",
    "daily": "day",
    "mine": "year",
    "spelt": "year",
    "rate": "year",
    "yearly_rate": "year",
    "unknown_rhythm": "quarter",
}
KNOWN_ON = date(2025, 10, 1)
PLANT = Project(
    project="Sumter",
    title="Sumter",
    owner="a maker",
    country="United States",
    stage="magnet",
    product="NdFeB",
    capacity=2000,
    unit="t NdFeB/year",
    starts_on=date(2026, 7, 1),
    status="construction",
    known_on=KNOWN_ON,
    source="a test",
    confidence="medium",
)
PROJECTS = {
    one.project: one
    for one in (
        PLANT,
        replace(PLANT, project="Hanau", country="Germany", status="operating"),
        replace(PLANT, project="Gross", stage="blank", unit="t NdFeB gross/year"),
        replace(PLANT, project="Uncounted", country="Estonia"),
    )
}
REGIME = LicenceRegime(
    regime="announcement-18",
    title="Announcement 18",
    origin="China",
    elements=("Dy", "Tb"),
    covers="half",
    granted="pm_share",
    lead_days="lead_days",
    known_on=date(2025, 4, 4),
    starts_on=date(2025, 4, 4),
    source="a test",
    confidence="high",
)
SUSPENDED = replace(
    REGIME,
    regime="october",
    elements=("Ho", "Er"),
    known_on=date(2025, 10, 9),
    starts_on=date(2025, 11, 8),
    suspension_known_on=date(2025, 11, 7),
    suspended_on=date(2025, 11, 10),
    suspended_until=date(2026, 11, 10),
    resumes="half",
)
IMPORTS = Component("Imports", "supply", balance=True, origin="China")
CARS = Component("Cars", "demand", series="cars", factors=("pm_share", "kg_per_car"), use="cars")


def market(*components: Component, **fields: str) -> Market:
    return Market("m", "A market", "magnets", components or (IMPORTS, CARS), **fields)


def check(checked: Market, **more) -> None:
    check_market(checked, FACTORS, UNITS, FREQUENCIES, PROJECTS, **more)


def refusal(checked: Market, **more) -> str:
    with pytest.raises(MarketDefinitionError) as caught:
        check(checked, **more)
    return str(caught.value)


# --- markets


def scale_of(component: Component, checked: Market | None = None) -> float:
    return unit_scale(checked or market(), component, FACTORS, UNITS, PROJECTS)


@pytest.mark.parametrize(
    ("component", "scale"),
    [
        pytest.param(CARS, 1.0, id="thousand vehicles by kg"),
        pytest.param(
            Component("Cars", "demand", series="daily", factors=("kg_per_car",)),
            0.001,
            id="vehicles by kg",
        ),
        pytest.param(
            Component("Cars", "demand", series="daily", factors=("pm_percent", "kg_per_car")),
            0.00001,
            id="a factor in per cent",
        ),
        pytest.param(
            Component("Cars", "demand", level="cars_per_year", factors=("kg_per_car",)),
            0.001,
            id="a level loses its year",
        ),
        pytest.param(Component("Plant", "supply", project="Sumter"), 1.0, id="a plant"),
        pytest.param(
            Component("Plant", "supply", project="Gross", factors=("machined",)),
            1.0,
            id="a plant of blanks",
        ),
        pytest.param(Component("T", "supply", series="yearly_rate"), 1.0, id="a series per year"),
        pytest.param(IMPORTS, 1.0, id="what closes the balance"),
    ],
)
def test_a_chain_that_leads_to_the_product_has_its_size(component, scale):
    others = [IMPORTS] if component != IMPORTS else []
    check(
        market(component, *others, CARS) if component.name != "Cars" else market(*others, component)
    )
    assert scale_of(component) == pytest.approx(scale)


def test_a_market_of_another_product_counts_in_it():
    oxide = market(
        Component("Oxide", "supply", level="oxide_per_year"),
        Component("Use", "demand", balance=True),
        unit="t NdPr oxide",
    )
    check(oxide)
    assert scale_of(oxide.components[0], oxide) == 1.0
    plant = Component("Plant", "supply", project="Sumter")
    with pytest.raises(MarketDefinitionError, match="must end at 't NdPr oxide'"):
        scale_of(plant, oxide)


def test_a_limit_leads_to_the_product_by_its_own_factors():
    plant = Component(
        "Plant",
        "supply",
        project="Sumter",
        limit="kg_oxide_per_year",
        limit_factors=("mb_ratio_net",),
    )
    check(market(IMPORTS, CARS, plant))
    assert limit_scale(market(), plant, FACTORS) == pytest.approx(0.001)


@pytest.mark.parametrize("series", ["cars", "wind", "daily"])
def test_a_series_may_come_by_the_day_the_month_or_the_year(series):
    name = "t_per_mw" if series == "wind" else "kg_per_car"
    check(market(IMPORTS, Component("Use", "demand", series=series, factors=(name,))))


@pytest.mark.parametrize(
    ("component", "says"),
    [
        pytest.param(
            Component("Wind", "demand", series="wind", factors=("kg_per_car",)),
            "market m: demand 'Wind': factors: kg_per_car is in 'kg NdFeB/vehicle', but the chain "
            "stands at 'MW'",
            id="units that do not meet",
        ),
        pytest.param(
            Component("Cars", "demand", series="cars", factors=("pm_share",)),
            "demand 'Cars': factors: the chain ends at 'thousand vehicles'; it must end at 't NdFeB'",
            id="a chain that stops early",
        ),
        pytest.param(
            Component("Plant", "supply", project="Gross"),
            "factors: the chain ends at 't NdFeB gross'; it must end at 't NdFeB'",
            id="blanks counted as finished magnets",
        ),
        pytest.param(
            Component("Cars", "demand", series="car", factors=("kg_per_car",)),
            "demand 'Cars': series: there is no series 'car'; did you mean 'cars'?",
            id="an unknown series",
        ),
        pytest.param(
            Component("Cars", "demand", series="cars", factors=("kg_per_cra",)),
            "factors: there is no factor 'kg_per_cra'; did you mean 'kg_per_car'?",
            id="an unknown factor",
        ),
        pytest.param(
            Component("Plant", "supply", project="Sumtre"),
            "supply 'Plant': project: there is no project 'Sumtre'; did you mean 'Sumter'?",
            id="an unknown project",
        ),
        pytest.param(
            Component("Cars", "demand", series="spelt", factors=("kg_per_car",)),
            "series: spelt: there is no unit 'vehiclez'; did you mean 'vehicle",
            id="an unknown unit of a series",
        ),
        pytest.param(
            Component("Cars", "demand", series="cars", factors=("odd",)),
            "factors: odd: there is no unit 't NdFeBB'; did you mean 't NdFeB'?",
            id="an unknown unit of a factor",
        ),
        pytest.param(
            Component("Rate", "supply", series="rate"),
            "series: rate is in 't NdFeB/month', but comes once a year",
            id="a rate that is not the series' rhythm",
        ),
        pytest.param(
            Component("Rate", "supply", series="unknown_rhythm"),
            "series: 'quarter' is not one of day, week, month, year",
            id="an unknown frequency",
        ),
        pytest.param(
            Component("Cars", "demand"),
            "series: has none; a component needs exactly one of series, level, project or balance",
            id="no activity",
        ),
        pytest.param(
            Component("Cars", "demand", series="cars", level="cars_per_year"),
            "level: has series and level; a component needs exactly one",
            id="two activities",
        ),
        pytest.param(
            Component("Cars", "demand", level="cars_per_month", factors=("kg_per_car",)),
            "level: cars_per_month is in 'vehicles/month'; it must be per year",
            id="a level that is not yearly",
        ),
        pytest.param(
            Component("Cars", "demand", level="kg_per_car"),
            "level: kg_per_car: 'kg NdFeB/vehicle' is not a rate; it must be per day, week, month",
            id="a level that is no rate",
        ),
        pytest.param(
            Component("Cars", "demand", level="cars_back", factors=("kg_per_car",)),
            "level: cars_back goes down to -1 vehicles/year; it must not be below 0",
            id="a negative level",
        ),
        pytest.param(
            Component("Cars", "demand", series="cars", factors=("minus_kg_per_car",)),
            "factors: minus_kg_per_car goes down to -1 kg NdFeB/vehicle; it must not be below 0",
            id="a negative factor",
        ),
        pytest.param(
            Component("Cars", "demand", series="cars", factors=("endless", "kg_per_car")),
            "factors: endless: high is inf; it must be a finite number",
            id="an infinite factor",
        ),
        pytest.param(
            replace(CARS, exported="odd"),
            "exported: odd: there is no unit 't NdFeBB'; did you mean 't NdFeB'?",
            id="an unknown unit of a share",
        ),
        pytest.param(
            replace(CARS, exported="unsure"),
            "exported: unsure: confidence 'perhaps' is not one of high, medium, derived, low",
            id="an unknown confidence word",
        ),
        pytest.param(
            replace(CARS, side="use"),
            "market m: use 'Cars': side: 'use' is not one of supply, demand",
            id="an unknown side",
        ),
        pytest.param(
            replace(CARS, channel="indirect"),
            "channel: 'indirect' is not one of direct, embedded",
            id="an unknown channel",
        ),
        pytest.param(
            replace(CARS, grades="heavy"),
            "grades: 'heavy' is not one of mixed, controlled, free",
            id="unknown grades",
        ),
        pytest.param(
            replace(CARS, stage="smelter"),
            "stage: 'smelter' is not one of mine, concentrate, oxide, metal, alloy, blank, magnet, "
            "embedded",
            id="an unknown stage",
        ),
        pytest.param(replace(CARS, name=" "), "name: is empty; write a text", id="no name"),
        pytest.param(
            replace(CARS, name="Imports"),
            "demand 'Imports': name: there are two components 'Imports'",
            id="a name used twice",
        ),
        pytest.param(
            replace(CARS, growth="vanishing"),
            "growth: vanishing goes down to -1 share/year; it must stay above -1",
            id="a growth that leaves nothing",
        ),
        pytest.param(
            replace(CARS, growth="growth_percent"),
            "growth: growth_percent is in '%/year'; it must be in share/year",
            id="a growth in per cent",
        ),
        pytest.param(
            replace(CARS, exported="kg_per_car"),
            "exported: kg_per_car is in 'kg NdFeB/vehicle'; it must be in 'share'",
            id="a share that is none",
        ),
        pytest.param(
            replace(CARS, share="pm_percent"),
            "share: pm_percent is in '%'; it must be in 'share'",
            id="a share in per cent",
        ),
        pytest.param(
            replace(CARS, share="above_one"),
            "share: above_one goes from 0.5 to 1.1; a share lies in 0 to 1",
            id="a share above 1",
        ),
        pytest.param(
            replace(CARS, exported="below_zero"),
            "exported: below_zero goes from -0.1 to 0.3; a share lies in 0 to 1",
            id="a negative share",
        ),
        pytest.param(
            replace(CARS, share="half", rest=True),
            "rest: it is what the shares leave; leave out share = 'half'",
            id="a rest with a share",
        ),
        pytest.param(
            replace(CARS, rest=True),
            "rest: no demand beside it takes a share of cars; give one, or leave out rest",
            id="a rest of nothing",
        ),
        pytest.param(
            Component(
                "Cars", "demand", level="cars_per_year", factors=("kg_per_car",), share="half"
            ),
            "share: only part of a series or of what is left can be taken; use factors instead",
            id="a share of a level",
        ),
        pytest.param(
            Component("Plant", "supply", project="Sumter", limit="oxide_per_year"),
            "limit_factors: the chain ends at 't NdPr oxide'; it must end at 't NdFeB'",
            id="a limit in another product",
        ),
        pytest.param(
            Component("Plant", "supply", project="Sumter", limit="mb_ratio_net"),
            "limit: mb_ratio_net: 't finished magnet / t NdPr oxide' is not a rate",
            id="a limit that is no rate",
        ),
        pytest.param(
            Component("Plant", "supply", project="Sumter", limit_factors=("mb_ratio_net",)),
            "limit_factors: there is no limit that they lead on from; give limit",
            id="limit factors without a limit",
        ),
        pytest.param(
            Component("Plant", "demand", project="Sumter"),
            "project: a plant makes things: it belongs to supply",
            id="a plant that demands",
        ),
    ],
)
def test_a_component_that_can_not_be_computed_is_named(component, says):
    said = refusal(market(IMPORTS, replace(CARS, name="Other cars", use=""), component))
    assert said.startswith("market m: ")
    assert says in said


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"origin": "India"}, "origin: 'India' has no effect on a demand, only on a supply"),
        ({"licences_of": "China"}, "licences_of: 'China' has no effect on a demand"),
        ({"exported": "half"}, "exported: 'half' has no effect on a demand"),
        ({"grades": "free"}, "grades: 'free' has no effect on a demand"),
    ],
)
def test_what_only_a_supply_can_say_is_refused_on_a_demand(fields, says):
    check(market(replace(IMPORTS, **fields), CARS))
    said = refusal(market(IMPORTS, replace(CARS, **fields)))
    assert said.startswith(f"market m: demand 'Cars': {says}")


def test_a_plant_is_counted_once_in_a_market():
    plant = Component("Plant", "supply", project="Sumter", origin="United States")
    other = replace(plant, name="Other plant", project="Hanau")
    check(market(IMPORTS, CARS, plant, other))
    said = refusal(market(IMPORTS, CARS, plant, replace(other, project="Sumter")))
    assert said == (
        "market m: supply 'Other plant': project: 'Sumter' is in 'Plant' already; "
        "a plant stands in one line of a market"
    )
    # Also where one of them is only shown: its tonnes would stand there twice.
    shown = replace(plant, name="Shown", channel="embedded")
    assert "supply 'Shown': project:" in refusal(market(IMPORTS, CARS, plant, shown))


def shared(*parts: tuple[str, bool], side: str = "demand") -> list[Component]:
    """Components that take these shares (or the rest) of one series."""
    return [
        Component(
            f"Part {i}", side, series="cars", factors=("kg_per_car",), share=share, rest=is_rest
        )
        for i, (share, is_rest) in enumerate(parts)
    ]


def test_shares_that_leave_something_for_the_rest_are_accepted():
    check(market(IMPORTS, *shared(("half", False), ("some", False), ("", True))))


def test_shares_of_one_series_add_up_to_one_at_most():
    said = refusal(market(IMPORTS, *shared(("half", False), ("some", False), ("some", False))))
    assert "demand 'Part 2': share: the shares of cars add up to 1.1" in said
    assert "half 0.5, some 0.3, some 0.3" in said


def test_shares_of_the_two_sides_are_counted_apart():
    check(
        market(
            IMPORTS,
            *shared(("pm_share", False)),
            replace(shared(("half", False), side="supply")[0], name="Made at home"),
        )
    )


def test_a_series_has_one_rest():
    said = refusal(market(IMPORTS, *shared(("half", False), ("", True), ("", True))))
    assert "demand 'Part 2': rest: 'Part 1' is the rest of cars already" in said


@pytest.mark.parametrize(
    ("closing", "says"),
    [
        pytest.param(
            [{}, {}], "two components close the balance: give each a share", id="two without share"
        ),
        pytest.param(
            [{"share": "half"}, {}], "two components close the balance", id="one of two without"
        ),
        pytest.param(
            [{"share": "half"}, {"share": "pm_share"}],
            "the shares of what is left add up to 1.4",
            id="more than all",
        ),
        pytest.param(
            [{"share": "half"}, {"share": "some"}],
            "the shares of what is left add up to 0.8; one more must be the rest",
            id="less than all",
        ),
        pytest.param(
            [{"share": "half"}, {"rest": True}, {"rest": True}],
            "'Imports 1' is the rest of what is left already",
            id="two rests",
        ),
        pytest.param([{"rest": True}], "no supply beside it takes a share", id="a rest alone"),
        pytest.param(
            [{"factors": ("pm_share",)}], "factors: ('pm_share',) has no effect", id="factors"
        ),
        pytest.param(
            [{"limit": "jv_per_year"}], "limit: 'jv_per_year' has no effect", id="a limit"
        ),
        pytest.param([{"growth": "growth"}], "growth: 'growth' has no effect", id="a growth"),
        pytest.param(
            [{"channel": "embedded"}],
            "channel: what arrives inside parts is not bal",
            id="embedded",
        ),
    ],
)
def test_what_closes_the_balance_closes_it_as_a_whole(closing, says):
    imports = [replace(IMPORTS, name=f"Imports {i}", **more) for i, more in enumerate(closing)]
    assert says in refusal(market(*imports, CARS))


def test_rounded_shares_of_imports_are_a_whole():
    thirds = [replace(IMPORTS, name=f"Imports {i}", share="third") for i in range(2)]
    check(market(*thirds, replace(IMPORTS, name="Rest", rest=True), CARS))
    factors = {**FACTORS, "nearly": factor("nearly", 0.4, 0.4996, 0.6, "share")}
    pair = [replace(IMPORTS, name=n, share=s) for n, s in (("A", "half"), ("B", "nearly"))]
    check_market(market(*pair, CARS), factors, UNITS, FREQUENCIES, PROJECTS)


def test_both_sides_can_not_close_the_balance():
    said = refusal(market(IMPORTS, CARS, Component("All else", "demand", balance=True)))
    assert "demand 'All else': balance: both sides close the balance; only one can" in said


def test_demand_that_closes_the_balance_may_grow():
    other = Component("All else", "demand", balance=True, growth="growth")
    check(market(Component("Plant", "supply", project="Sumter"), other))


@pytest.mark.parametrize(
    ("components", "says"),
    [
        ([IMPORTS], "market m: demand: no direct demand component"),
        ([CARS], "market m: supply: no direct supply component"),
        ([IMPORTS, replace(CARS, channel="embedded")], "no direct demand component"),
    ],
)
def test_a_market_needs_both_sides(components, says):
    assert says in refusal(market(*components))


@pytest.mark.parametrize(
    ("unit", "says"),
    [
        ("kt NdFeB", "market m: unit: 'kt NdFeB' is not tonnes of one product"),
        ("t", "'t' is not tonnes of one product, as 't NdFeB' or 't NdPr oxide'"),
        ("t NdFeB/year", "'t NdFeB/year' is not tonnes of one product"),
        ("vehicles", "'vehicles' is not tonnes of one product"),
        ("t NdFeb", "unit: there is no unit 't NdFeb'; did you mean 't NdFeB'?"),
    ],
)
def test_a_market_counts_in_tonnes_of_one_product(unit, says):
    assert says in refusal(market(unit=unit))


def test_the_usual_stock_is_in_weeks():
    check(market(stock_weeks="stock_weeks"))
    assert "stock_weeks: lead_days is in 'days'; it must be in weeks" in refusal(
        market(stock_weeks="lead_days")
    )
    assert "stock_weeks: there is no factor 'stock_week'; did you mean 'stock_weeks'?" in refusal(
        market(stock_weeks="stock_week")
    )


def test_licences_are_those_of_an_origin_that_has_some():
    check(market(replace(IMPORTS, licences_of="none"), CARS), licensed={"China"})
    check(market(replace(IMPORTS, origin="Japan", licences_of="China"), CARS), licensed={"China"})
    check(market(replace(IMPORTS, origin="Japan"), CARS), licensed={"China"})
    said = refusal(market(replace(IMPORTS, licences_of="Japan"), CARS), licensed={"China"})
    assert (
        "supply 'Imports': licences_of: no regime or exports table knows licences of 'Japan'; "
        "known: China, none" in said
    )


@pytest.mark.parametrize("origin", ["Chnia", "china", "Chna"])
def test_a_misspelt_origin_does_not_escape_its_licences(origin):
    misspelt = replace(IMPORTS, origin=origin)
    said = refusal(market(misspelt, CARS), licensed={"China"})
    assert f"origin: there are no licences of {origin!r}; did you mean 'China'?" in said
    check(market(replace(misspelt, licences_of="none"), CARS), licensed={"China"})


@pytest.mark.parametrize(
    ("importer", "near"),
    [
        pytest.param("Untied States", "United States", id="a plant's country"),
        pytest.param("germany", "Germany", id="another case"),
        pytest.param("Chnia", "China", id="an origin of its own"),
        pytest.param("Inida", "India", id="an importer of another market"),
        pytest.param("Japn", "Japan", id="an origin with licences"),
    ],
)
def test_a_misspelt_importer_is_refused_with_what_was_meant(importer, near):
    known = {"licensed": {"Japan"}, "places": {"", "India", "EU27"}}
    assert refusal(market(importer=importer), **known) == (
        f"market m: importer: no supply, plant or other market names {importer!r}; "
        f"did you mean {near!r}?"
    )
    check(market(importer=near), **known)


@pytest.mark.parametrize("importer", ["", "Brazil", "EU28", "Austria"])
def test_an_importer_that_nobody_else_names_is_fine(importer):
    check(market(importer=importer), places={"EU27", "Australia"})


def test_an_importer_that_its_own_supply_names_is_fine():
    own = Component("Own", "supply", level="jv_per_year", origin="Germania")
    assert "did you mean 'Germany'?" in refusal(market(importer="Germania"))
    check(market(IMPORTS, own, CARS, importer="Germania"))


# --- projects


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"capacity": -1.0},
            "project Sumter: capacity: -1 t NdFeB/year; it must be a number above 0",
        ),
        ({"capacity": 0.0}, "capacity: 0 t NdFeB/year; it must be a number above 0"),
        ({"capacity": math.nan}, "capacity: nan t NdFeB/year; it must be a number above 0"),
        ({"capacity": math.inf}, "capacity: inf t NdFeB/year; it must be a number above 0"),
        ({"unit": "t NdFeB"}, "unit: capacity: 't NdFeB' is not a rate"),
        ({"unit": "t NdFeB/month"}, "unit: capacity is in 't NdFeB/month'; it must be per year"),
        (
            {"unit": "t NdFeBB/year"},
            "there is no unit 't NdFeBB/year'; did you mean 't NdFeB/year'?",
        ),
        ({"unit": "MW/year"}, "unit: 'MW/year' is not a mass of a product"),
        (
            {"full_on": date(2026, 7, 1)},
            "full_on: 2026-07-01 is not after starts_on, 2026-07-01: a ramp takes time",
        ),
        ({"full_on": date(2026, 1, 1)}, "full_on: 2026-01-01 is not after starts_on, 2026-07-01"),
        (
            {"starts_on": datetime(2026, 7, 1, tzinfo=UTC)},
            "starts_on: 2026-07-01 00:00:00+00:00 is a moment; write a day, as 2026-07-01",
        ),
        (
            {"status": "stalled"},
            "status: 'stalled' is not one of operating, ramping, construction, planned",
        ),
        ({"stage": "smelter"}, "stage: 'smelter' is not one of mine, concentrate"),
        (
            {"confidence": "sure"},
            "confidence: 'sure' is not one of high, medium, derived, low, back",
        ),
        ({"source": ""}, "source: is empty"),
        ({"country": " "}, "country: is empty"),
    ],
)
def test_a_plant_that_can_not_be_computed_is_named(change, says):
    with pytest.raises(MarketDefinitionError, match="project Sumter: ") as caught:
        check_project(replace(PLANT, **change))
    assert says in str(caught.value)


def test_a_plant_with_a_ramp_is_accepted():
    check_project(replace(PLANT, full_on=date(2028, 7, 1)))


# --- regimes


def regime_refusal(*regimes: LicenceRegime) -> str:
    with pytest.raises(MarketDefinitionError) as caught:
        check_regimes(regimes, FACTORS)
    return str(caught.value)


def test_regimes_for_different_goods_may_hold_together():
    check_regimes([REGIME, SUSPENDED], FACTORS)


def test_two_regimes_for_the_same_goods_can_not_overlap():
    second = replace(
        REGIME, regime="second", elements=("Ho", "Dy"), starts_on=date(2025, 12, 1), source="x"
    )
    assert regime_refusal(REGIME, second) == (
        "regime second: starts_on: overlaps announcement-18 from 2025-12-01 on: both hold for Dy "
        "from China; end one before the other starts"
    )
    check_regimes([replace(REGIME, ends_on=date(2025, 12, 1)), second], FACTORS)
    check_regimes([REGIME, replace(second, origin="Japan")], FACTORS)


def test_a_regime_may_fill_the_suspension_of_another():
    between = replace(
        REGIME,
        regime="between",
        elements=("Ho",),
        starts_on=date(2025, 12, 1),
        ends_on=date(2026, 11, 10),
    )
    check_regimes([SUSPENDED, between], FACTORS)
    longer = replace(between, ends_on=date(2026, 12, 1))
    assert "overlaps october from 2026-11-10 on: both hold for Ho" in regime_refusal(
        SUSPENDED, longer
    )


def test_a_regime_has_a_name_of_its_own():
    twin = replace(REGIME, elements=("Ho",))
    assert "regime announcement-18: regime: the name is used twice" in regime_refusal(REGIME, twin)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ends_on": date(2025, 11, 8)}, "ends_on: 2025-11-08 is not after starts_on, 2025-11-08"),
        (
            {"ends_on": date(2025, 11, 9)},
            "suspended_on: 2025-11-10 is not before ends_on, 2025-11-09",
        ),
        (
            {"suspended_until": date(2025, 11, 10)},
            "suspended_until: 2025-11-10 is not after suspended_on, 2025-11-10",
        ),
        ({"suspension_known_on": None}, "suspension_known_on: is missing; from which day on"),
        (
            {"suspension_known_on": date(2025, 10, 1)},
            "suspension_known_on: 2025-10-01 is before known_on, 2025-10-09",
        ),
        ({"suspended_on": None}, "suspension_known_on: there is no suspension; give suspended_on"),
        ({"suspended_until": None}, "resumes: nothing says when it would come back"),
        (
            {"resumes": ""},
            "resumes: is missing; give the factor that says how likely it comes back",
        ),
        ({"resumes": "lead_days"}, "resumes: lead_days is in 'days'; it must be in 'share'"),
        (
            {"covers": "kg_per_car"},
            "covers: kg_per_car is in 'kg NdFeB/vehicle'; it must be in 'sh",
        ),
        ({"covers": "above_one"}, "covers: above_one goes from 0.5 to 1.1; a share lies in 0 to 1"),
        ({"covers": "hlaf"}, "covers: there is no factor 'hlaf'; did you mean 'half'?"),
        ({"granted": "pm_percent"}, "granted: pm_percent is in '%'; it must be in 'share'"),
        ({"granted": "never_granted"}, "granted: never_granted goes down to 0; a chance above 0"),
        ({"lead_days": "stock_weeks"}, "lead_days: stock_weeks is in 'weeks'; it must be in days"),
        ({"lead_days": "no_days"}, "lead_days: no_days goes down to 0 days; more than 0 is needed"),
        ({"elements": ()}, "elements: names no element"),
        ({"elements": ("Fe",)}, "elements: 'Fe' is no rare-earth element; known: Sc, Y, La"),
        ({"origin": ""}, "origin: is empty"),
        (
            {"known_on": datetime(2025, 10, 9, tzinfo=UTC)},
            "known_on: 2025-10-09 00:00:00+00:00 is a",
        ),
    ],
)
def test_a_regime_that_can_not_be_computed_is_named(change, says):
    said = regime_refusal(replace(SUSPENDED, **change))
    assert said.startswith("regime october: ")
    assert says in said


# --- scenarios

MARKETS = {
    one.market: one
    for one in (
        market(
            Component(
                "Mined in Myanmar",
                "supply",
                level="oxide_per_year",
                factors=("mb_ratio_net",),
                origin="Myanmar",
                stage="mine",
                licences_of="China",
            ),
            Component("Sumter", "supply", project="Sumter", origin="United States"),
            Component("Hanau", "supply", project="Hanau", origin="Germany"),
            CARS,
            Component("All else", "demand", balance=True, use="other"),
        ),
    )
}
FREEZE = Scenario("freeze", "China freezes licences", freezes=(LicenceFreeze("China", 6),))
JV = NewPlant("JV", "m", "India", "jv_per_year", "half", 24, 36)


def check_one(scenario: Scenario, **more) -> None:
    known = {"freeze": FREEZE, "base": Scenario("base", "Base case")}
    given_ = {"regimes": [REGIME], "licensed": {"Japan"}, **more}
    check_scenario(scenario, known, MARKETS, FACTORS, PROJECTS, **given_)


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("base", "Base case"),
        FREEZE,
        Scenario("also", "As well", includes=("freeze",)),
        Scenario("halt", "Myanmar halts", supply=(SupplyChange("Myanmar", "half", "mine"),)),
        Scenario("late", "Plants come late", slips=(ProjectSlip(12),)),
        Scenario("late", "Plants come late", slips=(ProjectSlip(12, ("Sumter",)),)),
        Scenario("late", "Plants come late", slips=(ProjectSlip(12, (), ("United States",)),)),
        Scenario("jv", "A joint venture", plants=(JV, replace(JV, name="JV 2", chance=""))),
        Scenario("surge", "Demand surges", demand=(DemandChange("more", ("cars",), 0, 12),)),
    ],
)
def test_a_scenario_that_changes_something_we_model_is_accepted(scenario):
    check_one(scenario)


def changed(**changes) -> Scenario:
    return Scenario("s", "A scenario", **{kind: (change,) for kind, change in changes.items()})


@pytest.mark.parametrize(
    ("scenario", "says"),
    [
        pytest.param(
            Scenario("s", "A scenario"),
            "scenario s: scenario: changes nothing; it needs a freeze, supply, slip, plant or demand",
            id="nothing",
        ),
        pytest.param(
            Scenario("s", "A scenario", includes=("base",)),
            "scenario s: includes: changes nothing",
            id="nothing but the base case",
        ),
        pytest.param(
            Scenario("s", "A scenario", includes=("frost",)),
            "includes: there is no scenario 'frost'; known: freeze, base",
            id="an unknown part",
        ),
        pytest.param(
            replace(FREEZE, scenario="base"),
            "scenario base: base: the base case changes nothing",
            id="a base case that changes something",
        ),
        pytest.param(
            replace(FREEZE, scenario="a+b"),
            "the name holds '+', which joins scenarios",
            id="a plus",
        ),
        pytest.param(replace(FREEZE, title=""), "title: is empty", id="no title"),
        pytest.param(
            changed(freezes=LicenceFreeze("Chnia", 6)),
            "scenario s: freeze of 'Chnia': origin: no regime or exports table knows licences of it; "
            "did you mean 'China'?",
            id="a freeze of an unknown origin",
        ),
        pytest.param(
            changed(freezes=LicenceFreeze("Japan", 6)),
            "freeze of 'Japan': origin: no component of any market needs its licences; known: China",
            id="a freeze that no market feels",
        ),
        pytest.param(
            changed(freezes=LicenceFreeze("China", 0)),
            "lasts_months: 0; it must be 1 or more",
            id="a freeze of no months",
        ),
        pytest.param(
            changed(freezes=LicenceFreeze("China", 6, -1)),
            "starts_after_months: -1; it must be 0 or more",
            id="a freeze in the past",
        ),
        pytest.param(
            changed(freezes=LicenceFreeze("China", 6, 0, "kg_per_car")),
            "left: kg_per_car is in 'kg NdFeB/vehicle'; it must be in 'share'",
            id="what is left is no share",
        ),
        pytest.param(
            changed(supply=SupplyChange("Myanmra", "half")),
            "scenario s: supply from 'Myanmra': origin: no supply component of any market comes from "
            "it; did you mean 'Myanmar'?",
            id="supply of an unknown origin",
        ),
        pytest.param(
            changed(supply=SupplyChange("Myanmar", "half", "magnet")),
            "stage: nothing comes from it as 'magnet'; known: mine",
            id="supply of another stage",
        ),
        pytest.param(
            changed(supply=SupplyChange("Myanmar", "half", "smelter")),
            "stage: 'smelter' is not one of mine, concentrate",
            id="supply of an unknown stage",
        ),
        pytest.param(
            changed(supply=SupplyChange("Myanmar", "more")),
            "left: more goes from 1.1 to 1.3; a share lies in 0 to 1",
            id="supply that rises",
        ),
        pytest.param(
            changed(supply=SupplyChange("Myanmar", "half", "", 0, -2)),
            "lasts_months: -2; it must be 0 or more",
            id="supply for fewer than no months",
        ),
        pytest.param(
            changed(slips=ProjectSlip(0)), "slip: months: 0; it must be 1 or more", id="no slip"
        ),
        pytest.param(
            changed(slips=ProjectSlip(12, ("Sumtre",))),
            "slip: projects: there is no project 'Sumtre'; did you mean 'Sumter'?",
            id="a slip of an unknown plant",
        ),
        pytest.param(
            changed(slips=ProjectSlip(12, ("Uncounted",))),
            "projects: no market counts on 'Uncounted'",
            id="a slip of a plant that no market counts on",
        ),
        pytest.param(
            changed(slips=ProjectSlip(12, ("Hanau",))),
            "projects: 'Hanau' is operating: only plants in construction or planned slip",
            id="a slip of a plant that produces",
        ),
        pytest.param(
            changed(slips=ProjectSlip(12, (), ("Germany",))),
            "countries: no market counts on a plant to come in 'Germany'; known: United States",
            id="a slip in a country without plants to come",
        ),
        pytest.param(
            changed(plants=replace(JV, market="n-market")),
            "plant 'JV': market: there is no market 'n-market'; known: m",
            id="a plant in an unknown market",
        ),
        pytest.param(
            changed(plants=replace(JV, capacity="oxide_per_year")),
            "plant 'JV': factors: the chain ends at 't NdPr oxide'; it must end at 't NdFeB'",
            id="a plant of another product",
        ),
        pytest.param(
            changed(plants=replace(JV, capacity="cars_back")),
            "capacity: cars_back goes down to -1 vehicles/year; it must not be below 0",
            id="a negative capacity",
        ),
        pytest.param(
            changed(plants=replace(JV, capacity="mb_ratio_net")),
            "capacity: mb_ratio_net: 't finished magnet / t NdPr oxide' is not a rate",
            id="a capacity that is no rate",
        ),
        pytest.param(
            changed(plants=replace(JV, chance="above_one")),
            "chance: above_one goes from 0.5 to 1.1; a share lies in 0 to 1",
            id="a chance above 1",
        ),
        pytest.param(
            changed(plants=replace(JV, ramp_months=0)),
            "ramp_months: 0; it must be 1 or more",
            id="a plant without a ramp",
        ),
        pytest.param(
            changed(plants=replace(JV, name="Sumter")),
            "plant 'Sumter': name: market m has a component of this name",
            id="a plant that is there already",
        ),
        pytest.param(
            Scenario("s", "A scenario", plants=(JV, JV)),
            "plant 'JV': name: market m gets two plants of this name",
            id="a plant that is named twice",
        ),
        pytest.param(
            changed(demand=DemandChange("more", ("carts",))),
            "demand: uses: no demand of any market is for 'carts'; did you mean 'cars'?",
            id="an unknown use",
        ),
        pytest.param(
            changed(demand=DemandChange("pm_percent")),
            "demand: becomes: pm_percent is in '%'; it must be in 'share'",
            id="a demand in per cent",
        ),
        pytest.param(
            changed(demand=DemandChange("below_zero")),
            "becomes: below_zero goes down to -0.1 share; it must not be below 0",
            id="a negative demand",
        ),
        pytest.param(
            changed(demand=DemandChange("more", (), 0, -1)),
            "over_months: -1; it must be 0 or more",
            id="a rise over fewer than no months",
        ),
    ],
)
def test_a_scenario_that_names_nothing_we_model_is_refused(scenario, says):
    with pytest.raises(MarketDefinitionError, match="scenario ") as caught:
        check_one(scenario)
    assert says in str(caught.value)


def test_a_slip_needs_a_plant_that_is_still_to_come():
    done = {name: replace(one, status="operating") for name, one in PROJECTS.items()}
    late = changed(slips=ProjectSlip(12))
    with pytest.raises(MarketDefinitionError, match="no market counts on a plant that is still to"):
        check_scenario(late, {}, MARKETS, FACTORS, done, [])


def test_scenarios_that_go_in_a_circle_are_refused():
    round_ = Scenario("round", "Round", includes=("round",))
    with pytest.raises(MarketDefinitionError, match="includes: goes in a circle: round -> round"):
        check_scenario(round_, {"round": round_}, MARKETS, FACTORS, PROJECTS, [])


# --- anything

NUMBERS = st.one_of(st.floats(), st.integers(-3, 3).map(float))
NAMES = st.sampled_from(["", *FACTORS, "no_such", " "])
WORDS = st.sampled_from(
    ["", "China", "Chnia", "Myanmar", "none", "cars", "m", "Sumter", "Hanau", "x"]
)
SERIES = st.sampled_from(["", "", *UNITS, "lorries"])
MONTHS = st.integers(-2, 100)
DAYS = st.one_of(
    st.dates(), st.sampled_from([date.min, date.max]), st.datetimes(timezones=st.just(UTC))
)
STAGE = st.sampled_from(["mine", "magnet", "", "smelter"])


@st.composite
def mutated(draw, bases, fields):
    """One of the valid bases with up to three of its fields drawn anew."""
    base = draw(st.sampled_from(bases))
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True))
    return replace(base, **{name: draw(fields[name]) for name in chosen})


def tuples(items, most: int = 2):
    return st.lists(items, max_size=most).map(tuple)


def maybe(days):
    return st.one_of(st.none(), days)


COMPONENTS = mutated(
    [IMPORTS, CARS, MARKETS["m"].components[0], MARKETS["m"].components[1]],
    {
        "name": WORDS,
        "side": st.sampled_from(["supply", "demand", "else"]),
        "series": SERIES,
        "level": st.sampled_from(["", "cars_per_year", "jv_per_year", "odd"]),
        "project": st.sampled_from(["", "Sumter", "no_such"]),
        "balance": st.booleans(),
        "factors": tuples(NAMES, 3),
        "share": NAMES,
        "rest": st.booleans(),
        "growth": NAMES,
        "limit": NAMES,
        "limit_factors": tuples(NAMES),
        "origin": WORDS,
        "licences_of": WORDS,
        "exported": NAMES,
        "grades": st.sampled_from(["mixed", "free", ""]),
        "stage": STAGE,
        "use": WORDS,
        "channel": st.sampled_from(["direct", "embedded", ""]),
    },
)
ANY_MARKET = mutated(
    [market(), MARKETS["m"]],
    {
        "market": WORDS,
        "title": WORDS,
        "components": tuples(COMPONENTS, 4),
        "unit": st.sampled_from(["t NdFeB", "t NdPr oxide", "t", "kg", "/"]),
        "importer": WORDS,
        "stock_weeks": NAMES,
    },
)
ANY_PROJECT = mutated(
    [PLANT],
    {
        "project": WORDS,
        "country": WORDS,
        "stage": STAGE,
        "capacity": NUMBERS,
        "unit": st.sampled_from(["t NdFeB/year", "t NdFeB", "t/t/year", "/year", "year/year"]),
        "starts_on": DAYS,
        "status": st.sampled_from(["planned", "operating", "x"]),
        "known_on": DAYS,
        "confidence": st.sampled_from(["high", "x"]),
        "full_on": maybe(DAYS),
    },
)
ANY_REGIME = mutated(
    [REGIME, SUSPENDED],
    {
        "regime": WORDS,
        "origin": WORDS,
        "elements": tuples(st.sampled_from(["Dy", "Ho", "Fe"])),
        "covers": NAMES,
        "granted": NAMES,
        "lead_days": NAMES,
        "known_on": DAYS,
        "starts_on": DAYS,
        "confidence": st.sampled_from(["high", "x"]),
        "ends_on": maybe(DAYS),
        "suspension_known_on": maybe(DAYS),
        "suspended_on": maybe(DAYS),
        "suspended_until": maybe(DAYS),
        "resumes": NAMES,
    },
)
ANY_SCENARIO = mutated(
    [FREEZE, Scenario("base", "Base case")],
    {
        "scenario": st.sampled_from(["base", "a", "b", "a+b", ""]),
        "title": WORDS,
        "includes": tuples(st.sampled_from(["base", "a", "b"])),
        "freezes": tuples(st.builds(LicenceFreeze, WORDS, MONTHS, MONTHS, NAMES)),
        "supply": tuples(st.builds(SupplyChange, WORDS, NAMES, STAGE, MONTHS, MONTHS)),
        "slips": tuples(st.builds(ProjectSlip, MONTHS, tuples(WORDS), tuples(WORDS))),
        "plants": tuples(
            st.builds(NewPlant, WORDS, WORDS, WORDS, NAMES, NAMES, MONTHS, MONTHS, tuples(NAMES))
        ),
        "demand": tuples(st.builds(DemandChange, NAMES, tuples(WORDS), MONTHS, MONTHS)),
    },
)


def refusal_of(call) -> str:
    """What a check refuses by name, "" when it accepts; anything else that is raised goes through."""
    try:
        call()
    except MarketDefinitionError as error:
        return str(error)
    return ""


def names_place_and_field(text: str) -> bool:
    return text == "" or text.count(": ") >= 2


@settings(max_examples=200, deadline=None)
@given(ANY_MARKET, st.sampled_from([None, (), ("China",)]))
def test_any_market_is_accepted_or_refused_by_name(checked, licensed):
    assert names_place_and_field(refusal_of(lambda: check(checked, licensed=licensed)))


@settings(max_examples=200, deadline=None)
@given(COMPONENTS)
def test_an_accepted_component_has_a_scale(component):
    others = [] if component.balance else [replace(IMPORTS, name="Closing")]
    checked = market(component, *others, replace(CARS, name="More cars"))
    if refusal_of(lambda: check(checked)):
        return
    scale = unit_scale(checked, component, FACTORS, UNITS, PROJECTS)
    assert 0 < scale < math.inf


@settings(max_examples=200, deadline=None)
@given(ANY_PROJECT)
def test_any_plant_is_accepted_or_refused_by_name(project):
    assert names_place_and_field(refusal_of(lambda: check_project(project)))


@settings(max_examples=200, deadline=None)
@given(st.lists(ANY_REGIME, max_size=3))
def test_any_regimes_are_accepted_or_refused_by_name(regimes):
    assert names_place_and_field(refusal_of(lambda: check_regimes(regimes, FACTORS)))


@settings(max_examples=200, deadline=None)
@given(ANY_SCENARIO, ANY_SCENARIO, ANY_MARKET)
def test_any_scenario_is_accepted_or_refused_by_name(scenario, other, more):
    known = {"base": Scenario("base", "Base"), "a": scenario, "b": other}
    every = {**MARKETS, "more": more}
    said = refusal_of(
        lambda: check_scenario(scenario, known, every, FACTORS, PROJECTS, [REGIME], licensed=("x",))
    )
    assert names_place_and_field(said)


# --- factors that every balance uses by name

COMMON = {
    name: factor(name, wanted.least, wanted.least, wanted.most, wanted.unit)
    for name, wanted in COMMON_FACTORS.items()
}


def test_common_factors_within_their_range_are_accepted():
    check_common_factors(COMMON)


@pytest.mark.parametrize("name", COMMON_FACTORS)
def test_a_common_factor_that_is_missing_is_named(name):
    lacking = {key: value for key, value in COMMON.items() if key != name}
    with pytest.raises(MarketDefinitionError, match=f"there is no factor {name!r}"):
        check_common_factors(lacking)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        pytest.param(
            factor(SHOCK_DEMAND, 0, 0.5, 1.1, "share"),
            "factor common_shock_demand (correlation of demand): high: 1.1: allowed is 0 to 1 share",
            id="a correlation above 1",
        ),
        pytest.param(
            factor(LICENCE_LEAD, 0, 45, 90, "days"),
            "low: 0: allowed is 1 to 3650 days",
            id="no time",
        ),
        pytest.param(
            factor(LICENCE_LEAD, 1, 2, 3, "months"), "unit: 'months': it must be in days", id="unit"
        ),
        pytest.param(
            factor(CHANCES["planned"], -0.1, 0.5, 1, "share"), "low: -0.1: allowed", id="negative"
        ),
    ],
)
def test_a_common_factor_that_cannot_be_is_named(changed, says):
    with pytest.raises(MarketDefinitionError) as caught:
        check_common_factors({**COMMON, changed.name: changed})
    assert says in str(caught.value)
