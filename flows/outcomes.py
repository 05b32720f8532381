"""What became of alerts: their episodes from the ledger, events from the figures, and the score of each."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta

from alerts.incident import Reason, State
from alerts.ledger import EntryKind
from alerts.rules import PriceSpike, Reading, Rule, VolumeDrop
from alerts.rules.words import month_end
from alerts.scoring import (
    DAYS_PER_MONTH,
    Episode,
    Event,
    Verdict,
    price_events,
    runs_of,
    score_incident,
)
from flows.known import observed
from flows.service import LIVE_BOOK, Moment, Service
from flows.storage.ledger import IncidentScore, LifeStep
from forecasting.results import ObservedSeries, Situation

DROP_DAYS = 62
"""How many days after its end a fallen month may be told: customs publish about 20 days after a month."""

POSTS = (EntryKind.ROOT, EntryKind.REPLY)
"""What counts as a post. Edits call nobody."""

SCORED_BACK = timedelta(days=500)
"""Incidents that ended longer ago are not looked at again: their truth came, or never will."""

Finals = Mapping[str, ObservedSeries]
"""Series by name, with their figures as known now."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What a rule warned of and what came, as far as it is known.

    An episode is a hit when it was first seen before an event and at most `horizon` before it.
    `delay_days` is how much later than it began an event is counted from, for what can only be told afterwards:
    it comes off the lead.
    """

    events: tuple[Event, ...]
    horizon: timedelta
    known_through: Mapping[str, date]  # by series: one that ended long ago holds up no other
    delay_days: int = 0
    # The day on which the figure of its first period was out, where an event can only be told from then on.
    known_on: Mapping[Event, date] = field(default_factory=dict)


def finals_of(truth: Service, names: Iterable[str]) -> Finals:
    """Series as known now."""
    at = Moment(truth.clock(), LIVE_BOOK, live=False)
    return {name: observed(truth, name, at) for name in names}


def truth_of(rule: Rule, finals: Finals) -> Truth | None:
    """What came of what a rule warns of, by the figures as known now; None where nobody publishes it."""
    match rule:
        case PriceSpike():
            return rises(rule, finals)
        case VolumeDrop():
            return falls(rule, finals)
        case _:
            return None


def rises(rule: PriceSpike, finals: Finals) -> Truth:
    """An event is a month whose price stands the rule's rise above the lowest of those before it.

    Those before are `since_months + horizon_months` months (`alerts.scoring.price_events`); it starts on the
    first day of its first month.
    """
    window = rule.since_months + rule.horizon_months
    events: list[Event] = []
    through: dict[str, date] = {}
    for name, series in finals.items():
        points = [(point.period, point.value) for point in series.points]
        if series.frequency == "month" and points:
            events += price_events(points, rise=counted_rise(rule), window=window, subject=name)
            through[name] = month_end(points[-1][0])
    return Truth(tuple(events), timedelta(days=rule.horizon_months * DAYS_PER_MONTH), through)


def counted_rise(rule: PriceSpike) -> float:
    """The rise that counts as an event, 0.25 = 25 %: limits of a rule with a `quantile` are rises."""
    return rule.rise if rule.quantile is None else min(limit.enter for limit in rule.limits)


def falls(rule: VolumeDrop, finals: Finals) -> Truth:
    """An event is a run of months that the rule itself, with the figures as known now, finds below its limit.

    It can't be told before it is over: it is counted from DROP_DAYS after the end of the run's first month,
    by when it has to be told.
    """
    delay = timedelta(days=DROP_DAYS)
    events: list[Event] = []
    known_on: dict[Event, date] = {}
    through: dict[str, date] = {}
    for name, series in finals.items():
        if series.frequency != "month" or not series.points:
            continue
        points = [(point.period, point.value) for point in series.points]
        out_on = {point.period: point.known_at.date() for point in series.points}
        for run in runs_of(points, fallen_months(rule, series), subject=name):
            ended = month_end(run.starts_on) + timedelta(days=1)
            event = Event(name, ended + delay, max(run.ends_on, ended) + delay)
            events.append(event)
            known_on[event] = out_on[run.starts_on]
        through[name] = month_end(points[-1][0]) + delay
    return Truth(tuple(events), delay, through, DROP_DAYS, known_on)


def fallen_months(rule: VolumeDrop, series: ObservedSeries) -> list[bool]:
    """Whether the rule finds each period below a limit when it is the newest one known."""
    own = replace(rule, series=(series.series,))
    found = []
    for count in range(1, len(series.points) + 1):
        known = replace(series, points=series.points[:count])
        at = datetime.combine(month_end(known.points[-1].period), time(23, 59, 59), UTC)
        (result,) = own.evaluate(Situation(at, observed={series.series: known}))
        found.append(isinstance(result, Reading) and result.severity is not None)
    return found


# --- episodes ------------------------------------------------------------------------


def episodes_of(
    steps: Sequence[LifeStep], posted: Mapping[str, Sequence[datetime]]
) -> tuple[tuple[str, str, Episode], ...]:
    """Each stretch that an incident fired for, with its rule and incident; `posted` are its posts.

    From its first crossing to its end, or to the day on which it was said anew. It is seen from its first post
    on. An end that is posted is no sight of it: only of its end.
    """
    by_incident: defaultdict[str, list[LifeStep]] = defaultdict(list)
    for step in steps:
        by_incident[step.incident].append(step)
    found = []
    for key, own in by_incident.items():
        for episode in _stretches(own, posted.get(key, ())):
            found.append((own[-1].rule, key, episode))
    return tuple(sorted(found, key=lambda one: one[2].begins_at))


def _stretches(own: Sequence[LifeStep], posts: Sequence[datetime]) -> list[Episode]:
    """The episodes of one incident, oldest first."""
    found: list[Episode] = []
    crossed_at: datetime | None = None  # of a crossing that has not opened it yet
    opened: Episode | None = None
    fired_at = own[0].at
    for step in own:
        is_anew = step.reason == Reason.RENEWED.value
        if opened is None and step.state is State.PENDING:
            crossed_at = crossed_at or step.at
        elif opened is None and step.state.is_open:
            fired_at = step.at
            opened = Episode(step.subject, crossed_at or step.at, None, None, step.severity)
            crossed_at = None
        elif opened is not None and (step.state.is_ended or is_anew):
            found.append(_seen(replace(opened, ends_at=step.at), fired_at, posts))
            opened = None
            if is_anew:
                fired_at = step.at
                opened = Episode(step.subject, step.at, None, None, step.severity)
        elif opened is not None:
            opened = replace(opened, severity=max(opened.severity, step.severity))
        elif step.state.is_ended:
            crossed_at = None
    if opened is not None:
        found.append(_seen(opened, fired_at, posts))
    return found


def _seen(episode: Episode, fired_at: datetime, posts: Iterable[datetime]) -> Episode:
    within = (
        at for at in posts if at >= fired_at and (episode.ends_at is None or at < episode.ends_at)
    )
    return replace(episode, seen_at=min(within, default=None))


# --- the scores of the live book -------------------------------------------------------


def score_closed(service: Service, at: Moment) -> int:
    """Keep what became of each closed episode as soon as that is known; returns how many are new.

    What can't be known yet is looked at again next time; of what nobody publishes that is kept, once.
    """
    rules = {rule.name: rule for rule in service.ruleset.rules}
    since = at.known_at - SCORED_BACK
    done = {(one.incident_id, one.episode) for one in service.ledger.scores(at.book)}
    steps = service.ledger.life(at.book, since=since)
    posted = service.ledger.posted(at.book, POSTS, since=since)
    truths: dict[str, Truth | None] = {}
    counts: defaultdict[str, int] = defaultdict(int)
    new = 0
    for name, key, episode in episodes_of(steps, posted):
        counts[key] += 1
        rule = rules.get(name)
        if rule is None or episode.ends_at is None or (key, counts[key]) in done:
            continue
        if name not in truths:
            truths[name] = truth_of(rule, finals_of(service, getattr(rule, "series", ())))
        truth = truths[name]
        if (score := _score(truth, episode, key, counts[key], at)) is not None:
            service.ledger.keep_score(score)
            new += 1
    return new


def _score(
    truth: Truth | None, episode: Episode, key: str, number: int, at: Moment
) -> IncidentScore | None:
    """What became of one episode; None while that is not known."""
    verdict = score_incident(
        episode,
        None if truth is None else truth.events,
        horizon=timedelta(0) if truth is None else truth.horizon,
        known_through=None if truth is None else truth.known_through.get(episode.subject),
    )
    if verdict is Verdict.UNKNOWN_YET:
        return None
    lead = None
    if verdict is Verdict.HIT and truth is not None and episode.seen_at is not None:
        seen = episode.seen_at
        own = [one for one in truth.events if one.subject == episode.subject]
        starts = min(one.starts_at for one in own if one.starts_at > seen)
        lead = (starts - seen) / timedelta(days=1) - truth.delay_days
    return IncidentScore(key, number, verdict.value, lead, at.known_at, _WHY[verdict])


_WHY: Mapping[Verdict, str] = {
    Verdict.HIT: "What it warned of came, within the time that it spoke of.",
    Verdict.LATE: "What it warned of had begun before it was posted.",
    Verdict.FALSE: "The time that it spoke of passed without what it warned of.",
    Verdict.NO_TRUTH: "Nobody publishes what it warned of.",
    Verdict.NOT_SEEN: "It was never posted.",
    Verdict.UNKNOWN_YET: "What it warned of may still come.",
}
