"""From the unit that was written to the unit of a series: one factor, and the rule in a sentence."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from flows.units.spelling import CURRENCIES, Unit, parse_unit
from flows.units.vat import PARITY_SINCE, chinese_vats, fob_parity
from forecasting.market.chemistry import (
    ATOMIC_WEIGHTS_SOURCE,
    COMMERCIAL_OXIDES,
    MAGNET_CONFIDENCE,
    OXIDES,
    metal_share,
    ndpr_metal_share,
    ndpr_oxide_per_finished_magnet,
    ndpr_oxide_per_gross_magnet,
)

_CONFIDENCES = ("high", "derived", "medium", "low", "background")  # the one to rely on most first
_REBATE_CONFIDENCE = "background"  # that magnets get all VAT back is an analyst's knowledge
_VAT_CURRENCIES = ("CNY", "USD")  # a VAT word on a price in another currency is not China's
_LONGEST_SAID = 60

_Vats = tuple[tuple[date, float], ...]  # each rate with its first day


@dataclass(frozen=True, slots=True)
class Conversion:
    """A conversion that can be done: every rule is linear, so it is one factor."""

    factor: float  # value in the series' unit = value as written * factor
    rule: str  # one sentence a buyer can check
    confidence: str = ""  # the lowest of what was used beside arithmetic; "" when nothing was


@dataclass(frozen=True, slots=True)
class Rate:
    """An exchange rate as somebody published it."""

    value: float
    quoted_on: date
    source_id: str
    confidence: str


Rates = Callable[[str, str, date], Rate | str]
"""(base currency, quote currency, day) → units of quote per 1 base, or why there is none."""


class _Period(NamedTuple):
    """The first and the last day that a value is about."""

    first: date
    last: date

    def __str__(self) -> str:
        return f"on {self.last}" if self.first == self.last else f"from {self.first} to {self.last}"


@dataclass(slots=True)
class _Working:
    """The factor so far and how it came about."""

    factor: float = 1.0
    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    confidences: list[str] = field(default_factory=list)

    def scale(self, factor: float) -> None:
        self.factor *= factor
        if factor != 1:
            up, down = f"{factor:.12g}", f"{1 / factor:.12g}"
            # Whichever a reader knows: ÷ 1000, × 10000000, × 0.45359237.
            is_down = "." not in down if factor < 1 else len(down) < len(up) and "e" not in down
            self.steps.append(f"÷ {down}" if is_down else f"× {up}")

    def multiply(self, value: float, what: str) -> None:
        self.factor *= value
        self.steps.append(f"× {value:.7g} {what}")

    def divide(self, value: float, what: str) -> None:
        self.factor /= value
        self.steps.append(f"÷ {value:.7g} {what}")


def conversion(
    written: str,
    wanted: str,
    *,
    day: date,
    since: date | None = None,
    rates: Rates | None = None,
    vat_rebated: bool = False,
) -> Conversion | str:
    """How a value in the unit `written` becomes one in `wanted` on `day`, or why it can't.

    For a mean over a period `since` is its first day and `day` its last.
    `vat_rebated` is a fact about the product: Chinese VAT is given back when it is exported (magnets),
    or not (oxides and metals, the default). A refusal names both units, what is allowed and the nearest
    known spelling. Texts that are equal need no rule and are not looked into. Raises ValueError when
    `since` is after `day`.
    """
    period = _Period(since or day, day)
    if period.first > period.last:
        message = f"since: {period.first} is after day {period.last}"
        raise ValueError(message)
    if written.strip() and written.split() == wanted.split():
        return Conversion(1.0, f"{' '.join(wanted.split())}, as written")
    source, target = parse_unit(written), parse_unit(wanted)
    if isinstance(source, str):
        return f"{_pair(written, wanted)}: {source}"
    if isinstance(target, str):
        return f"{_pair(written, wanted)}: the unit of the series: {target}"
    if source.dimension != target.dimension:
        return (
            f"{_pair(written, wanted)}: {source.text} is {_kind(source)} and {target.text} "
            f"is {_kind(target)}; allowed is {_kind(target)}"
        )
    working = _Working()
    working.scale(source.size / target.size)
    problem = (
        _convert_substance(working, source, target)
        or _convert_tax(working, source, target, period, rebated=vat_rebated)
        or _convert_currency(working, source, target, period, rates)
    )
    if problem:
        return f"{_pair(written, wanted)}: {problem}"
    if source.text == target.text:
        return Conversion(1.0, f"{' '.join(written.split())} is {target.text}")
    rule = f"{source.text} to {target.text}: {' '.join(working.steps) or 'the same'}"
    return Conversion(
        working.factor,
        "; ".join([rule, *working.notes]),
        lower_confidence(*working.confidences),
    )


def lower_confidence(*words: str) -> str:
    """The word to rely on least: high, derived, medium, low, background; "" says nothing.

    Raises ValueError for a word that is none of these.
    """
    said = [word for word in words if word]
    for word in said:
        if word not in _CONFIDENCES:
            message = f"confidence: {word!r} is none of {', '.join(_CONFIDENCES)}"
            raise ValueError(message)
    return max(said, key=_CONFIDENCES.index, default="")


# --- of what


def _convert_substance(working: _Working, source: Unit, target: Unit) -> str:
    """Oxide, metal, REO and magnet: t_metal = t_oxide · share; a price goes the other way."""
    have, want = source.substance, target.substance
    if have == want:
        return ""
    if not have or not want:
        missing, other = (source, target) if want else (target, source)
        return (
            f"{missing.text} does not say of what, {other.text} does; "
            f"name the substance on both sides or on none"
        )
    if problem := _refused_substances(source, target):
        return problem
    apply = working.multiply if source.dimension == "mass" else working.divide
    if have.startswith("NdFeB"):
        apply(_oxide_in_magnet(have), f"(t NdPr oxide per t {have})")
        _warn_of_magnet_yields(working)
    elif want.startswith("NdFeB"):
        apply(1 / _oxide_in_magnet(want), f"(t {want} per t NdPr oxide)")
        _warn_of_magnet_yields(working)
    else:
        metal, oxide = _element(have), _commercial_oxide(have) if want == "REO" else want
        if have != oxide and _metal_in(have) < 1:
            apply(_metal_in(have), f"({metal} in {have}, {ATOMIC_WEIGHTS_SOURCE})")
        if have != oxide and _metal_in(oxide) < 1:
            apply(1 / _metal_in(oxide), f"({oxide} per {metal}, {ATOMIC_WEIGHTS_SOURCE})")
        if "NdPr oxide" in (have, oxide):
            working.notes.append("NdPr oxide as 75 % Nd2O3 and 25 % Pr6O11 by mass")
        if want == "REO" and have == oxide:
            working.notes.append(f"a tonne of {have} is a tonne of REO")
    return ""


def _refused_substances(source: Unit, target: Unit) -> str:
    have, want = source.substance, target.substance
    if have == "REO":
        return (
            f"REO is a mix: how much {want} is in it depends on the deposit and needs a distribution "
            f"(shares of each oxide); a unit can't tell"
        )
    if source.dimension == "price" and "NdFeB" in have + want:
        return "the price of a magnet is not the price of the rare earth in it"
    if "NdFeB" in (have, want):
        return (
            "NdFeB is gross (blanks) or finished (after machining), which differ by 30 %; "
            "write 'NdFeB gross' or 'NdFeB finished'"
        )
    if have.startswith("NdFeB") or want.startswith("NdFeB"):
        if "NdPr oxide" not in (have, want):
            return f"magnets are converted to and from NdPr oxide only, not {have} to {want}"
        return ""
    if want == "REO":
        if source.dimension == "price":
            return "a price per REO is that of a basket and needs a distribution (shares of each oxide)"
        return ""
    if _element(have) != _element(want):
        return (
            f"{have} and {want} are different metals; allowed are oxide and metal of the same one"
        )
    return ""


def _element(substance: str) -> str:
    if substance in OXIDES:
        return OXIDES[substance][0]
    return substance.removesuffix(" oxide")


def _commercial_oxide(substance: str) -> str:
    if substance.startswith("NdPr"):
        return "NdPr oxide"
    return COMMERCIAL_OXIDES[_element(substance)]


def _metal_in(substance: str) -> float:
    if substance == "NdPr oxide":
        return ndpr_metal_share()
    return metal_share(substance) if substance in OXIDES else 1.0


def _oxide_in_magnet(substance: str) -> float:
    is_gross = substance == "NdFeB gross"
    return ndpr_oxide_per_gross_magnet() if is_gross else ndpr_oxide_per_finished_magnet()


def _warn_of_magnet_yields(working: _Working) -> None:
    working.confidences.append(MAGNET_CONFIDENCE)
    working.notes.append("NdPr share and yields of an average magnet, to be verified")


# --- with or without tax


def _convert_tax(
    working: _Working, source: Unit, target: Unit, period: _Period, *, rebated: bool
) -> str:
    """Chinese VAT: domestic with, domestic without, or free on board (see `fob_parity`)."""
    if source.dimension != "price":
        return ""
    vats = chinese_vats(period.first, period.last)
    for unit in (source, target):
        is_chinese = unit.currency in _VAT_CURRENCIES
        if is_chinese and unit.stated_vat is not None and (law := _other_vat(unit, vats, period)):
            return (
                f"{unit.text} states {unit.stated_vat:.0%}, but {law}; write '{unit.basis}' alone"
            )
    have, want = source.basis, target.basis
    if have == want and source.currency == target.currency:
        return ""
    for unit in (source, target):
        if unit.currency == "CNY" and not unit.basis:
            return (
                f"{unit.text} does not say whether Chinese VAT is in it; write "
                f"'{unit.text} incl. VAT' or '{unit.text} excl. VAT'"
            )
        if "VAT" in unit.basis and unit.currency not in _VAT_CURRENCIES:
            return f"{unit.text} does not say whose VAT; only Chinese VAT in CNY or USD can be converted"
    if have == want or not ("VAT" in have or "VAT" in want):
        return ""
    if isinstance(vats, str):
        return vats
    is_domestic = "VAT" in have and "VAT" in want
    if not is_domestic and (problem := _parity_problem(source.substance, period, rebated=rebated)):
        return problem
    factors = [
        fob_parity(have, vat, rebated=rebated) / fob_parity(want, vat, rebated=rebated)
        for _, vat in vats
    ]
    if len(set(factors)) > 1:
        return (
            f"{_changes(vats, period)}; one factor is not right for all of it, use shorter periods"
        )
    _say_tax(working, factors[-1], vats[-1][1], period.last)
    if not is_domestic:
        if rebated:
            working.confidences.append(_REBATE_CONFIDENCE)
            working.notes.append("FOB parity leaves VAT out: it is rebated on export")
        else:
            working.notes.append("FOB parity includes VAT: none is rebated on export")
    return ""


def _other_vat(unit: Unit, vats: _Vats | str, period: _Period) -> str:
    """What the law said in place of the rate that a unit states; empty: the same."""
    if isinstance(vats, str):
        return vats
    if len(vats) > 1:
        return _changes(vats, period)
    ((_, vat),) = vats
    return "" if unit.stated_vat == vat else f"{vat:.0%} was in force on {period.last}"


def _changes(vats: _Vats, period: _Period) -> str:
    told = ", ".join(f"{vat:.0%} from {first}" for first, vat in vats)
    return f"Chinese VAT changed within {period.first} to {period.last}: {told}"


def _parity_problem(substance: str, period: _Period, *, rebated: bool) -> str:
    is_magnet = substance.startswith("NdFeB")
    if substance and is_magnet != rebated:
        right, wrong = ("given back", "not") if is_magnet else ("not given back", "so")
        return f"VAT on exports of {substance} is {right}, but the series says {wrong}; correct vat_rebated"
    if not rebated and period.first < PARITY_SINCE:  # magnets paid no export tax
        return (
            f"domestic and FOB prices can't be converted for days before {PARITY_SINCE} (here "
            f"{period.first}): China's export tax and quotas kept FOB prices of rare earths 38 to 44 % "
            "above domestic ones"
        )
    return ""


def _say_tax(working: _Working, factor: float, vat: float, day: date) -> None:
    what = f"(VAT {vat:.0%} on {day})"
    if factor > 1:
        working.multiply(1 + vat, what)
    elif factor < 1:
        working.divide(1 + vat, what)


# --- in which money


def _convert_currency(
    working: _Working, source: Unit, target: Unit, period: _Period, rates: Rates | None
) -> str:
    """CNY to USD divides by CNY per USD; every pair is asked for in one direction, so ways back agree."""
    have, want = source.currency, target.currency
    if have == want:
        return ""
    base, quote = sorted((have, want), key=CURRENCIES.index)
    needed = f"needs the rate of {quote} per {base} {period}"
    if rates is None:
        return f"{needed}, but no exchange rates are at hand"
    rate = rates(base, quote, period.last)
    if isinstance(rate, str):
        return f"{needed}: {rate}"
    if not (math.isfinite(rate.value) and rate.value > 0):
        return f"the rate of {quote} per {base} ({rate.source_id}) is {rate.value!r}; it must be above 0"
    if rate.confidence not in _CONFIDENCES:
        return (
            f"the rate of {quote} per {base} ({rate.source_id}) has confidence {rate.confidence!r}, "
            f"which is none of {', '.join(_CONFIDENCES)}"
        )
    apply = working.divide if want == base else working.multiply
    apply(rate.value, f"{quote}/{base} ({rate.source_id}, {rate.quoted_on})")
    working.confidences.append(rate.confidence)
    return ""


# --- words


_KINDS = {
    "mass": "a mass",
    "price": "a price per mass",
    "money": "an amount of money",
    "vehicles": "a number of vehicles",
    "power": "a power",
}


def _kind(unit: Unit) -> str:
    return _KINDS[unit.dimension]


def _pair(written: str, wanted: str) -> str:
    return f"{_said(written)} can't become {_said(wanted)}"


def _said(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SAID else text[: _LONGEST_SAID - 1] + "…")
