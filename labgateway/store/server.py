"""PostgreSQL as we need it: a commit that is on disk when it returns, errors and what they mean."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError

from labgateway.errors import StoreBusyError, StoreError
from labgateway.store.writer import Backend

OPTIONS = "-c synchronous_commit=on -c timezone=UTC -c statement_timeout=0"
"""Sent with each connection; ``check`` reads the one that matters back."""

READING = f"{OPTIONS} -c default_transaction_read_only=on"


LOCK_PATIENCE_S = 3.0
"""How long a new connection waits for the lock: the server may not have noticed yet that the one before has ended."""
_LOCK = "SELECT pg_try_advisory_lock(hashtext('labgateway'), hashtext(current_schema()))"


def take_lock(connection: Any, *_: object) -> None:
    """On each new connection that writes: only one gateway writes to a schema (advisory lock of the session).

    A pooler between us and the server must not share sessions. Raises StoreBusyError naming the cure.
    """
    until = time.monotonic() + LOCK_PATIENCE_S
    while True:
        with connection.cursor() as cursor:
            taken = cursor.execute(_LOCK).fetchone()[0]
        connection.commit()
        if taken:
            return
        if time.monotonic() >= until:
            raise StoreBusyError(
                "another gateway already works on this database. Stop it first, or give this one a database or a "
                "schema of its own"
            )
        time.sleep(0.05)


def check(connection: Connection) -> None:
    """Raises StoreError when a commit would return before it is on disk."""
    for name, good in (("synchronous_commit", ("on", "remote_apply")), ("fsync", ("on",))):
        found = str(connection.execute(text(f"SHOW {name}")).scalar())
        if found not in good:
            raise StoreError(
                f"The database server has {name} = {found}: it says that rows are stored before they are. "
                f"Set {name} = on in postgresql.conf."
            )


def begin(connection: Connection) -> None:
    """Begin; after a lost connection this makes a new one."""
    connection.begin()


def commit(connection: Connection) -> None:
    """Commit. Raises StoreError when a job has ended the transaction."""
    if not connection.in_transaction():
        raise StoreError("the writer's transaction was ended by a job")
    connection.commit()


def rollback(connection: Connection) -> None:
    """Undo everything since ``begin``; after a lost connection only ours is left to be undone."""
    try:
        connection.rollback()
    except DBAPIError:
        connection.invalidate()
        connection.rollback()


def judge(error: BaseException) -> StoreError | None:
    """A server may come back: busy, not broken, and the commit counts as not done. None: whoever caused it is to blame."""
    if isinstance(error, StoreBusyError):
        return error
    if not isinstance(error, DBAPIError):
        return None
    if isinstance(error, IntegrityError | DataError | ProgrammingError | NotSupportedError):
        return None
    return StoreBusyError(type(error.orig or error).__name__)


BACKEND = Backend(begin, commit, rollback, judge)
