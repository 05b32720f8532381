"""What commands of `lodestone` share: exit codes, common arguments, the service they work on, and answers."""

import argparse
import contextlib
import dataclasses
import enum
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Everything else is imported where it is used: `lodestone --help` answers in well under half a second.
from flows.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from alerts.incident import Incident, Reason
    from flows.service import Moment, Service
    from flows.settings import Settings

FINE, FAILED, MISUSED, UNDELIVERED, NO_PREFECT, NO_DATABASE = range(6)
INTERRUPTED = 130

EXIT_CODES = """\
exit codes:
  0  fine
  1  the run failed, or a check did not pass
  2  wrong usage, settings, catalogue or rule file
  3  messages remain that were given up (DEAD); see `lodestone alerts redrive`
  4  Prefect can't be reached, its port is busy, or Lodestone already runs here
  5  the database can't be used
  130  ended by Ctrl-C before it was done

settings: LODESTONE_… variables and lodestone.toml; `lodestone check` shows what they lead to.
"""


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    command: Callable[[argparse.Namespace], int],
    about: str,
) -> argparse.ArgumentParser:
    """A command with `--json` and the exit codes below its help; `about` is its line in the list."""
    added = commands.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.add_argument(
        "--json", action="store_true", help="one JSON object on stdout, everything else on stderr"
    )
    added.set_defaults(command=command)
    return added


def add_as_of(command: argparse.ArgumentParser) -> None:
    """The option to look from the end of a past day."""
    command.add_argument(
        "--as-of", type=a_day, metavar="DATE", help="as on this past day, with what was known then"
    )


def a_day(text: str) -> date:
    """A calendar day from an argument."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is not a day; write it as 2025-06-21"
        raise argparse.ArgumentTypeError(message) from None


def a_count(text: str) -> int:
    """A whole number above zero from an argument."""
    if not text.isdecimal() or int(text) < 1:
        message = f"{text!r} is not a whole number above 0"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def read_settings() -> "Settings":
    """The settings, with the log set up as they ask."""
    from flows.logs import configure
    from flows.settings import load_settings

    settings = load_settings()
    configure(settings.log_level)
    return settings


def _build(settings: "Settings") -> "Service":
    from flows.wiring import build

    return build(settings)


@contextlib.contextmanager
def open_service(settings: "Settings | None" = None) -> Iterator["Service"]:
    """A service on the real database and channel, closed at the end."""
    service = _build(settings or read_settings())
    try:
        yield service
    finally:
        service.close()


def new_run_id() -> str:
    """What a command keeps its figures under."""
    import uuid

    return f"cli-{uuid.uuid4()}"


def note(line: str) -> None:
    """Something for whoever watches: never in the way of the answer."""
    print(line, file=sys.stderr, flush=True)


def answer(options: argparse.Namespace, content: Mapping[str, Any], lines: Iterable[str]) -> None:
    """One JSON object, or the lines."""
    if options.json:
        print_json(content)
        return
    for line in lines:
        print(line)


def print_json(content: Mapping[str, Any]) -> None:
    """One object on one line."""
    print(json.dumps(plain(content), ensure_ascii=False, allow_nan=False), flush=True)


def plain(value: Any) -> Any:
    """What JSON can hold: dates as ISO text, dataclasses as objects, enums by name; null for what isn't known."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {part.name: plain(getattr(value, part.name)) for part in dataclasses.fields(value)}
    if isinstance(value, enum.IntEnum):
        return value.name.lower()
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if isinstance(value, date) else value


def without(value: Any, *names: str) -> dict[str, Any]:
    """A dataclass as an object, without the parts that are too large to read."""
    return {
        part.name: plain(getattr(value, part.name))
        for part in dataclasses.fields(value)
        if part.name not in names
    }


def read_panel(path: Path | None) -> "pd.DataFrame":
    """The panel of a file, or our own monthly prices as they are known now: unique_id, ds, y. Raises UsageError."""
    import pandas as pd

    if path is not None:
        try:
            return pd.read_csv(
                path,
                encoding="utf-8-sig",
                dtype={"unique_id": "string", "ds": "string"},
                # NA is a name and a word for a missing value; a trailing comma makes no index.
                keep_default_na=False,
                na_values={"unique_id": [""], "y": ["", "NA", "N/A", "NaN", "nan", "null"]},
                index_col=False,
                low_memory=False,
            )
        except OSError as error:
            message = f"{path}: can't be read ({error.strerror})"
            raise UsageError(message) from None
        except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            message = f"{path}: not a CSV file in UTF-8 with the columns unique_id, ds, y: {error}"
            raise UsageError(message) from None
    from flows import steps

    with open_service() as service:
        moment = steps.moment(service, None, live=False)
        names = [
            name
            for name, entry in service.catalog.series.items()
            if entry.forecast and entry.frequency == "month"
        ]
        found = [steps.observed(service, name, moment) for name in names]
        if not any(one.points for one in found):
            steps.ingest(service, moment)
            found = [steps.observed(service, name, moment) for name in names]
    rows = [(one.series, point.period, point.value) for one in found for point in one.points]
    return pd.DataFrame(rows, columns=["unique_id", "ds", "y"])


def incident_object(incident: "Incident") -> dict[str, Any]:
    """An incident in short, as JSON shows it."""
    return {
        "id": incident.id,
        "rule": incident.rule,
        "type": incident.type,
        "subject": incident.subject,
        "severity": incident.severity.name.lower(),
        "state": incident.state.value,
        "since": incident.since.isoformat(),
        "headline": incident.reading.headline,
    }


def print_incidents(service: "Service", moment: "Moment", incidents: Sequence["Incident"]) -> None:
    """The message of every open incident, and what could not be judged."""
    from alerts.wording import readable
    from flows import steps
    from flows.sentences import silence_sentence

    if not incidents:
        print(f"\nNo open incident. {silence_sentence(steps.last_judged(service, moment))}")
    for incident in sorted(incidents, key=lambda one: (-one.severity, one.since, one.id)):
        if incident.held and incident.told_state is None:
            # No reader of a channel has a message of it: its headline, and why.
            word, headline = incident.severity.name, readable(incident.reading.headline)
            print(f"\n[{word}] {headline}\n    {readable(incident.held)}\n    id {incident.id}")
            continue
        print(f"\n{as_text(incident)}\n    id {incident.id}")
    lines = steps.unjudged(service, moment)
    if lines:
        print("\nNot judged, so silence on these means nothing:")
    for line in lines:
        print(f"  {line}")
    print(flush=True)


def as_text(incident: "Incident", reason: "Reason | None" = None) -> str:
    """The incident's message as a reader of the channel sees it."""
    from alerts.incident import Reason
    from alerts.messages import root_message
    from alerts.terminal import render_terminal

    message = root_message(
        incident,
        reason or Reason.UNCHANGED,
        known_at=incident.reading_at or incident.changed_at,
        book=incident.book,
    )
    return render_terminal(message)
