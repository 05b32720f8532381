import json
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest

from flows.catalog import load_catalog
from flows.errors import SourceError
from flows.sources.comtrade import (
    KEYED,
    POLICY,
    ComtradeSource,
    declared_series,
    figures,
    questions,
)
from flows.sources.http import HttpPolicy
from flows.sources.source import FetchResult
from flows.units import hs_codes
from flows.validation import Batch, validate
from tests.sources.publisher import Answer, Publisher, in_turn, payload, wire

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
CATALOG = load_catalog().stored_series
EMPTY = json.loads(payload("comtrade_empty.json"))
EXPORTS = json.loads(payload("comtrade_exports_202609.json"))
IMPORTS = json.loads(payload("comtrade_imports_2024.json"))
FEW = ("china_exports_hs850511_world_t", "china_exports_hs850511_india_usd")
KEY = "0123456789abcdef0123456789abcdef"

Reply = dict[str, Any]
Change = Callable[[Reply], Any]


def asked(request: httpx.Request) -> dict[str, str]:
    return {"path": request.url.path, **dict(request.url.params)}


def comtrade(*envelopes: Reply, most_rows: int = 500) -> Answer:
    """A service that has these rows, sends those that fit the question, and cuts off what is too many."""

    def answer(request: httpx.Request) -> httpx.Response:
        it = asked(request)
        wanted = {
            name: it[name].split(",")
            for name in ("reporterCode", "flowCode", "partnerCode", "cmdCode", "period")
        }
        rows = [
            row
            for envelope in envelopes
            for row in envelope["data"]
            if all(str(row[name]) in values for name, values in wanted.items())
            and f"/{row['freqCode']}/HS" in it["path"]
        ][:most_rows]
        return httpx.Response(200, json=EMPTY | {"count": len(rows), "data": rows})

    return answer


def changed(envelope: Reply, number: int = 1, **changes: Any) -> Reply:
    """An envelope with fields of one row changed; `...` removes a field."""
    rows = [dict(row) for row in envelope["data"]]
    row = rows[number - 1] | changes
    rows[number - 1] = {name: value for name, value in row.items() if value is not ...}
    return envelope | {"data": rows}


def fetch(
    answer: Answer, series: tuple[str, ...] | None = None, key: str = "", now: datetime = NOW
) -> FetchResult:
    publisher = Publisher(answer)
    source = ComtradeSource(publisher.open_client, key=key)
    return (source if series is None else replace(source, series=series)).fetch(now=now)


def batch(found: FetchResult, now: datetime = NOW) -> Batch:
    return validate("comtrade", found.rows, series=CATALOG, source_ids=found.citations, now=now)


def values(found: FetchResult) -> dict[tuple[str, date], float]:
    judged = batch(found)
    assert judged.rejected == ()
    return {(it.series, it.period): it.value for it in judged.observations}


def only(period: str, reply: Reply | httpx.Response) -> Answer:
    """This reply for the exports of one period, nothing for every other call."""

    def answer(request: httpx.Request) -> httpx.Response:
        it = asked(request)
        if period not in it["period"].split(",") or it["flowCode"] != "X":
            return httpx.Response(200, json=EMPTY)
        return reply if isinstance(reply, httpx.Response) else httpx.Response(200, json=reply)

    return answer


def september(reply: Reply) -> FetchResult:
    return fetch(only("202609", reply))


# --- what is asked


def test_what_is_asked_is_what_the_catalogue_declares() -> None:
    publisher = Publisher(in_turn(httpx.Response(200, json=EMPTY)))
    ComtradeSource(publisher.open_client).fetch(now=NOW)
    calls = [asked(request) for request in publisher.requests]
    assert len(calls) == 2 * 24 + 2 * 6
    for it in calls:
        assert (it["motCode"], it["partner2Code"], it["customsCode"]) == ("0", "0", "C00")
        assert it["cmdCode"] == "280530,284610,284690,720299,850511,850519"
        assert it["maxRecords"] == "500"
    # India is 699 and the United States 842 there, not M49's 356 and 840.
    assert {(it["flowCode"], it["reporterCode"], it["partnerCode"]) for it in calls} == {
        ("X", "156", "0,699,842,392,276,410,704"),
        ("M", "699,842,392,276,97", "0,156"),
    }


