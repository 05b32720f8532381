"""flows/materials.py: deposits, mixes, grades and stages from files; what is wrong in one is named with its place."""

import pytest

from flows.errors import CatalogError
from flows.materials import read_deposits, read_grades, read_mixes, read_stages
from forecasting.market.materials import Deposit
from forecasting.market.stages import ScrapLoop, Step

DEPOSIT_HEADER = "deposit,title,country,ore,published_total,CeO2,Nd2O3,unit,source,confidence,note"
MIX_HEADER = "origin,series,deposit,share,source,confidence"
GRADE_HEADER = (
    "grade,max_temperature,temperature_unit,dy_low,dy_central,dy_high,dy_unit,source,confidence"
)
GOOD_DEPOSIT = "a,A mine,India,monazite,,50,20,% of TREO,a book,high,"
GOOD_GRADE = "H,120,°C,1,1.7,2.5,wt%,a book,background"
KNOWN = {
    name: Deposit(name, name, "India", "monazite", {"Nd2O3": 0.2}, "a book", "high")
    for name in ("a", "b")
}


def written(folder, name, *lines):
    file = folder / name
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


# --- deposits


def test_a_deposit_is_read_with_its_shares_of_one(tmp_path):
    file = written(tmp_path, "deposits.csv", DEPOSIT_HEADER, GOOD_DEPOSIT)
    assert read_deposits(file) == {
        "a": Deposit(
            "a", "A mine", "India", "monazite", {"CeO2": 0.5, "Nd2O3": 0.2}, "a book", "high"
        )
    }


def test_an_oxide_that_was_not_reported_has_no_share(tmp_path):
    row = GOOD_DEPOSIT.replace(",50,", ",,")
    found = read_deposits(written(tmp_path, "deposits.csv", DEPOSIT_HEADER, row))
    assert dict(found["a"].shares) == {"Nd2O3": 0.2}


def test_figures_published_above_a_hundred_are_taken_of_their_total(tmp_path):
    row = GOOD_DEPOSIT.replace(",,50,20", ",125,100,25")
    found = read_deposits(written(tmp_path, "deposits.csv", DEPOSIT_HEADER, row))
    assert dict(found["a"].shares) == {"CeO2": 0.8, "Nd2O3": 0.2}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (GOOD_DEPOSIT.replace("50", "half"), "row 2: CeO2: 'half' is not a finite number"),
        (GOOD_DEPOSIT.replace("50", "inf"), "row 2: CeO2: 'inf' is not a finite number"),
        (GOOD_DEPOSIT.replace("50", "90"), "row 2: deposit a: its shares of TREO add up to 1.1000"),
        (GOOD_DEPOSIT.replace("50", "-5"), "row 2: deposit a: CeO2: -0.05 is not a share of 0–1"),
        (GOOD_DEPOSIT.replace(",,50", ",99,50"), "published_total: 99 is not above 100 %"),
        (GOOD_DEPOSIT.replace("50,20", ","), "row 2: no oxide has a share; columns: Sc2O3"),
        (GOOD_DEPOSIT.replace("a book", ""), "row 2: source: is empty"),
        (GOOD_DEPOSIT.replace("high", "sure"), "confidence: 'sure' is not one of high, medium"),
        (GOOD_DEPOSIT.replace("% of TREO", "share"), "unit: 'share' is not one of % of TREO"),
        (GOOD_DEPOSIT.replace("A mine", ""), "row 2: title: is empty"),
        (GOOD_DEPOSIT + ",more", "row 2: more fields than the header has"),
        ("a,A mine", "row 2: fewer fields than the header has"),
    ],
)
def test_a_wrong_row_of_deposits_is_named(tmp_path, row, words):
    with pytest.raises(CatalogError) as caught:
        read_deposits(written(tmp_path, "deposits.csv", DEPOSIT_HEADER, row))
    assert str(caught.value).startswith("deposits.csv: ")
    assert words in str(caught.value)


def test_a_deposit_that_is_there_twice_is_named_with_its_row(tmp_path):
    file = written(tmp_path, "deposits.csv", DEPOSIT_HEADER, GOOD_DEPOSIT, "", GOOD_DEPOSIT)
    with pytest.raises(CatalogError, match="row 4: deposit: a is there twice"):
        read_deposits(file)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (DEPOSIT_HEADER.replace("Nd2O3", "Nd203"), "no column 'Nd203'; did you mean Nd2O3?"),
        (DEPOSIT_HEADER.replace("Nd2O3", "xyz"), "there is no column 'xyz'; known: deposit"),
        (DEPOSIT_HEADER.replace("Nd2O3", "CeO2"), "the column CeO2 is there twice"),
        (DEPOSIT_HEADER.replace("source", "CeO2"), "the column source is missing"),
        (DEPOSIT_HEADER.replace(",", ";"), "the separator must be a comma, not ';'"),
    ],
)
def test_a_wrong_header_is_named(tmp_path, header, words):
    with pytest.raises(CatalogError) as caught:
        read_deposits(written(tmp_path, "deposits.csv", header, GOOD_DEPOSIT))
    assert words in str(caught.value)


@pytest.mark.parametrize("read", [read_deposits, read_grades, read_stages])
def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path, read):
    with pytest.raises(CatalogError, match="none"):
        read(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogError, match=r"bytes\.csv: can't be read"):
        read(tmp_path / "bytes.csv")


def test_a_file_without_rows_is_not_taken_for_a_world_without_deposits(tmp_path):
    with pytest.raises(CatalogError, match=r"deposits\.csv: there is no row"):
        read_deposits(written(tmp_path, "deposits.csv", DEPOSIT_HEADER))


