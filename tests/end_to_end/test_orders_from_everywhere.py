"""Orders by FHIR, from a folder and by hand, into a running service: each finds its result."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from sqlalchemy import create_engine

from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import wait_until
from tests.end_to_end.gateway import free_port
from tests.end_to_end.test_first_light import Site, oml, seen, send_astm, send_hl7, states, xn
from tests.orders.test_fhir import alone, bundle
from tests.postgresql import schema

TOKEN = "ZZCANARY-very-secret"


def post(
    port: int,
    body: Any,
    *,
    path: str = "/fhir",
    token: str = TOKEN,
    kind: str = "application/fhir+json",
    ca: Path | None = None,
) -> tuple[int, dict[str, Any]]:
    """One request, as an EMR's HTTP library makes it."""
    if ca is None:
        caller = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    else:
        trusted = ssl.create_default_context(cafile=str(ca))
        caller = http.client.HTTPSConnection("localhost", port, timeout=20, context=trusted)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": kind, **({"Authorization": f"Bearer {token}"} if token else {})}
        caller.request("POST", path, data, headers)
        answer = caller.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        caller.close()


def fhir(specimen: str, placer: str, **changes: Any) -> dict[str, Any]:
    return alone(
        identifier=[{"value": placer}], code={"coding": [{"code": "CBC"}]}, specimen=[{"identifier": {"value": specimen}}],
        **changes,
    )  # fmt: skip


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A certificate and its authority."""
    ca = trustme.CA()
    made = ca.issue_cert("localhost")
    made.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    yield tmp_path / "server.pem", tmp_path / "ca.pem"


async def test_orders_by_fhir(tmp_path: Path, authority: tuple[Path, Path]) -> None:
    """Over TLS with a token: taken, repeated, changed, revoked; refused with the element; a result finds each."""
    server, ca = authority
    (tmp_path / "orders.token").write_text(TOKEN + "\n", encoding="utf-8")
    port = free_port()
    extra = f"""
