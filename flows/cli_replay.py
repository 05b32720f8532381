"""`lodestone replay`: the past again, on the reference data or on anyone's series; arguments and answer."""

import argparse
import csv
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import (
    FINE,
    a_count,
    a_day,
    add_command,
    answer,
    note,
    open_service,
    read_panel,
    read_settings,
)
from flows.errors import UsageError

if TYPE_CHECKING:
    from alerts.rules.prices import PriceSpike
    from alerts.ruleset import Ruleset
    from flows.replay.panel import Asked, Grid
    from flows.replay.result import ReplayResult
    from flows.settings import Settings
    from forecasting.series import History

_OF_A_PANEL = ("freq", "rise", "horizon", "placebo")
_FREQ, _RISE, _HORIZON = "MS", 0.25, 6
_TOLD = 10  # series with gaps that are named one by one
_TIMELINE = ("at", "rule", "subject", "incident", "transition", "reason", "headline")


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `lodestone replay` with its arguments."""
    command = add_command(
        commands, "replay", run, "rules on the past, with only what was known then, and their score"
    )
    command.add_argument(
        "--from", dest="first", type=a_day, metavar="D", help="first day, as 2025-01-01"
    )
    command.add_argument("--to", dest="last", type=a_day, metavar="D", help="last day")
    command.add_argument(
        "--rules",
        type=Path,
        metavar="FILE",
        help="rules of this file instead of yours (with a panel: its price_spike rules)",
    )
    command.add_argument("--market", metavar="M", help="only rules on this market")
    command.add_argument(
        "--panel",
        type=Path,
        metavar="CSV",
        help="judge rules on the series of a long CSV unique_id,ds,y",
    )
    command.add_argument(
        "--freq",
        metavar="F",
        help="frequency of the panel (default: MS, month starts)",
    )
    command.add_argument(
        "--rise",
        type=_share,
        metavar="R",
        help="with a panel: the rise that is an event; 0.25 is 25 %% (0.25)",
    )
    command.add_argument(
        "--horizon", type=a_count, metavar="H", help="periods of the panel ahead (6)"
    )
    command.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write timeline, figures and pictures into this folder",
    )
    command.add_argument(
        "--suggest",
        action="store_true",
        help="propose limits, chosen on the first two thirds of the time and tried on the rest: for the "
        "panel, or without one for your price_spike rules from the monthly prices kept here",
    )
    wish = command.add_mutually_exclusive_group()
    wish.add_argument(
        "--false-per-month",
        type=_share,
        metavar="X",
        help="with --suggest: false alarms a month that are bearable, all series together (as many as "
        "stand for 15 %% of the time)",
    )
    wish.add_argument(
        "--cost-loss",
        type=_ratio,
        metavar="R",
        help="with --suggest: cost of acting on an alert over the loss it can prevent, 0 to 1",
    )
    command.add_argument(
        "--placebo",
        type=_seed,
        metavar="SEED",
        help="shuffle each series' changes first: skill that is left is none",
    )


def run(options: argparse.Namespace) -> int:
    """The command; raises UsageError for what can't be replayed."""
    settings = read_settings()
    _check(options)
    if options.out is not None:
        _require_folder(options.out)
    if options.panel:
        return _panel(options, settings)
    return _suggest_own(options, settings) if options.suggest else _reference(options, settings)


def _check(options: argparse.Namespace) -> None:
    if options.first and options.last and options.first > options.last:
        message = f"--from {options.first} is after --to {options.last}: give the earlier day first"
        raise UsageError(message)
    if not options.panel:
        for name in _OF_A_PANEL:
            if getattr(options, name) is not None:
                message = f"--{name} needs --panel CSV"
                raise UsageError(message)
        if options.suggest and options.market:
            message = (
                "--suggest is for price_spike rules, which are on no market: leave --market out"
            )
            raise UsageError(message)
        if not options.suggest and not (options.first and options.last):
            message = "--from and --to are needed, as in: lodestone replay --from 2025-01-01 --to 2025-12-31"
            raise UsageError(message)
    elif options.market:
        message = "--market chooses rules of the reference data; a panel has no markets"
        raise UsageError(message)
    if options.suggest and options.out is not None:
        message = "--suggest prints what it proposes and writes no files: leave --out out"
        raise UsageError(message)
    has_wish = options.false_per_month is not None or options.cost_loss is not None
    if has_wish and not options.suggest:
        message = (
            "--false-per-month and --cost-loss say what --suggest should propose: add --suggest"
        )
        raise UsageError(message)


