from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from forecasting.market.definitions import LicenceFreeze, LicenceRegime
from forecasting.market.flow import (
    FlowDraws,
    GradeFlow,
    LicensedGroup,
    RegimeDraws,
    add_months,
    freeze_gap,
    grade_flow,
    licensed_groups,
    months_between,
    normal_level,
    observed_ratios,
    withheld,
)
from forecasting.results import ObservedPoint, ObservedSeries

MONTHS_2025 = {1: 5000.0, 2: 5000.0, 3: 5300.0, 4: 2629.0, 5: 1238.0}


def exports(values: dict[date, float]) -> ObservedSeries:
    points = tuple(
        ObservedPoint(month, value, datetime(2025, 6, 20, tzinfo=UTC), "TEST", "high")
        for month, value in sorted(values.items())
    )
    return ObservedSeries("exports", "Exports", "t", "month", points)


def draws(
    paths: int, months: int, *, half_life: float = 1.0, control: float = 0.0, noise: float = 0.0
) -> FlowDraws:
    return FlowDraws(
        half_life_months=np.full(paths, half_life),
        noise=np.zeros((months, paths)),
        control=np.full((months, paths), 0.5),
        control_probability=np.full(paths, control),
        control_flow=np.full(paths, 0.25),
        free_delay=np.full(paths, 0.5),
        monthly_noise=np.full(paths, noise),
    )


REGIME = LicenceRegime(
    regime="april",
    title="Licences since April 2025",
    origin="China",
    elements=("Dy", "Tb"),
    covers="covered",
    granted="granted",
    lead_days="lead",
    known_on=date(2025, 4, 4),
    starts_on=date(2025, 4, 4),
    source="a test",
    confidence="high",
)


def drawn(
    regime: LicenceRegime = REGIME,
    *,
    covers: float = 0.6,
    granted: float = 1.0,
    lead_months: float = 1.5,
    resumes: bool = True,
    paths: int = 1,
) -> RegimeDraws:
    return RegimeDraws(
        regime,
        np.full(paths, covers),
        np.full(paths, granted),
        np.full(paths, lead_months),
        np.full(paths, resumes),
    )


def months(first: date, count: int) -> list[date]:
    return [add_months(first, offset) for offset in range(count)]


def flow(ratios, grid, groups=(), *, freezes=(), first: int = 0, **options) -> GradeFlow:
    return grade_flow(
        ratios, grid, draws(1, len(grid), **options), groups, freezes=freezes, first=first
    )


def lacking(group: LicensedGroup) -> np.ndarray:
    return np.sum([gap.lacking for gap in group.gaps], axis=0)


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


# --- what was observed


def test_half_of_a_gap_closes_within_a_half_life():
    found = flow({date(2025, 5, 1): 0.25}, months(date(2025, 5, 1), 4)).mixed[:, 0]
    assert found == pytest.approx([0.25, 0.25**0.5, 0.25**0.25, 0.25**0.125])


def test_a_known_month_is_taken_as_it_is():
    grid = [date(2025, 4, 1), date(2025, 5, 1)]
    known = {date(2025, 4, 1): 0.5, date(2025, 5, 1): 0.2}
    assert flow(known, grid, noise=0.5).mixed[:, 0] == pytest.approx([0.5, 0.2])


def test_a_new_control_cuts_the_flow_of_every_grade():
    found = flow({}, [date(2025, 5, 1)], control=0.6)
    assert found.mixed[0, 0] == found.free[0, 0] == pytest.approx(0.25)


# --- licences


def test_what_a_licence_withholds_is_the_mean_over_the_days_of_a_month():
    grid = months(date(2025, 4, 1), 4)
    found = withheld(grid, [(0.3, 2.6)], np.array([1.5]))[:, 0]
    fine = np.linspace(0, 4, 400_001)[:-1] + 0.5e-5
    lacks = np.where((fine >= 0.3) & (fine < 2.6), 2 ** (-(fine - 0.3) / 1.5), 0.0)
    assert found == pytest.approx(lacks.reshape(4, -1).mean(axis=1), abs=1e-5)


def test_a_licensed_grade_loses_months_and_not_volumes_for_ever():
    grid = months(date(2025, 1, 1), 30)
    groups = licensed_groups([drawn()], grid, date(2025, 6, 21))
    found = flow({}, grid, groups)
    assert found.controlled[:3, 0] == pytest.approx(1.0)
    assert found.controlled[3, 0] < 0.4
    assert found.controlled[-1, 0] > 0.999
    # All that is ever missing: the lead time, over the natural logarithm of 2.
    assert (1 - found.controlled).sum() == pytest.approx(1.5 / np.log(2), rel=1e-3)


def test_a_refused_application_is_filed_again_and_takes_longer():
    grid = months(date(2025, 4, 1), 60)
    sure, unsure = (
        (1 - flow({}, grid, licensed_groups([drawn(granted=g)], grid, date(2025, 6, 1))).controlled)
        for g in (1.0, 0.5)
    )
    assert unsure.sum() == pytest.approx(2 * sure.sum(), rel=1e-3)


