# Payloads, written on 2026-11-24 in the shape of the publisher's replies:
#   usgs_mcs2026_commodities.csv  rows trimmed from MCS2026_Commodities_Data.csv (Windows-1252) of
#                                 https://www.sciencebase.gov/catalog/item/696a75d5d4be0228872d3bf8
#   usgs_mcs2025_world.csv        rows trimmed from MCS2025_World_Data.csv (UTF-8 with a byte order mark)
#                                 of https://www.sciencebase.gov/catalog/item/677eaf95d34e760b392c4970
#   usgs_items.json               https://www.sciencebase.gov/catalog/items?parentId=5c8c03e4e4b0938824529f7d
#                                 &format=json&fields=title,dates,files, made by hand
# USGS data are in the public domain. The second line of the yttrium chapter's world table is made up.
import copy
import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from flows.catalog import load_catalog
from flows.errors import SourceError
from flows.sources.source import FetchResult
from flows.sources.usgs import LIST_CALL, SERIES, UsgsSource
from flows.validation import RawRow, validate
from tests.sources.publisher import PAYLOADS, Publisher, payload, wire

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
LONG = (PAYLOADS / "usgs_mcs2026_commodities.csv").read_bytes()
WIDE = (PAYLOADS / "usgs_mcs2025_world.csv").read_bytes()
ITEMS: dict[str, Any] = json.loads(payload("usgs_items.json"))
NEW, OLD = "696a75d5d4be0228872d3bf8", "677eaf95d34e760b392c4970"
LONG_PLACE = f"https://www.sciencebase.gov/catalog/file/get/{NEW} (MCS2026_Commodities_Data.csv)"


