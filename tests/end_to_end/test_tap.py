"""`labgateway tap` as a person calls it: of a running gateway's line, between two ports, and only listening."""

from __future__ import annotations

import asyncio
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

from labgateway.captures import Way, open_capture, read_wire
from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import ENQ, Astm, frames_of, wait_until
from tests.end_to_end.gateway import free_port
from tests.end_to_end.test_first_light import Site, oml, send_astm, send_hl7, xn
from tests.end_to_end.test_queries import ask, told


class Tap:
    """A running `labgateway tap`; ended by Ctrl-C."""

    def __init__(self, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "labgateway", "tap", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.first = self.process.stdout.readline()

    def end(self) -> tuple[int, str, str]:
        self.process.send_signal(signal.SIGINT)
        out, error = self.process.communicate(timeout=20)
        return self.process.returncode, self.first + out, error


async def test_a_running_line_is_tapped_and_does_not_notice(tmp_path: Path) -> None:
    """Both directions, a query and its answer and results, stand in the transcript; the EMR gets everything."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway as gateway:
            assert "|AA|" in await asyncio.to_thread(send_hl7, site.orders, oml("S1001"))
            wire, clean = tmp_path / "xn1.wire", tmp_path / "clean.wire"
            config = ("--config", str(gateway.config))
            taps = [
                await asyncio.to_thread(Tap, "xn1", "-o", str(wire), *config),
                await asyncio.to_thread(Tap, "xn1", "-o", str(clean), "--scrub", *config),
            ]
            (answer,) = await asyncio.to_thread(ask, site.xn, ("S1001",))
            assert told(answer) == {"S1001": ["WBC", "HGB", "PLT"]}
            await asyncio.to_thread(send_astm, site.xn, xn("S1001"))
            await asyncio.to_thread(wait_until, lambda: len(emr.charts) == 3, what="three results")
            (code, shown, _), (clean_code, blank, said) = [await asyncio.to_thread(tap.end) for tap in taps]
            assert (code, clean_code) == (0, 0), said
            assert "(sysmex_xn)" in shown
            assert "S1001" in shown and "S1001" not in blank and "NGUYEN" not in blank
            assert stat.S_IMODE(wire.stat().st_mode) == 0o600
            tapped = read_wire(wire.read_bytes())
            assert len(open_capture(tapped.sent()).messages) == 2
            assert b"NGUYEN" in open_capture(tapped.sent(Way.TO)).messages[0]
            assert b"NGUYEN" not in clean.read_bytes()
            assert b"S1001" not in clean.read_bytes() and b"BN001" not in clean.read_bytes()
            assert len(open_capture(read_wire(clean.read_bytes()).sent()).messages) == 2
            refused = gateway.run("tap", "nobody", "--seconds", "1")
            assert refused.returncode == 1 and 'no instrument "nobody"' in refused.stderr


def test_between_two_ports(tmp_path: Path) -> None:
    """What the instrument says goes to its host unchanged, the answers come back, both are recorded."""
    near, wire = free_port(), tmp_path / "x.wire"
    with socket.create_server(("127.0.0.1", 0)) as host:
        far = host.getsockname()[1]
        tap = Tap("--listen", f"127.0.0.1:{near}", "--connect", f"127.0.0.1:{far}", "-o", str(wire))
        with socket.create_connection(("127.0.0.1", near), timeout=10) as instrument:
            instrument.sendall(ENQ)
            gateway, _ = host.accept()
            with gateway:
                gateway.settimeout(10)
                assert gateway.recv(10) == ENQ
                gateway.sendall(b"\x06")
                assert instrument.recv(10) == b"\x06"
                instrument.sendall(b"\x04")
                assert gateway.recv(10) == b"\x04"
            assert instrument.recv(10) == b""
        code, _, _ = tap.end()
    assert code == 0
    assert read_wire(wire.read_bytes()).lines == ((Way.FROM, ENQ), (Way.TO, b"\x06"), (Way.FROM, b"\x04"))


def test_only_listening_says_nothing_back() -> None:
    """An instrument that calls is heard and shown, and never answered; nothing at all is exit code 1."""
    port = free_port()
    tap = Tap("--listen", f"127.0.0.1:{port}")
    assert f"port {port}" in tap.first
    analyzer = Astm(port, patience_s=0.5)
    analyzer.socket.sendall(ENQ + frames_of(xn("S1"))[0])
    try:
        assert analyzer.answer() == b""
    except TimeoutError:
        pass
    analyzer.close()
    code, shown, _ = tap.end()
    assert code == 0
    assert "< <ENQ>" in shown and "XN-1000" in shown and "> " not in shown
    silent = Tap("--listen", f"127.0.0.1:{free_port()}")
    code, _, error = silent.end()
    assert code == 1 and "nothing came" in error


def test_wrong_calls_say_what_is_wrong() -> None:
    """Exit code 2 and a sentence."""
    for args in (
        [],
        ["xn1", "--listen", "5"],
        ["--listen", "abc"],
        ["--connect", "x"],
        ["x", "--scrub"],
        ["--file", "x"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "labgateway", "tap", *args], check=False, capture_output=True, text=True
        )
        assert done.returncode == 2, args
        assert done.stderr.startswith("labgateway tap: ")


def test_an_old_transcript_is_scrubbed(tmp_path: Path) -> None:
    """--file: the same values, nobody's; what cannot be read is said."""
    shipped = Path(__file__).parents[2] / "drivers" / "sysmex_xn" / "captures" / "patient_cbc_diff.wire"
    out = tmp_path / "clean.wire"
    command = [sys.executable, "-m", "labgateway", "tap", "--file"]
    args = [str(shipped), "--scrub", "-o", str(out), "--driver", "sysmex_xn"]
    done = subprocess.run([*command, *args], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "decode as before" in done.stderr
    assert out.read_bytes() != shipped.read_bytes()
    bad = subprocess.run([*command, str(tmp_path / "no"), *args[1:]], check=False, capture_output=True, text=True)
    assert bad.returncode == 1 and "cannot be read" in bad.stderr
