"""Rows written by the driver itself: a third of what a compiled statement of SQLAlchemy costs, on either database.

Only for the few statements of the hot path. Values go in as the driver takes them: moments as microseconds, enums
as their text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, insert, text
from sqlalchemy.exc import DBAPIError

Row = Sequence[Any]


class Statement:
    """SQL with ``:names``, run by the driver. Its text is compiled once a dialect.

    server: the same question in other words, where the planner of a server would take a bad way with the first.
    """

    def __init__(self, sql: str, *, server: str | None = None) -> None:
        self._sql = sql
        self._server = server or sql
        self._texts: dict[str, tuple[str, list[str] | None]] = {}

    def run(self, connection: Connection, **values: Any) -> int:
        """Execute; returns how many rows it changed."""
        cursor = self._execute(connection, values)
        changed = int(cursor.rowcount)
        cursor.close()
        return changed

    def rows(self, connection: Connection, **values: Any) -> list[Any]:
        """Execute; returns tuples."""
        cursor = self._execute(connection, values)
        found: list[Any] = cursor.fetchall()
        cursor.close()
        return found

    def _execute(self, connection: Connection, values: dict[str, Any]) -> Any:
        dialect = connection.dialect
        found = self._texts.get(dialect.name)
        if found is None:
            words = self._sql if dialect.name == "sqlite" else self._server
            compiled = text(words).compile(dialect=dialect)
            names: list[str] = getattr(compiled, "positiontup", None) or []
            found = self._texts[dialect.name] = (str(compiled), names if dialect.positional else None)
        words, order = found
        return _execute(connection, words, values if order is None else [values[name] for name in order])


class Insert:
    """INSERT into some columns of one table; values in that order. Its text is compiled once a dialect."""

    def __init__(self, table: Table, *columns: str) -> None:
        self._table = table
        self._columns = columns
        self._quoted = [f'"{name}"' for name in columns]
        self._texts: dict[str, tuple[str, bool]] = {}

    def one(self, connection: Connection, row: Row) -> int:
        """Insert a row; returns the number that the database gave it (column ``id``)."""
        words, positional = self._text(connection, numbered=True)
        cursor = _execute(connection, words, row if positional else dict(zip(self._columns, row, strict=True)))
        number = cursor.lastrowid if positional else cursor.fetchone()[0]
        cursor.close()
        return int(number)

    def many(self, connection: Connection, rows: Iterable[Row]) -> None:
        """Insert rows whose key is among the columns, or is nobody's business."""
        if connection.dialect.name == "postgresql":
            _copy(connection, f"COPY {self._table.name} ({', '.join(self._quoted)}) FROM STDIN", rows)
            return
        words, positional = self._text(connection, numbered=False)
        values = rows if positional else [dict(zip(self._columns, r, strict=True)) for r in rows]
        _execute(connection, words, values, many=True).close()

    def _text(self, connection: Connection, *, numbered: bool) -> tuple[str, bool]:
        dialect = connection.dialect
        key = f"{dialect.name} {numbered}"
        found = self._texts.get(key)
        if found is None:
            statement = insert(self._table).values({name: bindparam(name) for name in self._columns})
            if numbered and not dialect.positional:
                statement = statement.returning(self._table.c.id)
            compiled = statement.compile(dialect=dialect, column_keys=list(self._columns))
            if dialect.positional and list(getattr(compiled, "positiontup", ())) != list(self._columns):
                raise AssertionError("the columns must stand in the order of the table")
            found = self._texts[key] = (str(compiled), dialect.positional)
        return found


def next_numbers(connection: Connection, table: Table, count: int) -> range | list[int]:
    """Numbers for rows that are about to be inserted into column ``id``, ascending.

    In SQLite nobody else inserts within our transaction, so they simply run on; a server has a sequence.
    """
    if connection.dialect.name == "sqlite":
        # The name of one of our own tables.
        cursor = _execute(connection, f"SELECT coalesce(max(id), 0) FROM {table.name}", ())  # noqa: S608
        (last,) = cursor.fetchone()
        cursor.close()
        return range(last + 1, last + 1 + count)
    spare: list[int] = connection.info.setdefault(f"numbers of {table.name}", [])
    if len(spare) < count:
        most = max(count, _AHEAD)
        spare += sorted(int(number) for (number,) in _NUMBERS.rows(connection, table=table.name, count=most))
    numbers = spare[:count]
    del spare[:count]
    return numbers


_AHEAD = 512
"""Numbers fetched at once from a server's sequence, which gives none twice, not even after a rollback; those left over at
the end of a connection are nobody's."""
_NUMBERS = Statement(
    "SELECT nextval(s.name) FROM (SELECT CAST(pg_get_serial_sequence(:table, 'id') AS regclass) AS name OFFSET 0) s, "
    "generate_series(1, :count)"  # the name is looked up once, not for each number
)


def _copy(connection: Connection, words: str, rows: Iterable[Row]) -> None:
    """Hand rows to PostgreSQL in one stream: a third of what as many INSERTs cost it, and us."""
    driver: Any = connection.connection.dbapi_connection
    try:
        with driver.cursor() as cursor, cursor.copy(words) as copy:
            for row in rows:
                copy.write_row(row)
    except connection.dialect.loaded_dbapi.Error as error:
        raise DBAPIError.instance(
            words, None, error, connection.dialect.loaded_dbapi.Error, hide_parameters=True, dialect=connection.dialect
        ) from error


def _execute(connection: Connection, words: str, values: Any, *, many: bool = False) -> Any:
    """Run by the driver; its errors are raised as SQLAlchemy raises them, without the values."""
    driver: Any = connection.connection.dbapi_connection
    cursor: Any = driver.cursor()
    try:
        (cursor.executemany if many else cursor.execute)(words, values)
    except connection.dialect.loaded_dbapi.Error as error:
        raise DBAPIError.instance(
            words, None, error, connection.dialect.loaded_dbapi.Error, hide_parameters=True, dialect=connection.dialect
        ) from error
    return cursor
