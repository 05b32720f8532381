"""Observed series made ready for models: one value a period, the last unbroken stretch, a named refusal."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from forecasting.results import ObservedSeries

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

MIN_OBSERVATIONS: Mapping[str, int] = {"day": 60, "week": 26, "month": 12, "year": 6}
MAX_GAP: Mapping[str, int] = {"day": 10, "week": 2, "month": 2, "year": 2}
"""Periods that may be missing in a row; business days allow for the Chinese New Year closure."""

_SMALLEST, _LARGEST = 1e-100, 1e100  # sizes whose squares and ratios are numbers still
# exp() of more than about 709 overflows; prices end long before.
_LOG_LIMIT = 600.0


class CannotForecastError(Exception):
    """A series that no model can speak about; `series` and `reason` say which and why."""

    def __init__(self, series: str, reason: str) -> None:
        super().__init__(f"{series}: {reason}")
        self.series = series
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale that models work on: logarithms when every value seen so far is above zero."""

    is_log: bool
    floor: float  # on the level scale nothing is forecast below this

    def forward(self, values: Floats) -> Floats:
        """Values in their unit, as models see them."""
        return np.log(values) if self.is_log else values.copy()

    def back(self, scaled: Floats) -> Floats:
        """Model values in their unit again."""
        if self.is_log:
            return np.exp(np.clip(scaled, -_LOG_LIMIT, _LOG_LIMIT))
        return np.maximum(scaled, self.floor)


def scale_of(values: Floats) -> Scale:
    """Logarithms for positive values; levels with a floor at zero for non-negative ones; else levels."""
    lowest = float(values.min())
    return Scale(is_log=lowest > 0, floor=0.0 if lowest >= 0 else -math.inf)


@dataclass(frozen=True, slots=True)
class PolicyEvent:
    """A government decision that moves supply, known from the day it was made."""

    on: date
    is_tightening: bool


@dataclass(frozen=True, eq=False)
class History:
    """What models see of one series: regular periods without a hole, oldest first."""

    series: str
    title: str
    unit: str
    frequency: str  # "day" | "week" | "month" | "year"
    periods: tuple[date, ...]
    values: Floats
    vintage: datetime
    note: str  # what was left out or filled, for people; empty when nothing was
    is_filled: Flags = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    events: tuple[PolicyEvent, ...] = ()

    def __post_init__(self) -> None:
        if self.is_filled.size != self.values.size:
            object.__setattr__(self, "is_filled", np.zeros(self.values.size, dtype=np.bool_))
        self.values.setflags(write=False)

    @property
    def observations(self) -> int:
        """Periods that were really observed, without the filled ones."""
        return int(self.values.size - self.is_filled.sum())

    @property
    def scale(self) -> Scale:
        return scale_of(self.values)


@dataclass(frozen=True, eq=False)
class Track:
    """A series on the scale that models work on: regular periods without a hole, oldest first.

    A forecast from an origin (a number of periods seen) may look at the first `origin` values and at
    events up to the last of their periods, and at nothing else.
    """

    values: Floats
    periods: Sequence[date]
    frequency: str
    is_log: bool = True
    events: tuple[PolicyEvent, ...] = ()
    # What models have in common is worked out once an origin: spreads, and what combinations are made of.
    memo: dict[tuple[object, ...], dict[int, Floats]] = field(default_factory=dict, repr=False)


def prepare(observed: ObservedSeries, events: tuple[PolicyEvent, ...] = ()) -> History:
    """Reduce a series to its last unbroken stretch; raises CannotForecastError naming what is missing."""
    frequency = "month" if observed.frequency == "day" else observed.frequency
    if frequency not in ("month", "year"):
        reason = f"frequency {observed.frequency!r}, one of day, month, year expected"
        raise CannotForecastError(observed.series, reason)
    by_index = {
        _index(point.period, frequency): point
        for point in sorted(observed.points, key=lambda point: point.period)
    }
    if not by_index:
        reason = f"0 observations, {MIN_OBSERVATIONS[frequency]} needed"
        raise CannotForecastError(observed.series, reason)
    for index, point in by_index.items():
        if not math.isfinite(point.value):
            reason = (
                f"the value of {_period(index, frequency):%Y-%m} is {point.value}, not a number"
            )
            raise CannotForecastError(observed.series, reason)
    first, last = min(by_index), max(by_index)
    grid = np.full(last - first + 1, np.nan)
    for index, point in by_index.items():
        grid[index - first] = point.value
    start = _last_stretch(grid, MAX_GAP[frequency])
    used = [point for index, point in by_index.items() if index >= first + start]
    return from_grid(
        observed.series,
        tuple(_period(index, frequency) for index in range(first, last + 1)),
        grid,
        frequency,
        title=observed.title,
        unit=observed.unit,
        vintage=max(point.known_at for point in used),
        events=events,
    )


