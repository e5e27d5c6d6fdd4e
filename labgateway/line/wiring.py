"""What every conversation of one line shares: its name, the journal, the clock, the counters. Knows no protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from labgateway.errors import StoreBrokenError, StoreError
from labgateway.line.arrival import Arrival, Keep, Stats
from labgateway.transports.channel import CallAt, Say, Timer

__all__ = ["CallAt", "Timer", "Wiring"]

RETRY_S = 5.0
UNFINISHED = 16


@dataclass(slots=True)
class Wiring:
    """One line's shared parts.

    ended: a conversation is over, and why. troubled: the store could not take something. clock, call_at: one time
    base in seconds. wall: aware, for MSH-7 of answers. encoding: of the instrument's HL7, by Python's name; None:
    as MSH-18 says. broken: the store said that it cannot be trusted any more; nothing is acknowledged from then on.
    """

    name: str
    keep: Keep
    ended: Callable[[object, str], None]
    troubled: Callable[[], None]
    clock: Callable[[], float]
    call_at: CallAt
    wall: Callable[[], datetime]
    control_id: Callable[[], str]
    say: Say
    max_message_bytes: int
    pending_limit: int
    encoding: str | None = None
    stats: Stats = field(default_factory=Stats)
    broken: bool = False
    made: int = 0
    unfinished: int = 0

    def number(self) -> int:
        """The next number, for a conversation or a key."""
        self.made += 1
        return self.made

    def failed(self, error: StoreError) -> None:
        """Count and say what the store could not take."""
        self.stats.store_errors += 1
        if isinstance(error, StoreBrokenError):
            self.broken = True
        else:
            self.troubled()
        self.say("line.not_stored", instrument=self.name, error=type(error).__name__)

    def keep_unfinished(self, arrival: Arrival) -> None:
        """Keep what nobody waits for an answer to: what a broken session left. Tries again while the store is full.

        At most UNFINISHED of them wait in memory; the instrument was never told that it is safe, so beyond
        that the oldest duty wins and the loss is said.
        """
        if self.unfinished >= UNFINISHED:
            self.say("line.unfinished_lost", instrument=self.name, bytes=len(arrival.data))
            return
        self.unfinished += 1

        def done(error: StoreError | None) -> None:
            if error is None:
                self.unfinished -= 1
                if not arrival.complete:
                    self.stats.incomplete += 1
                return
            self.failed(error)
            if self.broken:
                self.unfinished -= 1
            else:
                self.call_at(self.clock() + RETRY_S, again)

        def again() -> None:
            self.keep(arrival, done)

        again()
