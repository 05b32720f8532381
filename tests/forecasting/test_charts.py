from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch
from matplotlib.text import Text

from forecasting.charts import (
    balance_fan,
    demand_stack,
    markets,
    price_fan,
    score_panels,
    supply_stack,
    volume_bars,
    waterfall_chart,
)
from forecasting.charts.frame import GREEN, ORANGE, number, picture
from forecasting.results import (
    ChangeBar,
    ComponentShare,
    Interval,
    MarketMonth,
    MarketProjection,
    ObservedPoint,
    ObservedSeries,
    Score,
    SeriesForecast,
    Waterfall,
)
from tests.builders import make_scorecard, month_after

KNOWN = datetime(2025, 6, 21, tzinfo=UTC)


def make_forecast(frequency: str = "month", horizon: int = 12, history: int = 60) -> SeriesForecast:
    days = [
        date(1990 + i, 1, 1) if frequency == "year" else date(2018 + i // 12, i % 12 + 1, 1)
        for i in range(history + horizon)
    ]
    steps = np.sqrt(np.arange(1, horizon + 1))[:, None]
    quantiles = 250 + 20 * steps * np.array([-2.0, -1.3, -0.7, 0, 0.7, 1.3, 2.0])
    return SeriesForecast(
        forecast_id="f-0",
        series="dy_oxide",
        title="Dysprosium oxide 99.5 %, FOB China",
        unit="USD/kg",
        frequency=frequency,
        cutoff=days[history - 1],
        last_value=250.0,
        history=tuple((day, 250.0 + 30 * np.sin(i / 5)) for i, day in enumerate(days[:history])),
        periods=tuple(days[history:]),
        quantiles=tuple(map(tuple, quantiles.tolist())),
        paths=(),
        model="random_walk",
        reason="",
        scores=(),
        observations=history,
        vintage=KNOWN,
    )


def make_projection(scenario: str = "base", cut: float = 0.0) -> MarketProjection:
    months = []
    for i in range(12):
        demand, supply = 1500.0 + 10 * i, 1480.0 - cut
        share = max(0.0, (demand - supply) / demand)
        months.append(
            MarketMonth(
                month=date(2025 + (6 + i) // 12, (6 + i) % 12 + 1, 1),
                supply_t=Interval(supply - 100, supply, supply + 100),
                demand_t=Interval(demand - 80, demand, demand + 80),
                shortfall_t=Interval(0, share * demand, share * demand + 100),
                shortfall_share=Interval(0, share, share + 0.1),
                stock_cover_days=Interval(20, 30, 40),
            )
        )
    return MarketProjection(
        projection_id="p-0",
        market="india-ndfeb",
        title="NdFeB magnets in India",
        product="NdFeB magnets",
        unit="t",
        scenario=scenario,
        scenario_title="China halts export licences for all magnets" if cut else "As things stand",
        months=tuple(months),
        shortfall_t_paths=(),
        demand_t_paths=(),
        components=(),
        notes=(),
        data_through=date(2025, 5, 1),
        vintage=KNOWN,
    )


def make_volumes(values: list[float]) -> ObservedSeries:
    points = tuple(
        ObservedPoint(
            date(2024 + i // 12, i % 12 + 1, 1), v, KNOWN, "src", "low" if i % 3 else "high"
        )
        for i, v in enumerate(values)
    )
    return ObservedSeries("cn_magnet_exports", "China's magnet exports", "t", "month", points)


def assert_fits_a_phone(png: bytes) -> None:
    assert png.startswith(b"\x89PNG")
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == (1200, 675)
    assert len(png) <= 90_000


@pytest.mark.parametrize(("frequency", "horizon"), [("month", 12), ("month", 1), ("year", 4)])
def test_a_price_fan_is_a_picture_for_a_phone(frequency, horizon):
    forecast = make_forecast(frequency, horizon)
    assert_fits_a_phone(price_fan(forecast, levels=[("alert", 312.5), ("critical", 320.0)]))


def test_equal_forecasts_give_equal_pictures():
    assert price_fan(make_forecast()) == price_fan(make_forecast())


def test_a_flat_forecast_and_a_short_history_can_be_drawn():
    flat = make_forecast(history=6)
    flat = replace(flat, quantiles=((0.0,) * 7,) * 12, last_value=0.0)
    flat = replace(flat, history=tuple((day, 0.0) for day, _ in flat.history))
    assert_fits_a_phone(price_fan(flat))


def test_a_balance_is_drawn_alone_and_beside_a_scenario():
    alone = balance_fan([make_projection()])
    beside = balance_fan([make_projection(), make_projection("licence-freeze", 600)])
    assert_fits_a_phone(alone)
    assert_fits_a_phone(beside)
    assert alone != beside


def test_a_balance_without_any_shortage_can_be_drawn():
    assert_fits_a_phone(balance_fan([make_projection(cut=-500)]))


def test_a_balance_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one projection"):
        balance_fan([])


def test_volumes_are_drawn_with_their_limit():
    volumes = make_volumes([5278, 4725, 5100, 5300, 2629, 1238])
    assert_fits_a_phone(volume_bars(volumes, trailing_mean=5100, limit_share=0.6))
    single = make_volumes([1238.0])
    assert_fits_a_phone(volume_bars(single, trailing_mean=5100, limit_share=0.6))


def test_volumes_without_a_point_are_refused():
    with pytest.raises(ValueError, match="cn_magnet_exports: no volumes to draw"):
        volume_bars(make_volumes([]), trailing_mean=1, limit_share=0.6)


def test_scores_are_drawn_whatever_is_known_of_them():
    card = make_scorecard()
    assert_fits_a_phone(score_panels(card))
    assert_fits_a_phone(score_panels(replace(card, checks=card.checks[:1])))
    unknown = Score("theta", 4, 0.9, 0.9, 0.8, 0.95)  # of an older version: no 50 % interval
    assert_fits_a_phone(score_panels(replace(card, scores=(unknown,))))
    assert_fits_a_phone(score_panels(replace(card, scores=(), checks=(), pit_share=())))


def test_a_picture_of_scores_shows_what_changed():
    card = make_scorecard()
    pictures = {
        score_panels(card),
        score_panels(card, newest=4),
        score_panels(replace(card, model="gaussian_walk")),
        score_panels(replace(card, pit_share=(0.3, *card.pit_share[1:]))),
        score_panels(make_scorecard((0.9,) * 15 + (2.0,))),
        # What was held at the newest cutoffs only: the whole past stays as it was.
        score_panels(make_scorecard(held=[0.8] * 8 + [0.4] * 8)),
    }
    assert len(pictures) == 6


# --- pictures of a market: what stands in them, and where

Lines = Sequence[tuple[str, str, float]]  # name, origin or use, tonnes a month

LONG = (
    "an Indian and a Chinese maker build a plant together, and China all but stops export licences"
)
LONG_TITLE = "Weltmarkt für gesinterte Neodym-Eisen-Bor-Dauermagnete einschließlich Vorprodukten"
COUNTRIES = (
    "China",
    "United States",
    "Australia",
    "Myanmar",
    "Vietnam",
    "Federated Republic of Far Away and Beyond",
    "Brazil",
    "India",
    "Russia",
    "Malaysia",
    "Thailand",
    "Nigeria",
)


def make_balance(
    supply: Lines = (("Imports from China", "China", 300.0), ("Own plants", "India", 20.0)),
    demand: Lines = (("Cars", "electric vehicles", 250.0), ("Turbines", "wind", 100.0)),
    *,
    kept_t: float = 0.0,
    stock_t: float = 0.0,
    months: int = 12,
    **changes: object,
) -> MarketProjection:
    """A market whose lines are the same in every month; what stock doesn't fill of the gap is missing."""

    def share(side: str, name: str, tonnes: float, **of: str) -> ComponentShare:
        yearly = Interval(12 * tonnes, 12 * tonnes, 12 * tonnes)
        return ComponentShare(
            name, side, yearly, 0.0, "", "high", monthly_t=(tonnes,) * months, **of
        )

    made, needed = sum(line[2] for line in supply), sum(line[2] for line in demand)
    short = max(0.0, needed - made - stock_t)

    def around(value: float) -> Interval:
        return Interval(0.9 * value, value, 1.1 * value)

    month = MarketMonth(
        date(2025, 7, 1),
        around(made),
        around(needed),
        around(short),
        around(short / needed if needed else 0.0),
        Interval(20, 30, 40),
        expected_shortfall_t=short,
    )
    base = make_projection()
    projection = replace(
        base,
        unit="t NdFeB",
        importer="India",
        months=tuple(replace(month, month=month_after(month.month, i)) for i in range(months)),
        components=(
            *(share("supply", name, t, origin=origin) for name, origin, t in supply),
            *(share("demand", name, t, use=use) for name, use, t in demand),
            share("memo", "Inside compressors", 77_777.0),
            *([share("loss", "Kept back by export licences", kept_t)] if kept_t else []),
        ),
    )
    return replace(projection, **changes)


def make_waterfall(*bars: tuple[str, str, float], before_t: float = 100.0, **changes: object):
    waterfall = Waterfall(
        market="india-ndfeb",
        title="NdFeB magnets in India",
        unit="t NdFeB",
        before="as known on 21 March 2025",
        after="as known on 21 June 2025",
        months=tuple(month_after(date(2025, 7, 1), i) for i in range(12)),
        before_t=before_t,
        after_t=before_t + sum(bar[2] for bar in bars),
        bars=tuple(ChangeBar(*bar) for bar in bars),
    )
    return replace(waterfall, **changes)


HUGE = make_balance(
    [(name, name, 1.2e6 / (at + 1)) for at, name in enumerate(COUNTRIES)],
    [(name, f"use of {name}", 9e5 / (at + 1)) for at, name in enumerate(COUNTRIES)],
    kept_t=4e4,
    months=60,
    title=LONG_TITLE,
    scenario="india-china-jv+licence-freeze",
    scenario_title=LONG,
)
WIDE = make_balance([("", "WWWWW MMMMM WWWWW MMMMM", 300.0)])
# All names want to stand at the lower edge.
LITTLE = make_balance([(name, name, 1.0) for name in COUNTRIES], [("Cars", "cars", 1e4)])
NOTHING = make_balance([("Imports", "China", 0.0)], [("Cars", "", 0.0)])
SHORT = make_balance(kept_t=40.0, scenario="licence-freeze", scenario_title="China stops licences")
ABUNDANT = make_balance([("Imports", "China", 900.0)])
SCENARIOS = [SHORT, *(replace(SHORT, scenario=f"another-measure-{i}") for i in range(6))]

FALLING = make_waterfall(
    ("Kept back by export licences and clearance", "loss", -1.4e6),
    *(
        (
            f"A plant with a long name in a far country, phase {i}",
            "supply",
            (-1) ** i * 2e5 / (i + 1),
        )
        for i in range(9)
    ),
    ("Stock and surplus", "buffer", 4e5),
    before_t=1_234_567.0,
    title=LONG_TITLE,
    before=LONG,
)
RISING = make_waterfall(
    ("Imports from China", "supply", 700.0),
    ("Electric two- and three-wheelers", "demand", 150.0),
    ("Wind turbines", "demand", -60.0),
    ("Stock and surplus", "buffer", -380.0),
)
BELOW_ZERO = make_waterfall(
    ("Imports", "supply", -700.0), ("Stock and surplus", "buffer", 700.0), before_t=0.0
)
UNCHANGED = make_waterfall(("Stock and surplus", "buffer", 0.0), before_t=0.0)
ONE_MONTH = replace(UNCHANGED, months=UNCHANGED.months[:1])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures of the market pictures made in a test."""
    figures: list[Figure] = []

    @contextmanager
    def watched(format: str = "png") -> Iterator[tuple[Figure, object]]:
        with picture(format) as (figure, out):
            figures.append(figure)
            yield figure, out

    monkeypatch.setattr(markets, "picture", watched)
    return figures


def texts_of(figure: Figure) -> list[Text]:
    """Every text that is drawn; the labels of ticks outside an axis exist, but aren't."""
    texts = [*figure.texts]
    for axes in figure.axes:
        texts += axes.texts
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = axis.get_major_ticks()
            texts += [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def words_of(figure: Figure) -> list[str]:
    return [" ".join(text.get_text().split()) for text in texts_of(figure)]


AWKWARD = [
    pytest.param(lambda **f: balance_fan([make_balance()], **f), id="balance"),
    pytest.param(lambda **f: balance_fan([HUGE], **f), id="balance, 60 months, long names"),
    pytest.param(lambda **f: balance_fan([NOTHING], **f), id="balance of zeros"),
    pytest.param(lambda **f: balance_fan([ABUNDANT], **f), id="balance without shortfall"),
    pytest.param(lambda **f: balance_fan(SCENARIOS, **f), id="balance, seven scenarios"),
    pytest.param(lambda **f: balance_fan([make_balance(months=1)], **f), id="balance, one month"),
    pytest.param(lambda **f: supply_stack(SHORT, **f), id="supply"),
    pytest.param(lambda **f: supply_stack(HUGE, **f), id="supply, 12 origins"),
    pytest.param(lambda **f: supply_stack(NOTHING, **f), id="supply of zeros"),
    pytest.param(lambda **f: supply_stack(WIDE, **f), id="supply, wide letters"),
    pytest.param(lambda **f: supply_stack(LITTLE, **f), id="supply, a pile of names"),
    pytest.param(lambda **f: supply_stack(make_balance(months=1), **f), id="supply, one month"),
    pytest.param(lambda **f: demand_stack(SHORT, **f), id="demand"),
    pytest.param(lambda **f: demand_stack(HUGE, **f), id="demand, 12 uses"),
    pytest.param(lambda **f: demand_stack(NOTHING, **f), id="demand of zeros, one line"),
    pytest.param(lambda **f: demand_stack(make_balance(months=1), **f), id="demand, one month"),
    pytest.param(lambda **f: waterfall_chart(RISING, **f), id="waterfall"),
    pytest.param(lambda **f: waterfall_chart(FALLING, **f), id="waterfall, long names, below zero"),
    pytest.param(lambda **f: waterfall_chart(BELOW_ZERO, **f), id="waterfall from 0 to 0"),
    pytest.param(lambda **f: waterfall_chart(ONE_MONTH, **f), id="waterfall without change"),
]


@pytest.mark.parametrize("draw", AWKWARD)
def test_no_word_of_a_market_picture_runs_into_another_or_out_of_it(draw, drawn):
    assert_fits_a_phone(draw())
    (figure,) = drawn
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts_of(figure)]
    assert len(boxes) > 6
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= 1200, text
        assert box.y1 <= 675, text
    for (first, one), (second, other) in combinations(boxes, 2):
        # Lines that touch can be read; a pixel or two is the empty rim of a box.
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        down = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert across <= 2 or down <= 2, (first, second)


@pytest.mark.parametrize("draw", AWKWARD[::3])
def test_an_svg_is_whole_and_equal_for_equal_figures(draw):
    svg = draw(format="svg")
    assert svg == draw(format="svg")
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    # Neither the day nor a version of a library.
    assert b"<dc:date>" not in svg
    assert b"Matplotlib" not in svg
    # Letters are outlines: the reader's machine may lack the font.
    assert not list(root.iter("{http://www.w3.org/2000/svg}text"))


@pytest.mark.parametrize("draw", [AWKWARD[0], AWKWARD[6], AWKWARD[12], AWKWARD[16]])
def test_another_format_is_refused_by_name(draw):
    with pytest.raises(ValueError, match="made as 'pdf'; allowed are png and svg"):
        draw(format="pdf")


@pytest.mark.parametrize("draw", [lambda p: balance_fan([p]), supply_stack, demand_stack])
def test_a_market_picture_names_market_unit_scenario_and_what_was_known(draw, drawn):
    draw(SHORT)
    words = words_of(drawn[0])
    assert any(text.startswith("NdFeB magnets in India: ") for text in words)
    assert "Scenario: China stops licences" in words
    assert "tonnes of NdFeB a month" in words
    assert any("Data through May 2025, as known on 21 Jun 2025." in text for text in words)


def test_a_long_scenario_is_broken_in_two_rather_than_made_small(drawn):
    balance_fan([HUGE])
    (scenario,) = [text for text in texts_of(drawn[0]) if text.get_text().startswith("Scenario")]
    assert scenario.get_text().count("\n") == 1
    assert scenario.get_fontsize() >= 13


def test_the_shade_is_the_part_of_the_gap_that_stock_does_not_fill(drawn):
    balance_fan([make_balance(stock_t=10.0)])  # demand 350, supply 320
    top = drawn[0].axes[0]
    shades = [area for area in top.collections if to_hex(area.get_facecolor()[0]) == ORANGE]
    (heights,) = [area.get_paths()[0].vertices[:, 1] for area in shades]
    assert (heights.min(), heights.max()) == (330.0, 350.0)
    assert "Missing 20" in words_of(drawn[0])


def test_nothing_is_called_missing_when_stock_fills_the_gap(drawn):
    balance_fan([make_balance(stock_t=30.0)])
    assert not any(text.startswith("Missing") for text in words_of(drawn[0]))


def test_supplies_of_an_origin_are_one_layer_above_own_output(drawn):
    supply_stack(
        make_balance(
            [
                ("Imports, traction", "China", 200.0),
                ("Recycled at home", "India", 15.0),
                ("Imports, other", "China", 100.0),
                ("Own plants", "India", 20.0),
                ("Imports from elsewhere", "", 50.0),
            ],
            kept_t=40.0,
        )
    )
    words = words_of(drawn[0])
    for named in ("35 Own output", "300 China", "50 Imports from elsewhere", "40 kept back"):
        assert named in words
    assert "350 demand" in words
    filled = [patch for patch in drawn[0].axes[0].patches if isinstance(patch, StepPatch)]
    spans = [
        (patch.get_data().baseline[0], patch.get_data().values[0], patch.get_hatch())
        for patch in filled
        if patch.get_data().baseline is not None
    ]
    assert spans == [(0, 35, None), (35, 335, None), (335, 385, None), (385, 425, "//")]
    assert to_hex(filled[0].get_facecolor()) == GREEN


def test_the_world_has_no_own_output(drawn):
    supply_stack(make_balance(importer=""))
    assert {"300 China", "20 India"} <= set(words_of(drawn[0]))


def test_origins_that_do_not_fit_become_one_and_none_is_lost(drawn):
    countries = [(f"c{i}", f"c{i}", 100.0 - i) for i in range(12)]
    supply_stack(make_balance(countries))
    words = words_of(drawn[0])
    assert f"{sum(100 - i for i in range(6, 12))} 6 other origins" in words
    assert "95 c5" in words
    assert "94 c6" not in words


def test_a_seventh_use_keeps_its_name(drawn):
    demand_stack(make_balance(demand=[("", f"use {i}", 100.0 - i) for i in range(7)]))
    assert "94 use 6" in words_of(drawn[0])


def test_uses_are_added_up_and_what_is_only_shown_is_left_out(drawn):
    demand_stack(
        make_balance(
            demand=[("Cars", "vehicles", 60.0), ("Vans", "vehicles", 40.0), ("Lifts", "", 5)]
        )
    )
    words = words_of(drawn[0])
    assert {"100 vehicles", "5 Lifts"} <= set(words)
    assert not any("77" in text for text in words)


def test_bars_of_a_waterfall_lead_from_the_first_total_to_the_last(drawn):
    waterfall_chart(RISING)
    bars = [bar for bar in drawn[0].axes[0].patches if isinstance(bar, Rectangle)]
    spans = {round(bar.get_y() + bar.get_height() / 2): bar for bar in bars}
    assert [(spans[row].get_x(), spans[row].get_width()) for row in range(6)] == [
        (0, 100),
        (100, 700),
        (800, 150),
        (950, -60),
        (890, -380),
        (0, 510),
    ]
    words = words_of(drawn[0])
    assert [text for text in words if text[0] in "+−"] == ["+700", "+150", "−60", "−380"]
    assert "as known on 21 March 2025" in words
    assert "tonnes of NdFeB, Jul 2025 to Jun 2026" in words


def test_changes_that_do_not_fit_become_one_bar_of_their_sum(drawn):
    bars = [(f"line {i}", "demand", 100.0 - i) for i in range(9)]
    waterfall_chart(make_waterfall(*bars, ("Stock and surplus", "buffer", -20.0)))
    words = words_of(drawn[0])
    assert {"line 4", "4 smaller changes", f"+{95 + 94 + 93 + 92}", "−20"} <= set(words)
    assert "line 5" not in words


@pytest.mark.parametrize(
    ("before_t", "figures"),
    [(1000.0, ["1,000", "−40", "+2", "961"]), (50.0, ["50", "−40.2", "+1.51", "11.3"])],
)
def test_figures_have_decimals_only_where_all_are_small(before_t, figures, drawn):
    waterfall_chart(
        make_waterfall(("Cars", "demand", 1.51), ("Imports", "supply", -40.2), before_t=before_t)
    )
    bold = [text for text in drawn[0].axes[0].texts if text.get_fontweight() == "bold"]
    first, last, *changes = [text.get_text() for text in bold]
    assert [first, *changes, last] == figures


@pytest.mark.parametrize(("draw", "side"), [(supply_stack, "supply"), (demand_stack, "demand")])
def test_a_projection_of_an_older_version_has_no_stack(draw, side):
    older = tuple(replace(line, monthly_t=()) for line in SHORT.components)
    with pytest.raises(ValueError, match=rf"india-ndfeb: {side} '.+': 0 values for 12 months"):
        draw(replace(SHORT, components=older))
    with pytest.raises(ValueError, match=f"india-ndfeb: there is no {side} line to draw"):
        draw(replace(SHORT, components=()))


@pytest.mark.parametrize(
    ("value", "text"),
    [(3_023_551, "3.02 M"), (2629.4, "2,629"), (252.5, "252"), (25.25, "25.2"), (0.314, "0.31")],
)
def test_a_number_is_as_short_as_it_can_be_read(value, text):
    assert number(value) == text
