"""How exposed a supply is: concentration, reliance, cover, premium, volatility and gaps between statistics."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise, takewhile
from typing import NamedTuple

from forecasting.market.definitions import CONFIDENCE_ORDER, Factor
from forecasting.results import (
    ComponentShare,
    Indicator,
    MarketProjection,
    ObservedPoint,
    ObservedSeries,
)

HHI_MEDIUM = 1500.0
"""From here to HHI_HIGH concentration is medium, below it low (DERA, KOMIS)."""
HHI_HIGH = 2500.0
"""Above it concentration is high (DERA, KOMIS)."""
GOVERNANCE_LIMIT = 2.5
"""World Governance Indicators run from −2.5 (worst) to +2.5."""
RELIANCE_HIGH = 0.5
"""Net import reliance above it is high (USGS, Mineral Commodity Summaries 2026)."""
N_MINUS_1_IEA = (0.35, 0.40)
"""What the IEA expects of rare earths in 2035 without the largest supplier (GCMO 2025), share of demand."""
COVER_RED_DAYS = 14.0
"""Below it stock cover is red: our proposal, from reports of plants with two to three weeks in hand."""
COVER_AMBER_DAYS = 42.0
"""Below it stock cover is amber: our proposal, from reports of plants with four to six weeks in hand."""
PREMIUM_AMBER = 0.3
"""Above it a premium over China's price is amber (our proposal)."""
PREMIUM_RED = 1.0
"""Above it a premium over China's price is red (our proposal)."""
VOLATILITY_HIGH = 0.3
"""Above it a price is volatile (DERA)."""
MIRROR_GAP_LIMIT = 0.3
"""Two countries' figures of one trade that differ by more ask for a look at the data (our proposal)."""
FERRITE_USD_PER_KG = (3.0, 4.0, 5.0)
"""What a kilogram of ferrite magnets costs at the border: low, central, high (own estimate)."""
NDFEB_USD_PER_KG = (40.0, 60.0, 80.0)
"""What a kilogram of NdFeB magnets costs at the border: low, central, high (own estimate)."""

WINDOWS_MONTHS = (12, 60)
"""Lengths over which DERA measures volatility."""
KNOWN_CHANGES = 0.8
"""Share of a window's changes that must be known: fewer would measure the gaps."""
WORLD_TOLERANCE = 0.05
"""Origins that miss the world's total by more are not all in: their concentration would be an accident."""
MIRROR_MONTHS = 12
"""Monthly trade is compared over so many months: a month's cargoes arrive in the next one."""

ROUNDING_T = 1e-9
"""Tonnes a month that are rounding and not supply."""
NOT_STATED = "not stated"
"""Stands for the origin of supply lines that name none."""


class IndicatorError(Exception):
    """An indicator can't be computed from what it was given; `indicator` and `field` say where."""

    def __init__(self, indicator: str, field: str, problem: str) -> None:
        self.indicator = indicator
        self.field = field
        super().__init__(f"{indicator}: {field}: {problem}")


@dataclass(frozen=True, slots=True)
class GovernanceScore:
    """How well a country is governed, −2.5 (worst) to +2.5, mean of the World Governance Indicators."""

    country: str
    score: float
    source: str
    confidence: str


class WeightedHhi(NamedTuple):
    """Concentration weighted with governance, and how much of the quantity it could weigh."""

    value: float  # 0–100,000
    scored_share: float  # of the quantity, 0–1: what has no score adds nothing


class Runway(NamedTuple):
    """The grade that runs out first, and when."""

    grade: str
    days: float


class ShareRange(NamedTuple):
    """A share of the tonnes, 0–1, under dear, central and cheap assumptions."""

    low: float
    central: float
    high: float


@dataclass(frozen=True, slots=True)
class StageSeries:
    """What a stage yields by country: one observed series an origin, and the world's total where published."""

    stage: str  # mine, oxide, magnet, …
    title: str  # "Mine output"
    by_origin: Mapping[str, ObservedSeries]
    world: ObservedSeries | None = None


# --- formulas, on plain numbers ---------------------------------------------


def hhi(quantities: Mapping[str, float]) -> float:
    """Herfindahl-Hirschman index of quantities by origin (any one unit): Σ sᵢ², sᵢ in percent; 0–10,000.

    10,000 is a single origin. An entry that stands for several countries counts as one: an upper bound.
    Source: DERA, KOMIS. Raises IndicatorError when empty, negative or all zero.
    """
    return math.fsum(share**2 for share in _percent("hhi", "quantities", quantities).values())


