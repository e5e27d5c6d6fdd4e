"""One ASTM line in both directions: a receiver and a sender that take turns. CLSI LIS01-A2.

                      what comes
                          |
      we own the line?  yes ──> Sender    ENQ answered by ENQ: it gives way, and the
                          |               next bytes are the receiver's (6.2.7.1)
                        no ───> Receiver  no session open: the line is the sender's, if it wants it

The standard is half duplex: one side asks, sends and ends, then the line is free again (6.1). This is the
one object that a line needs; the parts also work alone. What both are and mean stands in astm_receiver and
astm_sender, and what their words mean in astm_events and astm_rules.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

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
    Why,
)
from labgateway.protocols.astm_receiver import Receiver
from labgateway.protocols.astm_rules import Checksums, Fault, Framing, LinkRules, Numbers
from labgateway.protocols.astm_sender import Sender

__all__ = [
    "Broken",
    "Checksums",
    "Closed",
    "Event",
    "Fault",
    "Frame",
    "Framing",
    "Link",
    "LinkRules",
    "Noise",
    "NotSent",
    "NotSentWhy",
    "Numbers",
    "Opened",
    "Receiver",
    "Sender",
    "SenderEvent",
    "Sent",
    "Why",
    "receiver_for",
]

_STANDARD = LinkRules()


def receiver_for(rules: LinkRules) -> Receiver | BareReceiver:
    """The receiving half of a line with these rules."""
    return Receiver(rules) if rules.framing is Framing.FRAMES else BareReceiver(rules)


class Link:
    """Receiver and sender of one line behind the interface of one machine.

    Feed it, take events until None, send what it wants to send; call tick() at ``deadline``. For each
    Frame call accept() or refuse() once. start() gives it a message of ours. All times are a monotonic
    clock's, in seconds.
    """

    def __init__(self, rules: LinkRules = _STANDARD) -> None:
        self.receiver: Receiver | BareReceiver = receiver_for(rules)
        self.sender = Sender(rules)
        self._free = True
        self._events: deque[Event | SenderEvent] = deque()
        self._out: list[bytes] = []

    @property
    def busy(self) -> bool:
        """While true, an ENQ is answered NAK."""
        return self.receiver.busy

    @busy.setter
    def busy(self, value: bool) -> None:
        self.receiver.busy = value

    @property
    def idle(self) -> bool:
        """Nothing is going on in either direction, and nothing waits to be sent."""
        return self.receiver.idle and not self.sender.active

    @property
    def deadline(self) -> float | None:
        """When tick() wants to be called, None when the other side owes nothing."""
        receiver, sender = self.receiver.deadline, self.sender.deadline
        if receiver is None or sender is None:
            return sender if receiver is None else receiver
        return min(receiver, sender)

    def start(self, frames: Iterable[bytes], now: float) -> None:
        """Send a message when the line is free; Sent or NotSent will say how it went. Raises as Sender.start()."""
        self.sender.start(frames, now)
        self._collect()

    def cancel(self, now: float) -> None:
        """The message that is being sent, or waits for it, is not wanted any more."""
        self.sender.cancel(now)
        self._collect()

    def feed(self, data: bytes, now: float) -> None:
        """Take bytes as they came, in pieces of any size. Never raises."""
        if self.sender.owns_line:
            data = self.sender.feed(data, now)
            self._collect()
            if not data:
                return
        self.receiver.feed(data, now)
        self._take_turns(now)

    def tick(self, now: float) -> None:
        """Do what is due at ``deadline``; harmless at any other time."""
        self.receiver.tick(now)
        self._take_turns(now)
        self.sender.tick(now)
        self._collect()

    def accept(self, frame: Frame | None = None, *, now: float) -> None:
        """As Receiver.accept()."""
        self.receiver.accept(frame, now=now)
        self._take_turns(now)

    def refuse(self, frame: Frame | None = None, *, now: float) -> None:
        """As Receiver.refuse()."""
        self.receiver.refuse(frame, now=now)
        self._take_turns(now)

    def next_event(self) -> Event | SenderEvent | None:
        """The next event in order, None when there is none for now."""
        return self._events.popleft() if self._events else self.receiver.next_event()

    def bytes_to_send(self) -> bytes:
        """What has to go out now; each byte is given out once."""
        if not self._out:
            return self.receiver.bytes_to_send()
        self._out.append(self.receiver.bytes_to_send())
        out = b"".join(self._out)
        self._out.clear()
        return out

    def lost(self, now: float) -> None:
        """The connection is gone: a session is broken and a message not sent, and nothing is kept."""
        self.receiver.lost(now)
        self.sender.lost(now)
        self._out.clear()
        self._free = True
        self._collect()

    def _take_turns(self, now: float) -> None:
        """Tell the sender when the line has become free or taken."""
        free = self.receiver.idle
        if free is not self._free:
            self._free = free
            self.sender.line_is(free=free, now=now)
            self._collect()

    def _collect(self) -> None:
        """Keep what both have said so far in the order in which they said it: the receiver, then the sender."""
        while (event := self.receiver.next_event()) is not None:
            self._events.append(event)
        while (told := self.sender.next_event()) is not None:
            self._events.append(told)
        for out in (self.receiver.bytes_to_send(), self.sender.bytes_to_send()):
            if out:
                self._out.append(out)
