"""One thread writes. Jobs queue up, run in one transaction, and are told together after its commit.

    submit ──> foreground ─┐   BEGIN IMMEDIATE
    submit ──> background ─┴─> job job job ...   COMMIT ──> one call into the event loop tells all
                               a job raised: ROLLBACK, then each alone

Jobs are functions of a connection. They may run twice (the batch was rolled back), so they change nothing but
the database. A job that raises harms only itself. Background jobs run when no foreground job waits.
A database error that is neither "full" nor "locked" ends the writer: nothing succeeds after it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    ProgrammingError,
)

from labgateway.errors import StoreBrokenError, StoreError

Job = Callable[[Connection], Any]
Done = Callable[[Any, BaseException | None], None]

BATCH = 256
BACKGROUND_BATCH = 4


class _Item:
    __slots__ = ("done", "error", "job", "value")

    def __init__(self, job: Job, done: Done) -> None:
        self.job = job
        self.done = done
        self.value: Any = None
        self.error: BaseException | None = None


class Writer:
    """The thread. Made and closed in an event loop; ``submit`` is called in that loop."""

    def __init__(
        self,
        engine: Engine,
        judge: Callable[[BaseException], StoreError],
        on_broken: Callable[[StoreBrokenError], None],
    ) -> None:
        self._engine = engine
        self._judge = judge
        self._on_broken = on_broken
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Condition()
        self._front: deque[_Item] = deque()
        self._back: deque[_Item] = deque()
        self._closing = False
        self.broken: StoreBrokenError | None = None
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job, done: Done, *, background: bool = False) -> None:
        """Queue a job; ``done(value, error)`` is called in the running loop after its commit."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        if self.broken is not None or self._closing:
            error = self.broken or StoreBrokenError("the store is closed")
            self._loop.call_soon(done, None, error)
            return
        item = _Item(job, done)
        with self._lock:
            (self._back if background else self._front).append(item)
            self._lock.notify()

    @property
    def queued(self) -> int:
        """Jobs that have not begun."""
        return len(self._front) + len(self._back)

    async def close(self) -> None:
        """Run what is queued, then end the thread."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        await asyncio.to_thread(self._thread.join)

    # --- in the thread ---

    def _run(self) -> None:
        try:
            connection = self._engine.connect()
        except Exception as error:
            self._break(StoreBrokenError(type(error).__name__))
            return
        try:
            while (batch := self._next()) is not None:
                if self.broken is None:
                    self._batch(connection, batch)
                else:
                    for item in batch:
                        item.error = self.broken
                self._tell(batch)
        finally:
            try:
                connection.close()
            except Exception:
                # Nothing is lost by a connection that cannot even be closed: all that counts is committed.
                self._closing = True

    def _next(self) -> list[_Item] | None:
        with self._lock:
            while not (self._front or self._back):
                if self._closing:
                    return None
                self._lock.wait()
            if self._front:
                source, most = self._front, BATCH
            else:
                source, most = self._back, BACKGROUND_BATCH
            return [source.popleft() for _ in range(min(most, len(source)))]

    def _batch(self, connection: Connection, batch: list[_Item]) -> None:
        if self._together(connection, batch) or self.broken is not None:
            return
        if len(batch) > 1:
            for item in batch:
                item.value = item.error = None
                if self.broken is not None:
                    item.error = self.broken
                else:
                    self._together(connection, [item])

    def _together(self, connection: Connection, batch: list[_Item]) -> bool:
        """All in one transaction; False when it was rolled back, and the errors are set."""
        try:
            with connection.begin():
                for item in batch:
                    item.value = item.job(connection)
        except BaseException as error:  # whatever a job raises belongs to who submitted it
            if not isinstance(error, DBAPIError):
                self._blame(batch, error)
                return False
            judged = self._judge(error)
            judged.__cause__ = error
            if isinstance(judged, StoreBrokenError) and not _is_the_jobs_own(error):
                self._break(judged)
                self._blame(batch, judged)
                return False
            self._blame(batch, error if _is_the_jobs_own(error) else judged)
            return False
        return True

    @staticmethod
    def _blame(batch: list[_Item], error: BaseException) -> None:
        for item in batch:
            item.value = None
            item.error = error

    def _break(self, error: StoreBrokenError) -> None:
        first = self.broken is None
        self.broken = error
        if first and self._loop is not None:
            self._loop.call_soon_threadsafe(self._on_broken, error)

    def _tell(self, batch: list[_Item]) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        try:
            self._loop.call_soon_threadsafe(_tell_all, batch)
        except RuntimeError:
            # The loop closed between the two lines: nobody is left to tell.
            return


def _is_the_jobs_own(error: BaseException) -> bool:
    """A constraint, a type or a statement that the job got wrong: no fault of the disk."""
    if isinstance(error, IntegrityError | DataError | ProgrammingError | InterfaceError | NotSupportedError):
        return True
    return getattr(getattr(error, "orig", None), "sqlite_errorname", "") in ("SQLITE_ERROR", "SQLITE_TOOBIG")


def _tell_all(batch: list[_Item]) -> None:
    """In the loop. One who fails to listen does not keep the others from hearing."""
    for item in batch:
        try:
            item.done(item.value, item.error)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler({"message": "done callback failed", "exception": error})