def weighted_hhi(quantities: Mapping[str, float], governance: Mapping[str, float]) -> WeightedHhi:
    """HHI weighted with governance: Σ sᵢ²·gᵢ, sᵢ in percent of the whole, gᵢ = 2·(2.5 − score), 10 worst.

    `quantities` by origin in any one unit, `governance` in −2.5…+2.5; the result is 0–100,000. Shares are
    of the whole quantity, so an origin without a score adds nothing and the value is a lower bound;
    `scored_share` says of how much. Source: method of the European Commission (2017), rescaled.
    Raises IndicatorError also when no origin has a score.
    """
    name = "weighted_hhi"
    shares = _percent(name, "quantities", quantities)
    scored = {origin: share for origin, share in shares.items() if origin in governance}
    if not math.fsum(scored.values()) > 0:
        named = ", ".join(sorted(quantities))
        raise IndicatorError(name, "governance", f"has no score for any of {named}")
    for origin in scored:
        if not abs(governance[origin]) <= GOVERNANCE_LIMIT:
            problem = f"{origin}: {governance[origin]:g} is not between -2.5 and 2.5"
            raise IndicatorError(name, "governance", problem)
    value = math.fsum(
        share**2 * 2 * (GOVERNANCE_LIMIT - governance[origin]) for origin, share in scored.items()
    )
    return WeightedHhi(value, math.fsum(scored.values()) / 100)


def net_import_reliance(
    imports: float, exports: float, production: float, stock_change: float
) -> float:
    """(imports − exports + stock change) / apparent consumption; all four in one unit, result a share.

    Apparent consumption is production + imports − exports + stock change. `stock_change` is what stocks
    gave: positive when they were drawn down, as USGS counts it. Below zero is a net exporter.
    Source: USGS, Mineral Commodity Summaries. Raises IndicatorError when nothing is consumed.
    """
    name = "net_import_reliance"
    for field, value in (("imports", imports), ("exports", exports), ("production", production)):
        _at_least_zero(name, field, value)
    if not math.isfinite(stock_change):
        raise IndicatorError(name, "stock_change", f"{stock_change:g} is no quantity")
    net_imports = imports - exports + stock_change
    consumption = production + net_imports
    if not consumption > 0:
        raise IndicatorError(name, "apparent consumption", f"is {consumption:g}, must be above 0")
    return net_imports / consumption


def n_minus_1(supply_by_origin: Mapping[str, float], demand: float) -> float:
    """Supply without its largest origin, as a share of demand; both in one unit. At 1 demand is still met.

    Source: IEA, Global Critical Minerals Outlook 2025, where demand is the whole one; supply that is all
    zero gives 0. Raises IndicatorError for negative supply or demand that is not above zero.
    """
    name = "n_minus_1"
    if not supply_by_origin:
        raise IndicatorError(name, "supply_by_origin", "is empty; name at least one origin")
    for origin, supply in supply_by_origin.items():
        _at_least_zero(name, f"supply_by_origin: {origin}", supply)
    _above_zero(name, "demand", demand)
    return math.fsum(sorted(supply_by_origin.values())[:-1]) / demand


def stock_cover_days(stock_t: float, use_t_per_day: float) -> float:
    """Days that a stock in tonnes lasts at a use in tonnes a day, with nothing arriving.

    Raises IndicatorError when nothing is used: such a stock has no end.
    """
    _at_least_zero("stock_cover_days", "stock_t", stock_t)
    _above_zero("stock_cover_days", "use_t_per_day", use_t_per_day)
    return stock_t / use_t_per_day


def runway(stock_t: Mapping[str, float], use_t_per_day: Mapping[str, float]) -> Runway:
    """The least cover in days of all grades in use: a line stops at the first grade that is missing.

    `stock_t` in tonnes and `use_t_per_day` in tonnes a day, by grade. Grades that nobody uses don't
    count. Raises IndicatorError for a grade in use whose stock isn't given: none is written as 0.
    """
    name = "runway"
    for grade, use in use_t_per_day.items():
        _at_least_zero(name, f"use_t_per_day: {grade}", use)
    in_use = sorted(grade for grade, use in use_t_per_day.items() if use > 0)
    if not in_use:
        raise IndicatorError(name, "use_t_per_day", "no grade is in use")
    for grade in in_use:
        if grade not in stock_t:
            problem = f"{grade} is in use but its stock isn't given; write 0 when there is none"
            raise IndicatorError(name, "stock_t", problem)
        _at_least_zero(name, f"stock_t: {grade}", stock_t[grade])
    covers = [
        Runway(grade, stock_cover_days(stock_t[grade], use_t_per_day[grade])) for grade in in_use
    ]
    return min(covers, key=lambda cover: cover.days)


def cover_colour(days: float) -> str:
    """Stock cover below 14 days is "red", below 42 "amber", else "green": our proposal."""
    _at_least_zero("stock_cover_days", "days", days)
    if _is_above(COVER_RED_DAYS, days):
        return "red"
    return "amber" if _is_above(COVER_AMBER_DAYS, days) else "green"


