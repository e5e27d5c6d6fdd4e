"""Cell-Dyn Emerald's lines: every answer, the sum, broken-off results, noise; cutting changes nothing, nothing raises."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.protocols import emerald
from labgateway.protocols.astm_events import Broken, Closed, Frame, Noise, Opened, RawEvent, Unfinished
from labgateway.protocols.emerald_receiver import EmeraldReceiver, receiver_for
from labgateway.protocols.raw_framing import FRAMINGS, MAX_TEXT_BYTES, unframe
from labgateway.protocols.raw_receiver import ANSWER_S, HELD_BYTES, QUIET_S, RawReceiver

HEADER = b"EMD22AL;1;7;LAB\r"
LINES = FRAMINGS["emerald"]
fields = st.lists(st.text("ABC 019.;%*", min_size=1, max_size=12).map(str.encode), min_size=1, max_size=5)
results = fields.map(lambda lines: HEADER + b"RESULT\r" + b"\r".join(b"X;" + line for line in lines))
MARKS = (HEADER, b"RESULT\r", b"END_RESULT;1\r", b"CONNECT\r", b"END_CALI;\r", b"CALIBRATION\r", b"RESULT_READY\r")
noises = st.binary(max_size=40).filter(lambda data: not set(data) & set(b";"))


def result(*lines: bytes) -> bytes:
    return HEADER + b"\r".join((b"RESULT", *lines))


def converse(pieces: list[bytes], machine: RawReceiver | None = None) -> tuple[list[RawEvent], bytes]:
    """Everything said and answered when each text is accepted at once."""
    machine = machine or receiver_for("emerald")
    events: list[RawEvent] = []
    out = b""
    for piece in pieces:
        machine.feed(piece, 0.0)
        while (event := machine.next_event()) is not None:
            events.append(event)
            if isinstance(event, Frame):
                machine.accept(event)
        out += machine.bytes_to_send()
    return events, out


def texts_of(events: list[RawEvent]) -> list[bytes]:
    return [event.text for event in events if isinstance(event, Frame)]


def test_the_sum_is_the_published_one() -> None:
    """CRC-16/MODBUS; its check value is in every catalogue of sums."""
    assert emerald.crc16(b"123456789") == 0x4B37


def test_a_whole_conversation() -> None:
    """Each is answered as the instrument expects; what leads the conversation is no text."""
    count = result(b"SID;4711", b"WBC;7.2")
    calibration = HEADER + b"CALIBRATION;1;30/10/2026;15:36:38;LOT9;01/01/2027\rWBC;11.0;0.5"
    startup = HEADER + b"STARTUP;07/11/2026;16:22:47;PASSED;0.1"
    said = [
        (b"CONNECT;7;5\r", b"ACK_CONNECT;5\r"),
        (HEADER + b"RESULT_READY;120\r", b"ACK_RESULT_READY\r"),
        (emerald.wrap(count), b"ACK_RESULT;OK\r"),
        (emerald.wrap(calibration), b"ACK_CALI;LOT9;OK\r"),
        (emerald.wrap(startup), b""),
        (b"DISCONNECT;7\r", b""),
    ]
    machine = receiver_for("emerald")
    events: list[RawEvent] = []
    for sent, answered in said:
        more, out = converse([sent], machine)
        events += more
        assert out == answered
    assert texts_of(events) == [count, calibration, startup]
    assert [type(e) for e in events] == [Opened, Opened, Frame, Frame, Frame, Closed]
    whole = unframe(b"".join(sent for sent, _ in said), LINES)
    assert whole.texts == (count, calibration, startup)
    assert not whole.damage


@given(sent=st.lists(results, min_size=1, max_size=4))
def test_what_is_wrapped_is_read(sent: list[bytes]) -> None:
    """Each result arrives once, byte for byte, and is answered once."""
    wire = b"".join(map(emerald.wrap, sent))
    events, out = converse([wire])
    assert texts_of(events) == sent
    assert out == b"ACK_RESULT;OK\r" * len(sent)
    assert unframe(wire, LINES).texts == tuple(sent)
    assert unframe(wire.replace(b"\r", b"\r\n").rstrip(), LINES).damage == ()


@given(sent=st.lists(results, max_size=3), noise=st.binary(max_size=40), cuts=st.lists(st.integers(0, 400)))
def test_cutting_changes_nothing(sent: list[bytes], noise: bytes, cuts: list[int]) -> None:
    """The same bytes give the same texts and answers, however they arrive."""
    wire = noise + b"\r" + b"".join(map(emerald.wrap, sent)) + noise
    edges = sorted({0, len(wire), *(min(cut, len(wire)) for cut in cuts)})
    whole, parts = converse([wire]), converse([wire[a:b] for a, b in pairwise(edges)])
    assert [e for e in parts[0] if isinstance(e, Frame)] == [e for e in whole[0] if isinstance(e, Frame)]
    assert parts[1] == whole[1]


@given(noise=noises, sent=st.lists(results, min_size=1, max_size=3))
def test_lines_of_noise_hide_no_result(noise: bytes, sent: list[bytes]) -> None:
    """Whatever line stands between two results, each is read."""
    wire = b"".join(noise + b"\r\n" + emerald.wrap(text) for text in sent)
    assert texts_of(converse([wire])[0]) == sent


def test_each_changed_byte_is_seen() -> None:
    """No result with another byte in it is offered, on the line or from a file; the instrument is told."""
    good = emerald.wrap(result(b"SID;4711", b"WBC;7.2;;H"))
    for at in range(len(good)):
        for flip in (0x01, 0x08, 0x10):
            damaged = good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :]
            events, out = converse([damaged])
            assert not texts_of(events)
            assert b"OK" not in out
            assert not unframe(damaged, LINES).texts
            assert unframe(damaged, LINES).damage
    assert converse([good.replace(b"7.2", b"2.7")])[1] == b"ACK_RESULT;CRC_ERROR\r"


def test_a_broken_off_result_does_not_swallow_the_next() -> None:
    """The half is handed out as unfinished, the next is read whole; also when the instrument connects anew."""
    whole = result(b"SID;2", b"WBC;4.0")
    half = HEADER + b"RESULT\rSID;1\rWBC;9"
    for between in (b"\r", b"\rCONNECT;7;5\r"):
        events, out = converse([half + between + emerald.wrap(whole)])
        assert texts_of(events) == [whole]
        assert out.endswith(b"ACK_RESULT;OK\r")
        assert b"".join(e.data for e in events if isinstance(e, Unfinished)).startswith(half)
    # Without a line end between, the header is damaged: refused, and sent again.
    events, out = converse([half + emerald.wrap(whole) + emerald.wrap(whole)])
    assert texts_of(events) == [whole]
    assert out == b"ACK_RESULT;CRC_ERROR\rACK_RESULT;OK\r"


@pytest.mark.parametrize("end", ["lost", "quiet"])
def test_what_will_not_come_whole_is_handed_out(end: str) -> None:
    """A result that a lost cable cut off, or that stopped, is kept; noise is only counted."""
    for data, kind in ((HEADER + b"RESULT\rWBC;7", Unfinished), (b"hello", Noise)):
        machine = receiver_for("emerald")
        machine.feed(data, 0.0)
        assert machine.deadline == QUIET_S
        if end == "lost":
            machine.lost(1.0)
        else:
            machine.tick(QUIET_S)
        events = list(iter(machine.next_event, None))
        assert [event.data for event in events if isinstance(event, kind)] == [data]
        assert machine.idle
        assert not machine.bytes_to_send()


def test_nothing_is_answered_before_it_is_accepted() -> None:
    """A result waits for its owner; what cannot be kept is not OK; an answer that is late is not given."""
    machine = receiver_for("emerald")
    machine.feed(emerald.wrap(result(b"WBC;1")) * 2, 0.0)
    assert isinstance(machine.next_event(), Frame)
    assert machine.next_event() is None
    assert machine.bytes_to_send() == b""
    machine.refuse()
    assert machine.bytes_to_send() == b"ACK_RESULT;ERROR\r"
    second = machine.next_event()
    assert isinstance(second, Frame)
    machine.tick(ANSWER_S)
    machine.accept(second)
    assert machine.bytes_to_send() == b""


def test_a_busy_host_does_not_ask_for_the_result() -> None:
    """RESULT_READY is not answered while busy; CONNECT is."""
    machine = receiver_for("emerald")
    machine.busy = True
    assert converse([b"CONNECT;7;5\r" + HEADER + b"RESULT_READY;9\r"], machine)[1] == b"ACK_CONNECT;5\r"


@given(
    pieces=st.lists(st.binary(max_size=30) | st.sampled_from(MARKS)),
    step=st.floats(0, 20),
    data=st.data(),
)
def test_no_input_raises(pieces: list[bytes], step: float, data: st.DataObject) -> None:
    """Whatever comes and whatever its owner does, there is an end to what it says."""
    machine = receiver_for("emerald")
    assert isinstance(machine, EmeraldReceiver)
    now = 0.0
    for piece in pieces:
        now += step
        machine.tick(now)
        machine.feed(piece, now)
        assert len(list(iter(machine.next_event, None))) < 1000
        getattr(machine, data.draw(st.sampled_from(("accept", "refuse"))))()
    machine.lost(now)
    assert machine.idle
    unframe(b"".join(pieces), LINES)


def test_memory_is_bounded() -> None:
    """Endless lines, and a sender that does not wait, are given up."""
    machine = receiver_for("emerald")
    for _ in range(40):
        machine.feed(b"x;y\r" * 2500, 0.0)
        assert len(machine._buffer) <= MAX_TEXT_BYTES + 10_000  # pyright: ignore[reportPrivateUsage]
    machine.lost(0.0)
    machine.feed(emerald.wrap(result(b"WBC;1")), 0.0)
    for _ in range(HELD_BYTES // 10_000 + 2):
        machine.feed(b"x" * 10_000, 0.0)
    assert Broken in {type(event) for event in iter(machine.next_event, None)}
    assert len(machine._buffer) <= HELD_BYTES  # pyright: ignore[reportPrivateUsage]
