"""10,000 alerts judged and committed on SQLite, against a plain pandas threshold that keeps its results.

python benchmarks/rules.py [--instances 10000] [--paths 200] [--profile FILE] [--json]

A quarter each are chances of a rise, levels, drops in volume and market shortfalls, on made-up figures. Each
evaluation is what a night does: every rule is evaluated, every result judged, and evaluations, incidents,
steps and messages (the service's own) are one committed transaction. Three in a row on one file:

- fresh: nothing is known, and every instance crosses its limit.
- again: the same figures; nothing has to be said.
- changed: new figures for every instance, all still crossing; each message waits and takes in the new text.

Checked, and exit code 1 when missed:

- 10,000 instances: each of the three at most 5 s.
- linear: from 5,000 to 10,000 and from 10,000 to 20,000 instances takes at most 2.4 times the time of the
  processor, which others at work on the machine disturb least.

The peer is pandas: a frame with the values that our rules measured (so it measures nothing itself),
compared with their limits, and `to_sql` of the result to a SQLite file of its own. It keeps no states, no
reasons and no messages; the ratio is our time over its.
"""

import argparse
import cProfile
import gc
import itertools
import json
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from sqlalchemy import create_engine

sys.path.insert(0, str(Path(__file__).parents[1]))

from alerts.incident import Decision, Reason
from alerts.judging import Verdicts, judge_all
from alerts.ledger import EntryKind, NewEntry
from alerts.messages import root_message, transition_reply
from alerts.rules import (
    DropLimit,
    Limit,
    PriceLevel,
    PriceSpike,
    Reading,
    Rule,
    Severity,
    Shortfall,
    VolumeDrop,
)
from flows.storage.database import open_database
from flows.storage.ledger import SqlLedger
from forecasting.results import (
    QUANTILE_LEVELS,
    Interval,
    MarketMonth,
    MarketProjection,
    ObservedPoint,
    ObservedSeries,
    SeriesForecast,
    Situation,
)

KNOWN_AT = datetime(2025, 6, 21, 12, tzinfo=UTC)
CUTOFF = date(2025, 5, 1)
MONTHS = 12
MOST_SECONDS, MOST_GROWTH, MEASURED_AT = 5.0, 2.4, 10_000
PHASES = ("fresh", "again", "changed")
Answer = TypeVar("Answer")


