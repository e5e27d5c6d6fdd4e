"""Where a row stands in the bytes: with frames and without, over several frames, in HL7 blocks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from labgateway.protocols.locate import locate
from tests.end_to_end.analyzer import frames_of

RECORDS = ["H|\\^&|||X", "P|1", "O|1|S1||^^^WBC", "R|1|^^^WBC|8.1", "C|1|I|note", "R|2|^^^HGB|13.4", "L|1|N"]


def test_bare_records() -> None:
    for end in ("\r", "\n", "\r\n"):
        raw = end.join(RECORDS).encode() + end.encode()
        found = locate(raw, "R2", framed=True)
        assert found is not None
        assert (raw[found.first : found.last], found.text) == (b"R|2|^^^HGB|13.4", b"R|2|^^^HGB|13.4")


def test_framed_records() -> None:
    raw = b"".join(frames_of(RECORDS))
    for number, text in ((1, b"R|1|^^^WBC|8.1"), (2, b"R|2|^^^HGB|13.4")):
        found = locate(raw, f"R{number}", framed=True)
        assert found is not None
        assert found.text == raw[found.first : found.last] == text


def test_a_record_over_two_frames() -> None:
    """Its bytes are those from the first to the last, the link's in between among them."""
    raw = b"\x021R|1|^^^WB\x17AA\r\n\x022C|8.1\r\x03BB\r\n"
    found = locate(raw, "R1", framed=True)
    assert found is not None
    assert found.text == b"R|1|^^^WBC|8.1"
    assert raw[found.first : found.last].startswith(b"R|1")
    assert raw[found.first : found.last].endswith(b"8.1")


def test_segments() -> None:
    raw = b"MSH|^~\\&|X\rPID|1\rOBX|1|NM|A\rOBXX|9\rOBX|2|NM|B\r"
    found = locate(raw, "OBX2", framed=False)
    assert found is not None
    assert raw[found.first : found.last] == found.text == b"OBX|2|NM|B"
    for where in ("OBX3", "", "row 3", "R"):
        assert locate(raw, where, framed=False) is None


@given(st.binary(max_size=200), st.sampled_from(["R1", "OBX2", "H1", ""]), st.booleans())
def test_nothing_raises(raw: bytes, where: str, framed: bool) -> None:
    found = locate(raw, where, framed=framed)
    if found is not None:
        assert 0 <= found.first < found.last <= len(raw)
