"""The whole service on one page: ingest, forecast, project, raise, deliver, report."""

import logging
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from traceback import format_tb
from typing import TypeVar

from alerts.incident import Decision
from alerts.judging import judge_all
from alerts.ledger import Judgement
from alerts.rules import EVALUATION_ERROR, NotEvaluated, SilentPipeline, Undelivered
from alerts.wording import listing
from flows.accounts import (
    ROWS_SHOWN,
    AlertsReport,
    BacktestReport,
    DataStatus,
    ForecastReport,
    GroupStatus,
    IngestReport,
    MarketReport,
    OutlookReport,
    SeriesStatus,
    SourceReport,
    together,
)
from flows.delivering import OutboxReport
from flows.delivering import deliver as deliver  # step 5
from flows.engines import Engine, local_engine
from flows.errors import (
    DatabaseUnusableError,
    LodestoneError,
    SourceError,
    UsageError,
    require_known,
)
from flows.health import beat
from flows.known import (
    RAISE_STEP,
    changes_of,
    exchange_rates,
    last_judged,
    model_rule,
    model_verdicts,
    observed,
    situation,
    source_states,
    stored_forecasts,
    stored_projections,
    stored_scorecards,
    undelivered,
    unjudged,
    unjudged_line,
)
from flows.measures import mass_balance, measures
from flows.outcomes import score_closed
from flows.report import Outlook, render
from flows.service import LIVE_BOOK, Moment, Service, moment
from flows.settings import MOST_MARKET_MONTHS
from flows.sources.source import Kind, Source
from flows.storage.observations import AuditRow, StoredSeries
from flows.telling import desk_of, teller
from flows.validation import EARLIEST_ZONE, calendar_length, next_expected, validate
from forecasting.batch import (
    ForecastOptions,
    ForecastTask,
    Refusal,
    chunked,
    forecast_chunk,
    scorecard_chunk,
)
from forecasting.charts import balance_fan, demand_stack, supply_stack, waterfall_chart
from forecasting.charts.frame import Format
from forecasting.market.balance import project_market
from forecasting.market.definitions import (
    CannotProjectError,
    Market,
    Scenario,
    combined,
    composed,
)
from forecasting.market.evidence import Inputs
from forecasting.results import MarketProjection, Scorecard, SeriesForecast, Situation
from forecasting.splice import choose

# What callers need beside the steps themselves is handed on from here.
__all__ = [
    "LIVE_BOOK",
    "RAISE_STEP",
    "AlertsReport",
    "BacktestReport",
    "ForecastReport",
    "IngestReport",
    "MarketReport",
    "Moment",
    "OutboxReport",
    "OutlookReport",
    "Service",
    "SourceReport",
    "backtest",
    "chosen_sources",
    "data_status",
    "deliver",
    "draw_charts",
    "forecast",
    "history_rows",
    "ingest",
    "last_judged",
    "mass_balance",
    "moment",
    "observed",
    "outlook",
    "outlook_path",
    "project",
    "raise_alerts",
    "report",
    "score_closed",
    "source_names",
    "stored_forecasts",
    "unjudged",
    "watch",
]

LOG = logging.getLogger("lodestone.steps")
Result = TypeVar("Result")

FORMATS: tuple[Format, ...] = ("png", "svg")
"""What charts are drawn as: pictures for messages and pages, lines for print."""
YEARS_AHEAD = 8
"""How far yearly series are forecast: five years of a market, from a newest figure up to three years old."""
MONTHS_LATE = 6
"""How old the newest month of a series may be on which a market rests."""
LONG_FROM = 50
"""Series from which a run tells how far it is."""


# --- 1: figures in ---------------------------------------------------------------


def source_names(service: Service, live: bool, kind: Kind | None = None) -> tuple[str, ...]:
    """Names of the sources that `ingest` would ask."""
    found = service.open_sources(live)
    return tuple(dict.fromkeys(it.name for it in found if kind in (None, it.kind)))


def live_names(service: Service, kind: Kind | None = None) -> frozenset[str]:
    """Names of the sources that are asked on the network when an ingest is live."""
    found = service.open_sources(True)
    return frozenset(it.name for it in found if it.is_live and kind in (None, it.kind))


