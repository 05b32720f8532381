"""Judging a batch: every row on its own, then against its neighbours; what fails is turned away with a reason."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from statistics import median_low
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from flows.units import Conversion, Rates, conversion, lower_confidence
from flows.validation.instants import FREQUENCIES, NOON, instant64, last_days, usually_known
from flows.validation.rows import (
    Batch,
    Gaps,
    RawRow,
    RejectedRow,
    SeriesSpec,
    Stored,
    raw_table,
)
from flows.validation.rules import (
    EARLIEST_ZONE,
    failures,
    neighbour_schema,
    row_schema,
)
from flows.validation.texts import (
    CONFIDENCES,
    has_control_character,
    legible,
    nearest,
    parse_day,
    parse_number,
    parse_period,
    said,
)

_MISSING_SHOWN = 5

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Objects = npt.NDArray[np.object_]
Instants = npt.NDArray[np.datetime64]


def validate(
    source: str,
    rows: Iterable[RawRow] | pd.DataFrame,
    *,
    series: Mapping[str, SeriesSpec],
    source_ids: Collection[str],
    now: datetime,
    stored: Stored | None = None,
    rates: Rates | None = None,
) -> Batch:
    """Judge every row on its own, then against its neighbours; never raises for what a row says.

    `now` is the instant of reading, not the moment a replay looks back from. `stored` tells what is
    kept of a series already: with it the jump bound also sees a batch that is off as a whole (CNY/kg
    for CNY/t). `rates` gives exchange rates for prices in another currency than their series.
    """
    read = _Read(raw_table(rows), series, frozenset(source_ids), now, rates)
    failed = _positions(failures(row_schema(now, source_ids), read.evidence))
    reasons = dict(zip(failed, _once(read.wrong_with(failed)), strict=True))
    sound = np.ones(len(read.raw), dtype=bool)
    sound[list(reasons)] = False
    neighbours = _Neighbours(read, np.flatnonzero(sound), stored)
    for position in _positions(failures(neighbour_schema(), neighbours.evidence)):
        reasons[int(neighbours.rows[position])] = neighbours.wrong_with(position)
    kept = sound.copy()
    kept[list(reasons)] = False
    return Batch(
        source=source,
        table=read.observations(np.flatnonzero(kept)),
        rejected=tuple(_rejected(source, read.raw, reasons)),
        gaps=tuple(_gaps(read, np.flatnonzero(kept), stored)),
    )


def _once(texts: Iterable[str]) -> Iterator[str]:
    """The same texts, equal ones as one object: a million rows are often wrong in one and the same way."""
    known: dict[str, str] = {}
    return (known.setdefault(text, text) for text in texts)


def _positions(failed: Mapping[tuple[str, str], npt.NDArray[np.intp]]) -> list[int]:
    if not failed:
        return []
    return [int(position) for position in np.unique(np.concatenate(list(failed.values())))]


def _rejected(source: str, raw: pd.DataFrame, reasons: Mapping[int, str]) -> Iterator[RejectedRow]:
    found = raw.iloc[list(reasons)]
    places = zip(found["file"], found["row"], found["raw"], reasons.values(), strict=True)
    for file, row, text, reason in sorted(places, key=lambda place: (place[0], place[1])):
        yield RejectedRow(source, legible(file), int(row), legible(text), legible(reason))


class _Texts:
    """A column as codes into its distinct texts: a million rows have few periods, units or sources."""

    def __init__(self, column: "pd.Series[Any]") -> None:
        if isinstance(column.dtype, pd.CategoricalDtype):
            self.codes = column.cat.codes.to_numpy().astype(np.int64)
            self.distinct = [str(text) for text in column.cat.categories]
        else:
            codes, distinct = pd.factorize(column.to_numpy(dtype=object))
            self.codes = codes.astype(np.int64)
            self.distinct = list(distinct)

    def each(self, of: Callable[[str], object]) -> Objects:
        """What a function makes of each row's text; it is called once for each distinct one."""
        made = np.empty(len(self.distinct), dtype=object)
        made[:] = [of(text) for text in self.distinct]
        return made.take(self.codes) if len(made) else np.empty(0, dtype=object)

    def which(self, of: Callable[[str], bool]) -> Bools:
        """For which rows the text fulfils a condition."""
        made = np.array([of(text) for text in self.distinct], dtype=bool)
        return made.take(self.codes) if len(made) else np.zeros(0, dtype=bool)

    def numbers(self) -> Floats:
        """The texts as numbers; NaN where a text is none."""
        parsed = (parse_number(text) for text in self.distinct)
        made = np.array([np.nan if isinstance(it, str) else it for it in parsed], dtype=float)
        return made.take(self.codes) if len(made) else np.zeros(0)


