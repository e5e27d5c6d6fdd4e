"""The receiving half of an ASTM line: a machine without sockets and without a clock. CLSI LIS01-A2.

Bytes and times go in, events come out, answers are asked for. The paragraph numbers are those of NCCLS
LIS1-A; E1381-95 has the same ones. The instrument asks with ENQ and we answer ACK: a session is open. It
sends frames, one at a time, and waits for our answer to each. It ends the session with EOT. Three states:

    IDLE       nothing but an ENQ means anything (6.2.1)
    OPEN       the session is open: a frame, EOT, or after 30 s of nothing the end
    DECIDING   a good new frame was handed out; its owner has not said accept() or refuse()

    state     what comes                              what we do                             next
    IDLE      ENQ                                     ACK, Opened                            OPEN
    IDLE      ENQ while busy                          NAK                                    IDLE
    IDLE      anything else                           nothing                                IDLE
    OPEN      the frame that is due, undamaged        Frame                                  DECIDING
    OPEN      the last accepted frame once more       ACK                                    OPEN
    OPEN      a frame that is damaged, too long, out
              of turn, or silent for 10 s             NAK                                    OPEN
    OPEN      EOT                                     Closed                                 IDLE
    OPEN      ENQ between frames (astm_scanner)       Broken(RESTARTED), then as in IDLE     OPEN
    OPEN      30 s without a frame                    Broken(TIMEOUT)                        IDLE
    DECIDING  accept(), refuse()                      ACK, NAK                               OPEN
    DECIDING  bytes                                   kept for later, up to a bound          DECIDING
    DECIDING  15 s                                    the answer is late, see accept()       DECIDING
    any       lost()                                  Broken(LOST) if a session was open     IDLE

No transmission is answered twice, and none that its sender no longer waits for: it would take the answer
for the answer to its next one, and believe a frame stored that was not. So what a cable or a converter said
twice is answered once: an ENQ behind an ENQ, and the same frame again that was here when its first was answered.

Not here: where things begin and end in the bytes (astm_scanner, also on which ENQ is believed), the
sending half (astm_sender), both on one line (astm_link), what a frame says.
"""

from __future__ import annotations

from collections import Counter, deque
from enum import Enum, auto
from zlib import adler32

from labgateway.protocols.astm_events import Broken, Closed, Event, Frame, Noise, Opened, Why
from labgateway.protocols.astm_frames import ACK, ENQ, EOT, NAK, STX
from labgateway.protocols.astm_rules import HEX, Checksums, Fault, LinkRules, Numbers, damage
from labgateway.protocols.astm_scanner import CALM_S, Found, Scanner, Sign

__all__ = ["Broken", "Closed", "Event", "Fault", "Frame", "LinkRules", "Noise", "Opened", "Receiver", "State", "Why"]

HELD_BYTES = 1 << 20
"""What may wait behind an undecided frame. Only senders that do not wait for answers come near it."""
QUIET_FRAME_S = 10.0
"""A frame that pauses so long will not go on: ask again while its sender still waits (15 s)."""
SLOWEST_FRAME_S = 120.0
"""64,000 bytes at 9,600 baud take 67 s."""
SETTLE_S = 0.3
"""A doubtful ENQ is one if so long nothing follows."""

_STX, _ETX, _LF, _CR = 0x02, 0x03, 0x0A, 0x0D
_ENDS = b"\x03\x17"
_ZERO, _ONE = 0x30, 0x31
_STANDARD = LinkRules()


class State(Enum):
    """Where the receiver stands; the module says what each means."""

    IDLE = auto()
    OPEN = auto()
    DECIDING = auto()


# Looking up a member of an Enum costs as much as a dozen local names.
_OPEN, _DECIDING = State.OPEN, State.DECIDING


