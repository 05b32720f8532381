"""When a figure counts as known whose publisher does not date it."""

from datetime import date, timedelta

import pytest

from flows.catalog import load_catalog

STORED = load_catalog().stored_series
# Quotes of the last day of a month, or means that end with it, which are there on that day.
KNOWN_AT_ONCE = {
    *("dy_oxide_month_end", "tb_oxide_month_end", "nd_oxide_month_end", "nd_oxide_month_mean"),
}


def test_every_series_of_months_or_years_says_how_long_after_their_end_it_comes_out() -> None:
    without = {name for name, it in STORED.items() if it.frequency != "day" and not it.lag_days}
    assert without == KNOWN_AT_ONCE


@pytest.mark.parametrize("series", ["wind_additions_world", "wind_additions_india"])
def test_irena_publishes_a_year_at_the_end_of_march(series: str) -> None:
    assert date(2025, 12, 31) + timedelta(days=STORED[series].lag_days) == date(2026, 3, 31)
