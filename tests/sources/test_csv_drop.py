import gzip
import re
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from flows.catalog import load_catalog
from flows.errors import SourceError
from flows.sources.csv_drop import CsvDropSource
from flows.sources.declared import CSV_DROP_FIELDS, load_declared
from flows.sources.http import HttpClient
from flows.sources.source import FetchResult
from flows.validation import Batch, validate
from tests.sources.publisher import PAYLOADS, Publisher, in_turn, wire
from tests.sources.specs import Spec

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
PAGE = Path(__file__).parents[2] / "docs" / "sources" / "csv_drop.md"

WIDE = """
[csv_drop.smm]
path = "{path}"
kind = "price"
title = "SMM price export"
url = "https://www.metal.com"
confidence = "medium"
period = "Date"
{more}
[[csv_drop.smm.column]]
column = "Avg"
series = "ndpr_oxide_cn"
unit = "CNY/t"
"""
LONG = """
[csv_drop.vahan]
path = "*.csv"
kind = "reference"
title = "VAHAN registrations"
confidence = "high"
period = "Month"
[csv_drop.vahan.rows]
value = "Registrations"
names = "Category"
unit = "vehicles"
series = {"E-RICKSHAW(P)" = "rickshaws", "MOTOR CAR" = "cars"}
"""


def no_network() -> HttpClient:
    raise AssertionError("a file on this machine was asked for on the network")


def drop(folder: Path, path: str = "drops", more: str = "", text: str = WIDE) -> CsvDropSource:
    file = folder / "sources.toml"
    file.write_text(text.replace("{path}", path).replace("{more}", more), encoding="utf-8")
    return CsvDropSource(load_declared(file).csv_drops[0], no_network)


