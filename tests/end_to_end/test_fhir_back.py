"""A FHIR server's results are compared with what was sent, by a running gateway and the command line, on Medplum's server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp

from tests.delivery import fhir_judges as judges
from tests.end_to_end.gateway import Gateway
from tests.end_to_end.outlets import Hospital
from tests.end_to_end.test_first_light import oml, xn


def section(url: str, more: str = "") -> str:
    return f"""\
[destination.fhir]
kind = "fhir"
url = "{url}"
patient_system = "https://emr.example/patients"
retry_max_s = 1
per_second = 500
{more}
"""


def parked(gateway: Gateway) -> dict[str, dict[str, Any]]:
    """By specimen and code."""
    found = map(json.loads, gateway.run("parked", "--json").stdout.splitlines())
    return {f"{one['specimen']} {one['code']}": one for one in found}


async def test_what_the_server_holds_is_compared_with_what_was_sent(tmp_path: Path) -> None:
    """One deleted, one changed, one given to another patient: found, shown to a person, closed when right again."""
    today = datetime.now(ZoneInfo("Asia/Ho_Chi_Minh")).date().isoformat()
    with judges.server() as url:
        hospital = Hospital(tmp_path, section(url), matching="")
        with hospital.gateway as gateway:
            for n in range(4):
                specimen = f"S7{n:03}"
                await hospital.orders_come(oml(specimen, placer=f"P{n}", patient=f"BN{n:03}", number=n))
                await hospital.measures(xn(specimen, wbc=f"{n}.50"))
            await hospital.settled(4, "fhir")
            run = asyncio.to_thread
            good = await run(gateway.run, "reconcile", "--day", today, "--json")
            assert good.returncode == 0, good.stdout + good.stderr
            (proof,) = json.loads(good.stdout)
            assert (proof["states"], proof["compared"], proof["found"]) == ({"settled": 4}, 12, [])
            async with aiohttp.ClientSession() as session:
                async with session.get(f"{url}Observation?_count=100") as answer:
                    held = [e["resource"] for e in (await answer.json(content_type=None))["entry"]]
                by_name = {
                    (one["subject"]["identifier"]["value"], next(c["code"] for c in one["code"]["coding"][-1:])): one
                    for one in held
                }
                gone, changed, given = (by_name[key] for key in (("BN001", "PLT"), ("BN002", "WBC"), ("BN003", "HGB")))
                async with session.delete(f"{url}Observation/{gone['id']}") as answer:
                    assert answer.status < 300
                other = {**given["subject"], "identifier": {**given["subject"]["identifier"], "value": "BN000"}}
                for one in (
                    {**changed, "valueQuantity": {**changed["valueQuantity"], "value": 25.0}},
                    {**given, "subject": other},
                ):
                    async with session.put(f"{url}Observation/{one['id']}", json=one) as answer:
                        assert answer.status == 200
                bad = await run(gateway.run, "reconcile", "fhir", "--day", today)
                assert bad.returncode == 1
                for words in ("differs in value", "differs in subject", "is not there"):
                    assert words in bad.stdout
                assert {name: one["reason"] for name, one in parked(gateway).items()} == {
                    "S7001 PLT": "NOT_THERE", "S7002 WBC": "DIFFERS_THERE", "S7003 HGB": "DIFFERS_THERE",
                }  # fmt: skip
                for one in (changed, given):
                    async with session.put(f"{url}Observation/{one['id']}", json=one) as answer:
                        assert answer.status == 200
            number = parked(gateway)["S7001 PLT"]["detail"].split()[1]
            again = await run(gateway.run, "resend", number, "--by", "Lan", "--because", "it was deleted there")
            assert again.returncode == 0, again.stdout + again.stderr
            await hospital.settled(4, "fhir")
            assert (await run(gateway.run, "reconcile", "--day", today)).returncode == 0
            assert parked(gateway) == {}
            log = "\n".join(gateway.raw_log)
            assert "S700" not in log and "BN00" not in log


class Shut(BaseHTTPRequestHandler):
    """A server that takes every transaction and lets nobody read."""

    def do_POST(self) -> None:
        """Created, all of it."""
        bundle = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        entries = [{"response": {"status": "201 Created"}} for _ in bundle["entry"]]
        body = json.dumps({"resourceType": "Bundle", "type": "transaction-response", "entry": entries}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """Forbidden."""
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def shut() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shut)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/fhir"
    server.shutdown()


async def test_a_server_that_lets_nobody_read(tmp_path: Path) -> None:
    """It is said plainly and nothing is parked; with read_back = false it is not asked."""
    today = datetime.now(ZoneInfo("Asia/Ho_Chi_Minh")).date().isoformat()
    with shut() as url:
        hospital = Hospital(tmp_path, section(url))
        with hospital.gateway as gateway:
            await hospital.measures(xn("S7101"))
            await hospital.settled(1, "fhir")
            done = await asyncio.to_thread(gateway.run, "reconcile", "--day", today)
            assert done.returncode == 1
            said = " ".join(done.stdout.split())
            assert "it does not let us read Observation (403): allow that there, or write read_back = false" in said
            assert parked(gateway) == {}
            gateway.config.write_text(hospital.text.replace("per_second", "read_back = false\nper_second"))
            done = await asyncio.to_thread(gateway.run, "reconcile", "--day", today, "--json")
            assert done.returncode == 0 and json.loads(done.stdout)[0]["compared"] is None