def _require_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_text("", encoding="utf-8")
        probe.unlink()
    except OSError as error:
        message = f"{path}: can't be written to ({error.strerror}); --out needs a folder"
        raise UsageError(message) from None


# --- a panel --------------------------------------------------------------------------


def _panel(options: argparse.Namespace, settings: "Settings") -> int:
    from flows.replay.panel import Asked, replay_panel
    from flows.replay.tables import panel_histories
    from forecasting.panel import PanelError

    rules = _price_rules(options.rules, settings) if options.rules else ()
    freq = options.freq or _FREQ
    asked = Asked(
        freq=freq,
        rise=options.rise or _RISE,
        horizon=options.horizon or _HORIZON,
        seed=settings.seed,
        first=options.first,
        last=options.last,
        rules=rules,
        placebo=options.placebo,
    )
    frame = read_panel(options.panel)
    try:
        histories, left_out = panel_histories(frame, freq)
        _tell_shortened(histories)
        if options.suggest:
            return _suggest(options, asked, histories, left_out)
        with _bar("chance") as told:
            result = replay_panel(histories, asked, left_out=left_out, told=told)
    except PanelError as error:
        message = f"{options.panel}: {error}"
        raise UsageError(message) from None
    if options.out is not None:
        _write(options.out, result)
        _draw(options.out, _grid_of(histories, asked), result)
    answer(options, result.as_dict(), _lines(result))
    return FINE


def _tell_shortened(histories: "list[History]") -> None:
    """On stderr: series that were cut at a gap, or filled."""
    told = [one for one in histories if one.note]
    for history in told[:_TOLD]:
        note(f"{history.series}: {history.values.size} periods used, with a gap: {history.note}")
    if len(told) > _TOLD:
        note(f"{len(told) - _TOLD} more series have gaps that were cut or filled")


def _grid_of(histories: "list[History]", asked: "Asked") -> "Grid":
    from flows.replay.panel import read_grid

    return read_grid(histories, asked)


def _price_rules(path: Path, settings: "Settings") -> "tuple[PriceSpike, ...]":
    from alerts.rules.prices import PriceSpike

    found = tuple(rule for rule in _own_rules(path, settings).rules if isinstance(rule, PriceSpike))
    # With a quantile the measure is a price, and a panel's chances can't be held against it.
    found = tuple(rule for rule in found if getattr(rule, "quantile", None) is None)
    if not found:
        message = f"{path}: no rule of type price_spike with limits on a chance; a panel can judge no other"
        raise UsageError(message)
    return found


def _own_rules(path: Path, settings: "Settings") -> "Ruleset":
    """The rules of a file alone, without the shipped ones."""
    from alerts.ruleset import load_ruleset
    from flows.catalog import load_catalog

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: can't be read: {error}"
        raise UsageError(message) from None
    catalog = load_catalog()
    return load_ruleset(
        [(str(path), text)],
        known_series=set(catalog.series),
        known_markets=set(catalog.markets),
        known_scenarios=set(catalog.scenarios),
    )


def _suggest(
    options: argparse.Namespace,
    asked: "Asked",
    histories: "list[History]",
    left_out: "dict[str, str]",
) -> int:
    from flows.replay.suggest import suggest

    grid = _grid_of(histories, asked)
    found = suggest(grid, **_wish(options))
    # Whose rule it becomes is not known here.
    snippet = found.snippet("NAME", f"rise = {asked.rise:g}", _horizon_line(histories, asked))
    lines = [*found.lines(), "", "For a rule of yours in rules.toml, under its name:", "", snippet]
    left_out = {**left_out, **grid.left_out}
    lines += [f"left out: {name}: {why}" for name, why in left_out.items()]
    answer(options, {**found.as_dict(), "toml": snippet, "left_out": left_out}, lines)
    return FINE


def _horizon_line(histories: "list[History]", asked: "Asked") -> str:
    """The horizon as rules.toml has it; a rule counts whole months, which weeks and days are not."""
    frequency = histories[0].frequency
    months = {"month": 1, "year": 12}.get(frequency)
    if months is None:
        return f"# horizon_months: the panel's {asked.horizon} {frequency}s are not whole months"
    return f"horizon_months = {asked.horizon * months}"


