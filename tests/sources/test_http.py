import gzip
import itertools
import json
import logging
import socket
import threading
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from flows.catalog import load_catalog
from flows.errors import SourceError
from flows.settings import load_settings
from flows.sources import open_sources
from flows.sources.ecb_fx import CALL
from flows.sources.http import HostTurns, HttpClient, HttpPolicy, address
from flows.sources.http_cache import HttpCache
from flows.wiring import reach_of
from tests.sources.publisher import PAYLOADS, Publisher, in_turn, wire

URL = "https://publisher.example/v1/data?subscription-key=SECRET&x=1"
SHOWN = "https://publisher.example/v1/data"


TEXT = gzip.compress(b'{"a": 1}', mtime=0)


def packed(content: bytes) -> httpx.Response:
    return wire(content, content_encoding="gzip")


def ok(text: str = '{"a": 1}') -> httpx.Response:
    return httpx.Response(200, text=text)


def get(publisher: Publisher, url: str = URL) -> object:
    with publisher.open_client() as client:
        return client.get_json(url)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(
            ok("<!DOCTYPE html><title>Access\n denied</title>"),
            "web page titled 'Access denied' instead of JSON",
            id="HTML",
        ),
        pytest.param(ok(""), "empty answer", id="empty body"),
        pytest.param(ok("  \n"), "empty answer", id="blank body"),
        pytest.param(ok('{"data": [{"a": 1}, {"b'), "breaks off", id="truncated in a text"),
        pytest.param(ok('{"data": [{"a": 1},'), "breaks off", id="truncated in a list"),
        pytest.param(ok('{"a": 1'), "breaks off after 7 characters", id="truncated in an object"),
        pytest.param(ok("a,b\n1,2"), "says 'a,b 1,2' instead of JSON", id="CSV"),
        pytest.param(ok("Error: limit"), "says 'Error: limit' instead of JSON", id="a sentence"),
        pytest.param(ok("x" * 150), f"says '{'x' * 100}' instead", id="a long sentence"),
        pytest.param(
            ok('{"a": 1} Error: limit'),
            "broken JSON (Extra data, line 1) that begins with '{\"a\": 1} Error: limit'",
            id="JSON and a sentence",
        ),
        pytest.param(ok('{"a": ' + "9" * 5000 + "}"), "can't be used (ValueError)", id="too long"),
        pytest.param(ok("[" * 100_000), "JSON", id="nested without end"),
        pytest.param(
            httpx.Response(200, content='{"a": "é"}'.encode("latin-1")), "not UTF-8", id="latin-1"
        ),
        pytest.param(httpx.Response(401), "refuses (HTTP 401)", id="no key"),
        pytest.param(httpx.Response(403), "blocked", id="blocked"),
        pytest.param(httpx.Response(404), "gone (HTTP 404)", id="gone"),
        pytest.param(httpx.Response(400, text="bad"), "HTTP 400", id="bad request"),
        pytest.param(httpx.Response(204), "HTTP 204", id="no content"),
    ],
)
def test_an_answer_that_cannot_be_used_is_named_at_once(answer: httpx.Response, said: str) -> None:
    publisher = Publisher(in_turn(answer))
    with pytest.raises(SourceError) as caught:
        get(publisher)
    assert said in str(caught.value)
    assert SHOWN in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert len(publisher.requests) == 1


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        pytest.param(httpx.Response(500), "HTTP 500", id="500"),
        pytest.param(httpx.Response(503), "HTTP 503", id="503"),
        pytest.param(httpx.Response(429), "HTTP 429", id="429"),
        pytest.param(httpx.ReadTimeout(URL), "no answer within 30 s", id="read time-out"),
        pytest.param(httpx.ConnectTimeout(URL), "no connection within 10 s", id="connect time-out"),
        pytest.param(httpx.ConnectError(URL), "can't be reached", id="refused"),
        pytest.param(httpx.RemoteProtocolError(URL), "broke off", id="broken off"),
        pytest.param(packed(TEXT[:-9]), "breaks off", id="truncated gzip"),
        pytest.param(packed(TEXT[:5]), "breaks off", id="gzip cut in its header"),
        pytest.param(packed(b""), "breaks off", id="gzip of nothing"),
        pytest.param(packed(b"{}" + TEXT[2:]), "damaged", id="no gzip after all"),
        pytest.param(packed(TEXT[:-8] + b"\0" * 8), "damaged", id="gzip with a wrong sum"),
        pytest.param(packed(TEXT + b"more"), "damaged", id="bytes after the gzip"),
        pytest.param(
            wire(b'{"a"', content_length="1234"), "broke off after 4 of 1,234 bytes", id="cut short"
        ),
        pytest.param(
            wire(TEXT[:9], content_length=str(len(TEXT)), content_encoding="gzip"),
            "broke off after 9 of",
            id="cut short and packed",
        ),
        pytest.param(
            wire(b'{"a"', httpx.ReadTimeout(URL)), "no answer within 30 s", id="time-out mid-body"
        ),
        pytest.param(
            wire(b'{"a"', httpx.ReadError(URL)), "broke off the connection", id="reset mid-body"
        ),
    ],
)
def test_a_passing_failure_is_tried_three_times_with_growing_waits(
    failure: httpx.Response | Exception, said: str
) -> None:
    publisher = Publisher(in_turn(failure))
    with pytest.raises(SourceError) as caught:
        get(publisher)
    assert said in str(caught.value)
    assert "3 tries" in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert len(publisher.requests) == 3
    assert publisher.waits == [1.0, 2.0]


