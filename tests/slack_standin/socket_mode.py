"""Socket Mode: clicks go out to connected apps as Slack's envelopes, and their acks are timed."""

import contextlib
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from tests.slack_standin.workspace import APP, TEAM, Message, Workspace


@dataclass
class Click:
    """One press of a button, and what became of it."""

    envelope: Mapping[str, Any]
    message: Message
    action_id: str
    user: str
    sent_at: list[float] = field(default_factory=list)  # monotonic; empty: nobody was connected
    acks: int = 0
    acked_after_seconds: float | None = None  # from the first sending to the first ack
    ack_payload: object = None
    _acked: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def payload(self) -> Mapping[str, Any]:
        """What the app is told, the same over Socket Mode and HTTP."""
        return self.envelope["payload"]

    @property
    def response_url(self) -> str:
        return str(self.payload["response_url"])

    def wait(self, seconds: float) -> bool:
        """Whether an ack came within so many seconds from now."""
        return self._acked.wait(seconds)

    def acked(self, payload: object) -> None:
        self.acks += 1
        if self.acked_after_seconds is None:
            self.acked_after_seconds = time.monotonic() - (self.sent_at or [time.monotonic()])[0]
            self.ack_payload = payload
            self._acked.set()


class SocketMode:
    """The websocket side of the stand-in; listens from the first `apps.connections.open` on."""

    def __init__(self, workspace: Workspace) -> None:
        self.clicks: list[Click] = []
        self.frames: list[str] = []  # everything that apps sent, as it came
        self._workspace = workspace
        self._connections: list[ServerConnection] = []
        self._tickets: set[str] = set()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._turn = 0

    def address(self) -> str:
        """A fresh address for one connection, as `apps.connections.open` gives it."""
        with self._lock:
            if self._server is None:
                self._server = serve(self._serve, "127.0.0.1", 0, close_timeout=1)
                self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
                self._thread.start()
            ticket = secrets.token_hex(8)
            self._tickets.add(ticket)
            port = self._server.socket.getsockname()[1]
        return f"ws://127.0.0.1:{port}/link/?ticket={ticket}&app_id={APP}"

    def wait_connected(self, seconds: float, count: int = 1) -> bool:
        """Whether so many apps are connected within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._connections) >= count, seconds)

    @property
    def connected(self) -> int:
        with self._lock:
            return len(self._connections)

    def click(self, message: Message, action_id: str, user: str, name: str) -> Click:
        """Press a button of a message; it goes to one of the connected apps, as Slack does it."""
        envelope = {
            "envelope_id": _envelope_id(),
            "payload": self._payload(message, action_id, user, name),
            "type": "interactive",
            "accepts_response_payload": True,
        }
        click = Click(envelope, message, action_id, user)
        with self._lock:
            self.clicks.append(click)
        self._send_click(click, envelope)
        return click

    def redeliver(self, click: Click) -> None:
        """Send the same envelope again, as after an ack that was lost."""
        retry = {"retry_attempt": len(click.sent_at), "retry_reason": "timeout"}
        self._send_click(click, {**click.envelope, **retry})

    def disconnect(self, reason: str = "refresh_requested", after_seconds: float = 0.3) -> int:
        """Ask every connected app to connect anew, and hang up on it so many seconds later.

        Returns how many were asked; none of them gets another click.
        """
        with self._lock:
            leaving, self._connections = self._connections, []
        farewell = {"type": "disconnect", "reason": reason, "debug_info": {"host": "stand-in"}}
        for connection in leaving:
            with contextlib.suppress(ConnectionClosed):
                connection.send(json.dumps(farewell))
            timer = threading.Timer(after_seconds, connection.close)
            timer.daemon = True
            timer.start()
        return len(leaving)

    def hang_up(self) -> int:
        """Close every connection without a word before; returns how many there were."""
        with self._lock:
            leaving, self._connections = self._connections, []
        for connection in leaving:
            connection.close()
        return len(leaving)

    def close(self) -> None:
        with self._lock:
            server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        server.shutdown()
        self.hang_up()
        thread.join()

    def _send_click(self, click: Click, envelope: Mapping[str, Any]) -> None:
        with self._lock:
            connections = list(self._connections)
            self._turn += 1
            turn = self._turn
        # Each envelope goes to one connection; a dead one is passed over.
        for number in range(len(connections)):
            click.sent_at.append(time.monotonic())
            try:
                connections[(turn + number) % len(connections)].send(json.dumps(envelope))
            except ConnectionClosed:
                click.sent_at.pop()
            else:
                return

    def _serve(self, connection: ServerConnection) -> None:
        request = connection.request
        ticket = parse_qs(urlsplit(request.path if request else "").query).get("ticket", [""])[0]
        with self._lock:
            is_known = ticket in self._tickets
            self._tickets.discard(ticket)
            others = len(self._connections)
        if not is_known:
            connection.close(4001, "the ticket is unknown or was used")
            return
        hello = {
            "type": "hello",
            "num_connections": others + 1,
            "debug_info": {
                "host": "stand-in",
                "build_number": 1,
                "approximate_connection_time": 18060,
            },
            "connection_info": {"app_id": APP},
        }
        with contextlib.suppress(ConnectionClosed):
            connection.send(json.dumps(hello))
            with self._changed:
                self._connections.append(connection)
                self._changed.notify_all()
            for frame in connection:
                self._received(frame)
        with self._changed:
            if connection in self._connections:
                self._connections.remove(connection)
                self._changed.notify_all()

    def _received(self, frame: str | bytes) -> None:
        text = frame.decode(errors="replace") if isinstance(frame, bytes) else frame
        with self._lock:
            self.frames.append(text)
            clicks = {click.envelope["envelope_id"]: click for click in self.clicks}
        try:
            said = json.loads(text)
        except ValueError:
            return  # kept in `frames`; the real service only logs it
        click = clicks.get(said.get("envelope_id")) if isinstance(said, dict) else None
        if click is not None:
            click.acked(said.get("payload"))

    def _payload(self, message: Message, action_id: str, user: str, name: str) -> dict[str, Any]:
        workspace = self._workspace
        block_id, button = find_button(message, action_id)
        action = {
            "action_id": action_id,
            "block_id": block_id,
            "text": button["text"],
            "type": "button",
            "action_ts": _now_ts(),
        }
        action |= {part: button[part] for part in ("value", "style") if part in button}
        container = {
            "type": "message",
            "message_ts": message.ts,
            "channel_id": message.channel,
            "is_ephemeral": False,
        }
        if message.thread_ts:
            container["thread_ts"] = message.thread_ts
        with workspace.lock:
            channel = {"id": message.channel, "name": workspace.channels[message.channel]}
            # Metadata is left out: an app that needs it has to carry it in the button's value.
            shown = message.as_json(with_metadata=False)
        return {
            "type": "block_actions",
            "user": {"id": user, "username": name, "name": name, "team_id": TEAM},
            "api_app_id": APP,
            "token": "stand-in-verification",
            "container": container,
            "trigger_id": f"{time.time_ns()}.{secrets.randbelow(10**10)}.{secrets.token_hex(16)}",
            "team": {"id": TEAM, "domain": "stand-in"},
            "enterprise": None,
            "is_enterprise_install": False,
            "channel": channel,
            "message": {**shown, "team": TEAM},
            "state": {"values": {}},
            "response_url": workspace.response_url(message, user),
            "actions": [action],
        }


def find_button(message: Message, action_id: str) -> tuple[str, Mapping[str, Any]]:
    """A button of a message by its action, with the id of its block; raises LookupError."""
    seen: list[str] = []
    for number, block in enumerate(message.blocks):
        parts = [*(block.get("elements") or ()), block.get("accessory") or {}]
        for part in parts:
            if part.get("type") != "button":
                continue
            if part.get("action_id") == action_id:
                return str(block.get("block_id") or f"b{number}"), part
            seen.append(str(part.get("action_id")))
    text = f"no button {action_id} in message {message.ts}; it has {', '.join(seen) or 'none'}"
    raise LookupError(text)


def signed_request(
    click: Click, secret: str, timestamp: int | str | None = None
) -> tuple[dict[str, str], bytes]:
    """The same click as Slack sends it to a request URL: headers with the v0 signature, and the form."""
    body = urlencode({"payload": json.dumps(click.payload)}).encode()
    at = str(int(time.time()) if timestamp is None else timestamp)
    basis = b"v0:" + at.encode() + b":" + body
    signature = hmac.new(secret.encode(), basis, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": at,
        "X-Slack-Signature": f"v0={signature}",
    }
    return headers, body


def _envelope_id() -> str:
    text = secrets.token_hex(16)
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _now_ts() -> str:
    now = time.time_ns() // 1000
    return f"{now // 1_000_000}.{now % 1_000_000:06d}"
