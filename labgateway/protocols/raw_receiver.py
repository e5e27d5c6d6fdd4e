"""The receiving half of a line with a raw framing: a machine without sockets and without a clock.

Bytes and times go in, events come out, answers are asked for. Which bytes are a text is the framing's business.

    state     what comes                       what we do                                     next
    READY     ENQ, where the framing has it    ACK, or NAK while busy                         READY
    READY     EOT                              Closed                                         READY
    READY     a good text                      Frame                                          DECIDING
    READY     a damaged or endless text        NAK where texts are answered, else Unfinished  READY
    READY     ACK, NAK to our reply            nothing; the reply again, three times          READY
    READY     answer()                         our text; Sent by ACK, NotSent by the third    READY
                                               NAK, another text, or 15 s without either
    DECIDING  accept(), refuse()               the framing's answer and our reply; NAK        READY
    DECIDING  bytes                            kept for later, up to a bound                  DECIDING
    DECIDING  15 s                             the answer is late and is not given            DECIDING
    any       lost()                           Broken(LOST) if a text was begun or undecided  READY

A text that was begun and will not end is Unfinished: where nothing is answered its sender believes it received, and
where texts are answered it is shown until it comes again. Repeats are not told apart: these protocols number nothing,
and the same result twice is found out where results are compared. Not here: what a reply says; a framing in lines (emerald_receiver).
"""

from __future__ import annotations

from collections import Counter, deque

from labgateway.protocols.astm_events import (
    Broken,
    Closed,
    Frame,
    Noise,
    NotSent,
    NotSentWhy,
    Opened,
    RawEvent,
    Sent,
    Unfinished,
    Why,
)
from labgateway.protocols.astm_rules import Fault
from labgateway.protocols.raw_framing import ACK, ENQ, EOT, MAX_TEXT_BYTES, NAK, STX, Answer, Framing, find, wrap

__all__ = ["RawReceiver"]

HELD_BYTES = 1 << 20
"""What may wait behind an undecided text."""
QUIET_S = 10.0
"""A text that pauses so long will not go on."""
ANSWER_S = 15.0
"""An instrument no longer waits for an answer after so long (as LIS1-A 6.5.1.2; none of these documents says less)."""
NOISE_BYTES = 1024
"""So much of what belongs to nothing is shown."""
REPLY_TRIES = 3


