"""Checks of markets, projects, licence regimes and scenarios: what can't be computed is refused by name."""

import difflib
import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import NoReturn, TypeVar

from forecasting.market.chemistry import ELEMENT_NAMES
from forecasting.market.common import COMMON_FACTORS
from forecasting.market.definitions import (
    CONFIDENCE_ORDER,
    NOT_YET_PRODUCING,
    STATUSES,
    Component,
    DemandChange,
    Factor,
    LicenceFreeze,
    LicenceRegime,
    Market,
    MarketDefinitionError,
    NewPlant,
    Project,
    ProjectSlip,
    Scenario,
    SupplyChange,
    composed,
)
from forecasting.market.evidence import NO_LICENCES, licensed_by, new_component
from forecasting.market.stages import STAGES
from forecasting.market.units import (
    Unit,
    UnitError,
    chain,
    parse_unit,
    per_month,
    scale_to,
    without_time,
)

T = TypeVar("T")

SIDES = ("supply", "demand")
CHANNELS = ("direct", "embedded")
GRADES = ("mixed", "controlled", "free")
FREQUENCIES = ("day", "week", "month", "year")

_ROUNDING = 1e-9
_WHOLE = 1e-3
"""Shares of imports that miss 1 by less than this are whole: they are rounded to a tenth of a per cent."""
_NAMES_LISTED = 12
_SLIP = 0.8
"""Names that are this much alike (0 to 1) are taken for one with a letter wrong: "Chnia" and "China"."""


def check_market(
    market: Market,
    factors: Mapping[str, Factor],
    units: Mapping[str, str],
    frequencies: Mapping[str, str],
    projects: Mapping[str, Project],
    *,
    licensed: Collection[str] | None = None,
    places: Collection[str] = (),
) -> None:
    """Refuse a market that doesn't add up to its unit, naming component, field and what is allowed.

    `units` and `frequencies` are those of the catalogue, by series. `licensed` holds the origins whose
    export licences are known (from regimes and the exports table); None leaves origins unchecked.
    `places` are origins and importers of other markets: a slip in the importer's name is found by them.
    Raises MarketDefinitionError.
    """
    place = f"market {market.market}"
    _require_text(place, "market", market.market)
    _require_text(place, "title", market.title)
    _check_market_unit(place, market.unit)
    if market.stock_weeks:
        stock = _not_negative(place, "stock_weeks", market.stock_weeks, factors)
        if parse_unit(stock.unit) != parse_unit("weeks"):
            _refuse(place, "stock_weeks", f"{stock.name} is in {stock.unit!r}; it must be in weeks")
    _check_importer(place, market, {*places, *(licensed or ())}, projects)
    names: set[str] = set()
    for component in market.components:
        _check_words(_place(market, component), component)
        if component.name in names:
            problem = (
                f"there are two components {component.name!r}; a name is used once in a market"
            )
            _refuse(_place(market, component), "name", problem)
        names.add(component.name)
    for component in market.components:
        _check_activity(market, component, factors, units, frequencies, projects)
        _check_rates(_place(market, component), component, factors)
        _check_supply_only(_place(market, component), component)
        _check_licences(_place(market, component), component, licensed)
        if not component.balance:
            unit_scale(market, component, factors, units, projects)
        if component.limit:
            limit_scale(market, component, factors)
    _check_plants(market)
    _check_shares(market, factors)
    _check_closing(market, factors)
    for side in SIDES:
        if not any(c.side == side and c.channel == "direct" for c in market.components):
            _refuse(place, side, f"no direct {side} component; a balance needs at least one")


