"""Where in the bytes of a stored message a row stands. For eyes, not for decoding: what cannot be found is None.

ASTM: STX 1 H|\\^&… CR ETB C1 CR LF STX 2 …R|1|^^^WBC|8.1 CR …      a record may reach over several frames
HL7:  MSH|…CR PID|…CR OBX|1|…CR
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FRAME = re.compile(rb"\x02[0-7](.*?)[\x03\x17][0-9A-Fa-f]{2}", re.DOTALL)
_ROW = re.compile(r"([A-Z][A-Z0-9]{0,2}?)(\d+)")
_NAME = re.compile(rb"[A-Z][A-Z0-9]{0,2}")


@dataclass(frozen=True, slots=True)
class Located:
    """A row: bytes first to last (from 0, last not included) of the message; text: its own, without framing."""

    first: int
    last: int
    text: bytes


def locate(raw: bytes, where: str, *, framed: bool) -> Located | None:
    """The row that ``Result.where`` names, such as R7 or OBX3. framed: ASTM, whose records lie in frames."""
    named = _ROW.fullmatch(where)
    if named is None:
        return None
    name, number = named[1].encode(), int(named[2])
    pieces = [(found.start(1), found[1]) for found in _FRAME.finditer(raw)] if framed else []
    text = b"".join(piece for _, piece in pieces) if pieces else raw
    at = 0
    for record in re.split(rb"(?<=[\r\n])", text):
        # Bare records may have control bytes of the link before them, a block its VT.
        body = record.strip(b"\r\n\x00\x02\x03\x04\x05\x06\x0b\x1c")
        found = _NAME.match(body)
        if found is not None and _is_named(body, found[0], name):
            number -= 1
            if number == 0:
                begin = at + record.index(body)
                first, last = _in_raw(pieces, begin), _in_raw(pieces, begin + len(body) - 1)
                return Located(first, last + 1, body)
        at += len(record)
    return None


def _is_named(body: bytes, found: bytes, name: bytes) -> bool:
    """A record letter, or a segment's three characters, and then a delimiter."""
    return found == name and not body[len(name) : len(name) + 1].isalnum()


def _in_raw(pieces: list[tuple[int, bytes]], at: int) -> int:
    """Where a byte of the joined text stands in the message."""
    for start, piece in pieces:
        if at < len(piece):
            return start + at
        at -= len(piece)
    return at
