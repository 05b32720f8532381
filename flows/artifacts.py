"""What operators see of a run in the Prefect UI: tables and pictures as plain text, published elsewhere."""

import base64
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from alerts.incident import Incident
from alerts.scoring import Quality
from alerts.silences import Silence
from alerts.wording import day, month, number, percent, percent_span, period, span
from flows.sentences import (
    SUMMARY_MONTHS,
    ModelVerdict,
    change_sentence,
    indicator_value,
    market_sentence,
    price_sentence,
    signed_tonnes,
)
from flows.storage.ledger import Transition
from flows.validation import RejectedRow
from forecasting.results import (
    MEDIAN,
    MarketProjection,
    Score,
    Scorecard,
    SeriesForecast,
    Waterfall,
    quantile,
)

MAX_IMAGE_BYTES = 100_000
"""Prefect keeps the picture inside the artifact's text: larger ones make its pages slow."""

ROWS_SHOWN = 40
"""Entries of a list that a page shows: with hundreds nobody finds the first one."""

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
            "| model | past cutoffs | CRPS against Gaussian walk | 50 % interval held | 80 % | 95 % |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {score.model} | {score.cutoffs} | {score.rel_crps:.2f} | {_held(score)} |"
            for score in forecast.scores
        ]
    return Artifact(
        key=f"forecast-{_key(forecast.series)}",
        description=f"Forecast of {forecast.title}, {unit}",
        markdown="\n".join(lines),
    )


def backtest_page(
    card: Scorecard, verdict: ModelVerdict, draw: Callable[[Scorecard], bytes]
) -> Artifact:
    """How the models of one series did at past cutoffs: scores, who speaks and why, what ranges held."""
    steps = f"{card.horizon} {card.frequency}{'' if card.horizon == 1 else 's'}"
    lines = [
        f"# {card.title}: backtest",
        "",
        card.reason,
        "",
        f"The service's own choice at the newest cutoffs: **{verdict}**.",
        "",
        _picture(
            draw(card),
            f"{card.title}: outcomes held by the ranges, outcomes by tenth, and error by cutoff",
        ),
        "",
        f"Every model forecast {steps} ahead from the same past cutoffs, seeing only what lay before each. "
        "Errors are on logarithms where values allow it. CRPS and MAE (error of the middle) are against the "
        "Gaussian walk's: below 1.00 is better. MASE is in mean one-period changes. Then the share of "
        "outcomes that each range held, and the bias: above zero, too much was forecast.",
        "",
        "| model | cutoffs | CRPS | MAE | MASE | 50 % held | 80 % | 95 % | bias |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {f'**{score.model}** (speaks)' if score.model == card.model else score.model} "
        f"| {score.cutoffs} | {_figure(score.rel_crps)} | {_figure(score.rel_mae)} | {_figure(score.mase)} "
        f"| {_held(score)} | {_figure(score.bias, '+.3f')} |"
        for score in card.scores
    ]
    if card.checks:
        lines += [
            "",
            "What the service would have said at each cutoff, newest first:",
            "",
            "| last period seen | model | CRPS | Gaussian walk's | 80 % interval held |",
            "| --- | --- | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {period(check.cutoff, card.frequency)} | {check.model} | {check.crps:.3f} "
            f"| {check.walk_crps:.3f} | {percent(check.held_80)} |"
            for check in reversed(card.checks)
        ]
    lines += ["", f"Figures known by {day(card.vintage)}."]
    return Artifact(
        key=f"backtest-{_key(card.series)}",
        description=f"How the forecasts of {card.title} did at past cutoffs",
        markdown="\n".join(lines),
    )


