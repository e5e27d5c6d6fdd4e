"""The proof of a day with a destination: what was sent, and whether it holds that. Used by the service and by hand.

settled deliveries of the day -> their results -> what the destination holds -> differences -> the worklist
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from labgateway.delivery.ports import Difference
from labgateway.errors import LabgatewayError
from labgateway.store import differences
from labgateway.store.differences import Found
from labgateway.store.engine import Store

_AT_ONCE = 200


class Readable(Protocol):
    """A destination whose results can be read back. What one looks like is its own matter."""

    def parts(self, body: bytes) -> Mapping[str, Any]:
        """What a message of ours says that it must hold, by observation; empty for what is none of its kind."""
        ...

    async def read_back(self, found: Sequence[Any]) -> list[Difference]:
        """What of these parts it does not hold as sent. Raises OSError, in words, when it cannot be read."""
        ...

    async def close(self) -> None:
        """Let go of its connection."""
        ...


@dataclass(slots=True)
class Proof:
    """One destination on one day. states: deliveries made that day by where they stand now. compared: results that
    were read back, None: it cannot be asked. trouble: why the comparison broke off, "" when it did not.
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
        expected: dict[str, Any] = {}
        for number, body in bodies:
            for observation, part in readable.parts(body).items():
                if observation not in gone:
                    owner[observation] = number
                    expected[observation] = part
        try:
            for one in await readable.read_back(list(expected.values())):
                proof.found.append(Found(owner[one.id], one.id, ", ".join(one.where)))
        except OSError as error:
            proof.trouble = str(error)
            return proof
        proof.compared += len(expected)


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