# --- mixes


def test_the_rows_of_an_origin_are_its_mix_and_it_is_as_weak_as_the_weakest(tmp_path):
    file = written(
        tmp_path,
        "mixes.csv",
        MIX_HEADER,
        "China,mine_output_china,a,0.75,a book,high",
        "China,mine_output_china,b,0.25,a guess,low",
        "India,mine_output_india,a,1,a book,high",
    )
    china, india = read_mixes(file, KNOWN).values()
    assert dict(china.parts) == {"a": 0.75, "b": 0.25}
    assert (china.series, china.source, china.confidence) == (
        *("mine_output_china", "a book; a guess"),
        "low",
    )
    assert india.confidence == "high"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["China,s,c,1,a book,high"], "row 2: deposit: 'c' is not one of a, b"),
        (["China,s,a,0.9,a book,high"], "row 2: mix of China: its shares add up to 0.900000"),
        (["China,s,a,1.5,a book,high"], "row 2: mix of China: a: 1.5 is not a share"),
        (["China,s,a,0.5,a book,high"] * 2, "row 3: deposit: a is there twice"),
        (
            ["China,s,a,0.5,a book,high", "China,t,b,0.5,a book,high"],
            "row 3: series: 't', but China has 's' above",
        ),
        (["China,s,a,1,,high"], "row 2: source: is empty"),
        (["China,s,a,1,a book,"], "row 2: confidence: is empty"),
    ],
)
def test_a_wrong_mix_is_named(tmp_path, rows, words):
    with pytest.raises(CatalogError) as caught:
        read_mixes(written(tmp_path, "mixes.csv", MIX_HEADER, *rows), KNOWN)
    assert f"mixes.csv: {words}" in str(caught.value)


# --- grades


def test_a_grade_is_read(tmp_path):
    found = read_grades(written(tmp_path, "grades.csv", GRADE_HEADER, GOOD_GRADE))
    assert found["H"].dy_percent_central == 1.7
    assert found["H"].max_celsius == 120
    assert found["H"].confidence == "background"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (GOOD_GRADE.replace("1.7", "3"), "row 2: grade H: dy_percent: low 1, central 3, high 2.5"),
        (GOOD_GRADE.replace("wt%", "%"), "row 2: dy_unit: '%' is not one of wt%"),
        (GOOD_GRADE.replace("°C", "K"), "row 2: temperature_unit: 'K' is not one of °C"),
        (GOOD_GRADE.replace("120", "hot"), "row 2: max_temperature: 'hot' is not a finite number"),
        (GOOD_GRADE.replace("a book", " "), "row 2: source: is empty"),
    ],
)
def test_a_wrong_grade_is_named(tmp_path, row, words):
    with pytest.raises(CatalogError) as caught:
        read_grades(written(tmp_path, "grades.csv", GRADE_HEADER, row))
    assert f"grades.csv: {words}" in str(caught.value)


# --- stages

STAGES = """
[[stage]]
stage = "oxide"
title = "Oxide"
unit = "t NdPr oxide"

[[stage]]
stage = "magnet"
title = "Magnets"
unit = "t NdFeB"

[[step]]
from = "oxide"
to = "magnet"
factors = ["cut"]

[return]
title = "Swarf"
from = "oxide"
to = "oxide"
loss = "cut"
rate = "back"
"""


def test_stages_are_read_with_their_steps_and_their_return(tmp_path):
    graph = read_stages(written(tmp_path, "stages.toml", STAGES))
    assert graph.unit("magnet") == "t NdFeB"
    assert graph.steps == (Step("oxide", "magnet", ("cut",)),)
    assert graph.loop == ScrapLoop("Swarf", "oxide", "oxide", "cut", "back")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("[return]", "[loop]", "loop: there is no such table; known: stage, step, return"),
        ("[return]", "[[return]]", "return: is one table, written [return]"),
        ("[[step]]", "[step]", "stages: step: is a list of tables, written [["),
        ('from = "oxide"\nto = "magnet"', 'to = "magnet"', "step ? -> magnet: missing: from"),
        (
            'from = "oxide"\nto = "magnet"',
            'from = "oxide"\nbegins = "oxide"\nto = "magnet"',
            "step oxide -> magnet: begins: there is no such field; did you mean from?",
        ),
        ('factors = ["cut"]', 'factor = ["cut"]', "factor: there is no such field; did you mean"),
        ('factors = ["cut"]', 'factors = "cut"', "factors: 'cut' is not a list of strings"),
        ('to = "magnet"', "to = 3", "step oxide -> 3: to: 3 is not a str"),
        ('to = "magnet"', 'to = "magnets"', "to: there is no stage 'magnets'"),
        ('to = "magnet"', 'to = "oxide"', "the steps go in a circle: oxide -> oxide"),
        ('rate = "back"', "", "return oxide -> oxide: missing: rate"),
        ('loss = "cut"', 'loss = "burn"', "return 'Swarf': loss: burn is not a yield"),
        ('stage = "magnet"', 'stage = "motor"', "stage 'motor': is not one of mine, concentrate"),
        ('unit = "t NdFeB"', "", "stage 'magnet': missing: unit"),
    ],
)
def test_wrong_stages_are_named(tmp_path, before, after, words):
    assert before in STAGES
    with pytest.raises(CatalogError) as caught:
        read_stages(written(tmp_path, "stages.toml", STAGES.replace(before, after)))
    assert str(caught.value).startswith("stages.toml: ")
    assert words in str(caught.value)
