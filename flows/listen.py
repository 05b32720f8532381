"""People who press buttons: what they ask is kept, applied in turn, shown in the message, and answered."""

import json
import logging
import queue
import re
import socket as socketlib
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from traceback import format_tb
from typing import Any, Protocol
from urllib.parse import parse_qs

from alerts.blockkit import render_answer, render_slack
from alerts.errors import DeliveryError, NotAppliedError, TokenRefusedError
from alerts.incident import Decision
from alerts.interactions import (
    SPANS,
    Action,
    Press,
    answered,
    failed_answer,
    foreign_answer,
    is_signed,
    late_answer,
    others_answer,
    over_answer,
    past_answer,
    presses_of,
    unknown_answer,
)
from alerts.messages import Message, is_replay
from alerts.slack import SlackSender
from alerts.wording import readable
from flows import desk, steps
from flows.errors import DatabaseUnusableError, LodestoneError, SettingsError, UsageError
from flows.service import Moment, Service
from flows.storage.interactions import AlreadySettledError, InteractionStore, Kept, Settling

LOG = logging.getLogger("lodestone.listen")

GUIDE = "docs/slack-app.md"

LOOK_SECONDS = 60.0
"""How often waiting presses are looked for unasked: another listener may have died with some."""

RETRY_SECONDS = 5.0
"""How long after a database that could not be used it is tried again."""

STOP_SECONDS = 0.8
"""What threads get to finish in: whoever stops us shall not wait, and nothing is lost by a cut."""

DELIVERY_PATIENCE_SECONDS = 10.0
"""How long an edit that met trouble is tried again, before it is left to the next delivery."""

LONGEST_DELIVERY_SECONDS = 60.0
"""How long one press keeps the next one's edit waiting at the most, however much else there is to send."""

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
POLL_SECONDS = 0.2
CALM_POLLS = 50
"""Looks at a connection that stands, after which a new loss of it is a new story."""

BODY_LIMIT = 1_000_000
"""Bytes of a request that are read: Slack sends the whole message with each press, some tens of thousands."""

REQUEST_SECONDS = 10.0


class Answers(Protocol):
    """Says something to one person in a channel; raises DeliveryError."""

    def whisper(
        self,
        channel_id: str,
        user_id: str,
        text: str,
        blocks: list[dict[str, Any]],
        *,
        thread_ts: str = "",
        response_url: str = "",
    ) -> None: ...


