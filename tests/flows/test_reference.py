"""The shipped reference files: every figure with its source, units that meet, and derived figures that can be derived again."""

import csv
import re
from collections import Counter
from datetime import UTC, date, datetime
from functools import cache
from importlib import resources
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from flows.catalog import load_catalog
from forecasting.market.balance import project_market
from forecasting.market.definitions import (
    CONFIDENCE_ORDER,
    WEAK,
    Component,
    composed,
)
from forecasting.market.evidence import Inputs
from forecasting.market.units import parse_unit
from forecasting.results import (
    QUANTILE_LEVELS,
    MarketProjection,
    ObservedPoint,
    ObservedSeries,
    SeriesForecast,
)

SNAPSHOT = Path(str(resources.files("flows"))) / "reference" / "snapshot"
CATALOG = load_catalog()
KNOWN_AT = datetime(2026, 11, 24, 8, tzinfo=UTC)
IDS = {
    "deposits.csv": ("deposit",),
    "factors.csv": ("factor",),
    "grades.csv": ("grade",),
    "indicators.csv": ("indicator",),
    "mixes.csv": ("origin", "deposit"),
    "policy_events.csv": ("date", "actor", "what"),
    "projects.csv": ("project",),
}


@cache
def rows(name: str) -> tuple[dict[str, str], ...]:
    with (SNAPSHOT / name).open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def central(name: str) -> float:
    return CATALOG.factors[name].central


@cache
def newest(series: str) -> dict[int, float]:
    """The newest edition's value of each year of a series."""
    found: dict[int, float] = {}
    for name in SNAPSHOT.glob("*_yearly.csv"):
        ours = [row for row in rows(name.name) if row["series"] == series]
        for row in sorted(ours, key=lambda row: row["published_on"]):
            found[int(row["period"][:4])] = float(row["value"])
    return dict(sorted(found.items()))


# --- every row ---------------------------------------------------------------------------


def test_every_table_of_the_snapshot_is_checked_here_or_holds_observations():
    others = {path.name for path in SNAPSHOT.glob("*.csv") if "period" not in rows(path.name)[0]}
    assert others == {*IDS, "sources.csv"}


@pytest.mark.parametrize("name", IDS)
def test_every_row_has_an_id_of_its_own_a_source_and_a_known_confidence(name):
    for number, row in enumerate(rows(name), start=2):
        assert row["source"].strip(), f"{name} row {number}"
        assert row["confidence"] in CONFIDENCE_ORDER, f"{name} row {number}"
    ids = Counter(tuple(row[column] for column in IDS[name]) for row in rows(name))
    assert ids.most_common(1)[0][1] == 1, ids.most_common(1)


def test_every_observation_is_there_once():
    for path in SNAPSHOT.glob("*.csv"):
        if "period" in rows(path.name)[0]:
            told = Counter((r["series"], r["period"], r["published_on"]) for r in rows(path.name))
            assert told.most_common(1)[0][1] == 1, (path.name, told.most_common(1))


def test_every_source_that_a_table_names_by_its_id_is_in_the_list_of_sources():
    known = {row["source_id"] for row in rows("sources.csv")}
    assert len(known) == len(rows("sources.csv"))
    for name in IDS:
        for row in rows(name):
            said = f"{row['source']} {row.get('note', '')}"
            named = set(re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9]+\b", said))
            assert named <= known, f"{name}: {row}"


def test_every_source_in_the_list_is_one_that_some_figure_names():
    # The two that are read live are cited by rows that a reader adds.
    texts = [str(row) for path in SNAPSHOT.glob("*.csv") for row in rows(path.name)]
    for row in rows("sources.csv"):
        if not row["source_id"].endswith("_LIVE"):
            assert sum(row["source_id"] in text for text in texts) > 1, row["source_id"]


def test_a_figure_that_is_recalled_says_that_it_is_to_be_verified():
    for name in ("factors.csv", "projects.csv"):
        for row in rows(name):
            if row["confidence"] == "background":
                said = f"{row['source']} {row['note']}"
                assert "to be verified" in said or "background" in said, row


