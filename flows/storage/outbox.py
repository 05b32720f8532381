"""Rows of the outbox: written with a decision, folded while unseen, settled, summed up for operators."""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from alerts.drill import is_drill
from alerts.incident import Incident
from alerts.ledger import (
    AT_ANY_PACE,
    EDITS,
    EVERYTHING,
    LOOKS,
    UPLOADS,
    WORKSPACE_SHARE,
    EntryKind,
    NewEntry,
    OutboxEntry,
    OutboxState,
    OutboxSummary,
    Receipt,
    told_at_once,
)
from alerts.messages import PAST, is_replay
from alerts.rules import Reading, Severity
from alerts.telling import still_calls, told_by_root
from flows.storage.tables import (
    incident,
    installation,
    outbox,
    outbox_pace,
    outbox_pause,
    storable,
)

_COMPACT = json.JSONEncoder(separators=(",", ":"))

# New entries are due at once, whatever moment the decision was made for.
AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)

_OVERTAKEN = "a newer word on the same alert did not have to wait as long"
_CALLS_NOBODY = "nobody has to be called any more: it was taken on, is quiet, eased or ended"
_MOVABLE = (OutboxState.PENDING.value, OutboxState.DEAD.value)
_NOT_STANDING = (*_MOVABLE, OutboxState.SENDING.value, OutboxState.UNKNOWN.value)
_KEPT = (outbox.c.created_at, outbox.c.started_at, outbox.c.error)  # by newer words
LONGEST_PACE = timedelta(minutes=2)  # twice the longest that can be set
_Key = TypeVar("_Key", str, int)
_PART = 500  # names in one query: databases limit how many values a statement may have


def settle(
    connection: Connection,
    entry: OutboxEntry,
    states: Collection[OutboxState],
    **values: object,
) -> bool:
    """Change an entry if it still is as this worker left it; a worker that lost its lease changes nothing."""
    changed = connection.execute(
        update(outbox)
        .where(
            outbox.c.id == entry.id,
            outbox.c.state.in_([state.value for state in states]),
            outbox.c.attempts == entry.attempts,
            outbox.c.looks == entry.looks,
        )
        .values(lease_until=None, **values)
    )
    return changed.rowcount == 1


def is_root(entry: NewEntry) -> bool:
    """Whether an entry says how the root message should look."""
    return EntryKind(entry.kind) in (EntryKind.ROOT, EntryKind.EDIT)


