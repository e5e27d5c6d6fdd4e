"""Who serves what, among several nodes on one store: what this node could serve, and opening and closing as leases go.

``nodes`` holds the leases; here the parts follow them. Alone (no [nodes]), a gateway serves everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from labgateway.config import Config
from labgateway.gateway import build
from labgateway.gateway.downloads import Queues
from labgateway.gateway.nodes import LOOK_S, subjects
from labgateway.gateway.openings import Openings
from labgateway.gateway.senders import Senders
from labgateway.gateway.shared import Shared, Shut


def servable(config: Config) -> frozenset[str]:
    """What can be served on this machine: its ports, folders and addresses are here."""
    return subjects(
        {name: build.is_here(one.line) for name, one in config.instruments.items()},
        {name: build.is_here(one) for name, one in config.orders.items()},
        config.destinations,
    )


async def serve(mine: frozenset[str], openings: Openings, take_up: Callable[[list[str]], Awaitable[None]]) -> list[str]:
    """Close what other nodes serve now, open what is ours; returns what could not be opened.

    take_up: process what is stored and not processed of these instruments. ``Nodes.serves`` answers by ``mine`` already.
    """
    config, lines, doors, senders = openings.shared.config, openings.lines, openings.doors, openings.senders
    for name in [n for n in lines.open if f"line {n}" not in mine]:
        await lines.close_one(name)
    for name in [n for n in doors.names() if f"orders {n}" not in mine]:
        await doors.close_one(name)
    for name in [n for n in senders.names() if f"destination {n}" not in mine]:
        await senders.end(name)
    new = [name for name in config.instruments if f"line {name}" in mine and name not in lines.open]
    if new:
        await take_up(new)
    await openings.open_missing()
    return [f"line {name}" for name in new if name not in lines.open] + [
        f"orders {n}" for n in config.orders if f"orders {n}" in mine and n not in doors
    ]  # fmt: skip


def why_not_open(shared: Shared, subject: str, shut: Shut) -> str:
    """Why a line or a source of orders (``line NAME``, ``orders NAME``) is not open here, for people."""
    if shared.nodes is not None and not shared.nodes.serves(subject):
        return shared.nodes.words(subject)
    return shut.why.get(subject.partition(" ")[2], "")


async def look_around(senders: Senders, queues: Queues) -> None:
    """Other nodes make deliveries for destinations that are served here, and take orders for lines that are. For ever."""
    while True:
        await asyncio.sleep(LOOK_S)
        _wake_all(senders, queues)


async def look_again(senders: Senders, queues: Queues, take_up: Callable[[list[str] | None], Awaitable[None]]) -> None:
    """A commit may be done of which nobody heard; see ``doubts``. take_up: as in ``serve``; None: of all instruments.

    Raises StoreError.
    """
    shared = senders.shared
    here = [name for name in shared.config.instruments if shared.serves(f"line {name}")]
    await take_up(None if shared.nodes is None else here)
    _wake_all(senders, queues)


def _wake_all(senders: Senders, queues: Queues) -> None:
    senders.wake(senders.names())
    queues.look()
