"""Three hundred connections that mean no good: the other lines go on, memory stays flat, files stay under the cap."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.gateways import cpu_s, rss_mb
from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import ACK, ENQ, EOT, Astm, frames_of, wait_until
from tests.end_to_end.gateway import Gateway, free_port
from tests.end_to_end.test_first_light import Site, seen, xn

PLACES = 64
CALLERS = 300
MESSAGES = 90
"""Of one slice: some 700 frames, so that the 99th of a hundred is not a single one."""
PAUSE_S = 0.002
"""Of an analyzer between an answer and its next frame."""
SLICES = 4


def usage(gateway: Gateway) -> tuple[float, int]:
    """Resident MB and open files of the service."""
    pid = pid_of(gateway)
    return rss_mb(pid), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def pid_of(gateway: Gateway) -> int:
    assert gateway.process
    return gateway.process.pid


@contextmanager
def storm(ports: list[int]) -> Iterator[dict[str, int]]:
    """The callers, in a process of their own: a third sends half frames, a third a byte a second, a third garbage, and
    whoever is closed calls again. What they did is filled in at the end."""
    done: dict[str, int] = {}
    callers = subprocess.Popen(
        [sys.executable, "-m", "bench.hostile_load", ",".join(map(str, ports)), str(CALLERS)],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert callers.stdout
    try:
        assert callers.stdout.readline() == "ready\n"
        yield done
        callers.send_signal(signal.SIGTERM)
        done |= json.loads(callers.stdout.readline())
    finally:
        callers.kill()
        callers.wait()


def measure(port: int, start: int, count: int = MESSAGES) -> list[float]:
    """Seconds until each enquiry and frame of an honest analyzer was acknowledged, sorted."""
    analyzer = Astm(port, patience_s=20)
    took: list[float] = []
    for number in range(start, start + count):
        for piece in (ENQ, *frames_of(xn(f"HO{number:05d}"))):
            began = time.perf_counter()
            analyzer.socket.sendall(piece)
            assert analyzer.answer() == ACK
            took.append(time.perf_counter() - began)
            time.sleep(PAUSE_S)
        analyzer.socket.sendall(EOT)
    analyzer.close()
    return sorted(took)


def lines_for(ports: list[int]) -> str:
    """Config of the lines that the hostile callers call."""
    return "".join(
        f'[instrument.bad{n}]\ndriver = "sysmex_xn"\nmapping = "xn1.toml"\n'
        f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {port}, connections = {PLACES} }}\n'
        for n, port in enumerate(ports)
    )


async def test_three_hundred_hostile_connections(tmp_path: Path) -> None:
    """They fill the places of their own lines and no more; an honest line does not notice them, and the log stays readable."""
    ports = [free_port(), free_port()]
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching='without_order = "send"', extra=lines_for(ports))
        with site.gateway as gateway:
            honest = 0
            calm: list[list[float]] = []
            wild: list[list[float]] = []
            before, files = usage(gateway)
            during: list[float] = []
            calls = closed = 0
            for _ in range(SLICES):
                calm.append(await asyncio.to_thread(measure, site.xn, honest))
                honest += MESSAGES
                await seen(emr, honest * 3)
                with storm(ports) as done:
                    await asyncio.sleep(1.5)
                    wild.append(await asyncio.to_thread(measure, site.xn, honest))
                    honest += MESSAGES
                    resident, most = usage(gateway)
                    during.append(resident)
                    assert most - files <= len(ports) * PLACES * 2 + 20
                    await seen(emr, honest * 3)
                calls, closed = calls + done["calls"], closed + done["closed"]
            # A neighbour on this machine doubles one slice or the other now and then; the storm would double each.
            at = len(calm[0]) * 99 // 100
            ratios = [loud[at] / quiet[at] for quiet, loud in zip(calm, wild, strict=True)]
            assert min(ratios) <= 2
            assert during[0] - before < 40
            assert during[-1] - during[0] < 20
            assert closed > CALLERS
            for event in ("line.occupied", "line.junk", "line.broken"):
                said = [line for line in gateway.events(event) if line.get("instrument") or line.get("port")]
                assert len(said) <= 2 * SLICES * len(ports), event
            assert not gateway.events("defect") and not gateway.events("line.defect")

            # Who was kept out by them is served when they are gone; an instrument that is hung up on calls again.
            def served() -> bool:
                try:
                    return bool(measure(ports[0], 50_000, 1))
                except OSError:
                    return False

            await asyncio.to_thread(wait_until, served, what="a place that has become free")
            await seen(emr, honest * 3 + 3)


async def test_what_a_hostile_connection_costs(tmp_path: Path) -> None:
    """A second of the storm costs the gateway less than fifty messages of an analyzer, though some hundred calls come in it."""
    ports = [free_port(), free_port()]
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching='without_order = "send"', extra=lines_for(ports))
        with site.gateway as gateway:
            await asyncio.to_thread(measure, site.xn, 0, 20)
            await seen(emr, 60)
            began = cpu_s(pid_of(gateway))
            await asyncio.to_thread(measure, site.xn, 100)
            await seen(emr, 60 + MESSAGES * 3)
            a_message = (cpu_s(pid_of(gateway)) - began) / MESSAGES
            with storm(ports) as done:
                began, at = cpu_s(pid_of(gateway)), time.monotonic()
                await asyncio.sleep(4)
                a_second = (cpu_s(pid_of(gateway)) - began) / (time.monotonic() - at)
            assert done["calls"] > CALLERS * 2
            assert a_second < 50 * a_message
