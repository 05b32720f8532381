"""flows/governance.py: scores that a user brings, read or refused with the row and the field."""

import pytest

from flows.errors import CatalogError
from flows.governance import read_governance
from forecasting.market.indicators import GovernanceScore

HEADER = "country,score,source,confidence\n"


def written(folder, *rows: str, header: str = HEADER):
    file = folder / "governance.csv"
    file.write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return file


def test_scores_are_read_by_country_with_their_source(tmp_path):
    file = written(tmp_path, "China,-0.4,World Bank 2024,medium", 'Japan,1.3,"a, b",high')
    assert read_governance(file) == {
        "China": GovernanceScore("China", -0.4, "World Bank 2024", "medium"),
        "Japan": GovernanceScore("Japan", 1.3, "a, b", "high"),
    }


def test_without_a_file_no_country_has_a_score(tmp_path):
    assert read_governance(tmp_path / "governance.csv") == {}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("China,2.6,WB,high", "row 2: score: 2.6 is not between -2.5 and 2.5"),
        ("China,-2.51,WB,high", "row 2: score: -2.51"),
        ("China,nan,WB,high", "row 2: score: 'nan'"),
        ("China,bad,WB,high", "row 2: score: 'bad'"),
        ("China,,WB,high", "row 2: score: is empty"),
        (",1,WB,high", "row 2: country: is empty"),
        ("China,1,,high", "row 2: source: is empty"),
        ("China,1,WB,sure", "row 2: confidence: 'sure' is not one of high, medium"),
        ("China,1,WB,high,more", "row 2: more fields than the header has"),
    ],
)
def test_a_score_that_cannot_be_used_is_named_with_its_row_and_field(tmp_path, row, says):
    with pytest.raises(CatalogError, match=r"governance\.csv: ") as caught:
        read_governance(written(tmp_path, row))
    assert says in str(caught.value)


def test_a_country_has_one_score(tmp_path):
    with pytest.raises(CatalogError, match="row 3: country: China has a score already"):
        read_governance(written(tmp_path, "China,1,WB,high", "China,1,WB,high"))


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(CatalogError, match="the column confidence is missing"):
        read_governance(written(tmp_path, header="country,score,source\n"))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    file = tmp_path / "governance.csv"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogError, match=r"governance\.csv: can't be read"):
        read_governance(file)