def test_without_a_key_the_preview_is_asked_for_one_period_at_a_time_the_newest_first() -> None:
    publisher = Publisher(in_turn(httpx.Response(200, json=EMPTY)))
    ComtradeSource(publisher.open_client).fetch(now=NOW)
    exports = [it for it in map(asked, publisher.requests) if it["flowCode"] == "X"]
    assert [it["period"] for it in exports][:3] == ["202610", "202609", "202608"]
    assert [it["period"] for it in exports][22:] == [
        *("202412", "202411"),
        *("2025", "2024", "2023", "2022", "2021", "2020"),
    ]
    assert {it["path"] for it in exports} == {
        "/public/v1/preview/C/M/HS",
        "/public/v1/preview/C/A/HS",
    }


def test_with_a_key_the_data_service_is_asked_for_a_year_at_a_time() -> None:
    publisher = Publisher(in_turn(httpx.Response(200, json=EMPTY)))
    ComtradeSource(publisher.open_client, key=KEY).fetch(now=NOW)
    exports = [it for it in map(asked, publisher.requests) if it["flowCode"] == "X"]
    assert [it["path"] for it in exports] == [
        *["/data/v1/get/C/M/HS"] * 2,
        "/data/v1/get/C/A/HS",
    ]
    assert [it["period"].count(",") for it in exports] == [11, 11, 5]
    assert exports[0]["maxRecords"] == "100000"


def test_the_key_goes_into_a_header_and_nowhere_else() -> None:
    publisher = Publisher(in_turn(httpx.Response(200, json=EMPTY)))
    source = ComtradeSource(publisher.open_client, key=f"{KEY}\n")
    source.fetch(now=NOW)
    for request in publisher.requests:
        assert request.headers["Ocp-Apim-Subscription-Key"] == KEY
        assert KEY not in str(request.url)
    assert KEY not in repr(source)


PLANTED = "PLANTEDKEY0123456789"


def test_a_key_that_the_service_says_back_stands_in_no_text_of_a_failed_source() -> None:
    said = httpx.Response(200, json={"error": f"bad key {PLANTED} given"})
    with pytest.raises(SourceError, match="bad key … given") as caught:
        fetch(in_turn(said), key=PLANTED)
    told = "".join(traceback.format_exception(caught.value))
    assert PLANTED not in f"{caught.value} {caught.value!r} {told}"


@pytest.mark.parametrize(
    "changes",
    [
        {"period": PLANTED},
        {"cmdCode": PLANTED},
        {"netWgt": PLANTED},
        {"primaryValue": f"see {PLANTED}"},
        {"classificationCode": PLANTED},
    ],
)
def test_a_key_that_the_service_says_back_stands_in_no_row_and_no_reason(
    changes: dict[str, Any],
) -> None:
    record = EXPORTS["data"][0]
    twins = EXPORTS | {"count": 2, "data": [record | changes, record]}
    found = fetch(only("202609", twins), key=PLANTED)
    judged = batch(found)
    assert judged.rejected
    assert PLANTED not in f"{found!r} {judged!r}"


def test_a_key_that_the_service_says_back_stands_in_no_problem() -> None:
    named = {"data": [{PLANTED: 1}], "count": 1}
    healthy, broken = comtrade(EXPORTS), httpx.Response(200, json=named)
    found = fetch(lambda it: broken if asked(it)["flowCode"] == "M" else healthy(it), key=PLANTED)
    assert len(found.problems) == 3
    assert "(new: …)" in found.problems[0].text
    assert PLANTED not in repr(found)


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key_is_named_by_its_setting_and_not_told(code: int) -> None:
    refused = httpx.Response(code, json={"statusCode": code, "message": f"{KEY} is invalid"})
    with pytest.raises(SourceError, match="the key is LODESTONE_COMTRADE_KEY") as caught:
        fetch(in_turn(refused), key=KEY)
    assert KEY not in str(caught.value)
    with pytest.raises(SourceError) as caught:
        fetch(in_turn(refused))
    assert "LODESTONE_COMTRADE_KEY" not in str(caught.value)


def test_the_preview_is_asked_slower_than_once_a_second() -> None:
    publisher = Publisher(in_turn(httpx.Response(200, json=EMPTY)), policy=POLICY)
    ComtradeSource(publisher.open_client).fetch(now=NOW)
    assert len(publisher.waits) == 59
    assert min(publisher.waits) > 1.0


