"""Messages: what a reader is told of an incident, in words, before any channel's format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime
from typing import Any, Self

from alerts.incident import DataState, Incident, Reason, State
from alerts.interactions import Action
from alerts.rules import HEADLINE_LIMIT, Fact, Reading, Severity
from alerts.wording import amount, chance, day, days, month, percent, percent_span, shortened

PAST = "as-of"
"""How the book of a look into the past begins."""

CAPTION_LIMIT = 1000  # what Slack keeps of a picture's alternative text

DRILL = "drill"
"""The type of an incident that only tests whether messages arrive (alerts.drill)."""


@dataclass(frozen=True, slots=True)
class Message:
    """Everything a channel may show, as plain text. Renderers choose the form, never the words."""

    # "root" | "reply" | "notice": of its own, for whoever has to be called | "numbers": for who asked
    kind: str
    label: str  # the severity or the state in a word: "Critical", "Resolved"
    headline: str
    severity: Severity
    state: State
    lead: str
    why_now: str
    facts: tuple[Fact, ...]
    drivers: tuple[str, ...]
    evidence: tuple[str, ...]
    advice: str
    replay: str  # "Replay: as known on 21 Jun 2025", or empty for what is true now
    context: tuple[str, ...]
    links: tuple[tuple[str, str], ...]  # (words, web address)
    beside: tuple[str, ...] = ()  # headlines that are told as part of this one
    mention: str = ""  # who is called by name: "U0123ABCD", "S0123ABCD", "here"; empty: nobody
    incident: str = ""  # id of the incident that its buttons act on
    actions: tuple[Action, ...] = ()  # what its buttons ask for, in the order shown

    def as_dict(self) -> dict[str, Any]:
        """A plain dictionary that JSON can hold; `from_dict` reverses it."""
        return {
            "kind": self.kind,
            "label": self.label,
            "headline": self.headline,
            "severity": self.severity.name,
            "state": self.state.value,
            "lead": self.lead,
            "why_now": self.why_now,
            "facts": [[fact.label, fact.value] for fact in self.facts],
            "drivers": list(self.drivers),
            "evidence": list(self.evidence),
            "advice": self.advice,
            "replay": self.replay,
            "context": list(self.context),
            "links": [list(link) for link in self.links],
            "beside": list(self.beside),
            "mention": self.mention,
            "incident": self.incident,
            "actions": [action.value for action in self.actions],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The message that `as_dict` described; what else an outbox noted beside it is left out."""
        known = {field.name for field in fields(cls)}
        return cls(
            **{
                **{name: value for name, value in data.items() if name in known},
                "severity": Severity[data["severity"]],
                "state": State(data["state"]),
                "facts": tuple(Fact(label, value) for label, value in data["facts"]),
                "drivers": tuple(data["drivers"]),
                "evidence": tuple(data["evidence"]),
                "context": tuple(data["context"]),
                "links": tuple((words, address) for words, address in data["links"]),
                "beside": tuple(data.get("beside", ())),
                "actions": tuple(Action(name) for name in data.get("actions", ())),
            }
        )


def root_message(
    incident: Incident,
    reason: Reason,
    *,
    known_at: datetime,
    book: str,
    links: Sequence[tuple[str, str]] = (),
    since: str = "",
    record: str = "",
    mention: str = "",
) -> Message:
    """The one message of an incident as it stands now; posted once, then edited.

    `since` says what moved the figures since they were said last, `record` how often the rule was right.
    """
    reading = incident.reading
    is_open = incident.state.is_open
    return Message(
        kind="root",
        label=_root_label(incident),
        headline=_headline(incident),
        severity=incident.severity,
        state=incident.state,
        lead=_lead(incident, known_at, book),
        why_now=_why_now(incident, reason),
        facts=reading.facts,
        drivers=(*reading.drivers, *([since] if since and is_open else [])),
        evidence=(*reading.evidence, *([record] if record else [])),
        # Advice on something that is over would be acted upon.
        advice=reading.advice if is_open else "",
        replay=_replay(known_at, book),
        context=_context(incident, known_at, book),
        links=_links(reading, links),
        beside=incident.beside,
        mention=mention if is_open else "",
        incident=incident.id,
        actions=_actions(incident, book),
    )


