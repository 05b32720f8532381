"""Units of a balance: a checked table, chains that multiply and cancel, words for what doesn't meet."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from forecasting.market.chemistry import COMMERCIAL_OXIDES, ELEMENT_NAMES, OXIDES
from forecasting.market.definitions import MarketDefinitionError

_LONGEST = 80

_MASSES_T = {"g": 1e-6, "kg": 1e-3, "t": 1.0, "kt": 1e3}
_POWERS_MW = {"kW": 1e-3, "MW": 1.0, "GW": 1e3}
_COUNTS = {"vehicle": "vehicle", "vehicles": "vehicle", "unit": "unit", "units": "unit"}
_SIZES = {"thousand": 1e3, "lakh": 1e5, "million": 1e6, "crore": 1e7, "billion": 1e9}
_YEARS = {"day": 1 / 365.25, "week": 7 / 365.25, "month": 1 / 12, "year": 1.0}
"""Length of a word of time in years; a year has 365.25 days, as everywhere in the balance."""
_TIMES = {form: word for word in _YEARS for form in (word, f"{word}s")}
_PLAIN = {"share": 1.0, "probability": 1.0, "ratio": 1.0, "%": 0.01}
_MASS_SHARES = {"share of mass": 1.0, "wt%": 0.01}
"""Shares that don't say of what: a dimension of their own, or one could turn magnets into metal unnoticed."""

_SUBSTANCES: Mapping[str, str] = {
    form: name
    for name, others in {
        # Finished: what a motor maker buys. A gross blank still holds what machining takes off.
        "NdFeB": ("finished magnet", "finished NdFeB", "NdFeB finished"),
        "NdFeB gross": ("gross NdFeB", "gross magnet", "blank", "NdFeB blank"),
        "alloy": ("NdFeB alloy",),
        "metal": (),
        "oxide": (),
        "NdPr oxide": (),
        "NdPr metal": ("NdPr",),
        "REO": ("TREO",),
        "SmCo": (),
        "swarf": (),
        "scrap": (),
        **{
            # A formula, "Dy oxide" and "dysprosium oxide" are one thing.
            formula: tuple(
                f"{word} oxide"
                for word in (symbol, ELEMENT_NAMES[symbol])
                if COMMERCIAL_OXIDES[symbol] == formula
            )
            for formula, (symbol, _, _) in OXIDES.items()
        },
        **{
            symbol: (f"{symbol} metal", name, f"{name} metal")
            for symbol, name in ELEMENT_NAMES.items()
        },
    }.items()
    for form in (name, *others)
}
"""What a mass can be of: each spelling → the one name it is counted under."""


class UnitError(MarketDefinitionError):
    """A unit is unknown, or a chain of units doesn't lead where it should; the text says where it stands."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A size times powers of what can't be turned into each other.

    `size` is in tonnes of each substance, MW, years and pieces; `powers` are sorted, without zeros, and
    hold "t NdFeB", "MW", "vehicle", "time", …: (("MW", -1), ("t NdFeB", 1)). Two spellings of one unit
    are equal.
    """

    text: str = field(compare=False)
    size: float
    powers: tuple[tuple[str, int], ...]

    @property
    def is_plain(self) -> bool:
        """Whether it is a bare number: a share, a probability, per cent."""
        return not self.powers


@lru_cache(maxsize=1024)
def parse_unit(written: str) -> Unit:
    """The unit of "kg NdFeB/vehicle", "thousand vehicles", "t REO/year", "share"; raises UnitError.

    Every stroke divides: "t NdFeB/MW/year" is tonnes per megawatt and year.
    """
    text = " ".join(written[: _LONGEST + 1].split())
    if not text:
        message = f"no unit is written; known are {_KNOWN}"
        raise UnitError(message)
    if len(text) > _LONGEST:
        message = f"a text of more than {_LONGEST} characters is no unit"
        raise UnitError(message)
    size = 1.0
    powers: dict[str, int] = {}
    for place, side in enumerate(text.split("/")):
        part, name = _token(side.strip(), text)
        sign = -1 if place else 1
        size *= part**sign
        if name:
            powers[name] = powers.get(name, 0) + sign
    return Unit(text, size, _sorted(powers))


def chain(start: str, factor_units: Iterable[tuple[str, str]]) -> Unit:
    """Where a chain of (factor's name, its unit) leads from `start`: sizes multiply, powers cancel.

    What a factor is "per" must be what the chain stands at, or UnitError names the factor and both:
    "kg_per_car is in 'kg NdFeB/vehicle', but the chain stands at 'MW'".
    """
    at = parse_unit(start)
    for name, written in factor_units:
        try:
            factor = parse_unit(written)
        except UnitError as error:
            message = f"{name}: {error}"
            raise UnitError(message) from None
        if not _meets(dict(at.powers), factor):
            message = f"{name} is in {written!r}, but the chain stands at {at.text!r}"
            raise UnitError(message)
        at = _product(at, factor)
    return at


def scale_to(unit: Unit, wanted: str) -> float:
    """How many `wanted` are one `unit`: 0.001 from kg NdFeB to t NdFeB. UnitError when they don't meet."""
    goal = parse_unit(wanted)
    if unit.powers != goal.powers:
        message = f"the chain ends at {unit.text!r}; it must end at {wanted!r}"
        raise UnitError(message)
    return unit.size / goal.size