class Receiver:
    """The receiver of one line. Feed it, take events until None, send what it wants to send; repeat.

    After each Frame call accept() or refuse() once; events may follow from that too. ``deadline`` is the
    time at which tick() wants to be called, None when the other side owes nothing; times are a monotonic
    clock's, in seconds. ``busy``: while true, an ENQ is answered NAK. ``interrupts``: the next accepted frame is
    answered EOT, which asks the sender for a turn (6.3.4.4). ``faults`` counts what was answered NAK,
    ``repeats`` the frames that came again and were dropped.
    """

    def __init__(self, rules: LinkRules = _STANDARD) -> None:
        self.rules = rules
        self.state = State.IDLE
        self.deadline: float | None = None
        self.busy = False
        self.interrupts = False
        self.faults: Counter[Fault] = Counter()
        self.repeats = 0
        self._scanner = Scanner(rules)
        self._events: deque[Event] = deque()
        self._out: list[bytes] = []
        self._due = _ONE
        """The digit of the frame that is due."""
        self._last = b""
        """The last accepted frame of this session."""
        self._offered: Frame | None = None
        self._offered_at = 0.0
        self._refused = b""
        """The frame that was answered NAK last."""
        self._answered_at = float("-inf")
        self._asked_at = float("-inf")
        """When an ENQ was answered behind which nothing has come."""
        self._late = False
        """The sender of the offered frame has stopped waiting."""
        self._alive_at = 0.0
        """From when the 30 s count."""
        self._usual = (
            rules.checksums is Checksums.REQUIRED and rules.numbers is Numbers.STRICT and rules.max_frame_bytes > 250
        )
        self._ready = False
        """Open, nothing kept, refused or doubtful: a whole frame may take the short way."""
        self._alone = False
        """The offered frame took the short way and nothing came behind it."""

    @property
    def idle(self) -> bool:
        """No session is open and none may be about to: the line is free for the other direction."""
        return self.state is State.IDLE and not len(self._scanner)

    def next_event(self) -> Event | None:
        """The next event in order, None when there is none for now."""
        return self._events.popleft() if self._events else None

    def bytes_to_send(self) -> bytes:
        """What has to go to the instrument now; each byte is given out once."""
        out = self._out
        if not out:
            return b""
        if len(out) == 1:
            return out.pop()
        self._out = []
        return b"".join(out)

    def feed(self, data: bytes, now: float) -> None:
        """Take bytes as they came, in pieces of any size. Never raises."""
        if (self._ready and self._take_whole(data, now)) or not data:
            return
        scanner = self._scanner
        self._alone = False
        if now <= self._asked_at:
            data = data.lstrip(ENQ)
            if not data:
                return
        self._asked_at = float("-inf")
        scanner.add(data, now)
        if self.state is not State.DECIDING:
            self._run(now)
        elif now - self._offered_at > CALM_S and scanner.has_more_than_line_ends():
            self._late = True
        if self.state is State.DECIDING and len(scanner) > HELD_BYTES:
            self._break(Why.FLOOD)
        self._arm()

    def tick(self, now: float) -> None:
        """Do what is due at ``deadline``; harmless at any other time."""
        if self.deadline is None or now < self.deadline:
            return
        scanner = self._scanner
        if self.state is State.DECIDING:
            self._late = True
        elif self.state is State.OPEN and now >= self._end():
            self._say_noise()
            self._break(Why.TIMEOUT)
        elif scanner.may_be_whole and now >= scanner.heard_at + SETTLE_S:
            scanner.settle()
            self._run(now)
        elif scanner.unfinished and now >= scanner.heard_at + QUIET_FRAME_S:
            self._alive_at = max(self._alive_at, scanner.heard_at) if scanner.in_block else self._alive_at
            if scanner.give_up():
                self._reject(Fault.UNFINISHED)
        elif len(scanner) and now >= scanner.heard_at + SETTLE_S:
            scanner.settle()
            self._run(now)
        if scanner.noise_at is not None and now >= scanner.noise_at + CALM_S:
            self._say_noise()
        self._arm()

    def accept(self, frame: Frame | None = None, *, now: float | None = None) -> None:
        """Acknowledge the frame of the last Frame event; it counts as received from here on.

        Call it after the commit where the frame completes a message. frame: that frame, so that a
        decision which took so long that its session has broken meanwhile touches no later one. now: from here the
        30 s count; without it from the frame's arrival. Does nothing when no frame waits. A sender that
        has stopped waiting, because 15 s are over or it sent more, gets no answer.
        """
        offered = self._offered
        if offered is None or (frame is not None and frame is not offered):
            return
        self._last, self._refused = offered.raw, b""
        self._due = _ZERO + (offered.number + 1) % 8
        if not self._late:
            self._answer(EOT if self.interrupts else ACK, now)
            self.interrupts = False
        self._decided(now)

    def refuse(self, frame: Frame | None = None, *, now: float | None = None) -> None:
        """Answer NAK: the frame could not be stored, and the sender may send it again. As accept() otherwise."""
        if self._offered is None or (frame is not None and frame is not self._offered):
            return
        self.faults[Fault.REFUSED] += 1
        self._refused = self._offered.raw
        self._alone = False
        if not self._late:
            self._answer(NAK, now)
        self._decided(now)

    def lost(self, now: float) -> None:
        """The connection is gone: an open session is broken, and nothing is kept."""
        self._scanner.heard_at = now
        self._say_noise()
        if self.state is not State.IDLE:
            self._break(Why.LOST)
        self._scanner.reset()
        self._out.clear()
        self._refused = b""
        self._asked_at = self._answered_at = float("-inf")
        self._arm()

    # The way of a frame

    def _take_whole(self, data: bytes, now: float) -> bool:
        """One whole short frame, due and undamaged, ended by CR LF: as nearly all come. False: the long way."""
        end = len(data) - 5
        due = self._due
        if not 2 <= end <= 250 or data[1] != due or data[0] != _STX or data[-1] != _LF or data[-2] != _CR:
            return False
        text = data[2:end]
        ending = data[end]
        if ending not in _ENDS or b"\x03" in text or b"\x17" in text:
            return False
        if HEX.get(data[end + 1 : end + 3]) != (due + adler32(text, 0) + ending) & 0xFF:
            return False
        self._offered = frame = Frame(due - _ZERO, text, ending == _ETX, data[:-2])
        self._events.append(frame)
        self.state = _DECIDING
        self._ready = self._late = False
        self._alone = True
        scanner = self._scanner
        scanner.muted = False
        scanner.heard_at = self._offered_at = now
        self.deadline = now + self.rules.answer_s
        return True

    def _run(self, now: float) -> None:
        """Work through what came until more bytes are needed or a frame waits for its owner."""
        while self.state is not State.DECIDING:
            found = self._scanner.next(now, in_session=self.state is State.OPEN)
            if found is None:
                return
            match found.sign:
                case Sign.BLOCK:
                    self._judge(found, now)
                case Sign.ENQUIRY:
                    self._begin(now)
                case Sign.END:
                    self._close()
                case Sign.TOO_LONG:
                    self._reject(Fault.TOO_LONG, now)
                case Sign.NO_START:
                    self._reject(Fault.NO_START, now)

    def _judge(self, found: Found, now: float) -> None:
        """A transmission from STX to its end: offer it, acknowledge a repeat, or refuse it."""
        raw, end, numbers = found.raw, found.end, self.rules.numbers
        twice = now <= self._answered_at
        if twice and raw == self._refused:
            self._scanner.muted = True
        elif fault := damage(raw, end, self.rules):
            restart = raw.rfind(ENQ + STX)
            if restart > 0 and fault is not Fault.TOO_LONG:
                # The frame never ended, and a new session began inside it: look at that instead.
                self._scanner.put_back(raw[restart:])
            else:
                self._reject(fault, now, raw)
        elif raw == self._last:
            # With other bytes under the last number it is no repeat, and must not be acknowledged away.
            self.repeats += 1
            if not twice:
                self._answer(ACK, now)
            self._scanner.muted = True
            self._alive_at = now
        elif numbers is Numbers.STRICT and raw[1] != self._due:
            self._reject(Fault.NUMBER, now, raw)
        else:
            self._say_noise()
            self._scanner.in_order()
            number, start = (0, 1) if numbers is Numbers.ABSENT else (raw[1] - _ZERO, 2)
            self._offered = Frame(number, raw[start:end], raw[end] == _ETX, raw)
            self._events.append(self._offered)
            self.state = _DECIDING
            self._late = False
            self._offered_at = now

    def _decided(self, now: float | None) -> None:
        self.state = _OPEN
        self._offered = None
        self._alive_at = self._scanner.heard_at if now is None else now
        if self._alone:
            self._alone = False
            self._ready = True
            self.deadline = self._alive_at + self.rules.receiver_s
        else:
            self._run(self._alive_at)
            self._arm()

    def _reject(self, fault: Fault, now: float | None = None, raw: bytes = b"") -> None:
        self.faults[fault] += 1
        self._answer(NAK, self._scanner.heard_at if now is None else now)
        self._refused = raw
        self._scanner.muted = True
        if now is not None:
            self._alive_at = now

    def _answer(self, answer: bytes, now: float | None) -> None:
        self._out.append(answer)
        self._answered_at = self._scanner.heard_at if now is None else now

    # Sessions

    def _begin(self, now: float) -> None:
        self._say_noise()
        self._asked_at = float("-inf") if len(self._scanner) else now
        if self.state is State.OPEN:
            self._events.append(Broken(Why.RESTARTED))
        if self.busy:
            self.state = State.IDLE
            self.faults[Fault.BUSY] += 1
            self._out.append(NAK)
            return
        self.state = State.OPEN
        self._out.append(ACK)
        self._events.append(Opened())
        self._due = _ONE
        self._last = b""
        self._alive_at = now

    def _close(self) -> None:
        self._say_noise()
        self.state = State.IDLE
        self._events.append(Closed())
        if self.rules.acks_eot:
            self._out.append(ACK)

    def _break(self, why: Why) -> None:
        self._events.append(Broken(why))
        self.state = State.IDLE
        self._offered = None
        self._scanner.reset()

    def _say_noise(self) -> None:
        if noise := self._scanner.take_noise():
            self._events.append(noise)

    # Time

    def _end(self) -> float:
        """When an open session ends if nothing more comes."""
        scanner = self._scanner
        if scanner.in_block:
            alive_at = max(self._alive_at, scanner.heard_at)
            return min(alive_at + self.rules.receiver_s, scanner.began_at + SLOWEST_FRAME_S)
        return self._alive_at + self.rules.receiver_s

    def _arm(self) -> None:
        scanner = self._scanner
        times: list[float] = []
        if self.state is State.DECIDING:
            if not self._late:
                times.append(self._offered_at + self.rules.answer_s)
        else:
            if self.state is State.OPEN:
                times.append(self._end())
            if scanner.may_be_whole:
                times.append(scanner.heard_at + SETTLE_S)
            elif scanner.unfinished:
                times.append(scanner.heard_at + QUIET_FRAME_S)
            elif len(scanner):
                times.append(scanner.heard_at + SETTLE_S)
            if scanner.noise_at is not None:
                times.append(scanner.noise_at + CALM_S)
        self.deadline = min(times, default=None)
        self._ready = self._usual and self.state is State.OPEN and scanner.clean and not self._refused
