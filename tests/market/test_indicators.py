"""forecasting/market/indicators.py: formulas with numbers by hand, and rows that invent nothing."""

import csv
import math
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from forecasting.market.definitions import CONFIDENCE_ORDER, Factor
from forecasting.market.indicators import (
    COVER_AMBER_DAYS,
    COVER_RED_DAYS,
    FERRITE_USD_PER_KG,
    HHI_HIGH,
    HHI_MEDIUM,
    MIRROR_GAP_LIMIT,
    N_MINUS_1_IEA,
    NDFEB_USD_PER_KG,
    PREMIUM_AMBER,
    PREMIUM_RED,
    RELIANCE_HIGH,
    VOLATILITY_HIGH,
    GovernanceScore,
    IndicatorError,
    Runway,
    StageSeries,
    china_premium,
    cover_colour,
    ex_china_premium,
    hhi,
    mirror_gap,
    mixed_code_share,
    n_minus_1,
    ndfeb_share,
    net_import_reliance,
    price_volatility,
    runway,
    series_indicators,
    stage_concentration,
    stage_governance,
    stock_cover_days,
    supply_indicators,
    trade_gap,
    volatility,
    weighted_hhi,
)
from forecasting.results import ComponentShare, Interval, ObservedPoint, ObservedSeries
from tests.builders import make_projection, month_after

SNAPSHOT = Path(__file__).parents[2] / "flows" / "reference" / "snapshot"


def series(name: str, values: dict[str, float], *, unit: str = "t", confidence: str = "high"):
    """Values by year ("2024") or month ("2024-05"); fiscal years, by name, are written as their first month."""
    yearly = all(len(key) == 4 for key in values) or name.endswith("fiscal_year")
    points = tuple(
        ObservedPoint(
            date.fromisoformat(f"{key}-01-01" if len(key) == 4 else f"{key}-01"),
            value,
            datetime(2026, 10, 1, tzinfo=UTC),
            f"SOURCE_{name.upper()}",
            confidence,
        )
        for key, value in sorted(values.items())
    )
    return ObservedSeries(name, name.capitalize(), unit, "year" if yearly else "month", points)


def months(first: str, prices: list[float]) -> dict[str, float]:
    """A price a month from `first` on; NaN leaves the month out."""
    start = date.fromisoformat(f"{first}-01")
    return {
        f"{month_after(start, step):%Y-%m}": price
        for step, price in enumerate(prices)
        if not math.isnan(price)
    }


def shipped(file: str, prefix: str) -> dict[str, dict[str, tuple[float, str, str]]]:
    """Series of a shipped file by name, then period: value, source and confidence of the newest edition."""
    found: dict[str, dict[str, tuple[float, str, str]]] = {}
    with (SNAPSHOT / file).open(encoding="utf-8") as opened:
        for row in sorted(csv.DictReader(opened), key=lambda row: row["published_on"]):
            if row["series"].startswith(prefix):
                found.setdefault(row["series"], {})[row["period"]] = (
                    float(row["value"]),
                    row["source_id"],
                    row["confidence"],
                )
    return found


def observed(name: str, points: dict[str, tuple[float, str, str]], unit: str) -> ObservedSeries:
    plain = series(name, {period: value for period, (value, _, _) in points.items()}, unit=unit)
    return replace(
        plain,
        points=tuple(
            replace(point, source_id=source, confidence=confidence)
            for point, (_, (_, source, confidence)) in zip(
                plain.points, sorted(points.items()), strict=True
            )
        ),
    )


def mine_output(until: str = "9999") -> StageSeries:
    """Mine output by country, newest edition of each year; "other countries" is one of the origins."""
    every = {
        name.removeprefix("mine_output_"): observed(
            name, {year: point for year, point in points.items() if year <= until}, "t REO"
        )
        for name, points in shipped("mine_output_yearly.csv", "mine_output_").items()
    }
    world = every.pop("world")
    return StageSeries("mine", "Mine output", every, world)


def line(name: str, side: str, monthly_t: list[float], **changes: str) -> ComponentShare:
    values = {"source": "TEST", "confidence": "high", **changes}
    total = sum(monthly_t)
    return ComponentShare(
        name, side, Interval(total, total, total), 0.0, monthly_t=tuple(monthly_t), **values
    )


def india(*lines: ComponentShare, importer: str = "India"):
    return make_projection(
        months=2,
        importer=importer,
        components=lines
        or (
            line("From China", "supply", [60, 40], origin="China", confidence="medium"),
            line("From Japan", "supply", [10, 20], origin="Japan"),
            line("Own plant", "supply", [30, 40], origin="India", confidence="derived"),
            line("A plant that never comes", "supply", [0, 0], origin="India", confidence="low"),
            line("Cars", "demand", [100, 150], use="cars"),
            line("In compressors", "memo", [900, 900], origin="China", confidence="background"),
            line("Kept back", "loss", [500, 500], origin="China", confidence="background"),
        ),
    )


def named(indicators):
    return {indicator.name: indicator for indicator in indicators}


# --- concentration ----------------------------------------------------------


@pytest.mark.parametrize(
    ("quantities", "value"),
    [
        ({"China": 7.0}, 10_000),
        ({"China": 50.0, "Japan": 50.0}, 5_000),
        ({"China": 600.0, "Japan": 300.0, "Vietnam": 100.0}, 3600 + 900 + 100),
        ({"China": 5.0, "Japan": 0.0}, 10_000),
        ({str(origin): 1.0 for origin in range(100)}, 100),
    ],
)
def test_concentration_is_the_sum_of_squared_percentages(quantities, value):
    assert hhi(quantities) == pytest.approx(value)


