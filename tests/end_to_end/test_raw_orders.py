"""Analyzers with framings of their own ask a running service for their work, and are told it byte by byte.

The instruments here know their makers' texts and nothing of labgateway.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import wait_until
from tests.end_to_end.gateway import Gateway, free_port
from tests.end_to_end.test_first_light import send_hl7
from tests.end_to_end.test_serial import Tty
from tests.transports.test_serial import Cable

FS = "\x1c"


class Au:
    """An AU at its online line: STX, text, ETX, BCC; each block is acknowledged."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    def byte(self) -> int:
        got = self.channel.recv(1)
        assert got, "the host hung up"
        return got[0]

    def say(self, text: str) -> None:
        block = text.encode() + b"\x03"
        self.channel.sendall(b"\x02" + block + bytes([reduce(lambda a, b: a ^ b, block)]))
        assert self.byte() == 0x06

    def hear(self, *, refuse: int = 0) -> str:
        """The host's text, refused so often before it is acknowledged."""
        while True:
            assert self.byte() == 0x02
            text = bytearray()
            while (byte := self.byte()) != 0x03:
                text.append(byte)
            assert self.byte() == reduce(lambda a, b: a ^ b, text + b"\x03")
            self.channel.sendall(b"\x15" if refuse else b"\x06")
            if not refuse:
                return text.decode("ascii")
            refuse -= 1

    def ask(self, specimen: str, *, cup: int = 1, refuse: int = 0) -> str:
        """R and the host's answer."""
        self.say(f"R 0003{cup:02} {cup + 20:04}{specimen:>20}")
        return self.hear(refuse=refuse)


class Dimension:
    """A Dimension in its mode "send and receive": STX, text, sum, ETX."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    def byte(self) -> int:
        got = self.channel.recv(1)
        assert got, "the host hung up"
        return got[0]

    def say(self, *fields: str) -> None:
        text = (FS.join(fields) + FS).encode()
        self.channel.sendall(b"\x02" + text + f"{sum(text) % 256:02X}".encode() + b"\x03")
        assert self.byte() == 0x06

    def hear(self) -> list[str]:
        assert self.byte() == 0x02
        text = bytearray()
        while (byte := self.byte()) != 0x03:
            text.append(byte)
        assert text[-2:] == f"{sum(text[:-2]) % 256:02X}".encode()
        self.channel.sendall(b"\x06")
        assert text[-3:-2] == FS.encode()
        return text[:-3].decode("ascii").split(FS)


def oml(specimen: str, *tests: str, patient: str = "BN001", kind: str = "SER", placer: str = "P1") -> str:
    """Single tests of one person on one tube."""
    rows = [
        f"MSH|^~\\&|HIS|BV|LABGATEWAY|TEST|20261128080000||OML^O21^OML_O21|{specimen}{placer}|P|2.5.1||||||UNICODE UTF-8",
        f"PID|1||{patient}^^^BV^MR||NGUYỄN^VĂN AN||19720815|M",
    ]
    for n, test in enumerate(tests):
        rows += [f"ORC|NW|{placer}-{n}", f"OBR|{n + 1}|{placer}-{n}||{test}^{test}^L"]
        rows += [f"SPM|1|{specimen}||{kind}^{kind}^HL70487" if kind else f"SPM|1|{specimen}"]
    return "\r".join(rows) + "\r"


class Lab:
    """One AU and one Dimension, each where it is told to be."""

    def __init__(self, folder: Path, emr: Emr, au: str = "", dimension: str = "") -> None:
        self.au, self.dimension, self.orders = free_port(), free_port(), free_port()
        (folder / "mappings").mkdir()
        for name, tests in {
            "au1": '"01" = { emr = "GLU" }\n"07" = { emr = "ALT" }\n"126" = { emr = "HBA" }\n',
            "dim1": 'GLUC = { emr = "GLU" }\nALTI = { emr = "ALT" }\n',
        }.items():
            (folder / "mappings" / f"{name}.toml").write_text(
                f'instrument = "{name}"\nchecked = "test"\n[tests]\n{tests}', encoding="utf-8"
            )
        listen = 'kind = "tcp-listen", host = "127.0.0.1", port ='
        self.gateway = Gateway(
            folder,
            f"""\