def unit_scale(
    market: Market,
    component: Component,
    factors: Mapping[str, Factor],
    units: Mapping[str, str],
    projects: Mapping[str, Project],
) -> float:
    """Market units (tonnes of its product) in one unit that the component's chain of factors ends in.

    The chain starts at the activity: the series' unit, the level's or the plant's without "/year", the
    market's own where the component closes the balance. Sizes only (0.001 for kg NdFeB/vehicle, 0.01 for
    a factor in %): the factors' values come on top. Raises MarketDefinitionError when units don't meet.
    """
    place = _place(market, component)
    if component.series:
        field = "series"
        written = _named(place, field, "series", component.series, units)
        start = _understood(place, field, written, component.series)[0]
    elif component.level:
        field = "level"
        level = _factor(place, field, component.level, factors)
        start = _yearly(place, field, level.name, level.unit)
    elif component.project:
        field = "project"
        project = _named(place, field, "project", component.project, projects)
        start = _yearly(place, field, project.project, project.unit)
    else:
        start = parse_unit(market.unit)
    return _scale(place, "factors", start, component.factors, market.unit, factors)


def limit_scale(market: Market, component: Component, factors: Mapping[str, Factor]) -> float:
    """Market units in one unit that the limit's chain (its unit without "/year", `limit_factors`) ends in.

    Raises MarketDefinitionError when units don't meet.
    """
    place = _place(market, component)
    limit = _factor(place, "limit", component.limit, factors)
    start = _yearly(place, "limit", limit.name, limit.unit)
    return _scale(place, "limit_factors", start, component.limit_factors, market.unit, factors)


def check_common_factors(factors: Mapping[str, Factor]) -> None:
    """Refuse factors that lack one which every balance uses, or have it in another unit or out of range.

    Raises MarketDefinitionError naming factor and field.
    """
    for name, wanted in COMMON_FACTORS.items():
        factor = _factor(wanted.meaning, "name", name, factors)
        place = f"factor {name} ({wanted.meaning})"
        if parse_unit(factor.unit) != parse_unit(wanted.unit):
            _refuse(place, "unit", f"{factor.unit!r}: it must be in {wanted.unit}")
        for field in ("low", "high"):
            value = getattr(factor, field)
            if not wanted.least <= value <= wanted.most:
                allowed = f"{wanted.least:g} to {wanted.most:g} {wanted.unit}"
                _refuse(place, field, f"{value:g}: allowed is {allowed}")


def check_project(project: Project) -> None:
    """Refuse a plant that can't be computed: capacity, unit, dates, words. Raises MarketDefinitionError."""
    place = f"project {project.project}"
    for field, text in (
        ("project", project.project),
        ("title", project.title),
        ("country", project.country),
        ("source", project.source),
    ):
        _require_text(place, field, text)
    _require_word(place, "stage", project.stage, STAGES)
    _require_word(place, "status", project.status, STATUSES)
    _require_word(place, "confidence", project.confidence, CONFIDENCE_ORDER)
    unit = _yearly(place, "unit", "capacity", project.unit)
    if not _is_mass_of_something(unit):
        _refuse(place, "unit", f"{project.unit!r} is not a mass of a product, as 't NdFeB/year'")
    if not (math.isfinite(project.capacity) and project.capacity > 0):
        problem = f"{project.capacity:g} {project.unit}; it must be a number above 0"
        _refuse(place, "capacity", problem)
    _check_days(
        place,
        {
            "starts_on": project.starts_on,
            "known_on": project.known_on,
            "full_on": project.full_on,
        },
    )
    if project.full_on is not None and project.full_on <= project.starts_on:
        problem = (
            f"{project.full_on} is not after starts_on, {project.starts_on}: a ramp takes time"
        )
        _refuse(place, "full_on", problem)


def check_regimes(regimes: Sequence[LicenceRegime], factors: Mapping[str, Factor]) -> None:
    """Refuse licence regimes that can't be computed, or two that hold for the same goods at once.

    Raises MarketDefinitionError.
    """
    names: set[str] = set()
    for regime in regimes:
        _check_regime(regime, factors)
        if regime.regime in names:
            _refuse(f"regime {regime.regime}", "regime", "the name is used twice")
        names.add(regime.regime)
    for first, second in itertools.combinations(regimes, 2):
        shared = sorted({*first.elements} & {*second.elements})
        if first.origin != second.origin or not shared:
            continue
        for start, end in itertools.chain(*first.spans()):
            for other_start, other_end in itertools.chain(*second.spans()):
                if start < other_end and other_start < end:
                    problem = (
                        f"overlaps {first.regime} from {max(start, other_start)} on: both hold for "
                        f"{', '.join(shared)} from {first.origin}; end one before the other starts"
                    )
                    _refuse(f"regime {second.regime}", "starts_on", problem)


