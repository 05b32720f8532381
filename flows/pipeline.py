"""The flows as Prefect knows them: names, parameters, retries, limits of time, artifacts; the work is in steps."""

import inspect
import logging
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints
from uuid import uuid4

from prefect import Flow, flow, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.runtime import flow_run as this_run
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.tasks import exponential_backoff
from pydantic import Field
from pydantic.fields import FieldInfo

from flows import artifacts, desk, health, steps
from flows.engines import Chunk, Engine, Result, on_one_thread
from flows.errors import EngineError, LodestoneError, SourceError
from flows.replay.days import replay_reference
from flows.settings import Settings, load_settings
from flows.wiring import build
from flows.wiring import rules as read_rules
from forecasting.charts import (
    balance_fan,
    demand_stack,
    price_fan,
    score_panels,
    supply_stack,
    waterfall_chart,
)
from forecasting.results import MarketProjection, Waterfall

LOG = logging.getLogger("lodestone.pipeline")
# Prefect hands this logger to the UI (PREFECT_LOGGING_EXTRA_LOGGERS), but leaves its level alone.
logging.getLogger("lodestone").setLevel(logging.INFO)

Kind = Literal["price", "trade", "reference"]
_PULSE: ContextVar[str] = ContextVar("pulse", default="")
SCHEDULER_PATIENCE_SECONDS = 15.0
"""How long a Dask scheduler may take to answer."""
LONGEST_DELIVERY_SECONDS = 900.0
"""How long a delivery may take, however much there is to send: the next one looks after open alerts first."""

AsOf = Annotated[
    date | None,
    Field(description="Run as on this past day, with what was known by its end (UTC). Empty: now."),
]
Live = Annotated[
    bool,
    Field(description="Ask the real publishers. Off: the figures that are shipped with Lodestone."),
]
Sources = Annotated[
    tuple[str, ...], Field(description="Only these sources. Empty: every source of this kind.")
]
SeriesNames = Annotated[
    tuple[str, ...], Field(description="Only these series. Empty: every series that is forecast.")
]
Markets = Annotated[tuple[str, ...], Field(description="Only these markets. Empty: all.")]
Patience = Annotated[
    float | None,
    Field(
        ge=0,
        le=900,
        description="How long to go on without sending anything, in seconds, for messages that may not be sent yet. "
        "Empty: until an unclear answer is clear, half a minute longer than LODESTONE_SLACK_RECONCILE_SECONDS.",
    ),
]


FirstDay = Annotated[
    date | None, Field(description="First day to live through. Empty: a year before the last day.")
]
LastDay = Annotated[
    date | None, Field(description="Last day to live through, itself included. Empty: yesterday.")
]
ReplayedMarket = Annotated[
    str, Field(description="Leave out rules on other markets than this one. Empty: all rules.")
]
RuleFile = Annotated[
    str,
    Field(
        description="Path of a rule file on the machine of the worker, laid over the shipped rules "
        "instead of yours. Empty: the rules that are configured."
    ),
]
A_DAY = timedelta(days=1)
REPLAYED = timedelta(days=364)
"""What is replayed unless days are given: with its last day, a year."""


Function = TypeVar("Function", bound=Callable[..., Any])


def _explained(function: Function) -> Function:
    """Write the parameters' descriptions into the docstring: Prefect's form takes them only from there."""
    hints = get_type_hints(function, include_extras=True)
    lines = [
        f"    {name}: {note.description}"
        for name, hint in hints.items()
        for note in getattr(hint, "__metadata__", ())
        if isinstance(note, FieldInfo)
    ]
    function.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Args:", *lines])
    return function


class StepsFailedError(LodestoneError):
    """Some steps of a pulse failed; the others ran."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{name}: {error}" for name, error in self.errors.items()))


class UndeliveredError(LodestoneError):
    """Messages did not arrive, and somebody has to act; `problems` are plain sentences with the mend."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def _run_name() -> str:
    as_of = this_run.parameters.get("as_of")
    return f"{this_run.flow_name} as of {as_of}" if as_of else str(this_run.flow_name)


