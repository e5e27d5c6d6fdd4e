"""Transcripts and raw files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.captures import (
    CaptureError,
    Way,
    Wire,
    is_wire,
    open_capture,
    read_capture,
    read_wire,
    wire_of,
    write_wire,
)
from labgateway.protocols import astm_frames

RECORDS = b"H|\\^&|||X\rP|1\rO|1|A\rR|1|^^^K|<0.1|g/L\rL|1|N\r"
MSH = b"MSH|^~\\&|X||||||ORU^R01|1|P|2.5\rPID|1\rOBX|1|ST|K||a<b\r"

EXAMPLE = """# instrument: Example Haem 3, firmware 1.4
# source:     Host Interface Manual rev 1.0, example 5-2
# shows:      HGB withheld, PLT high
< <ENQ>
> <ACK>
< <STX>1H|\\^&|||Haem 3<CR><ETX>5A<CR><LF>
> <ACK>
< <EOT>
"""


def test_the_transcript_of_the_examples() -> None:
    """Header lines, both directions, named control characters."""
    wire = read_wire(EXAMPLE.encode())
    assert wire.header[0] == ("instrument", "Example Haem 3, firmware 1.4")
    assert wire.lines[0] == (Way.FROM, b"\x05")
    assert wire.sent() == b"\x05\x021H|\\^&|||Haem 3\r\x035A\r\n\x04"
    assert wire.sent(Way.TO) == b"\x06\x06"
    assert write_wire(wire).decode() == EXAMPLE


_PIECES = st.sampled_from(
    [b"<ENQ>", b"<", b">", b"<x4", b"\n", b"\x05", b"\xff", "ệ".encode(), b"<LT>", b"<x41>", b"#", b" "]
) | st.binary(max_size=3)


@given(parts=st.lists(st.tuples(st.sampled_from(list(Way)), st.lists(_PIECES, min_size=1).map(b"".join)), max_size=5))
def test_any_bytes_survive_a_transcript(parts: list[tuple[Way, bytes]]) -> None:
    """Written and read again, each direction holds the same bytes in the same order of turns."""
    wire = Wire((("instrument", "x"),), tuple(parts))
    again = read_wire(write_wire(wire))
    assert again.header == wire.header
    assert again.sent() == wire.sent()
    assert again.sent(Way.TO) == wire.sent(Way.TO)
    turns = [way for way, data in wire.lines if data]
    assert list(dict.fromkeys(turns)) == list(dict.fromkeys(way for way, _ in again.lines))
    assert is_wire(write_wire(wire)) or not any(data for _, data in parts)


@pytest.mark.parametrize("line", ["<ENQ>", "< <ENX>", "nonsense"])
def test_a_bad_line_is_named(line: str) -> None:
    """The number of the line stands in the error, its content does not."""
    with pytest.raises(CaptureError, match="line 2"):
        read_wire(f"# a: b\n{line}\n".encode())


@pytest.mark.parametrize("ending", [b"\r", b"\n", b"\r\n"])
def test_every_form_of_file_gives_the_same_message(ending: bytes) -> None:
    """Framed or bare ASTM, MLLP or bare HL7, a transcript of each; CR, LF or CR LF."""
    framed = b"\x05" + b"".join(astm_frames.frames(RECORDS)) + b"\x04"
    assert read_capture(RECORDS.replace(b"\r", ending)) == [RECORDS]
    assert read_capture(framed) == [RECORDS]
    assert read_capture(write_wire(wire_of([RECORDS], [], protocol="astm", size=7))) == [RECORDS]
    (bare,) = read_capture(MSH.replace(b"\r", ending))
    (block,) = read_capture(b"\x0b" + MSH + b"\x1c\r")
    (wire,) = read_capture(write_wire(wire_of([MSH], [], protocol="hl7")))
    plain = {m.replace(b"\r\n", b"\r").replace(b"\n", b"\r").strip(b"\r\x1c\x0b") for m in (bare, block, wire)}
    assert plain == {MSH.strip(b"\r")}


def test_several_messages_in_a_file() -> None:
    """Each message by itself, in order."""
    assert read_capture(RECORDS + RECORDS.replace(b"|A", b"|B"))[1].count(b"|B") == 1
    assert len(read_capture(b"\x0b" + MSH + b"\x1c\r\x0b" + MSH + b"\x1c\r")) == 2


def test_damage_is_said_and_left_out() -> None:
    """A frame with a wrong checksum takes its message with it and is named; the other one stays."""
    one = b"\x05" + b"".join(astm_frames.frames(RECORDS)) + b"\x04"
    capture = open_capture(one.replace(b"g/L", b"g/l", 1) + one)
    assert capture.messages == [RECORDS]
    assert len(capture.damage) == 1


@given(st.binary(max_size=80))
def test_no_file_raises(data: bytes) -> None:
    """Any bytes: messages, or damage, or nothing when the file is blank."""
    capture = open_capture(data)
    assert (
        capture.messages
        or capture.damage
        or not data.strip()
        or not data.strip(b"\x00\x04\x05\x06\x11\x13\x15\r\n\t \x0b\x0c\x1c")
    )
