"""The parts of one running gateway and how they hand work to each other. Nothing is started or opened here.

line ──keep──> journal ──number──> pump ──process──> deliveries ──wake──> sender ──> EMR
EMR ──> order door ──take──> orders, and what waited for them ──wake──> sender
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from labgateway.config import Config
from labgateway.gateway import destinations, ownership, status
from labgateway.gateway.answers import Answers
from labgateway.gateway.certificates import Certificates
from labgateway.gateway.daily import Daily
from labgateway.gateway.doors import Doors
from labgateway.gateway.downloads import Queues
from labgateway.gateway.lines import Lines
from labgateway.gateway.nodes import Nodes
from labgateway.gateway.openings import Openings
from labgateway.gateway.progress import Progress
from labgateway.gateway.pump import Pump
from labgateway.gateway.senders import Senders
from labgateway.gateway.shared import Shared, Shut, Spawn, read
from labgateway.gateway.tally import Tally
from labgateway.gateway.telling import Telling
from labgateway.line.arrival import Arrival
from labgateway.line.line import Line
from labgateway.pipeline import take
from labgateway.pipeline.order_book import Taken
from labgateway.store.engine import Store
from labgateway.transports.channel import Say
from labgateway.transports.tcp import Admission

_MOST_CONNECTIONS = 512


@dataclass(frozen=True, slots=True)
class Parts:
    """What a gateway is made of."""

    shared: Shared
    openings: Openings
    pump: Pump
    answers: Answers
    queues: Queues
    daily: Daily
    telling: Telling
    tally: Tally
    progress: Progress
    certificates: Certificates
    started_at: datetime

    async def status(self) -> dict[str, Any]:
        """Everything the status page shows; no patient data. Raises StoreError."""
        found = status.standing(self.openings, self.queues, self.certificates)
        return await status.status(
            self.openings, found, self.tally, self.progress, started_at=self.started_at, to_process=len(self.pump)
        )


def assemble(config: Config, store: Store, *, say: Say, spawn: Spawn, utcnow: Callable[[], datetime]) -> Parts:
    """Make the parts from a config and connect them."""
    shared = Shared(store, say, spawn, utcnow, read(config))
    open_lines: dict[str, Line] = {}
    senders, admission = Senders(shared), Admission(_MOST_CONNECTIONS)
    answers = Answers(store, lambda: shared.rules, open_lines, spawn, say, utcnow)
    queues = Queues(shared, open_lines)

    def processed(number: int, outcome: take.Outcome) -> None:
        if outcome.problem is not None:
            say("message_parked", level="warning", message=number, reason=outcome.problem.reason.name)
        elif held := outcome.states.get("held"):
            say("results_held", level="warning", message=number, count=held)
        senders.wake(outcome.destinations)

    pump = Pump(store, lambda: shared.rules, processed, say=say, utcnow=utcnow)

    def stored(name: str, arrival: Arrival, number: int) -> None:
        answers.kept(name, arrival, number)
        pump.add([number])

    def concerned(taken: Taken) -> None:
        answers.changed(taken.specimens)
        queues.changed(taken.specimens)
        senders.wake(taken.outcome.destinations)

    openings = Openings(
        shared,
        Lines(shared, open_lines, admission, answers.asks, stored, Shut("instrument", say)),
        Doors(shared, admission, concerned, Shut("orders", say)),
        senders,
    )
    if store.seat:
        shared.nodes = Nodes(
            store, store.seat, lambda: ownership.servable(shared.config),
            lambda mine: ownership.serve(mine, openings, pump.take_up), say=say,
        )  # fmt: skip
    tally = Tally(store.read, lambda: shared.config.matching.alarm_h, utcnow)
    certificates = Certificates(lambda: _certificates(shared.config), say, utcnow)
    return Parts(
        shared,
        openings,
        pump,
        answers,
        queues,
        Daily(store, lambda: shared.config, say, utcnow),
        Telling(
            tally, senders.listeners, lambda: status.standing(openings, queues, certificates),
            lambda: shared.config.gateway.name, utcnow,
        ),
        tally,
        Progress(tally.waiting, senders.accepted),
        certificates,
        utcnow(),
    )  # fmt: skip


def _certificates(config: Config) -> dict[str, tuple[Path, ...]]:
    found = {name: destinations.certificates(section) for name, section in config.destinations.items()}
    return {name: files.certificates for name, files in found.items() if files is not None}
