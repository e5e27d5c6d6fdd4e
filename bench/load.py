"""The analyzers: N connections that send session after session, stop and wait, and time each frame's answer.

Run as a process of its own: ``python -m bench.load PROTOCOL PORT,PORT,... CONNECTIONS SECONDS FIRST [COUNT RATE [SPREAD]]``;
prints one JSON object. FIRST is the first specimen number; each connection takes its own stripe. COUNT: so many
messages a connection. RATE: messages a second and connection, 0 as fast as the answers come. SPREAD: seconds over which
the connections begin, so that they do not send in step.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from bench.messages import half_of, oru, session, specimen_id


class Analyzer(asyncio.Protocol):
    """One analyzer on one connection. Frames wait for ACK; NAK or anything else counts as a fault."""

    def __init__(self, protocol: str, numbers: range, until: float, done: asyncio.Future[None], rate: float) -> None:
        self.numbers = iter(numbers)
        self.astm = protocol.startswith("astm")
        self.halves = protocol == "astm-halves"
        self.until = until
        self.done = done
        self.messages = 0
        self.faults = 0
        self.waits: list[float] = []
        self.acked: list[int] = []
        self.ended: dict[str, float] = {}
        self.gap = 1 / rate if rate else 0.0
        self.next_at = time.perf_counter()
        self.queue: list[bytes] = []
        self.at = 0
        self.number = 0
        self.sent = self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin at once."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.next_message()

    def next_message(self) -> None:
        """The next session, or the end when time is up."""
        if time.perf_counter() >= self.until:
            self.transport.close()
            return
        number = next(self.numbers, None)
        if number is None:
            self.transport.close()
            return
        self.number = number
        if self.halves:
            self.queue = session(number // 2, half_of(number))
        else:
            self.queue = session(self.number) if self.astm else [oru(self.number)]
        self.at = 0
        self.send()

    def send(self) -> None:
        """One frame, and its clock."""
        self.sent = time.perf_counter()
        self.sent_at = time.time()
        self.transport.write(self.queue[self.at])

    def data_received(self, data: bytes) -> None:
        """An answer: the next frame, or the next message."""
        self.waits.append(time.perf_counter() - self.sent)
        good = data[-1:] == b"\x06" if self.astm else data.endswith(b"\x1c\r") and b"MSA|AA" in data
        if not good:
            self.faults += 1
            self.send()
            return
        self.at += 1
        if self.at < len(self.queue):
            self.send()
            return
        self.messages += 1
        self.acked.append(self.number)
        if self.astm:
            self.transport.write(b"\x04")
        name = f"{specimen_id(self.number // 2)}/{self.number % 2}" if self.halves else specimen_id(self.number)
        self.ended[name] = time.time() if self.astm else self.sent_at
        if self.gap:
            self.next_at += self.gap
            asyncio.get_running_loop().call_later(max(0.0, self.next_at - time.perf_counter()), self.next_message)
        else:
            self.next_message()

    def connection_lost(self, exc: Exception | None) -> None:
        """The slice is over, or the server has gone."""
        if not self.done.done():
            self.done.set_result(None)


async def run(
    protocol: str,
    ports: list[int],
    connections: int,
    seconds: float,
    first: int,
    count: int = 20_000,
    rate: float = 0.0,
    spread: float = 0.0,
) -> dict[str, object]:
    """Load the ports for that long; connection n dials ports[n % len(ports)]."""
    loop = asyncio.get_running_loop()
    until = time.perf_counter() + seconds
    analyzers: list[Analyzer] = []
    ends: list[asyncio.Future[None]] = []
    for n in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        analyzer = Analyzer(protocol, range(first + n * 20_000, first + n * 20_000 + count), until, done, rate)
        await loop.create_connection(lambda a=analyzer: a, "127.0.0.1", ports[n % len(ports)])
        analyzers.append(analyzer)
        ends.append(done)
        await asyncio.sleep(spread / connections)
    started = time.perf_counter()
    await asyncio.wait(ends, timeout=seconds + 30)
    took = time.perf_counter() - started
    waits = sorted(w for a in analyzers for w in a.waits)
    messages = sum(a.messages for a in analyzers)
    return {
        "messages": messages,
        "per_second": messages / took,
        "faults": sum(a.faults for a in analyzers),
        "p50_ms": 1000 * waits[len(waits) // 2] if waits else None,
        "p99_ms": 1000 * waits[len(waits) * 99 // 100] if waits else None,
        "acked": [number for a in analyzers for number in a.acked],
        "ended": {specimen: at for a in analyzers for specimen, at in a.ended.items()},
    }


def main() -> None:
    """One slice."""
    protocol, ports, connections, seconds, first, *more = sys.argv[1:]
    count, rate = (int(more[0]), float(more[1])) if more else (20_000, 0.0)
    spread = float(more[2]) if more[2:] else 0.0
    dialled = [int(port) for port in ports.split(",")]
    found = asyncio.run(run(protocol, dialled, int(connections), float(seconds), int(first), count, rate, spread))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