[gateway]
name = "LABGATEWAY"
facility = "TEST"
[instrument.au1]
driver = "beckman_au"
mapping = "au1.toml"
line = {{ {au or f"{listen} {self.au}"} }}
[instrument.dim1]
driver = "siemens_dimension"
mapping = "dim1.toml"
line = {{ {dimension or f"{listen} {self.dimension}"} }}
[orders.emr]
kind = "mllp-listen"
host = "127.0.0.1"
port = {self.orders}
[destination.emr]
kind = "mllp"
host = "127.0.0.1"
port = {emr.port}
""",
        )

    async def order(self, message: str) -> None:
        assert "|AA|" in await asyncio.to_thread(send_hl7, self.orders, message)


async def logged(gateway: Gateway, event: str, count: int) -> list[dict[str, Any]]:
    """So many lines of the log, which comes a moment later."""
    await asyncio.to_thread(wait_until, lambda: len(gateway.events(event)) >= count, what=f"{count} {event}")
    return gateway.events(event)


def calling(port: int) -> Any:
    channel = socket.create_connection(("127.0.0.1", port), timeout=10)
    channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return channel


async def test_an_au_is_told_its_work(tmp_path: Path) -> None:
    """Its tests by number behind what it asked with; SE for an id without order, for one that is two people's, for a rerun."""
    async with Emr() as emr:
        lab = Lab(tmp_path, emr)
        with lab.gateway as gateway:
            await lab.order(oml("26110384", "GLU", "ALT"))
            await lab.order(oml("26110385", "GLU", placer="P2"))
            await lab.order(oml("26110386", "GLU", placer="P3"))
            await lab.order(oml("26110386", "GLU", patient="BN002", placer="P4"))

            def work() -> None:
                au = Au(calling(lab.au))
                au.say("RB")
                assert au.ask("26110384", cup=5) == "S 000305 0025            26110384    E0107"
                assert au.ask("26110385", cup=6, refuse=2) == "S 000306 0026            26110385    E01"
                assert au.ask("26110999") == "SE"
                assert au.ask("26110386") == "SE"
                au.say("RH000305 0025            26110384")
                assert au.hear() == "SE"
                au.say("RE")
                # and its result finds the order
                au.say("D 000305 0025            26110384    E01   5.2  ")

            await asyncio.to_thread(work)
            await asyncio.to_thread(
                wait_until, lambda: any(one.specimen.startswith("26110384") for one in emr.charts.values()),
                what="the result",
            )  # fmt: skip
            answered = await logged(gateway, "query_answered", 4)
            assert [one["count"] for one in answered] == [1, 1, 0, 0]
            (said,) = await logged(gateway, "query_not_answered", 1)
            assert "query of this form" in said["why"]
            # the id of two people waits for a person
            parked = [json.loads(row) for row in gateway.run("parked", "--json").stdout.splitlines()]
            assert [row["reason"] for row in parked] == ["AMBIGUOUS_ORDER"]


async def test_what_an_au_cannot_be_told_is_said(tmp_path: Path) -> None:
    """A test with a number of three digits on a line of two: SE, and why stands in the log; nothing is cut."""
    async with Emr() as emr:
        lab = Lab(tmp_path, emr)
        with lab.gateway as gateway:
            await lab.order(oml("26110384", "GLU", "HBA"))
            assert await asyncio.to_thread(lambda: Au(calling(lab.au)).ask("26110384")) == "SE"
            (said,) = await logged(gateway, "query_not_answered", 1)
            assert "test code" in said["why"] and "26110384" not in json.dumps(said)


