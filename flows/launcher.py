"""One command's Prefect: server, work pool, deployments, worker and one pulse, ended without a trace."""

import contextlib
import fcntl
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID

from flows.errors import LodestoneError, PrefectUnreachableError
from flows.settings import Settings

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.flows import Flow

HOST = "127.0.0.1"
POOL = "lodestone"
PULSE = "pulse/pulse"
DEPLOYMENTS_FILE = "prefect.yaml"
MARK = "RUN_BY_LODESTONE_IN"
"""Environment variable of every process started here: how the next start finds what a kill left behind."""

ELSEWHERE = (
    "PREFECT_API_DATABASE_",
    "PREFECT_SERVER_DATABASE_",
    "PREFECT_SQLALCHEMY_",
    "PREFECT_PROFILE",  # and PREFECT_PROFILES_PATH: a profile may set any of the others
    "PREFECT_SERVER_DOCKET_",
    "PREFECT_SERVER_EVENTS_MESSAGING_",
    "PREFECT_MESSAGING_",
    "PREFECT_REDIS_",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",
    "PREFECT_SERVER_MEMO_STORE_PATH",
    "PREFECT_MEMO_STORE_PATH",
    "PREFECT_SERVER_API_BASE_PATH",
)
"""Beginnings of the variables that tie a Prefect server to somebody else's database, queue or profile.

An operator's shell may hold them for a server of theirs; ours would then work in that database, and the
sweep would crash the runs it finds there.
"""

READY_WITHIN_SECONDS = 180.0
POLL_SECONDS = 0.3
WORKER_GRACE_SECONDS = 6.0
SERVER_GRACE_SECONDS = 10.0
LISTENER_GRACE_SECONDS = 3.0

Say = Callable[[str], None]


class AlreadyRunningError(PrefectUnreachableError):
    """Another `lodestone run` holds this home folder."""

    def __init__(self, pid: int, ui_url: str) -> None:
        self.pid = pid
        self.ui_url = ui_url
        super().__init__(
            f"Lodestone already runs here (pid {pid}, UI {ui_url}); "
            "stop it with Ctrl-C, or give this one its own LODESTONE_HOME and LODESTONE_PREFECT_PORT"
        )


class StoppedError(Exception):
    """Ctrl-C, a request to terminate or the terminal's end came before the work was done."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the pulse ended, as Prefect saw it."""

    flow_run_id: str
    state: str  # name of Prefect's state, such as "Completed"
    message: str
    ui_url: str  # the run's own page
    is_completed: bool


@dataclass
class StopFlag:
    """Counts signals to stop: work looks at it between steps, so that no child is ever lost half-started."""

    signals: int = 0
    _changed: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl-C, a request to terminate and the terminal's end; children get the default handlers again."""

        def note(_number: int, _frame: object) -> None:
            self.signals += 1
            self._changed.set()

        # Set even where the shell left SIGINT ignored (`lodestone run &`): exec resets a handled signal to
        # its default but keeps an ignored one, and a server that ignores SIGINT can't be ended cleanly.
        numbers = [signal.SIGINT, signal.SIGTERM]
        # Ignored only where somebody wants to outlive the terminal (nohup): then it stays so.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def is_set(self) -> bool:
        """Whether a signal came."""
        return self.signals > 0

    def check(self) -> None:
        """Raise StoppedError once a signal came."""
        if self.signals:
            raise StoppedError

    def wait(self, seconds: float) -> None:
        """Wait, or raise StoppedError as soon as a signal comes."""
        self._changed.wait(seconds)
        self.check()

    def pause(self, seconds: float) -> None:
        """Wait during the clean-up, when a first signal no longer matters."""
        threading.Event().wait(seconds)


# --- one run per home ---------------------------------------------------------


