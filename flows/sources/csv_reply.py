"""CSV that a publisher answers with: rows under a known header, or what came in its place."""

import csv
import re

from flows.sources.shape import ReplyShapeError
from flows.sources.tables import TableError, read_rows

Columns = tuple[str, ...]
Rows = list[tuple[int, list[str]]]  # the header is row 1

_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_LONGEST_SAID = 100


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
    _refuse_other_formats(text)
    header = _header(text)
    known = max(layouts, key=lambda layout: len(header.intersection(layout)))
    if not header.intersection(known):
        problem = f"says {_shown(text)} instead of CSV with the columns {', '.join(known)}"
        raise ReplyShapeError(problem)
    try:
        return known, read_rows(content, known)
    except TableError as error:
        problem = f"sent CSV that {error}"
        raise ReplyShapeError(problem) from error


def _refuse_other_formats(text: str) -> None:
    start = text.lstrip()[:1]
    if not start:
        problem = "sent an empty answer; it may block this network"
        raise ReplyShapeError(problem)
    if start == "<":
        title = _TITLE.search(text)
        titled = f" titled {_shown(title[1])}" if title else ""
        problem = f"sent a web page or XML{titled} instead of CSV; look at it in a browser"
        raise ReplyShapeError(problem)
    if start in "{[":
        problem = f"sent JSON instead of CSV: {_shown(text)}"
        raise ReplyShapeError(problem)


def _header(text: str) -> set[str]:
    first = text.lstrip().splitlines()[0]
    return {name.strip() for name in next(csv.reader([first]), [])}


def _shown(text: str) -> str:
    return repr(" ".join(text.split())[:_LONGEST_SAID])
