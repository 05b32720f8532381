"""What every step is handed: the real things it may touch, and the moment it looks from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from alerts.delivery import Sender
from alerts.ruleset import Ruleset
from flows.catalog import Catalog
from flows.errors import UsageError
from flows.settings import Settings
from flows.sources.source import Source
from flows.storage.database import Database
from flows.storage.forecasts import ForecastStore
from flows.storage.ledger import SqlLedger
from flows.storage.observations import ObservationStore
from flows.storage.runs import RunStore

LIVE_BOOK = "live"


@dataclass(frozen=True, slots=True)
class Service:
    """Everything a step may touch, built in one place and handed in."""

    settings: Settings
    catalog: Catalog
    ruleset: Ruleset
    database: Database
    observations: ObservationStore
    forecasts: ForecastStore
    ledger: SqlLedger
    runs: RunStore
    open_sources: Callable[[bool], Sequence[Source]]  # True: the live publishers too
    sender: Sender | None  # None: no Slack token, messages wait in the outbox
    clock: Callable[[], datetime]
    pause: Callable[[float], None]

    def close(self) -> None:
        """Give back the database's connections."""
        self.database.close()


@dataclass(frozen=True, slots=True)
class Moment:
    """From when and for whom to look: what was known at `known_at`, in the ledger's `book`."""

    known_at: datetime
    book: str
    live: bool


def moment(service: Service, as_of: date | None, live: bool) -> Moment:
    """Now, or the end of a past day (UTC), which has a book of its own."""
    now = service.clock()
    if as_of is None:
        return Moment(now, LIVE_BOOK, live)
    known_at = datetime.combine(as_of, time(23, 59, 59), tzinfo=UTC)
    if known_at.date() > now.date():
        message = f"{as_of}: that day has not come yet (today is {now:%Y-%m-%d})"
        raise UsageError(message)
    return Moment(known_at, f"as-of {as_of}", live)
