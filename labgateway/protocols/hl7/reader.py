"""Bytes to segments and fields, without loss and without judging the structure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from labgateway.protocols.rows import HL7, REPLACEMENT, Delimiters, Row

_HEADER = re.compile(rb"MSH([!-/:-@\[-`{-~])")
_HEADERS = re.compile(rb"(?:\A|(?<=[\r\n\x0b\x1c]))[ \t]*(?=MSH[!-/:-@\[-`{-~])")
_BATCH_ROW = re.compile(rb"(?:\A|(?<=[\r\n]))(?:FHS|BHS|BTS|FTS)[^\r\n]*[\r\n]*")
_NAME = re.compile(r"[A-Z][A-Z0-9]{2}\Z")
_FILL = re.compile(r"\0+(?=[\r\n])|(?<=[\r\n])\0+")
"""Bytes 0 between segments, which mean nothing."""
_LINE_END = re.compile(r"[\r\n]")

_CHARSETS = {
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "UNICODE UTF-16": "utf-16",
    "UNICODE UTF-32": "utf-32",
    **{f"8859/{n}": f"iso8859-{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "ISO IR14": "shift_jis",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_2",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "CNS 11643-1992": "big5",
    "BIG-5": "big5",
    "WINDOWS-1252": "cp1252",
    "WINDOWS-1258": "cp1258",
}
"""MSH-18 (table 0211, and what analyzers write instead) to Python's codec. ASCII is left out on purpose."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came.

    data: the bytes given. rows: every segment from MSH on, in order; empty when there is no MSH.
    header: the MSH row, a row without fields when there is none. charset: Python's name of the codec
    that gave the text. marked: the declared character set does not fit the bytes, or a field holds a byte 0
    (U+FFFD in its text), so some text may be wrong: such a result must wait for a person.
    """

    data: bytes
    rows: tuple[Row, ...]
    header: Row
    delimiters: Delimiters
    charset: str
    marked: bool

    @property
    def kind(self) -> str:
        """MSH-9.1 and 9.2 as ``ORU^R01``; ``TSREQ`` when there is no event."""
        return "^".join(filter(None, (self.header.value(9, 1), self.header.value(9, 2))))

    @property
    def control_id(self) -> str:
        """MSH-10. Many analyzers always send 1: no key."""
        return self.header.value(10)

    @property
    def version(self) -> str:
        """MSH-12.1, such as ``2.5.1``; empty when the sender says none."""
        return self.header.value(12, 1)


_NO_HEADER = Row("MSH", ("MSH",), HL7, 0, True)


def read(data: bytes, encoding: str | None = None) -> Message:
    """Read one message, whatever its structure. Never raises for what the bytes are.

    data: the content of an MLLP block, or of a file; what stands before MSH is junk. Without any MSH
    the message has no rows. Segments end in CR, LF or CRLF. A line that is no segment (no name of
    three before a separator) is text with a line break in it and belongs to the field it interrupts.
    encoding: what the device is set to, by Python's name; else MSH-18 counts, else UTF-8, else
    Latin-1. ``ASCII`` in MSH-18 counts as nothing said, since the standard's default is ASCII and few
    mean it. Where the declared one does not fit, the next is tried and the message is marked.
    Raises LookupError for an ``encoding`` that Python does not know.
    """
    found = _HEADER.search(data)
    if found is None and (wide := _wide(data)):
        charset, start = wide
        text, marked = data[start:].decode(charset, "replace"), False
    elif found is None:
        text, charset, marked = _decode(data, encoding)
        return Message(data, (), _NO_HEADER, HL7, charset, marked)
    else:
        start = found.start()
        body = data[start:] if start else data
        if encoding is None:
            encoding = _declared(body, found[1])
        text, charset, marked = _decode(body, encoding)
    delimiters = _delimiters(text)
    text = _composed(text).rstrip("\r\n\x1c\x0b\x1a\0")
    if "\0" in text:
        text = _FILL.sub("", text)
        marked = marked or "\0" in text
        text = text.replace("\0", REPLACEMENT)
    rows = _rows(text, delimiters)
    return Message(data, rows, rows[0] if rows else _NO_HEADER, delimiters, charset, marked)


def messages(data: bytes) -> list[bytes]:
    """The messages of a file or batch: cut before each MSH at the start of a line; FHS BHS BTS FTS are dropped.

    What stands before the first MSH is dropped; without any MSH there are none.
    """
    if not _HEADER.search(data):
        return []
    data = _BATCH_ROW.sub(b"", data)
    starts = [found.end() for found in _HEADERS.finditer(data)]
    first = _HEADER.search(data)
    if first and (not starts or first.start() < starts[0]):
        starts.insert(0, first.start())
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


def _wide(data: bytes) -> tuple[str, int] | None:
    """UTF-16, where the letters of MSH stand two bytes apart, the first at an even place: which, and where."""
    for codec, letters in (("utf-16-le", b"M\0S\0H\0"), ("utf-16-be", b"\0M\0S\0H")):
        found = data.find(letters)
        if found >= 0 and found % 2 == 0:
            return codec, found
    return None


def _declared(body: bytes, separator: bytes) -> str | None:
    """Python's codec for MSH-18, its first known repetition; None when nothing usable is said."""
    fields = re.split(rb"[\r\n]", body[:4096], maxsplit=1)[0].split(separator, 18)
    if len(fields) < 18:
        return None
    for name in fields[17].decode("latin-1").split("~"):
        codec = _CHARSETS.get(name.strip().upper())
        if codec:
            return codec
    return None