[orders.web]
kind = "fhir-listen"
host = "127.0.0.1"
port = {port}
token_file = "orders.token"
tls = {{ certificate_file = "{server}", key_file = "{server}" }}
"""
    async with Emr() as emr:
        site = Site(tmp_path, emr, extra=extra)
        with site.gateway as gateway:

            async def said(body: Any, **more: Any) -> tuple[int, dict[str, Any]]:
                return await asyncio.to_thread(post, port, body, ca=ca, **more)

            assert (await said(fhir("S1", "O-1")))[0] == 201
            assert (await said(fhir("S1", "O-1")))[0] == 201, "a repeat is harmless"
            await asyncio.to_thread(send_astm, site.xn, xn("S1"))
            await seen(emr, 3)
            assert {one.placer for one in emr.charts.values()} == {"O-1"}

            status, answer = await said(bundle(request=fhir("S2", "O-2", subject={"reference": "Patient/p1"})))
            assert (status, answer["type"]) == (200, "transaction-response")
            assert (await said(fhir("S3", "O-2")))[0] == 201, "the same order on another tube"
            assert (await said(fhir("S3", "O-3", status="revoked")))[1]["issue"][0]["code"] == "not-found"
            await asyncio.to_thread(send_astm, site.xn, xn("S2", wbc="7"), xn("S3", wbc="8"))
            await states(gateway, released=6, held=3)

            day = gateway.run("balance", "--json")
            proof = json.loads(day.stdout)
            assert (day.returncode, proof["balances"], proof["received"]) == (0, True, 12)
            assert (proof["results"]["delivered"], proof["results"]["held"], proof["results"]["left out"]) == (6, 3, 3)
            trace = json.loads(gateway.run("trace", "S1", "--json", "--raw").stdout)
            first = trace["messages"][0]["results"][0]
            assert first["record"]["text"].startswith("R|1|^^^^WBC^1|5.21")
            assert first["mapping"]["text"].startswith("WBC = { emr")
            assert "It balances." in gateway.run("balance").stdout
            assert "bytes" in gateway.run("trace", first["observation"]).stdout

            for body, more, expected in (
                (fhir("S4", "O-4"), {"token": "wrong"}, 401),
                (fhir("S4", "O-4"), {"token": ""}, 401),
                (fhir("S4", "O-4"), {"path": "/elsewhere"}, 404),
                (fhir("S4", "O-4"), {"kind": "text/plain"}, 415),
                (b"{", {}, 400),
                (fhir("S4", ""), {}, 422),
                (b" " * (16 * 1024 * 1024 + 1), {}, 413),
            ):
                status, answer = await said(body, **more)
                assert (status, answer["resourceType"]) == (expected, "OperationOutcome"), answer
            status, answer = await said(fhir("S4", ""))
            assert answer["issue"][0]["expression"] == ["ServiceRequest.identifier"]
            listed = gateway.run("orders", "list", "S3", "--json")
            assert [json.loads(line)["state"] for line in listed.stdout.splitlines()] == ["open"]
            assert gateway.run("orders", "list", "S4").returncode == 1
            assert not [
                line for line in gateway.raw_log if "BN001" in line or "O-1" in line or TOKEN in line or "S4" in line
            ]


async def test_orders_from_a_folder(tmp_path: Path) -> None:
    """HL7, FHIR and a table; whole files only; moved aside with an answer; the gateway killed and started between."""
    folder = tmp_path / "in"
    folder.mkdir()
    extra = f'[orders.files]\nkind = "folder"\npath = "{folder}"\nrest_s = 0.3\n'
    table = "order,specimen,test,patient\nO-1,S1,CBC,BN001\nO-2,,CBC,BN002\nO-3,S3,CBC,BN003\n"
    async with Emr() as emr:
        site = Site(tmp_path, emr, extra=extra)
        with site.gateway as gateway:
            (folder / "half.csv.part").write_text(table, encoding="utf-8")
            (folder / "a.csv").write_text(table, encoding="utf-8")
            (folder / "b.hl7").write_text(
                (oml("S2", placer="H-1") + oml("", placer="H-2")).replace("\r", "\r\n"), encoding="utf-8"
            )
            (folder / "c.json").write_text(json.dumps(fhir("S4", "F-1")), encoding="utf-8")
            (folder / "d.json").write_text(json.dumps(fhir("S5", "F-2"))[:-20], encoding="utf-8")
            wait_until(lambda: sum(1 for p in folder.iterdir() if p.is_file()) == 1, what="the files to be taken")
            assert {p.name for p in (folder / "done").iterdir()} == {"c.json", "c.json.answer.json"}
            assert {
                p.name for p in (folder / "refused").iterdir() if p.suffix != ".json" or "answer" not in p.name
            } == {
                "a.csv",
                "b.hl7",
                "d.json",
            }
            answer = json.loads((folder / "refused" / "a.csv.answer.json").read_text(encoding="utf-8"))
            assert [(one["place"], one["ok"]) for one in answer["orders"]] == [
                ("line 3", False),
                ("line 2", True),
                ("line 4", True),
            ]
            assert "specimen is empty" in answer["orders"][0]["did"]
            await asyncio.to_thread(send_astm, site.xn, *(xn(f"S{n}", wbc=str(n)) for n in (1, 2, 3, 4)))
            await seen(emr, 12)
            assert {one.placer for one in emr.charts.values()} == {"O-1", "H-1", "O-3", "F-1"}
            gateway.kill()
            (folder / "e.csv").write_text("order,specimen,test,patient\nO-9,S9,CBC,BN009\n", encoding="utf-8")
            gateway.start()
            wait_until((folder / "done" / "e.csv").exists, what="the file that came meanwhile")


async def test_orders_by_hand(tmp_path: Path) -> None:
    """orders import says what became of each order; the same file again is harmless; exit code 1 where one was refused."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        file = tmp_path / "missed.csv"
        file.write_text(
            "order;specimen;test;patient;family;given;birth_date;sex;collected\nO-1;S1;CBC;BN001;LÊ;MAI;2001-02-03;F;2026-11-22 08:00\n"
            "O-2;S2;CBC;BN002;;;03/02/2001;F;\n",
            encoding="utf-8-sig",
        )
        with site.gateway as gateway:
            done = gateway.run("orders", "import", str(file), "--by", "Hoa")
            assert done.returncode == 1
            assert "line 2: O-1  S1  CBC  taken" in done.stdout
            assert "line 3: O-2  refused: birth_date must be as 1972-08-15" in done.stdout
            again = gateway.run("orders", "import", str(file), "--json")
            assert [json.loads(line)["number"] for line in again.stdout.splitlines()] == [None, 1]
            other = gateway.run("orders", "import", str(file), "--source", "nobody")
            assert (other.returncode, "no [orders.nobody]" in other.stderr) == (1, True)
            listed = json.loads(gateway.run("orders", "list", "S1", "--json").stdout)
            assert (listed["source"], listed["patient"]) == ("import", "BN001")
        stopped = gateway.run("orders", "import", str(file))
        assert (stopped.returncode, "No gateway answers" in stopped.stderr) == (1, True)


