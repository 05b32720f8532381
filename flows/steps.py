"""The whole service on one page: ingest, forecast, project, raise, deliver, report."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from alerts.blockkit import render_slack
from alerts.delivery import Rendered, Sender
from alerts.delivery import deliver as deliver_due
from alerts.ledger import EntryKind, NewEntry, OutboxSummary
from alerts.lifecycle import Decision, Incident, Reason, State
from alerts.messages import Message, chart_caption, root_message, transition_reply
from alerts.routing import channel_for
from alerts.rules import NotEvaluated, Reading
from alerts.ruleset import Ruleset
from flows.catalog import EXPORTS, Catalog
from flows.errors import LodestoneError, SourceError, UsageError, require_known
from flows.report import Outlook, render
from flows.sentences import Judged
from flows.settings import Settings
from flows.sources.source import Kind, Source
from flows.storage.database import Database
from flows.storage.forecasts import ForecastStore
from flows.storage.ledger import SqlLedger
from flows.storage.observations import IngestRun, ObservationStore
from flows.storage.runs import RunStore
from flows.validation import Observation, validate
from forecasting.charts import balance_fan, price_fan, volume_bars
from forecasting.market.balance import CannotProjectError, Inputs, project_market
from forecasting.market.flow import add_months
from forecasting.results import (
    MarketProjection,
    ObservedSeries,
    SeriesForecast,
    Situation,
    SourceState,
)
from forecasting.selection import forecast as forecast_one
from forecasting.series import CannotForecastError, prepare
from forecasting.splice import splice

LOG = logging.getLogger("lodestone.steps")

LIVE_BOOK = "live"
RAISE_STEP = "raise-alerts"
"""Name under which a run records step 4."""
NEW_PICTURE = frozenset({Reason.OPENED, Reason.REOPENED, Reason.ESCALATED})
"""Decisions that bring a chart into the thread; every further one would only push the words away."""
YEARS_AHEAD = 5
"""A market a year ahead, from yearly figures that may be two years old, needs this many."""


@dataclass(frozen=True, slots=True)
class Service:
    """Everything a step may touch, built in one place and handed in."""

    settings: Settings
    catalog: Catalog
    ruleset: Ruleset
    database: Database
    observations: ObservationStore
    forecasts: ForecastStore
    ledger: SqlLedger
    runs: RunStore
    open_sources: Callable[[bool], Sequence[Source]]  # True: the live publishers too
    sender: Sender | None  # None: no Slack token, messages wait in the outbox
    clock: Callable[[], datetime]
    pause: Callable[[float], None]

    def close(self) -> None:
        """Give back the database's connections."""
        self.database.close()


@dataclass(frozen=True, slots=True)
class Moment:
    """From when and for whom to look: what was known at `known_at`, in the ledger's `book`."""

    known_at: datetime
    book: str
    live: bool


def moment(service: Service, as_of: date | None, live: bool) -> Moment:
    """Now, or the end of a past day (UTC), which has a book of its own."""
    now = service.clock()
    if as_of is None:
        return Moment(now, LIVE_BOOK, live)
    known_at = datetime.combine(as_of, time(23, 59, 59), tzinfo=UTC)
    if known_at.date() > now.date():
        message = f"--as-of {as_of}: that day has not come yet (today is {now:%Y-%m-%d})"
        raise UsageError(message)
    return Moment(known_at, f"as-of {as_of}", live)


# --- 1: figures in ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What became of one source's rows: read = new + revised + unchanged + quarantined."""

    source: str
    read: int = 0
    new: int = 0
    revised: int = 0
    unchanged: int = 0
    quarantined: int = 0
    newest_period: date | None = None
    age_days: int | None = None  # since the newest figure became known
    error: str = ""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """Every source that was asked, and the rows that were turned away."""

    sources: tuple[SourceReport, ...]
    rejected: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        names = ("read", "new", "revised", "unchanged", "quarantined")
        return {name: sum(getattr(one, name) for one in self.sources) for name in names}

    def lines(self) -> list[str]:
        lines = []
        for one in self.sources:
            lines.append(
                f"{one.source}: {one.read} rows read: {one.new} new, {one.revised} revised, "
                f"{one.unchanged} unchanged, {one.quarantined} quarantined"
                + (f"; {one.error}" if one.error else "")
            )
        return [*lines, *self.rejected]


