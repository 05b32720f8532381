"""Whether the service can be believed: are rules judged, do messages arrive; its daily word, and what is in the way."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from alerts import heartbeat
from alerts.heartbeat import Vitals, heartbeat_input, heartbeat_message, heartbeat_reading
from alerts.incident import Decision, Incident
from alerts.ledger import EntryKind, NewEntry
from alerts.routing import Route
from alerts.rules import FOR_OPERATORS, RuleOptions, SilentPipeline
from alerts.wording import instant, readable, shortened
from flows.known import SERVICE_BOOKS, last_judged
from flows.service import LIVE_BOOK, Moment, Service
from flows.storage.backlog import Backlog, Owed, Refusal

LATE_AFTER = timedelta(minutes=15)
"""How long a message may wait that no mute keeps: two deliveries, and one that came late."""

JUDGED_WITHIN = timedelta(hours=26)
"""How long rules may stay unjudged where no rule on it says otherwise: a day, and two hours."""

DELIVERY_MARGIN_SECONDS = 30.0
"""How much longer a delivery waits than an unclear answer may still turn up: then it is looked for, and sent again."""

_STATES = ("dead", "unknown", "waiting")
_REASON_LIMIT = 300
_NOT_HERE = "LODESTONE_SLACK_TOKEN is not set here"
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
        since, why = instant(self.since), f": {self.reason}" if self.reason else ""
        match self.state:
            case "dead":
                return (
                    f"{self.channel}: {messages} given up, since {since}{why}; "
                    "mend it, then `lodestone alerts redrive`"
                )
            case "unknown":
                return (
                    f"{self.channel}: unclear whether {messages} arrived, since {since}{why}; "
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
    drills: int = 0  # beside all these, and no trouble: what is left of drills

    @property
    def counts(self) -> dict[str, int]:
        """What is left, in the words of a reader."""
        return {
            "waiting": self.pending,
            "unclear": self.unknown,
            "given up": self.dead,
            "drills left": self.drills,
        }

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

    Without a Slack token, here and so far anywhere, what was never tried waits as it should: nothing is in
    the way. Where something was delivered before, the token is missed here.
    """
    backlog = Backlog(service.database)
    owed = backlog.owed(SERVICE_BOOKS if book == LIVE_BOOK else (book,), now)
    counts = Counter(one.message.state for one in owed)
    unsent = [one.message.since for one in owed if one.message.state != "dead"]
    seen: Sequence[Owed] = owed
    if service.sender is None:
        was_used = backlog.last_sent_at() is not None
        seen = [_without_token(one) for one in owed if was_used or one.message.is_tried]
    return Outbox(
        pending=counts["waiting"],
        unknown=counts["unknown"],
        dead=counts["dead"],
        oldest_unsent_seconds=max(0.0, (now - min(unsent, default=now)).total_seconds()),
        troubles=troubles(seen, now, unclear_after=unclear_after),
        token_problem=_token_problem(backlog.token_refusal(), owed, now),
        drills=backlog.drills() if book == LIVE_BOOK else 0,
    )


def _without_token(one: Owed) -> Owed:
    """As whoever has no token sees it: what nobody has tried yet can't be tried from here."""
    message = one.message
    return one if message.is_tried else replace(one, message=replace(message, reason=_NOT_HERE))


def _token_problem(refusal: Refusal | None, owed: Sequence[Owed], now: datetime) -> str:
    """Why nothing can be sent: for as long as nobody asks Slack again, and while what it kept waits still.

    A refusal that no delivery has met since is over: it may have been somebody's own token, tried in a shell.
    """
    if refusal is None:
        return ""
    keeps_something = any(
        one.message.state != "dead" and one.message.since <= refusal.at for one in owed
    )
    lasts = now < refusal.until or (keeps_something and now - refusal.at < LATE_AFTER)
    return refusal.reason if lasts else ""


def delivery_patience_seconds(service: Service) -> float:
    """How long the scheduled delivery waits without sending anything: until an unclear answer is clear."""
    return service.settings.slack_reconcile_seconds + DELIVERY_MARGIN_SECONDS


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
        return f"rules were judged on {_when(self.last_evaluation_at)}, and no message is overdue"

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
    word of the heartbeat for 25 hours. A service that never had a Slack token can't be late to deliver.
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
    hours = limit // timedelta(hours=1)
    span = "an hour" if hours == 1 else f"{hours} hours"
    return [
        f"rules were last judged on {instant(judged_at)}, longer than {span} ago: "
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
        f"the daily word that the service is alive was due on {instant(due)}: "
        "does the flow deliver-alerts run?"
    ]


# --- the daily word -----------------------------------------------------------------


def beat(service: Service, at: Moment) -> tuple[Decision, ...]:
    """Once a UTC day, write into the outbox that the service is alive: posted first, then edited.

    When its route leads elsewhere, the next one is posted anew. Empty on a day that has its word.
    """
    if at.book != LIVE_BOOK or not _beats(service):
        return ()
    route = _route(service)
    channel = service.settings.slack_channel or route.channel
    ledger = service.ledger
    last = _standing_word(service)
    if last is not None:
        if Backlog(service.database).stands_in(last.id) not in ("", channel):
            Backlog(service.database).set_aside(last.id, _MOVED)
            # Quietly: nobody has to hear that a message of no news ended.
            ledger.withdraw(last.id, now=at.known_at, compose=lambda _decision: ())
        elif last.reading.input_id == heartbeat_input(at.known_at.astimezone(UTC).date()):
            return ()
    vitals = _vitals(service, at)
    message = heartbeat_message(vitals).as_dict()
    entry = NewEntry(EntryKind.ROOT, route.name, channel, message)
    made = ledger.record(
        heartbeat.BOOK,
        heartbeat_reading(route.name, vitals),
        _OPTIONS,
        now=at.known_at,
        compose=lambda decision: (entry,) if decision.says else (),
    )
    return (made,)


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


def _when(at: datetime | None) -> str:
    return "no day yet" if at is None else instant(at)