@pytest.mark.parametrize(
    ("series", "said"),
    [
        pytest.param("cn_magnets", "is not REPORTER_exports_hsCODE_PARTNER_t", id="no name"),
        pytest.param("china_exports_hs8505_world_t", "is not REPORTER", id="four digits"),
        pytest.param("chnia_exports_hs850511_world_t", "did you mean 'China'", id="misspelt"),
        pytest.param("prc_exports_hs850511_world_t", "holds the same as china_", id="twice"),
        pytest.param(
            "china_exports_hs850512_world_t",
            "'850512' is not among the codes of HS6; did you mean '8505",
            id="no customs code",
        ),
    ],
)
def test_a_series_that_does_not_say_what_it_is_is_named(series: str, said: str) -> None:
    with pytest.raises(SourceError, match=r"catalog\.toml: series") as caught:
        fetch(in_turn(httpx.Response(200, json=EMPTY)), series=(*FEW, series))
    assert said in str(caught.value)


def test_questions_hold_every_declared_figure_and_no_other() -> None:
    series = (
        *("china_exports_hs850511_world_t", "china_exports_hs850511_world_usd"),
        *("china_exports_hs280530_world_t", "china_exports_hs850511_india_t"),
        *("japan_exports_hs850511_india_t", "japan_imports_hs850511_china_t_year"),
    )
    declared = figures(series)
    held = [
        (it.frequency, it.flow, who, whom, code)
        for it in questions(declared)
        for who in it.reporters
        for whom in it.partners
        for code in it.codes
    ]
    assert len(held) == len(set(held))
    assert set(held) == {(it[0], it[1], it[2], it[3], it[4]) for it in declared}


# --- what comes of a reply


def test_weights_come_in_kilograms_and_are_stored_in_tonnes_beside_their_value() -> None:
    found = fetch(comtrade(EXPORTS, IMPORTS))
    assert found.problems == ()
    month, year = date(2026, 9, 1), date(2024, 1, 1)
    assert values(found) == {
        ("china_exports_hs850511_world_t", month): pytest.approx(6012.3456),
        ("china_exports_hs850511_world_usd", month): 301_234_567.0,
        ("china_exports_hs850511_india_t", month): pytest.approx(401.2),
        ("china_exports_hs850511_india_usd", month): 20_123_456.0,
        ("china_exports_hs280530_japan_t", month): pytest.approx(61.25),  # from qty
        ("china_exports_hs280530_japan_usd", month): 1_234_567.0,
        ("china_exports_hs284690_world_usd", month): 98_765_432.0,
        ("india_imports_hs850511_world_t_year", year): pytest.approx(14_201.0),
        ("india_imports_hs850511_world_usd_year", year): 98_000_000.5,
        ("india_imports_hs850511_china_t_year", year): pytest.approx(13_002.0),
        ("india_imports_hs850511_china_usd_year", year): 81_000_000.0,
        ("germany_imports_hs850511_china_t_year", year): pytest.approx(9001.0),
        ("germany_imports_hs850511_china_usd_year", year): 455_000_000.0,
    }
    assert found.not_published == 1  # HS 284690 to the world has a value and no weight


def test_what_was_written_stays_with_the_row() -> None:
    row = next(it for it in september(EXPORTS).rows if it.series.endswith("hs850511_world_t"))
    assert (row.value, row.unit, row.statistic) == ("6012345.6", "kg", "month_total")
    assert (row.row, row.published_on, row.known_at) == (1, "", None)
    assert row.file.startswith("exports of China to World, India,")
    assert row.file.endswith(", 2026-09")
    assert json.loads(row.raw)["netWgt"] == 6012345.6


def test_a_figure_is_known_when_it_usually_comes_out_but_not_after_it_was_read() -> None:
    found = fetch(comtrade(EXPORTS, IMPORTS))
    known = {it.series: it.known_at for it in batch(found).observations}
    assert known["india_imports_hs850511_china_t_year"] == datetime(2025, 9, 27, 12, tzinfo=UTC)
    # 75 days after the end of September would be 14 December.
    assert known["china_exports_hs850511_world_t"] == NOW


@pytest.mark.parametrize("hours", [-14, 14])
def test_a_clock_that_is_hours_off_brings_the_same_figures(hours: int) -> None:
    skewed = datetime(2026, 11, 23 + (hours > 0), (8 + hours) % 24, tzinfo=UTC)
    told = httpx.Response(200, json=EXPORTS, headers={"Date": "Mon, 01 Jan 2001 00:00:00 GMT"})
    usual = {it.series: it.value for it in september(EXPORTS).rows}
    assert {it.series: it.value for it in fetch(only("202609", told), now=skewed).rows} == usual


