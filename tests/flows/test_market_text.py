"""flows/market_text.py and flows/sentences.py: what a reader of a market sees, line by line."""

import math
import re
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from flows.market_text import (
    WIDTH,
    change_lines,
    indicator_lines,
    market_lines,
    month_lines,
    overview_lines,
    risk_lines,
    scenario_lines,
    trace_lines,
)
from flows.sentences import (
    change_sentence,
    indicator_value,
    known_words,
    market_sentence,
    scenario_words,
)
from forecasting.results import ChangeBar, Indicator, TraceStep, Waterfall
from tests.builders import make_projection

FREEZE = {
    "scenario": "licence-freeze",
    "scenario_title": "China all but stops export licences for six months",
}
CHANGE = Waterfall(
    market="india-ndfeb",
    title="India",
    unit="t",
    before="as known on 21 March 2025",
    after="as known on 21 June 2025",
    months=(date(2025, 7, 1), date(2025, 8, 1), date(2025, 9, 1)),
    before_t=120.0,
    after_t=900.0,
    bars=(
        ChangeBar("Imports from China", "supply", 900.0),
        ChangeBar("Electric cars", "demand", -90.0),
        ChangeBar("Stock and surplus", "buffer", -30.0),
    ),
)
STEP = TraceStep(
    component="Imports from China",
    side="supply",
    step="factor",
    name="kg_per_bev_car",
    low=0.8,
    central=1.2,
    high=1.6,
    unit="kg NdFeB/vehicle",
    source="mainrich, scaled",
    confidence="low",
)


def figures(line: str) -> list[str]:
    return re.findall(r"[-+−]?\d[\d,.]*", line)


# --- months -------------------------------------------------------------------------


def test_a_month_shows_supply_demand_shortfall_share_chance_and_cover():
    head, row = month_lines(make_projection((0.0, 0.0, 0.1, 0.2, 0.4), months=1))[-2:]
    assert head.split("  ")[1].strip() == "month"
    assert figures(row) == ["2025", "900", "1,000", "100", "10", "0", "32", "60", "30"]
    assert "10 % (0 to 32 %)" in row


def test_a_scenarios_months_stand_beside_the_base_case():
    base = make_projection((0.1,), months=2)
    lines = month_lines(make_projection((0.4,), months=2, **FREEZE), base)
    assert lines[-3].endswith("unmet, base case")
    assert [line.split()[-2:] for line in lines[-2:]] == [["10", "%"], ["10", "%"]]


def test_a_chance_that_an_older_projection_does_not_know_is_a_dash():
    known = make_projection(months=1)
    month = replace(known.months[0], shortfall_chance=math.nan)
    assert "–" in month_lines(replace(known, months=(month,)))[-1]
    assert "nan" not in "".join(month_lines(replace(known, months=(month,))))


def test_the_chance_of_each_share_and_the_first_month_above_the_least_are_told():
    shares = (0.0, 0.06, 0.12, 0.3, 0.6)
    head, near, whole, first = risk_lines(make_projection(shares, months=9))
    assert head.split()[-8:] == ["5", "%", "10", "%", "25", "%", "50", "%"]
    assert "over the next 6 months" in near
    assert "over the next 9 months" in whole
    assert near.split()[-8:] == whole.split()[-8:] == ["80", "%", "60", "%", "40", "%", "20", "%"]
    assert first.endswith("more than 5 % unmet, at even odds: Jul 2025")
    calm = risk_lines(make_projection((0.0,), months=6))
    assert len(calm) == 3
    assert calm[1].count("less than 1 %") == 4
    assert calm[2].endswith("at even odds: none")


# --- what changed ------------------------------------------------------------------------


def test_bars_have_their_sign_and_are_as_long_as_their_tonnes():
    first, *bars, last = change_lines(CHANGE)[1:]
    assert (figures(first)[-1], figures(last)[-1]) == ("120", "900")
    assert [figures(bar)[-1] for bar in bars] == ["+900", "-90", "-30"]
    assert [bar.rsplit(" ", 1)[1] for bar in bars] == ["+" * 30, "-" * 3, "-"]


