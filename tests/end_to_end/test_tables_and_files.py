"""Destinations of kind sql and folder through a running gateway, to real databases and a real folder."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import create_engine, text

from tests import mariadb, postgresql
from tests.end_to_end.analyzer import wait_until
from tests.end_to_end.outlets import Hospital
from tests.end_to_end.test_first_light import oml, xn

FILES = """
[destination.files]
kind = "folder"
path = "out/hl7"
[destination.json]
kind = "folder"
path = "out/json"
format = "json"
[destination.csv]
kind = "folder"
path = "out/csv"
format = "csv"
columns = { sample = "specimen", test = "code", result = "value", unit = "unit", name = "patient_name" }
[destination.insurance]
kind = "folder"
path = "out/xml"
format = "table4"
columns = { MA_LK = "placer", MA_DICH_VU = "order_code" }
"""


def folders(folder: Path) -> None:
    for name in ("hl7", "json", "csv", "xml"):
        (folder / "out" / name).mkdir(parents=True)


async def test_every_format_of_a_file(tmp_path: Path) -> None:
    """An ordered result stands in a file of each format, with its patient, exact values and no patient data in a name."""
    folders(tmp_path)
    hospital = Hospital(tmp_path, FILES, matching="")
    with hospital.gateway as gateway:
        await hospital.orders_come(oml("S1001"))
        await hospital.measures(xn("S1001"))
        await hospital.settled(1, "files", "json", "csv", "insurance")
        names = [p.name for p in (tmp_path / "out").rglob("*.*")]
        assert sorted(Path(name).suffix for name in names) == [".csv", ".hl7", ".json", ".xml"]
        assert not any("S1001" in name or "BN001" in name for name in names)
        (hl7,), (js,), (sheet,), (xml,) = (
            list((tmp_path / "out" / n).iterdir()) for n in ("hl7", "json", "csv", "xml")
        )
        assert hl7.read_bytes().startswith(b"MSH|^~\\&|SITE1|TEST|") and b"|5.21|" in hl7.read_bytes()
        document = json.loads(js.read_text())
        assert document["message"] == js.stem and document["specimen"] == "S1001"
        assert {r["code"]: r["value"] for r in document["results"]} == {"WBC": "5.21", "HGB": "134", "PLT": "250"}
        assert {(r["patient_id"], r["placer"]) for r in document["results"]} == {("BN001", "P1")}
        with sheet.open(encoding="utf-8", newline="") as lines:
            rows = {row["test"]: row for row in csv.DictReader(lines)}
        assert rows["HGB"] == {
            "sample": "S1001",
            "test": "HGB",
            "result": "134",
            "unit": "g/L",
            "name": "NGUYỄN VĂN AN",
        }
        tests = ElementTree.parse(xml).getroot()
        assert [(t.findtext("MA_LK"), t.findtext("MA_DICH_VU"), t.findtext("GIA_TRI")) for t in tests] == [
            ("P1", "CBC", "5.21"), ("P1", "CBC", "134"), ("P1", "CBC", "250"),
        ]  # fmt: skip
        assert gateway.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
async def test_a_full_disk_of_the_folder(tmp_path: Path) -> None:
    """Said by name of the destination, nothing is lost or half written, and it goes on by itself when there is room."""
    out = tmp_path / "out"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", out], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (out / "ballast").write_bytes(b"x" * 65536)
        hospital = Hospital(tmp_path, '[destination.files]\nkind = "folder"\npath = "out"\nretry_max_s = 1')
        with hospital.gateway as gateway:
            await hospital.measures(*(xn(f"S2{n:03}") for n in range(5)))

            def is_said() -> bool:
                return "is full" in gateway.status()["destinations"]["files"]["why"]

            await asyncio.to_thread(wait_until, is_said, what="the full disk")
            assert [p.name for p in out.iterdir()] == ["ballast"]
            assert gateway.run("status").returncode == 1
            (out / "ballast").unlink()
            await hospital.settled(5, "files")
            assert len(list(out.glob("*.hl7"))) == 5
    finally:
        subprocess.run(["umount", out], check=True)


@pytest.fixture(params=["postgresql", "mariadb"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with (postgresql.schema if request.param == "postgresql" else mariadb.database)() as found:
        yield found


def run(url: str, statement: str) -> list[tuple[Any, ...]]:
    engine = create_engine(url)
    with engine.begin() as connection:
        done = connection.execute(text(statement))
        found = [tuple(row) for row in done] if done.returns_rows else []
    engine.dispose()
    return found


async def test_a_table_of_the_emr(tmp_path: Path, url: str) -> None:
    """The table that we propose, filled; the gateway killed in between; a refusal parks one specimen only."""
    hospital = Hospital(tmp_path, f'[destination.table]\nkind = "sql"\nurl = "{url}"\ntable = "lab"\nretry_max_s = 1')
    ddl = hospital.gateway.run("destination", "ddl", "table").stdout.rstrip().rstrip(";")
    with hospital.gateway as gateway:
        await hospital.measures(xn("S3001"))
        say = "there is no table lab"
        await asyncio.to_thread(
            wait_until, lambda: say in gateway.status()["destinations"]["table"]["why"], what="what is missing"
        )
        run(url, ddl)
        await hospital.settled(1, "table")
        gateway.kill()
        gateway.start()
        run(url, "ALTER TABLE lab ADD CONSTRAINT sane CHECK (value <> '66.6')")
        await hospital.measures(xn("S3002", wbc="66.6"), *(xn(f"S31{n:02}", wbc=f"{n}.10") for n in range(10)))

        def is_done() -> bool:
            return hospital.deliveries("table") == {"settled": 11, "parked": 1}

        await asyncio.to_thread(wait_until, is_done, what="eleven settled, one parked")
        assert run(url, "SELECT count(*), count(DISTINCT id) FROM lab") == [(33, 33)]
        values = dict(run(url, "SELECT specimen, value FROM lab WHERE code = 'WBC' AND specimen LIKE 'S31%'"))
        assert values == {f"S31{n:02}": f"{n}.10" for n in range(10)}
        (item,) = map(json.loads, gateway.run("parked", "--json").stdout.splitlines())
        assert item["specimen"] == "S3002" and "sane" in item["answer"]
        run(url, "ALTER TABLE lab DROP CONSTRAINT sane")
        gateway.run("parked", "retry", item["id"], "--by", "Lan", "--because", "mended")
        await hospital.settled(12, "table")
        log = "\n".join(gateway.raw_log)
        assert "S3002" not in log and "66.6" not in log


async def test_what_the_table_holds_is_compared_with_what_was_sent(tmp_path: Path, url: str) -> None:
    """A row that vanished and one that was changed: found, shown to a person, closed when right again or dismissed."""
    today = datetime.now(ZoneInfo("Asia/Ho_Chi_Minh")).date().isoformat()
    hospital = Hospital(tmp_path, f'[destination.table]\nkind = "sql"\nurl = "{url}"\ntable = "lab"\nretry_max_s = 1')
    run(url, hospital.gateway.run("destination", "ddl", "table").stdout.rstrip().rstrip(";"))
    with hospital.gateway as gateway:
        await hospital.measures(*(xn(f"S4{n:03}", wbc=f"{n}.50") for n in range(5)))
        await hospital.settled(5, "table")
        good = gateway.run("reconcile", "--day", today, "--json")
        assert good.returncode == 0, good.stdout + good.stderr
        (proof,) = json.loads(good.stdout)
        assert (proof["states"], proof["compared"], proof["found"]) == ({"settled": 5}, 15, [])
        run(url, "UPDATE lab SET value = '3.5' WHERE specimen = 'S4003' AND code = 'WBC'")
        run(url, "DELETE FROM lab WHERE specimen = 'S4001' AND code = 'PLT'")
        bad = gateway.run("reconcile", "table", "--day", today)
        assert bad.returncode == 1 and "differs in value" in bad.stdout and "is not there" in bad.stdout
        items = {item["reason"]: item for item in map(json.loads, gateway.run("parked", "--json").stdout.splitlines())}
        assert {(r, i["specimen"], i["code"]) for r, i in items.items()} == {
            ("NOT_THERE", "S4001", "PLT"), ("DIFFERS_THERE", "S4003", "WBC"),
        }  # fmt: skip
        run(url, "UPDATE lab SET value = '3.50' WHERE specimen = 'S4003' AND code = 'WBC'")
        number = items["NOT_THERE"]["id"]
        done = gateway.run("parked", "dismiss", number, "--by", "Lan", "--because", "wanted")
        assert done.returncode == 0, done.stdout + done.stderr
        assert gateway.run("reconcile", "--day", today).returncode == 1, "what is dismissed still differs"
        assert gateway.run("parked", "--json").stdout == "", "and is not asked about again"
        again = gateway.run(
            "resend", items["NOT_THERE"]["detail"].split()[1], "--by", "Lan", "--because", "row was lost"
        )
        assert again.returncode == 0, again.stdout + again.stderr

        def is_back() -> bool:
            return run(url, "SELECT count(*) FROM lab") == [(15,)]

        await asyncio.to_thread(wait_until, is_back, what="the row")
        await hospital.settled(5, "table")
        assert gateway.run("reconcile", "--day", today).returncode == 0
        assert gateway.run("reconcile", "nobody").returncode == 1
        assert "S400" not in "\n".join(gateway.raw_log)


async def test_prune_counts_first_and_takes_out_only_when_told(tmp_path: Path) -> None:
    """What is fresh stays; days below 30 and a deed without a name are refused."""
    folders(tmp_path)
    hospital = Hospital(tmp_path, '[destination.files]\nkind = "folder"\npath = "out/hl7"')
    with hospital.gateway as gateway:
        await hospital.measures(xn("S5001"), xn("S5002"))
        await hospital.settled(2, "files")
        store = sqlite3.connect(tmp_path / "data" / "labgateway.db")
        store.execute("UPDATE transmission SET received_at = received_at - 40 * 86400 * 1000000 WHERE id = 1")
        store.execute("UPDATE delivery SET created_at = created_at - 40 * 86400 * 1000000 WHERE id = 1")
        store.commit()
        store.close()
        would = gateway.run("prune", "--days", "30", "--json")
        assert json.loads(would.stdout) == {
            "days": 30, "done": False, "messages": 1, "results": 4, "observations": 4, "deliveries": 1, "orders": 0,
        }  # fmt: skip
        assert gateway.status()["messages"] == {"processed": 2}
        assert "at least 30" in gateway.run("prune").stderr
        assert "--by" in gateway.run("prune", "--days", "30", "--now").stderr
        did = gateway.run("prune", "--days", "30", "--now", "--by", "Lan", "--because", "test", "--json")
        assert json.loads(did.stdout) == {**json.loads(would.stdout), "done": True}
        assert gateway.status()["messages"] == {"processed": 1}
        assert hospital.deliveries("files") == {"settled": 1}