def source_names(service: Service, live: bool, kind: Kind | None = None) -> tuple[str, ...]:
    """Names of the sources that `ingest` would ask."""
    found = service.open_sources(live)
    return tuple(source.name for source in found if kind in (None, source.kind))


def ingest(
    service: Service, at: Moment, kind: Kind | None = None, sources: Sequence[str] = ()
) -> IngestReport:
    """Step 1: ask the sources, judge every row, keep what is news. One that fails never stops the others."""
    known = {source.name: source for source in service.open_sources(at.live)}
    for name in set(source_names(service, live=True)).intersection(sources).difference(known):
        message = f"the source {name!r} is on the network: add --live"
        raise UsageError(message)
    require_known("source", sources, known)
    reports, rejected = [], []
    for source in known.values():
        if (kind is None or source.kind == kind) and (not sources or source.name in sources):
            report, turned_away = _ingest_one(service, source, at)
            reports.append(report)
            rejected.extend(turned_away)
    return IngestReport(tuple(reports), tuple(rejected))


def _ingest_one(service: Service, source: Source, at: Moment) -> tuple[SourceReport, list[str]]:
    now = service.clock()
    try:
        fetched = source.fetch(now=now)
    except SourceError as error:
        LOG.warning("%s", error)
        report = SourceReport(source.name, error=error.problem)
        service.observations.record_ingest(_as_ingest_run(report, now))
        return report, []
    batch = validate(
        source.name,
        fetched.rows,
        series=service.catalog.stored_series,
        source_ids=set(fetched.citations),
        now=now,
        stored=partial(_stored_before, service, now),
    )
    counts = service.observations.add(batch.observations, now)
    service.observations.quarantine(batch.rejected, now)
    newest = max(
        (row.known_at for row in batch.observations if row.known_at <= at.known_at), default=None
    )
    report = SourceReport(
        source=source.name,
        read=batch.read,
        new=counts.new,
        revised=counts.revised,
        unchanged=counts.unchanged,
        quarantined=len(batch.rejected),
        newest_period=_newest_period(batch.observations, at),
        age_days=None if newest is None else (at.known_at - newest).days,
        error="; ".join(str(problem) for problem in fetched.problems),
    )
    service.observations.record_ingest(_as_ingest_run(report, now))
    return report, [f"{row.file} row {row.row}: {row.reason}" for row in batch.rejected]


def _stored_before(service: Service, now: datetime, series: str, day: date) -> float | None:
    """The last value stored up to a day: what the jump bound of a new batch starts from."""
    points = service.observations.history(series, now)
    return next((point.value for point in reversed(points) if point.period <= day), None)


def _newest_period(rows: Iterable[Observation], at: Moment) -> date | None:
    return max((row.period for row in rows if row.known_at <= at.known_at), default=None)


def _as_ingest_run(report: SourceReport, now: datetime) -> IngestRun:
    return IngestRun(
        source=report.source,
        at=now,
        read=report.read,
        new=report.new,
        revised=report.revised,
        unchanged=report.unchanged,
        quarantined=report.quarantined,
        newest_period=report.newest_period,
        error=report.error,
    )


# --- 2: forecasts ----------------------------------------------------------------


def observed(service: Service, series: str, at: Moment) -> ObservedSeries:
    """A series as known at the moment; a spliced one is put together from its parts."""
    entry = service.catalog.series[series]
    parts = []
    for name in service.catalog.parts(series):
        part = service.catalog.series[name]
        points = service.observations.history(name, at.known_at)
        parts.append(ObservedSeries(name, part.title, part.unit, part.frequency, points))
    return splice(parts, series=series, title=entry.title, frequency=entry.frequency)


