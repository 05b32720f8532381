"""CSV that a publisher answers with: rows under a known header, or what came in its place."""

import csv

from flows.sources.shape import ReplyShapeError
from flows.sources.tables import TableError, beginning, came_instead, read_rows

Columns = tuple[str, ...]
Rows = list[tuple[int, list[str]]]  # the header is row 1


def csv_rows(content: bytes, *layouts: Columns) -> tuple[Columns, Rows]:
    """The layout that the header fits, and the rows below it with cells in the layout's order.

    A row with another number of cells comes as it is: the caller turns it away alone. Raises
    ReplyShapeError for an empty answer, a web page, JSON, a sentence, or changed columns.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"sent text that is not UTF-8 (byte {error.start})"
        raise ReplyShapeError(problem) from error
    if problem := came_instead(text, "CSV"):
        raise ReplyShapeError(problem)
    header = _header(text)
    known = max(layouts, key=lambda layout: len(header.intersection(layout)))
    if not header.intersection(known):
        problem = f"says {beginning(text)} instead of CSV with the columns {', '.join(known)}"
        raise ReplyShapeError(problem)
    try:
        return known, read_rows(content, known)
    except TableError as error:
        problem = f"sent CSV that {error}"
        raise ReplyShapeError(problem) from error


def _header(text: str) -> set[str]:
    first = text.lstrip().splitlines()[0]
    try:
        return {name.strip() for name in next(csv.reader([first]), [])}
    except csv.Error as error:  # a cell of more than 131,072 characters, for one
        problem = f"sent a first line that is no header ({error}): {beginning(text)}"
        raise ReplyShapeError(problem) from error
