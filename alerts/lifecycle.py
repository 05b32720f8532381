"""The life of an incident: compares what was last said with what is true now, and names the reason."""

import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from alerts.rules import NotEvaluated, Reading, RuleOptions, Severity

_NAMESPACE = uuid.UUID("5b0c4d8e-6a0f-5f0e-9d6e-0d1f2c9a7b31")


class State(enum.StrEnum):
    """Where an incident stands. PENDING has not been said to anyone yet."""

    PENDING = "PENDING"
    FIRING = "FIRING"
    RECOVERING = "RECOVERING"
    RESOLVED = "RESOLVED"
    WITHDRAWN = "WITHDRAWN"

    @property
    def is_open(self) -> bool:
        """Whether a reader should still reckon with it."""
        return self in {State.FIRING, State.RECOVERING}


class Reason(enum.StrEnum):
    """Why a decision came out as it did: stored, logged and shown as "why now"."""

    OPENED = "OPENED"
    PENDING = "PENDING"  # crossed, but not often enough in a row
    ESCALATED = "ESCALATED"
    LOWERED = "LOWERED"  # still crossed, at a lower severity, after the clear rule
    UPDATED = "UPDATED"  # same severity, new numbers
    UNCHANGED = "UNCHANGED"
    STILL_QUIET = "STILL_QUIET"
    RECOVERING = "RECOVERING"
    RESOLVED = "RESOLVED"
    REOPENED = "REOPENED"
    KEPT_LAST = "KEPT_LAST"  # could not be evaluated
    ALREADY_EVALUATED = "ALREADY_EVALUATED"
    WITHDRAWN = "WITHDRAWN"  # its rule is gone
    LIMIT_CHANGED = "LIMIT_CHANGED"

    @property
    def brings_a_picture(self) -> bool:
        """Whether the thread gets a chart: at every turn it would only push the words away."""
        return self in {Reason.OPENED, Reason.REOPENED, Reason.ESCALATED}