class RawReceiver:
    """The receiver of one line. Feed it, take events until None, send what it wants to send; repeat.

    After each Frame call accept() or refuse() once. Frame.raw is the whole transmission, Frame.text its text,
    Frame.number 0. deadline, tick, busy, faults: as in `astm_receiver.Receiver`.
    """

    def __init__(self, framing: Framing) -> None:
        self.framing = framing
        self.deadline: float | None = None
        self.busy = False
        self.faults: Counter[Fault] = Counter()
        self._buffer = bytearray()
        self._events: deque[RawEvent] = deque()
        self._out = bytearray()
        self._offered: Frame | None = None
        self._offered_at = 0.0
        self._late = False
        self._heard_at = 0.0
        self._noise = bytearray()
        self._noise_length = 0
        self._reply = b""
        """Our text that was not answered yet."""
        self._replied = 0
        self._awaited_at: float | None = None
        """Since when the answer to our text is awaited; None: nobody asks how it went."""

    def next_event(self) -> RawEvent | None:
        """The next event in order, None when there is none for now."""
        return self._events.popleft() if self._events else None

    def bytes_to_send(self) -> bytes:
        """What has to go to the instrument now; each byte is given out once."""
        out = bytes(self._out)
        self._out.clear()
        return out

    @property
    def late(self) -> bool:
        """The decision about the text of the last Frame comes too late to be given."""
        return self._late

    @property
    def idle(self) -> bool:
        """No text is begun and none is undecided."""
        return self._offered is None and not self._buffer

    def feed(self, data: bytes, now: float) -> None:
        """Take bytes as they came, in pieces of any size. Never raises."""
        if not data:
            return
        self._heard_at = now
        self._buffer += data
        if self._offered is None:
            self._run(now)
        if self._offered is not None and len(self._buffer) > HELD_BYTES:
            self._events.append(Broken(Why.FLOOD))
            self._reset()
        self._arm()

    def tick(self, now: float) -> None:
        """Do what is due at ``deadline``; harmless at any other time."""
        if self.deadline is None or now < self.deadline:
            return
        if self._offered is not None:
            self._late = True
        elif self._buffer:
            self._stopped(now)
        else:
            if self._awaited_at is not None and now >= self._awaited_at + ANSWER_S:
                self._told(NotSent(NotSentWhy.NO_ANSWER, 0))
            self._say_noise()
        self._arm()

    def accept(self, frame: Frame | None = None, *, now: float | None = None, reply: bytes | None = None) -> None:
        """Acknowledge the text of the last Frame event, after the commit where it completes a message.

        frame: that frame, so that a late decision touches no other. reply: a text of ours that follows the answer (or
        is it). Does nothing when none waits.
        """
        offered = self._offered
        if offered is None or (frame is not None and frame is not offered):
            return
        if not self._late:
            self._acknowledge(offered.text, replied=reply is not None)
            if reply is not None:
                self._reply, self._replied = wrap(reply, self.framing), 1
                self._out += self._reply
        self._decided(now)

    def answer(self, text: bytes, *, now: float) -> bool:
        """Send a text that answers the last one of the instrument, when no other has begun since.

        Sent or NotSent says how it went. False: the instrument is talking, or nothing is answered by this framing.
        """
        if not self.idle or self._awaited_at is not None or self.framing.answer is not Answer.ACK:
            return False
        self._reply, self._replied = wrap(text, self.framing), 1
        self._out += self._reply
        self._awaited_at = now
        self._arm()
        return True

    def refuse(self, frame: Frame | None = None, *, now: float | None = None) -> None:
        """Answer NAK where texts are answered: it could not be stored. As accept() otherwise."""
        if self._offered is None or (frame is not None and frame is not self._offered):
            return
        self.faults[Fault.REFUSED] += 1
        if not self._late:
            self._nak()
        self._decided(now)

    def lost(self, now: float) -> None:
        """The connection is gone: nothing is kept."""
        self._heard_at = now
        broken = not self.idle
        self._told(NotSent(NotSentWhy.LOST, 0))
        if self._offered is None:
            self._give_up(Why.LOST)
        self._say_noise()
        if broken:
            self._events.append(Broken(Why.LOST))
        self._reset()
        self._out.clear()
        self._arm()

    def _acknowledge(self, text: bytes, *, replied: bool) -> None:
        match self.framing.answer:
            case Answer.ACK:
                self._out.append(ACK)
            case Answer.COUNTER:
                self._out += text[:1]
            case Answer.FRAMED:
                self._out += wrap(bytes([ACK]), self.framing)
            case Answer.MORE if not replied:
                self._out += wrap(b">", self.framing)
            case Answer.NOTHING | Answer.MORE | Answer.LINES:
                pass

    def _run(self, now: float) -> None:
        buffer = self._buffer
        while buffer and self._offered is None:
            if buffer[0] != STX:
                self._between()
                continue
            found = find(buffer, self.framing)
            if found is None:
                if len(buffer) <= MAX_TEXT_BYTES:
                    return
                del buffer[:1]
                self._reject(Fault.TOO_LONG)
                continue
            whole = bytes(buffer[: found.stop])
            del buffer[: found.stop]
            if found.start:
                self._note_noise(whole[: found.start])
            self._say_noise()
            if not found.good:
                if self.framing.answer is Answer.NOTHING:
                    self._events.append(Unfinished(whole[found.start :], Fault.CHECKSUM.value))
                self._reject(Fault.CHECKSUM)
            elif self.framing.answer is Answer.FRAMED and found.text in (b"\x06", b"\x15"):
                self._answered(found.text[0])
            elif len(found.text) > MAX_TEXT_BYTES:
                self._reject(Fault.TOO_LONG)
            else:
                self._told(NotSent(NotSentWhy.INTERRUPTED, 0))
                self._offered = Frame(0, found.text, found.last, whole[found.start :])
                self._offered_at = now
                self._late = False
                self._events.append(self._offered)

    def _between(self) -> None:
        """Take what stands before the next STX: enquiries, ends, noise."""
        buffer = self._buffer
        start = buffer.find(STX)
        before = bytes(buffer if start < 0 else buffer[:start])
        del buffer[: len(before)]
        noise = bytearray()
        for byte in before:
            if self.framing.enquiry and byte == ENQ:
                if self.busy:
                    self.faults[Fault.BUSY] += 1
                    self._out.append(NAK)
                else:
                    self._out.append(ACK)
                    self._events.append(Opened())
            elif self.framing.enquiry and byte == EOT:
                self._events.append(Closed())
            elif byte in (ACK, NAK):
                self._answered(byte)
            elif byte not in b"\r\n\x00\x04":
                noise.append(byte)
        self._note_noise(bytes(noise))

    def _answered(self, answer: int) -> None:
        """What the instrument says to our reply."""
        if answer == NAK and self._reply and self._replied < REPLY_TRIES:
            self._replied += 1
            self._out += self._reply
            if self._awaited_at is not None:
                self._awaited_at = self._heard_at
        else:
            self._told(NotSent(NotSentWhy.REFUSED, 0) if answer == NAK else Sent())
            self._reply = b""

    def _told(self, how: Sent | NotSent) -> None:
        """How the text of ours went whose answer is awaited."""
        if self._awaited_at is not None:
            self._awaited_at = None
            self._reply = b""
            self._events.append(how)

    def _give_up(self, why: Why) -> None:
        """What has begun is handed out: it will not be whole."""
        if len(self._buffer) > 1 and self._buffer[0] == STX:
            self._events.append(Unfinished(bytes(self._buffer[:MAX_TEXT_BYTES]), why.value))

    def _stopped(self, now: float) -> None:
        """What has begun did not go on."""
        self._give_up(Why.QUIET)
        del self._buffer[:1]
        self._reject(Fault.UNFINISHED)
        self._run(now)

    def _note_noise(self, data: bytes) -> None:
        self._noise_length += len(data)
        self._noise += data[: NOISE_BYTES - len(self._noise)]

    def _say_noise(self) -> None:
        if self._noise_length:
            self._events.append(Noise(self._noise_length, bytes(self._noise)))
            self._noise.clear()
            self._noise_length = 0

    def _reject(self, fault: Fault) -> None:
        self.faults[fault] += 1
        self._nak()

    def _nak(self) -> None:
        match self.framing.answer:
            case Answer.NOTHING | Answer.LINES:
                pass
            case Answer.FRAMED:
                self._out += wrap(bytes([NAK]), self.framing)
            case Answer.MORE:
                self._out += wrap(b"?", self.framing)
            case Answer.ACK | Answer.COUNTER:
                self._out.append(NAK)

    def _decided(self, now: float | None) -> None:
        self._offered = None
        self._run(self._heard_at if now is None else now)
        self._arm()

    def _reset(self) -> None:
        self._offered = None
        self._buffer.clear()
        self._reply = b""

    def _arm(self) -> None:
        if self._offered is not None:
            self.deadline = None if self._late else self._offered_at + ANSWER_S
        elif self._buffer or self._noise_length:
            self.deadline = self._heard_at + QUIET_S
        elif self._awaited_at is not None:
            self.deadline = self._awaited_at + ANSWER_S
        else:
            self.deadline = None