def test_concentration_does_not_depend_on_the_unit():
    tonnes = {"China": 61.0, "Japan": 22.0, "Vietnam": 17.0}
    kilograms = {origin: 1000 * quantity for origin, quantity in tonnes.items()}
    assert hhi(kilograms) == pytest.approx(hhi(tonnes))


@pytest.mark.parametrize(
    ("quantities", "says"),
    [
        ({}, "hhi: quantities: is empty"),
        ({"China": -1.0, "Japan": 5.0}, "hhi: quantities: China: is -1, must be 0 or more"),
        ({"China": math.nan}, "hhi: quantities: China: is nan"),
        ({"China": math.inf}, "hhi: quantities: China: is inf"),
        ({"China": 0.0, "Japan": 0.0}, "hhi: quantities: is zero for every origin"),
    ],
)
def test_concentration_of_what_is_no_supply_names_the_origin(quantities, says):
    with pytest.raises(IndicatorError) as caught:
        hhi(quantities)
    assert says in str(caught.value)
    assert caught.value.indicator == "hhi"


@pytest.mark.parametrize(("year", "value"), [("2018", 4303), ("2021", 3798), ("2024", 5192)])
def test_mine_output_is_as_concentrated_as_published_figures_say(year, value):
    indicator = stage_concentration(mine_output(until=year))
    assert indicator.title == f"Concentration by country (HHI): Mine output, {year}"
    assert indicator.value == pytest.approx(value, rel=0.0005)
    assert indicator.reading == "high: above 2,500 (DERA, KOMIS)"
    assert indicator.confidence == "high"


def test_other_countries_hardly_matter_as_one_origin_but_their_tonnes_do():
    stage = mine_output(until="2024")
    newest = {name: one.points[-1].value for name, one in stage.by_origin.items() if one.points}
    named_only = {
        name: tonnes
        for name, tonnes in newest.items()
        if name != "other_countries" and stage.by_origin[name].points[-1].period.year == 2024
    }
    assert hhi(named_only) == pytest.approx(5219.5, abs=0.1)
    assert hhi(named_only | {"other_countries": 1000.0}) == pytest.approx(5192.43, abs=0.01)
    # As one origin they add 0.07 points, against none if they were a thousand countries.
    spread = {f"other {number}": 1.0 for number in range(1000)}
    assert hhi(named_only | spread) == pytest.approx(5192.36, abs=0.01)


def test_the_edition_that_was_known_in_2025_saw_less_concentration_in_2024():
    """As known then: a look into the past must not use the revision of 2026."""
    with (SNAPSHOT / "mine_output_yearly.csv").open(encoding="utf-8") as opened:
        rows = [
            row
            for row in csv.DictReader(opened)
            if row["period"] == "2024" and row["source_id"] == "USGS_MCS2025"
        ]
    by_origin = {
        row["series"]: series(row["series"], {"2024": float(row["value"])})
        for row in rows
        if row["series"] != "mine_output_world"
    }
    indicator = stage_concentration(StageSeries("mine", "Mine output", by_origin))
    assert indicator.value == pytest.approx(5153.3, abs=0.1)


def test_origins_that_are_not_all_in_yet_do_not_speak():
    china = series("china", {"2023": 70.0, "2024": 80.0})
    japan = series("japan", {"2023": 30.0})
    world = series("world", {"2023": 100.0, "2024": 120.0})
    indicator = stage_concentration(
        StageSeries("mine", "Mine output", {"China": china, "Japan": japan}, world)
    )
    assert indicator.value == pytest.approx(4900 + 900)
    assert indicator.title.endswith("2023")
    assert stage_concentration(StageSeries("mine", "Mine output", {"China": china}, world)) is None
    # Without a world total nobody can tell: the newest year speaks.
    assert stage_concentration(StageSeries("mine", "Mine output", {"China": china})).value == 10_000


@pytest.mark.parametrize(("total", "spoken"), [(105.0, True), (106.0, False), (95.3, True)])
def test_the_worlds_total_may_miss_the_origins_by_five_percent(total, spoken):
    stage = StageSeries(
        "mine", "Mine output", {"China": series("china", {"2024": 100.0})},
        series("world", {"2024": total}),
    )  # fmt: skip
    assert (stage_concentration(stage) is not None) is spoken


def test_a_stage_without_output_has_no_concentration():
    assert stage_concentration(StageSeries("mine", "Mine output", {})) is None
    nothing = StageSeries("mine", "Mine output", {"China": series("china", {"2024": 0.0})})
    assert stage_concentration(nothing) is None


def test_origins_in_two_units_are_refused():
    stage = StageSeries(
        "mine",
        "Mine output",
        {
            "China": series("china", {"2024": 1.0}, unit="t REO"),
            "Japan": series("japan", {"2024": 1.0}, unit="t"),
        },
    )
    with pytest.raises(IndicatorError, match="hhi_mine: unit: china has 't REO', japan has 't'"):
        stage_concentration(stage)


def test_output_below_zero_is_named_with_its_origin_and_year():
    stage = StageSeries("mine", "Mine output", {"China": series("china", {"2024": -1.0})})
    with pytest.raises(IndicatorError, match="hhi_mine: China: 2024: is -1"):
        stage_concentration(stage)


@pytest.mark.parametrize(
    ("quantities", "reading"),
    [
        ({"A": 50.0, "B": 50.0}, "high: above 2,500 (DERA, KOMIS)"),
        # four equal origins lie on the border of high, which is still medium
        ({"A": 1.0, "B": 1.0, "C": 1.0, "D": 1.0}, "medium: 1,500 to 2,500 (DERA, KOMIS)"),
        ({str(n): 1.0 for n in range(7)}, "low: below 1,500 (DERA, KOMIS)"),
    ],
)
def test_concentration_is_placed_in_the_classes_of_dera(quantities, reading):
    by_origin = {name: series(name, {"2024": value}) for name, value in quantities.items()}
    assert stage_concentration(StageSeries("x", "X", by_origin)).reading == reading


