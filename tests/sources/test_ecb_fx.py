# Payload ecb_exr.csv: made by hand on 2026-11-24 in the shape of
# https://data-api.ecb.europa.eu/service/data/EXR/D.CNY+INR+USD+JPY.EUR.SP00.A?format=csvdata
# (replies of September 2026 in public code); values are illustrative.
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import httpx
import pytest

from flows.catalog import load_catalog
from flows.errors import SourceError
from flows.sources.ecb_fx import CALL, COLUMNS, SERIES, EcbFxSource
from flows.sources.source import FetchResult
from flows.validation import RawRow, validate
from tests.sources.publisher import PAYLOADS, Publisher, wire

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
BODY = (PAYLOADS / "ecb_exr.csv").read_bytes()
WINTER_FOUR = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
SUMMER_FOUR = datetime(2026, 7, 1, 14, 0, tzinfo=UTC)


def fetch(body: bytes = BODY) -> FetchResult:
    return EcbFxSource(Publisher(lambda _: wire(body)).open_client).fetch(now=NOW)


def changed(old: str, new: str) -> bytes:
    text = BODY.decode()
    assert old in text
    return text.replace(old, new).encode()


def faulty(found: FetchResult) -> list[RawRow]:
    return [row for row in found.rows if row.fault]


def test_every_rate_comes_with_its_unit_and_the_instant_of_four_in_frankfurt() -> None:
    found = fetch()
    assert found.problems == ()
    told = [(it.series, it.period, it.value, it.unit, it.known_at) for it in found.rows]
    assert told == [
        ("cny_per_eur", "2026-07-01", "8.0125", "CNY/EUR", SUMMER_FOUR),
        ("cny_per_eur", "2026-11-23", "8.1020", "CNY/EUR", WINTER_FOUR),
        ("inr_per_eur", "2026-07-01", "100.5075", "INR/EUR", SUMMER_FOUR),
        ("inr_per_eur", "2026-11-23", "101.2500", "INR/EUR", WINTER_FOUR),
        ("jpy_per_eur", "2026-07-01", "180.55", "JPY/EUR", SUMMER_FOUR),
        ("jpy_per_eur", "2026-11-23", "181.02", "JPY/EUR", WINTER_FOUR),
        ("usd_per_eur", "2026-07-01", "1.1400", "USD/EUR", SUMMER_FOUR),
        ("usd_per_eur", "2026-11-23", "1.1540", "USD/EUR", WINTER_FOUR),
    ]
    assert {it.known_at.tzinfo for it in found.rows if it.known_at} == {UTC}
    assert {it.source_id for it in found.rows} == set(found.citations)
    assert {it.field for it in found.rows} == {"OBS_VALUE"}


def test_four_in_frankfurt_is_four_on_the_clocks_there_all_year() -> None:
    frankfurt = ZoneInfo("Europe/Berlin")
    hours = {it.known_at.astimezone(frankfurt).hour for it in fetch().rows if it.known_at}
    assert hours == {16}


def test_a_holiday_is_counted_and_is_no_row() -> None:
    found = fetch()
    assert found.not_published == 2
    assert "2026-05-01" not in {it.period for it in found.rows}


@pytest.mark.parametrize("mark", ["N/A", "NaN", " "])
def test_a_mark_for_no_rate_is_no_row_either(mark: str) -> None:
    found = fetch(changed("2026-05-01,,", f"2026-05-01,{mark},"))
    assert found.not_published == 2
    assert faulty(found) == []


def test_the_whole_history_is_asked_for_in_one_call() -> None:
    publisher = Publisher(lambda _: wire(BODY))
    EcbFxSource(publisher.open_client).fetch(now=NOW)
    (request,) = publisher.requests
    # Daily (D), four currencies against the euro, reference rates (SP00), average of the fixing (A).
    assert str(request.url) == (
        "https://data-api.ecb.europa.eu/service/data/EXR/D.CNY+INR+USD+JPY.EUR.SP00.A?format=csvdata"
    )


