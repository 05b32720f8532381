"""How good alerts were: events, hits, false episodes and lead times, each with its definition."""

import enum
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from alerts.rules import Severity

DAYS_PER_MONTH = 30.4375  # a mean month of the Julian year; false alarms are counted against it
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Event:
    """What an alert should announce: it starts and ends with these days, both included."""

    subject: str
    starts_on: date
    ends_on: date

    @property
    def starts_at(self) -> datetime:
        """The first instant of it, UTC."""
        return datetime.combine(self.starts_on, time.min, UTC)


@dataclass(frozen=True, slots=True)
class Episode:
    """One stretch of an incident that fired; `seen_at` is its first visible post, None if nobody saw it.

    A message that was only edited is not a post: nobody is called to read it.
    """

    subject: str
    begins_at: datetime
    seen_at: datetime | None
    ends_at: datetime | None  # None: still open
    severity: Severity


class Verdict(enum.StrEnum):
    """What became of an episode."""

    HIT = "hit"  # seen before an event starts, and at most the horizon before
    LATE = "late"  # seen while an event lasts, and no other one followed within the horizon
    FALSE = "false"  # neither, and the horizon is over
    UNKNOWN_YET = "unknown yet"  # neither so far, and the horizon is not over
    NO_TRUTH = "no truth published"  # nobody publishes what it speaks of
    NOT_SEEN = "not seen"  # it was never posted: counts neither for nor against


Reach = Callable[[datetime], date]
"""From the moment an episode is seen to the last day on which an event may start that it announced."""

