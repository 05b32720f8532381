"""A Slack of its own for each test, and what a reader sees when nobody is killed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.storage.database import open_database
from flows.storage.ledger import SqlLedger
from tests.chaos.harness import play, seen_by_a_reader
from tests.postgres import Server, running_server
from tests.slack_standin import StandIn


@pytest.fixture
def slack():
    with StandIn() as stand_in:
        stand_in.workspace.channel_id("#alerts")
        yield stand_in


@pytest.fixture
def ledger(database_url: str):
    with open_database(database_url) as database:
        yield SqlLedger(database)


@pytest.fixture(scope="session")
def unharmed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[object]]:
    """What a reader of the channel sees of a story that no worker died in; each is played once."""
    played: dict[str, list[object]] = {}

    def of(story: str) -> list[object]:
        if story not in played:
            path: Path = tmp_path_factory.mktemp("unharmed") / "lodestone.db"
            with StandIn() as slack:
                slack.workspace.channel_id("#alerts")
                play(f"sqlite:///{path}", slack, "--story", story)
                played[story] = list(seen_by_a_reader(slack.workspace))
        return played[story]

    return of


@pytest.fixture
def crashable(postgres: Server):
    """A server of its own: one that crashes takes the sessions of everybody with it."""
    with running_server(own=True) as server:
        yield server


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A file with every table and no rows."""
    path = tmp_path / "lodestone.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"
