"""The plug is pulled on a gateway that receives and delivers: its file system, and the server's, lose what was not synced.

``FS_IOC_SHUTDOWN`` (RELIABILITY, method C4) at the N-th message that the EMR sees: before its answer, with its answer
on the way, or some milliseconds later, in the middle of the commits that follow. Needs root and loop devices.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tests.cluster import Cluster, skip_unless_there_is_one
from tests.delivery.emr import Emr, Fault
from tests.end_to_end.analyzer import wait_until
from tests.end_to_end.cuts import Bench, House, check_halfway, faults, prepare, to_the_end
from tests.end_to_end.gateway import Gateway
from tests.store.test_power import Disk

When = Literal["before the answer", "with the answer"] | float
"""Seconds: so much later than the answer."""


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A fresh ext4, where user postgres may go too."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4") or not Path("/dev/loop-control").exists():
        pytest.skip("needs root, mkfs and loop devices")
    folder = Path(tempfile.mkdtemp(prefix="labgateway-power-"))
    folder.chmod(0o755)
    made = Disk(folder, "ext4")
    yield made
    subprocess.run(["umount", "-l", str(made.place)], check=False, capture_output=True)
    shutil.rmtree(folder)


@dataclass
class Plug:
    """Pulls at the N-th message; the process and the server end with it. pulled: set then."""

    disk: Disk
    gateway: Gateway
    server: Cluster | None
    at: int
    when: When
    pulled: asyncio.Event

    def fault(self, emr: Emr) -> Fault | None:
        """What becomes of a message that the EMR has just seen."""
        if len(emr.received) != self.at:
            return None
        loop = asyncio.get_running_loop()
        match self.when:
            case "before the answer":
                self._pull()
                return Fault.CLOSE_BEFORE
            case "with the answer":
                self.disk.cut()  # the gateway lives on for a moment, hears yes, and cannot keep it any more
                loop.call_later(0.1, self._end)
            case seconds:
                loop.call_later(seconds, self._pull)
        return None

    def _pull(self) -> None:
        self.disk.cut()
        self._end()

    def _end(self) -> None:
        if self.server is not None:
            self.server.kill()
        self.gateway.kill()
        self.pulled.set()


async def life(disk: Disk, house: House, server: Cluster | None, plugs: list[tuple[int, When]]) -> None:
    """Pulled again and again, each time booted on what is left; then to the end."""
    async with Emr(port=house.emr) as emr:
        usual = faults(emr.received)
        bench = Bench(house)
        gateway = house.gateway()
        os.sync()  # its config file lies on that disk too
        for at, when in plugs:
            plug = Plug(disk, gateway, server, len(emr.received) + at, when, asyncio.Event())
            emr.fault = lambda r, p=plug: p.fault(emr) or usual(r)
            await asyncio.to_thread(gateway.start)
            sending = asyncio.create_task(asyncio.to_thread(bench.send, plug.pulled.is_set))
            async with asyncio.timeout(30):
                await plug.pulled.wait()
            await sending
            bench.hang_up()
            await asyncio.to_thread(disk.unmount)
            await asyncio.to_thread(disk.mount)
            if server is not None:
                await asyncio.to_thread(server.start)
            await asyncio.to_thread(check_halfway, house, emr, bench)
        emr.fault = usual
        await to_the_end(house, gateway, emr, bench)


def on(disk: Disk, *, postgresql: bool) -> tuple[House, Cluster | None]:
    """A prepared site whose store is on this disk."""
    folder = disk.place / "site"
    folder.mkdir()
    server = None
    if postgresql:
        skip_unless_there_is_one()
        data = disk.place / "server"
        data.mkdir()
        server = Cluster(data)
        server.start()
    url = f"sqlite:///{folder}/data/labgateway.db" if server is None else server.url(server.database())
    house = House(folder, url)
    prepare(house)
    os.sync()
    return house, server


SAMPLE: list[tuple[int, When]] = [(3, "with the answer"), (2, 0.001)]
ALL: list[tuple[int, When]] = [
    (at, when) for at in (1, 2, 4) for when in ("before the answer", "with the answer", 0.0, 0.001, 0.002, 0.004, 0.01)
]  # fmt: skip


@pytest.mark.parametrize("store", ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
async def test_the_plug_is_pulled(disk: Disk, store: str) -> None:
    """A sample: two cuts in one life, one with a server."""
    house, server = on(disk, postgresql=store == "postgresql")
    try:
        await life(disk, house, server, SAMPLE[: 1 if server else 2])
    finally:
        if server is not None:
            server.kill()


@pytest.mark.soak
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
@pytest.mark.parametrize(("at", "when"), ALL)
async def test_the_plug_is_pulled_at_any_moment(disk: Disk, store: str, at: int, when: When) -> None:
    """At once, and a second time soon after."""
    house, server = on(disk, postgresql=store == "postgresql")
    try:
        await life(disk, house, server, [(at, when), (1, when)])
    finally:
        if server is not None:
            server.kill()


async def test_the_file_system_turns_read_only(disk: Disk) -> None:
    """As after an error of the disk (RELIABILITY, method C7), under the running service: nothing more is acknowledged, it
    ends with 74, and with a disk again nothing is lost.
    """
    house, _ = on(disk, postgresql=False)
    async with Emr(port=house.emr) as emr:
        emr.fault = faults(emr.received)
        gateway, bench = house.gateway(), Bench(house, pause_s=0.2)
        os.sync()
        await asyncio.to_thread(gateway.start)
        process = gateway.process
        assert process
        sending = asyncio.create_task(asyncio.to_thread(bench.send, lambda: process.poll() is not None))
        await asyncio.to_thread(wait_until, lambda: len(bench.acked) >= 2, what="the first results")
        subprocess.run(["mount", "-o", "remount,abort", disk.place], check=True, capture_output=True)
        assert await asyncio.to_thread(process.wait, 30) == os.EX_IOERR
        await sending
        bench.hang_up()
        assert len(bench.acked) < 6, "it was not told that anything is safe on a disk that takes nothing"
        await asyncio.to_thread(disk.unmount)
        await asyncio.to_thread(disk.mount)
        await asyncio.to_thread(check_halfway, house, emr, bench)
        await to_the_end(house, gateway, emr, bench)
