import csv
from dataclasses import replace
from datetime import date
from importlib import resources
from pathlib import Path

import pytest

from flows.catalog import load_catalog
from flows.errors import CatalogError
from forecasting.market.definitions import Project, composed

SNAPSHOT = Path(str(resources.files("flows"))) / "reference" / "snapshot"
FACTORS = "factor,low,central,high,unit,source,confidence,note"
CONFIDENCES = {"high", "medium", "low", "background", "derived"}


def rows(name: str) -> list[dict[str, str]]:
    with (SNAPSHOT / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def observation_files() -> list[str]:
    return sorted(p.name for p in SNAPSHOT.glob("*.csv") if "period" in rows(p.name)[0])


def test_the_shipped_reference_files_agree_with_each_other():
    catalog = load_catalog()
    assert set(catalog.markets) == {
        *("world-ndfeb", "world-ndpr-oxide"),
        *("india-ndfeb", "eu-ndfeb", "us-ndfeb", "japan-ndfeb"),
    }
    assert list(catalog.scenarios) == [
        *("base", "licence-freeze", "quota-cut", "project-slip"),
        *("india-china-jv", "demand-surge", "myanmar-halt"),
    ]
    assert catalog.exports == {"China": "cn_magnet_exports"}
    assert [one.regime for one in catalog.regimes] == ["announcement-18", "october-2025"]
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
            "[s]\nfreeze = 3\n",
            "scenario s: freeze: is a list of tables",
            id="freeze is a number",
        ),
        pytest.param(
            "scenarios.toml",
            '[s]\ntitle = "t"\n[[s.freez]]\norigin = "China"\nlasts_months = 1\n',
            "scenario s: freez: there is no such field or table; did you mean freeze?",
            id="table misspelt",
        ),
        pytest.param(
            "scenarios.toml",
            '[s]\ntitle = "t"\n[[s.freeze]]\norigin = "Chnia"\nlasts_months = 1\n',
            "did you mean 'China'?",
            id="origin misspelt",
        ),
        pytest.param(
            "scenarios.toml",
            '[s]\ntitle = "t"\n[[s.freeze]]\norigin = "China"\nlasts_months = "six"\n',
            "scenario s: freeze: lasts_months: 'six' is not a int",
            id="months in words",
        ),
        pytest.param(
            "scenarios.toml",
            '[s]\ntitle = "t"\n',
            "scenario s: scenario: changes nothing",
            id="names nothing",
        ),
        pytest.param(
            "scenarios.toml",
            '[s]\ntitle = "t"\nincludes = ["t"]\n',
            "includes",
            id="includes what is not there",
        ),
        pytest.param(
            "licences.toml", "r = 3\n", "regime r: a regime is a table", id="regime is a number"
        ),
        pytest.param(
            "licences.toml",
            "exports = 3\n",
            "exports: an exports table is a table, written [exports]",
            id="exports is a number",
        ),
        pytest.param(
            "licences.toml",
            '[exports]\nChina = "cn_magnet_export"\n',
            "exports: China: there is no series 'cn_magnet_export'; did you mean 'cn_magnet_exports'?",
            id="exports series misspelt",
        ),
        pytest.param(
            "licences.toml",
            '[exports]\nIndia = "mine_output_india"\n',
            "mine_output_india comes once a year; it must be monthly",
            id="exports series is yearly",
        ),
        pytest.param(
            "licences.toml",
            '[r]\ntitle = "t"\nstarts_on = "4 April 2025"\n',
            "regime r: starts_on: '4 April 2025' is not a day such as 2025-04-04",
            id="a day in words",
        ),
        pytest.param(
            "licences.toml",
            '[r]\ntitle = "t"\nstarts_on = 2025-04-04T12:00:00\n',
            "starts_on: 2025-04-04 12:00:00 is not a day such as",
            id="a moment for a day",
        ),
    ],
)
def test_a_table_in_the_wrong_place_is_named_and_not_a_traceback(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(CatalogError) as caught:
        load_catalog(tmp_path)
    assert name in str(caught.value)
    assert says in str(caught.value)


def test_a_users_scenario_is_added_and_may_include_a_shipped_one(tmp_path):
    (tmp_path / "scenarios.toml").write_text(
        '[both]\ntitle = "Two at once"\nincludes = ["quota-cut"]\n'
        '[[both.freeze]]\norigin = "China"\nstarts_after_months = 1\nlasts_months = 2\n'
    )
    catalog = load_catalog(tmp_path)
    assert catalog.scenarios["both"].freezes[0].lasts_months == 2
    whole = composed(catalog.scenarios["both"], catalog.scenarios)
    assert [change.stage for change in whole.supply] == ["mine", "magnet"]
    assert list(catalog.scenarios)[:-1] == list(load_catalog().scenarios)


REGIME = """
[{name}]
title = "Ours"
origin = "{origin}"
elements = ["{element}"]
covers = "dy_tb_share_of_magnets"
granted = "licence_granted_chance"
lead_days = "licence_lead_days"
known_on = 2026-01-05
starts_on = 2026-01-06
source = "a notice"
confidence = "high"
"""


def test_a_users_licence_regime_is_added_and_its_origin_may_be_frozen(tmp_path):
    (tmp_path / "licences.toml").write_text(
        REGIME.format(name="own", origin="Japan", element="Dy"), encoding="utf-8"
    )
    (tmp_path / "markets.toml").write_text(
        '[m]\ntitle = "Ours"\nproduct = "magnets"\n[[m.demand]]\nname = "d"\nlevel = "other_uses_eu"\n'
        '[[m.supply]]\nname = "s"\nbalance = true\norigin = "Japan"\n'
    )
    (tmp_path / "scenarios.toml").write_text(
        '[s]\ntitle = "Japan stops"\n[[s.freeze]]\norigin = "Japan"\nlasts_months = 2\n'
    )
    catalog = load_catalog(tmp_path)
    own = catalog.regimes[-1]
    assert (own.regime, own.starts_on, own.ends_on) == ("own", date(2026, 1, 6), None)
    assert len(catalog.regimes) == len(load_catalog().regimes) + 1


def test_a_shipped_licence_regime_is_replaced_by_name(tmp_path):
    (tmp_path / "licences.toml").write_text(
        REGIME.format(name="announcement-18", origin="China", element="Dy"), encoding="utf-8"
    )
    found = {one.regime: one for one in load_catalog(tmp_path).regimes}
    assert found["announcement-18"].elements == ("Dy",)
    assert len(found) == len(load_catalog().regimes)


def test_two_regimes_that_name_one_element_at_one_time_are_refused_with_the_file(tmp_path):
    (tmp_path / "licences.toml").write_text(
        REGIME.format(name="own", origin="China", element="Dy"), encoding="utf-8"
    )
    with pytest.raises(CatalogError, match=r"^licences\.toml: regime own: .*Dy"):
        load_catalog(tmp_path)


# --- plants and factors of one's own -----------------------------------------------------

PROJECT = {
    "project": "own",
    "title": "Our plant",
    "owner": "We",
    "country": "India",
    "stage": "magnet",
    "product": "NdFeB",
    "capacity": "500",
    "unit": "t NdFeB/year",
    "starts_on": "2027-01-31",
    "status": "construction",
    "known_on": "2026-01-31",
    "source": "our board",
    "confidence": "high",
}


def own_table(folder: Path, name: str, *table: dict[str, str]) -> Path:
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in table for key in row)))
        writer.writeheader()
        writer.writerows(table)
    return folder


