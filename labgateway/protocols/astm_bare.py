"""The receiving half of ASTM lines without frames: a machine like astm_receiver's, for instruments whose driver says so.

    tokens     ENQ  STX  H|...<CR>L|1|N<CR>  ETX  EOT      each answered by ACK (Maglumi), the text as a whole
    records    H|...<CR>P|1...<CR>L|1|N<CR>                records at once; answered only behind an ENQ

    state     what comes                              what we do                                next
    READY     ENQ                                     ACK, Opened; NAK while busy               READY
    READY     STX                                     ACK where it is a token                   TEXT
    READY     H and a delimiter (records)             a message begins                          RECORDS
    READY     EOT                                     Closed; ACK where it is a token           READY
    TEXT      ETX behind a good text                  Frame                                     DECIDING
    TEXT      ETX behind a damaged one, 10 s silence  NAK                                       READY
    RECORDS   the end of an L record, or silence      Frame                                     DECIDING
              behind the end of another record
    RECORDS   silence inside a record                 the rest as an unended Frame, Broken      READY
    DECIDING  accept(), refuse()                      ACK, NAK                                  READY
    any       lost()                                  as silence inside a record                READY

Without a checksum damage shows only where it made a control character, so no text that holds one is taken. Two hex
digits behind ETX are a checksum and must be right. Nothing is looked for inside a text: a damaged E looks like ENQ,
and the ACK it would earn says "stored".
"""

from __future__ import annotations

import re
from collections import Counter, deque
from enum import Enum, auto

from labgateway.protocols.astm_events import Broken, Closed, Event, Frame, Noise, Opened, Why
from labgateway.protocols.astm_frames import ACK, ENQ, EOT, ETX, NAK, STX
from labgateway.protocols.astm_rules import HEX, Fault, Framing, LinkRules, matches

MOST_BYTES = 1 << 20
"""Of one message."""
QUIET_S = 10.0
SETTLE_S = 0.3
"""So long a checksum may follow ETX in a read of its own."""
NOISE_BYTES = 64

_DAMAGE = re.compile(rb"[\x00-\x06\x0e-\x1f]")
_HEADER = re.compile(rb"H[!-/:-@\[-`{-~]")
_LAST = re.compile(rb"(?:\A|[\r\n])L(?![0-9A-Za-z \t])[^\r\n]*[\r\n]")
_FILL = b"\r\n\x00\x06\x15"


def tokens(text: bytes) -> list[bytes]:
    """A message of ours for such an instrument, each part to be acknowledged; for Sender.start().

    Raises ValueError for a character that may not stand in a text.
    """
    if found := _DAMAGE.search(text):
        raise ValueError(f"byte 0x{found[0][0]:02x} at {found.start()} may not stand in a message")
    return [STX, text + ETX]


class State(Enum):
    """Where the receiver stands; the module says what each means."""

    READY = auto()
    TEXT = auto()
    RECORDS = auto()
    DECIDING = auto()


