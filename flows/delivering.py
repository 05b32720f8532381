"""Step 5: the outbox goes to Slack, once or for as long as somebody lets it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

from alerts.blockkit import render_slack
from alerts.delivery import TOKEN_PAUSE, DeliveryReport, Rendered, Sender, lease_for
from alerts.delivery import deliver as deliver_due
from alerts.errors import DeliveryError, TokenRefusedError
from alerts.ledger import EVERYTHING, OutboxSummary
from alerts.messages import Message
from flows.errors import DatabaseUnusableError, SettingsError
from flows.moments import Moment
from flows.settings import Settings
from flows.storage.ledger import SqlLedger

A_DAY = 86_400.0
"""Seconds; longer than that, no delivery has an end to wait for."""

SHORTEST_WAIT = timedelta(seconds=0.05)

SAID_AGAIN_AFTER = timedelta(hours=1)
"""How long a watching delivery keeps a trouble to itself that it has told of."""

WATCH_EVERY = timedelta(seconds=0.5)
"""How long a message may lie in the outbox before a watching delivery sees it."""


@dataclass(frozen=True, slots=True)
class OutboxReport:
    """What was shown now, and what the outbox still holds and why."""

    sent: int
    left: OutboxSummary
    has_channel: bool
    token_problem: str = ""  # why nothing at all can be sent, with what to do
    unmended: tuple[str, ...] = ()  # second copies in a channel that somebody has to remove
    lacking: tuple[
        str, ...
    ] = ()  # permissions that the Slack app lacks, with what is missing without

    def then(self, later: "OutboxReport") -> "OutboxReport":
        """Both deliveries, one right after the other, as one."""
        return replace(
            later,
            sent=self.sent + later.sent,
            token_problem=later.token_problem or self.token_problem,
            unmended=self.unmended + later.unmended,
            lacking=tuple(dict.fromkeys(self.lacking + later.lacking)),
        )

    @property
    def counts(self) -> dict[str, int]:
        waiting = self.left.pending + self.left.sending
        return {
            "sent": self.sent,
            "pending": waiting,
            "unknown": self.left.unknown,
            "dead": self.left.dead,
        }

    def lines(self) -> list[str]:
        counts = self.counts
        lines = [", ".join(f"{count} {word}" for word, count in counts.items())]
        if not self.has_channel and counts["pending"]:
            lines.append(
                f"LODESTONE_SLACK_TOKEN is not set: {counts['pending']} messages wait in the outbox"
            )
        lines += map(_lack, self.lacking)
        return [*lines, *self.problems, *self.left.waits]

    @property
    def problems(self) -> tuple[str, ...]:
        """One plain sentence each, with what to do."""
        found = (self.token_problem, *self.left.problems, *self.unmended)
        return tuple(dict.fromkeys(filter(None, found)))


class Outlet(Protocol):
    """What delivery touches: the service has all of it, and so has the post room."""

    @property
    def settings(self) -> Settings: ...
    @property
    def ledger(self) -> SqlLedger: ...
    @property
    def sender(self) -> Sender | None: ...
    @property
    def clock(self) -> Callable[[], datetime]: ...
    @property
    def pause(self) -> Callable[[float], None]: ...


def deliver(
    service: Outlet,
    at: Moment,
    *,
    patience_seconds: float = 0.0,
    longest_seconds: float = A_DAY,
    is_stopped: Callable[[], bool] = lambda: False,
) -> OutboxReport:
    """Step 5: empty the outbox of the book, with the live one also the heartbeat and drills that wait.

    Waits out the pace between two posts, and for whatever else may not go yet as long as something was
    sent in the last `patience_seconds`; ends after `longest_seconds`, when it `is_stopped`, or when the
    token is refused. Without a Slack token nothing is sent: every message stays in the outbox.
    """
    sent = 0
    token_problem = ""
    lacking: tuple[str, ...] = ()
    unmended: list[str] = []
    began = moved = service.clock()
    pace = timedelta(seconds=service.settings.slack_min_interval_seconds)
    left = service.ledger.summary(at.book, began)
    if left.pending or left.unknown:
        lacking, token_problem = _lacking(service, left)
    while service.sender is not None and not token_problem and not is_stopped():
        delivered = deliver_once(service, at, is_stopped=is_stopped)
        sent += delivered.sent
        unmended += delivered.unmended
        token_problem = delivered.token_problem
        now = service.clock()
        moved = now if delivered.sent or delivered.removed else moved
        # A second copy may still land: whoever waits for the end wants it gone.
        due = min(filter(None, (delivered.next_due_at, delivered.first_sweep_at)), default=None)
        # Where Slack answers nothing, what is new is due all the time: that is no reason to stay either.
        if due is None or now - moved > timedelta(seconds=patience_seconds + 1) + 2 * pace:
            break
        # A pace is no reason to leave: its end is near, and certain.
        ends = max(now + pace, moved + timedelta(seconds=patience_seconds))
        if due > min(ends, began + timedelta(seconds=longest_seconds)):
            break
        # Never without a pause: what is due may still be refused, by a pause or a lock.
        _wait(service, max(due, now + SHORTEST_WAIT), is_stopped)
    left = service.ledger.summary(at.book, service.clock())
    if left.is_paused and not token_problem:
        token_problem = left.problems[0]  # it was refused a moment ago, perhaps to another worker
    return OutboxReport(
        sent,
        left,
        has_channel=service.sender is not None,
        token_problem=token_problem,
        unmended=tuple(unmended),
        lacking=lacking,
    )


def keep_delivering(
    service: Outlet,
    at: Moment,
    *,
    is_stopped: Callable[[], bool],
    told: Callable[[str], None],
) -> int:
    """Deliver whatever is committed within a second, until it `is_stopped`; says how many were sent.

    `told` gets a line for each message sent or lost, and for each trouble as it begins. A database that is
    away for a while is waited for.
    """
    sent = 0
    said: dict[str, datetime] = {}
    problems: tuple[str, ...]
    lacking, _ = _lacking(service, service.ledger.summary(at.book, service.clock()))
    for scope in lacking:
        told(_lack(scope))
    while not is_stopped():
        now = service.clock()
        try:
            left = service.ledger.summary(at.book, now)
            if service.sender is not None and any(due <= now for due in _dues(left)):
                delivered = deliver_once(service, at, is_stopped=is_stopped)
                sent += delivered.sent
                if delivered.sent:
                    waiting = delivered.pending + delivered.unknown
                    told(f"{delivered.sent} sent, {waiting} waiting, {sent} in all")
                problems, coming = delivered.problems, [delivered.next_due_at or now + WATCH_EVERY]
            else:
                problems, coming = left.problems, [due for due in _dues(left) if due > now]
        except DatabaseUnusableError as error:
            problems, coming = (str(error),), []
        for problem in problems:
            # A pause that ends and begins again is the same trouble.
            if now - said.get(problem, now - SAID_AGAIN_AFTER) >= SAID_AGAIN_AFTER:
                told(problem)
                said[problem] = now
        _wait(service, min([service.clock() + WATCH_EVERY, *coming]), is_stopped)
    return sent


def _dues(left: OutboxSummary) -> list[datetime]:
    """When there is something to do next: to send, to look for, or to look at once more."""
    return [due for due in (left.next_due_at, left.sweep_due_at) if due is not None]


def deliver_once(
    service: Outlet, at: Moment, *, is_stopped: Callable[[], bool] = lambda: False
) -> DeliveryReport:
    """Send what is due now. Raises SettingsError without a Slack token."""
    if service.sender is None:
        message = "LODESTONE_SLACK_TOKEN is not set: nothing can be posted"
        raise SettingsError(message)
    window = service.settings.slack_reconcile_seconds
    return deliver_due(
        service.ledger,
        service.sender,
        now=service.clock,
        render=partial(_rendered, buttons=service.settings.slack_buttons),
        book=at.book,
        lease=lease_for(window),
        reconcile_after=timedelta(seconds=window),
        pace=timedelta(seconds=service.settings.slack_min_interval_seconds),
        is_stopped=is_stopped,
    )


def _lacking(service: Outlet, left: OutboxSummary) -> tuple[tuple[str, ...], str]:
    """What the Slack app may not do though it would have to, and why its token is refused, if it is.

    A token that was refused a moment ago is not tried again so soon.
    """
    if service.sender is None or left.is_paused:
        return (), ""
    try:
        return service.sender.lacks(), ""
    except TokenRefusedError as error:
        service.ledger.pause(EVERYTHING, service.clock() + TOKEN_PAUSE, error.reason)
        return (), error.reason
    except DeliveryError:
        return (), ""  # whatever it is, the first message will meet it too, and say so


def _lack(scope: str) -> str:
    return f"the Slack app lacks {scope}: see docs/slack-app.md"


def _wait(service: Outlet, until: datetime, is_stopped: Callable[[], bool]) -> None:
    """Wait in small steps, so that a request to stop is heard."""
    while not is_stopped() and (rest := (until - service.clock()).total_seconds()) > 0:
        service.pause(min(rest, 0.25))


def _rendered(message: Mapping[str, Any], *, buttons: bool) -> Rendered:
    content = render_slack(Message.from_dict(message), buttons=buttons)
    return Rendered(content.text, content.blocks, content.call)
