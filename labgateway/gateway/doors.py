"""The doors by which orders come: opened from their sections, closed; what comes by any of them is taken in one way.

a door, or a person's file ──job──> store ──Taken──> whoever brought it is told ──> whom it concerns
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from labgateway.config import OrdersSection
from labgateway.errors import LabgatewayError
from labgateway.gateway.shared import Shared, Shut
from labgateway.gateway.sources import Job, Source, Told, Tools, file_rules, source, submitted
from labgateway.pipeline.order_book import Taken
from labgateway.pipeline.order_files import take_file
from labgateway.transports.tcp import Admission


@dataclass(frozen=True, slots=True)
class _Door:
    section: OrdersSection
    listener: Source


@dataclass(slots=True)
class Doors:
    """concerned: what was taken is on disk; instruments and destinations may have to hear of it."""

    shared: Shared
    admission: Admission
    concerned: Callable[[Taken], None]
    shut: Shut
    _open: dict[str, _Door] = field(default_factory=dict[str, _Door])

    def __contains__(self, name: str) -> bool:
        return name in self._open

    def names(self) -> list[str]:
        """Of those that are open."""
        return list(self._open)

    def section(self, name: str) -> OrdersSection:
        """The section that an open door was made of."""
        return self._open[name].section

    def trouble(self, name: str) -> str:
        """Why nothing comes by an open door; empty when nothing is known to be wrong."""
        return self._open[name].listener.trouble

    async def open_one(self, name: str, *, must: bool = False) -> None:
        """Open a source of orders, if it is ours. What cannot be opened is said and costs only this source.

        must: raises LabgatewayError instead.
        """
        if not self.shared.serves(f"orders {name}"):
            return
        section = self.shared.config.orders[name]
        try:
            opened = source(name, section, self._tools())
            await opened.start()
        except LabgatewayError as error:
            self.shut.refused(name, error, must=must)
            return
        self.shut.opened(name)
        self._open[name] = _Door(section, opened)

    async def close_one(self, name: str) -> None:
        """Close it, if it is open."""
        if (door := self._open.pop(name, None)) is not None:
            await door.listener.stop()

    async def take_from_person(self, request: dict[str, Any]) -> dict[str, Any]:
        """A person brings a file of orders. Raises LabgatewayError."""
        shared = self.shared
        who, name = str(request.get("who") or "").strip(), str(request.get("source") or "import")
        try:
            data = base64.b64decode(str(request.get("data") or ""), validate=True)
        except ValueError:
            raise LabgatewayError("The file did not come whole; try again.") from None
        section = shared.config.orders.get(name)
        if section is None and name != "import":
            raise LabgatewayError(f"There is no [orders.{name[:64]}] in config.toml.")
        reading = file_rules(name, section, shared.config.gateway.timezone)
        job = take_file(data, rules=shared.rules, reading=reading, now=shared.utcnow(), who=who or "command line")
        taken = await submitted(name, job, self._tools())
        shared.say("person", action="import", state=taken.code)
        return {"orders": [asdict(one) for one in taken.said], "refused": taken.refused}

    def _tools(self) -> Tools:
        shared = self.shared
        return Tools(
            lambda: shared.rules, shared.utcnow, lambda: shared.config.gateway.timezone, self._take, self.admission,
            shared.spawn, shared.say,
        )  # fmt: skip

    def _take(self, name: str, job: Job, told: Told) -> None:
        """Run the job of an order message; then whoever brought it is told, and whom it concerns."""
        say = self.shared.say

        def done(taken: Taken | None, error: BaseException | None) -> None:
            if error is not None or taken is None:
                say("orders_not_stored", level="error", source=name, error=type(error).__name__)
                told(None, error)
                return
            told(taken, None)
            say("orders", source=name, state=taken.code, count=taken.count, message=taken.number)
            if taken.outcome.doubts:
                say("sent_and_in_doubt", level="warning", source=name, count=taken.outcome.doubts)
            self.concerned(taken)

        self.shared.store.submit_call(job, done)
