"""Serial lines over pairs of ptys (socat): unplug, replug, exclusiveness, trickle; converters by RFC 2217 and raw."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import socket
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labgateway.line import Line
from labgateway.protocols.astm_frames import ACK
from labgateway.simulator import Script, play
from labgateway.transports.serial import SerialPort
from tests.line_kit import message, session
from tests.test_simulator import AtOnce
from tests.transports.test_tcp import Echo, House, until

pytestmark = pytest.mark.skipif(shutil.which("socat") is None, reason="needs socat")


class Cable:
    """Two ptys joined by socat: ``host`` and ``instrument`` are their stable paths. Unplugging ends socat."""

    def __init__(self, folder: Path) -> None:
        self.host = folder / "ttyLAB"
        self.instrument = folder / "ttyINST"
        self._socat: subprocess.Popen[bytes] | None = None

    def plug(self) -> None:
        ends = [f"pty,raw,echo=0,link={path}" for path in (self.host, self.instrument)]
        self._socat = subprocess.Popen(["socat", *ends])
        deadline = time.monotonic() + 5
        while not (self.host.exists() and self.instrument.exists()):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def unplug(self) -> None:
        if self._socat is not None:
            self._socat.terminate()
            self._socat.wait()
            self._socat = None

    def open(self) -> int:
        return os.open(self.instrument, os.O_RDWR | os.O_NOCTTY)


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    made = Cable(tmp_path)
    made.plug()
    yield made
    made.unplug()


async def opened(port: SerialPort, house: House, sessions: int = 1) -> Echo:
    await until(lambda: len(house.sessions) == sessions)
    return house.sessions[-1]


def read_now(fd: int, size: int) -> bytes:
    """So many bytes, each within 5 s: a thread that waits for ever would outlive its test."""
    found = b""
    while len(found) < size:
        assert select.select([fd], [], [], 5)[0], f"{len(found)} of {size} bytes came"
        found += os.read(fd, 1)
    return found


async def read(fd: int, size: int) -> bytes:
    return await asyncio.to_thread(read_now, fd, size)


async def test_bytes_go_both_ways(cable: Cable) -> None:
    """What the instrument sends arrives, answers come back, also in blocks larger than the port's own buffer."""
    house = House()
    port = SerialPort(str(cable.host), house.open, baud=115200)
    await port.start()
    session = await opened(port, house)
    assert port.trouble == ""
    assert session.channel.peer == str(cable.host)
    fd = cable.open()
    os.write(fd, b"\x05")
    assert await read(fd, 1) == b"\x05"
    session.channel.send(b"x" * 100_000)
    assert await read(fd, 100_000) == b"x" * 100_000
    await port.stop()
    assert session.gone == ["closed by us"]
    os.close(fd)


async def test_unplug_is_seen_and_replug_is_served(cable: Cable) -> None:
    """An unplug ends the session within 2 s; the same path is opened again, without a restart, within 2 s more."""
    house = House()
    port = SerialPort(str(cable.host), house.open, say=house.say)
    await port.start()
    first = await opened(port, house)
    for round_ in range(2, 4):
        began = time.monotonic()
        await asyncio.to_thread(cable.unplug)
        await until(lambda: house.sessions[-1].gone, 2.0)
        assert time.monotonic() - began < 2.0
        await until(lambda: "no such device" in port.trouble, 3.0)
        await asyncio.to_thread(cable.plug)
        await until(lambda round_=round_: len(house.sessions) == round_, 3.0)
        fd = cable.open()
        os.write(fd, b"again")
        assert await read(fd, 5) == b"again"
        os.close(fd)
    assert first.gone == ["unplugged"]
    await port.stop()
    assert all(len(session.gone) == 1 for session in house.sessions)


async def test_a_missing_device_is_waited_for(tmp_path: Path) -> None:
    """A port that is not there is said once, with what to do, and opened when it comes."""
    cable, house = Cable(tmp_path), House()
    port = SerialPort(str(cable.host), house.open, say=house.say)
    await port.start()
    await until(lambda: "is it plugged in" in port.trouble)
    await asyncio.sleep(0.6)
    assert house.events() == ["line.cannot_open"]
    await asyncio.to_thread(cable.plug)
    await opened(port, house)
    await port.stop()
    cable.unplug()


async def test_a_second_gateway_is_refused(cable: Cable) -> None:
    """The port is opened exclusively: another SerialPort on it says that it is in use, and gets it later."""
    house = House()
    first, second = (SerialPort(str(cable.host), house.open) for _ in range(2))
    await first.start()
    await opened(first, house)
    await second.start()
    await until(lambda: "in use by another program" in second.trouble)
    assert len(house.sessions) == 1
    await first.stop()
    await opened(second, house, 2)
    await second.stop()


async def test_the_settings_reach_the_port(cable: Cable) -> None:
    """Baud, bits, parity, stop bits and flow control stand in the port's termios."""
    house = House()
    port = SerialPort(str(cable.host), house.open, baud=19200, bits=8, parity="none", stop=2, flow="xon/xoff")
    await port.start()
    await opened(port, house)
    fd = os.open(cable.host.resolve(), os.O_RDWR | os.O_NOCTTY) if os.geteuid() == 0 else -1
    if fd >= 0:
        iflag, _, cflag, _, ispeed, _, _ = termios.tcgetattr(fd)
        assert ispeed == termios.B19200
        assert cflag & termios.CSTOPB
        assert iflag & termios.IXON
        os.close(fd)
    await port.stop()


