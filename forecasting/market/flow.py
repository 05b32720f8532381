"""Licensed exports as a share of normal: what was observed, how a gap closes, what a freeze leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from forecasting.results import ObservedPoint, ObservedSeries

Floats = npt.NDArray[np.float64]

TRAILING_MONTHS = 12
SHOCK = 0.75
"""A month below this share of normal is a disturbance: it doesn't move the normal level."""
FORGET_MONTHS = 24
"""How long a level is remembered while every month is disturbed."""
MIN_KNOWN_MONTHS = 3
LEAST = 0.01
"""A month without any exports counts as this share of normal, so that its logarithm exists."""
TRANSIT_MONTHS = 1
"""Exports of a month arrive in the next (sea freight and clearance, about four weeks)."""


@dataclass(frozen=True, slots=True)
class FlowDraws:
    """The random part of the flow, one value a path, drawn once and shared by all scenarios."""

    half_life_months: Floats  # time in which half of a gap closes
    noise: Floats  # (paths, months) standard normal
    control: Floats  # (paths, months) uniform 0-1: a new control begins where below `control_probability`
    control_probability: Floats
    control_flow: Floats  # what a new control leaves, share of normal


def months_between(first: date, second: date) -> int:
    """Whole calendar months from `first` to `second`; negative when `second` is earlier."""
    return (second.year - first.year) * 12 + second.month - first.month


def add_months(day: date, months: int) -> date:
    """First day of the month `months` after the month of `day`."""
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


def normal_level(observed: ObservedSeries) -> float | None:
    """Mean of the newest undisturbed known months, or None when fewer than `MIN_KNOWN_MONTHS` are known.

    Going forward, a month below `SHOCK` of the level before it is a disturbance and doesn't move the
    level, however long it lasts; after `FORGET_MONTHS` without an undisturbed month the low level is
    what is normal now.
    """
    if not observed.points:
        return None
    newest = observed.points[-1].period
    undisturbed: list[ObservedPoint] = []
    for point in observed.points:
        before = _within(undisturbed, point.period, FORGET_MONTHS)[-TRAILING_MONTHS:]
        level = float(np.mean([p.value for p in before])) if before else point.value
        if point.value >= SHOCK * level:
            undisturbed.append(point)
    counted = _within(undisturbed, newest, FORGET_MONTHS)[-TRAILING_MONTHS:]
    if len(counted) < MIN_KNOWN_MONTHS:
        return None
    return float(np.mean([point.value for point in counted]))


def _within(points: Sequence[ObservedPoint], until: date, months: int) -> list[ObservedPoint]:
    return [point for point in points if 0 <= months_between(point.period, until) <= months]


def observed_ratios(observed: ObservedSeries, normal: float) -> dict[date, float]:
    """Known months as a share of the normal level, capped at 1: catching up doesn't refill a lost month."""
    return {p.period: min(1.0, p.value / normal) for p in observed.points}


def flow_paths(
    ratios: dict[date, float],
    grid: Sequence[date],
    draws: FlowDraws,
    *,
    monthly_noise: float,
    freeze: Floats | None = None,
) -> Floats:
    """Exports on `grid` as a share of normal, shape (paths, months), 0 to about 1.

    A known month is taken as it is. After the last known month the log gap to normal closes with the
    path's half-life, the month-to-month noise of customs clearance fades as quickly, and new controls
    arrive at their base rate. `freeze` (paths, months; NaN where none) overlays a scenario; after it the
    gap closes again.
    """
    paths = draws.half_life_months.shape[0]
    decay = 0.5 ** (1 / draws.half_life_months)
    last_known = max((month for month in ratios if month <= grid[-1]), default=None)
    gap = np.zeros(paths)  # log share of normal, at most 0
    noise = np.zeros(paths)
    result = np.ones((paths, len(grid)))
    if last_known is not None and last_known < grid[0]:
        unseen = months_between(last_known, grid[0]) - 1
        gap = np.log(max(ratios[last_known], LEAST)) * decay**unseen
    for index, month in enumerate(grid):
        if month in ratios:
            gap = np.full(paths, np.log(max(ratios[month], LEAST)))
            result[:, index] = ratios[month]
            continue
        gap = gap * decay
        if last_known is None or month > last_known:
            noise = noise * decay + monthly_noise * draws.noise[:, index]
            hit = draws.control[:, index] < draws.control_probability
            gap = np.where(hit, np.minimum(gap, np.log(draws.control_flow)), gap)
        if freeze is not None:
            held = ~np.isnan(freeze[:, index])
            gap = np.where(
                held, np.minimum(gap, np.log(np.where(held, freeze[:, index], 1.0))), gap
            )
        result[:, index] = np.minimum(1.0, np.exp(gap)) * np.exp(np.minimum(noise, 0.0))
    return result
