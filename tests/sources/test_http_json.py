import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from flows.catalog import load_catalog
from flows.errors import SourceError
from flows.sources.declared import HTTP_JSON_FIELDS, HttpJson, load_declared
from flows.sources.http_json import HttpJsonSource
from flows.sources.source import FetchResult
from tests.sources.publisher import Answer, Publisher, in_turn, payload

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
PAGE = Path(__file__).parents[2] / "docs" / "sources" / "http_json.md"
KEY = "hunter2secret"
URL = "https://api.vendor.example/v1/prices"

VENDOR = """
[http_json.vendor]
url = "https://api.vendor.example/v1/prices?lang=en"
kind = "price"
title = "Vendor"
reuse = "licensed to us"
confidence = "medium"
params = {from = "2024-01-01"}
headers = {Accept = "application/json"}
key = {header = "X-Api-Key"}
records = "data.items"
next_page = "links.next"
period = "date"
published = "published"
[http_json.vendor.rows]
value = "price.avg"
low = "price.low"
high = "price.high"
names = "product.code"
unit_column = "unit"
series = {"NDPR-OX" = "ndpr"}
"""
SIMPLE = """
[http_json.simple]
url = "https://api.vendor.example/v1/prices"
kind = "price"
title = "Simple"
confidence = "low"
period = "day"
{more}
[[http_json.simple.column]]
column = "price"
series = "ndpr"
unit = "USD/kg"
"""


@pytest.fixture
def declare(tmp_path: Path) -> Callable[..., HttpJson]:
    def declare(text: str = VENDOR, more: str = "") -> HttpJson:
        file = tmp_path / "sources.toml"
        file.write_text(text.replace("{more}", more), encoding="utf-8")
        return load_declared(file).http_jsons[0]

    return declare


def fetch(declared: HttpJson, publisher: Publisher, key: str = KEY) -> FetchResult:
    return HttpJsonSource(declared, key, publisher.open_client).fetch(now=NOW)


def publisher_of(*answers: object) -> Publisher:
    return Publisher(
        in_turn(
            *(
                it if isinstance(it, httpx.Response | Exception) else httpx.Response(200, json=it)
                for it in answers
            )
        )
    )


def vendor() -> Publisher:
    def answer(request: httpx.Request) -> httpx.Response:
        page = 2 if "cursor" in request.url.params else 1
        return httpx.Response(200, text=payload(f"drop_vendor_page{page}.json"))

    return Publisher(answer)


def day(number: int) -> dict[str, object]:
    return {"day": f"2026-11-{number:02d}", "price": 100 + number}


def told(found: FetchResult, *names: str) -> list[tuple[str, ...]]:
    assert isinstance(found.rows, pd.DataFrame)
    return list(found.rows[list(names)].astype(str).itertuples(index=False, name=None))


def days(found: FetchResult) -> list[str]:
    return [it[0][-2:] for it in told(found, "period")]


def said(found: FetchResult) -> str:
    return "\n".join(map(str, found.problems))


# --- a reply ----------------------------------------------------------------


def test_records_of_every_page_become_rows_with_their_range_unit_and_day(
    declare: Callable[..., HttpJson],
) -> None:
    publisher = vendor()
    found = fetch(declare(), publisher)
    names = ("file", "row", "series", "period", "value", "low", "high", "unit", "published_on")
    assert told(found, *names) == [
        (
            "prices",
            "1",
            "ndpr",
            "2026-11-19",
            "615000.5",
            "611000",
            "620000",
            "CNY/t incl. VAT",
            "2026-11-19",
        ),
        (
            "prices page 2",
            "1",
            "ndpr",
            "2026-11-20",
            "613500",
            "",
            "",
            "CNY/t incl. VAT",
            "2026-11-20",
        ),
    ]
    assert found.not_published == 1  # 23 November has no figure yet
    assert found.problems == ()
    citation = found.citations["http_json.vendor"]
    assert (citation.url, citation.reuse) == (URL, "licensed to us")
    assert found.notes == ("rows left out because nobody mapped their name: 1 (names: 1)",)


