"""The one door for figures: what a row must be before it is stored, and why a row was turned away."""

from flows.validation.columns import RatesOf
from flows.validation.instants import calendar_length, next_expected
from flows.validation.judge import validate
from flows.validation.rows import (
    Batch,
    Gaps,
    Observation,
    RawRow,
    RejectedRow,
    SeriesSpec,
    Span,
    Stored,
    observation_table,
    raw_table,
)
from flows.validation.rules import EARLIEST_ZONE
from flows.validation.texts import CONFIDENCES, parse_number, parse_period

__all__ = [
    "CONFIDENCES",
    "EARLIEST_ZONE",
    "Batch",
    "Gaps",
    "Observation",
    "RatesOf",
    "RawRow",
    "RejectedRow",
    "SeriesSpec",
    "Span",
    "Stored",
    "calendar_length",
    "next_expected",
    "observation_table",
    "parse_number",
    "parse_period",
    "raw_table",
    "validate",
]
