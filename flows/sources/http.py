"""The one user of httpx: asks a publisher politely, gives up clearly, and keeps secrets out of errors."""

import json
import logging
import random
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx

from flows.errors import SourceError
from flows.sources.http_cache import HttpCache, Kept
from flows.sources.keys import Hidden, is_secret_name
from flows.sources.tables import beginning, came_instead

Pause = Callable[[float], None]

_CHANCE = random.SystemRandom()
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_REFUSED = frozenset({401, 403, 407, 451})

# An answer to a request with any other header or parameter may be for the holder of a key only.
_OPEN_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "connection",
        "host",
        "referer",
        "user-agent",
        "x-requested-with",
    }
)
_STEP_BYTES = 1_000_000  # unpacked at once
_LONGEST_HOLD_SECONDS = 3600.0  # a service runs for months: no header may silence it for as long


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """How long, how often and how much is asked of a publisher."""

    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    # A server that sends a byte now and then never meets the read time-out: this ends it.
    total_seconds: float = 120.0
    tries: int = 3
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    gap_seconds: float = 0.5  # from one request to a host to the next, by whichever client
    redirects: int = 3
    max_bytes: int = 20_000_000  # as sent, and as unpacked
    user_agent: str = "lodestone (rare-earth supply early warning)"


class HostTurns:
    """When each host may be asked next: what one client does, every other one of the process respects."""

    def __init__(self) -> None:
        self._free_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, host: str, *, now: float, gap_seconds: float, longest_seconds: float) -> float:
        """Seconds to wait for the turn that is taken; none is taken when that is longer than `longest_seconds`."""
        with self._lock:
            turn = max(now, self._free_at.get(host, now))
            if turn - now <= longest_seconds:
                self._free_at[host] = turn + gap_seconds
        return turn - now

    def hold(self, host: str, *, until: float) -> None:
        """Let nobody ask a host before then: it said so itself."""
        with self._lock:
            self._free_at[host] = max(until, self._free_at.get(host, until))


_TURNS = HostTurns()


class _AgainError(Exception):
    """A try that failed in a way that another try may mend."""

    def __init__(self, what: str, wait_seconds: float | None = None) -> None:
        self.what = what
        self.wait_seconds = wait_seconds
        super().__init__(what)


