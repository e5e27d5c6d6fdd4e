"""Everything by which this gateway meets the world: destinations, sources of orders, lines. Opened in this order."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from labgateway.gateway.doors import Doors
from labgateway.gateway.lines import Lines
from labgateway.gateway.senders import Senders
from labgateway.gateway.shared import Shared

_PORT_RETRY_S = 10.0


@dataclass(frozen=True, slots=True)
class Openings:
    """What is open, and what opens and closes it."""

    shared: Shared
    lines: Lines
    doors: Doors
    senders: Senders

    async def open_missing(self, *, must: Collection[str] = ()) -> None:
        """Open what the config of now names, this node serves, and is not open.

        must: sections (``instrument.NAME``, ``orders.NAME``) that are not to be lived without: of these, one that cannot
        be opened raises LabgatewayError. Any other is said and costs only itself.
        """
        config = self.shared.config
        for name in config.destinations:
            if name not in self.senders:
                self.senders.begin(name)
        for name in config.orders:
            if name not in self.doors:
                await self.doors.open_one(name, must=f"orders.{name}" in must)
        for name in config.instruments:
            if name not in self.lines.open:
                await self.lines.open_one(name, must=f"instrument.{name}" in must)

    async def open_shut(self) -> None:
        """Try again to open the ports that were in use, for ever."""
        lines, doors = self.lines, self.doors
        while True:
            await asyncio.sleep(_PORT_RETRY_S)
            config = self.shared.config
            for name in list(lines.shut.why):
                if name in config.instruments and name not in lines.open:
                    await lines.open_one(name)
                else:
                    lines.shut.opened(name)
            for name in list(doors.shut.why):
                if name in config.orders and name not in doors:
                    await doors.open_one(name)
                else:
                    doors.shut.opened(name)

    async def close(self) -> None:
        """Lines and doors first, so that nothing more comes; then the senders."""
        await asyncio.gather(
            *(self.lines.close_one(name) for name in list(self.lines.open)),
            *(self.doors.close_one(name) for name in self.doors.names()),
        )
        await asyncio.gather(*(self.senders.end(name) for name in self.senders.names()))
