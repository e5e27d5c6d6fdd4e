"""The proof of a day with a destination: what was sent, and whether it holds that. Used by the service and by hand.

settled deliveries of the day -> their rows -> the destination's own rows -> differences -> the worklist
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from labgateway.delivery import document
from labgateway.delivery.flat import Row
from labgateway.delivery.ports import Difference
from labgateway.errors import LabgatewayError
from labgateway.store import differences
from labgateway.store.differences import Found
from labgateway.store.engine import Store

_AT_ONCE = 200


class Readable(Protocol):
    """A destination whose rows can be read back."""

    async def read_back(self, found: Sequence[Row]) -> list[Difference]:
        """What of these it does not hold as sent. Raises OSError, in words, when it cannot be read."""
        ...


@dataclass(slots=True)
class Proof:
    """One destination on one day. states: deliveries made that day by where they stand now. compared: results whose
    rows were read back, None: it cannot be asked. trouble: why the comparison broke off, "" when it did not.
    """

    destination: str
    first: int
    end: int
    states: dict[str, int] = field(default_factory=dict[str, int])
    compared: int | None = None
    found: list[Found] = field(default_factory=list[Found])
    trouble: str = ""


def span_of(day: date, timezone: str) -> tuple[datetime, datetime]:
    """Midnight to midnight at the site."""
    zone = ZoneInfo(timezone)
    return datetime.combine(day, time(), zone), datetime.combine(day + timedelta(days=1), time(), zone)


async def prove(
    store: Store, destination: str, readable: Readable | None, since: datetime, until: datetime, *, update: bool = False
) -> Proof:
    """Count, and compare where it can be asked. update: a correction took the place of what it corrects.

    Raises StoreError.
    """
    first, end = await store.read(lambda c: differences.span(c, since, until))
    proof = Proof(destination, first, end)
    proof.states = (await store.read(lambda c: differences.counts(c, first, end))).get(destination, {})
    if readable is None:
        return proof
    gone = await store.read(lambda c: differences.replaced(c, since)) if update else set[str]()
    proof.compared, at = 0, first
    while True:
        begin = at
        bodies = await store.read(lambda c: differences.settled(c, destination, begin, end, _AT_ONCE))  # noqa: B023
        if not bodies:
            return proof
        at = bodies[-1][0] + 1
        owner: dict[str, int] = {}
        expected: list[Row] = []
        for number, body in bodies:
            for row in _rows(body):
                if row["id"] and row["id"] not in gone:
                    owner[row["id"]] = number
                    expected.append(row)
        try:
            for one in await readable.read_back(expected):
                proof.found.append(Found(owner[one.id], one.id, ", ".join(one.where)))
        except OSError as error:
            proof.trouble = str(error)
            return proof
        proof.compared += len(expected)


def _rows(body: bytes) -> list[Row]:
    try:
        return document.read(body)[1]
    except ValueError:
        return []  # sent when the destination was of another kind


def asked(proof: Proof) -> dict[str, Any]:
    """What the command line found, as a request to the gateway that writes it down."""
    return {
        "action": "differences", "destination": proof.destination, "first": proof.first, "end": proof.end,
        "compared": proof.compared, "found": [[one.delivery, one.observation, one.detail] for one in proof.found],
    }  # fmt: skip


def proof_of(request: Mapping[str, Any]) -> Proof:
    """The other way. Raises LabgatewayError for anything else."""
    try:
        found = [Found(int(number), str(one), str(detail)) for number, one, detail in request["found"]]
        first, end, compared = int(request["first"]), int(request["end"]), int(request["compared"])
        return Proof(str(request["destination"]), first, end, compared=compared, found=found)
    except (KeyError, TypeError, ValueError):
        raise LabgatewayError("That is no comparison of labgateway reconcile.") from None