@pytest.mark.parametrize("weight", [None, 0, 0.0, "0.00", ""])
def test_a_missing_weight_is_read_from_a_quantity_in_kilograms(weight: object) -> None:
    found = september(changed(EXPORTS, netWgt=weight, qty=5_000_000.0))
    assert values(found)["china_exports_hs850511_world_t", date(2026, 9, 1)] == 5000.0


@pytest.mark.parametrize(
    "changes",
    [
        {"netWgt": None, "qty": None},
        {"netWgt": 0, "qty": 0},
        {"netWgt": None, "qtyUnitCode": -1, "qty": 12.0},
        {"netWgt": None, "qtyUnitCode": 5, "qty": 12.0},
    ],
)
def test_a_weight_that_is_not_reported_is_counted_and_loses_no_value(
    changes: dict[str, Any],
) -> None:
    found = september(changed(EXPORTS, **changes))
    assert found.not_published == 2
    told = values(found)
    assert ("china_exports_hs850511_world_t", date(2026, 9, 1)) not in told
    assert told["china_exports_hs850511_world_usd", date(2026, 9, 1)] == 301_234_567.0


def test_a_trade_of_no_value_is_a_figure_and_a_missing_value_is_none() -> None:
    found = september(changed(EXPORTS, primaryValue=0))
    assert values(found)["china_exports_hs850511_world_usd", date(2026, 9, 1)] == 0.0
    assert september(changed(EXPORTS, primaryValue=None)).not_published == 2


@pytest.mark.parametrize(
    ("changes", "weight_trust", "value_trust"),
    [
        pytest.param({"isReported": True}, "high", "high", id="as reported"),
        pytest.param({"isReported": False}, "medium", "medium", id="summed up"),
        pytest.param(
            {"isNetWgtEstimated": True, "isReported": True}, "low", "high", id="estimated"
        ),
        pytest.param({"legacyEstimationFlag": 6, "isReported": True}, "low", "high", id="flag"),
        pytest.param(
            {"isNetWgtEstimated": ..., "legacyEstimationFlag": "4"}, "low", "medium", id="old reply"
        ),
        pytest.param({"netWgt": 0, "isQtyEstimated": True}, "low", "medium", id="quantity"),
        pytest.param(
            {"netWgt": None, "legacyEstimationFlag": 2}, "low", "medium", id="quantity by flag"
        ),
        pytest.param(
            {"netWgt": None, "legacyEstimationFlag": "6"}, "low", "medium", id="both by flag"
        ),
        pytest.param(
            {"netWgt": None, "legacyEstimationFlag": 4}, "medium", "medium", id="weight by flag"
        ),
        pytest.param({"legacyEstimationFlag": 2}, "medium", "medium", id="quantity not used"),
    ],
)
def test_an_estimate_is_of_low_confidence_and_says_so(
    changes: dict[str, Any], weight_trust: str, value_trust: str
) -> None:
    found = september(changed(EXPORTS, **changes))
    first = {it.series.rsplit("_", 1)[1]: it for it in found.rows[:2]}
    assert first["t"].confidence == weight_trust
    assert first["usd"].confidence == value_trust
    assert ("estimated" in first["t"].note) == (weight_trust == "low")


def test_numbers_for_texts_and_texts_for_numbers_are_the_same_reply() -> None:
    as_numbers = changed(EXPORTS, period=202609, cmdCode=850511, count="4")
    as_texts = changed(EXPORTS, reporterCode="156", partnerCode="0", netWgt="6012345.6")
    bare = {"data": EXPORTS["data"]}
    for reply in (as_numbers, as_texts | {"count": "4"}, as_texts | {"count": 4.0}, bare):
        assert values(september(reply)) == values(september(EXPORTS))


def test_no_data_yet_is_an_answer() -> None:
    for empty in (
        EMPTY,
        EMPTY | {"data": None},
        EMPTY | {"count": None, "error": None},
        {"data": [], "error": ""},
    ):
        found = fetch(in_turn(httpx.Response(200, json=empty)))
        assert (found.rows, found.problems, found.not_published) == ((), (), 0)


