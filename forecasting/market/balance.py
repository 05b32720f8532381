"""Monte Carlo of a market: forecasts, factors and licences in, the shortfall's distribution out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt

from forecasting.market.definitions import (
    CONFIDENCE_ORDER,
    Component,
    Factor,
    Market,
    Scenario,
    tonnes_scale,
)
from forecasting.market.flow import (
    TRANSIT_MONTHS,
    FlowDraws,
    add_months,
    flow_paths,
    months_between,
    normal_level,
    observed_ratios,
)
from forecasting.market.spread import spread_years
from forecasting.results import (
    ComponentShare,
    Interval,
    MarketMonth,
    MarketProjection,
    ObservedSeries,
    SeriesForecast,
)

Floats = npt.NDArray[np.float64]

MODEL_VERSION = 1
WARM_UP_MONTHS = 9
"""Months simulated before the first projected one, so that stocks reflect what already happened."""
DAYS_PER_MONTH = 365.25 / 12
WEEKS_PER_MONTH = DAYS_PER_MONTH / 7
USUAL_UNKNOWN_MONTHS = 3
"""Customs detail comes on the 20th of the next month, January only with February: more is worth a note."""
DISTURBED = 0.9
"""Exports below this share of normal are named in the notes."""
KEPT_PATHS = 1000
"""Paths that a projection carries for later questions; percentiles use all."""

LICENCE_LEAD = "licence_lead_days"
NEW_CONTROL = "new_control_per_month"
FREEZE_FLOW = "export_flow_in_freeze"
MONTHLY_NOISE = 0.06
"""Standard deviation of undisturbed month-to-month log changes of China's magnet exports (2024-05 to -10)."""


class CannotProjectError(Exception):
    """A market lacks an input at this moment; the text names market and series."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a market is computed from, all as known at one moment."""

    forecasts: Mapping[str, SeriesForecast]
    refusals: Mapping[str, str]
    exports: ObservedSeries  # licensed exports of the origin, monthly
    factors: Mapping[str, Factor]
    units: Mapping[str, str]
    known_at: datetime


@dataclass(frozen=True, slots=True)
class _Line:
    component: Component
    monthly_t: Floats  # (paths, months) in tonnes a month, before licences


def project_market(
    market: Market,
    scenarios: Sequence[Scenario],
    inputs: Inputs,
    *,
    months: int,
    paths: int,
    seed: int,
) -> tuple[MarketProjection, ...]:
    """One projection per scenario, on the same draws. Raises CannotProjectError naming what is missing.

    Supply and demand are tonnes of finished magnets a month. Dependence between components: every factor
    is drawn once per path and shared, all components of an origin share its export flow, and a component
    that closes the balance makes supply equal demand in the last year that every series knows.
    """
    _require(market, inputs)
    rng = np.random.default_rng([seed, *hashlib.sha256(market.market.encode()).digest()[:4]])
    first = add_months(inputs.known_at.date(), 1)
    grid = [add_months(first, offset) for offset in range(-WARM_UP_MONTHS, months)]
    factors = {
        name: _draw(inputs.factors[name], paths, rng) for name in sorted(_factor_names(market))
    }
    base_year = _base_year(market, inputs)
    lines = _lines(market, inputs, factors, grid, base_year, paths, rng)
    draws = FlowDraws(
        half_life_months=factors[LICENCE_LEAD] / DAYS_PER_MONTH,
        noise=rng.standard_normal((paths, len(grid))),
        control=rng.random((paths, len(grid))),
        control_probability=factors[NEW_CONTROL],
        control_flow=factors[FREEZE_FLOW],
    )
    stock_weeks = factors[market.stock_weeks] if market.stock_weeks else np.zeros(paths)
    return tuple(
        _project(
            market,
            scenario,
            inputs,
            lines,
            factors,
            draws,
            stock_weeks,
            grid,
            base_year,
            (months, paths, seed),
        )
        for scenario in scenarios
    )


def _require(market: Market, inputs: Inputs) -> None:
    for series in market.series:
        if series not in inputs.forecasts:
            why = inputs.refusals.get(series, "no forecast was made")
            message = f"{market.market}: {series} can't be used: {why}"
            raise CannotProjectError(message)
    for name in _factor_names(market):
        if name not in inputs.factors:
            message = f"{market.market}: there is no factor {name!r} in factors.csv"
            raise CannotProjectError(message)


