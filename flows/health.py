"""Whether the service can be believed: are rules judged, do messages arrive; its daily word, and what is in the way."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from alerts import heartbeat
from alerts.heartbeat import Vitals, heartbeat_input, heartbeat_message, heartbeat_reading
from alerts.incident import Incident
from alerts.ledger import EntryKind, NewEntry
from alerts.routing import Route
from alerts.rules import FOR_OPERATORS, RuleOptions, SilentPipeline
from alerts.wording import day, readable, shortened
from flows.known import SERVICE_BOOKS, last_judged
from flows.service import LIVE_BOOK, Moment, Service
from flows.storage.backlog import Backlog, Owed

LATE_AFTER = timedelta(minutes=15)
"""How long a message may wait that no mute keeps: two deliveries, and one that came late."""

JUDGED_WITHIN = timedelta(hours=26)
"""How long rules may stay unjudged where no rule on it says otherwise: a day, and two hours."""

_STATES = ("dead", "unknown", "waiting")
_REASON_LIMIT = 300
_GONE = "its message can't be edited any more; the next word is a message of its own"
_MOVED = "its route leads to another channel now"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Messages of one channel that did not arrive, for one kind of cause."""

    channel: str
    state: str  # "dead" | "unknown" | "waiting"
    count: int
    since: datetime  # of the oldest
    reason: str  # the commonest; empty where nobody has tried

    @property
    def sentence(self) -> str:
        """What is wrong, since when, and what mends it, in one plain sentence."""
        is_one = self.count == 1
        messages, them = ("1 message", "it") if is_one else (f"{self.count:,} messages", "them")
        since, why = _instant(self.since), f": {self.reason}" if self.reason else ""
        match self.state:
            case "dead":
                return (
                    f"{self.channel}: {messages} can't be delivered, since {since}{why}; "
                    "mend it, then `lodestone alerts redrive`"
                )
            case "unknown":
                return (
                    f"{self.channel}: not known whether {messages} arrived, since {since}{why}; "
                    f"each delivery looks for {them} again"
                )
            case _:
                untried = f": not tried yet; `lodestone alerts deliver` sends {them}"
                wait = "waits" if is_one else "wait"
                return f"{self.channel}: {messages} {wait} since {since}{why or untried}"


def troubles(
    owed: Sequence[Owed], now: datetime, *, unclear_after: timedelta = timedelta(0)
) -> tuple[Trouble, ...]:
    """What somebody has to look at, by channel: given up, unclear for longer than that, or late."""
    limits = {"dead": timedelta(0), "unknown": unclear_after, "waiting": LATE_AFTER}
    late = [one for one in owed if now - one.message.since >= limits[one.message.state]]
    late.sort(key=_place)
    found = []
    for (channel, place), some in groupby(late, key=_place):
        messages = [one.message for one in some]
        reasons = Counter(one.reason for one in messages if one.reason)
        # Of those that are as common the first in the alphabet, on every machine.
        common = min(reasons, key=lambda reason: (-reasons[reason], reason), default="")
        found.append(
            Trouble(
                channel=channel,
                state=_STATES[place],
                count=len(messages),
                since=min(one.since for one in messages),
                reason=shortened(readable(common).rstrip("."), _REASON_LIMIT),
            )
        )
    return tuple(found)


def _place(one: Owed) -> tuple[str, int]:
    return one.channel, _STATES.index(one.message.state)


@dataclass(frozen=True, slots=True)
class Outbox:
    """What a book of messages still owes its channels, and what is in the way."""

    pending: int
    unknown: int
    dead: int
    oldest_unsent_seconds: (
        float  # since the oldest text that is not given up was due; 0: there is none
    )
    troubles: tuple[Trouble, ...]
    token_problem: str = ""  # why nothing can be sent anywhere

    @property
    def problems(self) -> tuple[str, ...]:
        """One plain sentence each. A refused token explains what waits."""
        if not self.token_problem:
            return tuple(one.sentence for one in self.troubles)
        others = (one.sentence for one in self.troubles if one.state != "waiting")
        return (f"nothing can be sent: {self.token_problem}", *others)


def outbox(
    service: Service, book: str, now: datetime, *, unclear_after: timedelta = timedelta(0)
) -> Outbox:
    """The outbox of a book by the wall clock, that of the live book with the heartbeat's.

    Without a Slack token whatever waits does so as it should: nothing is in the way.
    """
    backlog = Backlog(service.database)
    owed = backlog.owed(SERVICE_BOOKS if book == LIVE_BOOK else (book,), now)
    counts = Counter(one.message.state for one in owed)
    unsent = [one.message.since for one in owed if one.message.state != "dead"]
    has_channel = service.sender is not None
    return Outbox(
        pending=counts["waiting"],
        unknown=counts["unknown"],
        dead=counts["dead"],
        oldest_unsent_seconds=max(0.0, (now - min(unsent, default=now)).total_seconds()),
        troubles=troubles(owed, now, unclear_after=unclear_after) if has_channel else (),
        token_problem=backlog.token_refusal() if has_channel else "",
    )


@dataclass(frozen=True, slots=True)
class Health:
    """Whether rules are judged and messages arrive, for whoever watches from outside."""

    at: datetime
    last_evaluation_at: datetime | None
    last_delivery_at: datetime | None
    oldest_unsent_seconds: float
    pending: int
    unknown: int
    dead: int
    is_late: bool  # rules were not judged, or messages not sent, for too long
    problems: tuple[str, ...]  # one plain sentence each

    @property
    def is_well(self) -> bool:
        return not self.dead and not self.is_late

    @property
    def why(self) -> str:
        """One sentence: what is wrong, or on what it rests that nothing is."""
        if self.problems:
            return "; ".join(self.problems)
        return (
            f"rules were judged on {_instant(self.last_evaluation_at)}, and no message is overdue"
        )

    def as_dict(self) -> dict[str, Any]:
        """A plain dictionary that JSON can hold: instants in ISO 8601, null for what never was."""
        return {
            "is_well": self.is_well,
            "why": self.why,
            "at": self.at.isoformat(),
            "last_evaluation_at": _iso(self.last_evaluation_at),
            "last_delivery_at": _iso(self.last_delivery_at),
            "oldest_unsent_seconds": round(self.oldest_unsent_seconds, 1),
            "pending": self.pending,
            "unknown": self.unknown,
            "dead": self.dead,
            "is_late": self.is_late,
            "problems": list(self.problems),
        }