@dataclass(frozen=True)
class _Read:
    """A table of raw rows with what its texts mean, column by column."""

    raw: pd.DataFrame
    series: Mapping[str, SeriesSpec]
    source_ids: frozenset[str]
    now: datetime
    rates: Rates | None

    # --- series

    @cached_property
    def _names(self) -> _Texts:
        return _Texts(self.raw["series"])

    @property
    def series_codes(self) -> Ints:
        return self._names.codes

    @property
    def series_names(self) -> list[str]:
        return self._names.distinct

    @cached_property
    def _specs(self) -> list[SeriesSpec | None]:
        return [self.series.get(name) for name in self._names.distinct]

    def spec(self, position: int) -> SeriesSpec | None:
        return self._specs[int(self.series_codes[position])]

    def _of_series(self, of: Callable[[SeriesSpec], Any], otherwise: Any) -> npt.NDArray[Any]:
        made = np.array([otherwise if spec is None else of(spec) for spec in self._specs])
        return made.take(self.series_codes) if len(made) else np.zeros(0, dtype=np.int64)

    # --- periods: the first day of what is measured, NaT where the text names none

    @cached_property
    def _frequency(self) -> Ints:
        return self._of_series(lambda spec: FREQUENCIES.index(spec.frequency), 0).astype(np.int64)

    @cached_property
    def period(self) -> Instants:
        texts = _Texts(self.raw["period"])
        pairs = texts.codes * len(FREQUENCIES) + self._frequency
        distinct, inverse = np.unique(pairs, return_inverse=True)
        parsed = [
            parse_period(
                texts.distinct[pair // len(FREQUENCIES)], FREQUENCIES[pair % len(FREQUENCIES)]
            )
            for pair in distinct
        ]
        days = [np.datetime64("NaT") if isinstance(it, str) else np.datetime64(it) for it in parsed]
        return np.array(days, dtype="datetime64[D]").take(inverse) if days else _no_days()

    # --- values: as written, and the factor into the unit of the series

    @cached_property
    def _written(self) -> Floats:
        return _Texts(self.raw["value"]).numbers()

    @cached_property
    def value(self) -> Floats:
        with np.errstate(over="ignore"):
            return self._written * self.factor

    @cached_property
    def factor(self) -> Floats:
        """What a value is multiplied by to be in the unit of its series; NaN where none is known."""
        which, found = self._conversions
        factors = [np.nan if isinstance(it, str) else it.factor for it in found]
        return np.array([*factors, 1.0])[which]

    def _conversion_of(self, position: int) -> Conversion | str | None:
        which, found = self._conversions
        at = which[position]
        return None if at < 0 else found[at]

    @cached_property
    def _conversions(self) -> tuple[Ints, list[Conversion | str]]:
        """For each row which of the conversions it needs; -1 where it is in its series' own unit."""
        which = np.full(len(self.raw), -1, dtype=np.int64)
        units = _Texts(self.raw["unit"])
        rows = np.flatnonzero(
            (units.each(str) != self._of_series(lambda spec: spec.unit, "")) & self._is_listed
        )
        if not len(rows):
            return which, []
        keys = np.column_stack(
            [units.codes[rows], self.series_codes[rows], self._last_day[rows].astype(np.int64)]
        )
        distinct, inverse = np.unique(keys, axis=0, return_inverse=True)
        which[rows] = inverse.ravel()
        return which, [
            self._conversion(units.distinct[unit], self._specs[name], np.datetime64(int(day), "D"))
            for unit, name, day in distinct
        ]

    def _conversion(
        self, written: str, spec: SeriesSpec | None, last_day: np.datetime64
    ) -> Conversion | str:
        if spec is None:
            return "belongs to no series"
        # A rate is that of the period's last day, or today's while the period lasts.
        today = self.now.date()
        last: date = today if np.isnat(last_day) else last_day.astype(date)
        return conversion(
            written, spec.unit, day=min(last, today), rates=self.rates, vat_rebated=spec.vat_rebated
        )

    # --- instants

    @cached_property
    def _last_day(self) -> Instants:
        return last_days(self.period, self._frequency)

    @cached_property
    def _usually_known(self) -> Instants:
        """When a figure of each period usually comes out; at the latest now: we have it."""
        known = usually_known(
            self.period,
            self._frequency,
            self._of_series(lambda spec: spec.lag_days, 0).astype(np.int64),
            self._of_series(lambda spec: spec.january_with_february, False).astype(bool),
        )
        return np.minimum(known, instant64(self.now))

    @cached_property
    def _published(self) -> _Texts:
        return _Texts(self.raw["published_on"])

    @cached_property
    def is_dated(self) -> Bools:
        """Whether the publisher says itself when a figure became known."""
        return self._has_instant | self._published.which(lambda text: text != "")

    @cached_property
    def _has_instant(self) -> Bools:
        return self.raw["known_at"].notna().to_numpy(dtype=bool)

    @cached_property
    def known_at(self) -> Instants:
        days = self._published.each(_noon_of)
        told = days.astype("datetime64[us]") if len(days) else _no_days().astype("datetime64[us]")
        known = np.where(self._published.which(lambda text: text != ""), told, self._usually_known)
        at = np.flatnonzero(self._has_instant)
        if len(at):
            instants = self.raw["known_at"].iloc[at]
            known[at] = [instant64(instant) for instant in instants]
        return known

    # --- what the schema looks at

    @cached_property
    def _is_listed(self) -> Bools:
        return self._of_series(lambda spec: True, False).astype(bool)

    @cached_property
    def _legible_fields(self) -> dict[str, Bools]:
        fields = ("value", "statistic", "note", "raw_value", "raw_unit")
        return {name: ~_Texts(self.raw[name]).which(has_control_character) for name in fields}

    @cached_property
    def _range(self) -> dict[str, tuple[Bools, Floats]]:
        """For low and high: whether one is given, and the number (NaN: it can't be read)."""
        made = {}
        for name in ("low", "high"):
            texts = _Texts(self.raw[name])
            made[name] = texts.which(lambda text: text.strip() != ""), texts.numbers()
        return made

    @cached_property
    def evidence(self) -> pd.DataFrame:
        """The typed columns that the rules for single rows are about."""
        zero_is_fine = self._of_series(lambda spec: spec.allows_zero, True).astype(bool)
        (has_low, low), (has_high, high) = self._range["low"], self._range["high"]
        written = self._written
        begins = self.period.astype("datetime64[us]")
        latest = self.known_at + np.timedelta64(EARLIEST_ZONE)
        return pd.DataFrame(
            {
                "is_readable": _Texts(self.raw["fault"]).which(lambda text: text == ""),
                "is_listed": self._is_listed,
                "period": pd.Series(self.period.astype("datetime64[s]")),
                "value": written,
                "is_allowed_zero": (written != 0) | zero_is_fine,
                "factor": self.factor,
                "known_at": pd.Series(self.known_at).dt.tz_localize(UTC),
                # A missing instant or period is told once, by its own column.
                "is_known_after_it_began": ~(
                    latest.astype("datetime64[D]") < begins.astype("datetime64[D]")
                ),
                "source_id": self.raw["source_id"],
                "confidence": self.raw["confidence"],
                "is_legible": np.logical_and.reduce(list(self._legible_fields.values())),
                "is_range_readable": ~(has_low & np.isnan(low)) & ~(has_high & np.isnan(high)),
                "is_within_range": ~(has_low & (low > written)) & ~(has_high & (high < written)),
            }
        )

    def wrong_with(self, positions: Sequence[int]) -> Iterator[str]:
        """All that is wrong with each of these rows, in words."""
        rows: Iterable[Any] = self.raw.iloc[list(positions)].itertuples(index=False)
        for position, row in zip(positions, rows, strict=True):
            spec = self.spec(position)
            if row.fault:
                yield str(row.fault)
            elif spec is None:
                hint = nearest(row.series, self.series)
                yield f"series: {said(row.series)} is not in the catalogue{hint}"
            else:
                yield "; ".join(self._faults(row, spec, position))

    def _faults(self, row: Any, spec: SeriesSpec, position: int) -> Iterator[str]:
        period = parse_period(row.period, spec.frequency)
        if isinstance(period, str):
            yield f"period: {period}"
        elif period > (self.now + EARLIEST_ZONE).date():
            yield f"period: {said(row.period)} is in the future"
        value = parse_number(row.value)
        if isinstance(value, str):
            yield f"value: {value}"
        elif value < 0 or (value == 0 and not spec.allows_zero):
            yield f"value: {said(row.value)} must be {'0 or more' if spec.allows_zero else 'above 0'}"
        conversion = self._conversion_of(position)
        if isinstance(conversion, str):
            yield f"unit: {conversion}"
        yield from self._wrong_instant(row, period, position)
        if not row.source_id:
            yield "source_id: is empty, but every figure needs a source"
        elif row.source_id not in self.source_ids:
            hint = nearest(row.source_id, self.source_ids)
            yield f"source_id: {said(row.source_id)} is not a known source{hint}"
        if row.confidence not in CONFIDENCES:
            yield f"confidence: {said(row.confidence)} is none of {', '.join(CONFIDENCES)}"
        for name, is_legible in self._legible_fields.items():
            if not is_legible[position]:
                yield f"{name}: holds a control character"
        for name, (is_given, numbers) in self._range.items():
            if is_given[position] and np.isnan(numbers[position]):
                yield f"{name}: {parse_number(getattr(row, name))}"
            elif is_given[position] and isinstance(value, float):
                if name == "low" and numbers[position] > value:
                    yield f"value: {said(row.value)} is below the low of its range, {getattr(row, name)}"
                if name == "high" and numbers[position] < value:
                    yield f"value: {said(row.value)} is above the high of its range, {getattr(row, name)}"

    def _wrong_instant(self, row: Any, period: date | str, position: int) -> Iterator[str]:
        if not self.is_dated[position]:
            return
        known_at = self.known_at[position]
        if np.isnat(known_at):
            yield f"published_on: {parse_day(row.published_on)}"
            return
        instant = known_at.item().replace(tzinfo=UTC)
        if instant > self.now + EARLIEST_ZONE:
            yield f"published_on: {said(row.published_on or instant.isoformat())} is in the future"
        elif isinstance(period, date) and (instant + EARLIEST_ZONE).date() < period:
            yield f"published_on: {instant.date()} is before {period}, when the period began"

    # --- what is kept

    def observations(self, rows: npt.NDArray[np.intp]) -> pd.DataFrame:
        """The rows at these positions as observations (see Observation)."""
        raw = self.raw.iloc[rows]
        units = self._of_series(lambda spec: spec.unit, "")
        confidence = raw["confidence"].astype(object).to_numpy()
        note = raw["note"].astype(object).to_numpy()
        which, conversions = self._conversions
        for at in np.flatnonzero(which[rows] >= 0):
            found = conversions[which[rows[at]]]
            if isinstance(found, Conversion):  # sound rows have one
                note[at] = f"{note[at]}; {found.rule}" if note[at] else found.rule
                confidence[at] = lower_confidence(confidence[at], found.confidence)
        return pd.DataFrame(
            {
                "series": pd.Categorical.from_codes(
                    self.series_codes[rows].astype(np.intp),
                    dtype=pd.CategoricalDtype(self.series_names),
                ),
                "period": self.period[rows].astype("datetime64[s]"),
                "value": self.value[rows],
                "unit": pd.Categorical(units[rows]),
                "known_at": pd.Series(self.known_at[rows]).dt.tz_localize(UTC),
                "source_id": pd.Categorical(raw["source_id"]),
                "confidence": pd.Categorical(confidence),
                "statistic": pd.Categorical(raw["statistic"]),
                "raw_value": _first_given(raw["raw_value"], raw["value"]),
                "raw_unit": pd.Categorical(_first_given(raw["raw_unit"], raw["unit"])),
                "note": pd.Categorical(note),
                "is_dated": self.is_dated[rows],
            }
        )


class _Neighbours:
    """Sound rows in order of series, period and instant, with what sets them against each other."""

    def __init__(self, read: _Read, rows: npt.NDArray[np.intp], stored: Stored | None) -> None:
        self._read = read
        self._stored = stored
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
        self._find_doubles()
        for spec, name, members in self._by_series():
            bound = spec.max_step_ratio
            if bound is not None:
                members = self._find_jumps(spec, name, members, bound)
            if spec.flat_days and spec.frequency == "day":
                self._find_flat(spec, name, members)

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
            reason = f"value: {name} {self._period[start]} is told in different ways ({places})"
            self._is_uncontradicted[start : start + length] = False
            self._reasons.update(dict.fromkeys(range(start, start + length), reason))

    def _by_series(self) -> Iterator[tuple[SeriesSpec, str, npt.NDArray[np.intp]]]:
        """The rows still standing, series by series, in order of time."""
        standing = np.flatnonzero(self._is_first & self._is_uncontradicted)
        if not len(standing):
            return
        edges = np.flatnonzero(np.diff(self._series[standing])) + 1
        for members in np.split(standing, edges):
            at = int(self.rows[members[0]])
            spec = self._read.spec(at)
            if spec is not None:
                yield spec, self._read.series_names[self._read.series_codes[at]], members

    def _find_jumps(
        self, spec: SeriesSpec, name: str, members: npt.NDArray[np.intp], bound: float
    ) -> npt.NDArray[np.intp]:
        """Mark values further from the last accepted one than the bound; returns those accepted."""
        values = self._value[members]
        before = self._before(name, members[0], 1)
        last = float(before[-1][1] if before and before[-1][1] > 0 else _start(values))
        # A month without exports is no step: the next one is compared with the last above zero.
        moves = values > 0
        with np.errstate(divide="ignore", over="ignore"):
            steps = np.abs(np.diff(np.log(np.append(last, values[moves])))) / np.log(bound)
        # Logarithms round: a step of exactly the bound is none too many.
        steps[np.isclose(steps, 1.0, rtol=1e-9, atol=0)] = 1.0
        if last <= 0 or (steps <= 1).all():
            self._step[members[moves]] = steps if last > 0 else np.nan
            return members
        accepted = []
        for position in members:
            value = float(self._value[position])
            if value > 0:
                ratio = value / last
                if 1 / bound <= ratio <= bound:
                    self._step[position] = abs(np.log(ratio)) / np.log(bound)
                    self._step[position] = min(self._step[position], 1.0)
                    last = value
                else:
                    self._step[position] = np.inf
                    self._reasons[int(position)] = (
                        f"value: {value:g} {spec.unit} after {last:g} is a step of more than {bound:g} "
                        f"times: a unit or basis may have changed, or the bound of {name} is too tight"
                    )
                    continue
            accepted.append(position)
        return np.array(accepted, dtype=np.intp)

    def _find_flat(self, spec: SeriesSpec, name: str, members: npt.NDArray[np.intp]) -> None:
        """Mark quotes that have not moved for more working days than their series may."""
        if not len(members):
            return
        days, values = self._period[members], self._value[members]
        run_start = days[0]
        for period, value in reversed(self._before(name, members[0], spec.flat_days + 2)):
            if value != values[0]:
                break
            run_start = min(run_start, np.datetime64(period, "D"))
        moved = np.concatenate([[True], values[1:] != values[:-1]])
        starts = np.where(moved, days, np.datetime64("NaT"))
        starts[0] = run_start
        starts = pd.Series(starts).ffill().to_numpy().astype("datetime64[D]")
        since = np.busday_count(starts, days)
        over = np.maximum(since - spec.flat_days, 0)
        self._flat_over[members] = over
        for at in np.flatnonzero(over):
            self._reasons[int(members[at])] = (
                f"value: {values[at]:g} {spec.unit} has not moved for {since[at]} working days "
                f"(since {starts[at]}): more than {spec.flat_days} is taken for a quote that nobody renewed"
            )

    def _before(self, name: str, first: int, count: int) -> Sequence[tuple[date, float]]:
        if self._stored is None:
            return ()
        return self._stored(name, self._period[first].item(), count)


def _gaps(read: _Read, rows: npt.NDArray[np.intp], stored: Stored | None) -> Iterator[Gaps]:
    """What is missing of each series between what is stored, or its first row, and its newest row."""
    if not len(rows):
        return
    rows = rows[np.argsort(read.series_codes[rows], kind="stable")]
    edges = np.flatnonzero(np.diff(read.series_codes[rows])) + 1
    for members in np.split(rows, edges):
        spec = read.spec(int(members[0]))
        if spec is None:
            continue
        name = read.series_names[read.series_codes[members[0]]]
        unit = {"day": "D", "month": "M", "year": "Y"}[spec.frequency]
        days = read.period[members]
        before = stored(name, days.min().item(), 2) if stored else ()
        earlier = [np.datetime64(when, "D") for when, _ in before]
        present = np.unique(
            np.append(days, np.array(earlier, dtype="datetime64[D]")).astype(f"datetime64[{unit}]")
        )
        calendar = np.arange(present[0], present[-1] + 1)
        if spec.frequency == "day":
            calendar = calendar[np.is_busday(calendar)]
            present = present[np.is_busday(present)]
        missing = np.setdiff1d(calendar, present)
        if not len(missing):
            continue
        first, last = days.min(), days.max()
        yield Gaps(
            series=name,
            first=first.item(),
            last=last.item(),
            expected=len(calendar),
            present=len(calendar) - len(missing),
            missing=tuple(when.astype("datetime64[D]").item() for when in missing[:_MISSING_SHOWN]),
        )


def _start(values: Floats) -> float:
    # One wrong first value must not turn away all the right ones that follow.
    return median_low([float(value) for value in values[values > 0][:3]] or [0.0])


def _noon_of(text: str) -> np.datetime64:
    day = parse_day(text) if text else ""
    return np.datetime64("NaT", "us") if isinstance(day, str) else np.datetime64(day, "us") + NOON


def _no_days() -> Instants:
    return np.zeros(0, dtype="datetime64[D]")


def _first_given(given: "pd.Series[Any]", otherwise: "pd.Series[Any]") -> Objects:
    texts = given.astype(object).to_numpy()
    is_empty = texts == ""
    if is_empty.all():
        return otherwise.astype(object).to_numpy()
    return np.where(is_empty, otherwise.astype(object).to_numpy(), texts)
