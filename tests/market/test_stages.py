"""forecasting/market/stages.py: the chain by hand and by its invariants, the world of 2024 from the shipped files."""

import csv
import math
from dataclasses import replace
from importlib import resources
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.materials import read_deposits, read_mixes, read_stages
from forecasting.market.definitions import Factor, MarketDefinitionError
from forecasting.market.stages import (
    STAGES,
    ScrapLoop,
    Stage,
    StageGraph,
    Step,
    account,
    central,
    flow_through,
    in_oxide_terms,
    scrap_gain,
    scrap_multiplier,
    world_check,
)

REFERENCE = resources.files("flows") / "reference"
SNAPSHOT = REFERENCE / "snapshot"
GRAPH = read_stages(REFERENCE / "stages.toml")


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((SNAPSHOT / name).read_text(encoding="utf-8").splitlines()))


FACTORS = {row["factor"]: float(row["central"]) for row in rows("factors.csv")}


def stages(*names: str) -> tuple[Stage, ...]:
    return tuple(Stage(name, name, f"t {name}") for name in names)


SMALL = StageGraph(
    stages("oxide", "metal", "blank", "magnet"),
    (
        Step("oxide", "metal", ("no_oxygen", "melt"), basis=("no_oxygen",)),
        Step("metal", "blank", divide=("content",)),
        Step("blank", "magnet", ("cut",)),
    ),
    ScrapLoop("Swarf", "blank", "oxide", loss="cut", rate="back", yields=("leach",)),
)
VALUES = {"no_oxygen": 0.8, "melt": 0.5, "content": 0.25, "cut": 0.75, "back": 0.8, "leach": 0.5}


# --- the chain by hand


def test_a_chain_multiplies_its_factors_and_divides_by_its_contents():
    assert flow_through(SMALL, 100, "oxide", "metal", VALUES) == pytest.approx(40)
    assert flow_through(SMALL, 100, "oxide", "blank", VALUES) == pytest.approx(160)
    assert flow_through(SMALL, 100, "oxide", "magnet", VALUES) == pytest.approx(120)
    assert flow_through(SMALL, 100, "magnet", "magnet", VALUES) == 100


def test_scrap_comes_round_as_often_as_its_losses_let_it():
    # A tonne at oxide: half is melted, a quarter of it cut off, 0.8 of that sent back, half of it leached.
    assert scrap_gain(SMALL, VALUES) == pytest.approx(0.5 * 0.25 * 0.8 * 0.5)
    assert scrap_multiplier(SMALL, VALUES) == pytest.approx(1 / 0.95)
    series = sum((0.5 * 0.25 * 0.8 * 0.5) ** turn for turn in range(40))
    assert scrap_multiplier(SMALL, VALUES) == pytest.approx(series)


@pytest.mark.parametrize(
    ("start", "stop", "is_more"),
    [
        ("oxide", "magnet", True),
        ("oxide", "oxide", True),
        ("metal", "blank", True),
        ("blank", "magnet", True),
        ("magnet", "magnet", False),
    ],
)
def test_a_scrap_loop_adds_to_what_passes_it_and_to_nothing_else(start, stop, is_more):
    once = flow_through(SMALL, 100, start, stop, VALUES)
    again = flow_through(SMALL, 100, start, stop, VALUES, scrap_returns=True)
    assert again == pytest.approx(once / 0.95 if is_more else once)


def test_what_is_upstream_of_the_loop_is_not_multiplied():
    graph = StageGraph(
        (*stages("mine", "concentrate"), *SMALL.stages),
        (Step("mine", "concentrate", ("sift",)), Step("concentrate", "oxide"), *SMALL.steps),
        SMALL.loop,
    )
    values = {**VALUES, "sift": 0.9}
    upstream = flow_through(graph, 100, "mine", "concentrate", values, scrap_returns=True)
    assert upstream == pytest.approx(90)
    oxide = flow_through(graph, 100, "mine", "oxide", values, scrap_returns=True)
    assert oxide == pytest.approx(90 / 0.95)


def test_without_a_loop_nothing_comes_back():
    graph = replace(SMALL, loop=None)
    assert scrap_multiplier(graph, VALUES) == 1
    once = flow_through(graph, 7, "oxide", "magnet", VALUES)
    assert flow_through(graph, 7, "oxide", "magnet", VALUES, scrap_returns=True) == once


