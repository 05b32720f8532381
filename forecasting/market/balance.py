"""Monte Carlo of a market: forecasts, factors, plants and licences in, the shortfall's distribution out."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr
from scipy.stats import rankdata

from forecasting.market.checks import limit_scale, unit_scale
from forecasting.market.common import (
    CHANCES,
    CLEARANCE_NOISE,
    CONTROL_FLOW,
    FREE_DELAY,
    LICENCE_FACTORS,
    LICENCE_LEAD,
    NEW_CONTROL,
    RAMP,
    REBUILD,
    SHOCK_DEMAND,
    SHOCK_SUPPLY,
    SLIP,
)
from forecasting.market.definitions import (
    CONFIDENCE_ORDER,
    CannotProjectError,
    Component,
    Factor,
    LicenceRegime,
    Market,
    NewPlant,
    Project,
    ProjectSlip,
    Scenario,
)
from forecasting.market.evidence import (
    KEPT_BACK,
    Inputs,
    beside,
    confidence_of,
    factors_drawn,
    licensed_by,
    new_component,
    notes_of,
    produces,
    sources_of,
    trace_of,
)
from forecasting.market.flow import (
    DAYS_PER_MONTH,
    TRANSIT_MONTHS,
    FlowDraws,
    GradeFlow,
    RegimeDraws,
    add_months,
    frozen_grades,
    grade_flow,
    licensed_groups,
    months_between,
    normal_level,
    observed_ratios,
)
from forecasting.market.indicators import supply_indicators
from forecasting.market.ramp import plant_output, ramp_share
from forecasting.market.spread import month_grid, monthly_activity, yearly_totals
from forecasting.results import (
    ComponentShare,
    Interval,
    MarketMonth,
    MarketProjection,
    ObservedSeries,
)

Floats = npt.NDArray[np.float64]

MODEL_VERSION = 2
WARM_UP_MONTHS = 9
"""Months simulated before the first projected one, so that stocks reflect what already happened."""
WEEKS_PER_MONTH = DAYS_PER_MONTH / 7
KEPT_PATHS = 1000
"""Paths that a projection carries for later questions; percentiles and means use all."""
_ROUNDING = 1e-9
"""A shortfall below this share of demand is what adding up leaves, not a shortage."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A component's amount before licences, in the market's unit a month, shape (months, paths)."""

    component: Component
    monthly_t: Floats


def project_market(
    market: Market,
    scenarios: Sequence[Scenario],
    inputs: Inputs,
    *,
    months: int,
    paths: int,
    seed: int,
) -> tuple[MarketProjection, ...]:
    """One projection per scenario (each already composed), on the same draws. Raises CannotProjectError naming what is missing.

    Supply and demand are tonnes of the market's product a month. How components depend on each other:
    every factor is drawn once per path and shared, in every market; all that needs the licences of an
    origin shares its export flow; the series of one origin, its plants, and all demand series each lean
    on a common shock (a Gaussian copula over their sample paths); imports are ordered to fill the base
    case's demand, so that a scenario's change is one that buyers did not see coming.
    """
    base = _Base(market, scenarios, inputs, months, paths, seed)
    return tuple(base.project(scenario) for scenario in scenarios)


