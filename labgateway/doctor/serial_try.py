"""Which serial settings fit: what was heard under each is scored by how much it looks like an instrument's talk."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from labgateway.doctor.observing import shape_of
from labgateway.protocols import astm_frames

USUAL = tuple(
    (baud, bits, parity)
    for bits, parity in ((8, "none"), (7, "even"), (8, "even"), (7, "odd"), (8, "odd"))
    for baud in (9600, 19200, 4800, 2400, 38400, 115200, 1200, 57600)
)
"""What instruments are delivered with, the usual first."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How a port was set, and what was heard."""

    baud: int
    bits: int
    parity: str
    data: bytes = b""

    def __str__(self) -> str:
        """``9600 8N1``, and as config.toml has it."""
        return f'baud = {self.baud}, bits = {self.bits}, parity = "{self.parity}"'


def score(data: bytes) -> float:
    """0: nothing, or noise; near 1: an instrument talks. A good checksum counts more than all else."""
    if not data:
        return 0.0
    for found in re.finditer(rb"\x02([^\x02\x03\x17]+[\x03\x17])([0-9A-Fa-f]{2})", data):
        if astm_frames.checksum(found[1]) == found[2].upper():
            return 1.0
    plain = sum(byte in b"\x02\x03\x04\x05\x06\r\n\x0b\x1c\x17" or 0x20 <= byte < 0x7F for byte in data) / len(data)
    if plain < 0.9:
        return 0.3 * plain
    if shape_of(data):
        return 0.8
    if set(data) <= {0x05, 0x04}:
        return 0.7
    return 0.4 * plain


def best(tried: Iterable[Setting]) -> tuple[Setting | None, bool]:
    """The setting that fits best, the earlier of equals; and whether it fits well enough to say so."""
    found = max(((score(one.data), -n, one) for n, one in enumerate(tried)), default=None, key=lambda each: each[:2])
    if found is None or found[0] == 0.0:
        return None, False
    return found[2], found[0] >= 0.7
