"""A forecast or a market in one sentence: what a picture says, for those who can't see it."""

from collections.abc import Sequence

from alerts.wording import amount, number, percent, percent_span, period, span
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
