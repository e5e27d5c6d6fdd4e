"""Several gateways on one PostgreSQL: who is alive, and who serves what.

    node    a gateway that has joined: name, epoch, until when it counts as alive (the server's clock)
    lease   a line, a source of orders or a destination, and the node that serves it

A node says that it is alive every few seconds; what a silent one served is free for the others. Its epoch is raised
then, and each transaction begins by asking whether its own epoch still stands: what a node that woke up from a long
sleep still wanted to write is refused. One node at a time writes (a lock that each transaction takes first), so that
everything that holds for one gateway alone holds for several: what is judged sees what was judged before.

Times are microseconds of the server's clock; a node's own clock decides nothing here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from labgateway.errors import NodeLostError

HANGS_S = 3
"""So long a transaction of ours is never idle."""
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_ONE_WRITER = "pg_advisory_xact_lock(hashtext('labgateway writes'), hashtext(current_schema()))"


@dataclass(slots=True)
class Seat:
    """This gateway among the nodes. epoch: 0 until it has joined. lease_s: how long it counts as alive unheard."""

    name: str
    lease_s: float
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """How things stand. owners: who serves each subject. alive: nodes and how many seconds they count as alive for."""

    owners: Mapping[str, str]
    alive: Mapping[str, float]


def begin(connection: Connection, seat: Seat) -> None:
    """The first words of each transaction: nobody else writes meanwhile, and we still may. Raises NodeLostError."""
    connection.execute(text(f"SELECT {_ONE_WRITER}"))  # constants
    # A statement of its own: it must see what was committed while we waited for the lock. The epoch alone counts: who was
    # silent for too long, but was not found so by anybody, has lost nothing.
    if (
        seat.epoch
        and not connection.execute(
            text("SELECT 1 FROM node WHERE name = :name AND epoch = :epoch"),
            {"name": seat.name, "epoch": seat.epoch},
        ).scalar()
    ):
        raise NodeLostError("another node has taken over")


def join(connection: Connection, seat: Seat) -> int:
    """Count as alive from now on; the new epoch. Whoever joined under this name before is out."""
    epoch = connection.execute(
        text(
            f"INSERT INTO node (name, epoch, until) VALUES (:name, 1, {_NOW} + :lease) "  # noqa: S608
            "ON CONFLICT (name) DO UPDATE SET epoch = node.epoch + 1, until = excluded.until RETURNING epoch"
        ),
        {"name": seat.name, "lease": _us(seat.lease_s)},
    ).scalar_one()
    connection.execute(text("DELETE FROM lease WHERE node = :name"), {"name": seat.name})
    return int(epoch)


def leave(connection: Connection, seat: Seat) -> None:
    """Let go of everything, so that others need not wait."""
    connection.execute(text("DELETE FROM lease WHERE node = :name"), {"name": seat.name})
    connection.execute(
        text("UPDATE node SET until = 0 WHERE name = :name AND epoch = :epoch"),
        {"name": seat.name, "epoch": seat.epoch},
    )


def keep(connection: Connection, seat: Seat, wanted: Collection[str], given_back: Collection[str]) -> Seen:
    """We are alive; what silent nodes served is free; of what is free we take what we want. See who serves what."""
    me = {"name": seat.name}
    connection.execute(
        text(f"UPDATE node SET until = {_NOW} + :lease WHERE name = :name"),  # noqa: S608
        {**me, "lease": _us(seat.lease_s)},
    )
    connection.execute(text(f"UPDATE node SET epoch = epoch + 1, until = 0 WHERE until <> 0 AND until < {_NOW}"))  # noqa: S608
    connection.execute(text("DELETE FROM lease WHERE node IN (SELECT name FROM node WHERE until = 0)"))
    mine = {
        subject for (subject,) in connection.execute(text("SELECT subject FROM lease WHERE node = :name"), me)
    }  # fmt: skip
    for subject in sorted((mine - set(wanted)) | set(given_back)):
        connection.execute(
            text("DELETE FROM lease WHERE subject = :subject AND node = :name"), {**me, "subject": subject}
        )
    for subject in sorted(set(wanted) - mine - set(given_back)):
        connection.execute(
            text("INSERT INTO lease (subject, node) VALUES (:subject, :name) ON CONFLICT (subject) DO NOTHING"),
            {**me, "subject": subject},
        )
    return look(connection)


def look(connection: Connection) -> Seen:
    """Who is alive and who serves what."""
    owners = {str(subject): str(node) for subject, node in connection.execute(text("SELECT subject, node FROM lease"))}
    alive = connection.execute(
        text(f"SELECT name, (until - {_NOW}) / 1e6 FROM node WHERE until > {_NOW} ORDER BY name")  # noqa: S608
    )
    return Seen(owners, {str(name): float(left) for name, left in alive})


def _us(seconds: float) -> int:
    return int(seconds * 1_000_000)


def end_who_hangs(connection: Connection) -> int:
    """End the sessions that hold the writers' lock and have said nothing within their transaction for seconds.

    The server's own idle_in_transaction_session_timeout does not see a client that stopped in the middle of a batch
    (between the messages of the extended protocol and its Sync). Returns how many were ended; harmless to whoever is alive,
    since no transaction of ours is ever idle for so long.
    """
    ended = connection.execute(
        text(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
            "WHERE l.locktype = 'advisory' AND l.granted "
            "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND l.classid = (hashtext('labgateway writes')::bigint & 4294967295)::oid "
            "AND l.objid = (hashtext(current_schema())::bigint & 4294967295)::oid "
            "AND a.wait_event_type = 'Client' AND a.state_change < clock_timestamp() - make_interval(secs => :patience)"
        ),
        {"patience": HANGS_S},
    )
    return len(ended.all())