def transition_reply(
    incident: Incident,
    reason: Reason,
    *,
    known_at: datetime,
    book: str,
    links: Sequence[tuple[str, str]] = (),
    mention: str = "",
) -> Message:
    """The short line under an incident's message that says what has just changed."""
    root = root_message(
        incident, reason, known_at=known_at, book=book, links=links, mention=mention
    )
    # The root message above it, edited at the same time, has the rest.
    return replace(
        root,
        kind="reply",
        label=_reply_label(incident, reason),
        headline=incident.reading.headline,
        beside=(),
        lead=root.lead if incident.episode > 1 or not incident.state.is_open else "",
        facts=root.facts[:3],
        drivers=(),
        evidence=(),
        context=root.context[:1],
        actions=(),
    )


def call_notice(
    incident: Incident,
    reason: Reason,
    *,
    known_at: datetime,
    book: str,
    links: Sequence[tuple[str, str]] = (),
    mention: str = "",
) -> Message:
    """A message of its own for people of another channel: nobody has taken it on, or it has risen."""
    reply = transition_reply(
        incident,
        reason,
        known_at=known_at,
        book=book,
        links=links,
        mention=mention,
    )
    # What to do about its telling is asked where it stands; here it is only taken on.
    wanted = (Action.ACKNOWLEDGE, Action.NUMBERS)
    return replace(
        reply,
        kind="notice",
        advice=incident.reading.advice,
        actions=tuple(one for one in _actions(incident, book) if one in wanted),
    )


def amended_notice(
    incident: Incident,
    reason: Reason,
    *,
    known_at: datetime,
    book: str,
    links: Sequence[tuple[str, str]] = (),
) -> Message:
    """A notice as it should look once the incident has moved on: who has taken it on, or how it stands."""
    notice = call_notice(incident, reason, known_at=known_at, book=book, links=links)
    is_open = incident.state.is_open
    label = _root_label(incident)
    if is_open and incident.acknowledged_at is not None:
        label = "Taken on"
    elif is_open and incident.snoozed_until is not None:
        label = "Snoozed"
    elif incident.called_at is not None and is_open and incident.severity is Severity.CRITICAL:
        label = _reply_label(incident, Reason.UNACKNOWLEDGED)
    return replace(
        notice,
        label=label,
        lead=_lead(incident, known_at, book),
        advice=notice.advice if is_open else "",
    )


def numbers_message(incident: Incident, *, known_at: datetime, book: str) -> Message:
    """Everything that was measured, for one who asked, and nothing that is advised.

    What a channel has no room for, its renderer cuts: Slack's shows nine drivers and nine lines of evidence,
    each part only while there is room, and two hundred characters of a value.
    """
    root = root_message(incident, Reason.UNCHANGED, known_at=known_at, book=book)
    reading = incident.reading
    return replace(
        root,
        kind="numbers",
        headline=reading.headline,
        why_now=reading.standing,
        facts=(*_measured(incident), *reading.facts),
        advice="",
        links=(),
        beside=(),
        actions=(),
    )


def _measured(incident: Incident) -> tuple[Fact, ...]:
    """The measure and what it is held against, as far as the rule's own facts don't say it."""
    reading = incident.reading
    own = {}
    if reading.measured or not reading.standing:
        own["Measure"] = reading.measured or _measure(reading.value, reading.unit)
    if not reading.standing:
        side = "below " if reading.direction == "below" else ""
        own["Limit"] = f"{side}{_measure(reading.limit, reading.unit)}"
    if incident.previous_value is not None and incident.previous_at is not None:
        was = incident.previous_measured or _measure(incident.previous_value, reading.unit)
        own["Before"] = f"{was} ({day(incident.previous_at)})"
    # Of what is over, an end still to come would be untrue.
    own |= _ends(reading) if incident.state.is_open else {}
    if incident.peak > incident.severity:
        own["Highest so far"] = incident.peak.name.lower()
    if incident.episode > 1:
        own["Times opened"] = f"{incident.episode} since {day(incident.opened_at)}"
    said = {fact.label for fact in reading.facts}
    return tuple(Fact(label, value) for label, value in own.items() if label not in said)


def _ends(reading: Reading) -> dict[str, str]:
    """What ends each severity, worst first; severities that one thing ends are named together."""
    names: dict[str, list[str]] = {}
    for severity, words in sorted(reading.exits, reverse=True):
        names.setdefault(words, []).append(severity.name.lower())
    return {
        f"{' and '.join(those).capitalize()} {'ends' if len(those) == 1 else 'end'} when": words
        for words, those in names.items()
    }


