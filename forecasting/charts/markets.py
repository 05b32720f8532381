"""Pictures of a market: balance fan, supply by origin, demand by use, and why the shortfall changed."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from forecasting.charts.frame import (
    BLUE,
    GREEN,
    GRID,
    INK,
    MUTED,
    ORANGE,
    Format,
    dates,
    day_numbers,
    dress,
    foot,
    instant,
    labels_at_right,
    limits,
    number,
    numbers_to,
    period_words,
    picture,
    rate,
    titles,
    unit_above,
    unit_words,
)
from forecasting.results import ChangeBar, ComponentShare, MarketMonth, MarketProjection, Waterfall

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

MOST_LAYERS = 6
"""Origins or uses with a layer of their own; when there are more, the smallest become one."""
MOST_BARS = 5
"""Changes with a bar of their own, besides both totals, other lines and stock."""
WORST_DRAWN = 2
"""Scenarios drawn beside the first one in a balance; more lines can't be told apart."""

# Areas by size, largest first, each with a darker colour for its name. Green is what a country makes itself,
# orange what is missing or kept back.
_COLOURS = (
    (BLUE, BLUE),
    ("#e69f00", "#8a5f00"),
    ("#56b4e9", "#1b75a8"),
    ("#cc79a7", "#a04a7b"),
    ("#f0e442", "#746d00"),
    ("#4b3b8f", "#4b3b8f"),
)
_OWN = (GREEN, GREEN)
_REST = ("#b4bcc2", MUTED)


@dataclass(frozen=True, slots=True)
class _Layer:
    name: str
    monthly_t: Floats
    area: str
    ink: str


def balance_fan(projections: Sequence[MarketProjection], *, format: Format = "png") -> bytes:
    """Picture of supply against demand with the shortfall shaded, and the share that is missing.

    The first projection is drawn in full, the two worst of the others are lines beside it in the lower panel. What is
    shaded is the median shortfall: the part of the gap that stock doesn't fill. Raises ValueError when
    there is no projection.
    """
    if not projections:
        message = "a balance chart needs at least one projection"
        raise ValueError(message)
    drawn = projections[0]
    months = _times(drawn)
    supply, demand = _band(drawn.months, "supply_t"), _band(drawn.months, "demand_t")
    # Medians of three quantities needn't add up: the shade never leaves the gap between its lines.
    missing = np.minimum(
        _band(drawn.months, "shortfall_t")[1], np.maximum(0.0, demand[1] - supply[1])
    )
    with picture(format) as (figure, out):
        top = figure.add_axes((0.085, 0.445, 0.705, 0.325))
        low = figure.add_axes((0.085, 0.155, 0.705, 0.195))
        for axes in (top, low):
            dress(axes)
            axes.set_xlim(months[0], months[-1])
        for (p10, p50, p90), colour in ((supply, BLUE), (demand, INK)):
            top.fill_between(months, p10, p90, color=colour, alpha=0.13, lw=0)
            top.plot(months, p50, color=colour, lw=3)
        top.fill_between(months, demand[1] - missing, demand[1], facecolor=ORANGE, alpha=0.35, lw=0)
        limits(top, np.concatenate([*supply, *demand]).tolist())
        labels = [
            (float(supply[1][-1]), f"Supply {number(supply[1][-1])}", BLUE, True),
            (float(demand[1][-1]), f"Demand {number(demand[1][-1])}", INK, True),
        ]
        if missing[-1] > 0:
            middle = float(demand[1][-1] - missing[-1] / 2)
            labels.append(
                (middle, f"Missing {drawn.months[-1].shortfall_t.p50:,.0f}", ORANGE, True)
            )
        labels_at_right(top, labels)
        _draw_shares(low, projections)
        dates(low)
        dates(top)
        top.tick_params(labelbottom=False)
        unit_above(top, rate(drawn.unit))
        unit_above(low, "missing share of demand")
        titles(figure, f"{drawn.title}: supply and demand", _scenario_words(drawn))
        _foot(
            figure,
            drawn,
            "Lines: medians. Bands hold 80 % of the likely outcomes. Shaded: missing after stock is used.",
        )
    return out.getvalue()


