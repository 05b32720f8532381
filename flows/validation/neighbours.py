"""What sets sound rows against each other and against what is kept: doubles, jumps, flat quotes, gaps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from statistics import median_low

import numpy as np
import numpy.typing as npt
import pandas as pd

from flows.validation.columns import Floats, Instants, ReadTable
from flows.validation.instants import (
    calendar_length,
)
from flows.validation.rows import (
    Gaps,
    SeriesSpec,
    Span,
    Stored,
)

HOLIDAYS = 8
"""Working days in a row that a daily series may lack: the longest holidays of Asia's markets."""

_MISSING_SHOWN = 5


@dataclass(frozen=True)
class _Group:
    """The rows of one series, by position, in order of time."""

    name: str
    spec: SeriesSpec
    members: npt.NDArray[np.intp]


_Kept = Sequence[tuple[np.datetime64, float]]
_Stand = tuple[np.datetime64 | None, float, bool]  # period, value, whether it is kept
_Link = tuple[np.datetime64, list[tuple[int | None, float]]]  # None: it is kept already


class Neighbours:
    """Sound rows in order of series, period and instant, with what sets them against each other."""

    def __init__(self, read: ReadTable, rows: npt.NDArray[np.intp], stored: Stored | None) -> None:
        self._read = read
        # Series in the order of their names: what is done must not depend on the order of rows.
        rank = np.argsort(np.argsort(np.array(read.series_names, dtype=object), kind="stable"))
        self._series = rank[read.series_codes[rows]] if len(rows) else np.zeros(0, dtype=np.int64)
        order = np.lexsort((read.known_at[rows], read.period[rows], self._series))
        self.rows = rows[order]
        self._series = self._series[order]
        self._period = read.period[self.rows]
        self._known_at = read.known_at[self.rows]
        self._value = read.value[self.rows]
        self._reasons: dict[int, str] = {}
        count = len(self.rows)
        self._is_first, self._is_uncontradicted = np.ones(count, bool), np.ones(count, bool)
        self._step = np.full(count, np.nan)
        self._flat_over = np.zeros(count, dtype=np.int64)
        self.gaps: list[Gaps] = []
        self._find_doubles()
        groups = list(self._by_series())
        kept = stored({one.name: self._span(one) for one in groups}) if stored and groups else {}
        for one in groups:
            around = [(np.datetime64(day, "D"), value) for day, value in kept.get(one.name, ())]
            if one.spec.max_step_ratio is not None:
                one = replace(one, members=self._without_jumps(one, around))
            if one.spec.flat_days and one.spec.frequency == "day":
                one = replace(one, members=self._without_flat(one, around))
            self.gaps += _gaps(one, self._period[one.members], [day for day, _ in around])

    @property
    def evidence(self) -> pd.DataFrame:
        """The columns that the rules between rows are about."""
        return pd.DataFrame(
            {
                "is_first_of_its_kind": self._is_first,
                "is_uncontradicted": self._is_uncontradicted,
                "step": self._step,
                "flat_days_over": self._flat_over,
            }
        )

    def wrong_with(self, position: int) -> str:
        """What sets a row against its neighbours, in words."""
        return self._reasons[position]

    def _place(self, position: int) -> tuple[str, int]:
        raw, at = self._read.raw, self.rows[position]
        return str(raw["file"].iloc[at]), int(raw["row"].iloc[at])

    def _find_doubles(self) -> None:
        """Keep one of several equal rows, and none of several that contradict each other.

        Which of two contradicting values is right can't be told from their order in a file.
        """
        if len(self.rows) < 2:
            return
        same = (
            (self._series[1:] == self._series[:-1])
            & (self._period[1:] == self._period[:-1])
            & (self._known_at[1:] == self._known_at[:-1])
        )
        starts = np.flatnonzero(np.concatenate([[True], ~same]))
        lengths = np.diff(np.append(starts, len(self.rows)))
        for start, length in zip(starts[lengths > 1], lengths[lengths > 1], strict=True):
            claim = sorted(range(start, start + length), key=self._place)
            if len(set(self._value[start : start + length])) == 1:
                file, row = self._place(claim[0])
                for position in claim[1:]:
                    self._is_first[position] = False
                    self._reasons[position] = (
                        f"repeats row {row} of {file}: same series, period and instant"
                    )
                continue
            told = self._read.raw["value"]
            places = ", ".join(
                f"row {row} of {file}: {told.iloc[self.rows[at]]}"
                for at in claim[:5]
                for file, row in [self._place(at)]
            )
            name = self._read.series_names[self._read.series_codes[self.rows[start]]]
            reason = f"{self._field(start)}: {name} {self._period[start]} is told in different ways ({places})"
            self._is_uncontradicted[start : start + length] = False
            self._reasons.update(dict.fromkeys(range(start, start + length), reason))

    def _by_series(self) -> Iterator[_Group]:
        """The rows still standing, series by series, in order of time."""
        standing = np.flatnonzero(self._is_first & self._is_uncontradicted)
        if not len(standing):
            return
        edges = np.flatnonzero(np.diff(self._series[standing])) + 1
        for members in np.split(standing, edges):
            at = int(self.rows[members[0]])
            spec = self._read.spec(at)
            if spec is not None:
                name = self._read.series_names[self._read.series_codes[at]]
                yield _Group(name, spec, members)

    def _span(self, one: _Group) -> Span:
        days = self._period[one.members]
        first, last = days[0].astype(date), days[-1].astype(date)
        present = np.unique(days)
        if one.spec.frequency == "day":
            present = present[np.is_busday(present)]
        return Span(
            unit=one.spec.unit,
            first=first,
            last=last,
            is_whole=len(present) >= calendar_length(first, last, one.spec.frequency),
            # Quotes of seven days a week reach back fewer working days than there are of them.
            before=max(1, one.spec.flat_days * 2),
        )

    def _without_jumps(self, one: _Group, around: _Kept) -> npt.NDArray[np.intp]:
        """Mark values further than the bound from the accepted one before; returns those accepted.

        Before the first row stands what is kept of an earlier period, else of the same one. Where only
        later periods are kept, a batch that fills in the past is compared with what follows.
        """
        bound = one.spec.max_step_ratio or np.inf
        days = self._period[one.members]
        is_backward = bool(around) and around[0][0] > days[0]
        earlier = [value for day, value in around if day < days[0]]
        same = [value for day, value in around if day == days[0]]
        start = (earlier[-1:] or same or [_start(self._value[one.members])])[0]
        if not is_backward and self._is_smooth(one, around, start, bound):
            return one.members
        chain = self._chain(one, around)
        if not is_backward:
            from_kept = bool(earlier or same)
            return np.array(self._walk(one, chain, (None, float(start), from_kept)), dtype=np.intp)
        # From the first one kept backwards to what fills in the past, and on from it.
        pivot, value = around[0]
        past = [link for link in chain if link[0] < pivot][::-1]
        rest = [link for link in chain if link[0] >= pivot]
        accepted = self._walk(one, past, (pivot, value, True), word="before")
        accepted += self._walk(one, rest, (pivot, value, True))
        return np.array(sorted(accepted), dtype=np.intp)

    def _walk(
        self, one: _Group, chain: Sequence[_Link], start: _Stand, *, word: str = "after"
    ) -> list[int]:
        """Go from period to period and mark what is too far from the one that stands; returns the others."""
        bound = one.spec.max_step_ratio or np.inf
        accepted: list[int] = []
        last_day, last, is_kept = start
        for day, links in chain:
            stands = None
            for position, value in links:
                if position is None:  # it is kept already
                    stands = value if value > 0 else stands
                elif value <= 0 or last <= 0:
                    # A month without exports is no step: the next is compared with the last above zero.
                    stands = value if value > 0 else stands
                    accepted.append(position)
                elif 1 / bound <= value / last <= bound:
                    self._step[position] = min(abs(np.log(value / last)) / np.log(bound), 1.0)
                    accepted.append(position)
                    stands = value
                else:
                    self._step[position] = np.inf
                    of_day = "" if last_day is None else f" of {last_day}"
                    self._reasons[position] = (
                        f"{self._field(position)}: {value:g} {one.spec.unit} {word} {last:g}{of_day}"
                        f"{' (kept)' if is_kept else ''} is a step of more than {bound:g} times: a "
                        f"unit or basis may have changed, or the bound of {one.name} is too tight"
                    )
            if stands is not None:
                last, last_day = stands, day
                is_kept = all(position is None for position, _ in links)
        return accepted

    def _field(self, position: int) -> str:
        return self._read.raw["field"].iloc[self.rows[position]] or "value"

    def _is_smooth(self, one: _Group, around: _Kept, start: float, bound: float) -> bool:
        """Whether no row is a jump, seen at once: nearly every series is so. Marks the steps if it is."""
        days, values = self._period[one.members], self._value[one.members]
        if start <= 0 or (values <= 0).any() or (days[1:] == days[:-1]).any():
            return False
        present = set(days.tolist())
        between = [(day, it) for day, it in around if day > days[0] and day.item() not in present]
        all_days = np.concatenate([days, np.array([day for day, _ in between], dtype=days.dtype)])
        order = np.argsort(all_days, kind="stable")
        chain = np.concatenate([values, np.array([it for _, it in between], dtype=float)])[order]
        if (chain <= 0).any():
            return False
        steps = np.abs(np.diff(np.log(np.concatenate([[start], chain])))) / np.log(bound)
        is_ours = order < len(days)
        # Logarithms round: a step of exactly the bound is none too many.
        if (steps[is_ours] > 1 + 1e-12).any():
            return False
        self._step[one.members] = np.minimum(steps[is_ours], 1.0)
        return True

    def _chain(self, one: _Group, around: _Kept) -> list[_Link]:
        """Periods in order, each with the vintages of the batch, or with what is kept of it."""
        links: dict[np.datetime64, list[tuple[int | None, float]]] = {}
        values = self._value[one.members].tolist()
        for position, day, value in zip(
            one.members.tolist(), self._period[one.members], values, strict=True
        ):
            links.setdefault(day, []).append((position, value))
        first = self._period[one.members[0]]
        for day, value in around:
            if day > first:
                links.setdefault(day, [(None, value)])
        return sorted(links.items(), key=lambda link: link[0])

    def _without_flat(self, one: _Group, around: _Kept) -> npt.NDArray[np.intp]:
        """Mark quotes that have not moved for more working days than their series may; returns the others."""
        if not len(one.members):
            return one.members
        known = dict(around)
        for position, day in zip(one.members, self._period[one.members], strict=True):
            known[day] = float(self._value[position])
        days = np.array(sorted(known), dtype="datetime64[D]")
        values = np.array([known[day] for day in days])
        starts = np.where(
            np.concatenate([[True], values[1:] != values[:-1]]), days, np.datetime64("NaT")
        )
        starts = pd.Series(starts).ffill().to_numpy().astype("datetime64[D]")
        since = dict(
            zip(days, zip(starts, np.busday_count(starts, days), strict=True), strict=True)
        )
        moved = []
        for position in one.members.tolist():
            start, count = since[self._period[position]]
            over = int(count) - one.spec.flat_days
            if over <= 0 or self._value[position] != known[self._period[position]]:
                moved.append(position)
                continue
            self._flat_over[position] = over
            self._reasons[position] = (
                f"{self._field(position)}: {self._value[position]:g} {one.spec.unit} has not moved for {count} working "
                f"days (since {start}): more than {one.spec.flat_days} is taken for a quote that "
                "nobody renewed"
            )
        return np.array(moved, dtype=np.intp)


