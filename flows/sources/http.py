"""The one user of httpx: asks a publisher politely, gives up clearly, and keeps secrets out of errors."""

import json
import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import NoReturn, Self

import httpx

from flows.errors import SourceError

Pause = Callable[[float], None]

_CHANCE = random.SystemRandom()
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_REFUSED = frozenset({401, 403, 407, 451})
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


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
    gap_seconds: float = 0.5  # between two requests to the same publisher
    redirects: int = 3
    max_bytes: int = 20_000_000
    user_agent: str = "lodestone (rare-earth supply early warning)"


class _AgainError(Exception):
    """A try that failed in a way that another try may mend."""

    def __init__(self, what: str, wait_seconds: float | None = None) -> None:
        self.what = what
        self.wait_seconds = wait_seconds
        super().__init__(what)


class HttpClient:
    """Requests to one publisher with one set of cookies; every failure is a SourceError."""

    def __init__(
        self,
        source: str,
        *,
        pause: Pause,
        policy: HttpPolicy | None = None,
        transport: httpx.BaseTransport | None = None,
        jitter: Callable[[], float] = _CHANCE.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._pause = pause
        self._policy = policy or HttpPolicy()
        self._jitter = jitter
        self._clock = clock
        self._asked = False
        # httpx logs each address with its query string, where some publishers want the key.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._client = httpx.Client(
            timeout=httpx.Timeout(self._policy.read_seconds, connect=self._policy.connect_seconds),
            headers={"User-Agent": self._policy.user_agent},
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
        """The body that a GET answers with, as it came."""
        return self._ask("GET", url, params=params, headers=headers)

    def get_json(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> object:
        """The JSON value that a GET answers with."""
        return self._json(url, self._ask("GET", url, params=params, headers=headers))

    def post_form_json(
        self, url: str, form: Mapping[str, str], *, headers: Mapping[str, str] | None = None
    ) -> object:
        """The JSON value that a form answers with; the form must be one that may be sent twice."""
        return self._json(url, self._ask("POST", url, form=form, headers=headers))

    def _ask(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        try:
            request = self._client.build_request(
                method, url, params=params, data=form, headers=headers
            )
        except (httpx.InvalidURL, ValueError, TypeError):
            raise self._error(
                url, "is not an address that can be asked; mend it in the settings"
            ) from None
        if self._asked and self._policy.gap_seconds > 0:
            self._pause(self._policy.gap_seconds)
        self._asked = True
        for attempt in range(1, self._policy.tries + 1):
            try:
                return self._try_once(request)
            except _AgainError as error:
                wait = self._wait_seconds(attempt, error)
                if attempt == self._policy.tries:
                    raise self._error(
                        url, f"{error.what} ({attempt} tries); try again later"
                    ) from None
                if wait > self._policy.longest_wait_seconds:
                    # Asking earlier than told would be rude and fail again.
                    raise self._error(
                        url, f"{error.what} and asks to wait {wait:.0f} s; try again then"
                    ) from None
            self._pause(wait)
        raise self._error(url, "was not asked: the policy allows no try")

    def _wait_seconds(self, attempt: int, error: _AgainError) -> float:
        if error.wait_seconds is not None:
            return error.wait_seconds
        backoff = self._policy.first_wait_seconds * 2.0 ** (attempt - 1)
        # Half fixed, half chance: many instances must not come back in the same second.
        return min(backoff * (0.5 + 0.5 * self._jitter()), self._policy.longest_wait_seconds)

    def _try_once(self, request: httpx.Request) -> bytes:
        url = str(request.url)
        deadline = self._clock() + self._policy.total_seconds
        for _ in range(self._policy.redirects + 1):
            try:
                response = self._client.send(request, stream=True)
                try:
                    if not response.has_redirect_location:
                        return self._body(response, deadline)
                    request = self._redirected(response)
                finally:
                    response.close()
            except httpx.TransportError as error:
                # The text of the error can hold the address with its query: keep only its type.
                raise _AgainError(_describe(error, self._policy)) from None
            except httpx.DecodingError:
                what = "sent a damaged compressed answer"
                raise _AgainError(what) from None
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

    def _body(self, response: httpx.Response, deadline: float) -> bytes:
        url, status = str(response.request.url), response.status_code
        if status in _RETRIED or status > 504:
            what = f"answers HTTP {status}"
            raise _AgainError(what, _retry_after(response.headers))
        if status in _REFUSED:
            raise self._error(
                url, f"refuses (HTTP {status}): the key is missing, or this network is blocked"
            )
        if status in (404, 410):
            raise self._error(url, f"is gone (HTTP {status}); the publisher has moved it")
        if status != httpx.codes.OK:
            raise self._error(
                url, f"answers HTTP {status}; check the request with the publisher's pages"
            )
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > self._policy.max_bytes:
                limit = self._policy.max_bytes / 1e6
                raise self._error(url, f"sends more than {limit:g} MB; nothing of it was taken")
            if self._clock() > deadline:
                what = f"did not finish its answer within {self._policy.total_seconds:g} s"
                raise _AgainError(what)
        return bytes(body)

    def _json(self, url: str, body: bytes) -> object:
        try:
            text = body.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise self._error(url, f"sent text that is not UTF-8 (byte {error.start})") from None
        if not text:
            raise self._error(url, "sent an empty answer (HTTP 200); it may block this network")
        if text.startswith("<"):
            title = _TITLE.search(text)
            said = f" titled {' '.join(title[1].split())[:80]!r}" if title else ""
            raise self._error(
                url, f"sent a web page{said} instead of JSON; look at it in a browser"
            )
        try:
            found: object = json.loads(text, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            if error.pos >= len(text) or error.msg.startswith("Unterminated"):
                raise self._error(
                    url, f"sent JSON that breaks off after {len(text)} characters"
                ) from None
            raise self._error(url, f"sent broken JSON ({error.msg}, line {error.lineno})") from None
        except (ValueError, RecursionError) as error:
            raise self._error(
                url, f"sent JSON that can't be used ({type(error).__name__})"
            ) from None
        return found

    def _error(self, url: str, problem: str) -> SourceError:
        return SourceError(self._source, f"{address(url)} {problem}")


def address(url: str) -> str:
    """An address as it may be shown: without user, password, query and fragment."""
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        return "the address"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.host}{port}{parts.path}"


def _same_site(asked: httpx.URL, following: httpx.URL) -> bool:
    is_safe = following.scheme == asked.scheme or following.scheme == "https"
    return is_safe and following.scheme in ("http", "https") and following.host == asked.host


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that the publisher asks to wait, from a number or a date; None when it doesn't say."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}", text, re.ASCII):
        return float(text)
    until, told = _http_date(text), _http_date(headers.get("date", ""))
    # Both instants are the publisher's: a wrong clock on this side changes nothing.
    return None if until is None or told is None else max(0.0, (until - told).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
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


def _refuse_constant(name: str) -> NoReturn:
    # Python reads NaN and Infinity, but no publisher may mean them.
    raise ValueError(name)
