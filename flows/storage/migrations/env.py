"""How Alembic finds the tables: on the connection that `Database.upgrade` hands over, or at a URL."""

from collections.abc import Iterable
from typing import Any, Literal

from alembic import context
from alembic.migration import MigrationContext
from alembic.operations.ops import MigrationScript
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from flows.storage.database import open_database
from flows.storage.tables import UtcDateTime, metadata


def _render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """A migration names no class of ours: it has to run as it is when that class has changed."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def _number(
    _context: MigrationContext, _revision: Any, directives: Iterable[MigrationScript]
) -> None:
    """Revisions are counted, 0001 and up, unless `--rev-id` says otherwise."""
    options = context.config.cmd_opts
    if options is not None and getattr(options, "rev_id", None):
        return
    newest = ScriptDirectory.from_config(context.config).get_current_head() or "0"
    for directive in directives:
        directive.rev_id = f"{int(newest) + 1:04d}"


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        render_item=_render,
        process_revision_directives=_number,
    )
    with context.begin_transaction():
        context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    _run(handed_over)
else:
    # A developer writing a migration: alembic -x url=sqlite:////... revision --autogenerate
    url = context.get_x_argument(as_dictionary=True).get("url")
    if not url:
        message = "give the database: alembic -x url=sqlite:////full/path/lodestone.db ..."
        raise CommandError(message)
    with open_database(url) as database, database.writing() as opened:
        _run(opened)
