"""A journal and an analyzer for the tests of lines, under a simulated clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any

from labgateway.errors import StoreError
from labgateway.line import Arrival, Control, Kept, Line
from labgateway.protocols.astm_frames import ACK, ENQ, EOT, NAK, frames
from labgateway.transports.channel import Channel
from labgateway.transports.memory import NO_FAULTS, Cable, Faults, Scheduler


class Journal:
    """Commits each arrival after delay_s, or fails with the next of ``errors``. delay_s None: at once, inside keep."""

    def __init__(self, scheduler: Scheduler, delay_s: float | None = 0.005) -> None:
        self.scheduler = scheduler
        self.delay_s = delay_s
        self.errors: list[StoreError | None] = []
        self.asked: list[Arrival] = []
        self.rows: dict[str, Arrival] = {}
        self.on_commit: Callable[[Arrival], None] = lambda arrival: None

    def keep(self, arrival: Arrival, kept: Kept) -> None:
        self.asked.append(arrival)
        error = self.errors.pop(0) if self.errors else None
        if self.delay_s is None:
            self._commit(arrival, kept, error)
        else:
            self.scheduler.call_later(self.delay_s, lambda: self._commit(arrival, kept, error))

    def _commit(self, arrival: Arrival, kept: Kept, error: StoreError | None) -> None:
        if error is None:
            assert arrival.key
            before = self.rows.get(arrival.key)
            if arrival.control is Control.PART and before is not None:
                arrival = replace(arrival, data=before.data + arrival.data)
            else:
                assert before is None or before.control is Control.PART, "a whole arrival was stored twice"
            self.rows[arrival.key] = arrival
            self.on_commit(arrival)
        kept(error)

    def complete(self) -> list[bytes]:
        return [row.data for row in self.rows.values() if row.complete]

    def incomplete(self) -> list[Arrival]:
        return [row for row in self.rows.values() if not row.complete]


class Tape:
    """A Session at the instrument's end that only records; write to ``channel`` by hand."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.heard = b""
        self.gone: list[str] = []

    def received(self, data: bytes) -> None:
        self.heard += data

    def disconnected(self, why: str) -> None:
        self.gone.append(why)


class Analyzer(Tape):
    """Sends messages as LIS01-A2 wants it: one frame at a time, repeated on NAK or silence, six tries, then EOT."""

    def __init__(self, channel: Channel, scheduler: Scheduler, sessions: Iterable[Iterable[bytes]]) -> None:
        super().__init__(channel)
        self._scheduler = scheduler
        self._sessions = [list(session) for session in sessions]
        self._at = -1
        self._tries = 0
        self._timer: Any = None
        self._resting = False
        """Neither asking nor sending: no answer is awaited, so none means anything."""
        self.acknowledged: list[bytes] = []
        """Frames that we may forget, in order."""
        self.failed = 0
        self.done = False

    def begin(self) -> None:
        if not self._sessions or self.gone:
            self.done = not self.gone
            return
        self._at, self._tries = -1, 0
        self._resting = False
        self._send(ENQ)

    def _send(self, data: bytes) -> None:
        self.channel.send(data)
        self._wait(15.0, self._again)

    def _wait(self, seconds: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._scheduler.call_later(seconds, call)

    def _rest(self, seconds: float) -> None:
        self._resting = True
        self._wait(seconds, self.begin)

    def _again(self) -> None:
        # Silence: the standard ends the session, the message stays ours and is sent again as a whole.
        if not self.gone:
            self.failed += 1
            self.channel.send(EOT)
            self._rest(10.0)

    def received(self, data: bytes) -> None:
        super().received(data)
        if self.done or self._resting or not self._sessions:
            return
        session = self._sessions[0]
        answer = data[-1:]
        if answer == ACK:
            if self._at >= 0:
                self.acknowledged.append(session[self._at])
            self._at += 1
            self._tries = 0
            if self._at == len(session):
                self._sessions.pop(0)
                self.channel.send(EOT)
                self._rest(0.01)
            else:
                self._send(session[self._at])
        elif self._at < 0:
            self._rest(10.0)
        else:
            self._tries += 1
            if self._tries >= 6:
                self._again()
            else:
                self._send(session[self._at])

    def disconnected(self, why: str) -> None:
        super().disconnected(why)
        if self._timer is not None:
            self._timer.cancel()


def message(number: int = 0, results: int = 3) -> bytes:
    """An ASTM message with its own specimen."""
    rows = [b"H|\\^&|||Example^1", b"P|1", b"O|1|S%04d||^^^WBC" % number]
    rows += [b"R|%d|^^^T%d|%d.%d|10*9/L||N||F" % (i, i, number, i) for i in range(1, results + 1)]
    return b"\r".join([*rows, b"L|1|N", b""])


def session(*messages: bytes, size: int = 63_993, packed: bool = False) -> list[bytes]:
    """The frames of one session; numbers go on over its messages."""
    out: list[bytes] = []
    for text in messages:
        out += frames(text, size=size, first=len(out) + 1, packed=packed)
    return out


def line(scheduler: Scheduler, journal: Journal, protocol: Any = "astm", **options: Any) -> Line:
    return Line(
        "xn1",
        protocol,
        journal.keep,
        clock=scheduler.now,
        call_at=scheduler.call_at,
        wall=lambda: datetime(2026, 11, 22, 8, 0, tzinfo=UTC),
        control_id=lambda: "C1",
        **options,
    )


def taped(
    scheduler: Scheduler, gateway: Line, *, random: Random | None = None, to_host: Faults = NO_FAULTS
) -> tuple[Cable, Tape]:
    tapes: list[Tape] = []

    def open_tape(channel: Channel) -> Tape:
        tapes.append(Tape(channel))
        return tapes[0]

    cable = Cable(scheduler, open_tape, gateway.open, random=random, to_b=to_host)
    return cable, tapes[0]


__all__ = ["ACK", "ENQ", "EOT", "NAK", "Analyzer", "Journal", "Tape", "line", "message", "session", "taped"]
