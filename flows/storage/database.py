"""Opening, upgrading and holding the database; what can't be opened is said with path and mend."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    event,
    false,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

from flows.errors import DatabaseUnusableError
from flows.storage.tables import HEAD, writer

BUSY_SECONDS = 30.0
CONNECT_SECONDS = 10
MIGRATIONS = Path(__file__).parent / "migrations"
_NO_URL = (
    "the database setting is no URL that can be read: use sqlite:////full/path/lodestone.db or "
    "postgresql://user:password@host/name (@ : / and % of the password are written %40 %3A %2F %25)"
)
_PSYCOPG = "postgresql+psycopg"


class _Mend(NamedTuple):
    """What an operator can do about an error that has one of these SQLSTATE codes or words."""

    says: str
    words: tuple[str, ...]
    states: tuple[str, ...] = ()


_NO_TABLES = "has no tables yet; run `lodestone db upgrade`"
_LOCKED = f"stayed locked for {BUSY_SECONDS:.0f} s; another process holds it"
_SQLITE_MENDS = (
    _Mend("can't be written; make the file and its folder writable", ("readonly",)),
    _Mend("can't be opened; check the folder's permissions and the path", ("unable to open",)),
    _Mend("is not a database; move the file away or give another path", ("not a database",)),
    _Mend("is damaged; restore it from a backup", ("malformed",)),
    _Mend(_LOCKED, ("locked",)),
    _Mend("the disk is full; make room", ("full",)),
    _Mend(_NO_TABLES, ("no such table",)),
)
# A server that refuses a connection gives no code: there the words have to do. First fit counts.
_POSTGRESQL_MENDS = (
    _Mend(_NO_TABLES, (), ("42P01",)),
    _Mend(_LOCKED, (), ("55P03",)),
    _Mend("can only be read; give the address of the primary server", (), ("25006",)),
    _Mend("the server's disk is full; make room", (), ("53100",)),
    _Mend("two writers stood in each other's way; try again", (), ("40001", "40P01")),
    _Mend(
        "the server has no connection left; end others, or raise its limit",
        ("too many clients", "too many connections", "connection slots"),
        ("53300",),
    ),
    _Mend(
        "the user may not do this; make it the owner of the database and of the tables in it",
        ("permission denied for",),
        ("42501",),
    ),
    _Mend(
        "the server refuses this user with this password; correct the database URL",
        ("password authentication failed", "no password supplied"),
    ),
    _Mend(
        "the server lets nobody in from here as this user; its pg_hba.conf must allow it",
        ("no pg_hba.conf entry",),
    ),
    _Mend(
        "the server does not know this user; create it, or correct the database URL",
        ('role "', "Peer authentication failed", "Ident authentication failed"),
    ),
    _Mend(
        "there is no such database; create it with createdb, or correct the database URL",
        ('FATAL: database "',),
    ),
    _Mend(
        "the server ended the connection or is starting again; try again in a moment",
        (
            "starting up",
            "shutting down",
            "recovery mode",
            "terminating connection",
            "closed the connection",
            "connection is lost",
            "connection is closed",
        ),
        ("57P01", "57P02", "57P03"),
    ),
    _Mend(
        "the server can't be reached; check host and port of the database URL, and that it runs",
        (
            "Connection refused",
            "No such file or directory",
            "failed to resolve host",
            "timeout expired",
            "No route to host",
            "unreachable",
        ),
    ),
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
                mine = select(writer.c.name).where(writer.c.name == kind)
                if connection.execute(mine.with_for_update()).first() is None:
                    message = f"table writer has no row {kind!r}: nothing would keep others out"
                    raise LookupError(message)
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
            # What can be read but not written is told here, not with the first alert. No row is
            # touched: on PostgreSQL that would wait for every writer that is at work.
            connection.execute(update(writer).values(name=writer.c.name).where(false()))

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
            mends = (
                _POSTGRESQL_MENDS if self._engine.dialect.name == "postgresql" else _SQLITE_MENDS
            )
            message = f"{self.place}: {_problem(error.orig, mends)}"
            raise DatabaseUnusableError(message) from error


def open_database(url: str) -> Database:
    """Open (for SQLite: create) the database at `url`, e.g. `sqlite:////var/lib/lodestone.db`.

    Raises DatabaseUnusableError with the path and what to do. Call `upgrade()` before use.
    """
    parsed = _parsed(url)
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        _prepare_file(parsed)
    try:
        engine = create_engine(parsed, hide_parameters=True, **_options(parsed))
    except (ImportError, NoSuchModuleError) as error:
        raise DatabaseUnusableError(_no_driver(parsed, error)) from error
    except (ArgumentError, ValueError):
        raise DatabaseUnusableError(_NO_URL) from None
    if engine.dialect.is_async:
        message = (
            f"{_place(parsed)}: {parsed.drivername} is for asynchronous programs; use {kind}://"
        )
        raise DatabaseUnusableError(message)
    if kind == "sqlite":
        _teach_sqlite(engine)
    elif kind == "postgresql":
        _teach_postgresql(engine)
    database = Database(engine)
    try:
        with database.reading() as connection:
            connection.execute(text("SELECT 1"))
            _revision(connection)
            if kind == "postgresql":
                _require_unicode(connection, database.place)
    except BaseException:
        database.close()
        raise
    return database


def _parsed(url: str) -> URL:
    """The parts of a URL; one that is none is refused without a word of it: it may hold a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the port, for one, must be a number
        raise DatabaseUnusableError(_NO_URL) from None
    # Written as it is, an @ in a password makes its rest a part of the host's name; a NUL ends the
    # driver's own text half way, and another server than the one that was meant would be asked.
    if "@" in (parsed.host or "") or "%00" in url:
        raise DatabaseUnusableError(_NO_URL)
    # Left to itself, SQLAlchemy would look for psycopg2. Hosting services write postgres://.
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername=_PSYCOPG)
    return parsed


