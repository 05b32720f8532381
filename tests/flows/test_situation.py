"""flows/known.py: what rules get to see, and what it is made of."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from alerts.rules import (
    BadData,
    Concentration,
    Limit,
    Premium,
    PriceLevel,
    PriceSpike,
    Severity,
    Shortfall,
    StockCover,
)
from flows import steps
from flows.known import situation, source_visits
from flows.settings import load_settings
from flows.storage.observations import IngestRun, QuarantinedRow
from flows.wiring import build

LIMITS = (Limit(Severity.WARNING, 0.5, 0.35),)
JUNE = date(2025, 6, 21)
QUICK = {
    "LODESTONE_MODELS": "random_walk,drift",
    "LODESTONE_PATHS": "200",
    "LODESTONE_MARKET_PATHS": "200",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[steps.Service]:
    """A service that has forecast June 2025 and projected every market."""
    home = tmp_path_factory.mktemp("situation")
    with closing(
        build(load_settings({**QUICK, "LODESTONE_HOME": str(home)}, Path(home) / "none.toml"))
    ) as opened:
        at = steps.moment(opened, JUNE, live=False)
        steps.ingest(opened, at)
        steps.forecast(opened, at, run_id="r")
        steps.project(opened, at, run_id="r")
        yield opened


def seen(service: steps.Service, *rules, live: bool = False):
    at = steps.moment(service, None if live else JUNE, live=False)
    return situation(replace(service, ruleset=replace(service.ruleset, rules=rules)), at)


def test_a_market_with_a_shortfall_rule_has_every_scenario_and_others_only_those_named(service):
    found = seen(
        service,
        Shortfall("a", ("india-ndfeb",), LIMITS),
        StockCover("b", ("eu-ndfeb",), LIMITS, scenario="licence-freeze"),
        Concentration("c", ("japan-ndfeb",), LIMITS),
    ).projections
    scenarios = set(service.catalog.scenarios)
    assert {key for key in found if key[0] == "india-ndfeb"} == {
        ("india-ndfeb", name) for name in scenarios
    }
    assert set(found) - {("india-ndfeb", name) for name in scenarios} == {
        ("eu-ndfeb", "base"),
        ("eu-ndfeb", "licence-freeze"),
        ("japan-ndfeb", "base"),
    }


def test_series_that_only_levels_and_premiums_name_are_seen(service):
    found = seen(
        service,
        PriceLevel("a", ("tb_oxide",), LIMITS),
        Premium("b", ("nd_oxide",), "dy_oxide", LIMITS),
    )
    assert set(found.observed) == {"tb_oxide", "nd_oxide", "dy_oxide"}
    assert set(seen(service).observed) == set()


def test_decisions_known_on_the_day_are_seen_and_later_ones_are_not(service):
    known = [act.known_on for act in seen(service).policy_acts]
    assert date(2025, 4, 4) in known
    assert max(known) <= JUNE
    assert known == sorted(known)


def test_markets_name_their_series_and_the_exports_they_wait_for(service):
    found = seen(service)
    assert "cn_magnet_exports" in found.market_series["india-ndfeb"]
    assert "ev_sales_india_cars_bev" in found.market_series["india-ndfeb"]
    # Oxide needs no licence of the magnets' regime.
    assert "cn_magnet_exports" not in found.market_series["world-ndpr-oxide"]
    assert found.series_source["nd_oxide"] == "prices"
    assert found.series_material["dy_oxide"] == "Dy"
    assert "cn_magnet_exports" not in found.series_material


def test_chances_are_calibrated_only_for_rules_that_count_from_the_newest_price(service):
    now = PriceSpike("a", ("nd_oxide",), LIMITS, since_months=0, horizon_months=3)
    found = seen(service, now).rise_chances
    assert ("nd_oxide", 0.25, 3) in found
    assert all(0 < chance < 1 for chance in found.values())
    assert {key[1:] for key in found} == {(0.25, 3)}
    assert seen(service, replace(now, since_months=3)).rise_chances == {}
    assert seen(service, replace(now, quantile=0.9)).rise_chances == {}
    # What the rule answers is that chance, not the share of the forecast's paths.
    (reading,) = now.evaluate(seen(service, now))
    assert reading.value == found["nd_oxide", 0.25, 3]


def test_visits_are_seen_in_the_live_book_and_never_in_a_look_into_the_past(service):
    rule = BadData("bad", LIMITS)
    assert set(seen(service, rule, live=True).visits) == {
        visit.source for visit in service.observations.last_visits()
    }
    assert seen(service, rule, live=True).visits
    assert seen(service, rule).visits == {}
    assert seen(service, live=True).visits == {}  # nobody asks


AT = datetime(2025, 6, 21, 8, tzinfo=UTC)


class _Observations:
    """One visit and the rows that are kept of it and of the visit before."""

    def last_visits(self):
        return (IngestRun("komis", AT, 10, 6, 0, 0, 4, None, "late"),)

    def quarantined(self, source, limit):
        assert source == "komis"
        assert limit >= 4
        said = [("a", 0), ("b", 0), ("b", 0), ("b", 0), ("c", 3), ("c", 3), ("c", 3), ("c", 3)]
        return tuple(
            QuarantinedRow(source, "f", 1, "", reason, AT, AT - timedelta(days=ago))
            for reason, ago in said
        )


def test_a_visit_tells_the_commonest_reasons_of_its_own_rows_only(service):
    (visit,) = source_visits(replace(service, observations=_Observations())).values()
    assert (visit.read, visit.quarantined, visit.error) == (10, 4, "late")
    assert visit.samples == ("3 rows: b", "1 row: a")
