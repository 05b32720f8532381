"""What operators see of a run in the Prefect UI: tables and pictures as plain text, published elsewhere."""

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from alerts.lifecycle import Incident
from alerts.wording import day, month, number, percent, period, span
from flows.sentences import market_sentence, price_sentence
from flows.validation import RejectedRow
from forecasting.results import MEDIAN, MarketProjection, SeriesForecast

MAX_IMAGE_BYTES = 100_000
"""Prefect keeps the picture inside the artifact's text: larger ones make its pages slow."""

TOO_LARGE = "(The picture is too large to be kept here; the outlook shows it.)"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A table or a page of Markdown under a key whose history the UI keeps."""

    key: str  # lower case, digits and dashes: Prefect refuses others
    description: str
    markdown: str = ""
    table: tuple[Mapping[str, str], ...] = ()


class IngestedSource(Protocol):
    """What became of one source's rows."""

    @property
    def source(self) -> str: ...
    @property
    def read(self) -> int: ...
    @property
    def new(self) -> int: ...
    @property
    def revised(self) -> int: ...
    @property
    def unchanged(self) -> int: ...
    @property
    def quarantined(self) -> int: ...
    @property
    def newest_period(self) -> date | None: ...
    @property
    def age_days(self) -> int | None: ...
    @property
    def next_expected(self) -> date | None: ...
    @property
    def error(self) -> str: ...
    @property
    def gaps(self) -> Sequence[str]: ...


def ingest_table(kind: str, sources: Iterable[IngestedSource]) -> Artifact:
    """One row a source: what it brought, how old its newest figure is, what went wrong."""
    rows = tuple(
        {
            "source": one.source,
            "rows read": str(one.read),
            "new": str(one.new),
            "revised": str(one.revised),
            "unchanged": str(one.unchanged),
            "quarantined": str(one.quarantined),
            "newest period": one.newest_period.isoformat() if one.newest_period else "none",
            "age in days": "unknown" if one.age_days is None else str(one.age_days),
            "next expected": one.next_expected.isoformat() if one.next_expected else "unknown",
            "gaps": f"{len(one.gaps)} series" if one.gaps else "none",
            "problem": one.error or "none",
        }
        for one in sources
    )
    return Artifact(
        key=f"ingest-{kind}",
        description=f"What each {kind} source brought: rows that are new, revised, or turned away.",
        table=rows or ({"source": f"no {kind} source"},),
    )


def quarantine_page(
    kind: str, sources: Iterable[IngestedSource], rows: Sequence[RejectedRow]
) -> Artifact:
    """Samples of the rows that were turned away, with the reason; and the gaps in what came."""
    sources = list(sources)
    refused = sum(one.quarantined for one in sources)
    lines = [f"# {kind.capitalize()} figures that were turned away", ""]
    if not refused:
        lines.append("None: every row that was read is kept.")
    else:
        lines += [
            f"{refused} rows were read and not kept. Nothing that was kept before is touched; the next "
            "ingest reads them again.",
            "",
        ]
        # A list, not a table: Prefect's tables don't wrap, and the reason would be cut off.
        for row in rows:
            place = f"{_plain(row.source)}, {_plain(row.file)} row {row.row}"
            lines.append(f"- **{place}**: {_plain(row.reason)}  \n  {_code(row.raw)}")
        if refused > len(rows):
            lines += ["", f"{refused - len(rows)} more: `lodestone data quarantine`"]
    gaps = [(one.source, gap) for one in sources for gap in one.gaps]
    if gaps:
        lines += [
            "",
            "## Gaps",
            "",
            "Periods that the calendar has between the first and the newest row, and the source has not.",
            "",
            *(f"- {_plain(source)}: {_plain(gap)}" for source, gap in gaps),
        ]
    return Artifact(
        key=f"quarantine-{kind}",
        description=f"Rows of {kind} sources that were turned away, and why.",
        markdown="\n".join(lines),
    )