def _options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    if url.drivername != _PSYCOPG:
        return {}
    ours = {"connect_timeout": CONNECT_SECONDS, "application_name": "lodestone"}
    wanted = {name: value for name, value in ours.items() if name not in url.query}
    # A worker runs for weeks: a connection that a restarted server has forgotten is made again.
    return {"pool_pre_ping": True, "connect_args": {**wanted, "client_encoding": "utf8"}}


def _no_driver(url: URL, error: Exception) -> str:
    if url.get_backend_name() == "postgresql":
        return (
            f"{_place(url)}: the driver of PostgreSQL is not installed; install Lodestone with its "
            "extra, pip install 'lodestone[postgres]' (in a checkout: pip install '.[postgres]'), "
            "and begin the URL with postgresql://"
        )
    return f"{_place(url)}: no driver for this kind of database is installed ({error})"


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


def _teach_postgresql(engine: Engine) -> None:
    """Instants in UTC, and no wait without end for a writer that hangs."""

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("SET TIME ZONE 'UTC'")
        # A committed alert must outlive a crash of the server, whatever its own settings say.
        cursor.execute("SET synchronous_commit = on")
        cursor.execute(f"SET lock_timeout = {BUSY_SECONDS * 1000:.0f}")
        cursor.close()
        connection.commit()


def _require_unicode(connection: Connection, place: str) -> None:
    encoding = connection.execute(text("SHOW server_encoding")).scalar()
    if encoding != "UTF8":
        message = (
            f"{place}: keeps text as {encoding}, which can't hold every name and currency; "
            "create the database with ENCODING 'UTF8' TEMPLATE template0"
        )
        raise DatabaseUnusableError(message)


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
    shown = url.set(drivername=url.get_backend_name(), query={})
    # Options are left out, a password can be one of them; but a socket's folder is the address.
    folder = "" if url.host else url.query.get("host", "")
    address = f"?host={folder}" if folder else ""
    return f"{shown.render_as_string(hide_password=True)}{address}"


def _problem(error: BaseException | None, mends: tuple[_Mend, ...]) -> str:
    """What an operator can do about it, with the database's own words."""
    said = getattr(getattr(error, "diag", None), "message_primary", None)
    # The first line: the others repeat the statement, or the same trouble for each address.
    line = str(said or error).split("\n")[0]
    detail = " ".join(line.split()).removeprefix("connection failed: ")
    state = getattr(error, "sqlstate", None)
    for mend in mends:
        if state in mend.states or any(words in detail for words in mend.words):
            return f"{mend.says} ({detail})"
    return detail
