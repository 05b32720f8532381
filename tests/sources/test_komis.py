import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest

from flows.errors import SourceError
from flows.sources.komis import KomisSource
from flows.sources.source import FetchResult
from flows.validation import validate
from tests.sources.publisher import Publisher, form_of, payload
from tests.sources.specs import Spec

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
SERIES = ("nd_oxide_daily", "dy_oxide_daily", "tb_oxide_daily")
SPECS = {name: Spec("USD/kg", "day", max_step_ratio=1.6) for name in SERIES}
MINERALS = {"MNRL1001": "nd", "MNRL1002": "dy", "MNRL1003": "tb"}
INDEX_WITHOUT_ROWS = "750"

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
            what = f"bases_{MINERALS[form['mnrkndUnqCd']]}"
        else:
            what = f"prices_{MINERALS[form['srchMnrkndUnqCd']]}"
        reply = json.loads(payload(f"komis_{what}.json"))
        if form.get("srchPrcCrtr") == INDEX_WITHOUT_ROWS:
            reply["data"]["defaultMnrl"] = None
        reply = change(what, reply)
        if isinstance(reply, httpx.Response):
            return reply
        return httpx.Response(200, json=reply)

    return Publisher(answer)


def fetch(publisher: Publisher, now: datetime = NOW) -> FetchResult:
    return KomisSource(publisher.open_client).fetch(now=now)


def only(wanted: str, alter: Callable[[Any], Any]) -> Change:
    return lambda what, reply: alter(reply) if what == wanted else reply


def prices(found: FetchResult, series: str) -> dict[date, float]:
    batch = validate("komis", found.rows, series=SPECS, source_ids=found.citations, now=NOW)
    assert batch.rejected == ()
    return {it.period: it.value for it in batch.observations if it.series == series}


def test_three_minerals_come_with_their_days_and_without_unpublished_ones() -> None:
    found = fetch(komis())
    assert found.problems == ()
    assert found.not_published == 1
    assert prices(found, "nd_oxide_daily") == {
        date(2026, 11, 18): 119.10,
        date(2026, 11, 20): 120.40,
    }
    assert prices(found, "dy_oxide_daily") == {
        date(2026, 11, 19): 241.00,
        date(2026, 11, 20): 240.90,
    }
    assert prices(found, "tb_oxide_daily") == {
        date(2026, 11, 20): 1118.00,
        date(2026, 11, 23): 1120.62,
    }


def test_a_quote_is_known_from_noon_of_its_day_but_never_after_it_was_read() -> None:
    known = {row.period: row.known_at for row in fetch(komis()).rows if row.series == SERIES[2]}
    assert known == {
        "2026-11-20": datetime(2026, 11, 20, 12, tzinfo=UTC),
        "2026-11-23": NOW,
    }


def test_the_basis_is_looked_up_by_place_and_purity_and_the_years_are_korean() -> None:
    publisher = komis()
    fetch(publisher, datetime(2026, 12, 31, 20, 0, tzinfo=UTC))
    asked = [form_of(it) for it in publisher.requests if it.url.path.endswith("ByMnrkndUnqCd")]
    assert [it["srchPrcCrtr"] for it in asked] == ["746", "750", "751", "761"]
    assert {(it["srchStartDate"], it["srchEndDate"]) for it in asked} == {("2026", "2027")}
    assert all(it.headers["X-Requested-With"] == "XMLHttpRequest" for it in publisher.requests[1:])


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
            "INFO.prcCrtr is '99.5%min EXW China', not '99.5% FOB China'",
            id="place",
        ),
        pytest.param(
            "prices_nd", set_info("mnrkndKornNm", "세륨"), "INFO.mnrkndKornNm", id="other mineral"
        ),
        pytest.param(
            "prices_nd", rename("INFO", "info"), "dataAvg.INFO is missing", id="no description"
        ),
        pytest.param(
            "prices_nd", rename("cmercPrc", "price"), "no field cmercPrc", id="renamed field"
        ),
        pytest.param(
            "prices_nd",
            lambda reply: reply | {"data": {"defaultMnrl": []}},
            "no quotes came for 99.5%min FOB China",
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
        pytest.param("prices_nd", lambda _: httpx.Response(500), "HTTP 500", id="500 thrice"),
        pytest.param(
            "bases_nd",
            rename("99.5%min FOB China", "99.55%min FOB China"),
            "no price basis 99.5% FOB China is offered (offered: 99%min EXW China, 99.55%min",
            id="basis no longer offered",
        ),
        pytest.param("bases_nd", lambda _: {"data": None}, "offered: none", id="no bases"),
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
    assert prices(found, "nd_oxide_daily") == {}
    assert len(prices(found, "dy_oxide_daily")) == 2
    assert len(prices(found, "tb_oxide_daily")) == 2


def test_a_quote_that_is_no_number_goes_to_quarantine_with_its_text() -> None:
    found = fetch(komis(only("prices_nd", rename("119.10", "see note"))))
    batch = validate("komis", found.rows, series=SPECS, source_ids=found.citations, now=NOW)
    (rejected,) = batch.rejected
    assert rejected.file == "Nd of getMnrlPrcByMnrkndUnqCd"
    assert rejected.row == 3
    assert "see note" in rejected.raw
    assert rejected.reason == "value: 'see note' is not a number"


@pytest.mark.parametrize(
    "reply",
    [{"result": []}, httpx.Response(200, text=""), httpx.Response(200, text="<html>blocked")],
)
def test_without_the_list_of_minerals_nothing_can_be_read(reply: object) -> None:
    with pytest.raises(SourceError):
        fetch(komis(only("minerals", lambda _: reply)))
