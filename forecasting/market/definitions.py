"""What a market is made of: factors with units, components, markets, scenarios; all checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field

PRODUCT_UNITS: Mapping[str, float] = {
    "kg NdFeB": 0.001,
    "t NdFeB": 1.0,
    "t finished magnet": 1.0,
}
"""Units that a component may end in, with their tonnes of finished magnets."""

LICENSING_ORIGIN = "China"
"""The one origin whose export licences are modelled, from its own customs figures."""

CONFIDENCE_ORDER = ("high", "medium", "derived", "low", "background")
"""From solid to weak; a component is as weak as its weakest input."""


class MarketDefinitionError(Exception):
    """A market or scenario can't be computed; market, component and field are in the text."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A conversion with its range: drawn once per path from a triangle and shared by all components."""

    name: str
    low: float
    central: float
    high: float
    unit: str
    source: str
    confidence: str

    def __post_init__(self) -> None:
        if not self.low <= self.central <= self.high:
            message = f"factor {self.name}: low {self.low:g}, central {self.central:g}, high {self.high:g} are not in order"
            raise MarketDefinitionError(message)


@dataclass(frozen=True, slots=True)
class Component:
    """One line of a balance. Exactly one of `series`, `level`, `balance` says where its activity is from."""

    name: str
    side: str  # "supply" | "demand"
    series: str = ""
    level: str = ""
    balance: bool = False
    factors: tuple[str, ...] = ()
    growth: str = ""
    share: str = ""
    rest: bool = False
    origin: str = ""
    exported: str = ""
    channel: str = "direct"

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Every factor it rests on, in order."""
        named = (self.level, *self.factors, self.growth, self.share, self.exported)
        return tuple(name for name in named if name)


@dataclass(frozen=True, slots=True)
class Market:
    """Supply and demand of one product; quantities in tonnes of finished magnets."""

    market: str
    title: str
    product: str
    components: tuple[Component, ...]
    stock_weeks: str = ""

    @property
    def series(self) -> tuple[str, ...]:
        """The series that must be forecast before this market can be projected."""
        return tuple(dict.fromkeys(c.series for c in self.components if c.series))


@dataclass(frozen=True, slots=True)
class Change:
    """While it holds, licensed exports of `origin` fall to `export_flow` of normal."""

    origin: str
    export_flow: str
    starts_after_months: int
    lasts_months: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A named overlay on every market; the base case has no changes."""

    scenario: str
    title: str
    changes: tuple[Change, ...] = field(default=())


def check_scenario(scenario: Scenario, factors: Mapping[str, Factor]) -> None:
    """Refuse a scenario that changes nothing we model, or by a factor that is no share."""
    for change in scenario.changes:
        place = f"scenario {scenario.scenario}"
        if change.origin != LICENSING_ORIGIN:
            message = f"{place}: origin: {change.origin!r}: licences are modelled for {LICENSING_ORIGIN} only"
            raise MarketDefinitionError(message)
        factor = factors.get(change.export_flow)
        if factor is None or factor.unit != "share":
            why = "is not a share" if factor else "is not in factors.csv"
            message = f"{place}: export_flow: {change.export_flow!r} {why}"
            raise MarketDefinitionError(message)
        if change.starts_after_months < 0 or change.lasts_months < 1:
            message = f"{place}: starts_after_months must be 0 or more and lasts_months 1 or more"
            raise MarketDefinitionError(message)


def check_market(
    market: Market,
    factors: Mapping[str, Factor],
    units: Mapping[str, str],
    frequencies: Mapping[str, str],
) -> None:
    """Refuse a market whose components don't add up to tonnes of magnets, naming component and field.

    `units` and `frequencies` are those of the catalogue, by series.
    """
    balances = [c for c in market.components if c.balance]
    if len({c.side for c in balances}) > 1:
        _refuse(market, balances[-1], "balance", "only one side of a market can close the balance")
    if sum(1 for c in balances if not c.share) > 1:
        _refuse(
            market, balances[-1], "balance", "two components close the balance: give each a share"
        )
    for side in ("supply", "demand"):
        if not any(c.side == side and c.channel == "direct" for c in market.components):
            message = f"market {market.market}: no direct {side} component"
            raise MarketDefinitionError(message)
    if market.stock_weeks and market.stock_weeks not in factors:
        message = f"market {market.market}: stock_weeks: there is no factor {market.stock_weeks!r}"
        raise MarketDefinitionError(message)
    for component in market.components:
        _check_component(market, component, factors, units)
        if component.series and frequencies[component.series] != "year":
            problem = f"{component.series} is not yearly: an activity is spread from yearly totals"
            _refuse(market, component, "series", problem)


def _check_component(
    market: Market, component: Component, factors: Mapping[str, Factor], units: Mapping[str, str]
) -> None:
    given = [bool(component.series), bool(component.level), component.balance]
    if sum(given) != 1:
        _refuse(market, component, "series", "needs exactly one of series, level or balance = true")
    if component.channel not in {"direct", "embedded"}:
        _refuse(market, component, "channel", f"{component.channel!r} is not direct or embedded")
    if component.origin not in {"", LICENSING_ORIGIN}:
        problem = (
            f"{component.origin!r}: licences are modelled for {LICENSING_ORIGIN} only; leave it out"
        )
        _refuse(market, component, "origin", problem)
    for name in component.factor_names:
        if name not in factors:
            _refuse(market, component, "factors", f"there is no factor {name!r} in factors.csv")
    if component.series and component.series not in units:
        _refuse(
            market, component, "series", f"there is no series {component.series!r} in catalog.toml"
        )
    if component.balance:
        return
    start = units[component.series] if component.series else factors[component.level].unit
    _tonnes_per_unit(market, component, start, [factors[name] for name in component.factors])


def tonnes_scale(
    component: Component, factors: Mapping[str, Factor], units: Mapping[str, str]
) -> float:
    """Tonnes of magnets in one unit that the component's chain of factors ends in."""
    start = units[component.series] if component.series else factors[component.level].unit
    return PRODUCT_UNITS[_walk(start, [factors[name] for name in component.factors])[0]]


def _tonnes_per_unit(market: Market, component: Component, start: str, chain: list[Factor]) -> None:
    unit, problem = _walk(start, chain)
    if problem:
        _refuse(market, component, "factors", problem)
    if unit not in PRODUCT_UNITS:
        allowed = ", ".join(PRODUCT_UNITS)
        _refuse(
            market,
            component,
            "factors",
            f"ends in {unit!r}; a component must end in one of: {allowed}",
        )


def _walk(start: str, chain: list[Factor]) -> tuple[str, str]:
    """Unit after the chain, and what is wrong with it ("" when nothing is)."""
    unit = _singular(start.removesuffix("/year"))
    for factor in chain:
        if factor.unit == "share":
            continue
        numerator, _, denominator = factor.unit.partition("/")
        if _singular(denominator.strip()) != unit:
            return unit, f"{factor.name} is in {factor.unit!r}, but the chain stands at {unit!r}"
        unit = _singular(numerator.strip())
    return unit, ""


def _singular(unit: str) -> str:
    return {"vehicles": "vehicle", "units": "unit"}.get(unit, unit)


def _refuse(market: Market, component: Component, field_name: str, problem: str) -> None:
    message = (
        f"market {market.market}: {component.side} {component.name!r}: {field_name}: {problem}"
    )
    raise MarketDefinitionError(message)
