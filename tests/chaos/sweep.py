"""Hundreds of alerts through a bad Slack by workers that are killed all the time, and what is left of it."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from flows.errors import DatabaseUnusableError
from flows.storage.database import open_database
from flows.storage.ledger import SqlLedger
from tests.chaos.harness import Verdict, Worker, judge, unsettled, wait_for_rest
from tests.chaos.story import CHANNEL, of_many, tell
from tests.slack_standin import Request, StandIn, Weather

KINDS = (
    *("429", "ratelimited", "503_unapplied", "internal_error_unapplied"),
    *("lost", "reset", "cut", "502", "503", "504", "internal_error", "late", "lands_late"),
)
"""Faults that a sweep meets: not the waits of half a minute that a 429 without its number of seconds means."""

PHASES = ("half_body", "received", "applied", "answered")


@dataclass(frozen=True)
class Conditions:
    """How bad it is. Seconds are short, so that a thousand alerts take minutes, and their order is kept:

    a request lands within `landing`, is in the history `lag` later, both within the `window`.
    """

    alerts: int
    seed: int
    faults: float = 0.35  # share of requests
    kinds: tuple[str, ...] = KINDS
    kill_every: tuple[int, int] = (4, 9)  # requests
    workers: int = 1
    window: float = 1.0
    lag: float = 0.5
    landing: float = 0.4
    timeout: float = 0.6
    lease: float = 1.5
    hurry: float = (
        10.0  # waits that Slack asks for, and those between attempts, so many times shorter
    )
    is_swept: bool = True
    outage: Callable[[], None] | None = None  # what happens to the database half way


@dataclass
class Outcome:
    """What it came to. `faulty` counts requests that met a fault, `kills` only those by SIGKILL."""

    verdict: Verdict
    alerts: int
    requests: int
    faulty: int
    kills: int
    taken_out: int  # second copies that the sweeper deleted
    seconds: float
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def share_faulty(self) -> float:
        return self.faulty / self.requests


class Crew:
    """Workers that are replaced as soon as they are dead; Slack kills one every few requests."""

    def __init__(self, url: str, slack: StandIn, how: Conditions) -> None:
        self._dice = random.Random(how.seed)
        self._how = how
        self._left = self._dice.randint(*how.kill_every)
        self._doomed: tuple[Request, str] | None = None
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._make = lambda token: Worker(
            *(url, slack, "--watch", "--token", token),
            *("--window", str(how.window), "--lease", str(how.lease)),
            *("--timeout", str(how.timeout), "--hurry", str(how.hurry)),
            *(() if how.is_swept else ("--no-sweep",)),
        )
        self.kills = 0
        self._crew = {
            token: self._make(token) for token in (f"xoxb-{n}" for n in range(how.workers))
        }
        slack.on_request = self._watch
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def spare(self) -> None:
        """Kill nobody from now on."""
        with self._lock:
            self._left = -1
            self._doomed = None

    def end(self) -> None:
        self._is_over.set()
        self._keeper.join(30)
        for worker in self._crew.values():
            worker.stop()

    def _watch(self, request: Request, phase: str) -> None:
        """Called by Slack at each phase of each request."""
        with self._lock:
            if phase == PHASES[0] and self._left > 0:
                self._left -= 1
                if self._left == 0:
                    self._doomed = (request, self._dice.choice(PHASES))
            if self._doomed is None or self._doomed[0] is not request:
                return
            # A request that is not applied passes the other phases only.
            if phase not in (self._doomed[1], PHASES[-1]):
                return
            self._doomed = None
            self._left = self._dice.randint(*self._how.kill_every)
            worker = self._crew[request.token or ""]
            self.kills += 1
        worker.kill()

    def _keep(self) -> None:
        while not self._is_over.wait(0.01):
            for token, worker in list(self._crew.items()):
                if not worker.is_alive and not self._is_over.is_set():
                    fresh = self._make(token)
                    with self._lock:
                        self._crew[token] = fresh


def sweep(url: str, how: Conditions) -> Outcome:
    """Tell `how.alerts` alerts while workers deliver and die; judge the channel when nothing moves any more."""
    began = time.monotonic()
    with StandIn() as slack, open_database(url) as database:
        slack.workspace.channel_id(CHANNEL)
        slack.workspace.history_lag_seconds = how.lag
        slack.weather = Weather(
            how.seed,
            how.faults,
            how.kinds,
            late_seconds=1.5 * how.timeout,
            landing_seconds=how.landing,
        )
        ledger = SqlLedger(database)
        crew = Crew(url, slack, how)
        try:
            _tell_all(ledger, how)
            wait_for_rest(ledger, 600 + 5 * how.alerts)
            crew.spare()
            _wait_for_late_landings(ledger, slack, how)
        finally:
            crew.end()
        faulty = [one for one in slack.requests if one.outcome.startswith("fault")]
        return Outcome(
            judge(ledger, slack.workspace),
            how.alerts,
            len(slack.requests),
            len(faulty),
            crew.kills,
            sum(one.outcome == "ok" for one in slack.calls("chat.delete")),
            time.monotonic() - began,
            slack.weather.drawn,
        )


def _tell_all(ledger: SqlLedger, how: Conditions) -> None:
    """One scene after the other, no faster than a few are under way, so that not all are told in one message."""
    scenes = of_many(how.alerts)
    for number, scene in enumerate(scenes):
        if how.outage is not None and number == len(scenes) // 2:
            how.outage()
        _insist(lambda scene=scene: tell(ledger, scene))
        end = time.monotonic() + 300
        while _insist(lambda: unsettled(ledger)) > 60:
            if time.monotonic() > end:
                message = f"nothing moves any more: {ledger.summary(None, datetime.now(UTC))}"
                raise TimeoutError(message)
            time.sleep(0.05)


def _insist(act):
    """As a scheduler does: a database that is away for a moment is asked again."""
    end = time.monotonic() + 30
    while True:
        try:
            return act()
        except DatabaseUnusableError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _wait_for_late_landings(ledger: SqlLedger, slack: StandIn, how: Conditions) -> None:
    """Until no request is under way, and the sweeper had time to see where the last one landed."""
    assert slack.settle(30), "requests are still landing"
    if how.is_swept:
        # It looks again when as much time as since the sending has passed.
        time.sleep(2 * (how.landing + how.lag + how.window) + 1)
    end = time.monotonic() + 30
    while how.is_swept and ledger.summary("live", datetime.now(UTC)).first_sweep_at is not None:
        assert time.monotonic() < end, "the sweeper does not come to an end"
        time.sleep(0.1)