@pytest.mark.parametrize(("chance", "waits"), [(0.0, [0.5, 1.0]), (0.5, [0.75, 1.5])])
def test_half_of_a_wait_is_by_chance(chance: float, waits: list[float]) -> None:
    publisher = Publisher(in_turn(httpx.Response(500)), jitter=lambda: chance)
    with pytest.raises(SourceError):
        get(publisher)
    assert publisher.waits == waits


def test_what_no_number_is_in_json_comes_as_its_name() -> None:
    answer = ok('{"a": NaN, "b": [Infinity, -Infinity, 1.5]}')
    assert get(Publisher(in_turn(answer))) == {"a": "NaN", "b": ["Infinity", "-Infinity", 1.5]}


@pytest.mark.parametrize("failure", [httpx.Response(500), httpx.ReadTimeout("slow")])
def test_a_second_try_that_succeeds_is_as_good_as_the_first(
    failure: httpx.Response | Exception,
) -> None:
    assert get(Publisher(in_turn(failure, ok()))) == {"a": 1}


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        pytest.param({"Retry-After": "7"}, 7.0, id="seconds"),
        pytest.param(
            {
                "Retry-After": "Mon, 23 Nov 2026 05:00:30 GMT",
                "Date": "Mon, 23 Nov 2026 05:00:00 GMT",
            },
            30.0,
            id="date",
        ),
        pytest.param(
            {
                "Retry-After": "Mon, 23 Nov 2026 04:00:00 GMT",
                "Date": "Mon, 23 Nov 2026 05:00:00 GMT",
            },
            0.0,
            id="date in the past",
        ),
        pytest.param({"Retry-After": "Mon, 23 Nov 2026 05:00:30 GMT"}, 1.0, id="date, no clock"),
        pytest.param({"Retry-After": "soon"}, 1.0, id="rubbish"),
        pytest.param({"Retry-After": "-5"}, 1.0, id="negative"),
        pytest.param({"Retry-After": "1.5"}, 1.0, id="fraction"),
        pytest.param({"Retry-After": ""}, 1.0, id="empty"),
        pytest.param({"Retry-After": "0"}, 0.0, id="at once"),
        pytest.param(
            {
                "Retry-After": "Mon, 23 Nov 99999999999999999999 05:00:30 GMT",
                "Date": "Mon, 23 Nov 2026 05:00:00 GMT",
            },
            1.0,
            id="no year",
        ),
        pytest.param(
            {
                "Retry-After": "Tue, 99 Foo 2026 05:00:30 GMT",
                "Date": "Mon, 23 Nov 2026 05:00:00 GMT",
            },
            1.0,
            id="no date",
        ),
        pytest.param({}, 1.0, id="not said"),
    ],
)
def test_retry_after_is_waited_for(headers: dict[str, str], wait: float) -> None:
    publisher = Publisher(in_turn(httpx.Response(429, headers=headers), ok()))
    assert get(publisher) == {"a": 1}
    assert sum(publisher.waits) == wait


