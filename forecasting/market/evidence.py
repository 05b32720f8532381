"""What a balance rests on: its inputs, and in words its sources, confidence, notes and the trace of each number."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from forecasting.market.common import (
    CHANCES,
    LICENCE_FACTORS,
    RAMP,
    REBUILD,
    SHOCK_DEMAND,
    SHOCK_SUPPLY,
    SLIP,
)
from forecasting.market.definitions import (
    CONFIDENCE_ORDER,
    NOT_YET_PRODUCING,
    WEAK,
    Component,
    Factor,
    LicenceRegime,
    Market,
    NewPlant,
    Project,
    Scenario,
)
from forecasting.market.flow import months_between, normal_level
from forecasting.market.indicators import GovernanceScore
from forecasting.results import Indicator, Interval, ObservedSeries, SeriesForecast, TraceStep

USUAL_UNKNOWN_MONTHS = 3
"""Customs detail comes on the 20th of the next month, January only with February: more is worth a note."""
DISTURBED = 0.9
"""Exports below this share of normal are named in the notes."""
_RESULT = "mean year of the projection, P10 to P90"
KEPT_BACK = "Kept back by export licences and clearance"
"""The line of what was ordered and doesn't leave for want of a licence."""
NO_LICENCES = "none"
"""What `licences_of` says of a line that needs nobody's export licence."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What markets are computed from, all as known at one moment."""

    forecasts: Mapping[str, SeriesForecast]
    refusals: Mapping[str, str]
    exports: Mapping[str, ObservedSeries]  # licensed exports by origin, monthly
    factors: Mapping[str, Factor]
    units: Mapping[str, str]
    known_at: datetime
    projects: Mapping[str, Project]
    regimes: Sequence[LicenceRegime]
    governance: Mapping[str, GovernanceScore] = field(default_factory=dict)  # by country
    # Indicators of observed figures, by importer ("" is the world): shown with its markets.
    measured: Mapping[str, tuple[Indicator, ...]] = field(default_factory=dict)


def new_component(plant: NewPlant) -> Component:
    """A scenario's plant as a line of supply."""
    return Component(
        name=plant.name,
        side="supply",
        level=plant.capacity,
        factors=plant.factors,
        origin=plant.origin,
        licences_of=NO_LICENCES,
    )


def produces(project: Project) -> bool:
    """Whether a plant has product: then it can't slip any more. A day that was announced and passed is no product."""
    return project.status not in NOT_YET_PRODUCING


def licensed_by(component: Component) -> str:
    """Whose export licences a line needs; "" when none."""
    if component.side != "supply" or component.licences_of == NO_LICENCES:
        return ""
    return component.licences_of or component.origin


def factors_drawn(market: Market, scenarios: Sequence[Scenario], inputs: Inputs) -> frozenset[str]:
    """Every factor that a market under these scenarios is drawn from, as known at the moment."""
    names = {name for component in market.components for name in component.factor_names}
    names.update(name for scenario in scenarios for name in scenario.factor_names)
    origins = {licensed_by(component) for component in market.components} - {""}
    licensing = [one for one in inputs.regimes if one.origin in origins]
    if licensing or origins & set(inputs.exports):
        names.update(LICENCE_FACTORS)
    known_on = inputs.known_at.date()
    is_frozen = any(scenario.freezes for scenario in scenarios)
    for one in licensing:
        # A freeze has grades to concern before their regime is known.
        if one.known_on <= known_on or is_frozen:
            names.update(one.factor_names)
    if market.stock_weeks:
        names.update({market.stock_weeks, REBUILD})
    for name in market.projects:
        if name in inputs.projects:
            names.update(_plant_factors(inputs.projects[name]))
    if any(component.series or component.project for component in market.components):
        names.update({SHOCK_SUPPLY, SHOCK_DEMAND})
    return frozenset(names)


