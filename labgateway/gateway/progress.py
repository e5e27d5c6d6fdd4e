"""How fast the backlog of each destination goes down, from counts of the last minutes: shown by `labgateway status`.

The remaining time is what waits divided by how much less it became a minute, new results of today counted in. It is said
only after a minute of looking, and only while the backlog shrinks; from before the last outage of the destination nothing is counted.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from labgateway.errors import StoreError
from labgateway.gateway.tally import Counted

EVERY_S = 15.0
_KEPT_S = 300.0
_LEAST_S = 60.0


@dataclass(frozen=True, slots=True)
class Standing:
    """at_s: of a clock that only goes on. waiting: deliveries in the store. accepted: since the process began."""

    at_s: float
    waiting: int
    accepted: int


@dataclass(frozen=True, slots=True)
class Pace:
    """Deliveries a minute: accepted, and by how many fewer wait (negative: more and more). minutes: until none waits, at
    this pace; None: it does not get there.
    """

    accepted: float
    fewer: float
    minutes: float | None


def pace(history: list[Standing]) -> Pace | None:
    """None: not looked at for long enough."""
    if not history or history[-1].at_s - history[0].at_s < _LEAST_S:
        return None
    first, last = history[0], history[-1]
    minutes = (last.at_s - first.at_s) / 60
    fewer = (first.waiting - last.waiting) / minutes
    left = 0.0 if not last.waiting else last.waiting / fewer if fewer > 0 else None
    return Pace((last.accepted - first.accepted) / minutes, fewer, left)


def words(waiting: int, found: Pace | None, *, answering: bool) -> str:
    """For the status page; empty: nothing to say, since hardly anything waits (less than what arrives in a minute)."""
    if not answering or not waiting or (found is not None and waiting <= max(60.0, found.accepted)):
        return ""
    if found is None:
        return "" if waiting <= 60 else "pace not known yet"
    sent = f"{found.accepted:.0f} a minute"
    if found.minutes is None:
        return f"{sent}, and it does not get less"
    return f"{sent}, {_about(found.minutes)} left"


def _about(minutes: float) -> str:
    """Rounded up; no more exact than it is known."""
    if minutes <= 90:
        return f"about {max(1, math.ceil(minutes))} min"
    if minutes <= 48 * 60:
        return f"about {math.ceil(minutes / 60)} h"
    return f"about {math.ceil(minutes / 1440)} days"


class Progress:
    """The history of each destination. waiting: how many wait, by name; when that took long, as it stood a while ago.

    ways: accepted so far by name, of those which answer now.
    """

    def __init__(
        self, waiting: Callable[[], Awaitable[Counted[dict[str, int]]]], ways: Callable[[], Mapping[str, int]]
    ) -> None:
        """Starts nothing; ``run`` does."""
        self._waiting = waiting
        self._ways = ways
        self._history: dict[str, deque[Standing]] = {}

    async def run(self) -> None:
        """Look, for ever."""
        seen = -math.inf
        while True:
            try:
                found = await self._waiting()
            except StoreError:
                pass  # said elsewhere
            else:
                if found.at_s > seen:  # else it is the last one again: what was accepted since has no count beside it
                    seen = found.at_s
                    self.note(found.at_s, found.value, self._ways())
            await asyncio.sleep(EVERY_S)

    def note(self, at_s: float, waiting: Mapping[str, int], accepted: Mapping[str, int]) -> None:
        """How it stands now. accepted: of those that answer; the history of any other is forgotten."""
        for name in self._history.keys() - accepted.keys():
            del self._history[name]
        for name, count in accepted.items():
            history = self._history.setdefault(name, deque())
            if history and count < history[-1].accepted:
                history.clear()  # opened anew
            history.append(Standing(at_s, waiting.get(name, 0), count))
            while len(history) > 2 and at_s - history[0].at_s > _KEPT_S:
                history.popleft()

    def words(self, name: str, waiting: int, *, answering: bool) -> str:
        """See ``words``."""
        return words(waiting, pace(list(self._history.get(name, ()))), answering=answering)
