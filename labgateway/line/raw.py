"""One connection with a raw framing: texts in, each kept, and only then answered as its instrument expects.

    ENQ                 -> ACK by the machine (NAK while we are busy)      where the framing has it
    a text              -> keep -> commit -> the framing's answer, and what the driver replies to such a text
                           the store cannot -> refused, or silence if it broke
    a text that asks    -> keep -> commit -> acknowledged; the answer comes by ``tell`` from whoever knows the orders
    half a text         -> kept as incomplete, delivers nothing

Each text is a message of its own: none of these framings says where a message of several texts ends, and those that
send several (Beckman AU) name the specimen in each.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from labgateway.errors import StoreError
from labgateway.line.arrival import Arrival, Told
from labgateway.line.wiring import Timer, Wiring
from labgateway.protocols.astm_events import (
    Broken,
    Closed,
    Frame,
    Noise,
    NotSent,
    Opened,
    RawEvent,
    Sent,
    Unfinished,
)
from labgateway.protocols.emerald_receiver import receiver_for
from labgateway.transports.channel import Channel

HELD_BYTES = 256 * 1024
"""What may arrive while a text waits for its commit before the connection is not read any more."""

GONE_ON = "the instrument does not wait for this answer any more"

Reply = Callable[[bytes], bytes | None]
"""What is said to a text besides its acknowledgment; None: nothing."""


def no_reply(text: bytes) -> bytes | None:
    """Say nothing besides the framing's answer."""
    del text
    return None


class RawConversation:
    """A Session of one connection. Feed it by ``received``; it answers on its channel.

    asks: whether a transmission is a question that ``tell`` will answer; then ``reply`` is not said to it.
    """

    def __init__(
        self,
        wiring: Wiring,
        channel: Channel,
        framing: str,
        reply: Reply = no_reply,
        asks: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._wiring = wiring
        self._channel = channel
        self._protocol = framing
        self._reply = reply
        self._asks = asks
        self._question = b""
        """The transmission that waits for its answer, while the instrument has said nothing else."""
        self._told: Told | None = None
        self._machine = receiver_for(framing)
        self._waiting = False
        self._held = 0
        self._paused = False
        self._gone = False
        self._refused = 0
        self._timer: Timer | None = None
        self._timer_at = math.inf
        self.number = wiring.number()

    @property
    def busy(self) -> bool:
        """While true an enquiry is answered NAK, where the framing has enquiries."""
        return self._machine.busy

    @busy.setter
    def busy(self, value: bool) -> None:
        self._machine.busy = value

    def received(self, data: bytes) -> None:
        """See Session."""
        now = self._wiring.clock()
        self._wiring.stats.last_byte_at = now
        if self._waiting:
            self._held += len(data)
            if self._held > HELD_BYTES and not self._paused:
                self._paused = True
                self._channel.pause()
        self._machine.feed(data, now)
        self._pump(now)

    def tell(self, question: bytes, text: bytes, told: Told) -> None:
        """Send the answer to a question. question: its transmission, as it came; only the last one is answered."""
        now = self._wiring.clock()
        if self._gone or self._wiring.broken or question != self._question or not self._machine.answer(text, now=now):
            told(GONE_ON)
            return
        self._question, self._told = b"", told
        self._pump(now)

    def disconnected(self, why: str) -> None:
        """See Session."""
        now = self._wiring.clock()
        self._gone = True
        if self._timer is not None:
            self._timer.cancel()
        self._machine.lost(now)
        self._pump(now)
        self._wiring.ended(self, why)

    def _pump(self, now: float) -> None:
        machine, stats = self._machine, self._wiring.stats
        while not self._waiting and (event := machine.next_event()) is not None:
            self._take(event, now)
        refused = machine.faults.total()
        stats.naks += refused - self._refused
        self._refused = refused
        out = machine.bytes_to_send()
        if out and not self._wiring.broken and not self._gone:
            self._channel.send(out)
        if machine.deadline is not None and machine.deadline < self._timer_at:
            self._arm(machine.deadline)

    def _take(self, event: RawEvent, now: float) -> None:
        wiring = self._wiring
        match event:
            case Frame():
                wiring.stats.frames += 1
                self._store(event)
            case Unfinished(data, why):
                wiring.keep_unfinished(self._arrival(data, why))
            case Broken(why):
                wiring.stats.broken += 1
                wiring.say("line.broken", instrument=wiring.name, why=why.value)
            case Noise(length):
                wiring.say("line.junk", instrument=wiring.name, bytes=length)
            case Sent() | NotSent():
                if told := self._told:
                    self._told = None
                    told("" if isinstance(event, Sent) else event.why.value)
            case Opened() | Closed():
                pass

    def _store(self, frame: Frame) -> None:
        """Keep, then answer. Until then nothing of the next text is looked at."""
        wiring, machine = self._wiring, self._machine
        self._waiting = True
        self._question = b""
        at_once = True

        def done(error: StoreError | None) -> None:
            self._waiting = False
            now = wiring.clock()
            if error is None:
                wiring.stats.messages += 1
                wiring.stats.last_message_at = now
                if self._asks is not None and self._asks(frame.raw):
                    self._question = b"" if machine.late else frame.raw
                    machine.accept(frame, now=now)
                else:
                    machine.accept(frame, now=now, reply=self._reply(frame.text))
            else:
                wiring.failed(error)
                if not wiring.broken:
                    machine.refuse(frame, now=now)
            if not at_once:
                self._held = 0
                if self._paused and not self._gone:
                    self._paused = False
                    self._channel.resume()
                self._pump(now)

        wiring.keep(self._arrival(frame.raw), done)
        at_once = False

    def _arrival(self, data: bytes, why: str = "") -> Arrival:
        key = f"{self.number}.{self._wiring.number()}"
        return Arrival(
            self._wiring.name, self._protocol, self._channel.peer, data, not why, why, key=key, conversation=self.number
        )

    def _arm(self, deadline: float) -> None:
        # One timer that is never moved forward: it looks, when it is due, whether the deadline has moved.
        if self._gone:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._wiring.call_at(deadline, self._due)

    def _due(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        now = self._wiring.clock()
        self._machine.tick(now)
        self._pump(now)
