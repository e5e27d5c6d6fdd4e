"""Once a day: what each destination holds is compared with what it was sent, and old rows are taken out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from labgateway.config import Config
from labgateway.errors import LabgatewayError, StoreError
from labgateway.gateway import destinations, outlets
from labgateway.gateway.reconcile import Proof, prove, span_of
from labgateway.store import audit, differences, prune
from labgateway.store.engine import Store
from labgateway.transports.channel import Say

_LOOK_S = 30.0
_PIECES_S = 5.0


class Daily:
    """Waits for [gateway] daily_at. config: the one of now."""

    def __init__(self, store: Store, config: Callable[[], Config], say: Say, utcnow: Callable[[], datetime]) -> None:
        self._store = store
        self._config = config
        self._say = say
        self._utcnow = utcnow

    async def run(self) -> None:
        """For ever. A day on which nothing ran at that hour is made up for by hand (`labgateway reconcile --day`)."""
        before = self._local()
        while True:
            await asyncio.sleep(_LOOK_S)
            now = self._local()
            if _has_come(self._config().gateway.daily_at, before, now):
                try:
                    await self.reconcile(now)
                    await self.prune()
                except StoreError as error:
                    self._say("daily_broke_off", level="error", error=type(error).__name__)
            before = now

    async def reconcile(self, now: datetime) -> None:
        """Yesterday, destination by destination."""
        config = self._config()
        since, until = span_of((now - timedelta(days=1)).date(), config.gateway.timezone)
        for name, section in config.destinations.items():
            readable = destinations.readable(config, section, self._say)
            try:
                proof = await prove(self._store, name, readable, since, until, update=outlets.updates(section))
            finally:
                if readable is not None:
                    await readable.close()
            await self.record(proof)

    async def record(self, proof: Proof) -> tuple[int, int]:
        """Put what differs onto the worklist; returns how many are new and how many are right again."""
        opened = closed = 0
        if proof.compared is not None and not proof.trouble:
            job = partial(
                differences.record, destination=proof.destination, first=proof.first, end=proof.end, found=proof.found,
                now=self._utcnow(),
            )  # fmt: skip
            opened, closed = await self._store.submit(job, background=True)
        self._say(
            "reconciled", level="warning" if proof.found or proof.trouble else "info", destination=proof.destination,
            count=len(proof.found), **({"why": proof.trouble} if proof.trouble else {}),
        )  # fmt: skip
        return opened, closed

    async def prune(self) -> None:
        """Take out what is older than [store] keep_days, in small pieces."""
        days = self._config().store.keep_days
        total, more = prune.Pruned(), bool(days)
        while more:
            one = await self._piece(days)
            total, more = total + one, one.more
        if total:
            await self._note(total, "labgateway", "[store] keep_days")

    async def prune_some(self, request: Mapping[str, Any]) -> prune.Pruned:
        """For a person: pieces for some seconds; ``more`` says that there may be others. Raises LabgatewayError."""
        who, because = str(request.get("who") or "").strip(), str(request.get("because") or "").strip()
        days = request.get("days")
        if not isinstance(days, int) or days < 30:
            raise LabgatewayError("Say for how many days results are kept: --days N, at least 30.")
        if not (who and because):
            raise LabgatewayError('Say who decides and why: --by "NAME" --because "REASON".')
        end = asyncio.get_running_loop().time() + _PIECES_S
        total, more = prune.Pruned(), True
        while more and asyncio.get_running_loop().time() < end:
            one = await self._piece(days)
            total, more = total + one, one.more
        if total:
            await self._note(total, who, because)
        return total

    async def _piece(self, days: int) -> prune.Pruned:
        matching = self._config().matching
        before = prune.cutoff(self._utcnow(), days, window_h=matching.window_h, wait_h=matching.wait_h)
        around = prune.reach(matching.window_h, matching.wait_h)
        return await self._store.submit(lambda c: prune.prune(c, before, around=around), background=True)

    async def _note(self, total: prune.Pruned, who: str, because: str) -> None:
        at, subject = self._utcnow(), f"{total.messages} messages, {total.orders} orders"
        await self._store.submit(
            lambda c: audit.add(c, at=at, who=who, action="prune", subject=subject, because=because)
        )
        self._say("pruned", count=total.messages)

    def _local(self) -> datetime:
        return self._utcnow().astimezone(ZoneInfo(self._config().gateway.timezone))


def _has_come(at: str, before: datetime, now: datetime) -> bool:
    """Whether that time of day lies between the two. A clock that jumps by more than a quarter of an hour counts as none."""
    if not at or not timedelta() < now - before < timedelta(minutes=15):
        return False
    hours, minutes = map(int, at.split(":"))
    moment = now.replace(hour=hours, minute=minutes, second=0, microsecond=0)
    return before < moment <= now
