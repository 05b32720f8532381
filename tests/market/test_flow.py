from datetime import UTC, date, datetime

import numpy as np
import pytest

from forecasting.market.flow import (
    FlowDraws,
    add_months,
    flow_paths,
    months_between,
    normal_level,
    observed_ratios,
)
from forecasting.results import ObservedPoint, ObservedSeries

MONTHS_2025 = {1: 5000.0, 2: 5000.0, 3: 5300.0, 4: 2629.0, 5: 1238.0}


def exports(values: dict[date, float]) -> ObservedSeries:
    points = tuple(
        ObservedPoint(month, value, datetime(2025, 6, 20, tzinfo=UTC), "TEST", "high")
        for month, value in sorted(values.items())
    )
    return ObservedSeries("exports", "Exports", "t", "month", points)


def draws(paths: int, months: int, *, half_life: float = 1.0, control: float = 0.0) -> FlowDraws:
    return FlowDraws(
        half_life_months=np.full(paths, half_life),
        noise=np.zeros((paths, months)),
        control=np.full((paths, months), 0.5),
        control_probability=np.full(paths, control),
        control_flow=np.full(paths, 0.25),
    )


def test_a_collapse_does_not_become_the_normal_level():
    observed = exports({date(2025, m, 1): v for m, v in MONTHS_2025.items()})
    assert normal_level(observed) == pytest.approx((5000 + 5000 + 5300) / 3)


@pytest.mark.parametrize("frozen", [1, 7, 12, 20])
def test_however_long_a_freeze_lasts_the_normal_level_stays(frozen):
    months = [add_months(date(2024, 1, 1), i) for i in range(12 + frozen)]
    values = [5000.0] * 12 + [1250.0] * frozen
    assert normal_level(exports(dict(zip(months, values, strict=True)))) == pytest.approx(5000)


def test_after_two_years_the_low_level_is_what_is_normal():
    months = [add_months(date(2024, 1, 1), i) for i in range(12 + 30)]
    values = [5000.0] * 12 + [1250.0] * 30
    assert normal_level(exports(dict(zip(months, values, strict=True)))) == pytest.approx(1250)


def test_a_level_that_rises_is_followed():
    months = [add_months(date(2024, 1, 1), i) for i in range(24)]
    values = [5000.0] * 12 + [6000.0] * 12
    assert normal_level(exports(dict(zip(months, values, strict=True)))) == pytest.approx(6000)


def test_too_few_months_have_no_normal_level():
    assert normal_level(exports({date(2025, 5, 1): 1238.0})) is None


def test_a_month_above_normal_does_not_make_up_for_a_lost_one():
    ratios = observed_ratios(exports({date(2025, 8, 1): 6146.0}), 5000.0)
    assert ratios == {date(2025, 8, 1): 1.0}


def test_half_of_a_gap_closes_within_a_half_life():
    grid = [add_months(date(2025, 5, 1), i) for i in range(1, 4)]
    paths = flow_paths({date(2025, 5, 1): 0.25}, grid, draws(2, 3), monthly_noise=0.0)
    assert paths[0] == pytest.approx([0.25**0.5, 0.25**0.25, 0.25**0.125])


def test_months_that_nobody_saw_count_as_time_passed():
    early = [add_months(date(2025, 5, 1), i) for i in range(1, 6)]
    late = early[3:]
    seen = flow_paths({date(2025, 5, 1): 0.25}, early, draws(1, 5), monthly_noise=0.0)
    unseen = flow_paths({date(2025, 5, 1): 0.25}, late, draws(1, 2), monthly_noise=0.0)
    assert unseen[0] == pytest.approx(seen[0, 3:])


def test_a_known_month_is_taken_as_it_is():
    grid = [date(2025, 4, 1), date(2025, 5, 1)]
    paths = flow_paths(
        {date(2025, 4, 1): 0.5, date(2025, 5, 1): 0.2}, grid, draws(1, 2), monthly_noise=0.5
    )
    assert paths[0] == pytest.approx([0.5, 0.2])


def test_a_freeze_holds_and_then_eases():
    grid = [add_months(date(2025, 5, 1), i) for i in range(5)]
    freeze = np.full((1, 5), np.nan)
    freeze[:, 1:3] = 0.25
    paths = flow_paths({}, grid, draws(1, 5), monthly_noise=0.0, freeze=freeze)
    assert paths[0, :3] == pytest.approx([1.0, 0.25, 0.25])
    assert 0.25 < paths[0, 3] < paths[0, 4] < 1.0


def test_a_new_control_cuts_the_flow():
    paths = flow_paths({}, [date(2025, 5, 1)], draws(1, 1, control=0.6), monthly_noise=0.0)
    assert paths[0, 0] == pytest.approx(0.25)


def test_months_are_counted_over_new_year():
    assert add_months(date(2025, 11, 1), 3) == date(2026, 2, 1)
    assert months_between(date(2025, 11, 1), date(2026, 2, 1)) == 3
