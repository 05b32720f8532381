"""A replay on anyone's series: chances known then, a rule, the real lifecycle, scored beside two plain rules."""

import bisect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Any

import numpy as np

from alerts.lifecycle import Incident, Reason, State, decide, incident_id
from alerts.rules import Reading, RuleOptions, Severity
from alerts.rules.limits import Limit, judge_rising
from alerts.rules.prices import PriceSpike
from alerts.rules.reading import short_hash
from alerts.rules.words import fitted
from alerts.scoring import DAYS_PER_MONTH, Episode, Event, Quality, price_events, score_episodes
from alerts.wording import chance as chance_words
from alerts.wording import number, percent
from flows.replay.result import ReplayResult, TimelineRow
from flows.replay.shapes import (
    Shape,
    Truth,
    best_limit,
    learnt_limits,
    most_false,
    scored_limits,
)
from forecasting.events import EventResult, event_backtest
from forecasting.metrics import auc, brier, brier_skill
from forecasting.panel import PanelError
from forecasting.series import MIN_OBSERVATIONS, Floats, History

BOOK = "replay"
OURS, SINGLE, WALK = "hysteresis", "single_limit", "random_walk"

WARM_UP: Mapping[str, int] = {"day": 250, "week": 104, "month": 36, "year": 12}
"""Periods before the first chance: a year of days, two of weeks, three of months. Fewer are too few to know
how a series moves; a panel that has none so long begins with half of its longest series."""

BAND = 1.0  # log odds between enter and exit: an even chance is left at 27 %
FALSE_TIME = 0.15  # share of the time that alerts which come to nothing may stand, by default
COOLDOWN = 0.5  # horizons after an end in which a return is not posted at once
_LAMBDA = 0.94  # weight of the past in the random walk's variance, as RiskMetrics has it
_CANDIDATES = 400  # hindsight limits that a plain rule may choose from


@dataclass(frozen=True, slots=True)
class Asked:
    """What to replay. `rise` 0.25 is 25 %; `horizon` counts periods; `seed` draws the simulated paths."""

    freq: str
    rise: float
    horizon: int
    seed: int
    first: date | None = None  # only chances of periods from here on are judged
    last: date | None = None  # what came after it is not looked at
    rules: tuple[PriceSpike, ...] = ()  # instead of the learnt limits
    placebo: int | None = None
    false_time: float = FALSE_TIME