def _gaps(one: _Group, days: Instants, kept: Sequence[np.datetime64]) -> Iterator[Gaps]:
    """What is missing of a series between what is kept before it, or its first row, and its newest row."""
    if not len(days):
        return
    first, last = days.min(), days.max()
    unit = {"day": "D", "month": "M", "year": "Y"}[one.spec.frequency]
    there = np.array([day for day in kept if day <= last], dtype="datetime64[D]")
    # What is kept from before only says where the gap begins.
    there = np.concatenate([there[there < first][-1:], there[there >= first], days])
    present = np.unique(there.astype(f"datetime64[{unit}]"))
    calendar = np.arange(present[0], present[-1] + 1)
    if one.spec.frequency == "day":
        calendar = calendar[np.is_busday(calendar)]
    missing = np.setdiff1d(calendar, present)
    if one.spec.frequency == "day" and len(missing):
        # Markets close over holidays; what is longer is a gap.
        runs = np.split(missing, np.flatnonzero(np.busday_count(missing[:-1], missing[1:]) > 1) + 1)
        missing = np.concatenate([run if len(run) > HOLIDAYS else run[:0] for run in runs])
    if len(missing):
        yield Gaps(
            series=one.name,
            first=first.astype(date),
            last=last.astype(date),
            expected=len(calendar),
            present=len(calendar) - len(missing),
            missing=tuple(
                when.astype("datetime64[D]").astype(date) for when in missing[:_MISSING_SHOWN]
            ),
        )


def _start(values: Floats) -> float:
    # One wrong first value must not turn away all the right ones that follow.
    return median_low([float(value) for value in values[values > 0][:3]] or [0.0])