class HomeLock:
    """A locked file with our pid: the system frees it when we die, so what it still holds then is stale."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file: TextIO | None = None

    @contextlib.contextmanager
    def held(self, ui_url: str, say: Say) -> Iterator[None]:
        """Hold the home folder. Raises AlreadyRunningError; clears what a killed run left behind."""
        try:
            (self._home / "logs").mkdir(parents=True, exist_ok=True)
            file = (self._home / "run.lock").open("a+", encoding="utf-8")
        except OSError as error:
            message = f"{self._home}: the home folder can't be written ({error.strerror}); choose another with LODESTONE_HOME"
            raise LodestoneError(message) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _read_holder(file)
                raise AlreadyRunningError(
                    int(holder.get("pid", 0)), str(holder.get("ui_url", "unknown"))
                ) from None
            holder = _read_holder(file)
            if holder:
                say(
                    f"The run before this one (pid {holder.get('pid', 'unknown')}) was cut off: its lock is cleared."
                )
            left = end_marked(self._home)
            if left:
                say(f"{_count(left, 'process')} that it left behind ended.")
            self._file = file
            self._write({"pid": os.getpid(), "ui_url": ui_url})
            try:
                yield
            finally:
                self._write({})
                self._file = None

    def _write(self, holder: Mapping[str, object]) -> None:
        if self._file is None:
            return
        self._file.seek(0)
        self._file.truncate()
        if holder:
            self._file.write(json.dumps(holder) + "\n")
        self._file.flush()


def holder_of(home: Path) -> str:
    """Address of the UI of the run that holds this home; empty when none does."""
    try:
        file = (home / "run.lock").open(encoding="utf-8")
    except OSError:
        return ""
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return str(_read_holder(file).get("ui_url", "unknown"))
    return ""


def _read_holder(file: TextIO) -> dict[str, Any]:
    file.seek(0)
    text = file.read().strip()
    if not text:
        return {}
    try:
        holder = json.loads(text)
    except json.JSONDecodeError:
        return {"pid": 0}
    return holder if isinstance(holder, dict) else {"pid": 0}


def marked(home: Path) -> list[int]:
    """Processes that a run in this home started, whoever their parent is now (Linux; elsewhere none)."""
    wanted = f"{MARK}={home}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0") and not _is_zombie(folder):
                found.append(int(folder.name))
    return sorted(found)


def _is_zombie(folder: Path) -> bool:
    # The state follows the command's name, which is in brackets and may hold anything.
    return (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"


def end_marked(home: Path, grace_seconds: float = 5.0) -> int:
    """End every process of this home: asked first, killed after the grace. Says how many there were."""
    found = marked(home)
    _signal_all(found, signal.SIGINT)
    deadline = time.monotonic() + grace_seconds
    while (left := marked(home)) and time.monotonic() < deadline:
        threading.Event().wait(0.1)
    _signal_all(left, signal.SIGKILL)
    return len(found)


def _signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def require_free_port(port: int) -> None:
    """Raise PrefectUnreachableError when something listens on the port already."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Without it, the sockets that a server closed a minute ago would still count as busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            message = f"Port {port} on {HOST} is busy: LODESTONE_PREFECT_PORT chooses another, or stop what uses it"
            raise PrefectUnreachableError(message) from None


# --- children -------------------------------------------------------------------


