"""One thread writes. Jobs queue up, run in one transaction, and are told together after its commit.

    submit ──> foreground ─┐   BEGIN IMMEDIATE
    submit ──> beside ─────┼─> job job job ...   COMMIT ──> one call into the event loop tells all
    submit ──> background ─┘   a job raised: ROLLBACK, then each alone

Jobs are functions of a connection. They may run twice (the batch was rolled back), so they change nothing but
the database, and they never commit. A job that raises harms only itself. Background jobs run when no foreground
job waits, and now and then when one always does. A job beside is short and nobody's line waits for it: it is in the next
transaction, whosesoever that is, and cuts none of the background's short.

A full disk and a locked database are told to everyone in the batch and cost nothing else. Any other database
error that is not the job's own fault ends the writer: nothing succeeds after it in this process.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from labgateway.errors import StoreBrokenError, StoreBusyError, StoreError

Job = Callable[[Connection], Any]
Done = Callable[[Any, BaseException | None], None]

BATCH = 256
"""Foreground jobs of one transaction at most."""
BACKGROUND_BATCH = 8
"""Background jobs of one transaction at most; it ends after the one during which a foreground job arrived."""
BESIDE = 64
"""Jobs beside others in one transaction at most: a line that waits for its acknowledgement waits for them, too."""
FAIR = 4
"""After so many foreground transactions without a pause the background has its turn, of one job."""


@dataclass(frozen=True, slots=True)
class Backend:
    """How one kind of database begins and ends a transaction, and what its errors mean.

    commit raises when there is nothing to commit because a job ended the transaction. judge: what an error means
    for who waits; None when it is the job's own fault (a constraint, a wrong statement, an error of Python).
    """

    begin: Callable[[Connection], None]
    commit: Callable[[Connection], None]
    rollback: Callable[[Connection], None]
    judge: Callable[[BaseException], StoreError | None]


class _Item:
    __slots__ = ("done", "error", "job", "value")

    def __init__(self, job: Job, done: Done) -> None:
        self.job = job
        self.done = done
        self.value: Any = None
        self.error: BaseException | None = None


class Writer:
    """The thread, and the connection that it alone uses. ``submit`` is called in one event loop."""

    def __init__(self, connection: Connection, backend: Backend, on_broken: Callable[[StoreBrokenError], None]) -> None:
        self._connection = connection
        self._backend = backend
        self._on_broken = on_broken
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Condition()
        self._front: deque[_Item] = deque()
        self._back: deque[_Item] = deque()
        self._beside: deque[_Item] = deque()
        self._in_a_row = 0  # foreground transactions since the background had its turn
        self._yields = False  # the batch in hand is of the background
        self._first = 0  # where in it that begins
        self._closing = False
        self._told = False
        self._between: deque[Callable[[Connection], None]] = deque()
        self.commits = 0
        """How many transactions have been committed."""
        self.unsure = 0
        """How many ended with a server that went away or a lock: told as not done, and maybe done all the same."""
        self.broken: StoreBrokenError | None = None
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job, done: Done, *, background: bool = False, beside: bool = False) -> None:
        """Queue a job; ``done(value, error)`` is called in the running loop after its commit. At most one of the two is
        True.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        item = _Item(job, done)
        with self._lock:
            # Under the lock, so that no job is queued behind the thread's last look.
            if self.broken is None and not self._closing:
                (self._back if background else self._beside if beside else self._front).append(item)
                self._lock.notify()
                return
        if self.broken is not None:
            self._loop.call_soon(self._tell_broken)
        self._loop.call_soon(done, None, self.broken or StoreError("the store is closed"))

    def between(self, what: Callable[[Connection], None]) -> None:
        """Call what in the thread, outside any transaction, soon. It must not raise. From any thread."""
        with self._lock:
            self._between.append(what)
            self._lock.notify()

    def give_up(self, error: StoreBrokenError) -> None:
        """Somebody else saw the disk fail: nothing succeeds after this. From any thread."""
        self._break(error)

    @property
    def queued(self) -> int:
        """Jobs that have not begun."""
        return len(self._front) + len(self._beside) + len(self._back)

    def close(self) -> None:
        """Run what is queued, then end the thread; blocks until then. May be repeated."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        self._thread.join()

    def _tell_broken(self) -> None:
        """In the loop, once in the life of a writer."""
        if self.broken is not None and not self._told:
            self._told = True
            self._on_broken(self.broken)

    # --- in the thread ---

    def _run(self) -> None:
        connection = self._connection
        batch: list[_Item] | None = []
        try:
            while (batch := self._next()) is not None:
                if batch:
                    self._batch(connection, batch)
                    self._tell(batch)
                while self._between and self.broken is None:
                    self._between.popleft()(connection)
        except BaseException as error:  # a thread that ends unseen would leave everyone waiting
            self._break(StoreBrokenError(type(error).__name__))
        while batch is not None:
            _blame(batch, self.broken or StoreBrokenError("the writer ended"))
            self._call(_tell_all, batch)
            batch = self._next()
        try:
            connection.close()
        except Exception:
            # Nothing is lost by a connection that cannot even be closed: all that counts is committed.
            return

    def _tell(self, batch: list[_Item]) -> None:
        """What became of a batch. The checkpointer may have seen the disk fail meanwhile: then nobody hears yes any more."""
        with self._lock:  # so that what is told as done is told before the store is told as broken
            if self.broken is not None:
                _blame([item for item in batch if item.error is None], self.broken)
            self._call(_tell_all, batch)

    def _next(self) -> list[_Item] | None:
        """The jobs of the next transaction, maybe none; None when the store is closed and nothing is left."""
        with self._lock:
            while not (self._front or self._beside or self._back):
                self._in_a_row = 0
                if self._between and self.broken is None:
                    return []
                if self._closing:
                    return None
                self._lock.wait()
            batch = [self._beside.popleft() for _ in range(min(BESIDE, len(self._beside)))]
            self._first = len(batch)
            if self._front and not (self._back and self._in_a_row >= FAIR):
                self._in_a_row += 1
                self._yields = False
                source, most = self._front, BATCH
            else:
                self._in_a_row = 0
                self._yields = True
                source, most = self._back, BACKGROUND_BATCH
            return batch + [source.popleft() for _ in range(min(most, len(source)))]

    def _batch(self, connection: Connection, batch: list[_Item]) -> None:
        """Run the jobs, together if it can be, and note what became of each."""
        if self.broken is not None:
            _blame(batch, self.broken)
            return
        if (error := self._together(connection, batch)) is None:
            return
        judged = self._judge(error)
        if judged is not None or len(batch) == 1:
            _blame(batch, judged or error)
            return
        for item in batch:
            if self.broken is not None:
                item.error = self.broken
                continue
            item.value = None
            if (error := self._together(connection, [item])) is not None:
                _blame([item], self._judge(error) or error)

    def _judge(self, error: BaseException) -> StoreError | None:
        """What an error means for the whole batch; None when it is one job's own. Ends the writer when it must."""
        judged = error if isinstance(error, StoreBrokenError) else self._backend.judge(error)
        if judged is None:
            return None
        if judged is not error:
            judged.__cause__ = error
        if isinstance(judged, StoreBrokenError):
            self._break(judged)
        elif isinstance(judged, StoreBusyError):
            self.unsure += 1
        return judged

    def _together(self, connection: Connection, batch: list[_Item]) -> BaseException | None:
        """All in one transaction; the error for which it was rolled back, None when it is committed.

        A batch of background jobs is cut short, in place, when a foreground job arrives; the rest is queued again.
        """
        backend = self._backend
        try:
            backend.begin(connection)
            for at, item in enumerate(batch):
                item.value = item.job(connection)
                if self._yields and self._front and self._first <= at < len(batch) - 1:
                    self._back.extendleft(reversed(batch[at + 1 :]))
                    del batch[at + 1 :]
                    break
            backend.commit(connection)
            self.commits += 1
        except BaseException as error:  # whatever a job raises belongs to who submitted it
            try:
                backend.rollback(connection)
            except Exception as second:
                # A transaction that cannot be rolled back leaves a connection that nobody may use any more.
                return error if self._backend.judge(error) else StoreBrokenError(type(second).__name__)
            return error
        return None

    def _break(self, error: StoreBrokenError) -> None:
        with self._lock:
            if self.broken is None:
                self.broken = error
        self._call(self._tell_broken)

    def _call(self, what: Callable[..., None], *args: Any) -> None:
        """Run in the loop, if there is one left."""
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(what, *args)
        except RuntimeError:
            # The loop has been closed: nobody is left to tell.
            return


def _blame(batch: list[_Item], error: BaseException) -> None:
    for item in batch:
        item.value = None
        item.error = error


def _tell_all(batch: list[_Item]) -> None:
    """In the loop. One who fails to listen does not keep the others from hearing."""
    for item in batch:
        try:
            item.done(item.value, item.error)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler({"message": "done callback failed", "exception": error})