# --- governance -------------------------------------------------------------


def test_governance_weighs_from_zero_for_the_best_to_ten_for_the_worst():
    supply = {"A": 50.0, "B": 50.0}
    assert weighted_hhi(supply, {"A": 2.5, "B": 2.5}) == (0.0, 1.0)
    assert weighted_hhi(supply, {"A": -2.5, "B": -2.5}) == (50_000.0, 1.0)
    # 50² · 2·(2.5 − 0.5) + 50² · 2·(2.5 + 0.5)
    assert weighted_hhi(supply, {"A": 0.5, "B": -0.5}).value == pytest.approx(2500 * 4 + 2500 * 6)


def test_an_origin_without_a_score_adds_nothing_and_is_owned_up_to():
    found = weighted_hhi({"A": 60.0, "B": 40.0}, {"A": 0.0, "Z": -2.0})
    assert found.value == pytest.approx(3600 * 5)
    assert found.scored_share == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("governance", "says"),
    [
        ({}, "weighted_hhi: governance: has no score for any of A, B"),
        ({"A": 2.6}, "weighted_hhi: governance: A: 2.6 is not between -2.5 and 2.5"),
        ({"A": -2.6}, "weighted_hhi: governance: A: -2.6 is not between -2.5 and 2.5"),
        ({"A": math.nan}, "weighted_hhi: governance: A: nan is not between"),
    ],
)
def test_scores_that_cannot_weigh_are_refused(governance, says):
    with pytest.raises(IndicatorError) as caught:
        weighted_hhi({"A": 1.0, "B": 1.0}, governance)
    assert says in str(caught.value)


def test_a_stage_is_weighed_only_when_an_origin_with_output_has_a_score():
    stage = StageSeries(
        "mine",
        "Mine output",
        {"A": series("a", {"2024": 60.0}), "B": series("b", {"2024": 40.0}, confidence="medium"),
         "C": series("c", {"2024": 0.0})},
    )  # fmt: skip
    assert stage_governance(stage, {}) is None
    assert stage_governance(stage, {"C": GovernanceScore("C", 0.0, "WB", "high")}) is None
    found = stage_governance(stage, {"A": GovernanceScore("A", 0.0, "World Bank", "low")})
    assert found.name == "hhi_mine_governance"
    assert found.value == pytest.approx(18_000)
    assert found.unit == "0-100000"
    assert found.reading == "60 % of the quantity has a governance score; the rest adds nothing"
    assert found.confidence == "low"
    assert "World Bank" in found.source


# --- reliance and N-1 -------------------------------------------------------


@pytest.mark.parametrize(
    ("imports", "exports", "production", "stock_change", "value"),
    [
        (80.0, 20.0, 40.0, 0.0, 0.6),
        (80.0, 20.0, 30.0, 10.0, 0.7),  # ten tonnes out of stock count as from outside
        (80.0, 20.0, 50.0, -10.0, 0.5),  # ten tonnes into stock were not consumed
        (0.0, 0.0, 5.0, 0.0, 0.0),
        (9.0, 0.0, 0.0, 0.0, 1.0),
        (10.0, 60.0, 100.0, 0.0, -1.0),  # a net exporter
    ],
)
def test_reliance_is_what_comes_from_outside_over_what_is_consumed(
    imports, exports, production, stock_change, value
):
    found = net_import_reliance(imports, exports, production, stock_change)
    assert found == pytest.approx(value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0.0, 0.0, 0.0, 0.0), "apparent consumption: is 0, must be above 0"),
        ((5.0, 10.0, 3.0, 0.0), "apparent consumption: is -2"),
        ((-1.0, 0.0, 3.0, 0.0), "imports: is -1"),
        ((1.0, -2.0, 3.0, 0.0), "exports: is -2"),
        ((1.0, 0.0, math.nan, 0.0), "production: is nan"),
        ((1.0, 0.0, 1.0, math.inf), "stock_change: inf is no quantity"),
    ],
)
def test_reliance_on_nothing_is_refused(arguments, says):
    with pytest.raises(IndicatorError) as caught:
        net_import_reliance(*arguments)
    assert str(caught.value).startswith(f"net_import_reliance: {says}")


def test_without_the_largest_origin_the_others_are_compared_with_all_demand():
    assert n_minus_1({"China": 60.0, "Japan": 20.0, "Vietnam": 10.0}, 100.0) == pytest.approx(0.3)
    assert n_minus_1({"China": 60.0}, 100.0) == 0.0
    assert n_minus_1({"A": 50.0, "B": 50.0}, 40.0) == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("supply", "demand", "says"),
    [
        ({}, 1.0, "n_minus_1: supply_by_origin: is empty"),
        ({"China": -3.0}, 1.0, "n_minus_1: supply_by_origin: China: is -3"),
        ({"China": 3.0}, 0.0, "n_minus_1: demand: is 0, must be above 0"),
    ],
)
def test_a_supply_that_cannot_lose_its_largest_origin_is_refused(supply, demand, says):
    with pytest.raises(IndicatorError) as caught:
        n_minus_1(supply, demand)
    assert says in str(caught.value)


# --- stock ------------------------------------------------------------------


def test_stock_lasts_as_many_days_as_it_holds_daily_uses():
    assert stock_cover_days(30.0, 2.0) == 15.0
    assert stock_cover_days(0.0, 2.0) == 0.0


@pytest.mark.parametrize(("stock", "use"), [(1.0, 0.0), (-1.0, 1.0), (1.0, math.nan)])
def test_a_stock_that_nobody_uses_has_no_end_and_is_refused(stock, use):
    with pytest.raises(IndicatorError, match="stock_cover_days"):
        stock_cover_days(stock, use)


