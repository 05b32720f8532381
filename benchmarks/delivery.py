"""What a reader of a Slack channel sees of alerts when things go wrong: Lodestone, and Alertmanager beside it.

python benchmarks/delivery.py [--table] [--sweep 1000 [--postgres]] [--healthy] [--drain 1000] [--idle] [--json]

- --table: one script of faults for both, as the Markdown table of docs/delivery.md. Lodestone is its own
  command `lodestone alerts deliver --watch` with a reconcile window of 12 s; its alerts are written as a
  run writes them. Alertmanager is Debian's prometheus-alertmanager (left out where it isn't installed),
  posting with chat.postMessage like us, each alert a group of its own, group_wait 0 s, group_interval 1 s,
  resolved ones sent; its alerts come by its API every second, the ended ones too, as Prometheus does it.
- --sweep N: N alerts, three seeds, 35 % of all requests faulty, the worker killed every four to nine
  requests, history late by half the window; with two workers; without the sweeper; and with requests that
  land later than the window allows. Exit code 1 if anything is lost or stands twice at the end.
- --healthy: seconds from commit to visible, one alert at a time. Checked: 95 of 100 within 2 s.
- --drain N: N drills at the pace of one a second and channel, and the memory of the worker meanwhile.
  Checked: at most 150 MB, and no more than 5 MB of growth after the first tenth.
- --idle: the share of a core that a worker with nothing to do uses, over 30 s. Checked: below 1 %.

Everything runs against the stand-in of tests/slack_standin on loopback; nothing leaves the machine.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from alerts.ledger import Judgement, OutboxState
from alerts.rules import DEFAULT_OPTIONS, Fact, Reading, Severity, short_hash
from flows.moments import Moment
from flows.service import Service
from flows.settings import load_settings
from flows.storage.database import open_database
from flows.telling import desk_of, teller
from flows.wiring import build
from tests.chaos.sweep import Conditions, Outcome, sweep
from tests.postgres import running_server
from tests.slack_standin import Fault, Message, StandIn, Weather

CHANNEL = "#alerts"
POST = "chat.postMessage"
ROOT = Path(__file__).parents[1]
COMMAND = str(Path(sys.executable).with_name("lodestone"))
HOSTILE = "<!channel> <@U0PRIYA> <https://evil.example|your bank> & *more*"
WINDOW_SECONDS = 12
LATE_SECONDS = 12.0  # more than either of the two waits for an answer
SEEDS = (1, 2, 3)
MOST_SECONDS_TO_VISIBLE, MOST_MB, MOST_GROWTH_MB, MOST_IDLE = 2.0, 150.0, 5.0, 0.01


# --- what alerts are told by ---------------------------------------------------------------


class System(Protocol):
    """Something that tells alerts in a channel, seen from outside."""

    name: str
    slack: StandIn

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def fire(self, *names: str, text: str = "") -> None: ...
    def resolve(self, *names: str) -> None: ...
    def rest(self) -> None: ...
    def stop(self) -> None: ...
    def edges(self, message: Message) -> set[tuple[str, str]]: ...


class Lodestone:
    """The service: rules judge into the outbox, `lodestone alerts deliver --watch` empties it."""

    name = "Lodestone"

    def __init__(self, slack: StandIn, home: Path, database_url: str = "") -> None:
        self.slack = slack
        self._home = home
        self._variables = {
            "LODESTONE_HOME": str(home),
            "LODESTONE_SLACK_CHANNEL": CHANNEL,
            "LODESTONE_SLACK_TOKEN": "xoxb-benchmark",
            "LODESTONE_SLACK_BASE_URL": slack.api_url,
            "LODESTONE_SLACK_RECONCILE_SECONDS": str(WINDOW_SECONDS),
            "LODESTONE_SLACK_HEARTBEAT": "false",
        }
        if database_url:
            self._variables["LODESTONE_DATABASE_URL"] = database_url
        self.service: Service = build(load_settings(self._variables))
        self._waiting: list[Reading] = []  # what happens while nobody judges
        self._turn = 0
        self.worker: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = self._home / "worker.log"
        with words.open("ab") as log:
            self.worker = subprocess.Popen(
                [COMMAND, "alerts", "deliver", "--watch"],
                env={**os.environ, **self._variables},
                cwd=self._home,
                stdout=log,
                stderr=log,
            )
        waiting, self._waiting = self._waiting, []
        self._judge(waiting)

    def run(self, *arguments: str) -> None:
        """Another command of the same service, to its end."""
        subprocess.run(
            [COMMAND, *arguments],
            env={**os.environ, **self._variables},
            cwd=self._home,
            check=True,
            capture_output=True,
        )

    def kill(self) -> None:
        assert self.worker is not None
        self.worker.kill()
        self.worker.wait()
        self.worker = None

    def stop(self) -> None:
        if self.worker is not None:
            self.worker.terminate()
            self.worker.wait(30)
            self.worker = None
        self.service.close()

    def fire(self, *names: str, text: str = "") -> None:
        self._turn += 1
        self._judge([self._reading(name, text) for name in names])

    def resolve(self, *names: str) -> None:
        self._turn += 1
        ended = [self._reading(name, "") for name in names]
        self._judge([replace(one, severity=None, is_clear=True, value=0.1) for one in ended])

    def _reading(self, name: str, text: str) -> Reading:
        return Reading(
            rule="benchmark",
            rule_version="v1",
            type="price_spike",
            route="buyers",
            subject=name,
            subject_title=f"{name} {text}".strip(),
            fingerprint=short_hash("benchmark", name),
            input_id=f"evaluation-{self._turn}",
            value=0.62,
            unit="chance",
            limit=0.5,
            severity=Severity.WARNING,
            is_clear=False,
            headline=f"{name}: the price may rise by a quarter {text}".strip(),
            facts=(Fact("Chance", "62 %"), Fact("Says", text or "nothing more")),
        )

    def _judge(self, readings: Sequence[Reading]) -> None:
        if self.worker is None:
            self._waiting += readings
            return
        if not readings:
            return
        now = self.service.clock()
        at = Moment(now, "live", live=True)
        self.service.ledger.judge(
            at.book,
            [Judgement(one, DEFAULT_OPTIONS) for one in readings],
            now=now,
            compose=teller(self.service, at, "benchmark", None).entries,
            desk=desk_of(self.service),
        )

    def rest(self) -> None:
        end = time.monotonic() + 300
        done = (OutboxState.SENT, OutboxState.SKIPPED)
        while left := [one for one in self.service.ledger.entries() if one.state not in done]:
            if time.monotonic() > end:
                message = f"not at rest after five minutes: {left[:3]}"
                raise TimeoutError(message)
            time.sleep(0.1)
        while self.service.ledger.summary("live", self.service.clock()).first_sweep_at is not None:
            time.sleep(0.1)

    def edges(self, message: Message) -> set[tuple[str, str]]:
        text = words_of(message)
        name = text_after(text, "alert-")
        if name is None:
            return set()
        is_over = "resolved" in text.lower()
        found = {(name, "resolved")} if is_over else set()
        if message.thread_ts in (None, message.ts) or not is_over:
            found.add((name, "fired"))
        return found


class Alertmanager:
    """Debian's prometheus-alertmanager, with someone who tells it every second what is firing and what ended."""

    name = "Alertmanager"
    program = "prometheus-alertmanager"

    def __init__(self, slack: StandIn, home: Path) -> None:
        self.slack = slack
        self._home = home
        self._alerts: dict[str, dict[str, Any]] = {}
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        (home / "alertmanager.yml").write_text(json.dumps(self._configuration()))
        self._prometheus = threading.Thread(target=self._tell_again, daemon=True)
        self._prometheus.start()

    def _configuration(self) -> dict[str, Any]:
        title = "[{{ .Status | toUpper }}] {{ .GroupLabels.alertname }}"
        slack = {
            "api_url": f"{self.slack.api_url}{POST}",
            "http_config": {"authorization": {"credentials": "xoxb-alertmanager"}},
            "channel": CHANNEL,
            "send_resolved": True,
            "title": title,
            "text": "{{ range .Alerts }}{{ .Annotations.summary }}{{ end }}",
        }
        return {
            "route": {
                "receiver": "slack",
                "group_by": ["alertname"],
                "group_wait": "0s",
                "group_interval": "1s",
                "repeat_interval": "4h",
            },
            "receivers": [{"name": "slack", "slack_configs": [slack]}],
        }

    def start(self) -> None:
        with (self._home / "alertmanager.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self.program,
                    f"--config.file={self._home / 'alertmanager.yml'}",
                    f"--storage.path={self._home / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--cluster.listen-address=",
                ],
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with suppress(OSError):
                urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=1).close()
                return
            time.sleep(0.05)
        message = f"Alertmanager did not start: {(self._home / 'alertmanager.log').read_text()}"
        raise TimeoutError(message)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._is_over.set()
        self._prometheus.join()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def fire(self, *names: str, text: str = "") -> None:
        now = datetime.now(UTC)
        with self._lock:
            for name in names:
                self._alerts[name] = {
                    "labels": {"alertname": name},
                    "annotations": {"summary": f"the price may rise by a quarter {text}".strip()},
                    "startsAt": now.isoformat(),
                    "endsAt": (now + timedelta(hours=1)).isoformat(),
                }
        self._tell()

    def resolve(self, *names: str) -> None:
        with self._lock:
            for name in names:
                self._alerts[name]["endsAt"] = datetime.now(UTC).isoformat()
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            body = json.dumps(list(self._alerts.values())).encode()
        request = HttpRequest(
            f"http://127.0.0.1:{self._port}/api/v2/alerts",
            body,
            {"Content-Type": "application/json"},
        )
        with suppress(OSError):  # it is down; the next second tells it again
            urlopen(request, timeout=5).close()

    def _tell_again(self) -> None:
        while not self._is_over.wait(1):
            self._tell()

    def rest(self) -> None:
        """Nothing says when it is done: no request for longer than its longest wait."""
        began = time.monotonic()
        while time.monotonic() - max(began, *(one.at for one in self.slack.requests), 0) < 14:
            time.sleep(0.1)

    def edges(self, message: Message) -> set[tuple[str, str]]:
        found = set()
        for attachment in message.attachments:
            name = text_after(str(attachment.get("title", "")), "alert-")
            if name is not None:
                is_firing = "[FIRING]" in attachment["title"]
                found.add((name, "fired" if is_firing else "resolved"))
        return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def words_of(message: Message) -> str:
    """Everything readable of a message in one text."""
    return f"{message.text} {json.dumps(message.blocks)} {json.dumps(message.attachments)}"


