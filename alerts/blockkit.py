"""A message as Slack blocks: inside every limit, and with no text from data that Slack could obey."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alerts.incident import State
from alerts.messages import Message
from alerts.rules import Severity
from alerts.wording import readable, shortened

Block = dict[str, Any]

TEXT_LIMIT = 3000  # top-level text; Slack advises less than 4,000
TOTAL_LIMIT = 8000  # characters of all blocks together; Slack refuses somewhere above 9,600
HEADER_LIMIT = 150
FIELDS_LIMIT = 10

_MARKS = {Severity.CRITICAL: "🔴", Severity.WARNING: "🟠", Severity.INFO: "🔵"}
_WEB_ADDRESS = re.compile(r"https?://[^\s<>|\"\\^`{}]{1,1000}")
_PERSON = re.compile(r"[USW][A-Z0-9]{5,20}")
_BESIDE = "Part of this"
_CALL = re.compile(r"@(?=here|channel|everyone)", re.IGNORECASE)
# Characters with a meaning in Slack's markup and none in ours, and the nearest ones without.
_UNMARKED = str.maketrans({"*": "∗", "`": "'", "~": "∼"})


@dataclass(frozen=True, slots=True)
class SlackContent:
    """What is sent: `text` stands alone, for notifications, screen readers and when blocks are refused."""

    text: str
    blocks: list[Block]


def render_slack(message: Message) -> SlackContent:
    """Blocks and text of a message. Pure: equal messages give equal blocks."""
    return SlackContent(text=_text(message), blocks=_blocks(message))


def _blocks(message: Message) -> list[Block]:
    head = [_header(message) if message.kind == "root" else _section(f"{_mark(message)} ", message)]
    if call := _call(message):
        head.append({"type": "section", "text": _markup(call)})
    status = " ".join(
        part for part in (f"{message.replay}." if message.replay else "", message.lead) if part
    )
    if status:
        head.append({"type": "section", "text": _plain(status, 600)})
    if message.why_now:
        head.append(_titled("Why now", [message.why_now], limit=600))
    facts = _facts(message)
    if message.beside:
        facts.append(_titled(_BESIDE, message.beside, bullets=True, limit=130, most=20))
    drivers = [_titled("What drives it", message.drivers, bullets=True)] if message.drivers else []
    evidence = (
        [_titled("What it rests on", message.evidence, bullets=True)] if message.evidence else []
    )
    advice = [_titled("What to do", [message.advice], limit=700)] if message.advice else []
    foot = _foot(message)
    # What a reader misses least goes first; the rest fits, because every part has its own limit.
    for part in (evidence, drivers, advice):
        if _size([*head, *facts, *drivers, *evidence, *advice, *foot]) > TOTAL_LIMIT:
            part.clear()
    return [*head, *facts, *drivers, *evidence, *advice, *foot]


def _header(message: Message) -> Block:
    return {"type": "header", "text": _plain(_title(message), HEADER_LIMIT)}


def _section(mark: str, message: Message) -> Block:
    """A reply's first line: no header, which would shout in a thread."""
    words = _escaped(message.label, 60)
    rest = _escaped(message.headline, 240)
    return {"type": "section", "text": _markup(f"{mark}*{words}:* {rest}")}


def _title(message: Message) -> str:
    replay = "Replay · " if message.replay else ""
    return f"{replay}{_mark(message)} {message.label}: {message.headline}"


def _mark(message: Message) -> str:
    if message.state is State.RESOLVED:
        return "🟢"
    if message.state in {State.WITHDRAWN, State.EXPIRED}:
        return "⚪"
    return _MARKS[message.severity]


def _facts(message: Message) -> list[Block]:
    """Label above value; Slack shows two columns on a desk and one on a phone."""
    fields = [
        _markup(f"*{_escaped(fact.label, 60)}*\n{_escaped(fact.value, 200)}")
        for fact in message.facts[:FIELDS_LIMIT]
    ]
    return [{"type": "section", "fields": fields}] if fields else []


def _call(message: Message) -> str:
    """Who is called by name, in Slack's own form: the only words here that Slack obeys."""
    name = message.mention
    if name == "here":
        return "<!here>"
    if not _PERSON.fullmatch(name):
        return ""
    return f"<!subteam^{name}>" if name.startswith("S") else f"<@{name}>"


def _titled(
    title: str, lines: Sequence[str], *, bullets: bool = False, limit: int = 300, most: int = 5
) -> Block:
    shown = [_escaped(line, limit) for line in lines[:most]]
    if len(lines) > most:
        shown.append(f"and {len(lines) - most} more")
    body = "\n".join(f"• {line}" for line in shown) if bullets else " ".join(shown)
    return {"type": "section", "text": _markup(f"*{title}*\n{body}")}


def _foot(message: Message) -> list[Block]:
    foot: list[Block] = []
    links = [
        f"<{address.replace('&', '&amp;')}|{_escaped(words.replace('|', '/'), 60)}>"
        for words, address in message.links[:5]
        # An address that could end the link early, or that isn't for the web, is left out.
        if _WEB_ADDRESS.fullmatch(address) and len(address) <= 300
    ]
    if links:
        foot.append({"type": "section", "text": _markup("  ·  ".join(links))})
    if message.context:
        elements = [_plain(line, 150) for line in message.context[:10]]
        foot.append({"type": "context", "elements": elements})
    return foot


def _text(message: Message) -> str:
    replay = f"[{message.replay}] " if message.replay else ""
    lines = [f"{replay}{_mark(message)} {message.label}: {message.headline}"]
    lines += [part for part in (message.lead, message.why_now) if part]
    lines += [f"• {fact.label}: {fact.value}" for fact in message.facts[:FIELDS_LIMIT]]
    lines += [f"{_BESIDE}: {headline}" for headline in message.beside[:20]]
    if message.advice:
        lines.append(f"What to do: {message.advice}")
    whole = ""
    for line in lines:
        room = TEXT_LIMIT - 100 - len(whole)
        if room < 40:
            return f"{whole}\n…"
        whole += ("\n" if whole else "") + _escaped(line, min(room, 500))
    return whole


def _plain(text: str, limit: int) -> Block:
    """Text that Slack shows as it is. Its own emoji are characters, so colons stay colons."""
    return {"type": "plain_text", "text": shortened(readable(text), limit) or "–", "emoji": False}


def _markup(text: str) -> Block:
    """Text in Slack's markup, put together here; every part from data has been through `_escaped`."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _escaped(text: str, limit: int) -> str:
    """Text from data inside markup, at most `limit` characters after escaping, never half an entity."""
    clean = re.sub(r"(?<!\w)_|_(?!\w)", "-", readable(text).translate(_UNMARKED))
    clean = _CALL.sub("＠", clean)
    # The markup has no escape for these three but entities; `>` also begins a quotation.
    pieces = [
        {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(character, character) for character in clean
    ]
    if sum(map(len, pieces)) <= limit:
        return "".join(pieces) or "–"
    kept = ""
    for piece in pieces:
        if len(kept) + len(piece) > limit - 1:
            break
        kept += piece
    return f"{kept.rstrip()}…"


def _size(blocks: Sequence[Block]) -> int:
    """Characters of text in blocks, as Slack counts them against its undocumented total."""
    total = 0
    for block in blocks:
        parts = [block["text"]] if "text" in block else []
        parts += block.get("fields", []) + block.get("elements", [])
        total += sum(len(part["text"]) for part in parts)
    return total
