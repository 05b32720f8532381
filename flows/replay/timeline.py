"""What a replay's ledger says: its transitions in order, what was posted, and how good each rule's alerts were."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np

from alerts.ledger import OutboxEntry
from alerts.messages import Message
from alerts.rules import PriceSpike, Rule, VolumeDrop
from alerts.rules.words import month_of, months_after
from alerts.scoring import (
    DAYS_PER_MONTH,
    Episode,
    Event,
    KnownThrough,
    Quality,
    score_episodes,
)
from alerts.terminal import render_terminal
from flows.outcomes import POSTS, Finals, episodes_of, falls, finals_of, rises
from flows.replay.result import ReplayMessage, ReplayResult, TimelineRow
from flows.replay.scratch import BOOK, end_of
from flows.service import Service
from flows.storage.ledger import LifeStep
from flows.storage.unjudged import Unjudged, read_unjudged
from forecasting.metrics import auc, brier
from forecasting.results import ObservedSeries

NO_TRUTH = "nobody publishes it"
"""Said of rules on what nobody ever publishes, such as a market's shortfall."""

A_FACT = "a fact: it is not right or wrong"
"""Said of rules that tell what has happened, and foretell nothing."""

FACTS = frozenset({"policy_event", "price_level", "premium", "stale_source"})
"""Kinds of rules that tell facts."""

BEGINNING = "INACTIVE"
"""The state before the first one."""


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
    episodes = episodes_of(steps, posted_of(entries))
    posts = Counter(one.rule for one in entries)
    stated = read_stated(service, last)
    rules: dict[str, Quality] = {}
    without_truth: dict[str, str] = {}
    for rule in service.ruleset.rules:
        scored = Scored(
            rule,
            tuple(one for name, _, one in episodes if name == rule.name),
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
            without_truth[rule.name] = A_FACT if rule.type in FACTS else NO_TRUTH
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
        extra={
            "posts_per_month": posts_per_month(entries, first, last),
            "not_judged": not_judged(read_unjudged(service.database, BOOK, end_of(last))),
        },
    )


def not_judged(spells: Iterable[Unjudged]) -> dict[str, dict[str, object]]:
    """Rules that could not be judged for some of the time: their newest spell each, and how many there were.

    `judged_by` is the day by which the subject was judged again, None while nothing says so. One that lasts
    goes before one that is over.
    """
    by_rule: defaultdict[str, list[Unjudged]] = defaultdict(list)
    for one in spells:
        by_rule[one.rule].append(one)
    found: dict[str, dict[str, object]] = {}
    for rule, of_rule in sorted(by_rule.items()):
        newest = max(of_rule, key=lambda one: (one.judged_by is None, one.since))
        found[rule] = {
            "since": newest.since.date().isoformat(),
            "judged_by": None if newest.judged_by is None else newest.judged_by.date().isoformat(),
            "subject": newest.subject,
            "why": newest.why,
            "spells": len(of_rule),
        }
    return found


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


def read_steps(service: Service, last: date) -> tuple[LifeStep, ...]:
    """Transitions up to the end of `last`, oldest first, in the order in which they were written."""
    return service.ledger.life(BOOK, until=end_of(last))


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


def posted_of(posts: Iterable[Post]) -> dict[str, list[datetime]]:
    """When each incident was posted."""
    found: defaultdict[str, list[datetime]] = defaultdict(list)
    for post in posts:
        found[post.incident].append(post.at)
    return found


def read_stated(service: Service, last: date) -> tuple[Stated, ...]:
    """Every chance that rules stated up to the end of `last`."""
    return tuple(
        Stated(
            one["rule"],
            one["subject"],
            date.fromisoformat(one["data_through"]),
            one["probability"],
        )
        for one in service.ledger.stated(BOOK, until=end_of(last))
        if one.get("data_through")
    )


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
        known_through: KnownThrough,
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


def price_quality(rule: PriceSpike, scored: Scored, finals: Finals) -> Quality:
    """Alerts on a price against the rises that came (`flows.outcomes.rises`), by the figures as known now.

    The stated chances are scored against whether the price stood above the level that the rule spoke of in
    any of the `horizon_months` after its newest price; a chance whose months are not all known counts only
    when the price has passed the level already.
    """
    truth = rises(rule, finals)
    return scored.against(
        truth.events,
        horizon=truth.horizon,
        known_through=truth.known_through,
        chances=chance_scores(
            [
                (one.subject, one.probability, came)
                for one in scored.stated
                if (came := has_risen(rule, one, finals.get(one.subject))) is not None
            ]
        ),
    )


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


def chance_scores(stated: Sequence[tuple[str, float, bool]]) -> tuple[float, float, float] | None:
    """Brier score, its skill against each series' own base rate in hindsight, and AUC; None without any chance.

    `stated` are series, chance and outcome. Against one base rate for all, knowing that one series moves
    more than another would look like skill.
    """
    if not stated:
        return None
    given = np.asarray([chance for _, chance, _ in stated], dtype=np.float64)
    came = np.asarray([float(outcome) for _, _, outcome in stated], dtype=np.float64)
    names = np.asarray([series for series, _, _ in stated])
    rates = np.zeros_like(came)
    for name in np.unique(names):
        rates[names == name] = came[names == name].mean()
    score, yardstick = brier(given, came), brier(rates, came)
    skill = 1 - score / yardstick if yardstick > 0 else float("nan")
    return float(score), float(skill), float(auc(given, came))


def drop_quality(rule: VolumeDrop, scored: Scored, finals: Finals) -> Quality:
    """Alerts on a volume against the months that fell (`flows.outcomes.falls`), by the figures as known now.

    A hit is an episode first seen within DROP_DAYS after the end of the run's first month. The lead is
    negative: days after that end.
    """
    truth = falls(rule, finals)
    events = [
        # Where the replay began too late to tell it, it lasts from the beginning.
        one if truth.known_on[one] >= scored.first else replace(one, starts_on=date.min)
        for one in truth.events
    ]
    quality = scored.against(events, horizon=truth.horizon, known_through=truth.known_through)
    lead = quality.median_lead_days
    return replace(quality, median_lead_days=None if lead is None else lead - truth.delay_days)
