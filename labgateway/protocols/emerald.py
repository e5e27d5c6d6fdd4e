"""The lines of Abbott Cell-Dyn Emerald: what is a whole transmission, its control sum, and what the instrument wants to hear.

    CONNECT;serial;version CR                                  ACK_CONNECT;version CR
    header CR RESULT_READY;bytes CR                            ACK_RESULT_READY CR
    header CR RESULT CR line CR … END_RESULT;sum CR            ACK_RESULT;OK CR
    header CR CALIBRATION;n;date;time;lot;… CR … END_CALI;sum CR    ACK_CALI;lot;OK CR
    header CR STARTUP;date;time;status;… CR                    nothing
    DISCONNECT;serial CR                                       nothing

header: machine;number;serial;user, such as EMD22AL;1;250207-000451;LAB. sum: CRC-16 (polynomial 0xA001 reflected, from
0xFFFF) in decimal of all before the line with it. Where a file made CR LF of CR, the sum of the lines with CR alone
counts too.

Source: senaite.astm 2.0 (2026), its Emerald listener, which was written from Abbott's interface specification, and one
exported result of an Emerald 22 AL. The sum is that listener's; it was not recomputed over an instrument's own.

Pure. Not here: the conversation (emerald_receiver), what the lines of a result say (a driver's [layout]).
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LINE = re.compile(rb"([^\r\n]*)[\r\n]")
_ALONE = (b"CONNECT", b"DISCONNECT")
_SHORT = (b"RESULT_READY", b"STARTUP")
_BEGINS = (b"RESULT", b"CALIBRATION")
_ENDS = {b"RESULT": b"END_RESULT", b"CALIBRATION": b"END_CALI"}
_PARTING = (b"DISCONNECT", b"STARTUP")


class Lines(NamedTuple):
    """A whole transmission: start and stop in the bytes searched, its text without the sum and the last CR, if it is good."""

    start: int
    stop: int
    text: bytes
    good: bool


def find(data: bytes | bytearray, at: int = 0) -> Lines | None:
    """The first whole transmission from `at` on; None while there is none. What stands before it belongs to nothing.

    A result begins at the header of the last RESULT before its end, so that a broken-off one does not grow together
    with the next. A damaged one, or an end without a beginning, is not good.
    """
    before: re.Match[bytes] | None = None
    begins: int | None = None
    first = last = at
    for line in _LINE.finditer(data, at):
        body = line[1]
        if not body.strip(b" \x00"):
            continue
        if before is None:
            first = line.start()
        name = body.partition(b";")[0]
        if name in _ALONE:
            return Lines(line.start(), line.end(), bytes(body), True)
        if name in _SHORT:
            start = before.start() if before else line.start()
            return Lines(start, line.end(), bytes(data[start : line.end(1)]), True)
        if name in _BEGINS:
            begins = before.start() if before else line.start()
        elif name in _ENDS.values():
            start = first if begins is None else begins
            text = bytes(data[start : last if before else start])
            good = begins is not None and _ends_right(bytes(data[start : line.start()]), body)
            return Lines(start, line.end(), text, good)
        before, last = line, line.end(1)
    return None


def wrap(text: bytes) -> bytes:
    """The transmission that holds this text, as the instrument would send it."""
    end = _ENDS.get(kind_of(text))
    whole = text + b"\r"
    return whole + b"%s;%d\r" % (end, crc16(whole)) if end else whole


def kind_of(text: bytes) -> bytes:
    """RESULT, CALIBRATION, STARTUP, RESULT_READY, CONNECT, DISCONNECT; anything else is no text of this protocol."""
    lines = [line.partition(b";")[0] for line in re.split(rb"[\r\n]+", text.lstrip(b"\r\n"), maxsplit=2)]
    if lines[0] in _ALONE:
        return lines[0]
    return next((name for name in lines[:2] if name in _BEGINS + _SHORT), b"")


def is_kept(text: bytes) -> bool:
    """Whether it says something of samples, controls or the instrument; the others only lead the conversation."""
    return kind_of(text) not in (b"CONNECT", b"DISCONNECT", b"RESULT_READY")


def is_answered(text: bytes) -> bool:
    """Whether the instrument waits for a line of ours."""
    return kind_of(text) not in _PARTING


def answer(text: bytes, word: bytes = b"OK") -> bytes:
    """The line that the instrument expects; word: OK, or why not. Empty where it expects none."""
    fields = text.strip(b"\r\n").split(b";")
    match kind_of(text):
        case b"CONNECT":
            return b"ACK_CONNECT;%s\r" % fields[-1]
        case b"RESULT_READY":
            return b"ACK_RESULT_READY\r"
        case b"CALIBRATION":
            said = next(line for line in re.split(rb"[\r\n]+", text) if line.startswith(b"CALIBRATION")).split(b";")
            return b"ACK_CALI;%s;%s\r" % (said[4] if len(said) > 4 else b"", word)
        case b"STARTUP" | b"DISCONNECT":
            return b""
        case _:
            return b"ACK_RESULT;%s\r" % word


def crc16(data: bytes) -> int:
    """CRC-16, polynomial 0xA001 (reflected), from 0xFFFF, nothing at its end."""
    crc = 0xFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc


def _row(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


_TABLE = tuple(_row(byte) for byte in range(256))


def _ends_right(whole: bytes, end: bytes) -> bool:
    name, _, digits = end.partition(b";")
    digits = digits.strip(b"; ")
    if not digits.isdigit() or len(digits) > 5 or name != _ENDS.get(kind_of(whole)):
        return False
    plain = b"".join(line + b"\r" for line in re.split(rb"\r\n|\r|\n", whole) if line)
    return int(digits) in (crc16(whole), crc16(plain))