def _actions(incident: Incident, book: str) -> tuple[Action, ...]:
    """What may be asked of an incident as it stands; of one that has ended, or lies in the past, its numbers."""
    if not incident.state.is_open or is_replay(book):
        return (Action.NUMBERS,)
    take = () if incident.acknowledged_at is not None else (Action.ACKNOWLEDGE,)
    is_asleep = incident.snoozed_until is not None
    sleep = (Action.UNSNOOZE,) if is_asleep else (Action.SNOOZE_DAY, Action.SNOOZE_WEEK)
    return (*take, *sleep, Action.NUMBERS)


def record_sentence(record: Mapping[str, Any]) -> str:
    """How often a rule was right when it was replayed, with counts and the interval that they allow.

    `record` has the figures of a replay by name, with `first` and `last`, its days as ISO dates. Empty when
    nothing came of it that could be judged.
    """
    first, last = (date.fromisoformat(record[name]) for name in ("first", "last"))
    told = record["hit_episodes"] + record["false_episodes"]
    events, hits = record["events"], record["hits"]
    if not told and not events:
        return ""
    span = f"replayed from {month(first)} to {month(last)}"
    parts = []
    if told:
        low, high = record["precision_interval"]
        parts.append(
            f"it was right {record['hit_episodes']} of {told} times "
            f"(95 % interval {percent_span(low, high)})"
        )
    if events:
        parts.append(f"it announced {hits} of {events} events")
    lead = record["median_lead_days"]
    if lead is not None and hits:
        when = f"{days(lead)} before" if lead >= 0 else f"{days(-lead)} after"
        parts.append(f"in the middle {when} the event began")
    late = record["late_episodes"]
    if late:
        parts.append(f"{late} more came while it lasted")
    return f"This rule, {span}: {', '.join(parts)}."


def chart_caption(incident: Incident, *, known_at: datetime, book: str) -> str:
    """What a picture shows, in words with its number, for readers who can't see it."""
    reading = incident.reading
    pictures = {"series": "Price and forecast", "market": "Supply, demand and shortfall"}
    pictures["volume"] = "Monthly volume and its limit"
    pictures["scorecard"] = "What forecast ranges promised and held, lately and before"
    kind = pictures.get(reading.chart.kind, "Chart") if reading.chart else "Chart"
    through = f" Data through {month(reading.data_through)}." if reading.data_through else ""
    replay = f" {_replay(known_at, book)}." if _replay(known_at, book) else ""
    text = f"{kind}. {reading.headline}. {_measure_sentence(incident)}{through}{replay}"
    return shortened(text, CAPTION_LIMIT)


def is_replay(book: str) -> bool:
    """Whether a book looks into the past: "as-of 2025-06-21". Everything else is what is true now."""
    return book.startswith(PAST)


def _headline(incident: Incident) -> str:
    """The measure; with how many more stand below it, when it speaks for several."""
    headline = incident.reading.headline
    count = len(incident.beside)
    if not count:
        return headline
    more = f" (+ {count} more)" if incident.state.is_open else f" ({count} still open below)"
    return f"{shortened(headline, HEADLINE_LIMIT - len(more))}{more}"


def _root_label(incident: Incident) -> str:
    word = incident.severity.name.capitalize()
    if incident.type == DRILL:
        return "Test"
    match incident.state:
        case State.RECOVERING:
            return f"{word}, easing"
        case State.FIRING if incident.reading.severity is None:
            return f"{word}, easing"
        case State.RESOLVED:
            return "Resolved"
        case State.WITHDRAWN:
            return "Withdrawn"
        case State.EXPIRED:
            return "Expired"
        case _:
            return word


def _reply_label(incident: Incident, reason: Reason) -> str:
    word = incident.severity.name.lower()
    if incident.state is State.RESOLVED:
        return "Resolved"
    if incident.state is State.WITHDRAWN:
        return "Withdrawn"
    if incident.state is State.EXPIRED:
        return "Expired"
    if reason is Reason.UNACKNOWLEDGED:
        return "Nobody has taken this on"
    if reason is Reason.WOKEN:
        easing = incident.state is State.RECOVERING or incident.reading.severity is None
        return f"Snooze over, {'easing' if easing else f'still {_STAYS[incident.severity]}'}"
    if reason is Reason.RENEWED:
        return f"Still {_STAYS[incident.severity]}"
    if reason is Reason.ESCALATED:
        return f"Raised to {word}"
    if reason is Reason.LIMIT_CHANGED:
        return f"Limit changed, now {word}"
    return f"Open again, {word}"


