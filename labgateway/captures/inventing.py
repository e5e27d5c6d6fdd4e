"""Invented texts of the same form and length as the real ones: an A for a B, a 7 for a 3, a possible date for a date.

Pure, given what chooses. Byte for byte the same length, so that frames, columns and lengths stay as they were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum, auto

Choose = Callable[[Sequence[str]], str]
"""Takes one of these: ``random.Random(...).choice``."""

_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOWER = _UPPER.lower()
_DIGITS = "0123456789"
_TWO = "áàâãéèêíìóòôõúùýÁÀÂÃÉÈÊÍÌÓÒÔÕÚÙÝđĐ"
_THREE = "ạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ"
_ESCAPE = re.compile(rb"\\[A-Z.][^\\]{0,8}\\|&[A-Z][0-9A-F]*&")
_GROUPS = re.compile(r"\d+")


class Sort(Enum):
    """What a text is of a person."""

    NAME = auto()
    ID = auto()
    BIRTH = auto()


def invent(text: bytes, sort: Sort, choose: Choose) -> bytes:
    """Another text of the same form. Escape sequences, blanks and punctuation stay; so do leading zeros of an id."""
    if sort is Sort.BIRTH and text.isascii():
        return _date(text.decode(), choose).encode()
    out: list[bytes] = []
    at = 0
    for found in _ESCAPE.finditer(text):
        out += [_letters(text[at : found.start()], choose), found[0]]
        at = found.end()
    out.append(_letters(text[at:], choose))
    return b"".join(out)


def _letters(text: bytes, choose: Choose) -> bytes:
    try:
        said = text.decode()
    except UnicodeDecodeError:
        return bytes(ord(_other(chr(b), choose)) if b < 0x80 else ord(choose(_LOWER)) for b in text)
    zeros = len(said) - len(said.lstrip("0"))
    zeros = 0 if zeros == len(said) else zeros
    return (said[:zeros] + "".join(_other(char, choose) for char in said[zeros:])).encode()


def _other(char: str, choose: Choose) -> str:
    """Another character of the same sort and of as many bytes in UTF-8."""
    if char in _DIGITS:
        pool = _DIGITS
    elif char in _UPPER:
        pool = _UPPER
    elif char in _LOWER:
        pool = _LOWER
    elif char.isascii():
        return char
    else:
        size = len(char.encode())
        pool = _TWO if size == 2 else _THREE if size == 3 else ""
        if not pool:
            return "x" * size
    return choose(pool.replace(char, ""))


def _date(text: str, choose: Choose) -> str:
    """A date as possible as the real one: 19720815 -> 19410326, 15/08/1972 -> 02/11/1958."""

    def group(found: re.Match[str]) -> str:
        digits = found[0]
        if len(digits) == 2:
            return choose(("01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12"))
        if len(digits) == 6:
            return f"{choose('456789')}{choose(_DIGITS)}{_day(choose)}"
        if len(digits) >= 4:
            rest = digits[4:]
            day = _day(choose)[: len(rest)]
            return f"19{choose('3456789')}{choose(_DIGITS)}{day}{'0' * (len(rest) - len(day))}"
        return "".join(choose("123456789".replace(digit, "")) for digit in digits)

    made = text
    while made == text and _GROUPS.search(text):
        made = _GROUPS.sub(group, text)
    return made


def _day(choose: Choose) -> str:
    return f"0{choose('123456789')}{choose('012')}{choose('12345678')}"