@dataclass(frozen=True, slots=True)
class ForecastReport:
    """The forecasts made, and why the other series have none."""

    forecasts: tuple[SeriesForecast, ...]
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        return {"forecast": len(self.forecasts), "refused": len(self.refused)}

    def lines(self) -> list[str]:
        lines = [f"{one.series}: {one.reason}" for one in self.forecasts]
        return [*lines, *(f"{series}: no forecast: {why}" for series, why in self.refused.items())]


def forecast(
    service: Service, at: Moment, series: Sequence[str] = (), *, run_id: str
) -> ForecastReport:
    """Step 2: for each series the model that earned it; a series that can't be forecast says why."""
    wanted = tuple(series) or service.catalog.forecast_series
    require_known("series", wanted, service.catalog.series)
    made, refused = [], {}
    for name in wanted:
        history = observed(service, name, at)
        try:
            result = forecast_one(
                history,
                horizon=YEARS_AHEAD
                if history.frequency == "year"
                else service.settings.horizon_months,
                model_names=service.settings.models,
                n_paths=service.settings.paths,
                seed=service.settings.seed,
            )
        except CannotForecastError as error:
            refused[name] = error.reason
            continue
        service.forecasts.save(result, at.known_at, run_id, made_at=service.clock())
        made.append(result)
    return ForecastReport(tuple(made), refused)


def stored_forecasts(service: Service, at: Moment) -> ForecastReport:
    """The last forecasts that speak of the newest data known at the moment, and why a series has none."""
    made, refused = [], {}
    for name in service.catalog.forecast_series:
        history = observed(service, name, at)
        try:
            newest = prepare(history).periods[-1]
        except CannotForecastError as error:
            refused[name] = error.reason
            continue
        found = service.forecasts.latest_forecast(name, at.known_at)
        if found is None:
            refused[name] = "no forecast was made yet"
        elif found.cutoff != newest:
            refused[name] = f"the last forecast saw data to {found.cutoff}, known is {newest}"
        else:
            made.append(found)
    return ForecastReport(tuple(made), refused)


# --- 3: markets ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MarketReport:
    """Projections, base case first within a market, and why the other markets have none."""

    projections: tuple[MarketProjection, ...]
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        return {"projections": len(self.projections), "refused": len(self.refused)}

    def lines(self) -> list[str]:
        lines = [
            f"{one.market}, {one.scenario}: first month with more than 5 % unmet: "
            f"{one.first_month_above(0.05) or 'none'}"
            for one in self.projections
        ]
        return [
            *lines,
            *(f"{market}: no projection: {why}" for market, why in self.refused.items()),
        ]


def project(
    service: Service, at: Moment, markets: Sequence[str] = (), *, run_id: str
) -> MarketReport:
    """Step 3: every market under every scenario, on the same draws."""
    wanted = tuple(markets) or tuple(service.catalog.markets)
    require_known("market", wanted, service.catalog.markets)
    forecasts = stored_forecasts(service, at)
    inputs = Inputs(
        forecasts={one.series: one for one in forecasts.forecasts},
        refusals=forecasts.refused,
        exports=observed(service, EXPORTS, at),
        factors=service.catalog.factors,
        units=service.catalog.units,
        known_at=at.known_at,
    )
    made: list[MarketProjection] = []
    refused: dict[str, str] = {}
    for name in wanted:
        try:
            results = project_market(
                service.catalog.markets[name],
                tuple(service.catalog.scenarios.values()),
                inputs,
                months=service.settings.horizon_months,
                paths=service.settings.market_paths,
                seed=service.settings.seed,
            )
        except CannotProjectError as error:
            refused[name] = str(error)
            continue
        for result in results:
            service.forecasts.save(result, at.known_at, run_id, made_at=service.clock())
        made.extend(results)
    return MarketReport(tuple(made), refused)


