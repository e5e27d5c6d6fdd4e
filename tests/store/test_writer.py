"""Group commit: who is told what, when, and who goes first."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from labgateway.errors import StoreBrokenError, StoreBusyError, StoreError
from labgateway.store import sqlite, writer
from labgateway.store.engine import Store
from tests.store.kit import append, count


def put(key: str) -> Callable[[Connection], str]:
    """A job that leaves one row."""

    def job(connection: Connection) -> str:
        connection.execute(text("INSERT INTO meta (key, value) VALUES (:k, '')"), {"k": key})
        return key

    return job


def keys(store: Store) -> list[str]:
    """What is committed, in the order of insertion."""
    return list(store.read_now(lambda c: c.execute(text("SELECT key FROM meta ORDER BY rowid")).scalars().all()))


class Gate:
    """Holds the writer inside a transaction until it is opened, so that a queue builds up behind it."""

    def __init__(self, store: Store) -> None:
        self._open = threading.Event()
        self._in = threading.Event()
        self.done = store.submit(self._wait)
        self._in.wait(5)

    def _wait(self, _: Connection) -> None:
        self._in.set()
        self._open.wait(5)

    def open(self) -> None:
        """Let go."""
        self._open.set()


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the transactions begun by stores that are opened after this."""
    begun = [0]

    def begin(connection: Connection) -> None:
        begun[0] += 1
        sqlite.begin(connection)

    monkeypatch.setattr(sqlite, "BACKEND", writer.Backend(begin, sqlite.commit, sqlite.rollback, sqlite.judge))
    return begun


async def test_nobody_is_told_before_the_commit(store: Store) -> None:
    """When the callback runs, another connection sees the row; while the transaction is open, it does not."""
    seen: list[list[str]] = []
    told = asyncio.Event()

    def job(connection: Connection) -> str:
        found = put("a")(connection)
        seen.append(keys(store))
        return found

    def done(value: Any, error: BaseException | None) -> None:
        assert (value, error) == ("a", None)
        seen.append(keys(store))
        told.set()

    store.submit_call(job, done)
    await told.wait()
    assert seen == [[], ["a"]]


async def test_what_is_queued_shares_a_transaction(transactions: list[int], url: str) -> None:
    """Three hundred jobs behind a busy writer take two transactions, and each gets its own value."""
    store = Store.open(url)
    gate = Gate(store)
    jobs = [store.submit(put(f"{n}")) for n in range(300)]
    gate.open()
    assert await asyncio.gather(*jobs) == [f"{n}" for n in range(300)]
    assert transactions[0] == 1 + 2
    await store.close()


async def test_a_poison_job_harms_only_itself(store: Store) -> None:
    """An error of Python, a broken constraint and wrong SQL fail alone; the others of their batch are stored once."""

    def raises(connection: Connection) -> None:
        put("half done")(connection)
        raise ValueError("a defect")

    gate = Gate(store)
    good = [store.submit(put(f"{n}")) for n in range(5)]
    bad = [store.submit(raises), store.submit(put("3")), store.submit(lambda c: c.execute(text("SELECT nonsense")))]
    more = store.submit(put("5"))
    gate.open()
    assert await asyncio.gather(*good, more) == ["0", "1", "2", "3", "4", "5"]
    failed = await asyncio.gather(*bad, return_exceptions=True)
    assert [type(f).__name__ for f in failed] == ["ValueError", "IntegrityError", "OperationalError"]
    assert keys(store) == ["0", "1", "2", "3", "4", "5"]
    assert store.broken is None
    assert await store.submit(put("after")) == "after"


async def test_errors_tell_no_values(store: Store) -> None:
    """The text of an error, its causes included, holds nothing of what the statement was given."""
    with pytest.raises(Exception, match="NOT NULL") as caught:
        await store.submit(
            lambda c: c.execute(text("INSERT INTO meta VALUES (:k, :v)"), {"k": "NGUYEN VAN A", "v": None})
        )
    with pytest.raises(Exception, match="nonsense") as other:
        await store.read(lambda c: c.execute(text("SELECT nonsense FROM meta WHERE key = :k"), {"k": "NGUYEN VAN A"}))
    for one in (caught.value, caught.value.__cause__, other.value, other.value.__cause__):
        assert "NGUYEN" not in str(one)


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
async def test_a_job_that_ends_the_transaction_is_found_out(store: Store, ending: str) -> None:
    """It fails; the jobs beside it are stored: SQLite's commit of nothing is never taken for a yes."""

    def ends(connection: Connection) -> None:
        connection.exec_driver_sql(ending)

    gate = Gate(store)
    before, bad, behind = store.submit(put("a")), store.submit(ends), store.submit(put("b"))
    gate.open()
    with pytest.raises(StoreError, match="ended by a job"):
        await bad
    results = await asyncio.gather(before, behind, return_exceptions=True)
    # Where the early end left a row behind, its job's second run says so: refused, not lost.
    assert sorted(keys(store)) == ["a", "b"]
    assert all(
        outcome == key or isinstance(outcome, IntegrityError) for key, outcome in zip("ab", results, strict=True)
    )


