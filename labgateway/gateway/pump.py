"""Stored messages through the pipeline, in the order in which they were stored, behind the intake.

    kept ──add──> queue ──a few at once──> store's background jobs ──> processed
                    ^                                                      │
                    └── the intake was faster than we: a pause ────────────┘

Receiving and processing share one interpreter. While more is stored than is processed, analyzers send as fast as
they are answered, and each moment of processing keeps one of them waiting. Then this room steps back: it takes a
quarter of the time, until the intake calms down or until it has been behind for long enough.
"""

from __future__ import annotations

import asyncio
import random as _random
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime

from sqlalchemy import text

from labgateway.delivery.schedule import OF_THE_STORE
from labgateway.errors import Problem, Reason, StoreBrokenError, StoreError
from labgateway.pipeline import take
from labgateway.pipeline.rules import Rules
from labgateway.store import journal
from labgateway.store.engine import Store
from labgateway.transports.channel import Say

_AT_ONCE = 8
"""Messages handed to the writer together: enough to share a commit, few enough to stay behind the intake."""
_STUBBORN = 3
"""A message that has failed alone so often, with a store that answers, lets the others pass."""
_EVERYTHING = 10_000_000
YIELD = 3.0
"""Pause after a batch during which the intake was faster, as a multiple of the batch's own time."""
LONGEST_PAUSE_S = 0.5
"""Of a batch that took so long the time went by waiting for the disk, which keeps no analyzer waiting."""
PATIENCE_S = 30.0
"""Behind for so long, it no longer steps back: a result shall be late by a minute at most, not by an hour."""


class Pace:
    """How long to step back after a batch. Pure; times in seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._behind_since: float | None = None

    def pause_s(self, began: float, ended: float, *, stored: int, processed: int, left: int) -> float:
        """stored: messages that came since the batch before; left: how many wait now."""
        if not left:
            self._behind_since = None
            return 0.0
        if self._behind_since is None:
            self._behind_since = began
        if stored <= processed or ended - self._behind_since >= PATIENCE_S:
            return 0.0
        return min(YIELD * (ended - began), LONGEST_PAUSE_S)


class Pump:
    """The queue and its work. ``run`` is a task; ``add`` may be called at any time in the loop."""

    def __init__(
        self,
        store: Store,
        rules: Callable[[], Rules],
        processed: Callable[[int, take.Outcome], None],
        *,
        say: Say,
        utcnow: Callable[[], datetime],
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._store = store
        self._rules = rules
        self._processed = processed
        self._say = say
        self._utcnow = utcnow
        self._random = random
        self._todo: deque[int] = deque()
        self._known: set[int] = set()  # what is in todo: after a stumble of the store all that waits is offered again
        self._failures = 0  # of the store, one after the other
        self._added = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._todo)

    def add(self, numbers: Iterable[int]) -> None:
        """Numbers of stored messages, to be processed after those that wait already; one that waits is not added again."""
        for number in numbers:
            if number not in self._known:
                self._known.add(number)
                self._todo.append(number)
                self._added += 1
        self._wake.set()

    async def take_up(self, instruments: list[str] | None) -> None:
        """What is stored and not processed, of all instruments (None) or of some, is processed here. Raises StoreError."""
        left = await self._store.read(lambda connection: journal.unprocessed(connection, _EVERYTHING, instruments))
        if left:
            self._say("taking_up", count=len(left))
            self.add(left)

    async def run(self) -> None:
        """For ever; ends when the store is broken."""
        loop, pace, seen = asyncio.get_running_loop(), Pace(), 0
        while True:
            await self._wake.wait()
            if not self._todo:
                self._wake.clear()
                continue
            began = loop.time()
            batch = [self._todo.popleft() for _ in range(1 if self._failures else min(_AT_ONCE, len(self._todo)))]
            self._known.difference_update(batch)
            try:
                failed = await self._process(batch)
                if failed:
                    await self._rest(failed)
                    continue
            except StoreBrokenError:
                return
            self._failures = 0
            stored, seen = self._added - seen, self._added
            pause = pace.pause_s(began, loop.time(), stored=stored, processed=len(batch), left=len(self._todo))
            if pause:
                await asyncio.sleep(pause)

    async def _process(self, batch: list[int]) -> list[int]:
        """Those that the store did not take, in their order. Raises StoreBrokenError."""
        now, rules = self._utcnow(), self._rules()
        jobs = [self._store.submit(take.process(number, rules, now), background=True) for number in batch]
        failed: list[int] = []
        broken: StoreBrokenError | None = None
        for number, outcome in zip(batch, await asyncio.gather(*jobs, return_exceptions=True), strict=True):
            if isinstance(outcome, take.Outcome):
                self._processed(number, outcome)
            elif isinstance(outcome, StoreBrokenError):
                broken = outcome
            elif isinstance(outcome, StoreError):
                self._not_processed(number, outcome)
                failed.append(number)
            elif isinstance(outcome, Exception):
                if not await self._defect(number, outcome, rules.config_version):
                    failed.append(number)
            else:
                raise outcome
        if broken is not None:
            raise broken
        return failed

    async def _rest(self, failed: list[int]) -> None:
        """Once for all that failed with it. Raises StoreBrokenError."""
        self._failures += 1
        if len(failed) == 1 and self._failures > _STUBBORN and await self._answers():
            self._todo.extend(failed)
            self._failures = 1
        else:
            self._todo.extendleft(reversed(failed))
        self._known.update(failed)
        await asyncio.sleep(OF_THE_STORE.wait_s(self._failures, self._random))

    async def _answers(self) -> bool:
        """Whether the writer can talk to its database. Raises StoreBrokenError."""
        try:
            await self._store.submit(lambda c: c.execute(text("SELECT 1")).scalar(), background=True)
        except StoreBrokenError:
            raise
        except StoreError:
            return False
        return True

    def _not_processed(self, number: int, error: StoreError) -> None:
        self._say("not_processed", level="error", message=number, error=type(error).__name__)

    async def _defect(self, number: int, error: BaseException, version: str) -> bool:
        """A message on which we fail must not stop the others: it parks, as our fault. False: the store did not take that.

        Raises StoreBrokenError.
        """
        self._say("defect", level="error", message=number, exc_info=error)
        problem, now = Problem(Reason.DEFECT, type(error).__name__), self._utcnow()
        try:
            await self._store.submit(
                lambda c: journal.finish(
                    c, number, now=now, driver=None, config_version=version, mapping_version=None, problem=problem
                ),
                background=True,
            )
        except StoreBrokenError:
            raise
        except StoreError as failed:
            self._not_processed(number, failed)
            return False
        return True
