"""What delivery needs of the service, without all that only figures need: a worker that stays is small."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from alerts.delivery import Sender, timeout_for
from alerts.errors import RefusedError, TokenRefusedError
from alerts.slack import DEFAULT_BASE_URL, SlackSender
from flows.errors import LodestoneError, SettingsError
from flows.settings import Settings
from flows.storage.database import Database, open_database
from flows.storage.ledger import SqlLedger

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class PostRoom:
    """The real ledger, channel and clock, built in one place and handed in."""

    settings: Settings
    database: Database
    ledger: SqlLedger
    sender: Sender | None  # None: no Slack token, messages wait in the outbox
    clock: Callable[[], datetime]
    pause: Callable[[float], None]

    def close(self) -> None:
        """Give back the database's connections."""
        self.database.close()


def open_post_room(settings: Settings) -> PostRoom:
    """A post room on the real database and channel; the caller closes it. Raises as `build` does."""
    speaker = sender(settings)
    database = open_upgraded(settings)
    return PostRoom(settings, database, SqlLedger(database), speaker, now, time.sleep)


def open_upgraded(settings: Settings) -> Database:
    """The database of the settings, with its tables in this version's shape; raises a LodestoneError."""
    if settings.database_url == "":
        _make_folder(settings)
    database = open_database(settings.resolved_database_url)
    try:
        database.upgrade()
    except BaseException:
        database.close()
        raise
    return database


def sender(settings: Settings) -> Sender | None:
    """The Slack sender, or None without a token: messages then wait in the outbox."""
    token = settings.slack_token.get_secret_value()
    if not token:
        return None
    timeout = timeout_for(settings.slack_reconcile_seconds)
    return on_slack(
        settings,
        "LODESTONE_SLACK_TOKEN",
        lambda url: SlackSender(token, base_url=url, timeout_seconds=timeout),
    )


def on_slack(settings: Settings, variable: str, make: Callable[[str], Made]) -> Made:
    """What speaks to Slack at the address of the settings, with the token of that variable.

    Raises SettingsError for a token or address that can't be one.
    """
    try:
        return make(settings.slack_base_url or DEFAULT_BASE_URL)
    except TokenRefusedError as error:
        message = f"{variable}: {error}"
        raise SettingsError(message) from None
    except RefusedError as error:
        message = f"LODESTONE_SLACK_BASE_URL: {error}"
        raise SettingsError(message) from None


def now() -> datetime:
    """The clock of the service: aware UTC."""
    return datetime.now(UTC)


def _make_folder(settings: Settings) -> None:
    home = settings.home
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{home}: the home folder can't be made: {error.strerror}; set LODESTONE_HOME to a folder you may write to"
        raise LodestoneError(message) from None
