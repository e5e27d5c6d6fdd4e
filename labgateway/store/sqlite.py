"""SQLite as we need it: a library without the WAL-reset bug, settings that are read back, errors and what they mean.

Nothing outside this module and engine.py knows that the database is SQLite.
"""

from __future__ import annotations

import errno
import importlib
import sqlite3
from types import ModuleType
from typing import Any

from sqlalchemy import Connection

from labgateway.errors import StoreBrokenError, StoreBusyError, StoreError, StoreFullError
from labgateway.store.writer import Backend

PRAGMAS: tuple[tuple[str, str, str], ...] = (
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", "2"),
    ("foreign_keys", "ON", "1"),
    ("busy_timeout", "5000", "5000"),
    ("wal_autocheckpoint", "16384", "16384"),
    ("journal_size_limit", "67108864", "67108864"),
    ("mmap_size", "0", "0"),
    ("temp_store", "MEMORY", "2"),
    ("cell_size_check", "ON", "1"),
    ("trusted_schema", "OFF", "0"),
)
"""Name, what we set, what must come back. synchronous=FULL: each commit is on disk when it returns.
wal_autocheckpoint: only the net below checkpoint.py, which does it much earlier.
"""

READER_PRAGMAS: tuple[tuple[str, str, str], ...] = (
    ("busy_timeout", "5000", "5000"),
    ("query_only", "ON", "1"),
    ("mmap_size", "0", "0"),
    ("trusted_schema", "OFF", "0"),
)

PAGE_BYTES = 8192
"""Of a new database: three messages of 2.3 kB share a page, where 4096 would hold one (and half of it empty)."""

_SOUND = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
"""First releases of each line in which two connections can no longer lose a commit when a WAL is reset."""

_OWN = frozenset({"ERROR", "CONSTRAINT", "MISMATCH", "TOOBIG", "RANGE"})
"""Result codes for which a statement or its values are to blame, not the disk (sqlite.org/rescode.html)."""

_MISUSED = frozenset({"ProgrammingError", "InterfaceError", "NotSupportedError", "DataError", "IntegrityError"})
"""What the module raises by itself, without a result code: a wrong number or type of values, a closed cursor."""


def sound(version: tuple[int, ...]) -> bool:
    """Whether an SQLite library has the WAL-reset fix (sqlite.org, release 3.51.3)."""
    if version >= _SOUND[0]:
        return True
    return any(version[:2] == first[:2] and version >= first for first in _SOUND[1:])


def module() -> ModuleType:
    """The DB-API module to use: pysqlite3's where its library is sound, else Python's own where that is.

    Raises StoreError with the cure when neither is.
    """
    found = f"Python's SQLite is {sqlite3.sqlite_version}"
    try:
        wheel = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        found += ", pysqlite3 is not installed"
    else:
        if sound(_numbers(wheel.sqlite_version)):
            return _quick(wheel)
        found += f", pysqlite3's is {wheel.sqlite_version}"
    if sound(_numbers(sqlite3.sqlite_version)):
        return _quick(sqlite3)
    raise StoreError(
        f"{found}: both can lose committed rows (WAL-reset bug, fixed in 3.51.3, 3.50.7 and 3.44.6). "
        "Install the wheel: pip install 'pysqlite3>=0.6.1'; pysqlite3-binary is too old."
    )


def _quick(found: ModuleType) -> ModuleType:
    """Spare the driver its vain search for an adapter of each NULL and each BLOB: 3.6 us a value, more than the rest."""
    for kind in (type(None), bytes):
        found.register_adapter(kind, _as_it_is)
    return found


def _as_it_is(value: Any) -> Any:
    return value


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def prepare(connection: Any) -> None:
    """Settings of the one connection that writes. Raises StoreError when one did not stick."""
    connection.isolation_level = None
    # Only a database that has no page yet takes it; an older one keeps what it was made with.
    connection.execute(f"PRAGMA page_size={PAGE_BYTES}").fetchall()
    set_pragmas(connection, PRAGMAS)


def prepare_reader(connection: Any) -> None:
    """Settings of a reader: it never writes, and waits for a checkpoint rather than fail. Raises StoreError."""
    connection.isolation_level = None
    set_pragmas(connection, READER_PRAGMAS)


def set_pragmas(connection: Any, pragmas: tuple[tuple[str, str, str], ...]) -> None:
    """Set each PRAGMA by itself and read it back. Raises StoreError when one did not stick.

    An I/O error while switching to WAL raises nothing: SQLite stays in rollback mode and only says so when asked.
    """
    for name, value, expected in pragmas:
        connection.execute(f"PRAGMA {name}={value}").fetchall()
        row = connection.execute(f"PRAGMA {name}").fetchone()
        found = "nothing" if row is None else str(row[0]).lower()
        if found != expected:
            raise StoreError(
                f"SQLite did not take PRAGMA {name}={value} (it says {found}). Is the data folder on a local disk "
                "that this user may write?"
            )


def begin(connection: Connection) -> None:
    """Take the write lock at once: a deferred transaction that turns into a write fails however long it waits."""
    _raw(connection).execute("BEGIN IMMEDIATE")


def begin_unless_begun(connection: Connection) -> None:
    """For SQLAlchemy's own beginning, on a connection that writes: nothing where ``begin`` has been."""
    if not _raw(connection).in_transaction:
        begin(connection)


def begin_reading(connection: Connection) -> None:
    """One snapshot for all statements of a read."""
    _raw(connection).execute("BEGIN")


def commit(connection: Connection) -> None:
    """Commit, whether SQLAlchemy took part in the transaction or only the driver.

    Raises StoreError when the transaction has ended already: SQLite ends it by itself after some errors, and a
    commit would then say yes to nothing.
    """
    if not _raw(connection).in_transaction:
        raise StoreError("the writer's transaction was ended by a job")
    if connection.in_transaction():
        connection.commit()
    else:
        _raw(connection).commit()


def rollback(connection: Connection) -> None:
    """Undo everything since ``begin``; harmless when SQLite has done so already."""
    if connection.in_transaction():
        connection.rollback()
    _raw(connection).rollback()


def _raw(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def judge(error: BaseException) -> StoreError | None:
    """What an error means for who is waiting: full, busy, broken for good; None: whoever caused it is to blame.

    A database error in doubt is broken: a process that cannot tell what is on disk must not go on acknowledging.
    """
    origin = getattr(error, "orig", None) or error
    if isinstance(origin, OSError):
        return StoreFullError("the disk is full") if origin.errno in (errno.ENOSPC, errno.EDQUOT) else None
    if not _is_ours(origin):
        return None
    name = str(getattr(origin, "sqlite_errorname", "") or "")
    words = str(origin).lower()
    if name == "SQLITE_IOERR_SHMSIZE" or name.startswith("SQLITE_FULL") or "disk is full" in words:
        # SHMSIZE: the index of the WAL could not grow; it is no data and is made anew at every start.
        return StoreFullError("the disk is full")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or words == "database is locked":
        return StoreBusyError("the database is locked by another program")
    own = name.split("_")[1] in _OWN if name else type(origin).__name__ in _MISUSED
    return None if own else StoreBrokenError(name or type(origin).__name__)


def _is_ours(error: BaseException) -> bool:
    return any(
        base.__name__ == "Error" and base.__module__.partition(".")[0] in ("sqlite3", "pysqlite3")
        for base in type(error).__mro__
    )


BACKEND = Backend(begin, commit, rollback, judge)
