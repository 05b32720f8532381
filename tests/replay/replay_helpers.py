"""A home with the bundled figures, and replays of short spans of it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from alerts.ruleset import Ruleset
from flows import steps
from flows.replay.result import ReplayResult
from flows.service import Service, moment
from flows.settings import load_settings
from flows.wiring import build

QUICK = {"LODESTONE_PATHS": "100", "LODESTONE_MARKET_PATHS": "200"}


@contextmanager
def opened(home: Path, **changes: str) -> Iterator[Service]:
    """A service on a home of its own; the caller's environment has no say."""
    variables = {**QUICK, **changes, "LODESTONE_HOME": str(home)}
    service = build(load_settings(variables, home / "none.toml"))
    try:
        yield service
    finally:
        service.close()


def make_home(home: Path) -> Path:
    """A home whose database holds every bundled figure and nothing else."""
    home.mkdir()
    with opened(home) as service:
        steps.ingest(service, moment(service, None, live=False))
    return home


def copy_home(home: Path, to: Path) -> Path:
    """The same figures in a home of their own."""
    to.mkdir()
    shutil.copy(home / "lodestone.db", to / "lodestone.db")
    return to


def only(ruleset: Ruleset, *names: str) -> Ruleset:
    """The rules of these names."""
    found = tuple(rule for rule in ruleset.rules if rule.name in names)
    assert len(found) == len(names)
    return replace(ruleset, rules=found)


def told(result: ReplayResult) -> list[tuple[object, ...]]:
    """Everything that a replay says happened."""
    rows = [
        (row.at, row.incident, row.transition, row.reason, row.headline) for row in result.timeline
    ]
    return [*rows, *((one.at, one.incident, one.kind, one.text) for one in result.messages)]
