"""Opening and upgrading: quiet, safe for two at once, and plain about what is wrong."""

import shutil
import socket
import subprocess
import sys
import threading
import traceback
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Integer, Table, insert, inspect, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError

from flows.errors import DatabaseUnusableError
from flows.storage import database as database_module
from flows.storage.database import MIGRATIONS, Database, open_database
from flows.storage.tables import HEAD, UtcDateTime, metadata, outbox_pause, writer
from tests.postgres import Server

SECRET = "hunter2"


def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with open_database(database_url) as opened:
        yield opened


def names(database: Database) -> list[str]:
    with database.reading() as connection:
        return list(connection.scalars(select(writer.c.name)))


# --- migrations -----------------------------------------------------------------


def config_on(connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def test_a_new_database_is_made_ready_and_nothing_is_printed(empty_database_url, capfd, caplog):
    with open_database(empty_database_url) as database:
        assert database.revision() is None
        database.upgrade()
        assert database.revision() == HEAD
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_the_folders_of_a_new_file_are_made(tmp_path):
    with open_database(url(tmp_path / "deep" / "er" / "lodestone.db")) as database:
        database.upgrade()
    assert (tmp_path / "deep" / "er" / "lodestone.db").exists()


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(empty_database_url):
    with open_database(empty_database_url) as database:
        database.upgrade()
        with database.writing() as connection:
            command.check(config_on(connection))
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_head_known_without_alembic_is_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_every_migration_can_be_undone_and_made_again(empty_database_url):
    with open_database(empty_database_url) as database:
        database.upgrade()
        with database.writing() as connection:
            command.downgrade(config_on(connection), "base")
            assert inspect(connection).get_table_names() == ["alembic_version"]
        database.upgrade()
        assert database.revision() == HEAD


def test_upgrading_again_changes_nothing(database: Database):
    with database.writing() as connection:
        connection.execute(insert(writer).values(name="mine"))
    database.upgrade()
    assert "mine" in names(database)


def test_two_starts_at_once_both_find_an_upgraded_database(empty_database_url):
    problems: list[Exception] = []

    def start() -> None:
        try:
            with open_database(empty_database_url) as opened:
                opened.upgrade()
        except Exception as error:  # noqa: BLE001
            problems.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_a_database_of_a_newer_version_is_left_alone(database: Database):
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseUnusableError, match=r"newer Lodestone \(revision 9999") as caught:
        database.upgrade()
    assert database.place in str(caught.value)
    assert database.revision() == "9999"


def test_alembics_own_command_finds_nothing_to_do(database_url: str):
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "-x", f"url={database_url}", "check"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "No new upgrade operations detected.\n"), done


def test_alembic_without_a_url_says_how_to_give_one():
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "check"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "alembic -x url=sqlite:////" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def one_more_table() -> Iterator[str]:
    name = "note_of_a_developer"
    columns = (Column("id", Integer, primary_key=True), Column("at", UtcDateTime, nullable=False))
    table = Table(name, metadata, *columns)
    yield name
    metadata.remove(table)


def test_a_developer_gets_a_migration_that_runs_as_it_is_written(
    database_url: str, one_more_table: str, tmp_path: Path
):
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    config = Config(cmd_opts=Namespace(x=[f"url={database_url}"], autogenerate=True))
    config.set_main_option("script_location", str(folder))
    config.stdout = (tmp_path / "told").open("w")
    with config.stdout:
        command.revision(config, "add a note", autogenerate=True)
        (written,) = folder.glob(f"versions/{int(HEAD) + 1:04d}_add_a_note.py")
        assert "sa.DateTime(timezone=True)" in written.read_text()
        command.upgrade(config, "head")
        command.check(config)
        command.downgrade(config, HEAD)
    with open_database(database_url) as database, database.reading() as connection:
        assert not inspect(connection).has_table(one_more_table)


# --- reading and writing --------------------------------------------------------


def test_the_file_keeps_a_write_ahead_log_and_foreign_keys(tmp_path):
    with (
        open_database(url(tmp_path / "lodestone.db")) as database,
        database.reading() as connection,
    ):
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 30_000


def test_a_write_that_fails_half_way_leaves_nothing(database: Database):
    again = insert(writer).values(name="half")
    with pytest.raises(IntegrityError), database.writing() as connection:
        [connection.execute(again) for _ in range(2)]
    assert "half" not in names(database)