def test_a_plant_whose_capacity_is_recalled_is_background():
    """Only what is said of the capacity counts: parts of it, and later stages, may be recalled as well."""
    recalled = set()
    for row in rows("projects.csv"):
        capacity = f"{float(row['capacity']):,.0f} "
        for part in re.split(r"; ", f"{row['source']}; {row['note']}"):
            is_of_capacity = part.startswith("background") or any(
                word in part for word in ("capacity", "nameplate", capacity)
            )
            if "background" in part and is_of_capacity:
                recalled.add(row["project"])
                assert row["confidence"] == "background", (row["project"], part)
    assert {"gebeng_heavy", "reetec", "noveon", "stillwater", "serra_verde"} < recalled
    assert not recalled & {"independence", "eneabba"}


def test_a_plant_that_produces_is_known_from_its_first_product():
    for row in rows("projects.csv"):
        if row["status"] in ("operating", "ramping"):
            assert row["known_on"] <= row["starts_on"], row["project"]


def test_indias_scheme_is_known_from_its_approval():
    (approved,) = (
        row["date"] for row in rows("policy_events.csv") if "approves REPM" in row["what"]
    )
    assert CATALOG.projects["repm_scheme"].known_on.isoformat() == approved


def test_every_unit_of_a_factor_a_plant_and_a_markets_series_is_understood():
    for row in (*rows("factors.csv"), *rows("projects.csv")):
        parse_unit(row["unit"])
    for market in CATALOG.markets.values():
        for series in market.series:
            parse_unit(CATALOG.series[series].unit)


def test_every_series_of_a_market_has_figures_of_at_least_ten_years_up_to_2024():
    for market in CATALOG.markets.values():
        for series in market.series:
            years = list(newest(series))
            assert len(years) >= 8, series
            assert years[-1] >= 2024, series
            assert min(newest(series).values()) > 0, series


