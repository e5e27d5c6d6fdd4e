"""Two gateways on one PostgreSQL: one dies, hangs, or loses the network; the other serves its lines, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import Astm, RefusedError, frames_of, wait_until
from tests.end_to_end.gateway import Gateway, free_port
from tests.end_to_end.test_first_light import MAPPING, xn
from tests.postgresql import schema

HOSTS = {"a": "127.0.0.11", "b": "127.0.0.12"}
"""What stands for the service address: an analyzer is led to where its line is served."""
LEASE_S = 8
WITHIN_S = 30
"""What is promised (issue: a node that dies, hangs or loses the network loses its lines within 30 s)."""


class Cable:
    """Between a node and the database server; it can be pulled: both sides stay open and nothing passes."""

    def __init__(self, port: int) -> None:
        self._there = port
        self._pulled = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if self._pulled.is_set():
                continue  # kept open by nobody: the caller's time runs out
            far = socket.create_connection(("127.0.0.1", self._there))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if not self._pulled.is_set():
                    other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def pull(self) -> None:
        """Nothing passes from now on."""
        self._pulled.set()

    def close(self) -> None:
        """Let nobody in any more."""
        self._server.close()


class Analyzer(threading.Thread):
    """Sends one message after the other, to whichever node takes it; remembers what was acknowledged, and when."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.acked: dict[str, float] = {}
        self.longest_s = 0.0
        self._port = port
        self._hosts = list(HOSTS.values())
        self._end = threading.Event()

    def run(self) -> None:
        number, last = 0, time.monotonic()
        while not self._end.is_set():
            number += 1
            specimen = f"26112800{number:04}"
            while not self._end.is_set():
                if self._sent(specimen, number):
                    self.longest_s = max(self.longest_s, time.monotonic() - last)
                    last = self.acked[specimen] = time.monotonic()
                    break
                self._end.wait(0.2)
            self._end.wait(0.05)

    def _sent(self, specimen: str, number: int) -> bool:
        for host in list(self._hosts):
            with contextlib.suppress(OSError, RefusedError):
                analyzer = Astm(self._port, host=host, patience_s=3)
                try:
                    analyzer.session(frames_of(xn(specimen, wbc=f"{number}.25", plt=str(1000 + number))))
                    return True
                finally:
                    analyzer.close()
            self._hosts.reverse()  # the service address has moved
        return False

    def stop(self) -> None:
        """Send no more."""
        self._end.set()
        self.join(10)


@pytest.fixture
def url() -> Iterator[str]:
    """A schema of our own."""
    with schema() as address:
        yield address


def node(folder: Path, name: str, url: str, port: int, emr: Emr) -> Gateway:
    """One of the two: the same config but for its name and its address."""
    folder = folder / name
    (folder / "mappings").mkdir(parents=True)
    (folder / "mappings" / "xn1.toml").write_text(MAPPING, encoding="utf-8")
    return Gateway(
        folder,
        f"""\
[store]
url = "{url}"
[nodes]
name = "{name}"
lease_s = {LEASE_S}
[matching]
without_order = "send"
[instrument.xn1]
driver = "sysmex_xn"
mapping = "xn1.toml"
line = {{ kind = "tcp-listen", host = "{HOSTS[name]}", port = {port} }}
[instrument.kx]
driver = "sysmex_xp"
mapping = "xn1.toml"
line = {{ kind = "serial", device = "{folder}/no-such-plug" }}
[destination.emr]
kind = "mllp"
host = "127.0.0.1"
port = {emr.port}
""",
    )


