"""How the gateway stands, for `labgateway status`, the console and hubs; no patient data."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from labgateway.delivery.ports import State
from labgateway.delivery.sender import Health
from labgateway.errors import Problem
from labgateway.gateway.certificates import Certificates
from labgateway.gateway.downloads import Queues
from labgateway.gateway.openings import Openings
from labgateway.gateway.ownership import why_not_open
from labgateway.gateway.progress import Progress
from labgateway.store import worklist


def standing(openings: Openings, queues: Queues, certificates: Certificates) -> dict[str, Any]:
    """Lines and destinations; nothing is read for it."""
    ending = certificates.words()
    return {
        "lines": {name: _line(name, openings, queues) for name in openings.shared.config.instruments},
        "destinations": {
            name: {**_health(health), "warnings": ending.get(name, [])}
            for name, health in openings.senders.health().items()
        },
    }


async def status(
    openings: Openings, found: dict[str, Any], progress: Progress, *, started_at: datetime, to_process: int
) -> dict[str, Any]:
    """Everything the status page shows. found: what ``standing`` says, which is taken over. Raises StoreError."""
    shared = openings.shared
    counts = await shared.store.read(worklist.counts)
    alarm = shared.utcnow() - timedelta(hours=shared.config.matching.alarm_h)
    late = await shared.store.read(lambda c: worklist.count(c, waiting_before=alarm))
    for name, one in found["destinations"].items():
        waiting = counts["deliveries"].get(name, {}).get("waiting", 0)
        one["progress"] = progress.words(name, waiting, answering=one["state"] == State.ANSWERING.value)
    return {
        "running": True,
        "started_at": started_at.isoformat(timespec="seconds"),
        "config_version": shared.config.version,
        **found,
        **({"nodes": shared.nodes.status()} if shared.nodes else {}),
        "orders_from": {name: {"trouble": _door_trouble(name, openings)} for name in shared.config.orders},
        "to_process": to_process,
        "waits_for_a_person": late,
        **counts,
    }


def _line(name: str, openings: Openings, queues: Queues) -> dict[str, Any]:
    shared, lines = openings.shared, openings.lines
    instrument = shared.rules.instruments[name]
    if line := lines.open.get(name):
        found = line.status(shared.utcnow())
    else:
        found = {"trouble": why_not_open(shared, f"line {name}", lines.shut)}
    return {
        "driver": shared.config.instruments[name].driver,
        "orders_to_tell": queues.waiting(name),
        **found,
        "parks": next((str(p) for p in (instrument.driver, instrument.mapping) if isinstance(p, Problem)), ""),
        "kept": [
            f"{p} What was read of it before is used until it is mended; `labgateway check` says what is wrong."
            for p in instrument.kept
        ],
    }


def _door_trouble(name: str, openings: Openings) -> str:
    if name in openings.doors:
        return openings.doors.trouble(name)
    return why_not_open(openings.shared, f"orders {name}", openings.doors.shut)


def _health(health: Health) -> dict[str, Any]:
    return {
        "state": health.state.value,
        "since": health.since.isoformat(timespec="seconds"),
        "why": health.why,
        "last_answer_at": health.last_answer_at.isoformat(timespec="seconds") if health.last_answer_at else None,
        "accepted": health.accepted,
        "refused": health.refused,
        "parked": health.parked,
        "attempts": health.attempts,
    }