@pytest.mark.parametrize("missing", [..., None])
def test_totals_that_a_record_does_not_state_are_as_they_were_asked(missing: object) -> None:
    unstated = {"motCode": missing, "partner2Code": missing, "customsCode": missing}
    assert values(september(changed(EXPORTS, **unstated))) == values(september(EXPORTS))


def test_a_quantity_and_its_unit_are_needed_only_where_they_stand_in_for_a_weight() -> None:
    unstated = changed(EXPORTS, qty=..., qtyUnitCode=...)
    assert values(september(unstated)) == values(september(EXPORTS))
    no_weight = september(changed(EXPORTS, netWgt=None, qty=None, qtyUnitCode=...))
    assert (no_weight.problems, no_weight.not_published) == ((), 2)
    (problem,) = september(changed(EXPORTS, netWgt=None, qtyUnitCode=...)).problems
    assert "data record 1 has no weight and no field qtyUnitCode" in problem.text
    (problem,) = september(changed(EXPORTS, netWgt=0, qty=..., qtyUnitCode=...)).problems
    assert "data record 1 has no weight and no field qty;" in problem.text


def test_each_row_names_the_field_that_its_figure_stood_in() -> None:
    fields = {(it.series.rsplit("_", 1)[1], it.field) for it in september(EXPORTS).rows}
    assert fields == {("t", "netWgt"), ("t", "qty"), ("usd", "primaryValue")}


# The fields of https://comtradeapi.un.org/public/v1/preview/C/M/HS?cmdCode=090111&flowCode=X&
# reporterCode=704&period=202301&partnerCode=392 (with the totals) as somebody kept them; countries, code
# and month are ours.
KEPT = {
    "period": "202609",
    "freqCode": "M",
    "refYear": 2026,
    "refMonth": 9,
    "reporterCode": 156,
    "reporterDesc": "China",
    "flowCode": "X",
    "flowDesc": "Export",
    "partnerCode": 392,
    "partnerDesc": "Japan",
    "cmdCode": "280530",
    "motCode": 0,
    "customsCode": "C00",
    "primaryValue": 10127757.599,
    "fobvalue": 10127757.599,
    "cifvalue": None,
    "qty": 5024600.0,
    "netWgt": 5024600.0,
    "isReported": False,
    "isAggregate": True,
}


def test_a_reply_of_the_preview_without_second_partner_and_unit_of_quantity_is_read() -> None:
    found = september({"count": 1, "data": [KEPT]})
    assert found.problems == ()
    assert values(found) == {
        ("china_exports_hs280530_japan_t", date(2026, 9, 1)): 5024.6,
        ("china_exports_hs280530_japan_usd", date(2026, 9, 1)): 10127757.599,
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param(
            {"partnerCode": 356},
            "partnerCode: '356' was not asked (asked: '0' (World), '699' (India), '842'",
            id="another code for India",
        ),
        pytest.param({"partnerCode": 643}, "'643' (Russia) was not asked", id="other partner"),
        pytest.param({"partnerCode": 99999}, "partnerCode: '99999' was", id="unknown partner"),
        pytest.param({"reporterCode": 392}, "reporterCode: '392' (Japan) was", id="reporter"),
        pytest.param({"flowCode": "RX"}, "flowCode: 'RX' was not asked (asked: 'X')", id="flow"),
        pytest.param({"cmdCode": "8505"}, "cmdCode: '8505' was not asked", id="heading"),
        pytest.param(
            {"cmdCode": "850520"},
            "cmdCode: '850520' (electromagnetic couplings, clutches, brakes) was not asked "
            "(asked: '280530', '284610',",
            id="other line",
        ),
        pytest.param({"motCode": 2100}, "motCode: '2100' was not asked", id="way of transport"),
        pytest.param({"partner2Code": 156}, "partner2Code: '156' was", id="second partner"),
        pytest.param({"customsCode": "C01"}, "customsCode: 'C01' was", id="customs procedure"),
        pytest.param({"period": "202301"}, "period: '202301' was not asked", id="other month"),
        pytest.param({"freqCode": "A"}, "freqCode: 'A' was not asked", id="other frequency"),
    ],
)
def test_a_row_that_is_not_what_was_asked_goes_to_quarantine_alone(
    changes: dict[str, Any], reason: str
) -> None:
    judged = batch(september(changed(EXPORTS, **changes)))
    (rejected,) = judged.rejected
    assert reason in rejected.reason
    assert rejected.row == 1
    assert rejected.file.endswith("2026-09")
    assert len(judged.observations) == 5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"netWgt": True}, "netWgt: 'True' is not a number"),
        ({"netWgt": "many"}, "netWgt: 'many' is not a number"),
        ({"netWgt": -5.0}, "netWgt: '-5.0'"),
        ({"netWgt": None, "qty": "many"}, "qty: 'many' is not a number"),
        ({"primaryValue": "n/a"}, "primaryValue: 'n/a' is not a number"),
    ],
)
def test_a_figure_that_is_none_goes_to_quarantine_with_its_text(
    changes: dict[str, Any], reason: str
) -> None:
    judged = batch(september(changed(EXPORTS, **changes)))
    (rejected,) = judged.rejected
    assert reason in rejected.reason
    assert json.dumps(list(changes.values())[-1]) in rejected.raw