class _Base:
    """A market's draws and lines, computed once and shared by its scenarios."""

    def __init__(
        self,
        market: Market,
        scenarios: Sequence[Scenario],
        inputs: Inputs,
        months: int,
        paths: int,
        seed: int,
    ) -> None:
        self.market, self.inputs = market, inputs
        self.months, self.paths, self.seed = months, paths, seed
        self.known_on = inputs.known_at.date()
        self.grid = month_grid(add_months(self.known_on, 1), WARM_UP_MONTHS, months)
        self.names = factors_drawn(market, scenarios, inputs)
        _require(market, self.names, inputs)
        self.factors = {name: self._drawn(name) for name in sorted(self.names)}
        self.base_year = _base_year(market, inputs)
        self.lines = self._lines()
        self.activities = self._activities()
        self.orderable = _orderable(market)
        self.arrivals = {
            origin: draws
            for origin in sorted({licensed_by(c) for c in market.components} - {""})
            if (draws := self._origin_draws(origin)) is not None
        }

    # --- draws

    def _rng(self, *words: str) -> np.random.Generator:
        """A stream of its own for everything that is drawn, so that one more line doesn't move the others."""
        digest = hashlib.sha256("/".join(words).encode()).digest()
        return np.random.default_rng([self.seed, *digest[:8]])

    def _drawn(self, name: str) -> Floats:
        factor = self.inputs.factors[name]
        if factor.low == factor.high:
            return np.full(self.paths, factor.central)
        rng = self._rng("factor", name)
        return rng.triangular(factor.low, factor.central, factor.high, self.paths)

    def _uniform(self, group: str, name: str, correlation: str) -> Floats:
        """Uniform draws that lean on the shock of their group; `correlation` is the factor that says how much."""
        shared = self.inputs.factors[correlation].central
        common = self._rng("shock", group).standard_normal(self.paths)
        own = self._rng("own", name).standard_normal(self.paths)
        return np.asarray(ndtr(np.sqrt(shared) * common + np.sqrt(1 - shared) * own))

    def _picks(self, component: Component) -> npt.NDArray[np.int64]:
        """Which of a series' sample paths each draw takes: high ones together where shocks are shared."""
        forecast = self.inputs.forecasts[component.series]
        order = np.argsort(np.asarray(forecast.paths).sum(axis=1), kind="stable")
        # A series that several lines share has one place among the shocks: that of the first of them.
        first = next(c for c in self.market.components if c.series == component.series)
        is_supply = first.side == "supply"
        group = f"supply/{first.origin}" if is_supply else "demand"
        place = self._uniform(group, forecast.series, SHOCK_SUPPLY if is_supply else SHOCK_DEMAND)
        rank = np.minimum((place * len(order)).astype(np.int64), len(order) - 1)
        return np.asarray(order[rank])

    def _origin_draws(self, origin: str) -> tuple[FlowDraws, list[RegimeDraws]] | None:
        # Of a regime that isn't known yet nothing was drawn, unless a freeze asks which grades it would concern.
        regimes = [
            one
            for one in self.inputs.regimes
            if one.origin == origin and self.names.issuperset(one.factor_names)
        ]
        if not regimes and origin not in self.inputs.exports:
            return None
        shape = (len(self.grid), self.paths)
        draws = FlowDraws(
            half_life_months=self.factors[LICENCE_LEAD] / DAYS_PER_MONTH,
            noise=self._rng("clearance", origin).standard_normal(shape),
            control=self._rng("control", origin).random(shape),
            control_probability=self.factors[NEW_CONTROL],
            control_flow=self.factors[CONTROL_FLOW],
            free_delay=self.factors[FREE_DELAY],
            monthly_noise=self.factors[CLEARANCE_NOISE],
        )
        drawn = []
        for regime in regimes:
            chance = self.factors[regime.resumes] if regime.resumes else np.zeros(self.paths)
            drawn.append(
                RegimeDraws(
                    regime,
                    covers=self.factors[regime.covers],
                    granted=self.factors[regime.granted],
                    lead_months=self.factors[regime.lead_days] / DAYS_PER_MONTH,
                    resumes=self._rng("resumes", regime.regime).random(self.paths) < chance,
                )
            )
        return draws, drawn

    # --- lines of the base case

    def _lines(self) -> list[_Line]:
        """Every component on the grid, before licences; the balance-closing ones from the others."""
        found: dict[str, _Line] = {}
        for component in self.market.components:
            if not component.balance:
                found[component.name] = _Line(component, self._monthly(component))
        for component in self.market.components:
            if component.balance:
                found[component.name] = _Line(component, self._closing(component, found))
        return [found[component.name] for component in self.market.components]

    def _monthly(self, component: Component, slip_months: int = 0) -> Floats:
        monthly = self._activity(component, self.grid, slip_months)
        monthly = monthly * self._scale(component)
        if component.growth:
            monthly = monthly * self._growth(component)
        return self._limited(component, monthly, months=1)

    def _limited(self, component: Component, amounts: Floats, *, months: int) -> Floats:
        """Amounts over so many months, never above the line's limit: of a shared series, above its part of it."""
        if not component.limit:
            return amounts
        scale = limit_scale(self.market, component, self.inputs.factors)
        ceiling = self.factors[component.limit] * (months / 12 * scale)
        for name in component.limit_factors:
            ceiling = ceiling * self.factors[name]
        if component.share or component.rest:
            ceiling = ceiling * self._shares(component)
        return np.minimum(amounts, ceiling)

    def _activity(self, component: Component, grid: Sequence[date], slip_months: int = 0) -> Floats:
        """A month's activity in its own unit, shape (months, paths)."""
        if component.series:
            forecast = self.inputs.forecasts[component.series]
            return np.take(monthly_activity(forecast, grid), self._picks(component), axis=1)
        if component.project:
            return self._plant(self.inputs.projects[component.project], grid, slip_months)
        level = self.factors[component.level] / 12
        return np.broadcast_to(level, (len(grid), self.paths))

    def _plant(self, project: Project, grid: Sequence[date], slip_months: int = 0) -> Floats:
        place = self._uniform(f"plants/{project.country}", project.project, SHOCK_SUPPLY)
        slip = _triangle(place, self.inputs.factors[SLIP])
        chance = CHANCES.get(project.status)
        comes = np.full(self.paths, True)
        if chance:
            comes = self._rng("comes", project.project).random(self.paths) < self.factors[chance]
        if not produces(project):
            slip = slip + slip_months
        return plant_output(
            project,
            grid,
            slip_months=slip,
            ramp_months=self.factors[RAMP],
            comes=comes,
            known_at=self.known_on,
        )

    def _scale(self, component: Component) -> Floats:
        """Market units per unit of activity, one a path."""
        inputs = self.inputs
        scale = np.full(
            self.paths,
            unit_scale(self.market, component, inputs.factors, inputs.units, inputs.projects),
        )
        for name in component.factors:
            scale = scale * self.factors[name]
        if component.share or component.rest:
            scale = scale * self._shares(component)
        return scale

    def _shares(self, component: Component) -> Floats:
        """A component's part of what it shares with others, one a path.

        Drawn parts that exceed 1 together are scaled down; parts of what closes the balance are scaled to 1
        where no line takes the rest, or it wouldn't close.
        """
        shares = [self.factors[other.share] for other in beside(self.market, component)]
        total = np.sum(shares, axis=0)
        if component.rest:
            return np.asarray(np.maximum(0.0, 1 - total))
        rests = any(
            other.rest and other.balance and other.side == component.side
            for other in self.market.components
        )
        whole = total if component.balance and not rests else np.maximum(1.0, total)
        return np.asarray(self.factors[component.share] / whole)

    def _closing(self, component: Component, found: Mapping[str, _Line]) -> Floats:
        direct = [one for one in found.values() if one.component.channel == "direct"]
        ready = [one for one in direct if not one.component.balance]
        part = self._shares(component) if component.share or component.rest else np.ones(self.paths)
        if component.side == "supply":
            # Imports are ordered to fill what demand needs beside what is made at home.
            demand = _total(ready, "demand", self._empty())
            return np.maximum(0.0, demand - _total(ready, "supply", self._empty())) * part
        base = {
            side: sum(
                (self._in_base_year(one.component) for one in ready if one.component.side == side),
                np.zeros(self.paths),
            )
            for side in ("supply", "demand")
        }
        gap = np.maximum(0.0, base["supply"] - base["demand"]) * part / 12
        monthly = np.broadcast_to(gap, (len(self.grid), self.paths))
        if not component.growth:
            return np.array(monthly)
        return monthly * self._growth(component)

    def _in_base_year(self, component: Component) -> Floats:
        """A line's total in the base year, one a path; growth counts from its middle and leaves it as it is."""
        if component.series:
            forecast = self.inputs.forecasts[component.series]
            total = yearly_totals(forecast, [self.base_year])[0, self._picks(component)]
        else:
            year = [date(self.base_year, month, 1) for month in range(1, 13)]
            total = self._activity(component, year).sum(axis=0)
        return self._limited(component, total * self._scale(component), months=12)

    def _growth(self, component: Component) -> Floats:
        """What a line has grown to by each month, counted from the middle of the base year."""
        start = date(self.base_year, 7, 1)
        # Of each month its middle.
        elapsed = np.array([(months_between(start, month) + 0.5) / 12 for month in self.grid])
        rate = np.log1p(self.factors[component.growth])
        return np.asarray(np.exp(elapsed[:, None] * rate[None, :]))

    def _empty(self) -> Floats:
        return np.zeros((len(self.grid), self.paths))

    # --- a scenario

    def project(self, scenario: Scenario) -> MarketProjection:
        """The projection under a scenario, on the shared draws."""
        lines = self._changed(scenario)
        flows = {origin: self._flow(origin, scenario) for origin in self.arrivals}
        supply, demand, lost = self._empty(), self._empty(), self._empty()
        # Of what more can be ordered of: what arrives, and what licences keep back.
        imported, withheld_imports = self._empty(), self._empty()
        arriving: list[_Line] = []
        for line in lines:
            component, monthly = line.component, line.monthly_t
            kept_back = self._kept_back(line, flows)
            if kept_back is not None:
                monthly = monthly - kept_back
            arriving.append(_Line(component, monthly))
            if component.channel != "direct":
                continue
            if component.side == "demand":
                demand += monthly
                continue
            supply += monthly
            if component.name in self.orderable:
                imported += monthly
            if kept_back is not None:
                lost += kept_back
                if component.name in self.orderable:
                    withheld_imports += kept_back
        if self.market.stock_weeks:
            shortfall, cover_days, more = _with_stock(
                supply,
                demand,
                weeks=self.factors[self.market.stock_weeks],
                imports=imported,
                ordered=self._ordered,
                rebuild_months=self.factors[REBUILD],
            )
            supply += imported * more
            lost += withheld_imports * more
            arriving = [
                _Line(one.component, one.monthly_t * (1 + more))
                if one.component.name in self.orderable and one.component.side == "supply"
                else one
                for one in arriving
            ]
        else:
            shortfall, cover_days = np.maximum(0.0, demand - supply), self._empty()
        ahead = slice(WARM_UP_MONTHS, None)
        supply, demand, shortfall, cover_days, lost = (
            x[ahead] for x in (supply, demand, shortfall, cover_days, lost)
        )
        arriving = [_Line(one.component, one.monthly_t[ahead]) for one in arriving]
        parts = self._shares_of(arriving, lost, shortfall, demand, flows)
        points = [point for one in self._exports for point in one.points]
        forecasts = [self.inputs.forecasts[series] for series in self.market.series]
        seen = [point.period for point in points]
        # A yearly figure reaches to the end of its year.
        cutoffs = [
            one.cutoff.replace(month=12) if one.frequency == "year" else one.cutoff
            for one in forecasts
        ]
        vintages = [one.known_at for one in points] + [one.vintage for one in forecasts]
        projection = MarketProjection(
            projection_id=self._identity(scenario),
            market=self.market.market,
            title=self.market.title,
            product=self.market.product,
            unit=self.market.unit,
            scenario=scenario.scenario,
            scenario_title=scenario.title,
            months=_months(self.grid[ahead], supply, demand, shortfall, cover_days),
            shortfall_t_paths=_plain(shortfall),
            demand_t_paths=_plain(demand),
            components=parts,
            notes=notes_of(
                self.market,
                scenario,
                self.inputs,
                self._exports,
                self._regimes,
                self.base_year,
            ),
            data_through=max(seen or cutoffs, default=self.known_on),
            vintage=max(vintages, default=self.inputs.known_at),
            importer=self.market.importer,
            trace=trace_of(
                self.market,
                [one.component for one in lines],
                scenario,
                self.inputs,
                self._regimes,
                {part.name: part.tonnes_per_year for part in parts},
                self.activities,
            ),
        )
        stock = self.inputs.factors[self.market.stock_weeks] if self.market.stock_weeks else None
        found = supply_indicators(projection, self.inputs.governance, stock=stock)
        measured = self.inputs.measured.get(self.market.importer, ())
        return replace(projection, indicators=(*found, *measured))

    def _activities(self) -> dict[str, Interval]:
        """What each series amounts to a year over the projected months, in its own unit."""
        ahead, found = self.grid[WARM_UP_MONTHS:], {}
        for component in self.market.components:
            if component.series and component.series not in found:
                total = self._activity(component, ahead).sum(axis=0) / (self.months / 12)
                found[component.series] = _interval(total)
        return found

    def _kept_back(self, line: _Line, flows: Mapping[str, GradeFlow]) -> Floats | None:
        """What export licences keep back of a line; None where it needs none."""
        component = line.component
        flow = flows.get(licensed_by(component))
        if flow is None:
            return None
        kept_back = line.monthly_t * (1 - flow.of(component.grades))
        return kept_back * self.factors[component.exported] if component.exported else kept_back

    @property
    def _ordered(self) -> Floats:
        """What the base case orders, before licences, of the lines that more can be ordered of."""
        lines = [one for one in self.lines if one.component.name in self.orderable]
        return _total(lines, "supply", self._empty())

    @property
    def _exports(self) -> list[ObservedSeries]:
        """The observed exports that this market rests on."""
        return [self.inputs.exports[one] for one in self.arrivals if one in self.inputs.exports]

    def _changed(self, scenario: Scenario) -> list[_Line]:
        lines = []
        for line in self.lines:
            component, monthly = line.component, line.monthly_t
            slip = max((s.months for s in scenario.slips if self._slips(component, s)), default=0)
            if slip:
                monthly = self._monthly(component, slip)
            for change in scenario.supply:
                if (
                    component.side == "supply"
                    and component.origin == change.origin
                    and change.stage in ("", component.stage)
                ):
                    start, stop = self._held(change.starts_after_months, change.lasts_months)
                    monthly = monthly.copy()
                    monthly[start:stop] *= self.factors[change.left]
            for rise in scenario.demand:
                if component.side == "demand" and (not rise.uses or component.use in rise.uses):
                    start, _ = self._held(rise.starts_after_months, 0)
                    into = np.arange(1, len(self.grid) - start + 1) / max(1, rise.over_months)
                    step = np.minimum(1.0, into)[:, None] * (self.factors[rise.becomes] - 1)
                    monthly = monthly.copy()
                    monthly[start:] *= 1 + step
            lines.append(_Line(component, monthly))
        return lines + [
            self._new_plant(plant)
            for plant in scenario.plants
            if plant.market == self.market.market
        ]

    def _held(self, after: int, lasts: int) -> tuple[int, int]:
        """Rows of the grid in which a change holds."""
        start = min(WARM_UP_MONTHS + after, len(self.grid))
        return start, min(start + lasts, len(self.grid)) if lasts else len(self.grid)

    def _slips(self, component: Component, slip: ProjectSlip) -> bool:
        if not component.project:
            return False
        project = self.inputs.projects[component.project]
        named = (not slip.projects and not slip.countries) or (
            project.project in slip.projects or project.country in slip.countries
        )
        return named and not produces(project)

    def _new_plant(self, plant: NewPlant) -> _Line:
        component = new_component(plant)
        scale = unit_scale(self.market, component, self.inputs.factors, self.inputs.units, {})
        capacity = self.factors[plant.capacity] / 12 * scale
        for name in plant.factors:
            capacity = capacity * self.factors[name]
        comes = (
            self._rng("comes", plant.name).random(self.paths) < self.factors[plant.chance]
            if plant.chance
            else np.full(self.paths, True)
        )
        since = np.arange(len(self.grid)) - (WARM_UP_MONTHS + plant.starts_after_months) + 0.5
        share = ramp_share(since[:, None], np.full(self.paths, float(plant.ramp_months)))
        return _Line(component, share * (capacity * comes))

    def _flow(self, origin: str, scenario: Scenario) -> GradeFlow:
        """What arrives of an origin's shipments: exports of the month before, by grade."""
        draws, regimes = self.arrivals[origin]
        grid = [add_months(month, -TRANSIT_MONTHS) for month in self.grid]
        observed = self.inputs.exports.get(origin)
        normal = normal_level(observed) if observed else None
        ratios = observed_ratios(observed, normal) if observed and normal else {}
        # From the last known month on, also where that lies before the grid: what it showed still closes.
        before = max(0, months_between(max(ratios), grid[0])) if ratios else 0
        grid = [*(add_months(grid[0], back - before) for back in range(before)), *grid]
        draws = replace(
            draws,
            noise=np.pad(draws.noise, ((before, 0), (0, 0))),
            control=np.pad(draws.control, ((before, 0), (0, 0)), constant_values=1.0),
        )
        freezes = [
            (one, self.factors[one.left] if one.left else np.zeros(self.paths))
            for one in scenario.freezes
            if one.origin == origin
        ]
        flow = grade_flow(
            ratios,
            grid,
            draws,
            licensed_groups(regimes, grid, self.known_on),
            freezes=freezes,
            # What would arrive in the first projected month is being shipped now, and is held already.
            first=before + WARM_UP_MONTHS,
        )
        return GradeFlow(*(one[before:] for one in (flow.controlled, flow.free, flow.mixed)))

    def _shares_of(
        self,
        lines: Sequence[_Line],
        lost: Floats,
        shortfall: Floats,
        demand: Floats,
        flows: Mapping[str, GradeFlow],
    ) -> tuple[ComponentShare, ...]:
        """Each line over the horizon, and what licences keep back.

        A line's part in the uncertainty is its squared rank correlation with the shortfall's share of
        demand, scaled so that all parts add up to 1 (all are 0 when nothing moves). Lines that close the
        balance only mirror the others: they have none.
        """
        share = shortfall.sum(axis=0) / np.maximum(demand.sum(axis=0), np.finfo(float).tiny)
        ranked = _ranks(share) if _moves(share) else None
        years = self.months / 12
        totals = [line.monthly_t.sum(axis=0) for line in lines]
        squares = [
            _rank_correlation(total, ranked) ** 2
            if line.component.channel == "direct" and not line.component.balance
            else 0.0
            for line, total in zip(lines, totals, strict=True)
        ]
        squares.append(_rank_correlation(lost.sum(axis=0), ranked) ** 2)
        whole = sum(squares) or 1.0
        shares = [
            ComponentShare(
                name=line.component.name,
                side=line.component.side if line.component.channel == "direct" else "memo",
                tonnes_per_year=_interval(total / years),
                variance_share=square / whole,
                source="; ".join(sources_of(self.market, line.component, self.inputs)),
                confidence=confidence_of(self.market, line.component, self.inputs),
                origin=line.component.origin,
                stage=line.component.stage if line.component.side == "supply" else "",
                use=line.component.use,
                monthly_t=tuple(line.monthly_t.mean(axis=1).tolist()),
                closes=line.component.balance,
            )
            for line, total, square in zip(lines, totals, squares, strict=False)
        ]
        if not flows:
            return tuple(shares)
        factors = self.inputs.factors
        words = [*LICENCE_FACTORS, *(n for r in self._regimes for n in r.factor_names)]
        titles = "; ".join(one.title for one in self._exports) or "no exports are known"
        licences = ComponentShare(
            name=KEPT_BACK,
            side="loss",
            tonnes_per_year=_interval(lost.sum(axis=0) / years),
            variance_share=squares[-1] / whole,
            source=f"{titles}; {factors[LICENCE_LEAD].source}",
            confidence=max((factors[n].confidence for n in words), key=CONFIDENCE_ORDER.index),
            monthly_t=tuple(lost.mean(axis=1).tolist()),
        )
        return (*shares, licences)

    @property
    def _regimes(self) -> list[LicenceRegime]:
        """The regimes that this market feels, as known at the moment."""
        return [
            one
            for one in self.inputs.regimes
            if one.origin in self.arrivals and one.known_on <= self.known_on
        ]

    def _identity(self, scenario: Scenario) -> str:
        """A name for the content: all that moves a figure or a word of the projection, and nothing else."""
        inputs, market = self.inputs, self.market
        used = sorted(factors_drawn(market, [scenario], inputs))
        projects = [inputs.projects[name] for name in market.projects]
        known = [one for one in projects if one.known_on <= self.known_on]
        is_overdue = any(not produces(one) and one.starts_on < self.known_on for one in known)
        licensing = [one.regime for _, drawn in self.arrivals.values() for one in drawn]
        content = {
            "version": MODEL_VERSION,
            "market": asdict(market),
            "scenario": asdict(scenario),
            "forecasts": {s: inputs.forecasts[s].forecast_id for s in market.series},
            "units": {s: inputs.units[s] for s in market.series},
            "exports": {
                one.series: [
                    (p.period.isoformat(), p.value, p.source_id, p.confidence) for p in one.points
                ]
                for one in self._exports
            },
            "factors": [asdict(inputs.factors[name]) for name in used],
            "projects": [asdict(replace(one, note="")) for one in known],
            # An overdue plant is expected from today on.
            "today": self.known_on.isoformat() if is_overdue else "",
            "regimes": [
                (one.regime, one.title, one.origin, one.factor_names, one.spans(self.known_on))
                for one in self._regimes
            ],
            "frozen": frozen_grades(licensing, self.known_on) if scenario.freezes else (),
            "governance": {name: asdict(one) for name, one in inputs.governance.items()},
            "measured": [asdict(one) for one in inputs.measured.get(market.importer, ())],
            "first": self.grid[0].isoformat(),
            "size": (self.months, self.paths, self.seed),
        }
        text = json.dumps(content, sort_keys=True, default=str)
        return f"m-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _total(lines: Sequence[_Line], side: str, start: Floats) -> Floats:
    for line in lines:
        if line.component.side == side:
            start += line.monthly_t
    return start


