"""When to try again. Pure: randomness is handed in, time is the caller's.

attempt      1      2      3      4       5        6, 7, ...
at most      1 s    2 s    4 s    8 s     16 s     30 s
at least     half of it: the jitter keeps many senders from coming back at the same moment
"""

from __future__ import annotations

from collections.abc import Callable

FIRST_S = 1.0
LONGEST_S = 30.0
REFUSALS = 5
"""A refusal that time may cure (AR; AE with ERR-3 206 or 207) is tried so often, then parked."""

_DOUBLINGS = 5  # 2**5 > LONGEST_S / FIRST_S; caps the power, so that attempt 10**6 costs nothing


def next_try(attempt: int, random: Callable[[], float]) -> float:
    """Seconds to wait after a failed attempt.

    attempt: how many have failed so far in a row, from 1. random: like ``random.random``, 0 <= x < 1.
    """
    longest = min(LONGEST_S, FIRST_S * 2.0 ** min(max(attempt, 1) - 1, _DOUBLINGS))
    return longest * (0.5 + 0.5 * random())
