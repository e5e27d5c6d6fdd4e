"""Deliveries: bytes owed to a destination, sent as they stand until it has taken them.

    waiting ──> settled          the destination said yes
       ├──────> parked ──retry──> waiting
       │           └──skip──> skipped
    shadow                       prepared and kept, never sent

A lane is one specimen. Its deliveries leave in order: while one is waiting or parked, later ones stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, text, update

from labgateway.store.tables import delivery, delivery_observation


@dataclass(frozen=True, slots=True)
class Owed:
    """One delivery that may be sent next. refusals: how often the destination asked to try again."""

    id: int
    lane: str
    control_id: str
    body: bytes
    refusals: int


def add(
    connection: Connection,
    *,
    destination: str,
    lane: str,
    control_id: str,
    body: bytes,
    observation_ids: Sequence[str],
    now: datetime,
    shadow: bool = False,
) -> int:
    """Owe one message to one destination; returns its number."""
    row = connection.execute(
        insert(delivery),
        {
            "destination": destination, "lane": lane, "control_id": control_id, "body": body,
            "sha256": hashlib.sha256(body).hexdigest(), "state": "shadow" if shadow else "waiting", "created_at": now,
        },
    )  # fmt: skip
    number = int(row.inserted_primary_key[0])  # type: ignore[index]
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(
            "INSERT INTO delivery_observation (delivery_id, observation_id) VALUES (?, ?)",
            [(number, one) for one in observation_ids],
        )
    else:
        connection.execute(
            insert(delivery_observation), [{"delivery_id": number, "observation_id": one} for one in observation_ids]
        )
    return number


_READY = text(
    "SELECT d.id, d.lane, d.control_id, d.body, d.refusals FROM delivery d "
    "WHERE d.state = 'waiting' AND d.destination = :destination AND d.id > :after AND NOT EXISTS ("
    "  SELECT 1 FROM delivery e WHERE e.state IN ('waiting', 'parked') AND e.destination = :destination "
    "  AND e.lane = d.lane AND e.id < d.id) "
    "ORDER BY d.id LIMIT :n"
)


def ready(connection: Connection, destination: str, limit: int, in_hand: Collection[int] = ()) -> list[Owed]:
    """What may be sent next, oldest first: of each lane the oldest unsettled delivery, unless it is parked.

    in_hand: numbers to leave out; a lane with one in hand has no other that is ready.
    """
    found: list[Owed] = []
    after = 0
    while len(found) < limit:
        rows = connection.execute(_READY, {"destination": destination, "after": after, "n": limit + len(in_hand)}).all()
        found += [
            Owed(int(row.id), row.lane, row.control_id, bytes(row.body), int(row.refusals))
            for row in rows
            if int(row.id) not in in_hand
        ]
        if len(rows) < limit + len(in_hand):
            break
        after = int(rows[-1].id)
    return found[:limit]


def settle(connection: Connection, number: int, answer: str, now: datetime) -> None:
    """The destination has taken it."""
    connection.execute(
        text(
            "UPDATE delivery SET state = 'settled', answer = :a, settled_at = :t, attempts = attempts + 1 "
            "WHERE id = :i AND state IN ('waiting', 'parked')"
        ).bindparams(a=answer, i=number, t=_us(now))
    )


def retry_later(connection: Connection, number: int, answer: str, *, refused: bool) -> None:
    """An attempt failed and will be repeated; refused: the destination asked for it."""
    connection.execute(
        text(
            "UPDATE delivery SET answer = :a, attempts = attempts + 1, refusals = refusals + :r WHERE id = :i"
        ).bindparams(a=answer, r=int(refused), i=number)
    )


def park(connection: Connection, number: int, answer: str) -> None:
    """The destination refused it; answer: its words. The lane stands still."""
    connection.execute(
        text(
            "UPDATE delivery SET state = 'parked', answer = :a, attempts = attempts + 1 WHERE id = :i AND state = 'waiting'"
        ).bindparams(a=answer, i=number)
    )


def unpark(connection: Connection, number: int) -> str | None:
    """Try a parked delivery again; its destination, None when it is not parked."""
    return _move(connection, number, "waiting")


def skip(connection: Connection, number: int) -> str | None:
    """A person gives a parked delivery up; its destination, None when it is not parked."""
    return _move(connection, number, "skipped")


def _move(connection: Connection, number: int, state: str) -> str | None:
    row = connection.execute(
        text("SELECT destination FROM delivery WHERE id = :i AND state = 'parked'"), {"i": number}
    ).first()
    if row is None:
        return None
    connection.execute(update(delivery).where(delivery.c.id == number).values(state=state, refusals=0))
    return str(row.destination)


def counts(connection: Connection) -> dict[str, dict[str, int]]:
    """How many deliveries of each destination are in each state."""
    found: dict[str, dict[str, int]] = {}
    for row in connection.execute(
        text("SELECT destination, state, count(*) FROM delivery GROUP BY destination, state")
    ):
        found.setdefault(str(row[0]), {})[str(row[1])] = int(row[2])
    return found


def _us(moment: datetime) -> int:
    from labgateway.store.tables import to_us

    return to_us(moment)