def test_a_line_stops_at_the_first_grade_that_is_missing():
    stock = {"N": 100.0, "SH": 6.0, "UH": 0.0}
    assert runway(stock, {"N": 1.0, "SH": 0.5, "UH": 0.0}) == Runway("SH", 12.0)


@pytest.mark.parametrize(
    ("stock", "use", "says"),
    [
        ({"N": 1.0}, {"N": 1.0, "SH": 1.0}, "runway: stock_t: SH is in use but its stock"),
        ({"N": 1.0}, {"N": 0.0}, "runway: use_t_per_day: no grade is in use"),
        ({"N": 1.0}, {"N": -1.0}, "runway: use_t_per_day: N: is -1"),
        ({"N": -1.0}, {"N": 1.0}, "runway: stock_t: N: is -1"),
    ],
)
def test_a_grade_whose_stock_is_unknown_is_not_taken_as_empty(stock, use, says):
    with pytest.raises(IndicatorError) as caught:
        runway(stock, use)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("days", "colour"),
    [(0.0, "red"), (13.99, "red"), (14.0, "amber"), (41.99, "amber"), (42.0, "green")],
)
def test_cover_is_red_below_two_weeks_and_amber_below_six(days, colour):
    assert cover_colour(days) == colour


# --- prices -----------------------------------------------------------------


def test_volatility_is_the_annual_deviation_of_log_changes():
    # changes of +10 %, −10 %, +10 % in logs: mean 1/30, sample variance 4/300
    prices = [100 * math.exp(level) for level in (0.0, 0.1, 0.0, 0.1)]
    assert volatility(prices, 12) == pytest.approx(math.sqrt(12 * 4 / 300))


def test_a_steady_rise_is_no_volatility():
    assert volatility([1.0, 2.0, 4.0, 8.0], 12) == pytest.approx(0.0, abs=1e-12)


def test_changes_into_and_out_of_an_unknown_month_do_not_count():
    prices = [1.0, 2.0, 1.0, math.nan, 900.0, 1800.0, 900.0]
    assert volatility(prices, 12) == pytest.approx(volatility([1.0, 2.0, 1.0, 2.0, 1.0], 12))


@pytest.mark.parametrize(
    ("prices", "says"),
    [
        ([1.0, 0.0, 2.0], "volatility: price 2 of 3: is 0, must be above 0"),
        ([1.0, 2.0], "volatility: prices: 1 changes between neighbouring periods, 2 needed"),
        ([1.0, math.nan, 2.0, math.nan, 3.0], "volatility: prices: 0 changes"),
        ([], "volatility: prices: 0 changes"),
    ],
)
def test_prices_that_have_no_volatility_are_refused(prices, says):
    with pytest.raises(IndicatorError) as caught:
        volatility(prices, 12)
    assert says in str(caught.value)


def on_a_grid(points: dict[str, float]) -> list[float]:
    first, last = (date.fromisoformat(f"{key}-01") for key in (min(points), max(points)))
    grid, month = [], first
    while month <= last:
        grid.append(points.get(f"{month:%Y-%m}", math.nan))
        month = month_after(month, 1)
    return grid


def shipped_prices(*names: str) -> dict[str, float]:
    """Months of shipped series, an earlier name first where two have a month."""
    every = shipped("prices_monthly.csv", "")
    found: dict[str, float] = {}
    for name in reversed(names):
        found |= {period: value for period, (value, _, _) in every[name].items()}
    return found


@pytest.mark.parametrize(
    ("name", "span", "count", "value"),
    [
        ("dy_oxide_month_end", ("2013-03", "2026-09"), 163, 0.26),
        ("tb_oxide_month_end", ("2019-01", "2026-09"), 93, 0.31),
    ],
)
def test_all_shipped_months_are_as_volatile_as_measured_elsewhere(name, span, count, value):
    points = shipped_prices(name)
    assert (min(points), max(points), len(points)) == (*span, count)
    assert volatility(on_a_grid(points), 12) == pytest.approx(value, abs=0.01)


def test_neodymium_is_not_the_036_of_195_months_because_most_of_those_are_not_shipped():
    """Missing are August 2013 to December 2023; month means speak before month ends, as in the service."""
    points = shipped_prices("nd_oxide_month_mean", "nd_oxide_month_end")
    early = {month: price for month, price in points.items() if month <= "2013-07"}
    late = {month: price for month, price in points.items() if month >= "2024-01"}
    assert len(points) == len(early) + len(late) == 37 + 33
    assert volatility(on_a_grid(early), 12) == pytest.approx(0.53, abs=0.005)
    assert volatility(on_a_grid(late), 12) == pytest.approx(0.25, abs=0.005)
    assert volatility(on_a_grid(points), 12) == pytest.approx(0.42, abs=0.005)


def test_a_volatile_price_is_high_by_deras_thirty_percent():
    swings = [100.0, 120.0] * 6 + [100.0]
    found = price_volatility(series("nd", months("2025-01", swings)), 12)
    assert found.name == "volatility_12m_nd"
    assert found.title == "Volatility over 12 months: Nd, to January 2026"
    assert found.value == pytest.approx(math.log(1.2) * math.sqrt(12 * 12 / 11))
    assert found.reading == "high: above 30 % (DERA)"
    assert found.source == "annualised deviation of 12 log changes: SOURCE_ND"


def test_only_the_newest_months_of_a_window_count():
    wild = [100.0, 300.0] * 12
    calm = [100.0 + 0.1 * step for step in range(13)]
    found = price_volatility(series("nd", months("2023-01", [*wild, *calm])), 12)
    assert found.value < 0.01
    assert found.reading == "not high: up to 30 % (DERA)"