def _replay_name() -> str:
    given = this_run.parameters
    days = " to ".join(str(given[name]) for name in ("first", "last") if given.get(name))
    return f"{this_run.flow_name} of {days}" if days else str(this_run.flow_name)


def _run_id() -> str:
    """The run that figures are kept under: the pulse's, also for its parts."""
    return _PULSE.get() or str(this_run.id or uuid4())


@contextmanager
def _speaking_for(run_id: str) -> Iterator[None]:
    """Let parts keep their figures, and link to them, under this run."""
    token = _PULSE.set(run_id)
    try:
        yield
    finally:
        _PULSE.reset(token)


def _is_in_prefect() -> bool:
    """False when a test calls `.fn()`: then nothing may look for a server."""
    return FlowRunContext.get() is not None


@contextmanager
def _service() -> Iterator[steps.Service]:
    service = build(load_settings())
    try:
        yield service
    finally:
        service.close()


def _publish(found: Iterable[artifacts.Artifact]) -> None:
    for one in found:
        if not _is_in_prefect():
            continue
        if one.table:
            rows: list[dict[str, Any]] = [dict(row) for row in one.table]
            create_table_artifact(table=rows, key=one.key, description=one.description)
        else:
            create_markdown_artifact(one.markdown, key=one.key, description=one.description)


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        LOG.info(line)


# --- ingest ---------------------------------------------------------------------


def _is_source_error(_task: object, _run: object, state: State[Any]) -> bool:
    """Whether a failed task is worth another try: a mistake in the request, or in ours, stays what it is."""
    return isinstance(state.data, SourceError)


