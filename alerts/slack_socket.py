"""Slack's Socket Mode by slack_sdk, and answers that only one person sees; no secret in any text."""

import contextlib
import json
import logging
import queue
import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import Request

from slack_sdk.errors import SlackClientError
from slack_sdk.socket_mode.builtin import SocketModeClient
from slack_sdk.socket_mode.client import BaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest

from alerts.errors import (
    DeliveryError,
    NotAppliedError,
    RefusedError,
    TokenRefusedError,
    UnclearError,
)
from alerts.slack import DEFAULT_BASE_URL, TIMEOUT_SECONDS, SlackSender, _blocks, _opener

APP_TOKEN_SCOPE = "connections:write"  # noqa: S105 - the name of a permission
RECEIVED_AT_ONCE = 65_536
_ANSWER_HOST = "hooks.slack.com"
_WRONG_KIND = {"not_allowed_token_type", "missing_scope", "access_denied"}

Hear = Callable[[Mapping[str, Any]], bool]
"""Takes what Slack sends: True once it is kept, or is none of ours, and only then Slack is told that it came.

Raises nothing: there is nobody to hear of it.
"""


class SlackAnswers(SlackSender):
    """Says something to one person in a channel; makes no second try."""

    def whisper(
        self,
        channel_id: str,
        user_id: str,
        text: str,
        blocks: Sequence[Mapping[str, Any]],
        *,
        thread_ts: str = "",
        response_url: str = "",
    ) -> None:
        """Show it to that person only; by the address that came with the press if the app may not post there.

        Raises DeliveryError when it was shown in neither way, or nobody knows.
        """
        plain = _blocks(blocks)
        try:
            self._call(
                "chat.postEphemeral",
                lambda: (
                    self._client.chat_postEphemeral(
                        channel=channel_id,
                        user=user_id,
                        text=text,
                        blocks=plain or None,
                        thread_ts=thread_ts or None,
                        parse="none",
                        link_names=False,
                    ).data
                ),
            )
        except UnclearError:
            raise  # it may stand there already
        except DeliveryError:
            if not self._is_answer_address(response_url):
                raise
            self._respond(response_url, text, plain)

    def _respond(self, address: str, text: str, blocks: list[dict[str, Any]]) -> None:
        said = {
            "response_type": "ephemeral",
            "replace_original": False,
            "text": text,
            "blocks": blocks,
        }
        request = Request(  # noqa: S310  the scheme is checked by whoever calls
            address,
            data=json.dumps(said).encode(),
            headers={"Content-Type": "application/json; charset=utf-8"},
            method="POST",
        )

        def send() -> dict[str, Any]:
            way = _opener(self._client.proxy, is_direct=self._is_loopback)
            with way.open(request, timeout=self._timeout) as answer:
                answer.read()
            return {"ok": True}

        self._call("the answer", send)

    def _is_answer_address(self, address: str) -> bool:
        """Whether an address that came with a press is Slack's: no other is ever asked."""
        try:
            parts = urlsplit(address)
            ours = urlsplit(self._client.base_url)
            there = (parts.scheme, parts.hostname, parts.port)
            is_ours = there == (ours.scheme, ours.hostname, ours.port)
        except ValueError:
            return False
        return is_ours or there == ("https", _ANSWER_HOST, None)


class SlackSocket:
    """One connection of Socket Mode. What comes is kept by `hear`, in turn, and only then acknowledged."""

    def __init__(
        self,
        app_token: str,
        hear: Hear,
        base_url: str = DEFAULT_BASE_URL,
        timeout_seconds: int = TIMEOUT_SECONDS,
    ) -> None:
        self._hear = hear
        self._heard: queue.SimpleQueue[SocketModeRequest | None] = queue.SimpleQueue()
        # Not in the client's own threads: the process would wait for those when it ends.
        threading.Thread(target=self._keep, name="slack-keeping", daemon=True).start()
        self._client = _Client(_Door(app_token, base_url, timeout_seconds), self._take)

    def __repr__(self) -> str:
        return f"SlackSocket({self._client.door!r})"

    @property
    def is_connected(self) -> bool:
        """Whether presses reach us, as far as is known."""
        return self._client.is_connected()

    def connect(self) -> None:
        """Connect, unless it is; one try. Raises DeliveryError, TokenRefusedError for a bad app token."""
        failure: DeliveryError | None = None
        try:
            self._client.connect_to_new_endpoint()
        except DeliveryError as error:
            failure = error
        except (SlackClientError, OSError, ValueError) as error:
            # The address of the connection is a secret too: only the type is kept.
            failure = NotAppliedError(f"Socket Mode: no connection ({type(error).__name__})")
        if failure is None and not self.is_connected:
            failure = NotAppliedError(f"Socket Mode: no connection ({self._client.last_failure})")
        if failure is not None:
            # Raised here, outside of `except`: a chained error would keep the request and its headers.
            raise failure

    def close(self, grace_seconds: float = 0.3) -> None:
        """Leave; what was not acknowledged comes again."""
        self._heard.put(None)
        # The client waits for threads of its own that may hang in a read: nobody has to wait for it.
        leaving = threading.Thread(target=self._client.close, name="slack-leaving", daemon=True)
        leaving.start()
        leaving.join(grace_seconds)

    def _take(self, _client: BaseSocketModeClient, request: SocketModeRequest) -> None:
        self._heard.put(request)

    def _keep(self) -> None:
        while (request := self._heard.get()) is not None:
            is_kept = request.type != "interactive" or self._hear(request.payload)
            if is_kept:
                # A connection that is gone can't be told: Slack sends it again, and it is known then.
                with contextlib.suppress(SlackClientError, OSError):
                    self._client.send_socket_mode_response({"envelope_id": request.envelope_id})