def test_grades_without_licence_wait_at_the_same_counter_for_a_part_of_the_delay():
    grid = months(date(2025, 4, 1), 3)
    found = flow({}, grid, licensed_groups([drawn()], grid, date(2025, 6, 1)))
    assert 1 - found.free == pytest.approx(0.5 * (1 - found.controlled))
    assert found.mixed == pytest.approx(0.6 * found.controlled + 0.4 * found.free)


def test_a_short_queue_delays_grades_without_licence_little():
    grid = months(date(2025, 4, 1), 3)
    few = flow({}, grid, licensed_groups([drawn(covers=0.01)], grid, date(2025, 6, 1)))
    assert few.controlled[0, 0] < 0.3
    assert (few.free > 0.98).all()
    assert (few.mixed > 0.97).all()
    half = flow({}, grid, licensed_groups([drawn(covers=0.25)], grid, date(2025, 6, 1)))
    assert 1 - half.free == pytest.approx(0.5 * 0.5 * (1 - half.controlled))


def test_a_regime_is_not_felt_before_it_is_known():
    grid = months(date(2025, 1, 1), 12)
    (before,) = licensed_groups([drawn()], grid, date(2025, 4, 3))
    assert not before.gaps
    (after,) = licensed_groups([drawn()], grid, date(2025, 4, 4))
    assert lacking(after)[3:].all()


def test_a_month_that_brought_less_than_the_regime_explains_is_met_and_then_caught_up():
    grid = months(date(2025, 4, 1), 12)
    groups = licensed_groups([drawn()], grid, date(2025, 6, 21))
    expected = flow({}, grid, groups).mixed
    found = flow({date(2025, 4, 1): 0.52, date(2025, 5, 1): 0.25}, grid, groups)
    assert found.mixed[:2, 0] == pytest.approx([0.52, 0.25])
    assert (found.mixed[2:5] < expected[2:5]).all()
    assert found.mixed[-1] == pytest.approx(expected[-1], abs=0.01)
    assert (found.controlled <= found.free).all()


def test_a_month_that_brought_more_than_the_regime_explains_shows_that_licences_are_quicker():
    grid = months(date(2025, 4, 1), 6)
    groups = licensed_groups([drawn()], grid, date(2025, 8, 21))
    found = flow({date(2025, 7, 1): 1.0}, grid, groups).mixed[:, 0]
    assert found[3:] == pytest.approx(1.0)
    assert found[0] < 0.7


def test_a_suspended_regime_comes_back_only_on_the_paths_that_say_so():
    regime = replace(
        REGIME,
        suspension_known_on=date(2025, 11, 7),
        suspended_on=date(2025, 11, 10),
        suspended_until=date(2026, 11, 10),
        resumes="chance",
    )
    grid = months(date(2026, 10, 1), 3)
    both = RegimeDraws(regime, *(np.full(2, v) for v in (0.6, 1.0, 1.5)), np.array([True, False]))
    (group,) = licensed_groups([both], grid, date(2026, 10, 21))
    assert not lacking(group)[0].any()
    assert lacking(group)[1:, 0].all()
    assert not lacking(group)[1:, 1].any()
    certain, uncertain = regime.spans(date(2025, 10, 30))
    assert certain
    assert not uncertain  # that it would be suspended was not known yet


def test_a_regime_that_ends_withholds_nothing_afterwards():
    grid = months(date(2025, 4, 1), 6)
    ended = drawn(replace(REGIME, ends_on=date(2025, 7, 1)))
    (group,) = licensed_groups([ended], grid, date(2025, 4, 4))
    assert lacking(group)[:3].all()
    assert not lacking(group)[3:].any()


def test_a_regime_that_is_not_in_force_changes_nothing_of_what_another_keeps_back():
    grid = months(date(2025, 6, 1), 4)
    early = drawn(replace(REGIME, starts_on=date(2025, 6, 1)), covers=0.5)
    unknown = drawn(replace(REGIME, known_on=date(2030, 1, 1)), covers=0.2)
    both = flow({}, grid, licensed_groups([early, unknown], grid, date(2025, 6, 1)))
    alone = flow({}, grid, licensed_groups([early], grid, date(2025, 6, 1)))
    for grades in ("controlled", "free", "mixed"):
        assert both.of(grades) == pytest.approx(alone.of(grades))


def test_two_regimes_keep_back_more_than_one_and_never_more_than_there_is():
    grid = months(date(2025, 6, 1), 4)
    first = drawn(replace(REGIME, starts_on=date(2025, 6, 1)), covers=0.7)
    second = drawn(replace(REGIME, starts_on=date(2025, 6, 1)), covers=0.7)
    both = flow({}, grid, licensed_groups([first, second], grid, date(2025, 6, 1)))
    alone = flow({}, grid, licensed_groups([first], grid, date(2025, 6, 1)))
    assert (both.mixed < alone.mixed).all()
    assert both.mixed == pytest.approx(both.controlled)
    assert (both.mixed >= 0).all()