def stored_projections(service: Service, at: Moment) -> tuple[MarketProjection, ...]:
    """The last projections that begin next month, by market, base case first; older ones are history."""
    first = add_months(at.known_at.date(), 1)
    found = (
        service.forecasts.latest_projection(market, scenario, at.known_at)
        for market in service.catalog.markets
        for scenario in service.catalog.scenarios
    )
    return tuple(one for one in found if one is not None and one.months[0].month == first)


# --- 4: alerts -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AlertsReport:
    """What was decided for each rule and subject, and the incidents now open."""

    decisions: tuple[Decision, ...]
    incidents: tuple[Incident, ...]
    unjudged: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        reasons = [decision.reason for decision in self.decisions]
        return {
            "evaluated": len(reasons),
            "opened": reasons.count(Reason.OPENED) + reasons.count(Reason.REOPENED),
            "resolved": reasons.count(Reason.RESOLVED),
            "not_evaluated": reasons.count(Reason.KEPT_LAST),
            "already_evaluated": reasons.count(Reason.ALREADY_EVALUATED),
            "open": len(self.incidents),
        }

    def lines(self) -> list[str]:
        shown = [f"{one.severity.name.lower()}: {one.reading.headline}" for one in self.incidents]
        return [*(shown or ["nothing crosses a limit"]), *self.unjudged]


def situation(service: Service, at: Moment) -> Situation:
    """Everything the rules may look at, as known at the moment."""
    forecasts = stored_forecasts(service, at)
    projections = stored_projections(service, at)
    watched = [
        name for name, entry in service.catalog.series.items() if entry.kind in {"price", "trade"}
    ]
    return Situation(
        known_at=at.known_at,
        observed={name: observed(service, name, at) for name in watched},
        forecasts={one.series: one for one in forecasts.forecasts},
        refusals=forecasts.refused,
        projections={(one.market, one.scenario): one for one in projections},
        sources=source_states(service, at),
    )


def source_states(service: Service, at: Moment) -> dict[str, SourceState]:
    """Each publisher group is as old as the oldest of the series that alerts and markets rest on."""
    states = {}
    rested_on = {*service.catalog.forecast_series, EXPORTS}
    for name, group in service.catalog.sources.items():
        members = [
            s
            for s in service.catalog.series
            if s in rested_on and service.catalog.series[s].source == name
        ]
        found = [(s, observed(service, s, at)) for s in members]
        newest = [(one.points[-1].known_at, one) for _, one in found if one.points]
        empty = [one for _, one in found if not one.points]
        if empty or not newest:
            title = f"{group.title}: {empty[0].title}" if empty else group.title
            states[name] = SourceState(name, title, None, None, group.limit_days)
            continue
        # A revision of an old period is no news of a new one: the newest period's own date counts.
        known_at, oldest = min(newest, key=lambda item: item[0])
        title = f"{group.title}: {oldest.title}" if len(newest) > 1 else group.title
        newest_period = oldest.points[-1].period
        states[name] = SourceState(
            name, title, newest_period, known_at, group.limit_days, oldest.frequency
        )
    return states


def raise_alerts(service: Service, at: Moment, *, run_id: str) -> AlertsReport:
    """Step 4: judge every rule; each decision, its incident and its messages are one transaction.

    An incident that no rule speaks of any more (rule, subject or limits' span gone) is withdrawn.
    """
    seen = situation(service, at)
    links = _links(service, run_id)
    written_at = service.clock()
    decisions, unjudged, judged = [], [], set()
    for rule in service.ruleset.rules:
        for result in rule.evaluate(seen):
            judged.add(result.fingerprint)
            chart = None
            if isinstance(result, NotEvaluated):
                unjudged.append(f"{rule.name}: {result.subject} was not judged: {result.why}")
            else:
                chart = partial(_chart, seen, result)
            channel = _channel(service, rule.options.route)
            decisions.append(
                service.ledger.record(
                    at.book,
                    result,
                    rule.options,
                    now=at.known_at,
                    compose=partial(_entries, at, channel, links, chart),
                    written_at=written_at,
                )
            )
    for incident in service.ledger.incidents(at.book):
        if incident.fingerprint in judged or incident.state in {State.RESOLVED, State.WITHDRAWN}:
            continue
        decisions.append(
            service.ledger.withdraw(
                incident.id,
                now=at.known_at,
                compose=partial(_entries, at, _last_channel(service, incident), links, None),
                written_at=written_at,
            )
        )
    return AlertsReport(tuple(decisions), service.ledger.open_incidents(at.book), tuple(unjudged))


