"""Rows that nobody waits for any more and that are older than the site keeps them: counted, and taken out.

A message goes with its results and observations when all of it is done with: it was read (or superseded, or dismissed),
no observation of it waits, is held or is in doubt, and no delivery of any of them waits, is
parked or was found to differ at its destination. A delivery goes with the last
observation that it carried, an order when no observation names it. Nothing goes of a specimen on which anything
waits, is held or is in doubt, nor of the tubes taken from it or that it was taken from.
Nothing goes, either, that a message which is not read yet (stored, or parked whole) may turn out to be about: what was
received, or ordered, near it in time. It may be a resend, and would go out once more as the first.
What is queued, held, parked or incomplete stays, however old (R11). What people did
(audit) stays for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.sql.elements import TextClause

from labgateway.store import journal
from labgateway.store.tables import OBSERVATION_DOUBT, OBSERVATION_OPEN, to_us

_US = timedelta(microseconds=1)
AT_ONCE = 40
"""Messages a transaction, some 1,500 results: the writer has others to serve, who wait for all of it."""
_ORDERS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows of each kind. orders: and the messages in which they came. more: there may be others."""

    messages: int = 0
    results: int = 0
    observations: int = 0
    deliveries: int = 0
    orders: int = 0
    more: bool = False

    def __add__(self, other: Pruned) -> Pruned:
        """Both together; more as the later one says."""
        return Pruned(
            self.messages + other.messages, self.results + other.results, self.observations + other.observations,
            self.deliveries + other.deliveries, self.orders + other.orders, other.more,
        )  # fmt: skip

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return any((self.messages, self.results, self.observations, self.deliveries, self.orders))


_BUSY = f"""(WITH RECURSIVE busy (specimen) AS (
    SELECT specimen FROM observation WHERE {OBSERVATION_OPEN} AND coalesce(specimen, '') <> ''
    UNION ALL SELECT specimen FROM observation WHERE {OBSERVATION_DOUBT} AND coalesce(specimen, '') <> ''
    UNION SELECT CASE WHEN a.specimen = b.specimen THEN a.parent ELSE a.specimen END
        FROM busy b JOIN aliquot a ON a.specimen = b.specimen OR a.parent = b.specimen
) SELECT specimen FROM busy)"""  # noqa: S608  # constants
"""Specimens on which something is open, with the tubes taken from them and what they were taken from. What was said there
still counts: an order less, and what is held as ambiguous would be matched; a result less, and what is held for differing
from it would go out as the first."""
# Counted, since PostgreSQL joins all there is for a NOT EXISTS: 17 s for forty messages among two millions of results.
_DONE = f"""
    t.state IN ('processed', 'superseded', 'dismissed') AND t.received_at < :before {{far}}
    AND 0 = (
        SELECT count(*) FROM observation o WHERE o.transmission_id = t.id AND (
            o.state IN ('waiting', 'held') OR (o.state = 'released' AND o.reason IS NOT NULL)
            OR o.specimen IN {_BUSY} OR EXISTS (
                SELECT 1 FROM delivery_observation l JOIN delivery d ON d.id = l.delivery_id
                WHERE l.observation_id = o.id AND (d.state IN ('waiting', 'parked') OR d.created_at >= :before
                    OR EXISTS (SELECT 1 FROM difference f WHERE f.delivery_id = d.id AND f.state = 'open')))))
"""  # noqa: S608  # constants
_ORDERS_DONE = f"""
    received_at < :before AND changed_at < :before {{far_orders}}
    AND NOT EXISTS (SELECT 1 FROM observation o WHERE o.order_id = lab_order.id OR o.beside_id = lab_order.id)
    AND lab_order.specimen NOT IN {_BUSY}
"""  # noqa: S608  # constants
_CHUNK = f"SELECT t.id FROM transmission t WHERE t.id < :below AND {_DONE} ORDER BY t.id LIMIT :n"  # noqa: S608
_COUNTS = {
    "messages": f"SELECT count(*) FROM transmission t WHERE t.id < :below AND {_DONE}",  # noqa: S608
    "results": (
        f"SELECT count(*) FROM result r JOIN transmission t ON t.id = r.transmission_id WHERE t.id < :below AND {_DONE}"  # noqa: S608
    ),
    "observations": (
        f"SELECT count(*) FROM observation p JOIN transmission t ON t.id = p.transmission_id WHERE t.id < :below AND {_DONE}"  # noqa: S608
    ),
    "deliveries": (
        "SELECT count(*) FROM delivery e WHERE e.created_at < :before AND e.state NOT IN ('waiting', 'parked') "  # noqa: S608
        "AND NOT EXISTS (SELECT 1 FROM delivery_observation k JOIN observation p ON p.id = k.observation_id "
        f"JOIN transmission t ON t.id = p.transmission_id WHERE k.delivery_id = e.id AND NOT (t.id < :below AND {_DONE}))"
    ),
    "orders": (
        "SELECT count(*) FROM lab_order WHERE received_at < :before AND changed_at < :before {far_orders} AND NOT EXISTS ("  # noqa: S608
        "SELECT 1 FROM observation o JOIN transmission t ON t.id = o.transmission_id "
        f"WHERE (o.order_id = lab_order.id OR o.beside_id = lab_order.id) AND NOT (t.id < :below AND {_DONE})) "
        f"AND lab_order.specimen NOT IN {_BUSY}"
    ),
}
_UNREAD = text(
    "SELECT received_at FROM transmission WHERE state IN ('stored', 'parked') AND id < :below ORDER BY received_at"
)
REACH = timedelta(hours=72 + 240 + 24)
"""With the windows that `[matching]` has unless a site says otherwise."""


