"""What people press in a message, as plain values: who asks for what, and what they are answered."""

import enum
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from alerts.incident import Decision, Incident, Reason, State
from alerts.wording import day, instant, readable, shortened

PREFIX = "lodestone:"
"""How the action id of each of our buttons begins; those of other apps are none of ours."""

MOST_PRESSES = 25
"""Presses read from one payload: as many buttons as a block can have. Slack sends one."""

NAME_LIMIT = 120
FRESH_SECONDS = 300
"""How old a signed request may be: an older one may be a copy of what somebody has recorded."""

_ID = re.compile(r"[!-~]{1,40}")
_INCIDENT = re.compile(r"[!-~]{1,80}")
_SIGNATURE = re.compile(r"v0=[0-9a-f]{64}")


class Action(enum.StrEnum):
    """What a button of a message asks for; also the end of its action id in Slack."""

    ACKNOWLEDGE = "acknowledge"
    SNOOZE_DAY = "snooze_1d"
    SNOOZE_WEEK = "snooze_7d"
    UNSNOOZE = "unsnooze"
    NUMBERS = "numbers"


SPANS: Mapping[Action, timedelta] = {
    Action.SNOOZE_DAY: timedelta(days=1),
    Action.SNOOZE_WEEK: timedelta(days=7),
}
"""How long each snooze lasts, counted from the press."""


@dataclass(frozen=True, slots=True)
class Press:
    """One press of one button by one person."""

    key: str  # equal however often, and by whichever way, Slack sends it
    user_id: str
    user_name: str  # as the person is called in Slack
    action: str  # an Action's value, or that of a button which this version doesn't know
    incident_id: str  # as the button says it: perhaps nobody's, empty when it says none
    channel_id: str
    message_ts: str
    thread_ts: str = ""  # of the thread that its message stands in; empty: it stands in the channel
    response_url: str = ""  # where Slack takes an answer for half an hour
    is_of_others: bool = False  # it is somebody's of another workspace that shares the channel

    @property
    def asks(self) -> Action | None:
        """What is asked for; None for a button that this version doesn't know."""
        return Action(self.action) if self.action in _ACTIONS else None


_ACTIONS = frozenset(action.value for action in Action)


def presses_of(payload: object) -> tuple[Press, ...]:
    """The presses of our buttons in what Slack sends; what is none, or isn't whole, is left out.

    Whatever comes in, nothing is raised: a payload that can't be read has no presses.
    """
    whole = _mapping(payload)
    if whole.get("type") != "block_actions":
        return ()
    user, container = _mapping(whole.get("user")), _mapping(whole.get("container"))
    message = _mapping(whole.get("message"))
    user_id = _fitting(_ID, user.get("id"))
    channel = _fitting(_ID, _mapping(whole.get("channel")).get("id"), container.get("channel_id"))
    ts = _fitting(_ID, container.get("message_ts"), message.get("ts"))
    if not (user_id and channel and ts):
        return ()
    given = whole.get("actions")
    found: dict[str, Press] = {}
    for action in map(_mapping, given[:MOST_PRESSES] if isinstance(given, list) else ()):
        name, at = action.get("action_id"), _fitting(_ID, action.get("action_ts"))
        if not (isinstance(name, str) and name.startswith(PREFIX) and at):
            continue
        asked = name.removeprefix(PREFIX)
        # Without the address of the answer, which is another for each delivery.
        parts = json.dumps([at, user_id, asked, ts, channel])
        key = hashlib.sha256(parts.encode("ascii")).hexdigest()
        found[key] = Press(
            key=key,
            user_id=user_id,
            user_name=_name(user, user_id),
            action=_fitting(_ID, asked) or "?",
            incident_id=_fitting(_INCIDENT, action.get("value")),
            channel_id=channel,
            message_ts=ts,
            thread_ts=_fitting(_ID, container.get("thread_ts")),
            response_url=_text(whole.get("response_url"))[:1000],
            is_of_others=_is_of_others(whole, user),
        )
    return tuple(found.values())


def is_signed(
    secret: str, *, timestamp: str | None, signature: str | None, body: bytes, now: datetime
) -> bool:
    """Whether Slack made this request, by its signature (v0), and did so within the last five minutes."""
    if not secret or timestamp is None or signature is None:
        return False
    # Digits of other scripts are numbers to Python, and none to Slack.
    if not re.fullmatch(r"[0-9]{1,12}", timestamp) or not _SIGNATURE.fullmatch(signature):
        return False
    if abs(now.timestamp() - int(timestamp)) > FRESH_SECONDS:
        return False
    basis = b"v0:" + timestamp.encode("ascii") + b":" + body
    wanted = hmac.new(secret.encode(), basis, hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"v0={wanted}", signature)


# --- answers ----------------------------------------------------------------------


