"""The one door for figures: what a row must be before it is stored, and why a row was turned away."""

import difflib
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from statistics import median_low
from typing import Protocol

CONFIDENCES = ("high", "medium", "low", "background", "derived")

# A day begins first at UTC+14: a quote dated so is not from the future.
_EARLIEST_ZONE = timedelta(hours=14)
_PUBLISHING_HOUR = time(12, tzinfo=UTC)
_NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d*)?([eE][+-]?\d{1,3})?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?[\d. ]+,\d+", re.ASCII)
_PERIOD = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_LONGEST_RAW = 500
_LONGEST_SAID = 60
_FIRST_YEAR = 1900  # what is dated earlier is a slip of the pen


@dataclass(frozen=True, slots=True)
class Observation:
    """A validated value of one period of one series, with where and when it was said."""

    series: str
    period: date  # first day of what is measured
    value: float  # in `unit`
    unit: str
    known_at: datetime  # aware UTC: when the publisher made this value known
    source_id: str
    confidence: str  # high | medium | low | background | derived
    statistic: str
    raw_value: str
    raw_unit: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as a source read it: text that nobody has judged yet, and the place it came from.

    `value` and `unit` are what the publisher says; a unit that is not the series' own is converted at
    the door by a named rule (flows.units), and what was written stays beside the result. A source that
    had to compute first (a difference, a sum) puts what the publisher wrote into `raw_value` and
    `raw_unit`. A publisher that does not date its figures leaves `published_on` empty: the series'
    usual lag then says when a figure became known. A source that can't read a row says why in `fault`.
    """

    file: str  # file or call name, without secrets
    row: int  # the header is row 1; replies count from 1
    raw: str
    series: str = ""
    period: str = ""  # YYYY, YYYY-MM or YYYY-MM-DD
    value: str = ""
    unit: str = ""
    statistic: str = ""
    published_on: str = ""  # YYYY-MM-DD: known from 12:00 UTC of that day; empty: the usual lag
    source_id: str = ""
    confidence: str = ""
    note: str = ""
    raw_value: str = ""
    raw_unit: str = ""
    known_at: datetime | None = None  # aware UTC; takes the place of `published_on`
    low: str = ""  # where the publisher gives a range: low <= value <= high is checked
    high: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was turned away: where it stands, what it said, which field is wrong and why."""

    source: str
    file: str
    row: int
    raw: str
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one source delivered after every row was judged."""

    source: str
    observations: tuple[Observation, ...]
    rejected: tuple[RejectedRow, ...]

    @property
    def read(self) -> int:
        return len(self.observations) + len(self.rejected)

    @property
    def newest_period(self) -> date | None:
        return max((item.period for item in self.observations), default=None)


class SeriesSpec(Protocol):
    """What a row of a series must agree with; the catalogue's entries have it."""

    @property
    def unit(self) -> str: ...
    @property
    def frequency(self) -> str: ...
    @property
    def allows_zero(self) -> bool: ...
    @property
    def max_step_ratio(self) -> float | None: ...


def validate(
    source: str,
    rows: Iterable[RawRow],
    *,
    series: Mapping[str, SeriesSpec],
    source_ids: Collection[str],
    now: datetime,
    stored: Callable[[str, date], float | None] | None = None,
) -> Batch:
    """Judge every row on its own, then against its neighbours; never raises for what a row says.

    `now` is the instant of reading, not the moment a replay looks back from. `stored` gives the
    value that a series has for the last period up to a day: with it the jump bound also sees a
    batch that is off as a whole (CNY/kg for CNY/t).
    """
    judged: list[tuple[RawRow, Observation]] = []
    faults: list[tuple[RawRow, str]] = []
    for row in rows:
        found = _observe(row, series, source_ids, now)
        if isinstance(found, Observation):
            judged.append((row, found))
        else:
            faults.append((row, found))
    judged, doubled = _without_doubles(judged)
    judged, jumped = _without_jumps(judged, series, stored)
    rejected = sorted(faults + doubled + jumped, key=lambda item: (item[0].file, item[0].row))
    return Batch(
        source=source,
        observations=tuple(observation for _, observation in judged),
        rejected=tuple(
            RejectedRow(source, _legible(row.file), row.row, _legible(row.raw), _legible(reason))
            for row, reason in rejected
        ),
    )


