"""Captures: what went over a wire, as raw bytes or as a readable transcript (``*.wire``).

    # instrument: Example Haem 3, firmware 1.4
    # shows:      HGB withheld
    < <ENQ>                                    from the instrument
    > <ACK>                                    to the instrument
    < <STX>1H|\\^&|||Haem 3<CR><ETX>5A<CR><LF>  control characters by name, other bytes as <xHH>

Not here: what the messages mean. A transcript is text in UTF-8; a ``<`` that could be read as the name
of a control character is written <LT>.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from labgateway.protocols import astm_frames, hl7

_NAMES = (
    "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "TAB", "LF", "VT", "FF", "CR", "SO", "SI",
    "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US",
)  # fmt: skip
_BYTES = {name: number for number, name in enumerate(_NAMES)} | {"HT": 9, "DEL": 0x7F, "LT": 0x3C}
_WORD = re.compile(r"<([A-Z][A-Z0-9]{1,2}|x[0-9A-Fa-f]{2})>")
_BYTE_OF = {number: f"<{name}>".encode() for number, name in enumerate(_NAMES)} | {0x7F: b"<DEL>"}


class Way(Enum):
    """Which way bytes went."""

    FROM = "<"
    """From the instrument."""
    TO = ">"
    """To the instrument."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A transcript: its header lines (name, text) and what went each way, in order."""

    header: tuple[tuple[str, str], ...]
    lines: tuple[tuple[Way, bytes], ...]

    def sent(self, way: Way = Way.FROM) -> bytes:
        """Everything that went one way, joined."""
        return b"".join(data for direction, data in self.lines if direction is way)


class CaptureError(ValueError):
    """A transcript that cannot be read; says which line and why, never its content."""


def is_wire(data: bytes) -> bool:
    """Whether the bytes are a transcript: every line is blank, or begins with ``#``, ``< `` or ``> ``."""
    seen = False
    for line in data.removeprefix(b"\xef\xbb\xbf").splitlines():
        start = line[:2].rstrip()
        if start in (b"<", b">"):
            seen = True
        elif line.strip() and line[:1] != b"#":
            return False
    return seen


def read_wire(data: bytes) -> Wire:
    """A transcript from its bytes. Raises CaptureError with the number of the line that cannot be read."""
    header: list[tuple[str, str]] = []
    lines: list[tuple[Way, bytes]] = []
    try:
        whole = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise CaptureError(f"line {number} is not UTF-8; write other bytes as <xHH>") from None
    for number, raw in enumerate(whole.split("\n"), 1):
        line = raw.rstrip("\r\n")
        if line.startswith("#"):
            name, colon, said = line[1:].partition(":")
            if colon and not lines:
                header.append((name.strip(), said.strip()))
        elif line[:1] in ("<", ">") and (len(line) == 1 or line[1] == " "):
            lines.append((Way(line[0]), _bytes(line[2:], number)))
        elif line.strip():
            raise CaptureError(f"line {number} begins neither with #, nor with '< ' or '> '")
    return Wire(tuple(header), tuple(lines))


def _bytes(line: str, number: int) -> bytes:
    out: list[bytes] = []
    at = 0
    for found in _WORD.finditer(line):
        word = found[1]
        if word[0] != "x" and word not in _BYTES:
            raise CaptureError(f"line {number} has <{word}>, which is no control character")
        out += [line[at : found.start()].encode(), bytes([int(word[1:], 16) if word[0] == "x" else _BYTES[word]])]
        at = found.end()
    out.append(line[at:].encode())
    return b"".join(out)


def write_wire(wire: Wire) -> bytes:
    """The transcript as bytes; reading it again gives the same. A line ends behind each LF and each turn."""
    width = max((len(name) for name, _ in wire.header), default=0) + 1
    out = [f"# {name + ':':<{width}} {said}".rstrip() for name, said in wire.header]
    for way, data in wire.lines:
        out += [f"{way.value} {_shown(part)}" for part in re.findall(rb"[^\n]*\n|[^\n]+", data)]
    return ("\n".join(out) + "\n").encode()


