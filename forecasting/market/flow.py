"""Licensed exports as a share of normal, by grade: regimes and freezes, what was observed, how a gap closes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from forecasting.market.definitions import LicenceFreeze, LicenceRegime
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
MEASURED_QUEUE = 0.5
"""Share of exports that waited for a licence when the delay of the others was measured (May 2025)."""
TRANSIT_MONTHS = 1
"""Exports of a month arrive in the next (sea freight and clearance, about four weeks)."""
DAYS_PER_MONTH = 365.25 / 12


@dataclass(frozen=True, slots=True)
class FlowDraws:
    """The random part of an origin's flow, drawn once and shared by all scenarios; months are rows."""

    half_life_months: Floats  # (paths,) time in which half of a gap closes
    noise: Floats  # (months, paths) standard normal
    control: Floats  # (months, paths) uniform 0-1: a new control begins where below its probability
    control_probability: Floats  # (paths,)
    control_flow: Floats  # (paths,) what a new control leaves, share of normal
    free_delay: Floats  # (paths,) share of the licensed grades' delay that free ones take on
    monthly_noise: Floats  # (paths,) deviation of undisturbed log changes from month to month


@dataclass(frozen=True, eq=False, slots=True)
class RegimeDraws:
    """A regime with its factors drawn, one value a path."""

    regime: LicenceRegime
    covers: Floats  # share of the origin's exports that need a licence
    granted: Floats  # chance that an application is granted
    lead_months: Floats  # time in which half of the applications are answered
    resumes: npt.NDArray[np.bool_]  # whether it comes back after a suspension

    @property
    def delay_months(self) -> Floats:
        """Time in which half of the shipments have their licence: a refused one is filed again."""
        return self.lead_months / self.granted


@dataclass(frozen=True, eq=False, slots=True)
class Gap:
    """What one span of a regime keeps back of the grades it covers."""

    begins: float  # months from the grid's first day
    lacking: Floats  # (months, paths) share, 0 to 1


@dataclass(frozen=True, eq=False, slots=True)
class LicensedGroup:
    """A share of an origin's exports under one regime."""

    covers: Floats  # (paths,)
    gaps: tuple[Gap, ...]
    delay_months: Floats  # (paths,) half of the shipments have their licence by then
    is_frozen: bool  # whether a freeze of licences concerns it


@dataclass(frozen=True, slots=True)
class GradeFlow:
    """What an origin lets out of each month's normal exports, share 0 to 1, shape (months, paths)."""

    controlled: Floats
    free: Floats
    mixed: Floats

    def of(self, grades: str) -> Floats:
        """The flow of "controlled", "free" or "mixed" grades."""
        return {"controlled": self.controlled, "free": self.free, "mixed": self.mixed}[grades]


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


def withheld(
    grid: Sequence[date], spans: Sequence[tuple[float, float]], delay_months: Floats
) -> Floats:
    """Share of the licensed shipments that each month lacks, shape (months, paths), 0 to 1.

    In a span (start, end in months from the grid's first day) every shipment needs a licence; those of
    u months after the start have it with the chance 1 − 2^(−u / delay). So a licence costs months: the
    share that is missing halves with every `delay_months`. A month's share is the mean over its days.
    """
    edges = np.arange(len(grid) + 1, dtype=np.float64)
    lacking = np.zeros((len(grid), len(delay_months)))
    decay = -np.log(2) / delay_months
    for start, end in spans:
        since = np.clip(edges, start, end) - start
        first, last = _span(since)
        if first >= last:
            continue
        # The integral of 2^(−u / delay) between the edges of each month.
        left = np.exp(since[first : last + 1, None] * decay[None, :])
        lacking[first:last] += (left[1:] - left[:-1]) / decay
    return np.clip(lacking, 0.0, 1.0, out=lacking)


def _span(since: Floats) -> tuple[int, int]:
    """The first and the last edge between which time passes."""
    moving = np.flatnonzero(np.diff(since) > 0)
    return (int(moving[0]), int(moving[-1]) + 1) if len(moving) else (0, 0)


def licensed_groups(
    regimes: Sequence[RegimeDraws], grid: Sequence[date], known_at: date
) -> tuple[LicensedGroup, ...]:
    """The shares of an origin's exports that its regimes cover, with what each keeps back of its own."""
    if not regimes:
        return ()
    frozen = frozen_grades([one.regime for one in regimes], known_at)
    groups = []
    for one in regimes:
        certain, uncertain = one.regime.spans(known_at)
        gaps = [_gap(span, grid, one.delay_months) for span in certain]
        if one.resumes.any():
            back = [_gap(span, grid, one.delay_months) for span in uncertain]
            gaps += [Gap(gap.begins, gap.lacking * one.resumes) for gap in back]
        groups.append(
            LicensedGroup(one.covers, tuple(gaps), one.delay_months, one.regime.regime in frozen)
        )
    return tuple(groups)


def frozen_grades(regimes: Sequence[LicenceRegime], known_at: date) -> tuple[str, ...]:
    """The regimes whose grades a freeze of licences concerns, by name, as known at a day.

    Those whose grades need a licence then; before any regime holds, the earliest one.
    """
    holding = [one.regime for one in regimes if _holds(one, known_at)]
    earliest = [min(regimes, key=lambda one: one.starts_on).regime] if regimes else []
    return tuple(holding or earliest)


def _holds(regime: LicenceRegime, known_at: date) -> bool:
    """Whether a regime is in force, for certain, at the day."""
    return any(start <= known_at < end for start, end in regime.spans(known_at)[0])


def _gap(span: tuple[date, date], grid: Sequence[date], delay_months: Floats) -> Gap:
    start, end = (_offset(grid[0], day) for day in span)
    return Gap(start, withheld(grid, [(start, end)], delay_months))