def ingest(
    service: Service, at: Moment, kind: Kind | None = None, sources: Sequence[str] = ()
) -> IngestReport:
    """Step 1: ask the sources, judge every row, keep what is news. One that fails never stops the others.

    `sources` are names, or the part of a name before its dot: `csv_drop` stands for every csv_drop.
    """
    opened = [it for it in service.open_sources(at.live) if kind in (None, it.kind)]
    wanted = chosen_sources(service, sources, live=at.live, kind=kind)
    reports = []
    for name in wanted:
        now = service.clock()  # one visit, whether it is to one place or to two
        visits = [_visited(service, it, at, now) for it in opened if it.name == name]
        reports.append(together(visits))
    return IngestReport(tuple(reports))


def chosen_sources(
    service: Service, sources: Sequence[str], *, live: bool, kind: Kind | None = None
) -> tuple[str, ...]:
    """The names that `sources` stand for, all when empty; raises UsageError for what can't be asked."""
    known = source_names(service, live, kind)
    elsewhere = source_names(service, live=True, kind=kind)
    groups = {name.partition(".")[0] for name in known if "." in name}
    for name in sources:
        offered = {*elsewhere, *(it.partition(".")[0] for it in elsewhere)}
        if name in offered and name not in {*known, *groups}:
            message = f"the source {name!r} is on the network: add --live"
            raise UsageError(message)
    require_known("source" if kind is None else f"{kind} source", sources, (*known, *groups))
    return tuple(
        name
        for name in known
        if not sources or name in sources or name.partition(".")[0] in sources
    )


def _visited(service: Service, source: Source, at: Moment, now: datetime) -> SourceReport:
    """What became of one source; whatever goes wrong with it must not stop the others."""
    try:
        return _ingest_one(service, source, at, now)
    except SourceError as unread:
        LOG.warning("%s", unread)
        problem = unread.problem
    except DatabaseUnusableError:
        raise  # no other source could be kept either
    except Exception as error:  # noqa: BLE001 - told below, and stops no other source
        # Ours to mend: the log has the way to it, but not its text, which may hold a secret.
        way = "".join(format_tb(error.__traceback__))
        LOG.error("%s: failed inside Lodestone: %s\n%s", source.name, type(error).__name__, way)
        problem = f"failed inside Lodestone ({type(error).__name__}); please report it with the log"
    service.observations.keep(source.name, (), (), fetched_at=now, error=problem)
    return SourceReport(source.name, error=problem, is_unread=True)


def _ingest_one(service: Service, source: Source, at: Moment, now: datetime) -> SourceReport:
    fetched = source.fetch(now=now)
    batch = validate(
        source.name,
        fetched.rows,
        series=service.catalog.stored_series,
        source_ids=set(fetched.citations),
        now=now,
        stored=service.observations.around,
        rates=exchange_rates(service, now),
    )
    error = "; ".join(str(problem) for problem in fetched.problems)
    # All that was read just now is known now, also what is dated today and stands from noon on.
    known_at = now + EARLIEST_ZONE if at.book == LIVE_BOOK else at.known_at
    newest = batch.newest(known_at)
    run = service.observations.keep(
        source.name,
        batch.table,
        batch.rejected,
        fetched_at=now,
        newest_period=None if newest is None else newest.period,
        error=error,
    )
    report = SourceReport(
        source=source.name,
        read=run.read,
        new=run.new,
        revised=run.revised,
        unchanged=run.unchanged,
        quarantined=run.quarantined,
        newest_period=run.newest_period,
        error=error,
        samples=batch.rejected[:ROWS_SHOWN],
        gaps=tuple(map(str, batch.gaps)),
        notes=fetched.notes,
    )
    if newest is None:
        return report
    return replace(
        report,
        age_days=batch.age_days(known_at, now if at.book == LIVE_BOOK else at.known_at),
        next_expected=next_expected(newest.period, service.catalog.series[newest.series]).date(),
    )