def ex_china_premium(price_outside: float, price_in_china: float) -> float:
    """Price outside China / price in China − 1: 0.3 is 30 % dearer outside.

    Both for one good, one period, one currency and mass. FOB China of oxides and metals already holds
    China's VAT, so nothing is divided by 1.13. Raises IndicatorError for prices that are not above zero.
    """
    _above_zero("ex_china_premium", "price_outside", price_outside)
    _above_zero("ex_china_premium", "price_in_china", price_in_china)
    return price_outside / price_in_china - 1


def volatility(prices: Sequence[float], periods_per_year: int) -> float:
    """Annualised standard deviation of log changes, as a share: std(ln pₜ/pₜ₋₁) · √periods per year.

    `prices` in time order, one a period, any unit; NaN for a period that is not known, and the changes
    into and out of it don't count. The deviation is the sample's (n − 1). Source: DERA, over 12 or 60
    months. Raises IndicatorError for prices not above zero, or fewer than two changes.
    """
    name = "volatility"
    _above_zero(name, "periods_per_year", periods_per_year)
    for place, price in enumerate(prices):
        if not math.isnan(price):
            _above_zero(name, f"price {place + 1} of {len(prices)}", price)
    changes = _log_changes(prices)
    if len(changes) < 2:
        problem = f"{len(changes)} changes between neighbouring periods, 2 needed"
        raise IndicatorError(name, "prices", problem)
    mean = math.fsum(changes) / len(changes)
    variance = math.fsum((change - mean) ** 2 for change in changes) / (len(changes) - 1)
    return math.sqrt(variance * periods_per_year)


def mirror_gap(reported_by_importer: float, reported_by_exporter: float) -> float:
    """Importer's figure of one trade / exporter's − 1: above zero the importer reports more.

    Both in one unit over the same months. Raises IndicatorError for an exporter's figure not above zero.
    """
    _at_least_zero("mirror_gap", "reported_by_importer", reported_by_importer)
    _above_zero("mirror_gap", "reported_by_exporter", reported_by_exporter)
    return reported_by_importer / reported_by_exporter - 1


def ndfeb_share(
    unit_value: float,
    ferrite: tuple[float, float, float] = FERRITE_USD_PER_KG,
    ndfeb: tuple[float, float, float] = NDFEB_USD_PER_KG,
) -> ShareRange:
    """Share of NdFeB in the tonnes of a customs code that mixes it with ferrite, from its unit value.

    (UV − UV_ferrite) / (UV_NdFeB − UV_ferrite), kept in 0–1, all in USD/kg; `ferrite` and `ndfeb` are
    low, central, high. The low share takes both kinds as dear, the high one both as cheap. It assumes that
    the code holds just these two. Own method, derived. Raises IndicatorError for a unit value below the
    cheapest ferrite: then the tonnes or the value are wrong, or something else is in the code.
    """
    name = "ndfeb_share"
    for field, prices in (("ferrite", ferrite), ("ndfeb", ndfeb)):
        if not 0 < prices[0] <= prices[1] <= prices[2] < math.inf:
            problem = f"low {prices[0]:g}, central {prices[1]:g}, high {prices[2]:g} USD/kg are not in order"
            raise IndicatorError(name, field, problem)
    if not ferrite[2] < ndfeb[0]:
        problem = f"its lowest, {ndfeb[0]:g} USD/kg, must be above ferrite's highest, {ferrite[2]:g} USD/kg"
        raise IndicatorError(name, "ndfeb", problem)
    _above_zero(name, "unit_value", unit_value)
    if unit_value < ferrite[0]:
        problem = (
            f"{unit_value:.2f} USD/kg is below the cheapest ferrite, {ferrite[0]:g} USD/kg; "
            "check the tonnes and the value, or lower ferrite's price"
        )
        raise IndicatorError(name, "unit_value", problem)
    dear, central, cheap = (
        min(1.0, max(0.0, (unit_value - ferrite[i]) / (ndfeb[i] - ferrite[i]))) for i in (2, 1, 0)
    )
    return ShareRange(dear, central, cheap)


# --- of a projection --------------------------------------------------------


