"""The sources of figures: one publisher, one module; which are opened, with what, and in which order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.resources.abc import Traversable

from flows.sources import comtrade, komis
from flows.sources.comtrade import ComtradeSource
from flows.sources.csv_drop import CsvDropSource
from flows.sources.declared import Declared, load_declared
from flows.sources.ecb_fx import EcbFxSource
from flows.sources.http import HttpClient, HttpPolicy, Pause
from flows.sources.http_cache import HttpCache
from flows.sources.http_json import HttpJsonSource
from flows.sources.iea_ev import IeaEvSource
from flows.sources.komis import KomisSource
from flows.sources.snapshot import bundled_folder, snapshot_sources
from flows.sources.source import Citation, FetchResult, Kind, Problem, Source
from flows.sources.usgs import UsgsSource

__all__ = [
    "LIVE",
    "Citation",
    "Declared",
    "FetchResult",
    "HttpCache",
    "HttpClient",
    "HttpPolicy",
    "Kind",
    "Problem",
    "Reach",
    "Source",
    "bundled_folder",
    "load_declared",
    "open_sources",
]


@dataclass(frozen=True, slots=True)
class Reach:
    """What sources need from outside: folders, ways into the network, keys, and what the user declared."""

    pause: Pause
    folder: Traversable | None = None  # None: the bundled snapshot
    policy: HttpPolicy | None = None
    cache: HttpCache | None = None
    instead: Mapping[str, str] = field(default_factory=dict)  # origins that stand in for others
    komis_mirror_url: str = ""
    comtrade_key: str = field(default="", repr=False)
    keys: Mapping[str, str] = field(
        default_factory=dict, repr=False
    )  # by name of the http_json source
    declared: Declared = field(default_factory=Declared)

    def client(self, name: str) -> HttpClient:
        """A client that speaks for one source."""
        policy = self.policy or _POLICIES.get(name)
        return HttpClient(
            name, pause=self.pause, policy=policy, cache=self.cache, instead=self.instead
        )


# How often these two may be asked is theirs to say.
_POLICIES: Mapping[str, HttpPolicy] = {"komis": komis.POLICY, "comtrade": comtrade.POLICY}

_Opening = Callable[[Reach], Source]

# Exchange rates come first: prices in other currencies are converted with them.
_LIVE: tuple[tuple[str, Kind, _Opening], ...] = (
    ("ecb_fx", "price", lambda reach: EcbFxSource(partial(reach.client, "ecb_fx"))),
    (
        "komis",
        "price",
        lambda reach: KomisSource(
            partial(reach.client, "komis"), mirror_url=reach.komis_mirror_url
        ),
    ),
    (
        "comtrade",
        "trade",
        lambda reach: ComtradeSource(partial(reach.client, "comtrade"), key=reach.comtrade_key),
    ),
    ("usgs", "reference", lambda reach: UsgsSource(partial(reach.client, "usgs"))),
    ("iea_ev", "reference", lambda reach: IeaEvSource(partial(reach.client, "iea_ev"))),
)
LIVE: Mapping[str, Kind] = {name: kind for name, kind, _ in _LIVE}
"""The publishers on the network that Lodestone knows by itself, by name."""


def open_sources(reach: Reach, *, live: bool = False) -> tuple[Source, ...]:
    """The snapshot's sources and the user's folders; with `live` what is on the network too.

    A publisher that is in the snapshot and on the network stands here twice, under one name: first its
    bundled figures, then itself. Nothing is asked before `fetch`.
    """
    offline: list[Source] = [*snapshot_sources(reach.folder)]
    online: list[Source] = [opening(reach) for _, _, opening in _LIVE]
    for drop in reach.declared.csv_drops:
        source = CsvDropSource(
            drop, partial(reach.client, f"csv_drop.{drop.name}"), reach.keys.get(drop.name, "")
        )
        (online if source.is_live else offline).append(source)
    online += [
        HttpJsonSource(
            one, reach.keys.get(one.name, ""), partial(reach.client, f"http_json.{one.name}")
        )
        for one in reach.declared.http_jsons
    ]
    opened = offline + online if live else offline
    order = {"price": 0, "trade": 1, "reference": 2}
    # Stable: within a kind, rates stay first, and a publisher's bundled figures before its own.
    return tuple(sorted(opened, key=lambda it: (order[it.kind], it.name != "ecb_fx")))
