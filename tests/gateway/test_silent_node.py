"""A node that cannot say that it is alive lets go of everything, by its own clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from labgateway.errors import StoreBusyError
from labgateway.gateway.nodes import Nodes
from labgateway.store.engine import Store
from labgateway.store.nodes import Seat, Seen


class _Away:
    """A store that answers once and then never again."""

    def __init__(self) -> None:
        self.asked = 0

    async def submit(self, _: Callable[[Any], Any]) -> Seen:
        self.asked += 1
        if self.asked == 1:
            return Seen({"line a": "one", "orders emr": "one"}, {"one": 2.1})
        raise StoreBusyError("away")

    async def read(self, _: Callable[[Any], Any]) -> int:
        raise StoreBusyError("away")


async def test_nothing_counts_as_served_here_when_everything_is_to_be_closed() -> None:
    calls: list[tuple[frozenset[str], bool]] = []
    closed = asyncio.Event()

    async def changed(mine: frozenset[str]) -> list[str]:
        calls.append((mine, nodes.serves("orders emr")))
        if not mine:
            closed.set()
        return []

    nodes = Nodes(
        cast("Store", _Away()), Seat("one", 2.1), lambda: ["line a", "orders emr"], changed, say=lambda *_, **__: None
    )
    await nodes.round()
    task = asyncio.get_running_loop().create_task(nodes.run())
    async with asyncio.timeout(10):
        await closed.wait()
    task.cancel()
    assert calls[0] == (frozenset({"line a", "orders emr"}), True)
    assert calls[1] == (frozenset(), False)