def _plant_factors(project: Project) -> tuple[str, ...]:
    """What a plant's output rests on beside its capacity and start."""
    if produces(project):
        return (RAMP,)
    return (CHANCES[project.status], SLIP, RAMP)


def sources_of(market: Market, component: Component, inputs: Inputs) -> tuple[str, ...]:
    """What a line rests on, its activity first, each source once."""
    named = [inputs.factors[name].source for name in _factors_of(market, component)]
    if component.series:
        forecast = inputs.forecasts[component.series]
        named.insert(
            0, f"{forecast.title} to {forecast.cutoff.year}, projected by {forecast.model}"
        )
    if component.project:
        project = inputs.projects[component.project]
        named.insert(0, f"{project.title}: {project.source}")
    if component.balance:
        named.insert(0, _filled(component))
    return tuple(dict.fromkeys(named))


def beside(market: Market, component: Component) -> tuple[Component, ...]:
    """The lines that share a series, or what is left, with this one by a factor; itself among them."""
    return tuple(
        other
        for other in market.components
        if other.share
        and (other.side, other.series, other.balance)
        == (component.side, component.series, component.balance)
    )


def _factors_of(market: Market, component: Component) -> tuple[str, ...]:
    """Every factor a line rests on: of one that takes the rest, the shares beside it as well."""
    shares = [other.share for other in beside(market, component)] if component.rest else []
    return tuple(dict.fromkeys([*component.factor_names, *shares]))


def _weakest(words: Iterable[str]) -> str:
    return max(words, key=CONFIDENCE_ORDER.index, default="high")


def _filled(component: Component) -> str:
    """What a line that closes the balance amounts to, in words."""
    if component.side == "supply":
        return "what demand needs beside what is made at home"
    return "what cleared the market in the base year"


def confidence_of(market: Market, component: Component, inputs: Inputs) -> str:
    """The weakest confidence word among what a line rests on; a forecast is derived, whatever it saw."""
    names = list(_factors_of(market, component))
    words = []
    if component.project:
        project = inputs.projects[component.project]
        names += _plant_factors(project)
        words.append(project.confidence)
    if component.balance or component.series:
        words.append("derived")
    return _weakest([*words, *(inputs.factors[name].confidence for name in names)])


def notes_of(
    market: Market,
    scenario: Scenario,
    inputs: Inputs,
    exports: Sequence[ObservedSeries],
    regimes: Sequence[LicenceRegime],
    base_year: int,
) -> tuple[str, ...]:
    """Assumptions and weak evidence a reader must know, what moves the projection first."""
    known_on = inputs.known_at.date()
    notes = [note for observed in exports for note in _export_notes(observed, known_on)]
    for regime in regimes:
        _, uncertain = regime.spans(known_on)
        if uncertain and regime.suspended_until and regime.resumes:
            chance = inputs.factors[regime.resumes].central
            notes.append(
                f"{regime.title}: suspended until {_day(regime.suspended_until)}; a return then is "
                f"taken as {chance:.0%} likely.".replace("%", " %")
            )
    closer = next((component for component in market.components if component.balance), None)
    if closer is not None:
        notes.append(
            "Imports are taken to be ordered for the demand that the base case expects."
            if closer.side == "supply"
            else f"Supply is set equal to demand in {base_year}, the last year every series knows."
        )
    plants = [inputs.projects[name] for name in market.projects]
    known = [one for one in plants if one.known_on <= known_on]
    coming = [one.title for one in known if not produces(one)]
    if coming:
        verb = "doesn't" if len(coming) == 1 else "don't"
        notes.append(f"It counts on {_listed(coming)}, which {verb} produce yet.")
    unknown = [one.title for one in plants if one not in known]
    if unknown:
        notes.append(f"Not in the sources of that time, and left out: {_listed(unknown)}.")
    used = factors_drawn(market, [scenario], inputs)
    weak = [name for name in used if inputs.factors[name].confidence in WEAK]
    if weak:
        notes.append(
            f"{len(weak)} of its {len(used)} factors are low-confidence or background figures."
        )
    return tuple(notes)


