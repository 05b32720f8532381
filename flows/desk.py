"""What people ask of alerts: take one on, snooze it, silence some, try whether messages arrive, keep a rule's record."""

import difflib
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from alerts import telling
from alerts.drill import drill_book, drill_message, drill_reading
from alerts.incident import Decision, Incident, Reason
from alerts.ledger import EntryKind, Judgement, NewEntry, OutboxEntry, OutboxState
from alerts.messages import DRILL, Message, is_replay, numbers_message
from alerts.routing import Route, route_of
from alerts.rules import DEFAULT_OPTIONS, Reading, Severity
from alerts.silences import Silence, parse_matcher
from alerts.wording import day, instant
from flows import steps
from flows.errors import SettingsError, UsageError, require_known
from flows.known import RAISE_STEP
from flows.replay.result import ReplayResult
from flows.service import LIVE_BOOK, Moment, Service
from flows.storage.interactions import Settling
from flows.storage.ledger import Transition
from flows.telling import desk_of, teller

LONGEST = timedelta(days=366)
"""How long a snooze or a silence may last: one that nobody remembers hides the next crisis."""

NAME_LIMIT = 120
"""Characters of a name that the database keeps."""

IDS_NAMED = 5
"""Incidents that an error lists when the first characters of an id fit several."""

DRILLS_LAST = timedelta(days=1)
"""How long counted drills may take to arrive, and can be acknowledged."""

DRILL_PATIENCE_SECONDS = 30.0
"""How long a drill waits, beside the time in which an unclear answer may still turn up."""


# --- incidents ---------------------------------------------------------------------


def incident_of(service: Service, key: str) -> Incident:
    """The incident of that id, or of its first characters; raises UsageError for none or several."""
    found = service.ledger.incident(key)
    if found is not None:
        return found
    known = service.ledger.incidents(LIVE_BOOK)
    several = [one for one in known if key and one.id.startswith(key)]
    if len(several) > 1:
        named = "; ".join(f"{one.id[:13]} {one.reading.headline}" for one in several[:IDS_NAMED])
        message = (
            f"{len(several)} incidents begin with {key!r}; give more characters of the id ({named})"
        )
        raise UsageError(message)
    begins = {one.id[: max(len(key), 8)]: one for one in known}
    near = difflib.get_close_matches(key, begins, n=1)
    hint = (
        f"did you mean {near[0]} ({begins[near[0]].reading.headline})?"
        if near
        else "`lodestone alerts list --all` shows them"
    )
    message = f"there is no incident {key!r}; {hint}"
    raise UsageError(message)


def acknowledge(service: Service, key: str, *, by: str, press: Settling | None = None) -> Decision:
    """Someone takes an incident on, and what is told in its thread: nobody else is called.

    UNCHANGED when somebody has already; otherwise `with_it` says how many others went with it.

    Raises UsageError for an incident that nobody knows, that has ended, or that nobody was told of. The
    `press` that asked for it, if it was a button, is settled with it; AlreadySettledError: it was before.
    """
    by = _name(by)
    change = partial(telling.acknowledge, by=by, now=service.clock())
    return _act(service, key, change, f"by {by}", "acknowledged", press)


def snooze(
    service: Service, key: str, until: datetime, *, by: str, press: Settling | None = None
) -> Decision:
    """Nothing new of an incident is posted until then; a higher severity wakes it. Raises UsageError.

    Asked for by a `press`, it never shortens a longer snooze: a button is too easily pressed on an old look
    of a message.
    """
    by, now = _name(by), service.clock()
    require_until(until, now)
    change = partial(telling.snooze, by=by, until=until, now=now, may_shorten=press is None)
    return _act(service, key, change, f"by {by}, until {instant(until)}", "snoozed", press)


def unsnooze(service: Service, key: str, *, by: str, press: Settling | None = None) -> Decision:
    """Awake again before its time; UNCHANGED when it wasn't snoozed. Raises UsageError."""
    by = _name(by)
    change = partial(telling.unsnooze, now=service.clock())
    return _act(service, key, change, f"by {by}", "woken", press)