class Outgoing:
    """Writes what transitions have to say, folding into what has not been sent yet."""

    def __init__(
        self,
        connection: Connection,
        known: Sequence[Incident],
        written_at: datetime,
        quiet_until: Callable[[Reading, Severity], datetime | None],
    ) -> None:
        self._connection = connection
        self._written_at = written_at
        self._quiet_until = quiet_until
        self._roots, self._notices = _messages(connection, [one.id for one in known])
        self._mark = connection.execute(select(installation.c.mark)).scalar_one()
        self._rows: list[dict[str, Any]] = []
        self._folded: list[dict[str, Any]] = []
        self._hastened: list[dict[str, Any]] = []
        self._overtaken: list[dict[str, Any]] = []
        self._replaced: defaultdict[str, list[str]] = defaultdict(list)  # incidents by kind
        self._amended: list[int] = []  # notices that have to say something else

    def is_unseen(self, key: str) -> bool:
        """Whether the incident's root is there and not sent: it takes in everything that follows."""
        root = self._roots.get(key)
        return root is not None and root.state in (
            OutboxState.PENDING.value,
            OutboxState.DEAD.value,
        )

    def add(
        self, after: Incident, step: int, entries: Sequence[NewEntry], *, overtakes: bool = False
    ) -> None:
        """The entries of one transition: the root first, since everything else refers to it.

        `overtakes` says that its replies tell a turn: an older turn that has to wait longer than they do is
        never told, or "raised to warning" would come in the morning, after "raised to critical".
        """
        entries = list(entries)  # they may come one by one, and are read twice
        root = self._roots.get(after.id)
        is_unseen = self.is_unseen(after.id)
        has_root = root is not None
        for count, entry in enumerate(sorted(entries, key=lambda e: not is_root(e)), start=1):
            kind = EntryKind(entry.kind)
            if is_root(entry):
                if not has_root:
                    self._insert(EntryKind.ROOT, entry, after, f"{after.id}:{EntryKind.ROOT.value}")
                    has_root = is_unseen = True
                elif root is not None and is_unseen:
                    self._fold(root, after, _calling(entry, entries))
                else:
                    self._replace(EntryKind.EDIT, entry, after, step, count)
            elif kind is EntryKind.CHART:
                self._replace(EntryKind.CHART, entry, after, step, count)
            elif kind is EntryKind.AMEND:
                self._amend(entry, after, step)
            elif not is_unseen:
                # Otherwise the root, when it is sent, says all of it, in the channel where it belongs by then.
                self._insert(kind, entry, after, f"{after.id}:{kind.value}:{step}.{count}")
                if overtakes and kind is EntryKind.REPLY:
                    self._overtaken.append(
                        {"key": after.id, "due": entry.not_before or AT_ONCE},
                    )

    def write(self) -> None:
        """Everything that was added: folded into what waits, in the place of what waits, or behind it."""
        if self._folded:
            columns = ("message", "route", "channel")
            self._connection.execute(
                update(outbox)
                .where(outbox.c.id == bindparam("key"))
                .values({name: bindparam(f"new_{name}") for name in columns}),
                self._folded,
            )
        # Attempts show which rows a window keeps: one that Slack keeps has been tried.
        waits = (
            outbox.c.incident_id == bindparam("key"),
            outbox.c.state == OutboxState.PENDING.value,
            outbox.c.attempts == 0,
            outbox.c.not_before > bindparam("due"),
        )
        if self._hastened:
            sooner = update(outbox).where(*waits).values(not_before=bindparam("due"))
            self._connection.execute(sooner, self._hastened)
        if self._overtaken:
            replies = (*waits, outbox.c.kind == EntryKind.REPLY.value)
            values = {"state": OutboxState.SKIPPED.value, "error": _OVERTAKEN}
            self._connection.execute(
                update(outbox).where(*replies).values(**values), self._overtaken
            )
        self._take_places()
        if self._rows:
            self._connection.execute(insert(outbox), self._rows)
        take_in(self._connection, self._amended)

    def _take_places(self) -> None:
        """Newer words are due since the oldest that they replace, and have been tried if those were.

        Otherwise an edit that is refused again and again would never be late, only renewed.
        """
        oldest: dict[tuple[str, str, int | None], dict[str, Any]] = {}
        for kind, incidents in self._replaced.items():
            for part in _in_parts(incidents):
                gone = delete(outbox).where(
                    outbox.c.incident_id.in_(part),
                    outbox.c.kind == kind,
                    outbox.c.state.in_(_MOVABLE),
                )
                columns = (outbox.c.incident_id, outbox.c.about, *_KEPT)
                for row in self._connection.execute(gone.returning(*columns)):
                    values = {column.name: getattr(row, column.name) for column in _KEPT}
                    there = oldest.setdefault((kind, row.incident_id, row.about), values)
                    if row.created_at < there["created_at"]:
                        there.update(values)
        for new in self._rows:
            new.update(oldest.get((new["kind"], new["incident_id"], new["about"]), {}))

    def _fold(self, root: Row[Any], after: Incident, entry: NewEntry) -> None:
        due = entry.not_before or self._quiet_until(after.reading, after.severity) or AT_ONCE
        if root.attempts == 0 and due < root.not_before:
            # A critical does not wait for the morning because a warning did.
            self._hastened.append({"key": after.id, "due": due})
        message = told_at_once(json.loads(root.message), entry.message)
        self._folded.append(
            {
                "key": root.id,
                "new_message": as_json(message),
                "new_route": entry.route,
                "new_channel": entry.channel,
            }
        )
        if root.state == OutboxState.DEAD.value and root.channel != entry.channel:
            # The route was mended: this is the re-drive that the operator would have to ask for.
            again = update(outbox).where(outbox.c.id == root.id).values(**revived())
            self._connection.execute(again)

    def _replace(
        self, kind: EntryKind, entry: NewEntry, after: Incident, step: int, count: int
    ) -> None:
        """Only the newest counts: take the place of one that waits (or was given up), or wait too."""
        self._replaced[kind.value].append(after.id)
        self._insert(kind, entry, after, f"{after.id}:{kind.value}:{step}.{count}")

    def _amend(self, entry: NewEntry, after: Incident, step: int) -> None:
        """Every notice of an incident is to look so: each where it stands, after it stands."""
        for notice in self._notices[after.id]:
            there = replace(entry, route=notice.route, channel=notice.channel)
            self._replaced[EntryKind.AMEND.value].append(after.id)
            key = f"{after.id}:{EntryKind.AMEND.value}:{step}.{notice.id}"
            self._insert(EntryKind.AMEND, there, after, key, about=notice.id)
            self._amended.append(notice.id)

    def _insert(
        self,
        kind: EntryKind,
        entry: NewEntry,
        after: Incident,
        key: str,
        *,
        about: int | None = None,
    ) -> None:
        values = revived()
        if entry.not_before is not None:
            values["not_before"] = entry.not_before
        self._rows.append(
            {
                "book": after.book,
                "incident_id": after.id,
                "thread_of": None if kind.is_elsewhere else after.leader or None,
                "about": about,
                "kind": kind.value,
                "route": entry.route,
                "channel": entry.channel,
                "delivery_key": f"{key}@{self._mark}",
                "message": as_json(dict(entry.message)),
                "image": entry.image,
                "alt_text": storable(entry.alt_text),
                "created_at": self._written_at,
                "started_at": None,
                "is_repeat_possible": False,
                "error": "",
                **values,
            }
        )


