import csv
import io
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from flows.sources.mapping import ColumnMap, Mapped, Measured, Named, map_rows, stacked
from flows.sources.tables import Layout, open_table
from flows.validation import RawRow

NDPR = Measured("Avg", "ndpr_oxide_cn", unit="CNY/t")
WIDE = ColumnMap(period="Date", columns=(NDPR,))
LONG = ColumnMap(
    period="Date",
    rows=Named(
        value="Value",
        names="Product",
        series={"NdPr oxide": "ndpr", "Dy oxide": "dy"},
        unit="CNY/t",
    ),
)


def mapped(content: bytes, columns: ColumnMap = WIDE) -> Mapped:
    table = open_table(content, Layout(columns.names))
    return map_rows(
        table.chunks,
        table.header,
        columns,
        file="drop.csv",
        source_id="csv_drop.smm",
        confidence="medium",
        is_1904=table.is_1904,
    )


def rows_of(content: bytes, columns: ColumnMap = WIDE) -> list[RawRow]:
    return as_rows(mapped(content, columns).table)


def as_rows(table: pd.DataFrame) -> list[RawRow]:
    known = [name for name in table.columns if name in {part.name for part in fields(RawRow)}]
    assert known == list(table.columns)
    return [
        RawRow(**dict(zip(known, cells, strict=True))) for cells in table.itertuples(index=False)
    ]


def lines(*texts: str) -> bytes:
    return ("\n".join(texts) + "\n").encode()


def sheet(*rows: Sequence[object]) -> bytes:
    book = Workbook()
    for row in rows:
        book.active.append(list(row))
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


# --- wide and long ----------------------------------------------------------


def test_a_wide_table_gives_a_row_for_each_mapped_column() -> None:
    columns = ColumnMap(
        period="Date",
        published="Updated",
        columns=(
            Measured("NdPr avg", "ndpr", unit="CNY/t", low="NdPr low", high="NdPr high"),
            Measured("Dy avg", "dy", unit_column="Unit", statistic="month_mean", note="spot"),
        ),
    )
    content = lines(
        "Date,Updated,NdPr low,NdPr avg,NdPr high,Dy avg,Unit",
        "2025-06-20,2025-06-21,500,510,520,1700,CNY/kg",
    )
    ndpr, dy = rows_of(content, columns)
    raw = "2025-06-20,2025-06-21,500,510,520,1700,CNY/kg"
    assert ndpr == RawRow(
        file="drop.csv",
        row=2,
        raw=raw,
        series="ndpr",
        period="2025-06-20",
        value="510",
        unit="CNY/t",
        published_on="2025-06-21",
        source_id="csv_drop.smm",
        confidence="medium",
        low="500",
        high="520",
        field="NdPr avg",
    )
    assert (dy.series, dy.value, dy.unit, dy.statistic, dy.note) == (
        "dy",
        "1700",
        "CNY/kg",
        "month_mean",
        "spot",
    )
    assert (dy.low, dy.high) == ("", "")


def test_a_long_table_gives_a_row_for_each_listed_name_and_counts_the_others() -> None:
    found = mapped(
        lines(
            "Date,Product,Value",
            "2025-06-20,NdPr  oxide,510",
            "2025-06-20,Dy oxide,1700",
            "2025-06-20,Ce oxide,9",
            "2025-06-21,Ce oxide,9",
        ),
        LONG,
    )
    assert [(it.series, it.value, it.row) for it in as_rows(found.table)] == [
        ("ndpr", "510", 2),
        ("dy", "1700", 3),
    ]
    assert found.others == {"Ce oxide": 2}
    assert found.met == {"NdPr oxide", "Dy oxide"}


