"""Channels, messages, threads and files of the stand-in: what every Web API method does to them."""

import hashlib
import json
import math
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.slack_standin import blocks as block_rules
from tests.slack_standin.limits import Limits

Params = Mapping[str, Any]

BOT_USER, BOT, TEAM, APP = "U0LODESTONE", "B0LODESTONE", "T0STANDIN", "A0LODESTONE"
RESPONSE_USES = 5
"""How often one response_url may be used (within 30 minutes, which no test waits for)."""

NEEDS = {
    "chat.postMessage": "chat:write",
    "chat.postEphemeral": "chat:write",
    "chat.update": "chat:write",
    "chat.delete": "chat:write",
    "conversations.list": "channels:read",
    "conversations.history": "channels:history",
    "conversations.replies": "channels:history",
    "conversations.join": "channels:join",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
}
"""The scope that a bot token needs for a method."""

SCOPES = {*NEEDS.values(), "groups:history", "groups:read"}


class Refusal(Exception):
    """An answer `{"ok": false, "error": code}`."""

    def __init__(self, code: str, **details: Any) -> None:
        self.code = code
        self.details = details
        super().__init__(code)


class RateLimitedError(Exception):
    """An answer with status 429 and `Retry-After` in whole seconds."""

    def __init__(self, seconds: float) -> None:
        self.retry_after = max(1, math.ceil(seconds))
        super().__init__(f"wait {self.retry_after} s")


@dataclass
class Ephemeral:
    """What only one person sees, until their client restarts; Slack keeps it nowhere."""

    channel: str
    user: str
    text: str
    blocks: list[dict[str, Any]]
    at: float  # seconds since 1970
    under: str | None = None  # ts of the message whose button it answers, or of the thread


@dataclass
class Message:
    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    metadata: dict[str, Any] | None = None
    thread_ts: str | None = None
    client_msg_id: str | None = None
    files: list[dict[str, Any]] = field(default_factory=list)
    edited: int = 0
    seen_at: float = 0.0  # when it came into the channel, for the lag of history
    attachments: list[dict[str, Any]] = field(default_factory=list)
    user: str = BOT_USER
    bot_id: str | None = BOT  # None: a person wrote it
    username: str | None = None
    subtype: str | None = None
    says_edited: bool = False  # Slack marks an edit only where the message has no blocks

    @property
    def delivery_key(self) -> str | None:
        payload = (self.metadata or {}).get("event_payload", {})
        return payload.get("delivery_key")

    def as_json(self, *, with_metadata: bool) -> dict[str, Any]:
        out: dict[str, Any] = {
            "type": "message",
            "user": self.user,
            "ts": self.ts,
            "text": self.text,
            "blocks": self.blocks,
        }
        if self.bot_id:
            out |= {"bot_id": self.bot_id, "app_id": APP if self.bot_id == BOT else "A0OTHER"}
        if self.subtype:
            out["subtype"] = self.subtype
        if self.attachments:
            out["attachments"] = self.attachments
        if self.thread_ts:
            out["thread_ts"] = self.thread_ts
        if self.files:
            out["files"] = [{k: v for k, v in f.items() if k != "data"} for f in self.files]
        if self.says_edited:
            out["edited"] = {"user": self.user, "ts": self.ts}
        if with_metadata and self.metadata:
            out["metadata"] = self.metadata
        return out