@dataclass
class Child:
    """A process of ours in its own session, writing to its own log file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        folder: Path | None = None,
    ) -> "Child":
        """Start it with stdin closed, in our folder or another; the log of the start before is kept as .old."""
        if log.exists():
            log.replace(log.with_suffix(".old"))
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=dict(env),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(name, process, log)

    def require_alive(self) -> None:
        """Raise PrefectUnreachableError with the last line of its log when it is gone."""
        how = self.ended()
        if how:
            message = f"The Prefect {self.name} {how}"
            raise PrefectUnreachableError(message)

    def ended(self) -> str:
        """How it ended by itself, with the last line of its log; empty while it runs."""
        code = self.process.poll()
        if code is None:
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = f"; last line of its log: {lines[-1].strip()[:200]}" if lines else ""
        return f"ended by itself (exit code {code}); see {self.log}{last}"

    def end(self, stop: StopFlag, grace_seconds: float) -> None:
        """SIGINT, a grace (cut short by a second Ctrl-C), then SIGKILL for its whole group."""
        seen = stop.signals
        if self.process.poll() is None:
            # SIGTERM would end the server without its clean-up.
            self.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + grace_seconds
        while self.process.poll() is None and time.monotonic() < deadline and stop.signals <= seen:
            stop.pause(0.05)
        # Also when it ended by itself: a flow run of the worker shares its group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def child_environment(
    settings: Settings, *, api_url: str, ui_url: str, embedded: bool
) -> dict[str, str]:
    """Our own environment without what points elsewhere, and what keeps Prefect offline, quiet, quick and at home."""
    home = settings.home.resolve()
    # Prefect reads its variables in any case.
    env = {
        name: value for name, value in os.environ.items() if not name.upper().startswith(ELSEWHERE)
    }
    env |= {
        MARK: str(home),
        "LODESTONE_HOME": str(home),
        "LODESTONE_UI_URL": ui_url,
        "PREFECT_API_URL": api_url,
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_LOGGING_COLORS": "false",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "lodestone",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        # Ours polls its own server: a second's delay instead of ten.
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if embedded:
        port = settings.prefect_port
        env.pop("PREFECT_API_KEY", None)
        env |= {
            "PREFECT_SERVER_API_HOST": HOST,
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            # The page asks the address it came from, whichever name of loopback was typed.
            "PREFECT_SERVER_UI_API_URL": "/api",
            "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port},http://localhost:{port}",
            "NO_PROXY": ",".join(filter(None, (env.get("NO_PROXY"), HOST, "localhost"))),
        }
        env["no_proxy"] = env["NO_PROXY"]
    return env


def _prefect(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *arguments]


def _await_ready(server: Child, port: int, stop: StopFlag) -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        server.require_alive()
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/api/ready")
            if connection.getresponse().status == http.client.OK:
                return
        connection.close()
        stop.wait(0.1)
    message = (
        f"The Prefect server was not ready within {READY_WITHIN_SECONDS:.0f} s; see {server.log}"
    )
    raise PrefectUnreachableError(message)


# --- what the server is told ------------------------------------------------------


def find_deployments_file() -> Path:
    """`prefect.yaml` beside the packages (a checkout); only packages installed without one look in the working folder."""
    # The other way round, a folder of another project would deploy its flows here.
    for folder in (Path(__file__).resolve().parent.parent, Path.cwd()):
        if (folder / DEPLOYMENTS_FILE).is_file():
            return folder / DEPLOYMENTS_FILE
    message = f"{DEPLOYMENTS_FILE} is neither beside the packages nor in the working folder: run from a checkout"
    raise LodestoneError(message)


def read_deployments(path: Path) -> list[dict[str, Any]]:
    """The `deployments:` of a prefect.yaml. Raises LodestoneError with file, and line or entry."""
    import yaml  # type: ignore[import-untyped, unused-ignore]

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        message = f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}"
        raise LodestoneError(message) from None
    deployments = content.get("deployments") if isinstance(content, dict) else None
    if not isinstance(deployments, list) or not deployments:
        message = f"{path}: no deployments"
        raise LodestoneError(message)
    for number, entry in enumerate(deployments, start=1):
        problem = _problem_of(entry)
        if problem:
            name = entry.get("name") if isinstance(entry, dict) else None
            message = f"{path}: deployment {number} ({name or 'without a name'}): {problem}"
            raise LodestoneError(message)
    if PULSE.partition("/")[2] not in {entry["name"] for entry in deployments}:
        message = f"{path}: no deployment named {PULSE.partition('/')[2]!r}, the one that is run"
        raise LodestoneError(message)
    return deployments


def _problem_of(entry: object) -> str:
    """What is wrong with one entry of `deployments:`; empty when it can be deployed."""
    if not isinstance(entry, dict):
        return "not a mapping with name, entrypoint and work_pool"
    name, entrypoint, pool = (entry.get(key) for key in ("name", "entrypoint", "work_pool"))
    if not isinstance(name, str) or not name or "/" in name:
        return f"name is {name!r}; a word without a slash is needed"
    if not isinstance(entrypoint, str) or not re.fullmatch(
        r"[^\W\d]\w*(\.[^\W\d]\w*)+", entrypoint
    ):
        # A file as entrypoint would put its folder first on the import path: `alerts` would be found there.
        return f"entrypoint is {entrypoint!r}; a flow in a module is needed, such as flows.pipeline.pulse"
    if not isinstance(pool, dict) or pool.get("name") != POOL:
        asked = pool.get("name") if isinstance(pool, dict) else pool
        return f"work_pool is {asked!r}; the worker of `lodestone run` serves only name: {POOL}"
    schedules = entry.get("schedules") or []
    if not isinstance(schedules, list):
        return "schedules is not a list"
    for schedule in schedules:
        if not isinstance(schedule, dict) or not {"cron", "timezone"} <= set(schedule):
            return f"schedule {schedule!r}: cron and timezone are needed"
    return ""


def load_flows(path: Path, deployments: Sequence[Mapping[str, Any]]) -> "dict[str, Flow[..., Any]]":
    """Name of each deployment -> its flow. Raises LodestoneError with file and entry."""
    from prefect.exceptions import MissingFlowError
    from prefect.flows import load_flow_from_entrypoint

    flows: dict[str, Flow[..., Any]] = {}
    for entry in deployments:
        try:
            flows[entry["name"]] = load_flow_from_entrypoint(entry["entrypoint"])
        except (ImportError, AttributeError, MissingFlowError) as error:
            message = (
                f"{path}: deployment {entry['name']}: entrypoint {entry['entrypoint']!r} "
                f"can't be loaded ({error})"
            )
            raise LodestoneError(message) from error
    return flows


def deploy(
    client: "SyncPrefectClient",
    deployments: Sequence[Mapping[str, Any]],
    flows: "Mapping[str, Flow[..., Any]]",
    *,
    schedules_active: bool,
    live: bool,
) -> dict[str, UUID]:
    """Create or update every deployment on a server of our own; `flow/deployment` -> id.

    Like `prefect deploy --all` for these entries (no build or trigger among them), but in one process: a dozen
    deployments take under a second instead of one start of Python and three requests each. Unlike it, no pull
    step is written: it would hold this checkout's path, and our own worker starts runs in our own folder.
    """
    ids = {}
    for entry in deployments:
        parameters = dict(entry.get("parameters") or {})
        if "live" in parameters:
            # The file speaks for production, where publishers are asked; here --live decides.
            parameters["live"] = live
        flow = flows[entry["name"]]
        ids[f"{flow.name}/{entry['name']}"] = _create(
            client, entry, flow, parameters, schedules_active=schedules_active
        )
    return ids


def deploy_missing(
    client: "SyncPrefectClient",
    deployments: Sequence[Mapping[str, Any]],
    flows: "Mapping[str, Flow[..., Any]]",
) -> tuple[dict[str, UUID], int]:
    """`flow/deployment` -> id on a server of the user's, and how many had to be created, as the file says them.

    What is there stays as it is, parameters and schedules: production may run from it.
    """
    from prefect.exceptions import ObjectNotFound

    ids, created = {}, 0
    for entry in deployments:
        flow = flows[entry["name"]]
        name = f"{flow.name}/{entry['name']}"
        try:
            ids[name] = client.read_deployment_by_name(name).id
        except ObjectNotFound:
            parameters = dict(entry.get("parameters") or {})
            ids[name] = _create(client, entry, flow, parameters, schedules_active=True)
            created += 1
    return ids, created


def _create(
    client: "SyncPrefectClient",
    entry: Mapping[str, Any],
    flow: "Flow[..., Any]",
    parameters: dict[str, Any],
    *,
    schedules_active: bool,
) -> UUID:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.objects import ConcurrencyOptions
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.utilities.callables import parameter_schema

    limit = entry.get("concurrency_limit") or {}
    return client.create_deployment(
        flow_id=client.create_flow_from_name(flow.name),
        name=entry["name"],
        description=entry.get("description"),
        tags=list(entry.get("tags") or []),
        parameters=parameters,
        schedules=[
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=one["cron"], timezone=one["timezone"]),
                active=schedules_active,
            )
            for one in entry.get("schedules") or []
        ],
        entrypoint=entry["entrypoint"],
        work_pool_name=entry["work_pool"]["name"],
        parameter_openapi_schema=parameter_schema(flow).model_dump(mode="json"),
        enforce_parameter_schema=True,
        concurrency_limit=limit.get("limit"),
        concurrency_options=(
            ConcurrencyOptions(collision_strategy=limit["collision_strategy"]) if limit else None
        ),
        paused=False,
    )


def ensure_pool(client: "SyncPrefectClient", *, overwrite: bool) -> None:
    """The process work pool, whose runs start in this folder with this Python."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    variables = template["variables"]["properties"]
    # Named, so that the worker starts it straight away: for a command of its own making it first starts
    # two more Python processes that look for a workspace.
    variables["command"]["default"] = f"{sys.executable} -m prefect.engine"
    variables["working_dir"]["default"] = str(Path.cwd())
    pool = WorkPoolCreate(
        name=POOL,
        type="process",
        description="Runs Lodestone's flows as processes on this machine.",
        base_job_template=template,
    )
    with contextlib.suppress(ObjectAlreadyExists):
        client.create_work_pool(pool, overwrite=overwrite)