async def test_the_foreground_goes_first(store: Store) -> None:
    """Background jobs that were queued earlier run after every foreground job that waits."""
    gate = Gate(store)
    background = [store.submit(put(f"back {n}"), background=True) for n in range(3)]
    foreground = [store.submit(put(f"front {n}")) for n in range(3)]
    gate.open()
    await asyncio.gather(*background, *foreground)
    assert keys(store) == ["front 0", "front 1", "front 2", "back 0", "back 1", "back 2"]


async def test_the_background_gives_way_at_once(store: Store) -> None:
    """A foreground job that arrives during a background job runs before the next background job."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        begun.set()
        go_on.wait(5)
        put("back 0")(connection)

    background = [
        store.submit(slow, background=True),
        *(store.submit(put(f"back {n}"), background=True) for n in (1, 2)),
    ]
    await asyncio.to_thread(begun.wait, 5)
    front = store.submit(put("front"))
    go_on.set()
    await asyncio.gather(front, *background)
    assert keys(store) == ["back 0", "front", "back 1", "back 2"]


async def test_what_is_beside_cuts_no_background_short(store: Store) -> None:
    """A settled delivery waits for the background's transaction to end, and is in the next one, before the rest of it."""
    begun, go_on = threading.Event(), threading.Event()
    commits: list[int] = []

    def slow(connection: Connection) -> None:
        begun.set()
        go_on.wait(5)
        put("back 0")(connection)

    assert store._writer is not None
    background = [store.submit(slow, background=True)]
    background += [store.submit(put(f"back {n}"), background=True) for n in range(1, 10)]
    await asyncio.to_thread(begun.wait, 5)
    before = store._writer.commits
    beside = store.submit(put("beside"), beside=True)
    beside.add_done_callback(lambda _: commits.append(0))
    go_on.set()
    await asyncio.gather(beside, *background)
    taken = keys(store)
    assert sorted(taken) == ["back 0", *(f"back {n}" for n in range(1, 10)), "beside"]
    assert taken.index("beside") <= writer.BACKGROUND_BATCH
    assert taken[: taken.index("beside")] == [f"back {n}" for n in range(taken.index("beside"))]
    assert store._writer.commits - before <= 3


async def test_what_is_beside_is_in_the_foreground_transaction(store: Store) -> None:
    """One transaction for all that waits, at most BESIDE of those; none waits for the foreground to pause."""
    gate = Gate(store)
    assert store._writer is not None
    jobs = [store.submit(put(f"front {n}")) for n in range(3)]
    jobs += [store.submit(put(f"beside {n:03}"), beside=True) for n in range(writer.BESIDE + 1)]
    before = store._writer.commits
    gate.open()
    await asyncio.gather(*jobs)
    taken = keys(store)
    assert taken[-1] == f"beside {writer.BESIDE:03}"
    assert set(taken[:-1]) == {*(f"front {n}" for n in range(3)), *(f"beside {n:03}" for n in range(writer.BESIDE))}
    assert store._writer.commits - before <= 3, "that of the gate, all of them, the one too many"


async def test_the_background_has_a_turn_behind_what_is_beside(store: Store) -> None:
    """A foreground job that arrives meanwhile cuts the background behind its first job, not behind those beside it."""
    gate = Gate(store)
    begun, go_on = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        begun.set()
        go_on.wait(5)
        put("beside 0")(connection)

    jobs = [store.submit(slow, beside=True), store.submit(put("beside 1"), beside=True)]
    jobs += [store.submit(put(f"back {n}"), background=True) for n in range(2)]
    gate.open()
    await asyncio.to_thread(begun.wait, 5)
    jobs.append(store.submit(put("front")))
    go_on.set()
    await asyncio.gather(*jobs)
    assert keys(store) == ["beside 0", "beside 1", "back 0", "front", "back 1"]


async def test_the_background_is_never_starved(store: Store) -> None:
    """Under a foreground that never pauses, a background job still has its turn after FAIR transactions."""
    gate = Gate(store)
    loop = asyncio.get_running_loop()
    ran: list[str] = []
    ended = asyncio.Event()

    def again(n: int) -> Callable[[Connection], None]:
        def job(_: Connection) -> None:
            ran.append("front")
            if n < 5 * writer.FAIR:
                # The next one is queued while this one runs, as by an intake that never pauses.
                queued = threading.Event()

                def queue() -> None:
                    store.submit(again(n + 1))
                    queued.set()

                loop.call_soon_threadsafe(queue)
                queued.wait(5)
            else:
                loop.call_soon_threadsafe(ended.set)

        return job

    def behind(_: Connection) -> None:
        ran.append("back")

    store.submit(again(1))
    waiting = [store.submit(behind, background=True) for _ in range(2)]
    gate.open()
    await asyncio.wait_for(ended.wait(), 10)
    await asyncio.gather(*waiting)
    first = ran.index("back")
    assert first <= writer.FAIR
    assert ran[first + 1] == "front", "one job, then the foreground again"
    assert ran.count("front") == 5 * writer.FAIR


