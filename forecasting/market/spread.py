"""Activity on a monthly grid: yearly totals spread smoothly, days and weeks summed, every total kept."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from forecasting.market.definitions import CannotProjectError
from forecasting.market.flow import add_months, months_between
from forecasting.results import SeriesForecast

Floats = npt.NDArray[np.float64]

YEARS_BEFORE = 2
"""Known years before the grid that shape its first months."""
_DAYS = {"day": 1, "week": 7}
_QUIET_DAYS = {"day": 4, "week": 0}
"""Days without a figure that are no gap: a long weekend."""


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
    """Monthly values of shape (12 x years, paths) from yearly totals of shape (years, paths).

    Each year's months add up to its total. Of a path whose totals are all non-negative no month is below
    zero: where the smooth rule would go there, those months are zero and the others of the year give way.
    """
    by_year = (_operator(len(totals)) @ totals).reshape(len(totals), 12, -1)
    wanted = totals[:, None, :]
    # What the smooth rule leaves of rounding goes back, so that totals hold to the last digits.
    by_year += (wanted - by_year.sum(axis=1, keepdims=True)) / 12
    below = (by_year < 0).any(axis=(0, 1)) & (totals >= 0).all(axis=0)
    if below.any():
        kept = np.maximum(0.0, by_year[:, :, below])
        sums = kept.sum(axis=1, keepdims=True)
        part = np.divide(wanted[:, :, below], sums, out=np.zeros_like(sums), where=sums > 0)
        by_year[:, :, below] = kept * part
    return by_year.reshape(12 * len(totals), -1)


def monthly_activity(forecast: SeriesForecast, grid: Sequence[date]) -> Floats:
    """What a series amounts to in each month of the grid, shape (months, sample paths), in its unit a month.

    Known periods are taken as they are, later ones from the forecast's sample paths. What is below zero
    (more wind power retired than added) needs nothing and counts as zero. Raises CannotProjectError when
    the grid reaches further back or ahead than the series does, has gaps, or isn't by calendar year.
    """
    return np.maximum(0.0, _by_month(forecast, grid))


def _by_month(forecast: SeriesForecast, grid: Sequence[date]) -> Floats:
    if not np.isfinite(forecast.paths).all():
        message = f"{forecast.series}: its forecast holds a figure that is no finite number"
        raise CannotProjectError(message, forecast.series)
    if forecast.frequency == "year":
        years = _years_around(forecast, grid)
        start = months_between(date(years[0], 1, 1), grid[0])
        return spread_years(yearly_totals(forecast, years))[start : start + len(grid)]
    known, ahead = _known_and_ahead(forecast)
    if forecast.frequency == "month":
        _require_span(forecast, grid, min(known, default=None), max(ahead, default=None))
        rows = [ahead.get(month, known.get(month)) for month in grid]
        gaps = [month for month, row in zip(grid, rows, strict=True) if row is None]
        if gaps:
            message = (
                f"{forecast.series}: {gaps[0]:%B %Y} is not known, and a balance can't leave it out"
            )
            raise CannotProjectError(message, forecast.series)
        return _stacked(rows, forecast)
    return _summed(forecast, grid, known, ahead)


def _years_around(forecast: SeriesForecast, grid: Sequence[date]) -> range:
    """The years that are spread together: some known ones before the grid, and all that are forecast.

    So a month is the same however far a market looks.
    """
    known = {period.year for period, _ in forecast.history}
    known |= {period.year for period in forecast.periods}
    first = grid[0].year
    while first > grid[0].year - YEARS_BEFORE and first - 1 in known:
        first -= 1
    return range(first, max(grid[-1].year, *known) + 1)


def yearly_totals(forecast: SeriesForecast, years: Sequence[int]) -> Floats:
    """A series' totals of the years, shape (years, sample paths); raises CannotProjectError for one it doesn't know."""
    if forecast.frequency == "year":
        odd = next((period for period in forecast.periods if period.month != 1), None)
        if odd is not None:
            message = (
                f"{forecast.series}: its years begin in {odd:%B}; only calendar years can be spread over "
                "months"
            )
            raise CannotProjectError(message, forecast.series)
        known, ahead = _known_and_ahead(forecast)
        rows = [known.get(date(year, 1, 1), ahead.get(date(year, 1, 1))) for year in years]
        gaps = [year for year, row in zip(years, rows, strict=True) if row is None]
        if gaps:
            span = f"{min(known).year}-{max(ahead or known).year}"
            message = f"{forecast.series}: the market needs {gaps[0]}, known or forecast is {span}"
            raise CannotProjectError(message, forecast.series)
        return _stacked(rows, forecast)
    months = [date(year, month, 1) for year in years for month in range(1, 13)]
    monthly = monthly_activity(forecast, months)
    return np.asarray(monthly.reshape(len(years), 12, -1).sum(axis=1))


def _known_and_ahead(
    forecast: SeriesForecast,
) -> tuple[dict[date, float | Floats], dict[date, float | Floats]]:
    futures = np.asarray(forecast.paths, dtype=np.float64)
    ahead: dict[date, float | Floats] = {
        period: futures[:, step] for step, period in enumerate(forecast.periods)
    }
    return dict(forecast.history), ahead


def _stacked(rows: Sequence[float | Floats | None], forecast: SeriesForecast) -> Floats:
    return np.stack([np.broadcast_to(np.asarray(row), len(forecast.paths)) for row in rows])


def _require_span(
    forecast: SeriesForecast, grid: Sequence[date], first: date | None, last: date | None
) -> None:
    if first is None or last is None or grid[0] < first.replace(day=1) or grid[-1] > last:
        message = (
            f"{forecast.series}: the market needs {grid[0]:%Y-%m} to {grid[-1]:%Y-%m}, "
            f"known or forecast is {first} to {last}"
        )
        raise CannotProjectError(message, forecast.series)


def _summed(
    forecast: SeriesForecast,
    grid: Sequence[date],
    known: Mapping[date, float | Floats],
    ahead: Mapping[date, float | Floats],
) -> Floats:
    """Days added up by month; a week that lies in two months counts in each by its days."""
    length = _DAYS[forecast.frequency]
    periods = sorted({*known, *ahead})
    ends = add_months(grid[-1], 1) - timedelta(days=1)
    inside = [one for one in periods if grid[0] - timedelta(days=length) < one <= ends]
    reach = [grid[0] - timedelta(days=length), *inside, ends + timedelta(days=1)]
    gap = next(
        (
            (first, second)
            for first, second in itertools.pairwise(reach)
            if (second - first).days > length + _QUIET_DAYS[forecast.frequency]
        ),
        None,
    )
    if gap is not None:
        message = (
            f"{forecast.series}: the market needs {grid[0]} to {ends}, and nothing is known or forecast "
            f"between {gap[0]} and {gap[1]}"
        )
        raise CannotProjectError(message, forecast.series)
    monthly = np.zeros((len(grid), len(forecast.paths)))
    place = {month: row for row, month in enumerate(grid)}
    for period in periods:
        value = np.asarray(known[period] if period in known else ahead[period])
        for day in range(length):
            row = place.get((period + timedelta(days=day)).replace(day=1))
            if row is not None:
                monthly[row] += value / length
    return monthly


def month_grid(first: date, before: int, months: int) -> list[date]:
    """`before` months, then `months` from `first` on; each as its first day."""
    return [add_months(first, offset) for offset in range(-before, months)]