def _in_parts(wanted: Sequence[_Key]) -> Iterable[Sequence[_Key]]:
    return (wanted[at : at + _PART] for at in range(0, len(wanted), _PART))


def _calling(entry: NewEntry, entries: Iterable[NewEntry]) -> NewEntry:
    """A root entry that also calls whom the replies written with it would have called by name."""
    named = (
        one.message["mention"]
        for one in entries
        if one.kind == EntryKind.REPLY and one.message.get("mention")
    )
    mention = entry.message.get("mention") or next(named, "")
    return replace(entry, message={**entry.message, "mention": mention}) if mention else entry


def _messages(
    connection: Connection, wanted: Sequence[str]
) -> tuple[dict[str, Row[Any]], defaultdict[str, list[Row[Any]]]]:
    """The root message of each incident that has one, and the notices that were not dropped."""
    roots: dict[str, Row[Any]] = {}
    notices: defaultdict[str, list[Row[Any]]] = defaultdict(list)
    kinds = [kind.value for kind in EntryKind if kind.stands_alone]
    columns = (
        outbox.c.id,
        outbox.c.incident_id,
        outbox.c.kind,
        outbox.c.route,
        outbox.c.state,
        outbox.c.attempts,
        outbox.c.not_before,
        outbox.c.channel,
        outbox.c.message,
    )
    for part in _in_parts(wanted):
        mine = (outbox.c.incident_id.in_(part), outbox.c.kind.in_(kinds))
        for row in connection.execute(select(*columns).where(*mine).order_by(outbox.c.id)):
            if row.kind == EntryKind.ROOT.value:
                roots[row.incident_id] = row
            elif row.state != OutboxState.SKIPPED.value:
                notices[row.incident_id].append(row)
    return roots, notices


def take_in(connection: Connection, notices: Sequence[int]) -> None:
    """Notices that don't stand take the words that wait for them; a call that nobody needs is dropped.

    One that was given up stays given up: an operator should see that its channel can't be reached.
    """
    columns = (outbox.c.id, outbox.c.incident_id, outbox.c.state, outbox.c.message)
    for part in _in_parts(notices):
        mine = (outbox.c.id.in_(part), outbox.c.state.in_(_MOVABLE))
        query = select(*columns, incident.c.payload).join(
            incident, incident.c.id == outbox.c.incident_id
        )
        for notice in connection.execute(query.where(*mine)).all():
            behind = (outbox.c.incident_id == notice.incident_id, outbox.c.about == notice.id)
            newest = select(outbox.c.message).where(*behind).order_by(outbox.c.id.desc()).limit(1)
            words = connection.scalar(newest)
            if words is None:
                continue
            connection.execute(delete(outbox).where(*behind))
            old, new = json.loads(notice.message), json.loads(words)
            about = Incident.from_dict(json.loads(notice.payload))
            # Of a message from another version nothing is certain: then as long as anything is open.
            at = Severity.__members__.get(str(old.get("severity")), Severity.INFO)
            calls = still_calls(about, at)
            values: dict[str, Any] = {}
            if calls and old.get("mention"):
                new["mention"] = old["mention"]
            elif not calls and notice.state == OutboxState.PENDING.value:
                values = {"state": OutboxState.SKIPPED.value, "error": _CALLS_NOBODY}
            # Also of one that is dropped: if it stands after all, what it says is seen to be outdated.
            values["message"] = as_json(new)
            connection.execute(update(outbox).where(outbox.c.id == notice.id).values(**values))


