"""flows/launcher.py: one run per home, no process left behind, one server test of the whole command."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed

from flows import launcher
from flows.errors import LodestoneError, PrefectUnreachableError
from flows.launcher import (
    MARK,
    PULSE,
    AlreadyRunningError,
    Child,
    HomeLock,
    Outcome,
    Request,
    StopFlag,
    StoppedError,
    child_environment,
    deploy,
    deploy_missing,
    end_marked,
    find_deployments_file,
    launch,
    load_flows,
    marked,
    read_deployments,
    require_free_port,
    run_page,
)
from flows.settings import Settings
from tests.browser import CHROMIUM, dom, require_chromium

ROOT = Path(__file__).resolve().parents[2]
LODESTONE = [sys.executable, "-c", "import sys; from flows.cli import main; sys.exit(main())"]
SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path.resolve()


@pytest.fixture
def said() -> list[str]:
    return []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_sleeper(home: Path, script: str = "") -> Child:
    command = [sys.executable, "-c", script] if script else SLEEPER
    child = Child.start("sleeper", command, os.environ | {MARK: str(home)}, home / "sleeper.log")
    wait_for(lambda: b"up" in child.log.read_bytes())
    return child


def wait_for(condition: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# --- the home folder --------------------------------------------------------------


def test_a_second_start_names_the_pid_and_the_address_of_the_first(home, said):
    with HomeLock(home).held("http://127.0.0.1:4999", said.append):
        with (
            pytest.raises(AlreadyRunningError) as caught,
            HomeLock(home).held("http://127.0.0.1:5000", said.append),
        ):
            pass
        assert f"pid {os.getpid()}, UI http://127.0.0.1:4999" in str(caught.value)
    with HomeLock(home).held("http://127.0.0.1:5000", said.append):
        pass
    assert said == []


@pytest.mark.parametrize(
    "left",
    [
        pytest.param(json.dumps({"pid": 2**22 + 1, "ui_url": "http://x"}), id="a dead pid"),
        pytest.param(json.dumps({"pid": os.getppid(), "ui_url": "http://x"}), id="not our process"),
        pytest.param("half a li", id="cut off while writing"),
    ],
)
def test_a_lock_that_nobody_holds_is_cleared_with_a_sentence(home, said, left):
    (home / "run.lock").write_text(left)
    with HomeLock(home).held("http://127.0.0.1:4999", said.append):
        assert json.loads((home / "run.lock").read_text())["pid"] == os.getpid()
    assert len(said) == 1
    assert "cut off: its lock is cleared" in said[0]
    assert is_alive(os.getppid())


def test_what_a_killed_run_left_behind_ends_at_the_next_start(home, said):
    orphan = start_sleeper(home)
    stranger = Child.start(
        "stranger", SLEEPER, os.environ | {MARK: str(home / "other")}, home / "stranger.log"
    )
    try:
        with HomeLock(home).held("http://127.0.0.1:4999", said.append):
            pass
        orphan.process.wait(5)
        assert said == ["1 process that it left behind ended."]
        assert stranger.process.poll() is None
    finally:
        stranger.process.kill()
        stranger.process.wait()


def test_a_home_that_cannot_be_written_is_named(home, said):
    (home / "file").write_text("")
    with (
        pytest.raises(LodestoneError, match=r"file/home: the home folder can't be written"),
        HomeLock(home / "file" / "home").held("http://127.0.0.1:4999", said.append),
    ):
        pass


def test_a_busy_port_is_named_with_the_setting_that_chooses_another():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PrefectUnreachableError, match=f"{port}.*LODESTONE_PREFECT_PORT"):
            require_free_port(port)


# --- children ---------------------------------------------------------------------


def test_a_child_ends_on_sigint_even_when_we_were_started_with_it_ignored(home):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stop = StopFlag()
        with stop.listening():
            child = start_sleeper(home)
            began = time.monotonic()
            child.end(stop, grace_seconds=10)
        assert child.process.returncode != -signal.SIGKILL
        assert time.monotonic() - began < 5
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_child_that_ignores_sigint_is_killed_with_its_whole_group(home):
    stubborn = (
        "import signal, subprocess, sys, time;"
        "signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print('up', p.pid, flush=True); time.sleep(600)"
    )
    child = start_sleeper(home, stubborn)
    grandchild = int(child.log.read_text().split()[1])
    child.end(StopFlag(), grace_seconds=0.3)
    assert child.process.returncode == -signal.SIGKILL
    wait_for(lambda: grandchild not in marked(home))


def test_a_marked_process_is_found_and_ended_whoever_its_parent_is(home):
    child = start_sleeper(home)
    assert marked(home) == [child.process.pid]
    assert end_marked(home) == 1
    child.process.wait(5)
    assert marked(home) == []


def test_a_child_that_died_is_told_with_the_last_line_of_its_log(home):
    child = Child.start(
        "server", [sys.executable, "-c", "raise SystemExit('no disk')"], os.environ, home / "s.log"
    )
    child.process.wait()
    with pytest.raises(PrefectUnreachableError, match=r"server ended .*exit code 1.*no disk"):
        child.require_alive()


STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]  # the last: the terminal was closed


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_interrupts_a_wait_and_nothing_else(number):
    stop = StopFlag()
    with stop.listening():
        os.kill(os.getpid(), number)
        began = time.monotonic()
        with pytest.raises(StoppedError):
            stop.wait(30)
    assert time.monotonic() - began < 5


def test_nohup_outlives_the_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopFlag().listening():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# --- what children and server are told ------------------------------------------------


def environment(home: Path) -> dict[str, str]:
    address = "http://127.0.0.1:4999"
    settings = Settings(home=home, prefect_port=4999)
    return child_environment(settings, api_url=f"{address}/api", ui_url=address, embedded=True)


def test_children_stay_offline_and_inside_the_home_folder(home):
    env = environment(home)
    assert env["PREFECT_HOME"] == str(home / "prefect")
    assert env["DO_NOT_TRACK"] == "1"
    assert env["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert env["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] == "false"
    assert env["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"].split(",") == [
        "http://127.0.0.1:4999",
        "http://localhost:4999",
    ]


FOREIGN = {
    "PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////nonexistent/foreign.db",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////nonexistent/foreign.db",
    "PREFECT_SERVER_DATABASE_HOST": "db.example.org",
    "PREFECT_SERVER_DOCKET_URL": "redis://queue.example.org",
    "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
    "PREFECT_SERVER_API_BASE_PATH": "/foreign",
    "PREFECT_PROFILE": "foreign",
    "PREFECT_PROFILES_PATH": "/nonexistent/profiles.toml",
}
"""What the shell of somebody who operates another Prefect server may hold."""


def test_children_know_nothing_of_another_servers_database(home, monkeypatch):
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    assert FOREIGN.keys().isdisjoint(environment(home))


def test_the_client_in_this_process_knows_nothing_of_it_either(home, monkeypatch):
    # A copy: what the client sets would stay in this test process for ever.
    monkeypatch.setattr(os, "environ", os.environ | FOREIGN)
    monkeypatch.setattr("prefect.client.orchestration.get_client", lambda **_: RecordingClient())
    launcher._client(environment(home))
    assert FOREIGN.keys().isdisjoint(os.environ)
    assert os.environ["PREFECT_HOME"] == str(home / "prefect")


def test_the_server_reads_no_settings_of_the_working_folder(home, monkeypatch):
    script = (
        "from prefect.settings import get_current_settings;"
        "print(get_current_settings().server.database.connection_url.get_secret_value())"
    )
    (home / "here").mkdir()
    (home / "logs").mkdir()
    lines = [f"{name}={value}" for name, value in FOREIGN.items()]
    (home / "here" / ".env").write_text("\n".join(lines))
    monkeypatch.chdir(home / "here")
    monkeypatch.setattr(launcher, "_prefect", lambda *_: [sys.executable, "-c", script])
    server = launcher._start_server(environment(home), home)
    assert server.process.wait(60) == 0
    assert server.log.read_text().split() == [
        f"sqlite+aiosqlite:///{home / 'prefect' / 'prefect.db'}"
    ]


def test_a_prefect_yaml_of_another_project_in_the_working_folder_does_not_win(home, monkeypatch):
    (home / "prefect.yaml").write_text("deployments: [{name: theirs}]")
    monkeypatch.chdir(home)
    assert find_deployments_file() == ROOT / "prefect.yaml"


def test_a_broken_deployments_file_is_named_with_its_line(home):
    (home / "prefect.yaml").write_text("deployments:\n  - name: [\n")
    with pytest.raises(LodestoneError, match=r"prefect\.yaml, line 3: not valid YAML"):
        read_deployments(home / "prefect.yaml")


GOOD_ENTRY = {
    "name": "pulse",
    "entrypoint": "flows.pipeline.pulse",
    "work_pool": {"name": "lodestone"},
}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        pytest.param("theirs", r"deployment 2 \(without a name\): not a mapping", id="a word"),
        pytest.param(GOOD_ENTRY | {"name": None}, "name is None", id="no name"),
        pytest.param(GOOD_ENTRY | {"name": "a/b"}, "name is 'a/b'", id="a slash"),
        pytest.param(
            GOOD_ENTRY | {"name": "b", "entrypoint": "etl/load.py:load"},
            r"deployment 2 \(b\): entrypoint is 'etl/load.py:load'.*flows\.pipeline\.pulse",
            id="a file as entrypoint",
        ),
        pytest.param(GOOD_ENTRY | {"entrypoint": None}, "entrypoint is None", id="no entrypoint"),
        pytest.param(GOOD_ENTRY | {"work_pool": None}, "work_pool is None", id="no pool"),
        pytest.param(
            GOOD_ENTRY | {"work_pool": {"name": "theirs"}},
            "work_pool is 'theirs'.*lodestone",
            id="a pool that nobody here serves",
        ),
        pytest.param(
            GOOD_ENTRY | {"schedules": [{"interval": 60}]}, "cron and timezone", id="a schedule"
        ),
    ],
)
def test_a_deployment_that_cannot_be_made_is_named_with_its_file(home, entry, told):
    file = home / "prefect.yaml"
    file.write_text(json.dumps({"deployments": [GOOD_ENTRY, entry]}))  # JSON is YAML
    with pytest.raises(LodestoneError, match=told) as caught:
        read_deployments(file)
    assert str(caught.value).startswith(f"{file}: deployment 2 (")


def test_a_file_without_the_pulse_is_refused(home):
    file = home / "prefect.yaml"
    file.write_text(json.dumps({"deployments": [GOOD_ENTRY | {"name": "theirs"}]}))
    with pytest.raises(LodestoneError, match=r"prefect\.yaml: no deployment named 'pulse'"):
        read_deployments(file)


@pytest.mark.parametrize("entrypoint", ["nowhere.load", "flows.pipeline.nothing"])
def test_a_flow_that_is_not_there_is_named_with_file_and_entry(home, entrypoint):
    file = home / "prefect.yaml"
    with pytest.raises(LodestoneError, match=rf"{file}: deployment pulse: .*'{entrypoint}'"):
        load_flows(file, [GOOD_ENTRY | {"entrypoint": entrypoint}])


# --- the command itself -----------------------------------------------------------------


def start_lodestone(home: Path, port: int, *arguments: str, **more: str) -> "subprocess.Popen[str]":
    with (home / "stderr.txt").open("w") as stderr:
        return subprocess.Popen(
            **lodestone(home, port, *arguments, **more), stdout=subprocess.PIPE, stderr=stderr
        )


def lodestone(home: Path, port: int, *arguments: str, **more: str) -> dict[str, Any]:
    """How to start the real command in a home of its own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("LODESTONE_")}
    env |= {"LODESTONE_HOME": str(home), "LODESTONE_PREFECT_PORT": str(port)} | more
    return {"args": [*LODESTONE, *arguments], "env": env, "cwd": ROOT, "text": True}


