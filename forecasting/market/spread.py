"""Yearly totals on a monthly grid: smooth, and every year's sum kept."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@lru_cache(maxsize=16)
def _operator(years: int) -> Floats:
    """Months x years matrix of the smoothest monthly path with given yearly sums.

    Minimises the squared month-to-month differences under the constraint that each year's twelve months
    add up to its total (Boot, Feibes and Lisman 1967, first differences).
    """
    months = 12 * years
    differences = np.diff(np.eye(months), axis=0)
    sums = np.kron(np.eye(years), np.ones(12))
    system = np.block([[differences.T @ differences, sums.T], [sums, np.zeros((years, years))]])
    target = np.vstack([np.zeros((months, years)), np.eye(years)])
    return np.linalg.solve(system, target)[:months]


def spread_years(totals: Floats) -> Floats:
    """Monthly values of shape (paths, 12 x years) from yearly totals of shape (paths, years).

    Each year's months add up to its total, and non-negative totals give non-negative months: a path
    that the smooth rule would push below zero is spread evenly within its years instead.
    """
    monthly = totals @ _operator(totals.shape[1]).T
    negative = (monthly < 0).any(axis=1) & (totals >= 0).all(axis=1)
    if negative.any():
        monthly[negative] = np.repeat(totals[negative] / 12, 12, axis=1)
    return monthly
