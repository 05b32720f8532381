"""How likely a rise is: simulated paths, calibrated on what came of earlier probabilities."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from forecasting.backtest import origins_of
from forecasting.metrics import ReliabilityBin, auc, brier, brier_skill, reliability
from forecasting.recency import mean_so_far
from forecasting.series import MIN_OBSERVATIONS, Floats, History

PATHS = 1000

# One setting for all series, chosen together on World Bank monthly prices, Brent and WTI by week and day,
# exchange rates and simulated sticky prices with momentum.
_FAST, _SLOW = 5.0, 26.0  # half-lives of volatility, in periods
_FAST_WEIGHT = 0.85  # the rest is the series' long run
_TREND_HALF_LIFE = 3.0
_PAST_HALF_LIFE = 260.0  # of past changes that are drawn again, and that teach momentum
_MOMENTUM_PRIOR = np.asarray([200.0, 30.0])  # as many quiet periods as this speak against momentum
_NORMAL_SHARE = 0.5  # shocks that are normal: a series' own past is too short to know its tails
_MAX_SHOCK = 6.0

_LEAST = 0.005  # probabilities nearer to 0 or 1 than this are not told apart
_SLOPE = 0.8  # simulated odds are too sure of themselves: volatility is an estimate
# Held before anything was learnt; order as in `_features`.
_FEATURE_WEIGHTS = (0.1, 0.05, -0.1, 0.4, 0.9)
_RIDGE = np.asarray([100.0, 20.0, 80.0, 80.0, 80.0, 80.0, 80.0])  # intercept, slope, features
_MIDDLE = math.log(0.15 / 0.85)  # log odds that the slope leaves as they are
_CORRELATION = 0.2  # of cases of different series at one time: many series are not many lessons


@dataclass(frozen=True, slots=True)
class EventCase:
    """One series at one cutoff: what was simulated, what else was known, and what happened."""

    series: str
    cutoff: date
    origin: int  # periods seen
    ends_on: date  # last period of the horizon: from then on the outcome is known
    probability_raw: float  # share of simulated paths that rise enough, 0–1
    features: tuple[float, ...]
    outcome: bool


@dataclass(frozen=True, slots=True)
class EventRow:
    """A probability that was given at a cutoff, and whether the rise came."""

    series: str
    cutoff: date
    probability: float
    outcome: bool


@dataclass(frozen=True, slots=True)
class EventResult:
    """Probabilities of a rise at past cutoffs beside what happened."""

    rows: tuple[EventRow, ...]
    left_out: Mapping[str, str]  # series that have no cutoff, or lose some, and why

    @property
    def probabilities(self) -> Floats:
        return np.asarray([row.probability for row in self.rows], dtype=np.float64)

    @property
    def outcomes(self) -> Floats:
        return np.asarray([row.outcome for row in self.rows], dtype=np.float64)

    def summary(self) -> dict[str, float | None]:
        """Base rate, AUC, Brier score and skill, number of cases; None where it is not defined."""
        if not self.rows:
            return {"base_rate": None, "auc": None, "brier": None, "brier_skill": None, "n": 0}
        given, came = self.probabilities, self.outcomes
        return {
            "base_rate": _rounded(float(came.mean())),
            "auc": _rounded(auc(given, came)),
            "brier": _rounded(brier(given, came)),
            "brier_skill": _rounded(brier_skill(given, came)),
            "n": len(self.rows),
        }

    def reliability(self, bins: int = 10) -> tuple[ReliabilityBin, ...]:
        return reliability(self.probabilities, self.outcomes, bins)


def rise_probability(
    values: Floats, *, horizon: int, rise: float, seed: int, paths: int = PATHS
) -> float:
    """P(max of the next `horizon` values / the last one - 1 >= rise), not calibrated, 0–1.

    Share of simulated paths: shocks are standardised past changes (or normal), volatility is today's
    and goes on with each simulated change, recent changes carry on as far as they did in the past.
    `values` are in their unit, oldest first; raises ValueError unless there are three, all above zero.
    """
    if values.size < 3 or not (values > 0).all():
        message = "a rise needs at least three values, all above zero"
        raise ValueError(message)
    motion = _motion(np.log(values), horizon)
    return _share_of_paths(motion, values.size, _draws(seed, horizon, paths), rise)


def event_backtest(
    histories: Sequence[History], *, horizon: int, step: int, min_train: int, rise: float, seed: int
) -> EventResult:
    """Probabilities of a rise of at least `rise` within `horizon` periods, at every cutoff of every series.

    At a cutoff only cases (of all series) whose whole horizon was over by then have taught. A rise over
    a value that is not above zero means nothing: such cutoffs, and those after them, are left out.
    """
    panel = _Panel(histories, horizon, rise, seed)
    stride = _stride(horizon)
    scored: list[EventCase] = []
    taught: list[EventCase] = []
    left_out: dict[str, str] = {}
    for at, history in enumerate(histories):
        asked = origins_of(history, horizon=horizon, step=step, min_train=min_train)
        lessons = panel.lessons(at, stride, through=min_train)
        cases = panel.cases(at, {*asked, *lessons})
        scored += [cases[seen] for seen in asked if seen in cases]
        taught += [cases[seen] for seen in lessons if seen in cases]
        if not asked:
            needed = f"{min_train + horizon} needed for one cutoff"
            left_out[history.series] = f"{history.values.size} periods, {needed}"
        elif lost := sum(1 for seen in asked if seen not in cases):
            least = MIN_OBSERVATIONS[history.frequency]
            why = f"fewer than {least} values, one not above zero, or nothing observed after them"
            left_out[history.series] = f"{lost} of {len(asked)} cutoffs with {why}"
    return EventResult(tuple(_calibrated_rows(scored, taught, stride / horizon)), left_out)


def rise_chances(
    histories: Sequence[History], *, horizon: int, rise: float, seed: int
) -> dict[str, float]:
    """Calibrated P(max of the next `horizon` values / the newest one - 1 >= rise) of each series, 0–1.

    What `event_backtest` would have said with these values and none after them: cases of all series whose
    horizon is over have taught. A series with too few values, or one not above zero, has no chance.
    """
    panel = _Panel(histories, horizon, rise, seed)
    stride = _stride(horizon)
    asked: list[EventCase] = []
    taught: list[EventCase] = []
    for at, history in enumerate(histories):
        newest = panel.newest(at)
        if newest is not None:
            asked.append(newest)
        lessons = panel.lessons(at, stride, through=history.values.size)
        taught += panel.cases(at, lessons).values()
    return {
        row.series: row.probability for row in _calibrated_rows(asked, taught, stride / horizon)
    }


def _stride(horizon: int) -> int:
    """Periods between cutoffs that teach: closer ones repeat each other."""
    return max(1, horizon // 3)


# --- one series --------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Motion:
    """How a series moves, on logs. Row i of everything is known once value i is, and needs no later one."""

    fast: Floats  # variance of one change, by an average with half-life _FAST
    long_run: Floats
    shocks: Floats  # change over the volatility known before it
    trend: Floats  # recent shocks, averaged with half-life _TREND_HALF_LIFE
    momentum: Floats  # (period, span): change over a sixth, half, 2 and 4 horizons, in volatilities
    unrest: Floats  # log of fast over slow volatility


@dataclass(frozen=True, eq=False)
class _Draws:
    """Chances shared by all series and cutoffs, so that probabilities differ for their own reasons only."""

    place: Floats  # step x path, 0–1: which past shock
    normal: Floats
    is_normal: Floats


def _draws(seed: int, horizon: int, paths: int) -> _Draws:
    draw = np.random.default_rng(seed)
    shape = (horizon, paths)
    return _Draws(draw.random(shape), draw.standard_normal(shape), draw.random(shape))


def _motion(logs: Floats, horizon: int) -> _Motion:
    changes = np.diff(logs, prepend=logs[:1])
    squares = changes[1:] ** 2
    count = np.arange(1, squares.size + 1)
    fast = mean_so_far(squares, _FAST)
    slow = mean_so_far(squares, _SLOW)
    long_run = np.cumsum(squares) / count
    sd = np.sqrt(_FAST_WEIGHT * fast + (1 - _FAST_WEIGHT) * long_run)
    before = np.concatenate([[0.0], sd])[:-1]
    # The first move after nothing but rest has no size in volatilities.
    moved = before > 0
    shocks = np.zeros(squares.size)
    shocks[moved] = np.clip(changes[1:][moved] / before[moved], -_MAX_SHOCK, _MAX_SHOCK)
    momentum = np.zeros((logs.size, 4))
    unit = np.concatenate([[0.0], sd])
    for column, span in enumerate((horizon / 6, horizon / 2, 2 * horizon, 4 * horizon)):
        reach = max(1, round(span))
        back = np.minimum(np.arange(logs.size), reach)
        size = unit * np.sqrt(np.maximum(back, 1))
        moves = logs - logs[np.arange(logs.size) - back]
        momentum[:, column] = np.clip(moves / np.where(size > 0, size, np.inf), -3, 3)
    ratio = (0.95 * fast + 0.05 * long_run) / np.where(
        long_run > 0, 0.95 * slow + 0.05 * long_run, 1
    )
    unrest = np.log(np.where(long_run > 0, ratio, 1.0)) / 2

    def led(values: Floats) -> Floats:
        return np.concatenate([[0.0], values])

    trend = mean_so_far(shocks, _TREND_HALF_LIFE, is_normalised=False)
    return _Motion(led(fast), led(long_run), led(shocks), led(trend), momentum, led(unrest))


def _share_of_paths(motion: _Motion, seen: int, draws: _Draws, rise: float) -> float:
    """Share of simulated paths whose highest value is at least `rise` above the last one seen."""
    shocks, trend = motion.shocks[2:seen], motion.trend[2:seen]
    fast, long_run = motion.fast[seen - 1], motion.long_run[seen - 1]
    fade = 0.5 ** (1 / _PAST_HALF_LIFE)
    weights = fade ** np.arange(shocks.size - 1, -1, -1)
    lagged = np.column_stack([motion.shocks[1 : seen - 1], motion.trend[1 : seen - 1]])
    weighted = lagged * weights[:, None]
    carried = np.linalg.solve(weighted.T @ lagged + np.diag(_MOMENTUM_PRIOR), weighted.T @ shocks)
    left = shocks - lagged @ carried
    left = left - np.average(left, weights=weights)
    # The age of the shock drawn: geometric, cut at the oldest one.
    ages = np.log1p(-draws.place * (1 - fade**left.size)) / math.log(fade)
    drawn = left[left.size - 1 - np.minimum(ages.astype(np.int64), left.size - 1)]
    drawn = np.where(draws.is_normal < _NORMAL_SHARE, draws.normal, drawn)

    paths = drawn.shape[1]
    keep = 0.5 ** (1 / _FAST)
    keep_trend = 0.5 ** (1 / _TREND_HALF_LIFE)
    variance = np.full(paths, fast)
    last = np.full(paths, shocks[-1])
    recent = np.full(paths, trend[-1])
    height = np.zeros(paths)
    highest = np.full(paths, -np.inf)
    for shock in drawn:
        last = carried[0] * last + carried[1] * recent + shock
        change = last * np.sqrt(_FAST_WEIGHT * variance + (1 - _FAST_WEIGHT) * long_run)
        height += change
        np.maximum(highest, height, out=highest)
        variance = keep * variance + (1 - keep) * change * change
        recent = keep_trend * recent + (1 - keep_trend) * last
    return float((highest >= math.log1p(rise)).mean())


# --- many series -------------------------------------------------------------


class _Panel:
    """Series side by side: what each did, and what the others did at the same time."""

    def __init__(self, histories: Sequence[History], horizon: int, rise: float, seed: int) -> None:
        if horizon < 1 or rise <= 0:
            message = f"horizon {horizon} and rise {rise} given, at least 1 and above 0 needed"
            raise ValueError(message)
        self._histories = histories
        self._horizon = horizon
        self._rise = rise
        self._draws = _draws(seed, horizon, PATHS)
        self._usable = [_positive_until(history.values) for history in histories]
        self._motions = [
            _motion(np.log(history.values[:usable]), horizon)
            for history, usable in zip(histories, self._usable, strict=True)
        ]
        self._sums: defaultdict[date, Floats] = defaultdict(lambda: np.zeros(3))
        for history, motion, usable in zip(histories, self._motions, self._usable, strict=True):
            for at in range(MIN_OBSERVATIONS[history.frequency] - 1, usable):
                # A filled value came from a later one: at this date nobody knew it.
                if not history.is_filled[at]:
                    self._sums[history.periods[at]] += self._shared(motion, at)

    def lessons(self, series: int, stride: int, *, through: int) -> tuple[int, ...]:
        """Origins that teach: from twice the least number of values on, one of them at `through`."""
        history = self._histories[series]
        first = 2 * MIN_OBSERVATIONS[history.frequency]
        first += (through - first) % stride
        return origins_of(history, horizon=self._horizon, step=stride, min_train=first)

    def cases(self, series: int, origins: Iterable[int]) -> dict[int, EventCase]:
        """Cases by origin, in order; without those that have too few values, or one not above zero.

        Nor with those after which nothing was observed within the horizon: no rise is not known there.
        """
        history = self._histories[series]
        least = MIN_OBSERVATIONS[history.frequency]
        served = [
            seen
            for seen in sorted(origins)
            if least <= seen <= self._usable[series]
            and not history.is_filled[seen : seen + self._horizon].all()
        ]
        return {seen: self._case(series, seen) for seen in served}

    def newest(self, series: int) -> EventCase | None:
        """The case at the newest value: nobody knows what becomes of it, so it never teaches.

        None where `cases` would leave it out too.
        """
        history = self._histories[series]
        seen = history.values.size
        if not MIN_OBSERVATIONS[history.frequency] <= seen <= self._usable[series]:
            return None
        return EventCase(
            series=history.series,
            cutoff=history.periods[-1],
            origin=seen,
            ends_on=date.max,
            probability_raw=_share_of_paths(self._motions[series], seen, self._draws, self._rise),
            features=self._features(series, seen - 1),
            outcome=False,
        )

    def _case(self, series: int, seen: int) -> EventCase:
        history = self._histories[series]
        window = slice(seen, seen + self._horizon)
        # A filled value lies between its neighbours: it is the highest only where one of them is.
        highest = float(
            history.values[window].max(where=~history.is_filled[window], initial=-np.inf)
        )
        # Rounding must not decide: 1.25 times a price of two decimals is not always a double.
        limit = history.values[seen - 1] * (1 + self._rise) * (1 - 1e-12)
        return EventCase(
            series=history.series,
            cutoff=history.periods[seen - 1],
            origin=seen,
            ends_on=history.periods[seen - 1 + self._horizon],
            probability_raw=_share_of_paths(self._motions[series], seen, self._draws, self._rise),
            features=self._features(series, seen - 1),
            outcome=bool(highest >= limit),
        )

    def _features(self, series: int, at: int) -> tuple[float, ...]:
        """Own momentum (short, 2 and 4 horizons), the others' momentum, the others' unrest."""
        motion = self._motions[series]
        short, _, longer, longest = motion.momentum[at].tolist()
        others = self._sums[self._histories[series].periods[at]] - self._shared(motion, at)
        # Two quiet series stand in for all that we don't see: few others say little.
        momentum, unrest = (others[1:] / (others[0] + 2)).tolist()
        return (short, longer, longest, momentum, unrest)

    @staticmethod
    def _shared(motion: _Motion, at: int) -> Floats:
        return np.asarray([1.0, motion.momentum[at, 1], motion.unrest[at]])


def _positive_until(values: Floats) -> int:
    bad = np.flatnonzero(~(values > 0))
    return int(bad[0]) if bad.size else int(values.size)


# --- calibration -------------------------------------------------------------


def _calibrated_rows(
    scored: Iterable[EventCase], taught: Sequence[EventCase], share_new: float
) -> Iterable[EventRow]:
    """Probabilities at the scored cutoffs, each from what the cases finished by then had taught."""
    lessons = sorted(taught, key=lambda case: case.ends_on)
    ends = [case.ends_on for case in lessons]
    odds, features, came = _table(lessons)
    by_cutoff: defaultdict[date, list[EventCase]] = defaultdict(list)
    for case in scored:
        by_cutoff[case.cutoff].append(case)
    known = 0
    weights = np.zeros(_RIDGE.size)  # intercept, slope, features: what was learnt
    learnt_from = 0
    for cutoff in sorted(by_cutoff):
        while known < len(ends) and ends[known] <= cutoff:
            known += 1
        # One case in fifty more changes next to nothing; daily panels have thousands of cutoffs.
        if known > learnt_from * 1.02:
            before, table = _before_learning(odds[:known], features[:known])
            each = _weight(lessons[:known], share_new)
            weights = _ridge_logistic(table, before, came[:known], each, _RIDGE, weights)
            learnt_from = known
        cases = by_cutoff[cutoff]
        before, table = _before_learning(*_table(cases)[:2])
        given = _logistic(before + table @ weights).tolist()
        for case, probability in zip(cases, given, strict=True):
            yield EventRow(case.series, cutoff, probability, case.outcome)


def _weight(cases: Sequence[EventCase], share_new: float) -> float:
    """How many independent cases one is worth: horizons overlap, and series rise together."""
    series = len({case.series for case in cases})
    return share_new / (1 + _CORRELATION * max(0, series - 1))


def _before_learning(odds: Floats, features: Floats) -> tuple[Floats, Floats]:
    """Log odds that hold until something was learnt, and the columns that learning can weigh."""
    before = _MIDDLE + _SLOPE * (odds - _MIDDLE) + features @ np.asarray(_FEATURE_WEIGHTS)
    return before, np.column_stack([np.ones_like(odds), odds - _MIDDLE, features])


def _table(cases: Sequence[EventCase]) -> tuple[Floats, Floats, Floats]:
    raw = np.asarray([case.probability_raw for case in cases], dtype=np.float64)
    features = np.asarray([case.features for case in cases], dtype=np.float64)
    came = np.asarray([case.outcome for case in cases], dtype=np.float64)
    return _log_odds(raw), features.reshape(len(cases), len(_FEATURE_WEIGHTS)), came


def _ridge_logistic(
    table: Floats, before: Floats, came: Floats, weight: float, ridge: Floats, start: Floats
) -> Floats:
    """Weights of the columns that best explain `came` beyond the log odds `before`; Newton's method.

    `ridge` pulls each weight to zero, so that without cases nothing changes.
    """

    def loss(weights: Floats) -> float:
        odds = before + table @ weights
        misfit = (np.logaddexp(0.0, odds) - came * odds).sum()
        return float(weight * misfit + (ridge * weights * weights).sum() / 2)

    weights, now = start, loss(start)
    for _ in range(30):
        chance = _logistic(before + table @ weights)
        slope = weight * table.T @ (came - chance) - ridge * weights
        bend = weight * (table * (chance * (1 - chance))[:, None]).T @ table + np.diag(ridge)
        move = np.linalg.solve(bend, slope)
        size = 1.0
        # A whole Newton step can overshoot where the curve is flat.
        while (then := loss(weights + size * move)) > now and size > 1e-6:
            size /= 2
        if now - then <= 1e-10 * max(1.0, now):
            break
        weights, now = weights + size * move, then
    return weights


def _logistic(odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -30, 30))), dtype=np.float64)


def _log_odds(probabilities: Floats) -> Floats:
    inside = np.clip(probabilities, _LEAST, 1 - _LEAST)
    return np.asarray(np.log(inside / (1 - inside)), dtype=np.float64)


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