def _orderable(market: Market) -> frozenset[str]:
    """Lines that buyers can order more of to rebuild stock: imports that fill demand, or else all that need a licence."""
    supply = [one for one in market.components if one.side == "supply" and one.channel == "direct"]
    closing = [one.name for one in supply if one.balance]
    return frozenset(closing or [one.name for one in supply if licensed_by(one)])


def _require(market: Market, names: Iterable[str], inputs: Inputs) -> None:
    """Everything a market needs is there; raises CannotProjectError naming market and what is missing."""
    for series in market.series:
        if series not in inputs.forecasts:
            why = inputs.refusals.get(series, "no forecast was made")
            message = f"{market.market}: {series} can't be used: {why}"
            raise CannotProjectError(message, series)
        if inputs.forecasts[series].vintage > inputs.known_at:
            message = (
                f"{market.market}: {series}: its forecast rests on figures of "
                f"{inputs.forecasts[series].vintage:%Y-%m-%d}, later than {inputs.known_at:%Y-%m-%d}"
            )
            raise CannotProjectError(message, series)
    for origin, exports in inputs.exports.items():
        late = [point for point in exports.points if point.known_at > inputs.known_at]
        if late:
            message = (
                f"{market.market}: {exports.series} (exports of {origin}): {late[0].period:%B %Y} was known on "
                f"{late[0].known_at:%Y-%m-%d}, later than {inputs.known_at:%Y-%m-%d}"
            )
            raise CannotProjectError(message)
        if exports.frequency != "month":
            message = (
                f"{market.market}: {exports.series} (exports of {origin}): is by {exports.frequency}; "
                "licensed exports must be monthly"
            )
            raise CannotProjectError(message)
    for name in sorted(names):
        if name not in inputs.factors:
            message = f"{market.market}: there is no factor {name!r} in factors.csv"
            raise CannotProjectError(message)
    for name in market.projects:
        if name not in inputs.projects:
            message = f"{market.market}: there is no project {name!r} in projects.csv"
            raise CannotProjectError(message)


