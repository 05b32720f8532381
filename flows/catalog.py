"""What the service knows before it reads any data: series, publishers, markets, scenarios, factors."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import product
from pathlib import Path
from string import Formatter
from typing import Any, TypeVar

from flows.declarations import entry_of, read_toml, tables_of, typed
from flows.errors import CatalogError
from flows.governance import read_governance
from flows.markets import FACTORS, PROJECTS, load_definitions
from flows.materials import Materials, read_materials
from flows.policy import PolicyDecision, elements_priced, read_policy_decisions
from forecasting.market.definitions import Factor, LicenceRegime, Market, Project, Scenario
from forecasting.market.indicators import GovernanceScore
from forecasting.results import PolicyAct
from forecasting.series import PolicyEvent

T = TypeVar("T")

REFERENCE = resources.files("flows") / "reference"
FREQUENCIES = ("day", "month", "year")
KINDS = ("price", "trade", "reference")
OUTSIDE_CHINA = "{series}_europe"
"""A monthly price that is forecast may have a twin outside China under this name: the premium is theirs."""


@dataclass(frozen=True, slots=True)
class SeriesEntry:
    """One series of the catalogue."""

    series: str
    title: str
    unit: str
    frequency: str
    kind: str
    source: str
    jump: float = 0.0
    lag_days: int = 0
    january_with_february: bool = False
    flat_days: int = 0
    vat_rebated: bool = False
    splice: tuple[str, ...] = ()
    forecast: bool = False

    @property
    def allows_zero(self) -> bool:
        return self.kind != "price"

    @property
    def max_step_ratio(self) -> float | None:
        return self.jump or None


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """A group of series whose age is watched together."""

    source: str
    title: str
    limit_days: int


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything declared in the reference files, checked against each other."""

    series: Mapping[str, SeriesEntry]
    sources: Mapping[str, SourceEntry]
    markets: Mapping[str, Market]
    scenarios: Mapping[str, Scenario]
    factors: Mapping[str, Factor]
    materials: Materials
    projects: Mapping[str, Project] = field(default_factory=dict)
    regimes: tuple[LicenceRegime, ...] = ()
    exports: Mapping[str, str] = field(default_factory=dict)
    """Origin → the series that says how much of its licensed exports gets through."""
    policy_decisions: tuple[PolicyDecision, ...] = ()
    governance: Mapping[str, GovernanceScore] = field(default_factory=dict)

    @property
    def units(self) -> dict[str, str]:
        return {name: entry.unit for name, entry in self.series.items()}

    @property
    def stored_series(self) -> dict[str, SeriesEntry]:
        """Series that hold observations of their own: all but the spliced ones."""
        return {name: entry for name, entry in self.series.items() if not entry.splice}

    @property
    def forecast_series(self) -> tuple[str, ...]:
        """Series to forecast on every run: those marked so, and those a market rests on."""
        marked = [name for name, entry in self.series.items() if entry.forecast]
        needed = [name for market in self.markets.values() for name in market.series]
        return tuple(dict.fromkeys([*marked, *needed]))

    def policy_events(self, series: str, known_at: datetime) -> tuple[PolicyEvent, ...]:
        """Decisions known at the moment that push the price of the series, oldest first; none for other series.

        A decision concerns the price of an element that its materials name, by itself or in a group.
        """
        if self.series[series].kind != "price":
            return ()
        elements = elements_priced(series)
        return tuple(
            PolicyEvent(one.on, is_tightening=one.direction == "tighten")
            for one in self.policy_decisions
            if one.moves_supply and one.on <= known_at.date() and elements & one.elements
        )

    def policy_acts(self, known_at: datetime) -> tuple[PolicyAct, ...]:
        """Every decision known at the moment, whatever it concerns, oldest first."""
        return tuple(one.act for one in self.policy_decisions if one.on <= known_at.date())

    def parts(self, series: str) -> tuple[str, ...]:
        """The stored series that `series` is read from, most trusted first."""
        return self.series[series].splice or (series,)


