"""Tables of TOML and CSV into checked values: every key known, every value of its field's type, errors with the place."""

import csv
import difflib
import math
import tomllib
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import date
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

from flows.errors import CatalogError

T = TypeVar("T")

_DAYS: tuple[Any, ...] = (date, date | None)


def read_toml(path: Traversable, *, optional: bool = False) -> dict[str, Any]:
    """What a TOML file says; an optional one that isn't there says nothing. Raises CatalogError."""
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


def entry_of(kind: type[T], file: str, place: str, values: dict[str, Any]) -> T:
    """A `kind` from a TOML table; every key known, every value of the field's type."""
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            message = f"{file}: {place}: {key}: there is no such field; {hint}"
            raise CatalogError(message)
        checked[key] = typed(value, known[key].type, f"{file}: {place}: {key}")
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


def tables_of(value: Any, file: str, place: str, key: str) -> list[dict[str, Any]]:
    """A list of tables, as [[place.key]] makes one; raises CatalogError for anything else."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        message = f"{file}: {place}: {key}: is a list of tables, written [[….{key}]]"
        raise CatalogError(message)
    return value


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a CSV file that knows where it stands."""

    cells: dict[str, str]
    place: str  # "factors.csv: row 3"

    def text(self, column: str) -> str:
        """A cell that must not be empty."""
        if not self.cells[column]:
            message = f"{self.place}: {column}: is empty"
            raise CatalogError(message)
        return self.cells[column]

    def number(self, column: str) -> float:
        """A cell that must be a finite number."""
        written = self.text(column)
        try:
            value = float(written)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            message = f"{self.place}: {column}: {written!r} is not a finite number"
            raise CatalogError(message)
        return value

    def word(self, column: str, allowed: Sequence[str]) -> str:
        """A cell that must be one of some words."""
        value = self.text(column)
        if value not in allowed:
            message = f"{self.place}: {column}: {value!r} is not one of {', '.join(allowed)}"
            raise CatalogError(message)
        return value


def read_table(
    path: Traversable, required: Sequence[str], optional: Sequence[str] = ()
) -> list[TableRow]:
    """The rows of a CSV file, cells without blanks around them; optional columns may be missing, no other may be there.

    Raises CatalogError naming file, row and column.
    """
    try:
        # A row is found again by the line where it ends: blank lines and quoted line breaks count.
        reader = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(keepends=True))
        lines = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{path.name}: can't be read: {error}"
        raise CatalogError(message) from None
    header = tuple(reader.fieldnames or ())
    if any(";" in name for name in header):
        message = f"{path.name}: the separator must be a comma, not ';'"
        raise CatalogError(message)
    known = (*required, *optional)
    for column in required:
        if column not in header:
            message = f"{path.name}: the column {column} is missing"
            raise CatalogError(message)
    for column in header:
        if column not in known:
            near = difflib.get_close_matches(column, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            message = f"{path.name}: there is no column {column!r}; {hint}"
            raise CatalogError(message)
        if header.count(column) > 1:
            message = f"{path.name}: the column {column} is there twice"
            raise CatalogError(message)
    rows = []
    for line, row in lines:
        place = f"{path.name}: row {line}"
        if None in row:
            message = f"{place}: more fields than the header has; quote a field that holds a comma"
            raise CatalogError(message)
        if None in row.values():
            message = f"{place}: fewer fields than the header has"
            raise CatalogError(message)
        cells = dict.fromkeys(optional, "") | {name: it.strip() for name, it in row.items()}
        rows.append(TableRow(cells, place))
    return rows


def typed(value: Any, wanted: Any, place: str) -> Any:
    """A value of TOML as the type that a field wants; raises CatalogError naming the place.

    A date may also be written as text: a cell of a table has nothing else.
    """
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted in _DAYS:
        return _day(value, place)
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


def _day(value: Any, place: str) -> date:
    # A moment is a date to Python: only the plain day counts.
    if type(value) is date:
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        shown = repr(value) if isinstance(value, str) else str(value)
        message = f"{place}: {shown} is not a day such as 2025-04-04"
        raise CatalogError(message) from None
