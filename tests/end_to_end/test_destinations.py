"""Several destinations of one running gateway: each its own form and filter; sent again; in shadow; certificates."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import trustme
from aiohttp import web

from tests.delivery.emr import Emr, Fault
from tests.delivery.fhir_judges import read
from tests.delivery.judges import validate
from tests.end_to_end.analyzer import wait_until
from tests.end_to_end.test_first_light import Site, oml, seen, send_astm, send_hl7, states, xn


class Web:
    """A HIS with a REST API and a FHIR server, which take everything."""

    def __init__(self) -> None:
        self.taken: dict[str, list[tuple[str, bytes]]] = {"his": [], "fhir": []}
        self.port = 0

    async def his(self, request: web.Request) -> web.Response:
        """Created."""
        self.taken["his"].append((request.headers["Idempotency-Key"], await request.read()))
        return web.Response(status=201)

    async def fhir(self, request: web.Request) -> web.Response:
        """A transaction's answer."""
        body = await request.read()
        self.taken["fhir"].append((request.headers["Idempotency-Key"], body))
        entries = [{"response": {"status": "201 Created"}} for _ in json.loads(body)["entry"]]
        return web.json_response({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})


@asynccontextmanager
async def served() -> AsyncIterator[Web]:
    """Listening."""
    there = Web()
    app = web.Application()
    app.router.add_post("/results", there.his)
    app.router.add_post("/fhir", there.fhir)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    there.port = runner.addresses[0][1]
    try:
        yield there
    finally:
        await runner.cleanup()


FORM = '{"sample": "{specimen}", "items": [{"test": "{code}", "result": "{number}"}]}'


async def test_each_destination_gets_its_own_form_of_what_it_wants(tmp_path: Path) -> None:
    """One message in: HL7 2.3 for the EMR, JSON of its own for the HIS (no sensitive test), FHIR for a third (only WBC)."""
    (tmp_path / "his.json").write_text(FORM)
    async with Emr(check=False) as emr, served() as there:
        extra = f"""
[destination.his]
kind = "http"
url = "http://127.0.0.1:{there.port}/results"
template_file = "his.json"
sensitive = "leave_out"
[destination.fhir]
kind = "fhir"
url = "http://127.0.0.1:{there.port}/fhir"
tests = ["WBC"]
[destination.twin]
kind = "mllp"
host = "127.0.0.1"
port = {emr.port}
shadow = true
wards = ["KHOA-NGOAI"]
"""
        site = Site(tmp_path, emr, extra=extra, options='version = "2.3"\none_result_each = true')
        text = site.gateway.config.read_text(encoding="utf-8")
        site.gateway.config.write_text(text.replace("[gateway]", '[gateway]\nsensitive = ["PLT"]'), encoding="utf-8")
        with site.gateway as gateway:
            await asyncio.to_thread(send_hl7, site.orders, oml("S1001"))
            await asyncio.to_thread(send_astm, site.xn, xn("S1001"))
            await states(gateway, released=3)
            await asyncio.to_thread(wait_until, lambda: len(emr.received) == 3, what="three messages")
            await asyncio.to_thread(
                wait_until, lambda: all(len(taken) == 1 for taken in there.taken.values()), what="one each"
            )
            for one in emr.received:
                assert one.raw.count(b"OBX|") == 1
                assert b"|P|2.3|" in one.raw and b"SPM|" not in one.raw and b"|S1001|" in one.raw
                validate(one.raw)
            ((_, body),) = there.taken["his"]
            items = [{"test": "WBC", "result": 5.21}, {"test": "HGB", "result": 134}]
            assert json.loads(body) == {"sample": "S1001", "items": items}
            ((_, body),) = there.taken["fhir"]
            observed = [e["resource"] for e in read(body)["entry"] if e["resource"]["resourceType"] == "Observation"]
            assert [str(one["valueQuantity"]["value"]) for one in observed] == ["5.21"]
            found = await asyncio.to_thread(gateway.status)
            assert {name: way["state"] for name, way in found["destinations"].items()} == {
                "emr": "answering", "his": "answering", "fhir": "answering", "twin": "shadow",
            }  # fmt: skip
            assert "twin" not in found["deliveries"], "another ward's"
            logged = "\n".join(gateway.raw_log)
            assert "S1001" not in logged and "BN001" not in logged