def text_after(text: str, start: str) -> str | None:
    """The first word that begins so."""
    at = text.find(start)
    if at < 0:
        return None
    end = at
    while end < len(text) and (text[end].isalnum() or text[end] in "-_"):
        end += 1
    return text[at:end]


# --- the script ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What a reader of the channel sees at the end."""

    posts: int
    copies: int  # posts that repeat another one word for word, beyond what happened
    lost: tuple[str, ...]  # turns that nobody was told of
    mentions: int  # texts from data that call people
    most_a_second: int  # posts in the busiest second


@dataclass(frozen=True)
class Scenario:
    title: str
    play: Callable[[System], None]
    turns: tuple[tuple[str, str], ...]
    may_repeat: bool = False  # the same thing really happens again


def fired(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, "fired") for name in names)


def told(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, turn) for name in names for turn in ("fired", "resolved"))


def with_fault(fault: Fault) -> Callable[[System], None]:
    def play(system: System) -> None:
        system.slack.fail(POST, fault)
        system.fire("alert-1")

    return play


def busy_then_over(system: System) -> None:
    system.slack.weather = Weather(1, 1.0, ("429",), (POST,))
    system.fire("alert-1")
    time.sleep(3)
    system.resolve("alert-1")
    time.sleep(2)
    system.slack.weather = None