async def test_a_dimension_is_told_its_work(tmp_path: Path) -> None:
    """D with patient, specimen, type and tests; N for no order, a poll, and an order that says no specimen type; a refusal
    of the instrument waits for a person with its code."""
    async with Emr() as emr:
        lab = Lab(tmp_path, emr)
        with lab.gateway as gateway:
            await lab.order(oml("26110400", "GLU", "ALT"))
            await lab.order(oml("26110401", "GLU", kind="UR", placer="P2"))
            await lab.order(oml("26110402", "GLU", kind="", placer="P3"))

            def work() -> None:
                one = Dimension(calling(lab.dimension))
                one.say("P", "1", "1", "1")
                assert one.hear() == ["N"]
                one.say("I", "26110400")
                told = ["D", "0", "0", "A", "BN001", "26110400", "1", "", "0", "1", "**", "1", "2", "GLUC", "ALTI"]
                assert one.hear() == told
                one.say("M", "A", "", "", "", "42")
                one.say("I", "26110401")
                assert one.hear() == [*told[:5], "26110401", "3", *told[7:12], "1", "GLUC"]
                one.say("M", "R", "3", "", "", "0")
                for specimen in ("26110402", "26110999"):
                    one.say("I", specimen)
                    assert one.hear() == ["N"]

            await asyncio.to_thread(work)

            def parked() -> list[str]:
                rows = gateway.run("parked", "--json").stdout.splitlines()
                return [json.loads(row)["reason"] for row in rows]

            await asyncio.to_thread(wait_until, lambda: parked() == ["ORDER_REFUSED"], what="the refusal")
            (said,) = await logged(gateway, "query_not_answered", 1)
            assert "specimen type" in said["why"]


def simulate(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labgateway", "simulate", *args], capture_output=True, text=True, timeout=60, check=False
    )


async def test_the_simulator_asks(tmp_path: Path) -> None:
    """``simulate --query`` plays both, one specimen after another, and shows what it was told."""
    async with Emr() as emr:
        lab = Lab(tmp_path, emr)
        with lab.gateway:
            await lab.order(oml("26110384", "GLU", "ALT"))
            for driver, port, codes in (
                ("beckman_au", lab.au, ["01", "07"]), ("siemens_dimension", lab.dimension, ["GLUC", "ALTI"]),
            ):  # fmt: skip
                to = (driver, "--to", f"tcp://127.0.0.1:{port}", "--json")
                ran = await asyncio.to_thread(simulate, *to, "--query", "26110999", "--query", "26110384")
                assert ran.returncode == 0, ran.stdout + ran.stderr
                assert json.loads(ran.stdout)["orders"] == [
                    {"specimen": "26110999", "codes": []}, {"specimen": "26110384", "codes": codes},
                ]  # fmt: skip
            long = await asyncio.to_thread(
                simulate, "beckman_au", "--to", f"tcp://127.0.0.1:{lab.au}", "--query", "9" * 21
            )
            assert long.returncode == 1 and "does not fit" in long.stderr


@pytest.mark.skipif(shutil.which("socat") is None, reason="needs socat")
async def test_an_au_at_a_serial_line(tmp_path: Path) -> None:
    """The same at 9600 baud, byte by byte."""
    cable = Cable(tmp_path)
    cable.plug()
    async with Emr() as emr:
        lab = Lab(tmp_path, emr, au=f'kind = "serial", device = "{cable.host}"')
        with lab.gateway as gateway:
            await asyncio.to_thread(
                wait_until, lambda: gateway.status()["lines"]["au1"]["trouble"] == "", what="the port"
            )
            await lab.order(oml("26110384", "GLU", "ALT"))

            def work() -> str:
                au = Au(Tty(cable.instrument, 9600))
                au.say("RB")
                return au.ask("26110384")

            assert await asyncio.to_thread(work) == "S 000301 0021            26110384    E0107"
    cable.unplug()
