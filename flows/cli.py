"""The `lodestone` command: arguments in, one sentence, table or JSON object out; heavy imports wait."""

import argparse
import contextlib
import logging
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Everything else is imported where it is used: `lodestone --help` answers in well under half a second.
from alerts.errors import AlertsError
from flows import cli_alerts, cli_replay, cli_slack
from flows.console import (
    EXIT_CODES,
    FAILED,
    FINE,
    MISUSED,
    NO_DATABASE,
    NO_PREFECT,
    a_count,
    a_day,
    add_as_of,
    add_command,
    answer,
    incident_object,
    new_run_id,
    note,
    open_service,
    plain,
    print_incidents,
    print_json,
    read_panel,
    read_settings,
    without,
)
from flows.errors import (
    CatalogError,
    DatabaseUnusableError,
    LodestoneError,
    PrefectUnreachableError,
    SettingsError,
    UsageError,
)

if TYPE_CHECKING:
    from flows.launcher import Outcome
    from flows.settings import Settings
    from flows.steps import MarketReport, Service, SourceReport
    from flows.storage.runs import StepRun
    from forecasting.events import EventResult
    from forecasting.panel import Tested
    from forecasting.results import MarketProjection, SeriesForecast


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (LodestoneError, AlertsError) as error:
        print(f"lodestone: {error}", file=sys.stderr)
        return _exit_code(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output left (`| head`): nothing to say, and nobody to say it to.
        with contextlib.suppress(OSError):
            sys.stdout.close()
        return FINE


def _exit_code(error: Exception) -> int:
    from alerts.errors import RuleFileError
    from alerts.silences import MatcherError

    if isinstance(error, SettingsError | CatalogError | RuleFileError | MatcherError | UsageError):
        return MISUSED
    if isinstance(error, PrefectUnreachableError):
        return NO_PREFECT
    return NO_DATABASE if isinstance(error, DatabaseUnusableError) else FAILED


# --- arguments --------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Every command with its arguments."""
    top = argparse.ArgumentParser(
        prog="lodestone",
        description="Early warning for rare-earth magnet supply: forecasts, market balance, Slack alerts.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    run = add_command(
        commands, "run", _run, "the whole pipeline, as a Prefect deployment with its UI"
    )
    run.add_argument(
        "--once", action="store_true", help="end after the run instead of keeping the UI up"
    )
    add_as_of(run)
    _live(run)

    ingest = add_command(commands, "ingest", _ingest, "fetch, check and keep figures")
    ingest.add_argument(
        "sources", nargs="*", metavar="SOURCE", help="only these sources (default: all)"
    )
    add_as_of(ingest)
    _live(ingest)

    forecast = add_command(commands, "forecast", _forecast, "forecast series and keep the result")
    forecast.add_argument(
        "series", nargs="*", metavar="SERIES", help="only these series (default: all)"
    )
    add_as_of(forecast)

    outlook = add_command(
        commands, "outlook", _outlook, "a market's balance month by month, and why it changed"
    )
    outlook.add_argument(
        "market",
        nargs="?",
        metavar="MARKET",
        help="only this market, with what changed and its scenarios (default: all, in short)",
    )
    outlook.add_argument(
        "--scenario",
        metavar="NAME",
        help="this scenario against the base case; NAME+NAME lays several over each other",
    )
    outlook.add_argument(
        "--months",
        type=a_count,
        metavar="N",
        help="how far (default: LODESTONE_MARKET_MONTHS); another horizon is shown, not kept",
    )
    outlook.add_argument(
        "--trace",
        action="store_true",
        help="also where each number comes from: series, vintage, factors, sources, confidence",
    )
    outlook.add_argument(
        "--charts",
        type=Path,
        metavar="DIR",
        help="also draw what is shown into this folder, as PNG and SVG",
    )
    add_as_of(outlook)

    data = commands.add_parser(
        "data", help="figures that are kept, and those that were turned away"
    )
    actions = data.add_subparsers(required=True, metavar="ACTION")
    add_as_of(
        add_command(
            actions, "status", _data_status, "what is kept of each series, how old, what is next"
        )
    )
    refused = add_command(
        actions, "quarantine", _data_quarantine, "rows that were turned away, last seen first"
    )
    refused.add_argument(
        "source", nargs="?", metavar="SOURCE", help="only this source's (default: all)"
    )
    refused.add_argument(
        "--limit", type=a_count, default=50, metavar="N", help="how many rows at the most (50)"
    )
    past = add_command(actions, "history", _data_history, "one series as it was known on a day")
    past.add_argument("series", metavar="SERIES", help="name of a series")
    past.add_argument(
        "--known-at",
        type=a_day,
        metavar="DATE",
        help="what was known at the end of this day, UTC (default: now)",
    )

    mass = add_command(
        actions, "mass-balance", _mass_balance, "a year of the world from mined ore to magnets"
    )
    mass.add_argument(
        "--year", type=int, metavar="YEAR", help="default: the newest with China's mine output"
    )
    add_as_of(mass)

    cli_alerts.register(commands)
    cli_slack.register(commands)

    backtest = add_command(commands, "backtest", _backtest, "judge models on the past")
    backtest.add_argument(
        "--panel",
        type=Path,
        metavar="CSV",
        help="long CSV unique_id,ds,y (default: our own prices)",
    )
    backtest.add_argument(
        "--freq",
        default="MS",
        metavar="F",
        help="frequency of the panel (default: MS, month starts)",
    )
    backtest.add_argument("--horizon", type=a_count, default=6, metavar="H", help="steps ahead (6)")
    backtest.add_argument(
        "--step", type=a_count, default=3, metavar="S", help="periods between cutoffs (3)"
    )
    backtest.add_argument(
        "--min-train",
        type=a_count,
        default=36,
        metavar="N",
        help="periods before the first cutoff (36)",
    )
    backtest.add_argument(
        "--models", metavar="a,b,…", help="models, or all (default: those of the settings)"
    )
    backtest.add_argument(
        "--out", type=Path, metavar="CSV", help="keep every forecast in this file"
    )
    backtest.add_argument(
        "--events",
        action="store_true",
        help="also judge probabilities of a rise within the horizon",
    )
    backtest.add_argument(
        "--rise",
        type=_rise,
        default=0.25,
        metavar="R",
        help="rise that --events asks for; 0.25 is 25 %% (0.25)",
    )

    cli_replay.register(commands)

    report = add_command(commands, "report", _report, "write the outlook, one HTML page")
    report.add_argument("--out", type=Path, metavar="FILE", help="where to write it")
    add_as_of(report)

    check = add_command(
        commands,
        "check",
        _check,
        "look whether settings, data, rules and services work, and what each rule would do",
    )
    add_as_of(check)

    database = commands.add_parser("db", help="the database")
    actions = database.add_subparsers(required=True, metavar="ACTION")
    add_command(actions, "upgrade", _db_upgrade, "bring the tables to this version's shape")
    return top


def _live(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--live", action="store_true", help="ask the real publishers, not the bundled snapshot"
    )


# --- commands -----------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    from flows.launcher import Request, launch

    settings = read_settings()
    request = Request(as_of=options.as_of, live=options.live, once=options.once)
    # Built before anything starts: a rule file or a database that can't be used is told at once.
    with open_service(settings) as service:
        view = _RunView(service, as_json=options.json, as_of=options.as_of)
        if service.sender is None:
            note(WITHOUT_SLACK)
        return launch(settings, request, say=note, watch=view.watch, show=view.show)


WITHOUT_SLACK = (
    "No Slack token (LODESTONE_SLACK_TOKEN): alerts are shown here and in the outlook; "
    "their messages wait in the outbox."
)


UNHEARD = (
    "messages have buttons that nobody answers: set LODESTONE_SLACK_APP_TOKEN (docs/slack-app.md), "
    "or LODESTONE_SLACK_BUTTONS=false"
)


def _may_listen(settings: "Settings") -> bool:
    """Whether presses of buttons can reach us, by a connection or by signed requests."""
    secrets = (settings.slack_app_token, settings.slack_signing_secret)
    return any(secret.get_secret_value().strip() for secret in secrets)


class _RunView:
    """What `run` prints: each step as it ends, then the alerts, then where to look."""

    def __init__(self, service: "Service", *, as_json: bool, as_of: date | None) -> None:
        from flows import steps

        steps.moment(service, as_of, live=False)  # refuses a day that has not come
        self._service = service
        self._as_json = as_json
        self._as_of = as_of
        self._steps_shown = 0

    def watch(self, flow_run_id: str) -> None:
        """Print the steps that ended since the last look."""
        run = self._service.runs.get(flow_run_id)
        for step in run.steps[self._steps_shown :] if run else ():
            # With --json the lines are for whoever watches, the object for whoever reads.
            print(_step_line(step), file=sys.stderr if self._as_json else sys.stdout, flush=True)
            self._steps_shown += 1

    def show(self, outcome: "Outcome") -> None:
        """Print what the run found."""
        from flows import steps

        self.watch(outcome.flow_run_id)
        service = self._service
        run = service.runs.get(outcome.flow_run_id)
        moment = steps.moment(service, self._as_of, live=False)
        incidents = service.ledger.open_incidents(moment.book)
        page = steps.outlook_path(service, moment)
        if not outcome.is_completed:
            failed = [step.name for step in run.steps if step.error] if run else []
            why = f"{', '.join(failed)} failed" if failed else outcome.message or outcome.ui_url
            note(f"The run ended {outcome.state}: {why}")
        if self._as_json:
            print_json(
                {
                    "as_of": (run.as_of if run else moment.known_at).date(),
                    "steps": [_step_object(step) for step in run.steps] if run else [],
                    "incidents": [incident_object(one) for one in incidents],
                    "report": str(page) if page.exists() else None,
                    "ui_url": outcome.ui_url,
                }
            )
            return
        print_incidents(service, moment, incidents)
        print(f"Prefect UI: {outcome.ui_url}")
        if page.exists():
            print(f"Outlook:    {page}", flush=True)


def _ingest(options: argparse.Namespace) -> int:
    from flows import steps

    with open_service() as service:
        moment = steps.moment(service, options.as_of, live=options.live)
        report = steps.ingest(service, moment, sources=options.sources)
    answer(
        options,
        {
            "as_of": moment.known_at.date(),
            "sources": [_source_object(one) for one in report.sources],
            "rejected": report.samples,
        },
        report.lines(),
    )
    return FAILED if any(one.error for one in report.sources) else FINE


def _source_object(report: "SourceReport") -> dict[str, Any]:
    """The account of one source: its error only when there is one."""
    names = (
        "source",
        "read",
        "new",
        "revised",
        "unchanged",
        "quarantined",
        "newest_period",
        "age_days",
    )
    told = {name: getattr(report, name) for name in names}
    return told | ({"error": report.error} if report.error else {})


def _data_status(options: argparse.Namespace) -> int:
    from flows import steps

    with open_service() as service:
        moment = steps.moment(service, options.as_of, live=False)
        status = steps.data_status(service, moment)
    answer(
        options,
        {
            "as_of": moment.known_at.date(),
            "groups": status.groups,
            "series": status.series,
            "visits": status.visits,
        },
        status.lines(),
    )
    return FINE


def _data_quarantine(options: argparse.Namespace) -> int:
    from flows import steps

    with open_service() as service:
        if options.source:
            steps.chosen_sources(service, [options.source], live=True)
        found = service.observations.quarantined(options.source, limit=options.limit)
        total = service.observations.count_quarantined(options.source)
    whose = f" of {options.source}" if options.source else ""
    lines = [
        f"{row.source}: {row.file} row {row.row}, last seen {row.last_at:%Y-%m-%d %H:%M} UTC\n"
        f"    {row.reason}\n    {row.raw}"
        for row in found
    ]
    if total > len(found):
        lines.append(f"{total - len(found)} more{whose}: --limit {total}")
    answer(
        options,
        {"total": total, "rows": found},
        lines or [f"no row{whose} was turned away"],
    )
    return FINE


def _data_history(options: argparse.Namespace) -> int:
    from flows import steps

    with open_service() as service:
        moment = steps.moment(service, options.known_at, live=False)
        rows = steps.history_rows(service, options.series, moment)
        unit = service.catalog.series[options.series].unit
    answer(
        options,
        {
            "series": options.series,
            "unit": unit,
            "known_at": moment.known_at,
            "rows": rows,
        },
        [
            f"{options.series}, {unit}, as known on {moment.known_at:%Y-%m-%d %H:%M} UTC",
            *(
                f"{row.period}  {row.value:>14,.10g}  known {row.known_at:%Y-%m-%d}"
                f"{'' if row.known_by == 'publisher' else f' ({row.known_by})'}  {row.source_id}, {row.confidence}"
                + (f"; written {row.raw_value} {row.raw_unit}" if row.was_converted else "")
                + (f"; {row.note}" if row.note else "")
                for row in rows
            ),
            *([] if rows else ["nothing was known yet"]),
        ],
    )
    return FINE


def _mass_balance(options: argparse.Namespace) -> int:
    from flows import steps

    with open_service() as service:
        moment = steps.moment(service, options.as_of, live=False)
        found = steps.mass_balance(service, moment, options.year)
    answer(
        options,
        {"as_of": moment.known_at.date(), **plain(found)},
        [
            f"{found.year}, as known on {moment.known_at:%Y-%m-%d}, at the factors' central values",
            *(
                f"  {one.title:<32} {one.tonnes:>11,.0f} {one.unit:<13} {one.rule}"
                for one in found.steps
            ),
            f"  With the scrap loop, {found.scrap_multiplier:.2f} times the magnets of a tonne of oxide.",
        ],
    )
    return FINE


def _forecast(options: argparse.Namespace) -> int:
    from flows import steps

    with open_service() as service:
        moment = steps.moment(service, options.as_of, live=False)
        report = steps.forecast(service, moment, options.series, run_id=new_run_id())
    answer(
        options,
        {
            "as_of": moment.known_at.date(),
            "forecasts": [without(one, "paths", "history") for one in report.forecasts],
            "refused": report.refused,
        },
        [line for one in report.forecasts for line in _forecast_lines(one)]
        + [f"{series}: no forecast: {why}" for series, why in report.refused.items()],
    )
    # Series that were asked for by name and can't be had are a failure, a gap in the catalogue isn't.
    return FAILED if options.series and report.refused else FINE


def _outlook(options: argparse.Namespace) -> int:
    from flows import steps

    asked = options.scenario
    with open_service() as service:
        markets = [options.market] if options.market else []
        moment = steps.moment(service, options.as_of, live=False)
        report = steps.project(
            service,
            moment,
            markets,
            run_id=new_run_id(),
            # The base case as well: a scenario says little without it.
            scenarios=None if asked is None else ("base", asked),
            months=options.months,
        )
    shown = _shown(report, asked)
    drawn = [] if options.charts is None else steps.draw_charts(report, shown, options.charts)
    left_out = ["shortfall_t_paths", "demand_t_paths", *([] if options.trace else ["trace"])]
    chosen = shown if asked else report.projections
    keys = {(one.market, one.scenario) for one in chosen}
    answer(
        options,
        {
            "as_of": moment.known_at.date(),
            "markets": [without(one, *left_out) for one in chosen],
            "refused": report.refused,
            "changes": [
                {"scenario": key[1], **plain(change)}
                for key, change in report.changes.items()
                if key in keys
            ],
            **({} if options.charts is None else {"charts": [str(path) for path in drawn]}),
        },
        [
            *_outlook_lines(options, report, shown),
            *(f"{market}: no projection: {why}" for market, why in report.refused.items()),
            *(f"drawn: {path}" for path in drawn),
        ],
    )
    return FAILED if options.market and report.refused else FINE


def _shown(report: "MarketReport", asked: str | None) -> "list[MarketProjection]":
    """One projection a market: under the scenario that was asked for, else the base case."""
    found: dict[str, MarketProjection] = {}
    for one in report.projections:
        if asked is not None or one.market not in found:
            found[one.market] = one
    return list(found.values())


def _backtest(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from flows.engines import local_engine
    from forecasting.panel import panel_backtest, panel_events

    settings = read_settings()
    if options.out and not options.out.resolve().parent.is_dir():
        message = f"{options.out}: there is no folder {options.out.parent} to write it to"
        raise UsageError(message)
    models = options.models.split(",") if options.models else settings.models
    panel = read_panel(options.panel)
    shape = {
        "freq": options.freq,
        "horizon": options.horizon,
        "step": options.step,
        "min_train": options.min_train,
    }
    series = panel["unique_id"].nunique() if "unique_id" in panel else 0
    try:
        # On a terminal only, and apart from the answer.
        with tqdm(total=series, unit="series", file=sys.stderr, disable=None, leave=False) as bar:
            rows, summary = panel_backtest(
                panel,
                **shape,
                models=tuple(name.strip() for name in models if name.strip()),
                engine=local_engine(PANEL_POOL * series, settings.lanes),
                on_series=lambda tested: _told(bar, tested),
            )
        told: list[str] = []
        if options.events:
            events, left_out = panel_events(panel, **shape, rise=options.rise, seed=settings.seed)
            summary["events"] = events.summary()
            told = _event_lines(events, options.rise)
            refused = summary.get("refused", {})
            left_out = {name: why for name, why in left_out.items() if name not in refused}
            if left_out:
                summary["left_out"] = left_out
    except ValueError as error:  # a PanelError, or a model that nobody knows
        raise UsageError(str(error)) from None
    if options.out:
        try:
            rows.to_csv(options.out, index=False)
        except OSError as error:
            message = f"{options.out}: can't be written ({error.strerror})"
            raise UsageError(message) from None
    answer(options, summary, [*_backtest_lines(summary), *told])
    return FINE if summary["cutoffs"] else FAILED


def _told(bar: Any, tested: Sequence["Tested"]) -> None:
    bar.update(len(tested))
    for one in tested:
        if one.trace:
            logging.getLogger("lodestone.backtest").error(
                "%s: %s\n%s", one.series, one.refused, one.trace
            )


PANEL_POOL = 4
"""A series of a panel is tested at many more cutoffs than one that is forecast: fewer are worth a pool."""


def _rise(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        message = f"{text!r} is not a share above 0, such as 0.25 for 25 %"
        raise argparse.ArgumentTypeError(message)
    return value


def _event_lines(events: "EventResult", rise: float) -> list[str]:
    """The figures, and whether what was said came true as often as it was said."""
    figures = events.summary()
    named = {"base rate": "base_rate", "AUC": "auc", "Brier score": "brier", "skill": "brier_skill"}
    told = ", ".join(
        f"{label} {'–' if figures[key] is None else f'{figures[key]:.3f}'}"
        for label, key in named.items()
    )
    lines = [f"rises of {100 * rise:g} %: {told} in {figures['n']} cases"]
    for each in events.reliability():
        if each.n:
            said, came = 100 * each.mean_forecast, 100 * each.observed_share
            lines.append(f"  said {said:3.0f} %, came {came:3.0f} % of {each.n}")
    return lines


def _backtest_lines(summary: Mapping[str, Any]) -> list[str]:
    table = [*summary["models"].items(), ("champion", summary["champion"])]
    lines = [
        f"{summary['cutoffs']} cutoffs; errors relative to the Gaussian random walk",
        f"{'model':<16} {'MAE':>7} {'CRPS':>7} {'80 % held':>10} {'95 % held':>10} {'seconds':>8}",
    ]
    for name, figures in table:
        mae, crps, held_80, held_95 = (
            "–" if figures[key] is None else f"{figures[key]:.3f}"
            for key in ("rel_mae", "rel_crps", "coverage_80", "coverage_95")
        )
        lines.append(
            f"{name:<16} {mae:>7} {crps:>7} {held_80:>10} {held_95:>10} {figures['seconds']:>8.1f}"
        )
    share = summary["champion"]["share"]
    if share:
        spoken = ", ".join(f"{name} for {100 * part:.0f} %" for name, part in share.items())
        lines.append(f"the champion of the newest cutoffs: {spoken} of the series")
    for kind in ("refused", "failed", "left_out"):
        lines += [f"{name}: {why}" for name, why in summary.get(kind, {}).items()]
    return lines


def _report(options: argparse.Namespace) -> int:
    from flows import steps

    with open_service() as service:
        moment = steps.moment(service, options.as_of, live=False)
        path = steps.report(service, moment, options.out).path
    answer(options, {"as_of": moment.known_at.date(), "report": str(path)}, [str(path)])
    return FINE


def _check(options: argparse.Namespace) -> int:
    """Settings, reference files and rules are read to get this far; what is left is told line by line."""
    from alerts.preview import Outcome, preview
    from flows import steps
    from flows.desk import waiting_replays
    from flows.known import situation

    checks: list[tuple[str, bool, str]] = []
    settings = read_settings()
    with open_service(settings) as service:
        moment = steps.moment(service, options.as_of, live=False)
        rules = service.ruleset.rules
        would = preview(rules, situation(service, moment))
        checks.append(("settings", True, f"home folder {settings.home.resolve()}"))
        checks.append(("database", True, service.database.place))
        checks.append(
            (
                "catalogue",
                True,
                f"{len(service.catalog.series)} series, {len(service.catalog.markets)} markets",
            )
        )
        offline = steps.source_names(service, live=False)
        online = sorted(steps.live_names(service))
        checks.append(
            ("sources", True, f"{', '.join(offline)}; with --live also {', '.join(online)}")
        )
        failing = [one.rule for one in would if one.outcome is Outcome.FAILS]
        told = f"{len(rules)} rules, {len(service.ruleset.routes)} routes"
        told += f"; failing: {', '.join(failing)}" if failing else ""
        checks.append(("rules", not failing, told))
        left = service.ledger.summary(steps.LIVE_BOOK, service.clock())
        waiting = f"{left.pending + left.sending + left.unknown} waiting, {left.dead} given up"
        if replays := waiting_replays(service):
            waiting += f" (and {replays} of looks into the past: alerts deliver --as-of DATE)"
        checks.append(("outbox", not left.dead, "; ".join([waiting, *left.problems])))
        has_token = service.sender is not None
        checks.append(
            ("slack", True, "a token is set; `lodestone run` posts" if has_token else WITHOUT_SLACK)
        )
        if has_token and settings.slack_buttons and not _may_listen(settings):
            checks.append(("buttons", True, UNHEARD))
    checks.append(_check_prefect(settings))
    answer(
        options,
        {
            "ok": all(passed for _, passed, _ in checks),
            "checks": [
                {"name": name, "passed": passed, "note": note} for name, passed, note in checks
            ],
            "rules": would,
        },
        [
            *(f"{'ok ' if passed else 'BAD'}  {name:<10} {note}" for name, passed, note in checks),
            "",
            f"What each rule would do, as known on {moment.known_at:%Y-%m-%d %H:%M} UTC",
            *(f"  {one.line}" for one in would),
        ],
    )
    return FINE if all(passed for _, passed, _ in checks) else FAILED


def _check_prefect(settings: "Settings") -> tuple[str, bool, str]:
    from flows.launcher import holder_of, require_free_port

    if settings.prefect_api_url:
        return "prefect", True, f"{settings.prefect_api_url} is used (asked when a run starts)"
    running = holder_of(settings.home.resolve())
    if running:
        return "prefect", True, f"Lodestone runs here, UI {running}"
    try:
        require_free_port(settings.prefect_port)
    except PrefectUnreachableError as error:
        return "prefect", False, str(error)
    return "prefect", True, f"port {settings.prefect_port} is free for the embedded server"


def _db_upgrade(options: argparse.Namespace) -> int:
    from flows.storage.database import open_database

    with open_database(read_settings().resolved_database_url) as database:
        database.upgrade()
        place, revision = database.place, database.revision()
    answer(options, {"database": place, "revision": revision}, [f"{place}: at revision {revision}"])
    return FINE


# --- what they share ----------------------------------------------------------------


def _step_object(step: "StepRun") -> dict[str, Any]:
    made = {"name": step.name, "seconds": round(step.seconds, 3), "counts": step.counts}
    return made | ({"error": step.error} if step.error else {})


def _step_line(step: "StepRun") -> str:
    counts = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in step.counts.items())
    outcome = f"FAILED: {step.error}" if step.error else counts
    return f"{step.name:<17} {step.seconds:6.1f} s   {outcome}"


def _forecast_lines(forecast: "SeriesForecast") -> list[str]:
    from alerts.wording import amount, number, period, span
    from forecasting.results import MEDIAN

    last = f"{amount(forecast.last_value, forecast.unit)} in {period(forecast.cutoff, forecast.frequency)}"
    lines = [f"{forecast.title} ({forecast.series}), {last}", f"  {forecast.reason}"]
    for when, quantiles in zip(forecast.periods, forecast.quantiles, strict=True):
        name = period(when, forecast.frequency)
        wide = span(quantiles[1], quantiles[-2], forecast.unit)
        lines.append(f"  {name:<9} {number(quantiles[MEDIAN]):>12}   (80 % range {wide})")
    return [*lines, ""]


def _outlook_lines(
    options: argparse.Namespace, report: "MarketReport", shown: "Iterable[MarketProjection]"
) -> list[str]:
    """All markets in short, or one in full; where numbers come from when that is asked for."""
    from flows.market_text import market_lines, overview_lines, trace_lines

    lines: list[str] = []
    for one in shown:
        group = [other for other in report.projections if other.market == one.market]
        key = (one.market, one.scenario)
        if options.market or options.scenario:
            change, unexplained = report.changes.get(key), report.unexplained.get(key, "")
            lines += market_lines(one, group, change, unexplained)
        else:
            lines += overview_lines(group, report.changes)
        if options.trace:
            lines += trace_lines(one)
    if not options.market and lines:
        lines.append("lodestone outlook MARKET: what changed, scenarios, indicators, components.")
    return lines
