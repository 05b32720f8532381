"""Many limits at once: what the lifecycle would post for each of them, as arrays; for choosing limits only."""

from dataclasses import dataclass

import numpy as np

from forecasting.series import Flags, Floats

NEVER = -(10**9)
_CELLS = 20_000_000  # of a table (series, period, limit) held at once


@dataclass(frozen=True, slots=True)
class Shape:
    """How a rule behaves around its enter limit: one crossing opens, one clear reading ends."""

    band: float  # how far below the enter limit the exit limit lies, in log odds
    cooldown_days: float = 0.0
    renew_periods: int = 0  # a claim speaks of so many periods; what still holds then is said anew
    in_per_cent: bool = (
        False  # exit limits in whole per cent, at least one and below the enter limit
    )

    def exits(self, enters: Floats) -> Floats:
        """The exit limit (a chance) that belongs to each enter limit."""
        if self.band == 0:
            return enters - 1e-9
        found = logistic(log_odds(enters) - self.band)
        if self.in_per_cent:
            found = np.maximum(0.01, np.minimum(np.round(found, 2), np.round(enters - 0.01, 2)))
        return found


@dataclass(frozen=True, eq=False)
class Truth:
    """What became of each (series, period), for a post made at the end of it."""

    is_before: Flags  # an event starts within the horizon after it
    is_during: Flags  # an event lasts
    is_known: Flags  # the horizon is over
    starts: Flags  # an event starts in this period
    horizon: int

    @property
    def is_false(self) -> Flags:
        return ~self.is_before & ~self.is_during & self.is_known


class Track:
    """The lifecycle of every series under every limit, one period after the other.

    It has to post when `alerts.lifecycle.decide` would (a test compares them), for one severity: first
    posts of episodes come out of `step`, everything else is counted in `posts`.
    """

    def __init__(self, shape: Shape, series: int, limits: int) -> None:
        size = (series, limits)
        self._shape = shape
        self._is_open = np.zeros(size, dtype=np.bool_)
        self._is_told = np.zeros(size, dtype=np.bool_)  # the last post says that it is open
        self._was_seen = np.zeros(size, dtype=np.bool_)  # this episode
        self._told = np.full(size, NEVER)  # period of the last post
        self._told_day = np.full(size, float(NEVER))
        self._ended_day = np.full(size, float(NEVER))
        self.posts = np.zeros(size, dtype=np.int64)

    def step(self, at: int, day: float, chances: Floats, enters: Floats, exits: Floats) -> Flags:
        """Who is first seen at this period: (series, limit). A chance that is NaN is not judged.

        `day` counts days; it is what the cooldown is measured against.
        """
        shape = self._shape
        judged = ~np.isnan(chances)[:, None]
        chance = np.where(judged, chances[:, None], 0.0)
        crossed = judged & (chance >= enters)
        opens = crossed & ~self._is_open
        clears = judged & self._is_open & (chance < exits)
        renewed, expires = np.zeros_like(opens), np.zeros_like(opens)
        if shape.renew_periods:
            over = judged & self._is_open & (at - self._told >= shape.renew_periods) & ~clears
            renewed, expires = over & crossed, over & ~crossed
        ends = clears | expires
        rests = day - self._told_day >= shape.cooldown_days
        said = opens & (day - self._ended_day >= shape.cooldown_days)
        self._is_open |= opens
        said |= judged & self._is_open & ~ends & ~self._is_told & rests
        said |= renewed
        begins = opens | renewed
        self._was_seen &= ~begins
        seen: Flags = said & ~self._was_seen
        self._was_seen |= said
        told_end = ends & self._is_told
        self._is_open &= ~ends
        self._ended_day[ends] = day
        # What has expired is over: a return is a new story, told at once.
        self._ended_day[expires] = NEVER
        self._is_told = (self._is_told | said) & ~told_end
        posted = said | told_end
        self._told[posted] = at
        self._told_day[posted] = day
        self.posts += posted
        return seen


def first_posts(shape: Shape, days: Floats, chances: Floats, enters: Floats) -> Flags:
    """First posts (series, period, limit) of a table of chances (series, period)."""
    series, periods = chances.shape
    track = Track(shape, series, enters.size)
    exits = shape.exits(enters)
    seen = np.zeros((series, periods, enters.size), dtype=np.bool_)
    for at in range(periods):
        seen[:, at] = track.step(at, days[at], chances[:, at], enters, exits)
    return seen


