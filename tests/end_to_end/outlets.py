"""A small hospital whose results go to tables, folders and brokers: an XN on ASTM, orders by HL7, a config to fill in."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.end_to_end.analyzer import wait_until
from tests.end_to_end.gateway import Gateway, free_port
from tests.end_to_end.test_first_light import MAPPING, send_astm, send_hl7


class Hospital:
    """``destinations``: the sections, as text. Without orders the results leave with the analyzer's own ids."""

    def __init__(
        self, folder: Path, destinations: str, *, matching: str = 'without_order = "send"', store: str = ""
    ) -> None:
        self.xn, self.orders = free_port(), free_port()
        (folder / "mappings").mkdir(exist_ok=True)
        (folder / "mappings" / "xn1.toml").write_text(MAPPING, encoding="utf-8")
        self.text = f"""\
[gateway]
name = "SITE1"
facility = "TEST"
[store]
{store}
[matching]
{matching}
[instrument.xn1]
driver = "sysmex_xn"
mapping = "xn1.toml"
line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {self.xn} }}
[orders.emr]
kind = "mllp-listen"
host = "127.0.0.1"
port = {self.orders}
{destinations}
"""
        self.gateway = Gateway(folder, self.text)

    async def measures(self, *messages: list[str]) -> None:
        """The analyzer sends, and each message is acknowledged."""
        await asyncio.to_thread(send_astm, self.xn, *messages)

    async def orders_come(self, *messages: str) -> None:
        """The EMR orders."""
        for one in messages:
            await asyncio.to_thread(send_hl7, self.orders, one)

    def deliveries(self, name: str) -> dict[str, int]:
        """Of one destination, by state."""
        return self.gateway.status()["deliveries"].get(name, {})

    async def settled(self, count: int, *names: str) -> None:
        """Wait until each of these destinations has taken exactly so many."""
        for name in names:
            wanted = {"settled": count}
            await asyncio.to_thread(
                wait_until, lambda n=name, w=wanted: self.deliveries(n) == w, what=f"{count} at {name}"
            )
