"""What is posted of an incident and what is only edited in: holds, snoozes, acknowledgements, calls."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.incident import Decision, Incident, Reason, State
from alerts.rules import Severity


@dataclass(frozen=True, slots=True)
class Around:
    """What bears on whether something is posted, not on what is true.

    `held` says in words why nothing new may be posted (a silence, an alert that explains this one); empty:
    it may. `call_after` is how long a critical may stand unacknowledged before someone else is called.
    """

    held: str = ""
    held_by: str = ""  # id of the incident that explains it
    call_after: timedelta | None = None


FREELY = Around()


def told(
    reason: Reason,
    after: Incident,
    now: datetime,
    cooldown: timedelta,
    around: Around,
    before: Incident | None = None,
) -> Decision:
    """The decision, with what a reader sees of it; `before` is given when there may be nothing to see.

    An end is told whatever holds it back: it is short, and the last post would stay untrue.
    """
    held = (around.held, around.held_by) if around.held and after.state.is_open else ("", "")
    if held != (after.held, after.held_by):
        after = replace(after, held=held[0], held_by=held[1])
    if after.told_state is None:
        return _first(reason, after, now, around)
    says = before is None or before.state is not after.state or shown(before) != shown(after)
    if reason is Reason.UPDATED and not says:
        reason = Reason.UNCHANGED
    wakes = _wakes(after, now)
    if wakes:
        after = awake(after)
        if reason in {Reason.UPDATED, Reason.UNCHANGED}:
            reason, says = Reason.WOKEN, True
    replies = reason is Reason.RENEWED or _is_worth_a_reply(reason, after, now, cooldown)
    if after.state.is_open:
        is_quiet = bool(around.held) or after.snoozed_until is not None
        replies = (replies or (wakes and after.told_state is State.FIRING)) and not is_quiet
        if reason is Reason.RENEWED and not replies:
            # It stays due: the claim that readers know is the old one.
            reason = Reason.UPDATED if says else Reason.UNCHANGED
        elif replies and reason in {Reason.UPDATED, Reason.UNCHANGED}:
            reason = Reason.ESCALATED if after.severity > after.peak else Reason.REOPENED
            says = True
    calls = not replies and _is_call_due(after, now, around)
    if replies:
        after = replace(
            after,
            told_state=State.FIRING if after.state.is_open else after.state,
            told_at=now,
            peak=max(after.peak, after.severity),
            claim_ends_on=after.reading.ends_on,
            renewals=after.renewals + (reason is Reason.RENEWED),
        )
    if calls:
        after = replace(after, called_at=now)
        if reason in {Reason.UPDATED, Reason.UNCHANGED}:
            reason = Reason.UNACKNOWLEDGED
        says = True
    if says:
        after = replace(after, revision=after.revision + 1)
    return Decision(reason, after, says=says, replies=replies, calls=calls)


def acknowledge(incident: Incident, by: str, *, now: datetime) -> Decision:
    """Someone has taken it on: nobody else is called. A second one changes nothing."""
    if not incident.state.is_open or incident.acknowledged_at is not None:
        return Decision(Reason.UNCHANGED, incident)
    taken = replace(incident, acknowledged_by=by, acknowledged_at=now)
    return _noted(Reason.ACKNOWLEDGED, taken)


def snooze(
    incident: Incident, by: str, until: datetime, *, now: datetime, may_shorten: bool = True
) -> Decision:
    """Post nothing of it until then; a higher severity wakes it, and an end is told.

    Unless it `may_shorten` it, a snooze that lasts longer stays as it is.
    """
    if not incident.state.is_open or until <= now:
        return Decision(Reason.UNCHANGED, incident)
    if not may_shorten and incident.snoozed_until is not None and incident.snoozed_until >= until:
        return Decision(Reason.UNCHANGED, incident)
    asleep = replace(incident, snoozed_by=by, snoozed_until=until, snoozed_at=incident.severity)
    return _noted(Reason.SNOOZED, asleep)


def unsnooze(incident: Incident, *, now: datetime) -> Decision:
    """Awake again before its time."""
    if incident.snoozed_until is None:
        return Decision(Reason.UNCHANGED, incident)
    return _noted(Reason.WOKEN, awake(incident))


def still_calls(incident: Incident, severity: Severity) -> bool:
    """Whether people who were to hear of it at that severity still have to."""
    is_quiet = bool(incident.held) or incident.snoozed_until is not None
    is_due = incident.state.is_open and incident.severity >= severity and not is_quiet
    return is_due and incident.acknowledged_at is None


def awake(incident: Incident) -> Incident:
    """The incident without its snooze."""
    return replace(incident, snoozed_by="", snoozed_until=None, snoozed_at=None)


def told_by_root(incident: Incident) -> Incident:
    """The same where its message has still to be posted: as it stands then is the last that readers hear."""
    return replace(incident, told_state=State.FIRING if incident.state.is_open else incident.state)


def beside(decision: Decision, headlines: tuple[str, ...]) -> Decision:
    """The same, with what is told as part of it; a reader sees the difference."""
    incident = decision.incident
    if incident is None or incident.beside == headlines:
        return decision
    changed = replace(incident, beside=headlines)
    if incident.told_state is None or decision.says:
        return replace(decision, incident=changed)
    quiet = {Reason.UNCHANGED, Reason.ALREADY_EVALUATED, Reason.KEPT_LAST}
    reason = Reason.UPDATED if decision.reason in quiet else decision.reason
    changed = replace(changed, revision=changed.revision + 1)
    return replace(decision, reason=reason, incident=changed, says=True)


def _noted(reason: Reason, after: Incident) -> Decision:
    """A change that is edited in, not posted: whoever asked for it knows."""
    if after.told_state is None:
        return Decision(reason, after)
    return Decision(reason, replace(after, revision=after.revision + 1), says=True)


def _first(reason: Reason, after: Incident, now: datetime, around: Around) -> Decision:
    """Nothing of it was ever posted: the root message is itself the telling, no reply goes under it."""
    if not after.state.is_open or around.held:
        if reason is Reason.UPDATED:
            reason = Reason.UNCHANGED
        return Decision(reason, after)
    if after.snoozed_until is not None and not _wakes(after, now):
        return Decision(reason, after)
    if reason in {Reason.UPDATED, Reason.UNCHANGED}:
        reason = Reason.RELEASED
    first = replace(
        awake(after),
        revision=after.revision + 1,
        peak=max(after.peak, after.severity),
        told_state=State.FIRING,
        told_at=now,
        claim_ends_on=after.reading.ends_on,
    )
    return Decision(reason, first, says=True)


def _wakes(incident: Incident, now: datetime) -> bool:
    if incident.snoozed_until is None or not incident.state.is_open:
        return False
    is_higher = incident.snoozed_at is not None and incident.severity > incident.snoozed_at
    return is_higher or now >= incident.snoozed_until


def _is_worth_a_reply(reason: Reason, after: Incident, now: datetime, cooldown: timedelta) -> bool:
    """Whether to post, not only edit: few posts, but never leave the last post untrue for long.

    An end is told when the last post said "open"; a new height always. A return to critical after an
    end was told is always told: people must act. A milder return within the cooldown is only edited into
    the root message, and told once the cooldown has passed since the last post: so a warning that goes
    back and forth costs two posts, however often it happens.
    """
    if not after.state.is_open:
        return after.told_state is State.FIRING
    if after.severity > after.peak:
        return True
    quiet = after.told_at is None or now - after.told_at >= cooldown
    if after.told_state is State.FIRING:
        # A height that was told once, and lies far back, is news again.
        return quiet and reason is Reason.ESCALATED
    return quiet or after.severity is Severity.CRITICAL


def _is_call_due(incident: Incident, now: datetime, around: Around) -> bool:
    """A critical that nobody has taken on for too long since it was posted, or rose: once for each rise."""
    if around.call_after is None or around.held or incident.snoozed_until is not None:
        return False
    waits = (
        incident.state is State.FIRING
        and incident.severity is Severity.CRITICAL
        and incident.told_state is State.FIRING
        and incident.acknowledged_at is None
        and incident.called_at is None
    )
    if not waits or incident.told_at is None:
        return False
    return now - max(incident.told_at, incident.changed_at) >= around.call_after


def shown(incident: Incident) -> tuple[object, ...]:
    """What a reader sees of an incident beside its state: a difference is worth an edit."""
    reading = incident.reading
    return (
        incident.severity,
        incident.route,
        incident.data_state,
        incident.acknowledged_by,
        incident.snoozed_until,
        incident.beside,
        reading.headline,
        reading.facts,
        reading.drivers,
        reading.advice,
        reading.owner,
        reading.runbook,
    )
