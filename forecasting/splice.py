"""One series read from several: the most trusted part that has a period speaks for it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from forecasting.results import ObservedPoint, ObservedSeries


def splice(
    parts: Sequence[ObservedSeries], *, series: str, title: str, frequency: str
) -> ObservedSeries:
    """`parts` in order of trust; a finer part counts with its last value of each period.

    The running period's latest value stands for the period until it is over.
    """
    chosen: dict[date, ObservedPoint] = {}
    for part in reversed(parts):
        for point in part.points:  # ordered, so the last value of a period stays
            period = first_day(point.period, frequency)
            chosen[period] = replace(point, period=period)
    return ObservedSeries(
        series=series,
        title=title,
        unit=parts[0].unit,
        frequency=frequency,
        points=tuple(chosen[period] for period in sorted(chosen)),
    )


def first_day(day: date, frequency: str) -> date:
    """First day of the month or year that holds `day`; the day itself for daily series."""
    if frequency == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if frequency == "year" else day