def test_a_reader_sees_one_moment_whatever_is_written_meanwhile(database: Database):
    with database.reading() as connection:
        before = connection.scalars(select(writer.c.name)).all()
        with database.writing() as other:
            other.execute(insert(writer).values(name="meanwhile"))
        assert connection.scalars(select(writer.c.name)).all() == before
    assert "meanwhile" in names(database)


def test_a_writer_of_a_kind_waits_for_the_one_before_and_sees_what_it_wrote(database: Database):
    seen: list[bool] = []

    def second() -> None:
        with database.writing("ledger") as connection:
            mine = select(writer.c.name).where(writer.c.name == "first")
            seen.append(connection.execute(mine).first() is not None)

    thread = threading.Thread(target=second)
    with database.writing("ledger") as connection:
        thread.start()
        thread.join(timeout=0.2)
        assert seen == []
        connection.execute(insert(writer).values(name="first"))
    thread.join()
    assert seen == [True]


def test_a_writer_that_hangs_is_told_after_a_while(database_url: str, monkeypatch):
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.2)
    with open_database(database_url) as database, database.writing("ledger") as connection:
        connection.execute(insert(writer).values(name="slow"))
        with (
            pytest.raises(DatabaseUnusableError, match="another process holds it"),
            database.writing("ledger"),
        ):
            pass


def test_a_kind_of_writer_without_a_row_to_lock_is_refused(database: Database):
    with pytest.raises(LookupError, match="'ledgre'"), database.writing("ledgre"):
        pass


def test_a_start_does_not_wait_for_a_writer_at_work(postgres: Server):
    with (
        postgres.database() as there,
        open_database(there) as database,
        database.writing("observations"),
        open_database(there) as started,
    ):
        started.upgrade()
        assert started.revision() == HEAD


def test_instants_come_back_in_utc_whatever_zone_they_went_in_with(database: Database):
    tokyo = datetime(2025, 4, 4, 9, 0, 0, 123456, tzinfo=timezone(timedelta(hours=9)))
    with database.writing() as connection:
        connection.execute(insert(outbox_pause).values(scope="c", until=tokyo, reason=""))
    with database.reading() as connection:
        found = connection.execute(select(outbox_pause.c.until)).scalar_one()
    assert found == tokyo
    assert found.tzinfo is UTC


def test_an_instant_without_a_zone_is_refused(database: Database):
    naive = datetime(2025, 4, 4)  # noqa: DTZ001
    with pytest.raises(Exception, match="no time zone"), database.writing() as connection:
        connection.execute(insert(outbox_pause).values(scope="c", until=naive, reason=""))


def test_text_comes_back_as_it_went_in_whatever_the_shell_speaks(database_url: str, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with open_database(database_url) as database:
        with database.writing() as connection:
            connection.execute(insert(writer).values(name="磁铁 – مغناطيس €"))
        assert "磁铁 – مغناطيس €" in names(database)


def test_a_table_that_is_missing_says_which_command_makes_it(empty_database_url):
    with (
        open_database(empty_database_url) as database,
        pytest.raises(DatabaseUnusableError, match="lodestone db upgrade"),
        database.reading() as connection,
    ):
        connection.execute(select(writer))


# --- files and settings that can't be used --------------------------------------


def test_a_folder_given_as_file_is_said_with_a_better_path(tmp_path):
    with pytest.raises(DatabaseUnusableError, match=r"is a folder; give the path of a file in it"):
        open_database(url(tmp_path))


def test_a_path_under_a_file_is_said_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatabaseUnusableError, match=r"file/lodestone\.db: can't be written"):
        open_database(url(tmp_path / "file" / "lodestone.db"))


def test_a_database_that_can_only_be_read_is_refused_at_the_start(tmp_path):
    path = tmp_path / "lodestone.db"
    with open_database(url(path)) as database:
        database.upgrade()
    with (
        open_database(f"sqlite:///file:{path}?mode=ro&uri=true") as database,
        pytest.raises(DatabaseUnusableError, match="make the file and its folder writable"),
    ):
        database.upgrade()


def test_a_file_that_is_no_database_is_named(tmp_path):
    path = tmp_path / "lodestone.db"
    path.write_text("a letter to the editor, long enough to be no header at all" * 20)
    with pytest.raises(DatabaseUnusableError, match=r"lodestone\.db: is not a database"):
        open_database(url(path))


def test_a_database_in_memory_is_refused():
    with pytest.raises(DatabaseUnusableError, match="forgets every alert"):
        open_database("sqlite://")


