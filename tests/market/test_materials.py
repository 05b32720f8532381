"""forecasting/market/materials.py: elements, grades, deposits and their mixes, by hand and as shipped."""

import csv
from dataclasses import replace
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.materials import read_deposits, read_grades, read_mixes
from forecasting.market.definitions import CONFIDENCE_ORDER, MarketDefinitionError
from forecasting.market.materials import (
    ELEMENTS,
    ROUNDING,
    TOTAL_RARE_EARTH,
    Deposit,
    DepositMix,
    Grade,
    contained_oxide,
    mix_content,
)

SNAPSHOT = resources.files("flows") / "reference" / "snapshot"
DEPOSITS = read_deposits(SNAPSHOT / "deposits.csv")
MIXES = read_mixes(SNAPSHOT / "mixes.csv", DEPOSITS)
GRADES = read_grades(SNAPSHOT / "grades.csv")


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((SNAPSHOT / name).read_text(encoding="utf-8").splitlines()))


def deposit(**shares: float) -> Deposit:
    return Deposit("d", "D", "Nowhere", "an ore", shares, "a test", "high")


def grade(low: float, central: float, high: float) -> Grade:
    return Grade("X", 120, low, central, high, "a test", "high")


# --- elements


def test_there_are_seventeen_elements_eight_light_eight_heavy_and_scandium():
    groups = [element.group for element in ELEMENTS.values()]
    assert (groups.count("light"), groups.count("heavy"), groups.count("")) == (8, 8, 1)
    assert ELEMENTS["Sc"].group == ""
    assert ELEMENTS["Y"].group == "heavy"


def test_an_element_knows_its_traded_oxide_and_the_metal_in_it():
    assert ELEMENTS["Tb"].oxide == "Tb4O7"
    assert round(ELEMENTS["Tb"].metal_share, 4) == 0.8502


# --- grades


def test_a_grade_without_dysprosium_in_its_usual_recipe_needs_no_licence():
    assert not grade(0, 0, 0.5).is_controlled
    assert grade(0, 0.5, 1).is_controlled


def test_the_more_dysprosium_the_less_ndpr():
    assert grade(0, 0, 0).ndpr_share(0.305) == 0.305
    assert grade(2.5, 3.2, 4).ndpr_share(0.305) == pytest.approx(0.273)
    with pytest.raises(
        MarketDefinitionError, match=r"grade X: total_rare_earth 0\.03 is not between"
    ):
        grade(2.5, 3.2, 4).ndpr_share(0.03)


@pytest.mark.parametrize(
    ("percents", "words"),
    [
        ((1, 0.5, 2), "low 1, central 0.5, high 2 are not in order from 0 up"),
        ((-1, 0, 1), "are not in order from 0 up"),
        ((0, float("nan"), 1), "a figure is not a finite number"),
        ((0, 1, 40), "40 % is not below the 30.5% of rare earth"),
    ],
)
def test_a_grade_that_can_not_be_is_named(percents, words):
    with pytest.raises(MarketDefinitionError, match=f"grade X: .*{words}"):
        grade(*percents)


def test_the_shipped_grades_are_controlled_from_m_up_and_hold_less_ndpr_the_hotter_they_may_get():
    assert list(GRADES) == ["N", "M", "H", "SH", "UH", "EH", "AH"]
    assert [name for name, one in GRADES.items() if not one.is_controlled] == ["N"]
    hot = [one.max_celsius for one in GRADES.values()]
    shares = [one.ndpr_share() for one in GRADES.values()]
    assert hot == sorted(set(hot))
    assert shares == sorted(set(shares), reverse=True)
    assert (hot[0], hot[-1]) == (80, 230)


def test_the_average_magnet_stands_between_the_shipped_grades_h_and_sh():
    factors = {row["factor"]: float(row["central"]) for row in rows("factors.csv")}
    assert factors["magnet_tree"] == TOTAL_RARE_EARTH
    average = factors["magnet_ndpr"]
    assert GRADES["SH"].ndpr_share() < average < GRADES["H"].ndpr_share()


