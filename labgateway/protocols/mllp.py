r"""MLLP, the framing of HL7 v2 over a byte stream (HL7 2.5.1 appendix C; MLLP release 1), as a machine.

    ... junk ... VT  message  FS CR   VT  message  FS CR
                 0B           1C 0D

Not a socket and not a parser: bytes and time in, events out. It takes what analyzers really send: VT
after junk, a bare FS, doubled framing, several blocks in one read, one block in many. A VT inside a
block is text (a line break pasted from a word processor), unless a header follows it: then the
block before it was broken off. UTF-16 and UTF-32 cannot be framed by single bytes and are not supported.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

VT, FS, CR = b"\x0b", b"\x1c", b"\r"
COMMITTED, NOT_COMMITTED = b"\x0b\x06\x1c\r", b"\x0b\x15\x1c\r"
"""The blocks of MLLP release 2 that say whether the receiver has a message on disk, before any HL7 answer."""
_BLANK = b"\r\n\0 \x0b"
_RESTART = re.compile(rb"\x0b(?=MSH|FHS|BHS)")
_RESTART_OR_CUT = re.compile(rb"\x0b(?=MSH|FHS|BHS|(?:[MFB][SH]?)?\Z)")


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits of one line. max_bytes: content of one block. junk_bytes, head_bytes: what is kept of the rest.

    end_idle_s: a bare FS ends the block when nothing follows for so long. block_idle_s: a block in
    which nothing comes for so long is broken, and junk is reported.
    """

    max_bytes: int = 16 * 1024 * 1024
    end_idle_s: float = 0.2
    block_idle_s: float = 30.0
    junk_bytes: int = 256
    head_bytes: int = 4096


@dataclass(frozen=True, slots=True)
class Post:
    """A message of ours to an instrument. awaited: its MSH-10, by which the answer to it is known; "": none comes."""

    data: bytes
    awaited: str = ""


class Breach(StrEnum):
    """Why a block never ended."""

    LOST = "the line was lost inside a block"
    SILENT = "the sender fell silent inside a block"
    RESTARTED = "a new block began inside a block"