@pytest.mark.parametrize("hours", [-13, 13])
def test_a_clock_that_is_hours_off_changes_no_wait(hours: int) -> None:
    told = datetime(2026, 11, 23, 5, 0, tzinfo=UTC) + timedelta(hours=hours)
    headers = {
        "Date": format_datetime(told, usegmt=True),
        "Retry-After": format_datetime(told + timedelta(seconds=20), usegmt=True),
    }
    publisher = Publisher(in_turn(httpx.Response(503, headers=headers), ok()))
    assert get(publisher) == {"a": 1}
    assert publisher.waits == [20.0]


@pytest.mark.parametrize("seconds", ["3600", "9" * 400])
def test_a_publisher_that_asks_for_an_hour_is_not_asked_again_now(seconds: str) -> None:
    busy = httpx.Response(429, headers={"Retry-After": seconds})
    publisher = Publisher(in_turn(busy, ok()))
    with publisher.open_client() as client:
        with pytest.raises(SourceError, match=r"HTTP 429 and asks to wait \d+ s; try again then"):
            client.get_json(URL)
        with pytest.raises(SourceError, match="was not asked: its host wants no request for"):
            client.get_json("https://publisher.example/another")
    assert publisher.waits == []
    assert len(publisher.requests) == 1


def test_no_header_silences_a_host_for_longer_than_an_hour() -> None:
    busy = httpx.Response(429, headers={"Retry-After": "999999999"})
    seconds = iter([0.0, 0.0, 0.0, 3600.0, 3600.0, 3600.0])
    publisher = Publisher(in_turn(busy, ok()), clock=lambda: next(seconds))
    with publisher.open_client() as client:
        with pytest.raises(SourceError, match="HTTP 429"):
            client.get_json(URL)
        assert client.get_json(URL) == {"a": 1}


def test_what_one_client_was_told_to_wait_every_client_of_the_process_waits() -> None:
    publisher = Publisher(in_turn(httpx.Response(503, headers={"Retry-After": "9"}), ok()))
    publisher.policy = HttpPolicy(gap_seconds=0.0, tries=1)
    with pytest.raises(SourceError, match="HTTP 503"):
        get(publisher)
    assert get(publisher) == {"a": 1}
    assert publisher.waits == [9.0]


def test_an_oversized_answer_is_cut_short_and_refused() -> None:
    policy = HttpPolicy(max_bytes=1000)
    publisher = Publisher(in_turn(ok('"' + "x" * 2000 + '"')), policy=policy)
    with pytest.raises(SourceError, match=r"more than 0\.001 MB"):
        get(publisher)


def test_the_size_counts_after_unpacking() -> None:
    bomb = gzip.compress(b'"' + b"x" * 100_000 + b'"')
    publisher = Publisher(in_turn(packed(bomb)), policy=HttpPolicy(max_bytes=5000))
    assert len(bomb) < 5000
    with pytest.raises(SourceError, match="more than"):
        get(publisher)
    assert len(publisher.requests) == 1


def test_a_small_answer_that_unpacks_to_a_gigabyte_never_fills_the_memory() -> None:
    layer = zlib.compressobj(9, wbits=31)
    block = b"0" * 1_000_000
    bomb = b"".join([*(layer.compress(block) for _ in range(200)), layer.flush()])
    publisher = Publisher(in_turn(packed(bomb)), policy=HttpPolicy(max_bytes=3_000_000))
    tracemalloc.start()
    with pytest.raises(SourceError, match="more than 3 MB"):
        get(publisher)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_an_answer_announced_as_too_large_is_not_even_begun() -> None:
    unread = wire(AssertionError("was read"), content_length="20000001")
    with pytest.raises(SourceError, match="more than 20 MB"):
        get(Publisher(in_turn(unread)))


