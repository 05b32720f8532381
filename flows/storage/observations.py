"""Observations as vintages: what was said stays, a revision is one more row, reading is as known at."""

import hashlib
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    Select,
    bindparam,
    func,
    insert,
    select,
    type_coerce,
    update,
)

from flows.storage.bulk import append
from flows.storage.database import Database
from flows.storage.tables import UtcDateTime, ingest_run, observation, quarantine, storable
from flows.validation import Observation, RejectedRow, Span, observation_table
from forecasting.results import ObservedPoint

ROWS_AT_ONCE = 50_000
"""How many rows are placed and written together: bounds the memory, not the transaction."""

NAMES_AT_ONCE = 500
"""How many names one query may ask for: databases limit the number of parameters."""

_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_A_DAY = timedelta(days=1)
_INSTANT = timedelta(microseconds=1)
"""What sets two vintages apart that became known at once."""


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

    def together(self, other: "IngestRun") -> "IngestRun":
        """Two readings of one visit as one: a publisher's bundled figures, then its own reply."""
        newest = [it for it in (self.newest_period, other.newest_period) if it is not None]
        return IngestRun(
            self.source,
            max(self.at, other.at),
            self.read + other.read,
            self.new + other.new,
            self.revised + other.revised,
            self.unchanged + other.unchanged,
            self.quarantined + other.quarantined,
            max(newest, default=None),
            "; ".join(part for part in (self.error, other.error) if part),
        )


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
    edition: datetime | None  # the instant under which the publisher dates it; None: it does not
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

    @property
    def known_by(self) -> str:
        """How it is known when the figure came out."""
        if self.edition is not None:
            return "publisher" if self.edition == self.known_at else "correction, when fetched"
        return "usual lag" if self.known_at < self.fetched_at else "when fetched"


