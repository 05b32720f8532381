"""Observations as vintages: what was said stays, a revision is one more row, reading is as known at."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    DateTime,
    func,
    insert,
    select,
    type_coerce,
    update,
)

from flows.storage.bulk import append
from flows.storage.database import Database
from flows.storage.tables import UtcDateTime, ingest_run, observation, quarantine
from flows.validation import Observation, RejectedRow, observation_table
from forecasting.results import ObservedPoint

ROWS_AT_ONCE = 50_000
"""How many rows are placed and written together: bounds the memory, not the transaction."""

NAMES_AT_ONCE = 500
"""How many names one query may ask for: databases limit the number of parameters."""

# How far after its own day a correction that nobody announced may be placed (see _correction).
_INSTANT = timedelta(microseconds=1)
_CORRECTIONS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a batch of valid rows; the three add up to the rows given."""

    new: int = 0  # first value of its period
    revised: int = 0  # another value for a period already known
    unchanged: int = 0  # the value that was known already

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.new + other.new, self.revised + other.revised, self.unchanged + other.unchanged
        )


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """A refused row as kept: first and last seen, where it stood, why it was refused."""

    source: str
    file: str
    row: int
    raw: str
    reason: str
    at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class IngestRun:
    """One reading of one source: read = new + revised + unchanged + quarantined."""

    source: str
    at: datetime
    read: int
    new: int
    revised: int
    unchanged: int
    quarantined: int
    newest_period: date | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """What is stored of one series."""

    series: str
    periods: int
    vintages: int
    first: date
    newest: date


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One period of a series as known at a moment, with all that was written beside it."""

    period: date
    value: float
    unit: str
    known_at: datetime
    is_dated: bool  # False: `known_at` follows from the series' usual lag
    series: str
    source_id: str
    confidence: str
    statistic: str
    raw_value: str
    raw_unit: str
    note: str
    fetched_at: datetime

    @property
    def was_converted(self) -> bool:
        return self.raw_unit != self.unit


@dataclass(frozen=True, slots=True, order=True)
class Newest:
    """The newest period of a series and since when its value stands."""

    period: date
    known_at: datetime
    value: float


class ObservationStore:
    """Adds vintages and reads them as known at a moment; never overwrites or deletes one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(
        self,
        source: str,
        rows: pd.DataFrame | Iterable[Observation],
        rejected: Sequence[RejectedRow],
        *,
        fetched_at: datetime,
        newest_period: date | None = None,
        error: str = "",
    ) -> IngestRun:
        """Store one reading of one source in one transaction: all of it or nothing.

        What is news among the rows, what was refused and why, and the account of both.
        """
        table = observation_table(rows)
        with self._database.writing("observations") as connection:
            counts = _add(connection, table, fetched_at)
            _quarantine(connection, rejected, fetched_at)
            run = IngestRun(
                source=source,
                at=fetched_at,
                read=len(table) + len(rejected),
                new=counts.new,
                revised=counts.revised,
                unchanged=counts.unchanged,
                quarantined=len(rejected),
                newest_period=newest_period,
                error=error,
            )
            _record(connection, run)
        return run

    def add(self, rows: pd.DataFrame | Iterable[Observation], fetched_at: datetime) -> Counts:
        """Store what is news, in one transaction; the same rows a second time write nothing.

        A row whose publisher dates it is the vintage of that instant. A different value that claims an
        instant already taken is a correction nobody announced: it becomes known at `fetched_at`. A row
        without a date is news only if its value is not the one known at `fetched_at`.
        """
        table = observation_table(rows)
        with self._database.writing("observations") as connection:
            return _add(connection, table, fetched_at)

    def history(self, series: str, known_at: datetime) -> pd.DataFrame:
        """One row a period, ordered: the latest vintage known at that moment, straight from one query.

        Columns: period (datetime64[s]), value (in the series' unit), known_at (datetime64[us, UTC]: since
        when this value stands), source_id, confidence.
        """
        return self._read(series, known_at, _HISTORY)

    def audit(self, series: str, known_at: datetime) -> tuple[AuditRow, ...]:
        """The history with all that was written beside each value."""
        rows: Iterable[Any] = self._read(series, known_at, _AUDIT).itertuples(index=False)
        return tuple(
            AuditRow(
                period=row.period.date(),
                value=row.value,
                unit=row.unit,
                known_at=row.known_at.to_pydatetime(),
                is_dated=row.is_dated,
                series=series,
                source_id=row.source_id,
                confidence=row.confidence,
                statistic=row.statistic,
                raw_value=row.raw_value,
                raw_unit=row.raw_unit,
                note=row.note,
                fetched_at=row.fetched_at.to_pydatetime(),
            )
            for row in rows
        )

    def _read(self, series: str, known_at: datetime, names: Sequence[str]) -> pd.DataFrame:
        found = observation.c
        query = (
            select(*(_plain(found[name]) for name in names))
            .where(found.series == series, found.known_at <= known_at)
            .order_by(found.period, found.known_at)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        table = pd.DataFrame(rows, columns=list(names))
        table["period"] = _days(table["period"])
        for name in {"known_at", "fetched_at"}.intersection(names):
            table[name] = _instants(table[name])
        # A later edition that repeats a value is no news of it: it stands since it was first said.
        is_same = table["period"].eq(table["period"].shift()) & table["value"].eq(
            table["value"].shift()
        )
        table["known_at"] = table["known_at"].where(~is_same).ffill()
        # Later vintages come later, so the last one of each period stays.
        return table.drop_duplicates("period", keep="last", ignore_index=True)

    def points(self, series: str, known_at: datetime) -> tuple[ObservedPoint, ...]:
        """The history as plain values, for rules and models."""
        rows: Iterable[Any] = self.history(series, known_at).itertuples(index=False)
        return tuple(
            ObservedPoint(
                row.period.date(),
                row.value,
                row.known_at.to_pydatetime(),
                row.source_id,
                row.confidence,
            )
            for row in rows
        )

    def last(self, series: str, until: date, count: int) -> tuple[tuple[date, float], ...]:
        """The last `count` periods up to and with a day, oldest first, as known now."""
        found = observation.c
        newest = (
            select(found.period)
            .distinct()
            .where(found.series == series, found.period <= until)
            .order_by(found.period.desc())
            .limit(count)
        )
        query = (
            select(found.period, found.value)
            .where(found.series == series, found.period.in_(newest))
            .order_by(found.period, found.known_at)
        )
        with self._database.reading() as connection:
            latest = {row.period: row.value for row in connection.execute(query)}
        return tuple(latest.items())

    def newest(self, known_at: datetime) -> dict[str, Newest]:
        """The newest period of each series as known at a moment, and since when its value stands."""
        found = observation.c
        latest = (
            select(found.series, func.max(found.period).label("period"))
            .where(found.known_at <= known_at)
            .group_by(found.series)
            .subquery()
        )
        query = (
            select(found.series, found.period, found.known_at, found.value)
            .join(latest, (found.series == latest.c.series) & (found.period == latest.c.period))
            .where(found.known_at <= known_at)
            .order_by(found.series, found.known_at)
        )
        newest: dict[str, Newest] = {}
        with self._database.reading() as connection:
            for row in connection.execute(query):
                before = newest.get(row.series)
                # A later edition that repeats a value is no news of it.
                if before is None or before.value != row.value:
                    newest[row.series] = Newest(row.period, row.known_at, row.value)
        return newest

    def summary(self, known_at: datetime) -> tuple[StoredSeries, ...]:
        """What was known of each series at a moment: periods, vintages, first and newest; by name."""
        found = observation.c
        query = (
            select(
                found.series,
                func.count(found.period.distinct()).label("periods"),
                func.count().label("vintages"),
                func.min(found.period).label("first"),
                func.max(found.period).label("newest"),
            )
            .where(found.known_at <= known_at)
            .group_by(found.series)
            .order_by(found.series)
        )
        with self._database.reading() as connection:
            return tuple(
                StoredSeries(row.series, row.periods, row.vintages, row.first, row.newest)
                for row in connection.execute(query)
            )

    def vintages(self, series: str, period: date) -> tuple[tuple[datetime, float], ...]:
        """Everything ever said about one period, oldest first."""
        found = observation.c
        query = (
            select(found.known_at, found.value)
            .where(found.series == series, found.period == period)
            .order_by(found.known_at)
        )
        with self._database.reading() as connection:
            return tuple((row.known_at, row.value) for row in connection.execute(query))

    def quarantine(self, rows: Sequence[RejectedRow], at: datetime) -> int:
        """Keep refused rows with the reason; a row refused before is only seen again. Returns new ones."""
        with self._database.writing("observations") as connection:
            return _quarantine(connection, rows, at)

    def quarantined(
        self, source: str | None = None, limit: int = 100
    ) -> tuple[QuarantinedRow, ...]:
        """Refused rows, last seen first."""
        found = quarantine.c
        query = select(quarantine).order_by(found.last_at.desc(), found.id.desc()).limit(limit)
        if source is not None:
            query = query.where(found.source == source)
        with self._database.reading() as connection:
            return tuple(
                QuarantinedRow(
                    row.source, row.file, row.row_number, row.raw, row.reason, row.at, row.last_at
                )
                for row in connection.execute(query)
            )

    def count_quarantined(self, source: str | None = None) -> int:
        """How many refused rows are kept, of one source or of all."""
        query = select(func.count()).select_from(quarantine)
        if source is not None:
            query = query.where(quarantine.c.source == source)
        with self._database.reading() as connection:
            return connection.scalars(query).one()

    def ingests(self, source: str | None = None, limit: int = 20) -> tuple[IngestRun, ...]:
        """Readings of one source or of all, newest first."""
        found = ingest_run.c
        query = select(ingest_run).order_by(found.at.desc(), found.id.desc()).limit(limit)
        if source is not None:
            query = query.where(found.source == source)
        with self._database.reading() as connection:
            return tuple(
                IngestRun(
                    row.source,
                    row.at,
                    row.read_rows,
                    row.new_rows,
                    row.revised_rows,
                    row.unchanged_rows,
                    row.quarantined_rows,
                    row.newest_period,
                    row.error,
                )
                for row in connection.execute(query)
            )


_HISTORY = ("period", "value", "known_at", "source_id", "confidence")
_AUDIT = (
    *_HISTORY,
    "unit",
    "statistic",
    "raw_value",
    "raw_unit",
    "note",
    "fetched_at",
    "is_dated",
)


def _record(connection: Connection, run: IngestRun) -> None:
    connection.execute(
        insert(ingest_run).values(
            source=run.source,
            at=run.at,
            read_rows=run.read,
            new_rows=run.new,
            revised_rows=run.revised,
            unchanged_rows=run.unchanged,
            quarantined_rows=run.quarantined,
            newest_period=run.newest_period,
            error=run.error,
        )
    )


def _quarantine(connection: Connection, rows: Sequence[RejectedRow], at: datetime) -> int:
    # In parts: a file of a million bad rows must not cost a gigabyte. A row that stands in two parts
    # is found by the second one.
    starts = range(0, len(rows), ROWS_AT_ONCE)
    return sum(_quarantine_part(connection, rows[it : it + ROWS_AT_ONCE], at) for it in starts)


def _quarantine_part(connection: Connection, rows: Sequence[RejectedRow], at: datetime) -> int:
    wanted = {_row_key(row): row for row in rows}
    for keys in _chunks(list(wanted), NAMES_AT_ONCE):
        mine = quarantine.c.row_key.in_(keys)
        known = connection.scalars(select(quarantine.c.row_key).where(mine)).all()
        if known:
            connection.execute(update(quarantine).where(mine).values(last_at=at))
        for key in known:
            del wanted[key]
    if wanted:
        fresh = wanted.values()
        append(
            connection,
            quarantine,
            {
                "row_key": list(wanted),
                "source": [row.source for row in fresh],
                "at": [at] * len(fresh),
                "last_at": [at] * len(fresh),
                "file": [row.file for row in fresh],
                "row_number": [row.row for row in fresh],
                "raw": [row.raw for row in fresh],
                "reason": [row.reason for row in fresh],
            },
        )
    return len(wanted)


# --- placing a batch among what is stored --------------------------------------------


def _add(connection: Connection, table: pd.DataFrame, fetched_at: datetime) -> Counts:
    counts = Counts()
    for part in _parts(table):
        counts += _place_part(connection, part, fetched_at)
    return counts


def _parts(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The table in order of series, period and instant, cut between periods."""
    ordered = table.sort_values(["series", "period", "known_at"], kind="stable", ignore_index=True)
    start = 0
    while start < len(ordered):
        end = min(start + ROWS_AT_ONCE, len(ordered))
        same = (ordered["series"].cat.codes.to_numpy(), ordered["period"].to_numpy())
        while end < len(ordered) and all(it[end] == it[end - 1] for it in same):
            end += 1
        yield ordered.iloc[start:end].reset_index(drop=True)
        start = end


def _place_part(connection: Connection, part: pd.DataFrame, fetched_at: datetime) -> Counts:
    """Write what is news of some periods, all of whose rows are in `part`."""
    stored = _stored(connection, part)
    key, stored_key = _keys(part), _keys(stored)
    # One row of a period meets none or one that is stored: nearly always, and decided all at once.
    single = np.searchsorted(key, key, side="right") - np.searchsorted(key, key) == 1
    at = np.searchsorted(stored_key, key)
    count = np.searchsorted(stored_key, key, side="right") - at
    beside = stored.take(np.minimum(at, len(stored) - 1)) if len(stored) else stored.reindex(at)
    is_equal = (beside["value"].to_numpy() == part["value"].to_numpy()) & (
        beside["unit"].to_numpy(dtype=object) == part["unit"].to_numpy(dtype=object)
    )
    is_dated = part["is_dated"].to_numpy()
    said_at = beside["known_at"]
    is_its_vintage = _naive(said_at) == _naive(part["known_at"])
    is_known = (said_at <= pd.Timestamp(fetched_at)).to_numpy()
    is_new = single & (count == 0)
    is_unchanged = single & (count == 1) & is_equal & np.where(is_dated, is_its_vintage, is_known)
    known_at = part["known_at"].copy()
    is_news = is_new.copy()
    counts = Counts(new=int(is_new.sum()), unchanged=int(is_unchanged.sum()))
    rest = np.flatnonzero(~is_new & ~is_unchanged)
    if len(rest):
        book = _Vintages(stored)
        for place, row in zip(rest.tolist(), part.iloc[rest].itertuples(index=False), strict=True):
            placed, counted = book.place(row, fetched_at)
            counts += counted
            if placed is not None:
                is_news[place] = True
                known_at.iloc[place] = placed
    news = np.flatnonzero(is_news)
    if len(news):
        written = part.iloc[news].assign(known_at=known_at.iloc[news], fetched_at=fetched_at)
        append(connection, observation, {str(name): written[name] for name in written})
    return counts


def _stored(connection: Connection, part: pd.DataFrame) -> pd.DataFrame:
    """What is stored of the periods in `part`: series, period, known_at, value, unit."""
    found = observation.c
    columns = (found.series, found.period, _plain(found.known_at), found.value, found.unit)
    names = [str(name) for name in part["series"].unique()]
    first, last = part["period"].min().date(), part["period"].max().date()
    rows = chain.from_iterable(
        connection.execute(
            select(*columns).where(found.series.in_(some), found.period.between(first, last))
        )
        for some in _chunks(names, NAMES_AT_ONCE)
    )
    table = pd.DataFrame(rows, columns=["series", "period", "known_at", "value", "unit"])
    table["series"] = pd.Categorical(table["series"], categories=part["series"].cat.categories)
    table["period"] = _days(table["period"])
    table["known_at"] = _instants(table["known_at"])
    table["value"] = table["value"].astype(float)
    # A database sorts names by its own collation; here they come in the order of the batch.
    return table.sort_values(["series", "period", "known_at"], kind="stable", ignore_index=True)


def _keys(table: pd.DataFrame) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Series and period as one number, in the order that both tables are in."""
    days = table["period"].to_numpy().astype("datetime64[D]").astype(np.int64)
    return table["series"].cat.codes.to_numpy().astype(np.int64) * 2**32 + days


def _naive(instants: "pd.Series[Any]") -> "np.ndarray[Any, np.dtype[np.datetime64]]":
    # Aware instants become objects in numpy, which are slow to compare.
    return np.asarray(instants.dt.tz_localize(None), dtype="datetime64[us]")


def _plain(column: Column[Any]) -> ColumnElement[Any]:
    """A column as its driver gives it: what turns each instant into UTC is too slow for thousands."""
    is_instant = isinstance(column.type, UtcDateTime)
    return type_coerce(column, DateTime(timezone=True)).label(column.name) if is_instant else column


def _instants(column: "pd.Series[Any]") -> "pd.Series[Any]":
    # Naive ones come from SQLite, which keeps UTC; aware ones from PostgreSQL, in the session's zone.
    return pd.to_datetime(column, utc=True, cache=False).astype("datetime64[us, UTC]")


def _days(column: "pd.Series[Any]") -> "pd.Series[Any]":
    return pd.to_datetime(column, cache=False).astype("datetime64[s]")


_Figure = tuple[float, str]  # value and unit
_Placed = tuple[datetime | None, Counts]  # None: it is stored already


class _Vintages:
    """What is stored of the periods of a batch, kept in step while the batch is placed."""

    def __init__(self, stored: pd.DataFrame) -> None:
        self._said: dict[tuple[str, Any], dict[datetime, _Figure]] = {}
        rows: Iterable[Any] = stored.itertuples(index=False)
        for row in rows:
            said = self._said.setdefault((row.series, row.period), {})
            said[row.known_at.to_pydatetime()] = (row.value, row.unit)

    def place(self, row: Any, fetched_at: datetime) -> _Placed:
        """The instant at which a row's value becomes known, None if it is stored already; and its count."""
        said = self._said.setdefault((row.series, row.period), {})
        figure = (row.value, row.unit)
        own = row.known_at.to_pydatetime()
        if not said:
            said[own] = figure
            return own, Counts(new=1)
        if not row.is_dated:
            if _valid_at(said, fetched_at) == figure:
                return None, Counts(unchanged=1)
            return _said_at(said, figure, fetched_at), Counts(revised=1)
        if own not in said:
            # A vintage of its own, also when it repeats a value: one that arrives later may come between.
            counted = Counts(unchanged=1) if _valid_at(said, own) == figure else Counts(revised=1)
            said[own] = figure
            return own, counted
        if said[own] == figure or _valid_at(said, max(fetched_at, own + _CORRECTIONS)) == figure:
            return None, Counts(unchanged=1)
        return _said_at(said, figure, max(fetched_at, own)), Counts(revised=1)


def _said_at(said: dict[datetime, _Figure], figure: _Figure, instant: datetime) -> datetime:
    while instant in said:  # two corrections in one reading: both are kept, in their order
        instant += _INSTANT
    said[instant] = figure
    return instant


def _valid_at(said: dict[datetime, _Figure], moment: datetime) -> _Figure | None:
    latest = max((known_at for known_at in said if known_at <= moment), default=None)
    return None if latest is None else said[latest]


def _row_key(row: RejectedRow) -> str:
    parts = (row.source, row.file, str(row.row), row.raw, row.reason)
    return hashlib.sha256("\x1f".join(parts).encode(errors="replace")).hexdigest()


def _chunks(keys: list[str], size: int) -> Iterator[list[str]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))
