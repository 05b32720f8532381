"""Units as publishers spell them: what each means, in one canonical form, or why it is none."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from flows.units.vat import Basis
from forecasting.market.chemistry import COMMERCIAL_OXIDES, ELEMENT_NAMES, OXIDES

Dimension = Literal["mass", "price", "money", "vehicles", "power"]

_LONGEST = 80

_MASSES_KG = {
    "g": 0.001,
    "kg": 1.0,
    "t": 1_000.0,
    "kt": 1_000_000.0,
    "lb": 0.45359237,
    "short ton": 907.18474,
    "long ton": 1_016.0469088,
}
_POWERS_KW = {"kW": 1.0, "MW": 1_000.0, "GW": 1_000_000.0}
CURRENCIES = ("EUR", "USD", "CNY", "INR", "JPY")

# Casefolded; a plural s is understood.
_SPELLINGS = {
    "g": ("g", "gram", "gramme", "克"),
    "kg": ("kg", "kilo", "kilogram", "kilogramme", "公斤", "千克"),
    "t": ("t", "mt", "m.t.", "tonne", "metric ton", "metric tonne", "吨", "公吨"),
    "kt": ("kt", "kilotonne", "kiloton", "千吨"),
    "lb": ("lb", "lb.", "lbs.", "pound"),
    "short ton": ("short ton",),
    "long ton": ("long ton",),
    "vehicles": ("vehicle", "辆"),
    "kW": ("kw", "kilowatt", "千瓦"),
    "MW": ("mw", "megawatt", "兆瓦"),
    "GW": ("gw", "gigawatt", "吉瓦"),
    "USD": ("usd", "us$", "$", "us dollar", "u.s. dollar", "dollar", "美元"),
    "CNY": ("cny", "rmb", "yuan", "renminbi", "元", "人民币", "元人民币"),
    "EUR": ("eur", "euro", "€", "欧元"),
    "INR": ("inr", "rs", "rs.", "rupee", "₹", "卢比"),
    "JPY": ("jpy", "yen", "円", "日元"),
}
_BASES = {
    form: name
    for name, spellings in _SPELLINGS.items()
    for spelling in spellings
    for form in ((spelling,) if spelling in ("t", "g") else (spelling, f"{spelling}s"))
} | {f"k{currency.casefold()}": f"k{currency}" for currency in CURRENCIES}

_SCALES = {
    "thousand": ("thousand", "thousands", "'000", "10^3", "1000", "1,000", "1 000", "千"),
    "10^4": ("10^4", "10000", "10,000", "10 000", "ten thousand", "万"),
    "lakh": ("lakh", "lakhs", "10^5", "100000", "100,000", "100 000"),
    "million": ("million", "millions", "mn", "mio", "10^6", "1000000", "1,000,000", "百万"),
    "crore": ("crore", "crores", "10^7", "千万"),
    "10^8": ("10^8", "100 million", "亿"),
    "billion": ("billion", "bn", "10^9"),
}
_SCALE_SIZES = {
    "thousand": 1e3,
    "10^4": 1e4,
    "lakh": 1e5,
    "million": 1e6,
    "crore": 1e7,
    "10^8": 1e8,
    "billion": 1e9,
}
_SCALE_FORMS = {form: name for name, forms in _SCALES.items() for form in forms}

_MIXTURES = {
    "NdPr oxide": ("ndpr oxide", "prnd oxide", "nd pr oxide", "pr nd oxide", "didymium oxide"),
    "NdPr": ("ndpr", "prnd", "ndpr metal", "prnd metal", "nd pr metal", "ndpr alloy", "prnd alloy"),
    "REO": (
        "reo",
        "treo",
        "reo eq",
        "reo equivalent",
        "rare earth oxide",
        "rare earth oxides",
        "rare earth oxide equivalent",
    ),
    "NdFeB": ("ndfeb", "ndfeb magnet", "ndfeb magnets"),
    "NdFeB gross": ("ndfeb gross", "gross ndfeb", "ndfeb blanks", "ndfeb blank"),
    "NdFeB finished": ("ndfeb finished", "finished ndfeb"),
}
_SUBSTANCES = (
    {formula.casefold(): formula for formula in OXIDES}
    | {
        form: symbol
        for symbol, name in ELEMENT_NAMES.items()
        for form in (symbol.casefold(), name, f"{symbol.casefold()} metal", f"{name} metal")
    }
    | {
        form: COMMERCIAL_OXIDES[symbol]
        for symbol, name in ELEMENT_NAMES.items()
        for form in (f"{symbol.casefold()} oxide", f"{name} oxide")
    }
    | {form: name for name, forms in _MIXTURES.items() for form in forms}
)

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_RATE = r"(?:(?P<rate>\d+(?:\.\d+)?)\s*%\s*)?"
_TAXES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b(?P<word>(?:in|ex)cl(?:uding|usive(?: of)?)?|with|without|ex|net of)\b"
        rf"[\s.-]*{_RATE}(?:chinese |china )?vat\b",
        rf"{_RATE}\bvat[ -](?P<word>incl|excl)\w*\.?",
        rf"(?P<word>不含|未含|未|含){_RATE}(?:增值)?税",
    )
)
_WITHOUT = ("ex", "net", "without", "不", "未")
_FOB = re.compile(r"\bfob(?: china)?\b")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit that was understood: what it measures, how much that is, of what, and on which basis."""

    text: str  # the canonical spelling
    dimension: Dimension
    size: float  # in kg, currency per kg, currency, vehicles or kW
    currency: str = ""
    substance: str = ""
    basis: Basis = ""
    stated_vat: float | None = None  # 0.13 when the unit itself says 13 %


