"""A channel as a reader sees it: blocks, threads and pictures as one HTML page, no scripts."""

import html
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.slack_standin.workspace import Message, Workspace

_EMOJI = {
    "rotating_light": "🚨",
    "warning": "⚠️",
    "large_yellow_circle": "🟡",
    "large_orange_circle": "🟠",
    "red_circle": "🔴",
    "large_green_circle": "🟢",
    "white_check_mark": "✅",
    "information_source": "ℹ️",
    "bell": "🔔",
    "chart_with_upwards_trend": "📈",
    "leftwards_arrow_with_hook": "↩️",
}

# Drawn, because a machine that takes screenshots often has no font for them.
_DOTS = {
    "🔴": "#e01e5a",
    "🟠": "#ed8b00",
    "🟡": "#ecb22e",
    "🟢": "#2eb67d",
    "🔵": "#1d9bd1",
    "⚪": "#ccc",
}

_STYLE = """
*{box-sizing:border-box}
body{margin:0;font:15px/1.46668 Lato,"Slack-Lato","Noto Sans","DejaVu Sans",Arial,sans-serif;color:#1d1c1d;display:flex;min-height:100vh}
nav{width:220px;flex:none;background:#4a154b;color:#e6d9e6;padding:14px 8px}
nav h1{font-size:17px;margin:0 8px 18px;color:#fff}
nav a{display:block;color:inherit;text-decoration:none;padding:3px 10px;border-radius:6px;overflow-wrap:anywhere}
nav a.here{background:#1164a3;color:#fff}
main{flex:1;min-width:0;background:#fff}
main>header{border-bottom:1px solid #ddd;padding:12px 20px;font-weight:900;font-size:18px}
main>header small{font-weight:400;color:#616061;font-size:13px;margin-left:10px}
.message{display:flex;gap:10px;padding:10px 20px}
.avatar{width:36px;height:36px;border-radius:8px;background:#2b5c8a;color:#fff;font-weight:900;display:grid;place-items:center;flex:none;font-size:17px}
.body{flex:1;min-width:0;max-width:680px;overflow-wrap:anywhere}
.who{font-weight:900}.app{background:#e8e8e8;color:#616061;font-size:10px;font-weight:700;padding:1px 4px;border-radius:3px;margin:0 5px;vertical-align:1px}
.when,.edited{color:#616061;font-size:12px;font-weight:400}
.block{margin:4px 0 8px}
.head{font-size:18px;font-weight:900;margin:6px 0 6px}
.fields{display:grid;grid-template-columns:1fr 1fr;gap:8px 16px}
.dot{display:inline-block;width:.8em;height:.8em;border-radius:50%;vertical-align:-.05em}
.context{color:#616061;font-size:13px;display:flex;flex-wrap:wrap;gap:4px 8px;align-items:center}
.context img{width:20px;height:20px;border-radius:2px}
hr{border:0;border-top:1px solid #ddd;margin:12px 0}
a{color:#1264a3;text-decoration:none}
code{background:#f8f8f8;border:1px solid #ddd;border-radius:3px;color:#c01343;padding:1px 3px;font-size:12px}
pre{background:#f8f8f8;border:1px solid #ddd;border-radius:4px;padding:8px;font-size:12px;white-space:pre-wrap;margin:4px 0}
blockquote{border-left:4px solid #ddd;margin:4px 0;padding-left:12px}
.button{display:inline-block;border:1px solid #bbb;border-radius:4px;padding:4px 12px;font-weight:700;font-size:13px;margin:0 8px 4px 0;background:#fff;color:#1d1c1d}
.button.primary{background:#007a5a;border-color:#007a5a;color:#fff}.button.danger{background:#e01e5a;border-color:#e01e5a;color:#fff}
.mention{background:#fdf2c0;color:#946800;padding:0 2px;border-radius:3px}
.thread{border-left:2px solid #ddd;margin:6px 0 0 4px;padding-left:4px}
.thread .message{padding:6px 10px}.thread .avatar{width:26px;height:26px;font-size:13px;border-radius:6px}
.replies{color:#1264a3;font-weight:700;font-size:13px;margin-top:4px}
figure{margin:6px 0}figure img{max-width:100%;width:480px;border:1px solid #ddd;border-radius:8px;display:block}
figcaption{color:#616061;font-size:13px;margin-bottom:4px}
.empty{padding:40px 20px;color:#616061}
@media (max-width:640px){nav{display:none}.fields{grid-template-columns:1fr}}
"""


def channel_page(workspace: "Workspace", chosen: str | None = None) -> str:
    """The page of one channel (by name or id; the first one if none is given)."""
    with workspace.lock:
        channels = dict(workspace.channels)
        here = workspace.channel_id(chosen) if chosen else next(iter(channels), None)
        if here is not None:
            channels = dict(workspace.channels)
        links = "".join(
            f'<a class="{"here" if key == here else ""}" href="/?channel={key}"># {_plain(name)}</a>'
            for key, name in channels.items()
        )
        shown = [m for m in workspace.roots() if m.channel == here]
        stream = "".join(_message(m, workspace.thread(m.ts)) for m in shown)
    title = f"# {_plain(channels[here])}" if here else "No channel yet"
    count = f"{len(shown)} message{'' if len(shown) == 1 else 's'}"
    stream = stream or '<p class="empty">Nothing has been posted here.</p>'
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style>"
        f"<body><nav><h1>Stand-in</h1>{links}</nav>"
        f"<main><header>{title}<small>{count}</small></header>{stream}</main></body></html>"
    )


