"""SQLite as we need it: a library without the WAL-reset bug, and settings that are read back.

Nothing here runs a statement that another store would not need; the one place that knows SQLite's dialect.
"""

from __future__ import annotations

import errno
import importlib
import sqlite3
from types import ModuleType
from typing import Any

from labgateway.errors import StoreBrokenError, StoreBusyError, StoreError, StoreFullError

PRAGMAS: tuple[tuple[str, str, str], ...] = (
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", "2"),
    ("foreign_keys", "ON", "1"),
    ("busy_timeout", "5000", "5000"),
    ("wal_autocheckpoint", "2000", "2000"),
    ("temp_store", "MEMORY", "2"),
)
"""Name, what we set, what must come back. synchronous=FULL: each commit is on disk when it returns."""

_SOUND = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
"""First releases of each line in which two connections can no longer lose a commit when a WAL is reset."""


def sound(version: tuple[int, ...]) -> bool:
    """Whether an SQLite library has the WAL-reset fix (sqlite.org, release 3.51.3)."""
    if version >= (3, 51, 3):
        return True
    return any(version[:2] == first[:2] and version >= first for first in _SOUND[1:])


def module() -> ModuleType:
    """The DB-API module to use: pysqlite3's where its library is sound, else Python's own where that is.

    Raises StoreError with the cure when neither is.
    """
    try:
        wheel = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        pass
    else:
        if sound(tuple(int(part) for part in str(wheel.sqlite_version).split("."))):
            return wheel
    if sound(sqlite3.sqlite_version_info):
        return sqlite3
    raise StoreError(
        f"SQLite {sqlite3.sqlite_version} can lose committed rows (WAL-reset bug, fixed in 3.51.3). "
        "Install the wheel: pip install 'pysqlite3>=0.6.1'; pysqlite3-binary is too old."
    )


def prepare(connection: Any) -> None:
    """Set each PRAGMA and read it back. Raises StoreError when one did not stick.

    An I/O error while switching to WAL raises nothing by itself: SQLite stays in rollback mode.
    """
    connection.isolation_level = None
    cursor = connection.cursor()
    for name, value, expected in PRAGMAS:
        cursor.execute(f"PRAGMA {name}={value}").fetchall()
        found = str(cursor.execute(f"PRAGMA {name}").fetchone()[0]).lower()
        if found != expected:
            raise StoreError(
                f"SQLite did not take PRAGMA {name}={value} (it says {found!r}). Is the data folder on a local disk "
                "that this user may write?"
            )
    cursor.close()


def prepare_reader(connection: Any) -> None:
    """A reader's settings: it never writes, and waits for a checkpoint rather than fail."""
    connection.isolation_level = None
    connection.execute("PRAGMA query_only=ON").fetchall()
    connection.execute("PRAGMA busy_timeout=5000").fetchall()


def judge(error: BaseException) -> StoreError:
    """What a database error means for who is waiting: full, busy, or broken for good.

    When in doubt broken: a process that cannot tell what is on disk must not go on acknowledging.
    """
    origin = getattr(error, "orig", None) or error
    name = str(getattr(origin, "sqlite_errorname", "") or "")
    words = str(origin).lower()
    if name.startswith("SQLITE_FULL") or "database or disk is full" in words:
        return StoreFullError("the disk is full")
    if isinstance(origin, OSError) and origin.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError("the disk is full")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or "locked" in words:
        return StoreBusyError("the database is locked by another program")
    return StoreBrokenError(name or type(origin).__name__)
