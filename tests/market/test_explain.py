"""Bars of a waterfall: signs, sums, licences, folding; refusals; the sentence."""

import math
import random
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from forecasting.market.explain import CannotExplainError, sentence, waterfall
from forecasting.results import (
    ChangeBar,
    ComponentShare,
    Interval,
    MarketMonth,
    MarketProjection,
    TraceStep,
    Waterfall,
)
from tests.builders import month_after

ANY = Interval(0.0, 0.0, 0.0)
JULY = date(2025, 7, 1)
KEPT = "Kept back by export licences"


def line(side: str, name: str, *monthly_t: float, origin: str = "") -> ComponentShare:
    return ComponentShare(name, side, ANY, 0.0, "test", "high", origin=origin, monthly_t=monthly_t)


def projected(
    shortfall_t: tuple[float, ...],
    *lines: ComponentShare,
    first: date = JULY,
    licensed: tuple[str, ...] = (),
    **changes: object,
) -> MarketProjection:
    """A projection that says these mean shortfalls; lines given with one value hold it in every month."""
    count = len(shortfall_t)
    filled = tuple(
        replace(x, monthly_t=x.monthly_t * count) if len(x.monthly_t) == 1 else x for x in lines
    )
    projection = MarketProjection(
        projection_id="m-0",
        market="india-ndfeb",
        title="NdFeB magnets in India",
        product="NdFeB magnets",
        unit="t NdFeB",
        scenario="base",
        scenario_title="Base case",
        months=tuple(
            MarketMonth(month_after(first, i), ANY, ANY, ANY, ANY, ANY, expected_shortfall_t=t)
            for i, t in enumerate(shortfall_t)
        ),
        shortfall_t_paths=(),
        demand_t_paths=(),
        components=filled,
        notes=(),
        data_through=date(2025, 5, 1),
        vintage=datetime(2025, 6, 21, tzinfo=UTC),
        importer="India",
        trace=tuple(
            TraceStep(name, "supply", "licence", "announcement-18", 0, 0, 0, "share", "", "high")
            for name in licensed
        ),
    )
    return replace(projection, **changes)


def explained(before: MarketProjection, after: MarketProjection) -> Waterfall:
    return waterfall(before, after, before_words="in March", after_words="in June")


def bars_of(found: Waterfall) -> dict[str, float]:
    return {bar.name: bar.tonnes for bar in found.bars}


def assert_adds_up(found: Waterfall) -> None:
    total = math.fsum([found.before_t, *(bar.tonnes for bar in found.bars)])
    assert total == pytest.approx(found.after_t, abs=1e-9)


def test_less_supply_and_more_demand_both_add_to_the_shortfall():
    before = projected((10.0,), line("supply", "Own plants", 90), line("demand", "Cars", 100))
    after = projected((60.0,), line("supply", "Own plants", 60), line("demand", "Cars", 120))
    found = explained(before, after)
    assert bars_of(found) == {"Own plants": 30.0, "Cars": 20.0, "Stock and surplus": 0.0}
    assert (found.before_t, found.after_t) == (10.0, 60.0)


def test_what_stock_takes_up_is_the_last_bar():
    before = projected((0.0,), line("supply", "Own plants", 100), line("demand", "Cars", 100))
    after = projected((25.0,), line("supply", "Own plants", 60), line("demand", "Cars", 100))
    found = explained(before, after)
    assert found.bars[-1] == ChangeBar("Stock and surplus", "buffer", -15.0)
    assert_adds_up(found)


def test_only_months_that_both_have_are_compared():
    before = projected((1.0, 2.0, 4.0), line("demand", "Cars", 5, 6, 7))
    after = projected(
        (20.0, 40.0, 80.0), line("demand", "Cars", 60, 70, 800), first=date(2025, 8, 1)
    )
    found = explained(before, after)
    assert found.months == (date(2025, 8, 1), date(2025, 9, 1))
    assert (found.before_t, found.after_t) == (6.0, 60.0)
    assert bars_of(found)["Cars"] == 60 + 70 - 6 - 7


def test_what_licences_keep_back_is_told_apart_from_what_was_ordered_less():
    # Ordered: 500, then 480. Kept back: 50, then 230.
    before = projected(
        (0.0,), line("supply", "From China", 450, origin="China"), line("loss", KEPT, 50)
    )
    after = projected(
        (200.0,), line("supply", "From China", 250, origin="China"), line("loss", KEPT, 230)
    )
    found = explained(before, after)
    assert bars_of(found) == {"From China": 20.0, KEPT: 180.0, "Stock and surplus": 0.0}
    assert [bar.side for bar in found.bars] == ["loss", "supply", "buffer"]


