"""The smallest series description that validation can judge a row by."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spec:
    unit: str
    frequency: str
    allows_zero: bool = False
    max_step_ratio: float | None = None
    lag_days: int = 0
    january_with_february: bool = False
    flat_days: int = 0
    vat_rebated: bool = False
