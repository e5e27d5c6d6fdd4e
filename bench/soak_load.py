"""The instruments of the soak: serial lines at the pace of 9600 baud and TCP lines; each asks, then sends its results.

Run as a process of its own: ``python -m bench.soak_load FILE``. FILE is JSON: devices (paths to make), ports, seconds,
every_s (a message on each TCP line), queries, per_line. It says "ready" when the devices are there, begins at a line on
stdin, and prints one JSON object.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
import tty
from pathlib import Path
from typing import Any

from bench.messages import frame, session, specimen_id

BYTE_S = 10 / 9600
GROUP = 8
"""Bytes are sent in groups of so many, each when its last bit would be through."""
PATIENCE_S = 20.0
STRIPE = 20_000


class Wire:
    """One line of one instrument: bytes out at a pace, bytes in by a queue."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[int] = asyncio.Queue()
        self.write: Any = None
        self.byte_s = 0.0

    async def send(self, data: bytes) -> None:
        """Send; when it returns the last byte is on its way."""
        if not self.byte_s:
            self.write(data)
            return
        began = time.perf_counter()
        for at in range(0, len(data), GROUP):
            piece = data[at : at + GROUP]
            due = began + (at + len(piece)) * self.byte_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self.write(piece)

    def take(self, data: bytes) -> None:
        """Bytes from the host."""
        for byte in data:
            self.heard.put_nowait(byte)

    async def byte(self) -> int:
        """The host's next byte; raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.heard.get()


class Tcp(asyncio.Protocol):
    """A Wire over TCP."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        assert isinstance(transport, asyncio.Transport)
        self.wire.write = transport.write

    def data_received(self, data: bytes) -> None:
        """From the host."""
        self.wire.take(data)


def pty_wire(path: Path) -> Wire:
    """A Wire on our end of a pseudo-terminal; the other end is at path."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    path.symlink_to(os.ttyname(theirs))
    wire = Wire()
    wire.byte_s = BYTE_S
    wire.write = lambda data: os.write(ours, data)

    def read() -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            wire.take(os.read(ours, 65536))

    asyncio.get_running_loop().add_reader(ours, read)
    return wire


class Instrument:
    """What one instrument does for the time of the soak, and how long each thing took, in seconds."""

    def __init__(self, wire: Wire, first: int) -> None:
        self.wire = wire
        self.first = first
        self.messages: list[float] = []
        self.turns: list[float] = []
        self.queries: list[float] = []
        self.acked: list[int] = []
        self.faults = 0
        self.told = 0

    async def work(self, until: float, every_s: float, pause_s: float, *, queries: bool, count: int) -> None:
        """Ask, send, rest, until the time is up."""
        await asyncio.sleep(pause_s)
        for number in range(self.first, self.first + count):
            if time.perf_counter() >= until:
                return
            began = time.perf_counter()
            try:
                if queries:
                    await self.ask(number)
                await self.tell(number)
            except TimeoutError:
                self.faults += 1
                await self.wire.send(b"\x04")
            await asyncio.sleep(max(0.2, every_s - (time.perf_counter() - began)))

    async def tell(self, number: int) -> None:
        """One message: ENQ, 40 frames, each acknowledged; EOT."""
        began = time.perf_counter()
        for piece in session(number):
            await self.wire.send(piece)
            sent = time.perf_counter()
            while await self.wire.byte() != 0x06:
                self.faults += 1
                await self.wire.send(piece)
            self.turns.append(time.perf_counter() - sent)
        self.messages.append(time.perf_counter() - began)
        self.acked.append(number)
        await self.wire.send(b"\x04")

    async def ask(self, number: int) -> None:
        """One query, and the host's session with its answer."""
        records = [b"H|\\^&|||BENCH-1^1.0^77", b"Q|1|" + specimen_id(number).encode() + b"||ALL", b"L|1|N"]
        for piece in (b"\x05", *(frame(n + 1, record) for n, record in enumerate(records))):
            await self.wire.send(piece)
            while await self.wire.byte() != 0x06:
                self.faults += 1
                await self.wire.send(piece)
        await self.wire.send(b"\x04")
        asked = time.perf_counter()
        while await self.wire.byte() != 0x05:
            pass
        self.queries.append(time.perf_counter() - asked)
        await self.wire.send(b"\x06")
        text = bytearray()
        while (byte := await self.wire.byte()) != 0x04:
            text.append(byte)
            if byte == 0x0A:
                await self.wire.send(b"\x06")
        self.told += specimen_id(number).encode() in text and b"T00" in text


async def main(plan: dict[str, Any]) -> None:
    """One soak."""
    loop = asyncio.get_running_loop()
    wires = [pty_wire(Path(device)) for device in plan["devices"]]
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    for port in plan["ports"]:
        wire = Wire()
        await loop.create_connection(lambda w=wire: Tcp(w), "127.0.0.1", port)
        wires.append(wire)
    instruments = [Instrument(wire, plan["first"] + n * STRIPE) for n, wire in enumerate(wires)]
    serial = len(plan["devices"])
    until = time.perf_counter() + plan["seconds"]
    await asyncio.gather(
        *(
            one.work(
                until, 0.0 if n < serial else plan["every_s"], plan["every_s"] * n / len(wires),
                queries=plan["queries"], count=plan["per_line"],
            )
            for n, one in enumerate(instruments)
        )
    )  # fmt: skip
    parts = {"serial": instruments[:serial], "tcp": instruments[serial:]}
    print(
        json.dumps(
            {
                name: {
                    "messages": sorted(t for one in part for t in one.messages),
                    "turns": sorted(t for one in part for t in one.turns),
                    "queries": sorted(t for one in part for t in one.queries),
                    "told": sum(one.told for one in part),
                    "faults": sum(one.faults for one in part),
                    "acked": [number for one in part for number in one.acked],
                }
                for name, part in parts.items()
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
