from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from unittest import mock

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.units import Rate, Rates
from flows.validation import (
    CONFIDENCES,
    Batch,
    RawRow,
    Span,
    Stored,
    parse_number,
    parse_period,
    validate,
)
from tests.sources.specs import Spec

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
SPECS = {
    "price": Spec("USD/kg", "month", max_step_ratio=3.0),
    "daily": Spec("USD/kg", "day"),
    "volume": Spec("t", "month", allows_zero=True, max_step_ratio=3.0),
    "output": Spec("t", "year", allows_zero=True),
    "customs": Spec("t", "month", allows_zero=True, lag_days=20, january_with_february=True),
    "quote": Spec("USD/kg", "day", flat_days=5),
    "domestic": Spec("USD/kg", "day"),
    "mean": Spec("USD/kg", "year"),
    "fiscal": Spec("t", "year", lag_days=10),
}
SOURCE_IDS = ("KOMIS", "USGS")


def make_row(**changes: object) -> RawRow:
    row = RawRow(
        file="prices.csv",
        row=2,
        raw="raw text",
        series="price",
        period="2026-09",
        value="100",
        unit="USD/kg",
        statistic="month_mean",
        published_on="2026-10-01",
        source_id="KOMIS",
        confidence="medium",
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def judge(*rows: RawRow, stored: float | None = None) -> Batch:
    return validate(
        "pretend",
        rows,
        series=SPECS,
        source_ids=SOURCE_IDS,
        now=NOW,
        stored=None if stored is None else lambda spans: before(spans, stored),
    )


def before(spans: Mapping[str, Span], value: float) -> dict[str, list[tuple[date, float]]]:
    """One value is kept of each series, of the day before the batch begins."""
    return {name: [(span.first - timedelta(days=1), value)] for name, span in spans.items()}


def months(*values: object, series: str = "price", unit: str = "USD/kg") -> list[RawRow]:
    return [
        make_row(series=series, unit=unit, row=at + 1, period=f"2026-{at:02d}", value=str(value))
        for at, value in enumerate(values, start=1)
    ]


def rows_of(batch: Batch) -> tuple[list[int], list[int]]:
    """The months that landed, and the row numbers that did not."""
    return [it.period.month for it in batch.observations], [it.row for it in batch.rejected]


def test_a_good_row_lands() -> None:
    batch = judge(make_row())
    assert batch.rejected == ()
    assert [it.period for it in batch.observations] == [date(2026, 9, 1)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"series": "prize"}, "series: 'prize' is not in the catalogue (did you mean 'price'?)"),
        ({"series": ""}, "series: '' is not in the catalogue"),
        ({"value": ""}, "value: is empty"),
        ({"value": "1,5"}, "decimal comma"),
        ({"value": "nan"}, "'nan' is not a number"),
        ({"value": "inf"}, "'inf' is not a number"),
        ({"value": "1e999"}, "too large"),
        ({"value": "=A1"}, "'=A1' is a formula, not its value"),
        ({"value": "1_000"}, "is not a number"),
        ({"value": "١٢"}, "is not a number"),
        ({"value": ">100"}, "is not a number"),
        ({"value": "0"}, "value: '0' must be above 0"),
        ({"value": "-5"}, "value: '-5' must be above 0"),
        ({"unit": "t"}, "unit: 't'"),
        ({"unit": "CNY/t incl. VAT"}, "unit: 'CNY/t incl. VAT'"),
        ({"unit": ""}, "unit: ''"),
        ({"period": "2026-12"}, "period: '2026-12' is in the future"),
        ({"period": "2026"}, "is a year, but the series has one value a month"),
        ({"period": "2026-09-15"}, "must be the first day of a month"),
        ({"period": "2026-13"}, "not in the calendar"),
        ({"period": "0226-09"}, "before 1900"),
        ({"period": "46266"}, "is not YYYY, YYYY-MM or YYYY-MM-DD"),
        ({"published_on": "2026-10"}, "is not a day"),
        ({"published_on": "2026-02-30"}, "not in the calendar"),
        ({"published_on": "2026-12-01"}, "published_on: '2026-12-01' is in the future"),
        ({"published_on": "9999-12-31"}, "is in the future"),
        ({"published_on": "2026-08-01"}, "2026-08-01 is before 2026-09-01, when the period began"),
        ({"source_id": ""}, "source_id: is empty"),
        ({"source_id": "USG"}, "did you mean 'USGS'?"),
        ({"confidence": "High"}, "none of high, medium, low, background, derived"),
        ({"note": "a\x00b"}, "note: holds a control character"),
        ({"statistic": "x" * 81}, "statistic: has more than 80 characters"),
        ({"note": "\ud800"}, "note: holds a control character"),
        ({"fault": "netWgt: is empty"}, "netWgt: is empty"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(
    changes: dict[str, object], reason: str
) -> None:
    (rejected,) = judge(make_row(**changes)).rejected
    assert reason in rejected.reason
    assert (rejected.file, rejected.row, rejected.raw) == ("prices.csv", 2, "raw text")


def test_all_faults_of_a_row_are_told_at_once() -> None:
    (rejected,) = judge(make_row(value="x", unit="t", source_id="")).rejected
    places = [rejected.reason.index(f"{field}: ") for field in ("value", "unit", "source_id")]
    assert places == sorted(places)


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_every_word_of_confidence_lands_unchanged(confidence: str) -> None:
    assert judge(make_row(confidence=confidence)).observations[0].confidence == confidence


def test_a_volume_may_be_nought_but_not_below() -> None:
    batch = judge(*months(0, -1, series="volume", unit="t"))
    assert rows_of(batch) == ([1], [3])


def test_what_was_asked_for_before_now_may_be_dated_tomorrow_further_east() -> None:
    late = NOW.replace(hour=15)
    row = make_row(series="daily", period="2026-11-24", known_at=late)
    batch = validate("s", [row], series=SPECS, source_ids=SOURCE_IDS, now=late)
    assert len(batch.observations) == 1


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,120.62", 1120.62),
        (" 5 ", 5.0),
        ("+3.", 3.0),
        ("1e3", 1000.0),
        ("1,234,567", 1234567.0),
        ("-0.5", -0.5),
    ],
)
def test_numbers_are_read_with_thousands_commas(text: str, number: float) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize("text", ["12,34", "1,2345", "1.2.3", "--1", "0x10", "1 000", "1e9999"])
def test_what_only_looks_like_a_number_is_refused(text: str) -> None:
    assert isinstance(parse_number(text), str)