def twice(**changes: Any) -> Reply:
    rows = [*EXPORTS["data"], EXPORTS["data"][0] | changes]
    return EXPORTS | {"count": len(rows), "data": rows}


def test_two_rows_for_one_figure_are_both_refused_with_what_tells_them_apart() -> None:
    judged = batch(september(twice(classificationCode="H5", netWgt=17.0, qty=17.0)))
    assert [it.row for it in judged.rejected] == [1, 5]
    for it in judged.rejected:
        assert "one figure has 2 rows" in it.reason
        assert "classificationCode H6 and H5" in it.reason
        assert "netWgt 6012345.6 and 17.0" in it.reason
    assert len(judged.observations) == 5


def test_a_part_beside_its_total_takes_nothing_from_the_total() -> None:
    found = september(twice(customsCode="C04", netWgt=17.0))
    (rejected,) = batch(found).rejected
    assert "customsCode: 'C04' was not asked (asked: 'C00')" in rejected.reason
    assert len(batch(found).observations) == 7


def test_the_same_row_twice_is_kept_once() -> None:
    judged = batch(september(twice()))
    assert len(judged.observations) == 7
    assert [it.row for it in judged.rejected] == [5, 5]
    assert "repeats row 1" in judged.rejected[0].reason


# --- replies that are too long


MANY = tuple(
    f"{reporter}_exports_hs{code}_{partner}_usd_year"
    for reporter in ("china", "japan")
    for code in (line.code for line in hs_codes() if line.system == "HS6")
    for partner in (
        *("world", "india", "germany", "italy", "france", "spain", "poland", "austria"),
        *("brazil", "mexico", "canada", "chile", "peru", "egypt", "kenya", "norway", "sweden"),
    )
)


def all_of(series: tuple[str, ...]) -> Reply:
    template = IMPORTS["data"][0]
    rows = [
        template
        | {
            "period": "2025",
            "reporterCode": int(it.reporter),
            "flowCode": it.flow,
            "partnerCode": int(it.partner),
            "cmdCode": it.code,
            "primaryValue": float(number + 1),
        }
        for number, it in enumerate(figures(series))
    ]
    return EMPTY | {"count": len(rows), "data": rows}


def test_a_reply_that_may_be_cut_off_is_asked_again_in_halves_until_all_is_there() -> None:
    assert len(MANY) == 510
    publisher = Publisher(comtrade(all_of(MANY)))
    found = ComtradeSource(publisher.open_client, series=MANY).fetch(now=NOW)
    assert found.problems == ()
    assert {it.series: it.value for it in found.rows} == {
        name: f"{number}.0" for number, name in enumerate(MANY, start=1)
    }
    assert len(found.rows) == len(MANY)
    assert len({it.file for it in found.rows}) == 2
    of_2025 = [it for it in map(asked, publisher.requests) if it["period"] == "2025"]
    assert [it["partnerCode"].count(",") + 1 for it in of_2025] == [17, 8, 9]


def test_a_reply_that_announces_more_than_it_sends_is_asked_again_in_halves() -> None:
    every = all_of(MANY)

    def answer(request: httpx.Request) -> httpx.Response:
        found = json.loads(comtrade(every)(request).content)
        is_cut_off = len(found["data"]) == 500
        return httpx.Response(200, json=found | ({"count": 1200} if is_cut_off else {}))

    found = fetch(answer, series=MANY)
    assert found.problems == ()
    assert len(found.rows) == len(MANY)


