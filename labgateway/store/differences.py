"""What a day's deliveries came to, and where a destination holds something else than it was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from labgateway.store import journal
from labgateway.store.tables import to_us


@dataclass(frozen=True, slots=True)
class Found:
    """One observation that differs. detail: the columns, never their content; empty: it is not there at all."""

    delivery: int
    observation: str
    detail: str


_FROM = text("SELECT id, created_at FROM delivery WHERE id >= :n ORDER BY id LIMIT 1")


def span(connection: Connection, since: datetime, until: datetime) -> tuple[int, int]:
    """The first delivery made in that time, and the first one made after it. As ``journal.first_since``."""
    return _first(connection, since), _first(connection, until)


def _first(connection: Connection, moment: datetime) -> int:
    low, high = 1, int(connection.execute(text("SELECT coalesce(max(id), 0) FROM delivery")).scalar_one()) + 1
    wanted = to_us(moment)
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(_FROM, {"n": middle}).first()
        if row is None or row.created_at >= wanted:
            high = middle
        else:
            low = int(row.id) + 1
    return low


def counts(connection: Connection, first: int, end: int) -> dict[str, dict[str, int]]:
    """By destination and state, of the deliveries from first up to end."""
    found: dict[str, dict[str, int]] = {}
    rows = connection.execute(
        text(
            "SELECT destination, state, count(*) FROM delivery WHERE id >= :a AND id < :b GROUP BY destination, state"
        ),
        {"a": first, "b": end},
    )
    for destination, state, count in rows:
        found.setdefault(str(destination), {})[str(state)] = int(count)
    return found


def settled(connection: Connection, destination: str, first: int, end: int, limit: int) -> list[tuple[int, bytes]]:
    """What the destination has taken, oldest first: number and bytes."""
    rows = connection.execute(
        text(
            "SELECT id, body FROM delivery WHERE id >= :a AND id < :b AND destination = :d AND state = 'settled' "
            "ORDER BY id LIMIT :n"
        ),
        {"a": first, "b": end, "d": destination, "n": limit},
    )
    return [(int(row.id), bytes(row.body)) for row in rows]


def replaced(connection: Connection, since: datetime) -> set[str]:
    """Observations that one received since then takes the place of."""
    first = journal.first_since(connection, since)
    rows = connection.execute(
        text("SELECT replaces FROM observation WHERE transmission_id >= :n AND replaces IS NOT NULL"), {"n": first}
    )
    return {str(row[0]) for row in rows}


def record(
    connection: Connection, destination: str, first: int, end: int, found: Sequence[Found], now: datetime
) -> tuple[int, int]:
    """Open what was found, close what is right again of the deliveries from first up to end.

    Returns how many are newly open and how many were closed. What a person closed stays closed while it is the same.
    """
    known = {
        str(row.observation_id): (int(row.id), str(row.state), str(row.detail))
        for row in connection.execute(
            text(
                "SELECT id, observation_id, state, detail FROM difference "
                "WHERE destination = :d AND delivery_id >= :a AND delivery_id < :b"
            ),
            {"d": destination, "a": first, "b": end},
        )
    }
    opened = 0
    for one in found:
        before = known.pop(one.observation, None)
        values = {"d": destination, "n": one.delivery, "o": one.observation, "x": one.detail, "t": to_us(now)}
        if before is None:
            connection.execute(
                text(
                    "INSERT INTO difference (destination, delivery_id, observation_id, detail, found_at, state) "
                    "VALUES (:d, :n, :o, :x, :t, 'open')"
                ),
                values,
            )
            opened += 1
        elif before[2] != one.detail:
            connection.execute(
                text("UPDATE difference SET detail = :x, found_at = :t, state = 'open' WHERE id = :i"),
                {"x": one.detail, "t": to_us(now), "i": before[0]},
            )
            opened += 1
    gone = [number for number, _, _ in known.values()]
    closed = [number for number, state, _ in known.values() if state == "open"]
    for number in gone:
        connection.execute(text("DELETE FROM difference WHERE id = :i"), {"i": number})
    return opened, len(closed)


def close(connection: Connection, number: int) -> bool:
    """A person has dealt with it."""
    done = connection.execute(
        text("UPDATE difference SET state = 'closed' WHERE id = :i AND state = 'open'"), {"i": number}
    )
    return done.rowcount == 1
