"""Analyzers that do not ask: new, further and cancelled orders reach them by themselves, once, and after an absence."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import Astm, frames_of, wait_until
from tests.end_to_end.gateway import Gateway
from tests.end_to_end.test_first_light import Site, send_hl7, xn


def site_of(folder: Path, emr: Emr) -> Site:
    site = Site(folder, emr)
    site.gateway = Gateway(
        folder, site.text.replace('mapping = "xn1.toml"', 'mapping = "xn1.toml"\norders = "unasked"')
    )
    return site


def order(specimen: str, code: str, control: str = "NW", *, number: int = 1) -> str:
    """OML^O21 for one test."""
    rows = [
        f"MSH|^~\\&|HIS|BV|LABGATEWAY|TEST|20261122080000||OML^O21^OML_O21|{specimen}{code}{number}|P|2.5.1||||||UNICODE UTF-8",
        "PID|1||BN001^^^BV^MR||NGUYỄN^VĂN AN||19720815|M",
        f"ORC|{control}|P-{code}",
        f"OBR|1|P-{code}||{code}^{code}^L",
        f"SPM|1|{specimen}||BLD^Blood^HL70487",
    ]
    return "\r".join(rows) + "\r"


def told(records: list[str]) -> tuple[str, list[str], str]:
    """Specimen, codes and action of the only O record."""
    (fields,) = [record.split("|") for record in records if record.startswith("O|")]
    return fields[2].split("^")[2].strip(), [c.split("^")[4] for c in fields[4].split("\\")], fields[11]


async def test_new_further_and_cancelled_orders(tmp_path: Path) -> None:
    """Each change is told as what it is; a repeat of the EMR tells nothing; results flow on the same connection."""
    async with Emr() as emr:
        site = site_of(tmp_path, emr)
        with site.gateway as gateway:
            analyzer = Astm(site.xn)
            try:

                async def orders(message: str) -> None:
                    assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, message)

                async def next_told() -> tuple[str, list[str], str]:
                    return told(await asyncio.to_thread(analyzer.receive))

                await orders(order("D1001", "WBC"))
                assert await next_told() == ("D1001", ["WBC"], "N")
                await orders(order("D1001", "WBC", number=2))
                await orders(order("D1001", "HGB"))
                assert await next_told() == ("D1001", ["HGB"], "A")
                await orders(order("D1001", "ELSEWHERE"))
                await orders(order("D1001", "WBC", "CA", number=3))
                assert await next_told() == ("D1001", ["WBC"], "C")
                await asyncio.to_thread(analyzer.session, frames_of(xn("D1001")))
                await asyncio.to_thread(
                    wait_until, lambda: gateway.status()["observations"].get("released") == 1, what="one released"
                )
            finally:
                analyzer.close()


async def test_an_analyzer_that_was_away(tmp_path: Path) -> None:
    """What came while it was away, and while the gateway was down, is told once when it is back; what was told is not."""
    async with Emr() as emr:
        site = site_of(tmp_path, emr)
        with site.gateway as gateway:
            analyzer = Astm(site.xn)
            assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, order("D2001", "WBC"))
            assert told(await asyncio.to_thread(analyzer.receive)) == ("D2001", ["WBC"], "N")
            await asyncio.to_thread(
                wait_until, lambda: any(e["event"] == "order_told" for e in gateway.log), what="it is noted"
            )
            analyzer.close()
            assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, order("D2002", "HGB"))
            assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, order("D2003", "HGB"))
            assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, order("D2003", "HGB", "CA", number=2))
        with site.gateway as gateway:
            analyzer = Astm(site.xn, patience_s=30)
            try:
                assert told(await asyncio.to_thread(analyzer.receive)) == ("D2002", ["HGB"], "N")
                await asyncio.to_thread(
                    wait_until,
                    lambda: gateway.status()["lines"]["xn1"]["orders_to_tell"] == 0,
                    what="nothing left to tell",
                )
            finally:
                analyzer.close()
