"""Workers that are started, killed and started again, and what a reader of the channel sees at the end."""

import multiprocessing
import os
import queue
import re
import signal
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from alerts.ledger import EntryKind, OutboxState
from flows.storage.ledger import SqlLedger
from tests.chaos import worker
from tests.slack_standin import Message, StandIn, Workspace

_INCIDENT_AND_KIND = re.compile(r"([0-9a-f-]{36})[:-]([a-z]+)")
UNSETTLED = (OutboxState.PENDING, OutboxState.SENDING, OutboxState.UNKNOWN)

# Forked from a process that has everything loaded: half a second less for each start.
_NURSERY = multiprocessing.get_context("forkserver")
_NURSERY.set_forkserver_preload(["pytest", "tests.chaos.worker"])

_WORDS = tempfile.TemporaryDirectory(prefix="lodestone-workers-")


class Worker:
    """A worker in a process of its own (see `tests.chaos.worker`)."""

    def __init__(self, url: str, slack: StandIn, *arguments: str) -> None:
        self._lock = threading.Lock()
        self._words = Path(_WORDS.name) / uuid4().hex
        given = ["--database", url, "--slack", slack.api_url, *arguments]
        self._process = _NURSERY.Process(
            target=worker.live, args=(given, str(self._words)), daemon=True
        )
        self._process.start()

    @property
    def is_alive(self) -> bool:
        return self._code() is None

    def kill(self) -> None:
        """SIGKILL; returns when nothing of it runs any more."""
        self._process.kill()
        self._wait(60)

    def stop(self) -> None:
        """SIGTERM, as a service manager does."""
        self._process.terminate()
        self._wait(60)

    def resume(self) -> None:
        """SIGCONT: a machine that was suspended is awake again."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def end(self, seconds: float = 180) -> int:
        """Its exit code, negative for a signal, once it has ended."""
        code = self._wait(seconds)
        if code is None:
            self.kill()
            message = f"a worker did not end within {seconds:.0f} s: {self.words()}"
            raise TimeoutError(message)
        return code

    def _wait(self, seconds: float) -> int | None:
        end = time.monotonic() + seconds
        while (code := self._code()) is None and time.monotonic() < end:
            time.sleep(0.002)
        return code

    def _code(self) -> int | None:
        with self._lock:  # of two who ask at once, one would be told a code that is none
            return self._process.exitcode

    def words(self) -> str:
        """What it wrote to its standard error."""
        return self._words.read_text() if self._words.exists() else ""


def play(url: str, slack: StandIn, *arguments: str) -> None:
    """A worker that comes to its end by itself; anything else fails with its own words."""
    one = Worker(url, slack, *arguments)
    assert one.end() == 0, one.words()


def play_and_die(url: str, slack: StandIn, *arguments: str) -> None:
    """A worker that is killed on its way; one that comes to its end never met the point: a test of nothing."""
    one = Worker(url, slack, *arguments)
    assert one.end() == -signal.SIGKILL, one.words() or "it came to its end unharmed"


def play_until_killed_by_slack(
    url: str, slack: StandIn, method: str, phase: str, nth: int, *arguments: str
) -> None:
    """Kill the worker while Slack is at a phase of its `nth` request to a method."""
    started: queue.Queue[Worker] = queue.Queue()
    seen = 0

    def watch(request: Any, at: str) -> None:
        nonlocal seen
        if (request.method, at) == (method, phase):
            seen += 1
            if seen == nth:
                started.get(timeout=30).kill()

    slack.on_request = watch
    one = Worker(url, slack, *arguments)
    started.put(one)
    code = one.end()
    slack.on_request = None
    assert code == -signal.SIGKILL, one.words() or "it came to its end unharmed"


# --- what is seen ---------------------------------------------------------------------


def names_of(message: Message) -> str:
    """What a message is known by: its delivery key, or the name of its picture."""
    return message.delivery_key or ", ".join(str(file["name"]) for file in message.files)


def seen_by_a_reader(workspace: Workspace) -> list[tuple[str, str, str, str]]:
    """Every message of every channel: name, name of the message above it, text, words of its picture.

    Names are those of the incident and the kind alone: the rest of a key differs from one database to the
    next, and is not the same where a transaction was taken back.
    """
    with workspace.lock:
        names = {one.ts: _short(names_of(one)) for one in workspace.messages}
        return sorted(
            (
                names[one.ts],
                names.get(one.thread_ts or "", "") if one.thread_ts != one.ts else "",
                one.text,
                ", ".join(str(file["alt_txt"]) for file in one.files),
            )
            for one in workspace.messages
        )


@dataclass(frozen=True)
class Verdict:
    """How the outbox and the channel stand to each other, once nothing moves any more."""

    entries: int
    lost: tuple[str, ...]  # said to be sent, or to be nothing to send, and not in the channel
    repeated: tuple[str, ...]  # in the channel more than once; a name for each copy too many
    unreal: tuple[str, ...]  # sent, with a place where no such message stands
    stale: tuple[str, ...]  # roots that don't look as the newest text of their incident
    unsettled: tuple[str, ...]
    given_up: tuple[str, ...]  # pictures that failed three times: their text stands

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.repeated or self.unreal or self.stale or self.unsettled)


def judge(ledger: SqlLedger, workspace: Workspace) -> Verdict:
    """Compare every row of the outbox with what stands in the channels."""
    with workspace.lock:
        by_name: dict[str, list[Message]] = {}
        for message in workspace.messages:
            by_name.setdefault(names_of(message), []).append(message)
    lost, unreal, stale, unsettled, given_up = [], [], [], [], []
    entries = ledger.entries()
    newest = {one.incident_id: one for one in entries if one.kind is EntryKind.EDIT}
    for entry in entries:
        if entry.kind is EntryKind.CHART and entry.state is OutboxState.DEAD:
            given_up.append(entry.delivery_key)
            continue
        if entry.state is not OutboxState.SENT:
            unsettled.append(f"{entry.delivery_key}: {entry.state} {entry.error}")
            continue
        if entry.kind.edits:
            continue
        shown = by_name.get(_name(entry.kind, entry.delivery_key), [])
        if not shown:
            lost.append(entry.delivery_key)
        assert entry.receipt is not None
        places = {(one.channel, one.ts) for one in shown}
        is_placed = entry.kind is not EntryKind.CHART  # Slack does not say where a picture stands
        if is_placed and (entry.receipt.channel_id, entry.receipt.ts) not in places:
            unreal.append(entry.delivery_key)
        if entry.kind is EntryKind.ROOT and shown:
            text = newest.get(entry.incident_id, entry).message["why_now"]
            if text not in shown[0].text:
                stale.append(entry.delivery_key)
    repeated = [name for name, shown in by_name.items() for _ in shown[1:]]
    found = (lost, repeated, unreal, stale, unsettled, given_up)
    return Verdict(len(entries), *map(tuple, found))


def _short(name: str) -> str:
    found = _INCIDENT_AND_KIND.match(name)
    return f"{found[1]} {found[2]}" if found else name


def _name(kind: EntryKind, delivery_key: str) -> str:
    """As the client names the file of a picture: with what file names may hold."""
    if kind is not EntryKind.CHART:
        return delivery_key
    return re.sub(r"[^A-Za-z0-9.-]", "-", delivery_key) + ".png"


def unsettled(ledger: SqlLedger) -> int:
    """How many entries still have a way to go; cheap, because it is asked all the time."""
    left = ledger.summary(None, datetime.now(UTC))
    return left.pending + left.sending + left.unknown


def wait_for_rest(ledger: SqlLedger, seconds: float) -> None:
    """Until every entry is settled, whoever does it."""
    end = time.monotonic() + seconds
    while unsettled(ledger):
        if time.monotonic() > end:
            left = ledger.entries(states=UNSETTLED)
            shown = [f"{e.delivery_key} {e.state} {e.error}" for e in left[:10]]
            message = f"{len(left)} entries are not settled after {seconds:.0f} s: {shown}"
            raise AssertionError(message)
        time.sleep(0.05)
