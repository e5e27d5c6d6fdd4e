"""What a voice knows of the player it speaks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from labgateway.simulator.script import Fault, Script, Summary
from labgateway.transports.channel import Channel, Timer


class Stage(Protocol):
    """The player, as its voices see it. tell: hears in a few words what happens."""

    script: Script
    summary: Summary
    tell: Callable[[str], None]

    def now(self) -> float:
        """Seconds of the clock in use."""
        ...

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call after so many seconds."""
        ...

    def put(self, channel: Channel, data: bytes) -> None:
        """Send, at the pace of the script."""
        ...

    def fault(self, fault: Fault) -> bool:
        """Whether this fault is due now; it is, once for each message."""
        ...

    def said(self, voice: Any, *, good: bool, why: str = "", again_s: float = 0.0, over: bool = True) -> None:
        """How a message went."""
        ...

    def answered(self) -> None:
        """The host has sent something of its own."""
        ...
