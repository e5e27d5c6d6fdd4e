"""HL7 analyzers that ask for their work, and that are told it unasked, by a running service: orders, answers, results, EMR."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import wait_until
from tests.end_to_end.gateway import Gateway, free_port
from tests.end_to_end.instrument_hl7 import Instrument, field, law_query, law_result, rows
from tests.end_to_end.test_first_light import oml, send_hl7, states

TESTS = '"WBC" = { emr = "WBC" }\n"HGB" = { emr = "HGB" }\n'
DRIVERS = {
    "law1": ("ihe_law", TESTS),
    "bs1": ("mindray_bs", '"1" = { emr = "WBC" }\n"3" = { emr = "HGB" }\n'),
    "bc1": ("mindray_bc", '"6690-2" = { emr = "WBC" }\n"718-7" = { emr = "HGB" }\n"777-3" = { emr = "PLT" }\n'),
    "gx1": ("cepheid_genexpert_hl7", TESTS),
}


class Site:
    """A small hospital with four HL7 analyzers."""

    def __init__(self, folder: Path, emr: Emr, *, orders: str = "") -> None:
        self.ports = {name: free_port() for name in DRIVERS}
        self.orders = free_port()
        (folder / "mappings").mkdir(exist_ok=True)
        text = '[gateway]\nname = "LABGATEWAY"\nfacility = "TEST"\n'
        for name, (driver, tests) in DRIVERS.items():
            panel = '[panels]\nCBC = ["WBC", "HGB"]\n'
            (folder / "mappings" / f"{name}.toml").write_text(
                f'instrument = "{name}"\nchecked = "test"\n[tests]\n{tests}{panel}', encoding="utf-8"
            )
            text += f'[instrument.{name}]\ndriver = "{driver}"\nmapping = "{name}.toml"\n{orders if name == "law1" else ""}\n'
            text += f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {self.ports[name]} }}\n'
        text += f'[orders.emr]\nkind = "mllp-listen"\nhost = "127.0.0.1"\nport = {self.orders}\n'
        text += f'[destination.emr]\nkind = "mllp"\nhost = "127.0.0.1"\nport = {emr.port}\n'
        self.gateway = Gateway(folder, text)

    async def order(self, specimen: str, **rest: str) -> None:
        """The EMR orders a CBC (WBC and HGB) on a specimen."""
        number = int(rest.pop("number", "1"))
        assert "|AA|" in await asyncio.to_thread(send_hl7, self.orders, oml(specimen, number=number, **rest))  # pyright: ignore[reportArgumentType]


async def seen(emr: Emr, count: int) -> None:
    await asyncio.to_thread(wait_until, lambda: len(emr.charts) >= count, what=f"{count} observations")


async def test_a_law_instrument_asks_measures_and_sends(tmp_path: Path) -> None:
    """QBP^Q11 -> RSP^K11 and OML^O33 in less than a second; ORL^O34; OUL^R22 -> ACK; the EMR has both results."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway as gateway:
            await site.order("S1001")

            def work() -> list[str]:
                with Instrument(site.ports["law1"]) as law:
                    began = time.monotonic()
                    law.send(law_query("S1001", "Q1"))
                    reply, order = law.receive(), law.receive()
                    took = time.monotonic() - began
                    assert took < 1.0, took
                    assert [row[0] for row in rows(reply)] == ["MSH", "MSA", "QAK", "QPD"]
                    assert field(reply, "MSA", 2) == "Q1"
                    assert field(reply, "QAK", 2) == "OK"
                    assert field(order, "PID", 3) == "BN001"
                    assert field(order, "PID", 5) == "NGUYỄN^VĂN AN"
                    assert field(order, "SPM", 2) == field(order, "SAC", 3) == "S1001"
                    codes = [row[4] for row in rows(order) if row[0] == "OBR"]
                    steps = [row[2] for row in rows(order) if row[0] == "OBR"]
                    law.accept(order)
                    assert "MSA|AA|R1" in law.ask(
                        law_result("S1001", "R1", dict(zip(codes, ("5.21", "134"), strict=True)), steps)
                    )
                    # asked again, the same orders have the same numbers
                    law.send(law_query("S1001", "Q2"))
                    assert field(law.receive(), "MSA", 2) == "Q2"
                    again = law.receive()
                    assert [row[2] for row in rows(again) if row[0] == "OBR"] == steps
                    law.accept(again)
                    return codes

            assert await asyncio.to_thread(work) == ["WBC", "HGB"]
            await seen(emr, 2)
            assert not emr.complaints
            assert {(one.code.split("^")[0], one.value) for one in emr.charts.values()} == {
                ("WBC", "5.21"),
                ("HGB", "134"),
            }
            assert all(one.patient.startswith("BN001") for one in emr.charts.values())
            status = await states(gateway, released=2)
            assert status["messages"] == {"processed": 5}


