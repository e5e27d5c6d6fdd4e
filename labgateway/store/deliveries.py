"""Deliveries to look at: one by one, and a day of a destination that sends nothing yet (shadow)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from labgateway.store.tables import from_us, to_us


@dataclass(frozen=True, slots=True)
class Listed:
    """One delivery. specimen and answer are for the person's eyes, never for a log."""

    id: int
    destination: str
    specimen: str
    control_id: str
    state: str
    attempts: int
    answer: str
    created_at: datetime
    settled_at: datetime | None
    body: bytes


def listed(
    connection: Connection,
    *,
    number: int | None = None,
    destination: str | None = None,
    state: str | None = None,
    specimen: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 50,
) -> list[Listed]:
    """The newest that fit, newest first. None: any."""
    wanted = {"d.id": number, "d.destination": destination, "d.state": state, "d.lane": specimen}
    parts = [f"{column} = :v{n}" for n, (column, value) in enumerate(wanted.items()) if value is not None]
    values: dict[str, Any] = {f"v{n}": value for n, value in enumerate(wanted.values()) if value is not None}
    if since is not None:
        parts.append("d.created_at >= :since")
        values["since"] = to_us(since)
    if until is not None:
        parts.append("d.created_at < :until")
        values["until"] = to_us(until)
    where = f"WHERE {' AND '.join(parts)} " if parts else ""
    rows = connection.execute(
        text(
            "SELECT d.id, d.destination, d.lane, d.control_id, d.state, d.attempts, d.answer, d.created_at, "  # noqa: S608
            f"d.settled_at, d.body FROM delivery d {where}ORDER BY d.id DESC LIMIT :most"
        ),
        {**values, "most": limit},
    )
    return [
        Listed(
            int(r.id), r.destination, r.lane, r.control_id, r.state, int(r.attempts), r.answer, from_us(r.created_at),
            None if r.settled_at is None else from_us(r.settled_at), bytes(r.body),
        )
        for r in rows
    ]  # fmt: skip


def refused_by(connection: Connection, destination: str) -> list[int]:
    """Numbers of what a destination refused and nobody has decided yet, oldest first."""
    query = text("SELECT id FROM delivery WHERE state = 'parked' AND destination = :destination ORDER BY id")
    return [int(row.id) for row in connection.execute(query, {"destination": destination})]


@dataclass(frozen=True, slots=True)
class Prepared:
    """One result that would have been sent. at: when it was released."""

    delivery: int
    at: datetime
    specimen: str
    instrument: str
    code: str
    value: str | None
    unit: str
    letter: str


_PREPARED = text(
    "SELECT d.id, d.created_at, d.lane, o.instrument, o.code, o.value, o.unit, o.letter FROM delivery d "
    "JOIN delivery_observation l ON l.delivery_id = d.id JOIN observation o ON o.id = l.observation_id "
    "WHERE d.state = 'shadow' AND d.destination = :destination AND d.created_at >= :since AND d.created_at < :until "
    "ORDER BY d.id, o.id"
)
_KEPT_BACK = text(
    "SELECT o.state, o.reason, count(*) AS n FROM observation o WHERE o.received_at >= :since AND o.received_at < :until "
    "AND o.state <> 'released' GROUP BY o.state, o.reason"
)


def prepared(connection: Connection, destination: str, since: datetime, until: datetime) -> list[Prepared]:
    """What a shadow destination would have been sent, in order."""
    rows = connection.execute(_PREPARED, {"destination": destination, "since": to_us(since), "until": to_us(until)})
    return [
        Prepared(int(r.id), from_us(r.created_at), r.lane, r.instrument, r.code, r.value, r.unit or "", r.letter)
        for r in rows
    ]


def kept_back(connection: Connection, since: datetime, until: datetime) -> dict[tuple[str, str], int]:
    """How many results received in that time go nowhere (yet): by state, and name of the reason or ""."""
    rows = connection.execute(_KEPT_BACK, {"since": to_us(since), "until": to_us(until)})
    return {(str(r.state), str(r.reason or "")): int(r.n) for r in rows}