def test_a_freeze_alone_is_a_bar_of_the_licences_and_none_of_the_supplies():
    # Own makers feed on China's exports too, to a lesser part: the trace says so, the origin doesn't.
    names = ("From China", "Own makers")
    before = projected(
        (0.0,) * 3,
        line("supply", "From China", 400, origin="China"),
        line("supply", "Own makers", 200, origin="India"),
        line("supply", "From Japan", 90, origin="Japan"),
        line("loss", KEPT, 10),
        licensed=names,
    )
    after = projected(
        (0.0, 280.0, 100.0),
        line("supply", "From China", 400, 160, 320, origin="China"),
        line("supply", "Own makers", 200, 160, 180, origin="India"),
        line("supply", "From Japan", 90, origin="Japan"),
        line("loss", KEPT, 10, 290, 110),
        licensed=names,
    )
    found = explained(before, after)
    assert bars_of(found) == {KEPT: 380.0, "Stock and surplus": 0.0}


def test_supplies_that_grew_although_more_is_kept_back_share_it_by_their_size():
    before = projected(
        (0.0,),
        line("supply", "A", 300, origin="China"),
        line("supply", "B", 100, origin="China"),
        line("loss", KEPT, 0),
    )
    after = projected(
        (0.0,),
        line("supply", "A", 450, origin="China"),
        line("supply", "B", 150, origin="China"),
        line("loss", KEPT, 40),
    )
    # 750 of the 1,000 tonnes of both are A's: 30 of the 40 kept back.
    assert bars_of(explained(before, after)) == pytest.approx(
        {"A": -180.0, "B": -60.0, KEPT: 40.0, "Stock and surplus": 200.0}
    )


def test_a_supply_that_hardly_moved_does_not_carry_all_that_is_kept_back():
    before = projected(
        (0.0,),
        line("supply", "A", 101, origin="China"),
        line("supply", "B", 50, origin="China"),
        line("loss", KEPT, 0),
    )
    after = projected(
        (0.0,),
        line("supply", "A", 100, origin="China"),
        line("supply", "B", 151, origin="China"),
        line("loss", KEPT, 41),
    )
    # A explains 1 t by its fall, and half of the other 40 by its size: it was ordered 20 t more.
    assert bars_of(explained(before, after)) == pytest.approx(
        {"A": -20.0, "B": -121.0, KEPT: 41.0, "Stock and surplus": 100.0}, rel=1e-9
    )


def test_a_licensed_supply_that_is_new_counts_whole_and_shares_nothing_kept_back():
    old = line("supply", "From China", 400, origin="China")
    before = projected((0.0,), old, line("loss", KEPT, 0))
    after = projected(
        (0.0,),
        replace(old, monthly_t=(300.0,)),
        line("supply", "Joint venture in China", 80, origin="China"),
        line("loss", KEPT, 120),
    )
    # From China: 100 t fewer arrive, 120 t more are kept back, so 20 t more were ordered.
    assert bars_of(explained(before, after)) == pytest.approx(
        {
            KEPT: 120.0,
            "Joint venture in China": -80.0,
            "From China": -20.0,
            "Stock and surplus": -20.0,
        }
    )


def test_less_kept_back_is_a_bar_that_lowers_the_shortfall():
    before = projected(
        (90.0,), line("supply", "From China", 10, origin="China"), line("loss", KEPT, 90)
    )
    after = projected(
        (0.0,), line("supply", "From China", 100, origin="China"), line("loss", KEPT, 0)
    )
    assert bars_of(explained(before, after)) == {KEPT: -90.0, "Stock and surplus": 0.0}


def test_what_is_kept_back_is_no_bar_when_no_supply_needs_a_licence():
    before = projected((0.0,), line("supply", "Own plants", 100), line("loss", KEPT, 0))
    after = projected((30.0,), line("supply", "Own plants", 70), line("loss", KEPT, 30))
    assert bars_of(explained(before, after)) == {"Own plants": 30.0, "Stock and surplus": 0.0}


def test_a_line_of_one_projection_only_counts_whole():
    before = projected((50.0,), line("demand", "Cars", 100), line("demand", "Lifts", 7))
    after = projected((20.0,), line("demand", "Cars", 100), line("supply", "Joint venture", 40))
    assert bars_of(explained(before, after)) == {
        "Joint venture": -40.0,
        "Lifts": -7.0,
        "Stock and surplus": 17.0,
    }


