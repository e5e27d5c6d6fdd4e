"""A commit whose answer never came may be done, and nobody went on from there: its results would lie until the next start.

    message kept, not told     the instrument sends it again; a file, which is kept once, is not taken again
    message processed          its deliveries wait, and no sender was woken
    order taken                its instrument was not told

So after each such commit, when the store answers again, all that is stored and not done is looked at once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from labgateway.errors import StoreBrokenError, StoreError
from labgateway.store.engine import Store

LOOK_S = 1.0


async def resolve(store: Store, look: Callable[[], Awaitable[None]]) -> None:
    """For ever, until the store is broken. look: harmless when nothing is left over; raises StoreError while it is away."""
    seen = store.unsure
    while True:
        await asyncio.sleep(LOOK_S)
        now = store.unsure
        if now == seen:
            continue
        try:
            await look()
        except StoreBrokenError:
            return
        except StoreError:
            continue
        seen = now
