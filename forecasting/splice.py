"""One series read from several: the most trusted part that has a period speaks for it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from typing import Protocol, TypeVar

from forecasting.results import ObservedSeries


def splice(
    parts: Sequence[ObservedSeries], *, series: str, title: str, frequency: str
) -> ObservedSeries:
    """`parts` in order of trust; a finer part counts with its last value of each period.

    The running period's latest value stands for the period until it is over.
    """
    chosen = choose([part.points for part in parts], frequency)
    return ObservedSeries(
        series=series,
        title=title,
        unit=parts[0].unit,
        frequency=frequency,
        points=tuple(replace(point, period=period) for period, point in chosen.items()),
    )


class Dated(Protocol):
    """Something that is said of a period."""

    @property
    def period(self) -> date: ...


Item = TypeVar("Item", bound=Dated)


def choose(parts: Sequence[Iterable[Item]], frequency: str) -> dict[date, Item]:
    """What speaks for each period, in order: of parts in order of trust, each ordered by period."""
    chosen = {
        first_day(item.period, frequency): item
        for part in reversed(parts)
        for item in part  # ordered, so the last one of a period stays
    }
    return dict(sorted(chosen.items()))


def first_day(day: date, frequency: str) -> date:
    """First day of the month or year that holds `day`; the day itself for daily series."""
    if frequency == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if frequency == "year" else day