def from_grid(
    series: str,
    periods: Sequence[date],
    values: Floats,
    frequency: str,
    *,
    title: str = "",
    unit: str = "",
    vintage: datetime = datetime(1970, 1, 1, tzinfo=UTC),
    events: tuple[PolicyEvent, ...] = (),
) -> History:
    """History from regular periods whose missing values are NaN; the same refusals as `prepare`."""
    known = np.flatnonzero(~np.isnan(values))
    needed = MIN_OBSERVATIONS[frequency]
    if known.size == 0:
        raise CannotForecastError(series, f"0 observations, {needed} needed")
    if np.isinf(values).any():
        raise CannotForecastError(series, "an infinite value")
    sizes = np.abs(values[known][values[known] != 0])
    if sizes.size and not (sizes.min() >= _SMALLEST and sizes.max() <= _LARGEST):
        worst = sizes.max() if sizes.max() > _LARGEST else sizes.min()
        reason = (
            f"a value of the size {worst:.3g}: choose a unit between {_SMALLEST:g} and {_LARGEST:g}"
        )
        raise CannotForecastError(series, reason)
    values = values[: known[-1] + 1]
    start = _last_stretch(values, MAX_GAP[frequency])
    stretch = values[start:]
    is_filled = np.isnan(stretch)
    count = int(stretch.size - is_filled.sum())
    since = f" since the gap before {periods[start]:%Y-%m}" if start > known[0] else ""
    if count < needed:
        raise CannotForecastError(series, f"{count} observations{since}, {needed} needed")
    notes = []
    if since:
        notes.append(
            f"{int((known < start).sum())} observations before {periods[start]:%Y-%m} left out"
        )
    if is_filled.any():
        notes.append(f"{int(is_filled.sum())} missing {frequency}s filled between neighbours")
    return History(
        series=series,
        title=title or series,
        unit=unit,
        frequency=frequency,
        periods=tuple(periods[start : start + stretch.size]),
        values=_filled(stretch),
        vintage=vintage,
        note="; ".join(notes),
        is_filled=is_filled,
        events=events,
    )


def periods_after(last: date, frequency: str, horizon: int) -> tuple[date, ...]:
    """First days of the `horizon` periods that follow `last`; business days for daily series."""
    if frequency == "day":
        steps = np.busday_offset(np.datetime64(last), np.arange(1, horizon + 1), roll="backward")
        return tuple(steps.astype(object))
    if frequency == "week":
        return tuple(last + timedelta(weeks=step) for step in range(1, horizon + 1))
    start = _index(last, frequency)
    return tuple(_period(start + step, frequency) for step in range(1, horizon + 1))


def _index(period: date, frequency: str) -> int:
    return period.year if frequency == "year" else period.year * 12 + period.month - 1


def _period(index: int, frequency: str) -> date:
    return date(index, 1, 1) if frequency == "year" else date(index // 12, index % 12 + 1, 1)


def _last_stretch(values: Floats, max_gap: int) -> int:
    """Position where the last stretch begins that has no more than `max_gap` holes in a row."""
    known = np.flatnonzero(~np.isnan(values))
    breaks = np.flatnonzero(np.diff(known) > max_gap + 1)
    return int(known[breaks[-1] + 1]) if breaks.size else int(known[0])


def _filled(values: Floats) -> Floats:
    known = ~np.isnan(values)
    positions = np.arange(values.size, dtype=np.float64)
    filled = np.interp(positions, positions[known], values[known])
    # On logarithms where all was above zero up to the value that ends the hole: what comes later must
    # not change what was filled before.
    positive = np.minimum.accumulate(np.where(known, values > 0, True))
    until = int(positive.size if positive.all() else np.argmin(positive))
    early = known[:until]
    if early.any():
        last = int(np.flatnonzero(early)[-1]) + 1
        logs = np.log(values[:last][early[:last]])
        filled[:last] = np.exp(np.interp(positions[:last], positions[:last][early[:last]], logs))
    # Observed values stay bit for bit: exp(log(x)) is not x.
    return np.where(known, values, filled)
