"""The life of an incident: compares what was last said with what is true now, and names the reason."""

from dataclasses import replace
from datetime import datetime

from alerts.incident import (
    DataState,
    Decision,
    Incident,
    Reason,
    State,
    incident_id,
)
from alerts.rules import DEFAULT_OPTIONS, NotEvaluated, Reading, RuleOptions, Severity
from alerts.telling import FREELY, Around, told

__all__ = [
    "DataState",
    "Decision",
    "Incident",
    "Reason",
    "State",
    "attend",
    "decide",
    "failed",
    "incident_id",
    "withdraw",
]


def decide(
    incident: Incident | None,
    result: Reading | NotEvaluated,
    rule: RuleOptions,
    *,
    now: datetime,
    book: str = "live",
    new_id: str = "",
    around: Around = FREELY,
) -> Decision:
    """Compare what was last said with what is true now.

    `incident` is the newest one of this fingerprint, ended or not. `book` and `new_id` are used only
    when a new incident begins; a caller who doesn't give them has to set both on the answer. `around`
    bears on what is posted, never on what is judged.
    """
    if isinstance(result, NotEvaluated):
        return _not_judged(incident, result.why, DataState.STALE, rule, now, around)
    if incident is not None and incident.state.is_open:
        return _decide_open(incident, result, rule, now, around)
    if incident is not None and _is_over(incident, rule, now):
        incident = None
    return _decide_closed(incident, result, rule, now, book, new_id, around)


def failed(
    incident: Incident, why: str, rule: RuleOptions, *, now: datetime, around: Around = FREELY
) -> Decision:
    """Its rule failed at this evaluation: keep the last state, and say so on what readers see."""
    return _not_judged(incident, why, DataState.EVAL_ERROR, rule, now, around)


def attend(
    incident: Incident,
    rule: RuleOptions,
    *,
    now: datetime,
    around: Around = FREELY,
    is_answered: bool = False,
) -> Decision:
    """Look after an incident that nothing new is known of: what was held back, slept, or waits for someone.

    `is_answered`: its rule gave the same answer again, so a mark that it couldn't goes away.
    """
    if not incident.state.is_open:
        return Decision(Reason.UNCHANGED, incident)
    after = incident
    if is_answered and incident.data_state is not DataState.FRESH:
        after = replace(incident, data_state=DataState.FRESH, data_why="", data_since=None)
    holds_on = incident.state is State.FIRING and incident.reading.severity is not None
    reason = Reason.UPDATED
    if is_answered and holds_on and _claim_is_over(incident, now):
        reason = Reason.RENEWED
    return told(reason, after, now, rule.cooldown, around, before=incident)


def withdraw(incident: Incident, *, now: datetime) -> Decision:
    """End an incident because its rule is gone, not because the world changed."""
    if incident.state.is_ended:
        return Decision(Reason.STILL_QUIET, incident)
    was_shown = incident.state.is_open
    ended = _ended(incident, State.WITHDRAWN, now, true_runs=0, clear_runs=0)
    if not was_shown:
        return Decision(Reason.WITHDRAWN, ended)
    return told(Reason.WITHDRAWN, ended, now, DEFAULT_OPTIONS.cooldown, FREELY)


def _not_judged(
    incident: Incident | None,
    why: str,
    state: DataState,
    rule: RuleOptions,
    now: datetime,
    around: Around,
) -> Decision:
    """Silence is no answer: the last state stays, marked, until what it speaks of has passed."""
    if incident is None or not incident.state.is_open:
        return Decision(Reason.KEPT_LAST, incident)
    ends_on = incident.reading.ends_on
    if ends_on is not None and now.date() > ends_on:
        ended = _ended(incident, State.EXPIRED, now, data_state=state, data_why=why)
        return told(Reason.EXPIRED, ended, now, rule.cooldown, around)
    reason = Reason.EVAL_ERROR if state is DataState.EVAL_ERROR else Reason.KEPT_LAST
    if incident.data_state is state:
        # Why may name another day each time: one mark is enough, what it says is kept up to date.
        kept = incident if incident.data_why == why else replace(incident, data_why=why)
        looked = attend(kept, rule, now=now, around=around)
        return looked if looked.says or looked.replies else Decision(reason, looked.incident)
    marked = replace(incident, data_state=state, data_why=why, data_since=now)
    return told(reason, marked, now, rule.cooldown, around, before=incident)


