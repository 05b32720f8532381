"""From a table of text to raw rows: which column is which series, and what its dates and numbers say."""

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import union_categoricals

from flows.sources.dates import read_dates
from flows.sources.tables import FaultyCell, NumberCell, Row, header_name

REST = "…"
"""Stands in `Mapped.others` for the names that were not remembered."""

_MOST_NAMES = 1_000  # of other products that are remembered, to find the one that was renamed
_MOST_KEPT = 100_000  # distinct values that are held once: prices and counts repeat
_GROUPS = ". \u00a0\u202f\u2009'’"  # what stands between thousands where the comma is decimal
_DECIMAL_COMMA = re.compile(rf"[+-]?(\d+|\d{{1,3}}([{_GROUPS}]\d{{3}})+),\d+", re.ASCII)
_DOTTED = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3}){2,}", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
_DOUBTFUL = re.compile(r"[+-]?[1-9]\d{0,2}([.,]\d{3})+", re.ASCII)
_WITH_COMMA = re.compile(
    rf"[+-]?(\d+|\d{{1,3}}([{_GROUPS}]\d{{3}})+)(,\d*)?([eE][+-]?\d{{1,3}})?", re.ASCII
)
_OF_DIGITS = re.compile(rf"[+-]?[\d,{_GROUPS}]*\d[\d,{_GROUPS}]*([eE][+-]?\d+)?", re.ASCII)

_TO_POINT = str.maketrans(dict.fromkeys(_GROUPS) | {",": "."})

T = TypeVar("T", bound=np.generic)
_Codes = npt.NDArray[np.int32]
_Texts = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Measured:
    """A column that holds the values of one series."""

    column: str
    series: str
    unit: str = ""
    unit_column: str = ""
    low: str = ""
    high: str = ""
    statistic: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Named:
    """A column of values of many series, and the column that names what each row is about."""

    value: str
    names: str
    series: Mapping[str, str]  # by the name in the row
    unit: str = ""
    unit_column: str = ""
    low: str = ""
    high: str = ""
    statistic: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which columns of a table are read, as what, and how its dates and numbers are written."""

    period: str
    columns: tuple[Measured, ...] = ()
    rows: Named | None = None
    published: str = ""
    dates: tuple[str, ...] = ()  # strptime forms; empty: every form with only one reading
    frequency: str = ""  # what a row measures; a finer date is cut to it
    decimal: str = ""
    no_figure: tuple[str, ...] = ()  # texts that stand where there is no figure

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that is read, each once."""
        used = [self.period, self.published]
        for it in self.columns:
            used += [it.column, it.unit_column, it.low, it.high]
        if (rows := self.rows) is not None:
            used += [rows.names, rows.value, rows.unit_column, rows.low, rows.high]
        return tuple(dict.fromkeys(name for name in used if name))


@dataclass(frozen=True, slots=True, eq=False)
class Mapped:
    """What a table gave: its raw rows, and what in it was no figure or no series of ours."""

    table: pd.DataFrame  # columns as in RawRow; those that the map doesn't fill are left out
    not_published: int
    met: frozenset[str]  # names of the map that the table has
    others: Mapping[str, int]  # rows by a name that is not in the map


def map_rows(
    chunks: Iterable[Sequence[Row]],
    header: Sequence[str],
    columns: ColumnMap,
    *,
    file: str,
    source_id: str,
    confidence: str,
    is_1904: bool = False,
) -> Mapped:
    """The raw rows of one table; a cell that can't be read is a fault of its figure alone.

    `file`, `source_id` and `confidence` are put on every row. Raises what `chunks` raises.
    """
    pile = _Pile(header, columns)
    for chunk in chunks:
        pile.add(chunk)
    fixed = {"file": file, "source_id": source_id, "confidence": confidence}
    return pile.finished(fixed, is_1904)


