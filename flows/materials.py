"""Deposits, the ores of each origin, magnet grades and the stages: read from files, checked, errors with the place."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any

from flows.declarations import TableRow, entry_of, read_table, read_toml, tables_of, typed
from flows.errors import CatalogError
from forecasting.market.chemistry import COMMERCIAL_OXIDES
from forecasting.market.definitions import CONFIDENCE_ORDER, MarketDefinitionError
from forecasting.market.materials import Deposit, DepositMix, Grade
from forecasting.market.stages import ScrapLoop, Stage, StageGraph, Step

DEPOSIT_UNIT = "% of TREO"
DEPOSIT_COLUMNS = ("deposit", "title", "country", "ore", "unit", "source", "confidence")
MIX_COLUMNS = ("origin", "series", "deposit", "share", "source", "confidence")
GRADE_COLUMNS = (
    *("grade", "max_temperature", "temperature_unit", "dy_low", "dy_central", "dy_high"),
    *("dy_unit", "source", "confidence"),
)
STAGE_TABLES = ("stage", "step", "return")

_BACK = {"from": "begins", "to": "ends"}  # `from` is a word of Python


@dataclass(frozen=True, slots=True)
class Materials:
    """What magnets are made from, by name."""

    deposits: Mapping[str, Deposit]
    mixes: Mapping[str, DepositMix]
    """Origin → the deposits that stand for its mine output."""
    grades: Mapping[str, Grade]
    stages: StageGraph


def read_materials(find: Callable[[str], Traversable], stages: Traversable) -> Materials:
    """Everything above: `find` says where a table of that name lies. Raises CatalogError."""
    deposits = read_deposits(find("deposits.csv"))
    return Materials(
        deposits,
        read_mixes(find("mixes.csv"), deposits),
        read_grades(find("grades.csv")),
        read_stages(stages),
    )


def read_deposits(file: Traversable) -> dict[str, Deposit]:
    """Deposits by name, of a table with one column a traded oxide, in per cent of TREO as published.

    An empty cell was not reported. Where the figures of a row are published with a sum above 100 %, the
    column published_total says it, and the shares (0–1) are taken of that total. Raises CatalogError
    naming file, row and field.
    """
    oxides = tuple(COMMERCIAL_OXIDES.values())
    found: dict[str, Deposit] = {}
    for row in _rows(file, DEPOSIT_COLUMNS, ("published_total", *oxides, "note")):
        name = _new(row, "deposit", found)
        row.word("unit", (DEPOSIT_UNIT,))
        total = _total(row)
        shares = {oxide: row.number(oxide) / total for oxide in oxides if row.cells.get(oxide)}
        if not shares:
            message = f"{row.place}: no oxide has a share; columns: {', '.join(oxides)}"
            raise CatalogError(message)
        try:
            found[name] = Deposit(
                deposit=name,
                title=row.text("title"),
                country=row.text("country"),
                ore=row.text("ore"),
                shares=shares,
                source=row.text("source"),
                confidence=row.word("confidence", CONFIDENCE_ORDER),
                note=row.cells.get("note", ""),
            )
        except MarketDefinitionError as error:
            message = f"{row.place}: {error}"
            raise CatalogError(message) from None
    return found


def read_mixes(file: Traversable, deposits: Mapping[str, Deposit]) -> dict[str, DepositMix]:
    """Which deposits stand for an origin's mine output, by origin; each row a part of it, 0–1.

    A mix is as weak as its weakest row. Raises CatalogError naming file, row and field.
    """
    rows: dict[str, list[TableRow]] = {}
    for row in _rows(file, MIX_COLUMNS, ("note",)):
        row.word("deposit", tuple(deposits))
        rows.setdefault(row.text("origin"), []).append(row)
    found = {}
    for origin, own in rows.items():
        parts: dict[str, float] = {}
        for row in own:
            if row.text("series") != own[0].text("series"):
                message = f"{row.place}: series: {row.text('series')!r}, but {origin} has {own[0].text('series')!r} above"
                raise CatalogError(message)
            parts[_new(row, "deposit", parts)] = row.number("share")
        try:
            found[origin] = DepositMix(
                origin=origin,
                series=own[0].text("series"),
                parts=parts,
                source="; ".join(dict.fromkeys(row.text("source") for row in own)),
                confidence=max(
                    (row.word("confidence", CONFIDENCE_ORDER) for row in own),
                    key=CONFIDENCE_ORDER.index,
                ),
            )
        except MarketDefinitionError as error:
            message = f"{own[0].place}: {error}"
            raise CatalogError(message) from None
    return found


def read_grades(file: Traversable) -> dict[str, Grade]:
    """Magnet grades by name, in the order of the file. Raises CatalogError naming file, row and field."""
    found: dict[str, Grade] = {}
    for row in _rows(file, GRADE_COLUMNS, ("note",)):
        name = _new(row, "grade", found)
        row.word("temperature_unit", ("°C",))
        row.word("dy_unit", ("wt%",))
        try:
            found[name] = Grade(
                grade=name,
                max_celsius=row.number("max_temperature"),
                dy_percent_low=row.number("dy_low"),
                dy_percent_central=row.number("dy_central"),
                dy_percent_high=row.number("dy_high"),
                source=row.text("source"),
                confidence=row.word("confidence", CONFIDENCE_ORDER),
                note=row.cells.get("note", ""),
            )
        except MarketDefinitionError as error:
            message = f"{row.place}: {error}"
            raise CatalogError(message) from None
    return found


def read_stages(file: Traversable) -> StageGraph:
    """The stages, their steps and the scrap return of a TOML file; raises CatalogError naming table and field."""
    data = read_toml(file)
    for key in data:
        if key not in STAGE_TABLES:
            message = (
                f"{file.name}: {key}: there is no such table; known: {', '.join(STAGE_TABLES)}"
            )
            raise CatalogError(message)
    stages = tuple(
        entry_of(Stage, file.name, f"stage {item.get('stage', '?')!r}", item)
        for item in tables_of(data.get("stage", []), file.name, "stages", "stage")
    )
    steps = tuple(
        entry_of(Step, file.name, *_directed(item, file.name, "step"))
        for item in tables_of(data.get("step", []), file.name, "stages", "step")
    )
    loop = None
    if "return" in data:
        table = data["return"]
        if not isinstance(table, dict):
            message = f"{file.name}: return: is one table, written [return]"
            raise CatalogError(message)
        loop = entry_of(ScrapLoop, file.name, *_directed(table, file.name, "return"))
    try:
        return StageGraph(stages, steps, loop)
    except MarketDefinitionError as error:
        message = f"{file.name}: {error}"
        raise CatalogError(message) from None


def _directed(item: Mapping[str, Any], file: str, what: str) -> tuple[str, dict[str, Any]]:
    """The place and the fields of a table with `from` and `to`, under the names that the dataclass has."""
    place = f"{what} {item.get('from', '?')} -> {item.get('to', '?')}"
    values = dict(item)
    for written, name in _BACK.items():
        if written not in values:
            message = f"{file}: {place}: missing: {written}"
            raise CatalogError(message)
        if name in values:
            message = f"{file}: {place}: {name}: there is no such field; did you mean {written}?"
            raise CatalogError(message)
        values[name] = typed(values.pop(written), str, f"{file}: {place}: {written}")
    return place, values


def _total(row: TableRow) -> float:
    """What the per cent of a row are taken of: 100, or the sum with which they were published."""
    if not row.cells.get("published_total"):
        return 100.0
    total = row.number("published_total")
    if total <= 100:
        message = f"{row.place}: published_total: {total:g} is not above 100 %; leave it empty"
        raise CatalogError(message)
    return total


def _new(row: TableRow, column: str, before: Mapping[str, Any]) -> str:
    """A name that no row above has."""
    name = row.text(column)
    if name in before:
        message = f"{row.place}: {column}: {name} is there twice"
        raise CatalogError(message)
    return name


def _rows(
    file: Traversable, required: Sequence[str], optional: Sequence[str]
) -> Sequence[TableRow]:
    rows = read_table(file, required, optional)
    if not rows:
        message = f"{file.name}: there is no row"
        raise CatalogError(message)
    return rows
