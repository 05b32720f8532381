"""What a replay's ledger says: its transitions in order, what was posted, and how good each rule's alerts were."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import select

from alerts.ledger import EntryKind, OutboxEntry
from alerts.lifecycle import State
from alerts.messages import Message
from alerts.rules import PriceSpike, Reading, Rule, Severity, VolumeDrop
from alerts.rules.words import month_end, month_of, months_after
from alerts.scoring import (
    DAYS_PER_MONTH,
    Episode,
    Event,
    Quality,
    price_events,
    runs_of,
    score_episodes,
)
from alerts.terminal import render_terminal
from flows.known import observed
from flows.replay.result import ReplayMessage, ReplayResult, TimelineRow
from flows.replay.scratch import BOOK, end_of
from flows.service import LIVE_BOOK, Moment, Service
from flows.storage.tables import evaluation, incident, transition
from forecasting.metrics import auc, brier, brier_skill
from forecasting.results import ObservedSeries, Situation

NO_TRUTH = "none is published"
"""Said of rules on what nobody ever publishes, such as a market's shortfall."""

DROP_DAYS = 62
"""How many days after its end a fallen month may be told: customs publish about 20 days after a month."""

BEGINNING = "INACTIVE"
"""The state before the first one."""

POSTS = (EntryKind.ROOT, EntryKind.REPLY)
"""What counts as a post: edits call nobody."""


@dataclass(frozen=True, slots=True)
class Step:
    """One transition, with the incident that it belongs to."""

    at: datetime
    incident: str
    rule: str
    subject: str
    reason: str
    before: str  # a State's value; empty for the first one
    state: State
    severity: Severity
    headline: str


@dataclass(frozen=True, slots=True)
class Stated:
    """A chance that a rule stated about a subject, once for each input that it judged."""

    rule: str
    subject: str
    data_through: date  # first day of the newest period that it knew
    probability: float  # 0–1


def result_of(
    service: Service,
    truth: Service,
    *,
    first: date,
    last: date,
    left_out: Mapping[str, str],
) -> ReplayResult:
    """The timeline up to the end of `last`, and each rule's quality against the figures as known now.

    `service` is the replay's own; `truth` is the user's, whose figures have the last word on what came.
    """
    steps = read_steps(service, last)
    entries = read_posts(service, last)
    episodes = episodes_of(steps, entries)
    posts = Counter(one.rule for one in entries)
    stated = read_stated(service, last)
    rules: dict[str, Quality] = {}
    without_truth: dict[str, str] = {}
    for rule in service.ruleset.rules:
        scored = Scored(
            rule,
            tuple(one for name, one in episodes if name == rule.name),
            tuple(one for one in stated if one.rule == rule.name),
            posts[rule.name],
            first,
            last,
        )
        if isinstance(rule, PriceSpike):
            rules[rule.name] = price_quality(rule, scored, finals_of(truth, rule.series))
        elif isinstance(rule, VolumeDrop):
            rules[rule.name] = drop_quality(rule, scored, finals_of(truth, rule.series))
        else:
            rules[rule.name] = scored.against((), horizon=timedelta(0), known_through=date.min)
            without_truth[rule.name] = NO_TRUTH
    return ReplayResult(
        rules=rules,
        timeline=tuple(
            TimelineRow(
                one.at,
                one.incident,
                f"{one.before or BEGINNING} → {one.state.value}",
                one.reason,
                one.headline,
                one.rule,
                one.subject,
            )
            for one in steps
        ),
        messages=tuple(
            ReplayMessage(one.at, one.incident, one.rule, one.kind, render_terminal(one.message))
            for one in entries
        ),
        without_truth=without_truth,
        left_out=dict(left_out),
        extra={"posts_per_month": posts_per_month(entries, first, last)},
    )


