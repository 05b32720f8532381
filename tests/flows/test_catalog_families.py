"""Families of series in catalog.toml: one declaration for each combination of words."""

import shutil
from importlib import resources
from pathlib import Path

import pytest

from flows.catalog import Catalog, load_catalog
from flows.errors import CatalogError

SHIPPED = Path(str(resources.files("flows"))) / "reference"
FAMILY = """
[[family]]
series = "{who}_exports_{measure}"
title = "{who} exports, {measure}"
kind = "trade"
source = "trade"
frequency = "month"
[family.who]
peru = "Peru's"
chad = "Chad's"
[family.measure]
t = { words = "tonnes", unit = "t", lag_days = 40 }
usd = { words = "dollars", unit = "USD" }
"""


@pytest.fixture
def reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "reference"
    shutil.copytree(SHIPPED, folder)
    monkeypatch.setattr("flows.catalog.REFERENCE", folder)
    return folder


def load(reference: Path, text: str) -> Catalog:
    file = reference / "catalog.toml"
    file.write_text((SHIPPED / "catalog.toml").read_text(encoding="utf-8") + text, encoding="utf-8")
    return load_catalog()


def test_a_family_is_one_series_for_each_combination(reference: Path) -> None:
    series = load(reference, FAMILY).series
    added = {
        name: it
        for name, it in series.items()
        if it.source == "trade" and not name.startswith("cn_magnet_exports")
    }
    assert set(added) == {
        *("peru_exports_t", "peru_exports_usd"),
        *("chad_exports_t", "chad_exports_usd"),
    }
    assert added["chad_exports_t"].title == "Chad's exports, tonnes"
    assert [added[it].unit for it in ("peru_exports_t", "peru_exports_usd")] == ["t", "USD"]
    assert [added[it].lag_days for it in ("peru_exports_t", "peru_exports_usd")] == [40, 0]
    assert added["peru_exports_usd"].frequency == "month"


PATTERN = "family '{who}_exports_{measure}': "


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            'series = "{who}_exports_{measure}"', "", "has no word in braces", id="no name"
        ),
        pytest.param("series = ", "series = 3 #", "3 is not a str", id="name no text"),
        pytest.param("{who}_exports", "{who}_{who", "unexpected '{'", id="brace left open"),
        pytest.param(
            '"{who}_exports_', '"{who}_{who}_', "braces hold one plain word each", id="word twice"
        ),
        pytest.param(
            '"{who}_exports_', '"{who!r}_exports_', "braces hold one plain word each", id="no word"
        ),
        pytest.param(
            '"{who}_exports_', '"{}_exports_', "braces hold one plain word each", id="empty braces"
        ),
        pytest.param(
            '"{who} exports',
            '"{whom} exports',
            PATTERN + "title: {whom} is not in series",
            id="title",
        ),
        pytest.param("[family.who]", "[family.whom]", PATTERN + "who: is a table", id="no words"),
        pytest.param(
            '[family.who]\nperu = "Peru\'s"\nchad = "Chad\'s"\n',
            "[family.who]\n",
            PATTERN + "who: is a table",
            id="no choice",
        ),
        pytest.param(
            'peru = "Peru\'s"',
            "peru = 3",
            PATTERN + "who.peru: words: is missing or no text",
            id="3",
        ),
        pytest.param(
            'words = "dollars", ', "", PATTERN + "measure.usd: words: is missing", id="no text"
        ),
        pytest.param(
            'unit = "USD"',
            'unit = "USD", frequency = "year"',
            PATTERN + "measure.usd: frequency: is set twice",
            id="field twice",
        ),
        pytest.param(
            'unit = "USD"',
            'unit = "USD", lag_day = 3',
            PATTERN + "peru_exports_usd: lag_day: there is no such field; did you mean lag_days?",
            id="unknown field",
        ),
        pytest.param(
            'unit = "USD"',
            'unit = "USD", lag_days = "x"',
            PATTERN + "peru_exports_usd: lag_days: 'x' is not a int",
            id="wrong type",
        ),
        pytest.param(
            'kind = "trade"\n', "", PATTERN + "peru_exports_t: missing: kind", id="field missing"
        ),
        pytest.param(
            'source = "trade"',
            'source = "tarde"',
            "series.peru_exports_t: source: 'tarde' is not one of",
            id="unknown group",
        ),
        pytest.param(
            '"{who}_exports_{measure}"',
            '"dy_{who}{measure}"\njump = 2',
            "series 'dy_oxide' is declared twice (once by a family)",
            id="name taken",
        ),
    ],
)
def test_a_mistake_in_a_family_is_named_with_its_field(
    reference: Path, old: str, new: str, said: str
) -> None:
    assert old in FAMILY
    text = FAMILY.replace(old, new, 1)
    if "dy_" in new:
        text = text.replace("peru", "ox").replace("t = {", "ide = {")
    with pytest.raises(CatalogError) as caught:
        load(reference, text)
    assert str(caught.value).startswith("catalog.toml: ")
    assert said in str(caught.value)