def month(step: int) -> date:
    """The first day of the month `step` months after the cutoff."""
    ordinal = CUTOFF.year * 12 + CUTOFF.month - 1 + step
    return date(ordinal // 12, ordinal % 12 + 1, 1)


def forecast_of(paths: int) -> SeriesForecast:
    """A price of 60 USD/kg that rises by 4 % a month in the middle of its paths."""
    draw = np.random.default_rng(7)
    walks = 60.0 * np.exp(np.cumsum(draw.normal(0.1, 0.05, (paths, MONTHS)), axis=1))
    levels = np.quantile(walks, QUANTILE_LEVELS, axis=0).T
    return SeriesForecast(
        forecast_id="",
        series="",
        title="An oxide, FOB China",
        unit="USD/kg",
        frequency="month",
        cutoff=CUTOFF,
        last_value=60.0,
        history=tuple((month(step), 60.0) for step in range(-12, 1)),
        periods=tuple(month(step) for step in range(1, MONTHS + 1)),
        quantiles=tuple(map(tuple, levels.tolist())),
        paths=tuple(map(tuple, walks.tolist())),
        model="random_walk",
        reason="made up for the benchmark",
        scores=(),
        observations=60,
        vintage=KNOWN_AT,
    )


def projection_of(paths: int, turn: int) -> MarketProjection:
    """A market of 1,000 t a month that is short by 10 to 20 % of its demand, and by 5 % more each turn."""
    demand = 1000.0
    short = np.random.default_rng(8).uniform(100.0, 200.0, (paths, MONTHS)) + 50.0 * turn
    grid = []
    for step in range(MONTHS):
        low, middle, high = np.quantile(short[:, step], (0.1, 0.5, 0.9)).tolist()
        grid.append(
            MarketMonth(
                month(step + 1),
                supply_t=Interval(demand - high, demand - middle, demand - low),
                demand_t=Interval(demand, demand, demand),
                shortfall_t=Interval(low, middle, high),
                shortfall_share=Interval(low / demand, middle / demand, high / demand),
                stock_cover_days=Interval(20.0, 30.0, 40.0),
                expected_shortfall_t=float(short[:, step].mean()),
                shortfall_chance=1.0,
            )
        )
    return MarketProjection(
        projection_id="",
        market="",
        title="A magnet market",
        product="sintered magnets",
        unit="t",
        scenario="base",
        scenario_title="Base case",
        months=tuple(grid),
        shortfall_t_paths=tuple(map(tuple, short.tolist())),
        demand_t_paths=((demand,) * MONTHS,) * paths,
        components=(),
        notes=(),
        data_through=CUTOFF,
        vintage=KNOWN_AT,
    )


def situation(each: int, paths: int, turn: int) -> Situation:
    """Figures for `each` series, volumes and markets; another `turn` has other figures for every one."""
    price, market = forecast_of(paths), projection_of(paths, turn)
    forecasts, observed, projections = {}, {}, {}
    for number in range(each):
        name = f"series_{number}"
        forecasts[name] = replace(
            price, series=name, forecast_id=f"f-{number}-{turn}", last_value=60.0 + turn
        )
        volume = f"volume_{number}"
        tonnes = [5000.0 + number % 97] * MONTHS + [1500.0 + number % 89 + turn]
        points = (
            ObservedPoint(
                month(step - MONTHS), value, KNOWN_AT - timedelta(days=30), "made up", "high"
            )
            for step, value in enumerate(tonnes)
        )
        observed[volume] = ObservedSeries(volume, "Exports", "t", "month", tuple(points))
        key = f"market-{number}"
        projections[key, "base"] = replace(
            market, market=key, title=f"Market {number}", projection_id=f"m-{number}-{turn}"
        )
    return Situation(KNOWN_AT, forecasts=forecasts, observed=observed, projections=projections)


def rules(each: int) -> tuple[Rule, ...]:
    """Four rules, each on `each` subjects."""
    series = tuple(f"series_{number}" for number in range(each))
    volumes = tuple(f"volume_{number}" for number in range(each))
    markets = tuple(f"market-{number}" for number in range(each))
    warning, critical = Severity.WARNING, Severity.CRITICAL
    return (
        PriceSpike("spike", series, (Limit(warning, 0.5, 0.35), Limit(critical, 0.95, 0.8))),
        PriceLevel("level", series, (Limit(warning, 50.0, 45.0),), horizon_months=3),
        VolumeDrop("drop", volumes, (DropLimit(warning, 0.6, 0.75), DropLimit(critical, 0.2, 0.4))),
        Shortfall("short", markets, (Limit(warning, 0.05, 0.04), Limit(critical, 0.3, 0.25))),
    )


def entries(decision: Decision) -> list[NewEntry]:
    """The service's own messages of a decision, without pictures."""
    one = decision.incident
    if one is None:
        return []
    made = []
    if decision.says:
        message = root_message(one, decision.reason, known_at=KNOWN_AT, book="live")
        made.append(NewEntry(EntryKind.ROOT, one.route, "#alerts", message.as_dict()))
    if decision.replies:
        reply = transition_reply(one, decision.reason, known_at=KNOWN_AT, book="live")
        made.append(NewEntry(EntryKind.REPLY, one.route, "#alerts", reply.as_dict()))
    return made


def timed(work: Callable[[], Answer]) -> tuple[float, Answer]:
    """Seconds that a piece of work takes, with what it answers."""
    gc.collect()  # what was left behind before is not this work's matter
    started = time.perf_counter()
    answer = work()
    return time.perf_counter() - started, answer


def night(
    ledger: SqlLedger, watched: Sequence[Rule], seen: Situation, turn: int
) -> tuple[float, float, Verdicts, tuple[Decision, ...]]:
    """One evaluation: seconds to evaluate, seconds to judge and commit, results, decisions."""
    evaluated, verdicts = timed(lambda: judge_all(watched, seen))
    committed, decisions = timed(
        lambda: ledger.judge(
            "live",
            verdicts.judgements,
            now=KNOWN_AT + timedelta(days=turn),
            compose=entries,
            failures=verdicts.failures,
            is_everything=True,
        )
    )
    return evaluated, committed, verdicts, decisions


def measure(instances: int, paths: int) -> dict[str, object]:
    """Seconds of each phase for so many instances, and of the peer on the same results."""
    each = instances // 4
    watched = rules(each)
    first, second = situation(each, paths, 0), situation(each, paths, 1)
    figures: dict[str, object] = {"instances": 4 * each}
    verdicts, evaluated, committed = Verdicts((), {}), 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        with open_database(f"sqlite:///{folder}/lodestone.db") as database:
            database.upgrade()
            ledger = SqlLedger(database)
            for turn, (phase, seen) in enumerate(zip(PHASES, (first, first, second), strict=True)):
                started = time.process_time()
                evaluated, committed, verdicts, decisions = night(ledger, watched, seen, turn)
                figures[f"{phase}_cpu_s"] = round(time.process_time() - started, 2)
                must_be_what_it_says(phase, verdicts, decisions, 4 * each)
                figures[f"{phase}_evaluate_s"] = round(evaluated, 2)
                figures[f"{phase}_commit_s"] = round(committed, 2)
                figures[f"{phase}_s"] = round(evaluated + committed, 2)
            if len(ledger.open_incidents("live")) != 4 * each:
                message = "not every instance is an open incident"
                raise ValueError(message)
        readings = [one.result for one in verdicts.judgements if isinstance(one.result, Reading)]
        peer, kept = timed(lambda: plain_threshold(readings, Path(folder) / "peer.db"))
        if kept != 4 * each:
            message = f"the peer kept {kept} alerts, not {4 * each}"
            raise ValueError(message)
    figures["pandas_s"] = round(peer, 3)
    figures["changed_ratio"] = round((evaluated + committed) / peer, 1)
    return figures


def must_be_what_it_says(
    phase: str, verdicts: Verdicts, decisions: Sequence[Decision], instances: int
) -> None:
    """A figure for work that was not done would be worth nothing."""
    wanted = {
        "fresh": Reason.OPENED,
        "again": Reason.ALREADY_EVALUATED,
        "changed": Reason.UPDATED,
    }[phase]
    reasons = [decision.reason for decision in decisions]
    if verdicts.failures or reasons != [wanted] * instances:
        found = {reason.value: reasons.count(reason) for reason in set(reasons)}
        message = f"{phase}: wanted {instances} {wanted.value}, got {found}; {verdicts.failures}"
        raise ValueError(message)


def plain_threshold(readings: Sequence[Reading], path: Path) -> int:
    """The peer: which values are beyond their limits, kept in a table. Returns how many."""
    frame = pd.DataFrame(
        {
            "rule": [one.rule for one in readings],
            "subject": [one.subject for one in readings],
            "value": [one.value for one in readings],
            "limit": [one.limit for one in readings],
            "is_below": [one.direction == "below" for one in readings],
            "headline": [one.headline for one in readings],
        }
    )
    is_beyond = np.where(
        frame["is_below"], frame["value"] < frame["limit"], frame["value"] >= frame["limit"]
    )
    alerts = frame[is_beyond].assign(at=KNOWN_AT.isoformat())
    engine = create_engine(f"sqlite:///{path}")
    alerts.to_sql("alert", engine, index=False)
    engine.dispose()
    return len(alerts)


def missed(runs: Sequence[dict[str, object]]) -> list[str]:
    """Targets that were not met, with what was measured."""
    found = []
    by_size = {int(str(run["instances"])): run for run in runs}
    for phase in PHASES:
        if (at := by_size.get(MEASURED_AT)) and float(str(at[f"{phase}_s"])) > MOST_SECONDS:
            found.append(
                f"{phase}, {MEASURED_AT:,} instances: {at[f'{phase}_s']} s, "
                f"at most {MOST_SECONDS} s wanted"
            )
    sizes = sorted(by_size)
    for smaller, larger in itertools.pairwise(sizes):
        for phase in PHASES:
            before = float(str(by_size[smaller][f"{phase}_cpu_s"]))
            growth = float(str(by_size[larger][f"{phase}_cpu_s"])) / max(before, 0.01)
            if growth > MOST_GROWTH * larger / smaller / 2:
                found.append(
                    f"{phase}: {smaller:,} to {larger:,} instances takes {growth:.1f} times as long"
                )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--instances", type=int, default=MEASURED_AT)
    parser.add_argument("--paths", type=int, default=200, help="of each forecast and projection")
    parser.add_argument("--profile", help="where the time goes at --instances, to this file")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on stdout")
    options = parser.parse_args()
    measure(400, options.paths)  # imports and first statements are not what is measured
    if options.profile:
        with cProfile.Profile() as profile:
            measure(options.instances, options.paths)
        with Path(options.profile).open("w", encoding="utf-8") as out:
            pstats.Stats(profile, stream=out).sort_stats("tottime").print_stats(40)
        return 0
    sizes = (options.instances // 2, options.instances, options.instances * 2)
    runs = [measure(size, options.paths) for size in sizes]
    wrong = missed(runs)
    if options.json:
        print(json.dumps({"runs": runs, "missed": wrong}))
    else:
        print(f"pandas {pd.__version__}; seconds, and ours over the peer's for changed figures")
        print(pd.DataFrame(runs).set_index("instances").T.to_string())
    for line in wrong:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