@pytest.mark.parametrize("how", ["dies", "hangs", "is cut off"])
async def test_a_node_is_lost(tmp_path: Path, url: str, how: str) -> None:
    """Its line and its destination go to the other within 30 s; every acknowledged result reaches the EMR, none changed."""
    parts = urlsplit(url)
    cable = Cable(parts.port or 5432)
    through = url.replace(f":{parts.port}/", f":{cable.port}/")
    port = free_port()
    async with Emr() as emr:
        a, b = node(tmp_path, "a", through, port, emr), node(tmp_path, "b", url, port, emr)
        analyzer = Analyzer(port)
        try:
            await asyncio.to_thread(a.start)
            await asyncio.to_thread(b.start)
            analyzer.start()
            await asyncio.to_thread(wait_until, lambda: len(analyzer.acked) >= 20, what="the first results")
            status = await asyncio.to_thread(b.status)
            assert status["nodes"]["owners"] == {"destination emr": "a", "line xn1": "a"}
            assert status["nodes"]["alive"] == ["a", "b"]
            assert status["lines"]["xn1"]["trouble"] == "served by node a"
            assert "cannot be served by this node" in status["lines"]["kx"]["trouble"]
            assert a.process
            match how:
                case "dies":
                    a.kill()
                case "hangs":
                    a.process.send_signal(signal.SIGSTOP)
                case _:
                    cable.pull()
            seen = len(analyzer.acked)

            def goes_on() -> bool:
                assert b.process
                assert b.process.poll() is None, "\n".join(b.raw_log[-20:])
                return len(analyzer.acked) >= seen + 20

            try:
                await asyncio.to_thread(wait_until, goes_on, patience_s=60, what="the other node's results")
            except AssertionError as error:
                raise AssertionError("\n".join([str(error), str(b.status()), *b.raw_log[-20:]])) from None
            assert analyzer.longest_s < WITHIN_S
            if how == "hangs":
                a.process.send_signal(signal.SIGCONT)
            if how != "dies":
                # What woke up, or sees the server again, finds that it is out, and ends; systemd starts it anew.
                assert await asyncio.to_thread(a.process.wait, 60) == os.EX_IOERR if how == "hangs" else True
            analyzer.stop()

            def arrived() -> bool:
                return set(analyzer.acked) <= {one.specimen for one in emr.charts.values()}

            await asyncio.to_thread(wait_until, arrived, patience_s=30, what="every acknowledged result at the EMR")
            assert not emr.complaints
            for specimen in analyzer.acked:
                number = int(specimen[-4:])
                values = {one.code: one.value for one in emr.charts.values() if one.specimen == specimen}
                assert values == {"WBC": f"{number}.25", "HGB": "134", "PLT": str(1000 + number)}
            assert (await asyncio.to_thread(b.status))["nodes"]["owners"] == {"destination emr": "b", "line xn1": "b"}
        finally:
            analyzer.stop()
            for gateway in (a, b):
                if gateway.process and gateway.process.poll() is None:
                    gateway.process.send_signal(signal.SIGCONT)
                    gateway.kill()
            cable.close()


async def test_a_node_that_ends_hands_over_at_once(tmp_path: Path, url: str) -> None:
    """SIGTERM lets go of everything: the other serves it within one round, not after the lease."""
    port = free_port()
    async with Emr() as emr:
        a, b = node(tmp_path, "a", url, port, emr), node(tmp_path, "b", url, port, emr)
        with a, b:
            started = time.monotonic()
            assert await asyncio.to_thread(a.stop) == 0
            await asyncio.to_thread(
                wait_until, lambda: b.status()["nodes"]["owners"].get("line xn1") == "b", what="the other node"
            )
            assert time.monotonic() - started < LEASE_S


def test_one_name_one_node(tmp_path: Path, url: str) -> None:
    """A second gateway under a name that is in use is refused with the cure; so is one that says nothing of nodes."""
    emr = Emr()
    emr.port = free_port()
    with node(tmp_path, "a", url, free_port(), emr):
        again = node(tmp_path / "again", "a", url, free_port(), emr)
        with pytest.raises(AssertionError, match=r"needs a \[nodes\] name of its own"):
            again.start()
        alone = node(tmp_path / "alone", "a", url, free_port(), emr)
        alone.config.write_text(alone.config.read_text().replace(f'[nodes]\nname = "a"\nlease_s = {LEASE_S}\n', ""))
        with pytest.raises(AssertionError, match=r"several gateways on one database need \[nodes\]"):
            alone.start()
