"""What there is to learn from: captured bytes to messages, and how they were framed. Never raises on any bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from labgateway.captures import Way, is_wire, open_capture, read_wire
from labgateway.captures.transcripts import CaptureError
from labgateway.instruments import text
from labgateway.instruments.recognise import header_rows
from labgateway.protocols import raw_framing
from labgateway.protocols.raw_framing import FRAMINGS, Check


@dataclass(frozen=True, slots=True)
class Material:
    """Messages of one instrument.

    protocol: astm, hl7, the name of a raw framing, table, or "" when none fits. found: what was seen, doubts: what a
    person has to look at. encoding: None: UTF-8 or ASCII.
    """

    protocol: str
    messages: tuple[bytes, ...] = ()
    found: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    encoding: str | None = None
    texts: tuple[str, ...] = field(default=(), repr=False)
    """Of a raw framing: its texts, to look at their forms."""


def material_of(files: Iterable[bytes]) -> Material:
    """The messages of captured files: raw bytes or transcripts, framed or bare."""
    messages: list[bytes] = []
    damage: list[str] = []
    streams: list[bytes] = []
    for data in files:
        stream = _from_instrument(data)
        streams.append(stream)
        capture = open_capture(data)
        messages += capture.messages
        damage += capture.damage
    kinds = [_protocol(message) for message in messages]
    protocol = max(("astm", "hl7"), key=kinds.count) if any(kinds) else ""
    if not protocol:
        return _raw(streams)
    mine = [message for message, kind in zip(messages, kinds, strict=True) if kind == protocol]
    doubts = [f"A part of the capture could not be read: {one}." for one in dict.fromkeys(damage)]
    if len(mine) < len(messages):
        doubts.append(
            f"{len(messages) - len(mine)} of {len(messages)} messages are in another protocol and were left aside."
        )
    whole = b"".join(mine)
    encoding, doubt = _encoding(whole)
    return Material(protocol, tuple(mine), tuple(_framing(protocol, streams)), (*doubts, *doubt), encoding)


def _protocol(message: bytes) -> str:
    """The protocol of a message that has a header, or whose rows are nearly all records; else nothing."""
    protocol, rows = header_rows(message)
    if rows and rows[0].name in ("H", "MSH"):
        return protocol
    records = sum(row.name in ("H", "P", "O", "R", "C", "Q", "M", "L") and len(row.fields) > 2 for row in rows)
    return protocol if records > 0.6 * len(rows) else ""


def _from_instrument(data: bytes) -> bytes:
    if is_wire(data):
        try:
            return read_wire(data).sent(Way.FROM)
        except CaptureError:
            return b""
    return data


def _framing(protocol: str, streams: Iterable[bytes]) -> Iterable[str]:
    whole = b"".join(streams)
    if protocol == "hl7":
        yield (
            "HL7 in MLLP blocks (VT … FS CR)."
            if b"\x0b" in whole
            else "HL7 without MLLP blocks: as a file, or control characters were lost."
        )
        return
    if b"\x02" not in whole:
        yield "Bare ASTM records without frames: as a file, or control characters were lost."
        return
    ends = whole.count(b"\x17"), whole.count(b"\x03")
    sizes = [len(frame) for frame in re.findall(rb"\x02.([^\x02\x03\x17]*)[\x03\x17]", whole, re.DOTALL)]
    yield f"ASTM in frames (LIS01-A2): {ends[1]} end with ETX, {ends[0]} with ETB; the longest text has {max(sizes, default=0)} bytes."
    if max(sizes, default=0) > 240:
        yield "Frames are longer than the 240 bytes of the standard; the gateway takes them."
    if whole.count(b"\x05") == 0:
        yield "No ENQ was captured: whether a session begins with one was not seen."


_WESTERN = frozenset(b"\xb5\xb0\xb1\xb2\xb3\xe9\xe8\xfc\xf6\xe4")


def _encoding(whole: bytes) -> tuple[str | None, tuple[str, ...]]:
    high = {byte for byte in whole if byte >= 0x80}
    if not high:
        return None, ()
    try:
        whole.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return "utf-8", ()
    shown = ", ".join(f"{byte:02X}" for byte in sorted(high)[:8])
    if high <= _WESTERN:
        return "latin-1", (
            f"Bytes {shown} are no UTF-8; latin-1 is assumed because they make sense in it (such as µ).",
        )
    known = ", ".join(("latin-1", "cp1258", *text.OWN))
    return None, (
        f"Bytes {shown} are no UTF-8 and the encoding could not be told. Write [line] encoding, one of {known}; until then "
        "results with such letters park.",
    )


def _raw(streams: list[bytes]) -> Material:
    """What can be said of bytes that are neither ASTM nor HL7."""
    whole = b"".join(streams)
    if not whole.strip():
        return Material("", doubts=("The files are empty.",))
    fitting: list[tuple[str, tuple[bytes, ...]]] = []
    for name, framing in FRAMINGS.items():
        unframed = raw_framing.unframe(whole, framing)
        if raw_framing.STX in whole and unframed.texts and not unframed.damage:
            fitting.append((name, unframed.texts))
    # Text and its sum are as in `dimension`; the GS before the sum is the sign of BCI.
    checked = [one for one in fitting if FRAMINGS[one[0]].check is Check.BCI and raw_framing.GS in whole]
    checked += [one for one in fitting if FRAMINGS[one[0]].check not in (Check.NONE, Check.BCI)]
    chosen = (checked or fitting)[:1]
    if chosen:
        name, texts = chosen[0]
        found = f"{len(texts)} texts in the framing `{name}`" + (
            ", every check right." if checked else ", which has no check."
        )
        others = [one for one, _ in fitting if one != name]
        doubts = [
            "Where each part stands in a text cannot be told by counting; a [layout] has to be written from the manual."
        ]
        if others and not checked:
            doubts.append(f"The framing could also be {', '.join(others)}.")
        return Material(name, texts, (found,), tuple(doubts), None, tuple(text.guess(each)[0] for each in texts))
    lines = [line for line in text.guess(whole)[0].splitlines() if line.strip()]
    for delimiter in ("\t", ";", ","):
        counts = [line.count(delimiter) for line in lines]
        if len(lines) > 1 and max(counts, default=0) >= 2 and counts.count(max(counts)) >= len(lines) // 2:
            name = {"\t": "tab", ";": ";", ",": ","}[delimiter]
            found = f"{len(lines)} lines of a table, cells parted by {name}."
            doubt = "Which column means what has to be written into [layout] columns; see `Raw framings and files` in docs/drivers.md."
            return Material("table", (whole,), (found,), (doubt,), None, tuple(lines))
    doubt = "No framing that labgateway knows fits these bytes. Compare with the manual; a new framing is code (labgateway/protocols)."
    return Material("", (whole,), (f"{len(whole)} bytes.",), (doubt,), None, tuple(lines[:20]))
