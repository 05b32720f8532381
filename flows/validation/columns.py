"""What the texts of raw rows mean, column by column: typed values, or why there is none."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from flows.units import Conversion, Rates, conversion, lower_confidence
from flows.validation.instants import (
    FREQUENCIES,
    NOON,
    instant64,
    last_days,
    usually_known,
)
from flows.validation.rows import (
    SeriesSpec,
)
from flows.validation.rules import (
    EARLIEST_ZONE,
)
from flows.validation.texts import (
    CONFIDENCES,
    LONGEST_TEXT,
    nearest,
    parse_day,
    parse_number,
    parse_period,
    said,
    text_fault,
)

RatesOf = Callable[[date, date, datetime], Rates]
"""Exchange rates for a period, from its first to its last day, as they were known at an instant."""

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Objects = npt.NDArray[np.object_]
Instants = npt.NDArray[np.datetime64]


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
class ReadTable:
    """A table of raw rows with what its texts mean, column by column."""

    raw: pd.DataFrame
    series: Mapping[str, SeriesSpec]
    source_ids: frozenset[str]
    now: datetime
    rates: RatesOf | None

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
    def _is_convertible(self) -> Bools:
        """Whether a number stays one in the unit of its series: 1e308 USD/kg is none in USD/t."""
        was_number = np.isfinite(self._written) & np.isfinite(self.factor)
        is_number = np.isfinite(self.value) & ((self.value == 0) == (self._written == 0))
        fits: Bools = ~was_number | is_number
        return fits

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
        own = self._of_series(lambda spec: spec.unit, "")
        rows = np.flatnonzero((units.each(str) != own) & self._is_listed)
        if not len(rows):
            return which, []
        keys = np.column_stack(
            [
                units.codes[rows],
                self.series_codes[rows],
                self.period[rows].astype(np.int64),
                self.known_at[rows].astype(np.int64),
            ]
        )
        distinct, at, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        which[rows] = inverse.ravel()
        return which, [
            self._conversion(units.distinct[unit], int(rows[first]))
            for (unit, *_), first in zip(distinct, at, strict=True)
        ]

    def _conversion(self, written: str, position: int) -> Conversion | str:
        spec = self.spec(position)
        if spec is None:
            return "belongs to no series"
        today = self.now.date()
        period, last_day = self.period[position], self._last_day[position]
        if np.isnat(period):
            return conversion(written, spec.unit, day=today, vat_rebated=spec.vat_rebated)
        # While a period lasts it ends today; one that has not begun is turned away for that.
        last: date = min(last_day.astype(date), today)
        first: date = min(period.astype(date), last)
        known_at = self.known_at[position]
        known = self.now if np.isnat(known_at) else known_at.item().replace(tzinfo=UTC)
        rates = None if self.rates is None else self.rates(first, last, known)
        return conversion(
            written,
            spec.unit,
            day=last,
            since=first,
            rates=rates,
            vat_rebated=spec.vat_rebated,
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
        return {
            name: _Texts(self.raw[name]).which(partial(_is_storable, longest=longest))
            for name, longest in LONGEST_TEXT.items()
        }

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
                "is_convertible": self._is_convertible,
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
        field = row.field or "value"
        if isinstance(value, str):
            yield f"{field}: {value}"
        elif value < 0 or (value == 0 and not spec.allows_zero):
            yield f"{field}: {said(row.value)} must be {'0 or more' if spec.allows_zero else 'above 0'}"
        elif not self._is_convertible[position]:
            yield f"{field}: {said(row.value)} is too large or too small in {spec.unit}"
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
                yield f"{name}: {text_fault(getattr(row, name), LONGEST_TEXT[name])}"
        for name, (is_given, numbers) in self._range.items():
            if is_given[position] and np.isnan(numbers[position]):
                yield f"{name}: {parse_number(getattr(row, name))}"
            elif is_given[position] and isinstance(value, float):
                if name == "low" and numbers[position] > value:
                    yield f"{field}: {said(row.value)} is below the low of its range, {getattr(row, name)}"
                if name == "high" and numbers[position] < value:
                    yield f"{field}: {said(row.value)} is above the high of its range, {getattr(row, name)}"

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


def _is_storable(text: str, *, longest: int) -> bool:
    return not text_fault(text, longest)


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
