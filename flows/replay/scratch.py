"""What a replay works on: a ledger of its own, the user's figures read once, forecasts kept in memory."""

import hashlib
import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from types import ModuleType
from typing import Any

import alerts
import flows
import forecasting
from alerts.ruleset import Ruleset
from flows.errors import DatabaseUnusableError, LodestoneError, UsageError
from flows.known import RAISE_STEP
from flows.service import Moment, Service
from flows.sources.source import Source
from flows.storage.database import Database, open_database
from flows.storage.forecasts import ForecastStore, SaidProjection
from flows.storage.ledger import SqlLedger
from flows.storage.observations import Newest, ObservationStore
from flows.storage.runs import RunStore
from flows.storage.tables import HEAD
from forecasting.results import MarketProjection, ObservedPoint, Scorecard, SeriesForecast

BOOK = "replay"
"""The book of a replay's ledger."""

MOST_KEPT = 8
"""How many replays stay in the home folder."""

END_OF_DAY = time(23, 59, 59)


def end_of(day: date) -> datetime:
    """The last second of a day, UTC: what a replay of that day knows."""
    return datetime.combine(day, END_OF_DAY, tzinfo=UTC)


# --- the figures, read once ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """How many figures were known at a moment, and when the newest of them became known."""

    figures: int
    newest_at: int  # seconds since 1970, 0 without any figure

    def as_counts(self) -> dict[str, int]:
        return {"figures": self.figures, "newest_at": self.newest_at}


_Statement = tuple[datetime, date, float, str, str]  # known at, period, value, source, confidence


class RememberedFigures(ObservationStore):
    """The user's observations up to a moment: each series is read once, and answered from memory then.

    It answers as the store does, and never with what became known after the moment asked for. It keeps
    nothing: a replay reads the user's database and doesn't write to it.
    """

    def __init__(self, database: Database, until: datetime) -> None:
        super().__init__(database)
        self._until = until
        self._said: dict[tuple[str, str], tuple[_Statement, ...]] = {}
        self._instants: dict[tuple[str, str], list[datetime]] = {}
        self._points: dict[tuple[str, str], tuple[int, tuple[ObservedPoint, ...]]] = {}
        self._newest: tuple[int, dict[str, Newest]] = (-1, {})
        self._arrivals = self._read_arrivals()

    def version(self, known_at: datetime) -> int:
        """How many figures of any series were known at a moment: unchanged, nothing new became known."""
        self._require_known(known_at)
        return self._arrivals[1][bisect_right(self._arrivals[0], known_at)]

    def fingerprint(self, known_at: datetime) -> Fingerprint:
        """What tells one state of the figures from another; also of a moment that is not read."""
        at = bisect_right(self._arrivals[0], known_at)
        newest = int(self._arrivals[0][at - 1].timestamp()) if at else 0
        return Fingerprint(self._arrivals[1][at], newest)

    def points(
        self, series: str, known_at: datetime, *, unit: str = ""
    ) -> tuple[ObservedPoint, ...]:
        """The history as known at a moment; the same tuple as before where nothing new became known."""
        self._require_known(known_at)
        key = (series, unit)
        said = self._statements_of(key)
        seen = bisect_right(self._instants[key], known_at)
        kept = self._points.get(key)
        if kept is None or kept[0] != seen:
            kept = (seen, _standing(said, known_at))
            self._points[key] = kept
        return kept[1]

    def newest(self, known_at: datetime) -> dict[str, Newest]:
        """The newest period of each series; asked of the database only when something became known."""
        version = self.version(known_at)
        if self._newest[0] != version:
            self._newest = (version, super().newest(known_at))
        return dict(self._newest[1])

    def _read_arrivals(self) -> tuple[list[datetime], list[int]]:
        """The instants at which figures became known, and how many were known before each and in the end."""
        instants: list[datetime] = []
        counts = [0]
        for known_at, count in self.arrivals():
            instants.append(known_at)
            counts.append(counts[-1] + count)
        return instants, counts

    def _statements_of(self, key: tuple[str, str]) -> tuple[_Statement, ...]:
        """All that was said of a series, by period and then by rank, as the store orders it."""
        if key not in self._said:
            series, unit = key
            table = self.statements(series, self._until, unit=unit)
            self._said[key] = tuple(
                zip(
                    [it.to_pydatetime() for it in table["known_at"]],
                    [it.date() for it in table["period"]],
                    table["value"].tolist(),
                    table["source_id"].tolist(),
                    table["confidence"].tolist(),
                    strict=True,
                )
            )
            self._instants[key] = sorted(one[0] for one in self._said[key])
        return self._said[key]

    def _require_known(self, known_at: datetime) -> None:
        if known_at > self._until:
            message = f"asked as known at {known_at}, read only up to {self._until}"
            raise ValueError(message)


