"""Raw framings: cutting changes nothing, nothing raises, memory is bounded, nothing is answered before accept()."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.protocols.astm_events import Broken, Frame, RawEvent, Unfinished
from labgateway.protocols.raw_framing import FRAMINGS, MAX_TEXT_BYTES, Answer, Check, unframe, wrap
from labgateway.protocols.raw_receiver import ANSWER_S, HELD_BYTES, NOISE_BYTES, QUIET_S, RawReceiver

NAMES = sorted(name for name in FRAMINGS if not FRAMINGS[name].lines)
names = st.sampled_from(NAMES)
REFUSALS = {Answer.NOTHING: b"", Answer.FRAMED: b"\x02\x15\x031A\x04", Answer.MORE: b"\x02?\x03"}
texts = st.lists(st.text("ABC 019.|;\x1e", min_size=2, max_size=30).map(str.encode), min_size=1, max_size=5)
junk = st.binary(max_size=40) | st.lists(st.sampled_from(b"\x02\x03\x04\x05\x06\x17\x1a\x1d\r\nA1")).map(bytes)


def converse(name: str, pieces: list[bytes]) -> tuple[list[RawEvent], bytes]:
    """Everything said and answered when each text is accepted at once."""
    machine = RawReceiver(FRAMINGS[name])
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


@given(name=names, sent=texts)
def test_what_is_wrapped_is_read(name: str, sent: list[bytes]) -> None:
    """Each text arrives once and is answered once, as its framing wants it."""
    framing = FRAMINGS[name]
    events, out = converse(name, [b"".join(wrap(text, framing) for text in sent)])
    assert [event.text for event in events if isinstance(event, Frame)] == sent
    match framing.answer:
        case Answer.ACK:
            assert out == b"\x06" * len(sent)
        case Answer.FRAMED:
            assert out == b"\x02\x06\x030B\x04" * len(sent)
        case Answer.MORE:
            assert out == b"\x02>\x03" * len(sent)
        case Answer.COUNTER:
            assert out == b"".join(text[:1] for text in sent)
        case Answer.NOTHING:
            assert out == b""


@given(name=names, sent=texts, noise=junk, cuts=st.lists(st.integers(0, 400)))
def test_cutting_changes_nothing(name: str, sent: list[bytes], noise: bytes, cuts: list[int]) -> None:
    """The same bytes give the same texts and answers, however they arrive."""
    wire = noise + b"".join(wrap(text, FRAMINGS[name]) for text in sent) + noise
    edges = sorted({0, len(wire), *(min(cut, len(wire)) for cut in cuts)})
    pieces = [wire[a:b] for a, b in pairwise(edges)]
    whole, parts = converse(name, [wire]), converse(name, pieces)
    assert [e for e in parts[0] if isinstance(e, Frame)] == [e for e in whole[0] if isinstance(e, Frame)]
    assert parts == whole


@given(name=names, pieces=st.lists(junk), step=st.floats(0, 20), data=st.data())
def test_no_input_raises(name: str, pieces: list[bytes], step: float, data: st.DataObject) -> None:
    """Whatever comes and whatever its owner does, there is an end to what it says."""
    machine = RawReceiver(FRAMINGS[name])
    now = 0.0
    for piece in pieces:
        now += step
        machine.tick(now)
        machine.feed(piece, now)
        for _ in range(1000):
            if machine.next_event() is None:
                break
        else:
            pytest.fail("it never stops")
        getattr(machine, data.draw(st.sampled_from(("accept", "refuse"))))()
    machine.lost(now)
    assert machine.idle
    assert machine.bytes_to_send() == b""


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_answered_before_it_is_accepted(name: str) -> None:
    """A good text waits for its owner; the answer belongs to it, and comes once."""
    machine = RawReceiver(FRAMINGS[name])
    machine.feed(wrap(b"AB", FRAMINGS[name]) * 2, 0.0)
    assert isinstance(machine.next_event(), Frame)
    assert machine.next_event() is None
    assert machine.bytes_to_send() == b""
    machine.refuse()
    assert machine.bytes_to_send() == REFUSALS.get(FRAMINGS[name].answer, b"\x15")
    second = machine.next_event()
    assert isinstance(second, Frame)
    machine.tick(ANSWER_S)
    machine.accept(second)
    assert machine.bytes_to_send() == b""


@pytest.mark.parametrize("name", [n for n in NAMES if FRAMINGS[n].check is not Check.NONE])
def test_each_changed_byte_is_seen(name: str) -> None:
    """No text with another byte in it is offered."""
    good = wrap(b"R12 A345|6", FRAMINGS[name])
    for at in range(1, len(good)):
        damaged = good[:at] + bytes([good[at] ^ 0x08]) + good[at + 1 :]
        assert not [e for e in converse(name, [damaged])[0] if isinstance(e, Frame)]
        assert not FRAMINGS[name].checked_at_rest or not unframe(damaged, FRAMINGS[name]).texts


@pytest.mark.parametrize("name", NAMES)
def test_memory_is_bounded(name: str) -> None:
    """An endless text, endless noise and a sender that does not wait are each given up."""
    machine = RawReceiver(FRAMINGS[name])
    for _ in range(40):
        machine.feed(b"\x02" + b"A" * 10_000, 0.0)
        machine.feed(b"x" * 10_000, 0.0)
    assert len(machine._buffer) <= MAX_TEXT_BYTES + 10_000  # pyright: ignore[reportPrivateUsage]
    assert len(machine._noise) <= NOISE_BYTES  # pyright: ignore[reportPrivateUsage]
    machine.lost(0.0)
    machine.feed(wrap(b"AB", FRAMINGS[name]), 0.0)
    for _ in range(HELD_BYTES // 10_000 + 2):
        machine.feed(b"x" * 10_000, 0.0)
    events = []
    while (event := machine.next_event()) is not None:
        events.append(event)
    assert Broken in {type(event) for event in events[-3:]}
    assert len(machine._buffer) <= HELD_BYTES  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_off_text_does_not_swallow_the_next(name: str) -> None:
    """After a pause the machine is at its beginning again."""
    machine = RawReceiver(FRAMINGS[name])
    machine.feed(b"\x02half", 0.0)
    assert machine.deadline == QUIET_S
    machine.tick(QUIET_S)
    machine.feed(wrap(b"whole", FRAMINGS[name]), 11.0)
    events: list[RawEvent] = []
    while (event := machine.next_event()) is not None:
        events.append(event)
    assert [event.text for event in events if isinstance(event, Frame)] == [b"whole"]


def test_an_enquiry_is_answered_by_what_asks() -> None:
    """BCI asks by ENQ; a busy host says NAK."""
    machine = RawReceiver(FRAMINGS["bci"])
    machine.feed(b"\x05", 0.0)
    assert machine.bytes_to_send() == b"\x06"
    machine.busy = True
    machine.feed(b"\x05", 0.0)
    assert machine.bytes_to_send() == b"\x15"


def test_bytes_without_framing_are_read_line_by_line() -> None:
    """A log that lost its control characters still says what it says."""
    assert unframe(b"D 1\r\nD 2\r\n", FRAMINGS["olympus"]).texts == (b"D 1", b"D 2")
    assert unframe(b"a\r\nb\r\n", FRAMINGS["stx_etx"], one_text=True).texts == (b"a\r\nb",)


def test_the_blocks_of_one_text_are_joined() -> None:
    """Beckman LH: two digits in front and four behind each block belong to the framing."""
    framing = FRAMINGS["beckman_lh"]
    assert unframe(wrap(b"WBC 7", framing) + wrap(b".5\r\n", framing), framing).texts == (b"WBC 7.5\r\n",)


@pytest.mark.parametrize("name", NAMES)
def test_a_reply_follows_the_answer_and_is_said_again_when_refused(name: str) -> None:
    """Our text goes out once behind the answer (or in its place), again on NAK up to three times, and no more after ACK."""
    framing = FRAMINGS[name]
    ack, nak = (
        (wrap(b"\x06", framing), wrap(b"\x15", framing)) if framing.answer is Answer.FRAMED else (b"\x06", b"\x15")
    )
    for answers, times in (([ack], 1), ([nak, ack], 2), ([nak] * 5, 3)):
        machine = RawReceiver(framing)
        machine.feed(wrap(b"R 1", framing), 0.0)
        event = machine.next_event()
        assert isinstance(event, Frame)
        machine.accept(event, reply=b"SE")
        out = machine.bytes_to_send()
        assert out.endswith(wrap(b"SE", framing))
        assert framing.answer is not Answer.MORE or out == wrap(b"SE", framing)
        for answer in answers:
            machine.feed(answer, 0.0)
            out += machine.bytes_to_send()
        assert out.count(wrap(b"SE", framing)) == times
        assert machine.next_event() is None


@pytest.mark.parametrize("name", NAMES)
def test_what_will_not_come_whole_is_handed_out(name: str) -> None:
    """A text that a lost cable cut off, or that stopped, is not forgotten: where nothing is answered nobody sends it again."""
    for end in ("lost", "quiet"):
        machine = RawReceiver(FRAMINGS[name])
        machine.feed(b"\x02half a resu", 0.0)
        if end == "lost":
            machine.lost(1.0)
        else:
            machine.tick(QUIET_S)
        events: list[RawEvent] = []
        while (event := machine.next_event()) is not None:
            events.append(event)
        assert [event.data for event in events if isinstance(event, Unfinished)] == [b"\x02half a resu"]