def write(folder: Path, name: str, *lines: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def told(found: FetchResult) -> list[tuple[str, int, str, str]]:
    table = found.rows
    assert isinstance(table, pd.DataFrame)
    if table.empty:
        return []
    return list(
        table[["file", "row", "period", "value"]].astype(object).itertuples(index=False, name=None)
    )


def said(found: FetchResult) -> str:
    return "\n".join(map(str, found.problems))


# --- which files ------------------------------------------------------------


def test_a_folder_gives_every_export_in_it_in_the_order_of_names(tmp_path: Path) -> None:
    write(tmp_path, "drops/b.csv", "Date,Avg", "2025-06-21,6")
    write(tmp_path, "drops/a.txt", "Date;Avg", "2025-06-20;5")
    write(tmp_path, "drops/README.md", "Date,Avg", "2025-06-19,4")
    write(tmp_path, "drops/.a.csv.tmp.csv", "half")
    write(tmp_path, "drops/~$c.xlsx", "locked")
    (tmp_path / "drops" / "c.csv.gz").write_bytes(gzip.compress(b"Date,Avg\n2025-06-22,7\n"))
    (tmp_path / "drops" / "d.csv").mkdir()
    found = drop(tmp_path).fetch(now=NOW)
    assert told(found) == [
        ("a.txt", 2, "2025-06-20", "5"),
        ("b.csv", 2, "2025-06-21", "6"),
        ("c.csv.gz", 2, "2025-06-22", "7"),
    ]
    assert found.problems == ()


def test_a_pattern_reaches_into_folders_and_rows_say_which(tmp_path: Path) -> None:
    write(tmp_path, "drops/2024/smm.csv", "Date,Avg", "2024-06-20,5")
    write(tmp_path, "drops/2025/smm.csv", "Date,Avg", "2025-06-20,6")
    write(tmp_path, "drops/2025/argus.csv", "Date,Avg", "2025-06-21,7")
    found = drop(tmp_path, "drops/*/smm.csv").fetch(now=NOW)
    assert told(found) == [
        ("2024/smm.csv", 2, "2024-06-20", "5"),
        ("2025/smm.csv", 2, "2025-06-20", "6"),
    ]


def test_one_file_may_be_named_even_when_its_name_looks_like_a_pattern(tmp_path: Path) -> None:
    write(tmp_path, "smm [1].csv", "Date,Avg", "2025-06-20,5")
    assert len(told(drop(tmp_path, "smm [1].csv").fetch(now=NOW))) == 1


def test_a_path_may_be_absolute(tmp_path: Path) -> None:
    file = write(tmp_path, "elsewhere/smm.csv", "Date,Avg", "2025-06-20,5")
    (tmp_path / "config").mkdir()
    assert len(told(drop(tmp_path / "config", file.as_posix()).fetch(now=NOW))) == 1


@pytest.mark.parametrize("path", ["drops", "drops/*.csv", "drops/smm.csv"])
def test_no_file_is_a_problem_that_says_where_was_looked(tmp_path: Path, path: str) -> None:
    found = drop(tmp_path, path).fetch(now=NOW)
    assert told(found) == []
    assert said(found) == f"{path}: no file is there; looked in {tmp_path / path}"


def test_local_files_are_not_live_and_an_address_is(tmp_path: Path) -> None:
    assert not drop(tmp_path).is_live
    assert drop(tmp_path, "https://smm.example/prices.csv").is_live


# --- exports that overlap ---------------------------------------------------


def replaced(found: FetchResult) -> str:
    return "; ".join(found.notes)


def test_the_last_file_speaks_for_a_period_that_several_have(tmp_path: Path) -> None:
    write(tmp_path, "drops/2025-06.csv", "Date,Avg", "2025-06-19,500", "2025-06-20,501")
    write(tmp_path, "drops/2025-07.csv", "Date,Avg", "2025-06-20,502", "2025-07-01,503")
    write(tmp_path, "drops/2025-08.csv", "Date,Avg", "2025-06-20,502", "2025-07-01,504")
    found = drop(tmp_path).fetch(now=NOW)
    assert told(found) == [
        ("2025-06.csv", 2, "2025-06-19", "500"),
        ("2025-08.csv", 2, "2025-06-20", "502"),
        ("2025-08.csv", 3, "2025-07-01", "504"),
    ]
    assert replaced(found) == "rows of older files that newer ones replaced: 3"
    batch = judged(found)
    assert [it.value for it in batch.observations] == [500, 502, 504]
    assert batch.rejected == ()


def test_two_rows_of_one_file_still_contradict_each_other(tmp_path: Path) -> None:
    write(tmp_path, "drops/a.csv", "Date,Avg", "2025-06-19,500", "2025-06-20,501")
    write(tmp_path, "drops/b.csv", "Date,Avg", "2025-06-20,502", "2025-06-20,503")
    found = drop(tmp_path).fetch(now=NOW)
    assert [(it[0], it[3]) for it in told(found)] == [
        ("a.csv", "500"),
        ("b.csv", "502"),
        ("b.csv", "503"),
    ]
    assert len(judged(found).rejected) == 2


def test_dated_rows_are_all_kept_and_replace_no_undated_one(tmp_path: Path) -> None:
    head = "Date,Avg,Updated"
    write(tmp_path, "drops/a.csv", head, "2025-06-20,500,2025-06-20", "2025-06-23,600,")
    write(tmp_path, "drops/b.csv", head, "2025-06-20,501,2025-06-27", "2025-06-23,601,2025-06-27")
    write(tmp_path, "drops/c.csv", head, "2025-06-20,502,", "2025-06-20,503,2025-06-30")
    found = drop(tmp_path, more='published = "Updated"').fetch(now=NOW)
    assert [it[3] for it in told(found)] == ["500", "600", "501", "601", "502", "503"]
    assert replaced(found) == ""


def test_other_series_and_periods_are_not_replaced(tmp_path: Path) -> None:
    more = '[[csv_drop.smm.column]]\ncolumn = "Dy"\nseries = "dy"\nunit = "CNY/t"'
    write(tmp_path, "drops/a.csv", "Date,Avg,Dy", "2025-06-19,1,2", "2025-06-20,3,4")
    write(tmp_path, "drops/b.csv", "Date,Avg,Dy", "2025-06-20,,5", "2025-06-23,6,")
    found = drop(tmp_path, more=more).fetch(now=NOW)
    assert sorted(it[3] for it in told(found)) == ["1", "2", "3", "5", "6"]
    assert found.not_published == 2


def test_a_row_that_can_not_be_read_replaces_none_and_may_be_replaced(tmp_path: Path) -> None:
    doubtful = ('2025-06-18,"12,5"', '2025-06-19,"1,234"')  # the comma is proven: two readings
    write(tmp_path, "drops/a.csv", "Date,Avg", "2025-06-19,500")
    write(tmp_path, "drops/b.csv", "Date,Avg", *doubtful)
    assert [it[:2] for it in told(drop(tmp_path).fetch(now=NOW))] == [
        ("a.csv", 2),
        ("b.csv", 2),
        ("b.csv", 3),
    ]
    write(tmp_path, "drops/c.csv", "Date,Avg", "2025-06-19,501")
    assert [it[:2] for it in told(drop(tmp_path).fetch(now=NOW))] == [("b.csv", 2), ("c.csv", 2)]


def test_rows_that_are_cut_replace_nothing(tmp_path: Path) -> None:
    write(tmp_path, "drops/a.csv", "Date,Avg", "2025-06-19,5,0", "2025-06-20,5")
    write(tmp_path, "drops/b.csv", "Date,Avg", "2025-06-20,6", "2025-06-21,5,0")
    assert sorted(it[:2] for it in told(drop(tmp_path).fetch(now=NOW))) == [
        ("a.csv", 2),
        ("b.csv", 2),
        ("b.csv", 3),
    ]


def test_long_files_that_overlap_leave_only_the_rows_of_the_last_one(tmp_path: Path) -> None:
    days = pd.date_range("1990-01-01", periods=5_000).strftime("%Y-%m-%d")
    for at in range(3):
        write(tmp_path, f"drops/{at}.csv", "Date,Avg", *(f"{day},{at}1" for day in days))
    found = drop(tmp_path).fetch(now=NOW)
    assert [it[2] for it in told(found)] == list(days)
    assert {it[0] for it in told(found)} == {"2.csv"}
    assert replaced(found) == "rows of older files that newer ones replaced: 10,000"


# --- what goes wrong --------------------------------------------------------


def page(name: str) -> bytes:
    return (PAYLOADS / name).read_bytes()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(page("drop_login.html"), "web page titled 'Sign in'", id="web page"),
        pytest.param(b'{"error": "quota"}', "is JSON, not a table (it says 'quota')", id="JSON"),
        pytest.param(b"quota used up", "says 'quota used up'", id="a sentence"),
        pytest.param(
            gzip.compress(b"Date,Avg\n" * 99)[:-9], "gzip file that breaks off", id="gzip"
        ),
        pytest.param(b"Date,Average\n2025-06-20,5\n", "not known: 'Average'", id="renamed"),
        pytest.param(b"Date,Avg,Avg\n2025-06-20,5,6\n", "columns twice: 'Avg'", id="twice"),
        pytest.param(b"Date,Avg\n", "has the header and no row below it", id="no row"),
        pytest.param(b'Date,Avg\n2025-06-20,"5\n', "never closed", id="open quote"),
        pytest.param(b"\xd0\xcf\x11\xe0" + b"\0" * 99, "save it as .xlsx", id="xls"),
        pytest.param(b"PK\x03\x04broken", "damaged", id="xlsx"),
    ],
)
def test_a_file_that_can_not_be_read_is_named_and_loses_no_other(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    write(tmp_path, "drops/a.csv", "Date,Avg", "2025-06-20,5")
    (tmp_path / "drops" / "b.xls").write_bytes(content)
    write(tmp_path, "drops/c.csv", "Date,Avg", "2025-06-21,6")
    found = drop(tmp_path).fetch(now=NOW)
    assert [(it.subject, problem in it.text) for it in found.problems] == [("b.xls", True)]
    assert [it[0] for it in told(found)] == ["a.csv", "c.csv"]


def test_a_bad_row_keeps_its_place_and_loses_no_other(tmp_path: Path) -> None:
    lines = ("Date,Avg", "2025-06-20,5", "2025-06-21,1,5", "01/02/2025,7", "2025-06-23,nan")
    write(tmp_path, "drops/a.csv", *lines)
    found = drop(tmp_path).fetch(now=NOW)
    assert isinstance(found.rows, pd.DataFrame)
    faults = dict(zip(found.rows["row"], found.rows["fault"], strict=True))
    assert faults[3].startswith("row: has 3 cells instead of 2")
    assert "day or month first?" in faults[4]
    assert (faults[2], faults[5]) == ("", "")  # nan is left to validation
    assert set(found.rows["raw"]) == set(lines[1:])


def test_a_file_that_is_still_being_written_waits_for_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = write(tmp_path, "drops/slow.csv", "Date,Avg", "2025-06-20,5")
    write(tmp_path, "drops/whole.csv", "Date,Avg", "2025-06-21,6")
    read_bytes = Path.read_bytes

    def read_while_written(file: Path) -> bytes:
        content = read_bytes(file)
        if file == slow:
            with slow.open("a", encoding="utf-8") as more:
                more.write("2025-06-22,7\n")
        return content

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", read_while_written)
        found = drop(tmp_path).fetch(now=NOW)
    assert said(found) == "slow.csv: is being written; the next run takes it"
    assert [it[0] for it in told(found)] == ["whole.csv"]
    assert len(told(drop(tmp_path).fetch(now=NOW))) == 3


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(2, "No such file or directory"), "No such file or directory"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
    ],
)
def test_a_file_that_goes_or_may_not_be_read_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str
) -> None:
    write(tmp_path, "drops/a.csv", "Date,Avg", "2025-06-20,5")

    def fail(file: Path) -> bytes:
        raise error

    monkeypatch.setattr(Path, "read_bytes", fail)
    assert said(drop(tmp_path).fetch(now=NOW)) == f"a.csv: can't be read ({reason})"