def numbers(service: Service, key: str) -> Message:
    """Everything that was measured of an incident, as it stands now. Raises UsageError for one nobody knows."""
    incident = incident_of(service, key)
    known_at = incident.reading_at or incident.changed_at
    return numbers_message(incident, known_at=known_at, book=incident.book)


def _act(
    service: Service,
    key: str,
    change: Callable[[Incident], Decision],
    note: str,
    what: str,
    press: Settling | None,
) -> Decision:
    incident = incident_of(service, key)
    _require_open(incident, what)
    now = service.clock()
    # A look into the past stays one: its message keeps the day that it speaks of.
    is_live = incident.book == LIVE_BOOK
    known_at = now if is_live else incident.reading_at or incident.changed_at
    at = Moment(known_at, incident.book, live=False)
    tell = teller(service, at, _last_run(service, at.book), None, draws=False)
    decision = service.ledger.act(
        incident.id,
        change,
        note=note,
        now=now,
        compose=tell.entries,
        written_at=now,
        desk=desk_of(service),
        press=press,
    )
    if decision.reason is Reason.UNCHANGED and decision.incident is not None:
        _require_open(decision.incident, what)  # it may have ended since it was read
    return decision


def _last_run(service: Service, book: str) -> str:
    """The run that judged rules last: messages keep their link to it."""
    for run in service.runs.latest(book, limit=50):
        if any(step.name == RAISE_STEP for step in run.steps):
            return run.run_id
    return ""


def _require_open(incident: Incident, what: str) -> None:
    if incident.state.is_open:
        return
    if incident.state.is_ended:
        how = incident.state.value.lower()
        why = f"it ended on {day(incident.changed_at)} ({how})"
    else:
        why = "nobody was told of it yet: its limit has not been crossed often enough"
    message = f"incident {incident.id[:13]} ({incident.reading.headline}) can't be {what}: {why}"
    raise UsageError(message)


def told_where(service: Service, incidents: Iterable[Incident]) -> dict[str, str]:
    """By id, in words: in which channel an incident stands, or what keeps its message; empty for one held back."""
    wanted = {one.id: one for one in incidents}
    roots: dict[str, OutboxEntry] = {}
    for book in dict.fromkeys(one.book for one in wanted.values()):
        for entry in service.ledger.entries(book):
            if entry.kind is EntryKind.ROOT and entry.incident_id in wanted:
                roots[entry.incident_id] = entry
    now = service.clock()
    return {key: _told(one, roots.get(key), now) for key, one in wanted.items()}


def _told(incident: Incident, root: OutboxEntry | None, now: datetime) -> str:
    if root is None:
        # Why it is held back is said with the incident itself.
        return "" if incident.held else "not told"
    place = root.channel
    if incident.leader:
        place += f", in the thread of {incident.leader[:8]}"
    match root.state:
        case OutboxState.SENT:
            return f"told in {place}"
        case OutboxState.DEAD:
            return f"given up for {place}: {root.error}"
        case OutboxState.SKIPPED:
            return f"not shown in {place}: {root.error}"
        case OutboxState.PENDING if root.not_before > now:
            return f"waits for {place} until {instant(root.not_before)}"
        case OutboxState.PENDING:
            return f"waits in the outbox for {place}"
        case _:
            return f"unclear whether it arrived in {place}"


def steps_of(
    service: Service, decisions: Iterable[Decision], at: Moment
) -> tuple[tuple[Incident, Transition], ...]:
    """What the judging of a moment changed: each incident with its newest step, worst first."""
    found = []
    for decision in decisions:
        incident = decision.incident
        if incident is None or decision.reason in _UNMOVED:
            continue
        taken = service.ledger.transitions(incident.id)
        if taken and taken[-1].at == at.known_at:
            found.append((incident, taken[-1]))
    return tuple(sorted(found, key=lambda one: (-one[0].severity, one[0].opened_at, one[0].id)))


_UNMOVED = frozenset(
    {Reason.UNCHANGED, Reason.STILL_QUIET, Reason.ALREADY_EVALUATED, Reason.KEPT_LAST}
)


