"""Tables as publishers and vendors send them: CSV or Excel bytes in, numbered rows of text out, or why the whole is refused."""

import codecs
import csv
import gzip
import io
import json
import re
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from html import unescape
from itertools import islice
from typing import Any, NamedTuple, Self

ENCODINGS = ("utf-8", "gb18030", "cp1252")
"""Tried in this order: text of one is seldom valid in those before it."""
DELIMITERS = (",", ";", "\t", "|")
MOST_BYTES = 1_000_000_000
LONGEST_RAW = 500
CHUNK_ROWS = (
    1_000  # few enough to stay in the processor's cache: ten times as many take twice as long
)

_HEAD_BYTES = 65_536
_HEAD_ROWS = 100
_MOST_EXCEL_ROWS = 1_048_576
_GUARDED_ROWS = 500
_MARKS = (
    # UTF-32 begins like UTF-16, so it stands first.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WEB_PAGE = re.compile(r"\s*<(!doctype\s+html|html|head|body|table|script|meta|div|!--)", re.I)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_LONGEST_SAID = 100
_JSON = re.compile(r'\s*(\{\s*["}]|\[\s*[\[{"\]\d])')
_SPACES = re.compile(r"[\s\u200b\ufeff]+")
_NOTHING_TAKEN = "nothing of this file was taken"
_GZIP, _ZIP, _PDF, _OLE = b"\x1f\x8b", b"PK\x03\x04", b"%PDF", b"\xd0\xcf\x11\xe0"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
# What openpyxl raises for a broken package; errors in XML are SyntaxErrors.
_DAMAGE = (
    *(KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError),
    *(OSError, EOFError, SyntaxError, RuntimeError, zlib.error, zipfile.BadZipFile),
)
_EXCEL_ERRORS = frozenset(
    [
        "#N/A",
        "#DIV/0!",
        "#VALUE!",
        "#REF!",
        "#NAME?",
        "#NUM!",
        "#NULL!",
        "#SPILL!",
        "#CALC!",
        "#FIELD!",
        "#GETTING_DATA",
    ]
)


class TableError(Exception):
    """A whole table is refused; its text says why and what to do, without the table's name."""


class NumberCell(str):
    """A number that its file holds as a number: its text has a decimal point, whatever the locale."""

    __slots__ = ()


class FaultyCell(str):
    """A cell that shows something, but holds no value; `fault` names the cell and says why."""

    __slots__ = ("fault",)
    fault: str

    def __new__(cls, shown: str, fault: str) -> Self:
        cell = super().__new__(cls, shown)
        cell.fault = fault
        return cell


class Row(NamedTuple):
    """One row below the header; its cells are in the header's order, unless `fault` says otherwise."""

    number: int  # in the file: its first record or Excel row is 1
    cells: Sequence[str]
    raw: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """What is known of a table before it is opened; what is left empty is found out from its bytes."""

    columns: tuple[str, ...]  # names that the header must hold
    ignored: tuple[str, ...] = ()
    refuses_others: bool = False
    delimiter: str = ""
    encoding: str = ""
    sheet: str = ""
    header_row: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose header fits; rows are read while they are asked for, and only once.

    Iterating raises TableError when the rest of the file turns out to be damaged.
    """

    header: tuple[str, ...]
    chunks: Iterator[list[Row]]
    is_1904: bool = False  # the workbook counts its days from 1904, not from 1900

    def place(self, name: str) -> int:
        """Where a column stands in each row's cells."""
        return self.header.index(header_name(name))


def open_table(content: bytes, layout: Layout) -> Table:
    """The table in the bytes of a CSV or Excel file, plain or gzipped, whatever its name.

    Raises TableError for everything that is no such table or has other columns.
    """
    content = _unpacked(content)
    if content.startswith(_ZIP):
        return _open_workbook(content, layout)
    _refuse_other_formats(content)
    return _open_text(content, layout)


def header_name(text: str) -> str:
    """A column's name as it is compared: line breaks and runs of spaces are one space."""
    return _SPACES.sub(" ", text).strip()


def came_instead(text: str, wanted: str) -> str:
    """What an answer is when it isn't what was asked for, to stand after the address; empty when it may be.

    `wanted` is "JSON" or "CSV". Nothing, pages, XML and JSON are told from the first characters.
    """
    start = text.lstrip()[:1]
    if not start:
        return "sent an empty answer; it may block this network"
    if start == "<":
        what = "a web page" if wanted == "JSON" else "a web page or XML"  # files come as XML too
        return f"sent {what}{titled(text)} instead of {wanted}; look at it in a browser"
    if start in "{[" and wanted != "JSON":
        return f"sent JSON instead of {wanted}: {beginning(text)}"
    return ""


def titled(page: str) -> str:
    """The title of a web page with " titled" before it; empty when it has none."""
    title = _TITLE.search(page)
    return f" titled {_short(unescape(title[1]))}" if title else ""


def beginning(text: str) -> str:
    """The first characters of a text in quotes, for an error."""
    return repr(" ".join(text.lstrip()[: 2 * _LONGEST_SAID].split())[:_LONGEST_SAID])


def read_rows(content: bytes, columns: Sequence[str]) -> list[tuple[int, list[str]]]:
    """The rows below the header with their numbers, cells in the order of `columns`.

    The header is row 1; empty lines count but are left out. A row with another number of cells than
    the header comes as it is: the caller turns it away alone. Raises TableError when the columns are
    not exactly these, or the bytes are no CSV in UTF-8.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 (byte {error.start}); save it as CSV UTF-8"
        raise TableError(problem) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = list(enumerate(reader, start=1))
    except csv.Error as error:
        problem = f"is not CSV from line {reader.line_num} on ({error})"
        raise TableError(problem) from error
    header = [name.strip() for name in rows[0][1]] if rows else []
    _check_exact_header(header, columns)
    order = [header.index(name) for name in columns]
    straight = order == list(range(len(columns)))
    return [
        (number, cells if straight or len(cells) != len(columns) else [cells[i] for i in order])
        for number, cells in rows[1:]
        if any(cell.strip() for cell in cells)
    ]


def _check_exact_header(header: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in header]
    new = [name for name in header if name not in columns]
    twice = [name for name, count in Counter(header).items() if count > 1]
    found = [
        f"{word} {', '.join(repr(name) for name in names)}"
        for word, names in (("missing", missing), ("new", new), ("twice", twice))
        if names
    ]
    if not header:
        problem = f"has no header; its first row must be {','.join(columns)}"
        raise TableError(problem)
    if found:
        hint = ""
        if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
            hint = " (cells must be separated by commas)"
        problem = f"columns changed: {'; '.join(found)}{hint}; {_NOTHING_TAKEN}"
        raise TableError(problem)


# --- what kind of file it is ------------------------------------------------


def _unpacked(content: bytes) -> bytes:
    if not content.startswith(_GZIP):
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            found = packed.read(MOST_BYTES + 1)
    except EOFError as error:
        problem = "is a gzip file that breaks off; fetch it again"
        raise TableError(problem) from error
    except (OSError, zlib.error) as error:
        problem = f"is a damaged gzip file ({error}); fetch it again"
        raise TableError(problem) from error
    if len(found) > MOST_BYTES:
        problem = f"unpacks to more than {MOST_BYTES / 1e9:g} GB; split it"
        raise TableError(problem)
    return found


def _refuse_other_formats(content: bytes) -> None:
    """Refuse what is certainly no CSV; JSON and plain sentences are told from the header later."""
    if content.startswith(_PDF):
        problem = "is a PDF, not a table; export the figures as CSV or XLSX"
        raise TableError(problem)
    if content.startswith(_OLE):
        problem = "is an old Excel workbook (.xls); save it as .xlsx or CSV UTF-8"
        if _ENCRYPTED in content:
            problem = "is an Excel workbook with a password; save it without one"
        raise TableError(problem)
    head = content[:_HEAD_BYTES]
    mark = next((name for mark, name in _MARKS if content.startswith(mark)), "")
    text = head.decode(mark or "utf-8", errors="replace").lstrip("\ufeff")
    if not content or not text.strip():
        problem = "is empty; export it again"
        raise TableError(problem)
    is_xml = text.lstrip().lower().startswith("<?xml")
    if _WEB_PAGE.match(text) or (is_xml and "<html" in text[:2000].lower()):
        problem = (
            f"is a web page{titled(text)} instead of a table: a log-in may have run out, or the page was "
            "saved in place of the export; open it in a browser and save it as CSV or XLSX"
        )
        raise TableError(problem)
    if is_xml:
        problem = "is XML, not a table; export the figures as CSV or XLSX"
        raise TableError(problem)


# --- the header -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Header:
    names: tuple[str, ...]
    first_row: int
    last_row: int  # rows below this one are the table's

    def lacks(self, layout: Layout) -> list[str]:
        return [name for name in layout.columns if header_name(name) not in self.names]

    def unknown(self, layout: Layout) -> list[str]:
        known = {header_name(name) for name in (*layout.columns, *layout.ignored)}
        return [name for name in dict.fromkeys(self.names) if name and name not in known]


def _headers(records: Sequence[Sequence[str]], layout: Layout) -> Iterator[_Header]:
    """Every row that could be the header, then every pair of rows that could be a header of two."""
    at_rows = [layout.header_row] if layout.header_row else range(1, len(records) + 1)
    rows = [tuple(header_name(cell) for cell in cells) for cells in records]
    for at in at_rows:
        if at <= len(rows) and any(rows[at - 1]):
            yield _Header(_lettered(rows[at - 1], layout), at, at)
    for at in at_rows:
        if at < len(rows) and any(rows[at - 1]) and any(rows[at]):
            yield _Header(_lettered(_joined(rows[at - 1], rows[at]), layout), at, at + 1)


def _lettered(names: Sequence[str], layout: Layout) -> tuple[str, ...]:
    """The names, where a column without one is "column A" by its letter to those who call it so."""
    letters = [f"column {_letter(at)}" for at in range(len(names))]
    return tuple(
        name or (letter if letter in layout.columns else "")
        for name, letter in zip(names, letters, strict=True)
    )


def _joined(upper: Sequence[str], lower: Sequence[str]) -> tuple[str, ...]:
    """A header of two rows as one: a merged cell's text stands over all the columns below it."""
    names: list[str] = []
    over = ""
    for at in range(max(len(upper), len(lower))):
        top = upper[at] if at < len(upper) else ""
        below = lower[at] if at < len(lower) else ""
        # Of merged cells only the first holds the text.
        over = top or (over if below else "")
        names.append(" / ".join(part for part in (over, below) if part))
    return tuple(names)


def _fitting(records: Sequence[Sequence[str]], layout: Layout) -> _Header | None:
    """The first header that holds all columns; raises TableError when it holds too much."""
    for header in _headers(records, layout):
        if header.lacks(layout):
            continue
        counts = Counter(header.names)
        twice = [
            name
            for name, count in counts.items()
            if name
            and count > 1
            and (layout.refuses_others or name in map(header_name, layout.columns))
        ]
        if twice:
            problem = f"has columns twice: {_listed(twice)}; rename one of them; {_NOTHING_TAKEN}"
            raise TableError(problem)
        unknown = header.unknown(layout)
        if layout.refuses_others and unknown:
            problem = (
                f"has columns that are not known: {_listed(unknown)}; map them, list them in "
                f'ignore, or say other_columns = "ignore"; {_NOTHING_TAKEN}'
            )
            raise TableError(problem)
        return header
    return None


def _nearest(records: Sequence[Sequence[str]], layout: Layout) -> _Header:
    """The row that is most like the header; without any, a header of nothing."""
    found = list(_headers(records, layout))
    wanted = len(layout.columns)
    return max(
        found,
        key=lambda it: (wanted - len(it.lacks(layout)), sum(map(bool, it.names))),
        default=_Header((), 0, 0),
    )


def _changed(header: _Header, layout: Layout) -> str:
    unknown = header.unknown(layout)
    said = f"missing {_listed(header.lacks(layout))}"
    return f"{said}; not known: {_listed(unknown)}" if unknown else said


# --- text -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Look:
    """One way to read the head of a text: how, and what its header would be."""

    encoding: str
    delimiter: str
    records: list[list[str]] = field(repr=False)
    header: _Header | None


def _open_text(content: bytes, layout: Layout) -> Table:
    looks: list[_Look] = []
    tried: dict[str, str] = {}
    fitting = _fitting_look(content, layout, looks, tried)
    if fitting is None or fitting.header is None:
        raise TableError(_why_no_text_fits(content, layout, looks, tried))
    is_wide = codecs.lookup(fitting.encoding).name.startswith(("utf-16", "utf-32"))
    if not is_wide and (at := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, at) + 1
        problem = f"holds NUL characters (line {line}): the file is damaged; {_NOTHING_TAKEN}"
        raise TableError(problem)
    rows = _text_chunks(content, fitting, len(fitting.header.names))
    return Table(fitting.header.names, rows)


def _fitting_look(
    content: bytes, layout: Layout, looks: list[_Look], tried: dict[str, str]
) -> _Look | None:
    """The first encoding and delimiter under which all columns are in the header.

    What doesn't fit is added to `looks`; `tried` gets each encoding with the reason against it.
    """
    for encoding in _encodings(content, layout):
        text = _head(content, encoding)
        if text is None:
            tried[encoding] = "not valid"
            continue
        tried[encoding] = ""
        for delimiter in (layout.delimiter,) if layout.delimiter else DELIMITERS:
            records = _records(text, delimiter)
            look = _Look(encoding, delimiter, records, _fitting(records, layout))
            if look.header is None:
                looks.append(look)
                continue
            broken = _first_undecodable(content, encoding)
            if broken is None:
                return look
            # An ASCII header fits every encoding: the rest of the file decides.
            tried[encoding] = f"byte {broken} is not valid"
            break
    return None


def _encodings(content: bytes, layout: Layout) -> tuple[str, ...]:
    mark = next((name for mark, name in _MARKS if content.startswith(mark)), "")
    if mark:
        return (mark,)  # a byte order mark is surer than what anyone says
    return (layout.encoding,) if layout.encoding else ENCODINGS


def _codec(encoding: str) -> str:
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def _head(content: bytes, encoding: str) -> str | None:
    decoder = codecs.getincrementaldecoder(_codec(encoding))()
    try:
        return decoder.decode(content[:_HEAD_BYTES], final=len(content) <= _HEAD_BYTES)
    except UnicodeDecodeError:
        return None


def _first_undecodable(content: bytes, encoding: str) -> int | None:
    """The first byte that is not text, or None; the whole text is never held."""
    decoder = codecs.getincrementaldecoder(_codec(encoding))()
    step = 1 << 20
    for start in range(0, len(content), step):
        part = content[start : start + step]
        try:
            decoder.decode(part, final=start + step >= len(content))
        except UnicodeDecodeError as error:
            return start + error.start
    return None


def _records(text: str, delimiter: str) -> list[list[str]]:
    """The first records, read leniently: whether all are sound is seen when they are read."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    found: list[list[str]] = []
    with suppress(csv.Error):  # one endless cell: the records before it are enough to look at
        for cells in islice(reader, _HEAD_ROWS):
            found.append(cells)
    return found


def _text_chunks(content: bytes, look: _Look, width: int) -> Iterator[list[Row]]:
    reader = _strict_reader(content, look)
    header_at = look.header.last_row if look.header else 0
    number = 1
    while True:
        try:
            records = list(islice(reader, CHUNK_ROWS))
        except csv.Error as error:
            raise TableError(_where_broken(content, look, error)) from error
        if not records:
            return
        rows = list(_text_rows(records, number, width, look.delimiter))
        yield [row for row in rows if row.number > header_at and _says_something(row.cells)]
        number += len(records)


def _strict_reader(content: bytes, look: _Look) -> Any:
    stream = io.TextIOWrapper(io.BytesIO(content), encoding=_codec(look.encoding), newline="")
    return csv.reader(stream, delimiter=look.delimiter, strict=True)


def _where_broken(content: bytes, look: _Look, error: csv.Error) -> str:
    """The line where the first unsound record begins; looked for only when there is one."""
    reader = _strict_reader(content, look)
    line = 1
    with suppress(csv.Error):
        for _ in reader:
            line = reader.line_num + 1
    what = str(error)
    if "unexpected end of data" in what or "field larger" in what:
        what = "a quote that is opened there is never closed"
    return f"is not CSV from line {line} on ({what}); {_NOTHING_TAKEN}"


def _says_something(cells: Sequence[str]) -> bool:
    return bool(cells) and (
        (not cells[0].isspace() and cells[0] != "") or any(map(str.strip, cells))
    )


def _text_rows(
    records: Sequence[list[str]], first: int, width: int, delimiter: str
) -> Iterator[Row]:
    raws = _as_lines(records)
    for number, (cells, raw) in enumerate(zip(records, raws, strict=True), start=first):
        fault = ""
        if len(cells) != width:
            if len(cells) > width and not any(map(str.strip, cells[width:])):
                cells = cells[:width]
            else:
                few = "the rest of it is missing: look at the file, or fetch it again"
                many = f"a text or number that holds {delimiter!r} needs quotes"
                why = few if len(cells) < width else many
                fault = f"row: has {len(cells)} cells instead of {width}; {why}"
        yield Row(number, cells, raw, fault)


def _as_lines(records: Sequence[Sequence[str]]) -> list[str]:
    """Each record as a line of CSV, cut where quarantine would cut it."""
    lines = list(map(",".join, records))
    together = "\n".join(lines)
    commas = sum(map(len, records)) - sum(map(bool, records))
    are_plain = (
        '"' not in together
        and "\r" not in together
        and together.count("\n") == len(lines) - 1
        and together.count(",") == commas
    )
    if not are_plain:
        lines = list(map(as_line, records))
    return list(map(shortened, lines))


def as_line(cells: Sequence[str]) -> str:
    """Cells as one line of CSV."""
    line = ",".join(cells)
    if '"' in line or "\n" in line or "\r" in line or line.count(",") >= len(cells):
        out = io.StringIO()
        csv.writer(out, lineterminator="").writerow(cells)
        line = out.getvalue()
    return line


def shortened(raw: str) -> str:
    """A row's text as it is kept: a million long rows must fit in memory."""
    return raw if len(raw) <= LONGEST_RAW else raw[: LONGEST_RAW - 1] + "…"


def _why_no_text_fits(
    content: bytes, layout: Layout, looks: Sequence[_Look], tried: dict[str, str]
) -> str:
    if all(tried.values()):
        said = "; ".join(f"{name}: {why}" for name, why in tried.items())
        problem = f"is in no encoding that was tried ({said}); save it as CSV UTF-8"
        return problem + _mend(content, layout)
    nearest = [(look, _nearest(look.records, layout)) for look in looks]
    wanted = len(layout.columns)
    look, header = max(
        nearest,
        key=lambda it: (wanted - len(it[1].lacks(layout)), sum(map(bool, it[1].names))),
    )
    text = _head(content, look.encoding) or ""
    if "\0" in text:
        return (
            "holds NUL characters: it may be UTF-16 without a mark, or damaged; "
            'say encoding = "utf-16-le" or save it as CSV UTF-8'
        )
    mend = _mend(content, layout)
    found_none = len(header.lacks(layout)) == wanted
    if found_none and not mend:
        if _JSON.match(text):
            said = _error_in_json(text)
            return f"is JSON, not a table{said}; an API is declared as [http_json.…]"
        if len(look.records) <= 3 and len(header.names) <= 1:
            return f"says {_short(text)} instead of a table; fetch it again"
    row = f" in row {layout.header_row}" if layout.header_row else ""
    names = ", ".join(tried)
    mark = repr(look.delimiter) if layout.delimiter else "any of , ; tab |"
    read = f" (read as {names} with {mark})"
    return f"{_changed(header, layout)}{row}{read}{mend}; {_NOTHING_TAKEN}"


def _mend(content: bytes, layout: Layout) -> str:
    """What to declare otherwise, when the columns are all there under another way of reading."""
    if not (layout.delimiter or layout.encoding or layout.header_row):
        return ""
    freed = replace(layout, delimiter="", encoding="", header_row=0)
    try:
        look = _fitting_look(content, freed, [], {})
    except TableError:
        return ""
    if look is None or look.header is None:
        return ""
    tips = []
    if layout.delimiter and look.delimiter != layout.delimiter:
        tips.append(f"delimiter = {json.dumps(look.delimiter)}")
    if layout.encoding and codecs.lookup(look.encoding) != codecs.lookup(layout.encoding):
        tips.append(f'encoding = "{look.encoding}"')
    if layout.header_row and look.header.first_row != layout.header_row:
        tips.append(f"header_row = {look.header.first_row}")
    return f"; all columns are there with {', '.join(tips)}" if tips else ""


def _error_in_json(text: str) -> str:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    for name in ("error", "message", "detail", "msg"):
        if isinstance(found, dict) and isinstance(found.get(name), str):
            return f" (it says {_short(found[name])})"
    return ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(_short(name) for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 60 else text[:59] + "…")


# --- Excel ------------------------------------------------------------------


def _open_workbook(content: bytes, layout: Layout) -> Table:
    has_formulas = _check_package(content)
    book = _load(content, values_only=True)
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    try:
        sheet, header = _chosen(sheets, layout)
    except BaseException:
        book.close()
        raise
    rows = _sheet_rows(content, sheet, has_formulas, width=len(header.names))
    is_1904 = book.epoch.year == 1904
    return Table(header.names, _sheet_chunks(rows, header, book.close), is_1904)


def _check_package(content: bytes) -> bool:
    """Refuse packages that are no workbook; whether any sheet of this one holds formulas."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as package:
            names = package.namelist()
            if "xl/workbook.bin" in names or not any(it.startswith("xl/") for it in names):
                raise TableError(_package_kind(names))
            if sum(part.file_size for part in package.infolist()) > 2 * MOST_BYTES:
                problem = f"unpacks to more than {2 * MOST_BYTES / 1e9:g} GB; split it"
                raise TableError(problem)
            return any(
                _holds(package, name, b"<f>", b"<f ", b":f>", b":f ")
                for name in names
                if name.startswith("xl/worksheets/") and name.endswith(".xml")
            )
    # NotImplementedError is zipfile's word for a compression that it doesn't know.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        problem = f"is a damaged Excel or ZIP file ({error}); fetch it again"
        raise TableError(problem) from error
    except RuntimeError as error:  # zipfile's word for a password
        problem = "is a ZIP file with a password; save it without one"
        raise TableError(problem) from error


def _package_kind(names: Sequence[str]) -> str:
    if "xl/workbook.bin" in names:
        return "is a binary Excel workbook (.xlsb); save it as .xlsx or CSV UTF-8"
    if "mimetype" in names and "content.xml" in names:
        return "is an OpenDocument file (.ods); save it as .xlsx or CSV UTF-8"
    return f"is a ZIP archive of {_listed(names)}; unpack it"


def _holds(package: zipfile.ZipFile, name: str, *words: bytes) -> bool:
    before = b""
    with package.open(name) as part:
        while block := part.read(1 << 20):
            if any(word in before + block for word in words):
                return True
            before = block[-4:]
    return False


def _load(content: bytes, *, values_only: bool) -> Any:
    # Imported when a workbook comes: it costs 0.2 s that most runs have no use for.
    from openpyxl import load_workbook  # type: ignore[import-untyped]

    with _damage_named():
        return load_workbook(io.BytesIO(content), read_only=True, data_only=values_only)


@contextmanager
def _damage_named() -> Iterator[None]:
    """Turns what openpyxl stumbles over into a refusal of the table."""
    with warnings.catch_warnings():
        # It warns of styles, filters and macros that have no part in the cells.
        warnings.simplefilter("ignore")
        try:
            yield
        except _DAMAGE as error:
            problem = f"is a damaged Excel workbook ({type(error).__name__}); save it again"
            raise TableError(problem) from error


def _chosen(sheets: dict[str, Any], layout: Layout) -> tuple[Any, _Header]:
    """The declared sheet, or the only visible one whose header fits."""
    if layout.sheet and layout.sheet not in sheets:
        problem = f"has no sheet {layout.sheet!r}; it has {_listed(list(sheets))}"
        raise TableError(problem)
    shown = [name for name, sheet in sheets.items() if sheet.sheet_state == "visible"]
    candidates = [layout.sheet] if layout.sheet else shown
    heads = {name: list(islice(_sheet_records(sheets[name]), _HEAD_ROWS)) for name in candidates}
    fitting = {
        name: header
        for name, head in heads.items()
        if (header := _fitting(head, layout)) is not None
    }
    if len(fitting) == 1:
        ((name, header),) = fitting.items()
        return sheets[name], header
    if fitting:
        problem = f"has the columns in several sheets: {_listed(list(fitting))}; say sheet = …"
        raise TableError(problem)
    reasons = [
        f"sheet {name!r} {_changed(_nearest(head, layout), layout) if any(map(any, head)) else 'is empty'}"
        for name, head in list(heads.items())[:5]
    ]
    hidden = [
        name
        for name, sheet in sheets.items()
        if not layout.sheet
        and name not in shown
        and _fitting(list(islice(_sheet_records(sheet), _HEAD_ROWS)), layout)
    ]
    hint = f'; all columns are in the hidden sheet: say sheet = "{hidden[0]}"' if hidden else ""
    problem = f"{'; '.join(reasons) or 'has no sheet with cells'}{hint}; {_NOTHING_TAKEN}"
    raise TableError(problem)


def _sheet_records(sheet: Any) -> Generator[list[str]]:
    """The rows of a sheet as text, gaps included, so that their place is their Excel row."""
    # Some programs write a wrong size into the sheet, and rows beyond it would be left out.
    sheet.reset_dimensions()
    for number, values in enumerate(_guarded(sheet.iter_rows(values_only=True)), start=1):
        _check_row_number(number)
        yield [_cell(value, number, at) for at, value in enumerate(values)]


def _sheet_rows(content: bytes, sheet: Any, has_formulas: bool, width: int) -> Iterator[list[str]]:
    if not has_formulas:
        return _sheet_records(sheet)
    return _calculated_records(content, sheet, width)


def _calculated_records(content: bytes, sheet: Any, width: int) -> Generator[list[str]]:
    """As `_sheet_records`; a formula whose result was never saved makes its cell faulty."""
    written = _load(content, values_only=False)
    try:
        formulas = written[sheet.title]
        sheet.reset_dimensions()
        formulas.reset_dimensions()
        pairs = zip(_guarded(sheet.iter_rows()), _guarded(formulas.iter_rows()), strict=True)
        for number, (results, sources) in enumerate(pairs, start=1):
            _check_row_number(number)
            cells = []
            for at, result in enumerate(results[:width]):
                text = _cell(result.value, number, at)
                # A formula may say "" on purpose: that is a saved text.
                if result.value is None and result.data_type == "n":
                    formula = sources[at].value if at < len(sources) else None
                    text = (
                        _cell(None, number, at)
                        if formula is None
                        else _unsaved(formula, number, at)
                    )
                cells.append(text)
            cells += [_cell(it.value, number, width + at) for at, it in enumerate(results[width:])]
            yield cells
    finally:
        written.close()


def _check_row_number(number: int) -> None:
    # A damaged row number would otherwise be reached by a billion empty rows.
    if number > _MOST_EXCEL_ROWS:
        problem = f"is a damaged Excel workbook (a row above {_MOST_EXCEL_ROWS:,}); save it again"
        raise TableError(problem)


def _unsaved(formula: object, number: int, at: int) -> FaultyCell:
    text = formula if isinstance(formula, str) else str(getattr(formula, "text", "=…"))
    why = (
        f"cell {_coordinate(number, at)} holds the formula {_short(text)} without a saved value; "
        "open the file in Excel and save it"
    )
    return FaultyCell(text, why)


def _guarded(rows: Iterator[Any]) -> Iterator[Any]:
    """The rows, with whatever openpyxl stumbles over as a TableError."""
    while True:
        with _damage_named():
            found = list(islice(rows, _GUARDED_ROWS))
        if not found:
            return
        yield from found


def _cell(value: object, number: int, at: int) -> str:
    """What a cell holds as text: dates in ISO form, numbers with a point, errors with their place."""
    if value is None:
        return ""
    if isinstance(value, str):
        if value in _EXCEL_ERRORS:
            why = f"cell {_coordinate(number, at)} holds the error {value}"
            return FaultyCell(value, f"{why}; mend it in the workbook")
        return value
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return NumberCell(value)
    if isinstance(value, float):
        return NumberCell(int(value) if value.is_integer() and abs(value) < 1e15 else value)
    if isinstance(value, datetime):
        return value.isoformat() if value.time() != time.min else value.date().isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value)


def _coordinate(number: int, at: int) -> str:
    return f"{_letter(at)}{number}"


def _letter(at: int) -> str:
    """Excel's name of the column at a place: 0 is A, 26 is AA."""
    letters = ""
    at += 1
    while at:
        at, rest = divmod(at - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _sheet_chunks(
    records: Iterator[list[str]], header: _Header, close: Callable[[], None]
) -> Generator[list[Row]]:
    width = len(header.names)
    try:
        rows = (
            _sheet_row(number, cells, width)
            for number, cells in enumerate(records, start=1)
            if number > header.last_row and any(map(str.strip, cells))
        )
        for first in rows:
            yield [first, *islice(rows, CHUNK_ROWS - 1)]
    finally:
        close()


def _sheet_row(number: int, cells: list[str], width: int) -> Row:
    # A sheet's rows end with their last cell, and notes beside the table are not the table's.
    raw = shortened(as_line(cells))
    return Row(number, cells[:width] + [""] * (width - len(cells)), raw)
