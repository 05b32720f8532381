"""flows/cli.py: arguments, exit codes, one JSON object, and a start that imports nothing heavy."""

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from alerts.errors import AlertsError, RuleFileError
from alerts.rules import StaleSource
from alerts.silences import MatcherError
from flows import cli, console
from flows.catalog import REFERENCE, load_catalog
from flows.errors import (
    CatalogError,
    DatabaseUnusableError,
    LodestoneError,
    PrefectUnreachableError,
    SettingsError,
)
from flows.settings import load_settings
from flows.wiring import rules
from forecasting.results import Score
from tests.flows.cli_home import LendDatabase, answer, own_home

HEAVY = ("prefect", "pandas", "numpy", "matplotlib", "sqlalchemy", "pydantic", "prophet", "httpx")


@pytest.fixture(autouse=True)
def _own_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lend_service_database: LendDatabase
) -> Iterator[None]:
    with own_home(monkeypatch, tmp_path, lend_service_database):
        yield


def test_help_imports_nothing_heavy_and_documents_the_exit_codes():
    script = (
        "import sys\nfrom flows.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    print(f"lodestone --help: {time.perf_counter() - began:.2f} s")
    assert "HEAVY []" in done.stdout
    for line in (
        "0  fine",
        "1  the run failed",
        "2  wrong usage",
        "3  messages",
        "4  Prefect",
        "5  ",
    ):
        assert line in done.stdout
    for command in (
        "run",
        "ingest",
        "forecast",
        "outlook",
        "alerts",
        "backtest",
        "replay",
        "report",
        "check",
        "db",
    ):
        assert f"    {command} " in done.stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("s"), 2),
        (CatalogError("c"), 2),
        (RuleFileError("rules.toml", "rules.x", "p"), 2),
        (MatcherError("m"), 2),
        (cli.UsageError("u"), 2),
        (PrefectUnreachableError("p"), 4),
        (DatabaseUnusableError("d"), 5),
        (LodestoneError("l"), 1),
        (AlertsError("a"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_error_is_one_sentence_and_a_documented_exit_code(error, code, monkeypatch, capsys):
    def broken(_options: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_check", broken)
    assert cli.main(["check"]) == code
    assert capsys.readouterr().err == f"lodestone: {error}\n"


def test_a_misspelt_setting_ends_with_2_and_the_nearest_name(monkeypatch, capsys):
    monkeypatch.setenv("LODESTONE_PREFECT_PROT", "4300")
    assert cli.main(["check"]) == 2
    assert "LODESTONE_PREFECT_PORT" in capsys.readouterr().err


def test_broken_toml_ends_with_2_and_names_file_and_line(tmp_path, capsys):
    (tmp_path / "lodestone.toml").write_text("home = \n")
    assert cli.main(["check"]) == 2
    error = capsys.readouterr().err
    assert "lodestone.toml" in error
    assert "line 1" in error


def test_a_database_that_cannot_be_opened_ends_with_5(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LODESTONE_DATABASE_URL", f"sqlite:///{tmp_path}")
    assert cli.main(["db", "upgrade"]) == 5
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["run", "--as-of", "21.6.2025"], id="a day in another order"),
        pytest.param(["backtest", "--horizon", "0"], id="no horizon"),
        pytest.param(["outlook", "--months", "0"], id="no month"),
        pytest.param(["outlook", "--months", "1.5"], id="half a month"),
        pytest.param(["backtest", "--events", "--rise", "25%"], id="a rise that is no number"),
        pytest.param(["backtest", "--events", "--rise", "-0.1"], id="a fall"),
        pytest.param(["alerts"], id="no action"),
        pytest.param(["predict"], id="no such command"),
    ],
)
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_day_that_has_not_come_is_refused(capsys):
    assert cli.main(["alerts", "list", "--as-of", "2199-01-01"]) != 0
    assert "has not come yet" in capsys.readouterr().err


def test_db_upgrade_says_where_the_database_stands(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("LODESTONE_DATABASE_URL")
    assert cli.main(["db", "upgrade", "--json"]) == 0
    found = answer(capsys)
    assert found["database"] == str(tmp_path / "home" / "lodestone.db")
    assert found["revision"]


def test_ingest_counts_rows_and_the_second_time_finds_nothing_new(capsys):
    assert cli.main(["ingest", "--json"]) == 0
    first = answer(capsys)["sources"]
    assert [one["source"] for one in first] == [
        "ecb_fx",
        "komis",
        "customs",
        "dgcis",
        "usgs",
        "quotas",
        "iea_ev",
        "wind",
    ]
    counts = ("new", "revised", "unchanged", "quarantined")
    for one in first:
        assert one.keys() == {"source", "read", *counts, "newest_period", "age_days"}
        assert one["read"] == sum(one[name] for name in counts)
    assert all(one["new"] > 0 and one["quarantined"] == 0 for one in first)
    assert cli.main(["ingest", "--json"]) == 0
    second = answer(capsys)["sources"]
    assert all(one["new"] == one["revised"] == 0 for one in second)
    assert [one["read"] for one in second] == [one["read"] for one in first]


def test_a_refused_row_is_told_kept_and_found_again(capsys, tmp_path, monkeypatch):
    folder = tmp_path / "figures"
    folder.mkdir()
    shipped = REFERENCE / "snapshot"
    (folder / "sources.csv").write_bytes((shipped / "sources.csv").read_bytes())
    head = (shipped / "prices_monthly.csv").read_text(encoding="utf-8").splitlines()[:3]
    bad = "dy_oxide_month_end,2025-13,abc,USD/kg,,2025-12-31,KOMIS_LOONG,medium,"
    (folder / "prices_monthly.csv").write_text("\n".join([*head, bad, ""]), encoding="utf-8")
    monkeypatch.setenv("LODESTONE_SNAPSHOT_DIR", str(folder))
    assert cli.main(["ingest"]) == 0
    told = capsys.readouterr().out
    assert "komis: 3 rows read: 2 new, 0 revised, 0 unchanged, 1 quarantined" in told
    assert (
        "prices_monthly.csv row 4: period: '2025-13' is not in the calendar; value: 'abc'" in told
    )
    assert cli.main(["data", "quarantine", "--json"]) == 0
    found = answer(capsys)
    assert found["total"] == 1
    assert (found["rows"][0]["file"], found["rows"][0]["row"]) == ("prices_monthly.csv", 4)
    assert found["rows"][0]["raw"] == bad
    assert cli.main(["data", "quarantine", "usgs"]) == 0
    assert "no row of usgs was turned away" in capsys.readouterr().out


def test_a_history_is_printed_as_it_was_known_on_a_day(capsys):
    cli.main(["ingest"])
    capsys.readouterr()
    assert (
        cli.main(["data", "history", "mine_output_nigeria", "--known-at", "2025-06-21", "--json"])
        == 0
    )
    then = answer(capsys)
    assert (then["unit"], then["known_at"]) == ("t REO", "2025-06-21T23:59:59+00:00")
    assert {row["period"]: row["value"] for row in then["rows"]}["2024-01-01"] == 13000
    assert cli.main(["data", "history", "mine_output_nigeria", "--json"]) == 0
    now = answer(capsys)
    assert {row["period"]: row["value"] for row in now["rows"]}["2024-01-01"] == 1500
    assert cli.main(["data", "history", "dy_oxide", "--known-at", "2013-05-15"]) == 0
    shown = capsys.readouterr().out
    assert "dy_oxide, USD/kg, as known on 2013-05-15 23:59 UTC" in shown
    assert "2013-04-01" in shown
    assert "2013-05-01" not in shown
    assert cli.main(["data", "history", "reserves_china"]) == 0
    assert "44,000,000  known 2025-01-31" in capsys.readouterr().out
    assert cli.main(["data", "history", "dy_oxid"]) == 2


def test_the_state_of_the_figures_is_told_with_ages_and_gaps(capsys):
    assert cli.main(["data", "status"]) == 0
    assert "nothing is kept yet: lodestone ingest" in capsys.readouterr().out
    cli.main(["ingest"])
    capsys.readouterr()
    assert cli.main(["data", "status", "--json"]) == 0
    found = answer(capsys)
    assert {group["group"] for group in found["groups"]} >= {"prices", "trade", "reference"}
    exports = next(one for one in found["series"] if one["series"] == "cn_magnet_exports")
    assert exports["next_expected"] == "2025-12-20"
    assert {visit["source"] for visit in found["visits"]} >= {"komis", "customs", "usgs"}
    assert cli.main(["data", "status"]) == 0
    assert "STALE  China's magnet exports (customs)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["ingest", "custom"], "customs"),
        (["forecast", "dy_oxid"], "dy_oxide"),
        (["outlook", "india-ndfed"], "india-ndfeb"),
        (["outlook", "--scenario", "licence-freze"], "licence-freeze"),
        (["outlook", "--scenario", "base+quota-cat"], "quota-cut"),
        (["backtest", "--models", "profet"], "prophet"),
    ],
)
def test_a_misspelt_name_ends_with_2_and_the_nearest_one(arguments, nearest, capsys):
    assert cli.main(arguments) == 2
    assert nearest in capsys.readouterr().err