def with_projects(folder: Path, **changes: str) -> Path:
    """The shipped plants, which the shipped markets name, and one of one's own."""
    return own_table(folder, "projects.csv", *rows("projects.csv"), {**PROJECT, **changes})


def test_a_users_plants_take_the_place_of_the_shipped_ones(tmp_path):
    projects = load_catalog(snapshot_dir=with_projects(tmp_path)).projects
    assert projects["own"] == Project(
        **PROJECT
        | {
            "capacity": 500.0,
            "starts_on": date(2027, 1, 31),
            "known_on": date(2026, 1, 31),
        }
    )
    assert len(projects) == len(load_catalog().projects) + 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"capacity": "-500"}, "capacity: -500 t NdFeB/year; it must be a number above 0"),
        ({"capacity": "about 500"}, "capacity: 'about 500' is not a finite number"),
        ({"capacity": ""}, "capacity: is empty"),
        ({"unit": "t NdFeBs/year"}, "did you mean 't NdFeB/year'"),
        ({"unit": "t NdFeB/month"}, "it must be per year"),
        ({"starts_on": "2027"}, "starts_on: '2027' is not a day such as 2025-04-04"),
        ({"starts_on": ""}, "starts_on: '' is not a day"),
        ({"full_on": "2026-12-31"}, "full_on: 2026-12-31 is not after starts_on"),
        ({"status": "running"}, "status: 'running' is not one of operating, ramping"),
        ({"stage": "shop"}, "stage: 'shop' is not one of mine"),
        ({"confidence": "sure"}, "confidence: 'sure' is not one of high"),
        ({"source": ""}, "source: is empty"),
        ({"project": "narva"}, "project: 'narva' is there twice"),
        ({"colour": "red"}, "there is no column 'colour'"),
    ],
)
def test_a_plant_that_can_not_be_used_is_named_with_file_row_and_column(tmp_path, changes, says):
    folder = with_projects(tmp_path, **changes)
    with pytest.raises(CatalogError) as caught:
        load_catalog(snapshot_dir=folder)
    assert str(caught.value).startswith("projects.csv: ")
    assert says in str(caught.value)
    number = len(rows("projects.csv")) + 2
    assert "colour" in changes or f"row {number}: " in str(caught.value)


