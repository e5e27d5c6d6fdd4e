"""Which specimens have something to do, for an instrument that asks for all of them, or for a range."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from labgateway.store.tables import to_us

_OPEN = "FROM lab_order l WHERE l.state = 'open' AND coalesce(l.collected_at, l.received_at) >= :since"
_ALL = text(
    f"SELECT l.specimen {_OPEN} AND NOT EXISTS (SELECT 1 FROM observation o WHERE o.specimen = l.specimen "  # noqa: S608
    "AND o.instrument = :instrument AND o.received_at >= l.received_at) GROUP BY l.specimen ORDER BY min(l.id)"
)
_RANGE = text(f"SELECT l.specimen {_OPEN} GROUP BY l.specimen ORDER BY min(l.id)")


def not_measured(connection: Connection, instrument: str, since: datetime) -> list[str]:
    """Specimens with open orders since then, of which this instrument has said nothing after the order came."""
    rows = connection.execute(_ALL, {"since": to_us(since), "instrument": instrument})
    return [str(row[0]) for row in rows]


def between(connection: Connection, first: str, last: str, since: datetime) -> list[str]:
    """Specimens with open orders since then, from first to last: ids of their length, compared as text."""
    rows = connection.execute(_RANGE, {"since": to_us(since)})
    return [s for row in rows if len(s := str(row[0])) == len(first) == len(last) and first <= s <= last]