def test_a_loop_that_loses_nothing_has_no_steady_state():
    values = {**VALUES, "melt": 1.0, "cut": 0.0, "back": 1.0, "leach": 1.0}
    with pytest.raises(MarketDefinitionError, match="the scrap loop returns everything"):
        scrap_multiplier(SMALL, values)


def test_only_the_yields_before_a_loss_take_from_what_is_returned():
    graph = replace(
        SMALL, steps=(*SMALL.steps[:2], Step("blank", "magnet", ("sort", "cut", "coat")))
    )
    values = {**VALUES, "sort": 0.9, "coat": 0.5}
    assert scrap_gain(graph, values) == pytest.approx(0.9 * scrap_gain(SMALL, VALUES))


def test_an_account_says_where_every_tonne_went():
    metal, blank, magnet = account(SMALL, 100, "oxide", "magnet", VALUES)
    assert (metal.taken_t, metal.made_t) == (100, 40)
    assert metal.released_t == {"no_oxygen": pytest.approx(20)}
    assert metal.lost_t == {"melt": pytest.approx(40)}
    assert blank.added_t == {"content": pytest.approx(120)}
    assert (magnet.taken_t, magnet.made_t) == (160, 120)
    assert magnet.returned_t == pytest.approx(32)  # 160 · 0.25 · 0.8
    assert magnet.lost_t == {"cut": pytest.approx(8)}


# --- invariants

share = st.floats(0.01, 1)
drawn_factors = st.fixed_dictionaries(dict.fromkeys(VALUES, share))
shipped_draws = st.fixed_dictionaries(dict.fromkeys(GRAPH.factor_names, share))


def balance(row) -> tuple[float, float]:
    came = row.taken_t + sum(row.added_t.values())
    went = row.made_t + row.returned_t + sum(row.released_t.values()) + sum(row.lost_t.values())
    return came, went


@given(shipped_draws, st.floats(0, 1e6))
def test_no_step_makes_or_loses_matter(factors, tonnes):
    for row in account(GRAPH, tonnes, "mine", "embedded", factors):
        came, went = balance(row)
        assert came == pytest.approx(went, rel=1e-9)
        for part in (*row.added_t.values(), *row.released_t.values(), *row.lost_t.values()):
            assert part >= 0


@given(shipped_draws, st.floats(0, 1e6))
def test_an_account_ends_where_the_flow_does(factors, tonnes):
    last = account(GRAPH, tonnes, "mine", "embedded", factors)[-1]
    assert last.made_t == pytest.approx(
        flow_through(GRAPH, tonnes, "mine", "embedded", factors), rel=1e-9
    )


@given(shipped_draws, st.floats(1, 1e6))
def test_with_the_loop_running_all_rare_earth_ends_in_a_magnet_or_in_a_named_loss(factors, tonnes):
    """Independent of scrap_multiplier: the loop is run turn by turn, and every turn is booked."""
    oxide = in_oxide_terms(GRAPH, factors)
    lost = finished = 0.0
    start, amount = "mine", tonnes
    for _ in range(4000):
        steps = account(GRAPH, amount, start, "magnet", oxide)
        changed = [v for row in steps for v in (*row.added_t.values(), *row.released_t.values())]
        assert not any(changed)  # in oxide terms no step changes what a tonne is
        lost += sum(sum(row.lost_t.values()) for row in steps)
        finished += steps[-1].made_t
        sent = steps[-1].returned_t
        start, amount = "oxide", sent * oxide["eta_separation"]
        lost += sent - amount
        if amount < 1e-12 * tonnes:
            break
    assert finished + lost + amount == pytest.approx(tonnes, rel=1e-9)
    if scrap_gain(GRAPH, factors) < 0.98:
        steady = flow_through(GRAPH, tonnes, "mine", "magnet", oxide, scrap_returns=True)
        assert finished == pytest.approx(steady, rel=1e-6)


