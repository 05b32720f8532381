"""Opening, upgrading and holding the database; what can't be opened is said with path and mend."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

from flows.errors import DatabaseUnusableError
from flows.storage.tables import HEAD, writer

BUSY_SECONDS = 30.0
MIGRATIONS = Path(__file__).parent / "migrations"
_NO_URL = (
    "the database setting is no URL that can be read: use sqlite:////full/path/lodestone.db "
    "(in a URL with a password, @ : / and % of it are written %40 %3A %2F %25)"
)


class Database:
    """One database, many short transactions: `reading()` sees a snapshot, `writing()` is alone."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(lodestone_begin="BEGIN IMMEDIATE")
        # SQLite's readers see one moment by themselves; in PostgreSQL each query would see its own.
        self._reader = (
            engine.execution_options(isolation_level="REPEATABLE READ")
            if engine.dialect.name == "postgresql"
            else engine
        )
        self.place = _place(engine.url)

    def __repr__(self) -> str:
        return f"Database({self.place!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give every connection back; the database may be opened again."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one moment and writes nothing."""
        with self._translated(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def writing(self, kind: str = "") -> Iterator[Connection]:
        """One transaction: all of it or nothing; `kind` keeps out other writers of that kind."""
        with self._translated(), self._writer.begin() as connection:
            if kind:
                connection.execute(
                    select(writer.c.name).where(writer.c.name == kind).with_for_update()
                )
            yield connection

    def revision(self) -> str | None:
        """Which migration the database stands at; None for an empty one."""
        with self.reading() as connection:
            return _revision(connection)

    def upgrade(self) -> None:
        """Bring the tables to this version's shape; does nothing when they are there."""
        with self.writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(7025)"))
            current = _revision(connection)
            if current != HEAD:
                self._migrate(connection, current)
            # A file that can be read but not written is told here, not with the first alert.
            connection.execute(update(writer).values(name=writer.c.name))

    def _migrate(self, connection: Connection, current: str | None) -> None:
        # Alembic takes a fifth of a second to load, and only a first start or a new version needs it.
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = connection
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if current is not None and current not in known:
            message = (
                f"{self.place}: written by a newer Lodestone (revision {current}, this one knows "
                f"up to {HEAD}); install that version, or give another database"
            )
            raise DatabaseUnusableError(message)
        command.upgrade(config, "head")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise  # a broken promise of our own code, not something an operator can mend
        except DBAPIError as error:
            message = f"{self.place}: {_problem(str(error.orig))}"
            raise DatabaseUnusableError(message) from error


def open_database(url: str) -> Database:
    """Open (for SQLite: create) the database at `url`, e.g. `sqlite:////var/lib/lodestone.db`.

    Raises DatabaseUnusableError with the path and what to do. Call `upgrade()` before use.
    """
    parsed = _parsed(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite:
        _prepare_file(parsed)
    options: dict[str, Any] = {"connect_args": {"timeout": BUSY_SECONDS}} if is_sqlite else {}
    try:
        engine = create_engine(parsed, hide_parameters=True, **options)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        message = f"{_place(parsed)}: no driver for this kind of database is installed ({error})"
        raise DatabaseUnusableError(message) from error
    except (ArgumentError, ValueError):
        raise DatabaseUnusableError(_NO_URL) from None
    if is_sqlite:
        _teach_sqlite(engine)
    database = Database(engine)
    try:
        with database.reading() as connection:
            connection.execute(text("SELECT 1"))
            _revision(connection)
    except DatabaseUnusableError:
        database.close()
        raise
    return database


def _parsed(url: str) -> URL:
    """The parts of a URL; one that is none is refused without a word of it: it may hold a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the port, for one, must be a number
        raise DatabaseUnusableError(_NO_URL) from None
    # Written as it is, an @ in a password makes its rest a part of the host's name.
    if "@" in (parsed.host or ""):
        raise DatabaseUnusableError(_NO_URL)
    return parsed


def _prepare_file(url: URL) -> None:
    if not url.database or url.database == ":memory:":
        message = "a database in memory forgets every alert: use sqlite:////full/path/lodestone.db"
        raise DatabaseUnusableError(message)
    if url.database.startswith("file:"):
        return
    path = Path(url.database)
    if path.is_dir():
        message = f"{path}: is a folder; give the path of a file in it, such as {path}/lodestone.db"
        raise DatabaseUnusableError(message)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as error:
        message = (
            f"{path}: can't be written ({error.strerror}); "
            "give another path, or make its folder writable"
        )
        raise DatabaseUnusableError(message) from error


def _teach_sqlite(engine: Engine) -> None:
    """Write-ahead log, foreign keys, and transactions that begin where SQLAlchemy says they begin."""

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        # Otherwise the driver begins late and by itself, and two readers become two writers.
        connection.isolation_level = None
        cursor = connection.cursor()
        _switch_to_log(cursor)
        cursor.execute("PRAGMA foreign_keys = ON")
        # A committed alert must outlive a power cut, so each commit waits for the disk.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(
            connection.get_execution_options().get("lodestone_begin", "BEGIN")
        )


def _switch_to_log(cursor: sqlite3.Cursor) -> None:
    """Switch the file to a write-ahead log; it needs the file alone, and does not wait by itself."""
    for attempt in range(100):
        # Asked first: once switched, it stays so, and nobody needs the file alone again.
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            return
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or attempt == 99:
                raise
            # Another start is at it: an empty write transaction waits for that one to be done.
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute("COMMIT")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _place(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    # Options are left out: a password can be one of them.
    return url.set(query={}).render_as_string(hide_password=True)


def _problem(detail: str) -> str:
    """What an operator can do about it, with the database's own words."""
    known = {
        "readonly": "can't be written; make the file and its folder writable",
        "unable to open": "can't be opened; check the folder's permissions and the path",
        "not a database": "is not a database; move the file away or give another path",
        "malformed": "is damaged; restore it from a backup",
        "locked": f"stayed locked for {BUSY_SECONDS:.0f} s; another process holds it",
        "full": "the disk is full; make room",
        "no such table": "has no tables yet; run `lodestone db upgrade`",
    }
    for words, mend in known.items():
        if words in detail:
            return f"{mend} ({detail})"
    return detail