def test_what_is_declared_is_sent_and_a_next_page_is_asked_as_it_is_given(
    declare: Callable[..., HttpJson],
) -> None:
    publisher = vendor()
    fetch(declare(), publisher)
    assert [str(it.url) for it in publisher.requests] == [
        f"{URL}?lang=en&from=2024-01-01",
        f"{URL}?cursor=abc",
    ]
    assert {it.headers["X-Api-Key"] for it in publisher.requests} == {KEY}
    assert {it.headers["Accept"] for it in publisher.requests} == {"application/json"}


@pytest.mark.parametrize(
    ("more", "header", "params"),
    [
        ('key = {param = "k"}', "", {"k": KEY}),
        ("key = {bearer = true}", f"Bearer {KEY}", {}),
        ("", "", {}),
    ],
)
def test_the_key_goes_where_it_is_declared_and_nowhere_else(
    declare: Callable[..., HttpJson], more: str, header: str, params: dict[str, str]
) -> None:
    publisher = publisher_of([day(1)])
    fetch(declare(SIMPLE, more), publisher)
    (asked,) = publisher.requests
    assert asked.headers.get("Authorization", "") == header
    assert dict(asked.url.params) == params


def test_a_reply_that_is_the_list_itself_needs_no_path(declare: Callable[..., HttpJson]) -> None:
    found = fetch(declare(SIMPLE), publisher_of([day(1), day(2)]))
    assert told(found, "period", "value") == [("2026-11-01", "101"), ("2026-11-02", "102")]


def test_fields_with_dots_and_places_in_lists_are_found(declare: Callable[..., HttpJson]) -> None:
    text = SIMPLE.replace('column = "price"', 'column = "prices.0.value"').replace(
        '"day"', '"a.day"', 1
    )
    found = fetch(declare(text), publisher_of([{"a.day": "2026-11-01", "prices": [{"value": 7}]}]))
    assert told(found, "period", "value") == [("2026-11-01", "7")]


def test_a_field_that_is_no_single_value_is_a_fault_of_its_row(
    declare: Callable[..., HttpJson],
) -> None:
    found = fetch(declare(SIMPLE), publisher_of([day(1), {"day": "2026-11-02", "price": {"a": 1}}]))
    faults = [it[0] for it in told(found, "fault")]
    assert faults == ["", 'price: {"a": 1} is no single value; name the field inside it']


def test_a_field_left_out_by_some_records_is_empty_there(declare: Callable[..., HttpJson]) -> None:
    found = fetch(declare(SIMPLE), publisher_of([day(1), {"day": "2026-11-02"}, {"price": 5}]))
    assert found.not_published == 1
    assert [it[0] for it in told(found, "fault")] == ["", "day: is empty"]


def test_numbers_of_json_have_a_point_under_any_declaration(
    declare: Callable[..., HttpJson],
) -> None:
    reply = [{"day": "2026-11-01", "price": 1.234}, {"day": "2026-11-02", "price": "1.234,5"}]
    found = fetch(declare(SIMPLE, 'decimal = ","'), publisher_of(reply))
    assert [it[0] for it in told(found, "value")] == ["1.234", "1234.5"]


# --- replies that can't be read ---------------------------------------------


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        pytest.param(
            httpx.Response(200, text="<title>Log in</title>"),
            "web page titled 'Log in'",
            id="web page",
        ),
        pytest.param(httpx.Response(200, text=""), "empty answer", id="empty"),
        pytest.param(httpx.Response(200, text='{"data": {"items": ['), "breaks off", id="half"),
        pytest.param(
            httpx.Response(200, text="Error: limit"), "says 'Error: limit'", id="a sentence"
        ),
        pytest.param(
            {"data": {"items": []}, "error": "no such plan"},
            "data.items can't be trusted: the reply tells an error (it says 'no such plan')",
            id="error beside nothing",
        ),
        pytest.param(
            {"data": {"items": [{"date": "2026-11-19"}]}, "errors": [{"code": 7}]},
            "(it says '[{\"code\": 7}]')",
            id="error beside records",
        ),
        pytest.param(
            {"data": {"items": []}, "message": "no such product"},
            "(it says 'no such product')",
            id="message beside nothing",
        ),
        pytest.param(
            {"data": {"items": None}, "detail": "use v2"}, "(it says 'use v2')", id="null"
        ),
        pytest.param({"error": "quota used up"}, "(it says 'quota used up')", id="error text"),
        pytest.param({"data": {"items": 3}}, "data.items is no list of records", id="no list"),
        pytest.param(
            {"data": {"items": [1, 2]}}, "data.items record 1 is no object", id="no records"
        ),
        pytest.param({"data": []}, "field data.items is missing", id="no path"),
        pytest.param([1], "field data is missing", id="no object"),
        pytest.param(httpx.Response(401), "check LODESTONE_KEY_VENDOR", id="refused"),
        pytest.param(httpx.Response(500), "HTTP 500", id="500"),
        pytest.param(httpx.ReadTimeout("slow"), "gave no answer", id="time-out"),
        pytest.param(
            {"message": f"unknown key {KEY}"}, "(it says 'unknown key …')", id="key said back"
        ),
        pytest.param({"error": "x" * 195 + KEY}, "xx…", id="key at the cut"),
    ],
)
def test_a_first_page_that_can_not_be_read_is_an_error_without_the_key(
    declare: Callable[..., HttpJson], answer: object, problem: str
) -> None:
    with pytest.raises(SourceError) as caught:
        fetch(declare(), publisher_of(answer))
    text = str(caught.value)
    assert text.startswith(f"http_json.vendor: {URL}")
    assert problem in text
    assert KEY[:5] not in text


