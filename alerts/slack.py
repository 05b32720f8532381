"""Slack by slack_sdk: one request a call, every failure named for what is known, no secret in any text."""

import contextlib
import email.utils
import http.client
import ipaddress
import json
import logging
import math
import re
import socket
import ssl
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError

from alerts.errors import (
    ContentRefusedError,
    DeliveryError,
    NotAppliedError,
    RefusedError,
    TokenRefusedError,
    UnclearError,
)
from alerts.ledger import Receipt

DEFAULT_BASE_URL = "https://slack.com/api/"
TIMEOUT_SECONDS = 10
EVENT_TYPE = "lodestone_alert"
_CLIENT_IDS = uuid.UUID("0d2cf1a9-3f0b-5b1e-8a55-7f3c7a0e54c1")
_DEFAULT_WAIT_SECONDS = 30.0
_LONGEST_WAIT_SECONDS = 3600.0
_PAGES = 20  # of 200 messages each: more would not be proof within the rate limits

_WAIT = {"ratelimited", "rate_limited", "message_limit_exceeded", "team_added_to_org"}
_UNCLEAR = {
    "internal_error",
    "fatal_error",
    "request_timeout",
    "service_unavailable",
}
_CONTENT = {
    "msg_blocks_too_long",
    "msg_too_long",
    "no_text",
    "metadata_too_large",
    "metadata_must_be_sent_from_app",
}
_TOKEN = {
    "invalid_auth",
    "not_authed",
    "account_inactive",
    "token_revoked",
    "token_expired",
}
_MENDS = {
    "channel_not_found": "the channel does not exist, or is private and the app is not in it: "
    "create it, invite the app, or correct the route",
    "not_in_channel": "the app is not in the channel: invite it there",
    "is_archived": "the channel is archived: restore it, or correct the route",
    "missing_scope": "the Slack app lacks a permission",
    "restricted_action": "the workspace does not let this app post there: ask its administrator",
    "ekm_access_denied": "the workspace's encryption keys refuse access: ask its administrator",
    "unknown_method": "this Slack address does not offer it",
    "message_not_found": "the message was deleted in Slack",
    "cant_update_message": "Slack does not let the app edit this message",
    "edit_window_closed": "the workspace allows no edits after some time",
}
SCOPES = {
    "chat:write": "nothing can be posted",
    "files:write": "no charts",
    "channels:history": "a message whose answer was lost can't be looked for in public channels",
    "channels:read": "a channel given by its name can't be found for that look",
    "channels:join": "the app must be invited to each public channel",
    "groups:history": "the same look is not possible in private channels",
    "groups:read": "nor can a private channel be found by its name",
}
"""Permissions that the app uses, each with what is missing without it."""