@pytest.mark.parametrize(("sent", "announced"), [(499, 1200), (499, "500"), (500, None), (501, 7)])
def test_as_many_rows_as_fit_are_too_many_whichever_way_they_are_counted(
    sent: int, announced: object
) -> None:
    publisher = Publisher(
        lambda _: httpx.Response(
            200, json={"count": announced, "data": EXPORTS["data"][:1] * sent, "error": ""}
        )
    )
    source = ComtradeSource(publisher.open_client, series=FEW)
    with pytest.raises(SourceError, match="rows for what is one figure"):
        source.fetch(now=NOW)
    assert {asked(it)["partnerCode"] for it in publisher.requests} == {"0,699", "0", "699"}


def test_periods_are_halved_before_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.sources.comtrade.KEYED", replace(KEYED, most_rows=4))

    def answer(request: httpx.Request) -> httpx.Response:
        it = asked(request)
        is_too_long = it["period"].count(",") == 11 and it["flowCode"] == "X"
        return httpx.Response(200, json=EXPORTS if is_too_long else EMPTY)

    publisher = Publisher(answer)
    ComtradeSource(publisher.open_client, series=FEW, key=KEY).fetch(now=NOW)
    periods = [asked(it)["period"].split(",") for it in publisher.requests]
    assert [len(it) for it in periods] == [12, 6, 6, 12, 6, 6]
    assert periods[1] + periods[2] == periods[0]
    assert {asked(it)["partnerCode"] for it in publisher.requests} == {"0,699"}


def test_one_figure_that_fills_a_reply_is_refused_and_the_calls_end() -> None:
    publisher = Publisher(
        lambda _: httpx.Response(
            200, json=EXPORTS | {"count": 500, "data": EXPORTS["data"][:1] * 500}
        )
    )
    source = ComtradeSource(publisher.open_client, series=FEW)
    with pytest.raises(SourceError, match="500 rows for what is one figure"):
        source.fetch(now=NOW)
    assert len(publisher.requests) <= 200


def test_a_service_that_always_has_more_is_left_after_a_bounded_number_of_calls() -> None:
    full = EXPORTS | {"count": 500, "data": EXPORTS["data"][:1] * 500}
    calls = iter(range(10_000))

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=EMPTY if next(calls) == 0 else full)

    publisher = Publisher(answer)
    found = ComtradeSource(publisher.open_client).fetch(now=NOW)
    assert len(publisher.requests) == 200
    assert found.rows == ()
    assert "more calls were not made: 200 are enough for one visit" in found.problems[-1].text


# --- calls that fail


def without(name: str, new: str = "") -> Reply:
    row = dict(EXPORTS["data"][0])
    value = row.pop(name)
    return EXPORTS | {"data": [*EXPORTS["data"][1:], row | ({new: value} if new else {})]}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        pytest.param(
            EMPTY | {"error": "Too many\nperiods"}, "'Too many periods'", id="error in an envelope"
        ),
        pytest.param(
            {"statusCode": 401, "message": "Access denied"}, "Access denied", id="gateway"
        ),
        pytest.param(EMPTY | {"count": "many"}, "announces many rows and sends 0", id="count"),
        pytest.param({"count": 0, "error": ""}, "field data is missing", id="no data"),
        pytest.param(EMPTY | {"count": 7}, "announces 7 rows and sends 0", id="rows missing"),
        pytest.param(
            without("netWgt", "netWeight"),
            "record 4 has no field netWgt (new: netWeight)",
            id="field renamed",
        ),
        pytest.param(without("period"), "no field period (new: none)", id="field gone"),
        pytest.param(EMPTY | {"data": "none"}, "data is no list", id="no list"),
        pytest.param(EMPTY | {"data": [None], "count": 1}, "record 1 has no field", id="no record"),
        pytest.param(httpx.Response(200, json=[1]), "field data is missing", id="no object"),
        pytest.param(httpx.Response(200, text='{"data": [{'), "breaks off", id="truncated"),
        pytest.param(httpx.Response(200, text=""), "empty answer", id="empty body"),
        pytest.param(
            httpx.Response(200, text="<html><title>Maintenance</title>"),
            "web page titled 'Maintenance' instead of JSON",
            id="HTML",
        ),
        pytest.param(
            wire(b"\x1f\x8b\x08\x00", content_encoding="gzip"), "breaks off", id="truncated gzip"
        ),
        pytest.param(
            wire(b'{"count": 4', httpx.ReadTimeout("slow")), "no answer within", id="time-out"
        ),
        pytest.param(httpx.Response(500), "HTTP 500 (3 tries)", id="500 thrice"),
        pytest.param(httpx.Response(429), "HTTP 429 (3 tries)", id="429 thrice"),
        pytest.param(httpx.Response(400), "HTTP 400", id="bad request"),
    ],
)
def test_a_call_that_fails_is_named_and_loses_no_other(
    reply: Reply | httpx.Response, said: str
) -> None:
    healthy, broken = comtrade(EXPORTS, IMPORTS), only("202605", reply)

    def answer(request: httpx.Request) -> httpx.Response:
        it = asked(request)
        is_broken = it["period"] == "202605" and it["flowCode"] == "X"
        return broken(request) if is_broken else healthy(request)

    found = fetch(answer)
    (problem,) = found.problems
    assert problem.subject.startswith("exports of China to World")
    assert problem.subject.endswith("2026-05")
    assert said in problem.text
    assert "https://comtradeapi.un.org/public/v1/preview/C/M/HS" in problem.text
    assert "?" not in problem.text
    assert values(found) == values(fetch(healthy))