def test_what_is_not_known_is_null_in_json(capsys):
    console.print_json(
        {"known": [1.5, math.nan, math.inf], "score": Score("theta", 0, 1.0, 1.0, 1, 1)}
    )
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["known"] == [1.5, None, None]
    assert (found["score"]["rel_crps"], found["score"]["bias"]) == (1.0, None)


# --- the outlook of a market -----------------------------------------------------------


@pytest.fixture(scope="module")
def looked_at(
    tmp_path_factory: pytest.TempPathFactory,
    lend_service_database: LendDatabase,
) -> Iterator[dict[str, str]]:
    """Variables of a service that knows the forecasts of March and June 2025."""
    home = tmp_path_factory.mktemp("looked-at")
    with lend_service_database() as url:
        variables = {
            "LODESTONE_HOME": str(home),
            "LODESTONE_DATABASE_URL": url,
            "LODESTONE_MODELS": "random_walk,drift",
            "LODESTONE_PATHS": "300",
            "LODESTONE_MARKET_PATHS": "300",
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            assert cli.main(["ingest"]) == 0
            for day in ("2025-03-21", "2025-06-21"):
                assert cli.main(["forecast", "--as-of", day]) == 0
            assert cli.main(["outlook", "--as-of", "2025-03-21"]) == 0
        yield variables


@pytest.fixture
def june(looked_at: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for name, value in looked_at.items():
        monkeypatch.setenv(name, value)
    return ["--as-of", "2025-06-21"]


def test_the_outlook_of_all_markets_is_a_sentence_and_the_base_case_of_each(june, capsys):
    assert cli.main(["outlook", *june]) == 0
    shown = capsys.readouterr().out
    titles = re.findall(r"^.*\((\S+)\), Base case", shown, re.MULTILINE)
    assert titles[:3] == ["world-ndfeb", "world-ndpr-oxide", "india-ndfeb"]
    assert len(titles) == len(set(titles)) == shown.count("next 6 months: base case")
    assert shown.count("  Jul 2025 ") == len(titles)
    assert "Why it changed" not in shown
    assert shown.count("As known on 21 June 2025, against as known on 21 March 2025") == len(titles)
    assert max(map(len, shown.splitlines())) <= 120


def test_the_outlook_of_a_market_says_what_changed_and_what_each_scenario_would(june, capsys):
    assert cli.main(["outlook", "india-ndfeb", *june]) == 0
    shown = capsys.readouterr().out
    assert len(re.findall(r"^  [A-Z][a-z]{2} 20\d\d ", shown, re.MULTILINE)) == 12
    before, after = (
        float(re.search(rf"as known on {day} 2025 +([\d,.]+)\n", shown)[1].replace(",", ""))
        for day in ("21 March", "21 June")
    )
    bars = re.findall(r"^    \S.*? +([-+][\d,.]+)(?:  [-+]+)?$", shown, re.MULTILINE)
    total = sum(float(bar.replace(",", "")) for bar in bars)
    assert len(bars) >= 3
    assert after - before == pytest.approx(total, abs=len(bars) + 2)
    for words in ("licence-freeze", "myanmar-halt", "Net import reliance of India", "kept back:"):
        assert words in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_the_outlook_under_a_scenario_stands_beside_the_base_case(june, capsys):
    assert cli.main(["outlook", "eu-ndfeb", "--scenario", "licence-freeze", *june]) == 0
    shown = capsys.readouterr().out
    assert "unmet, base case" in shown
    assert re.search(r"^    base case +[\d,]+$", shown, re.MULTILINE)
    assert re.search(r"^    Kept back by export licences and clearance +\+", shown, re.MULTILINE)
    assert "Scenarios:" not in shown


def test_a_shorter_outlook_and_scenarios_laid_over_each_other_are_shown_and_not_kept(june, capsys):
    arguments = ["outlook", "us-ndfeb", "--scenario", "quota-cut+demand-surge", "--months", "7"]
    assert cli.main([*arguments, *june, "--json"]) == 0
    (market,) = answer(capsys)["markets"]
    assert market["scenario"] == "quota-cut+demand-surge"
    assert len(market["months"]) == 7
    with console.open_service() as service:
        at = datetime(2025, 6, 22, tzinfo=UTC)
        kept = [
            service.forecasts.latest_projection("us-ndfeb", name, at)
            for name in ("base", "quota-cut+demand-surge")
        ]
    assert kept[0] is None or len(kept[0].months) == 12
    assert kept[1] is None


def test_a_market_can_be_looked_at_for_five_years_and_no_longer(june, capsys):
    assert (
        cli.main(["outlook", "us-ndfeb", "--scenario", "project-slip", "--months", "60", *june])
        == 0
    )
    assert "  Jun 2030 " in capsys.readouterr().out
    assert cli.main(["outlook", "--months", "61", *june]) == 2
    assert "1 to 60 can be projected" in capsys.readouterr().err


def test_the_outlook_as_json_has_changes_and_a_trace_only_when_asked_and_never_nan(june, capsys):
    assert cli.main(["outlook", "india-ndfeb", "--json", *june]) == 0
    text = capsys.readouterr().out
    found = json.loads(text, parse_constant=pytest.fail)
    assert set(found) == {"as_of", "markets", "refused", "changes"}
    assert found["refused"] == {}
    assert [one["scenario"] for one in found["markets"]][:2] == ["base", "licence-freeze"]
    assert not {"trace", "shortfall_t_paths", "demand_t_paths"} & set(found["markets"][0])
    assert {one["scenario"] for one in found["changes"]} == {
        one["scenario"] for one in found["markets"]
    }
    for change in found["changes"]:
        bars = sum(bar["tonnes"] for bar in change["bars"])
        assert change["before_t"] + bars == pytest.approx(change["after_t"], abs=1e-6)
    assert cli.main(["outlook", "india-ndfeb", "--json", "--trace", *june]) == 0
    (step, *_) = answer(capsys)["markets"][0]["trace"]
    assert {"component", "step", "name", "central", "unit", "source", "confidence"} <= set(step)


def test_every_line_of_a_market_can_be_traced_to_its_result(june, capsys):
    assert cli.main(["outlook", "india-ndfeb", "--trace", *june]) == 0
    shown = capsys.readouterr().out
    made = re.findall(r"^  (?:supply|demand|not balanced): (.*?)  +", shown, re.MULTILINE)
    trace = shown[shown.index("where each number") :]
    assert len(made) > 5
    for name in made:
        assert re.search(rf"^  (supply|demand): {re.escape(name[:40])}", trace, re.MULTILINE)
    titles = re.findall(r"^  (?:supply|demand): |^  Kept back", trace, re.MULTILINE)
    assert trace.count("    result    ") == len(titles)
    assert "\n  How lines depend on each other\n" in trace
    assert "cn_magnet_exports: 1,238 t/month  [high, known 20 Jun 2025]" in trace
    assert max(map(len, shown.splitlines())) <= 120


def test_charts_of_a_market_are_drawn_as_png_and_svg_and_named(june, capsys, tmp_path):
    folder = tmp_path / "new" / "charts"
    arguments = ["outlook", "japan-ndfeb", "--scenario", "myanmar-halt", "--charts", str(folder)]
    assert cli.main([*arguments, *june, "--json"]) == 0
    named = {Path(path) for path in answer(capsys)["charts"]}
    assert named == set(folder.iterdir())
    assert {path.name for path in named} == {
        f"japan-ndfeb-myanmar-halt-{kind}.{suffix}"
        for kind in ("balance", "supply", "demand", "waterfall")
        for suffix in ("png", "svg")
    }
    for path in named:
        start = b"\x89PNG" if path.suffix == ".png" else b"<?xml"
        assert path.read_bytes().startswith(start)
        assert path.stat().st_size <= 150_000


def test_a_folder_that_charts_cannot_be_written_to_ends_with_2(june, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = ["outlook", "japan-ndfeb", "--charts", str(tmp_path / "file" / "charts")]
    assert cli.main([*arguments, *june]) == 2
    assert "charts can't be written there: Not a directory" in capsys.readouterr().err


def test_a_market_without_forecasts_ends_with_1_and_says_what_is_missing(capsys):
    assert cli.main(["outlook", "india-ndfeb", "--json"]) == 1
    refused = answer(capsys)["refused"]["india-ndfeb"]
    assert refused.startswith("india-ndfeb: ev_sales_india")
    assert "0 observations" in refused
    assert "demand 'Electric" in refused


def test_a_rule_file_that_cannot_be_used_ends_a_run_before_anything_starts(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "rules.toml").write_text("[rules.mine]\ntype = 'price_spikes'\n")
    monkeypatch.setenv("LODESTONE_CONFIG_DIR", str(tmp_path))
    assert cli.main(["run", "--once"]) == 2
    assert "rules.toml" in capsys.readouterr().err
    assert not (tmp_path / "home" / "logs").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("# é\n".encode("latin-1"), "not UTF-8", id="latin-1"),
        pytest.param("# e\n".encode("utf-16"), "not UTF-8", id="utf-16"),
        pytest.param(None, "directory", id="a folder"),
    ],
)
def test_a_rule_file_that_cannot_be_read_ends_with_2(tmp_path, monkeypatch, capsys, content, says):
    file = tmp_path / "rules.toml"
    file.mkdir() if content is None else file.write_bytes(content)
    monkeypatch.setenv("LODESTONE_CONFIG_DIR", str(tmp_path))

    assert cli.main(["run", "--once"]) == 2
    said = capsys.readouterr().err
    assert str(file) in said
    assert says in said


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_rules_of_a_replay_that_cannot_be_read_are_a_mistake_of_the_file(tmp_path, name):
    catalog = load_catalog()
    with pytest.raises(RuleFileError, match="can't be read"):
        rules(load_settings({}), catalog, tmp_path / name)


def test_a_misnamed_rule_file_is_told(tmp_path, caplog):
    settings = load_settings({"LODESTONE_CONFIG_DIR": str(tmp_path)})
    rules(settings, load_catalog())
    assert "rule.toml" not in caplog.text

    (tmp_path / "rule.toml").write_text("")
    rules(settings, load_catalog())
    assert "rule.toml is not read; did you mean rules.toml?" in caplog.text


def test_check_tells_a_busy_port(capsys, monkeypatch):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("LODESTONE_PREFECT_PORT", str(taken.getsockname()[1]))
        assert cli.main(["check", "--json"]) == 1
    found = answer(capsys)
    assert found["ok"] is False
    assert [one["name"] for one in found["checks"] if not one["passed"]] == ["prefect"]


def test_check_says_what_each_rule_would_do_as_known_on_a_day(june, capsys):
    # A service without figures would answer the same for every rule.
    assert cli.main(["check", "--json", *june]) == 0
    rules = {(one["rule"], one["subject"]): one for one in answer(capsys)["rules"]}
    drop = rules["magnet-exports-drop", "cn_magnet_exports"]
    assert (drop["outcome"], drop["severity"]) == ("opens", "critical")
    assert drop["words"].startswith("would open a critical: China's exports of rare-earth magnets")
    assert rules["source-is-stale", "trade"]["outcome"] == "quiet"
    assert rules["model-degraded", "nd_oxide"]["outcome"] == "not_judged"
    assert cli.main(["check", *june]) == 0
    shown = capsys.readouterr().out
    assert "What each rule would do, as known on 2025-06-21 23:59 UTC" in shown
    assert "  magnet-exports-drop cn_magnet_exports: would open a critical: China's" in shown
    assert "  model-degraded nd_oxide: can't judge: " in shown


def test_a_rule_that_fails_fails_the_check_by_name_and_hides_no_other(capsys, monkeypatch):
    def broken(*_: object) -> None:
        message = "no figures today"
        raise ZeroDivisionError(message)

    monkeypatch.setattr(StaleSource, "evaluate", broken)
    assert cli.main(["check", "--json"]) == 1
    found = answer(capsys)
    assert found["ok"] is False
    (bad,) = [one for one in found["checks"] if not one["passed"]]
    assert (bad["name"], bad["note"].split("; ")[-1]) == ("rules", "failing: source-is-stale")
    fails = [one for one in found["rules"] if one["outcome"] == "fails"]
    assert [one["words"] for one in fails] == ["fails: ZeroDivisionError: no figures today"]
    assert len({one["rule"] for one in found["rules"]}) > 5


def test_a_backtest_reads_anyones_panel_and_writes_every_forecast(tmp_path, capsys):
    rows = ["unique_id,ds,y"]
    rows += [f"mine,{2015 + n // 12}-{n % 12 + 1:02d}-01,{100 + n % 7}" for n in range(72)]
    (tmp_path / "panel.csv").write_text("\n".join(rows))
    arguments = ["--panel", "panel.csv", "--horizon", "2", "--step", "6", "--min-train", "48"]
    out = ["--models", "random_walk", "--out", "rows.csv", "--json"]
    assert cli.main(["backtest", *arguments, *out]) == 0
    found = answer(capsys)
    assert found["cutoffs"] > 0
    assert {"rel_mae", "rel_crps", "coverage_80", "coverage_95", "seconds"} <= set(
        found["models"]["random_walk"]
    )
    assert "share" in found["champion"]
    assert "events" not in found
    header = (tmp_path / "rows.csv").read_text().splitlines()[0]
    assert header == "unique_id,cutoff,model,ds,step,y,q025,q10,q25,q50,q75,q90,q975"


def test_a_backtest_judges_probabilities_of_a_rise_when_asked(tmp_path, capsys):
    rows = ["unique_id,ds,y", "short,2020-01-01,1"]
    for name in ("one", "two"):
        rows += [
            f"{name},{2005 + n // 12}-{n % 12 + 1:02d}-01,{100 + 30 * math.sin(n / 5 + len(rows))}"
            for n in range(150)
        ]
    (tmp_path / "panel.csv").write_text("\ufeff" + "\n".join(rows), encoding="utf-8")
    arguments = ["backtest", "--panel", "panel.csv", "--models", "random_walk", "--events"]
    assert cli.main([*arguments, "--rise", "0.1", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""  # no progress bar where nobody watches
    found = json.loads(printed.out)
    assert set(found["events"]) == {"base_rate", "auc", "brier", "brier_skill", "n"}
    assert found["events"]["n"] == found["cutoffs"]
    assert found["refused"] == {"short": "1 observations, 12 needed"}
    assert "left_out" not in found
    assert cli.main(arguments) == 0
    told = capsys.readouterr().out
    assert "rises of 25 %: base rate" in told
    assert "said" in told
    assert "came" in told


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "can't be read", id="no file"),
        pytest.param(b"\xff\xfe\x00", "UTF-8", id="another encoding"),
        pytest.param(b"a,b\n1,2\n", "unique_id", id="other columns"),
        pytest.param(b"", "unique_id, ds, y", id="empty"),
        pytest.param(b"unique_id;ds;y\n", "found: unique_id;ds;y", id="semicolons"),
        pytest.param(b"unique_id,ds,y\n", "no rows", id="only a header"),
    ],
)
def test_a_panel_that_cannot_be_used_ends_with_2(tmp_path, capsys, content, words):
    if content is not None:
        (tmp_path / "panel.csv").write_bytes(content)
    assert cli.main(["backtest", "--panel", "panel.csv"]) == 2
    assert words in capsys.readouterr().err
