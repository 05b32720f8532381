"""Many rows into one table at once: columns in, no object per row and value in between."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Date, Table, insert
from sqlalchemy.exc import DBAPIError

from flows.storage.tables import UtcDateTime

Values = Sequence[Any] | pd.Series


def append(connection: Connection, table: Table, columns: Mapping[str, Values]) -> None:
    """Insert rows that are given as columns of equal length; the database fills the others.

    A value is encoded as SQLAlchemy's type of its column does it, but each distinct one only once. Raises
    what an ordinary insert would raise.
    """
    names = list(columns)
    encoded = [_encoded(connection, table, name, columns[name]) for name in names]
    rows = zip(*encoded, strict=True)
    if connection.dialect.driver == "psycopg":
        _copy(connection, table, names, rows)
        return
    statement = insert(table).compile(dialect=connection.dialect, column_keys=names)
    if statement.positional:
        place = [names.index(name) for name in statement.positiontup or ()]
        straight = place == list(range(len(names)))
        given: list[Any] = (
            list(rows) if straight else [tuple(row[i] for i in place) for row in rows]
        )
    else:
        given = [dict(zip(names, row, strict=True)) for row in rows]
    if given:
        connection.exec_driver_sql(str(statement), given)


def _copy(
    connection: Connection, table: Table, names: Sequence[str], rows: Iterator[tuple[Any, ...]]
) -> None:
    # PostgreSQL takes rows three times as fast in its copy protocol as in any INSERT.
    quote = connection.dialect.identifier_preparer.quote
    statement = f"COPY {quote(table.name)} ({', '.join(map(quote, names))}) FROM STDIN"
    dbapi = connection.dialect.dbapi
    assert dbapi is not None  # noqa: S101 - a connection has a driver
    try:
        with connection.connection.cursor() as cursor, cursor.copy(statement) as sink:  # type: ignore[attr-defined]
            for row in rows:
                sink.write_row(row)
    except dbapi.Error as error:
        raise DBAPIError.instance(
            statement, None, error, dbapi.Error, hide_parameters=True, dialect=connection.dialect
        ) from error


def _encoded(connection: Connection, table: Table, name: str, values: Values) -> list[Any]:
    kind = table.c[name].type
    process = kind.dialect_impl(connection.dialect).bind_processor(connection.dialect)
    is_day = isinstance(kind, Date)
    if not is_day and not isinstance(kind, UtcDateTime) and process is None:
        return values.tolist() if isinstance(values, pd.Series) else list(values)
    codes, distinct = pd.factorize(pd.Series(values))
    found = [
        (it.date() if isinstance(it, pd.Timestamp) else it)
        if is_day
        else (it.to_pydatetime() if isinstance(it, pd.Timestamp) else it)
        for it in distinct.tolist()
    ]
    made: list[Any] = [process(it) for it in found] if process else found
    made.append(None)  # the code of what is missing is -1
    return [made[code] for code in codes]
