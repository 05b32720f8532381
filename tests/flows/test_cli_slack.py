"""flows/cli_slack.py: what listening needs, how it says so, who pressed what; and the app's manifest."""

import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.interactions import Press
from alerts.slack import SCOPES
from alerts.slack_socket import APP_TOKEN_SCOPE
from flows import cli, cli_slack, launcher
from flows.console import open_service
from flows.health import health
from flows.launcher import Child, Request, StopFlag
from flows.settings import Settings, load_settings
from flows.storage.interactions import InteractionStore
from tests.flows.cli_home import LendDatabase, answer, own_home
from tests.slack_standin import Fault, StandIn

ROOT = Path(__file__).resolve().parents[2]
BOT, APP = "xoxb-1-THE-BOT-TOKEN", "xapp-1-THE-APP-TOKEN"


@pytest.fixture(autouse=True)
def _own_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lend_service_database: LendDatabase
) -> Iterator[None]:
    with own_home(monkeypatch, tmp_path, lend_service_database):
        yield


@pytest.mark.parametrize(
    ("known", "arguments", "missing"),
    [
        ({}, [], "LODESTONE_SLACK_TOKEN"),
        ({"LODESTONE_SLACK_TOKEN": BOT}, [], "LODESTONE_SLACK_APP_TOKEN"),
        ({"LODESTONE_SLACK_APP_TOKEN": APP}, [], "LODESTONE_SLACK_TOKEN"),
        (
            {"LODESTONE_SLACK_TOKEN": BOT, "LODESTONE_SLACK_APP_TOKEN": APP},
            ["--http", "127.0.0.1:0"],
            "LODESTONE_SLACK_SIGNING_SECRET",
        ),
    ],
)
def test_what_listening_needs_is_named_with_the_page_that_tells_where_it_is(
    monkeypatch, capsys, known, arguments, missing
):
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["slack", "listen", *arguments]) == 2
    told = capsys.readouterr().err
    assert f"{missing} is not set" in told
    assert "docs/slack-app.md" in told


def test_an_app_token_that_slack_refuses_ends_the_start_with_a_sentence(monkeypatch, capsys):
    with StandIn() as slack:
        slack.fail("apps.connections.open", Fault("error", False, error="invalid_auth"))
        monkeypatch.setenv("LODESTONE_SLACK_BASE_URL", slack.api_url)
        monkeypatch.setenv("LODESTONE_SLACK_TOKEN", BOT)
        monkeypatch.setenv("LODESTONE_SLACK_APP_TOKEN", APP)
        assert cli.main(["slack", "listen"]) == 2
    told = capsys.readouterr()
    assert "Slack refuses the app token (invalid_auth); set LODESTONE_SLACK_APP_TOKEN" in told.err
    assert APP not in told.err + told.out
    assert BOT not in told.err + told.out


@pytest.mark.parametrize("variable", ["LODESTONE_SLACK_TOKEN", "LODESTONE_SLACK_APP_TOKEN"])
def test_a_token_that_can_be_none_is_named_and_not_shown(monkeypatch, capsys, variable):
    with StandIn() as slack:
        monkeypatch.setenv("LODESTONE_SLACK_BASE_URL", slack.api_url)
        monkeypatch.setenv("LODESTONE_SLACK_TOKEN", BOT)
        monkeypatch.setenv("LODESTONE_SLACK_APP_TOKEN", APP)
        monkeypatch.setenv(variable, "xoxb-with a blank")
        assert cli.main(["slack", "listen"]) == 2
    told = capsys.readouterr().err
    assert variable in told
    assert "with a blank" not in told


@pytest.mark.parametrize(
    "text", ["3000", ":3000", "host:", "host:http", "host:70000", "host:-1", "host:٣"]
)
def test_an_address_that_is_none_is_refused(capsys, text):
    with pytest.raises(SystemExit) as caught:
        cli.main(["slack", "listen", "--http", text])
    assert caught.value.code == 2
    assert "is not HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:3000", ("127.0.0.1", 3000)), ("[::1]:0", ("::1", 0)), ("host:80", ("host", 80))],
)
def test_an_address_is_a_host_and_a_port(text, address):
    assert cli_slack._an_address(text) == address


