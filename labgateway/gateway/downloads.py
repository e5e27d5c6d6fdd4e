"""Instruments that are told their orders unasked: one queue of specimens for each, one message at a time.

    orders changed ──> specimens ──> what is untold? ── records ── Line.send ── took it ──> noted as told
    start ──────────^                    ^                            └── did not: the same specimen again, later

What was told is on disk; what is due is worked out anew each time, so nothing is lost by a restart or an absent instrument.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from labgateway.errors import Problem, StoreBrokenError, StoreError
from labgateway.gateway import letters
from labgateway.gateway.shared import Shared
from labgateway.instruments.encode import NotSendableError, Work
from labgateway.instruments.spec import Driver
from labgateway.line.arrival import Refused
from labgateway.line.line import Line
from labgateway.pipeline.rules import Rules
from labgateway.pipeline.untold import Untold, untold
from labgateway.store import asked
from labgateway.store.engine import Store
from labgateway.transports.channel import Say

AWAY_S = 5.0
"""Before a message that was not taken is offered again; busy instruments and contention have their own, longer times."""


class Downloads:
    """The queue of one instrument. ``run`` is a task."""

    def __init__(
        self,
        name: str,
        store: Store,
        rules: Callable[[], Rules],
        lines: Mapping[str, Line],
        *,
        say: Say,
        utcnow: Callable[[], datetime],
    ) -> None:
        self.name = name
        self._store = store
        self._rules = rules
        self._lines = lines
        self._say = say
        self._utcnow = utcnow
        self._todo: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._looked_back = False
        self._why = ""
        """Why the last one was not taken, said once."""

    def __len__(self) -> int:
        return len(self._todo)

    def changed(self, specimens: Iterable[str]) -> None:
        """Orders of these specimens came, changed or were cancelled."""
        self._todo.update(dict.fromkeys(specimens))
        self._wake.set()

    def look(self) -> None:
        """Somebody else may have changed orders: look at all that is untold."""
        self._looked_back = False
        self._wake.set()

    async def run(self) -> None:
        """For ever; ends when the store is broken. Begins with what changed while nobody looked."""
        try:
            while True:
                if not self._looked_back and not await self._look_back():
                    await asyncio.sleep(AWAY_S)
                    continue
                if not self._todo:
                    self._wake.clear()
                    await self._wake.wait()
                specimen = next(iter(self._todo))
                del self._todo[specimen]
                if not await self._tell(specimen):
                    self._todo[specimen] = None
                    await asyncio.sleep(AWAY_S)
        except StoreBrokenError:
            return

    async def _look_back(self) -> bool:
        since = self._utcnow() - timedelta(hours=self._rules().policy.window_h)
        try:
            self.changed(await self._store.read(partial(asked.not_told, instrument=self.name, since=since)))
        except StoreBrokenError:
            raise
        except StoreError as error:
            self._say("order_not_told", level="error", instrument=self.name, error=type(error).__name__)
            return False
        self._looked_back = True
        return True

    async def _tell(self, specimen: str) -> bool:
        """Tell what is untold of one specimen. False: not now."""
        rules = self._rules()
        instrument = rules.instruments.get(self.name)
        if instrument is None or isinstance(instrument.driver, Problem) or instrument.orders != "unasked":
            return True
        now = self._utcnow()
        try:
            due, problems = await self._store.read(
                partial(untold, name=self.name, specimen=specimen, instrument=instrument, rules=rules, now=now)
            )
            for problem in problems:
                self._say(
                    "order_not_told", level="warning", instrument=self.name, reason=problem.reason.name,
                    why=problem.detail,
                )  # fmt: skip
            for message in due:
                why = await self._send(instrument.driver, message, rules)
                if why is None:
                    return True
                if why and why != self._why:
                    self._say("order_not_taken", level="warning", instrument=self.name, why=str(why))
                self._why = why
                if why and not isinstance(why, Refused):
                    return False
                # What it refuses is parked with its own words; it is not told the same again.
                self._say("order_told", instrument=self.name, action=message.deed.value, count=len(message.work.codes))
                await self._store.submit(note_works(self.name, [Work(specimen, message.then)], now))
        except StoreBrokenError:
            raise
        except StoreError as error:
            self._say("order_not_told", level="error", instrument=self.name, error=type(error).__name__)
            return False
        return True

    async def _send(self, driver: Driver, message: Untold, rules: Rules) -> str | None:
        """How it went: "" taken, else why not; None when it can never be sent."""
        line = self._lines.get(self.name)
        if line is None:
            return "the line is not open"
        try:
            letter = letters.news(driver, message.work, message.deed, self._utcnow().astimezone(rules.timezone))
        except (NotSendableError, ValueError) as error:
            self._say("order_not_told", level="error", instrument=self.name, why=str(error))
            return None
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        letter(line, lambda why: None if told.done() else told.set_result(why), None, self)
        return await told


@dataclass(slots=True)
class Queues:
    """The queues of all instruments that are told their orders unasked, as the rules of now have it. lines: the open ones."""

    shared: Shared
    lines: Mapping[str, Line]
    _running: dict[str, tuple[Downloads, asyncio.Task[None]]] = field(
        default_factory=dict[str, tuple[Downloads, asyncio.Task[None]]]
    )

    def follow(self) -> None:
        """Begin and end queues as the rules of now want it."""
        shared = self.shared
        wanted = [name for name, one in shared.rules.instruments.items() if one.orders == "unasked"]
        for name in [name for name in self._running if name not in wanted]:
            self._running.pop(name)[1].cancel()
        for name in wanted:
            if name not in self._running:
                queue = Downloads(
                    name, shared.store, lambda: shared.rules, self.lines, say=shared.say, utcnow=shared.utcnow
                )  # fmt: skip
                self._running[name] = (queue, shared.spawn(queue.run(), f"orders to {name}"))

    def waiting(self, name: str) -> int:
        """Specimens of which an instrument is still to be told something."""
        return len(self._running[name][0]) if name in self._running else 0

    def changed(self, specimens: Iterable[str]) -> None:
        """Orders of these specimens came, changed or were cancelled."""
        for queue, _ in self._running.values():
            queue.changed(specimens)

    def look(self) -> None:
        """Somebody else may have changed orders."""
        for queue, _ in self._running.values():
            queue.look()

    async def stop(self) -> None:
        """Tell nobody any more; what is untold is told after the next start."""
        for _, task in self._running.values():
            task.cancel()
        await asyncio.gather(*(task for _, task in self._running.values()), return_exceptions=True)


def note_works(name: str, works: Iterable[Work], at: datetime) -> Callable[[Connection], None]:
    """The job that notes what an instrument took as an answer to its query."""

    def job(connection: Connection) -> None:
        for work in works:
            asked.note_told(connection, name, work.specimen, work.codes, at)

    return job
