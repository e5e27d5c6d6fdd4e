"""The receiving machine: what always holds, whatever comes, and examples of what comes."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labgateway.protocols import astm_receiver
from labgateway.protocols.astm_frames import frame, frames
from labgateway.protocols.astm_link import (
    Broken,
    Checksums,
    Closed,
    Fault,
    Frame,
    LinkRules,
    Noise,
    Numbers,
    Opened,
    Receiver,
    Why,
)
from labgateway.protocols.astm_receiver import HELD_BYTES, State
from tests.protocols.astm_kit import (
    ACK,
    ENQ,
    EOT,
    MOMENT_S,
    NAK,
    RECORDS,
    RESULT,
    Line,
    opened,
    session,
    split,
    texts,
    wires,
)

RULES = [
    LinkRules(),
    LinkRules(numbers=Numbers.LOOSE),
    LinkRules(checksums=Checksums.OPTIONAL, numbers=Numbers.ABSENT, acks_eot=True),
    LinkRules(checksums=Checksums.OPTIONAL),
    LinkRules(max_frame_bytes=20),
]


@settings(max_examples=150, deadline=None)
@given(
    wire=wires(), cuts=st.lists(st.integers(0, 2000)), rules=st.sampled_from(RULES), refused=st.sets(st.integers(0, 9))
)
def test_cutting_changes_nothing(wire: bytes, cuts: list[int], rules: LinkRules, refused: set[int]) -> None:
    """T2: the same bytes give the same events, answers and deadline, however they arrive."""

    def converse(pieces: list[bytes]) -> object:
        count = iter(range(10_000))
        line = Line(rules, lambda _: next(count) not in refused)
        for piece in pieces:
            line.feed(piece)
        now = (line.sent, list(line.events), line.machine.deadline, line.machine.faults, line.machine.repeats)
        line.wait(60)
        return now, line.sent, line.events, line.machine.faults

    whole = converse([wire])
    assert converse(split(wire, cuts)) == whole
    assert converse([wire[at : at + 1] for at in range(len(wire))]) == whole


steps = st.one_of(
    st.tuples(st.just("feed"), wires()),
    st.tuples(st.just("feed"), st.binary(max_size=30)),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 0.4, 1.1, 5, 11, 16, 31])),
    st.tuples(st.sampled_from(["accept", "refuse", "lost", "busy", "free", "interrupt"]), st.none()),
)


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(steps, max_size=20), rules=st.sampled_from(RULES))
def test_no_input_raises_and_memory_stays_bounded(steps: list[tuple[str, object]], rules: LinkRules) -> None:
    """T1, T6: any bytes, times and decisions; nothing raises, little is kept, and nothing waits without a deadline."""
    line = Line(rules, lambda _: None)
    for what, value in steps:
        match what, value:
            case "feed", bytes(data):
                line.feed(data)
            case "wait", float() | int() as seconds:
                line.wait(seconds)
            case "accept", _:
                line.machine.accept(now=line.now)
            case "refuse", _:
                line.machine.refuse()
            case "lost", _:
                line.machine.lost(line.now)
            case "interrupt", _:
                line.machine.interrupts = True
            case _:
                line.machine.busy = what == "busy"
        line.pump()
        machine = line.machine
        assert len(machine._scanner) <= rules.max_frame_bytes + HELD_BYTES
        if machine.state is State.OPEN:
            assert machine.deadline is not None
            assert machine.deadline <= line.now + 120


@settings(max_examples=100, deadline=None)
@given(wire=wires(), cuts=st.lists(st.integers(0, 2000)), seed=st.integers(0, 2**32))
def test_nothing_is_acknowledged_before_accept(wire: bytes, cuts: list[int], seed: int) -> None:
    """Every ACK is for an enquiry, for a frame whose owner accepted it, or for its repeat; one each."""
    random = Random(seed)
    line = Line(decide=lambda _: None)
    accepted: list[Frame] = []
    waiting: Frame | None = None
    for piece in split(wire, cuts):
        line.feed(piece)
        while (last := line.events[-1] if line.events else None) is not None and isinstance(last, Frame):
            if last is waiting:
                break
            waiting = last
            if random.random() < 0.5:
                accepted.append(last)
                line.machine.accept(last, now=line.now)
            elif random.random() < 0.5:
                line.machine.refuse(last, now=line.now)
            line.pump()
        opens = sum(isinstance(event, Opened) for event in line.events)
        assert line.sent.count(ACK) == opens + len(accepted) + line.machine.repeats


@settings(max_examples=25, deadline=None)
@given(text=texts(), number=st.integers(0, 7), last=st.booleans())
def test_a_damaged_byte_is_never_taken(text: bytes, number: int, last: bool) -> None:
    """T3: any one byte of a frame replaced by any other: refused or not heard, then taken right when it comes again."""
    good = frame(1, text, last=last)
    for at in range(len(good)):
        value = (number * 37 + at * 101 + text[0]) % 256
        if value != good[at]:
            _damaged_then_again(good, at, value)


def _damaged_then_again(good: bytes, at: int, value: int) -> None:
    line = opened()
    answers = line.feed(good[:at] + bytes([value]) + good[at + 1 :])
    answers += line.wait(12)
    assert len(answers) <= 1, "one transmission, one answer"
    if answers != ACK:
        assert not line.texts
        if line.machine.idle:
            # The damaged byte became EOT: the sender hears nothing, ends and begins anew.
            assert answers == b""
            assert line.exchange(EOT, ENQ) == [b"", ACK]
        else:
            assert answers in (NAK, b"")
        assert line.feed(good) == ACK
    assert line.texts == [good[2:-5]]
    if line.machine.idle:
        # The line end became EOT: nothing is acknowledged any more, so the sender begins anew.
        assert line.feed(frame(2, b"L|1|N\r")) == b""
        return
    assert line.feed(frame(2, b"L|1|N\r")) == ACK
    assert line.feed(EOT) == b""


def test_every_damage_of_a_frame() -> None:
    """T3 in full: each byte of a frame replaced by each of the 255 others."""
    good = frame(1, b"R|1|^^^^HGB^1|13.4|g/dL||N||F\r")
    for at in range(len(good)):
        for value in range(256):
            if value != good[at]:
                _damaged_then_again(good, at, value)


@settings(max_examples=100, deadline=None)
@given(junk=wires(), pause=st.sampled_from([0.5, 2.0, 20.0]))
def test_after_any_garbage_the_next_message_is_accepted(junk: bytes, pause: float) -> None:
    """T5: a sender that keeps the rules (ends, waits, asks again, repeats what is refused) always gets through."""
    line = Line()
    line.feed(junk)
    line.wait(pause)
    del line.events[:]
    for _ in range(4):
        # What a sender does when it is not answered: EOT, and again (6.5.2.1).
        line.wait(15)
        line.feed(EOT)
        line.wait(1)
        if line.feed(ENQ) == ACK or line.wait(1) == ACK:
            break
    else:
        pytest.fail("never answered")
    del line.events[:]
    assert line.exchange(*frames(RESULT), EOT) == [ACK] * len(RECORDS) + [b""]
    assert line.texts == RECORDS
    assert isinstance(line.events[-1], Closed)


@settings(max_examples=60, deadline=None)
@given(junk=st.binary(max_size=200).filter(lambda b: not b.endswith(b"\x05")))
def test_after_garbage_on_an_idle_line_the_next_session_is_accepted_at_once(junk: bytes) -> None:
    """A second after bytes of a stranger, the first ENQ is answered at once, or the doubt ends in a moment."""
    line = Line()
    line.feed(junk)
    if line.machine.idle:
        line.wait(1.5)
        assert line.feed(ENQ) == ACK


@given(text=texts(), repeats=st.integers(1, 5))
def test_a_repeated_frame_is_acknowledged_and_dropped(text: bytes, repeats: int) -> None:
    """T4: whatever came again with the last number is answered ACK and handed out once."""
    line = opened()
    assert line.exchange(*[frame(1, text)] * (1 + repeats)) == [ACK] * (1 + repeats)
    assert line.texts == [text]
    assert line.machine.repeats == repeats


def test_what_a_line_says_twice_is_answered_once() -> None:
    """A second answer would be taken for the answer to the next frame, and that one, when it is lost, for stored."""
    line, good, bad = Line(), frame(1, b"H|\\^&\r"), frame(2, b"P|1\r").replace(b"P", b"Q")
    assert line.exchange(ENQ + ENQ, good + good, bad + bad) == [ACK, ACK, NAK]
    assert line.exchange(frame(2, b"P|1\r") * 3, EOT + EOT) == [ACK, b""]
    assert line.texts == [b"H|\\^&\r", b"P|1\r"]
    assert line.names == ["Opened", "Frame", "Frame", "Closed"]


def test_what_is_refused_twice_over_is_refused_once() -> None:
    """The store cannot take a frame that came twice: one NAK, and the repeat that follows it is offered again."""
    line = opened(decide=lambda _: False)
    assert line.feed(frame(1, b"L|1|N\r") * 2) == NAK
    line.decide = lambda _: True
    assert line.exchange(frame(1, b"L|1|N\r")) == [ACK]


def test_the_last_number_with_other_text_is_not_acknowledged_away() -> None:
    """An instrument that does not count would lose each record but the first if numbers alone told a repeat."""
    line = opened()
    assert line.exchange(frame(1, b"H|\\^&\r"), frame(1, b"P|1\r")) == [ACK, NAK]
    assert line.machine.faults == {Fault.NUMBER: 1}


def test_every_state_with_every_kind_of_byte() -> None:
    """The table in the module's head, move by move."""
    good, damaged, skipped = frame(1, b"H|\\^&\r"), frame(1, b"H|\\^&\r").replace(b"H", b"h"), frame(3, b"R|1\r")

    def come(state: State, what: str) -> tuple[bytes, str, State]:
        line = Line(decide=lambda _: None)
        if state is not State.IDLE:
            line.feed(ENQ)
        if state is State.DECIDING:
            line.feed(good)
        line.sent, line.events = b"", []
        line.now += MOMENT_S
        moves = {
            "ENQ": lambda: line.feed(ENQ) + line.wait(0.4),
            "due": lambda: line.feed(good),
            "damaged": lambda: line.feed(damaged),
            "skipped": lambda: line.feed(skipped),
            "junk": lambda: line.feed(b"xyz"),
            "ACK": lambda: line.feed(ACK),
            "NAK": lambda: line.feed(NAK),
            "EOT": lambda: line.feed(EOT),
            "30 s": lambda: line.wait(30),
            "accept": lambda: (line.machine.accept(), line.pump()),
            "refuse": lambda: (line.machine.refuse(), line.pump()),
            "lost": lambda: (line.machine.lost(line.now), line.pump()),
        }
        moves[what]()
        told = [event.why.name if isinstance(event, Broken) else type(event).__name__ for event in line.events]
        return line.sent, " ".join(told), line.machine.state

    idle, open_, deciding = State.IDLE, State.OPEN, State.DECIDING
    nothing = dict.fromkeys(
        ["due", "damaged", "skipped", "junk", "ACK", "NAK", "EOT", "30 s", "accept", "refuse", "lost"]
    )
    expected: dict[State, dict[str, tuple[bytes, str, State]]] = {
        idle: {"ENQ": (ACK, "Opened", open_)} | dict.fromkeys(nothing, (b"", "", idle)),
        open_: {
            "ENQ": (ACK, "RESTARTED Opened", open_),
            "due": (b"", "Frame", deciding),
            "damaged": (NAK, "", open_),
            "skipped": (NAK, "", open_),
            "junk": (b"", "", open_),
            "ACK": (b"", "", open_),
            "NAK": (b"", "", open_),
            "EOT": (b"", "Closed", idle),
            "30 s": (b"", "TIMEOUT", idle),
            "accept": (b"", "", open_),
            "refuse": (b"", "", open_),
            "lost": (b"", "LOST", idle),
        },
        deciding: dict.fromkeys([*nothing, "ENQ"], (b"", "", deciding))
        | {"accept": (ACK, "", open_), "refuse": (NAK, "", open_), "lost": (b"", "LOST", idle)},
    }
    for state, moves in expected.items():
        for what, outcome in moves.items():
            assert come(state, what) == outcome, (state, what)


