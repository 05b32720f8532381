"""The one door for figures: what a row must be before it is stored, and why a row was turned away."""

from dataclasses import dataclass
from datetime import date, datetime


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
