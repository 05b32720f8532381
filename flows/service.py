"""What every step is handed: the real things it may touch, and the moment it looks from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.delivery import Sender
from alerts.ruleset import Ruleset
from flows.catalog import Catalog
from flows.moments import LIVE_BOOK, Moment, moment
from flows.settings import Settings
from flows.sources.source import Source
from flows.storage.database import Database
from flows.storage.forecasts import ForecastStore
from flows.storage.ledger import SqlLedger
from flows.storage.observations import ObservationStore
from flows.storage.runs import RunStore

__all__ = ["LIVE_BOOK", "Moment", "Service", "moment"]


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
