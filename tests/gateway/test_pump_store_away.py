"""The pump while the store is away, under a simulated clock, on a real SQLite store: one rest for each failure, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from labgateway.errors import StoreBrokenError, StoreBusyError, StoreError
from labgateway.gateway.pump import Pump
from labgateway.store import journal
from labgateway.store.journal import Transmission
from tests.delivery.simulated import now, simulate, utcnow
from tests.simulation.disk import Disk
from tests.simulation.lab import RULES

COMMIT_S = 0.005


class Away:
    """A store whose writer shares a transaction among what is queued, as the real one, and whose server goes away.

    failing: what becomes of the next transaction; None: it is committed.
    """

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.failing: Callable[[], StoreError | None] = lambda: None
        self.commit_s = COMMIT_S
        self.tried: list[float] = []
        """When each transaction began."""
        self._queue: list[tuple[Any, asyncio.Future[Any]]] = []

    def submit(self, job: Any, *, background: bool = False) -> asyncio.Future[Any]:
        """As of Store."""
        assert background
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append((job, future))
        if len(self._queue) == 1:
            asyncio.get_running_loop().call_later(self.commit_s, self._commit)
        return future

    def _commit(self) -> None:
        queue, self._queue = self._queue, []
        self.tried.append(now())
        error = self.failing()
        if error is None:
            try:
                values = self.disk.run(lambda c: [job(c) for job, _ in queue])
            except OperationalError as own:
                error = StoreBusyError(type(own).__name__)
            except ZeroDivisionError as own:
                queue[0][1].set_exception(own)
                return
            else:
                for (_, future), value in zip(queue, values, strict=True):
                    future.set_result(value)
                return
        for _, future in queue:
            future.set_exception(error)

    async def read(self, job: Any) -> Any:
        """As of Store."""
        return self.disk.run(job)


@pytest.fixture
def store() -> Iterator[Away]:
    disk = Disk()
    yield Away(disk)
    disk.close()


def waiting(store: Away, count: int) -> list[int]:
    """So many messages are stored."""
    raw = b"H|\\^&\rP|1\rO|1|S1||^^^GLU\rR|1|^^^GLU|5.10|mmol/L||||F\rL|1|N\r"
    return [
        store.disk.run(
            lambda c: journal.append(
                c, instrument="a1", protocol="astm", peer="", received_at=datetime.now(UTC), raw=raw
            )
        )
        for _ in range(count)
    ]


class Run:
    """A pump at work; done: what was processed, when."""

    def __init__(self, store: Away) -> None:
        self.done: list[tuple[int, float]] = []
        self.said: list[str] = []
        self.pump = Pump(
            store, lambda: RULES, lambda number, _: self.done.append((number, now())),  # pyright: ignore[reportArgumentType]
            say=lambda event, **_: self.said.append(event), utcnow=utcnow, random=lambda: 0.999,
        )  # fmt: skip

    @property
    def numbers(self) -> list[int]:
        """In the order in which they were processed."""
        return [number for number, _ in self.done]


def test_one_rest_for_a_failure_of_the_store_however_many_wait(store: Away) -> None:
    """Two hundred wait when a server is gone for a moment: a second later all of it is done, in order."""
    numbers = waiting(store, 200)

    async def run() -> Run:
        one = Run(store)
        store.failing = lambda: StoreBusyError("gone") if now() < 0.1 else None
        task = asyncio.create_task(one.pump.run())
        one.pump.add(numbers)
        await asyncio.sleep(5)
        task.cancel()
        return one

    done = simulate(run)
    assert done.numbers == numbers
    assert done.done[-1][1] < 1.5, "late by the rest, not by a rest for each"


def test_while_the_store_is_away_it_is_asked_ever_less_often(store: Away) -> None:
    """An hour: every four seconds at last, with one message; and what waits is done soon after it is back."""
    numbers = waiting(store, 50)

    async def run() -> Run:
        one = Run(store)
        store.failing = lambda: StoreBusyError("gone") if now() < 3600 else None
        task = asyncio.create_task(one.pump.run())
        one.pump.add(numbers)
        await asyncio.sleep(3610)
        task.cancel()
        return one

    done = simulate(run)
    assert done.numbers == numbers
    assert done.done[-1][1] < 3605
    away = [at for at in store.tried if at < 3600]
    gaps = [round(b - a, 1) for a, b in pairwise(away) if b - a > 0.1]
    assert gaps[:2] == [1.0, 2.0] and set(gaps[2:]) == {4.0}
    assert len(away) < 2000


def test_a_commit_that_takes_seconds_keeps_the_next_messages_for_no_longer(store: Away) -> None:
    """Four messages come while the first one's commit waits for a busy disk for six seconds."""
    numbers = waiting(store, 4)

    async def run() -> Run:
        one = Run(store)
        store.commit_s = 6.0
        task = asyncio.create_task(one.pump.run())
        one.pump.add(numbers[:1])
        await asyncio.sleep(1)
        one.pump.add(numbers[1:])
        store.commit_s = COMMIT_S
        await asyncio.sleep(60)
        task.cancel()
        return one

    done = simulate(run)
    assert done.numbers == numbers
    assert done.done[-1][1] < 7


