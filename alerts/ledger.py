"""The outbox as plain values and roles: what delivery needs to know, and nothing about tables."""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from alerts.incident import Decision, State
from alerts.rules import NotEvaluated, Reading, RuleOptions


class EntryKind(enum.StrEnum):
    """What an entry does to the channel."""

    ROOT = "root"  # the incident's own message
    EDIT = "edit"  # the root message as it should look now; only the newest counts
    REPLY = "reply"  # a line in the thread
    CHART = "chart"  # a picture in the thread; never in the way of text
    NOTICE = "notice"  # a message of its own in another channel, for whoever has to be called
    AMEND = "amend"  # the notice as it should look now; only the newest counts

    @property
    def stands_alone(self) -> bool:
        """Whether it is posted without a message of its incident standing before it."""
        return self in {EntryKind.ROOT, EntryKind.NOTICE}

    @property
    def is_elsewhere(self) -> bool:
        """Whether it concerns a message that stands in another channel than its incident's."""
        return self in {EntryKind.NOTICE, EntryKind.AMEND}

    @property
    def edits(self) -> bool:
        """Whether it changes a message that stands: made twice, it looks the same."""
        return self in {EntryKind.EDIT, EntryKind.AMEND}


class OutboxState(enum.StrEnum):
    """How far an entry has come."""

    PENDING = "PENDING"
    SENDING = "SENDING"  # leased: a request may be under way
    SENT = "SENT"
    UNKNOWN = "UNKNOWN"  # it may or may not be in the channel: looked for before it is sent again
    DEAD = "DEAD"  # an operator must act
    SKIPPED = "SKIPPED"  # it can't be shown, and nothing is lost by it; the row says why


@dataclass(frozen=True, slots=True)
class NewEntry:
    """Something to say, as `record` is given it; `message` is neutral and JSON can hold it.

    ROOT and EDIT mean the same here, "the root message should look like this": whether it has to be
    posted or edited is known only inside the transaction. So is whether there are notices that an AMEND
    has to change; it goes to where they stand.
    """

    kind: str  # an EntryKind
    route: str
    channel: str
    message: Mapping[str, Any]
    image: bytes | None = None
    alt_text: str = ""
    not_before: datetime | None = None  # a mute window that has to pass first


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rule says of one subject, with what the life of its incident needs to know of the rule."""

    result: Reading | NotEvaluated
    options: RuleOptions


Compose = Callable[[Decision], Sequence[NewEntry]]
"""What a decision has to say. Called inside the transaction: it must touch nothing."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where a message stands in Slack: channel id and ts, as far as Slack said them.

    Without an id it is the channel as the route says it. Without a ts (usual for charts) it stands
    there, but can't be edited and has no thread.
    """

    channel_id: str
    ts: str


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One row of the outbox, with what its sending needs to know of its neighbours."""

    id: int
    book: str
    incident_id: str
    kind: EntryKind
    route: str
    channel: str  # as the route says it: a name or an id
    delivery_key: str
    message: Mapping[str, Any]
    image: bytes | None
    alt_text: str
    state: OutboxState
    attempts: int
    looks: int
    is_repeat_possible: (
        bool  # sent again without proof that it was not there: done once, never twice
    )
    created_at: datetime
    not_before: datetime
    lease_until: datetime | None
    started_at: datetime | None
    unknown_at: datetime | None
    receipt: Receipt | None
    error: str
    root: Receipt | None  # the incident's root message, once it stands
    thread: Receipt | None  # the message in whose thread all of it stands; None: in its root's own
    root_key: str  # the root's delivery key: an edit carries it on
    channel_id: str | None  # learnt from an earlier receipt of the same channel
    place: str  # the channel it goes to, for its pace: where its thread or its root stands, by the route's word
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class OutboxSummary:
    """What has not arrived yet. Charts that were given up are counted apart: the text stands."""

    pending: int
    sending: int
    unknown: int
    dead: int
    dead_charts: int
    oldest_unsent_seconds: float  # age of the oldest text not yet shown, 0 when there is none
    next_due_at: (
        datetime | None
    )  # when something can be done again; None: nothing, or an operator must act
    problems: tuple[str, ...]  # one plain sentence each, for the operator
    # When a message that was sent twice for want of an answer is looked at for the first time.
    first_sweep_at: datetime | None = None
    sweep_due_at: datetime | None = None  # and when the next look at any of them is due
    waits: tuple[str, ...] = ()  # what Slack asked to wait for, one sentence a channel
    is_paused: bool = False  # nothing at all is sent for the moment: the token was refused


