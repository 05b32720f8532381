"""Tables of a rule file, read value by value; every mistake names file, line, field and what is allowed."""

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from alerts.errors import RuleFileError
from alerts.routing import SEVERITIES, nearest
from alerts.rules import Severity

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_BAD_LINE = re.compile(r"\(at line (\d+), column (\d+)\)")
_LIMIT_SHAPE = "{ enter = …, exit = … }"


@dataclass(frozen=True, slots=True)
class Origin:
    """A table of a rule file, and where to look for it when something is wrong."""

    file: str
    text: str
    table: Mapping[str, Any]


def parse(file: str, text: str) -> dict[str, Any]:
    """A file's tables; raises RuleFileError with the line of a mistake in the TOML itself."""
    try:
        # Some editors begin a file with a byte order mark, which is no part of TOML.
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        what = str(error)
        at = _BAD_LINE.search(what)
        place = f"line {at.group(1)}" if at else f"line {text.count(chr(10)) + 1}"
        problem = _BAD_LINE.sub("", what).replace(" (at end of document)", " at the end").strip()
        if "Cannot declare" in problem:
            problem = f"{problem}: a name can be used once in a file"
        elif "Cannot overwrite" in problem:
            problem = f"{problem}: a key can be used once in a table"
        raise RuleFileError(file, place, f"not valid TOML: {problem}") from error
    except RecursionError as error:
        problem = "lists or tables lie too deep inside each other; a rule file needs three levels"
        raise RuleFileError(file, "", problem) from error
    except ValueError as error:
        # What the parser lets through as a plain ValueError: a number of thousands of digits.
        problem = f"not valid TOML: a value can't be read ({error})"
        raise RuleFileError(file, _line_of_digits(text), problem) from error


def _line_of_digits(text: str) -> str:
    """The line of the first number that is too long to be read; empty when there is none."""
    for ordinal, line in enumerate(text.splitlines(), start=1):
        if re.search(r"\d[\d_]{4000}", line):
            return f"line {ordinal}"
    return ""


def as_table(value: object, file: str, place: str) -> Mapping[str, Any]:
    """The value as a table; raises RuleFileError when it is anything else."""
    if not isinstance(value, dict):
        problem = f"a table is needed, [{place}], not {kind_of(value)}"
        raise RuleFileError(file, place, problem)
    return value


def check_name(name: str, origin: Origin, room: str) -> None:
    """Raises RuleFileError for a name that couldn't be typed in a command or shown in a message."""
    if not _NAME.fullmatch(name):
        problem = "a name is made of small letters, digits and hyphens, 64 at most"
        raise RuleFileError(origin.file, f"{room}.{name}", problem)


def merged(room: str, name: str, origins: Sequence[Origin]) -> "Table":
    """One table of what several files say under a name, the later ones having the last word."""
    values: dict[str, Any] = {}
    for origin in origins:
        values.update(origin.table)
    return Table(replace(origins[-1], table=values), f"{room}.{name}", tuple(origins))


