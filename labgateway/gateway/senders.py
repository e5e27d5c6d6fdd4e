"""A sender for each destination that this gateway serves: begun from its section, woken, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from labgateway.config import DestinationSection
from labgateway.delivery.ports import Destination, Listener, State
from labgateway.delivery.sender import Health, Sender
from labgateway.delivery.stored import StoredOutbox
from labgateway.gateway import destinations
from labgateway.gateway.nodes import Guarded
from labgateway.gateway.shared import Shared


@dataclass(frozen=True, slots=True)
class _Way:
    section: DestinationSection
    sender: Sender
    task: asyncio.Task[None]
    out: Destination


@dataclass(slots=True)
class Senders:
    """By destination; of one that another node serves there is none."""

    shared: Shared
    _ways: dict[str, _Way] = field(default_factory=dict[str, _Way])

    def __contains__(self, name: str) -> bool:
        return name in self._ways

    def names(self) -> list[str]:
        """Of those that send here."""
        return list(self._ways)

    def section(self, name: str) -> DestinationSection:
        """The section that a sender was made of."""
        return self._ways[name].section

    def begin(self, name: str) -> None:
        """Begin to send to a destination, if it is ours."""
        shared = self.shared
        if not shared.serves(f"destination {name}"):
            return
        section: Any = shared.config.destinations[name]
        out = destinations.destination(shared.config, section, shared.say)
        if shared.nodes is not None:
            out = Guarded(out, shared.nodes.is_valid)
        sender = Sender(
            name, out, StoredOutbox(shared.store, name, utcnow=shared.utcnow), shadow=section.shadow, say=shared.say,
            utcnow=shared.utcnow, **destinations.pace(section),
        )  # fmt: skip
        self._ways[name] = _Way(section, sender, shared.spawn(sender.run(), f"destination {name}"), out)

    async def end(self, name: str) -> None:
        """End it, if there is one: what is not settled is sent again by the next."""
        if (way := self._ways.pop(name, None)) is None:
            return
        way.task.cancel()
        await asyncio.gather(way.task, return_exceptions=True)
        await way.out.close()

    def wake(self, names: Iterable[str]) -> None:
        """There are new deliveries for these."""
        for name in names:
            if name in self._ways:
                self._ways[name].sender.wake()

    def health(self) -> dict[str, Health]:
        """How each fares."""
        return {name: way.sender.health() for name, way in self._ways.items()}

    def accepted(self) -> dict[str, int]:
        """What each has taken since it was begun, of those that answer now."""
        return {name: health.accepted for name, health in self.health().items() if health.state is State.ANSWERING}

    def listeners(self) -> list[Listener]:
        """Destinations that are also told how the gateway stands."""
        return [way.out for way in self._ways.values() if isinstance(way.out, Listener)]
