"""Everything that waits for a person, with reason and cure; what the status page counts; a specimen's rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from labgateway.errors import Problem, Reason
from labgateway.model import ObservationState
from labgateway.store import journal, outbox, results
from labgateway.store.journal import problem_of
from labgateway.store.tables import OBSERVATION_DOUBT, OBSERVATION_OPEN, from_us, to_us


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that waits for a person.

    subject: ``message``, ``observation``, ``delivery`` or ``difference``; id: its number there. since: UTC. where: the
    instrument or destination. specimen, code, value: for the person's eyes, never for a log. row_version:
    what a decision about an observation must name.
    """

    subject: str
    id: str
    where: str
    problem: Problem
    since: datetime
    specimen: str | None = None
    code: str | None = None
    value: str | None = None
    unit: str | None = None
    answer: str = ""
    row_version: int = 0
    is_out: bool = False
    """An observation that has gone out and is in doubt since."""


def items(connection: Connection, *, waiting_before: datetime | None = None, limit: int = 1000) -> list[Item]:
    """What waits for a person, oldest first. waiting_before: results that wait for an order since then, too."""
    found: list[Item] = []
    for row in connection.execute(
        text(
            "SELECT id, instrument, reason, detail, received_at FROM transmission "
            "WHERE state IN ('parked', 'incomplete') ORDER BY id LIMIT :n"
        ),
        {"n": limit},
    ):
        problem = problem_of(row.reason, row.detail) or Problem(Reason.DEFECT)
        found.append(Item("message", str(row.id), row.instrument, problem, from_us(row.received_at)))
    waiting = [] if waiting_before is None else results.waiting_since(connection, waiting_before, limit)
    found += [
        Item(
            "observation", one.id, one.instrument, one.problem or Problem(Reason.NO_ORDER, "still waiting"),
            one.received_at, one.specimen, one.code, one.value, one.unit, row_version=one.row_version,
            is_out=one.state is ObservationState.RELEASED,
        )
        for one in (*results.held(connection, limit=limit), *results.doubted(connection, limit), *waiting)
    ]  # fmt: skip
    parked = text(
        "SELECT id, destination, lane, answer, created_at FROM delivery WHERE state = 'parked' ORDER BY id LIMIT :n"
    )
    found += [
        Item(
            "delivery", str(row.id), row.destination, Problem(Reason.REFUSED), from_us(row.created_at), row.lane,
            answer=row.answer,
        )
        for row in connection.execute(parked, {"n": limit})
    ]  # fmt: skip
    differs = text(
        "SELECT f.id, f.destination, f.observation_id, f.detail, f.found_at, f.delivery_id, d.lane, o.code, o.value, o.unit "
        "FROM difference f JOIN delivery d ON d.id = f.delivery_id LEFT JOIN observation o ON o.id = f.observation_id "
        "WHERE f.state = 'open' ORDER BY f.id LIMIT :n"
    )
    found += [
        Item(
            "difference", str(row.id), row.destination,
            Problem(Reason.DIFFERS_THERE if row.detail else Reason.NOT_THERE,
                    f"delivery d{row.delivery_id}" + (f", {row.detail}" if row.detail else "")),
            from_us(row.found_at), row.lane, row.code, row.value, row.unit,
        )
        for row in connection.execute(differs, {"n": limit})
    ]  # fmt: skip
    return sorted(found, key=lambda item: item.since)[:limit]


def count(connection: Connection, *, waiting_before: datetime | None = None) -> int:
    """How many ``items`` there are, without reading them."""
    queries: dict[str, dict[str, int]] = {
        "SELECT count(*) FROM transmission WHERE state IN ('parked', 'incomplete')": {},
        f"SELECT count(*) FROM observation WHERE {OBSERVATION_OPEN} AND state = 'held'": {},  # noqa: S608
        f"SELECT count(*) FROM observation WHERE {OBSERVATION_DOUBT}": {},  # noqa: S608
        "SELECT count(*) FROM delivery WHERE state = 'parked'": {},
        "SELECT count(*) FROM difference WHERE state = 'open'": {},
    }
    if waiting_before is not None:
        late = f"SELECT count(*) FROM observation WHERE {OBSERVATION_OPEN} AND state = 'waiting' AND received_at < :t"  # noqa: S608
        queries[late] = {"t": to_us(waiting_before)}
    return sum(int(connection.execute(text(query), values).scalar_one()) for query, values in queries.items())


