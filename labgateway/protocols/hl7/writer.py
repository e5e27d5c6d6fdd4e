"""Text to fields and segments, so that no text can add a field or a segment (HL7 2.5.1, 2.7)."""

from __future__ import annotations

import re
from functools import cache

from labgateway.protocols.rows import HL7, Delimiters, Row

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@cache
def _escapes(d: Delimiters) -> dict[int, str]:
    e = d.escape
    table = {n: f"{e}X{n:02X}{e}" if e else " " for n in (*range(0x20), 0x7F)}
    table[0x0A] = f"{e}.br{e}" if e else " "
    for mark, letter in (
        (d.field, "F"),
        (d.component, "S"),
        (d.repetition, "R"),
        (d.subcomponent, "T"),
        (d.escape, "E"),
    ):
        if mark:
            table[ord(mark)] = f"{e}{letter}{e}" if e else " "
    return table


def escape(text: str, delimiters: Delimiters = HL7) -> str:
    r"""Text that can stand in any field: unescaped again it is the same, and it adds no field or segment.

    HL7 2.5.1, 2.7: the delimiters become ``\F\ \S\ \R\ \T\ \E\``, a line feed ``\.br\``, other
    control characters ``\Xhh\``; every letter stays. Where no escape character is declared, a blank
    stands for each of them.
    """
    return text.translate(_escapes(delimiters))


def components(*texts: str | None) -> str:
    """A field of components, each escaped, without the empty ones at the end: ``6690-2^WBC^LN``."""
    return "^".join(escape(text or "") for text in texts).rstrip("^")


def recode(text: str, delimiters: Delimiters) -> str:
    """Raw field text of a message with these delimiters, in the standard ones: same parts, same content."""
    if delimiters == HL7:
        return text
    d = delimiters
    leaves = Row("", (), d, 0, True).unescape

    def parts(raw: str, marks: tuple[tuple[str, str], ...]) -> str:
        if not marks:
            return escape(leaves(raw))
        (mine, standard), *deeper = marks
        pieces = raw.split(mine) if mine else [raw]
        return standard.join(parts(piece, tuple(deeper)) for piece in pieces)

    return parts(text, ((d.repetition, "~"), (d.component, "^"), (d.subcomponent, "&")))


def segment(name: str, *fields: str | None) -> str:
    r"""One segment in the standard delimiters, with its CR, without empty fields at the end.

    fields: raw text from field 1 on (of MSH from MSH-2 on), each already escaped; None is empty. A
    separator or control character left in a field is escaped here: no text can add a field or segment.
    """
    line = "|".join(field or "" for field in fields)
    if line.count("|") >= len(fields) > 0 or _CONTROL.search(line):
        line = "|".join(_sealed(field or "") for field in fields)
    return f"{name}|{line}".rstrip("|") + "\r"


def _sealed(field: str) -> str:
    table = _escapes(HL7)
    return _CONTROL.sub(lambda found: table[ord(found[0])], field).replace("|", "\\F\\")
