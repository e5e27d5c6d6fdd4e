"""What a transport and the room above it say to each other: two small callback contracts, no I/O here.

    socket, tty, cable  --received(data)-->    Session   (a line's conversation, an order server, ...)
                        <--send(data)------
                        <--pause/close-----    Channel

All calls are made in the event loop (or by a simulated scheduler), never from another thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Channel(Protocol):
    """One open connection, as its user sees it. Every call is allowed after the end and then does nothing."""

    @property
    def peer(self) -> str:
        """Who is there: ``10.20.0.31:4001`` or a device path; never patient data."""
        ...

    def send(self, data: bytes) -> None:
        """Send soon; never blocks. A peer that does not read is cut off instead of filling our memory."""
        ...

    def pause(self) -> None:
        """Stop reading: back-pressure towards the peer. Idempotent."""
        ...

    def resume(self) -> None:
        """Read again. Idempotent."""
        ...

    def close(self) -> None:
        """Send what is waiting, then close."""
        ...

    def abort(self) -> None:
        """Close now; what is waiting to be sent is lost."""
        ...


class Session(Protocol):
    """What a transport calls. Must not raise: if it does, that connection is closed and said once."""

    def received(self, data: bytes) -> None:
        """Bytes as they came, cut anywhere, never empty."""
        ...

    def disconnected(self, why: str) -> None:
        """The connection is gone, told exactly once; nothing is received after it. why: a few plain words."""
        ...


OpenSession = Callable[[Channel], Session]
"""Called once for each new connection, before its first byte."""


class Transport(Protocol):
    """What brings connections about: a listener, a dialler, a serial port."""

    async def start(self) -> None:
        """Open the port or begin to dial. Raises only what cannot mend itself, with the cure in its text."""
        ...

    async def stop(self) -> None:
        """Close everything; every session has been told when this returns."""
        ...

    @property
    def trouble(self) -> str:
        """Why nobody is connected, in plain words for the status page; empty when nothing is known to be wrong."""
        ...


class Timer(Protocol):
    """What ``call_at`` gives back."""

    def cancel(self) -> object:
        """It will not be called."""
        ...


CallAt = Callable[[float, Callable[[], None]], Timer]
"""As the event loop's: a time of the clock in use, and what to call then."""


class Say(Protocol):
    """Writes one log line: the event's name and ids of our own. Never patient data."""

    def __call__(self, event: str, /, **ids: object) -> None:
        """Write it."""
        ...


def quiet(event: str, /, **ids: object) -> None:
    """Say nothing."""


class Sparing:
    """Says each event at most once in ``every_s`` seconds; the next line tells how many were left out.

    A port scanner or a flapping cable must not fill the disk with log lines (electrumx #481: 107 GB).
    """

    __slots__ = ("_clock", "_every_s", "_last", "_say", "_unsaid")

    def __init__(self, say: Say, clock: Callable[[], float], every_s: float = 60.0) -> None:
        self._say = say
        self._clock = clock
        self._every_s = every_s
        self._last: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def __call__(self, event: str, /, **ids: object) -> None:
        """Say it, or count it. Events are names fixed in the code, so the memory is bounded."""
        now = self._clock()
        last = self._last.get(event)
        if last is not None and now - last < self._every_s:
            self._unsaid[event] = self._unsaid.get(event, 0) + 1
            return
        self._last[event] = now
        unsaid = self._unsaid.pop(event, 0)
        if unsaid:
            self._say(event, **ids, suppressed=unsaid)
        else:
            self._say(event, **ids)


def backoff_s(attempt: int, random: Callable[[], float], *, first_s: float = 1.0, most_s: float = 30.0) -> float:
    """How long to wait before the next attempt: first_s doubling to most_s, less up to a quarter by chance.

    attempt: failures in a row so far, from 0. random: a number in [0, 1). The chance keeps forty lines
    from dialling in the same instant after a switch came back. 0 -> 0.75..1 s, 3 -> 6..8 s, 9 -> 22.5..30 s.
    """
    return min(most_s, first_s * 2.0 ** min(attempt, 16)) * (1.0 - 0.25 * random())