def test_who_pressed_what_and_what_became_of_it_is_listed_newest_first(capsys):
    at = datetime(2026, 11, 30, 8, 15, 2, tzinfo=UTC)
    press = Press("a" * 64, "U0PRIYA", "priya", "acknowledge", "6f1c0a52-1", "C1", "1.2")
    with open_service() as service:
        store = InteractionStore(service.database)
        store.keep(press, at)
        store.done(press.key, "You have taken this on.", at)
        store.keep(Press("b" * 64, "U1", "ra\u202evi", "numbers", "", "C1", "1.2"), at)
    assert cli.main(["slack", "presses"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2026-11-30 08:15:02 UTC  ravi (U1) pressed numbers on nothing: not applied yet",
        "2026-11-30 08:15:02 UTC  priya (U0PRIYA) pressed acknowledge on 6f1c0a52: "
        "You have taken this on.",
    ]
    assert cli.main(["slack", "presses", "--limit", "1", "--json"]) == 0
    (one,) = answer(capsys)["presses"]
    assert (one["user_name"], one["action"], one["outcome"]) == ("ra\u202evi", "numbers", None)
    assert one["at"] == "2026-11-30T08:15:02+00:00"


def test_before_anybody_pressed_the_list_says_so(capsys):
    assert cli.main(["slack", "presses"]) == 0
    assert capsys.readouterr().out == "nobody has pressed a button yet\n"


def test_health_is_told_as_the_command_tells_it():
    with open_service() as service:
        is_well, told = cli_slack._health(service)
        assert is_well is health(service, service.clock()).is_well is False
    assert told["is_well"] is False
    assert "no rule has been judged yet" in told["why"]


@pytest.mark.parametrize(
    ("known", "is_told"),
    [
        ({}, False),  # nothing is posted, so there are no buttons
        ({"LODESTONE_SLACK_TOKEN": BOT}, True),
        ({"LODESTONE_SLACK_TOKEN": BOT, "LODESTONE_SLACK_BUTTONS": "false"}, False),
        ({"LODESTONE_SLACK_TOKEN": BOT, "LODESTONE_SLACK_APP_TOKEN": APP}, False),
        ({"LODESTONE_SLACK_TOKEN": BOT, "LODESTONE_SLACK_SIGNING_SECRET": "s"}, False),
    ],
)
def test_the_check_tells_of_buttons_that_nobody_answers(monkeypatch, capsys, known, is_told):
    monkeypatch.setenv("LODESTONE_PREFECT_API_URL", "http://127.0.0.1:9/api")
    with StandIn() as slack:
        monkeypatch.setenv("LODESTONE_SLACK_BASE_URL", slack.api_url)
        for name, value in known.items():
            monkeypatch.setenv(name, value)
        cli.main(["check", "--json"])
    notes = {one["name"]: one["note"] for one in answer(capsys)["checks"]}
    assert ("buttons" in notes) is is_told
    if is_told:
        assert "LODESTONE_SLACK_APP_TOKEN" in notes["buttons"]
        assert "LODESTONE_SLACK_BUTTONS=false" in notes["buttons"]


# --- beside `lodestone run` ---------------------------------------------------------------

DONE = launcher.Outcome("run", "Completed", "", "http://127.0.0.1:4200/runs", True)


def test_a_listener_that_dies_is_told_and_does_not_end_the_service(tmp_path):
    code = "print('lodestone: Slack refuses the app token'); raise SystemExit(2)"
    dead = Child.start("listener", [sys.executable, "-c", code], os.environ, tmp_path / "slack.log")
    dead.process.wait(10)
    stop, said = StopFlag(), []

    def say(sentence: str) -> None:
        said.append(sentence)
        if "Buttons" in sentence:  # the service went on: now Ctrl-C
            stop.signals += 1

    answered = launcher._finish(DONE, Request(), (), dead, stop, say=say, show=lambda _: None)
    assert answered == 0
    assert said[1:] == [
        "Buttons in Slack are not answered any more: the listener ended by itself (exit code 2); "
        f"see {tmp_path / 'slack.log'}; last line of its log: lodestone: Slack refuses the app token",
        "Stopping.",
    ]


@pytest.mark.parametrize(
    ("settings", "request_"),
    [
        pytest.param(Settings(), Request(), id="no app token"),
        pytest.param(Settings(slack_app_token=APP), Request(once=True), id="a run that ends"),
    ],
)
def test_nobody_listens_where_nobody_could_or_for_one_run(tmp_path, settings, request_):
    assert launcher._start_listener(settings, request_, {}, tmp_path) is None


def test_the_service_listens_in_a_process_of_its_own_that_ends_with_it(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    monkeypatch.setenv("LODESTONE_SLACK_TOKEN", BOT)
    monkeypatch.setenv("LODESTONE_SLACK_APP_TOKEN", APP)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with StandIn() as slack:
        monkeypatch.setenv("LODESTONE_SLACK_BASE_URL", slack.api_url)
        listener = launcher._start_listener(load_settings(), Request(), os.environ, home)
        assert listener is not None
        try:
            deadline = time.monotonic() + 20
            while "listening as" not in listener.log.read_text() and time.monotonic() < deadline:
                time.sleep(0.02)
            assert slack.socket_mode.connected == 1
        finally:
            listener.end(StopFlag(), launcher.LISTENER_GRACE_SECONDS)
        assert listener.process.returncode == 0
    log = (home / "logs" / "slack-listen.log").read_text(encoding="utf-8")
    assert log == "listening as Stand-in\nStopping.\n0 pressed, 0 applied\n"
    assert APP not in log


# --- the manifest -----------------------------------------------------------------------


@pytest.fixture
def manifest() -> Any:
    return yaml.safe_load((ROOT / "docs" / "slack-app-manifest.yaml").read_text(encoding="utf-8"))


def test_the_manifest_asks_for_exactly_what_the_code_uses(manifest):
    asked = manifest["oauth_config"]["scopes"]["bot"]
    assert sorted(asked) == sorted(SCOPES)
    assert list(manifest["oauth_config"]["scopes"]) == ["bot"], "nothing is done as a person"


def test_the_manifest_has_the_shape_of_an_app_with_buttons(manifest):
    assert set(manifest) == {
        "_metadata",
        "display_information",
        "features",
        "oauth_config",
        "settings",
    }
    about = manifest["display_information"]
    assert len(about["name"]) <= 35
    assert len(about["description"]) <= 140
    assert 175 <= len(about["long_description"]) <= 4000
    assert manifest["features"]["bot_user"]["display_name"] == "Lodestone"
    settings = manifest["settings"]
    assert settings["interactivity"] == {"is_enabled": True}
    assert settings["socket_mode_enabled"] is True
    # A rotating token would end within half a day, and nobody here renews it.
    assert settings["token_rotation_enabled"] is False
    assert settings["org_deploy_enabled"] is False


def test_the_page_explains_every_permission_and_the_one_that_no_manifest_gives():
    page = (ROOT / "docs" / "slack-app.md").read_text(encoding="utf-8")
    for scope in (*SCOPES, APP_TOKEN_SCOPE):
        assert f"`{scope}`" in page
    for variable in ("TOKEN", "APP_TOKEN", "SIGNING_SECRET", "BUTTONS"):
        assert f"LODESTONE_SLACK_{variable}" in page
