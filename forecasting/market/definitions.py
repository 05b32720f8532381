"""What a market is made of: factors, projects, licence regimes, components, markets, scenarios; plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date

CONFIDENCE_ORDER = ("high", "medium", "derived", "low", "background")
"""From solid to weak; a component is as weak as its weakest input."""

WEAK = frozenset({"low", "background"})
"""Confidence words that must be said wherever a figure goes."""

STATUSES = ("operating", "ramping", "construction", "planned")
"""How far a project is: what produces doesn't slip; what is built or planned may slip, or never come."""

NOT_YET_PRODUCING = ("construction", "planned")


class MarketDefinitionError(Exception):
    """A market, project, regime or scenario can't be computed; its name and the field are in the text."""


class CannotProjectError(Exception):
    """A market lacks an input at this moment; the text names it, `series` too where it is one."""

    def __init__(self, message: str, series: str = "") -> None:
        super().__init__(message)
        self.series = series


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
class Project:
    """A plant: what it can make a year, and from when."""

    project: str
    title: str
    owner: str
    country: str
    stage: str  # of what it makes: mine, concentrate, oxide, metal, alloy, magnet
    product: str
    capacity: float  # nameplate, in `unit`
    unit: str  # "t NdFeB/year", "t NdPr oxide/year", …
    starts_on: date  # first product, as announced
    status: str  # one of STATUSES
    known_on: date  # day on which this was known: a look further back doesn't see it
    source: str
    confidence: str
    full_on: date | None = None  # announced day of nameplate output; None: after the usual ramp
    note: str = ""


@dataclass(frozen=True, slots=True)
class LicenceRegime:
    """An origin's export licences for magnets that hold certain elements, and the time they are in force.

    `covers` is the share of the origin's magnet exports that need one; `granted` the chance that an
    application is granted (a refused one is filed again), `lead_days` how long one takes: all factors.
    Between `suspended_on` and `suspended_until` it doesn't hold; it comes back with the chance `resumes`.
    """

    regime: str
    title: str
    origin: str
    elements: tuple[str, ...]
    covers: str
    granted: str
    lead_days: str
    known_on: date
    starts_on: date
    source: str
    confidence: str
    ends_on: date | None = None
    suspension_known_on: date | None = None
    suspended_on: date | None = None
    suspended_until: date | None = None
    resumes: str = ""

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Every factor it rests on."""
        return tuple(
            name for name in (self.covers, self.granted, self.lead_days, self.resumes) if name
        )

    def spans(
        self, known_at: date | None = None
    ) -> tuple[tuple[tuple[date, date], ...], tuple[tuple[date, date], ...]]:
        """When it is in force, each from its first day to the day before the second, as known at a day.

        Two kinds: spans that hold for certain, and those that hold if it comes back after a suspension.
        Without a day, as written.
        """
        if known_at is not None and self.known_on > known_at:
            return (), ()
        end = self.ends_on or date.max
        is_suspended = self.suspended_on is not None and (
            known_at is None
            or (self.suspension_known_on is not None and self.suspension_known_on <= known_at)
        )
        if not is_suspended or self.suspended_on is None:
            return _real((self.starts_on, end)), ()
        back = max(self.suspended_until or date.max, self.starts_on)
        return _real((self.starts_on, min(self.suspended_on, end))), _real((back, end))


@dataclass(frozen=True, slots=True)
class Component:
    """One line of a balance. Exactly one of `series`, `level`, `project`, `balance` says where its activity is from."""

    name: str
    side: str  # "supply" | "demand"
    series: str = ""  # a forecast series of the catalogue
    level: str = ""  # a factor in …/year
    project: str = ""  # a plant of projects.csv
    balance: bool = False  # what is left when the market clears
    factors: tuple[str, ...] = ()
    share: str = ""  # factor: this part of the series, or of what is left
    rest: bool = False  # the part that the shares beside it leave
    growth: str = ""  # factor in share/year, from the base year on
    limit: str = ""  # factor in …/year: never more than this comes out
    limit_factors: tuple[str, ...] = ()  # from the limit's unit to the market's
    origin: str = ""  # country it comes from
    licences_of: str = ""  # country whose export licences it needs; default: its origin
    exported: str = ""  # factor: share of it that crosses that border; default: all
    grades: str = "mixed"  # "mixed" | "controlled" (all need a licence) | "free" (none does)
    stage: str = "magnet"  # what the origin contributes: mine, oxide, magnet, …
    use: str = ""  # of a demand: electric vehicles, wind, …
    channel: str = "direct"  # "embedded": arrives inside parts; shown, not balanced

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Every factor it rests on, in order."""
        named = (
            self.level,
            *self.factors,
            self.share,
            self.growth,
            self.limit,
            *self.limit_factors,
            self.exported,
        )
        return tuple(name for name in named if name)


