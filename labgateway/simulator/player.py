"""class Player: a script on a connection, and on the next one where the last one ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from labgateway.protocols.raw_framing import FRAMINGS
from labgateway.simulator.astm import AstmVoice
from labgateway.simulator.hl7 import Hl7Voice
from labgateway.simulator.raw import RawVoice
from labgateway.simulator.script import Fault, Script, Summary
from labgateway.transports.channel import CallAt, Channel, OpenSession, Session, Timer, Transport

TRIES = 3
"""How often a whole message is offered before it counts as failed."""
AGAIN_S = 1.0
"""A message that was not taken is offered again after so long."""


class Voice(Session, Protocol):
    """One connection, as the instrument of a protocol."""

    gone: bool

    def say(self, message: bytes) -> None:
        """Send one message, and tell the player in the end how it went."""
        ...


class Player:
    """An instrument that plays a script. ``open`` is an OpenSession; a new connection goes on where the last one ended.

    done: called once, when everything is said and ``linger_s`` has passed, or the tries are used up. tell: hears in a few
    words what happens.
    """

    def __init__(
        self,
        script: Script,
        done: Callable[[Summary], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        call_at: CallAt | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.script = script
        self.summary = Summary()
        self._done = done
        self._clock = clock
        self._call_at = call_at or _call_in_loop
        self._began_at = clock()
        self.tell = tell
        self._voice: Voice | None = None
        self._at = 0
        self._tries = 0
        self._faulty = script.fault is not None
        self._over = False
        self._trickled_at = 0.0

    def open(self, channel: Channel) -> Session:
        """Play on this connection."""
        self.summary.connections += 1
        self.tell(f"connected with {channel.peer}")
        self._voice = voice = self._speaker(channel)
        self.later(0.0, lambda: self._next(voice))
        return voice

    def _speaker(self, channel: Channel) -> Voice:
        match self.script.protocol:
            case "astm":
                return AstmVoice(self, channel)
            case "hl7":
                return Hl7Voice(self, channel)
            case other:
                return RawVoice(self, channel, FRAMINGS[other])

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call after so many seconds."""
        return self._call_at(self._clock() + seconds, call)

    def trickle(self, channel: Channel, data: bytes) -> None:
        """Send one byte at a time, behind what still trickles."""
        for at in range(len(data)):
            self._trickled_at = max(self._clock(), self._trickled_at + self.script.byte_s)
            self._call_at(self._trickled_at, lambda at=at: channel.send(data[at : at + 1]))

    def now(self) -> float:
        """The clock that is used."""
        return self._clock()

    def fault(self, fault: Fault) -> bool:
        """Whether this fault is due; it is, once for each message."""
        if not self._faulty or self.script.fault is not fault:
            return False
        self._faulty = False
        return True

    def put(self, channel: Channel, data: bytes) -> None:
        """Send, at the pace that the script wants."""
        if self.script.paced or self.script.fault is Fault.TRICKLE:
            self.trickle(channel, data)
        else:
            channel.send(data)

    def said(self, voice: Voice, *, good: bool, why: str = "", again_s: float = 0.0, over: bool = True) -> None:
        """The voice has sent its message, or has not and it is to be tried again.

        why: in a few words. over: False when it was taken, and comes again as the fault wants.
        """
        count, number = len(self.script.messages), self._at + 1
        self._tries += 1
        if good and not over:
            self.tell(f"message {number} of {count}: {why}; it comes again")
        elif good or self._tries >= TRIES:
            self.summary.messages += good
            self.summary.failed += not good
            self.tell(f"message {number} of {count}: {'accepted' if good else 'NOT accepted: ' + why}")
            self._at += 1
            self._tries = 0
            self._faulty = self.script.fault is not None
            again_s = max(again_s, self._began_at + self._at * self.script.every_s - self._clock())
        else:
            self.tell(f"message {number} of {count}: {why or 'not accepted'}; tried again")
        self.later(max(0.0, again_s), lambda: self._next(voice))

    def _next(self, voice: Voice) -> None:
        if voice is not self._voice or voice.gone or self._over:
            return
        if self._at < len(self.script.messages):
            voice.say(self.script.messages[self._at])
        else:
            self._over = True
            self.summary.seconds = self._clock() - self._began_at
            self.later(self.script.linger_s, lambda: self._done(self.summary))
            self.answered()

    def answered(self) -> None:
        """The host has sent something: when that was all that is awaited, it is over."""
        if self._over and 0 < self.script.answers <= len(self.summary.answers):
            self._done(self.summary)


async def play(
    script: Script,
    connect: Callable[[OpenSession], Transport],
    *,
    timeout_s: float | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Play a script on a transport and close it. Raises TimeoutError after timeout_s, and what start() raises."""
    over: asyncio.Future[Summary] = asyncio.get_running_loop().create_future()

    def done(summary: Summary) -> None:
        if not over.done():
            over.set_result(summary)

    transport = connect(Player(script, done, tell=tell).open)
    await transport.start()
    try:
        async with asyncio.timeout(timeout_s):
            return await over
    finally:
        await transport.stop()


def _call_in_loop(when: float, call: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(max(0.0, when - time.monotonic()), call)