@given(drawn_factors)
def test_a_scrap_loop_never_makes_less_and_never_more_than_went_in(factors):
    oxide = in_oxide_terms(SMALL, factors)
    if scrap_gain(SMALL, factors) > 0.99:
        return
    once = flow_through(SMALL, 1, "oxide", "magnet", oxide)
    again = flow_through(SMALL, 1, "oxide", "magnet", oxide, scrap_returns=True)
    assert once <= again <= 1 + 1e-9


@given(drawn_factors, st.floats(0, 1e6), st.floats(0, 1e6))
def test_twice_as_much_in_is_twice_as_much_out(factors, one, other):
    def made(tonnes):
        return flow_through(SMALL, tonnes, "oxide", "magnet", factors)

    assert made(one + other) == pytest.approx(made(one) + made(other), rel=1e-9)


@given(shipped_draws)
def test_a_chain_is_its_parts_one_after_the_other(factors):
    whole = flow_through(GRAPH, 1, "mine", "embedded", factors)
    amount = 1.0
    for before, after in pairwise(STAGES):
        amount = flow_through(GRAPH, amount, before, after, factors)
    assert amount == pytest.approx(whole, rel=1e-12)


def test_draws_give_on_each_path_what_that_path_s_numbers_give():
    rng = np.random.default_rng(5)
    drawn = {name: rng.uniform(0.2, 0.95, 200) for name in VALUES}
    tonnes = rng.uniform(0, 1000, 200)
    made = flow_through(SMALL, tonnes, "oxide", "magnet", drawn, scrap_returns=True)
    booked = account(SMALL, tonnes, "oxide", "magnet", drawn)
    assert made.shape == (200,)
    for path in range(0, 200, 17):
        one = {name: float(values[path]) for name, values in drawn.items()}
        assert made[path] == pytest.approx(
            flow_through(SMALL, tonnes[path], "oxide", "magnet", one, scrap_returns=True)
        )
        alone = account(SMALL, tonnes[path], "oxide", "magnet", one)
        assert booked[-1].returned_t[path] == pytest.approx(alone[-1].returned_t)


# --- what can't be


@pytest.mark.parametrize(
    ("names", "steps", "circle"),
    [
        (("oxide",), (Step("oxide", "oxide"),), "oxide -> oxide"),
        (
            ("oxide", "metal"),
            (Step("oxide", "metal"), Step("metal", "oxide")),
            "oxide -> metal -> oxide",
        ),
        (
            ("mine", "oxide", "metal", "magnet"),
            (
                Step("mine", "oxide"),
                Step("oxide", "metal"),
                Step("metal", "magnet"),
                Step("magnet", "oxide"),
            ),
            "oxide -> metal -> magnet -> oxide",
        ),
    ],
)
def test_steps_that_go_in_a_circle_are_refused_with_the_circle(names, steps, circle):
    with pytest.raises(MarketDefinitionError) as caught:
        StageGraph(stages(*names), steps)
    assert f"the steps go in a circle: {circle};" in str(caught.value)
    assert "declared as a return" in str(caught.value)


LOOP = ScrapLoop("Swarf", "blank", "oxide", loss="cut", rate="back")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stages": stages("oxide", "swarf")}, "stage 'swarf': is not one of mine, concentrate"),
        ({"stages": (*SMALL.stages, *stages("oxide"))}, "stage oxide: is declared twice"),
        (
            {"steps": (Step("oxide", "magnets"),)},
            "step oxide -> magnets: to: there is no stage 'magnets'; known: oxide, metal",
        ),
        (
            {"steps": (Step("ore", "oxide"),)},
            "step ore -> oxide: from: there is no stage 'ore'",
        ),
        (
            {"steps": (*SMALL.steps, Step("blank", "magnet"))},
            "step blank -> magnet: is declared twice",
        ),
        (
            {"steps": (Step("oxide", "metal", ("melt",), divide=("melt",)),)},
            "step oxide -> metal: melt is applied twice",
        ),
        (
            {"steps": (Step("oxide", "metal", ("melt",), basis=("no_oxygen",)),)},
            "step oxide -> metal: basis: no_oxygen is not among its factors: melt",
        ),
        (
            {"loop": replace(LOOP, begins="block")},
            "return 'Swarf': from: there is no stage 'block'",
        ),
        ({"loop": replace(LOOP, ends="ore")}, "return 'Swarf': to: there is no stage 'ore'"),
        (
            {"loop": replace(LOOP, ends="magnet")},
            "return 'Swarf': to: magnet is not upstream of blank",
        ),
        (
            {"loop": replace(LOOP, loss="grind")},
            "loss: grind is not a yield of one step that begins at blank; yields there: cut",
        ),
        (
            {"loop": replace(LOOP, begins="oxide", loss="no_oxygen")},
            "loss: no_oxygen is not a yield of one step that begins at oxide; yields there: melt",
        ),
    ],
)
def test_a_graph_that_can_not_be_says_what_is_wrong(change, words):
    with pytest.raises(MarketDefinitionError) as caught:
        replace(SMALL, **change)
    assert words in str(caught.value)