def check_scenario(
    scenario: Scenario,
    scenarios: Mapping[str, Scenario],
    markets: Mapping[str, Market],
    factors: Mapping[str, Factor],
    projects: Mapping[str, Project],
    regimes: Sequence[LicenceRegime],
    *,
    licensed: Collection[str] = (),
) -> None:
    """Refuse a scenario that names nothing, or names what no market knows.

    `licensed` holds origins with observed licensed exports, beside those that `regimes` name. Raises
    MarketDefinitionError.
    """
    place = f"scenario {scenario.scenario}"
    _require_text(place, "scenario", scenario.scenario)
    _require_text(place, "title", scenario.title)
    if "+" in scenario.scenario:
        _refuse(place, "scenario", "the name holds '+', which joins scenarios; use another sign")
    whole = composed(scenario, scenarios)
    if scenario.scenario == "base":
        if not whole.is_empty:
            _refuse(place, "base", "the base case changes nothing; give these changes another name")
    elif whole.is_empty:
        problem = "changes nothing; it needs a freeze, supply, slip, plant or demand, or includes"
        _refuse(place, "includes" if scenario.includes else "scenario", problem)
    components = [c for market in markets.values() for c in market.components]
    origins = {*licensed, *(regime.origin for regime in regimes)}
    for freeze in scenario.freezes:
        _check_freeze(place, freeze, components, factors, origins)
    for change in scenario.supply:
        _check_supply(place, change, components, factors)
    for slip in scenario.slips:
        _check_slip(place, slip, components, projects)
    for plant in scenario.plants:
        _check_plant(place, plant, markets, factors)
    for first, second in itertools.combinations(scenario.plants, 2):
        if (first.market, first.name) == (second.market, second.name):
            problem = f"market {second.market} gets two plants of this name; use another"
            _refuse(f"{place}: plant {second.name!r}", "name", problem)
    for rise in scenario.demand:
        _check_demand(place, rise, components, factors)


# --- components


def _check_importer(
    place: str, market: Market, places: Collection[str], projects: Mapping[str, Project]
) -> None:
    """A slip in the importer's name would turn what it makes itself into imports, and its licences into nobody's.

    An importer that nobody else names is fine; only one that is nearly a known name isn't.
    """
    known = {
        *places,
        *(project.country for project in projects.values()),
        *(component.origin for component in market.components if component.side == "supply"),
    } - {""}
    if not market.importer or market.importer in known:
        return
    # Countries whose names are alike differ by more than a letter in length: Austria is no Australia.
    alike = [name for name in known if abs(len(name) - len(market.importer)) <= 1]
    near = _closest(market.importer, sorted(alike), cutoff=_SLIP)
    if near:
        problem = (
            f"no supply, plant or other market names {market.importer!r}; did you mean {near!r}?"
        )
        _refuse(place, "importer", problem)


def _check_plants(market: Market) -> None:
    """A plant's output is there once: two lines would each count all of it."""
    lines: dict[str, str] = {}
    for component in market.components:
        if not component.project:
            continue
        if component.project in lines:
            problem = (
                f"{component.project!r} is in {lines[component.project]!r} already; "
                "a plant stands in one line of a market"
            )
            _refuse(_place(market, component), "project", problem)
        lines[component.project] = component.name


def _check_supply_only(place: str, component: Component) -> None:
    """What only a supply line can say is refused on a demand line, where nothing would come of it."""
    if component.side == "supply":
        return
    for field, value, default in (
        ("origin", component.origin, ""),
        ("licences_of", component.licences_of, ""),
        ("exported", component.exported, ""),
        ("grades", component.grades, GRADES[0]),
    ):
        if value != default:
            problem = f"{value!r} has no effect on a demand, only on a supply; leave it out"
            _refuse(place, field, problem)