@dataclass(frozen=True, slots=True)
class Market:
    """Supply and demand of one product; quantities in `unit` a month."""

    market: str
    title: str
    product: str
    components: tuple[Component, ...]
    unit: str = "t NdFeB"
    importer: str = (
        ""  # country whose market it is: what it makes itself is no import; "" is the world
    )
    stock_weeks: str = ""  # factor: usual stock in weeks of demand

    @property
    def series(self) -> tuple[str, ...]:
        """The series that must be forecast before this market can be projected."""
        return tuple(dict.fromkeys(c.series for c in self.components if c.series))

    @property
    def projects(self) -> tuple[str, ...]:
        """The plants it counts on."""
        return tuple(dict.fromkeys(c.project for c in self.components if c.project))


@dataclass(frozen=True, slots=True)
class LicenceFreeze:
    """For some months `origin` licenses no controlled grades; `left` (factor) of them still come out.

    Months are those of arrival, from the first projected one on.
    """

    origin: str
    lasts_months: int
    starts_after_months: int = 0
    left: str = ""


@dataclass(frozen=True, slots=True)
class SupplyChange:
    """What comes from `origin` (at `stage`, or at any) falls to the factor `left` of the base case."""

    origin: str
    left: str
    stage: str = ""
    starts_after_months: int = 0
    lasts_months: int = 0  # 0: for good


@dataclass(frozen=True, slots=True)
class ProjectSlip:
    """Plants that don't produce yet come `months` later: those named, those of the countries, or all."""

    months: int
    projects: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewPlant:
    """A plant that the base case doesn't count on: `capacity` is a factor in …/year."""

    name: str
    market: str
    origin: str
    capacity: str
    chance: str  # factor: how likely it comes at all
    starts_after_months: int
    ramp_months: int
    factors: tuple[str, ...] = ()  # from the capacity's unit to the market's


@dataclass(frozen=True, slots=True)
class DemandChange:
    """The demand of some uses (none named: of all) rises to the factor `becomes` of the base case, evenly over some months."""

    becomes: str
    uses: tuple[str, ...] = ()
    starts_after_months: int = 0
    over_months: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A named overlay on every market; the base case has none.

    `includes` names scenarios that hold as well: see `composed`.
    """

    scenario: str
    title: str
    includes: tuple[str, ...] = ()
    freezes: tuple[LicenceFreeze, ...] = field(default=())
    supply: tuple[SupplyChange, ...] = field(default=())
    slips: tuple[ProjectSlip, ...] = field(default=())
    plants: tuple[NewPlant, ...] = field(default=())
    demand: tuple[DemandChange, ...] = field(default=())

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Every factor its changes rest on."""
        named = [
            *(freeze.left for freeze in self.freezes),
            *(change.left for change in self.supply),
            *(change.becomes for change in self.demand),
            *(
                name
                for plant in self.plants
                for name in (plant.capacity, plant.chance, *plant.factors)
            ),
        ]
        return tuple(dict.fromkeys(name for name in named if name))

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return not (self.freezes or self.supply or self.slips or self.plants or self.demand)


def _real(span: tuple[date, date]) -> tuple[tuple[date, date], ...]:
    return (span,) if span[0] < span[1] else ()


def composed(scenario: Scenario, known: Mapping[str, Scenario]) -> Scenario:
    """A scenario with everything it includes laid over each other, in order; raises MarketDefinitionError."""
    parts: list[Scenario] = []

    def gather(one: Scenario, above: tuple[str, ...]) -> None:
        if one.scenario in above:
            circle = " -> ".join([*above[above.index(one.scenario) :], one.scenario])
            message = f"scenario {scenario.scenario}: includes: goes in a circle: {circle}"
            raise MarketDefinitionError(message)
        for name in one.includes:
            if name not in known:
                message = (
                    f"scenario {one.scenario}: includes: there is no scenario {name!r}; "
                    f"known: {', '.join(known)}"
                )
                raise MarketDefinitionError(message)
            gather(known[name], (*above, one.scenario))
        # A part that is reached twice holds once.
        if one not in parts:
            parts.append(one)

    gather(scenario, ())
    return replace(
        scenario,
        includes=(),
        freezes=tuple(change for one in parts for change in one.freezes),
        supply=tuple(change for one in parts for change in one.supply),
        slips=tuple(change for one in parts for change in one.slips),
        plants=tuple(change for one in parts for change in one.plants),
        demand=tuple(change for one in parts for change in one.demand),
    )


def combined(names: str, known: Mapping[str, Scenario]) -> Scenario:
    """The scenario of a name, or of several joined by "+", laid over each other; raises MarketDefinitionError."""
    parts = tuple(dict.fromkeys(part.strip() for part in names.split("+")))
    if len(parts) == 1 and parts[0] in known:
        return composed(known[parts[0]], known)
    named = [known[part] for part in parts if part in known and part != "base"]
    titles = [one.title if at == 0 else _continued(one) for at, one in enumerate(named)]
    joined = Scenario("+".join(parts), " and ".join(titles), includes=parts)
    return composed(joined, known)


def _continued(scenario: Scenario) -> str:
    """Its title within a sentence: a small letter first, unless it begins with the name of an origin."""
    origins = (
        *(change.origin for change in scenario.freezes),
        *(change.origin for change in scenario.supply),
        *(change.origin for change in scenario.plants),
    )
    title = scenario.title
    return title if title.startswith(origins) else title[:1].lower() + title[1:]
