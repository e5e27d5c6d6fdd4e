"""All rows of one store into an empty one, and the proof that they are the same.

    source ──one snapshot──> rows, table by table ──one transaction──> target
    both   ──read again──>   count and fingerprint of each table, compared

A fingerprint is the sum of the SHA-256 of every row: it does not depend on the order in which a database returns rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, func, select, text

from labgateway.errors import StoreError
from labgateway.store.tables import metadata

BATCH = 500
"""Rows read and written at once: some megabytes, as raw messages go."""

Tell = Callable[[str, int, int], None]
"""Called now and then with table, rows done, rows in all."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Of one table. digest: hex, 64 characters."""

    table: str
    rows: int
    digest: str


def copy_rows(source: Connection, target: Connection, tell: Tell) -> None:
    """Copy every table. Raises StoreError when the target is not empty or does not take a row; then it stays empty."""
    for table in metadata.sorted_tables:
        if _count(target, table):
            raise StoreError(
                f"The target's table {table.name} already holds rows: it is copied only into an empty store. "
                "Give it a database or a schema of its own."
            )
    for table in metadata.sorted_tables:
        done, in_all = 0, _count(source, table)
        for rows in _batches(source, table):
            try:
                target.execute(_insert(table), rows)
            except Exception as error:
                if type(error).__module__.startswith("sqlalchemy.") and not getattr(
                    error, "connection_invalidated", False
                ):
                    first, last = (_key(table, rows[at]) for at in (0, -1))
                    raise StoreError(
                        f"The target does not take a row of {table.name} between {first} and {last} "
                        f"({type(getattr(error, 'orig', None) or error).__name__}). Nothing was copied."
                    ) from None
                raise
            done += len(rows)
            tell(table.name, done, in_all)
    if target.dialect.name == "postgresql":
        _count_on(target)


def fingerprints(connection: Connection, tell: Tell) -> list[Fingerprint]:
    """Count and digest of every table, in the order of `copy_rows`."""
    found: list[Fingerprint] = []
    for table in metadata.sorted_tables:
        total, done, in_all = 0, 0, _count(connection, table)
        for rows in _batches(connection, table):
            for row in rows:
                total += int.from_bytes(hashlib.sha256(_canonical(row)).digest())
            done += len(rows)
            tell(table.name, done, in_all)
        found.append(Fingerprint(table.name, done, f"{total % 2**256:064x}"))
    return found


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _batches(connection: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    """Rows as the database keeps them: whole numbers for moments, bytes for bytes."""
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    keys = ", ".join(f'"{column.name}"' for column in table.primary_key.columns)
    rows = text(f"SELECT {columns} FROM {table.name} ORDER BY {keys}")  # noqa: S608  # names of ours
    found = connection.execution_options(yield_per=BATCH).execute(rows)
    for part in found.mappings().partitions(BATCH):
        yield [dict(row) for row in part]


def _insert(table: Table) -> Any:
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    values = ", ".join(f":{column.name}" for column in table.columns)
    return text(f"INSERT INTO {table.name} ({names}) VALUES ({values})")  # noqa: S608  # names of ours


def _key(table: Table, row: dict[str, Any]) -> str:
    return "/".join(str(row[column.name]) for column in table.primary_key.columns)


def _canonical(row: dict[str, Any]) -> bytes:
    """Each value with its kind and length, so that no two rows have the same bytes."""
    parts: list[bytes] = []
    for value in row.values():
        match value:
            case None:
                parts.append(b"n")
            case int():
                parts.append(b"i%d" % value)
            case str():
                said = value.encode("utf-8", "surrogatepass")
                parts.append(b"s%d:" % len(said) + said)
            case _:
                said = bytes(value)
                parts.append(b"b%d:" % len(said) + said)
    return b",".join(parts)


def _count_on(connection: Connection) -> None:
    """PostgreSQL numbers new rows by sequences that know nothing of rows that came with their numbers."""
    for table in metadata.sorted_tables:
        if "id" not in table.columns:
            continue
        sequence = connection.execute(text("SELECT pg_get_serial_sequence(:t, 'id')"), {"t": table.name}).scalar()
        if sequence:
            count_on = f"SELECT setval(:sequence, coalesce(max(id), 1), count(*) > 0) FROM {table.name}"  # noqa: S608
            connection.execute(text(count_on), {"sequence": sequence})