def test_a_cell_without_a_figure_is_counted_and_gives_no_row() -> None:
    columns = ColumnMap(period="Date", columns=(NDPR,), no_figure=("-", "n/a"))
    content = lines("Date,Avg", "2025-06-20,", "2025-06-21,-", "2025-06-22, n/a ", "2025-06-23,W")
    found = mapped(content, columns)
    assert found.not_published == 3
    assert [it.value for it in as_rows(found.table)] == ["W"]


def test_an_end_of_a_range_without_a_figure_is_empty_and_takes_nothing_with_it() -> None:
    columns = ColumnMap(
        period="Date",
        columns=(Measured("Avg", "ndpr", unit="CNY/t", low="Low", high="High"),),
        no_figure=("-",),
    )
    (row,) = rows_of(lines("Date,Low,Avg,High", "2025-06-20,-,510,520"), columns)
    assert (row.low, row.value, row.high, row.fault) == ("", "510", "520", "")


@pytest.mark.parametrize("text", ["nan", "inf", "1.234,56", "12,5", "#REF!", "see note", "-7"])
def test_a_value_is_left_as_it_is_written_for_validation_to_judge(text: str) -> None:
    (row,) = rows_of(lines("Date;Avg", f'2025-06-20;"{text}"'))
    assert (row.value, row.fault) == (text, "")


def test_a_row_that_can_not_be_cut_into_cells_comes_with_its_fault_and_nothing_else() -> None:
    content = lines("Date,Avg", "2025-06-20,1,5", "2025-06-21,6")
    faulty, sound = rows_of(content)
    assert faulty.fault.startswith("row: has 3 cells instead of 2")
    assert (faulty.row, faulty.raw, faulty.series) == (2, "2025-06-20,1,5", "")
    assert (sound.row, sound.value, sound.fault) == (3, "6", "")


def test_a_published_day_may_be_missing_but_not_unreadable() -> None:
    columns = ColumnMap(period="Date", columns=(NDPR,), published="Updated")
    content = lines(
        "Date,Avg,Updated", "2025-06-20,5,", "2025-06-21,6,soon", "2025-06-22,7,Jun 2025"
    )
    none, unreadable, month = rows_of(content, columns)
    assert (none.published_on, none.fault) == ("", "")
    assert unreadable.fault.startswith("Updated: 'soon' is no date")
    assert month.published_on == "2025-06"


# --- dates ------------------------------------------------------------------


def test_dates_in_three_forms_land_as_one() -> None:
    found = rows_of(lines("Date,Avg", "2025-06-20,5", "21 Jun 2025,6", "2025年6月22日,7"))
    assert [it.period for it in found] == ["2025-06-20", "2025-06-21", "2025-06-22"]


def test_an_ambiguous_date_is_a_fault_of_its_row_alone() -> None:
    ambiguous, sound = rows_of(lines("Date,Avg", "01/06/2025,5", "2025-06-02,6"))
    assert ambiguous.fault.startswith("Date: '01/06/2025': day or month first?")
    assert ambiguous.series == "ndpr_oxide_cn"
    assert sound.fault == ""


def test_declared_dates_settle_which_comes_first() -> None:
    columns = ColumnMap(period="Date", columns=(NDPR,), dates=("%d/%m/%Y",))
    assert rows_of(lines("Date,Avg", "01/06/2025,5"), columns)[0].period == "2025-06-01"


def test_a_file_that_proves_both_orders_has_a_fault_in_each_such_row() -> None:
    found = rows_of(lines("Date,Avg", "25/03/2025,5", "03/26/2025,6", "2025-03-27,7"))
    assert ["different order" in it.fault for it in found] == [True, True, False]


def test_a_finer_date_is_cut_to_what_the_row_measures() -> None:
    columns = ColumnMap(period="Date", columns=(NDPR,), frequency="month")
    assert rows_of(lines("Date,Avg", "2025-06-30,5"), columns)[0].period == "2025-06"


def test_a_figure_without_a_date_is_a_fault() -> None:
    (row,) = rows_of(lines("Date,Avg", ",5"))
    assert row.fault == "Date: is empty"


