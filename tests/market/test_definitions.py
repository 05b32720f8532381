import pytest

from forecasting.market.definitions import (
    DemandChange,
    Factor,
    LicenceFreeze,
    MarketDefinitionError,
    ProjectSlip,
    Scenario,
    combined,
    composed,
)

BASE = Scenario("base", "Base case")
FREEZE = Scenario("freeze", "China freezes licences", freezes=(LicenceFreeze("China", 6),))
SLIP = Scenario("slip", "plants come late", slips=(ProjectSlip(12),))
SURGE = Scenario("surge", "demand surges", demand=(DemandChange("more"),))
BOTH = Scenario("both", "both", includes=("freeze", "slip"))
KNOWN = {one.scenario: one for one in (BASE, FREEZE, SLIP, SURGE, BOTH)}


@pytest.mark.parametrize(
    ("low", "central", "high"), [(2, 1, 3), (1, 3, 2), (1, float("nan"), 2), (float("nan"), 1, 2)]
)
def test_a_factor_out_of_order_is_refused(low, central, high):
    with pytest.raises(MarketDefinitionError, match=r"factor x: low .* are not in order"):
        Factor("x", low, central, high, "share", "a test", "high")


def test_a_scenario_holds_what_it_includes():
    whole = composed(Scenario("all", "All", includes=("both",), demand=SURGE.demand), KNOWN)
    assert (whole.freezes, whole.slips, whole.demand) == (FREEZE.freezes, SLIP.slips, SURGE.demand)
    assert (whole.scenario, whole.title, whole.includes) == ("all", "All", ())


def test_a_part_that_is_reached_twice_holds_once():
    whole = composed(Scenario("twice", "Twice", includes=("freeze", "both")), KNOWN)
    assert whole.freezes == FREEZE.freezes


def test_a_scenario_that_includes_itself_is_told_as_a_circle():
    first = Scenario("first", "First", includes=("second",))
    second = Scenario("second", "Second", includes=("first",))
    known = {"first": first, "second": second}
    with pytest.raises(
        MarketDefinitionError, match="includes: goes in a circle: first -> second -> first"
    ):
        composed(first, known)


def test_an_unknown_part_is_told_with_the_known_ones():
    with pytest.raises(
        MarketDefinitionError, match="there is no scenario 'frost'; known: base, fr"
    ):
        composed(Scenario("s", "S", includes=("frost",)), KNOWN)


def test_names_joined_by_plus_are_laid_over_each_other():
    whole = combined("freeze + slip+freeze", KNOWN)
    assert whole.scenario == "freeze+slip"
    assert whole.title == "China freezes licences and plants come late"
    assert (whole.freezes, whole.slips) == (FREEZE.freezes, SLIP.slips)


def test_one_name_is_that_scenario():
    assert combined("freeze", KNOWN) == FREEZE
    assert combined("base", KNOWN).is_empty


def test_the_base_case_adds_nothing_to_a_joined_scenario():
    whole = combined("base+freeze", KNOWN)
    assert (whole.freezes, whole.title) == (FREEZE.freezes, FREEZE.title)


def test_an_unknown_joined_name_is_refused():
    with pytest.raises(MarketDefinitionError, match="there is no scenario 'frost'"):
        combined("freeze+frost", KNOWN)


def test_a_scenario_names_every_factor_it_rests_on_once():
    twice = Scenario("s", "S", demand=(DemandChange("more"), DemandChange("more")))
    assert twice.factor_names == ("more",)


def test_titles_are_joined_as_one_sentence():
    known = {
        "freeze": Scenario("freeze", "China gives none", freezes=(LicenceFreeze("China", 6),)),
        "surge": Scenario("surge", "Demand grows", demand=(DemandChange("more"),)),
    }
    assert combined("freeze+surge", known).title == "China gives none and demand grows"
    assert combined("surge + freeze", known).title == "Demand grows and China gives none"
