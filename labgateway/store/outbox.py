"""Deliveries: bytes owed to a destination, sent as they stand until it has taken them.

    waiting ──> settled          the destination said yes
       ├──────> parked ──retry──> waiting
       │           └──skip──> skipped
    shadow                       prepared and kept, never sent

A lane is one specimen. Its deliveries leave in order: while one is waiting or parked, later ones stay. Those
behind a parked one are marked as held back, so that a destination which refuses everything for days leaves no
long row of deliveries to be looked at in vain for every one that may go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, text

from labgateway.store.rows import Insert, Statement
from labgateway.store.tables import DELIVERY_UNSETTLED, attempt, delivery_observation, from_us, to_us


@dataclass(frozen=True, slots=True)
class Owed:
    """One delivery that may be sent next. refusals: how often the destination asked to try again.

    damaged: the bytes are not those that were stored (a fault of the disk or of somebody's hand): never to be sent.
    """

    id: int
    lane: str
    control_id: str
    body: bytes
    refusals: int
    damaged: bool = False


# Neither names one state alone: the planner would then take the index by state and look at every lane.
_LANE = Statement(
    f"SELECT state FROM delivery WHERE {DELIVERY_UNSETTLED} "  # noqa: S608  # a constant
    "AND destination = :destination AND lane = :lane"
)
_HOLD_BACK = Statement(
    f"UPDATE delivery SET held_back = :held_back WHERE {DELIVERY_UNSETTLED} "  # noqa: S608  # a constant
    "AND destination = :destination AND lane = :lane"
)
# One statement instead of two: on a server each is a question to another process.
_ADD = Statement(
    "INSERT INTO delivery (destination, lane, control_id, body, sha256, state, held_back, created_at) "  # noqa: S608
    "VALUES (:destination, :lane, :control_id, :body, :sha256, :state, coalesce(("
    f"SELECT max(CASE WHEN state = 'parked' THEN 1 ELSE 0 END) FROM delivery WHERE {DELIVERY_UNSETTLED} "
    "AND destination = :to AND lane = :on), 0), :now) RETURNING id"  # one name cannot be of two types
)
_LINK = Insert(delivery_observation, "delivery_id", "observation_id")


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
    """Owe one message to one destination; returns its number. A control id comes only once, ever."""
    number = owe(
        connection, destination=destination, lane=lane, control_id=control_id, body=body, now=now, shadow=shadow
    )  # fmt: skip
    link(connection, [(number, one) for one in observation_ids])
    return number


def owe(
    connection: Connection, *, destination: str, lane: str, control_id: str, body: bytes, now: datetime, shadow: bool = False
) -> int:  # fmt: skip
    """The first half of ``add``; ``link`` must follow in the same transaction."""
    ((number,),) = _ADD.rows(
        connection, destination=destination, to=destination, lane=lane, on=lane, control_id=control_id, body=body,
        sha256=hashlib.sha256(body).hexdigest(), state="shadow" if shadow else "waiting", now=to_us(now),
    )  # fmt: skip
    return int(number)


def link(connection: Connection, carried: Sequence[tuple[int, str]]) -> None:
    """Which delivery carries which observation, of several deliveries at once."""
    if carried:
        _LINK.many(connection, carried)


_ABOVE_ALL = 2**63 - 1
"""Above every number of a row."""
# PostgreSQL thinks that rows of every state and destination lie evenly among all, and walks them by their number: past two
# millions of another destination for one that has nothing (1.5 s). Without statistics it joins all that waits with itself.
# Asked for a stretch of the index, and with OFFSET 0 (which makes no join of the second question), it has one way to go.
# SQLite takes the right indexes by itself, and cannot use the last column of a stretch.
_OF = "{0}state = 'waiting' AND {0}destination = :destination AND {0}held_back = 0"
_PLACE_IN = "({0}state, {0}destination, {0}held_back, {0}id)"
_STRETCH = (
    f"{_PLACE_IN} > ('waiting', :destination, 0, :after) AND {_PLACE_IN} <= ('waiting', :destination, 0, {_ABOVE_ALL})"
)
_EARLIER = (
    f"SELECT e.id FROM delivery e WHERE e.{DELIVERY_UNSETTLED} AND e.destination = :destination "  # noqa: S608
    "AND e.lane = d.lane AND e.id < d.id"
)
_IS_FIRST = f"NOT EXISTS ({_EARLIER})"
_IS_FIRST_ON_SERVER = f"NOT EXISTS ({_EARLIER} OFFSET 0)"


def _ready(which: str, order: str, first: str) -> str:
    return (
        f"SELECT d.id, d.lane, d.control_id, d.body, d.sha256, d.refusals FROM delivery d WHERE {which} "  # noqa: S608
        f"AND {first} ORDER BY {order} LIMIT :n"
    )


_READY = Statement(
    _ready(f"{_OF} AND {{0}}id > :after".format("d."), "d.id", _IS_FIRST),
    server=_ready(_STRETCH.format("d."), "d.state, d.destination, d.held_back, d.id", _IS_FIRST_ON_SERVER),
)


def ready(connection: Connection, destination: str, limit: int, in_hand: Collection[int] = ()) -> list[Owed]:
    """What may be sent next, oldest first: of each lane the oldest unsettled delivery, unless it is parked.

    in_hand: numbers to leave out; a lane with one in hand has no other that is ready.
    """
    found: list[Owed] = []
    after, most = 0, limit + len(in_hand)
    while len(found) < limit:
        rows = _READY.rows(connection, destination=destination, after=after, n=most)
        found += [_owed(row) for row in rows if row[0] not in in_hand]
        if len(rows) < most:
            break
        after = int(rows[-1][0])
    return found[:limit]


def _from_the_end(which: str, order: str, first: str) -> str:
    return (
        "SELECT f.id, f.lane, f.control_id, f.body, f.sha256, f.refusals FROM ("  # noqa: S608  # constants
        f"  SELECT id, lane FROM delivery WHERE {which} ORDER BY {order} LIMIT :look) d "
        f"JOIN delivery f ON f.id = d.id WHERE {first} ORDER BY d.id DESC LIMIT :n"
    )


_NEWEST = Statement(
    _from_the_end(_OF.format(""), "id DESC", _IS_FIRST),
    server=_from_the_end(
        _STRETCH.format("").replace(":after", "0"),
        "state DESC, destination DESC, held_back DESC, id DESC",
        f"({_EARLIER} LIMIT 1) IS NULL",  # thought to be true of few: those few are then found by their number
    ),
)
_LOOK = 256
"""Rows looked at from the newest end: those of lanes that already wait are many there after an outage, and no hurry."""


def newest(connection: Connection, destination: str, limit: int, in_hand: Collection[int] = ()) -> list[Owed]:
    """The other end of what ``ready`` gives, newest first: results of today behind a backlog of days.

    Only the last 256 deliveries (and as many more as are in hand) are looked at, so it costs the same behind millions.
    """
    rows = _NEWEST.rows(connection, destination=destination, look=_LOOK + len(in_hand), n=limit + len(in_hand))
    return [_owed(row) for row in rows if row[0] not in in_hand][:limit]


def _owed(row: Sequence[Any]) -> Owed:
    number, lane, control_id, body, sha256, refusals = row
    damaged = hashlib.sha256(body).hexdigest() != sha256
    return Owed(int(number), lane, control_id, bytes(body), int(refusals), damaged)


_SETTLE = Statement(
    "UPDATE delivery SET state = 'settled', answer = :answer, settled_at = :now, attempts = attempts + 1 "
    "WHERE id = :number AND state = :state"
)
_RETRY = Statement(
    "UPDATE delivery SET answer = :answer, attempts = attempts + 1, refusals = refusals + :refused WHERE id = :number"
)
_PARK = Statement(
    "UPDATE delivery SET state = 'parked', answer = :answer, attempts = attempts + 1 "
    "WHERE id = :number AND state = 'waiting'"
)
_MOVE = Statement("UPDATE delivery SET state = :state, refusals = 0 WHERE id = :number AND state = 'parked'")
_PLACE = Statement("SELECT destination, lane FROM delivery WHERE id = :number")


def settle(connection: Connection, number: int, answer: str, now: datetime) -> None:
    """The destination has taken it. Harmless when repeated."""
    if _SETTLE.run(connection, answer=answer, now=to_us(now), number=number, state="waiting"):
        return
    if _SETTLE.run(connection, answer=answer, now=to_us(now), number=number, state="parked"):
        _lane_goes_on(connection, number)


def retry_later(
    connection: Connection, number: int, answer: str, *, refused: bool, now: datetime | None = None
) -> None:
    """An attempt failed and will be repeated; refused: the destination asked for it. now: when; None: it is not noted."""
    _RETRY.run(connection, answer=answer, refused=int(refused), number=number)
    if now is not None:
        _note(connection, number, "refused" if refused else "failed", answer, now)


def park(connection: Connection, number: int, answer: str, now: datetime | None = None) -> None:
    """The destination refused it; answer: its words. The lane stands still. now: when; None: it is not noted."""
    if _PARK.run(connection, answer=answer, number=number):
        ((destination, lane),) = _PLACE.rows(connection, number=number)
        _HOLD_BACK.run(connection, destination=destination, lane=lane, held_back=1)
        if now is not None:
            _note(connection, number, "parked", answer, now)


_MOST_NOTED = 100
"""Of one delivery; a destination that answers otherwise every time fills no disk."""
_LAST = Statement("SELECT id, outcome, answer FROM attempt WHERE delivery_id = :number ORDER BY id DESC LIMIT :most")
_AGAIN = Statement("UPDATE attempt SET times = times + 1, last_at = :now WHERE id = :id")
_NOTE = Insert(attempt, "delivery_id", "outcome", "answer", "first_at", "last_at", "times")


def _note(connection: Connection, number: int, outcome: str, answer: str, now: datetime) -> None:
    """What an attempt came to; the same again is counted."""
    before = _LAST.rows(connection, number=number, most=_MOST_NOTED)
    if before and (tuple(before[0][1:]) == (outcome, answer) or len(before) >= _MOST_NOTED):
        _AGAIN.run(connection, now=to_us(now), id=before[0][0])
    else:
        _NOTE.one(connection, (number, outcome, answer, to_us(now), to_us(now), 1))


def unpark(connection: Connection, number: int) -> str | None:
    """Try a parked delivery again; its destination, None when it is not parked."""
    return _move(connection, number, "waiting")


def skip(connection: Connection, number: int) -> str | None:
    """A person gives a parked delivery up; its destination, None when it is not parked."""
    return _move(connection, number, "skipped")


def _move(connection: Connection, number: int, state: str) -> str | None:
    if not _MOVE.run(connection, number=number, state=state):
        return None
    return _lane_goes_on(connection, number)


def _lane_goes_on(connection: Connection, number: int) -> str:
    """A delivery is not parked any more: those behind it need not be held back, unless another one is parked too."""
    ((destination, lane),) = _PLACE.rows(connection, number=number)
    if not _is_parked(connection, destination, lane):
        _HOLD_BACK.run(connection, destination=destination, lane=lane, held_back=0)
    return str(destination)


def _is_parked(connection: Connection, destination: str, lane: str) -> bool:
    return ("parked",) in [tuple(row) for row in _LANE.rows(connection, destination=destination, lane=lane)]


_TOLD = text(
    "SELECT d.destination, l.observation_id FROM delivery_observation l JOIN delivery d ON d.id = l.delivery_id "
    "WHERE l.observation_id IN :ids AND d.state <> 'skipped'"
).bindparams(bindparam("ids", expanding=True))


def told_of(connection: Connection, observation_ids: Sequence[str]) -> dict[str, frozenset[str]]:
    """Which of these observations were made ready for which destination: its corrections must go there too.

    Not where a person gave it up: there it never arrived.
    """
    if not observation_ids:
        return {}
    found: dict[str, set[str]] = {}
    for destination, one in connection.execute(_TOLD, {"ids": list(observation_ids)}):
        found.setdefault(str(destination), set()).add(str(one))
    return {name: frozenset(ids) for name, ids in found.items()}


def counts(connection: Connection) -> dict[str, dict[str, int]]:
    """How many deliveries of each destination are in each state."""
    found: dict[str, dict[str, int]] = {}
    rows = connection.execute(text("SELECT state, destination, count(*) FROM delivery GROUP BY state, destination"))
    for state, destination, count in rows:
        found.setdefault(str(destination), {})[str(state)] = int(count)
    return found


_OLDEST = Statement(
    "SELECT created_at FROM delivery WHERE state = 'waiting' AND destination = :destination AND held_back = :held_back "
    "ORDER BY id LIMIT 1",
    server="SELECT created_at FROM delivery "  # noqa: S608  # a constant
    "WHERE (state, destination, held_back, id) > ('waiting', :destination, :held_back, 0) "
    f"AND (state, destination, held_back, id) <= ('waiting', :destination, :held_back, {_ABOVE_ALL}) "
    "ORDER BY state, destination, held_back, id LIMIT 1",
)


def oldest_waiting(connection: Connection, destination: str) -> datetime | None:
    """When the first of those that wait for a destination was made; None when none waits. The same behind millions."""
    found = [_OLDEST.rows(connection, destination=destination, held_back=n) for n in (0, 1)]
    return min((from_us(row[0]) for rows in found for row in rows), default=None)


_WAITING = Statement(
    f"SELECT destination, count(*) FROM delivery WHERE {DELIVERY_UNSETTLED} AND state = 'waiting' "  # noqa: S608
    "GROUP BY destination"
)


def waiting(connection: Connection) -> dict[str, int]:
    """How many deliveries wait, by destination; without a look at those that are done with."""
    return {str(destination): int(count) for destination, count in _WAITING.rows(connection)}