def test_a_sheets_dates_and_day_numbers_are_read() -> None:
    content = sheet(
        ("Date", "Avg"), (date(2025, 6, 20), 5), (45829, 6), ("22 Jun 2025", 7), (20250623, 8)
    )
    found = rows_of(content)
    assert [it.period for it in found] == ["2025-06-20", "2025-06-21", "2025-06-22", "2025-06-23"]
    assert [it.row for it in found] == [2, 3, 4, 5]


# --- numbers ----------------------------------------------------------------

COMMA = ColumnMap(period="Date", columns=(NDPR,), decimal=",")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1234,56", "1234.56"),
        ("1.234,56", "1234.56"),
        ("1 234,56", "1234.56"),
        ("1\u202f234,56", "1234.56"),
        ("1'234'567", "1234567"),
        ("1.234", "1234"),
        ("-0,5", "-0.5"),
        ("5,", "5."),
        ("1,5e3", "1.5e3"),
        ("n/a", "n/a"),
        ("NaN", "NaN"),
    ],
)
def test_a_declared_decimal_comma_becomes_a_point(text: str, value: str) -> None:
    (row,) = rows_of(lines("Date;Avg", f"2025-06-20;{text}"), COMMA)
    assert (row.value, row.fault) == (value, "")


@pytest.mark.parametrize("text", ["1234.56", "1,234.56", "1.23", "1,2,3", "12.34.567"])
def test_marks_that_contradict_the_declared_comma_are_a_fault(text: str) -> None:
    (row,) = rows_of(lines("Date;Avg", f'2025-06-20;"{text}"'), COMMA)
    assert row.fault == f"Avg: {text!r} is not written with a decimal comma"


def test_a_sheets_own_numbers_have_a_point_under_any_declaration() -> None:
    numeric, text = rows_of(
        sheet(("Date", "Avg"), ("2025-06-20", 1.234), ("2025-06-21", "1,5")), COMMA
    )
    assert (numeric.value, text.value) == ("1.234", "1.5")
    assert numeric.fault == text.fault == ""


def test_where_decimal_commas_are_proven_a_doubtful_number_is_no_longer_believed() -> None:
    content = lines(
        "Date;Avg", "2025-06-20;1,234", "2025-06-21;12,5", "2025-06-22;1.234", "2025-06-23;7"
    )
    found = rows_of(content)
    assert [bool(it.fault) for it in found] == [True, False, True, False]
    assert "'1,234' has two readings" in found[0].fault
    assert 'decimal = ","' in found[0].fault


def test_dots_that_must_stand_between_thousands_put_every_doubtful_number_in_doubt() -> None:
    content = lines(
        *("Date;Avg", "2025-06-20;41.230", "2025-06-21;1.041.230"),
        *("2025-06-22;41.2", "2025-06-23;7", "2025-06-24;0.123"),
    )
    found = rows_of(content)
    assert [bool(it.fault) for it in found] == [True, True, False, False, False]
    assert found[0].fault == (
        "Avg: '41.230' has two readings, as '1.041.230' in the same file has dots between "
        'thousands; set decimal = ","'
    )
    assert found[1].fault == ("Avg: '1.041.230' has dots between thousands; set decimal = \",\"")
    declared = rows_of(content, COMMA)
    assert [it.value for it in declared[:2]] == ["41230", "1041230"]


@pytest.mark.parametrize("text", ["1.041", "0.041.230", "10.41.230", "1.041.2300", "2025.06.20"])
def test_dots_that_prove_nothing_raise_no_doubt(text: str) -> None:
    content = lines("Date;Avg", "2025-06-20;41.230", f"2025-06-21;{text}")
    assert rows_of(content)[0].fault == ""


