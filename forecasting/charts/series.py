"""Pictures of one series: its price fan, its volumes beside their limit, and how its forecasts did."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from forecasting.charts.frame import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    dates,
    day_number,
    day_numbers,
    dress,
    foot,
    instant,
    labels_at_right,
    limits,
    number,
    period_words,
    picture,
    rate,
    titles,
    unit_above,
)
from forecasting.results import MEDIAN, QUANTILE_LEVELS, ObservedSeries, Scorecard, SeriesForecast

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN_HISTORY = {"month": 36, "year": 12}
_SHOWN_BARS = 18
# Two years of months, three months of days, thirty years: older bars would only shrink the news.
_SHOWN_DAYS = {"day": 92, "month": 731, "year": 10_958}
_80 = (QUANTILE_LEVELS.index(0.1), QUANTILE_LEVELS.index(0.9))
_50 = (QUANTILE_LEVELS.index(0.25), QUANTILE_LEVELS.index(0.75))


def price_fan(forecast: SeriesForecast, *, levels: Sequence[tuple[str, float]] = ()) -> bytes:
    """PNG of the past, the median ahead and the 50 % and 80 % fan; `levels` are limits in the unit."""
    shown = forecast.history[-_SHOWN_HISTORY.get(forecast.frequency, 36) :]
    ahead = day_numbers((forecast.cutoff, *forecast.periods))
    today = (forecast.last_value,) * len(QUANTILE_LEVELS)
    quantiles = np.asarray((today, *forecast.quantiles))
    with picture() as (figure, out):
        axes = figure.add_axes((0.075, 0.16, 0.715, 0.60))
        dress(axes)
        axes.plot(
            day_numbers(day for day, _ in shown), [value for _, value in shown], color=INK, lw=2.6
        )
        axes.fill_between(
            ahead, quantiles[:, _80[0]], quantiles[:, _80[1]], color=BLUE, alpha=0.18, lw=0
        )
        axes.fill_between(
            ahead, quantiles[:, _50[0]], quantiles[:, _50[1]], color=BLUE, alpha=0.30, lw=0
        )
        axes.plot(ahead, quantiles[:, MEDIAN], color=BLUE, lw=3)
        axes.plot([day_number(forecast.cutoff)], [forecast.last_value], "o", color=INK, ms=8)
        axes.axvline(day_number(forecast.cutoff), color=MUTED, lw=1.2, ls=(0, (2, 3)))
        labels = [
            (
                quantiles[-1, _80[1]],
                f"{number(quantiles[-1, _80[1]])}\n1 in 10 above",
                BLUE,
                False,
            ),
            (quantiles[-1, MEDIAN], f"{number(quantiles[-1, MEDIAN])}  median", BLUE, True),
            (
                quantiles[-1, _80[0]],
                f"{number(quantiles[-1, _80[0]])}\n1 in 10 below",
                BLUE,
                False,
            ),
        ]
        seen = (
            [value for _, value in shown]
            + quantiles[:, _80[0]].tolist()
            + quantiles[:, _80[1]].tolist()
        )
        for name, level in levels:
            axes.axhline(level, color=ORANGE, lw=2, ls=(0, (6, 3)))
            labels.append((level, f"{number(level)}  {name}", ORANGE, False))
            seen.append(level)
        limits(axes, seen)
        axes.set_xlim(day_number(shown[0][0]), ahead[-1])
        dates(axes)
        labels_at_right(axes, labels)
        unit_above(axes, forecast.unit)
        axes.text(
            day_number(forecast.cutoff),
            1.03,
            f"last data: {period_words(forecast.cutoff, forecast.frequency)}",
            transform=axes.get_xaxis_transform(),
            fontsize=15,
            color=MUTED,
            ha="center",
            va="bottom",
        )
        axes.annotate(
            f"last: {number(forecast.last_value)}",
            (day_number(forecast.cutoff), forecast.last_value),
            xytext=(-10, 12),
            textcoords="offset points",
            ha="right",
            fontsize=16,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        )
        steps = len(forecast.periods)
        titles(
            figure,
            f"{forecast.title}: next {steps} {forecast.frequency}s",
            "Dark band: half of the likely outcomes. Light band: 80 % of them.",
        )
        foot(
            figure,
            f"Data through {period_words(forecast.cutoff, forecast.frequency)}, as known on "
            f"{instant(forecast.vintage)}. Model: {_model(forecast.model)}.",
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
    with picture() as (figure, out):
        axes = figure.add_axes((0.085, 0.16, 0.705, 0.60))
        dress(axes)
        for point in points:
            is_weak = point.confidence in ("low", "background")
            axes.bar(
                [day_number(point.period)],
                [point.value],
                width=width,
                color=ORANGE if point.value < limit else BLUE,
                alpha=0.55 if is_weak else 1.0,
                hatch="//" if is_weak else None,
                edgecolor="white",
                lw=0,
            )
        axes.axhline(trailing_mean, color=INK, lw=2)
        axes.axhline(limit, color=ORANGE, lw=2, ls=(0, (6, 3)))
        newest = points[-1]
        for point in points:
            if point is newest or point.value < limit:
                axes.annotate(
                    number(point.value),
                    (day_number(point.period), point.value),
                    xytext=(0, 5),
                    textcoords="offset points",
                    ha="center",
                    fontsize=16,
                    fontweight="bold" if point is newest else "normal",
                    color=ORANGE if point.value < limit else BLUE,
                    bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
                )
        unit_above(axes, rate(observed.unit, observed.frequency))
        axes.set_xlim(day_number(points[0].period) - width, day_number(last) + width)
        axes.set_ylim(0, 1.12 * max([trailing_mean, *(point.value for point in points)]))
        axes.yaxis.set_major_formatter(lambda value, _: number(value))
        dates(axes)
        labels_at_right(
            axes,
            [
                (trailing_mean, f"Mean {number(trailing_mean)}", INK, False),
                (
                    limit,
                    f"Limit {number(limit)}\n({100 * limit_share:.0f} % of mean)",
                    ORANGE,
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
        titles(
            figure,
            observed.title,
            f"{period_words(last, observed.frequency)} was "
            f"{100 * share:.0f} % of the trailing mean."
            + (" Hatched: weak figures." if weak else "")
            + (" Gaps: no figure." if gaps else ""),
        )
        known = max(point.known_at for point in points)
        foot(
            figure,
            f"Data through {period_words(last, observed.frequency)}, as known on {instant(known)}.",
        )
    return out.getvalue()


def score_panels(card: Scorecard, *, newest: int = 8) -> bytes:
    """PNG of what the ranges promised and held, where outcomes fell in them, and the error by cutoff.

    What the speaking model's ranges held over the whole past stands beside what was held at the last `newest`
    cutoffs by those that would have spoken there. The error stands beside the Gaussian walk's; the newest
    cutoffs are shaded. A figure that is not known, and a panel without any, stays empty.
    """
    with picture() as (figure, out):
        held = figure.add_axes((0.08, 0.525, 0.37, 0.245))
        tenths = figure.add_axes((0.56, 0.525, 0.40, 0.245))
        errors = figure.add_axes((0.08, 0.155, 0.71, 0.20))
        for axes in (held, tenths, errors):
            dress(axes)
        _draw_held(held, card, newest)
        _draw_tenths(tenths, card)
        _draw_errors(errors, card, newest)
        steps = f"{card.horizon} {card.frequency}{'' if card.horizon == 1 else 's'}"
        tested = len(card.checks)
        titles(
            figure,
            card.title,
            f"Forecasts {steps} ahead, as they would have been made at {tested} past "
            f"cutoff{'' if tested == 1 else 's'}.",
        )
        foot(
            figure,
            f"As known on {instant(card.vintage)}. Whole past: {_model(card.model)} alone; newest cutoffs: "
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
    unit_above(axes, "outcomes held by the ranges (dash: promised)")
    for place, promised, share, strength, _ in bars:
        if not np.isnan(share):
            axes.bar([place], [share], width=0.7, color=BLUE, alpha=strength, lw=0)
            axes.text(
                place,
                0.04,
                f"{100 * share:.0f} %",
                ha="center",
                fontsize=16,
                color="white" if strength == 1 and share > 0.2 else INK,
                fontweight="bold",
            )
        axes.plot([place - 0.38, place + 0.38], [promised] * 2, color=ORANGE, lw=3.5)


def _draw_tenths(axes: "Axes", card: Scorecard) -> None:
    """Bars of the share of outcomes in each tenth of what was forecast; even is a tenth each."""
    places = np.arange(len(card.pit_share))
    axes.bar(places, card.pit_share, width=0.86, color=BLUE, alpha=0.75, lw=0)
    axes.axhline(0.1, color=ORANGE, lw=3, ls=(0, (6, 3)))
    axes.set_ylim(0, max(0.2, 1.15 * max(card.pit_share, default=0.0)))
    axes.locator_params(axis="y", nbins=4)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlim(-0.6, max(len(card.pit_share), 10) - 0.4)
    axes.set_xticks([0, max(len(card.pit_share), 10) - 1])
    axes.set_xticklabels(["lowest tenth", "highest tenth"])
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    unit_above(axes, "outcomes by tenth of the forecast (dash: even)")


def _draw_errors(axes: "Axes", card: Scorecard, newest: int) -> None:
    """Lines of the error at each cutoff, of what would have spoken and of the Gaussian walk."""
    is_told_apart = len(card.checks) > newest
    unit_above(
        axes, "error (CRPS) by cutoff" + (f", newest {newest} shaded" if is_told_apart else "")
    )
    if not card.checks:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    days = day_numbers(check.cutoff for check in card.checks)
    own = [check.crps for check in card.checks]
    walk = [check.walk_crps for check in card.checks]
    room = float(days[-1] - days[0]) / max(len(days) - 1, 1) / 2 or 15.0
    axes.set_xlim(days[0] - room, days[-1] + room)
    if is_told_apart:
        axes.axvspan(days[-newest] - room, days[-1] + room, color=MUTED, alpha=0.12, lw=0)
    axes.plot(days, walk, "o-", color=MUTED, lw=2, ms=5)
    axes.plot(days, own, "o-", color=BLUE, lw=2.8, ms=6)
    axes.set_ylim(0, 1.12 * max(*own, *walk, 1e-9))
    axes.locator_params(axis="y", nbins=4)
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    dates(axes)
    labels_at_right(
        axes, [(own[-1], "forecasts", BLUE, True), (walk[-1], "“as today”", MUTED, False)]
    )


def _index(period: date) -> int:
    return period.year * 12 + period.month


def _model(name: str) -> str:
    return name.replace("_", " ").capitalize()
