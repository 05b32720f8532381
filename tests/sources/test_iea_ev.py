# Payloads, written on 2026-11-24 in the shape of the publisher's replies:
#   iea_evs_world.csv, iea_evs_india.csv, iea_evs_china.csv, iea_evs_eu27.csv, iea_evs_usa.csv,
#   iea_evs_japan.csv                     https://api.iea.org/evs?region=World&category=Historical
#                                         &parameter=EV+sales&csv=true (and the other regions)
#   iea_gevo_2025.csv                     sheet GEVO_EV_2025 of the 2025 edition's workbook
# The figures are a few of the IEA's (CC BY 4.0), so that the names of vehicles and regions are real.
from collections.abc import Mapping
from datetime import UTC, datetime

import httpx
import pytest

from flows.catalog import load_catalog
from flows.errors import SourceError
from flows.sources.iea_ev import CALL, SERIES, IeaEvSource
from flows.sources.source import FetchResult
from flows.validation import validate
from tests.sources.publisher import PAYLOADS, Publisher, wire

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
WORLD = (PAYLOADS / "iea_evs_world.csv").read_bytes()
INDIA = (PAYLOADS / "iea_evs_india.csv").read_bytes()
OTHERS = {
    region: (PAYLOADS / f"iea_evs_{region.lower()}.csv").read_bytes()
    for region in ("China", "EU27", "USA", "Japan")
}
EDITION_2025 = (PAYLOADS / "iea_gevo_2025.csv").read_bytes()


def iea(
    world: bytes | httpx.Response = WORLD,
    india: bytes | httpx.Response = INDIA,
    others: Mapping[str, bytes] = OTHERS,
) -> Publisher:
    def answer(request: httpx.Request) -> httpx.Response:
        body = {"World": world, "India": india, **others}[request.url.params["region"]]
        return body if isinstance(body, httpx.Response) else wire(body)

    return Publisher(answer)


def fetch(
    world: bytes | httpx.Response = WORLD,
    india: bytes | httpx.Response = INDIA,
    others: Mapping[str, bytes] = OTHERS,
) -> FetchResult:
    return IeaEvSource(iea(world, india, others).open_client).fetch(now=NOW)


def changed(body: bytes, old: str, new: str) -> bytes:
    text = body.decode()
    assert old in text
    return text.replace(old, new).encode()


def told(found: FetchResult) -> list[tuple[str, str, str]]:
    return [(it.series, it.period, it.value) for it in found.rows if not it.fault]


def faults(found: FetchResult) -> list[str]:
    return [it.fault for it in found.rows if it.fault]


WORLD_ROWS = [
    ("ev_sales_world_cars_bev", "2010", "7000"),
    ("ev_sales_world_cars_bev", "2024", "11000000"),
    ("ev_sales_world_cars_phev", "2024", "6500000"),
    ("ev_sales_world_two_three_wheelers_bev", "2024", "10000000"),
    ("ev_sales_world_buses_bev", "2024", "70000"),
    ("ev_sales_world_vans_bev", "2024", "640000"),
    ("ev_sales_world_trucks_bev", "2024", "93000"),
]
INDIA_ROWS = [
    ("ev_sales_india_cars_bev", "2023", "82000"),
    ("ev_sales_india_cars_bev", "2024", "92000"),
    ("ev_sales_india_two_three_wheelers_bev", "2024", "1900000"),
    ("ev_sales_india_buses_bev", "2024", "3200"),
]

OTHER_ROWS = [
    ("ev_sales_china_cars_bev", "2024", "6400000"),
    ("ev_sales_china_cars_phev", "2024", "4900000"),
    ("ev_sales_china_two_three_wheelers_bev", "2024", "7200000"),
    ("ev_sales_china_buses_bev", "2024", "48000"),
    ("ev_sales_china_vans_bev", "2024", "450000"),
    ("ev_sales_eu27_cars_bev", "2024", "1500000"),
    ("ev_sales_eu27_cars_phev", "2024", "770000"),
    ("ev_sales_eu27_two_three_wheelers_bev", "2024", "100000"),
    ("ev_sales_eu27_buses_bev", "2024", "6500"),
    ("ev_sales_eu27_vans_bev", "2024", "80000"),
    ("ev_sales_united_states_cars_bev", "2024", "1200000"),
    ("ev_sales_united_states_cars_phev", "2024", "320000"),
    ("ev_sales_united_states_two_three_wheelers_bev", "2024", "7100"),
    ("ev_sales_united_states_buses_bev", "2024", "2200"),
    ("ev_sales_united_states_vans_bev", "2024", "26000"),
    ("ev_sales_japan_cars_bev", "2024", "60000"),
    ("ev_sales_japan_cars_phev", "2024", "43000"),
    ("ev_sales_japan_two_three_wheelers_bev", "2024", "27000"),
    ("ev_sales_japan_vans_bev", "2024", "4600"),
]
REST = INDIA_ROWS + OTHER_ROWS


def test_sales_of_the_world_and_of_each_importer_come_without_projections_shares_and_stocks() -> (
    None
):
    found = fetch()
    assert found.problems == ()
    assert told(found) == WORLD_ROWS + REST
    assert faults(found) == []
    assert {(it.unit, it.raw_unit, it.confidence) for it in found.rows} == {
        ("vehicles", "Vehicles", "high")
    }
    assert {it.source_id for it in found.rows} == set(found.citations)
    assert {it.field for it in found.rows} == {"value"}


def test_the_reply_names_no_edition_so_the_usual_lag_says_when_a_figure_was_known() -> None:
    assert {(it.published_on, it.known_at) for it in fetch().rows} == {("", None)}
    known = load_catalog().series
    assert {known[name].lag_days for name in SERIES.values()} == {140}


