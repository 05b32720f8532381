"""The smallest series description that validation can judge a row by."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spec:
    unit: str
    frequency: str
    allows_zero: bool = False
    max_step_ratio: float | None = None