@dataclass(frozen=True, slots=True)
class Incident:
    """The life of one signal. `reading` is the last one; `told_*` is what the last post told a reader."""

    id: str
    book: str
    fingerprint: str
    rule: str
    rule_version: str
    type: str
    route: str
    subject: str
    subject_title: str
    severity: Severity
    state: State
    opened_at: datetime
    changed_at: datetime  # when state or severity last changed
    since: datetime  # when the present episode began to fire
    episode: int  # times it has fired; 0 = never shown to anyone
    revision: int  # times that a reader would see a change
    true_runs: int
    clear_runs: int
    reading: Reading
    lower_runs: int = 0  # evaluations in a row that would allow a lower severity
    previous_value: float | None = None  # the measure before the last visible change
    previous_measured: str = ""  # the same in words, with what it was measured against
    previous_at: datetime | None = None
    reading_at: datetime | None = None  # the moment that `reading` speaks of
    read_at: datetime | None = (
        None  # the last moment judged; after an end it goes on, `reading` stays
    )
    peak: Severity = Severity.INFO  # highest severity ever told
    told_state: State | None = None
    told_at: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """A plain dictionary that JSON can hold; `from_dict` reverses it."""
        return {
            "id": self.id,
            "book": self.book,
            "fingerprint": self.fingerprint,
            "rule": self.rule,
            "rule_version": self.rule_version,
            "type": self.type,
            "route": self.route,
            "subject": self.subject,
            "subject_title": self.subject_title,
            "severity": self.severity.name,
            "state": self.state.value,
            "opened_at": self.opened_at.isoformat(),
            "changed_at": self.changed_at.isoformat(),
            "since": self.since.isoformat(),
            "episode": self.episode,
            "revision": self.revision,
            "true_runs": self.true_runs,
            "clear_runs": self.clear_runs,
            "lower_runs": self.lower_runs,
            "reading": self.reading.as_dict(),
            "previous_value": self.previous_value,
            "previous_measured": self.previous_measured,
            "previous_at": _instant_text(self.previous_at),
            "reading_at": _instant_text(self.reading_at),
            "read_at": _instant_text(self.read_at),
            "peak": self.peak.name,
            "told_state": self.told_state.value if self.told_state else None,
            "told_at": _instant_text(self.told_at),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The incident that `as_dict` described."""
        return cls(
            **{
                **data,
                "severity": Severity[data["severity"]],
                "state": State(data["state"]),
                "opened_at": datetime.fromisoformat(data["opened_at"]),
                "changed_at": datetime.fromisoformat(data["changed_at"]),
                "since": datetime.fromisoformat(data["since"]),
                "reading": Reading.from_dict(data["reading"]),
                "previous_at": _instant(data["previous_at"]),
                # Incidents written before the two were told apart have one moment for both.
                "reading_at": _instant(data.get("reading_at", data["read_at"])),
                "read_at": _instant(data["read_at"]),
                "peak": Severity[data["peak"]],
                "told_state": State(data["told_state"]) if data["told_state"] else None,
                "told_at": _instant(data["told_at"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from one evaluation: the reason, the incident as it is now, and what a reader sees of it.

    `says`: the root message should be posted or edited. `replies`: a line in its thread is due.
    """

    reason: Reason
    incident: Incident | None
    says: bool = False
    replies: bool = False


def incident_id(book: str, fingerprint: str, ordinal: int) -> str:
    """The id of the `ordinal`-th incident (from 1) of a fingerprint in a book: equal on every machine."""
    return str(uuid.uuid5(_NAMESPACE, f"{book}\n{fingerprint}\n{ordinal}"))


def decide(
    incident: Incident | None,
    result: Reading | NotEvaluated,
    rule: RuleOptions,
    *,
    now: datetime,
    book: str = "live",
    new_id: str = "",
) -> Decision:
    """Compare what was last said with what is true now.

    `incident` is the newest one of this fingerprint, ended or not. `book` and `new_id` are used only
    when a new incident begins; a caller who doesn't give them has to set both on the answer.
    """
    if isinstance(result, NotEvaluated):
        return Decision(Reason.KEPT_LAST, incident)
    if incident is not None and incident.state.is_open:
        return _decide_open(incident, result, rule, now)
    if incident is not None and _is_over(incident, rule, now):
        incident = None
    return _decide_closed(incident, result, rule, now, book, new_id)


def withdraw(incident: Incident, *, now: datetime) -> Decision:
    """End an incident because its rule is gone, not because the world changed."""
    if incident.state in {State.RESOLVED, State.WITHDRAWN}:
        return Decision(Reason.STILL_QUIET, incident)
    was_shown = incident.state.is_open
    ended = replace(
        incident, state=State.WITHDRAWN, changed_at=now, true_runs=0, clear_runs=0, lower_runs=0
    )
    if not was_shown:
        return Decision(Reason.WITHDRAWN, ended)
    return _said(Reason.WITHDRAWN, ended, now, timedelta(0))


def _is_over(incident: Incident, rule: RuleOptions, now: datetime) -> bool:
    """Whether a return would be a new story. One that was never shown has no story to continue."""
    if incident.state is State.WITHDRAWN:
        return True
    return incident.episode > 0 and now - incident.changed_at >= rule.cooldown


def _decide_closed(
    incident: Incident | None,
    reading: Reading,
    rule: RuleOptions,
    now: datetime,
    book: str,
    new_id: str,
) -> Decision:
    if reading.severity is None:
        if incident is None:
            return Decision(Reason.STILL_QUIET, None)
        # A pending one that did not last ends unseen: episode 0 marks that nobody was told.
        # What it last said stays as it was said, with its own moment.
        return Decision(
            Reason.STILL_QUIET, replace(incident, state=State.RESOLVED, true_runs=0, read_at=now)
        )
    before = incident or _begin(reading, reading.severity, now, book, new_id)
    runs = before.true_runs + 1
    # A critical crossing doesn't wait: being late costs more than being wrong once.
    if runs < rule.for_evaluations and reading.severity is not Severity.CRITICAL:
        if before.episode > 0:  # shown as resolved; what it shows stays until it opens again
            return Decision(Reason.PENDING, replace(before, true_runs=runs, read_at=now))
        waiting = replace(
            before,
            state=State.PENDING,
            severity=reading.severity,
            rule_version=reading.rule_version,
            route=reading.route,
            reading=reading,
            reading_at=now,
            read_at=now,
            true_runs=runs,
        )
        return Decision(Reason.PENDING, waiting)
    first = before.episode == 0
    after = replace(
        before,
        state=State.FIRING,
        severity=reading.severity,
        rule_version=reading.rule_version,
        route=reading.route,
        opened_at=now if first else before.opened_at,
        changed_at=now,
        since=now,
        episode=before.episode + 1,
        true_runs=runs,
        clear_runs=0,
        lower_runs=0,
        reading=reading,
        reading_at=now,
        read_at=now,
    )
    after = after if first else _compared(after, before)
    if not first:
        return _said(Reason.REOPENED, after, now, rule.cooldown)
    # The root message is itself the telling: no reply under it.
    opened = replace(after, revision=1, peak=after.severity, told_state=State.FIRING, told_at=now)
    return Decision(Reason.OPENED, opened, says=True)


def _decide_open(before: Incident, reading: Reading, rule: RuleOptions, now: datetime) -> Decision:
    limit_changed = reading.rule_version != before.rule_version
    crossed = reading.severity is not None
    held = _held(reading)
    seen = replace(
        before,
        rule_version=reading.rule_version,
        route=reading.route,  # who is told may have changed since it opened
        reading=reading,
        reading_at=now,
        read_at=now,
        true_runs=before.true_runs + 1 if crossed else 0,
        clear_runs=0,
        lower_runs=0,
    )
    if reading.value != before.reading.value:
        seen = _compared(seen, before)

    if reading.is_clear:
        runs = before.clear_runs + 1
        if limit_changed:
            # The limit moved, perhaps not the world: "resolved" would claim too much.
            ended = replace(seen, state=State.WITHDRAWN, changed_at=now, clear_runs=runs)
            return _said(Reason.LIMIT_CHANGED, ended, now, rule.cooldown)
        if runs >= rule.clear_evaluations:
            ended = replace(seen, state=State.RESOLVED, changed_at=now, clear_runs=runs)
            return _said(Reason.RESOLVED, ended, now, rule.cooldown)
        changed_at = before.changed_at if before.state is State.RECOVERING else now
        easing = replace(seen, state=State.RECOVERING, changed_at=changed_at, clear_runs=runs)
        return _said(Reason.RECOVERING, easing, now, rule.cooldown, before)

    firing = replace(
        seen,
        state=State.FIRING,
        changed_at=before.changed_at if before.state is State.FIRING else now,
    )
    # Only an enter limit raises it: an exit limit not passed yet keeps a severity and gives none.
    if reading.severity is not None and reading.severity > before.severity:
        raised = replace(firing, severity=reading.severity, changed_at=now)
        reason = Reason.LIMIT_CHANGED if limit_changed else Reason.ESCALATED
        return _said(reason, raised, now, rule.cooldown)
    if held is not None and held < before.severity:
        runs = before.lower_runs + 1
        if limit_changed or runs >= rule.clear_evaluations:
            lowered = replace(firing, severity=held, changed_at=now)
            reason = Reason.LIMIT_CHANGED if limit_changed else Reason.LOWERED
            return _said(reason, lowered, now, rule.cooldown)
        firing = replace(firing, lower_runs=runs)
    if limit_changed:
        return _said(Reason.LIMIT_CHANGED, firing, now, rule.cooldown)
    return _said(Reason.UPDATED, firing, now, rule.cooldown, before)


def _compared(after: Incident, before: Incident) -> Incident:
    """With what was measured before, for "it was …": only two values of one measure can be told so."""
    same = after.reading.unit == before.reading.unit
    return replace(
        after,
        previous_value=before.reading.value if same else None,
        previous_measured=before.reading.measured if same else "",
        previous_at=before.reading_at if same else None,
    )


def _held(reading: Reading) -> Severity | None:
    """The highest severity that the limits let it keep; None in the band where it keeps what it was."""
    levels = [level for level in (reading.severity, reading.holds) if level is not None]
    return max(levels, default=None)


def _begin(reading: Reading, severity: Severity, now: datetime, book: str, new_id: str) -> Incident:
    return Incident(
        id=new_id,
        book=book,
        fingerprint=reading.fingerprint,
        rule=reading.rule,
        rule_version=reading.rule_version,
        type=reading.type,
        route=reading.route,
        subject=reading.subject,
        subject_title=reading.subject_title,
        severity=severity,
        state=State.PENDING,
        opened_at=now,
        changed_at=now,
        since=now,
        episode=0,
        revision=0,
        true_runs=0,
        clear_runs=0,
        reading=reading,
        reading_at=now,
        read_at=now,
    )


def _said(
    reason: Reason,
    after: Incident,
    now: datetime,
    cooldown: timedelta,
    before: Incident | None = None,
) -> Decision:
    """The decision, with what a reader sees of it; `before` is given when there may be nothing to see."""
    says = before is None or before.state is not after.state or _looks(before) != _looks(after)
    if reason is Reason.UPDATED and not says:
        reason = Reason.UNCHANGED
    replies = _is_worth_a_reply(after, now, cooldown)
    if replies:
        after = replace(
            after,
            told_state=State.FIRING if after.state.is_open else after.state,
            told_at=now,
            peak=max(after.peak, after.severity),
        )
    if says:
        after = replace(after, revision=after.revision + 1)
    return Decision(reason, after, says=says, replies=replies)


def _is_worth_a_reply(after: Incident, now: datetime, cooldown: timedelta) -> bool:
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
    if after.told_state is State.FIRING:
        return False
    quiet = after.told_at is None or now - after.told_at >= cooldown
    return quiet or after.severity is Severity.CRITICAL


def _looks(incident: Incident) -> tuple[object, ...]:
    reading = incident.reading
    return (
        incident.severity,
        incident.route,
        reading.headline,
        reading.facts,
        reading.drivers,
        reading.advice,
        reading.owner,
        reading.runbook,
    )


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _instant_text(when: datetime | None) -> str | None:
    return when.isoformat() if when else None
