"""LIS01-A2, the receiver, clause by clause. Numbers are those of NCCLS LIS1-A; E1381-95 has the same ones.

Each test is named after its clause and says in its docstring what the clause demands. The numbers are those that the
project's notes on ASTM took from the text of LIS1-A, and no others: where they have none, a test bears the title of the
section (neutral state, establishment phase, acknowledgments, termination phase). The 30 s of the receiver stand in
6.5.2.1 to 6.5.2.5; that they are 6.5.2.4 is read from the order of the timers.
"""

from __future__ import annotations

import pytest

from labgateway.protocols.astm_frames import MAX_TEXT, MAX_TEXT_E1381, checksum, frame
from labgateway.protocols.astm_link import Broken, Closed, Fault, Frame, Opened, Why
from tests.protocols.astm_kit import ACK, ENQ, EOT, NAK, Line, opened

H, P, L = b"H|\\^&\r", b"P|1\r", b"L|1|N\r"


@pytest.mark.parametrize("stray", [ACK, NAK, EOT, b"\r\n", b"\x021H|\\^&\r\x03E5\r\n", b"text"])
def test_neutral_state_only_enq_is_answered(stray: bytes) -> None:
    """Nobody sends in the neutral state: what is no ENQ opens nothing and gets no answer."""
    line = Line()
    assert line.feed(stray) == b""
    assert line.machine.idle
    line.wait(1.1)
    assert line.feed(ENQ) == ACK


def test_establishment_phase_enq_is_answered_ack_when_ready() -> None:
    """The receiver that is ready answers the enquiry with ACK and the session is open."""
    line = Line()
    assert line.feed(ENQ) == ACK
    assert line.events == [Opened()]


def test_6_2_6_enq_is_answered_nak_when_busy() -> None:
    """The receiver that cannot take anything now answers NAK; no session is open."""
    line = Line()
    line.machine.busy = True
    assert line.feed(ENQ) == NAK
    assert line.machine.idle
    line.machine.busy = False
    line.wait(10)
    assert line.feed(ENQ) == ACK


@pytest.mark.parametrize("size", [MAX_TEXT_E1381, MAX_TEXT])
def test_6_3_1_frames_up_to_the_longest(size: int) -> None:
    """247 characters in E1381-95 and 64,000 in LIS01-A2, overhead included, are one frame."""
    assert opened().feed(frame(1, b"x" * size)) == ACK


def test_6_3_1_1_each_record_in_a_frame_of_its_own() -> None:
    """Records come one in a frame; each is handed out and answered."""
    line = opened()
    assert line.exchange(frame(1, H), frame(2, P), frame(3, L), EOT) == [ACK, ACK, ACK, b""]
    assert line.texts == [H, P, L]


def test_6_3_1_2_etb_says_that_the_record_goes_on() -> None:
    """Intermediate frames end with ETB, the last with ETX; the owner is told which."""
    line = opened()
    assert line.exchange(frame(1, b"R|1|^^^X|1", last=False), frame(2, b"3.4\r")) == [ACK, ACK]
    assert [event.last for event in line.events if isinstance(event, Frame)] == [False, True]


def test_6_3_2_1_frame_numbers_begin_at_1_and_wrap_from_7_to_0() -> None:
    """The first frame after ENQ is 1; after 7 comes 0; so it goes on through the messages of a session."""
    line = opened()
    for count in range(1, 20):
        assert line.feed(frame(count, b"R|%d\r" % count)) == ACK
    assert [event.number for event in line.events if isinstance(event, Frame)] == [n % 8 for n in range(1, 20)]


@pytest.mark.parametrize("first", [0, 2, 3, 7])
def test_6_3_2_1_a_session_does_not_begin_with_another_number(first: int) -> None:
    """Also 0 is no repeat where nothing was accepted yet."""
    line = opened()
    assert line.exchange(frame(first, H), frame(1, H)) == [NAK, ACK]


def test_6_3_2_1_numbers_begin_anew_with_each_session() -> None:
    """A new ENQ, a new 1; the last frame of the session before is no measure."""
    line = opened()
    line.exchange(frame(1, H), EOT, ENQ)
    assert line.exchange(frame(2, P), frame(1, H)) == [NAK, ACK]


def test_6_3_3_the_checksum_runs_from_the_number_to_etx_or_etb_over_bytes() -> None:
    """Modulo 256, STX not counted, ETX or ETB counted; bytes above 127 count with their value."""
    text = "R|1|^^^X|5|µmol/L\r".encode("latin-1")
    for end in (b"\x03", b"\x17"):
        body = b"1" + text + end
        assert opened().feed(b"\x02" + body + b"%02X\r\n" % (sum(body) % 256)) == ACK
    etx_sum_on_etb = b"\x021" + text + b"\x17" + checksum(b"1" + text + b"\x03") + b"\r\n"
    assert opened().feed(etx_sum_on_etb) == NAK


def test_6_5_2_the_answer_may_take_15_seconds() -> None:
    """The receiver has 15 s for its answer: time to store. What comes later is no answer any more."""
    for seconds, answer in ((14.9, ACK), (15.1, b"")):
        line = opened(decide=lambda _: None)
        line.feed(frame(1, H))
        line.wait(seconds)
        line.machine.accept(now=line.now)
        assert line.pump() == answer


