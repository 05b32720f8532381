import html
import json
from urllib.parse import quote, quote_plus

import pytest

from flows.sources.keys import Access, Hidden, KeyPlace, is_secret_name

SECRET = 'PLANTED/se+cret "1" & <ü>'


@pytest.mark.parametrize(
    "spelt",
    [
        pytest.param(SECRET, id="as it is"),
        pytest.param(quote(SECRET), id="in a path"),
        pytest.param(quote(SECRET, safe=""), id="in a parameter"),
        pytest.param(quote(SECRET, safe="").lower().replace("planted", "PLANTED"), id="small"),
        pytest.param(quote_plus(SECRET), id="in a form"),
        pytest.param(html.escape(SECRET), id="in a web page"),
        pytest.param(json.dumps(SECRET)[1:-1], id="in JSON"),
        pytest.param(json.dumps(SECRET)[1:-1].replace("/", "\\/"), id="in JSON with \\/"),
        pytest.param(
            json.dumps(SECRET)[1:-1].replace("+", "\\u002B").replace("&", "\\u0026"),
            id="in JSON with signs by number",
        ),
    ],
)
def test_a_secret_is_taken_out_however_it_is_spelt(spelt: str) -> None:
    hidden = Hidden()
    hidden.add(SECRET)
    assert hidden.text(f"a {spelt} z") == "a … z"
    assert hidden.body(f"a {spelt} z".encode()) == "a … z".encode()


def test_a_body_of_another_encoding_stays_readable() -> None:
    hidden = Hidden()
    hidden.add("PLANTED")
    assert hidden.body("价格,PLANTED,5".encode("gb18030")).decode("gb18030") == "价格,...,5"


def test_a_secret_that_begins_another_leaves_no_rest_of_it() -> None:
    hidden = Hidden()
    for secret in ("PLANTED", "PLANTED-longer"):
        hidden.add(secret)
    assert hidden.text("PLANTED-longer PLANTED") == "… …"


def test_a_secret_is_no_expression() -> None:
    hidden = Hidden()
    hidden.add("a.c.e.g")
    assert hidden.text("abcdefg a.c.e.g") == "abcdefg …"


def test_words_that_any_text_may_hold_are_no_secrets() -> None:
    hidden = Hidden()
    for short in ("", "2026", "price"):
        hidden.add(short)
    assert hidden.text("the price of 2026") == "the price of 2026"
    assert hidden.body(b"the price of 2026") == b"the price of 2026"


@pytest.mark.parametrize(
    "name",
    [
        *("key", "appkey", "app_key", "user_key", "license_key", "apikey", "apiKey", "X-Api-Key"),
        *("sig", "signature", "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token"),
        *("session", "sessionid", "JSESSIONID", "auth", "X-Auth", "Authorization", "oauth_token"),
        *("Proxy-Authorization", "Cookie", "Ocp-Apim-Subscription-Key", "subscription-key"),
        *("access_token", "clientSecret", "password", "passwd", "pwd", "AUTH", "API_KEYS"),
    ],
)
def test_a_name_of_a_key_is_known_as_one(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("keyword", "design", "author", "authority", "signal", "significant", "compass", "lang"),
        *("period", "Accept", "Accept-Language", "User-Agent", "from", "X-Requested-With", ""),
        *("passenger", "tokenize", "secretary"),
    ],
)
def test_a_name_that_only_looks_like_one_is_none(name: str) -> None:
    assert not is_secret_name(name)


def test_a_key_among_the_parameters_is_asked_for_without_being_kept() -> None:
    place = KeyPlace(param="apikey")
    url, headers = Access("csv_drop.smm", "smm", place, "hunter2secret").request(
        "https://smm.example/x?apikey=old&a=1", {"b": "2"}, {"Accept": "text/csv"}
    )
    assert url == "https://smm.example/x?a=1&b=2&apikey=hunter2secret"
    assert headers == {"Accept": "text/csv", "Cache-Control": "no-store"}


@pytest.mark.parametrize(
    ("place", "headers"),
    [
        (KeyPlace(header="X-Vendor"), {"X-Vendor": "hunter2secret"}),
        (KeyPlace(bearer=True), {"Authorization": "Bearer hunter2secret"}),
        (None, {}),
    ],
)
def test_a_key_in_a_header_is_in_no_address(
    place: KeyPlace | None, headers: dict[str, str]
) -> None:
    access = Access("csv_drop.smm", "smm", place, "hunter2secret")
    assert access.request("https://smm.example/x", {}, {}) == ("https://smm.example/x", headers)
