"""How Alembic finds the tables: on the connection that `Database.upgrade` hands over."""

from alembic import context
from sqlalchemy import Connection

from flows.storage.database import open_database
from flows.storage.tables import metadata


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    _run(handed_over)
else:
    # A developer writing a migration: alembic -x url=sqlite:////... revision --autogenerate
    with (
        open_database(context.get_x_argument(as_dictionary=True)["url"]) as database,
        database.writing() as opened,
    ):
        _run(opened)
