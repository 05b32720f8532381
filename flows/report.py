"""The outlook: one self-contained page with incidents, markets, prices, evidence and data health."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from alerts.lifecycle import Incident
from alerts.messages import is_replay
from alerts.wording import chance, day, percent, percent_span, period
from flows.sentences import (
    SUMMARY_MONTHS,
    Judged,
    ModelVerdict,
    change_sentence,
    indicator_value,
    market_sentence,
    price_sentence,
    signed_tonnes,
    silence_sentence,
)
from flows.storage.observations import IngestRun
from forecasting.charts import balance_fan, price_fan
from forecasting.market.explain import sentence
from forecasting.results import (
    Interval,
    MarketProjection,
    SeriesForecast,
    SourceState,
    Waterfall,
    quantile,
)


@dataclass(frozen=True, slots=True)
class Outlook:
    """Everything the page shows, as known at one moment."""

    known_at: datetime
    book: str
    incidents: Sequence[Incident]
    forecasts: Sequence[SeriesForecast]  # prices only
    refused: Mapping[str, str]
    projections: Sequence[MarketProjection]  # base case first within each market
    sources: Sequence[SourceState]
    ingests: Sequence[IngestRun]  # empty in a look into the past
    judged: Judged | None
    unjudged: Sequence[str]  # subject and why, of what the rules can't judge now
    # By title: what the rule on models says of the newest backtest.
    verdicts: Mapping[str, ModelVerdict] = field(default_factory=dict)
    # By market and scenario: the base case against what was said before, a scenario against the base case.
    changes: Mapping[tuple[str, str], Waterfall] = field(default_factory=dict)


def render(outlook: Outlook) -> str:
    """The page as HTML. Nothing in it refers to another file or address."""
    environment = Environment(
        loader=PackageLoader("flows"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    severities = [incident.severity.name.lower() for incident in outlook.incidents]
    worst = next((word for word in ("critical", "warning", "info") if word in severities), "")
    return environment.get_template("outlook.html.j2").render(
        as_of=f"{outlook.known_at:%-d %B %Y}",
        known_at=f"{outlook.known_at:%-d %B %Y, %H:%M} UTC",
        replay=is_replay(outlook.book),
        worst=worst,
        summary=_summary(outlook, severities),
        incidents=[_incident(incident, outlook.book) for incident in outlook.incidents],
        unjudged=outlook.unjudged,
        markets=[_market(group, outlook.changes) for group in _by_market(outlook.projections)],
        prices=[_price(forecast) for forecast in outlook.forecasts],
        refused=sorted(outlook.refused.items()),
        scores=[row for forecast in outlook.forecasts for row in _scores(forecast)],
        verdicts=sorted((name, str(one)) for name, one in outlook.verdicts.items()),
        health=[_health(state, outlook.known_at) for state in outlook.sources],
        ingests=[
            {
                "at": f"{run.at:%Y-%m-%d %H:%M} UTC",
                "source": run.source,
                "read": run.read,
                "new": run.new,
                "revised": run.revised,
                "unchanged": run.unchanged,
                "quarantined": run.quarantined,
                "error": run.error,
            }
            for run in outlook.ingests
        ],
    )


def _summary(outlook: Outlook, severities: Sequence[str]) -> str:
    if not severities:
        return silence_sentence(outlook.judged)
    counts = [
        f"{severities.count(word)} {word}"
        for word in ("critical", "warning", "info")
        if word in severities
    ]
    noun = "incident is" if len(severities) == 1 else "incidents are"
    return f"{len(severities)} {noun} open: {', '.join(counts)}."


def _by_market(projections: Sequence[MarketProjection]) -> list[list[MarketProjection]]:
    groups: dict[str, list[MarketProjection]] = {}
    for projection in projections:
        groups.setdefault(projection.market, []).append(projection)
    return list(groups.values())


def _incident(incident: Incident, book: str) -> dict[str, Any]:
    reading = incident.reading
    return {
        "id": incident.id,
        "severity": incident.severity.name.lower(),
        "state": incident.state.value,
        "since": f"open on {day(incident.since)}"
        if is_replay(book)
        else f"since {day(incident.since)}",
        "headline": reading.headline,
        "lead": reading.advice,
        "facts": reading.facts,
        "drivers": reading.drivers,
        "evidence": reading.evidence,
    }


def _market(
    group: Sequence[MarketProjection], changes: Mapping[tuple[str, str], Waterfall]
) -> dict[str, Any]:
    base = group[0]
    change = changes.get((base.market, base.scenario))
    return {
        "title": base.title,
        "unit": base.unit,
        "sentence": market_sentence(group),
        "chart": base64.b64encode(balance_fan(group)).decode(),
        "change": change_sentence(change) if change else "",
        "indicators": [
            {
                "title": one.title,
                "value": indicator_value(one),
                "reading": one.reading,
                "confidence": one.confidence,
            }
            for one in base.indicators
        ],
        "near": min(SUMMARY_MONTHS, len(base.months)),
        "scenarios": [_scenario(one, base, changes) for one in group],
        "rows": [
            {
                "month": f"{month.month:%b %Y}",
                "supply": _tonnes(month.supply_t),
                "demand": _tonnes(month.demand_t),
                "share": _share(month.shortfall_share),
                "chance": "–"
                if math.isnan(month.shortfall_chance)
                else chance(month.shortfall_chance),
                "cover": f"{month.stock_cover_days.p50:.0f}",
            }
            for month in base.months
        ],
        "components": [
            {
                "name": c.name,
                "side": {"memo": "embedded, not balanced", "loss": "kept back"}.get(c.side, c.side),
                "tonnes": _tonnes(c.tonnes_per_year),
                "share": percent(c.variance_share),
                "confidence": c.confidence,
                "source": c.source,
            }
            for c in base.components
        ],
        "notes": base.notes,
    }


def _scenario(
    one: MarketProjection,
    base: MarketProjection,
    changes: Mapping[tuple[str, str], Waterfall],
) -> dict[str, str]:
    shares = one.shortfall_shares(min(SUMMARY_MONTHS, len(one.months)))
    low, middle, high = (quantile(shares, level) for level in (0.1, 0.5, 0.9))
    change = None if one is base else changes.get((one.market, one.scenario))
    return {
        "title": one.scenario_title,
        "share": _share(Interval(low, middle, high)),
        "adds": "–" if change is None else signed_tonnes(change.after_t - change.before_t),
        "why": "" if change is None else sentence(change),
    }


def _price(forecast: SeriesForecast) -> dict[str, Any]:
    return {
        "title": forecast.title,
        "sentence": price_sentence(forecast),
        "chart": base64.b64encode(price_fan(forecast)).decode(),
        "reason": forecast.reason,
    }


def _scores(forecast: SeriesForecast) -> list[dict[str, Any]]:
    return [
        {
            "series": forecast.title,
            "model": score.model,
            "speaks": score.model == forecast.model,
            "crps": f"{score.rel_crps:.2f}",
            "mae": f"{score.rel_mae:.2f}",
            "c80": percent(score.coverage_80),
            "c95": percent(score.coverage_95),
            "cutoffs": score.cutoffs,
        }
        for score in forecast.scores
    ]


def _health(state: SourceState, known_at: datetime) -> dict[str, Any]:
    if state.newest_known_at is None:
        return {
            "title": state.title,
            "through": "nothing",
            "age": "–",
            "limit": state.limit_days,
            "state": "empty",
        }
    age = (known_at - state.newest_known_at).days
    return {
        "title": state.title,
        "through": period(state.newest_period, state.frequency)
        if state.newest_period
        else "nothing",
        "age": age,
        "limit": state.limit_days,
        "state": "stale" if state.is_stale(known_at) else "fresh",
    }


def _tonnes(value: Interval) -> str:
    return f"{value.p50:,.0f} ({value.p10:,.0f}–{value.p90:,.0f})"


def _share(value: Interval) -> str:
    return f"{percent(value.p50)} ({percent_span(value.p10, value.p90)})"