def test_a_renamed_field_refuses_the_reply_naming_it_and_the_new_one(
    declare: Callable[..., HttpJson],
) -> None:
    reply = json.loads(payload("drop_vendor_page1.json").replace('"avg"', '"average"'))
    with pytest.raises(SourceError, match=r"data.items: missing 'price.avg'"):
        fetch(declare(), publisher_of(reply))
    with pytest.raises(SourceError, match="missing 'price'; not known: 'cost', 'id'"):
        fetch(declare(SIMPLE), publisher_of([{"day": "2026-11-01", "cost": 5, "id": 1}]))


@pytest.mark.parametrize(
    "more", [{}, {"message": "OK"}, {"error": None}, {"errors": [], "error": {"code": 0}}]
)
def test_a_reply_without_records_and_without_an_error_is_a_problem(
    declare: Callable[..., HttpJson], more: dict[str, object]
) -> None:
    found = fetch(declare(), publisher_of({"data": {"items": []}, **more}))
    assert said(found) == "data.items: has no record; check params in sources.toml"
    assert isinstance(found.rows, pd.DataFrame)
    assert found.rows.empty


def test_a_mapped_name_that_no_record_has_is_a_problem(declare: Callable[..., HttpJson]) -> None:
    reply = json.loads(payload("drop_vendor_page1.json").replace("NDPR-OX", "NDPR-OXIDE"))
    found = fetch(declare(), publisher_of(reply | {"links": {}}))
    assert said(found) == "ndpr: no row has 'NDPR-OX' in 'product.code'; is it 'NDPR-OXIDE' now?"


@pytest.mark.parametrize("key", ["", "  "])
def test_a_missing_key_names_its_variable_and_asks_nobody(
    declare: Callable[..., HttpJson], key: str
) -> None:
    publisher = vendor()
    with pytest.raises(SourceError, match="set LODESTONE_KEY_VENDOR in the environment"):
        fetch(declare(), publisher, key)
    assert publisher.requests == []


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "clé"])
def test_a_key_that_can_not_be_sent_is_named_by_its_variable_only(
    declare: Callable[..., HttpJson], key: str
) -> None:
    with pytest.raises(SourceError, match="LODESTONE_KEY_VENDOR holds characters") as caught:
        fetch(declare(), vendor(), key)
    assert key not in str(caught.value)


def test_no_text_of_a_source_or_its_rows_holds_the_key(declare: Callable[..., HttpJson]) -> None:
    text = payload("drop_vendor_page1.json").replace('"status": "ok"', f'"key": "{KEY}"')
    text = text.replace('"name": "NdPr oxide"', f'"name": "for {KEY}"')
    publisher = publisher_of(json.loads(text), httpx.Response(403, text=KEY))
    source = HttpJsonSource(declare(), KEY, publisher.open_client)
    found = source.fetch(now=NOW)
    assert "for …" in told(found, "raw")[0][0]
    assert isinstance(found.rows, pd.DataFrame)
    shown = repr(source) + said(found) + repr(found.citations) + found.rows.to_csv()
    assert KEY not in shown


