"""From a line to the journal: what arrived is stored, and only then is the line told so, which may acknowledge it.

Arrival ──> journal (one commit) ──> kept ──> the line acknowledges
                                      └────> done: the message is on disk under its number
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from labgateway.errors import StoreBusyError, StoreError
from labgateway.gateway.shared import Shared
from labgateway.line.arrival import Arrival, Control, Kept
from labgateway.store import journal


def keeper(
    shared: Shared, name: str, epoch: str, stored: Callable[[Arrival, int], None]
) -> Callable[[Arrival, Kept], None]:
    """How a line has its arrivals stored. epoch: tells the parts of this process from those of an earlier one.

    stored: a whole message is on disk under its number.
    """
    parted: set[str] = set()

    def keep(arrival: Arrival, kept: Kept) -> None:
        now = shared.utcnow()
        part = arrival.control is Control.PART
        if part:
            parted.add(arrival.key)
        key = f"{epoch}.{name}.{arrival.key}" if part or arrival.key in parted else None
        if arrival.once:
            key = journal.once_key(name, arrival.data)

        def job(connection: Connection) -> int | None:
            if arrival.once and key and journal.is_kept(connection, key):
                return None
            if part and key:
                return journal.append_part(
                    connection, instrument=name, protocol=arrival.protocol, peer=arrival.peer, received_at=now,
                    raw=arrival.data, part_key=key,
                )  # fmt: skip
            return journal.append(
                connection, instrument=name, protocol=arrival.protocol, peer=arrival.peer, received_at=now,
                raw=arrival.data, complete=arrival.complete, why=arrival.why, part_key=key,
            )  # fmt: skip

        def done(number: int | None, error: BaseException | None) -> None:
            if error is None and number is None:
                shared.say("kept_before", instrument=name, peer=arrival.peer)
            kept(error if error is None or isinstance(error, StoreError) else StoreBusyError(type(error).__name__))
            if error is None and number is not None and not part:
                parted.discard(arrival.key)
                if arrival.complete:
                    stored(arrival, number)

        shared.store.submit_call(job, done)

    return keep
