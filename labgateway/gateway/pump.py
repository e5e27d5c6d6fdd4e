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
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime

from labgateway.errors import Problem, Reason, StoreBrokenError, StoreError
from labgateway.pipeline import take
from labgateway.pipeline.rules import Rules
from labgateway.store import journal
from labgateway.store.engine import Store
from labgateway.transports.channel import Say

_AT_ONCE = 8
"""Messages handed to the writer together: enough to share a commit, few enough to stay behind the intake."""
_STORE_REST_S = 1.0
_EVERYTHING = 10_000_000
YIELD = 3.0
"""Pause after a batch during which the intake was faster, as a multiple of the batch's own time."""
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
        return YIELD * (ended - began)


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
    ) -> None:
        self._store = store
        self._rules = rules
        self._processed = processed
        self._say = say
        self._utcnow = utcnow
        self._todo: deque[int] = deque()
        self._added = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._todo)

    def add(self, numbers: Iterable[int]) -> None:
        """Numbers of stored messages, to be processed after those that wait already."""
        before = len(self._todo)
        self._todo.extend(numbers)
        self._added += len(self._todo) - before
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
            batch = [self._todo.popleft() for _ in range(min(_AT_ONCE, len(self._todo)))]
            if not await self._process(batch):
                return
            stored, seen = self._added - seen, self._added
            pause = pace.pause_s(began, loop.time(), stored=stored, processed=len(batch), left=len(self._todo))
            if pause:
                await asyncio.sleep(pause)

    async def _process(self, batch: list[int]) -> bool:
        """False when nothing can be written any more."""
        now, rules = self._utcnow(), self._rules()
        jobs = [self._store.submit(take.process(number, rules, now), background=True) for number in batch]
        for number, outcome in zip(batch, await asyncio.gather(*jobs, return_exceptions=True), strict=True):
            if isinstance(outcome, take.Outcome):
                self._processed(number, outcome)
            elif isinstance(outcome, StoreBrokenError):
                return False
            elif isinstance(outcome, StoreError):
                self._say("not_processed", level="error", message=number, error=type(outcome).__name__)
                self._todo.append(number)
                await asyncio.sleep(_STORE_REST_S)
            elif isinstance(outcome, Exception):
                await self._defect(number, outcome, rules.config_version)
            else:
                raise outcome
        return True

    async def _defect(self, number: int, error: BaseException, version: str) -> None:
        """A message on which we fail must not stop the others: it parks, as our fault."""
        self._say("defect", level="error", message=number, exc_info=error)
        problem, now = Problem(Reason.DEFECT, type(error).__name__), self._utcnow()
        try:
            await self._store.submit(
                lambda c: journal.finish(
                    c, number, now=now, driver=None, config_version=version, mapping_version=None, problem=problem
                ),
                background=True,
            )
        except StoreError as failed:
            self._say("not_processed", level="error", message=number, error=type(failed).__name__)
