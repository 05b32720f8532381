"""One look at everything that rules said: decisions, incidents, transitions and outbox rows of one transaction."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from alerts.drill import is_drill
from alerts.grouping import Company, Desk, besides, leaders, rank
from alerts.incident import Decision, Incident, Reason, State, incident_id
from alerts.ledger import Compose, Judgement, OutboxState
from alerts.lifecycle import attend, decide, failed, withdraw
from alerts.rules import DEFAULT_OPTIONS, NotEvaluated, Reading, RuleOptions, Severity
from alerts.silences import Silence
from alerts.telling import FREELY, Around, beside, told_by_root
from flows.storage.outbox import (
    Outgoing,
    as_json,
    members_waiting,
    part_company,
    retract,
    roots_in_question,
)
from flows.storage.tables import evaluation, incident, silence, transition

AT_ONCE = 500
"""Names in one query: databases limit how many values a statement may have."""

WAITS_LONG = timedelta(hours=1)
"""An alert whose own message waits longer than this explains nothing: the others have to be told."""

_NOT_EVALUATED = "not-evaluated:"
_WITHDRAWN = "withdrawn"
_ENDED = [state.value for state in State if state.is_ended]


@dataclass(slots=True)
class _Step:
    """A decision on its way into the tables."""

    decision: Decision
    before: Incident | None  # the same incident before it; None: it is new
    ordinal: int | None  # of a new incident
    note: str = ""


class Judging:
    """Decides what results mean and writes all that follows; lives as long as its transaction."""

    def __init__(
        self,
        connection: Connection,
        book: str,
        *,
        now: datetime,
        written_at: datetime,
        compose: Compose,
        desk: Desk,
    ) -> None:
        self._connection = connection
        self._book = book
        self._now = now
        self._written_at = written_at
        self._compose = compose
        self._desk = desk
        self._steps: dict[str, _Step] = {}  # by incident
        self._evaluations: list[dict[str, Any]] = []
        self._texts: dict[int, tuple[Reading, str]] = {}  # by identity, with what keeps that alive
        self._standing = {one.id: one for one in self._open()}
        may_call = (
            one.id
            for one in self._standing.values()
            if one.severity is Severity.CRITICAL and one.acknowledged_at is None
        )
        # By incident: what waits, and since when what someone may be called for stands.
        self._roots = roots_in_question(connection, book, may_call)
        self._told_here: set[str] = set()  # incidents whose first message is written with this
        self._retracted: dict[str, None] = {}  # incidents whose first message is taken back
        # Nobody silences a drill: it asks whether messages arrive, and would say that they don't.
        silences = () if is_drill(book) else read_silences(connection, now)
        self._company = Company(
            desk, silences, now, self._standing.values(), is_readable=self._is_readable
        )

    @property
    def connection(self) -> Connection:
        """The transaction that all of it is written in."""
        return self._connection

    # --- deciding ---------------------------------------------------------------

    def judge(self, judgements: Sequence[Judgement]) -> tuple[Decision, ...]:
        """One decision a result, in the order given; those that may explain others are made first."""
        wanted = list(dict.fromkeys(one.result.fingerprint for one in judgements))
        depth = max((one.options.window for one in judgements), default=1)
        past = _Past(self._connection, self._book, wanted, depth)
        order = sorted(range(len(judgements)), key=self._turn(judgements))
        made = {at: self._judge_one(judgements[at], past) for at in order}
        return tuple(made[at] for at in range(len(judgements)))

    def _turn(self, judgements: Sequence[Judgement]) -> Callable[[int], tuple[int, int]]:
        """The order of judging: of what may explain others the louder first, as it was and as it is."""
        loud = {one.fingerprint: int(one.severity) for one in self._standing.values()}
        for judgement in judgements:
            result = judgement.result
            if isinstance(result, Reading) and result.severity is not None:
                was = loud.get(result.fingerprint, 0)
                loud[result.fingerprint] = max(was, int(result.severity))

        def turn(at: int) -> tuple[int, int]:
            result = judgements[at].result
            return rank(result.type), -loud.get(result.fingerprint, 0)

        return turn

    def _judge_one(self, judgement: Judgement, past: "_Past") -> Decision:
        result, options, now = judgement.result, judgement.options, self._now
        key = result.fingerprint
        before, newest_ordinal = past.incident(key, self._standing)
        last, counted = past.last.get(key), past.counted.get(key, [])
        is_repeated = _is_of(last, result)
        around = self._around(result, before)
        ordinal = newest_ordinal + 1
        decide_now = partial(
            decide,
            result=result,
            rule=options,
            now=now,
            book=self._book,
            new_id=incident_id(self._book, key, ordinal),
            around=around,
        )
        if _is_counted(counted, result, before, options):
            # Nothing new to judge. But what was held back or only edited in may be due to be told by now.
            decision = self._attended(before, options, around)
            is_noted = False
        elif _is_late(before, counted, now):
            decision = Decision(Reason.KEPT_LAST, before)
            is_noted = not is_repeated
        elif isinstance(result, NotEvaluated):
            decision = decide_now(before)
            is_noted = not is_repeated
        else:
            decision = decide_now(before)
            is_noted = True
        after = decision.incident
        is_new = after is not None and (before is None or before.id != after.id)
        if after is not None:
            ordinal_of_new = ordinal if is_new else None
            decision = self._note(decision, None if is_new else before, ordinal_of_new)
            after = decision.incident
        if is_noted:
            self._evaluate(last, decision, result)
            past.note(result, decision, last, now)
        if after is not None:
            past.incidents[key] = (after, ordinal if is_new else newest_ordinal)
        return decision

    def _attended(self, before: Incident | None, options: RuleOptions, around: Around) -> Decision:
        if before is None:
            return Decision(Reason.ALREADY_EVALUATED, None)
        looked = attend(before, options, now=self._now, around=around, is_answered=True)
        if looked.says or looked.replies or looked.calls:
            return looked
        return Decision(Reason.ALREADY_EVALUATED, looked.incident)

    def fail(self, failures: Mapping[str, str]) -> tuple[Decision, ...]:
        """What is open of rules that failed keeps its last state, and says so; why, by rule."""
        made = []
        for one in tuple(self._standing.values()):
            if one.rule in failures and one.id not in self._steps:
                around = self._around(one.reading, one)
                options = self._desk.options.get(one.rule, DEFAULT_OPTIONS)
                decision = failed(one, failures[one.rule], options, now=self._now, around=around)
                made.append(self._note(decision, one, None))
        return tuple(made)

    def withdraw(self, wanted: Iterable[Incident]) -> tuple[Decision, ...]:
        """End incidents because no rule speaks of them any more."""
        wanted = tuple(wanted)
        last = _newest_evaluations(
            self._connection, self._book, [one.fingerprint for one in wanted], 1
        )
        made = []
        for before in wanted:
            decision = withdraw(before, now=self._now)
            made.append(decision)
            if decision.incident == before:
                continue
            self._note(decision, before, None)
            # Counts as a judgement: so the input judged before it is news when the rule returns.
            self._append(
                next(iter(last.get(before.fingerprint, ())), None),
                decision,
                fingerprint=before.fingerprint,
                input_id=_WITHDRAWN,
                rule_version=before.rule_version,
                payload=as_json({"rule": before.rule, "subject": before.subject}),
            )
        return tuple(made)

    def unspoken(self, judged: Iterable[str], failures: Mapping[str, str]) -> list[Incident]:
        """Incidents of the book that have not ended, and that no result and no failed rule speaks of."""
        spoken = set(judged)
        mine = (incident.c.book == self._book, incident.c.state.not_in(_ENDED))
        columns = (incident.c.id, incident.c.fingerprint, incident.c.rule)
        query = select(*columns).where(*mine).order_by(incident.c.id)
        return [
            self._standing.get(row.id) or self.incident(row.id)
            for row in self._connection.execute(query).all()
            if row.fingerprint not in spoken and row.rule not in failures
        ]

    def attend(self) -> tuple[Decision, ...]:
        """Look after every open incident that nothing was said of here: snoozes, holds, calls."""
        made = []
        for one in tuple(self._standing.values()):
            if one.id in self._steps:
                continue
            around = self._around(one.reading, one)
            options = self._desk.options.get(one.rule, DEFAULT_OPTIONS)
            decision = attend(one, options, now=self._now, around=around)
            if decision.incident != one or decision.says:
                made.append(self._note(decision, one, None))
        return tuple(made)

    def incident(self, key: str) -> Incident:
        """The incident of that id, as this transaction sees it."""
        row = self._connection.execute(select(incident).where(incident.c.id == key)).one()
        return read_incident(row)

    def act(self, before: Incident, change: Callable[[Incident], Decision], note: str) -> Decision:
        """What somebody asks of an incident, with who and why; and of all that its message speaks for.

        What is open in its thread goes with it: of a message that was taken on, nobody is called for the
        others. Whoever asks it of one of those asks it of that one alone.
        """
        decision = change(before)
        if decision.incident == before:
            return decision
        decision = self._note(decision, before, None, note)
        led = [one for one in self._standing.values() if one.leader == before.id]
        count = 0
        for member in led:
            made = change(member)
            if made.incident != member:
                same = f"{note}, with “{before.reading.headline}”"
                self._note(made, member, None, same)
                count += 1
        return replace(decision, with_it=count)

    def _around(self, result: Reading | NotEvaluated, before: Incident | None) -> Around:
        if isinstance(result, NotEvaluated):
            if before is None:
                return FREELY
            result = before.reading
        around = self._company.around(result, before)
        if around.call_after is None or before is None or before.id not in self._roots:
            return around
        # By the wall clock: nobody can take on what has not stood in the channel for long enough.
        sent_at = self._roots[before.id].sent_at
        if sent_at is None or self._written_at - sent_at < around.call_after:
            return replace(around, call_after=None)
        return around

    def _is_readable(self, one: Incident) -> bool:
        """Whether the message of an incident that was told stands, or waits for no longer than a moment."""
        root = self._roots.get(one.id)
        if root is None:  # it stands, or is told here for the first time
            return one.id not in self._told_here or not self._is_muted_for_long(one)
        if root.state in (OutboxState.SENT.value, OutboxState.SKIPPED.value):
            return True
        if root.state == OutboxState.DEAD.value:
            return False
        if root.not_before - self._written_at > WAITS_LONG and self._is_muted_for_long(one):
            return False  # asked twice: it may have risen here, and be due at once
        waits: timedelta = self._written_at - root.created_at
        return waits <= WAITS_LONG

    def _is_muted_for_long(self, one: Incident) -> bool:
        until = self._desk.quiet_until(one.reading, one.severity)
        return until is not None and until - self._written_at > WAITS_LONG

    def _taken_back(self, decision: Decision, after: Incident) -> Decision:
        """The decision on what may not be posted any more, where its first message has still to be.

        No request was made for that message, so it is as if it had never been told: it is told when
        nothing holds it back any longer, and never if it ends before that.
        """
        root = self._roots.get(after.id)
        is_quiet = after.state.is_open and (bool(after.held) or after.snoozed_until is not None)
        is_untried = (
            root is not None
            and root.state == OutboxState.PENDING.value
            and root.attempts == 0
            and root.started_at is None
        )
        if not (is_quiet and is_untried):
            return decision
        del self._roots[after.id]
        self._retracted[after.id] = None
        reason = Reason.UNCHANGED if decision.reason is Reason.UPDATED else decision.reason
        return Decision(reason, _never_told(after))

    def _note(
        self, decision: Decision, before: Incident | None, ordinal: int | None, note: str = ""
    ) -> Decision:
        """Keep a decision on an incident for writing; the decision as it will be written."""
        after = decision.incident
        if after is None:
            return decision
        earlier = self._steps.get(after.id)
        if (
            earlier is not None
        ):  # two answers on one signal: one row, with all that both have to say
            decision, before, ordinal = _both(earlier, decision), earlier.before, earlier.ordinal
        decision = self._taken_back(decision, after)
        after = decision.incident or after
        if decision.says and after.revision == 1:
            self._told_here.add(after.id)
        self._steps[after.id] = _Step(decision, before, ordinal, note)
        self._company.note(after)
        if after.state.is_open:
            self._standing[after.id] = after
        else:
            self._standing.pop(after.id, None)
        return decision

    def _evaluate(
        self,
        last: "Row[Any] | _Evaluated | None",
        decision: Decision,
        result: Reading | NotEvaluated,
    ) -> None:
        self._append(
            last,
            decision,
            fingerprint=result.fingerprint,
            input_id=_input_id(result),
            rule_version=result.rule_version,
            payload=self._result_text(result),
        )

    def _append(
        self, last: "Row[Any] | _Evaluated | None", decision: Decision, **values: object
    ) -> None:
        after = decision.incident
        self._evaluations.append(
            {
                "book": self._book,
                "at": self._now,
                "ordinal": 1 if last is None else last.ordinal + 1,
                "reason": decision.reason.value,
                "incident_id": None if after is None else after.id,
                **values,
            }
        )

    def _result_text(self, result: Reading | NotEvaluated) -> str:
        """A result as JSON: made once, though it stands in an evaluation and in a step."""
        if not isinstance(result, Reading):
            return as_json({"rule": result.rule, "subject": result.subject, "why": result.why})
        if id(result) not in self._texts:
            self._texts[id(result)] = result, as_json(result.as_dict())
        return self._texts[id(result)][1]

    def _incident_text(self, one: Incident) -> str:
        """Its payload, with the text of its reading that the evaluation has already."""
        return f'{as_json(one.without_reading())[:-1]},"reading":{self._result_text(one.reading)}}}'

    def foreseen(self) -> tuple[Decision, ...]:
        """What `write` would write of what was decided, each in the thread it would be told in; writes nothing."""
        self._arrange()
        return tuple(step.decision for step in self._steps.values())

    # --- writing ----------------------------------------------------------------

    def write(self) -> None:
        """All that was decided, in as few statements as the number of tables asks for."""
        self._part()
        self._arrange()
        steps = [step for step in self._steps.values() if step.decision.incident is not None]
        moved = [step for step in steps if _is_step(step)]
        known = [_of(step) for step in moved if step.before is not None]
        outgoing = Outgoing(
            self._connection, known, self._written_at, quiet_until=self._desk.quiet_until
        )
        for step in moved:
            if step.decision.says and outgoing.is_unseen(_of(step).id):
                waiting = told_by_root(_of(step))
                step.decision = replace(step.decision, incident=waiting)
        self._write_incidents(steps)
        if self._evaluations:
            self._connection.execute(insert(evaluation), self._evaluations)
        self._write_consequences(moved, outgoing)

    def _part(self) -> None:
        """Take back first messages, and free what would wait too long for the message of another."""
        gone = list(self._retracted)
        retract(self._connection, gone)
        parted = dict.fromkeys(members_waiting(self._connection, gone))
        parted |= {key: None for key, step in self._steps.items() if self._has_outgrown(step)}
        part_company(self._connection, list(parted))
        for key in parted:
            if key in self._standing:
                self._standing[key] = replace(self._standing[key], leader="")
            if key in self._steps:
                step = self._steps[key]
                step.decision = replace(step.decision, incident=replace(_of(step), leader=""))

    def _has_outgrown(self, step: _Step) -> bool:
        """Whether an incident has risen so far that it may be posted before the leader it waits for."""
        before, after = step.before, _of(step)
        leader = self._roots.get(after.leader)
        has_risen = before is not None and after.severity > before.severity
        if leader is None or after.id not in self._roots or not has_risen:
            return False
        due = self._desk.quiet_until(after.reading, after.severity)
        is_sooner = due is None or due < leader.not_before
        return leader.attempts == 0 and leader.not_before > self._written_at and is_sooner

    def _arrange(self) -> None:
        """Who is told in whose thread, and what each incident has to name."""
        decisions = [step.decision for step in self._steps.values()]
        for member, leader in leaders(decisions, self._desk).items():
            step = self._steps[member]
            led = replace(_of(step), leader=leader)
            step.decision = replace(step.decision, incident=led)
            self._standing[member] = led
        named = besides(self._standing.values())
        for one in (*self._standing.values(), *self._ended_leaders(named)):
            lines = named.get(one.id, ())
            if one.beside == lines:
                continue
            step = self._steps.setdefault(one.id, _Step(Decision(Reason.UNCHANGED, one), one, None))
            step.decision = beside(step.decision, lines)

    def _ended_leaders(self, named: Iterable[str]) -> list[Incident]:
        """Incidents that have ended, and in whose thread something is open or has moved."""
        moved = [_of(step) for step in self._steps.values()]
        led = (one.leader for one in moved)
        wanted = dict.fromkeys(key for key in (*named, *led) if key and key not in self._standing)
        found = [one for one in moved if one.id in wanted]
        unread = [key for key in wanted if key not in self._steps]
        for part in _in_parts(unread):
            query = select(incident).where(incident.c.id.in_(part)).order_by(incident.c.id)
            found += [read_incident(row) for row in self._connection.execute(query)]
        return found

    def _write_incidents(self, steps: Sequence[_Step]) -> None:
        new, changed = [], []
        for step in steps:
            after = _of(step)
            if step.ordinal is None and after == step.before:
                continue
            values = {
                "rule": after.rule,
                "type": after.type,
                "subject": after.subject,
                "severity": int(after.severity),
                "state": after.state.value,
                "opened_at": after.opened_at,
                "changed_at": after.changed_at,
                "payload": self._incident_text(after),
            }
            if step.ordinal is None:
                changed.append({"key": after.id, **values})
            else:
                names = {"id": after.id, "book": after.book, "fingerprint": after.fingerprint}
                new.append({**names, "ordinal": step.ordinal, **values})
        if new:
            self._connection.execute(insert(incident), new)
        if changed:
            columns = [name for name in changed[0] if name != "key"]
            statement = (
                update(incident)
                .where(incident.c.id == bindparam("key"))
                .values({name: bindparam(name) for name in columns})
            )
            self._connection.execute(statement, changed)

    def _write_consequences(self, steps: Sequence[_Step], outgoing: Outgoing) -> None:
        """The transitions, and what each has to say."""
        if not steps:
            return
        rows = []
        for step in steps:
            after = _of(step)
            rows.append(
                {
                    "incident_id": after.id,
                    "at": self._now,
                    "reason": step.decision.reason.value,
                    "state_before": "" if step.before is None else step.before.state.value,
                    "state": after.state.value,
                    "severity": int(after.severity),
                    "rule_version": after.rule_version,
                    "payload": self._result_text(after.reading),
                    "note": step.note or None,
                }
            )
        written = self._connection.scalars(
            insert(transition).returning(transition.c.id, sort_by_parameter_order=True), rows
        ).all()
        for step, number in zip(steps, written, strict=True):
            decision = step.decision
            if decision.says or decision.replies or decision.calls:
                entries = tuple(self._compose(decision))
                outgoing.add(_of(step), int(number), entries, overtakes=decision.replies)
        outgoing.write()

    def _open(self) -> list[Incident]:
        open_states = [state.value for state in State if state.is_open]
        mine = (incident.c.book == self._book, incident.c.state.in_(open_states))
        return [
            read_incident(row) for row in self._connection.execute(select(incident).where(*mine))
        ]


class _Past:
    """What is known of fingerprints: their newest incident, their newest evaluations."""

    def __init__(
        self, connection: Connection, book: str, wanted: Sequence[str], depth: int
    ) -> None:
        """`depth` is how many of the newest judgements of a fingerprint anybody asks for."""
        self._rows = _newest_incidents(connection, book, wanted)
        newest = _newest_evaluations(connection, book, wanted, 1)
        self.last: dict[str, Row[Any] | _Evaluated] = {key: one[0] for key, one in newest.items()}
        # Those that led to a judgement of their own, newest first.
        self.counted: dict[str, list[Row[Any] | _Evaluated]] = _newest_evaluations(
            connection, book, wanted, depth, is_counted=True
        )
        self.incidents: dict[str, tuple[Incident, int]] = {}

    def incident(
        self, fingerprint: str, standing: Mapping[str, Incident]
    ) -> tuple[Incident | None, int]:
        """The newest incident and its ordinal; None and 0 when there was none."""
        if fingerprint in self.incidents:
            return self.incidents[fingerprint]
        row = self._rows.get(fingerprint)
        if row is None:
            return None, 0
        return standing.get(row.id) or read_incident(row), row.ordinal

    def note(
        self,
        result: Reading | NotEvaluated,
        decision: Decision,
        last: "Row[Any] | _Evaluated | None",
        now: datetime,
    ) -> None:
        """What was evaluated here counts for the next result of the same fingerprint."""
        done = _Evaluated(
            1 if last is None else last.ordinal + 1, _input_id(result), result.rule_version, now
        )
        self.last[result.fingerprint] = done
        if isinstance(result, Reading) and decision.reason is not Reason.KEPT_LAST:
            self.counted[result.fingerprint] = [done, *self.counted.get(result.fingerprint, ())]


@dataclass(frozen=True, slots=True)
class _Evaluated:
    ordinal: int
    input_id: str
    rule_version: str
    at: datetime


def read_incident(row: Row[Any]) -> Incident:
    """The incident that a row of its table holds."""
    return Incident.from_dict(json.loads(row.payload))


def read_silences(connection: Connection, now: datetime | None) -> tuple[Silence, ...]:
    """Silences, oldest first; with `now` only those that last then."""
    query = select(silence).order_by(silence.c.made_at, silence.c.id)
    if now is not None:
        query = query.where(silence.c.until > now)
    return tuple(
        Silence(
            id=row.id,
            match=tuple((name, value) for name, value in json.loads(row.match)),
            until=row.until,
            reason=row.reason,
            author=row.author,
            made_at=row.made_at,
            ended_at=row.ended_at,
        )
        for row in connection.execute(query)
    )


def _of(step: _Step) -> Incident:
    """The incident of a step that has one."""
    if step.decision.incident is None:
        message = "a step without an incident was to be written"
        raise ValueError(message)
    return step.decision.incident


def _never_told(one: Incident) -> Incident:
    """The same, where no reader has heard of it."""
    return replace(
        one,
        revision=0,
        told_state=None,
        told_at=None,
        peak=Severity.INFO,
        claim_ends_on=None,
        called_at=None,
        leader="",
    )


def _both(earlier: _Step, later: Decision) -> Decision:
    """A second decision on one incident, with what the first has to say."""
    first = earlier.decision
    is_quiet = not (later.says or later.replies or later.calls)
    return replace(
        later,
        reason=first.reason if is_quiet else later.reason,
        says=first.says or later.says,
        replies=first.replies or later.replies,
        calls=first.calls or later.calls,
    )


def _is_step(step: _Step) -> bool:
    """Whether the life of the incident has moved, or somebody asked for something."""
    decision, before, after = step.decision, step.before, _of(step)
    return (
        decision.says
        or decision.replies
        or decision.calls
        or bool(step.note)
        or before is None
        or (before.state, before.severity) != (after.state, after.severity)
    )


def _in_parts(wanted: Sequence[str]) -> Iterable[Sequence[str]]:
    return (wanted[at : at + AT_ONCE] for at in range(0, len(wanted), AT_ONCE))


def _newest_incidents(
    connection: Connection, book: str, wanted: Sequence[str]
) -> dict[str, Row[Any]]:
    place = func.row_number().over(
        partition_by=incident.c.fingerprint, order_by=incident.c.ordinal.desc()
    )
    found = {}
    for part in _in_parts(wanted):
        mine = (incident.c.book == book, incident.c.fingerprint.in_(part))
        ranked = select(incident, place.label("place")).where(*mine).subquery()
        for row in connection.execute(select(ranked).where(ranked.c.place == 1)):
            found[row.fingerprint] = row
    return found


def _newest_evaluations(
    connection: Connection,
    book: str,
    wanted: Sequence[str],
    depth: int,
    *,
    is_counted: bool = False,
) -> dict[str, list[Any]]:
    """The newest evaluations each, newest first; with `is_counted` those that led to a judgement of their own."""
    done = evaluation.c
    place = func.row_number().over(partition_by=done.fingerprint, order_by=done.ordinal.desc())
    found: dict[str, list[Any]] = {}
    for part in _in_parts(wanted):
        mine = [done.book == book, done.fingerprint.in_(part)]
        if is_counted:
            mine.append(done.reason != Reason.KEPT_LAST.value)
            # Something may have been told when nothing could be judged: that makes no judgement of it.
            mine.append(done.input_id.not_like(f"{_NOT_EVALUATED}%"))
        columns = (done.fingerprint, done.ordinal, done.input_id, done.rule_version, done.at)
        ranked = select(*columns, place.label("place")).where(*mine).subquery()
        query = select(ranked).where(ranked.c.place <= depth).order_by(ranked.c.place)
        for row in connection.execute(query):
            found.setdefault(row.fingerprint, []).append(row)
    return found


def _is_counted(
    counted: Sequence[Any],
    result: Reading | NotEvaluated,
    before: Incident | None,
    options: RuleOptions,
) -> bool:
    """Whether this input was judged under this version already, as far back as evaluations count together.

    `counted` is newest first. What is open, and was judged since under another version, is judged again.
    """
    if not counted:
        return False
    if _is_of(counted[0], result):
        return True
    if before is not None and before.state.is_open and before.rule_version != result.rule_version:
        return False
    for one in counted[: options.window]:
        if one.input_id == _WITHDRAWN:
            return False  # what was judged before the rule went away is news when it returns
        if _is_of(one, result):
            return True
    return False


def _is_of(done: Any, result: Reading | NotEvaluated) -> bool:
    """Whether an evaluation was of this very input, under the same version of the rule."""
    wanted = (_input_id(result), result.rule_version)
    return done is not None and (done.input_id, done.rule_version) == wanted


def _is_late(before: Incident | None, counted: Sequence[Any], now: datetime) -> bool:
    """Whether something judged already is newer: what was true earlier must not overturn it."""
    seen = [one.at for one in counted[:1]]
    if before is not None:
        seen += [at for at in (before.read_at, before.changed_at) if at is not None]
    return any(now < at for at in seen)


def _input_id(result: Reading | NotEvaluated) -> str:
    if isinstance(result, Reading):
        return result.input_id
    return _NOT_EVALUATED + hashlib.sha256(result.why.encode()).hexdigest()[:16]