class _Door(SlackSender):
    """Where an app token is exchanged for the address of a connection."""

    def __init__(self, app_token: str, base_url: str, timeout_seconds: int) -> None:
        try:
            super().__init__(app_token, base_url, timeout_seconds)
        except TokenRefusedError:
            message = "the app token is empty or has characters that no token has"
            raise TokenRefusedError(message) from None
        self.is_loopback = self._is_loopback
        self.web_client = self._client

    def __repr__(self) -> str:
        return f"_Door({self._client.base_url!r})"

    def address(self) -> str:
        """A fresh address, good for one connection. Raises DeliveryError."""
        failure: DeliveryError
        try:
            answer = self._call(
                "apps.connections.open",
                lambda: self._client.apps_connections_open(app_token=self._client.token or "").data,
            )
        except TokenRefusedError as error:
            failure = TokenRefusedError(f"{_code(error)}; {_APP_TOKEN_MEND}")
        except RefusedError as error:
            if error.code in _WRONG_KIND:
                failure = TokenRefusedError(f"{error.code}; {_APP_TOKEN_MEND}")
            else:
                failure = error
        else:
            url = answer.get("url")
            if isinstance(url, str) and self._is_safe(url):
                return url
            failure = NotAppliedError("apps.connections.open: Slack gave no safe address")
        raise failure

    def _is_safe(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return False
        if not parts.hostname:
            return False
        if self._is_loopback:
            return parts.scheme in ("ws", "wss")
        # The client speaks in the clear to every other port, whatever the scheme says.
        return parts.scheme == "wss" and port in (None, 443)


_APP_TOKEN_MEND = (
    "set LODESTONE_SLACK_APP_TOKEN to an app-level token (xapp-…) of this app with the scope "
    f"{APP_TOKEN_SCOPE}, see docs/slack-app.md"
)


def _code(error: TokenRefusedError) -> str:
    found = re.search(r"\(([a-z_]+)\)", error.reason)
    return f"Slack refuses the app token ({found[1]})" if found else "Slack refuses the app token"


class _Client(SocketModeClient):
    """The SDK's client, connecting anew only when Slack asks for it: everything else is ours to pace and tell."""

    def __init__(
        self, door: _Door, take: Callable[[BaseSocketModeClient, SocketModeRequest], None]
    ) -> None:
        self.door = door
        self.last_failure = "no answer"
        # The SDK logs addresses and messages as they are.
        silent = logging.Logger("alerts.slack_socket.silent", level=logging.CRITICAL + 1)
        silent.addHandler(logging.NullHandler())
        super().__init__(
            app_token="",  # the door has it: what the client does not know it can't log
            logger=silent,
            web_client=door.web_client,
            auto_reconnect_enabled=False,
            concurrency=2,
            # It reads with one call of a function inside another: a long message would be too deep.
            receive_buffer_size=RECEIVED_AT_ONCE,
            on_error_listeners=[self._note],
        )
        if door.is_loopback:
            self.proxy = None  # set from the environment during construction, also for loopback
        self.socket_mode_request_listeners.append(take)

    def issue_new_wss_url(self) -> str:
        return self.door.address()

    def connect(self) -> None:
        super().connect()
        session = self.current_session
        if session is not None and session.sock is not None:
            session.sock = cast("Any", _Ending(session.sock))

    def connect_to_new_endpoint(self, force: bool = False) -> None:
        try:
            super().connect_to_new_endpoint(force)
        except DeliveryError:
            if force:
                # Slack wants to be rid of this connection, and sends nothing more over it: it is lost.
                self.disconnect()
            raise

    def _note(self, error: Exception) -> None:
        self.last_failure = type(error).__name__


class _Ending:
    """A socket whose end is an error: the SDK would ask it for more without a pause, for half a minute."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def recv(self, size: int) -> bytes:
        received = self._sock.recv(size)
        if not received:
            message = "the other side has left"
            raise ConnectionResetError(message)
        return received

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)