def test_a_file_that_is_too_large_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "drops/a.csv", "Date,Avg", "2025-06-20,5")
    monkeypatch.setattr("flows.sources.csv_drop.MOST_BYTES", 10)
    assert "is larger than" in said(drop(tmp_path).fetch(now=NOW))


# --- long tables ------------------------------------------------------------


def test_names_that_nobody_mapped_are_left_out_and_counted_in_the_note(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a.csv",
        "Month,Category,Registrations",
        "2025-06,MOTOR CAR,5",
        "2025-06,BUS,6",
        "2025-06,E-RICKSHAW(P),7",
        "2025-07,BUS,8",
        "2025-07,MOPED,9",
    )
    found = drop(tmp_path, text=LONG).fetch(now=NOW)
    assert [it[3] for it in told(found)] == ["5", "7"]
    (note,) = found.notes
    assert note == "rows left out because nobody mapped their name: 3 (names: 2)"
    assert found.problems == ()


def test_a_mapped_name_that_no_row_has_is_a_problem_with_the_nearest_name(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a.csv",
        "Month,Category,Registrations",
        "2025-06,MOTOR CAR,5",
        "2025-06,E-RICKSHAW (P),7",
    )
    found = drop(tmp_path, text=LONG).fetch(now=NOW)
    assert said(found) == (
        "rickshaws: no row has 'E-RICKSHAW(P)' in 'Category'; is it 'E-RICKSHAW (P)' now?"
    )
    assert [it[3] for it in told(found)] == ["5"]