def test_no_text_of_the_reference_files_names_a_place_on_some_machine():
    for path in (SNAPSHOT.parent).rglob("*.*"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(work|home|tmp)/", text), path.name


# --- figures carried over ----------------------------------------------------------------


def test_chinas_quotas_are_there_until_they_were_no_longer_published():
    mined = newest("cn_mining_quota")
    assert [mined[year] for year in range(2018, 2025)] == [
        *(120_000, 132_000, 140_000, 168_000, 210_000, 255_000, 270_000),
    ]
    separated = newest("cn_separation_quota")
    assert separated[2023] == 243_850
    assert newest("cn_export_quota")[2010] / newest("cn_export_quota")[2009] == pytest.approx(
        0.6, abs=0.005
    )
    assert max(mined) == max(separated) == 2024


def test_chinas_exports_to_a_country_are_never_more_than_to_the_world():
    for every, world, of in (
        ("exports_monthly.csv", "cn_magnet_exports", r"cn_magnet_exports_(\w+)"),
        ("exports_yearly.csv", "cn_magnet_exports_world_year", r"cn_magnet_exports_(\w+)_year"),
    ):
        total = {r["period"]: float(r["value"]) for r in rows(every) if r["series"] == world}
        parts: Counter[str] = Counter()
        for row in rows(every):
            if row["series"] != world and re.fullmatch(of, row["series"]):
                parts[row["period"]] += float(row["value"])
        assert parts
        for period in total.keys() & parts.keys():
            assert parts[period] < total[period], period


def test_indias_imports_carry_the_three_observations_that_do_not_agree():
    """All permanent magnets by weight, the line that holds NdFeB by weight and value, and China's side."""
    everything = newest("india_imports_permanent_magnets_world_t_fiscal_year")[2024]
    assert everything == 53_700
    value = newest("india_imports_hs85051190_china_usd_fiscal_year")[2024]
    weight = newest("india_imports_hs85051190_china_t_fiscal_year")[2024]
    assert value / weight / 1000 == pytest.approx(6.3, abs=0.05)  # USD/kg: mostly ferrite
    (seen,) = (r for r in rows("exports_monthly.csv") if r["series"] == "cn_magnet_exports_india")
    assert (seen["period"], seen["value"], seen["confidence"]) == ("2025-07", "418", "low")


# --- derived figures, derived again ------------------------------------------------------


def test_the_shares_of_mine_output_are_those_of_the_newest_edition():
    edition = [
        row
        for row in rows("mine_output_yearly.csv")
        if row["published_on"].startswith("2026") and row["series"] != "mine_output_world"
    ]
    for country in ("china", "united_states", "australia", "myanmar"):
        found = []
        for year in ("2024", "2025"):
            output = {r["series"]: float(r["value"]) for r in edition if r["period"] == year}
            found.append(output[f"mine_output_{country}"] / sum(output.values()))
        assert central(f"mine_share_{country}") == pytest.approx(np.mean(found), abs=0.002)


def test_oxide_by_origin_adds_up_to_the_worlds():
    origins = ("china", "united_states", "australia", "myanmar")
    shares = {origin: central(f"mine_share_{origin}") for origin in origins}
    whole = sum(shares[one] * central(f"ndpr_oxide_in_reo_{one}") for one in origins)
    whole += (1 - sum(shares.values())) * central("ndpr_oxide_in_reo_rest")
    assert whole == pytest.approx(central("ndpr_oxide_in_reo"), rel=0.03)


def test_a_tonne_of_magnets_takes_the_oxide_that_makes_it():
    made, taken = CATALOG.factors["mb_ratio_net"], CATALOG.factors["ndpr_oxide_per_t_magnet"]
    assert (taken.low, taken.central, taken.high) == pytest.approx(
        (1 / made.high, 1 / made.central, 1 / made.low), abs=1e-4
    )


def test_the_shock_that_demand_shares_is_what_car_sales_showed():
    regions = ("china", "eu27", "united_states", "japan", "india")
    growth = {
        region: {
            year: np.log(sales / newest(f"ev_sales_{region}_cars_bev")[year - 1])
            for year, sales in newest(f"ev_sales_{region}_cars_bev").items()
            if year - 1 in newest(f"ev_sales_{region}_cars_bev")
        }
        for region in regions
    }

    def mean_correlation(first: int) -> float:
        years = range(first, 2025)
        table = [[growth[region][year] for year in years] for region in regions]
        return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in combinations(table, 2)]))

    shock = CATALOG.factors["common_shock_demand"]
    whole, late = mean_correlation(2011), mean_correlation(2015)
    assert (shock.low, shock.high) == pytest.approx((late, whole), abs=0.005)
    assert shock.central == pytest.approx((late + whole) / 2, abs=0.005)


def mean_of(series: str) -> float:
    """The mean of 2019 and 2020, the years that the figure for Europe is of."""
    return (newest(series)[2019] + newest(series)[2020]) / 2


@pytest.mark.parametrize(
    ("end", "other"), [("low", "high"), ("central", "central"), ("high", "low")]
)
def test_other_uses_of_the_eu_are_what_its_need_leaves_beside_cars_and_wind(end, other):
    def at(name: str) -> float:
        return float(getattr(CATALOG.factors[name], other))

    cars = mean_of("ev_sales_eu27_cars_bev") * at("kg_per_bev_car")
    cars += mean_of("ev_sales_eu27_cars_phev") * at("kg_per_phev_car")
    wind = mean_of("wind_additions_eu27") * at("pm_share_wind_eu") * at("t_per_mw_wind_all_types")
    left = 16_000 / 0.98 - cars / 1000 * at("pm_share_bev") - wind
    assert getattr(CATALOG.factors["other_uses_eu"], end) == pytest.approx(left, abs=60)