@pytest.mark.parametrize("bad", ["not a url with hunter2", "mystery://u:hunter2@h/db"])
def test_a_setting_that_is_no_database_is_told_without_its_password(bad: str):
    with pytest.raises(DatabaseUnusableError) as caught:
        open_database(bad)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "bad",
    [
        "postgresql://u:pa@ss:w0rd@db/x",
        "postgresql://u:pa@w0rd@db/x",
        "postgresql://u:pa/ss@w0rd:db/x",
        "postgresql+psycopg://u:w0rd@db:port/x",
        "u:w0rd@db/x",
    ],
)
def test_a_url_with_a_careless_password_is_refused_without_any_of_it(bad: str):
    with pytest.raises(DatabaseUnusableError, match="%40") as caught:
        open_database(bad)
    told = "".join(traceback.format_exception_only(caught.value)) + repr(caught.value)
    assert caught.value.__cause__ is None
    assert not any(
        part in told for part in ("u:", "pa@", "pa/", "w0rd", "ss@", "@db", "db/x", ":port")
    )


def test_a_password_among_the_options_is_not_told():
    with pytest.raises(DatabaseUnusableError) as caught:
        open_database("oracle://host/db?password=hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_missing_driver_is_told_without_the_password():
    with pytest.raises(DatabaseUnusableError) as caught:
        open_database("oracle://user:hunter2@host/db")
    assert "hunter2" not in str(caught.value)
    assert "driver" in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_missing_driver_of_postgresql_is_told_with_what_to_install(scheme, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(
        DatabaseUnusableError, match=r"pip install 'lodestone\[postgres\]'"
    ) as caught:
        open_database(f"{scheme}://user:{SECRET}@host/db")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql+asyncpg", "sqlite+aiosqlite"])
def test_a_driver_for_asynchronous_programs_is_refused_with_the_url_to_use(scheme, tmp_path):
    with pytest.raises(DatabaseUnusableError, match=f"use {scheme.partition('+')[0]}://"):
        open_database(f"{scheme}:///{tmp_path}/lodestone.db")


# --- a PostgreSQL that can't be used --------------------------------------------


def refused(url: str, action=Database.upgrade) -> str:
    """What an operator is told: one line, which server, no password."""
    with pytest.raises(DatabaseUnusableError) as caught, open_database(url) as opened:
        action(opened)
    told = str(caught.value)
    assert "\n" not in told
    assert told.startswith("postgresql://")
    assert "Is the server running" not in told  # what libpq adds, for each address it tried
    assert SECRET not in told
    return told


def changed(url: str, **parts: str) -> str:
    return make_url(url).set(**parts).render_as_string(hide_password=False)


@pytest.fixture
def user(postgres: Server) -> Iterator[str]:
    """A user who owns nothing."""
    name = f"lodestone_test_{uuid4().hex}"
    postgres.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET}'")
    yield name
    postgres.execute(f"DROP ROLE {name}")


@pytest.fixture
def theirs(postgres: Server, user: str) -> Iterator[str]:
    """The URL of an empty database, as that user."""
    with postgres.empty_database() as there:
        yield changed(there, username=user, password=SECRET)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_plain_url_of_postgresql_is_opened_with_the_driver_that_is_there(postgres, scheme):
    with (
        postgres.database() as there,
        open_database(changed(there, drivername=scheme)) as database,
    ):
        assert database.revision() == HEAD
        assert database.place.startswith("postgresql://")


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:53300", "host.invalid"])
def test_a_server_that_is_not_there_is_told_with_its_address(host):
    told = refused(f"postgresql://user:{SECRET}@{host}/db?password={SECRET}")
    assert f"postgresql://user:***@{host}/db: the server can't be reached; check host" in told


def test_a_socket_that_is_not_there_is_told_with_its_folder(tmp_path):
    told = refused(f"postgresql://user:{SECRET}@/db?host={tmp_path}")
    assert f"postgresql://user:***@/db?host={tmp_path}: the server can't be reached" in told


def test_a_server_that_never_answers_is_given_up():
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        told = refused(f"postgresql://user:{SECRET}@{address}/db?connect_timeout=2")
    assert "the server can't be reached" in told


def test_a_wrong_password_is_told_and_not_repeated(postgres: Server):
    if not postgres.is_own:
        pytest.skip("the server of LODESTONE_TEST_POSTGRES_URL has rules of its own")
    postgres.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    try:
        for password in (SECRET, None):
            there = make_url(postgres.at("postgres")).set(username="guarded", password=password)
            told = refused(there.render_as_string(hide_password=False))
            assert "the server refuses this user with this password" in told
    finally:
        postgres.execute("DROP ROLE guarded")


def test_a_user_whom_the_server_does_not_know_is_told(postgres: Server):
    if not postgres.is_own:
        pytest.skip("the server of LODESTONE_TEST_POSTGRES_URL has rules of its own")
    told = refused(changed(postgres.at("postgres"), username="nobody_knows", password=SECRET))
    assert "does not know this user" in told


def test_a_database_that_is_not_there_is_told(postgres: Server):
    assert "there is no such database; create it" in refused(postgres.at("never_made"))


def test_a_user_without_rights_is_told_a_mend_that_works(postgres: Server, user, theirs):
    told = refused(theirs)
    assert "make it the owner of the database" in told
    postgres.execute(f"ALTER DATABASE {make_url(theirs).database} OWNER TO {user}")
    with open_database(theirs) as database:
        database.upgrade()
        assert database.revision() == HEAD


def test_a_user_who_may_not_connect_is_told(postgres: Server, theirs):
    postgres.execute(f"REVOKE CONNECT ON DATABASE {make_url(theirs).database} FROM PUBLIC")
    assert "the user may not do this" in refused(theirs)


def test_a_server_without_connections_left_is_told(postgres: Server, theirs):
    postgres.execute(f"ALTER DATABASE {make_url(theirs).database} CONNECTION LIMIT 0")
    assert "no connection left" in refused(theirs)


def test_a_postgresql_that_can_only_be_read_is_refused_at_the_start(postgres: Server):
    with postgres.database() as there:
        name = make_url(there).database
        postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        assert "give the address of the primary" in refused(there)


def test_a_postgresql_that_cannot_hold_all_text_is_refused(postgres: Server):
    with postgres.empty_database(encoding="LATIN1") as there:
        assert "keeps text as LATIN1" in refused(there)


def test_an_option_that_does_not_exist_is_named():
    assert '"sslmod"' in refused(f"postgresql://user:{SECRET}@127.0.0.1:1/db?sslmod=require")


def test_a_url_with_a_nul_is_refused():
    with pytest.raises(DatabaseUnusableError, match="no URL that can be read"):
        open_database(f"postgresql://user:{SECRET}%00@127.0.0.1:1/db")


SESSION = text("SELECT pg_backend_pid()")


def end_session(postgres: Server, session: int) -> None:
    """What a server does to us when it restarts; waits up to ten seconds for the session to be gone."""
    postgres.execute("SELECT pg_terminate_backend(:session, 10000)", session=session)


def test_a_server_that_restarts_in_the_middle_of_a_write_is_told_and_nothing_is_kept(postgres):
    def write(database: Database) -> None:
        with database.writing() as connection:
            connection.execute(insert(writer).values(name="half"))
            end_session(postgres, connection.execute(SESSION).scalar_one())
            connection.execute(update(writer).values(name=writer.c.name))

    with postgres.database() as there:
        assert "try again in a moment" in refused(there, write)
        with open_database(there) as database:
            assert "half" not in names(database)


def test_a_server_that_restarted_since_the_last_time_is_simply_asked_again(postgres: Server):
    with postgres.database() as there, open_database(there) as database:
        with database.reading() as connection:
            session = connection.execute(SESSION).scalar_one()
        end_session(postgres, session)
        assert "ledger" in names(database)
        with database.writing("ledger") as connection:
            assert connection.execute(text("SHOW lock_timeout")).scalar() == "30s"
            assert connection.execute(text("SHOW timezone")).scalar() == "UTC"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            psycopg.OperationalError(
                'connection failed: connection to server at "db", port 5432 failed: '
                "FATAL:  the database system is starting up"
            ),
            "try again in a moment",
        ),
        (
            psycopg.OperationalError(
                'connection failed: connection to server at "db", port 5432 failed: '
                'FATAL:  no pg_hba.conf entry for host "10.0.0.7", user "u", database "d"'
            ),
            "its pg_hba.conf must allow it",
        ),
        (psycopg.errors.DiskFull("could not extend file"), "disk is full; make room"),
        (psycopg.errors.DeadlockDetected("deadlock detected"), "try again"),
    ],
    ids=["starting", "pg_hba", "disk", "deadlock"],
)
def test_what_a_server_says_in_rare_trouble_is_told_with_its_mend(postgres: Server, error, says):
    with (
        postgres.database() as there,
        open_database(there) as database,
        pytest.raises(DatabaseUnusableError, match=says) as caught,
        database.reading(),
    ):
        raise OperationalError("SELECT 1", {}, error)
    assert "FATAL:  " not in str(caught.value)
