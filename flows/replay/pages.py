"""Files of a replay: timeline as a table, messages as they would have looked, and one picture of it all."""

import csv
import json
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from io import StringIO
from pathlib import Path

from alerts.blockkit import render_slack
from alerts.routing import OPERATOR_TYPES
from alerts.rules import PriceSpike, Reading, Severity, VolumeDrop
from alerts.rules.words import month_end
from alerts.scoring import Episode, Event, price_events, runs_of
from alerts.terminal import render_terminal
from flows.errors import UsageError
from flows.outcomes import counted_rise, episodes_of, fallen_months, finals_of
from flows.replay.result import ReplayResult
from flows.replay.scratch import BOOK, end_of
from flows.replay.timeline import Post, posted_of, read_posts, read_steps
from flows.service import Service
from flows.steps import FORMATS
from flows.storage.ledger import LifeStep
from forecasting.charts.replay import ReplayLine, ReplayRow, replay_alt_text, replay_picture
from forecasting.results import ObservedSeries, Situation

COLUMNS = ("at", "incident", "rule", "subject", "transition", "reason", "headline")


def write_pages(
    service: Service, truth: Service, result: ReplayResult, *, first: date, last: date, out: Path
) -> tuple[Path, ...]:
    """Write `timeline.csv`, `messages/NNN-….txt` and `.json`, and `replay.png`, `.svg` and `.txt` into `out`.

    The `.json` of a message is what Slack would be sent, `replay.txt` the picture in words. Messages of an
    earlier replay in the same folder are taken away. Raises UsageError where it can't be written.
    """
    posts = read_posts(service, last)
    written: list[Path] = []
    try:
        messages = out / "messages"
        messages.mkdir(parents=True, exist_ok=True)
        for old in [
            *messages.glob("[0-9][0-9][0-9]*-*.txt"),
            *messages.glob("[0-9][0-9][0-9]*-*.json"),
        ]:
            old.unlink()
        written.append(_write(out / "timeline.csv", timeline_csv(result).encode()))
        for number, post in enumerate(posts, start=1):
            name = f"{number:03d}-{post.at:%Y-%m-%d}-{post.rule}-{post.kind}"
            written.append(_write(messages / f"{name}.txt", _text(post)))
            written.append(_write(messages / f"{name}.json", _blocks(post)))
        written += _pictures(service, truth, posts, first, last, out)
    except OSError as error:
        message = f"{out}: the replay can't be written there: {error.strerror}"
        raise UsageError(message) from None
    return tuple(written)


def timeline_csv(result: ReplayResult) -> str:
    """One row a transition, in the order in which they happened."""
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in result.timeline:
        table.writerow(
            [
                row.at.isoformat(),
                row.incident,
                row.rule,
                row.subject,
                row.transition,
                row.reason,
                row.headline,
            ]
        )
    return text.getvalue()