def posts_per_month(entries: Iterable["Post"], first: date, last: date) -> dict[str, int]:
    """Posts in each calendar month of the replay, none too: {"2025-05": 3, …}."""
    counts = Counter(f"{one.at:%Y-%m}" for one in entries)
    found = {}
    month = first.replace(day=1)
    while month <= last:
        found[f"{month:%Y-%m}"] = counts[f"{month:%Y-%m}"]
        month = months_after(month, 1)
    return found


# --- reading the ledger --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Post:
    """A message that would have been posted, and when."""

    at: datetime
    incident: str
    rule: str
    kind: str  # "root" | "reply"
    message: Message


def read_steps(service: Service, last: date) -> tuple[Step, ...]:
    """Transitions up to the end of `last`, oldest first, in the order in which they were written."""
    query = (
        select(transition, incident.c.rule, incident.c.subject)
        .join(incident)
        .where(incident.c.book == BOOK, transition.c.at <= end_of(last))
        .order_by(transition.c.at, transition.c.id)
    )
    with service.database.reading() as connection:
        return tuple(
            Step(
                row.at,
                row.incident_id,
                row.rule,
                row.subject,
                row.reason,
                row.state_before,
                State(row.state),
                Severity(row.severity),
                str(json.loads(row.payload)["headline"]),
            )
            for row in connection.execute(query)
        )


def read_posts(service: Service, last: date) -> tuple[Post, ...]:
    """What would have been posted up to the end of `last`, oldest first."""
    rules = {one.id: one.rule for one in service.ledger.incidents(BOOK)}
    return tuple(
        Post(
            entry.created_at,
            entry.incident_id,
            rules[entry.incident_id],
            entry.kind.value,
            Message.from_dict(entry.message),
        )
        for entry in _entries(service, last)
    )


def _entries(service: Service, last: date) -> tuple[OutboxEntry, ...]:
    until = end_of(last)
    return tuple(
        one for one in service.ledger.entries(BOOK) if one.kind in POSTS and one.created_at <= until
    )


def read_stated(service: Service, last: date) -> tuple[Stated, ...]:
    """Every chance that rules stated up to the end of `last`."""
    query = (
        select(evaluation.c.payload)
        .where(evaluation.c.book == BOOK, evaluation.c.at <= end_of(last))
        .order_by(evaluation.c.id)
    )
    with service.database.reading() as connection:
        payloads: list[dict[str, Any]] = [
            json.loads(text) for text in connection.scalars(query) if '"probability"' in text
        ]
    return tuple(
        Stated(
            one["rule"],
            one["subject"],
            date.fromisoformat(one["data_through"]),
            one["probability"],
        )
        for one in payloads
        if one.get("probability") is not None and one.get("data_through")
    )


def episodes_of(steps: Sequence[Step], posts: Sequence[Post]) -> tuple[tuple[str, Episode], ...]:
    """Each stretch in which an incident stood open, with its rule: from its first crossing to its end.

    It is seen from its first post on. An end that is posted is no sight of it: only of its end.
    """
    posted: defaultdict[str, list[datetime]] = defaultdict(list)
    for post in posts:
        posted[post.incident].append(post.at)
    by_incident: defaultdict[str, list[Step]] = defaultdict(list)
    for step in steps:
        by_incident[step.incident].append(step)
    found: list[tuple[str, Episode]] = []
    for key, own in by_incident.items():
        crossed_at: datetime | None = None  # of a crossing that has not opened it yet
        opened: Episode | None = None
        fired_at = own[0].at
        for step in own:
            if opened is None and step.state is State.PENDING:
                crossed_at = crossed_at or step.at
            elif opened is None and step.state.is_open:
                fired_at = step.at
                opened = Episode(step.subject, crossed_at or step.at, None, None, step.severity)
                crossed_at = None
            elif opened is not None:
                severity = max(opened.severity, step.severity)
                opened = replace(opened, severity=severity)
                if step.state.is_ended:
                    ended = replace(opened, ends_at=step.at)
                    found.append((step.rule, _seen(ended, fired_at, posted[key])))
                    opened = None
            elif step.state.is_ended:
                crossed_at = None
        if opened is not None:
            found.append((own[-1].rule, _seen(opened, fired_at, posted[key])))
    return tuple(sorted(found, key=lambda one: one[1].begins_at))


