"""A channel as a reader sees it: blocks, threads and pictures as one HTML page, no scripts."""

import html
import re
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.slack_standin.socket_mode import Click
    from tests.slack_standin.workspace import Ephemeral, Message, Workspace

ACK_SECONDS = 3.0
"""Slack shows the reader a warning sign when no ack came by then."""

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

_COLOURS = {"good": "#2eb886", "warning": "#daa038", "danger": "#a30200"}
_PEOPLE = {
    "U0LODESTONE": ("Lodestone", "#2b5c8a"),
    "U0YOU": ("You", "#7c3085"),
    "USLACKBOT": ("Slackbot", "#616061"),
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
.avatar{width:36px;height:36px;border-radius:8px;color:#fff;font-weight:900;display:grid;place-items:center;flex:none;font-size:17px}
.body{flex:1;min-width:0;max-width:680px;overflow-wrap:anywhere}
.who{font-weight:900}.app{background:#e8e8e8;color:#616061;font-size:10px;font-weight:700;padding:1px 4px;border-radius:3px;margin-left:5px;vertical-align:1px}
.when{margin-left:5px}.when,.edited{color:#616061;font-size:12px;font-weight:400}
.tombstone{color:#616061;font-style:italic}
.block{margin:4px 0 8px}
.head{font-size:18px;font-weight:900;margin:6px 0 6px}
.fields{display:grid;grid-template-columns:1fr 1fr;gap:8px 16px}
.dot{display:inline-block;width:.8em;height:.8em;border-radius:50%;vertical-align:-.05em}
.context{color:#616061;font-size:13px;display:flex;flex-wrap:wrap;gap:4px 8px;align-items:center}
.context img{width:20px;height:20px;border-radius:2px}
hr{border:0;border-top:1px solid #ddd;margin:12px 0}
a{color:#1264a3;text-decoration:none}
code{background:#f8f8f8;border:1px solid #ddd;border-radius:3px;color:#c01343;padding:1px 3px;font-size:12px}
pre{background:#f8f8f8;border:1px solid #ddd;border-radius:4px;padding:8px;font-size:12px;line-height:1.5;white-space:pre-wrap;margin:4px 0}
blockquote{border-left:4px solid #ddd;margin:4px 0;padding-left:12px}
.actions{display:flex;flex-wrap:wrap;gap:8px;align-items:center}.actions form{margin:0}
.button{display:inline-block;border:1px solid #bbb;border-radius:4px;padding:4px 12px;font:inherit;font-size:13px;font-weight:700;background:#fff;color:#1d1c1d;cursor:pointer}
.button:hover{background:#f6f6f6}.button:focus-visible{outline:3px solid #1d9bd1}
.button.primary{background:#007a5a;border-color:#007a5a;color:#fff}.button.danger{background:#e01e5a;border-color:#e01e5a;color:#fff}
.unheard{color:#946800;font-size:13px}
.mention{background:#fdf2c0;color:#946800;padding:0 2px;border-radius:3px}
.thread{border-left:2px solid #ddd;margin:6px 0 0 4px;padding-left:4px}
.thread .message{padding:6px 10px}.thread .avatar{width:26px;height:26px;font-size:13px;border-radius:6px}
.replies{color:#1264a3;font-weight:700;font-size:13px;margin-top:4px}
figure{margin:6px 0}figure img{max-width:100%;width:480px;border:1px solid #ddd;border-radius:8px;display:block}
figcaption{color:#616061;font-size:13px;margin-bottom:4px}
.attachment{border-left:4px solid #ddd;border-radius:2px;padding:2px 0 2px 12px;margin:6px 0}
.attachment .title{font-weight:700}.foot{color:#616061;font-size:12px}
.ephemeral{background:#f8f4e9}
.only{color:#616061;font-size:12px}.only::before{content:"";display:inline-block;width:13px;height:8px;border:1.5px solid #616061;border-radius:50%;margin-right:6px;background:radial-gradient(circle,#616061 2px,transparent 2.6px)}
.empty{padding:40px 20px;color:#616061}
@media (max-width:640px){
body{flex-direction:column}
nav{width:auto;display:flex;gap:4px;align-items:center;overflow-x:auto;padding:8px}nav h1{margin:0 8px;font-size:15px}nav a{white-space:nowrap}
.message{padding:10px 12px}main>header{padding:10px 12px}.fields{grid-template-columns:1fr}
.thread{margin-left:-10px}.thread .message{padding:6px 4px 6px 8px}
}
"""

_LIVE_SECONDS = 2


def channel_page(
    workspace: "Workspace",
    chosen: str | None = None,
    *,
    live: bool = False,
    clicks: Sequence["Click"] = (),
) -> str:
    """The page of one channel (by name or id; the first one if none is given).

    A live page loads itself anew every two seconds. Clicks that no app took are marked.
    """
    with workspace.lock:
        channels = dict(workspace.channels)
        here = workspace.channel_id(chosen) if chosen else next(iter(channels), None)
        if here is not None:
            channels = dict(workspace.channels)
        more = "&amp;live=1" if live else ""
        links = "".join(
            f'<a class="{"here" if key == here else ""}" href="/?channel={key}{more}"># {_plain(name)}</a>'
            for key, name in channels.items()
        )
        page = _Page(workspace, here or "", live=live, clicks=clicks)
        shown = [m for m in workspace.roots() if m.channel == here]
        stream = "".join(page.message(m, workspace.thread(m.ts)) for m in shown)
        stream += page.loose_ephemerals({m.ts for m in workspace.messages})
    title = f"# {_plain(channels[here])}" if here else "No channel yet"
    count = f"{len(shown)} message{'' if len(shown) == 1 else 's'}"
    stream = stream or '<p class="empty">Nothing has been posted here.</p>'
    refresh = f'<meta http-equiv="refresh" content="{_LIVE_SECONDS}">' if live else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"{refresh}<title>{title}</title><style>{_STYLE}</style>"
        f"<body><nav><h1>Stand-in</h1>{links}</nav>"
        f"<main><header>{title}<small>{count}</small></header>{stream}</main></body></html>"
    )


class _Page:
    """What the messages of one page need to know of their surroundings."""

    def __init__(
        self, workspace: "Workspace", channel: str, *, live: bool, clicks: Sequence["Click"]
    ) -> None:
        self._live = live
        # Slack shows what is for one person at the end of the channel. Here it stands under the button
        # that was pressed, where whoever tries the buttons looks.
        pressed = {(click.message.channel, click.user): click.message.ts for click in clicks}
        self._ephemerals = [
            (e.under or pressed.get((e.channel, e.user)), e)
            for e in workspace.ephemerals
            if e.channel == channel
        ]
        now = time.monotonic()
        self._unheard = {
            click.message.ts
            for click in clicks
            if not click.sent_at or (not click.acks and now - click.sent_at[0] > ACK_SECONDS)
        }

    def message(self, message: "Message", replies: Sequence["Message"]) -> str:
        parts = [self._block(message, block) for block in message.blocks]
        if not message.blocks and message.text:
            kind = "block tombstone" if message.subtype == "tombstone" else "block"
            edited = ' <span class="edited">(edited)</span>' if message.says_edited else ""
            parts.append(f'<div class="{kind}">{_mrkdwn(message.text)}{edited}</div>')
        parts += [_attachment(each) for each in message.attachments]
        for file in message.files:
            parts.append(
                f"<figure><figcaption>{_plain(file['title'])}</figcaption>"
                f'<img src="/files/{file["id"]}" alt="{_plain(file["alt_txt"])}"></figure>'
            )
        if message.ts in self._unheard:
            parts.append('<div class="unheard">⚠ The app did not answer this button in time.</div>')
        parts += [self._ephemeral(e) for under, e in self._ephemerals if under == message.ts]
        if replies:
            noun = "reply" if len(replies) == 1 else "replies"
            inner = "".join(self.message(reply, []) for reply in replies)
            parts.append(
                f'<div class="replies">{len(replies)} {noun}</div><div class="thread">{inner}</div>'
            )
        name, colour = _author(message)
        app = '<span class="app">APP</span>' if message.bot_id else ""
        return _article(
            f'id="m{message.ts}" data-ts="{message.ts}"',
            name,
            colour,
            app,
            _when(float(message.ts)),
            "".join(parts),
        )

    def loose_ephemerals(self, known: Collection[str]) -> str:
        """Those that stand under no message, at the end as in a channel."""
        return "".join(self._ephemeral(e) for under, e in self._ephemerals if under not in known)

    def _ephemeral(self, ephemeral: "Ephemeral") -> str:
        only = "you" if ephemeral.user == "U0YOU" else _person(ephemeral.user)
        body = "".join(self._block(None, block) for block in ephemeral.blocks)
        if not ephemeral.blocks:
            body = f'<div class="block">{_mrkdwn(ephemeral.text)}</div>'
        name, colour = _PEOPLE["U0LODESTONE"]
        inner = _article(
            'data-for="' + _plain(ephemeral.user) + '"',
            name,
            colour,
            '<span class="app">APP</span>',
            _when(ephemeral.at),
            body,
            above=f'<div class="only">Only visible to {_plain(only)}</div>',
        )
        return inner.replace('class="message"', 'class="message ephemeral"', 1)

    def _block(self, message: "Message | None", block: Mapping[str, Any]) -> str:
        match block["type"]:
            case "actions":
                buttons = "".join(self._button(message, part) for part in block["elements"])
                return f'<div class="block actions">{buttons}</div>'
            case "section" if block.get("accessory"):
                button = self._button(message, block["accessory"])
                return f'{_block(block)}<div class="block actions">{button}</div>'
            case _:
                return _block(block)

    def _button(self, message: "Message | None", button: Mapping[str, Any]) -> str:
        """A form instead of a script: pressing it loads the page anew, with what came of it."""
        if button.get("type") != "button":
            return f'<span class="button">[{_plain(str(button.get("type")))}]</span>'
        style, words = _plain(button.get("style", "")), _text(button["text"])
        label = button.get("accessibility_label")
        says = f' aria-label="{_plain(label)}"' if label else ""
        if button.get("url"):
            return f'<a class="button {style}" href="{_plain(button["url"])}"{says}>{words}</a>'
        if message is None:
            return f'<span class="button {style}"{says}>{words}</span>'
        fields = {
            "channel": message.channel,
            "ts": message.ts,
            "action_id": str(button.get("action_id", "")),
            "live": "1" if self._live else "",
        }
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{_plain(value)}">'
            for name, value in fields.items()
        )
        return (
            f'<form method="post" action="/click">{hidden}'
            f'<button class="button {style}"{says}>{words}</button></form>'
        )


def _article(
    marks: str, name: str, colour: str, app: str, when: str, body: str, *, above: str = ""
) -> str:
    return (
        f'<article class="message" {marks}>'
        f'<div class="avatar" style="background:{colour}">{_plain(name[:1].upper())}</div>'
        f'<div class="body">{above}<span class="who">{_plain(name)}</span>{app}'
        f'<span class="when">{when}</span>{body}</div></article>'
    )


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %b %Y %H:%M:%S UTC")


def _author(message: "Message") -> tuple[str, str]:
    if message.username:
        return message.username, "#e0692b"
    return _PEOPLE.get(message.user, (_person(message.user), "#5b7083"))


def _attachment(attachment: Mapping[str, Any]) -> str:
    """The older form of a message's parts, as Alertmanager sends it: a bar, a title, text, fields."""
    colour = str(attachment.get("color") or "#ddd")
    colour = _COLOURS.get(colour, colour)
    if not re.fullmatch(r"#[0-9a-fA-F]{3,6}", colour):
        colour = "#ddd"
    parts = [_mrkdwn(str(attachment["pretext"]))] if attachment.get("pretext") else []
    inner = ""
    if title := attachment.get("title"):
        link, words = attachment.get("title_link"), _plain(str(title))
        linked = f'<a href="{_plain(str(link))}">{words}</a>' if link else words
        inner += f'<div class="title">{linked}</div>'
    text = attachment.get("text") or ("" if title else attachment.get("fallback"))
    if text:
        inner += f"<div>{_mrkdwn(str(text))}</div>"
    fields = attachment.get("fields") or []
    if fields:
        cells = "".join(
            f"<div><b>{_plain(str(field.get('title', '')))}</b><br>"
            f"{_mrkdwn(str(field.get('value', '')))}</div>"
            for field in fields
        )
        inner += f'<div class="fields">{cells}</div>'
    inner += "".join(_block(block) for block in attachment.get("blocks") or [])
    if foot := attachment.get("footer"):
        inner += f'<div class="foot">{_plain(str(foot))}</div>'
    box = f'<div class="attachment" style="border-left-color:{colour}">{inner}</div>'
    return "".join(parts) + box


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


def _mention(target: str, label: str) -> str:
    """@here and @channel as Slack shows them; people and groups by name, as far as they have one."""
    who = target[1:].removeprefix("subteam^")
    if target[0] == "#":
        return f"#{_plain(label or who)}"
    return f"@{_plain(label.removeprefix('@') or (_person(who) if target[0] == '@' else who))}"


def _person(user: str) -> str:
    """U0PRIYA is Priya; a person whom nobody named stays an id."""
    named = _PEOPLE.get(user, (user.removeprefix("U0").capitalize(), ""))[0]
    return named if user.startswith("U0") else user


def _mrkdwn(text: str) -> str:
    """Slack's own markup as HTML; mentions stand out, so that one that should not be there is seen."""
    kept: list[str] = []

    def keep(markup: str) -> str:
        kept.append(markup)
        return f"\x00{len(kept) - 1}\x00"

    def angle(match: re.Match[str]) -> str:
        target, _, label = match[1].partition("|")
        if target[:1] in "@!#":
            return keep(f'<span class="mention">{_mention(target, label)}</span>')
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