def _factor_names(market: Market, scenarios: Sequence[Scenario] = ()) -> set[str]:
    names = {LICENCE_LEAD, NEW_CONTROL, FREEZE_FLOW}
    for component in market.components:
        names.update(component.factor_names)
    if market.stock_weeks:
        names.add(market.stock_weeks)
    names.update(change.export_flow for scenario in scenarios for change in scenario.changes)
    return names


def _draw(factor: Factor, paths: int, rng: np.random.Generator) -> Floats:
    if factor.low == factor.high:
        return np.full(paths, factor.central)
    return rng.triangular(factor.low, factor.central, factor.high, paths)


def _base_year(market: Market, inputs: Inputs) -> int:
    return min(inputs.forecasts[series].cutoff.year for series in market.series)


def _lines(
    market: Market,
    inputs: Inputs,
    factors: Mapping[str, Floats],
    grid: Sequence[date],
    base_year: int,
    paths: int,
    rng: np.random.Generator,
) -> list[_Line]:
    """Every component's tonnes a month on the grid; the balance-closing ones last, from the others."""
    picks = rng.integers(0, 2**31 - 1, paths)
    lines: list[_Line] = []
    base: dict[str, Floats] = {"supply": np.zeros(paths), "demand": np.zeros(paths)}
    for component in market.components:
        if component.balance:
            continue
        scale = np.full(paths, tonnes_scale(component, inputs.factors, inputs.units))
        for name in component.factors:
            scale = scale * factors[name]
        if component.series:
            monthly, in_base = _activity(inputs.forecasts[component.series], grid, base_year, picks)
        else:
            level = factors[component.level]
            monthly, in_base = np.repeat(level[:, None] / 12, len(grid), axis=1), level
        monthly = monthly * scale[:, None]
        if component.growth:
            monthly = monthly * _growth(factors[component.growth], grid, base_year)
        lines.append(_Line(component, monthly))
        if component.channel == "direct":
            base[component.side] += in_base * scale
    for component in market.components:
        if not component.balance:
            continue
        other = "demand" if component.side == "supply" else "supply"
        gap_t = np.maximum(0.0, base[other] - base[component.side])
        if component.share:
            share = factors[component.share]
            gap_t = gap_t * ((1 - share) if component.rest else share)
        monthly = np.repeat(gap_t[:, None] / 12, len(grid), axis=1)
        if component.growth:
            monthly = monthly * _growth(factors[component.growth], grid, base_year)
        elif component.side == "supply":
            # Imports are ordered to meet demand: without a disturbance they grow with it.
            monthly = monthly * _demand_index(lines, base)
        lines.append(_Line(component, monthly))
    return lines