def _seen(episode: Episode, fired_at: datetime, posts: Iterable[datetime]) -> Episode:
    within = (
        at for at in posts if at >= fired_at and (episode.ends_at is None or at < episode.ends_at)
    )
    return replace(episode, seen_at=min(within, default=None))


# --- scoring -------------------------------------------------------------------------


@dataclass(frozen=True)
class Scored:
    """What there is to score of one rule."""

    rule: Rule
    episodes: tuple[Episode, ...]
    stated: tuple[Stated, ...]
    posts: int
    first: date
    last: date

    @property
    def months(self) -> float:
        """Time replayed, in mean months."""
        return ((self.last - self.first).days + 1) / DAYS_PER_MONTH

    def against(
        self,
        events: Iterable[Event],
        *,
        horizon: timedelta,
        known_through: date,
        chances: tuple[float, float, float] | None = None,
    ) -> Quality:
        """Its episodes against events; `chances` are Brier score, Brier skill and AUC of what it stated.

        An event that began before the first day could not be announced: it counts neither as hit nor as
        miss, and what was first seen while it lasted is left out. One that begins after the last day counts
        only when it was announced.
        """
        found = list(events)
        before = [one for one in found if one.starts_on < self.first]
        episodes = [one for one in self.episodes if not any(_is_in(one, old) for old in before)]
        counted = [
            one
            for one in found
            if self.first <= one.starts_on
            and (one.starts_on <= self.last or _is_announced(one, episodes, horizon))
        ]
        brier, skill, area = chances or (None, None, None)
        return score_episodes(
            counted,
            episodes,
            horizon=horizon,
            known_through=known_through,
            months=self.months,
            posts=self.posts,
            brier=brier,
            brier_skill=skill,
            auc=area,
        )


def _is_in(episode: Episode, event: Event) -> bool:
    seen = episode.seen_at
    return (
        seen is not None
        and episode.subject == event.subject
        and event.starts_on <= seen.date() <= event.ends_on
    )


def _is_announced(event: Event, episodes: Iterable[Episode], horizon: timedelta) -> bool:
    return any(
        one.subject == event.subject
        and one.seen_at is not None
        and one.seen_at < event.starts_at
        and event.starts_on <= (one.seen_at + horizon).date()
        for one in episodes
    )


Finals = Mapping[str, ObservedSeries]
"""Series by name, with their figures as known now."""


def finals_of(truth: Service, names: Iterable[str]) -> Finals:
    """Series as known now."""
    at = Moment(truth.clock(), LIVE_BOOK, live=False)
    return {name: observed(truth, name, at) for name in names}


def price_quality(rule: PriceSpike, scored: Scored, finals: Finals) -> Quality:
    """Alerts on a price against the rises that came, by the figures as known now.

    An event is a month whose price stands the rule's rise above the lowest of the `since_months +
    horizon_months` months before it, and lasts while that holds (`alerts.scoring.price_events`); it starts on
    the first day of that month. Limits of a rule with a `quantile` are rises: there the lowest counts. An episode is a hit when it was seen before an event and at most the rule's
    horizon before. The stated chances are scored against whether the price stood above the level that the
    rule spoke of in any of the `horizon_months` after its newest price; a chance whose months are not all
    known counts only when the price has passed the level already.
    """
    window = rule.since_months + rule.horizon_months
    rise = counted_rise(rule)
    events: list[Event] = []
    through: list[date] = []
    for name, series in finals.items():
        points = [(point.period, point.value) for point in series.points]
        if series.frequency == "month" and points:
            events += price_events(points, rise=rise, window=window, subject=name)
            through.append(month_end(points[-1][0]))
    return scored.against(
        events,
        horizon=timedelta(days=rule.horizon_months * DAYS_PER_MONTH),
        # Of several series the one that is known least far.
        known_through=min(through, default=date.min),
        chances=chance_scores(
            [
                (one.probability, came)
                for one in scored.stated
                if (came := has_risen(rule, one, finals.get(one.subject))) is not None
            ]
        ),
    )


