"""The store: one database, one writer, readers beside it.

    Store.open ──> lock ──> settings read back ──> migrations ──> writer thread
    submit     ──> a job in the writer's next transaction; its future resolves after the commit
    read       ──> a job on a read-only connection of its own, in a thread

The command line opens with readonly=True beside a running gateway; a second writer on the same data is refused.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from labgateway.errors import StoreBrokenError, StoreError
from labgateway.store import migrate, sqlite
from labgateway.store.writer import Writer

T = TypeVar("T")
Done = Callable[[Any, BaseException | None], None]

LOCK_NAME = "labgateway.lock"


def _ignore(_: StoreBrokenError) -> None:
    """Nobody asked to be told."""


class Store:
    """An open store. ``submit``, ``submit_call``, ``read`` and ``close`` belong to one event loop."""

    def __init__(
        self, engine: Engine | None, readers: Engine, on_broken: Callable[[StoreBrokenError], None], lock: int | None
    ) -> None:
        self._engine = engine
        self._readers = readers
        self._lock = lock
        judge = sqlite.judge if readers.dialect.name == "sqlite" else _judge_server
        self._judge = judge
        self._writer = Writer(engine, judge, on_broken) if engine is not None else None

    @classmethod
    def open(
        cls,
        url: str,
        *,
        readonly: bool = False,
        on_broken: Callable[[StoreBrokenError], None] = _ignore,
        password: str | None = None,
    ) -> Store:
        """Open the database at an SQLAlchemy url; makes and migrates it unless readonly.

        Raises StoreError with the cure: in use by another gateway, no sound SQLite, a setting that did not
        stick, made by a newer version, not there (readonly).
        """
        parsed = make_url(url)
        if password is not None:
            parsed = parsed.set(password=password)
        if parsed.get_backend_name() != "sqlite":
            return cls._open_server(parsed.render_as_string(hide_password=False), readonly, on_broken)
        path = Path(parsed.database or "")
        if not path.name:
            raise StoreError("The store's url names no file. Write it as sqlite:////var/lib/labgateway/labgateway.db")
        module = sqlite.module()

        def connect(mode: str, prepare: Callable[[Any], None]) -> Callable[[], Any]:
            def creator() -> Any:
                uri = f"{path.absolute().as_uri()}?mode={mode}"
                connection: Any = module.connect(uri, uri=True, check_same_thread=False, timeout=5.0)
                prepare(connection)
                return connection

            return creator

        readers = create_engine(
            "sqlite+pysqlite://", module=module, creator=connect("ro", sqlite.prepare_reader),
            poolclass=QueuePool, pool_size=2, max_overflow=2,
        )  # fmt: skip
        if readonly:
            if not path.exists():
                raise StoreError(f"There is no store yet at {path}: has the gateway run once?")
            store = cls(None, readers, on_broken, None)
            store._check_readable(path)
            return store
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _take_lock(path.parent / LOCK_NAME)
        try:
            engine = create_engine(
                "sqlite+pysqlite://", module=module, creator=connect("rwc", sqlite.prepare), poolclass=NullPool
            )
            event.listen(engine, "begin", _begin_immediate)
            fresh = not path.exists()
            migrate.upgrade(engine)
            if fresh:
                _sync_folder(path.parent)
        except (SQLAlchemyError, OSError, module.Error) as error:
            os.close(lock)
            raise StoreError(f"The store at {path} cannot be opened: {sqlite.judge(error)}") from error
        except BaseException:
            os.close(lock)
            raise
        return cls(engine, readers, on_broken, lock)

    @classmethod
    def _open_server(cls, url: str, readonly: bool, on_broken: Callable[[StoreBrokenError], None]) -> Store:
        try:
            engine = create_engine(url, pool_size=2, pool_pre_ping=True)
            readers = create_engine(url, pool_size=2, pool_pre_ping=True)
            if not readonly:
                migrate.upgrade(engine)
            else:
                with readers.connect() as connection:
                    connection.execute(text("SELECT 1"))
        except (SQLAlchemyError, ImportError) as error:
            raise StoreError(
                f"The database server cannot be used ({type(error).__name__}). Check [store] url, and that the extra "
                "is installed: pip install 'labgateway[postgresql]'"
            ) from error
        return cls(None if readonly else engine, readers, on_broken, None)

    def _check_readable(self, path: Path) -> None:
        try:
            self.read_now(lambda connection: connection.execute(text("SELECT count(*) FROM meta")).scalar())
        except StoreError as error:
            raise StoreError(f"The store at {path} cannot be read ({error}). May you read that folder?") from error

    @property
    def queued(self) -> int:
        """Jobs that wait for the writer."""
        return self._writer.queued if self._writer else 0

    @property
    def broken(self) -> StoreBrokenError | None:
        """Why nothing can be written any more, None while all is well."""
        return self._writer.broken if self._writer else None

    def submit(self, job: Callable[[Connection], T], *, background: bool = False) -> asyncio.Future[T]:
        """Run job in the writer; the future resolves after its commit, or with its error.

        Raises nothing itself. Cancelling the future does not undo the job.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(value: T, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)

        self.submit_call(job, done, background=background)
        return future

    def submit_call(self, job: Callable[[Connection], Any], done: Done, *, background: bool = False) -> None:
        """The same with a callback in the loop instead of a future: the hot path."""
        if self._writer is None:
            raise StoreError("this store is open for reading only")
        self._writer.submit(job, done, background=background)

    async def read(self, job: Callable[[Connection], T]) -> T:
        """Run job on a read-only connection, in a thread. Raises StoreError."""
        return await asyncio.to_thread(self.read_now, job)

    def read_now(self, job: Callable[[Connection], T]) -> T:
        """The same, blocking: for the command line. Raises StoreError."""
        try:
            with self._readers.connect() as connection:
                return job(connection)
        except DBAPIError as error:
            raise self._judge(error) from error

    async def close(self) -> None:
        """Write what is queued, then let go of everything."""
        if self._writer is not None:
            await self._writer.close()
        self.close_now()

    def close_now(self) -> None:
        """Let go of connections and lock."""
        self._readers.dispose()
        if self._engine is not None:
            self._engine.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock at once: a deferred transaction that turns into a write fails however long it waits."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _take_lock(path: Path) -> int:
    """Lock the data folder for one gateway. Raises StoreError naming who has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(handle, 20).decode("ascii", "replace").strip() or "unknown"
        os.close(handle)
        raise StoreError(
            f"Another gateway (process {holder}) already works on {path.parent}. Stop it first, or give this one a "
            "data folder of its own."
        ) from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle


def _sync_folder(folder: Path) -> None:
    """A new file's name must survive a power cut too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _judge_server(error: BaseException) -> StoreError:
    """A database server's error: it may come back, so it is busy, not broken; the commit counts as not done."""
    from labgateway.errors import StoreBusyError

    return StoreBusyError(type(getattr(error, "orig", None) or error).__name__)