@pytest.mark.parametrize("failure", [httpx.Response(500), httpx.ReadTimeout("slow")])
def test_a_call_that_fails_twice_and_then_succeeds_has_not_failed(
    failure: httpx.Response | Exception,
) -> None:
    healthy = comtrade(EXPORTS)
    tries = iter([failure, failure])

    def answer(request: httpx.Request) -> httpx.Response:
        trouble = next(tries, None) if asked(request)["period"] == "202609" else None
        if isinstance(trouble, Exception):
            raise trouble
        return trouble or healthy(request)

    found = fetch(answer)
    assert found.problems == ()
    assert values(found) == values(fetch(healthy))


def test_after_three_failures_in_a_row_no_more_is_asked_and_what_came_before_lands() -> None:
    healthy = comtrade(EXPORTS)
    publisher = Publisher(healthy, policy=HttpPolicy(gap_seconds=0.0, tries=1))

    def answer(request: httpx.Request) -> httpx.Response:
        is_early = asked(request)["period"] in ("202610", "202609")
        return healthy(request) if is_early else httpx.Response(503)

    publisher.answer = answer
    found = ComtradeSource(publisher.open_client).fetch(now=NOW)
    assert len(publisher.requests) == 7
    assert values(found) == values(fetch(healthy))
    assert [it.text for it in found.problems][:3] == [
        "https://comtradeapi.un.org/public/v1/preview"
        "/C/M/HS answers HTTP 503 (1 tries); try again later"
    ] * 3
    assert found.problems[3].subject.startswith("imports of India")
    assert found.problems[3].subject.endswith("2026-07")
    assert found.problems[3].text == (
        "53 more calls were not made: 3 in a row failed; the next visit asks again"
    )


def test_failures_between_answers_end_nothing() -> None:
    publisher = Publisher(
        lambda request: (
            httpx.Response(400)
            if asked(request)["flowCode"] == "X"
            else httpx.Response(200, json=EMPTY)
        )
    )
    found = ComtradeSource(publisher.open_client).fetch(now=NOW)
    assert len(publisher.requests) == 60
    assert len(found.problems) == 30


def test_a_service_that_wants_a_long_rest_gets_it() -> None:
    busy = httpx.Response(429, headers={"Retry-After": "86400"})
    publisher = Publisher(in_turn(busy))
    with pytest.raises(SourceError, match="asks to wait 86400 s"):
        ComtradeSource(publisher.open_client).fetch(now=NOW)
    assert len(publisher.requests) == 1


def test_when_no_call_succeeds_the_source_has_failed() -> None:
    with pytest.raises(SourceError, match="HTTP 503"):
        fetch(in_turn(httpx.Response(503)))


# --- the catalogue


def test_every_declared_series_is_a_figure_of_its_own_in_the_unit_it_says() -> None:
    declared = declared_series()
    assert len(figures(declared)) == len(declared) == 408
    for name in declared:
        entry = CATALOG[name]
        is_value = "_usd" in name
        assert entry.unit == ("USD" if is_value else "t")
        assert entry.frequency == ("year" if name.endswith("_year") else "month")
        assert ("FOB" in entry.title) == (is_value and "_exports_" in name)
        assert ("CIF" in entry.title) == (is_value and "_imports_" in name)
        assert entry.lag_days > 0
        assert entry.max_step_ratio is None  # a collapse is the very thing to be told
