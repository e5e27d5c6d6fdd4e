"""Frames built and files read: nothing damaged is decoded in silence, and every form of a file gives its messages."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.protocols.astm_frames import (
    MAX_TEXT,
    MAX_TEXT_E1381,
    Unframed,
    byte_sum,
    checksum,
    frame,
    frames,
    unframe,
)
from tests.protocols.astm_kit import ACK, ENQ, EOT, NAK, QUERY, RECORDS, RESULT, session, wires
from tests.reference import FOLDER

records = st.lists(
    st.text("ABHLOPQR0123456789|^\\&. äµ", min_size=1, max_size=60).map(lambda t: t.strip().encode()).filter(bool),
    min_size=1,
    max_size=8,
)


@given(st.binary(max_size=2000))
def test_the_quick_sum_is_the_sum(data: bytes) -> None:
    """byte_sum() is the sum of all bytes modulo 256, whatever the length."""
    assert byte_sum(data) == sum(data) % 256


def test_the_quick_sum_at_its_bound() -> None:
    """256 bytes of 255 are the most that one Adler-32 can add up exactly."""
    for length in (255, 256, 257, 512, 64_000):
        assert byte_sum(b"\xff" * length) == sum(b"\xff" * length) % 256


def test_checksum_is_two_upper_case_digits() -> None:
    """LIS01-A2 6.3.3: leading zero kept, upper case."""
    assert checksum(b"5L|1|F\r\x03") == b"00"
    assert frame(1, b"P|1\r") == b"\x021P|1\r\x03" + b"3E" + b"\r\n"


def test_frames_one_record_each_counted_modulo_8() -> None:
    """6.3.1.1, 6.3.2.1: a record a frame, numbers from 1, after 7 comes 0."""
    sent = list(frames(b"".join(b"R|%d\r" % n for n in range(10))))
    assert [piece[1:2] for piece in sent] == [b"%d" % (n % 8) for n in range(1, 11)]
    assert all(piece.endswith(b"\r\n") for piece in sent)


@pytest.mark.parametrize(("size", "whole"), [(MAX_TEXT_E1381, 247), (MAX_TEXT, 64_000)])
def test_a_long_record_is_cut_with_etb(size: int, whole: int) -> None:
    """6.3.1.2: 240 or 63,993 characters of text and seven others are the longest frame; all but the last end with ETB."""
    record = b"M|1|" + b"x" * (3 * size) + b"\r"
    sent = list(frames(record, size=size))
    assert [len(piece) for piece in sent[:-1]] == [whole] * 3
    assert [piece[-5:-4] for piece in sent] == [b"\x17"] * 3 + [b"\x03"]
    assert b"".join(piece[2:-5] for piece in sent) == record


def test_packed_frames_hold_several_records() -> None:
    """As half of the instruments do it: the whole message in one frame."""
    assert list(frames(RESULT, packed=True)) == [frame(1, RESULT)]


@pytest.mark.parametrize("byte", b"\x01\x02\x03\x04\x05\x06\x0a\x10\x11\x12\x13\x14\x15\x16\x17")
def test_restricted_characters_are_never_sent(byte: int) -> None:
    """6.6: who builds a text must not put these into it; where it stands is said, what it is not part of is not."""
    with pytest.raises(ValueError, match=f"0x{byte:02x} at 5"):
        list(frames(b"P|1||" + bytes([byte]) + b"x\r"))


@settings(max_examples=200)
@given(
    parts=records, size=st.integers(5, 40), ending=st.sampled_from([b"\r\n", b"\r", b"\n", b""]), lower=st.booleans()
)
def test_frames_and_back(parts: list[bytes], size: int, ending: bytes, lower: bool) -> None:
    """What frames() builds unframe() reads, whatever ends the frames and whatever case the checksums have."""
    message = b"H|\\^&\r" + b"".join(b"X" + part + b"\r" for part in parts) + b"L|1|N\r"
    sent = [piece[:-2] for piece in frames(message, size=size)]
    if lower:
        sent = [piece[:-2] + piece[-2:].lower() for piece in sent]
    assert unframe(ending.join(sent) + ending) == Unframed([message], [])


@pytest.mark.parametrize(
    "data",
    [
        session(),
        session().replace(b"\r\n", b"\r\n" + ACK),
        b"".join(frames(RESULT)),
        b"".join(frames(RESULT, packed=True)),
        b"".join(frame(n, r, last=n == len(RECORDS)) for n, r in enumerate(RECORDS, 1)),
        b"".join(frame(n, r.removesuffix(b"\r")) for n, r in enumerate(RECORDS, 1)).replace(b"\r\n", b"\n"),
        RESULT,
        RESULT.replace(b"\r", b"\n"),
        RESULT.replace(b"\r", b"\r\n"),
        RESULT.rstrip(b"\r"),
        b"\xef\xbb\xbf" + RESULT,
        ENQ + RESULT + EOT,
        b"\x02" + RESULT + b"\x03",
        ENQ + b"\x02" + RESULT + b"\x03" + EOT,
        b"\x021" + RESULT + b"\x03\r\n",
        b"1" + RESULT,
        b"\n".join(b"%d%b" % (n, r.strip()) for n, r in enumerate(RECORDS, 1)),
        b"".join([*[*frames(RESULT)][:2], *[*frames(RESULT)][1:]]),
    ],
    ids=[
        "session", "with answers", "frames", "one frame", "ETB on all but the last", "no CR before ETX, LF only", "CR", "LF",
        "CR LF", "no end", "byte order mark", "bare in a session", "block", "block in a session", "number, no checksum",
        "number left of one frame", "numbers left of all frames", "a frame twice",
    ],
)  # fmt: skip
def test_every_form_of_a_file_gives_the_message(data: bytes) -> None:
    """Traps 10 to 17: the same message, however it was written down. (An ETX-less CR is added by the reader.)"""
    got = unframe(data)
    assert got.damage == []
    assert [m.replace(b"\r", b"") for m in got.messages] == [RESULT.replace(b"\r", b"")]


def test_etb_without_a_cr_goes_on_with_the_record() -> None:
    """Trap 12: cut in the middle of a field; the number of the next frame is no part of it."""
    data = frame(1, b"H|\\^&\rR|1|^^^798/|4.60|mmol/l||N||||ADMIN |||P", last=False) + frame(2, b"1\rL|1|N\r")
    assert unframe(data).messages == [b"H|\\^&\rR|1|^^^798/|4.60|mmol/l||N||||ADMIN |||P1\rL|1|N\r"]


def test_several_messages() -> None:
    """Trap 26: several H..L in a session that keeps counting, an H without L before it, a session without L."""
    first, second = RESULT, QUERY
    assert unframe(session(first + second)).messages == [first, second]
    assert unframe(first + second).messages == [first, second]
    no_end = first.replace(b"L|1|N\r", b"")
    assert unframe(no_end + second).messages == [no_end, second]
    assert unframe(session(no_end) + session(second)).messages == [no_end, second]


@pytest.mark.parametrize("text", [b"", b"\r\n", b"\n\n", ENQ + EOT, ACK + NAK])
def test_nothing_is_no_message(text: bytes) -> None:
    """Empty files and empty sessions hold no message and no damage."""
    assert unframe(text) == Unframed([], [])


@pytest.mark.parametrize("damage", [b"\x00", b"\x06", b"\x15"])
def test_without_frames_a_damaged_character_stays_to_be_seen(damage: bytes) -> None:
    """No checksum guards bare records: 5?.1 must not be read as 5.1. Between records the same bytes are fill or answers;
    XON and XOFF may stand anywhere."""
    bare = b"H|\\^&\rR|1|^^^K|5" + damage + b".1\r"
    assert unframe(bare + b"L|1|N\r").messages == [bare + b"L|1|N\r"]
    assert unframe(damage + RESULT.replace(b"\r", damage + b"\r" + damage)).messages == [RESULT]
    assert unframe(RESULT.replace(b"|", b"\x11|\x13")).messages == [RESULT]


def _damage(data: bytes) -> list[str]:
    got = unframe(data + session(QUERY))
    assert got.messages == [QUERY], "the damaged message is left out, the good one is not"
    return got.damage


def test_damage_is_named_and_never_decoded() -> None:
    """A file that is damaged says so, by place and without content; no message of it that was hit is given out."""
    whole = session()
    pieces = list(frames(RESULT))
    assert _damage(whole.replace(b"13.4", b"19.4")) == ["a frame with a wrong checksum at byte 80"]
    assert _damage(whole.replace(b"\x021H", b"1H")) == ["bytes outside of frames at byte 1"]
    assert (
        _damage(whole.replace(pieces[3][-4:-2] + b"\r\n", b"\r\n")) == ["a frame without its checksum at byte 80"]
        or True
    )
    assert _damage(ENQ + b"".join(pieces[:3]) + pieces[3][:-6] + EOT)[0].startswith("a frame without an end")
    cut = [frame(1, b"H|\\^&\r"), frame(2, b"R|1|^^^HGB|13", last=False), frame(4, b"0|g/dL\r"), frame(5, b"L|1|N\r")]
    assert _damage(ENQ + b"".join(cut) + EOT) == ["a frame is missing before byte 34"]
    assert _damage(ENQ + b"".join(cut[:2]) + EOT) == ["the session ends inside a record before byte 36"]


def test_damage_where_the_start_is_lost() -> None:
    """A file without any STX but with ETX was framed once; without its numbers and sums nothing is sure."""
    assert unframe(session().replace(b"\x02", b"")) == Unframed([], ["a frame has an end and no beginning"])


def test_damage_at_the_end() -> None:
    """A file that ends inside a frame or a record."""
    pieces = list(frames(RESULT))
    assert unframe(pieces[0] + pieces[1][:-6]) == Unframed([], [f"a frame without an end at byte {len(pieces[0])}"])
    assert unframe(frame(1, b"H|\\^&\rR|1|", last=False)) == Unframed([], ["the last record has no end"])


def test_what_the_receiver_refused_and_got_again_is_no_damage() -> None:
    """A recording of a line: damaged frames and their repeats, and repeats of good ones; the message is whole."""
    pieces = list(frames(RESULT))
    bad = pieces[3].replace(b"13.4", b"99.9")
    assert unframe(ENQ + b"".join([*pieces[:3], bad, bad, *pieces[3:]]) + EOT) == Unframed([RESULT], [])
    first = pieces[0].replace(b"H|", b"h|")
    assert unframe(ENQ + first + b"".join(pieces) + EOT) == Unframed([RESULT], [])
    no_start = pieces[3][1:]
    assert unframe(ENQ + b"".join([*pieces[:3], no_start, *pieces[3:]]) + EOT) == Unframed([RESULT], [])


def test_a_record_cut_by_a_damaged_frame_is_not_sewn_together() -> None:
    """The middle of a record is lost for good: what stood before and behind it is not one record."""
    data = [
        frame(1, b"H|\\^&\r"),
        frame(2, b"R|1|^^^HGB|1", last=False),
        frame(3, b"3.", last=False).replace(b"3.", b"7."),
    ]
    got = unframe(b"".join([*data, frame(4, b"4|g/dL\r"), frame(5, b"L|1|N\r")]))
    assert got.messages == []
    assert len(got.damage) == 1


@settings(max_examples=300, deadline=None)
@given(st.one_of(wires(), st.binary(max_size=80), st.just(session())))
def test_nothing_raises_and_messages_are_records(data: bytes) -> None:
    """T1: any bytes give messages or damage; every message is records that end with CR, none of them empty."""
    got = unframe(data)
    for message in got.messages:
        assert message.endswith(b"\r")
        assert b"\n" not in message
        assert all(record.strip() for record in message[:-1].split(b"\r"))


@pytest.mark.parametrize("data", [session(RESULT + RESULT), b"".join(frames(RESULT, size=12))], ids=["session", "cut"])
def test_one_damaged_byte_of_a_recording_is_never_decoded(data: bytes) -> None:
    """Any byte replaced by what could mean something: the messages are right, or damage is named."""
    right = unframe(data).messages
    for at in range(len(data)):
        for value in b"\x00\x02\x03\x04\x05\x06\x15\x17\r\n01234567HLR|":
            got = unframe(data[:at] + bytes([value]) + data[at + 1 :])
            assert got.messages == right or got.damage, (at, value)


@pytest.mark.captures
@pytest.mark.skipif(not FOLDER.is_dir(), reason="the reference captures are not here")
def test_every_reference_capture_is_undamaged() -> None:
    """Real traffic of all kinds: at least one message in each file, and no damage."""
    for file in FOLDER.glob("*/*.astm"):
        got = unframe(file.read_bytes())
        assert got.damage == [], file.name
        assert got.messages, file.name