class Socket(Protocol):
    """A connection over which presses come."""

    @property
    def is_connected(self) -> bool: ...
    def connect(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Result:
    """What a press came to."""

    answer: str | Message
    book: str | None = None  # whose messages have to look different now; None: none has


class Listener:
    """Keeps presses, applies one after another, answers whoever pressed. Says nothing of its own accord.

    Applying, answering and delivering have a thread each: a Slack that hangs holds up no acknowledgement,
    a backlog of messages no answer.
    """

    def __init__(self, service: Service, answers: Answers | None) -> None:
        self._service = service
        self._answers = answers
        self._store = InteractionStore(service.database)
        # Presses with what is not kept, thread and response address: while they are kept, and from then on.
        self._coming: dict[str, Press] = {}
        self._fresh: dict[str, Press] = {}
        self._counting = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._answering = _Hand("answering")
        self._delivering = _Hand("delivering")
        self._applying = threading.Thread(target=self._apply_on, name="applying", daemon=True)
        self.heard = 0
        self.applied = 0

    def start(self) -> None:
        """Begin with what was kept and not applied before, then apply what comes."""
        for thread in (self._applying, self._answering, self._delivering):
            thread.start()
        self._wake.set()

    def stop(self) -> None:
        """End within about a second. What is kept and not applied is applied at the next start."""
        self._stopping.set()
        self._wake.set()
        for hand in (self._answering, self._delivering):
            hand.leave()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in (self._applying, self._answering, self._delivering):
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def now(self) -> datetime:
        """The clock that signatures and presses are told by."""
        return self._service.clock()

    def hear(self, payload: Mapping[str, Any]) -> bool:
        """Keep what a payload asks for; False when it could not be kept, so that Slack must not be told it was.

        Called from any thread; raises nothing.
        """
        presses = presses_of(payload)
        try:
            for press in presses:
                self._keep(press)
        except Exception as error:  # noqa: BLE001 - told below, to whoever pressed and in the log
            _log("a press could not be kept", error)
            for press in presses:
                self._answer(press, failed_answer(press.asks, press.incident_id))
            return False
        if presses:
            self._wake.set()
        return True

    def _keep(self, press: Press) -> None:
        refused = others_answer() if press.is_of_others else ""
        # Before it is kept: from then on it may be applied, and answered.
        self._coming[press.key] = press
        try:
            is_new = self._store.keep(press, self.now(), refused)
            self._fresh[press.key] = press
        finally:
            self._coming.pop(press.key, None)
        with self._counting:
            self.heard += is_new
        if refused and is_new:
            LOG.info("%s of another workspace pressed %s", press.user_name, press.action)
            self._answer(press, refused)

    def apply_waiting(self) -> int:
        """Apply everything that is kept and not applied, oldest first; says how many. Raises LodestoneError."""
        count = 0
        heard = list(self._fresh)
        waiting = self._store.waiting()
        # What was kept before the look and is not waiting is done, perhaps by another listener.
        for key in set(heard) - {one.press.key for one in waiting}:
            self._fresh.pop(key, None)
        for kept in waiting:
            if self._stopping.is_set():
                break
            count += self._apply(kept)
        return count

    def _apply_on(self) -> None:
        wait = LOOK_SECONDS
        while not self._stopping.is_set():
            self._wake.wait(wait)
            self._wake.clear()
            try:
                self.apply_waiting()
                wait = LOOK_SECONDS
            except Exception as error:  # noqa: BLE001 - told below; what is kept is tried again
                if not self._stopping.is_set():
                    _log("presses wait", error)
                wait = RETRY_SECONDS

    def _apply(self, kept: Kept) -> int:
        """Apply one press, once, whoever else tries to; 0 when somebody else has."""
        key = kept.press.key
        press = self._fresh.pop(key, None) or self._coming.get(key, kept.press)
        try:
            result = self._done(kept)
        except AlreadySettledError:
            return 0
        except DatabaseUnusableError:
            self._fresh[press.key] = press
            raise  # it stays kept, and is tried again
        except Exception as error:  # noqa: BLE001 - ours to mend; it must not stop the presses behind it
            _log(f"the press {press.key[:12]} failed", error)
            result = _Result(failed_answer(press.asks, press.incident_id))
            told = f"failed inside Lodestone ({type(error).__name__})"
            if not self._store.done(press.key, told, self.now()):
                return 0
        self.applied += 1
        LOG.info("%s pressed %s: %s", press.user_name, press.action, _in_short(result.answer))
        self._answer(press, result.answer)
        if result.book is not None:
            self._deliver(result.book)
        return 1

    def _done(self, kept: Kept) -> _Result:
        """Do what a press asks for and mark it done, in one transaction where it changes anything."""
        press, asks = kept.press, kept.press.asks
        found = self._service.ledger.incident(press.incident_id)
        if asks is None:
            return self._only_told(press, foreign_answer())
        # The ledger finds an incident by the beginning of its id, too: a button says all of it.
        if found is None or found.id != press.incident_id:
            return self._only_told(press, unknown_answer())
        if asks is Action.NUMBERS:
            return self._only_told(press, desk.numbers(self._service, found.id))
        if is_replay(found.book):
            return self._only_told(press, past_answer(found))
        if not found.state.is_open:
            return self._only_told(press, over_answer(asks, found))
        told = partial(answered, asks)
        settling = Settling(press.key, told)
        try:
            decision = self._asked(kept, asks, settling)
        except UsageError:
            # It ended between the two looks, or the time that was asked for is over.
            found = self._service.ledger.incident(press.incident_id) or found
            told_instead = late_answer(found) if found.state.is_open else over_answer(asks, found)
            return self._only_told(press, told_instead)
        return _Result(told(decision), found.book if decision.says else None)

    def _asked(self, kept: Kept, asks: Action, settling: Settling) -> Decision:
        service, press = self._service, kept.press
        ask: dict[str, Any] = {"by": press.user_name, "press": settling}
        match asks:
            case Action.ACKNOWLEDGE:
                return desk.acknowledge(service, press.incident_id, **ask)
            case Action.UNSNOOZE:
                return desk.unsnooze(service, press.incident_id, **ask)
            case _:
                until = kept.received_at + SPANS[asks]
                return desk.snooze(service, press.incident_id, until, **ask)

    def _only_told(self, press: Press, answer: str | Message) -> _Result:
        if not self._store.done(press.key, _in_short(answer), self.now()):
            raise AlreadySettledError(press.key)
        return _Result(answer)

    def _answer(self, press: Press, answer: str | Message) -> None:
        if self._answers is None:
            return
        content = render_slack(answer) if isinstance(answer, Message) else render_answer(answer)
        say = partial(
            self._answers.whisper,
            press.channel_id,
            press.user_id,
            content.text,
            content.blocks,
            thread_ts=press.thread_ts,
            response_url=press.response_url,
        )
        self._answering.do("answer", say)

    def _deliver(self, book: str) -> None:
        """Show it in the message at once; what can't be sent now waits in the outbox."""

        def send() -> None:
            at = Moment(self._service.clock(), book, live=False)
            steps.deliver(
                self._service,
                at,
                patience_seconds=DELIVERY_PATIENCE_SECONDS,
                longest_seconds=LONGEST_DELIVERY_SECONDS,
                is_stopped=self._stopping.is_set,
            )

        self._delivering.do(f"deliver {book}", send)


class _Hand(threading.Thread):
    """Does one thing after another; what fails is logged, and stops nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._tasks: queue.SimpleQueue[tuple[str, Callable[[], None]] | None] = queue.SimpleQueue()
        self._is_leaving = threading.Event()

    def do(self, what: str, task: Callable[[], None]) -> None:
        self._tasks.put((what, task))

    def leave(self) -> None:
        self._is_leaving.set()
        self._tasks.put(None)

    def run(self) -> None:
        while (task := self._tasks.get()) is not None and not self._is_leaving.is_set():
            what, work = task
            try:
                work()
            except Exception as error:  # noqa: BLE001 - told here; nothing waits for it
                if not self._is_leaving.is_set():
                    _log(f"{what} failed", error)


def _in_short(answer: str | Message) -> str:
    """An answer on one line, for the log and for whoever reads later who did what."""
    if isinstance(answer, str):
        return " / ".join(map(readable, answer.splitlines()))
    return f"shown the numbers of: {readable(answer.headline)}"


def _log(what: str, error: Exception) -> None:
    """An error of ours by its text; any other by its way, since its text may hold a secret."""
    if isinstance(error, LodestoneError | DeliveryError):
        LOG.warning("%s: %s", what, error)
        return
    way = "".join(format_tb(error.__traceback__))
    LOG.error("%s inside Lodestone: %s\n%s", what, type(error).__name__, way)


# --- at the start ---------------------------------------------------------------------


def introduce(sender: SlackSender, say: Callable[[str], None]) -> str:
    """The team that the bot token belongs to, empty where Slack can't be asked; what the app lacks is said.

    Raises SettingsError for a token that Slack refuses.
    """
    try:
        identity = sender.check()
    except TokenRefusedError as error:
        raise SettingsError(str(error)) from None
    except DeliveryError as error:
        say(f"the bot token could not be checked: {error}")
        return ""
    for one in identity.missing:
        say(f"the Slack app lacks the permission {one}; see {GUIDE}")
    return identity.team


# --- Socket Mode --------------------------------------------------------------------


def listen_by_socket(
    socket: Socket, *, stop: threading.Event, say: Callable[[str], None], team: str
) -> None:
    """Connect and stay connected until `stop`. Raises SettingsError for an app token refused at the start.

    A connection that is lost is made again, the waits growing to a minute; also with a token that Slack
    refuses by then, since another may be on its way there.
    """
    wait, calm, trouble, is_first = FIRST_WAIT_SECONDS, 0, "", True
    try:
        while not stop.is_set():
            if socket.is_connected:
                stop.wait(POLL_SECONDS)
                calm += 1
                if calm == CALM_POLLS:
                    wait = FIRST_WAIT_SECONDS
                continue
            if not is_first or trouble:
                stop.wait(wait)
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
            try:
                socket.connect()
            except DeliveryError as error:
                if is_first and isinstance(error, TokenRefusedError):
                    raise SettingsError(str(error)) from None
                if str(error) != trouble:
                    say(f"not connected, trying again: {error}")
                trouble = str(error)
                if isinstance(error, NotAppliedError) and error.retry_after_seconds:
                    wait = max(wait, error.retry_after_seconds)
                continue
            if is_first or trouble:
                say(_listening(team) + ("" if is_first else " again"))
            calm, trouble, is_first = 0, "", False
    finally:
        socket.close()


def _listening(team: str) -> str:
    return f"listening as {team}" if team else "listening"


# --- HTTP -----------------------------------------------------------------------------


def listen_by_http(
    listener: Listener,
    address: tuple[str, int],
    *,
    secret: str,
    health: Callable[[], tuple[bool, Mapping[str, Any]]],
    stop: threading.Event,
    say: Callable[[str], None],
    team: str,
) -> None:
    """Take what Slack posts, signed with the app's secret, until `stop`; answer how we are at /health.

    Raises UsageError when the address can't be listened at.
    """
    host, port = address
    try:
        server = _Server((host, port), listener, secret, health)
    except OSError as error:
        why = error.strerror or type(error).__name__
        message = f"--http {host}:{port}: can't listen there ({why}); give another HOST:PORT"
        raise UsageError(message) from None
    with server:
        serving = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        serving.start()
        shown = f"[{host}]" if ":" in host else host
        say(f"{_listening(team)} on http://{shown}:{server.server_address[1]}")
        try:
            stop.wait()
        finally:
            server.shutdown()


class _Server(ThreadingHTTPServer):
    """One thread a request; those that still read don't hold up the end."""

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        listener: Listener,
        secret: str,
        health: Callable[[], tuple[bool, Mapping[str, Any]]],
    ) -> None:
        if ":" in address[0]:
            self.address_family = socketlib.AF_INET6
        self.listener = listener
        self.secret = secret
        self.health = health
        super().__init__(address, _Request)

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        # The base class would print a traceback with whatever the request held.
        error = sys.exception()
        if isinstance(error, OSError):
            LOG.info("a request was cut off (%s)", type(error).__name__)
        elif isinstance(error, Exception):
            _log("a request failed", error)


