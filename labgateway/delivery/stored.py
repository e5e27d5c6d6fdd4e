"""The sender's outbox over the store: one destination's part of it.

Reads run on a reader's connection, writes in the writer's next transaction; nothing here waits for a commit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import Connection

from labgateway.delivery.ports import Delivery, Done
from labgateway.store import outbox
from labgateway.store.engine import Store

DAMAGED = (
    "labgateway: these bytes are not those that were stored (their hash differs): not sent. Check the disk; replay the "
    "message so that it is made anew, then skip this delivery."
)

_Which = Callable[[Connection, str, int, Collection[int]], list[outbox.Owed]]


class StoredOutbox:
    """See ``sender.Outbox``. destination: its name in the configuration, as the deliveries were added under."""

    def __init__(
        self, store: Store, destination: str, *, utcnow: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._destination = destination
        self._utcnow = utcnow

    async def ready(self, limit: int, in_hand: Collection[int]) -> Sequence[Delivery]:
        """What may be sent next, oldest first. Raises StoreError.

        A delivery whose bytes are damaged parks, and its lane with it; the others go on.
        """
        return await self._sound(outbox.ready, limit, in_hand)

    async def newest(self, limit: int, in_hand: Collection[int]) -> Sequence[Delivery]:
        """What came last and may be sent next, newest first, likewise. Raises StoreError."""
        return await self._sound(outbox.newest, limit, in_hand)

    async def _sound(self, which: _Which, limit: int, in_hand: Collection[int]) -> Sequence[Delivery]:
        known = frozenset(in_hand)
        while True:
            owed = await self._store.read(lambda c: which(c, self._destination, limit, known))
            damaged = [one.id for one in owed if one.damaged]
            if not damaged:
                return [Delivery(o.id, o.lane, o.control_id, o.body, o.refusals) for o in owed]
            for number in damaged:
                await self._store.submit(partial(outbox.park, number=number, answer=DAMAGED))

    def settle(self, delivery: Delivery, words: str, done: Done) -> None:
        """The destination has taken it."""
        now = self._utcnow()
        self._submit(lambda c: outbox.settle(c, delivery.id, words, now), done)

    def retry(self, delivery: Delivery, words: str, done: Done, *, refused: bool) -> None:
        """An attempt failed and will be repeated."""
        now = self._utcnow()
        self._submit(lambda c: outbox.retry_later(c, delivery.id, words, refused=refused, now=now), done)

    def park(self, delivery: Delivery, words: str, done: Done) -> None:
        """The destination refused it."""
        now = self._utcnow()
        self._submit(lambda c: outbox.park(c, delivery.id, words, now), done)

    def _submit(self, job: Callable[[Connection], None], done: Done) -> None:
        # No analyzer waits for it, and it is short: no transaction of its own.
        self._store.submit_call(job, lambda _, error: done(error), beside=True)
