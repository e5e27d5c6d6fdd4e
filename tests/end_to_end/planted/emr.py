"""An EMR that takes everything and writes each value down at once: ``python -m tests.end_to_end.planted.emr FILE``.

Prints its port. A line of FILE: patient, placer number, specimen, test, value, letter, observation id; tabs between. Keeps
nothing in memory, so that a million values are no more to it than one.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TextIO


class Door(asyncio.Protocol):
    """One connection of the gateway."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\x1c\r")) >= 0:
            message, self.buffer = self.buffer[1:end].decode(), self.buffer[end + 2 :]
            control_id = message.split("|", 10)[9]
            self.file.writelines(values(message))
            self.file.flush()
            answer = f"MSH|^~\\&|EMR||||20261122||ACK^R01^ACK|E{control_id}|P|2.5.1\rMSA|AA|{control_id}\r"
            self.transport.write(b"\x0b" + answer.encode() + b"\x1c\r")


def values(message: str) -> list[str]:
    """What one ORU^R01 says."""
    patient = placer = ""
    out: list[str] = []
    waiting: list[list[str]] = []  # the group's SPM follows its OBX
    for segment in message.split("\r"):
        fields = segment.split("|")
        match fields[0]:
            case "PID":
                patient = fields[3].split("^")[0]
            case "OBR":
                placer = fields[2].split("^")[0]
            case "OBX":
                waiting.append([fields[3].split("^")[0], fields[5], fields[11], fields[21].split("^")[0]])
            case "SPM":
                specimen = fields[2].split("^")[0]
                out += ["\t".join((patient, placer, specimen, *one)) + "\n" for one in waiting]
                waiting = []
    assert not waiting, "results without a specimen"
    return out


async def main() -> None:
    """Serve until killed."""
    with Path(sys.argv[1]).open("w", encoding="utf-8") as file:
        server = await asyncio.get_running_loop().create_server(lambda: Door(file), "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
