"""Ids that are unique for ever and sort by time: MSH-10 of what we send, OBX-21 of observations.

Twenty characters: ten of milliseconds since 1970, ten of chance (50 bits), in Crockford's base 32.
HL7 v2.5.1 gives MSH-10 twenty characters (2.14.9.10). Nothing is counted, so that no id can come again
after a restored backup or a clock that was set back.
"""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def new_id() -> str:
    """A fresh id of 20 characters."""
    return _ten(time.time_ns() // 1_000_000) + _ten(secrets.randbits(50))


def _ten(n: int) -> str:
    """The lowest 50 bits in ten characters."""
    p = _PAIRS
    return p[n >> 40 & 1023] + p[n >> 30 & 1023] + p[n >> 20 & 1023] + p[n >> 10 & 1023] + p[n & 1023]