# --- silences ----------------------------------------------------------------------


def label_values(service: Service) -> Mapping[str, frozenset[str]]:
    """Values of each label as far as they are known: of rules and catalogue, and of what is open now."""
    found = {label: set(values) for label, values in service.ruleset.labels.items()}
    for one in service.ledger.open_incidents(LIVE_BOOK):
        for label, value in one.labelled().items():
            # A label of which no value is known takes any; one known value must not forbid the others.
            if label not in found:
                found[label] = set()
            elif found[label]:
                found[label].add(value)
    return {label: frozenset(values) for label, values in found.items()}


def add_silence(
    service: Service, words: Sequence[str], *, until: datetime, reason: str, by: str
) -> tuple[Silence, tuple[Incident, ...]]:
    """Keep a silence; with the open incidents that it covers now.

    `words` are label=value, all of which have to fit. Raises MatcherError for a label or value that nobody
    has, UsageError for a time that has passed or is too far away, or no reason.
    """
    now = service.clock()
    by = _name(by)
    require_until(until, now)
    reason = " ".join(reason.split())
    if not reason:
        message = "a silence needs a reason (--reason TEXT): whoever misses an alert will ask"
        raise UsageError(message)
    match = parse_matcher(words, label_values(service))
    made = Silence(str(uuid.uuid4()), match, until, reason, by, now)
    service.ledger.add_silence(made)
    return made, covered(service, made)


def covered(service: Service, silence: Silence) -> tuple[Incident, ...]:
    """Open incidents whose labels fit a silence."""
    found = service.ledger.open_incidents(LIVE_BOOK)
    return tuple(one for one in found if silence.matches(one.labelled()))


