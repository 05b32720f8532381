"""Emptying the outbox: lease, send, mark; what is unclear is looked for before it is sent again, and after."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from alerts.errors import (
    ContentRefusedError,
    DeliveryError,
    NotAppliedError,
    RefusedError,
    TokenRefusedError,
    UnclearError,
)
from alerts.ledger import (
    AT_ANY_PACE,
    EDITS,
    EVERYTHING,
    LOOKS,
    UPLOADS,
    EntryKind,
    Ledger,
    OutboxEntry,
    Receipt,
    repeat_marked,
)

RECONCILE_AFTER = timedelta(seconds=60)
LEASE = timedelta(seconds=60)  # longer than the slowest entry, see `lease_for`
TOKEN_PAUSE = timedelta(seconds=60)  # a refused token is tried again at most this often
CHART_ATTEMPTS = 3
CHART_PATIENCE = timedelta(
    hours=6
)  # after which nobody looks at a picture of this morning any more
MOST_TROUBLE = 3  # answers in a row that say "the network is down": the rest would only wait too
SWEEP_EVERY = timedelta(hours=1)
SWEPT_FOR = timedelta(hours=6)  # how long a copy is looked for that landed after all
INCONCLUSIVE_AFTER = timedelta(
    hours=1
)  # beyond the window: then a look that proves nothing is none
LOOKS_A_CALL = 5  # what is new must not wait until everything unclear was looked for
_CLOCK_SKEW = timedelta(
    minutes=70
)  # how far ours may be ahead: a summer time taken for UTC, and some
_SHORT_TEXT = 3000


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message in the channel's own form; `text` stands alone where blocks are not shown.

    `call` is whom the blocks call by name, in the channel's own form; empty: nobody.
    """

    text: str
    blocks: Sequence[Mapping[str, Any]] = ()
    call: str = ""


Render = Callable[[Mapping[str, Any]], Rendered]


