"""This gateway among several on one PostgreSQL: it says that it is alive, and serves what it holds a lease for.

    every few seconds   alive ── leases that are ours ──> opened here
                             └── leases of others ──────> closed here
    silent for too long (hung, or cut from the server)    nothing is sent any more, at once, by our own clock;
                                                          the next write is refused, and the process ends

A line is wanted where it can be served: a serial port or a folder that is there, an address that is this machine's. So
lines that listen move with the service address, and a serial line stays where its plug is.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from labgateway.delivery.outcome import Outcome, Unreachable
from labgateway.delivery.sender import Destination
from labgateway.errors import StoreBrokenError, StoreError
from labgateway.store import nodes
from labgateway.store.engine import Store
from labgateway.store.nodes import Seat, Seen
from labgateway.transports.channel import Say

_ROUNDS = 5
"""How often a node says that it is alive within the time after which it counts as silent."""
_MARGIN_S = 2.0
"""So long before the others may take over, we have stopped by our own clock."""
LOOK_S = 0.3
"""How often the owner of a destination looks for what other nodes have made for it."""


class Nodes:
    """What this node serves. ``round`` once at the start, then ``run`` as a task."""

    def __init__(
        self,
        store: Store,
        seat: Seat,
        wanted: Callable[[], Collection[str]],
        changed: Callable[[frozenset[str]], Awaitable[Collection[str]]],
        *,
        say: Say,
    ) -> None:
        """Wanted: subjects that can be served here. changed: serve exactly these; returns what could not be opened."""
        self._store = store
        self.seat = seat
        self._wanted = wanted
        self._changed = changed
        self._say = say
        self._seen = Seen({}, {})
        self._mine: frozenset[str] = frozenset()
        self._refused: dict[str, float] = {}
        self._valid_until = 0.0

    def serves(self, subject: str) -> bool:
        """Whether it is ours to serve."""
        return subject in self._mine

    def is_valid(self) -> bool:
        """Whether the others still count on us, by our own clock: only then may anything be sent."""
        return asyncio.get_running_loop().time() < self._valid_until

    def words(self, subject: str) -> str:
        """Why a subject is not served here, for people."""
        owner = self._seen.owners.get(subject)
        if owner and owner != self.seat.name:
            return f"served by node {owner}"
        return "cannot be served by this node (is its port, folder or address here?)" if owner is None else ""

    def status(self) -> dict[str, Any]:
        """For the status page."""
        return {
            "node": self.seat.name,
            "alive": sorted(self._seen.alive),
            "owners": dict(sorted(self._seen.owners.items())),
        }

    async def round(self) -> None:
        """Say that we are alive, and open and close what changed hands. Raises StoreError."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        given_back = {subject for subject, until in self._refused.items() if began < until}
        seen = await self._store.submit(
            partial(nodes.keep, seat=self.seat, wanted=frozenset(self._wanted()), given_back=given_back)
        )
        self._valid_until = began + self.seat.lease_s - _MARGIN_S
        self._tell(seen)
        self._seen = seen
        mine = frozenset(subject for subject, owner in seen.owners.items() if owner == self.seat.name)
        if mine == self._mine and not self._refused:
            return
        self._mine = mine
        failed = await self._changed(mine)
        # Alone, there is nobody to give it to: it is tried again here, as without nodes.
        others = len(seen.alive) > 1
        self._refused = {subject: loop.time() + self.seat.lease_s for subject in failed if others}

    def _tell(self, seen: Seen) -> None:
        for name in sorted(seen.alive.keys() - self._seen.alive.keys() - {self.seat.name}):
            self._say("node_joined", node=name)
        for name in sorted(self._seen.alive.keys() - seen.alive.keys() - {self.seat.name}):
            self._say("node_lost", level="warning", node=name)

    async def run(self) -> None:
        """For ever; ends when the store is broken, which a node is told that was taken for silent."""
        every = self.seat.lease_s / _ROUNDS
        while True:
            await asyncio.sleep(every)
            try:
                await self.round()
            except StoreBrokenError:
                return
            except StoreError as error:
                self._say("node_not_heard", level="error", error=type(error).__name__)
                await self._free_the_lock()
                if not self.is_valid():
                    self._mine = frozenset()
                    await self._changed(frozenset())
            except Exception as error:
                # A defect of ours must not make this node fall silent: the next round tries again.
                self._say("defect", level="error", exc_info=error)

    async def _free_the_lock(self) -> None:
        """Perhaps a node hangs in the middle of a transaction and keeps everybody from writing."""
        try:
            ended = await self._store.read(nodes.end_who_hangs)
        except StoreError:
            return
        if ended:
            self._say("hung_node_ended", level="warning", count=ended)

    async def leave(self) -> None:
        """Let go of everything, so that the others need not wait."""
        try:
            await self._store.submit(partial(nodes.leave, seat=self.seat))
        except StoreError as error:
            self._say("node_not_heard", level="error", error=type(error).__name__)


class Guarded:
    """A destination that sends only while the other nodes count on us."""

    def __init__(self, inner: Destination, is_valid: Callable[[], bool]) -> None:
        self._inner = inner
        self._is_valid = is_valid

    @property
    def connections(self) -> int:
        """How many sends may run at once."""
        return self._inner.connections

    async def send(self, body: bytes, control_id: str) -> Outcome:
        """One attempt."""
        if not self._is_valid():
            return Unreachable("this node was silent for too long; another one sends")
        return await self._inner.send(body, control_id)

    async def close(self) -> None:
        """Let go of every connection."""
        await self._inner.close()


def is_address_here(host: str) -> bool:
    """Whether a listener may be opened on this address: it is one of this machine's, or stands for all of them."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    except OSError:
        return False
    for family, kind, number, _, address in found:
        with socket.socket(family, kind, number) as probe:
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    continue
            return True
    return False


def is_path_here(path: Path) -> bool:
    """Whether a device or a folder is plugged into, or mounted on, this machine."""
    try:
        return path.exists()
    except OSError:
        return False


def subjects(lines: Mapping[str, bool], doors: Mapping[str, bool], ways: Collection[str]) -> frozenset[str]:
    """The names under which leases stand, of what can be served here."""
    return frozenset(
        [f"line {name}" for name, here in lines.items() if here]
        + [f"orders {name}" for name, here in doors.items() if here]
        + [f"destination {name}" for name in ways]
    )
