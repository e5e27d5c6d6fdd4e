"""What is played, what goes wrong on request, and how it went. Values only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from labgateway.protocols.astm_frames import MAX_TEXT
from labgateway.protocols.raw_framing import FRAMINGS

__all__ = ["FAULTS", "MAX_TEXT", "Fault", "Script", "Summary", "with_specimen"]

TRICKLE_S = 0.002


class Fault(StrEnum):
    """What goes wrong on request, once a message; then it is said right.

    BAD_CHECKSUM: a frame is damaged, its repeat is not. CUT: the connection is lost inside a frame. TRICKLE: one
    byte at a time. DUPLICATE: a frame comes again as if its ACK had been lost. LOST_ACK: the last acknowledgment
    is not heard, so the whole message comes again on a new connection. TWICE: somebody at the instrument sends it
    again. NOISE: bytes that belong to nothing stand before the session. CONTENTION: the host's ENQ is answered with
    ENQ. NO_END: the message stops before its L (ASTM), its FS (HL7), its ETX, and then comes whole.
    """

    BAD_CHECKSUM = "bad-checksum"
    CUT = "cut"
    TRICKLE = "trickle"
    DUPLICATE = "duplicate"
    LOST_ACK = "lost-ack"
    TWICE = "twice"
    NOISE = "noise"
    CONTENTION = "contention"
    NO_END = "no-end"


_EVERYWHERE = (Fault.CUT, Fault.TRICKLE, Fault.DUPLICATE, Fault.LOST_ACK, Fault.TWICE, Fault.NOISE, Fault.NO_END)
FAULTS: dict[str, tuple[Fault, ...]] = {
    "astm": tuple(Fault),
    "hl7": _EVERYWHERE,
    "file": (Fault.CUT, Fault.TWICE),
    **dict.fromkeys(FRAMINGS, (Fault.BAD_CHECKSUM, *_EVERYWHERE)),
}
"""Which faults each protocol knows. A file's CUT: it is seen half written before it is whole."""


@dataclass(frozen=True, slots=True)
class Script:
    """What is played.

    messages: ASTM records or HL7 segments without framing; transmissions of a raw protocol as they go over the wire.
    frame_bytes: text bytes a frame; packed: as many records in a frame as fit. linger_s: how long to wait for what the
    host still sends when all is said; answers: when so many have come, no longer. every_s: seconds between the
    beginnings of two messages. tokens: ASTM without frames, see protocols/astm_bare. byte_s: seconds a byte of a TRICKLE;
    paced: everything is sent at that pace, as a serial line would.
    """

    messages: tuple[bytes, ...]
    protocol: str
    frame_bytes: int = MAX_TEXT
    packed: bool = False
    tokens: bool = False
    fault: Fault | None = None
    linger_s: float = 0.05
    answers: int = 0
    every_s: float = 0.0
    byte_s: float = TRICKLE_S
    paced: bool = False


@dataclass(slots=True)
class Summary:
    """How it went. failed: messages the host never accepted. naks: refusals seen. answers: what the host sent.

    answers: texts of ASTM sessions that the host opened; HL7 messages that are no acknowledgment; raw texts.
    """

    messages: int = 0
    failed: int = 0
    frames: int = 0
    naks: int = 0
    connections: int = 0
    seconds: float = 0.0
    answers: list[bytes] = field(default_factory=list[bytes])


def with_specimen(message: bytes, found: Iterable[str], wanted: str) -> bytes:
    """The message with every specimen id that was found in it replaced, wherever it stands."""
    for old in sorted({old for old in found if old}, key=len, reverse=True):
        message = message.replace(old.encode(), wanted.encode())
    return message