def supply_stack(projection: MarketProjection, *, format: Format = "png") -> bytes:
    """Picture of each month's mean supply by origin, own output lowest, with demand as a line.

    Hatched above is what export licences keep back. Tonnes a month, in the projection's unit. Raises
    ValueError for a projection without supply lines by month.
    """
    own = "Own output" if projection.importer else ""

    def name(line: ComponentShare) -> str:
        is_own = bool(own) and line.origin == projection.importer
        return own if is_own else line.origin or line.name

    supplies = _lines(projection, "supply")
    return _stack(
        projection,
        f"{projection.title}: supply by origin",
        _layers(supplies, name, own=own, rest="other origins"),
        kept=np.maximum(0.0, _total(projection, "loss")),
        demand=_total(projection, "demand"),
        format=format,
    )


def demand_stack(projection: MarketProjection, *, format: Format = "png") -> bytes:
    """Picture of each month's mean demand by use. Tonnes a month, in the projection's unit.

    Raises ValueError for a projection without demand lines by month.
    """
    demands = _lines(projection, "demand")
    nothing = np.zeros(len(projection.months))
    return _stack(
        projection,
        f"{projection.title}: demand by use",
        _layers(demands, lambda line: line.use or line.name, own="", rest="other uses"),
        kept=nothing,
        demand=nothing,
        format=format,
    )


def waterfall_chart(waterfall: Waterfall, *, format: Format = "png") -> bytes:
    """Picture of what leads from one expected shortfall to the other: a bar for each cause, largest first.

    A bar to the right adds to the shortfall. Figures are sums over the months, in the waterfall's unit.
    """
    bars = _shown(waterfall.bars)
    last = len(bars) + 1
    steps = np.cumsum([waterfall.before_t, *(bar.tonnes for bar in bars)]).tolist()
    reach = [0.0, waterfall.after_t, *steps]
    most, span = max(map(abs, reach)), max(reach) - min(reach) or 1.0
    months = " to ".join(
        dict.fromkeys(period_words(waterfall.months[at], "month") for at in (0, -1))
    )
    with picture(format) as (figure, out):
        axes = figure.add_axes((0.31, 0.145, 0.655, 0.625))
        dress(axes)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x", color=GRID, lw=1.2)
        axes.set_ylim(last + 0.6, -0.6)
        # Room for the figures, which stand to the right of their bars.
        axes.set_xlim(min(reach) - 0.02 * span, max(reach) + 0.16 * span)
        axes.axvline(0, color=MUTED, lw=1.5)
        for row, step in enumerate(steps):
            axes.plot([step, step], [row + 0.33, row + 0.67], color=MUTED, lw=1.2)
        small = 12.5 if last > 7 else 14.0
        for row, words, tonnes in (
            (0, waterfall.before, waterfall.before_t),
            (last, waterfall.after, waterfall.after_t),
        ):
            _draw_bar(axes, row, (0.0, tonnes), INK)
            _name_bar(axes, row, words, small, max(0.0, tonnes), _plain(tonnes, most), INK)
        for row, (bar, ends) in enumerate(zip(bars, pairwise(steps), strict=True), start=1):
            change = _signed(bar.tonnes, most)
            colour = MUTED if change == "0" else ORANGE if bar.tonnes > 0 else BLUE
            _draw_bar(axes, row, ends, colour)
            _name_bar(axes, row, bar.name, small, max(ends), change, colour)
        axes.set_yticks([])
        axes.locator_params(axis="x", nbins=6)
        axes.xaxis.set_major_formatter(numbers_to(most))
        unit_above(axes, f"{unit_words(waterfall.unit)}, {months}")
        titles(
            figure,
            f"{waterfall.title}: why the shortfall changed",
            f"Expected shortfall: {_plain(waterfall.before_t, most)}, then "
            f"{_plain(waterfall.after_t, most)} {waterfall.unit}. Orange adds to it, blue lowers it.",
        )
        foot(figure, f"{waterfall.market}: {waterfall.before}, then {waterfall.after}.")
    return out.getvalue()