class Sender(Protocol):
    """One try each, no retries inside; every failure is a DeliveryError that says what is known."""

    def post(
        self,
        channel: str,
        text: str,
        blocks: Sequence[Mapping[str, Any]],
        delivery_key: str,
        thread_ts: str | None = None,
    ) -> Receipt: ...

    def edit(
        self, receipt: Receipt, text: str, blocks: Sequence[Mapping[str, Any]], delivery_key: str
    ) -> None: ...

    def upload(self, root: Receipt, image: bytes, alt_text: str, delivery_key: str) -> Receipt: ...

    def find(
        self, channel: str, delivery_key: str, *, since: datetime, thread_ts: str | None = None
    ) -> tuple[Receipt, ...]: ...

    def delete(self, receipt: Receipt) -> None: ...

    def lacks(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What this call showed, and what the outbox still holds. `next_due_at` is when to call again."""

    sent: int
    pending: int
    unknown: int
    dead: int
    oldest_unsent_seconds: float
    dead_charts: int = 0
    next_due_at: datetime | None = None
    first_sweep_at: datetime | None = None
    problems: tuple[str, ...] = ()
    token_problem: str = ""
    removed: int = 0  # second copies that were taken out of a channel
    unmended: tuple[str, ...] = ()  # those that could not be, a sentence each; also in `problems`

    @property
    def is_drained(self) -> bool:
        """Nothing is waiting, unclear or given up (charts that were given up don't count)."""
        return not (self.pending or self.unknown or self.dead)


def timeout_for(window_seconds: float) -> int:
    """How many seconds one request may take: its end must be well inside the reconcile window."""
    return round(min(max(window_seconds / 4, 1), 10))


def lease_for(window_seconds: float) -> timedelta:
    """How long a worker may hold an entry: an upload is three requests, and a text may be tried twice."""
    return timedelta(seconds=6 * timeout_for(window_seconds))


def plain_text(message: Mapping[str, Any]) -> Rendered:
    """The words of a neutral message without any form; for when a renderer can't cope with it."""
    lines = [str(message.get(part) or "") for part in ("label", "headline", "lead", "why_now")]
    text = "\n".join(line for line in lines if line) or "An alert without text: see the outlook."
    return Rendered(_short(_escaped(text)))


def deliver(
    ledger: Ledger,
    sender: Sender,
    *,
    now: Callable[[], datetime],
    render: Render = plain_text,
    book: str | None = None,
    lease: timedelta = LEASE,
    reconcile_after: timedelta = RECONCILE_AFTER,
    pace: timedelta = AT_ANY_PACE,
    at_most: int | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> DeliveryReport:
    """Send what is due, look for what is unclear, and return; never waits.

    `reconcile_after` must be longer than the sender's timeout, the lag of the channel's history and
    the latest that a request may still land: only then is "not found" proof. `pace` is the least time
    between two posts in one channel, whoever makes them. `at_most` limits the entries tried, and
    `is_stopped` is asked before each. Errors of one entry never stop the next; a refused token stops all.
    """
    delivery = _Delivery(ledger, sender, now, render, lease, reconcile_after, pace, is_stopped)
    token_problem = ""
    ledger.expire(book, now(), sweep_at=now() + reconcile_after)
    try:
        delivery.reconcile(book)
        delivery.send_due(book, at_most)
        delivery.sweep(book)
    except TokenRefusedError as error:
        token_problem = error.reason
        ledger.pause(EVERYTHING, now() + TOKEN_PAUSE, error.reason)
    summary = ledger.summary(book, now())
    return DeliveryReport(
        sent=delivery.sent,
        pending=summary.pending + summary.sending,
        unknown=summary.unknown,
        dead=summary.dead,
        oldest_unsent_seconds=summary.oldest_unsent_seconds,
        dead_charts=summary.dead_charts,
        next_due_at=summary.next_due_at,
        first_sweep_at=summary.first_sweep_at,
        problems=(*summary.problems, *delivery.unmended),
        token_problem=token_problem,
        removed=delivery.removed,
        unmended=tuple(delivery.unmended),
    )


class _Delivery:
    """One call of `deliver`."""

    def __init__(
        self,
        ledger: Ledger,
        sender: Sender,
        now: Callable[[], datetime],
        render: Render,
        lease: timedelta,
        reconcile_after: timedelta,
        pace: timedelta,
        is_stopped: Callable[[], bool],
    ) -> None:
        self._ledger = ledger
        self._sender = sender
        self._now = now
        self._render = render
        self._lease = lease
        self._window = reconcile_after
        self._pace = pace
        self._is_stopped = is_stopped
        self._trouble = 0
        self.sent = 0
        self.removed = 0
        self.unmended: list[str] = []

    # --- sending ----------------------------------------------------------------

    def send_due(self, book: str | None, at_most: int | None) -> None:
        tried = 0
        while (at_most is None or tried < at_most) and not self._is_stopped():
            entry = self._ledger.claim(book, self._now(), self._lease, self._pace)
            if entry is None:
                return
            tried += 1
            self._send(entry)
            if self._trouble >= MOST_TROUBLE:
                return

    def _send(self, entry: OutboxEntry) -> None:
        if why := _out_of_reach(entry):
            self._ledger.mark_skipped(entry, why, now=self._now())
            return
        if not self._is_ours(entry):
            return  # this worker stood still since it took it: by now it may be another one's
        try:
            receipt = self._try(entry)
        except NotAppliedError as error:
            self._not_applied(entry, error)
        except UnclearError as error:
            self._unclear(entry, error)
        except TokenRefusedError as error:
            self._ledger.release(entry, not_before=self._now(), error=error.reason)
            raise
        except RefusedError as error:
            if entry.kind.edits and error.code in _FIXED:
                self._told_anew(entry, error)
            else:
                self._refused(entry, error)
        except DeliveryError as error:
            self._refused(entry, error)
        else:
            self._mark_sent(entry, receipt if receipt.ts else self._placed(entry, receipt))
            self._trouble = 0

    def _placed(self, entry: OutboxEntry, receipt: Receipt) -> Receipt:
        """Where it stands, when the answer said only that it was taken: as the channel shows it, if it does."""
        if entry.kind is EntryKind.CHART:
            return receipt  # usual for pictures, and nothing ever refers to one
        try:
            found = self._find(entry)
        except TokenRefusedError:
            raise
        except DeliveryError:
            return receipt
        return found[0] if found else receipt

    def _is_ours(self, entry: OutboxEntry) -> bool:
        """Whether the lease lasts still."""
        return entry.lease_until is None or self._now() < entry.lease_until

    def _refused(self, entry: OutboxEntry, error: DeliveryError) -> None:
        reason = _gave_up(entry, error) if entry.kind is EntryKind.CHART else error.reason
        self._ledger.mark_dead(entry, reason, now=self._now())

    def _told_anew(self, entry: OutboxEntry, error: RefusedError) -> None:
        """The message that an edit is for is gone, or stays as it is: what it says gets a message of its own."""
        if entry.kind is EntryKind.EDIT:
            self._ledger.post_anew(entry, error.reason, now=self._now())
        else:
            self._ledger.mark_skipped(entry, error.reason, now=self._now())

    def _mark_sent(self, entry: OutboxEntry, receipt: Receipt) -> None:
        now = self._now()
        sweep_at = now + max(self._window, timedelta(seconds=1))
        self.sent += self._ledger.mark_sent(
            entry, receipt, now=now, pace=self._pace, sweep_at=sweep_at
        )

    def _try(self, entry: OutboxEntry) -> Receipt:
        if entry.kind is EntryKind.CHART:
            if entry.root is None or entry.image is None:
                message = "the chart has no picture, or no message to stand under"
                raise RefusedError(message)
            under = entry.thread or entry.root
            return self._sender.upload(under, entry.image, entry.alt_text, entry.delivery_key)
        content = self._content(entry)
        try:
            return self._show(entry, content)
        except ContentRefusedError:
            if not content.blocks and len(content.text) <= _SHORT_TEXT:
                raise
            # Once, under the same lease and key: the refusal proves that nothing was shown.
            return self._show(entry, Rendered(_short(f"{content.call}\n{content.text}".lstrip())))

    def _show(self, entry: OutboxEntry, content: Rendered) -> Receipt:
        if entry.kind.stands_alone:
            if entry.thread is not None:
                return self._in_thread(entry, entry.thread, content)
            return self._sender.post(
                entry.channel, content.text, content.blocks, entry.delivery_key
            )
        if entry.root is None:
            message = "its message in the channel is gone from the ledger"
            raise RefusedError(message)
        if entry.kind.edits:
            # The message's own key stays on it, so that it can still be found.
            self._sender.edit(entry.root, content.text, content.blocks, entry.root_key)
            return entry.root
        return self._in_thread(entry, entry.thread or entry.root, content)

    def _in_thread(self, entry: OutboxEntry, thread: Receipt, content: Rendered) -> Receipt:
        return self._sender.post(
            thread.channel_id,
            content.text,
            content.blocks,
            entry.delivery_key,
            # A root whose ts Slack kept to itself has no thread: better beside it than not at all.
            thread_ts=thread.ts or None,
        )

    def _content(self, entry: OutboxEntry) -> Rendered:
        message = repeat_marked(entry.message) if entry.is_repeat_possible else entry.message
        try:
            return self._render(message)
        except (LookupError, TypeError, ValueError, AttributeError):
            # A message written by another version must still be told, if only in plain words.
            return plain_text(message)

    def _not_applied(self, entry: OutboxEntry, error: NotAppliedError) -> None:
        if entry.kind is EntryKind.CHART:
            # What Slack asks to wait for says nothing against the picture.
            is_tried = error.retry_after_seconds is None and entry.attempts >= CHART_ATTEMPTS
            if is_tried or self._now() - (entry.started_at or self._now()) > CHART_PATIENCE:
                self._ledger.mark_dead(entry, _gave_up(entry, error), now=self._now())
                return
        if error.retry_after_seconds is None:
            self._trouble += entry.kind is not EntryKind.CHART
            wait = _backoff(entry)
        else:
            wait = timedelta(seconds=error.retry_after_seconds) + _jitter(entry)
            # Charts and edits have limits of their own, for all channels together.
            scope = _LIMITED_TOGETHER.get(entry.kind, entry.place)
            self._ledger.pause(scope, self._now() + wait, error.reason)
        self._ledger.release(entry, not_before=self._now() + wait, error=error.reason)

    def _unclear(self, entry: OutboxEntry, error: UnclearError) -> None:
        self._trouble += entry.kind is not EntryKind.CHART
        if entry.kind.edits:
            # Made twice, an edit looks the same: no need to look first. But it may land after a newer one.
            self._ledger.release(
                entry,
                not_before=self._now() + _backoff(entry),
                error=error.reason,
                sweep_at=self._now() + self._window,
            )
            return
        look_at = self._now() + min(timedelta(seconds=1), self._window / 4)
        self._ledger.mark_unknown(entry, error.reason, now=self._now(), look_at=look_at)

    # --- looking ----------------------------------------------------------------

    def reconcile(self, book: str | None) -> None:
        for entry in self._ledger.reconcilable(book, self._now())[:LOOKS_A_CALL]:
            if self._is_stopped():
                return
            try:
                found = self._find(entry)
            except (NotAppliedError, UnclearError) as error:
                self._pause_looks(error)
                if self._now() < self._proof_at(entry) + INCONCLUSIVE_AFTER:
                    self._look_again(entry, error.reason, was_conclusive=False)
                else:
                    self._blind(entry, error)
                return  # the next look would meet the same
            except TokenRefusedError:
                raise
            except DeliveryError as error:
                self._blind(entry, error)
            else:
                if found:
                    self._mark_sent(entry, found[0])
                else:
                    self._not_found(entry)

    def _pause_looks(self, error: DeliveryError) -> None:
        wait = getattr(error, "retry_after_seconds", None) or 5.0
        self._ledger.pause(LOOKS, self._now() + timedelta(seconds=min(wait, 300)), error.reason)

    def _find(self, entry: OutboxEntry) -> tuple[Receipt, ...]:
        """Where it stands, oldest first: more than once if a request landed that was given up."""
        since = (entry.started_at or entry.created_at) - _CLOCK_SKEW
        if entry.kind.stands_alone and entry.thread is None:
            channel = entry.channel_id or entry.channel
            return self._sender.find(channel, entry.delivery_key, since=since)
        thread = entry.thread or entry.root
        if thread is None:
            return ()
        return self._sender.find(
            thread.channel_id, entry.delivery_key, since=since, thread_ts=thread.ts or None
        )

    def _not_found(self, entry: OutboxEntry) -> None:
        if entry.looks + 1 < 2 or self._now() < self._proof_at(entry):
            self._look_again(entry, "", was_conclusive=True)
        elif entry.kind is EntryKind.CHART and entry.attempts >= CHART_ATTEMPTS:
            self._ledger.mark_dead(entry, _gave_up(entry), now=self._now())
        else:
            self._ledger.release(entry, not_before=self._now(), error=entry.error)

    def _blind(self, entry: OutboxEntry, error: DeliveryError) -> None:
        """The channel may not be read. After the window it is said again, marked as a possible repeat.

        Once: an answer that is unclear again says something about Slack, and more posts would not
        make it clearer.
        """
        if self._now() < self._proof_at(entry):
            self._look_again(entry, error.reason, was_conclusive=False)
        elif entry.kind is EntryKind.CHART:
            self._ledger.mark_dead(entry, _gave_up(entry, error), now=self._now())
        elif entry.is_repeat_possible:
            self._ledger.mark_dead(entry, _sent_twice(error), now=self._now())
        else:
            self._ledger.release(
                entry, not_before=self._now(), error=error.reason, is_repeat_possible=True
            )

    def _look_again(self, entry: OutboxEntry, reason: str, *, was_conclusive: bool) -> None:
        step = self._window / 3
        proof_at = self._proof_at(entry)
        at = self._now() + step
        if self._now() < proof_at:
            at = min(at, proof_at)
        self._ledger.look_again(entry, at=at, error=reason, was_conclusive=was_conclusive)

    def _proof_at(self, entry: OutboxEntry) -> datetime:
        """From this instant on, what is not in the channel will not come any more."""
        return (entry.unknown_at or entry.created_at) + self._window

    # --- looking after ----------------------------------------------------------

    def sweep(self, book: str | None) -> None:
        """Take out second copies of what was sent again after an unclear answer, and landed all the same.

        The first time, the message is also edited to what it should say: what landed late, or was found,
        may be older words.
        """
        for entry in self._ledger.sweepable(book, self._now())[:LOOKS_A_CALL]:
            if self._is_stopped():
                return
            try:
                self._remove_copies(entry)
            except (NotAppliedError, UnclearError) as error:
                self._pause_looks(error)
                return  # it stays due, and the next look would meet the same
            except TokenRefusedError:
                raise
            except DeliveryError as error:
                # Perhaps a permission that somebody grants in the meantime.
                self._ledger.swept(entry, now=self._now(), next_at=self._next_sweep(entry))
                self.unmended.append(_copy_stays(entry, error))
            else:
                self._ledger.swept(entry, now=self._now(), next_at=self._next_sweep(entry))

    def _remove_copies(self, entry: OutboxEntry) -> None:
        found = self._find(entry)
        kept = next((one for one in found if entry.receipt and one.ts == entry.receipt.ts), None)
        kept = kept or next(iter(found), None)
        for copy in found:
            if copy != kept:
                self._sender.delete(copy)
                self.removed += 1

    def _next_sweep(self, entry: OutboxEntry) -> datetime | None:
        """Soon at first, since most late requests land early; then hourly."""
        now = self._now()
        age = now - (entry.sent_at or now)
        return None if age > SWEPT_FOR else now + min(max(age, self._window), SWEEP_EVERY)


_FIXED = {"message_not_found", "cant_update_message", "edit_window_closed"}
"""Slack's words for a message that no edit reaches."""

_LIMITED_TOGETHER = {EntryKind.CHART: UPLOADS, EntryKind.EDIT: EDITS, EntryKind.AMEND: EDITS}


def _backoff(entry: OutboxEntry) -> timedelta:
    return timedelta(seconds=min(300.0, 2.0 ** min(entry.attempts, 9))) + _jitter(entry)


def _jitter(entry: OutboxEntry) -> timedelta:
    """Up to half a second, different for each entry and attempt, so that they don't come back as one."""
    seed = hashlib.sha256(f"{entry.delivery_key}/{entry.attempts}".encode()).digest()
    return timedelta(seconds=int.from_bytes(seed[:2], "big") / 131_072)


def _gave_up(entry: OutboxEntry, error: DeliveryError | None = None) -> str:
    reason = error.reason if error else entry.error
    tries = "1 attempt" if entry.attempts == 1 else f"{entry.attempts} attempts"
    return f"the chart could not be shown ({tries}; the text stands): {reason}"


def _sent_twice(error: DeliveryError) -> str:
    return (
        "sent twice, and no answer said whether it arrived; the channel can't be searched "
        f"({error.reason}): look there, and redrive it only if it is missing"
    )


def _copy_stays(entry: OutboxEntry, error: DeliveryError) -> str:
    return (
        f"{entry.channel}: a message was sent again for want of an answer, and whether it stands there twice "
        f"can't be mended from here ({error.reason}): look for “{entry.message.get('headline', 'a chart')}”, "
        "and remove a second one by hand"
    )


def _out_of_reach(entry: OutboxEntry) -> str:
    """Why an entry can't be shown whatever is tried; empty if it can."""
    needs_ts = entry.kind.edits or entry.kind is EntryKind.CHART
    if needs_ts and entry.root is not None and not entry.root.ts:
        what = "edited" if entry.kind.edits else "given a chart"
        return f"Slack took the message without saying where it stands: it can't be {what}"
    return ""


def _short(text: str) -> str:
    return text if len(text) <= _SHORT_TEXT else f"{text[: _SHORT_TEXT - 1].rstrip()}…"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
