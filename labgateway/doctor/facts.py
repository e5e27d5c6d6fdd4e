"""What is known of a line: how it is configured, how it stands, what was heard on it, what its results came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Way = Literal["from", "to"]


@dataclass(frozen=True, slots=True)
class Heard:
    """Bytes on a line. at: seconds of any clock. way: from the instrument, or to it."""

    at: float
    way: Way
    data: bytes
    connection: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """What was heard in the time of watching. All counts.

    seems: astm, hl7, raw, tls, web, text or "" by the shape of what came; garbage: share of bytes that no protocol of
    instruments has. frames: whole frames, or blocks; bad_checksums, no_checksums of them. repeats: the same frame or
    the same message control id again. contentions: both sides said ENQ within 2 s. naks: of ours to the instrument;
    refused: of the instrument to ours. senders: as it calls itself. known_by: drivers that know this sender. clock_s:
    how many seconds its clock is ahead of ours, None when no message says a time. marked: messages with bytes that
    their encoding does not know. results, no_specimen: results and those without a specimen id.
    """

    bytes_from: int = 0
    bytes_to: int = 0
    seems: str = ""
    garbage: float = 0.0
    frames: int = 0
    bad_checksums: int = 0
    no_checksums: int = 0
    enquiries: int = 0
    acks: int = 0
    naks: int = 0
    refused: int = 0
    repeats: int = 0
    contentions: int = 0
    messages: int = 0
    senders: tuple[str, ...] = ()
    sender_fits: bool = True
    known_by: tuple[str, ...] = ()
    clock_s: float | None = None
    marked: int = 0
    results: int = 0
    no_specimen: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything about one line.

    kind, host, port, device, allow: the line section. protocol, driver: what is expected; checks: its frames have
    checksums. served: a running gateway holds the line (False: the doctor held it and acknowledged nothing). connected:
    somebody is; called: connections in the time of watching. trouble: of the transport, in words. turned_away: callers
    refused; last_refused: why and who. listens: the instrument's address takes calls on our port (we both wait). calls:
    the instrument calls us although we call it. parks: why everything of it parks. parked: reason to how many, of the
    last day; stored: results of the last day. last_message_h: hours since the last message, None: there is none. best: of
    --try, the serial settings that fit best.
    """

    instrument: str
    kind: Literal["tcp-listen", "tcp", "serial", "folder"]
    protocol: str
    driver: str
    host: str = ""
    port: int = 0
    device: str = ""
    setting: str = ""
    allow: tuple[str, ...] = ()
    checks: bool = True
    served: bool = True
    watched_s: float = 0.0
    connected: bool = False
    called: int = 0
    trouble: str = ""
    turned_away: int = 0
    last_refused: str = ""
    listens: bool = False
    calls: bool = False
    parks: str = ""
    parked: Mapping[str, int] = field(default_factory=dict[str, int])
    stored: int = 0
    last_message_h: float | None = None
    encoding: str = ""
    best: str = ""
    best_fits: bool = False
    observed: Observed = Observed()
