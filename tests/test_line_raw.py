"""Lines with a raw framing: a text is kept, then answered as its instrument expects; what breaks off is not forgotten."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.errors import StoreBrokenError, StoreFullError
from labgateway.protocols.raw_framing import FRAMINGS, Answer, wrap
from labgateway.transports.memory import Scheduler
from tests.line_kit import Journal, line, taped

NAMES = sorted(name for name in FRAMINGS if not FRAMINGS[name].lines)
ANSWERS = {
    Answer.ACK: b"\x06",
    Answer.COUNTER: b"D",
    Answer.FRAMED: b"\x02\x06\x030B\x04",
    Answer.MORE: b"\x02>\x03",
    Answer.NOTHING: b"",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_text_is_kept_then_answered(name: str) -> None:
    """The whole transmission stands in the journal byte for byte; the answer comes after the commit and not before."""
    framing = FRAMINGS[name]
    scheduler = Scheduler()
    journal = Journal(scheduler, delay_s=2.0)
    gateway = line(scheduler, journal, name)
    _, tape = taped(scheduler, gateway)
    tape.channel.send(wrap(b"D 1", framing) + wrap(b"D 2", framing))
    scheduler.run_for(1.9)
    assert tape.heard == b""
    scheduler.run_for(5)
    assert tape.heard == ANSWERS[framing.answer] * 2
    raw = [wrap(text, framing) for text in (b"D 1", b"D 2")]
    assert journal.complete() == raw
    assert {one.protocol for one in journal.asked} == {name}
    assert gateway.stats.messages == 2


@pytest.mark.parametrize("name", NAMES)
def test_what_the_store_cannot_take_is_refused(name: str) -> None:
    """A full store: refused, and the text that comes again is taken. A broken one: silence."""
    framing = FRAMINGS[name]
    scheduler = Scheduler()
    journal = Journal(scheduler)
    journal.errors = [StoreFullError("full"), None, StoreBrokenError("broken")]
    _, tape = taped(scheduler, line(scheduler, journal, name))
    refusal = {Answer.NOTHING: b"", Answer.FRAMED: b"\x02\x15\x031A\x04", Answer.MORE: b"\x02?\x03"}
    for expected in (refusal.get(framing.answer, b"\x15"), ANSWERS[framing.answer], b""):
        tape.heard = b""
        tape.channel.send(wrap(b"D 1", framing))
        scheduler.run_for(1)
        assert tape.heard == expected
    assert len(journal.complete()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_half_a_text_is_kept_as_incomplete(name: str) -> None:
    """The cable is pulled inside a text: what came is kept and shown, delivers nothing, and nothing is answered."""
    scheduler = Scheduler()
    journal = Journal(scheduler)
    cable, tape = taped(scheduler, line(scheduler, journal, name))
    tape.channel.send(b"\x02D 1234 half")
    scheduler.run_for(1)
    cable.tear("pulled")
    scheduler.run_for(1)
    assert [(row.data, row.complete) for row in journal.incomplete()] == [(b"\x02D 1234 half", False)]
    assert journal.complete() == []
    assert tape.heard == b""


def test_a_reply_waits_for_the_commit() -> None:
    """What a driver replies goes out behind the acknowledgment of a kept text, and not for a text that is not kept."""
    scheduler = Scheduler()
    journal = Journal(scheduler, delay_s=1.0)
    journal.errors = [StoreFullError("full")]
    framing = FRAMINGS["olympus"]
    gateway = line(scheduler, journal, "olympus", reply=lambda text: b"SE" if text.startswith(b"R ") else None)
    _, tape = taped(scheduler, gateway)
    tape.channel.send(wrap(b"R 1", framing))
    scheduler.run_for(3)
    assert tape.heard == b"\x15"
    tape.channel.send(wrap(b"R 1", framing))
    scheduler.run_for(0.9)
    assert tape.heard == b"\x15"
    scheduler.run_for(3)
    assert tape.heard == b"\x15\x06" + wrap(b"SE", framing)
    tape.channel.send(b"\x06" + wrap(b"D 1", framing))
    scheduler.run_for(3)
    assert tape.heard.endswith(wrap(b"SE", framing) + b"\x06")


QUESTION, ANSWER = wrap(b"R 1", FRAMINGS["olympus"]), wrap(b"S 1E01", FRAMINGS["olympus"])


class Asked:
    """An Olympus line whose questions wait for ``tell``; what is told goes to ``said``."""

    def __init__(self, delay_s: float = 0.1) -> None:
        self.scheduler = Scheduler()
        self.journal = Journal(self.scheduler, delay_s)
        self.gateway = line(
            self.scheduler, self.journal, "olympus", reply=lambda _: b"SE", asks=lambda raw: raw[1:3] == b"R "
        )
        self.cable, self.tape = taped(self.scheduler, self.gateway)
        self.said: list[str] = []

    def send(self, data: bytes, seconds: float = 1.0) -> None:
        self.tape.channel.send(data)
        self.scheduler.run_for(seconds)

    def tell(self, question: bytes = QUESTION) -> None:
        self.gateway.tell(question, b"S 1E01", self.said.append)
        self.scheduler.run_for(0.1)


def test_a_question_is_answered_by_who_knows() -> None:
    """It is acknowledged when it is on disk, and nothing else is said before the answer; ACK tells that it was taken."""
    line_ = Asked()
    line_.send(QUESTION)
    assert line_.tape.heard == b"\x06"
    line_.tell()
    assert line_.tape.heard == b"\x06" + ANSWER
    assert line_.said == []
    line_.send(b"\x06")
    assert line_.said == [""]
    # what is no question gets the reply as ever, and an answer that nobody asked for does not leave
    line_.send(wrap(b"RE", FRAMINGS["olympus"]))
    assert line_.tape.heard.endswith(b"\x06" + wrap(b"SE", FRAMINGS["olympus"]))
    line_.tell()
    assert len(line_.said) == 2 and "does not wait" in line_.said[1]


def test_an_answer_is_said_three_times() -> None:
    """NAK: again, and again, then it is given up and said."""
    line_ = Asked()
    line_.send(QUESTION)
    line_.tell()
    for _ in range(3):
        assert line_.said == []
        line_.send(b"\x15")
    assert line_.tape.heard == b"\x06" + ANSWER * 3
    assert line_.said == ["a frame was refused each time"]


@pytest.mark.parametrize("when", ["before", "behind"])
def test_an_instrument_that_goes_on(when: str) -> None:
    """An answer belongs to the last text only: another rack is never told the first one's tests."""
    line_ = Asked()
    line_.send(QUESTION)
    if when == "behind":
        line_.tell()
    line_.send(wrap(b"R 2", FRAMINGS["olympus"]))
    if when == "before":
        line_.tell()
        assert ANSWER not in line_.tape.heard
    assert len(line_.said) == 1 and line_.said[0]
    line_.tell(wrap(b"R 2", FRAMINGS["olympus"]))
    line_.send(b"\x06")
    assert line_.said[1:] == [""]


