"""Plays an instrument: sends its messages as the analyzer would, and takes what the host sends back. For tests and demos.

    messages -> framing -> [fault] -> transport        ASTM: ENQ, frames, EOT, six tries, the whole message again
             <- answers <-           <-                HL7: one block, its acknowledgment awaited

Works on any transport in either role, and on a cable in memory. Not a model of a device: it says what it is
given. A specimen is replaced in the records before they are framed, so every checksum is right.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from labgateway.protocols import hl7, mllp
from labgateway.protocols.astm_events import Closed, Frame, NotSent, NotSentWhy, Sent
from labgateway.protocols.astm_frames import ENQ, EOT, MAX_TEXT, NAK, STX, frames
from labgateway.protocols.astm_link import Link
from labgateway.protocols.astm_rules import LinkRules
from labgateway.transports.channel import CallAt, Channel, OpenSession, Timer, Transport

TRICKLE_S = 0.002
ANSWER_S = 30.0
"""How long an HL7 sender waits for its acknowledgment."""
TRIES = 3
"""How often a whole message is offered before it counts as failed."""


class Fault(StrEnum):
    """What goes wrong on request, once a message.

    BAD_CHECKSUM: a frame is damaged, its repeat is not. CUT: the connection is lost inside a frame. TRICKLE: one
    byte at a time. DUPLICATE: a frame comes again as if its ACK had been lost. NOISE: bytes that belong to
    nothing stand before the session. CONTENTION: the host's ENQ is answered with ENQ.
    HL7 knows CUT, TRICKLE, DUPLICATE (the whole block comes twice) and NOISE.
    """

    BAD_CHECKSUM = "bad-checksum"
    CUT = "cut"
    TRICKLE = "trickle"
    DUPLICATE = "duplicate"
    NOISE = "noise"
    CONTENTION = "contention"


@dataclass(frozen=True, slots=True)
class Script:
    """What is played.

    messages: ASTM records or HL7 segments, without framing. frame_bytes: text bytes a frame; packed: as many
    records in a frame as fit. linger_s: how long to wait for what the host still sends when all is said; answers: when so
    many have come, no longer.
    """

    messages: tuple[bytes, ...]
    protocol: Literal["astm", "hl7"]
    frame_bytes: int = MAX_TEXT
    packed: bool = False
    fault: Fault | None = None
    linger_s: float = 0.05
    answers: int = 0


@dataclass(slots=True)
class Summary:
    """How it went. failed: messages the host never accepted. naks: refusals seen. answers: what the host sent.

    answers: texts of ASTM sessions that the host opened; HL7 messages that are no acknowledgment.
    """

    messages: int = 0
    failed: int = 0
    frames: int = 0
    naks: int = 0
    connections: int = 0
    seconds: float = 0.0
    answers: list[bytes] = field(default_factory=list[bytes])


def with_specimen(message: bytes, found: Iterable[str], wanted: str) -> bytes:
    """The message with every specimen id that was found in it replaced, wherever it stands."""
    for old in sorted({old for old in found if old}, key=len, reverse=True):
        message = message.replace(old.encode(), wanted.encode())
    return message


class Player:
    """An instrument that plays a script. ``open`` is an OpenSession; a new connection goes on where the last one ended.

    done: called once, when everything is said and ``linger_s`` has passed, or the tries are used up.
    """

    def __init__(
        self,
        script: Script,
        done: Callable[[Summary], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        call_at: CallAt | None = None,
    ) -> None:
        self.script = script
        self.summary = Summary()
        self._done = done
        self._clock = clock
        self._call_at = call_at or _call_in_loop
        self._began_at = clock()
        self._voice: _Astm | _Hl7 | None = None
        self._at = 0
        self._tries = 0
        self._faulty = script.fault is not None
        self._over = False
        self._trickled_at = 0.0

    def open(self, channel: Channel) -> _Astm | _Hl7:
        """Play on this connection."""
        self.summary.connections += 1
        self._voice = voice = (_Astm if self.script.protocol == "astm" else _Hl7)(self, channel)
        self.later(0.0, lambda: self._next(voice))
        return voice

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call after so many seconds."""
        return self._call_at(self._clock() + seconds, call)

    def trickle(self, channel: Channel, data: bytes) -> None:
        """Send one byte at a time, behind what still trickles."""
        for at in range(len(data)):
            self._trickled_at = max(self._clock(), self._trickled_at + TRICKLE_S)
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

    def said(self, voice: _Astm | _Hl7, *, good: bool, again_s: float = 0.0) -> None:
        """The voice has sent its message, or has not and it is to be tried again."""
        self._tries += 1
        if good or self._tries >= TRIES:
            self.summary.messages += good
            self.summary.failed += not good
            self._at += 1
            self._tries = 0
            self._faulty = self.script.fault is not None
        self.later(again_s, lambda: self._next(voice))

    def _next(self, voice: _Astm | _Hl7) -> None:
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