def test_a_quote_that_nobody_renews_is_not_called_calm_without_a_word():
    prices = [100.0, 100.0] + [101.0 + step for step in range(9)] + [110.0, 110.0]
    stale = price_volatility(series("nd", months("2025-01", prices)), 12)
    assert stale.reading.endswith("; unchanged since December 2025, the quote may be stale")
    # What stood still long ago moves again.
    moving = price_volatility(series("nd", months("2025-01", [*prices[:-1], 111.0])), 12)
    assert moving.reading == "not high: up to 30 % (DERA)"


def test_a_window_with_more_than_a_fifth_of_its_changes_unknown_says_nothing():
    prices = [100.0 + (step % 3) for step in range(13)]
    one_gap = [*prices[:6], math.nan, *prices[7:]]  # 10 of 12 changes
    two_gaps = [*prices[:3], math.nan, *prices[4:6], math.nan, *prices[7:]]  # 8 of 12
    assert price_volatility(series("nd", months("2025-01", one_gap)), 12) is not None
    assert price_volatility(series("nd", months("2025-01", two_gaps)), 12) is None
    assert price_volatility(series("nd", months("2025-01", prices)), 60) is None
    assert price_volatility(replace(series("nd", {}), frequency="month"), 12) is None


def test_the_volatility_of_yearly_prices_is_refused():
    with pytest.raises(IndicatorError, match="volatility_12m_nd: frequency: 'year' given"):
        price_volatility(series("nd", {"2024": 1.0}), 12)


def test_a_price_of_zero_is_named_with_its_month():
    prices = [100.0] * 12 + [0.0]
    with pytest.raises(IndicatorError, match="volatility_12m_nd: January 2026: is 0"):
        price_volatility(series("nd", months("2025-01", prices)), 12)


@pytest.mark.parametrize(
    ("outside", "material", "premium"), [(850.0, "dy", 2.8), (3000.0, "tb", 2.0)]
)
def test_in_may_2025_europe_paid_three_to_four_times_chinas_price(outside, material, premium):
    inside = shipped_prices(f"{material}_oxide_month_end")["2025-05"]
    assert ex_china_premium(outside, inside) == pytest.approx(premium, abs=0.02)


@pytest.mark.parametrize(("outside", "inside"), [(0.0, 1.0), (1.0, 0.0), (1.0, -5.0)])
def test_a_premium_needs_two_prices(outside, inside):
    with pytest.raises(IndicatorError, match="ex_china_premium: price_"):
        ex_china_premium(outside, inside)


@pytest.mark.parametrize(
    ("outside", "reading"),
    [
        (100.0, "green: up to 30 % (our proposal)"),
        (130.0, "green: up to 30 % (our proposal)"),
        (131.0, "amber: above 30 % (our proposal)"),
        (200.0, "amber: above 30 % (our proposal)"),
        (201.0, "red: above 100 % (our proposal)"),
    ],
)
def test_a_premium_is_amber_above_thirty_and_red_above_a_hundred_percent(outside, reading):
    abroad = series("dy_europe", {"2025-04": 90.0, "2025-05": outside}, confidence="medium")
    china = series("dy_china", {"2025-04": 10.0, "2025-05": 100.0, "2025-06": 50.0})
    found = china_premium(abroad, china)
    assert found.value == pytest.approx(outside / 100 - 1)
    assert found.reading == reading
    assert found.title == "Premium over China's price: Dy_europe, May 2025"
    assert found.confidence == "medium"


def test_prices_that_share_no_month_have_no_premium():
    assert china_premium(series("a", {"2025-04": 1.0}), series("b", {"2025-05": 1.0})) is None


def test_prices_in_two_currencies_are_refused():
    dollars = series("a", {"2025-05": 1.0}, unit="USD/kg")
    yuan = series("b", {"2025-05": 1.0}, unit="CNY/kg")
    with pytest.raises(IndicatorError, match="ex_china_premium_a: unit: a has 'USD/kg', b has 'C"):
        china_premium(dollars, yuan)


def test_a_premium_over_nothing_names_series_and_month():
    with pytest.raises(IndicatorError, match="ex_china_premium_a: b: May 2025: is 0"):
        china_premium(series("a", {"2025-05": 1.0}), series("b", {"2025-05": 0.0}))


# --- trade ------------------------------------------------------------------


def test_a_mirror_gap_is_above_zero_when_the_importer_reports_more():
    assert mirror_gap(130.0, 100.0) == pytest.approx(0.3)
    assert mirror_gap(0.0, 100.0) == -1.0
    # India's yearly 900 t beside twelve times the 418 t that China reported for July 2025
    assert mirror_gap(900.0, 12 * 418.0) == pytest.approx(-0.82, abs=0.005)


@pytest.mark.parametrize(
    ("ours", "theirs", "field"),
    [(1.0, 0.0, "reported_by_exporter"), (-1.0, 1.0, "reported_by_importer")],
)
def test_a_gap_to_nothing_is_refused(ours, theirs, field):
    with pytest.raises(IndicatorError, match=f"mirror_gap: {field}: is"):
        mirror_gap(ours, theirs)


@pytest.mark.parametrize(
    ("ours", "reading"),
    [
        (100.0, "agree: within 30 % (our proposal)"),
        (130.0, "agree: within 30 % (our proposal)"),
        (70.0, "agree: within 30 % (our proposal)"),
        (131.0, "check the data: more than 30 % (our proposal) apart"),
        (69.0, "check the data: more than 30 % (our proposal) apart"),
    ],
)
def test_a_gap_in_either_direction_asks_for_a_look(ours, reading):
    found = trade_gap(
        series("in", {"2023": 5.0, "2024": ours}), series("out", {"2023": 1.0, "2024": 100.0})
    )
    assert found.value == pytest.approx(ours / 100 - 1)
    assert found.reading == reading
    assert found.title == "Importer's figure against exporter's: In, 2024"