def zipped(content: bytes, name: str = "World_Data/MCS2025_World_Data.csv", **more: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, body in {name: content, **more}.items():
            archive.writestr(path, body)
    return packed.getvalue()


def sciencebase(
    long: bytes | httpx.Response = LONG,
    wide: bytes | httpx.Response = b"",
    items: object = ITEMS,
) -> Publisher:
    wide = wide or zipped(WIDE)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/catalog/items":
            return items if isinstance(items, httpx.Response) else httpx.Response(200, json=items)
        body = long if NEW in request.url.path else wide
        return body if isinstance(body, httpx.Response) else wire(body)

    return Publisher(answer)


def fetch(
    long: bytes | httpx.Response = LONG,
    wide: bytes | httpx.Response = b"",
    items: object = ITEMS,
) -> FetchResult:
    return UsgsSource(sciencebase(long, wide, items).open_client).fetch(now=NOW)


def of(found: FetchResult, file: str) -> list[RawRow]:
    return [row for row in found.rows if row.file.startswith(file)]


def told(rows: list[RawRow]) -> list[tuple[str, str, str, str, str]]:
    return [(it.series, it.period, it.value, it.unit, it.confidence) for it in rows if not it.fault]


def faults(found: FetchResult) -> list[str]:
    return [row.fault for row in found.rows if row.fault]


def with_line(content: bytes, old: str, new: str, encoding: str = "cp1252") -> bytes:
    text = content.decode(encoding)
    assert old in text
    return text.replace(old, new).encode(encoding)


def altered(change: Callable[[list[dict[str, Any]]], None]) -> dict[str, Any]:
    items = copy.deepcopy(ITEMS)
    change(items["items"])
    return items


def test_the_long_layout_gives_production_reserves_and_prices() -> None:
    assert told(of(fetch(), "MCS2026")) == [
        ("la_oxide_year", "2025", "1", "dollars per kilogram", "medium"),
        ("ce_oxide_year", "2025", "1.71", "dollars per kilogram", "medium"),
        ("pr_oxide_year", "2025", "74", "dollars per kilogram", "medium"),
        ("nd_oxide_year", "2025", "73", "dollars per kilogram", "medium"),
        ("nd_oxide_year", "2024", "56", "dollars per kilogram", "high"),
        ("ndpr_oxide_year", "2025", "69", "dollars per kilogram", "medium"),
        ("sm_oxide_year", "2025", "2.82", "dollars per kilogram", "medium"),
        ("eu_oxide_year", "2025", "27", "dollars per kilogram", "medium"),
        ("gd_oxide_year", "2025", "30", "dollars per kilogram", "medium"),
        ("mine_output_united_states", "2024", "45,500", "t REO", "high"),
        ("mine_output_australia", "2024", "29,000", "t REO", "medium"),
        ("mine_output_myanmar", "2024", "27,000", "t REO", "medium"),
        ("mine_output_canada", "2024", "0", "t REO", "high"),
        ("mine_output_china", "2024", "270,000", "t REO", "medium"),
        ("mine_output_other_countries", "2024", "1,000", "t REO", "medium"),
        ("mine_output_world", "2024", "380,000", "t REO", "medium"),
        ("reserves_australia", "2025", "6,300,000", "t REO", "high"),
        ("reserves_brazil", "2025", "21,000,000", "t REO", "high"),
        ("reserves_china", "2025", "44,000,000", "t REO", "high"),
        ("tb_oxide_year", "2025", "1,010", "dollars per kilogram", "medium"),
        ("dy_oxide_year", "2025", "239", "dollars per kilogram", "medium"),
        ("y_oxide_year", "2022", "12", "dollars per kilogram", "high"),
    ]


def test_the_wide_layout_gives_two_years_of_production_and_the_reserves() -> None:
    assert told(of(fetch(), "World")) == [
        ("mine_output_united_states", "2023", "41600", "t REO", "high"),
        ("mine_output_united_states", "2024", "45000", "t REO", "medium"),
        ("reserves_united_states", "2024", "1900000", "t REO", "high"),
        ("mine_output_australia", "2023", "16000", "t REO", "medium"),
        ("mine_output_australia", "2024", "13000", "t REO", "medium"),
        ("reserves_australia", "2024", "5700000", "t REO", "high"),
        ("mine_output_myanmar", "2023", "43000", "t REO", "medium"),
        ("mine_output_myanmar", "2024", "31000", "t REO", "medium"),
        ("reserves_canada", "2024", "830000", "t REO", "high"),
        ("mine_output_china", "2023", "255000", "t REO", "high"),
        ("mine_output_china", "2024", "270000", "t REO", "medium"),
        ("reserves_china", "2024", "44000000", "t REO", "high"),
        ("mine_output_russia", "2023", "2500", "t REO", "high"),
        ("mine_output_russia", "2024", "2500", "t REO", "medium"),
        ("reserves_russia", "2024", "3800000", "t REO", "high"),
        ("mine_output_other_countries", "2023", "1440", "t REO", "high"),
        ("mine_output_other_countries", "2024", "1100", "t REO", "medium"),
        ("mine_output_world", "2023", "376000", "t REO", "high"),
        ("mine_output_world", "2024", "390000", "t REO", "medium"),
    ]


def test_each_row_names_the_column_of_its_figure() -> None:
    found = fetch()
    assert {it.field for it in of(found, "MCS2026") if not it.fault} == {"Value"}
    assert {(it.series[:4], it.period, it.field) for it in of(found, "World") if not it.fault} == {
        ("mine", "2023", "PROD_2023"),
        ("mine", "2024", "PROD_EST_ 2024"),
        ("rese", "2024", "RESERVES_2024"),
    }


def test_an_edition_is_a_vintage_known_from_its_own_day() -> None:
    found = fetch()
    assert found.problems == ()
    revised = [
        (row.value, row.published_on, row.source_id)
        for row in found.rows
        if (row.series, row.period) == ("mine_output_australia", "2024")
    ]
    assert revised == [
        ("29,000", "2026-02-06", "USGS_MCS2026"),
        ("13000", "2025-01-31", "USGS_MCS2025"),
    ]
    assert {row.source_id for row in found.rows} == set(found.citations)
    assert {row.known_at for row in found.rows} == {None}


def test_a_bound_is_no_value() -> None:
    assert faults(fetch()) == [
        "Value: '>85,000,000' is a bound, not a value",
        "RESERVES_2024: '>90000000' is a bound, not a value",
    ]


@pytest.mark.parametrize(
    "text", ["<500", "Less than ½ unit", "Less than 1/2 unit", "½", "more than 500", "≥500"]
)
def test_whatever_a_bound_looks_like_it_is_quarantined(text: str) -> None:
    in_utf8 = LONG.decode("cp1252").replace('"29,000"', text).encode()
    assert f"Value: {text!r} is a bound, not a value" in faults(fetch(in_utf8))


@pytest.mark.parametrize("mark", ["W", "NA", "XX", "E", "", " NA "])
def test_what_the_usgs_does_not_publish_is_counted_and_is_no_row(mark: str) -> None:
    before = fetch()
    found = fetch(with_line(LONG, '"29,000"', mark))
    assert found.not_published == before.not_published + 1
    assert len(found.rows) == len(before.rows) - 1
    assert faults(found) == faults(before)


def test_the_not_published_cells_of_both_layouts_are_counted() -> None:
    # Long: Burma and India have no reserves. Wide: two years of Canada, and reserves of Burma and others.
    assert fetch().not_published == 2 + 4


@pytest.mark.parametrize("dash", ["—", "–", "--", "-"])
def test_a_dash_is_the_zero_that_the_footnotes_say(dash: str) -> None:
    found = fetch(with_line(LONG, "metric tons,2024,—,", f"metric tons,2024,{dash},"))
    (row,) = [it for it in found.rows if it.series == "mine_output_canada"]
    assert (row.value, row.raw_value) == ("0", dash)


def test_a_dash_that_went_through_another_encoding_is_read_like_the_dash() -> None:
    mangled = LONG.decode("latin-1").encode()  # bytes C2 97 where an em dash was
    assert b"\xc2\x97" in mangled
    assert told(list(fetch(mangled).rows)) == told(list(fetch().rows))


def test_a_file_in_utf8_with_a_byte_order_mark_is_read_like_the_other() -> None:
    modern = b"\xef\xbb\xbf" + LONG.decode("cp1252").encode()
    assert fetch(modern).rows == fetch().rows


def test_no_control_character_is_left_in_what_is_kept() -> None:
    mangled = LONG.decode("latin-1").encode()
    kept = "".join(row.raw + row.note + row.raw_value for row in fetch(mangled).rows)
    assert not [char for char in kept if 0x7F <= ord(char) < 0xA0]


def test_notes_of_the_publisher_stay_on_the_row_with_the_edition() -> None:
    rows = {(it.series, it.period, it.source_id): it.note for it in fetch().rows}
    assert rows["mine_output_china", "2024", "USGS_MCS2026"] == (
        "MCS2026; Estimated. -- Production quota; does not include undocumented production."
    )
    assert rows["mine_output_united_states", "2024", "USGS_MCS2025"] == "MCS2025; Estimated"


def test_the_reserves_note_in_the_wide_layout_is_not_the_productions() -> None:
    rows = {it.series: it.note for it in fetch().rows if it.source_id == "USGS_MCS2025"}
    assert "3.3 million tons" in rows["reserves_australia"]
    assert "Global Trade Tracker" in rows["mine_output_australia"]


def test_the_concentrates_and_compounds_of_the_united_states_are_not_added_to_its_mines() -> None:
    found = [it.value for it in fetch().rows if it.series == "mine_output_united_states"]
    assert found == ["45,500", "41600", "45000"]


def test_yttrium_oxide_mined_is_not_taken_for_rare_earths() -> None:
    assert "9,000" not in {it.value for it in fetch().rows}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            "Australia,Production",
            "Utopia,Production",
            "Country: 'Utopia' is not known; add it to COUNTRIES",
            id="a new country",
        ),
        pytest.param(
            "Australia,Production,Mine production,",
            "Australia,Production,Mine production: gross weight,",
            "Statistics_detail: 'Production: Mine production: gross weight' is not known",
            id="another form",
        ),
        pytest.param(
            "Neodymium oxide, 99.5% minimum",
            "Neodymium oxide, 99.9% minimum",
            "Neodymium oxide, '99.9% minimum' is not '99.5% minimum': the basis has changed",
            id="another purity",
        ),
        pytest.param(
            "Free on board China. Source",
            "Delivered Europe. Source",
            "Notes: 'Free on board' is missing: the basis has changed",
            id="another place",
        ),
        pytest.param(
            "Price, average, dollars per kilogram: Terbium",
            "Price, yearend, dollars per kilogram: Terbium",
            "is not 'Price, average, dollars per kilogram'",
            id="another average",
        ),
    ],
)
def test_a_row_on_another_basis_is_turned_away_with_its_reason(
    old: str, new: str, said: str
) -> None:
    found = fetch(with_line(LONG, old, new))
    assert [it for it in faults(found) if said in it]
    assert len(found.rows) == len(fetch().rows)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("MCS2025,Rare earths,Burma", "MCS2024,Rare earths,Burma", "SOURCE: 'MCS2024'"),
        (
            'Burma,"Mine production, rare-earth-oxide equivalent"',
            'Burma,"Mine production, gross weight"',
            "TYPE: 'Mine production, gross weight' is not 'Mine production, rare-earth-oxide",
        ),
        ("Rare earths,Burma,", "Rare earths,Utopia,", "COUNTRY: 'Utopia' is not known"),
    ],
)
def test_a_wide_row_on_another_basis_is_turned_away_with_its_reason(
    old: str, new: str, said: str
) -> None:
    found = fetch(wide=zipped(with_line(WIDE, old, new, "utf-8-sig")))
    assert [it for it in faults(found) if said in it]
    assert "mine_output_myanmar" not in {row.series for row in of(found, "World") if not row.fault}


