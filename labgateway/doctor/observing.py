"""What was heard on a line, as counts: frames good and bad, refusals, contention, senders, clocks. Never raises.

The bytes are judged without the machines of protocols/, which say only what is right: here is counted what is wrong.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from labgateway.doctor.facts import Heard, Observed
from labgateway.instruments.decode import decode, rows_of
from labgateway.instruments.library import Library
from labgateway.instruments.recognise import candidates, header_rows, knows_sender, senders
from labgateway.instruments.spec import Driver
from labgateway.instruments.times import read_time
from labgateway.model import Kind
from labgateway.protocols import astm_frames, hl7
from labgateway.protocols.raw_framing import FRAMINGS, find

MOST_BYTES = 2 << 20
"""So much of each direction is judged."""
CONTENTION_S = 2.0
_ENQ, _ACK, _NAK = 0x05, 0x06, 0x15
_FRAME = re.compile(rb"\x02([0-7]?)([^\x02\x03\x04\x05\x17]*)([\x03\x17])([0-9A-Fa-f]{2})?", re.DOTALL)
_BLOCK = re.compile(rb"\x0b([^\x0b\x1c]*)\x1c\r?", re.DOTALL)
_HEADER = re.compile(rb"H[^0-9A-Za-z\s]")
_KNOWN = frozenset(b"\x02\x03\x04\x05\x06\x0a\x0b\x0d\x11\x13\x15\x17\x1a\x1c\x1d\x1e\t\x00") | frozenset(
    range(0x20, 0x7F)
)


def observe(
    heard: Iterable[Heard], driver: Driver | None, library: Library, epoch: Callable[[float], datetime]
) -> Observed:
    """Count. epoch: the site's naive local time of a Heard.at."""
    events = list(heard)
    there = b"".join(one.data for one in events if one.way == "from")[:MOST_BYTES]
    back = b"".join(one.data for one in events if one.way == "to")[:MOST_BYTES]
    seems = shape_of(there)
    framing = FRAMINGS.get(driver.protocol) if driver else None
    frames, bad, unchecked, repeats = _frames(there, seems)
    if framing is not None:
        frames = bad = unchecked = at = 0
        while (found := find(there, framing, at)) is not None:
            frames += found.good
            bad += not found.good
            at = found.stop
    texts = _messages(there, seems)
    messages = [message for _, message in texts] if framing is None else ([there] if frames else [])
    said = Counter[str]()
    known: set[str] = set()
    fits = True
    marked = results = empty = 0
    offsets: list[float] = []
    for message in messages:
        protocol, rows = header_rows(message)
        if rows and rows[0].name in ("H", "MSH"):
            said[next(filter(None, senders(rows)), "")] += 1
            known |= {each.name for each in candidates(message, library)}
            if driver and protocol == driver.protocol and driver.recognise.sender is not None:
                fits = fits and knows_sender(driver, rows)
            clock = rows[0].value(14) if protocol == "astm" else rows[0].value(7)
            if (written := read_time(clock[:14])) and (at_ := _when(events, message)) is not None:
                offsets.append((written - epoch(at_)).total_seconds())
        if driver and (framing or protocol == driver.protocol):
            marked += rows_of(driver, message)[1]
            for result in decode(driver, message).results:
                if result.kind is Kind.PATIENT:
                    results += 1
                    empty += not result.specimen
    return Observed(
        bytes_from=len(there),
        bytes_to=len(back),
        seems=seems if framing is None or not frames else "raw",
        garbage=_garbage(there),
        frames=frames,
        bad_checksums=bad,
        no_checksums=unchecked,
        enquiries=_alone(events, "from", _ENQ),
        acks=_alone(events, "to", _ACK),
        naks=_alone(events, "to", _NAK),
        refused=_alone(events, "from", _NAK),
        repeats=repeats + _same_ids(messages),
        contentions=_contentions(events),
        messages=len(messages),
        senders=tuple(name for name, _ in said.most_common(5) if name),
        sender_fits=fits,
        known_by=tuple(sorted(known)),
        clock_s=sorted(offsets)[len(offsets) // 2] if offsets else None,
        marked=marked,
        results=results,
        no_specimen=empty,
    )


def shape_of(data: bytes) -> str:
    """What kind of talk it is by its looks: hl7, astm, raw, tls, web, text, "" when nothing can be said."""
    if data[:3] in (b"\x16\x03\x01", b"\x16\x03\x03"):
        return "tls"
    if re.match(rb"(GET|POST|HEAD|OPTIONS|PUT|CONNECT) \S+ HTTP/", data):
        return "web"
    if b"\x0bMSH" in data or re.search(rb"(?:\A|[\r\n])MSH[^0-9A-Za-z\s]", data):
        return "hl7"
    if re.search(rb"\x02[0-7][A-Z][^0-9A-Za-z\s]", data) or re.search(rb"(?:\A|[\r\n\x02])H[^0-9A-Za-z\s]\S", data):
        return "astm"
    if re.search(rb"\x02[^\x02]{2,}[\x03\x17\x1a]", data, re.DOTALL):
        return "raw"
    if data.strip(b"\x05\x04\x06\x15\r\n\x00") == b"":
        return "astm" if b"\x05" in data else ""
    return "text" if _garbage(data) < 0.1 else ""


def _garbage(data: bytes) -> float:
    """Share of the bytes that stand in no text. UTF-8, and single letters above ASCII in it, are none."""
    if not data:
        return 0.0
    try:
        data.decode()
    except UnicodeDecodeError:
        pass
    else:
        return sum(byte not in _KNOWN for byte in data if byte < 0x80) / len(data)
    return sum(byte not in _KNOWN for byte in data) / len(data)


def _frames(data: bytes, seems: str) -> tuple[int, int, int, int]:
    """Whole frames, those with a wrong checksum, those without one, those that came again."""
    if seems == "hl7":
        return len(_BLOCK.findall(data)), 0, 0, 0
    count = bad = unchecked = repeats = 0
    before: tuple[bytes, bytes] | None = None
    for found in _FRAME.finditer(data):
        number, text, ending, sent = found.groups()
        count += 1
        if sent is None:
            unchecked += 1
        elif astm_frames.checksum(number + text + ending) != sent.upper():
            bad += 1
        repeats += before == (number, text)
        before = (number, text)
    return count, bad, unchecked, repeats


def _messages(data: bytes, seems: str) -> list[tuple[int, bytes]]:
    match seems:
        case "hl7":
            return [(found.start(1), found[1]) for found in _BLOCK.finditer(data)] or [
                (0, message) for message in hl7.messages(data)
            ]
        case "astm":
            return [(0, message) for message in astm_frames.unframe(data).messages if _HEADER.match(message)]
        case _:
            return []


def _same_ids(messages: Sequence[bytes]) -> int:
    """How often an HL7 message came again under its own control id."""
    ids = Counter(
        rows[0].value(10) for message in messages for protocol, rows in (header_rows(message),) if protocol == "hl7"
    )
    return sum(count - 1 for control_id, count in ids.items() if control_id)


def _when(events: list[Heard], message: bytes) -> float | None:
    """When the last piece with bytes from the instrument came that could belong to the message: near enough for a clock."""
    head = message[:12]
    for one in events:
        if one.way == "from" and head in one.data:
            return one.at
    return next((one.at for one in events if one.way == "from"), None)


def _alone(events: list[Heard], way: str, byte: int) -> int:
    """How often a control character came by itself, or before a frame."""
    return sum(one.data.count(byte) for one in events if one.way == way and len(one.data.strip(b"\r\n")) <= 3)


def _contentions(events: list[Heard]) -> int:
    count = 0
    ours = -CONTENTION_S
    for one in events:
        if one.way == "to" and one.data[-1:] == b"\x05":
            ours = one.at
        elif one.way == "from" and one.data[:1] == b"\x05" and one.at - ours < CONTENTION_S:
            count += 1
            ours = -CONTENTION_S
    return count