def data_status(service: Service, at: Moment) -> DataStatus:
    """What is kept, how old it is, and when the next figure of each series is usually out."""
    newest = service.observations.newest(at.known_at)
    series = []
    for stored in service.observations.summary(at.known_at):
        entry = service.catalog.series.get(stored.series)
        if entry is None:
            continue  # no longer in the catalogue: kept, and read by nothing
        series.append(
            SeriesStatus(
                series=stored.series,
                group=entry.source,
                periods=stored.periods,
                missing=_missing(service, stored, entry.frequency, at),
                vintages=stored.vintages,
                first_period=stored.first,
                newest_period=stored.newest,
                age_days=(at.known_at - newest[stored.series].known_at).days,
                next_expected=next_expected(stored.newest, entry).date(),
            )
        )
    groups = tuple(
        GroupStatus(
            group=state.source,
            title=state.title,
            newest_period=state.newest_period,
            age_days=None
            if state.newest_known_at is None
            else (at.known_at - state.newest_known_at).days,
            limit_days=state.limit_days,
            is_stale=state.is_stale(at.known_at),
        )
        for state in source_states(service, at).values()
    )
    return DataStatus(groups, tuple(series), service.observations.last_visits())


def _missing(service: Service, stored: StoredSeries, frequency: str, at: Moment) -> int:
    """Periods of the calendar between the first and the newest that are not kept."""
    expected = calendar_length(stored.first, stored.newest, frequency)
    if frequency != "day":
        return expected - stored.periods
    # A quote of a Sunday fills no gap.
    return expected - service.observations.working_days(stored.series, at.known_at)


def history_rows(service: Service, series: str, at: Moment) -> tuple[AuditRow, ...]:
    """A series as known at the moment, period by period; a spliced one from the part that speaks for it."""
    require_known("series", [series], service.catalog.series)
    parts = [
        service.observations.audit(part, at.known_at) for part in service.catalog.parts(series)
    ]
    chosen = choose(parts, service.catalog.series[series].frequency)
    return tuple(replace(row, period=period) for period, row in chosen.items())


# --- 2: forecasts ----------------------------------------------------------------


def forecast(
    service: Service,
    at: Moment,
    series: Sequence[str] = (),
    *,
    run_id: str,
    engine: Engine | None = None,
    told: Callable[[int, int], None] | None = None,
) -> ForecastReport:
    """Step 2: for each series the model that earned it; a series that can't be forecast says why.

    Computed in chunks, on this machine unless `engine` says where; each result is kept as soon as it is
    there, and `told` how many of the series are done. Raises EngineError when a part of the engine dies.
    The report leaves out the paths, which are kept: those of a thousand series would fill the memory.
    """
    wanted = tuple(dict.fromkeys(series)) or service.catalog.forecast_series
    require_known("series", wanted, service.catalog.series)
    settings = service.settings
    options = ForecastOptions(settings.models, settings.paths, settings.seed)
    job = partial(forecast_chunk, options=options)
    made: dict[str, SeriesForecast] = {}
    refused: dict[str, str] = {}
    with closing(_computed(service, at, wanted, job, engine, told)) as results:
        for result in results:
            if isinstance(result, Refusal):
                refused[result.series] = result.reason
                continue
            service.forecasts.save(result, at.known_at, run_id, made_at=service.clock())
            made[result.series] = replace(result, paths=())
    return ForecastReport(
        tuple(made[name] for name in wanted if name in made),
        {name: refused[name] for name in wanted if name in refused},
    )


def _computed(
    service: Service,
    at: Moment,
    wanted: Sequence[str],
    job: Callable[[Sequence[ForecastTask]], tuple[Result | Refusal, ...]],
    engine: Engine | None,
    told: Callable[[int, int], None] | None = None,
) -> Generator[Result | Refusal, None, None]:
    """What `job` says of each series, as soon as its chunk is done; closing it ends the work."""
    lanes = service.settings.lanes
    tasks = [_forecast_task(service, name, at) for name in wanted]
    chunks = chunked(tasks, lambda task: task.cost, lanes)
    run = engine or local_engine(len(tasks), lanes)
    done = 0
    with closing(run(job, chunks)) as ready:
        for _, results in ready:
            for result in results:
                if isinstance(result, Refusal) and result.trace:
                    LOG.error("%s: %s\n%s", result.series, result.reason, result.trace)
                yield result
            done += len(results)
            if len(tasks) >= LONG_FROM:
                LOG.info("%d of %d series done", done, len(tasks))
            if told is not None:
                told(done, len(tasks))


