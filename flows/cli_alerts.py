"""The commands `lodestone alerts …`: what is open and why, who takes it on, what is silenced, whether messages arrive."""

import argparse
import contextlib
import re
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from flows import cli_health
from flows.console import (
    FINE,
    INTERRUPTED,
    UNDELIVERED,
    a_count,
    add_as_of,
    add_command,
    answer,
    as_text,
    incident_object,
    note,
    open_service,
    read_settings,
)
from flows.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from alerts.incident import Decision, Incident
    from alerts.silences import Silence
    from flows.service import Service
    from flows.storage.ledger import IncidentScore, Transition

UNTIL_EMPTY_SECONDS = 900.0
MOST_DRILLS = 10_000

_SPAN = re.compile(r"(\d{1,4})(m|h|d|w)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `alerts` and its actions to the commands."""
    alerts = commands.add_parser("alerts", help="incidents, silences and their messages")
    actions = alerts.add_subparsers(required=True, metavar="ACTION")

    listed = add_command(actions, "list", _list, "open incidents and silences that last")
    listed.add_argument(
        "--all", action="store_true", help="also those that ended, and those not said to anyone yet"
    )
    add_as_of(listed)

    show = add_command(
        actions, "show", _show, "one incident: its message, its life with reasons, its scores"
    )
    _add_id(show)

    ack = add_command(actions, "ack", _ack, "take an incident on, so that nobody else is called")
    _add_id(ack)
    _add_by(ack)

    snooze = add_command(
        actions, "snooze", _snooze, "post nothing of an incident for a while, unless it rises"
    )
    _add_id(snooze)
    _add_end(snooze, required=True)
    _add_by(snooze)

    unsnooze = add_command(actions, "unsnooze", _unsnooze, "end a snooze before its time")
    _add_id(unsnooze)
    _add_by(unsnooze)

    silence = add_command(
        actions, "silence", _silence, "post nothing new of whatever has these labels"
    )
    silence.add_argument(
        "labels",
        nargs="*",
        metavar="label=value",
        help="all have to fit; a value may hold *: market=india-* severity=warning",
    )
    _add_end(silence, required=False)
    silence.add_argument("--reason", metavar="TEXT", help="why; it is shown to whoever asks")
    _add_by(silence)
    instead = silence.add_mutually_exclusive_group()
    instead.add_argument(
        "--end", dest="ended", metavar="ID", help="end this silence before its time"
    )
    instead.add_argument(
        "--list", dest="listed", action="store_true", help="every silence, also those that ended"
    )

    drill = add_command(
        actions, "drill", _drill, "post a message that says nothing has happened, and see it arrive"
    )
    drill.add_argument(
        "--count",
        type=_a_drill_count,
        metavar="N",
        help=f"write N of them (at most {MOST_DRILLS:,}) into the outbox, in one channel, and leave them to "
        "the delivery",
    )
    drill.add_argument(
        "--severity",
        choices=("info", "warning", "critical"),
        default="info",
        help="as loud as an alert of this severity (default: info); nobody is called by name",
    )
    place = drill.add_mutually_exclusive_group()
    place.add_argument(
        "--route",
        action="append",
        default=[],
        dest="routes",
        metavar="NAME",
        help="only this route; may be given several times (default: every route)",
    )
    place.add_argument(
        "--channel", default="", metavar="CHANNEL", help="only this channel, such as #desk or an id"
    )
    _add_by(drill)

    deliver = add_command(actions, "deliver", _deliver, "send what waits in the outbox")
    how_long = deliver.add_mutually_exclusive_group()
    how_long.add_argument(
        "--until-empty",
        action="store_true",
        help="wait for messages that may not be sent yet, until 15 minutes bring nothing",
    )
    how_long.add_argument(
        "--watch",
        action="store_true",
        help="stay, and send whatever is written within a second or so; Ctrl-C ends it",
    )
    add_as_of(deliver)
    again = add_command(
        actions, "redrive", _redrive, "put messages that were given up (DEAD) back in line"
    )
    again.add_argument(
        "--drop",
        action="store_true",
        help="instead, let go of them for good: they are never sent, and nobody hears of them again",
    )
    _add_by(again)
    cli_health.register(actions)


# --- arguments --------------------------------------------------------------------


def _add_id(command: argparse.ArgumentParser) -> None:
    command.add_argument("id", metavar="ID", help="id of an incident, or its first characters")


def _add_by(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--by", metavar="NAME", help="who asks, as readers know you (default: your login name)"
    )


def _add_end(command: argparse.ArgumentParser, *, required: bool) -> None:
    end = command.add_mutually_exclusive_group(required=required)
    end.add_argument(
        "--until",
        type=_an_instant,
        metavar="DATE",
        help="to the end of this day (UTC), or to an instant such as 2026-11-27T08:00+05:30",
    )
    end.add_argument(
        "--for", dest="span", type=_a_span, metavar="SPAN", help="for 90m, 36h, 3d or 2w"
    )


def _a_drill_count(text: str) -> int:
    count = a_count(text)
    if count > MOST_DRILLS:
        message = f"{count:,} drills: at most {MOST_DRILLS:,}"
        raise argparse.ArgumentTypeError(message)
    return count


def _an_instant(text: str) -> datetime:
    """An instant in UTC; a day means its end, and a time without a zone is UTC."""
    try:
        found = datetime.fromisoformat(text)
        if len(text) <= len("2026-11-27"):
            return datetime.combine(found.date(), time(23, 59, 59), tzinfo=UTC)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        message = f"{text!r} is not a day or an instant; write it as 2026-11-27 or 2026-11-27T08:00"
        raise argparse.ArgumentTypeError(message) from None


def _a_span(text: str) -> timedelta:
    found = _SPAN.fullmatch(text.strip().lower())
    if found is None or int(found[1]) == 0:
        message = f"{text!r} is not a span; write it as 90m, 36h, 3d or 2w"
        raise argparse.ArgumentTypeError(message)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _end(options: argparse.Namespace, service: "Service") -> datetime:
    if options.until is None and options.span is None:
        message = "say until when: --until DATE, or --for 3d"
        raise UsageError(message)
    end: datetime = options.until or service.clock() + options.span
    return end


def _by(options: argparse.Namespace) -> str:
    from flows.settings import login_name

    return login_name() if options.by is None else str(options.by)


# --- what is open -----------------------------------------------------------------


def _list(options: argparse.Namespace) -> int:
    from flows import steps
    from flows.desk import told_where
    from flows.sentences import silence_sentence

    with open_service() as service:
        moment = steps.moment(service, options.as_of, live=False)
        ledger = service.ledger
        found = ledger.incidents(moment.book) if options.all else ledger.open_incidents(moment.book)
        where = told_where(service, found)
        silences = ledger.silences(moment.known_at)
        judged = steps.last_judged(service, moment)
        unjudged = steps.unjudged(service, moment)
    lines = [line for one in found for line in _incident_lines(one, where[one.id])]
    if not any(one.state.is_open for one in found):
        lines.insert(0, f"No open incident. {silence_sentence(judged)}")
    if silences:
        lines += ["", "Silences that last", *map(_silence_line, silences)]
    if unjudged:
        lines += ["", "Not judged, so silence on these means nothing"]
        lines += [f"  {line}" for line in unjudged]
    answer(
        options,
        {
            "book": moment.book,
            "incidents": [_listed_object(one, where[one.id]) for one in found],
            "silences": [_silence_object(one) for one in silences],
            "not_judged": list(unjudged),
        },
        lines,
    )
    return FINE


def _incident_lines(incident: "Incident", where: str) -> list[str]:
    """The headline, then where it stands in a line below it."""
    from alerts.wording import day, readable

    state = incident.state.value.lower()
    when = incident.since if incident.state.is_open else incident.changed_at
    parts = [incident.id[:8], f"{state} since {day(when)}"]
    if incident.episode > 1:
        parts.append(f"{incident.episode} episodes")
    if incident.data_state:
        since = f" since {day(incident.data_since)}" if incident.data_since else ""
        word = incident.data_state.value.lower().replace("_", " ")
        parts.append(f"{word}{since}: {readable(incident.data_why)}")
    parts += _overlays(incident)
    parts += [where] if where else []
    return [
        f"{incident.severity.name.lower():<8}  {readable(incident.reading.headline)}",
        f"{'':<8}  {'; '.join(parts)}",
    ]


def _overlays(incident: "Incident") -> list[str]:
    """Who has taken it on, who sleeps over it, what holds it back."""
    from alerts.wording import instant, readable

    parts = []
    if incident.acknowledged_at is not None:
        parts.append(f"taken on by {readable(incident.acknowledged_by)}")
    if incident.snoozed_until is not None:
        until = instant(incident.snoozed_until)
        parts.append(f"snoozed by {readable(incident.snoozed_by)} until {until}")
    if incident.held:
        parts.append(f"held back: {readable(incident.held)}")
    return parts


def _listed_object(incident: "Incident", where: str) -> dict[str, Any]:
    return incident_object(incident) | {
        "episode": incident.episode,
        "data_state": incident.data_state.value.lower() or "fresh",
        "data_why": incident.data_why,
        "acknowledged_by": incident.acknowledged_by or None,
        "acknowledged_at": incident.acknowledged_at,
        "snoozed_by": incident.snoozed_by or None,
        "snoozed_until": incident.snoozed_until,
        "held": incident.held or None,
        "told": where or None,
    }


def _show(options: argparse.Namespace) -> int:
    from flows.desk import incident_of, told_where

    with open_service() as service:
        incident = incident_of(service, options.id)
        transitions = service.ledger.transitions(incident.id)
        where = told_where(service, [incident])[incident.id]
        scores = [
            one for one in service.ledger.scores(incident.book) if one.incident_id == incident.id
        ]
    reason = transitions[-1].reason if transitions else None
    lines = [as_text(incident, reason), "", f"    id {incident.id}{f'; {where}' if where else ''}"]
    lines += [f"    {part}" for part in _overlays(incident)]
    lines += ["", "Its life", *map(_transition_line, transitions)]
    if scores:
        lines += ["", "How right it was", *map(_score_line, scores)]
    answer(
        options,
        {
            "incident": incident.as_dict(),
            "told": where or None,
            "transitions": [
                {
                    "at": one.at,
                    "reason": one.reason,
                    "state_before": one.state_before,
                    "state": one.state,
                    "severity": one.severity.name.lower(),
                    "headline": one.reading.headline,
                    "note": one.note,
                }
                for one in transitions
            ],
            "scores": scores,
        },
        lines,
    )
    return FINE


def _transition_line(one: "Transition") -> str:
    from alerts.wording import readable

    before = one.state_before.lower() or "new"
    after = one.state.lower()
    way = after if before == after else f"{before} → {after}"
    note = f" ({readable(one.note)})" if one.note else ""
    measured = readable(one.reading.measured or one.reading.headline)
    return (
        f"  {one.at:%Y-%m-%d %H:%M} UTC  {one.reason.lower().replace('_', ' ')}{note}: {way}, "
        f"{one.severity.name.lower()}; {measured}"
    )


def _score_line(score: "IncidentScore") -> str:
    from alerts.wording import days, readable

    lead = "" if score.lead_days is None else f", {days(score.lead_days)} ahead"
    return f"  episode {score.episode}: {score.verdict}{lead}. {readable(score.why)}"


# --- what people ask for ------------------------------------------------------------


def _ack(options: argparse.Namespace) -> int:
    from alerts.wording import instant
    from flows.desk import acknowledge

    with open_service() as service:
        decision = acknowledge(service, options.id, by=_by(options))
    incident = _of(decision)
    at = instant(incident.acknowledged_at) if incident.acknowledged_at else ""
    was = "" if decision.says or decision.reason.value == "ACKNOWLEDGED" else " already"
    return _acted(
        options, decision, f"taken on{was} by {incident.acknowledged_by} on {at}: nobody is called"
    )


def _snooze(options: argparse.Namespace) -> int:
    from alerts.wording import instant
    from flows.desk import snooze

    with open_service() as service:
        decision = snooze(service, options.id, _end(options, service), by=_by(options))
    incident = _of(decision)
    until = instant(incident.snoozed_until) if incident.snoozed_until else ""
    word = incident.severity.name.lower()
    rises = "" if word == "critical" else f"; more than {word} wakes it"
    told = f"snoozed until {until}{rises}; what was posted before is told when it ends"
    return _acted(options, decision, told)


def _unsnooze(options: argparse.Namespace) -> int:
    from flows.desk import unsnooze

    with open_service() as service:
        decision = unsnooze(service, options.id, by=_by(options))
    is_woken = decision.reason.value == "WOKEN"
    return _acted(options, decision, "awake again" if is_woken else "was not snoozed")


def _acted(options: argparse.Namespace, decision: "Decision", told: str) -> int:
    from alerts.interactions import with_it
    from alerts.messages import is_replay

    incident = _of(decision)
    lines = [f"{incident.id[:8]}  {incident.reading.headline}", f"          {told}"]
    if others := with_it(decision):
        lines.append(f"          {others.removeprefix(', ')}")
    if decision.says:
        # A look into the past has no scheduled delivery; a drill has that of what is live.
        is_past = is_replay(incident.book)
        date = f" --as-of {incident.book.split()[-1]}" if is_past else ""
        when = "at the latest in five minutes, or now by" if not is_past else "with"
        lines.append(f"          its message says so {when} `lodestone alerts deliver{date}`")
    answer(
        options,
        {
            "reason": decision.reason.value,
            "incident": _listed_object(incident, ""),
            "with_it": decision.with_it,
        },
        lines,
    )
    return FINE


def _of(decision: "Decision") -> "Incident":
    if decision.incident is None:
        message = f"the ledger answered {decision.reason.value} without an incident"
        raise UsageError(message)
    return decision.incident


def _silence(options: argparse.Namespace) -> int:
    if options.ended is None and not options.listed:
        return _add_silence(options)
    given = [*options.labels, options.until, options.span, options.reason]
    if any(one is not None for one in given):
        what = "--list" if options.listed else "--end ID"
        message = f"{what} stands alone: without labels, --until, --for and --reason"
        raise UsageError(message)
    return _list_silences(options) if options.listed else _end_silence(options)


def _add_silence(options: argparse.Namespace) -> int:
    from alerts.wording import instant
    from flows.desk import add_silence, matcher

    with open_service() as service:
        made, open_now = add_silence(
            service,
            options.labels,
            until=_end(options, service),
            reason=options.reason or "",
            by=_by(options),
        )
    count = len(open_now)
    covers = "no open incident now" if not count else f"{count} open {_incidents(count)} now"
    answer(
        options,
        {
            "silence": _silence_object(made),
            "covers": [incident_object(one) for one in open_now],
        },
        [
            f"{made.id[:8]}  {matcher(made)}, until {instant(made.until)}: {made.reason}",
            f"          covers {covers}; nothing new of it is posted, an end is",
            *(f"          {one.severity.name.lower()}: {one.reading.headline}" for one in open_now),
            f"          lodestone alerts silence --end {made.id[:8]} ends it before its time",
        ],
    )
    return FINE


def _end_silence(options: argparse.Namespace) -> int:
    from flows.desk import covered, end_silence, matcher

    with open_service() as service:
        ended = end_silence(service, options.ended)
        count = len(covered(service, ended))
    answer(
        options,
        {"ended": ended.id, "covered": count},
        [
            f"{ended.id[:8]}  {matcher(ended)}: ended",
            f"          {count} open {_incidents(count)} it covered; what is still true is told "
            "when rules are judged next",
        ],
    )
    return FINE


def _list_silences(options: argparse.Namespace) -> int:
    from alerts.wording import instant

    with open_service() as service:
        now = service.clock()
        found = service.ledger.silences()
    lines = []
    for one in found:
        state = "lasts" if one.is_active(now) else "over"
        if one.ended_at is not None and one.ended_at < one.until:
            state = f"ended by hand on {instant(one.ended_at)}"
        lines.append(f"{_silence_line(one)} [{state}]")
    answer(
        options,
        {"silences": [_silence_object(one) | {"lasts": one.is_active(now)} for one in found]},
        lines or ["no silence was ever made"],
    )
    return FINE


def _silence_line(one: "Silence") -> str:
    from alerts.wording import instant, readable
    from flows.desk import matcher

    return (
        f"  {one.id[:8]}  {readable(matcher(one))}, until {instant(one.until)}, "
        f"by {readable(one.author)}: {readable(one.reason)}"
    )


def _silence_object(one: "Silence") -> dict[str, Any]:
    return {
        "id": one.id,
        "match": dict(one.match),
        "until": one.until,
        "reason": one.reason,
        "by": one.author,
        "made_at": one.made_at,
        "ended_at": one.ended_at,
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _incidents(count: int) -> str:
    return "incident" if count == 1 else "incidents"


# --- messages -----------------------------------------------------------------------


def _drill(options: argparse.Namespace) -> int:
    from alerts.rules import Severity
    from flows.desk import drill, leave_drills

    how = {
        "by": _by(options),
        "routes": options.routes,
        "channel": options.channel,
        "severity": Severity[options.severity.upper()],
    }
    with open_service() as service:
        if options.count is not None:
            channel, incidents = leave_drills(service, options.count, **how)
            told = f"{_count(len(incidents), 'drill')} for {channel} in the outbox"
            if service.sender is None:
                told += (
                    "; LODESTONE_SLACK_TOKEN is not set here: they wait for a delivery that has one"
                )
            else:
                told += (
                    ": sent by the next scheduled delivery, or now by `lodestone alerts deliver`"
                )
            answer(
                options,
                {"written": len(incidents), "channel": channel, "incidents": incidents},
                [told],
            )
            return FINE
        results = drill(service, **how)
    answer(
        options,
        {"arrived": all(one.arrived for one in results), "routes": results},
        [
            f"{'ok ' if one.arrived else 'BAD'}  {one.route:<16} {one.channel}: {one.outcome}"
            for one in results
        ],
    )
    return FINE if all(one.arrived for one in results) else UNDELIVERED


def _deliver(options: argparse.Namespace) -> int:
    from flows.delivering import OutboxReport, deliver, keep_delivering
    from flows.launcher import StopFlag
    from flows.moments import moment
    from flows.postroom import open_post_room

    patience = UNTIL_EMPTY_SECONDS if options.until_empty else 0.0
    stop = StopFlag()
    with contextlib.closing(open_post_room(read_settings())) as service, stop.listening():
        at = moment(service, options.as_of, live=False)
        if options.watch:
            if service.sender is None:
                message = "LODESTONE_SLACK_TOKEN is not set: there is nothing to watch for"
                raise SettingsError(message)
            note("delivering; Ctrl-C ends it")
            sent = keep_delivering(service, at, is_stopped=stop.is_set, told=note)
            left = service.ledger.summary(at.book, service.clock())
            report = OutboxReport(sent, left, has_channel=True)
        else:
            report = deliver(service, at, patience_seconds=patience, is_stopped=stop.is_set)
    left = report.left
    more = {
        "dead_charts": left.dead_charts,
        "problems": report.problems,
        "waits": left.waits,
        "lacking": report.lacking,
    }
    answer(
        options,
        {
            "sent": report.sent,
            "pending": left.pending + left.sending,
            "unknown": left.unknown,
            "dead": left.dead,
            "oldest_unsent_seconds": left.oldest_unsent_seconds,
            **{name: value for name, value in more.items() if value},
        },
        report.lines(),
    )
    if left.dead or report.token_problem:
        return UNDELIVERED
    return INTERRUPTED if stop.is_set() and not options.watch else FINE


def _redrive(options: argparse.Namespace) -> int:
    from flows.desk import let_go, redrive

    with open_service() as service:
        if options.drop:
            count = let_go(service, by=_by(options))
            told = f"{count} let go of; they are never sent"
            answer(options, {"dropped": count}, [told if count else "none is DEAD"])
            return FINE
        count = redrive(service)
    answer(
        options,
        {"redriven": count},
        [
            f"{count} back in line; `lodestone alerts deliver` sends them"
            if count
            else "none is DEAD"
        ],
    )
    return FINE
