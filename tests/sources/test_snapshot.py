from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from flows.errors import SourceError
from flows.sources.snapshot import (
    COLUMNS,
    SHELVES,
    SnapshotSource,
    kind_of,
    snapshot_sources,
)
from flows.validation import Batch, validate
from tests.sources.specs import Spec

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
HEADER = ",".join(COLUMNS)
GOOD = "nd_oxide,2026-09,120.5,USD/kg,month_mean,2026-09-30,KOMIS,medium,"
SPECS = {
    "nd_oxide": Spec("USD/kg", "month", max_step_ratio=4.0),
    "cn_magnet_exports": Spec("t", "month", allows_zero=True),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sources.csv").write_text(
        "source_id,title,url,source_date,reuse,note\nKOMIS,Korean prices,https://k.example,,,\n",
        encoding="utf-8",
    )
    return tmp_path


def write(folder: Path, name: str, *lines: str) -> None:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(source: SnapshotSource) -> Batch:
    found = source.fetch(now=NOW)
    return validate(source.name, found.rows, series=SPECS, source_ids=found.citations, now=NOW)


def prices(folder: Path) -> SnapshotSource:
    """All price files of the folder."""
    names = sorted(path.name for path in folder.glob("prices_*.csv"))
    return SnapshotSource("pretend", "Pretend prices", "price", folder, tuple(names))


def test_a_row_lands_with_its_source_and_is_known_from_noon_of_its_day(folder: Path) -> None:
    write(folder, "prices_monthly.csv", HEADER, GOOD)
    (row,) = read(prices(folder)).observations
    assert (row.series, row.period, row.value, row.unit) == (
        "nd_oxide",
        date(2026, 9, 1),
        120.5,
        "USD/kg",
    )
    assert row.known_at == datetime(2026, 9, 30, 12, tzinfo=UTC)
    assert (row.source_id, row.confidence, row.statistic) == ("KOMIS", "medium", "month_mean")
    assert (row.raw_value, row.raw_unit) == ("120.5", "USD/kg")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("prices_monthly.csv", "price"),
        ("exports_monthly.csv", "trade"),
        ("imports_yearly.csv", "trade"),
        ("mine_output_yearly.csv", "reference"),
        ("quotas_yearly.csv", "reference"),
        ("sources.csv", None),
        ("factors.csv", None),
        ("policy_events.csv", None),
        ("projects.csv", None),
        ("indicators.csv", None),
        ("deposits.csv", None),
        ("mixes.csv", None),
        ("grades.csv", None),
        ("governance.csv", None),
    ],
)
def test_the_name_of_a_file_says_its_kind(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (GOOD.replace("KOMIS", ""), "source_id: is empty"),
        (GOOD.replace("KOMIS", "KOMI"), "did you mean 'KOMIS'?"),
        (GOOD.replace("120.5", "n/a"), "value: 'n/a' is not a number"),
        (GOOD.replace("2026-09,", "Sep-2026,"), "period: 'Sep-2026' is not YYYY"),
        (GOOD.replace("USD/kg", "CNY/t"), "unit: 'CNY/t'"),
        (
            GOOD.replace("medium", "good"),
            "'good' is none of high, medium, low, background, derived",
        ),
        (GOOD.replace("nd_oxide", "nd_oxid"), "did you mean 'nd_oxide'?"),
        (GOOD.replace("2026-09-30", "30.09.2026"), "published_on: '30.09.2026' is not a day"),
        (GOOD + "a, b", "row: has 10 cells instead of 9"),
        ("nd_oxide,2026-09", "row: has 2 cells instead of 9"),
    ],
)
def test_a_bad_row_is_quarantined_with_its_place_and_the_rest_lands(
    folder: Path, line: str, reason: str
) -> None:
    write(folder, "prices_monthly.csv", HEADER, GOOD.replace("2026-09", "2026-08"), "", line)
    batch = read(prices(folder))
    assert len(batch.observations) == 1
    (rejected,) = batch.rejected
    assert (rejected.source, rejected.file, rejected.row) == (
        "pretend",
        "prices_monthly.csv",
        4,
    )
    assert rejected.raw == line
    assert reason in rejected.reason


