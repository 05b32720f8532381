"""A message as plain text, for a terminal or a log: the words that Slack would show, in the same order."""

import textwrap
from collections.abc import Iterator

from alerts.messages import Message
from alerts.wording import readable

_WIDTH = 92


def render_terminal(message: Message, *, width: int = _WIDTH) -> str:
    """The message as lines of at most `width` characters, safe to print whatever the data held."""
    return "\n".join(_lines(message, max(width, 40)))


def _lines(message: Message, width: int) -> Iterator[str]:
    mark = f"  > {message.label}:" if message.kind == "reply" else f"[{message.label.upper()}]"
    yield from _wrapped(f"{mark} {message.headline}", width, "", "    ")
    for text in (message.replay, message.lead):
        if text:
            yield from _wrapped(text, width, "    ", "    ")
    if message.why_now:
        yield from _wrapped(f"Why now: {message.why_now}", width, "    ", "      ")
    if message.facts:
        yield ""
        labels = min(max(len(readable(fact.label)) for fact in message.facts), 28)
        for fact in message.facts:
            start = f"    {readable(fact.label):<{labels}}  "
            yield from _wrapped(fact.value, width, start, " " * (labels + 6))
    for title, items in (
        ("Part of this", message.beside),
        ("What drives it", message.drivers),
        ("What it rests on", message.evidence),
    ):
        if items:
            yield ""
            yield f"    {title}"
            for item in items:
                yield from _wrapped(item, width, "    - ", "      ")
    if message.advice:
        yield ""
        yield from _wrapped(f"What to do: {message.advice}", width, "    ", "      ")
    if message.context or message.links:
        yield ""
    if message.context:
        yield from _wrapped(" · ".join(message.context), width, "    ", "    ")
    for words, address in message.links:
        # An address is never wrapped: half of one can't be clicked.
        yield f"    {readable(words)}: {readable(address)}"


def _wrapped(text: str, width: int, first: str, then: str) -> list[str]:
    return textwrap.wrap(
        readable(text),
        width,
        initial_indent=first,
        subsequent_indent=then,
        break_on_hyphens=False,
    ) or [first.rstrip()]
