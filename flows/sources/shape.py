"""Checks on the shape of a JSON reply: a changed shape is named by field, never guessed around."""

from collections.abc import Collection, Mapping, Sequence

Record = Mapping[str, object]

_MOST_NAMED = 8


class ReplyShapeError(Exception):
    """A reply is not in the publisher's documented shape; its text names the field."""


def inside(reply: object, *path: str) -> object:
    """The value under a path of field names."""
    found = reply
    for depth, name in enumerate(path):
        if not isinstance(found, dict) or name not in found:
            there = f" (there: {_named(found)})" if isinstance(found, dict) and found else ""
            problem = f"field {'.'.join(path[: depth + 1])} is missing{there}: the reply has another shape"
            raise ReplyShapeError(problem)
        found = found[name]
    return found


def records(
    reply: object, *path: str, fields: Sequence[str], known: Collection[str] = ()
) -> list[Record]:
    """The list of records under a path, each with the named fields; null is an empty list.

    With `known`, all fields that the publisher documents, a missing field is told with the new ones:
    one of them may be its new name. A new field alone is no fault.
    """
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
            if isinstance(record, dict) and known:
                new = [name for name in record if name not in known]
                problem += f" (new: {_named(new) or 'none'})"
            raise ReplyShapeError(problem)
    return found


def as_text(value: object) -> str:
    """A reply's value as text: null is empty."""
    return "" if value is None else str(value).strip()


def _printable(text: str) -> str:
    return "".join(it if it.isprintable() else "·" for it in text)


def _named(names: Collection[object]) -> str:
    shown = [_printable(str(name)[:40]) for name in list(names)[:_MOST_NAMED]]
    return ", ".join(shown) + (" …" if len(names) > _MOST_NAMED else "")
