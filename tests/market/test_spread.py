from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecasting.market.definitions import CannotProjectError
from forecasting.market.flow import add_months
from forecasting.market.spread import month_grid, monthly_activity, spread_years, yearly_totals
from forecasting.results import SeriesForecast


def series(frequency: str, known: dict[date, float], ahead: dict[date, float]) -> SeriesForecast:
    return SeriesForecast(
        forecast_id="f",
        series="sales",
        title="Sales",
        unit="vehicles",
        frequency=frequency,
        cutoff=max(known),
        last_value=known[max(known)],
        history=tuple(sorted(known.items())),
        periods=tuple(sorted(ahead)),
        quantiles=tuple((ahead[period],) * 7 for period in sorted(ahead)),
        paths=(tuple(ahead[period] for period in sorted(ahead)),),
        model="random_walk",
        reason="",
        scores=(),
        observations=len(known),
        vintage=datetime(2025, 1, 1, tzinfo=UTC),
    )


@given(
    arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 6)), elements=st.floats(0, 1e9))
)
def test_every_years_total_is_kept_and_nothing_goes_below_zero(totals):
    monthly = spread_years(totals)
    sums = monthly.reshape(len(totals), 12, -1).sum(axis=1)
    assert np.allclose(sums, totals, rtol=1e-9, atol=1e-9)
    assert (monthly >= -1e-9 * max(1.0, totals.max())).all()


def test_equal_years_give_equal_months():
    assert np.allclose(spread_years(np.array([[12.0], [12.0], [12.0]])), 1.0)


def test_a_growing_series_does_not_jump_in_january():
    monthly = spread_years(np.array([[120.0], [240.0], [360.0]]))[:, 0]
    assert np.abs(np.diff(monthly)).max() < 1.5  # flat twelfths would jump by 10


def test_a_year_that_would_go_below_zero_gives_way_alone():
    totals = np.array([[120.0], [120.0], [120.0], [1.0], [1200.0]])
    monthly = spread_years(totals)[:, 0].reshape(5, 12)
    assert (monthly >= 0).all()
    assert monthly.sum(axis=1) == pytest.approx(totals[:, 0])
    # The years beside it stay smooth: flat twelfths would jump by 90 in the last January.
    assert np.abs(np.diff(monthly[4])).max() < 30
    assert monthly[4, 0] < 60


def test_a_month_is_the_same_however_far_a_market_looks():
    one = series(
        "year",
        {date(2020 + i, 1, 1): 10.0 * 2**i for i in range(5)},
        {date(2025 + i, 1, 1): 320.0 - 40 * i for i in range(6)},
    )
    short, long = (monthly_activity(one, month_grid(date(2025, 3, 1), 9, n)) for n in (1, 60))
    assert long[: len(short)] == pytest.approx(short)


def test_a_months_figure_is_taken_as_it_is():
    known = {add_months(date(2024, 1, 1), i): 10.0 + i for i in range(12)}
    one = series("month", known, {date(2025, 1, 1): 99.0})
    grid = [date(2024, 11, 1), date(2024, 12, 1), date(2025, 1, 1)]
    assert monthly_activity(one, grid)[:, 0].tolist() == [20.0, 21.0, 99.0]
    assert yearly_totals(one, [2024])[0, 0] == sum(known.values())


def test_what_is_below_zero_needs_nothing():
    one = series("year", {date(2024, 1, 1): 12.0}, {date(2025, 1, 1): -12.0})
    assert (monthly_activity(one, month_grid(date(2025, 1, 1), 1, 3)) >= 0).all()


def test_a_long_weekend_is_no_gap():
    days = [date(2024, 12, 1) + timedelta(i) for i in range(62)]
    working = {day: 1.0 for day in days if day.weekday() < 5 and day.day not in (25, 26)}
    known = {day: 1.0 for day in working if day.year == 2024}
    one = series("day", known, {day: 1.0 for day in working if day.year == 2025})
    assert monthly_activity(one, [date(2024, 12, 1), date(2025, 1, 1)])[:, 0].tolist() == [20, 23]


def test_days_are_added_up_and_a_week_over_a_months_end_counts_in_both():
    days = {date(2024, 12, 1) + timedelta(i): 2.0 for i in range(31)}
    daily = series("day", days, {date(2025, 1, 1) + timedelta(i): 3.0 for i in range(31)})
    found = monthly_activity(daily, [date(2024, 12, 1), date(2025, 1, 1)])[:, 0]
    assert found == pytest.approx([62.0, 93.0])
    weeks = [date(2024, 11, 25) + timedelta(7 * i) for i in range(12)]
    weekly = series("week", dict.fromkeys(weeks[:6], 7.0), dict.fromkeys(weeks[6:], 7.0))
    found = monthly_activity(weekly, [date(2024, 12, 1), date(2025, 1, 1)])[:, 0]
    assert found == pytest.approx([31.0, 31.0])


@pytest.mark.parametrize(
    ("one", "says"),
    [
        pytest.param(
            series("year", {date(2023, 1, 1): 1.0}, {date(2024, 1, 1): 1.0}),
            "sales: the market needs 2025, known or forecast is 2023-2024",
            id="years",
        ),
        pytest.param(
            series("month", {date(2024, 12, 1): 1.0}, {date(2025, 1, 1): 1.0}),
            "the market needs 2024-12 to 2025-03, known or forecast is 2024-12-01 to 2025-01-01",
            id="months",
        ),
        pytest.param(
            series("day", {date(2024, 12, 1): 1.0}, {date(2025, 1, 31): 1.0}),
            "needs 2024-12-01 to 2025-03-31, and nothing is known or forecast between 2024-12-01 and 2025-01-31",
            id="days",
        ),
        pytest.param(
            series("month", {date(2024, 12, 1): 1.0}, {date(2025, 3, 1): 1.0}),
            "sales: January 2025 is not known",
            id="a gap",
        ),
        pytest.param(
            series("week", {date(2024, 12, 2): 1.0}, {date(2024, 12, 9): 1.0}),
            "between 2024-11-24 and 2024-12-02",
            id="a week that begins in the month",
        ),
        pytest.param(
            series("year", {date(2024, 4, 1): 1.0}, {date(2025, 4, 1): 1.0}),
            "sales: its years begin in April; only calendar years",
            id="fiscal years",
        ),
        pytest.param(
            series("year", {date(2024, 1, 1): 1.0}, {date(2025, 1, 1): float("nan")}),
            "sales: its forecast holds a figure that is no finite number",
            id="no number",
        ),
    ],
)
def test_a_series_that_does_not_reach_is_refused_with_the_span_it_has(one, says):
    with pytest.raises(CannotProjectError) as caught:
        monthly_activity(one, month_grid(date(2025, 1, 1), 1, 3))
    assert says in str(caught.value)
