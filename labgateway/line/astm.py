"""One ASTM connection: frames in, messages kept, and only then acknowledged; messages of ours out, when the line is free.

    ENQ                 -> ACK by the machine (NAK while we are busy)
    a frame             -> accepted at once ...
    the frame with L    -> keep -> commit -> accepted          the store cannot -> refused, or silence if it broke
    EOT, 30 s, the end  -> what no L closed is kept as incomplete and delivers nothing

With ``every_frame`` (instruments whose messages have no visible end) each frame is kept as a PART before it
is accepted, and L, the next H or EOT makes the whole. The same happens once, by itself, when an instrument
puts the end of one message and the beginning of the next into one frame: what is acknowledged is on disk.

send() queues a message of ours; the Link sends it between the instrument's sessions, and it gives way to the instrument.
A connection on which nothing is ever sent has only the receiver.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from labgateway.errors import StoreError
from labgateway.line.arrival import Arrival, Control, Told
from labgateway.line.ends import Mark, follow
from labgateway.line.wiring import Timer, Wiring
from labgateway.protocols.astm_bare import BareReceiver
from labgateway.protocols.astm_events import (
    Broken,
    Closed,
    Event,
    Frame,
    Noise,
    NotSent,
    NotSentWhy,
    Opened,
    SenderEvent,
    Sent,
)
from labgateway.protocols.astm_frames import ACK, NAK
from labgateway.protocols.astm_link import Link, receiver_for
from labgateway.protocols.astm_receiver import Receiver
from labgateway.protocols.astm_rules import LinkRules
from labgateway.transports.channel import Channel

MessageEnd = Literal["L", "every_frame"]

HELD_BYTES = 256 * 1024
"""What may arrive while a frame waits for its commit before the connection is not read any more."""

GAVE_UP_S = 10.0
"""With every_frame, EOT so long after the last accepted frame, or after a NAK, comes from a sender that gave up (it
waits 15 s for an answer, LIS01-A2 6.5.2.3): then the message is not whole."""

SETTLE_S = 17.0
"""With every_frame, so long after an EOT a frame of the same session may still come, if the EOT was none: its sender may
have waited 15 s for our answer, and noise is told when it has been over for 1 s."""
_NO_END = "the session ended before the message did"

_BEGINS, _CLOSES, _SPLITS = int(Mark.BEGINS), int(Mark.CLOSES), int(Mark.SPLITS)
_LINE_END = b"\r\n"


NO_CONNECTION = "there is no connection on which it could be sent"


@dataclass(frozen=True, slots=True, eq=False)
class _Letter:
    """A message of ours. tag: by which it may be withdrawn."""

    frames: Sequence[bytes]
    told: Told
    tag: object


class AstmConversation:
    """A Session of one connection. Feed it by ``received``; it answers on its channel."""

    def __init__(
        self,
        wiring: Wiring,
        channel: Channel,
        rules: LinkRules | None = None,
        message_end: MessageEnd = "L",
        *,
        sends: bool = False,
    ) -> None:
        self._wiring = wiring
        self._channel = channel
        self._link = Link(rules or LinkRules()) if sends else None
        self._receiver = self._link.receiver if self._link else receiver_for(rules or LinkRules())
        self._machine: Receiver | BareReceiver | Link = self._link or self._receiver
        self._letters: deque[_Letter] = deque()
        """Messages of ours; the first one is being sent."""
        self._clock = wiring.clock
        self._stats = wiring.stats
        self._every_frame = message_end == "every_frame"
        self._parts: list[bytes] = []
        self._size = 0
        self._head = b""
        self._key = ""
        self._kept = 0
        self._kept_at = 0.0
        self._faults = 0
        self._settling: Timer | None = None
        self._limit = wiring.max_message_bytes
        self._waiting: Frame | None = None
        self._held = 0
        self._paused = False
        self._gone = False
        self._timer: Timer | None = None
        self._timer_at = math.inf
        self.number = wiring.number()

    @property
    def busy(self) -> bool:
        """While true an enquiry is answered NAK: the instrument keeps its results and asks again after 10 s."""
        return self._machine.busy

    @busy.setter
    def busy(self, value: bool) -> None:
        self._machine.busy = value

    def received(self, data: bytes) -> None:
        """See Session."""
        now = self._clock()
        self._stats.last_byte_at = now
        if self._waiting is not None:
            self._held += len(data)
            if self._held > HELD_BYTES and not self._paused:
                self._paused = True
                self._channel.pause()
        self._machine.feed(data, now)
        self._pump(now)

    def send(self, frames: Sequence[bytes], told: Told, tag: object = None) -> None:
        """Send a message of ours when the line is free, behind those that wait already."""
        if self._link is None or self._gone or self._wiring.broken:
            told(NO_CONNECTION)
            return
        self._letters.append(_Letter(frames, told, tag))
        if len(self._letters) == 1:
            self._link.start(frames, self._clock())
            self._pump(self._clock())

    def withdraw(self, which: Callable[[object], bool]) -> None:
        """Messages of ours with such a tag are not wanted any more, unless they are on the line already."""
        if self._link is None:
            return
        first = self._letters[0] if self._letters else None
        gone = [one for one in self._letters if one is not first and which(one.tag)]
        for one in gone:
            self._letters.remove(one)
        if first is not None and which(first.tag) and not self._link.sender.owns_line:
            self._link.cancel(self._clock())
            self._pump(self._clock())
        for one in gone:
            one.told(NotSentWhy.CANCELLED.value)

    def disconnected(self, why: str) -> None:
        """See Session."""
        now = self._clock()
        self._gone = True
        if self._timer is not None:
            self._timer.cancel()
        self._machine.lost(now)
        self._pump(now)
        self._settle(complete=True)
        letters, self._letters = self._letters, deque()
        for letter in letters:
            letter.told(NotSentWhy.LOST.value)
        self._wiring.ended(self, why)

    def _pump(self, now: float) -> None:
        machine = self._machine
        if self._waiting is None:
            while (event := machine.next_event()) is not None:
                if type(event) is Frame:
                    self._frame(event, now)
                    if self._waiting is not None:
                        break
                else:
                    self._other(event, now)
        out = machine.bytes_to_send()
        if out:
            if out != ACK:
                self._stats.naks += out.count(NAK)
            if not self._wiring.broken:
                self._channel.send(out)
        deadline = machine.deadline
        if deadline is not None and deadline < self._timer_at:
            self._arm(deadline)

    # Frames

    def _frame(self, frame: Frame, now: float) -> None:
        self._stats.frames += 1
        parts = self._parts
        head, marks = follow(self._head, frame.text, frame.last)
        if marks & _BEGINS and parts:
            self._end("a new message began before the last record of this one", complete=self._every_frame)
            parts = self._parts
        size = self._size + len(frame.raw)
        if size > self._limit:
            self._wiring.say("line.too_long", instrument=self._wiring.name, bytes=size)
            self._machine.refuse(frame, now=now)
        elif marks & _CLOSES:
            self._store(frame, head, Control.WHOLE, [*parts, frame.raw])
        elif self._every_frame or marks & _SPLITS:
            self._store(frame, head, Control.PART, [*parts[self._kept :], frame.raw])
        else:
            if parts or frame.text.strip():
                parts.append(frame.raw)
                self._size = size
            self._head = head
            self._machine.accept(frame, now=now)

    def _store(self, frame: Frame, head: bytes, control: Control, parts: list[bytes]) -> None:
        """Keep, then accept. Until then nothing of the next frame is looked at."""
        wiring, machine = self._wiring, self._machine
        key = self._key = self._key or f"{self.number}.{wiring.number()}"
        whole = control is Control.WHOLE
        self._waiting = frame
        at_once = True

        def done(error: StoreError | None) -> None:
            self._waiting = None
            now = self._clock()
            if error is None:
                self._head = head
                if whole:
                    self._stats.messages += 1
                    self._stats.last_message_at = now
                    self._clear()
                else:
                    self._parts.append(frame.raw)
                    self._kept = len(self._parts)
                    self._kept_at = now
                    self._faults = self._receiver.faults.total()
                    self._size += len(frame.raw)
                machine.accept(frame, now=now)
            else:
                wiring.failed(error)
                if not wiring.broken:
                    machine.refuse(frame, now=now)
            if not at_once:
                self._go_on(now)

        wiring.keep(self._arrival(parts, complete=whole, control=control, key=key), done)
        at_once = False

    def _go_on(self, now: float) -> None:
        """After a decision that took time: the rest of what came meanwhile."""
        self._held = 0
        if self._paused and not self._gone:
            self._paused = False
            self._channel.resume()
        self._pump(now)

    def _arrival(
        self, parts: list[bytes], *, complete: bool, key: str, why: str = "", control: Control = Control.WHOLE
    ) -> Arrival:
        data = _LINE_END.join(parts) + _LINE_END
        return Arrival(
            self._wiring.name, "astm", self._channel.peer, data, complete, why, control, key, conversation=self.number
        )

    # Everything else

    def _other(self, event: Event | SenderEvent, now: float) -> None:
        match event:
            case Sent():
                self._stats.sent += 1
                self._told("", now)
            case NotSent(why):
                self._stats.not_sent += 1
                self._told(why.value, now)
            case Opened():
                self._settle(complete=True)
                self._end("the instrument began anew")
            case Closed():
                gave_up = self._receiver.faults.total() > self._faults or now - self._kept_at > GAVE_UP_S
                if self._every_frame and self._parts and not gave_up:
                    self._settling = self._wiring.call_at(now + SETTLE_S, lambda: self._settle(complete=True))
                else:
                    self._end(_NO_END)
            case Broken(why):
                self._stats.broken += 1
                self._wiring.say("line.broken", instrument=self._wiring.name, why=why.value)
                self._end(why.value)
            case Noise(length):
                self._wiring.say("line.junk", instrument=self._wiring.name, bytes=length)
                self._settle(complete=False)
            case Frame():
                pass

    def _told(self, why: str, now: float) -> None:
        """The first letter is done; the next one begins. Who is told may send another."""
        if not self._letters or self._link is None:
            return
        letter = self._letters.popleft()
        if self._letters and not self._gone:
            self._link.start(self._letters[0].frames, now)
        letter.told(why)

    def _settle(self, *, complete: bool) -> None:
        """With every_frame, what EOT ended is whole unless noise came behind it: then a damaged STX looked like EOT."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
            self._end(_NO_END, complete=complete)

    def _end(self, why: str, *, complete: bool = False) -> None:
        """The message that is open, if one is, gets no further frame."""
        if self._parts:
            key = self._key or f"{self.number}.{self._wiring.number()}"
            if complete:
                self._stats.messages += 1
            self._wiring.keep_unfinished(
                self._arrival(self._parts, complete=complete, why="" if complete else why, key=key)
            )
        self._clear()
        self._head = b""

    def _clear(self) -> None:
        self._parts = []
        self._size = self._kept = 0
        self._key = ""

    # Time

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
        now = self._clock()
        self._machine.tick(now)
        self._pump(now)
