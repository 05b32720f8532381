"""Figures kept in CSV files of one shape: the bundled snapshot, or a folder of one's own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from importlib.resources.abc import Traversable

from flows.errors import SourceError
from flows.sources.source import Citation, FetchResult, Kind, Problem
from flows.sources.tables import TableError, as_line, read_rows
from flows.validation import RawRow

COLUMNS = (
    "series",
    "period",
    "value",
    "unit",
    "statistic",
    "published_on",
    "source_id",
    "confidence",
    "note",
)
CITATION_COLUMNS = ("source_id", "title", "url", "source_date", "reuse", "note")
CITATION_FILE = "sources.csv"

# Tables of other shapes that live in the same folder and have readers of their own.
OTHER_TABLES = (
    CITATION_FILE,
    "factors.csv",
    "policy_events.csv",
    "projects.csv",
    "indicators.csv",
    "deposits.csv",
    "mixes.csv",
    "grades.csv",
    "governance.csv",
)


@dataclass(frozen=True, slots=True)
class Shelf:
    """Files of the snapshot that belong together, under the name of who published their figures."""

    name: str
    title: str
    kind: Kind
    files: tuple[str, ...]


SHELVES = (
    Shelf("ecb_fx", "Exchange rates, yearly", "price", ("fx_yearly.csv",)),
    Shelf("komis", "KOMIS: oxide prices, monthly", "price", ("prices_monthly.csv",)),
    Shelf(
        "customs",
        "China's customs: magnet exports",
        "trade",
        ("exports_monthly.csv", "exports_yearly.csv"),
    ),
    Shelf("dgcis", "India's customs: magnet imports, yearly", "trade", ("imports_yearly.csv",)),
    Shelf("comtrade", "UN Comtrade, yearly", "trade", ("trade_yearly.csv",)),
    Shelf(
        "usgs",
        "USGS: mine output, reserves and prices, yearly",
        "reference",
        ("mine_output_yearly.csv", "prices_yearly.csv", "reserves_yearly.csv"),
    ),
    Shelf("quotas", "China's rare-earth quotas, yearly", "reference", ("quotas_yearly.csv",)),
    Shelf("iea_ev", "IEA: electric vehicles sold", "reference", ("ev_sales_yearly.csv",)),
    Shelf("wind", "IRENA, GWEC, WWEA: wind power", "reference", ("wind_additions_yearly.csv",)),
)
"""Who published what in the snapshot's files; other files of a folder of one's own stand under `folder-…`."""

_FOLDER_TITLES: dict[Kind, str] = {
    "price": "Your folder: prices",
    "trade": "Your folder: trade volumes",
    "reference": "Your folder: other figures",
}


@dataclass(frozen=True, slots=True)
class SnapshotSource:
    """Some files of a folder, in the one shape of the snapshot."""

    name: str
    title: str
    kind: Kind
    folder: Traversable
    files: tuple[str, ...]

    @property
    def is_live(self) -> bool:
        return False

    def fetch(self, *, now: datetime) -> FetchResult:
        """Every row of every readable file; a file of another shape is refused whole."""
        del now  # files say themselves when they were published
        citations = self._citations()
        rows: list[RawRow] = []
        problems: list[Problem] = []
        for name in sorted(self.files):
            try:
                rows += _rows(self.folder / name)
            except TableError as error:
                problems.append(Problem(name, str(error)))
        return FetchResult(tuple(rows), citations, tuple(problems))

    def _citations(self) -> dict[str, Citation]:
        citations: dict[str, Citation] = {}
        file = self.folder / CITATION_FILE
        try:
            for number, cells in _table(file, CITATION_COLUMNS):
                if len(cells) != len(CITATION_COLUMNS) or not cells[0].strip():
                    problem = f"row {number} needs {len(CITATION_COLUMNS)} cells and a source_id"
                    raise TableError(problem)
                citation = Citation(*(cell.strip() for cell in cells))
                if citation.source_id in citations:
                    problem = f"row {number}: source_id {citation.source_id!r} is there twice"
                    raise TableError(problem)
                citations[citation.source_id] = citation
        except TableError as error:
            # Without it no row has a known source: better one clear error than every row refused.
            problem = f"{CITATION_FILE}: {error}"
            raise SourceError(self.name, problem) from error
        return citations


def bundled_folder() -> Traversable:
    """The snapshot that ships with the package."""
    return resources.files("flows") / "reference" / "snapshot"


def snapshot_sources(folder: Traversable | None = None) -> tuple[SnapshotSource, ...]:
    """A source for each publisher whose files are in the folder; the bundled one when none is given.

    Without any file of figures every shelf of the snapshot is opened, so that reading says what is missing.
    """
    folder = bundled_folder() if folder is None else folder
    there = _file_names(folder)
    shelves = [
        Shelf(shelf.name, shelf.title, shelf.kind, files)
        for shelf in SHELVES
        if (files := tuple(name for name in shelf.files if name in there))
    ]
    known = {name for shelf in SHELVES for name in shelf.files}
    for kind, title in _FOLDER_TITLES.items():
        files = tuple(name for name in sorted(there - known) if kind_of(name) == kind)
        if files:
            shelves.append(Shelf(f"folder-{kind}", title, kind, files))
    return tuple(
        SnapshotSource(shelf.name, shelf.title, shelf.kind, folder, shelf.files)
        for shelf in shelves or SHELVES
    )


def kind_of(file_name: str) -> Kind | None:
    """The kind of figures a file holds by its name; None for tables of another shape."""
    if file_name in OTHER_TABLES:
        return None
    if file_name.startswith("prices_"):
        return "price"
    return "trade" if file_name.startswith(("exports_", "imports_")) else "reference"


def _file_names(folder: Traversable) -> set[str]:
    try:
        return {file.name for file in folder.iterdir() if file.name.lower().endswith(".csv")}
    except OSError:
        return set()  # reading it says so, with the source's name


def _rows(file: Traversable) -> Iterator[RawRow]:
    for number, cells in _table(file, COLUMNS):
        raw = as_line(cells)
        if len(cells) != len(COLUMNS):
            fault = (
                f"row: has {len(cells)} cells instead of {len(COLUMNS)}; "
                "a text with a comma needs quotes"
            )
            yield RawRow(file=file.name, row=number, raw=raw, fault=fault)
        else:
            yield _row(file.name, number, raw, [cell.strip() for cell in cells])


def _row(file_name: str, number: int, raw: str, cells: Sequence[str]) -> RawRow:
    series, period, value, unit, statistic, published_on, source_id, confidence, note = cells
    return RawRow(
        file=file_name,
        row=number,
        raw=raw,
        series=series,
        period=period,
        value=value,
        unit=unit,
        statistic=statistic,
        published_on=published_on,
        source_id=source_id,
        confidence=confidence,
        note=note,
    )


def _table(file: Traversable, columns: Sequence[str]) -> list[tuple[int, list[str]]]:
    try:
        return read_rows(file.read_bytes(), columns)
    except OSError as error:
        problem = f"can't be read ({type(error).__name__})"
        raise TableError(problem) from error
