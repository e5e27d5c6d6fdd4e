"""ASTM frames: building them, and reading files that hold them. CLSI LIS01-A2 (ASTM E1381-95).

    <STX> 1 H|\\^&|...<CR> <ETX> 3 A <CR> <LF>
          |  text             |  checksum over everything from the number to ETX or ETB (6.3.3)
          frame number (6.3.2)

The live line is read by astm_link, which answers; here is what needs no answers. LIS01-A2 6.3.1.2
says that ETB means "this record goes on". In the field some instruments end each record but the
last with ETB, so texts are joined until an ETX and then split on CR; that fits both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import adler32

ENQ, ACK, NAK, EOT = b"\x05", b"\x06", b"\x15", b"\x04"
STX, ETX, ETB, CR, LF = b"\x02", b"\x03", b"\x17", b"\r", b"\n"

MAX_TEXT_E1381 = 240
"""Text bytes in a frame of ASTM E1381-95 (6.3.1): 247 with its seven other characters."""
MAX_TEXT = 63_993
"""Text bytes in a frame of LIS01-A2 (6.3.1): 64,000 with its seven other characters."""

_RESTRICTED = re.compile(rb"[\x01-\x06\x0a\x10-\x17]")
"""SOH STX ETX EOT ENQ ACK LF DLE DC1-DC4 NAK SYN ETB: never inside a text (LIS01-A2 6.6)."""


def byte_sum(data: bytes) -> int:
    """The sum of the bytes modulo 256.

    The low half of an Adler-32 that starts at 0 is the sum modulo 65,521, and 256 bytes cannot reach
    that: several times as fast as sum().
    """
    if len(data) <= 256:
        return adler32(data, 0) & 0xFF
    return sum(adler32(data[at : at + 256], 0) & 0xFF for at in range(0, len(data), 256)) & 0xFF


def checksum(data: bytes) -> bytes:
    """Two upper-case hex digits: the sum of the bytes modulo 256 (LIS01-A2 6.3.3).

    data: from the frame number to ETX or ETB, both included.
    """
    return b"%02X" % byte_sum(data)


def frame(number: int, text: bytes, *, last: bool = True) -> bytes:
    """One frame, STX to CR LF. number: any, sent modulo 8. last: ends with ETX, else with ETB."""
    body = b"%d%b%b" % (number % 8, text, ETX if last else ETB)
    return b"%b%b%b%b%b" % (STX, body, checksum(body), CR, LF)


def frames(text: bytes, *, size: int = MAX_TEXT, first: int = 1, packed: bool = False) -> Iterator[bytes]:
    """The frames of a message's records, to be sent one after another.

    text: records, each ended by CR. size: text bytes a frame may hold, MAX_TEXT or MAX_TEXT_E1381; a
    longer record is cut and goes on after an ETB. first: number of the first frame, 1 behind an ENQ.
    packed: as many records in a frame as fit, against 6.3.1.1 but as many instruments do.
    Raises ValueError for a character that may not stand in a text (6.6).
    """
    if found := _RESTRICTED.search(text):
        raise ValueError(f"byte 0x{found.group()[0]:02x} at {found.start()} may not stand in a frame")
    records = [text] if packed else [record + CR for record in text.split(CR) if record]
    number = first
    for record in records:
        for at in range(0, len(record), size):
            yield frame(number, record[at : at + size], last=at + size >= len(record))
            number += 1


@dataclass(frozen=True, slots=True)
class Unframed:
    """What a file held.

    messages: the records of each message, every record ended by CR; without those that were damaged.
    damage: what was wrong, one sentence each, with positions and no content. Empty: all is well.
    """

    messages: list[bytes]
    damage: list[str]


def unframe(data: bytes) -> Unframed:
    """The messages of a file or a stored transmission. Never raises.

    Takes whole sessions with ENQ, ACK and EOT, frames that only stand behind one another (ended by CR
    LF, CR, LF or nothing), blocks from STX to ETX without number or checksum when the whole file
    is so, and bare records that end with CR, LF or CR LF. A message begins with H and ends with L, with
    the next H, or with the session. A frame that came again is taken once. A message with a damaged
    or missing frame is left out and named under ``damage``: better no result than a wrong one.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    messages = _Messages()
    if STX in data:
        _read_frames(data, messages)
    elif ETX in data or ETB in data:
        messages.damaged("a frame has an end and no beginning")
    else:
        _read_bare(data, messages)
    messages.finish()
    return Unframed(messages.done, messages.damage)


class _Messages:
    """Collects records into messages."""

    def __init__(self) -> None:
        self.done: list[bytes] = []
        self.damage: list[str] = []
        self._records: list[bytes] = []
        self._broken = False

    def damaged(self, what: str) -> None:
        self.damage.append(what)
        self._broken = True

    def add(self, text: bytes) -> None:
        for record in text.replace(LF, CR).split(CR):
            if not record.strip():
                continue
            if _is_header(record):
                self.finish()
            self._records.append(record)
            if record[:1] == b"L" and (len(record) == 1 or _delimits(record[1:2])):
                self.finish()

    def finish(self) -> None:
        if self._records and not self._broken:
            self.done.append(CR.join(self._records) + CR)
        self._records = []
        self._broken = False


