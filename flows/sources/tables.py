"""Tables as publishers and vendors send them: bytes in, numbered rows of text out, or why the whole is refused."""

import csv
import io
from collections import Counter
from collections.abc import Sequence


class TableError(Exception):
    """A whole table is refused; its text says why and what to do, without the table's name."""


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
    _check_header(header, columns)
    order = [header.index(name) for name in columns]
    straight = order == list(range(len(columns)))
    return [
        (number, cells if straight or len(cells) != len(columns) else [cells[i] for i in order])
        for number, cells in rows[1:]
        if any(cell.strip() for cell in cells)
    ]


def _check_header(header: Sequence[str], columns: Sequence[str]) -> None:
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
        problem = f"columns changed: {'; '.join(found)}{hint}; nothing of this file was taken"
        raise TableError(problem)