def reach(window_h: float, wait_h: float) -> timedelta:
    """How far apart two results of one order are received at most, with the site's windows."""
    return timedelta(hours=window_h + wait_h + 24)


def cutoff(now: datetime, days: int, *, window_h: float, wait_h: float) -> datetime:
    """What is older than that may go: after so many days, and not while a resend may still have to be known by it.

    window_h, wait_h: as the site's matching has them; two results of one order are received at most both of them apart.
    """
    return now - max(timedelta(days=days), reach(window_h, wait_h))


def _sparing(connection: Connection, before: datetime, around: timedelta) -> Callable[[str], TextClause]:
    """Completes a query so that it leaves alone what is near a message that is not read yet."""
    spans: list[tuple[int, int]] = []
    below = journal.first_since(connection, before + around)
    for (at,) in connection.execute(_UNREAD, {"below": below}):
        first, last = int(at) - around // _US, int(at) + around // _US
        if spans and first <= spans[-1][1]:
            spans[-1] = (spans[-1][0], last)
        else:
            spans.append((first, last))

    def far(column: str) -> str:
        return "".join(f" AND {column} NOT BETWEEN {first} AND {last}" for first, last in spans)

    far_orders = far("lab_order.received_at") + far("lab_order.changed_at")
    return lambda query: text(query.format(far=far("t.received_at"), far_orders=far_orders))


def would(connection: Connection, before: datetime, around: timedelta = REACH) -> Pruned:
    """What ``prune`` would take out in all, unless something changes meanwhile. Orders that only these answer count too."""
    sparing = _sparing(connection, before, around)
    values = {"before": to_us(before), "below": journal.first_since(connection, before)}
    found = {name: int(connection.execute(sparing(query), values).scalar_one()) for name, query in _COUNTS.items()}
    return Pruned(found["messages"], found["results"], found["observations"], found["deliveries"], found["orders"])


def prune(connection: Connection, before: datetime, limit: int = AT_ONCE, around: timedelta = REACH) -> Pruned:
    """Take out the oldest messages that are done with, at most ``limit``; orders when no message is left.

    around: what was received, or ordered, so near to a message that is not read yet stays (``reach``).
    """
    sparing = _sparing(connection, before, around)
    below = journal.first_since(connection, before)
    found = connection.execute(sparing(_CHUNK), {"before": to_us(before), "below": below, "n": limit})
    messages = [int(row[0]) for row in found]
    if not messages:
        return _orders(connection, before, sparing)
    observations = _column(connection, "SELECT id FROM observation WHERE transmission_id IN :of", messages)
    deliveries = _column(
        connection, "SELECT DISTINCT delivery_id FROM delivery_observation WHERE observation_id IN :of", observations
    )
    _run(connection, "DELETE FROM delivery_observation WHERE observation_id IN :of", observations)
    deliveries = _column(
        connection,
        "SELECT id FROM delivery WHERE id IN :of AND state NOT IN ('waiting', 'parked') "
        "AND NOT EXISTS (SELECT 1 FROM delivery_observation l WHERE l.delivery_id = delivery.id)",
        deliveries,
    )
    _run(connection, "DELETE FROM attempt WHERE delivery_id IN :of", deliveries)
    _run(connection, "DELETE FROM difference WHERE delivery_id IN :of AND state = 'closed'", deliveries)
    gone = _run(connection, "DELETE FROM delivery WHERE id IN :of", deliveries)
    _run(connection, "DELETE FROM observation WHERE id IN :of", observations)
    results = _run(connection, "DELETE FROM result WHERE transmission_id IN :of", messages)
    _run(connection, "DELETE FROM transmission WHERE id IN :of", messages)
    return Pruned(len(messages), results, len(observations), gone, more=True)


def _orders(connection: Connection, before: datetime, sparing: Callable[[str], TextClause]) -> Pruned:
    """Orders that no observation names any more and nothing open may be about; then what came with them, and what
    instruments were told of them. Some of one kind at a time."""
    values = {"before": to_us(before), "n": _ORDERS_AT_ONCE}
    orders = 0
    for table, which in (
        ("lab_order", sparing(_some_of("lab_order", _ORDERS_DONE))),
        ("order_message", text(_some_of("order_message", "received_at < :before"))),
        ("told", text(_some_of("told", "told_at < :before"))),
    ):
        count = int(connection.execute(which, values).rowcount)
        orders += count if table == "lab_order" else 0
        if count >= _ORDERS_AT_ONCE:
            return Pruned(orders=orders, more=True)
    return Pruned(orders=orders)


def _some_of(table: str, which: str) -> str:
    return f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {which} ORDER BY id LIMIT :n)"  # noqa: S608


def _many(sql: str) -> TextClause:
    return text(sql).bindparams(bindparam("of", expanding=True))


def _column(connection: Connection, sql: str, of: list[object] | list[int]) -> list[object]:
    found: list[object] = []
    for at in range(0, len(of), 500):
        found += [row[0] for row in connection.execute(_many(sql), {"of": of[at : at + 500]})]
    return found


def _run(connection: Connection, sql: str, of: list[object] | list[int]) -> int:
    """Run it over so many at a time as every database takes; returns how many rows."""
    return sum(int(connection.execute(_many(sql), {"of": of[at : at + 500]}).rowcount) for at in range(0, len(of), 500))
