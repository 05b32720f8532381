"""The SDK's own clients, set up for a stand-in: the Web API, and Socket Mode that keeps what it hears."""

import time
from collections.abc import Callable
from typing import Self

from slack_sdk import WebClient
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from tests.slack_standin import StandIn

BOT_TOKEN, APP_TOKEN = "xoxb-token", "xapp-token"


def web_client(slack: StandIn, token: str = BOT_TOKEN, timeout: int = 5) -> WebClient:
    client = WebClient(token, base_url=slack.api_url, retry_handlers=[], timeout=timeout)
    client.proxy = None
    return client


class Listener:
    """Hears every click as a real app does, acknowledges it unless told not to, then does `act`."""

    def __init__(
        self,
        slack: StandIn,
        *,
        acks: bool = True,
        act: Callable[[SocketModeRequest], object] | None = None,
    ) -> None:
        self.requests: list[SocketModeRequest] = []
        self.client = SocketModeClient(
            app_token=APP_TOKEN, web_client=web_client(slack), ping_interval=0.5
        )
        self.client.proxy = None
        self.client.socket_mode_request_listeners.append(self._heard)
        self._slack, self._acks, self._act = slack, acks, act

    def _heard(self, client: SocketModeClient, request: SocketModeRequest) -> None:
        self.requests.append(request)
        if self._acks:
            client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))
        if self._act is not None:
            self._act(request)

    def __enter__(self) -> Self:
        self.client.connect()
        assert self._slack.socket_mode.wait_connected(5)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.auto_reconnect_enabled = False
        # Or the client waits out its three seconds of silence before it closes; and closing it while
        # it is closing itself is an AttributeError of the SDK.
        self._slack.socket_mode.hang_up()
        until = time.monotonic() + 5
        while self.client.is_connected() and time.monotonic() < until:
            time.sleep(0.01)
        self.client.close()
