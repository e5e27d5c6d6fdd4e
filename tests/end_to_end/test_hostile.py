"""Three hundred connections that mean no good: the other lines go on, memory stays flat, files stay under the cap."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
from pathlib import Path

from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import Astm, frames_of
from tests.end_to_end.gateway import Gateway, free_port
from tests.end_to_end.test_first_light import Site, seen, xn

PLACES = 64
HALF = b"\x05\x021H|\\^&|||" + b"x" * 300
GARBAGE = bytes(range(256)) * 8


def usage(gateway: Gateway) -> tuple[float, int]:
    """Resident MB and open files of the service."""
    assert gateway.process
    place = Path(f"/proc/{gateway.process.pid}")
    resident = re.findall(r"VmRSS:\s+(\d+)", (place / "status").read_text(encoding="ascii"))[0]
    return int(resident) / 1024, len(list((place / "fd").iterdir()))


class Attack:
    """Callers that come again and again: a third sends half frames, a third a byte a second, a third garbage."""

    def __init__(self, ports: list[int], count: int) -> None:
        self._over = threading.Event()
        self.refused = 0
        self._threads = [
            threading.Thread(target=self._call, args=(ports[n % len(ports)], n % 3), daemon=True) for n in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _call(self, port: int, kind: int) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as line:
                line.settimeout(0.1)
                while not self._over.wait(1.0 if kind == 1 else 0.2):
                    line.sendall((HALF, b"\x02", GARBAGE)[kind])
                    with contextlib.suppress(TimeoutError):
                        if line.recv(4096) == b"":
                            self.refused += 1
                            break
            self._over.wait(0.2)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(10)


def measure(port: int, count: int, start: int) -> list[float]:
    """Seconds of each message of an honest analyzer."""
    analyzer = Astm(port, patience_s=20)
    took: list[float] = []
    for number in range(count):
        began = time.monotonic()
        analyzer.session(frames_of(xn(f"HO{start + number:05d}")))
        took.append(time.monotonic() - began)
    analyzer.close()
    return sorted(took)


async def test_three_hundred_hostile_connections(tmp_path: Path) -> None:
    """They fill the places of their own lines and no more; an honest line is served, and the log stays readable."""
    ports = [free_port(), free_port()]
    extra = "".join(
        f'[instrument.bad{n}]\ndriver = "sysmex_xn"\nmapping = "xn1.toml"\n'
        f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {port}, connections = {PLACES} }}\n'
        for n, port in enumerate(ports)
    )
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching='without_order = "send"', extra=extra)
        with site.gateway as gateway:
            calm = await asyncio.to_thread(measure, site.xn, 60, 0)
            await seen(emr, 180)
            before, files = usage(gateway)
            attack = Attack(ports, 300)
            try:
                await asyncio.sleep(3)
                storm = await asyncio.to_thread(measure, site.xn, 60, 1000)
                during, most = usage(gateway)
                await asyncio.sleep(3)
                later, _ = usage(gateway)
            finally:
                await asyncio.to_thread(attack.stop)
            # The callers' own threads share the two cores; what is asserted is that nobody is kept waiting for long.
            assert storm[len(storm) // 2] < calm[len(calm) // 2] * 10 + 0.25
            assert most - files <= len(ports) * PLACES * 2 + 20
            assert during - before < 40
            assert later - during < 20
            await seen(emr, 360)
            assert attack.refused > 0
            for event in ("line.occupied", "line.junk", "line.broken"):
                said = [line for line in gateway.events(event) if line.get("instrument") or line.get("port")]
                assert len(said) <= 2 * len(ports), event
            assert not gateway.events("defect") and not gateway.events("line.defect")

            # Who was kept out by them is served when they are gone.
            await asyncio.to_thread(measure, ports[0], 1, 5000)
            await seen(emr, 363)