@dataclass(frozen=True, eq=False)
class Grid:
    """All series of a panel on one time axis: chances (series, period), NaN where none was stated."""

    series: tuple[str, ...]
    starts: tuple[date, ...]  # first day of each period
    ends: tuple[date, ...]  # its last day; the chance is known then
    values: Floats  # NaN where nothing was observed
    chances: Floats
    walk: Floats  # the random walk's chances, where there is one of ours
    outcomes: Floats  # 1 when the rise that the chance speaks of came
    events: tuple[Event, ...]  # that could have been announced
    truth: Truth
    left_out: Mapping[str, str]
    warm_up: int

    @property
    def months(self) -> float:
        """Calendar months from the first chance to the last, all series together."""
        judged = np.flatnonzero(~np.isnan(self.chances).all(axis=0))
        if not judged.size:
            return 0.0
        span = self.ends[int(judged[-1])] - self.starts[int(judged[0])]
        return (span.days + 1) / DAYS_PER_MONTH

    @cached_property
    def days(self) -> Floats:
        """The last day of each period, counted in days."""
        return np.asarray([day.toordinal() for day in self.ends], dtype=np.float64)

    @property
    def days_per_period(self) -> float:
        """The mean length of a period in days."""
        count = max(1, len(self.starts) - 1)
        return max(1.0, (self.starts[-1] - self.starts[0]).days / count)

    @property
    def known_through(self) -> date:
        """The last day that events are known for."""
        known = np.flatnonzero(self.truth.is_known.any(axis=0))
        return self.ends[int(known[-1]) + self.truth.horizon] if known.size else self.ends[0]

    def moment(self, at: int) -> datetime:
        """When a period is judged: the last second of its last day, UTC."""
        return datetime.combine(self.ends[at], time(23, 59, 59), UTC)

    def reach(self, seen: datetime) -> date:
        """The last day of the horizon of an alert that was seen then."""
        at = bisect.bisect_right(self.starts, seen.date()) - 1 + self.truth.horizon
        # Beyond the panel nothing is known: a day that never comes.
        return self.ends[at] if at < len(self.ends) else date.max

    def only(self, series: Collection[str]) -> "Grid":
        """The same axis with only these series; their chances stay those that all series taught."""
        rows = np.asarray([name in series for name in self.series], dtype=np.bool_)
        truth = self.truth
        return replace(
            self,
            series=tuple(name for name in self.series if name in series),
            values=self.values[rows],
            chances=self.chances[rows],
            walk=self.walk[rows],
            outcomes=self.outcomes[rows],
            events=tuple(event for event in self.events if event.subject in series),
            truth=Truth(
                truth.is_before[rows],
                truth.is_during[rows],
                truth.is_known[rows],
                truth.starts[rows],
                truth.horizon,
            ),
        )

    def between(self, since: int, until: int) -> "Grid":
        """The same axis with only the chances of periods [since, until), and the events they could announce."""
        inside = np.zeros(len(self.starts), dtype=np.bool_)
        inside[since:until] = True
        chances = np.where(inside, self.chances, np.nan)
        first, last = self.starts[since], self.ends[min(until, len(self.ends)) - 1]
        events = tuple(event for event in self.events if first < event.starts_on <= last)
        after = np.zeros(len(self.starts), dtype=np.bool_)
        after[since + 1 : until] = True
        # An event after the last of them is not among the events: whether an alert announced one is open.
        known = np.zeros(len(self.starts), dtype=np.bool_)
        known[: max(0, until - self.truth.horizon)] = True
        truth = replace(
            self.truth, starts=self.truth.starts & after, is_known=self.truth.is_known & known
        )
        return replace(
            self,
            chances=chances,
            walk=np.where(inside, self.walk, np.nan),
            outcomes=np.where(inside, self.outcomes, np.nan),
            events=events,
            truth=truth,
        )


@dataclass(frozen=True, eq=False)
class Contender:
    """A rule in the replay: its chances, its limits at each period, and its options."""

    name: str
    chances: Floats
    limits: Callable[[int], Sequence[Limit]]
    options: RuleOptions
    version: str
    renew_periods: int = 0


@dataclass(frozen=True)
class Run:
    """What the lifecycle made of a rule: episodes, transitions and the number of posts."""

    episodes: tuple[Episode, ...]
    timeline: tuple[TimelineRow, ...]
    posts: int