@pytest.mark.parametrize(
    ("header", "said"),
    [
        pytest.param(
            HEADER.replace("unit", "units"), "missing 'unit'; new 'units'", id="a column renamed"
        ),
        pytest.param(HEADER.replace(",note", ""), "missing 'note'", id="a column gone"),
        pytest.param(HEADER + ",extra", "new 'extra'", id="a column more"),
        pytest.param(HEADER + ",unit", "twice 'unit'", id="a column twice"),
        pytest.param(HEADER.replace(",", ";"), "separated by commas", id="semicolons"),
        pytest.param("", "has no header", id="an empty first row"),
        pytest.param(HEADER + '\n"open', "is not CSV", id="an open quote"),
    ],
)
def test_a_file_of_another_shape_is_refused_whole_and_the_others_land(
    folder: Path, header: str, said: str
) -> None:
    write(folder, "prices_a.csv", header, GOOD)
    write(folder, "prices_b.csv", HEADER, GOOD)
    found = prices(folder).fetch(now=NOW)
    (problem,) = found.problems
    assert problem.subject == "prices_a.csv"
    assert said in problem.text
    assert [row.file for row in found.rows] == ["prices_b.csv"]


def test_an_empty_file_is_named(folder: Path) -> None:
    (folder / "prices_a.csv").touch()
    (problem,) = prices(folder).fetch(now=NOW).problems
    assert "has no header; its first row must be series,period," in problem.text


def test_text_that_is_not_utf8_is_named(folder: Path) -> None:
    (folder / "prices_a.csv").write_bytes(HEADER.encode() + b"\n" + "钕".encode("gb18030"))
    (problem,) = prices(folder).fetch(now=NOW).problems
    assert "not UTF-8" in problem.text


def test_a_byte_order_mark_and_another_order_of_columns_are_fine(folder: Path) -> None:
    columns = list(reversed(COLUMNS))
    values = dict(zip(COLUMNS, GOOD.split(","), strict=True))
    text = ",".join(columns) + "\r\n" + ",".join(values[name] for name in columns) + "\r\n"
    (folder / "prices_a.csv").write_text("\ufeff" + text, encoding="utf-8")
    (row,) = read(prices(folder)).observations
    assert row.value == 120.5


def test_files_stand_under_the_name_of_who_published_their_figures(folder: Path) -> None:
    for name in ("prices_monthly.csv", "prices_ours.csv", "mine_output_yearly.csv", "vahan.csv"):
        write(folder, name, HEADER)
    found = {it.name: (it.kind, it.files) for it in snapshot_sources(folder)}
    assert found == {
        "komis": ("price", ("prices_monthly.csv",)),
        "usgs": ("reference", ("mine_output_yearly.csv",)),
        "folder-price": ("price", ("prices_ours.csv",)),
        "folder-reference": ("reference", ("vahan.csv",)),
    }


def test_a_folder_without_figures_says_so_file_by_file(folder: Path) -> None:
    sources = {it.name: it for it in snapshot_sources(folder)}
    assert sources.keys() == {shelf.name for shelf in SHELVES}
    assert [str(problem) for problem in sources["customs"].fetch(now=NOW).problems] == [
        "exports_monthly.csv: can't be read (FileNotFoundError)",
        "exports_yearly.csv: can't be read (FileNotFoundError)",
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["source_id,title,url"], "missing 'source_date', 'reuse', 'note'"),
        (["source_id,title,url,source_date,reuse,note", "A,,,,,", "A,,,,,"], "'A' is there twice"),
        (["source_id,title,url,source_date,reuse,note", "A,,"], "row 2"),
    ],
)
def test_without_a_sound_list_of_sources_no_row_can_land(
    folder: Path, lines: list[str], said: str
) -> None:
    write(folder, "sources.csv", *lines)
    write(folder, "prices_a.csv", HEADER, GOOD)
    with pytest.raises(SourceError, match=r"sources\.csv") as caught:
        prices(folder).fetch(now=NOW)
    assert said in str(caught.value)


def test_a_folder_that_is_not_there_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        snapshot_sources(tmp_path / "nowhere")[0].fetch(now=NOW)


def test_the_bundled_snapshot_is_whole_and_cites_every_row() -> None:
    for source in snapshot_sources():
        found = source.fetch(now=NOW)
        assert found.problems == ()
        assert found.rows
        assert {row.source_id for row in found.rows} <= found.citations.keys()
        assert not [row for row in found.rows if row.fault]