async def test_no_order_is_said_to_a_law_instrument(tmp_path: Path) -> None:
    """Unknown, cancelled, and orders of two patients under one id: OML^O33 with ORC-1 DC and nobody's name."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway as gateway:
            await site.order("S2001")
            await site.order("S2001", control="CA", number="2")
            await site.order("S2002")
            await site.order("S2002", placer="P2", patient="BN002", number="2")

            def work() -> None:
                with Instrument(site.ports["law1"]) as law:
                    for specimen in ("S2000", "S2001", "S2002", "S2002"):
                        law.send(law_query(specimen, f"Q{specimen}"))
                        assert field(law.receive(), "QAK", 2) == "OK"
                        order = law.receive()
                        assert [row[0] for row in rows(order)] == ["MSH", "SPM", "SAC", "ORC"]
                        assert (field(order, "SPM", 2), field(order, "ORC", 1)) == (specimen, "DC")
                        law.accept(order)

            await asyncio.to_thread(work)
            # the ambiguous one waits for a person, once, however often it is asked
            await asyncio.to_thread(
                wait_until, lambda: gateway.status()["messages"] == {"processed": 7, "parked": 1}, what="one parked"
            )


async def test_mindray_bs_asks(tmp_path: Path) -> None:
    """QRY^Q02 -> QCK^Q02 and DSR^Q03, ACK^Q03; NF for what nobody ordered; CAN; then results."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway:
            await site.order("S3001")
            header = "MSH|^~\\&|Mindray|BS-480|||20261122081500||{}|1|P|2.3.1||||{}||ASCII|||"
            query = "\r".join(
                [header.format("QRY^Q02", ""), "QRD|20261122081500|R|D|1|||RD|{}|{}|||T|",
                 "QRF|BS-480|20261122081500|20261122081500|||RCT|COR|ALL||"]
            )  # fmt: skip

            def work() -> None:
                with Instrument(site.ports["bs1"]) as bs:
                    began = time.monotonic()
                    bs.send(query.format("S3001", "OTH"))
                    check, orders = bs.receive(), bs.receive()
                    assert time.monotonic() - began < 1.0
                    assert check.split("\r")[1:] == ["MSA|AA|1|Message accepted|||0", "ERR|0", "QAK|SR|OK", ""]
                    lines = [row[3] for row in rows(orders) if row[0] == "DSP" and len(row) > 3]
                    assert lines == ["BN001", "NGUYEN VAN AN", "19720815000000", "M", "S3001", "N", "1^^^", "3^^^"]
                    bs.send(
                        header.format("ACK^Q03", "") + f"\rMSA|AA|{field(orders, 'MSH', 10)}|Message accepted|||0|\r"
                    )
                    bs.send(query.format("S3009", "OTH"))
                    assert "QAK|SR|NF\r" in bs.receive()
                    bs.send(query.format("S3001", "CAN"))
                    assert "QAK|SR|OK\r" in bs.receive()
                    for number, value in (("1", "5.21"), ("3", "134.000000")):
                        result = "\r".join(
                            [header.format("ORU^R01", "0"), "PID|1|BN001", "OBR|1|S3001|7|Mindray^BS-480|N",
                             f"OBX|1|NM|{number}|T|{value}||||||F||{value}|20261122081600"]
                        )  # fmt: skip
                        assert "MSA|AA|1|Message accepted|||0\r" in bs.ask(result)

            await asyncio.to_thread(work)
            await seen(emr, 2)
            assert not emr.complaints


