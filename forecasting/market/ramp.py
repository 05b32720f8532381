"""How a new plant comes up: a logistic ramp to nameplate, slips, and what doesn't come at all."""

import math
from calendar import monthrange
from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt

from forecasting.market.definitions import (
    NOT_YET_PRODUCING,
    STATUSES,
    MarketDefinitionError,
    Project,
)

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

MONTHS_PER_YEAR = 12

STEEPNESS = 6.0
"""Of the logistic over the whole ramp: a quarter of the way in, 15 % of nameplate; half-way in, a half.

An assumption: the precedent in the data (Mountain Pass separation: 1,294 t in 2024, its first full year, of a
nameplate of about 6,075 t) shows a slow first year and no more of the shape."""


def ramp_share(months_since_start: npt.ArrayLike, ramp_months: npt.ArrayLike) -> Floats:
    """Share of nameplate that is made, 0–1: 0 up to the start, 1 from `ramp_months` on, logistic between.

    share = (σ(k(x − ½)) − σ(−k/2)) / (σ(k/2) − σ(−k/2)), x = months since start / ramp, k = STEEPNESS: the
    logistic is stretched so that it begins at 0 and ends at 1. Half of nameplate is reached half-way.
    `months_since_start` of shape (months, paths) or (months, 1) against `ramp_months` of shape (paths,).
    """
    length = np.asarray(ramp_months, dtype=np.float64)
    if not np.all(np.isfinite(length) & (length > 0)):
        message = "ramp_months: must be a number of months above 0"
        raise MarketDefinitionError(message)
    progress = np.asarray(months_since_start, dtype=np.float64) / length
    return _stretched(np.asarray(progress))


def plant_output(
    project: Project,
    grid: Sequence[date],
    slip_months: Floats,
    ramp_months: Floats,
    comes: Flags,
    known_at: date,
) -> Floats:
    """What a plant makes in each month of `grid` on each path: nameplate / 12 · ramp, shape (months, paths).

    In the project's unit a month ("t NdFeB/year" gives t NdFeB). A month's output is that of its middle. What
    doesn't produce yet (construction, planned) comes `slip_months` later than announced, or than `known_at`
    where the announced day has passed without product; nothing that runs is moved. `full_on` fixes the length
    of the ramp, else `ramp_months` does. Paths where `comes` is false, and projects that weren't known at
    `known_at`, make nothing. The three arrays have shape (paths,).

    Raises MarketDefinitionError naming project and field.
    """
    _check(project)
    paths = _paths(project, slip_months, ramp_months, comes)
    if project.known_on > known_at:
        return np.zeros((len(grid), paths))
    begins = _month_number(project.starts_on)
    middles = np.array([_month_number(day.replace(day=1)) + 0.5 for day in grid])
    length: Floats = ramp_months
    if project.full_on is not None:
        length = np.full(paths, _month_number(project.full_on) - begins)
    slip = np.zeros(paths)
    if project.status in NOT_YET_PRODUCING:
        slip = slip_months + max(0.0, _month_number(known_at) - begins)
    # (middle − begins − slip) / length, with the divisions done once a path and not once a cell.
    per_month = 1.0 / length
    share = np.multiply.outer(middles - begins, per_month)
    share -= slip * per_month
    made = _stretched(share)
    made *= np.where(comes, project.capacity / MONTHS_PER_YEAR, 0.0)
    return made


def _stretched(progress: Floats) -> Floats:
    """The logistic over the progress 0–1 of a ramp, held at 0 before and at 1 after; works in its own copy."""
    # σ(z) − ½ = tanh(z/2)/2: one tanh a cell, which numpy does faster than an exponential and a division.
    share = np.empty_like(progress)
    np.clip(progress, 0.0, 1.0, out=share)
    share -= 0.5
    share *= STEEPNESS / 2
    np.tanh(share, out=share)
    share *= 0.5 / math.tanh(STEEPNESS / 4)
    share += 0.5
    # Exactly, not to rounding: a plant that hasn't started makes nothing, and none makes −1e-14 t.
    np.clip(share, 0.0, 1.0, out=share)
    share[progress <= 0.0] = 0.0
    share[progress >= 1.0] = 1.0
    return share


def _month_number(day: date) -> float:
    """Months since year 0, with the fraction of the month that has passed."""
    whole = day.year * MONTHS_PER_YEAR + day.month - 1
    return whole + (day.day - 1) / monthrange(day.year, day.month)[1]


def _check(project: Project) -> None:
    place = f"project {project.project}"
    if not (math.isfinite(project.capacity) and project.capacity >= 0):
        message = (
            f"{place}: capacity: {project.capacity:g} {project.unit} is not a number from 0 up"
        )
        raise MarketDefinitionError(message)
    if project.status not in STATUSES:
        message = f"{place}: status: {project.status!r} is not one of {', '.join(STATUSES)}"
        raise MarketDefinitionError(message)
    if project.full_on is not None and project.full_on <= project.starts_on:
        message = (
            f"{place}: full_on: {project.full_on} is not after the start on {project.starts_on}"
        )
        raise MarketDefinitionError(message)


def _paths(project: Project, slip_months: Floats, ramp_months: Floats, comes: Flags) -> int:
    place = f"project {project.project}"
    shapes = {slip_months.shape, ramp_months.shape, comes.shape}
    if len(shapes) != 1 or slip_months.ndim != 1:
        message = (
            f"{place}: slip_months {slip_months.shape}, ramp_months {ramp_months.shape} and comes "
            f"{comes.shape} must have one shape, (paths,)"
        )
        raise MarketDefinitionError(message)
    if not np.all(np.isfinite(slip_months) & (slip_months >= 0)):
        message = f"{place}: slip_months: must be numbers of months from 0 up"
        raise MarketDefinitionError(message)
    if not np.all(np.isfinite(ramp_months) & (ramp_months > 0)):
        message = f"{place}: ramp_months: must be numbers of months above 0"
        raise MarketDefinitionError(message)
    return int(slip_months.shape[0])
