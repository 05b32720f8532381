"""How numbers, months and lists are written for a reader: always with a unit, never more exact than known."""

import unicodedata
from collections.abc import Sequence
from datetime import UTC, date, datetime

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def number(value: float) -> str:
    """Three significant digits, but every digit of a whole part: 62.3, 0.148, 1,238, 12,500."""
    size = abs(value)
    if size >= 99.95 or size == 0:
        return f"{value:,.0f}"
    decimals = 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    return f"{value:,.{decimals}f}"


def amount(value: float, unit: str) -> str:
    """A number with its unit: "62.3 USD/kg"."""
    return f"{number(value)} {unit}".strip()


def span(low: float, high: float, unit: str) -> str:
    """An estimated range with its unit, said once and to three digits: "58.1 to 71.0 USD/kg"."""
    return f"{number(_three_digits(low))} to {number(_three_digits(high))} {unit}".strip()


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")


def percent(share: float) -> str:
    """A share 0–1 as whole per cent; a fraction of one per cent is not rounded to nothing: "25 %"."""
    points = share * 100
    if points != 0 and abs(points) < 0.5:
        return f"{points:.1f} %" if abs(points) >= 0.05 else "under 0.1 %"
    return f"{points:,.0f} %"


def percent_span(low: float, high: float) -> str:
    """Two shares 0–1 as one range: "3 to 25 %"."""
    return f"{percent(low).removesuffix(' %')} to {percent(high)}"


def chance(probability: float) -> str:
    """A probability 0–1 in words that never claim certainty: "62 %", "more than 99 %", "less than 1 %"."""
    if probability > 0.99:
        return "more than 99 %"
    if probability < 0.01:
        return "less than 1 %"
    return f"{probability * 100:.0f} %"


def change(share: float) -> str:
    """A relative change with its sign: "+36 %", "-25 %"."""
    text = f"{share * 100:+.0f} %"
    return "0 %" if text in {"+0 %", "-0 %"} else text


def day(when: date | datetime) -> str:
    """A date as people write it: "21 Jun 2025"."""
    return f"{when.day} {_MONTHS[when.month - 1]} {when.year}"


def instant(when: datetime) -> str:
    """An aware instant to the minute, in UTC: "21 Jun 2025, 23:59 UTC"."""
    at = when.astimezone(UTC)
    return f"{day(at)}, {at:%H:%M} UTC"


def month(when: date) -> str:
    """A month as people write it: "May 2025"."""
    return f"{_MONTHS[when.month - 1]} {when.year}"


def period(first_day: date, frequency: str) -> str:
    """What a figure measures: "2024", "May 2025" or "2 Jun 2025"."""
    if frequency == "year":
        return str(first_day.year)
    return month(first_day) if frequency == "month" else day(first_day)


def days(count: float) -> str:
    """Whole days: "1 day", "12 days"."""
    whole = int(count)
    return "1 day" if whole == 1 else f"{whole:,} days"


def listing(words: Sequence[str]) -> str:
    """A list as people write it: "a", "a and b", "a, b and c"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def months_between(periods: Sequence[date]) -> str:
    """Months in short, runs joined: "May 2024–Oct 2024, Jan 2025–Mar 2025"."""
    runs: list[list[date]] = []
    for period in sorted(periods):
        if runs and _ordinal(period) == _ordinal(runs[-1][-1]) + 1:
            runs[-1].append(period)
        else:
            runs.append([period])
    return ", ".join(
        month(run[0]) if len(run) == 1 else f"{month(run[0])}–{month(run[-1])}" for run in runs
    )


def shortened(text: str, limit: int) -> str:
    """The text, cut with an ellipsis when it is longer than `limit` characters."""
    return text if len(text) <= limit else f"{text[: max(limit - 1, 0)].rstrip()}…"


def _ordinal(period: date) -> int:
    return period.year * 12 + period.month


def readable(text: str) -> str:
    """Text from anywhere on one line, without characters that hide, reorder or command.

    Control and format characters go (terminal escapes, zero width, right-to-left overrides), lone
    surrogates become a visible mark, runs of blanks become one.
    """
    kept = []
    for character in text:
        category = unicodedata.category(character)
        if category == "Cs":
            kept.append("\N{REPLACEMENT CHARACTER}")
        elif category in {"Cc", "Zs", "Zl", "Zp"}:
            kept.append(" ")
        elif category not in {"Cf", "Co", "Cn"}:
            kept.append(character)
    return " ".join("".join(kept).split())
