"""A delivery worker in a process of its own that dies where it is told to: `python -m tests.chaos.worker`.

It is the real delivery: ledger, client and the loops of `flows.delivering`. Its death comes from outside,
by wrapping ledger and client, and so do its shorter waits: no product code knows of either.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from alerts.ledger import OutboxEntry
from alerts.slack import SlackSender
from flows import delivering
from flows.moments import Moment
from flows.postroom import PostRoom, now, open_post_room
from flows.settings import load_settings
from flows.storage.database import Database
from flows.storage.interactions import InteractionStore
from flows.storage.ledger import SqlLedger
from tests.chaos.story import STORIES, tell

UNDELIVERED = 3
PATIENCE_SECONDS = 60.0
LIVE = Moment(datetime(2025, 6, 21, tzinfo=UTC), "live", live=True)


class Deaths:
    """Counts how often each point of a run is passed, and ends (or halts) the process at the one named.

    A point is `ledger.claim:before`, `ledger.claim:commit` (everything is written, nothing committed),
    `ledger.claim:after`, the same of `sender.…`, and `upgrade:statement`.
    """

    def __init__(self, point: str, nth: int, signal_name: str = "SIGKILL") -> None:
        self._point = point
        self._signal = signal.Signals[signal_name]
        self._left = nth
        self._thread = threading.local()

    @property
    def _inside(self) -> list[str]:
        """The verbs under way in this thread, outermost first."""
        if not hasattr(self._thread, "inside"):
            self._thread.inside = []
        return self._thread.inside

    def pass_by(self, point: str) -> None:
        if point != self._point:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), self._signal)

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        self._inside.append(name)
        try:
            self.pass_by(f"{name}:before")
            yield
            self.pass_by(f"{name}:after")
        finally:
            self._inside.pop()

    def watch_the_database(self) -> None:
        @event.listens_for(Engine, "commit")
        def _committing(_: object) -> None:
            if self._inside:
                self.pass_by(f"{self._inside[-1]}:commit")

        @event.listens_for(Engine, "after_cursor_execute")
        def _executed(*_: object) -> None:
            if self._inside:
                self.pass_by(f"{self._inside[-1]}:statement")


class Mortal:
    """Somebody else's verbs, each of which may be the last."""

    def __init__(self, real: object, name: str, deaths: Deaths) -> None:
        self._real = real
        self._name = name
        self._deaths = deaths

    def __getattr__(self, verb: str) -> Any:
        found = getattr(self._real, verb)
        if not callable(found):
            return found

        def call(*given: Any, **named: Any) -> Any:
            with self._deaths.within(f"{self._name}.{verb}"):
                return found(*given, **named)

        return call


class Hurried(SqlLedger):
    """The ledger with waits that are so many times shorter, and the sweeper only if it is wanted."""

    def __init__(self, database: Database, times: float, *, is_swept: bool) -> None:
        super().__init__(database)
        self._times = times
        self._is_swept = is_swept

    def pause(self, scope: str, until: datetime, reason: str) -> None:
        super().pause(scope, self._sooner(until), reason)

    def release(self, entry: OutboxEntry, *, not_before: datetime, **more: Any) -> None:
        super().release(entry, not_before=self._sooner(not_before), **more)

    def sweepable(self, book: str | None, now: datetime) -> tuple[OutboxEntry, ...]:
        return super().sweepable(book, now) if self._is_swept else ()

    def _sooner(self, at: datetime) -> datetime:
        begins = now()
        return begins + max(timedelta(0), at - begins) / self._times


def variables(options: argparse.Namespace) -> dict[str, str]:
    """The settings that the options amount to."""
    return {
        "LODESTONE_DATABASE_URL": options.database,
        "LODESTONE_SLACK_TOKEN": options.token,
        "LODESTONE_SLACK_APP_TOKEN": "xapp-worker",
        "LODESTONE_SLACK_BASE_URL": options.slack,
        "LODESTONE_SLACK_RECONCILE_SECONDS": str(options.window),
        "LODESTONE_SLACK_MIN_INTERVAL_SECONDS": str(options.interval),
    }


