"""LIS01-A2, the sender, clause by clause. Numbers are those of NCCLS LIS1-A; E1381-95 has the same ones.

Where the numbers come from, and what a test without one is named after, stands in test_lis01_receiver.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from labgateway.protocols.astm_events import NotSent, NotSentWhy, Sent
from labgateway.protocols.astm_frames import MAX_TEXT, MAX_TEXT_E1381, frames
from labgateway.protocols.astm_rules import LinkRules
from tests.protocols.astm_kit import ACK, ENQ, EOT, MESSAGE, NAK, RECORDS, RESULT, Clocked, started

INSTRUMENT = LinkRules(host=False)


def sending() -> Clocked:
    """A sender whose first frame is out."""
    sender = started()
    assert sender.feed(ACK) == MESSAGE[0]
    return sender


def test_establishment_phase_the_sender_asks_with_enq() -> None:
    """Nothing is sent before the enquiry was answered."""
    sender = Clocked()
    assert sender.start() == ENQ
    assert sender.wait(14) == b""


def test_6_2_6_after_nak_the_sender_waits_10_seconds() -> None:
    """Busy: at least ten seconds before the next ENQ; after six refusals its owner is told."""
    sender = started()
    for _ in range(5):
        assert sender.feed(NAK) == b""
        assert sender.wait(9.9) == b""
        assert sender.wait(0.2) == ENQ
    assert sender.feed(NAK) == b""
    assert sender.events == [NotSent(NotSentWhy.BUSY, 0)]
    assert sender.start() == b""
    assert sender.wait(10) == ENQ


def test_6_2_7_1_in_contention_the_host_gives_way_for_20_seconds() -> None:
    """ENQ meets ENQ: the computer system stops and waits 20 s for the instrument to ask again."""
    sender = started()
    assert sender.feed(ENQ) == b""
    assert not sender.machine.owns_line
    assert sender.wait(19.9) == b""
    assert sender.wait(0.2) == ENQ


def test_6_2_7_1_after_the_instruments_session_the_host_asks_at_once() -> None:
    """The 20 s are for the instrument; when it has had its turn they are over."""
    sender = started()
    sender.feed(ENQ)
    sender.wait(1)
    sender.machine.line_is(free=False, now=sender.now)
    assert sender.wait(60) == b""
    sender.machine.line_is(free=True, now=sender.now)
    assert sender.out() == ENQ


def test_6_2_7_1_in_contention_the_instrument_asks_again_after_a_second() -> None:
    """The other side of the same rule, for simulated instruments."""
    sender = started(INSTRUMENT)
    assert sender.feed(ENQ) == b""
    assert sender.wait(0.9) == b""
    assert sender.wait(0.2) == ENQ


def test_6_2_7_1_contention_without_end_is_told() -> None:
    """Six times in a row: both sides play the instrument, and a person must know."""
    sender = started(INSTRUMENT)
    for _ in range(6):
        sender.feed(ENQ)
        sender.wait(1.1)
    assert sender.events == [NotSent(NotSentWhy.CONTENTION, 0)]


@pytest.mark.parametrize(("size", "longest"), [(MAX_TEXT_E1381, 247), (MAX_TEXT, 64_000)])
def test_6_3_1_no_frame_is_longer_than_allowed(size: int, longest: int) -> None:
    """247 characters in E1381-95, 64,000 in LIS01-A2, overhead included (8.3.1 too)."""
    sent = list(frames(b"M|1|" + b"x" * 3 * size + b"\r", size=size))
    assert max(len(piece) for piece in sent) == longest


def test_6_3_1_1_each_record_has_a_frame_of_its_own() -> None:
    """No frame holds the end of one record and the beginning of another."""
    assert [piece[2:-5] for piece in frames(RESULT)] == RECORDS


def test_6_3_1_2_a_long_record_goes_on_behind_etb() -> None:
    """All frames of a record but its last end with ETB, the last with ETX; the next record begins a new frame."""
    sent = list(frames(b"R|1|" + b"7" * 500 + b"\rL|1|N\r", size=MAX_TEXT_E1381))
    assert [piece[-5:-4] for piece in sent] == [b"\x17", b"\x17", b"\x03", b"\x03"]


def test_6_3_3_the_checksum_is_sent_in_upper_case() -> None:
    """Two hex digits, from the number to ETX or ETB, modulo 256."""
    for piece in frames(RESULT * 40, size=100):
        assert piece[-4:-2] == b"%02X" % (sum(piece[1:-4]) % 256)


@pytest.mark.parametrize("byte", b"\x01\x02\x03\x04\x05\x06\x0a\x10\x11\x12\x13\x14\x15\x16\x17")
def test_6_6_restricted_characters_are_never_sent(byte: int) -> None:
    """SOH STX ETX EOT ENQ ACK DLE NAK SYN ETB LF DC1-DC4: a text that holds one is not framed."""
    with pytest.raises(ValueError, match="may not stand in a frame"):
        list(frames(b"C|1|I|a" + bytes([byte]) + b"\r"))


def test_6_3_2_1_the_first_frame_is_number_1() -> None:
    """And the next ones count on."""
    sender = sending()
    sent = [MESSAGE[0], *(sender.feed(ACK) for _ in MESSAGE[1:])]
    assert [piece[1:2] for piece in sent] == [b"1", b"2", b"3", b"4", b"5"]


def test_acknowledgments_the_next_frame_waits_for_the_answer() -> None:
    """One frame at a time."""
    sender = sending()
    assert sender.wait(14.9) == b""
    assert sender.feed(ACK) == MESSAGE[1]


def test_6_3_5_an_interrupt_is_honoured() -> None:
    """EOT for an answer: the frame is received; the sender ends, and waits 15 s before it asks again."""
    sender = sending()
    assert sender.feed(EOT) == EOT
    assert sender.events == [NotSent(NotSentWhy.INTERRUPTED, 1)]
    assert sender.start() == b""
    assert sender.wait(14.9) == b""
    assert sender.wait(0.2) == ENQ


def test_6_3_5_an_interrupt_of_the_last_frame_costs_nothing() -> None:
    """All was received; there is nothing left to interrupt."""
    sender = sending()
    for piece in MESSAGE[1:]:
        assert sender.feed(ACK) == piece
    assert sender.feed(EOT) == EOT
    assert sender.events == [Sent()]


def test_termination_phase_the_session_ends_with_eot() -> None:
    """After the last ACK, and without waiting for an answer."""
    sender = sending()
    for piece in MESSAGE[1:]:
        assert sender.feed(ACK) == piece
    assert sender.feed(ACK) == EOT
    assert sender.wait(60) == b""


@pytest.mark.parametrize("answer", [NAK, b"?", ENQ, b"\x02"])
def test_6_5_1_2_any_answer_but_ack_and_eot_means_again_six_times(answer: bytes) -> None:
    """The same frame, six times in all; then EOT, and the message is kept to be repeated wholly."""
    sender = sending()
    for _ in range(5):
        assert sender.feed(answer) + sender.wait(1) == MESSAGE[0]
    assert sender.feed(answer) + sender.wait(1) == EOT
    assert sender.events == [NotSent(NotSentWhy.REFUSED, 0)]


def test_6_5_1_2_what_was_given_up_is_repeated_wholly() -> None:
    """After the EOT the message is offered again from its first frame, whatever was acknowledged before."""
    sender = sending()
    assert sender.feed(ACK) == MESSAGE[1]
    for _ in range(5):
        sender.feed(NAK)
    assert sender.feed(NAK) == EOT
    assert sender.start() == ENQ
    assert sender.feed(ACK) == MESSAGE[0]


def test_6_5_1_2_the_count_begins_anew_with_each_frame() -> None:
    """Six tries are for a frame, not for a message."""
    sender = sending()
    for piece, following in pairwise(MESSAGE):
        for _ in range(5):
            assert sender.feed(NAK) == piece
        assert sender.feed(ACK) == following


def test_6_5_2_1_no_answer_to_the_enquiry_in_15_seconds() -> None:
    """EOT, and the message is given back."""
    sender = started()
    assert sender.wait(14.9) == b""
    assert sender.wait(0.2) == EOT
    assert sender.events == [NotSent(NotSentWhy.SILENT, 0)]


def test_6_5_2_1_other_characters_do_not_answer_an_enquiry() -> None:
    """Only ACK, NAK and ENQ mean something there."""
    sender = started()
    assert sender.feed(b"xyz\r\n" + EOT) == b""
    assert sender.feed(ACK) == MESSAGE[0]


def test_6_5_2_2_the_contention_timer() -> None:
    """See 6.2.7.1: 20 s after the crossing the host may ask again, and the next 15 s run anew."""
    sender = started()
    sender.feed(ENQ)
    assert sender.wait(20.1) == ENQ
    assert sender.wait(15.1) == EOT


def test_6_5_2_3_no_answer_to_a_frame_in_15_seconds() -> None:
    """The termination phase, whatever was acknowledged before; nothing is sent again."""
    sender = sending()
    sender.feed(ACK)
    assert sender.wait(14.9) == b""
    assert sender.wait(0.2) == EOT
    assert sender.events == [NotSent(NotSentWhy.NO_ANSWER, 1)]
