"""Codes of countries and customs lines, from the tables that ship with the package."""

import csv
import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from flows.errors import CatalogError, LodestoneError

_TABLES = resources.files("flows") / "reference" / "codes"
_COUNTRY_COLUMNS = (
    "name",
    "kind",
    "iso2",
    "iso3",
    "m49",
    "comtrade",
    "comtrade_before",
    "other_names",
    "source",
    "note",
)
_HS_COLUMNS = ("system", "code", "stage", "description", "source", "confidence", "note")
_SEPARATOR = " | "


class UnknownCodeError(LodestoneError):
    """A text names no country or customs line that we know, or more than one."""

    def __init__(self, text: str, problem: str) -> None:
        self.text = text
        super().__init__(f"{text!r} {problem}")


@dataclass(frozen=True, slots=True)
class Country:
    """A country, a group of them, or what a reporter gives to no single one (UN Comtrade's "nes")."""

    name: str
    kind: str  # country | group | rest
    iso2: str
    iso3: str
    m49: str  # three digits, as in UN M49 and ISO 3166
    comtrade: str  # the code that UN Comtrade is asked with; "" when it has none
    comtrade_before: tuple[str, ...]  # codes of older replies
    other_names: tuple[str, ...]
    source: str
    note: str


@dataclass(frozen=True, slots=True)
class HsCode:
    """A line of the Harmonized System or of one of its national extensions."""

    system: str
    code: str
    stage: str
    description: str
    source: str
    confidence: str
    note: str


def country(text: str) -> Country:
    """The country that a code (ISO alpha-2 or alpha-3, M49, UN Comtrade) or a name stands for.

    Case, accents, stops and leading zeros don't matter. A number that means one thing in M49 and another
    in UN Comtrade is refused: use `comtrade_country`. Raises UnknownCodeError with the nearest name.
    """
    return _found("country", text, _by_code_or_name())


def comtrade_country(code: str) -> Country:
    """The country behind a UN Comtrade reporter or partner code; raises UnknownCodeError."""
    return _found("UN Comtrade country", code, _by_comtrade())


def hs(code: str, system: str = "HS6") -> HsCode:
    """The line of a customs code, with or without stops: "8505.11"; raises UnknownCodeError."""
    lines = _by_system()
    if system not in lines:
        problem = f"is no system of customs codes; known: {', '.join(lines)}"
        raise UnknownCodeError(system, problem)
    bare = re.sub(r"[\s.]", "", code).upper()
    if bare in lines[system]:
        return lines[system][bare]
    elsewhere = [name for name, known in lines.items() if bare in known]
    hint = f"; it is one of {', '.join(elsewhere)}" if elsewhere else _hint(bare, lines[system])
    problem = f"is not among the codes of {system}{hint}"
    raise UnknownCodeError(code, problem)


@cache
def countries() -> tuple[Country, ...]:
    """All rows of countries.csv; raises CatalogError when the file is damaged."""
    return tuple(
        Country(
            row["name"],
            row["kind"],
            row["iso2"],
            row["iso3"],
            row["m49"],
            row["comtrade"],
            _several(row["comtrade_before"]),
            _several(row["other_names"]),
            row["source"],
            row["note"],
        )
        for row in _table("countries.csv", _COUNTRY_COLUMNS)
    )


@cache
def hs_codes() -> tuple[HsCode, ...]:
    """All rows of hs.csv; raises CatalogError when the file is damaged."""
    return tuple(
        HsCode(*(row[name] for name in _HS_COLUMNS)) for row in _table("hs.csv", _HS_COLUMNS)
    )


def _table(name: str, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        text = (_TABLES / name).read_text(encoding="utf-8")
        header, *rows = csv.reader(text.splitlines(), strict=True) if text else [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{name}: can't be read ({type(error).__name__}); install the package again"
        raise CatalogError(message) from error
    if tuple(header) != tuple(columns):
        message = f"{name}: its columns must be {','.join(columns)}; install the package again"
        raise CatalogError(message)
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            message = f"{name}: row {number}: has {len(row)} cells instead of {len(columns)}"
            raise CatalogError(message)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _several(cell: str) -> tuple[str, ...]:
    return tuple(cell.split(_SEPARATOR)) if cell else ()


@cache
def _by_code_or_name() -> Mapping[str, tuple[Country, ...]]:
    index: dict[str, dict[str, Country]] = {}
    for row in countries():
        codes = (row.iso2, row.iso3, row.m49, row.comtrade, *row.comtrade_before)
        for form in (*codes, row.name, *row.other_names):
            if form:
                index.setdefault(_plain(form), {})[row.name] = row
    return {form: tuple(rows.values()) for form, rows in index.items()}


@cache
def _by_comtrade() -> Mapping[str, tuple[Country, ...]]:
    return {
        code: (row,) for row in countries() for code in (row.comtrade, *row.comtrade_before) if code
    }


@cache
def _by_system() -> Mapping[str, Mapping[str, HsCode]]:
    lines: dict[str, dict[str, HsCode]] = {}
    for row in hs_codes():
        lines.setdefault(row.system, {})[row.code] = row
    return lines


def _found(what: str, text: str, index: Mapping[str, tuple[Country, ...]]) -> Country:
    plain = _plain(text)
    rows = index.get(plain, ())
    if len(rows) == 1:
        return rows[0]
    if rows:
        meanings = " or ".join(
            f"{row.name} ({'UN Comtrade' if row.comtrade == plain else 'M49'})" for row in rows
        )
        problem = f"is {meanings}; use a name, an ISO code or comtrade_country"
        raise UnknownCodeError(text, problem)
    problem = f"is no {what} that is known{'' if plain.isdigit() else _hint(plain, index)}"
    raise UnknownCodeError(text, problem)


def _hint(form: str, index: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(form, index, n=1, cutoff=0.7)
    if not close:
        return ""
    found = index[close[0]]
    name = found[0].name if isinstance(found, tuple) else close[0]
    return f"; did you mean {name!r}?"


def _plain(text: str) -> str:
    """Letters and digits only, without accents; a code without its leading zeros."""
    bare = unicodedata.normalize("NFKD", text.casefold().replace("&", " and "))
    words = re.sub(r"[^\w\s]|_", " ", re.sub(r"[\u0300-\u036f.'’]", "", bare)).split()
    plain = " ".join(words)
    is_number = re.fullmatch(r"\d+", plain, re.ASCII) is not None
    return (plain.lstrip("0") or "0") if is_number else plain