async def test_a_day_goes_again_as_it_was(tmp_path: Path) -> None:
    """Same bytes, same ids, corrections last; a parked specimen is left alone; who and why are asked; a shadow refuses."""
    async with Emr() as emr:
        extra = f'[destination.twin]\nkind = "mllp"\nhost = "127.0.0.1"\nport = {emr.port}\nshadow = true\n'
        site = Site(tmp_path, emr, matching='without_order = "send"', extra=extra)
        with site.gateway as gateway:
            await asyncio.to_thread(send_astm, site.xn, *(xn(f"S5{n:03}", wbc=f"{n}.5") for n in range(5)))
            await seen(emr, 15)
            await states(gateway, released=15)
            emr.fault = lambda received: Fault.AE if b"S5999" in received.raw else None
            await asyncio.to_thread(send_astm, site.xn, xn("S5999"))
            await asyncio.to_thread(
                wait_until, lambda: gateway.status()["deliveries"]["emr"].get("parked") == 1, what="one parked"
            )
            before = [(r.control_id, r.raw) for r in emr.received if r.taken]
            zone_day = f"{datetime.now(ZoneInfo('Asia/Ho_Chi_Minh')):%Y-%m-%d}"
            newest = gateway.run("deliveries", "--json", "--limit", "1")
            assert newest.returncode == 0, newest.stderr
            assert json.loads(newest.stdout)["specimen"] == "S5999"
            bare = gateway.run("resend", "--destination", "emr", "--day", zone_day)
            assert bare.returncode == 1 and "Say who decides and why" in bare.stdout
            signed = ("--by", "Hoa", "--because", "lost in the upgrade")
            done = gateway.run("resend", "--destination", "emr", "--day", zone_day, *signed)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "5 deliveries to emr again" in done.stdout
            await asyncio.to_thread(wait_until, lambda: len(emr.received) >= len(before) + 6, what="five again")
            again = [(r.control_id, r.raw) for r in emr.received if r.taken][len(before) :]
            assert sorted(again) == sorted(before)
            assert not emr.complaints
            number = json.loads(
                gateway.run("deliveries", "--json", "--specimen", "S5001", "--destination", "emr").stdout
            )["id"]
            one = gateway.run("resend", f"d{number}", *signed)
            assert "1 delivery to emr again" in one.stdout
            await asyncio.to_thread(wait_until, lambda: len(emr.received) >= len(before) + 7, what="one more")
            emr.fault = lambda _: None
            wrong = gateway.run("parked", "skip", "--destination", "emr", *signed)
            assert wrong.returncode == 1 and "only with retry" in wrong.stderr
            assert gateway.run("parked", "retry", "--destination", "emr", *signed).returncode == 0
            await asyncio.to_thread(
                wait_until, lambda: gateway.status()["deliveries"]["emr"] == {"settled": 6}, what="all settled"
            )
            shadow = gateway.run("resend", "--destination", "twin", "--day", zone_day, *signed)
            assert "Nothing that twin has taken" in shadow.stdout
            body = gateway.run("deliveries", f"d{number}", "--body").stdout
            assert "OBX|1|NM|WBC" in body
            report = gateway.run("shadow", "twin", "--day", zone_day).stdout
            assert "18 results in 6 messages would have been sent" in report
            assert "S5003" in report and "3.5" in report


async def test_a_certificate_that_ends_soon_is_said(tmp_path: Path) -> None:
    """In the status and in the log, before it is over; a certificate that is not there costs its destination only."""
    leaf = trustme.CA().issue_cert("gateway", not_after=datetime.now(UTC) + timedelta(days=12, hours=1))
    (tmp_path / "mine.pem").write_bytes(
        b"".join(p.bytes() for p in leaf.cert_chain_pems) + leaf.private_key_pem.bytes()
    )
    async with Emr() as emr:
        extra = f"""
[destination.far]
kind = "mllp"
host = "127.0.0.1"
port = {emr.port}
tls = {{ certificate_file = "mine.pem" }}
[destination.gone]
kind = "mllp"
host = "127.0.0.1"
port = {emr.port}
tls = {{ ca_file = "not-there.pem" }}
"""
        site = Site(tmp_path, emr, matching='without_order = "send"', extra=extra)
        with site.gateway as gateway:
            await asyncio.to_thread(send_astm, site.xn, xn("S1"))
            await seen(emr, 3)

            def away() -> dict[str, Any]:
                return gateway.status()["destinations"]

            await asyncio.to_thread(
                wait_until, lambda: away()["gone"]["state"] == "away", what="the one without its file"
            )
            found = await asyncio.to_thread(away)
            assert "ends in 12 days" in found["far"]["warnings"][0]
            assert "not-there.pem is not there" in found["gone"]["why"]
            assert found["emr"]["state"] == "answering"
            assert [line["destination"] for line in gateway.events("certificate_ends")] == ["far"]
            checked = gateway.run("check")
            assert "not-there.pem" in checked.stdout