AT_ANY_PACE = timedelta(0)
"""No time between two posts."""


class Ledger(Protocol):
    """What delivery asks of the ledger; each call is one committed transaction."""

    def expire(
        self, book: str | None, now: datetime, *, sweep_at: datetime | None = None
    ) -> int: ...
    def claim(
        self,
        book: str | None,
        now: datetime,
        lease: timedelta,
        pace: timedelta = AT_ANY_PACE,
    ) -> OutboxEntry | None: ...
    def mark_sent(
        self,
        entry: OutboxEntry,
        receipt: Receipt,
        *,
        now: datetime,
        pace: timedelta = AT_ANY_PACE,
        sweep_at: datetime | None = None,
    ) -> bool: ...
    def post_anew(self, entry: OutboxEntry, why: str, *, now: datetime) -> None: ...
    def mark_unknown(
        self, entry: OutboxEntry, error: str, *, now: datetime, look_at: datetime
    ) -> None: ...
    def mark_dead(self, entry: OutboxEntry, error: str, *, now: datetime) -> None: ...
    def mark_skipped(self, entry: OutboxEntry, why: str, *, now: datetime) -> None: ...
    def release(
        self,
        entry: OutboxEntry,
        *,
        not_before: datetime,
        error: str = "",
        is_repeat_possible: bool = False,
        sweep_at: datetime | None = None,
    ) -> None: ...
    def sweepable(self, book: str | None, now: datetime) -> tuple[OutboxEntry, ...]: ...
    def swept(self, entry: OutboxEntry, *, now: datetime, next_at: datetime | None) -> None: ...
    def look_again(
        self, entry: OutboxEntry, *, at: datetime, error: str = "", was_conclusive: bool
    ) -> None: ...
    def reconcilable(self, book: str | None, now: datetime) -> tuple[OutboxEntry, ...]: ...
    def pause(self, scope: str, until: datetime, reason: str) -> None: ...
    def summary(self, book: str | None, now: datetime) -> OutboxSummary: ...


EVERYTHING = "*"
"""Pause scope of the whole workspace."""

UPLOADS = "uploads"
"""Pause scope of charts: their limits are not those of messages."""

LOOKS = "looks"
"""Pause scope of looking into channels: reading has limits of its own."""

EDITS = "edits"
"""Pace scope of edits: they have a limit of their own, for all channels together."""

WORKSPACE_SHARE = 5
"""How many channels may each have their full pace before the workspace's own limit is reached."""


_TOLD_LATE = "Told late: it began as"


def told_at_once(waiting: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    """The newer text in the place of one that nobody has seen, and how it began.

    So an incident that began and ended before its message could be sent is told as one that says both.
    Whoever the waiting text calls by name is still called, unless there is nothing left to act on.
    """
    if _is_open(newer) and waiting.get("mention") and not newer.get("mention"):
        newer = {**newer, "mention": waiting["mention"]}
    lead = str(waiting.get("lead", ""))
    if _TOLD_LATE in lead:
        began = lead[lead.index(_TOLD_LATE) :]
    elif _stand(waiting) != _stand(newer):
        severity = str(waiting.get("severity", "")).lower()
        began = f"{_TOLD_LATE} {severity}, \u201c{waiting.get('headline', '')}\u201d."
    else:
        return dict(newer)  # the same news with newer numbers
    return {**newer, "lead": f"{newer.get('lead', '')} {began}".strip()}


def repeat_marked(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message, saying that it may stand in the channel twice."""
    mark = "Possible repeat: an earlier attempt got no clear answer."
    return {**message, "lead": f"{message.get('lead', '')} {mark}".strip()}


def told_anew(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message, saying that it takes the place of one that no edit reaches."""
    mark = "Posted anew: the earlier message was deleted, or can't be edited any more."
    return {**message, "lead": f"{message.get('lead', '')} {mark}".strip()}


def _is_open(message: Mapping[str, Any]) -> bool:
    """Whether a message, from whatever version, speaks of something that stands."""
    return message.get("state") in {state.value for state in State if state.is_open}


def _stand(message: Mapping[str, Any]) -> tuple[object, object]:
    return message.get("state"), message.get("severity")
