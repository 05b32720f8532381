"""What the service knows before it reads any data: series, publishers, markets, scenarios, factors."""

import csv
import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from flows.errors import CatalogError
from forecasting.market.definitions import (
    Change,
    Component,
    Factor,
    Market,
    MarketDefinitionError,
    Scenario,
    check_market,
    check_scenario,
)

T = TypeVar("T")

REFERENCE = resources.files("flows") / "reference"
FREQUENCIES = ("day", "month", "year")
KINDS = ("price", "trade", "reference")
EXPORTS = "cn_magnet_exports"
"""The series that says how much of the licensed exports gets through."""


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

    def parts(self, series: str) -> tuple[str, ...]:
        """The stored series that `series` is read from, most trusted first."""
        return self.series[series].splice or (series,)


def load_catalog(config_dir: Path | None = None, snapshot_dir: Path | None = None) -> Catalog:
    """The shipped reference files, with markets and scenarios of `config_dir` added or replaced by name.

    Raises CatalogError naming file, entry, field and what is allowed.
    """
    data = _toml(REFERENCE.joinpath("catalog.toml"))
    sources = {
        name: _entry(SourceEntry, "catalog.toml", f"sources.{name}", {"source": name, **values})
        for name, values in data.get("sources", {}).items()
    }
    series = {
        name: _entry(SeriesEntry, "catalog.toml", f"series.{name}", {"series": name, **values})
        for name, values in data.get("series", {}).items()
    }
    _check_series(series, sources)
    factors = _factors(_snapshot(snapshot_dir).joinpath("factors.csv"))
    markets: dict[str, Market] = {}
    scenarios: dict[str, Scenario] = {}
    for folder in [REFERENCE, config_dir] if config_dir else [REFERENCE]:
        for name, values in _toml(
            folder.joinpath("markets.toml"), optional=folder is config_dir
        ).items():
            markets[name] = _market("markets.toml", name, values)
        for name, values in _toml(
            folder.joinpath("scenarios.toml"), optional=folder is config_dir
        ).items():
            scenarios[name] = _scenario("scenarios.toml", name, values, factors)
    catalog = Catalog(series, sources, markets, scenarios, factors)
    frequencies = {name: entry.frequency for name, entry in series.items()}
    for market in markets.values():
        try:
            check_market(market, factors, catalog.units, frequencies)
        except MarketDefinitionError as error:
            message = f"markets.toml: {error}"
            raise CatalogError(message) from None
    if "base" not in scenarios:
        message = "scenarios.toml: the scenario base is missing"
        raise CatalogError(message)
    return catalog


def _snapshot(folder: Path | None) -> Traversable:
    own = folder is not None and (folder / "factors.csv").exists()
    return folder if own and folder else REFERENCE.joinpath("snapshot")


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
        for part in entry.splice:
            if part not in series or series[part].splice:
                message = f"catalog.toml: series.{name}: splice: {part!r} is not a stored series"
                raise CatalogError(message)
            if series[part].unit != entry.unit:
                message = f"catalog.toml: series.{name}: splice: {part} is in {series[part].unit}, not {entry.unit}"
                raise CatalogError(message)


def _market(file: str, name: str, values: Any) -> Market:
    if not isinstance(values, dict):
        message = f"{file}: {name}: a market is a table, [{name}]"
        raise CatalogError(message)
    own = dict(values)
    components = tuple(
        _entry(
            Component,
            file,
            f"market {name}: {side} {item.get('name', '?')!r}",
            {**item, "side": side},
        )
        for side in ("supply", "demand")
        for item in _tables(own.pop(side, []), file, f"market {name}", side)
    )
    return _entry(Market, file, f"market {name}", {"market": name, **own, "components": components})


def _tables(value: Any, file: str, place: str, key: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        message = f"{file}: {place}: {key}: is a list of tables, written [[….{key}]]"
        raise CatalogError(message)
    return value


def _scenario(file: str, name: str, values: Any, factors: Mapping[str, Factor]) -> Scenario:
    place = f"scenario {name}"
    if not isinstance(values, dict):
        message = f"{file}: {place}: a scenario is a table, [{name}]"
        raise CatalogError(message)
    own = dict(values)
    tables = _tables(own.pop("change", []), file, place, "change")
    changes = tuple(_entry(Change, file, place, item) for item in tables)
    scenario = _entry(Scenario, file, place, {"scenario": name, **own, "changes": changes})
    try:
        check_scenario(scenario, factors)
    except MarketDefinitionError as error:
        message = f"{file}: {error}"
        raise CatalogError(message) from None
    return scenario


def _factors(path: Traversable) -> dict[str, Factor]:
    factors: dict[str, Factor] = {}
    try:
        rows: Iterable[dict[str, str]] = list(
            csv.DictReader(path.read_text(encoding="utf-8").splitlines())
        )
    except OSError as error:
        message = f"{path}: can't be read: {error.strerror}"
        raise CatalogError(message) from None
    for number, row in enumerate(rows, start=2):
        place = f"factors.csv: row {number}: {row.get('factor', '?')}"
        if not row.get("source"):
            message = f"{place}: source: every figure needs one"
            raise CatalogError(message)
        try:
            low, central, high = (float(row[key]) for key in ("low", "central", "high"))
            factors[row["factor"]] = Factor(
                row["factor"], low, central, high, row["unit"], row["source"], row["confidence"]
            )
        except (KeyError, TypeError, ValueError) as error:
            message = f"{place}: low, central and high must be numbers: {error}"
            raise CatalogError(message) from None
        except MarketDefinitionError as error:
            message = f"{place}: {error}"
            raise CatalogError(message) from None
    return factors


def _toml(path: Traversable, *, optional: bool = False) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if optional:
            return {}
        message = f"{path}: the file is missing"
        raise CatalogError(message) from None
    except tomllib.TOMLDecodeError as error:
        message = f"{path}: not valid TOML: {error}"
        raise CatalogError(message) from None
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: can't be read: {error}"
        raise CatalogError(message) from None


def _entry(kind: type[T], file: str, place: str, values: dict[str, Any]) -> T:
    """A `kind` from a TOML table; every key known, every value of the field's type."""
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            message = f"{file}: {place}: {key}: there is no such field; {hint}"
            raise CatalogError(message)
        checked[key] = _typed(value, known[key].type, f"{file}: {place}: {key}")
    try:
        return kind(**checked)
    except TypeError:
        missing = [
            name
            for name, field in known.items()
            if name not in checked and field.default is MISSING and field.default_factory is MISSING
        ]
        message = f"{file}: {place}: missing: {', '.join(missing)}"
        raise CatalogError(message) from None


def _typed(value: Any, wanted: Any, place: str) -> Any:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted == tuple[str, ...] and isinstance(value, list):
        value = tuple(value)
    if wanted == tuple[str, ...]:
        fits = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    elif wanted in {str, int, float, bool}:
        fits = type(value) is wanted
    else:
        fits = True
    if not fits:
        name = (
            getattr(wanted, "__name__", str(wanted))
            if wanted != tuple[str, ...]
            else "list of strings"
        )
        message = f"{place}: {value!r} is not a {name}"
        raise CatalogError(message)
    return value