def test_tons_that_are_not_said_to_be_reo_keep_the_unit_that_was_written() -> None:
    plain = with_line(LONG, "(Data in metric tons, rare-earth-oxide (REO) equivalent, ", "(Data, ")
    found = [it for it in fetch(plain).rows if it.source_id == "USGS_MCS2026"]
    assert {it.unit for it in found if it.series.startswith("mine_output")} == {"metric tons"}
    thousands = with_line(LONG, "Mine production,metric tons,2024", "Mine production,kt,2024")
    units = {it.unit for it in fetch(thousands).rows if it.series == "mine_output_china"}
    assert units == {"kt", "t REO"}


def test_footnote_numbers_no_break_spaces_and_capitals_do_not_hide_a_country() -> None:
    text = WIDE.decode("utf-8-sig")
    text = text.replace("World total (rounded)", "World total (rounded) 10")
    text = text.replace("United States", "United\xa0states ")
    found = {it.series for it in fetch(wide=zipped(text.encode())).rows if not it.fault}
    assert {"mine_output_world", "mine_output_united_states"} <= found


def test_the_editions_are_found_in_the_list_and_their_files_asked_for_as_listed() -> None:
    publisher = sciencebase()
    UsgsSource(publisher.open_client).fetch(now=NOW)
    asked = [str(it.url) for it in publisher.requests]
    assert asked[0].startswith(f"{LIST_CALL}?parentId=5c8c03e4e4b0938824529f7d&format=json")
    assert asked[1:] == [
        f"https://www.sciencebase.gov/catalog/file/get/{NEW}?f=__disk__00%2FMCS20",
        f"https://www.sciencebase.gov/catalog/file/get/{OLD}?f=__disk__00%2FWorld",
    ]