def counts(connection: Connection, *, since: datetime | None = None) -> dict[str, Any]:
    """Numbers for the status page: messages by state, observations by state, deliveries by destination and state.

    since: observations that are done with count only from messages received after that; the table is too long to
    be counted on every look. None: all of them.
    """
    messages = {
        str(row[0]): int(row[1])
        for row in connection.execute(text("SELECT state, count(*) FROM transmission GROUP BY state"))
    }
    deliveries = outbox.counts(connection)
    oldest = {name: outbox.oldest_waiting(connection, name) for name, owed in deliveries.items() if "waiting" in owed}
    return {
        "messages": messages,
        "observations": results.counts(connection, 0 if since is None else journal.first_since(connection, since)),
        "deliveries": deliveries,
        "oldest_waiting": {name: since.isoformat() for name, since in oldest.items() if since is not None},
        "orders": {
            str(row[0]): int(row[1])
            for row in connection.execute(text("SELECT state, count(*) FROM lab_order GROUP BY state"))
        },
    }


def standing_of(
    connection: Connection, instrument: str, since: datetime
) -> tuple[dict[str, int], int, datetime | None]:
    """How one instrument fared since: reasons for which its results are held or its messages parked, and how many; all
    its results; when its last message came (ever).
    """
    at = {"i": instrument, "s": to_us(since)}
    held = connection.execute(
        text(
            "SELECT reason, count(*) FROM observation WHERE instrument = :i AND received_at >= :s "
            "AND state = 'held' AND reason IS NOT NULL GROUP BY reason"
        ),
        at,
    )
    found = {str(row[0]): int(row[1]) for row in held}
    for row in connection.execute(
        text(
            "SELECT reason, count(*) FROM transmission WHERE instrument = :i AND received_at >= :s "
            "AND state = 'parked' AND reason IS NOT NULL GROUP BY reason"
        ),
        at,
    ):
        found[str(row[0])] = found.get(str(row[0]), 0) + int(row[1])
    total = connection.execute(
        text("SELECT count(*) FROM observation WHERE instrument = :i AND received_at >= :s"), at
    ).scalar_one()
    last = connection.execute(
        text("SELECT max(received_at) FROM transmission WHERE instrument = :i"), {"i": instrument}
    ).scalar_one()
    return found, int(total), None if last is None else from_us(last)


def deliveries_of(connection: Connection, observation_id: str) -> list[dict[str, Any]]:
    """How one observation fared at each destination, oldest first."""
    rows = connection.execute(
        text(
            "SELECT d.id, d.destination, d.control_id, d.state, d.attempts, d.answer, d.created_at, d.settled_at "
            "FROM delivery d JOIN delivery_observation l ON l.delivery_id = d.id WHERE l.observation_id = :o ORDER BY d.id"
        ),
        {"o": observation_id},
    )
    return [
        {
            "delivery": int(row.id), "destination": row.destination, "control_id": row.control_id, "state": row.state,
            "attempts": int(row.attempts), "answer": row.answer, "created_at": from_us(row.created_at),
            "settled_at": None if row.settled_at is None else from_us(row.settled_at),
            "before": attempts_of(connection, int(row.id)), "deeds": deeds_on(connection, f"delivery {row.id}"),
        }
        for row in rows
    ]  # fmt: skip


def attempts_of(connection: Connection, delivery: int) -> list[dict[str, Any]]:
    """What a destination said to a delivery before it took it, or instead, oldest first; the same in a row once."""
    rows = connection.execute(
        text("SELECT outcome, answer, first_at, last_at, times FROM attempt WHERE delivery_id = :d ORDER BY id"),
        {"d": delivery},
    )
    return [
        {
            "outcome": row.outcome, "answer": row.answer, "first_at": from_us(row.first_at), "last_at": from_us(row.last_at),
            "times": int(row.times),
        }
        for row in rows
    ]  # fmt: skip


def deeds_on(connection: Connection, subject: str) -> list[dict[str, Any]]:
    """What people did to one subject, oldest first."""
    rows = connection.execute(
        text("SELECT at, who, action, because FROM audit WHERE subject = :s ORDER BY id"), {"s": subject}
    )
    return [{"at": from_us(row.at), "who": row.who, "action": row.action, "because": row.because} for row in rows]


def incomplete_before(connection: Connection, before: datetime) -> int:
    """How many incomplete messages are older than that."""
    row = connection.execute(
        text("SELECT count(*) FROM transmission WHERE state = 'incomplete' AND received_at < :t"), {"t": to_us(before)}
    ).scalar_one()
    return int(row)
