"""Channels, messages, threads and files of the stand-in: what every Web API method does to them."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.slack_standin import blocks as block_rules

Params = Mapping[str, Any]


class Refusal(Exception):
    """An answer `{"ok": false, "error": code}`."""

    def __init__(self, code: str, **details: Any) -> None:
        self.code = code
        self.details = details
        super().__init__(code)


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

    @property
    def delivery_key(self) -> str | None:
        payload = (self.metadata or {}).get("event_payload", {})
        return payload.get("delivery_key")

    def as_json(self, *, with_metadata: bool) -> dict[str, Any]:
        out: dict[str, Any] = {
            "type": "message",
            "user": "U0LODESTONE",
            "bot_id": "B0LODESTONE",
            "app_id": "A0LODESTONE",
            "ts": self.ts,
            "text": self.text,
            "blocks": self.blocks,
        }
        if self.thread_ts:
            out["thread_ts"] = self.thread_ts
        if self.files:
            out["files"] = [{k: v for k, v in f.items() if k != "data"} for f in self.files]
        if self.edited:
            out["edited"] = {"user": "U0LODESTONE", "ts": self.ts}
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
        self.closed_channels: dict[str, str] = {}  # name -> is_archived, not_in_channel …
        self.disabled: set[str] = set()  # methods this workspace doesn't know
        self.history_lag_seconds = 0.0
        self._last_ts = 0
        self.methods: dict[str, Callable[[Params], dict[str, Any]]] = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "chat.delete": self._delete,
            "conversations.list": self._list,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "files.getUploadURLExternal": self._upload_url,
            "files.completeUploadExternal": self._complete_upload,
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

    def _in(self, channel: str | None) -> list[Message]:
        if channel is None:
            return list(self.messages)
        wanted = self.channel_id(channel)
        return [m for m in self.messages if m.channel == wanted]

    # --- the Web API ------------------------------------------------------------

    def call(self, method: str, params: Params, token: str | None) -> dict[str, Any]:
        """Do what the real method does; raises Refusal."""
        with self.lock:
            if not token:
                raise Refusal("not_authed")
            if self.tokens is not None and token not in self.tokens:
                raise Refusal("invalid_auth")
            if method in self.disabled or method not in self.methods:
                raise Refusal("unknown_method", req_method=method)
            return {"ok": True, **self.methods[method](params)}

    def _auth_test(self, _: Params) -> dict[str, Any]:
        return {
            "url": "https://stand-in.slack.com/",
            "team": "Stand-in",
            "team_id": "T0STANDIN",
            "user": "lodestone",
            "user_id": "U0LODESTONE",
            "bot_id": "B0LODESTONE",
        }

    def _post(self, params: Params) -> dict[str, Any]:
        channel = self._writable(params)
        text, blocks = self._content(params)
        metadata = _metadata(params)
        thread_ts = params.get("thread_ts")
        message = Message(
            channel,
            self._next_ts(),
            text,
            blocks,
            metadata,
            str(thread_ts) if thread_ts else None,
            params.get("client_msg_id"),
            seen_at=time.monotonic(),
        )
        self.messages.append(message)
        shown = message.as_json(with_metadata=True)
        return {"channel": channel, "ts": message.ts, "message": shown}

    def _update(self, params: Params) -> dict[str, Any]:
        channel = str(params.get("channel", ""))
        if channel not in self.channels:
            raise Refusal("channel_not_found")
        message = self._message(channel, str(params.get("ts", "")))
        message.text, message.blocks = self._content(params)
        if params.get("metadata"):
            message.metadata = _metadata(params)
        message.edited += 1
        return {"channel": channel, "ts": message.ts, "text": message.text}

    def _delete(self, params: Params) -> dict[str, Any]:
        message = self._message(str(params.get("channel", "")), str(params.get("ts", "")))
        self.messages.remove(message)
        return {"channel": message.channel, "ts": message.ts}

    def _list(self, _: Params) -> dict[str, Any]:
        channels = [
            {"id": key, "name": name, "is_channel": True, "is_archived": False, "is_member": True}
            for key, name in self.channels.items()
        ]
        return {"channels": channels, "response_metadata": {"next_cursor": ""}}

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
        with_metadata = str(params.get("include_all_metadata", "0")).lower() in ("1", "true")
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
            self.messages.append(
                Message(
                    channel,
                    self._next_ts(),
                    str(params.get("initial_comment") or ""),
                    [],
                    None,
                    str(thread_ts) if thread_ts else None,
                    files=list(shared),
                    seen_at=time.monotonic(),
                )
            )
        return {"files": [{"id": f["id"], "title": f["title"]} for f in shared]}

    # --- helpers ----------------------------------------------------------------

    def _writable(self, params: Params) -> str:
        given = str(params.get("channel", ""))
        name = self.channels.get(given, given.lstrip("#"))
        if not name or name in self.unknown_channels:
            raise Refusal("channel_not_found")
        if name in self.closed_channels:
            raise Refusal(self.closed_channels[name])
        return self.channel_id(given)

    def _readable(self, params: Params) -> str:
        channel = str(params.get("channel", ""))
        if channel not in self.channels:  # history wants an id, never a name
            raise Refusal("channel_not_found")
        return channel

    def _content(self, params: Params) -> tuple[str, list[dict[str, Any]]]:
        text = str(params.get("text") or "")
        given = params.get("blocks")
        blocks = json.loads(given) if isinstance(given, str) and given else list(given or [])
        if not text and not blocks:
            raise Refusal("no_text")
        if len(text) > block_rules.MOST_TEXT:
            raise Refusal("msg_too_long")
        if wrong := block_rules.problems(blocks):
            raise Refusal("invalid_blocks", response_metadata={"messages": wrong})
        if block_rules.text_length(blocks) > block_rules.MOST_BLOCK_TEXT:
            raise Refusal("msg_blocks_too_long")
        return text, blocks

    def _message(self, channel: str, ts: str, code: str = "message_not_found") -> Message:
        for message in self.messages:
            if message.channel == channel and message.ts == ts:
                return message
        raise Refusal(code)

    def _next_ts(self) -> str:
        self._last_ts = max(time.time_ns() // 1000, self._last_ts + 1)
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"


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
