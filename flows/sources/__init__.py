"""The sources of figures: one publisher, one module; `SOURCES` says how each is opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources.abc import Traversable

from flows.sources.comtrade import ComtradeSource
from flows.sources.http import HttpClient, HttpPolicy, Pause
from flows.sources.komis import KomisSource
from flows.sources.snapshot import bundled_folder, snapshot_sources
from flows.sources.source import Citation, FetchResult, Kind, Problem, Source

__all__ = [
    "SOURCES",
    "Citation",
    "Entry",
    "FetchResult",
    "HttpClient",
    "HttpPolicy",
    "Kind",
    "Problem",
    "Reach",
    "Source",
    "bundled_folder",
    "open_sources",
]


@dataclass(frozen=True, slots=True)
class Reach:
    """What sources need from outside: the folder of figures, and a way into the network."""

    folder: Traversable
    open_client: Callable[[str], HttpClient]  # by source name


@dataclass(frozen=True, slots=True)
class Entry:
    """A source by name: its kind, whether it asks the network, and how it is opened."""

    name: str
    kind: Kind
    is_live: bool
    open: Callable[[Reach], Source]


def _snapshot(at: int, reach: Reach) -> Source:
    return snapshot_sources(reach.folder)[at]


_ENTRIES = (
    Entry("snapshot-prices", "price", False, partial(_snapshot, 0)),
    Entry("snapshot-trade", "trade", False, partial(_snapshot, 1)),
    Entry("snapshot-reference", "reference", False, partial(_snapshot, 2)),
    Entry("komis", "price", True, lambda reach: KomisSource(partial(reach.open_client, "komis"))),
    Entry(
        "comtrade",
        "trade",
        True,
        lambda reach: ComtradeSource(partial(reach.open_client, "comtrade")),
    ),
)
SOURCES: Mapping[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def open_sources(
    *,
    pause: Pause,
    folder: Traversable | None = None,
    live: bool = False,
    policy: HttpPolicy | None = None,
) -> tuple[Source, ...]:
    """The snapshot's sources, and with `live` the publishers on the network after them.

    Nothing is read or asked before `fetch`; `pause` waits the seconds it is given.
    """

    def open_client(name: str) -> HttpClient:
        return HttpClient(name, pause=pause, policy=policy)

    reach = Reach(bundled_folder() if folder is None else folder, open_client)
    return tuple(entry.open(reach) for entry in SOURCES.values() if live or not entry.is_live)
