import csv
import gzip
import io
import itertools
import json
import re
import zipfile
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from flows.sources.csv_reply import csv_rows
from flows.sources.shape import ReplyShapeError
from flows.sources.tables import (
    CHUNK_ROWS,
    LONGEST_RAW,
    FaultyCell,
    Layout,
    NumberCell,
    Row,
    TableError,
    came_instead,
    open_table,
    read_rows,
)

TWO = ("Date", "Avg")


def rows_of(content: bytes, *columns: str, **layout: Any) -> list[Row]:
    table = open_table(content, Layout(columns or TWO, **layout))
    return [row for chunk in table.chunks for row in chunk]


def cells_of(content: bytes, *columns: str, **layout: Any) -> list[list[str]]:
    return [list(row.cells) for row in rows_of(content, *columns, **layout)]


def refusal(content: bytes, *columns: str, **layout: Any) -> str:
    with pytest.raises(TableError) as caught:
        rows_of(content, *columns, **layout)
    return str(caught.value)


def workbook(*sheets: list[list[object]], names: tuple[str, ...] = ("Prices",)) -> Workbook:
    book = Workbook()
    book.remove(book.active)
    for name, rows in zip(names, sheets, strict=True):
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    return book


def saved(book: Workbook) -> bytes:
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def with_part(content: bytes, name: str, change: Any) -> bytes:
    """A package with one part changed: what no library writes, but other programs do."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for part in old.namelist():
            text = old.read(part)
            new.writestr(part, change(text) if part == name else text)
    return out.getvalue()


SHEET = "xl/worksheets/sheet1.xml"
NOON = datetime(2025, 6, 21, 12, tzinfo=UTC).replace(tzinfo=None)  # Excel knows no time zones


# --- what kind of file it is ------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "is empty", id="no byte"),
        pytest.param(b"\xef\xbb\xbf\r\n  ", "is empty", id="only a mark"),
        pytest.param(
            b"<!DOCTYPE html><html><head><title>Log&nbsp;in &amp; pay</title></head>",
            "is a web page titled 'Log in & pay' instead of a table: a log-in may have run out",
            id="web page",
        ),
        pytest.param(b"\n <table><tr><td>Date", "is a web page instead", id="table of a web page"),
        pytest.param(b"<?xml version='1.0'?><Workbook>", "is XML", id="XML"),
        pytest.param(b"%PDF-1.7 ...", "is a PDF, not a table", id="PDF"),
        pytest.param(
            b'{"error": "quota used up"}',
            "is JSON, not a table (it says 'quota used up')",
            id="JSON",
        ),
        pytest.param(b"[[1, 2], [3, 4]]", "is JSON, not a table", id="JSON list"),
        pytest.param(
            b"Error 17: session expired\n",
            "says 'Error 17: session expired' instead of a table",
            id="a sentence",
        ),
        pytest.param(
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
            "is an old Excel workbook (.xls); save it as .xlsx",
            id="xls",
        ),
        pytest.param(
            b"\xd0\xcf\x11\xe0" + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le"),
            "with a password",
            id="password",
        ),
    ],
)
def test_what_is_no_table_is_named_with_what_to_do(content: bytes, said: str) -> None:
    assert said in refusal(content)


def test_a_gzipped_table_is_read_like_a_plain_one() -> None:
    plain = b"Date,Avg\n2025-01-02,5\n"
    assert rows_of(gzip.compress(plain)) == rows_of(plain)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(gzip.compress(b"Date,Avg\n" * 999)[:-20], "breaks off", id="cut off"),
        pytest.param(gzip.compress(b"Date,Avg\n")[:-8] + b"\0" * 8, "damaged gzip", id="check sum"),
        pytest.param(b"\x1f\x8bnot really", "damaged gzip", id="not gzip at all"),
    ],
)
def test_a_damaged_gzip_file_gives_no_row(content: bytes, said: str) -> None:
    assert said in refusal(content)


def test_a_file_that_unpacks_to_more_than_fits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.sources.tables.MOST_BYTES", 1000)
    assert "unpacks to more than" in refusal(gzip.compress(b"Date,Avg\n" + b"2025-01-02,5\n" * 999))
    book = saved(workbook([["Date", "Avg"], *[["2025-01-02", 5]] * 200]))
    assert "unpacks to more than" in refusal(book)


def test_other_packages_are_named_by_what_they_hold() -> None:
    def package(*names: str) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as made:
            for name in names:
                made.writestr(name, "x")
        return out.getvalue()

    assert "is a ZIP archive of 'jan.csv', 'feb.csv'; unpack it" in refusal(
        package("jan.csv", "feb.csv")
    )
    assert ".xlsb" in refusal(package("xl/workbook.bin"))
    assert ".ods" in refusal(package("mimetype", "content.xml"))


# --- encoding, delimiter, header --------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", "平均价"),
        ("utf-8-sig", "平均价"),
        ("utf-16", "平均价"),
        ("utf-16-le", "平均价"),
        ("gb18030", "平均价"),
        ("cp1252", "Preis €/kg"),
        ("cp1252", "Größe"),  # two letters that are one sign in GB18030
    ],
)
def test_the_encoding_is_the_first_under_which_the_declared_columns_are_there(
    encoding: str, name: str
) -> None:
    content = f"Date,{name}\n2025-01-02,5\n".encode(encoding)
    declared = "utf-16-le" if encoding == "utf-16-le" else ""
    assert cells_of(content, "Date", name, encoding=declared) == [["2025-01-02", "5"]]


def test_text_that_is_no_utf8_far_below_an_ascii_header_decides_the_encoding() -> None:
    lines = ["Date,Avg,Remark", *["2025-01-02,5,fine"] * 9000, "2025-01-03,6,Qualität é"]
    rows = rows_of("\n".join(lines).encode("cp1252"))
    assert rows[-1].cells[2] == "Qualität é"


def test_an_unknown_encoding_names_what_was_tried() -> None:
    said = refusal("Date;Größe\n2025-01-02;5\n".encode("cp437"), "Date", "Größe")
    assert "missing 'Größe'" in said
    assert "utf-8" in said
    assert "gb18030" in said
    assert "cp1252" in said


def test_a_declared_encoding_that_is_wrong_is_named_with_the_right_one() -> None:
    said = refusal("Date,平均价\n1,2\n".encode("gb18030"), "Date", "平均价", encoding="utf-8")
    assert 'all columns are there with encoding = "gb18030"' in said


def test_utf16_without_a_mark_is_told_from_damage() -> None:
    assert 'encoding = "utf-16-le"' in refusal("Date,Avg\n1,2\n".encode("utf-16-le"))


def test_nul_characters_refuse_the_file_with_the_row() -> None:
    assert "NUL characters (line 3)" in refusal(b"Date,Avg\n2025-01-02,5\n2025-01-03,\0\0\0\n")


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_that_shows_the_declared_columns(mark: str) -> None:
    content = f"Date{mark}Avg, incl. VAT\n2025-01-02{mark}5\n"
    if mark == ",":
        content = 'Date,"Avg, incl. VAT"\n2025-01-02,5\n'
    assert cells_of(content.encode(), "Date", "Avg, incl. VAT") == [["2025-01-02", "5"]]


def test_a_declared_delimiter_that_is_wrong_is_named_with_the_right_one() -> None:
    said = refusal(b"Date,Avg\n2025-01-02,5\n", delimiter=";")
    assert "missing 'Date', 'Avg'" in said
    assert 'all columns are there with delimiter = ","' in said


@pytest.mark.parametrize(
    ("header", "layout", "said"),
    [
        pytest.param("Date,Average", {}, "missing 'Avg'; not known: 'Average'", id="renamed"),
        pytest.param("Date", {}, "missing 'Avg'", id="gone"),
        pytest.param("Date,Avg,Avg", {}, "columns twice: 'Avg'", id="twice"),
        pytest.param("Date,Avg,New", {"refuses_others": True}, "not known: 'New'", id="one more"),
        pytest.param(
            "Date,Avg,X,X",
            {"refuses_others": True, "ignored": ("X",)},
            "columns twice: 'X'",
            id="another one twice",
        ),
    ],
)
def test_a_header_with_other_columns_refuses_the_file_whole(
    header: str, layout: dict[str, Any], said: str
) -> None:
    message = refusal(f"{header}\n2025-01-02,5,6,7\n".encode(), **layout)
    assert said in message
    assert "nothing of this file was taken" in message


def test_columns_that_nobody_asked_for_may_be_there_twice_or_without_a_name() -> None:
    content = b"Date,,Remark,Avg,Remark,\n2025-01-02,,a,5,b,\n"
    assert cells_of(content) == [["2025-01-02", "", "a", "5", "b", ""]]


def test_columns_to_ignore_are_no_reason_to_refuse() -> None:
    content = b"Remark,Avg,Date\nx,5,2025-01-02\n"
    table = open_table(content, Layout(TWO, ignored=("Remark",), refuses_others=True))
    assert (table.place("Date"), table.place("Avg")) == (2, 1)


def test_lines_above_the_header_are_passed_over_and_counted() -> None:
    content = b"sep=;\nSMM export\n\nDate;Avg\n2025-01-02;5\n\n2025-01-03;6\n"
    assert [row.number for row in rows_of(content)] == [5, 7]


def test_a_declared_header_row_is_the_only_one_looked_at() -> None:
    content = b"Date,Avg\n2025-01-01,1\nDate,Avg\n2025-01-02,2\n"
    assert cells_of(content, header_row=3) == [["2025-01-02", "2"]]
    said = refusal(content, header_row=2)
    assert "in row 2" in said
    assert "header_row = 1" in said


def test_a_header_of_two_rows_joins_a_group_with_what_stands_below_it() -> None:
    content = b"Date,NdPr oxide,,Dy oxide,\n,Low,High,Low,High\n2025-01-02,1,2,3,4\n"
    table = open_table(content, Layout(("Date", "NdPr oxide / High", "Dy oxide / Low")))
    assert table.header == (
        "Date",
        "NdPr oxide / Low",
        "NdPr oxide / High",
        "Dy oxide / Low",
        "Dy oxide / High",
    )
    assert [row.number for chunk in table.chunks for row in chunk] == [3]


def test_a_column_without_a_name_is_called_by_its_letter() -> None:
    content = b"World prices,,\n,Oil,Gas\n1960M01,1.5,2\n"
    assert cells_of(content, "column A", "Gas") == [["1960M01", "1.5", "2"]]
    assert "missing 'column D'" in refusal(content, "column D", "Gas")
    wide = [["", *["x"] * 26, ""], ["a", *["x"] * 26, "b"]]
    assert len(rows_of(saved(workbook(wide)), "column A")) == 1


def test_names_are_compared_without_line_breaks_and_double_spaces() -> None:
    content = b'Date,"Avg\n (CNY/t) "\n2025-01-02,5\n'
    assert cells_of(content, "Date", "Avg (CNY/t)") == [["2025-01-02", "5"]]


# --- rows -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted", "what"),
    [
        (" \n", "CSV", "sent an empty answer; it may block this network"),
        (
            "\n<html><title>Log\n in &amp; go</title>",
            "JSON",
            "sent a web page titled 'Log in & go' instead of JSON; look at it in a browser",
        ),
        ("<x/>", "CSV", "sent a web page or XML instead of CSV; look at it in a browser"),
        (' {"error": 1}', "CSV", "sent JSON instead of CSV: '{\"error\": 1}'"),
        (' {"error": 1}', "JSON", ""),
        ("a,b", "CSV", ""),
        ("a,b", "JSON", ""),
    ],
)
def test_what_came_instead_is_told_from_its_beginning(text: str, wanted: str, what: str) -> None:
    assert came_instead(text, wanted) == what


def test_a_first_line_that_is_too_long_for_a_header_is_refused_with_a_reason() -> None:
    with pytest.raises(ReplyShapeError, match=r"first line that is no header \(field larger") as it:
        csv_rows(b"a" * 200_000 + b"\n1", ("a",))
    assert len(str(it.value)) < 300


def test_a_row_with_another_number_of_cells_has_a_fault_and_the_others_none() -> None:
    rows = rows_of(b"Date,Avg\n2025-01-02,5\n2025-01-03,1,5\n2025-01-04\n2025-01-05,7,,\n")
    assert [(row.number, bool(row.fault)) for row in rows] == [
        (2, False),
        (3, True),
        (4, True),
        (5, False),
    ]
    assert "has 3 cells instead of 2" in rows[1].fault
    assert "',' needs quotes" in rows[1].fault
    assert rows[2].fault == (
        "row: has 1 cells instead of 2; the rest of it is missing: look at the file, or fetch it again"
    )


def test_an_open_quote_refuses_the_file_with_the_line_where_it_opens() -> None:
    lines = [f"2025-01-02,{at}" for at in range(50)]
    said = refusal("\n".join(["Date,Avg", *lines, '2025-01-03,"6', *lines]).encode())
    assert "line 52" in said
    assert "never closed" in said


def test_text_after_a_closing_quote_refuses_the_file_with_its_line() -> None:
    assert "line 3" in refusal(b'Date,Avg\n2025-01-02,5\n2025-01-03,"6"7\n')


def test_an_open_quote_in_a_long_file_is_found_in_the_line_where_it_opens() -> None:
    lines = ["2025-01-02,5"] * 40_000
    content = "\n".join(["Date,Avg", '2025-01-02,"5', *lines]).encode()
    said = refusal(content)
    assert "line 2" in said
    assert "never closed" in said


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_is_read(newline: str) -> None:
    content = newline.join(["Date,Avg", "2025-01-02,5", "2025-01-03,6"]).encode()
    assert [row.number for row in rows_of(content)] == [2, 3]


def test_a_row_is_shown_as_a_line_of_csv_that_ends_where_quarantine_cuts() -> None:
    content = f'Date;Avg;Remark\n2025-01-02;"1,5";{"x" * 600}\n'.encode()
    (row,) = rows_of(content)
    assert row.raw.startswith('2025-01-02,"1,5",xxx')
    assert len(row.raw) == LONGEST_RAW


def test_rows_come_in_chunks_so_that_no_file_is_held_twice() -> None:
    content = b"Date,Avg\n" + b"2025-01-02,5\n" * (2 * CHUNK_ROWS)
    sizes = [len(chunk) for chunk in open_table(content, Layout(TWO)).chunks]
    assert sum(sizes) == 2 * CHUNK_ROWS
    assert max(sizes) <= CHUNK_ROWS


plain_text = st.text(st.characters(codec="gb18030", exclude_categories=["C"]), max_size=12)


@given(
    cells=st.lists(
        st.tuples(plain_text, st.sampled_from(["1.5", "1,5", "-3", "", "n/a"]), plain_text),
        max_size=8,
    ),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_any_table_that_is_written_is_read_again(
    cells: list[tuple[str, str, str]], encoding: str, delimiter: str, quoting: Any
) -> None:
    names = ("日期", "价格", "Remark")
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=quoting).writerows([names, *cells])
    found = cells_of(out.getvalue().encode(encoding), *names)
    assert found == [list(row) for row in cells if any(cell.strip() for cell in row)]


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(plain_text, st.integers(-(10**15), 10**15), st.decimals(-9999, 9999, places=4)),
        max_size=5,
    )
)
def test_any_sheet_that_is_written_is_read_again(cells: list[tuple[str, int, Decimal]]) -> None:
    # A text that begins with = would be written as a formula.
    written = [[f"t{text}", count, float(price)] for text, count, price in cells]
    found = cells_of(saved(workbook([["Date", "Count", "Avg"], *written])), "Date", "Count", "Avg")
    assert [(row[0][1:], int(row[1]), Decimal(row[2])) for row in found] == cells


# --- Excel ------------------------------------------------------------------


def test_cells_of_a_sheet_come_as_text_with_a_point_and_dates_in_iso_form() -> None:
    book = workbook(
        [
            ["Date", "Avg", "Note"],
            [date(2025, 6, 20), 1234.5, True],
            [NOON, 7, None],
        ]
    )
    found = rows_of(saved(book))
    assert [list(row.cells) for row in found] == [
        ["2025-06-20", "1234.5", "TRUE"],
        ["2025-06-21T12:00:00", "7", ""],
    ]
    assert isinstance(found[0].cells[1], NumberCell)
    assert [row.number for row in found] == [2, 3]


def test_rows_of_a_sheet_carry_excels_own_numbers_across_gaps() -> None:
    book = workbook([["SMM export"]])
    sheet = book["Prices"]
    for at, values in ((5, ("Date", "Avg")), (6, ("2025-01-02", 5)), (9, ("2025-01-03", 6))):
        for column, value in enumerate(values, start=2):
            sheet.cell(at, column, value)
    sheet.merge_cells("A1:D1")
    assert [row.number for row in rows_of(saved(book))] == [6, 9]


def test_a_merged_group_over_columns_of_a_sheet_is_part_of_their_names() -> None:
    book = workbook(
        [
            ["Date", "NdPr oxide", None, "Dy oxide", None],
            [None, "Low", "High", "Low", "High"],
            ["2025-01-02", 1, 2, 3, 4],
        ]
    )
    for cells in ("A1:A2", "B1:C1", "D1:E1"):
        book["Prices"].merge_cells(cells)
    content = saved(book)
    assert cells_of(content, "Date", "NdPr oxide / High", "Dy oxide / Low") == [
        ["2025-01-02", "1", "2", "3", "4"]
    ]
    assert "missing 'High'; not known: 'NdPr oxide / Low', 'NdPr oxide / High'" in refusal(
        content, "Date", "High"
    )


def test_a_workbook_that_counts_from_1904_says_so() -> None:
    book = workbook([["Date", "Avg"], [date(2025, 6, 20), 5]])
    book.epoch = CALENDAR_MAC_1904
    table = open_table(saved(book), Layout(TWO))
    assert table.is_1904
    assert next(table.chunks)[0].cells[0] == "2025-06-20"


def test_a_formula_without_a_saved_value_is_a_fault_of_its_cell() -> None:
    book = workbook([["Date", "Avg", "Low"], ["2025-01-02", "=C2*2", 5], ["2025-01-03", 7, 6]])
    first, second = rows_of(saved(book))
    cell = first.cells[1]
    assert isinstance(cell, FaultyCell)
    assert cell.fault.startswith("cell B2 holds the formula '=C2*2' without a saved value")
    assert list(second.cells) == ["2025-01-03", "7", "6"]


def test_a_formula_with_a_saved_value_is_its_value() -> None:
    book = saved(
        workbook([["Date", "Avg"], ["2025-01-02", "=2*3"], ["2025-01-03", '=IF(1,"","")']])
    )
    content = with_part(
        book,
        SHEET,
        lambda text: (
            text.replace(b"<f>2*3</f><v />", b"<f>2*3</f><v>6</v>")
            .replace(b"<f>2*3</f><v></v>", b"<f>2*3</f><v>6</v>")
            # As Excel saves a formula whose result is an empty text.
            .replace(b'<c r="B3">', b'<c r="B3" t="str">')
        ),
    )
    assert cells_of(content) == [["2025-01-02", "6"], ["2025-01-03", ""]]


@pytest.mark.parametrize("error", ["#N/A", "#DIV/0!", "#REF!"])
def test_an_error_in_a_cell_is_a_fault_that_names_the_cell(error: str) -> None:
    (row,) = rows_of(saved(workbook([["Date", "Avg"], ["2025-01-02", error]])))
    cell = row.cells[1]
    assert isinstance(cell, FaultyCell)
    assert f"cell B2 holds the error {error}" in cell.fault


def test_a_sheet_whose_declared_size_is_wrong_is_read_whole() -> None:
    book = saved(
        workbook([["Date", "Avg"], *[[f"2025-01-{day:02d}", day] for day in range(1, 20)]])
    )
    content = with_part(
        book, SHEET, lambda text: re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1"', text)
    )
    assert len(rows_of(content)) == 19


TABLE = [["Date", "Avg"], ["2025-01-02", 5]]
OTHER = [["Note"], ["made by hand"]]


def test_of_several_sheets_the_only_one_that_fits_is_read() -> None:
    content = saved(workbook(OTHER, TABLE, names=("Cover", "Data")))
    assert cells_of(content) == [["2025-01-02", "5"]]


def test_several_sheets_that_fit_are_named_and_one_must_be_chosen() -> None:
    content = saved(workbook(TABLE, TABLE, names=("2024", "2025")))
    assert "in several sheets: '2024', '2025'; say sheet" in refusal(content)
    assert len(rows_of(content, sheet="2025")) == 1


def test_a_sheet_that_is_not_there_names_those_that_are() -> None:
    content = saved(workbook(OTHER, TABLE, names=("Cover", "Data")))
    assert "has no sheet 'Prices'; it has 'Cover', 'Data'" in refusal(content, sheet="Prices")


def test_no_sheet_that_fits_names_what_each_one_lacks() -> None:
    renamed = [["Date", "Average"], ["2025-01-02", 5]]
    said = refusal(saved(workbook(OTHER, renamed, [], names=("Cover", "Data", "Empty"))))
    assert "sheet 'Cover' missing 'Date', 'Avg'" in said
    assert "sheet 'Data' missing 'Avg'; not known: 'Average'" in said
    assert "sheet 'Empty' is empty" in said


def test_a_hidden_sheet_is_read_only_when_it_is_named() -> None:
    book = workbook(OTHER, TABLE, names=("Cover", "Data"))
    book["Data"].sheet_state = "hidden"
    content = saved(book)
    assert 'hidden sheet: say sheet = "Data"' in refusal(content)
    assert len(rows_of(content, sheet="Data")) == 1


def test_a_workbook_that_breaks_off_gives_no_row() -> None:
    content = saved(workbook(TABLE))
    assert "damaged" in refusal(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("part", "change"),
    [
        pytest.param(SHEET, lambda text: text[: len(text) // 2], id="a sheet breaks off"),
        pytest.param(SHEET, lambda text: text.replace(b"<v>5", b"<v>five"), id="no number"),
        pytest.param(
            SHEET, lambda text: text.replace(b'row r="2"', b'row r="99999999"'), id="row number"
        ),
        pytest.param("xl/workbook.xml", lambda text: b"<oops", id="no book"),
        pytest.param("xl/styles.xml", lambda text: b"<oops", id="no styles"),
    ],
)
def test_a_workbook_with_a_damaged_part_is_refused_and_not_a_crash(part: str, change: Any) -> None:
    assert "is a damaged Excel workbook" in refusal(with_part(saved(workbook(TABLE)), part, change))


@given(st.binary(max_size=300), st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b", b"Date,Avg\n"]))
def test_whatever_the_bytes_are_they_are_read_or_refused(noise: bytes, start: bytes) -> None:
    with suppress(TableError):
        assert all(len(row.cells) == 2 or row.fault for row in rows_of(start + noise))


WORKBOOK = saved(workbook(TABLE))

PARTS = sorted(zipfile.ZipFile(io.BytesIO(WORKBOOK)).namelist())


@given(
    part=st.sampled_from([None, *PARTS]),
    changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_workbook_with_bytes_changed_is_read_or_refused(
    part: str | None, changes: list[tuple[int, int]]
) -> None:
    def changed(text: bytes) -> bytes:
        content = bytearray(text)
        for place, byte in changes:
            content[place % len(content)] = byte
        return bytes(content)

    content = with_part(WORKBOOK, part, changed) if part else changed(WORKBOOK)
    with suppress(TableError):
        assert all(len(row.cells) == len(TWO) for row in rows_of(content))


def test_the_strict_reader_keeps_the_order_that_is_asked_for() -> None:
    assert read_rows(b"b,a\n1,2\n", ("a", "b")) == [(2, ["2", "1"])]
    with pytest.raises(TableError, match="missing 'c'; new 'b'"):
        read_rows(b"b,a\n1,2\n", ("a", "c"))


def test_json_is_told_from_a_header_that_begins_with_a_bracket() -> None:
    content = b"[Date],[Avg]\n2025-01-02,5\n"
    assert cells_of(content, "[Date]", "[Avg]") == [["2025-01-02", "5"]]
    assert "is JSON" in refusal(json.dumps([{"Date": 1}]).encode())


def test_all_encodings_and_delimiters_together_find_one_reading() -> None:
    for encoding, mark in itertools.product(("utf-8", "gb18030"), (",", ";", "\t", "|")):
        content = f"日期{mark}均价\n2025年6月20日{mark}5\n".encode(encoding)
        assert cells_of(content, "日期", "均价") == [["2025年6月20日", "5"]]