def _standing(said: Sequence[_Statement], known_at: datetime) -> tuple[ObservedPoint, ...]:
    """The last word on each period among what was said by then; a value repeated stands since it was first said."""
    points: list[ObservedPoint] = []
    for at, period, value, source_id, confidence in said:
        if at > known_at:
            continue
        before = points[-1] if points and points[-1].period == period else None
        since = at
        if before is not None:
            points.pop()
            if before.value == value:
                since = min(before.known_at, at)
        points.append(ObservedPoint(period, value, since, source_id, confidence))
    return tuple(points)


# --- forecasts, in memory ------------------------------------------------------------


class RememberedForecasts(ForecastStore):
    """What the replay forecast and projected, answered from memory; scorecards are not made for past days.

    Days come in their order, so the last word is the one that counts at the moment asked for. Projections
    are written to the replay's database as well: a replay that goes on has to know what was said before.
    """

    def __init__(self, database: Database, done: date | None = None) -> None:
        super().__init__(database)
        self._done_at = None if done is None else end_of(done)
        self._forecasts: dict[str, tuple[datetime, SeriesForecast]] = {}
        self._latest: dict[tuple[str, str], SaidProjection] = {}
        self._before: dict[
            tuple[str, str], SaidProjection
        ] = {}  # without paths, which are most of it
        self._read: set[tuple[str, str]] = set()

    def save(
        self,
        result: SeriesForecast | MarketProjection | Scorecard,
        known_at: datetime,
        run_id: str,
        *,
        made_at: datetime | None = None,
    ) -> None:
        """Keep a result as the last word on its subject."""
        if isinstance(result, SeriesForecast):
            self._forecasts[result.series] = (known_at, result)
            return
        if isinstance(result, Scorecard):
            message = f"{result.series}: a replay makes no scorecards"
            raise TypeError(message)
        key = (result.market, result.scenario)
        self._recall(key)
        latest = self._latest.get(key)
        if latest is None or latest.projection.projection_id != result.projection_id:
            if latest is not None:
                # Until when it was said, which is what a message counts the change from.
                super().save(latest.projection, latest.known_at, f"until {run_id}")
                bare = replace(latest.projection, shortfall_t_paths=(), demand_t_paths=())
                self._before[key] = SaidProjection(bare, latest.known_at)
            super().save(result, known_at, run_id, made_at=made_at)
        self._latest[key] = SaidProjection(result, known_at)

    def say_again(self, known_at: datetime) -> None:
        """Nothing has changed: every projection is said once more, as a run of the service would."""
        self._latest = {key: replace(one, known_at=known_at) for key, one in self._latest.items()}

    def latest_forecast(self, series: str, known_at: datetime) -> SeriesForecast | None:
        """What was said last about a series."""
        said = self._forecasts.get(series)
        return said[1] if said is not None and said[0] <= known_at else None

    def latest_projection(
        self, market: str, scenario: str, known_at: datetime
    ) -> MarketProjection | None:
        """What was said last about a market under a scenario."""
        self._recall((market, scenario))
        said = self._latest.get((market, scenario))
        return said.projection if said is not None and said.known_at <= known_at else None

    def previous_projection(
        self, market: str, scenario: str, known_at: datetime, *, other_than: str
    ) -> SaidProjection | None:
        """What was said before the projection `other_than`, without its paths."""
        key = (market, scenario)
        self._recall(key)
        for said in (self._latest.get(key), self._before.get(key)):
            if (
                said is not None
                and said.projection.projection_id != other_than
                and said.known_at < known_at
            ):
                bare = replace(said.projection, shortfall_t_paths=(), demand_t_paths=())
                return replace(said, projection=bare)
        return None

    def latest_scorecard(self, series: str, known_at: datetime) -> Scorecard | None:
        """None: backtests are made weekly, not for past days."""
        return None

    def _recall(self, key: tuple[str, str]) -> None:
        """Read what the days before an interruption said, once."""
        if self._done_at is None or key in self._read:
            return
        self._read.add(key)
        market, scenario = key
        latest = super().latest_projection(market, scenario, self._done_at)
        if latest is None:
            return
        # It was said on every day up to the last one that is done.
        self._latest[key] = SaidProjection(latest, self._done_at)
        before = super().previous_projection(
            market, scenario, self._done_at, other_than=latest.projection_id
        )
        if before is not None:
            self._before[key] = before


