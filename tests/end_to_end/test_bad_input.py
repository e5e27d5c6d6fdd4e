"""Broken bytes, files, ports and disks under the running service: a clear answer, only its own line, nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import ENQ, Astm, RefusedError, frame, frames_of, wait_until
from tests.end_to_end.gateway import Gateway, free_port
from tests.end_to_end.test_first_light import MAPPING, Site, oml, seen, send_astm, send_hl7, states, xn

SEND = 'without_order = "send"'


def oru(specimen: str) -> str:
    """One result by HL7, as a BC-5380 sends it."""
    return (
        "MSH|^~\\&|BC-5380|Mindray|||20261122081500||ORU^R01|7|P|2.3.1||||||UNICODE\r"
        f"PID|1\rOBR|1||{specimen}|00001^Automated Count^99MRC||||||||||||||||||HM\r"
        "OBX|1|NM|6690-2^WBC^LN||5.21|10*9/L|4.00-10.00|N|||F\r"
    )


def rss_mb(gateway: Gateway) -> float:
    """Resident memory of the service."""
    assert gateway.process
    status = Path(f"/proc/{gateway.process.pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


async def test_a_frame_of_ten_megabytes(tmp_path: Path) -> None:
    """It is refused, costs no memory, and the same connection goes on; another line serves meanwhile."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND)
        with site.gateway as gateway:
            before = rss_mb(gateway)
            analyzer = Astm(site.xn)

            def endless() -> bytes:
                analyzer.socket.sendall(ENQ)
                analyzer.expect_ack()
                body = b"1R|1|^^^^WBC|" + b"9" * 10_000_000 + b"\r\x03"
                analyzer.socket.sendall(b"\x02" + body + b"%02X\r\n" % (sum(body) % 256))
                return analyzer.answer()

            refused, answer = await asyncio.gather(
                asyncio.to_thread(endless), asyncio.to_thread(send_hl7, site.bc, oru("SC001"))
            )
            assert refused == b"\x15"
            assert "MSA|AA|7" in answer
            assert rss_mb(gateway) - before < 20
            analyzer.close()
            await asyncio.to_thread(send_astm, site.xn, xn("SC002"))
            await seen(emr, 4)
            assert {one.specimen for one in emr.charts.values()} == {"SC001", "SC002"}
            assert not gateway.events("defect")


async def test_a_wrong_checksum(tmp_path: Path) -> None:
    """NAK; the same frame sent right is taken, and the value is the right one."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND)
        with site.gateway:

            def damaged_once() -> None:
                analyzer = Astm(site.xn)
                analyzer.socket.sendall(ENQ)
                analyzer.expect_ack()
                for one in frames_of(xn("SC101", wbc="5.21")):
                    bad = one.replace(b"5.21", b"9.21")
                    if bad != one:
                        analyzer.socket.sendall(bad)
                        with pytest.raises(RefusedError, match="15"):
                            analyzer.expect_ack()
                    analyzer.socket.sendall(one)
                    analyzer.expect_ack()
                analyzer.close()

            await asyncio.to_thread(damaged_once)
            await seen(emr, 3)
            assert "5.21" in {one.value for one in emr.charts.values()}
            assert "9.21" not in {one.value for one in emr.charts.values()}


async def test_an_impossible_date_and_an_unknown_code(tmp_path: Path) -> None:
    """Each parks its own results with a reason and a cure; the message is acknowledged, its other results arrive."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND)
        with site.gateway as gateway:
            records = xn("SC201")
            records[3] = records[3].replace("20261122081500", "20260231081500")
            records.insert(7, "R|5|^^^^XYZ^1|1.0|10*3/uL||N||F||||20261122081500")
            await asyncio.to_thread(send_astm, site.xn, records)
            await states(gateway, released=2, held=2)
            await seen(emr, 2)
            assert {one.code.split("^")[0] for one in emr.charts.values()} == {"HGB", "PLT"}
            said = gateway.run("parked").stdout
            assert "not a possible date" in said and "Set the instrument's clock" in said
            assert "XYZ" in said


