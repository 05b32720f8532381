"""What magnets are made of: the 17 elements, what deposits hold of each, what a grade takes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from forecasting.market.chemistry import COMMERCIAL_OXIDES, ELEMENT_NAMES, metal_share
from forecasting.market.definitions import MarketDefinitionError

ROUNDING = 0.005
"""How far the shares of a deposit may add up to more than 1: they are published with one or two decimals."""

EXACT = 1e-9
"""How far the parts of a mix may add up to something else than 1: they are ours, not rounded."""

LIGHT = frozenset({"La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd"})
"""The light rare earths by USGS; scandium is counted with neither group."""

TOTAL_RARE_EARTH = 0.305
"""t rare-earth metal / t sintered NdFeB, 0.29–0.325: factor magnet_tree, its central value."""


@dataclass(frozen=True, slots=True)
class Element:
    """A rare-earth element and the oxide in which it is traded."""

    symbol: str
    name: str
    group: str  # "light" | "heavy" | "" (scandium)
    oxide: str  # formula

    @property
    def metal_share(self) -> float:
        """Tonnes of metal in a tonne of its oxide, by standard atomic weights (IUPAC 2021)."""
        return metal_share(self.oxide)


def _group(symbol: str) -> str:
    if symbol == "Sc":
        return ""
    return "light" if symbol in LIGHT else "heavy"


ELEMENTS: Mapping[str, Element] = {
    symbol: Element(symbol, name, _group(symbol), COMMERCIAL_OXIDES[symbol])
    for symbol, name in ELEMENT_NAMES.items()
}
"""By symbol: all 17. Promethium has no stable isotope: no deposit holds any worth counting."""


@dataclass(frozen=True, slots=True)
class Grade:
    """A temperature class of sintered NdFeB, and the dysprosium that holds its coercivity there.

    Dysprosium equivalent in per cent of mass, terbium counted as dysprosium, without grain-boundary
    diffusion (which saves 50–70 % of it). `max_celsius` is the temperature up to which it is sold.
    """

    grade: str  # N, M, H, SH, UH, EH, AH
    max_celsius: float
    dy_percent_low: float
    dy_percent_central: float
    dy_percent_high: float
    source: str
    confidence: str
    note: str = ""

    def __post_init__(self) -> None:
        low, central, high = (
            self.dy_percent_low,
            self.dy_percent_central,
            self.dy_percent_high,
        )
        if not all(map(math.isfinite, (low, central, high, self.max_celsius))):
            message = f"grade {self.grade}: a figure is not a finite number"
            raise MarketDefinitionError(message)
        if not 0 <= low <= central <= high:
            message = (
                f"grade {self.grade}: dy_percent: low {low:g}, central {central:g}, high {high:g} "
                "are not in order from 0 up"
            )
            raise MarketDefinitionError(message)
        if high >= 100 * TOTAL_RARE_EARTH:
            message = (
                f"grade {self.grade}: dy_percent: {high:g} % is not below the "
                f"{TOTAL_RARE_EARTH:.1%} of rare earth that a magnet holds"
            )
            raise MarketDefinitionError(message)

    @property
    def is_controlled(self) -> bool:
        """Whether its usual recipe holds dysprosium or terbium, which China licenses since 4 April 2025."""
        return self.dy_percent_central > 0

    def ndpr_share(self, total_rare_earth: float = TOTAL_RARE_EARTH) -> float:
        """Tonnes of NdPr metal in a tonne of magnet: w_NdPr = TREE − Dy; it falls as dysprosium rises.

        As factor magnet_ndpr is defined (all rare earth less Dy, Tb, Gd); with the central 0.305 from
        0.305 (N) to 0.207 (AH). Today's average magnet, 0.285, stands between H and SH.
        """
        dysprosium = self.dy_percent_central / 100
        if not dysprosium < total_rare_earth < 1:
            message = (
                f"grade {self.grade}: total_rare_earth {total_rare_earth:g} is not between its "
                f"{dysprosium:g} of dysprosium and 1 (t metal / t magnet)"
            )
            raise MarketDefinitionError(message)
        return total_rare_earth - dysprosium


@dataclass(frozen=True, slots=True)
class Deposit:
    """An ore body and the share of each oxide in the rare-earth oxides (TREO) that it holds, 0–1.

    Keys of `shares` are traded oxides (Nd2O3, Pr6O11, Tb4O7, …); an oxide that isn't named was not
    reported, or counts as nothing.
    """

    deposit: str
    title: str
    country: str
    ore: str
    shares: Mapping[str, float]
    source: str
    confidence: str
    note: str = ""

    def __post_init__(self) -> None:
        known = set(COMMERCIAL_OXIDES.values())
        for oxide, share in self.shares.items():
            if oxide not in known:
                message = (
                    f"deposit {self.deposit}: {oxide} is no traded oxide; "
                    f"known: {', '.join(COMMERCIAL_OXIDES.values())}"
                )
                raise MarketDefinitionError(message)
            if not 0 <= share <= 1:
                message = f"deposit {self.deposit}: {oxide}: {share!r} is not a share of 0–1"
                raise MarketDefinitionError(message)
        total = sum(self.shares.values())
        if total > 1 + ROUNDING:
            message = (
                f"deposit {self.deposit}: its shares of TREO add up to {total:.4f}; "
                f"at most 1 (and {ROUNDING:g} for rounding) is possible"
            )
            raise MarketDefinitionError(message)

    def share(self, *symbols: str) -> float:
        """Tonnes of the oxides of these elements in a tonne of TREO: of Nd and Pr, its NdPr oxide."""
        return sum(self.shares.get(_oxide(symbol), 0.0) for symbol in symbols)


@dataclass(frozen=True, slots=True)
class DepositMix:
    """Which deposits stand for what an origin mines: parts of its REO output, that add up to 1."""

    origin: str
    series: str  # its mine output, t REO/year
    parts: Mapping[str, float]  # deposit → share of the origin's output
    source: str
    confidence: str

    def __post_init__(self) -> None:
        for deposit, part in self.parts.items():
            if not 0 < part <= 1:
                message = f"mix of {self.origin}: {deposit}: {part!r} is not a share above 0 to 1"
                raise MarketDefinitionError(message)
        total = sum(self.parts.values())
        if not abs(total - 1) <= EXACT:
            message = f"mix of {self.origin}: its shares add up to {total:.6f}, not to 1"
            raise MarketDefinitionError(message)


def mix_content(mix: DepositMix, deposits: Mapping[str, Deposit], *symbols: str) -> float:
    """Tonnes of the oxides of these elements in a tonne of REO of a mix: Σ part[d] · share[d, e].

    ("Nd", "Pr") gives t NdPr oxide / t REO, ("Dy",) t Dy2O3 / t REO. Raises MarketDefinitionError for a
    deposit that isn't known.
    """
    for name in mix.parts:
        if name not in deposits:
            message = (
                f"mix of {mix.origin}: there is no deposit {name!r}; known: {', '.join(deposits)}"
            )
            raise MarketDefinitionError(message)
    return sum(part * deposits[name].share(*symbols) for name, part in mix.parts.items())


def contained_oxide(
    mined_reo: Mapping[str, float],
    mixes: Mapping[str, DepositMix],
    deposits: Mapping[str, Deposit],
    *symbols: str,
) -> dict[str, float]:
    """Tonnes of the oxides of these elements in what each origin mined (`mined_reo`: origin → t REO).

    oxide[o] = REO[o] · Σ_d part[o, d] · share[d, e], before any loss. Raises MarketDefinitionError for an
    origin without a mix: it must not drop out of a total.
    """
    found = {}
    for origin, tonnes in mined_reo.items():
        if origin not in mixes:
            message = f"no mix of deposits stands for {origin!r}; known: {', '.join(mixes)}"
            raise MarketDefinitionError(message)
        if not (math.isfinite(tonnes) and tonnes >= 0):
            message = f"mine output of {origin}: {tonnes!r} is not a number of t REO from 0 up"
            raise MarketDefinitionError(message)
        found[origin] = tonnes * mix_content(mixes[origin], deposits, *symbols)
    return found


def _oxide(symbol: str) -> str:
    if symbol not in ELEMENTS:
        message = f"{symbol!r} is no rare-earth element; known: {', '.join(ELEMENTS)}"
        raise MarketDefinitionError(message)
    return ELEMENTS[symbol].oxide