def stacked(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of raw rows one below the other; text that repeats stays in categories."""
    if len(tables) == 1:
        return tables[0]
    columns: dict[str, object] = {}
    for name in dict.fromkeys(name for table in tables for name in table.columns):
        parts = [table[name] if name in table else _blank(len(table)) for table in tables]
        if any(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
            columns[name] = union_categoricals(parts)
        else:
            columns[name] = np.concatenate([part.to_numpy() for part in parts])
    return pd.DataFrame(columns, copy=False)


def _blank(count: int) -> "pd.Series[str]":
    return pd.Series(pd.Categorical([""] * count, [""]))


class _Words:
    """Text that repeats: each distinct one is held once, under a number."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def code(self, text: str) -> int:
        return self.known.setdefault(text, len(self.known))

    def codes(self, texts: Sequence[str]) -> _Codes:
        known = self.known
        for text in dict.fromkeys(texts):
            known.setdefault(text, len(known))
        return np.fromiter(map(known.__getitem__, texts), np.int32, len(texts))

    def categorical(self, codes: _Codes) -> pd.Categorical:
        return pd.Categorical.from_codes(codes, pd.Index(list(self.known), dtype=object))


@dataclass(frozen=True, slots=True)
class _Figure:
    """Where one figure of a row stands, and what is said of it once for all rows."""

    label: str
    value: int
    low: int | None
    high: int | None
    unit_at: int | None
    unit: str
    series: str  # empty: each row names its own
    statistic: str
    note: str


class _Pile:
    """Raw rows growing chunk by chunk, column by column: a million must be quick and small."""

    def __init__(self, header: Sequence[str], columns: ColumnMap) -> None:
        at = {name: place for place, name in enumerate(header)}

        def place(name: str) -> int | None:
            return at[header_name(name)] if name else None

        def figure(it: Measured | Named, label: str, series: str) -> _Figure:
            return _Figure(
                label=label,
                value=at[header_name(label)],
                low=place(it.low),
                high=place(it.high),
                unit_at=place(it.unit_column),
                unit=it.unit,
                series=series,
                statistic=it.statistic,
                note=it.note,
            )

        self._map = columns
        self._period = at[header_name(columns.period)]
        self._published = place(columns.published)
        self._figures = [figure(it, it.column, it.series) for it in columns.columns]
        self._names: int | None = None
        self._ours: dict[str, str] = {}
        if (rows := columns.rows) is not None:
            self._names = place(rows.names)
            self._figures.append(figure(rows, rows.value, ""))
            self._ours = {header_name(name): series for name, series in rows.series.items()}
        self._no_figure = frozenset({"", *columns.no_figure})

        # Columns that nothing can come into are never built.
        ranges = [
            name
            for name in ("low", "high")
            if any(getattr(it, name) is not None for it in self._figures)
        ]
        said = [
            name for name in ("statistic", "note") if any(getattr(it, name) for it in self._figures)
        ]
        self._words = {
            name: _Words()
            for name in ("series", "period", "unit", "field", *said)
            + (("published_on",) if self._published is not None else ())
        }
        self._codes: dict[str, list[_Codes]] = {name: [] for name in self._words}
        self._texts: dict[str, list[_Texts]] = {name: [] for name in ("raw", "value", *ranges)}
        self._rows: list[_Codes] = []
        self._count = 0
        self._kept: dict[str, str] = {}
        self._refused: dict[int, str] = {}  # by place in the pile: rows that are no figures at all
        self._faults: dict[int, list[str]] = {}
        self._exact: dict[str, array[int]] = {name: array("q") for name in ("value", *ranges)}
        self._proof = ""  # the first value that proves a decimal comma, or dots between thousands
        self._not_published = 0
        self._met: set[str] = set()
        self._others: Counter[str] = Counter()

    def add(self, chunk: Sequence[Row]) -> None:
        """Take the figures of the rows onto the pile."""
        sound = [row for row in chunk if not row.fault]
        if len(sound) < len(chunk):
            self._refuse([row for row in chunk if row.fault])
        if self._names is None:
            for figure in self._figures:
                self._take(sound, figure, None)
        else:
            mine, series = self._of_ours(sound, self._names)
            self._take(mine, self._figures[-1], series)

    def _refuse(self, rows: Sequence[Row]) -> None:
        """Take rows that can't be cut into figures: one each, with nothing but its fault."""
        for offset, row in enumerate(rows):
            self._refused[self._count + offset] = row.fault
        self._extend(rows, {})

    def _of_ours(self, rows: Sequence[Row], at: int) -> tuple[list[Row], list[str]]:
        cells = [row.cells[at] for row in rows]
        if self._ours.keys() >= set(cells):
            self._met.update(cells)
            return list(rows), list(map(self._ours.__getitem__, cells))
        mine: list[Row] = []
        series: list[str] = []
        for row, cell in zip(rows, cells, strict=True):
            # Most rows spell it as it is declared.
            name = cell if cell in self._ours else header_name(cell)
            if name in self._ours:
                self._met.add(name)
                mine.append(row)
                series.append(self._ours[name])
            elif isinstance(cell, FaultyCell):
                # What it is about can't be known: it may be ours.
                self._refuse([row._replace(fault=cell.fault)])
            else:
                known = name in self._others or len(self._others) < _MOST_NAMES
                self._others[name if known else REST] += 1
        return mine, series

    def _take(self, rows: Sequence[Row], figure: _Figure, series: Sequence[str] | None) -> None:
        cells = [row.cells[figure.value] for row in rows]
        blank = self._no_figure
        if not blank.isdisjoint(map(str.strip, cells)):
            keep = [
                at
                for at, cell in enumerate(cells)
                if cell.strip() not in blank or isinstance(cell, FaultyCell)
            ]
            self._not_published += len(rows) - len(keep)
            rows = [rows[at] for at in keep]
            cells = [cells[at] for at in keep]
            series = series and [series[at] for at in keep]
        if not rows:
            return
        told: dict[str, Sequence[str] | str] = {
            "series": figure.series if series is None else series,
            "period": self._plain(rows, self._period),
            "unit": figure.unit if figure.unit_at is None else self._plain(rows, figure.unit_at),
            "field": figure.label,
            "statistic": figure.statistic,
            "note": figure.note,
            "value": self._numbers(cells, "value", figure.label),
        }
        for name, at in (("low", figure.low), ("high", figure.high)):
            if at is not None:
                texts = self._numbers([row.cells[at] for row in rows], name, name)
                told[name] = ["" if text in blank else text for text in texts]
        if self._published is not None:
            told["published_on"] = self._plain(rows, self._published)
        self._extend(rows, told)

    def _plain(self, rows: Sequence[Row], at: int) -> list[str]:
        cells = [row.cells[at] for row in rows]
        self._blame_faulty(cells)
        return list(map(str.strip, cells))

    def _numbers(self, cells: Sequence[str], name: str, label: str) -> list[str]:
        """The cells as they are written; under a declared decimal comma, with a point instead."""
        self._blame_faulty(cells)
        kept = self._kept
        if len(kept) > _MOST_KEPT:
            kept.clear()
        texts = [kept.setdefault(text, text) for text in map(str.strip, cells)]
        if self._map.decimal == ",":
            for at, text in enumerate(texts):
                # A number that its file holds as a number has a point already.
                if type(cells[at]) is str and text:
                    found = _with_point(text)
                    if found is None:
                        self._blame(at, f"{label}: {text!r} is not written with a decimal comma")
                    else:
                        texts[at] = found
        elif not self._map.decimal:
            if NumberCell in set(map(type, cells)):
                exact = (at for at, cell in enumerate(cells) if isinstance(cell, NumberCell))
                self._exact[name].extend(self._count + at for at in exact)
            if not self._proof:
                marked = (it for it in texts if "," in it or it.count(".") > 1)
                self._proof = next(filter(_proves_comma, marked), "")
        return texts

    def _blame_faulty(self, cells: Sequence[str]) -> None:
        if FaultyCell in set(map(type, cells)):
            for at, cell in enumerate(cells):
                if isinstance(cell, FaultyCell):
                    self._blame(at, cell.fault)

    def _blame(self, at: int, fault: str) -> None:
        """Something is wrong with row `at` of those that are about to be taken."""
        self._faults.setdefault(self._count + at, []).append(fault)

    def _extend(self, rows: Sequence[Row], told: Mapping[str, Sequence[str] | str]) -> None:
        count = len(rows)
        self._rows.append(np.fromiter((row.number for row in rows), np.int32, count))
        for name, parts in self._texts.items():
            part = np.empty(count, dtype=np.object_)
            part[:] = [row.raw for row in rows] if name == "raw" else told.get(name, "")
            parts.append(part)
        for name, words in self._words.items():
            texts = told.get(name, "")
            if isinstance(texts, str):  # the same for every row
                self._codes[name].append(np.full(count, words.code(texts), np.int32))
            else:
                self._codes[name].append(words.codes(texts))
        self._count += count

    def finished(self, fixed: Mapping[str, str], is_1904: bool) -> Mapped:
        """Everything that was taken as one table, after dates were read and doubts settled."""
        columns: dict[str, object] = {}
        for name, text in fixed.items():
            words = _Words()
            columns[name] = words.categorical(np.full(self._count, words.code(text), np.int32))
        columns["row"] = _joined(self._rows, np.int32)
        fields = _joined(self._codes["field"], np.int32)
        self._codes["field"] = [fields]
        for name in self._texts:
            columns[name] = texts = _joined(self._texts[name], np.object_)
            if name in self._exact:
                self._doubt(name, texts, fields)
        faults = _Words()
        blamed = np.full(self._count, faults.code(""), np.int32)
        for name, words in self._words.items():
            codes = _joined(self._codes[name], np.int32)
            if name in ("period", "published_on"):
                words, codes, wrong = self._dated(name, words, codes, is_1904, faults)
                _add_faults(blamed, wrong, faults)
            columns[name] = words.categorical(codes)
        self._add_own_faults(blamed, faults)
        if len(faults.known) > 1:
            columns["fault"] = faults.categorical(blamed)
        table = pd.DataFrame(columns, copy=False)
        return Mapped(table, self._not_published, frozenset(self._met), self._others)

    def _doubt(self, name: str, texts: _Texts, fields: _Codes) -> None:
        """In a file with decimal commas, 1,234 and 1.234 could be either number: both are faults.

        1.234.567 proves them too: where dots stand between thousands, they are no decimal points.
        """
        if not self._proof:
            return
        is_dotted = _DOTTED.fullmatch(self._proof) is not None
        why = "has dots between thousands" if is_dotted else "has a decimal comma"
        mend = 'set decimal = ","' if is_dotted else 'say decimal = "," or decimal = "."'
        # What a file holds as a number is one, however it is shown.
        exact = set(self._exact[name])
        labels = list(self._words["field"].known)
        for at, text in enumerate(texts):
            if at not in exact and _DOUBTFUL.fullmatch(text):
                fault = (
                    f"{text!r} has two readings, as {self._proof!r} in the same file {why}; {mend}"
                )
                if _DOTTED.fullmatch(text):
                    fault = f'{text!r} has dots between thousands; set decimal = ","'
                label = labels[fields[at]] if name == "value" else name
                self._faults.setdefault(at, []).append(f"{label}: {fault}")

    def _dated(
        self, name: str, words: _Words, codes: _Codes, is_1904: bool, faults: _Words
    ) -> tuple[_Words, _Codes, _Codes]:
        """A column of dates in ISO form, with a fault's number for each row."""
        readings = read_dates(list(words.known), forms=self._map.dates, is_1904=is_1904)
        is_period = name == "period"
        label = self._map.period if is_period else self._map.published
        iso, told = _Words(), []
        wrong = []
        for text, reading in readings.items():
            # A figure without a day of publication is no fault: its series has a usual lag.
            is_fine = not reading.fault or (not is_period and not text)
            told.append(iso.code(reading.cut(self._map.frequency if is_period else "day")))
            wrong.append(faults.code("" if is_fine else f"{label}: {reading.fault}"))
        if not len(codes):
            return iso, codes, codes
        return iso, np.array(told, np.int32)[codes], np.array(wrong, np.int32)[codes]

    def _add_own_faults(self, blamed: _Codes, faults: _Words) -> None:
        texts = list(faults.known)
        for at, own in self._faults.items():
            before = texts[blamed[at]]
            blamed[at] = faults.code("; ".join(dict.fromkeys([*own, *filter(None, [before])])))
        for at, fault in self._refused.items():
            blamed[at] = faults.code(fault)


def _add_faults(blamed: _Codes, wrong: _Codes, faults: _Words) -> None:
    """Note each row's fault beside the one it may have already."""
    texts = list(faults.known)
    for at in np.flatnonzero((blamed > 0) & (wrong > 0)):
        wrong[at] = faults.code(f"{texts[blamed[at]]}; {texts[wrong[at]]}")
    np.copyto(blamed, wrong, where=wrong > 0)


def _joined(parts: list[npt.NDArray[T]], kind: type[T]) -> npt.NDArray[T]:
    """All parts as one; they are given up, so that no column is held twice for long."""
    found = np.concatenate(parts) if parts else np.array([], dtype=kind)
    parts.clear()
    return found


def _proves_comma(text: str) -> bool:
    """Whether the comma must be decimal: it stands as one, or dots stand between thousands."""
    is_decimal = _DECIMAL_COMMA.fullmatch(text) and not _THOUSANDS.fullmatch(text)
    return bool(is_decimal or _DOTTED.fullmatch(text))


def _with_point(text: str) -> str | None:
    """A number with a decimal comma, with a point; None when its marks contradict the comma.

    What is no number at all stays as it is: validation says so.
    """
    if not _OF_DIGITS.fullmatch(text):
        return text
    if not _WITH_COMMA.fullmatch(text):
        return None
    return text.translate(_TO_POINT)