def _activity(
    forecast: SeriesForecast, grid: Sequence[date], base_year: int, picks: npt.NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Monthly activity on the grid and the total of the base year, in the series' unit."""
    known = {period.year: value for period, value in forecast.history}
    futures = np.asarray(forecast.paths, dtype=np.float64)[picks % len(forecast.paths)]
    ahead = {period.year: futures[:, step] for step, period in enumerate(forecast.periods)}
    years = range(min(grid[0].year, base_year), grid[-1].year + 1)
    columns = []
    for year in years:
        if year in known:
            columns.append(np.full(len(picks), known[year]))
        elif year in ahead:
            columns.append(ahead[year])
        else:
            span = f"{min(known)}-{max(ahead)}"
            message = f"{forecast.series}: the market needs {year}, known or forecast is {span}"
            raise CannotProjectError(message)
    totals = np.column_stack(columns)
    monthly = spread_years(totals)
    start = months_between(date(years[0], 1, 1), grid[0])
    return monthly[:, start : start + len(grid)], totals[:, base_year - years[0]]


def _growth(rate: Floats, grid: Sequence[date], base_year: int) -> Floats:
    elapsed = np.array([months_between(date(base_year, 7, 1), month) / 12 for month in grid])
    return np.asarray(np.power(1 + rate[:, None], elapsed[None, :]))


def _demand_index(lines: Sequence[_Line], base: Mapping[str, Floats]) -> Floats:
    """Direct demand of each month relative to the base year's mean month."""
    direct = [
        x.monthly_t
        for x in lines
        if x.component.side == "demand" and x.component.channel == "direct"
    ]
    total = np.sum(direct, axis=0)
    return np.asarray(total / (base["demand"][:, None] / 12))


def _project(
    market: Market,
    scenario: Scenario,
    inputs: Inputs,
    lines: Sequence[_Line],
    factors: Mapping[str, Floats],
    draws: FlowDraws,
    stock_weeks: Floats,
    grid: Sequence[date],
    base_year: int,
    size: tuple[int, int, int],
) -> MarketProjection:
    months, paths, _ = size
    flow = _arrival_flow(scenario, inputs, draws, grid, factors)
    supply = np.zeros((paths, len(grid)))
    demand = np.zeros((paths, len(grid)))
    lost_to_licences = np.zeros((paths, len(grid)))
    tonnes: list[tuple[Component, Floats]] = []
    for line in lines:
        monthly = line.monthly_t
        if line.component.origin:
            exported = factors[line.component.exported][:, None] if line.component.exported else 1.0
            lost = monthly * exported * (1 - flow)
            lost_to_licences = lost_to_licences + lost
            monthly = monthly - lost
        tonnes.append((line.component, monthly))
        if line.component.channel != "direct":
            continue
        if line.component.side == "supply":
            supply = supply + monthly
        else:
            demand = demand + monthly
    shortfall, cover_days = _with_stock(supply, demand, stock_weeks)
    ahead = slice(len(grid) - months, None)
    supply, demand, shortfall, cover_days = (
        x[:, ahead] for x in (supply, demand, shortfall, cover_days)
    )
    lines_ahead = [(component, monthly[:, ahead].sum(axis=1)) for component, monthly in tonnes]
    lost = lost_to_licences[:, ahead].sum(axis=1)
    return MarketProjection(
        projection_id=_identity(market, scenario, inputs, grid, size),
        market=market.market,
        title=market.title,
        product=market.product,
        unit="t",
        scenario=scenario.scenario,
        scenario_title=scenario.title,
        months=tuple(
            MarketMonth(
                month=month,
                supply_t=_interval(supply[:, i]),
                demand_t=_interval(demand[:, i]),
                shortfall_t=_interval(shortfall[:, i]),
                shortfall_share=_interval(shortfall[:, i] / demand[:, i]),
                stock_cover_days=_interval(cover_days[:, i]),
            )
            for i, month in enumerate(grid[ahead])
        ),
        shortfall_t_paths=_plain(shortfall),
        demand_t_paths=_plain(demand),
        components=_component_shares(
            lines_ahead, lost, shortfall.sum(axis=1) / demand.sum(axis=1), inputs, months
        ),
        notes=_notes(market, inputs, base_year),
        data_through=max(
            [p.period for p in inputs.exports.points]
            or [inputs.forecasts[series].cutoff for series in market.series]
        ),
        vintage=max(
            [p.known_at for p in inputs.exports.points]
            + [inputs.forecasts[series].vintage for series in market.series]
        ),
    )


def _arrival_flow(
    scenario: Scenario,
    inputs: Inputs,
    draws: FlowDraws,
    grid: Sequence[date],
    factors: Mapping[str, Floats],
) -> Floats:
    """Arrivals as a share of normal: exports of the month before."""
    export_grid = [add_months(month, -TRANSIT_MONTHS) for month in grid]
    normal = normal_level(inputs.exports)
    ratios = observed_ratios(inputs.exports, normal) if normal else {}
    paths = draws.half_life_months.shape[0]
    freeze = np.full((paths, len(grid)), np.nan)
    for change in scenario.changes:
        # The first projected month still receives what was shipped before it began.
        start = WARM_UP_MONTHS + TRANSIT_MONTHS + change.starts_after_months
        stop = min(start + change.lasts_months, len(grid))
        freeze[:, start:stop] = factors[change.export_flow][:, None]
    return flow_paths(ratios, export_grid, draws, monthly_noise=MONTHLY_NOISE, freeze=freeze)


def _with_stock(supply: Floats, demand: Floats, stock_weeks: Floats) -> tuple[Floats, Floats]:
    """Shortfall in tonnes and stock cover in days at month end, buffers drawn down before demand is lost.

    Stock starts at its normal cover and is rebuilt, never above it, from what supply leaves over.
    """
    target = stock_weeks / WEEKS_PER_MONTH
    stock = target * demand[:, 0]
    shortfall = np.zeros_like(supply)
    cover = np.zeros_like(supply)
    for month in range(supply.shape[1]):
        left = stock + supply[:, month] - demand[:, month]
        shortfall[:, month] = np.maximum(0.0, -left) + 0.0  # no minus zero
        stock = np.clip(left, 0.0, target * demand[:, month])
        cover[:, month] = stock / demand[:, month] * DAYS_PER_MONTH
    return shortfall, cover


def _component_shares(
    lines: Sequence[tuple[Component, Floats]],
    lost: Floats,
    shortfall_share: Floats,
    inputs: Inputs,
    months: int,
) -> tuple[ComponentShare, ...]:
    """Each line over the horizon, and what licences keep back.

    A line's part in the uncertainty is its squared rank correlation with the shortfall's share of demand,
    scaled so that all parts add up to 1 (all are 0 when nothing moves). Lines that close the balance only mirror the others: they have none.
    """
    years = months / 12
    moving = [c.channel == "direct" and not c.balance for c, _ in lines]
    squares = [
        _rank_correlation(total, shortfall_share) ** 2 if moves else 0.0
        for (_, total), moves in zip(lines, moving, strict=True)
    ]
    squares.append(_rank_correlation(lost, shortfall_share) ** 2)
    whole = sum(squares) or 1.0
    shares = [
        ComponentShare(
            name=component.name,
            side=component.side if component.channel == "direct" else "memo",
            tonnes_per_year=_interval(total / years),
            variance_share=square / whole,
            source="; ".join(_sources(component, inputs)),
            confidence=_confidence(component, inputs),
        )
        for (component, total), square in zip(lines, squares, strict=False)
    ]
    licences = ComponentShare(
        name="Kept back by export licences and clearance",
        side="loss",
        tonnes_per_year=_interval(lost / years),
        variance_share=squares[-1] / whole,
        source=f"{inputs.exports.title}; {inputs.factors[LICENCE_LEAD].source}",
        confidence=inputs.factors[LICENCE_LEAD].confidence,
    )
    return (*shares, licences)


def _rank_correlation(first: Floats, second: Floats) -> float:
    if any(np.ptp(values) == 0 for values in (first, second)):
        return 0.0
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place], dtype=np.float64)


