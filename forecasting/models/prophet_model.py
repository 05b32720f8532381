"""Prophet in three forms: anchored at the last observation, and with its own level on either scale."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt

from forecasting.models.baselines import damped_steps
from forecasting.models.prophet_map import (
    MIN_NOISE,
    Mode,
    days_since_1970,
    design,
    fitted_mode,
    fourier_terms,
    problem_of,
)
from forecasting.models.walks import around, today
from forecasting.results import QUANTILE_LEVELS
from forecasting.series import Floats, PolicyEvent, Track

Days = npt.NDArray[np.datetime64]
_EPOCH = date(1970, 1, 1).toordinal()

NEEDS: Mapping[str, int] = {"day": 250, "week": 104, "month": 36, "year": 12}
"""With two years of months, a season and the changepoints explain every one of them: no noise is left."""

# Prophet's defaults, which its own fit takes when nothing is said.
_CHANGEPOINTS, _CHANGEPOINT_RANGE, _CHANGEPOINT_SCALE, _SEASON_SCALE = 25, 0.8, 0.05, 10.0
_YEAR, _YEAR_ORDER, _YEAR_FROM = 365.25, 10, 730.0  # days, cycles, days of history
_WEEK, _WEEK_ORDER, _WEEK_FROM = 7.0, 3, 14.0
_DRAWS = 1000

# Shares of the fitted moves that are used. On prices, most of what looks like a trend or a season is
# chance: on World Bank monthly prices and on dysprosium and terbium, less was always better. These keep
# enough for a series that has a real one, and past errors decide whether Prophet speaks at all.
TREND_BELIEVED = 0.5
SEASON_BELIEVED = 0.25
POLICY_BELIEVED = 0.25

LONGEST = 1040
"""Newest rows that the anchored form looks at: four years of days. What is older moves neither the end of
the trend nor, much, the season; on Brent and WTI by day the error was the same within chance."""

POLICY_DAYS = 120.0
"""Days after which a decision has done 63 % of what it does: contracts run out, stocks are drawn down."""
POLICY_SCALE = 0.01
"""Prior of its effect, in shares of the largest value: on log prices around 5, a twentieth up or down.

With a looser one, dysprosium, terbium and neodymium were forecast worse than without any decision.
"""


@dataclass(frozen=True)
class AnchoredProphet:
    """Prophet says how trend, season and policy move from today; today's value says from where.

    Prophet's own level is a smooth curve that today's price may be far from, and its own intervals
    held 43 % of outcomes where 80 % were promised; both are left aside.
    """

    name: str = "prophet"
    title: str = "Anchored Prophet"
    needs: Mapping[str, int] = field(default_factory=lambda: NEEDS)

    def quantiles(self, track: Track, origins: Sequence[int], horizon: int) -> Floats:
        damping = np.diff(damped_steps(track.frequency, horizon), prepend=0.0)
        paths = []
        fits = prophet_fits(track, track.values, origins, horizon, track.events, longest=LONGEST)
        for fit in fits:
            trend, season, policy = fit.moves()
            path = TREND_BELIEVED * np.cumsum(np.diff(trend, prepend=0.0) * damping)
            paths.append(path + SEASON_BELIEVED * season + POLICY_BELIEVED * policy)
        return around(today(track, origins) + np.stack(paths), track, origins)


@dataclass(frozen=True)
class ProphetOnScale:
    """Prophet with its defaults on the models' scale, level and intervals its own."""

    name: str = "prophet_log"
    title: str = "Prophet on logs"
    needs: Mapping[str, int] = field(default_factory=lambda: NEEDS)
    seed: int = 0

    def quantiles(self, track: Track, origins: Sequence[int], horizon: int) -> Floats:
        fits = prophet_fits(track, track.values, origins, horizon)
        return np.stack([fit.quantiles(self.seed) for fit in fits])


