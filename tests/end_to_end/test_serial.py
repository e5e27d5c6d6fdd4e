"""Serial lines of a running service: real line speed, the cable pulled and plugged, a port that is not there."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import time
from pathlib import Path

import pytest

from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import Astm, RefusedError, frames_of, wait_until
from tests.end_to_end.gateway import Gateway
from tests.end_to_end.test_first_light import Site, seen, send_astm, xn
from tests.transports.test_serial import Cable

pytestmark = pytest.mark.skipif(shutil.which("socat") is None, reason="needs socat")
SEND = 'without_order = "send"'


class Tty:
    """The instrument's end of a cable, as a socket has it; bytes leave one by one at the pace of the line."""

    def __init__(self, path: Path, baud: int) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        self.pace_s = 10 / baud

    def sendall(self, data: bytes) -> None:
        due = time.monotonic()
        for byte in data:
            os.write(self.fd, bytes([byte]))
            due += self.pace_s
            time.sleep(max(0.0, due - time.monotonic()))

    def recv(self, size: int) -> bytes:
        if not select.select([self.fd], [], [], 10)[0]:
            raise TimeoutError
        return os.read(self.fd, size)

    def close(self) -> None:
        os.close(self.fd)


class SerialAstm(Astm):
    """An analyzer at the other end of the cable."""

    def __init__(self, path: Path, baud: int = 9600) -> None:
        self.socket = Tty(path, baud)  # pyright: ignore[reportAttributeAccessIssue]


def instrument(name: str, device: Path | str, more: str = "") -> str:
    return (
        f'[instrument.{name}]\ndriver = "sysmex_xn"\nmapping = "xn1.toml"\n'
        f'line = {{ kind = "serial", device = "{device}"{more} }}\n'
    )


async def is_open(gateway: Gateway, name: str) -> None:
    await asyncio.to_thread(
        wait_until, lambda: gateway.status()["lines"][name]["trouble"] == "", what=f"the port of {name}"
    )


def measure(path: Path, specimen: str, *, baud: int = 9600) -> float:
    """One message; how long it took. A message that was refused or not heard is sent again, as an analyzer does."""
    analyzer = SerialAstm(path, baud)
    began = time.monotonic()
    try:
        for _ in range(3):
            try:
                analyzer.session(frames_of(xn(specimen)))
                return time.monotonic() - began
            except (RefusedError, TimeoutError):
                analyzer.socket.sendall(b"\x04")
        raise AssertionError("never acknowledged")
    finally:
        analyzer.close()


async def test_a_message_at_9600_baud(tmp_path: Path) -> None:
    """Byte by byte at line speed: it arrives once and whole, and the gateway adds next to nothing to its time."""
    cable = Cable(tmp_path)
    cable.plug()
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND, extra=instrument("ser", cable.host))
        with site.gateway as gateway:
            await is_open(gateway, "ser")
            took = await asyncio.to_thread(measure, cable.instrument, "SER001")
            await seen(emr, 3)
            line = sum(len(one) for one in frames_of(xn("SER001"))) * 10 / 9600
            assert took < line * 1.5 + 1
            status = await asyncio.to_thread(gateway.status)
            assert status["lines"]["ser"]["messages"] == 1
            assert {one.specimen for one in emr.charts.values()} == {"SER001"}
    cable.unplug()


async def test_unplugged_and_plugged_again(tmp_path: Path) -> None:
    """The unplug is in the status within 2 s, other lines go on, and the same path is served again by itself."""
    cable = Cable(tmp_path)
    cable.plug()
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND, extra=instrument("ser", cable.host, ", baud = 19200"))
        with site.gateway as gateway:
            await is_open(gateway, "ser")
            await asyncio.to_thread(cable.unplug)
            began = time.monotonic()
            # Seen within 2 s, and status itself takes its time to start.
            await asyncio.to_thread(
                wait_until, lambda: gateway.events("line.disconnected"), patience_s=2, what="the unplug"
            )
            assert time.monotonic() - began < 2
            trouble = (await asyncio.to_thread(gateway.status))["lines"]["ser"]["trouble"]
            assert "unplugged" in trouble or "is it plugged in?" in trouble
            await asyncio.to_thread(send_astm, site.xn, xn("SER101"))
            await asyncio.to_thread(cable.plug)
            await is_open(gateway, "ser")
            await asyncio.to_thread(measure, cable.instrument, "SER102", baud=19200)
            await seen(emr, 6)
            assert {one.specimen for one in emr.charts.values()} == {"SER101", "SER102"}
    cable.unplug()


async def test_a_port_that_is_not_there_costs_its_own_line(tmp_path: Path) -> None:
    """The service starts, the others serve, status says what to do; when it comes, and when a reload moves it, it is served."""
    cable, other = Cable(tmp_path), Cable(tmp_path / "other")
    (tmp_path / "other").mkdir()
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND, extra=instrument("ser", cable.host))
        with site.gateway as gateway:
            trouble = (await asyncio.to_thread(gateway.status))["lines"]["ser"]["trouble"]
            assert "is it plugged in?" in trouble
            await asyncio.to_thread(send_astm, site.xn, xn("SER201"))
            await seen(emr, 3)
            await asyncio.to_thread(cable.plug)
            await is_open(gateway, "ser")
            await asyncio.to_thread(measure, cable.instrument, "SER202")
            await seen(emr, 6)

            await asyncio.to_thread(other.plug)
            gateway.config.write_text(site.text.replace(str(cable.host), str(other.host)), encoding="utf-8")
            gateway.reload()
            await asyncio.to_thread(wait_until, lambda: gateway.events("reloaded"), what="the reload")
            await is_open(gateway, "ser")
            await asyncio.to_thread(measure, other.instrument, "SER203")
            await seen(emr, 9)
            assert not gateway.events("defect") and not gateway.events("line.defect")
    cable.unplug()
    other.unplug()