def test_the_short_way_and_the_long_way_of_a_frame_are_one() -> None:
    """A whole frame is taken without the scanner; the same frame in two pieces gives the same."""
    for text in (b"", b"x", b"R|1|^^^^WBC^1|8.13|10*3/uL||N\r", b"y" * 245, b"y" * 246, b"y" * 300):
        for last in (True, False):
            whole, pieces = opened(), opened()
            whole.feed(frame(1, text, last=last))
            pieces.exchange(frame(1, text, last=last)[:4], frame(1, text, last=last)[4:])
            assert whole.events == pieces.events
            assert whole.sent == pieces.sent == ACK + ACK


def test_a_frame_of_10_mb_is_refused_and_nothing_of_it_is_kept() -> None:
    """Bad input: a frame without end in sight costs no memory; its NAK comes at its end; the next one is taken."""
    line = opened()
    line.feed(b"\x021R|1|")
    for _ in range(160):
        assert line.feed(b"9" * 65_536) == b""
        assert len(line.machine._scanner) <= 140_000
    assert line.feed(b"\r\x03") == b""
    assert line.feed(b"7") == b""
    assert line.feed(b"F\r\n") == NAK
    assert line.machine.faults == {Fault.TOO_LONG: 1}
    assert line.feed(frame(1, b"H|\\^&\r")) == ACK
    assert line.texts == [b"H|\\^&\r"]