@pytest.mark.parametrize(
    ("text", "frequency", "period"),
    [
        ("2026", "year", date(2026, 1, 1)),
        ("2026-04", "year", date(2026, 4, 1)),  # a fiscal year
        ("2026-04-01", "year", date(2026, 4, 1)),
        ("2026-09", "month", date(2026, 9, 1)),
        ("2026-09-01", "month", date(2026, 9, 1)),
        ("2026-09-17", "day", date(2026, 9, 17)),
    ],
)
def test_a_period_is_its_first_day(text: str, frequency: str, period: date) -> None:
    assert parse_period(text, frequency) == period


def test_a_row_told_twice_is_kept_once() -> None:
    batch = judge(make_row(row=2), make_row(row=3), make_row(row=4))
    assert len(batch.observations) == 1
    assert {it.reason for it in batch.rejected} == {
        "repeats row 2 of prices.csv: same series, period and instant"
    }


def test_of_rows_that_contradict_each_other_none_lands_whatever_their_order() -> None:
    rows = [make_row(row=2, value="100"), make_row(row=3, value="110")]
    for order in (rows, rows[::-1]):
        batch = judge(*order)
        assert batch.observations == ()
        assert [it.row for it in batch.rejected] == [2, 3]
        assert "row 2 of prices.csv: 100" in batch.rejected[0].reason