def end_silence(service: Service, key: str) -> Silence:
    """End a silence before its time, by its id or the first characters of it; raises UsageError."""
    now = service.clock()
    every = service.ledger.silences()
    mine = [one for one in every if key and one.id.startswith(key)]
    lasting = [one for one in mine if one.is_active(now)]
    if len(lasting) == 1 and service.ledger.end_silence(lasting[0].id, now):
        return lasting[0]
    if len(lasting) > 1:
        named = "; ".join(f"{one.id[:13]} {matcher(one)}" for one in lasting[:IDS_NAMED])
        message = f"{len(lasting)} silences begin with {key!r}; give more characters ({named})"
    elif mine:
        message = f"the silence {key!r} ({matcher(mine[0])}) does not last any more"
    else:
        last = [one.id[:8] for one in every if one.is_active(now)]
        near = difflib.get_close_matches(key[:8], last, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"those that last: {_listed(last)}"
        message = f"there is no silence {key!r}; {hint}"
    raise UsageError(message)


def matcher(silence: Silence) -> str:
    """What a silence covers, as it is typed: "market=india-ndfeb severity=warning"."""
    return " ".join(f"{label}={value}" for label, value in silence.match)


def require_until(until: datetime, now: datetime) -> None:
    """Raise UsageError for an end that has passed, or is more than a year away."""
    if until <= now:
        message = f"{instant(until)} has passed (it is {instant(now)}); give a later end"
        raise UsageError(message)
    if until - now > LONGEST:
        message = (
            f"{instant(until)} is more than {LONGEST.days} days away; give an earlier end, and switch "
            "a rule that nobody needs off in the rule file (enabled = false)"
        )
        raise UsageError(message)


def _name(by: str) -> str:
    """Who asks, on one line; raises UsageError for nobody and for what can't be kept."""
    name = " ".join(by.split())
    if not name:
        message = "say who asks: --by NAME (there is no login name here)"
        raise UsageError(message)
    if len(name) > NAME_LIMIT:
        message = f"--by: {len(name)} characters; {NAME_LIMIT} are kept"
        raise UsageError(message)
    return name


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


# --- drills ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DrillResult:
    """What became of one drill message."""

    route: str
    channel: str  # as the route says it: a name or an id
    arrived: bool
    outcome: str  # in words: where it stands, or why it does not
    ts: str = ""  # Slack's name of the message, once it stands


def drill(
    service: Service,
    *,
    by: str,
    routes: Sequence[str] = (),
    channel: str = "",
    severity: Severity = Severity.INFO,
) -> tuple[DrillResult, ...]:
    """Send a message that says nothing has happened to each route, the way an alert goes, and wait for it.

    `routes` are names, all when empty; with `channel` one message to that channel instead. What has not
    arrived in time is given up: a drill that comes tomorrow would frighten people. Raises SettingsError
    without a Slack token, UsageError for a route that nobody defined.
    """
    by = _name(by)
    if service.sender is None:
        message = (
            "LODESTONE_SLACK_TOKEN is not set: nothing can be posted, so there is nothing to try"
        )
        raise SettingsError(message)
    chosen = _drilled(service, routes, channel)
    began = service.clock()
    book = drill_book(began)
    readings = [drill_reading(route, book, place, severity=severity) for route, place in chosen]
    keys = _announce(service, book, readings, chosen, by, began)
    patience = DRILL_PATIENCE_SECONDS + service.settings.slack_reconcile_seconds
    steps.deliver(
        service,
        Moment(began, book, live=False),
        patience_seconds=patience,
        longest_seconds=patience,
    )
    roots = {entry.incident_id: entry for entry in service.ledger.entries(book)}
    results = [_result(route, roots[key]) for (route, _), key in zip(chosen, keys, strict=True)]
    service.ledger.give_up(book, "a drill that was not sent in time", service.clock())
    for key in keys:
        # Its story is over, and nobody has to be told so.
        service.ledger.withdraw(key, now=service.clock(), compose=lambda _decision: ())
    return tuple(results)


def leave_drills(
    service: Service,
    count: int,
    *,
    by: str,
    routes: Sequence[str] = (),
    channel: str = "",
    severity: Severity = Severity.INFO,
) -> tuple[str, tuple[str, ...]]:
    """Write `count` drills in one transaction and leave them to the delivery; their channel and incident ids.

    They go to one channel: `channel`, or that of the one route named, or where an alert of that severity
    goes. Each is an open incident with buttons, in a book of its own. Raises UsageError for more than one
    route or one that nobody defined.
    """
    by = _name(by)
    if len(routes) > 1:
        message = "counted drills go to one channel: give one --route, or --channel"
        raise UsageError(message)
    if not routes and not channel:
        labels = {"type": DRILL, "severity": severity.name.lower()}
        routes = [route_of("", DRILL, labels, service.ruleset.routes).name]
    ((route, place),) = _drilled(service, routes, channel)
    began = service.clock()
    book = drill_book(began)
    has_buttons = service.settings.slack_buttons
    one = partial(drill_reading, count=count, severity=severity, has_buttons=has_buttons)
    readings = [one(route, book, place, number=number) for number in range(1, count + 1)]
    chosen = [(route, place)] * count
    return place, _announce(service, book, readings, chosen, by, began, has_buttons=has_buttons)


def end_old_drills(service: Service) -> int:
    """Give up what is left of drills from the day before and earlier, and end them; says how many there were.

    A drill that comes days later would frighten people, and one that lasts for ever answers no question.
    """
    now = service.clock()
    before = drill_book(now - DRILLS_LAST)
    books = [book for book in service.ledger.books_open(f"{DRILL} ") if book < before]
    for book in books:
        service.ledger.give_up(book, "a drill that was not sent in time", now)
        for one in service.ledger.open_incidents(book):
            service.ledger.withdraw(one.id, now=now, compose=lambda _decision: ())
    return len(books)


def _drilled(service: Service, routes: Sequence[str], channel: str) -> list[tuple[Route, str]]:
    """Routes with the channels to try; raises UsageError."""
    if channel and routes:
        message = "a drill goes to routes or to one channel, not to both"
        raise UsageError(message)
    if channel:
        return [(Route("none (a channel by hand)", channel), channel)]
    known = service.ruleset.routes
    require_known("route", routes, known)
    trial = service.settings.slack_channel
    return [(known[name], trial or known[name].channel) for name in routes or known]


def _announce(
    service: Service,
    book: str,
    readings: Sequence[Reading],
    chosen: Sequence[tuple[Route, str]],
    by: str,
    now: datetime,
    *,
    has_buttons: bool = False,
) -> tuple[str, ...]:
    """Write drills into the outbox, each to its route's channel; the ids of their incidents, in order."""
    where = {one.fingerprint: place for one, place in zip(readings, chosen, strict=True)}

    def compose(decision: Decision) -> Sequence[NewEntry]:
        incident = decision.incident
        if incident is None:
            return ()
        route, place = where[incident.fingerprint]
        message = drill_message(
            route,
            place,
            by=by,
            at=now,
            number=round(incident.reading.value),
            count=round(incident.reading.limit),
            severity=incident.severity,
            incident=incident.id if has_buttons else "",
        )
        return (NewEntry(EntryKind.ROOT, route.name, place, message.as_dict()),)

    decisions = service.ledger.judge(
        book,
        [Judgement(reading, DEFAULT_OPTIONS) for reading in readings],
        now=now,
        compose=compose,
    )
    return tuple(one.incident.id for one in decisions if one.incident is not None)


def _result(route: Route, entry: OutboxEntry) -> DrillResult:
    told = partial(DrillResult, route.name, entry.channel)
    match entry.state:
        case OutboxState.SENT:
            ts = entry.receipt.ts if entry.receipt else ""
            where = entry.receipt.channel_id if entry.receipt else entry.channel
            return told(True, f"arrived in {entry.channel}" + _also(where, entry.channel), ts)
        case OutboxState.DEAD | OutboxState.SKIPPED:
            return told(False, f"refused: {entry.error}")
        case OutboxState.PENDING:
            why = f" ({entry.error})" if entry.error else ""
            return told(False, f"not sent in time{why}; given up")
        case _:
            why = f" ({entry.error})" if entry.error else ""
            return told(False, f"unclear whether it arrived{why}; look into the channel")


def _also(channel_id: str, channel: str) -> str:
    return "" if channel_id == channel else f" ({channel_id})"


def redrive(service: Service) -> int:
    """Put what was given up back in line, to where its route leads now; says how many."""
    trial = service.settings.slack_channel
    channels = {one.name: trial or one.channel for one in service.ruleset.routes.values()}
    return service.ledger.redrive(channels=channels)


def let_go(service: Service, *, by: str) -> int:
    """Let go of what was given up, for good, whoever asks; says how many."""
    return service.ledger.let_go(f"let go of by {_name(by)}", service.clock())


def waiting_replays(service: Service) -> int:
    """Messages of looks into the past that no scheduled delivery sends."""
    unsettled = (OutboxState.PENDING, OutboxState.SENDING, OutboxState.UNKNOWN)
    found = service.ledger.entries(states=unsettled)
    return sum(1 for entry in found if is_replay(entry.book))


# --- records -----------------------------------------------------------------------


def keep_records(service: Service, result: ReplayResult, *, first: date, last: date) -> int:
    """Keep how often each configured rule was right in a replay, for its messages; says for how many.

    A record belongs to the version of the rule that is configured now; one of more days stays, or a trial
    over a month would take the place of ten years. Rules whose truth nobody publishes, and rules that were
    left out, have none.
    """
    before = service.ledger.records()
    span = {"first": first.isoformat(), "last": last.isoformat()}
    kept = 0
    for rule in service.ruleset.rules:
        quality = result.rules.get(rule.name)
        if quality is None or rule.name in result.without_truth:
            continue
        known = before.get((rule.name, rule.version))
        if known is not None and _days(known) > (last - first).days:
            continue
        record = {**quality.as_dict(), **span}
        service.ledger.keep_record(rule.name, rule.version, record, service.clock())
        kept += 1
    return kept


def _days(record: Mapping[str, Any]) -> int:
    """How long the replay was that a record comes from."""
    first, last = (date.fromisoformat(record[name]) for name in ("first", "last"))
    return (last - first).days
