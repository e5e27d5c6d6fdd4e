"""The floor and the honest minimum, each a server process: ``python -m bench.floors KIND PROTOCOL DATABASE``.

bare: acknowledges, reads nothing. minimum: one asyncio process that checks and decodes each message and stores raw
text and result rows by group commit (SQLite, WAL, synchronous=FULL) before the last acknowledgement, hand-written
for this one message. Prints its port on the first line.
"""

from __future__ import annotations

import asyncio
import importlib
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

Row = tuple[bytes, list[tuple[str, str, str]]]


class Committer:
    """One thread that stores what has queued up in one transaction, then calls back."""

    def __init__(self, path: str, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.jobs: queue.SimpleQueue[tuple[Row, Callable[[], None]]] = queue.SimpleQueue()
        # The wheel has no stubs; the same library as the gateway's store.
        sqlite: Any = importlib.import_module("pysqlite3.dbapi2")
        db: Any = sqlite.connect(path, isolation_level=None, check_same_thread=False)
        for statement in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=FULL",
            "CREATE TABLE IF NOT EXISTS raw (id INTEGER PRIMARY KEY, data BLOB)",
            "CREATE TABLE IF NOT EXISTS result (raw INTEGER, code TEXT, value TEXT, unit TEXT)",
        ):
            db.execute(statement).fetchall()
        self.db = db
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        """Group commit for ever."""
        while True:
            batch = [self.jobs.get()]
            while not self.jobs.empty() and len(batch) < 256:
                batch.append(self.jobs.get())
            self.db.execute("BEGIN IMMEDIATE")
            for (data, rows), _ in batch:
                key = self.db.execute("INSERT INTO raw (data) VALUES (?)", (data,)).lastrowid
                self.db.executemany("INSERT INTO result VALUES (?, ?, ?, ?)", [(key, *row) for row in rows])
            self.db.execute("COMMIT")
            self.loop.call_soon_threadsafe(self.tell, [done for _, done in batch])

    @staticmethod
    def tell(dones: list[Callable[[], None]]) -> None:
        """In the loop: acknowledge."""
        for done in dones:
            done()


class BareAstm(asyncio.Protocol):
    """ACK for whatever ends a frame or opens a session."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """ENQ or a frame: ACK."""
        if data[-1] in (0x05, 0x0A):
            self.transport.write(b"\x06")


class BareMllp(BareAstm):
    """A ready-made ACK for each block."""

    def data_received(self, data: bytes) -> None:
        """The end of a block: AA."""
        if data.endswith(b"\x1c\r"):
            self.transport.write(b"\x0bMSH|^~\\&|||||||ACK|1|P|2.3.1\rMSA|AA|1\r\x1c\r")


class MinimumAstm(BareAstm):
    """Checks, decodes, stores, acknowledges."""

    def __init__(self, committer: Committer) -> None:
        self.committer = committer
        self.buffer = bytearray()
        self.frames: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        """Frames as they come."""
        self.buffer += data
        while self.buffer:
            first = self.buffer[0]
            if first == 0x05:
                del self.buffer[0]
                self.frames = []
                self.transport.write(b"\x06")
            elif first != 0x02:
                del self.buffer[0]
            else:
                end = self.buffer.find(b"\n")
                if end < 0:
                    return
                raw = bytes(self.buffer[: end + 1])
                del self.buffer[: end + 1]
                if b"%02X" % (sum(raw[1:-4]) & 0xFF) != raw[-4:-2]:
                    self.transport.write(b"\x15")
                    continue
                self.frames.append(raw)
                if raw[2:4] == b"L|":
                    self.keep()
                else:
                    self.transport.write(b"\x06")

    def keep(self) -> None:
        """Decode the message and store it; ACK after the commit."""
        rows: list[tuple[str, str, str]] = []
        for raw in self.frames:
            if raw[2:4] == b"R|":
                fields = raw[2:-6].decode().split("|")
                rows.append((fields[2].split("^")[3], fields[3], fields[4]))
        self.committer.jobs.put(((b"".join(self.frames), rows), self.acknowledge))

    def acknowledge(self) -> None:
        """After the commit."""
        self.transport.write(b"\x06")


class MinimumMllp(BareAstm):
    """The same for HL7."""

    def __init__(self, committer: Committer) -> None:
        self.committer = committer
        self.buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        """Blocks as they come."""
        self.buffer += data
        end = self.buffer.find(b"\x1c\r")
        if end < 0:
            return
        raw = bytes(self.buffer[1:end])
        del self.buffer[: end + 2]
        rows: list[tuple[str, str, str]] = []
        for segment in raw.decode().split("\r"):
            if segment.startswith("OBX|"):
                fields = segment.split("|")
                rows.append((fields[3].split("^")[0], fields[5], fields[6]))
        self.committer.jobs.put(((raw, rows), self.acknowledge))

    def acknowledge(self) -> None:
        """After the commit."""
        self.transport.write(b"\x0bMSH|^~\\&|||||||ACK|1|P|2.3.1\rMSA|AA|1\r\x1c\r")


async def serve(kind: str, protocol: str, database: str) -> None:
    """One server on a free port."""
    loop = asyncio.get_running_loop()
    if kind == "bare":
        factory: Callable[[], asyncio.Protocol] = BareAstm if protocol == "astm" else BareMllp
    else:
        committer = Committer(database, loop)
        factory = lambda: MinimumAstm(committer) if protocol == "astm" else MinimumMllp(committer)  # noqa: E731  # a closure
    server = await loop.create_server(factory, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:4]))
