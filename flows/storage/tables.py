"""Every table, as the newest migration leaves it; instants go in and come out as aware UTC."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

HEAD = "0005"
"""Newest revision. Kept here so that a database already there is opened without loading Alembic."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware instant, kept in UTC: SQLite has no time zones and would drop one silently."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            message = f"{value!r} has no time zone: instants are stored in UTC"
            raise ValueError(message)
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        instant: datetime = value
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def storable(text: str) -> str:
    """Text without what a column of text refuses: NUL and halves of characters."""
    return text.replace("\x00", "").encode(errors="replace").decode()


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# A row to lock where a database has row locks: whoever holds it is the only writer of that kind.
# SQLite serialises writers by itself (BEGIN IMMEDIATE) and leaves FOR UPDATE out.
writer = Table("writer", metadata, Column("name", String(40), primary_key=True))

# Which installation this is, one row: two that post into one channel must not take each other's messages for theirs.
installation = Table("installation", metadata, Column("mark", String(16), primary_key=True))

observation = Table(
    "observation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("series", String(80), nullable=False),
    Column("period", Date, nullable=False),
    Column("known_at", UtcDateTime, nullable=False),
    Column("value", Double, nullable=False),
    Column("unit", String(40), nullable=False),
    Column("source_id", String(80), nullable=False),
    Column("confidence", String(20), nullable=False),
    Column("statistic", String(80), nullable=False),
    Column("fetched_at", UtcDateTime, nullable=False),
    Column("raw_value", Text, nullable=False),
    Column("raw_unit", Text, nullable=False),
    Column("note", Text, nullable=False),
    # The instant under which the publisher dates the figure; none: `known_at` is the series' usual lag,
    # or when a revision was fetched. A later edition counts before the correction of an older one.
    Column("edition", UtcDateTime, nullable=True),
    UniqueConstraint("series", "period", "known_at"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Integer, primary_key=True),
    # Hash of what was refused and why: the same bad row in every run is one row, seen again.
    Column("row_key", String(64), nullable=False, unique=True),
    Column("source", String(80), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("file", Text, nullable=False),
    Column("row_number", Integer, nullable=False),
    Column("raw", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

ingest_run = Table(
    "ingest_run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("source", String(80), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("read_rows", Integer, nullable=False),
    Column("new_rows", Integer, nullable=False),
    Column("revised_rows", Integer, nullable=False),
    Column("unchanged_rows", Integer, nullable=False),
    Column("quarantined_rows", Integer, nullable=False),
    Column("newest_period", Date, nullable=True),
    Column("error", Text, nullable=False),
    Index(None, "source", "at"),
)

forecast = Table(
    "forecast",
    metadata,
    Column("forecast_id", String(40), primary_key=True),
    Column("series", String(80), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("payload", Text, nullable=False),
    Column("paths", LargeBinary, nullable=False),
)

# The same forecast is said at many moments (nothing new came in) but kept once.
forecast_use = Table(
    "forecast_use",
    metadata,
    Column("id", Integer, primary_key=True),
    Column(
        "forecast_id", String(40), ForeignKey("forecast.forecast_id"), nullable=False, index=True
    ),
    Column("series", String(80), nullable=False),
    Column("known_at", UtcDateTime, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("run_id", String(80), nullable=False),
    Index(None, "series", "known_at"),
    UniqueConstraint("run_id", "series"),
)

projection = Table(
    "projection",
    metadata,
    Column("projection_id", String(40), primary_key=True),
    Column("market", String(80), nullable=False),
    Column("scenario", String(80), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("payload", Text, nullable=False),
    Column("shortfall_paths", LargeBinary, nullable=False),
    Column("demand_paths", LargeBinary, nullable=False),
)

projection_use = Table(
    "projection_use",
    metadata,
    Column("id", Integer, primary_key=True),
    Column(
        "projection_id",
        String(40),
        ForeignKey("projection.projection_id"),
        nullable=False,
        index=True,
    ),
    Column("market", String(80), nullable=False),
    Column("scenario", String(80), nullable=False),
    Column("known_at", UtcDateTime, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("run_id", String(80), nullable=False),
    Index(None, "market", "scenario", "known_at"),
    UniqueConstraint("run_id", "market", "scenario"),
)

# One row a series and run: a scorecard is small, and made once a week.
scorecard = Table(
    "scorecard",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("series", String(80), nullable=False),
    Column("known_at", UtcDateTime, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("run_id", String(80), nullable=False),
    Column("payload", Text, nullable=False),
    Index(None, "series", "known_at"),
    UniqueConstraint("run_id", "series"),
)

pipeline_run = Table(
    "pipeline_run",
    metadata,
    Column("run_id", String(80), primary_key=True),
    Column("book", String(80), nullable=False),
    Column("as_of", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime, nullable=True),
    Column("ui_url", Text, nullable=False),
    Index(None, "book", "started_at"),
)

step_run = Table(
    "step_run",
    metadata,
    Column("run_id", String(80), ForeignKey("pipeline_run.run_id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("name", String(80), nullable=False),
    Column("seconds", Double, nullable=False),
    Column("counts", Text, nullable=False),
    Column("error", Text, nullable=False),
)

incident = Table(
    "incident",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("book", String(80), nullable=False),
    Column("fingerprint", String(80), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("rule", String(80), nullable=False),
    Column("type", String(40), nullable=False),
    Column("subject", String(80), nullable=False),
    Column("severity", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("payload", Text, nullable=False),
    Index(None, "book", "state"),
    UniqueConstraint("book", "fingerprint", "ordinal"),
)

evaluation = Table(
    "evaluation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("book", String(80), nullable=False),
    Column("fingerprint", String(80), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("input_id", String(120), nullable=False),
    Column("rule_version", String(80), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("reason", String(30), nullable=False),
    Column("incident_id", String(40), ForeignKey("incident.id"), nullable=True, index=True),
    Column("payload", Text, nullable=False),
    # Not unique by input: a limit changed and changed back makes the same input count again.
    UniqueConstraint("book", "fingerprint", "ordinal"),
)

transition = Table(
    "transition",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("incident_id", String(40), ForeignKey("incident.id"), nullable=False, index=True),
    Column("at", UtcDateTime, nullable=False),
    Column("reason", String(30), nullable=False),
    Column("state_before", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    Column("severity", Integer, nullable=False),
    Column("rule_version", String(80), nullable=False),
    Column("payload", Text, nullable=False),
    Column("note", Text, nullable=True),  # who asked for it and why, where somebody did
)

# What nobody wants to hear of, until when, and who says so.
silence = Table(
    "silence",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("match", Text, nullable=False),
    Column("until", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("author", String(120), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime, nullable=True),
)

# What became of an episode of an incident, once the truth was known.
incident_score = Table(
    "incident_score",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("incident_id", String(40), ForeignKey("incident.id"), nullable=False),
    Column("episode", Integer, nullable=False),
    Column("verdict", String(30), nullable=False),
    Column("lead_days", Double, nullable=True),
    Column("scored_at", UtcDateTime, nullable=False),
    Column("payload", Text, nullable=False),
    UniqueConstraint("incident_id", "episode"),
)

# How often a rule was right in a replay: one row a rule and version, the newest replay's.
track_record = Table(
    "track_record",
    metadata,
    Column("rule", String(80), primary_key=True),
    Column("rule_version", String(80), primary_key=True),
    Column("made_at", UtcDateTime, nullable=False),
    Column("payload", Text, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("book", String(80), nullable=False),
    Column("incident_id", String(40), ForeignKey("incident.id"), nullable=False, index=True),
    Column("kind", String(10), nullable=False),
    # The incident under whose message all of it is told; none: it has a message of its own.
    Column("thread_of", String(40), ForeignKey("incident.id"), nullable=True),
    Column("route", String(80), nullable=False),
    Column("channel", String(120), nullable=False),
    Column("delivery_key", String(120), nullable=False, unique=True),
    Column("message", Text, nullable=False),
    Column("image", LargeBinary, nullable=True),
    Column("alt_text", Text, nullable=False),
    Column("state", String(10), nullable=False),
    Column(
        "attempts", Integer, nullable=False
    ),  # claims since written or re-driven; fences a lost lease
    Column(
        "looks", Integer, nullable=False
    ),  # conclusive looks that did not find it, since UNKNOWN; looks for a second copy, since SENT
    Column("is_repeat_possible", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("not_before", UtcDateTime, nullable=False),
    Column("lease_until", UtcDateTime, nullable=True),
    Column("started_at", UtcDateTime, nullable=True),  # first request that may have arrived
    Column("unknown_at", UtcDateTime, nullable=True),
    Column("sent_at", UtcDateTime, nullable=True),
    Column("receipt_channel", String(120), nullable=True),
    Column("receipt_ts", String(40), nullable=True),
    Column("error", Text, nullable=False),
    # When to look for a second copy of it in the channel; none: it can't have one.
    Column("sweep_at", UtcDateTime, nullable=True),
    # The row whose message this one edits; none: that of its incident. Not a foreign key: each row that is
    # deleted would have all others searched for it.
    Column("about", Integer, nullable=True),
    Index(None, "state", "not_before"),
    Index(
        None,
        "sweep_at",
        sqlite_where=text("sweep_at IS NOT NULL"),
        postgresql_where=text("sweep_at IS NOT NULL"),
    ),
)

# What must stay quiet until when: one channel after a 429, everything after a refused token.
outbox_pause = Table(
    "outbox_pause",
    metadata,
    Column("scope", String(120), primary_key=True),
    Column("until", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
)

# From when on the next request may go to a channel: workers share one pace.
outbox_pace = Table(
    "outbox_pace",
    metadata,
    Column("scope", String(120), primary_key=True),
    Column("free_at", UtcDateTime, nullable=False),
)

# What people asked for with a button: kept before Slack is told that it was heard, applied once.
interaction = Table(
    "interaction",
    metadata,
    Column("id", Integer, primary_key=True),
    # One press of one button by one person, however often Slack sends it.
    Column("press", String(200), nullable=False, unique=True),
    Column("received_at", UtcDateTime, nullable=False),
    Column("user_id", String(40), nullable=False),
    Column("user_name", String(120), nullable=False),
    Column("action", String(40), nullable=False),
    Column("incident_id", String(80), nullable=False),  # as the button says it: perhaps nobody's
    Column("channel", String(120), nullable=False),
    Column("message_ts", String(40), nullable=False),
    Column("done_at", UtcDateTime, nullable=True),  # none: it still has to be applied
    Column("outcome", Text, nullable=False),  # what became of it, as the person was told
    Index(None, "done_at"),
)
