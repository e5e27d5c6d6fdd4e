"""Where an ASTM message begins and ends, seen frame by frame. Pure; knows nothing of acknowledging.

    |H|...<CR><ETX>  |P|...<CR><ETX>  |R|...  |L|1|N<CR><ETX>      a record a frame
    |H|...<CR>P|...<CR>R|...<CR>L|1|N<CR><ETX>                     all in one frame
    |...R|1|^^^GL<ETB>  |U|5.1<CR>L|<ETB>  |1|N<CR><ETX>           cut anywhere

A message begins with an H record and ends with an L record (LIS02-A2 6.2). What separates fields is
declared in H and differs between instruments, so a record counts by its letter and by what
follows: anything that is no letter, digit or blank, or the record's end.
"""

from __future__ import annotations

import re
from enum import IntFlag


class Mark(IntFlag):
    """What a frame holds.

    BEGINS: its first record is an H. CLOSES: at its end the message is over. SPLITS: a message ends
    inside it, but another record follows.
    """

    NONE = 0
    BEGINS = 1
    CLOSES = 2
    SPLITS = 4


_NONE, _BEGINS, _CLOSES, _SPLITS = 0, 1, 2, 4
_START = re.compile(rb"(?:\A|[\r\n])([HL])(?![0-9A-Za-z \t])")
_ANOTHER = re.compile(rb"[\r\n][ \t\0]*[^\r\n \t\0]")
_END = re.compile(rb"[\r\n]")
_LETTERS = frozenset((b"H", b"L"))


def follow(head: bytes, text: bytes, last: bool) -> tuple[bytes, int]:
    """Follow one frame's text. Returns the head to give with the next frame, and Mark bits as an int.

    head: up to two bytes that begin the record which the last frame left open; empty at a record's start.
    text: of this frame. last: it ended with ETX, which also ends a record that has no CR.
    """
    if last and not head:
        # By far the most frames: one whole record, and neither the first nor the last.
        end = text.find(b"\r")
        if (end < 0 or end == len(text) - 1) and text[:1] not in _LETTERS and b"\n" not in text:
            return b"", 0
    return _follow(head, text, last)


def _follow(head: bytes, text: bytes, last: bool) -> tuple[bytes, int]:
    whole = head + text
    marks = _NONE
    closed_at = -1
    for found in _START.finditer(whole):
        at = found.start(1)
        if found[1] == b"H":
            if at == 0 and not head:
                marks |= _BEGINS
            closed_at = -1
        elif last or _END.search(whole, at):
            marks |= _SPLITS
            closed_at = at
    if closed_at >= 0 and not _ANOTHER.search(whole, closed_at):
        marks = marks & ~_SPLITS | _CLOSES
    if last:
        return b"", marks
    return whole[max(whole.rfind(b"\r"), whole.rfind(b"\n")) + 1 :][:2], marks
