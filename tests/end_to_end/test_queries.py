"""Analyzers that ask for their work, by a running service: what they are told, and what nobody is told."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import ACK, ENQ, EOT, Astm, frame, frames_of, wait_until
from tests.end_to_end.test_first_light import Site, oml, send_hl7, xn


def query(*specimens: str, status: str = "") -> list[str]:
    """An XN's query, a Q record a specimen."""
    rows = [
        f"Q|{n}|000123^{n:02}^{specimen:>22}^B||^^^^WBC|0|||||||{status}" for n, specimen in enumerate(specimens, 1)
    ]
    return ["H|\\^&|||    XN-1000^00-24^22723^^^^BD000001||||||||E1394-97", *rows, "L|1|N"]


def ask(port: int, *queries: tuple[str, ...]) -> list[list[str]]:
    """The answers to some queries, one after another on one connection."""
    analyzer = Astm(port)
    try:
        answers: list[list[str]] = []
        for specimens in queries:
            analyzer.session(frames_of(query(*specimens)))
            answers.append(analyzer.receive())
        return answers
    finally:
        analyzer.close()


def told(records: list[str]) -> dict[str, list[str]]:
    """Specimen to the codes that an XN is asked to measure."""
    orders = [record.split("|") for record in records if record.startswith("O|")]
    return {fields[2].split("^")[2].strip(): [c.split("^")[4] for c in fields[4].split("\\") if c] for fields in orders}


async def test_a_query_gets_its_orders(tmp_path: Path) -> None:
    """The tests that this analyzer measures, the patient in ASCII, rack and position as asked; again the same."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway as gateway:
            assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, oml("S1001"))
            first, second = await asyncio.to_thread(ask, site.xn, ("S1001",), ("S1001",))
            assert told(first) == {"S1001": ["WBC", "HGB", "PLT"]}
            assert first[1].startswith("P|1|||BN001|^NGUYEN^VAN AN||19720815|M")
            assert first[2].startswith(f"O|1|000123^01^{'S1001':>22}^B||^^^^WBC\\^^^^HGB\\^^^^PLT|R||||||N|")
            assert first[2].endswith("|Q")
            assert first[-1] == "L|1|N"
            assert second[1:] == first[1:]
            # the query is in the journal like every message, and is no result
            await asyncio.to_thread(
                wait_until, lambda: gateway.status()["messages"] == {"processed": 2}, what="two messages"
            )


async def test_no_order_is_said(tmp_path: Path) -> None:
    """An id without order, a cancelled order, and orders of two patients under one id: the answer is "no order"."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway as gateway:
            for message in (
                oml("S2001"),
                oml("S2001", control="CA", number=2),
                oml("S2002"),
                oml("S2002", placer="P2", patient="BN002", number=2),
            ):
                assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, message)
            specimens = ("S2000", "S2001", "S2002", "S2002")
            answers = await asyncio.to_thread(ask, site.xn, *((specimen,) for specimen in specimens))
            for specimen, records in zip(specimens, answers, strict=True):
                assert told(records) == {specimen: []}
                assert records[2].endswith("|Y")
                assert not any("BN00" in record for record in records)
            # the ambiguous one waits for a person, once, however often it is asked
            await asyncio.to_thread(
                wait_until, lambda: gateway.status()["messages"] == {"processed": 3, "parked": 1}, what="one parked"
            )


async def test_several_specimens_in_one_query(tmp_path: Path) -> None:
    """Each is answered in the one answer, those without an order too."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway:
            for n, specimen in enumerate(("S3001", "S3003")):
                message = oml(specimen, placer=f"P{n}", patient=f"BN10{n}")
                assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, message)
            (records,) = await asyncio.to_thread(ask, site.xn, ("S3001", "S3002", "S3003"))
            assert told(records) == {"S3001": ["WBC", "HGB", "PLT"], "S3002": [], "S3003": ["WBC", "HGB", "PLT"]}
            assert [r.split("|")[4] for r in records if r.startswith("P|") and len(r) > 4] == ["BN100", "BN101"]


async def test_the_analyzer_goes_first(tmp_path: Path) -> None:
    """Its ENQ meets ours: its results are taken first, the answer follows, and nothing is lost."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway:
            assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, oml("S4001"))

            def contend() -> list[str]:
                analyzer = Astm(site.xn)
                try:
                    analyzer.session(frames_of(query("S4001")))
                    analyzer.expect_enq()
                    analyzer.socket.sendall(ENQ)  # contention: the host says nothing to this (6.2.7.1)
                    analyzer.session(frames_of(xn("S4001")))
                    return analyzer.receive()
                finally:
                    analyzer.close()

            assert told(await asyncio.to_thread(contend)) == {"S4001": ["WBC", "HGB", "PLT"]}
            await asyncio.to_thread(wait_until, lambda: len(emr.charts) == 3, what="three results")