def sweep(client: "SyncPrefectClient") -> int:
    """Force every unfinished run to Crashed and drop overdue scheduled ones; says how many were unfinished.

    A run whose worker is gone stays Running for ever, and holds its deployment's concurrency limit. Only
    right on a server of our own, after its worker ended.
    """
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    def in_states(*kinds: StateType) -> "list[FlowRun]":
        wanted = FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(kinds)))
        )
        return client.read_flow_runs(flow_run_filter=wanted, limit=200)

    swept = 0
    while unfinished := in_states(StateType.RUNNING, StateType.PENDING, StateType.CANCELLING):
        for run in unfinished:
            state: Any = Crashed(message="The process that ran it is gone.")
            client.set_flow_run_state(run.id, state, force=True)
        swept += len(unfinished)
    now = datetime.now(UTC)
    for run in in_states(StateType.SCHEDULED):
        due = run.next_scheduled_start_time
        # After a night's stop, every missed five-minute delivery would run, one after another.
        if run.auto_scheduled and due is not None and due < now:
            client.delete_flow_run(run.id)
    return swept


def _request_pulse(
    client: "SyncPrefectClient", deployment_id: UUID, as_of: date | None, live: bool
) -> UUID:
    run = client.create_flow_run_from_deployment(
        deployment_id,
        parameters={"as_of": as_of.isoformat() if as_of else None, "live": live},
        tags=["lodestone-run"],
    )
    return run.id