def killed_after_the_post(system: System) -> None:
    killed = threading.Event()

    def kill(request: Any, phase: str) -> None:
        if request.method == POST and phase == "applied" and not killed.is_set():
            system.kill()
            killed.set()

    system.slack.on_request = kill
    system.fire("alert-1")
    assert killed.wait(60), "nothing was posted"
    system.slack.on_request = None
    system.start()


def over_while_down(system: System) -> None:
    system.fire("alert-1")
    wait_for(lambda: bool(system.slack.workspace.messages), 60)
    time.sleep(2)
    system.kill()
    system.resolve("alert-1")
    time.sleep(1)
    system.start()


def ten_toggles(system: System) -> None:
    for _ in range(10):
        system.fire("alert-1")
        time.sleep(2.5)
        system.resolve("alert-1")
        time.sleep(2.5)


def hostile(system: System) -> None:
    system.fire("alert-1", text=HOSTILE)


FORTY = tuple(f"alert-{number}" for number in range(1, 41))

SCRIPT = (
    Scenario("answer lost after the post", with_fault(Fault("lost")), fired("alert-1")),
    Scenario(
        f"answer after {LATE_SECONDS:.0f} s, the client waits less",
        with_fault(Fault("late", seconds=LATE_SECONDS)),
        fired("alert-1"),
    ),
    Scenario("429 for 5 s, over before it ends", busy_then_over, told("alert-1")),
    Scenario(
        "`internal_error` (200), posted all the same",
        with_fault(Fault("error", error="internal_error")),
        fired("alert-1"),
    ),
    Scenario(
        "`internal_error` (200), not posted",
        with_fault(Fault("error", applied=False, error="internal_error")),
        fired("alert-1"),
    ),
    Scenario("kill -9 after the post", killed_after_the_post, fired("alert-1")),
    Scenario("over while it is down (kill -9)", over_while_down, told("alert-1")),
    Scenario("on and off ten times", ten_toggles, told("alert-1"), may_repeat=True),
    Scenario("`<!channel>` in data", hostile, fired("alert-1")),
    Scenario("40 at once", lambda system: system.fire(*FORTY), fired(*FORTY)),
)