KnownThrough = date | Mapping[str, date]
"""The last day that the truth is known for: of all subjects, or of each by its name; of others nothing is."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a rule's alerts were. Shares and chances are 0–1; None where a figure is not defined."""

    events: int
    hits: int  # events that at least one seen episode announced
    misses: int  # events that none did
    episodes: int  # seen ones whose verdict is known: hit, late or false
    hit_episodes: int
    late_episodes: int
    false_episodes: int
    precision: float | None  # hit / (hit + false) episodes
    precision_interval: tuple[float, float] | None  # Clopper-Pearson, 95 %
    recall: float | None  # hits / events
    recall_interval: tuple[float, float] | None
    median_lead_days: float | None  # of hit events, from the first post that announced them
    false_per_month: float | None  # false episodes per calendar month, all subjects together
    posts: int  # root messages and thread replies
    brier: float | None = None  # of the stated chances
    brier_skill: float | None = None  # above 0: better than the base rate of the same outcomes
    auc: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The figures by name, as JSON can hold them; shares to four digits, days to one."""
        return {
            "events": self.events,
            "hits": self.hits,
            "misses": self.misses,
            "false_episodes": self.false_episodes,
            "precision": _rounded(self.precision),
            "recall": _rounded(self.recall),
            "recall_interval": _rounded_pair(self.recall_interval),
            "median_lead_days": _rounded(self.median_lead_days, 1),
            "false_per_month": _rounded(self.false_per_month),
            "brier_skill": _rounded(self.brier_skill),
            "auc": _rounded(self.auc),
            "posts": self.posts,
            "precision_interval": _rounded_pair(self.precision_interval),
            "late_episodes": self.late_episodes,
            "hit_episodes": self.hit_episodes,
            "episodes": self.episodes,
            "brier": _rounded(self.brier),
        }


def score_episodes(
    events: Collection[Event],
    episodes: Iterable[Episode],
    *,
    horizon: timedelta | Reach,
    known_through: KnownThrough,
    months: float,
    posts: int = 0,
    brier: float | None = None,
    brier_skill: float | None = None,
    auc: float | None = None,
) -> Quality:
    """The quality of all episodes of a rule against all events of its subjects.

    A hit is an episode first seen before an event of its subject starts and at most `horizon` before; it
    may announce several events, and an event that several announce counts once. Late: first seen while an
    event lasts. False: neither, once the truth is known for all of the horizon (`known_through` is the
    last day that it is known for, of each subject by itself where that differs). An episode that nobody
    saw counts nowhere, nor does one whose truth is not known yet. The lead of an event is the time from the first post that announced it to its start.
    `months` is the time replayed, not times subjects. The last three figures are passed through.
    """
    reach = _reach(horizon)
    by_subject: dict[str, list[Event]] = {}
    for event in events:
        by_subject.setdefault(event.subject, []).append(event)
    verdicts: dict[Verdict, int] = dict.fromkeys(Verdict, 0)
    first_seen: dict[Event, datetime] = {}
    for episode in episodes:
        of_subject = by_subject.get(episode.subject, [])
        through = known_through
        if isinstance(through, Mapping):
            through = through.get(episode.subject, date.min)
        verdicts[_verdict(episode, of_subject, reach, through)] += 1
        for event in _announced(episode, of_subject, reach):
            if episode.seen_at is not None:
                seen = first_seen.get(event, episode.seen_at)
                first_seen[event] = min(seen, episode.seen_at)
    hit, late, false = (verdicts[one] for one in (Verdict.HIT, Verdict.LATE, Verdict.FALSE))
    leads = [(event.starts_at - seen) / timedelta(days=1) for event, seen in first_seen.items()]
    total = len(events)
    return Quality(
        events=total,
        hits=len(first_seen),
        misses=total - len(first_seen),
        episodes=hit + late + false,
        hit_episodes=hit,
        late_episodes=late,
        false_episodes=false,
        precision=hit / (hit + false) if hit + false else None,
        precision_interval=clopper_pearson(hit, hit + false),
        recall=len(first_seen) / total if total else None,
        recall_interval=clopper_pearson(len(first_seen), total),
        median_lead_days=median(leads) if leads else None,
        false_per_month=false / months if months > 0 else None,
        posts=posts,
        brier=_known(brier),
        brier_skill=_known(brier_skill),
        auc=_known(auc),
    )


def score_incident(
    episode: Episode,
    events: Collection[Event] | None,
    *,
    horizon: timedelta | Reach,
    known_through: date | None,
) -> Verdict:
    """What became of one episode, as far as is known by `known_through` (None: nothing is known yet).

    `events` are those of any subjects, as known now; None when nobody publishes the truth of this rule.
    """
    if events is None:
        return Verdict.NO_TRUTH
    if known_through is None:
        return Verdict.UNKNOWN_YET if episode.seen_at is not None else Verdict.NOT_SEEN
    of_subject = [event for event in events if event.subject == episode.subject]
    return _verdict(episode, of_subject, _reach(horizon), known_through)


def _verdict(
    episode: Episode, events: Sequence[Event], reach: Reach, known_through: date
) -> Verdict:
    if episode.seen_at is None:
        return Verdict.NOT_SEEN
    if any(_announced(episode, events, reach)):
        return Verdict.HIT
    # Whether a later event makes a hit of it is open, whatever lasts now.
    if known_through < reach(episode.seen_at):
        return Verdict.UNKNOWN_YET
    on = episode.seen_at.date()
    if any(event.starts_on <= on <= event.ends_on for event in events):
        return Verdict.LATE
    return Verdict.FALSE


def _announced(episode: Episode, events: Iterable[Event], reach: Reach) -> list[Event]:
    seen = episode.seen_at
    if seen is None:
        return []
    until = reach(seen)
    return [event for event in events if seen < event.starts_at and event.starts_on <= until]


def _reach(horizon: timedelta | Reach) -> Reach:
    if isinstance(horizon, timedelta):
        ahead = horizon
        return lambda seen: (seen + ahead).date()
    return horizon


# --- events of a price ----------------------------------------------------------


def price_events(
    points: Sequence[tuple[date, float]], *, rise: float, window: int, subject: str = ""
) -> tuple[Event, ...]:
    """Rises of a price: stretches of periods at least `rise` (0.25 = 25 %) above the lowest of those before.

    `points` are (first day of the period, price above zero), oldest first. A period belongs to an event
    when its price is at least (1 + rise) times the lowest of the `window` periods before it (fewer where
    the series begins). An event starts on the first day of its first period, and ends with the last day of
    its last; two of them are at least one quiet period apart.
    """
    if window < 1 or rise <= 0:
        message = f"window {window} and rise {rise} given, at least 1 and above 0 needed"
        raise ValueError(message)
    # Rounding must not decide: 1.25 times a price of two decimals is not always a double.
    factor = (1 + rise) * (1 - 1e-12)
    values = [value for _, value in points]
    risen = [False] * len(values)
    for at in range(1, len(values)):
        lowest = min(values[max(0, at - window) : at])
        risen[at] = lowest > 0 and values[at] >= factor * lowest
    return runs_of(points, risen, subject=subject)


def runs_of(
    points: Sequence[tuple[date, float]], marked: Sequence[bool], *, subject: str
) -> tuple[Event, ...]:
    """Each unbroken stretch of marked periods as one event, up to the last day of its last period."""
    days = [day for day, _ in points]
    ends = [following - timedelta(days=1) for _, following in pairwise(days)]
    if len(days) > 1:
        # How long the newest period lasts is not known: as long as the one before.
        ends.append(days[-1] + (days[-1] - days[-2]) - timedelta(days=1))
    elif days:
        ends.append(days[0])
    found = []
    start: int | None = None
    for at, is_marked in enumerate([*marked, False]):
        if is_marked and start is None:
            start = at
        elif not is_marked and start is not None:
            found.append(Event(subject, days[start], ends[at - 1]))
            start = None
    return tuple(found)


# --- intervals --------------------------------------------------------------------


def clopper_pearson(successes: int, trials: int) -> tuple[float, float] | None:
    """The exact 95 % interval of a share (0–1); None without trials. Never narrower than it should be."""
    if not 0 <= successes <= trials:
        message = f"{successes} successes in {trials} trials: 0 to the number of trials needed"
        raise ValueError(message)
    if trials == 0:
        return None
    tail = (1 - _CONFIDENCE) / 2
    failures = trials - successes
    low = 0.0 if successes == 0 else _beta_quantile(tail, successes, failures + 1)
    high = 1.0 if failures == 0 else _beta_quantile(1 - tail, successes + 1, failures)
    return low, high


def _beta_quantile(level: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):  # halves the interval: 1e-18 is left
        middle = (low + high) / 2
        if _beta_share(middle, a, b) < level:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta_share(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function: the chance that a Beta(a, b) is below `x`."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    # The continued fraction converges fast only on this side of the mean.
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(1 - x, b, a)
    front = a * math.log(x) + b * math.log1p(-x)
    front += math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) - math.log(a)
    # Lentz's method; `tiny` keeps a denominator from being zero.
    tiny = 1e-300
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1), tiny)
    total = d
    for m in range(1, 10_000):
        for part in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _not_zero(1 + part * d, tiny)
            c = _not_zero(1 + part / c, tiny)
            total *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return math.exp(front) * total


def _not_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)


def _rounded_pair(pair: tuple[float, float] | None) -> list[float] | None:
    return None if pair is None else [round(end, 4) for end in pair]