@dataclass(frozen=True)
class StockProphet:
    """Prophet with its defaults on the values as they are, as it is used out of the box.

    Its quantiles know no floor: on a track of logarithms they end at a hundredth of the lowest value.
    """

    name: str = "prophet_stock"
    title: str = "Stock Prophet"
    needs: Mapping[str, int] = field(default_factory=lambda: NEEDS)
    seed: int = 0

    def quantiles(self, track: Track, origins: Sequence[int], horizon: int) -> Floats:
        values = np.exp(track.values) if track.is_log else track.values
        fits = prophet_fits(track, values, origins, horizon)
        own = np.stack([fit.quantiles(self.seed) for fit in fits])
        if not track.is_log:
            return own
        lowest = np.minimum.accumulate(values)[np.asarray(origins) - 1]
        return np.asarray(np.log(np.maximum(own, lowest[:, None, None] / 100)))


@dataclass(frozen=True, eq=False)
class ProphetFit:
    """Prophet's parameters at one origin and the rows ahead, in shares of the largest value seen.

    Columns are those of `prophet_map.design`; the last `decisions` of them are policy regressors.
    """

    scale: float
    mode: Mode
    now: Floats  # the row of the last observation
    ahead: Floats  # step x column
    changes: int  # of the slope, that there may be
    decisions: int
    stride: float  # a period, in shares of the history

    def moves(self) -> tuple[Floats, Floats, Floats]:
        """How far trend, season and policy go from the last observation, step by step."""
        effects = self.scale * self.mode.coefficients * (self.ahead - self.now)
        season, policy = 2 + self.changes, effects.shape[1] - self.decisions
        return (
            effects[:, :season].sum(axis=1),
            effects[:, season:policy].sum(axis=1),
            effects[:, policy:].sum(axis=1),
        )

    def quantiles(self, seed: int) -> Floats:
        """Quantiles (step x level) of Prophet's own draws: noise, and slopes that change as they did."""
        draw = np.random.RandomState(seed)  # Prophet's own generator: the same numbers for a seed
        shape = (_DRAWS, self.ahead.shape[0])
        turns = self.mode.coefficients[2 : 2 + self.changes]
        happens = draw.uniform(size=shape) < self.changes * self.stride
        change = happens * draw.laplace(0, np.abs(turns).mean() + 1e-8, size=shape)
        # A change lies, on average, in the middle of its period.
        change[:, 1:] = (change[:, 1:] + change[:, :-1]) / 2
        change[:, 0] /= 2
        trend = change.cumsum(axis=1).cumsum(axis=1) * self.stride
        noise = draw.normal(0, self.mode.noise, size=shape)
        draws = self.scale * (self.ahead @ self.mode.coefficients + trend + noise)
        return np.asarray(np.quantile(draws, QUANTILE_LEVELS, axis=0).T)


def prophet_fits(
    track: Track,
    values: Floats,
    origins: Sequence[int],
    horizon: int,
    events: Sequence[PolicyEvent] = (),
    *,
    longest: int | None = None,
) -> Iterator[ProphetFit]:
    """What `Prophet.fit` finds at each origin of a track, without its tables.

    The same design with the same defaults, on the newest `longest` rows (default all); what does not
    depend on the origin is worked out once, and each search for the mode begins where the one before
    ended.
    """
    dates = _dates(track.periods[: max(origins)])
    coming = dates_after(dates, origins, track.frequency, horizon)
    days, days_ahead = days_since_1970(dates), days_since_1970(coming)
    shortest = np.minimum.accumulate(np.diff(days))
    year = _season(days, days_ahead, _YEAR, _YEAR_ORDER)
    week = _season(days, days_ahead, _WEEK, _WEEK_ORDER)
    mode: Mode | None = None
    for at, n in enumerate(origins):
        rows = slice(0 if longest is None else max(0, n - longest), n)
        seen, past, future = values[rows], days[rows], days_ahead[at]
        span, scale = past[-1] - past[0], float(np.abs(seen).max()) or 1.0
        seasons = [year] if span >= _YEAR_FROM else []
        if span >= _WEEK_FROM and shortest[n - 2] < _WEEK:
            seasons.append(week)
        known = known_decisions(events, track.periods[n - 1], track.frequency)
        features = [terms[rows] for terms, _ in seasons] + [policy_steps(past, on) for on in known]
        features_ahead = [terms[at] for _, terms in seasons]
        features_ahead += [policy_steps(future, on) for on in known]
        scales = np.repeat(
            (_SEASON_SCALE, POLICY_SCALE),
            (sum(terms.shape[1] for terms, _ in seasons), len(known)),
        )
        t, t_ahead = (past - past[0]) / span, (future - past[0]) / span
        t_change = _changepoints(t)
        columns = design(t, t_change, np.hstack([np.empty((seen.size, 0)), *features]))
        ahead = design(t_ahead, t_change, np.hstack([np.empty((horizon, 0)), *features_ahead]))
        if np.ptp(seen) == 0:
            # Prophet, too, gives a constant back without a fit.
            level = np.eye(1, columns.shape[1])[0] * seen[-1] / scale
            found = Mode(level, MIN_NOISE, -math.inf)
        else:
            y = seen / scale
            problem = problem_of(columns, y, _CHANGEPOINT_SCALE, scales)
            is_alike = mode is not None and mode.coefficients.size == columns.shape[1]
            found = mode = fitted_mode(columns, y, problem, mode if is_alike else None)
        stride = float(np.diff(t_ahead).mean() if horizon > 1 else np.diff(t).mean())
        yield ProphetFit(scale, found, columns[-1], ahead, t_change.size, len(known), stride)