# Failures before a request could leave; anything else may have arrived.
_UNREACHED_ERRNOS = {101, 113}  # network unreachable, host unreachable


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the token is for Slack. `scopes` is None where Slack did not say them."""

    team: str
    bot_id: str
    scopes: frozenset[str] | None

    @property
    def missing(self) -> tuple[str, ...]:
        """Scopes that the app lacks, as "files:write (no charts)"."""
        if self.scopes is None:
            return ()
        return tuple(f"{name} ({why})" for name, why in SCOPES.items() if name not in self.scopes)


class SlackSender:
    """Posts, edits, uploads and finds; raises DeliveryError and nothing else. Makes no second try."""

    def __init__(
        self,
        token: str,
        base_url: str = DEFAULT_BASE_URL,
        timeout_seconds: int = TIMEOUT_SECONDS,
    ) -> None:
        token = token.strip()
        if not re.fullmatch(r"[!-~]+", token):
            message = "the Slack token is empty or has characters that no token has"
            raise TokenRefusedError(message)
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or " " in base_url:
            message = "the Slack address must begin with https:// (or http:// for a stand-in)"
            raise RefusedError(message)
        self._schemes = {"https", parts.scheme}
        self._is_loopback = _is_loopback(parts.hostname)
        self._timeout = timeout_seconds
        self._client = _client(token, base_url, timeout_seconds, is_direct=self._is_loopback)
        self._channel_ids: dict[str, str] = {}
        self._bot_id: str | None = None  # None: nobody asked yet

    def __repr__(self) -> str:
        return f"SlackSender({self._client.base_url!r})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        # A pickle would carry the token into a file or a task's parameters.
        message = "a SlackSender is not to be copied or stored"
        raise TypeError(message)

    def check(self) -> Identity:
        """Ask Slack who we are and what we may do. Raises as every call, TokenRefusedError for a bad token."""

        def ask() -> dict[str, Any]:
            response = self._client.auth_test()
            headers = {str(name).lower(): value for name, value in response.headers.items()}
            data = response.data if isinstance(response.data, dict) else {}
            return {**data, "scopes": headers.get("x-oauth-scopes")}

        answer = self._call("auth.test", ask)
        given = answer.get("scopes")
        given = given[0] if isinstance(given, list) and given else given
        scopes = None
        if isinstance(given, str) and given.strip():
            scopes = frozenset(part.strip() for part in given.split(","))
        return Identity(str(answer.get("team", "")), str(answer.get("bot_id", "")), scopes)

    def lacks(self) -> tuple[str, ...]:
        """Permissions that the app does not have, each with what is missing without it; raises as `check`."""
        return self.check().missing

    def post(
        self,
        channel: str,
        text: str,
        blocks: Sequence[Mapping[str, Any]],
        delivery_key: str,
        thread_ts: str | None = None,
    ) -> Receipt:
        """Post a message, or a reply if `thread_ts` is given."""
        try:
            return self._post(channel, text, blocks, delivery_key, thread_ts)
        except RefusedError as error:
            if error.code != "not_in_channel" or not self._joined(channel):
                raise
        # The refusal proves that nothing was shown.
        return self._post(channel, text, blocks, delivery_key, thread_ts)

    def _joined(self, channel: str) -> bool:
        """Whether the app is now in a public channel that it was not in; raises NotAppliedError in trouble."""
        try:
            channel_id = self._channel_id(channel)
            self._call(
                "conversations.join",
                lambda: self._client.conversations_join(channel=channel_id).data,
            )
        except RefusedError:
            return False  # without that permission it has to be invited, as the refusal says
        except UnclearError as error:
            reason = error.reason
        else:
            return True
        # Nothing was posted yet, whatever became of the joining.
        raise NotAppliedError(reason)

    def _post(
        self,
        channel: str,
        text: str,
        blocks: Sequence[Mapping[str, Any]],
        delivery_key: str,
        thread_ts: str | None,
    ) -> Receipt:
        plain = _blocks(blocks)
        answer = self._call(
            "chat.postMessage",
            lambda: (
                self._client.chat_postMessage(
                    channel=channel,
                    text=text,
                    blocks=plain or None,
                    thread_ts=thread_ts,
                    metadata=_metadata(delivery_key),
                    client_msg_id=str(uuid.uuid5(_CLIENT_IDS, delivery_key)),
                    parse="none",
                    link_names=False,
                    unfurl_links=False,
                    unfurl_media=False,
                ).data
            ),
        )
        receipt = _receipt(answer, channel)
        if receipt.channel_id != channel:
            self._channel_ids[channel] = receipt.channel_id
        return receipt

    def edit(
        self, receipt: Receipt, text: str, blocks: Sequence[Mapping[str, Any]], delivery_key: str
    ) -> None:
        """Make a message look like this. `delivery_key` is the one that it was posted with."""
        plain = _blocks(blocks)
        channel_id = self._known_id(receipt.channel_id)
        self._call(
            "chat.update",
            lambda: (
                self._client.chat_update(
                    channel=channel_id,
                    ts=receipt.ts,
                    text=text,
                    blocks=plain,  # an empty list takes the old ones away
                    metadata=_metadata(delivery_key),
                    parse="none",
                    link_names=False,
                ).data
            ),
        )

    def delete(self, receipt: Receipt) -> None:
        """Take a message of ours out of its channel; one that is gone already is fine."""
        channel_id = self._known_id(receipt.channel_id)
        try:
            self._call(
                "chat.delete",
                lambda: self._client.chat_delete(channel=channel_id, ts=receipt.ts).data,
            )
        except RefusedError as error:
            if error.code != "message_not_found":
                raise

    def upload(self, root: Receipt, image: bytes, alt_text: str, delivery_key: str) -> Receipt:
        """Put a picture under a message. Only the last of the three steps can show anything."""
        alt = alt_text[:1000] or "Chart of this alert"
        try:
            place = self._call(
                "files.getUploadURLExternal",
                lambda: (
                    self._client.files_getUploadURLExternal(
                        filename=_file_name(delivery_key), length=len(image), alt_txt=alt
                    ).data
                ),
            )
            address, file_id = str(place.get("upload_url", "")), str(place.get("file_id", ""))
            self._call("the upload", lambda: self._send_bytes(address, image))
            channel_id = self._known_id(root.channel_id)
        except UnclearError as error:
            reason = error.reason
        else:
            answer = self._call(
                "files.completeUploadExternal",
                lambda: (
                    self._client.files_completeUploadExternal(
                        files=[{"id": file_id, "title": _title(alt)}],
                        channel_id=channel_id,
                        thread_ts=root.ts,
                    ).data
                ),
            )
            return Receipt(channel_id, _shared_ts(answer, channel_id))
        raise NotAppliedError(reason)

    def find(
        self, channel: str, delivery_key: str, *, since: datetime, thread_ts: str | None = None
    ) -> tuple[Receipt, ...]:
        """Our messages that carry this key, in the channel or in a thread of it, oldest first; none is proof."""
        channel_id = self._channel_id(channel)
        bot_id = self._own_bot_id()
        found: list[Receipt] = []
        oldest = f"{since.timestamp():.6f}"
        cursor: str | None = None
        for _ in range(_PAGES):
            page = self._read(channel_id, oldest, cursor, thread_ts)
            messages = page.get("messages")
            if not isinstance(messages, list):
                # "ok" alone is no look into the channel: silence about messages proves nothing.
                reason = "the channel's history came without its messages"
                raise UnclearError(reason)
            for message in map(_mapping, messages):
                # Others may read our keys and write them under messages of their own.
                is_ours = not bot_id or message.get("bot_id") in (None, "", bot_id)
                if is_ours and _carries(message, delivery_key):
                    found.append(Receipt(channel_id, str(message.get("ts", ""))))
            cursor = _mapping(page.get("response_metadata")).get("next_cursor") or None
            if cursor is None and page.get("has_more"):
                reason = "the channel's history has more messages and no way to them"
                raise UnclearError(reason)
            if cursor is None:
                return tuple(sorted(found, key=_instant_of))
        reason = "the channel has too many messages to look through"
        raise UnclearError(reason)

    def _own_bot_id(self) -> str:
        """By what name Slack marks our messages; empty where it does not say."""
        if self._bot_id is None:
            try:
                self._bot_id = self.check().bot_id
            except RefusedError:
                self._bot_id = ""
        return self._bot_id

    def _read(
        self, channel_id: str, oldest: str, cursor: str | None, thread_ts: str | None
    ) -> dict[str, Any]:
        if thread_ts is None:
            return self._call(
                "conversations.history",
                lambda: (
                    self._client.conversations_history(
                        channel=channel_id,
                        oldest=oldest,
                        inclusive=True,
                        include_all_metadata=True,
                        limit=200,
                        cursor=cursor,
                    ).data
                ),
            )
        return self._call(
            "conversations.replies",
            lambda: (
                self._client.conversations_replies(
                    channel=channel_id,
                    ts=thread_ts,
                    oldest=oldest,
                    inclusive=True,
                    include_all_metadata=True,
                    limit=200,
                    cursor=cursor,
                ).data
            ),
        )

    def _channel_id(self, channel: str) -> str:
        """History wants an id where a route may say a name."""
        if re.fullmatch(r"[CGD][A-Z0-9]{6,}", channel):
            return channel
        if channel in self._channel_ids:
            return self._channel_ids[channel]
        name = channel.lstrip("#")
        cursor: str | None = None
        for _ in range(_PAGES):
            page = self._listed(cursor)
            for each in map(_mapping, page.get("channels") or ()):
                if each.get("name") == name and each.get("id"):
                    found = str(each["id"])
                    self._channel_ids[channel] = found
                    return found
            cursor = _mapping(page.get("response_metadata")).get("next_cursor") or None
            if cursor is None:
                break
        # Not listed: perhaps a private one. Slack's own answer to the name will say so.
        return channel

    def _known_id(self, channel: str) -> str:
        """The id if it can be known: a post may have been answered without its channel."""
        try:
            return self._channel_id(channel)
        except RefusedError:
            return channel  # channels may not be listed: Slack's own answer to the name will say so

    def _listed(self, cursor: str | None) -> dict[str, Any]:
        """Channels that the app may know of; where it lacks `groups:read`, public ones only."""

        def listed(kinds: str) -> dict[str, Any]:
            return self._call(
                "conversations.list",
                lambda: (
                    self._client.conversations_list(
                        types=kinds, exclude_archived=True, limit=1000, cursor=cursor
                    ).data
                ),
            )

        try:
            return listed("public_channel,private_channel")
        except RefusedError as error:
            if error.code != "missing_scope":
                raise
        return listed("public_channel")

    def _send_bytes(self, address: str, image: bytes) -> dict[str, Any]:
        if urlsplit(address).scheme not in self._schemes:
            message = "Slack gave no safe address for the picture"
            raise RefusedError(message)
        request = Request(  # noqa: S310  the scheme is checked above
            address, data=image, headers={"Content-Type": "application/octet-stream"}, method="POST"
        )
        opener = _opener(self._client.proxy, is_direct=self._is_loopback)
        with opener.open(request, timeout=self._timeout) as answer:
            answer.read()
        return {"ok": True}

    def _call(self, method: str, request: Callable[[], Any]) -> dict[str, Any]:
        """Make one request; what goes wrong leaves as a DeliveryError without a trace of the request."""
        failure: DeliveryError
        try:
            answer = request()
            if isinstance(answer, dict):
                return answer
            failure = UnclearError(f"{method}: an answer that can't be read")
        except SlackApiError as error:
            failure = _from_answer(method, error)
        except (SlackClientError, http.client.HTTPException, OSError, ValueError) as error:
            failure = _from_exception(method, error)
        except DeliveryError as error:
            failure = error
        # Raised here, outside of `except`: a chained error would keep the request and its headers.
        raise failure


class _DirectClient(WebClient):
    """A client for loopback: no proxy from the environment may come between."""

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        opener = _opener(None, is_direct=True)
        with opener.open(req, timeout=self.timeout) as answer:
            charset = answer.headers.get_content_charset() or "utf-8"
            body = answer.read().decode(charset)
            return {"status": answer.status, "headers": answer.headers, "body": body}


def _client(token: str, base_url: str, timeout_seconds: int, *, is_direct: bool) -> WebClient:
    # The SDK logs what it sends and what failed; all of that is translated here instead.
    silent = logging.Logger("alerts.slack.silent", level=logging.CRITICAL + 1)
    silent.addHandler(logging.NullHandler())
    kind = _DirectClient if is_direct else WebClient
    client = kind(
        token=token,
        base_url=base_url,
        timeout=timeout_seconds,
        logger=silent,
        # The SDK's own handler sends again after a lost connection: that is how duplicates are made.
        retry_handlers=[],
    )
    if is_direct:
        client.proxy = None  # set from the environment during construction, also for loopback
    return client


def _opener(proxy: str | None, *, is_direct: bool) -> OpenerDirector:
    if is_direct:
        return build_opener(ProxyHandler({}))
    if proxy:
        return build_opener(ProxyHandler({"http": proxy, "https": proxy}))
    return build_opener()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


# --- failures -------------------------------------------------------------------


def _from_answer(method: str, error: SlackApiError) -> DeliveryError:
    """What Slack answered: the status first, then its error code."""
    response = error.response
    status = int(getattr(response, "status_code", 0) or 0)
    data = getattr(response, "data", None)
    headers = getattr(response, "headers", None) or {}
    given = data.get("error") if isinstance(data, dict) else None
    code = given if isinstance(given, str) and re.fullmatch(r"[a-z0-9_]{1,80}", given) else ""
    if status == 429 or code in _WAIT:
        wait = _retry_after(headers)
        return NotAppliedError(f"{method}: Slack asks to wait {wait:.0f} s", wait)
    if status >= 500 or status == 408:
        return UnclearError(f"{method}: Slack answered with status {status}")
    if not code:
        if 400 <= status < 500:
            reason = f"{method}: status {status}, not from Slack's Web API; check the Slack address"
            return RefusedError(reason)
        return UnclearError(f"{method}: an answer that can't be read (status {status})")
    return _from_code(method, code, data if isinstance(data, dict) else {})


def _from_code(method: str, code: str, data: Mapping[str, Any]) -> DeliveryError:
    if code in _UNCLEAR or code.startswith("duplicate_"):
        return UnclearError(f"{method}: {code}")
    if code in _TOKEN:
        reason = f"Slack refuses the token ({code}): set a valid LODESTONE_SLACK_TOKEN"
        return TokenRefusedError(reason)
    if code in _CONTENT or code.startswith(("invalid_blocks", "invalid_metadata")):
        return ContentRefusedError(f"{method}: {code}")
    mend = _MENDS.get(code) or next(
        (text for known, text in _MENDS.items() if code.startswith(known)), ""
    )
    needed = data.get("needed")
    if code == "missing_scope" and isinstance(needed, str):
        mend = f"{mend}: add {needed[:100]} and install it again"
    return RefusedError(f"{method}: {code}" + (f": {mend}" if mend else ""), code)


def _from_exception(method: str, error: Exception) -> DeliveryError:
    """No answer, or half of one. Texts of such errors can hold the request: only types are kept."""
    if isinstance(error, HTTPError):  # only from the upload address; the SDK handles its own
        status = error.code
        wait = _retry_after(dict(error.headers.items())) if status == 429 else None
        error.close()
        if status == 429:
            return NotAppliedError(f"{method}: Slack asks to wait {wait:.0f} s", wait)
        if status >= 500 or status == 408:
            return UnclearError(f"{method}: status {status}")
        return RefusedError(f"{method}: status {status}")
    cause = error.reason if isinstance(error, URLError) else error
    name = type(cause).__name__ if isinstance(cause, BaseException) else "URLError"
    if isinstance(error, URLError) and _never_left(cause):
        return NotAppliedError(f"{method}: Slack can't be reached ({name})")
    return UnclearError(f"{method}: no clear answer ({name})")


def _never_left(cause: object) -> bool:
    """Whether the connection failed before any byte of the request could have been taken."""
    if isinstance(cause, ConnectionRefusedError | socket.gaierror | ssl.SSLError):
        return True
    if isinstance(cause, OSError):
        is_tunnel = str(cause).startswith("Tunnel connection failed")
        return is_tunnel or cause.errno in _UNREACHED_ERRNOS
    return False


def _retry_after(headers: Mapping[str, Any]) -> float:
    """Seconds to wait, 1–3600; 30 when the header is missing or makes no sense."""
    plain = {str(name).lower(): value for name, value in headers.items()}
    given = plain.get("retry-after")
    text = str(given[0] if isinstance(given, list) and given else given or "").strip()
    seconds = _DEFAULT_WAIT_SECONDS
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        seconds = float(text)
    elif text and plain.get("date"):
        # A date is told by Slack's clock, so it is compared with the same clock.
        with contextlib.suppress(ValueError, TypeError):
            until = email.utils.parsedate_to_datetime(text)
            seconds = (until - email.utils.parsedate_to_datetime(plain["date"])).total_seconds()
    return min(max(seconds, 1.0), _LONGEST_WAIT_SECONDS)


# --- answers --------------------------------------------------------------------


def _receipt(answer: Mapping[str, Any], channel: str) -> Receipt:
    """Where a post stands, as far as Slack says it: its "ok" alone proves that it was taken."""
    channel_id, ts = answer.get("channel"), answer.get("ts")
    return Receipt(
        channel_id if isinstance(channel_id, str) and channel_id else channel,
        ts if isinstance(ts, str) else "",
    )


def _instant_of(receipt: Receipt) -> tuple[float, str]:
    """The order of messages in a channel."""
    try:
        return float(receipt.ts), receipt.ts
    except ValueError:
        return math.inf, receipt.ts


def _carries(message: Mapping[str, Any], delivery_key: str) -> bool:
    payload = _mapping(_mapping(message.get("metadata")).get("event_payload"))
    if payload.get("delivery_key") == delivery_key:
        return True
    name = _file_name(delivery_key)
    return any(file.get("name") == name for file in map(_mapping, message.get("files") or ()))


def _mapping(value: object) -> Mapping[str, Any]:
    """A part of an answer that should be an object; empty if it is anything else."""
    return value if isinstance(value, Mapping) else {}


def _shared_ts(answer: Mapping[str, Any], channel_id: str) -> str:
    """The ts of the message that holds the file, where Slack says it; often it does not."""
    for file in map(_mapping, answer.get("files") or ()):
        shares = _mapping(file.get("shares"))
        for kind in ("public", "private"):
            for share in map(_mapping, _mapping(shares.get(kind)).get(channel_id) or ()):
                return str(share.get("ts", ""))
    return ""


def _metadata(delivery_key: str) -> dict[str, Any]:
    return {"event_type": EVENT_TYPE, "event_payload": {"delivery_key": delivery_key}}


def _file_name(delivery_key: str) -> str:
    """A file has no metadata: its name is the key, and nobody reads it while there is a title."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", delivery_key) + ".png"


def _title(alt: str) -> str:
    return alt if len(alt) <= 120 else f"{alt[:120].rsplit(' ', 1)[0]} …"


def _blocks(blocks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Plain blocks; what JSON can't hold is refused here, before a request that might be taken."""
    try:
        text = json.dumps(list(blocks), allow_nan=False)
    except (TypeError, ValueError):
        text = ""
    if not text:
        message = "the blocks can't be written as JSON"
        raise ContentRefusedError(message)
    plain: list[dict[str, Any]] = json.loads(text)
    return plain
