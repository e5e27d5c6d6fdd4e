"""An EMR that says AA as fast as it can and remembers what it was told: ``python -m bench.emr FILE [PORT]``.

Prints its port. FILE gets one line a value taken, when it is told to stop (SIGTERM): specimen, code, value,
observation id and the moment it was accepted.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path


class Door(asyncio.Protocol):
    """One connection of the gateway."""

    def __init__(self, taken: list[tuple[float, bytes]]) -> None:
        self.taken = taken
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Blocks; each answered at once."""
        self.buffer += data
        while (end := self.buffer.find(b"\x1c\r")) >= 0:
            message = self.buffer[1:end]
            self.buffer = self.buffer[end + 2 :]
            control_id = message.split(b"|", 10)[9]
            self.transport.write(
                b"\x0bMSH|^~\\&|EMR||||20261122||ACK^R01^ACK|E%b|P|2.5.1\rMSA|AA|%b\r\x1c\r" % (control_id, control_id)
            )
            self.taken.append((time.time(), message))


def lines(taken: list[tuple[float, bytes]]) -> list[str]:
    """What it was told, a line a value."""
    out: list[str] = []
    for at, message in taken:
        rows: list[list[str]] = []
        specimen = ""
        for segment in message.decode().split("\r"):
            fields = segment.split("|")
            if fields[0] == "OBX":
                rows.append(fields)
            elif fields[0] == "SPM":
                specimen = fields[2].split("^")[0]
        out += [f"{specimen}\t{f[3].split('^')[0]}\t{f[5]}\t{f[21]}\t{at:.6f}" for f in rows]
    return out


async def main() -> None:
    """Serve until told to stop."""
    loop = asyncio.get_running_loop()
    taken: list[tuple[float, bytes]] = []
    server = await loop.create_server(lambda: Door(taken), "127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: print(len(taken), flush=True))
    print(server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    await asyncio.to_thread(Path(sys.argv[1]).write_text, "\n".join(lines(taken)) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
