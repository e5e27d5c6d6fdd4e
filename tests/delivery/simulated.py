"""An event loop whose time is simulated, and a store and a destination in memory for the sender's tests.

With nothing to do the loop jumps to its next timer, so days of backoff pass in milliseconds, and always alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from labgateway.delivery.outcome import Accepted, Outcome, Refused
from labgateway.delivery.ports import Delivery, Done
from labgateway.errors import StoreError

T = TypeVar("T")


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Its clock stands still while anything runs and jumps when nothing does. No sockets, no threads."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        """Simulated seconds since the loop was made."""
        return self.now

    def _run_once(self) -> None:
        me: Any = self
        if not me._ready:
            while me._scheduled and me._scheduled[0]._cancelled:
                me._scheduled[0]._scheduled = False
                me._timer_cancelled_count -= 1
                import heapq

                heapq.heappop(me._scheduled)
            if not me._scheduled:
                raise RuntimeError("nothing is left that could ever happen")
            self.now = max(self.now, me._scheduled[0]._when)
        super()._run_once()  # type: ignore[misc]  # the one hook there is


def simulate(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it under simulated time."""
    loop = SimulatedLoop()
    try:
        return loop.run_until_complete(work())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(_settle())
        loop.close()


async def _settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def now() -> float:
    """Simulated seconds."""
    return asyncio.get_running_loop().time()


def utcnow() -> datetime:
    """The wall clock of the simulation."""
    return datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=now())


@dataclass
class Owed:
    """One delivery as a store would keep it."""

    delivery: Delivery
    state: str = "ready"
    words: str = ""
    retries: int = 0


@dataclass
class MemoryOutbox:
    """Commits after commit_s, in order; reads a snapshot that is read_s old when it arrives.

    careless: ready gives all of a lane, in order, and what is in hand too.
    """

    commit_s: float = 0.005
    read_s: float = 0.002
    owed: dict[int, Owed] = field(default_factory=dict[int, Owed])
    failing: bool = False
    careless: bool = False
    reads: int = 0

    def owe(self, lane: str, *, body: bytes | None = None) -> int:
        """A new delivery is committed; its id."""
        number = len(self.owed) + 1
        self.owed[number] = Owed(Delivery(number, lane, f"LG-{number}", body or b"body %d" % number))
        return number

    def states(self) -> dict[int, str]:
        """State of each."""
        return {n: owed.state for n, owed in self.owed.items()}

    async def ready(self, limit: int, in_hand: Collection[int]) -> Sequence[Delivery]:
        """See Outbox."""
        self.reads += 1
        heads: dict[str, Owed] = {}
        for owed in self.owed.values():
            if owed.state != "settled":
                heads.setdefault(owed.delivery.lane, owed)
        found = [owed.delivery for owed in heads.values() if owed.state == "ready" and owed.delivery.id not in in_hand]
        if self.careless:
            found = [
                owed.delivery
                for owed in self.owed.values()
                if owed.state == "ready" and heads[owed.delivery.lane].state == "ready"
            ]
        await asyncio.sleep(self.read_s)
        if self.failing:
            raise StoreError("away")
        return found[:limit]

    async def newest(self, limit: int, in_hand: Collection[int]) -> Sequence[Delivery]:
        """See Outbox."""
        heads: dict[str, Owed] = {}
        for owed in self.owed.values():
            if owed.state != "settled":
                heads.setdefault(owed.delivery.lane, owed)
        found = sorted((o.delivery for o in heads.values() if o.state == "ready"), key=lambda one: -one.id)
        await asyncio.sleep(self.read_s)
        if self.failing:
            raise StoreError("away")
        return [one for one in found if self.careless or one.id not in in_hand][:limit]

    def settle(self, delivery: Delivery, words: str, done: Done) -> None:
        """See Outbox."""
        self._book(delivery, "settled", words, done)

    def park(self, delivery: Delivery, words: str, done: Done) -> None:
        """See Outbox."""
        self._book(delivery, "parked", words, done)

    def retry(self, delivery: Delivery, words: str, done: Done, *, refused: bool) -> None:
        """See Outbox."""
        self.owed[delivery.id].retries += 1
        asyncio.get_running_loop().call_later(self.commit_s, done, None)

    def _book(self, delivery: Delivery, state: str, words: str, done: Done) -> None:
        def commit() -> None:
            if self.failing:
                done(StoreError("away"))
                return
            owed = self.owed[delivery.id]
            assert owed.state == "ready", f"{delivery.id} is {owed.state} and becomes {state}"
            owed.state, owed.words = state, words
            done(None)

        asyncio.get_running_loop().call_later(self.commit_s, commit)


@dataclass
class Attempt:
    """One call of send."""

    at: float
    id: int
    body: bytes
    outcome: Outcome | None = None


class ScriptedDestination:
    """Answers what the script says for each attempt, after the time it says. Watches what a destination may expect."""

    def __init__(
        self, script: Callable[[Attempt], tuple[float, Outcome]] | None = None, *, connections: int = 1
    ) -> None:
        self.script = script or (lambda _: (0.001, Accepted("")))
        self.connections = connections
        self.attempts: list[Attempt] = []
        self.under_way = 0
        self.most_under_way = 0
        self.closed = False

    async def send(self, body: bytes, control_id: str) -> Outcome:
        """See Destination."""
        attempt = Attempt(now(), int(control_id.removeprefix("LG-")), body)
        self.attempts.append(attempt)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            wait_s, outcome = self.script(attempt)
            await asyncio.sleep(wait_s)
        finally:
            self.under_way -= 1
        attempt.outcome = outcome
        return outcome

    async def close(self) -> None:
        """See Destination."""
        self.closed = True

    def answered(self) -> list[int]:
        """Ids in the order in which they were taken or refused for good."""
        return [a.id for a in self.attempts if isinstance(a.outcome, Accepted | Refused) and not _may_retry(a.outcome)]


def _may_retry(outcome: Outcome) -> bool:
    return isinstance(outcome, Refused) and outcome.may_retry
