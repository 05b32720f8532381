"""Silences, scores of incidents and of rules are kept; an incident may be told in another one's thread."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "silence",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("match", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("author", sa.String(length=120), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_silence")),
    )
    op.create_table(
        "incident_score",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("incident_id", sa.String(length=40), nullable=False),
        sa.Column("episode", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(length=30), nullable=False),
        sa.Column("lead_days", sa.Double(), nullable=True),
        sa.Column("scored_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["incident_id"], ["incident.id"], name=op.f("fk_incident_score_incident_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident_score")),
        sa.UniqueConstraint(
            "incident_id", "episode", name=op.f("uq_incident_score_incident_id_episode")
        ),
    )
    op.create_table(
        "track_record",
        sa.Column("rule", sa.String(length=80), nullable=False),
        sa.Column("rule_version", sa.String(length=80), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("rule", "rule_version", name=op.f("pk_track_record")),
    )
    with op.batch_alter_table("transition") as batch:
        batch.add_column(sa.Column("note", sa.Text(), nullable=True))
    with op.batch_alter_table("outbox") as batch:
        batch.add_column(sa.Column("thread_of", sa.String(length=40), nullable=True))
        batch.create_foreign_key(op.f("fk_outbox_thread_of"), "incident", ["thread_of"], ["id"])


def downgrade() -> None:
    with op.batch_alter_table("outbox") as batch:
        batch.drop_constraint(op.f("fk_outbox_thread_of"), type_="foreignkey")
        batch.drop_column("thread_of")
    with op.batch_alter_table("transition") as batch:
        batch.drop_column("note")
    op.drop_table("track_record")
    op.drop_table("incident_score")
    op.drop_table("silence")