def test_what_is_only_shown_is_no_bar():
    before = projected((5.0,), line("demand", "Cars", 1), line("memo", "In compressors", 10))
    after = projected((5.0,), line("demand", "Cars", 1), line("memo", "In compressors", 99))
    assert bars_of(explained(before, after)) == {"Stock and surplus": 0.0}


def test_small_bars_are_folded_by_side_and_follow_the_named_ones():
    names = ("Buses", "Vans", "Lifts", "Cranes")
    before = projected(
        (0.0,),
        line("supply", "Own plants", 2000),
        line("supply", "Scrap", 10),
        line("demand", "Cars", 1000),
        *(line("demand", name, 10) for name in names),
    )
    after = projected(
        (1312.0,),
        line("supply", "Own plants", 1000),
        line("supply", "Scrap", 8),
        line("demand", "Cars", 1300),
        *(line("demand", name, 12.5) for name in names),
    )
    found = explained(before, after)
    # The only small supply keeps its name.
    assert [(bar.name, bar.tonnes) for bar in found.bars] == [
        ("Own plants", 1000.0),
        ("Cars", 300.0),
        ("Scrap", 2.0),
        ("Other demand lines", 10.0),
        ("Stock and surplus", 0.0),
    ]


def test_bars_of_equal_size_have_one_order_whatever_the_order_of_the_lines():
    lines = [line("demand", name, 100) for name in ("Cars", "Buses")]
    lines += [line("supply", "Scrap", 100)]
    grown = [line("demand", name, 150) for name in ("Cars", "Buses")]
    grown += [line("supply", "Scrap", 50)]
    straight = explained(projected((0.0,), *lines), projected((150.0,), *grown))
    turned = explained(projected((0.0,), *lines[::-1]), projected((150.0,), *grown[::-1]))
    assert [bar.name for bar in straight.bars[:-1]] == ["Scrap", "Buses", "Cars"]
    assert straight == turned