def parse_number(text: str) -> float | str:
    """The number that a text holds (thousands commas allowed), or why it holds none."""
    text = text.strip()
    if not text:
        return "is empty"
    if not _NUMBER.fullmatch(text):
        if _DECIMAL_COMMA.fullmatch(text):
            return f"{_said(text)} has a decimal comma; write it with a point"
        return f"{_said(text)} is not a number"
    number = float(text.replace(",", ""))
    return number if math.isfinite(number) else f"{_said(text)} is too large"


def parse_period(text: str, frequency: str) -> date | str:
    """The first day of a period, or why the text names none of this frequency."""
    found = _PERIOD.fullmatch(text.strip())
    if found is None:
        return f"{_said(text)} is not YYYY, YYYY-MM or YYYY-MM-DD"
    year, month, day = found.groups()
    if month is None and frequency != "year":
        return f"{_said(text)} is a year, but the series has one value a {frequency}"
    if day is None and frequency not in ("year", "month"):
        return f"{_said(text)} is a month, but the series has one value a {frequency}"
    if day not in (None, "01") and frequency in ("year", "month"):
        return f"{_said(text)} must be the first day of a {frequency}"
    if int(year) < _FIRST_YEAR:
        return f"{_said(text)} is before {_FIRST_YEAR}"
    try:
        return date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return f"{_said(text)} is not in the calendar"


def _observe(
    row: RawRow,
    series: Mapping[str, SeriesSpec],
    source_ids: Collection[str],
    now: datetime,
) -> Observation | str:
    """The row as an observation, or all that is wrong with it."""
    if row.fault:
        return row.fault
    spec = series.get(row.series)
    if spec is None:
        return f"series: {_said(row.series)} is not in the catalogue{_nearest(row.series, series)}"
    today = (now + _EARLIEST_ZONE).date()

    wrong: list[str] = []
    period = parse_period(row.period, spec.frequency)
    if isinstance(period, date) and period > today:
        period = f"{_said(row.period)} is in the future"
    if isinstance(period, str):
        wrong.append(f"period: {period}")
    value = parse_number(row.value)
    if isinstance(value, float) and (value < 0 or (value == 0 and not spec.allows_zero)):
        value = f"{_said(row.value)} must be {'0 or more' if spec.allows_zero else 'above 0'}"
    if isinstance(value, str):
        wrong.append(f"value: {value}")
    if row.unit != spec.unit:
        wrong.append(f"unit: {_said(row.unit)} is not {spec.unit!r}, the unit of its series")
    known_at = _known_at(row)
    if isinstance(known_at, datetime):
        if known_at > now + _EARLIEST_ZONE:
            known_at = f"{_said(row.published_on or known_at.isoformat())} is in the future"
        elif isinstance(period, date) and (known_at + _EARLIEST_ZONE).date() < period:
            known_at = f"{known_at.date()} is before {period}, when the period began"
    if isinstance(known_at, str):
        wrong.append(f"published_on: {known_at}")
    if not row.source_id:
        wrong.append("source_id: is empty, but every figure needs a source")
    elif row.source_id not in source_ids:
        nearest = _nearest(row.source_id, source_ids)
        wrong.append(f"source_id: {_said(row.source_id)} is not a known source{nearest}")
    if row.confidence not in CONFIDENCES:
        allowed = ", ".join(CONFIDENCES)
        wrong.append(f"confidence: {_said(row.confidence)} is none of {allowed}")
    wrong += [
        f"{field}: holds a control character"
        for field in ("value", "statistic", "note", "raw_value", "raw_unit")
        if _CONTROL.search(getattr(row, field))
    ]
    if wrong or isinstance(period, str) or isinstance(value, str) or isinstance(known_at, str):
        return "; ".join(wrong)
    return Observation(
        series=row.series,
        period=period,
        value=value,
        unit=row.unit,
        known_at=known_at,
        source_id=row.source_id,
        confidence=row.confidence,
        statistic=row.statistic,
        raw_value=row.raw_value or row.value,
        raw_unit=row.raw_unit or row.unit,
        note=row.note,
    )


