"""What a person asks of the running gateway through the command line or the console: one request, carried out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from labgateway.errors import LabgatewayError
from labgateway.gateway.parts import Parts
from labgateway.gateway.reconcile import proof_of
from labgateway.gateway.resending import send_again
from labgateway.pipeline import deeds


async def act(parts: Parts, request: dict[str, Any]) -> dict[str, Any]:
    """Carry out one request. Raises LabgatewayError in words for the person."""
    shared, senders = parts.shared, parts.openings.senders
    match request.get("action"):
        case "status":
            return await parts.status()
        case "import":
            return await parts.openings.doors.take_from_person(request)
        case "differences":
            opened, closed = await parts.daily.record(proof_of(request))
            return {"opened": opened, "closed": closed}
        case "prune":
            pruned = await parts.daily.prune_some(request)
            return asdict(pruned)
        case "resend":
            words = await send_again(
                shared.store, shared.config, request, shared.utcnow(), lambda name: senders.wake([name])
            )
            shared.say("person", action="resend")
            return {"did": words}
        case "retry" | "skip" | "reject" | "release" | "relink" | "dismiss" | "replay":
            done = await shared.store.submit(deeds.deed(request, shared.rules, shared.utcnow()))
            shared.say("person", action=str(request["action"]), state=done.state)
            parts.pump.add(list(done.reopened))
            senders.wake(done.outcome.destinations)
            return {"did": done.words}
        case other:
            raise LabgatewayError(f"{str(other)[:40]!r} is nothing this gateway can do")
