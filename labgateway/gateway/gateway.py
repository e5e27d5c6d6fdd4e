"""One running gateway: ``start``, then ``reload`` as often as wanted, then ``stop``.

What it is made of and who hands what to whom: ``parts``. What opens and closes: ``openings`` (``lines``, ``doors``,
``senders``). Who serves what among several nodes: ``ownership``. Each name below is where its work is done.

Starts no task by itself: ``spawn`` is handed in, so that a test may run everything under a simulated clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labgateway.config import Config
from labgateway.errors import StoreBusyError
from labgateway.gateway import acting, doubts, ownership, reload, site_files
from labgateway.gateway.expiring import expire
from labgateway.gateway.parts import assemble
from labgateway.gateway.shared import Spawn
from labgateway.gateway.watching import watch_line
from labgateway.store.engine import Store
from labgateway.transports.channel import Say


def _spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work, name=name)


class Gateway:
    """One gateway on one store."""

    def __init__(
        self,
        config: Config,
        store: Store,
        *,
        say: Say,
        spawn: Spawn = _spawn,
        utcnow: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._parts = assemble(config, store, say=say, spawn=spawn, utcnow=utcnow)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take up what an earlier process left, then open destinations, doors and lines.

        Raises StoreError. A port that is in use is said and tried again; it costs only its own line.
        """
        parts, shared, openings = self._parts, self._parts.shared, self._parts.openings
        if shared.nodes is None:
            await parts.pump.take_up(None)
        site_files.complain(shared)
        await site_files.keep_mappings(shared)
        self._run_beside(
            {
                "pipeline": parts.pump.run(),
                "expire": expire(shared, lambda outcome: openings.senders.wake(outcome.destinations)),
                "open ports": openings.open_shut(),
                "certificates": parts.certificates.run(),
                "telling": parts.telling.run(),
                "progress": parts.progress.run(),
                "daily": parts.daily.run(),
                "doubts": doubts.resolve(
                    shared.store,
                    lambda: ownership.look_again(openings.senders, parts.queues, parts.pump.take_up),
                ),
            }
        )
        if shared.nodes is None:
            await openings.open_missing()
        else:
            await shared.nodes.round()
            around = ownership.look_around(openings.senders, parts.queues)
            self._run_beside({"nodes": shared.nodes.run(), "look around": around})
        parts.queues.follow()

    async def stop(self) -> None:
        """Close lines and doors first, then let senders end; what is not settled is sent again after the next start."""
        parts, nodes = self._parts, self._parts.shared.nodes
        for task in self._tasks:
            task.cancel()
        await parts.answers.stop()
        await parts.queues.stop()
        await parts.openings.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if nodes is not None:
            await nodes.leave()

    async def reload(self, config: Config) -> None:
        """Take a new config as a whole, or raise LabgatewayError and stay with the old one."""
        await reload.reload(self._parts, config)

    async def act(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request of the command line or the console. Raises LabgatewayError in words for the person."""
        return await acting.act(self._parts, request)

    def watch(self, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """What happens on an instrument's line from now on. Raises LabgatewayError when there is no such instrument."""
        return watch_line(request, self._parts.openings.lines)

    def watched(self) -> list[Path]:
        """Folders whose .toml files, when they change, are a reload."""
        return site_files.watched(self._parts.shared.config)

    async def beat(self) -> None:
        """Come back after a round trip through loop and writer; raises StoreError when there is none."""
        try:
            await self._parts.shared.store.submit(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
        except StoreBusyError:
            # Locked or a server that is away: alive, and said elsewhere.
            return

    def _run_beside(self, services: dict[str, Coroutine[Any, Any, None]]) -> None:
        self._tasks += [self._parts.shared.spawn(work, name) for name, work in services.items()]