def load_catalog(config_dir: Path | None = None, snapshot_dir: Path | None = None) -> Catalog:
    """The shipped reference files, with what stands in files of the same names in `config_dir`.

    Markets, scenarios and licence regimes are added, or replaced by name; series and sources are added, and of
    those that are shipped only the fields given are changed. factors.csv and projects.csv of `snapshot_dir` take
    the place of the shipped ones. Raises CatalogError naming file, entry, field and what is allowed.
    """
    sources: dict[str, SourceEntry] = {}
    series: dict[str, SeriesEntry] = {}
    for folder in [REFERENCE, config_dir] if config_dir else [REFERENCE]:
        _declare(
            read_toml(folder.joinpath("catalog.toml"), optional=folder is config_dir),
            sources,
            series,
        )
    _check_series(series, sources)
    found = load_definitions(
        REFERENCE,
        config_dir,
        factors=_snapshot_file(snapshot_dir, FACTORS),
        projects=_snapshot_file(snapshot_dir, PROJECTS),
        units={name: entry.unit for name, entry in series.items()},
        frequencies={name: entry.frequency for name, entry in series.items()},
    )
    return Catalog(
        series,
        sources,
        found.markets,
        found.scenarios,
        found.factors,
        read_materials(partial(_snapshot_file, snapshot_dir), REFERENCE / "stages.toml"),
        found.projects,
        found.regimes,
        found.exports,
        read_policy_decisions(_snapshot_file(snapshot_dir, "policy_events.csv")),
        read_governance(_snapshot_file(snapshot_dir, "governance.csv")),
    )


def _declare(
    data: Mapping[str, Any], sources: dict[str, SourceEntry], series: dict[str, SeriesEntry]
) -> None:
    """Add what one catalog.toml declares; of an entry that is there already only the fields given change."""
    file = "catalog.toml"
    for key in data:
        if key not in ("sources", "series", "family"):
            message = f"{file}: {key}: there is no such table; known: sources, series, family"
            raise CatalogError(message)
    for name, values in _named(data.get("sources", {}), file, "sources"):
        before = asdict(sources[name]) if name in sources else {"source": name}
        sources[name] = entry_of(SourceEntry, file, f"sources.{name}", {**before, **values})
    declared = dict(series)
    for name, entry in _families(data.get("family", []), file):
        if name in series or name in data.get("series", {}):
            message = f"{file}: series {name!r} is declared twice (once by a family)"
            raise CatalogError(message)
        declared[name] = entry
    for name, values in _named(data.get("series", {}), file, "series"):
        before = asdict(declared[name]) if name in declared else {"series": name}
        declared[name] = entry_of(SeriesEntry, file, f"series.{name}", {**before, **values})
    series.update(declared)


def _named(tables: Any, file: str, what: str) -> Iterable[tuple[str, dict[str, Any]]]:
    if not isinstance(tables, dict) or not all(isinstance(it, dict) for it in tables.values()):
        message = f"{file}: {what}: is a table of tables, written [{what}.NAME]"
        raise CatalogError(message)
    return tables.items()


def _snapshot_file(folder: Path | None, name: str) -> Traversable:
    """The user's file of this name where there is one, else the shipped one."""
    own = folder / name if folder is not None else None
    return own if own is not None and own.exists() else REFERENCE / "snapshot" / name


def _check_series(series: Mapping[str, SeriesEntry], sources: Mapping[str, SourceEntry]) -> None:
    for name, entry in series.items():
        for label, value, allowed in (
            ("frequency", entry.frequency, FREQUENCIES),
            ("kind", entry.kind, KINDS),
            ("source", entry.source, tuple(sources)),
        ):
            if value not in allowed:
                message = f"catalog.toml: series.{name}: {label}: {value!r} is not one of {', '.join(allowed)}"
                raise CatalogError(message)
        for label, is_fine, rule in (
            ("series", len(name) <= 80, "a name of at most 80 characters"),
            ("unit", 0 < len(entry.unit) <= 40, "a unit of at most 40 characters"),
            ("jump", entry.jump == 0 or entry.jump > 1, "a factor above 1, or 0 for no bound"),
            ("lag_days", entry.lag_days >= 0, "0 or more days"),
            ("flat_days", entry.flat_days >= 0, "0 or more working days"),
        ):
            if not is_fine:
                found = getattr(entry, label)
                message = f"catalog.toml: series.{name}: {label}: {found!r} is not {rule}"
                raise CatalogError(message)
        for part in entry.splice:
            if part not in series or series[part].splice:
                message = f"catalog.toml: series.{name}: splice: {part!r} is not a stored series"
                raise CatalogError(message)
            if series[part].unit != entry.unit:
                message = f"catalog.toml: series.{name}: splice: {part} is in {series[part].unit}, not {entry.unit}"
                raise CatalogError(message)
        outside = series.get(OUTSIDE_CHINA.format(series=name))
        if outside and (entry.kind, entry.forecast, entry.frequency) == ("price", True, "month"):
            _require_comparable(outside, entry)