def test_acknowledgments_ack_says_that_the_frame_was_received() -> None:
    """ACK and not before its owner has it."""
    line = opened(decide=lambda _: None)
    assert line.feed(frame(1, H)) == b""
    line.machine.accept()
    assert line.pump() == ACK


def test_acknowledgments_nak_says_that_the_frame_was_not_received() -> None:
    """A frame that cannot be stored is refused and may come again."""
    line = opened(decide=lambda _: False)
    assert line.feed(frame(1, H)) == NAK


def test_6_3_4_4_eot_in_place_of_ack_asks_for_the_line() -> None:
    """The frame was received, and the receiver asks to be sender; the sender may go on."""
    line = opened()
    line.machine.interrupts = True
    assert line.exchange(frame(1, H), frame(2, P)) == [EOT, ACK]


def test_termination_phase_eot_ends_the_session() -> None:
    """The termination phase: EOT, no answer to it, both sides neutral."""
    line = opened()
    assert line.exchange(frame(1, H), EOT) == [ACK, b""]
    assert line.events[-1] == Closed()
    assert line.machine.idle
    assert line.machine.deadline is None


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (frame(1, H)[:-4] + b"00\r\n", Fault.CHECKSUM),
        (frame(1, H)[:-4] + b"\r\n", Fault.NO_CHECKSUM),
        (frame(1, H)[:-4] + b"G1\r\n", Fault.NO_CHECKSUM),
        (b"\x02H|\\^&\r\x03" + checksum(H + b"\x03") + b"\r\n", Fault.NUMBER),
        (b"\x028H|\\^&\r\x03" + checksum(b"8" + H + b"\x03") + b"\r\n", Fault.NUMBER),
        (frame(2, H), Fault.NUMBER),
        (frame(0, H), Fault.NUMBER),
        (frame(1, b"x" * 65_536), Fault.TOO_LONG),
        (frame(1, H)[1:], Fault.NO_START),
    ],
)
def test_6_5_1_1_a_defective_frame_is_answered_nak(bad: bytes, fault: Fault) -> None:
    """Wrong checksum, wrong number, wrong form: NAK, nothing is handed out, and the repeat is taken."""
    line = opened()
    assert line.exchange(bad, frame(1, H)) == [NAK, ACK]
    assert line.texts == [H]
    assert line.machine.faults == {fault: 1}


def test_6_5_1_1_3_a_repeated_frame_is_accepted_and_ignored() -> None:
    """The number of the last accepted frame: its ACK was lost. ACK, but it is not handed out again."""
    line = opened()
    assert line.exchange(frame(1, H), frame(1, H), frame(2, P), frame(2, P)) == [ACK] * 4
    assert line.texts == [H, P]


def test_6_5_1_1_3_a_skipped_number_is_refused() -> None:
    """Neither the last number nor the next one: a frame was lost on the way."""
    line = opened()
    assert line.exchange(frame(1, H), frame(3, L), frame(2, P), frame(3, L)) == [ACK, NAK, ACK, ACK]
    assert line.texts == [H, P, L]


def test_6_5_1_1_characters_between_frames_are_ignored() -> None:
    """After the frame's end and before the next STX nothing counts."""
    line = opened()
    assert line.exchange(frame(1, H) + b"  \r\n\0~", frame(2, P)) == [ACK, ACK]


def test_6_5_1_2_a_frame_may_come_as_often_as_its_sender_likes() -> None:
    """Six times and more: counting is the sender's affair."""
    line = opened()
    bad = frame(1, H).replace(b"&", b"+")
    assert line.exchange(*[bad] * 6, frame(1, H)) == [NAK] * 6 + [ACK]


def test_6_5_2_4_after_30_seconds_without_a_frame_the_session_is_discarded() -> None:
    """The timer runs from the answer; a sender that takes 16 to 29 s is legal and is not cut."""
    line = opened()
    for count in range(1, 4):
        line.wait(29.5)
        assert line.feed(frame(count, b"R|%d\r" % count)) == ACK
    line.wait(29.9)
    assert not line.machine.idle
    line.wait(0.2)
    assert line.events[-1] == Broken(Why.TIMEOUT)
    assert line.feed(frame(4, L)) == b""
    line.wait(2)
    assert line.exchange(ENQ, frame(1, H)) == [ACK, ACK]


def test_6_5_2_4_the_timer_runs_right_after_the_enquiry_too() -> None:
    """ENQ and then nothing: the line is free again after 30 s."""
    line = opened()
    line.wait(30.1)
    assert line.events == [Opened(), Broken(Why.TIMEOUT)]


@pytest.mark.parametrize("byte", b"\x01\x05\x06\x0a\x10\x11\x12\x13\x14\x15\x16")
def test_6_6_restricted_characters_in_a_text_are_kept(byte: int) -> None:
    """A sender that puts them in breaks the rule, but a good checksum says that they were meant: bytes are bytes."""
    text = b"C|1|I|a" + bytes([byte]) + b"b\r"
    line = opened()
    assert line.feed(frame(1, text)) == ACK
    assert line.texts == [text]