def counted(seen: Flags, truth: Truth) -> tuple[Floats, Floats]:
    """Events hit and false episodes, by limit."""
    false = (seen & truth.is_false[:, :, None]).sum(axis=(0, 1))
    so_far = np.pad(np.cumsum(seen, axis=1, dtype=np.int32), ((0, 0), (1, 0), (0, 0)))
    series, at = np.nonzero(truth.starts)
    since = np.maximum(at - truth.horizon, 0)
    hits = (so_far[series, at] > so_far[series, since]).sum(axis=0)
    return hits.astype(np.float64), false.astype(np.float64)


def most_false(wanted: int) -> float:
    """How many false episodes a plain rule may have beside `wanted` of ours: 5 % more, at least one."""
    return max(wanted + 1, 1.05 * wanted)


def best_limit(false: Floats, hits: Floats, wanted: int) -> int:
    """Which limit has the most hits, of all with no more false episodes than `most_false(wanted)`.

    Any fewer will do: the number jumps from limit to limit, and a low limit that is never left has many and
    few hits. Where hits tie, the one with more false episodes, nearest to the rule it is compared with.
    """
    allowed = false <= most_false(wanted)
    among = np.flatnonzero(allowed & (hits == hits[allowed].max()))
    return int(among[np.argmax(false[among])])


def scored_limits(
    shape: Shape, days: Floats, chances: Floats, truth: Truth, enters: Floats
) -> tuple[Floats, Floats]:
    """Events hit and false episodes of every limit; in parts, so that large panels fit into memory."""
    part = max(1, _CELLS // max(1, chances.size))
    found = [
        counted(first_posts(shape, days, chances, enters[at : at + part]), truth)
        for at in range(0, enters.size, part)
    ]
    return np.concatenate([hits for hits, _ in found]), np.concatenate([lost for _, lost in found])


def log_odds(chances: Floats) -> Floats:
    """Log odds of chances (0–1), kept away from both ends."""
    inside = np.clip(chances, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside / (1 - inside)), dtype=np.float64)


def logistic(odds: Floats) -> Floats:
    """Chances (0–1) of log odds."""
    return np.asarray(1 / (1 + np.exp(-odds)), dtype=np.float64)


# --- a limit that is learnt -------------------------------------------------------

GRID: Floats = logistic(np.linspace(-5.0, 4.0, 91))
"""Enter limits that a learnt one is chosen from: chances from 0.7 to 98 %, a tenth of log odds apart."""
_BEGIN = 0.5  # the chance that may be relied on before anything was learnt


def learnt_limits(
    shape: Shape, days: Floats, chances: Floats, truth: Truth, false_time: float
) -> Floats:
    """The enter limit for each period: the lowest that would have kept false alerts to `false_time` so far.

    An alert stands for its horizon; `false_time` (0–1) is the share of all time judged for which ones
    that came to nothing have stood. At a period only episodes count whose horizon is over by then. Below
    an even chance one false alert has to be to spare, so that the first lucky months teach nothing.
    """
    periods = chances.shape[1]
    track = Track(shape, chances.shape[0], GRID.size)
    exits = shape.exits(GRID)
    false = np.zeros((periods, GRID.size))
    judged = np.zeros(periods)
    found = np.full(periods, _BEGIN)
    spare = np.where(_BEGIN > GRID, 1.0, 0.0)
    known_false, known_time = np.zeros(GRID.size), 0.0
    for at in range(periods):
        known = at - truth.horizon
        if known >= 0:
            known_false += false[known]
            known_time += judged[known]
            stood = truth.horizon * (known_false + spare)
            is_bad = (stood > false_time * known_time) & (known_false + spare > 0)
            # The lowest limit above which all are good: a very low one is always on, and rarely begins.
            bad = np.flatnonzero(is_bad)
            found[at] = GRID[min(int(bad[-1]) + 1, GRID.size - 1)] if bad.size else GRID[0]
        seen = track.step(at, days[at], chances[:, at], GRID, exits)
        false[at] = (seen & truth.is_false[:, at, None]).sum(axis=0)
        judged[at] = (~np.isnan(chances[:, at])).sum()
    return found