def _write(path: Path, content: bytes) -> Path:
    """Whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    draft.write_bytes(content)
    draft.replace(path)
    return path


def _text(post: Post) -> bytes:
    return f"{render_terminal(post.message)}\n".encode()


def _blocks(post: Post) -> bytes:
    content = render_slack(post.message, buttons=False)  # nobody answers them there
    payload = {"text": content.text, "blocks": content.blocks}
    return f"{json.dumps(payload, indent=2, ensure_ascii=False)}\n".encode()


def _pictures(
    service: Service, truth: Service, posts: Sequence[Post], first: date, last: date, out: Path
) -> list[Path]:
    prices, volumes = lines_of(service, truth)
    rows = rows_of(service, posts, last)
    if not (prices or volumes or rows):
        return []
    written = [
        _write(
            out / f"replay.{format}",
            replay_picture(prices, volumes, rows, first=first, last=last, format=format),
        )
        for format in FORMATS
    ]
    words = replay_alt_text(rows, first=first, last=last)
    return [*written, _write(out / "replay.txt", f"{words}\n".encode())]


def lines_of(service: Service, truth: Service) -> tuple[list[ReplayLine], list[ReplayLine]]:
    """Prices and volumes that rules watch, as known now, with the events that came and the limits of volumes."""
    prices: dict[str, ReplayLine] = {}
    volumes: dict[str, ReplayLine] = {}
    for rule in service.ruleset.rules:
        if isinstance(rule, PriceSpike):
            for name, series in finals_of(truth, rule.series).items():
                points = tuple((point.period, point.value) for point in series.points)
                if series.frequency != "month" or not points:
                    continue
                window = rule.since_months + rule.horizon_months
                events = price_events(points, rise=counted_rise(rule), window=window, subject=name)
                prices.setdefault(name, _line(series, points, events, ()))
        elif isinstance(rule, VolumeDrop):
            for name, series in finals_of(truth, rule.series).items():
                points = tuple((point.period, point.value) for point in series.points)
                if series.frequency != "month" or not points:
                    continue
                runs = runs_of(points, fallen_months(rule, series), subject=name)
                volumes.setdefault(name, _line(series, points, runs, _limits(rule, series)))
    return list(prices.values()), list(volumes.values())


def _line(
    series: ObservedSeries,
    points: tuple[tuple[date, float], ...],
    events: Sequence[Event],
    limits: tuple[tuple[date, float], ...],
) -> ReplayLine:
    spans = tuple((event.starts_on, event.ends_on) for event in events)
    return ReplayLine(_short(series.title), series.unit, points, spans, limits)


def _limits(rule: VolumeDrop, series: ObservedSeries) -> tuple[tuple[date, float], ...]:
    """The highest limit of each month that the rule can judge, in the series' unit."""
    own = replace(rule, series=(series.series,))
    enter = max(limit.enter for limit in rule.limits)
    found = []
    for count in range(1, len(series.points) + 1):
        known = replace(series, points=series.points[:count])
        newest = known.points[-1].period
        (result,) = own.evaluate(
            Situation(end_of(month_end(newest)), observed={series.series: known})
        )
        if isinstance(result, Reading) and result.chart is not None:
            found.append((newest, enter * result.chart.level))
    return tuple(found)


def rows_of(service: Service, posts: Sequence[Post], last: date) -> list[ReplayRow]:
    """When each alert that was seen stood, by signal; what only operators hear of is left out.

    Decisions of governments are one row: each of them is a subject of its own.
    """
    kinds = {rule.name: rule.type for rule in service.ruleset.rules}
    titles = {
        (one.rule, one.subject): _short(one.subject_title) for one in service.ledger.incidents(BOOK)
    }
    steps = read_steps(service, last)
    stood: defaultdict[tuple[str, str], list[Stretch]] = defaultdict(list)
    for rule, _, episode in episodes_of(steps, posted_of(posts)):
        kind = kinds.get(rule, "")
        if episode.seen_at is None or kind in OPERATOR_TYPES:
            continue
        own = [one for one in steps if (one.rule, one.subject) == (rule, episode.subject)]
        title = "Decisions" if kind == "policy_event" else titles[rule, episode.subject]
        stood[rule, title] += _stretches(episode, own, end_of(last))
    ordered = sorted(stood.items(), key=lambda item: item[1][0][0])
    shared = Counter(title for _, title in stood)
    return [
        ReplayRow(
            f"{title}, {kinds[rule].replace('_', ' ')}" if shared[title] > 1 else title,
            tuple(spans),
        )
        for (rule, title), spans in ordered
    ]


Stretch = tuple[datetime, datetime, bool]  # from, to, was it critical


def _stretches(episode: Episode, steps: Sequence[LifeStep], end: datetime) -> list[Stretch]:
    """An episode from its first post on, cut where it turned critical or no longer was."""
    begins = episode.seen_at or episode.begins_at
    ends = episode.ends_at or end
    turns = {begins: False}
    for step in steps:
        if step.at < ends:
            turns[max(step.at, begins)] = step.severity is Severity.CRITICAL
    found: list[Stretch] = []
    for (start, is_critical), stop in zip(turns.items(), [*list(turns)[1:], ends], strict=True):
        if found and found[-1][2] == is_critical:
            found[-1] = (found[-1][0], stop, is_critical)
        else:
            found.append((start, stop, is_critical))
    return found


def _short(title: str) -> str:
    """A title without what stands in brackets or after a comma: a picture has little room."""
    return title.partition(" (")[0].partition(",")[0]
