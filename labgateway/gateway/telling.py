"""How the gateway stands, in few words, for hubs and brokers: no patient data, cheap enough for every half minute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from labgateway import __version__
from labgateway.delivery.ports import Listener
from labgateway.errors import StoreError
from labgateway.gateway.tally import Tally

EVERY_S = 30.0
_FRESH_S = 15.0
"""What was counted for the pace of the destinations need not be counted again."""


@dataclass(frozen=True, slots=True)
class Telling:
    """Tells every listener, for ever. found: lines and destinations as they stand. site: of the config of now."""

    tally: Tally
    listeners: Callable[[], Sequence[Listener]]
    found: Callable[[], dict[str, Any]]
    site: Callable[[], str]
    utcnow: Callable[[], datetime]

    async def run(self) -> None:
        """At once, then every half minute."""
        while True:
            if listeners := self.listeners():
                try:
                    words = await self._words()
                except StoreError:
                    pass  # said elsewhere; there is nothing to tell that is true
                else:
                    await asyncio.gather(*(one.tell(*words) for one in listeners), return_exceptions=True)
            await asyncio.sleep(EVERY_S)

    async def _words(self) -> tuple[dict[str, Any], dict[str, Any]]:
        now = self.utcnow()
        waiting = (await self.tally.waiting(_FRESH_S)).value
        count = (await self.tally.for_a_person()).value
        found = {**self.found(), "waiting": waiting}
        at, site = now.isoformat(timespec="seconds"), self.site()
        return (
            status(found, site=site, version=__version__, at=at, for_a_person=count),
            alerts(found, site=site, at=at, for_a_person=count),
        )


def status(found: Mapping[str, Any], *, site: str, version: str, at: str, for_a_person: int) -> dict[str, Any]:
    """found: lines, destinations and waiting as ``Gateway`` has them. for_a_person: how much waits for one."""
    return {
        "site": site,
        "state": "running",
        "at": at,
        "version": version,
        "for_a_person": for_a_person,
        "lines": {
            name: {
                "trouble": line.get("parks") or line.get("trouble") or "",
                "last_message_at": line.get("last_message_at"),
            }
            for name, line in found["lines"].items()
        },
        "destinations": {
            name: {"state": one["state"], "since": one["since"], "waiting": found["waiting"].get(name, 0)}
            for name, one in found["destinations"].items()
        },
    }


def alerts(found: Mapping[str, Any], *, site: str, at: str, for_a_person: int) -> dict[str, Any]:
    """What somebody should look at now; an empty list: nothing."""
    said: list[dict[str, Any]] = [
        {"what": "line", "where": name, "why": why}
        for name, line in found["lines"].items()
        if (why := _stands_still(line))
    ]
    said += [
        {"what": "destination", "where": name, "why": one["why"], "since": one["since"]}
        for name, one in found["destinations"].items()
        if one["state"] == "away"
    ]
    if for_a_person:
        said.append({"what": "for_a_person", "count": for_a_person})
    return {"site": site, "at": at, "alerts": said}


def _stands_still(line: Mapping[str, Any]) -> str:
    """Why a line can do nothing, whoever calls: its port is shut, or its driver or mapping is broken. An analyzer that
    is switched off is no alarm.
    """
    if line.get("parks"):
        return str(line["parks"])
    return "" if "messages" in line else str(line.get("trouble") or "")