class Workspace:
    """One workspace with one app in it. Channels come into being when they are first named."""

    def __init__(self, base_url: str = "http://127.0.0.1") -> None:
        self.base_url = base_url
        self.lock = threading.RLock()
        self.channels: dict[str, str] = {}  # id -> name
        self.messages: list[Message] = []
        self.files: dict[str, dict[str, Any]] = {}
        self.tokens: set[str] | None = None  # None: every token is good
        self.unknown_channels: set[str] = set()
        self.closed_channels: dict[str, str] = {}  # name -> is_archived, restricted_action …
        self.not_joined: set[str] = set()  # names of channels that the app must join first
        # Names of private channels; not joined as well, one is as if it were not there.
        self.private: set[str] = set()
        self.scopes: set[str] = set(SCOPES)  # what the bot token may do
        self.app_scopes: set[str] = {"connections:write"}  # what an app-level token may do
        self.ephemerals: list[Ephemeral] = []
        self.limits: Limits | None = None  # None: as many requests as anybody likes
        self.socket_address: Callable[[], str] | None = None  # makes the address for one connection
        self._responses: dict[str, _Response] = {}  # token of a response_url -> whose, how often
        self.disabled: set[str] = set()  # methods this workspace doesn't know
        self.history_lag_seconds = 0.0
        self._last_ts = 0
        self.methods: dict[str, Callable[[Params], dict[str, Any]]] = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post,
            "chat.postEphemeral": self._post_ephemeral,
            "chat.update": self._update,
            "chat.delete": self._delete,
            "conversations.list": self._list,
            "conversations.join": self._join,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "files.getUploadURLExternal": self._upload_url,
            "files.completeUploadExternal": self._complete_upload,
            "apps.connections.open": self._open_connection,
        }

    # --- what a test asks -------------------------------------------------------

    def roots(self, channel: str | None = None) -> list[Message]:
        """Messages that stand in a channel, oldest first."""
        with self.lock:
            return [m for m in self._in(channel) if m.thread_ts in (None, m.ts)]

    def thread(self, ts: str) -> list[Message]:
        """Replies under one message, oldest first."""
        with self.lock:
            return [m for m in self.messages if m.thread_ts == ts and m.ts != ts]

    def with_key(self, delivery_key: str) -> list[Message]:
        """Every visible message that carries a delivery key."""
        with self.lock:
            return [m for m in self.messages if m.delivery_key == delivery_key]

    def channel_id(self, name: str) -> str:
        """The id of a channel given by name or id; makes it if it is new."""
        with self.lock:
            if name in self.channels:
                return name
            bare = name.lstrip("#")
            for known, known_name in self.channels.items():
                if known_name == bare:
                    return known
            made = "C" + hashlib.sha256(bare.encode()).hexdigest()[:10].upper()
            self.channels[made] = bare
            return made

    def say(
        self, channel: str, text: str, *, user: str = "U0PRIYA", thread_ts: str | None = None
    ) -> Message:
        """A person writes something."""
        with self.lock:
            key = self.channel_id(channel)
            return self._keep(
                Message(key, self._next_ts(), text, [], thread_ts=thread_ts, user=user, bot_id=None)
            )

    def message(self, channel: str, ts: str) -> Message:
        """One message by channel (name or id) and ts; raises Refusal if it isn't there."""
        with self.lock:
            return self._message(self.channel_id(channel), ts)

    def _in(self, channel: str | None) -> list[Message]:
        if channel is None:
            return list(self.messages)
        wanted = self.channel_id(channel)
        return [m for m in self.messages if m.channel == wanted]

    # --- the Web API ------------------------------------------------------------

    def call(self, method: str, params: Params, token: str | None) -> dict[str, Any]:
        """Do what the real method does; raises Refusal or RateLimitedError."""
        with self.lock:
            if not token:
                raise Refusal("not_authed")
            if self.tokens is not None and token not in self.tokens:
                raise Refusal("invalid_auth")
            if method in self.disabled or method not in self.methods:
                raise Refusal("unknown_method", req_method=method)
            is_app_token = token.startswith("xapp-")
            if is_app_token != (method == "apps.connections.open"):
                raise Refusal("not_allowed_token_type")
            needed = "connections:write" if is_app_token else self._needed(method, params)
            provided = self.app_scopes if is_app_token else self.scopes
            if needed and needed not in provided:
                given = ",".join(sorted(provided))
                raise Refusal("missing_scope", needed=needed, provided=given)
            self._pace(method, str(params.get("channel", "")))
            return {"ok": True, **self.methods[method](params)}

    def _needed(self, method: str, params: Params) -> str:
        needed = NEEDS.get(method, "")
        if method == "conversations.list":
            names = {"public_channel": "channels:read", "private_channel": "groups:read"}
            wanted = [names[kind] for kind in _kinds(params) if kind in names]
            return next((scope for scope in wanted if scope not in self.scopes), "")
        name = self.channels.get(str(params.get("channel", "")))
        if needed == "channels:history" and name in self.private:
            return "groups:history"
        return needed

    def _pace(self, method: str, channel: str) -> None:
        if self.limits is None:
            return
        name = self.channels.get(channel, channel.lstrip("#"))
        if seconds := self.limits.wait(method, name):
            raise RateLimitedError(seconds)

    def webhook(self, params: Params) -> str:
        """A post by an incoming webhook into the channel that its JSON names."""
        with self.lock:
            channel = self._writable(params, by_app=False)
            self._pace("webhook", channel)
            text, blocks, attachments = self._content(params)
            self._keep(
                Message(
                    channel,
                    self._next_ts(),
                    text,
                    blocks,
                    thread_ts=str(params["thread_ts"]) if params.get("thread_ts") else None,
                    attachments=attachments,
                    user="U0WEBHOOK",
                    bot_id="B0WEBHOOK",
                    username=str(params.get("username") or "incoming-webhook"),
                )
            )
            return "ok"

    def _auth_test(self, _: Params) -> dict[str, Any]:
        return {
            "url": "https://stand-in.slack.com/",
            "team": "Stand-in",
            "team_id": TEAM,
            "user": "lodestone",
            "user_id": BOT_USER,
            "bot_id": BOT,
        }

    def _open_connection(self, _: Params) -> dict[str, Any]:
        if self.socket_address is None:
            raise Refusal("internal_error")
        return {"url": self.socket_address()}

    def _post(self, params: Params) -> dict[str, Any]:
        channel = self._writable(params)
        text, blocks, attachments = self._content(params)
        metadata = _metadata(params)
        thread_ts = params.get("thread_ts")
        if thread_ts and not re.fullmatch(r"\d{1,12}\.\d{1,9}", str(thread_ts)):
            wrong = [f"[ERROR] {thread_ts} is not a valid thread_ts"]
            raise Refusal("invalid_thread_ts", response_metadata={"messages": wrong})
        message = self._keep(
            Message(
                channel,
                self._next_ts(),
                text,
                blocks,
                metadata,
                str(thread_ts) if thread_ts else None,
                params.get("client_msg_id"),
                attachments=attachments,
            )
        )
        shown = message.as_json(with_metadata=True)
        return {"channel": channel, "ts": message.ts, "message": shown}

    def _keep(self, message: Message) -> Message:
        message.seen_at = time.monotonic()
        self.messages.append(message)
        return message

    def _post_ephemeral(self, params: Params) -> dict[str, Any]:
        channel = self._writable(params)
        user = str(params.get("user") or "")
        if not user:
            raise Refusal("user_not_in_channel")
        text, blocks, _ = self._content(params)
        thread_ts = str(params["thread_ts"]) if params.get("thread_ts") else None
        self.ephemerals.append(Ephemeral(channel, user, text, blocks, time.time(), thread_ts))
        return {"message_ts": self._next_ts()}

    def _update(self, params: Params) -> dict[str, Any]:
        message = self._own(params, "cant_update_message")
        # The parts that a call names are replaced; text alone takes the blocks away.
        text, blocks, attachments = self._content(params)
        message.text = text
        if "text" in params or "blocks" in params:
            message.blocks = blocks
        if "attachments" in params:
            message.attachments = attachments
        if params.get("metadata") is not None:
            message.metadata = _metadata(params)
        message.edited += 1
        message.says_edited = not message.blocks
        return {"channel": message.channel, "ts": message.ts, "text": message.text}

    def _delete(self, params: Params) -> dict[str, Any]:
        message = self._own(params, "cant_delete_message")
        if self.thread(message.ts):
            # A thread keeps its place: readers see that its first message is gone.
            message.text, message.blocks = "This message was deleted.", []
            message.metadata, message.attachments, message.files = None, [], []
            message.user, message.bot_id, message.subtype = "USLACKBOT", None, "tombstone"
        else:
            self.messages.remove(message)
        return {"channel": message.channel, "ts": message.ts}

    def _own(self, params: Params, code: str) -> Message:
        channel = str(params.get("channel", ""))
        if channel not in self.channels:
            raise Refusal("channel_not_found")
        message = self._message(channel, str(params.get("ts", "")))
        if message.bot_id != BOT:
            raise Refusal(code)
        return message

    def _list(self, params: Params) -> dict[str, Any]:
        for name in (*self.not_joined, *self.closed_channels, *self.private):
            self.channel_id(name)
        hides_archived = _is_true(params.get("exclude_archived"))
        kinds = _kinds(params)
        found = [
            self._channel(key) for key, name in self.channels.items() if not self._is_hidden(name)
        ]
        shown = [
            each
            for each in found
            if not (hides_archived and each["is_archived"])
            and ("private_channel" if each["is_private"] else "public_channel") in kinds
        ]
        return {"channels": shown, "response_metadata": {"next_cursor": ""}}

    def _is_hidden(self, name: str) -> bool:
        return name in self.private and name in self.not_joined

    def _channel(self, key: str) -> dict[str, Any]:
        name = self.channels[key]
        return {
            "id": key,
            "name": name,
            "is_channel": True,
            "is_private": name in self.private,
            "is_archived": self.closed_channels.get(name) == "is_archived",
            "is_member": name not in self.not_joined,
        }

    def _join(self, params: Params) -> dict[str, Any]:
        key = str(params.get("channel", ""))
        name = self.channels.get(key)  # an id, never a name
        if name is None or name in self.unknown_channels or self._is_hidden(name):
            raise Refusal("channel_not_found")
        if name in self.closed_channels:
            raise Refusal(self.closed_channels[name])
        if name in self.private:
            raise Refusal("method_not_supported_for_channel_type")
        if name not in self.not_joined:
            known = "already_in_channel"
            return {
                "channel": self._channel(key),
                "warning": known,
                "response_metadata": {"warnings": [known]},
            }
        self.not_joined.discard(name)
        return {"channel": self._channel(key)}

    def _history(self, params: Params) -> dict[str, Any]:
        channel = self._readable(params)
        found = [m for m in self._in(channel) if m.thread_ts in (None, m.ts)]
        return self._page(list(reversed(found)), params)

    def _replies(self, params: Params) -> dict[str, Any]:
        channel = self._readable(params)
        ts = str(params.get("ts", ""))
        parent = self._message(channel, ts, "thread_not_found")
        return self._page([parent, *self.thread(ts)], params)

    def _page(self, found: list[Message], params: Params) -> dict[str, Any]:
        newest = time.monotonic() - self.history_lag_seconds
        oldest = float(params.get("oldest") or 0)
        seen = [m for m in found if m.seen_at <= newest and float(m.ts) >= oldest]
        limit = int(params.get("limit") or 100)
        start = int(params.get("cursor") or 0)
        more = start + limit < len(seen)
        with_metadata = _is_true(params.get("include_all_metadata"))
        return {
            "messages": [
                m.as_json(with_metadata=with_metadata) for m in seen[start : start + limit]
            ],
            "has_more": more,
            "response_metadata": {"next_cursor": str(start + limit) if more else ""},
        }

    def _upload_url(self, params: Params) -> dict[str, Any]:
        if not params.get("filename") or not int(params.get("length") or 0):
            raise Refusal("invalid_arguments")
        key = f"F{len(self.files):09d}"
        self.files[key] = {
            "id": key,
            "name": params["filename"],
            "title": params["filename"],
            "alt_txt": params.get("alt_txt") or params.get("alt_text") or "",
            "length": int(params["length"]),
            "data": b"",
        }
        return {"upload_url": f"{self.base_url}/upload/{key}", "file_id": key}

    def upload(self, key: str, data: bytes) -> None:
        with self.lock:
            if key not in self.files:
                raise Refusal("file_not_found")
            self.files[key]["data"] = data

    def _complete_upload(self, params: Params) -> dict[str, Any]:
        given = params.get("files")
        wanted = json.loads(given) if isinstance(given, str) else list(given or [])
        shared = []
        for item in wanted:
            file = self.files.get(item.get("id"))
            if file is None or len(file["data"]) != file["length"]:
                raise Refusal("file_not_found")
            file["title"] = item.get("title") or file["name"]
            shared.append(file)
        if params.get("channel_id"):
            channel = str(params["channel_id"])
            if channel not in self.channels:
                raise Refusal("channel_not_found")
            thread_ts = params.get("thread_ts")
            if thread_ts:
                self._message(channel, str(thread_ts), "thread_not_found")
            self._keep(
                Message(
                    channel,
                    self._next_ts(),
                    str(params.get("initial_comment") or ""),
                    [],
                    None,
                    str(thread_ts) if thread_ts else None,
                    files=list(shared),
                )
            )
        return {"files": [{"id": f["id"], "title": f["title"]} for f in shared]}

    # --- answers to a button ------------------------------------------------------

    def response_url(self, message: Message, user: str) -> str:
        """An address for answers to one press of a button."""
        with self.lock:
            token = secrets.token_hex(12)
            self._responses[token] = _Response(message, user)
            return f"{self.base_url}/response/{token}"

    def respond(self, token: str, params: Params) -> str:
        """What an app sends to a response_url; raises Refusal."""
        with self.lock:
            response = self._responses.get(token)
            if response is None:
                raise Refusal("expired_url")
            if response.uses >= RESPONSE_USES:
                raise Refusal("used_url")
            message = response.message
            if _is_true(params.get("delete_original")):
                self.messages.remove(self._message(message.channel, message.ts))
                response.uses += 1
                return "ok"
            text, blocks, attachments = self._content(params)
            response.uses += 1
            if _is_true(params.get("replace_original")):
                message.text, message.blocks, message.attachments = text, blocks, attachments
                message.edited += 1
                message.says_edited = not blocks
            elif params.get("response_type") == "in_channel":
                thread_ts = params.get("thread_ts")
                self._keep(
                    Message(
                        message.channel,
                        self._next_ts(),
                        text,
                        blocks,
                        thread_ts=str(thread_ts) if thread_ts else None,
                    )
                )
            else:
                self.ephemerals.append(
                    Ephemeral(message.channel, response.user, text, blocks, time.time(), message.ts)
                )
            return "ok"

    # --- helpers ----------------------------------------------------------------

    def _writable(self, params: Params, *, by_app: bool = True) -> str:
        given = str(params.get("channel") or "")
        name = self.channels.get(given, given.lstrip("#"))
        if not name or name in self.unknown_channels or self._is_hidden(name):
            raise Refusal("channel_not_found")
        if name in self.closed_channels:
            raise Refusal(self.closed_channels[name])
        key = self.channel_id(given)
        if by_app and name in self.not_joined and "chat:write.public" not in self.scopes:
            raise Refusal("not_in_channel")
        return key

    def _readable(self, params: Params) -> str:
        channel = str(params.get("channel", ""))
        if channel not in self.channels:  # history wants an id, never a name
            raise Refusal("channel_not_found")
        if self._is_hidden(self.channels[channel]):
            raise Refusal("channel_not_found")
        if self.channels[channel] in self.not_joined:
            raise Refusal("not_in_channel")
        return channel

    def _content(self, params: Params) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
        text = str(params.get("text") or "")
        blocks, attachments = _listed(params, "blocks"), _listed(params, "attachments")
        if not text and not blocks and not attachments:
            raise Refusal("no_text")
        if len(text) > block_rules.MOST_TEXT:
            raise Refusal("msg_too_long")
        if wrong := block_rules.problems(blocks):
            raise Refusal("invalid_blocks", response_metadata={"messages": wrong})
        if block_rules.text_length(blocks) > block_rules.MOST_BLOCK_TEXT:
            raise Refusal("msg_blocks_too_long")
        return text, blocks, attachments

    def _message(self, channel: str, ts: str, code: str = "message_not_found") -> Message:
        for message in self.messages:
            if message.channel == channel and message.ts == ts:
                return message
        raise Refusal(code)

    def _next_ts(self) -> str:
        self._last_ts = max(time.time_ns() // 1000, self._last_ts + 1)
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"


@dataclass
class _Response:
    message: Message
    user: str
    uses: int = 0


def _kinds(params: Params) -> list[str]:
    """Which channels are listed; public ones where nobody says."""
    return [kind.strip() for kind in str(params.get("types") or "public_channel").split(",")]


def _is_true(value: object) -> bool:
    return str(value).lower() in ("1", "true")


def _listed(params: Params, name: str) -> list[dict[str, Any]]:
    """A list that a form carries as JSON, and JSON as itself."""
    given = params.get(name)
    code = f"invalid_{name}"
    try:
        found = json.loads(given) if isinstance(given, str) and given else given or []
    except ValueError:
        raise Refusal(code) from None
    if not isinstance(found, list):
        raise Refusal(code)
    return found


def _metadata(params: Params) -> dict[str, Any] | None:
    given = params.get("metadata")
    metadata = json.loads(given) if isinstance(given, str) and given else given
    if not metadata:
        return None
    if not isinstance(metadata, dict) or not {"event_type", "event_payload"} <= set(metadata):
        raise Refusal("invalid_metadata_format")
    if len(json.dumps(metadata)) > 16_000:
        raise Refusal("metadata_too_large")
    return dict(metadata)