def _export_notes(observed: ObservedSeries, known_on: date) -> list[str]:
    notes = []
    normal = normal_level(observed)
    newest = observed.points[-1] if observed.points else None
    if normal is None or newest is None:
        return [
            f"{observed.title}: too few months are known: licensed exports are taken as normal."
        ]
    unknown = months_between(newest.period, known_on)
    if unknown > USUAL_UNKNOWN_MONTHS:
        notes.append(
            f"Exports are known through {newest.period:%B %Y}; the {unknown} months since are projected."
        )
    if newest.value < DISTURBED * normal:
        share = newest.value / normal
        notes.append(
            f"{observed.title}: {newest.value:,.0f} t in {newest.period:%B %Y}, "
            f"{share:.0%} of a normal month.".replace("%", " %")
        )
    return notes


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:3]) + ([f"{len(names) - 3} more"] if len(names) > 3 else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def trace_of(
    market: Market,
    components: Sequence[Component],
    scenario: Scenario,
    inputs: Inputs,
    regimes: Sequence[LicenceRegime],
    results: Mapping[str, Interval],
    activities: Mapping[str, Interval],
) -> tuple[TraceStep, ...]:
    """Where each number of a balance comes from, line by line, in the order in which it is applied.

    `results` are tonnes a year of the lines by name, also of what licences keep back; `activities` what
    the series of a line amounts to a year over the same months. Each line ends with its result.
    """
    steps: list[TraceStep] = []
    for component in components:
        steps += _activity_steps(component, inputs, activities)
        for name in component.factors:
            steps.append(_factor_step(component, "factor", inputs.factors[name]))
        if component.rest:
            steps += [
                _factor_step(
                    component, "share", inputs.factors[other.share], "takes what it leaves"
                )
                for other in beside(market, component)
            ]
        for step, name in (
            ("share", component.share),
            ("growth", component.growth),
            ("limit", component.limit),
        ):
            if name:
                steps.append(_factor_step(component, step, inputs.factors[name]))
        steps += [
            _factor_step(component, "limit", inputs.factors[name])
            for name in component.limit_factors
        ]
        if component.exported:
            steps.append(_factor_step(component, "licence", inputs.factors[component.exported]))
        if KEPT_BACK in results:
            steps += _exports_seen(component, licensed_by(component), inputs)
        steps += _scenario_steps(component, scenario, inputs)
        what = _filled(component) if component.balance else _RESULT
        confidence = confidence_of(market, component, inputs)
        steps.append(_result_step(component, results[component.name], what, confidence))
    steps += _licence_steps(components, inputs, regimes, results)
    common = {"How lines depend on each other": (SHOCK_SUPPLY, SHOCK_DEMAND)}
    if market.stock_weeks:
        common["Stock"] = (market.stock_weeks, REBUILD)
    drawn = factors_drawn(market, [scenario], inputs)
    for title, names in common.items():
        steps += [
            _factor_step(Component(title, ""), "common", inputs.factors[name])
            for name in names
            if name in drawn
        ]
    return tuple(steps)


def _result_step(component: Component, made: Interval, what: str, confidence: str) -> TraceStep:
    return TraceStep(
        component.name,
        component.side,
        "result",
        component.name,
        made.p10,
        made.p50,
        made.p90,
        "t/year",
        what,
        confidence,
    )


def _activity_steps(
    component: Component, inputs: Inputs, activities: Mapping[str, Interval]
) -> list[TraceStep]:
    if component.series:
        forecast = inputs.forecasts[component.series]
        made = activities[component.series]
        note = (
            f"{forecast.title}: {forecast.last_value:,.0f} in {forecast.cutoff:%Y}; here its mean year of the "
            f"projection, P10 to P90, by {forecast.model}"
        )
        return [
            TraceStep(
                component.name,
                component.side,
                "activity",
                component.series,
                made.p10,
                made.p50,
                made.p90,
                f"{forecast.unit}/year",
                f"forecast {forecast.forecast_id}",
                "derived",
                forecast.vintage,
                note,
            )
        ]
    if component.project:
        plant = inputs.projects[component.project]
        note = f"{plant.title} ({plant.owner}): {plant.status}, first product {plant.starts_on}"
        return [
            TraceStep(
                component.name,
                component.side,
                "plant",
                plant.project,
                0.0 if not produces(plant) else plant.capacity,
                plant.capacity,
                plant.capacity,
                plant.unit,
                plant.source,
                plant.confidence,
                None,
                f"{note}; known on {plant.known_on}",
            ),
            *(
                _factor_step(component, "plant", inputs.factors[name])
                for name in _plant_factors(plant)
            ),
        ]
    if component.level:
        return [_factor_step(component, "level", inputs.factors[component.level])]
    return []  # it fills what the others leave: its result says how much


def _factor_step(component: Component, step: str, factor: Factor, note: str = "") -> TraceStep:
    return TraceStep(
        component.name,
        component.side,
        step,
        factor.name,
        factor.low,
        factor.central,
        factor.high,
        factor.unit,
        factor.source,
        factor.confidence,
        None,
        note,
    )


def _licence_steps(
    components: Sequence[Component],
    inputs: Inputs,
    regimes: Sequence[LicenceRegime],
    results: Mapping[str, Interval],
) -> list[TraceStep]:
    """What licences keep back, in one block: the lines that need them, exports seen, regimes, common factors."""
    if KEPT_BACK not in results:
        return []
    kept = Component(KEPT_BACK, "loss")
    steps: list[TraceStep] = []
    for origin in dict.fromkeys(licensed_by(one) for one in components):
        steps += _exports_seen(kept, origin, inputs)
    for regime in regimes:
        steps += [
            _factor_step(kept, "licence", inputs.factors[name], regime.title)
            for name in regime.factor_names
        ]
    steps += [_factor_step(kept, "licence", inputs.factors[name]) for name in LICENCE_FACTORS]
    lines = [one.name for one in components if licensed_by(one)]
    what = f"{_RESULT}, of: {', '.join(lines)}"
    words = [step.confidence for step in steps]
    steps.append(_result_step(kept, results[KEPT_BACK], what, _weakest(words)))
    return steps


def _exports_seen(component: Component, origin: str, inputs: Inputs) -> list[TraceStep]:
    """The newest month known of what an origin's licences let out."""
    observed = inputs.exports.get(origin)
    if observed is None or not observed.points:
        return []
    newest = observed.points[-1]
    return [
        TraceStep(
            component.name,
            component.side,
            "licence",
            observed.series,
            newest.value,
            newest.value,
            newest.value,
            f"{observed.unit}/{observed.frequency}",
            newest.source_id,
            newest.confidence,
            newest.known_at,
            f"{observed.title}: newest month known, {newest.period:%B %Y}",
        )
    ]


def _scenario_steps(component: Component, scenario: Scenario, inputs: Inputs) -> list[TraceStep]:
    names = [
        change.left
        for change in scenario.supply
        if component.side == "supply"
        and change.origin == component.origin
        and change.stage in ("", component.stage)
    ]
    names += [
        rise.becomes
        for rise in scenario.demand
        if component.side == "demand" and (not rise.uses or component.use in rise.uses)
    ]
    names += [
        freeze.left
        for freeze in scenario.freezes
        if freeze.left and freeze.origin == licensed_by(component)
    ]
    names += [
        plant.chance for plant in scenario.plants if plant.chance and plant.name == component.name
    ]
    return [
        _factor_step(component, "scenario", inputs.factors[name], scenario.title)
        for name in dict.fromkeys(names)
    ]