@pytest.mark.parametrize(
    ("end", "other"), [("low", "high"), ("central", "central"), ("high", "low")]
)
def test_other_uses_of_the_united_states_are_what_imports_leave_beside_cars_and_wind(end, other):
    def at(name: str) -> float:
        return float(getattr(CATALOG.factors[name], other))

    months = {
        row["period"]: float(row["value"])
        for row in rows("exports_monthly.csv")
        if row["series"] == "cn_magnet_exports_united_states"
    }
    imports = (months["2024-07"] + months["2024-09"]) * 6 / at("china_share_of_us_imports")
    cars = newest("ev_sales_united_states_cars_bev")[2024] * at("kg_per_bev_car")
    cars += newest("ev_sales_united_states_cars_phev")[2024] * at("kg_per_phev_car")
    wind = newest("wind_additions_united_states")[2024]
    wind *= at("pm_share_wind_onshore") * at("t_per_mw_wind_all_types")
    left = imports - cars / 1000 * at("pm_share_bev") - wind
    assert getattr(CATALOG.factors["other_uses_us"], end) == pytest.approx(left, abs=100)


def test_what_a_freeze_leaves_is_what_reached_the_united_states_in_may_2025():
    months = {
        row["period"]: float(row["value"])
        for row in rows("exports_monthly.csv")
        if row["series"] == "cn_magnet_exports_united_states"
    }
    seen = months["2025-05"] / months["2024-07"]
    left = CATALOG.factors["freeze_left"]
    assert left.low < seen < left.high
    # Half of the exports licensed, and what the others share of the delay: a quarter of them came out.
    licensed = central("dy_tb_share_of_magnets")
    delay = central("free_grade_delay")
    through = licensed * seen + (1 - licensed) * (1 - delay * (1 - seen))
    assert through == pytest.approx(1238 / 5000, abs=0.02)


def test_a_cut_of_chinas_mining_quota_reaches_exports_through_domestic_ore():
    left = 1 - 0.45 / 0.94 * (1 - central("quota_cut_left"))
    assert central("quota_cut_exports_left") == pytest.approx(left, abs=0.01)
    assert CATALOG.factors["quota_cut_left"].low == pytest.approx(30_258 / 50_145, abs=0.005)


# --- markets, by hand --------------------------------------------------------------------


def yearly(component: Component, end: str, year: int) -> float:
    """A component's tonnes in a year from observed sales, every factor at one end of its range."""

    def at(name: str) -> float:
        if name == "embedded_share_india_cars":
            return 1 - at("direct_share_india_cars")  # both halves are of one car
        return float(getattr(CATALOG.factors[name], end))

    if component.series:
        amount, unit = newest(component.series)[year], CATALOG.series[component.series].unit
    else:
        amount, unit = at(component.level), CATALOG.factors[component.level].unit
    sizes = [parse_unit(CATALOG.factors[name].unit).size for name in component.factors]
    amount *= parse_unit(unit).size * np.prod(sizes)
    if component.share:
        amount *= at(component.share)
    if component.rest:
        # What the one share beside it leaves.
        amount *= 1 - at("direct_share_india_cars")
    return float(amount * np.prod([at(name) for name in component.factors]))


def demand_of(market: str, end: str = "central", channel: str = "") -> float:
    return sum(
        yearly(one, end, 2024)
        for one in CATALOG.markets[market].components
        if one.side == "demand" and not one.balance and channel in ("", one.channel)
    )


def test_indias_demand_is_that_of_the_bottom_up_of_fiscal_year_2025():
    # By segment: 745 t of two- and three-wheelers, 126 + 16 + 405 of cars and buses, 166 of wind, 1,152 in
    # air conditioners: 2,610 t, of 1,526 to 4,720. Calendar 2024 stands for April 2024 to March 2025, and the
    # ends lie apart since the factors' ranges here also cover the number of cars and air conditioners.
    assert demand_of("india-ndfeb") == pytest.approx(2_610, rel=0.03)
    assert demand_of("india-ndfeb", "low") == pytest.approx(1_526, rel=0.15)
    assert demand_of("india-ndfeb", "high") == pytest.approx(4_720, rel=0.15)


def test_half_of_indias_demand_arrives_inside_parts():
    embedded = demand_of("india-ndfeb", channel="embedded")
    assert embedded / demand_of("india-ndfeb") == pytest.approx(0.5, abs=0.1)