@pytest.mark.parametrize("seed", range(20))
def test_bars_add_up_for_any_two_projections(seed):
    draw = random.Random(seed)

    def some() -> MarketProjection:
        months = 12
        names = draw.sample([f"line {i}" for i in range(12)], 8)
        lines = [
            line(
                draw.choice(("supply", "demand", "memo")),
                name,
                *(draw.uniform(0, 10 ** draw.randint(-2, 5)) for _ in range(months)),
                origin=draw.choice(("", "China", "India")),
            )
            for name in names
        ]
        # In a month that catches up, less than nothing is kept back.
        kept = line("loss", KEPT, *(draw.uniform(-100, 1000) for _ in range(months)))
        shortfall = tuple(draw.uniform(0, 1e4) for _ in range(months))
        return projected(shortfall, *lines, kept, first=month_after(JULY, draw.randint(-6, 6)))

    before, after = some(), some()
    found = explained(before, after)
    assert_adds_up(found)
    back = explained(after, before)
    turned = {name: -tonnes for name, tonnes in bars_of(back).items()}
    assert bars_of(found) == pytest.approx(turned, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"market": "eu-ndfeb"},
            r"india-ndfeb \(in March\) and eu-ndfeb \(in June\): only projections of one market",
        ),
        ({"unit": "t NdPr oxide"}, "unit: in March is in 't NdFeB', in June in 't NdPr oxide'"),
        ({"months": ()}, "months: in March has 2025-07 to 2025-08, in June has none"),
        (
            {"components": (line("supply", "Scrap"),)},
            "india-ndfeb: in June: supply 'Scrap': monthly_t: 0 values for 2 months",
        ),
        (
            {"components": (line("supply", "Scrap", 1.0, math.nan),)},
            "supply 'Scrap': monthly_t: nan is among the values",
        ),
        (
            {"components": (line("gift", "Scrap", 1.0, 1.0),)},
            "gift 'Scrap': side: allowed are supply, demand, loss and memo",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(changes, said):
    before = projected((1.0, 2.0), line("supply", "Scrap", 5))
    with pytest.raises(CannotExplainError, match=said):
        explained(before, replace(before, **changes))


def test_a_projection_of_an_older_version_is_refused_by_its_month():
    before = projected((1.0, 2.0), line("supply", "Scrap", 5))
    older = projected((1.0, math.nan), line("supply", "Scrap", 5))
    with pytest.raises(CannotExplainError, match="in June: expected_shortfall_t of 2025-08 is nan"):
        explained(before, older)


def test_a_month_that_is_not_compared_may_lack_its_shortfall():
    before = projected((1.0,), line("supply", "Scrap", 5))
    after = projected((3.0, math.nan), line("supply", "Scrap", 3))
    assert explained(before, after).after_t == 3.0


def said(before_t: float, after_t: float, *bars: ChangeBar, months: int = 12) -> str:
    return sentence(
        Waterfall(
            market="india-ndfeb",
            title="NdFeB magnets in India",
            unit="t NdFeB",
            before="in March",
            after="in June",
            months=tuple(month_after(JULY, i) for i in range(months)),
            before_t=before_t,
            after_t=after_t,
            bars=bars,
        )
    )


def test_the_sentence_says_how_the_lines_themselves_changed():
    assert said(
        120.0,
        1900.2,
        ChangeBar("Imports from China", "supply", 2700.0),
        ChangeBar(KEPT, "loss", 400.0),
        ChangeBar("Cars", "demand", -300.0),
        ChangeBar("Vans", "demand", 30.0),
        ChangeBar("Buses", "demand", 20.0),
        ChangeBar("Stock and surplus", "buffer", -1069.8),
    ) == (
        "Expected shortfall over 12 months rises from 120 t to 1,900 t NdFeB: Imports from China −2,700 t, "
        "Kept back by export licences +400 t, Cars −300 t, 2 smaller changes, stock and surplus take up 1,070 t."
    )


@pytest.mark.parametrize(
    ("before_t", "after_t", "bars", "words"),
    [
        pytest.param(5.0, 5.0, (), "over 1 month stays at 5 t NdFeB.", id="no change"),
        pytest.param(
            9.0,
            2.5,
            (ChangeBar("Scrap", "supply", -10.5), ChangeBar("", "buffer", 4.0)),
            "over 1 month falls from 9 t to 2.5 t NdFeB: Scrap +10 t, 4 t go to stock or surplus.",
            id="more supply than needed",
        ),
        pytest.param(
            0.0,
            0.01,
            (ChangeBar("Scrap", "supply", 50.0), ChangeBar("", "buffer", -49.99)),
            "over 1 month stays at 0 t NdFeB: Scrap −50 t, stock and surplus take up 50 t.",
            id="too little to show",
        ),
        pytest.param(
            0.0,
            40.01,
            (
                ChangeBar("Cars", "demand", 40.0),
                ChangeBar("Lifts", "demand", 0.01),
                ChangeBar("", "buffer", -0.0),
            ),
            "over 1 month rises from 0 t to 40 t NdFeB: Cars +40 t.",
            id="what rounds to nothing is not told",
        ),
        pytest.param(
            0.0,
            998.0,
            (ChangeBar("Cars", "demand", 1000.0), ChangeBar("", "buffer", -2.0)),
            "over 1 month rises from 0 t to 998 t NdFeB: Cars +1,000 t.",
            id="stock that hardly matters is not told",
        ),
    ],
)
def test_the_sentence_has_the_direction_that_its_figures_show(before_t, after_t, bars, words):
    assert said(before_t, after_t, *bars, months=1) == f"Expected shortfall {words}"


def test_imports_that_follow_demand_are_one_bar_beside_those_of_demand_and_own_output():
    def at(
        demand: float, ordered: float, kept: float, short: float, own: float
    ) -> MarketProjection:
        imports = [
            replace(line("supply", name, (ordered - kept) / 2), closes=True) for name in "AB"
        ]
        lines = (*imports, line("supply", "Own plant", own), line("demand", "Cars", demand))
        return projected((short,), *lines, line("loss", KEPT, kept), licensed=("A", "B"))

    found = explained(at(1000, 990, 0, 0, 10), at(200, 185, 80, 60, 20))
    # Demand fell by 800 and own output rose by 10: orders fell by 805, five are to rebuild stock.
    assert bars_of(found) == {
        KEPT: pytest.approx(80),
        "Imports ordered for it": pytest.approx(805),
        "Cars": pytest.approx(-800),
        "Own plant": pytest.approx(-10),
        "Stock and surplus": pytest.approx(-15),
    }
    assert found.bars[0].name == KEPT  # what a reader looks for, before what mirrors each other
    assert_adds_up(found)


def test_a_scenario_is_not_ordered_for_and_keeps_its_own_bars():
    imports = replace(line("supply", "Imports", 100), closes=True)
    base = projected((0.0,), imports, line("demand", "Cars", 100))
    surge = projected((20.0,), imports, line("demand", "Cars", 120), scenario="demand-surge")
    assert bars_of(explained(base, surge)) == {"Cars": 20.0, "Stock and surplus": 0.0}
