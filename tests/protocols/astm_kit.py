"""What the ASTM tests share: a line under a clock of its own, sessions as instruments send them, and bad cables."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from random import Random

from hypothesis import strategies as st

from labgateway.protocols.astm_frames import frame, frames
from labgateway.protocols.astm_link import Event, Frame, Link, LinkRules, NotSent, Receiver, Sender, SenderEvent, Sent

ENQ, ACK, NAK, EOT = b"\x05", b"\x06", b"\x15", b"\x04"
RESULT = b"H|\\^&|||Example Haem 3^1.4|||||||P|1\rP|1\rO|1|S-17||^^^HGB\rR|1|^^^^HGB^1|13.4|g/dL||N||F\rL|1|N\r"
RECORDS = [record + b"\r" for record in RESULT.split(b"\r") if record]
QUERY = b"H|\\^&|||Example Haem 3^1.4|||||||P|1\rQ|1|^S-17||ALL||||||||O\rL|1|N\r"

MOMENT_S = 0.00001
"""Later than the answer before, and too soon for any timer."""


def session(message: bytes = RESULT) -> bytes:
    """ENQ, the frames, EOT, as a sender that does not wait would send them."""
    return ENQ + b"".join(frames(message)) + EOT


class Line:
    """A Receiver whose owner decides at once, and a clock that only wait() moves."""

    def __init__(self, rules: LinkRules | None = None, decide: Callable[[Frame], bool | None] = lambda _: True) -> None:
        self.machine = Receiver(rules or LinkRules())
        self.decide = decide
        self.now = 1000.0
        self.events: list[Event] = []
        self.sent = b""

    def feed(self, data: bytes) -> bytes:
        """Bytes in; what is answered comes back."""
        self.machine.feed(data, self.now)
        return self.pump()

    def pump(self) -> bytes:
        while (event := self.machine.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, Frame):
                match self.decide(event):
                    case True:
                        self.machine.accept(event, now=self.now)
                    case False:
                        self.machine.refuse(event, now=self.now)
                    case None:
                        pass
        out = self.machine.bytes_to_send()
        self.sent += out
        return out

    def wait(self, seconds: float) -> bytes:
        """Time passes; what is said meanwhile comes back."""
        out = b""
        end = self.now + seconds
        while (due := self.machine.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            self.machine.tick(self.now)
            out += self.pump()
        self.now = end
        return out

    def exchange(self, *pieces: bytes) -> list[bytes]:
        """Feed piece after piece, each a moment after the answer to the one before, and collect the answers."""
        answers: list[bytes] = []
        for piece in pieces:
            self.now += MOMENT_S
            answers.append(self.feed(piece))
        return answers

    @property
    def texts(self) -> list[bytes]:
        """The texts of the frames that were handed out."""
        return [event.text for event in self.events if isinstance(event, Frame)]

    @property
    def names(self) -> list[str]:
        """What happened, in words."""
        return [type(event).__name__ for event in self.events]


def opened(rules: LinkRules | None = None, decide: Callable[[Frame], bool | None] = lambda _: True) -> Line:
    """A line with an open session."""
    line = Line(rules, decide)
    assert line.feed(ENQ) == ACK
    return line


MESSAGE = list(frames(RESULT))


class Clocked:
    """A Sender and a clock."""

    def __init__(self, rules: LinkRules | None = None) -> None:
        self.machine = Sender(rules or LinkRules())
        self.now = 1000.0
        self.events: list[SenderEvent] = []

    def start(self) -> bytes:
        self.machine.start(MESSAGE, self.now)
        return self.out()

    def feed(self, data: bytes) -> bytes:
        self.machine.feed(data, self.now)
        return self.out()

    def wait(self, seconds: float) -> bytes:
        out = b""
        end = self.now + seconds
        while (due := self.machine.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            self.machine.tick(self.now)
            out += self.out()
        self.now = end
        return out

    def out(self) -> bytes:
        while (event := self.machine.next_event()) is not None:
            self.events.append(event)
        return self.machine.bytes_to_send()


def started(rules: LinkRules | None = None) -> Clocked:
    """A sender whose enquiry is out."""
    clocked = Clocked(rules)
    assert clocked.start() == ENQ
    return clocked


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The data cut at these places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def texts() -> st.SearchStrategy[bytes]:
    """What stands in a frame: a record, or part of one."""
    letters = st.sampled_from(b"ABEHLMPQRUVW0123456789|^\\&.- \r\xc4\xe6")
    return st.lists(letters, min_size=1, max_size=40).map(bytes)


def wires() -> st.SearchStrategy[bytes]:
    """Bytes of a line: whole sessions, good and bad frames, control characters, junk, in any order."""
    good = st.builds(lambda n, text, last: frame(n, text, last=last), st.integers(0, 8), texts(), st.booleans())
    bad = st.builds(
        lambda whole, at, bit: (
            whole[: at % len(whole)] + bytes([whole[at % len(whole)] ^ 1 << bit]) + whole[at % len(whole) + 1 :]
        ),
        good,
        st.integers(0, 100),
        st.integers(0, 7),
    )
    cut = st.builds(lambda whole, at: whole[: at % len(whole)], good, st.integers(0, 100))
    controls = st.sampled_from([ENQ, ACK, NAK, EOT, b"\x02", b"\x03", b"\x17", b"\r\n", b"\r", b"\n", b"\0"])
    twice = st.one_of(good, bad, controls).map(lambda whole: whole * 2)
    piece = st.one_of(st.just(session()), good, good, bad, cut, controls, controls, twice, st.binary(max_size=12))
    return st.lists(piece, max_size=14).map(b"".join)


class Cable:
    """Two Links and what is between them, under a clock of its own.

    spoil: what becomes of a transmission, as (delay, bytes) pairs; none: it is lost.
    """

    def __init__(
        self,
        spoil: Callable[[bytes, Random], Sequence[tuple[float, bytes]]],
        seed: int,
        *,
        host: LinkRules | None = None,
        instrument: LinkRules | None = None,
    ) -> None:
        self.host = Link(host or LinkRules())
        self.instrument = Link(instrument or LinkRules(host=False))
        self.now = 0.0
        self.events: dict[Link, list[Event | SenderEvent]] = {self.host: [], self.instrument: []}
        self._spoil = spoil
        self._random = Random(seed)
        self._under_way: list[tuple[float, int, Link, bytes]] = []
        self._order = itertools.count()

    def pump(self) -> None:
        """Let both say what they have to say."""
        for link, other in ((self.host, self.instrument), (self.instrument, self.host)):
            while (event := link.next_event()) is not None:
                self.events[link].append(event)
                if isinstance(event, Frame):
                    link.accept(event, now=self.now)
            out = link.bytes_to_send()
            if out:
                at = self.now
                for delay, data in self._spoil(out, self._random):
                    at = max(at, self.now + delay)
                    heapq.heappush(self._under_way, (at, next(self._order), other, data))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        self.pump()
        while True:
            deadlines = [link.deadline for link in (self.host, self.instrument) if link.deadline is not None]
            due = min([*deadlines, *(entry[0] for entry in self._under_way[:1])], default=end)
            if due > end:
                break
            if not self._under_way and not deadlines:
                break
            self.now = max(self.now, due)
            if self._under_way and self._under_way[0][0] <= self.now:
                _, _, link, data = heapq.heappop(self._under_way)
                link.feed(data, self.now)
            else:
                self.host.tick(self.now)
                self.instrument.tick(self.now)
            self.pump()
        self.now = end

    def deliver(self, sender: Link, message: bytes, *, tries: int = 100) -> list[bytes]:
        """Send a message until it is Sent, as its owner would; the texts of the session in which it was."""
        receiver = self.host if sender is self.instrument else self.instrument
        for _ in range(tries):
            told = len(self.events[sender])
            sender.start(frames(message), self.now)
            while not any(isinstance(e, Sent | NotSent) for e in self.events[sender][told:]):
                self.run(5.0)
            if any(isinstance(e, Sent) for e in self.events[sender][told:]):
                self.run(1.0)
                return last_session(self.events[receiver])
            self.run(16.0)
        raise AssertionError("the line was too bad")


def last_session(events: Sequence[Event | SenderEvent]) -> list[bytes]:
    """The texts of the frames behind the last Opened that has any."""
    found: list[bytes] = []
    for event in reversed(events):
        if isinstance(event, Frame):
            found.append(event.text)
        elif type(event).__name__ == "Opened" and found:
            break
    return found[::-1]