# --- what validation makes of it --------------------------------------------

SPECS = {"ndpr_oxide_cn": Spec("CNY/t", "day", max_step_ratio=1.6)}


def judged(found: FetchResult, source: str = "csv_drop.smm") -> Batch:
    return validate(source, found.rows, series=SPECS, source_ids=found.citations, now=NOW)


def test_every_row_of_a_file_is_accounted_for_with_its_place_and_reason(tmp_path: Path) -> None:
    write(
        tmp_path,
        "drops/a.csv",
        "Date,Avg",
        "2025-06-16,500",
        "2025-06-17,nan",
        "2025-06-18,inf",
        "2025-06-19,-5",
        '2025-06-20,"12,5"',
        "2025-06-23,0.5",
        "2025-06-24,1,5",
        "05/06/2025,500",
        "2025-06-26,501",
    )
    batch = judged(drop(tmp_path).fetch(now=NOW))
    assert [it.value for it in batch.observations] == [500, 501]
    assert batch.read == 9
    reasons = {it.row: it.reason for it in batch.rejected}
    assert list(reasons) == [3, 4, 5, 6, 7, 8, 9]
    assert reasons[3] == "Avg: 'nan' is not a number"
    assert reasons[4] == "Avg: 'inf' is not a number"
    assert "must be above 0" in reasons[5]
    assert "decimal comma" in reasons[6]
    assert "a unit or basis may have changed" in reasons[7]
    assert "has 3 cells instead of 2" in reasons[8]
    assert "day or month first?" in reasons[9]
    assert {it.file for it in batch.rejected} == {"a.csv"}