async def test_a_cancelled_waiter_does_not_harm_the_transaction(store: Store) -> None:
    """The job of one who stopped waiting is committed with the others."""
    gate = Gate(store)
    jobs = [store.submit(put(f"{n}")) for n in range(3)]
    jobs[1].cancel()
    gate.open()
    assert await asyncio.gather(jobs[0], jobs[2]) == ["0", "2"]
    assert keys(store) == ["0", "1", "2"]


async def test_a_listener_that_fails_does_not_keep_others_from_hearing(store: Store) -> None:
    """The error goes to the loop's handler; the next callback of the batch is called."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    def done(value: Any, error: BaseException | None) -> None:
        raise RuntimeError("a defect")

    gate = Gate(store)
    store.submit_call(put("a"), done)
    other = store.submit(put("b"))
    gate.open()
    assert await other == "b"
    assert [type(c["exception"]) for c in complaints] == [RuntimeError]


async def test_a_locked_database_is_busy_and_recovers(
    monkeypatch: pytest.MonkeyPatch, transactions: list[int], url: str, tmp_path: Path
) -> None:
    """Everyone in the batch hears busy after one wait, not one each; when the lock is gone all goes on."""
    short = tuple((n, "50", "50") if n == "busy_timeout" else (n, v, e) for n, v, e in sqlite.PRAGMAS)
    monkeypatch.setattr(sqlite, "PRAGMAS", short)
    store = Store.open(url)
    other = sqlite.module().connect(str(tmp_path / "data" / "labgateway.db"), isolation_level=None)
    gate = Gate(store)
    jobs = [store.submit(put(f"{n}")) for n in range(100)]
    gate.open()
    await gate.done
    await asyncio.gather(*jobs)
    other.execute("BEGIN IMMEDIATE")
    before = transactions[0]
    outcomes = await asyncio.gather(*(store.submit(put(f"late {n}")) for n in range(100)), return_exceptions=True)
    assert {type(o) for o in outcomes} == {StoreBusyError}
    assert transactions[0] - before <= 3
    other.execute("ROLLBACK")
    assert await store.submit(put("then")) == "then"
    other.close()
    await store.close()


async def test_a_disk_that_fails_during_a_batch_lets_nobody_hear_yes(store: Store) -> None:
    """The checkpointer saw it while the writer was in a transaction: whether that is done, only the next process may say."""
    gate = Gate(store)
    behind = store.submit(put("behind"))
    thread = store._writer  # pyright: ignore[reportPrivateUsage]
    assert thread is not None
    thread.give_up(StoreBrokenError("EIO"))
    gate.open()
    found = await asyncio.gather(gate.done, behind, return_exceptions=True)
    assert [type(one) for one in found] == [StoreBrokenError, StoreBrokenError]


async def test_close_writes_what_is_queued_and_takes_nothing_more(store: Store) -> None:
    """Jobs queued before close are committed; a later one is refused, in the loop, and nobody waits for ever."""
    gate = Gate(store)
    jobs = [store.submit(put("a")), store.submit(put("b"), background=True)]
    gate.open()
    closing = asyncio.create_task(store.close())
    assert await asyncio.gather(*jobs) == ["a", "b"]
    await closing
    with pytest.raises(StoreError, match="closed"):
        await store.submit(put("c"))
    with pytest.raises(StoreError, match="closed"):
        await store.read(lambda c: count(c, "meta"))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    jobs=st.lists(
        st.tuples(
            st.sampled_from(["good", "raises", "twice", "swallows"]), st.sampled_from(["front", "beside", "background"])
        ),
        min_size=1,
        max_size=40,
    )
)
async def test_every_good_job_is_stored_once_and_every_bad_one_is_told(
    tmp_path_factory: pytest.TempPathFactory, jobs: list[tuple[str, str]]
) -> None:
    """Whatever mix is queued, on all priorities: told yes exactly where the row is there, exactly once."""
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('mix')}/labgateway.db")

    def make(kind: str, n: int) -> Callable[[Connection], int]:
        def job(connection: Connection) -> int:
            number = append(connection, f"{n}".encode())
            match kind:
                case "raises":
                    raise ZeroDivisionError
                case "twice":
                    put("same")(connection)
                    put("same")(connection)
                case "swallows":
                    try:
                        connection.exec_driver_sql("INSERT INTO meta VALUES ('x', NULL)")
                    except IntegrityError:
                        pass
                case _:
                    pass
            return number

        return job

    gate = Gate(store)
    futures = [
        store.submit(make(kind, n), background=behind == "background", beside=behind == "beside")
        for n, (kind, behind) in enumerate(jobs)
    ]
    gate.open()
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    rows = store.read_now(lambda c: c.execute(text("SELECT raw, id FROM transmission")).all())
    stored = {int(bytes(row.raw)): row.id for row in rows}
    assert len(stored) == len(rows)
    for n, (kind, _) in enumerate(jobs):
        if kind in ("good", "swallows"):
            assert stored[n] == outcomes[n]
        else:
            assert n not in stored and isinstance(outcomes[n], ZeroDivisionError | IntegrityError)
    await store.close()