def answered(action: Action, decision: Decision) -> str:
    """What became of it, for whoever pressed."""
    incident = decision.incident
    if incident is None:
        return unknown_answer()
    if not incident.state.is_open:
        return over_answer(action, incident)
    is_done = decision.reason is not Reason.UNCHANGED
    others = with_it(decision)
    match action:
        case Action.ACKNOWLEDGE if is_done:
            told = f"You have taken this on{others}. Nobody else is called."
        case Action.ACKNOWLEDGE:
            told = _taken(incident)
        case Action.UNSNOOZE if is_done:
            told = f"Awake again{others}: what is new of {'them' if others else 'it'} is posted."
        case Action.UNSNOOZE:
            told = "It was not snoozed: nothing had to be done."
        case _ if is_done and incident.snoozed_until is not None:
            told = f"Snoozed until {instant(incident.snoozed_until)}{others}.{_wakes(incident)}"
        case _ if incident.snoozed_until is not None:
            told = (
                f"Snoozed already until {instant(incident.snoozed_until)} by "
                f"{readable(incident.snoozed_by)}: that is longer than what you asked for, so it stays."
            )
        case _:
            return late_answer(incident)
    return _about(incident, told)


def with_it(decision: Decision) -> str:
    """The words for what else of its message the same was done to: ", and the 2 told with it"; or none."""
    if not decision.with_it:
        return ""
    others = "one" if decision.with_it == 1 else str(decision.with_it)
    return f", and the {others} told with it"


def late_answer(incident: Incident) -> str:
    """The answer to a snooze that is over before it could be applied."""
    return _about(incident, "Nothing was changed: the time that you asked for is over.")


def over_answer(action: Action, incident: Incident) -> str:
    """The answer where nothing is open any more, or nobody has been told yet."""
    verb = _VERBS.get(action, "do")
    if not incident.state.is_ended:
        return _about(incident, f"Nobody has been told of this yet: nothing to {verb}.")
    how = {State.WITHDRAWN: "was withdrawn", State.EXPIRED: "expired"}.get(incident.state, "ended")
    return _about(incident, f"This alert {how} on {day(incident.changed_at)}: nothing to {verb}.")


def unknown_answer() -> str:
    """The answer to a button whose incident nobody knows, as after a move to another database."""
    return (
        "This alert is not known here any more, so nothing was done. "
        "Those that are known: lodestone alerts list --all"
    )


def past_answer(incident: Incident) -> str:
    """The answer where something is asked of a look into the past, which offers only its numbers."""
    return _about(incident, "This is a look into the past: there is nothing to do about it.")


def others_answer() -> str:
    """The answer to somebody of another workspace that shares the channel."""
    return (
        "This alert belongs to another workspace, and only its people may press the buttons, so nothing "
        "was done. Please ask them."
    )


def foreign_answer() -> str:
    """The answer to a button that another version of Lodestone has posted."""
    return "This version of Lodestone does not know this button, so nothing was done."


def failed_answer(action: Action | None, incident_id: str) -> str:
    """The answer where it could not be kept or applied."""
    key = incident_id[:8] or "ID"
    command = {
        Action.ACKNOWLEDGE: f"ack {key}",
        Action.SNOOZE_DAY: f"snooze {key} --for 1d",
        Action.SNOOZE_WEEK: f"snooze {key} --for 7d",
        Action.UNSNOOZE: f"unsnooze {key}",
    }.get(action or Action.NUMBERS, f"show {key}")
    return f"This could not be noted. Please press again in a minute, or run: lodestone alerts {command}"


_VERBS = {
    Action.ACKNOWLEDGE: "acknowledge",
    Action.SNOOZE_DAY: "snooze",
    Action.SNOOZE_WEEK: "snooze",
    Action.UNSNOOZE: "wake",
}


def _taken(incident: Incident) -> str:
    # Never "by you": two people may have the same name in Slack.
    when = f" on {instant(incident.acknowledged_at)}" if incident.acknowledged_at else ""
    return f"Taken on already by {readable(incident.acknowledged_by)}{when}."


def _wakes(incident: Incident) -> str:
    word = incident.severity.name.lower()
    if word == "critical":
        return " Its end is told all the same."
    return f" It wakes if it becomes more than {word}; its end is told all the same."


def _about(incident: Incident, told: str) -> str:
    """With the headline: Slack shows the answer at the end of the channel, not beside its message."""
    return f"{shortened(readable(incident.reading.headline), 150)}\n{told}"


# --- odd payloads -------------------------------------------------------------------


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _fitting(form: re.Pattern[str], *candidates: object) -> str:
    """The first that is text of this form; empty for none."""
    fits = (one for one in candidates if isinstance(one, str) and form.fullmatch(one))
    return next(fits, "")


def _is_of_others(whole: Mapping[str, Any], user: Mapping[str, Any]) -> bool:
    """Whether the person's workspace is neither the one that the app is installed in nor its organisation."""
    team, enterprise = _mapping(whole.get("team")), _mapping(whole.get("enterprise"))
    ids = (team.get("id"), team.get("enterprise_id"), enterprise.get("id"))
    own, theirs = set(map(_text, ids)) - {""}, _text(user.get("team_id"))
    # Where Slack doesn't say both, there is nothing to compare.
    return bool(own and theirs) and theirs not in own


def _name(user: Mapping[str, Any], user_id: str) -> str:
    """What the person is called, on one line; the id where Slack gives no name that can be read."""
    names = (readable(_text(user.get(key))) for key in ("name", "username"))
    return shortened(next((name for name in names if name), user_id), NAME_LIMIT)
