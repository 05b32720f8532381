"""What people asked for with a button: kept before Slack hears that it came, applied once, never forgotten."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from alerts.incident import Decision
from alerts.interactions import Press
from flows.errors import LodestoneError
from flows.storage.database import Database
from flows.storage.tables import interaction, storable


class AlreadySettledError(LodestoneError):
    """Somebody else has applied this press: nothing is done twice."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A press as it is kept, and what became of it."""

    press: Press  # without what is only good for an answer at once: thread and response address
    received_at: datetime
    done_at: datetime | None  # None: it still has to be applied
    outcome: str  # as the person was told; empty until it is done


@dataclass(frozen=True, slots=True)
class Settling:
    """Marks a press as done in the transaction that does what it asks for."""

    key: str
    outcome: Callable[[Decision], str]

    def settle(self, connection: Connection, decision: Decision, now: datetime) -> None:
        """Mark it. Raises AlreadySettledError, which takes all of the transaction back."""
        if not _mark(connection, self.key, self.outcome(decision), now):
            message = f"the press {self.key[:12]} was applied by another listener"
            raise AlreadySettledError(message)


class InteractionStore:
    """Presses in the database; every method is one committed transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, press: Press, now: datetime, refused: str = "") -> bool:
        """Keep a press before anybody is told that it came; False when it is kept already.

        One that is `refused`, in the words that the person is told, is done with that outcome at once.
        """
        try:
            # Without the ledger's own lock: on PostgreSQL a press waits for no judging. SQLite has one
            # writer at a time: there it does, so nothing slow (a picture) is done while judging writes.
            with self._database.writing() as connection:
                if _is_kept(connection, press.key):
                    return False
                connection.execute(
                    insert(interaction).values(
                        press=press.key,
                        received_at=now,
                        user_id=press.user_id,
                        user_name=storable(press.user_name),
                        action=press.action,
                        incident_id=press.incident_id,
                        channel=press.channel_id,
                        message_ts=press.message_ts,
                        done_at=now if refused else None,
                        outcome=storable(refused),
                    )
                )
        except IntegrityError:
            # Two deliveries at one moment: PostgreSQL lets both look before either has written.
            with self._database.reading() as connection:
                if not _is_kept(connection, press.key):
                    raise
            return False
        return True

    def waiting(self) -> tuple[Kept, ...]:
        """Presses that are kept and not applied, oldest first."""
        query = (
            select(interaction).where(interaction.c.done_at.is_(None)).order_by(interaction.c.id)
        )
        with self._database.reading() as connection:
            return tuple(map(_read, connection.execute(query)))

    def done(self, key: str, outcome: str, now: datetime) -> bool:
        """Mark a press that changes no incident as done; False when it was done already."""
        with self._database.writing() as connection:
            return _mark(connection, key, outcome, now)

    def recent(self, limit: int = 50) -> tuple[Kept, ...]:
        """Who asked for what, when, and what became of it: the newest first."""
        query = select(interaction).order_by(interaction.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            return tuple(map(_read, connection.execute(query)))


def _is_kept(connection: Connection, key: str) -> bool:
    mine = select(interaction.c.id).where(interaction.c.press == key)
    return connection.execute(mine).first() is not None


def _mark(connection: Connection, key: str, outcome: str, now: datetime) -> bool:
    """Claim by comparing: of two that apply one press, only the first finds it undone."""
    mine = (interaction.c.press == key, interaction.c.done_at.is_(None))
    values = {"done_at": now, "outcome": storable(outcome)}
    return connection.execute(update(interaction).where(*mine).values(**values)).rowcount == 1


def _read(row: Row[tuple[object, ...]]) -> Kept:
    return Kept(
        press=Press(
            key=row.press,
            user_id=row.user_id,
            user_name=row.user_name,
            action=row.action,
            incident_id=row.incident_id,
            channel_id=row.channel,
            message_ts=row.message_ts,
        ),
        received_at=row.received_at,
        done_at=row.done_at,
        outcome=row.outcome,
    )
