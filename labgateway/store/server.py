"""PostgreSQL as we need it: a commit that is on disk when it returns, errors and what they mean."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError

from labgateway.errors import NodeLostError, StoreBusyError, StoreError
from labgateway.store import nodes
from labgateway.store.nodes import Seat
from labgateway.store.writer import Backend

OPTIONS = "-c synchronous_commit=on -c timezone=UTC -c statement_timeout=0 -c jit=off"
"""Sent with each connection; ``check`` reads the one that matters back. jit: compiling took longer than asking."""

READING = f"{OPTIONS} -c default_transaction_read_only=on"


NODE_OPTIONS = (
    f"{OPTIONS} -c idle_in_transaction_session_timeout=5000 -c lock_timeout=4000 "
    "-c tcp_keepalives_idle=4 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10000"
)
"""Of several nodes: one that hangs in the middle of a transaction, or whose network is gone, must not keep the others
from writing for longer than seconds."""
NODE_CONNECT = {
    "connect_timeout": 5, "keepalives_idle": 4, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000,
}  # fmt: skip

LOCK_PATIENCE_S = 3.0
"""How long a new connection waits for the lock: the server may not have noticed yet that the one before has ended."""
_KEY = "hashtext('labgateway'), hashtext(current_schema())"
_ALONE = f"SELECT pg_try_advisory_lock({_KEY})"  # constants
_TOGETHER = f"SELECT pg_try_advisory_lock_shared({_KEY})"
_NAME = "SELECT pg_try_advisory_lock(hashtext('labgateway node ' || current_schema()), hashtext(%s))"
_TAKEN = (
    "another gateway already works on this database. Stop it first, or give this one a database or a schema of its "
    "own; several gateways on one database need [nodes] in the config of each"
)


def take_lock(connection: Any, *_: object) -> None:
    """On each new connection that writes: only one gateway writes to a schema (advisory lock of the session).

    A pooler between us and the server must not share sessions. Raises StoreBusyError naming the cure.
    """
    _take(connection, _ALONE, (), _TAKEN)


def take_seat(seat: Seat) -> Callable[..., None]:
    """The same for one of several nodes: beside other nodes, never beside a gateway alone, and once under its name."""

    def take(connection: Any, *_: object) -> None:
        _take(connection, _TOGETHER, (), _TAKEN)
        _take(
            connection, _NAME, (seat.name,),
            f'another gateway already works on this database as node "{seat.name}": each needs a [nodes] name of its own '
            "(after a loss of the network the server may need ten seconds to notice)",
        )  # fmt: skip

    return take


def _take(connection: Any, query: str, values: tuple[str, ...], refusal: str) -> None:
    until = time.monotonic() + LOCK_PATIENCE_S
    while True:
        with connection.cursor() as cursor:
            taken = cursor.execute(query, values).fetchone()[0]
        connection.commit()
        if taken:
            return
        if time.monotonic() >= until:
            raise StoreBusyError(refusal)
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
    if isinstance(error, StoreBusyError | NodeLostError):
        return error
    if not isinstance(error, DBAPIError):
        return None
    if isinstance(error, IntegrityError | DataError | ProgrammingError | NotSupportedError):
        return None
    return StoreBusyError(type(error.orig or error).__name__)


BACKEND = Backend(begin, commit, rollback, judge)


def backend(seat: Seat | None) -> Backend:
    """How transactions begin and end; of one of several nodes each asks first whether it still may write."""
    if seat is None:
        return BACKEND

    def begin_as_node(connection: Connection) -> None:
        begin(connection)
        nodes.begin(connection, seat)

    return Backend(begin_as_node, commit, rollback, judge)
