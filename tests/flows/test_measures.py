"""flows/measures.py: indicators of observed figures and the mass balance, on the bundled snapshot."""

from collections.abc import Iterator
from datetime import date

import pytest

from flows import steps
from flows.errors import CatalogError, UsageError
from flows.measures import mass_balance, measures
from flows.settings import load_settings
from flows.wiring import build

NOW = date(2026, 11, 20)


def opened(home, **more: str) -> steps.Service:
    quick = {"LODESTONE_MODELS": "random_walk,drift", "LODESTONE_MARKET_PATHS": "400"}
    settings = {**quick, "LODESTONE_HOME": str(home), **more}
    return build(load_settings(settings, home / "none.toml"))


@pytest.fixture
def service(tmp_path) -> Iterator[steps.Service]:
    found = opened(tmp_path)
    yield found
    found.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Iterator[steps.Service]:
    found = opened(tmp_path_factory.mktemp("filled"))
    steps.ingest(found, at(found))
    yield found
    found.close()


def at(service, day: date = NOW):
    return steps.moment(service, day, live=False)


def test_the_world_shows_who_mines_and_how_prices_move(filled):
    found = {one.name: one for one in measures(filled, at(filled))[""]}
    # Of 2025, the newest year in which the countries come within 5 % of the world's total.
    assert 4_500 < found["hhi_mine"].value < 5_500
    assert found["hhi_mine"].confidence == "high"
    assert {"volatility_12m_dy_oxide", "volatility_60m_tb_oxide"} <= set(found)


def test_india_shows_how_much_of_its_mixed_customs_codes_is_ndfeb(filled):
    found = {one.name: one for one in measures(filled, at(filled))["India"]}
    share = found["ndfeb_share_india_imports_hs85051190_china_t_fiscal_year"]
    # 17,685 t at 6.3 USD/kg: mostly not NdFeB.
    assert share.value == pytest.approx(0.04, abs=0.005)


EUROPE = """
[series.dy_oxide_europe]
title = "Dysprosium oxide, CIF Europe"
unit = "USD/kg"
frequency = "month"
kind = "price"
source = "prices"
"""
DROP = """
[csv_drop.desk]
path = "drops"
kind = "price"
title = "Our price desk"
confidence = "medium"
period = "Month"
published = "Read"
[[csv_drop.desk.column]]
column = "Dy"
series = "dy_oxide_europe"
unit = "USD/kg"
"""


def with_europe(home, catalog: str = EUROPE) -> steps.Service:
    """A service whose user declares a European price and drops its figures."""
    config = home / "config"
    (config / "drops").mkdir(parents=True)
    (config / "catalog.toml").write_text(catalog, encoding="utf-8")
    (config / "sources.toml").write_text(DROP, encoding="utf-8")
    (config / "drops" / "desk.csv").write_text(
        "Month,Read,Dy\n2025-04,2025-05-02,700\n2025-05,2025-06-02,850\n", encoding="utf-8"
    )
    return opened(home, LODESTONE_CONFIG_DIR=str(config))


def test_a_european_price_of_ones_own_shows_the_premium_over_chinas(tmp_path):
    service = with_europe(tmp_path)
    steps.ingest(service, at(service))
    found = {one.name: one for one in measures(service, at(service))[""]}
    china = {row.period: row.value for row in steps.history_rows(service, "dy_oxide", at(service))}
    premium = found["ex_china_premium_dy_oxide_europe"]
    assert premium.value == pytest.approx(850 / china[date(2025, 5, 1)] - 1)
    assert premium.title == "Premium over China's price: Dysprosium oxide, CIF Europe, May 2025"
    assert premium.confidence == "medium"
    # Before the figure of May was out, the newest that both knew was April's.
    earlier = {one.name: one for one in measures(service, at(service, date(2025, 6, 1)))[""]}
    assert earlier["ex_china_premium_dy_oxide_europe"].title.endswith("April 2025")
    service.close()


def test_no_premium_is_shown_without_a_price_outside_china(filled):
    assert not [one for one in measures(filled, at(filled))[""] if "premium" in one.name]


@pytest.mark.parametrize(
    ("field", "other"), [("unit", "EUR/kg"), ("frequency", "day"), ("kind", "reference")]
)
def test_a_price_outside_china_that_can_not_be_compared_is_named(tmp_path, field, other):
    (line,) = (it for it in EUROPE.splitlines() if it.startswith(f"{field} = "))
    with pytest.raises(CatalogError) as caught:
        with_europe(tmp_path, EUROPE.replace(line, f'{field} = "{other}"'))
    assert f"catalog.toml: series.dy_oxide_europe: {field}: '{other}'; the premium over" in str(
        caught.value
    )


def test_figures_that_were_not_known_give_no_indicator(filled):
    earlier = measures(filled, at(filled, date(2025, 6, 21)))
    assert "India" not in earlier  # its fiscal year was out nine days later
    assert "2024" in next(one.title for one in earlier[""] if one.name == "hhi_mine")


def test_without_figures_there_is_none(service):
    assert measures(service, at(service)) == {}


def test_a_market_carries_the_measures_of_its_importer(filled):
    steps.forecast(filled, at(filled), run_id="r")
    report = steps.project(filled, at(filled), ["world-ndfeb", "eu-ndfeb"], run_id="r")
    named = {
        one.market: {it.name for it in one.indicators}
        for one in report.projections
        if one.scenario == "base"
    }
    assert "hhi_mine" in named["world-ndfeb"]
    assert "hhi_mine" not in named["eu-ndfeb"]
    assert "hhi_origins" in named["world-ndfeb"] & named["eu-ndfeb"]


def test_the_mass_balance_of_2024_is_within_three_per_cent_of_the_published_one(filled):
    found = mass_balance(filled, at(filled), 2024)
    made = {step.step: step.tonnes for step in found.steps}
    assert made["mined"] == sum(found.mined_t_reo.values()) == pytest.approx(384_000)
    assert made["contained"] == pytest.approx(88_000, rel=0.03)
    assert made["finished"] == pytest.approx(220_000, rel=0.03)
    assert found.scrap_multiplier == pytest.approx(1.27, rel=0.01)
    assert mass_balance(filled, at(filled)).year == 2025


def test_a_mass_balance_uses_the_edition_that_was_known(filled):
    found = mass_balance(filled, at(filled, date(2025, 6, 21)))
    assert (found.year, found.mined_t_reo["Australia"]) == (2024, 13_000)


def test_a_year_without_mine_output_is_refused_with_what_to_do(filled):
    with pytest.raises(UsageError, match="no mine output of 1999 is known: run `lodestone ingest"):
        mass_balance(filled, at(filled), 1999)