def test_a_plant_that_a_market_counts_on_must_be_there(tmp_path):
    with pytest.raises(CatalogError, match=r"markets\.toml: market .*project: there is no project"):
        load_catalog(snapshot_dir=own_table(tmp_path, "projects.csv", PROJECT))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"low": "3"}, "low 3, central 0.92, high 0.97 are not in order"),
        ({"high": "inf"}, "high: 'inf' is not a finite number"),
        ({"central": "n/a"}, "central: 'n/a' is not a finite number"),
        ({"source": ""}, "source: every figure needs one"),
        ({"confidence": "sure"}, "confidence: 'sure' is not one of high, medium"),
        ({"unit": ""}, "unit: is empty"),
        (
            {"unit": "t NdFeBB/year"},
            "eta_separation: unit: there is no unit 't NdFeBB/year'; did you mean 't NdFeB/year'?",
        ),
        ({"factor": "eta_metal"}, "eta_metal: factor: the name is there twice"),
    ],
)
def test_a_factor_that_can_not_be_used_is_named_with_file_row_and_column(tmp_path, changes, says):
    table = rows("factors.csv")
    (number,) = (n for n, row in enumerate(table) if row["factor"] == "eta_separation")
    table.insert(0, table.pop(number) | changes)
    if changes.get("factor"):
        table.append(table.pop(0))
    with pytest.raises(CatalogError) as caught:
        load_catalog(snapshot_dir=own_table(tmp_path, "factors.csv", *table))
    place = len(table) + 1 if changes.get("factor") else 2
    assert str(caught.value).startswith(f"factors.csv: row {place}: ")
    assert says in str(caught.value)


def test_the_unit_of_a_factor_that_no_market_uses_is_read_as_well(tmp_path):
    spare = {**rows("factors.csv")[0], "factor": "spare", "unit": "vehicels/year"}
    folder = own_table(tmp_path, "factors.csv", *rows("factors.csv"), spare)
    with pytest.raises(CatalogError) as caught:
        load_catalog(snapshot_dir=folder)
    place = f"factors.csv: row {len(rows('factors.csv')) + 2}: spare: unit: "
    assert str(caught.value).startswith(f"{place}there is no unit 'vehicels/year'")
    assert str(caught.value).endswith("did you mean 'vehicles/year'?")


@pytest.mark.parametrize(
    ("importer", "near"),
    [
        pytest.param("Indai", "India", id="a plant's country"),
        pytest.param("EU 27", "EU27", id="an importer of a shipped market"),
    ],
)
def test_a_market_of_ones_own_with_a_slip_in_its_importer_is_refused(tmp_path, importer, near):
    text = (
        f'[m]\ntitle = "Ours"\nproduct = "magnets"\nimporter = "{importer}"\n'
        '[[m.supply]]\nname = "s"\nbalance = true\n'
        '[[m.demand]]\nname = "d"\nlevel = "other_uses_eu"\n'
    )
    (tmp_path / "markets.toml").write_text(text)
    with pytest.raises(CatalogError, match=f"m: importer: .*did you mean '{near}'") as caught:
        load_catalog(tmp_path)
    assert str(caught.value).startswith("markets.toml: market m: importer: ")
    (tmp_path / "markets.toml").write_text(text.replace(importer, near))
    assert load_catalog(tmp_path).markets["m"].importer == near


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("project;title\na;b\n", "the separator must be a comma, not ';'"),
        ("factor,low,central,high,unit,source\n", "the column confidence is missing"),
        (f"{FACTORS},low\n", "the column low is there twice"),
        (f"{FACTORS}\na,1,1,1,share\n", "row 2: fewer fields than the header has"),
        (f"{FACTORS}\na,1,1,1,share,x,high,n,o\n", "row 2: more fields than the header has"),
        (f"{FACTORS}\n\na,1,?,1,share,x,high,\n", "row 3: central: '?' is not a finite number"),
        ("\udcff", "can't be read"),
    ],
)
def test_a_table_of_another_shape_is_named_with_what_is_wrong(tmp_path, text, says):
    (tmp_path / "factors.csv").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(CatalogError) as caught:
        load_catalog(snapshot_dir=tmp_path)
    assert str(caught.value).startswith("factors.csv: ")
    assert says in str(caught.value)


def test_a_byte_order_mark_and_blanks_around_cells_are_fine(tmp_path):
    table = rows("factors.csv")
    padded = [{key: f" {value} " for key, value in row.items()} for row in table]
    folder = own_table(tmp_path, "factors.csv", *padded)
    file = folder / "factors.csv"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load_catalog(snapshot_dir=folder).factors == load_catalog().factors


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
