"""A message as Slack blocks: inside every limit, and with no text from data that Slack could obey."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alerts.incident import State
from alerts.interactions import PREFIX, Action
from alerts.messages import Message
from alerts.rules import Severity
from alerts.wording import readable, shortened

Block = dict[str, Any]

TEXT_LIMIT = 3000  # top-level text; Slack advises less than 4,000
TOTAL_LIMIT = 8000  # characters of all blocks together; Slack refuses somewhere above 9,600
HEADER_LIMIT = 150
SECTION_LIMIT = 3000
FIELDS_LIMIT = 10  # in one section
_LINE_LIMIT = 400  # of an answer to one person, which has a few
LABEL_LIMIT = 75  # of a button, read aloud or shown
MOST_FACTS = 100  # sections of ten, well inside Slack's fifty blocks

_MARKS = {Severity.CRITICAL: "🔴", Severity.WARNING: "🟠", Severity.INFO: "🔵"}
_WEB_ADDRESS = re.compile(r"https?://[^\s<>|\"\\^`{}]{1,1000}")
_PERSON = re.compile(r"[USW][A-Z0-9]{5,20}")
_BESIDE = "Part of this"
_COUNT = 40  # room for "and N more in the thread"
_ID = re.compile(r"[!-~]{1,2000}")  # what a button may carry: cut or mended, it would name another
_BUTTONS = {
    Action.ACKNOWLEDGE: "Acknowledge",
    Action.SNOOZE_DAY: "Snooze 1 day",
    Action.SNOOZE_WEEK: "Snooze 7 days",
    Action.UNSNOOZE: "End snooze",
    Action.NUMBERS: "Show numbers",
}
_CALL = re.compile(r"@(?=here|channel|everyone)", re.IGNORECASE)
# Characters with a meaning in Slack's markup and none in ours, and the nearest ones without.
_UNMARKED = str.maketrans({"*": "∗", "`": "'", "~": "∼"})


@dataclass(frozen=True, slots=True)
class SlackContent:
    """What is sent: `text` stands alone, for notifications, screen readers and when blocks are refused.

    `call` is whom the blocks call by name, in Slack's own form, for where `text` is all that is shown; empty:
    nobody.
    """

    text: str
    blocks: list[Block]
    call: str = ""


def render_slack(message: Message, *, buttons: bool = True) -> SlackContent:
    """Blocks and text of a message. Pure: equal messages give equal blocks.

    Without `buttons` it has none: where nobody answers them they would only disappoint.
    """
    return SlackContent(_text(message), _blocks(message, buttons=buttons), _call(message))


def render_answer(answer: str) -> SlackContent:
    """A few lines for one person, shown as they are, with nothing in them that Slack could obey."""
    lines = [shortened(readable(line), _LINE_LIMIT) for line in answer.splitlines()]
    shown = {"type": "plain_text", "text": "\n".join(lines), "emoji": False}
    # Escaping makes some characters longer, and no line may lose its end by that.
    text = "\n".join(_escaped(line, 6 * _LINE_LIMIT) for line in lines)
    return SlackContent(text, [{"type": "section", "text": shown}])


def _blocks(message: Message, *, buttons: bool) -> list[Block]:
    is_root = message.kind == "root"
    head = [_header(message) if is_root else _section(message)]
    if call := _call(message):
        head.append({"type": "section", "text": _markup(call)})
    replay = f"{message.replay}." if message.replay and is_root else ""
    status = " ".join(part for part in (replay, message.lead) if part)
    if status:
        head.append({"type": "section", "text": _plain(status, 600)})
    if message.why_now:
        head.append(_titled("Why now", [message.why_now], limit=600))
    advice = [_titled("What to do", [message.advice], limit=700)] if message.advice else []
    foot = [*_links(message), *(_buttons(message) if buttons else []), *_context(message)]
    # The parts that a reader misses most take their room first; these always leave some.
    room = TOTAL_LIMIT - _size([*head, *advice, *foot]) - _COUNT
    members = _members(message, room)
    room -= _size(members)
    facts = _facts(message, room)
    room -= _size(facts)
    most = 9 if message.kind == "numbers" else 5
    drivers = _optional("What drives it", message.drivers, room, most)
    room -= _size(drivers)
    evidence = _optional("What it rests on", message.evidence, room, most)
    return [*head, *facts, *members, *drivers, *evidence, *advice, *foot]


def _header(message: Message) -> Block:
    return {"type": "header", "text": _plain(_title(message), HEADER_LIMIT)}


def _section(message: Message) -> Block:
    """A reply's first line: no header, which would shout in a thread."""
    replay = f"*{_escaped(message.replay, 60)}*\n" if message.replay else ""
    words = _escaped(message.label, 60)
    rest = _escaped(message.headline, 240)
    return {"type": "section", "text": _markup(f"{replay}{_mark(message)} *{words}:* {rest}")}


