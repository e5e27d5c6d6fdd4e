"""One SQLite store whose transactions can be cut anywhere: the writer of a gateway, without threads and without a loop."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.pool import NullPool

from labgateway.store import sqlite
from labgateway.store.engine import Store

T = TypeVar("T")


@cache
def _empty() -> bytes:
    """A store of this version with no rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labgateway.db"

        async def make() -> None:
            await Store.open(f"sqlite:///{path}").close()

        asyncio.run(make())
        return path.read_bytes()


class Disk:
    """A store in a folder of its own."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="labgateway-simulation-"))
        self._path = self._folder / "labgateway.db"
        self._path.write_bytes(_empty())
        self._backup: bytes | None = None
        self._left: int | None = None
        self._open()

    def _open(self) -> None:
        module = sqlite.module()

        def connect() -> Any:
            connection: Any = module.connect(str(self._path))
            sqlite.prepare(connection)
            connection.execute(
                "PRAGMA synchronous=OFF"
            )  # whole processes die in test_power_cut; here only our code does
            connection.set_progress_handler(self._step, 200)
            return connection

        self._engine = create_engine("sqlite+pysqlite://", module=module, creator=connect, poolclass=NullPool)
        event.listen(self._engine, "begin", sqlite.begin_unless_begun)
        self.connection: Connection = self._engine.connect()

    def _step(self) -> int:
        """Called by SQLite every few hundred steps of its own; anything but 0 interrupts the statement."""
        if self._left is None:
            return 0
        self._left -= 1
        return int(self._left < 0)

    def run(self, job: Callable[[Connection], T]) -> T:
        """One transaction, committed."""
        sqlite.begin(self.connection)
        try:
            done = job(self.connection)
        except BaseException:
            sqlite.rollback(self.connection)
            raise
        sqlite.commit(self.connection)
        return done

    def read(self, query: str) -> list[tuple[Any, ...]]:
        """Rows as they are committed; no transaction of ours."""
        raw: Any = self.connection.connection.dbapi_connection
        return [tuple(row) for row in raw.execute(query)]

    def cut(self, job: Callable[[Connection], object], after: int) -> None:
        """Start a transaction and pull the plug within it, between the last statement and the commit at the latest."""
        sqlite.begin(self.connection)
        self._left = after
        with contextlib.suppress(Exception):
            job(self.connection)
        self._left = None
        self.restart()

    def restart(self) -> None:
        """What is committed stays, everything else is gone."""
        with contextlib.suppress(Exception):
            sqlite.rollback(self.connection)
        self.connection.close()
        self._engine.dispose()
        self._open()

    def back_up(self) -> None:
        """Keep a copy as it stands."""
        copy = self._folder / "copy.db"
        copy.unlink(missing_ok=True)
        raw: Any = self.connection.connection.dbapi_connection
        raw.execute("VACUUM INTO ?", (str(copy),))
        self._backup = copy.read_bytes()

    @property
    def is_backed_up(self) -> bool:
        """Is there a copy to go back to?"""
        return self._backup is not None

    def restore(self) -> None:
        """Go back to the copy."""
        assert self._backup is not None
        self.connection.close()
        self._engine.dispose()
        for name in ("labgateway.db-wal", "labgateway.db-shm"):
            (self._folder / name).unlink(missing_ok=True)
        self._path.write_bytes(self._backup)
        self._open()

    def close(self) -> None:
        """Leave nothing behind."""
        self.connection.close()
        self._engine.dispose()
        shutil.rmtree(self._folder, ignore_errors=True)