def take_over(connection: Connection, root: OutboxEntry) -> None:
    """The root waits again: it takes the text of the newest edit, and replies nobody needs any more."""
    behind = and_(
        outbox.c.incident_id == root.incident_id,
        outbox.c.kind.in_([EntryKind.EDIT.value, EntryKind.REPLY.value]),
        outbox.c.state.in_([OutboxState.PENDING.value, OutboxState.DEAD.value]),
    )
    columns = (outbox.c.kind, outbox.c.message)
    waiting = [
        (row.kind, json.loads(row.message))
        for row in connection.execute(select(*columns).where(behind).order_by(outbox.c.id.desc()))
    ]
    newest = next((text for kind, text in waiting if kind == EntryKind.EDIT.value), None)
    if newest is None:
        return
    # The edit calls nobody by name, the replies that go may have.
    names = (text["mention"] for _, text in waiting if text.get("mention"))
    named = {**root.message, "mention": name} if (name := next(names, "")) else root.message
    message = told_at_once(named, newest)
    connection.execute(
        update(outbox).where(outbox.c.id == root.id).values(message=as_json(message))
    )
    connection.execute(delete(outbox).where(behind))
    mine = incident.c.id == root.incident_id
    before = Incident.from_dict(
        json.loads(connection.scalars(select(incident.c.payload).where(mine)).one())
    )
    after = told_by_root(before)
    if after != before:
        connection.execute(update(incident).where(mine).values(payload=as_json(after.as_dict())))


def roots_in_question(
    connection: Connection, book: str, wanted: Iterable[str]
) -> dict[str, Row[Any]]:
    """Roots of a book that do not stand yet, and those of the wanted incidents, by incident."""
    columns = (
        outbox.c.incident_id,
        outbox.c.state,
        outbox.c.attempts,
        outbox.c.created_at,
        outbox.c.not_before,
        outbox.c.started_at,
        outbox.c.sent_at,
    )
    query = select(*columns).where(outbox.c.kind == EntryKind.ROOT.value)
    # Two questions that an index answers each: a scan would wade through the pictures of years.
    is_unsettled = (outbox.c.book == book, outbox.c.state.in_(_NOT_STANDING))
    found = {row.incident_id: row for row in connection.execute(query.where(*is_unsettled))}
    for part in _in_parts([key for key in wanted if key not in found]):
        for row in connection.execute(query.where(outbox.c.incident_id.in_(part))):
            found[row.incident_id] = row
    return found


def retract(connection: Connection, incidents: Sequence[str]) -> None:
    """Take back what no request was ever made for, with its pictures: as if it had never been written."""
    for part in _in_parts(incidents):
        connection.execute(
            delete(outbox).where(
                outbox.c.incident_id.in_(part),
                outbox.c.state == OutboxState.PENDING.value,
                outbox.c.attempts == 0,
            )
        )


def members_waiting(connection: Connection, leaders: Sequence[str]) -> list[str]:
    """Incidents with something that waits to be told in the thread of one of these."""
    found: dict[str, None] = {}
    for part in _in_parts(leaders):
        mine = (outbox.c.thread_of.in_(part), outbox.c.state.in_(_MOVABLE))
        query = select(outbox.c.incident_id).where(*mine).order_by(outbox.c.id)
        found |= dict.fromkeys(connection.scalars(query))
    return list(found)


def part_company(connection: Connection, members: Sequence[str]) -> None:
    """Tell these by themselves: the message in whose thread they would stand is not there to read."""
    for part in _in_parts(members):
        mine = (outbox.c.incident_id.in_(part), outbox.c.state.in_(_MOVABLE))
        connection.execute(update(outbox).where(*mine).values(thread_of=None))
        query = select(incident.c.id, incident.c.payload).where(incident.c.id.in_(part))
        for row in connection.execute(query).all():
            alone = replace(Incident.from_dict(json.loads(row.payload)), leader="")
            values = {"payload": as_json(alone.as_dict())}
            connection.execute(update(incident).where(incident.c.id == row.id).values(**values))