def _wish(options: argparse.Namespace) -> "dict[str, float]":
    return {
        name: wanted
        for name in ("false_per_month", "cost_loss")
        if (wanted := getattr(options, name)) is not None
    }


def _suggest_own(options: argparse.Namespace, settings: "Settings") -> int:
    """Limits for the configured price_spike rules, from the monthly prices in the database."""
    from alerts.rules.prices import PriceSpike
    from flows.replay.panel import Asked, read_grid
    from flows.replay.suggest import suggest, suggest_for
    from flows.replay.tables import own_histories
    from flows.service import moment
    from flows.wiring import rules as read_rules
    from forecasting.panel import PanelError

    with open_service(settings) as service:
        ruleset = (
            read_rules(settings, service.catalog, options.rules)
            if options.rules
            else service.ruleset
        )
        histories, left_out = own_histories(service, moment(service, None, live=False))
    spikes = [rule for rule in ruleset.rules if isinstance(rule, PriceSpike)]
    chosen = [rule for rule in spikes if rule.quantile is None]
    if not chosen:
        message = (
            "no rule of type price_spike with limits on a chance is switched on: nothing to propose"
        )
        raise UsageError(message)
    if not histories:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        message = f"no monthly price to learn from ({why}); `lodestone ingest` brings prices"
        raise UsageError(message)
    content: dict[str, Any] = {}
    lines: list[str] = []
    refused: dict[str, str] = {}
    for rule in chosen:
        asked = Asked(
            freq=_FREQ,
            rise=rule.rise,
            horizon=rule.horizon_months,
            seed=settings.seed,
            first=options.first,
            last=options.last,
        )
        try:
            # All monthly prices teach the chance; only those that the rule watches are counted.
            whole = read_grid(histories, asked)
            grid = whole.only(rule.series)
            left_out |= {name: why for name, why in whole.left_out.items() if name in rule.series}
            found = suggest(grid, **_wish(options))
        except PanelError as error:
            refused[rule.name] = str(error)
            continue
        snippet = suggest_for(rule, found)
        content[rule.name] = {**found.as_dict(), "series": grid.series, "toml": snippet}
        lines += [f"{rule.name}: {', '.join(grid.series)}", *found.lines(), "", snippet]
    if not content:
        why = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        message = f"nothing can be learnt from the monthly prices kept here ({why})"
        raise UsageError(message)
    lines += [f"left out: {name}: {reason}" for name, reason in (left_out | refused).items()]
    answer(options, {"rules": content, "left_out": left_out | refused}, lines)
    return FINE


# --- the reference data -----------------------------------------------------------------


def _reference(options: argparse.Namespace, settings: "Settings") -> int:
    from flows.desk import keep_records
    from flows.replay.days import replay_reference
    from flows.wiring import rules

    is_trial = bool(options.rules or options.market)
    with open_service(settings) as service:
        # Over the shipped ones, in the place of the user's: a file of routes and changed limits is enough.
        ruleset = (
            rules(settings, service.catalog, options.rules) if options.rules else service.ruleset
        )
        with _bar("day") as told:
            result = replay_reference(
                service,
                first=options.first,
                last=options.last,
                ruleset=ruleset,
                market=options.market,
                out=options.out,
                told=told,
            )
        kept = (
            0 if is_trial else keep_records(service, result, first=options.first, last=options.last)
        )
    if options.out is not None:
        _write_quality(options.out, result)
    lines = _lines(result)
    if kept:
        lines.append(
            f"alerts of {kept} {'rule' if kept == 1 else 'rules'} now say how often they were right here"
        )
    answer(options, result.as_dict(), lines)
    return FINE


# --- answers -------------------------------------------------------------------------------


class _bar:  # noqa: N801 - reads as a function where it is used
    """A bar on the terminal, apart from the answer; its value is told(done, of)."""

    def __init__(self, unit: str) -> None:
        from tqdm import tqdm

        self._bar = tqdm(unit=unit, file=sys.stderr, disable=None, leave=False)

    def __enter__(self) -> Callable[[int, int], None]:
        return self._told

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _told(self, done: int, of: int) -> None:
        self._bar.total = of
        self._bar.update(done - self._bar.n)