def _is_finished(client: "SyncPrefectClient", run_id: UUID, ui_url: str) -> Outcome | None:
    run = client.read_flow_run(run_id)
    state = run.state
    if state is None or not state.is_final():
        return None
    return Outcome(
        flow_run_id=str(run_id),
        state=state.name or state.type.value,
        message=state.message or "",
        ui_url=run_page(ui_url, str(run_id)),
        is_completed=state.is_completed(),
    )


def run_page(ui_url: str, flow_run_id: str) -> str:
    """Address of a flow run's page in the Prefect UI."""
    return f"{ui_url}/runs/flow-run/{flow_run_id}"


# --- the command --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """What one `lodestone run` is asked for."""

    as_of: date | None = None
    live: bool = False
    once: bool = False


def launch(
    settings: Settings,
    request: Request,
    *,
    say: Say,
    watch: Callable[[str], None] = lambda _flow_run_id: None,
    show: Callable[[Outcome], None],
) -> int:
    """Bring Prefect up, run the pulse once, show its outcome, and keep the UI up unless `once`.

    `watch` is called with the flow run's id while it runs. Returns the exit code: 0 Completed, 1 not, 130
    when Ctrl-C came before the end. Raises PrefectUnreachableError; whatever happens, no process stays.
    """
    stop = StopFlag()

    def tell(sentence: str) -> None:
        # A terminal that was closed can't be told, and the clean-up must go on.
        with contextlib.suppress(OSError):
            say(sentence)

    with stop.listening():
        try:
            if settings.prefect_api_url:
                return _launch_on(settings, request, stop, say=tell, watch=watch, show=show)
            return _launch_embedded(settings, request, stop, say=tell, watch=watch, show=show)
        except StoppedError:
            tell("Stopped before the run was done.")
            return 130