def _check_words(place: str, component: Component) -> None:
    _require_text(place, "name", component.name)
    _require_word(place, "side", component.side, SIDES)
    _require_word(place, "channel", component.channel, CHANNELS)
    _require_word(place, "grades", component.grades, GRADES)
    _require_word(place, "stage", component.stage, STAGES)


def _check_activity(
    market: Market,
    component: Component,
    factors: Mapping[str, Factor],
    units: Mapping[str, str],
    frequencies: Mapping[str, str],
    projects: Mapping[str, Project],
) -> None:
    """Exactly one activity, and one that the balance knows how to spread over months."""
    place = _place(market, component)
    given = {
        "series": bool(component.series),
        "level": bool(component.level),
        "project": bool(component.project),
        "balance": component.balance,
    }
    named = [field for field, is_given in given.items() if is_given]
    if len(named) != 1:
        has = f"has {' and '.join(named)}" if named else "has none"
        problem = (
            f"{has}; a component needs exactly one of series, level, project or balance = true"
        )
        _refuse(place, named[-1] if named else "series", problem)
    if component.series:
        written = _named(place, "series", "series", component.series, units)
        frequency = _named(place, "series", "frequency of series", component.series, frequencies)
        _require_word(place, "series", frequency, FREQUENCIES)
        _, word = _understood(place, "series", written, component.series)
        if word and word != frequency:
            problem = f"{component.series} is in {written!r}, but comes once a {frequency}"
            _refuse(place, "series", problem)
    elif component.level:
        _not_negative(place, "level", component.level, factors)
    elif component.project:
        project = _named(place, "project", "project", component.project, projects)
        check_project(project)
        if component.side != "supply":
            _refuse(place, "project", "a plant makes things: it belongs to supply")


def _check_rates(place: str, component: Component, factors: Mapping[str, Factor]) -> None:
    """Factors are never negative, shares are shares, growth leaves something."""
    for field, names in (
        ("factors", component.factors),
        ("limit", (component.limit,) if component.limit else ()),
        ("limit_factors", component.limit_factors),
    ):
        for name in names:
            _not_negative(place, field, name, factors)
    for field, name in (("share", component.share), ("exported", component.exported)):
        if name:
            _share(place, field, name, factors)
    if component.limit_factors and not component.limit:
        _refuse(place, "limit_factors", "there is no limit that they lead on from; give limit")
    if component.growth:
        growth = _factor(place, "growth", component.growth, factors)
        if parse_unit(growth.unit) != parse_unit("share/year"):
            problem = f"{growth.name} is in {growth.unit!r}; it must be in share/year"
            _refuse(place, "growth", problem)
        if growth.low <= -1:
            problem = f"{growth.name} goes down to {growth.low:g} share/year; it must stay above -1"
            _refuse(place, "growth", problem)


def _check_licences(place: str, component: Component, licensed: Collection[str] | None) -> None:
    if licensed is None:
        return
    if component.licences_of and component.licences_of not in {NO_LICENCES, *licensed}:
        hint = _hint(component.licences_of, [NO_LICENCES, *sorted(licensed)])
        problem = f"no regime or exports table knows licences of {component.licences_of!r}{hint}"
        _refuse(place, "licences_of", problem)
    origin = licensed_by(component)
    if origin and origin not in licensed:
        # "Chnia" would be a country without licences, and nothing would ever be kept back.
        near = _closest(origin, licensed, cutoff=_SLIP)
        if near:
            problem = (
                f"there are no licences of {origin!r}; did you mean {near!r}? "
                f"If not, write licences_of = {NO_LICENCES!r}"
            )
            _refuse(place, "origin", problem)


