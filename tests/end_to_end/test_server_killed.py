"""The PostgreSQL server dies, in every way, under a gateway that receives and delivers; it comes back, and so does everything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster, cluster
from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import wait_until
from tests.end_to_end.cuts import Bench, House, check_halfway, counts, faults, prepare, to_the_end
from tests.end_to_end.gateway import Gateway

MANY = {f"F{n:02}": {"WBC": f"{n}.33", "HGB": f"{130 + n}", "PLT": f"{400 + n}"} for n in range(90)}
PAUSE_S = 0.02


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A PostgreSQL of our own; the tests leave it running."""
    with cluster() as found:
        yield found


def backend(server: Cluster) -> None:
    """kill -9 of one backend, that of the gateway's writer: the postmaster ends them all and recovers by itself."""
    rows = server.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname LIKE 'lab_%' AND pid <> pg_backend_pid() ORDER BY backend_start"
    )
    os.kill(int(str(rows[-1][0])), signal.SIGKILL)


WAYS: dict[str, Callable[[Cluster], None]] = {
    "stop -m immediate": lambda server: server.stop("immediate"),
    "stop -m fast": lambda server: server.stop("fast"),
    "kill -9 of all": lambda server: server.kill(),
    "kill -9 of one backend": backend,
}


class Sending(threading.Thread):
    """A bench that sends in a thread, with a pause after each message."""

    def __init__(self, house: House) -> None:
        super().__init__(daemon=True)
        self.bench = Bench(house, pause_s=PAUSE_S)
        self._end = threading.Event()

    def run(self) -> None:
        self.bench.send(self._end.is_set, patience_s=600)

    def stop(self) -> None:
        """Send no more."""
        self._end.set()
        self.join(10)


async def killed(house: House, server: Cluster, ways: list[str], away_s: float = 1.0) -> None:
    """One gateway lives through all of it: it acknowledges nothing meanwhile, and comes back by itself."""
    async with Emr(port=house.emr) as emr:
        emr.fault = faults(emr.received)
        gateway = house.gateway()
        await asyncio.to_thread(gateway.start)
        sending = Sending(house)
        bench = sending.bench
        sending.start()
        try:
            for way in ways:
                seen = len(bench.acked)
                await asyncio.to_thread(
                    wait_until, lambda n=seen: len(bench.acked) > n + 12, what=f"results before {way}"
                )
                await asyncio.to_thread(WAYS[way], server)
                if way != "kill -9 of one backend":
                    await asyncio.sleep(0.3)
                    gone = len(bench.acked)
                    await asyncio.sleep(away_s)
                    assert len(bench.acked) == gone, "acknowledged, and no server was there to keep it"
                    done = await asyncio.to_thread(gateway.run, "status", check=False)
                    assert done.returncode == 1 and "Traceback" not in done.stderr and "cannot be read" in done.stderr
                    await asyncio.to_thread(server.start)
                seen = len(bench.acked)
                await asyncio.to_thread(
                    wait_until, lambda n=seen: len(bench.acked) > n, what=f"the first result after {way}"
                )
                assert gateway.process and gateway.process.poll() is None, f"it ended at {way}"
            await asyncio.to_thread(sending.join, 60)
            assert len(bench.acked) == sum(map(len, house.fresh.values()))
            store = await asyncio.to_thread(house.open)
            await asyncio.to_thread(
                wait_until, lambda: counts(store) == house.done, patience_s=120, what="all settled by itself"
            )
            await asyncio.to_thread(store.close_now)
            assert gateway.stop() == 0
            await asyncio.to_thread(check_halfway, house, emr, bench)
            await to_the_end(house, gateway, emr, bench)
        finally:
            sending.stop()
            gateway.kill()


def site(server: Cluster, folder: Path, count: int) -> House:
    """With OWED waiting in its store, and so many tubes to be measured."""
    fresh = dict(list(MANY.items())[:count])
    house = House(folder, server.url(server.database()), fresh)
    prepare(house)
    return house


