"""The `lodestone` command: arguments in, one sentence, table or JSON object out; heavy imports wait."""

import argparse
import contextlib
import dataclasses
import enum
import json
import logging
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Everything else is imported where it is used: `lodestone --help` answers in well under half a second.
from alerts.errors import AlertsError
from flows.errors import (
    CatalogError,
    DatabaseUnusableError,
    LodestoneError,
    PrefectUnreachableError,
    SettingsError,
    UsageError,
)

if TYPE_CHECKING:
    import pandas as pd

    from alerts.lifecycle import Incident, Reason
    from flows.launcher import Outcome
    from flows.settings import Settings
    from flows.steps import MarketReport, Moment, Service, SourceReport
    from flows.storage.runs import StepRun
    from forecasting.events import EventResult
    from forecasting.panel import Tested
    from forecasting.results import MarketProjection, SeriesForecast

FINE, FAILED, MISUSED, UNDELIVERED, NO_PREFECT, NO_DATABASE = range(6)

EXIT_CODES = """\
exit codes:
  0  fine
  1  the run failed, or a check did not pass
  2  wrong usage, settings, catalogue or rule file
  3  messages remain that can't be delivered (DEAD); see `lodestone alerts redrive`
  4  Prefect can't be reached, its port is busy, or Lodestone already runs here
  5  the database can't be used
  130  ended by Ctrl-C before it was done

settings: LODESTONE_… variables and lodestone.toml; `lodestone check` shows what they lead to.
"""


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

    if isinstance(error, SettingsError | CatalogError | RuleFileError | UsageError):
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

    run = _command(commands, "run", _run, "the whole pipeline, as a Prefect deployment with its UI")
    run.add_argument(
        "--once", action="store_true", help="end after the run instead of keeping the UI up"
    )
    _as_of(run)
    _live(run)

    ingest = _command(commands, "ingest", _ingest, "fetch, check and keep figures")
    ingest.add_argument(
        "sources", nargs="*", metavar="SOURCE", help="only these sources (default: all)"
    )
    _as_of(ingest)
    _live(ingest)

    forecast = _command(commands, "forecast", _forecast, "forecast series and keep the result")
    forecast.add_argument(
        "series", nargs="*", metavar="SERIES", help="only these series (default: all)"
    )
    _as_of(forecast)

    outlook = _command(
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
        type=_positive,
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
    _as_of(outlook)

    data = commands.add_parser(
        "data", help="figures that are kept, and those that were turned away"
    )
    actions = data.add_subparsers(required=True, metavar="ACTION")
    _as_of(
        _command(
            actions, "status", _data_status, "what is kept of each series, how old, what is next"
        )
    )
    refused = _command(
        actions, "quarantine", _data_quarantine, "rows that were turned away, last seen first"
    )
    refused.add_argument(
        "source", nargs="?", metavar="SOURCE", help="only this source's (default: all)"
    )
    refused.add_argument(
        "--limit", type=_positive, default=50, metavar="N", help="how many rows at the most (50)"
    )
    past = _command(actions, "history", _data_history, "one series as it was known on a day")
    past.add_argument("series", metavar="SERIES", help="name of a series")
    past.add_argument(
        "--known-at",
        type=_day,
        metavar="DATE",
        help="what was known at the end of this day, UTC (default: now)",
    )

    mass = _command(
        actions, "mass-balance", _mass_balance, "a year of the world from mined ore to magnets"
    )
    mass.add_argument(
        "--year", type=int, metavar="YEAR", help="default: the newest with China's mine output"
    )
    _as_of(mass)

    alerts = commands.add_parser("alerts", help="incidents and their messages")
    actions = alerts.add_subparsers(required=True, metavar="ACTION")
    _as_of(_command(actions, "list", _alerts_list, "open incidents"))
    show = _command(actions, "show", _alerts_show, "one incident, its message and its history")
    show.add_argument("id", metavar="ID", help="id of an incident, or its first characters")
    deliver = _command(actions, "deliver", _alerts_deliver, "send what waits in the outbox")
    deliver.add_argument(
        "--until-empty",
        action="store_true",
        help="wait (up to 15 minutes) for messages that may not be sent yet",
    )
    _as_of(deliver)
    _command(actions, "redrive", _alerts_redrive, "put undeliverable (DEAD) messages back in line")

    backtest = _command(commands, "backtest", _backtest, "judge models on the past")
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
    backtest.add_argument(
        "--horizon", type=_positive, default=6, metavar="H", help="steps ahead (6)"
    )
    backtest.add_argument(
        "--step", type=_positive, default=3, metavar="S", help="periods between cutoffs (3)"
    )
    backtest.add_argument(
        "--min-train",
        type=_positive,
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

    report = _command(commands, "report", _report, "write the outlook, one HTML page")
    report.add_argument("--out", type=Path, metavar="FILE", help="where to write it")
    _as_of(report)

    _command(commands, "check", _check, "look whether settings, data, rules and services work")

    database = commands.add_parser("db", help="the database")
    actions = database.add_subparsers(required=True, metavar="ACTION")
    _command(actions, "upgrade", _db_upgrade, "bring the tables to this version's shape")
    return top


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    command: Callable[[argparse.Namespace], int],
    about: str,
) -> argparse.ArgumentParser:
    added = commands.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.add_argument(
        "--json", action="store_true", help="one JSON object on stdout, everything else on stderr"
    )
    added.set_defaults(command=command)
    return added


def _as_of(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--as-of", type=_day, metavar="DATE", help="as on this past day, with what was known then"
    )


def _live(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--live", action="store_true", help="ask the real publishers, not the bundled snapshot"
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is not a day; write it as 2025-06-21"
        raise argparse.ArgumentTypeError(message) from None


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        message = f"{text!r} is not a whole number above 0"
        raise argparse.ArgumentTypeError(message)
    return int(text)


# --- commands -----------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    from flows.launcher import Request, launch

    settings = _settings()
    request = Request(as_of=options.as_of, live=options.live, once=options.once)
    # Built before anything starts: a rule file or a database that can't be used is told at once.
    with _service(settings) as service:
        view = _RunView(service, as_json=options.json, as_of=options.as_of)
        if service.sender is None:
            _note(WITHOUT_SLACK)
        return launch(settings, request, say=_note, watch=view.watch, show=view.show)


WITHOUT_SLACK = (
    "No Slack token (LODESTONE_SLACK_TOKEN): alerts are shown here and in the outlook; "
    "their messages wait in the outbox."
)


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
            _note(f"The run ended {outcome.state}: {why}")
        if self._as_json:
            _print_json(
                {
                    "as_of": (run.as_of if run else moment.known_at).date(),
                    "steps": [_step_object(step) for step in run.steps] if run else [],
                    "incidents": [_incident_object(one) for one in incidents],
                    "report": str(page) if page.exists() else None,
                    "ui_url": outcome.ui_url,
                }
            )
            return
        _print_incidents(service, moment, incidents)
        print(f"Prefect UI: {outcome.ui_url}")
        if page.exists():
            print(f"Outlook:    {page}", flush=True)


def _ingest(options: argparse.Namespace) -> int:
    from flows import steps

    with _service() as service:
        moment = steps.moment(service, options.as_of, live=options.live)
        report = steps.ingest(service, moment, sources=options.sources)
    _answer(
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

    with _service() as service:
        moment = steps.moment(service, options.as_of, live=False)
        status = steps.data_status(service, moment)
    _answer(
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

    with _service() as service:
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
    _answer(
        options,
        {"total": total, "rows": found},
        lines or [f"no row{whose} was turned away"],
    )
    return FINE


def _data_history(options: argparse.Namespace) -> int:
    from flows import steps

    with _service() as service:
        moment = steps.moment(service, options.known_at, live=False)
        rows = steps.history_rows(service, options.series, moment)
        unit = service.catalog.series[options.series].unit
    _answer(
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

    with _service() as service:
        moment = steps.moment(service, options.as_of, live=False)
        found = steps.mass_balance(service, moment, options.year)
    _answer(
        options,
        {"as_of": moment.known_at.date(), **_plain(found)},
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

    with _service() as service:
        moment = steps.moment(service, options.as_of, live=False)
        report = steps.forecast(service, moment, options.series, run_id=_new_run_id())
    _answer(
        options,
        {
            "as_of": moment.known_at.date(),
            "forecasts": [_without(one, "paths", "history") for one in report.forecasts],
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
    with _service() as service:
        markets = [options.market] if options.market else []
        moment = steps.moment(service, options.as_of, live=False)
        report = steps.project(
            service,
            moment,
            markets,
            run_id=_new_run_id(),
            # The base case as well: a scenario says little without it.
            scenarios=None if asked is None else ("base", asked),
            months=options.months,
        )
    shown = _shown(report, asked)
    drawn = [] if options.charts is None else steps.draw_charts(report, shown, options.charts)
    left_out = ["shortfall_t_paths", "demand_t_paths", *([] if options.trace else ["trace"])]
    chosen = shown if asked else report.projections
    keys = {(one.market, one.scenario) for one in chosen}
    _answer(
        options,
        {
            "as_of": moment.known_at.date(),
            "markets": [_without(one, *left_out) for one in chosen],
            "refused": report.refused,
            "changes": [
                {"scenario": key[1], **_plain(change)}
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


def _alerts_list(options: argparse.Namespace) -> int:
    from flows import steps

    with _service() as service:
        moment = steps.moment(service, options.as_of, live=False)
        incidents = service.ledger.open_incidents(moment.book)
        if options.json:
            found = [_incident_object(one) for one in incidents]
            _print_json({"book": moment.book, "incidents": found})
        else:
            _print_incidents(service, moment, incidents)
    return FINE


def _alerts_show(options: argparse.Namespace) -> int:
    with _service() as service:
        incident = service.ledger.incident(options.id)
        if incident is None:
            message = (
                f"there is no incident {options.id!r}; `lodestone alerts list` shows the open ones"
            )
            raise UsageError(message)
        transitions = service.ledger.transitions(incident.id)
    reason = transitions[-1].reason if transitions else None
    history = [
        f"{one.at:%Y-%m-%d %H:%M} UTC  {one.reason.lower().replace('_', ' ')}: "
        f"{one.severity.name.lower()}, {one.state.lower()}"
        for one in transitions
    ]
    _answer(
        options,
        {
            "incident": incident.as_dict(),
            "transitions": [
                {
                    "at": one.at,
                    "reason": one.reason,
                    "state_before": one.state_before,
                    "state": one.state,
                    "severity": one.severity.name.lower(),
                    "headline": one.reading.headline,
                }
                for one in transitions
            ],
        },
        [_as_text(incident, reason), "", *history],
    )
    return FINE


def _alerts_deliver(options: argparse.Namespace) -> int:
    from flows import steps

    patience = UNTIL_EMPTY_SECONDS if options.until_empty else 0.0
    with _service() as service:
        moment = steps.moment(service, options.as_of, live=False)
        report = steps.deliver(service, moment, patience_seconds=patience)
        left = service.ledger.summary(moment.book, service.clock())
    _answer(
        options,
        {
            "sent": report.sent,
            "pending": left.pending + left.sending,
            "unknown": left.unknown,
            "dead": left.dead,
            "dead_charts": left.dead_charts,
            "oldest_unsent_seconds": left.oldest_unsent_seconds,
            "problems": left.problems,
        },
        [*report.lines(), *left.problems],
    )
    return UNDELIVERED if left.dead else FINE


UNTIL_EMPTY_SECONDS = 900.0


def _alerts_redrive(options: argparse.Namespace) -> int:
    with _service() as service:
        trial = service.settings.slack_channel
        routes = service.ruleset.routes.values()
        # To where the routes lead now: a wrong channel is mended in the rules, not in the outbox.
        count = service.ledger.redrive(channels={r.name: trial or r.channel for r in routes})
    _answer(
        options,
        {"redriven": count},
        [
            f"{count} back in line; `lodestone alerts deliver` sends them"
            if count
            else "none is DEAD"
        ],
    )
    return FINE


def _backtest(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from flows.engines import local_engine
    from forecasting.panel import panel_backtest, panel_events

    settings = _settings()
    if options.out and not options.out.resolve().parent.is_dir():
        message = f"{options.out}: there is no folder {options.out.parent} to write it to"
        raise UsageError(message)
    models = options.models.split(",") if options.models else settings.models
    panel = _panel(options.panel)
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
    _answer(options, summary, [*_backtest_lines(summary), *told])
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


def _panel(path: Path | None) -> "pd.DataFrame":
    """The panel of a file, or our own monthly prices as they are known now."""
    import pandas as pd

    if path is not None:
        try:
            return pd.read_csv(
                path,
                encoding="utf-8-sig",
                dtype={"unique_id": "string", "ds": "string"},
                # NA is a name and a word for a missing value; a trailing comma makes no index.
                keep_default_na=False,
                na_values={"unique_id": [""], "y": ["", "NA", "N/A", "NaN", "nan", "null"]},
                index_col=False,
                low_memory=False,
            )
        except OSError as error:
            message = f"{path}: can't be read ({error.strerror})"
            raise UsageError(message) from None
        except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            message = f"{path}: not a CSV file in UTF-8 with the columns unique_id, ds, y: {error}"
            raise UsageError(message) from None
    from flows import steps

    with _service() as service:
        moment = steps.moment(service, None, live=False)
        names = [
            name
            for name, entry in service.catalog.series.items()
            if entry.forecast and entry.frequency == "month"
        ]
        found = [steps.observed(service, name, moment) for name in names]
        if not any(one.points for one in found):
            steps.ingest(service, moment)
            found = [steps.observed(service, name, moment) for name in names]
    rows = [(one.series, point.period, point.value) for one in found for point in one.points]
    return pd.DataFrame(rows, columns=["unique_id", "ds", "y"])


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

    with _service() as service:
        moment = steps.moment(service, options.as_of, live=False)
        path = steps.report(service, moment, options.out).path
    _answer(options, {"as_of": moment.known_at.date(), "report": str(path)}, [str(path)])
    return FINE


def _check(options: argparse.Namespace) -> int:
    """Settings, reference files and rules are read to get this far; what is left is told line by line."""
    from flows import steps

    checks: list[tuple[str, bool, str]] = []
    settings = _settings()
    with _service(settings) as service:
        rules = len(service.ruleset.rules)
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
        checks.append(("rules", True, f"{rules} rules, {len(service.ruleset.routes)} routes"))
        left = service.ledger.summary(steps.LIVE_BOOK, service.clock())
        every = service.ledger.summary(None, service.clock())
        waiting = f"{left.pending + left.sending + left.unknown} waiting, {left.dead} undeliverable"
        replays = every.pending + every.unknown - left.pending - left.unknown
        if replays > 0:
            waiting += f" (and {replays} of looks into the past: alerts deliver --as-of DATE)"
        checks.append(("outbox", not left.dead, "; ".join([waiting, *left.problems])))
        has_token = service.sender is not None
        checks.append(
            ("slack", True, "a token is set; `lodestone run` posts" if has_token else WITHOUT_SLACK)
        )
    checks.append(_check_prefect(settings))
    _answer(
        options,
        {
            "ok": all(passed for _, passed, _ in checks),
            "checks": [
                {"name": name, "passed": passed, "note": note} for name, passed, note in checks
            ],
        },
        [f"{'ok ' if passed else 'BAD'}  {name:<10} {note}" for name, passed, note in checks],
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

    with open_database(_settings().resolved_database_url) as database:
        database.upgrade()
        place, revision = database.place, database.revision()
    _answer(
        options, {"database": place, "revision": revision}, [f"{place}: at revision {revision}"]
    )
    return FINE


# --- what they share ----------------------------------------------------------------


def _settings() -> "Settings":
    from flows.logs import configure
    from flows.settings import load_settings

    settings = load_settings()
    configure(settings.log_level)
    return settings


def _build(settings: "Settings") -> "Service":
    from flows.wiring import build

    return build(settings)


@contextlib.contextmanager
def _service(settings: "Settings | None" = None) -> Iterator["Service"]:
    service = _build(settings or _settings())
    try:
        yield service
    finally:
        service.close()


def _new_run_id() -> str:
    import uuid

    return f"cli-{uuid.uuid4()}"


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _answer(options: argparse.Namespace, content: Mapping[str, Any], lines: Iterable[str]) -> None:
    if options.json:
        _print_json(content)
        return
    for line in lines:
        print(line)


def _print_json(content: Mapping[str, Any]) -> None:
    print(json.dumps(_plain(content), ensure_ascii=False, allow_nan=False), flush=True)


def _plain(value: Any) -> Any:
    """What JSON can hold: dates as ISO text, dataclasses as objects, enums by name; null for what isn't known."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {part.name: _plain(getattr(value, part.name)) for part in dataclasses.fields(value)}
    if isinstance(value, enum.IntEnum):
        return value.name.lower()
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if isinstance(value, date) else value


def _without(value: Any, *names: str) -> dict[str, Any]:
    """A dataclass as an object, without the parts that are too large to read."""
    return {
        part.name: _plain(getattr(value, part.name))
        for part in dataclasses.fields(value)
        if part.name not in names
    }


def _step_object(step: "StepRun") -> dict[str, Any]:
    made = {"name": step.name, "seconds": round(step.seconds, 3), "counts": step.counts}
    return made | ({"error": step.error} if step.error else {})


def _step_line(step: "StepRun") -> str:
    counts = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in step.counts.items())
    outcome = f"FAILED: {step.error}" if step.error else counts
    return f"{step.name:<17} {step.seconds:6.1f} s   {outcome}"


def _incident_object(incident: "Incident") -> dict[str, Any]:
    return {
        "id": incident.id,
        "rule": incident.rule,
        "type": incident.type,
        "subject": incident.subject,
        "severity": incident.severity.name.lower(),
        "state": incident.state.value,
        "since": incident.since.isoformat(),
        "headline": incident.reading.headline,
    }


def _print_incidents(service: "Service", moment: "Moment", incidents: Sequence["Incident"]) -> None:
    from flows import steps
    from flows.sentences import silence_sentence

    if not incidents:
        print(f"\nNo open incident. {silence_sentence(steps.last_judged(service, moment))}")
    for incident in sorted(incidents, key=lambda one: (-one.severity, one.since, one.id)):
        print(f"\n{_as_text(incident)}\n    id {incident.id}")
    lines = steps.unjudged(service, moment)
    if lines:
        print("\nNot judged, so silence on these means nothing:")
    for line in lines:
        print(f"  {line}")
    print(flush=True)


def _as_text(incident: "Incident", reason: "Reason | None" = None) -> str:
    """The incident's message as a reader of the channel sees it."""
    from alerts.lifecycle import Reason
    from alerts.messages import root_message
    from alerts.terminal import render_terminal

    message = root_message(
        incident,
        reason or Reason.UNCHANGED,
        known_at=incident.reading_at or incident.changed_at,
        book=incident.book,
    )
    return render_terminal(message)


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