def test_a_later_edition_of_a_period_is_another_vintage() -> None:
    batch = judge(make_row(), make_row(row=3, value="110", published_on="2026-11-01"))
    assert [it.value for it in batch.observations] == [100.0, 110.0]


@pytest.mark.parametrize(
    ("values", "landed", "rejected"),
    [
        pytest.param((100, 299, 100, 34), [1, 2, 3, 4], [], id="steps within the bound"),
        pytest.param((100, 102, 715, 103), [1, 2, 4], [4], id="one value in another unit"),
        pytest.param((100, 102, 14, 103), [1, 2, 4], [4], id="one value far below"),
        pytest.param((100, 102, 715, 720), [1, 2], [4, 5], id="another unit from then on"),
        pytest.param((715, 100, 102, 103), [2, 3, 4], [2], id="a wrong first value"),
        pytest.param((100,), [1], [], id="one value"),
    ],
)
def test_a_jump_beyond_the_bound_is_quarantined(
    values: tuple[float, ...], landed: list[int], rejected: list[int]
) -> None:
    assert rows_of(judge(*months(*values))) == (landed, rejected)


def test_a_batch_that_is_off_as_a_whole_is_seen_from_what_is_stored() -> None:
    batch = judge(*months(715, 720, 730), stored=100.0)
    assert batch.observations == ()
    assert "is a step of more than 3 times" in batch.rejected[0].reason


def test_a_month_without_exports_is_no_jump() -> None:
    batch = judge(*months(100, 0, 110, 2000, series="volume", unit="t"))
    assert rows_of(batch) == ([1, 2, 3], [5])


def kept_monthly(*values: float | None, first: date = date(2026, 1, 1)) -> Stored:
    """What is kept of `price`, a value a month; None: nothing."""
    kept = [
        (date(first.year, first.month + at, 1), value)
        for at, value in enumerate(values)
        if value is not None
    ]

    def stored(spans: Mapping[str, Span]) -> dict[str, list[tuple[date, float]]]:
        return dict.fromkeys(spans, kept)

    return stored


def against(stored: Stored, *rows: RawRow) -> tuple[list[int], list[int]]:
    return rows_of(validate("s", rows, series=SPECS, source_ids=SOURCE_IDS, now=NOW, stored=stored))


def in_month(month: int, value: float, **changes: object) -> RawRow:
    changes = {"row": month + 1, "published_on": "", **changes}
    return make_row(period=f"2026-{month:02d}", value=str(value), **changes)


def test_a_sparse_batch_is_compared_with_what_is_kept_between_its_rows() -> None:
    """A revision of January and the new September; from 40 to 120 in small steps between them."""
    stored = kept_monthly(40, 50, 60, 75, 90, 100, 110, 120)
    assert against(stored, in_month(1, 41), in_month(9, 131)) == ([1, 9], [])
    assert against(stored, in_month(1, 41), in_month(9, 39)) == ([1], [10])


def test_a_batch_that_fills_in_the_past_is_compared_with_what_follows() -> None:
    stored = kept_monthly(100, 101, first=date(2026, 5, 1))
    assert against(stored, in_month(2, 90), in_month(3, 95)) == ([2, 3], [])
    assert against(stored, in_month(2, 0.1), in_month(3, 95)) == ([3], [3])


def test_a_whole_history_that_begins_before_what_is_kept_is_walked_from_what_is_kept_both_ways() -> (
    None
):
    """Growth by a third a month, far beyond the bound from end to end; the kept ones are in the middle."""
    values = [100 * 1.3**at for at in range(9)]
    rows = [in_month(at, value) for at, value in enumerate(values, 1) if at != 3]
    stored = kept_monthly(*values[4:6], first=date(2026, 5, 1))
    assert against(stored, *rows) == ([1, 2, 4, 5, 6, 7, 8, 9], [])
    wrong = [*rows[:-1], in_month(9, 1.0)]
    assert against(stored, *wrong) == ([1, 2, 4, 5, 6, 7, 8], [10])