def test_a_way_that_is_not_there_or_not_the_only_one_is_refused():
    with pytest.raises(MarketDefinitionError, match="no steps lead from magnet to oxide"):
        flow_through(SMALL, 1, "magnet", "oxide", VALUES)
    with pytest.raises(MarketDefinitionError, match="there is no stage 'ore'; known: oxide"):
        flow_through(SMALL, 1, "ore", "oxide", VALUES)
    two = replace(SMALL, steps=(*SMALL.steps, Step("metal", "magnet")), loop=None)
    with pytest.raises(
        MarketDefinitionError,
        match="oxide to magnet: oxide -> metal -> blank -> magnet or oxide -> metal -> magnet",
    ):
        flow_through(two, 1, "oxide", "magnet", VALUES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"melt": 1.2}, "step oxide -> metal: melt: 1.2 is not a share from 0 to 1"),
        ({"melt": -0.1}, "step oxide -> metal: melt: -0.1 is not a share from 0 to 1"),
        ({"melt": math.nan}, "step oxide -> metal: melt: nan is not a share"),
        ({"content": 0.0}, "step metal -> blank: content: 0 is not a share above 0 to 1"),
        ({"cut": np.array([0.7, 1.5, 0.8])}, "step blank -> magnet: cut: 1.5 is not a share"),
        ({"back": 1.1}, "step blank -> oxide: back: 1.1 is not a share from 0 to 1"),
    ],
)
def test_a_factor_that_is_no_share_is_named_with_its_step(change, words):
    values = {**VALUES, **change}
    for work in (
        lambda: flow_through(SMALL, 1.0, "oxide", "magnet", values, scrap_returns=True),
        lambda: account(SMALL, 1.0, "oxide", "magnet", values),
    ):
        with pytest.raises(MarketDefinitionError) as caught:
            work()
        assert words in str(caught.value)


def test_a_factor_that_is_missing_is_named_with_its_step():
    values = {name: value for name, value in VALUES.items() if name != "cut"}
    with pytest.raises(
        MarketDefinitionError, match="step blank -> magnet: there is no factor 'cut'"
    ):
        flow_through(SMALL, 1, "oxide", "magnet", values)


@pytest.mark.parametrize("tonnes", [-1.0, math.nan, math.inf, np.array([1.0, -2.0])])
def test_tonnes_that_can_not_be_are_refused(tonnes):
    with pytest.raises(MarketDefinitionError, match="tonnes: must be finite numbers from 0 up"):
        flow_through(SMALL, tonnes, "oxide", "magnet", VALUES)


# --- the shipped chain


def test_the_shipped_chain_goes_through_every_stage_in_order():
    steps = GRAPH.chain("mine", "embedded")
    assert [steps[0].begins, *(step.ends for step in steps)] == list(STAGES)


def test_blanks_and_finished_magnets_are_counted_apart():
    assert GRAPH.unit("blank") == "t NdFeB gross"
    assert GRAPH.unit("magnet") == "t NdFeB"
    finished = flow_through(GRAPH, 100, "blank", "magnet", FACTORS)
    assert finished == pytest.approx(73)


def test_the_shipped_chain_rests_on_shipped_factors():
    assert set(GRAPH.factor_names) <= set(FACTORS)