# --- pages ------------------------------------------------------------------

COUNTED = 'next_page = {param = "page"}'
LINKED = 'records = "items"\nnext_page = "next"'


def by_page(*pages: list[object]) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params["page"])
        return httpx.Response(200, json=pages[number - 1] if number <= len(pages) else [])

    return answer


def test_pages_are_counted_until_one_is_empty(declare: Callable[..., HttpJson]) -> None:
    publisher = Publisher(by_page([day(1), day(2)], [day(3)]))
    found = fetch(declare(SIMPLE, COUNTED), publisher)
    assert days(found) == ["01", "02", "03"]
    assert [it.url.params["page"] for it in publisher.requests] == ["1", "2", "3"]
    assert found.problems == ()


def test_a_shorter_page_may_be_the_last(declare: Callable[..., HttpJson]) -> None:
    publisher = Publisher(by_page([day(1), day(2)], [day(3)]))
    more = 'next_page = {param = "page", until_empty = false}'
    assert days(fetch(declare(SIMPLE, more), publisher)) == ["01", "02", "03"]
    assert len(publisher.requests) == 2


def test_a_parameter_may_count_records(declare: Callable[..., HttpJson]) -> None:
    publisher = publisher_of([day(1), day(2)], [day(3)], [])
    more = 'next_page = {param = "offset", start = 0, step = 2}'
    fetch(declare(SIMPLE, more), publisher)
    assert [it.url.params["offset"] for it in publisher.requests] == ["0", "2", "4"]


def test_no_more_pages_than_allowed_are_asked_and_those_that_were_read_land(
    declare: Callable[..., HttpJson],
) -> None:
    publisher = Publisher(by_page([day(1)], [day(2)], [day(3)]))
    found = fetch(declare(SIMPLE, f"{COUNTED}\nmax_pages = 2"), publisher)
    assert days(found) == ["01", "02"]
    assert said(found) == ("page 3: was not asked for: max_pages is 2; raise it in sources.toml")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        pytest.param(httpx.Response(500), "HTTP 500", id="500"),
        pytest.param(httpx.Response(429), "HTTP 429", id="429"),
        pytest.param(httpx.ReadTimeout("slow"), "gave no answer", id="time-out"),
        pytest.param(httpx.Response(200, text="<html>"), "web page", id="web page"),
        pytest.param({"error": "quota"}, "(it says 'quota')", id="error text"),
        pytest.param([{"day": "2026-11-02", "cost": 5}], "missing 'price'", id="renamed"),
        pytest.param([day(1)], "repeats the one before it", id="the same again"),
    ],
)
def test_a_later_page_that_fails_is_named_and_those_before_it_land(
    declare: Callable[..., HttpJson], answer: object, problem: str
) -> None:
    found = fetch(declare(SIMPLE, COUNTED), publisher_of([day(1)], answer))
    assert days(found) == ["01"]
    (one,) = found.problems
    assert one.subject == "page 2"
    assert problem in one.text
    assert "not taken" in one.text


LISTED = f'records = "data"\n{COUNTED}'


@pytest.mark.parametrize(
    ("last", "problem"),
    [
        ({"data": [], "error": "daily quota exceeded"}, "'daily quota exceeded'"),
        ({"data": None, "message": "daily quota exceeded"}, "'daily quota exceeded'"),
        ({"data": [day(2)], "error": "truncated"}, "'truncated'"),
        ({"data": [day(2)], "errors": {"code": 429}}, "'{\"code\": 429}'"),
    ],
)
def test_an_error_text_ends_the_pages_and_those_before_it_land(
    declare: Callable[..., HttpJson], last: object, problem: str
) -> None:
    publisher = publisher_of({"data": [day(1)], "message": "page 1"}, last)
    found = fetch(declare(SIMPLE, LISTED), publisher)
    assert days(found) == ["01"]
    (one,) = found.problems
    assert one.subject == "page 2"
    assert one.text == (
        f"{URL}: data can't be trusted: the reply tells an error (it says {problem}); "
        "it was not taken"
    )