def test_what_comes_meanwhile_waits_behind(store: Away) -> None:
    numbers = waiting(store, 30)

    async def run() -> Run:
        one = Run(store)
        store.failing = lambda: StoreBusyError("gone") if now() < 2 else None
        task = asyncio.create_task(one.pump.run())
        one.pump.add(numbers[:10])
        await asyncio.sleep(1.5)
        one.pump.add(numbers[10:])
        await asyncio.sleep(20)
        task.cancel()
        return one

    assert simulate(run).numbers == numbers


def test_what_is_offered_twice_is_worked_at_once(store: Away) -> None:
    """After a stumble of the store all that is unprocessed is offered again, while it waits already."""
    numbers = waiting(store, 40)

    async def run() -> Run:
        one = Run(store)
        one.pump.add(numbers)
        await one.pump.take_up(None)
        assert len(one.pump) == 40
        task = asyncio.create_task(one.pump.run())
        await asyncio.sleep(5)
        one.pump.add(numbers[:1])  # replayed
        await asyncio.sleep(5)
        task.cancel()
        return one

    assert simulate(run).numbers == [*numbers, numbers[0]]


def test_a_message_on_which_the_store_always_stumbles_lets_the_others_pass(
    store: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers, and fails with this one message: it goes on being tried, behind the others."""
    numbers = waiting(store, 30)
    stubborn = numbers[4]
    get = journal.get

    def too_much(connection: Connection, number: int) -> Transmission | None:
        if number == stubborn and now() < 600:
            raise OperationalError("", {}, Exception("stack depth limit exceeded"))
        return get(connection, number)

    monkeypatch.setattr(journal, "get", too_much)

    async def run() -> Run:
        one = Run(store)
        task = asyncio.create_task(one.pump.run())
        one.pump.add(numbers)
        await asyncio.sleep(60)
        assert one.numbers == [number for number in numbers if number != stubborn]
        await asyncio.sleep(600)
        task.cancel()
        return one

    assert simulate(run).numbers[-1] == stubborn


def test_a_defect_that_cannot_be_booked_is_not_forgotten(store: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own mistake in a message while the store is going away: it parks when the store is back, not at the next start."""
    (number,) = waiting(store, 1)
    get = journal.get

    def defect(connection: Connection, number: int) -> Transmission | None:
        store.failing = lambda: StoreBusyError("gone") if now() < 3 else None
        raise ZeroDivisionError

    monkeypatch.setattr(journal, "get", defect)

    async def run() -> None:
        one = Run(store)
        task = asyncio.create_task(one.pump.run())
        one.pump.add([number])
        await asyncio.sleep(30)
        task.cancel()

    simulate(run)
    found = store.disk.run(lambda c: get(c, number))
    assert found is not None and found.state == "parked"


def test_a_broken_store_ends_it(store: Away) -> None:
    async def run() -> None:
        one = Run(store)
        store.failing = lambda: StoreBrokenError("EIO")
        one.pump.add(waiting(store, 3))
        async with asyncio.timeout(1):
            await one.pump.run()

    simulate(run)
