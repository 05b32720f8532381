"""Markets, scenarios, licence regimes, plants and factors: read from files, checked against each other."""

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from importlib.resources.abc import Traversable
from typing import Any

from flows.declarations import entry_of, read_table, read_toml, tables_of, typed
from flows.errors import CatalogError
from forecasting.market.checks import (
    check_common_factors,
    check_market,
    check_project,
    check_regimes,
    check_scenario,
)
from forecasting.market.definitions import (
    CONFIDENCE_ORDER,
    Component,
    DemandChange,
    Factor,
    LicenceFreeze,
    LicenceRegime,
    Market,
    MarketDefinitionError,
    NewPlant,
    Project,
    ProjectSlip,
    Scenario,
    SupplyChange,
)
from forecasting.market.units import parse_unit

FACTORS, PROJECTS = "factors.csv", "projects.csv"
MARKETS, SCENARIOS, LICENCES = "markets.toml", "scenarios.toml", "licences.toml"
FACTOR_COLUMNS = ("factor", "low", "central", "high", "unit", "source", "confidence")
_PROJECT_FIELDS = fields(Project)
_OPTIONAL_PROJECT_COLUMNS = ("full_on", "note")

# Table of a scenario, the field it fills, and what stands in it.
_CHANGES: Mapping[str, tuple[str, type]] = {
    "freeze": ("freezes", LicenceFreeze),
    "supply": ("supply", SupplyChange),
    "slip": ("slips", ProjectSlip),
    "plant": ("plants", NewPlant),
    "demand": ("demand", DemandChange),
}


@dataclass(frozen=True, slots=True)
class Definitions:
    """What markets are made of, by name; every part was checked against the others."""

    factors: Mapping[str, Factor]
    projects: Mapping[str, Project] = field(default_factory=dict)
    markets: Mapping[str, Market] = field(default_factory=dict)
    scenarios: Mapping[str, Scenario] = field(default_factory=dict)
    regimes: tuple[LicenceRegime, ...] = ()
    exports: Mapping[str, str] = field(default_factory=dict)
    """Origin → the series that says how much of its licensed exports gets through."""


def load_definitions(
    shipped: Traversable,
    own: Traversable | None,
    *,
    factors: Traversable,
    projects: Traversable,
    units: Mapping[str, str],
    frequencies: Mapping[str, str],
) -> Definitions:
    """The definitions of the folder `shipped`, with those of the folder `own` added, or in their place by name.

    `units` and `frequencies` are those of the catalogue, by series. Raises CatalogError naming file, entry
    and field.
    """
    found = Definitions(read_factors(factors), read_projects(projects))
    markets: dict[str, Market] = {}
    scenarios: dict[str, Scenario] = {}
    regimes: dict[str, LicenceRegime] = {}
    exports: dict[str, str] = {}
    for folder in (shipped, own):
        if folder is None:
            continue

        def read(file: str, folder: Traversable = folder) -> dict[str, Any]:
            return read_toml(folder.joinpath(file), optional=folder is own)

        markets |= {name: _market(name, it) for name, it in read(MARKETS).items()}
        scenarios |= {name: _scenario(name, it) for name, it in read(SCENARIOS).items()}
        licences = read(LICENCES)
        exports |= _exports(licences.pop("exports", {}), frequencies)
        regimes |= {name: _regime(name, it) for name, it in licences.items()}
    whole = Definitions(
        found.factors, found.projects, markets, scenarios, tuple(regimes.values()), exports
    )
    _check(whole, units, frequencies)
    return whole


def read_factors(file: Traversable) -> dict[str, Factor]:
    """Factors by name; raises CatalogError naming file, row and column."""
    found: dict[str, Factor] = {}
    for row in read_table(file, FACTOR_COLUMNS, ("note",)):
        name = row.text("factor")
        place = f"{row.place}: {name}"
        if name in found:
            message = f"{place}: factor: the name is there twice"
            raise CatalogError(message)
        if not row.cells["source"]:
            message = f"{place}: source: every figure needs one"
            raise CatalogError(message)
        low, central, high = (row.number(column) for column in ("low", "central", "high"))
        confidence = row.word("confidence", CONFIDENCE_ORDER)
        unit = row.text("unit")
        # Also of a factor that no market uses yet: it would be found only when one does.
        with _refusing_at(f"{place}: unit"):
            parse_unit(unit)
        with _refusing_at(row.place):
            found[name] = Factor(name, low, central, high, unit, row.cells["source"], confidence)
    return found