@dataclass(frozen=True, slots=True)
class _Amount:
    """One side of a unit's stroke: a scaled base and what follows it."""

    text: str
    name: str
    size: float
    rest: str


@lru_cache(maxsize=4096)
def parse_unit(written: str) -> Unit | str:
    """The unit that `written` spells, or why it spells none, with the nearest known spelling."""
    if not written.strip():
        return "no unit is written"
    if len(written) > _LONGEST:
        return f"a text of {len(written)} characters is no unit"
    text = _tidied(written)
    if problem := _ambiguity(text):
        return problem
    tax = _tax(text.casefold())
    if isinstance(tax, str):
        return tax
    bare, basis, stated = tax
    sides = [side.strip() for side in re.sub(r"\bper\b|每", "/", bare).split("/")]
    if len(sides) == 1:
        unit = _plain_unit(sides[0])
        if unit is not None and basis:
            return f"{basis} belongs to a price, and {unit.text} is none"
    else:
        unit = _price(sides, basis, stated) if len(sides) == 2 else None
    return unit or f"there is no such unit{_nearest(written)}"


def _plain_unit(side: str) -> Unit | None:
    amount = _amount(side)
    if amount is None:
        return None
    if amount.name in _MASSES_KG:
        substance = _substance(amount.rest)
        if substance is None:
            return None
        text = f"{amount.text} {substance}".rstrip()
        return Unit(text, "mass", amount.size * _MASSES_KG[amount.name], substance=substance)
    if amount.rest:
        return None
    if amount.name in CURRENCIES:
        return Unit(amount.text, "money", amount.size, currency=amount.name)
    if amount.name in _POWERS_KW:
        return Unit(amount.text, "power", amount.size * _POWERS_KW[amount.name])
    return Unit(amount.text, "vehicles", amount.size)


def _price(sides: list[str], basis: Basis, stated: float | None) -> Unit | None:
    money, mass = (_amount(side) for side in sides)
    if money is None or mass is None or money.rest:
        return None
    substance = _substance(mass.rest)
    if money.name not in CURRENCIES or mass.name not in _MASSES_KG or substance is None:
        return None
    word = basis if stated is None else basis.replace("VAT", f"{stated * 100:g} % VAT")
    text = " ".join(part for part in (f"{money.text}/{mass.text}", substance, word) if part)
    size = money.size / (mass.size * _MASSES_KG[mass.name])
    return Unit(text, "price", size, money.name, substance, basis, stated)


def _amount(side: str) -> _Amount | None:
    """The scaled base at the start of `side`: "10^4 t nd2o3" is 10^4 t, and "nd2o3" follows."""
    for form, scale in [("", ""), *_by_length(_SCALE_FORMS)]:
        if not side.startswith(form):
            continue
        after = side[len(form) :]
        found = _base(after.strip()) if _ends(form, after) else None
        if found is None:
            continue
        name, rest = found
        scales = [scale] if scale else []
        if rest in _SCALE_FORMS:
            scales.append(_SCALE_FORMS[rest])  # "rs crore", "vehicles (thousands)"
            rest = ""
        if name[1:] in CURRENCIES:
            scales.append("thousand")  # "kcny"
            name = name[1:]
        if len(scales) > 1:
            return None
        size = _SCALE_SIZES[scales[0]] if scales else 1.0
        return _Amount(" ".join([*scales, name]), name, size, rest)
    return None


