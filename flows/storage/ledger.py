"""Incidents, evaluations and the outbox: a decision and what it has to say are one transaction."""

import gc
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
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

from alerts.grouping import Desk
from alerts.incident import Decision, Incident, Reason, State
from alerts.ledger import (
    AT_ANY_PACE,
    EDITS,
    EVERYTHING,
    LOOKS,
    UPLOADS,
    Compose,
    EntryKind,
    Judgement,
    OutboxEntry,
    OutboxState,
    OutboxSummary,
    Receipt,
    told_anew,
)
from alerts.messages import DRILL
from alerts.rules import NotEvaluated, Reading, RuleOptions, Severity
from alerts.silences import Silence
from flows.storage.database import Database
from flows.storage.interactions import Settling
from flows.storage.judging import AT_ONCE, Judging, read_incident, read_silences
from flows.storage.outbox import AT_ONCE as LONG_AGO
from flows.storage.outbox import (
    as_json,
    is_muted,
    keep_pace,
    look_after,
    members_waiting,
    of_book,
    paced_scopes,
    paces,
    part_company,
    paused_scopes,
    place_of,
    read_entry,
    revived,
    say_again,
    sent_with,
    settle,
    summed_up,
    take_in,
    take_over,
)
from flows.storage.tables import (
    UtcDateTime,
    evaluation,
    incident,
    incident_score,
    outbox,
    outbox_pace,
    outbox_pause,
    silence,
    storable,
    track_record,
    transition,
)

_UNSETTLED = (OutboxState.PENDING, OutboxState.SENDING, OutboxState.UNKNOWN)
_EDITING = [kind.value for kind in EntryKind if kind.edits]
_NOT_DONE = (*(state.value for state in _UNSETTLED), OutboxState.DEAD.value)


@dataclass(frozen=True, slots=True)
class IncidentScore:
    """What became of one episode of an incident: "hit", "late", "false", or why nobody can know."""

    incident_id: str
    episode: int
    verdict: str
    lead_days: float | None  # from the first visible post to the event
    scored_at: datetime
    why: str  # one sentence


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
    note: str = ""  # who asked for it and why, where somebody did


@dataclass(frozen=True, slots=True)
class LifeStep:
    """One step in the life of any incident, with what scoring and timelines need of it."""

    at: datetime
    incident: str
    rule: str
    subject: str
    reason: str  # a Reason's value
    before: str  # a State's value; empty for the first one
    state: State
    severity: Severity
    headline: str


