"""When a period ends, and when its figure usually becomes known; for many rows at once."""

from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt

from flows.validation.rows import SeriesSpec

FREQUENCIES = ("day", "month", "year")
NOON = np.timedelta64(12, "h")
"""A figure of a day counts as known from 12:00 UTC of that day on."""

Instants = npt.NDArray[np.datetime64]


def instant64(instant: datetime) -> np.datetime64:
    """An aware instant as numpy's microseconds since 1970, UTC."""
    return np.datetime64(instant.astimezone(UTC).replace(tzinfo=None), "us")


def last_days(periods: Instants, frequency: npt.NDArray[np.int64]) -> Instants:
    """The last day of each period, which begins on the day given; `frequency` indexes FREQUENCIES."""
    months = periods.astype("datetime64[M]")
    ends: Instants = np.select(
        [frequency == 0, frequency == 1],
        [periods, (months + 1).astype("datetime64[D]") - 1],
        # Not the end of the calendar year: a fiscal year begins in another month than January.
        (months + 12).astype("datetime64[D]") - 1,
    )
    return ends


def usually_known(
    periods: Instants,
    frequency: npt.NDArray[np.int64],
    lag_days: npt.NDArray[np.int64],
    january_with_february: npt.NDArray[np.bool_],
) -> Instants:
    """When the figure of each period usually comes out: so many days after the period's last, at noon UTC.

    Where January comes out with February, it counts from the end of February.
    """
    months = periods.astype("datetime64[M]")
    is_january = (frequency == 1) & (months.astype(np.int64) % 12 == 0)
    end = np.where(
        january_with_february & is_january,
        (months + 2).astype("datetime64[D]") - 1,
        last_days(periods, frequency),
    )
    known: Instants = (end + lag_days.astype("timedelta64[D]")).astype("datetime64[us]") + NOON
    return known


def next_expected(newest: date, spec: SeriesSpec) -> datetime:
    """When the figure after the newest one is usually out."""
    day = np.array([newest], dtype="datetime64[D]")
    if spec.frequency == "day":
        following = np.busday_offset(day, 1, roll="backward")
    else:
        months = 1 if spec.frequency == "month" else 12
        following = (day.astype("datetime64[M]") + months).astype("datetime64[D]")
    known = usually_known(
        following,
        np.array([FREQUENCIES.index(spec.frequency)]),
        np.array([spec.lag_days]),
        np.array([spec.january_with_february]),
    )
    instant: datetime = known[0].item()
    return instant.replace(tzinfo=UTC)


def calendar_length(first: date, last: date, frequency: str) -> int:
    """How many periods the calendar has from one to another: Monday to Friday, months or years."""
    if frequency == "day":
        return int(np.busday_count(first, last)) + int(np.is_busday(last))
    months = (last.year - first.year) * 12 + last.month - first.month
    return (months if frequency == "month" else months // 12) + 1