def test_an_instrument_that_says_nothing_to_an_answer() -> None:
    """Silence for as long as an instrument waits, or a pulled cable: it was not taken, and each is said once."""
    line_ = Asked()
    line_.send(QUESTION)
    line_.tell()
    line_.scheduler.run_for(14)
    assert line_.said == []
    line_.scheduler.run_for(2)
    assert line_.said == ["no answer to a frame"]
    line_.send(QUESTION)
    line_.tell()
    line_.cable.tear("pulled")
    line_.scheduler.run_for(30)
    assert line_.said == ["no answer to a frame", "the connection was lost"]
    line_.tell()
    assert len(line_.said) == 3 and line_.said[2]


def test_a_question_that_was_kept_too_late_is_not_answered() -> None:
    """After 15 s the instrument has gone another way; neither acknowledgment nor answer follows it."""
    line_ = Asked(delay_s=20.0)
    line_.send(QUESTION, 30)
    assert line_.tape.heard == b""
    line_.tell()
    assert line_.tape.heard == b"" and "does not wait" in line_.said[0]


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    cuts=st.lists(st.integers(0, 300), max_size=12),
    noise=st.binary(max_size=20).filter(lambda data: not set(data) & {2, 3, 4, 5, 6, 0x15, 0x17, 0x1A}),
    delay_s=st.one_of(st.none(), st.floats(0, 1)),
)
def test_the_way_bytes_are_cut_changes_nothing(name: str, cuts: list[int], noise: bytes, delay_s: float | None) -> None:
    """Texts with noise between, cut anywhere, with any commit time: each kept once, in order."""
    framing = FRAMINGS[name]
    scheduler = Scheduler()
    journal = Journal(scheduler, delay_s)
    _, tape = taped(scheduler, line(scheduler, journal, name))
    texts = [wrap(b"D %d" % n, framing) for n in range(5)]
    wire = noise + noise.join(texts)
    edges = sorted({0, len(wire), *(min(cut, len(wire)) for cut in cuts)})
    for start, end in pairwise(edges):
        tape.channel.send(wire[start:end])
        scheduler.run_for(0.01)
    scheduler.run_for(20)
    assert journal.complete() == texts


def test_a_busy_line_refuses_enquiries() -> None:
    """Where the framing has enquiries (BCI), NAK makes the instrument keep its results."""
    scheduler = Scheduler()
    gateway = line(scheduler, Journal(scheduler), "bci")
    _, tape = taped(scheduler, gateway)
    gateway.busy = True
    tape.channel.send(b"\x05")
    scheduler.run_for(1)
    gateway.busy = False
    tape.channel.send(b"\x05")
    scheduler.run_for(1)
    assert tape.heard == b"\x15\x06"


def test_an_emerald_is_led_and_its_result_kept_before_ok() -> None:
    """Each of its lines is answered at once; OK waits for the commit; a full store says ERROR, a broken one nothing."""
    framing = FRAMINGS["emerald"]
    head = b"EMD22AL;1;7;LAB\r"
    count = wrap(head + b"RESULT\rMODE;NORMAL\rSID;4711\rWBC;7.2", framing)
    scheduler = Scheduler()
    journal = Journal(scheduler, delay_s=2.0)
    gateway = line(scheduler, journal, "emerald")
    _, tape = taped(scheduler, gateway)
    tape.channel.send(b"CONNECT;7;9\r" + head + b"RESULT_READY;60\r" + count)
    scheduler.run_for(1.9)
    assert tape.heard == b"ACK_CONNECT;9\rACK_RESULT_READY\r"
    scheduler.run_for(1)
    assert tape.heard.endswith(b"ACK_RESULT_READY\rACK_RESULT;OK\r")
    assert journal.complete() == [count]
    journal.errors = [StoreFullError("full"), StoreBrokenError("broken")]
    for expected in (b"ACK_RESULT;ERROR\r", b""):
        tape.heard = b""
        tape.channel.send(count)
        scheduler.run_for(3)
        assert tape.heard == expected
    journal = Journal(scheduler)
    cable, tape = taped(scheduler, line(scheduler, journal, "emerald"))
    tape.channel.send(head + b"RESULT\rSID;4712\rWBC;9")
    scheduler.run_for(1)
    cable.tear("pulled")
    scheduler.run_for(3)
    assert [row.data for row in journal.incomplete()] == [head + b"RESULT\rSID;4712\rWBC;9"]
    assert journal.complete() == []
    assert tape.heard == b""