class _Request(BaseHTTPRequestHandler):
    """One request: a press with Slack's signature, or a question how we are."""

    server: _Server
    server_version = "Lodestone"
    sys_version = ""
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/health":
            self._say(HTTPStatus.NOT_FOUND)
            return
        try:
            is_well, told = self.server.health()
        except LodestoneError as error:
            is_well, told = False, {"is_well": False, "why": str(error)}
        status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
        self._say(status, json.dumps(told, ensure_ascii=False).encode())

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,12}", length):
            self._say(HTTPStatus.LENGTH_REQUIRED)
            return
        if int(length) > BODY_LIMIT:
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        body = self.rfile.read(int(length))
        is_slack = is_signed(
            self.server.secret,
            timestamp=self.headers.get("X-Slack-Request-Timestamp"),
            signature=self.headers.get("X-Slack-Signature"),
            body=body,
            now=self.server.listener.now(),
        )
        if not is_slack:
            self._say(HTTPStatus.UNAUTHORIZED)
        elif (payload := _form_payload(body)) is None:
            self._say(HTTPStatus.BAD_REQUEST)
        elif self.server.listener.hear(payload):
            self._say(HTTPStatus.OK)
        else:
            self._say(HTTPStatus.SERVICE_UNAVAILABLE)

    def _say(self, status: HTTPStatus, body: bytes = b"") -> None:
        self.send_response(status)
        if body:
            self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        # What is left of a body that nobody reads would be taken for the next request.
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, _format: str, *_args: object) -> None:
        """No line for each request: what was pressed is kept, and told where it is applied."""


def _form_payload(body: bytes) -> Mapping[str, Any] | None:
    """What the form's field `payload` holds; None for anything but one JSON object."""
    try:
        fields = parse_qs(body.decode("utf-8"), strict_parsing=True, max_num_fields=20)
        (text,) = fields["payload"]
        payload = json.loads(text)
    except (ValueError, KeyError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None