def _forecast_task(service: Service, name: str, at: Moment) -> ForecastTask:
    known = observed(service, name, at)
    horizon = service.settings.horizon_months
    if known.frequency == "year":
        horizon = YEARS_AHEAD
    elif any(name in market.series for market in service.catalog.markets.values()):
        horizon = max(horizon, service.settings.market_months + MONTHS_LATE)
    return ForecastTask(known, horizon, service.catalog.policy_events(name, at.known_at))


def backtest(
    service: Service,
    at: Moment,
    series: Sequence[str] = (),
    *,
    run_id: str,
    engine: Engine | None = None,
    told: Callable[[int, int], None] | None = None,
) -> BacktestReport:
    """Weekly, beside the other steps: how each model did on the past of each series, and whether the choice holds up.

    A series that can't be tested says why. Raises EngineError when a part of the engine dies.
    """
    wanted = tuple(dict.fromkeys(series)) or service.catalog.forecast_series
    require_known("series", wanted, service.catalog.series)
    job = partial(scorecard_chunk, model_names=service.settings.models)
    cards: dict[str, Scorecard] = {}
    refused: dict[str, str] = {}
    with closing(_computed(service, at, wanted, job, engine, told)) as results:
        for result in results:
            if isinstance(result, Refusal):
                refused[result.series] = result.reason
                continue
            service.forecasts.save(result, at.known_at, run_id, made_at=service.clock())
            cards[result.series] = result
    made = tuple(cards[name] for name in wanted if name in cards)
    refused = {name: refused[name] for name in wanted if name in refused}
    verdicts = model_verdicts(service, at, made)
    return BacktestReport(made, verdicts, refused, newest=model_rule(service).cutoffs)


# --- 3: markets ------------------------------------------------------------------


def project(
    service: Service,
    at: Moment,
    markets: Sequence[str] = (),
    *,
    run_id: str,
    scenarios: Sequence[str] | None = None,
    months: int | None = None,
) -> MarketReport:
    """Step 3: every market under every scenario, on the same draws, and why each shortfall changed.

    `scenarios` are names, or several joined by "+", instead of all that are declared; `months` a horizon
    other than that of the settings. What only this caller asked for so is not kept: rules and pages read
    the declared scenarios over the whole horizon.
    """
    wanted = tuple(dict.fromkeys(markets)) or tuple(service.catalog.markets)
    require_known("market", wanted, service.catalog.markets)
    chosen = _chosen_scenarios(service, scenarios)
    usual = service.settings.market_months
    months = usual if months is None else months
    if not 1 <= months <= MOST_MARKET_MONTHS:
        message = f"{months} months of a market asked; 1 to {MOST_MARKET_MONTHS} can be projected"
        raise UsageError(message)
    inputs = _market_inputs(service, at)
    made: list[MarketProjection] = []
    refused: dict[str, str] = {}
    for name in wanted:
        market = service.catalog.markets[name]
        try:
            results = project_market(
                market,
                chosen,
                inputs,
                months=months,
                paths=service.settings.market_paths,
                seed=service.settings.seed,
            )
        except CannotProjectError as error:
            refused[name] = _lacking(market, error)
            continue
        for result in results:
            if months == usual and result.scenario in service.catalog.scenarios:
                service.forecasts.save(result, at.known_at, run_id, made_at=service.clock())
        made.extend(results)
    changes, unexplained = changes_of(service, at, made)
    return MarketReport(tuple(made), refused, changes, unexplained)


