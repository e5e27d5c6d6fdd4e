"""What a line hands to the journal, and what it counts. Values only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from labgateway.errors import StoreError


class Control(StrEnum):
    """Whether an arrival stands for itself.

    WHOLE: all there is under its key; where parts came before under the same key, it replaces them.
    PART: bytes to append to what was kept under the same key; a WHOLE follows unless the process dies.
    """

    WHOLE = "whole"
    PART = "part"


@dataclass(frozen=True, slots=True)
class Arrival:
    """Something to keep: a message, what a broken session left of one, or a part of one.

    data: as received. ASTM: accepted frames, each STX to CR LF, one behind another, without ENQ and EOT.
    HL7: the content of the block, without VT and FS. complete: it may be decoded and delivered; why: in
    plain words why not, empty when complete. key: joins the parts of one message, unique in this process.
    answer: an instrument's answer to something we sent (ACK, ORL): no results in it. conversation: number
    of the connection it came on, for whoever wants to answer on the same one. once: when the same bytes of this
    instrument are kept already, they are not kept again.
    """

    instrument: str
    protocol: str
    peer: str
    data: bytes
    complete: bool
    why: str = ""
    control: Control = Control.WHOLE
    key: str = ""
    answer: bool = False
    conversation: int = 0
    once: bool = False


Kept = Callable[[StoreError | None], None]
"""Called in the event loop when an arrival is on disk (None) or could not be stored."""

Keep = Callable[[Arrival, Kept], None]
"""Stores one arrival and calls back exactly once, after the commit. Must not raise; calls back in order."""


Told = Callable[[str], None]
"""Called in the event loop, exactly once, when a message of ours was sent ("") or was not, and why (plain words)."""


class Refused(str):
    """Why a message of ours was not taken: the instrument has it and does not want what is in it. Sending it again is
    no help. The text: its own codes."""

    __slots__ = ()


@dataclass(slots=True)
class Stats:
    """What one line has seen since it was made. Times are the line's clock in seconds, None when never.

    frames: good ASTM frames. naks: frames or calls refused, for whatever reason. messages: complete ones
    that are on disk. incomplete: kept, but without an end. broken: sessions that did not end by their
    rules. store_errors: arrivals the store could not take. sent: messages of ours that the instrument took; not_sent:
    tries that it did not take.
    """

    connections: int = 0
    connected_at: float | None = None
    last_byte_at: float | None = None
    last_message_at: float | None = None
    messages: int = 0
    incomplete: int = 0
    frames: int = 0
    naks: int = 0
    broken: int = 0
    store_errors: int = 0
    sent: int = 0
    not_sent: int = 0