@dataclass(frozen=True, slots=True, order=True)
class Newest:
    """The newest period of a series and since when anything of it is known."""

    period: date
    known_at: datetime


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

        What is news among the rows, what was refused and why, and the account of both; the same rows a
        second time add nothing but their account. A row whose publisher dates it is the vintage of that
        instant. A different value that claims an instant already taken is a correction nobody announced:
        it becomes known at `fetched_at`. A row without a date is news only if its value is not the one
        known last.
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
                error=storable(error),
            )
            _record(connection, run)
        return run

    def history(self, series: str, known_at: datetime, *, unit: str = "") -> pd.DataFrame:
        """One row a period, ordered: the latest vintage known at that moment, straight from one query.

        The newest edition speaks, with its last correction. With `unit`, rows kept in another one (the
        catalogue has changed since) are left out. Columns: period (datetime64[s]), value (in the series' unit), known_at (datetime64[us, UTC]: since
        when this value stands), source_id, confidence.
        """
        return self._read(series, known_at, _HISTORY, unit)

    def audit(self, series: str, known_at: datetime) -> tuple[AuditRow, ...]:
        """The history with all that was written beside each value."""
        rows: Iterable[Any] = self._read(series, known_at, _AUDIT).itertuples(index=False)
        return tuple(
            AuditRow(
                period=row.period.date(),
                value=row.value,
                unit=row.unit,
                known_at=row.known_at.to_pydatetime(),
                edition=None if pd.isna(row.edition) else row.edition.to_pydatetime(),
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

    def statements(self, series: str, known_at: datetime, *, unit: str = "") -> pd.DataFrame:
        """All that was said up to a moment, by period and then by rank: the last of each period speaks.

        Columns as in `history`, but `known_at` is when each was said.
        """
        return self._statements(series, known_at, _HISTORY, unit)

    def _statements(
        self, series: str, known_at: datetime, names: Sequence[str], unit: str
    ) -> pd.DataFrame:
        found = observation.c
        query = (
            select(*(_plain(found[name]) for name in names))
            .where(found.series == series, found.known_at <= known_at)
            .order_by(found.period, *_RANK)
        )
        if unit:
            query = query.where(found.unit == unit)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        table = pd.DataFrame(rows, columns=list(names))
        table["period"] = _days(table["period"])
        for name in {"known_at", "fetched_at", "edition"}.intersection(names):
            table[name] = _instants(table[name])
        return table

    def _read(
        self, series: str, known_at: datetime, names: Sequence[str], unit: str = ""
    ) -> pd.DataFrame:
        table = self._statements(series, known_at, names, unit)
        # A later edition that repeats a value is no news of it: it stands since it was first said.
        is_same = table["period"].eq(table["period"].shift()) & table["value"].eq(
            table["value"].shift()
        )
        table["known_at"] = table.groupby((~is_same).cumsum())["known_at"].transform("min")
        # Later vintages come later, so the last one of each period stays.
        return table.drop_duplicates("period", keep="last", ignore_index=True)

    def points(
        self, series: str, known_at: datetime, *, unit: str = ""
    ) -> tuple[ObservedPoint, ...]:
        """The history as plain values, for rules and models."""
        rows: Iterable[Any] = self.history(series, known_at, unit=unit).itertuples(index=False)
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

    def around(self, spans: Mapping[str, Span]) -> dict[str, tuple[tuple[date, float], ...]]:
        """What is kept around and between the rows of a batch, by series (see Stored); as known now."""
        kept = {}
        with self._database.reading() as connection:
            for series, span in spans.items():
                rows = connection.execute(_AROUND[span.is_whole], _bounds(series, span))
                kept[series] = tuple({row.period: row.value for row in rows}.items())
        return kept

    def arrivals(self) -> tuple[tuple[datetime, int], ...]:
        """The instants at which figures became known, oldest first, and how many at each."""
        found = observation.c
        query = (
            select(found.known_at, func.count()).group_by(found.known_at).order_by(found.known_at)
        )
        with self._database.reading() as connection:
            return tuple((row[0], row[1]) for row in connection.execute(query))

    def newest(self, known_at: datetime) -> dict[str, Newest]:
        """The newest period of each series as known at a moment, and since when anything of it is known."""
        found = observation.c
        latest = (
            select(found.series, func.max(found.period).label("period"))
            .where(found.known_at <= known_at)
            .group_by(found.series)
            .subquery()
        )
        # The first vintage counts: a revision of the newest period is no news of a newer one.
        query = (
            select(found.series, found.period, func.min(found.known_at).label("known_at"))
            .join(latest, (found.series == latest.c.series) & (found.period == latest.c.period))
            .group_by(found.series, found.period)
        )
        with self._database.reading() as connection:
            return {
                row.series: Newest(row.period, row.known_at) for row in connection.execute(query)
            }

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

    def quarantined(
        self, source: str | None = None, limit: int = 100
    ) -> tuple[QuarantinedRow, ...]:
        """Refused rows, last seen first."""
        found = quarantine.c
        query = select(quarantine).order_by(found.last_at.desc(), found.id.desc()).limit(limit)
        if source is not None:
            query = query.where(_of_source(source))
        with self._database.reading() as connection:
            return tuple(
                QuarantinedRow(
                    row.source, row.file, row.row_number, row.raw, row.reason, row.at, row.last_at
                )
                for row in connection.execute(query)
            )

    def working_days(self, series: str, known_at: datetime) -> int:
        """How many days from Monday to Friday were known of a daily series at a moment."""
        found = observation.c
        query = (
            select(found.period)
            .distinct()
            .where(found.series == series, found.known_at <= known_at)
        )
        with self._database.reading() as connection:
            days = connection.scalars(query).all()
        return int(np.is_busday(np.array(days, dtype="datetime64[D]")).sum())

    def count_quarantined(self, source: str | None = None) -> int:
        """How many refused rows are kept, of one source or of all."""
        query = select(func.count()).select_from(quarantine)
        if source is not None:
            query = query.where(_of_source(source))
        with self._database.reading() as connection:
            return connection.scalars(query).one()

    def last_visits(self) -> tuple[IngestRun, ...]:
        """The last reading of each source, by name; readings of one instant are one visit."""
        found = ingest_run.c
        last = (
            select(found.source, func.max(found.at).label("at")).group_by(found.source).subquery()
        )
        query = (
            select(ingest_run)
            .join(last, (found.source == last.c.source) & (found.at == last.c.at))
            .order_by(found.source, found.id)
        )
        visits: dict[str, IngestRun] = {}
        with self._database.reading() as connection:
            for run in map(_as_run, connection.execute(query)):
                before = visits.get(run.source)
                visits[run.source] = run if before is None else before.together(run)
        return tuple(visits.values())


def _of_source(name: str) -> ColumnElement[bool]:
    """Rows of one source, or of all whose names begin with this word and a dot."""
    source = quarantine.c.source
    return (source == name) | source.startswith(f"{name}.", autoescape=True)


def _as_run(row: Any) -> IngestRun:
    return IngestRun(
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


# The newest edition speaks, and of one edition what was said last.
_RANK = (func.coalesce(observation.c.edition, observation.c.known_at), observation.c.known_at)

_HISTORY = ("period", "value", "known_at", "source_id", "confidence")
_AUDIT = (
    *_HISTORY,
    "unit",
    "statistic",
    "raw_value",
    "raw_unit",
    "note",
    "fetched_at",
    "edition",
)


def _around(*, is_whole: bool) -> Select[tuple[date, float]]:
    found = observation.c
    series: BindParameter[str] = bindparam("series")
    unit: BindParameter[str] = bindparam("unit")
    first, last = bindparam("first", type_=Date), bindparam("last", type_=Date)
    mine = (found.series == series) & (found.unit == unit)
    before = (
        select(found.period)
        .distinct()
        .where(mine, found.period <= first)
        .order_by(found.period.desc())
        .limit(bindparam("before"))
        .subquery()
    )
    after = select(func.min(found.period)).where(mine, found.period > last).scalar_subquery()
    earliest = select(func.min(before.c.period)).scalar_subquery()
    query = (
        select(found.period, found.value)
        .where(
            mine,
            found.period >= func.coalesce(earliest, first),
            found.period <= func.coalesce(after, last),
        )
        .order_by(found.period, *_RANK)
    )
    if is_whole:  # the batch has all that is in between
        query = query.where((found.period <= first) | (found.period > last))
    return query


_AROUND = {is_whole: _around(is_whole=is_whole) for is_whole in (False, True)}


def _bounds(series: str, span: Span) -> dict[str, Any]:
    return {
        "series": series,
        "unit": span.unit,
        "first": span.first,
        "last": span.last,
        "before": span.before + 1,  # and the first period itself
    }


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
    # In parts: a file of a million bad rows must not cost a gigabyte.
    seen: dict[bytes, int] = {}
    starts = range(0, len(rows), ROWS_AT_ONCE)
    return sum(
        _quarantine_part(connection, rows[it : it + ROWS_AT_ONCE], at, seen) for it in starts
    )


def _quarantine_part(
    connection: Connection, rows: Sequence[RejectedRow], at: datetime, seen: dict[bytes, int]
) -> int:
    wanted = {_row_key(row, seen): row for row in rows}
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
    # Of one period the undated row comes last: it says what is said now.
    ordered = table.sort_values(
        ["series", "period", "is_dated", "known_at"],
        ascending=[True, True, False, True],
        kind="stable",
        ignore_index=True,
    )
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
    is_its_edition = _naive(beside["edition"]) == _naive(part["known_at"])
    is_new = single & (count == 0)
    is_unchanged = single & (count == 1) & is_equal & (~is_dated | is_its_edition)
    is_news = is_new.copy()
    counts = Counts(new=int(is_new.sum()), unchanged=int(is_unchanged.sum()))
    rest = np.flatnonzero(~is_new & ~is_unchanged)
    known_at: dict[int, datetime] = {}
    if len(rest):
        book = _Vintages(stored[np.isin(stored_key, key[rest])])
        rows: Iterable[Any] = part.iloc[rest].itertuples(index=False)
        for place, row in zip(rest.tolist(), rows, strict=True):
            placed, counted = book.place(row, fetched_at)
            counts += counted
            if placed is not None:
                is_news[place] = True
                known_at[place] = placed
    news = np.flatnonzero(is_news)
    if len(news):
        written = part.iloc[news].drop(columns="is_dated")
        written["edition"] = written["known_at"].where(is_dated[news])
        own = written["known_at"]
        is_of_today = (own > fetched_at) & (own < fetched_at + _A_DAY)
        written["known_at"] = own.mask(is_of_today, pd.Timestamp(fetched_at))
        if known_at:
            instants = [
                known_at.get(place, instant)
                for place, instant in zip(news.tolist(), written["known_at"].tolist(), strict=True)
            ]
            written["known_at"] = pd.Series(instants, index=written.index)
        written["fetched_at"] = fetched_at
        append(connection, observation, {str(name): written[name] for name in written})
    return counts


def _stored(connection: Connection, part: pd.DataFrame) -> pd.DataFrame:
    """What is stored of the periods in `part`, in its order: series, period, known_at, edition, value, unit."""
    found = observation.c
    columns = (
        found.series,
        found.period,
        _plain(found.known_at),
        _plain(found.edition),
        found.value,
        found.unit,
    )
    names = [str(name) for name in part["series"].unique()]
    periods = part["period"].drop_duplicates().dt.date.tolist()
    # A few rows of a long history need little of it.
    when = (
        found.period.in_(periods)
        if len(periods) <= NAMES_AT_ONCE
        else found.period.between(min(periods), max(periods))
    )
    rows = chain.from_iterable(
        # All at once: row by row a million of them take seconds longer.
        connection.execute(select(*columns).where(found.series.in_(some), when)).all()
        for some in _chunks(names, NAMES_AT_ONCE)
    )
    table = pd.DataFrame(rows, columns=["series", "period", "known_at", "edition", "value", "unit"])
    table["series"] = pd.Categorical(table["series"], categories=part["series"].cat.categories)
    table["period"] = _days(table["period"])
    table["known_at"] = _instants(table["known_at"])
    table["edition"] = _instants(table["edition"])
    table["value"] = table["value"].astype(float)
    # A database sorts names by its own collation; here they come in the order of the batch.
    return table.sort_values(["series", "period"], kind="stable", ignore_index=True)


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


@dataclass(slots=True)
class _Said:
    """All that was said of one period: figures by edition (or instant) and the instant they became known."""

    ranks: list[tuple[datetime, datetime]] = field(default_factory=list)  # sorted
    figures: dict[tuple[datetime, datetime], _Figure] = field(default_factory=dict)
    instants: set[datetime] = field(default_factory=set)

    def add(self, rank: datetime, known_at: datetime, figure: _Figure) -> datetime:
        """Keep a figure; of two that became known at once the second one comes an instant later."""
        while known_at in self.instants:
            known_at += _INSTANT
        insort(self.ranks, (rank, known_at))
        self.figures[rank, known_at] = figure
        self.instants.add(known_at)
        return known_at

    def before(self, rank: datetime) -> _Figure | None:
        """The figure that stood before an edition came out."""
        at = bisect_left(self.ranks, (rank, _EARLIEST))
        return self.figures[self.ranks[at - 1]] if at else None

    def of_edition(self, rank: datetime) -> tuple[datetime, _Figure] | None:
        """What an edition said last, and when that became known."""
        at = bisect_right(self.ranks, (rank, _LATEST))
        if not at or self.ranks[at - 1][0] != rank:
            return None
        return self.ranks[at - 1][1], self.figures[self.ranks[at - 1]]


class _Vintages:
    """What is stored of the periods of a batch, kept in step while the batch is placed."""

    def __init__(self, stored: pd.DataFrame) -> None:
        self._said: defaultdict[tuple[str, Any], _Said] = defaultdict(_Said)
        rows: Iterable[Any] = stored.itertuples(index=False)
        for row in rows:
            known_at = row.known_at.to_pydatetime()
            rank = known_at if pd.isna(row.edition) else row.edition.to_pydatetime()
            self._said[row.series, row.period].add(rank, known_at, (row.value, row.unit))

    def place(self, row: Any, fetched_at: datetime) -> _Placed:
        """The instant at which a row's value becomes known, None if it is stored already; and its count."""
        said = self._said[row.series, row.period]
        figure = (row.value, row.unit)
        own = row.known_at.to_pydatetime()
        if not said.ranks:
            return said.add(own, _first_known(own, fetched_at), figure), Counts(new=1)
        if not row.is_dated:
            newest = said.ranks[-1]
            if said.figures[newest] == figure:
                return None, Counts(unchanged=1)
            # After all that is there, also when a clock went wrong: it is what is said now.
            known_at = max(fetched_at, *(it + _INSTANT for it in newest))
            return said.add(known_at, known_at, figure), Counts(revised=1)
        stated = said.of_edition(own)
        if stated is None:
            # A vintage of its own, also when it repeats a value: one that arrives later may come between.
            counted = Counts(unchanged=1) if said.before(own) == figure else Counts(revised=1)
            return said.add(own, _first_known(own, fetched_at), figure), counted
        last_known_at, last_figure = stated
        if last_figure == figure:
            return None, Counts(unchanged=1)
        # A correction that nobody announced: known when it was fetched, and of its edition still.
        known_at = max(fetched_at, last_known_at + _INSTANT)
        return said.add(own, known_at, figure), Counts(revised=1)


def _first_known(own: datetime, fetched_at: datetime) -> datetime:
    # What is dated today stands from noon on; we may have it earlier.
    return min(own, fetched_at) if own - fetched_at < _A_DAY else own


def _row_key(row: RejectedRow, seen: dict[bytes, int]) -> str:
    """What makes a refused row the same one when it is read again: its text, the field, and which of them.

    Not its number: in a file that grew at its head it is no other row. Nor the whole reason, which names
    the neighbours of the day. A row with two bad figures is refused twice, and so kept twice.
    """
    field = row.reason.partition(":")[0]
    parts = (row.source, row.file, field, row.raw or f"{row.row} {row.reason}")
    digest = hashlib.sha256("\x1f".join(parts).encode(errors="replace"))
    short = digest.digest()[:12]
    number = seen[short] = seen.get(short, -1) + 1
    digest.update(str(number).encode())
    return digest.hexdigest()


def _chunks(keys: list[str], size: int) -> Iterator[list[str]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))