def _launch_embedded(
    settings: Settings,
    request: Request,
    stop: StopFlag,
    *,
    say: Say,
    watch: Callable[[str], None],
    show: Callable[[Outcome], None],
) -> int:
    home = settings.home.resolve()
    root = f"http://{HOST}:{settings.prefect_port}"
    ui_url = settings.ui_url or root
    file = find_deployments_file()
    deployments = read_deployments(file)
    with HomeLock(home).held(root, say), contextlib.ExitStack() as tidy:
        require_free_port(settings.prefect_port)
        env = child_environment(settings, api_url=f"{root}/api", ui_url=ui_url, embedded=True)
        is_first = not (home / "prefect" / "prefect.db").exists()
        hint = ", its database is made first" if is_first else ""
        say(f"Prefect server starting on {root} (logs in {home / 'logs'}{hint})")
        # The last resort, after everything below was asked to end: no process of this home survives.
        tidy.callback(end_marked, home, 0.0)
        server = _start_server(env, home)
        tidy.callback(server.end, stop, SERVER_GRACE_SECONDS)
        client = tidy.enter_context(_client(env))  # imports Prefect while the server does
        flows = load_flows(file, deployments)  # on the core that the starting server leaves idle
        _await_ready(server, settings.prefect_port, stop)
        with _translated(root):
            ensure_pool(client, overwrite=True)
            ids = deploy(
                client,
                deployments,
                flows,
                schedules_active=not request.once,
                live=request.live,
            )
            sweep(client)
            stop.check()
            run_id = _request_pulse(client, ids[PULSE], request.as_of, request.live)
            tidy.callback(_sweep_quietly, client, server)
            worker = _start_worker(env, home)
            tidy.callback(worker.end, stop, WORKER_GRACE_SECONDS)
            say(f"{len(ids)} deployments ready; the pulse runs: {run_page(ui_url, str(run_id))}")
            listener = _start_listener(settings, request, env, home)
            if listener is not None:
                tidy.callback(listener.end, stop, LISTENER_GRACE_SECONDS)
            outcome = _follow(client, run_id, ui_url, (server, worker), stop, watch)
        return _finish(outcome, request, (server, worker), listener, stop, say=say, show=show)


def _launch_on(
    settings: Settings,
    request: Request,
    stop: StopFlag,
    *,
    say: Say,
    watch: Callable[[str], None],
    show: Callable[[Outcome], None],
) -> int:
    """The same on a server that others may share: what is deployed there stays, and only our own run is swept."""
    home = settings.home.resolve()
    api_url = settings.prefect_api_url.rstrip("/")
    ui_url = settings.ui_url or api_url.removesuffix("/api")
    file = find_deployments_file()
    deployments = read_deployments(file)
    with HomeLock(home).held(ui_url, say), contextlib.ExitStack() as tidy:
        env = child_environment(settings, api_url=api_url, ui_url=ui_url, embedded=False)
        tidy.callback(end_marked, home, 0.0)
        client = tidy.enter_context(_client(env))
        with _translated(api_url):
            problem = client.api_healthcheck()
            if problem is not None:
                raise problem
            ensure_pool(client, overwrite=False)
            ids, created = deploy_missing(client, deployments, load_flows(file, deployments))
            stop.check()
            run_id = _request_pulse(client, ids[PULSE], request.as_of, request.live)
            tidy.callback(_crash_quietly, client, run_id)
            worker = _start_worker(env, home)
            tidy.callback(worker.end, stop, WORKER_GRACE_SECONDS)
            say(
                f"{len(ids)} deployments there ({created} of them new); the pulse runs: "
                f"{run_page(ui_url, str(run_id))}"
            )
            listener = _start_listener(settings, request, env, home)
            if listener is not None:
                tidy.callback(listener.end, stop, LISTENER_GRACE_SECONDS)
            outcome = _follow(client, run_id, ui_url, (worker,), stop, watch)
        return _finish(outcome, request, (worker,), listener, stop, say=say, show=show)


