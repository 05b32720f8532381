import multiprocessing
import os
from pathlib import Path

import httpx
import pytest

from flows.errors import SourceError
from flows.sources.http import HttpPolicy
from flows.sources.http_cache import HttpCache, Kept
from tests.sources.publisher import Answer, Publisher, in_turn, wire

URL = "https://publisher.example/v1/data"
ETAG = '"v1"'
CHANGED = "Mon, 23 Nov 2026 05:00:00 GMT"
BODY = b'{"a": 1}'


@pytest.fixture
def cache(tmp_path: Path) -> HttpCache:
    return HttpCache(tmp_path / "kept")


def files(tmp_path: Path) -> list[Path]:
    return sorted(tmp_path.glob("kept/*"))


def version(etag: str = ETAG, body: bytes = BODY, **headers: str) -> httpx.Response:
    return wire(body, etag=etag, **headers)


def confirming(answer: httpx.Response) -> Answer:
    """Sends the answer to who has none, and confirms it to who names its version."""

    def reply(request: httpx.Request) -> httpx.Response:
        named = request.headers.get("If-None-Match") or request.headers.get("If-Modified-Since")
        told = answer.headers.get("etag") or answer.headers.get("last-modified")
        return httpx.Response(304) if named == told else answer

    return reply


def get(publisher: Publisher, url: str = URL, **options: dict[str, str]) -> bytes:
    with publisher.open_client() as client:
        return client.get_bytes(url, **options)


def asked(publisher: Publisher) -> list[tuple[str | None, str | None]]:
    return [
        (it.headers.get("If-None-Match"), it.headers.get("If-Modified-Since"))
        for it in publisher.requests
    ]


def test_a_confirmed_answer_is_the_kept_one_byte_for_byte(cache: HttpCache) -> None:
    body = b"\x00\n\xff,1\r\n" * 1000
    publisher = Publisher(confirming(version(body=body)), cache=cache)
    assert get(publisher) == body
    assert get(publisher) == body
    assert asked(publisher) == [(None, None), (ETAG, None)]


def test_a_date_confirms_where_there_is_no_tag(cache: HttpCache) -> None:
    publisher = Publisher(confirming(wire(BODY, last_modified=CHANGED)), cache=cache)
    assert [get(publisher), get(publisher)] == [BODY, BODY]
    assert asked(publisher) == [(None, None), (None, CHANGED)]


def test_a_new_version_takes_the_place_of_the_kept_one(cache: HttpCache) -> None:
    second = version('W/"v2"', b'{"a": 2}')
    publisher = Publisher(in_turn(version(), second, httpx.Response(304)), cache=cache)
    assert [get(publisher) for _ in range(3)] == [BODY, b'{"a": 2}', b'{"a": 2}']
    assert [tag for tag, _ in asked(publisher)] == [None, ETAG, 'W/"v2"']


def test_another_question_is_another_answer(cache: HttpCache) -> None:
    publisher = Publisher(lambda request: version(body=request.url.query), cache=cache)
    with publisher.open_client() as client:
        for year in ("2025", "2026"):
            assert client.get_bytes(URL, params={"period": year}) == f"period={year}".encode()
    assert asked(publisher) == [(None, None)] * 2


def test_an_answer_without_a_version_is_not_kept(cache: HttpCache, tmp_path: Path) -> None:
    publisher = Publisher(in_turn(wire(BODY)), cache=cache)
    get(publisher)
    get(publisher)
    assert asked(publisher) == [(None, None)] * 2
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "options"),
    [
        pytest.param(URL, {"headers": {"Authorization": "Bearer PLANTED"}}, id="log-in"),
        pytest.param(URL, {"headers": {"Ocp-Apim-Subscription-Key": "PLANTED"}}, id="key"),
        pytest.param(URL, {"headers": {"Cookie": "session=PLANTED"}}, id="cookie"),
        pytest.param(URL, {"params": {"apikey": "PLANTED"}}, id="key in a parameter"),
        pytest.param(URL, {"params": {"access_token": "PLANTED"}}, id="token"),
        pytest.param(f"{URL}?subscription-key=PLANTED", {}, id="key in the query"),
        pytest.param("https://me:PLANTED@publisher.example/", {}, id="key in the address"),
    ],
)
def test_what_a_key_opened_is_never_kept(
    url: str, options: dict[str, dict[str, str]], cache: HttpCache, tmp_path: Path
) -> None:
    publisher = Publisher(in_turn(version()), cache=cache)
    get(publisher, url, **options)
    get(publisher, url, **options)
    assert asked(publisher) == [(None, None)] * 2
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"cache_control": "max-age=0, No-Store"},
        {"cache_control": "private"},
        {"vary": "*"},
        {"set_cookie": "session=1"},
    ],
)
def test_an_answer_meant_for_one_reader_is_not_kept(
    headers: dict[str, str], cache: HttpCache, tmp_path: Path
) -> None:
    get(Publisher(in_turn(version(**headers)), cache=cache))
    assert files(tmp_path) == []


