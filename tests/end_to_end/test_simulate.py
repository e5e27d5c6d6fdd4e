"""`labgateway simulate` against the running service: every fault, every role; nothing is lost, nothing doubled in effect."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from labgateway.simulator import FAULTS, Fault
from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import wait_until
from tests.end_to_end.gateway import free_port
from tests.end_to_end.test_first_light import MAPPING, Site, oml, seen, send_hl7

XN = ("sysmex_xn", "--capture", "patient_cbc_diff", "--tests", "WBC=5.21,HGB=13.4,PLT=210")
BC = ("mindray_bc", "--capture", "patient_si", "--tests", "6690-2,718-7")


def simulate(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labgateway", "simulate", *args],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )


async def test_every_fault_of_an_astm_line(tmp_path: Path) -> None:
    """Whatever goes wrong on the way: each specimen's three results are in the chart once, and are what was measured."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching="second_ids = []")
        with site.gateway as gateway:
            to = ("--to", f"tcp://127.0.0.1:{site.xn}")
            faults = [fault for fault in FAULTS["astm"] if fault is not Fault.CONTENTION]
            for n in range(len(faults)):
                order = oml(f"SF{n:03}", placer=f"P{n}", patient=f"BN{n:03}")
                assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, order)
            runs = [
                await asyncio.to_thread(simulate, *XN, *to, "--specimen", f"SF{n:03}", "--fault", fault)
                for n, fault in enumerate(faults)
            ]
            for fault, ran in zip(faults, runs, strict=True):
                assert ran.returncode == 0, f"{fault}: {ran.stdout}{ran.stderr}"
                assert "message 1 of 1: accepted" in ran.stdout, fault
            await seen(emr, 3 * len(faults))
            await asyncio.to_thread(wait_until, lambda: gateway.status()["to_process"] == 0, what="all processed")
            charts = sorted(
                (one.specimen.split("^")[0], one.code.split("^")[0], one.value) for one in emr.charts.values()
            )
            wanted = [
                (f"SF{n:03}", c, v)
                for n in range(len(faults))
                for c, v in (("WBC", "5.21"), ("HGB", "134"), ("PLT", "210"))
            ]
            assert charts == sorted(wanted)
            assert not emr.complaints
            assert not gateway.status()["observations"].get("held")
            words = dict(zip(faults, (ran.stdout for ran in runs), strict=True))
            assert "refused (NAK)" in words[Fault.BAD_CHECKSUM]
            assert "acknowledgment of the last frame is lost" in words[Fault.LOST_ACK]
            assert "without its last record" in words[Fault.NO_END]
            # and contention: the host wants to tell the orders in the moment in which the instrument sends
            asked = await asyncio.to_thread(
                simulate, "sysmex_xn", *to, "--query", "SF000", "--fault", "contention", "--json"
            )
            assert json.loads(asked.stdout)["orders"] == [{"specimen": "SF000", "codes": ["WBC", "HGB", "PLT"]}]


async def test_every_fault_of_an_hl7_line(tmp_path: Path) -> None:
    """The same by MLLP."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching='without_order = "send"')
        with site.gateway as gateway:
            faults = FAULTS["hl7"]
            for n, fault in enumerate(faults):
                to = ("--to", f"tcp://127.0.0.1:{site.bc}", "--specimen", f"SH{n:03}")
                ran = await asyncio.to_thread(simulate, *BC, *to, "--fault", fault)
                assert ran.returncode == 0, f"{fault}: {ran.stdout}{ran.stderr}"
            await seen(emr, 2 * len(faults))
            await asyncio.to_thread(wait_until, lambda: gateway.status()["to_process"] == 0, what="all processed")
            charts = sorted((one.specimen.split("^")[0], one.code.split("^")[0]) for one in emr.charts.values())
            assert charts == sorted((f"SH{n:03}", c) for n in range(len(faults)) for c in ("WBC", "HGB"))
            assert not gateway.status()["observations"].get("held")


async def test_the_gateway_calls_and_a_serial_line(tmp_path: Path) -> None:
    """The other role, and a serial port at the pace of 9600 baud: both are decoded and arrive."""
    async with Emr() as emr:
        port, device = free_port(), tmp_path / "tty"
        extra = f"""
[instrument.xn2]
driver = "sysmex_xn"
mapping = "xn2.toml"
line = {{ kind = "tcp", host = "127.0.0.1", port = {port} }}
[instrument.xn3]
driver = "sysmex_xn"
mapping = "xn3.toml"
line = {{ kind = "serial", device = "{device}" }}
"""
        site = Site(tmp_path, emr, extra=extra, matching='without_order = "send"')
        for name in ("xn2", "xn3"):
            text = MAPPING.replace('instrument = "xn1"', f'instrument = "{name}"')
            (tmp_path / "mappings" / f"{name}.toml").write_text(text, encoding="utf-8")
        with site.gateway:
            called, serial = await asyncio.gather(
                asyncio.to_thread(simulate, *XN, "--listen", str(port), "--specimen", "SR001"),
                asyncio.to_thread(simulate, *XN, "--pty", str(device), "--baud", "9600", "--specimen", "SR002"),
            )
            assert called.returncode == 0, called.stdout + called.stderr
            assert serial.returncode == 0, serial.stdout + serial.stderr
            await seen(emr, 6)
            assert {one.specimen.split("^")[0] for one in emr.charts.values()} == {"SR001", "SR002"}


def test_a_file_is_dropped_and_what_is_wrong_is_said(tmp_path: Path) -> None:
    """A table driver writes whole files; a fault that a protocol has not, a test that no capture shows: said, with a cure."""
    import threading
    import time

    taken: list[bytes] = []
    end = threading.Event()

    def take() -> None:
        while not end.is_set():
            for path in tmp_path.glob("sim_*"):
                taken.append(path.read_bytes())
                path.unlink()
            time.sleep(0.02)

    taker = threading.Thread(target=take)
    taker.start()
    done = simulate("roche_c111_csv", "--to", f"folder:{tmp_path}", "--specimen", "S77")
    end.set()
    taker.join()
    assert done.returncode == 0, done.stderr
    assert taken and b"S77" in taken[0]
    for args, code, words in (
        (("roche_c111_csv", "--to", "tcp://127.0.0.1:1"), 1, "folder:/path"),
        (("mindray_bc", "--to", "tcp://127.0.0.1:1", "--fault", "contention"), 2, "it has: cut"),
        (("sysmex_xn", "--to", "tcp://127.0.0.1:1", "--tests", "NOPE"), 1, "No capture of sysmex_xn shows NOPE"),
        (("sysmex_kx21", "--to", "tcp://127.0.0.1:1", "--specimen", "X" * 40), 1, "does not fit"),
        (("sysmex_xn", "--to", "folder:/nowhere/at/all"), 2, "is no folder"),
        (("sysmex_xn", "--to", "serial:/dev/x?baud=fast"), 2, "baud=fast is not known"),
    ):
        ran = simulate(*args)
        assert (ran.returncode, words in ran.stderr) == (code, True), (args, ran.stderr)
