"""When rules could not judge a subject, as evaluations tell it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from sqlalchemy import case, select

from flows.storage.database import Database
from flows.storage.judging import _NOT_EVALUATED
from flows.storage.tables import evaluation


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A spell in which a rule could not judge a subject; `why` is its newest reason.

    Only what is new is written down: a reason that stays the same has one row, and a return to figures that
    were judged before has none. So `judged_by` is the day by which it was judged again at the latest, None
    while nothing says so.
    """

    rule: str
    subject: str
    since: datetime
    judged_by: datetime | None
    why: str


def read_unjudged(database: Database, book: str, until: datetime) -> tuple[Unjudged, ...]:
    """Every spell that began up to `until`, by the time it began."""
    done = evaluation.c
    reason = case((done.input_id.like(f"{_NOT_EVALUATED}%"), done.payload), else_=None)
    query = (
        select(done.fingerprint, done.at, reason.label("reason"))
        .where(done.book == book, done.at <= until)
        .order_by(done.fingerprint, done.ordinal)
    )
    with database.reading() as connection:
        rows = [(row.fingerprint, row.at, row.reason) for row in connection.execute(query)]
    found = [
        spell
        for _, of_one in groupby(rows, key=lambda row: row[0])
        for spell in _spells([(at, text) for _, at, text in of_one])
    ]
    return tuple(sorted(found, key=lambda one: (one.since, one.rule, one.subject)))


def _spells(rows: list[tuple[datetime, str | None]]) -> Iterator[Unjudged]:
    """Rows in a row that have a reason, as one spell."""
    spell: Unjudged | None = None
    for at, text in rows:
        if text is None:
            if spell is not None:
                yield replace(spell, judged_by=at)
            spell = None
            continue
        told = json.loads(text)
        since = at if spell is None else spell.since
        spell = Unjudged(told["rule"], told["subject"], since, None, told["why"])
    if spell is not None:
        yield spell
