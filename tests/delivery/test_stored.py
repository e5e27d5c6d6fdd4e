"""From the store on disk to an EMR over TCP, and what the store says afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text

from labgateway.delivery.mllp_out import MllpDestination
from labgateway.delivery.oru import render
from labgateway.delivery.sender import Sender
from labgateway.delivery.stored import StoredOutbox
from labgateway.store import outbox
from labgateway.store.engine import Store
from labgateway.store.tables import delivery
from tests.delivery.emr import Emr, Fault, Received
from tests.delivery.reports import SETTINGS, observation, order, report


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A new store on disk."""
    opened = Store.open(f"sqlite:///{tmp_path / 'labgateway.db'}")
    yield opened
    await opened.close()


@asynccontextmanager
async def sending(store: Store, port: int, *, destination: str = "emr", **options: Any) -> AsyncIterator[Sender]:
    """A sender from this store to that port."""
    to = MllpDestination("127.0.0.1", port, answer_s=0.5, **options)
    sender = Sender(destination, to, StoredOutbox(store, destination), random=lambda: 0.0)
    task = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def owe(store: Store, *specimens: str, destination: str = "emr") -> list[int]:
    """One ORU for each specimen named, in this order; the observations behind them are not in this store."""
    bodies: list[dict[str, Any]] = []
    for specimen in specimens:
        control_id = f"LG-{destination}-{next(COUNTER)}"
        seen = observation(id=f"obs-{control_id}", of=order(specimen=specimen))
        body = render(report(seen, specimen=specimen), SETTINGS, control_id)
        bodies.append(
            {
                "destination": destination,
                "lane": specimen,
                "control_id": control_id,
                "body": body,
                "sha256": hashlib.sha256(body).hexdigest(),
                "state": "waiting",
                "created_at": datetime.now(UTC),
            }
        )

    def job(connection: Connection) -> list[int]:
        done = [connection.execute(insert(delivery), row).inserted_primary_key for row in bodies]
        return [int(key[0]) for key in done if key is not None]

    return await store.submit(job)


COUNTER = itertools.count(1)


def rows(store: Store) -> dict[int, tuple[str, str, int]]:
    """State, last words and attempts of each delivery."""
    found = store.read_now(
        lambda c: c.execute(text("SELECT id, state, answer, attempts FROM delivery ORDER BY id")).all()
    )
    return {int(r[0]): (str(r[1]), str(r[2]), int(r[3])) for r in found}


async def test_what_is_owed_arrives_and_is_settled(store: Store) -> None:
    """Old ones at the start, new ones when woken; each once, in order of their lane, settled on disk."""
    async with Emr() as emr:
        first = await owe(store, "S1", "S2", "S1", "S3", "S1")
        async with sending(store, emr.port) as sender:
            await emr.until(lambda e: len(e.accepted) == 5)
            second = await owe(store, "S1", "S2")
            sender.wake()
            await emr.until(lambda e: len(e.accepted) == 7)
        assert {n: row[0] for n, row in rows(store).items()} == dict.fromkeys([*first, *second], "settled")
        of_lane = [r.control_id for r in emr.received if r.observations[0].specimen == "S1"]
        assert of_lane == sorted(of_lane, key=lambda c: int(c.rsplit("-", 1)[1]))
        assert not emr.complaints


async def test_a_refused_one_parks_with_its_words_and_is_freed_by_a_person(store: Store) -> None:
    """AE: parked, its lane stands, others pass; after Retry it leaves again unchanged, then its lane goes on."""
    async with Emr() as emr:
        bad, behind, other = await owe(store, "S1", "S1", "S2")
        refused = [True]
        emr.fault = lambda r: Fault.AE if refused and r.observations[0].specimen == "S1" else None
        async with sending(store, emr.port) as sender:
            await emr.until(lambda e: len(e.accepted) == 1)
            await asyncio.sleep(0.05)
            assert {n: row[0] for n, row in rows(store).items()} == {bad: "parked", behind: "waiting", other: "settled"}
            assert "Patient 000123 is not admitted" in rows(store)[bad][1]
            refused.clear()
            assert await store.submit(lambda c: outbox.unpark(c, bad)) == "emr"
            sender.wake()
            await emr.until(lambda e: len(e.accepted) == 3)
        assert {row[0] for row in rows(store).values()} == {"settled"}
        assert not emr.complaints