def test_a_freeze_concerns_the_grades_that_need_a_licence_when_it_begins():
    grid = months(date(2025, 1, 1), 12)
    spring = drawn(covers=0.5)
    later = {"regime": "autumn", "known_on": date(2025, 10, 9), "starts_on": date(2025, 11, 8)}
    autumn = drawn(replace(REGIME, **later))
    for known_at, frozen in (
        (date(2025, 3, 21), [True, False]),  # none is in force yet: the earliest there will be
        (date(2025, 6, 21), [True, False]),
        (date(2025, 12, 1), [True, True]),
    ):
        groups = licensed_groups([spring, autumn], grid, known_at)
        assert [group.is_frozen for group in groups] == frozen


def test_a_freeze_lets_no_controlled_grade_out_and_then_applications_are_answered():
    grid = months(date(2025, 5, 1), 8)
    freezes = [(LicenceFreeze("China", lasts_months=2), np.zeros(1))]
    frozen = freeze_gap(freezes, 1, len(grid), np.array([1.5]))
    group = LicensedGroup(np.array([0.6]), (), np.array([1.5]), is_frozen=True)
    found = flow({}, grid, [group], freezes=freezes, first=1)
    assert found.controlled[:, 0] == pytest.approx(1 - frozen[:, 0])
    assert list(frozen[:3, 0]) == [0.0, 1.0, 1.0]
    assert 1 > frozen[3, 0] > frozen[4, 0] > frozen[7, 0] > 0
    assert found.mixed[1, 0] == pytest.approx(1 - 0.6 - 0.4 * 0.5)
    # Without any regime it concerns every grade.
    assert flow({}, grid, freezes=freezes, first=1).mixed[1, 0] == 0


def test_what_a_freeze_leaves_still_comes_out():
    freezes = [(LicenceFreeze("China", lasts_months=2), np.array([0.25]))]
    found = freeze_gap(freezes, 0, 3, np.array([1.0]))[:, 0]
    assert found == pytest.approx([0.75, 0.75, 0.75 * 2**-0.5])


def test_each_regime_answers_with_its_own_lead_after_a_freeze():
    grid = months(date(2025, 6, 1), 12)
    freezes = [(LicenceFreeze("China", lasts_months=2), np.zeros(1))]
    old = replace(REGIME, starts_on=date(2020, 1, 1), known_on=date(2020, 1, 1))
    quick, slow = drawn(old, covers=0.3, lead_months=0.5), drawn(old, covers=0.3, lead_months=9.0)
    slow = replace(slow, regime=replace(old, regime="slow"))
    orders = [
        flow({}, grid, licensed_groups(pair, grid, date(2025, 6, 1)), freezes=freezes).mixed
        for pair in ([quick, slow], [slow, quick])
    ]
    assert orders[0] == pytest.approx(orders[1])


def test_a_normal_month_says_nothing_of_a_regime_that_begins_later():
    grid = months(date(2025, 8, 1), 8)
    autumn = drawn(replace(REGIME, known_on=date(2025, 10, 9), starts_on=date(2025, 11, 8)))
    groups = licensed_groups([drawn(), autumn], grid, date(2025, 10, 21))
    normal = flow({date(2025, 9, 1): 1.0}, grid, groups).mixed[:, 0]
    # The spring's licences are quick by now; the autumn's are felt from November on.
    assert normal[1:3] == pytest.approx(1.0)
    assert (normal[3:6] < 0.95).all()
    unknown = licensed_groups([drawn(), autumn], grid, date(2025, 10, 8))
    assert flow({date(2025, 9, 1): 1.0}, grid, unknown).mixed[3:, 0] == pytest.approx(1.0)


def test_noise_of_clearance_fades_and_only_takes_away():
    grid = months(date(2025, 5, 1), 3)
    noisy = replace(draws(1, 3, noise=0.1), noise=np.array([[-1.0], [0.0], [0.0]]))
    found = grade_flow({}, grid, noisy, ()).mixed[:, 0]
    assert found == pytest.approx(np.exp([-0.1, -0.05, -0.025]))
    lucky = replace(noisy, noise=-noisy.noise)
    assert grade_flow({}, grid, lucky, ()).mixed[:, 0] == pytest.approx(1.0)
    # What was seen is what it was.
    seen = {date(2025, 5, 1): 0.9, date(2025, 6, 1): 0.9}
    assert grade_flow(seen, grid, noisy, ()).mixed[:2, 0] == pytest.approx([0.9, 0.9])


def test_a_new_control_never_betters_a_worse_month():
    grid = months(date(2025, 6, 1), 1)
    found = flow({date(2025, 5, 1): 0.02}, [date(2025, 5, 1), *grid], control=0.6).mixed[:, 0]
    assert found[1] == pytest.approx(0.02**0.5)


def test_months_are_counted_over_new_year():
    assert add_months(date(2025, 11, 1), 3) == date(2026, 2, 1)
    assert months_between(date(2025, 11, 1), date(2026, 2, 1)) == 3