def test_a_sheets_own_numbers_stay_beside_texts_with_dots_between_thousands() -> None:
    numeric, text = rows_of(sheet(("Date", "Avg"), ("2025-06-20", 41.23), ("2025-06-21", "1.0.0")))
    assert numeric.fault == text.fault == ""
    numeric, text = rows_of(
        sheet(("Date", "Avg"), ("2025-06-20", 41.235), ("2025-06-21", "1.041.230"))
    )
    assert (numeric.fault, bool(text.fault)) == ("", True)


def test_every_figure_of_a_row_says_in_which_column_it_stood() -> None:
    columns = ColumnMap(period="Date", columns=(NDPR, Measured("Dy", "dy", unit="CNY/t")))
    content = lines("Date;Avg;Dy", "2025-06-20;NaN;NaN", "2025-06-21;1", "2025-06-22;1.041.230;1")
    found = [(it.row, it.series, it.field) for it in rows_of(content, columns)]
    assert sorted(found) == [
        (2, "dy", "Dy"),
        (2, "ndpr_oxide_cn", "Avg"),
        (3, "", ""),
        (4, "dy", "Dy"),
        (4, "ndpr_oxide_cn", "Avg"),
    ]
    (long,) = rows_of(lines("Date;Product;Value", "2025-06-20;Dy oxide;5"), LONG)
    assert long.field == "Value"


def test_thousands_commas_alone_raise_no_doubt() -> None:
    content = lines("Date;Avg", "2025-06-20;1,234", "2025-06-21;1,234.5", "2025-06-22;1,234,567")
    assert [it.fault for it in rows_of(content)] == ["", "", ""]


# --- cells of a sheet that hold no value ------------------------------------


def test_an_error_or_unsaved_formula_is_a_fault_of_its_figure_alone() -> None:
    columns = ColumnMap(
        period="Date",
        columns=(NDPR, Measured("Dy", "dy", unit="CNY/t")),
    )
    content = sheet(("Date", "Avg", "Dy"), ("2025-06-20", "=1+1", 7), ("2025-06-21", 6, "#DIV/0!"))
    faults = {(it.series, it.row): it.fault for it in rows_of(content, columns)}
    assert faults["ndpr_oxide_cn", 2].startswith("cell B2 holds the formula '=1+1'")
    assert faults["dy", 3].startswith("cell C3 holds the error #DIV/0!")
    assert faults["dy", 2] == faults["ndpr_oxide_cn", 3] == ""


def test_a_row_whose_name_is_an_error_may_be_ours_and_is_not_passed_over() -> None:
    content = sheet(
        ("Date", "Product", "Value"), ("2025-06-20", "#N/A", 5), ("2025-06-20", "Dy oxide", 6)
    )
    found = mapped(content, LONG)
    assert [it.fault[:13] for it in as_rows(found.table)] == ["cell B2 holds", ""]
    assert not found.others


# --- as a whole -------------------------------------------------------------


def test_a_table_says_nothing_of_what_the_map_does_not_fill() -> None:
    table = mapped(lines("Date,Avg", "2025-06-20,5")).table
    assert not {"low", "high", "published_on", "statistic", "note", "fault"} & set(table.columns)
    for name in ("series", "unit", "file", "source_id", "confidence", "period"):
        assert isinstance(table[name].dtype, pd.CategoricalDtype)


def test_tables_of_several_files_are_stacked_with_what_only_one_of_them_has() -> None:
    sound = mapped(lines("Date,Avg", "2025-06-20,5")).table
    faulty = mapped(lines("Date,Avg", "01/06/2025,6")).table
    empty = mapped(lines("Date,Avg")).table
    found = stacked([sound, faulty, empty])
    assert [(it.value, bool(it.fault)) for it in as_rows(found)] == [("5", False), ("6", True)]
    assert isinstance(found["series"].dtype, pd.CategoricalDtype)


