"""What can go wrong with one request: faults on demand, and a seeded weather of them."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

_RATELIMITED = b'{"ok":false,"error":"ratelimited"}'


@dataclass
class Fault:
    """What goes wrong with one request. `applied` says whether Slack did it all the same."""

    kind: str  # lost | reset | cut | status | error | html | late | lands_late | hook
    applied: bool = True
    status: int = 500
    error: str = "internal_error"
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0  # late: until the answer; lands_late: until it is applied
    body: bytes = b"<html><body>Something went wrong</body></html>"
    hook: Callable[[], None] | None = None  # called before the answer


BEFORE: dict[str, Fault] = {
    "429": Fault("status", False, 429, headers={"Retry-After": "1"}, body=_RATELIMITED),
    "429_without": Fault("status", False, 429, body=_RATELIMITED),
    "429_garbage": Fault("status", False, 429, headers={"Retry-After": "soon"}, body=_RATELIMITED),
    "ratelimited": Fault("error", False, error="ratelimited", headers={"Retry-After": "1"}),
    "503_unapplied": Fault("status", False, 503),
    "internal_error_unapplied": Fault("error", False, error="internal_error"),
}
"""Faults of a request that Slack didn't apply, by name."""

AFTER: dict[str, Fault] = {
    "lost": Fault("lost"),
    "reset": Fault("reset"),
    "cut": Fault("cut"),
    "502": Fault("status", status=502),
    "503": Fault("status", status=503),
    "504": Fault("status", status=504, body=b""),
    "internal_error": Fault("error", error="internal_error"),
    "late": Fault("late"),
    "lands_late": Fault("lands_late", applied=False),
}
"""Faults of a request that was applied, or will be: its answer doesn't say so."""

KINDS: dict[str, Fault] = {**BEFORE, **AFTER}


@dataclass
class Weather:
    """Faults drawn from a seed: the n-th request to a method always meets the same one."""

    seed: int
    rate: float = 0.3
    """Share of requests that meet a fault, 0–1."""
    kinds: Collection[str] = tuple(KINDS)
    methods: Collection[str] | None = None
    """Methods that it strikes ("upload" for the file bytes, "webhook"); None: every one."""
    late_seconds: float = 12.0
    """How long a late answer takes: more than the client waits."""
    landing_seconds: float = 1.0
    """How long after its lost answer a request is applied at the most."""
    drawn: Counter[str] = field(default_factory=Counter)
    """Faults so far, by kind."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.kinds) - set(KINDS)):
            message = f"no such kinds of fault: {', '.join(unknown)}; known: {', '.join(KINDS)}"
            raise ValueError(message)
        if not 0 <= self.rate <= 1:
            message = f"the rate of faults is a share between 0 and 1, not {self.rate}"
            raise ValueError(message)
        self._requests: Counter[str] = Counter()
        self._lock = threading.Lock()

    def draw(self, method: str) -> Fault | None:
        """The fault of the next request to this method; None if it has none."""
        if self.methods is not None and method not in self.methods:
            return None
        with self._lock:
            self._requests[method] += 1
            # By method: what two clients do at the same time doesn't change what each of them meets.
            dice = random.Random(f"{self.seed} {method} {self._requests[method]}")
            if not self.kinds or dice.random() >= self.rate:
                return None
            kind = dice.choice(list(self.kinds))
            self.drawn[kind] += 1
        seconds = {"late": self.late_seconds, "lands_late": self.landing_seconds * dice.random()}
        return replace(KINDS[kind], seconds=seconds.get(kind, 0.0))
