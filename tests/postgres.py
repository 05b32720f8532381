"""The suite's own PostgreSQL: Debian's binaries, a folder and a socket of its own, gone at the end."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import psycopg
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url

from flows.storage.database import open_database

GIVEN = os.environ.get("LODESTONE_TEST_POSTGRES_URL", "")
"""A superuser's URL of a server to use instead; its databases stay as they are, ours come and go."""

START_SECONDS = 60
STOP_SECONDS = 20
MEMORY_BYTES = 2**30

# Nothing here has to outlive a power cut. The zone is an odd one: instants must not depend on it.
SERVER_OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "128MB",
    "dynamic_shared_memory_type": "mmap",  # in its folder, and so gone with it
    "shared_buffers": "64MB",
    "timezone": "Asia/Kolkata",
}


# A suite that is killed can neither stop its server nor tidy up: the shell between them does, when
# the kernel tells it (setpriv) that its parent is gone.
KEEPER = """
folder=$1; shift
"$@" & server=$!
trap 'kill -INT $server' INT
trap 'kill -QUIT $server' QUIT
while kill -0 $server 2>/dev/null; do wait $server; done
rm -rf "$folder"
"""


class MissingError(Exception):
    """There is no PostgreSQL to start; the text says what to install."""


def binaries() -> Path:
    """The folder of the newest PostgreSQL of the Debian packages, which are not on the PATH."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(found, key=lambda path: float(path.parts[-3]), default=None)
    on_path = shutil.which("initdb")
    if newest is None and on_path is not None:
        newest = Path(on_path).resolve()
    if newest is None:
        message = "PostgreSQL is missing: apt-get install postgresql"
        raise MissingError(message)
    return newest.parent


class Server:
    """A running server; lends databases that are dropped when they are given back."""

    def __init__(self, url: URL, *, is_own: bool) -> None:
        self.url = url.set(drivername="postgresql+psycopg")
        self.is_own = is_own
        # Asked before each use whether it is still there: a test may make the server crash.
        self._engine = create_engine(
            self.url, isolation_level="AUTOCOMMIT", pool_size=1, pool_pre_ping=True
        )
        self._template = ""

    def close(self) -> None:
        if self._template:
            self._drop(self._template)
        self._engine.dispose()

    def execute(self, statement: str, **values: Any) -> None:
        """Run one statement as superuser, outside of any transaction."""
        with self._engine.connect() as connection:
            connection.execute(text(statement), values)

    def at(self, database: str) -> str:
        """The URL of another database on this server."""
        return self.url.set(database=database).render_as_string(hide_password=False)

    @contextmanager
    def empty_database(self, encoding: str = "UTF8") -> Iterator[str]:
        """The URL of a database with nothing in it."""
        name = self._create("template0", encoding)
        try:
            yield self.at(name)
        finally:
            self._drop(name)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a database with every table and no rows: a copy of one that was migrated once."""
        name = self._create(self.template)
        try:
            yield self.at(name)
        finally:
            self._drop(name)

    @cached_property
    def template(self) -> str:
        """The name of the migrated database that the others are copied from."""
        self._template = self._create("template0")
        with open_database(self.at(self._template)) as database:
            database.upgrade()
        return self._template

    def _create(self, template: str, encoding: str = "UTF8") -> str:
        name = f"lodestone_test_{uuid4().hex}"
        # C sorts by code point, as SQLite does; copying files is quicker than logging each page.
        options = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' STRATEGY file_copy"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} {options}")
        return name

    def _drop(self, name: str) -> None:
        # A worker that a test killed may have left a session behind.
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def running_server(*, own: bool = False) -> Iterator[Server]:
    """The given server, or one that is started now and stopped at the end; MissingError without one.

    With `own` always one of its own: for tests that make it crash.
    """
    if GIVEN and not own:
        server = Server(make_url(GIVEN), is_own=False)
        try:
            yield server
        finally:
            server.close()
        return
    with _started() as url:
        server = Server(url, is_own=True)
        try:
            yield server
        finally:
            server.close()


@contextmanager
def _started() -> Iterator[URL]:
    programs = binaries()
    folder = Path(tempfile.mkdtemp(prefix="lodestone-pg-", dir=_parent()))
    try:
        run_as = _run_as(folder)
        data = folder / "data"
        initdb = [programs / "initdb", "-D", data, "-U", "lodestone", "-A", "trust"]
        initdb += ["-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        done = subprocess.run(initdb, capture_output=True, text=True, **run_as)
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed: {done.stderr}")
        _guard(data / "pg_hba.conf")
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                _command(programs, data, folder), stdout=log, stderr=log, **run_as
            )
            try:
                _wait(process, folder, log)
                yield URL.create(
                    "postgresql+psycopg",
                    "lodestone",
                    database="postgres",
                    query={"host": str(folder)},
                )
            finally:
                _stop(process)
    finally:
        if folder.exists():
            shutil.rmtree(folder)


def _parent() -> Path:
    """Memory where there is plenty of it: each test's database is three hundred small files.

    Not TMPDIR: a socket's path holds a hundred characters, and another user must get there.
    """
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= MEMORY_BYTES:
        return memory
    return Path("/tmp")


def _run_as(folder: Path) -> dict[str, Any]:
    """How a process is started: as the user of the Debian package where the suite runs as root."""
    options: dict[str, Any] = {
        "cwd": folder,
        "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        # Ctrl-C is for the suite alone, which drops its databases before it stops the server.
        "start_new_session": True,
    }
    if os.geteuid() != 0:
        return options
    names = {user.pw_name: user for user in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {**options, "user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _command(programs: Path, data: Path, folder: Path) -> list[str]:
    server = [str(programs / "postgres"), "-D", str(data), "-k", str(folder)]
    for name, value in SERVER_OPTIONS.items():
        server += ["-c", f"{name}={value}"]
    command = ["/bin/sh", "-c", KEEPER, "keeper", str(folder), *server]
    setpriv = shutil.which("setpriv")
    return command if setpriv is None else [setpriv, "--pdeathsig", "INT", *command]


def _guard(rules: Path) -> None:
    """One user must show a password, so that a wrong one can be tried; the others are let in."""
    rules.write_text(f"local all guarded scram-sha-256\n{rules.read_text()}")


def _wait(process: "subprocess.Popen[bytes]", folder: Path, log: IO[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(host=str(folder), user="lodestone", dbname="postgres").close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > end:
                log.seek(0)
                raise RuntimeError(f"PostgreSQL did not start: {log.read().decode()}") from None
            time.sleep(0.02)
        else:
            return


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the sessions and the server; the harder way if it takes too long."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        process.send_signal(number)
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