def _base(text: str) -> tuple[str, str] | None:
    for form, name in _by_length(_BASES):
        if text.startswith(form):
            rest = text[len(form) :]
            if _ends(form, rest):
                return name, rest.strip()
    return None


def _ends(word: str, rest: str) -> bool:
    """Whether a word is whole before `rest`: t ends before " reo", not before "housand"; € and 吨 always."""
    return not rest or rest.startswith(" ") or not (word[-1:].isascii() and word[-1:].isalpha())


@cache
def _sorted_forms(which: str) -> tuple[tuple[str, str], ...]:
    forms = _BASES if which == "bases" else _SCALE_FORMS
    return tuple(sorted(forms.items(), key=lambda item: -len(item[0])))


def _by_length(forms: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The longest spelling first: "metric ton" before "metric", "mt" before "m"."""
    return _sorted_forms("bases" if forms is _BASES else "scales")


def _substance(rest: str) -> str | None:
    """The canonical name of a substance, "" when none is said, None when it is not known."""
    words = rest.replace("-", " ").replace(".", "").split()
    said = " ".join(word for word in words if word not in ("of", "contained", "content"))
    return _SUBSTANCES.get(said) if said else ""


def _tidied(written: str) -> str:
    # A raised exponent must not become a plain digit: 10⁴ t is not 104 t.
    text = re.sub(
        r"10([⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda found: "10^" + found[1].translate(_SUPERSCRIPTS), written
    )
    text = unicodedata.normalize("NFKC", text).replace("’", "'")
    text = re.sub(r"10\s*\^\s*(\d)", r"10^\1", text)
    return " ".join(text.split())


def _ambiguity(text: str) -> str:
    if re.search(r"\bMt\b", text):
        return "'Mt' is a million tonnes to some and a metric ton to others: write 10^6 t or t"
    if re.search(r"(?<!metric )(?<!short )(?<!long )\btons?\b", text.casefold()):
        return "'ton' is metric, short or long: write t, short ton or long ton"
    if "¥" in text:
        return "'¥' is yuan or yen: write CNY or JPY"
    return ""


def _tax(text: str) -> tuple[str, Basis, float | None] | str:
    """The text without its tax word, the basis that it names, and the rate that it states."""
    found = [(tax, match) for tax in _TAXES for match in [tax.search(text)] if match]
    is_fob = _FOB.search(text) is not None
    basis: Basis = "FOB" if is_fob else ""
    stated: float | None = None
    bare = _FOB.sub(" ", text)
    if found:
        tax, match = found[0]
        basis = "excl. VAT" if match["word"].startswith(_WITHOUT) else "incl. VAT"
        stated = float(match["rate"]) / 100 if match["rate"] else None
        bare = tax.sub(" ", bare, count=1)
    if (found and is_fob) or any(tax.search(bare) for tax in _TAXES):
        return "it names more than one tax basis; allowed is one of incl. VAT, excl. VAT, FOB"
    # A comma between digits is part of a number: 10,000 t.
    bare = re.sub(r"[();]|(?<!\d),|,(?!\d)", " ", bare)
    return " ".join(bare.split()), basis, stated


def _nearest(written: str) -> str:
    known = {form.casefold(): form for form in _canonical_forms()}
    close = difflib.get_close_matches(_tidied(written).casefold(), known, n=1, cutoff=0.5)
    hint = f"; did you mean {known[close[0]]!r}?" if close else ""
    return (
        f"{hint or ';'} known are masses ({_listed(_MASSES_KG)}), money ({_listed(CURRENCIES)}), money "
        f"per mass, vehicles and power ({_listed(_POWERS_KW)}), with thousand, 10^4, million before them"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


@cache
def _canonical_forms() -> tuple[str, ...]:
    names = sorted({*_SUBSTANCES.values()})
    prices = [f"{money}/{mass}" for money in CURRENCIES for mass in ("kg", "t", "lb")]
    prices += ["10^4 CNY/t", "thousand CNY/t"]
    amounts = [*_MASSES_KG, "10^4 t", *CURRENCIES, "thousand USD", "million USD", *_POWERS_KW]
    vehicles = ["vehicles", "thousand vehicles", "million vehicles"]
    taxed = [
        f"{price} {tax}" for price in prices if "CNY" in price for tax in ("incl. VAT", "excl. VAT")
    ]
    filled = [f"{mass} {name}" for mass in ("kg", "t") for name in names]
    return (*amounts, *vehicles, *prices, *taxed, *filled, *(f"USD/kg {name}" for name in names))