async def test_a_mapping_with_three_mistakes(tmp_path: Path) -> None:
    """All three are named with line and cure; its instrument parks, the other serves; mended, the results go out."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND)
        path = tmp_path / "mappings" / "xn1.toml"
        broken = MAPPING.replace('unit = "g/L", times = 10', 'unit = "g/L", times = "ten"')
        broken = broken.replace("sane = [0, 500]", "sane = [500, 0]").replace(
            'PLT = { emr = "PLT" }', "PLT = { emr = 5 }"
        )
        path.write_text(broken, encoding="utf-8")
        checked = site.gateway.run("check")
        assert checked.returncode == 1
        wrong = [n for n, line in enumerate(broken.splitlines(), 1) if line.startswith(("WBC", "HGB", "PLT"))]
        for line in wrong:
            assert f"xn1.toml:{line}:" in checked.stdout + checked.stderr
        with site.gateway as gateway:
            await asyncio.to_thread(send_astm, site.xn, xn("SC301"))
            assert "MSA|AA|7" in await asyncio.to_thread(send_hl7, site.bc, oru("SC302"))
            await seen(emr, 1)
            assert {one.specimen for one in emr.charts.values()} == {"SC302"}
            await asyncio.to_thread(
                wait_until, lambda: "xn1.toml" in gateway.run("parked").stdout, what="what is parked, and why"
            )
            path.write_text(MAPPING, encoding="utf-8")
            await seen(emr, 4)


async def test_a_config_with_an_unknown_key(tmp_path: Path) -> None:
    """No start: file, line, key and cure are said, and nothing is opened."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, extra='[gateway2]\nname = "x"\n')
        line = next(n for n, text in enumerate(site.text.splitlines(), 1) if text == "[gateway2]")
        for command in ("check", "run"):
            done = site.gateway.run(command, check=False)
            assert done.returncode in (1, 2)
            said = done.stdout + done.stderr
            assert f"config.toml:{line}: gateway2" in said, said
        with pytest.raises(ConnectionRefusedError):
            Astm(site.xn)


async def test_a_port_in_use_is_served_when_it_is_free(tmp_path: Path) -> None:
    """Only its own line waits; status says who must be asked; nothing has to be restarted."""
    async with Emr() as emr:
        taken = socket.create_server(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        extra = (
            '[instrument.late]\ndriver = "sysmex_xn"\nmapping = "xn1.toml"\n'
            f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {port} }}\n'
        )
        site = Site(tmp_path, emr, matching=SEND, extra=extra)
        with site.gateway as gateway:
            await asyncio.to_thread(send_astm, site.xn, xn("SC401"))
            await seen(emr, 3)
            trouble = (await asyncio.to_thread(gateway.status))["lines"]["late"]["trouble"]
            assert f"port {port}" in trouble and "in use" in trouble
            taken.close()

            def served() -> bool:
                with contextlib.suppress(OSError):
                    send_astm(port, xn("SC402"))
                    return True
                return False

            await asyncio.to_thread(wait_until, served, patience_s=30, what="the freed port")
            await seen(emr, 6)