def _message(message: "Message", replies: list["Message"]) -> str:
    when = datetime.fromtimestamp(float(message.ts), UTC).strftime("%d %b %Y %H:%M:%S UTC")
    parts = [_block(block) for block in message.blocks]
    if not message.blocks and message.text:
        parts.append(f'<div class="block">{_mrkdwn(message.text)}</div>')
    for file in message.files:
        parts.append(
            f"<figure><figcaption>{_plain(file['title'])}</figcaption>"
            f'<img src="/files/{file["id"]}" alt="{_plain(file["alt_txt"])}"></figure>'
        )
    edited = ' <span class="edited">(edited)</span>' if message.edited else ""
    thread = ""
    if replies:
        noun = "reply" if len(replies) == 1 else "replies"
        inner = "".join(_message(reply, []) for reply in replies)
        thread = (
            f'<div class="replies">{len(replies)} {noun}</div><div class="thread">{inner}</div>'
        )
    return (
        f'<article class="message" data-ts="{message.ts}"><div class="avatar">L</div>'
        f'<div class="body"><span class="who">Lodestone</span><span class="app">APP</span>'
        f'<span class="when">{when}</span>{edited}{"".join(parts)}{thread}</div></article>'
    )


def _block(block: Mapping[str, Any]) -> str:
    match block["type"]:
        case "header":
            return f'<div class="head">{_text(block["text"])}</div>'
        case "section":
            inner = f"<div>{_text(block['text'])}</div>" if block.get("text") else ""
            if fields := block.get("fields"):
                cells = "".join(f"<div>{_text(field)}</div>" for field in fields)
                inner += f'<div class="fields">{cells}</div>'
            return f'<div class="block">{inner}</div>'
        case "context":
            parts = "".join(
                f'<img src="{_plain(e.get("image_url", ""))}" alt="{_plain(e["alt_text"])}">'
                if e["type"] == "image"
                else f"<span>{_text(e)}</span>"
                for e in block["elements"]
            )
            return f'<div class="block context">{parts}</div>'
        case "divider":
            return "<hr>"
        case "image":
            title = _text(block["title"]) if block.get("title") else ""
            return (
                f'<figure><figcaption>{title}</figcaption><img src="'
                f'{_plain(block.get("image_url", ""))}" alt="{_plain(block["alt_text"])}"></figure>'
            )
        case "actions":
            buttons = "".join(
                f'<span class="button {_plain(e.get("style", ""))}">{_text(e["text"])}</span>'
                for e in block["elements"]
                if e.get("type") == "button"
            )
            return f'<div class="block">{buttons}</div>'
        case other:
            return f'<div class="block">[{_plain(str(other))}]</div>'


def _text(text: Mapping[str, Any]) -> str:
    if text["type"] == "plain_text":
        return _emoji(_plain(text["text"])).replace("\n", "<br>")
    return _mrkdwn(text["text"])


def _plain(text: str) -> str:
    return html.escape(html.unescape(text))


def _emoji(text: str) -> str:
    text = re.sub(r":([a-z0-9_+-]+):", lambda m: _EMOJI.get(m[1], m[0]), text)
    for dot, colour in _DOTS.items():
        text = text.replace(dot, f'<span class="dot" style="background:{colour}"></span>')
    return text


def _mrkdwn(text: str) -> str:
    """Slack's own markup as HTML; mentions stand out, so that one that should not be there is seen."""
    kept: list[str] = []

    def keep(markup: str) -> str:
        kept.append(markup)
        return f"\x00{len(kept) - 1}\x00"

    def angle(match: re.Match[str]) -> str:
        target, _, label = match[1].partition("|")
        if target[:1] in "@!#":
            return keep(f'<span class="mention">{_plain(label or target)}</span>')
        return keep(f'<a href="{_plain(target)}">{_plain(label or target)}</a>')

    text = text.replace("\x00", "")
    text = re.sub(r"```(.+?)```", lambda m: keep(f"<pre>{_plain(m[1])}</pre>"), text, flags=re.S)
    text = re.sub(r"`([^`\n]+)`", lambda m: keep(f"<code>{_plain(m[1])}</code>"), text)
    text = re.sub(r"<([^<>]+)>", angle, text)
    text = _emoji(_plain(text))
    for mark, tag in (("*", "b"), ("_", "i"), ("~", "s")):
        escaped = re.escape(mark)
        text = re.sub(
            rf"(?<![\w{escaped}]){escaped}(\S(?:[^\n{escaped}]*\S)?){escaped}(?!\w)",
            rf"<{tag}>\1</{tag}>",
            text,
        )
    text = re.sub(
        r"(?:^|\n)(?:&gt; ?[^\n]*(?:\n|$))+",
        lambda m: (
            "<blockquote>"
            + re.sub(r"(^|\n)&gt; ?", r"\1", m[0].strip("\n")).replace("\n", "<br>")
            + "</blockquote>"
        ),
        text,
    )
    text = text.replace("\n", "<br>")
    return re.sub(r"\x00(\d+)\x00", lambda m: kept[int(m[1])], text)
