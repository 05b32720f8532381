"""Pictures of forecasts, balances, volumes and scores as PNG bytes, made to be read on a phone."""

import io
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from forecasting.results import (
    MEDIAN,
    QUANTILE_LEVELS,
    MarketMonth,
    MarketProjection,
    ObservedSeries,
    Scorecard,
    SeriesForecast,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers; text is darker than its area.
_INK = "#1f2933"
_MUTED = "#5b6770"
_GRID = "#e3e7ea"
_BLUE = "#0072b2"
_ORANGE = "#d55e00"
_GREEN = "#00795c"
_DPI = 100
_SIZE = (12.0, 6.75)  # inches: 1200 x 675 px
_SHOWN_HISTORY = {"month": 36, "year": 12}
_SHOWN_BARS = 18
# Two years of months, three months of days, thirty years: older bars would only shrink the news.
_SHOWN_DAYS = {"day": 92, "month": 731, "year": 10_958}
_80 = (QUANTILE_LEVELS.index(0.1), QUANTILE_LEVELS.index(0.9))
_50 = (QUANTILE_LEVELS.index(0.25), QUANTILE_LEVELS.index(0.75))


def price_fan(forecast: SeriesForecast, *, levels: Sequence[tuple[str, float]] = ()) -> bytes:
    """PNG of the past, the median ahead and the 50 % and 80 % fan; `levels` are limits in the unit."""
    shown = forecast.history[-_SHOWN_HISTORY.get(forecast.frequency, 36) :]
    ahead = _days((forecast.cutoff, *forecast.periods))
    today = (forecast.last_value,) * len(QUANTILE_LEVELS)
    quantiles = np.asarray((today, *forecast.quantiles))
    with _picture() as (figure, out):
        axes = figure.add_axes((0.075, 0.16, 0.715, 0.60))
        _frame(axes)
        axes.plot(_days(day for day, _ in shown), [value for _, value in shown], color=_INK, lw=2.6)
        axes.fill_between(
            ahead, quantiles[:, _80[0]], quantiles[:, _80[1]], color=_BLUE, alpha=0.18, lw=0
        )
        axes.fill_between(
            ahead, quantiles[:, _50[0]], quantiles[:, _50[1]], color=_BLUE, alpha=0.30, lw=0
        )
        axes.plot(ahead, quantiles[:, MEDIAN], color=_BLUE, lw=3)
        axes.plot([_day(forecast.cutoff)], [forecast.last_value], "o", color=_INK, ms=8)
        axes.axvline(_day(forecast.cutoff), color=_MUTED, lw=1.2, ls=(0, (2, 3)))
        labels = [
            (
                quantiles[-1, _80[1]],
                f"{_number(quantiles[-1, _80[1]])}\n1 in 10 above",
                _BLUE,
                False,
            ),
            (quantiles[-1, MEDIAN], f"{_number(quantiles[-1, MEDIAN])}  median", _BLUE, True),
            (
                quantiles[-1, _80[0]],
                f"{_number(quantiles[-1, _80[0]])}\n1 in 10 below",
                _BLUE,
                False,
            ),
        ]
        seen = (
            [value for _, value in shown]
            + quantiles[:, _80[0]].tolist()
            + quantiles[:, _80[1]].tolist()
        )
        for name, level in levels:
            axes.axhline(level, color=_ORANGE, lw=2, ls=(0, (6, 3)))
            labels.append((level, f"{_number(level)}  {name}", _ORANGE, False))
            seen.append(level)
        _limits(axes, seen)
        axes.set_xlim(_day(shown[0][0]), ahead[-1])
        _dates(axes)
        _labels_at_right(axes, labels)
        _unit(axes, forecast.unit)
        axes.text(
            _day(forecast.cutoff),
            1.03,
            f"last data: {_period(forecast.cutoff, forecast.frequency)}",
            transform=axes.get_xaxis_transform(),
            fontsize=15,
            color=_MUTED,
            ha="center",
            va="bottom",
        )
        axes.annotate(
            f"last: {_number(forecast.last_value)}",
            (_day(forecast.cutoff), forecast.last_value),
            xytext=(-10, 12),
            textcoords="offset points",
            ha="right",
            fontsize=16,
            color=_INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        )
        steps = len(forecast.periods)
        _title(
            figure,
            f"{forecast.title}: next {steps} {forecast.frequency}s",
            "Dark band: half of the likely outcomes. Light band: 80 % of them.",
        )
        _foot(
            figure,
            f"Data through {_period(forecast.cutoff, forecast.frequency)}, as known on "
            f"{_instant(forecast.vintage)}. Model: {_model(forecast.model)}.",
        )
    return out.getvalue()


def balance_fan(projections: Sequence[MarketProjection]) -> bytes:
    """PNG of supply against demand with the shortfall shaded, and the share that is missing.

    The first projection is drawn in full, the others are lines beside it in the lower panel. Raises ValueError when there is none.
    """
    if not projections:
        message = "a balance chart needs at least one projection"
        raise ValueError(message)
    drawn = projections[0]
    months = _days(month.month for month in drawn.months)
    supply, demand = _band(drawn.months, "supply_t"), _band(drawn.months, "demand_t")
    with _picture() as (figure, out):
        top = figure.add_axes((0.085, 0.445, 0.705, 0.325))
        low = figure.add_axes((0.085, 0.155, 0.705, 0.195))
        for axes in (top, low):
            _frame(axes)
            axes.set_xlim(months[0], months[-1])
        for (p10, p50, p90), colour in ((supply, _BLUE), (demand, _INK)):
            top.fill_between(months, p10, p90, color=colour, alpha=0.13, lw=0)
            top.plot(months, p50, color=colour, lw=3)
        missing = demand[1] > supply[1]
        top.fill_between(
            months, supply[1], demand[1], where=missing, interpolate=True,
            facecolor=_ORANGE, alpha=0.35, lw=0,
        )  # fmt: skip
        _limits(top, np.concatenate([*supply, *demand]).tolist())
        labels = [
            (float(supply[1][-1]), f"Supply {_number(supply[1][-1])}", _BLUE, True),
            (float(demand[1][-1]), f"Demand {_number(demand[1][-1])}", _INK, True),
        ]
        if missing[-1]:
            middle = float(supply[1][-1] + demand[1][-1]) / 2
            labels.append(
                (middle, f"Missing {drawn.months[-1].shortfall_t.p50:,.0f}", _ORANGE, True)
            )
        _labels_at_right(top, labels)
        shares = []
        for projection in projections:
            is_drawn = projection is drawn
            days = _days(month.month for month in projection.months)
            p10, p50, p90 = (100 * part for part in _band(projection.months, "shortfall_share"))
            colour = _ORANGE if is_drawn else _MUTED
            if is_drawn:
                low.fill_between(days, p10, p90, color=colour, alpha=0.2, lw=0)
            low.plot(days, p50, color=colour, lw=3 if is_drawn else 2.2)
            name = _scenario(projection.scenario) if len(projections) > 1 else "median"
            shares.append((float(p50[-1]), f"{p50[-1]:.0f} % {name}", colour, is_drawn))
        low.set_ylim(0, max(5.0, low.get_ylim()[1]))
        low.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
        _labels_at_right(low, shares)
        _dates(low)
        _dates(top)
        top.tick_params(labelbottom=False)
        _unit(top, _rate(drawn.unit))
        _unit(low, "missing share of demand")
        scenario = "" if drawn.scenario == "base" else f" – {drawn.scenario_title}"
        _title(
            figure,
            f"{drawn.title}{scenario}",
            f"Supply and demand of {drawn.product}. Bands hold 80 % of the likely outcomes.",
        )
        _foot(
            figure,
            f"Data through {_period(drawn.data_through, 'month')}, as known on {_instant(drawn.vintage)}.",
        )
    return out.getvalue()


def volume_bars(observed: ObservedSeries, *, trailing_mean: float, limit_share: float) -> bytes:
    """PNG of the last volumes as bars beside their trailing mean and the limit, a share of that mean.

    Bars below the limit stand out; hatched bars rest on low-confidence figures; a month without a
    figure stays empty. Raises ValueError for a series without points.
    """
    if not observed.points:
        message = f"{observed.series}: no volumes to draw"
        raise ValueError(message)
    last = observed.points[-1].period
    recent = [
        p for p in observed.points if (last - p.period).days < _SHOWN_DAYS[observed.frequency]
    ]
    points = recent[-_SHOWN_BARS:]
    limit = trailing_mean * limit_share
    width = 23.0 if observed.frequency != "year" else 270.0
    with _picture() as (figure, out):
        axes = figure.add_axes((0.085, 0.16, 0.705, 0.60))
        _frame(axes)
        for point in points:
            is_weak = point.confidence in ("low", "background")
            axes.bar(
                [_day(point.period)],
                [point.value],
                width=width,
                color=_ORANGE if point.value < limit else _BLUE,
                alpha=0.55 if is_weak else 1.0,
                hatch="//" if is_weak else None,
                edgecolor="white",
                lw=0,
            )
        axes.axhline(trailing_mean, color=_INK, lw=2)
        axes.axhline(limit, color=_ORANGE, lw=2, ls=(0, (6, 3)))
        newest = points[-1]
        for point in points:
            if point is newest or point.value < limit:
                axes.annotate(
                    _number(point.value),
                    (_day(point.period), point.value),
                    xytext=(0, 5),
                    textcoords="offset points",
                    ha="center",
                    fontsize=16,
                    fontweight="bold" if point is newest else "normal",
                    color=_ORANGE if point.value < limit else _BLUE,
                    bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
                )
        _unit(axes, _rate(observed.unit, observed.frequency))
        axes.set_xlim(_day(points[0].period) - width, _day(last) + width)
        axes.set_ylim(0, 1.12 * max([trailing_mean, *(point.value for point in points)]))
        axes.yaxis.set_major_formatter(lambda value, _: _number(value))
        _dates(axes)
        _labels_at_right(
            axes,
            [
                (trailing_mean, f"Mean {_number(trailing_mean)}", _INK, False),
                (
                    limit,
                    f"Limit {_number(limit)}\n({100 * limit_share:.0f} % of mean)",
                    _ORANGE,
                    False,
                ),
            ],
        )
        share = newest.value / trailing_mean if trailing_mean > 0 else float("nan")
        gaps = (
            observed.frequency == "month"
            and len(points) < _index(last) - _index(points[0].period) + 1
        )
        weak = any(point.confidence in ("low", "background") for point in points)
        _title(
            figure,
            observed.title,
            f"{_period(last, observed.frequency)} was "
            f"{100 * share:.0f} % of the trailing mean."
            + (" Hatched: weak figures." if weak else "")
            + (" Gaps: no figure." if gaps else ""),
        )
        known = max(point.known_at for point in points)
        _foot(
            figure,
            f"Data through {_period(last, observed.frequency)}, as known on {_instant(known)}.",
        )
    return out.getvalue()


def score_panels(card: Scorecard, *, newest: int = 8) -> bytes:
    """PNG of what the ranges promised and held, where outcomes fell in them, and the error by cutoff.

    What the speaking model's ranges held over the whole past stands beside what was held at the last `newest`
    cutoffs by those that would have spoken there. The error stands beside the Gaussian walk's; the newest
    cutoffs are shaded. A figure that is not known, and a panel without any, stays empty.
    """
    with _picture() as (figure, out):
        held = figure.add_axes((0.08, 0.525, 0.37, 0.245))
        tenths = figure.add_axes((0.56, 0.525, 0.40, 0.245))
        errors = figure.add_axes((0.08, 0.155, 0.71, 0.20))
        for axes in (held, tenths, errors):
            _frame(axes)
        _draw_held(held, card, newest)
        _draw_tenths(tenths, card)
        _draw_errors(errors, card, newest)
        steps = f"{card.horizon} {card.frequency}{'' if card.horizon == 1 else 's'}"
        tested = len(card.checks)
        _title(
            figure,
            card.title,
            f"Forecasts {steps} ahead, as they would have been made at {tested} past "
            f"cutoff{'' if tested == 1 else 's'}.",
        )
        _foot(
            figure,
            f"As known on {_instant(card.vintage)}. Whole past: {_model(card.model)} alone; newest cutoffs: "
            "what would have spoken.",
        )
    return out.getvalue()


def _draw_held(axes: "Axes", card: Scorecard, newest: int) -> None:
    """Bars of the share held over the whole past and at the newest cutoffs, dashes for what was promised.

    Of the newest cutoffs only the 80 % range is kept.
    """
    score = next((score for score in card.scores if score.model == card.model), None)
    unknown = float("nan")
    held = (score.coverage_50, score.coverage_80, score.coverage_95) if score else (unknown,) * 3
    count = min(newest, len(card.checks))
    bars = [
        (0.0, 0.5, held[0], 0.45, "50 %\n"),
        (1.0, 0.8, held[1], 0.45, "80 %\nwhole past"),
        (2.0, 0.95, held[2], 0.45, "95 %\n"),
    ]
    if count:
        label = f"80 %\nnewest {count} cutoff{'' if count == 1 else 's'}"
        bars.append((3.4, 0.8, card.recent(newest)[1], 1.0, label))
    axes.set_ylim(0, 1.12)
    axes.set_yticks([0, 0.5, 1])
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlim(-0.5, 4.2)
    axes.set_xticks([place for place, *_ in bars])
    axes.set_xticklabels([label for *_, label in bars])
    _unit(axes, "outcomes held by the ranges (dash: promised)")
    for place, promised, share, strength, _ in bars:
        if not np.isnan(share):
            axes.bar([place], [share], width=0.7, color=_BLUE, alpha=strength, lw=0)
            axes.text(
                place,
                0.04,
                f"{100 * share:.0f} %",
                ha="center",
                fontsize=16,
                color="white" if strength == 1 and share > 0.2 else _INK,
                fontweight="bold",
            )
        axes.plot([place - 0.38, place + 0.38], [promised] * 2, color=_ORANGE, lw=3.5)


def _draw_tenths(axes: "Axes", card: Scorecard) -> None:
    """Bars of the share of outcomes in each tenth of what was forecast; even is a tenth each."""
    places = np.arange(len(card.pit_share))
    axes.bar(places, card.pit_share, width=0.86, color=_BLUE, alpha=0.75, lw=0)
    axes.axhline(0.1, color=_ORANGE, lw=3, ls=(0, (6, 3)))
    axes.set_ylim(0, max(0.2, 1.15 * max(card.pit_share, default=0.0)))
    axes.locator_params(axis="y", nbins=4)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlim(-0.6, max(len(card.pit_share), 10) - 0.4)
    axes.set_xticks([0, max(len(card.pit_share), 10) - 1])
    axes.set_xticklabels(["lowest tenth", "highest tenth"])
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    _unit(axes, "outcomes by tenth of the forecast (dash: even)")


def _draw_errors(axes: "Axes", card: Scorecard, newest: int) -> None:
    """Lines of the error at each cutoff, of what would have spoken and of the Gaussian walk."""
    is_told_apart = len(card.checks) > newest
    _unit(axes, "error (CRPS) by cutoff" + (f", newest {newest} shaded" if is_told_apart else ""))
    if not card.checks:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    days = _days(check.cutoff for check in card.checks)
    own = [check.crps for check in card.checks]
    walk = [check.walk_crps for check in card.checks]
    room = float(days[-1] - days[0]) / max(len(days) - 1, 1) / 2 or 15.0
    axes.set_xlim(days[0] - room, days[-1] + room)
    if is_told_apart:
        axes.axvspan(days[-newest] - room, days[-1] + room, color=_MUTED, alpha=0.12, lw=0)
    axes.plot(days, walk, "o-", color=_MUTED, lw=2, ms=5)
    axes.plot(days, own, "o-", color=_BLUE, lw=2.8, ms=6)
    axes.set_ylim(0, 1.12 * max(*own, *walk, 1e-9))
    axes.locator_params(axis="y", nbins=4)
    axes.yaxis.set_major_formatter(lambda value, _: _number(value))
    _dates(axes)
    _labels_at_right(
        axes, [(own[-1], "forecasts", _BLUE, True), (walk[-1], "“as today”", _MUTED, False)]
    )


def _scenario(name: str) -> str:
    return "base case" if name == "base" else f"if {name.replace('-', ' ')}"


@contextmanager
def _picture() -> "Iterator[tuple[Figure, io.BytesIO]]":
    """A blank figure; its PNG is in the buffer when the block ends. No global state of matplotlib is used."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    out = io.BytesIO()
    # A reader's own matplotlibrc must not change what teams see.
    with mpl.rc_context(
        {**mpl.rcParamsDefault, "font.family": "DejaVu Sans", "hatch.linewidth": 2.0}
    ):
        figure = Figure(figsize=_SIZE, dpi=_DPI, facecolor="white")
        canvas: Any = FigureCanvasAgg(figure)
        yield figure, out
        canvas.draw()
        # 96 colours draw these pictures as well as 16 million, in a third of the bytes; and no version
        # of a library inside, so that equal forecasts give equal bytes.
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        picture.quantize(96).save(out, format="PNG", optimize=True)


def _frame(axes: "Axes") -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_MUTED)
    axes.grid(axis="y", color=_GRID, lw=1.2)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=15, colors=_MUTED, length=0, pad=7)
    axes.tick_params(axis="x", length=5)


def _limits(axes: "Axes", values: Sequence[float]) -> None:
    """Room around the values; from zero when that costs little of the picture."""
    low, high = min(values), max(values)
    room = 0.08 * (high - low or abs(high) or 1.0)
    bottom = 0.0 if 0 <= low < 0.45 * high else low - room
    axes.set_ylim(bottom, high + room)
    axes.yaxis.set_major_formatter(lambda value, _: _number(value))
    axes.locator_params(axis="y", nbins=6)


def _dates(axes: "Axes") -> None:
    """Ticks at the starts of months or years, five to eight of them, each on one line."""
    first, last = (
        date.fromordinal(int(end) + date(1970, 1, 1).toordinal()) for end in axes.get_xlim()
    )
    months = (last.year - first.year) * 12 + last.month - first.month
    step = next((step for step in (1, 2, 3, 6, 12, 24, 60) if months / step <= 8), 120)
    start = (first.year - first.year % max(step // 12, 1)) * 12
    ticks = [
        date(index // 12, index % 12 + 1, 1)
        for index in range(start, last.year * 12 + last.month, step)
    ]
    ticks = [tick for tick in ticks if first <= tick <= last]
    axes.set_xticks([_day(tick) for tick in ticks])
    axes.set_xticklabels([f"{tick:%Y}" if step >= 12 else f"{tick:%b %Y}" for tick in ticks])


def _labels_at_right(axes: "Axes", labels: Sequence[tuple[float, str, str, bool]]) -> None:
    """Names beside the ends of their lines, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    height = axes.get_position().height * _SIZE[1] * 72
    spot = sorted(
        (
            (
                max(0.0, min(1.0, (value - low) / (high - low))),
                _wrapped(text, is_bold),
                colour,
                is_bold,
            )
            for value, text, colour, is_bold in labels
        ),
        key=lambda item: item[0],
    )
    needs = [(22.0 + 19.0 * str(item[1]).count("\n")) / height for item in spot]
    places = [item[0] for item in spot]
    for _ in range(60):
        # Neighbours that overlap give way equally, so that a pile stays centred on its lines.
        for at in range(1, len(places)):
            overlap = (needs[at - 1] + needs[at]) / 2 - (places[at] - places[at - 1])
            if overlap > 0:
                places[at - 1] -= overlap / 2
                places[at] += overlap / 2
    for place, (_, text, colour, is_bold) in zip(places, spot, strict=True):
        axes.text(
            1.015,
            place,
            text,
            transform=axes.transAxes,
            fontsize=15.5,
            color=colour,
            fontweight="bold" if is_bold else "normal",
            va="center",
            linespacing=1.15,
        )


def _wrapped(text: str, is_bold: bool) -> str:
    """At most two lines that fit beside the picture; the rest of a long name is cut."""
    width = 18 if is_bold else 20
    lines = [part for line in text.split("\n") for part in textwrap.wrap(line, width)]
    if len(lines) > 2:
        lines = [lines[0], f"{lines[1][: width - 1]}…"]
    return "\n".join(lines)


def _unit(axes: "Axes", text: str) -> None:
    axes.text(
        0, 1.03, text, transform=axes.transAxes, fontsize=15, color=_MUTED, va="bottom", ha="left"
    )


def _title(figure: "Figure", title: str, subtitle: str) -> None:
    figure.text(
        0.025, 0.955, title, fontsize=_fitting(title, 25), fontweight="bold", color=_INK, va="top"
    )
    figure.text(0.025, 0.872, subtitle, fontsize=_fitting(subtitle, 16.5), color=_MUTED, va="top")


def _fitting(text: str, size: float) -> float:
    """Font size at which a line stays inside the picture: a letter is about 0.62 of its size wide."""
    return min(size, 0.95 * _SIZE[0] * 72 / (0.62 * max(len(text), 1)))


def _foot(figure: "Figure", text: str) -> None:
    figure.text(0.025, 0.03, f"{text} Lodestone", fontsize=13.5, color=_MUTED, va="bottom")


def _band(months: Sequence[MarketMonth], name: str) -> tuple[Any, Any, Any]:
    intervals = [getattr(month, name) for month in months]
    p10, p50, p90 = np.asarray([(part.p10, part.p50, part.p90) for part in intervals]).T
    return p10, p50, p90


def _day(period: date) -> float:
    """Days since 1970, the number that matplotlib's date axes count."""
    return float(period.toordinal() - date(1970, 1, 1).toordinal())


def _days(periods: Iterable[date]) -> Any:
    return np.asarray([_day(period) for period in periods])


def _number(value: float) -> str:
    """A number as short as it can be read: 2,629 or 252.5 or 0.31."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _index(period: date) -> int:
    return period.year * 12 + period.month


def _rate(unit: str, frequency: str = "month") -> str:
    return f"{'tonnes' if unit == 't' else unit} a {frequency}"


def _model(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _period(period: date, frequency: str) -> str:
    return f"{period:%Y}" if frequency == "year" else f"{period:%b %Y}"


def _instant(moment: datetime) -> str:
    return f"{moment.day} {moment:%b %Y}"