def test_indias_oxide_limits_the_scheme_to_a_sixth_of_its_nameplate():
    (plants,) = (c for c in CATALOG.markets["india-ndfeb"].components if c.project == "repm_scheme")
    limit = central(plants.limit) * np.prod([central(name) for name in plants.limit_factors])
    assert limit == pytest.approx(1_025)
    assert limit / CATALOG.projects["repm_scheme"].capacity == pytest.approx(1 / 6, abs=0.01)


def test_demand_of_the_eu_and_the_united_states_agrees_with_what_china_ships_there():
    # 11,477 t to Europe from January to July 2025, three of them months of licences; 7,120 t a year to the United States.
    assert 11_477 / 7 * 12 * 0.9 < demand_of("eu-ndfeb") < 11_477 / 4 * 12
    shipped = 7_120 / central("china_share_of_us_imports")
    assert demand_of("us-ndfeb") == pytest.approx(shipped, rel=0.02)


def test_what_the_world_mines_makes_about_220_kt_of_magnets_by_origin():
    supply = [c for c in CATALOG.markets["world-ndfeb"].components if c.side == "supply"]
    shares = sum(central(c.share) for c in supply if c.share)
    made = 0.0
    for component in supply:
        part = 1 - shares if component.rest else central(component.share) if component.share else 1
        amount = newest(component.series)[2024] if component.series else central(component.level)
        made += amount * part * np.prod([central(name) for name in component.factors])
    assert made == pytest.approx(220_000, rel=0.03)


def test_oxide_and_magnets_of_the_world_come_from_the_same_mines():
    oxide = [
        c for c in CATALOG.markets["world-ndpr-oxide"].components if c.series.startswith("mine")
    ]
    magnets = [c for c in CATALOG.markets["world-ndfeb"].components if c.series.startswith("mine")]
    assert [(*c.factors, "mb_ratio_net") for c in oxide] == [c.factors for c in magnets]
    assert [(c.origin, c.share, c.rest) for c in oxide] == [
        (c.origin, c.share, c.rest) for c in magnets
    ]


# --- what is weak is said, what a scenario names is felt -----------------------------------


def forecast_of(series: str) -> SeriesForecast:
    """The newest value with ten per cent up and down a year: what matters here is what it is turned into."""
    history = newest(series)
    last = max(history)
    draws = np.random.default_rng(7).normal(0, 0.1, (100, 6)).cumsum(axis=1)
    paths = history[last] * np.exp(draws)
    quantiles = np.quantile(paths, QUANTILE_LEVELS, axis=0).T
    return SeriesForecast(
        forecast_id=f"f-{series}",
        series=series,
        title=CATALOG.series[series].title,
        unit=CATALOG.series[series].unit,
        frequency="year",
        cutoff=date(last, 1, 1),
        last_value=history[last],
        history=tuple((date(year, 1, 1), value) for year, value in history.items()),
        periods=tuple(date(last + step, 1, 1) for step in range(1, 7)),
        quantiles=tuple(map(tuple, quantiles.tolist())),
        paths=tuple(map(tuple, paths.tolist())),
        model="random_walk",
        reason="a test",
        scores=(),
        observations=len(history),
        vintage=datetime(2026, 2, 6, tzinfo=UTC),
    )


@cache
def projections(name: str) -> dict[str, MarketProjection]:
    """A shipped market under every shipped scenario."""
    market = CATALOG.markets[name]
    inputs = Inputs(
        forecasts={series: forecast_of(series) for series in market.series},
        refusals={},
        exports={"China": exports()},
        factors=CATALOG.factors,
        units=CATALOG.units,
        known_at=KNOWN_AT,
        projects=CATALOG.projects,
        regimes=CATALOG.regimes,
    )
    scenarios = [composed(one, CATALOG.scenarios) for one in CATALOG.scenarios.values()]
    found = project_market(market, scenarios, inputs, months=36, paths=400, seed=7)
    return {one.scenario: one for one in found}