def _check_shares(market: Market, factors: Mapping[str, Factor]) -> None:
    """What components take of one series, or of what is left, is at most all of it."""
    groups: dict[tuple[str, str], list[Component]] = {}
    for component in market.components:
        if not (component.share or component.rest):
            continue
        place = _place(market, component)
        field = "rest" if component.rest else "share"
        if not (component.series or component.balance):
            problem = "only part of a series or of what is left can be taken; use factors instead"
            _refuse(place, field, problem)
        if component.rest and component.share:
            _refuse(
                place, "rest", f"it is what the shares leave; leave out share = {component.share!r}"
            )
        groups.setdefault((component.side, component.series), []).append(component)
    for (side, series), members in groups.items():
        of = f"of {series}" if series else "of what is left"
        rests = [c for c in members if c.rest]
        if len(rests) > 1:
            problem = f"{rests[0].name!r} is the rest {of} already; only one component can be"
            _refuse(_place(market, rests[1]), "rest", problem)
        shares = [c for c in members if c.share]
        if not shares:
            problem = f"no {side} beside it takes a share {of}; give one, or leave out rest"
            _refuse(_place(market, rests[0]), "rest", problem)
        total = sum(factors[c.share].central for c in shares)
        if total > 1 + _ROUNDING:
            parts = ", ".join(f"{c.share} {factors[c.share].central:g}" for c in shares)
            problem = f"the shares {of} add up to {total:g} ({parts}); at most 1 is allowed"
            _refuse(_place(market, shares[-1]), "share", problem)


def _check_closing(market: Market, factors: Mapping[str, Factor]) -> None:
    """One side may close the balance, and then as a whole; what would be ignored there is refused."""
    closing = [c for c in market.components if c.balance]
    if not closing:
        return
    last = _place(market, closing[-1])
    if len({c.side for c in closing}) > 1:
        _refuse(last, "balance", "both sides close the balance; only one can")
    if len(closing) > 1 and any(not (c.share or c.rest) for c in closing):
        problem = "two components close the balance: give each a share, or make one the rest"
        _refuse(last, "balance", problem)
    for component in closing:
        place = _place(market, component)
        if component.channel != "direct":
            problem = "what arrives inside parts is not balanced; what closes the balance is direct"
            _refuse(place, "channel", problem)
        ignored = {"factors": component.factors, "limit": component.limit}
        if component.side == "supply":
            # Imports are ordered to fill what demand leaves open: they grow with it.
            ignored["growth"] = component.growth
        for field, value in ignored.items():
            if value:
                problem = f"{value!r} has no effect on what closes the balance; leave it out"
                _refuse(place, field, problem)
    total = sum(factors[c.share].central for c in closing if c.share)
    if all(c.share for c in closing) and total < 1 - _WHOLE:
        problem = f"the shares of what is left add up to {total:g}; one more must be the rest"
        _refuse(last, "share", problem)


# --- regimes


def _check_regime(regime: LicenceRegime, factors: Mapping[str, Factor]) -> None:
    place = f"regime {regime.regime}"
    for field, text in (
        ("regime", regime.regime),
        ("title", regime.title),
        ("origin", regime.origin),
        ("source", regime.source),
    ):
        _require_text(place, field, text)
    _require_word(place, "confidence", regime.confidence, CONFIDENCE_ORDER)
    if not regime.elements:
        _refuse(place, "elements", "names no element; give the symbols, as Dy, Tb")
    for symbol in regime.elements:
        if symbol not in ELEMENT_NAMES:
            problem = f"{symbol!r} is no rare-earth element; known: {', '.join(ELEMENT_NAMES)}"
            _refuse(place, "elements", problem)
    _share(place, "covers", regime.covers, factors)
    granted = _share(place, "granted", regime.granted, factors)
    if granted.low <= 0:
        # Time to a licence is lead time / chance.
        _refuse(place, "granted", f"{granted.name} goes down to 0; a chance above 0 is needed")
    lead = _factor(place, "lead_days", regime.lead_days, factors)
    if parse_unit(lead.unit) != parse_unit("days"):
        _refuse(place, "lead_days", f"{lead.name} is in {lead.unit!r}; it must be in days")
    if lead.low <= 0:
        _refuse(
            place, "lead_days", f"{lead.name} goes down to {lead.low:g} days; more than 0 is needed"
        )
    if regime.resumes:
        _share(place, "resumes", regime.resumes, factors)
    _check_regime_days(place, regime)