def test_monthly_trade_is_compared_over_a_year_so_that_cargoes_at_sea_even_out():
    exported = [100.0, 300.0] * 7
    arrived = [0.0, *exported[:-1]]
    found = trade_gap(
        series("in", months("2024-01", arrived)), series("out", months("2024-01", exported))
    )
    assert found.value == pytest.approx(0.0)
    assert found.title.endswith("March 2024 to February 2025")


def test_a_missing_month_breaks_the_year_that_is_compared():
    values = [100.0] * 16
    values[13] = math.nan
    found = trade_gap(
        series("in", months("2024-01", values)), series("out", months("2024-01", values))
    )
    assert found.title.endswith("February 2024 to January 2025")
    short = series("in", months("2024-01", [1.0] * 11))
    assert trade_gap(short, replace(short, series="out")) is None


def test_trade_that_the_exporter_does_not_report_has_no_gap():
    assert trade_gap(series("in", {"2024": 5.0}), series("out", {"2024": 0.0})) is None
    assert trade_gap(series("in", {"2024": 5.0}), series("out", {"2023": 4.0})) is None


def test_trade_in_pieces_and_in_tonnes_is_refused():
    pieces = series("in", {"2024": 5.0}, unit="pieces")
    with pytest.raises(IndicatorError, match="mirror_gap_in: unit: in has 'pieces', out has 't'"):
        trade_gap(pieces, series("out", {"2024": 5.0}))


def test_negative_trade_is_named_with_series_and_year():
    with pytest.raises(IndicatorError, match="mirror_gap_in: out: 2024: is -4"):
        trade_gap(series("in", {"2024": 5.0}), series("out", {"2024": -4.0}))


def test_the_share_of_ndfeb_follows_from_the_unit_value():
    # (6.26 − 5)/(80 − 5), (6.26 − 4)/(60 − 4), (6.26 − 3)/(40 − 3)
    found = ndfeb_share(6.26)
    assert found == pytest.approx((1.26 / 75, 2.26 / 56, 3.26 / 37))


@pytest.mark.parametrize(
    ("unit_value", "shares"),
    [(3.0, (0, 0, 0)), (4.0, (0, 0, 1 / 37)), (50.0, (45 / 75, 46 / 56, 1)), (95.0, (1, 1, 1))],
)
def test_a_share_stays_between_none_and_all(unit_value, shares):
    found = ndfeb_share(unit_value)
    assert found == pytest.approx(shares)
    assert found.low <= found.central <= found.high


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((2.3,), "ndfeb_share: unit_value: 2.30 USD/kg is below the cheapest ferrite, 3 USD/kg"),
        ((0.0,), "ndfeb_share: unit_value: is 0"),
        ((6.0, (5.0, 4.0, 3.0)), "ndfeb_share: ferrite: low 5, central 4, high 3 USD/kg are not"),
        (
            (6.0, (3.0, 4.0, 5.0), (4.0, 60.0, 80.0)),
            "ndfeb_share: ndfeb: its lowest, 4 USD/kg, must",
        ),
    ],
)
def test_unit_values_that_say_nothing_of_ndfeb_are_refused(arguments, says):
    with pytest.raises(IndicatorError) as caught:
        ndfeb_share(*arguments)
    assert says in str(caught.value)


def indian_imports(code: str) -> tuple[ObservedSeries, ObservedSeries]:
    """Value and tonnes of a customs code from China, by fiscal year, as shipped."""
    every = shipped("imports_yearly.csv", f"india_imports_hs{code}_china_")
    value, quantity = (
        f"india_imports_hs{code}_china_{measure}_fiscal_year" for measure in ("usd", "t")
    )
    return observed(value, every[value], "USD"), observed(quantity, every[quantity], "t")


def test_indias_metal_magnets_from_china_are_mostly_ferrite():
    """Fiscal year 2025: 110.68 M USD for 17,685 t."""
    found = mixed_code_share(*indian_imports("85051190"))
    assert found.value == pytest.approx(0.0403, abs=0.0001)
    assert found.reading == "1.7–8.8 %, with ferrite at 3–5 and NdFeB at 40–80 USD/kg"
    assert found.confidence == "derived"
    assert found.source == "unit value 6.26 USD/kg: ANANTA"
    assert found.title.endswith(", year from April 2024")


def test_a_code_whose_goods_are_cheaper_than_ferrite_says_nothing_of_ndfeb():
    """Fiscal year 2025: 50.42 M USD for 21,897 t, 2.3 USD/kg."""
    value, quantity = indian_imports("85051900")
    assert mixed_code_share(value, quantity) is None
    assert mixed_code_share(value, series("no_fiscal_year", {"2024-04": 0.0})) is None
    assert mixed_code_share(value, series("calendar", {"2024": 5.0})) is None


def test_a_value_in_rupees_is_refused():
    value = series("value", {"2024": 1.0}, unit="INR")
    with pytest.raises(
        IndicatorError, match="ndfeb_share_q: unit: value is in 'INR', 'USD' needed"
    ):
        mixed_code_share(value, series("q", {"2024": 1.0}))


def test_a_value_by_month_and_tonnes_by_year_are_refused():
    value = series("value", {"2024-01": 1.0}, unit="USD")
    with pytest.raises(IndicatorError, match="ndfeb_share_q: frequency: 'month' and 'year'"):
        mixed_code_share(value, series("q", {"2024": 1.0}))


# --- definitions ------------------------------------------------------------