def _base_year(market: Market, inputs: Inputs) -> int:
    """The last year that every series knows whole; the year before the moment where there is no series."""
    years = [inputs.known_at.year - 1]
    for series in market.series:
        forecast = inputs.forecasts[series]
        is_whole = forecast.frequency == "year" or (forecast.cutoff.month, forecast.frequency) == (
            12,
            "month",
        )
        years.append(forecast.cutoff.year if is_whole else forecast.cutoff.year - 1)
    return min(years)


def _triangle(place: Floats, factor: Factor) -> Floats:
    """The triangular distribution's quantile at each place (0-1)."""
    width = factor.high - factor.low
    if width == 0:
        return np.full(place.shape, factor.central)
    peak = (factor.central - factor.low) / width
    low = factor.low + np.sqrt(place * width * (factor.central - factor.low))
    high = factor.high - np.sqrt((1 - place) * width * (factor.high - factor.central))
    return np.where(place < peak, low, high)


def _with_stock(
    supply: Floats,
    demand: Floats,
    *,
    weeks: Floats,
    imports: Floats,
    ordered: Floats,
    rebuild_months: Floats,
) -> tuple[Floats, Floats, Floats]:
    """Shortfall in tonnes, stock cover in days at month end, and how much more is imported to rebuild stock.

    Buffers are drawn down before demand is lost. Stock starts at its normal cover of `weeks` and never
    rises above it: from what supply leaves over, and from orders of what is lacking / `rebuild_months`
    beside those for demand, of which as large a part arrives as of those (`imports` of `ordered`). The
    third result is the orders to rebuild as a share of the others. A month without demand has
    neither shortfall nor cover to speak of: both are 0.
    """
    target = weeks / WEEKS_PER_MONTH
    stock = target * demand[0]
    shortfall = np.zeros_like(supply)
    cover = np.zeros_like(supply)
    more = np.zeros_like(supply)
    for month in range(len(supply)):
        wanted = target * demand[month]
        lacking = np.maximum(0.0, wanted - stock) / rebuild_months
        np.divide(lacking, ordered[month], out=more[month], where=ordered[month] > 0)
        left = stock + supply[month] + imports[month] * more[month] - demand[month]
        np.maximum(0.0, -left, out=shortfall[month])
        stock = np.clip(left, 0.0, wanted)
        np.divide(stock * DAYS_PER_MONTH, demand[month], out=cover[month], where=demand[month] > 0)
    return shortfall + 0.0, cover, more  # no minus zero