def _require_comparable(outside: SeriesEntry, inside: SeriesEntry) -> None:
    """Raise CatalogError unless both are prices of one unit and rhythm: a premium over anything else is none."""
    for label, mend in (
        ("kind", ""),
        ("unit", "; figures in another one are converted to it as they are read"),
        (
            "frequency",
            "; declare a daily price under a name of its own, and splice it into this one",
        ),
    ):
        found, wanted = getattr(outside, label), getattr(inside, label)
        if found != wanted:
            message = (
                f"catalog.toml: series.{outside.series}: {label}: {found!r}; "
                f"the premium over {inside.series} needs {wanted!r}{mend}"
            )
            raise CatalogError(message)


def _families(tables: Any, file: str) -> Iterator[tuple[str, SeriesEntry]]:
    """The series that families of names stand for: one for each combination of their words."""
    for table in tables_of(tables, file, "family", "family"):
        own = dict(table)
        pattern, title = own.pop("series", ""), own.pop("title", "")
        place = f"family {pattern!r}"
        parts = _placeholders(pattern, f"{file}: {place}: series")
        if not parts:
            message = f"{file}: {place}: series: has no word in braces, such as {{partner}}"
            raise CatalogError(message)
        for part in _placeholders(title, f"{file}: {place}: title"):
            if part not in parts:
                message = f"{file}: {place}: title: {{{part}}} is not in series"
                raise CatalogError(message)
        choices = [_choices(part, own.pop(part, None), f"{file}: {place}") for part in parts]
        for chosen in product(*choices):
            values = dict(own)
            for choice in chosen:
                for key, value in choice.sets.items():
                    if key in values:
                        message = (
                            f"{file}: {place}: {choice.part}.{choice.name}: {key}: is set twice"
                        )
                        raise CatalogError(message)
                    values[key] = value
            series = pattern.format_map({it.part: it.name for it in chosen})
            values["series"] = series
            values["title"] = title.format_map({it.part: it.words for it in chosen})
            yield series, entry_of(SeriesEntry, file, f"{place}: {series}", values)


@dataclass(frozen=True, slots=True)
class _Choice:
    """One thing that may stand for a word in braces: in names, for a reader, and the fields it sets."""

    part: str
    name: str
    words: str
    sets: Mapping[str, Any]


def _placeholders(pattern: Any, place: str) -> list[str]:
    """The words in braces of a pattern, in order."""
    try:
        pieces = list(Formatter().parse(typed(pattern, str, place)))
    except ValueError as error:
        message = f"{place}: {pattern!r}: {error}"
        raise CatalogError(message) from None
    found = [name for _, name, _, _ in pieces if name is not None]
    is_plain = all(
        name is None or (name.isidentifier() and not form and not conversion)
        for _, name, form, conversion in pieces
    )
    if not is_plain or len(set(found)) < len(found):
        message = f"{place}: {pattern!r}: braces hold one plain word each, and each word once"
        raise CatalogError(message)
    return found


def _choices(part: str, table: Any, place: str) -> list[_Choice]:
    if not isinstance(table, dict) or not table:
        message = f"{place}: {part}: is a table, [family.{part}]: name = 'what a reader sees'"
        raise CatalogError(message)
    choices = []
    for name, value in table.items():
        sets = dict(value) if isinstance(value, dict) else {"words": value}
        words = sets.pop("words", None)
        if not isinstance(words, str):
            message = f"{place}: {part}.{name}: words: is missing or no text"
            raise CatalogError(message)
        choices.append(_Choice(part, name, words, sets))
    return choices
