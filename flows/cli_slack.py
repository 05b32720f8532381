"""The commands `lodestone slack …`: listen to the buttons in messages, and see who pressed what."""

import argparse
import contextlib
import gc
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flows.console import FINE, a_count, add_command, answer, note, open_service, read_settings
from flows.errors import SettingsError

if TYPE_CHECKING:
    from flows.service import Service
    from flows.settings import Settings
    from flows.storage.interactions import Kept


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `slack` and its actions to the commands."""
    slack = commands.add_parser("slack", help="buttons in messages: who listens, who pressed what")
    actions = slack.add_subparsers(required=True, metavar="ACTION")
    listen = add_command(
        actions, "listen", _listen, "take what people press in messages, until Ctrl-C"
    )
    listen.add_argument(
        "--http",
        type=_an_address,
        metavar="HOST:PORT",
        help="take signed requests here instead of connecting to Slack (Socket Mode)",
    )
    presses = add_command(actions, "presses", _presses, "who pressed what, and what became of it")
    presses.add_argument(
        "--limit", type=a_count, default=50, metavar="N", help="how many at the most (50)"
    )


def _an_address(text: str) -> tuple[str, int]:
    """Host and port; an IPv6 host stands in brackets."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isdecimal() and port.isascii() and int(port) <= 65535):
        message = f"{text!r} is not HOST:PORT; write it as 127.0.0.1:3000 or [::1]:3000"
        raise argparse.ArgumentTypeError(message)
    return host, int(port)


# --- listening --------------------------------------------------------------------


def _listen(options: argparse.Namespace) -> int:
    from flows import wiring
    from flows.listen import Listener, introduce, listen_by_http, listen_by_socket

    stop = threading.Event()
    with _stoppable(stop):
        settings = read_settings()
        _require_secrets(settings, by_http=options.http is not None)
        with open_service(settings) as service:
            answers = wiring.answers(settings)
            team = introduce(answers, note)
            listener = Listener(service, answers)
            how: dict[str, Any] = {"stop": stop, "say": note, "team": team}
            listener.start()
            try:
                if options.http is None:
                    listen_by_socket(wiring.slack_socket(settings, listener.hear), **how)
                else:
                    secret = settings.slack_signing_secret.get_secret_value()
                    listen_by_http(
                        listener,
                        options.http,
                        secret=secret,
                        health=lambda: _health(service),
                        **how,
                    )
            except KeyboardInterrupt:
                note("Stopping.")
            finally:
                listener.stop()
            answer(
                options,
                {"heard": listener.heard, "applied": listener.applied},
                [f"{listener.heard} pressed, {listener.applied} applied"],
            )
    # Whoever stops us waits: a process that ends looks for garbage in all that it ever imported.
    gc.freeze()
    return FINE


@contextlib.contextmanager
def _stoppable(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and a request to terminate end it, also in the middle of a wait for Slack, as a success."""

    def leave(_number: int, _frame: object) -> None:
        is_first = not stop.is_set()
        stop.set()
        if is_first:
            raise KeyboardInterrupt

    # Set even where the shell left SIGINT ignored (`lodestone slack listen &`).
    before = {one: signal.signal(one, leave) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        if not stop.is_set():
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _require_secrets(settings: "Settings", *, by_http: bool) -> None:
    """Raise SettingsError for the first variable that this way of listening needs, and that isn't set."""
    from flows.listen import GUIDE

    needed = {
        "slack_token": "the bot token (xoxb-…), with which messages are edited and people answered",
        **(
            {"slack_signing_secret": "the app's signing secret, which proves that Slack asks"}
            if by_http
            else {
                "slack_app_token": "an app-level token (xapp-…), with which Slack is connected to"
            }
        ),
    }
    for name, what in needed.items():
        if not getattr(settings, name).get_secret_value().strip():
            message = f"LODESTONE_{name.upper()} is not set: set it to {what}; see {GUIDE}"
            raise SettingsError(message)


def _health(service: "Service") -> tuple[bool, dict[str, Any]]:
    from flows.console import plain
    from flows.health import health

    found = health(service, service.clock())
    told: dict[str, Any] = plain(found.as_dict())
    return found.is_well, told


# --- who pressed what -----------------------------------------------------------------


def _presses(options: argparse.Namespace) -> int:
    from flows.storage.interactions import InteractionStore

    with open_service() as service:
        found = InteractionStore(service.database).recent(options.limit)
    answer(
        options,
        {"presses": [_press_object(one) for one in found]},
        [_press_line(one) for one in found] or ["nobody has pressed a button yet"],
    )
    return FINE


def _press_object(one: "Kept") -> dict[str, Any]:
    press = one.press
    return {
        "at": one.received_at,
        "user_id": press.user_id,
        "user_name": press.user_name,
        "action": press.action,
        "incident": press.incident_id,
        "channel": press.channel_id,
        "message_ts": press.message_ts,
        "done_at": one.done_at,
        "outcome": one.outcome or None,
    }


def _press_line(one: "Kept") -> str:
    from alerts.wording import readable

    press = one.press
    outcome = readable(one.outcome) if one.done_at else "not applied yet"
    return (
        f"{one.received_at:%Y-%m-%d %H:%M:%S} UTC  {readable(press.user_name)} ({press.user_id}) "
        f"pressed {press.action} on {press.incident_id[:8] or 'nothing'}: {outcome}"
    )
