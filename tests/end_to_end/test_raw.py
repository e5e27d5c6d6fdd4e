"""Instruments with framings of their own, through the running gateway: each transcript of each driver, byte for byte."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

from labgateway.captures import Way, read_wire
from labgateway.cli.decode_command import library
from labgateway.gateway.build import NOT_LIVE
from labgateway.instruments.decode import decode
from labgateway.instruments.spec import Driver
from labgateway.model import Kind
from labgateway.protocols.raw_framing import FRAMINGS, unframe
from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import wait_until
from tests.end_to_end.gateway import Gateway, free_port


def raw_drivers() -> list[Driver]:
    return [d for d in library().drivers.values() if d.protocol in FRAMINGS and d.protocol not in NOT_LIVE]


def wires(driver: Driver) -> list[Path]:
    return sorted((driver.folder / "captures").glob("*.wire"))


def play(port: int, path: Path) -> str:
    """Send what the instrument said, turn by turn, and compare what the host says with the transcript; "" when all fits."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        for way, data in read_wire(path.read_bytes()).lines:
            if way is Way.FROM:
                line.sendall(data)
                continue
            heard = b""
            while len(heard) < len(data) and (more := line.recv(len(data) - len(heard))):
                heard += more
            if heard != data:
                return f"{path}: expected {data!r}, heard {heard!r}"
        line.settimeout(0.3)
        try:
            return f"{path}: heard {more!r} besides" if (more := line.recv(100)) else ""
        except TimeoutError:
            return ""


async def test_every_transcript_of_every_raw_driver(tmp_path: Path) -> None:
    """Each text is answered as the transcript has it, and its results arrive: no value, no specimen but its own."""
    drivers = raw_drivers()
    assert {d.name for d in drivers} >= {
        "beckman_au", "sysmex_kx21", "hitachi_7180", "biomerieux_mini_vidas", "biomerieux_vitek2", "siemens_bn2",
        "arkray_spotchem_el", "siemens_dimension", "mindray_bc2800", "abbott_celldyn_emerald",
    }  # fmt: skip
    said: set[tuple[str, str, str]] = set()
    text = '[matching]\nwithout_order = "send"\n'
    (tmp_path / "mappings").mkdir()
    ports: dict[str, int] = {}
    for driver in drivers:
        codes: set[str] = set()
        framing = FRAMINGS[driver.protocol]
        for path in wires(driver):
            sent = read_wire(path.read_bytes()).sent()
            assert unframe(sent, framing).texts
            for one in decode(driver, sent).results:
                codes.add(one.code)
                if one.kind is Kind.PATIENT and one.problem is None and one.specimen:
                    said.add((driver.name, one.specimen, one.code))
        ports[driver.name] = free_port()
        tests = "\n".join(f"{json.dumps(code)} = {{ emr = {json.dumps(code)} }}" for code in sorted(codes) if code)
        (tmp_path / "mappings" / f"{driver.name}.toml").write_text(
            f'instrument = "{driver.name}"\nchecked = "test"\n[tests]\n{tests}\n', encoding="utf-8"
        )
        text += (
            f'[instrument.{driver.name}]\ndriver = "{driver.name}"\nmapping = "{driver.name}.toml"\n'
            f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {ports[driver.name]} }}\n'
        )
    async with Emr() as emr:
        text += f'[destination.emr]\nkind = "mllp"\nhost = "127.0.0.1"\nport = {emr.port}\n'
        with Gateway(tmp_path, text) as gateway:
            assert not gateway.events("port_shut")
            for driver in drivers:
                for path in wires(driver):
                    assert await asyncio.to_thread(play, ports[driver.name], path) == ""

            def quiet() -> bool:
                status = gateway.status()
                owed = status["deliveries"].get("emr", {})
                return status["to_process"] == 0 and not owed.get("waiting") and bool(owed.get("settled"))

            await asyncio.to_thread(wait_until, quiet, what="everything to be delivered")
            got = {
                (one.instrument.split("^")[0], one.specimen.split("^")[0], one.code.split("^")[0])
                for one in emr.charts.values()
            }
            held = {
                (item["where"], item["specimen"], item["code"])
                for item in map(json.loads, gateway.run("parked", "--json").stdout.splitlines())
            }
            assert got <= {(name, specimen, code.split("^")[0]) for name, specimen, code in said}
            missing = {row for row in said if (*row[:2], row[2].split("^")[0]) not in got}
            assert missing <= held, missing - held
            assert {name for name, _, _ in said} == {name for name, _, _ in got}
            assert not gateway.events("line.defect") and not gateway.events("defect")


def test_a_driver_of_files_on_a_line_is_said(tmp_path: Path) -> None:
    """A driver for tables, or a framing that is not known well enough, opens no port and says why."""
    (tmp_path / "mappings").mkdir()
    text = ""
    for name in ("beckman_lh", "roche_c111_csv"):
        (tmp_path / "mappings" / f"{name}.toml").write_text(f'instrument = "{name}"\n[tests]\n', encoding="utf-8")
        text += (
            f'[instrument.{name}]\ndriver = "{name}"\nmapping = "{name}.toml"\n'
            f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {free_port()} }}\n'
        )
    with Gateway(tmp_path, text) as gateway:
        said = {line["instrument"]: line["why"] for line in gateway.events("port_shut")}
        assert "not known well enough" in said["beckman_lh"]
        assert "header row" in said["roche_c111_csv"]
