"""Incidents, evaluations and the outbox: a decision and what it has to say are one transaction."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from alerts.ledger import (
    EVERYTHING,
    LOOKS,
    UPLOADS,
    Compose,
    EntryKind,
    OutboxEntry,
    OutboxState,
    OutboxSummary,
    Receipt,
)
from alerts.lifecycle import Decision, Incident, Reason, State, decide, incident_id
from alerts.lifecycle import withdraw as decide_withdrawal
from alerts.rules import NotEvaluated, Reading, RuleOptions, Severity
from flows.storage.database import Database
from flows.storage.outbox import (
    Outgoing,
    as_json,
    is_root,
    of_book,
    paused_scopes,
    read_entry,
    revived,
    settle,
    summed_up,
    take_over,
)
from flows.storage.tables import (
    UtcDateTime,
    evaluation,
    incident,
    outbox,
    outbox_pause,
    storable,
    transition,
)

_UNSETTLED = (OutboxState.PENDING, OutboxState.SENDING, OutboxState.UNKNOWN)
_DONE = (OutboxState.SENT.value, OutboxState.SKIPPED.value)


@dataclass(frozen=True, slots=True)
class Transition:
    """One step in the life of an incident, with the reading that caused it."""

    at: datetime
    reason: Reason
    state_before: str  # empty for the first one
    state: State
    severity: Severity
    rule_version: str
    reading: Reading


class SqlLedger:
    """The ledger in the database; every method is one committed transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- deciding ---------------------------------------------------------------

    def record(
        self,
        book: str,
        result: Reading | NotEvaluated,
        rule: RuleOptions,
        *,
        now: datetime,
        compose: Compose,
        written_at: datetime | None = None,
    ) -> Decision:
        """Decide what a result means and write all that follows from it, once.

        `now` is the moment that is judged, `written_at` the wall clock where the two differ. The
        input and rule version judged last, however often and by whomever they come again, answer
        ALREADY_EVALUATED; what is older than the last judgement answers KEPT_LAST.
        """
        with self._database.writing("ledger") as connection:
            newest = _newest_incident(connection, book, result.fingerprint)
            before = None if newest is None else _incident(newest)
            last = _last_evaluation(connection, book, result.fingerprint)
            counted = _last_evaluation(connection, book, result.fingerprint, is_counted=True)
            is_repeated = _is_of(last, result)
            ordinal = 1 if newest is None else newest.ordinal + 1
            decide_now = partial(
                decide,
                result=result,
                rule=rule,
                now=now,
                book=book,
                new_id=incident_id(book, result.fingerprint, ordinal),
            )
            if isinstance(result, NotEvaluated):
                decision = decide_now(before)
                if is_repeated:
                    return decision
            elif _is_of(counted, result):
                # Nothing new to judge. But what was only edited in may be due to be told by now.
                decision = decide_now(None if before is None else _uncounted(before))
                is_due = before is not None and before.state.is_open and decision.replies
                if not is_due:
                    return Decision(Reason.ALREADY_EVALUATED, before)
            elif _is_late(before, counted, now):
                decision = Decision(Reason.KEPT_LAST, before)
                if is_repeated:
                    return decision
            else:
                decision = decide_now(before)
            after = decision.incident
            if after is not None:
                is_new = before is None or before.id != after.id
                _write_incident(connection, after, ordinal if is_new else None)
            _write_evaluation(
                connection,
                last,
                decision,
                book=book,
                fingerprint=result.fingerprint,
                input_id=_input_id(result),
                rule_version=result.rule_version,
                at=now,
                payload=_result_text(result),
            )
            _write_consequences(connection, before, decision, now, compose, written_at or now)
        return decision

    def withdraw(
        self, key: str, *, now: datetime, compose: Compose, written_at: datetime | None = None
    ) -> Decision:
        """End the incident of that id because its rule is gone. If the rule returns, it is judged again."""
        with self._database.writing("ledger") as connection:
            row = connection.execute(select(incident).where(incident.c.id == key)).one()
            before = _incident(row)
            decision = decide_withdrawal(before, now=now)
            after = decision.incident
            if after is not None and after != before:
                _write_incident(connection, after, None)
                # Counts as a judgement: so the input judged before it is news when the rule returns.
                _write_evaluation(
                    connection,
                    _last_evaluation(connection, before.book, before.fingerprint),
                    decision,
                    book=before.book,
                    fingerprint=before.fingerprint,
                    input_id="withdrawn",
                    rule_version=before.rule_version,
                    at=now,
                    payload=as_json({"rule": before.rule, "subject": before.subject}),
                )
                _write_consequences(connection, before, decision, now, compose, written_at or now)
        return decision

    # --- reading ----------------------------------------------------------------

    def open_incidents(self, book: str) -> tuple[Incident, ...]:
        """What a reader should reckon with, most severe first, then oldest."""
        found = incident.c
        query = (
            select(incident)
            .where(found.book == book, found.state.in_([s.value for s in State if s.is_open]))
            .order_by(found.severity.desc(), found.opened_at, found.id)
        )
        return self._incidents(query)

    def incidents(self, book: str, limit: int | None = None) -> tuple[Incident, ...]:
        """Every incident of a book, last changed first; also the ended and the unsaid ones."""
        found = incident.c
        query = (
            select(incident)
            .where(found.book == book)
            .order_by(found.changed_at.desc(), found.id)
            .limit(limit)
        )
        return self._incidents(query)

    def incident(self, key: str) -> Incident | None:
        """The incident of that id, or the only one whose id begins so; None for none or several."""
        begins = incident.c.id.startswith(key, autoescape=True)
        found = self._incidents(select(incident).where(begins).limit(2))
        return found[0] if key and len(found) == 1 else None

    def transitions(self, key: str) -> tuple[Transition, ...]:
        """The life of an incident, oldest step first."""
        query = select(transition).where(transition.c.incident_id == key).order_by(transition.c.id)
        with self._database.reading() as connection:
            return tuple(
                Transition(
                    row.at,
                    Reason(row.reason),
                    row.state_before,
                    State(row.state),
                    Severity(row.severity),
                    row.rule_version,
                    Reading.from_dict(json.loads(row.payload)),
                )
                for row in connection.execute(query)
            )

    def entries(
        self,
        book: str | None = None,
        *,
        incident_id: str | None = None,
        states: Collection[OutboxState] = tuple(OutboxState),
    ) -> tuple[OutboxEntry, ...]:
        """Outbox rows, oldest first, without their pictures."""
        query = select(outbox.c.id).where(
            outbox.c.state.in_([state.value for state in states]), *of_book(book)
        )
        if incident_id is not None:
            query = query.where(outbox.c.incident_id == incident_id)
        with self._database.reading() as connection:
            keys = connection.scalars(query.order_by(outbox.c.id)).all()
            return tuple(read_entry(connection, key, with_image=False) for key in keys)

    # --- delivering -------------------------------------------------------------

    def expire(self, book: str | None, now: datetime) -> int:
        """Take back leases that ran out: whoever held them died. Returns how many."""
        lost = and_(
            outbox.c.state == OutboxState.SENDING.value,
            outbox.c.lease_until < now,
            *of_book(book),
        )
        why = "the sender ended before it knew the answer"
        with self._database.writing("ledger") as connection:
            # An edit may be repeated without harm: nobody can see that it was made twice.
            edits = connection.execute(
                update(outbox)
                .where(lost, outbox.c.kind == EntryKind.EDIT.value)
                .values(state=OutboxState.PENDING.value, lease_until=None, error=why)
            )
            others = connection.execute(
                update(outbox)
                .where(lost)
                .values(
                    state=OutboxState.UNKNOWN.value,
                    unknown_at=outbox.c.lease_until,
                    not_before=now,
                    lease_until=None,
                    looks=0,
                    error=why,
                )
            )
            return edits.rowcount + others.rowcount

    def claim(self, book: str | None, now: datetime, lease: timedelta) -> OutboxEntry | None:
        """Lease the next entry that may be sent, or None. Text goes before charts, then oldest first."""
        mine = outbox.alias("mine")
        root = outbox.alias("root")
        earlier = outbox.alias("earlier")
        is_root = mine.c.kind == EntryKind.ROOT.value
        is_chart = mine.c.kind == EntryKind.CHART.value
        root_stands = exists().where(
            root.c.incident_id == mine.c.incident_id,
            root.c.kind == EntryKind.ROOT.value,
            root.c.state == OutboxState.SENT.value,
        )
        is_behind = exists().where(
            earlier.c.incident_id == mine.c.incident_id,
            earlier.c.id < mine.c.id,
            earlier.c.kind != EntryKind.CHART.value,
            earlier.c.state.in_([state.value for state in _UNSETTLED]),
        )
        with self._database.writing("ledger") as connection:
            paused = paused_scopes(connection, now)
            if EVERYTHING in paused:
                return None
            query = (
                select(mine.c.id)
                .where(
                    mine.c.state == OutboxState.PENDING.value,
                    mine.c.not_before <= now,
                    mine.c.channel.not_in(paused),
                    or_(is_root, and_(root_stands, or_(is_chart, ~is_behind))),
                )
                .order_by(case((is_chart, 1), else_=0), mine.c.id)
                .limit(1)
            )
            if book is not None:
                query = query.where(mine.c.book == book)
            if UPLOADS in paused:
                query = query.where(~is_chart)
            key = connection.execute(query).scalar()
            if key is None:
                return None
            connection.execute(
                update(outbox)
                .where(outbox.c.id == key)
                .values(
                    state=OutboxState.SENDING.value,
                    attempts=outbox.c.attempts + 1,
                    lease_until=now + lease,
                    started_at=func.coalesce(outbox.c.started_at, literal(now, UtcDateTime())),
                )
            )
            return read_entry(connection, key)

    def mark_sent(self, entry: OutboxEntry, receipt: Receipt, *, now: datetime) -> None:
        """It stands in the channel. Proof is believed from anyone, also when the lease was lost."""
        with self._database.writing("ledger") as connection:
            connection.execute(
                update(outbox)
                .where(outbox.c.id == entry.id, outbox.c.state != OutboxState.SENT.value)
                .values(
                    state=OutboxState.SENT.value,
                    receipt_channel=receipt.channel_id,
                    receipt_ts=receipt.ts,
                    sent_at=now,
                    lease_until=None,
                    error="",
                )
            )

    def mark_unknown(
        self, entry: OutboxEntry, error: str, *, now: datetime, look_at: datetime
    ) -> None:
        """It may stand in the channel: look for it from `look_at` on, before anything else."""
        self._settle(
            entry,
            (OutboxState.SENDING,),
            state=OutboxState.UNKNOWN.value,
            unknown_at=now,
            not_before=look_at,
            looks=0,
            error=storable(error),
        )

    def mark_dead(self, entry: OutboxEntry, error: str, *, now: datetime) -> None:
        """It will never pass as things are; it waits for `redrive`."""
        self._settle(
            entry,
            (OutboxState.SENDING, OutboxState.UNKNOWN),
            state=OutboxState.DEAD.value,
            not_before=now,
            error=storable(error),
        )

    def mark_skipped(self, entry: OutboxEntry, why: str, *, now: datetime) -> None:
        """It can't be shown and needn't be; the row keeps the reason."""
        self._settle(
            entry,
            (OutboxState.SENDING,),
            state=OutboxState.SKIPPED.value,
            not_before=now,
            error=storable(why),
        )

    def release(
        self,
        entry: OutboxEntry,
        *,
        not_before: datetime,
        error: str = "",
        is_repeat_possible: bool = False,
    ) -> None:
        """It does not stand in the channel: send it again, with the same key, from `not_before` on.

        A root message that waits again takes over what was waiting behind it.
        """
        with self._database.writing("ledger") as connection:
            changed = settle(
                connection,
                entry,
                (OutboxState.SENDING, OutboxState.UNKNOWN),
                state=OutboxState.PENDING.value,
                not_before=not_before,
                unknown_at=None,
                looks=0,
                is_repeat_possible=entry.is_repeat_possible or is_repeat_possible,
                error=storable(error),
            )
            if changed and entry.kind is EntryKind.ROOT:
                take_over(connection, entry)

    def look_again(
        self, entry: OutboxEntry, *, at: datetime, error: str = "", was_conclusive: bool
    ) -> None:
        """It was not found, or could not be looked for: look again from `at` on."""
        self._settle(
            entry,
            (OutboxState.UNKNOWN,),
            looks=entry.looks + (1 if was_conclusive else 0),
            not_before=at,
            error=storable(error) or entry.error,
        )

    def reconcilable(self, book: str | None, now: datetime) -> tuple[OutboxEntry, ...]:
        """Entries to be looked for in the channel now, oldest first."""
        with self._database.reading() as connection:
            paused = paused_scopes(connection, now)
            if paused & {EVERYTHING, LOOKS}:
                return ()
            query = (
                select(outbox.c.id)
                .where(
                    outbox.c.state == OutboxState.UNKNOWN.value,
                    outbox.c.not_before <= now,
                    outbox.c.channel.not_in(paused),
                    *of_book(book),
                )
                .order_by(outbox.c.id)
            )
            keys = connection.scalars(query).all()
            return tuple(read_entry(connection, key, with_image=False) for key in keys)

    def pause(self, scope: str, until: datetime, reason: str) -> None:
        """Keep a channel (or everything) quiet until then; a longer pause already there stays."""
        reason = storable(reason)
        with self._database.writing("ledger") as connection:
            mine = outbox_pause.c.scope == scope
            there = connection.execute(select(outbox_pause.c.until).where(mine)).scalar()
            if there is None:
                connection.execute(
                    insert(outbox_pause).values(scope=scope, until=until, reason=reason)
                )
            elif there < until:
                connection.execute(
                    update(outbox_pause).where(mine).values(until=until, reason=reason)
                )

    def redrive(self, book: str | None = None, channels: Mapping[str, str] | None = None) -> int:
        """After a repair: try everything that was given up once more, now. Returns how many.

        `channels` says where each route leads now: what has no message in a channel yet goes there.
        """
        with self._database.writing("ledger") as connection:
            connection.execute(delete(outbox_pause))
            for route, channel in (channels or {}).items():
                _reroute(connection, book, route, channel)
            again = connection.execute(
                update(outbox)
                .where(outbox.c.state == OutboxState.DEAD.value, *of_book(book))
                .values(**revived())
            )
            return again.rowcount

    def summary(self, book: str | None, now: datetime) -> OutboxSummary:
        """What has not arrived yet, and when something can be done about it."""
        found = outbox.c
        query = (
            select(
                found.id,
                found.incident_id,
                found.kind,
                found.channel,
                found.state,
                found.not_before,
                found.lease_until,
                found.created_at,
                found.error,
            )
            .where(found.state.not_in(_DONE), *of_book(book))
            .order_by(found.id)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
            standing = set(
                connection.scalars(
                    select(found.incident_id).where(
                        found.kind == EntryKind.ROOT.value,
                        found.state == OutboxState.SENT.value,
                        found.incident_id.in_(
                            select(found.incident_id).where(found.state.not_in(_DONE))
                        ),
                    )
                )
            )
            pauses = {
                row.scope: row
                for row in connection.execute(
                    select(outbox_pause).where(outbox_pause.c.until > now)
                )
            }
        return summed_up(rows, standing, pauses, now)

    # --- helpers ----------------------------------------------------------------

    def _incidents(self, query: Any) -> tuple[Incident, ...]:
        with self._database.reading() as connection:
            return tuple(_incident(row) for row in connection.execute(query))

    def _settle(
        self, entry: OutboxEntry, states: Collection[OutboxState], **values: object
    ) -> None:
        with self._database.writing("ledger") as connection:
            settle(connection, entry, states, **values)


def _newest_incident(connection: Connection, book: str, fingerprint: str) -> Row[Any] | None:
    return connection.execute(
        select(incident)
        .where(incident.c.book == book, incident.c.fingerprint == fingerprint)
        .order_by(incident.c.ordinal.desc())
        .limit(1)
    ).first()


def _last_evaluation(
    connection: Connection, book: str, fingerprint: str, *, is_counted: bool = False
) -> Row[Any] | None:
    """The newest evaluation; with `is_counted` the newest that led to a judgement of its own."""
    done = evaluation.c
    query = select(done.ordinal, done.input_id, done.rule_version, done.at).where(
        done.book == book, done.fingerprint == fingerprint
    )
    if is_counted:
        query = query.where(done.reason != Reason.KEPT_LAST.value)
    return connection.execute(query.order_by(done.ordinal.desc()).limit(1)).first()


def _is_of(done: Row[Any] | None, result: Reading | NotEvaluated) -> bool:
    """Whether an evaluation was of this very input, under the same version of the rule."""
    wanted = (_input_id(result), result.rule_version)
    return done is not None and (done.input_id, done.rule_version) == wanted


def _is_late(before: Incident | None, counted: Row[Any] | None, now: datetime) -> bool:
    """Whether something judged already is newer: what was true earlier must not overturn it."""
    seen = [] if counted is None else [counted.at]
    if before is not None:
        seen += [at for at in (before.read_at, before.changed_at) if at is not None]
    return any(now < at for at in seen)


def _uncounted(incident: Incident) -> Incident:
    """The incident before its last reading was counted, so that the same one can be counted again."""
    return replace(
        incident,
        true_runs=max(0, incident.true_runs - 1),
        clear_runs=max(0, incident.clear_runs - 1),
        lower_runs=max(0, incident.lower_runs - 1),
    )


def _write_evaluation(
    connection: Connection, last: Row[Any] | None, decision: Decision, **values: object
) -> None:
    after = decision.incident
    connection.execute(
        insert(evaluation).values(
            ordinal=1 if last is None else last.ordinal + 1,
            reason=decision.reason.value,
            incident_id=None if after is None else after.id,
            **values,
        )
    )


def _reroute(connection: Connection, book: str | None, route: str, channel: str) -> None:
    """Send what waits or was given up to this channel, unless its message may stand in another."""
    root = outbox.alias("root")
    movable = (OutboxState.PENDING.value, OutboxState.DEAD.value)
    may_stand = exists().where(
        root.c.incident_id == outbox.c.incident_id,
        root.c.kind == EntryKind.ROOT.value,
        root.c.state.not_in(movable),
    )
    connection.execute(
        update(outbox)
        .where(
            outbox.c.route == route,
            outbox.c.state.in_(movable),
            ~may_stand,
            *of_book(book),
        )
        .values(channel=channel)
    )


def _input_id(result: Reading | NotEvaluated) -> str:
    if isinstance(result, Reading):
        return result.input_id
    return "not-evaluated:" + hashlib.sha256(result.why.encode()).hexdigest()[:16]


def _result_text(result: Reading | NotEvaluated) -> str:
    if isinstance(result, Reading):
        return as_json(result.as_dict())
    return as_json({"rule": result.rule, "subject": result.subject, "why": result.why})


def _write_incident(connection: Connection, after: Incident, ordinal: int | None) -> None:
    values = {
        "rule": after.rule,
        "type": after.type,
        "subject": after.subject,
        "severity": int(after.severity),
        "state": after.state.value,
        "opened_at": after.opened_at,
        "changed_at": after.changed_at,
        "payload": as_json(after.as_dict()),
    }
    if ordinal is None:
        connection.execute(update(incident).where(incident.c.id == after.id).values(**values))
    else:
        connection.execute(
            insert(incident).values(
                id=after.id,
                book=after.book,
                fingerprint=after.fingerprint,
                ordinal=ordinal,
                **values,
            )
        )


def _write_consequences(
    connection: Connection,
    before: Incident | None,
    decision: Decision,
    now: datetime,
    compose: Compose,
    written_at: datetime,
) -> None:
    """The transition, if it is one, and what it has to say."""
    after = decision.incident
    if after is None:
        return
    was = before if before is not None and before.id == after.id else None
    is_step = (
        decision.says
        or decision.replies
        or was is None
        or (was.state, was.severity) != (after.state, after.severity)
    )
    if not is_step:
        return
    written = connection.execute(
        insert(transition)
        .values(
            incident_id=after.id,
            at=now,
            reason=decision.reason.value,
            state_before="" if was is None else was.state.value,
            state=after.state.value,
            severity=int(after.severity),
            rule_version=after.rule_version,
            payload=as_json(after.reading.as_dict()),
        )
        .returning(transition.c.id)
    ).scalar_one()
    if decision.says or decision.replies:
        outgoing = Outgoing(connection, after, int(written), written_at)
        # The root first, whatever order they came in: everything else refers to it.
        for entry in sorted(compose(decision), key=lambda e: not is_root(e)):
            outgoing.add(entry)


def _incident(row: Row[Any]) -> Incident:
    return Incident.from_dict(json.loads(row.payload))
