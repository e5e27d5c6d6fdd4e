"""What analyzers said (result) and what became of it (observation)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, select, text

from labgateway.errors import Problem
from labgateway.model import Result, ResultLetter
from labgateway.store import journal
from labgateway.store.observed import COLUMNS, SELECT, WORD, Decided, Earlier, Stored, pack, row_of, stored_of
from labgateway.store.rows import Insert, Statement, next_numbers
from labgateway.store.tables import (
    OBSERVATION_DOUBT,
    OBSERVATION_OPEN,
    delivery_observation,
    from_us,
    observation,
    result,
    to_us,
)

_ADD_RESULT = Insert(result, "id", "transmission_id", "ordinal", "kind", "specimen", "code", "value", "unit", "more")


def add_results(connection: Connection, transmission_id: int, said: Sequence[Result]) -> list[int]:
    """Store what one message said, in order; returns their numbers."""
    if not said:
        return []
    numbers = next_numbers(connection, result, len(said))
    _ADD_RESULT.many(
        connection,
        [
            (number, transmission_id, n, WORD[r.kind], r.specimen, r.code, r.value, r.unit, pack(r))
            for n, (number, r) in enumerate(zip(numbers, said, strict=True))
        ],
    )
    return list(numbers)


_BEHIND_ALL = 1_000_000
"""The place of a computed value in the message that completed it."""


def add_computed(connection: Connection, transmission_id: int, value: Result) -> int:
    """Store a value that was worked out when this message came; returns its number."""
    (number,) = next_numbers(connection, result, 1)
    row = (
        number, transmission_id, _BEHIND_ALL, WORD[value.kind], value.specimen, value.code, value.value, value.unit,
        pack(value),
    )  # fmt: skip
    _ADD_RESULT.many(connection, [row])
    return number


_ADD_OBSERVATION = Insert(observation, *COLUMNS)


def add_observations(connection: Connection, decided: Sequence[Decided]) -> None:
    """Store what became of results, all of one message at once."""
    if decided:
        _ADD_OBSERVATION.many(connection, [row_of(d) for d in decided])


_CHANGE = Statement(
    f"UPDATE observation SET {', '.join(f'{name} = :{name}' for name in COLUMNS[1:])}, "  # noqa: S608  # constants
    "row_version = row_version + 1 WHERE id = :id AND row_version = :seen"
)


def redecide(connection: Connection, decided: Decided, expected_row_version: int) -> bool:
    """Change what became of a result, if nobody did meanwhile; False when the row has another version by now."""
    values = dict(zip(COLUMNS, row_of(decided), strict=True))
    return _CHANGE.run(connection, **values, seen=expected_row_version) == 1


# What a person took back or moved stands behind the observation of the same result that it was made from.
_BY_RECEIPT = "ORDER BY o.received_at, o.transmission_id, r.ordinal, o.decided_at, o.id"
_BY_ID = Statement(f"{SELECT} o.id = :id")
_BY_TRANSMISSION = Statement(f"{SELECT} o.transmission_id = :number ORDER BY r.ordinal")
_BY_SPECIMEN = Statement(f"{SELECT} o.specimen = :specimen {_BY_RECEIPT}")
_BY_SPECIMEN_SINCE = Statement(f"{SELECT} o.specimen = :specimen AND o.received_at >= :since {_BY_RECEIPT}")
_WAITING = Statement(
    f"{SELECT} o.{OBSERVATION_OPEN} AND o.state = 'waiting' AND o.received_at < :before ORDER BY o.received_at LIMIT :most"
)
_DOUBTED = Statement(
    f"{SELECT} o.{OBSERVATION_DOUBT.replace('AND ', 'AND o.')} ORDER BY o.received_at, o.id LIMIT :most"
)
_HELD = Statement(f"{SELECT} o.{OBSERVATION_OPEN} AND o.state = 'held' ORDER BY o.received_at, o.id LIMIT :most")
_HELD_OF = Statement(
    f"{SELECT} o.{OBSERVATION_OPEN} AND o.state = 'held' AND o.instrument = :instrument "
    "ORDER BY o.received_at, o.id LIMIT :most"
)


def _all(rows: Sequence[Sequence[Any]]) -> list[Stored]:
    return [stored_of(row) for row in rows]


def get(connection: Connection, number: str) -> Stored | None:
    """One observation by its id."""
    found = _all(_BY_ID.rows(connection, id=number))
    return found[0] if found else None


_REPLACES = Statement("SELECT replaces FROM observation WHERE id = :id")
_LONGEST_CHAIN = 1000  # versions of one value; a ring cannot be, but must not hang


def earlier(connection: Connection, replaces: str | None) -> tuple[str, ...]:
    """Ids of the versions that lead to an observation which replaces that one, oldest first, itself last."""
    chain: list[str] = []
    while replaces is not None and len(chain) < _LONGEST_CHAIN:
        chain.append(replaces)
        found = _REPLACES.rows(connection, id=replaces)
        replaces = found[0][0] if found else None
    return tuple(reversed(chain))


def of_transmission(connection: Connection, number: int) -> list[Stored]:
    """What became of one message, in its order."""
    return _all(_BY_TRANSMISSION.rows(connection, number=number))


def of_specimen(connection: Connection, specimen: str, since: datetime | None = None) -> list[Stored]:
    """Everything observed on a specimen id, oldest first; since: received at or after."""
    if since is None:
        return _all(_BY_SPECIMEN.rows(connection, specimen=specimen))
    return _all(_BY_SPECIMEN_SINCE.rows(connection, specimen=specimen, since=to_us(since)))


_OF_PATIENT = Statement(
    "SELECT o.id, o.specimen, o.order_id, o.beside_id, o.code, o.value, o.unit, o.letter, o.replaces, o.received_at "
    "FROM lab_order l JOIN observation o ON o.specimen = l.specimen AND o.beside_id = l.id "
    "WHERE l.patient_id = :patient AND o.state = 'released' AND o.code = :code "
    "AND o.received_at >= :since AND o.received_at <= :until ORDER BY o.received_at, o.transmission_id, o.id"
)


def of_patient(connection: Connection, patient: str, test: str, since: datetime, until: datetime) -> list[Earlier]:
    """What was released of one EMR test under this patient number, oldest first, every version."""
    rows = _OF_PATIENT.rows(connection, patient=patient, code=test, since=to_us(since), until=to_us(until))
    return [
        Earlier(number, specimen, order_id, beside_id, code, value, unit, ResultLetter(letter), replaces, from_us(at))
        for number, specimen, order_id, beside_id, code, value, unit, letter, replaces, at in rows
    ]


def waiting_since(connection: Connection, before: datetime, limit: int) -> list[Stored]:
    """Observations that have waited for their order since before that moment, oldest first."""
    return _all(_WAITING.rows(connection, before=to_us(before), most=limit))


def held(connection: Connection, instrument: str | None = None, limit: int = 10_000) -> list[Stored]:
    """Observations that a person must decide, oldest first."""
    if instrument is None:
        return _all(_HELD.rows(connection, most=limit))
    return _all(_HELD_OF.rows(connection, instrument=instrument, most=limit))


_DOUBT = Statement(
    "UPDATE observation SET reason = :reason, detail = :detail, row_version = row_version + 1 "
    "WHERE id = :id AND state = 'released'"
)


def doubt(connection: Connection, number: str, problem: Problem | None) -> None:
    """What has gone out is in doubt now; None: not any more."""
    reason, detail = (None, "") if problem is None else (problem.reason.name, problem.detail)
    _DOUBT.run(connection, id=number, reason=reason, detail=detail)


def doubted(connection: Connection, limit: int = 10_000) -> list[Stored]:
    """Observations that have gone out and are in doubt since, oldest first."""
    return _all(_DOUBTED.rows(connection, most=limit))


_CONTROLS = Statement(
    f"{SELECT} o.transmission_id >= :first AND o.state = 'control' AND r.kind = 'control' AND o.received_at >= :since "
    f"{_BY_RECEIPT}"
)


def controls(connection: Connection, since: datetime) -> list[Stored]:
    """What control material measured, received at or after, oldest first."""
    first = journal.first_since(connection, since)
    return _all(_CONTROLS.rows(connection, first=first, since=to_us(since)))


def counts(connection: Connection, first_message: int = 0) -> dict[str, int]:
    """How many observations are in each state: all that wait or are held, and the others of messages from that number on.

    Without a number every row of the table is read.
    """
    rows = [
        *connection.execute(
            text(f"SELECT state, count(*) FROM observation WHERE {OBSERVATION_OPEN} GROUP BY state")  # noqa: S608
        ),
        *connection.execute(
            text(
                "SELECT state, count(*) FROM observation "  # noqa: S608  # a constant
                f"WHERE transmission_id >= :n AND NOT ({OBSERVATION_OPEN}) GROUP BY state"
            ),
            {"n": first_message},
        ),
    ]
    return {str(state): int(count) for state, count in rows}


def link_of(connection: Connection, observation_ids: Sequence[str]) -> dict[str, list[int]]:
    """Which deliveries carry which observation."""
    link = delivery_observation
    found: dict[str, list[int]] = {}
    for row in connection.execute(select(link).where(and_(link.c.observation_id.in_(observation_ids)))):
        found.setdefault(row.observation_id, []).append(int(row.delivery_id))
    return found