@pytest.mark.parametrize("size", [0, 1, 999_999, 1_000_000, 1_000_001, 5_000_000])
@pytest.mark.parametrize("step", [1000, 10**9])
def test_a_packed_answer_comes_out_whole_however_it_was_cut(size: int, step: int) -> None:
    body = b"0" * size
    sent = gzip.compress(body[: size // 2], mtime=0) + gzip.compress(body[size // 2 :], mtime=0)
    pieces = [sent[at : at + step] for at in range(0, len(sent), step)]
    publisher = Publisher(in_turn(wire(*pieces, content_encoding="gzip")))
    with publisher.open_client() as client:
        assert client.get_bytes(URL) == body


def test_a_compression_that_was_not_asked_for_is_refused_by_name() -> None:
    publisher = Publisher(in_turn(wire(b"x", content_encoding="br")))
    with pytest.raises(SourceError, match="compression 'br', which was not asked for"):
        get(publisher)
    assert publisher.requests[0].headers["Accept-Encoding"] == "gzip"


def test_an_answer_that_trickles_is_ended() -> None:
    seconds = itertools.count(0, 100)
    publisher = Publisher(in_turn(ok()), clock=lambda: next(seconds))
    publisher.policy = HttpPolicy(total_seconds=60.0)
    with pytest.raises(SourceError, match="did not finish its answer within 60 s"):
        get(publisher)


def moved(to: str, code: int = 302) -> httpx.Response:
    return httpx.Response(code, headers={"Location": to})


@pytest.mark.parametrize(
    ("url", "to"),
    [
        (URL, "/v2/data"),
        (URL, "https://publisher.example:443/v2/data"),
        ("http://publisher.example/v1", "https://publisher.example/v1"),
        ("http://publisher.example:80/v1", "https://publisher.example:443/v1"),
        ("http://publisher.example:8080/v1", "http://publisher.example:8080/v2"),
    ],
)
def test_a_redirect_on_the_same_host_is_followed(url: str, to: str) -> None:
    assert get(Publisher(in_turn(moved(to), ok())), url) == {"a": 1}


@pytest.mark.parametrize(
    ("url", "to"),
    [
        (URL, "https://publisher.example:8443/v1/data"),
        ("http://publisher.example:8080/v1", "https://publisher.example/v1"),
        ("http://publisher.example/v1", "https://publisher.example:8443/v1"),
        ("http://publisher.example/v1", "http://publisher.example:8080/v1"),
    ],
)
def test_a_redirect_to_another_port_is_not_followed(url: str, to: str) -> None:
    publisher = Publisher(in_turn(moved(to), ok()))
    with publisher.open_client() as client, pytest.raises(SourceError, match="not followed"):
        client.get_json(url, headers={"X-Api-Key": SECRET})
    assert len(publisher.requests) == 1


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("https://elsewhere.example/login?back=SECRET", "https://elsewhere.example/login"),
        ("http://publisher.example/v1/data", "not followed"),
        ("file:///etc/passwd", "passwd"),
    ],
)
def test_a_redirect_to_elsewhere_is_not_followed(to: str, said: str) -> None:
    publisher = Publisher(in_turn(moved(to), ok()))
    with pytest.raises(SourceError) as caught:
        get(publisher)
    assert said in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert len(publisher.requests) == 1


def test_a_redirect_loop_ends() -> None:
    publisher = Publisher(in_turn(moved("/v1/data")))
    with pytest.raises(SourceError, match="redirects more than 3 times"):
        get(publisher)
    assert len(publisher.requests) == 4


def test_a_form_is_never_redirected() -> None:
    publisher = Publisher(in_turn(moved("/login"), ok()))
    with publisher.open_client() as client, pytest.raises(SourceError, match="log-in"):
        client.post_form_json(URL, {"a": "1"})
    assert len(publisher.requests) == 1


def test_requests_to_one_host_keep_a_distance_whichever_client_sends_them() -> None:
    publisher = Publisher(in_turn(ok()), policy=HttpPolicy(gap_seconds=0.5))
    with publisher.open_client() as one, publisher.open_client() as other:
        for client in (one, other, one):
            client.get_json(URL)
        other.get_json("https://elsewhere.example/data")
    assert publisher.waits == [0.5, 0.5]


def test_time_that_has_passed_anyway_is_not_waited_again() -> None:
    policy = HttpPolicy(gap_seconds=0.5)
    publisher = Publisher(in_turn(ok()), policy=policy)
    for seconds in (0.0, 0.3, 7.0):
        publisher.clock = partial(float, seconds)
        get(publisher)
    assert publisher.waits == [pytest.approx(0.2)]


