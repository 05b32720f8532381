"""The year 2025 with the shipped rules and figures: what was told, when, and in which order."""

from datetime import date
from pathlib import Path

import pytest

from flows.replay.days import replay_reference
from flows.replay.result import ReplayResult, TimelineRow
from tests.replay.replay_helpers import copy_home, opened

SETTINGS = {"LODESTONE_PATHS": "1000", "LODESTONE_MARKET_PATHS": "2000"}  # the defaults


@pytest.fixture(scope="module")
def year(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> ReplayResult:
    home = copy_home(figures, tmp_path_factory.mktemp("year") / "home")
    with opened(home, **SETTINGS) as service:
        return replay_reference(
            service,
            first=date(2025, 1, 1),
            last=date(2025, 12, 31),
            ruleset=service.ruleset,
        )


def rows(year: ReplayResult, rule: str, subject: str) -> list[TimelineRow]:
    return [row for row in year.timeline if (row.rule, row.subject) == (rule, subject)]


def first_firing(rows: list[TimelineRow]) -> date:
    return next(row.at.date() for row in rows if row.transition.endswith("→ FIRING"))


def test_the_fall_of_exports_fires_on_the_day_on_which_aprils_figure_was_known(year: ReplayResult):
    drop = rows(year, "magnet-exports-drop", "cn_magnet_exports")
    # Customs published April on 20 May: a month before the latest day that would have done (21 June).
    assert first_firing(drop) == date(2025, 5, 20)
    assert "2,629 t in Apr 2025" in drop[0].headline


def test_it_turns_critical_with_mays_figure(year: ReplayResult):
    drop = rows(year, "magnet-exports-drop", "cn_magnet_exports")
    (raised,) = [row for row in drop if row.reason == "ESCALATED"]
    assert raised.at.date() == date(2025, 6, 20)
    assert "second month running" in raised.headline


def test_exports_are_told_three_months_before_any_price_of_neodymium(year: ReplayResult):
    drop = first_firing(rows(year, "magnet-exports-drop", "cn_magnet_exports"))
    spike = first_firing(rows(year, "oxide-price-spike", "nd_oxide"))
    assert spike == date(2025, 8, 31)
    assert (spike - drop).days == 103


def test_it_ends_with_augusts_figure_the_second_ordinary_month_running(year: ReplayResult):
    drop = rows(year, "magnet-exports-drop", "cn_magnet_exports")
    assert drop[-1].reason == "RESOLVED"
    assert drop[-1].at.date() == date(2025, 9, 20)
    assert "Aug 2025" in drop[-1].headline


def test_the_whole_fall_is_one_incident_that_never_ends_in_between(year: ReplayResult):
    drop = rows(year, "magnet-exports-drop", "cn_magnet_exports")
    assert len({row.incident for row in drop}) == 1
    assert [row.at for row in drop if row.transition.endswith("→ RESOLVED")] == [drop[-1].at]


def test_the_licences_of_april_raise_the_shortfall_on_their_day(year: ReplayResult):
    assert first_firing(rows(year, "magnet-shortfall", "india-ndfeb")) == date(2025, 4, 4)


def test_no_month_has_more_than_six_posts_and_the_year_no_more_than_thirty(
    year: ReplayResult,
):
    by_month = year.extra["posts_per_month"]
    assert len(by_month) == 12
    assert max(by_month.values()) <= 6
    assert 12 <= sum(by_month.values()) == len(year.messages) <= 30