def _check_regime_days(place: str, regime: LicenceRegime) -> None:
    _check_days(
        place,
        {
            "known_on": regime.known_on,
            "starts_on": regime.starts_on,
            "ends_on": regime.ends_on,
            "suspension_known_on": regime.suspension_known_on,
            "suspended_on": regime.suspended_on,
            "suspended_until": regime.suspended_until,
        },
    )
    if regime.ends_on is not None and regime.ends_on <= regime.starts_on:
        problem = f"{regime.ends_on} is not after starts_on, {regime.starts_on}"
        _refuse(place, "ends_on", problem)
    if regime.suspended_on is None:
        for field, value in (
            ("suspension_known_on", regime.suspension_known_on),
            ("suspended_until", regime.suspended_until),
            ("resumes", regime.resumes),
        ):
            if value:
                _refuse(place, field, "there is no suspension; give suspended_on, or leave it out")
        return
    if regime.suspension_known_on is None:
        problem = "is missing; from which day on was the suspension known?"
        _refuse(place, "suspension_known_on", problem)
    if regime.suspension_known_on < regime.known_on:
        problem = f"{regime.suspension_known_on} is before known_on, {regime.known_on}"
        _refuse(place, "suspension_known_on", problem)
    if regime.ends_on is not None and regime.ends_on <= regime.suspended_on:
        problem = f"{regime.suspended_on} is not before ends_on, {regime.ends_on}"
        _refuse(place, "suspended_on", problem)
    if regime.suspended_until is None:
        if regime.resumes:
            _refuse(place, "resumes", "nothing says when it would come back; give suspended_until")
        return
    if regime.suspended_until <= regime.suspended_on:
        problem = f"{regime.suspended_until} is not after suspended_on, {regime.suspended_on}"
        _refuse(place, "suspended_until", problem)
    if not regime.resumes:
        problem = (
            "is missing; give the factor that says how likely it comes back after suspended_until"
        )
        _refuse(place, "resumes", problem)


# --- changes of a scenario


def _check_freeze(
    scenario: str,
    freeze: LicenceFreeze,
    components: Sequence[Component],
    factors: Mapping[str, Factor],
    licensed: Collection[str],
) -> None:
    place = f"{scenario}: freeze of {freeze.origin!r}"
    if freeze.origin not in licensed:
        hint = _hint(freeze.origin, licensed)
        _refuse(place, "origin", f"no regime or exports table knows licences of it{hint}")
    dependent = {licensed_by(component) for component in components} - {""}
    if freeze.origin not in dependent:
        hint = _hint(freeze.origin, dependent)
        _refuse(place, "origin", f"no component of any market needs its licences{hint}")
    if freeze.lasts_months < 1:
        _refuse(place, "lasts_months", f"{freeze.lasts_months}; it must be 1 or more")
    _require_months(place, "starts_after_months", freeze.starts_after_months)
    if freeze.left:
        _share(place, "left", freeze.left, factors)


def _check_supply(
    scenario: str,
    change: SupplyChange,
    components: Sequence[Component],
    factors: Mapping[str, Factor],
) -> None:
    place = f"{scenario}: supply from {change.origin!r}"
    supply = [c for c in components if c.side == "supply" and c.origin]
    stages = {c.stage for c in supply if c.origin == change.origin}
    if not stages:
        hint = _hint(change.origin, {c.origin for c in supply})
        _refuse(place, "origin", f"no supply component of any market comes from it{hint}")
    if change.stage:
        _require_word(place, "stage", change.stage, STAGES)
        if change.stage not in stages:
            problem = (
                f"nothing comes from it as {change.stage!r}; known: {', '.join(sorted(stages))}"
            )
            _refuse(place, "stage", problem)
    _share(place, "left", change.left, factors)
    _require_months(place, "starts_after_months", change.starts_after_months)
    _require_months(place, "lasts_months", change.lasts_months)