def test_a_retry_keeps_the_distance_too() -> None:
    policy = HttpPolicy(gap_seconds=5.0)
    publisher = Publisher(in_turn(httpx.Response(500), ok()), policy=policy)
    assert get(publisher) == {"a": 1}
    assert publisher.waits == [1.0, 4.0]


def test_clients_share_their_turns_unless_told_otherwise() -> None:
    waits: list[float] = []
    policy = HttpPolicy(gap_seconds=1.0)
    for _ in range(2):
        transport = httpx.MockTransport(lambda _: wire(b"{}"))
        with HttpClient(
            "pretend", pause=waits.append, policy=policy, transport=transport, clock=lambda: 0.0
        ) as client:
            client.get_json("https://shared-turns.example/")
    assert waits == [1.0]


@pytest.mark.parametrize("url", ["https://[bad", "https://host:port/", "\x00"])
def test_an_address_that_is_none_is_a_source_error(url: str) -> None:
    with pytest.raises(SourceError):
        get(Publisher(in_turn(httpx.UnsupportedProtocol("no scheme"))), url)


def test_an_address_is_shown_without_what_may_be_secret() -> None:
    shown = address("https://user:SECRET@host.example:8443/a/b?key=SECRET#SECRET")
    assert shown == "https://host.example:8443/a/b"


SECRET = "PLANTED/secret+key 1"
QUOTED = ("PLANTED/secret+key 1", "PLANTED%2Fsecret%2Bkey%201", "PLANTED%2Fsecret%2Bkey+1")