def test_a_file_that_was_put_up_again_later_is_known_from_that_day() -> None:
    def revise(items: list[dict[str, Any]]) -> None:
        items[1]["files"][1]["dateUploaded"] = "2026-06-01T09:00:00Z"

    found = fetch(items=altered(revise))
    assert {it.published_on for it in of(found, "MCS2026")} == {"2026-06-01"}
    assert {it.published_on for it in of(found, "World")} == {"2025-01-31"}


def test_an_edition_not_in_the_code_is_known_from_the_day_that_the_list_gives() -> None:
    def add(items: list[dict[str, Any]]) -> None:
        newer = copy.deepcopy(items[1])
        newer["title"] = "Mineral Commodity Summaries 2027 Data Release"
        newer["dates"][0]["dateString"] = "2027-01-29"
        newer["files"][1]["name"] = "MCS2027_Commodities_Data.csv"
        items.append(newer)

    found = fetch(items=altered(add))
    assert found.problems == ()
    days = {(it.source_id, it.published_on) for it in found.rows}
    assert days == {("USGS_MCS2027", "2027-01-29"), ("USGS_MCS2026", "2026-02-06")}


@pytest.mark.parametrize("given", [[], [{"type": "Publication", "dateString": "2027"}], None])
def test_an_edition_without_a_day_is_named_and_loses_no_other(given: object) -> None:
    def add(items: list[dict[str, Any]]) -> None:
        newer = copy.deepcopy(items[1])
        newer |= {"title": "Mineral Commodity Summaries 2027 Data Release", "dates": given}
        items.append(newer)

    found = fetch(items=altered(add))
    (problem,) = found.problems
    assert problem.subject == "MCS2027"
    assert "gives no publication day; add the edition to EDITIONS" in problem.text
    assert {it.source_id for it in found.rows} == {"USGS_MCS2026"}