def test_a_too_long_frame_in_one_piece_is_refused_once() -> None:
    """The bound holds for what comes at once, too, up to the last byte."""
    fits, too_long = b"y" * (65_536 - 2), b"y" * (65_536 - 1)
    line = opened()
    assert line.exchange(frame(1, too_long), frame(1, fits)) == [NAK, ACK]


def test_a_frame_that_never_ends_is_asked_for_again_while_its_sender_still_waits() -> None:
    """The ETX was lost: NAK after 10 s of nothing, and the rest, should it come late, gets no second answer."""
    line = opened()
    assert line.feed(frame(1, b"H|\\^&\r").replace(b"\x03", b"")) == b""
    assert line.wait(9.9) == b""
    assert line.wait(0.2) == NAK
    assert line.feed(b"late\r\x0333\r\n") == b""
    assert line.feed(frame(1, b"H|\\^&\r")) == ACK


def test_a_trickling_frame_keeps_its_session_open_but_not_for_ever() -> None:
    """A byte a second is life; a frame that needs more than 120 s is not."""
    line = opened()
    line.feed(b"\x02")
    seconds = 0
    while line.events[-1] != Broken(Why.TIMEOUT):
        assert line.wait(1) == b""
        line.feed(b"1")
        seconds += 1
    assert seconds == 120
    slow = opened()
    for byte in frame(1, b"H|\\^&|||slow line\r"):
        slow.wait(4)
        slow.feed(bytes([byte]))
    assert slow.sent == ACK + ACK