def _check_slip(
    scenario: str,
    slip: ProjectSlip,
    components: Sequence[Component],
    projects: Mapping[str, Project],
) -> None:
    place = f"{scenario}: slip"
    if slip.months < 1:
        _refuse(place, "months", f"{slip.months}; it must be 1 or more")
    counted = {c.project: projects[c.project] for c in components if c.project in projects}
    coming = {name: one for name, one in counted.items() if one.status in NOT_YET_PRODUCING}
    if not coming:
        _refuse(place, "projects", "no market counts on a plant that is still to come")
    for name in slip.projects:
        project = _named(place, "projects", "project", name, projects)
        if name not in counted:
            problem = f"no market counts on {name!r}{_hint(name, coming)}"
            _refuse(place, "projects", problem)
        if name not in coming:
            problem = (
                f"{name!r} is {project.status}: only plants in construction or planned slip"
                f"{_hint(name, coming)}"
            )
            _refuse(place, "projects", problem)
    countries = {project.country for project in coming.values()}
    for country in slip.countries:
        if country not in countries:
            problem = (
                f"no market counts on a plant to come in {country!r}{_hint(country, countries)}"
            )
            _refuse(place, "countries", problem)


def _check_plant(
    scenario: str, plant: NewPlant, markets: Mapping[str, Market], factors: Mapping[str, Factor]
) -> None:
    place = f"{scenario}: plant {plant.name!r}"
    _require_text(place, "name", plant.name)
    _require_text(place, "origin", plant.origin)
    market = _named(place, "market", "market", plant.market, markets)
    if any(component.name == plant.name for component in market.components):
        problem = f"market {market.market} has a component of this name; use another"
        _refuse(place, "name", problem)
    capacity = _not_negative(place, "capacity", plant.capacity, factors)
    start = _yearly(place, "capacity", capacity.name, capacity.unit)
    for name in plant.factors:
        _not_negative(place, "factors", name, factors)
    _scale(place, "factors", start, new_component(plant).factors, market.unit, factors)
    if plant.chance:
        _share(place, "chance", plant.chance, factors)
    _require_months(place, "starts_after_months", plant.starts_after_months)
    if plant.ramp_months < 1:
        _refuse(place, "ramp_months", f"{plant.ramp_months}; it must be 1 or more")


def _check_demand(
    scenario: str,
    rise: DemandChange,
    components: Sequence[Component],
    factors: Mapping[str, Factor],
) -> None:
    place = f"{scenario}: demand"
    known = {c.use for c in components if c.side == "demand" and c.use}
    for use in rise.uses:
        if use not in known:
            _refuse(place, "uses", f"no demand of any market is for {use!r}{_hint(use, known)}")
    # It may well exceed 1: demand that grows by a fifth becomes 1.2 of the base case.
    becomes = _not_negative(place, "becomes", rise.becomes, factors)
    _require_plain(place, "becomes", becomes)
    _require_months(place, "starts_after_months", rise.starts_after_months)
    _require_months(place, "over_months", rise.over_months)


# --- factors, units, words


def _factor(place: str, field: str, name: str, factors: Mapping[str, Factor]) -> Factor:
    """A factor that exists, with finite figures, a unit that is understood and a known confidence word."""
    factor = _named(place, field, "factor", name, factors)
    if factor.confidence not in CONFIDENCE_ORDER:
        allowed = ", ".join(CONFIDENCE_ORDER)
        _refuse(place, field, f"{name}: confidence {factor.confidence!r} is not one of {allowed}")
    for figure, value in (
        ("low", factor.low),
        ("central", factor.central),
        ("high", factor.high),
    ):
        if not math.isfinite(value):
            _refuse(place, field, f"{name}: {figure} is {value}; it must be a finite number")
    try:
        parse_unit(factor.unit)
    except UnitError as error:
        _refuse(place, field, f"{name}: {error}")
    return factor


def _not_negative(place: str, field: str, name: str, factors: Mapping[str, Factor]) -> Factor:
    factor = _factor(place, field, name, factors)
    if factor.low < 0:
        problem = f"{name} goes down to {factor.low:g} {factor.unit}; it must not be below 0"
        _refuse(place, field, problem)
    return factor


