"""lodestone replay: one JSON object, files in a folder, and refusals that name what is wrong."""

import json
import os
import tomllib
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from alerts.scoring import score_episodes
from flows import cli
from flows.catalog import load_catalog
from flows.cli_replay import _horizon_line, _lines
from flows.replay.panel import Asked
from flows.replay.result import ReplayResult
from flows.settings import load_settings
from flows.wiring import rules
from forecasting.series import from_grid


@pytest.fixture(autouse=True)
def _own_home(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("LODESTONE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LODESTONE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def panel(tmp_path):
    draw = np.random.default_rng(3)
    days = pd.date_range("2005-01-01", periods=110, freq="MS").strftime("%Y-%m-%d")
    tables = [
        pd.DataFrame(
            {
                "unique_id": f"s{number}",
                "ds": days,
                "y": 100 * np.exp(np.cumsum(draw.standard_normal(110) * 0.08)),
            }
        )
        for number in range(4)
    ]
    path = tmp_path / "panel.csv"
    pd.concat(tables).to_csv(path, index=False)
    return path


def refused(capsys, *arguments):
    try:
        code = cli.main(["replay", *map(str, arguments)])
    except SystemExit as end:  # argparse says it itself
        code = end.code
    told = capsys.readouterr()
    assert code == 2, told.out
    assert told.out == ""
    return told.err


def test_json_is_one_object_that_begins_with_rules_and_timeline(panel, capsys):
    assert cli.main(["replay", "--panel", str(panel), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    found = json.loads(lines[0])
    assert list(found)[:2] == ["rules", "timeline"]
    assert set(found["rules"]) == {"hysteresis", "single_limit", "random_walk"}
    assert set(found["limits"]) == set(found["rules"])
    assert found["series"] == 4


def test_the_folder_gets_timeline_figures_and_a_picture_for_each_rule(panel, tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    assert cli.main(["replay", "--panel", str(panel), "--out", str(out)]) == 0
    assert "hysteresis" in capsys.readouterr().out
    names = {path.name for path in out.iterdir()}
    assert names == {
        "timeline.csv",
        "quality.json",
        "quality-hysteresis.png",
        "quality-single_limit.png",
        "quality-random_walk.png",
    }
    timeline = pd.read_csv(out / "timeline.csv")
    assert list(timeline.columns[:2]) == ["at", "rule"]
    assert len(timeline)
    assert "timeline" not in json.loads((out / "quality.json").read_text())


def test_a_placebo_is_the_same_for_the_same_seed_and_another_for_another(panel, capsys):
    answers = []
    for seed in ("1", "1", "2"):
        assert cli.main(["replay", "--panel", str(panel), "--placebo", seed, "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out)["rules"]["hysteresis"])
    assert answers[0] == answers[1] != answers[2]


def test_a_proposal_comes_as_toml_with_what_it_gave_on_held_out_time(panel, capsys):
    assert cli.main(["replay", "--panel", str(panel), "--suggest", "--cost-loss", "0.2"]) == 0
    told = capsys.readouterr().out
    assert "warning = { enter = 0." in told
    assert "Held out, from 20" in told
    # Whose limits they become is not known here.
    assert "[rules.NAME]" in told
    assert "oxide-price-spike" not in told
    # Six periods of a monthly panel are six months; the piece is a rule's settings as it stands.
    given = tomllib.loads(told[told.index("[rules.NAME]") :])["rules"]["NAME"]
    assert given["horizon_months"] == 6


def test_a_weekly_panel_has_no_horizon_in_months_to_propose():
    days = [date(2020, 1, 3) + timedelta(weeks=at) for at in range(120)]
    weeks = from_grid("w", days, np.linspace(100.0, 120.0, 120), "week")
    asked = Asked(freq="W-FRI", rise=0.25, horizon=13, seed=1)
    told = _horizon_line([weeks], asked)
    assert told == "# horizon_months: the panel's 13 weeks are not whole months"


def rows(name, values, first="2005-01-01"):
    days = pd.date_range(first, periods=len(values), freq="MS").strftime("%Y-%m-%d")
    return pd.DataFrame({"unique_id": name, "ds": days, "y": values})


def moving(seed, count=110):
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).standard_normal(count) * 0.08))


def replayed(capsys, tmp_path, *tables):
    path = tmp_path / "given.csv"
    pd.concat(tables).to_csv(path, index=False)
    assert cli.main(["replay", "--panel", str(path), "--json"]) == 0
    told = capsys.readouterr()
    return json.loads(told.out), told.err


def test_a_date_with_two_values_is_refused_and_the_same_value_twice_is_not(capsys, tmp_path):
    once, twice, doubtful = (
        rows("once", moving(1)),
        rows("twice", moving(2)),
        rows("two", moving(3)),
    )
    other = doubtful.iloc[[30]].assign(y=1.0)
    found, _ = replayed(capsys, tmp_path, once, twice, twice.iloc[[5]], doubtful, other)
    assert found["left_out"] == {"two": f"2 values for {doubtful.ds.iloc[30]}"}
    assert found["series"] == 2
    # A proposal names what it did not learn from as well.
    assert cli.main(["replay", "--panel", str(tmp_path / "given.csv"), "--suggest", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["left_out"] == found["left_out"]


def test_a_value_that_is_not_above_zero_is_the_reason_that_is_given(capsys, tmp_path):
    values = moving(4)
    values[70] = 0.0
    found, _ = replayed(capsys, tmp_path, rows("good", moving(1)), rows("nought", values))
    assert found["left_out"]["nought"].startswith("value 0 of 2010-11-01: a rise can only be told")
    path = tmp_path / "low.csv"
    rows("low", -moving(4)).to_csv(path, index=False)
    told = refused(capsys, "--panel", path)
    assert "low: value -" in told
    assert "periods needed" not in told


def test_a_series_that_is_cut_at_a_gap_says_so_beside_the_answer(capsys, tmp_path):
    values = moving(5, 160)
    values[20:40] = np.nan
    found, told = replayed(capsys, tmp_path, rows("whole", moving(1)), rows("cut", values))
    assert "cut: 120 periods used, with a gap: 20 observations before 2008-05 left out" in told
    assert "whole" not in told
    assert found["series"] == 2


def lines_of(**changes):
    quality = score_episodes(
        (), (), horizon=timedelta(0), known_through=date.min, months=1, posts=7
    )
    return ReplayResult(rules={"r": quality}, timeline=(), **changes)


def test_a_rule_that_nobody_can_call_right_or_wrong_has_dashes_and_no_noughts():
    result = lines_of(without_truth={"r": "nobody publishes it"})
    table = _lines(result)
    assert table[1].split() == ["r", *["–"] * 9, "7"]
    assert "not scored: r: nobody publishes it" in table
    figures = result.as_dict()["rules"]["r"]
    assert figures.pop("posts") == 7
    assert figures.pop("truth") == "nobody publishes it"
    assert set(figures.values()) == {None}


def test_a_rule_that_has_a_truth_shows_how_often_nothing_happened():
    assert _lines(lines_of())[1].split()[:4] == ["r", "0", "0", "0"]


def test_a_lead_below_zero_is_explained_under_the_table():
    result = lines_of()
    late = replace(result.rules["r"], median_lead_days=-20.0)
    assert not any("lead" in line for line in _lines(result)[1:])
    (told,) = [line for line in _lines(replace(result, rules={"r": late})) if "r: a lead" in line]
    assert "days after the end of the fallen month" in told
    assert "within 62 days" in told


@pytest.mark.parametrize(
    ("judged_by", "spells", "expected"),
    [
        pytest.param(None, 1, "not judged: r on s from 2025-05-03: too old", id="still"),
        pytest.param(
            "2025-06-01",
            2,
            "not judged: r on s from 2025-05-03, judged again by 2025-06-01: too old (2 times in all)",
            id="over",
        ),
    ],
)
def test_what_could_not_be_judged_is_a_line_of_the_answer(judged_by, spells, expected):
    spell = {
        "since": "2025-05-03", "judged_by": judged_by, "subject": "s", "why": "too old", "spells": spells
    }  # fmt: skip
    assert expected in _lines(lines_of(extra={"not_judged": {"r": spell}}))


def test_without_a_panel_limits_are_proposed_for_the_rules_that_one_has(
    home, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("LODESTONE_HOME", str(home))
    assert cli.main(["replay", "--suggest", "--false-per-month", "0.05", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    proposal = found["rules"]["oxide-price-spike"]
    assert set(proposal["series"]) <= {"nd_oxide", "dy_oxide", "tb_oxide"}
    assert proposal["toml"].startswith("[rules.oxide-price-spike]\n")
    # What can't be learnt from is named.
    assert set(proposal["series"]) | set(found["left_out"]) == {"nd_oxide", "dy_oxide", "tb_oxide"}
    # The rules with it can be read, and it is the limit that they have then.
    own = tmp_path / "own.toml"
    own.write_text(proposal["toml"], encoding="utf-8")
    settings = load_settings({"LODESTONE_HOME": str(home)}, home / "none.toml")
    read = {rule.name: rule for rule in rules(settings, load_catalog(), own).rules}
    warning = read["oxide-price-spike"].limits[0]
    assert (warning.enter, warning.exit) == (proposal["enter"], proposal["exit"])


def test_few_events_are_said_to_be_few(home, monkeypatch, capsys):
    monkeypatch.setenv("LODESTONE_HOME", str(home))
    assert cli.main(["replay", "--suggest", "--cost-loss", "0.3"]) == 0
    told = capsys.readouterr().out
    assert "Fewer than 10 events to choose by" in told
    assert "since_months = 0  # counted from the newest price, not 3 months before" in told


def test_without_prices_nothing_is_proposed(capsys):
    told = refused(capsys, "--suggest")
    assert "no monthly price to learn from (" in told
    assert "dy_oxide: 0 observations, 12 needed" in told
    assert "`lodestone ingest`" in told


def test_nothing_is_proposed_where_nothing_can_be_learnt(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LODESTONE_HOME", str(home))
    none = tmp_path / "none.toml"
    none.write_text("[rules.oxide-price-spike]\nenabled = false\n", encoding="utf-8")
    assert "no rule of type price_spike" in refused(capsys, "--suggest", "--rules", none)
    assert "leave --market out" in refused(capsys, "--suggest", "--market", "world")
    told = refused(capsys, "--suggest", "--to", "2014-03-31")
    assert "oxide-price-spike: no series has a chance to judge" in told


@pytest.mark.parametrize(
    "argument", [("--rise", "0.3"), ("--horizon", "4"), ("--freq", "MS"), ("--placebo", "1")]
)
def test_what_is_for_a_panel_is_not_ignored_without_one(capsys, argument):
    days = ("--from", "2025-01-01", "--to", "2025-02-01")
    assert f"{argument[0]} needs --panel CSV" in refused(capsys, *days, *argument)
    assert f"{argument[0]} needs --panel CSV" in refused(capsys, "--suggest", *argument)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(["--rise", "0"], "'0' is not a number above 0", id="rise"),
        pytest.param(["--horizon", "0"], "'0' is not a whole number above 0", id="horizon"),
        pytest.param(["--freq", "hourly"], "unknown period 'hourly'; D, B, W", id="freq"),
        pytest.param(
            ["--from", "2010-01-01", "--to", "2009-01-01"],
            "--from 2010-01-01 is after --to 2009-01-01",
            id="from after to",
        ),
        pytest.param(["--market", "x"], "a panel has no markets", id="market"),
        pytest.param(["--cost-loss", "0.2"], "add --suggest", id="wish without suggest"),
        pytest.param(["--suggest", "--out", "o"], "leave --out out", id="suggest writes nothing"),
        pytest.param(["--rules", "nowhere.toml"], "nowhere.toml: can't be read", id="rules"),
        pytest.param(["--to", "2005-06-01"], "the longest has 6", id="nothing left"),
    ],
)
def test_bad_arguments_are_refused_by_name(panel, capsys, arguments, named):
    assert named in refused(capsys, "--panel", panel, *arguments)


def test_a_panel_that_is_missing_or_lacks_a_column_is_refused(tmp_path, capsys):
    assert "nope.csv: can't be read" in refused(capsys, "--panel", "nope.csv")
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("unique_id,date,y\na,2020-01-01,1\n", encoding="utf-8")
    told = refused(capsys, "--panel", wrong)
    assert "wrong.csv: the panel has no column ds" in told
    assert "found: unique_id, date, y" in told


def test_without_a_panel_both_days_are_needed(capsys):
    assert "--from and --to are needed" in refused(capsys, "--from", "2025-01-01")


def test_a_folder_that_can_not_be_written_is_refused_before_any_work(panel, tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.write_text("", encoding="utf-8")
    assert "--out needs a folder" in refused(capsys, "--panel", panel, "--out", taken)
    # Inside a file: no user may make a folder there, not even root.
    assert "can't be written to" in refused(capsys, "--panel", panel, "--out", taken / "inside")