async def test_mindray_bc_and_genexpert_ask(tmp_path: Path) -> None:
    """ORM^O01 -> ORR^O02 with the mode, or AR; QBP^Z03 -> RSP^Z02 with the orders in it, or NF."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway as gateway:
            await site.order("S4001")

            def work() -> None:
                with Instrument(site.ports["bc1"]) as bc:
                    orm = "MSH|^~\\&|BC-5380|Mindray|||20261122081500||ORM^O01|4|P|2.3.1||||||UNICODE\rORC|RF||{}||IP\r"
                    found = bc.ask(orm.format("S4001"))
                    assert [row[0] for row in rows(found)] == ["MSH", "MSA", "PID", "ORC", "OBR", "OBX"]
                    assert "MSA|AA|4\r" in found
                    assert "ORC|AF|S4001\r" in found
                    assert "|08003^Test Mode^99MRC||CBC|" in found
                    assert "MSA|AR|4\r" in bc.ask(orm.format("S4009"))
                with Instrument(site.ports["gx1"]) as gx:
                    qbp = (
                        "MSH|^~\\&|ICU^GeneXpert^1.0||LIS||20261122081500||QBP^Z03^QBP_Z03|662f|P|2.5\r"
                        "QPD|Z03^HOST QUERY|662f|P9|{}\rRCP|I\r"
                    )
                    found = gx.ask(qbp.format("S4001"))
                    assert "QAK|662f|OK|Z03^HOST QUERY\r" in found
                    assert [row[4] for row in rows(found) if row[0] == "OBR"] == ["WBC", "HGB"]
                    assert "QAK|662f|NF|Z03^HOST QUERY\r" in gx.ask(qbp.format("S4009"))
                    reject = qbp.split("QPD")[0].replace("QBP^Z03^QBP_Z03", "ORU^R32^ORU_R30")
                    reject += f"PID|1||BN001\rORC|OC|1\rOBR|1|||WBC{'|' * 21}X\rSPM|1|S4001\r"
                    assert "MSA|CA|662f\r" in gx.ask(reject)

            await asyncio.to_thread(work)

            def parked() -> bool:
                return [json.loads(one)["reason"] for one in gateway.run("parked", "--json").stdout.splitlines()] == [
                    "ORDER_REFUSED"
                ]

            await asyncio.to_thread(wait_until, parked, what="the refusal is parked")


async def test_several_queries_at_once_and_results_between(tmp_path: Path) -> None:
    """Ten queries in one write, with a result among them: each gets its own reply and orders, one OML at a time."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway:
            for n in range(10):
                await site.order(f"S50{n:02}", placer=f"P{n}", patient=f"BN2{n:02}")

            def work() -> None:
                with Instrument(site.ports["law1"]) as law:
                    law.send(
                        *(law_query(f"S50{n:02}", f"Q{n}") for n in range(10)), law_result("S5000", "R1", {"WBC": "5"})
                    )
                    replies: list[str] = []
                    orders: list[str] = []
                    while len(orders) < 10:
                        message = law.receive()
                        match field(message, "MSH", 9).split("^")[0]:
                            case "RSP":
                                replies.append(field(message, "MSA", 2))
                            case "OML":
                                patient = field(message, "PID", 3)
                                assert patient == f"BN2{field(message, 'SPM', 2)[-2:]}"
                                orders.append(field(message, "SPM", 2))
                                law.accept(message)
                            case other:
                                assert (other, field(message, "MSA", 2)) == ("ACK", "R1")
                    assert sorted(replies) == [f"Q{n}" for n in range(10)]
                    assert sorted(orders) == [f"S50{n:02}" for n in range(10)]

            await asyncio.to_thread(work)
            await seen(emr, 1)


