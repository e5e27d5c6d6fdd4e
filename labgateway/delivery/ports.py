"""What the sender needs from a destination and from the store, and what it tells about itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from labgateway.delivery.outcome import Outcome

Done = Callable[[BaseException | None], None]
"""Called in the loop after the commit (None), or with why there was none."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message owed to one destination.

    id: the store's. lane: the specimen; patient data, so never in a log. control_id: MSH-10 or its like,
    stable. body: as it is sent each time. refusals: counted refusals so far (``Refused.may_retry``).
    """

    id: int
    lane: str
    control_id: str
    body: bytes
    refusals: int = 0


class Destination(Protocol):
    """Where a delivery goes."""

    @property
    def connections(self) -> int:
        """How many ``send`` may run at once."""
        ...

    async def send(self, body: bytes, control_id: str) -> Outcome:
        """One attempt; it ends by itself within the destination's own limits."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...


@runtime_checkable
class Listener(Protocol):
    """A destination that also wants to hear how the gateway stands."""

    async def tell(self, status: Mapping[str, Any], alerts: Mapping[str, Any]) -> None:
        """Pass it on, without patient data; raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Difference:
    """An observation that the destination does not hold as it was sent. id: the observation's. where: the names of
    the places that differ there, never their content; empty: it is not there at all.
    """

    id: str
    where: tuple[str, ...]


class Outbox(Protocol):
    """The store, as far as one destination's deliveries are concerned.

    settle, retry and park only submit; ``done`` is called in the loop after the commit. They must commit in
    the order in which they were called, and be harmless when repeated.
    """

    async def ready(self, limit: int, in_hand: Collection[int]) -> Sequence[Delivery]:
        """What may be sent next, oldest first: of each lane the oldest unsettled delivery, unless it is parked.

        in_hand: ids to leave out; their lanes are busy. Raises StoreError.
        """
        ...

    async def newest(self, limit: int, in_hand: Collection[int]) -> Sequence[Delivery]:
        """The other end of ``ready``, newest first; some of them only. Raises StoreError."""
        ...

    def settle(self, delivery: Delivery, words: str, done: Done) -> None:
        """The destination has taken it; words: what it said."""
        ...

    def retry(self, delivery: Delivery, words: str, done: Done, *, refused: bool) -> None:
        """An attempt failed and will be repeated. refused: it counts as a refusal."""
        ...

    def park(self, delivery: Delivery, words: str, done: Done) -> None:
        """The destination refused it; words: the reason in its own words, for the store only."""
        ...


class State(StrEnum):
    """How the destination stands to us."""

    STARTING = "starting"
    """Has not been tried yet."""
    ANSWERING = "answering"
    AWAY = "away"
    SHADOW = "shadow"
    """Deliveries are prepared and kept; nothing is sent."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Health:
    """For the status page. Times are aware UTC, None: never. why: of the outage, no patient data.

    in_hand: deliveries read from the store and not finished; how many wait in all only the store knows.
    attempts: probes since the outage began. The counters run since the start of the process. trouble: why the
    store gives or takes nothing, empty while it does.
    """

    destination: str
    state: State
    since: datetime
    why: str
    last_answer_at: datetime | None
    in_hand: int
    attempts: int
    accepted: int
    refused: int
    parked: int
    trouble: str = ""