class _Astm:
    """One ASTM connection, as the instrument."""

    def __init__(self, player: Player, channel: Channel) -> None:
        self.gone = False
        self._player = player
        self._channel = channel
        self._link = Link(LinkRules(host=False))
        self._text: list[bytes] = []
        self._repeat = b""
        self._contending = False
        self._timer: Timer | None = None

    def say(self, message: bytes) -> None:
        """Send one message."""
        script = self._player.script
        if self._player.fault(Fault.NOISE):
            self._channel.send(b"\x00~~noise~~\r\n")
        self._link.start(
            frames(message.replace(b"\n", b"\r"), size=script.frame_bytes, packed=script.packed), self._player.now()
        )
        self._pump()

    def received(self, data: bytes) -> None:
        """See Session."""
        if self._repeat and data[:1] == b"\x06":
            # The ACK is lost, as the instrument sees it: the same frame goes out again.
            again, self._repeat = self._repeat, b""
            self._channel.send(again)
            data = data[1:]
            if not data:
                return
        if data == ENQ and self._link.idle and self._player.fault(Fault.CONTENTION):
            self._channel.send(ENQ)
            self._player.later(1.0, self._contend)
            return
        if self._contending:
            self._contending = False
            self._channel.send(EOT)
            return
        self._player.summary.naks += data.count(NAK)
        self._link.feed(data, self._player.now())
        self._pump()

    def disconnected(self, why: str) -> None:
        """See Session."""
        self.gone = True
        if self._timer is not None:
            self._timer.cancel()

    def _contend(self) -> None:
        self._contending = True
        self._channel.send(ENQ)

    def _pump(self) -> None:
        player, link = self._player, self._link
        while (event := link.next_event()) is not None:
            match event:
                case Frame():
                    self._text.append(event.text)
                    link.accept(event, now=player.now())
                case Closed():
                    player.summary.answers.append(b"".join(self._text))
                    self._text.clear()
                    player.answered()
                case Sent():
                    player.said(self, good=True)
                case NotSent(why):
                    player.said(self, good=False, again_s=0.0 if why is NotSentWhy.BUSY else 1.0)
                case _:
                    pass
        if out := link.bytes_to_send():
            self._send(out)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if link.deadline is not None and not self.gone:
            self._timer = player.later(max(0.0, link.deadline - player.now()), self._due)

    def _due(self) -> None:
        self._timer = None
        self._link.tick(self._player.now())
        self._pump()

    def _send(self, data: bytes) -> None:
        player, script = self._player, self._player.script
        if data[:1] == STX:
            player.summary.frames += 1
            if player.fault(Fault.BAD_CHECKSUM):
                wrong = b"00" if data[-4:-2] != b"00" else b"01"
                data = data[:-4] + wrong + data[-2:]
            elif data[1:2] != b"1" and player.fault(Fault.CUT):
                self._channel.send(data[: len(data) // 2])
                self._channel.close()
                return
            elif player.fault(Fault.DUPLICATE):
                self._repeat = data
        if script.fault is Fault.TRICKLE:
            player.trickle(self._channel, data)
        else:
            self._channel.send(data)


_ORDERS = {"OML": "ORL^O34^ORL_O42", "DSR": "ACK^Q03"}
"""Messages of the host that an instrument answers, and MSH-9 of the answer."""


def _taken(message: hl7.Message, kind: str) -> bytes:
    """The answer of an instrument that takes what it is told."""
    now = datetime.now(UTC).astimezone()
    header = hl7.reply_header(message, kind, now=now, control_id=f"A{message.control_id}")
    return hl7.reply_bytes(message, [header, hl7.reply_msa(message, hl7.AckCode.ACCEPT)])


class _Hl7:
    """One HL7 connection, as the instrument."""

    def __init__(self, player: Player, channel: Channel) -> None:
        self.gone = False
        self._player = player
        self._channel = channel
        self._reader = mllp.Reader()
        self._awaited: str | None = None
        self._timer: Timer | None = None

    def say(self, message: bytes) -> None:
        """Send one message."""
        player = self._player
        player.summary.frames += 1
        message = message.replace(b"\r\n", b"\r").replace(b"\n", b"\r")
        self._awaited = hl7.read(message).control_id
        self._timer = player.later(ANSWER_S, self._silent)
        block = mllp.wrap(message)
        if player.fault(Fault.NOISE):
            self._channel.send(b"~~noise~~\r\n")
        if player.fault(Fault.CUT):
            self._channel.send(block[: len(block) // 2])
            self._channel.close()
        elif player.script.fault is Fault.TRICKLE:
            player.trickle(self._channel, block)
        else:
            self._channel.send(block * 2 if player.fault(Fault.DUPLICATE) else block)

    def received(self, data: bytes) -> None:
        """See Session."""
        self._reader.feed(data, self._player.now())
        while (event := self._reader.next_event()) is not None:
            if isinstance(event, mllp.Block):
                self._answer(event.data)

    def disconnected(self, why: str) -> None:
        """See Session."""
        self.gone = True
        if self._timer is not None:
            self._timer.cancel()

    def _answer(self, data: bytes) -> None:
        message = hl7.read(data)
        kind = message.header.value(9, 1)
        msa = next((row for row in message.rows if row.name == "MSA"), None)
        if kind in _ORDERS:
            self._channel.send(mllp.wrap(_taken(message, _ORDERS[kind])))
        if msa is None or kind != "ACK":
            self._player.summary.answers.append(data)
            self._player.answered()
        if msa is None and kind in _ORDERS and self._awaited:
            # Orders that come without a reply before them are the reply.
            self._settle(good=True)
        if msa is None or msa.value(2) != self._awaited:
            return
        # AR of a reply says that there is no order; of an acknowledgment that the message was not taken.
        good = msa.value(1) in ("AA", "CA") or (kind != "ACK" and msa.value(1) == "AR")
        self._player.summary.naks += not good
        self._settle(good=good)

    def _silent(self) -> None:
        self._settle(good=False)

    def _settle(self, *, good: bool) -> None:
        self._awaited = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._player.said(self, good=good, again_s=0.0 if good else 1.0)


async def play(
    script: Script, connect: Callable[[OpenSession], Transport], *, timeout_s: float | None = None
) -> Summary:
    """Play a script on a transport and close it. Raises TimeoutError after timeout_s, and what start() raises."""
    over: asyncio.Future[Summary] = asyncio.get_running_loop().create_future()

    def done(summary: Summary) -> None:
        if not over.done():
            over.set_result(summary)

    transport = connect(Player(script, done).open)
    await transport.start()
    try:
        async with asyncio.timeout(timeout_s):
            return await over
    finally:
        await transport.stop()


def _call_in_loop(when: float, call: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(max(0.0, when - time.monotonic()), call)