class HttpClient:
    """Requests to one publisher with one set of cookies; every failure is a SourceError.

    What is meant for an origin in `instead` is asked at the origin that stands there for it. No answer and
    no error holds a key, a password or what was hidden: it is taken out before anybody reads a body.
    """

    def __init__(
        self,
        source: str,
        *,
        pause: Pause,
        policy: HttpPolicy | None = None,
        cache: HttpCache | None = None,
        turns: HostTurns | None = None,
        instead: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | None = None,
        jitter: Callable[[], float] = _CHANCE.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._pause = pause
        self._policy = policy or HttpPolicy()
        self._cache = cache
        self._turns = turns or _TURNS
        self._jitter = jitter
        self._clock = clock
        self._instead = dict(instead or {})
        self._deadline = float("inf")  # of the try that is under way
        self._hidden = Hidden()
        self._doubtful = Hidden()  # texts that errors leave out, but that may be figures in a body
        # Both log addresses and headers, where some publishers want the key.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._client = httpx.Client(
            timeout=httpx.Timeout(self._policy.read_seconds, connect=self._policy.connect_seconds),
            # Only gzip is asked for: it can be unpacked in small steps, and shows when it is cut off.
            headers={"User-Agent": self._policy.user_agent, "Accept-Encoding": "gzip"},
            follow_redirects=False,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()

    def hide(self, secret: str) -> None:
        """Keep a text out of every answer and error; keys and passwords by name are hidden unasked."""
        self._hidden.add(secret)

    def hidden(self, text: str) -> str:
        """A text without what is hidden, should it come from a place that no answer went through."""
        return self._doubtful.text(self._hidden.text(text))

    def visit(self, url: str) -> None:
        """Open a page for its cookies; what it says is not looked at."""
        self._ask("GET", url)

    def get_bytes(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body that a GET answers with, as it came but for what is hidden."""
        return self._ask("GET", url, params=params, headers=headers)[1]

    def get_json(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> object:
        """The JSON value that a GET answers with; NaN and Infinity in it are texts."""
        return self._json(*self._ask("GET", url, params=params, headers=headers))

    def post_form_json(
        self, url: str, form: Mapping[str, str], *, headers: Mapping[str, str] | None = None
    ) -> object:
        """The JSON value that a form answers with; the form must be one that may be sent twice."""
        return self._json(*self._ask("POST", url, form=form, headers=headers))

    def _ask(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[str, bytes]:
        """The address that was really asked, and the body that it answers with."""
        try:
            url = _moved(url, self._instead)
            request = self._client.build_request(
                method, url, params=params, data=form, headers=headers
            )
        except (httpx.InvalidURL, ValueError, TypeError):
            raise self._error(
                url, "can't be asked: the address or a key is not valid; mend it in the settings"
            ) from None
        request.extensions["trace"] = self._bound
        for secret in _secrets(request):
            self._hidden.add(secret)
        for value in _doubtful(request):
            self._doubtful.add(value)
        kept = self._kept(request)
        if kept is not None:
            request.headers.update(kept.validators)
        for attempt in range(1, self._policy.tries + 1):
            self._wait_for_turn(request)
            try:
                return url, self._hidden.body(self._try_once(request, kept))
            except _AgainError as error:
                wait = self._wait_seconds(attempt, error)
                if error.wait_seconds is not None:
                    hold = min(wait, _LONGEST_HOLD_SECONDS)
                    self._turns.hold(request.url.host, until=self._clock() + hold)
                if wait > self._policy.longest_wait_seconds:
                    # Asking earlier than told would be rude and fail again.
                    raise self._error(
                        url, f"{error.what} and asks to wait {wait:.0f} s; try again then"
                    ) from None
                if attempt == self._policy.tries:
                    raise self._error(
                        url, f"{error.what} ({attempt} tries); try again later"
                    ) from None
                if error.wait_seconds is None:
                    self._pause(wait)
        raise self._error(url, "was not asked: the policy allows no try")

    def _wait_for_turn(self, request: httpx.Request) -> None:
        longest = max(self._policy.longest_wait_seconds, self._policy.gap_seconds)
        wait = self._turns.take(
            request.url.host,
            now=self._clock(),
            gap_seconds=self._policy.gap_seconds,
            longest_seconds=longest,
        )
        if wait > longest:
            raise self._error(
                str(request.url),
                f"was not asked: its host wants no request for another {wait:.0f} s; try again then",
            )
        if wait > 0:
            self._pause(wait)

    def _kept(self, request: httpx.Request) -> Kept | None:
        if self._cache is None or not _is_open(request):
            return None
        return self._cache.find(str(request.url))

    def _wait_seconds(self, attempt: int, error: _AgainError) -> float:
        if error.wait_seconds is not None:
            return error.wait_seconds
        backoff = self._policy.first_wait_seconds * 2.0 ** (attempt - 1)
        # Half fixed, half chance: many instances must not come back in the same second.
        return min(backoff * (0.5 + 0.5 * self._jitter()), self._policy.longest_wait_seconds)

    def _try_once(self, first: httpx.Request, kept: Kept | None) -> bytes:
        request, url = first, str(first.url)
        self._deadline = self._clock() + self._policy.total_seconds
        for _ in range(self._policy.redirects + 1):
            try:
                response = self._client.send(request, stream=True)
                try:
                    if not response.has_redirect_location:
                        return self._body(response, first, kept)
                    request = self._redirected(response)
                finally:
                    response.close()
            except httpx.LocalProtocolError:
                raise self._error(
                    url, "can't be asked: a header or a key is not valid; mend it in the settings"
                ) from None
            except httpx.TransportError as error:
                if self._clock() >= self._deadline:
                    raise self._too_slow() from None
                # The text of the error can hold the address with its query: keep only its type.
                raise _AgainError(_describe(error, self._policy)) from None
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
                raise self._error(url, f"could not be read ({type(error).__name__})") from None
        raise self._error(
            url, f"redirects more than {self._policy.redirects} times; check the address"
        )

    def _redirected(self, response: httpx.Response) -> httpx.Request:
        """The next request of a redirect that stays on the host; all others are refused."""
        asked, following = response.request, response.next_request
        target = "nowhere" if following is None else address(str(following.url))
        if following is None or asked.method != "GET" or not _same_site(asked.url, following.url):
            what = f"redirects to {target} (HTTP {response.status_code}), which is not followed"
            raise self._error(
                str(asked.url), f"{what}; the publisher may have moved or wants a log-in"
            )
        return following

    def _bound(self, event: str, info: Mapping[str, Any]) -> None:
        """What httpcore calls on every step: a connection that it opens is bounded by the whole try.

        Its own time-outs begin anew with every byte, and a server may drip headers for hours.
        """
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            stream = info["return_value"]
            stream.read = partial(self._read, stream.read)

    def _read(
        self,
        read: Callable[[int, float | None], bytes],
        max_bytes: int,
        timeout: float | None = None,
    ) -> bytes:
        left = self._deadline - self._clock()
        if left <= 0:
            problem = "the whole try"
            raise httpx.ReadTimeout(problem)
        return read(max_bytes, left if timeout is None else min(timeout, left))

    def _too_slow(self) -> _AgainError:
        return _AgainError(f"did not finish its answer within {self._policy.total_seconds:g} s")

    def _body(self, response: httpx.Response, first: httpx.Request, kept: Kept | None) -> bytes:
        url, status = str(response.request.url), response.status_code
        if status == httpx.codes.NOT_MODIFIED and kept is not None:
            return kept.body
        if status in _RETRIED or status > 504:
            what = f"answers HTTP {status}"
            raise _AgainError(what, _retry_after(response.headers))
        if status in _REFUSED:
            raise self._error(
                url,
                f"refuses (HTTP {status}): the key is missing, wrong or used up, "
                "or this network is blocked",
            )
        if status in (404, 410):
            raise self._error(url, f"is gone (HTTP {status}); the publisher has moved it")
        if status != httpx.codes.OK:
            raise self._error(
                url, f"answers HTTP {status}; check the request with the publisher's pages"
            )
        body = bytearray()
        for piece in self._unpacked(response, url):
            body += piece
            if len(body) > self._policy.max_bytes:
                raise self._too_large(url)
            if self._clock() > self._deadline:
                raise self._too_slow()
        whole = bytes(body)
        if self._cache is not None and _is_open(first) and _may_be_kept(response):
            headers = response.headers
            found = Kept(
                self._hidden.body(whole), headers.get("etag", ""), headers.get("last-modified", "")
            )
            self._cache.keep(str(first.url), found)
        return whole

    def _unpacked(self, response: httpx.Response, url: str) -> Iterator[bytes]:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        pieces = self._as_sent(response, url)
        if encoding in ("", "identity"):
            return pieces
        if encoding in ("gzip", "x-gzip"):
            return _gunzipped(pieces)
        raise self._error(url, f"sends the compression {encoding[:20]!r}, which was not asked for")

    def _as_sent(self, response: httpx.Response, url: str) -> Iterator[bytes]:
        """The bytes on the wire, up to the size limit; fewer than announced is a failed try."""
        declared = response.headers.get("content-length", "").strip()
        announced = int(declared) if re.fullmatch(r"\d{1,18}", declared, re.ASCII) else None
        if announced is not None and announced > self._policy.max_bytes:
            raise self._too_large(url)
        count = 0
        for piece in response.iter_raw():
            count += len(piece)
            if count > self._policy.max_bytes:
                raise self._too_large(url)
            yield piece
        if announced is not None and count < announced:
            what = f"broke off after {count:,} of {announced:,} bytes"
            raise _AgainError(what)

    def _too_large(self, url: str) -> SourceError:
        limit = self._policy.max_bytes / 1e6
        return self._error(url, f"sends more than {limit:g} MB; nothing of it was taken")

    def _json(self, url: str, body: bytes) -> object:
        try:
            text = body.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise self._error(url, f"sent text that is not UTF-8 (byte {error.start})") from None
        if problem := came_instead(text, "JSON"):
            raise self._error(url, problem)
        try:
            found: object = json.loads(text, parse_constant=str)
        except json.JSONDecodeError as error:
            if error.pos >= len(text) or error.msg.startswith("Unterminated"):
                raise self._error(
                    url, f"sent JSON that breaks off after {len(text)} characters"
                ) from None
            shown = beginning(text)
            if error.pos == 0:
                raise self._error(url, f"says {shown} instead of JSON") from None
            what = f"sent broken JSON ({error.msg}, line {error.lineno}) that begins with {shown}"
            raise self._error(url, what) from None
        except (ValueError, RecursionError) as error:
            raise self._error(
                url, f"sent JSON that can't be used ({type(error).__name__})"
            ) from None
        return found

    def _error(self, url: str, problem: str) -> SourceError:
        return SourceError(self._source, self.hidden(f"{address(url)} {problem}"))


def address(url: str) -> str:
    """An address as it may be shown: without user, password, query and fragment."""
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        return "the address"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.host}{port}{parts.path}"


def _same_site(asked: httpx.URL, following: httpx.URL) -> bool:
    here, there = (asked.scheme, asked.port), (following.scheme, following.port)
    # A port that is the scheme's own is None. Another port is another program, which gets no key.
    is_safe = there == here or (here, there) == (("http", None), ("https", None))
    return is_safe and following.scheme in ("http", "https") and following.host == asked.host


def _moved(url: str, instead: Mapping[str, str]) -> str:
    """An address at the origin that stands in for its own; as it is where none does."""
    asked = httpx.URL(url)
    for origin, other in instead.items():
        here, there = httpx.URL(origin), httpx.URL(other)
        if (here.scheme, here.host, here.port) == (asked.scheme, asked.host, asked.port):
            return str(asked.copy_with(scheme=there.scheme, host=there.host, port=there.port))
    return url


def _is_open(request: httpx.Request) -> bool:
    """Whether anybody who asks gets this answer: no key, no session, nothing sent along."""
    return (
        request.method == "GET"
        and not request.url.userinfo
        and set(request.headers) <= _OPEN_HEADERS | {"if-none-match", "if-modified-since"}
        and not any(map(is_secret_name, request.url.params))
    )


def _secrets(request: httpx.Request) -> Iterator[str]:
    """What of a request is a key or a password: a publisher's page or redirect can say it back to us."""
    for name, value in request.headers.items():
        if name != "cookie" and is_secret_name(name):
            yield value
            yield from value.split()[1:]  # "Bearer KEY"
    for name, value in request.url.params.multi_items():
        if is_secret_name(name):
            yield value
    yield request.url.password


def _doubtful(request: httpx.Request) -> Iterator[str]:
    """What may be a key or as well a version, a language or a session of the publisher's own."""
    for name, value in request.headers.items():
        if name not in _OPEN_HEADERS and name not in ("content-length", "content-type"):
            yield value
            yield from value.split()[1:]


def _may_be_kept(response: httpx.Response) -> bool:
    said = response.headers.get("cache-control", "").lower()
    return (
        not re.search(r"\b(no-store|private)\b", said)
        and response.headers.get("vary", "").strip() != "*"
        and "set-cookie" not in response.headers
    )


def _gunzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A gzip stream unpacked in steps of bounded size: a small answer must not fill the memory at once."""
    unpack: zlib._Decompress | None = None
    try:
        for piece in pieces:
            rest = piece
            while rest:
                if unpack is None or unpack.eof:
                    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
                yield unpack.decompress(rest, _STEP_BYTES)
                # The sum at the end is read last: while output waits, bytes of it are left over.
                rest = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
    except zlib.error:
        what = "sent a damaged compressed answer"
        raise _AgainError(what) from None
    if unpack is None or not unpack.eof:
        what = "sent a compressed answer that breaks off"
        raise _AgainError(what)


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that the publisher asks to wait, from a number or a date; None when it doesn't say."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+", text, re.ASCII):
        return float(text[:12])  # longer is no time that anybody waits
    until, told = _http_date(text), _http_date(headers.get("date", ""))
    # Both instants are the publisher's: a wrong clock on this side changes nothing.
    return None if until is None or told is None else max(0.0, (until - told).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo is not None else None


def _describe(error: httpx.TransportError, policy: HttpPolicy) -> str:
    match error:
        case httpx.ConnectTimeout():
            return f"gave no connection within {policy.connect_seconds:g} s"
        case httpx.TimeoutException():
            return f"gave no answer within {policy.read_seconds:g} s"
        case httpx.ConnectError():
            return "can't be reached (name, network, proxy or certificate)"
        case _:
            return f"broke off the connection ({type(error).__name__})"
