"""Posts have a pace that workers share, copies are looked for, presses of buttons are kept."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    installation = op.create_table(
        "installation",
        sa.Column("mark", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("mark", name=op.f("pk_installation")),
    )
    op.bulk_insert(installation, [{"mark": uuid.uuid4().hex[:8]}])
    op.create_table(
        "outbox_pace",
        sa.Column("scope", sa.String(length=120), nullable=False),
        sa.Column("free_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_outbox_pace")),
    )
    op.create_table(
        "interaction",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("press", sa.String(length=200), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("user_name", sa.String(length=120), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("incident_id", sa.String(length=80), nullable=False),
        sa.Column("channel", sa.String(length=120), nullable=False),
        sa.Column("message_ts", sa.String(length=40), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_interaction")),
        sa.UniqueConstraint("press", name=op.f("uq_interaction_press")),
    )
    op.create_index(op.f("ix_interaction_done_at"), "interaction", ["done_at"])
    with op.batch_alter_table("outbox") as batch:
        batch.add_column(sa.Column("sweep_at", sa.DateTime(timezone=True), nullable=True))
        batch.add_column(sa.Column("about", sa.Integer(), nullable=True))
        batch.create_index(
            op.f("ix_outbox_sweep_at"),
            ["sweep_at"],
            sqlite_where=sa.text("sweep_at IS NOT NULL"),
            postgresql_where=sa.text("sweep_at IS NOT NULL"),
        )


def downgrade() -> None:
    with op.batch_alter_table("outbox") as batch:
        batch.drop_index(op.f("ix_outbox_sweep_at"))
        batch.drop_column("about")
        batch.drop_column("sweep_at")
    op.drop_index(op.f("ix_interaction_done_at"), table_name="interaction")
    op.drop_table("interaction")
    op.drop_table("outbox_pace")
    op.drop_table("installation")