def test_editions_of_one_period_are_each_compared_with_the_period_before() -> None:
    """A year revised upwards twice: no edition is a jump from the other, today or read again."""
    editions = [
        in_month(2, value, row=at, published_on=f"2026-0{at}-01")
        for at, value in ((4, 90), (5, 200), (6, 280))
    ]
    rows = [in_month(1, 100), *editions, in_month(3, 300)]
    first = judge(*rows)
    assert first.rejected == ()
    again = validate(
        "s",
        rows,
        series=SPECS,
        source_ids=SOURCE_IDS,
        now=NOW,
        stored=kept_monthly(100, 280, 300),
    )
    assert again.rejected == ()


def test_the_reason_of_a_jump_names_what_the_value_is_compared_with() -> None:
    batch = validate(
        "s",
        [in_month(3, 720)],
        series=SPECS,
        source_ids=SOURCE_IDS,
        now=NOW,
        stored=kept_monthly(70, 72),
    )
    assert "value: 720 USD/kg after 72 (kept) is a step" in batch.rejected[0].reason
    batch = judge(*months(70, 72, 720))
    assert "value: 720 USD/kg after 72 of 2026-02-01 is a step" in batch.rejected[0].reason


@given(
    st.lists(st.floats(1, 1000), min_size=1, max_size=12),
    st.dictionaries(st.integers(1, 12), st.floats(1, 1000), max_size=6),
)
@settings(deadline=None)
def test_the_quick_look_at_a_series_and_the_slow_one_agree(
    values: list[float], kept: dict[int, float]
) -> None:
    rows = [in_month(at, value) for at, value in enumerate(values, 1)]
    stored = kept_monthly(*(kept.get(month) for month in range(1, 13)))
    found = against(stored, *rows)
    with mock.patch("flows.validation.neighbours.Neighbours._is_smooth", return_value=False):
        assert against(stored, *rows) == found


def test_a_series_without_a_bound_may_jump() -> None:
    rows = [
        make_row(series="output", unit="t", period=str(year), value=value)
        for year, value in ((2023, "13000"), (2024, "1"), (2025, "90000"))
    ]
    assert len(judge(*rows).observations) == 3


# --- when a figure became known ------------------------------------------------------------


@pytest.mark.parametrize(
    ("series", "period", "known_on"),
    [
        pytest.param("customs", "2026-09", date(2026, 10, 20), id="days after the month's end"),
        pytest.param("customs", "2026-01", date(2026, 3, 20), id="January with February"),
        pytest.param("customs", "2026-02", date(2026, 3, 20), id="February"),
        pytest.param("daily", "2026-09-17", date(2026, 9, 17), id="a quote on its day"),
        pytest.param("fiscal", "2025", date(2026, 1, 10), id="a year"),
        pytest.param("fiscal", "2025-04", date(2026, 4, 10), id="a fiscal year"),
    ],
)
def test_an_undated_figure_is_known_after_the_usual_lag(
    series: str, period: str, known_on: date
) -> None:
    row = make_row(series=series, unit=SPECS[series].unit, period=period, published_on="")
    (found,) = judge(row).observations
    assert found.known_at == datetime(known_on.year, known_on.month, known_on.day, 12, tzinfo=UTC)
    assert not found.is_dated


def test_a_figure_that_came_before_its_usual_lag_is_known_from_now() -> None:
    row = make_row(series="customs", unit="t", period="2026-10", published_on="")
    early = datetime(2026, 11, 9, 8, tzinfo=UTC)
    batch = validate("s", [row], series=SPECS, source_ids=SOURCE_IDS, now=early)
    assert [it.known_at for it in batch.observations] == [early]