def test_each_region_is_asked_for_by_name() -> None:
    publisher = iea()
    IeaEvSource(publisher.open_client).fetch(now=NOW)
    asked = [dict(it.url.params) for it in publisher.requests]
    common = {"category": "Historical", "parameter": "EV sales", "csv": "true"}
    regions = ("World", "India", "China", "EU27", "USA", "Japan")
    assert asked == [{"region": region, **common} for region in regions]
    assert {str(it.url.copy_with(query=None)) for it in publisher.requests} == {CALL}


def test_the_table_of_the_2025_edition_is_read_like_the_reply() -> None:
    found = fetch(EDITION_2025, EDITION_2025)
    assert found.problems == ()
    assert told(found) == WORLD_ROWS + REST


def test_a_figure_that_is_not_given_is_counted_and_is_no_row() -> None:
    found = fetch(changed(WORLD, "640000", ""))
    assert found.not_published == 1
    assert ("ev_sales_world_vans_bev", "2024", "640000") not in told(found)


def test_digits_that_come_from_the_file_format_are_left_as_written() -> None:
    found = fetch(changed(WORLD, "640000", "639999.875"))
    assert ("ev_sales_world_vans_bev", "2024", "639999.875") in told(found)


def test_another_unit_is_kept_as_written() -> None:
    found = fetch(changed(WORLD, "Cars,BEV,2010,Vehicles,7000", "Cars,BEV,2010,Thousands,7"))
    assert [it.unit for it in found.rows if it.period == "2010"] == ["Thousands"]


def test_a_byte_order_mark_and_other_line_ends_change_nothing() -> None:
    found = fetch(b"\xef\xbb\xbf" + WORLD.replace(b"\r\n", b"\n"))
    assert told(found) == WORLD_ROWS + REST


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"", "sent an empty answer", id="empty body"),
        pytest.param(
            b"<html><title>Just a moment...</title>", "titled 'Just a moment...'", id="a web page"
        ),
        pytest.param(b"[]", "sent JSON instead of CSV: '[]'", id="nothing in JSON"),
        pytest.param(
            b"Must specify a region or a year",
            "says 'Must specify a region or a year' instead of CSV",
            id="an error text",
        ),
        pytest.param(
            changed(WORLD, "powertrain,year", "drive,year"),
            "missing 'powertrain'; new 'drive'",
            id="a column renamed",
        ),
        pytest.param(
            changed(WORLD, "unit,value", "unit,value,edition"), "new 'edition'", id="a column more"
        ),
        pytest.param(
            changed(WORLD, "EV sales,", "New EV registrations,"),
            "has no Historical EV sales of World for our vehicles among its 12 rows",
            id="a label renamed",
        ),
        pytest.param(
            WORLD.splitlines()[0] + b"\r\n", "among its 0 rows", id="a header without rows"
        ),
        pytest.param(WORLD + b'"', "is not CSV", id="an open quote"),
        pytest.param(b"region,\xff", "not UTF-8", id="garbled bytes"),
        pytest.param(httpx.Response(500), "HTTP 500", id="server in trouble"),
    ],
)
def test_a_region_that_can_not_be_read_is_named_and_loses_no_other(
    body: bytes | httpx.Response, said: str
) -> None:
    found = fetch(world=body)
    (problem,) = found.problems
    assert problem.subject == "World"
    assert CALL in problem.text
    assert said in problem.text
    assert told(found) == REST


def test_when_no_region_can_be_read_it_is_a_source_error_that_says_so_once() -> None:
    with pytest.raises(SourceError) as caught:
        fetch(b"", b"", dict.fromkeys(OTHERS, b""))
    assert str(caught.value).count("empty answer") == 1


def test_vehicles_that_are_missing_are_named_and_the_others_come() -> None:
    found = fetch(changed(WORLD, "2 and 3 wheelers", "Two/three-wheelers"))
    (problem,) = found.problems
    assert problem.subject == "ev_sales_world_two_three_wheelers_bev"
    assert "no sales of 2 and 3 wheelers BEV in World" in problem.text
    assert len(told(found)) == len(WORLD_ROWS + REST) - 1


def test_an_answer_that_breaks_off_in_a_row_loses_that_row_and_is_told() -> None:
    found = fetch(WORLD[: WORLD.index(b"BEV,2024,Vehicles,93000") + 8])
    assert faults(found) == ["row: has 6 cells instead of 8: the answer may break off"]
    (problem,) = found.problems
    assert problem.subject == "ev_sales_world_trucks_bev"


def test_a_last_value_without_a_line_end_may_miss_digits_and_is_turned_away() -> None:
    cut = WORLD[: WORLD.index(b"Vehicles,93000") + len("Vehicles,930")]
    found = fetch(cut)
    assert faults(found) == ["value: the answer ends within this row, digits may be missing"]
    assert told(found) == [*WORLD_ROWS[:-1], *REST]


def test_the_catalogue_has_every_series_in_the_unit_that_the_source_writes() -> None:
    known = load_catalog().series
    for name in SERIES.values():
        assert (known[name].unit, known[name].frequency) == ("vehicles", "year")


def test_every_figure_passes_the_door_and_is_known_from_late_may() -> None:
    found = fetch()
    batch = validate(
        "iea_ev",
        found.rows,
        series=load_catalog().stored_series,
        source_ids=set(found.citations),
        now=NOW,
    )
    assert batch.rejected == ()
    known = {it.known_at for it in batch.observations if it.period.year == 2024}
    assert known == {datetime(2025, 5, 20, 12, tzinfo=UTC)}
