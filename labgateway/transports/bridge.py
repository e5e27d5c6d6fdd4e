"""Two lines joined through us: what one end says goes to the other unchanged, and is heard on the way.

    instrument --tcp, serial--> [Bridge] --tcp, serial--> gateway        each connection of the first end gets one of the second

Without a second end the first one is only listened to: nothing is ever sent to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from labgateway.transports.channel import Channel, OpenSession, Session, Transport
from labgateway.transports.tapped import Hear, Heard

Connect = Callable[[OpenSession], Transport]


class Bridge:
    """Joins two ends. first: where the instrument is; what it says is heard as "from". swapped: the other one is it."""

    def __init__(self, first: Connect, second: Connect | None, hear: Hear, *, swapped: bool = False) -> None:
        self._second = second
        self._hear = hear
        self._ways = ("to", "from") if swapped else ("from", "to")
        self._made = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.transport = first(self._open)

    def _open(self, channel: Channel) -> Session:
        self._made += 1
        self._hear(Heard("opened", self._made, channel.peer))
        return _Joined(self, self._made, channel)

    def dial(self, open_session: OpenSession) -> Transport | None:
        """The second end for one connection of the first."""
        if self._second is None:
            return None
        transport = self._second(open_session)
        self.run(transport.start())
        return transport

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something of a transport beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def tell(self, number: int, *, first: bool, peer: str, data: bytes) -> None:
        """Bytes came from an end."""
        self._hear(Heard("from" if self._ways[not first] == "from" else "to", number, peer, data))

    def ended(self, number: int, peer: str, why: str) -> None:
        """A connection of the first end is over."""
        self._hear(Heard("ended", number, peer, why=why))


class _Joined:
    """One connection of the first end, and its own of the second."""

    def __init__(self, bridge: Bridge, number: int, channel: Channel) -> None:
        self._bridge = bridge
        self._number = number
        self._near = channel
        self._far: Channel | None = None
        self._waiting = bytearray()
        self._gone = False
        self._transport = bridge.dial(self._answered)
        if self._transport is not None:
            channel.pause()

    def received(self, data: bytes) -> None:
        """See Session: the first end speaks."""
        self._bridge.tell(self._number, first=True, peer=self._near.peer, data=data)
        if self._far is not None:
            self._far.send(data)
        elif self._transport is not None:
            self._waiting += data

    def disconnected(self, why: str) -> None:
        """See Session: the first end is gone, so the second one goes."""
        self._gone = True
        self._bridge.ended(self._number, self._near.peer, why)
        if self._transport is not None:
            self._bridge.run(self._transport.stop())

    def _answered(self, channel: Channel) -> Session:
        self._far = channel
        if self._waiting:
            channel.send(bytes(self._waiting))
            self._waiting.clear()
        self._near.resume()
        return _Far(self)

    def far_said(self, data: bytes) -> None:
        """The second end speaks."""
        self._bridge.tell(self._number, first=False, peer=self._near.peer, data=data)
        self._near.send(data)

    def far_gone(self) -> None:
        """The second end is gone, so the first one goes."""
        self._far = None
        if not self._gone:
            self._near.close()


class _Far:
    """The session of the second end."""

    def __init__(self, joined: _Joined) -> None:
        self._joined = joined

    def received(self, data: bytes) -> None:
        """See Session."""
        self._joined.far_said(data)

    def disconnected(self, why: str) -> None:
        """See Session."""
        self._joined.far_gone()
