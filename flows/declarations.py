"""Tables of TOML into checked values: every key known, every value of its field's type, errors with the place."""

import difflib
import tomllib
from dataclasses import MISSING, fields
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

from flows.errors import CatalogError

T = TypeVar("T")


def read_toml(path: Traversable, *, optional: bool = False) -> dict[str, Any]:
    """What a TOML file says; an optional one that isn't there says nothing. Raises CatalogError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if optional:
            return {}
        message = f"{path}: the file is missing"
        raise CatalogError(message) from None
    except tomllib.TOMLDecodeError as error:
        message = f"{path}: not valid TOML: {error}"
        raise CatalogError(message) from None
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: can't be read: {error}"
        raise CatalogError(message) from None


def entry_of(kind: type[T], file: str, place: str, values: dict[str, Any]) -> T:
    """A `kind` from a TOML table; every key known, every value of the field's type."""
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            message = f"{file}: {place}: {key}: there is no such field; {hint}"
            raise CatalogError(message)
        checked[key] = typed(value, known[key].type, f"{file}: {place}: {key}")
    try:
        return kind(**checked)
    except TypeError:
        missing = [
            name
            for name, field in known.items()
            if name not in checked and field.default is MISSING and field.default_factory is MISSING
        ]
        message = f"{file}: {place}: missing: {', '.join(missing)}"
        raise CatalogError(message) from None


def tables_of(value: Any, file: str, place: str, key: str) -> list[dict[str, Any]]:
    """A list of tables, as [[place.key]] makes one; raises CatalogError for anything else."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        message = f"{file}: {place}: {key}: is a list of tables, written [[….{key}]]"
        raise CatalogError(message)
    return value


def typed(value: Any, wanted: Any, place: str) -> Any:
    """A value of TOML as the type that a field wants; raises CatalogError naming the place."""
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted == tuple[str, ...] and isinstance(value, list):
        value = tuple(value)
    if wanted == tuple[str, ...]:
        fits = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    elif wanted in {str, int, float, bool}:
        fits = type(value) is wanted
    else:
        fits = True
    if not fits:
        name = (
            getattr(wanted, "__name__", str(wanted))
            if wanted != tuple[str, ...]
            else "list of strings"
        )
        message = f"{place}: {value!r} is not a {name}"
        raise CatalogError(message)
    return value
