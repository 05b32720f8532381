"""Frozen dataclasses to JSON text and back, exactly: dates as ISO, floats to the last digit."""

import dataclasses
import json
import types
import typing
import zlib
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def to_text(value: Any, *, without: Collection[str] = ()) -> str:
    """JSON text of a dataclass; the fields named in `without` are kept elsewhere."""
    kept = {
        field.name: _plain(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if field.name not in without
    }
    return json.dumps(kept, separators=(",", ":"))


def from_text(kind: type[T], text: str, **elsewhere: Any) -> T:
    """The dataclass that `to_text` wrote, with the fields that were kept elsewhere."""
    return _dataclass(kind, json.loads(text), elsewhere)


def pack_paths(paths: Sequence[Sequence[float]]) -> bytes:
    """Sample paths as compressed float32 (seven digits), with their shape in front."""
    grid = np.asarray(paths, dtype="<f4")
    if grid.size == 0:
        grid = grid.reshape(0, 0)
    shape = np.asarray(grid.shape, dtype="<u4")
    return shape.tobytes() + zlib.compress(grid.tobytes(), level=6)


def unpack_paths(blob: bytes) -> tuple[tuple[float, ...], ...]:
    """The paths that `pack_paths` wrote."""
    count, steps = np.frombuffer(blob[:8], dtype="<u4")
    grid = np.frombuffer(zlib.decompress(blob[8:]), dtype="<f4").reshape(int(count), int(steps))
    return tuple(tuple(path) for path in grid.astype(float).tolist())


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, date):  # datetime is one too
        return value.isoformat()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return value


def _dataclass(kind: type[T], raw: Mapping[str, Any], elsewhere: Mapping[str, Any]) -> T:
    hints = typing.get_type_hints(kind)
    # A field added later has a default: rows written before it are still read.
    parts = {name: _typed(hints[name], part) for name, part in raw.items() if name in hints}
    return kind(**parts, **elsewhere)


def _typed(kind: Any, raw: Any) -> Any:
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if raw is None:
            return None
        return _typed(next(part for part in arguments if part is not type(None)), raw)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_typed(arguments[0], part) for part in raw)
        return tuple(_typed(each, part) for each, part in zip(arguments, raw, strict=True))
    if kind is datetime or kind is date:
        return kind.fromisoformat(raw)
    if kind is float:
        return float(raw)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _dataclass(kind, raw, {})
    return raw