def forecast_page(forecast: SeriesForecast, draw: Callable[[SeriesForecast], bytes]) -> Artifact:
    """The fan of one series, the sentence why this model speaks, its numbers and its scores."""
    unit = forecast.unit
    lines = [
        f"# {forecast.title}",
        "",
        forecast.reason,
        "",
        _picture(draw(forecast), f"{forecast.title}: history and forecast fan"),
        "",
        price_sentence(forecast),
        f"{forecast.observations} observations, known by {day(forecast.vintage)}.",
        "",
        f"| period | 1 in 10 below | median ({unit}) | 1 in 10 above |",
        "| --- | ---: | ---: | ---: |",
    ]
    for when, quantiles in zip(forecast.periods, forecast.quantiles, strict=True):
        low, middle, high = (number(quantiles[index]) for index in (1, MEDIAN, -2))
        lines.append(f"| {period(when, forecast.frequency)} | {low} | {middle} | {high} |")
    if forecast.scores:
        lines += [
            "",
            "| model | past cutoffs | CRPS against Gaussian walk | 80 % interval held |",
            "| --- | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {score.model} | {score.cutoffs} | {score.rel_crps:.2f} | {percent(score.coverage_80)} |"
            for score in forecast.scores
        ]
    return Artifact(
        key=f"forecast-{_key(forecast.series)}",
        description=f"Forecast of {forecast.title}, {unit}",
        markdown="\n".join(lines),
    )


def market_page(
    projections: Sequence[MarketProjection], draw: Callable[[Sequence[MarketProjection]], bytes]
) -> Artifact:
    """One market under its scenarios: the balance fan, the shortfall each expects, and what it rests on."""
    first = projections[0]
    lines = [
        f"# {first.title}",
        "",
        f"Balance of {first.product}; figures known by {day(first.vintage)}, "
        f"data through {month(first.data_through)}.",
        "",
        market_sentence(projections),
        "",
        _picture(draw(projections), f"{first.title}: supply, demand and shortfall"),
        "",
        "| scenario | first month with more than 5 % unmet, at even odds |",
        "| --- | --- |",
    ]
    for one in projections:
        crossing = one.first_month_above(0.05)
        lines.append(f"| {one.scenario_title} | {month(crossing) if crossing else 'none'} |")
    lines += [
        "",
        "| line | side | t a year, 80 % range | of uncertainty | evidence |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    lines += [
        f"| {part.name} | {part.side} "
        f"| {span(part.tonnes_per_year.p10, part.tonnes_per_year.p90, '')} "
        f"| {percent(part.variance_share)} | {part.confidence} |"
        for part in first.components
    ]
    lines += ["", *(f"- {note}" for note in first.notes)]
    return Artifact(
        key=f"market-{_key(first.market)}",
        description=f"Balance of {first.title}: {', '.join(one.scenario for one in projections)}",
        markdown="\n".join(lines),
    )


def incidents_table(incidents: Iterable[Incident]) -> Artifact:
    """The open incidents, most severe first, as their headlines say it."""
    ordered = sorted(incidents, key=lambda one: (-one.severity, one.opened_at, one.id))
    rows = tuple(
        {
            "severity": one.severity.name.lower(),
            "state": one.state.value,
            "since": f"{one.since:%Y-%m-%d}",
            "headline": one.reading.headline,
            "rule": one.rule,
            "incident": one.id,
        }
        for one in ordered
    )
    return Artifact(
        key="incidents",
        description="Open incidents. None means that no rule's limit is crossed.",
        table=rows or ({"headline": "No open incident."},),
    )


def _picture(png: bytes, alt_text: str) -> str:
    if len(png) > MAX_IMAGE_BYTES:
        return TOO_LARGE
    return f"![{alt_text}](data:image/png;base64,{base64.b64encode(png).decode('ascii')})"


def _plain(text: str) -> str:
    """A publisher's text as text: it must not become markup."""
    escaped = re.sub(r"([\\`*_{}\[\]#|~])", r"\\\1", text.replace("<", "&lt;"))
    return " ".join(escaped.split())


def _code(text: str) -> str:
    text = " ".join(text.replace("`", "'").split())
    return f"`{text}`" if text else "(empty)"


def _key(name: str) -> str:
    return name.lower().replace("_", "-")
