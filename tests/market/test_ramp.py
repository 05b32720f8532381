"""forecasting/market/ramp.py: how a plant comes up, what slips move, and what an old look doesn't see."""

import time
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.market.definitions import MarketDefinitionError, Project
from forecasting.market.flow import add_months
from forecasting.market.ramp import plant_output, ramp_share

KNOWN_AT = date(2026, 1, 15)
GRID = [add_months(date(2026, 1, 1), i) for i in range(60)]
PLANT = Project(
    project="plant",
    title="A plant",
    owner="An owner",
    country="India",
    stage="magnet",
    product="NdFeB",
    capacity=1200,
    unit="t NdFeB/year",
    starts_on=date(2027, 1, 1),
    status="construction",
    known_on=date(2025, 6, 1),
    source="a test",
    confidence="high",
)


def output(
    project: Project = PLANT, *, slip=(0.0,), ramp=(24.0,), comes=(True,), known_at=KNOWN_AT
):
    paths = max(len(slip), len(ramp), len(comes))

    def drawn(values, kind):
        return np.resize(np.array(values, dtype=kind), paths)

    return plant_output(
        project, GRID, drawn(slip, float), drawn(ramp, float), drawn(comes, bool), known_at
    )


def at(made, month: date, path: int = 0) -> float:
    return made[GRID.index(month), path]


# --- the curve


def test_a_ramp_is_nothing_before_the_start_half_half_way_and_whole_at_its_end():
    months = np.array([[-5.0], [0.0], [12.0], [24.0], [90.0]])
    assert ramp_share(months, np.array([24.0]))[:, 0] == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-12)


def test_a_ramp_is_a_logistic_and_not_a_line():
    early, late = ramp_share(np.array([6.0, 18.0]), 24.0)
    # (σ(−1.5) − σ(−3)) / (σ(3) − σ(−3)) by hand
    assert early == pytest.approx((0.182426 - 0.047426) / (0.952574 - 0.047426), abs=1e-5)
    assert early + late == pytest.approx(1)
    assert early < 0.25


@given(
    st.lists(st.floats(-100, 200), min_size=2, max_size=20).map(sorted),
    st.floats(0.1, 120),
)
def test_a_ramp_never_falls_and_stays_between_nothing_and_nameplate(months, ramp):
    shares = ramp_share(np.array(months), ramp)
    assert np.all(np.diff(shares) >= -1e-12)
    assert np.all((shares >= 0) & (shares <= 1))


@given(st.floats(0.5, 23.5), st.floats(24, 36))
def test_a_longer_ramp_is_never_ahead(months, longer):
    assert ramp_share(months, longer) <= ramp_share(months, 24.0)


def test_a_ramp_has_one_value_a_month_and_path():
    months = np.arange(6.0)[:, None]
    ramps = np.array([24.0, 30.0, 36.0])
    assert ramp_share(months, ramps).shape == (6, 3)
    assert ramp_share(np.repeat(months, 3, axis=1), ramps) == pytest.approx(
        ramp_share(months, ramps)
    )


@pytest.mark.parametrize("ramp", [0.0, -1.0, float("nan"), float("inf")])
def test_a_ramp_that_takes_no_time_is_refused(ramp):
    with pytest.raises(
        MarketDefinitionError, match="ramp_months: must be a number of months above 0"
    ):
        ramp_share(np.array([1.0]), ramp)


# --- a plant


def test_a_plant_at_the_end_of_its_ramp_makes_a_twelfth_of_nameplate_a_month():
    made = output()
    assert at(made, date(2026, 12, 1)) == 0
    assert at(made, date(2029, 1, 1)) == 100
    # The middle of January 2028 is half a month past half of the ramp.
    assert 50 < at(made, date(2028, 1, 1)) < 55


def test_a_year_of_a_ramp_adds_up_to_the_area_below_the_curve():
    made = output()[12:36, 0].sum()
    assert made == pytest.approx(1200 * 2 * 0.5, rel=1e-3)


def test_a_plant_that_starts_within_a_month_starts_within_it():
    late = output(replace(PLANT, starts_on=date(2027, 1, 31)))
    assert at(late, date(2027, 1, 1)) == 0
    assert 0 < at(late, date(2027, 2, 1)) < at(output(), date(2027, 2, 1))


def test_a_plant_that_has_long_been_running_is_at_nameplate():
    old = replace(PLANT, status="operating", starts_on=date(2013, 1, 1))
    assert np.all(output(old, slip=(12.0,)) == 100)


def test_a_plant_that_runs_since_last_year_is_still_on_its_ramp():
    new = replace(PLANT, status="operating", starts_on=date(2025, 1, 1))
    made = output(new)
    assert 50 < at(made, date(2026, 1, 1)) < 55
    assert at(made, date(2027, 1, 1)) == 100


def test_a_slip_moves_a_plant_that_is_being_built_by_as_many_months():
    made = output(slip=(0.0, 12.0))
    assert made[12:, 1] == pytest.approx(made[:-12, 0], abs=1e-9)


@pytest.mark.parametrize("status", ["construction", "planned"])
def test_what_does_not_produce_yet_slips(status):
    due = replace(PLANT, status=status)
    assert at(output(due, slip=(12.0,)), date(2027, 12, 1)) == 0


