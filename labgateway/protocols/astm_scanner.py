"""Where things begin and end in the bytes of an ASTM line: enquiries, transmissions, ends, and junk.

    ENQ | junk | STX 1 H|...CR ETX 3 A CR LF | EOT
    Sign.ENQUIRY  Sign.BLOCK(raw, end)         Sign.END         what is none of these is noise

Only the buffer in here knows about pieces; TCP and serial ports hand over any number of bytes. Nothing is
judged here but one thing: whether an ENQ is one. One damaged bit turns E, CR and others into ENQ, and the
ACK it would earn is taken for "frame stored". So it is never looked for inside a frame; between the
frames of a session, or behind junk, it counts only when an STX with number 1 follows, or for a moment
nothing does. In the place of a line end behind a frame it is a damaged line end.

An EOT in that place (some instruments send no line end) is as doubtful: it ended the session, and gave the line away,
unless a line feed or the next frame follows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from labgateway.protocols.astm_events import Noise
from labgateway.protocols.astm_frames import ENQ
from labgateway.protocols.astm_rules import Checksums, LinkRules, Numbers, size

CALM_S = 1.0
"""After so long a silence, what came before has nothing to do with what comes next."""
NOISE_BYTES = 64
"""How many bytes of noise are kept to be shown."""

_STX, _EOT, _ENQ, _LF, _CR = 0x02, 0x04, 0x05, 0x0A, 0x0D
_ONE = 0x31
_END = re.compile(rb"[\x03\x17]")
_SIGN = re.compile(rb"[\x02\x03\x04\x05\x17]")
_ANY = bytes(range(256))
_FILL = re.compile(rb"[\x00\x04\x06\x0a\x0d\x15]")
"""Stray answers, EOT, line ends: common between frames and sessions, and no noise."""


class Sign(Enum):
    """What was found. NO_START: a block whose STX was lost. TOO_LONG: one that was not kept."""

    ENQUIRY = auto()
    BLOCK = auto()
    NO_START = auto()
    TOO_LONG = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Found:
    """A sign. raw: of a BLOCK, STX to checksum. end: where in it the ETX or ETB stands."""

    sign: Sign
    raw: bytes = b""
    end: int = 0


class Scanner:
    """Add bytes, then take what they hold until None.

    ``heard_at``: when the last byte came. ``began_at``: when the block began that is not complete yet.
    ``muted``: what comes up to the next STX belongs to a block that was answered; its end is no sign.
    """

    def __init__(self, rules: LinkRules) -> None:
        self.heard_at = self.began_at = 0.0
        self.muted = False
        self._rules = rules
        self._buffer = bytearray()
        self._searched = 0
        """How much of the block in the buffer is known to hold no end."""
        self._skipping = False
        """Inside a block that is too long."""
        self._trailer = 0
        """How many bytes may still belong to the line end of the last block."""
        self._junk = False
        """Text came outside of blocks since the line was last calm or in order."""
        self._settled = False
        self._noise = bytearray()
        self._noise_length = 0
        self._noise_at = 0.0

    def __len__(self) -> int:
        """How many bytes are kept."""
        return len(self._buffer)

    @property
    def clean(self) -> bool:
        """Nothing is kept and nothing is doubtful: the next byte stands for itself."""
        return not (self._buffer or self._junk or self._noise_length or self._skipping or self._trailer)

    @property
    def unfinished(self) -> bool:
        """Part of something that has an end is here, and its end must come."""
        return self._skipping or bool(self._buffer and self._buffer[0] not in (_ENQ, _EOT))

    @property
    def in_block(self) -> bool:
        """Bytes that count as part of a block are coming."""
        return self._skipping or bool(self._buffer and self._buffer[0] == _STX)

    @property
    def may_be_whole(self) -> bool:
        """A block has its end, and only a checksum that it may have is not here."""
        return self._rules.checksums is Checksums.OPTIONAL and self.in_block and _END.search(self._buffer) is not None

    @property
    def noise_at(self) -> float | None:
        """When the first byte of noise came that was not taken yet."""
        return self._noise_at if self._noise_length else None

    def add(self, data: bytes, now: float) -> None:
        """Take bytes as they came."""
        if now - self.heard_at > CALM_S:
            self._junk = False
            self._trailer = 0
        self.heard_at = now
        self._buffer += data
        self._drop_trailer()

    def has_more_than_line_ends(self) -> bool:
        """Whether what is kept is more than CR, LF and NUL."""
        return bool(self._buffer.strip(b"\r\n\0"))

    def next(self, now: float, *, in_session: bool) -> Found | None:
        """The next sign, None when more bytes are needed. Outside of sessions only an ENQ is one."""
        while self._buffer:
            self._drop_trailer()
            found, more = self._in_session(now) if in_session else self._outside(now)
            if found or not more:
                self._settled = False
                return found
        return None

    def in_order(self) -> None:
        """What was found last made sense: earlier junk is no reason to doubt any more."""
        self._junk = False

    def settle(self) -> None:
        """So long nothing followed that a doubtful ENQ or EOT is one."""
        self._settled = True

    def give_up(self) -> bool:
        """What has begun will not end. Whether it was a block at all: a damaged line end may look like its start."""
        plausible = b"01234567" if self._rules.numbers is not Numbers.ABSENT else _ANY
        second = self._buffer[1:2]
        was_one = not self._buffer.startswith(b"\x02") or (bool(second) and second[0] in plausible)
        self._forget()
        self.muted = True
        return was_one

    def put_back(self, data: bytes) -> None:
        """These bytes of a block are to be looked at again."""
        self._trailer = 0
        self._buffer[0:0] = data

    def reset(self) -> None:
        """Forget all but the noise."""
        self._forget()
        self._trailer = 0
        self._junk = self.muted = False

    def _forget(self) -> None:
        self._buffer.clear()
        self._searched = 0
        self._skipping = False

    def take_noise(self) -> Noise | None:
        """What belonged to nothing since the last call."""
        if not self._noise_length:
            return None
        noise = Noise(self._noise_length, bytes(self._noise))
        self._noise.clear()
        self._noise_length = 0
        return noise

    # Each step says what it found, and whether looking on makes sense without more bytes.

    def _outside(self, now: float) -> tuple[Found | None, bool]:
        at = self._buffer.find(_ENQ)
        self._drop(len(self._buffer) if at < 0 else at, now)
        if at < 0:
            return None, False
        if not self._junk:
            return self._take_enquiry(), True
        return self._doubtful_enquiry(now, numbered=False)

    def _in_session(self, now: float) -> tuple[Found | None, bool]:
        if self._skipping:
            return self._skip()
        match = _SIGN.search(self._buffer)
        self._drop(match.start() if match else len(self._buffer), now)
        if match is None:
            return None, False
        first = self._buffer[0]
        if first == _STX:
            return self._block(now)
        if first == _ENQ:
            return self._doubtful_enquiry(now, numbered=self._rules.numbers is Numbers.STRICT)
        if first == _EOT:
            return self._end()
        return self._stray_end(now)

    def _block(self, now: float) -> tuple[Found | None, bool]:
        buffer = self._buffer
        self.muted = False
        if not self._searched:
            self.began_at = now
        match = _END.search(buffer, self._searched)
        if match is None:
            self._searched = len(buffer)
            if self._searched > self._rules.max_frame_bytes:
                self._forget()
                self._skipping = True
            return None, False
        self._searched = end = match.start()
        length = size(buffer, end, self._rules, settled=self._settled)
        if not length:
            return None, False
        self._searched = 0
        return Found(Sign.BLOCK, self._cut(length), end), True

    def _skip(self) -> tuple[Found | None, bool]:
        match = _END.search(self._buffer)
        del self._buffer[: match.start() if match else len(self._buffer)]
        length = size(self._buffer, 0, self._rules, settled=self._settled) if match else 0
        if not length:
            return None, False
        self._cut(length)
        self._skipping = False
        return Found(Sign.TOO_LONG), True

    def _end(self) -> tuple[Found | None, bool]:
        following = self._buffer[1:2]
        doubtful = self._trailer and self._rules.checksums is Checksums.REQUIRED
        if doubtful and not following and not self._settled:
            return None, False
        del self._buffer[:1]
        if doubtful and following and following[0] in (_STX, _LF):
            self._trailer -= 1
            return None, True
        self._trailer = 0
        self._junk = False
        return Found(Sign.END), True

    def _stray_end(self, now: float) -> tuple[Found | None, bool]:
        if self.muted or not self._junk:
            self._drop(1, now, text=False)
            return None, True
        length = size(self._buffer, 0, self._rules, settled=self._settled)
        if not length:
            return None, False
        self._cut(length)
        return Found(Sign.NO_START), True

    def _doubtful_enquiry(self, now: float, *, numbered: bool) -> tuple[Found | None, bool]:
        following = self._buffer[1:3]
        if not following or (numbered and len(following) == 1 and following[0] == _STX):
            return (self._take_enquiry(), True) if self._settled else (None, False)
        if following[0] == _STX and not (numbered and following[1] != _ONE):
            return self._take_enquiry(), True
        self._drop(1, now, text=following[0] not in (_ENQ, _EOT))
        return None, True

    def _take_enquiry(self) -> Found:
        # Several in a row are one: each answer too many would be taken for the answer to a frame.
        del self._buffer[: len(self._buffer) - len(self._buffer.lstrip(ENQ))]
        self._junk = self.muted = False
        return Found(Sign.ENQUIRY)

    def _cut(self, length: int) -> bytes:
        """Take a block and expect its CR LF, unless that was read as its checksum."""
        raw = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._trailer = {_CR: 1, _LF: 0}.get(raw[-1], 2)
        return raw

    def _drop_trailer(self) -> None:
        """The line end behind a block: CR LF, or what the wire made of it, an ENQ for example."""
        buffer = self._buffer
        while self._trailer and buffer:
            if buffer[0] == _EOT:
                return
            if buffer[0] == _STX:
                self._trailer = 0
            else:
                self._trailer = 0 if buffer[0] == _LF else self._trailer - 1
                del buffer[:1]

    def _drop(self, length: int, now: float, *, text: bool = True) -> None:
        """Forget bytes that belong to nothing; text among them makes the line doubtful."""
        dropped = _FILL.sub(b"", self._buffer[:length]) if text else b""
        del self._buffer[:length]
        if dropped:
            if not self._noise_length:
                self._noise_at = now
            self._junk = True
            self._noise_length += len(dropped)
            self._noise += dropped[: NOISE_BYTES - len(self._noise)]
