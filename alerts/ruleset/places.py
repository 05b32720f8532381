"""Routes and mutes of a rule file: where a message goes, and in which hours it may."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

from alerts.mutes import EVERY_DAY, MILD, Mute
from alerts.routing import (
    ANY_BEARERS,
    LABELS,
    SEVERITIES,
    Bearer,
    Match,
    Route,
    combination_problem,
    matcher_problem,
    nearest,
)
from alerts.rules import Severity
from alerts.ruleset.tables import Table, kind_of, unknown

_CHANNEL = re.compile(r"#[^\s#@<>&,.A-Z]{1,80}|[CGD][A-Z0-9]{6,20}")
_MENTION = re.compile(r"here|[USW][A-Z0-9]{6,20}")
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def read_route(
    name: str,
    table: Table,
    known: Mapping[str, Collection[str]],
    bearers: Collection[Bearer] = ANY_BEARERS,
) -> Route:
    """One route; `known` holds the values that each label can have, `bearers` who can bear which.

    `escalate_to` is checked later.
    """
    channel = table.text("channel", "")
    match = _match(table, known, bearers)
    owner = table.text("owner", "")
    mention = read_mention(table)
    after = None
    if table.has("escalate_after_hours"):
        hours = table.number("escalate_after_hours", None, low=0, high=720, above_low=True)
        after = timedelta(hours=hours)
    escalate_to = table.text("escalate_to", "")
    table.refuse_unknown("key")
    if not _CHANNEL.fullmatch(channel):
        raise table.error(
            at="channel",
            problem=f'{channel!r} is not a channel; write "#magnet-supply" or an id like "C0123456789"',
        )
    return Route(name, channel, match, owner, mention, after, escalate_to)


def check_escalation(route: Route, table: Table, routes: Collection[str]) -> None:
    """Raises RuleFileError when a route escalates to nobody, to itself, or never."""
    to, after = route.escalate_to, route.escalate_after
    if to and to not in routes:
        raise table.error(at="escalate_to", problem=unknown("route", to, routes))
    if to == route.name:
        problem = (
            "a route can't escalate to itself; without `escalate_to`, `mention` is called again"
        )
        raise table.error(at="escalate_to", problem=problem)
    if to and after is None:
        problem = (
            "`escalate_after_hours` is missing: after how many hours without an acknowledgement"
        )
        raise table.error(at="escalate_to", problem=problem)
    if after is not None and not to and not route.mention:
        problem = (
            "nobody is to be told: set `escalate_to` to a route, or `mention` to who is called"
        )
        raise table.error(at="escalate_after_hours", problem=problem)


def read_mention(table: Table) -> str:
    """Who is called by name: a Slack id of a person or group, or "here"."""
    mention = table.text("mention", "")
    if mention and not _MENTION.fullmatch(mention):
        raise table.error(
            at="mention",
            problem=f"{mention!r} can't be called; write a person's id like \"U0123ABCD\", a group's "
            'like "S0123ABCD", or "here"',
        )
    return mention


def read_labels(table: Table) -> Match:
    """Labels that a rule states of its own."""
    if not table.has("labels"):
        return ()
    part = table.sub("labels", '{ team = "magnets" }')
    found = []
    for label in part.free_keys():
        if label in LABELS:
            problem = f"every reading has this label by itself; choose another name than {', '.join(LABELS)}"
            raise part.error(at=label, problem=problem)
        if not _LABEL.fullmatch(label):
            problem = "a label begins with a small letter; small letters, digits, _ and - follow, 32 at most"
            raise part.error(at=label, problem=problem)
        value = part.text(label, "")
        if not value or "*" in value or len(value) > 80:
            problem = f"{value!r} is not a label's value: 1 to 80 characters without *"
            raise part.error(at=label, problem=problem)
        found.append((label, value))
    return tuple(found)


def read_mute(name: str, table: Table) -> Mute:
    """One mute window; refuses one that never ends."""
    zone = _zone(table)
    days = frozenset(
        _DAYS.index(day) for day in table.names("days", _DAYS, "weekday", default=_DAYS)
    )
    mute = Mute(
        name=name,
        timezone=zone,
        days=days,
        begins=_clock(table, "from"),
        ends=_clock(table, "to"),
        holidays=frozenset(_holidays(table)),
        severities=_severities(table),
    )
    table.refuse_unknown("key")
    if mute.days == EVERY_DAY and mute.is_all_day:
        problem = (
            "every hour of every day would be muted; set `days`, or `from` and `to`; "
            "to hear nothing of a rule, set its enabled = false"
        )
        raise table.error(at="days" if table.has("days") else "from", problem=problem)
    return mute


def _match(
    table: Table, known: Mapping[str, Collection[str]], bearers: Collection[Bearer]
) -> Match:
    if not table.has("match"):
        return ()
    part = table.sub("match", '{ severity = "critical", market = "india-*" }')
    found = []
    for label in part.free_keys():
        value = part.text(label, "")
        problem = matcher_problem(label, value, known)
        if problem is not None:
            raise part.error(at=label, problem=problem)
        found.append((label, value))
    if (clash := combination_problem(tuple(found), bearers)) is not None:
        label, problem = clash
        raise part.error(at=label, problem=problem)
    return tuple(found)


def _zone(table: Table) -> str:
    name = table.text("timezone", "")
    if not name:
        raise table.error(
            at="timezone", problem='missing; a time zone like "Asia/Kolkata" is needed'
        )
    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        # A path, a folder or no name at all: the same to whoever wrote it.
        problem = f'unknown time zone {name!r}{_near_zone(name)}; write a place such as "Asia/Kolkata", or "UTC"'
        raise table.error(at="timezone", problem=problem) from None
    return name


def _near_zone(name: str) -> str:
    """A hint at a place; none for an abbreviation: "IST" is India's, Ireland's and Israel's, and near "EST"."""
    places = tuple(sorted(zone for zone in available_timezones() if "/" in zone))
    if "/" in name:
        return nearest(name, places)
    if name.isupper() and len(name) <= 5:
        return ", an abbreviation has no one meaning"
    by_city = {zone.rpartition("/")[2]: zone for zone in places}
    city = difflib.get_close_matches(name.replace(" ", "_"), by_city, n=1, cutoff=0.75)
    return f" (did you mean {by_city[city[0]]!r}?)" if city else ""


