"""Rows before and after they are judged: what a source read, what is kept, what was turned away."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, Protocol

import numpy as np
import pandas as pd


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as a source read it: text that nobody has judged yet, and the place it came from.

    `value` and `unit` are what the publisher says; a unit that is not the series' own is converted at
    the door by a named rule (flows.units), and what was written stays beside the result. A source that
    had to compute first (a difference, a sum) puts what the publisher wrote into `raw_value` and
    `raw_unit`. A publisher that does not date its figures leaves `published_on` empty: the series'
    usual lag then says when a figure became known. A source that can't read a row says why in `fault`.
    """

    file: str  # file or call name, without secrets
    row: int  # the header is row 1; replies count from 1
    raw: str
    series: str = ""
    period: str = ""  # YYYY, YYYY-MM or YYYY-MM-DD
    value: str = ""
    unit: str = ""
    statistic: str = ""
    published_on: str = ""  # YYYY-MM-DD: known from 12:00 UTC of that day; empty: the usual lag
    source_id: str = ""
    confidence: str = ""
    note: str = ""
    raw_value: str = ""
    raw_unit: str = ""
    known_at: datetime | None = None  # aware UTC; takes the place of `published_on`
    low: str = ""  # where the publisher gives a range: low <= value <= high is checked
    high: str = ""
    field: str = ""  # the column or path that the value stood in, where a row has several
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """A validated value of one period of one series, with where and when it was said."""

    series: str
    period: date  # first day of what is measured
    value: float  # in `unit`
    unit: str
    known_at: datetime  # aware UTC: when the publisher made this value known
    source_id: str
    confidence: str  # high | medium | low | background | derived
    statistic: str
    raw_value: str
    raw_unit: str
    note: str = ""
    is_dated: bool = True  # False: `known_at` follows from the series' usual lag


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was turned away: where it stands, what it said, which field is wrong and why."""

    source: str
    file: str
    row: int
    raw: str
    reason: str


@dataclass(frozen=True, slots=True)
class Gaps:
    """Periods that the calendar has between the first and the newest row of a series, and the batch has not."""

    series: str
    first: date
    last: date
    expected: int  # periods of the calendar: days Monday to Friday, months or years
    present: int
    missing: tuple[date, ...]  # the first of those that are not there

    def __str__(self) -> str:
        listed = ", ".join(str(when) for when in self.missing)
        more = self.expected - self.present - len(self.missing)
        listed += f" and {more} more" if more else ""
        return f"{self.series}: {self.present} of {self.expected} periods; missing {listed}"


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one source delivered after every row was judged."""

    source: str
    table: pd.DataFrame  # one row an observation, columns as in Observation
    rejected: tuple[RejectedRow, ...]
    gaps: tuple[Gaps, ...] = ()

    @property
    def observations(self) -> tuple[Observation, ...]:
        """The rows of the table one by one, for those who want few of them."""
        return _one_by_one(self.table)

    def newest(self, known_at: datetime) -> Observation | None:
        """The observation of the newest period that was known at a moment."""
        known = self.table[self.table["known_at"] <= known_at]
        return None if known.empty else _one_by_one(known.loc[[known["period"].idxmax()]])[0]

    def age_days(self, known_at: datetime, now: datetime) -> int | None:
        """Days at `now` since anything in it became known, of what was known at `known_at`."""
        known = self.table.loc[self.table["known_at"] <= known_at, "known_at"]
        return None if known.empty else max(0, int((pd.Timestamp(now) - known.max()).days))

    @property
    def read(self) -> int:
        return len(self.table) + len(self.rejected)


def _one_by_one(table: pd.DataFrame) -> tuple[Observation, ...]:
    rows: Iterable[Any] = table[list(_OBSERVATION_FIELDS)].itertuples(index=False, name=None)
    return tuple(
        Observation(series, period.date(), value, unit, known_at.to_pydatetime(), *rest)
        for series, period, value, unit, known_at, *rest in rows
    )


class SeriesSpec(Protocol):
    """What a row of a series must agree with; the catalogue's entries have it."""

    @property
    def unit(self) -> str: ...
    @property
    def frequency(self) -> str: ...
    @property
    def allows_zero(self) -> bool: ...
    @property
    def max_step_ratio(self) -> float | None: ...
    @property
    def lag_days(self) -> int: ...
    @property
    def january_with_february(self) -> bool: ...
    @property
    def flat_days(self) -> int: ...
    @property
    def vat_rebated(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a series that a batch is about."""

    unit: str
    first: date
    last: date
    is_whole: bool  # the batch has every period of the calendar from the first to the last
    before: int  # how many periods before the first are wanted


class Stored(Protocol):
    """What is kept already: lets a batch be compared with what stands around and between its rows."""

    def __call__(self, spans: Mapping[str, Span]) -> Mapping[str, Sequence[tuple[date, float]]]:
        """Kept values by series, in their unit, oldest first.

        So many periods before the first one, the first one itself, the next one after the last, and those
        in between unless the batch has them all.
        """
        ...


_RAW_FIELDS = tuple(fields(RawRow))
_OBSERVATION_FIELDS = tuple(part.name for part in fields(Observation))


def raw_table(rows: Iterable[RawRow] | pd.DataFrame) -> pd.DataFrame:
    """Raw rows as one table with a column for each field of RawRow, numbered from 0.

    A table may leave out columns that nothing is known of: they get the field's default.
    """
    if isinstance(rows, pd.DataFrame):
        table = rows.reset_index(drop=True)
        for part in _RAW_FIELDS:
            if part.name not in table:
                table[part.name] = _default(part.name, len(table))
        return table
    listed = list(rows)
    return pd.DataFrame(
        {part.name: _column([getattr(row, part.name) for row in listed]) for part in _RAW_FIELDS}
    )


def _default(name: str, count: int) -> "pd.Series[Any]":
    if name == "known_at":
        return _column([None] * count)
    codes = np.zeros(count, dtype=np.intp)
    return pd.Series(pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype([""])))


def _column(values: list[Any]) -> "pd.Series[Any]":
    # As objects: pandas must not turn instants into its own type, nor an empty list into floats.
    return pd.Series(values, dtype=object)


def observation_table(rows: Iterable[Observation] | pd.DataFrame) -> pd.DataFrame:
    """Observations as one table: `period` datetime64[s], `known_at` datetime64[us, UTC].

    Raises ValueError for an instant without time zone.
    """
    if isinstance(rows, pd.DataFrame):
        return rows
    listed = list(rows)
    for row in listed:
        if row.known_at.tzinfo is None:
            message = f"{row.known_at!r} has no time zone: instants are stored in UTC"
            raise ValueError(message)
    columns = {name: [getattr(row, name) for row in listed] for name in _OBSERVATION_FIELDS}
    table = pd.DataFrame({name: _column(values) for name, values in columns.items()})
    table["series"] = table["series"].astype("category")
    table["period"] = pd.to_datetime(table["period"]).astype("datetime64[s]")
    table["known_at"] = pd.to_datetime(table["known_at"], utc=True).astype("datetime64[us, UTC]")
    table["value"] = table["value"].astype(float)
    table["is_dated"] = table["is_dated"].astype(bool)
    return table