def test_a_change_without_any_bar_and_one_of_nothing_are_told_without_a_direction():
    empty = replace(CHANGE, after_t=120.0, bars=())
    assert [figures(line)[-1] for line in change_lines(empty)[1:]] == ["120", "120"]
    nothing = replace(empty, bars=(ChangeBar("Stock and surplus", "buffer", -0.0),))
    assert change_lines(nothing)[2].split()[-1] == "0"


def test_one_month_and_several_are_named():
    assert "over 3 months, Jul 2025 to Sep 2025, t" in change_lines(CHANGE)[0]
    assert "over 1 month, Jul 2025, t" in change_lines(replace(CHANGE, months=CHANGE.months[:1]))[0]


def test_a_name_longer_than_its_column_goes_on_in_the_next_line():
    bar = ChangeBar(f"Magnets {'and more ' * 12}here", "demand", 5.0)
    lines = change_lines(replace(CHANGE, bars=(bar,)))
    assert max(map(len, lines)) <= WIDTH
    assert "here" in "".join(lines)
    assert "+5" in "".join(lines)


def test_a_change_in_one_sentence_says_against_what():
    told = change_sentence(CHANGE)
    assert told.startswith("As known on 21 June 2025, against as known on 21 March 2025: expected ")
    assert "rises from 120 t to 900 t" in told


# --- a market in full ----------------------------------------------------------------------


def test_a_market_without_an_earlier_projection_says_that_nothing_can_be_compared():
    base = make_projection()
    assert "  What changed can't be told: this is the first projection kept." in market_lines(
        base, [base], None
    )
    told = market_lines(base, [base], None, "world-ndfeb: months: none in common")
    assert "  What changed can't be told: world-ndfeb: months: none in common" in told


def test_the_base_case_lists_every_scenario_and_what_it_adds():
    base = make_projection((0.1,))
    freeze, surge = (
        make_projection((0.3,), **FREEZE),
        make_projection((0.05,), scenario="surge", scenario_title="Demand surges"),
    )
    head, _, *rows = scenario_lines([base, freeze, surge])
    assert "next 6 months" in head
    assert "12 months" in head
    assert [row.split()[0] for row in rows] == ["base", "licence-freeze", "surge"]
    # A twelfth of demand each month is 1,000 t: 10, 30 and 5 % of it over twelve months.
    assert figures(rows[0])[-1] == "1,200"
    assert figures(rows[1])[-2:] == ["3,600", "+2,400"]
    assert figures(rows[2])[-2:] == ["600", "-600"]
    assert any("licence-freeze" in line for line in market_lines(base, [base, freeze], None))


def test_a_scenario_is_shown_with_its_change_and_without_the_other_scenarios():
    base, freeze = make_projection((0.1,)), make_projection((0.3,), **FREEZE)
    lines = market_lines(freeze, [base, freeze], CHANGE)
    assert lines[0].startswith("World NdFeB magnets, next 6 months: base case 10 % of demand unmet")
    assert any("Why it changed" in line for line in lines)
    assert not any("Scenarios:" in line for line in lines)


def test_an_overview_is_the_sentence_the_months_and_one_sentence_on_what_changed():
    base = make_projection(months=3)
    lines = overview_lines([base], {(base.market, "base"): CHANGE})
    told = " ".join(line.strip() for line in lines)
    assert market_sentence([base]) in told
    assert change_sentence(CHANGE) in told
    assert "Indicators" not in told
    assert sum(line.startswith("  Jul 2025") for line in lines) == 1


