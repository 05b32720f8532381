"""Government decisions that move rare-earth supply: read from a file, and which price each of them concerns."""

import csv
import re
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.resources.abc import Traversable

from flows.errors import CatalogError

DIRECTIONS = ("tighten", "loosen", "neutral", "unknown")
PRECISIONS = ("day", "week", "month")
COLUMNS = ("date", "date_precision", "direction", "materials")

LIGHT = frozenset({"La", "Ce", "Pr", "Nd", "Sm", "Eu", "Gd"})
HEAVY = frozenset({"Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Y"})
RARE_EARTHS = LIGHT | HEAVY | {"Sc"}

_GROUPS = {
    "ree": RARE_EARTHS,
    "all ree": RARE_EARTHS,
    "ree incl.": RARE_EARTHS,
    "light ree": LIGHT,
    "heavy ree": HEAVY,
}
# Two letters before one: ytterbium is no yttrium.
_SYMBOL = "|".join(sorted(RARE_EARTHS, key=lambda symbol: (-len(symbol), symbol)))
_COMPOUND = re.compile(f"(?:{_SYMBOL})+")
_PRICED = re.compile(f"((?:{_SYMBOL})+)_(?:oxide|metal|alloy)(?:_|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """One decision: the day from which it is known for sure, which way it pushes, and what it names."""

    on: date
    direction: str
    elements: frozenset[str]  # rare earths by symbol; empty when it is about something else

    @property
    def moves_supply(self) -> bool:
        return self.direction in ("tighten", "loosen")


def read_policy_decisions(file: Traversable) -> tuple[PolicyDecision, ...]:
    """Decisions in the order of their dates; raises CatalogError naming file, row and field."""
    try:
        # Blank lines and quoted line breaks count: a row is found again by the line where it ends.
        reader = csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines(keepends=True))
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{file.name}: can't be read: {error}"
        raise CatalogError(message) from None
    for column in COLUMNS:
        if column not in (reader.fieldnames or ()):
            message = f"{file.name}: the column {column} is missing"
            raise CatalogError(message)
    found = [_decision(row, f"{file.name}: row {line}") for line, row in rows]
    return tuple(sorted(found, key=lambda one: (one.on, one.direction)))


def elements_named(materials: str) -> frozenset[str]:
    """Rare earths in a list of materials: by symbol (Dy, NdPr) or as a group (all REE, heavy REE)."""
    found: set[str] = set()
    for part in re.split(r"[,;/+]", materials):
        word = part.strip()
        if word.casefold() in _GROUPS:
            found |= _GROUPS[word.casefold()]
        elif _COMPOUND.fullmatch(word):
            found.update(re.findall(_SYMBOL, word))
    return frozenset(found)


def elements_priced(series: str) -> frozenset[str]:
    """Rare earths whose price a series of this name is: dy_oxide, ndpr_oxide_year; empty for others."""
    named = _PRICED.match(series)
    if named is None:
        return frozenset()
    symbols = re.findall(_SYMBOL, named[1], re.IGNORECASE)
    return frozenset(symbol.capitalize() for symbol in symbols)


def _decision(row: Mapping[str | None, str | None], place: str) -> PolicyDecision:
    if None in row:
        message = f"{place}: more fields than the header has; quote a field that holds a comma"
        raise CatalogError(message)
    text = {column: (row[column] or "").strip() for column in COLUMNS}
    try:
        day = date.fromisoformat(text["date"])
    except ValueError:
        message = f"{place}: date: {text['date']!r} is no date such as 2025-04-04"
        raise CatalogError(message) from None
    precision = text["date_precision"] or "day"
    for column, value, allowed in (
        ("date_precision", precision, PRECISIONS),
        ("direction", text["direction"], DIRECTIONS),
    ):
        if value not in allowed:
            message = f"{place}: {column}: {value!r} is not one of {', '.join(allowed)}"
            raise CatalogError(message)
    if not text["materials"]:
        message = f"{place}: materials: is empty; name elements (Dy, Tb) or a group (all REE)"
        raise CatalogError(message)
    return PolicyDecision(
        _known_from(day, precision), text["direction"], elements_named(text["materials"])
    )


def _known_from(day: date, precision: str) -> date:
    """The last day that the date can mean: a backtest must not know a decision before it was made."""
    if precision == "month":
        return day.replace(day=monthrange(day.year, day.month)[1])
    return day + timedelta(days=6 - day.weekday()) if precision == "week" else day