def _lead(incident: Incident, known_at: datetime, book: str) -> str:
    """Where it stands, in a few short sentences."""
    again = ""
    if incident.episode > 1:
        again = f" It has opened {incident.episode} times since {day(incident.opened_at)}."
    if incident.renewals:
        times = "once" if incident.renewals == 1 else f"{incident.renewals} times"
        again += f" It was said again {times}, since it still held when its time was over."
    # A look into the past sees one day: it can't know since when.
    when = f"on {day(known_at)}" if is_replay(book) else ""
    if incident.type == DRILL and incident.state.is_ended:
        return f"Over since {day(incident.changed_at)}: a drill ends by itself."
    match incident.state:
        case State.RESOLVED:
            lasted = (incident.changed_at - incident.since).days
            after = f" after {days(lasted)}" if lasted and not when else ""
            ended = f" {incident.reading.ended}" if incident.reading.ended else ""
            return f"Over {when or f'since {day(incident.changed_at)}'}{after}.{ended}{again}"
        case State.WITHDRAWN:
            return (
                f"Withdrawn on {day(incident.changed_at)}. This says nothing about whether "
                f"the situation is over.{again}"
            )
        case State.EXPIRED if incident.data_state is DataState.FRESH:
            return f"Ended on {day(incident.changed_at)}: the time it spoke of is over.{again}"
        case State.EXPIRED:
            return (
                f"Ended on {day(incident.changed_at)}: the time it spoke of is over, and nothing newer "
                f"could be judged. This says nothing about whether the situation is over.{again}"
            )
        case _:
            until = _until(incident)
            opened = f"Open {when or f'since {day(incident.since)}'}.{again}"
            return " ".join(
                # That it isn't judged comes first: whoever reads no further must not take it for today's.
                part
                for part in (_blind(incident), opened, until, _taken(incident))
                if part
            )


def _blind(incident: Incident) -> str:
    """That it rests on old answers, and why: a reader must not take it for what is true today."""
    if incident.data_state is DataState.FRESH or incident.data_since is None:
        return ""
    why = incident.data_why.rstrip(".")
    return f"Not judged since {day(incident.data_since)}, so it stays as it was: {why}."


def _taken(incident: Incident) -> str:
    """Who has taken it on, or wants to hear no more of it for a while."""
    lines = []
    if incident.acknowledged_at is not None:
        at = incident.acknowledged_at.astimezone(UTC)
        lines.append(f"Taken on by {incident.acknowledged_by} on {day(at)}, {at:%H:%M} UTC.")
    if incident.snoozed_until is not None:
        until = incident.snoozed_until.astimezone(UTC)
        lines.append(f"Snoozed by {incident.snoozed_by} until {day(until)}, {until:%H:%M} UTC.")
    return " ".join(lines)


_STAYS = {Severity.CRITICAL: "critical", Severity.WARNING: "a warning", Severity.INFO: "open"}


def _until(incident: Incident) -> str:
    """What has to happen before it ends, or before it is less than it is."""
    reading = incident.reading
    exits = dict(reading.exits)
    if not exits:
        return ""
    ends = f"It ends when {exits[min(exits)]}."
    if incident.state is State.RECOVERING:
        return "It ends once enough figures in a row confirm that it is clear."
    if reading.severity is not None and reading.severity >= incident.severity:
        return ends
    # The figures alone would be less: say which limit keeps it up, or a reader takes it for a mistake.
    stays = _STAYS[incident.severity]
    held = max((s for s in (reading.severity, reading.holds) if s is not None), default=None)
    if held is not None and held < incident.severity:
        return f"Stays {stays} until the next figures confirm that it is less. {ends}"
    until = exits.get(incident.severity, "")
    if not until or until == exits[min(exits)]:
        return f"Stays {stays} until {exits[min(exits)]}."
    return f"Stays {stays} until {until}. {ends}"