# --- which replay it is --------------------------------------------------------------


def replay_key(service: Service, ruleset: Ruleset, first: date, market: str | None) -> str:
    """Sixteen hex digits: another rule, setting, reference file or program is another replay.

    The last day is not in it, so that a later one goes on; nor are the figures, which are compared day by
    day (see `Scratch.done`).
    """
    settings = service.settings
    parts = [
        first.isoformat(),
        market or "",
        # Every field: its version says what judges, not who is told.
        _plain(ruleset),
        settings.models,
        settings.paths,
        settings.market_paths,
        settings.seed,
        settings.horizon_months,
        settings.market_months,
        settings.slack_channel,
        _plain(service.catalog),
        program_digest(),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def program_digest() -> str:
    """A digest of the code that decides: a changed program must not answer with what an older one said."""
    digest = hashlib.sha256()
    packages: tuple[ModuleType, ...] = (alerts, flows, forecasting)
    for package in packages:
        for folder in package.__path__:
            for file in sorted(Path(folder).rglob("*.py")):
                digest.update(str(file.relative_to(folder)).encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _plain(value: object) -> object:
    """A value whose text is the same in every process: sets are sorted, mappings are pairs."""
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, *(_plain(getattr(value, one.name)) for one in fields(value))]
    if isinstance(value, Mapping):
        return sorted(((_plain(key), _plain(one)) for key, one in value.items()), key=repr)
    if isinstance(value, Set):
        return sorted((_plain(one) for one in value), key=repr)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return repr(value)


# --- the scratch database ------------------------------------------------------------


class DayClock:
    """Stands in for the wall clock: nothing of a replay may depend on when it is made."""

    def __init__(self) -> None:
        self.at = datetime(1970, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


@dataclass(frozen=True)
class Scratch:
    """A service on the user's figures with a ledger of the replay's own, and the days it has done."""

    service: Service
    figures: RememberedFigures
    forecasts: RememberedForecasts
    key: str
    clock: DayClock

    @contextmanager
    def day(self, day: date) -> Iterator[Moment]:
        """One day's work, at its last second; noted as done when it ends without an error."""
        at = Moment(end_of(day), BOOK, live=False)
        self.clock.at = at.known_at
        yield at
        runs, run_id = self.service.runs, f"replay {day.isoformat()}"
        runs.start(run_id, BOOK, at.known_at, at.known_at)
        runs.step(run_id, RAISE_STEP, 0.0, self.figures.fingerprint(at.known_at).as_counts())

    def done(self) -> date | None:
        """The last day that is done."""
        last = _last_done(self.service.runs)
        return None if last is None else last[0]


@contextmanager
def scratch(
    service: Service, ruleset: Ruleset, *, first: date, last: date, market: str | None = None
) -> Iterator[Scratch]:
    """The scratch service of a replay, as far as it came the last time; nothing of it reaches the user's database.

    A file that is broken, or whose days saw other figures, is thrown away. Raises UsageError when the same
    replay is already at work, LodestoneError when the home can't be written.
    """
    key = replay_key(service, ruleset, first, market)
    folder = service.settings.home.resolve() / "replay"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _tidy(folder)
    except OSError as error:
        message = (
            f"{folder}: a replay can't be kept there: {error.strerror}; "
            "set LODESTONE_HOME to a folder you may write to"
        )
        raise LodestoneError(message) from None
    figures = RememberedFigures(service.database, end_of(last))
    with _alone(folder / f"{key}.lock"):
        database = _opened(folder / f"{key}.db", figures)
        try:
            clock = DayClock()
            runs = RunStore(database)
            done = _last_done(runs)
            forecasts = RememberedForecasts(database, None if done is None else done[0])
            own = replace(
                service,
                ruleset=ruleset,
                database=database,
                observations=figures,
                forecasts=forecasts,
                ledger=SqlLedger(database),
                runs=runs,
                open_sources=_no_sources,
                sender=None,
                clock=clock,
                pause=_no_pause,
            )
            yield Scratch(own, figures, forecasts, key, clock)
        finally:
            database.close()


def _no_sources(_live: bool) -> Sequence[Source]:
    return ()


def _no_pause(_seconds: float) -> None:
    """A replay waits for nothing."""


def _last_done(runs: RunStore) -> tuple[date, dict[str, int]] | None:
    """The last day that is done, and the fingerprint of the figures it saw."""
    # The newest may have died before its step was written.
    for run in runs.latest(BOOK, limit=2):
        if run.steps:
            return run.as_of.date(), run.steps[-1].counts
    return None


def _opened(path: Path, figures: RememberedFigures) -> Database:
    """The scratch database, empty where there was none that can be gone on with."""
    if path.exists() and not _can_go_on(path, figures):
        _throw_away(path)
    database = open_database(f"sqlite:///{path}")
    try:
        database.upgrade()
        # It can be made again: thousands of days must not wait for the disk. What a power cut breaks is
        # found at the next start. Asked of the driver, since inside a transaction SQLite ignores it.
        with database.reading() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute("PRAGMA synchronous = OFF")
    except BaseException:
        database.close()
        raise
    return database


def _can_go_on(path: Path, figures: RememberedFigures) -> bool:
    """Whether a file is a whole ledger of ours whose days saw the figures that are known now."""
    try:
        with open_database(f"sqlite:///{path}") as database:
            if database.revision() != HEAD:
                return False
            with database.reading() as connection:
                if connection.exec_driver_sql("PRAGMA quick_check").scalar() != "ok":
                    return False
            last = _last_done(RunStore(database))
    except DatabaseUnusableError:
        return False
    return last is not None and figures.fingerprint(end_of(last[0])).as_counts() == last[1]


def _throw_away(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _tidy(folder: Path) -> None:
    """Keep the replays made last: each change of a rule or of the program makes another one."""
    kept = sorted(folder.glob("*.db"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[MOST_KEPT:]:
        _throw_away(path)
        path.with_suffix(".lock").unlink(missing_ok=True)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a file that only one process can hold; it is free again when that process ends, however it ends."""
    holder = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        try:
            holder.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                message = f"{path}: {error}; set LODESTONE_HOME to a folder you may write to"
                raise LodestoneError(message) from None
            message = "the same replay is already at work in this home: wait for it, or end it"
            raise UsageError(message) from None
        except sqlite3.DatabaseError:
            message = f"{path}: is no file of ours; move it away"
            raise LodestoneError(message) from None
        yield
    finally:
        holder.close()