def exports() -> ObservedSeries:
    points = tuple(
        ObservedPoint(
            date.fromisoformat(f"{row['period']}-01"),
            float(row["value"]),
            datetime.fromisoformat(f"{row['published_on']}T12:00:00+00:00"),
            row["source_id"],
            row["confidence"],
        )
        for row in rows("exports_monthly.csv")
        if row["series"] == "cn_magnet_exports"
    )
    entry = CATALOG.series["cn_magnet_exports"]
    return ObservedSeries(entry.series, entry.title, entry.unit, entry.frequency, points)


def test_every_weak_figure_that_a_market_rests_on_is_said_by_its_projection():
    """Rules watch these markets: what is low-confidence or background must not feed an alert unsaid."""
    for name, market in CATALOG.markets.items():
        found = projections(name)["base"]
        lines = {line.name: line for line in found.components}
        steps = {(step.component, step.name): step for step in found.trace}
        weak = 0
        for component in market.components:
            for factor in component.factor_names:
                confidence = CATALOG.factors[factor].confidence
                if confidence in WEAK:
                    weak += 1
                    said = CONFIDENCE_ORDER.index(lines[component.name].confidence)
                    assert said >= CONFIDENCE_ORDER.index(confidence), (name, component.name)
                    assert steps[component.name, factor].confidence == confidence
                    assert steps[component.name, factor].source
        assert weak > 0, name
        assert any("low-confidence or background figures" in note for note in found.notes), name


def test_what_licences_rest_on_is_as_weak_as_its_weakest_figure():
    (loss,) = (one for one in projections("india-ndfeb")["base"].components if one.side == "loss")
    words = [CATALOG.factors[n].confidence for one in CATALOG.regimes for n in one.factor_names]
    assert loss.confidence == max(words, key=CONFIDENCE_ORDER.index) == "background"


TOUCHED: dict[str, set[str]] = {
    "licence-freeze": {"world-ndfeb", "india-ndfeb", "eu-ndfeb", "us-ndfeb", "japan-ndfeb"},
    "quota-cut": set(CATALOG.markets),
    "project-slip": {"india-ndfeb", "us-ndfeb"},
    "india-china-jv": {"india-ndfeb"},
    "demand-surge": set(CATALOG.markets),
    "myanmar-halt": set(CATALOG.markets),
}


def test_every_scenario_is_felt_where_it_should_be_and_nowhere_else():
    assert {"base", *TOUCHED} == set(CATALOG.scenarios)
    for scenario, touched in TOUCHED.items():
        felt = {
            name
            for name in CATALOG.markets
            if [line.monthly_t for line in projections(name)[scenario].components]
            != [line.monthly_t for line in projections(name)["base"].components]
        }
        assert felt == touched, scenario


def test_only_the_joint_venture_lowers_a_shortfall():
    for name in CATALOG.markets:
        base = [month.expected_shortfall_t for month in projections(name)["base"].months]
        for scenario in TOUCHED:
            months = [month.expected_shortfall_t for month in projections(name)[scenario].months]
            difference = np.subtract(months, base)
            if scenario == "india-china-jv":
                assert np.all(difference <= 1e-9), name
            else:
                assert np.all(difference >= -1e-9), (name, scenario)


def test_the_titles_of_scenarios_can_be_read_behind_if():
    for name, scenario in CATALOG.scenarios.items():
        assert not scenario.title.endswith("."), name
        assert len(scenario.title) <= 80, name


def test_the_regimes_are_those_of_the_policy_events():
    events = {row["date"]: row["what"] for row in rows("policy_events.csv")}
    first, second = CATALOG.regimes
    assert "Announcement 18" in events[first.known_on.isoformat()]
    assert "Ho,Er,Tm,Eu,Yb" in events[second.known_on.isoformat()]
    assert second.suspension_known_on is not None
    assert second.suspended_until is not None
    assert "Announcement 70" in events[second.suspension_known_on.isoformat()]
    assert "expires" in events[second.suspended_until.isoformat()]
    assert not {*first.elements} & {*second.elements}
