"""What became of one attempt to deliver. The question is not "did it fail" but "could it succeed later".

Words come from the destination and may hold patient data: they belong into the store, never into a log.
``why`` is ours and holds none.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accepted:
    """The destination has taken it. words: what it said, often empty."""

    words: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The destination answered this very delivery with no. may_retry: time alone could change its mind."""

    words: str
    may_retry: bool = False


@dataclass(frozen=True, slots=True)
class Silent:
    """It was (or may have been) sent, and no usable answer came: it may have arrived. Try again for ever.

    wait_s: the destination asks for that much time first, seconds; None: it asks for none.
    """

    why: str
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No connection: nothing of it was sent. Try again for ever."""

    why: str


Outcome = Accepted | Refused | Silent | Unreachable