async def test_an_order_that_the_instrument_refuses(tmp_path: Path) -> None:
    """ORC-1 UA: not sent again; the message waits for a person with its codes, and once however often it comes."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway as gateway:
            await site.order("S6001")

            def work() -> None:
                with Instrument(site.ports["law1"], patience_s=3) as law:
                    for number in (1, 2):
                        law.send(law_query("S6001", f"Q{number}"))
                        law.receive()
                        law.accept(law.receive(), "UA")
                        assert law.is_silent(1.0)

            await asyncio.to_thread(work)
            status = await states(gateway)
            await asyncio.to_thread(
                wait_until,
                lambda: gateway.status()["messages"] == {"processed": 3, "parked": 1},
                what=f"one parked {status}",
            )
            parked = [json.loads(one) for one in gateway.run("parked", "--json").stdout.splitlines()]
            assert [one["reason"] for one in parked] == ["ORDER_REFUSED"]
            assert "ORC-1 UA" in json.dumps(parked)
            assert any(entry["event"] == "order_refused" for entry in gateway.log)


async def test_orders_that_nobody_asked_for(tmp_path: Path) -> None:
    """New, further and cancelled orders as OML^O33, each when the one before was answered; a repeat tells nothing."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, orders='orders = "unasked"')
        with site.gateway as gateway, Instrument(site.ports["law1"]) as law:

            async def told(*, accept: str = "OK") -> tuple[str, str, list[str], list[str]]:
                message = await asyncio.to_thread(law.receive)
                law.accept(message, accept)
                tests = [row for row in rows(message) if row[0] == "OBR"]
                return field(message, "ORC", 1), field(message, "SPM", 2), [t[4] for t in tests], [t[2] for t in tests]

            def order(code: str, control: str = "NW", number: int = 1) -> str:
                return oml("S7001", placer=f"P-{code}", control=control, number=number).replace(
                    "CBC^Công thức máu^L", f"{code}^{code}^L"
                ).replace("|S70011|", f"|{code}{number}|")  # fmt: skip

            assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, order("WBC"))
            control, specimen, codes, wbc = await told()
            assert (control, specimen, codes) == ("NW", "S7001", ["WBC"])
            assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, order("HGB", number=2))
            assert (await told())[:3] == ("NW", "S7001", ["HGB"])
            assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, order("WBC", "CA", number=3))
            assert await told() == ("CA", "S7001", ["WBC"], wbc)
            assert "MSA|AA|R1" in await asyncio.to_thread(law.ask, law_result("S7001", "R1", {"HGB": "134"}))
            await seen(emr, 1)
            assert [entry["action"] for entry in gateway.log if entry["event"] == "order_told"] == [
                "unasked",
                "add",
                "cancel",
            ]


async def test_an_instrument_that_was_away_is_told_later(tmp_path: Path) -> None:
    """What was ordered while it was away is told when it is back, once; what it refuses is not told again."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, orders='orders = "unasked"')
        with site.gateway as gateway:
            await site.order("S8001")

            def work() -> None:
                with Instrument(site.ports["law1"], patience_s=15) as law:
                    message = law.receive()
                    assert field(message, "SPM", 2) == "S8001"
                    law.accept(message, "UA")
                    assert law.is_silent(7.0)

            await asyncio.to_thread(work)
            await asyncio.to_thread(
                wait_until, lambda: gateway.status()["messages"].get("parked") == 1, what="the refusal is parked"
            )


async def test_orders_on_a_connection_of_their_own(tmp_path: Path) -> None:
    """LAW: we call the analyzer for LAB-28; it asks and sends on the other connection. Both ways, asked and unasked."""
    async with Emr() as emr:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(15)
            port = server.getsockname()[1]
            second = f'orders_line = {{ kind = "tcp", host = "127.0.0.1", port = {port} }}'
            site = Site(tmp_path, emr, orders=second)
            with site.gateway:
                await site.order("S7501")

                def work() -> None:
                    accepted, _ = server.accept()
                    with Instrument(0, accepted=accepted) as host, Instrument(site.ports["law1"]) as law:
                        law.send(law_query("S7501", "Q1"))
                        assert field(law.receive(), "QAK", 2) == "OK"
                        order = host.receive()
                        assert (field(order, "SPM", 2), field(order, "ORC", 1)) == ("S7501", "NW")
                        host.accept(order)
                        assert law.is_silent(0.3)
                        law.send(law_query("S7509", "Q2"))
                        assert field(law.receive(), "MSA", 2) == "Q2"
                        order = host.receive()
                        assert field(order, "ORC", 1) == "DC"
                        host.accept(order)
                        assert "MSA|AA|R1" in law.ask(law_result("S7501", "R1", {"WBC": "5.21", "HGB": "134"}))

                await asyncio.to_thread(work)
                await seen(emr, 2)


async def test_the_simulator_asks_in_hl7(tmp_path: Path) -> None:
    """`labgateway simulate ihe_law --query` and the others against the running service: the orders, and "no order"."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway:
            await site.order("S9001")
            for name, codes in (("law1", ["WBC", "HGB"]), ("bs1", ["1", "3"]), ("bc1", ["CBC"])):
                driver = DRIVERS[name][0]
                command = [
                    sys.executable, "-m", "labgateway", "simulate", driver, "--to", f"tcp://127.0.0.1:{site.ports[name]}",
                    "--query", "S9001", "--query", "S9002", "--json",
                ]  # fmt: skip
                ran = await asyncio.to_thread(
                    subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
                )
                assert ran.returncode == 0, (name, ran.stderr, ran.stdout)
                assert json.loads(ran.stdout)["orders"] == [
                    {"specimen": "S9001", "codes": codes},
                    {"specimen": "S9002", "codes": []},
                ]