def _months(
    grid: Sequence[date], supply: Floats, demand: Floats, shortfall: Floats, cover_days: Floats
) -> tuple[MarketMonth, ...]:
    share = np.divide(shortfall, demand, out=np.zeros_like(shortfall), where=demand > 0)
    expected = shortfall.mean(axis=1).tolist()
    # What adding up leaves over is no shortage.
    chance = (shortfall > _ROUNDING * demand).mean(axis=1).tolist()
    supplied, asked, short, part, cover = map(
        _intervals, (supply, demand, shortfall, share, cover_days)
    )
    return tuple(
        MarketMonth(
            month=month,
            supply_t=supplied[row],
            demand_t=asked[row],
            shortfall_t=short[row],
            shortfall_share=part[row],
            stock_cover_days=cover[row],
            expected_shortfall_t=expected[row],
            shortfall_chance=chance[row],
        )
        for row, month in enumerate(grid)
    )


def _intervals(values: Floats) -> list[Interval]:
    """The percentiles of each row."""
    table = np.quantile(values, (0.1, 0.5, 0.9), axis=1)
    return [Interval(*row) for row in table.T.tolist()]


def _interval(values: Floats) -> Interval:
    return _intervals(values[None, :])[0]


def _rank_correlation(values: Floats, ranked: Floats | None) -> float:
    if ranked is None or not _moves(values):
        return 0.0
    return float(np.corrcoef(_ranks(values), ranked)[0, 1])


def _moves(values: Floats) -> bool:
    """Whether values differ by more than what adding up leaves."""
    return bool(np.ptp(values) > _ROUNDING * np.abs(values).max(initial=0.0))


def _ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share their mean rank."""
    return np.asarray(rankdata(values), dtype=np.float64)


def _plain(values: Floats) -> tuple[tuple[float, ...], ...]:
    """Paths as rows of plain numbers."""
    return tuple(map(tuple, values[:, :KEPT_PATHS].T.tolist()))