def supply_indicators(
    projection: MarketProjection,
    governance: Mapping[str, GovernanceScore] | None = None,
    *,
    stock: Factor | None = None,
) -> tuple[Indicator, ...]:
    """What a projection says of a market's exposure, from its mean tonnes over the whole horizon.

    Supply is after licences; memo lines and what licences keep back don't count. What can't be computed
    is left out: all but stock cover for projections without monthly tonnes, concentration when nothing
    is supplied, import reliance for the world, N-1 for an importer that no named country supplies.
    `stock` is the market's usual stock: it lends its source and confidence to the cover; without it, a
    market that never holds any stock shows no cover.
    """
    if not projection.months:
        raise IndicatorError(projection.market, "months", "there is none")
    supply = _totals(projection, "supply")
    demand = _totals(projection, "demand")
    by_origin: dict[str, float] = defaultdict(float)
    for line, tonnes in supply:
        by_origin[line.origin or NOT_STATED] += tonnes
    span = f"mean of all draws over {len(projection.months)} months"
    found = [
        _origin_concentration(by_origin, supply, span),
        _origin_governance(by_origin, supply, governance or {}, span),
        _without_the_largest(projection.importer, by_origin, supply, demand, span),
        _reliance(projection.importer, supply, span),
        _cover(projection, (*supply, *demand), stock),
    ]
    return tuple(indicator for indicator in found if indicator is not None)


Lines = Sequence[tuple[ComponentShare, float]]


def _totals(projection: MarketProjection, side: str) -> Lines:
    """Lines of a side that deliver or need anything, each with its tonnes over the horizon."""
    totals = []
    for line in projection.components:
        if line.side != side or not line.monthly_t:
            continue
        place = f"{line.name}: monthly_t"
        if len(line.monthly_t) != len(projection.months):
            problem = f"{len(line.monthly_t)} months, the projection has {len(projection.months)}"
            raise IndicatorError(projection.market, place, problem)
        for tonnes in line.monthly_t:
            # What a licence keeps back is taken off: nothing can come out as a hair less than nothing.
            _at_least_zero(projection.market, place, 0.0 if abs(tonnes) < ROUNDING_T else tonnes)
        if (total := math.fsum(line.monthly_t)) > len(line.monthly_t) * ROUNDING_T:
            totals.append((line, total))
    return totals


def _origin_concentration(
    by_origin: Mapping[str, float], supply: Lines, span: str
) -> Indicator | None:
    if not supply:
        return None
    value = hhi(by_origin)
    reading = _hhi_class(value)
    if NOT_STATED in by_origin:
        unknown = by_origin[NOT_STATED] / math.fsum(by_origin.values())
        reading += f"; {_percents(unknown)} of supply states no origin and counts as one"
    return Indicator(
        name="hhi_origins",
        title="Concentration of supply by origin (HHI)",
        value=value,
        unit="0-10000",
        reading=reading,
        confidence=_weakest("hhi_origins", supply),
        source=f"squared shares of {_counted(len(by_origin), 'origin')}, {span}; classes of DERA and KOMIS",
    )


def _origin_governance(
    by_origin: Mapping[str, float],
    supply: Lines,
    governance: Mapping[str, GovernanceScore],
    span: str,
) -> Indicator | None:
    scores = {origin: governance[origin] for origin in by_origin if origin in governance}
    if not scores:
        return None
    return _governance_indicator(
        "hhi_origins_governance",
        "Concentration of supply by origin, weighted with governance",
        by_origin,
        scores,
        [line.confidence for line, _ in supply],
        span,
    )


def _without_the_largest(
    importer: str, by_origin: Mapping[str, float], supply: Lines, demand: Lines, span: str
) -> Indicator | None:
    """N-1 over the origins abroad, which for the world are all; None when no supply names one."""
    # What the importer makes itself is no supplier that could cut it off; what states no origin is many or
    # unknown. Both stay.
    staying = {NOT_STATED, importer}
    abroad = {origin: tonnes for origin, tonnes in by_origin.items() if origin not in staying}
    if not abroad or not demand:
        return None
    largest = max(sorted(abroad), key=abroad.__getitem__)
    needed = math.fsum(tonnes for _, tonnes in demand)
    kept = math.fsum(by_origin.get(origin, 0.0) for origin in staying)
    value = n_minus_1(abroad, needed) + kept / needed
    which = "largest foreign origin" if importer else "largest origin"
    low, high = N_MINUS_1_IEA
    compared = "below" if _is_above(low, value) else "above" if _is_above(value, high) else "within"
    reading = (
        f"without {largest}: {compared} the {low * 100:.0f}–{high * 100:.0f} % that the IEA expects "
        "of rare earths in 2035"
    )
    if not _is_above(1.0, value):
        reading = f"without {largest}: demand is still met"
    return Indicator(
        name="n_minus_1",
        title=f"Demand that supply covers without its {which}",
        value=value,
        unit="share",
        reading=reading,
        confidence=_weakest("n_minus_1", (*supply, *demand)),
        source=f"supply without {largest} over demand, {span}; comparison: IEA GCMO 2025",
    )