def _decode(body: bytes, encoding: str | None) -> tuple[str, str, bool]:
    """Text, the codec that gave it, and whether the declared one did not fit."""
    if encoding is not None:
        try:
            return body.decode(encoding), encoding, False
        except UnicodeError:
            pass
    try:
        return body.decode("utf-8"), "utf-8", encoding is not None
    except UnicodeError:
        return body.decode("latin-1"), "latin-1", True


def _composed(text: str) -> str:
    if text.isascii():
        return text
    end = _LINE_END.search(text)
    return text[: end.start()] + unicodedata.normalize("NFC", text[end.start() :]) if end else text


def _delimiters(text: str) -> Delimiters:
    r"""MSH-1 and MSH-2 by position, with the accidents that are seen in the field mended.

    ``^~&`` lost its backslash; ``^~\&amp`` and ``^~\\&`` went through XML and JSON; ``^~\&#`` is 2.7.
    What MSH-2 leaves out does not exist, except that an empty MSH-2 means the usual ones.
    """
    if text.startswith("MSH|^~\\&|"):
        return HL7
    separator = text[3:4] or "|"
    declared = text[4:].split(separator, 1)[0][:16]
    marks = "".join(
        dict.fromkeys(c for c in declared if c.isascii() and c.isprintable() and not c.isalnum() and c != " ")
    )
    if not marks:
        marks = "^~\\&"
    elif len(marks) == 3 and marks.endswith("&"):
        marks = marks[:2] + "\\&"
    component, repetition, escape, subcomponent = [*marks[:4], *[""] * (4 - len(marks[:4]))]
    return Delimiters(separator, repetition, component, escape, subcomponent)


def _rows(text: str, delimiters: Delimiters) -> tuple[Row, ...]:
    if "\n" in text:
        text = text.replace("\r\n", "\r").replace("\n", "\r")
    separator = delimiters.field
    counts: dict[str, int] = {}
    rows: list[Row] = []
    stray: list[str] = []
    for line in text.split("\r"):
        fields = tuple(line.split(separator))
        name = fields[0]
        if len(name) != 3 or (len(fields) == 1 and not _NAME.match(name)):
            stripped = line.strip(" \t\x0b\x1c\x1a\0")
            fields = tuple(stripped.split(separator))
            name = fields[0]
            if not _NAME.match(name):
                if stripped:
                    stray.append(line)
                continue
        if stray:
            rows[-1:] = [_continued(row, stray) for row in rows[-1:]]
            stray = []
        count = counts[name] = counts.get(name, 0) + 1
        rows.append(Row(name, fields, delimiters, count, True))
    if stray:
        rows[-1:] = [_continued(row, stray) for row in rows[-1:]]
    return tuple(rows)


def _continued(row: Row, lines: list[str]) -> Row:
    text = "\n".join([row.fields[-1], *lines])
    return Row(row.name, (*row.fields[:-1], *text.split(row.delimiters.field)), row.delimiters, row.number, True)
