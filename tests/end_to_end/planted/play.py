"""Sends the day: orders by MLLP, results over ASTM and HL7 lines, a step of a chunk when the one before is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime

from tests.end_to_end.analyzer import ACK, ENQ, EOT, frames_of
from tests.end_to_end.planted.tubes import BLOCK, Said, days

ASTM_LINES, HL7_LINES = 6, 2
LINES = ASTM_LINES + HL7_LINES
CHUNK = 20 * BLOCK
_AT_ONCE = 32
_AT = "20261122081500"


def line_of(n: int) -> int:
    """Which analyzer measures tube n; moved on each block, so that everything planted meets each kind of line."""
    return (n + n // BLOCK) % LINES


def astm(one: Said) -> list[bytes]:
    """Frames, a record each."""
    records = [
        "H|\\^&|||PLANTED-1^1.0^77|||||||P|LIS2-A2|" + _AT,
        f"P|1||{one.patient}||{one.name}||{one.born}|{one.sex}",
        f"O|1|{one.specimen}||^^^ALL|R||||||N||||||||||||||F",
        *(f"R|{at}|^^^{r.code}|{r.value}|{r.unit}||N||{r.status}||||{_AT}" for at, r in enumerate(one.rows, 1)),
        "L|1|N",
    ]
    return frames_of(records)


def oru(one: Said, number: str) -> bytes:
    """One ORU^R01 in its block."""
    segments = [
        f"MSH|^~\\&|PLANTED|LAB|||{_AT}||ORU^R01|{number}|P|2.3.1||||||UNICODE UTF-8",
        f"PID|1||{one.patient}||{one.name}||{one.born}|{one.sex}",
        f"OBR|1||{one.specimen}|ALL|||{_AT}",
        *(f"OBX|{at}|NM|{r.code}||{r.value}|{r.unit}||N|||{r.status}" for at, r in enumerate(one.rows, 1)),
    ]
    return b"\x0b" + ("\r".join(segments) + "\r").encode() + b"\x1c\r"


class Player:
    """The EMR's order line and all analyzers. patience_s: for each answer."""

    def __init__(self, orders: int, lines: list[int], *, patience_s: float = 60.0) -> None:
        self.ports = [orders, *lines]
        self.patience_s = patience_s
        self.streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.results = 0
        self.messages = 0

    async def play(self, numbers: range, now: datetime) -> None:
        """Everything that happens to these tubes, a chunk after the other."""
        self.streams = [await asyncio.open_connection("127.0.0.1", port) for port in self.ports]
        try:
            for start in range(numbers.start, numbers.stop, CHUNK):
                await self._chunk(range(start, min(start + CHUNK, numbers.stop)), now)
        finally:
            for _, writer in self.streams:
                writer.close()

    async def _chunk(self, numbers: range, now: datetime) -> None:
        orders: dict[int, list[str]] = {0: [], 2: []}
        said: dict[tuple[int, int], list[Said]] = {}
        for tube in days(numbers, now):
            for step, message in tube.orders:
                orders[step].append(message)
            for one in tube.said:
                said.setdefault((one.step, (line_of(tube.number) + one.line) % LINES), []).append(one)
        for step in (0, 1, 2, 3):
            if step in orders:
                await self._orders(orders[step])
                continue
            todo = ((line, said.get((step, line), [])) for line in range(LINES))
            await asyncio.gather(
                *(self._astm(at, what) if at < ASTM_LINES else self._hl7(at, what) for at, what in todo)
            )

    async def _orders(self, messages: list[str]) -> None:
        reader, writer = self.streams[0]
        for at in range(0, len(messages), _AT_ONCE):
            batch = messages[at : at + _AT_ONCE]
            writer.write(b"".join(b"\x0b" + one.encode() + b"\x1c\r" for one in batch))
            for _ in batch:
                answer = await asyncio.wait_for(reader.readuntil(b"\x1c\r"), self.patience_s)
                assert b"MSA|AA" in answer, answer

    async def _astm(self, line: int, what: Iterable[Said]) -> None:
        reader, writer = self.streams[1 + line]
        for one in what:
            for data in (ENQ, *astm(one)):
                writer.write(data)
                answer = await asyncio.wait_for(reader.readexactly(1), self.patience_s)
                assert answer == ACK, answer
            writer.write(EOT)
            self._count(one)

    async def _hl7(self, line: int, what: Iterable[Said]) -> None:
        reader, writer = self.streams[1 + line]
        for one in what:
            writer.write(oru(one, f"L{line}N{self.messages}"))
            answer = await asyncio.wait_for(reader.readuntil(b"\x1c\r"), self.patience_s)
            assert b"MSA|AA" in answer, answer
            self._count(one)

    def _count(self, one: Said) -> None:
        self.messages += 1
        self.results += len(one.rows)