HTML = b"<html><head><title>Service unavailable</title></head></html>"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"", "sent an empty answer", id="empty body"),
        pytest.param(HTML, "web page or XML titled 'Service unavailable'", id="a web page"),
        pytest.param(b'{"errors": []}', "sent JSON instead of CSV", id="JSON"),
        pytest.param(b"File not found.", "says 'File not found.' instead", id="an error text"),
        pytest.param(
            with_line(LONG, "Statistics_detail", "Detail"),
            "missing 'Statistics_detail'; new 'Detail'",
            id="a column renamed",
        ),
        pytest.param(
            with_line(LONG, "MCS chapter", "MCS chapter,Edition"), "new 'Edition'", id="one more"
        ),
        pytest.param(LONG[:2000] + b'"' + LONG[2000:], "is not CSV from line", id="open quote"),
        pytest.param(b"\x81\x8d" + LONG, "neither UTF-8 nor Windows-1252", id="garbled bytes"),
        pytest.param(
            with_line(LONG, "RARE EARTHS", "LANTHANIDES").replace(b"YTTRIUM", b"Y"),
            "has no row of mine production, reserves, the price of Neodymium oxide",
            id="chapters renamed",
        ),
        pytest.param(httpx.Response(503), "HTTP 503", id="server in trouble"),
    ],
)
def test_an_edition_that_can_not_be_read_is_named_and_loses_no_other(
    body: bytes | httpx.Response, said: str
) -> None:
    found = fetch(long=body)
    (problem,) = found.problems
    assert problem.subject == "MCS2026"
    assert f"https://www.sciencebase.gov/catalog/file/get/{NEW}" in problem.text
    assert "?f=" not in problem.text
    assert said in problem.text
    assert found.rows == tuple(of(fetch(), "World"))
    assert set(found.citations) == {"USGS_MCS2025"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(zipped(WIDE)[:400], "is a damaged zip file", id="broken off"),
        pytest.param(
            zipped(WIDE, "readme.txt"),
            "holds 0 tables World_Data*.csv instead of one (files: readme.txt)",
            id="no table",
        ),
        pytest.param(
            zipped(with_line(WIDE, "PROD_EST_ 2024", "PROD_EST_2024", "utf-8-sig")),
            "missing 'PROD_EST_ 2024'; new 'PROD_EST_2024'",
            id="a column renamed",
        ),
        pytest.param(
            zipped(with_line(WIDE, "Rare earths", "Lanthanides", "utf-8-sig")),
            "has no row of mine production, reserves",
            id="the mineral renamed",
        ),
    ],
)
def test_a_wide_edition_that_can_not_be_read_is_named_and_loses_no_other(
    body: bytes, said: str
) -> None:
    found = fetch(wide=body)
    (problem,) = found.problems
    assert problem.subject == "MCS2025"
    assert f"/file/get/{OLD} (World_Data_Release_MCS_2025.zip)" in problem.text
    assert said in problem.text
    assert found.rows == tuple(of(fetch(), "MCS2026"))


def test_a_zip_made_on_a_mac_is_read_like_any_other() -> None:
    shadow = {"__MACOSX/World_Data/._MCS2025_World_Data.csv": b"\x00\x05"}
    assert fetch(wide=zipped(WIDE, **shadow)).rows == fetch().rows


def test_a_table_that_comes_unpacked_is_read_as_well() -> None:
    assert told(of(fetch(wide=WIDE), "World")) == told(of(fetch(), "World"))


