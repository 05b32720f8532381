"""Dates as people write them, read only where there is one way to read them."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_FIRST_SERIAL, _LAST_SERIAL = 25_569, 73_050  # 1970 to 2099 when days count from 1900
_DAY_0_OF_1900, _DAY_0_OF_1904 = date(1899, 12, 30), date(1904, 1, 1)
_TIME = re.compile(
    r"(?<=\d)(T|\s+)\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?\s*([AaPp]\.?[Mm]\.?)?\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says as YYYY, YYYY-MM or YYYY-MM-DD, or why it can't be told."""

    iso: str = ""
    fault: str = ""
    order: str = ""  # "day first" or "month first", when the text itself proves it

    def cut(self, frequency: str) -> str:
        """The date as a day, month or year; one that is coarser already stays as it is."""
        return self.iso[: {"year": 4, "month": 7}.get(frequency, 10)]


def read_dates(
    texts: Iterable[str], *, forms: Sequence[str] = (), is_1904: bool = False
) -> dict[str, Reading]:
    """Each text with its reading; texts that prove different orders of day and month are all refused.

    `forms` are strptime forms that go first: with them only ISO dates and Excel's day numbers are
    read besides.
    """
    found = {text: _reading(text, forms, is_1904) for text in texts}
    proofs = {it.order: text for text, it in found.items() if it.order}
    if len(proofs) < 2:
        return found
    one, other = sorted(proofs.values())
    fault = (
        f"{one!r} and {other!r} of the same column are written with day and month in different "
        'order; say which with dates = ["%d/%m/%Y"] or ["%m/%d/%Y"]'
    )
    return {text: Reading(fault=fault) if it.order else it for text, it in found.items()}


def form_fault(form: str) -> str:
    """Why a strptime form can't be used for dates; empty when it can."""
    sample = datetime(2025, 11, 23, 14, 30, 59)  # noqa: DTZ001 - only its text is looked at
    try:
        text = sample.strftime(form)
        read = datetime.strptime(text, form)  # noqa: DTZ007
    except ValueError as error:
        return f"is no form of a date ({error})"
    if read.year != sample.year:
        return "says no year; write %Y, or %y for two digits"
    return ""


def _reading(text: str, forms: Sequence[str], is_1904: bool) -> Reading:
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    plain = " ".join(unicodedata.normalize("NFKC", text).split())
    if not plain:
        return Reading(fault="is empty")
    for form in forms:
        try:
            day = datetime.strptime(plain, form)  # noqa: DTZ007 - a date has no time zone
        except ValueError:
            continue
        return Reading(day.date().isoformat()[: _precision(form)])
    untimed = _TIME.sub("", plain) if _TIME.search(plain) else plain
    for pattern, reads in _FORMS if not forms else _SURE_FORMS:
        match = re.fullmatch(pattern, untimed, re.ASCII | re.IGNORECASE)
        if match is not None:
            return reads(shown, match)
    serial = re.fullmatch(r"(\d{5})(\.\d+)?", plain, re.ASCII)
    if serial is not None and _FIRST_SERIAL <= int(serial[1]) <= _LAST_SERIAL:
        first = _DAY_0_OF_1904 if is_1904 else _DAY_0_OF_1900
        return Reading((first + timedelta(days=int(serial[1]))).isoformat())
    if forms:
        return Reading(fault=f"{shown!r} is not written as dates says ({', '.join(forms)})")
    return Reading(
        fault=f'{shown!r} is no date that can be read; say its form: dates = ["%d/%m/%Y"]'
    )


def _precision(form: str) -> int:
    """How many characters of YYYY-MM-DD a form speaks of."""
    letters = set(re.findall(r"%[-#]?([a-zA-Z])", form.replace("%%", "")))
    if letters & set("djcxD"):
        return 10
    return 7 if letters & set("mbBh") else 4


def _date(shown: str, year: str, month: str = "", day: str = "", order: str = "") -> Reading:
    try:
        made = date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return Reading(fault=f"{shown!r} is not in the calendar")
    return Reading(made.isoformat()[: 10 if day else 7 if month else 4], order=order)