def test_a_byte_order_mark_changes_nothing() -> None:
    assert fetch(b"\xef\xbb\xbf" + BODY).rows == fetch().rows


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            "EXR.D.USD.EUR.SP00.A,D,USD,EUR,SP00,A,2026-11-23",
            "EXR.D.USD.EUR.SP00.A,D,USD,EUR,SP00,E,2026-11-23",
            "EXR_SUFFIX: 'E' is not 'A'",
            id="end of period instead of the fixing",
        ),
        pytest.param(
            "EXR.D.USD.EUR.SP00.A,D,USD,EUR,SP00,A,2026-11-23",
            "EXR.D.GBP.EUR.SP00.A,D,GBP,EUR,SP00,A,2026-11-23",
            "CURRENCY: 'GBP' was not asked",
            id="another currency",
        ),
        pytest.param("JPY,0\r\n", "JPY,2\r\n", "UNIT_MULT: '2' is not '0'", id="hundreds of yen"),
    ],
)
def test_a_row_that_was_not_asked_is_turned_away_and_the_rest_comes(
    old: str, new: str, said: str
) -> None:
    found = fetch(changed(old, new))
    assert faulty(found)
    assert {said in it.fault for it in faulty(found)} == {True}
    assert len(found.rows) == 8


def test_an_unusual_status_stays_on_the_row() -> None:
    found = fetch(changed("8.1020,A,", "8.1020,E,"))
    assert [it.note for it in found.rows if it.value == "8.1020"] == ["ECB status E"]


def test_a_broken_off_answer_loses_the_row_it_breaks_in_and_is_told() -> None:
    cut = BODY[: BODY.index(b"1.1540") + 3]  # 1.1 of 1.1540
    found = fetch(cut)
    (row,) = faulty(found)
    assert f"has 8 cells instead of {len(COLUMNS)}" in row.fault
    assert row.row == 11
    assert len(found.rows) == 8
    assert {it.series for it in found.rows if not it.fault} == set(SERIES.values())


def test_a_currency_that_is_missing_is_a_problem_and_loses_no_other() -> None:
    lines = [it for it in BODY.splitlines(keepends=True) if b"EXR.D.INR" not in it]
    found = fetch(b"".join(lines))
    (problem,) = found.problems
    assert problem.subject == "inr_per_eur"
    assert CALL in problem.text
    assert "no INR rate" in problem.text
    assert {it.series for it in found.rows} == set(SERIES.values()) - {"inr_per_eur"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"", "sent an empty answer", id="empty body"),
        pytest.param(b" \r\n", "sent an empty answer", id="blank body"),
        pytest.param(
            b"<!DOCTYPE html><title>Maintenance</title>",
            "web page or XML titled 'Maintenance' instead of CSV",
            id="a web page",
        ),
        pytest.param(b'{"error": "busy"}', "sent JSON instead of CSV", id="JSON"),
        pytest.param(
            b"No results found.", "says 'No results found.' instead of CSV", id="an error text"
        ),
        pytest.param(
            changed("OBS_VALUE", "VALUE"),
            "missing 'OBS_VALUE'; new 'VALUE'",
            id="a column renamed",
        ),
        pytest.param(changed(",UNIT_MULT", ""), "missing 'UNIT_MULT'", id="a column gone"),
        pytest.param(changed(",UNIT_MULT", ",UNIT_MULT,X"), "new 'X'", id="a column more"),
        pytest.param(
            BODY.split(b"\r\n")[0] + b"\r\n", "sent no rate that can be read", id="no row"
        ),
        pytest.param(BODY[:-1] + b'"', "is not CSV", id="garbled quotes"),
        pytest.param(b"KEY,FREQ\xff\xfe", "not UTF-8", id="garbled bytes"),
    ],
)
def test_an_answer_that_is_no_table_of_rates_is_refused_whole_and_named(
    body: bytes, said: str
) -> None:
    with pytest.raises(SourceError) as caught:
        fetch(body)
    assert CALL in str(caught.value)
    assert said in str(caught.value)


def test_a_server_in_trouble_is_a_source_error() -> None:
    publisher = Publisher(lambda _: httpx.Response(500))
    with pytest.raises(SourceError, match="HTTP 500"):
        EcbFxSource(publisher.open_client).fetch(now=NOW)


def test_the_catalogue_has_every_series_in_the_unit_that_the_source_writes() -> None:
    known = load_catalog().series
    for row in fetch().rows:
        entry = known[row.series]
        assert (entry.unit, entry.frequency) == (row.unit, "day")
        assert (entry.kind, entry.jump, entry.flat_days) == ("price", 1.25, 0)


def test_every_rate_passes_the_door_and_is_stored_with_the_publishers_instant() -> None:
    found = fetch()
    batch = validate(
        "ecb_fx",
        found.rows,
        series=load_catalog().stored_series,
        source_ids=set(found.citations),
        now=NOW,
    )
    assert batch.rejected == ()
    stored = {(it.series, it.known_at): it.value for it in batch.observations}
    assert stored["usd_per_eur", WINTER_FOUR] == 1.154
    assert len(stored) == len(found.rows)
