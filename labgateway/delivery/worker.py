"""One thread for one destination whose client blocks: a database driver, a file system that may be a network's.

The event loop never waits longer than it wants to. A job that does not come back keeps the thread, and until it does
every further one is refused at once: a server that hangs costs one thread, not one a second.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Job = Callable[[], None]


class StuckError(Exception):
    """The job did not come back in time, or the one before it has not yet."""


class Worker:
    """``run`` carries out one job after the other in a daemon thread, which does not keep the process from ending."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._open = 0

    async def run(self, work: Callable[[], T], patience_s: float) -> T:
        """What ``work`` returns or raises. Raises StuckError after patience_s; the job is then still under way."""
        if self._open:
            raise StuckError
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._open += 1

        def job() -> None:
            try:
                value, error = work(), None
            except BaseException as caught:  # whatever it is, it belongs to the one who waits
                value, error = None, caught
            try:
                loop.call_soon_threadsafe(self._done, future, value, error)
            except RuntimeError:
                pass  # the loop has ended; nobody waits

        self._jobs.put(job)
        try:
            async with asyncio.timeout(patience_s):
                return await future
        except TimeoutError:
            if future.done() and not future.cancelled():
                raise  # the work's own TimeoutError
            raise StuckError from None

    def _done(self, future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
        self._open -= 1
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def close(self) -> None:
        """Let the thread end after what it is at."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread = None
