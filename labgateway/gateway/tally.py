"""Counts of the whole store, which take the longer the more there is: what took long is not counted again at once.

    asked for ──> the last one took less than CHEAP_S? ──yes──> counted anew
                     └──no──> told as it stood then, until PATIENCE times as long has gone by: at most a fiftieth of
                              the time goes into each count, however much there is

A busy machine makes one count slow that is not: how long it takes is the less of the last two times.

One is counted at a time, so that one of the store's readers is always there for the senders.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from labgateway.store import outbox, worklist

CHEAP_S = 0.1
"""What takes no longer is counted whenever somebody asks."""
PATIENCE = 50.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Counted(Generic[T]):
    """A count and when it was true. at_s: of a clock that only goes on, when counting began; took_s: how long it takes."""

    value: T
    at_s: float
    took_s: float

    def holds(self, now_s: float, fresh_s: float = 0.0) -> bool:
        """Whether it may still be told at that moment. fresh_s: as old as whoever asks takes it, however cheap."""
        patience = 0.0 if self.took_s <= CHEAP_S else PATIENCE * self.took_s
        return now_s - self.at_s < max(fresh_s, patience)


class _One(Generic[T]):
    def __init__(self, job: Callable[[Connection], T]) -> None:
        self.job = job
        self.last: Counted[T] | None = None
        self.took_s = 0.0


class Tally:
    """The counts that are told again and again. read: the store's. alarm_h: [matching] alarm_h of the config of now."""

    def __init__(
        self,
        read: Callable[[Callable[[Connection], Any]], Awaitable[Any]],
        alarm_h: Callable[[], float],
        utcnow: Callable[[], datetime],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        def late(connection: Connection) -> int:
            return worklist.count(connection, waiting_before=utcnow() - timedelta(hours=alarm_h()))

        self._read = read
        self._clock = clock
        self._counting = asyncio.Lock()
        self._all = _One(worklist.counts)
        self._waiting = _One(outbox.waiting)
        self._late = _One(late)

    async def everything(self) -> Counted[dict[str, Any]]:
        """See ``worklist.counts``. Raises StoreError."""
        return await self._get(self._all, 0.0)

    async def waiting(self, fresh_s: float = 0.0) -> Counted[dict[str, int]]:
        """See ``outbox.waiting``. Raises StoreError."""
        return await self._get(self._waiting, fresh_s)

    async def for_a_person(self, fresh_s: float = 0.0) -> Counted[int]:
        """How much waits for a person. Raises StoreError."""
        return await self._get(self._late, fresh_s)

    def age_s(self, *counts: Counted[Any]) -> float:
        """How long ago the oldest of them was counted."""
        return self._clock() - min(one.at_s for one in counts)

    async def _get(self, one: _One[T], fresh_s: float) -> Counted[T]:
        if one.last is not None and one.last.holds(self._clock(), fresh_s):
            return one.last
        async with self._counting:
            began = self._clock()
            if one.last is None or not one.last.holds(began, fresh_s):
                value = await self._read(one.job)
                before_s, one.took_s = one.took_s, self._clock() - began
                one.last = Counted(value, began, min(before_s, one.took_s))
            return one.last