def test_an_unreachable_server_is_named_and_ends_with_4(home):
    port = free_port()
    address = f"http://127.0.0.1:{port}/api"
    done = subprocess.run(
        **lodestone(home, port, "run", "--once", LODESTONE_PREFECT_API_URL=address),
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 4, done.stderr
    assert address in done.stderr
    assert "LODESTONE_PREFECT_API_URL" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.server
@pytest.mark.parametrize("number", STOPS)
def test_a_signal_while_the_server_starts_leaves_no_process(home, number):
    with start_lodestone(home, free_port(), "run", "--once") as process:
        try:
            wait_for(lambda: marked(home))
            process.send_signal(number)
            assert process.wait(30) == 130, (home / "stderr.txt").read_text()
            assert marked(home) == []
            assert (home / "run.lock").read_text() == ""
        finally:
            process.kill()
            end_marked(home, 0.0)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One real `run` with the UI kept up, looked at from outside, then ended with SIGINT."""
    home = tmp_path_factory.mktemp("home").resolve()
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    arguments = ("run", "--as-of", "2025-06-21", "--json")
    with start_lodestone(home, port, *arguments, **FOREIGN) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (home / "stderr.txt").read_text()
            found = {
                "home": home,
                "answer": json.loads(line),
                "deployments": ask(api, "/deployments/filter", {}),
                "artifacts": ask(api, "/artifacts/filter", {"limit": 100}),
                "marked": marked(home),
                "pages": browsed(port, api, json.loads(line)["ui_url"]),
                "second": subprocess.run(
                    **lodestone(home, port, "run", "--once"), capture_output=True, timeout=60
                ),
                "runs": stored_runs(home),
                "after_missing": deployed_again(api),
            }
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=60)
            yield found | {"rest": rest, "code": process.returncode, "left": marked(home)}
        finally:
            process.kill()
            end_marked(home, 0.0)


def stored_runs(home: Path) -> set[str]:
    """Under which runs the forecasts and projections are kept."""
    with contextlib.closing(sqlite3.connect(home / "lodestone.db")) as database:
        found = database.execute(
            "SELECT run_id FROM forecast_use UNION SELECT run_id FROM projection_use"
        )
        return {row[0] for row in found}


def deployed_again(api: str) -> dict[str, Any]:
    """Lose one deployment, then do what a run does on a server that it doesn't own."""
    file = ROOT / "prefect.yaml"
    entries = read_deployments(file)
    with SyncPrefectClient(api) as client:
        lost = client.read_deployment_by_name("ingest-reference/ingest-reference")
        client._client.delete(f"/deployments/{lost.id}").raise_for_status()
        _, created = deploy_missing(client, entries, load_flows(file, entries))
    found = {one["name"]: one for one in ask(api, "/deployments/filter", {})}
    return {"created": created, "deployments": found}


def browsed(port: int, api: str, run_page: str) -> dict[str, str]:
    """The Prefect UI's pages as a browser shows them; nothing where there is no browser."""
    if CHROMIUM is None:
        return {}
    wanted = {"artifacts": {"key": {"any_": ["market-india-ndfeb"]}}}
    (picture,) = ask(api, "/artifacts/filter", wanted)
    ui = f"http://127.0.0.1:{port}"
    addresses = {
        "deployments": f"{ui}/deployments",
        "run": run_page,
        "artifact": f"{ui}/artifacts/artifact/{picture['id']}",
    }
    return {name: dom(address) for name, address in addresses.items()}


def ask(api: str, path: str, body: dict[str, Any]) -> Any:
    import httpx

    answer = httpx.post(api + path, json=body, timeout=30, trust_env=False)
    answer.raise_for_status()
    return answer.json()


@pytest.mark.server
def test_a_run_prints_one_object_and_completes(finished_run):
    answer = finished_run["answer"]
    assert set(answer) == {"as_of", "steps", "incidents", "report", "ui_url"}
    assert [step["name"] for step in answer["steps"]] == [
        "ingest-prices",
        "ingest-trade",
        "ingest-reference",
        "forecast",
        "project-market",
        "raise-alerts",
        "deliver-alerts",
        "write-outlook",
    ]
    assert all("error" not in step for step in answer["steps"])
    assert finished_run["rest"] == ""
    assert finished_run["code"] == 0, (finished_run["home"] / "stderr.txt").read_text()
    assert Path(answer["report"]).read_text(encoding="utf-8").startswith("<!")


@pytest.mark.server
def test_the_magnet_exports_of_june_2025_fire_and_neodymium_does_not(finished_run):
    incidents = finished_run["answer"]["incidents"]
    drop = [one for one in incidents if one["type"] == "volume_drop"]
    assert [one["subject"] for one in drop] == ["cn_magnet_exports"]
    assert drop[0]["state"] == "FIRING"
    assert not [
        one for one in incidents if (one["type"], one["subject"]) == ("price_spike", "nd_oxide")
    ]


@pytest.mark.server
def test_operators_find_every_deployment_with_its_schedule_and_form(finished_run):
    by_name = {one["name"]: one for one in finished_run["deployments"]}
    wanted = {entry["name"]: entry for entry in read_deployments(ROOT / "prefect.yaml")}
    assert set(by_name) == set(wanted)
    for name, entry in wanted.items():
        assert by_name[name]["description"] == entry["description"]
        zones = [one["schedule"]["timezone"] for one in by_name[name]["schedules"]]
        assert zones == [one["timezone"] for one in entry.get("schedules", [])]
        # A replay is of many days; everything else may be run as on one.
        asked = {"first", "last"} if name == "replay" else {"as_of"}
        assert asked <= set(by_name[name]["parameter_openapi_schema"]["properties"])


@pytest.mark.server
def test_operators_see_pictures_and_tables_of_the_run(finished_run):
    artifacts = {one["key"]: one for one in finished_run["artifacts"]}
    for key in ("ingest-price", "ingest-trade", "ingest-reference"):
        assert artifacts[key]["type"] == "table"
    assert "- **Critical: " in artifacts["alerts"]["data"]
    for key in ("forecast-dy-oxide", "market-world-ndfeb", "market-india-ndfeb"):
        assert re.search(r"!\[.+\]\(data:image/png;base64,", artifacts[key]["data"])
        assert len(artifacts[key]["data"]) < 150_000


@pytest.mark.server
@pytest.mark.browser
def test_a_browser_shows_the_deployments_the_run_and_a_picture(finished_run):
    require_chromium()
    pages = finished_run["pages"]
    for name in ("pulse", "ingest-prices", "project-market", "deliver-alerts"):
        assert name in pages["deployments"]
    assert "Completed" in pages["run"]
    assert "raise-alerts" in pages["run"]
    assert re.search(r'<img[^>]+src="data:image/png;base64,', pages["artifact"])
    assert "India NdFeB magnets" in pages["artifact"]


@pytest.mark.server
def test_figures_are_kept_under_the_pulse(finished_run):
    assert finished_run["runs"] == {finished_run["answer"]["ui_url"].rpartition("/")[2]}


@pytest.mark.server
def test_the_run_took_its_own_database_whatever_the_shell_held(finished_run):
    assert (finished_run["home"] / "prefect" / "prefect.db").stat().st_size > 0
    assert "foreign" not in (finished_run["home"] / "stderr.txt").read_text()


@pytest.mark.server
def test_on_a_server_of_the_users_only_what_is_missing_is_created(finished_run):
    after = finished_run["after_missing"]
    assert after["created"] == 1
    made = after["deployments"].pop("ingest-reference")
    assert made["parameters"] == {"live": True}
    assert [one["active"] for one in made["schedules"]] == [True]
    before = {one["name"]: one for one in finished_run["deployments"]}
    for name, there in after["deployments"].items():
        for key in ("id", "parameters", "schedules"):
            assert there[key] == before[name][key], name


@pytest.mark.server
def test_a_second_start_beside_a_running_one_ends_with_4(finished_run):
    second = finished_run["second"]
    assert second.returncode == 4
    assert "already runs here (pid" in second.stderr


@pytest.mark.server
def test_ctrl_c_leaves_no_process(finished_run):
    assert len(finished_run["marked"]) >= 2
    assert finished_run["left"] == []


@pytest.mark.server
@pytest.mark.parametrize("name", ["prefect-server.log", "prefect-worker.log"])
def test_no_log_holds_a_traceback(finished_run, name):
    text = (finished_run["home"] / "logs" / name).read_text()
    records = re.split(r"^(?=\d\d:\d\d:\d\d\.\d+ \| )", text, flags=re.MULTILINE)
    # Prefect on SQLite: a transaction that read before it writes loses against another writer, at once
    # and whatever the timeout. The worker connects again; PostgreSQL knows no such thing.
    bad = [
        record
        for record in records
        if ("Traceback" in record or "| ERROR " in record) and "database is locked" not in record
    ]
    assert bad == []


def test_a_runs_page_is_linked_below_the_ui():
    assert run_page("http://127.0.0.1:4200", "abc") == "http://127.0.0.1:4200/runs/flow-run/abc"


class RecordingClient:
    """Prefect's client as far as a launch on a server of the user's needs it; runs complete at once."""

    def __init__(self, *there: str) -> None:
        self.there = there
        self.created: list[dict[str, Any]] = []
        self.requested: list[tuple[Any, dict[str, Any]]] = []

    def __enter__(self) -> "RecordingClient":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def api_healthcheck(self) -> None:
        return None

    def create_work_pool(self, _pool: Any, *, overwrite: bool) -> None:
        assert not overwrite

    def read_deployment_by_name(self, name: str) -> Any:
        if name not in self.there:
            raise ObjectNotFound(Exception("404"))
        return SimpleNamespace(id=f"id of {name}, as it was")

    def create_flow_from_name(self, name: str) -> str:
        return f"flow {name}"

    def create_deployment(self, **values: Any) -> str:
        self.created.append(values)
        return f"id of {values['name']}"

    def create_flow_run_from_deployment(
        self, deployment_id: Any, *, parameters: dict[str, Any], tags: list[str]
    ) -> Any:
        self.requested.append((deployment_id, parameters))
        return SimpleNamespace(id="r-1")

    def read_flow_run(self, _run_id: Any) -> Any:
        return SimpleNamespace(state=Completed())


@pytest.mark.parametrize("is_on", [True, False])
def test_schedules_sleep_during_once_and_live_is_what_the_command_says(is_on):
    client: Any = RecordingClient()
    file = ROOT / "prefect.yaml"
    entries = read_deployments(file)
    flows = load_flows(file, entries)
    ids = deploy(client, entries, flows, schedules_active=is_on, live=is_on)
    assert ids[PULSE] == "id of pulse"
    schedules = [one for made in client.created for one in made["schedules"]]
    assert len(schedules) == 6
    assert {one.active for one in schedules} == {is_on}
    live = [made["parameters"]["live"] for made in client.created if "live" in made["parameters"]]
    assert live == [is_on] * 4


@pytest.mark.parametrize("live", [True, False])
def test_a_run_on_a_server_of_the_users_leaves_its_deployments_alone(home, said, monkeypatch, live):
    client = RecordingClient(PULSE, "ingest-prices/ingest-prices")
    monkeypatch.setattr(launcher, "_client", lambda _env: client)
    monkeypatch.setattr(launcher, "_start_worker", lambda _env, home: start_sleeper(home))
    shown: list[Outcome] = []
    code = launch(
        Settings(home=home, prefect_api_url="https://prefect.example.org/api"),
        Request(live=live, once=True),
        say=said.append,
        show=shown.append,
    )
    assert code == 0
    assert [one.ui_url for one in shown] == ["https://prefect.example.org/runs/flow-run/r-1"]
    assert "11 deployments there (9 of them new)" in said[0]
    # The run says --live itself; the deployments say what prefect.yaml says, for production.
    assert client.requested == [(f"id of {PULSE}, as it was", {"as_of": None, "live": live})]
    made = {one["name"]: one for one in client.created}
    assert "pulse" not in made
    assert "ingest-prices" not in made
    assert made["ingest-trade"]["parameters"] == {"live": True}
    assert all(one.active for values in made.values() for one in values["schedules"])
    assert marked(home) == []


def test_a_closed_terminal_does_not_stop_the_clean_up(home, monkeypatch):
    def unheard(_sentence: str) -> None:
        message = "Input/output error"
        raise OSError(message)

    monkeypatch.setattr(launcher, "_client", lambda _env: RecordingClient(PULSE))
    monkeypatch.setattr(launcher, "_start_worker", lambda _env, home: start_sleeper(home))
    settings = Settings(home=home, prefect_api_url="https://prefect.example.org/api")
    hang_up = lambda _outcome: os.kill(os.getpid(), signal.SIGHUP)  # noqa: E731
    assert launch(settings, Request(), say=unheard, show=hang_up) == 0
    assert marked(home) == []