def test_nothing_read_is_nothing_to_judge(tmp_path: Path) -> None:
    assert judged(drop(tmp_path).fetch(now=NOW)).read == 0


# --- what is told of them ---------------------------------------------------


def test_figures_are_cited_as_declared(tmp_path: Path) -> None:
    write(tmp_path, "drops/a.csv", "Date,Avg", "2025-06-20,", "2025-06-21,6")
    found = drop(tmp_path, more='reuse = "licensed to us"').fetch(now=NOW)
    citation = found.citations["csv_drop.smm"]
    assert (citation.title, citation.url) == ("SMM price export", "https://www.metal.com")
    assert citation.reuse == "licensed to us"
    assert found.notes == ()
    assert isinstance(found.rows, pd.DataFrame)
    assert set(found.rows["source_id"]) == set(found.citations)
    assert found.not_published == 1


def test_a_workbook_is_read_like_any_other_file(tmp_path: Path) -> None:
    book = Workbook()
    for row in (["SMM"], ["Date", "Avg"], [datetime(2025, 6, 20), 5]):  # noqa: DTZ001 - Excel's
        book.active.append(row)
    (tmp_path / "drops").mkdir()
    book.save(tmp_path / "drops" / "smm.xlsx")
    assert told(drop(tmp_path).fetch(now=NOW)) == [("smm.xlsx", 3, "2025-06-20", "5")]


figures = st.lists(
    st.tuples(st.dates().map(lambda day: day.isoformat()), st.integers(1, 999)),
    max_size=12,
    unique_by=lambda it: it[0],
)


@settings(max_examples=40)
@given(figures=figures, order=st.randoms(use_true_random=False), parts=st.integers(1, 4))
def test_the_order_and_cut_of_files_do_not_change_what_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    figures: list[tuple[str, int]],
    order: object,
    parts: int,
) -> None:
    folder = tmp_path_factory.mktemp("drop")
    mixed = list(figures)
    order.shuffle(mixed)  # type: ignore[attr-defined]
    for at in range(parts):
        lines = [f"{day},{value}" for day, value in mixed[at::parts]]
        if lines:
            write(folder, f"drops/{order.random()}-{at}.csv", "Date,Avg", *lines)  # type: ignore[attr-defined]
    found = drop(folder).fetch(now=NOW)
    assert sorted((it[2], int(it[3])) for it in told(found)) == sorted(figures)


# --- an address -------------------------------------------------------------

ADDRESS = "https://smm.example/export/prices.csv"
KEYED = 'key = {param = "apikey"}'


def from_address(folder: Path, publisher: Publisher, more: str = "", key: str = "") -> FetchResult:
    declared = drop(folder, ADDRESS, more).declared
    return CsvDropSource(declared, publisher.open_client, key=key).fetch(now=NOW)


def test_an_address_is_read_like_a_file(tmp_path: Path) -> None:
    publisher = Publisher(in_turn(httpx.Response(200, text="Date,Avg\n2025-06-20,5\n")))
    found = from_address(tmp_path, publisher)
    assert told(found) == [("prices.csv", 2, "2025-06-20", "5")]
    assert [str(it.url) for it in publisher.requests] == [ADDRESS]


