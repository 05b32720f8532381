"""What the outbox still owes its channels, and when it last delivered, for rules and for whoever watches the service."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update

from alerts.delivery import TOKEN_PAUSE
from alerts.ledger import EVERYTHING, EntryKind, OutboxState
from alerts.messages import DRILL
from flows.storage.database import Database
from flows.storage.tables import incident, outbox, outbox_pause, storable
from forecasting.results import UnsentMessage

_UNSETTLED = (
    OutboxState.PENDING.value,
    OutboxState.SENDING.value,
    OutboxState.UNKNOWN.value,
    OutboxState.DEAD.value,
)
_MOVABLE = (OutboxState.PENDING.value, OutboxState.DEAD.value)
_LOOKED_THROUGH = (
    500  # newest rows in which the last delivery is looked for: all would be years of them
)


@dataclass(frozen=True, slots=True)
class Owed:
    """One text that its channel doesn't have; `type` is that of the rule that it speaks for."""

    channel: str
    type: str
    message: UnsentMessage


@dataclass(frozen=True, slots=True)
class Refusal:
    """When Slack refused the token, until when nobody asks again, and what to do."""

    at: datetime
    until: datetime
    reason: str


class Backlog:
    """Reads what did not arrive; only `set_aside` writes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def owed(self, books: Collection[str], now: datetime) -> tuple[Owed, ...]:
        """Texts of these books that their channels don't have, in the order in which they were written.

        Without what a mute window keeps, and what has to come after that. Pictures don't count: the text
        stands.
        """
        found = outbox.c
        columns = (
            found.incident_id,
            found.thread_of,
            found.kind,
            found.channel,
            found.state,
            found.attempts,
            found.created_at,
            found.not_before,
            found.started_at,
            found.unknown_at,
            found.error,
            incident.c.type,
        )
        query = (
            select(*columns)
            .join(incident, incident.c.id == found.incident_id)
            .where(
                found.book.in_(books),
                found.state.in_(_UNSETTLED),
                found.kind != EntryKind.CHART.value,
            )
            .order_by(found.id)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        muted = {row.incident_id for row in rows if row.kind == EntryKind.ROOT and _mutes(row, now)}
        owed = []
        for row in rows:
            # Whatever belongs to a message that waits for the morning waits with it.
            follows = set() if EntryKind(row.kind).is_elsewhere else {row.incident_id}
            if _mutes(row, now) or muted & (follows | {row.thread_of}):
                continue
            owed.append(Owed(row.channel, row.type, _unsent(row)))
        return tuple(owed)

    def last_sent_at(self) -> datetime | None:
        """When the newest texts were delivered, whatever their book; None: none of them was."""
        newest = (
            select(outbox.c.sent_at)
            # Not by state: its index would have every row of years sorted first.
            .where(outbox.c.kind != EntryKind.CHART.value, outbox.c.sent_at.is_not(None))
            .order_by(outbox.c.id.desc())
            .limit(_LOOKED_THROUGH)
            .subquery()
        )
        with self._database.reading() as connection:
            found: datetime | None = connection.scalar(select(func.max(newest.c.sent_at)))
        return found

    def drills(self) -> int:
        """How many drills their channels don't have: waiting, unclear or given up."""
        mine = (outbox.c.book.like(f"{DRILL} %"), outbox.c.state.in_(_UNSETTLED))
        with self._database.reading() as connection:
            return connection.scalar(select(func.count()).where(*mine)) or 0

    def token_refusal(self) -> Refusal | None:
        """The last time that Slack refused the token, if it took it for nothing since."""
        given_up = select(func.max(outbox.c.not_before)).where(
            outbox.c.state == OutboxState.DEAD.value, outbox.c.kind != EntryKind.CHART.value
        )
        with self._database.reading() as connection:
            mine = outbox_pause.c.scope == EVERYTHING
            row = connection.execute(select(outbox_pause).where(mine)).first()
            # What is wrong with a message, Slack says only to a token that it takes.
            dead_at = connection.scalar(given_up)
        if row is None:
            return None
        refused_at = row.until - TOKEN_PAUSE
        heard = (self.last_sent_at(), dead_at)
        is_taken = any(at is not None and at > refused_at for at in heard)
        return None if is_taken else Refusal(refused_at, row.until, row.reason)

    def stands_in(self, incident_id: str) -> str:
        """The channel in which the message of an incident stands; empty: in none yet."""
        query = select(outbox.c.channel).where(
            outbox.c.incident_id == incident_id,
            outbox.c.kind == EntryKind.ROOT.value,
            outbox.c.state == OutboxState.SENT.value,
        )
        with self._database.reading() as connection:
            return connection.scalar(query) or ""

    def set_aside(self, incident_id: str, why: str) -> int:
        """Never send what waits or was given up of an incident; `why` is kept with it. Returns how many."""
        mine = (outbox.c.incident_id == incident_id, outbox.c.state.in_(_MOVABLE))
        values = {"state": OutboxState.SKIPPED.value, "error": storable(why)}
        with self._database.writing("ledger") as connection:
            return connection.execute(update(outbox).where(*mine).values(**values)).rowcount


def _mutes(row: Row[Any], now: datetime) -> bool:
    """Whether a window keeps a row back, as `flows.storage.outbox.is_muted` says it in SQL."""
    is_untried = row.state == OutboxState.PENDING.value and row.attempts == 0
    return bool(is_untried and row.not_before > now)


def _unsent(row: Row[Any]) -> UnsentMessage:
    match row.state:
        case OutboxState.DEAD.value:
            # Since the first try: the newest words may have been given up a moment ago.
            state, since = "dead", row.started_at or row.not_before
        case OutboxState.UNKNOWN.value:
            state, since = "unknown", row.unknown_at or row.not_before
        case _:
            due = max(row.created_at, row.not_before if row.attempts == 0 else row.created_at)
            state, since = "waiting", row.started_at or due
    return UnsentMessage(
        state=state,
        since=since,
        written_at=row.created_at,
        reason=row.error,
        is_tried=row.started_at is not None,
    )
