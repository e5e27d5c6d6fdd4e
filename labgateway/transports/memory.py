"""A cable in memory between two sessions, under a simulated clock, as bad as you ask for. For tests and simulation.

    Session A --Channel--> [cut, lose, garble, repeat, delay] --> Session B        and the same way back

Nothing here sleeps and nothing is left to chance: the same seed gives the same day. Bytes keep their
order, as they do on a serial line and in TCP.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from labgateway.transports.channel import OpenSession, Session


class Timer:
    """A call that is due at a time, until it is cancelled."""

    __slots__ = ("_call", "when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """It will not be called."""
        self._call = None

    def fire(self) -> None:
        """Call it, unless it was cancelled."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Scheduler:
    """A clock that stands still until it is told to go on. ``now`` and ``call_at`` as the event loop has them."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._order = itertools.count()
        self._due: list[tuple[float, int, Timer]] = []

    def now(self) -> float:
        """Seconds."""
        return self._now

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        """Call at that time; calls of one time run in the order they were asked for."""
        timer = Timer(max(when, self._now), call)
        heapq.heappush(self._due, (timer.when, next(self._order), timer))
        return timer

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call after so many seconds."""
        return self.call_at(self._now + seconds, call)

    def run_until(self, when: float) -> None:
        """Let time pass up to that moment, whatever is due on the way."""
        while self._due and self._due[0][0] <= when:
            at, _, timer = heapq.heappop(self._due)
            self._now = at
            timer.fire()
        self._now = max(self._now, when)

    def run_for(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.run_until(self._now + seconds)


@dataclass(frozen=True, slots=True)
class Faults:
    """How bad one direction of a cable is.

    lose, garble: chance for each byte. Several in one frame may cancel out in ASTM's checksum of eight bits, and
    nobody can see that. hurt: chance that a chunk has exactly one byte lost or changed, which a receiver must see.
    never: what a chunk of one byte is not changed into, because nobody could see that (NAK into ACK).
    repeat: chance that a chunk comes twice. cut: chance that a chunk arrives in pieces. delay_s: shortest and
    longest time on the way. part: chance for each chunk that the cable is torn out there.
    """

    lose: float = 0.0
    garble: float = 0.0
    repeat: float = 0.0
    cut: float = 0.0
    delay_s: tuple[float, float] = (0.0, 0.0)
    part: float = 0.0
    hurt: float = 0.0
    never: bytes = b""


NO_FAULTS = Faults()


class Cable:
    """One connection between two sessions. a and b open the ends; a's first.

    to_b, to_a: faults of each direction; ``faults`` can be changed on the way. torn: how it ended, "" while up.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        a: OpenSession,
        b: OpenSession,
        *,
        random: Random | None = None,
        to_b: Faults = NO_FAULTS,
        to_a: Faults = NO_FAULTS,
    ) -> None:
        self.scheduler = scheduler
        self.random = random or Random(0)  # noqa: S311  a simulation wants a seed, not secrecy
        self.torn = ""
        self.end_a = End(self, "memory:a", to_a)
        self.end_b = End(self, "memory:b", to_b)
        self.end_a.other, self.end_b.other = self.end_b, self.end_a
        self.end_a.session = a(self.end_a)
        self.end_b.session = b(self.end_b)

    def tear(self, why: str = "the cable was torn out") -> None:
        """Both ends are told at once; what is on the way is lost."""
        if self.torn:
            return
        self.torn = why
        for end in (self.end_a, self.end_b):
            session, end.session = end.session, None
            if session is not None:
                session.disconnected(why)


class End:
    """One end: a Channel for the session that sits there. faults: of what arrives here."""

    def __init__(self, cable: Cable, peer: str, faults: Faults) -> None:
        self.peer = peer
        self.faults = faults
        self.session: Session | None = None
        self.other: End = self
        self.received: bytearray = bytearray()
        """All bytes that arrived, in order."""
        self._cable = cable
        self._last_at = 0.0
        self._inbox: deque[bytes] = deque()
        self._paused = False

    def send(self, data: bytes) -> None:
        """See Channel."""
        if not self._cable.torn and data:
            self.other.arrive(data)

    def pause(self) -> None:
        """See Channel."""
        self._paused = True

    def resume(self) -> None:
        """See Channel."""
        if self._paused:
            self._paused = False
            self._cable.scheduler.call_later(0.0, self._drain)

    def close(self) -> None:
        """See Channel."""
        self._cable.scheduler.call_at(self.other._last_at, lambda: self._cable.tear("closed by the peer"))

    def abort(self) -> None:
        """See Channel."""
        self._cable.tear("closed by the peer")

    def arrive(self, data: bytes) -> None:
        """Put bytes on the way to this end, with all that can happen to them."""
        random, faults, scheduler = self._cable.random, self.faults, self._cable.scheduler
        if faults.part and random.random() < faults.part:
            scheduler.call_later(0.0, self._cable.tear)
            data = data[: random.randrange(len(data) + 1)]
        if faults.lose or faults.garble:
            data = bytes(
                random.randrange(256) if faults.garble and random.random() < faults.garble else byte
                for byte in data
                if not (faults.lose and random.random() < faults.lose)
            )
        if faults.hurt and data and random.random() < faults.hurt:
            at = random.randrange(len(data))
            other = (data[at] + random.randrange(1, 256)) % 256
            changed = random.random() < 0.5 and not (len(data) == 1 and other in faults.never)
            data = data[:at] + (bytes([other]) if changed else b"") + data[at + 1 :]
        if faults.repeat and random.random() < faults.repeat:
            data += data
        pieces = [data]
        if faults.cut and len(data) > 1 and random.random() < faults.cut:
            at = sorted(random.sample(range(1, len(data)), random.randint(1, min(4, len(data) - 1))))
            pieces = [data[i:j] for i, j in itertools.pairwise([0, *at, len(data)])]
        for piece in pieces:
            if piece:
                self._last_at = max(self._last_at, scheduler.now() + random.uniform(*faults.delay_s))
                scheduler.call_at(self._last_at, lambda piece=piece: self._deliver(piece))

    def _deliver(self, data: bytes) -> None:
        self._inbox.append(data)
        self._drain()

    def _drain(self) -> None:
        while self._inbox and not self._paused and self.session is not None:
            data = self._inbox.popleft()
            self.received += data
            self.session.received(data)
