"""A line that may be listened to: what goes over it is told to whoever asks, and nobody on the line notices.

    transport --received--> [Tap] --> Session
              <--send------ [Tap] <-- Channel
                              +--> each listener: opened, from, to, ended

With no listener a chunk of bytes costs one look at an empty tuple. A listener that raises is dropped: who watches never
disturbs the line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from labgateway.transports.channel import Channel, OpenSession, Session, Transport

What = Literal["opened", "from", "to", "ended"]


@dataclass(frozen=True, slots=True)
class Heard:
    """One thing that happened on a line.

    connection: counts the connections of this tap, from 1. from, to: the instrument, with data as it came or went.
    ended: why says why.
    """

    what: What
    connection: int
    peer: str
    data: bytes = b""
    why: str = ""


Hear = Callable[[Heard], None]


class Tap:
    """The place on one instrument's line where it may be listened to; the same for as long as the gateway runs."""

    __slots__ = ("_ears", "_made", "_open")

    def __init__(self) -> None:
        self._ears: tuple[Hear, ...] = ()
        self._made = 0
        self._open: dict[int, str] = {}

    def through(self, connect: Callable[[OpenSession], Transport]) -> Callable[[OpenSession], Transport]:
        """A transport whose connections go through this tap."""
        return lambda open_session: connect(self.around(open_session))

    def around(self, open_session: OpenSession) -> OpenSession:
        """What opens sessions that go through this tap."""

        def opened(channel: Channel) -> Session:
            self._made += 1
            number = self._made
            self._open[number] = channel.peer
            self.tell(Heard("opened", number, channel.peer))
            return _Listened(self, number, channel, open_session)

        return opened

    @property
    def peers(self) -> tuple[str, ...]:
        """Who is connected now."""
        return tuple(self._open.values())

    def listen(self, hear: Hear) -> Callable[[], None]:
        """Tell everything from now on to ``hear``, in the event loop; call what comes back to end it."""
        self._ears = (*self._ears, hear)

        def end() -> None:
            self._ears = tuple(one for one in self._ears if one is not hear)

        return end

    @property
    def heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._ears)

    def tell(self, what: Heard) -> None:
        """Tell every listener."""
        for hear in self._ears:
            try:
                hear(what)
            except Exception:
                self._ears = tuple(one for one in self._ears if one is not hear)

    def gone(self, number: int, peer: str, why: str) -> None:
        """A connection is over."""
        self._open.pop(number, None)
        self.tell(Heard("ended", number, peer, why=why))


class _Listened:
    """Both sides of one connection: the Session that the transport sees, and the Channel that the session sees."""

    __slots__ = ("_channel", "_number", "_session", "_tap", "abort", "close", "pause", "resume")

    def __init__(self, tap: Tap, number: int, channel: Channel, open_session: OpenSession) -> None:
        self._tap = tap
        self._number = number
        self._channel = channel
        self.pause, self.resume = channel.pause, channel.resume
        self.close, self.abort = channel.close, channel.abort
        self._session = open_session(self)

    @property
    def peer(self) -> str:
        """See Channel."""
        return self._channel.peer

    def send(self, data: bytes) -> None:
        """See Channel."""
        if self._tap.heard:
            self._tap.tell(Heard("to", self._number, self._channel.peer, data))
        self._channel.send(data)

    def received(self, data: bytes) -> None:
        """See Session."""
        if self._tap.heard:
            self._tap.tell(Heard("from", self._number, self._channel.peer, data))
        self._session.received(data)

    def disconnected(self, why: str) -> None:
        """See Session."""
        self._tap.gone(self._number, self._channel.peer, why)
        self._session.disconnected(why)