@pytest.mark.parametrize("length", [10, 200])
def test_no_line_is_longer_than_a_terminal_is_wide(length):
    word = "Verylongname " * (length // 13 + 1)
    base = make_projection(
        title=word,
        notes=(word * 2,),
        indicators=(Indicator("hhi", word, 5192.0, "0-10000", word, "derived", word),),
        trace=(replace(STEP, component=word, name=word.replace(" ", "_")[:60], source=word),),
    )
    freeze = replace(base, scenario="licence-freeze", scenario_title=word)
    lines = [
        *market_lines(base, [base, freeze], CHANGE),
        *market_lines(freeze, [base, freeze], CHANGE),
        *overview_lines([base, freeze], {}),
        *trace_lines(base),
    ]
    assert [line for line in lines if len(line) > WIDTH] == []


# --- indicators and trace ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (5192.4, "0-10000", "5,192 of 10,000"),
        (0.62, "share", "62 %"),
        (-0.31, "share", "-31 %"),
        (18.4, "days", "18 days"),
        (1.3, "", "1.30"),
        (math.nan, "share", "unknown"),
    ],
)
def test_an_indicator_is_written_with_its_unit(value, unit, told):
    assert indicator_value(Indicator("x", "X", value, unit, "", "derived", "USGS")) == told


def test_an_indicator_says_how_it_reads_and_how_sure_it_is():
    hhi = Indicator("hhi", "HHI of origins", 9000.0, "0-10000", "high: above 2,500", "low", "DERA")
    lines = indicator_lines(make_projection(indicators=(hhi,)))
    assert lines[1] == "    HHI of origins: 9,000 of 10,000, high: above 2,500 (low)"


def test_a_trace_shows_each_step_with_range_unit_vintage_source_and_confidence():
    observed = replace(
        STEP,
        step="activity",
        name="ev_sales_india_cars_bev",
        low=100.0,
        central=100.0,
        high=100.0,
        unit="vehicles/year",
        source="forecast f-1",
        confidence="derived",
        known_at=datetime(2025, 5, 14, 12, tzinfo=UTC),
        note="92,000 in 2024",
    )
    other = replace(STEP, component="Wind turbines", side="demand")
    text = "\n".join(trace_lines(make_projection(trace=(observed, STEP, other))))
    assert "supply: Imports from China\n" in text
    assert (
        "activity  ev_sales_india_cars_bev: 100 vehicles/year  [derived, known 14 May 2025]" in text
    )
    assert "forecast f-1; 92,000 in 2024" in text
    assert "factor    kg_per_bev_car: 0.800, 1.20, 1.60 kg NdFeB/vehicle  [low]" in text
    assert text.index("activity") < text.index("factor ") < text.index("demand: Wind turbines")


def test_a_projection_without_a_trace_says_so():
    assert "  No trace is kept with this projection." in trace_lines(make_projection())


# --- sentences ---------------------------------------------------------------------------------


def test_a_market_with_many_scenarios_tells_the_base_case_and_the_worst():
    base = make_projection((0.1,))
    surge = make_projection((0.2,), scenario="surge", scenario_title="Demand surges")
    freeze = make_projection((0.3,), **FREEZE)
    assert market_sentence([base, surge, freeze]) == (
        "World NdFeB magnets, next 6 months: base case 10 % of demand unmet (80 % range 10 to 10 %); "
        "at worst, of 2 scenarios, if China all but stops export licences for six months 30 % of demand "
        "unmet (80 % range 30 to 30 %)."
    )
    assert "if demand surges 20 % of demand unmet" in market_sentence([base, surge])
    assert market_sentence([make_projection((0.1,), months=1)]).startswith(
        "World NdFeB magnets, next month: base case 10 %"
    )


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Demand grows faster", "if demand grows faster"),
        ("Myanmar stops", "if Myanmar stops"),
        ("REPM plants come late", "if REPM plants come late"),
        ("A joint venture builds", "if a joint venture builds"),
    ],
)
def test_a_scenario_inside_a_sentence_keeps_the_capitals_of_names(title, words):
    assert scenario_words(make_projection(scenario="x", scenario_title=title)) == words


def test_a_moment_is_a_day_and_has_its_time_where_two_of_a_day_are_compared():
    at = datetime(2025, 3, 21, 8, 5, 9, tzinfo=UTC)
    assert known_words(at) == "as known on 21 March 2025"
    assert known_words(at, with_time=True) == "as known on 21 March 2025, 08:05:09 UTC"
