"""Deliveries that a person has sent again: the same bytes, the same ids, in the order of their lane.

What was sent behind them on the same specimen goes again too: an old value must never be the last that the
destination hears. A specimen that has something on its way is left alone for now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from labgateway.store.rows import Statement
from labgateway.store.tables import DELIVERY_UNSETTLED, to_us

Lane = Sequence[int]
"""Ids of one lane's deliveries, oldest first."""


@dataclass(frozen=True, slots=True)
class Again:
    """What came of it. count: deliveries that go again. left: specimens with something on its way, left alone."""

    count: int
    left: int


_ONE = Statement("SELECT destination, lane, state FROM delivery WHERE id = :number")
# The index holds state, destination, held_back, id; bodies are long, so whole rows are looked at as seldom as can be.
_OF_DAY = Statement(
    "SELECT id, lane FROM delivery WHERE state = 'settled' AND destination = :destination AND held_back IN (0, 1) "
    "AND created_at >= :since AND created_at < :until ORDER BY id"
)
_BEHIND = Statement(
    "SELECT id, lane FROM delivery WHERE state = 'settled' AND destination = :destination AND held_back IN (0, 1) "
    "AND id >= :first ORDER BY id"
)
_BUSY = Statement(
    f"SELECT count(*) FROM delivery WHERE {DELIVERY_UNSETTLED} "  # noqa: S608  # a constant
    "AND destination = :destination AND lane = :lane"
)
_REOPEN = Statement(
    "UPDATE delivery SET state = 'waiting', refusals = 0, held_back = 0 WHERE id = :number AND state IN ('settled', 'skipped')"
)


def of_one(connection: Connection, number: int) -> tuple[str, dict[str, int]] | None:
    """The destination and the first delivery of the lane to go again; None when that one is not settled or skipped."""
    for destination, lane, state in _ONE.rows(connection, number=number):
        if state in ("settled", "skipped"):
            return str(destination), {str(lane): number}
    return None


def of_day(connection: Connection, destination: str, since: datetime, until: datetime) -> dict[str, int]:
    """The first delivery of each lane that was made in that time and is settled."""
    firsts: dict[str, int] = {}
    for number, lane in _OF_DAY.rows(connection, destination=destination, since=to_us(since), until=to_us(until)):
        firsts.setdefault(str(lane), int(number))
    return firsts


def with_later(connection: Connection, destination: str, firsts: Mapping[str, int]) -> dict[str, list[int]]:
    """Of each lane its first one and all that were sent behind it."""
    found = {lane: [first] for lane, first in firsts.items()}
    if firsts:
        for number, lane in _BEHIND.rows(connection, destination=destination, first=min(firsts.values())):
            if lane in found and int(number) > firsts[lane]:
                found[lane].append(int(number))
    return found


def reopen(connection: Connection, destination: str, lanes: Mapping[str, Lane], newest: int) -> Again:
    """Let these wait again. newest: the highest id when they were looked for; what came since on these lanes goes too."""
    since = with_later(connection, destination, dict.fromkeys(lanes, newest)) if lanes else {}
    count = left = 0
    for lane, numbers in lanes.items():
        if _BUSY.rows(connection, destination=destination, lane=lane)[0][0]:
            left += 1
            continue
        count += _reopened(connection, [*numbers, *since[lane][1:]])
    return Again(count, left)


def _reopened(connection: Connection, numbers: Iterable[int]) -> int:
    return sum(_REOPEN.run(connection, number=number) for number in numbers)


_NEWEST = Statement("SELECT max(id) FROM delivery")


def newest(connection: Connection) -> int:
    """The highest id there is, 0 when there is none."""
    return int(_NEWEST.rows(connection)[0][0] or 0)