def _lines(result: "ReplayResult") -> list[str]:
    """A table of the rules, then what else there is to know."""
    from flows.outcomes import DROP_DAYS

    head = (
        f"{'rule':<24} {'events':>6} {'hit':>5} {'false':>6} {'a month':>8} "
        f"{'recall (95 %)':>17} {'precision (95 %)':>18} {'lead days':>9} {'skill':>7} {'AUC':>6} {'posts':>6}"
    )
    lines = [head]
    for name, one in result.rules.items():
        if name in result.without_truth:
            # A nought would claim that somebody has looked.
            blank = "–"
            lines.append(
                f"{name:<24} {blank:>6} {blank:>5} {blank:>6} {blank:>8} {blank:>17} {blank:>18} "
                f"{blank:>9} {blank:>7} {blank:>6} {one.posts:>6}"
            )
            continue
        lines.append(
            f"{name:<24} {one.events:>6} {one.hits:>5} {one.false_episodes:>6} "
            f"{_figure(one.false_per_month, 3):>8} "
            f"{_with_interval(one.recall, one.recall_interval):>17} "
            f"{_with_interval(one.precision, one.precision_interval):>18} "
            f"{_figure(one.median_lead_days, 0):>9} {_figure(one.brier_skill, 3):>7} "
            f"{_figure(one.auc, 3):>6} {one.posts:>6}"
        )
    lines += [
        f"{name}: a lead below 0 is days after the end of the fallen month; "
        f"a drop told within {DROP_DAYS} days after it is a hit"
        for name, one in result.rules.items()
        if name not in result.without_truth and (one.median_lead_days or 0) < 0
    ]
    if "series" in result.extra:
        lines.append(
            f"{result.extra['series']} series, {result.extra['months']} months, "
            f"{result.extra['chances']} chances; false alarms a month are of all series together"
        )
        within = ", ".join(
            f"{name} {_figure(value, 3)}" for name, value in result.extra["auc_by_series"].items()
        )
        lines.append(f"AUC within one series (0.5: no idea of when): {within}")
    lines += [f"not scored: {name}: {why}" for name, why in result.without_truth.items()]
    for name, one in result.extra.get("not_judged", {}).items():
        again = f", judged again by {one['judged_by']}" if one["judged_by"] else ""
        more = f" ({one['spells']} times in all)" if one["spells"] > 1 else ""
        lines.append(
            f"not judged: {name} on {one['subject']} from {one['since']}{again}: {one['why']}{more}"
        )
    lines += [f"left out: {name}: {why}" for name, why in result.left_out.items()]
    return lines


def _figure(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _with_interval(share: float | None, interval: tuple[float, float] | None) -> str:
    if share is None or interval is None:
        return "–"
    return f"{100 * share:.0f} % ({100 * interval[0]:.0f}–{100 * interval[1]:.0f})"


def _write(folder: Path, result: "ReplayResult") -> None:
    try:
        with (folder / "timeline.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(_TIMELINE)
            rows.writerows(
                [row.at.isoformat(), *(getattr(row, name) for name in _TIMELINE[1:])]
                for row in result.timeline
            )
    except OSError as error:
        message = f"{folder / 'timeline.csv'}: can't be written ({error.strerror})"
        raise UsageError(message) from None
    _write_quality(folder, result)


def _write_quality(folder: Path, result: "ReplayResult") -> None:
    content = {name: part for name, part in result.as_dict().items() if name != "timeline"}
    path = folder / "quality.json"
    try:
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        message = f"{path}: can't be written ({error.strerror})"
        raise UsageError(message) from None


def _draw(folder: Path, grid: "Grid", result: "ReplayResult") -> None:
    from flows.replay.pictures import draw_panel

    try:
        draw_panel(folder, grid, result)
    except OSError as error:
        message = f"{folder}: pictures can't be written ({error.strerror})"
        raise UsageError(message) from None


# --- words into values -----------------------------------------------------------------------


def _seed(text: str) -> int:
    if not text.isdecimal():
        message = f"{text!r} is not a whole number from 0 on"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value < math.inf:
        message = f"{text!r} is not a number above 0, such as 0.25"
        raise argparse.ArgumentTypeError(message)
    return value


def _ratio(text: str) -> float:
    value = _number(text)
    if not 0 < value < 1:
        message = f"{text!r} is not a share between 0 and 1, such as 0.2"
        raise argparse.ArgumentTypeError(message)
    return value