def _ended(incident: Incident, state: State, now: datetime, **changes: object) -> Incident:
    """Over, for whatever reason: nobody has to look after it any more."""
    return replace(
        incident,
        state=state,
        changed_at=now,
        lower_runs=0,
        crossings="",
        snoozed_by="",
        snoozed_until=None,
        snoozed_at=None,
        **changes,  # type: ignore[arg-type]  # fields of Incident by name
    )


def _is_over(incident: Incident, rule: RuleOptions, now: datetime) -> bool:
    """Whether a return would be a new story. One that was never shown has no story to continue."""
    if incident.state in {State.WITHDRAWN, State.EXPIRED}:
        return True
    return incident.episode > 0 and now - incident.changed_at >= rule.cooldown


def _with_crossing(crossings: str, rule: RuleOptions, *, is_crossed: bool) -> str:
    return (crossings + ("1" if is_crossed else "0"))[-rule.window :]


def _decide_closed(
    incident: Incident | None,
    reading: Reading,
    rule: RuleOptions,
    now: datetime,
    book: str,
    new_id: str,
    around: Around,
) -> Decision:
    if reading.severity is None:
        if incident is None:
            return Decision(Reason.STILL_QUIET, None)
        return _still_quiet(incident, rule, now)
    before = incident or _begin(reading, reading.severity, now, book, new_id)
    if before.rule_version != reading.rule_version:
        # Crossings of other limits are none of these.
        before = replace(before, true_runs=0, crossings="")
    runs = before.true_runs + 1
    crossings = _with_crossing(before.crossings, rule, is_crossed=True)
    # A critical crossing doesn't wait: being late costs more than being wrong once.
    if crossings.count("1") < rule.for_evaluations and reading.severity is not Severity.CRITICAL:
        if before.episode > 0:  # shown as resolved; what it shows stays until it opens again
            waiting = replace(before, true_runs=runs, crossings=crossings, read_at=now)
            return Decision(Reason.PENDING, waiting)
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
            crossings=crossings,
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
        crossings=crossings,
        reading=reading,
        reading_at=now,
        read_at=now,
        data_state=DataState.FRESH,
        data_why="",
        data_since=None,
        # Whoever took the last episode on hasn't taken this one on.
        acknowledged_by="",
        acknowledged_at=None,
        called_at=None,
    )
    after = after if first else _compared(after, before)
    reason = Reason.OPENED if first else Reason.REOPENED
    return told(reason, after, now, rule.cooldown, around)


def _still_quiet(incident: Incident, rule: RuleOptions, now: datetime) -> Decision:
    """Not crossed, and nothing open: a pending one waits as long as its window can still be filled."""
    crossings = _with_crossing(incident.crossings, rule, is_crossed=False)
    still_counts = crossings[1 - rule.window :] if rule.window > 1 else ""
    if (
        incident.state is State.PENDING
        and rule.out_of > rule.for_evaluations
        and "1" in still_counts
    ):
        waiting = replace(incident, crossings=crossings, true_runs=0, read_at=now)
        return Decision(Reason.PENDING, waiting)
    # A pending one that did not last ends unseen: episode 0 marks that nobody was told.
    # What it last said stays as it was said, with its own moment.
    ended = replace(
        incident, state=State.RESOLVED, true_runs=0, crossings=crossings.lstrip("0"), read_at=now
    )
    return Decision(Reason.STILL_QUIET, ended)


