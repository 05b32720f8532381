"""Databases for tests: SQLite and PostgreSQL, one of its own for each test."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

import pytest

from flows.storage.database import open_database
from tests.postgres import MissingError, Server, running_server

KINDS = ("sqlite", "postgresql")
SERVICE_KIND = os.environ.get("LODESTONE_TEST_DATABASE") or "sqlite"
"""What the tests of the whole service run on; `make test-pg` says postgresql."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server, started by the first test that asks for it and stopped after the last one."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_server())
        except MissingError as error:
            # A test that was asked for by name, or that CI promises, must not be left out in silence.
            if os.environ.get("CI") or SERVICE_KIND == "postgresql":
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with every table and no rows."""
    path = tmp_path_factory.mktemp("template") / "lodestone.db"
    with open_database(f"sqlite:///{path}") as database:
        database.upgrade()
    return path


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with every table and no rows, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        path = tmp_path / "lodestone.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
    else:
        with request.getfixturevalue("postgres").database() as url:
            yield url


@pytest.fixture(params=KINDS)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table, for migrations; once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'lodestone.db'}"
    else:
        with request.getfixturevalue("postgres").empty_database() as url:
            yield url


@pytest.fixture(scope="session")
def lend_service_database(
    request: pytest.FixtureRequest,
) -> Callable[[], AbstractContextManager[str]]:
    """Lends a value for LODESTONE_DATABASE_URL: nothing (SQLite in the home), or one on the server."""
    if SERVICE_KIND == "sqlite":
        return lambda: nullcontext("")
    if SERVICE_KIND != "postgresql":
        pytest.fail(f"LODESTONE_TEST_DATABASE={SERVICE_KIND}: use sqlite or postgresql")
    server: Server = request.getfixturevalue("postgres")
    return server.database
