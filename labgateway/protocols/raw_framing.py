"""The framings of instruments that speak neither ASTM nor HL7: where a text begins, ends, and how it is checked.

    stx_etx          STX text ETX                        each text is answered ACK or NAK
    stx_etx_silent   STX text ETX                        nothing is answered
    mindray_stx_sub  STX text SUB                        nothing is answered
    bci              ENQ / STX RS tags GS cs ETX / EOT   cs: sum of all from behind STX to GS, two hex digits
    olympus          STX text ETX|ETB bcc                bcc: XOR of all behind STX, the end included; any byte
    siemens_spec79   STX mt text lrc ETX                 lrc: XOR of mt and text, 0x03 sent as 0x7F; answered by mt
    dimension        STX text cs ETX                     cs: sum of text, two hex digits
    rapidpoint       STX text ETX cs EOT                 cs: sum of STX to ETX, two hex digits; answered by such a text
    hitachi          STX text ETX                        answered by a text: > go on, ? say it again
    beckman_lh       STX hh text crcc ETX                blocks of one text; hh and crcc are cut off, not verified
    emerald          lines; header RESULT … END_RESULT;crc    no STX: a conversation in lines, see emerald

Sources: labgateway research notes, instruments (2026-11), chapter 2 and the chapters of each instrument. The sums
of bci, olympus and siemens_spec79 were recomputed over real transmissions; rapidpoint's answer, STX ACK ETX 0B EOT,
and hitachi's stand in drivers in use.

Not here: the conversation (raw_receiver), what a text says (instruments/layout).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from labgateway.protocols import emerald

STX, ETX, EOT, ENQ, ACK, NAK, ETB, SUB, GS = 0x02, 0x03, 0x04, 0x05, 0x06, 0x15, 0x17, 0x1A, 0x1D
MAX_TEXT_BYTES = 1 << 17
"""No documented raw message comes near it; a BC-3000Plus with three histograms has 2.5 kB."""


class Check(Enum):
    """How a text is proven undamaged."""

    NONE = auto()
    BCI = auto()
    """Two hex digits between GS and the end: sum mod 256 of what stands behind STX, GS included."""
    XOR_BEHIND = auto()
    """One byte behind the end: XOR of what stands behind STX, the end included."""
    XOR_BEFORE = auto()
    """One byte before the end: XOR of what stands between STX and it; 0x03 travels as 0x7F."""
    SUM_BEFORE = auto()
    """Two hex digits before the end: sum mod 256 of what stands between STX and them."""
    SUM_BEHIND = auto()
    """Two hex digits and EOT behind the end: sum mod 256 of what stands from STX to the end, both included."""
    LINE_CRC = auto()
    """A line of its own at the end with the CRC-16 of all before."""


class Answer(Enum):
    """What the instrument expects to hear of a text."""

    ACK = auto()
    COUNTER = auto()
    """The first byte of its text."""
    FRAMED = auto()
    """ACK and NAK, each as a text of its own."""
    MORE = auto()
    """The texts ``>`` and ``?``; a reply takes their place."""
    LINES = auto()
    """A line by the kind of text."""
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class Framing:
    """ends: bytes that end a text; ETB: more follows. enquiry: it asks by ENQ and parts by EOT.

    checked_at_rest: whether a stored message or a file is checked again. Recordings of BCI went through many hands, and
    where an id was masked the digits no longer fit; what came over a line of ours was checked when it came.
    cut: bytes that belong to no text, at its beginning and at its end. joined: all texts of a message are one.
    """

    ends: bytes = bytes([ETX])
    check: Check = Check.NONE
    answer: Answer = Answer.ACK
    enquiry: bool = False
    cut: tuple[int, int] = (0, 0)
    joined: bool = False
    checked_at_rest: bool = True

    @property
    def lines(self) -> bool:
        """It is a conversation in lines: no STX, and some transmissions only lead it."""
        return self.answer is Answer.LINES


FRAMINGS: dict[str, Framing] = {
    "stx_etx": Framing(enquiry=True),
    "stx_etx_silent": Framing(answer=Answer.NOTHING),
    "mindray_stx_sub": Framing(ends=bytes([SUB]), answer=Answer.NOTHING),
    "bci": Framing(check=Check.BCI, enquiry=True, checked_at_rest=False),
    "olympus": Framing(ends=bytes([ETX, ETB]), check=Check.XOR_BEHIND),
    "siemens_spec79": Framing(check=Check.XOR_BEFORE, answer=Answer.COUNTER),
    "dimension": Framing(check=Check.SUM_BEFORE),
    "rapidpoint": Framing(check=Check.SUM_BEHIND, answer=Answer.FRAMED),
    "hitachi": Framing(answer=Answer.MORE),
    "beckman_lh": Framing(cut=(2, 4), joined=True),
    "emerald": Framing(ends=b"\r", check=Check.LINE_CRC, answer=Answer.LINES),
}
"""The names that driver.toml may give as protocol."""


@dataclass(frozen=True, slots=True)
class Found:
    """A whole transmission: start and stop in the bytes searched, its text, whether more follows, and if it is good."""

    start: int
    stop: int
    text: bytes
    last: bool
    good: bool


def find(data: bytes | bytearray, framing: Framing, at: int = 0) -> Found | None:
    """The first whole transmission from `at` on; None while there is none, or its end has not come yet.

    Without a check the text begins at the last STX before its end, so that a broken-off one does not
    grow together with the next. With one, the damage shows.
    """
    if framing.lines:
        lines = emerald.find(data, at)
        return Found(lines.start, lines.stop, lines.text, True, lines.good) if lines else None
    start = data.find(STX, at)
    if start < 0:
        return None
    end = min((found for byte in framing.ends if (found := data.find(byte, start + 1)) >= 0), default=-1)
    if end < 0:
        return None
    if framing.check is Check.NONE:
        start = data.rfind(STX, start, end)
    text, stop, good = bytes(data[start + 1 : end]), end + 1, True
    match framing.check:
        case Check.NONE | Check.LINE_CRC:
            pass
        case Check.BCI:
            text, good = _bci(text)
        case Check.XOR_BEHIND:
            if stop >= len(data):
                return None
            good = data[stop] == _xor(data[start + 1 : stop])
            stop += 1
        case Check.XOR_BEFORE:
            good = len(text) > 1 and text[-1] == _as_sent(_xor(text[:-1]))
            text = text[:-1]
        case Check.SUM_BEHIND:
            behind = bytes(data[stop : stop + 3])
            if len(behind) < 3:
                return None
            good = behind.upper() == b"%02X\x04" % (sum(data[start:stop]) & 0xFF)
            stop += 3
        case Check.SUM_BEFORE:
            good = len(text) > 2 and text[-2:].upper() == b"%02X" % (sum(text[:-2]) & 0xFF)
            text = text[:-2]
    head, tail = framing.cut
    good = good and len(text) >= head + tail
    return Found(start, stop, text[head : len(text) - tail], data[end] != ETB, good)


def _xor(data: bytes | bytearray) -> int:
    found = 0
    for byte in data:
        found ^= byte
    return found


def _as_sent(lrc: int) -> int:
    return 0x7F if lrc == ETX else lrc


def _bci(text: bytes) -> tuple[bytes, bool]:
    """The text before GS, and whether the digits behind GS are its sum (their case differs by device)."""
    body, gs, digits = text.rpartition(bytes([GS]))
    good = bool(gs) and digits.strip(b"\r\n").upper() == b"%02X" % (sum(body + gs) & 0xFF)
    return body, good


def wrap(text: bytes, framing: Framing, *, last: bool = True) -> bytes:
    """A transmission that holds this text, as the instrument would send it; what is cut off is filled with zeros."""
    if framing.lines:
        return emerald.wrap(text)
    head, tail = framing.cut
    body = b"0" * head + text + b"0" * tail
    end = ETX if ETX in framing.ends else framing.ends[0]
    end = end if last or ETB not in framing.ends else ETB
    match framing.check:
        case Check.NONE | Check.XOR_BEHIND | Check.SUM_BEHIND | Check.LINE_CRC:
            pass
        case Check.BCI:
            body += bytes([GS])
            body += b"%02x" % (sum(body) & 0xFF)
        case Check.XOR_BEFORE:
            body += bytes([_as_sent(_xor(body))])
        case Check.SUM_BEFORE:
            body += b"%02X" % (sum(body) & 0xFF)
    block = bytes([STX]) + body + bytes([end])
    match framing.check:
        case Check.XOR_BEHIND:
            return block + bytes([_xor(block[1:])])
        case Check.SUM_BEHIND:
            return block + b"%02X" % (sum(block) & 0xFF) + bytes([EOT])
        case _:
            return block


@dataclass(frozen=True, slots=True)
class Unframed:
    """The texts of some bytes, and what was left out and why: positions only."""

    texts: tuple[bytes, ...]
    damage: tuple[str, ...] = ()


def unframe(data: bytes, framing: Framing, *, one_text: bool = False) -> Unframed:
    """The texts of a stored message or of a file. Never raises.

    data: transmissions one behind another; what stands between them (ENQ, EOT, answers) says nothing. Bytes
    without any STX are taken as texts whose framing was lost: one a line, or one in all with one_text.
    """
    if framing.lines:
        return _unlined(data, framing)
    if STX not in data:
        plain = data.strip(b"\x00\x03\x04\x05\x06\x15\x17\x1a\r\n")
        lines = [plain] if one_text or framing.joined else plain.splitlines()
        return Unframed(tuple(line for line in lines if line.strip()))
    texts: list[bytes] = []
    damage: list[str] = []
    at = 0
    while (found := find(data, framing, at)) is not None:
        if found.good or not framing.checked_at_rest:
            texts.append(found.text)
        else:
            damage.append(f"the check of the transmission at byte {found.start} is wrong")
        at = found.stop
    if (start := data.find(STX, at)) >= 0:
        rest = data[start + 1 :].rstrip(b"\r\n")
        text, good = _bci(rest) if framing.check is Check.BCI else (b"", False)
        if good:
            texts.append(text)
        else:
            damage.append(f"the transmission at byte {start} has no end")
    if framing.joined and texts:
        texts = [b"".join(texts)]
    return Unframed(tuple(texts), tuple(damage))


def _unlined(data: bytes, framing: Framing) -> Unframed:
    """As unframe: what only leads the conversation is no text; the last line of a file may lack its end."""
    texts: list[bytes] = []
    damage: list[str] = []
    data += b"\r"
    at = 0
    while (found := find(data, framing, at)) is not None:
        if b";" in data[at : found.start]:
            damage.append(f"the transmission at byte {at} has no end")
        if not found.good:
            damage.append(f"the check of the transmission at byte {found.start} is wrong")
        elif emerald.is_kept(found.text):
            texts.append(found.text)
        at = found.stop
    if b";" in data[at:]:
        damage.append(f"the transmission at byte {at} has no end")
    return Unframed(tuple(texts), tuple(damage))