def echo(request: httpx.Request) -> str:
    """All that a hostile page can say back to us."""
    return f"{request.url} {dict(request.headers)} {SECRET}"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda it: wire(code=401), id="refused"),
        pytest.param(lambda it: wire(code=404), id="gone"),
        pytest.param(lambda it: wire(code=418), id="other code"),
        pytest.param(lambda it: wire(code=500), id="500"),
        pytest.param(lambda it: wire(code=429, retry_after="9999"), id="a long wait"),
        pytest.param(lambda it: wire(f"<title>{echo(it)}</title>".encode()), id="page"),
        pytest.param(lambda it: wire(echo(it).encode()), id="no JSON"),
        pytest.param(lambda it: wire(b'{"a'), id="cut JSON"),
        pytest.param(lambda it: wire(b""), id="empty"),
        pytest.param(lambda it: wire(b"\xff"), id="no UTF-8"),
        pytest.param(lambda it: wire(b"x", content_encoding="br"), id="compression"),
        pytest.param(lambda it: wire(b"x", content_encoding=SECRET), id="compression with key"),
        pytest.param(lambda it: packed(b"x"), id="damaged"),
        pytest.param(lambda it: wire(b"x" * 2000), id="too large"),
        pytest.param(lambda it: moved(str(it.url)), id="round and round"),
        pytest.param(lambda it: moved(f"https://else.example/{QUOTED[1]}?k={SECRET}"), id="away"),
        pytest.param(lambda it: moved("http://[broken"), id="to nowhere"),
        pytest.param(lambda it: wire(httpx.ReadTimeout(echo(it))), id="time-out"),
        pytest.param(lambda it: wire(httpx.ReadError(echo(it))), id="broken off"),
        pytest.param(lambda it: wire(httpx.DecodingError(echo(it))), id="decoding"),
        pytest.param(lambda it: wire(httpx.StreamError(echo(it))), id="stream"),
        pytest.param(in_turn(httpx.ConnectError(SECRET)), id="no connection"),
        pytest.param(in_turn(httpx.UnsupportedProtocol(SECRET)), id="protocol"),
    ],
)
@pytest.mark.parametrize(
    ("url", "params", "headers"),
    [
        pytest.param(URL, {"api_key": SECRET}, {}, id="parameter"),
        pytest.param(f"{SHOWN}?token={QUOTED[1]}#{QUOTED[1]}", None, {}, id="query"),
        pytest.param(f"https://user:{QUOTED[1]}@publisher.example/v1", None, {}, id="log-in"),
        pytest.param(URL, None, {"X-Api-Key": SECRET}, id="header"),
        pytest.param(URL, None, {"Authorization": f"Bearer {SECRET}"}, id="bearer"),
        pytest.param(f"https://publisher.example/{QUOTED[1]}/latest", None, {}, id="path, hidden"),
    ],
)
def test_no_failure_tells_a_key(
    answer: Callable[[httpx.Request], httpx.Response],
    url: str,
    params: dict[str, str] | None,
    headers: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    publisher = Publisher(answer, policy=HttpPolicy(gap_seconds=0.0, max_bytes=1500))
    publisher.cache = HttpCache(tmp_path / "cache")
    with caplog.at_level(logging.DEBUG), publisher.open_client() as client:
        client.hide(SECRET)
        with pytest.raises(SourceError) as caught:
            client.get_json(url, params=params, headers=headers)
    error = caught.value
    told = [
        *(str(error), repr(error), error.problem, repr(error.args), repr(client), caplog.text),
        *traceback.format_exception(error),
        *(str(file) + file.read_text("latin-1") for file in tmp_path.rglob("*") if file.is_file()),
    ]
    for text in told:
        for secret in QUOTED:
            assert secret not in text


@pytest.mark.parametrize(
    ("url", "params", "headers"),
    [
        pytest.param(SHOWN, {"sig": SECRET}, {}, id="parameter"),
        pytest.param(f"https://user:{QUOTED[1]}@publisher.example/v1", None, {}, id="log-in"),
        pytest.param(SHOWN, None, {"X-Api-Key": SECRET}, id="header"),
        pytest.param(SHOWN, None, {"Authorization": f"Bearer {SECRET}"}, id="bearer"),
        pytest.param(f"https://publisher.example/{QUOTED[1]}/latest", None, {}, id="path, hidden"),
    ],
)
def test_no_answer_holds_a_key_that_is_said_back(
    url: str, params: dict[str, str] | None, headers: dict[str, str], tmp_path: Path
) -> None:
    said = ", ".join((*QUOTED, *(it.replace("/", "\\/") for it in QUOTED)))
    publisher = Publisher(lambda _: wire(f'{{"a": "{said}"}}'.encode(), etag='"v1"'))
    publisher.cache = HttpCache(tmp_path)
    with publisher.open_client() as client:
        if "latest" in url:
            client.hide(SECRET)
        answers = [
            client.get_bytes(url, params=params, headers=headers),
            json.dumps(client.get_json(url, params=params, headers=headers)).encode(),
            client.hidden(said).encode(),
            *(file.read_bytes() for file in tmp_path.iterdir()),
        ]
    for answer in answers:
        # The scheme stands before the key, and the name of a header before both.
        assert b"PLANTED" not in answer


def test_an_answer_keeps_words_that_a_harmless_header_or_parameter_holds_too() -> None:
    body = b'[{"day": "2024-01-01", "name": "neodymium", "unit": "no-store"}]'
    with Publisher(in_turn(wire(body))).open_client() as client:
        headers = {"X-Version": "2024-01-01", "Cache-Control": "no-store"}
        found = client.get_bytes(SHOWN, params={"keyword": "neodymium"}, headers=headers)
    assert found == body


def test_a_password_alone_is_no_more_told_than_the_log_in_it_is_part_of() -> None:
    publisher = Publisher(in_turn(wire(b"<title>no entry with hunter2secret</title>")))
    with pytest.raises(SourceError, match="no entry with …"):
        get(publisher, "https://me:hunter2secret@publisher.example/")


def test_a_bearer_token_is_hidden_without_its_scheme_too() -> None:
    publisher = Publisher(in_turn(wire(b"<title>unknown: hunter2secret</title>")))
    with (
        publisher.open_client() as client,
        pytest.raises(SourceError, match="unknown: …"),
    ):
        client.get_json(SHOWN, headers={"Authorization": "Bearer hunter2secret"})


def test_publishers_are_asked_gently_unless_told_otherwise() -> None:
    policy = HttpPolicy()
    assert (policy.gap_seconds, policy.total_seconds, policy.tries) == (0.5, 120.0, 3)
    assert (policy.connect_seconds, policy.read_seconds) == (10.0, 30.0)
    assert policy.max_bytes == 20_000_000


# --- another origin ---------------------------------------------------------

STAND_IN = "http://127.0.0.1:8123"


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        (f"{SHOWN}?x=1", f"{STAND_IN}/v1/data?x=1"),
        ("https://PUBLISHER.example:443/v1", f"{STAND_IN}/v1"),
        ("https://publisher.example:8443/v1", "https://publisher.example:8443/v1"),
        ("http://publisher.example/v1", "http://publisher.example/v1"),
        ("https://publisher.example.evil/v1", "https://publisher.example.evil/v1"),
        ("https://moved.example/v1?a=%2F", "https://publisher.example/v1?a=%2F"),
    ],
)
def test_a_stand_in_is_asked_for_its_origin_and_for_no_other(url: str, asked: str) -> None:
    publisher = Publisher(in_turn(ok(), ok(), ok()))
    # One step only: what stands in for one origin may be an origin with a stand-in.
    publisher.instead = {
        "https://publisher.example": STAND_IN,
        "https://moved.example": "https://publisher.example",
    }
    with publisher.open_client() as client:
        client.visit(url)
        client.get_bytes(url)
        client.post_form_json(url, {"a": "1"})
    assert [str(it.url) for it in publisher.requests] == [asked] * 3
    assert publisher.requests[0].headers["Host"] == httpx.URL(asked).netloc.decode()


