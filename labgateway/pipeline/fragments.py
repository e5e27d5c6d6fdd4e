"""What broken sessions left, when the instrument sends again: needed no more once all of it has come whole.

A fragment of several specimens stays until each of them has come: an analyzer may go on where it was cut, or begin with
the next. One that cannot be read is only known by the ids that stand in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from labgateway.instruments.decode import decode
from labgateway.instruments.spec import Driver
from labgateway.model import Kind
from labgateway.protocols.astm_frames import CR, frame
from labgateway.store import journal, results
from labgateway.store.journal import Transmission

_REPEAT_DAYS = 3
_LAST_FRAME = re.compile(rb"(?s).*\x02([0-7])")


def repeated(connection: Connection, message: Transmission, specimens: Sequence[str], driver: Driver) -> int:
    """A whole message with these specimens has come; how many fragments of its instrument need nobody any more."""
    since = message.received_at - timedelta(days=_REPEAT_DAYS)

    def has_come(raw: bytes, at: datetime) -> bool:
        named = _named(driver, raw)
        return named is not None and all(
            one in specimens or _came_whole(connection, message.instrument, one, at) for one in named
        )

    return journal.supersede_incomplete(connection, message.instrument, specimens, since, has_come)


def _came_whole(connection: Connection, instrument: str, specimen: str, at: datetime) -> bool:
    return any(one.instrument == instrument for one in results.of_specimen(connection, specimen, at))


def _named(driver: Driver, raw: bytes) -> Collection[str] | None:
    """Whose results stand in a fragment; None when that cannot be told."""
    decoded = decode(driver, raw)
    if decoded.problem is not None and driver.protocol == "astm" and (found := _LAST_FRAME.match(raw)):
        # Cut inside a record: with an end to it the records before it can be read.
        decoded = decode(driver, raw + frame(int(found[1]) + 1, CR))
    if decoded.problem is not None:
        # A text of a raw framing is of one specimen, but for a few.
        return () if driver.layout is not None else None
    return {one.specimen for one in decoded.results if one.specimen and one.kind is not Kind.QUERY}
