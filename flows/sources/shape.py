"""Checks on the shape of a JSON reply: a changed shape is named by field, never guessed around."""

from collections.abc import Mapping, Sequence

Record = Mapping[str, object]


class ReplyShapeError(Exception):
    """A reply is not in the publisher's documented shape; its text names the field."""


def inside(reply: object, *path: str) -> object:
    """The value under a path of field names."""
    found = reply
    for depth, name in enumerate(path):
        if not isinstance(found, dict) or name not in found:
            problem = f"field {'.'.join(path[: depth + 1])} is missing: the reply has another shape"
            raise ReplyShapeError(problem)
        found = found[name]
    return found


def records(reply: object, *path: str, fields: Sequence[str]) -> list[Record]:
    """The list of records under a path, each with the named fields; null is an empty list."""
    found = inside(reply, *path)
    where = ".".join(path)
    if found is None:
        return []
    if not isinstance(found, list):
        problem = f"field {where} is no list: the reply has another shape"
        raise ReplyShapeError(problem)
    for number, record in enumerate(found, start=1):
        missing = [name for name in fields if not isinstance(record, dict) or name not in record]
        if missing:
            problem = f"{where} record {number} has no field {', '.join(missing)}"
            raise ReplyShapeError(problem)
    return found


def as_text(value: object) -> str:
    """A reply's value as text: null is empty."""
    return "" if value is None else str(value).strip()
