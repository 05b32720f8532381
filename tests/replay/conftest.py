"""The home that replays are tested on: made once, copied by each test."""

from pathlib import Path

import pytest

from tests.replay.replay_helpers import copy_home, make_home


@pytest.fixture(scope="session")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with every bundled figure; not to be written to."""
    return make_home(tmp_path_factory.mktemp("replay") / "figures")


@pytest.fixture
def home(figures: Path, tmp_path: Path) -> Path:
    """A home with every bundled figure."""
    return copy_home(figures, tmp_path / "home")
