from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.sources.dates import form_fault, read_dates


def read(text: str, *forms: str, is_1904: bool = False) -> str:
    reading = read_dates([text], forms=forms, is_1904=is_1904)[text]
    return reading.iso or reading.fault


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2025-06-20", "2025-06-20"),
        ("2025/6/5", "2025-06-05"),
        ("2025.06.20", "2025-06-20"),
        ("20250620", "2025-06-20"),
        ("2025-06", "2025-06"),
        ("2025/6", "2025-06"),
        ("2025.06", "2025-06"),
        ("202506", "2025-06"),
        ("2025M06", "2025-06"),
        ("06/2025", "2025-06"),
        ("2025", "2025"),
        ("Jan 2025", "2025-01"),
        ("January 2025", "2025-01"),
        ("Sept. 2025", "2025-09"),
        ("Jan-2025", "2025-01"),
        ("2 Jan 2025", "2025-01-02"),
        ("02-Jan-2025", "2025-01-02"),
        ("2nd January, 2025", "2025-01-02"),
        ("Jan 2, 2025", "2025-01-02"),
        ("2025 Jan 2", "2025-01-02"),
        ("2025年6月20日", "2025-06-20"),
        ("2025年6月", "2025-06"),
        ("2025年", "2025"),
        ("２０２５年６月", "2025-06"),
        ("2025-06-20T14:30:00Z", "2025-06-20"),
        ("2025-06-20 00:00:00.000", "2025-06-20"),
        ("2025-06-20T23:30:00+08:00", "2025-06-20"),
        ("25/03/2025 2:30 PM", "2025-03-25"),
        (" 2025-06-20 ", "2025-06-20"),
        ("25/03/2025", "2025-03-25"),
        ("03/25/2025", "2025-03-25"),
        ("25.03.2025", "2025-03-25"),
        ("06/06/2025", "2025-06-06"),
        ("45828", "2025-06-20"),
        ("45828.604", "2025-06-20"),
    ],
)
def test_a_date_with_one_reading_is_read(text: str, iso: str) -> None:
    assert read(text) == iso


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("01/06/2025", "day or month first? Say so with dates = ["),
        ("1-6-2025", "day or month first?"),
        ("01.06.2025", "day or month first?"),
        ("20/06/25", "a year of two digits"),
        ("20-Jun-25", "a year of two digits"),
        ("Jun-25", "a year of two digits"),
        ("2025.1", "January or October"),
        ("2025-02-30", "not in the calendar"),
        ("32/13/2025", "not in the calendar"),
        ("202513", "not in the calendar"),
        ("2 Januar 2025", "names no English month"),
        ("2025Q1", "no date that can be read"),
        ("FY25", "no date that can be read"),
        ("12345", "no date that can be read"),
        ("Source: SMM", "no date that can be read"),
        ("", "is empty"),
        ("x" * 200, "…"),
    ],
)
def test_a_date_without_one_reading_says_why_and_what_to_do(text: str, said: str) -> None:
    assert said in read(text)
    assert len(read(text)) < 200


def test_a_workbook_from_1904_counts_its_days_from_there() -> None:
    assert read("44366", is_1904=True) == "2025-06-20"
    assert read("44366") == "2021-06-19"


@pytest.mark.parametrize(
    ("form", "text", "iso"),
    [
        ("%d/%m/%Y", "01/06/2025", "2025-06-01"),
        ("%m/%d/%Y", "01/06/2025", "2025-01-06"),
        ("%b-%y", "Jun-25", "2025-06"),
        ("%d-%b-%y", "20-Jun-25", "2025-06-20"),
        ("%Y%m%d", "20250620", "2025-06-20"),
        ("%d/%m/%Y %H:%M", "01/06/2025 14:30", "2025-06-01"),
        ("%Y", "2025", "2025"),
    ],
)
def test_a_declared_form_goes_first(form: str, text: str, iso: str) -> None:
    assert read(text, form) == iso


def test_beside_declared_forms_only_real_dates_of_a_sheet_are_read() -> None:
    forms = ("%d/%m/%Y",)
    assert read("2025-06-20", *forms) == "2025-06-20"
    assert read("45828", *forms) == "2025-06-20"
    assert read("2 Jan 2025", *forms) == "'2 Jan 2025' is not written as dates says (%d/%m/%Y)"


def test_three_forms_in_one_column_are_fine() -> None:
    found = read_dates(["2025-06-20", "21 Jun 2025", "20250622"])
    assert [it.iso for it in found.values()] == ["2025-06-20", "2025-06-21", "2025-06-22"]


def test_a_column_that_proves_both_orders_is_right_about_neither() -> None:
    found = read_dates(["25/03/2025", "03/26/2025", "2025-03-27", "04/04/2025"])
    assert "in different order" in found["25/03/2025"].fault
    assert "'25/03/2025'" in found["03/26/2025"].fault
    assert found["2025-03-27"].iso == "2025-03-27"
    assert found["04/04/2025"].iso == "2025-04-04"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("%d/%m", "says no year"),
        ("%Q", "is no form"),
        ("dd/mm/yyyy", "says no year"),
        ("%d/%m/%Y", ""),
    ],
)
def test_a_form_is_checked_before_it_is_used(form: str, said: str) -> None:
    assert said in form_fault(form)
    assert bool(said) == bool(form_fault(form))


@given(
    day=st.dates(date(1971, 1, 1), date(2099, 12, 31)),
    form=st.sampled_from(["%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d %b %Y", "%B %d, %Y"]),
)
def test_every_day_that_is_written_clearly_is_read_as_itself(day: date, form: str) -> None:
    assert read(day.strftime(form)) == day.isoformat()


@given(
    day=st.dates(date(1971, 1, 1), date(2099, 12, 31)),
    form=st.sampled_from(["%d/%m/%Y", "%m/%d/%Y"]),
)
def test_a_day_in_figures_is_read_as_itself_or_not_at_all(day: date, form: str) -> None:
    reading = read_dates([day.strftime(form)])[day.strftime(form)]
    assert reading.iso in (day.isoformat(), "")


@given(st.text(max_size=20))
def test_any_text_is_a_date_or_says_why_not(text: str) -> None:
    reading = read_dates([text])[text]
    assert bool(reading.iso) != bool(reading.fault)