@pytest.mark.parametrize("answer", [wire(code=404), wire(b""), wire(b"Error"), moved(SHOWN)])
def test_an_error_names_the_address_that_was_really_asked(answer: httpx.Response) -> None:
    publisher = Publisher(in_turn(answer), instead={"https://publisher.example": STAND_IN})
    with pytest.raises(SourceError, match=f"pretend: {STAND_IN}/v1/data "):
        get(publisher)
    assert len(publisher.requests) == 1


def test_no_log_line_of_a_request_that_went_well_tells_a_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    publisher = Publisher(in_turn(ok()))
    with caplog.at_level(logging.DEBUG), publisher.open_client() as client:
        client.get_json(URL, params={"key": SECRET}, headers={"X-Key": SECRET})
    for secret in (*QUOTED, "SECRET"):
        assert secret not in caplog.text


class Broken(BaseHTTPRequestHandler):
    """Sets a cookie; then promises more bytes than it sends, once; then answers."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Cookie", ""))
        body = b'{"a": 1}'
        self.send_response(200)
        self.send_header("Set-Cookie", "JSESSIONID=1; Path=/")
        self.send_header("Content-Length", str(len(body) + (5 if len(self.asked) == 2 else 0)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def loopback() -> Iterator[str]:
    Broken.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Broken) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_over_a_real_connection_cookies_stay_and_a_cut_answer_is_asked_again(
    loopback: str,
) -> None:
    waits: list[float] = []
    transport = httpx.HTTPTransport()  # given, so that no proxy of the machine is used
    policy = HttpPolicy(gap_seconds=0.0)
    with HttpClient("pretend", pause=waits.append, policy=policy, transport=transport) as client:
        client.visit(f"{loopback}/page")
        assert client.get_json(f"{loopback}/data") == {"a": 1}
    assert Broken.asked == ["", "JSESSIONID=1", "JSESSIONID=1"]
    assert len(waits) == 1
    assert 0.5 <= waits[0] <= 1.0


@pytest.mark.parametrize("key", ["PLANTED\nkey", "PLANTED\x00key", "PLANTED-ключ"])
def test_a_key_that_no_header_can_hold_is_refused_unsent_and_untold(
    key: str, loopback: str
) -> None:
    with (
        HttpClient("pretend", pause=lambda _: None, transport=httpx.HTTPTransport()) as client,
        pytest.raises(SourceError, match=r"key is not valid; mend it in the settings") as caught,
    ):
        client.get_json(f"{loopback}/data", headers={"X-Key": key})
    assert "PLANTED" not in "".join(traceback.format_exception(caught.value))
    assert Broken.asked == []


class Mirror(BaseHTTPRequestHandler):
    """A copy of the ECB's rates under the ECB's own path."""

    asked: list[tuple[str, str]] = []

    def do_GET(self) -> None:
        self.asked.append((self.headers["Host"], self.path))
        body = (PAYLOADS / "ecb_exr.csv").read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def test_a_publisher_is_read_from_the_origin_that_the_settings_name_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    Mirror.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Mirror) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        host = f"127.0.0.1:{server.server_port}"
        settings = load_settings(
            {
                "LODESTONE_HOME": str(tmp_path),
                "LODESTONE_HTTP_INSTEAD": f"https://data-api.ecb.europa.eu=http://{host}",
            },
            tmp_path / "none.toml",
        )
        reach = reach_of(settings, load_catalog())
        (source,) = (
            it for it in open_sources(reach, live=True) if it.name == "ecb_fx" and it.is_live
        )
        found = source.fetch(now=datetime(2026, 11, 24, 8, 0, tzinfo=UTC))
        server.shutdown()
        thread.join()
    assert len(found.rows) == 8
    (citation,) = found.citations.values()
    assert citation.url.startswith("https://")  # cited is the publisher
    ((told, path),) = Mirror.asked
    assert (told, path.partition("?")[0]) == (host, httpx.URL(CALL).path)


@contextmanager
def dripping(start: bytes, drop: bytes) -> Iterator[str]:
    """A server that sends the start of an answer, and a thousand drops if somebody reads as many."""
    is_over = threading.Event()

    def serve() -> None:
        with server.accept()[0] as peer:
            peer.recv(65536)
            peer.sendall(start)
            for _ in range(1000):
                if is_over.wait(0.002):
                    return
                try:
                    peer.sendall(drop)
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        is_over.set()
        thread.join()


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Pad: ", b"x", id="headers"),
        pytest.param(b"", b"H", id="status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x", id="body"),
    ],
)
def test_a_server_that_drips_is_left_when_the_time_for_the_whole_try_is_over(
    start: bytes, drop: bytes
) -> None:
    seconds = itertools.count()  # each look at the clock, thus each read, is a second
    policy = HttpPolicy(gap_seconds=0.0, total_seconds=20.0, tries=1)
    with (
        dripping(start, drop) as url,
        HttpClient(
            "pretend",
            pause=lambda _: None,
            policy=policy,
            turns=HostTurns(),
            transport=httpx.HTTPTransport(),
            clock=lambda: next(seconds),
        ) as client,
        pytest.raises(SourceError, match="did not finish its answer within 20 s"),
    ):
        client.get_json(f"{url}/data")


class Wire(httpx.BaseTransport):
    """Opens a connection as httpcore tells it, and notes how long each of three reads may take."""

    def __init__(self, opened: str) -> None:
        self._opened = opened
        self.timeouts: list[float | None] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.timeouts.append(timeout)
        return b"1"

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        stream = SimpleNamespace(read=self.read)
        request.extensions["trace"](self._opened, {"return_value": stream})
        return wire(*(stream.read(1, timeout=it) for it in (30.0, 30.0, None)))


@pytest.mark.parametrize(
    "opened",
    [
        "connection.connect_tcp.complete",
        "connection.start_tls.complete",
        "proxy.start_tls.complete",
    ],
)
@pytest.mark.parametrize(
    ("total", "timeouts"), [(100.0, [30.0, 30.0, 70.0]), (20.0, [10.0]), (30.0, [20.0, 10.0])]
)
def test_no_read_of_a_connection_may_take_longer_than_what_is_left_of_the_try(
    opened: str, total: float, timeouts: list[float]
) -> None:
    seconds = itertools.count(0, 10)
    transport = Wire(opened)
    with HttpClient(
        "pretend",
        pause=lambda _: None,
        policy=HttpPolicy(gap_seconds=0.0, total_seconds=total, tries=1),
        turns=HostTurns(),
        transport=transport,
        clock=lambda: next(seconds),
    ) as client:
        if len(timeouts) == 3:
            assert client.get_json(URL) == 111
        else:
            with pytest.raises(SourceError, match="did not finish its answer within"):
                client.get_json(URL)
    assert transport.timeouts == timeouts


def test_a_closed_port_is_a_source_error() -> None:
    with HTTPServer(("127.0.0.1", 0), Broken) as server:
        port = server.server_port
    with (
        HttpClient("pretend", pause=lambda _: None, transport=httpx.HTTPTransport()) as client,
        pytest.raises(SourceError, match="can't be reached"),
    ):
        client.get_json(f"http://127.0.0.1:{port}/data")
