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
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.slack_standin.page import channel_page
from tests.slack_standin.workspace import Refusal, Workspace


@dataclass
class Fault:
    """What goes wrong with one request. `applied` says whether Slack did it all the same."""

    kind: str  # lost | reset | cut | status | error | html | late | hook
    applied: bool = True
    status: int = 500
    error: str = "internal_error"
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    body: bytes = b"<html><body>Something went wrong</body></html>"
    hook: Callable[[], None] | None = None  # called before the answer


@dataclass(frozen=True)
class Request:
    """One request as it came in; `at` is monotonic seconds."""

    at: float
    method: str
    params: Mapping[str, Any]
    token: str | None


class StandIn:
    """A running stand-in; use it as a context manager, give `api_url` to the client."""

    def __init__(self, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.api_url = f"{self.url}/api/"
        self.workspace = Workspace(self.url)
        self.requests: list[Request] = []
        self.without: dict[str, set[str]] = {}  # method -> parts left out of its answers
        self.answers_only_ok = False  # every method does its work and says nothing more
        self._faults: dict[str, deque[Fault]] = {}
        self._lock = threading.Lock()
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

    def fail(self, method: str, *faults: Fault) -> None:
        """The next requests to a method ("upload" for the file bytes) go wrong, one fault each."""
        with self._lock:
            self._faults.setdefault(method, deque()).extend(faults)

    def calls(self, method: str) -> list[Request]:
        """Every request to one method so far."""
        with self._lock:
            return [request for request in self.requests if request.method == method]

    def saw(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            waiting = self._faults.get(request.method)
            return waiting.popleft() if waiting else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stand_in: StandIn

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away (or was killed) is part of the game."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        place = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        stand_in = self.server.stand_in
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        if place.path.startswith("/upload/"):
            key = place.path.rsplit("/", 1)[1]
            fault = stand_in.saw(Request(time.monotonic(), "upload", {"file": key}, token))
            self._answer(lambda: self._uploaded(key, body), fault)
            return
        method = place.path.rsplit("/", 1)[1]
        params = _params(self.headers.get("Content-Type") or "", body)
        token = token or params.pop("token", None)
        fault = stand_in.saw(Request(time.monotonic(), method, params, token))
        self._answer(lambda: self._called(method, params, token), fault)

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        workspace = self.server.stand_in.workspace
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
        elif place.path == "/":
            chosen = parse_qs(place.query).get("channel", [None])[0]
            page = channel_page(workspace, chosen).encode()
            self._send(200, "text/html; charset=utf-8", page)
        else:
            self._send(404, "text/plain", b"not here")

    def _called(self, method: str, params: dict[str, Any], token: str | None) -> dict[str, Any]:
        stand_in = self.server.stand_in
        answer = stand_in.workspace.call(method, params, token)
        if stand_in.answers_only_ok:
            return {"ok": True}
        left_out = stand_in.without.get(method, set())
        return {part: value for part, value in answer.items() if part not in left_out}

    def _uploaded(self, key: str, body: bytes) -> None:
        self.server.stand_in.workspace.upload(key, body)

    def _answer(self, act: Callable[[], dict[str, Any] | None], fault: Fault | None) -> None:
        answer: dict[str, Any] | None = {"ok": True}
        applied = fault is None or fault.applied
        if applied:
            try:
                answer = act()
            except Refusal as refusal:
                answer = {"ok": False, "error": refusal.code, **refusal.details}
        body = b"OK" if answer is None else json.dumps(answer).encode()
        if fault is None:
            self._send(200, "application/json; charset=utf-8", body)
            return
        if fault.hook is not None:
            fault.hook()
        match fault.kind:
            case "lost":
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
                self._send(200, "application/json", body)
            case _:
                self._send(200, "application/json", body)

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