def _reliance(importer: str, supply: Lines, span: str) -> Indicator | None:
    """What states no origin counts as imported: own plants always state theirs."""
    if not importer or not supply:
        return None
    own = math.fsum(tonnes for line, tonnes in supply if line.origin == importer)
    imports = math.fsum(tonnes for line, tonnes in supply if line.origin != importer)
    # Over what is supplied, as USGS does it: over demand, a freeze of imports would look like autonomy.
    value = net_import_reliance(imports, 0.0, own, 0.0)
    return Indicator(
        name="net_import_reliance",
        title=f"Net import reliance of {importer}",
        value=value,
        unit="share",
        reading=_reliance_class(value),
        confidence=_weakest("net_import_reliance", supply),
        source=f"supply from abroad over all supply, {span}, without stock changes; class of USGS MCS 2026",
    )


def _cover(projection: MarketProjection, used: Lines, stock: Factor | None) -> Indicator | None:
    name = "stock_cover"
    covers = [month.stock_cover_days for month in projection.months]
    if stock is None and not any(cover.p90 > 0 for cover in covers):
        return None
    words = [line.confidence for line, _ in used]
    if not words:
        # Of a projection that is older than its lines' monthly tonnes: all of them count.
        words = [c.confidence for c in projection.components if c.side in ("supply", "demand")]
    if stock is not None:
        words.append(stock.confidence)
    if not words:
        return None
    days = covers[0].p50
    sources = ["stock at the end of the first month over that month's demand, median of all draws"]
    if stock is not None:
        sources.append(f"usual stock: {stock.source}")
    return Indicator(
        name=name,
        title=f"Stock cover, end of {projection.months[0].month:%B %Y}",
        value=days,
        unit="days",
        reading=_cover_class(days),
        confidence=_weakest_word(name, words),
        source="; ".join([*sources, "colours: our proposal"]),
    )


# --- of observed series -----------------------------------------------------


def series_indicators(
    *,
    stages: Iterable[StageSeries] = (),
    prices: Iterable[ObservedSeries] = (),
    premiums: Iterable[tuple[ObservedSeries, ObservedSeries]] = (),
    mirrors: Iterable[tuple[ObservedSeries, ObservedSeries]] = (),
    mixed_codes: Iterable[tuple[ObservedSeries, ObservedSeries]] = (),
    governance: Mapping[str, GovernanceScore] | None = None,
) -> tuple[Indicator, ...]:
    """Every indicator that observed series allow; what they don't is left out, never filled in.

    `premiums` are (outside, in China), `mirrors` (by importer, by exporter), `mixed_codes` (value in USD,
    quantity in t). The functions below say what each needs.
    """
    found: list[Indicator | None] = []
    for stage in stages:
        found.append(stage_concentration(stage))
        found.append(stage_governance(stage, governance or {}))
    found += [price_volatility(series, months) for series in prices for months in WINDOWS_MONTHS]
    found += [china_premium(outside, in_china) for outside, in_china in premiums]
    found += [trade_gap(importer, exporter) for importer, exporter in mirrors]
    found += [mixed_code_share(value, quantity) for value, quantity in mixed_codes]
    return tuple(indicator for indicator in found if indicator is not None)


def stage_concentration(stage: StageSeries) -> Indicator | None:
    """HHI of a stage's output by origin (0–10,000) in the newest period in which all origins are in.

    With a world total, that is the newest in which the origins come within 5 % of it; else the newest of
    all. None when there is no such period. An origin "other countries" counts as one.
    """
    newest = _newest_output(stage)
    if newest is None:
        return None
    period, frequency, points = newest
    value = hhi({origin: point.value for origin, point in points.items()})
    return Indicator(
        name=f"hhi_{stage.stage}",
        title=f"Concentration by country (HHI): {stage.title}, {_when(period, frequency)}",
        value=value,
        unit="0-10000",
        reading=_hhi_class(value),
        confidence=_weakest_word(
            f"hhi_{stage.stage}", (point.confidence for point in points.values())
        ),
        source=f"squared shares of {_counted(len(points), 'origin')}: {_publishers(points.values())}; "
        "classes of DERA and KOMIS",
    )


def stage_governance(
    stage: StageSeries, governance: Mapping[str, GovernanceScore]
) -> Indicator | None:
    """HHI of a stage weighted with governance (0–100,000); None when no origin with output has a score."""
    newest = _newest_output(stage)
    if newest is None:
        return None
    period, frequency, points = newest
    scores = {
        origin: governance[origin]
        for origin, point in points.items()
        if origin in governance and point.value > 0
    }
    if not scores:
        return None
    return _governance_indicator(
        f"hhi_{stage.stage}_governance",
        f"Concentration by country, weighted with governance: {stage.title}, {_when(period, frequency)}",
        {origin: point.value for origin, point in points.items()},
        scores,
        [point.confidence for point in points.values()],
        _publishers(points.values()),
    )