def _sources(component: Component, inputs: Inputs) -> list[str]:
    named = [inputs.factors[name].source for name in component.factor_names]
    if component.series:
        forecast = inputs.forecasts[component.series]
        named.insert(
            0, f"{forecast.title} to {forecast.cutoff.year}, projected by {forecast.model}"
        )
    if component.balance:
        named.insert(0, "what cleared the market in the base year")
    return list(dict.fromkeys(named))


def _confidence(component: Component, inputs: Inputs) -> str:
    words = [inputs.factors[name].confidence for name in component.factor_names]
    if component.balance:
        words.append("derived")
    return max(words, key=CONFIDENCE_ORDER.index, default="high")


def _notes(market: Market, inputs: Inputs, base_year: int) -> tuple[str, ...]:
    names = {name for component in market.components for name in component.factor_names}
    weak = [name for name in names if inputs.factors[name].confidence in {"low", "background"}]
    notes = []
    if any(component.balance for component in market.components):
        notes.append(
            f"Supply is set equal to demand in {base_year}, the last year every series knows."
        )
    normal = normal_level(inputs.exports)
    newest = inputs.exports.points[-1] if inputs.exports.points else None
    if normal is None or newest is None:
        notes.append("Too few export months are known: licensed exports are taken as normal.")
    elif newest.value < DISTURBED * normal:
        # First, since this is why the projection is what it is.
        share = newest.value / normal
        notes.insert(
            0,
            f"{inputs.exports.title}: {newest.value:,.0f} t in {newest.period:%B %Y}, "
            f"{share:.0%} of a normal month.".replace("%", " %"),
        )
    unknown = 0 if newest is None else months_between(newest.period, inputs.known_at.date())
    if newest is not None and unknown > USUAL_UNKNOWN_MONTHS:
        notes.insert(
            0,
            f"Exports are known through {newest.period:%B %Y}; the {unknown} months since are projected.",
        )
    if weak:
        notes.append(
            f"{len(weak)} of its {len(names)} factors are low-confidence or background figures."
        )
    return tuple(notes)


def _identity(
    market: Market,
    scenario: Scenario,
    inputs: Inputs,
    grid: Sequence[date],
    size: tuple[int, int, int],
) -> str:
    used = sorted(_factor_names(market))
    content = {
        "version": MODEL_VERSION,
        "market": asdict(market),
        "scenario": asdict(scenario),
        "forecasts": {s: inputs.forecasts[s].forecast_id for s in market.series},
        "exports": [(p.period.isoformat(), p.value) for p in inputs.exports.points],
        "factors": [asdict(inputs.factors[name]) for name in used],
        "first": grid[0].isoformat(),
        "size": size,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"m-{digest[:16]}"


def _interval(values: Floats) -> Interval:
    p10, p50, p90 = np.quantile(values, (0.1, 0.5, 0.9))
    return Interval(float(p10), float(p50), float(p90))


def _plain(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(v) for v in row) for row in values[:KEPT_PATHS])
