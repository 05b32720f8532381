import gzip
import itertools
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from flows.errors import SourceError
from flows.sources.http import HttpClient, HttpPolicy, address
from tests.sources.publisher import Publisher, in_turn

URL = "https://publisher.example/v1/data?subscription-key=SECRET&x=1"
SHOWN = "https://publisher.example/v1/data"


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
        pytest.param(ok("a,b\n1,2"), "broken JSON", id="CSV"),
        pytest.param(ok('{"a": NaN}'), "can't be used", id="NaN"),
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
        pytest.param(httpx.DecodingError(URL), "damaged", id="damaged gzip"),
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
        pytest.param({}, 1.0, id="not said"),
    ],
)
def test_retry_after_is_waited_for(headers: dict[str, str], wait: float) -> None:
    publisher = Publisher(in_turn(httpx.Response(429, headers=headers), ok()))
    assert get(publisher) == {"a": 1}
    assert publisher.waits == [wait]


def test_a_publisher_that_asks_for_an_hour_is_not_asked_again_now() -> None:
    publisher = Publisher(in_turn(httpx.Response(429, headers={"Retry-After": "3600"}), ok()))
    with pytest.raises(SourceError, match="wait 3600 s"):
        get(publisher)
    assert publisher.waits == []
    assert len(publisher.requests) == 1


def test_an_oversized_answer_is_cut_short_and_refused() -> None:
    policy = HttpPolicy(max_bytes=1000)
    publisher = Publisher(in_turn(ok('"' + "x" * 2000 + '"')), policy=policy)
    with pytest.raises(SourceError, match=r"more than 0\.001 MB"):
        get(publisher)


def test_the_size_counts_after_unpacking() -> None:
    packed = gzip.compress(b'"' + b"x" * 100_000 + b'"')
    bomb = httpx.Response(200, content=packed, headers={"Content-Encoding": "gzip"})
    publisher = Publisher(in_turn(bomb), policy=HttpPolicy(max_bytes=5000))
    assert len(packed) < 5000
    with pytest.raises(SourceError, match="more than"):
        get(publisher)


def test_an_answer_that_trickles_is_ended() -> None:
    seconds = itertools.count(0, 100)
    publisher = Publisher(in_turn(ok()), clock=lambda: next(seconds))
    publisher.policy = HttpPolicy(total_seconds=60.0)
    with pytest.raises(SourceError, match="did not finish its answer within 60 s"):
        get(publisher)


def moved(to: str, code: int = 302) -> httpx.Response:
    return httpx.Response(code, headers={"Location": to})


def test_a_redirect_on_the_same_host_is_followed() -> None:
    assert get(Publisher(in_turn(moved("/v2/data"), ok()))) == {"a": 1}


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


def test_requests_to_one_publisher_keep_a_distance() -> None:
    publisher = Publisher(in_turn(ok()), policy=HttpPolicy(gap_seconds=0.5))
    with publisher.open_client() as client:
        for _ in range(3):
            client.get_json(URL)
    assert publisher.waits == [0.5, 0.5]


@pytest.mark.parametrize("url", ["https://[bad", "https://host:port/", "\x00"])
def test_an_address_that_is_none_is_a_source_error(url: str) -> None:
    with pytest.raises(SourceError):
        get(Publisher(in_turn(httpx.UnsupportedProtocol("no scheme"))), url)


def test_an_address_is_shown_without_what_may_be_secret() -> None:
    shown = address("https://user:SECRET@host.example:8443/a/b?key=SECRET#SECRET")
    assert shown == "https://host.example:8443/a/b"


def test_the_log_does_not_hold_the_query(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        get(Publisher(in_turn(ok())))
    assert "SECRET" not in caplog.text


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


def test_a_closed_port_is_a_source_error() -> None:
    with HTTPServer(("127.0.0.1", 0), Broken) as server:
        port = server.server_port
    with (
        HttpClient("pretend", pause=lambda _: None, transport=httpx.HTTPTransport()) as client,
        pytest.raises(SourceError, match="can't be reached"),
    ):
        client.get_json(f"http://127.0.0.1:{port}/data")
