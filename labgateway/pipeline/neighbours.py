"""A patient's values of one test on either side of a result, for the delta rule. Reads only.

    earlier ─── last before ──> result <── first after ─── later          by our receipt, other specimens, released

Only what is proven to be the same patient's counts, only the newest version of each, and nothing that was taken back.
The one after matters when a result had to wait: whatever comes first, two values that stand side by side were compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from labgateway.matching.identity import same_patient
from labgateway.matching.versions import RETRACTED
from labgateway.model import Order
from labgateway.store import orders, results
from labgateway.store.observed import Earlier


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose neighbours are looked for. beside: the order whose patient it is. order_id: that it answers, if any.

    id: of the observation itself when it is decided again; "" for a new one.
    """

    code: str
    specimen: str
    beside: Order
    order_id: int | None
    received_at: datetime
    id: str = ""


def neighbours(
    connection: Connection, asked: Asked, days: int, fresh: Iterable[Earlier] = ()
) -> tuple[Earlier | None, Earlier | None]:
    """The last value before and the first one after, None where there is none.

    fresh: what the transaction in hand has released and not written yet. A patient without a number has no neighbours.
    """
    patient = asked.beside.patient.id
    if not patient:
        return None, None
    reach = timedelta(days=days)
    since, until = asked.received_at - reach, asked.received_at + reach
    found = {one.id: one for one in results.of_patient(connection, patient, asked.code, since, until)}
    found |= {one.id: one for one in fresh if since <= one.received_at <= until}
    replaced = {one.replaces for one in found.values()}
    standing = [
        one
        for one in found.values()
        if one.id not in replaced and one.id != asked.id and one.letter not in RETRACTED and not _same_place(one, asked)
    ]
    before = [one for one in standing if one.received_at <= asked.received_at]
    after = [one for one in standing if one.received_at > asked.received_at]
    return (
        next((one for one in reversed(before) if _is_proven(connection, one, asked)), None),
        next((one for one in after if _is_proven(connection, one, asked)), None),
    )


def _same_place(one: Earlier, asked: Asked) -> bool:
    """Versions of one result are compared by matching/versions.py."""
    if one.order_id is not None and asked.order_id is not None:
        return one.order_id == asked.order_id
    return one.specimen == asked.specimen


def _is_proven(connection: Connection, one: Earlier, asked: Asked) -> bool:
    theirs = next((order for order in orders.for_specimen(connection, one.specimen) if order.id == one.beside_id), None)
    return theirs is not None and same_patient(
        asked.beside.patient, theirs.patient, same_source=asked.beside.source == theirs.source
    )
