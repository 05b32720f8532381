"""What all pictures share: size, colours, axes, labels beside their lines, title and foot; PNG or SVG out."""

import io
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Format = Literal["png", "svg"]

# Okabe and Ito's palette: told apart by colour-blind readers; text is darker than its area.
INK = "#1f2933"
MUTED = "#5b6770"
GRID = "#e3e7ea"
BLUE = "#0072b2"
ORANGE = "#d55e00"
GREEN = "#00795c"
DPI = 100
SIZE = (12.0, 6.75)  # inches: 1200 x 675 px
_LEAST_SUBTITLE = 13.5


@contextmanager
def picture(format: Format = "png") -> "Iterator[tuple[Figure, io.BytesIO]]":
    """A blank figure; its bytes are in the buffer when the block ends. No global state of matplotlib is used.

    Equal figures give equal bytes in both formats. Raises ValueError for any other.
    """
    if format not in ("png", "svg"):
        message = f"a picture can't be made as {format!r}; allowed are png and svg"
        raise ValueError(message)
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    out = io.BytesIO()
    style: dict[Any, Any] = {
        "font.family": "DejaVu Sans",
        "hatch.linewidth": 2.0,
        # Letters as outlines: a reader's machine may lack the font, and labels would run into each other.
        "svg.fonttype": "path",
        # Ids inside an SVG are random without it.
        "svg.hashsalt": "lodestone",
    }
    # A reader's own matplotlibrc must not change what teams see.
    with mpl.rc_context({**mpl.rcParamsDefault, **style}):
        figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
        canvas: Any = FigureCanvasAgg(figure)
        yield figure, out
        if format == "svg":
            # No date and no version of a library inside.
            figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "Lodestone"})
            return
        canvas.draw()
        # 96 colours draw these pictures as well as 16 million, in a third of the bytes; and no version
        # of a library inside, so that equal forecasts give equal bytes.
        drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        drawn.quantize(96).save(out, format="PNG", optimize=True)