@dataclass(frozen=True, slots=True)
class Block:
    """One whole block: what stood between VT and FS. Never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """What came of a block that never ended. Keep it, deliver nothing of it, acknowledge nothing."""

    data: bytes
    why: Breach


@dataclass(frozen=True, slots=True)
class TooLong:
    """A block beyond the limit is over. head: its beginning, for an answer; length_bytes: all of it."""

    head: bytes
    length_bytes: int


@dataclass(frozen=True, slots=True)
class Junk:
    """Bytes outside any block. data: their beginning. ended: FS followed, so the sender leaves VT out."""

    data: bytes
    length_bytes: int
    ended: bool


Event = Block | Broken | TooLong | Junk


class _State(Enum):
    OUTSIDE = auto()
    INSIDE = auto()
    # FS was seen inside a block; CR, LF, VT, FS or silence make it the end, anything else makes it text.
    ENDING = auto()
    # The block is too long: it is counted, not kept.
    SKIPPING = auto()


class Reader:
    """The receiving half of MLLP. Feed it, then take events until None; call tick at the deadline."""

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._state = _State.OUTSIDE
        self._kept = bytearray()
        self._length = 0
        self._heard_at = 0.0
        self._events: deque[Event] = deque()

    def next_event(self) -> Event | None:
        """The oldest event that was not taken yet."""
        return self._events.popleft() if self._events else None

    @property
    def inside(self) -> bool:
        """Whether a block has begun and has not ended."""
        return self._state is not _State.OUTSIDE

    @property
    def deadline(self) -> float | None:
        """When tick must be called, in the time that feed was given; None while nothing is pending."""
        match self._state:
            case _State.OUTSIDE:
                return self._heard_at + self._rules.block_idle_s if self._length else None
            case _State.ENDING:
                return self._heard_at + self._rules.end_idle_s
            case _State.INSIDE | _State.SKIPPING:
                return self._heard_at + self._rules.block_idle_s

    def tick(self, now: float) -> None:
        """Time has passed: end what waits no longer. now: seconds of the clock that feed uses."""
        if (due := self.deadline) is not None and now >= due:
            self._give_up(Breach.SILENT)

    def lost(self) -> None:
        """The line is gone: what came of a block becomes an event. The machine can go on with a new line."""
        self._give_up(Breach.LOST)

    def feed(self, data: bytes, now: float) -> None:
        """Bytes as they came, cut anywhere."""
        self.tick(now)
        self._heard_at = now
        at, size = 0, len(data)
        vt = fs = -1
        while at < size:
            # Each search resumes where the last one stopped, so a read costs its length, whatever it holds.
            if vt < at and self._state in (_State.OUTSIDE, _State.SKIPPING):
                vt = _find(data, VT, at)
            if fs < at:
                fs = _find(data, FS, at)
            match self._state:
                case _State.OUTSIDE:
                    at = self._outside(data, at, vt, fs)
                case _State.INSIDE:
                    at += self._keep(data[at:fs])
                    if at == fs < size and self._state is _State.INSIDE:
                        self._state = _State.ENDING
                        at += 1
                case _State.ENDING:
                    at = self._ending(data, at)
                case _State.SKIPPING:
                    end = min(vt, fs)
                    self._length += end - at
                    at = end
                    if at < size:
                        # A block that follows at once is read in its own right; FS CR leaves nothing behind.
                        self._end_too_long()
                        at += data[at] == FS[0]

    def _outside(self, data: bytes, at: int, vt: int, fs: int) -> int:
        end = min(vt, fs)
        self._kept += data[at : min(end, at + self._rules.junk_bytes - len(self._kept))]
        self._length += end - at
        if end < len(data):
            self._end_junk(ended=fs < vt)
            if vt < fs:
                self._state = _State.INSIDE
            end += 1
        return end

    def _ending(self, data: bytes, at: int) -> int:
        match data[at : at + 1]:
            case b"\r" | b"\n":
                self._end_block()
                return at + 1
            case b"\x0b" | b"\x1c":
                self._end_block()
                return at
            case _:
                self._state = _State.INSIDE
                self._keep(FS)
                return at

    def _keep(self, piece: bytes) -> int:
        """Take text of a block; how much was taken.

        One byte beyond the limit decides: either a new block began within, or the block is too long.
        """
        piece = piece[: self._rules.max_bytes - self._length + 1]
        self._kept += piece
        self._length += len(piece)
        if self._length > self._rules.max_bytes:
            *broken, rest = _RESTART_OR_CUT.split(self._kept)
            self._break_off(broken)
            if broken:
                self._kept = bytearray(rest)
                self._length = len(rest)
            else:
                self._kept = self._kept[: self._rules.head_bytes]
                self._state = _State.SKIPPING
        return len(piece)

    def _take(self) -> bytes:
        kept = bytes(self._kept)
        self._kept = bytearray()
        self._length = 0
        self._state = _State.OUTSIDE
        return kept

    def _end_block(self) -> None:
        kept = self._take()
        *broken, whole = _RESTART.split(kept) if VT in kept else (kept,)
        self._break_off(broken)
        whole = whole.lstrip(VT)
        if whole.strip(_BLANK):
            self._events.append(Block(whole))

    def _break_off(self, pieces: Sequence[bytes | bytearray]) -> None:
        for piece in pieces:
            if piece.strip(_BLANK):
                self._events.append(Broken(bytes(piece), Breach.RESTARTED))

    def _end_too_long(self) -> None:
        length = self._length
        self._events.append(TooLong(self._take(), length))

    def _end_junk(self, *, ended: bool) -> None:
        length = self._length
        kept = self._take()
        if length > len(kept) or kept.strip(_BLANK):
            self._events.append(Junk(kept, length, ended))

    def _give_up(self, why: Breach) -> None:
        match self._state:
            case _State.OUTSIDE:
                self._end_junk(ended=False)
            case _State.ENDING:
                self._end_block()
            case _State.SKIPPING:
                self._end_too_long()
            case _State.INSIDE:
                kept = self._take().lstrip(VT)
                if kept.strip(_BLANK):
                    self._events.append(Broken(kept, why))


def wrap(message: bytes) -> bytes:
    """The message as a block. It must hold no FS; what ``hl7`` writes never does."""
    return VT + message + FS + CR


def _find(data: bytes, mark: bytes, at: int) -> int:
    """Where the mark stands from there on; the length of the data when nowhere."""
    found = data.find(mark, at)
    return len(data) if found < 0 else found