def _shown(data: bytes) -> str:
    """Text of bytes: UTF-8 where it is, control characters by name, anything else as <xHH>."""
    out: list[str] = []
    for char in data.decode("utf-8", "surrogateescape"):
        code = ord(char)
        if 0xDC80 <= code <= 0xDCFF:
            out.append(f"<x{code - 0xDC00:02X}>")
        elif code in _BYTE_OF:
            out.append(_BYTE_OF[code].decode())
        elif char in "\x85\u2028\u2029" or 0x80 <= code < 0xA0:
            out += [f"<x{byte:02X}>" for byte in char.encode()]
        else:
            out.append(char)
    text = "".join(out)
    if _WORD.search(data.decode("utf-8", "replace")):
        text = _guarded(data)
    return text


def _guarded(data: bytes) -> str:
    """As `_shown` for data in which a ``<`` could be read as the name of a control character."""
    return "<LT>".join(_shown(part) if part else "" for part in data.split(b"<"))


@dataclass(frozen=True, slots=True)
class Capture:
    """The messages of a file. damage: what was left out and why, positions only; empty when all is well."""

    messages: list[bytes]
    damage: list[str]


def read_capture(data: bytes, *, protocol: str | None = None) -> list[bytes]:
    """The messages in a file, each as the store would hold it. As `open_capture`, without the damage."""
    return open_capture(data, protocol=protocol).messages


def open_capture(data: bytes, *, protocol: str | None = None) -> Capture:
    """The messages in a file and what was wrong with it. Never raises.

    protocol: of the driver that will read them, when one was named. A raw framing is not cut here: the
    whole is one message, and its reader knows where it ends.

    data: a ``.wire`` transcript (what the instrument sent counts), framed or bare ASTM, MLLP or bare
    HL7, with CR, LF or CR LF. ASTM messages come back as records, HL7 ones as segments, without framing.
    What is none of these comes back as one message: a raw framing that its driver knows.
    """
    if is_wire(data):
        try:
            data = read_wire(data).sent()
        except CaptureError as error:
            return Capture([], [str(error)])
        if not data.strip():
            return Capture([], ["the transcript holds nothing from the instrument"])
    if protocol not in (None, "astm", "hl7"):
        return Capture([data] if data else [], [])
    if found := hl7.messages(data):
        return Capture(found, [])
    unframed = astm_frames.unframe(data)
    if unframed.messages or unframed.damage:
        whole = [message for message in unframed.messages if _is_astm(message)]
        if whole or unframed.damage:
            return Capture(whole, unframed.damage)
    return Capture([data] if data.strip() else [], [])


def _is_astm(message: bytes) -> bool:
    return re.match(rb"\s*[HPORCQML][^0-9A-Za-z\s]", message) is not None


def wire_of(messages: Iterable[bytes], header: Iterable[tuple[str, str]], *, protocol: str, size: int = 0) -> Wire:
    """A transcript in which an instrument sends these messages and a host acknowledges each.

    protocol: astm (records, framed here; size: text bytes a frame, 0: one record a frame of any size)
    or hl7 (segments, put in MLLP blocks here; the host's acknowledgment is left out).
    """
    lines: list[tuple[Way, bytes]] = []
    for message in messages:
        if protocol == "hl7":
            lines.append((Way.FROM, b"\x0b" + message + b"\x1c\r"))
            continue
        lines += [(Way.FROM, astm_frames.ENQ), (Way.TO, astm_frames.ACK)]
        for frame in astm_frames.frames(message, size=size or astm_frames.MAX_TEXT):
            lines += [(Way.FROM, frame), (Way.TO, astm_frames.ACK)]
        lines.append((Way.FROM, astm_frames.EOT))
    return Wire(tuple(header), tuple(lines))
