"""Government decisions that move rare-earth supply: read from a file, and which price each of them concerns."""

import csv
import re
from calendar import monthrange
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from importlib.resources.abc import Traversable

from alerts.rules import short_hash
from flows.errors import CatalogError
from forecasting.results import PolicyAct

DIRECTIONS = ("tighten", "loosen", "neutral", "unknown")
PRECISIONS = ("day", "week", "month")
COLUMNS = ("date", "date_precision", "direction", "materials")
WORDS = ("type", "actor", "what", "source", "confidence")
"""Columns that tell a reader of a decision: a file may lack them, and then a message lacks them too."""

_TITLE_PARTS = 4  # materials that a title names; the message has all of them

LIGHT = frozenset({"La", "Ce", "Pr", "Nd", "Sm", "Eu", "Gd"})
MEDIUM = frozenset(
    {"Sm", "Eu", "Gd"}
)  # a part of the light ones, which China names beside the heavy
HEAVY = frozenset({"Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Y"})
RARE_EARTHS = LIGHT | HEAVY | {"Sc"}

_NAMES = {
    "scandium": "Sc",
    "yttrium": "Y",
    "lanthanum": "La",
    "cerium": "Ce",
    "praseodymium": "Pr",
    "neodymium": "Nd",
    "samarium": "Sm",
    "europium": "Eu",
    "gadolinium": "Gd",
    "terbium": "Tb",
    "dysprosium": "Dy",
    "holmium": "Ho",
    "erbium": "Er",
    "thulium": "Tm",
    "ytterbium": "Yb",
    "lutetium": "Lu",
}
_GROUPS = {"": RARE_EARTHS, "all": RARE_EARTHS, "light": LIGHT, "medium": MEDIUM, "heavy": HEAVY}
# "REE incl.", "all REEs", "heavy rare-earth oxides", and the first half of "medium and heavy rare earths";
# what is made of them is no group: "rare-earth magnets".
_FORM = "oxides?|metals?|alloys?|compounds?"
_GROUP = re.compile(
    f"(?:(all|light|medium|heavy) +)?(?:rees?|rare[ -]earths?)(?: +(?:elements?|{_FORM}))?(?: +incl\\.?)?"
    "|(light|medium|heavy)",
    re.IGNORECASE,
)
_ONE_FORM = re.compile(f" +(?:{_FORM})$", re.IGNORECASE)
# Two letters before one: ytterbium is no yttrium.
_SYMBOL = "|".join(sorted(RARE_EARTHS, key=lambda symbol: (-len(symbol), symbol)))
_COMPOUND = re.compile(f"(?:{_SYMBOL})+", re.IGNORECASE)
_PRICED = re.compile(f"((?:{_SYMBOL})+)_(?:oxide|metal|alloy)(?:_|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """One decision: the day from which it is known for sure, which way it pushes, and what it names."""

    on: date
    direction: str
    elements: frozenset[str]  # rare earths by symbol; empty when it is about something else
    identity: str  # equal for the same decision, whenever the file is read
    materials: str = ""  # as the file names them
    kind: str = ""  # "export_control", …; empty when the file doesn't say
    actor: str = ""
    what: str = ""
    source: str = ""
    confidence: str = ""

    @property
    def moves_supply(self) -> bool:
        return self.direction in ("tighten", "loosen")

    @property
    def title(self) -> str:
        """As a headline begins: "China: export control on Sm, Gd, Tb, Dy, …"."""
        parts = [part.strip() for part in self.materials.split(",") if part.strip()]
        # "other" says that it is about something else, not about what.
        if [part.casefold() for part in parts] == ["other"]:
            parts = []
        named = [*parts[:_TITLE_PARTS], *(["…"] if len(parts) > _TITLE_PARTS else [])]
        what = self.kind.replace("_", " ") or "decision"
        if named:
            what += f" on {', '.join(named)}"
        return f"{self.actor}: {what}" if self.actor else f"{what[:1].upper()}{what[1:]}"

    @property
    def act(self) -> PolicyAct:
        """The decision as rules see it."""
        return PolicyAct(
            act=self.identity,
            title=self.title,
            kind=self.kind,
            direction=self.direction,
            known_on=self.on,
            materials=self.materials,
            source=self.source,
            confidence=self.confidence,
            detail=self.what,
            elements=tuple(sorted(self.elements)),
        )


def read_policy_decisions(file: Traversable) -> tuple[PolicyDecision, ...]:
    """Decisions in the order of their dates; raises CatalogError naming file, row and field."""
    try:
        # Blank lines and quoted line breaks count: a row is found again by the line where it ends.
        reader = csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines(keepends=True))
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{file.name}: can't be read: {error}"
        raise CatalogError(message) from None
    header = reader.fieldnames or ()
    if any(";" in name for name in header):
        message = f"{file.name}: the separator must be a comma, not ';'"
        raise CatalogError(message)
    for column in COLUMNS:
        if column not in header:
            message = f"{file.name}: the column {column} is missing"
            raise CatalogError(message)
    found = []
    counts: Counter[str] = Counter()
    for line, row in rows:
        decision = _decision(row, f"{file.name}: row {line}")
        counts[decision.identity] += 1
        if (number := counts[decision.identity]) > 1:
            decision = replace(decision, identity=f"{decision.identity}-{number}")
        found.append(decision)
    return tuple(sorted(found, key=lambda one: (one.on, one.direction)))


def _identity(day: date, actor: str) -> str:
    """By the date as it is written and who decided, which stay when a row is corrected in its words.

    Decisions that agree in both are numbered in the order of the file: the second one ends with "-2".
    """
    return f"policy-{day}-{short_hash(actor.casefold())[:8]}"


def elements_named(materials: str) -> frozenset[str]:
    """Rare earths in a list of materials: by symbol (Dy, NdPr), name, or as a group (all REE, heavy rare earths).

    Capitals don't matter. Anything else names none: magnets, graphite, dual-use goods.
    """
    parts = re.split(r"[,;/+&]| and ", materials, flags=re.IGNORECASE)
    return frozenset(symbol for part in parts for symbol in _elements(part.strip()))


def elements_priced(series: str) -> frozenset[str]:
    """Rare earths whose price a series of this name is: dy_oxide, ndpr_oxide_year; empty for others."""
    named = _PRICED.match(series)
    if named is None:
        return frozenset()
    return _symbols(named[1])


def _elements(material: str) -> frozenset[str]:
    """Rare earths in one material; a word that is none of them makes it something else: "Nd magnets"."""
    if group := _GROUP.fullmatch(material):
        return _GROUPS[(group[1] or group[2] or "").casefold()]
    found: set[str] = set()
    for word in re.split(r"[ -]+", _ONE_FORM.sub("", material)):
        if word.casefold() in _NAMES:
            found.add(_NAMES[word.casefold()])
        elif _COMPOUND.fullmatch(word):
            found |= _symbols(word)
        else:
            return frozenset()
    return frozenset(found)


def _symbols(compound: str) -> frozenset[str]:
    """Symbols in letters that hold nothing else: NdPr, ndpr."""
    return frozenset(symbol.capitalize() for symbol in re.findall(_SYMBOL, compound, re.IGNORECASE))


def _decision(row: Mapping[str | None, str | None], place: str) -> PolicyDecision:
    if None in row:
        message = f"{place}: more fields than the header has; quote a field that holds a comma"
        raise CatalogError(message)
    # Columns that the file lacks are empty; words run on one line, whatever the file does.
    text = {column: " ".join((row.get(column) or "").split()) for column in (*COLUMNS, *WORDS)}
    try:
        day = date.fromisoformat(text["date"])
    except ValueError:
        message = f"{place}: date: {text['date']!r} is no date such as 2025-04-04"
        raise CatalogError(message) from None
    precision = text["date_precision"] or "day"
    for column, value, allowed in (
        ("date_precision", precision, PRECISIONS),
        ("direction", text["direction"], DIRECTIONS),
    ):
        if value not in allowed:
            message = f"{place}: {column}: {value!r} is not one of {', '.join(allowed)}"
            raise CatalogError(message)
    if not text["materials"]:
        message = f"{place}: materials: is empty; name elements (Dy, Tb) or a group (all REE)"
        raise CatalogError(message)
    return PolicyDecision(
        on=_known_from(day, precision),
        direction=text["direction"],
        elements=elements_named(text["materials"]),
        materials=text["materials"],
        kind=text["type"],
        actor=text["actor"],
        what=text["what"],
        source=text["source"],
        confidence=text["confidence"],
        identity=_identity(day, text["actor"]),
    )


def _known_from(day: date, precision: str) -> date:
    """The last day that the date can mean: a backtest must not know a decision before it was made."""
    if precision == "month":
        return day.replace(day=monthrange(day.year, day.month)[1])
    return day + timedelta(days=6 - day.weekday()) if precision == "week" else day
