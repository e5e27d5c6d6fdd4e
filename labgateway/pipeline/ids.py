"""Ids that are unique for ever and sort by time: MSH-10 of what we send, OBX-21 of observations.

Twenty characters: ten of milliseconds since 1970, ten of chance (50 bits), in Crockford's base 32.
HL7 v2.5.1 gives MSH-10 twenty characters (2.14.9.10). Nothing is counted, so that no id can come again
after a restored backup or a clock that was set back.
"""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id() -> str:
    """A fresh id of 20 characters."""
    number = (time.time_ns() // 1_000_000) << 50 | secrets.randbits(50)
    out: list[str] = []
    for _ in range(20):
        out.append(_ALPHABET[number & 31])
        number >>= 5
    return "".join(reversed(out))
