"""`make demo`: real messages in a Slack of your own, without an account; buttons answer until Ctrl-C."""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.slack_standin.server import StandIn

AS_OF = "2025-06-21"
"""A Saturday after China's magnet exports had fallen to a quarter: enough happens on that day."""

# Looks into the past have only their numbers to show; all buttons can be tried at a drill.
_COMMANDS = (
    ("run", "--once", "--as-of", AS_OF),
    ("alerts", "drill"),
    ("alerts", "drill", "--count", "1", "--severity", "critical", "--channel", "#magnet-supply"),
    ("alerts", "deliver", "--until-empty"),
)

PROGRAM = Path(sys.executable).with_name("lodestone")

GRACE_SECONDS = 20.0
"""What a child gets to end its own children in, after Ctrl-C."""


class StoppedError(Exception):
    """Ctrl-C, or a request to terminate."""


class Children:
    """Starts commands in sessions of their own, so that Ctrl-C comes to them once: from here."""

    def __init__(self, environment: Mapping[str, str], program: Path = PROGRAM) -> None:
        self._environment = dict(environment)
        self._program = program
        self._stop = threading.Event()
        self._running: list[subprocess.Popen[bytes]] = []

    def stop(self, *_: object) -> None:
        self._stop.set()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        print(f"$ lodestone {' '.join(arguments)}", flush=True)
        process = subprocess.Popen(
            [str(self._program), *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._running.append(process)
        return process

    def run(self, *arguments: str) -> int:
        """A command to its end; returns its exit code, or raises StoppedError."""
        process = self.start(*arguments)
        while process.poll() is None:
            if self._stop.wait(0.1):
                raise StoppedError
        return process.returncode

    def wait(self, process: subprocess.Popen[bytes] | None) -> None:
        """Until Ctrl-C; returns before it only if this command ends by itself."""
        while process is None or process.poll() is None:
            if self._stop.wait(0.2):
                raise StoppedError

    def end(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Ask every command that still runs to end as Ctrl-C does; kill what doesn't."""
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_seconds)
            # Also what it left behind: its session is one group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def environment(stand_in: StandIn, home: Path, outside: Mapping[str, str]) -> dict[str, str]:
    """The variables of the commands: this stand-in, this folder, and nothing of your own Lodestone."""
    kept = {name: value for name, value in outside.items() if not name.startswith("LODESTONE_")}
    return kept | {
        "LODESTONE_HOME": str(home),
        "LODESTONE_PREFECT_PORT": str(_free_port()),
        "LODESTONE_SLACK_TOKEN": "xoxb-demo",
        "LODESTONE_SLACK_APP_TOKEN": "xapp-demo",
        "LODESTONE_SLACK_BASE_URL": stand_in.api_url,
    }


def demo(stand_in: StandIn, home: Path) -> int:
    """Everything in turn; returns the exit code."""
    children = Children(environment(stand_in, home, os.environ))
    with _signals(children):
        try:
            print(
                f"Slack's stand-in: {stand_in.url}/   (every two seconds: {stand_in.url}/?live=1)"
            )
            for command in _COMMANDS:
                if code := children.run(*command):
                    print(f"demo: that ended with {code}; nothing more to show", file=sys.stderr)
                    return code
            listener = children.start("slack", "listen")
            if not stand_in.socket_mode.wait_connected(30):
                print("demo: nobody listens to the buttons", file=sys.stderr)
                return 1
            print(f"\nOpen {stand_in.url}/ and press a button. Ctrl-C ends it.", flush=True)
            children.wait(listener)
        except StoppedError:
            print("Ending.", flush=True)
            return 0
        finally:
            children.end()
    print("demo: the listener ended by itself", file=sys.stderr)
    return 1


@contextlib.contextmanager
def _signals(children: Children) -> Iterator[None]:
    before = {one: signal.signal(one, children.stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.slack_standin.demo", description=__doc__)
    parser.add_argument("--port", type=int, default=0, metavar="P", help="of the page (a free one)")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="lodestone-demo-", ignore_cleanup_errors=True) as folder,
        StandIn(options.port) as stand_in,
    ):
        return demo(stand_in, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