class Table:
    """Reads typed values from one table and remembers which keys it knows, to refuse all others."""

    def __init__(self, origin: Origin, place: str, origins: tuple[Origin, ...] = ()) -> None:
        self._values = origin.table
        self._place = place
        self._origins = origins or (origin,)
        self._asked: list[str] = []

    def error(self, *, at: str, problem: str) -> RuleFileError:
        """The error for one key, blaming the file and line that set it last."""
        top = at.split(".")[0]
        origin = next(
            (origin for origin in reversed(self._origins) if top in origin.table),
            self._origins[-1],
        )
        place = f"{self._place}.{at}" if self._place else at
        room, name, *inner = [*self._place.split("."), ""][:2] + self._place.split(".")[2:]
        line = line_of(origin, room, name, [*inner, at]) if name else ""
        return RuleFileError(origin.file, f"{place}{line}", problem)

    def newest(self, *keys: str) -> str:
        """Which of these keys was set last: when they contradict each other, its author is told."""
        for origin in reversed(self._origins):
            for key in keys:
                if key in origin.table:
                    return key
        return keys[0]

    def has(self, key: str) -> bool:
        self._asked.append(key)
        return key in self._values

    def is_own(self, key: str) -> bool:
        """Whether a key stands in the table that states the rule's type, not in one that changes it."""
        return key in self._origins[0].table

    def free_keys(self) -> tuple[str, ...]:
        """Every key, of a table whose keys are free: whoever asks for them checks them."""
        self._asked.extend(self._values)
        return tuple(self._values)

    def table(self, key: str) -> Mapping[str, Any]:
        if not self.has(key):
            return {}
        return as_table(self._values[key], self._origins[-1].file, key)

    def sub(
        self, key: str, shape: str = _LIMIT_SHAPE, allowed: Sequence[str] | None = None
    ) -> "Table":
        """A table inside this one, such as a severity's limits; with `allowed`, it has no other keys."""
        self._asked.append(key)
        value = self._values[key]
        if not isinstance(value, dict):
            raise self.error(at=key, problem=f"a table is needed, {shape}, not {kind_of(value)}")
        owner = next(origin for origin in reversed(self._origins) if key in origin.table)
        part = Table(replace(owner, table=value), f"{self._place}.{key}")
        if allowed is not None:
            part.refuse_other("key", allowed)
        return part

    def severities(
        self, allowed: Sequence[str] = ("enter", "exit")
    ) -> list[tuple[Severity, "Table"]]:
        """The limits given, lowest severity first; at least one is needed. `allowed`: the keys of each."""
        given = [
            (Severity[name.upper()], self.sub(name, allowed=allowed))
            for name in SEVERITIES
            if self.has(name)
        ]
        if not given:
            self._refuse_misspelt(SEVERITIES)
            raise self.error(
                at="warning",
                problem=f"no limit is given; set at least one of {', '.join(SEVERITIES)}",
            )
        return given

    def text(self, key: str, default: str) -> str:
        if not self.has(key):
            return default
        value = self._values[key]
        if not isinstance(value, str):
            raise self.error(at=key, problem=f"a text is needed, not {kind_of(value)}")
        return value

    def value(self, key: str) -> object:
        """A value of any kind, for whoever reads kinds that no method here knows; None: not given."""
        return self._values[key] if self.has(key) else None

    def choice(self, key: str, default: str, allowed: Sequence[str], what: str) -> str:
        """One of a few words."""
        word = self.text(key, default)
        if word not in allowed:
            hint = nearest(word, tuple(allowed))
            problem = f"unknown {what} {word!r}{hint}; allowed: {', '.join(allowed)}"
            raise self.error(at=key, problem=problem)
        return word

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._values[key] if self.has(key) else default
        if not isinstance(value, bool):
            raise self.error(at=key, problem=f"true or false is needed, not {kind_of(value)}")
        return value

    def number(
        self,
        key: str,
        default: float | None,
        *,
        low: float,
        high: float,
        what: str = "a number",
        above_low: bool = False,
        percent: bool = False,
    ) -> float:
        """A number within bounds; `percent`: a share above them was most likely meant in percent."""
        if not self.has(key):
            if default is None:
                self._refuse_misspelt((key,))
                raise self.error(at=key, problem=f"missing; {what} is needed")
            return default
        value = self._values[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(at=key, problem=f"{what} is needed, not {kind_of(value)}")
        # Written so that a NaN is refused as well.
        if not (low < value <= high if above_low else low <= value <= high):
            bounds = f"above {low:g}, up to {high:g}" if above_low else f"{low:g} to {high:g}"
            problem = f"{shown(value)} is out of range; {what} is needed ({bounds})"
            if percent and high < value <= 100_000:
                problem = (
                    f"{value:g} is {value * 100:,.0f} %; write {value / 100:g} for {value:g} % "
                    f"({bounds})"
                )
            raise self.error(at=key, problem=problem)
        return float(value)

    def count(self, key: str, default: int, *, low: int, high: int) -> int:
        value = self._values[key] if self.has(key) else default
        if isinstance(value, bool) or not isinstance(value, int):
            given = shown(value) if isinstance(value, float) else kind_of(value)
            raise self.error(at=key, problem=f"a whole number is needed, not {given}")
        if not low <= value <= high:
            problem = f"{shown(value)} is out of range; {low} to {high} is allowed"
            raise self.error(at=key, problem=problem)
        return value

    def severity(self, key: str, default: Severity) -> Severity:
        return Severity[self.choice(key, default.name.lower(), SEVERITIES, "severity").upper()]

    def names(
        self,
        key: str,
        known: Collection[str] | None,
        what: str,
        default: tuple[str, ...] | None = None,
        titles: Mapping[str, str] | None = None,
    ) -> tuple[str, ...]:
        """One name or a list of them, each known; None as `known` knows every name.

        `titles` of names, where there are any, are looked through for an unknown one.
        """
        if not self.has(key):
            if default is not None:
                return default
            self._refuse_misspelt((key,))
            problem = f"missing; the name of a {what}, or a list of names, is needed"
            raise self.error(at=key, problem=problem)
        value = self._values[key]
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
            raise self.error(at=key, problem=f"the name of a {what}, or a list of names, is needed")
        for word in words:
            if known is not None and word not in known:
                raise self.error(at=key, problem=unknown(what, word, known, titles))
            if words.count(word) > 1:
                raise self.error(at=key, problem=f"{word!r} is named twice")
        return tuple(words)

    def refuse_unknown(self, what: str) -> None:
        """Refuse a key that nothing asked for: most often it is misspelt."""
        self.refuse_other(what, tuple(dict.fromkeys(self._asked)))

    def refuse_other(self, what: str, allowed: Sequence[str]) -> None:
        """Refuse every key but these, before any of them is missed: it may stand there misspelt."""
        for key in self._values:
            if key not in allowed:
                hint = nearest(key, tuple(allowed))
                raise self.error(
                    at=key,
                    problem=f"unknown {what}{hint}; allowed: {', '.join(sorted(allowed))}",
                )

    def _refuse_misspelt(self, missing: Sequence[str]) -> None:
        """Before a key is called missing: name one that nothing knows and that may have been meant as it."""
        for key in self._values:
            if key not in self._asked and nearest(key, tuple(missing)):
                raise self.error(at=key, problem=f"unknown key{nearest(key, tuple(missing))}")


def unknown(
    what: str, word: str, known: Collection[str], titles: Mapping[str, str] | None = None
) -> str:
    """Why a name is refused, with the nearest ones, or what there is.

    Near is what is spelt alike, else what begins with the word or holds it, else what has it in its title.
    """
    names = tuple(sorted(known))
    hint = nearest(word, names) or _holding(word, names, titles or {})
    if not hint:
        # The nearest first, so that they are among those shown.
        ordered = sorted(names, key=lambda name: -_likeness(word, name))
        listed = sorted(ordered[:12]) if len(names) <= 12 else ordered[:12]
        hint = f"; known: {', '.join(listed) or 'none'}{' …' if len(names) > 12 else ''}"
    return f"unknown {what} {word!r}{hint}"


def _holding(word: str, names: Sequence[str], titles: Mapping[str, str]) -> str:
    """A hint at names that begin with a word, hold it, or have it in their title; empty: none does."""
    wanted = word.casefold()
    if not wanted:
        return ""
    found = [name for name in names if name.startswith(wanted)]
    found = found or [name for name in names if wanted in name]
    if not found:
        found = [name for name in names if wanted in titles.get(name, "").casefold()]
        found.sort(key=lambda name: (len(titles[name]), name))
    if not found:
        return ""
    return f" (did you mean {', '.join(found[:6])}{' …' if len(found) > 6 else ''}?)"


def _likeness(word: str, name: str) -> float:
    return difflib.SequenceMatcher(None, word, name).ratio()


def shown(value: float) -> str:
    """A number as an error shows it: one of hundreds of digits, which no float holds, by its length."""
    if isinstance(value, int) and abs(value) >= 10**15:
        return f"a number of {len(str(abs(value)))} digits"
    return f"{value:g}"


def kind_of(value: object) -> str:
    """A TOML value's kind as its author would call it."""
    words = {bool: "true or false", int: "a number", float: "a number", str: "a text"}
    words |= {list: "a list", dict: "a table"}
    return words.get(type(value), "a date or time")


def line_of(origin: Origin, room: str, name: str, keys: Sequence[str]) -> str:
    """The line of a table or of one of its keys, as far as a plain look at the text tells: " (line 7)"."""
    header = re.compile(
        rf'\s*\[\s*{re.escape(room)}\s*\.\s*"?{re.escape(name)}"?\s*((?:\.[^\]]*)?)\]'
    )
    found = 0
    wanted: str | None = None  # the key to look for below the present header
    for ordinal, line in enumerate(origin.text.splitlines(), start=1):
        if line.lstrip().startswith("["):
            wanted = None
            if (at := header.match(line)) is not None:
                found = found or ordinal
                inner = [part.strip(' "') for part in at.group(1).split(".")[1:]]
                if len(inner) < len(keys) and inner == list(keys[: len(inner)]):
                    wanted = keys[len(inner)]
        elif wanted and re.match(rf'\s*"?{re.escape(wanted)}"?\s*[.=]', line):
            found = ordinal
            break
    return f" (line {found})" if found else ""
