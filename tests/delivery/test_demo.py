"""`make demo` shows real messages without an account, its buttons work, and it leaves nothing behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.slack_standin import StandIn
from tests.slack_standin.demo import Children, StoppedError, environment

ROOT = Path(__file__).parents[2]
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def test_a_demo_keeps_away_from_a_lodestone_of_ones_own(tmp_path):
    mine = {"LODESTONE_DATABASE_URL": "postgresql://mine", "LODESTONE_SLACK_TOKEN": "xoxb-mine"}
    with StandIn() as stand_in:
        given = environment(stand_in, tmp_path, {**mine, "PATH": "/bin"})
        assert given["LODESTONE_SLACK_BASE_URL"] == stand_in.api_url
    assert "LODESTONE_DATABASE_URL" not in given
    assert (given["LODESTONE_SLACK_TOKEN"], given["PATH"]) == ("xoxb-demo", "/bin")
    assert given["LODESTONE_HOME"] == str(tmp_path)


def test_what_does_not_end_when_asked_is_killed_with_all_its_children(tmp_path):
    """A command that ignores Ctrl-C, and a child of it that it would leave behind."""
    program = tmp_path / "lodestone"
    program.write_text("#!/bin/sh\ntrap '' INT\nsleep 60 &\necho $! > $1\nsleep 60\n")
    program.chmod(0o755)
    children = Children(os.environ, program)
    noted = tmp_path / "pid"
    process = children.start(str(noted))
    _until(lambda: noted.exists() and noted.read_text().strip(), 10)
    children.end(0.2)
    assert process.returncode == -signal.SIGKILL
    _until(lambda: not _is_alive(int(noted.read_text())), 5)


def test_ctrl_c_ends_the_wait_for_a_command_at_once(tmp_path):
    program = tmp_path / "lodestone"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    children = Children(os.environ, program)
    children.stop()
    began = time.monotonic()
    with pytest.raises(StoppedError):
        children.run()
    children.end()
    assert time.monotonic() - began < 5


@pytest.mark.server
def test_the_demo_shows_messages_whose_buttons_work_and_ends_with_ctrl_c(tmp_path):
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.slack_standin.demo"],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        _until(lambda: "press a button" in log.read_text() or process.poll() is not None, 240)
        assert process.poll() is None, log.read_text()
        found = re.search(r"Open (http://127\.0\.0\.1:\d+)/", log.read_text())
        assert found is not None
        url = found[1]
        before = json.loads(_get(f"{url}/state"))
        assert any("Drill" in message["text"] for message in before)
        root = next(message for message in before if "acknowledge" in json.dumps(message["blocks"]))
        page = _get(f"{url}/?channel={root['channel']}")
        form = {
            "channel": re.findall(r'name="channel" value="([^"]+)"', page)[0],
            "ts": root["ts"],
            "action_id": "lodestone:acknowledge",
        }
        with _OPENER.open(f"{url}/click", urllib.parse.urlencode(form).encode()) as answer:
            assert "Only visible to you" in answer.read().decode()

        def is_taken() -> bool:
            now = {message["ts"]: message for message in json.loads(_get(f"{url}/state"))}
            return "Taken on by you" in now[root["ts"]]["text"]

        _until(is_taken, 20)
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    assert code == 0, log.read_text()
    assert _belonging_to(tmp_path) == []
    assert list(tmp_path.glob("lodestone-demo-*")) == []


def _belonging_to(folder: Path) -> list[str]:
    """Command lines of the processes that were started with this folder in their environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (place / "environ").read_bytes():
                found.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # ended while we looked, or somebody else's
    return found


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def _until(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def _get(address: str) -> str:
    with _OPENER.open(address, timeout=10) as answer:
        return answer.read().decode()
