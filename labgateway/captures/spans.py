"""Where the text stands in a stream of bytes, and how it is put back: frames found, repeats known, checksums recomputed.

A text that is put back is as long as it was, so that no byte moves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from labgateway.captures.transcripts import Way, Wire
from labgateway.protocols.astm_frames import STX, checksum
from labgateway.protocols.emerald import crc16
from labgateway.protocols.raw_framing import Check, Framing, find, wrap

Span = tuple[int, int]


@dataclass(slots=True)
class Blocks:
    """A stream's texts. spans: each text, all the places where it was sent, and whether the next one goes on where it ends.
    damaged: what cannot be trusted to be text.

    frames: each ASTM frame from its number to its checksum, with the place of the checksum (None: it has none); raws:
    each raw transmission.
    """

    spans: list[tuple[list[Span], bool]] = field(default_factory=list[tuple[list[Span], bool]])
    damaged: list[Span] = field(default_factory=list[Span])
    frames: list[tuple[Span, Span | None]] = field(default_factory=list[tuple[Span, "Span | None"]])
    raws: list[Span] = field(default_factory=list[Span])
    framing: Framing | None = None


_FRAME = re.compile(rb"\x02([0-7]?)((?:(?!\x05\x02)[^\x02\x03\x17])*)(?:([\x03\x17])([0-9A-Fa-f]{2})?)?", re.DOTALL)


def blocks_of(stream: bytes, protocol: str, framing: Framing | None) -> Blocks:
    """The texts of one direction. protocol: astm, hl7 or a raw one with its framing."""
    if framing is not None:
        return _raw(stream, framing)
    if protocol == "astm" and STX in stream:
        return _astm(stream)
    return Blocks(spans=[([(0, len(stream))], True)] if stream else [])


def _astm(stream: bytes) -> Blocks:
    blocks = Blocks()
    before: tuple[bytes, bytes] | None = None
    end = 0
    checked = any(found[4] for found in _FRAME.finditer(stream))
    for found in _FRAME.finditer(stream):
        if found.start() > end:
            blocks.damaged.append((end, found.start()))
        end = found.end()
        number, text, ending, sent = found.groups()
        good = ending is not None and checksum(number + text + ending) == (sent or b"").upper()
        good = good or (ending is not None and sent is None and not checked)
        if not good:
            blocks.damaged.append(found.span())
            continue
        if before == (number, text) and number:
            blocks.spans[-1][0].append(found.span(2))
        else:
            blocks.spans.append(([found.span(2)], ending == b"\x17"))
        before = (number, text)
        blocks.frames.append(((found.start(1), found.end(3)), None if sent is None else found.span(4)))
    if end < len(stream):
        blocks.damaged.append((end, len(stream)))
    return blocks


def _raw(stream: bytes, framing: Framing) -> Blocks:
    blocks = Blocks(framing=framing)
    at = 0
    while (found := find(stream, framing, at)) is not None:
        if found.start > at:
            blocks.damaged.append((at, found.start))
        at = found.stop
        start = found.start + (not framing.lines) + framing.cut[0]
        if found.good and stream[start : start + len(found.text)] == found.text:
            blocks.spans.append(([(start, start + len(found.text))], framing.joined or not found.last))
            blocks.raws.append((found.start, found.stop))
        else:
            blocks.damaged.append((found.start, found.stop))
    if at < len(stream):
        blocks.damaged.append((at, len(stream)))
    return blocks


class Rebuild:
    """One direction of a transcript that is taken apart and put together again."""

    def __init__(self, wire: Wire, way: Way, blocks: Blocks) -> None:
        self.stream = wire.sent(way)
        self.blocks = blocks
        self.text = b"".join(
            self.stream[spans[0][0] : spans[0][1]] + (b"" if goes_on else b"\r") for spans, goes_on in blocks.spans
        )

    def replace(self, text: bytes) -> None:
        """Put a text of the same length in its places; checksums that were right are right again."""
        out = bytearray(self.stream)
        at = 0
        for spans, goes_on in self.blocks.spans:
            size = spans[0][1] - spans[0][0]
            for start, stop in spans:
                out[start:stop] = text[at : at + size]
            at += size + (not goes_on)
        for start, stop in self.blocks.damaged:
            out[start:stop] = _masked(bytes(out[start:stop]))
        for (start, stop), place in self.blocks.frames:
            if place:
                made = checksum(bytes(out[start:stop]))
                was = bytes(out[place[0] : place[1]])
                out[place[0] : place[1]] = made.lower() if was != was.upper() else made
        if self.blocks.framing:
            for start, stop in self.blocks.raws:
                out[start:stop] = _checked(bytes(out[start:stop]), self.blocks.framing)
        self.stream = bytes(out)


def _masked(data: bytes) -> bytes:
    """What was no good frame: its control characters and punctuation alone."""
    return re.sub(rb"[0-9]", b"0", re.sub(rb"[A-Za-z\x80-\xff]", b"x", data))


def _checked(block: bytes, framing: Framing) -> bytes:
    """A transmission whose text was changed, with its check computed anew."""
    if framing.check is Check.NONE:
        return block
    body = block[1:]
    match framing.check:
        case Check.XOR_BEHIND:
            return block[:-1] + wrap(block[1:-2], framing, last=block[-2] in framing.ends and block[-2] != 0x17)[-1:]
        case Check.BCI:
            text, gs, digits = body[:-1].rpartition(b"\x1d")
            made = b"%02x" % (sum(text + gs) & 0xFF)
            made = made.upper() if digits[:2] != digits[:2].lower() else made
            return block[:1] + text + gs + made + digits[2:] + body[-1:]
        case Check.XOR_BEFORE | Check.SUM_BEFORE:
            size = 1 if framing.check is Check.XOR_BEFORE else 2
            return wrap(body[: -1 - size], framing)
        case Check.SUM_BEHIND:
            return wrap(body[:-4], framing)
        case Check.LINE_CRC:
            return _with_line_sum(block)
    return block


def _with_line_sum(block: bytes) -> bytes:
    """The same with its sum at the end. A sum that is longer than the old one has no room: then the old one stays, wrong."""
    end = re.search(rb"(END_[A-Z]+;)([0-9]+)([\r\n])\Z", block)
    if end is None:
        return block
    made = b"%d" % crc16(block[: end.start()])
    return block if len(made) > len(end[2]) else block[: end.start(2)] + made.zfill(len(end[2])) + end[3]