def counted_rise(rule: PriceSpike) -> float:
    """The rise that counts as an event, 0.25 = 25 %."""
    return rule.rise if rule.quantile is None else min(limit.enter for limit in rule.limits)


def has_risen(rule: PriceSpike, stated: Stated, series: ObservedSeries | None) -> bool | None:
    """Whether the price passed the level that a chance was stated of; None while that is not known.

    The level is counted from the figures as known now: what was known then differs by revisions only.
    """
    if series is None or not series.points:
        return None
    prices = {month_of(point.period): point.value for point in series.points}
    cutoff = month_of(stated.data_through)
    base = prices.get(months_after(cutoff, -rule.since_months))
    if base is None or base <= 0:
        return None
    level = base * (1 + rule.rise)
    ahead = [months_after(cutoff, count) for count in range(1, rule.horizon_months + 1)]
    known = [prices[month] for month in ahead if month in prices]
    if any(price > level for price in known):
        return True
    is_over = ahead[-1] <= max(prices)
    return False if is_over and known else None


def chance_scores(stated: Sequence[tuple[float, bool]]) -> tuple[float, float, float] | None:
    """Brier score, Brier skill against the base rate in hindsight, and AUC; None without any chance."""
    if not stated:
        return None
    given = np.asarray([chance for chance, _ in stated], dtype=np.float64)
    came = np.asarray([float(outcome) for _, outcome in stated], dtype=np.float64)
    return float(brier(given, came)), float(brier_skill(given, came)), float(auc(given, came))


def drop_quality(rule: VolumeDrop, scored: Scored, finals: Finals) -> Quality:
    """Alerts on a volume against the months that fell, by the figures as known now.

    An event is a run of months that the rule itself, with the figures as known now, finds below its limit.
    It can't be told before it is over: a hit is an episode first seen within DROP_DAYS after the end of the
    run's first month. The lead is therefore negative: days after that end.
    """
    delay = timedelta(days=DROP_DAYS)
    events: list[Event] = []
    older: list[Event] = []
    through: list[date] = []
    for name, series in finals.items():
        if series.frequency != "month" or not series.points:
            continue
        points = [(point.period, point.value) for point in series.points]
        known_on = {point.period: point.known_at.date() for point in series.points}
        for run in runs_of(points, fallen_months(rule, series), subject=name):
            # Scored as if it began when it has to be told at the latest: DROP_DAYS after the month.
            ended = month_end(run.starts_on) + timedelta(days=1)
            event = Event(name, ended + delay, max(run.ends_on, ended) + delay)
            if known_on[run.starts_on] >= scored.first:
                events.append(event)
            else:  # the replay began too late to tell it
                older.append(replace(event, starts_on=date.min))
        through.append(month_end(points[-1][0]) + delay)
    quality = scored.against(
        [*older, *events], horizon=delay, known_through=min(through, default=date.min)
    )
    lead = quality.median_lead_days
    return replace(quality, median_lead_days=None if lead is None else lead - DROP_DAYS)


def fallen_months(rule: VolumeDrop, series: ObservedSeries) -> list[bool]:
    """Whether the rule finds each period below a limit when it is the newest one known."""
    own = replace(rule, series=(series.series,))
    found = []
    for count in range(1, len(series.points) + 1):
        known = replace(series, points=series.points[:count])
        at = end_of(month_end(known.points[-1].period))
        (result,) = own.evaluate(Situation(at, observed={series.series: known}))
        found.append(isinstance(result, Reading) and result.severity is not None)
    return found