def backtest_table(
    cards: Iterable[Scorecard],
    verdicts: Mapping[str, ModelVerdict],
    refused: Mapping[str, str],
    newest: int,
) -> Artifact:
    """One row a series: who speaks, how the service's own choices did in all and lately, and the verdict."""
    rows = [
        {
            "series": card.series,
            "verdict": verdicts[card.series].word,
            "model": card.model,
            "cutoffs": str(len(card.checks)),
            "CRPS": _figure(card.recent(len(card.checks))[0]),
            f"CRPS, newest {newest}": _figure(card.recent(newest)[0]),
            f"80 % held, newest {newest}": _share(card.recent(newest)[1]),
            "why": verdicts[card.series].why,
        }
        for card in cards
    ]
    rows += [
        {"series": name, "verdict": "no backtest", "why": why} for name, why in refused.items()
    ]
    return Artifact(
        key="backtests",
        description="What the service would have said at past cutoffs of each series; CRPS against the "
        "Gaussian walk's, lower is better.",
        table=tuple(rows) or ({"series": "no series is forecast"},),
    )


def _held(score: Score) -> str:
    """Three cells: the shares of outcomes inside the 50, 80 and 95 % intervals."""
    return " | ".join(map(_share, (score.coverage_50, score.coverage_80, score.coverage_95)))


def _figure(value: float, spec: str = ".2f") -> str:
    return "–" if math.isnan(value) else f"{value:{spec}}"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else percent(value)


