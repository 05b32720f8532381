"""Observations name the edition they belong to."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A plain ADD COLUMN: no table is copied.
    op.add_column("observation", sa.Column("edition", sa.DateTime(timezone=True), nullable=True))
    # Every row so far was dated by its file or its source.
    op.execute("UPDATE observation SET edition = known_at")


def downgrade() -> None:
    with op.batch_alter_table("observation") as table:
        table.drop_column("edition")