ALONE = Desk()


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
        desk: Desk = ALONE,
    ) -> Decision:
        """Decide what one result means and write all that follows from it, once; see `judge`."""
        one = Judgement(result, rule)
        return self.judge(book, (one,), now=now, compose=compose, written_at=written_at, desk=desk)[
            0
        ]

    def judge(
        self,
        book: str,
        judgements: Sequence[Judgement],
        *,
        now: datetime,
        compose: Compose,
        written_at: datetime | None = None,
        desk: Desk = ALONE,
        failures: Mapping[str, str] | None = None,
        is_everything: bool = False,
    ) -> tuple[Decision, ...]:
        """Decide what results mean and write all that follows from them, once and in one transaction.

        `now` is the moment that is judged, `written_at` the wall clock where the two differ. The
        input and rule version judged last, however often and by whomever they come again, answer
        ALREADY_EVALUATED; what is older than the last judgement answers KEPT_LAST. `failures` are rules
        that could not be evaluated, and why. With `is_everything` the results are all that the rules say:
        incidents that none speaks of are withdrawn; if the rule returns, it is judged again.
        """
        with self._judging(book, now, written_at, compose, desk) as judging:
            return _decided(judging, judgements, failures or {}, is_everything=is_everything)

    def foresee(
        self,
        book: str,
        judgements: Sequence[Judgement],
        *,
        now: datetime,
        written_at: datetime,
        desk: Desk = ALONE,
        failures: Mapping[str, str] | None = None,
        is_everything: bool = False,
    ) -> tuple[Decision, ...]:
        """What `judge` would decide now, as far as incidents are concerned; it writes nothing.

        It keeps no writer out either, so `judge` may decide otherwise of what somebody else writes until then.
        """
        with _uncollected(), self._database.reading() as connection:
            judging = Judging(
                connection, book, now=now, written_at=written_at, compose=lambda _: (), desk=desk
            )
            _decided(judging, judgements, failures or {}, is_everything=is_everything)
            return judging.foreseen()

    def attend(
        self,
        book: str,
        *,
        now: datetime,
        compose: Compose,
        desk: Desk = ALONE,
    ) -> tuple[Decision, ...]:
        """Look after what is open without judging anew: snoozes that end, holds that are gone, calls."""
        with self._judging(book, now, None, compose, desk) as judging:
            return judging.attend()

    def withdraw(
        self,
        key: str,
        *,
        now: datetime,
        compose: Compose,
        written_at: datetime | None = None,
        desk: Desk = ALONE,
    ) -> Decision:
        """End the incident of that id because its rule is gone. If the rule returns, it is judged again."""
        return self._on(key, now, compose, written_at, desk, lambda j, one: j.withdraw([one])[0])

    def act(
        self,
        key: str,
        change: Callable[[Incident], Decision],
        *,
        note: str,
        now: datetime,
        compose: Compose,
        written_at: datetime | None = None,
        desk: Desk = ALONE,
        press: Settling | None = None,
    ) -> Decision:
        """What somebody asks of an incident (acknowledge, snooze), noted with who and why.

        The same is done to what is open in its thread: the decision's `with_it` says to how many. The `press` of a button that asks for it is marked as done with it, or neither happens: raises
        AlreadySettledError when it has been applied before.
        """

        def asked(judging: Judging, one: Incident) -> Decision:
            decision = judging.act(one, change, note)
            if press is not None:
                press.settle(judging.connection, decision, written_at or now)
            return decision

        return self._on(key, now, compose, written_at, desk, asked)

    def _on(
        self,
        key: str,
        now: datetime,
        compose: Compose,
        written_at: datetime | None,
        desk: Desk,
        work: Callable[[Judging, Incident], Decision],
    ) -> Decision:
        with self._database.reading() as connection:
            book = connection.execute(
                select(incident.c.book).where(incident.c.id == key)
            ).scalar_one()
        with self._judging(book, now, written_at, compose, desk) as judging:
            return work(judging, judging.incident(key))

    @contextmanager
    def _judging(
        self,
        book: str,
        now: datetime,
        written_at: datetime | None,
        compose: Compose,
        desk: Desk,
    ) -> Iterator[Judging]:
        with _uncollected(), self._database.writing("ledger") as connection:
            judging = Judging(
                connection,
                book,
                now=now,
                written_at=written_at or now,
                compose=compose,
                desk=desk,
            )
            yield judging
            judging.write()

    # --- silences ---------------------------------------------------------------

    def silences(self, now: datetime | None = None) -> tuple[Silence, ...]:
        """Every silence, oldest first; with `now` only those that last then."""
        with self._database.reading() as connection:
            found = read_silences(connection, now)
        return found if now is None else tuple(one for one in found if one.is_active(now))

    def add_silence(self, one: Silence) -> None:
        """Keep a silence; the same id again is an error."""
        with self._database.writing("ledger") as connection:
            connection.execute(
                insert(silence).values(
                    id=one.id,
                    match=json.dumps([list(pair) for pair in one.match]),
                    until=one.until,
                    reason=storable(one.reason),
                    author=storable(one.author),
                    made_at=one.made_at,
                    ended_at=one.ended_at,
                )
            )

    def end_silence(self, key: str, now: datetime) -> bool:
        """End a silence before its time; False when there is none of that id that lasts."""
        mine = (silence.c.id == key, silence.c.ended_at.is_(None), silence.c.until > now)
        with self._database.writing("ledger") as connection:
            ended = connection.execute(update(silence).where(*mine).values(ended_at=now))
            return ended.rowcount == 1

    # --- scores -----------------------------------------------------------------

    def keep_score(self, score: IncidentScore) -> None:
        """What became of an episode; a later word on the same one takes its place."""
        values = {
            "verdict": score.verdict,
            "lead_days": score.lead_days,
            "scored_at": score.scored_at,
            "payload": as_json({"why": score.why}),
        }
        mine = (
            incident_score.c.incident_id == score.incident_id,
            incident_score.c.episode == score.episode,
        )
        with self._database.writing("ledger") as connection:
            if (
                connection.execute(update(incident_score).where(*mine).values(**values)).rowcount
                == 0
            ):
                key = {"incident_id": score.incident_id, "episode": score.episode}
                connection.execute(insert(incident_score).values(**key, **values))

    def scores(self, book: str | None = None) -> tuple[IncidentScore, ...]:
        """Every score, of one book or of all."""
        query = select(incident_score).join(incident).order_by(incident_score.c.id)
        if book is not None:
            query = query.where(incident.c.book == book)
        with self._database.reading() as connection:
            return tuple(
                IncidentScore(
                    row.incident_id,
                    row.episode,
                    row.verdict,
                    row.lead_days,
                    row.scored_at,
                    json.loads(row.payload)["why"],
                )
                for row in connection.execute(query)
            )

    def keep_record(
        self, rule: str, version: str, record: Mapping[str, Any], now: datetime
    ) -> None:
        """How often a rule was right in the newest replay of this version of it."""
        mine = (track_record.c.rule == rule, track_record.c.rule_version == version)
        values = {"made_at": now, "payload": as_json(record)}
        with self._database.writing("ledger") as connection:
            if connection.execute(update(track_record).where(*mine).values(**values)).rowcount == 0:
                key = {"rule": rule, "rule_version": version}
                connection.execute(insert(track_record).values(**key, **values))

    def records(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Track records by rule and version."""
        with self._database.reading() as connection:
            return {
                (row.rule, row.rule_version): json.loads(row.payload)
                for row in connection.execute(select(track_record))
            }

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

    def books_open(self, beginning: str) -> tuple[str, ...]:
        """Books that begin so and have an open incident, in order."""
        mine = (
            incident.c.book.startswith(beginning, autoescape=True),
            incident.c.state.in_([state.value for state in State if state.is_open]),
        )
        with self._database.reading() as connection:
            query = select(incident.c.book).where(*mine).distinct().order_by(incident.c.book)
            return tuple(connection.scalars(query))

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
                    row.note or "",
                )
                for row in connection.execute(query)
            )

    def life(
        self, book: str, *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[LifeStep, ...]:
        """The steps of all incidents of a book, oldest first, in the order in which they were written.

        With `since` only those of incidents that changed after it, with `until` only steps up to it.
        """
        query = (
            select(transition, incident.c.rule, incident.c.subject)
            .join(incident)
            .where(incident.c.book == book)
            .order_by(transition.c.at, transition.c.id)
        )
        if since is not None:
            query = query.where(incident.c.changed_at >= since)
        if until is not None:
            query = query.where(transition.c.at <= until)
        with self._database.reading() as connection:
            return tuple(
                LifeStep(
                    row.at,
                    row.incident_id,
                    row.rule,
                    row.subject,
                    row.reason,
                    row.state_before,
                    State(row.state),
                    Severity(row.severity),
                    str(json.loads(row.payload)["headline"]),
                )
                for row in connection.execute(query)
            )

    def posted(
        self, book: str, kinds: Collection[EntryKind], *, since: datetime | None = None
    ) -> dict[str, list[datetime]]:
        """When messages of these kinds were shown, by incident, oldest first."""
        query = (
            select(outbox.c.incident_id, outbox.c.sent_at)
            .join(incident, incident.c.id == outbox.c.incident_id)
            .where(
                outbox.c.book == book,
                outbox.c.sent_at.is_not(None),
                outbox.c.kind.in_([kind.value for kind in kinds]),
            )
            .order_by(outbox.c.sent_at, outbox.c.id)
        )
        if since is not None:
            query = query.where(incident.c.changed_at >= since)
        found: dict[str, list[datetime]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(query):
                found.setdefault(row.incident_id, []).append(row.sent_at)
        return found

    def channels(self, book: str, ids: Collection[str]) -> dict[str, str]:
        """The channel that the root message of each of these was last written for, where there is one."""
        wanted = list(ids)
        found: dict[str, str] = {}
        with self._database.reading() as connection:
            for at in range(0, len(wanted), AT_ONCE):
                query = (
                    select(outbox.c.incident_id, outbox.c.channel)
                    .where(
                        outbox.c.book == book,
                        outbox.c.kind == EntryKind.ROOT.value,
                        outbox.c.incident_id.in_(wanted[at : at + AT_ONCE]),
                    )
                    .order_by(outbox.c.id)
                )
                found |= {row.incident_id: row.channel for row in connection.execute(query)}
        return found

    def stated(self, book: str, *, until: datetime) -> tuple[dict[str, Any], ...]:
        """Evaluations up to then in which a rule stated a chance, oldest first: their readings as plain values."""
        done = evaluation.c
        query = select(done.payload).where(done.book == book, done.at <= until).order_by(done.id)
        with self._database.reading() as connection:
            read = [json.loads(text) for text in connection.scalars(query)]
        return tuple(one for one in read if one.get("probability") is not None)

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

    def expire(self, book: str | None, now: datetime, *, sweep_at: datetime | None = None) -> int:
        """Take back leases that ran out: whoever held them died. Returns how many.

        A message that one of them may have been editing is looked at once more at `sweep_at`.
        """
        lost = and_(
            outbox.c.state == OutboxState.SENDING.value,
            outbox.c.lease_until < now,
            *sent_with(book),
        )
        why = "the sender ended before it knew the answer"
        with self._database.writing("ledger") as connection:
            # An edit may be repeated without harm: nobody can see that it was made twice.
            is_edit = outbox.c.kind.in_(_EDITING)
            look_after(connection, and_(lost, is_edit), sweep_at)
            edits = connection.execute(
                update(outbox)
                .where(lost, is_edit)
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

    def claim(
        self,
        book: str | None,
        now: datetime,
        lease: timedelta,
        pace: timedelta = AT_ANY_PACE,
    ) -> OutboxEntry | None:
        """Lease the next entry that may be sent, or None. Text goes before charts, then oldest first.

        No other post may go to its channel within `pace`, by whichever worker.
        """
        mine = outbox.alias("mine")
        root = outbox.alias("root")
        notice = outbox.alias("notice")
        earlier = outbox.alias("earlier")
        leader = outbox.alias("leader")
        stands_alone = mine.c.kind.in_([kind.value for kind in EntryKind if kind.stands_alone])
        is_chart = mine.c.kind == EntryKind.CHART.value
        root_stands = exists().where(
            mine.c.about.is_(None),
            root.c.incident_id == mine.c.incident_id,
            root.c.kind == EntryKind.ROOT.value,
            root.c.state == OutboxState.SENT.value,
        )
        notice_stands = exists().where(
            notice.c.id == mine.c.about, notice.c.state == OutboxState.SENT.value
        )
        # Told in the thread of another one: that has to stand first.
        leader_stands = or_(
            mine.c.thread_of.is_(None),
            exists().where(
                leader.c.incident_id == mine.c.thread_of,
                leader.c.kind == EntryKind.ROOT.value,
                leader.c.state == OutboxState.SENT.value,
            ),
        )
        is_behind = exists().where(
            earlier.c.incident_id == mine.c.incident_id,
            earlier.c.id < mine.c.id,
            earlier.c.about.is_not_distinct_from(mine.c.about),
            # Neither a picture nor a channel of others that is slow keeps a thread waiting.
            earlier.c.kind.not_in([EntryKind.CHART.value, EntryKind.NOTICE.value]),
            earlier.c.state.in_([state.value for state in _UNSETTLED]),
            # Nor does what a window keeps until the morning.
            ~is_muted(earlier, now),
        )
        with self._database.writing("ledger") as connection:
            paused = paused_scopes(connection, now)
            paced = paced_scopes(connection, now)
            if EVERYTHING in paused | paced:
                return None
            is_edit = mine.c.kind.in_(_EDITING)
            stands = or_(root_stands, notice_stands)
            place = place_of(mine)
            last = outbox_pace.alias("last")
            query = (
                select(mine.c.id, mine.c.kind, place.label("place"))
                .outerjoin(last, last.c.scope == case((is_edit, EDITS), else_=place))
                .where(
                    mine.c.state == OutboxState.PENDING.value,
                    mine.c.not_before <= now,
                    place.not_in(paused),
                    or_(is_edit, place.not_in(paced)),
                    leader_stands,
                    or_(stands_alone, and_(stands, or_(is_chart, ~is_behind))),
                )
                .order_by(
                    case((is_chart, 1), else_=0),
                    # No drill before what has happened.
                    case((mine.c.book.like(f"{DRILL} %"), 1), else_=0),
                    # The channel that has waited longest: a long backlog must not starve the others.
                    func.coalesce(last.c.free_at, literal(LONG_AGO, UtcDateTime())),
                    mine.c.id,
                )
                .limit(1)
            )
            query = query.where(*sent_with(book, mine))
            if EDITS in paced | paused:
                query = query.where(~is_edit)
            if UPLOADS in paused:
                query = query.where(~is_chart)
            found = connection.execute(query).first()
            if found is None:
                return None
            keep_pace(connection, EntryKind(found.kind), found.place, now, pace)
            connection.execute(
                update(outbox)
                .where(outbox.c.id == found.id)
                .values(
                    state=OutboxState.SENDING.value,
                    attempts=outbox.c.attempts + 1,
                    lease_until=now + lease,
                    started_at=func.coalesce(outbox.c.started_at, literal(now, UtcDateTime())),
                )
            )
            return read_entry(connection, found.id)

    def mark_sent(
        self,
        entry: OutboxEntry,
        receipt: Receipt,
        *,
        now: datetime,
        pace: timedelta = AT_ANY_PACE,
        sweep_at: datetime | None = None,
    ) -> bool:
        """It stands in the channel; False when that was known. Proof is believed from anyone, also when the lease was lost.

        One that was sent again after an unclear answer is looked for once more at `sweep_at`: the first
        request may have landed after all.
        """
        with self._database.writing("ledger") as connection:
            # From the answer on, or a request that was under way for long would be followed too closely.
            keep_pace(connection, entry.kind, entry.place, now, pace)
            words = connection.scalar(select(outbox.c.message).where(outbox.c.id == entry.id))
            is_outdated = words is not None and json.loads(words) != entry.message
            changed = connection.execute(
                update(outbox)
                .where(outbox.c.id == entry.id, outbox.c.state != OutboxState.SENT.value)
                .values(
                    state=OutboxState.SENT.value,
                    receipt_channel=receipt.channel_id,
                    receipt_ts=receipt.ts,
                    # One that is told anew was shown before: that it was, and when, stays true.
                    sent_at=func.coalesce(outbox.c.sent_at, literal(now, UtcDateTime())),
                    lease_until=None,
                    error="",
                    looks=0,
                    sweep_at=case(
                        (outbox.c.sweep_at.is_not(None), literal(sweep_at, UtcDateTime())),
                        else_=None,
                    ),
                )
            )
            if changed.rowcount and is_outdated and entry.kind.stands_alone:
                # It was sent by a worker that had lost it meanwhile, and newer words were put in its place.
                say_again(connection, entry, now)
            return changed.rowcount == 1

    def post_anew(self, entry: OutboxEntry, why: str, *, now: datetime) -> None:
        """The incident's message is gone, or can't be edited: what the edit says is posted as a new one.

        With a key of its own: the old one may still stand in the channel, and must not be taken for it.
        """
        with self._database.writing("ledger") as connection:
            skipped = {"state": OutboxState.SKIPPED.value, "not_before": now}
            if not settle(
                connection, entry, (OutboxState.SENDING,), **skipped, error=storable(why)
            ):
                return
            mine = (
                outbox.c.incident_id == entry.incident_id,
                outbox.c.kind == EntryKind.ROOT.value,
                outbox.c.state == OutboxState.SENT.value,
            )
            values = {
                **revived(),
                "message": as_json(told_anew(entry.message)),
                "delivery_key": f"{entry.root_key}~{entry.id}",
                "receipt_channel": None,
                "receipt_ts": None,
                "started_at": None,
                "sweep_at": None,
                "error": "",
            }
            connection.execute(update(outbox).where(*mine).values(**values))

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
        """It will never pass as things are; it waits for `redrive`.

        A root message takes over what was waiting behind it: later texts go into it, not behind those.
        What would have stood in its thread is told by itself: that may be what people must act on.
        """
        with self._database.writing("ledger") as connection:
            changed = settle(
                connection,
                entry,
                (OutboxState.SENDING, OutboxState.UNKNOWN),
                state=OutboxState.DEAD.value,
                not_before=now,
                error=storable(error),
            )
            if changed and entry.kind is EntryKind.ROOT:
                take_over(connection, entry)
                part_company(connection, members_waiting(connection, [entry.incident_id]))
            if changed and entry.kind is EntryKind.NOTICE:
                take_in(connection, [entry.id])

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
        sweep_at: datetime | None = None,
    ) -> None:
        """It does not stand in the channel: send it again, with the same key, from `not_before` on.

        A root message that waits again takes over what was waiting behind it. After an edit that may land
        late, its message is looked at once more at `sweep_at`.
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
                # It may have been sent before: a copy can land after the next one.
                **({"sweep_at": not_before} if entry.state is OutboxState.UNKNOWN else {}),
            )
            if changed and entry.kind is EntryKind.ROOT:
                take_over(connection, entry)
            if changed and entry.kind is EntryKind.NOTICE:
                take_in(connection, [entry.id])
            if changed and entry.kind.edits and sweep_at is not None:
                look_after(connection, outbox.c.id == entry.id, sweep_at)

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

    def sweepable(self, book: str | None, now: datetime) -> tuple[OutboxEntry, ...]:
        """Entries that stand in a channel, and may stand there twice: to be looked at now, oldest first."""
        return self._to_look_for(book, now, OutboxState.SENT, outbox.c.sweep_at)

    def swept(self, entry: OutboxEntry, *, now: datetime, next_at: datetime | None) -> None:
        """There is one of it now; look again at `next_at`, or never.

        After the first look its message is edited once to its newest words: those that stand may be older.
        """
        mine = (outbox.c.id == entry.id, outbox.c.looks == entry.looks)
        values = {"sweep_at": next_at, "looks": outbox.c.looks + 1}
        with self._database.writing("ledger") as connection:
            changed = connection.execute(update(outbox).where(*mine).values(**values))
            if changed.rowcount and entry.kind.stands_alone and entry.looks == 0:
                say_again(connection, entry, now)

    def reconcilable(self, book: str | None, now: datetime) -> tuple[OutboxEntry, ...]:
        """Entries to be looked for in the channel now, oldest first."""
        return self._to_look_for(book, now, OutboxState.UNKNOWN, outbox.c.not_before)

    def _to_look_for(
        self, book: str | None, now: datetime, state: OutboxState, due: Column[Any]
    ) -> tuple[OutboxEntry, ...]:
        with self._database.reading() as connection:
            paused = paused_scopes(connection, now)
            if paused & {EVERYTHING, LOOKS}:
                return ()
            mine = (outbox.c.state == state.value, due <= now, outbox.c.channel.not_in(paused))
            query = select(outbox.c.id).where(*mine, *sent_with(book)).order_by(outbox.c.id)
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

    def let_go(self, why: str, now: datetime) -> int:
        """Give up for good what was given up, whatever its book: it is never sent. Returns how many."""
        dead = outbox.c.state == OutboxState.DEAD.value
        values = {"state": OutboxState.SKIPPED.value, "not_before": now, "error": storable(why)}
        with self._database.writing("ledger") as connection:
            return connection.execute(update(outbox).where(dead).values(**values)).rowcount

    def redrive(self, book: str | None = None, channels: Mapping[str, str] | None = None) -> int:
        """After a repair: try everything that was given up once more, now. Returns how many.

        `channels` says where each route leads now: what has no message in a channel yet goes there.
        """
        with self._database.writing("ledger") as connection:
            # A token that was refused may be mended; what Slack asked to wait for is still to be waited for.
            connection.execute(delete(outbox_pause).where(outbox_pause.c.scope == EVERYTHING))
            for route, channel in (channels or {}).items():
                _reroute(connection, book, route, channel)
            again = connection.execute(
                update(outbox)
                .where(outbox.c.state == OutboxState.DEAD.value, *of_book(book))
                .values(**revived())
            )
            return again.rowcount

    def give_up(self, book: str, why: str, now: datetime) -> None:
        """Send nothing more of a book, and try nothing of it again; what has a reason keeps it."""
        waits = (outbox.c.book == book, outbox.c.state.in_(_NOT_DONE))
        reason = case((outbox.c.error == "", why), else_=outbox.c.error)
        values = {"state": OutboxState.SKIPPED.value, "not_before": now, "error": reason}
        with self._database.writing("ledger") as connection:
            connection.execute(update(outbox).where(*waits).values(**values))

    def summary(self, book: str | None, now: datetime) -> OutboxSummary:
        """What has not arrived yet, and when something can be done about it."""
        found = outbox.c
        query = (
            select(
                found.id,
                found.incident_id,
                found.thread_of,
                found.about,
                found.kind,
                found.channel,
                place_of(outbox).label("place"),
                found.state,
                found.attempts,
                found.not_before,
                found.lease_until,
                found.created_at,
                found.error,
            )
            .where(found.state.in_(_NOT_DONE), *sent_with(book))
            .order_by(found.id)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
            # By their keys: asked for all that was ever sent, the database would read all of it.
            roots = {row.incident_id for row in rows} | {row.thread_of for row in rows}
            notices = {row.about for row in rows}
            is_root = found.kind == EntryKind.ROOT.value
            standing: set[str | int] = _sent(connection, found.incident_id, roots - {None}, is_root)
            standing |= _sent(connection, found.id, notices - {None})
            pauses = {
                row.scope: row
                for row in connection.execute(
                    select(outbox_pause).where(outbox_pause.c.until > now)
                )
            }
            waits = paces(connection, now)
            # For those that were looked at once already, nobody waits.
            # Only asked for what the index of it holds: they are few, and the sent ones are many.
            swept = select(found.state, found.looks, found.sweep_at).where(
                found.sweep_at.is_not(None), *sent_with(book)
            )
            sweeps = [row for row in connection.execute(swept) if row.state == OutboxState.SENT]
        first = min((row.sweep_at for row in sweeps if row.looks == 0), default=None)
        soonest = min((row.sweep_at for row in sweeps), default=None)
        # Nobody looks into a channel before these are over.
        quiet = [pauses[scope].until for scope in (EVERYTHING, LOOKS) if scope in pauses]
        return replace(
            summed_up(rows, standing, pauses, waits, now),
            first_sweep_at=None if first is None else max([first, *quiet]),
            sweep_due_at=None if soonest is None else max([soonest, *quiet]),
            is_paused=EVERYTHING in pauses,
        )

    # --- helpers ----------------------------------------------------------------

    def _incidents(self, query: Any) -> tuple[Incident, ...]:
        with self._database.reading() as connection:
            return tuple(read_incident(row) for row in connection.execute(query))

    def _settle(
        self, entry: OutboxEntry, states: Collection[OutboxState], **values: object
    ) -> None:
        with self._database.writing("ledger") as connection:
            settle(connection, entry, states, **values)


def _decided(
    judging: Judging,
    judgements: Sequence[Judgement],
    failures: Mapping[str, str],
    *,
    is_everything: bool,
) -> tuple[Decision, ...]:
    """One decision a result, then those on rules that failed, then on what no rule speaks of."""
    gone: tuple[Decision, ...] = ()
    if is_everything:
        judged = [one.result.fingerprint for one in judgements]
        # First: what they explained is then told at once, not at the next look.
        gone = judging.withdraw(judging.unspoken(judged, failures))
    made = judging.judge(judgements)
    made += judging.fail(failures)
    return made + gone


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without looking for garbage: of many small values that are made at once none is garbage.

    With thousands of alerts in one look, the search takes a third of the time and finds nothing.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _sent(
    connection: Connection, key: Column[Any], wanted: Collection[Any], *also: ColumnElement[bool]
) -> set[Any]:
    """Which of these keys have a row that stands in its channel."""
    every, stand = list(wanted), set()
    for at in range(0, len(every), AT_ONCE):
        part = key.in_(every[at : at + AT_ONCE])
        query = select(key).where(part, outbox.c.state == OutboxState.SENT.value, *also)
        stand |= set(connection.scalars(query))
    return stand


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
            # A notice is a message of its own: where its incident's stands is nothing to it.
            or_(outbox.c.kind == EntryKind.NOTICE.value, ~may_stand),
            *of_book(book),
        )
        .values(channel=channel)
    )
