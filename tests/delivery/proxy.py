"""A proxy on the way to an EMR that does to the answers, or to the connection, what networks and boxes do.

Mostly the EMR has taken a message whose answer goes wrong, so that messages are doubled or booked for another; with
SWALLOWED and STALE it never saw the message, so that one is lost if anything but its own answer counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Self


class Harm(Enum):
    """What happens to one message or its answer."""

    LOST = auto()
    """The answer never comes."""
    LATE = auto()
    """It comes when the sender has given up; the connection stays."""
    RESET = auto()
    """The message gets through, then the connection is reset."""
    GARBAGE = auto()
    """Another box answers."""
    ENDLESS = auto()
    """300 MB, without an end."""
    BLACK_HOLE = auto()
    """From now on nothing gets through either way; the connection stays."""
    SLOW = auto()
    """The answer comes byte by byte."""
    BOTH = auto()
    """The answer comes twice."""
    SWALLOWED = auto()
    """The message never arrives, and nobody answers."""
    STALE = auto()
    """The message never arrives, and the answer to the one before comes (an empty block where there was none)."""


class Proxy:
    """``async with Proxy(port) as proxy:`` listens on ``proxy.port``. harm: asked for each message, None: none."""

    def __init__(self, to: int, harm: Callable[[bytes], Harm | None], *, late_s: float) -> None:
        self.port = 0
        self.met: dict[Harm, int] = {}
        self._to = to
        self._harm = harm
        self._late_s = late_s
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there, out = await asyncio.open_connection("127.0.0.1", self._to, limit=2**24)
        answer = b"\x0bMSA|AA|\x1c\r"
        try:
            while True:
                message = await reader.readuntil(b"\x1c\r")
                harm = self._harm(message)
                if harm is not None:
                    self.met[harm] = self.met.get(harm, 0) + 1
                if harm is Harm.SWALLOWED:
                    continue
                if harm is Harm.STALE:
                    writer.write(answer)
                    continue
                out.write(message)
                answer = await there.readuntil(b"\x1c\r")
                if not await self._answer(harm, answer, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._tasks.discard(task)
            for one in (writer, out):
                with suppress(Exception):
                    one.transport.abort()

    async def _answer(self, harm: Harm | None, answer: bytes, writer: asyncio.StreamWriter) -> bool:
        """False: the connection ends."""
        match harm:
            case None | Harm.SWALLOWED | Harm.STALE:
                writer.write(answer)
            case Harm.BOTH:
                writer.write(answer * 2)
            case Harm.LOST:
                pass
            case Harm.LATE:
                asyncio.get_running_loop().call_later(self._late_s, writer.write, answer)
            case Harm.RESET:
                return False
            case Harm.GARBAGE:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n\x0bMSA|AA|\x1c\r")
            case Harm.ENDLESS:
                writer.write(answer[:-2])
                for _ in range(300):
                    writer.write(b"x" * 1_000_000)
                    await writer.drain()
            case Harm.BLACK_HOLE:
                await asyncio.sleep(3600)
            case Harm.SLOW:
                for byte in answer:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(self._late_s / 1000)
        return True
