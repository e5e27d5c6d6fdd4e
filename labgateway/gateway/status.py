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
from labgateway.gateway.tally import Tally


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
    openings: Openings,
    found: dict[str, Any],
    tally: Tally,
    progress: Progress,
    *,
    started_at: datetime,
    to_process: int,
) -> dict[str, Any]:
    """Everything the status page shows. found: what ``standing`` says, which is taken over. Raises StoreError.

    counted_at: the moment at which the counts were true. counted_s_ago: how long ago that
    was: where counting takes long, the last counts are told again for a while.
    """
    shared = openings.shared
    counted, late = await tally.everything(), await tally.for_a_person()
    counts = counted.value
    ago_s = tally.age_s(counted, late)
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
        "waits_for_a_person": late.value,
        "counted_at": (shared.utcnow() - timedelta(seconds=ago_s)).isoformat(timespec="milliseconds"),
        "counted_s_ago": round(ago_s, 1),
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