def _channel(service: Service, route: str) -> str:
    return service.settings.slack_channel or channel_for(route, service.ruleset.routes)


def _last_channel(service: Service, incident: Incident) -> str:
    """Where an incident was told: its route may be gone with its rule."""
    told = service.ledger.entries(incident.book, incident_id=incident.id)
    return next((entry.channel for entry in told), service.settings.slack_channel)


def _chart(seen: Situation, reading: Reading) -> bytes | None:
    """The picture that belongs to a reading; None where nothing is to be drawn."""
    if reading.chart is None:
        return None
    subject = reading.chart.subject
    if reading.chart.kind == "series" and subject in seen.forecasts:
        return price_fan(seen.forecasts[subject])
    if reading.chart.kind == "market":
        wanted = dict.fromkeys((reading.chart.scenario or "base", "base"))
        found = [
            seen.projections[subject, name]
            for name in wanted
            if (subject, name) in seen.projections
        ]
        return balance_fan(found) if found else None
    if reading.chart.kind == "volume" and subject in seen.observed:
        mean = reading.value and seen.observed[subject].points[-1].value / reading.value
        return volume_bars(seen.observed[subject], trailing_mean=mean, limit_share=reading.limit)
    return None


def _entries(
    at: Moment,
    channel: str,
    links: Sequence[tuple[str, str]],
    chart: Callable[[], bytes | None] | None,
    decision: Decision,
) -> Sequence[NewEntry]:
    """What a decision has to say, for the outbox. Called inside the transaction: it touches nothing."""
    incident = decision.incident
    if incident is None:
        return ()
    say = partial(NewEntry, route=incident.route, channel=channel)
    known_at, book = at.known_at, at.book
    entries = []
    if decision.says:
        message = root_message(incident, decision.reason, known_at=known_at, book=book, links=links)
        entries.append(say(kind=EntryKind.ROOT, message=message.as_dict()))
    if decision.replies:
        message = transition_reply(
            incident, decision.reason, known_at=known_at, book=book, links=links
        )
        entries.append(say(kind=EntryKind.REPLY, message=message.as_dict()))
    # Drawn only when it is due: most readings bring no new picture.
    picture = chart() if chart is not None and decision.reason in NEW_PICTURE else None
    if picture is not None:
        caption = chart_caption(incident, known_at=known_at, book=book)
        entries.append(say(kind=EntryKind.CHART, message={}, image=picture, alt_text=caption))
    return entries


def _links(service: Service, run_id: str) -> tuple[tuple[str, str], ...]:
    links = []
    if service.settings.outlook_url:
        links.append(("Outlook", service.settings.outlook_url))
    if service.settings.ui_url and run_id:
        address = f"{service.settings.ui_url.rstrip('/')}/runs/flow-run/{run_id}"
        links.append(("This run in Prefect", address))
    return tuple(links)


# --- 5: delivery -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OutboxReport:
    """What was shown now, and what the outbox still holds and why."""

    sent: int
    left: OutboxSummary
    has_channel: bool

    @property
    def counts(self) -> dict[str, int]:
        waiting = self.left.pending + self.left.sending
        return {
            "sent": self.sent,
            "pending": waiting,
            "unknown": self.left.unknown,
            "dead": self.left.dead,
        }

    def lines(self) -> list[str]:
        counts = self.counts
        lines = [", ".join(f"{count} {word}" for word, count in counts.items())]
        if not self.has_channel and counts["pending"]:
            lines.append(
                f"LODESTONE_SLACK_TOKEN is not set: {counts['pending']} messages wait in the outbox"
            )
        return [*lines, *self.left.problems]