def price_volatility(series: ObservedSeries, months: int) -> Indicator | None:
    """Annualised volatility (share) of a monthly price over the `months` changes that end with the newest.

    None when fewer than 80 % of those changes are known: a change counts between neighbouring months only.
    """
    name = f"volatility_{months}m_{series.series}"
    if series.frequency != "month":
        raise IndicatorError(name, "frequency", f"{series.frequency!r} given, 'month' needed")
    if months < 2:
        raise IndicatorError(name, "months", f"{months} given, at least 2 needed")
    if not series.points:
        return None
    by_month = {_month_number(point.period): point for point in series.points}
    last = max(by_month)
    window = range(last - months, last + 1)
    used = [by_month[month] for month in window if month in by_month]
    prices = [by_month[month].value if month in by_month else math.nan for month in window]
    for point in used:
        _above_zero(name, _when(point.period, "month"), point.value)
    changes = _log_changes(prices)
    if len(changes) < max(2, math.ceil(KNOWN_CHANGES * months)):
        return None
    value = volatility(prices, 12)
    limit = f"{VOLATILITY_HIGH * 100:.0f} % (DERA)"
    reading = (
        f"high: above {limit}" if _is_above(value, VOLATILITY_HIGH) else f"not high: up to {limit}"
    )
    # A quote that nobody renews looks like a calm market.
    same = list(takewhile(lambda point: point.value == used[-1].value, reversed(used)))
    if len(same) > 1:
        reading += f"; unchanged since {_when(same[-1].period, 'month')}, the quote may be stale"
    newest = _when(used[-1].period, "month")
    return Indicator(
        name=name,
        title=f"Volatility over {months} months: {series.title}, to {newest}",
        value=value,
        unit="share",
        reading=reading,
        confidence=_weakest_word(name, (point.confidence for point in used)),
        source=f"annualised deviation of {len(changes)} log changes: {_publishers(used)}",
    )


def china_premium(outside: ObservedSeries, in_china: ObservedSeries) -> Indicator | None:
    """Premium outside China (share) in the newest period that both prices know; None when there is none."""
    name = f"ex_china_premium_{outside.series}"
    _alike(name, outside, in_china)
    newest = _newest_common(outside, in_china)
    if newest is None:
        return None
    _require_points(name, (outside, in_china), newest, above=True)
    abroad, inside = newest
    value = ex_china_premium(abroad.value, inside.value)
    if _is_above(value, PREMIUM_RED):
        reading = f"red: above {PREMIUM_RED * 100:.0f} % (our proposal)"
    elif _is_above(value, PREMIUM_AMBER):
        reading = f"amber: above {PREMIUM_AMBER * 100:.0f} % (our proposal)"
    else:
        reading = f"green: up to {PREMIUM_AMBER * 100:.0f} % (our proposal)"
    return Indicator(
        name=name,
        title=f"Premium over China's price: {outside.title}, {_when(abroad.period, outside.frequency)}",
        value=value,
        unit="share",
        reading=reading,
        confidence=_weakest_word(name, (abroad.confidence, inside.confidence)),
        source=f"{abroad.value:,.4g} over {inside.value:,.4g} {outside.unit}: {_publishers(newest)}",
    )


def trade_gap(by_importer: ObservedSeries, by_exporter: ObservedSeries) -> Indicator | None:
    """Mirror gap (share) of a trade: over the newest common year, or twelve common months in a row.

    Both must be of the same goods and partners; fiscal and calendar years have no period in common. None
    when no such period is common, or the exporter reports nothing in it.
    """
    name = f"mirror_gap_{by_importer.series}"
    _alike(name, by_importer, by_exporter)
    pairs = _common(by_importer, by_exporter)
    monthly = by_importer.frequency == "month"
    pairs = _newest_run(pairs, MIRROR_MONTHS) if monthly else pairs[-1:]
    for pair in pairs:
        _require_points(name, (by_importer, by_exporter), pair)
    exported = math.fsum(theirs.value for _, theirs in pairs)
    if not exported > 0:
        return None
    imported = math.fsum(ours.value for ours, _ in pairs)
    value = mirror_gap(imported, exported)
    limit = f"{MIRROR_GAP_LIMIT * 100:.0f} % (our proposal)"
    wide = _is_above(abs(value), MIRROR_GAP_LIMIT)
    points = [point for pair in pairs for point in pair]
    span = _when(pairs[-1][0].period, by_importer.frequency)
    if len(pairs) > 1:
        span = f"{_when(pairs[0][0].period, 'month')} to {span}"
    return Indicator(
        name=name,
        title=f"Importer's figure against exporter's: {by_importer.title}, {span}",
        value=value,
        unit="share",
        reading=f"check the data: more than {limit} apart" if wide else f"agree: within {limit}",
        confidence=_weakest_word(name, (point.confidence for point in points)),
        source=f"{imported:,.0f} against {exported:,.0f} {by_importer.unit}: {_publishers(points)}",
    )