def read_projects(file: Traversable) -> dict[str, Project]:
    """Plants by name; raises CatalogError naming file, row and column."""
    columns = [one.name for one in _PROJECT_FIELDS if one.name not in _OPTIONAL_PROJECT_COLUMNS]
    found: dict[str, Project] = {}
    for row in read_table(file, columns, _OPTIONAL_PROJECT_COLUMNS):
        name = row.text("project")
        if name in found:
            message = f"{row.place}: project: {name!r} is there twice"
            raise CatalogError(message)
        values: dict[str, Any] = {
            # An empty cell of what may be left out is left out; of anything else it is named below.
            column: cell
            for column, cell in row.cells.items()
            if cell or column not in _OPTIONAL_PROJECT_COLUMNS
        }
        values["capacity"] = row.number("capacity")
        project = entry_of(Project, row.place, name, values)
        with _refusing_at(row.place):
            check_project(project)
        found[name] = project
    return found


def _market(name: str, values: Any) -> Market:
    own = _table(MARKETS, f"market {name}", f"[{name}]", values)
    components = tuple(
        entry_of(
            Component,
            MARKETS,
            f"market {name}: {side} {item.get('name', '?')!r}",
            {**item, "side": side},
        )
        for side in ("supply", "demand")
        for item in tables_of(own.pop(side, []), MARKETS, f"market {name}", side)
    )
    return entry_of(
        Market, MARKETS, f"market {name}", {"market": name, **own, "components": components}
    )


def _scenario(name: str, values: Any) -> Scenario:
    place = f"scenario {name}"
    own = _table(SCENARIOS, place, f"[{name}]", values)
    changes: dict[str, Any] = {}
    for table, (kept, kind) in _CHANGES.items():
        items = tables_of(own.pop(table, []), SCENARIOS, place, table)
        changes[kept] = tuple(entry_of(kind, SCENARIOS, f"{place}: {table}", it) for it in items)
    for key in own:
        if key not in ("title", "includes"):
            known = ("title", "includes", *_CHANGES)
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            message = f"{SCENARIOS}: {place}: {key}: there is no such field or table; {hint}"
            raise CatalogError(message)
    return entry_of(Scenario, SCENARIOS, place, {"scenario": name, **own, **changes})


def _regime(name: str, values: Any) -> LicenceRegime:
    place = f"regime {name}"
    own = _table(LICENCES, place, f"[{name}]", values)
    return entry_of(LicenceRegime, LICENCES, place, {"regime": name, **own})


def _exports(values: Any, frequencies: Mapping[str, str]) -> dict[str, str]:
    """Origin → series, each a monthly one of the catalogue."""
    exports: dict[str, str] = {}
    for origin, value in _table(LICENCES, "exports", "[exports]", values).items():
        place = f"{LICENCES}: exports: {origin}"
        series = typed(value, str, place)
        if series not in frequencies:
            near = difflib.get_close_matches(series, frequencies, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            message = f"{place}: there is no series {series!r}{hint}"
            raise CatalogError(message)
        if frequencies[series] != "month":
            message = f"{place}: {series} comes once a {frequencies[series]}; it must be monthly"
            raise CatalogError(message)
        exports[origin] = series
    return exports


def _table(file: str, place: str, header: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        what = place.split(" ", maxsplit=1)[0]
        article = "an" if what == "exports" else "a"
        name = "exports table" if what == "exports" else what
        message = f"{file}: {place}: {article} {name} is a table, written {header}"
        raise CatalogError(message)
    return dict(values)


def _check(
    definitions: Definitions, units: Mapping[str, str], frequencies: Mapping[str, str]
) -> None:
    """Refuse what can't be computed; the file's name stands before what is wrong."""
    one = definitions
    licensed = {*one.exports, *(regime.origin for regime in one.regimes)}
    with _refusing_at(FACTORS):
        check_common_factors(one.factors)
    with _refusing_at(LICENCES):
        check_regimes(one.regimes, one.factors)
    with _refusing_at(MARKETS):
        for market in one.markets.values():
            others = [it for it in one.markets.values() if it is not market]
            check_market(
                market,
                one.factors,
                units,
                frequencies,
                one.projects,
                licensed=licensed,
                places={it.importer for it in others}
                | {line.origin for it in others for line in it.components},
            )
    with _refusing_at(SCENARIOS):
        for scenario in one.scenarios.values():
            check_scenario(
                scenario,
                one.scenarios,
                one.markets,
                one.factors,
                one.projects,
                one.regimes,
                licensed=licensed,
            )
    if "base" not in one.scenarios:
        message = f"{SCENARIOS}: the scenario base is missing"
        raise CatalogError(message)


@contextmanager
def _refusing_at(place: str) -> Iterator[None]:
    """A definition that is refused inside is told with its place."""
    try:
        yield
    except MarketDefinitionError as error:
        message = f"{place}: {error}"
        raise CatalogError(message) from None