def _draw_shares(axes: "Axes", projections: Sequence[MarketProjection]) -> None:
    """Lines of the missing share of demand: the first with its band, and the worst of the others by their peaks."""
    drawn, *others = projections
    others.sort(key=lambda one: -sum(month.shortfall_share.p50 for month in one.months))
    labels = []
    for place, projection in enumerate([drawn, *others[:WORST_DRAWN]]):
        is_drawn = place == 0
        days = _times(projection)
        p10, p50, p90 = (100 * part for part in _band(projection.months, "shortfall_share"))
        colour = ORANGE if is_drawn else MUTED
        if is_drawn:
            axes.fill_between(days, p10, p90, color=colour, alpha=0.2, lw=0)
        style = "-" if place < 2 else "--"
        axes.plot(days, p50, color=colour, lw=3 if is_drawn else 2.2, ls=style)
        name = _short_scenario(projection.scenario) if others else "median"
        share = f"{p50[-1]:.0f} %" if is_drawn else f"up to {p50.max():.0f} %"
        labels.append((float(p50[-1]), f"{share} {name}", colour, is_drawn))
    axes.set_ylim(0, max(5.0, axes.get_ylim()[1]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    labels_at_right(axes, labels)


def _stack(
    projection: MarketProjection,
    title: str,
    layers: Sequence[_Layer],
    *,
    kept: Floats,
    demand: Floats,
    format: Format,
) -> bytes:
    """Layers on each other from the first month to the last; `kept` and `demand` are drawn where there is any."""
    # A step a month: a mean of a month has no slope inside it.
    starts = [month.month for month in projection.months]
    edges = day_numbers([*starts, _next_month(starts[-1])])
    highest = float(np.max([np.sum([one.monthly_t for one in layers], axis=0) + kept, demand]))
    with picture(format) as (figure, out):
        axes = figure.add_axes((0.085, 0.155, 0.705, 0.605))
        dress(axes)
        axes.set_xlim(edges[0], edges[-1])
        floor = np.zeros(len(starts))
        labels = []
        for layer in layers:
            top = floor + layer.monthly_t
            axes.stairs(
                top, edges, baseline=floor, fill=True, facecolor=layer.area, edgecolor="white", lw=1
            )
            labels.append(
                (
                    float(floor[-1] + top[-1]) / 2,
                    f"{_plain(layer.monthly_t[-1], highest)}  {layer.name}",
                    layer.ink,
                    False,
                )
            )
            floor = top
        how = f"Mean over all draws; figures: {period_words(starts[-1], 'month')}."
        if np.any(kept > 0):
            axes.stairs(
                floor + kept, edges, baseline=floor, fill=True, facecolor="white",
                edgecolor=ORANGE, hatch="//", lw=0,
            )  # fmt: skip
            labels.append(
                (
                    float(floor[-1] + kept[-1] / 2),
                    f"{_plain(kept[-1], highest)}  kept back",
                    ORANGE,
                    False,
                )
            )
            how += " Hatched: kept back by licences."
        if np.any(demand > 0):
            axes.stairs(demand, edges, baseline=None, color=INK, lw=3)
            labels.append((float(demand[-1]), f"{_plain(demand[-1], highest)}  demand", INK, True))
            how += " Line: demand."
        axes.set_ylim(0, 1.06 * highest or 1.0)
        axes.locator_params(axis="y", nbins=6)
        axes.yaxis.set_major_formatter(numbers_to(highest))
        dates(axes)
        labels_at_right(axes, labels)
        unit_above(axes, rate(projection.unit))
        titles(figure, title, _scenario_words(projection))
        _foot(figure, projection, how)
    return out.getvalue()


def _lines(projection: MarketProjection, side: str) -> list[ComponentShare]:
    lines = [line for line in projection.components if line.side == side]
    if not lines:
        message = f"{projection.market}: there is no {side} line to draw"
        raise ValueError(message)
    for line in lines:
        if len(line.monthly_t) != len(projection.months):
            message = (
                f"{projection.market}: {side} {line.name!r}: {len(line.monthly_t)} values for "
                f"{len(projection.months)} months; a projection of an older version has none"
            )
            raise ValueError(message)
    return lines


def _total(projection: MarketProjection, side: str) -> Floats:
    """Tonnes of a side in each month; zeros when it has no lines."""
    total = np.zeros(len(projection.months))
    for line in projection.components:
        if line.side == side and line.monthly_t:
            total = total + np.asarray(line.monthly_t)
    return total


def _layers(
    lines: Sequence[ComponentShare],
    name: Callable[[ComponentShare], str],
    *,
    own: str,
    rest: str,
) -> list[_Layer]:
    """Lines of a name added up: what is `own` first, then the largest; more than fit become `rest`, on top."""
    sums: dict[str, Floats] = {}
    for line in lines:
        sums[name(line)] = sums.get(name(line), 0.0) + np.asarray(line.monthly_t)
    order = sorted(sums, key=lambda one: (one != own, -float(sums[one].sum()), one))
    # One more than fit takes the place and the colour of the rest: it needn't lose its name.
    if len(order) > MOST_LAYERS + 1:
        order, small = order[:MOST_LAYERS], order[MOST_LAYERS:]
        order.append(f"{len(small)} {rest}")
        sums[order[-1]] = np.sum([sums[one] for one in small], axis=0)
    free = iter(_COLOURS)
    layers = []
    for place, one in enumerate(order):
        colours = _OWN if own and one == own else _REST if place == MOST_LAYERS else next(free)
        layers.append(_Layer(one, sums[one], *colours))
    return layers


def _shown(bars: Sequence[ChangeBar]) -> list[ChangeBar]:
    """The largest bars, the sum of those that don't fit, and stock; they add up to the same."""
    lines = sorted((bar for bar in bars if bar.side != "buffer"), key=lambda bar: -abs(bar.tonnes))
    rest = lines[MOST_BARS:]
    if len(rest) > 1:
        others = ChangeBar(
            f"{len(rest)} smaller changes", rest[0].side, sum(bar.tonnes for bar in rest)
        )
        lines = [*lines[:MOST_BARS], others]
    return [*lines, *(bar for bar in bars if bar.side == "buffer")]


def _draw_bar(axes: "Axes", row: int, ends: tuple[float, float], colour: str) -> None:
    start, end = ends
    axes.barh([row], [end - start], left=start, height=0.66, color=colour, lw=0)
    # A change too small for a bar is still a mark in its place.
    axes.plot([end, end], [row - 0.33, row + 0.33], color=colour, lw=2, solid_capstyle="butt")


def _name_bar(
    axes: "Axes", row: int, name: str, size: float, right: float, figure: str, colour: str
) -> None:
    """A name left of the picture, at most two lines of it, and a figure right of its bar."""
    lines = textwrap.wrap(name, 30) or [""]
    if len(lines) > 2:
        lines = [lines[0], f"{lines[1][:29]}…"]
    axes.text(
        -0.015,
        row,
        "\n".join(lines),
        transform=axes.get_yaxis_transform(),
        fontsize=size,
        color=INK,
        ha="right",
        va="center",
        linespacing=1.1,
    )
    axes.annotate(
        figure,
        (right, row),
        xytext=(8, 0),
        textcoords="offset points",
        fontsize=15,
        fontweight="bold",
        color=colour,
        va="center_baseline",
    )


def _scenario_words(projection: MarketProjection) -> str:
    title = projection.scenario_title
    return title if projection.scenario == "base" else f"Scenario: {title}"


def _short_scenario(name: str) -> str:
    return "base case" if name == "base" else f"if {name.replace('-', ' ')}"


def _foot(figure: "Figure", projection: MarketProjection, how: str) -> None:
    """How the picture is read, and on a second line what it knows."""
    foot(
        figure,
        f"{how}\nData through {period_words(projection.data_through, 'month')}, as known on "
        f"{instant(projection.vintage)}.",
    )


def _times(projection: MarketProjection) -> Any:
    """Days of the months; a single month lasts until its end, or it would have no width."""
    months = [month.month for month in projection.months]
    return day_numbers([*months, _next_month(months[0])] if len(months) == 1 else months)


def _band(months: Sequence[MarketMonth], name: str) -> tuple[Any, Any, Any]:
    """Three percentiles of a quantity, at the days that `_times` gives."""
    intervals = [getattr(month, name) for month in months]
    if len(intervals) == 1:
        intervals = intervals * 2
    p10, p50, p90 = np.asarray([(part.p10, part.p50, part.p90) for part in intervals]).T
    return p10, p50, p90


def _next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def _plain(value: float, most: float) -> str:
    """A number with a real minus, in a picture that reaches to `most`; what rounds to nothing is 0 without a sign."""
    size = abs(value)
    # Beside hundreds, a decimal is noise.
    text = f"{size:,.0f}" if most >= 100 and size < 1e6 else number(size)
    if not text.strip("0.,"):
        return "0"
    return f"−{text}" if value < 0 else text


def _signed(value: float, most: float) -> str:
    """A change: a plus where it isn't a minus."""
    text = _plain(value, most)
    return f"+{text}" if value > 0 and text != "0" else text