def per_month(written: str) -> tuple[Unit, float]:
    """A rate without its time, and what the rate is divided by for a month: 12 for …/year, 1 for …/month.

    Raises UnitError for a unit that isn't per day, week, month or year.
    """
    sides, word = _without_time(written)
    if not word:
        message = f"{written!r} is not a rate; it must be per day, week, month or year"
        raise UnitError(message)
    return parse_unit(sides), 12 * _YEARS[word]


def without_time(written: str) -> tuple[Unit, str]:
    """A unit without its last "/year", "/month", …, and that word; "" when it has none. Raises UnitError."""
    sides, word = _without_time(written)
    return parse_unit(sides), word


def _without_time(written: str) -> tuple[str, str]:
    parse_unit(written)
    first, *others = (side.strip() for side in written.split("/"))
    for place in range(len(others) - 1, -1, -1):
        if others[place] in _TIMES:
            return "/".join([first, *others[:place], *others[place + 1 :]]), _TIMES[others[place]]
    return written, ""


def _token(side: str, whole: str) -> tuple[float, str]:
    """Size and dimension of one side of a stroke; "" is the dimension of a bare number."""
    if side in _MASS_SHARES:
        return _MASS_SHARES[side], "share of mass"
    first, _, rest = side.partition(" ")
    size = 1.0
    if first in _SIZES and rest:
        size, side = _SIZES[first], rest
        first, _, rest = side.partition(" ")
    if first in _MASSES_T:
        name = _SUBSTANCES.get(rest) if rest else ""
        if name is not None:
            return size * _MASSES_T[first], f"t {name}".strip()
    elif side in _PLAIN and size == 1:
        return _PLAIN[side], ""
    elif side in _POWERS_MW:
        return size * _POWERS_MW[side], "MW"
    elif side in _COUNTS:
        return size, _COUNTS[side]
    elif side in _TIMES and size == 1:
        return _YEARS[_TIMES[side]], "time"
    message = f"there is no unit {whole!r}{_nearest(whole)}"
    raise UnitError(message)


def _nearest(written: str) -> str:
    """The known spelling that is closest, each side of a stroke looked up by itself."""
    sides = [re.sub(r"\s+", " ", side).strip() for side in written.split("/")]
    found = [_closest(side) for side in sides]
    if any(side is None for side in found):
        return f"; known are {_KNOWN}"
    return f"; did you mean {'/'.join(side for side in found if side is not None)!r}?"


def _closest(side: str) -> str | None:
    if side in _SPELLINGS:
        return side
    lowered = {form.casefold(): form for form in _SPELLINGS}
    near = difflib.get_close_matches(side.casefold(), lowered, n=1, cutoff=0.6)
    return lowered[near[0]] if near else None


_SPELLINGS = (
    *(f"{mass} {form}" for mass in _MASSES_T for form in _SUBSTANCES),
    *_MASSES_T,
    *_POWERS_MW,
    *_COUNTS,
    *(f"{size} {count}" for size in _SIZES for count in ("vehicles", "units")),
    *_PLAIN,
    *_MASS_SHARES,
    *_TIMES,
)
_KNOWN = (
    f"masses ({', '.join(_MASSES_T)}) of a substance (NdFeB, NdFeB gross, alloy, NdPr oxide, REO, …), "
    f"power ({', '.join(_POWERS_MW)}), vehicles and units (with {', '.join(_SIZES)} before them), "
    f"{', '.join(_PLAIN)}, and time ({', '.join(_YEARS)}), as 't NdFeB', 'kg NdFeB/vehicle' or 't REO/year'"
)


def _meets(standing: Mapping[str, int], factor: Unit) -> bool:
    """Whether a factor carries the chain on: a bare number, or something of it cancels and nothing it is per is left.

    Time is left to the end of the chain: "kg NdFeB/vehicle/year" meets vehicles, and ends in …/year.
    """
    if factor.is_plain:
        return True
    per = [(name, -power) for name, power in factor.powers if power < 0 and name != "time"]
    if not per:
        return any(standing.get(name, 0) < 0 for name, power in factor.powers if power > 0)
    return all(standing.get(name, 0) >= power for name, power in per)


def _product(first: Unit, second: Unit) -> Unit:
    if second.is_plain:
        return Unit(first.text, first.size * second.size, first.powers)
    powers = dict(first.powers)
    for name, power in second.powers:
        powers[name] = powers.get(name, 0) + power
    left = _sorted(powers)
    return Unit(_words(left), first.size * second.size, left)


def _sorted(powers: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((name, power) for name, power in powers.items() if power))


def _words(powers: tuple[tuple[str, int], ...]) -> str:
    """The unit as a reader writes it, in the base sizes: "t NdFeB/vehicle", "vehicles", "share"."""
    above = [_plural(name) for name, power in powers for _ in range(power)]
    below = [name.replace("time", "year") for name, power in powers for _ in range(-power)]
    return "/".join([" × ".join(above) or ("1" if below else "share"), *below])


def _plural(name: str) -> str:
    return {"vehicle": "vehicles", "unit": "units", "time": "years"}.get(name, name)
