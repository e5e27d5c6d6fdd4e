"""ASTM without frames, for instruments whose driver says so: tokens one by one, records at once."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labgateway.protocols.astm_bare import MOST_BYTES, QUIET_S, BareReceiver
from labgateway.protocols.astm_events import Broken, Closed, Event, Frame
from labgateway.protocols.astm_frames import checksum
from labgateway.protocols.astm_link import Framing, LinkRules, receiver_for

ENQ, ACK, NAK, EOT, STX, ETX = b"\x05", b"\x06", b"\x15", b"\x04", b"\x02", b"\x03"
TEXT = b"H|\\^&|||Example||||||||P|1\rP|1\rO|1|S1||^^^TSH\rR|1|^^^TSH|2.31|mIU/L||N\rL|1|N\r"
TOKENS = LinkRules(framing=Framing.TOKENS)
RECORDS = LinkRules(framing=Framing.RECORDS)


class Line:
    """A machine whose owner decides at once, and a clock that only wait() moves."""

    def __init__(self, rules: LinkRules, *, take: bool = True) -> None:
        machine = receiver_for(rules)
        assert isinstance(machine, BareReceiver)
        self.machine = machine
        self.now = 1000.0
        self.take = take
        self.events: list[Event] = []

    def feed(self, *pieces: bytes) -> bytes:
        out = b""
        for piece in pieces:
            self.now += 0.001
            self.machine.feed(piece, self.now)
            out += self._pump()
        return out

    def wait(self, seconds: float) -> bytes:
        out, end = b"", self.now + seconds
        while (due := self.machine.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            self.machine.tick(self.now)
            out += self._pump()
        self.now = end
        return out

    def _pump(self) -> bytes:
        while (event := self.machine.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, Frame):
                (self.machine.accept if self.take else self.machine.refuse)(event, now=self.now)
        return self.machine.bytes_to_send()

    @property
    def frames(self) -> list[Frame]:
        return [event for event in self.events if isinstance(event, Frame)]


def test_each_token_is_answered() -> None:
    """As a Maglumi speaks: ENQ, STX, the text with ETX, EOT, an ACK for each."""
    line = Line(TOKENS)
    assert [line.feed(ENQ), line.feed(STX), line.feed(TEXT)] == [ACK, ACK, b""]
    assert line.feed(ETX) + line.wait(0.4) == ACK
    assert line.feed(EOT) == ACK
    assert [(frame.text, frame.last) for frame in line.frames] == [(TEXT, True)]
    assert line.machine.idle
    # All in one piece, as TCP may have it.
    assert line.feed(ENQ + STX + TEXT + ETX + EOT) == ACK * 4


def test_what_could_not_be_stored_is_refused_and_comes_again() -> None:
    """NAK in place of the ACK to ETX; the text that comes again is taken."""
    line = Line(TOKENS, take=False)
    assert line.feed(ENQ + STX + TEXT + ETX) + line.wait(0.4) == ACK + ACK + NAK
    line.take = True
    assert line.feed(STX + TEXT + ETX) + line.wait(0.4) == ACK + ACK


@pytest.mark.parametrize("wrong", [b"2\x0531", b"2\x0031", b"2.3\x02", b"\x062.31"])
def test_damage_that_can_be_seen_is_refused(wrong: bytes) -> None:
    """Without a checksum a control character inside the text is the only sign: it is never taken, nor answered as a token."""
    line = Line(TOKENS)
    assert line.feed(ENQ + STX + TEXT.replace(b"2.31", wrong) + ETX) + line.wait(0.4) == ACK + ACK + NAK
    assert line.frames == []


def test_a_checksum_that_is_there_must_be_right() -> None:
    """Switched on at the instrument against its driver: the right one is taken, a wrong one refused, however it is cut."""
    for digits, expected in ((checksum(TEXT + ETX), ACK), (b"00", NAK)):
        for cut in (0, 1, 2):
            line = Line(TOKENS)
            assert line.feed(ENQ + STX) == ACK + ACK
            pieces = TEXT + ETX + digits[:cut], digits[cut:] + b"\r\n"
            assert line.feed(*pieces) + line.wait(0.4) == expected


def test_a_text_that_stops_is_asked_for_again() -> None:
    """After 10 s of silence NAK; nothing of the half joins the next."""
    line = Line(TOKENS)
    assert line.feed(ENQ + STX + TEXT[:30]) == ACK + ACK
    assert line.wait(QUIET_S + 0.1) == NAK
    assert line.feed(STX + TEXT + ETX) + line.wait(0.4) == ACK + ACK
    assert [frame.text for frame in line.frames] == [TEXT]


def test_busy_means_nak_to_an_enquiry() -> None:
    """The instrument keeps its results."""
    line = Line(TOKENS)
    line.machine.busy = True
    assert line.feed(ENQ) == NAK
    line.machine.busy = False
    assert line.feed(ENQ) == ACK


def test_records_at_once_end_with_l() -> None:
    """No ENQ, no frames: nothing is answered, and each message ends with its L record."""
    line = Line(RECORDS)
    assert line.feed(TEXT + TEXT.replace(b"\r", b"\r\n")) == b""
    assert [frame.text.replace(b"\n", b"") for frame in line.frames] == [TEXT, TEXT]
    assert all(frame.last for frame in line.frames)


def test_records_behind_an_enquiry_are_answered() -> None:
    """ENQ, records, EOT: an ACK to ENQ, and one when the message is kept."""
    line = Line(RECORDS)
    assert line.feed(ENQ) == ACK
    assert line.feed(TEXT) == ACK
    line.feed(EOT)
    assert isinstance(line.events[-1], Closed)


def test_records_without_l_end_by_silence() -> None:
    """Behind a whole record silence is the end; the next H begins anew."""
    line = Line(RECORDS)
    text = TEXT.removesuffix(b"L|1|N\r")
    line.feed(text[:20])
    line.wait(1)
    line.feed(text[20:])
    assert line.frames == []
    assert line.wait(2.1) == b""
    assert [(frame.text, frame.last) for frame in line.frames] == [(text, True)]
    assert isinstance(line.events[-1], Closed)


@pytest.mark.parametrize("end", ["silence", "lost"])
def test_silence_inside_a_record_is_no_end(end: str) -> None:
    """R|1|^^^TSH|2 may have been 2.31: what there is goes out as unfinished and broken, never as whole."""
    line = Line(RECORDS)
    line.feed(TEXT[: TEXT.index(b".31")])
    if end == "silence":
        line.wait(2.1)
    else:
        line.machine.lost(line.now)
        line._pump()  # pyright: ignore[reportPrivateUsage]
    assert [frame.last for frame in line.frames] == [False]
    assert isinstance(line.events[-1], Broken)
    assert line.machine.idle


@given(
    rules=st.sampled_from([TOKENS, RECORDS]),
    wire=st.lists(st.sampled_from([ENQ, EOT, ACK, STX + TEXT + ETX, TEXT, b"\r\n", b"x", b"H", b"L|1\r"]), max_size=12),
    cuts=st.lists(st.integers(0, 600), max_size=10),
)
@example(rules=TOKENS, wire=[ENQ, ENQ], cuts=[1])
def test_cutting_changes_nothing(rules: LinkRules, wire: list[bytes], cuts: list[int]) -> None:
    """The same bytes in other pieces: the same texts and answers."""
    data = b"".join(wire)
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    whole, parts = Line(rules), Line(rules)
    answers = [whole.feed(data) + whole.wait(60), parts.feed(*(data[a:b] for a, b in pairwise(edges))) + parts.wait(60)]
    assert answers[0] == answers[1]
    assert whole.frames == parts.frames


@settings(deadline=None)
@given(
    rules=st.sampled_from([TOKENS, RECORDS]), pieces=st.lists(st.binary(max_size=30)), waits=st.lists(st.floats(0, 40))
)
def test_no_input_raises(rules: LinkRules, pieces: list[bytes], waits: list[float]) -> None:
    """Whatever comes, there is an end to what it says, and the line is free when the connection is gone."""
    line = Line(rules)
    for piece, wait in zip(pieces, [*waits, *[0.0] * len(pieces)], strict=False):
        line.feed(piece)
        line.wait(wait)
    line.machine.lost(line.now)
    line._pump()  # pyright: ignore[reportPrivateUsage]
    assert line.machine.idle
    assert not [frame for frame in line.frames if b"\x05" in frame.text and frame.last]


@pytest.mark.parametrize("rules", [TOKENS, RECORDS])
def test_memory_is_bounded(rules: LinkRules) -> None:
    """An endless text is given up."""
    line = Line(rules)
    line.feed(ENQ + STX + b"H|\\^&" if rules is TOKENS else b"H|\\^&")
    for _ in range(MOST_BYTES // 65536 + 2):
        line.feed(b"x" * 65536)
    assert len(line.machine._buffer) <= MOST_BYTES  # pyright: ignore[reportPrivateUsage]