def draw_charts(
    report: MarketReport, shown: Sequence[MarketProjection], folder: Path
) -> tuple[Path, ...]:
    """Draw projections of a report into a folder, each picture as PNG and SVG; raises UsageError where it can't."""
    drawn = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in shown:
            group = [it for it in report.projections if it.market == one.market and it is not one]
            change = report.changes.get((one.market, one.scenario))
            name = re.sub(r"[^\w+.-]", "-", f"{one.market}-{one.scenario}")
            for format in FORMATS:
                pictures = {
                    "balance": balance_fan([one, *group], format=format),
                    "supply": supply_stack(one, format=format),
                    "demand": demand_stack(one, format=format),
                }
                if change is not None:
                    pictures["waterfall"] = waterfall_chart(change, format=format)
                for kind, picture in pictures.items():
                    path = folder / f"{name}-{kind}.{format}"
                    path.write_bytes(picture)
                    drawn.append(path)
    except OSError as error:
        message = f"{folder}: charts can't be written there: {error.strerror}"
        raise UsageError(message) from None
    return tuple(drawn)


def _chosen_scenarios(service: Service, asked: Sequence[str] | None) -> tuple[Scenario, ...]:
    """The scenarios with all that they include; raises UsageError for a name that nobody declared."""
    known = service.catalog.scenarios
    if asked is None:
        return tuple(composed(one, known) for one in known.values())
    for names in asked:
        require_known("scenario", [part.strip() for part in names.split("+")], known)
    found = [combined(names, known) for names in asked]
    return tuple({one.scenario: one for one in found}.values())


def _market_inputs(service: Service, at: Moment) -> Inputs:
    """What markets are computed from, as known at the moment."""
    catalog = service.catalog
    forecasts = stored_forecasts(service, at)
    return Inputs(
        forecasts={one.series: one for one in forecasts.forecasts},
        refusals=forecasts.refused,
        exports={
            origin: observed(service, series, at) for origin, series in catalog.exports.items()
        },
        factors=catalog.factors,
        units=catalog.units,
        known_at=at.known_at,
        projects=catalog.projects,
        regimes=catalog.regimes,
        governance=catalog.governance,
        measured=measures(service, at),
    )


def _lacking(market: Market, error: CannotProjectError) -> str:
    """Why a market can't be projected, with its name and the lines that rest on the series in question."""
    why = str(error)
    told = why if why.startswith(f"{market.market}: ") else f"{market.market}: {why}"
    lines = [
        f"{one.side} {one.name!r}"
        for one in market.components
        if error.series and one.series == error.series
    ]
    return f"{told} (for {listing(lines)})" if lines else told


# --- 4: alerts -------------------------------------------------------------------


def raise_alerts(
    service: Service,
    at: Moment,
    *,
    run_id: str,
    seen: Situation | None = None,
    draws: bool = True,
) -> AlertsReport:
    """Step 4: judge every rule; all decisions, incidents and messages are one transaction.

    A rule that fails keeps what it said last, and operators hear of it; the others go on. An incident that
    no rule speaks of any more (rule, subject or limits' span gone) is withdrawn. `seen` is the situation
    when the caller has it already; without `draws` no pictures are made.
    """
    seen = situation(service, at) if seen is None else seen
    # What waits goes with the delivery that follows: whether it is stuck, `watch_delivery` says after that.
    seen = replace(seen, undelivered=undelivered(service, at, may_open=False))
    verdicts = judge_all(service.ruleset.rules, seen, _failing_before(service, at))
    results = [one.result for one in verdicts.judgements]
    for rule, why in verdicts.failures.items():
        LOG.error("rule %s can't be evaluated: %s", rule, why)
    foreseen: tuple[Decision, ...] = ()
    if draws:
        # Looked ahead for the pictures: drawn inside the transaction, they would keep every other writer
        # waiting, and on SQLite also a press of a button, which Slack wants answered within 3 seconds.
        foreseen = service.ledger.foresee(
            at.book,
            verdicts.judgements,
            now=at.known_at,
            written_at=service.clock(),
            desk=desk_of(service, seen),
            failures=verdicts.failures,
            is_everything=True,
        )
    tell = teller(service, at, run_id, seen, draws=draws, foreseen=foreseen)
    decisions = service.ledger.judge(
        at.book,
        verdicts.judgements,
        now=at.known_at,
        compose=tell.entries,
        written_at=tell.written_at,
        desk=desk_of(service, seen),
        failures=verdicts.failures,
        is_everything=True,
    )
    not_judged = [unjudged_line(one) for one in results if isinstance(one, NotEvaluated)]
    not_judged += [f"{rule} failed: {why}" for rule, why in verdicts.failures.items()]
    return AlertsReport(
        decisions,
        service.ledger.open_incidents(at.book),
        tuple(not_judged),
        service.ledger.silences(at.known_at),
    )