def market_page(
    projections: Sequence[MarketProjection],
    changes: Mapping[tuple[str, str], Waterfall],
    pictures: Iterable[tuple[str, bytes]],
    unexplained: str = "",
) -> Artifact:
    """One market under its scenarios, base case first: pictures, what changed, scenarios, indicators, components.

    `pictures` are words for what each shows, and its PNG; `unexplained` why what changed can't be told.
    """
    first = projections[0]
    change = changes.get((first.market, first.scenario))
    told = "Nothing earlier to compare this projection with."
    if change is not None:
        told = change_sentence(change)
    elif unexplained:
        told = f"What changed can't be told: {unexplained}"
    lines = [
        f"# {first.title}",
        "",
        f"Balance of {first.product}; figures known by {day(first.vintage)}, "
        f"data through {month(first.data_through)}.",
        "",
        market_sentence(projections),
        "",
        told,
        "",
    ]
    for words, png in pictures:
        lines += [_picture(png, f"{first.title}: {words}"), ""]
    lines += _scenario_table(projections, changes)
    if first.indicators:
        lines += [
            "",
            # A list, not a table: Prefect's tables don't wrap, and the reading would be cut off.
            *(
                f"- {_plain(one.title)}: **{indicator_value(one)}**"
                f"{f', {_plain(one.reading)}' if one.reading else ''} ({one.confidence})"
                for one in first.indicators
            ),
        ]
    lines += [
        "",
        f"| line | side | {first.unit} a year, 80 % range | of uncertainty | evidence |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    lines += [
        f"| {_cell(part.name)} | {part.side} "
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


def _scenario_table(
    projections: Sequence[MarketProjection], changes: Mapping[tuple[str, str], Waterfall]
) -> list[str]:
    """One row a scenario: what stays unmet soon, from when much does, and what it adds to the base case."""
    months = min(SUMMARY_MONTHS, len(projections[0].months))
    lines = [
        # Short heads and names: Prefect's tables don't wrap.
        f"| scenario | unmet, {months} months | over 5 % from | against base, {projections[0].unit} |",
        "| --- | ---: | --- | ---: |",
    ]
    for one in projections:
        shares = one.shortfall_shares(months)
        low, middle, high = (quantile(shares, level) for level in (0.1, 0.5, 0.9))
        crossing = one.first_month_above(0.05)
        change = None if one is projections[0] else changes.get((one.market, one.scenario))
        adds = "–" if change is None else signed_tonnes(change.after_t - change.before_t)
        lines.append(
            f"| {_cell(one.scenario)} | {percent(middle)} ({percent_span(low, high)}) "
            f"| {month(crossing) if crossing else 'none'} | {adds} |"
        )
    return lines


def alerts_page(
    incidents: Sequence[Incident],
    told: Mapping[str, str],
    steps: Sequence[tuple[Incident, Transition]],
    silences: Sequence[Silence],
    unjudged: Sequence[str],
) -> Artifact:
    """What rules say now: open incidents, what this run changed, silences that last, what could not be judged.

    `told` says by incident's id where each stands.
    """
    # Lists, not tables: Prefect's tables don't wrap, and headlines would be cut off.
    lines = ["# Alerts", "", "## Open", ""]
    lines += _shown(
        [_open_line(one, told.get(one.id, "")) for one in _most_severe_first(incidents)],
        "No open incident: no limit is crossed in what could be judged.",
        "`lodestone alerts list`",
    )
    lines += ["", "## Changed in this run", ""]
    lines += _shown(
        [_step_line(incident, step) for incident, step in steps],
        "Nothing: every incident stands as it stood before.",
        "`lodestone alerts list --all`",
    )
    lines += ["", "## Silences that last", ""]
    lines += _shown(
        [
            f"- `{' '.join(f'{label}={value}' for label, value in one.match).replace('`', chr(39))}` "
            f"until {day(one.until)}, {one.until:%H:%M} UTC, by {_plain(one.author)}: {_plain(one.reason)}"
            for one in silences
        ],
        "None.",
        "`lodestone alerts silence --list`",
    )
    lines += ["", "## Not judged, so silence on these means nothing", ""]
    lines += _shown(
        [f"- {_plain(line)}" for line in unjudged],
        "None: every rule could judge all of its subjects.",
        "`lodestone check`",
    )
    return Artifact(
        key="alerts",
        description="Open incidents, what this run changed, silences, and what could not be judged.",
        markdown="\n".join(lines),
    )


def _open_line(incident: Incident, told: str) -> str:
    parts = [f"{incident.state.value.lower()} since {day(incident.since)}"]
    if incident.episode > 1:
        parts.append(f"{incident.episode} episodes")
    if incident.data_state:
        word = incident.data_state.value.lower().replace("_", " ")
        parts.append(f"{word}: {_plain(incident.data_why)}")
    if incident.acknowledged_at is not None:
        parts.append(f"taken on by {_plain(incident.acknowledged_by)}")
    if incident.snoozed_until is not None:
        parts.append(f"snoozed until {day(incident.snoozed_until)}")
    if incident.held:
        parts.append(f"held back: {_plain(incident.held)}")
    if told:
        parts.append(_plain(told))
    return (
        f"- **{incident.severity.name.capitalize()}: {_plain(incident.reading.headline)}**  \n"
        f"  {'; '.join(parts)}; rule {_plain(incident.rule)}, `{incident.id[:8]}`"
    )


def _step_line(incident: Incident, step: Transition) -> str:
    before, after = step.state_before.lower() or "new", step.state.value.lower()
    way = after if before == after else f"{before} → {after}"
    note = f" ({_plain(step.note)})" if step.note else ""
    return (
        f"- **{step.reason.value.lower().replace('_', ' ')}**{note}: {way}, "
        f"{step.severity.name.lower()}  \n  {_plain(step.reading.headline)}, `{incident.id[:8]}`"
    )


def _shown(entries: Sequence[str], none: str, more: str) -> list[str]:
    """The first entries, and how to see the others; or the sentence for none."""
    if not entries:
        return [none]
    left = len(entries) - ROWS_SHOWN
    return [*entries[:ROWS_SHOWN], *(["", f"{left} more: {more}"] if left > 0 else [])]


def _most_severe_first(incidents: Iterable[Incident]) -> list[Incident]:
    return sorted(incidents, key=lambda one: (-one.severity, one.opened_at, one.id))


def outbox_page(
    counts: Mapping[str, int], oldest_unsent_seconds: float, problems: Sequence[str]
) -> Artifact:
    """How much a delivery sent and what it left, by the words of the counts, and what somebody has to mend."""
    oldest = timedelta(seconds=round(oldest_unsent_seconds))
    figures = {**counts, "oldest unsent": f"{oldest}" if oldest else "none"}
    lines = [
        "# Outbox",
        "",
        f"| {' | '.join(figures)} |",
        f"|{' ---: |' * len(figures)}",
        f"| {' | '.join(map(str, figures.values()))} |",
        "",
        "## To be mended",
        "",
    ]
    lines += _shown(
        [f"- {_plain(one)}" for one in problems],
        "Nothing: whatever waits goes by itself.",
        "`lodestone alerts health`",
    )
    return Artifact(
        key="outbox",
        description="What was delivered, what waits, and what somebody has to mend.",
        markdown="\n".join(lines),
    )


class ReplayedRow(Protocol):
    """One transition of a replay."""

    @property
    def at(self) -> datetime: ...
    @property
    def transition(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def headline(self) -> str: ...


def replay_page(
    first: date,
    last: date,
    rules: Mapping[str, Quality],
    without_truth: Mapping[str, str],
    left_out: Mapping[str, str],
    timeline: Sequence[ReplayedRow],
    picture: bytes | None,
    *,
    kept: int,
    folder: str,
) -> Artifact:
    """What rules would have said of past days, and how right they would have been, with intervals.

    `kept` is how many rules' records messages now quote; `folder` holds the files.
    """
    lines = [
        f"# Replay, {day(first)} to {day(last)}",
        "",
        "The service as it would have lived each day, with what was known by its end. Nothing was posted.",
        "",
    ]
    if picture is not None:
        lines += [
            _picture(picture, f"Prices, volumes, events and alerts from {first} to {last}"),
            "",
        ]
    lines += [
        "| rule | posts | events: hit, all | recall, 95 % | hit, late, false | precision, 95 % "
        "| lead, days | false a month |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        _quality_row(name, quality) for name, quality in rules.items() if name not in without_truth
    ]
    lines += [
        "",
        "An event is what a rule warns of, come true. An alert is a hit when it was seen before its event "
        "began, late when it came while the event lasted, false when no event followed. A share without "
        "its interval would say more than so few cases can.",
        "",
        *(
            f"- {_plain(name)}, posts: {rules[name].posts}; not scored, {_plain(why)}"
            for name, why in without_truth.items()
            if name in rules
        ),
        *(f"- {_plain(name)}: left out, {_plain(why)}" for name, why in left_out.items()),
        "",
        "## What would have been said",
        "",
    ]
    lines += _shown(
        [
            f"- {row.at:%Y-%m-%d} **{row.reason.lower().replace('_', ' ')}** "
            f"({row.transition.lower()}): {_plain(row.headline)}"
            for row in timeline
        ],
        "Nothing: no limit was crossed.",
        "`timeline.csv` in the folder below",
    )
    told = (
        f"Alerts of {kept} rules now say how often they were right here."
        if kept
        else (
            "No rule's record was kept: with a market or a rule file of its own, a replay is a trial."
        )
    )
    lines += ["", told, f"Timeline, messages and pictures: {_code(folder)}"]
    return Artifact(
        key="replay",
        description=f"What rules would have said from {first} to {last}, and how right it was",
        markdown="\n".join(lines),
    )


def _quality_row(name: str, quality: Quality) -> str:
    lead = quality.median_lead_days
    false = quality.false_per_month
    return (
        f"| {_cell(name)} | {quality.posts} | {quality.hits}, {quality.events} "
        f"| {_interval(quality.recall, quality.recall_interval)} "
        f"| {quality.hit_episodes}, {quality.late_episodes}, {quality.false_episodes} "
        f"| {_interval(quality.precision, quality.precision_interval)} "
        f"| {'–' if lead is None else f'{lead:.0f}'} | {'–' if false is None else f'{false:.2f}'} |"
    )


def _interval(share: float | None, interval: tuple[float, float] | None) -> str:
    if share is None:
        return "–"
    return percent(share) + (f" ({percent_span(*interval)})" if interval else "")


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


def _cell(text: str) -> str:
    """A text inside a table: a bar would end its cell."""
    return text.replace("|", "\\|")


def _key(name: str) -> str:
    return name.lower().replace("_", "-")