@pytest.mark.parametrize(
    ("indicator", "limits"),
    [
        ("hhi", [f"<{HHI_MEDIUM:.0f} low", f">{HHI_HIGH:.0f} high"]),
        ("vol_dera", [f">{VOLATILITY_HIGH:.0%}"]),
        ("n1", [f"{N_MINUS_1_IEA[0] * 100:.0f}-{N_MINUS_1_IEA[1]:.0%}"]),
        ("nir", [f">{RELIANCE_HIGH:.0%}"]),
        ("cover", [f"red <{COVER_RED_DAYS:.0f}", f"amber <{COVER_AMBER_DAYS:.0f}"]),
        ("mirror_gap", [f">{MIRROR_GAP_LIMIT:.0%}"]),
        ("dual_premium", [f"amber >{PREMIUM_AMBER:.0%}", f"red >{PREMIUM_RED:.0%}"]),
        (
            "unit_value_filter",
            [
                f"UV_ferrite ~{FERRITE_USD_PER_KG[0]:.0f}-{FERRITE_USD_PER_KG[2]:.0f}",
                f"UV_NdFeB ~{NDFEB_USD_PER_KG[0]:.0f}-{NDFEB_USD_PER_KG[2]:.0f}",
            ],
        ),
    ],
)
def test_limits_in_the_code_are_those_of_the_shipped_definitions(indicator, limits):
    with (SNAPSHOT / "indicators.csv").open(encoding="utf-8") as opened:
        threshold = {row["indicator"]: row["threshold"] for row in csv.DictReader(opened)}
    for limit in limits:
        assert limit in threshold[indicator]


# --- rows -------------------------------------------------------------------


def test_a_projection_shows_how_exposed_its_importer_is():
    found = named(supply_indicators(india()))
    # China 100 t, Japan 30 t, India 70 t of 200 t; demand 250 t
    assert found["hhi_origins"].value == pytest.approx(50**2 + 15**2 + 35**2)
    assert found["hhi_origins"].reading == "high: above 2,500 (DERA, KOMIS)"
    assert found["n_minus_1"].value == pytest.approx(100 / 250)
    assert found["n_minus_1"].reading == (
        "without China: within the 35–40 % that the IEA expects of rare earths in 2035"
    )
    assert found["net_import_reliance"].value == pytest.approx(130 / 200)
    assert found["net_import_reliance"].reading == "high: above 50 % (USGS)"
    assert found["stock_cover"].value == 30.0  # the median of make_projection's months
    assert found["stock_cover"].title == "Stock cover, end of July 2025"
    assert found["stock_cover"].reading == "amber: below 42 days (our proposal)"
    assert list(found) == ["hhi_origins", "n_minus_1", "net_import_reliance", "stock_cover"]


def test_an_indicator_is_as_sure_as_the_weakest_line_that_delivers():
    found = named(supply_indicators(india()))
    # The memo and loss lines are background, the plant that never comes low: none of them counts.
    assert {one.confidence for one in found.values()} == {"derived"}
    weak = india(
        line("From China", "supply", [1, 1], origin="China"),
        line("Guess", "demand", [1, 1], confidence="background"),
    )
    found = named(supply_indicators(weak))
    assert found["hhi_origins"].confidence == "high"
    assert found["n_minus_1"].confidence == "background"
    assert {one.confidence for one in found.values()} <= set(CONFIDENCE_ORDER)


def test_supply_of_unknown_origin_is_no_single_supplier_that_could_fail():
    found = named(
        supply_indicators(
            india(
                line("Elsewhere", "supply", [30, 30]),
                line("From China", "supply", [15, 15], origin="China"),
                line("Own plant", "supply", [5, 5], origin="India"),
                line("Cars", "demand", [50, 50]),
            )
        )
    )
    assert found["n_minus_1"].value == pytest.approx(70 / 100)
    assert found["n_minus_1"].reading.startswith("without China: above")
    assert found["hhi_origins"].value == pytest.approx(60**2 + 30**2 + 10**2)
    assert found["hhi_origins"].reading.endswith(
        "60 % of supply states no origin and counts as one"
    )
    assert found["net_import_reliance"].value == pytest.approx(90 / 100)


def test_what_an_importer_makes_itself_is_no_supplier_that_fails():
    """Japan's makers are its largest origin; the one that could cut it off is China."""
    lines = (
        line("Makers", "supply", [60, 60], origin="Japan"),
        line("From China", "supply", [30, 30], origin="China"),
        line("From Vietnam", "supply", [10, 10], origin="Vietnam"),
        line("Cars", "demand", [100, 100]),
    )
    found = named(supply_indicators(india(*lines, importer="Japan")))["n_minus_1"]
    assert found.value == pytest.approx(70 / 100)
    assert found.reading.startswith("without China: above")
    assert found.title == "Demand that supply covers without its largest foreign origin"
    # To the world, Japan is an origin as any other.
    found = named(supply_indicators(india(*lines, importer="")))["n_minus_1"]
    assert found.value == pytest.approx(40 / 100)
    assert found.reading.startswith("without Japan: within")
    assert found.title == "Demand that supply covers without its largest origin"


def test_without_a_named_origin_abroad_there_is_none_to_lose():
    projection = india(
        line("Own plant", "supply", [5, 5], origin="India"),
        line("Elsewhere", "supply", [30, 30]),
        line("Cars", "demand", [50, 50]),
    )
    assert "n_minus_1" not in named(supply_indicators(projection))