def _decide_open(
    before: Incident, reading: Reading, rule: RuleOptions, now: datetime, around: Around
) -> Decision:
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
        crossings=_with_crossing(before.crossings, rule, is_crossed=crossed),
        data_state=DataState.FRESH,
        data_why="",
        data_since=None,
    )
    if reading.value != before.reading.value:
        seen = _compared(seen, before)

    if reading.is_clear:
        runs = before.clear_runs + 1
        if limit_changed:
            # The limit moved, perhaps not the world: "resolved" would claim too much.
            ended = _ended(seen, State.WITHDRAWN, now, clear_runs=runs)
            return told(Reason.LIMIT_CHANGED, ended, now, rule.cooldown, around)
        if runs >= rule.clear_evaluations:
            ended = _ended(seen, State.RESOLVED, now, clear_runs=runs)
            return told(Reason.RESOLVED, ended, now, rule.cooldown, around)
        if _claim_is_over(before, now):
            ended = _ended(seen, State.EXPIRED, now, clear_runs=runs)
            return told(Reason.EXPIRED, ended, now, rule.cooldown, around)
        changed_at = before.changed_at if before.state is State.RECOVERING else now
        easing = replace(seen, state=State.RECOVERING, changed_at=changed_at, clear_runs=runs)
        return told(Reason.RECOVERING, easing, now, rule.cooldown, around, before)

    firing = replace(
        seen,
        state=State.FIRING,
        changed_at=before.changed_at if before.state is State.FIRING else now,
    )
    # Only an enter limit raises it: an exit limit not passed yet keeps a severity and gives none.
    if reading.severity is not None and reading.severity > before.severity:
        raised = replace(
            firing,
            severity=reading.severity,
            changed_at=now,
            # It is more than what was taken on.
            acknowledged_by="",
            acknowledged_at=None,
            called_at=None,
        )
        reason = Reason.LIMIT_CHANGED if limit_changed else Reason.ESCALATED
        return told(reason, raised, now, rule.cooldown, around)
    if _claim_is_over(before, now):
        return _at_the_end_of_its_claim(before, firing, reading, rule, now, around)
    if held is not None and held < before.severity:
        runs = before.lower_runs + 1
        if limit_changed or runs >= rule.clear_evaluations:
            lowered = replace(firing, severity=held, changed_at=now)
            reason = Reason.LIMIT_CHANGED if limit_changed else Reason.LOWERED
            return told(reason, lowered, now, rule.cooldown, around)
        firing = replace(firing, lower_runs=runs)
    if limit_changed:
        return told(Reason.LIMIT_CHANGED, firing, now, rule.cooldown, around)
    return told(Reason.UPDATED, firing, now, rule.cooldown, around, before)


def _claim_is_over(incident: Incident, now: datetime) -> bool:
    """Whether the time that its last post spoke of has passed: what it said then can be judged."""
    return incident.claim_ends_on is not None and now.date() > incident.claim_ends_on


def _at_the_end_of_its_claim(
    before: Incident,
    firing: Incident,
    reading: Reading,
    rule: RuleOptions,
    now: datetime,
    around: Around,
) -> Decision:
    """A claim is made for a time. What still holds after it is said anew; what doesn't has expired.

    Otherwise an alert that stands for a year would have announced only what came in its first months.
    """
    if reading.severity is None:
        ended = _ended(firing, State.EXPIRED, now)
        return told(Reason.EXPIRED, ended, now, rule.cooldown, around)
    # Judged afresh: it may be less than it was, as far as its limits let it go.
    severity = min(firing.severity, max(reading.severity, reading.holds or reading.severity))
    is_less = severity < firing.severity
    anew = replace(
        firing,
        severity=severity,
        changed_at=now if is_less else firing.changed_at,
        acknowledged_by="",
        acknowledged_at=None,
        called_at=None,
    )
    return told(Reason.RENEWED, anew, now, rule.cooldown, around, before)


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
