"""Fiscal years: which months a publisher's year holds, and which year a day belongs to."""

import re
from datetime import date

# Country → first month, and whether the year is named by the calendar year in which it ends.
_FISCAL = {"IN": (4, True), "JP": (4, False), "AU": (7, True)}
_CALENDAR = (1, True)
_PREFIX = re.compile(r"(?:fy|financial year|fiscal year)[\s'’]*", re.IGNORECASE)
_ONE_YEAR = re.compile(r"(\d{4}|\d{2})", re.ASCII)
_TWO_YEARS = re.compile(r"(\d{4}|\d{2})\s*[-–/]\s*(\d{4}|\d{2})", re.ASCII)
_CENTURY_TURNS_AT = 70
_ALLOWED = "FY25, FY2025, FY2024-25, FY 2024/25 or 2024-25"


def fiscal_year(day: date, country: str) -> int:
    """The number of the fiscal year that `day` belongs to, as the country (ISO 3166 alpha-2) counts.

    India (April to March) and Australia (July to June) name it by the year in which it ends, Japan
    (April to March) by the year in which it begins; statistics of all others go by calendar years.
    Raises ValueError when `country` is not two capital letters.
    """
    first_month, named_by_end = _year_of(country)
    began = day.year if day.month >= first_month else day.year - 1
    return began + (1 if named_by_end and first_month > 1 else 0)


def fiscal_year_months(text: str, country: str) -> tuple[date, ...] | str:
    """The twelve months (first days) that a fiscal year names, or why the text names none.

    FY25 is April 2024 to March 2025 in India, July 2024 to June 2025 in Australia. Two joined years
    (2024-25) say themselves when it begins, unless the second may be a month (2011-12). Raises ValueError as `fiscal_year` does.
    """
    first_month, named_by_end = _year_of(country)
    said = repr(text if len(text) <= 40 else text[:39] + "…")
    bare = text.strip()
    rest = _PREFIX.sub("", bare, count=1)
    is_marked = rest != bare
    two, one = _TWO_YEARS.fullmatch(rest), _ONE_YEAR.fullmatch(rest)
    if not is_marked and (
        (two and len(two[1]) == 2) or (one and (first_month > 1 or len(one[1]) == 2))
    ):
        return f"{said} does not say that it is a fiscal year; allowed: {_ALLOWED}"
    if two:
        if first_month == 1:
            return f"{said} joins two years, but fiscal years of {country} are calendar years: write FY2024"
        began, ends = _full(two[1]), _full(two[2])
        if not is_marked and len(two[2]) == 2 and 1 <= int(two[2]) <= 12 and ends == began + 1:
            month = f"{date(began, int(two[2]), 1):%B %Y}"
            return f"{said} may be the fiscal year FY{began}-{two[2]} or {month}; write FY{began}-{two[2]}"
        if ends != began + 1:
            return f"{said} does not join two years in a row (a month?); allowed: {_ALLOWED}"
    elif one:
        began = _full(one[1]) - (1 if named_by_end and first_month > 1 else 0)
    else:
        return f"{said} is no fiscal year; allowed: {_ALLOWED}"
    if not 1900 < began < 2200:
        return f"{said} is not between 1900 and 2200"
    months = range(began * 12 + first_month - 1, began * 12 + first_month + 11)
    return tuple(date(month // 12, month % 12 + 1, 1) for month in months)


def _year_of(country: str) -> tuple[int, bool]:
    if not re.fullmatch(r"[A-Z]{2}", country):
        message = f"country: {country!r} is not an ISO 3166 alpha-2 code such as IN, JP or AU"
        raise ValueError(message)
    return _FISCAL.get(country, _CALENDAR)


def _full(year: str) -> int:
    if len(year) == 4:
        return int(year)
    return int(year) + (2000 if int(year) < _CENTURY_TURNS_AT else 1900)