def test_a_freeze_of_imports_is_no_autonomy():
    """Over demand instead of supply, reliance would fall from 80 to 40 %."""
    calm = india(
        line("From China", "supply", [80, 80], origin="China"),
        line("Own plant", "supply", [20, 20], origin="India"),
        line("Cars", "demand", [100, 100]),
    )
    frozen = india(
        line("From China", "supply", [40, 40], origin="China"),
        line("Own plant", "supply", [20, 20], origin="India"),
        line("Cars", "demand", [100, 100]),
    )
    before, after = (named(supply_indicators(one)) for one in (calm, frozen))
    assert before["net_import_reliance"].value == pytest.approx(0.8)
    assert after["net_import_reliance"].value == pytest.approx(2 / 3)
    assert before["n_minus_1"].value == after["n_minus_1"].value == pytest.approx(0.2)


def test_the_world_imports_nothing():
    assert "net_import_reliance" not in named(supply_indicators(india(importer="")))


def test_when_the_others_meet_demand_alone_the_reading_says_so():
    projection = india(
        line("A", "supply", [100, 100], origin="A"),
        line("B", "supply", [90, 90], origin="B"),
        line("Cars", "demand", [90, 90]),
    )
    assert named(supply_indicators(projection))["n_minus_1"].reading == (
        "without A: demand is still met"
    )


def test_governance_is_weighed_only_where_scores_are_given():
    scores = {"China": GovernanceScore("China", 0.0, "World Bank", "low")}
    found = named(supply_indicators(india(), scores))["hhi_origins_governance"]
    assert found.value == pytest.approx(50**2 * 5)
    assert found.reading == "50 % of the quantity has a governance score; the rest adds nothing"
    assert found.confidence == "low"
    almost = india(
        line("From China", "supply", [999, 999], origin="China"),
        line("From Japan", "supply", [1, 1], origin="Japan"),
    )
    found = named(supply_indicators(almost, scores))["hhi_origins_governance"]
    assert found.reading.startswith("more than 99 % of the quantity has a governance score")
    rare = {"Japan": GovernanceScore("Japan", 1.3, "World Bank", "low")}
    found = named(supply_indicators(almost, rare))["hhi_origins_governance"]
    assert found.reading.startswith("less than 1 % of the quantity has a governance score")
    elsewhere = {"Chile": GovernanceScore("Chile", 1.0, "World Bank", "high")}
    assert "hhi_origins_governance" not in named(supply_indicators(india(), elsewhere))


def test_what_an_old_projection_does_not_carry_is_left_out():
    made = make_projection()
    old = replace(made, components=tuple(replace(one, monthly_t=()) for one in made.components))
    found = supply_indicators(old)
    assert [one.name for one in found] == ["stock_cover"]
    assert found[0].confidence == "low"


def test_a_market_that_is_supplied_with_nothing_has_no_concentration():
    projection = india(
        line("From China", "supply", [0, 0], origin="China"), line("Cars", "demand", [1, 1])
    )
    assert list(named(supply_indicators(projection))) == ["stock_cover"]


def test_a_market_without_stock_shows_no_cover_unless_its_usual_stock_is_known():
    empty = Interval(0.0, 0.0, 0.0)
    projection = india()
    projection = replace(
        projection,
        months=tuple(replace(month, stock_cover_days=empty) for month in projection.months),
    )
    assert "stock_cover" not in named(supply_indicators(projection))
    usual = Factor("stock_weeks", 2.0, 4.0, 6.0, "weeks", "trade press", "low")
    found = named(supply_indicators(projection, stock=usual))["stock_cover"]
    assert found.value == 0.0
    assert found.reading == "red: below 14 days (our proposal)"
    assert found.confidence == "low"
    assert "trade press" in found.source


def test_a_line_with_other_months_than_its_projection_is_named():
    projection = india(line("From China", "supply", [1, 2, 3], origin="China"))
    with pytest.raises(
        IndicatorError, match="From China: monthly_t: 3 months, the projection has 2"
    ):
        supply_indicators(projection)


def test_a_line_below_zero_is_named():
    projection = india(line("From China", "supply", [1, -2], origin="China"))
    with pytest.raises(IndicatorError, match="world-ndfeb: From China: monthly_t: is -2"):
        supply_indicators(projection)


def test_a_hair_below_zero_is_rounding_and_no_supply():
    projection = india(
        line("From China", "supply", [-1e-15, 0], origin="China", confidence="background"),
        line("From Japan", "supply", [1, 1], origin="Japan"),
    )
    found = named(supply_indicators(projection))["hhi_origins"]
    assert (found.value, found.confidence) == (10_000, "high")


def test_a_confidence_that_is_no_word_of_ours_is_refused():
    projection = india(line("From China", "supply", [1, 2], origin="China", confidence="sure"))
    with pytest.raises(IndicatorError, match="hhi_origins: confidence: 'sure' is not one of high"):
        supply_indicators(projection)


def test_a_projection_without_months_is_refused():
    with pytest.raises(IndicatorError, match="world-ndfeb: months: there is none"):
        supply_indicators(replace(india(), months=()))


def test_series_give_what_they_can_and_nothing_else():
    found = series_indicators(
        stages=[mine_output()],
        prices=[
            observed("dy", shipped("prices_monthly.csv", "dy_")["dy_oxide_month_end"], "USD/kg"),
            series("young", months("2026-01", [1.0, 2.0, 3.0])),
        ],
        premiums=[(series("a", {"2025-04": 1.0}), series("b", {"2025-05": 1.0}))],
        mirrors=[(series("in", {"2024": 5.0}), series("out", {"2024": 4.0}))],
        mixed_codes=[
            (series("v", {"2024": 2_300.0}, unit="USD"), series("q", {"2024": 1.0})),
        ],
    )
    assert [one.name for one in found] == [
        "hhi_mine",
        "volatility_12m_dy",
        "volatility_60m_dy",
        "mirror_gap_in",
    ]


def test_without_series_there_is_no_indicator():
    assert series_indicators() == ()