@contextmanager
def post_room(options: argparse.Namespace, deaths: Deaths) -> Iterator[PostRoom]:
    """The real one, on the database and the Slack of the options, with mortal hands."""
    settings = load_settings(variables(options))
    # Made for a window of a minute; ours are shorter than a second.
    delivering.lease_for = lambda _: timedelta(seconds=options.lease)
    delivering.WATCH_EVERY = timedelta(seconds=0.05)
    with deaths.within("upgrade"):
        room = open_post_room(settings)
    try:
        ledger: Any = Hurried(room.database, options.hurry, is_swept=not options.no_sweep)
        sender: Any = SlackSender(options.token, options.slack, timeout_seconds=options.timeout)
        yield replace(
            room,
            ledger=Mortal(ledger, "ledger", deaths),
            sender=Mortal(sender, "sender", deaths),
        )
    finally:
        room.close()


def listen(options: argparse.Namespace, deaths: Deaths) -> int:
    """`lodestone slack listen`, which may die at `press.keep`, where it writes down what was pressed."""
    from flows.cli import main as lodestone

    keep = InteractionStore.keep

    def keep_or_die(*given: Any) -> Any:
        with deaths.within("press.keep"):
            return keep(*given)

    InteractionStore.keep = keep_or_die
    os.environ.update(variables(options))
    os.chdir(options.listen)  # its home is made there
    return lodestone(["slack", "listen"])


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    deaths = Deaths(options.kill, options.nth, options.signal)
    deaths.watch_the_database()
    if options.listen:
        return listen(options, deaths)
    with post_room(options, deaths) as room:
        if options.watch:
            stopped = threading.Event()
            signal.signal(signal.SIGTERM, lambda *_: stopped.set())
            told = lambda line: print(line, file=sys.stderr)  # noqa: E731
            delivering.keep_delivering(room, LIVE, is_stopped=stopped.is_set, told=told)
        else:
            delivering.deliver(room, LIVE, patience_seconds=PATIENCE_SECONDS)
            for scene in STORIES[options.story]() if options.story else ():
                tell(room.ledger, scene)
                delivering.deliver(room, LIVE, patience_seconds=PATIENCE_SECONDS)
        return UNDELIVERED if room.ledger.summary("live", now()).dead else 0


def live(arguments: list[str], words: str) -> None:
    """A whole life in a process that was forked for it; what it has to say goes to a file."""
    sys.stderr = Path(words).open("w", buffering=1)  # noqa: SIM115  for as long as it lives
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main(arguments))


def _end_with_parent() -> None:
    """A harness that was killed can't stop its workers."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True, metavar="URL")
    parser.add_argument("--slack", required=True, metavar="URL")
    parser.add_argument("--token", default="xoxb-worker")
    parser.add_argument("--story", choices=STORIES, help="judge its scenes, delivering after each")
    parser.add_argument("--listen", metavar="FOLDER", help="not deliver, but hear buttons")
    parser.add_argument("--watch", action="store_true", help="go on when nothing is due")
    parser.add_argument("--window", type=float, default=0.3, help="seconds to reconcile")
    parser.add_argument("--lease", type=float, default=0.3, help="seconds")
    parser.add_argument("--timeout", type=float, default=5, help="seconds of the client")
    parser.add_argument("--interval", type=float, default=0, help="seconds between two posts")
    parser.add_argument("--hurry", type=float, default=1, help="so many times shorter waits")
    parser.add_argument(
        "--no-sweep", action="store_true", help="leave second copies in the channel"
    )
    parser.add_argument("--kill", default="", metavar="POINT", help="where to die")
    parser.add_argument("--nth", type=int, default=1, help="at which passing of it")
    parser.add_argument("--signal", choices=("SIGKILL", "SIGSTOP"), default="SIGKILL")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