def policy_steps(days: Floats, decided: Sequence[date]) -> Floats:
    """How far decisions of one kind have taken effect (day x 1), summed over them; 0 up to their days."""
    since = days[:, None] - days_since_1970(_dates(decided))
    effect = -np.expm1(-np.maximum(since, 0.0) / POLICY_DAYS)
    return np.asarray(effect.sum(axis=1, keepdims=True))


def known_decisions(
    events: Sequence[PolicyEvent], period: date, frequency: str
) -> list[list[date]]:
    """Days of the tightenings, then of the easings, made until the end of a period; no empty lists.

    Months and years are dated by their first day. A day ends as it began, and a week is taken to: many
    publishers date it by its last day, and a decision must not be known before it is made.
    """
    last = np.datetime64(period, "D")
    if frequency in ("month", "year"):
        unit = "M" if frequency == "month" else "Y"
        last = (last.astype(f"M8[{unit}]") + 1).astype("M8[D]") - 1
    kinds = (
        [event.on for event in events if event.is_tightening is kind and event.on <= last.item()]
        for kind in (True, False)
    )
    return [kind for kind in kinds if kind]


def dates_after(dates: Days, origins: Sequence[int], frequency: str, horizon: int) -> Days:
    """The periods that follow each origin (origin x step); business days unless weekends have values."""
    last = dates[np.asarray(origins) - 1][:, None]
    steps = np.arange(1, horizon + 1)
    if frequency == "day":
        # The first fortnight says whether there are weekends; every origin has seen it.
        mask = "1111111" if not np.is_busday(dates[:14]).all() else "1111100"
        return np.asarray(np.busday_offset(last, steps, roll="backward", weekmask=mask))
    if frequency == "week":
        return np.asarray(last + 7 * steps)
    unit = "M8[M]" if frequency == "month" else "M8[Y]"
    start = last.astype(unit)
    first = (start + steps).astype("M8[D]")
    # The same day of a later month, or its last one.
    ends = (start + steps + 1).astype("M8[D]") - 1
    return np.asarray(np.minimum(first + (last - start.astype("M8[D]")), ends))


def _season(days: Floats, days_ahead: Floats, period: float, order: int) -> tuple[Floats, Floats]:
    """Fourier terms of the days seen (day x term) and of those ahead (origin x step x term)."""
    ahead = fourier_terms(days_ahead.ravel(), period, order)
    return fourier_terms(days, period, order), ahead.reshape((*days_ahead.shape, -1))


def _changepoints(t: Floats) -> Floats:
    """Where the slope may change: evenly over the first four fifths of the rows, as Prophet has it."""
    rows = int(np.floor(t.size * _CHANGEPOINT_RANGE))
    count = min(_CHANGEPOINTS, rows - 1)
    if count < 1:
        return np.zeros(1)
    return np.asarray(t[np.linspace(0, rows - 1, count + 1).round().astype(int)[1:]])


def _dates(periods: Sequence[date]) -> Days:
    # By ordinals: numpy looks at each date object for a microsecond.
    days = np.fromiter((day.toordinal() for day in periods), np.int64, len(periods))
    return (days - _EPOCH).astype("datetime64[D]")
