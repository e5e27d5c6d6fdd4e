"""Which specimens have something to do, for an instrument that asks for all of them, or for a range; and what
instruments that are told unasked have been told already.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, text, update

from labgateway.store.tables import to_us, told

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


_NOT_TOLD = text(
    "SELECT l.specimen FROM lab_order l LEFT JOIN told t ON t.specimen = l.specimen AND t.instrument = :instrument "
    "WHERE coalesce(l.collected_at, l.received_at) >= :since AND (l.changed_at > t.told_at OR (t.told_at IS NULL "
    "AND l.state = 'open' AND NOT EXISTS (SELECT 1 FROM observation o WHERE o.specimen = l.specimen "
    "AND o.instrument = :instrument AND o.received_at >= l.received_at))) GROUP BY l.specimen ORDER BY min(l.id)"
)


def not_told(connection: Connection, instrument: str, since: datetime) -> list[str]:
    """Specimens with orders since then that changed after the instrument was told, or of which it knows nothing yet."""
    rows = connection.execute(_NOT_TOLD, {"since": to_us(since), "instrument": instrument})
    return [str(row[0]) for row in rows]


def told_codes(connection: Connection, instrument: str, specimen: str) -> tuple[str, ...]:
    """What the instrument was last told to measure on a specimen; () when nothing, or everything was cancelled."""
    found = connection.execute(
        told.select().where(told.c.instrument == instrument, told.c.specimen == specimen)
    ).first()
    return () if found is None else tuple(json.loads(found.codes))


def note_told(connection: Connection, instrument: str, specimen: str, codes: Sequence[str], at: datetime) -> None:
    """The instrument has taken these codes, all that it is to measure on this specimen. at: when the orders were read."""
    values = {"codes": json.dumps(list(codes)), "told_at": at}
    same = (told.c.instrument == instrument, told.c.specimen == specimen)
    if connection.execute(update(told).where(*same).values(**values)).rowcount == 0:
        connection.execute(insert(told), {"instrument": instrument, "specimen": specimen, **values})