def test_junk_does_not_keep_a_session_open() -> None:
    """Only frames count as life: bytes outside of them do not move the 30 s."""
    line = opened()
    for _ in range(29):
        line.wait(1)
        line.feed(b"x")
    line.wait(1.1)
    assert line.events[-1] == Broken(Why.TIMEOUT)


def test_the_whole_session_in_one_piece_waits_for_each_decision() -> None:
    """Held bytes: later frames stay unseen until the one before was decided, then go on by themselves."""
    line = Line(decide=lambda _: None)
    line.feed(session() + session())
    for record in RECORDS * 2:
        assert line.texts[-1] == record
        assert line.feed(b"") == b""
        line.machine.accept()
        assert ACK in line.pump()
    assert line.names == (["Opened"] + ["Frame"] * len(RECORDS) + ["Closed"]) * 2
    assert line.sent == ACK * (1 + len(RECORDS)) * 2


def test_a_sender_that_never_waits_is_cut_off() -> None:
    """More than a megabyte behind an undecided frame breaks the session, and its late accept() says nothing."""
    line = opened(decide=lambda _: None)
    line.feed(frame(1, b"H|\\^&\r"))
    (offered,) = [event for event in line.events if isinstance(event, Frame)]
    for _ in range(20):
        line.feed(frame(2, b"x" * 60_000))
    assert line.events[-1] == Broken(Why.FLOOD)
    assert len(line.machine._scanner) == 0
    line.machine.accept(offered)
    assert line.pump() == b""


