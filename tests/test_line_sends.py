"""Messages of ours on a line: when they go out, who goes first, and that whoever sent one is told once how it went."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.errors import StoreBrokenError
from labgateway.line import Line
from labgateway.protocols.astm_events import Frame, NotSentWhy
from labgateway.protocols.astm_frames import frame, frames
from labgateway.protocols.astm_link import Link
from labgateway.protocols.astm_rules import LinkRules
from labgateway.transports.channel import Channel
from labgateway.transports.memory import Cable, Faults, Scheduler
from tests.line_kit import ACK, ENQ, EOT, NAK, Journal, Tape, line, message, session, taped

LETTER = list(frames(b"H|\\^&\rP|1\rO|1|S17||^^^HGB\rL|1|N\r"))
OTHER = list(frames(b"H|\\^&\rO|1|S18||^^^WBC\rL|1|N\r"))


class Bench:
    """A line that may send, an instrument played by hand, and what was told about each letter."""

    def __init__(self, *, sends: bool = True, delay_s: float | None = 0.005) -> None:
        self.scheduler = Scheduler()
        self.journal = Journal(self.scheduler, delay_s)
        self.line: Line = line(self.scheduler, self.journal, sends=sends)
        self.cable, self.tape = taped(self.scheduler, self.line)
        self.told: list[tuple[str, str]] = []
        self.run()

    def run(self, seconds: float = 0.1) -> None:
        self.scheduler.run_for(seconds)

    def send(self, name: str = "letter", letter: list[bytes] = LETTER, **more: object) -> None:
        self.line.send(letter, lambda why: self.told.append((name, why)), **more)  # type: ignore[arg-type]

    def say(self, data: bytes, seconds: float = 0.1) -> bytes:
        """Say something as the instrument; what it hears until then and afterwards."""
        self.tape.channel.send(data)
        self.run(seconds)
        return self.heard()

    def heard(self) -> bytes:
        heard, self.tape.heard = self.tape.heard, b""
        return heard

    def take(self, letter: list[bytes]) -> None:
        """Acknowledge a letter whose ENQ was heard, and hear its end."""
        for one in letter:
            assert self.say(ACK) == one
        assert self.say(ACK)[:1] == EOT


def test_a_letter_goes_out_on_a_free_line() -> None:
    """ENQ, frame for frame, EOT; told once, when all is acknowledged."""
    bench = Bench()
    bench.send()
    bench.run()
    assert bench.heard() == ENQ
    assert bench.told == []
    bench.take(LETTER)
    assert bench.told == [("letter", "")]
    assert bench.line.stats.sent == 1


def test_letters_go_one_after_another() -> None:
    """The second begins when the first is done, in the order in which they were given."""
    bench = Bench()
    bench.send("one")
    bench.send("two", OTHER)
    bench.run()
    assert bench.heard() == ENQ
    for one in LETTER:
        assert bench.say(ACK) == one
    assert bench.say(ACK) == EOT + ENQ
    bench.take(OTHER)
    assert bench.told == [("one", ""), ("two", "")]


def test_a_letter_waits_for_the_end_of_a_session() -> None:
    """While the instrument sends, and while its last frame waits for the disk, nothing of ours is said."""
    bench = Bench(delay_s=3)
    assert bench.say(ENQ) == ACK
    bench.send()
    for one in session(message()):
        assert bench.say(one) in (ACK, b"")
    assert bench.say(EOT, 1) == b""
    bench.run(3)
    assert bench.heard() == ACK + ENQ
    bench.take(LETTER)
    assert len(bench.journal.complete()) == 1


def test_the_instrument_goes_first() -> None:
    """LIS1-A 6.2.7.1: its ENQ meets ours: we are silent, take its session, and ask again behind it."""
    bench = Bench()
    bench.send()
    bench.run()
    assert bench.heard() == ENQ
    assert bench.say(ENQ) == b""
    assert bench.say(ENQ, 1) == ACK
    for one in session(message()):
        assert bench.say(one) == ACK
    assert bench.say(EOT) == ENQ
    bench.take(LETTER)
    assert bench.told == [("letter", "")]


def test_after_contention_the_host_waits_20_s_for_an_instrument_that_says_nothing() -> None:
    """LIS1-A 6.2.7.1."""
    bench = Bench()
    bench.send()
    bench.run()
    assert bench.say(ENQ) == ENQ
    bench.run(19.5)
    assert bench.heard() == b""
    bench.run(1)
    assert bench.heard() == ENQ


def test_a_busy_instrument_is_asked_again_after_10_s() -> None:
    """LIS1-A 6.2.6: NAK to ENQ; after six it is told that it was not sent."""
    bench = Bench()
    bench.send()
    bench.run()
    for _ in range(5):
        assert bench.heard() == ENQ
        assert bench.say(NAK, 9.5) == b""
        bench.run(1)
    assert bench.heard() == ENQ
    bench.say(NAK)
    assert bench.told == [("letter", NotSentWhy.BUSY.value)]


def test_a_frame_is_sent_six_times() -> None:
    """LIS1-A 6.5.1.2."""
    bench = Bench()
    bench.send()
    bench.run()
    bench.heard()
    assert bench.say(ACK) == LETTER[0]
    for _ in range(5):
        assert bench.say(NAK) == LETTER[0]
    assert bench.say(NAK) == EOT
    assert bench.told == [("letter", NotSentWhy.REFUSED.value)]
    assert bench.line.stats.not_sent == 1


def test_an_interrupt_is_honoured() -> None:
    """LIS1-A 6.3.5: EOT to a frame: it was taken, the instrument wants the line; we are told, and wait 15 s."""
    bench = Bench()
    bench.send()
    bench.run()
    bench.heard()
    assert bench.say(ACK) == LETTER[0]
    assert bench.say(EOT) == EOT
    assert bench.told == [("letter", NotSentWhy.INTERRUPTED.value)]
    bench.send("again")
    bench.run(14)
    assert bench.heard() == b""
    bench.run(1.5)
    assert bench.heard() == ENQ


def test_silence_and_a_lost_connection_are_told() -> None:
    """15 s without an answer to ENQ; the end of the connection, for every letter that waits."""
    bench = Bench()
    bench.send("one")
    bench.send("two")
    bench.run(15.5)
    assert bench.told == [("one", NotSentWhy.SILENT.value)]
    bench.cable.tear()
    bench.run()
    assert bench.told[1:] == [("two", NotSentWhy.LOST.value)]
    bench.send("three")
    assert bench.told[2][0] == "three"
    assert bench.told[2][1]


def test_a_letter_may_be_withdrawn_until_it_is_on_the_line() -> None:
    """What waits is told; what is half sent goes on."""
    bench = Bench()
    bench.say(ENQ)
    for name in ("one", "two", "three"):
        bench.send(name, tag=name)
    bench.line.withdraw(lambda tag: tag in ("one", "three"))
    assert sorted(bench.told) == [("one", NotSentWhy.CANCELLED.value), ("three", NotSentWhy.CANCELLED.value)]
    assert bench.say(EOT) == ENQ
    assert bench.say(ACK) == LETTER[0]
    bench.line.withdraw(lambda tag: True)
    bench.run()
    assert bench.say(ACK) == LETTER[1]
    assert len(bench.told) == 2


def test_nothing_is_sent_on_a_line_that_does_not_send_or_a_store_that_broke() -> None:
    """A letter is told at once that it cannot be sent."""
    bench = Bench(sends=False)
    bench.send()
    bench.run()
    assert bench.heard() == b""
    assert len(bench.told) == 1
    broken = Bench()
    broken.journal.errors = [StoreBrokenError("gone")]
    broken.say(ENQ)
    for one in session(message()):
        broken.say(one)
    broken.send()
    broken.run()
    assert ENQ not in broken.heard()
    assert len(broken.told) == 1


def test_a_letter_goes_to_the_connection_that_asked() -> None:
    """Of two connections of one line the one with this number; without a number the newest."""
    bench = Bench()
    _, second = taped(bench.scheduler, bench.line)
    bench.run()
    bench.send("first", conversation=1)
    bench.run()
    assert (bench.heard(), second.heard) == (ENQ, b"")
    bench.send("newest")
    bench.run()
    assert second.heard == ENQ
    bench.send("nobody", conversation=99)
    assert bench.told[0][0] == "nobody"
    assert (bench.line.has(1), bench.line.has(99)) == (True, False)


def test_who_is_told_may_send_the_next_letter() -> None:
    """From within the call."""
    bench = Bench()
    bench.line.send(LETTER, lambda why: bench.send("next", OTHER))
    bench.run()
    bench.heard()
    for one in LETTER:
        assert bench.say(ACK) == one
    assert bench.say(ACK) == EOT + ENQ
    bench.take(OTHER)
    assert bench.told == [("next", "")]


class Instrument(Tape):
    """An instrument with the sending half of its own: sends its messages, takes ours."""

    def __init__(self, channel: Channel, scheduler: Scheduler, messages: int) -> None:
        super().__init__(channel)
        self._scheduler = scheduler
        self._link = Link(LinkRules(host=False))
        self._left = [session(message(number)) for number in range(messages)]
        self._text: list[bytes] = []
        self.taken: list[bytes] = []
        scheduler.call_later(0.01, self._step)

    def received(self, data: bytes) -> None:
        self._link.feed(data, self._scheduler.now())
        self._step()

    def _step(self) -> None:
        now = self._scheduler.now()
        self._link.tick(now)
        while (event := self._link.next_event()) is not None:
            match event:
                case Frame():
                    self._text.append(event.text)
                    self._link.accept(event, now=now)
                    if event.text.startswith(b"L"):
                        self.taken.append(b"".join(self._text))
                        self._text.clear()
                case _ if type(event).__name__ == "Sent":
                    self._left.pop(0)
                case _ if type(event).__name__ in ("Broken", "Opened", "Closed"):
                    self._text.clear()
                case _:
                    pass
        if self._left and not self._link.sender.active:
            self._link.start(self._left[0], now)
        if out := self._link.bytes_to_send():
            self.channel.send(out)
        if (deadline := self._link.deadline) is not None:
            self._scheduler.call_at(max(deadline, now + 0.001), self._step)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), lossy=st.booleans(), letters=st.integers(1, 4), messages=st.integers(0, 4))
def test_both_send_at_once(seed: int, lossy: bool, letters: int, messages: int) -> None:
    """Whoever collides with whom: every message of the instrument is kept once, and each letter is told once, truly."""
    random = Random(seed)
    scheduler = Scheduler()
    journal = Journal(scheduler, 0.02)
    ours = line(scheduler, journal, sends=True)
    instruments: list[Instrument] = []

    def open_instrument(channel: Channel) -> Instrument:
        instruments.append(Instrument(channel, scheduler, messages))
        return instruments[0]

    faults = Faults(hurt=0.05) if lossy else Faults()
    Cable(scheduler, open_instrument, ours.open, random=random, to_a=faults, to_b=faults)
    told: dict[int, list[str]] = {number: [] for number in range(letters)}

    def send(number: int) -> None:
        records = b"H|\\^&\rO|1|S%d||^^^HGB\rL|1|N\r" % number
        ours.send(list(frames(records)), told[number].append)

    for number in range(letters):
        scheduler.call_later(random.random() * 2, lambda number=number: send(number))
    scheduler.run_for(3600)
    assert all(len(answers) == 1 for answers in told.values())
    (instrument,) = instruments
    for number, (why,) in told.items():
        came = [text for text in instrument.taken if b"|S%d|" % number in text and text.endswith(b"L|1|N\r")]
        assert not (why == "" and len(came) != 1)
    kept = b"".join(journal.complete())
    for number in range(messages):
        assert kept.count(b"O|1|S%04d||" % number) >= 1
    if not lossy:
        assert all(why == "" for (why,) in told.values())
        assert len(journal.complete()) == messages


@pytest.mark.parametrize("size", [7, 240])
def test_frames_are_numbered_from_1_in_each_session(size: int) -> None:
    """LIS1-A 6.3.2.1: the second letter begins with 1 again."""
    bench = Bench()
    letter = list(frames(b"H|\\^&\rO|1|S17||^^^HGB\rL|1|N\r", size=size))
    for _ in range(2):
        bench.send("x", letter)
        bench.run()
        assert bench.heard() == ENQ
        assert letter[0] == frame(1, letter[0][2:-5], last=letter[0][-5:-4] == b"\x03")
        bench.take(letter)