def health(service: Service, at: datetime) -> Health:
    """How the live service stands at an instant; asks the database only, never Slack.

    Late is: rules not judged for as long as the strictest `silent_pipeline` rule allows (26 hours without
    one), or never; a message that no mute keeps waiting or unclear for 15 minutes; a refused token; no
    word of the heartbeat for 25 hours. A service without a Slack token can't be late to deliver.
    """
    left = outbox(service, LIVE_BOOK, at, unclear_after=LATE_AFTER)
    judged = last_judged(service, Moment(at, LIVE_BOOK, live=False))
    judged_at = None if judged is None else judged.known_at
    slow = [*_judging_problems(service, judged_at, at), *_beat_problems(service, at)]
    is_overdue = any(one.state != "dead" for one in left.troubles)
    return Health(
        at=at,
        last_evaluation_at=judged_at,
        last_delivery_at=Backlog(service.database).last_sent_at(),
        oldest_unsent_seconds=left.oldest_unsent_seconds,
        pending=left.pending,
        unknown=left.unknown,
        dead=left.dead,
        is_late=bool(slow or is_overdue or left.token_problem),
        problems=(*slow, *left.problems),
    )


def _judging_problems(service: Service, judged_at: datetime | None, at: datetime) -> list[str]:
    if judged_at is None:
        return ["no rule has been judged yet: `lodestone run` does, or the flow pulse"]
    limits = [
        timedelta(hours=rule.hours)
        for rule in service.ruleset.rules
        if isinstance(rule, SilentPipeline)
    ]
    limit = min(limits, default=JUDGED_WITHIN)
    if at - judged_at < limit:
        return []
    hours = f"{limit // timedelta(hours=1)} hours"
    return [
        f"rules were last judged on {_instant(judged_at)}, longer than {hours} ago: "
        "look at the runs of the flow pulse"
    ]


def _beat_problems(service: Service, at: datetime) -> list[str]:
    if not _beats(service):
        return []
    last = _standing_word(service)
    if last is None or last.reading_at is None:
        return []
    due = heartbeat.next_word_by(last.reading_at)
    if at <= due:
        return []
    return [
        f"the daily word that the service is alive was due on {_instant(due)}: "
        "does the flow deliver-alerts run?"
    ]


# --- the daily word -----------------------------------------------------------------


def beat(service: Service, at: Moment) -> None:
    """Once a UTC day, write into the outbox that the service is alive: posted first, then edited.

    When its message can't be edited any more, or its route leads elsewhere, the next one is posted anew.
    """
    if at.book != LIVE_BOOK or not _beats(service):
        return
    route = _route(service)
    channel = service.settings.slack_channel or route.channel
    ledger = service.ledger
    last = _standing_word(service)
    if last is not None:
        if why := _why_it_ends(service, last.id, channel):
            Backlog(service.database).set_aside(last.id, why)
            # Quietly: nobody has to hear that a message of no news ended.
            ledger.withdraw(last.id, now=at.known_at, compose=lambda _decision: ())
        elif last.reading.input_id == heartbeat_input(at.known_at.astimezone(UTC).date()):
            return
    vitals = _vitals(service, at)
    message = heartbeat_message(vitals).as_dict()
    entry = NewEntry(EntryKind.ROOT, route.name, channel, message)
    ledger.record(
        heartbeat.BOOK,
        heartbeat_reading(route.name, vitals),
        _OPTIONS,
        now=at.known_at,
        compose=lambda decision: (entry,) if decision.says else (),
    )


_OPTIONS = RuleOptions(route=FOR_OPERATORS.route, cooldown=timedelta(0))


def _beats(service: Service) -> bool:
    return service.sender is not None and service.settings.slack_heartbeat


def _route(service: Service) -> Route:
    """That of operators; where nobody defined one, the first there is."""
    routes = service.ruleset.routes
    return routes.get(FOR_OPERATORS.route) or next(iter(routes.values()))


def _standing_word(service: Service) -> Incident | None:
    """The incident behind the message that is edited; None before the first."""
    return next(iter(service.ledger.open_incidents(heartbeat.BOOK)), None)


def _why_it_ends(service: Service, incident: str, channel: str) -> str:
    """Why the message of an incident can't be edited into the next word; empty: it can."""
    standing = Backlog(service.database).standing(incident)
    if standing.is_edit_dead:
        return _GONE
    return _MOVED if standing.channel not in ("", channel) else ""


def _vitals(service: Service, at: Moment) -> Vitals:
    left = outbox(service, at.book, at.known_at)
    judged = last_judged(service, at)
    return Vitals(
        at=at.known_at,
        judged_at=None if judged is None else judged.known_at,
        delivered_at=Backlog(service.database).last_sent_at(),
        waiting=left.pending,
        unknown=left.unknown,
        dead=left.dead,
        open_incidents=len(service.ledger.open_incidents(at.book)),
    )


def _iso(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat()


def _instant(when: datetime | None) -> str:
    if when is None:
        return "no day yet"
    at = when.astimezone(UTC)
    return f"{day(at)}, {at:%H:%M} UTC"