# --- deposits


def test_what_a_deposit_holds_is_the_sum_of_the_oxides_asked_for():
    one = deposit(Nd2O3=0.185, Pr6O11=0.062, CeO2=0.5)
    assert one.share("Nd", "Pr") == pytest.approx(0.247)
    assert one.share("Dy") == 0
    assert one.share() == 0
    with pytest.raises(
        MarketDefinitionError, match="'Ndpr' is no rare-earth element; known: Sc, Y"
    ):
        one.share("Ndpr")


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({"CeO2": 0.7, "Nd2O3": 0.306}, "its shares of TREO add up to 1.0060; at most 1"),
        ({"Nd2O3": -0.1}, "Nd2O3: -0.1 is not a share of 0–1"),
        ({"Nd2O3": 18.5}, "Nd2O3: 18.5 is not a share of 0–1"),
        ({"Nd2O3": float("nan")}, "Nd2O3: nan is not a share of 0–1"),
        ({"Pr2O3": 0.1}, "Pr2O3 is no traded oxide; known: .*Pr6O11"),
        ({"NdPr": 0.1}, "NdPr is no traded oxide"),
    ],
)
def test_a_deposit_that_can_not_be_is_named(shares, words):
    with pytest.raises(MarketDefinitionError, match=f"deposit d: {words}"):
        deposit(**shares)


def test_rounding_may_carry_a_deposit_a_little_above_one():
    assert deposit(CeO2=0.7, Nd2O3=0.3 + ROUNDING / 2).share("Ce", "Nd") > 1


def test_shipped_deposits_hold_what_usgs_published_for_them():
    ndpr = {name: round(100 * one.share("Nd", "Pr"), 2) for name, one in DEPOSITS.items()}
    assert len(DEPOSITS) == 13
    assert ndpr["bayan_obo"] == 24.7
    assert ndpr["mountain_pass"] == 15.9
    assert ndpr["mount_weld_central"] == 23.29
    assert ndpr["manavalakurichi"] == 25.5
    assert round(100 * DEPOSITS["longnan"].share("Dy", "Tb"), 2) == 8.61


def test_the_one_deposit_published_above_a_hundred_per_cent_is_taken_of_its_total():
    xunwu = DEPOSITS["xunwu"]
    assert xunwu.share("Nd") == pytest.approx(30.18 / 102.58)
    assert sum(xunwu.shares.values()) == pytest.approx(1)
    assert [row["deposit"] for row in rows("deposits.csv") if row["published_total"]] == ["xunwu"]


# --- mixes


def test_the_content_of_a_mix_is_its_parts_times_their_shares():
    two = {"a": deposit(Nd2O3=0.2, Pr6O11=0.05), "b": deposit(Nd2O3=0.1, Dy2O3=0.04)}
    mix = DepositMix("Somewhere", "mine_output_x", {"a": 0.75, "b": 0.25}, "a test", "high")
    assert mix_content(mix, two, "Nd", "Pr") == pytest.approx(0.75 * 0.25 + 0.25 * 0.1)
    assert mix_content(mix, two, "Dy") == pytest.approx(0.01)
    with pytest.raises(
        MarketDefinitionError, match="mix of Somewhere: there is no deposit 'b'; known: a"
    ):
        mix_content(mix, {"a": two["a"]}, "Nd")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"a": 0.6, "b": 0.5}, "its shares add up to 1.100000, not to 1"),
        ({"a": 0.333, "b": 0.333, "c": 0.333}, "its shares add up to 0.999000, not to 1"),
        ({"a": 1.2, "b": -0.2}, "a: 1.2 is not a share above 0 to 1"),
        ({"a": float("nan")}, "a: nan is not a share"),
        ({}, "its shares add up to 0.000000, not to 1"),
    ],
)
def test_parts_that_are_no_whole_are_named(parts, words):
    with pytest.raises(MarketDefinitionError, match=f"mix of Somewhere: {words}"):
        DepositMix("Somewhere", "mine_output_x", parts, "a test", "high")


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
    st.lists(st.floats(0.01, 1), min_size=5, max_size=5),
)
def test_a_mix_holds_no_less_than_its_poorest_deposit_and_no_more_than_its_richest(shares, weights):
    several = {str(i): deposit(Nd2O3=share) for i, share in enumerate(shares)}
    weights = weights[: len(shares)]
    parts = {str(i): weight / sum(weights) for i, weight in enumerate(weights)}
    content = mix_content(DepositMix("o", "s", parts, "a test", "high"), several, "Nd")
    assert min(shares) - 1e-9 <= content <= max(shares) + 1e-9