def _why_now(incident: Incident, reason: Reason) -> str:
    """The reason of the decision as a sentence, with the numbers that made it."""
    if incident.type == DRILL:
        return "" if incident.state.is_ended else incident.reading.standing
    now = f"{_measure_sentence(incident)}{_was(incident)}"
    word = incident.severity.name.lower()
    match reason:
        case Reason.OPENED:
            runs = incident.true_runs
            start = "" if runs < 2 else f"Past its limit {runs} times running. "
            return f"{start}{_measure_sentence(incident)}"
        case Reason.ESCALATED:
            return now if incident.previous_at else f"Raised to {word}. {now}"
        case Reason.LOWERED:
            return f"Lowered to {word}. {now}"
        case Reason.RECOVERING:
            return f"Clear for the first time. {now}"
        case Reason.RESOLVED:
            return f"Clear of its limit. {now}"
        case Reason.REOPENED:
            return f"Past its limit again, soon after it had ended. {now}"
        case Reason.LIMIT_CHANGED:
            return f"The rule was changed, so this was judged afresh. {_measure_sentence(incident)}"
        case Reason.WITHDRAWN:
            return "No rule speaks of it any more."
        case Reason.EXPIRED if incident.data_state is DataState.FRESH:
            return f"The time it spoke of is over, and it is no longer past its limit. {now}"
        case Reason.EXPIRED:
            return f"No newer answer came before the end of what it spoke of. Last: {_measure_sentence(incident)}"
        case Reason.RENEWED:
            return f"The time it spoke of is over, and it is still past its limit. {now}"
        case Reason.EVAL_ERROR:
            return f"Its rule failed; operators were told. Last: {_measure_sentence(incident)}"
        case Reason.RELEASED:
            return f"It was held back until now. {now}"
        case Reason.WOKEN:
            return f"The snooze is over and it is still open. {now}"
        case Reason.UNACKNOWLEDGED:
            told = f" since it was posted on {day(incident.told_at)}" if incident.told_at else ""
            return f"Nobody has taken it on{told}. {now}"
        case Reason.UPDATED:
            still = _STILL.get(incident.type) if incident.reading.severity is not None else None
            return f"{still or 'New figures'}. {now}"
        case _:
            return _measure_sentence(incident)


# A source that stays silent has brought nothing new, and a message is no figure.
_STILL = {"stale_source": "Still no newer figure", "undelivered": "Still stuck"}


def _was(incident: Incident) -> str:
    """What was measured before, in the words of that time: what it was measured against may have moved."""
    if incident.previous_value is None or incident.previous_at is None:
        return ""
    was = incident.previous_measured or _measure(incident.previous_value, incident.reading.unit)
    return f" On {day(incident.previous_at)} it was {was}."


def _measure_sentence(incident: Incident) -> str:
    """The measure and its limit: in the rule's own words when it gave them."""
    reading = incident.reading
    if reading.standing:
        return reading.standing
    side = "below " if reading.direction == "below" else ""
    value, limit = _measure(reading.value, reading.unit), _measure(reading.limit, reading.unit)
    return f"Now {value}; the limit is {side}{limit}."


def _measure(value: float, unit: str) -> str:
    """A measure whose rule gave no words for it; the shares and chances among them are 0–1."""
    if unit.startswith("of "):
        return f"{percent(value)} {unit}"
    match unit:
        case "chance":
            return f"a {chance(value)} chance"
        case "days":
            return days(value)
        case _:
            return amount(value, unit)


def _replay(known_at: datetime, book: str) -> str:
    return f"Replay: as known on {day(known_at)}" if is_replay(book) else ""


def _context(incident: Incident, known_at: datetime, book: str) -> tuple[str, ...]:
    instant = known_at.astimezone(UTC)
    lines = [f"As known on {day(instant)}, {instant:%H:%M} UTC"]
    if incident.reading.data_through is not None:
        lines.append(f"Data through {month(incident.reading.data_through)}")
    lines.append(f"Rule: {incident.rule}")
    if incident.reading.owner:
        lines.append(f"Owner: {incident.reading.owner}")
    if is_replay(book):
        lines.append("Not a live alert")
    if incident.type == DRILL:
        lines.append("Not an alert")
    return tuple(lines)


def _links(reading: Reading, links: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    runbook = (("What to do", reading.runbook),) if reading.runbook else ()
    return (*links, *runbook)
