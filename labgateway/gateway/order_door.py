"""One connection of the EMR on which orders come: blocks in, stored, then answered, one after another.

VT block FS CR -> take (reads, stores, matches what waited) -> commit -> ORL, ORR or ACK
                                          the store cannot -> AE with ERR 207, or nothing if it broke
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from labgateway.errors import StoreBrokenError
from labgateway.line.wiring import CallAt, Timer
from labgateway.protocols import hl7, mllp
from labgateway.transports.channel import Channel, Say

Taken = Callable[[bytes | None, BaseException | None], None]
Take = Callable[[bytes, str, Taken], None]
"""Handles one order message (block content, peer) and calls back in the loop after the commit with the answer."""

_MAX_BYTES = 16 * 1024 * 1024
_PENDING = 64


class OrderConversation:
    """A Session. Answers leave in the order in which the messages came: the writer keeps it."""

    __slots__ = ("_channel", "_clock", "_gone", "_paused", "_pending", "_reader", "_say", "_take", "_timer", "_tools")

    def __init__(
        self,
        channel: Channel,
        take: Take,
        *,
        clock: Callable[[], float],
        call_at: CallAt,
        wall: Callable[[], datetime],
        control_id: Callable[[], str],
        say: Say,
    ) -> None:
        self._channel = channel
        self._take = take
        self._clock = clock
        self._tools = (call_at, wall, control_id)
        self._say = say
        self._reader = mllp.Reader(mllp.Rules(max_bytes=_MAX_BYTES))
        self._pending = 0
        self._paused = False
        self._gone = False
        self._timer: Timer | None = None

    def received(self, data: bytes) -> None:
        """See Session."""
        self._reader.feed(data, self._clock())
        self._pump()

    def disconnected(self, why: str) -> None:
        """See Session. A half message was never answered, so the EMR still has it."""
        self._gone = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._reader.lost()
        while (event := self._reader.next_event()) is not None:
            if isinstance(event, mllp.Broken):
                self._say(
                    "orders_broken",
                    level="warning",
                    bytes=len(event.data),
                    why=event.why.value,
                    peer=self._channel.peer,
                )

    def _pump(self) -> None:
        if self._gone:
            return
        while self._pending < _PENDING and (event := self._reader.next_event()) is not None:
            match event:
                case mllp.Block(data):
                    self._block(data)
                case mllp.TooLong(_, length):
                    self._say("orders_too_long", level="warning", bytes=length, peer=self._channel.peer)
                case mllp.Broken(data, why):
                    self._say("orders_broken", level="warning", bytes=len(data), why=why.value, peer=self._channel.peer)
                case mllp.Junk(_, length, _):
                    self._say("orders_junk", level="warning", bytes=length, peer=self._channel.peer)
        full = self._pending >= _PENDING
        if full and not self._paused:
            self._paused = True
            self._channel.pause()
        elif self._paused and not full:
            self._paused = False
            self._channel.resume()
        self._arm()

    def _block(self, data: bytes) -> None:
        self._pending += 1

        def done(answer: bytes | None, error: BaseException | None) -> None:
            self._pending -= 1
            if error is not None and not isinstance(error, StoreBrokenError):
                answer = self._could_not(data)
            if answer is not None and not self._gone:
                self._channel.send(mllp.wrap(answer))
            if self._paused:
                self._tools[0](self._clock(), self._pump)

        self._take(data, self._channel.peer, done)

    def _could_not(self, data: bytes) -> bytes | None:
        message = hl7.read(data)
        if not message.rows:
            return None
        _, wall, control_id = self._tools
        fault = hl7.Fault(hl7.ErrorCode.INTERNAL_ERROR, "could not be stored, send it again")
        return hl7.acknowledge(message, hl7.AckCode.ERROR, now=wall(), control_id=control_id(), error=fault)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (deadline := self._reader.deadline) is not None:
            self._timer = self._tools[0](deadline, self._due)

    def _due(self) -> None:
        self._timer = None
        self._reader.tick(self._clock())
        self._pump()
