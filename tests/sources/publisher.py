"""A publisher on this machine: answers by a function, and remembers what it was asked and the waits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

import httpx

from flows.sources.http import HttpClient, HttpPolicy

PAYLOADS = Path(__file__).parent / "payloads"
Answer = Callable[[httpx.Request], httpx.Response]


def payload(name: str) -> str:
    return (PAYLOADS / name).read_text(encoding="utf-8")


def form_of(request: httpx.Request) -> dict[str, str]:
    parsed = parse_qs(request.content.decode(), keep_blank_values=True)
    return {name: values[0] for name, values in parsed.items()}


def in_turn(*answers: httpx.Response | Exception) -> Answer:
    """Answers one after the other; the last one for ever."""
    queue: Iterator[httpx.Response | Exception] = iter(answers)
    last = answers[-1]

    def answer(request: httpx.Request) -> httpx.Response:
        found = next(queue, last)
        if isinstance(found, Exception):
            raise found
        return found

    return answer


@dataclass
class Publisher:
    answer: Answer
    policy: HttpPolicy = field(default_factory=lambda: HttpPolicy(gap_seconds=0.0))
    clock: Callable[[], float] = lambda: 0.0
    requests: list[httpx.Request] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def open_client(self) -> HttpClient:
        return HttpClient(
            "pretend",
            pause=self.waits.append,
            policy=self.policy,
            transport=httpx.MockTransport(self._handle),
            jitter=lambda: 1.0,
            clock=self.clock,
        )

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)
