"""What Slack refuses in a message: the documented limits of blocks and text, as sentences."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

MOST_BLOCKS = 50
MOST_TEXT = 40_000
MOST_BLOCK_TEXT = 10_000  # about 9.6k was accepted and 11.3k refused by the real service
_PARTS = {
    "header": {"text"},
    "section": {"text", "fields", "accessory", "expand"},
    "context": {"elements"},
    "divider": set(),
    "image": {"image_url", "slack_file", "alt_text", "title"},
    "actions": {"elements"},
}
_BUTTON = {"action_id", "text", "value", "url", "style", "confirm", "accessibility_label"}


def problems(blocks: object) -> list[str]:
    """Everything wrong with the blocks of one message; empty if Slack would take them."""
    if not isinstance(blocks, list):
        return ["must be a list [json-pointer:/blocks]"]
    found: list[str] = []
    if len(blocks) > MOST_BLOCKS:
        found.append(f"no more than {MOST_BLOCKS} items allowed [json-pointer:/blocks]")
    ids: set[str] = set()
    for number, block in enumerate(blocks):
        place = f"/blocks/{number}"
        if not isinstance(block, Mapping) or block.get("type") not in _PARTS:
            found.append(f"unsupported type [json-pointer:{place}/type]")
            continue
        if unknown := set(block) - _PARTS[block["type"]] - {"type", "block_id"}:
            found.append(f"invalid additional property: {min(unknown)} [json-pointer:{place}]")
        block_id = block.get("block_id")
        if block_id is not None:
            if not isinstance(block_id, str) or len(block_id) > 255 or block_id in ids:
                found.append(f"block_id too long or not unique [json-pointer:{place}/block_id]")
            ids.add(str(block_id))
        found += [f"{what} [json-pointer:{place}{where}]" for where, what in _block(block)]
    return found


def text_length(blocks: Sequence[Mapping[str, Any]]) -> int:
    """Characters of all text in the blocks."""

    def walk(part: object) -> int:
        if isinstance(part, Mapping):
            own = part.get("text")
            return (len(own) if isinstance(own, str) else 0) + sum(
                walk(value) for value in part.values() if not isinstance(value, str)
            )
        return sum(walk(each) for each in part) if isinstance(part, list) else 0

    return walk(list(blocks))


def _block(block: Mapping[str, Any]) -> list[tuple[str, str]]:
    kind = block["type"]
    if kind == "header":
        return _text(block.get("text"), "/text", 150, plain_only=True)
    if kind == "section":
        found = []
        fields = block.get("fields")
        if block.get("text") is None and not fields:
            found.append(("", "must have text or fields"))
        if block.get("text") is not None:
            found += _text(block["text"], "/text", 3000)
        if fields is not None:
            if not isinstance(fields, list) or not 1 <= len(fields) <= 10:
                return [*found, ("/fields", "between 1 and 10 items allowed")]
            for number, field in enumerate(fields):
                found += _text(field, f"/fields/{number}", 2000)
        if block.get("accessory") is not None:
            found += _element(block["accessory"], "/accessory")
        return found
    if kind == "context":
        elements = block.get("elements")
        if not isinstance(elements, list) or not 1 <= len(elements) <= 10:
            return [("/elements", "between 1 and 10 items allowed")]
        found = []
        for number, element in enumerate(elements):
            place = f"/elements/{number}"
            is_image = isinstance(element, Mapping) and element.get("type") == "image"
            found += _image(element, place) if is_image else _text(element, place, 3000)
        return found
    if kind == "image":
        return _image(block, "")
    if kind == "actions":
        elements = block.get("elements")
        if not isinstance(elements, list) or not 1 <= len(elements) <= 25:
            return [("/elements", "between 1 and 25 items allowed")]
        found = [
            problem
            for number, element in enumerate(elements)
            for problem in _element(element, f"/elements/{number}")
        ]
        actions = [e.get("action_id") for e in elements if isinstance(e, Mapping)]
        if len(set(actions) - {None}) < len([name for name in actions if name is not None]):
            found.append(("/elements", "action_id already exists in this block"))
        return found
    return []


def _text(
    text: object, place: str, longest: int, *, plain_only: bool = False
) -> list[tuple[str, str]]:
    if not isinstance(text, Mapping) or not isinstance(text.get("text"), str):
        return [(place, "missing text object")]
    kinds = {"plain_text"} if plain_only else {"plain_text", "mrkdwn"}
    if text.get("type") not in kinds:
        return [(place, f"type must be one of {sorted(kinds)}")]
    allowed = (
        {"type", "text", "emoji"} if text["type"] == "plain_text" else {"type", "text", "verbatim"}
    )
    if set(text) - allowed:
        return [(place, f"unknown fields {sorted(set(text) - allowed)}")]
    if not 1 <= len(text["text"]) <= longest:
        return [(place, f"must be between 1 and {longest} characters")]
    return []


def _image(image: Mapping[str, Any], place: str) -> list[tuple[str, str]]:
    alt = image.get("alt_text")
    if not isinstance(alt, str) or not 1 <= len(alt) <= 2000:
        return [(f"{place}/alt_text", "must be between 1 and 2000 characters")]
    url = image.get("image_url")
    if "slack_file" not in image and not (isinstance(url, str) and re.match(r"https?://", url)):
        return [(f"{place}/image_url", "must be a web address")]
    return []


def _element(element: object, place: str) -> list[tuple[str, str]]:
    if not isinstance(element, Mapping):
        return [(place, "must be an object")]
    if element.get("type") == "image":
        return _image(element, place)
    if element.get("type") != "button":
        return [(f"{place}/type", "unsupported type")]
    found = _text(element.get("text"), f"{place}/text", 75, plain_only=True)
    if unknown := set(element) - _BUTTON - {"type"}:
        found.append((place, f"invalid additional property: {min(unknown)}"))
    for part, most in (("action_id", 255), ("value", 2000), ("url", 3000)):
        if len(str(element.get(part, ""))) > most:
            found.append((f"{place}/{part}", f"must be less than {most + 1} characters"))
    if len(str(element.get("accessibility_label", ""))) > 75:
        found.append((f"{place}/accessibility_label", "must be less than 76 characters"))
    if element.get("style", "primary") not in ("primary", "danger"):
        found.append((f"{place}/style", "must be primary or danger"))
    return found
