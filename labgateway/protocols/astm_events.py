"""What the ASTM machines say: values only. astm_receiver and astm_sender make them, line.py acts on them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Why(StrEnum):
    """Why a session broke."""

    TIMEOUT = "nothing came for 30 s"
    RESTARTED = "the instrument began anew"
    LOST = "the connection was lost"
    QUIET = "it did not go on for 10 s"
    FLOOD = "the instrument does not wait for answers"


@dataclass(frozen=True, slots=True)
class Opened:
    """The instrument asked and we agreed: a session begins."""


class Frame(NamedTuple):
    """A good new frame, not yet answered: accept() or refuse() is due.

    A tuple because it is made for each frame, at a third of the price of a frozen dataclass.

    number: as sent, 0 to 7; 0 where none is sent. text: without the number. last: ETX and not ETB.
    raw: as received, STX to the checksum (to ETX or ETB where there is none); line ends behind it not.
    """

    number: int
    text: bytes
    last: bool
    raw: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The instrument ended the session with EOT."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The session ended without EOT; a message that was not complete will not be."""

    why: Why


@dataclass(frozen=True, slots=True)
class Noise:
    """Bytes that belong to nothing, up to here: how many, and the first of them. May hold patient data."""

    length: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A text of a raw framing that will not come whole, and that nobody will send again. May hold patient data."""

    data: bytes
    why: str


class NotSentWhy(StrEnum):
    """Why a message of ours did not arrive whole; it has to be sent again from its beginning."""

    SILENT = "no answer to our enquiry"
    BUSY = "the instrument refused every enquiry"
    CONTENTION = "the instrument had the line each time"
    NO_ANSWER = "no answer to a frame"
    REFUSED = "a frame was refused each time"
    INTERRUPTED = "the instrument asked for the line"
    LOST = "the connection was lost"
    CANCELLED = "we no longer wanted to send it"


@dataclass(frozen=True, slots=True)
class Sent:
    """Every frame of our message was acknowledged and the session ended."""


@dataclass(frozen=True, slots=True)
class NotSent:
    """Our message was given up. frames: how many of its frames were acknowledged."""

    why: NotSentWhy
    frames: int


Event = Opened | Frame | Closed | Broken | Noise
"""What a receiver says."""
SenderEvent = Sent | NotSent
"""What a sender says."""
RawEvent = Event | Unfinished | SenderEvent
"""What the machine of a raw framing says; of a message of ours, a text, only when its answer is awaited."""