@pytest.mark.parametrize("status", ["construction", "planned"])
def test_a_day_that_passed_without_product_is_counted_from_today(status):
    overdue = replace(PLANT, status=status, starts_on=date(2026, 1, 1), known_on=date(2025, 6, 1))
    today = date(2026, 7, 1)
    made = output(overdue, known_at=today)
    assert at(made, date(2026, 6, 1)) == 0 < at(made, date(2026, 7, 1))
    late = output(overdue, slip=(12.0,), known_at=today)
    assert at(late, date(2027, 6, 1)) == 0 < at(late, date(2027, 7, 1))


@pytest.mark.parametrize("status", ["operating", "ramping"])
def test_what_produces_does_not_slip_even_if_its_date_lies_ahead(status):
    plant = replace(PLANT, status=status)
    assert np.array_equal(output(plant, slip=(12.0,)), output(plant))


def test_a_plant_that_does_not_come_makes_nothing_on_that_path_alone():
    made = output(comes=(True, False))
    assert made[-1].tolist() == [100, 0]


def test_a_look_back_does_not_see_a_plant_that_was_announced_later():
    assert not output(known_at=date(2025, 5, 31)).any()
    assert output(known_at=date(2025, 6, 1)).any()


def test_an_announced_day_of_nameplate_fixes_the_ramp_on_every_path():
    made = output(replace(PLANT, full_on=date(2028, 1, 1)), ramp=(24.0, 36.0))
    assert np.array_equal(made[:, 0], made[:, 1])
    assert at(made, date(2027, 7, 1)) == pytest.approx(100 * ramp_share(6.5, 12.0))
    assert at(made, date(2028, 1, 1)) == 100


def test_an_announced_day_of_nameplate_slips_with_the_start():
    made = output(replace(PLANT, full_on=date(2028, 1, 1)), slip=(6.0,))
    assert at(made, date(2028, 1, 1)) < 60
    assert at(made, date(2028, 7, 1)) == 100


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"capacity": -1.0}, "capacity: -1 t NdFeB/year is not a number from 0 up"),
        ({"capacity": float("nan")}, "capacity: nan t NdFeB/year is not a number"),
        ({"capacity": float("inf")}, "capacity: inf t NdFeB/year is not a number"),
        ({"status": "rumoured"}, "status: 'rumoured' is not one of operating, ramping"),
        ({"full_on": date(2027, 1, 1)}, "full_on: 2027-01-01 is not after the start on 2027-01-01"),
        ({"full_on": date(2026, 1, 1)}, "full_on: 2026-01-01 is not after the start"),
    ],
)
def test_a_project_that_can_not_be_is_named(change, words):
    with pytest.raises(MarketDefinitionError, match=f"project plant: {words}"):
        output(replace(PLANT, **change))


@pytest.mark.parametrize(
    ("draws", "words"),
    [
        ({"slip": (-1.0,)}, "slip_months: must be numbers of months from 0 up"),
        ({"slip": (float("nan"),)}, "slip_months: must be numbers"),
        ({"ramp": (0.0,)}, "ramp_months: must be numbers of months above 0"),
        ({"ramp": (float("inf"),)}, "ramp_months: must be numbers"),
    ],
)
def test_draws_that_can_not_be_are_named_with_their_project(draws, words):
    with pytest.raises(MarketDefinitionError, match=f"project plant: {words}"):
        output(**draws)


def test_draws_of_different_lengths_are_refused():
    with pytest.raises(MarketDefinitionError, match=r"project plant: slip_months \(2,\)"):
        plant_output(PLANT, GRID, np.zeros(2), np.full(3, 24.0), np.ones(3, dtype=bool), KNOWN_AT)


@given(
    st.floats(0, 60), st.floats(1, 60), st.dates(date(2020, 1, 1), date(2032, 1, 1)), st.booleans()
)
def test_no_plant_makes_more_than_nameplate_or_less_than_nothing(slip, ramp, start, comes):
    made = output(replace(PLANT, starts_on=start), slip=(slip,), ramp=(ramp,), comes=(comes,))
    assert made.shape == (60, 1)
    assert np.all((made >= 0) & (made <= 100 + 1e-9))
    assert np.all(np.diff(made[:, 0]) >= -1e-9)


def test_fast_and_slow_agree_path_by_path():
    rng = np.random.default_rng(7)
    slips, ramps = rng.uniform(0, 24, 50), rng.uniform(24, 36, 50)
    made = output(slip=tuple(slips), ramp=tuple(ramps))
    for path in range(0, 50, 7):
        for row in range(0, 60, 11):
            since = row - 12 + 0.5 - slips[path]  # the grid begins a year before the plant
            assert made[row, path] == pytest.approx(
                100 * float(ramp_share(since, ramps[path])), abs=1e-9
            )


def test_ten_thousand_paths_of_69_months_take_little_time():
    rng = np.random.default_rng(7)
    slips, ramps = rng.uniform(0, 24, 10_000), rng.uniform(24, 36, 10_000)
    comes = rng.random(10_000) < 0.8
    grid = [add_months(date(2026, 1, 1), i) for i in range(69)]
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        made = plant_output(PLANT, grid, slips, ramps, comes, KNOWN_AT)
        took.append(time.perf_counter() - begun)
    assert made.shape == (69, 10_000)
    # About 6 ms alone on one core; the bound leaves room for a busy machine.
    assert min(took) < 0.05