def _year_first(shown: str, match: "re.Match[str]") -> Reading:
    return _date(shown, *(part or "" for part in match.groups()))


def _dotted_month(shown: str, match: "re.Match[str]") -> Reading:
    # A sheet that took 2025.10 for a number shows 2025.1.
    return Reading(fault=f"{shown!r} may be January or October: write the month with two digits")


def _day_and_month(shown: str, match: "re.Match[str]") -> Reading:
    one, other, year = match.groups()
    if int(one) > 12 >= int(other):
        return _date(shown, year, other, one, order="day first")
    if int(other) > 12 >= int(one):
        return _date(shown, year, one, other, order="month first")
    if int(one) == int(other):
        return _date(shown, year, one, other)
    if int(one) > 12:
        return Reading(fault=f"{shown!r} is not in the calendar")
    return Reading(
        fault=f'{shown!r}: day or month first? Say so with dates = ["%d/%m/%Y"] or ["%m/%d/%Y"]'
    )


def _month_and_year(shown: str, match: "re.Match[str]") -> Reading:
    return _date(shown, match[2], match[1])


def _short_year(shown: str, match: "re.Match[str]") -> Reading:
    return Reading(
        fault=f'{shown!r} has a year of two digits; say its form, such as dates = ["%d-%b-%y"]'
    )


def _named(shown: str, match: "re.Match[str]") -> Reading:
    """A date whose month is a word: `day`, `month` and `year` are groups of the pattern."""
    parts = match.groupdict()
    word = parts["month"].lower()
    months = [
        number for number, name in enumerate(_MONTHS, start=1) if word in (name, name[:3], name[:4])
    ]
    if not months:
        return Reading(
            fault=f'{shown!r} names no English month; say its form: dates = ["%Y-%m-%d"]'
        )
    return _date(shown, parts["year"], str(months[0]), parts.get("day") or "")


_WORD = r"(?P<month>[a-z]{3,9})\.?"
_YEAR = r"(?P<year>\d{4})"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_GAP = r"[ ./,-]*"
_Reads = Callable[[str, "re.Match[str]"], Reading]
_SURE_FORMS: tuple[tuple[str, _Reads], ...] = ((r"(\d{4})-(\d{2})(?:-(\d{2}))?", _year_first),)
_FORMS: tuple[tuple[str, _Reads], ...] = (
    *_SURE_FORMS,
    (r"(\d{4})[-/](\d{1,2})(?:[-/](\d{1,2}))?", _year_first),
    (r"(\d{4})\.(\d{1,2})\.(\d{1,2})\.?", _year_first),
    (r"(\d{4})\.(\d{2})", _year_first),
    (r"(\d{4})\.\d", _dotted_month),
    (r"(\d{4})(\d{2})?(\d{2})?", _year_first),
    (r"(\d{4})-?M(\d{2})", _year_first),
    (r"(\d{4}) ?年 ?(?:(\d{1,2}) ?月 ?(?:(\d{1,2}) ?[日号])?)?", _year_first),
    (r"(\d{1,2})/(\d{1,2})/(\d{4})", _day_and_month),
    (r"(\d{1,2})-(\d{1,2})-(\d{4})", _day_and_month),
    (r"(\d{1,2})\.(\d{1,2})\.(\d{4})", _day_and_month),
    (r"(\d{1,2})[-/.](\d{4})", _month_and_year),
    (r"\d{1,2}[-/.]\d{1,2}[-/.]\d{2}", _short_year),
    (r"(\d{1,2}[ ./-]*)?[a-z]{3,9}[ ./'-]*\d{2}", _short_year),
    (rf"{_DAY}{_GAP}{_WORD}{_GAP}{_YEAR}", _named),
    (rf"{_WORD}{_GAP}{_DAY}(?:, ?| ){_YEAR}", _named),
    (rf"{_WORD}{_GAP}{_YEAR}", _named),
    (rf"{_YEAR}{_GAP}{_WORD}(?:{_GAP}{_DAY})?", _named),
)
