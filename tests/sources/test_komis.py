import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest

from flows.catalog import load_catalog
from flows.errors import SourceError
from flows.sources.komis import MINERALS, POLICY, KomisSource
from flows.sources.source import FetchResult
from flows.validation import Batch, validate
from tests.sources.publisher import Publisher, form_of, in_turn, payload, wire

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
CATALOG = load_catalog().stored_series
MINERAL_OF = {
    "MNRL1001": "nd",
    "MNRL1002": "ce",
    "MNRL1003": "la",
    "MNRL1004": "dy",
    "MNRL1005": "tb",
    "MNRL1056": "pr",
}
KEY_OF = {"nd": "757", "pr": "758", "dy": "803", "tb": "806", "la": "813", "ce": "802"}
EVERY = {f"{symbol}_oxide_daily" for symbol in KEY_OF}

Change = Callable[[str, Any], Any]


def komis(change: Change = lambda what, reply: reply) -> Publisher:
    """A site that answers as KOMIS does; `change` may alter each reply by its payload's name."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(
                200, text="<html></html>", headers={"Set-Cookie": "JSESSIONID=A; Path=/"}
            )
        form = form_of(request)
        call = request.url.path.rsplit("/", 1)[-1]
        if "JSESSIONID" not in request.headers.get("Cookie", ""):
            return httpx.Response(200, text="")
        if call == "getMnrlKndInfoCodeList":
            what = "minerals"
        elif call == "getMnrlPriceCrtr":
            what = f"bases_{MINERAL_OF[form['mnrkndUnqCd']]}"
        else:
            what = f"prices_{MINERAL_OF[form['srchMnrkndUnqCd']]}"
        reply = json.loads(payload(f"komis_{what}.json"))
        if what.startswith("prices") and form["srchPrcCrtr"] != KEY_OF[what[-2:]]:
            reply["data"]["defaultMnrl"] = None  # an old option, or one for an index
        reply = change(what, reply)
        if isinstance(reply, httpx.Response):
            return reply
        return httpx.Response(200, json=reply)

    return Publisher(answer)


def fetch(publisher: Publisher, now: datetime = NOW) -> FetchResult:
    return KomisSource(publisher.open_client).fetch(now=now)


def only(wanted: str, alter: Callable[[Any], Any]) -> Change:
    return lambda what, reply: alter(reply) if what == wanted else reply


def batch(found: FetchResult, now: datetime = NOW) -> Batch:
    return validate("komis", found.rows, series=CATALOG, source_ids=found.citations, now=now)


def prices(found: FetchResult) -> dict[tuple[str, date], float]:
    judged = batch(found)
    assert judged.rejected == ()
    return {(it.series, it.period): it.value for it in judged.observations}


def of(found: FetchResult, series: str) -> dict[date, float]:
    return {period: value for (name, period), value in prices(found).items() if name == series}


def test_six_minerals_come_with_their_days_and_without_unpublished_ones() -> None:
    found = fetch(komis())
    assert found.problems == ()
    assert found.not_published == 1
    assert prices(found) == {
        ("nd_oxide_daily", date(2026, 11, 18)): 119.10,
        ("nd_oxide_daily", date(2026, 11, 20)): 120.40,
        ("pr_oxide_daily", date(2026, 11, 19)): 118.30,
        ("pr_oxide_daily", date(2026, 11, 20)): 118.75,
        ("dy_oxide_daily", date(2026, 11, 19)): 241.00,
        ("dy_oxide_daily", date(2026, 11, 20)): 240.90,
        ("tb_oxide_daily", date(2026, 11, 20)): 1118.00,
        ("tb_oxide_daily", date(2026, 11, 23)): 1120.62,
        ("la_oxide_daily", date(2026, 11, 19)): 0.61,
        ("la_oxide_daily", date(2026, 11, 20)): 0.61,
        ("ce_oxide_daily", date(2026, 11, 19)): 2.19,
        ("ce_oxide_daily", date(2026, 11, 20)): 2.19,
    }


def test_a_quote_is_known_from_noon_of_its_day_but_never_after_it_was_read() -> None:
    found = fetch(komis())
    assert {(it.published_on, it.known_at) for it in found.rows} == {("", None)}
    known = {
        it.period: it.known_at for it in batch(found).observations if it.series == "tb_oxide_daily"
    }
    assert known == {
        date(2026, 11, 20): datetime(2026, 11, 20, 12, tzinfo=UTC),
        date(2026, 11, 23): NOW,
    }


def asked_for_prices(now: datetime) -> list[dict[str, str]]:
    publisher = komis()
    fetch(publisher, now)
    assert all(it.headers["X-Requested-With"] == "XMLHttpRequest" for it in publisher.requests[1:])
    return [form_of(it) for it in publisher.requests if it.url.path.endswith("ByMnrkndUnqCd")]


def test_the_option_is_looked_up_by_product_and_purity_and_daily_quotes_are_asked() -> None:
    asked = asked_for_prices(NOW)
    assert [it["srchPrcCrtr"] for it in asked] == ["757", "758", "803", "806", "813", "802"]
    assert [it["spcfct"] for it in asked] == ["99.5", "99.5", "99.5", "99.99", "99.9", "99"]
    assert {(it["srchAvgOpt"], it["srchField"]) for it in asked} == {("DAY", "year")}


@pytest.mark.parametrize(
    ("now", "years"),
    [
        pytest.param(datetime(2026, 12, 31, 14, 59, tzinfo=UTC), ("2025", "2026"), id="before"),
        pytest.param(datetime(2026, 12, 31, 15, 0, tzinfo=UTC), ("2026", "2027"), id="after"),
    ],
)
def test_this_year_and_the_last_are_asked_for_by_the_calendar_of_seoul(
    now: datetime, years: tuple[str, str]
) -> None:
    assert {(it["srchStartDate"], it["srchEndDate"]) for it in asked_for_prices(now)} == {years}


def test_the_site_is_asked_once_a_second_at_most() -> None:
    publisher = komis()
    publisher.policy = POLICY
    fetch(publisher)
    assert len(publisher.requests) == 2 + 2 * len(MINERALS)
    assert publisher.waits == [1.0] * (len(publisher.requests) - 1)


def test_of_two_places_with_the_same_product_the_one_in_china_is_taken() -> None:
    """Indium has four options of one product and purity that differ in their place only."""

    def change(what: str, reply: Any) -> Any:
        if what == "bases_nd":
            reply["data"].insert(0, {"cdKey": 999, "cdVal": "Neodymium Oxide", "spcfct": "99.5"})
        if what == "prices_nd" and reply["data"]["defaultMnrl"] is None:
            reply = json.loads(payload("komis_prices_nd.json").replace("FOB China", "Europe"))
        return reply

    publisher = komis(change)
    found = fetch(publisher)
    assert found.problems == ()
    assert of(found, "nd_oxide_daily")[date(2026, 11, 20)] == 120.40
    asked = [form_of(it).get("srchPrcCrtr") for it in publisher.requests[1:]]
    assert asked[asked.index("999") : asked.index("757") + 1] == ["999", "757"]


@pytest.mark.parametrize(
    ("low", "high", "kept"),
    [
        pytest.param("120.00", "120.80", ("120.00", "120.80"), id="range"),
        pytest.param("0.00", "0.00", ("", ""), id="not published"),
        pytest.param(None, "", ("", ""), id="empty"),
    ],
)
def test_a_range_is_kept_where_there_is_one(
    low: str | None, high: str, kept: tuple[str, str]
) -> None:
    change = only("prices_nd", set_quote(0, lowstPrc=low, hghstPrc=high))
    row = next(it for it in fetch(komis(change)).rows if it.series == "nd_oxide_daily")
    assert (row.low, row.high) == kept


def test_a_price_outside_its_range_goes_to_quarantine() -> None:
    found = fetch(komis(only("prices_nd", set_quote(0, lowstPrc="121.00"))))
    (rejected,) = batch(found).rejected
    assert rejected.row == 1
    assert "121.00" in rejected.reason


@pytest.mark.parametrize("day", ["20261112", "2026.11.12", "2026-11-12", "2026/11/12"])
@pytest.mark.parametrize("price", ["1,234.56", " 1234.560 ", 1234.56])
def test_days_and_prices_are_read_as_people_write_them(day: str, price: object) -> None:
    change = only("prices_tb", set_quote(1, crtrYmd=day, cmercPrc=price))
    assert of(fetch(komis(change)), "tb_oxide_daily")[date(2026, 11, 12)] == 1234.56


def set_quote(number: int, **fields: object) -> Callable[[Any], Any]:
    def alter(reply: Any) -> Any:
        if reply["data"]["defaultMnrl"]:
            reply["data"]["defaultMnrl"][number] |= fields
        return reply

    return alter


def set_info(field: str, value: str) -> Callable[[Any], Any]:
    def alter(reply: Any) -> Any:
        reply["dataAvg"]["INFO"][field] = value
        return reply

    return alter


def rename(old: str, new: str) -> Callable[[Any], Any]:
    return lambda reply: json.loads(
        json.dumps(reply, ensure_ascii=False).replace(f'"{old}"', f'"{new}"')
    )


@pytest.mark.parametrize(
    ("what", "alter", "said"),
    [
        pytest.param(
            "prices_nd", set_info("prcUnitCdNm", "CNY"), "INFO.prcUnitCdNm is 'CNY'", id="currency"
        ),
        pytest.param("prices_nd", set_info("weigUnitCd", "t"), "INFO.weigUnitCd is 't'", id="mass"),
        pytest.param(
            "prices_nd",
            set_info("prcCrtr", "99.5%min EXW China"),
            "INFO.prcCrtr is '99.5%min EXW China', not '99.5%min FOB China'",
            id="place",
        ),
        pytest.param(
            "prices_nd", set_info("prcCrtr", "99.55%min FOB China"), "INFO.prcCrtr", id="purity"
        ),
        pytest.param(
            "prices_nd", set_info("mnrkndKornNm", "세륨"), "INFO.mnrkndKornNm", id="other mineral"
        ),
        pytest.param(
            "prices_nd",
            lambda reply: reply | {"dataAvg": {"INFO": ["USD/t"]}},
            "field dataAvg.INFO is no record",
            id="another description",
        ),
        pytest.param(
            "prices_nd",
            rename("cmercPrc", "price"),
            "record 1 has no field cmercPrc (new: price)",
            id="renamed field",
        ),
        pytest.param(
            "prices_nd",
            lambda reply: reply | {"data": {"defaultMnrl": []}},
            "getMnrlPrcByMnrkndUnqCd: no quotes came: the key is out of date",
            id="key out of date",
        ),
        pytest.param(
            "prices_nd",
            lambda reply: reply | {"data": {"defaultMnrl": "none"}},
            "data.defaultMnrl is no list",
            id="no list",
        ),
        pytest.param("prices_nd", lambda _: [1, 2], "data is missing", id="no object"),
        pytest.param(
            "prices_nd", lambda _: httpx.Response(200, text=""), "empty answer", id="empty body"
        ),
        pytest.param(
            "prices_nd",
            lambda _: httpx.Response(200, text="<html><title>점검중</title>"),
            "web page titled '점검중' instead of JSON",
            id="HTML",
        ),
        pytest.param(
            "prices_nd",
            lambda _: wire(b"\x1f\x8b\x08\x00", content_encoding="gzip"),
            "breaks off",
            id="truncated gzip",
        ),
        pytest.param(
            "prices_nd",
            lambda _: wire(b'{"data"', httpx.ReadTimeout("slow")),
            "no answer within 30 s",
            id="time-out",
        ),
        pytest.param("prices_nd", lambda _: httpx.Response(500), "HTTP 500", id="500 thrice"),
        pytest.param("prices_nd", lambda _: httpx.Response(429), "HTTP 429", id="429 thrice"),
        pytest.param(
            "bases_nd",
            rename("99.5", "99.55"),
            "no option Neodymium Oxide 99.5 is offered "
            "(offered: 수급안정화지수 전용 99, Neodymium Oxide 99.55)",
            id="purity no longer offered",
        ),
        pytest.param(
            "bases_nd", rename("Neodymium Oxide", "Neodymium Metal"), "Metal 99.5", id="metal only"
        ),
        pytest.param("bases_nd", lambda _: {"data": None}, "offered: none", id="no options"),
        pytest.param(
            "minerals", rename("네오디뮴", "Nd"), "Nd (네오디뮴)", id="mineral not listed"
        ),
    ],
)
def test_one_mineral_that_fails_is_named_and_loses_no_other(
    what: str, alter: Callable[[Any], Any], said: str
) -> None:
    found = fetch(komis(only(what, alter)))
    (problem,) = found.problems
    assert problem.subject == "nd_oxide_daily"
    assert said in problem.text
    assert {series for series, _ in prices(found)} == EVERY - {"nd_oxide_daily"}


def test_a_quote_that_is_no_number_goes_to_quarantine_with_its_text() -> None:
    found = fetch(komis(only("prices_nd", rename("119.10", "see note"))))
    (rejected,) = batch(found).rejected
    assert rejected.file == "Nd of getMnrlPrcByMnrkndUnqCd"
    assert rejected.row == 3
    assert "see note" in rejected.raw
    assert rejected.reason == "cmercPrc: 'see note' is not a number"


def test_a_day_that_is_none_goes_to_quarantine_alone() -> None:
    found = fetch(komis(only("prices_nd", set_quote(0, crtrYmd="20261340"))))
    (rejected,) = batch(found).rejected
    assert "period: '2026-13-40'" in rejected.reason


@pytest.mark.parametrize("hours", [-13, 13])
def test_a_clock_that_is_hours_off_brings_the_same_quotes(hours: int) -> None:
    skewed = datetime(2026, 11, 23 if hours > 0 else 22, (8 + hours) % 24, tzinfo=UTC)
    found = fetch(komis(), now=skewed)
    assert {(it.series, it.period, it.value) for it in found.rows} == {
        (it.series, it.period, it.value) for it in fetch(komis()).rows
    }
    assert batch(found, skewed).rejected == ()


def test_when_every_mineral_fails_the_source_has_failed() -> None:
    with pytest.raises(SourceError, match="HTTP 503"):
        fetch(komis(lambda what, it: httpx.Response(503) if what.startswith("prices") else it))


# --- a site that says less, or lets less be looked up


def bare(reply: Any) -> Any:
    """A reply of quotes as it is known from outside: days and prices, and nothing about them."""
    quotes = [
        {"crtrYmd": it["crtrYmd"], "cmercPrc": it["cmercPrc"]}
        for it in reply["data"]["defaultMnrl"]
    ]
    return {"data": {"defaultMnrl": quotes}}


UNSTATED = "unit and basis not stated by this reply"


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(bare, id="quotes alone"),
        pytest.param(lambda reply: reply | {"dataAvg": None}, id="null"),
        pytest.param(rename("INFO", "info"), id="renamed"),
        pytest.param(lambda reply: reply | {"dataAvg": {"INFO": {}}}, id="empty"),
    ],
)
def test_quotes_without_a_word_on_their_basis_are_of_low_confidence_and_say_so(
    alter: Callable[[Any], Any],
) -> None:
    found = fetch(komis(only("prices_nd", alter)))
    assert found.problems == ()
    assert prices(found) == prices(fetch(komis()))
    assert {(it.series, it.confidence, it.note) for it in found.rows} == {
        ("nd_oxide_daily", "low", UNSTATED),
        *((series, "medium", "") for series in EVERY - {"nd_oxide_daily"}),
    }


def test_a_basis_of_which_a_part_is_left_open_is_of_low_confidence_and_names_the_part() -> None:
    found = fetch(komis(only("prices_nd", set_info("prcCrtr", ""))))
    assert {it.note for it in found.rows if it.series == "nd_oxide_daily"} == {
        "INFO.prcCrtr not stated by this reply"
    }
    assert {it.confidence for it in found.rows if it.series == "nd_oxide_daily"} == {"low"}


def test_what_is_stated_must_be_right_though_the_rest_is_left_open() -> None:
    def change(what: str, reply: Any) -> Any:
        is_wrong = what == "prices_nd"
        return reply | {"dataAvg": {"INFO": {"weigUnitCd": "t"}}} if is_wrong else reply

    (problem,) = fetch(komis(change)).problems
    assert "unit or basis changed: INFO.weigUnitCd is 't', not 'kg'; nothing" in problem.text


def test_quotes_of_an_unstated_basis_are_refused_where_two_options_fit() -> None:
    def change(what: str, reply: Any) -> Any:
        if what == "bases_nd":
            reply["data"].insert(0, {"cdKey": 999, "cdVal": "Neodymium Oxide", "spcfct": "99.5"})
        return bare(json.loads(payload("komis_prices_nd.json"))) if what == "prices_nd" else reply

    (problem,) = fetch(komis(change)).problems
    assert f"{UNSTATED}, where 2 options fit; nothing of it was taken" in problem.text


def test_a_page_that_fails_is_no_failure() -> None:
    site = komis()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(404)
        request.headers["Cookie"] = "JSESSIONID=A"  # a site that asks for no session
        return site.answer(request)

    found = fetch(Publisher(answer))
    assert found.problems == ()
    assert {it.confidence for it in found.rows} == {"medium"}


GONE = "getMnrlKndInfoCodeList is gone (HTTP 404); the publisher has moved it"


@pytest.mark.parametrize(
    ("what", "alter", "said"),
    [
        pytest.param("minerals", lambda _: httpx.Response(404), GONE, id="list gone"),
        pytest.param(
            "minerals",
            lambda _: {"result": []},
            "getMnrlKndInfoCodeList: field data is missing (there: result)",
            id="list of another shape",
        ),
        pytest.param(
            "minerals",
            lambda _: {"re\nsu\x00lt": []},
            "field data is missing (there: re·su·lt)",
            id="list with a field that can't be printed",
        ),
        pytest.param("minerals", lambda _: httpx.Response(200, text=""), "empty", id="list empty"),
        pytest.param(
            "bases_nd", lambda _: httpx.Response(500), "getMnrlPriceCrtr answers", id="options"
        ),
        pytest.param(
            "bases_nd",
            rename("spcfct", "spec"),
            "getMnrlPriceCrtr: data record 1 has no field spcfct",
            id="options of another shape",
        ),
    ],
)
def test_what_can_not_be_looked_up_is_asked_with_the_numbers_last_seen_and_says_so(
    what: str, alter: Callable[[Any], Any], said: str
) -> None:
    publisher = komis(only(what, alter))
    found = fetch(publisher)
    assert found.problems == ()
    assert prices(found) == prices(fetch(komis()))
    doubted = EVERY if what == "minerals" else {"nd_oxide_daily"}
    for row in found.rows:
        assert row.confidence == ("low" if row.series in doubted else "medium")
        assert row.note.startswith("asked with the numbers seen on 2026-10-04: https://") == (
            row.series in doubted
        )
        assert (said in row.note) == (row.series in doubted)
    if what == "minerals":
        calls = [it.url.path.rsplit("/", 1)[-1] for it in publisher.requests]
        assert "getMnrlPriceCrtr" not in calls


def test_the_numbers_last_seen_bring_nothing_of_another_basis() -> None:
    def change(what: str, reply: Any) -> Any:
        if what == "minerals":
            return httpx.Response(404)
        return set_info("prcCrtr", "99%min EXW")(reply) if what == "prices_nd" else reply

    (problem,) = fetch(komis(change)).problems
    assert "INFO.prcCrtr is '99%min EXW'" in problem.text
    assert GONE in problem.text


def test_a_mineral_with_a_new_number_is_not_asked_with_its_old_option() -> None:
    def change(what: str, reply: Any) -> Any:
        if what == "minerals":
            reply["data"][0]["cdKey"] = "MNRL1005"
        return httpx.Response(404) if what == "bases_tb" else reply

    found = fetch(komis(change))
    told = {it.subject: it.text for it in found.problems}
    assert "getMnrlPriceCrtr is gone" in told["nd_oxide_daily"]
    assert set(told) == {"nd_oxide_daily"}


def test_a_site_that_answers_with_quotes_alone_whatever_it_is_asked_is_read() -> None:
    reply = {"data": {"defaultMnrl": [{"crtrYmd": "20250620", "cmercPrc": "1,234.5"}]}}
    found = fetch(Publisher(in_turn(httpx.Response(200, json=reply))))
    assert found.problems == ()
    assert prices(found) == {(series, date(2025, 6, 20)): 1234.5 for series in EVERY}
    assert {it.confidence for it in found.rows} == {"low"}
    assert all(it.note.startswith(f"{UNSTATED}; asked with the numbers seen") for it in found.rows)


def test_a_site_that_turns_this_network_away_is_left_after_three_calls() -> None:
    publisher = Publisher(in_turn(httpx.Response(200, text="")))
    publisher.answer = lambda request: httpx.Response(
        403 if request.method == "GET" else 200, text=""
    )
    with pytest.raises(SourceError, match="no more was asked: 3 calls in a row failed") as caught:
        fetch(publisher)
    assert len(publisher.requests) == 3
    assert str(caught.value).count("no more was asked") == 1
    assert "MinorMetals refuses (HTTP 403)" in str(caught.value)
    assert "getMnrlKndInfoCodeList sent an empty answer" in str(caught.value)
    assert "getMnrlPrcByMnrkndUnqCd sent an empty answer" in str(caught.value)


def test_each_row_names_the_field_of_its_price() -> None:
    assert {it.field for it in fetch(komis()).rows} == {"cmercPrc"}
    assert {it.field for it in read_mirror(mirror()).rows} == {"value"}


def test_the_minerals_are_those_of_the_catalogue() -> None:
    for mineral in MINERALS:
        entry = CATALOG[mineral.series]
        assert f"oxide {mineral.purity} %, FOB China" in entry.title
        assert (entry.unit, entry.frequency, entry.lag_days) == ("USD/kg", "day", 0)


# --- a copy in place of the site

MIRROR = "https://copy.example/prices.json?token=PLANTED"


def mirror(**changes: Any) -> httpx.Response:
    reply = json.loads(payload("komis_mirror.json"))
    reply["metals"][0] |= changes
    return httpx.Response(200, json=reply)


def read_mirror(answer: httpx.Response) -> FetchResult:
    publisher = Publisher(in_turn(answer))
    found = KomisSource(publisher.open_client, mirror_url=MIRROR).fetch(now=NOW)
    assert len(publisher.requests) == 1
    return found


def test_a_copy_brings_what_it_has_with_low_confidence_and_names_what_it_lacks() -> None:
    found = read_mirror(mirror())
    assert prices(found) == {
        ("nd_oxide_daily", date(2024, 1, 2)): 63.51,
        ("nd_oxide_daily", date(2024, 1, 3)): 61.34,
        ("ce_oxide_daily", date(2024, 1, 2)): 0.97,
        ("ce_oxide_daily", date(2024, 1, 3)): 0.97,
    }
    assert {it.confidence for it in found.rows} == {"low"}
    assert {it.subject for it in found.problems} == EVERY - {"nd_oxide_daily", "ce_oxide_daily"}
    (citation,) = found.citations.values()
    assert citation.url == "https://copy.example/prices.json"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"grade": "99.5%min EXW China"},
            "네오디뮴 99.5% FOB China is not there (there: 99.5%min EXW",
        ),
        ({"today": {"unit": "CNY/t"}}, "today.unit is 'CNY/t', not 'USD/kg'"),
        ({"today": {}}, "today.unit is missing"),
        ({"history": [{"day": "2024.01.02", "value": 1}]}, "history record 1 has no field date"),
    ],
)
def test_a_copy_on_another_basis_is_refused_for_that_mineral(
    changes: dict[str, Any], said: str
) -> None:
    found = read_mirror(mirror(**changes))
    assert said in next(it.text for it in found.problems if it.subject == "nd_oxide_daily")
    assert "PLANTED" not in str(found.problems)
    assert {series for series, _ in prices(found)} == {"ce_oxide_daily"}


def test_a_copy_of_another_shape_is_refused_whole() -> None:
    with pytest.raises(SourceError, match=r"copy\.example/prices\.json: field metals is missing"):
        read_mirror(httpx.Response(200, json={"minerals": []}))


def test_what_is_quoted_of_a_copy_is_written_as_the_copy_writes_it() -> None:
    rows = [it for it in read_mirror(mirror()).rows if it.series == "nd_oxide_daily"]
    assert [json.loads(it.raw) for it in rows] == [
        {"date": "2024.01.02", "value": 63.51},
        {"date": "2024.01.03", "value": 61.34},
    ]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("foo", "is no address that begins with https://"),
        ("file:///etc/prices.json", "is no address that begins with https://"),
        ("ftp://copy.example/PLANTED", "is no address that begins with https://"),
        (
            "http://copy.example/prices.json?token=PLANTED",
            "is no address that begins with https://",
        ),
        ("https://[PLANTED", "is no address that begins with https://"),
        ("https:///PLANTED", "names no host"),
    ],
)
def test_a_copy_at_no_address_is_refused_by_its_setting_and_not_asked(url: str, said: str) -> None:
    publisher = Publisher(in_turn(mirror()))
    with pytest.raises(SourceError) as caught:
        KomisSource(publisher.open_client, mirror_url=url).fetch(now=NOW)
    assert str(caught.value).startswith(f"komis: LODESTONE_KOMIS_MIRROR_URL {said}")
    assert "PLANTED" not in str(caught.value)
    assert (publisher.requests, publisher.waits) == ([], [])


def test_a_copy_on_this_machine_may_be_asked_in_the_clear() -> None:
    publisher = Publisher(in_turn(mirror()))
    url = "http://127.0.0.1:8000/prices.json"
    assert KomisSource(publisher.open_client, mirror_url=url).fetch(now=NOW).rows
