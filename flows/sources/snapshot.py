"""Figures kept in CSV files of one shape: the bundled snapshot, or a folder of one's own."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from importlib.resources.abc import Traversable

from flows.errors import SourceError
from flows.sources.source import Citation, FetchResult, Kind, Problem
from flows.sources.tables import TableError, read_rows
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
OTHER_TABLES = (CITATION_FILE, "factors.csv", "policy_events.csv")

_TITLES: dict[Kind, str] = {
    "price": "Snapshot: prices",
    "trade": "Snapshot: trade volumes",
    "reference": "Snapshot: production and demand",
}
_NAMES: dict[Kind, str] = {
    "price": "snapshot-prices",
    "trade": "snapshot-trade",
    "reference": "snapshot-reference",
}
_PATTERNS: dict[Kind, str] = {
    "price": "prices_*.csv",
    "trade": "exports_*.csv",
    "reference": "any other *.csv",
}


@dataclass(frozen=True, slots=True)
class SnapshotSource:
    """The files of one kind in a folder: prices_*.csv, exports_*.csv, and everything else."""

    kind: Kind
    folder: Traversable

    @property
    def name(self) -> str:
        return _NAMES[self.kind]

    @property
    def title(self) -> str:
        return _TITLES[self.kind]

    def fetch(self, *, now: datetime) -> FetchResult:
        """Every row of every readable file; a file of another shape is refused whole."""
        del now  # files say themselves when they were published
        citations = self._citations()
        files = sorted(
            (file for file in self._files() if kind_of(file.name) == self.kind),
            key=lambda file: file.name,
        )
        rows: list[RawRow] = []
        problems: list[Problem] = []
        if not files:
            problems.append(Problem(self.name, f"no file {_PATTERNS[self.kind]} in the folder"))
        for file in files:
            try:
                rows += _rows(file)
            except TableError as error:
                problems.append(Problem(file.name, str(error)))
        return FetchResult(tuple(rows), citations, tuple(problems))

    def _files(self) -> list[Traversable]:
        try:
            return [file for file in self.folder.iterdir() if file.name.lower().endswith(".csv")]
        except OSError as error:
            problem = (
                f"the snapshot folder can't be read ({type(error).__name__}); see snapshot_dir"
            )
            raise SourceError(self.name, problem) from error

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
    """The three sources of a snapshot folder; the bundled one when none is given."""
    folder = bundled_folder() if folder is None else folder
    kinds: tuple[Kind, ...] = ("price", "trade", "reference")
    return tuple(SnapshotSource(kind, folder) for kind in kinds)


def kind_of(file_name: str) -> Kind | None:
    """The kind of figures a file holds by its name; None for tables of another shape."""
    if file_name in OTHER_TABLES:
        return None
    if file_name.startswith("prices_"):
        return "price"
    return "trade" if file_name.startswith("exports_") else "reference"


def _rows(file: Traversable) -> Iterator[RawRow]:
    for number, cells in _table(file, COLUMNS):
        raw = _as_line(cells)
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


def _as_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
