import json
from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest

from flows.errors import SourceError
from flows.sources.comtrade import SERIES, ComtradeSource
from flows.sources.source import FetchResult
from flows.validation import Batch, validate
from tests.sources.publisher import Answer, Publisher, in_turn, payload
from tests.sources.specs import Spec

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
SPECS = {SERIES: Spec("t", "month", allows_zero=True, max_step_ratio=8.0)}
EMPTY = httpx.Response(200, text=payload("comtrade_empty.json"))


def reply(**changes: Any) -> httpx.Response:
    """The recorded months, with fields of the first row changed; `...` removes a field."""
    envelope = json.loads(payload("comtrade_months.json"))
    row = envelope["data"][0] | changes
    envelope["data"][0] = {name: value for name, value in row.items() if value is not ...}
    return httpx.Response(200, json=envelope)


def envelope(**fields: Any) -> httpx.Response:
    return httpx.Response(200, json=fields)


def fetch(answer: Answer) -> FetchResult:
    return ComtradeSource(Publisher(answer).open_client).fetch(now=NOW)


def batch(found: FetchResult) -> Batch:
    return validate("comtrade", found.rows, series=SPECS, source_ids=found.citations, now=NOW)


def test_two_years_are_asked_in_calls_of_twelve_months_for_totals_only() -> None:
    publisher = Publisher(in_turn(EMPTY))
    ComtradeSource(publisher.open_client).fetch(now=NOW)
    asked = [dict(request.url.params) for request in publisher.requests]
    assert [it["period"].split(",")[0] for it in asked] == ["202411", "202511"]
    assert [it["period"].split(",")[-1] for it in asked] == ["202510", "202610"]
    assert [len(it["period"].split(",")) for it in asked] == [12, 12]
    for it in asked:
        assert (it["motCode"], it["partner2Code"], it["customsCode"]) == ("0", "0", "C00")
        assert (it["reporterCode"], it["flowCode"], it["cmdCode"]) == ("156", "X", "850511")


def test_weights_become_tonnes_known_from_the_moment_they_were_read() -> None:
    found = fetch(in_turn(EMPTY, reply()))
    assert found.problems == ()
    first, second = batch(found).observations
    assert (first.period, second.period) == (date(2026, 8, 1), date(2026, 9, 1))
    assert first.value == pytest.approx(6012.3456)
    assert (first.unit, first.raw_value, first.raw_unit) == ("t", "6012345.6", "kg")
    assert first.known_at == NOW
    assert first.confidence == "medium"


def test_no_data_yet_is_an_answer() -> None:
    found = fetch(in_turn(EMPTY))
    assert (found.rows, found.problems) == ((), ())


@pytest.mark.parametrize("weight", [None, 0, 0.0])
def test_a_missing_weight_is_read_from_a_quantity_in_kilograms(weight: float | None) -> None:
    first = batch(fetch(in_turn(EMPTY, reply(netWgt=weight, qty=5_000_000.0)))).observations[0]
    assert first.value == 5000.0


def test_an_estimated_weight_is_of_low_confidence_and_says_so() -> None:
    first = batch(fetch(in_turn(EMPTY, reply(isNetWgtEstimated=True)))).observations[0]
    assert first.confidence == "low"
    assert "estimated" in first.note


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param(
            {"netWgt": None, "qtyUnitCode": -1, "qty": 12.0},
            "netWgt: '' is no weight, and qty is not in kg (unit '-1')",
            id="no weight",
        ),
        pytest.param({"netWgt": 0, "qty": 0}, "netWgt: '0' is no weight", id="zero weight"),
        pytest.param({"netWgt": True, "qty": None}, "netWgt: 'True'", id="boolean weight"),
        pytest.param({"netWgt": "many", "qty": None}, "netWgt: 'many'", id="text weight"),
        pytest.param({"partnerCode": 356}, "partnerCode: '356' is not '0'", id="one partner"),
        pytest.param({"motCode": 2100}, "motCode: '2100'", id="one way of transport"),
        pytest.param({"reporterCode": 392}, "reporterCode: '392'", id="other country"),
        pytest.param({"period": "202301"}, "period: '202301' was not asked", id="other month"),
        pytest.param({"period": "202609"}, "told in different ways", id="a month twice"),
    ],
)
def test_a_row_that_is_not_what_was_asked_goes_to_quarantine(
    changes: dict[str, Any], reason: str
) -> None:
    judged = batch(fetch(in_turn(EMPTY, reply(**changes))))
    assert judged.read == 2
    assert reason in judged.rejected[0].reason
    assert judged.rejected[0].file == "preview of 202511–202610"
    assert judged.rejected[0].row == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(
            envelope(elapsedTime="0", count=0, data=[], error="Too many\nperiods"),
            "'Too many periods'",
            id="error in an envelope",
        ),
        pytest.param(
            envelope(statusCode=401, message="Access denied"), "Access denied", id="gateway"
        ),
        pytest.param(envelope(data=[], error=""), "field count is missing", id="no count"),
        pytest.param(envelope(count=0, error=""), "field data is missing", id="no data"),
        pytest.param(envelope(count=7, data=[], error=""), "announces 7 rows", id="rows missing"),
        pytest.param(reply(netWgt=...), "has no field netWgt", id="field renamed"),
        pytest.param(httpx.Response(200, json=[1]), "count is missing", id="no object"),
        pytest.param(httpx.Response(200, text='{"data": [{'), "breaks off", id="truncated"),
        pytest.param(httpx.Response(500), "HTTP 500", id="500 thrice"),
    ],
)
def test_a_call_that_fails_is_named_and_loses_no_other(answer: httpx.Response, said: str) -> None:
    found = fetch(lambda request: reply() if "202609" in request.url.params["period"] else answer)
    (problem,) = found.problems
    assert problem.subject == "202411–202510"
    assert said in problem.text
    assert "?" not in problem.text
    assert len(batch(found).observations) == 2


def test_a_reply_that_may_be_cut_off_at_its_limit_is_refused() -> None:
    rows = json.loads(payload("comtrade_months.json"))["data"][:1] * 500
    with pytest.raises(SourceError, match="some may be cut off"):
        fetch(lambda _: envelope(count=500, data=rows, error=""))


def test_when_no_call_succeeds_the_source_has_failed() -> None:
    with pytest.raises(SourceError, match="HTTP 503"):
        fetch(in_turn(httpx.Response(503)))