def _clock(table: Table, key: str) -> time:
    """A time of day, as a text or as TOML's own; midnight when it isn't given."""
    value = table.value(key)
    if value is None:
        return time.min
    if isinstance(value, time):
        return value.replace(microsecond=0)
    if not isinstance(value, str) or not _CLOCK.fullmatch(value):
        given = repr(value) if isinstance(value, str) else kind_of(value)
        raise table.error(
            at=key, problem=f'a time like "18:00" is needed (00:00 to 23:59), not {given}'
        )
    return time.fromisoformat(value)


def _holidays(table: Table) -> Iterator[date]:
    value = table.value("holidays")
    if value is None:
        return
    problem = "a list of dates is needed, such as [2026-01-26, 2026-08-15]"
    if not isinstance(value, list):
        raise table.error(at="holidays", problem=f"{problem}, not {kind_of(value)}")
    for one in value:
        if not isinstance(one, date) or isinstance(one, datetime):
            given = repr(one) if isinstance(one, str) else kind_of(one)
            raise table.error(at="holidays", problem=f"{problem} without quotes; found {given}")
        yield one


def _severities(table: Table) -> frozenset[Severity]:
    mild = tuple(severity.name.lower() for severity in sorted(MILD))
    words = table.names("severities", SEVERITIES, "severity", default=mild)
    return frozenset(Severity[word.upper()] for word in words)
