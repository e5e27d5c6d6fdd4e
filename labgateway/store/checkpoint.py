"""Copies committed rows from SQLite's WAL into the database, beside the writer instead of within its commits.

    every EVERY_S ──> something committed since? ──> PASSIVE checkpoint on a connection of its own
                                                        └─ WAL above LOG_PAGES ──> the writer does the last few
                                                           pages between two transactions; the WAL starts anew

SQLite's own checkpoint runs inside the commit that happens to pass its limit, so that one message waits for all of
it, and its I/O errors are swallowed. Here they end the writer, like those of a commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from labgateway.errors import StoreBrokenError, StoreError
from labgateway.store.writer import Writer

EVERY_S = 0.25
LOG_PAGES = 4096
"""32 MiB at 8 KiB a page: above this the WAL is made to start anew. Under a load that never pauses it would grow
for ever, since there are always frames that came after a checkpoint began."""


class Checkpointer:
    """The thread. connect: makes its connection, as the writer's are made."""

    def __init__(
        self, connect: Callable[[], Any], writer: Writer, judge: Callable[[BaseException], StoreError | None]
    ) -> None:
        self._connect = connect
        self._writer = writer
        self._judge = judge
        self._stop = threading.Event()
        self._asked = False
        self._thread = threading.Thread(target=self._run, name="store-checkpoint", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; blocks until a checkpoint that is under way is done. Have the writer do the last one.

        SQLite would do it itself when the connection is closed, and keep an error of the disk to itself.
        """
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            self._writer.between(self._finish)

    def _run(self) -> None:
        connection: Any = None
        seen = 0
        while not self._stop.wait(EVERY_S) and self._writer.broken is None:
            commits = self._writer.commits
            if commits == seen:
                continue
            try:
                connection = connection or self._connect()
                pages = _checkpoint(connection)
            except Exception as error:
                self._failed(error)
                continue
            seen = commits
            if pages > LOG_PAGES and not self._asked:
                self._asked = True
                self._writer.between(self._finish)
        if connection is not None:
            connection.close()

    def _finish(self, connection: Connection) -> None:
        """In the writer's thread: nothing is written meanwhile, so the checkpoint is complete."""
        self._asked = False
        try:
            _checkpoint(connection.connection.dbapi_connection)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Full or busy passes; nothing is lost, since the WAL keeps its rows. Anything else is the disk's end."""
        judged = self._judge(error)
        if judged is None or isinstance(judged, StoreBrokenError):
            broken = judged or StoreBrokenError(type(error).__name__)
            broken.__cause__ = error
            self._writer.give_up(broken)


def _checkpoint(connection: Any) -> int:
    """Copy what can be copied without waiting for anyone; returns the pages in the WAL."""
    row = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(row[1])