async def test_the_server_is_killed_while_results_come_and_go(tmp_path: Path, server: Cluster) -> None:
    """Stopped as in a crash."""
    await killed(site(server, tmp_path, 12), server, ["stop -m immediate"])


@pytest.mark.soak
@pytest.mark.timeout(900)  # five times away, 270 results with pauses: one to two minutes
@pytest.mark.parametrize("way", WAYS)
async def test_the_server_is_killed_again_and_again(tmp_path: Path, server: Cluster, way: str) -> None:
    """Five times in one life."""
    await killed(site(server, tmp_path, 90), server, [way] * 5, away_s=3.0)


def test_it_does_not_start_without_its_server(tmp_path: Path, server: Cluster) -> None:
    """It says so and ends with 1, so that systemd tries again."""
    house = House(tmp_path, server.url(server.database()))
    gateway = house.gateway()
    server.stop()
    try:
        with pytest.raises(AssertionError, match="The database server cannot be used"):
            gateway.start()
        assert gateway.process and gateway.process.returncode == 1
    finally:
        server.start()


class Snatching:
    """Between gateway and server: lets a COMMIT through to the server and cuts the connection before its answer."""

    COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"

    def __init__(self, port: int) -> None:
        self.armed = 0
        """The COMMIT that is snatched, counted from now; 0: none."""
        self.snatched = 0
        self._there = port
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._there))
            cut = threading.Event()
            threading.Thread(target=self._out, args=(near, far, cut), daemon=True).start()
            threading.Thread(target=self._back, args=(near, far, cut), daemon=True).start()

    def _out(self, near: socket.socket, far: socket.socket, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                if self.COMMIT in data:
                    with self._lock:
                        if self.armed:
                            self.armed -= 1
                            if not self.armed:
                                cut.set()
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)

    def _back(self, near: socket.socket, far: socket.socket, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                if cut.is_set():
                    self.snatched += 1
                    break
                near.sendall(data)
        for one in (near, far):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self) -> None:
        """Let nobody in any more."""
        self._server.close()


@pytest.mark.parametrize("which", [(2, 3), pytest.param((1, 2, 3, 4, 5) * 4, marks=pytest.mark.soak)])
async def test_a_commit_whose_answer_never_came(tmp_path: Path, server: Cluster, which: tuple[int, ...]) -> None:
    """Each commit on the way of a result (kept, decided, settled, …) is done, and the gateway does not hear of it: the
    result arrives all the same, once, without another one having to come.
    """
    rounds = len(which)
    fresh = {f"F{n:02}": {"WBC": f"{n}.44"} for n in range(rounds)}
    direct = server.url(server.database())
    snatching = Snatching(server.port)
    house = House(tmp_path, direct.replace(f":{server.port}/", f":{snatching.port}/"), fresh, owed={})
    reading = House(tmp_path, direct)
    gateway: Gateway = house.gateway()
    try:
        async with Emr(port=house.emr) as emr:
            await asyncio.to_thread(gateway.start)
            bench = Bench(house)
            store = await asyncio.to_thread(reading.open)
            for number, specimen in zip(which, fresh, strict=True):
                snatching.armed = number
                bench.only(specimen)
                await asyncio.to_thread(bench.send, lambda: False)
                began = time.monotonic()
                await asyncio.to_thread(
                    wait_until,
                    lambda s=specimen: any(one.specimen.startswith(s) for one in emr.charts.values()),
                    what=f"{specimen} at the EMR, commit {number} snatched",
                )
                assert time.monotonic() - began < 10
                snatching.armed = 0
                arrived = len(bench.acked)
                await asyncio.to_thread(
                    wait_until, lambda n=arrived: counts(store) == (0, n, 0), what=f"all of it done, {number} snatched"
                )
            await asyncio.to_thread(store.close_now)
            assert snatching.snatched >= rounds // 2
            assert len(emr.charts) == rounds and not emr.complaints
            assert gateway.stop() == 0
    finally:
        gateway.kill()
        snatching.close()