def _known_at(row: RawRow) -> datetime | str:
    if row.known_at is not None:
        return row.known_at.astimezone(UTC)
    found = _PERIOD.fullmatch(row.published_on.strip())
    if found is None or found[3] is None:
        return f"{_said(row.published_on)} is not a day (YYYY-MM-DD)"
    try:
        day = date.fromisoformat(found[0])
    except ValueError:
        return f"{_said(row.published_on)} is not in the calendar"
    return datetime.combine(day, _PUBLISHING_HOUR)


_Judged = list[tuple[RawRow, Observation]]
_Faults = list[tuple[RawRow, str]]


def _without_doubles(judged: _Judged) -> tuple[_Judged, _Faults]:
    """Keep one of several equal rows, and none of several that contradict each other.

    Which of two contradicting values is right can't be told from their order in a file.
    """
    claims: dict[tuple[str, date, datetime], _Judged] = {}
    for row, item in judged:
        claims.setdefault((item.series, item.period, item.known_at), []).append((row, item))
    kept: _Judged = []
    faults: _Faults = []
    for claim in claims.values():
        first, told = claim[0]
        if len({item.value for _, item in claim}) == 1:
            kept.append(claim[0])
            reason = f"repeats row {first.row} of {first.file}: same series, period and instant"
            faults += [(row, reason) for row, _ in claim[1:]]
        else:
            places = ", ".join(f"row {row.row} of {row.file}: {row.value}" for row, _ in claim[:5])
            reason = f"value: {told.series} {told.period} is told in different ways ({places})"
            faults += [(row, reason) for row, _ in claim]
    return kept, faults


def _without_jumps(
    judged: _Judged,
    series: Mapping[str, SeriesSpec],
    stored: Callable[[str, date], float | None] | None,
) -> tuple[_Judged, _Faults]:
    """Turn away values further from the last accepted one than the bound of their series."""
    in_time = sorted(judged, key=lambda item: (item[1].series, item[1].period, item[1].known_at))
    kept: _Judged = []
    faults: _Faults = []
    for name, group in groupby(in_time, key=lambda item: item[1].series):
        bound = series[name].max_step_ratio
        values = list(group)
        if bound is None:
            kept += values
            continue
        before = stored(name, values[0][1].period) if stored else None
        last = before or _start(values)
        for row, item in values:
            # A month without exports is no step: the next one is compared with the last above zero.
            if item.value > 0 and last > 0:
                step = item.value / last
                if not 1 / bound <= step <= bound:
                    faults.append((row, _jump(item, last, bound)))
                    continue
                last = item.value
            kept.append((row, item))
    return kept, faults


def _start(values: Sequence[tuple[RawRow, Observation]]) -> float:
    # One wrong first value must not turn away all the right ones that follow.
    return median_low([item.value for _, item in values if item.value > 0][:3] or [0.0])


def _jump(item: Observation, last: float, bound: float) -> str:
    return (
        f"value: {item.value:g} {item.unit} after {last:g} is a step of more than "
        f"{bound:g} times: a unit or basis may have changed, or the bound of {item.series} is too tight"
    )


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word[:_LONGEST_SAID], known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _said(text: str) -> str:
    """What a cell holds, in quotes; a long text must not push the reason out of sight."""
    return repr(text if len(text) <= _LONGEST_SAID else text[: _LONGEST_SAID - 1] + "…")


def _legible(text: str) -> str:
    """Text that every database and terminal can hold: no control characters, no endless line."""
    text = _CONTROL.sub("\ufffd", text)
    return text if len(text) <= _LONGEST_RAW else text[: _LONGEST_RAW - 1] + "…"
