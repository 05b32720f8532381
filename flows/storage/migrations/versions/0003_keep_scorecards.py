"""Scorecards of the weekly backtest are kept, one a series and run."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scorecard",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("series", sa.String(length=80), nullable=False),
        sa.Column("known_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.String(length=80), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scorecard")),
        sa.UniqueConstraint("run_id", "series", name=op.f("uq_scorecard_run_id_series")),
    )
    op.create_index(op.f("ix_scorecard_series_known_at"), "scorecard", ["series", "known_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_scorecard_series_known_at"), table_name="scorecard")
    op.drop_table("scorecard")