async def test_results_flow_beside_queries(tmp_path: Path) -> None:
    """Query, answer, results, next query on one connection; each result finds its order."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        count = 8
        with site.gateway:
            for n in range(count):
                message = oml(f"S50{n:02}", placer=f"P{n}", patient=f"BN2{n:02}")
                assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, message)

            def work() -> None:
                analyzer = Astm(site.xn)
                try:
                    for n in range(count):
                        analyzer.session(frames_of(query(f"S50{n:02}")))
                        assert told(analyzer.receive()) == {f"S50{n:02}": ["WBC", "HGB", "PLT"]}
                        analyzer.session(frames_of(xn(f"S50{n:02}")))
                finally:
                    analyzer.close()

            await asyncio.to_thread(work)
            await asyncio.to_thread(wait_until, lambda: len(emr.charts) == 3 * count, what="all results")


async def test_a_query_that_is_taken_back_is_not_answered(tmp_path: Path) -> None:
    """While our answer waits for the line it takes its query back; the next one is answered."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway as gateway:
            assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, oml("S6001"))
            assert "|AA|" in await asyncio.to_thread(
                send_hl7, site.orders, oml("S6002", placer="P2", patient="BN002", number=2)
            )

            def change_mind() -> list[str]:
                analyzer = Astm(site.xn)
                try:
                    analyzer.session(frames_of(query("S6001")))
                    analyzer.expect_enq()
                    analyzer.socket.sendall(ENQ)  # contention: our answer waits for the end of this session
                    analyzer.session(frames_of(query("S6001", status="A")))
                    analyzer.session(frames_of(query("S6002")))
                    return analyzer.receive()
                finally:
                    analyzer.close()

            assert list(told(await asyncio.to_thread(change_mind))) == ["S6002"]
            assert any(entry["event"] == "query_taken_back" for entry in gateway.log)


async def test_an_order_that_is_cancelled_meanwhile_is_not_sent(tmp_path: Path) -> None:
    """Cancelled while the answer waits for the line: the answer says "no order"."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway:
            assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, oml("S7001"))
            analyzer = Astm(site.xn)
            try:

                def contend() -> None:
                    analyzer.session(frames_of(query("S7001")))
                    analyzer.expect_enq()
                    # contention: ours waits for the end of this session
                    analyzer.socket.sendall(ENQ)
                    analyzer.socket.sendall(ENQ)
                    analyzer.expect_ack()

                await asyncio.to_thread(contend)
                assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, oml("S7001", control="CA", number=2))
                analyzer.socket.sendall(EOT)
                assert told(await asyncio.to_thread(analyzer.receive)) == {"S7001": []}
            finally:
                analyzer.close()


@pytest.mark.parametrize("answer", [b"\x15", b"?"])
async def test_a_frame_that_is_refused_comes_again(tmp_path: Path, answer: bytes) -> None:
    """NAK, or what is no answer at all, to a frame of ours: the same frame again (6.5.1.2)."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway:
            assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, oml("S8001"))

            def refuse() -> tuple[bytes, bytes]:
                analyzer = Astm(site.xn)
                try:
                    analyzer.session(frames_of(query("S8001")))
                    analyzer.expect_enq()
                    analyzer.socket.sendall(ACK)
                    seen: list[bytes] = []
                    for reply in (answer, ACK):
                        got = b""
                        while not got.endswith(b"\r\n"):
                            got += analyzer.socket.recv(1)
                        seen.append(got)
                        analyzer.socket.sendall(reply)
                    return seen[0], seen[1]
                finally:
                    analyzer.close()

            first, second = await asyncio.to_thread(refuse)
            assert first == second
            assert first == frame(1, first[2:-5])


async def test_the_simulator_asks_and_shows_its_orders(tmp_path: Path) -> None:
    """`labgateway simulate sysmex_xn --query` against the running service: the orders, and "no order"."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway:
            assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, oml("S9001"))
            command = [
                sys.executable, "-m", "labgateway", "simulate", "sysmex_xn", "--to", f"tcp://127.0.0.1:{site.xn}",
                "--query", "S9001", "--query", "S9002", "--json",
            ]  # fmt: skip
            ran = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
            )
            assert ran.returncode == 0, ran.stderr
            assert json.loads(ran.stdout)["orders"] == [
                {"specimen": "S9001", "codes": ["WBC", "HGB", "PLT"]},
                {"specimen": "S9002", "codes": []},
            ]