def test_an_origin_without_a_mix_does_not_drop_out_of_the_total():
    with pytest.raises(MarketDefinitionError, match="no mix of deposits stands for 'Atlantis'"):
        contained_oxide({"China": 1, "Atlantis": 1}, MIXES, DEPOSITS, "Nd")
    with pytest.raises(MarketDefinitionError, match="mine output of China: -1 is not a number"):
        contained_oxide({"China": -1}, MIXES, DEPOSITS, "Nd")


def test_india_mines_740_t_of_ndpr_oxide_in_2900_t_of_reo():
    found = contained_oxide({"India": 2900}, MIXES, DEPOSITS, "Nd", "Pr")
    assert found == {"India": pytest.approx(740, rel=0.01)}


def test_every_country_whose_mine_output_is_shipped_has_a_mix():
    mined = {row["series"] for row in rows("mine_output_yearly.csv") if row["period"] == "2024"}
    assert {mix.series for mix in MIXES.values()} == mined - {"mine_output_world"}


def test_the_shipped_contents_of_ore_are_those_of_the_mixes():
    factors = {row["factor"]: row for row in rows("factors.csv")}
    for origin in ("China", "United States", "Australia", "Myanmar"):
        row = factors[f"ndpr_oxide_in_reo_{origin.lower().replace(' ', '_')}"]
        content = mix_content(MIXES[origin], DEPOSITS, "Nd", "Pr")
        assert float(row["central"]) == pytest.approx(content, abs=1e-4), origin
        assert float(row["low"]) == pytest.approx(0.94 * content, abs=1e-4), origin
        assert float(row["high"]) == pytest.approx(1.06 * content, abs=1e-4), origin
        # A content is no more certain than the deposits that it is taken from.
        weakest = max(row["confidence"], MIXES[origin].confidence, key=CONFIDENCE_ORDER.index)
        assert row["confidence"] == weakest, origin


def test_the_rest_of_the_world_is_its_countries_by_what_they_mined():
    factors = {row["factor"]: float(row["central"]) for row in rows("factors.csv")}
    named = {"China", "United States", "Australia", "Myanmar"}
    newest: dict[str, tuple[str, float]] = {}
    for row in rows("mine_output_yearly.csv"):
        if row["period"] == "2024":
            newest[row["series"]] = max(
                newest.get(row["series"], ("", 0.0)), (row["published_on"], float(row["value"]))
            )
    mined = {o: newest[mix.series][1] for o, mix in MIXES.items() if o not in named}
    contained = sum(contained_oxide(mined, MIXES, DEPOSITS, "Nd", "Pr").values())
    assert sum(mined.values()) == 12_500
    assert factors["ndpr_oxide_in_reo_rest"] == pytest.approx(contained / 12_500, abs=1e-4)


def test_a_deposit_can_be_replaced_without_touching_the_others():
    richer = replace(DEPOSITS["bayan_obo"], shares={"Nd2O3": 0.3})
    before = mix_content(MIXES["China"], DEPOSITS, "Nd")
    after = mix_content(MIXES["China"], {**DEPOSITS, "bayan_obo": richer}, "Nd")
    assert after - before == pytest.approx(0.7006 * (0.3 - 0.185))