def test_a_row_that_breaks_off_is_quarantined_and_what_is_missing_then_is_told() -> None:
    found = fetch(LONG[: LONG.index(b',2025,"1,010"')])
    assert [it for it in faults(found) if "cells instead of 12: the file may break off" in it]
    (problem,) = found.problems
    assert problem.text.startswith(f"{LONG_PLACE} has no readable row of the price of ")
    assert "Terbium oxide" in problem.text
    assert "Neodymium oxide" not in problem.text


def test_a_file_of_another_length_than_listed_is_refused_whole() -> None:
    def measure(items: list[dict[str, Any]]) -> None:
        items[1]["files"][1]["size"] = len(LONG)

    items = altered(measure)
    assert fetch(items=items).problems == ()
    lines = LONG.splitlines(keepends=True)
    found = fetch(long=b"".join(lines[:-1]), items=items)
    (problem,) = found.problems
    assert f"{LONG_PLACE} sent {len(LONG) - len(lines[-1])} of {len(LONG)} bytes" in problem.text
    assert of(found, "MCS2026") == []


def test_an_edition_without_its_table_names_the_files_that_are_there() -> None:
    def remove(items: list[dict[str, Any]]) -> None:
        del items[1]["files"][1]

    (problem,) = fetch(items=altered(remove)).problems
    assert "no Commodities_Data.csv or World_Data file" in problem.text
    assert "MCS2026_T7_Critical_Minerals_Salient.csv" in problem.text


def test_a_file_that_is_kept_elsewhere_is_not_fetched() -> None:
    def move(items: list[dict[str, Any]]) -> None:
        items[1]["files"][1]["url"] = "https://elsewhere.example/MCS2026_Commodities_Data.csv"

    publisher = sciencebase(items=altered(move))
    (problem,) = UsgsSource(publisher.open_client).fetch(now=NOW).problems
    assert "outside https://www.sciencebase.gov/" in problem.text
    assert {it.url.host for it in publisher.requests} == {"www.sciencebase.gov"}


@pytest.mark.parametrize(
    ("items", "said"),
    [
        pytest.param({"items": []}, "lists 0 items, none titled 'Mineral Commodity", id="none"),
        pytest.param({"total": 0}, "field items is missing", id="changed list"),
        pytest.param({"items": [{"id": "a"}]}, "items record 1 has no field title", id="no titles"),
        pytest.param(httpx.Response(200, text="<html>"), "sent a web page", id="a web page"),
        pytest.param(httpx.Response(200, text=""), "sent an empty answer", id="empty"),
        pytest.param(httpx.Response(500), "HTTP 500", id="server in trouble"),
    ],
)
def test_without_the_list_nothing_can_be_read(items: object, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        fetch(items=items)
    assert LIST_CALL in str(caught.value)
    assert said in str(caught.value)


def test_when_no_edition_can_be_read_each_reason_is_told() -> None:
    with pytest.raises(SourceError) as caught:
        fetch(long=HTML, wide=zipped(WIDE)[:400])
    assert "Service unavailable" in str(caught.value)
    assert "damaged zip" in str(caught.value)


def test_the_catalogue_has_every_series_that_the_source_can_write() -> None:
    known = load_catalog().series
    for name in SERIES:
        assert known[name].frequency == "year"
        assert known[name].lag_days == 31
        assert known[name].unit == ("USD/kg" if name.endswith("_oxide_year") else "t REO")
    assert {it.series for it in fetch().rows if not it.fault} <= set(SERIES)


def test_all_but_the_bounds_pass_the_door_in_the_units_of_the_catalogue() -> None:
    found = fetch()
    batch = validate(
        "usgs",
        found.rows,
        series=load_catalog().stored_series,
        source_ids=set(found.citations),
        now=NOW,
    )
    assert [it.reason for it in batch.rejected] == faults(found)
    stored = {(it.series, it.period.year, it.source_id): it for it in batch.observations}
    mined = stored["mine_output_china", 2024, "USGS_MCS2026"]
    assert (mined.value, mined.unit, mined.raw_unit) == (270_000, "t REO", "metric tons")
    assert mined.known_at == datetime(2026, 2, 6, 12, tzinfo=UTC)
    price = stored["tb_oxide_year", 2025, "USGS_MCS2026"]
    assert (price.value, price.unit) == (1010, "USD/kg")
