"""Text into numbers, periods and days, or the reason why it is none; and text made safe to show."""

import difflib
import math
import re
from collections.abc import Iterable
from datetime import date

CONFIDENCES = ("high", "medium", "low", "background", "derived")

LONGEST_TEXT = {
    "value": 100_000,  # what is no number is told as such
    "statistic": 80,
    "note": 2000,
    "raw_value": 500,
    "raw_unit": 500,
    "source_id": 80,
}
"""What is kept beside a figure, and how much of it: a column of a database has an end."""

FIRST_YEAR = 1900  # what is dated earlier is a slip of the pen

_NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d*)?([eE][+-]?\d{1,3})?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?[\d. ]+,\d+", re.ASCII)
_PERIOD = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_LONGEST_RAW = 500
_LONGEST_SAID = 60


def parse_number(text: str) -> float | str:
    """The number that a text holds (thousands commas allowed), or why it holds none."""
    text = text.strip()
    if not text:
        return "is empty"
    if not _NUMBER.fullmatch(text):
        if _DECIMAL_COMMA.fullmatch(text):
            return f"{said(text)} has a decimal comma; write it with a point"
        if text.startswith("="):
            return f"{said(text)} is a formula, not its value"
        return f"{said(text)} is not a number"
    number = float(text.replace(",", ""))
    return number if math.isfinite(number) else f"{said(text)} is too large"


def parse_period(text: str, frequency: str) -> date | str:
    """The first day of a period, or why the text names none of this frequency."""
    found = _PERIOD.fullmatch(text.strip())
    if found is None:
        return f"{said(text)} is not YYYY, YYYY-MM or YYYY-MM-DD"
    year, month, day = found.groups()
    if month is None and frequency != "year":
        return f"{said(text)} is a year, but the series has one value a {frequency}"
    if day is None and frequency not in ("year", "month"):
        return f"{said(text)} is a month, but the series has one value a {frequency}"
    if day not in (None, "01") and frequency in ("year", "month"):
        return f"{said(text)} must be the first day of a {frequency}"
    if int(year) < FIRST_YEAR:
        return f"{said(text)} is before {FIRST_YEAR}"
    try:
        return date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return f"{said(text)} is not in the calendar"


def parse_day(text: str) -> date | str:
    """The day that a text names as YYYY-MM-DD, or why it names none."""
    found = _PERIOD.fullmatch(text.strip())
    if found is None or found[3] is None:
        return f"{said(text)} is not a day (YYYY-MM-DD)"
    try:
        return date.fromisoformat(found[0])
    except ValueError:
        return f"{said(text)} is not in the calendar"


def text_fault(text: str, longest: int) -> str:
    """Why a text can't be kept beside a figure; empty when it can."""
    if _CONTROL.search(text):
        return "holds a control character"
    return f"has more than {longest} characters" if len(text) > longest else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint at the known word that is nearest, with a space before it; empty when none is near."""
    close = difflib.get_close_matches(word[:_LONGEST_SAID], known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def said(text: str) -> str:
    """What a cell holds, in quotes; a long text must not push the reason out of sight."""
    return repr(text if len(text) <= _LONGEST_SAID else text[: _LONGEST_SAID - 1] + "…")


def legible(text: str) -> str:
    """Text that every database and terminal can hold: no control characters, no endless line."""
    if _CONTROL.search(text):
        text = _CONTROL.sub("\ufffd", text)
    return text if len(text) <= _LONGEST_RAW else text[: _LONGEST_RAW - 1] + "…"