def mixed_code_share(value_usd: ObservedSeries, quantity_t: ObservedSeries) -> Indicator | None:
    """NdFeB in a mixed customs code (share of its tonnes) in the newest period that both series know.

    None when no period is common, nothing came in it, or its unit value is below the cheapest ferrite.
    Never surer than "derived": the prices of ferrite and NdFeB are estimates.
    """
    name = f"ndfeb_share_{quantity_t.series}"
    for series, unit in ((value_usd, "USD"), (quantity_t, "t")):
        if series.unit != unit:
            problem = f"{series.series} is in {series.unit!r}, {unit!r} needed"
            raise IndicatorError(name, "unit", problem)
    if value_usd.frequency != quantity_t.frequency:
        problem = f"{value_usd.frequency!r} and {quantity_t.frequency!r} can't be compared"
        raise IndicatorError(name, "frequency", problem)
    newest = _newest_common(value_usd, quantity_t)
    if newest is None:
        return None
    _require_points(name, (value_usd, quantity_t), newest)
    value, quantity = newest
    if quantity.value == 0:
        return None
    unit_value = value.value / quantity.value / 1000  # USD/t to USD/kg
    if unit_value < FERRITE_USD_PER_KG[0]:
        return None
    share = ndfeb_share(unit_value)
    ferrite, ndfeb = (f"{p[0]:g}–{p[2]:g}" for p in (FERRITE_USD_PER_KG, NDFEB_USD_PER_KG))
    return Indicator(
        name=name,
        title=f"NdFeB in {quantity_t.title}, {_when(quantity.period, quantity_t.frequency)}",
        value=share.central,
        unit="share",
        reading=f"{share.low * 100:.1f}–{share.high * 100:.1f} %, "
        f"with ferrite at {ferrite} and NdFeB at {ndfeb} USD/kg",
        confidence=_weakest_word(name, (value.confidence, quantity.confidence, "derived")),
        source=f"unit value {unit_value:.2f} USD/kg: {_publishers(newest)}",
    )


# --- shared -----------------------------------------------------------------

Pair = tuple[ObservedPoint, ObservedPoint]


def _percent(indicator: str, field: str, quantities: Mapping[str, float]) -> dict[str, float]:
    if not quantities:
        raise IndicatorError(indicator, field, "is empty; name at least one origin")
    for origin, quantity in quantities.items():
        _at_least_zero(indicator, f"{field}: {origin}", quantity)
    total = math.fsum(quantities.values())
    if not total > 0:
        raise IndicatorError(indicator, field, "is zero for every origin")
    return {origin: 100 * quantity / total for origin, quantity in quantities.items()}


def _at_least_zero(indicator: str, field: str, value: float) -> None:
    # NaN is not at least zero either.
    if not 0 <= value < math.inf:
        raise IndicatorError(indicator, field, f"is {value:g}, must be 0 or more")