def _share(place: str, field: str, name: str, factors: Mapping[str, Factor]) -> Factor:
    factor = _factor(place, field, name, factors)
    _require_plain(place, field, factor)
    if factor.low < 0 or factor.high > 1:
        problem = f"{name} goes from {factor.low:g} to {factor.high:g}; a share lies in 0 to 1"
        _refuse(place, field, problem)
    return factor


def _require_plain(place: str, field: str, factor: Factor) -> None:
    """A share as the balance takes it: 0.25 and not 25 %."""
    unit = parse_unit(factor.unit)
    if not unit.is_plain or unit.size != 1:
        _refuse(place, field, f"{factor.name} is in {factor.unit!r}; it must be in 'share'")


def _check_market_unit(place: str, written: str) -> None:
    try:
        unit = parse_unit(written)
    except UnitError as error:
        _refuse(place, "unit", str(error))
    if not _is_mass_of_something(unit) or unit.size != 1:
        problem = f"{written!r} is not tonnes of one product, as 't NdFeB' or 't NdPr oxide'"
        _refuse(place, "unit", problem)


def _is_mass_of_something(unit: Unit) -> bool:
    return len(unit.powers) == 1 and unit.powers[0][1] == 1 and unit.powers[0][0].startswith("t ")


def _understood(place: str, field: str, written: str, name: str) -> tuple[Unit, str]:
    """A series' unit without its time, and that word."""
    try:
        return without_time(written)
    except UnitError as error:
        _refuse(place, field, f"{name}: {error}")


def _yearly(place: str, field: str, name: str, written: str) -> Unit:
    """A yearly rate's unit without the year: the balance spreads it over twelve months."""
    try:
        unit, divisor = per_month(written)
    except UnitError as error:
        _refuse(place, field, f"{name}: {error}")
    if divisor != 12:
        _refuse(place, field, f"{name} is in {written!r}; it must be per year, as 't NdFeB/year'")
    return unit


def _scale(
    place: str,
    field: str,
    start: Unit,
    names: Sequence[str],
    wanted: str,
    factors: Mapping[str, Factor],
) -> float:
    chained = [(name, _factor(place, field, name, factors).unit) for name in names]
    try:
        return scale_to(chain(start.text, chained), wanted)
    except UnitError as error:
        _refuse(place, field, str(error))


def _named(place: str, field: str, what: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        _refuse(place, field, f"there is no {what} {name!r}{_hint(name, known)}")
    return known[name]


def _require_text(place: str, field: str, text: str) -> None:
    if not text.strip():
        _refuse(place, field, "is empty; write a text")


def _require_word(place: str, field: str, word: str, allowed: Sequence[str]) -> None:
    if word not in allowed:
        _refuse(place, field, f"{word!r} is not one of {', '.join(allowed)}")


def _require_months(place: str, field: str, months: int) -> None:
    if months < 0:
        _refuse(place, field, f"{months}; it must be 0 or more")


def _check_days(place: str, days: Mapping[str, date | None]) -> None:
    for field, day in days.items():
        # A moment is a date to Python, but the two can't be compared.
        if isinstance(day, datetime):
            _refuse(place, field, f"{day} is a moment; write a day, as {day:%Y-%m-%d}")


def _hint(name: str, known: Iterable[str]) -> str:
    """The nearest known name, or all of them while they are few."""
    names = sorted(one for one in known if one)
    near = _closest(name, names, cutoff=0.5)
    if near:
        return f"; did you mean {near!r}?"
    if not names:
        return "; none is known"
    more = f" and {len(names) - _NAMES_LISTED} more" if len(names) > _NAMES_LISTED else ""
    return f"; known: {', '.join(names[:_NAMES_LISTED])}{more}"


def _closest(name: str, known: Iterable[str], *, cutoff: float) -> str:
    lowered = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(name.casefold(), lowered, n=1, cutoff=cutoff)
    return lowered[near[0]] if near else ""


def _place(market: Market, component: Component) -> str:
    return f"market {market.market}: {component.side} {component.name!r}"


def _refuse(place: str, field: str, problem: str) -> NoReturn:
    message = f"{place}: {field}: {problem}"
    raise MarketDefinitionError(message)
