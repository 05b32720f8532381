import pytest

from forecasting.market.definitions import (
    Change,
    Component,
    Factor,
    Market,
    MarketDefinitionError,
    Scenario,
    check_market,
    check_scenario,
    tonnes_scale,
)

FACTORS = {
    f.name: f
    for f in (
        Factor("kg_per_car", 1, 1.6, 2.5, "kg NdFeB/vehicle", "a test", "high"),
        Factor("pm_share", 0.8, 0.9, 1, "share", "a test", "low"),
        Factor("t_per_mw", 0.4, 0.5, 0.6, "t NdFeB/MW", "a test", "high"),
        Factor("cars_per_year", 9, 10, 11, "vehicles/year", "a test", "high"),
    )
}
UNITS = {"cars": "vehicles", "wind": "MW", "monthly": "vehicles"}
FREQUENCIES = {"cars": "year", "wind": "year", "monthly": "month"}


def market(*components: Component) -> Market:
    supply = Component("Imports", "supply", balance=True)
    return Market("m", "A market", "magnets", (supply, *components))


def test_a_chain_of_units_that_leads_to_magnets_is_accepted():
    cars = Component("Cars", "demand", series="cars", factors=("pm_share", "kg_per_car"))
    check_market(market(cars), FACTORS, UNITS, FREQUENCIES)
    assert tonnes_scale(cars, FACTORS, UNITS) == 0.001


def test_a_yearly_level_stands_for_a_series():
    cars = Component("Cars", "demand", level="cars_per_year", factors=("kg_per_car",))
    check_market(market(cars), FACTORS, UNITS, FREQUENCIES)


@pytest.mark.parametrize(
    ("component", "says"),
    [
        pytest.param(
            Component("Wind", "demand", series="wind", factors=("kg_per_car",)),
            "market m: demand 'Wind': factors: kg_per_car is in 'kg NdFeB/vehicle', but the chain stands at 'MW'",
            id="units that do not meet",
        ),
        pytest.param(
            Component("Cars", "demand", series="cars", factors=("pm_share",)),
            "ends in 'vehicle'; a component must end in one of",
            id="a chain that stops early",
        ),
        pytest.param(
            Component("Cars", "demand", series="lorries", factors=("kg_per_car",)),
            "there is no series 'lorries'",
            id="an unknown series",
        ),
        pytest.param(
            Component("Cars", "demand", series="cars", factors=("kg_per_lorry",)),
            "there is no factor 'kg_per_lorry'",
            id="an unknown factor",
        ),
        pytest.param(
            Component("Cars", "demand", series="cars", level="cars_per_year"),
            "needs exactly one of series, level or balance",
            id="two origins",
        ),
        pytest.param(
            Component("Cars", "demand", series="monthly", factors=("kg_per_car",)),
            "monthly is not yearly",
            id="a series that is not yearly",
        ),
        pytest.param(
            Component("Cars", "demand", series="cars", factors=("kg_per_car",), origin="Myanmar"),
            "origin: 'Myanmar': licences are modelled for China only",
            id="an origin without licences",
        ),
        pytest.param(
            Component("Rest", "demand", balance=True),
            "only one side of a market can close the balance",
            id="both sides close it",
        ),
    ],
)
def test_a_component_that_cannot_be_computed_is_named(component, says):
    with pytest.raises(MarketDefinitionError, match="market m") as caught:
        check_market(market(component), FACTORS, UNITS, FREQUENCIES)
    assert says in str(caught.value)


def test_a_market_needs_both_sides():
    with pytest.raises(MarketDefinitionError, match="no direct demand component"):
        check_market(market(), FACTORS, UNITS, FREQUENCIES)


def test_a_factor_out_of_order_is_refused():
    with pytest.raises(MarketDefinitionError, match="not in order"):
        Factor("x", 2, 1, 3, "share", "a test", "high")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            Change("Chnia", "pm_share", 0, 6), "licences are modelled for China only", id="origin"
        ),
        pytest.param(Change("China", "no_such", 0, 6), "is not in factors.csv", id="factor"),
        pytest.param(Change("China", "kg_per_car", 0, 6), "is not a share", id="unit"),
        pytest.param(Change("China", "pm_share", 0, 0), "lasts_months 1 or more", id="length"),
    ],
)
def test_a_scenario_that_would_change_nothing_is_refused(change, says):
    with pytest.raises(MarketDefinitionError, match="scenario s: ") as caught:
        check_scenario(Scenario("s", "A scenario", (change,)), FACTORS)
    assert says in str(caught.value)
