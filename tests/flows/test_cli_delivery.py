"""`lodestone alerts drill --count`, `deliver` and `redrive`: their formats, exit codes, and a worker that stays."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from flows import cli, desk, postroom, wiring
from flows.console import open_service
from tests.flows.cli_home import LendDatabase, answer, own_home
from tests.slack_standin import Fault, StandIn

POST = "chat.postMessage"
COMMAND = "import sys; from flows.cli import main; sys.exit(main())"
KEYS = ["sent", "pending", "unknown", "dead", "oldest_unsent_seconds"]


@pytest.fixture(autouse=True)
def _own_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lend_service_database: LendDatabase
) -> Iterator[None]:
    monkeypatch.setenv("USER", "asha")
    with own_home(monkeypatch, tmp_path, lend_service_database):
        yield


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with StandIn() as running:
        monkeypatch.setenv("LODESTONE_SLACK_TOKEN", "xoxb-test")
        monkeypatch.setenv("LODESTONE_SLACK_BASE_URL", running.api_url)
        monkeypatch.setenv("LODESTONE_SLACK_RECONCILE_SECONDS", "0.4")
        yield running


def run(*words: str) -> int:
    return cli.main(["alerts", *words])


def numbers(slack: StandIn, channel: str | None = None) -> list[int]:
    """K of every "Drill K of N" that stands in a channel, as a reader sees it."""
    found = [re.search(r"Drill (\d+) of \d+", one.text) for one in slack.workspace.roots(channel)]
    return sorted(int(one[1]) for one in found if one)


def test_counted_drills_are_written_at_once_and_each_is_delivered_once(slack, capsys):
    assert run("drill", "--count", "12", "--channel", "#desk", "--json") == 0
    written = answer(capsys)
    assert (written["written"], written["channel"]) == (12, "#desk")
    assert len(set(written["incidents"])) == 12
    assert slack.requests == []
    assert run("deliver", "--until-empty", "--json") == 0
    found = answer(capsys)
    assert list(found) == KEYS
    assert found == {
        "sent": 12,
        "pending": 0,
        "unknown": 0,
        "dead": 0,
        "oldest_unsent_seconds": 0.0,
    }
    assert numbers(slack, "#desk") == list(range(1, 13))
    assert all("Drill" in str(one.blocks) for one in slack.workspace.roots())


def test_counted_drills_can_be_written_without_a_token_and_wait(capsys):
    assert run("drill", "--count", "3") == 0
    capsys.readouterr()
    assert run("deliver", "--json") == 0
    found = answer(capsys)
    assert (found["sent"], found["pending"]) == (0, 3)


def test_a_drill_goes_where_an_alert_of_its_severity_would(slack, capsys, tmp_path, monkeypatch):
    (tmp_path / "rules.toml").write_text(
        '[routes.crisis]\nchannel = "#crisis"\nmatch = { severity = "critical" }\n'
    )
    monkeypatch.setenv("LODESTONE_CONFIG_DIR", str(tmp_path))
    assert run("drill", "--count", "2", "--severity", "critical") == 0
    assert run("drill", "--count", "2", "--severity", "warning") == 0
    assert run("deliver") == 0
    assert numbers(slack, "#crisis") == [1, 2]
    assert numbers(slack, "#magnet-supply") == [1, 2]
    assert all("🔴" in one.text for one in slack.workspace.roots("#crisis"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--count", "0"], "whole number above 0"),
        (["--count", "many"], "whole number above 0"),
        (["--count", "2", "--severity", "awful"], "invalid choice"),
        (["--count", "2", "--route", "byers"], "buyers"),
        (["--count", "2", "--route", "buyers", "--route", "operators"], "one --route"),
    ],
)
def test_a_drill_that_can_t_be_meant_is_refused(words, told, capsys):
    try:
        code = run("drill", *words)
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert told in capsys.readouterr().err


def test_dead_messages_are_exit_code_3_until_a_redrive_sends_them_once(slack, capsys):
    slack.workspace.closed_channels["desk"] = "is_archived"
    assert run("drill", "--count", "3", "--channel", "#desk") == 0
    assert run("deliver", "--until-empty") == 3
    capsys.readouterr()
    assert run("deliver", "--json") == 3
    found = answer(capsys)
    assert (found["sent"], found["dead"]) == (0, 3)
    assert any("is_archived" in line and "restore it" in line for line in found["problems"])
    slack.workspace.closed_channels.clear()
    assert run("deliver", "--json") == 3  # mended, but nobody has said so
    capsys.readouterr()
    assert run("redrive", "--json") == 0
    assert answer(capsys) == {"redriven": 3}
    assert run("deliver", "--until-empty") == 0
    assert run("redrive") == 0
    assert run("deliver", "--until-empty") == 0
    assert numbers(slack, "#desk") == [1, 2, 3]


def test_what_was_given_up_can_be_let_go_of_for_good(slack, capsys):
    slack.workspace.closed_channels["desk"] = "is_archived"
    assert run("drill", "--count", "2", "--channel", "#desk") == 0
    assert run("deliver") == 3
    capsys.readouterr()
    assert run("redrive", "--drop", "--json") == 0
    assert answer(capsys) == {"dropped": 2}
    slack.workspace.closed_channels.clear()
    assert run("redrive") == 0
    assert run("deliver", "--until-empty") == 0
    assert numbers(slack) == []


def test_more_drills_than_anybody_can_mean_are_refused(capsys):
    with pytest.raises(SystemExit):
        run("drill", "--count", "10001")
    assert "at most 10,000" in capsys.readouterr().err


def test_old_drills_are_given_up_and_ended_and_new_ones_are_not(slack, capsys, monkeypatch):
    assert run("drill", "--count", "2", "--channel", "#old") == 0
    with open_service() as service:
        later = service.clock() + timedelta(days=2)
        monkeypatch.setattr(postroom, "now", lambda: later)
    monkeypatch.setattr(wiring, "now", lambda: later)
    assert run("drill", "--count", "1", "--channel", "#new") == 0
    with open_service() as service:
        assert desk.end_old_drills(service) == 1
        assert desk.end_old_drills(service) == 0
    assert run("deliver", "--until-empty") == 0
    assert slack.workspace.roots("#old") == []
    assert numbers(slack, "#new") == [1]


def test_a_revoked_token_is_one_plain_sentence_and_ends_the_wait(slack, capsys):
    slack.workspace.tokens = {"xoxb-another"}
    assert run("drill", "--count", "2", "--channel", "#desk") == 0
    capsys.readouterr()
    began = time.monotonic()
    assert run("deliver", "--until-empty") == 3
    assert time.monotonic() - began < 10
    printed = capsys.readouterr()
    assert printed.out.count("set a valid LODESTONE_SLACK_TOKEN") == 1
    assert "xoxb" not in printed.out + printed.err


def test_until_empty_waits_out_a_rate_limit_and_an_unclear_answer(slack, capsys):
    limited = Fault("status", applied=False, status=429, headers={"Retry-After": "1"})
    slack.fail(POST, limited, Fault("lost"), Fault("lost", applied=False), Fault("cut"))
    assert run("drill", "--count", "4", "--channel", "#desk") == 0
    assert run("deliver", "--until-empty", "--json") == 0
    assert numbers(slack) == [1, 2, 3, 4]


def test_until_empty_and_watch_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        run("deliver", "--until-empty", "--watch")
    assert "not allowed with" in capsys.readouterr().err


def test_watching_without_a_token_is_refused(capsys):
    assert run("deliver", "--watch") == 2
    assert "LODESTONE_SLACK_TOKEN is not set" in capsys.readouterr().err


@pytest.fixture
def watcher(slack):
    """`lodestone alerts deliver --watch` as a process."""
    root = str(Path(__file__).parents[2])
    started = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "alerts", "deliver", "--watch", "--json"],
        env={**os.environ, "PYTHONPATH": root},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_watching_delivery_sends_what_others_write_and_ends_when_asked(slack, watcher, number):
    assert run("drill", "--count", "2", "--channel", "#desk") == 0
    until(lambda: numbers(slack) == [1, 2])
    watcher.send_signal(number)
    out, err = watcher.communicate(timeout=10)
    assert watcher.returncode == 0, err
    assert json.loads(out)["sent"] == 2
    assert "xoxb" not in out + err