class BareReceiver:
    """The receiver of one line; its parts are those of `astm_receiver.Receiver`."""

    def __init__(self, rules: LinkRules) -> None:
        self.rules = rules
        self.state = State.READY
        self.busy = False
        self.interrupts = False
        self.faults: Counter[Fault] = Counter()
        self.repeats = 0
        self._tokens = rules.framing is Framing.TOKENS
        self._asked = False
        """A session is open: an ENQ came, and no EOT."""
        self._enquired_at: float | None = None
        """When the last ENQ came, with nothing behind it yet."""
        self._buffer = bytearray()
        self._heard_at = 0.0
        self._events: deque[Event] = deque()
        self._out: list[bytes] = []
        self._offered: Frame | None = None
        self._silent = False
        """The offered text is not to be answered."""
        self._noise = bytearray()
        self._noise_length = 0

    @property
    def idle(self) -> bool:
        """No session is open and none may be about to: the line is free for the other direction."""
        return self.state is State.READY and not self._asked and not self._buffer

    @property
    def deadline(self) -> float | None:
        """When tick() wants to be called, None when the other side owes nothing."""
        match self.state:
            case State.TEXT:
                return self._heard_at + (SETTLE_S if ETX in self._buffer else QUIET_S)
            case State.RECORDS:
                return self._heard_at + self.rules.silence_s
            case State.READY if self._asked:
                return self._heard_at + self.rules.receiver_s
            case State.READY if self._noise_length:
                return self._heard_at + 1.0
            case _:
                return None

    def next_event(self) -> Event | None:
        """The next event in order, None when there is none for now."""
        return self._events.popleft() if self._events else None

    def bytes_to_send(self) -> bytes:
        """What has to go to the instrument now; each byte is given out once."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def feed(self, data: bytes, now: float) -> None:
        """Take bytes as they came, in pieces of any size. Never raises."""
        self._heard_at = now
        self._buffer += data
        self._run()

    def tick(self, now: float) -> None:
        """Do what is due at ``deadline``; harmless at any other time."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return
        match self.state:
            case State.TEXT:
                if not self._text(settled=True):
                    self._buffer.clear()
                    self._reject(Fault.UNFINISHED)
            case State.RECORDS:
                self._silence(Why.QUIET)
            case _:
                self._say_noise()
                if self._asked:
                    self._asked = False
                    self._events.append(Broken(Why.TIMEOUT))
        self._run()

    def accept(self, frame: Frame | None = None, *, now: float | None = None) -> None:
        """Acknowledge the text of the last Frame event. As in Receiver."""
        del now
        if self._offered is not None and (frame is None or frame is self._offered):
            self._decided(ACK)

    def refuse(self, frame: Frame | None = None, *, now: float | None = None) -> None:
        """Answer NAK: it could not be stored. As in Receiver."""
        del now
        if self._offered is not None and (frame is None or frame is self._offered):
            self.faults[Fault.REFUSED] += 1
            self._decided(NAK)

    def lost(self, now: float) -> None:
        """The connection is gone: what was begun is handed out, and nothing is kept."""
        self._heard_at = now
        if self.state is State.RECORDS:
            self._silence(Why.LOST)
        elif self._asked or self.state is not State.READY:
            self._events.append(Broken(Why.LOST))
        self._say_noise()
        self.state, self._asked, self._offered = State.READY, False, None
        self._buffer.clear()
        self._out.clear()

    def _run(self) -> None:
        more = True
        while more and self._buffer:
            match self.state:
                case State.READY:
                    more = self._between()
                case State.TEXT:
                    more = self._text(settled=False)
                case State.RECORDS:
                    more = self._records()
                case State.DECIDING:
                    more = False
        if len(self._buffer) > MOST_BYTES:
            self._buffer.clear()
            if self.state is State.TEXT:
                self._reject(Fault.TOO_LONG)
            else:
                self._events.append(Broken(Why.FLOOD))
                self.state, self._offered = State.READY, None

    def _between(self) -> bool:
        """Take one byte that stands in no text; whether looking on makes sense without more."""
        buffer = self._buffer
        first = bytes(buffer[:1])
        if not self._tokens and _HEADER.match(buffer):
            self._say_noise()
            self.state = State.RECORDS
            return True
        if not self._tokens and bytes(buffer) == b"H":
            return False
        del buffer[:1]
        if first != ENQ:
            self._enquired_at = None
        match first:
            case b"\x05" if (
                self._asked and self._enquired_at is not None and self._heard_at - self._enquired_at < SETTLE_S
            ):
                pass  # said twice in one breath, wherever it was cut: answered once; who heard nothing waits for seconds
            case b"\x05":
                self._enquired_at = self._heard_at
                self._enquiry()
            case b"\x02":
                self._say_noise()
                self.state = State.TEXT
                if self._tokens:
                    self._out.append(ACK)
            case b"\x04":
                if self._asked:
                    self._events.append(Closed())
                if self._tokens or self.rules.acks_eot:
                    self._out.append(ACK)
                self._asked = False
            case _ if first not in _FILL:
                self._noise_length += 1
                self._noise += first[: NOISE_BYTES - len(self._noise)]
            case _:
                pass
        return True

    def _enquiry(self) -> None:
        self._buffer[:] = self._buffer.lstrip(ENQ)
        if self._asked:
            self._events.append(Broken(Why.RESTARTED))
        if self.busy:
            self._asked = False
            self.faults[Fault.BUSY] += 1
            self._out.append(NAK)
            return
        self._asked = True
        self._out.append(ACK)
        self._events.append(Opened())

    def _text(self, *, settled: bool) -> bool:
        """Offer the text that has ended; whether there was one. settled: nothing more comes behind its ETX."""
        buffer = self._buffer
        end = buffer.find(ETX)
        if end < 0:
            return False
        behind = bytes(buffer[end + 1 : end + 3])
        digits = behind if behind in HEX else b""
        if not digits and not settled and all(byte in b"0123456789ABCDEFabcdef" for byte in behind):
            return False
        text = bytes(buffer[:end])
        # A session that began anew inside this text left its beginning here.
        text = text[text.rfind(STX) + 1 :]
        raw = STX + text + ETX + digits
        del buffer[: end + 1 + len(digits)]
        if digits and not matches(text + ETX, digits):
            self._reject(Fault.CHECKSUM)
        elif _DAMAGE.search(text) or not _HEADER.match(text):
            self._reject(Fault.NO_CHECKSUM)
        else:
            self._offer(Frame(0, text, True, raw), silent=False)
        return True

    def _records(self) -> bool:
        """Offer the records up to the end of an L record; whether there was one."""
        found = _LAST.search(self._buffer)
        if found is None:
            if (end := self._buffer.find(EOT)) >= 0:
                text = bytes(self._buffer[:end])
                del self._buffer[:end]
                self._ended(text, Why.QUIET)
                return True
            return False
        text = bytes(self._buffer[: found.end()])
        del self._buffer[: found.end()]
        self._ended(text, Why.QUIET)
        return True

    def _silence(self, why: Why) -> None:
        text = bytes(self._buffer)
        self._buffer.clear()
        self._ended(text, why)

    def _ended(self, text: bytes, why: Why) -> None:
        """Records whose end has come, by an L record or by silence. Inside a record it is no end: a value may be cut."""
        whole = why is not Why.LOST and text[-1:] in (b"\r", b"\n") and not _DAMAGE.search(text)
        self._offer(Frame(0, text, whole, text), silent=not self._asked or not whole)
        if not whole:
            self._events.append(Broken(why))
        elif not self._asked:
            self._events.append(Closed())

    def _offer(self, frame: Frame, *, silent: bool) -> None:
        self._offered, self._silent = frame, silent
        self._events.append(frame)
        self.state = State.DECIDING

    def _decided(self, answer: bytes) -> None:
        self._offered = None
        self.state = State.READY
        if not self._silent:
            self._out.append(answer)
        self._run()

    def _reject(self, fault: Fault) -> None:
        self.faults[fault] += 1
        self.state = State.READY
        self._out.append(NAK)

    def _say_noise(self) -> None:
        if self._noise_length:
            self._events.append(Noise(self._noise_length, bytes(self._noise)))
            self._noise.clear()
            self._noise_length = 0