@given(
    figures=st.lists(
        st.tuples(
            st.dates(date(1971, 1, 1), date(2099, 1, 1)),
            st.sampled_from(["NdPr oxide", "Dy oxide", "Ce oxide"]),
            st.decimals(-99_999, 99_999, places=2),
        ),
        min_size=1,
        max_size=12,
    ),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030", "cp1252"]),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    decimal=st.sampled_from([".", ","]),
    form=st.sampled_from(["%Y-%m-%d", "%d/%m/%Y", "%d %b %Y", "%Y%m%d"]),
)
def test_any_figures_survive_any_encoding_delimiter_decimal_sign_and_form_of_date(
    figures: list[tuple[date, str, Decimal]], encoding: str, delimiter: str, decimal: str, form: str
) -> None:
    value_name = "Größe" if encoding == "cp1252" else "均价"
    assert LONG.rows is not None
    columns = ColumnMap(
        period="Date",
        rows=Named(value_name, "Product", LONG.rows.series, unit="CNY/t"),
        decimal=decimal if encoding != "utf-8" else decimal.replace(".", ""),
        dates=("%d/%m/%Y",) if "/" in form else (),
    )
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(["Date", "Product", value_name])
    for day, name, number in figures:
        writer.writerow([day.strftime(form), name, str(number).replace(".", decimal)])
    found = mapped(out.getvalue().encode(encoding), columns)
    ours = [
        (day.isoformat(), LONG.rows.series[name], number)
        for day, name, number in figures
        if name in LONG.rows.series
    ]
    rows = as_rows(found.table)
    assert [it.fault for it in rows] == [""] * len(ours)
    assert [(it.period, it.series, Decimal(it.value)) for it in rows] == ours
    assert sum(found.others.values()) == len(figures) - len(ours)


BIG = """
import resource, sys
from pathlib import Path
from flows.sources.mapping import ColumnMap, Named, map_rows
from flows.sources.tables import Layout, open_table

columns = ColumnMap(
    period="Date",
    rows=Named("Value", "Product", {f"product {at}": f"s{at}" for at in range(400)}, unit_column="Unit"),
)
content = Path(sys.argv[1]).read_bytes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
table = open_table(content, Layout(columns.names))
found = map_rows(table.chunks, table.header, columns, file="f", source_id="s", confidence="low").table
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
faulty = found[found["fault"] != ""]
print(len(found), found["row"].max(), faulty["row"].tolist(), found["series"].nunique(), grown // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
def test_a_million_rows_land_within_half_a_gigabyte_and_one_bad_row_loses_no_other(
    tmp_path: Path,
) -> None:
    file = tmp_path / "big.csv"
    with file.open("w", encoding="utf-8") as out:
        out.write("Date,Product,Value,Unit,Id,Remark\n")
        for at in range(1_000_000):
            value = "1,5" if at == 499_999 else f"{at * 7919 % 1_000_003 / 100}"
            day = f"20{at % 28:02d}-{at % 12 + 1:02d}-{at % 28 + 1:02d}"
            out.write(f"{day},product {at % 400},{value},CNY/t,{at},ok\n")
    done = subprocess.run(
        [sys.executable, "-c", BIG, str(file)],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    count, last, faulty, series, grown_mb = done.stdout.split()
    # 400 series, and the row that could not be cut into cells, which has none.
    assert (count, last, faulty, series) == ("1000000", "1000001", "[500001]", "401")
    assert int(grown_mb) < 500


def test_parts_that_a_row_may_say_nothing_of_are_left_out() -> None:
    found: Any = mapped(lines("Date,Avg"))
    assert found.table.empty
    assert list(found.table.columns)[:3] == ["file", "source_id", "confidence"]


def test_periods_are_read_once_however_often_they_occur() -> None:
    days = [date(2020, 1, 1) + timedelta(days=at % 50) for at in range(1000)]
    table = mapped(lines("Date,Avg", *(f"{day},5" for day in days))).table
    assert len(table["period"].cat.categories) == 50
    assert [it.period for it in as_rows(table)] == [day.isoformat() for day in days]
