"""One sentence each: a forecast, a market, a change, a model's verdict, what silence means; for pages and terminals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.wording import amount, day, days, number, percent, percent_span, period, span
from forecasting.market.explain import sentence
from forecasting.results import (
    MEDIAN,
    QUANTILE_LEVELS,
    Indicator,
    MarketProjection,
    SeriesForecast,
    Waterfall,
    quantile,
)

BASE = "base"
"""The scenario that changes nothing."""
SUMMARY_MONTHS = 6
_LOW, _HIGH = QUANTILE_LEVELS.index(0.1), QUANTILE_LEVELS.index(0.9)
_NAMES = ("China", "India", "Myanmar")


def price_sentence(forecast: SeriesForecast) -> str:
    """The last price and the range three periods ahead."""
    step = min(3, len(forecast.periods)) - 1
    quantiles = forecast.quantiles[step]
    then = period(forecast.periods[step], forecast.frequency)
    return (
        f"{forecast.title}: {amount(forecast.last_value, forecast.unit)} in "
        f"{period(forecast.cutoff, forecast.frequency)}; {then} {number(quantiles[MEDIAN])} "
        f"(80 % range {span(quantiles[_LOW], quantiles[_HIGH], forecast.unit)})."
    )


def market_sentence(projections: Sequence[MarketProjection]) -> str:
    """The shortfall over the next six months: the first projection, and the worst of the others."""
    first, *others = projections
    months = min(SUMMARY_MONTHS, len(first.months))

    def unmet(projection: MarketProjection) -> tuple[float, float, float]:
        shares = projection.shortfall_shares(months)
        return quantile(shares, 0.5), quantile(shares, 0.9), quantile(shares, 0.1)

    told = [first]
    if others:
        told.append(max(others, key=unmet))
    parts = []
    for projection in told:
        p50, p90, p10 = unmet(projection)
        parts.append(
            f"{scenario_words(projection)} {percent(p50)} of demand unmet "
            f"(80 % range {percent_span(p10, p90)})"
        )
    if len(others) > 1:
        parts[1] = f"at worst, of {len(others)} scenarios, {parts[1]}"
    over = "month" if months == 1 else f"{months} months"
    return f"{first.title}, next {over}: {'; '.join(parts)}."


def scenario_words(projection: MarketProjection) -> str:
    """A scenario inside a sentence: "base case", "if China all but stops export licences"."""
    if projection.scenario == BASE:
        return "base case"
    title = projection.scenario_title
    # A name or an abbreviation keeps its capital.
    if not title.startswith(_NAMES) and not title[1:2].isupper():
        title = title[:1].lower() + title[1:]
    return f"if {title}"


def known_words(known_at: datetime, *, with_time: bool = False) -> str:
    """A moment inside a sentence: "as known on 21 March 2025"."""
    text = f"as known on {known_at.day} {known_at:%B %Y}"
    return f"{text}, {known_at:%H:%M:%S} UTC" if with_time else text


def change_sentence(change: Waterfall) -> str:
    """Why the expected shortfall differs, and from what: "As known on 21 June 2025, against …: expected …"."""
    told = sentence(change)
    against = f"{change.after[:1].upper()}{change.after[1:]}, against {change.before}"
    return f"{against}: {told[:1].lower()}{told[1:]}"


def indicator_value(indicator: Indicator) -> str:
    """An indicator's figure with its unit: "5,192 of 10,000", "62 %", "18 days"; "unknown" without one."""
    value = indicator.value
    if not math.isfinite(value):
        return "unknown"
    match indicator.unit:
        case "share":
            return percent(value)
        case "days":
            return days(value)
        case unit if unit.startswith("0-"):
            return f"{number(value)} of {int(unit[2:]):,}"
        case unit:
            return amount(value, unit)


def tonnes_of(value: float) -> str:
    """Whole tonnes, one decimal below ten, since a small market is short by little; a dash for what isn't known."""
    if math.isnan(value):
        return "–"
    text = f"{value:,.1f}" if abs(value) < 9.95 else f"{value:,.0f}"
    text = text.removesuffix(".0")
    return "0" if text == "-0" else text


def signed_tonnes(value: float) -> str:
    """A change in tonnes with its sign; what rounds to nothing has none: "+2,222", "-34", "0"."""
    text = tonnes_of(abs(value))
    if text in ("0", "–"):
        return text
    return f"{'-' if value < 0 else '+'}{text}"


@dataclass(frozen=True, slots=True)
class ModelVerdict:
    """What the rule on models says of a scorecard: "holds up (1.01 times the error of "as today" …)"."""

    word: str  # "holds up" | "borderline" | "degraded" | "not judged"
    why: str  # the measure, or why there is none

    def __str__(self) -> str:
        return f"{self.word} ({self.why})"


@dataclass(frozen=True, slots=True)
class Judged:
    """When the rules were last judged, on how many subjects, and how many of them could not be."""

    known_at: datetime
    subjects: int
    not_judged: int


def silence_sentence(judged: Judged | None) -> str:
    """What it means that no incident is open: nothing crossed, or nobody looked."""
    if judged is None:
        return "No rule has been judged yet: this says nothing about the market."
    when = f"as known on {day(judged.known_at)}"
    if judged.not_judged:
        return (
            f"Nothing that could be judged crosses a limit, {when}; "
            f"{judged.not_judged} of {judged.subjects} subjects could not be judged."
        )
    return f"Nothing crosses a limit: {judged.subjects} subjects judged, {when}."
