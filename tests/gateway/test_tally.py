"""What takes long to count is not counted again at once, and whoever is told an old count is told how old it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from labgateway.gateway.tally import CHEAP_S, PATIENCE, Tally
from labgateway.store import outbox
from labgateway.store.engine import Store
from tests.store.kit import NOW


class Reader:
    """A store, behind a clock on which each count takes so long."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = 1000.0
        self.takes = 0.0
        self.counts = 0
        self.at_once = self.most_at_once = 0
        self.tally = Tally(self.read, lambda: 24, lambda: NOW, clock=lambda: self.now)

    async def read(self, job: Callable[[Connection], Any]) -> Any:
        self.counts += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        found = await self.store.read(job)
        self.now += self.takes
        self.at_once -= 1
        return found

    async def owe(self, number: int) -> None:
        await self.store.submit(
            lambda c: outbox.add(
                c, destination="emr", lane="S1", control_id=f"C{number}", body=b"x", observation_ids=[], now=NOW
            )
        )


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Reader]:
    store = Store.open(f"sqlite:///{tmp_path}/labgateway.db")
    yield Reader(store)
    await store.close()


async def test_what_is_cheap_is_always_exact(reader: Reader) -> None:
    reader.takes = CHEAP_S / 2
    for n in range(5):
        await reader.owe(n)
        assert (await reader.tally.waiting()).value == {"emr": n + 1}
        assert (await reader.tally.everything()).value["deliveries"] == {"emr": {"waiting": n + 1}}
    assert reader.counts == 10


async def test_a_long_count_takes_a_fiftieth_of_the_time_at_most(reader: Reader) -> None:
    """Asked ten times a second for an hour, by three who ask at once."""
    reader.takes, began = 2.0, reader.now
    while reader.now < began + 3600:
        await asyncio.gather(*(reader.tally.everything() for _ in range(3)))
        reader.now += 0.1
    assert 3600 / (PATIENCE * 2.0) * 0.9 <= reader.counts <= 3600 / (PATIENCE * 2.0) + 1


async def test_one_slow_moment_of_the_machine_makes_no_count_old(reader: Reader) -> None:
    """A count that took two seconds because something else was busy, even the first one: the next is counted anew."""
    reader.takes = 2.0
    await reader.tally.waiting()
    for n in range(3):
        reader.takes = CHEAP_S / 2
        await reader.owe(2 * n)
        assert (await reader.tally.waiting()).value == {"emr": 2 * n + 1}
        reader.takes = 2.0
        await reader.owe(2 * n + 1)
        assert (await reader.tally.waiting()).value == {"emr": 2 * n + 2}


async def test_an_old_count_says_how_old_it_is_and_does_not_stay(reader: Reader) -> None:
    reader.takes = 1.0
    await reader.tally.everything()  # it takes long: the next is believed
    await reader.owe(1)
    first = await reader.tally.everything()
    await reader.owe(2)
    reader.now += 30
    again, late = await reader.tally.everything(), await reader.tally.for_a_person()
    assert again is first and reader.tally.age_s(again, late) == 32  # 30, and the second count's own second
    reader.now += PATIENCE
    assert (await reader.tally.everything()).value["deliveries"] == {"emr": {"waiting": 2}}


async def test_one_counts_at_a_time(reader: Reader) -> None:
    """The store has two readers, and the senders need one."""
    await asyncio.gather(
        *(ask() for _ in range(5) for ask in (reader.tally.everything, reader.tally.waiting, reader.tally.for_a_person))
    )
    assert reader.most_at_once == 1


async def test_who_takes_an_older_count_causes_none(reader: Reader) -> None:
    await reader.tally.waiting()
    reader.now += 10
    await reader.tally.waiting(15.0)
    assert reader.counts == 1
    await reader.tally.waiting(5.0)
    assert reader.counts == 2