def test_a_late_decision_is_not_taken_for_the_answer_to_something_else() -> None:
    """The store took 20 s and the sender ended and asked anew: no ACK but the one to its new enquiry."""
    line = opened(decide=lambda _: None)
    line.feed(frame(1, b"H|\\^&\r"))
    line.wait(16)
    assert line.feed(EOT) == b""
    line.wait(4)
    assert line.feed(ENQ) == b""
    line.machine.accept()
    assert line.pump() == ACK
    assert line.names == ["Opened", "Frame", "Closed", "Opened"]


def test_a_sender_with_little_patience_is_not_answered_late_either() -> None:
    """It gave up after 5 s already: what came behind the frame tells that it no longer waits."""
    line = opened(decide=lambda _: None)
    line.feed(frame(1, b"H|\\^&\r"))
    line.wait(5)
    line.exchange(EOT, ENQ)
    line.machine.accept()
    assert line.pump() == ACK


def test_a_line_end_that_comes_late_does_not_silence_the_answer() -> None:
    """CR LF trickling in behind a frame says nothing about its sender's patience."""
    line = opened(decide=lambda _: None)
    line.feed(frame(1, b"H|\\^&\r")[:-2])
    line.wait(2)
    line.feed(b"\r")
    line.wait(2)
    line.feed(b"\n")
    line.machine.accept()
    assert line.pump() == ACK


def test_a_decision_about_a_frame_of_a_broken_session_touches_no_other() -> None:
    """accept() names its frame; the frame of the session before is not confused with the one that waits now."""
    line = opened(decide=lambda _: None)
    line.feed(frame(1, b"old\r"))
    old = line.events[-1]
    assert isinstance(old, Frame)
    line.machine.lost(line.now)
    line.feed(ENQ)
    line.feed(frame(1, b"new\r"))
    line.sent = b""
    line.machine.accept(old)
    assert line.pump() == b""
    line.machine.accept(line.events[-1] if isinstance(line.events[-1], Frame) else None)
    assert line.pump() == ACK


def test_refused_and_offered_again() -> None:
    """After refuse() the frame is answered NAK and may come again with the same number."""
    decisions = iter([False, True])
    line = opened(decide=lambda _: next(decisions))
    assert line.exchange(frame(1, b"H|\\^&\r"), frame(1, b"H|\\^&\r")) == [NAK, ACK]
    assert line.machine.faults == {Fault.REFUSED: 1}


def test_busy_is_said_by_nak_to_the_enquiry() -> None:
    """Back-pressure: NAK to ENQ, and the instrument keeps its results; a session that is open goes on."""
    line = Line()
    line.machine.busy = True
    assert line.feed(ENQ) == NAK
    assert line.events == []
    line.machine.busy = False
    assert line.exchange(ENQ, frame(1, b"H|\\^&\r")) == [ACK, ACK]
    line.machine.busy = True
    assert line.exchange(frame(2, b"L|1|N\r"), EOT, ENQ) == [ACK, b"", NAK]