def test_a_tonne_of_oxide_becomes_two_tonnes_of_magnet_and_with_the_loop_two_and_a_half():
    once = flow_through(GRAPH, 1, "oxide", "magnet", FACTORS)
    again = flow_through(GRAPH, 1, "oxide", "magnet", FACTORS, scrap_returns=True)
    assert once == pytest.approx(2.05, rel=0.03)
    assert again == pytest.approx(2.6, rel=0.03)
    # 1/(1 − 0.27 · 0.9 · 0.92 · 0.94), the multiplier that the facts state
    assert scrap_multiplier(GRAPH, FACTORS) == pytest.approx(1.27, rel=0.005)


def test_the_ratios_of_the_factors_file_are_those_of_the_chain():
    gross = flow_through(GRAPH, 1, "oxide", "alloy", FACTORS)
    assert FACTORS["mb_ratio_gross"] == pytest.approx(gross, rel=0.005)
    net = flow_through(GRAPH, 1, "oxide", "magnet", FACTORS)
    assert FACTORS["mb_ratio_net"] == pytest.approx(net, rel=0.005)


def test_central_takes_the_middle_of_every_factor():
    factor = Factor("x", 0.1, 0.2, 0.4, "share", "a test", "high")
    assert central({"x": factor}) == {"x": 0.2}


def mined_2024(mixes) -> dict[str, float]:
    """t REO by origin, each from the newest edition that has 2024."""
    newest = {}
    for row in rows("mine_output_yearly.csv"):
        if row["period"] == "2024":
            seen = newest.get(row["series"], ("", 0.0))
            newest[row["series"]] = max(seen, (row["published_on"], float(row["value"])))
    return {origin: newest[mix.series][1] for origin, mix in mixes.items()}


def test_the_world_of_2024_is_found_within_three_per_cent():
    deposits = read_deposits(SNAPSHOT / "deposits.csv")
    mixes = read_mixes(SNAPSHOT / "mixes.csv", deposits)
    steps = world_check(
        mined_2024(mixes),
        mixes,
        deposits,
        GRAPH,
        FACTORS,
        recycled_oxide_t=FACTORS["scrap_ndpr_oxide_per_year"],
    )
    found = {step.step: step.tonnes for step in steps}
    assert found == {
        "mined": pytest.approx(384_000, rel=1e-9),
        "contained": pytest.approx(88_000, rel=0.03),
        "separated": pytest.approx(81_000, rel=0.03),
        "recycled": pytest.approx(26_500, rel=0.03),
        "oxide": pytest.approx(107_000, rel=0.03),
        "alloy": pytest.approx(300_000, rel=0.03),
        "finished": pytest.approx(220_000, rel=0.03),
    }
    assert [step.unit for step in steps] == [
        *("t REO", "t NdPr oxide", "t NdPr oxide", "t NdPr oxide", "t NdPr oxide"),
        *("t NdFeB gross", "t NdFeB"),
    ]
    assert (
        next(s.rule for s in steps if s.step == "alloy") == "oxide × 0.8499 × 0.96 × 0.98 ÷ 0.285"
    )


def test_the_world_check_counts_recycled_oxide_once():
    deposits = read_deposits(SNAPSHOT / "deposits.csv")
    mixes = read_mixes(SNAPSHOT / "mixes.csv", deposits)

    def finished(recycled):
        steps = world_check(
            {"India": 2900}, mixes, deposits, GRAPH, FACTORS, recycled_oxide_t=recycled
        )
        return steps[-1].tonnes

    per_tonne = flow_through(GRAPH, 1, "oxide", "magnet", FACTORS)
    assert finished(100) - finished(0) == pytest.approx(100 * per_tonne)


def test_india_makes_about_a_thousand_tonnes_of_magnets_of_500_t_of_oxide():
    assert flow_through(GRAPH, 500, "oxide", "alloy", FACTORS) == pytest.approx(1405, rel=0.005)
    assert flow_through(GRAPH, 500, "oxide", "magnet", FACTORS) == pytest.approx(1025, rel=0.005)
    # The scheme's 6,000 t take 2,930 t of oxide, and 2,140 t if nothing were lost in machining.
    per_tonne = 1 / flow_through(GRAPH, 1, "oxide", "magnet", FACTORS)
    assert 6000 * per_tonne == pytest.approx(2930, rel=0.005)
    gross = 1 / flow_through(GRAPH, 1, "oxide", "blank", FACTORS)
    assert 6000 * gross == pytest.approx(2140, rel=0.005)
