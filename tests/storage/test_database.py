"""Opening and upgrading: quick, quiet, safe for two at once, and plain about what is wrong."""

import sqlite3
import threading
import time
import traceback
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import StaticPool

from flows.errors import DatabaseUnusableError
from flows.storage.database import MIGRATIONS, Database, open_database
from flows.storage.tables import HEAD, metadata, outbox_pause, writer


def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def database(tmp_path: Path):
    with open_database(url(tmp_path / "lodestone.db")) as opened:
        opened.upgrade()
        yield opened


def test_a_new_database_is_ready_in_a_second_and_nothing_is_printed(tmp_path, capfd, caplog):
    start = time.perf_counter()
    with open_database(url(tmp_path / "deep" / "er" / "lodestone.db")) as database:
        database.upgrade()
        assert database.revision() == HEAD
    assert time.perf_counter() - start < 1.5
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(database: Database):
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_head_known_without_alembic_is_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_the_first_migration_can_be_undone(database: Database):
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]


def test_upgrading_again_changes_nothing(database: Database):
    with database.writing() as connection:
        connection.execute(insert(writer).values(name="mine"))
    database.upgrade()
    with database.reading() as connection:
        assert "mine" in connection.scalars(select(writer.c.name)).all()


def test_two_starts_at_once_both_find_an_upgraded_database(tmp_path):
    problems: list[Exception] = []

    def start() -> None:
        try:
            with open_database(url(tmp_path / "lodestone.db")) as opened:
                opened.upgrade()
        except Exception as error:  # noqa: BLE001
            problems.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_the_file_keeps_a_write_ahead_log_and_foreign_keys(database: Database):
    with database.reading() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 30_000


def test_a_write_that_fails_half_way_leaves_nothing(database: Database):
    again = insert(writer).values(name="half")
    with pytest.raises(IntegrityError), database.writing() as connection:
        [connection.execute(again) for _ in range(2)]
    with database.reading() as connection:
        assert "half" not in connection.scalars(select(writer.c.name)).all()


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


def test_a_database_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "lodestone.db"
    with open_database(url(path)) as database:
        database.upgrade()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with (
        open_database(url(path)) as database,
        pytest.raises(DatabaseUnusableError, match=r"newer Lodestone \(revision 9999") as caught,
    ):
        database.upgrade()
    assert str(path) in str(caught.value)


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


def test_readers_of_postgresql_see_one_moment(monkeypatch):
    # Without a server: what the connection is asked for is all that is ours.
    driver = SimpleNamespace(paramstyle="pyformat", __version__="1.31.2", Error=Exception)
    engine = create_engine("postgresql+pg8000://host/db", module=driver, poolclass=StaticPool)
    asked: list[str | None] = []
    monkeypatch.setattr(
        Engine,
        "connect",
        lambda self: (
            asked.append(self.get_execution_options().get("isolation_level")) or nullcontext()
        ),
    )
    with Database(engine).reading():
        assert asked == ["REPEATABLE READ"]


def test_a_missing_driver_is_told_without_the_password():
    with pytest.raises(DatabaseUnusableError) as caught:
        open_database("oracle://user:hunter2@host/db")
    assert "hunter2" not in str(caught.value)
    assert "driver" in str(caught.value)


def test_a_table_that_is_missing_says_which_command_makes_it(tmp_path):
    with (
        open_database(url(tmp_path / "lodestone.db")) as database,
        pytest.raises(DatabaseUnusableError, match="lodestone db upgrade"),
        database.reading() as connection,
    ):
        connection.execute(select(writer))