def test_asking_for_a_turn() -> None:
    """6.3.4.4: the next accepted frame is answered EOT, once."""
    line = opened()
    line.machine.interrupts = True
    assert line.exchange(frame(1, b"H|\\^&\r"), frame(2, b"P|1\r")) == [EOT, ACK]


def test_noise_is_told_once_and_in_short() -> None:
    """Bytes that belong to nothing: how many, and the first 64 of them, when the line is calm again."""
    line = Line()
    line.feed(b"GET / HTTP/1.1\r\n" * 10)
    assert line.events == []
    line.wait(1)
    (noise,) = line.events
    assert noise == Noise(140, (b"GET / HTTP/1.1" * 10)[:64])
    assert line.machine.deadline is None


def test_a_damaged_bit_that_makes_an_enquiry_earns_no_acknowledgement() -> None:
    """One bit turns E, CR and others into ENQ; wherever that happens in a frame or behind it, it is not believed."""
    text = b"R|1|^^^^E^1|1\r"
    good = frame(1, text)
    for at in range(len(good)):
        line = opened()
        answers = line.feed(good[:at] + ENQ + good[at + 1 :]) + line.wait(12)
        assert answers == (ACK if line.texts == [text] else NAK)
        assert "Broken" not in line.names


def test_a_damaged_line_end_that_makes_an_enquiry_does_not_restart() -> None:
    """CR or LF behind a frame become ENQ, and the sender pauses before its next frame: the session goes on."""
    for end in (ENQ + b"\n", b"\r" + ENQ, ENQ):
        line = opened()
        assert line.feed(frame(1, b"H|\\^&\r")[:-2] + end) == ACK
        assert line.wait(3) == b""
        assert line.feed(frame(2, b"P|1\r")) == ACK
        assert line.names == ["Opened", "Frame", "Frame"]


@pytest.mark.parametrize("end", [b"\x04\n", b"\r\x04", b"\x04"], ids=["CR", "LF", "no LF"])
def test_a_damaged_line_end_that_makes_an_eot_does_not_end_the_session(end: bytes) -> None:
    """The line was given away in the middle of a message, and our EOT later taken for the answer to its last frame."""
    line = opened()
    assert line.exchange(frame(1, b"H|\\^&\r")[:-2] + end, frame(2, b"P|1\r")) == [ACK, ACK]
    assert line.names == ["Opened", "Frame", "Frame"]


@pytest.mark.parametrize("end", [b"", b"\r"])
def test_an_eot_where_a_line_end_could_stand_counts_when_nothing_follows(end: bytes) -> None:
    """Instruments that send no line end, or half of one: their EOT is believed after a moment, or when they ask again."""
    line = opened()
    assert line.exchange(frame(1, b"H|\\^&\r")[:-2] + end, EOT) == [ACK, b""]
    assert line.wait(0.4) == b""
    assert line.names == ["Opened", "Frame", "Closed"]
    assert line.exchange(ENQ, frame(1, b"H|\\^&\r")[:-2] + end, EOT, ENQ) == [ACK, ACK, b"", ACK]
    assert line.machine.deadline is not None


def test_junk_with_an_enquiry_in_it_opens_nothing() -> None:
    """A stranger's bytes get nothing, also when 0x05 is among them; an ENQ alone behind them is heard."""
    line = Line()
    assert line.feed(b"\x16\x03\x01\x02\x05\x01\x00\x05xyz") == b""
    assert line.feed(ENQ) == b""
    assert line.wait(0.4) == ACK