def _failing_before(service: Service, at: Moment) -> tuple[str, ...]:
    """Rules whose failure operators were told of, and that may work again."""
    found = service.ledger.open_incidents(at.book)
    return tuple(one.subject for one in found if one.type == EVALUATION_ERROR)


def watch(service: Service, at: Moment, *, run_id: str) -> tuple[Decision, ...]:
    """Between looks, before each delivery: whether the service judges, snoozes that end, calls that are due."""
    seen = Situation(at.known_at, last_judged_at=_last_judged_at(service, at))
    made = _judge_operators(service, at, run_id, SilentPipeline, seen)
    compose, desk = teller(service, at, run_id, None).entries, desk_of(service, None)
    return made + service.ledger.attend(at.book, now=at.known_at, compose=compose, desk=desk)


def watch_delivery(service: Service, at: Moment, *, run_id: str) -> tuple[Decision, ...]:
    """After each delivery: what did not arrive, and once a day the word that the service is alive.

    After, not before: a service that stood still over a weekend has nothing stuck that goes in a moment. What
    it writes is for another delivery, if anything of it says something.
    """
    seen = Situation(at.known_at, undelivered=undelivered(service, at))
    made = _judge_operators(service, at, run_id, Undelivered, seen)
    return made + beat(service, at)


def _judge_operators(
    service: Service,
    at: Moment,
    run_id: str,
    kind: type[SilentPipeline | Undelivered],
    seen: Situation,
) -> tuple[Decision, ...]:
    """What rules of a kind say of the service itself; without any, nothing is opened or ended."""
    judgements = [
        Judgement(result, rule.options)
        for rule in service.ruleset.rules
        if isinstance(rule, kind)
        for result in rule.evaluate(seen)
    ]
    if not judgements:
        return ()
    tell = teller(service, at, run_id, None)
    return service.ledger.judge(
        at.book,
        judgements,
        now=at.known_at,
        compose=tell.entries,
        written_at=tell.written_at,
        desk=desk_of(service, None),
    )


def _last_judged_at(service: Service, at: Moment) -> datetime | None:
    judged = last_judged(service, at)
    return None if judged is None else judged.known_at


# --- 6: the outlook --------------------------------------------------------------


def outlook(service: Service, at: Moment) -> Outlook:
    """Everything the outlook shows, as known at the moment."""
    forecasts = stored_forecasts(service, at)
    series = service.catalog.series
    prices = {name for name in service.catalog.forecast_series if series[name].kind == "price"}
    cards = [card for card in stored_scorecards(service, at) if card.series in prices]
    verdicts = model_verdicts(service, at, cards)
    projections = stored_projections(service, at)
    return Outlook(
        known_at=at.known_at,
        book=at.book,
        incidents=service.ledger.open_incidents(at.book),
        forecasts=[one for one in forecasts.forecasts if one.series in prices],
        refused={series[name].title: why for name, why in forecasts.refused.items()},
        projections=projections,
        changes=changes_of(service, at, projections)[0],
        sources=list(source_states(service, at).values()),
        judged=last_judged(service, at),
        unjudged=unjudged(service, at),
        verdicts={card.title: verdicts[card.series] for card in cards},
        # Visits are of the wall clock: they say nothing about what a past day could know.
        ingests=list(service.observations.last_visits()) if at.book == LIVE_BOOK else (),
    )


def outlook_path(service: Service, at: Moment) -> Path:
    """Where the outlook of a book is kept unless told otherwise."""
    name = "outlook.html" if at.book == LIVE_BOOK else f"outlook-{at.book.replace(' ', '-')}.html"
    return (service.settings.home / name).resolve()


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