def _is_header(text: bytes) -> bool:
    return text[:1] == b"H" and _delimits(text[1:2])


def _delimits(character: bytes) -> bool:
    return bool(character) and not character.isalnum() and not character.isspace()


_NUMBERED = re.compile(rb"[0-7]H[^0-9A-Za-z\s]")
_NUMBER = re.compile(rb"(?m)^[0-7](?=[A-Z][^0-9A-Za-z\s])")
_CONTROLS = re.compile(rb"[\x11\x13]|(?:(?<=[\r\n])|\A)[\x00\x06\x15]+|[\x00\x06\x15]+(?=[\r\n]|\Z)")
"""Flow control, and what fills between records. Within a record a byte 0 is a character that was damaged: it stays, to be seen."""


def _read_bare(data: bytes, messages: _Messages) -> None:
    """Records without frames; where the numbers of lost frames still stand before the letters, they go."""
    for part in re.split(rb"[\x04\x05]", data):
        text = _CONTROLS.sub(b"", part).replace(CR, LF)
        if _NUMBERED.match(text.lstrip()):
            text = _NUMBER.sub(b"", text)
        messages.add(text)
        messages.finish()


@dataclass(frozen=True, slots=True)
class _Block:
    """From STX to the checksum, or bytes that stand where no frame is."""

    at: int
    text: bytes
    """Without the number."""
    number: int | None = None
    last: bool = True
    checked: bool = False
    """It has a checksum."""
    fault: str = ""
    session: int = 0
    """How many ENQ and EOT stood before it."""


_FRAME = re.compile(rb"\x02((?:(?!\x05\x02)[^\x03\x17])*)([\x03\x17]?)([0-9A-Fa-f]{2})?")
"""An STX inside belongs to the text: looking for a frame from there on would find one in a damaged text. ENQ STX do not."""


def _read_frames(data: bytes, messages: _Messages) -> None:
    blocks = _blocks(data)
    checked = any(block.checked for block in blocks)
    numbered = any(block.number is not None for block in blocks)
    pending: list[bytes] = []
    previous: _Block | None = None
    due: int | None = None
    """The number of the next frame; None where a file begins without ENQ."""
    bad = ""
    session = 0
    for block in blocks:
        if block.session != session and (block.number is None or block.number != due or _is_header(block.text)):
            # Where the count goes on without a header, a damaged line end looked like ENQ or EOT.
            if pending or bad:
                messages.damaged(bad or f"the session ends inside a record before byte {block.at}")
            messages.finish()
            pending, previous, due, bad = [], None, 1, ""
        session = block.session
        if fault := block.fault or _lacks(block, checked=checked, numbered=numbered):
            bad = bad or f"{fault} at byte {block.at}"
            continue
        follows = block.number is not None and block.number == due and (previous is not None or _is_header(block.text))
        if bad and not follows:
            # Had it been what a receiver refused and got again, the number that was due would come now.
            messages.damaged(bad)
            pending = []
        elif not bad and previous and (block.number, block.text) == (previous.number, previous.text):
            continue
        elif pending and numbered and not follows:
            messages.damaged(f"a frame is missing before byte {block.at}")
            pending = []
        previous, bad = block, ""
        due = None if block.number is None else (block.number + 1) % 8
        pending.append(block.text)
        if block.last:
            messages.add(b"".join(pending))
            pending = []
    if bad or pending:
        messages.damaged(bad or "the last record has no end")


def _lacks(block: _Block, *, checked: bool, numbered: bool) -> str:
    """What the other blocks of the file have and this one has not."""
    if checked and not block.checked:
        return "a frame without its checksum"
    if numbered and block.number is None:
        return "a frame without its number"
    return ""


def _blocks(data: bytes) -> list[_Block]:
    blocks: list[_Block] = []
    session = end = 0
    for found in _FRAME.finditer(data):
        session = _between(blocks, data, end, found.start(), session)
        text, ending, sent = found.groups(default=b"")
        number = text[0] - 0x30 if text[:1] and text[0] in b"01234567" else None
        fault = ""
        if not ending or STX in text:
            fault = "a frame without an end"
        elif sent and checksum(text + ending) != sent.upper():
            fault = "a frame with a wrong checksum"
        body = text if number is None else text[1:]
        blocks.append(_Block(found.start(), body, number, ending == ETX, bool(sent), fault, session))
        end = found.end()
    _between(blocks, data, end, len(data), session)
    return blocks


def _between(blocks: list[_Block], data: bytes, start: int, end: int, session: int) -> int:
    """Add what stands between two frames, if it is more than line ends and answers. Returns the session behind it."""
    for at, part in enumerate(re.split(b"[\x04\x05]", data[start:end])):
        if at:
            session += 1
        if _CONTROLS.sub(b"", part).strip():
            blocks.append(_Block(start, b"", fault="bytes outside of frames", session=session))
        start += len(part) + 1
    return session