def test_a_form_is_always_sent_in_full(cache: HttpCache, tmp_path: Path) -> None:
    publisher = Publisher(in_turn(version()), cache=cache)
    with publisher.open_client() as client:
        client.post_form_json(URL, {"a": "1"})
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(version(content_length="99"), id="shorter than announced"),
        pytest.param(version(content_encoding="gzip"), id="damaged gzip"),
        pytest.param(version(body=b"x" * 2000), id="too large"),
        pytest.param(httpx.Response(500, headers={"ETag": ETAG}), id="500"),
        pytest.param(httpx.Response(404, headers={"ETag": ETAG}), id="404"),
    ],
)
def test_an_answer_that_was_refused_is_not_kept(
    broken: httpx.Response, cache: HttpCache, tmp_path: Path
) -> None:
    publisher = Publisher(in_turn(broken), policy=HttpPolicy(max_bytes=1000), cache=cache)
    with pytest.raises(SourceError):
        get(publisher)
    assert files(tmp_path) == []


def test_a_failure_leaves_the_kept_answer_for_the_next_time(cache: HttpCache) -> None:
    publisher = Publisher(confirming(version()), cache=cache)
    get(publisher)
    publisher.answer = in_turn(httpx.Response(500))
    with pytest.raises(SourceError):
        get(publisher)
    publisher.answer = confirming(version())
    assert get(publisher) == BODY


def test_a_confirmation_of_nothing_is_an_error(cache: HttpCache) -> None:
    with pytest.raises(SourceError, match="HTTP 304"):
        get(Publisher(in_turn(httpx.Response(304)), cache=cache))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[:-1], id="cut short"),
        pytest.param(lambda content: content + b" ", id="longer"),
        pytest.param(lambda content: content.replace(b"v1", b"v2"), id="other version"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"\xff\xfe" + content, id="no JSON"),
        pytest.param(lambda content: b"[1]\nbody", id="no table"),
        pytest.param(lambda content: b'{"etag": 1}\nbody', id="no text"),
        pytest.param(lambda content: b"{" * 100_000 + b"\nbody", id="nested"),
        pytest.param(
            lambda content: b'{"etag": "\\ud800", "last_modified": "", "digest": ""}\nbody',
            id="no character",
        ),
    ],
)
def test_a_damaged_file_counts_as_missing_and_is_replaced(
    damage: object, cache: HttpCache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(damage)
    publisher = Publisher(confirming(version()), cache=cache)
    get(publisher)
    (file,) = files(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    assert [get(publisher), get(publisher)] == [BODY, BODY]
    assert asked(publisher) == [(None, None), (None, None), (ETAG, None)]
    assert "a kept answer is damaged" in caplog.text


def test_a_file_under_the_name_of_another_address_counts_as_missing(
    cache: HttpCache, tmp_path: Path
) -> None:
    cache.keep("https://a.example", Kept(b"a", ETAG))
    (first,) = files(tmp_path)
    cache.keep("https://b.example", Kept(b"b", ETAG))
    (second,) = (file for file in files(tmp_path) if file != first)
    second.replace(first)
    assert cache.find("https://a.example") is None


@pytest.mark.parametrize("tag", ['"a\x00b"', '"ä"', '"\n"', '"' + "x" * 600 + '"'])
def test_a_version_that_no_header_can_hold_is_not_kept(
    tag: str, cache: HttpCache, tmp_path: Path
) -> None:
    cache.keep(URL, Kept(BODY, tag))
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_written_costs_no_figure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "kept").write_text("a file where the folder should be")
    publisher = Publisher(in_turn(version()), cache=HttpCache(tmp_path / "kept"))
    assert get(publisher) == BODY
    assert "can't be kept" in caplog.text


def test_the_oldest_go_when_the_folder_is_full_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    cache = HttpCache(tmp_path / "kept", max_bytes=10_000)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "notes.txt").write_bytes(b"x" * 20_000)
    part = tmp_path / "kept" / "left-by-a-crash.part"
    part.write_bytes(b"x" * 2000)
    os.utime(part, (1, 1))
    for number in range(6):
        cache.keep(f"{URL}/{number}", Kept(b"x" * 2000, ETAG))
        kept = max(files(tmp_path), key=lambda file: file.stat().st_mtime_ns)
        os.utime(kept, (1000 + number, 1000 + number))
    assert [cache.find(f"{URL}/{number}") is not None for number in range(6)] == [
        *(False, False),
        *(True, True, True, True),
    ]
    assert not part.exists()
    assert (tmp_path / "kept" / "notes.txt").exists()


def test_an_answer_too_large_for_the_folder_drives_no_other_out(tmp_path: Path) -> None:
    cache = HttpCache(tmp_path / "kept", max_bytes=10_000)
    cache.keep(URL, Kept(BODY, ETAG))
    cache.keep(f"{URL}/large", Kept(b"x" * 5000, ETAG))
    assert cache.find(URL) is not None
    assert cache.find(f"{URL}/large") is None


def _keep_many(folder: Path, letter: bytes) -> None:
    cache = HttpCache(folder, max_bytes=2_000_000)
    for number in range(60):
        cache.keep(URL, Kept(letter * 100_000, f'"{letter.decode()}{number}"'))
        found = cache.find(URL)
        # Either version is right; half of one, or the tag of the other, is not.
        if found is None or found.body != found.etag[1].encode() * 100_000:
            os._exit(1)


def test_two_processes_never_see_half_an_answer(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_keep_many, args=(tmp_path / "kept", letter))
        for letter in (b"a", b"b")
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert [file.suffix for file in files(tmp_path)] == [".kept"]