async def test_after_a_restart_what_was_not_answered_is_sent_again_unchanged(store: Store) -> None:
    """Stopped with a message under way: the next sender sends the same bytes; the EMR knows the repeat by its id."""
    async with Emr() as emr:
        await owe(store, "S1")
        emr.next(Fault.SILENCE)
        async with sending(store, emr.port):
            await emr.until(lambda e: len(e.received) == 1)
        assert [row[0] for row in rows(store).values()] == ["waiting"]
        async with sending(store, emr.port):
            await emr.until(lambda e: len(e.accepted) == 1)
        assert len({r.raw for r in emr.received}) == 1 and len(emr.received) == 2
        assert not emr.complaints and len(emr.charts) == 1


async def test_an_outage_and_the_catch_up(store: Store) -> None:
    """The EMR is away while 200 results come; when it is back all arrive in order, without anyone doing anything."""
    emr = Emr()
    await emr.start()
    await emr.stop()
    async with sending(store, emr.port) as sender:
        await owe(store, *(f"S{n % 40}" for n in range(200)))
        sender.wake()
        await asyncio.sleep(0.05)
        await emr.start()
        await emr.until(lambda e: len(e.accepted) == 200)
        await emr.stop()
    assert {row[0] for row in rows(store).values()} == {"settled"}
    per_lane: dict[str, list[int]] = {}
    for received in emr.received:
        per_lane.setdefault(received.observations[0].specimen, []).append(int(received.control_id.rsplit("-", 1)[1]))
    assert all(numbers == sorted(numbers) for numbers in per_lane.values())
    assert not emr.complaints


async def test_destinations_do_not_wait_for_each_other(store: Store) -> None:
    """One EMR never answers, the other gets everything: each has its own queue."""
    async with Emr() as good, Emr() as mute:
        mute.fault = lambda _: Fault.SILENCE
        await owe(store, "S1", "S2", destination="mute")
        await owe(store, "S1", "S2", destination="good")
        async with sending(store, mute.port, destination="mute"), sending(store, good.port, destination="good"):
            await good.until(lambda e: len(e.accepted) == 2)
            await mute.until(lambda e: len(e.received) >= 1)
    states = store.read_now(outbox.counts)
    assert states == {"good": {"settled": 2}, "mute": {"waiting": 2}}


async def test_faults_of_every_kind_lose_nothing_and_double_nothing(store: Store) -> None:
    """Each fault once among 60 messages: in the end each observation stands in the chart once, each row is settled."""
    faults: list[Fault | None] = [f for f in Fault if f not in (Fault.AE, Fault.HUGE)]
    async with Emr(late_s=0.7) as emr:
        script = iter([x for fault in faults for x in (fault, None, None)])

        def fault(received: Received) -> Fault | None:
            return next(script, None)

        emr.fault = fault
        numbers = await owe(store, *(f"S{n}" for n in range(60)))
        async with sending(store, emr.port, connections=2):
            await emr.until(lambda e: len(e.charts) == 60, within_s=20)
            for _ in range(100):
                if all(row[0] == "settled" for row in rows(store).values()):
                    break
                await asyncio.sleep(0.1)
        assert {row[0] for row in rows(store).values()} == {"settled"}
        assert len(numbers) == len(emr.charts) == 60
        assert not emr.complaints


async def test_damaged_bytes_stop_only_their_specimen(store: Store) -> None:
    """A flipped byte in one delivery: it parks with words and never leaves; every other specimen's arrive."""
    async with Emr() as emr:
        bad, *_ = await owe(store, "S1", "S1", "S2", "S3")
        await store.submit(
            lambda c: c.execute(text("UPDATE delivery SET body = CAST(body || ' ' AS BLOB) WHERE id = :n"), {"n": bad})
        )
        async with sending(store, emr.port):
            async with asyncio.timeout(10):
                while len(emr.charts) < 2:
                    await asyncio.sleep(0.01)
        assert {one.specimen for one in emr.charts.values()} == {"S2", "S3"}
        rows = await store.read(lambda c: c.execute(text("SELECT state, answer FROM delivery ORDER BY id")).all())
        assert rows[0].state == "parked" and "not those that were stored" in rows[0].answer
        assert [row.state for row in rows[1:]] == ["waiting", "settled", "settled"]
