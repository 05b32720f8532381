"""A home, a database and an environment of its own for tests of commands."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

LendDatabase = Callable[[], AbstractContextManager[str]]


@contextmanager
def own_home(monkeypatch: pytest.MonkeyPatch, folder: Path, lend: LendDatabase) -> Iterator[None]:
    """No variable of the caller's, a working folder of its own, and the database that tests run on."""
    for name in list(os.environ):
        if name.startswith("LODESTONE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LODESTONE_HOME", str(folder / "home"))
    # What waits out the pace of real channels has tests of its own.
    monkeypatch.setenv("LODESTONE_SLACK_MIN_INTERVAL_SECONDS", "0")
    monkeypatch.chdir(folder)
    with lend() as url:
        monkeypatch.setenv("LODESTONE_DATABASE_URL", url)
        yield
    # Commands send logs to the stderr of their test, which is closed by the next one.
    logger = logging.getLogger("lodestone")
    logger.handlers[:] = []
    logger.propagate = True


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    """The one JSON object that a command printed."""
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1, "one object, one line"
    return json.loads(printed)
