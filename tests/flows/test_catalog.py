import csv
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from flows.catalog import load_catalog
from flows.errors import CatalogError

SNAPSHOT = Path(str(resources.files("flows"))) / "reference" / "snapshot"
CONFIDENCES = {"high", "medium", "low", "background", "derived"}


def rows(name: str) -> list[dict[str, str]]:
    with (SNAPSHOT / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def observation_files() -> list[str]:
    return sorted(p.name for p in SNAPSHOT.glob("*.csv") if "series" in rows(p.name)[0])


def test_the_shipped_reference_files_agree_with_each_other():
    catalog = load_catalog()
    assert {"world-ndfeb", "india-ndfeb"} <= set(catalog.markets)
    assert {"base", "licence-freeze"} <= set(catalog.scenarios)
    assert {"dy_oxide", "tb_oxide", "nd_oxide"} <= set(catalog.forecast_series)


@pytest.mark.parametrize("name", observation_files())
def test_every_row_of_the_snapshot_names_a_known_source_a_known_series_and_its_unit(name):
    catalog = load_catalog()
    sources = {row["source_id"] for row in rows("sources.csv")}
    for number, row in enumerate(rows(name), start=2):
        place = f"{name} row {number}"
        assert row["source_id"] in sources, place
        assert row["confidence"] in CONFIDENCES, place
        assert catalog.series[row["series"]].unit == row["unit"], place
        assert row["published_on"] > row["period"], place


def test_every_computed_row_says_how():
    for name in observation_files():
        for number, row in enumerate(rows(name), start=2):
            assert row["source_id"] != "DERIVED" or row["note"], f"{name} row {number}"


def test_every_factor_and_every_policy_event_has_a_source_and_a_confidence():
    for name in ("factors.csv", "policy_events.csv"):
        for number, row in enumerate(rows(name), start=2):
            assert row["source"], f"{name} row {number}"
            assert row["confidence"] in CONFIDENCES, f"{name} row {number}"


def test_world_supply_of_2024_adds_up_by_our_own_factors():
    # USGS rounds the 384 kt of its country rows to 380 kt: they hold 88 kt NdPr oxide; 81 kt separated and 26.5 kt recycled make about 220 kt of magnets.
    catalog = load_catalog()
    mined = sum(
        float(row["value"])
        for row in rows("mine_output_yearly.csv")
        if row["period"] == "2024"
        and row["published_on"].startswith("2026")
        and row["series"] == "mine_output_world"
    )
    central = {name: factor.central for name, factor in catalog.factors.items()}
    contained = mined * central["ndpr_oxide_in_reo"]
    separated = contained * central["eta_separation"]
    magnets = (separated + central["scrap_ndpr_oxide_per_year"]) * central["mb_ratio_net"]
    assert mined == pytest.approx(384_000, rel=0.03)
    assert contained == pytest.approx(88_000, rel=0.03)
    assert separated == pytest.approx(81_000, rel=0.03)
    assert magnets == pytest.approx(220_000, rel=0.03)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("[mine\n", "not valid TOML", id="broken"),
        pytest.param(
            '[m]\ntitel = "x"\n',
            "titel: there is no such field; did you mean title?",
            id="misspelt",
        ),
        pytest.param(
            '[m]\ntitle = 3\nproduct = "p"\n', "market m: title: 3 is not a str", id="wrong type"
        ),
        pytest.param('[m]\ntitle = "x"\n', "missing: product", id="missing"),
        pytest.param(
            '[m]\ntitle = "x"\nproduct = "p"\n[[m.supply]]\nname = "s"\nlevel = "no_such"\n'
            '[[m.demand]]\nname = "d"\nbalance = true\n',
            "there is no factor 'no_such'",
            id="unknown factor",
        ),
    ],
)
def test_a_users_market_file_is_refused_with_the_place_and_the_mend(tmp_path, text, says):
    (tmp_path / "markets.toml").write_text(text)
    with pytest.raises(CatalogError, match=r"markets\.toml") as caught:
        load_catalog(tmp_path)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        pytest.param("markets.toml", "m = 3\n", "m: a market is a table", id="market is a number"),
        pytest.param(
            "markets.toml",
            '[m]\nsupply = "x"\n',
            "m: supply: is a list of tables",
            id="supply is text",
        ),
        pytest.param(
            "scenarios.toml",
            "s = 3\n",
            "scenario s: a scenario is a table",
            id="scenario is a number",
        ),
        pytest.param(
            "scenarios.toml",
            "[s]\nchange = 3\n",
            "change: is a list of tables",
            id="change is a number",
        ),
        pytest.param(
            "scenarios.toml",
            '[s]\ntitle = "t"\n[[s.change]]\norigin = "Chnia"\nexport_flow = "export_flow_in_freeze"\n'
            "starts_after_months = 0\nlasts_months = 1\n",
            "licences are modelled for China only",
            id="origin misspelt",
        ),
    ],
)
def test_a_table_in_the_wrong_place_is_named_and_not_a_traceback(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(CatalogError) as caught:
        load_catalog(tmp_path)
    assert name in str(caught.value)
    assert says in str(caught.value)


def test_a_users_scenario_is_added(tmp_path):
    (tmp_path / "scenarios.toml").write_text(
        '[short-freeze]\ntitle = "Two months"\n[[short-freeze.change]]\norigin = "China"\n'
        'export_flow = "export_flow_in_freeze"\nstarts_after_months = 1\nlasts_months = 2\n'
    )
    assert load_catalog(tmp_path).scenarios["short-freeze"].changes[0].lasts_months == 2


# --- a catalogue of one's own ------------------------------------------------------------


def own_catalog(folder: Path, text: str):
    (folder / "catalog.toml").write_text(text, encoding="utf-8")
    return load_catalog(folder)


def test_a_series_of_ones_own_is_added_and_a_shipped_one_changes_only_where_it_says_so(tmp_path):
    found = own_catalog(
        tmp_path,
        """
        [sources.desk]
        title = "Our price desk"
        limit_days = 5
        [series.ndpr_oxide_cn]
        title = "NdPr oxide, China"
        unit = "USD/kg"
        frequency = "day"
        kind = "price"
        source = "desk"
        jump = 1.5
        [series.dy_oxide_daily]
        jump = 3
        [series.china_exports_hs850511_world_t]
        jump = 9
        """,
    )
    shipped = load_catalog()
    assert found.series["ndpr_oxide_cn"].max_step_ratio == 1.5
    assert found.sources["desk"].limit_days == 5
    for name, jump in (("dy_oxide_daily", 3.0), ("china_exports_hs850511_world_t", 9.0)):
        assert found.series[name] == replace(shipped.series[name], jump=jump)
    assert len(found.series) == len(shipped.series) + 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[serie.x]\njump = 2", "serie: there is no such table; known: sources, series, family"),
        ("series = 3", "series: is a table of tables, written [series.NAME]"),
        ("[series.dy_oxide_daily]\njum = 2", "series.dy_oxide_daily: jum: there is no such field"),
        ("[series.dy_oxide_daily]\njump = 0.5", "jump: 0.5 is not a factor above 1, or 0"),
        ("[series.dy_oxide_daily]\nlag_days = -1", "lag_days: -1 is not 0 or more days"),
        ("[series.dy_oxide_daily]\nflat_days = -1", "flat_days: -1 is not 0 or more working days"),
        ("[series.dy_oxide_daily]\nsource = 'desk'", "source: 'desk' is not one of prices"),
        ("[series.mine]\ntitle = 'x'", "series.mine: missing: unit, frequency, kind, source"),
    ],
)
def test_what_a_catalogue_of_ones_own_gets_wrong_is_named(tmp_path, text, said):
    with pytest.raises(CatalogError) as caught:
        own_catalog(tmp_path, text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("catalog.toml: ")