@pytest.mark.parametrize(
    ("every", "last"),
    [
        ({"message": "成功"}, {"message": "成功"}),
        ({}, {"message": "success"}),
    ],
)
def test_what_a_vendor_says_with_every_page_is_no_error(
    declare: Callable[..., HttpJson], every: dict[str, object], last: dict[str, object]
) -> None:
    publisher = publisher_of({"data": [day(1)], **every}, {"data": [], **last})
    found = fetch(declare(SIMPLE, LISTED), publisher)
    assert (days(found), found.problems) == (["01"], ())


@pytest.mark.parametrize("place", ['{param = "k"}', '{header = "X-Vendor"}', "{bearer = true}"])
def test_a_row_that_says_the_key_back_is_turned_away_without_it(
    declare: Callable[..., HttpJson], place: str
) -> None:
    reply = [{"day": f"k={KEY}", "price": KEY}, {"day": "2026-11-02", "price": {KEY: KEY}}]
    found = fetch(declare(SIMPLE, f"key = {place}"), publisher_of(reply))
    assert isinstance(found.rows, pd.DataFrame)
    assert "k=…" in found.rows["fault"].iloc[0]
    assert KEY not in found.rows.to_csv()


def test_a_number_that_is_none_loses_its_row_only(declare: Callable[..., HttpJson]) -> None:
    text = '[{"day": "2026-11-01", "price": NaN}, {"day": "2026-11-02", "price": 5}]'
    found = fetch(declare(SIMPLE), publisher_of(httpx.Response(200, text=text)))
    assert told(found, "period", "value") == [("2026-11-01", "NaN"), ("2026-11-02", "5")]


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        (
            "https://evil.example/v1/prices?page=2",
            "next leads to another host (https://evil.example/v1/prices)",
        ),
        ("http://api.vendor.example/v1/prices?page=2", "leads to another host"),
        ("//evil.example/x", "leads to another host"),
        (URL, "leads back to a page that was read already"),
        (3, "next is no address"),
    ],
)
def test_a_next_page_elsewhere_is_not_followed(
    declare: Callable[..., HttpJson], link: object, problem: str
) -> None:
    publisher = publisher_of({"items": [day(1)], "next": link})
    found = fetch(declare(SIMPLE, LINKED), publisher)
    assert len(publisher.requests) == 1
    assert days(found) == ["01"]
    assert problem in said(found)


@pytest.mark.parametrize("end", [{}, {"next": None}, {"next": ""}, {"next": False}])
def test_a_reply_without_a_next_page_is_the_last(
    declare: Callable[..., HttpJson], end: dict[str, Any]
) -> None:
    publisher = publisher_of({"items": [day(1)], "next": "?page=2"}, {"items": [day(2)]} | end)
    found = fetch(declare(SIMPLE, LINKED), publisher)
    assert days(found) == ["01", "02"]
    assert found.problems == ()


def test_a_key_among_the_parameters_is_sent_with_every_page_and_shown_with_none(
    declare: Callable[..., HttpJson],
) -> None:
    publisher = publisher_of({"items": [day(1)], "next": f"?page=2&k={KEY}"}, httpx.Response(403))
    found = fetch(declare(SIMPLE, f'{LINKED}\nkey = {{param = "k"}}'), publisher)
    assert [it.url.params.get_list("k") for it in publisher.requests] == [[KEY], [KEY]]
    assert "HTTP 403" in said(found)
    assert KEY not in said(found)


# --- the page ---------------------------------------------------------------


def test_the_example_of_the_page_reads_the_reply_that_it_shows(tmp_path: Path) -> None:
    text = PAGE.read_text("utf-8")
    for name, block in re.findall(r"```toml\n# (\S+)\n(.*?)```", text, re.DOTALL):
        (tmp_path / name).write_text(block, encoding="utf-8")
    (reply,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    catalog = load_catalog(tmp_path)
    (declared,) = load_declared(tmp_path / "sources.toml", series=catalog.stored_series).http_jsons
    found = fetch(declared, publisher_of(json.loads(reply)))
    assert found.problems == ()
    assert told(found, "series", "period", "value", "unit") == [
        ("ndpr_oxide_cn", "2026-11-19", "615000.5", "CNY/t incl. VAT")
    ]


def test_every_field_of_an_interface_is_explained_on_the_page() -> None:
    text = PAGE.read_text("utf-8")
    assert [name for name in HTTP_JSON_FIELDS if f"`{name}`" not in text] == []
