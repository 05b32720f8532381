"""Observations as vintages: what was said stays, a revision is one more row, reading is as known at."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import Connection, insert, select, update

from flows.storage.database import Database
from flows.storage.tables import ingest_run, observation, quarantine
from flows.validation import Observation
from forecasting.results import ObservedPoint


class Rejected(Protocol):
    """A row that validation turned away, with where it stood and why."""

    @property
    def source(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def row(self) -> int: ...
    @property
    def raw(self) -> str: ...
    @property
    def reason(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a batch of valid rows; the three add up to the rows given."""

    new: int = 0  # first value of its period
    revised: int = 0  # a further vintage of a period already known
    unchanged: int = 0  # said nothing that was not known


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


class ObservationStore:
    """Adds vintages and reads them as known at a moment; never overwrites or deletes one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, rows: Sequence[Observation], fetched_at: datetime) -> Counts:
        """Store what is news, in one transaction; the same rows a second time write nothing.

        A row is unchanged if the value valid at its own known_at is equal. A different value that
        claims a known_at already taken is a silent correction: it becomes known at `fetched_at`.
        """
        if not rows:
            return Counts()
        with self._database.writing("observations") as connection:
            book = _Vintages(connection, rows)
            new = revised = unchanged = 0
            news: list[dict[str, Any]] = []
            for row in sorted(rows, key=lambda r: (r.series, r.period, r.known_at)):
                is_first = book.is_unknown(row)
                known_at = book.place(row, fetched_at)
                if known_at is None:
                    unchanged += 1
                    continue
                news.append(_as_row(row, known_at, fetched_at))
                new, revised = (new + 1, revised) if is_first else (new, revised + 1)
            if news:
                connection.execute(insert(observation), news)
        return Counts(new, revised, unchanged)

    def history(self, series: str, known_at: datetime) -> tuple[ObservedPoint, ...]:
        """One point a period, ordered: the latest vintage known at that moment."""
        found = observation.c
        query = (
            select(found.period, found.value, found.known_at, found.source_id, found.confidence)
            .where(found.series == series, found.known_at <= known_at)
            .order_by(found.period, found.known_at)
        )
        with self._database.reading() as connection:
            # Later vintages come later, so the last one of each period stays.
            latest = {row.period: row for row in connection.execute(query)}
        return tuple(
            ObservedPoint(row.period, row.value, row.known_at, row.source_id, row.confidence)
            for row in latest.values()
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

    def quarantine(self, rows: Sequence[Rejected], at: datetime) -> int:
        """Keep refused rows with the reason; a row refused before is only seen again. Returns new ones."""
        wanted = {_row_key(row): row for row in rows}
        if not wanted:
            return 0
        with self._database.writing("observations") as connection:
            known: set[str] = set()
            for keys in _chunks(list(wanted)):
                mine = quarantine.c.row_key.in_(keys)
                known.update(connection.scalars(select(quarantine.c.row_key).where(mine)))
                connection.execute(update(quarantine).where(mine).values(last_at=at))
            fresh = [
                {
                    "row_key": key,
                    "source": row.source,
                    "at": at,
                    "last_at": at,
                    "file": row.file,
                    "row_number": row.row,
                    "raw": row.raw,
                    "reason": row.reason,
                }
                for key, row in wanted.items()
                if key not in known
            ]
            if fresh:
                connection.execute(insert(quarantine), fresh)
        return len(fresh)

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

    def record_ingest(self, run: IngestRun) -> None:
        """Remember one reading of one source, for the operator's tables."""
        with self._database.writing() as connection:
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


class _Vintages:
    """What is stored of the periods in a batch, kept in step while the batch is placed."""

    def __init__(self, connection: Connection, rows: Sequence[Observation]) -> None:
        self._known: dict[tuple[str, date], dict[datetime, tuple[float, str]]] = {}
        spans: dict[str, tuple[date, date]] = {}
        for row in rows:
            low, high = spans.get(row.series, (row.period, row.period))
            spans[row.series] = (min(low, row.period), max(high, row.period))
        found = observation.c
        for series, (low, high) in spans.items():
            query = select(found.period, found.known_at, found.value, found.unit).where(
                found.series == series, found.period.between(low, high)
            )
            for period, known_at, value, unit in connection.execute(query):
                self._known.setdefault((series, period), {})[known_at] = (value, unit)

    def is_unknown(self, row: Observation) -> bool:
        return (row.series, row.period) not in self._known

    def place(self, row: Observation, fetched_at: datetime) -> datetime | None:
        """The instant at which this value becomes known, or None if it is no news."""
        said = self._known.setdefault((row.series, row.period), {})
        figure = (row.value, row.unit)
        known_at = row.known_at
        if known_at in said and said[known_at] != figure:
            known_at = fetched_at
        if _valid_at(said, known_at) == figure:
            return None
        while known_at in said:  # two corrections in one reading: both are kept, in their order
            known_at += timedelta(microseconds=1)
        said[known_at] = figure
        return known_at


def _valid_at(
    said: dict[datetime, tuple[float, str]], moment: datetime
) -> tuple[float, str] | None:
    latest = max((known_at for known_at in said if known_at <= moment), default=None)
    return None if latest is None else said[latest]


def _as_row(row: Observation, known_at: datetime, fetched_at: datetime) -> dict[str, Any]:
    return {
        "series": row.series,
        "period": row.period,
        "known_at": known_at,
        "value": row.value,
        "unit": row.unit,
        "source_id": row.source_id,
        "confidence": row.confidence,
        "statistic": row.statistic,
        "fetched_at": fetched_at,
        "raw_value": row.raw_value,
        "raw_unit": row.raw_unit,
        "note": row.note,
    }


def _row_key(row: Rejected) -> str:
    parts = (row.source, row.file, str(row.row), row.raw, row.reason)
    return hashlib.sha256("\x1f".join(parts).encode(errors="replace")).hexdigest()


def _chunks(keys: list[str], size: int = 500) -> Iterable[list[str]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))