def dress(axes: "Axes") -> None:
    """A quiet frame: horizontal guides, and ticks that don't shout."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.grid(axis="y", color=GRID, lw=1.2)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=15, colors=MUTED, length=0, pad=7)
    axes.tick_params(axis="x", length=5)


def limits(axes: "Axes", values: Sequence[float]) -> None:
    """Room around the values; from zero when that costs little of the picture."""
    low, high = min(values), max(values)
    room = 0.08 * (high - low or abs(high) or 1.0)
    bottom = 0.0 if 0 <= low <= 0.45 * high else low - room
    axes.set_ylim(bottom, high + room)
    axes.yaxis.set_major_formatter(numbers_to(high + room))
    axes.locator_params(axis="y", nbins=6)


def dates(axes: "Axes") -> None:
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
    axes.set_xticks([day_number(tick) for tick in ticks])
    axes.set_xticklabels([f"{tick:%Y}" if step >= 12 else f"{tick:%b %Y}" for tick in ticks])


def labels_at_right(axes: "Axes", labels: Sequence[tuple[float, str, str, bool]]) -> None:
    """Names beside the ends of their lines, pushed apart where they would overlap.

    Each has up to two lines; one only when all of them would be higher than the picture.
    """
    low, high = axes.get_ylim()
    height = axes.get_position().height * SIZE[1] * 72
    ordered = sorted(labels, key=lambda label: label[0])
    texts = [_wrapped(text, is_bold) for _, text, _, is_bold in ordered]
    needs = [_height(text) / height for text in texts]
    if sum(needs) - (needs[0] + needs[-1]) / 2 > 1:
        texts = [_wrapped(text, is_bold, lines=1) for _, text, _, is_bold in ordered]
        needs = [_height(text) / height for text in texts]
    places = [max(0.0, min(1.0, (value - low) / (high - low))) for value, *_ in ordered]
    for _ in range(60):
        # Neighbours that overlap give way equally, so that a pile stays centred on its lines.
        for at in range(1, len(places)):
            overlap = (needs[at - 1] + needs[at]) / 2 - (places[at] - places[at - 1])
            if overlap > 0:
                places[at - 1] -= overlap / 2
                places[at] += overlap / 2
        # A pile at an edge grows into the picture, not into the title or the foot.
        places[0], places[-1] = max(0.0, places[0]), min(1.0, places[-1])
    for place, text, (_, _, colour, is_bold) in zip(places, texts, ordered, strict=True):
        label = axes.text(
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
        # Letters differ in width: what would still leave the picture becomes smaller.
        extent = label.get_window_extent()
        room = 0.995 * SIZE[0] * DPI - extent.x0
        label.set_fontsize(15.5 * min(1.0, room / extent.width))


def _height(text: str) -> float:
    """Points that a name beside a line takes, with some air."""
    return 22.0 + 19.0 * text.count("\n")


def _wrapped(text: str, is_bold: bool, lines: int = 2) -> str:
    """At most so many lines that fit beside the picture; the rest of a long name is cut."""
    width = 18 if is_bold else 20
    parts = [part for line in text.split("\n") for part in textwrap.wrap(line, width)]
    if len(parts) <= lines:
        return "\n".join(parts)
    if lines == 1:
        return f"{' '.join(text.split())[: width - 1].rstrip()}…"
    return f"{parts[0]}\n{parts[1][: width - 1]}…"


def unit_above(axes: "Axes", text: str) -> None:
    """The unit of an axis, above its upper end."""
    axes.text(
        0, 1.03, text, transform=axes.transAxes, fontsize=15, color=MUTED, va="bottom", ha="left"
    )


def titles(figure: "Figure", title: str, subtitle: str) -> None:
    """A bold title and a line below it, each as large as fits; a long line is broken into two."""
    figure.text(
        0.025, 0.955, title, fontsize=fitting(title, 25), fontweight="bold", color=INK, va="top"
    )
    size = fitting(subtitle, 16.5)
    if size < _LEAST_SUBTITLE:
        half = textwrap.wrap(subtitle, max(90, len(subtitle) // 2 + 10))
        subtitle = "\n".join(half)
        size = min(fitting(line, _LEAST_SUBTITLE) for line in half)
    figure.text(0.025, 0.88, subtitle, fontsize=size, color=MUTED, va="top", linespacing=1.15)


def fitting(text: str, size: float) -> float:
    """Font size at which a line stays inside the picture: a letter is about 0.62 of its size wide."""
    return min(size, 0.95 * SIZE[0] * 72 / (0.62 * max(len(text), 1)))


def foot(figure: "Figure", text: str) -> None:
    """One or two lines below the picture, signed."""
    size = min(fitting(line, 13.5) for line in f"{text} Lodestone".split("\n"))
    figure.text(
        0.025, 0.022, f"{text} Lodestone", fontsize=size, color=MUTED, va="bottom", linespacing=1.25
    )


def day_number(period: date) -> float:
    """Days since 1970, the number that matplotlib's date axes count."""
    return float(period.toordinal() - date(1970, 1, 1).toordinal())


def day_numbers(periods: Iterable[date]) -> Any:
    """Days since 1970 of each period."""
    return np.asarray([day_number(period) for period in periods])


def number(value: float) -> str:
    """A number as short as it can be read: 3.02 M (million), 2,629, 252.5 or 0.31."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.2f} M"
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def numbers_to(most: float) -> Callable[[float, Any], str]:
    """What writes the numbers of an axis that ends at `most`: all of them in one way, with a real minus."""

    def written(value: float, _: Any) -> str:
        text = f"{value / 1e6:g} M" if most >= 1e6 and value else number(value)
        return text.replace("-", "−")

    return written


def rate(unit: str, frequency: str = "month") -> str:
    """A unit over time, in words: tonnes a month."""
    return f"{unit_words(unit)} a {frequency}"


def unit_words(unit: str) -> str:
    """A unit as it is said: "t NdFeB" is tonnes of NdFeB."""
    first, _, of = unit.partition(" ")
    if first != "t":
        return unit
    return f"tonnes of {of}" if of else "tonnes"


def period_words(period: date, frequency: str) -> str:
    """A period as it is said: 2024, or May 2025."""
    return f"{period:%Y}" if frequency == "year" else f"{period:%b %Y}"


def instant(moment: datetime) -> str:
    """The day of a moment, as it is said: 21 Jun 2025."""
    return f"{moment.day} {moment:%b %Y}"