def wait_for(is_there: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_there():
        if time.monotonic() > end:
            message = f"nothing after {seconds:.0f} s"
            raise TimeoutError(message)
        time.sleep(0.005)


def seen(system: System, scenario: Scenario) -> Seen:
    workspace = system.slack.workspace
    messages = list(workspace.messages)
    shown = {edge for one in messages for edge in system.edges(one)}
    looks = [(one.channel, one.thread_ts, words_of(one)) for one in messages]
    stamps = sorted(float(one.ts) for one in messages)
    return Seen(
        posts=len(messages),
        copies=0 if scenario.may_repeat else len(looks) - len(set(looks)),
        lost=tuple(" ".join(turn) for turn in scenario.turns if turn not in shown),
        mentions=sum(calls_people(one) for one in messages),
        most_a_second=max(
            (sum(at <= other < at + 1 for other in stamps) for at in stamps), default=0
        ),
    )


def calls_people(message: Message) -> bool:
    """Whether text from data is obeyed: Slack reads `<!…>` and `<@…>` wherever it reads its own markup."""

    def texts(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            if part.get("type") == "mrkdwn":
                yield str(part.get("text", ""))
            for name, value in part.items():
                if name in ("text", "pretext", "fallback", "title") and isinstance(value, str):
                    if part.get("type") not in ("plain_text", "mrkdwn"):
                        yield value
                else:
                    yield from texts(value)
        elif isinstance(part, list):
            for each in part:
                yield from texts(each)

    found = [message.text, *texts(message.blocks), *texts(message.attachments)]
    return any("<!channel>" in text or "<@U0PRIYA>" in text for text in found)


def play(make: Callable[[StandIn, Path], System], scenario: Scenario) -> Seen:
    with StandIn() as slack, tempfile.TemporaryDirectory() as home:
        slack.workspace.channel_id(CHANNEL)
        system = make(slack, Path(home))
        try:
            system.start()
            scenario.play(system)
            system.rest()
            return seen(system, scenario)
        finally:
            slack.on_request = None
            system.stop()


def compare() -> dict[str, dict[str, Seen]]:
    """Every scenario, by system and title."""
    systems: dict[str, Callable[[StandIn, Path], System]] = {Lodestone.name: Lodestone}
    if shutil.which(Alertmanager.program):
        systems[Alertmanager.name] = Alertmanager
    else:
        note("prometheus-alertmanager is not installed: Lodestone alone")
    found: dict[str, dict[str, Seen]] = {}
    for name, make in systems.items():
        for scenario in SCRIPT:
            found.setdefault(name, {})[scenario.title] = play(make, scenario)
            note(f"{name}: {scenario.title}: {found[name][scenario.title]}")
    return found


def as_table(found: dict[str, dict[str, Seen]]) -> str:
    """Markdown: what a reader sees, one line for each scenario."""
    lines = [
        "| What happens | " + " | ".join(found) + " |",
        "| --- |" + " --- |" * len(found),
    ]
    for scenario in SCRIPT:
        cells = [in_words(scenario, each[scenario.title]) for each in found.values()]
        lines.append(f"| {scenario.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def in_words(scenario: Scenario, one: Seen) -> str:
    parts = [f"{one.posts} post" + ("" if one.posts == 1 else "s")]
    if one.copies:
        parts.append(f"**{one.copies} twice**")
    if one.lost:
        told = sorted({turn.split()[1] for turn in one.lost})
        parts.append(f"**never told: {' and '.join(told)}**")
    if "<!channel>" in scenario.title:
        parts.append("**calls everybody**" if one.mentions else "calls nobody")
    if len(scenario.turns) > 2:
        parts.append(f"at most {one.most_a_second} in a second")
    return ", ".join(parts)


# --- the sweep -----------------------------------------------------------------------------

VARIANTS: dict[str, dict[str, Any]] = {
    "one worker": {},
    "two workers": {"workers": 2},
    "one worker, no sweeper": {"is_swept": False},
    "landing too late, no sweeper": {"is_swept": False, "window": 0.6, "lag": 0.3, "landing": 2.0},
    "landing too late, swept": {"window": 0.6, "lag": 0.3, "landing": 2.0},
}


@dataclass(frozen=True)
class Swept:
    """One line of the sweep's table, over all seeds."""

    variant: str
    database: str
    alerts: int
    requests: int
    faulty: int
    kills: int
    lost: int
    repeated: int
    unreal: int
    taken_out: int
    charts_given_up: int
    seconds: float
    problems: tuple[str, ...]


def swept(alerts: int, *, on_postgres: bool, variants: Sequence[str]) -> list[Swept]:
    """Each variant with every seed at the same time: a sweep mostly waits."""
    lines = []
    for variant in variants:
        one = partial(swept_once, alerts, on_postgres=on_postgres, variant=variant)
        with ProcessPoolExecutor(len(SEEDS), multiprocessing.get_context("spawn")) as pool:
            try:
                outcomes = list(pool.map(one, SEEDS))
            except BaseException:
                for child in multiprocessing.active_children():
                    child.kill()  # or it would go on for minutes
                raise
        lines.append(summed(variant, "PostgreSQL" if on_postgres else "SQLite", outcomes))
        note(f"{lines[-1]}")
    return lines


def swept_once(alerts: int, seed: int, *, on_postgres: bool, variant: str) -> Outcome:
    with fresh_database(on_postgres=on_postgres) as url:
        return sweep(url, Conditions(alerts, seed, **VARIANTS[variant]))


def summed(variant: str, database: str, outcomes: Sequence[Outcome]) -> Swept:
    verdicts = [one.verdict for one in outcomes]
    return Swept(
        variant,
        database,
        sum(one.alerts for one in outcomes),
        sum(one.requests for one in outcomes),
        sum(one.faulty for one in outcomes),
        sum(one.kills for one in outcomes),
        sum(len(one.lost) for one in verdicts),
        sum(len(one.repeated) for one in verdicts),
        sum(len(one.unreal) for one in verdicts),
        sum(one.taken_out for one in outcomes),
        sum(len(one.given_up) for one in verdicts),
        sum(one.seconds for one in outcomes),
        tuple(key for one in verdicts for key in (*one.stale, *one.unsettled)),
    )


@contextmanager
def fresh_database(*, on_postgres: bool) -> Iterator[str]:
    with ExitStack() as stack:
        if on_postgres:
            server = stack.enter_context(running_server())
            url = stack.enter_context(server.database())
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            url = f"sqlite:///{folder}/lodestone.db"
            with open_database(url) as database:
                database.upgrade()
        yield url


def sweep_table(lines: Sequence[Swept]) -> str:
    head = "| Sweep | Database | Alerts | Requests | Faulty | Kills | Lost | Twice | Wrong place | Taken out |"
    rows = [head, "| --- " * 10 + "|"]
    for one in lines:
        share = f"{one.faulty / one.requests:.0%}"
        rows.append(
            f"| {one.variant} | {one.database} | {one.alerts} | {one.requests} | {share} | {one.kills} "
            f"| {one.lost} | {one.repeated} | {one.unreal} | {one.taken_out} |"
        )
    return "\n".join(rows)


# --- a healthy Slack -----------------------------------------------------------------------


@contextmanager
def healthy() -> Iterator[Lodestone]:
    with StandIn() as slack, tempfile.TemporaryDirectory() as home:
        slack.workspace.channel_id(CHANNEL)
        system = Lodestone(slack, Path(home))
        try:
            system.start()
            wait_for(lambda: "delivering" in (Path(home) / "worker.log").read_text(), 30)
            yield system
        finally:
            system.stop()


def to_visible(count: int = 40) -> dict[str, float]:
    """Seconds from the commit of an alert to its message in the channel, one alert after the other."""
    waits = []
    with healthy() as system:
        for number in range(count):
            # Never in step with the worker's own clock.
            time.sleep(1.1 + (number * 0.137) % 0.5)
            before = len(system.slack.workspace.roots(CHANNEL))
            system.fire(f"alert-{number}")
            committed = time.monotonic()
            wait_for(lambda b=before: len(system.slack.workspace.messages) > b, 30)
            waits.append(time.monotonic() - committed)
    waits.sort()
    return {
        "alerts": count,
        "p50_seconds": statistics.median(waits),
        "p95_seconds": waits[min(count - 1, round(0.95 * count))],
        "longest_seconds": waits[-1],
    }


def drained(count: int) -> dict[str, Any]:
    """N drills at the worker's own pace: posts a second, and its memory over time."""
    with healthy() as system:
        assert system.worker is not None
        process = psutil.Process(system.worker.pid)
        system.run("alerts", "drill", "--count", str(count), "--channel", CHANNEL)
        began, memory, done = time.monotonic(), [], 0
        while done < count:
            done = len(system.slack.workspace.messages)
            memory.append((time.monotonic() - began, done, process.memory_info().rss / 1e6))
            time.sleep(0.5)
            if time.monotonic() - began > 3 * count + 60:
                message = f"{done} of {count} drills after {3 * count + 60} s"
                raise TimeoutError(message)
        seconds = time.monotonic() - began
        stamps = sorted(float(one.ts) for one in system.slack.workspace.messages)
        gaps = [later - earlier for earlier, later in itertools.pairwise(stamps)]
        tenth = [mb for _, shown, mb in memory if shown >= count / 10]
        return {
            "drills": count,
            "seconds": seconds,
            "shown_once": len({words_of(one) for one in system.slack.workspace.messages}),
            "least_seconds_between_posts": min(gaps),
            "median_seconds_between_posts": statistics.median(gaps),
            "peak_mb": max(mb for _, _, mb in memory),
            "growth_mb": tenth[-1] - tenth[0],
            "mb_over_time": [
                (round(at), shown, round(mb, 1))
                for at, shown, mb in memory[:: max(1, len(memory) // 20)]
            ],
        }


def idled(seconds: float = 30.0) -> dict[str, float]:
    """The share of one core that a worker uses when there is nothing to send."""
    with healthy() as system:
        assert system.worker is not None
        process = psutil.Process(system.worker.pid)
        time.sleep(3)
        before, began = sum(process.cpu_times()[:2]), time.monotonic()
        time.sleep(seconds)
        used = sum(process.cpu_times()[:2]) - before
        return {
            "seconds": time.monotonic() - began,
            "share_of_a_core": used / (time.monotonic() - began),
            "mb": process.memory_info().rss / 1e6,
        }


# --- the command ---------------------------------------------------------------------------


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def missed(result: dict[str, Any]) -> list[str]:
    """The promises of the first lines that were not kept."""
    found = []
    for one in result.get("sweep", ()):
        is_told_so = (
            "too late, no sweeper" in one["variant"]
        )  # shown to see what the sweeper is for
        if one["lost"] or one["unreal"] or one["problems"] or (one["repeated"] and not is_told_so):
            found.append(f"sweep, {one['variant']}: not clean")
    if (visible := result.get("healthy")) and visible["p95_seconds"] > MOST_SECONDS_TO_VISIBLE:
        found.append(f"healthy: p95 {visible['p95_seconds']:.2f} s")
    if drain := result.get("drain"):
        if drain["shown_once"] != drain["drills"]:
            found.append(f"drain: {drain['shown_once']} of {drain['drills']} drills shown")
        if drain["peak_mb"] > MOST_MB or drain["growth_mb"] > MOST_GROWTH_MB:
            found.append(f"drain: {drain['peak_mb']:.0f} MB, grown by {drain['growth_mb']:.1f} MB")
    if (idle := result.get("idle")) and idle["share_of_a_core"] >= MOST_IDLE:
        found.append(f"idle: {idle['share_of_a_core']:.2%} of a core")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--sweep", type=int, metavar="N")
    parser.add_argument(
        "--variant", action="append", choices=VARIANTS, help="of the sweep: only this"
    )
    parser.add_argument("--postgres", action="store_true", help="the sweep on PostgreSQL")
    parser.add_argument("--healthy", action="store_true")
    parser.add_argument("--drain", type=int, metavar="N")
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    result: dict[str, Any] = {}
    if options.table:
        found = compare()
        result["table"] = {
            name: {title: asdict(one) for title, one in each.items()}
            for name, each in found.items()
        }
        if not options.json:
            print(as_table(found))
    if options.sweep:
        lines = swept(
            options.sweep, on_postgres=options.postgres, variants=options.variant or list(VARIANTS)
        )
        result["sweep"] = [asdict(one) for one in lines]
        if not options.json:
            print(sweep_table(lines))
    if options.healthy:
        result["healthy"] = to_visible()
    if options.drain:
        result["drain"] = drained(options.drain)
    if options.idle:
        result["idle"] = idled()
    if not result:
        parser.error("say what to measure: --table, --sweep N, --healthy, --drain N or --idle")
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        for part in ("healthy", "drain", "idle"):
            if part in result:
                print(f"{part}: {json.dumps(result[part])}")
    problems = missed(result)
    for problem in problems:
        note(f"missed: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