def replay_panel(
    histories: Sequence[History],
    asked: Asked,
    *,
    left_out: Mapping[str, str] | None = None,
    told: Callable[[int, int], None] = lambda _done, _of: None,
) -> ReplayResult:
    """Three rules (or those of a file and two plain ones) on a panel of series of one frequency.

    Ours takes a limit learnt from what was known at each period (`learnt_limits`), so that alerts which
    come to nothing stand for at most `false_time` of the time; or the limits of `asked.rules`, for which
    the panel's rise and horizon stand in for their own. `single_limit` has the same chance, one limit, no
    gap, no wait; `random_walk` has the chance of a Gaussian random walk with the volatility known then.
    Both get, in hindsight, the one limit with the most hits of all that give at most as many false episodes
    as the first of ours, plus 5 % or one (`best_limit`). Raises PanelError.
    """
    grid = read_grid(histories, asked, left_out)
    horizon_days = asked.horizon * grid.days_per_period
    contenders = (
        [_of_rule(rule, grid) for rule in asked.rules]
        if asked.rules
        else [_ours(grid, asked, horizon_days)]
    )
    steps = (len(contenders) + 2) * int((~np.isnan(grid.chances)).sum())
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        told(done, steps)

    runs: dict[str, Run] = {}
    limits: dict[str, Any] = {}
    qualities: dict[str, Quality] = {}
    for contender in contenders:
        runs[contender.name] = run = live(grid, contender, asked, advance)
        qualities[contender.name] = _quality(grid, run, contender.chances)
        limits[contender.name] = _limits_told(grid, contender, asked)
    wanted = qualities[contenders[0].name].false_episodes
    for name, chances in ((SINGLE, grid.chances), (WALK, grid.walk)):
        plain, account = _plain(grid, name, chances, wanted, asked)
        run = live(grid, plain, asked, advance)
        runs[name] = run
        qualities[name] = _quality(grid, run, chances)
        limits[name] = account
    pooled = {
        name: _skill_pooled(grid, grid.walk if name == WALK else grid.chances) for name in qualities
    }
    within = {
        name: auc_by_series(grid, grid.walk if name == WALK else grid.chances) for name in qualities
    }
    ours = [row for contender in contenders for row in runs[contender.name].timeline]
    return ReplayResult(
        rules=qualities,
        timeline=tuple(sorted(ours, key=lambda row: row.at)),
        left_out=grid.left_out,
        extra={
            "limits": limits,
            "brier_skill_pooled": pooled,
            "auc_by_series": within,
            "series": len(grid.series),
            "months": round(grid.months, 1),
            "chances": int((~np.isnan(grid.chances)).sum()),
            "rise": asked.rise,
            "horizon_periods": asked.horizon,
            "freq": asked.freq,
            "warm_up_periods": grid.warm_up,
            "placebo": asked.placebo,
        },
    )


# --- the panel ----------------------------------------------------------------------


def read_grid(
    histories: Sequence[History], asked: Asked, left_out: Mapping[str, str] | None = None
) -> Grid:
    """Chances known then, and what came, for every series that has enough periods; PanelError if none has."""
    left_out = dict(left_out or {})
    if asked.last is not None:
        histories = [_until(history, asked) for history in histories]
        histories = [history for history in histories if history.values.size]
    if asked.placebo is not None:
        draw = np.random.default_rng(asked.placebo)
        histories = [_shuffled(history, draw) for history in histories]
    if not histories:
        why = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:3])
        message = f"no series of the panel can be replayed ({why or 'none has a value up to --to'})"
        raise PanelError(message)
    warm_up = _warm_up(histories, asked.horizon)
    found = event_backtest(
        histories,
        horizon=asked.horizon,
        step=1,
        min_train=warm_up,
        rise=asked.rise,
        seed=asked.seed,
    )
    refused = {**found.left_out, **_not_above_zero(histories, found.left_out)}
    if not found.rows:
        least = warm_up + asked.horizon
        longest = max(history.values.size for history in histories)
        if longest >= least:
            # Long enough: something else is wrong, and each series knows what.
            why = "; ".join(f"{name}: {reason}" for name, reason in list(refused.items())[:3])
            message = f"no series has a chance to judge ({why})"
            raise PanelError(message)
        message = (
            f"no series has a chance to judge: {least} periods needed "
            f"({warm_up} to learn from, {asked.horizon} ahead), the longest has {longest}"
        )
        raise PanelError(message)
    return _grid(histories, found, asked, {**left_out, **refused}, warm_up)


def _not_above_zero(histories: Sequence[History], left_out: Mapping[str, str]) -> dict[str, str]:
    """The reason of those left-out series, in whole or in part, in which a value is not above zero."""
    found = {}
    for history in histories:
        low = np.flatnonzero(history.values <= 0)
        if low.size and history.series in left_out:
            at = int(low[0])
            found[history.series] = (
                f"value {history.values[at]:g} of {history.periods[at]}: a rise can only be told of "
                "values above 0; nothing from there on is judged"
            )
    return found


