"""The one place that builds real things: database, sources, Slack sender, clock."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from alerts.errors import RuleFileError
from alerts.ruleset import Ruleset, load_ruleset
from alerts.slack_socket import Hear, SlackAnswers, SlackSocket
from flows.catalog import REFERENCE, Catalog, load_catalog
from flows.errors import SettingsError
from flows.policy import RARE_EARTHS, read_policy_decisions
from flows.postroom import now, on_slack, open_upgraded, sender
from flows.service import Service
from flows.settings import Settings
from flows.sources import Declared, HttpCache, Reach, load_declared, open_sources
from flows.sources.source import Source
from flows.storage.forecasts import ForecastStore
from flows.storage.ledger import SqlLedger
from flows.storage.observations import ObservationStore
from flows.storage.runs import RunStore
from forecasting.market.indicators import WINDOWS_MONTHS
from forecasting.models import models_named

LOG = logging.getLogger("lodestone.wiring")

INDICATOR_UNITS: Mapping[str, str] = {
    "net_import_reliance": "share",
    "hhi_origins": "0-10000",
    "hhi_mine": "0-10000",
    "hhi_origins_governance": "0-100000",
    "hhi_mine_governance": "0-100000",
}
"""Scales that limits are checked against; premiums, volatilities and mirror gaps have no upper end."""


def build(settings: Settings) -> Service:
    """A service on the real database, publishers and channel; the caller closes it.

    Raises a LodestoneError or AlertsError that says which file, setting or database can't be used.
    """
    try:
        models_named(settings.models)
    except ValueError as error:
        message = f"LODESTONE_MODELS (models in lodestone.toml): {error}"
        raise SettingsError(message) from None
    _require_folder("config_dir", settings.config_dir)
    _require_folder("snapshot_dir", settings.snapshot_dir)
    catalog = load_catalog(settings.config_dir, settings.snapshot_dir)
    ruleset = rules(settings, catalog)

    reach = reach_of(settings, catalog)

    def sources(live: bool) -> Sequence[Source]:
        return open_sources(reach, live=live)

    speaker = sender(settings)
    database = open_upgraded(settings)
    return Service(
        settings=settings,
        catalog=catalog,
        ruleset=ruleset,
        database=database,
        observations=ObservationStore(database),
        forecasts=ForecastStore(database),
        ledger=SqlLedger(database),
        runs=RunStore(database),
        open_sources=sources,
        sender=speaker,
        clock=now,
        pause=time.sleep,
    )


def reach_of(settings: Settings, catalog: Catalog) -> Reach:
    """What the sources may touch: folders, keys, the network, and the doors that the user declared."""
    declared = Declared()
    if settings.config_dir is not None:
        declared = load_declared(
            settings.config_dir / "sources.toml", series=catalog.stored_series.keys()
        )
    for sentence in declared.unused_keys(settings.keys):
        LOG.warning("%s", sentence)
    return Reach(
        pause=time.sleep,
        folder=settings.snapshot_dir,
        cache=HttpCache(settings.home / "http"),
        instead=settings.http_instead,
        komis_mirror_url=settings.komis_mirror_url,
        comtrade_key=settings.comtrade_key.get_secret_value(),
        keys={name: key.get_secret_value() for name, key in settings.keys.items()},
        declared=declared,
    )


def rules(settings: Settings, catalog: Catalog, file: Path | None = None) -> Ruleset:
    """The shipped rules, with the user's `rules.toml`, or `file` in its place, having the last word."""
    texts = [("rules.toml (shipped)", REFERENCE.joinpath("rules.toml").read_text(encoding="utf-8"))]
    own = file or (settings.config_dir / "rules.toml" if settings.config_dir else None)
    if own is not None and (file is not None or own.exists()):
        texts.append((str(own), _rule_text(own)))
    if settings.config_dir is not None and (settings.config_dir / "rule.toml").exists():
        LOG.warning(
            "%s: rule.toml is not read; did you mean rules.toml?",
            settings.config_dir / "rule.toml",
        )
    return load_ruleset(
        texts,
        known_series=set(catalog.series),
        known_markets=set(catalog.markets),
        known_scenarios=set(catalog.scenarios),
        series_units=catalog.units,
        known_sources=set(catalog.sources),
        known_publishers=_publishers(settings, catalog),
        known_indicators=_indicators(catalog),
        known_kinds=_policy_kinds(catalog),
        known_materials=RARE_EARTHS,
        series_kinds={name: entry.kind for name, entry in catalog.series.items()},
        series_titles={name: entry.title for name, entry in catalog.series.items()},
        indicator_units=INDICATOR_UNITS,
    )


def _rule_text(file: Path) -> str:
    """A rule file's text; raises RuleFileError when it can't be read, or isn't UTF-8."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        problem = "can't be read: it is not UTF-8 text; save it as UTF-8"
        raise RuleFileError(str(file), "", problem) from None
    except OSError as error:
        raise RuleFileError(str(file), "", f"can't be read: {error.strerror}") from None


def _publishers(settings: Settings, catalog: Catalog) -> set[str]:
    """Names under which rows are read, as visits carry them; opening a source asks nobody."""
    declared = Declared()
    if settings.config_dir is not None:
        declared = load_declared(
            settings.config_dir / "sources.toml", series=catalog.stored_series.keys()
        )
    reach = Reach(pause=time.sleep, folder=settings.snapshot_dir, declared=declared)
    return {one.name for one in open_sources(reach, live=True)}


def _indicators(catalog: Catalog) -> set[str]:
    """Names of market indicators that are bad when they rise; N-1 and stock cover are bad when they fall."""
    found = {"net_import_reliance"}
    for what in ("origins", "mine"):
        found |= {f"hhi_{what}", f"hhi_{what}_governance"}
    for name, entry in catalog.series.items():
        if entry.kind == "price":
            found |= {f"volatility_{months}m_{name}" for months in WINDOWS_MONTHS}
            found.add(f"ex_china_premium_{name}")
        elif entry.kind == "trade":
            found.add(f"mirror_gap_{name}")
    return found


def _policy_kinds(catalog: Catalog) -> set[str]:
    """Kinds of decisions in the file in use, and in the shipped one, which the shipped rules speak of."""
    shipped = read_policy_decisions(REFERENCE / "snapshot" / "policy_events.csv")
    return {one.kind for one in (*catalog.policy_decisions, *shipped) if one.kind}


def answers(settings: Settings) -> SlackAnswers:
    """What answers whoever pressed a button; raises SettingsError for a token or address that can't be one."""
    return on_slack(
        settings,
        "LODESTONE_SLACK_TOKEN",
        lambda url: SlackAnswers(settings.slack_token.get_secret_value(), url),
    )


def slack_socket(settings: Settings, hear: Hear) -> SlackSocket:
    """A connection of Socket Mode, not made yet; raises SettingsError for a token or address that can't be one."""
    return on_slack(
        settings,
        "LODESTONE_SLACK_APP_TOKEN",
        lambda url: SlackSocket(settings.slack_app_token.get_secret_value(), hear, url),
    )


def _require_folder(name: str, folder: Path | None) -> None:
    if folder is not None and not folder.is_dir():
        message = f"LODESTONE_{name.upper()} ({name} in lodestone.toml): {folder}: there is no such folder"
        raise SettingsError(message)