def test_a_dated_figure_keeps_its_day_whatever_the_lag() -> None:
    row = make_row(series="customs", unit="t", published_on="2026-10-07")
    (found,) = judge(row).observations
    assert (found.known_at.date(), found.is_dated) == (date(2026, 10, 7), True)


# --- units ----------------------------------------------------------------------------------


def rate(base: str, quote: str, day: date) -> Rate | str:
    if day < date(2020, 1, 1):
        return f"no {quote}/{base} rate is known on {day}"
    return Rate(7.0 + day.month / 100, day, "ECB_EXR", "medium")


def of_period(first: date, last: date, known_at: datetime) -> Rates:
    return rate


def in_yuan(**changes: object) -> RawRow:
    return make_row(
        series="domestic",
        unit="CNY/t incl. VAT",
        value="791000",
        period="2026-09-17",
        confidence="high",
        **changes,
    )


def test_a_price_in_yuan_a_tonne_lands_in_dollars_with_what_was_written_and_how() -> None:
    batch = validate(
        "s", [in_yuan()], series=SPECS, source_ids=SOURCE_IDS, now=NOW, rates=of_period
    )
    (found,) = batch.observations
    assert found.value == pytest.approx(791_000 / 1000 / 7.09)
    assert (found.unit, found.raw_value, found.raw_unit) == ("USD/kg", "791000", "CNY/t incl. VAT")
    assert "7.09" in found.note
    # No figure is better than the rate that it was converted with.
    assert found.confidence == "medium"


def test_a_price_of_a_year_in_which_the_vat_changed_is_not_converted() -> None:
    row = make_row(series="mean", unit="CNY/t excl. VAT", period="2019", value="300000")
    batch = validate("s", [row], series=SPECS, source_ids=SOURCE_IDS, now=NOW, rates=of_period)
    (rejected,) = batch.rejected
    assert "16" in rejected.reason
    assert "13" in rejected.reason


def test_without_a_rate_the_row_waits_in_quarantine_with_the_reason() -> None:
    row = in_yuan(published_on="")
    old = replace(row, period="2019-09-17", row=3)
    batch = validate("s", [row, old], series=SPECS, source_ids=SOURCE_IDS, now=NOW, rates=of_period)
    assert len(batch.observations) == 1
    (rejected,) = batch.rejected
    assert rejected.row == 3
    assert "no CNY/USD rate is known on 2019-09-17" in rejected.reason


@pytest.mark.parametrize("value", ["1e308", "1e-322"])
def test_a_number_that_is_none_in_the_unit_of_its_series_is_turned_away(value: str) -> None:
    """USD/kg into a series of USD/t and back: infinite, or nought."""
    unit = "USD/g" if value == "1e308" else "USD/t"
    (rejected,) = judge(make_row(unit=unit, value=value)).rejected
    assert "is too large or too small in USD/kg" in rejected.reason


def test_a_unit_changed_without_notice_is_a_jump_against_what_is_stored() -> None:
    """CNY/kg under the heading of CNY/t: a thousandth of every value."""
    rows = months(0.0721, 0.0722, 0.0725)
    batch = judge(*rows, stored=72.0)
    assert batch.observations == ()
    assert len(batch.rejected) == 3
    assert "a unit or basis may have changed" in batch.rejected[0].reason


# --- ranges, flat quotes, gaps ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"low": "101"}, "value: '100' is below the low of its range, 101"),
        ({"high": "99"}, "value: '100' is above the high of its range, 99"),
        ({"low": "a", "high": "120"}, "low: 'a' is not a number"),
    ],
)
def test_a_value_outside_its_own_range_is_turned_away(
    changes: dict[str, object], reason: str
) -> None:
    (rejected,) = judge(make_row(**changes)).rejected
    assert reason in rejected.reason


def test_a_value_at_the_edge_of_its_range_lands() -> None:
    assert judge(make_row(low="100", high="100")).rejected == ()


