"""Pipeline runs and their steps: when, how long, what came of it, for reports and for operators."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, func, insert, select, update

from flows.storage.database import Database
from flows.storage.tables import pipeline_run, step_run, storable


@dataclass(frozen=True, slots=True)
class StepRun:
    """One step of a run: seconds of wall time, its counts, and its error if it failed."""

    ordinal: int
    name: str
    seconds: float
    counts: dict[str, int]
    error: str = ""


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """One run of the service at a moment, `finished_at` empty while it runs or if it died."""

    run_id: str
    book: str
    as_of: datetime
    started_at: datetime
    finished_at: datetime | None
    ui_url: str
    steps: tuple[StepRun, ...]


class RunStore:
    """Writes runs as they go, so that a run that died can still be read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(
        self, run_id: str, book: str, as_of: datetime, started_at: datetime, ui_url: str = ""
    ) -> None:
        """Begin a run; a run begun before (a retry) keeps its first start."""
        with self._database.writing() as connection:
            mine = select(pipeline_run.c.run_id).where(pipeline_run.c.run_id == run_id)
            if connection.execute(mine).first() is None:
                connection.execute(
                    insert(pipeline_run).values(
                        run_id=run_id,
                        book=book,
                        as_of=as_of,
                        started_at=started_at,
                        finished_at=None,
                        ui_url=ui_url,
                    )
                )

    def step(
        self, run_id: str, name: str, seconds: float, counts: Mapping[str, int], error: str = ""
    ) -> None:
        """Add a finished step to a run, after the ones it has."""
        with self._database.writing() as connection:
            # Held until the end: two steps that end at once get two numbers.
            run = select(pipeline_run.c.run_id).where(pipeline_run.c.run_id == run_id)
            connection.execute(run.with_for_update())
            mine = step_run.c.run_id == run_id
            last = connection.execute(select(func.max(step_run.c.ordinal)).where(mine)).scalar()
            connection.execute(
                insert(step_run).values(
                    run_id=run_id,
                    ordinal=1 if last is None else last + 1,
                    name=name,
                    seconds=seconds,
                    counts=json.dumps(dict(counts)),
                    error=storable(error),
                )
            )

    def finish(self, run_id: str, finished_at: datetime, ui_url: str | None = None) -> None:
        """End a run, and say where it can be seen if that is known only now."""
        values = {"finished_at": finished_at} | ({} if ui_url is None else {"ui_url": ui_url})
        with self._database.writing() as connection:
            connection.execute(
                update(pipeline_run).where(pipeline_run.c.run_id == run_id).values(**values)
            )

    def get(self, run_id: str) -> PipelineRun | None:
        """One run with its steps in order."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(pipeline_run).where(pipeline_run.c.run_id == run_id)
            ).first()
            return None if row is None else _run(connection, row)

    def latest(self, book: str | None = None, limit: int = 1) -> tuple[PipelineRun, ...]:
        """The runs begun last, newest first, of one book or of all."""
        query = select(pipeline_run).order_by(pipeline_run.c.started_at.desc()).limit(limit)
        if book is not None:
            query = query.where(pipeline_run.c.book == book)
        with self._database.reading() as connection:
            return tuple(_run(connection, row) for row in connection.execute(query).all())

    def last_done(
        self, book: str, step: str, until: datetime
    ) -> tuple[datetime, dict[str, int]] | None:
        """The moment of the newest run of a book, up to `until`, whose step of that name did not fail, and its counts.

        However many runs failed since: whoever asks wants to know for how long.
        """
        query = (
            select(pipeline_run.c.as_of, step_run.c.counts)
            .join(step_run, step_run.c.run_id == pipeline_run.c.run_id)
            .where(
                pipeline_run.c.book == book,
                pipeline_run.c.as_of <= until,
                step_run.c.name == step,
                step_run.c.error == "",
            )
            .order_by(pipeline_run.c.started_at.desc(), step_run.c.ordinal.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else (row.as_of, json.loads(row.counts))


def _run(connection: Connection, row: Row[tuple[object, ...]]) -> PipelineRun:
    steps = connection.execute(
        select(step_run).where(step_run.c.run_id == row.run_id).order_by(step_run.c.ordinal)
    ).all()
    return PipelineRun(
        row.run_id,
        row.book,
        row.as_of,
        row.started_at,
        row.finished_at,
        row.ui_url,
        tuple(
            StepRun(step.ordinal, step.name, step.seconds, json.loads(step.counts), step.error)
            for step in steps
        ),
    )