def test_a_restart_inside_a_frame_that_never_ended() -> None:
    """The sender died in a frame and began anew at once: the new session counts and nothing is merged."""
    line = opened()
    line.feed(frame(1, b"H|old\r"))
    line.feed(b"\x022P|1|half" + session())
    assert line.names[-len(RECORDS) - 3 :] == ["Broken", "Opened", *["Frame"] * len(RECORDS), "Closed"]
    assert line.texts[1:] == RECORDS


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([ENQ, EOT, ACK, NAK]), max_size=30))
@example([EOT, ENQ, EOT, ENQ])
def test_control_characters_alone_give_sessions_and_nothing_else(pieces: list[bytes]) -> None:
    """Stray ACK, NAK and EOT are harmless; an empty session is no error."""
    line = Line()
    for piece in pieces:
        line.feed(piece)
        line.wait(2)
    assert set(line.names) <= {"Opened", "Closed", "Broken"}
    assert not set(line.sent) & set(NAK + EOT + ENQ)


def test_lost_forgets_everything() -> None:
    """After a lost connection nothing of it is left: no answer, no half frame, no deadline."""
    line = opened()
    line.feed(b"\x021H|half")
    line.machine.lost(line.now)
    assert line.pump() == b""
    assert line.events[-1] == Broken(Why.LOST)
    assert line.machine.deadline is None
    assert line.exchange(ENQ, frame(1, b"H|\\^&\r")) == [ACK, ACK]


def test_without_accept_the_deadline_is_the_senders_patience() -> None:
    """DECIDING: 15 s, the answer's time (6.3.4); then nothing is owed any more."""
    line = opened(decide=lambda _: None)
    line.feed(frame(1, b"H|\\^&\r"))
    assert line.machine.deadline == line.now + 15
    line.wait(16)
    assert line.machine.deadline is None


def test_a_big_message_is_not_quadratic() -> None:
    """64,000 bytes, one at a time: no byte is looked at more than a few times."""
    machine = Receiver()
    machine.feed(ENQ, 0)
    searched = 0

    class Counting:
        def search(self, data: bytes, start: int = 0) -> object:
            nonlocal searched
            searched += len(data) - start
            return original.search(data, start)

    from labgateway.protocols import astm_scanner

    original = astm_scanner._END
    astm_scanner._END = Counting()  # type: ignore[assignment]  # counts what the search is given
    try:
        data = frame(1, b"x" * 63_993)
        for at in range(len(data)):
            machine.feed(data[at : at + 1], 0)
    finally:
        astm_scanner._END = original
    assert searched < 3 * len(data)
    assert isinstance(machine.next_event(), Opened)
    assert isinstance(machine.next_event(), Frame)


def test_module_says_what_it_exports() -> None:
    """The names other rooms take from here exist."""
    for name in astm_receiver.__all__:
        assert hasattr(astm_receiver, name)
    assert RESULT.startswith(b"H|")


def test_a_frame_without_start_is_refused_also_behind_a_refused_and_a_good_one() -> None:
    """What mutes the end of a refused transmission is over with the next STX, whichever way that frame is taken."""
    line = opened()
    bad = frame(1, b"H|\\^&\r").replace(b"H", b"h")
    assert line.exchange(bad, frame(1, b"H|\\^&\r"), frame(2, b"P|1\r")[1:], frame(2, b"P|1\r")) == [NAK, ACK, NAK, ACK]


@pytest.mark.parametrize("end", [b"\x03", b"\x17"])
@pytest.mark.parametrize("last", [True, False])
def test_the_first_etx_or_etb_ends_a_frame(end: bytes, last: bool) -> None:
    """Also where a whole frame is at hand whose checksum would fit: what stands inside is no text (6.6)."""
    data = frame(1, b"R|1|a" + end + b"b|c\r", last=last)
    assert opened().feed(data) == opened().feed(data[:3]) + NAK


