"""EMRs and networks that do their worst, and the ledger afterwards: from the store on disk, over real sockets.

Nothing is lost, nothing comes under another id or with other bytes, each specimen's messages arrive in order, and the
store calls nothing settled that the EMR has not taken.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copy

import pytest
from aiohttp import web

from labgateway.delivery.http_out import HttpDestination
from labgateway.delivery.mllp_out import MllpDestination
from labgateway.delivery.oru import render
from labgateway.delivery.ports import Destination
from labgateway.delivery.schedule import Schedule
from labgateway.delivery.sender import Sender
from labgateway.delivery.stored import StoredOutbox
from labgateway.store import deliveries, outbox
from labgateway.store.engine import Store
from tests.delivery.emr import Emr
from tests.delivery.judges import validate
from tests.delivery.proxy import Harm, Proxy
from tests.delivery.reports import RELEASED, SETTINGS, observation, order, report
from tests.delivery.test_mllp_out import hl7apy_server
from tests.end_to_end.gateway import free_port
from tests.npm import packages

ANSWER_S = 0.15
SPECIMENS, VERSIONS = 12, 4


async def owe(store: Store) -> dict[str, bytes]:
    """Some specimens with some versions each, mixed; the bytes by their id."""
    owed: dict[str, bytes] = {}
    for version in range(VERSIONS):
        for n in range(SPECIMENS):
            specimen, control_id = f"S{n:02}", f"LG{version}{n:02}"
            of = order(specimen=specimen, id=n + 1)
            value = observation(
                "WBC", f"{n}.{version}0", of=of, id=f"OBS{version}{n:02}", flags=("H",), comments=("á",)
            )
            owed[control_id] = render(report(value, specimen=specimen), SETTINGS, control_id)
            await store.submit(
                lambda c, s=specimen, i=control_id: outbox.add(
                    c, destination="emr", lane=s, control_id=i, body=owed[i], observation_ids=[], now=RELEASED
                )
            )
    return owed


def mllp(port: int, connections: int = 2) -> MllpDestination:
    """To that port, without patience."""
    return MllpDestination("127.0.0.1", port, answer_s=ANSWER_S, connections=connections)


async def deliver(store: Store, there: Destination, *, within_s: float = 30) -> None:
    """Send until all is settled."""
    sender = Sender("emr", there, StoredOutbox(store, "emr"), schedule=Schedule(0.01, 0.05))
    task = asyncio.create_task(sender.run())
    try:
        async with asyncio.timeout(within_s):
            while (await store.read(outbox.counts))["emr"] != {"settled": SPECIMENS * VERSIONS}:
                await asyncio.sleep(0.02)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ledger(store: Store, owed: dict[str, bytes], received: list[tuple[str, bytes]]) -> None:
    """What was owed against what arrived, repeats included."""
    assert dict(received) == owed
    assert all(raw == owed[control_id] for control_id, raw in received)
    lanes: dict[str, list[str]] = defaultdict(list)
    for control_id, _ in received:
        lanes[control_id[3:]].append(control_id)
    for came in lanes.values():
        assert came == sorted(came), "a message came again behind a later one of its specimen"
    settled = await store.read(lambda c: deliveries.listed(c, limit=1000))
    assert {(one.control_id, one.state) for one in settled} == {(control_id, "settled") for control_id in owed}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store on disk."""
    opened = Store.open(f"sqlite:///{tmp_path / 'labgateway.db'}")
    yield opened
    opened.close_now()


def sometimes(*harms: Harm, seed: int, often: float) -> Callable[[bytes], Harm | None]:
    """One of these, as often as that."""
    dice = random.Random(seed)
    return lambda _: dice.choice(harms) if dice.random() < often else None


@pytest.mark.parametrize("harm", [*Harm, None])
async def test_a_harm_on_the_way(store: Store, harm: Harm | None) -> None:
    """Each alone, often; and all of them mixed."""
    owed = await owe(store)
    harms = [harm] if harm else [one for one in Harm if one is not Harm.ENDLESS]
    often = 0.05 if harm is Harm.ENDLESS else 0.3
    async with (
        Emr() as emr,
        Proxy(emr.port, sometimes(*harms, seed=7, often=often), late_s=ANSWER_S * 1.3) as proxy,
    ):
        await deliver(store, mllp(proxy.port))
        assert proxy.met, "nothing was done to any message"
        await ledger(store, owed, [(r.control_id, r.raw) for r in emr.received])
        assert not emr.complaints
        assert len(emr.charts) == len(owed)
    for raw in list(owed.values())[::12]:
        validate(raw)


@contextmanager
def node_hl7_server() -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """node-hl7-server 2.5.0: keeps what it was sent, and answers all of it again at every message."""
    folder = packages("node-hl7-server@2.5.0")
    script = folder / "hl7_server.mjs"
    copy(Path(__file__).parent / "node" / "hl7_server.mjs", script)
    port = free_port()
    with subprocess.Popen(["node", script, str(port)], cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield port, process
        finally:
            process.terminate()


async def test_an_emr_that_repeats_all_its_old_answers(store: Store) -> None:
    """node-hl7-server 2.5.0, over kept connections: every answer is booked for its own message only."""
    owed = await owe(store)
    with node_hl7_server() as (port, process):
        await deliver(store, mllp(port), within_s=60)
        process.terminate()
        assert process.stdout is not None
        heard = process.stdout.read().split()
    assert set(heard) == set(owed), "all were taken (it handles old ones again by itself)"
    states = await store.read(lambda c: deliveries.listed(c, limit=1000))
    assert {one.state for one in states} == {"settled"}


async def test_an_emr_that_closes_after_each_message(store: Store) -> None:
    """hl7apy's own server: all are taken, the ledger is right, and no lane waits for a retry."""
    await owe(store)
    with hl7apy_server() as port:
        await deliver(store, mllp(port, 1))
    states = await store.read(lambda c: deliveries.listed(c, limit=1000))
    assert {(one.state, one.attempts) for one in states} == {("settled", 1)}


async def test_a_his_that_does_its_worst_by_http(store: Store) -> None:
    """Yes that is not heard, 503, 429, 401, redirects, resets: all is taken, by its own id, in order per specimen."""
    owed = await owe(store)
    dice = random.Random(11)
    received: list[tuple[str, bytes]] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        harm = dice.choice(["", "", "reset", "503", "429", "401", "302", "late"])
        if harm in ("503", "429", "401", "302"):
            headers = {"Retry-After": "0", "Location": "http://127.0.0.1:1/"}
            return web.Response(status=int(harm), headers=headers)
        received.append((request.headers["Idempotency-Key"], await request.read()))
        if harm == "reset" and request.transport is not None:
            request.transport.abort()
        if harm == "late":
            await asyncio.sleep(ANSWER_S * 1.3)
        return web.Response(status=201)

    app = web.Application()
    app.router.add_post("/results", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/results"
        await deliver(store, HttpDestination(url, answer_s=ANSWER_S, connections=2))
    finally:
        await runner.cleanup()
    await ledger(store, owed, received)