@task(
    task_run_name="{source}",
    tags=["ingest"],
    # Publishers drop connections and rate-limit; the jitter keeps several installations apart.
    retries=2,
    retry_condition_fn=_is_source_error,
    retry_delay_seconds=exponential_backoff(backoff_factor=10),
    retry_jitter_factor=0.5,
    timeout_seconds=600,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def fetch_source(kind: Kind, source: str, as_of: date | None, live: bool) -> steps.SourceReport:
    """Ask one source and keep what it says; raises SourceError so that Prefect tries again."""
    with _service() as service:
        report = steps.ingest(service, steps.moment(service, as_of, live), kind, (source,))
        _say(report.lines())
        (one,) = report.sources
        # What came is kept; only a publisher that gave nothing at all is worth another visit.
        if one.is_unread:
            raise UnreadError(one)
        return one


class UnreadError(SourceError):
    """A publisher gave nothing; what else was read under its name is in the report."""

    def __init__(self, report: steps.SourceReport) -> None:
        self.report = report
        super().__init__(report.source, report.error)


def _ingest(kind: Kind, as_of: date | None, live: bool, sources: Sequence[str]) -> dict[str, int]:
    with _service() as service:
        # Here, before any is asked: a name of another kind would bring no report at all.
        names = steps.chosen_sources(service, sources, live=live, kind=kind)
        on_network = steps.live_names(service, kind) if live else frozenset()
    reports = []
    for name in names:
        # A file that can't be read today can't be read in half a minute.
        task = fetch_source if name in on_network else fetch_source.with_options(retries=0)
        fetch = task if _is_in_prefect() else task.fn
        try:
            reports.append(fetch(kind, name, as_of, live))
        except UnreadError as error:
            reports.append(error.report)
        except Exception as error:
            # A time-out of the task, or a database that is gone: the others are asked all the same.
            LOG.exception("%s failed", name)
            reports.append(steps.SourceReport(name, error=f"{error}" or type(error).__name__))
    samples = [row for one in reports for row in one.samples]
    _publish(
        [artifacts.ingest_table(kind, reports), artifacts.quarantine_page(kind, reports, samples)]
    )
    errors = {one.source: one.error for one in reports if one.error}
    if errors:
        raise StepsFailedError(errors)
    return steps.IngestReport(tuple(reports)).counts


@flow(name="ingest-prices", flow_run_name=_run_name, timeout_seconds=1800)
@_explained
def ingest_prices(as_of: AsOf = None, live: Live = False, sources: Sources = ()) -> dict[str, int]:
    """Fetch rare-earth prices and keep what is new."""
    return _ingest("price", as_of, live, sources)


@flow(name="ingest-trade", flow_run_name=_run_name, timeout_seconds=1800)
@_explained
def ingest_trade(as_of: AsOf = None, live: Live = False, sources: Sources = ()) -> dict[str, int]:
    """Fetch trade volumes and keep what is new."""
    return _ingest("trade", as_of, live, sources)


@flow(name="ingest-reference", flow_run_name=_run_name, timeout_seconds=1800)
@_explained
def ingest_reference(
    as_of: AsOf = None, live: Live = False, sources: Sources = ()
) -> dict[str, int]:
    """Fetch yearly reference figures and keep what is new."""
    return _ingest("reference", as_of, live, sources)


# --- engines ----------------------------------------------------------------------


class _Parcel:
    """Something on its way to a cluster or back, which Prefect would else search for states, point by point."""

    def __init__(self, content: Any) -> None:
        self.content = content


@task(name="compute-chunk", task_run_name="{label}", cache_policy=NO_CACHE, persist_result=False)
def compute_chunk(label: str, parcel: _Parcel) -> _Parcel:
    """One chunk of a long computation, wherever the cluster has room for it."""
    function, chunk = parcel.content
    return _Parcel(on_one_thread(function, chunk))


def _engine(settings: Settings) -> Engine | None:
    """The cluster that the settings ask for; None: this machine."""
    if settings.engine == "local" or not _is_in_prefect():
        return None
    return partial(on_dask, settings)


def on_dask(
    settings: Settings, function: Callable[[Chunk], Result], chunks: Sequence[Chunk]
) -> Generator[tuple[int, Result], None, None]:
    """Each chunk as a task of this run; raises EngineError for a cluster that can't be had or breaks."""
    # Takes half a second: only for who asked for it.
    from prefect_dask.task_runners import DaskTaskRunner

    # Prefect shows what happens; Dask's own account of each connection would bury it.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    if settings.dask_scheduler:
        runner = DaskTaskRunner(
            address=f"tcp://{settings.dask_scheduler}",
            client_kwargs={"timeout": SCHEDULER_PATIENCE_SECONDS},
        )
        place = f"the Dask scheduler at {settings.dask_scheduler}"
    else:
        runner = DaskTaskRunner(
            # One thread a process: Python computes on one at a time. Dask opens a port for its dashboard
            # whatever is asked: one of loopback that is free, not always the same.
            cluster_kwargs={
                "n_workers": min(settings.lanes, len(chunks)),
                "threads_per_worker": 1,
                "dashboard_address": "127.0.0.1:0",
            }
        )
        place = "the local Dask cluster"
    with ExitStack() as stack:
        try:
            stack.enter_context(runner)
            runner.client  # noqa: B018 - starts the cluster, or finds the scheduler
        except (OSError, RuntimeError) as error:
            message = (
                f"{place} can't be used ({type(error).__name__}: {error}); see LODESTONE_ENGINE"
            )
            raise EngineError(message) from error
        futures = [
            runner.submit(
                compute_chunk,
                {
                    "label": f"chunk {number} of {len(chunks)}",
                    "parcel": _Parcel((function, chunk)),
                },
            )
            for number, chunk in enumerate(chunks, start=1)
        ]
        # A future that is let go frees the cluster of its result.
        for number in range(len(chunks)):
            try:
                parcel = futures.pop(0).result()
            except Exception as error:
                message = f"{place} lost chunk {number + 1} of {len(chunks)} ({type(error).__name__}: {error})"
                raise EngineError(message) from error
            yield number, parcel.content


class _Progress:
    """A bar in the UI for work that is long enough to be watched."""

    def __init__(self, key: str, description: str) -> None:
        self._key = key
        self._description = description
        self._artifact: Any = None
        self._shown = -1

    def __call__(self, done: int, of: int) -> None:
        if of < steps.LONG_FROM or not _is_in_prefect():
            return
        percent = 100.0 * done / of
        # Each update is a request: two thousand days of a replay need a hundred of them.
        if int(percent) == self._shown:
            return
        self._shown = int(percent)
        if self._artifact is None:
            self._artifact = create_progress_artifact(
                percent, key=self._key, description=self._description
            )
        else:
            update_progress_artifact(self._artifact, progress=percent)


# --- from figures to alerts -------------------------------------------------------


@flow(name="forecast", flow_run_name=_run_name, timeout_seconds=1800)
@_explained
def forecast(as_of: AsOf = None, series: SeriesNames = ()) -> dict[str, int]:
    """Forecast every series whose evidence allows it, on the engine of the settings."""
    with _service() as service:
        report = steps.forecast(
            service,
            steps.moment(service, as_of, live=False),
            series,
            run_id=_run_id(),
            engine=_engine(service.settings),
            told=_Progress("forecast-progress", "Series that this run has dealt with."),
        )
    _say(report.lines())
    prices = [one for one in report.forecasts if one.frequency == "month"]
    _publish(artifacts.forecast_page(one, price_fan) for one in prices)
    return report.counts


@flow(name="backtest", flow_run_name=_run_name, timeout_seconds=7200)
@_explained
def backtest(as_of: AsOf = None, series: SeriesNames = ()) -> dict[str, int]:
    """Test every model on the past of each series, keep the scorecards, and say whether the choices hold up."""
    with _service() as service:
        report = steps.backtest(
            service,
            steps.moment(service, as_of, live=False),
            series,
            run_id=_run_id(),
            engine=_engine(service.settings),
            told=_Progress("backtest-progress", "Series that this run has tested."),
        )
    _say(report.lines())
    _publish(
        [artifacts.backtest_table(report.cards, report.verdicts, report.refused, report.newest)]
    )
    draw = partial(score_panels, newest=report.newest)
    _publish(
        artifacts.backtest_page(card, report.verdicts[card.series], draw) for card in report.cards
    )
    return report.counts


@flow(name="project-market", flow_run_name=_run_name, timeout_seconds=900)
@_explained
def project_market(as_of: AsOf = None, markets: Markets = ()) -> dict[str, int]:
    """Project every market under each scenario, and say why its shortfall changed."""
    with _service() as service:
        moment = steps.moment(service, as_of, live=False)
        report = steps.project(service, moment, markets, run_id=_run_id())
    _say(report.lines())
    by_market: dict[str, list[MarketProjection]] = {}
    for one in report.projections:
        by_market.setdefault(one.market, []).append(one)
    _publish(
        artifacts.market_page(
            some,
            report.changes,
            _market_pictures(some, report.changes),
            report.unexplained.get((name, some[0].scenario), ""),
        )
        for name, some in by_market.items()
    )
    return report.counts


def _market_pictures(
    projections: Sequence[MarketProjection], changes: Mapping[tuple[str, str], Waterfall]
) -> Iterator[tuple[str, bytes]]:
    """What the pictures of a market show and their PNG; the base case is drawn, the scenarios beside it."""
    base = projections[0]
    yield "supply, demand and shortfall, by month", balance_fan(projections)
    change = changes.get((base.market, base.scenario))
    if change is not None:
        yield "what changed the expected shortfall", waterfall_chart(change)
    yield "supply by origin, by month", supply_stack(base)
    yield "demand by use, by month", demand_stack(base)


@flow(name="raise-alerts", flow_run_name=_run_name, timeout_seconds=600)
@_explained
def raise_alerts(as_of: AsOf = None) -> dict[str, int]:
    """Judge every rule and write incidents with their messages to the outbox."""
    with _service() as service:
        moment = steps.moment(service, as_of, live=False)
        run_id, started = _run_id(), time.perf_counter()
        report = steps.raise_alerts(service, moment, run_id=run_id)
        if not _PULSE.get():
            # A pulse notes its steps itself. Whoever asks when rules were judged last must see this one too.
            service.runs.start(run_id, moment.book, moment.known_at, service.clock())
            seconds = time.perf_counter() - started
            service.runs.step(run_id, steps.RAISE_STEP, seconds, report.counts)
            service.runs.finish(run_id, service.clock())
        if scored := steps.score_closed(service, moment):
            LOG.info("%d closed episodes scored", scored)
        told = desk.told_where(service, report.incidents)
        changed = desk.steps_of(service, report.decisions, moment)
    _say(report.lines())
    _publish(
        [artifacts.alerts_page(report.incidents, told, changed, report.silences, report.unjudged)]
    )
    return report.counts


@flow(name="deliver-alerts", flow_run_name=_run_name, timeout_seconds=1200)
@_explained
def deliver_alerts(as_of: AsOf = None, patience_seconds: Patience = None) -> dict[str, int]:
    """Empty the outbox into Slack; the run fails, after all that can be sent, when something is in the way.

    In the way are messages that were given up, or wait or are unclear for longer than 15 minutes though no
    mute window keeps them, and a token that Slack refuses.
    """
    failures: list[Exception] = []
    with _service() as service:
        moment = steps.moment(service, as_of, live=False)
        if as_of is None:
            with _goes_on(failures):
                steps.watch(service, moment, run_id=_run_id())
                desk.end_old_drills(service)
        if patience_seconds is None:
            patience_seconds = health.delivery_patience_seconds(service)
        report = steps.deliver(
            service,
            moment,
            patience_seconds=patience_seconds,
            longest_seconds=LONGEST_DELIVERY_SECONDS,
        )
        if as_of is None:
            with _goes_on(failures):
                after = steps.moment(service, None, live=False)
                made = steps.watch_delivery(service, after, run_id=_run_id())
                if any(one.says for one in made):
                    report = report.then(steps.deliver(service, after))
        left = health.outbox(service, moment.book, service.clock(), unclear_after=health.LATE_AFTER)
    _say(report.lines())
    if report.sent or left.pending or left.drills or left.problems:
        counts = {"sent": report.sent, **left.counts}
        _publish([artifacts.outbox_page(counts, left.oldest_unsent_seconds, left.problems)])
    for failure in failures:
        raise failure
    if left.problems:
        raise UndeliveredError(left.problems)
    return report.counts


@contextmanager
def _goes_on(failures: list[Exception]) -> Iterator[None]:
    """A look around a delivery: when it fails, what was decided before still gets delivered, and the run fails in the end."""
    try:
        yield
    except Exception as error:
        LOG.exception("looking after open alerts failed, delivery goes on")
        failures.append(error)


@flow(name="write-outlook", flow_run_name=_run_name, timeout_seconds=600)
@_explained
def write_outlook(as_of: AsOf = None) -> dict[str, int]:
    """Write the outlook, one self-contained HTML page."""
    with _service() as service:
        report = steps.report(service, steps.moment(service, as_of, live=False))
    _say(report.lines())
    return report.counts


# --- the past ---------------------------------------------------------------------


@flow(name="replay", flow_run_name=_replay_name, timeout_seconds=14_400)
@_explained
def replay(
    first: FirstDay = None, last: LastDay = None, market: ReplayedMarket = "", rules: RuleFile = ""
) -> dict[str, int]:
    """Live through past days with what was known then, and say how right each rule's alerts would have been.

    Nothing is posted. Without a market and a rule file, how often each rule was right is kept, and its
    messages say so from then on.
    """
    with _service() as service:
        until = last or service.clock().date() - A_DAY
        since = first or until - REPLAYED
        folder = _replay_folder(service, since, until, market, rules)
        result = replay_reference(
            service,
            first=since,
            last=until,
            ruleset=read_rules(service.settings, service.catalog, Path(rules))
            if rules
            else service.ruleset,
            market=market or None,
            out=folder,
            told=_Progress("replay-progress", "Days that this replay has lived through."),
        )
        is_trial = bool(market or rules)
        kept = 0 if is_trial else desk.keep_records(service, result, first=since, last=until)
    picture = folder / "replay.png"
    _publish(
        [
            artifacts.replay_page(
                since,
                until,
                result.rules,
                result.without_truth,
                result.left_out,
                result.timeline,
                picture.read_bytes() if picture.exists() else None,
                kept=kept,
                folder=str(folder),
            )
        ]
    )
    return {
        "days": (until - since).days + 1,
        "rules": len(result.rules),
        "transitions": len(result.timeline),
        "records_kept": kept,
    }


def _replay_folder(
    service: steps.Service, first: date, last: date, market: str, rules: str
) -> Path:
    """Where the files of a replay stay, in the home folder; another rule file has another folder."""
    parts = [f"{first}-to-{last}", market, Path(rules).stem if rules else ""]
    name = re.sub(r"[^\w.-]", "-", "-".join(filter(None, parts)))
    return (service.settings.home / "replays" / name).resolve()


# --- all of it --------------------------------------------------------------------


@flow(name="pulse", flow_run_name=_run_name, timeout_seconds=3600)
@_explained
def pulse(as_of: AsOf = None, live: Live = False) -> None:
    """Run the whole service once, every step whatever became of the ones before.

    A step that fails leaves the others what was stored earlier. A stored result that is older than its
    data counts as missing: the rules that need it keep their last state. What was decided before still
    gets delivered. The run fails in the end, by name.
    """
    plan: tuple[tuple[Flow[..., dict[str, int]], dict[str, Any]], ...] = (
        (ingest_prices, {"live": live}),
        (ingest_trade, {"live": live}),
        (ingest_reference, {"live": live}),
        (forecast, {}),
        (project_market, {}),
        (raise_alerts, {}),
        (deliver_alerts, {}),
        (write_outlook, {}),
    )
    run_id = _run_id()
    errors = {}
    with _service() as service:
        moment = steps.moment(service, as_of, live)
        service.runs.start(run_id, moment.book, moment.known_at, service.clock(), _run_page(run_id))
    # Steps share this process: they live and die with the pulse, whose heartbeat speaks for them. Their
    # own would cost a second each, the time until its thread notices the end.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), _speaking_for(run_id):
        for step, parameters in plan:
            started = time.perf_counter()
            call = step if _is_in_prefect() else step.fn
            counts: dict[str, int] = {}
            error = ""
            try:
                counts = call(as_of=as_of, **parameters)
            except Exception as problem:
                # Whatever it is: the steps after it must run, and the end of this run says it.
                error = f"{problem}" or type(problem).__name__
                errors[step.name] = error
                # Prefect has logged the traceback already, with the step's own run.
                LOG.error(
                    "%s failed, the pulse goes on: %s",
                    step.name,
                    error,
                    exc_info=not _is_in_prefect(),
                )
            else:
                told = ", ".join(f"{number} {name}" for name, number in counts.items())
                LOG.info("%s: %s", step.name, told)
            with _service() as service:
                service.runs.step(run_id, step.name, time.perf_counter() - started, counts, error)
    with _service() as service:
        service.runs.finish(run_id, service.clock())
    if errors:
        raise StepsFailedError(errors)


def _run_page(run_id: str) -> str:
    settings = load_settings()
    return f"{settings.ui_url}/runs/flow-run/{run_id}" if settings.ui_url else ""
