"""Picture of a replay: prices, volumes with their limits, and when alerts stood, on one time axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from forecasting.charts.frame import (
    BLUE,
    DPI,
    GREEN,
    GRID,
    INK,
    MUTED,
    ORANGE,
    SIZE,
    Format,
    dates,
    day_number,
    day_numbers,
    dress,
    foot,
    labels_at_right,
    limits,
    number,
    picture,
    rate,
    titles,
    unit_above,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 4
MOST_ROWS = 8
_COLOURS = (INK, BLUE, GREEN, ORANGE)
_MARKS = ("o", "s", "^", "D")  # lines are told apart without colours too
_LEFT, _WIDTH = 0.075, 0.665
_TOP, _BOTTOM, _GAP = 0.775, 0.135, 0.075
_ROW_FONT = 13.0
_MARKED_DAYS = 3 * 366  # of a longer time, marks at every month would hide the lines


@dataclass(frozen=True, slots=True)
class ReplayLine:
    """A series over the time of the replay, with the spans in which what alerts warn of came true."""

    title: str
    unit: str
    points: tuple[tuple[date, float], ...]  # (first day of the period, value), oldest first
    events: tuple[tuple[date, date], ...] = ()  # first and last day
    limits: tuple[tuple[date, float], ...] = ()  # of each period, in the unit


@dataclass(frozen=True, slots=True)
class ReplayRow:
    """One signal: the stretches in which its alert stood, and whether each was critical."""

    title: str
    stood: tuple[tuple[datetime, datetime, bool], ...]  # from, to, was it critical


def replay_picture(
    prices: Sequence[ReplayLine],
    volumes: Sequence[ReplayLine],
    rows: Sequence[ReplayRow],
    *,
    first: date,
    last: date,
    format: Format = "png",
) -> bytes:
    """Panels below each other for prices, volumes and alerts, from `first` to `last`, both included.

    Shaded are the spans of events; of volumes each month's limit is drawn as a step. Prices are drawn as
    shares of the first month shown (100), since they differ a hundredfold. At most MOST_LINES prices, one
    volume and MOST_ROWS rows are drawn; the foot says how many are not. Raises ValueError when nothing is
    given.
    """
    heights = [(3.6, "prices")] if prices else []
    heights += [(2.0, "volumes")] if volumes else []
    heights += [(0.7 + 0.4 * min(len(rows), MOST_ROWS), "rows")] if rows else []
    if not heights:
        message = "no prices, no volumes and no alerts: nothing to draw"
        raise ValueError(message)
    room = _TOP - _BOTTOM - _GAP * (len(heights) - 1)
    share = room / sum(height for height, _ in heights)
    with picture(format) as (figure, out):
        top = _TOP
        for height, kind in heights:
            axes = figure.add_axes((_LEFT, top - share * height, _WIDTH, share * height))
            top -= share * height + _GAP
            dress(axes)
            axes.set_xlim(day_number(first), day_number(last) + 1)
            if kind == "prices":
                _draw_prices(axes, prices[:MOST_LINES], first, last)
            elif kind == "volumes":
                _draw_volumes(axes, volumes[0], first, last)
            else:
                _draw_rows(axes, rows[:MOST_ROWS], first, last)
            dates(axes)
            axes.tick_params(labelsize=13)
            if (height, kind) != heights[-1]:
                axes.tick_params(axis="x", labelbottom=False)
        titles(
            figure,
            f"Alerts that would have come, {_day(first)} to {_day(last)}",
            "Judged at the end of each day with what was known then. Shaded: when what they warn of came true.",
        )
        left_out = [
            f"{count} more {what}"
            for count, what in (
                (len(prices) - MOST_LINES, "prices"),
                (len(volumes) - 1, "volumes"),
                (len(rows) - MOST_ROWS, "alerts"),
            )
            if count > 0
        ]
        not_drawn = f" Not drawn: {', '.join(left_out)}." if left_out else ""
        foot(
            figure,
            f"Prices and volumes as known now, each at the middle of its month.{not_drawn}",
        )
    return out.getvalue()


def replay_alt_text(rows: Sequence[ReplayRow], *, first: date, last: date) -> str:
    """The picture in words: each alert and when it stood."""
    lines = [
        f"{row.title}: "
        + "; ".join(
            f"{'critical' if critical else 'warning'} from {_day(start.date())} to {_day(end.date())}"
            for start, end, critical in row.stood
        )
        for row in rows
    ]
    told = ". ".join(lines) or "none"
    return f"Alerts that would have come, {_day(first)} to {_day(last)}. {told}."


def _draw_prices(axes: "Axes", lines: Sequence[ReplayLine], first: date, last: date) -> None:
    labels = []
    seen: list[float] = []
    is_short = (last - first).days <= _MARKED_DAYS
    for line, colour, mark in zip(lines, _COLOURS, _MARKS, strict=False):
        shown = _within(line.points, first, last)
        if not shown:
            continue
        start = shown[0][1]
        middles = day_numbers(_middle(day) for day, _ in shown)
        values = [100 * value / start for _, value in shown]
        axes.plot(middles, values, color=colour, lw=2.4, marker=mark, ms=5 if is_short else 0)
        for begins, ends in line.events:
            inside = [
                (at, value)
                for at, value, (day, _) in zip(middles, values, shown, strict=True)
                if begins <= day <= ends
            ]
            # A halo on the line itself: shading the whole panel would not say which price it was.
            axes.plot(
                [at for at, _ in inside],
                [value for _, value in inside],
                color=colour,
                alpha=0.25,
                lw=14,
                solid_capstyle="round",
            )
        newest = f"{number(shown[-1][1])} {line.unit}"
        # Four names of two lines would be higher than the panel.
        name = f"{line.title}\n{newest}" if len(lines) < MOST_LINES else line.title
        labels.append((values[-1], name, colour, False))
        seen += values
    if not seen:
        return
    limits(axes, seen)
    unit_above(axes, "Prices, first month shown = 100")
    labels_at_right(axes, labels)


def _draw_volumes(axes: "Axes", line: ReplayLine, first: date, last: date) -> None:
    shown = _within(line.points, first, last)
    limits_shown = _within(line.limits, first, last)
    fallen = {day for day, _ in shown if any(start <= day <= end for start, end in line.events)}
    for day, value in shown:
        axes.bar(
            day_number(_middle(day)),
            value,
            width=24,
            color=ORANGE if day in fallen else GRID,
            edgecolor=ORANGE if day in fallen else MUTED,
            hatch="//" if day in fallen else None,
            lw=1,
            alpha=0.75 if day in fallen else 1.0,
        )
    for day, level in limits_shown:
        at = day_number(_middle(day))
        axes.plot([at - 14, at + 14], [level, level], color=INK, lw=2.4)
    limits(axes, [0.0, *(value for _, value in shown), *(level for _, level in limits_shown)])
    unit_above(axes, f"{line.title}, {rate(line.unit)}")
    labels = []
    if limits_shown:
        labels.append((limits_shown[-1][1], "limit of the month", INK, False))
    if fallen:
        labels.append((min(v for d, v in shown if d in fallen), "below it", ORANGE, False))
    if labels:
        labels_at_right(axes, labels)


def _draw_rows(axes: "Axes", rows: Sequence[ReplayRow], first: date, last: date) -> None:
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_yticks([])
    axes.grid(visible=False)
    labels = []
    for place, row in enumerate(reversed(rows)):
        axes.axhline(place, color=GRID, lw=1.2, zorder=1)
        for start, end, critical in row.stood:
            begins = max(_instant_number(start), day_number(first))
            ends = min(_instant_number(end), day_number(last) + 1)
            axes.barh(
                place,
                max(ends - begins, 1.0),
                left=begins,
                height=0.66,
                color=ORANGE if critical else BLUE,
                edgecolor="white",
                hatch="//" if critical else None,
                zorder=2,
            )
        labels.append(
            axes.text(
                1.015,
                place,
                row.title,
                transform=axes.get_yaxis_transform(),
                fontsize=_ROW_FONT,
                color=INK,
                va="center",
            )
        )
    # The longest name decides for all of them, and the room between two rows.
    extents = [label.get_window_extent() for label in labels]
    fits = min((0.98 * SIZE[0] * DPI - one.x0) / one.width for one in extents)
    row_height = axes.get_window_extent().height / len(rows)
    fits = min(fits, 0.9 * row_height / max(one.height for one in extents))
    for label in labels:
        label.set_fontsize(_ROW_FONT * min(1.0, fits))
    unit_above(axes, "Alerts: plain warning, hatched critical")


def _within(
    points: Sequence[tuple[date, float]], first: date, last: date
) -> list[tuple[date, float]]:
    return [(day, value) for day, value in points if first.replace(day=1) <= day <= last]


def _middle(period: date) -> date:
    return period.replace(day=15)


def _instant_number(moment: datetime) -> float:
    return day_number(moment.date()) + (moment.hour * 60 + moment.minute) / 1440


def _day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"
