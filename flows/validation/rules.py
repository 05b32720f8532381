"""What a sound row is, as pandera schemas over typed columns: the one module that meets pandera."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandera.errors import SchemaErrors
from pandera.pandas import Check, Column, DataFrameSchema

from flows.validation.texts import CONFIDENCES

# A day begins first at UTC+14: a quote dated so is not from the future.
EARLIEST_ZONE = timedelta(hours=14)

Failed = dict[tuple[str, str], npt.NDArray[np.intp]]
"""Rows (by position) that break a rule, by column and name of the rule."""


def row_schema(now: datetime, source_ids: Collection[str]) -> DataFrameSchema:
    """What one row must be, whatever its neighbours say.

    `period`, `value`, `factor`, `known_at`, `low` and `high` are missing where their text can't be read.
    """
    latest = pd.Timestamp((now + EARLIEST_ZONE).astimezone(UTC).date())
    return DataFrameSchema(
        {
            "is_readable": _true(),  # the source could make a row of it
            "is_listed": _true(),  # the series is in the catalogue
            "period": Column("datetime64[s]", _check(Check.le, latest, "has_begun")),
            "value": Column(float, _check(Check.ge, 0, "is_not_negative")),
            "is_allowed_zero": _true(),
            "is_convertible": _true(),  # still a number in the unit of its series
            "factor": Column(float, _check(Check.gt, 0, "converts")),
            "known_at": Column(
                "datetime64[us, UTC]",
                _check(Check.le, pd.Timestamp(now + EARLIEST_ZONE), "is_published"),
            ),
            "is_known_after_it_began": _true(),
            "source_id": Column(None, _check(Check.isin, list(source_ids), "is_cited")),
            "confidence": Column(None, _check(Check.isin, list(CONFIDENCES), "is_a_confidence")),
            "is_legible": _true(),
            "is_range_readable": _true(),
            "is_within_range": _true(),  # low <= value <= high
        }
    )


def neighbour_schema() -> DataFrameSchema:
    """What rows must be towards each other and towards what is stored."""
    return DataFrameSchema(
        {
            "is_first_of_its_kind": _true(),
            "is_uncontradicted": _true(),
            # 1 is the widest step that the series may make from one accepted value to the next.
            "step": Column(float, _check(Check.le, 1.0, "is_within_step"), nullable=True),
            # Working days without a move, beyond what the series may go without one.
            "flat_days_over": Column(int, _check(Check.le, 0, "has_moved")),
        }
    )


def failures(schema: DataFrameSchema, table: pd.DataFrame) -> Failed:
    """The rows that break each rule; the table's index must count from 0."""
    try:
        schema.validate(table, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        # A column that isn't there or has another type is a fault of ours, not of a row.
        if cases["index"].isna().any():
            raise
        groups = cases.groupby(["column", "check"], sort=False)["index"]
        return {
            (str(column), str(check)): np.sort(rows.to_numpy(dtype=np.intp))
            for (column, check), rows in groups
        }
    return {}


def _true() -> Column:
    return Column(bool, _check(Check.eq, True, "is_so"))


def _check(rule: Callable[..., Check], limit: object, name: str) -> Check:
    return rule(limit, name=name, error=name)