async def test_a_locked_database(tmp_path: Path) -> None:
    """Another program holds the database: nothing is acknowledged, and all goes on by itself when it lets go."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND)
        with site.gateway as gateway:
            await asyncio.to_thread(send_astm, site.xn, xn("SC501"))
            await seen(emr, 3)
            other = sqlite3.connect(tmp_path / "data" / "labgateway.db", isolation_level=None, timeout=10)
            other.execute("BEGIN IMMEDIATE")

            def refused() -> bytes:
                analyzer = Astm(site.xn, patience_s=25)
                frames = frames_of(xn("SC502"))
                analyzer.socket.sendall(ENQ)
                analyzer.expect_ack()
                for one in frames[:-1]:
                    analyzer.socket.sendall(one)
                    analyzer.expect_ack()
                analyzer.socket.sendall(frames[-1])
                answer = analyzer.answer()
                analyzer.close()
                return answer

            assert await asyncio.to_thread(refused) == b"\x15"
            other.execute("ROLLBACK")
            other.close()

            def again() -> bool:
                with contextlib.suppress(RefusedError, OSError):
                    send_astm(site.xn, xn("SC502"))
                    return True
                return False

            await asyncio.to_thread(wait_until, again, patience_s=30, what="the line to take messages again")
            await seen(emr, 6)
            assert gateway.process and gateway.process.poll() is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    """What does not fit is refused, never acknowledged; with room again the same process goes on; nothing is lost."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND)
        site.text = site.text.replace("[gateway]\n", f'[gateway]\ndata = "{small_disk}/data"\n')
        site.gateway = Gateway(tmp_path, site.text)
        with site.gateway as gateway:
            filler = small_disk / "filler"
            acknowledged: list[str] = []
            handle = os.open(filler, os.O_WRONLY | os.O_CREAT)
            with contextlib.suppress(OSError):
                while True:
                    os.write(handle, b"x" * 4096)
            os.close(handle)

            def until_refused() -> None:
                for n in range(2000):
                    specimen = f"SD{n:04}"
                    try:
                        send_astm(site.xn, xn(specimen))
                    except RefusedError:
                        return
                    acknowledged.append(specimen)
                raise AssertionError("the disk never became full")

            await asyncio.to_thread(until_refused)
            assert gateway.process and gateway.process.poll() is None
            filler.unlink()

            def again() -> bool:
                with contextlib.suppress(RefusedError, OSError):
                    send_astm(site.xn, xn("SDLAST"))
                    return True
                return False

            await asyncio.to_thread(wait_until, again, patience_s=30, what="the line to take messages again")
            acknowledged.append("SDLAST")
            await asyncio.to_thread(
                wait_until,
                lambda: {one.specimen for one in emr.charts.values()} >= set(acknowledged),
                what="all that was acknowledged",
            )


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
async def test_a_failed_fsync(tmp_path: Path) -> None:
    """The disk fails: no acknowledgement, exit 74, and the next process has all that was acknowledged."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND)
        wal = tmp_path / "data" / "labgateway.db-wal"
        site.gateway.prefix = [
            "strace", "-f", "-qq", "-o", str(tmp_path / "calls"), "-P", str(wal), "-e", "trace=fdatasync,fsync",
            "-e", "inject=fdatasync,fsync:error=EIO:when=25+",
        ]  # fmt: skip
        acknowledged: list[str] = []
        gateway = site.gateway.start()

        def until_refused() -> None:
            for n in range(200):
                try:
                    send_astm(site.xn, xn(f"SF{n:04}"))
                except (RefusedError, OSError):
                    return
                acknowledged.append(f"SF{n:04}")
            raise AssertionError("the disk never failed")

        try:
            await asyncio.to_thread(until_refused)
            assert gateway.process
            assert await asyncio.to_thread(gateway.process.wait, 15) == 74
        finally:
            gateway.kill()
        assert gateway.events("store_broken")
        gateway.prefix = []
        with gateway:
            await asyncio.to_thread(
                wait_until,
                lambda: {one.specimen for one in emr.charts.values()} >= set(acknowledged),
                what="all that was acknowledged",
            )


async def test_noise_on_one_line_and_work_on_the_other(tmp_path: Path) -> None:
    """Random bytes, scanners' requests and half frames, again and again: the other line's results all arrive."""
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND)
        noises = [
            bytes(range(256)) * 200, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00" * 50,
            ENQ * 500, frame(1, b"H|\\^&") [:-3], b"\x02" * 3000, b"\x0b" * 3000, b"\x00" * 70_000, b"\x04\x15\x06" * 1000,
        ]  # fmt: skip
        with site.gateway as gateway:

            def noise() -> None:
                for data in noises * 3:
                    analyzer = Astm(site.xn)
                    with contextlib.suppress(OSError):
                        analyzer.socket.sendall(data)
                    analyzer.close()

            def work() -> None:
                for n in range(30):
                    assert "MSA|AA" in send_hl7(site.bc, oru(f"SG{n:03}"))

            await asyncio.gather(asyncio.to_thread(noise), asyncio.to_thread(work))
            await seen(emr, 30)
            await asyncio.to_thread(send_astm, site.xn, xn("SGLAST"))
            await seen(emr, 33)
            assert not gateway.events("defect")


async def test_an_order_that_cannot_be_used(tmp_path: Path) -> None:
    """Refused with the field named, others on the same door are taken."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway:
            without = oml("SH001").replace("SPM|1|SH001", "SPM|1|")
            answer = await asyncio.to_thread(send_hl7, site.orders, without)
            assert "MSA|AE" in answer and "SPM" in answer
            assert "MSA|AR" in await asyncio.to_thread(
                send_hl7, site.orders, "MSH|^~\\&|HIS|||X|20261122||ADT^A99|9|P|2.5\r"
            )
            assert "MSA|AA" in await asyncio.to_thread(send_hl7, site.orders, oml("SH002"))
            await asyncio.to_thread(send_astm, site.xn, xn("SH002"))
            await seen(emr, 3)


def test_a_free_port_helper_gives_a_free_port() -> None:
    """The tests of ports rest on it."""
    socket.create_server(("127.0.0.1", free_port())).close()
