"""What is true of one instrument's ASTM line, and whether a transmission is a frame by these rules.

Pure: no state, no time. The paragraph numbers are those of NCCLS LIS1-A; E1381-95 has the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from labgateway.protocols.astm_frames import byte_sum


class Checksums(StrEnum):
    """Whether frames carry a checksum. OPTIONAL gives up knowing a damaged frame where there is none, but one that is
    there must be right; only for instruments that send none.
    """

    REQUIRED = "required"
    OPTIONAL = "optional"


class Framing(StrEnum):
    """How messages are framed. TOKENS, RECORDS: without frames, see astm_bare."""

    FRAMES = "frames"
    TOKENS = "tokens"
    RECORDS = "records"


class Numbers(StrEnum):
    """What frame numbers are good for.

    STRICT: each frame has the number that is due (6.3.2). LOOSE: there is a digit, but it may be any
    (seen from Yumizen H500 firmware 2.2.2.2b behind frames of 26,000 bytes). ABSENT: none is sent.
    """

    STRICT = "strict"
    LOOSE = "loose"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class LinkRules:
    """What is true of one instrument's line; the defaults are the standard's. Times in seconds.

    acks_eot: EOT is answered with ACK too (Maglumi waits for it). acks_contention: an ENQ that meets
    ours is answered with ACK at once (cobas e 411, Host Interface Manual, "Link Contention").
    host: we are the computer system and give way in contention; False plays the instrument.
    """

    checksums: Checksums = Checksums.REQUIRED
    numbers: Numbers = Numbers.STRICT
    framing: Framing = Framing.FRAMES
    silence_s: float = 2.0
    """With RECORDS: what is silent for so long has ended."""
    max_frame_bytes: int = 65_536
    """A longer frame is refused. LIS01-A2 6.3.1 allows 64,000; a little more costs nothing."""
    acks_eot: bool = False
    acks_contention: bool = False
    host: bool = True
    receiver_s: float = 30.0
    """How long the receiver waits for a frame or EOT (6.5.2.4)."""
    answer_s: float = 15.0
    """How long the sender waits for an answer (6.5.2.1, 6.5.2.3)."""
    busy_s: float = 10.0
    """Pause of a sender whose ENQ was refused (6.2.6)."""
    contention_s: float = 20.0
    """How long the host waits for the instrument's ENQ after a contention (6.2.7.1)."""
    instrument_contention_s: float = 1.0
    """How long the instrument waits before it asks again (6.2.7.1)."""
    interrupt_s: float = 15.0
    """Pause of a sender who stopped on request (6.3.5.2)."""
    tries: int = 6
    """How often a frame is sent (6.5.1.2) and an ENQ that is refused."""


class Fault(StrEnum):
    """Why a transmission was answered with NAK."""

    CHECKSUM = "wrong checksum"
    NO_CHECKSUM = "no checksum"
    NUMBER = "wrong frame number"
    TOO_LONG = "too long"
    UNFINISHED = "it did not end"
    NO_START = "it has an end and no start"
    REFUSED = "could not be stored"
    BUSY = "enquiry while we were busy"


HEX = {
    bytes((high, low)): int(bytes((high, low)), 16)
    for high in b"0123456789ABCDEFabcdef"
    for low in b"0123456789ABCDEFabcdef"
}
"""What two hex digits mean, upper or lower case."""


def matches(data: bytes, sent: bytes) -> bool:
    """Whether two hex digits, upper or lower case, are the checksum of data (6.3.3)."""
    return HEX.get(sent) == byte_sum(data)


def size(data: bytes | bytearray, end: int, rules: LinkRules, *, settled: bool = False) -> int:
    """The length of a transmission with its checksum; 0 when that has not come yet. end: where its ETX or ETB stands.

    Two bytes are a required checksum whatever they are: a damaged digit is no sign of anything else. An optional one is
    two hex digits; settled: they would be here by now.
    """
    if rules.checksums is Checksums.REQUIRED:
        return end + 3 if len(data) >= end + 3 else 0
    behind = bytes(data[end + 1 : end + 3])
    if behind in HEX:
        return end + 3
    return end + 1 if settled or any(byte not in _DIGITS for byte in behind) else 0


_DIGITS = b"0123456789ABCDEFabcdef"


def damage(raw: bytes, end: int, rules: LinkRules) -> Fault | None:
    """What is wrong with a transmission by itself; None when nothing is. raw: STX to checksum; end: its ETX or ETB."""
    if end > rules.max_frame_bytes:
        return Fault.TOO_LONG
    checked = rules.checksums is Checksums.REQUIRED or len(raw) > end + 1
    if checked and not matches(raw[1 : end + 1], raw[end + 1 :]):
        return Fault.CHECKSUM if raw[end + 1 :] in HEX else Fault.NO_CHECKSUM
    if rules.numbers is not Numbers.ABSENT and raw[1] not in b"01234567":
        return Fault.NUMBER
    return None
