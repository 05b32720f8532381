from datetime import UTC, date, datetime

import numpy as np
import pytest

from forecasting.results import ObservedPoint, ObservedSeries
from forecasting.series import CannotForecastError, periods_after, prepare, scale_of

KNOWN = datetime(2025, 6, 21, tzinfo=UTC)


def month(index: int) -> date:
    return date(2010 + index // 12, index % 12 + 1, 1)


def observed(values: dict[date, float], frequency: str = "month") -> ObservedSeries:
    points = tuple(ObservedPoint(day, v, KNOWN, "src", "high") for day, v in values.items())
    return ObservedSeries("dy_oxide", "Dysprosium oxide", "USD/kg", frequency, points)


def months(count: int, start: int = 0) -> dict[date, float]:
    return {month(start + i): 100.0 + i for i in range(count)}


def test_every_period_is_kept_in_order():
    history = prepare(observed(months(14)))
    assert history.periods == tuple(month(i) for i in range(14))
    assert history.values.tolist() == [100.0 + i for i in range(14)]
    assert (history.note, history.vintage, history.observations) == ("", KNOWN, 14)


def test_too_few_observations_are_refused_by_name_and_number():
    with pytest.raises(
        CannotForecastError, match=r"^dy_oxide: 9 observations, 12 needed$"
    ) as error:
        prepare(observed(months(9)))
    assert error.value.series == "dy_oxide"


def test_nothing_at_all_is_refused():
    with pytest.raises(CannotForecastError, match="0 observations, 12 needed"):
        prepare(observed({}))


def test_five_years_are_too_few_and_six_are_enough():
    years = {date(2018 + i, 1, 1): float(i + 1) for i in range(6)}
    assert prepare(observed(years, "year")).values.size == 6
    with pytest.raises(CannotForecastError, match="5 observations, 6 needed"):
        prepare(observed(dict(list(years.items())[:5]), "year"))


def test_a_long_gap_starts_the_history_anew():
    history = prepare(observed({**months(36), **months(17, start=60)}))
    assert history.periods[0] == month(60)
    assert history.values.size == 17
    assert history.note == "36 observations before 2015-01 left out"


def test_a_short_stretch_after_a_gap_says_so():
    with pytest.raises(
        CannotForecastError, match="8 observations since the gap before 2015-01, 12 needed"
    ):
        prepare(observed({**months(36), **months(8, start=60)}))


def test_two_missing_months_are_filled_on_a_logarithmic_line_and_counted():
    values = {**months(12), month(11): 100.0, **{month(14 + i): 800.0 for i in range(3)}}
    history = prepare(observed(values))
    assert history.values[11:15] == pytest.approx([100.0, 200.0, 400.0, 800.0])
    assert np.flatnonzero(history.is_filled).tolist() == [12, 13]
    assert history.note == "2 missing months filled between neighbours"
    assert history.observations == 15


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_refused_with_its_month(bad):
    with pytest.raises(CannotForecastError, match="dy_oxide: the value of 2010-04 is"):
        prepare(observed({**months(20), month(3): bad}))


def test_days_become_the_last_value_of_their_month():
    values = {date(2024, m, d): m * 100.0 + d for m in range(1, 13) for d in (3, 9, 27)}
    history = prepare(observed(values, "day"))
    assert history.frequency == "month"
    assert history.values.tolist() == [m * 100.0 + 27 for m in range(1, 13)]


def test_values_above_zero_work_on_logarithms_and_others_on_levels():
    assert scale_of(np.array([1.0, 2.0])).is_log
    with_zero = scale_of(np.array([0.0, 2.0]))
    assert not with_zero.is_log
    assert with_zero.back(np.array([-1.0, 1.0])).tolist() == [0.0, 1.0]
    assert scale_of(np.array([-1.0, 2.0])).back(np.array([-3.0])).tolist() == [-3.0]


def test_periods_go_on_over_the_turn_of_the_year():
    assert periods_after(date(2025, 11, 1), "month", 3)[1:] == (date(2026, 1, 1), date(2026, 2, 1))
    assert periods_after(date(2025, 1, 1), "year", 2) == (date(2026, 1, 1), date(2027, 1, 1))


def test_a_history_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        prepare(observed(months(14))).values[0] = 1.0