def _title(message: Message) -> str:
    replay = "Replay · " if message.replay else ""
    return f"{replay}{_mark(message)} {message.label}: {message.headline}"


def _mark(message: Message) -> str:
    if message.state is State.RESOLVED:
        return "🟢"
    if message.state in {State.WITHDRAWN, State.EXPIRED}:
        return "⚪"
    return _MARKS[message.severity]


def _facts(message: Message, room: int) -> list[Block]:
    """Label above value; Slack shows two columns on a desk and one on a phone."""
    told = [f"*{_escaped(fact.label, 60)}*\n{_escaped(fact.value, 200)}" for fact in message.facts]
    shown = _fitting(told, room, rest=" numbers", most=MOST_FACTS)
    fields = [_markup(text) for text in shown]
    return [
        {"type": "section", "fields": fields[start : start + FIELDS_LIMIT]}
        for start in range(0, len(fields), FIELDS_LIMIT)
    ]


def _members(message: Message, room: int) -> list[Block]:
    """Every headline that is told as part of this one, over as many sections as they take."""
    if not message.beside:
        return []
    texts = [f"*{_BESIDE}*"]
    told = [f"• {_escaped(headline, 130)}" for headline in message.beside]
    for line in _fitting(told, room - len(texts[0]), rest=" in the thread"):
        if len(texts[-1]) + len(line) < SECTION_LIMIT:
            texts[-1] += f"\n{line}"
        else:
            texts.append(line)
    # Folded behind "see more", a member would be as good as left out.
    return [{"type": "section", "text": _markup(text), "expand": True} for text in texts]


def _optional(title: str, lines: Sequence[str], room: int, most: int) -> list[Block]:
    """A list of bullets, or nothing where it has no room."""
    block = [_titled(title, lines, bullets=True, most=most)] if lines else []
    return block if _size(block) <= room else []


def _buttons(message: Message) -> list[Block]:
    """What may be asked of the incident; pressed, a button says only what and of which."""
    if not message.actions or not _ID.fullmatch(message.incident):
        return []
    elements: list[Block] = []
    for action in dict.fromkeys(message.actions):
        words = _BUTTONS[action]
        button = {
            "type": "button",
            "action_id": f"{PREFIX}{action.value}",
            "text": _plain(words, LABEL_LIMIT),
            "value": message.incident,
            # Read aloud in place of the words: of ten messages, which one is this button's?
            "accessibility_label": shortened(readable(f"{words}: {message.headline}"), LABEL_LIMIT),
        }
        if action is Action.ACKNOWLEDGE:
            button["style"] = "primary"
        elements.append(button)
    return [{"type": "actions", "elements": elements}]


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


def _links(message: Message) -> list[Block]:
    links = [
        f"<{address.replace('&', '&amp;')}|{_escaped(words.replace('|', '/'), 60)}>"
        for words, address in message.links[:5]
        # An address that could end the link early, or that isn't for the web, is left out.
        if _WEB_ADDRESS.fullmatch(address) and len(address) <= 300
    ]
    return [{"type": "section", "text": _markup("  ·  ".join(links))}] if links else []


def _context(message: Message) -> list[Block]:
    elements = [_plain(line, 150) for line in message.context[:10]]
    return [{"type": "context", "elements": elements}] if elements else []


def _text(message: Message) -> str:
    replay = f"[{message.replay}] " if message.replay else ""
    lines = [f"{replay}{_mark(message)} {message.label}: {message.headline}"]
    lines += [part for part in (message.lead, message.why_now) if part]
    head = [_escaped(line, 500) for line in lines]
    advice = [_escaped(f"What to do: {message.advice}", 500)] if message.advice else []
    room = TEXT_LIMIT - sum(len(line) + 1 for line in (*head, *advice)) - 2 * _COUNT
    numbers = [_escaped(f"• {fact.label}: {fact.value}", 270) for fact in message.facts]
    facts = _fitting(numbers, room, rest=" numbers")
    room -= sum(len(line) + 1 for line in facts)
    told = [_escaped(f"– {headline}", 140) for headline in message.beside]
    members = _fitting(told, room, rest=" in the thread")
    title = [f"{_BESIDE}:"] if members else []
    return "\n".join((*head, *facts, *title, *members, *advice))


def _fitting(texts: Sequence[str], room: int, *, rest: str = "", most: int = 1000) -> list[str]:
    """The first texts that fit, with a blank each; where some don't, the last one says how many."""
    shown: list[str] = []
    size = 0
    for place, text in enumerate(texts):
        # The last may use the room that is otherwise kept for the count.
        kept = 0 if place == len(texts) - 1 else len(f"and {len(texts)} more{rest}") + 1
        size += len(text) + 1
        if size + kept > room or (place + 1 >= most and kept):
            return [*shown, f"and {len(texts) - place} more{rest}"]
        shown.append(text)
    return shown


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
        for part in parts:
            words = part["text"]
            total += len(words if isinstance(words, str) else words["text"])  # a button's is inside
    return total
