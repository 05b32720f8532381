"""One sentence each: a forecast, a market, a model's verdict, and what silence means; for pages and terminals."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.wording import amount, day, number, percent, percent_span, period, span
from forecasting.results import MEDIAN, QUANTILE_LEVELS, MarketProjection, SeriesForecast, quantile

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
    """The shortfall over the next six months, base case and scenarios."""
    parts = []
    months = min(SUMMARY_MONTHS, len(projections[0].months))
    for projection in projections:
        shares = projection.shortfall_shares(months)
        p10, p50, p90 = (quantile(shares, level) for level in (0.1, 0.5, 0.9))
        title = projection.scenario_title
        if not title.startswith(_NAMES):
            title = title[:1].lower() + title[1:]
        name = "base case" if projection.scenario == "base" else f"if {title}"
        parts.append(f"{name} {percent(p50)} of demand unmet (80 % range {percent_span(p10, p90)})")
    return f"{projections[0].title}, next {months} months: {'; '.join(parts)}."


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