def _start_server(env: Mapping[str, str], home: Path) -> Child:
    # Not in the working folder: a .env, prefect.toml or pyproject.toml there may name another database.
    folder = home / "prefect"
    folder.mkdir(exist_ok=True)
    log = home / "logs" / "prefect-server.log"
    return Child.start("server", _prefect("server", "start"), env, log, folder)


def _start_worker(env: Mapping[str, str], home: Path) -> Child:
    # A fixed name: otherwise every start leaves one more offline worker in the pool's list.
    name = f"lodestone on {socket.gethostname()}"
    command = _prefect("worker", "start", "--pool", POOL, "--type", "process", "--name", name)
    command += ["--install-policy", "never"]
    return Child.start("worker", command, env, home / "logs" / "prefect-worker.log")


def _start_listener(
    settings: Settings, request: Request, env: Mapping[str, str], home: Path
) -> Child | None:
    """Who takes what people press in Slack, as long as the service stays up; None where nobody can."""
    if request.once or not settings.slack_app_token.get_secret_value().strip():
        return None
    code = "import sys; from flows.cli import main; sys.exit(main(['slack', 'listen']))"
    return Child.start(
        "listener", [sys.executable, "-c", code], env, home / "logs" / "slack-listen.log"
    )


def _follow(
    client: "SyncPrefectClient",
    run_id: UUID,
    ui_url: str,
    children: Sequence[Child],
    stop: StopFlag,
    watch: Callable[[str], None],
) -> Outcome:
    while True:
        outcome = _is_finished(client, run_id, ui_url)
        watch(str(run_id))
        if outcome is not None:
            return outcome
        for child in children:
            child.require_alive()
        stop.wait(POLL_SECONDS)


def _finish(
    outcome: Outcome,
    request: Request,
    children: Sequence[Child],
    listener: Child | None,
    stop: StopFlag,
    *,
    say: Say,
    show: Callable[[Outcome], None],
) -> int:
    show(outcome)
    code = 0 if outcome.is_completed else 1
    if request.once:
        return code
    say("The Prefect UI stays up and its schedules run; Ctrl-C ends everything.")
    # Ctrl-C is how this ends: nothing was cut off.
    with contextlib.suppress(StoppedError):
        while True:
            for child in children:
                child.require_alive()
            if listener is not None and (how := listener.ended()):
                # Alerts come without it, too: only their buttons are not answered.
                say(f"Buttons in Slack are not answered any more: the listener {how}")
                listener = None
            stop.wait(1.0)
    say("Stopping.")
    return code


def _client(env: Mapping[str, str]) -> "SyncPrefectClient":
    # Prefect reads its settings when it is imported, and makes its home folder then.
    for name in set(os.environ).difference(env):
        del os.environ[name]
    os.environ.update(env)
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


@contextlib.contextmanager
def _translated(address: str) -> Iterator[None]:
    """A connection that fails becomes a sentence with the address and what to do."""
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        yield
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        hint = "; set PREFECT_API_AUTH_STRING or PREFECT_API_KEY" if status in (401, 403) else ""
        message = f"The Prefect server at {address} refused a request with status {status}{hint}"
        raise PrefectUnreachableError(message) from error
    except Exception as error:
        # Prefect's client lets its HTTP library's errors through, and that library isn't ours to import.
        if type(error).__module__.partition(".")[0] not in {"httpx", "httpcore"}:
            raise
        message = (
            f"The Prefect server at {address} can't be reached ({type(error).__name__}): start it, "
            "correct LODESTONE_PREFECT_API_URL, or unset it to use the embedded server"
        )
        raise PrefectUnreachableError(message) from error


def _sweep_quietly(client: "SyncPrefectClient", server: Child) -> None:
    # On the way out: the server may be what broke, and then the next start sweeps.
    if server.process.poll() is None:
        with contextlib.suppress(Exception):
            sweep(client)


def _crash_quietly(client: "SyncPrefectClient", run_id: UUID) -> None:
    from prefect.states import Crashed

    with contextlib.suppress(Exception):
        state = client.read_flow_run(run_id).state
        if state is not None and not state.is_final():
            crashed: Any = Crashed(message="lodestone run was stopped.")
            client.set_flow_run_state(run_id, crashed, force=True)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}es"
