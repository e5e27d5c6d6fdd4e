"""The sending half of an ASTM line: a machine without sockets and without a clock. CLSI LIS01-A2.

It asks for the line with ENQ, sends one frame after another, each when the one before was answered, and
ends with EOT. The paragraph numbers are those of NCCLS LIS1-A. Four states:

    IDLE      nothing to send
    WAITING   a message waits for the line, or for a time before which it must not ask
    ASKING    ENQ is out
    SENDING   a frame is out

    state     what comes                        what we do                                 next
    IDLE      start()                           keep the message                           WAITING
    WAITING   the line is free, the time over   ENQ                                        ASKING
    ASKING    ACK                               the first frame                            SENDING
    ASKING    NAK: busy (6.2.6)                 wait 10 s; after six NotSent(BUSY)         WAITING, IDLE
    ASKING    ENQ: contention (6.2.7.1)         the host lets the instrument go first and
                                                waits 20 s or for the end of its session;
                                                the instrument asks again after 1 s        WAITING
    ASKING    15 s (6.5.2.1)                    EOT, NotSent(SILENT)                       IDLE
    SENDING   ACK                               the next frame; behind the last EOT, Sent  SENDING, IDLE
    SENDING   NAK                               the frame again; after six times EOT and
                                                NotSent(REFUSED) (6.5.1.2)                 SENDING, IDLE
    SENDING   EOT: taken, and a turn is asked   behind the last frame as ACK; else EOT,
              for (6.3.5)                       NotSent(INTERRUPTED), 15 s of pause        IDLE
    SENDING   another character                 as NAK, when no answer follows in a moment SENDING
    SENDING   15 s (6.5.2.3)                    EOT, NotSent(NO_ANSWER)                    IDLE
    any       lost(), cancel()                  NotSent, if there was a message            IDLE

Not here: what is in the frames (astm_frames builds them), when a message that was not sent is tried again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum, auto

from labgateway.protocols.astm_events import NotSent, NotSentWhy, SenderEvent, Sent
from labgateway.protocols.astm_frames import ENQ, EOT
from labgateway.protocols.astm_rules import LinkRules

SETTLE_S = 0.5
"""How long an answer that cannot be read may be followed by one that can."""

_ACK, _NAK, _EOT, _ENQ = 0x06, 0x15, 0x04, 0x05
_STANDARD = LinkRules()


class SenderState(Enum):
    """Where the sender stands; the module says what each means."""

    IDLE = auto()
    WAITING = auto()
    ASKING = auto()
    SENDING = auto()


class Sender:
    """The sender of one line, one message at a time. Give it what comes while it ``owns_line``.

    Events, bytes_to_send(), deadline and tick() as in astm_receiver.Receiver. On a line of both directions use
    astm_link.Link, which also tells it by line_is() when the line is free; alone, it always is.
    """

    def __init__(self, rules: LinkRules = _STANDARD) -> None:
        self.rules = rules
        self.state = SenderState.IDLE
        self._events: deque[SenderEvent] = deque()
        self._out: list[bytes] = []
        self._frames: list[bytes] = []
        self._at = 0
        """Which frame is out; so many were acknowledged."""
        self._tries = 0
        self._enquiries = 0
        self._contentions = 0
        self._sent_at = 0.0
        self._doubt_at: float | None = None
        """Since when an answer is here that cannot be read."""
        self._not_before = float("-inf")
        """When we may ask again."""
        self._until_turn = False
        """A session of the other side lifts that."""
        self._line_free = True

    @property
    def active(self) -> bool:
        """There is a message that is neither sent nor given up."""
        return self.state is not SenderState.IDLE

    @property
    def owns_line(self) -> bool:
        """What comes now is an answer to us."""
        return self.state in (SenderState.ASKING, SenderState.SENDING)

    @property
    def deadline(self) -> float | None:
        """When tick() wants to be called, None while nothing is awaited, or the line is taken."""
        match self.state:
            case SenderState.IDLE:
                return None
            case SenderState.WAITING:
                return self._not_before if self._line_free else None
            case _:
                end = self._sent_at + self.rules.answer_s
                return end if self._doubt_at is None else min(end, self._doubt_at + SETTLE_S)

    def start(self, frames: Iterable[bytes], now: float) -> None:
        """Send a message as soon as the line is free: frames as astm_frames.frames() gives them, from number 1.

        Raises RuntimeError while another message is not done, ValueError without any frame.
        """
        if self.active:
            raise RuntimeError("a message is being sent")
        self._frames = list(frames)
        if not self._frames:
            raise ValueError("a message without frames")
        self._at = self._enquiries = self._contentions = 0
        self.state = SenderState.WAITING
        self._ask(now)

    def line_is(self, *, free: bool, now: float) -> None:
        """Say whether the line is free of a session of the other side; when it becomes so, that had its turn."""
        if free and not self._line_free and self._until_turn:
            self._until_turn = False
            self._not_before = now
            self._contentions = 0
        self._line_free = free
        self._ask(now)

    def feed(self, data: bytes, now: float) -> bytes:
        """Take what came while we own the line. Returns what was not for us.

        What came together with an answer, but behind it, was sent before our next frame and answers nothing.
        """
        for at, byte in enumerate(data):
            if self.state is SenderState.ASKING:
                if byte == _ENQ and self.rules.host and self.rules.acks_contention:
                    self._contention(now)
                    return data[at:]
                answered = self._answer_to_enquiry(byte, now)
            else:
                answered = self._answer_to_frame(byte, now)
            if not self.owns_line:
                return data[at + 1 :]
            if answered:
                return b""
        return b""

    def tick(self, now: float) -> None:
        """Do what is due at ``deadline``; harmless at any other time."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return
        match self.state:
            case SenderState.WAITING:
                self._ask(now)
            case SenderState.ASKING:
                self._out.append(EOT)
                self._give_up(NotSentWhy.SILENT)
            case _ if now >= self._sent_at + self.rules.answer_s:
                self._out.append(EOT)
                self._give_up(NotSentWhy.NO_ANSWER)
            case _:
                self._again(now)

    def next_event(self) -> SenderEvent | None:
        """The next event in order, None when there is none for now."""
        return self._events.popleft() if self._events else None

    def bytes_to_send(self) -> bytes:
        """What has to go to the other side now; each byte is given out once."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def cancel(self, now: float) -> None:
        """The message is not wanted any more: it is given up, whatever the other side has of it."""
        if self.owns_line:
            self._out.append(EOT)
        if self.active:
            self._give_up(NotSentWhy.CANCELLED)

    def lost(self, now: float) -> None:
        """The connection is gone, and a message with it; what we had to wait for is over."""
        self._out.clear()
        self._not_before = float("-inf")
        self._until_turn = False
        self._line_free = True
        if self.active:
            self._give_up(NotSentWhy.LOST)

    def _ask(self, now: float) -> None:
        if self.state is SenderState.WAITING and self._line_free and now >= self._not_before:
            self.state = SenderState.ASKING
            self._transmit(ENQ, now)

    def _answer_to_enquiry(self, byte: int, now: float) -> bool:
        """Act on a byte; whether something of ours went out for it."""
        if byte == _ACK:
            self.state = SenderState.SENDING
            self._tries = 1
            self._transmit(self._frames[0], now)
            return True
        if byte == _NAK:
            self._enquiries += 1
            self._pause(now + self.rules.busy_s, until_turn=False)
            if self._enquiries >= self.rules.tries:
                self._give_up(NotSentWhy.BUSY)
        elif byte == _ENQ:
            self._contention(now)
        return False

    def _contention(self, now: float) -> None:
        self._contentions += 1
        pause = self.rules.contention_s if self.rules.host else self.rules.instrument_contention_s
        self._pause(now + pause, until_turn=True)
        if self._contentions >= self.rules.tries:
            self._give_up(NotSentWhy.CONTENTION)

    def _answer_to_frame(self, byte: int, now: float) -> bool:
        """Act on a byte; whether something of ours went out for it."""
        if byte == _ACK or (byte == _EOT and self._at + 1 == len(self._frames)):
            self._at += 1
            self._tries = 1
            if self._at < len(self._frames):
                self._transmit(self._frames[self._at], now)
            else:
                self._out.append(EOT)
                self._events.append(Sent())
                self._clear()
            return True
        if byte == _NAK:
            self._again(now)
            return True
        if byte == _EOT:
            self._at += 1
            self._out.append(EOT)
            self._pause(now + self.rules.interrupt_s, until_turn=True)
            self._give_up(NotSentWhy.INTERRUPTED)
        elif byte not in b"\r\n\0" and self._doubt_at is None:
            self._doubt_at = now
        return False

    def _again(self, now: float) -> None:
        if self._tries >= self.rules.tries:
            self._out.append(EOT)
            self._give_up(NotSentWhy.REFUSED)
            return
        self._tries += 1
        self._transmit(self._frames[self._at], now)

    def _transmit(self, data: bytes, now: float) -> None:
        self._out.append(data)
        self._sent_at = now
        self._doubt_at = None

    def _pause(self, until: float, *, until_turn: bool) -> None:
        self.state = SenderState.WAITING
        self._not_before = until
        self._until_turn = until_turn

    def _give_up(self, why: NotSentWhy) -> None:
        self._events.append(NotSent(why, self._at))
        self._clear()

    def _clear(self) -> None:
        self.state = SenderState.IDLE
        self._frames = []
        self._at = 0
        self._doubt_at = None