def _warm_up(histories: Sequence[History], horizon: int) -> int:
    frequency = histories[0].frequency
    longest = max(history.values.size for history in histories)
    usual = WARM_UP[frequency]
    if longest >= usual + 4 * horizon:
        return usual
    return max(MIN_OBSERVATIONS[frequency], min(usual, longest // 2))


def _first_days(periods: Sequence[date], freq: str) -> list[date]:
    """The first day of each period: weeks, and months or years of the kind "end", are named for their last."""
    word = freq.upper()
    if not (word.startswith("W") or word.partition("-")[0] in {"ME", "YE"}):
        return list(periods)
    ahead = [before + timedelta(days=1) for before in periods[:-1]]
    length = periods[1] - periods[0] if len(periods) > 1 else timedelta(days=1)
    return [periods[0] - length + timedelta(days=1), *ahead]


def _until(history: History, asked: Asked) -> History:
    """The history without what came after `--to`."""
    if asked.last is None:
        return history
    starts = _first_days(history.periods, asked.freq)
    seen = bisect.bisect_right(starts, asked.last)
    return replace(
        history,
        periods=history.periods[:seen],
        values=history.values[:seen].copy(),
        is_filled=history.is_filled[:seen].copy(),
    )


def _shuffled(history: History, draw: np.random.Generator) -> History:
    """The same changes in another order: whatever could be learnt from their order is gone."""
    if history.values.size < 3 or not (history.values > 0).all():
        return history
    changes = draw.permutation(np.diff(np.log(history.values)))
    values = history.values[0] * np.exp(np.concatenate([[0.0], np.cumsum(changes)]))
    return replace(history, values=values, is_filled=np.zeros(values.size, dtype=np.bool_))


def _grid(
    histories: Sequence[History],
    found: EventResult,
    asked: Asked,
    left_out: Mapping[str, str],
    warm_up: int,
) -> Grid:
    stated = {(row.series, row.cutoff): row for row in found.rows}
    named = {row.series for row in found.rows}
    used = [history for history in histories if history.series in named]
    axis = sorted({period for history in used for period in history.periods})
    starts = _first_days(axis, asked.freq)
    ends = [following - timedelta(days=1) for following in starts[1:]]
    ends.append(starts[-1] + (starts[-1] - starts[-2] if len(starts) > 1 else timedelta(days=1)))
    if len(starts) > 1:
        ends[-1] -= timedelta(days=1)
    place = {period: at for at, period in enumerate(axis)}
    shape = (len(used), len(axis))
    values, chances, walk, outcomes = (np.full(shape, np.nan) for _ in range(4))
    before, during, begins = (np.zeros(shape, dtype=np.bool_) for _ in range(3))
    events: list[Event] = []
    for row, history in enumerate(used):
        at = np.asarray([place[period] for period in history.periods])
        observed = np.where(history.is_filled, np.nan, history.values)
        values[row, at] = observed
        walk_chance = _walk_chances(history.values, asked.rise, asked.horizon)
        for index, period in enumerate(history.periods):
            case = stated.get((history.series, period))
            if case is None or (asked.first is not None and starts[place[period]] < asked.first):
                continue
            chances[row, at[index]] = case.probability
            outcomes[row, at[index]] = float(case.outcome)
            walk[row, at[index]] = walk_chance[index]
        judged = np.flatnonzero(~np.isnan(chances[row]))
        if not judged.size:
            continue
        points = [
            (starts[place[period]], float(value))
            for period, value, is_filled in zip(
                history.periods, history.values, history.is_filled, strict=True
            )
            if not is_filled
        ]
        for event in price_events(
            points, rise=asked.rise, window=asked.horizon, subject=history.series
        ):
            begin = bisect.bisect_left(starts, event.starts_on)
            until = bisect.bisect_right(starts, event.ends_on)
            during[row, begin:until] = True
            before[row, max(0, begin - asked.horizon) : begin] = True
            if begin > judged[0]:
                begins[row, begin] = True
                events.append(event)
    known = np.zeros(shape, dtype=np.bool_)
    known[:, : max(0, len(axis) - asked.horizon)] = True
    return Grid(
        series=tuple(history.series for history in used),
        starts=tuple(starts),
        ends=tuple(ends),
        values=values,
        chances=chances,
        walk=walk,
        outcomes=outcomes,
        events=tuple(events),
        truth=Truth(before, during, known, begins, asked.horizon),
        left_out=left_out,
        warm_up=warm_up,
    )


def _walk_chances(values: Floats, rise: float, horizon: int) -> Floats:
    """P(the highest of the next `horizon` values >= (1 + rise) times this one) of a Gaussian random walk.

    By the reflection principle twice the chance of ending there; the variance of one change is an
    average of past squares in which each further one weighs 0.94 of the one after it.
    """
    found = np.full(values.size, np.nan)
    variance = math.nan
    for at in range(1, values.size):
        if not (values[at] > 0 and values[at - 1] > 0):
            continue
        square = math.log(values[at] / values[at - 1]) ** 2
        variance = square if math.isnan(variance) else _LAMBDA * variance + (1 - _LAMBDA) * square
        sigma = math.sqrt(variance * horizon)
        found[at] = math.erfc(math.log1p(rise) / sigma / math.sqrt(2)) if sigma > 0 else 0.0
    return found


# --- rules ----------------------------------------------------------------------------


def default_shape(grid: Grid, horizon_days: float) -> Shape:
    """One claim, one post: it stands for its horizon, then it is judged, and made anew if it still holds."""
    # Half a period less, so that months of 28 and of 31 days count the same.
    cooldown = COOLDOWN * horizon_days - grid.days_per_period / 2
    return Shape(BAND, max(0.0, cooldown), grid.truth.horizon)


def _ours(grid: Grid, asked: Asked, horizon_days: float) -> Contender:
    shape = default_shape(grid, horizon_days)
    enters = learnt_limits(shape, grid.days, grid.chances, grid.truth, asked.false_time)
    exits = shape.exits(enters)
    version = short_hash("learnt", asked.false_time, shape.band, shape.cooldown_days, asked.horizon)

    def limits(at: int) -> tuple[Limit, ...]:
        return (Limit(Severity.WARNING, float(enters[at]), float(exits[at])),)

    options = RuleOptions(cooldown=timedelta(days=shape.cooldown_days))
    return Contender(OURS, grid.chances, limits, options, version, shape.renew_periods)


def _of_rule(rule: PriceSpike, grid: Grid) -> Contender:
    # As the service does: what it says ends with the panel's horizon, and is said anew if it still holds.
    return Contender(
        rule.name,
        grid.chances,
        lambda _: rule.limits,
        rule.options,
        rule.version,
        grid.truth.horizon,
    )


def _plain(
    grid: Grid, name: str, chances: Floats, wanted: int, asked: Asked
) -> tuple[Contender, dict[str, Any]]:
    """One limit without gap or wait: the most hits of all with about as many false episodes as ours, or fewer."""
    shape = Shape(0.0)
    given = chances[~np.isnan(chances)]
    candidates = np.unique(np.quantile(given, np.linspace(0, 1, _CANDIDATES)))
    # Above every chance: the limit at which nothing is ever said.
    candidates = np.append(candidates, min(1.0, float(candidates[-1]) + 1e-6))
    hits, false = scored_limits(shape, grid.days, chances, grid.truth, candidates)
    at = best_limit(false, hits, wanted)
    enter = float(candidates[at])
    limit = Limit(Severity.WARNING, enter, enter - 1e-9)
    contender = Contender(
        name,
        chances,
        lambda _: (limit,),
        RuleOptions(cooldown=timedelta(0)),
        short_hash(name, enter, asked.horizon),
    )
    account = {
        "enter": round(enter, 6),
        "in_hindsight": True,
        "false_alarms_allowed": math.floor(most_false(wanted)),
        # Where this is less than allowed, no limit could have used them all.
        "false_alarms_at_most": int(false.max()),
    }
    return contender, account


def _limits_told(grid: Grid, contender: Contender, asked: Asked) -> dict[str, Any]:
    judged = np.flatnonzero(~np.isnan(grid.chances).all(axis=0))
    newest = contender.limits(int(judged[-1])) if judged.size else ()
    if asked.rules:
        return {
            limit.severity.name.lower(): {"enter": limit.enter, "exit": limit.exit}
            for limit in newest
        }
    return {
        "enter": round(newest[0].enter, 4),
        "exit": round(newest[0].exit, 4),
        "learnt": True,
        "false_time": asked.false_time,
        "renewed_after_periods": contender.renew_periods,
        "cooldown_days": round(contender.options.cooldown / timedelta(days=1), 1),
    }


# --- the lifecycle ----------------------------------------------------------------------


def live(grid: Grid, contender: Contender, asked: Asked, advance: Callable[[int], None]) -> Run:
    """Every chance through the lifecycle, period by period; nothing is kept anywhere."""
    lives = [_Life(grid, row, contender, asked) for row in range(len(grid.series))]
    for at in range(len(grid.starts)):
        judged = np.flatnonzero(~np.isnan(contender.chances[:, at]))
        if not judged.size:
            continue
        limits = contender.limits(at)
        for row in judged.tolist():
            lives[row].look(at, limits)
        advance(int(judged.size))
    rows = [row for one in lives for row in one.timeline]
    return Run(
        episodes=tuple(episode for one in lives for episode in one.episodes),
        timeline=tuple(sorted(rows, key=lambda row: (row.at, row.subject))),
        posts=sum(one.posts for one in lives),
    )


class _Life:
    """The incidents of one series under one rule, in memory."""

    def __init__(self, grid: Grid, row: int, contender: Contender, asked: Asked) -> None:
        self._grid, self._row = grid, row
        self._contender, self._asked = contender, asked
        self._subject = grid.series[row]
        self._fingerprint = short_hash(contender.name, self._subject, asked.horizon, "above")
        self._incident: Incident | None = None
        self._ordinal = 0
        self.episodes: list[Episode] = []
        self.timeline: list[TimelineRow] = []
        self.posts = 0

    def look(self, at: int, limits: Sequence[Limit]) -> None:
        """One evaluation at the end of a period."""
        result = self._reading(at, limits)
        before, now = self._incident, self._grid.moment(at)
        next_id = incident_id(BOOK, self._fingerprint, self._ordinal + 1)
        decision = decide(
            before, result, self._contender.options, now=now, book=BOOK, new_id=next_id
        )
        after = decision.incident
        if after is None or after is before:
            return
        self._incident = after
        is_new = before is None or before.id != after.id
        if is_new:
            self._ordinal += 1
        was = State.RESOLVED if is_new or before is None else before.state
        is_renewed = decision.reason is Reason.RENEWED
        if after.state is not was or is_new or is_renewed:
            self._note(at, "INACTIVE" if is_new else was.value, decision.reason)
        if is_renewed:
            # The claim before it is over: what it announced is judged by itself.
            self.episodes[-1] = replace(self.episodes[-1], ends_at=now)
        has_begun = after.state.is_open and (is_new or not was.is_open or is_renewed)
        if has_begun:
            self.episodes.append(Episode(self._subject, now, None, None, after.severity))
        is_posted = after.told_at == now
        if is_posted:
            self.posts += 1
        if not self.episodes:
            return
        episode = self.episodes[-1]
        if is_posted and after.told_state is State.FIRING and episode.seen_at is None:
            episode = replace(episode, seen_at=now)
        if after.state.is_open:
            episode = replace(episode, severity=max(episode.severity, after.severity))
        elif after.state.is_ended and episode.ends_at is None:
            episode = replace(episode, ends_at=now)
        self.episodes[-1] = episode

    def _note(self, at: int, before: str, reason: Reason) -> None:
        if self._incident is None:
            return
        self.timeline.append(
            TimelineRow(
                at=self._grid.moment(at),
                incident=self._incident.id,
                transition=f"{before} → {self._incident.state.value}",
                reason=reason.value,
                headline=self._incident.reading.headline,
                rule=self._contender.name,
                subject=self._subject,
            )
        )

    def _reading(self, at: int, limits: Sequence[Limit]) -> Reading:
        asked, grid = self._asked, self._grid
        probability = float(self._contender.chances[self._row, at])
        verdict = judge_rising(probability, limits)
        finding = (
            f"{chance_words(probability)} chance of a rise of {percent(asked.rise)} within "
            f"{asked.horizon} periods (now {number(float(grid.values[self._row, at]))})"
        )
        return Reading(
            rule=self._contender.name,
            rule_version=self._contender.version,
            type="price_spike",
            route="buyers",
            subject=self._subject,
            subject_title=self._subject,
            fingerprint=self._fingerprint,
            input_id=f"{self._subject} {grid.starts[at].isoformat()}",
            value=probability,
            unit="chance",
            limit=verdict.limit.enter,
            severity=verdict.severity,
            is_clear=verdict.is_clear,
            headline=fitted(self._subject, finding),
            data_through=grid.starts[at],
            holds=verdict.holds,
            ends_on=self._claim_ends_on(at),
            probability=probability,
        )

    def _claim_ends_on(self, at: int) -> date | None:
        """The day before the last one of the horizon: at the end of that period its prices are known."""
        until = at + self._contender.renew_periods
        if until == at or until >= len(self._grid.ends):
            return None
        return self._grid.ends[until] - timedelta(days=1)


# --- scores -------------------------------------------------------------------------------


def _quality(grid: Grid, run: Run, chances: Floats) -> Quality:
    known = ~np.isnan(chances) & ~np.isnan(grid.outcomes)
    given, came = chances[known], grid.outcomes[known]
    return score_episodes(
        grid.events,
        run.episodes,
        horizon=grid.reach,
        known_through=grid.ends[-1],
        months=grid.months,
        posts=run.posts,
        brier=brier(given, came) if given.size else None,
        brier_skill=_skill_by_series(grid, chances),
        auc=auc(given, came) if given.size else None,
    )


def _skill_by_series(grid: Grid, chances: Floats) -> float | None:
    """Part of the Brier score saved against each series' own base rate, which nobody knew beforehand.

    The panel's common base rate is beaten by whoever knows which series move much, even where nothing of
    their order can be known; this one is not. None when no series has both outcomes.
    """
    loss = climate = 0.0
    for row in range(len(grid.series)):
        known = ~np.isnan(chances[row]) & ~np.isnan(grid.outcomes[row])
        if known.any():
            came = grid.outcomes[row][known]
            loss += float(((chances[row][known] - came) ** 2).sum())
            climate += float(((came.mean() - came) ** 2).sum())
    return 1 - loss / climate if climate > 0 else None


def _skill_pooled(grid: Grid, chances: Floats) -> float | None:
    """Part of the Brier score saved against the base rate of the whole panel."""
    known = ~np.isnan(chances) & ~np.isnan(grid.outcomes)
    skill = brier_skill(chances[known], grid.outcomes[known]) if known.any() else math.nan
    return None if math.isnan(skill) else round(skill, 4)


def auc_by_series(grid: Grid, chances: Floats) -> float | None:
    """The AUC within one series, as the mean of all series that had both outcomes; None if none had.

    Pooled, a rule that only knows which series move much ranks theirs above the others': 0.7 is reached
    with no idea of when. Within one series only the moment counts.
    """
    found = []
    for row in range(len(grid.series)):
        known = ~np.isnan(chances[row]) & ~np.isnan(grid.outcomes[row])
        came = grid.outcomes[row][known]
        if came.any() and not came.all():
            found.append(auc(chances[row][known], came))
    return round(float(np.mean(found)), 4) if found else None