def deliver(service: Service, at: Moment, *, patience_seconds: float = 0.0) -> OutboxReport:
    """Step 5: empty the outbox of the book, waiting at most `patience_seconds` for what may not go yet.

    Without a Slack token nothing is sent: every message stays in the outbox.
    """
    sent = 0
    deadline = service.clock() + timedelta(seconds=patience_seconds)
    while service.sender is not None:
        delivered = deliver_due(
            service.ledger,
            service.sender,
            now=service.clock,
            render=_rendered,
            book=at.book,
            reconcile_after=timedelta(seconds=service.settings.slack_reconcile_seconds),
        )
        sent += delivered.sent
        if delivered.next_due_at is None or delivered.next_due_at > deadline:
            break
        service.pause(max(0.05, (delivered.next_due_at - service.clock()).total_seconds()))
    left = service.ledger.summary(at.book, service.clock())
    return OutboxReport(sent, left, has_channel=service.sender is not None)


def _rendered(message: Mapping[str, Any]) -> Rendered:
    content = render_slack(Message.from_dict(message))
    return Rendered(content.text, content.blocks)


# --- 6: the outlook --------------------------------------------------------------


def outlook(service: Service, at: Moment) -> Outlook:
    """Everything the outlook shows, as known at the moment."""
    forecasts = stored_forecasts(service, at)
    series = service.catalog.series
    prices = {name for name in service.catalog.forecast_series if series[name].kind == "price"}
    return Outlook(
        known_at=at.known_at,
        book=at.book,
        incidents=service.ledger.open_incidents(at.book),
        forecasts=[one for one in forecasts.forecasts if one.series in prices],
        refused={series[name].title: why for name, why in forecasts.refused.items()},
        projections=stored_projections(service, at),
        sources=list(source_states(service, at).values()),
        judged=last_judged(service, at),
        # Visits are of the wall clock: they say nothing about what a past day could know.
        ingests=_last_ingests(service.observations.ingests(limit=50))
        if at.book == LIVE_BOOK
        else (),
    )


def last_judged(service: Service, at: Moment) -> Judged | None:
    """When the rules of a book were last judged and how many could not be; None: never."""
    for run in service.runs.latest(at.book, limit=50):
        for step in run.steps:
            if step.name == RAISE_STEP and not step.error and run.as_of <= at.known_at:
                counts = step.counts
                return Judged(run.as_of, counts.get("evaluated", 0), counts.get("not_evaluated", 0))
    return None


def _last_ingests(runs: Iterable[IngestRun]) -> list[IngestRun]:
    last: dict[str, IngestRun] = {}
    for run in runs:  # newest first
        last.setdefault(run.source, run)
    return sorted(last.values(), key=lambda run: run.source)


def outlook_path(service: Service, at: Moment) -> Path:
    """Where the outlook of a book is kept unless told otherwise."""
    name = "outlook.html" if at.book == LIVE_BOOK else f"outlook-{at.book.replace(' ', '-')}.html"
    return (service.settings.home / name).resolve()


@dataclass(frozen=True, slots=True)
class OutlookReport:
    """Where the page was written."""

    path: Path

    @property
    def counts(self) -> dict[str, int]:
        return {"written": 1}

    def lines(self) -> list[str]:
        return [f"outlook written to {self.path}"]


def report(service: Service, at: Moment, out: Path | None = None) -> OutlookReport:
    """Step 6: write the outlook, by default into the home folder, whole or not at all."""
    path = out.resolve() if out else outlook_path(service, at)
    draft = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(render(outlook(service, at)), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        message = f"{path}: the outlook can't be written: {error.strerror}"
        raise LodestoneError(message) from None
    return OutlookReport(path)
