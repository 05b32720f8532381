"""The stand-in over HTTP on loopback: the Web API, uploads, a page for readers, faults on demand."""

import contextlib
import email.parser
import email.policy
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, quote, urlsplit

from tests.slack_standin.faults import Fault, Weather
from tests.slack_standin.limits import Limits
from tests.slack_standin.page import ACK_SECONDS, channel_page
from tests.slack_standin.socket_mode import Click, SocketMode, signed_request
from tests.slack_standin.workspace import Message, RateLimitedError, Refusal, Workspace

Hook = Callable[["Request", str], None]

_ANSWER_SECONDS = 1.5


@dataclass
class Request:
    """One request as it came in; `at` is monotonic seconds."""

    at: float
    method: str
    params: Mapping[str, Any]
    token: str | None
    outcome: str = ""
    """ok, Slack's error code, `fault: kind`, or `cut off` for half a request; empty: not answered yet."""


class StandIn:
    """A running stand-in; use it as a context manager, give `api_url` to the client."""

    def __init__(self, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.api_url = f"{self.url}/api/"
        self.webhook_url = f"{self.url}/services/T0STANDIN/B0WEBHOOK/stand-in"
        self.workspace = Workspace(self.url)
        self.socket_mode = SocketMode(self.workspace)
        self.workspace.socket_address = self.socket_mode.address
        self.requests: list[Request] = []
        self.without: dict[str, set[str]] = {}  # method -> parts left out of its answers
        self.answers_only_ok = False  # every method does its work and says nothing more
        self.weather: Weather | None = None  # faults by chance; those of `fail` go first
        self.on_request: Hook | None = None
        """Called at "half_body", "received", "applied" and "answered" of every request.

        A hook that kills the client returns when the client is dead: a request whose sender is gone
        at "half_body" counts as half a request, and is not applied.
        """
        self._faults: dict[str, deque[Fault]] = {}
        self._lock = threading.Lock()
        self._landings: set[threading.Timer] = set()
        self._server.stand_in = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        with self._lock:
            landings = list(self._landings)
        for timer in landings:
            timer.cancel()
        self.socket_mode.close()

    def fail(self, method: str, *faults: Fault) -> None:
        """The next requests to a method ("upload" for the file bytes) go wrong, one fault each."""
        with self._lock:
            self._faults.setdefault(method, deque()).extend(faults)

    def calls(self, method: str) -> list[Request]:
        """Every request to one method so far."""
        with self._lock:
            return [request for request in self.requests if request.method == method]

    def settle(self, seconds: float) -> bool:
        """Wait until nothing lands late any more; whether that came within so many seconds."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with self._lock:
                if not self._landings:
                    return True
            time.sleep(0.01)
        return False

    def click(
        self, message: Message, action_id: str, user: str = "U0PRIYA", name: str = "priya"
    ) -> Click:
        """Press a button: the envelope goes to a connected app; LookupError if it has no such button."""
        return self.socket_mode.click(message, action_id, user, name)

    def redeliver(self, click: Click) -> None:
        """Send the envelope of a click once more."""
        self.socket_mode.redeliver(click)

    def signed_request(
        self, click: Click, secret: str, timestamp: int | str | None = None
    ) -> tuple[dict[str, str], bytes]:
        """The click as a signed request for an app that listens by HTTP: headers and body."""
        return signed_request(click, secret, timestamp)

    def control(self, wanted: Mapping[str, Any]) -> None:
        """Change the workspace and its faults by what a JSON object says; raises ValueError."""
        workspace = self.workspace
        known: dict[str, Callable[[Any], None]] = {
            "history_lag_seconds": lambda v: setattr(workspace, "history_lag_seconds", float(v)),
            "weather": lambda v: setattr(self, "weather", Weather(**v) if v else None),
            "archived": lambda v: setattr(
                workspace, "closed_channels", dict.fromkeys(map(str, v), "is_archived")
            ),
            "unknown": lambda v: setattr(workspace, "unknown_channels", set(v)),
            "not_joined": lambda v: setattr(workspace, "not_joined", set(v)),
            "scopes": lambda v: setattr(workspace, "scopes", set(v)),
            "tokens": lambda v: setattr(workspace, "tokens", None if v is None else set(v)),
            "limits": lambda v: setattr(workspace, "limits", None if v is None else Limits(**v)),
        }
        if unknown := sorted(set(wanted) - set(known)):
            message = f"no such parts: {', '.join(unknown)}; known: {', '.join(known)}"
            raise ValueError(message)
        with workspace.lock:
            for part, value in wanted.items():
                try:
                    known[part](value)
                except (TypeError, ValueError) as error:
                    message = f"{part}: {error}"
                    raise ValueError(message) from None

    def saw(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            waiting = self._faults.get(request.method)
            if waiting:
                return waiting.popleft()
        return self.weather.draw(request.method) if self.weather else None

    def tell(self, request: Request, phase: str) -> None:
        if self.on_request is not None:
            self.on_request(request, phase)

    def land(self, seconds: float, act: Callable[[], object]) -> None:
        """Apply a request later, when nobody waits for its answer any more."""

        def landed() -> None:
            with contextlib.suppress(Refusal, RateLimitedError):
                act()
            with self._lock:
                self._landings.discard(timer)

        timer = threading.Timer(seconds, landed)
        timer.daemon = True
        with self._lock:
            self._landings.add(timer)
        timer.start()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # a burst of clients is not to be refused by the queue of the socket
    stand_in: StandIn

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away (or was killed) is part of the game."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        stand_in = self.server.stand_in
        place = urlsplit(self.path)
        first, _, rest = place.path.strip("/").partition("/")
        last = rest.rsplit("/", 1)[-1]
        if first in ("click", "control"):
            self._by_hand(first)
            return
        method = {"upload": "upload", "services": "webhook", "response": "response"}.get(
            first, last
        )
        header = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        request = Request(time.monotonic(), method, {}, header)
        body = self._body(request)
        if body is None:
            request.outcome = "cut off"
            stand_in.saw(request)
            self.close_connection = True
            return
        act: Callable[[], dict[str, Any] | str]
        if method == "upload":
            request.params = {"file": last}
            act = lambda: self._uploaded(last, body)  # noqa: E731
        else:
            params = _params(self.headers.get("Content-Type") or "", body)
            # A connection is opened with the token in the header only.
            in_body = params.pop("token", None)
            if method != "apps.connections.open":
                request.token = header or in_body
            request.params = params
            if method == "webhook":
                act = lambda: stand_in.workspace.webhook(params)  # noqa: E731
            elif method == "response":
                act = lambda: stand_in.workspace.respond(last, params)  # noqa: E731
            else:
                act = lambda: self._called(method, params, request.token)  # noqa: E731
        fault = stand_in.saw(request)
        stand_in.tell(request, "received")
        self._answer(request, act, fault)
        stand_in.tell(request, "answered")

    def _body(self, request: Request) -> bytes | None:
        """The body, or None if only a part of it came."""
        length = int(self.headers.get("Content-Length") or 0)
        stand_in = self.server.stand_in
        if stand_in.on_request is None:
            body = self.rfile.read(length)
            return body if len(body) == length else None
        body = self.rfile.read(length // 2)
        stand_in.tell(request, "half_body")
        try:
            body += self.rfile.read(length - len(body))
            # On loopback the whole body was under way already: who is dead now didn't send the rest.
            is_gone = self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            is_gone = False
        except OSError:
            is_gone = True
        return None if is_gone or len(body) < length else body

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        stand_in = self.server.stand_in
        workspace = stand_in.workspace
        asked = parse_qs(place.query)
        if place.path.startswith("/files/"):
            file = workspace.files.get(place.path.rsplit("/", 1)[1])
            self._send(200 if file else 404, "image/png", file["data"] if file else b"")
        elif place.path == "/state":
            with workspace.lock:
                shown = [
                    m.as_json(with_metadata=True) | {"channel": workspace.channels[m.channel]}
                    for m in workspace.messages
                ]
            self._send(200, "application/json", json.dumps(shown).encode())
        elif place.path == "/requests":
            # Without tokens: nobody who reads this needs one.
            shown = [
                {"at": r.at, "method": r.method, "params": r.params, "outcome": r.outcome}
                for r in list(stand_in.requests)
            ]
            self._send(200, "application/json", json.dumps(shown, default=str).encode())
        elif place.path == "/":
            page = channel_page(
                workspace,
                asked.get("channel", [None])[0],
                live=asked.get("live") == ["1"],
                clicks=list(stand_in.socket_mode.clicks),
            )
            self._send(200, "text/html; charset=utf-8", page.encode())
        else:
            self._send(404, "text/plain", b"not here")

    def _by_hand(self, what: str) -> None:
        """What a person on the page or another process asks for; no fault meets it."""
        stand_in = self.server.stand_in
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if what == "control":
                stand_in.control(_params("application/json", body))
                self._send(200, "application/json", b'{"ok":true}')
                return
            given = _params("application/x-www-form-urlencoded", body)
            message = stand_in.workspace.message(given["channel"], given["ts"])
            before = len(stand_in.workspace.ephemerals)
            click = stand_in.click(message, given["action_id"], "U0YOU", "you")
            if click.sent_at and click.wait(ACK_SECONDS):
                # The page comes back once, so it waits for the answer that most buttons have.
                until = time.monotonic() + _ANSWER_SECONDS
                while len(stand_in.workspace.ephemerals) == before and time.monotonic() < until:
                    time.sleep(0.02)
        except (ValueError, LookupError, Refusal) as error:
            self._send(400, "text/plain; charset=utf-8", str(error).encode())
            return
        back = "&live=1" if given.get("live") else ""
        place = f"/?channel={quote(message.channel)}{back}#m{message.ts}"
        self._send(303, "text/plain", b"", {"Location": place})

    def _called(self, method: str, params: dict[str, Any], token: str | None) -> dict[str, Any]:
        stand_in = self.server.stand_in
        answer = stand_in.workspace.call(method, params, token)
        if stand_in.answers_only_ok:
            return {"ok": True}
        left_out = stand_in.without.get(method, set())
        return {part: value for part, value in answer.items() if part not in left_out}

    def _uploaded(self, key: str, body: bytes) -> str:
        self.server.stand_in.workspace.upload(key, body)
        return "OK"

    def _answer(
        self, request: Request, act: Callable[[], dict[str, Any] | str], fault: Fault | None
    ) -> None:
        stand_in = self.server.stand_in
        answer: dict[str, Any] | str = {"ok": True}
        status, headers = 200, self._scopes()
        if fault is None or fault.applied:
            try:
                answer = act()
                request.outcome = "ok"
            except Refusal as refusal:
                request.outcome = refusal.code
                status, answer = _refused(request.method, refusal)
            except RateLimitedError as limited:
                request.outcome = "ratelimited"
                status, answer = 429, {"ok": False, "error": "ratelimited"}
                headers |= {"Retry-After": str(limited.retry_after)}
            stand_in.tell(request, "applied")
        kind = "application/json; charset=utf-8"
        body = json.dumps(answer).encode()
        if isinstance(answer, str):
            kind, body = "text/html", answer.encode()
        if fault is None:
            self._send(status, kind, body, headers)
            return
        request.outcome = f"fault: {fault.kind}"
        if fault.hook is not None:
            fault.hook()
        match fault.kind:
            case "lost":
                self.close_connection = True
            case "lands_late":
                stand_in.land(fault.seconds, act)
                self.close_connection = True
            case "reset":
                # An RST instead of a goodbye: linger zero.
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
            case "cut":
                self._send(200, "application/json", body[: len(body) // 2], length=len(body))
            case "status":
                self._send(fault.status, "text/html", fault.body, fault.headers)
            case "error":
                refusal = {"ok": False, "error": fault.error}
                self._send(200, "application/json", json.dumps(refusal).encode(), fault.headers)
            case "html":
                self._send(200, "text/html", fault.body)
            case "late":
                time.sleep(fault.seconds)
                self._send(200, kind, body)
            case _:
                self._send(200, kind, body)

    def _scopes(self) -> dict[str, str]:
        return {"X-OAuth-Scopes": ",".join(sorted(self.server.stand_in.workspace.scopes))}

    def _send(
        self,
        status: int,
        kind: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)


def _refused(method: str, refusal: Refusal) -> tuple[int, dict[str, Any] | str]:
    """The Web API refuses with status 200 and JSON; a webhook with a status and the bare code."""
    if method == "webhook":
        return {"channel_not_found": 404, "is_archived": 410}.get(refusal.code, 400), (
            "channel_is_archived" if refusal.code == "is_archived" else refusal.code
        )
    answer = {"ok": False, "error": refusal.code, **refusal.details}
    return (404 if refusal.code in ("expired_url", "used_url") else 200), answer


def _params(kind: str, body: bytes) -> dict[str, Any]:
    if "application/json" in kind:
        parsed = json.loads(body or b"{}")
        return dict(parsed) if isinstance(parsed, dict) else {}
    if "multipart/form-data" in kind:
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        parts = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        return {
            str(part.get_param("name", header="content-disposition")): (
                part.get_payload(decode=True) or b""
            ).decode(errors="replace")
            for part in parts.iter_parts()
        }
    fields = parse_qs(body.decode(errors="replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}
