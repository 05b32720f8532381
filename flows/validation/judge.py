"""Judging a batch: every row on its own, then against its neighbours; what fails is turned away with a reason."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from flows.validation.columns import RatesOf, ReadTable
from flows.validation.neighbours import Neighbours
from flows.validation.rows import (
    Batch,
    RawRow,
    RejectedRow,
    SeriesSpec,
    Stored,
    raw_table,
)
from flows.validation.rules import (
    failures,
    neighbour_schema,
    row_schema,
)
from flows.validation.texts import (
    legible,
)


def validate(
    source: str,
    rows: Iterable[RawRow] | pd.DataFrame,
    *,
    series: Mapping[str, SeriesSpec],
    source_ids: Collection[str],
    now: datetime,
    stored: Stored | None = None,
    rates: RatesOf | None = None,
) -> Batch:
    """Judge every row on its own, then against its neighbours; never raises for what a row says.

    `now` is the instant of reading, not the moment a replay looks back from. `stored` tells what is
    kept of a series already: with it the jump bound also sees a batch that is off as a whole (CNY/kg
    for CNY/t). `rates` gives exchange rates for prices in another currency than their series.
    """
    read = ReadTable(raw_table(rows), series, frozenset(source_ids), now, rates)
    failed = _positions(failures(row_schema(now, source_ids), read.evidence))
    reasons = dict(zip(failed, _once(read.wrong_with(failed)), strict=True))
    sound = np.ones(len(read.raw), dtype=bool)
    sound[list(reasons)] = False
    neighbours = Neighbours(read, np.flatnonzero(sound), stored)
    for position in _positions(failures(neighbour_schema(), neighbours.evidence)):
        reasons[int(neighbours.rows[position])] = neighbours.wrong_with(position)
    kept = sound.copy()
    kept[list(reasons)] = False
    return Batch(
        source=source,
        table=read.observations(np.flatnonzero(kept)),
        rejected=tuple(_rejected(source, read.raw, reasons)),
        gaps=tuple(neighbours.gaps),
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