def test_an_enquiry_before_a_frame_of_the_running_count_is_noise() -> None:
    """A stray ENQ and then the frame that is due: the session goes on; with number 1 behind it, it begins anew."""
    line = opened()
    assert line.exchange(frame(1, b"H|\\^&\r"), ENQ + frame(2, b"P|1\r")) == [ACK, ACK]
    assert line.names == ["Opened", "Frame", "Noise", "Frame"]
    assert line.feed(ENQ + frame(1, b"H|\\^&\r")) == ACK + ACK
    assert line.names[4:] == ["Broken", "Opened", "Frame"]


def test_an_enquiry_where_a_line_end_could_stand_counts_when_it_comes_later() -> None:
    """No line end behind the frame, then a second of nothing, then ENQ: the instrument began anew."""
    line = opened()
    assert line.feed(frame(1, b"H|\\^&\r")[:-2]) == ACK
    line.wait(1.1)
    assert line.feed(ENQ) + line.wait(0.4) == ACK
    assert line.names == ["Opened", "Frame", "Broken", "Opened"]


def test_loose_numbers() -> None:
    """Declared: any digit from 0 to 7 in any order is taken; what came just now is a repeat; 8 is no number."""
    line = opened(LinkRules(numbers=Numbers.LOOSE))
    one, two, six = frame(1, b"M|1|x\r"), frame(1, b"M|2|y\r"), frame(6, b"R|1\r")
    eight = b"\x028L|1\r\x03%02X\r\n" % (sum(b"8L|1\r\x03") % 256)
    assert line.exchange(one, one, two, six, eight, six.replace(b"R", b"r")) == [ACK, ACK, ACK, ACK, NAK, NAK]
    assert line.texts == [b"M|1|x\r", b"M|2|y\r", b"R|1\r"]
    assert line.machine.repeats == 1


def test_a_block_without_number_and_checksum() -> None:
    """Declared: STX, records, ETX; an ACK for EOT too; what came just now is a repeat."""
    line = opened(LinkRules(checksums=Checksums.OPTIONAL, numbers=Numbers.ABSENT, acks_eot=True))
    block = b"\x02" + RESULT + b"\x03"
    assert line.exchange(block[:9], block[9:]) == [b"", b""]
    assert line.wait(0.4) == ACK
    assert line.exchange(block + b"\r\n", EOT, ENQ + block + EOT) == [ACK, ACK, ACK * 3]
    assert line.texts == [RESULT, RESULT]
    assert [(e.number, e.last, e.raw) for e in line.events if isinstance(e, Frame)] == [(0, True, block)] * 2


def test_frames_with_a_number_and_no_checksum() -> None:
    """Declared: the number is still checked. What stands behind ETX says at once that no checksum comes, silence a little later."""
    line = opened(LinkRules(checksums=Checksums.OPTIONAL))
    assert line.exchange(b"\x021H|\\^&\r\x03\r\n", b"\x023P|1\r\x03\r\n", b"\x022P|1\r\x03") == [ACK, NAK, b""]
    assert line.wait(0.2) == b""
    assert line.wait(0.2) == ACK
    assert line.texts == [b"H|\\^&\r", b"P|1\r"]


def test_an_optional_checksum_that_is_there_must_be_right() -> None:
    """The tolerance is for frames without one: a damaged frame with one is refused, in whatever pieces it comes."""
    good = frame(1, b"R|1|^^^GLU|5.1\r")
    for cut in range(1, len(good)):
        line = opened(LinkRules(checksums=Checksums.OPTIONAL))
        bad = good.replace(b"5.1", b"9.1")
        assert b"".join(line.exchange(bad[:cut], bad[cut:])) + line.wait(0.4) == NAK
        assert line.texts == []
        assert b"".join(line.exchange(good[:cut], good[cut:])) + line.wait(0.4) == ACK


def test_what_is_not_declared_is_not_tolerated() -> None:
    """The same bytes under the standard's rules: refused."""
    assert opened().feed(b"\x02" + RESULT + b"\x03\r\n") == NAK
    assert opened().feed(b"\x021H|\\^&\r\x03\r\n") == NAK