def quotes(*values: float, first: date = date(2026, 9, 7)) -> list[RawRow]:
    """One quote a working day from a Monday on."""
    days = [first + timedelta(days=at // 5 * 7 + at % 5) for at in range(len(values))]
    return [
        make_row(series="quote", row=at, period=str(day), value=str(value), published_on="")
        for at, (day, value) in enumerate(zip(days, values, strict=True), 1)
    ]


def test_a_quote_that_has_not_moved_for_too_many_working_days_is_turned_away() -> None:
    batch = judge(*quotes(*[96.5] * 8, 97.0, 97.0))
    assert [it.row for it in batch.rejected] == [7, 8]
    assert batch.rejected[0].reason == (
        "value: 96.5 USD/kg has not moved for 6 working days (since 2026-09-07): "
        "more than 5 is taken for a quote that nobody renewed"
    )


def test_days_without_a_move_are_counted_from_what_is_stored() -> None:
    def stored(spans: Mapping[str, Span]) -> dict[str, list[tuple[date, float]]]:
        kept = [(date(2026, 8, 31), 90.0), (date(2026, 9, 1), 96.5), (date(2026, 9, 4), 96.5)]
        return dict.fromkeys(spans, kept)

    batch = validate(
        "s",
        quotes(96.5, 96.5, 96.5, 97.0),
        series=SPECS,
        source_ids=SOURCE_IDS,
        now=NOW,
        stored=stored,
    )
    assert [it.row for it in batch.rejected] == [3]
    assert "has not moved for 6 working days (since 2026-09-01)" in batch.rejected[0].reason


def test_a_series_without_such_a_bound_may_stand_still() -> None:
    rows = [replace(row, series="daily") for row in quotes(*[96.5] * 30)]
    assert judge(*rows).rejected == ()


def test_periods_that_are_missing_are_told_and_those_stored_before_count() -> None:
    rows = [row for row in months(100, 101, 102, 103, 104) if row.period != "2026-03"]
    (gap,) = judge(*rows).gaps
    assert str(gap) == "price: 4 of 5 periods; missing 2026-03-01"
    whole = [(date(2025, 11, 1), 99.0)]
    batch = validate(
        "s",
        rows[:2],
        series=SPECS,
        source_ids=SOURCE_IDS,
        now=NOW,
        stored=lambda spans: dict.fromkeys(spans, whole),
    )
    assert [str(gap) for gap in batch.gaps] == ["price: 3 of 4 periods; missing 2025-12-01"]


def test_holidays_are_no_gap_and_what_is_longer_is() -> None:
    rows = quotes(*range(100, 130))
    assert judge(*rows[:5], *rows[13:]).gaps == ()
    (gap,) = judge(*rows[:5], *rows[14:]).gaps
    assert gap.expected - gap.present == 9


def test_a_quote_of_seven_days_a_week_that_comes_day_by_day_is_seen_to_stand_still() -> None:
    first = date(2026, 9, 1)
    kept: list[tuple[date, float]] = []
    refused = 0

    def stored(spans: Mapping[str, Span]) -> dict[str, list[tuple[date, float]]]:
        return {name: kept[-span.before - 1 :] for name, span in spans.items()}

    for at in range(30):
        row = make_row(
            series="quote", period=str(first + timedelta(days=at)), value="96.5", published_on=""
        )
        batch = validate(
            "s",
            [row],
            series=SPECS,
            source_ids=SOURCE_IDS,
            now=NOW,
            stored=stored,
        )
        refused += len(batch.rejected)
        kept.extend((it.period, it.value) for it in batch.observations)
    assert refused > 20


def test_weekends_are_no_gap() -> None:
    assert judge(*quotes(*range(100, 112))).gaps == ()


# --- tables -------------------------------------------------------------------------------------


def test_a_table_and_its_rows_one_by_one_are_judged_alike() -> None:
    rows = [*months(100, 300, 3000, 280), make_row(row=9, value="x"), make_row(row=10, unit="t")]
    table = pd.DataFrame(
        {
            name: pd.Categorical([getattr(row, name) for row in rows])
            if name not in {"row", "known_at"}
            else [getattr(row, name) for row in rows]
            for name in RawRow.__dataclass_fields__
            if name not in {"note", "low", "high", "fault", "known_at", "raw_value", "raw_unit"}
        }
    )
    one, other = (
        judge(*rows),
        validate("pretend", table, series=SPECS, source_ids=SOURCE_IDS, now=NOW),
    )
    assert one.observations == other.observations
    assert one.rejected == other.rejected


def test_no_rows_are_no_batch() -> None:
    batch = judge()
    assert (batch.read, batch.observations, batch.gaps) == (0, (), ())
    assert batch.newest(NOW) is None
    assert batch.age_days(NOW, NOW) is None


def test_a_quarantined_text_is_short_and_printable() -> None:
    (rejected,) = judge(make_row(raw="\x00" + "x" * 10_000, value="y" * 10_000)).rejected
    assert len(rejected.raw) == 500
    assert rejected.raw.startswith("\ufffd")
    assert rejected.reason.endswith("is not a number")


texts = st.one_of(st.text(max_size=12), st.text(alphabet="0123456789.,-+eE ", max_size=12))
days = st.dates(date(2025, 1, 1), date(2027, 1, 1)).map(str)
rows = st.builds(
    RawRow,
    file=st.sampled_from(["a.csv", "b.csv"]),
    row=st.integers(1, 20),
    raw=st.text(max_size=20),
    series=st.one_of(st.sampled_from(list(SPECS)), texts),
    period=st.one_of(st.sampled_from(["2025", "2025-01", "2025-02"]), days, texts),
    value=st.one_of(st.floats().map(str), st.integers(0, 9).map(str), texts),
    unit=st.one_of(st.sampled_from(["USD/kg", "t"]), texts),
    statistic=texts,
    published_on=st.one_of(days, texts),
    source_id=st.one_of(st.sampled_from(SOURCE_IDS), texts),
    confidence=st.one_of(st.sampled_from(CONFIDENCES), texts),
    note=texts,
    raw_value=texts,
    known_at=st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))),
    fault=st.one_of(st.just(""), texts),
)
# Rows that are all but right, so that doubles and jumps are met often.
near_rows = st.builds(
    lambda month, value, day, row: make_row(
        row=row, period=f"2026-{month:02d}", value=value, published_on=f"2026-10-{day:02d}"
    ),
    st.integers(1, 9),
    st.sampled_from(["0", "1", "2", "5", "10", "40", "1e-320", "1e308"]),
    st.integers(1, 3),
    st.integers(2, 30),
)


@settings(deadline=None)
@given(st.lists(st.one_of(rows, near_rows), max_size=30))
def test_whatever_rows_say_each_is_accepted_or_rejected(read: list[RawRow]) -> None:
    batch = judge(*read)
    assert len(batch.observations) + len(batch.rejected) == batch.read == len(read)
    assert all(it.reason for it in batch.rejected)
    assert all(
        it.value >= 0 and it.known_at.utcoffset() == timedelta(0) for it in batch.observations
    )
    keys = [(it.series, it.period, it.known_at) for it in batch.observations]
    assert len(set(keys)) == len(keys)


@settings(deadline=None)
@given(
    st.lists(near_rows, max_size=20).flatmap(lambda it: st.tuples(st.just(it), st.permutations(it)))
)
def test_the_order_of_rows_changes_nothing_that_lands(
    orders: tuple[list[RawRow], list[RawRow]],
) -> None:
    one, other = (judge(*read) for read in orders)
    assert set(one.observations) == set(other.observations)
    assert len(one.rejected) == len(other.rejected)
