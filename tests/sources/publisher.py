"""A publisher on this machine: answers by a function, and remembers what it was asked and the waits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

import httpx

from flows.sources.http import HostTurns, HttpClient, HttpPolicy
from flows.sources.http_cache import HttpCache

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


class Pieces(httpx.SyncByteStream):
    """A body as it comes over a wire, piece by piece; an exception among them ends it."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def wire(*pieces: bytes | Exception, code: int = 200, **headers: str) -> httpx.Response:
    """An answer with exactly these bytes and headers; `content_encoding` is Content-Encoding."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(code, headers=named, stream=Pieces(*pieces))


@dataclass
class Publisher:
    """Time passes by what is waited only; `clock` may tell it otherwise."""

    answer: Answer
    policy: HttpPolicy = field(default_factory=lambda: HttpPolicy(gap_seconds=0.0))
    clock: Callable[[], float] | None = None
    cache: HttpCache | None = None
    turns: HostTurns = field(default_factory=HostTurns)
    jitter: Callable[[], float] = lambda: 1.0
    instead: dict[str, str] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def open_client(self) -> HttpClient:
        return HttpClient(
            "pretend",
            pause=self.waits.append,
            policy=self.policy,
            cache=self.cache,
            turns=self.turns,
            transport=httpx.MockTransport(self._handle),
            jitter=self.jitter,
            instead=self.instead,
            clock=self.clock or self._waited,
        )

    def _waited(self) -> float:
        return float(sum(self.waits))

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        found = self.answer(request)
        told, body = found.headers.multi_items(), found.stream
        if found.is_stream_consumed:
            # Made from a text: httpx has read and unpacked it already. A body comes as a stream, once.
            told = [it for it in told if it[0] not in ("content-encoding", "content-length")]
            body = Pieces(found.content)
        return httpx.Response(found.status_code, headers=told, stream=body)
