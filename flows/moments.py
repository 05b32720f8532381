"""The moment that a step looks from, and the ledger's book that belongs to it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Protocol

from flows.errors import UsageError

LIVE_BOOK = "live"


class Clocked(Protocol):
    """Whoever knows what time it is."""

    @property
    def clock(self) -> Callable[[], datetime]: ...


@dataclass(frozen=True, slots=True)
class Moment:
    """From when and for whom to look: what was known at `known_at`, in the ledger's `book`."""

    known_at: datetime
    book: str
    live: bool


def moment(service: Clocked, as_of: date | None, live: bool) -> Moment:
    """Now, or the end of a past day (UTC), which has a book of its own."""
    now = service.clock()
    if as_of is None:
        return Moment(now, LIVE_BOOK, live)
    known_at = datetime.combine(as_of, time(23, 59, 59), tzinfo=UTC)
    if known_at.date() > now.date():
        message = f"{as_of}: that day has not come yet (today is {now:%Y-%m-%d})"
        raise UsageError(message)
    return Moment(known_at, f"as-of {as_of}", live)
