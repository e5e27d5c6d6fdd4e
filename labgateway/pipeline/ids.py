"""Ids that are unique for ever and sort by time: MSH-10 of what we send, OBX-21 of observations.

Twenty characters: ten of milliseconds since 1970, ten of chance (50 bits), in Crockford's base 32.
HL7 v2.5.1 gives MSH-10 twenty characters (2.14.9.10). Nothing is counted, so that no id can come again
after a restored backup or a clock that was set back.
"""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def new_id() -> str:
    """A fresh id of 20 characters."""
    return _ten(time.time_ns() // 1_000_000) + _ten(_chance())


_drawn: list[int] = []
"""Chance of the operating system, drawn ahead: one call for many ids. Never two take the same: ``pop`` is atomic."""
_AT_ONCE = 256
_BYTES = 7  # 56 bits, of which an id takes 50
os.register_at_fork(after_in_child=_drawn.clear)


def _chance() -> int:
    """56 bits."""
    try:
        return _drawn.pop()
    except IndexError:
        data = os.urandom((_AT_ONCE + 1) * _BYTES)
        first, *more = (int.from_bytes(data[at : at + _BYTES]) for at in range(0, len(data), _BYTES))
        _drawn.extend(more)
        return first


def _ten(n: int) -> str:
    """The lowest 50 bits in ten characters."""
    p = _PAIRS
    return p[n >> 40 & 1023] + p[n >> 30 & 1023] + p[n >> 20 & 1023] + p[n >> 10 & 1023] + p[n & 1023]
