"""Observations say whether their publisher dated them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Every row so far was dated by its file or its source. A plain ADD COLUMN: no table is copied.
    op.add_column(
        "observation",
        sa.Column("is_dated", sa.Boolean(), nullable=False, server_default=sa.true()),
    )


def downgrade() -> None:
    with op.batch_alter_table("observation") as table:
        table.drop_column("is_dated")