def test_a_key_goes_where_the_publisher_wants_it(tmp_path: Path) -> None:
    publisher = Publisher(in_turn(httpx.Response(200, text="Date,Avg\n2025-06-20,5\n")))
    from_address(tmp_path, publisher, KEYED, "hunter2secret")
    assert dict(publisher.requests[0].url.params) == {"apikey": "hunter2secret"}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        pytest.param(
            httpx.Response(200, content=page("drop_login.html")), "'Sign in'", id="web page"
        ),
        pytest.param(httpx.Response(200, text=""), "is empty", id="empty"),
        pytest.param(
            httpx.Response(200, text="bad key hunter2secret"),
            "says 'bad key …'",
            id="key said back",
        ),
        pytest.param(httpx.Response(404), "is gone (HTTP 404)", id="gone"),
        pytest.param(httpx.ConnectError("no"), "can't be reached", id="no network"),
    ],
)
def test_an_address_that_can_not_be_read_is_an_error_without_the_key(
    tmp_path: Path, answer: httpx.Response | Exception, problem: str
) -> None:
    with pytest.raises(SourceError) as caught:
        from_address(tmp_path, Publisher(in_turn(answer)), KEYED, "hunter2secret")
    assert caught.value.source == "csv_drop.smm"
    assert f"{ADDRESS} " in str(caught.value)
    assert problem in str(caught.value)
    assert "hunter2secret" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"Date,Avg\nk=hunter2secret,5\n2025-06-20,hunter2secret\n", id="cells"),
        pytest.param(b"Date,Avg,hunter2secret\nk=hunter2secret,5\n", id="cells too few"),
        pytest.param(
            b"Date,Avg,Note\n2025-06-20,5," + b"x" * 475 + b"hunter2secret\n", id="at the cut"
        ),
        pytest.param(
            gzip.compress(b"Date,Avg\nk=hunter2secret,5\n2025-06-20,hunter2secret\n"), id="packed"
        ),
    ],
)
def test_no_row_holds_a_key_that_is_said_back(tmp_path: Path, body: bytes) -> None:
    publisher = Publisher(lambda _: wire(body))
    found = from_address(tmp_path, publisher, 'key = {param = "k"}', "hunter2secret")
    assert isinstance(found.rows, pd.DataFrame)
    assert len(found.rows) >= 1
    assert "hunter2" not in found.rows.to_csv()
    assert "hunter2" not in "".join(it.reason for it in judged(found).rejected)


def test_a_missing_key_names_its_variable_and_asks_nobody(tmp_path: Path) -> None:
    publisher = Publisher(in_turn(httpx.Response(200)))
    with pytest.raises(SourceError, match="set LODESTONE_KEY_SMM in the environment"):
        from_address(tmp_path, publisher, KEYED)
    assert publisher.requests == []


# --- the page ---------------------------------------------------------------


def blocks(page: Path, name: str) -> str:
    """What a page shows of one file: its blocks begin with the file's name."""
    found = re.findall(r"```toml\n# (\S+)\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    return "\n".join(text for file, text in found if file == name)


def test_the_example_of_the_page_reads_the_files_that_it_shows(tmp_path: Path) -> None:
    for name in ("sources.toml", "catalog.toml"):
        (tmp_path / name).write_text(blocks(PAGE, name), encoding="utf-8")
    shown = re.findall(
        r"`([\w/.-]+\.csv)`:\n\n```csv\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
    )
    for name, content in shown:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    catalog = load_catalog(tmp_path)
    declared = load_declared(tmp_path / "sources.toml", series=catalog.stored_series)
    read: dict[str, set[tuple[str, str, str]]] = {}
    for it in declared.csv_drops:
        found = CsvDropSource(it, no_network).fetch(now=NOW)
        assert found.problems == ()
        assert isinstance(found.rows, pd.DataFrame)
        assert "fault" not in found.rows
        columns = found.rows[["series", "period", "value"]].astype(str)
        read[it.name] = set(columns.itertuples(index=False, name=None))
    assert read == {
        "smm": {
            ("ndpr_oxide_cn", "2026-11-19", "615000"),
            ("ndpr_oxide_cn", "2026-11-20", "613500"),
        },
        "vahan": {
            ("in_erickshaw_registrations", "2026-09", "41230"),
            ("in_car_registrations", "2026-09", "352870"),
        },
    }


def test_every_field_of_a_drop_is_explained_on_the_page() -> None:
    text = PAGE.read_text("utf-8")
    assert [name for name in CSV_DROP_FIELDS if f"`{name}`" not in text] == []