def is_muted(row: Any, now: datetime) -> ColumnElement[bool]:
    """The condition that a window keeps a row, which nobody has tried to send yet (aliases too)."""
    return and_(
        row.c.state == OutboxState.PENDING.value, row.c.attempts == 0, row.c.not_before > now
    )


def revived() -> dict[str, Any]:
    """The columns of an entry that is to be sent as if for the first time."""
    return {
        "state": OutboxState.PENDING.value,
        "attempts": 0,
        "looks": 0,
        "not_before": AT_ONCE,
        "lease_until": None,
        "unknown_at": None,
    }


def read_entry(connection: Connection, key: int, *, with_image: bool = True) -> OutboxEntry:
    """One entry with what its sending needs to know of its root and its channel."""
    root = outbox.alias("root")
    same = outbox.alias("same")
    leader = outbox.alias("leader")
    columns = [column for column in outbox.c if with_image or column is not outbox.c.image]
    known_channel = (
        select(same.c.receipt_channel)
        .where(
            same.c.channel == outbox.c.channel,
            # An answer without its channel left the route's own word there: nothing was learnt.
            same.c.receipt_channel != same.c.channel,
            # An id says it itself: there is nothing to learn, however long one looks.
            outbox.c.channel.like("#%"),
        )
        .order_by(same.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    row = connection.execute(
        select(
            *columns,
            root.c.receipt_channel.label("root_channel"),
            root.c.receipt_ts.label("root_ts"),
            root.c.delivery_key.label("root_key"),
            known_channel.label("known_channel"),
            root.c.channel.label("root_place"),
            leader.c.channel.label("leader_place"),
            leader.c.receipt_channel.label("leader_channel"),
            leader.c.receipt_ts.label("leader_ts"),
        )
        .outerjoin(
            leader,
            and_(
                leader.c.incident_id == outbox.c.thread_of,
                leader.c.kind == EntryKind.ROOT.value,
            ),
        )
        .outerjoin(
            root,
            or_(
                root.c.id == outbox.c.about,
                and_(
                    outbox.c.about.is_(None),
                    root.c.incident_id == outbox.c.incident_id,
                    root.c.kind == EntryKind.ROOT.value,
                ),
            ),
        )
        .where(outbox.c.id == key)
    ).one()
    kind = EntryKind(row.kind)
    own_place = row.channel if kind.stands_alone else row.root_place or row.channel
    return OutboxEntry(
        id=row.id,
        book=row.book,
        incident_id=row.incident_id,
        kind=kind,
        route=row.route,
        channel=row.channel,
        delivery_key=row.delivery_key,
        message=json.loads(row.message),
        image=row.image if with_image else None,
        alt_text=row.alt_text,
        state=OutboxState(row.state),
        attempts=row.attempts,
        looks=row.looks,
        is_repeat_possible=row.is_repeat_possible,
        created_at=row.created_at,
        not_before=row.not_before,
        lease_until=row.lease_until,
        started_at=row.started_at,
        unknown_at=row.unknown_at,
        receipt=_receipt(row.receipt_channel, row.receipt_ts),
        error=row.error,
        root=_receipt(row.root_channel, row.root_ts),
        thread=_receipt(row.leader_channel, row.leader_ts),
        root_key=row.root_key or "",
        channel_id=row.known_channel,
        place=row.leader_place or own_place,
        sent_at=row.sent_at,
    )


def _receipt(channel_id: str | None, ts: str | None) -> Receipt | None:
    return None if channel_id is None else Receipt(channel_id, ts or "")


def place_of(row: Any) -> ColumnElement[str]:
    """The channel that a row goes to, by a route's word: where its thread or its root stands (aliases)."""
    root, leader = outbox.alias("place_root"), outbox.alias("place_leader")

    def channel_of(other: Any, incident_id: Any) -> Any:
        mine = (other.c.incident_id == incident_id, other.c.kind == EntryKind.ROOT.value)
        return select(other.c.channel).where(*mine).scalar_subquery()

    stands_alone = row.c.kind.in_([kind.value for kind in EntryKind if kind.stands_alone])
    own = case(
        (or_(stands_alone, row.c.about.is_not(None)), row.c.channel),
        else_=func.coalesce(channel_of(root, row.c.incident_id), row.c.channel),
    )
    return func.coalesce(channel_of(leader, row.c.thread_of), own)


def look_after(connection: Connection, edits: ColumnElement[bool], at: datetime | None) -> None:
    """Have the messages of these edits looked at once more: an edit that landed late may be older words."""
    edited = select(outbox.c.incident_id).where(edits, outbox.c.about.is_(None))
    notices = select(outbox.c.about).where(edits, outbox.c.about.is_not(None))
    roots = and_(outbox.c.incident_id.in_(edited), outbox.c.kind == EntryKind.ROOT.value)
    # One after the other: of both together neither would be found by its index.
    for mine in (roots, outbox.c.id.in_(notices)):
        connection.execute(update(outbox).where(mine).values(sweep_at=at, looks=0))


def say_again(connection: Connection, entry: OutboxEntry, now: datetime) -> None:
    """Edit a message that stands alone to what it should say, as the newest words have it."""
    columns = [column for column in outbox.c if column not in (outbox.c.image, outbox.c.id)]
    is_root = entry.kind is EntryKind.ROOT
    kind = EntryKind.EDIT if is_root else EntryKind.AMEND
    about = None if is_root else entry.id
    edits = and_(outbox.c.kind == kind.value, outbox.c.about.is_not_distinct_from(about))
    query = select(outbox.c.id, *columns).where(
        outbox.c.incident_id == entry.incident_id, or_(outbox.c.id == entry.id, edits)
    )
    newest = connection.execute(query.order_by(outbox.c.id.desc())).first()
    if newest is None or newest.state != OutboxState.SENT.value:
        return  # newer words are on their way, or wait for an operator
    if newest.id != entry.id:
        mine = outbox.c.id == newest.id
        connection.execute(update(outbox).where(mine).values(**revived()))
        return
    values = {name: value for name, value in newest._mapping.items() if name != "id"}
    values |= {"kind": kind.value, "about": about, "created_at": now}
    values |= {"sweep_at": None, "sent_at": None}
    values |= {"receipt_channel": None, "receipt_ts": None, "started_at": None, "error": ""}
    values |= {"delivery_key": f"{newest.delivery_key}:again", "image": None, **revived()}
    connection.execute(insert(outbox).values(**values))


def of_book(book: str | None) -> tuple[ColumnElement[bool], ...]:
    """The condition for one book, or none for all of them."""
    return () if book is None else (outbox.c.book == book,)


def sent_with(book: str | None, row: Any = outbox) -> tuple[ColumnElement[bool], ...]:
    """The condition for what a delivery of a book sends (aliases too).

    A look into the past and a drill under way are sent by themselves. What is true now goes together:
    alerts, the heartbeat, drills that somebody left to the delivery.
    """
    if book is None:
        return ()
    if is_replay(book) or is_drill(book):
        return (row.c.book == book,)
    return (row.c.book.not_like(f"{PAST}%"),)


def paced_scopes(connection: Connection, now: datetime) -> set[str]:
    """Channels, and the scopes EDITS and EVERYTHING, to which the next request has to wait."""
    return set(paces(connection, now))


def paces(connection: Connection, now: datetime) -> dict[str, datetime]:
    """From when on the next request may go to each scope that has to wait."""
    # Further away is none of ours: the clock was set back, and the channel must not stay quiet for it.
    waits = (outbox_pace.c.free_at > now, outbox_pace.c.free_at <= now + LONGEST_PACE)
    rows = connection.execute(select(outbox_pace.c.scope, outbox_pace.c.free_at).where(*waits))
    return {row.scope: row.free_at for row in rows}


def keep_pace(
    connection: Connection, kind: EntryKind, channel: str, now: datetime, pace: timedelta
) -> None:
    """Let the next request wait: to the channel for `pace`, to the workspace for a share of it."""
    if pace == AT_ANY_PACE:
        return
    scope = EDITS if kind.edits else channel
    for name, span in ((scope, pace), (EVERYTHING, pace / WORKSPACE_SHARE)):
        mine = outbox_pace.c.scope == name
        there = connection.execute(select(outbox_pace.c.free_at).where(mine)).scalar()
        free_at = now + span
        if there is None:
            connection.execute(insert(outbox_pace).values(scope=name, free_at=free_at))
        elif not free_at <= there <= now + LONGEST_PACE:
            connection.execute(update(outbox_pace).where(mine).values(free_at=free_at))


def paused_scopes(connection: Connection, now: datetime) -> set[str]:
    """What has to stay quiet at that moment."""
    query = select(outbox_pause.c.scope).where(outbox_pause.c.until > now)
    return set(connection.scalars(query))


def summed_up(
    rows: Iterable[Row[Any]],
    standing: Collection[str | int],
    pauses: Mapping[str, Row[Any]],
    paces: Mapping[str, datetime],
    now: datetime,
) -> OutboxSummary:
    """Unsettled rows (oldest first) as counts, ages, next due instant and sentences for an operator.

    `standing` holds the incidents whose root message is in the channel and the rows of the notices that are,
    `pauses` and `paces` those that last.
    """
    counts = dict.fromkeys(OutboxState, 0)
    dead_charts = 0
    oldest = now
    dues: list[datetime] = []
    behind: set[str | int] = set()  # those of them with an earlier text that is not settled
    problems = [row.reason for row in pauses.values() if row.scope == EVERYTHING]
    waits = [
        f"{scope}: {row.reason}, until {row.until.astimezone(UTC):%H:%M:%S} UTC"
        for scope, row in pauses.items()
        if scope != EVERYTHING
    ]
    for row in rows:
        state = OutboxState(row.state)
        kind = EntryKind(row.kind)
        is_chart = kind is EntryKind.CHART
        under = row.incident_id if row.about is None else row.about
        if not is_chart:
            oldest = min(oldest, row.created_at)
        if state is OutboxState.DEAD:
            dead_charts += is_chart
            counts[state] += not is_chart
            problems.append(f"{row.channel}: {row.error}")
            continue
        counts[state] += 1
        if state is OutboxState.PENDING and row.error and row.place not in pauses:
            waits.append(f"{row.channel}: not sent yet: {row.error}")
        if state is OutboxState.UNKNOWN:
            dues.append(_after(row, pauses, now, EVERYTHING, LOOKS))
            problems.append(f"{row.channel}: unclear whether it arrived: {row.error}")
        elif state is OutboxState.SENDING:
            dues.append(row.lease_until)
        elif row.thread_of not in {None, *standing}:
            pass  # its leader's message comes first, and has its own due instant or an operator's
        elif kind.stands_alone or (under in standing and (is_chart or under not in behind)):
            scopes = (
                EVERYTHING,
                *([UPLOADS] if is_chart else []),
                *([EDITS] if kind.edits else []),
            )
            turns = (paces.get(EDITS if kind.edits else row.place, now), paces.get(EVERYTHING, now))
            dues.append(max(_after(row, pauses, now, *scopes), *turns))
        is_muted_now = state is OutboxState.PENDING and row.attempts == 0 and row.not_before > now
        # As `claim` sees it: what a window keeps keeps nothing else waiting.
        if not is_chart and kind is not EntryKind.NOTICE and not is_muted_now:
            behind.add(under)
    return OutboxSummary(
        pending=counts[OutboxState.PENDING],
        sending=counts[OutboxState.SENDING],
        unknown=counts[OutboxState.UNKNOWN],
        dead=counts[OutboxState.DEAD],
        dead_charts=dead_charts,
        oldest_unsent_seconds=max(0.0, (now - oldest).total_seconds()),
        next_due_at=min(dues, default=None),
        problems=tuple(dict.fromkeys(problems))[:10],
        waits=tuple(dict.fromkeys(waits))[:10],
    )


def _after(row: Row[Any], pauses: Mapping[str, Row[Any]], now: datetime, *scopes: str) -> datetime:
    """When an entry's turn comes, with every pause that concerns it."""
    due: datetime = row.not_before
    until: list[datetime] = [
        pauses[scope].until for scope in (row.place, *scopes) if scope in pauses
    ]
    return max(due, now, *until)


def as_json(value: Mapping[str, Any]) -> str:
    """Compact JSON text in ASCII: a NUL or half a character from a publisher can't break the database."""
    return _COMPACT.encode(value)
