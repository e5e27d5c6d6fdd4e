"""The store: one database, one writer, readers beside it.

    Store.open ──> lock ──> settings read back ──> migrations ──> writer thread
    submit     ──> a job in the writer's next transaction; its future resolves after the commit
                   (checkpoint.py brings what is committed from the WAL into the database, beside the writer)
    read       ──> a job on a read-only connection of its own, in a thread

The command line opens with readonly=True beside a running gateway; a second writer on the same data is refused.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from labgateway.errors import StoreBrokenError, StoreBusyError, StoreError
from labgateway.store import migrate, nodes, server, sqlite
from labgateway.store.checkpoint import Checkpointer
from labgateway.store.nodes import Seat
from labgateway.store.writer import Backend, Done, Writer

T = TypeVar("T")

LOCK_NAME = "labgateway.lock"
_DISCREET: dict[str, Any] = {"hide_parameters": True}
"""The values of a statement are patients' data; an error's text must not carry them into a log."""
READERS = 2
"""Threads that read for a running gateway; each has its own connection."""


def _ignore(_: StoreBrokenError) -> None:
    """Nobody asked to be told."""


class Store:
    """An open store. ``submit``, ``submit_call``, ``read`` and ``close`` belong to one event loop."""

    def __init__(
        self,
        connection: Connection | None,
        readers: Engine,
        backend: Backend,
        on_broken: Callable[[StoreBrokenError], None],
        lock: int | None,
        connect: Callable[[], Any] | None = None,
    ) -> None:
        self._readers = readers
        self._backend = backend
        self._lock = lock
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._closed = False
        self.seat: Seat | None = None
        """This gateway among several nodes; None when it is alone."""
        self._writer = Writer(connection, backend, on_broken) if connection is not None else None
        self._checkpointer = Checkpointer(connect, self._writer, backend.judge) if self._writer and connect else None

    @classmethod
    def open(
        cls,
        url: str,
        *,
        readonly: bool = False,
        on_broken: Callable[[StoreBrokenError], None] = _ignore,
        password: str | None = None,
        seat: Seat | None = None,
    ) -> Store:
        """Open the database at an SQLAlchemy url; makes and migrates it unless readonly. Blocks.

        seat: this gateway is one of several nodes on a PostgreSQL server; it has joined when this returns.
        on_broken: called once in the loop when nothing can be written any more; the process should end then.
        Raises StoreError with the cure: in use by another gateway, no sound SQLite, a setting that did not
        stick, of another version, damaged, not there (readonly).
        """
        parsed = make_url(url)
        if password is not None:
            parsed = parsed.set(password=password)
        if parsed.get_backend_name() != "sqlite":
            return cls._open_server(parsed.render_as_string(hide_password=False), readonly, on_broken, seat)
        if seat is not None:
            raise StoreError("Several nodes need a PostgreSQL server: write its address into [store] url.")
        path = Path(parsed.database or "")
        if not path.name:
            raise StoreError("The store's url names no file. Write it as sqlite:////var/lib/labgateway/labgateway.db")
        return cls._open_file(path, readonly, on_broken)

    @classmethod
    def _open_file(cls, path: Path, readonly: bool, on_broken: Callable[[StoreBrokenError], None]) -> Store:
        module = sqlite.module()

        def connecting(mode: str, prepare: Callable[[Any], None]) -> Callable[[], Any]:
            def connect() -> Any:
                uri = f"{path.absolute().as_uri()}?mode={mode}"
                connection: Any = module.connect(uri, uri=True, check_same_thread=False, timeout=5.0)
                prepare(connection)
                return connection

            return connect

        readers = create_engine(
            "sqlite+pysqlite://", module=module, creator=connecting("ro", sqlite.prepare_reader), **_DISCREET,
            poolclass=QueuePool, pool_size=READERS, max_overflow=READERS,
        )  # fmt: skip
        event.listen(readers, "begin", sqlite.begin_reading)
        if readonly:
            if not path.exists():
                raise StoreError(f"There is no store yet at {path}: has the gateway run once?")
            return cls._readable(readers, sqlite.BACKEND, str(path))
        lock: int | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = _take_lock(path.parent / LOCK_NAME)
            _create(path)
            connect = connecting("rw", sqlite.prepare)
            engine = create_engine(
                "sqlite+pysqlite://", module=module, creator=connect, poolclass=NullPool, **_DISCREET
            )
            event.listen(engine, "begin", sqlite.begin_unless_begun)
            migrate.upgrade(engine, lambda old: _back_up(engine, path, old))
            connection = engine.connect()
            _make_wal(connection, path.parent)
        except (SQLAlchemyError, OSError, module.Error) as error:
            _let_go(lock)
            raise StoreError(f"The store at {path} cannot be opened: {_words(error, sqlite.BACKEND)}") from error
        except BaseException:
            _let_go(lock)
            raise
        return cls(connection, readers, sqlite.BACKEND, on_broken, lock, connect)

    @classmethod
    def _open_server(
        cls, url: str, readonly: bool, on_broken: Callable[[StoreBrokenError], None], seat: Seat | None
    ) -> Store:
        backend = server.backend(seat)
        try:
            own = make_url(url).query.get("options", "")

            def options(ours: str) -> dict[str, str]:
                return {"options": f"{own if isinstance(own, str) else ' '.join(own)} {ours}"}

            readers = create_engine(
                url, pool_size=READERS, pool_pre_ping=True, isolation_level="REPEATABLE READ",
                connect_args=options(server.READING), **_DISCREET,
            )  # fmt: skip
            if readonly:
                return cls._readable(readers, server.BACKEND, "the database server")
            alone = create_engine(url, poolclass=NullPool, connect_args=options(server.OPTIONS), **_DISCREET)
            event.listen(alone, "connect", server.take_lock)
            engine = alone
            if seat is not None:
                arguments = {**options(server.NODE_OPTIONS), **server.NODE_CONNECT}
                engine = create_engine(url, poolclass=NullPool, connect_args=arguments, **_DISCREET)
                event.listen(engine, "connect", server.take_seat(seat))
            if seat is None or _revision_seen(readers) != migrate.REVISION:
                # A new schema is made by one gateway alone: those of the old version must have ended.
                try:
                    migrate.upgrade(alone, lambda _: None)
                except StoreBusyError:
                    if seat is None or _revision_seen(readers) != migrate.REVISION:
                        raise
            connection = engine.connect()
            server.check(connection)
            connection.rollback()
            if seat is not None:
                _join(connection, backend, seat)
        except StoreBusyError as error:
            raise StoreError(f"The store cannot be opened: {error}.") from error
        except (SQLAlchemyError, ImportError) as error:
            raise StoreError(
                f"The database server cannot be used ({type(error).__name__}). Check [store] url, and that the extra "
                "is installed: pip install 'labgateway[postgresql]'"
            ) from error
        store = cls(connection, readers, backend, on_broken, None)
        store.seat = seat
        return store

    @classmethod
    def _readable(cls, readers: Engine, backend: Backend, where: str) -> Store:
        store = cls(None, readers, backend, _ignore, None)
        try:
            found = store.read_now(migrate.current)
        except (SQLAlchemyError, StoreError, OSError) as error:
            raise StoreError(
                f"The store at {where} cannot be read ({_words(error, backend)}). Is it the right file, and may you "
                "read its folder?"
            ) from error
        if found != migrate.REVISION:
            raise StoreError(
                f"The store at {where} is of another version (its schema is {found or 'empty'}, this program reads "
                f"{migrate.REVISION}). Start the gateway once with this version, or use the program that made it."
            )
        return store

    @property
    def queued(self) -> int:
        """Jobs that wait for the writer."""
        return self._writer.queued if self._writer else 0

    @property
    def unsure(self) -> int:
        """How many transactions so far may be done although they were told as not done; the next look shows what is."""
        return self._writer.unsure if self._writer else 0

    @property
    def broken(self) -> StoreBrokenError | None:
        """Why nothing can be written any more, None while all is well."""
        return self._writer.broken if self._writer else None

    def submit(
        self, job: Callable[[Connection], T], *, background: bool = False, beside: bool = False
    ) -> asyncio.Future[T]:
        """Run job in the writer; the future resolves after its commit, or with its error.

        background: when nothing else waits. beside: short, in whichever transaction is next. At most one of them.

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

        self.submit_call(job, done, background=background, beside=beside)
        return future

    def submit_call(
        self, job: Callable[[Connection], Any], done: Done, *, background: bool = False, beside: bool = False
    ) -> None:
        """The same with a callback in the loop instead of a future: the hot path."""
        if self._writer is None:
            raise StoreError("This store is open for reading only.")
        self._writer.submit(job, done, background=background, beside=beside)

    async def read(self, job: Callable[[Connection], T]) -> T:
        """Run job on a read-only connection, in a thread; it sees one moment of the database. Raises StoreError."""
        if self._closed:
            raise StoreError("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.read_now, job)

    def read_now(self, job: Callable[[Connection], T]) -> T:
        """The same, blocking: for the command line. Raises StoreError."""
        try:
            with self._readers.connect() as connection:
                return job(connection)
        except DBAPIError as error:
            judged = self._backend.judge(error)
            if judged is None:
                raise
            raise judged from error

    async def close(self) -> None:
        """Write what is queued, then let go of everything."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """The same, blocking: where no loop runs."""
        self._closed = True
        if self._checkpointer is not None:
            self._checkpointer.close()
        if self._writer is not None:
            self._writer.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._readers.dispose()
        _let_go(self._lock)
        self._lock = None


def _revision_seen(readers: Engine) -> str | None:
    """The schema's revision; None when there is none."""
    with readers.connect() as connection:
        return migrate.current(connection)


def _join(connection: Connection, backend: Backend, seat: Seat) -> None:
    seat.epoch = 0
    backend.begin(connection)
    epoch = nodes.join(connection, seat)
    backend.commit(connection)
    seat.epoch = epoch


def _words(error: BaseException, backend: Backend) -> str:
    """For a person: what the database said, without the statement."""
    if isinstance(error, OSError):
        return str(error.strerror)
    judged = error if isinstance(error, StoreError) else backend.judge(error)
    words = str(judged or type(error).__name__)
    if words in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        return f"{words}: it is damaged or no database of ours; restore the last backup"
    return words


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


def _let_go(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def _create(path: Path) -> None:
    """An empty file that only our user may read; SQLite gives its -wal and -shm the same mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _make_wal(connection: Connection, folder: Path) -> None:
    """Have the WAL created, and its name on disk, before anything is written to it.

    SQLite syncs the folder too, with the WAL's first sync, but takes no notice when that fails.
    """
    sqlite.begin(connection)
    sqlite.rollback(connection)
    _sync_folder(folder)


def _back_up(engine: Engine, path: Path, revision: str) -> None:
    """A copy beside the database, as it is before this version changes it."""
    copy = path.with_name(f"{path.stem}.before-{migrate.REVISION}.from-{revision}.db")
    copy.unlink(missing_ok=True)
    _create(copy)
    with engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        raw.execute("VACUUM INTO ?", (str(copy),))
    handle = os.open(copy, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """A new file's name must survive a power cut too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