def _above_zero(indicator: str, field: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise IndicatorError(indicator, field, f"is {value:g}, must be above 0")


def _require_points(
    indicator: str,
    series: tuple[ObservedSeries, ObservedSeries],
    pair: Pair,
    *,
    above: bool = False,
) -> None:
    """Raise IndicatorError for a figure below zero, or not above it: with the series and the period."""
    check = _above_zero if above else _at_least_zero
    for one, point in zip(series, pair, strict=True):
        check(indicator, f"{one.series}: {_when(point.period, one.frequency)}", point.value)


def _log_changes(prices: Sequence[float]) -> list[float]:
    """Log changes between neighbours that are both known."""
    return [
        math.log(after / before)
        for before, after in pairwise(prices)
        if not (math.isnan(before) or math.isnan(after))
    ]


def _weakest(indicator: str, lines: Lines) -> str:
    return _weakest_word(indicator, (line.confidence for line, _ in lines))


def _weakest_word(indicator: str, words: Iterable[str]) -> str:
    given = list(words)
    for word in given:
        if word not in CONFIDENCE_ORDER:
            problem = f"{word!r} is not one of {', '.join(CONFIDENCE_ORDER)}"
            raise IndicatorError(indicator, "confidence", problem)
    return max(given, key=CONFIDENCE_ORDER.index)


def _is_above(value: float, limit: float) -> bool:
    """Above by more than rounding: 130 over 100 is 30 % and not a hair more."""
    return value > limit and not math.isclose(value, limit, rel_tol=1e-9)


def _hhi_class(value: float) -> str:
    if _is_above(value, HHI_HIGH):
        return f"high: above {HHI_HIGH:,.0f} (DERA, KOMIS)"
    if not _is_above(HHI_MEDIUM, value):
        return f"medium: {HHI_MEDIUM:,.0f} to {HHI_HIGH:,.0f} (DERA, KOMIS)"
    return f"low: below {HHI_MEDIUM:,.0f} (DERA, KOMIS)"


def _reliance_class(value: float) -> str:
    limit = f"{RELIANCE_HIGH * 100:.0f} % (USGS)"
    return f"high: above {limit}" if _is_above(value, RELIANCE_HIGH) else f"not high: up to {limit}"


def _cover_class(days: float) -> str:
    colour = cover_colour(days)
    limit = {
        "red": f"below {COVER_RED_DAYS:.0f} days",
        "amber": f"below {COVER_AMBER_DAYS:.0f} days",
        "green": f"{COVER_AMBER_DAYS:.0f} days or more",
    }[colour]
    return f"{colour}: {limit} (our proposal)"


def _governance_indicator(
    name: str,
    title: str,
    quantities: Mapping[str, float],
    scores: Mapping[str, GovernanceScore],
    confidences: Sequence[str],
    basis: str,
) -> Indicator:
    """The weighted index as a row; nothing places its value, so the reading says what it could weigh."""
    weighted = weighted_hhi(quantities, {origin: one.score for origin, one in scores.items()})
    sources = "; ".join(dict.fromkeys(one.source for one in scores.values()))
    return Indicator(
        name=name,
        title=title,
        value=weighted.value,
        unit="0-100000",
        reading=f"{_percents(weighted.scored_share)} of the quantity has a governance score; "
        "the rest adds nothing",
        confidence=_weakest_word(
            name, [*confidences, *(one.confidence for one in scores.values())]
        ),
        source=f"{basis}; governance: {sources}",
    )


def _newest_output(
    stage: StageSeries,
) -> tuple[date, str, dict[str, ObservedPoint]] | None:
    """Newest period in which the origins are all in, its frequency, and each origin's point in it."""
    name = f"hhi_{stage.stage}"
    every = [*stage.by_origin.values(), *([stage.world] if stage.world else [])]
    for series in every[1:]:
        _alike(name, every[0], series)
    by_period: dict[date, dict[str, ObservedPoint]] = defaultdict(dict)
    for origin, series in stage.by_origin.items():
        for point in series.points:
            _at_least_zero(name, f"{origin}: {_when(point.period, series.frequency)}", point.value)
            by_period[point.period][origin] = point
    world = {point.period: point.value for point in stage.world.points} if stage.world else None
    for period in sorted(by_period, reverse=True):
        points = by_period[period]
        total = math.fsum(point.value for point in points.values())
        complete = total > 0
        if world is not None:
            published = world.get(period, 0.0)
            complete = complete and abs(total - published) <= WORLD_TOLERANCE * published
        if complete:
            return period, every[0].frequency, points
    return None


def _alike(indicator: str, first: ObservedSeries, second: ObservedSeries) -> None:
    """Raise IndicatorError unless both series have one unit and one frequency."""
    for field, one, other in (
        ("unit", first.unit, second.unit),
        ("frequency", first.frequency, second.frequency),
    ):
        if one != other:
            problem = f"{first.series} has {one!r}, {second.series} has {other!r}; they must agree"
            raise IndicatorError(indicator, field, problem)


def _common(first: ObservedSeries, second: ObservedSeries) -> list[Pair]:
    """Points of both series by period, in order, where both have one."""
    others = {point.period: point for point in second.points}
    pairs = [(point, others[point.period]) for point in first.points if point.period in others]
    return sorted(pairs, key=lambda pair: pair[0].period)


def _newest_common(first: ObservedSeries, second: ObservedSeries) -> Pair | None:
    pairs = _common(first, second)
    return pairs[-1] if pairs else None


def _newest_run(pairs: Sequence[Pair], months: int) -> list[Pair]:
    """The newest `months` pairs that follow each other without a gap; empty when there are none."""
    for stop in range(len(pairs), months - 1, -1):
        run = pairs[stop - months : stop]
        if _month_number(run[-1][0].period) - _month_number(run[0][0].period) == months - 1:
            return list(run)
    return []


def _month_number(day: date) -> int:
    return day.year * 12 + day.month - 1


def _when(period: date, frequency: str) -> str:
    if frequency == "year":
        # A fiscal year is named by its first month: "2024" would be taken for the calendar's.
        return f"{period.year}" if period.month == 1 else f"year from {period:%B %Y}"
    return f"{period:%B %Y}" if frequency == "month" else period.isoformat()


def _publishers(points: Iterable[ObservedPoint]) -> str:
    return ", ".join(dict.fromkeys(point.source_id for point in points))


def _percents(share: float) -> str:
    """Whole percent; a part that is neither none nor all is never rounded to it."""
    if 0 < share < 0.01:
        return "less than 1 %"
    return "more than 99 %" if 0.99 < share < 1 else f"{share * 100:.0f} %"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