def _offset(origin: date, day: date) -> float:
    """Months from the first of a month to a day; never, for the last day there is."""
    if day == date.max:
        return float("inf")
    return months_between(origin, day) + (day.day - 1) / DAYS_PER_MONTH


def freeze_gap(
    freezes: Sequence[tuple[LicenceFreeze, Floats]], first: int, months: int, delay_months: Floats
) -> Floats:
    """What freezes keep back of the covered grades, shape (months, paths); `first` is the first projected month.

    While one holds all but `left` is missing; afterwards the applications are answered one by one.
    """
    lacking = np.zeros((months, len(delay_months)))
    for freeze, left in freezes:
        start = first + freeze.starts_after_months
        stop = start + freeze.lasts_months
        lacking[start:stop] = np.maximum(lacking[start:stop], 1 - left)
        after = np.arange(max(0, months - stop), dtype=np.float64)
        tail = np.exp2(-(after[:, None] + 0.5) / delay_months[None, :]) * (1 - left)
        lacking[stop:] = np.maximum(lacking[stop:], tail)
    return lacking


def grade_flow(
    ratios: Mapping[date, float],
    grid: Sequence[date],
    draws: FlowDraws,
    groups: Sequence[LicensedGroup],
    *,
    freezes: Sequence[tuple[LicenceFreeze, Floats]] = (),
    first: int = 0,
) -> GradeFlow:
    """Exports on `grid` as a share of normal by grade; `groups` are its `licensed_groups`, `ratios` what was seen.

    A known month is met exactly: where less came out than the regimes explain, every grade had less, and
    the missing part closes with the path's half-life; where more came out, licences are quicker than
    thought, and stay so in the spans that had begun by then. After the last known month the noise of
    customs clearance fades as quickly as a gap, and new controls arrive at their base rate. `freezes`
    overlay a scenario from the row `first` on. Without any group a freeze concerns all grades: nothing
    says which ones would need a licence.
    """
    shape = (len(grid), len(draws.half_life_months))
    if freezes and not groups:
        groups = [LicensedGroup(np.ones(shape[1]), (), draws.half_life_months, is_frozen=True)]
    last_known = max((month for month in ratios if month <= grid[-1]), default=None)
    seen_until = months_between(grid[0], last_known) + 1 if last_known is not None else 0
    plain = [_lacking(group, shape) for group in groups]
    unfrozen = _held_back(groups, plain, draws.free_delay, shape).mixed
    decay = 0.5 ** (1 / draws.half_life_months)
    disturbance = np.zeros(shape)  # log share of what the regimes let out
    speed = np.ones(shape)  # of the gaps that had begun when it was last seen, what is still there
    missing = np.zeros(shape[1])
    slowness = np.ones(shape[1])
    noise = np.zeros(shape[1])
    for row, month in enumerate(grid):
        if month in ratios:
            expected = 1 - unfrozen[row]
            seen = max(ratios[month], LEAST)
            missing = np.minimum(0.0, np.log(seen / expected))
            with np.errstate(divide="ignore", invalid="ignore"):
                slowness = np.where(
                    seen > expected, np.clip((1 - seen) / (1 - expected), 0, 1), 1.0
                )
            disturbance[row], speed[row] = missing, slowness
            continue
        missing = missing * decay
        if last_known is None or month > last_known:
            noise = noise * decay + draws.monthly_noise * draws.noise[row]
            hit = draws.control[row] < draws.control_probability
            missing = np.where(hit, np.minimum(missing, np.log(draws.control_flow)), missing)
        disturbance[row] = np.minimum(0.0, missing) + np.minimum(0.0, noise)
        speed[row] = slowness
    own = []
    for group in groups:
        lacking = _lacking(group, shape, speed, seen_until)
        if group.is_frozen and freezes:
            frozen = freeze_gap(freezes, first, shape[0], group.delay_months)
            lacking = np.maximum(lacking, frozen)
        own.append(lacking)
    through = np.exp(disturbance)
    held = _held_back(groups, own, draws.free_delay, shape)
    return GradeFlow(*(through * (1 - one) for one in (held.controlled, held.free, held.mixed)))


def _lacking(
    group: LicensedGroup, shape: tuple[int, int], speed: Floats | None = None, seen_until: int = 0
) -> Floats:
    """What a group lacks of its own; `speed` counts for gaps that had begun before the row `seen_until`."""
    lacking = np.zeros(shape)
    for gap in group.gaps:
        if speed is not None and gap.begins < seen_until:
            lacking += gap.lacking * speed
        else:
            lacking += gap.lacking
    return np.minimum(lacking, 1.0, out=lacking)


def _held_back(
    groups: Sequence[LicensedGroup],
    own: Sequence[Floats],
    free_delay: Floats,
    shape: tuple[int, int],
) -> GradeFlow:
    """What licences keep back of each kind of grades, share 0 to 1; `own` is what each group lacks.

    Controlled grades lack what the strictest regime keeps back. Grades that need no licence, or none at
    the time, wait at the same counter: they lack their part of that when half of all exports wait for a
    licence, as when the part was measured, and less the shorter the queue is. Regimes that together
    cover more than there is keep back no more than the strictest one of all.
    """
    controlled = np.maximum.reduce(own) if own else np.zeros(shape)
    queue = np.zeros(shape)
    for group, lacking in zip(groups, own, strict=True):
        queue += group.covers * lacking
    free = free_delay * np.minimum(controlled, queue / MEASURED_QUEUE)
    mixed = free.copy()
    for group, lacking in zip(groups, own, strict=True):
        mixed += group.covers * np.maximum(0.0, lacking - free)
    return GradeFlow(controlled, free, np.minimum(mixed, controlled))