async def test_a_result_that_went_to_the_wrong_tube(tmp_path: Path) -> None:
    """The order moves to another tube after its result went out: a person is told, moves the result, the EMR hears W and F."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway as gateway:
            await asyncio.to_thread(send_hl7, site.orders, oml("S1", placer="O-1"))
            await asyncio.to_thread(send_astm, site.xn, xn("S1"))
            await seen(emr, 3)
            await asyncio.to_thread(send_hl7, site.orders, oml("S2", placer="O-1", control="XO", number=2))
            told = [json.loads(line) for line in gateway.run("parked", "--json").stdout.splitlines()]
            assert {(item["reason"], item["is_out"], item["code"]) for item in told} == {
                ("ORDER_CANCELLED", True, code) for code in ("WBC", "HGB", "PLT")
            }
            assert "has gone out" in " ".join(gateway.run("parked").stdout.split())
            one = next(item for item in told if item["code"] == "WBC")
            act = ("parked", "relink", one["id"], "--by", "Hoa", "--because", "relabelled", "--to", "S2")
            for more, words in (
                ((), "--version N"),
                (("--version", "9"), "has changed since you looked"),
                (("--version", str(one["version"])), "--identity-checked"),
            ):
                done = gateway.run(*act, *more)
                assert (done.returncode, words in done.stdout) == (1, True), done.stdout
            done = gateway.run(*act, "--version", str(one["version"]), "--identity-checked")
            assert done.returncode == 0, done.stdout
            await seen(emr, 5)
            assert not emr.complaints
            wbc = [
                (c.specimen.split("^")[0], c.letter, c.value) for c in emr.charts.values() if c.code.startswith("WBC")
            ]
            assert wbc == [("S1", "F", "5.21"), ("S1", "W", "5.21"), ("S2", "F", "5.21")]
            again = gateway.run(*act, "--version", str(one["version"] + 1), "--identity-checked")
            assert (again.returncode, "A later version" in again.stdout) == (1, True), again.stdout
            assert gateway.run("balance").returncode == 0
            assert len(gateway.events("sent_and_in_doubt")) == 1


async def test_orders_from_a_database(tmp_path: Path) -> None:
    """The site's query is asked again and again; only what differs is taken: new, moved, cancelled; wrong rows are refused."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(schema())
        database = create_engine(url)
        stack.callback(database.dispose)

        def run(*statements: str) -> None:
            with database.begin() as connection:
                for one in statements:
                    connection.exec_driver_sql(one)

        run(
            "CREATE TABLE ordered (number text, tube text, test text, patient text, born date, state text)",
            "INSERT INTO ordered VALUES ('O-1', 'S1', 'CBC', 'BN001', '1972-08-15', 'NW'), ('O-2', 'S2', 'CBC', 'BN002', null, null)",
            "INSERT INTO ordered VALUES ('O-3', '', 'CBC', 'BN003', null, null)",
        )
        (tmp_path / "orders.sql").write_text(
            'SELECT number AS "order", tube AS specimen, test, patient, born AS birth_date, state AS action FROM ordered\n'
            "WHERE patient LIKE 'BN%' -- 08:00\n",
            encoding="utf-8",
        )
        extra = f'[orders.db]\nkind = "sql"\nurl = "{url}"\nquery_file = "orders.sql"\nevery_s = 0.3\n'
        async with Emr() as emr:
            site = Site(tmp_path, emr, extra=extra)
            with site.gateway as gateway:
                await asyncio.to_thread(wait_until, lambda: bool(gateway.events("orders")), what="the first look")
                await asyncio.to_thread(send_astm, site.xn, xn("S1"), xn("S2"))
                await seen(emr, 6)
                assert {one.placer for one in emr.charts.values()} == {"O-1", "O-2"}
                run(
                    "UPDATE ordered SET tube = 'S9' WHERE number = 'O-2'",
                    "UPDATE ordered SET state = 'CA' WHERE number = 'O-1'",
                )
                await asyncio.to_thread(wait_until, lambda: len(gateway.events("orders")) == 2, what="what changed")
                listed = {s: json.loads(gateway.run("orders", "list", s, "--json").stdout) for s in ("S1", "S2", "S9")}
                assert {s: one["state"] for s, one in listed.items()} == {
                    "S1": "cancelled",
                    "S2": "cancelled",
                    "S9": "open",
                }
                await asyncio.sleep(1)
                assert len(gateway.events("orders")) == 2, "what did not change is not taken again"
                run("ALTER TABLE ordered RENAME TO gone")
                await asyncio.to_thread(wait_until, lambda: bool(gateway.events("orders_query")), what="the trouble")
                assert gateway.status()["orders_from"]["db"]["trouble"]
                run(
                    "ALTER TABLE gone RENAME TO ordered",
                    "INSERT INTO ordered VALUES ('O-5', 'S5', 'CBC', 'BN5', null, null)",
                )
                await asyncio.to_thread(wait_until, lambda: len(gateway.events("orders")) == 3, what="it goes on")
