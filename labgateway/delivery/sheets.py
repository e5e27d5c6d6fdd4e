"""A report as the text of a file: CSV, and table 4 of the insurance XML. Pure.

CSV: a header, one row an observation, CR LF at the end of each, UTF-8. A cell that a spreadsheet would take for a
formula gets an apostrophe before it (CWE-1236); a number is never touched, nor is ``+``, ``++`` or ``-`` alone.

Table 4, "chi tiết dịch vụ cận lâm sàng" (QĐ 130/QĐ-BYT 2023, twelve fields; receivers count bytes, not letters).
What the gateway cannot know is declared or stays empty; nothing is ever cut to fit: ``unfit`` says what does not.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from xml.sax.saxutils import escape, unescape

from labgateway.delivery.flat import Row
from labgateway.fields import TABLE_4, TABLE_4_KNOWN, TIMES

_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?([eE][+-]?[0-9]+)?")
_HARMLESS = re.compile(r"[+-]+")

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REPLACED = "\ufffd"
_GONE = ("D", "W")
_RETURN = {"\r": "&#13;"}
_TAKEN_BACK = "<!-- taken back -->"
_ELEMENT = re.compile(r"<([A-Z_]+)>([^<]*)</\1>")


def safe_cell(text: str | None) -> str:
    """The text as no spreadsheet takes it for a formula."""
    if not text or text[0] not in "=+-@\t\r" or _NUMBER.fullmatch(text) or _HARMLESS.fullmatch(text):
        return text or ""
    return "'" + text


def csv_file(found: Iterable[Row], columns: Mapping[str, str]) -> bytes:
    """columns: name in the header -> field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([safe_cell(name) for name in columns])
    for row in found:
        writer.writerow([safe_cell(row[field]) for field in columns.values()])
    return text.getvalue().encode()


def table_4(found: Iterable[Row], columns: Mapping[str, str]) -> bytes:
    """The file; columns: XML field -> field of ours, for those that TABLE_4_KNOWN does not say.

    A test without a value has no row. Nor has one that is taken back, because the table knows no such thing: the
    file then says so, and ``unfit`` with it.
    """
    declared = {**TABLE_4_KNOWN, **columns}
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<DSACH_CHI_TIET_CLS>"]
    number = 0
    for row in found:
        if row["letter"] in _GONE:
            lines.append(_TAKEN_BACK)
            continue
        if row["value"] is None:
            continue
        number += 1
        lines.append("<CHI_TIET_CLS>")
        for name in TABLE_4:
            text = str(number) if name == "STT" else _text(row, declared.get(name))
            lines.append(f"<{name}>{escape(_NOT_XML.sub(_REPLACED, text), _RETURN)}</{name}>")
        lines.append("</CHI_TIET_CLS>")
    lines.append("</DSACH_CHI_TIET_CLS>")
    return "\n".join(lines).encode() + b"\n"


def _text(row: Row, field: str | None) -> str:
    text = row[field] or "" if field else ""
    if text and field in TIMES:
        return datetime.fromisoformat(text).strftime("%Y%m%d%H%M")
    return text


def unfit(body: bytes) -> str:
    """Why a person must deal with a table 4 file, in words without content; empty when all is well."""
    text = body.decode()
    for name, content in _ELEMENT.findall(text):
        most = TABLE_4.get(name)
        size = len(unescape(content, {"&#13;": "\r"}).encode())
        if most is not None and size > most:
            return f"{name} has {size} bytes and may have {most}; enter it by hand, then skip this delivery"
        if _REPLACED in content:
            return f"{name} holds a character that XML does not know; enter it by hand, then skip this delivery"
    if _TAKEN_BACK in text:
        return "a result was taken back: correct it in the insurance record by hand, then skip this delivery"
    return ""