async def test_pause_holds_the_bytes_back(cable: Cable) -> None:
    """A paused port delivers nothing; after resume everything comes."""
    house = House()
    port = SerialPort(str(cable.host), house.open)
    await port.start()
    session = await opened(port, house)
    session.channel.pause()
    fd = cable.open()
    os.write(fd, b"held")
    await asyncio.sleep(0.05)
    assert session.data == b""
    session.channel.resume()
    await until(lambda: session.data == b"held")
    os.close(fd)
    await port.stop()


async def test_a_message_at_real_line_speed(cable: Cable) -> None:
    """A whole ASTM session, byte by byte at the pace of 9600 baud: kept once; every answer came in time."""
    journal = AtOnce()
    gateway = Line("xn1", "astm", journal.keep, connect=lambda opened: SerialPort(str(cable.host), opened))
    await gateway.start()
    await until(lambda: gateway.trouble == "")  # what comes before the port is open is not for us
    fd = cable.open()
    frames = [b"\x05", *session(message(1, results=1))]

    def sender() -> int:
        answered = 0
        for data in frames:
            for byte in data:
                os.write(fd, bytes([byte]))
                time.sleep(10 / 9600)
            answered += read_now(fd, 1) == ACK
        os.write(fd, b"\x04")
        return answered

    assert await asyncio.wait_for(asyncio.to_thread(sender), 60) == len(frames)
    await gateway.stop()
    assert journal.complete() == [b"".join(frames[1:])]
    os.close(fd)


async def test_the_simulator_plays_on_a_serial_line(cable: Cable) -> None:
    """Player on one pty, Line on the other: every message arrives, also when the cable is pulled in between."""
    journal = AtOnce()
    # The host opens a little earlier after the replug, else it misses the first ENQ and all wait 15 s.
    gateway = Line(
        "xn1", "astm", journal.keep, connect=lambda opened: SerialPort(str(cable.host), opened, random=lambda: 0.99)
    )
    await gateway.start()
    await until(lambda: gateway.trouble == "")
    script = Script(tuple(message(n) for n in range(40)), "astm")
    instrument = str(cable.instrument)
    task = asyncio.create_task(play(script, lambda o: SerialPort(instrument, o, random=lambda: 0.0), timeout_s=60))
    await until(lambda: len(journal.complete()) >= 2)
    await asyncio.to_thread(cable.unplug)
    await asyncio.sleep(0.1)
    await asyncio.to_thread(cable.plug)
    summary = await task
    await gateway.stop()
    assert summary.failed == 0
    assert summary.connections == 2
    stored = b"".join(journal.complete())
    assert all(b"S%04d|" % n in stored for n in range(40))


@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
async def test_converters(scheme: str) -> None:
    """A serial-to-Ethernet converter, raw or RFC 2217: bytes go both ways, its loss is seen, stop ends the threads."""
    server = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=converter, args=(connection,), daemon=True).start()

    def converter(connection: socket.socket) -> None:
        if scheme == "socket":
            while data := connection.recv(4096):
                connection.sendall(data)
            return
        import serial
        import serial.rfc2217

        class Telnet:
            def write(self, data: bytes) -> None:
                connection.sendall(data)

        port: Any = serial.serial_for_url("loop://", timeout=0.05)
        telnet: Any = Telnet()
        manager = serial.rfc2217.PortManager(port, telnet)
        connection.settimeout(0.02)
        while True:
            try:
                got = connection.recv(4096)
                if not got:
                    return
                port.write(b"".join(manager.filter(got)))
            except TimeoutError:
                pass
            except OSError:
                return
            if waiting := port.in_waiting:
                connection.sendall(b"".join(manager.escape(port.read(waiting))))

    threading.Thread(target=serve, daemon=True).start()
    house = House(Quiet)
    port = SerialPort(f"{scheme}://127.0.0.1:{server.getsockname()[1]}", house.open)
    await port.start()
    await until(lambda: house.sessions, 15)
    house.sessions[0].channel.send(b"hello")
    await until(lambda: house.sessions[0].data == b"hello")
    connections[0].shutdown(socket.SHUT_RDWR)
    await until(lambda: house.sessions[0].gone, 2)
    await until(lambda: len(house.sessions) == 2, 15)
    house.sessions[1].channel.send(b"again")
    await until(lambda: house.sessions[1].data == b"again")
    await port.stop()
    server.close()
    assert all(len(session.gone) == 1 for session in house.sessions)


async def test_a_converter_that_is_not_there_is_said_in_plain_words() -> None:
    """Nothing listens at the converter's address: the status says so, and stop does not wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        address = reserved.getsockname()[1]
    port = SerialPort(f"rfc2217://127.0.0.1:{address}", House().open)
    await port.start()
    await until(lambda: "nothing listens there" in port.trouble)
    await port.stop()


class Quiet(Echo):
    def received(self, data: bytes) -> None:
        self.data += data
