"""When to try again. Pure: randomness is handed in, time is the caller's.

attempt      1      2      3      4       5        6, 7, ...      by DESIGN 5.5
at most      1 s    2 s    4 s    8 s     16 s     30 s
at least     half of it: the jitter keeps many senders from coming back at the same moment
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """first_s: the longest first wait; it doubles up to longest_s, for ever.

    refusals: a refusal that time may cure (AR; AE with ERR-3 206 or 207) is tried so often, then parked.
    """

    first_s: float = 1.0
    longest_s: float = 30.0
    refusals: int = 5

    def wait_s(self, attempt: int, random: Callable[[], float]) -> float:
        """Seconds to wait after a failed attempt.

        attempt: how many have failed so far in a row, from 1. random: like ``random.random``, 0 <= x < 1.
        """
        doublings = min(max(attempt, 1) - 1, 32)  # attempt 10**6 costs nothing; 32 doublings outgrow any longest_s
        return min(self.longest_s, self.first_s * 2.0**doublings) * (0.5 + 0.5 * random())


AS_DESIGNED = Schedule()
OF_THE_STORE = Schedule(longest_s=4.0)
"""Our own database is near and comes back by itself: what waits for it shall be late by seconds, whatever a destination is
configured to."""


def next_try(attempt: int, random: Callable[[], float]) -> float:
    """``wait_s`` of the usual schedule."""
    return AS_DESIGNED.wait_s(attempt, random)
