"""Results that have waited too long for their order are held for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from labgateway.errors import StoreError
from labgateway.gateway.shared import Shared
from labgateway.pipeline import take

_LOOK_S = 30.0


async def expire(shared: Shared, after: Callable[[take.Outcome], None]) -> None:
    """Look, for ever. after: told what came of it each time."""
    while True:
        await asyncio.sleep(_LOOK_S)
        try:
            outcome = await shared.store.submit(
                partial(take.expire, rules=shared.rules, now=shared.utcnow()), background=True
            )
        except StoreError as error:
            shared.say("not_expired", level="error", error=type(error).__name__)
            continue
        if outcome.states:
            shared.say("waited_too_long", level="warning", count=sum(outcome.states.values()))
        after(outcome)
