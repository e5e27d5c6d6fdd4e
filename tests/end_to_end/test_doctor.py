"""`labgateway doctor` beside real misbehaving peers, with a running gateway and without one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from labgateway.protocols.astm_frames import frames
from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import ENQ, Astm, frames_of
from tests.end_to_end.gateway import Gateway, free_port
from tests.end_to_end.test_bad_input import oru
from tests.end_to_end.test_first_light import MAPPING, Site, seen, xn

Peer = Callable[[], None]
_AT_ONCE = ThreadPoolExecutor(16)


async def examined(gateway: Gateway, name: str, peer: Peer, *more: str, seconds: float = 4.0) -> list[str]:
    """What the doctor finds while a peer misbehaves."""
    command = [sys.executable, "-m", "labgateway", "doctor", name, "--seconds", str(seconds), "--json", *more]

    def work() -> str:
        process = subprocess.Popen(
            [*command, "--config", str(gateway.config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout and process.stderr
        process.stderr.readline()  # it watches now
        with contextlib.suppress(OSError):
            peer()
        out, error = process.communicate(timeout=60)
        assert process.returncode in (0, 1), error
        return out

    found: dict[str, Any] = json.loads(await asyncio.get_running_loop().run_in_executor(_AT_ONCE, work))
    return [one["finding"] for one in found["findings"]]


def talking(
    port: int, *pieces: bytes, pause_s: float = 0.1, from_host: str = "127.0.0.1", later_s: float = 0.0
) -> Peer:
    def talk() -> None:
        time.sleep(later_s)
        with socket.create_connection(("127.0.0.1", port), timeout=5, source_address=(from_host, 0)) as peer:
            for piece in pieces:
                peer.sendall(piece)
                time.sleep(pause_s)
            time.sleep(1.0)

    return talk


def sending(port: int, records: list[str]) -> Peer:
    def send() -> None:
        analyzer = Astm(port)
        analyzer.session(frames_of(records))
        analyzer.close()

    return send


def peers() -> dict[str, tuple[str, str, Callable[[int], Peer]]]:
    """Name of the line: its driver, what is found first (or, with *, among others), and who misbehaves on its port."""
    good = frames_of(xn("SD1"))
    bare = [frame[:-4] + b"\r\n" for frame in good]
    wrong = [frame[:-4] + (b"00" if frame[-4:-2] != b"00" else b"01") + b"\r\n" for frame in good]
    hl7 = b"\x0b" + oru("S1").encode() + b"\x1c\r"
    noise = bytes(Random(5).choices(range(128, 256), k=400))
    foreign = [record.replace("XN-1000", "ZZ-77") for record in xn("SD3")]
    return {
        "p1": ("sysmex_xn", "nobody_calls", lambda _: lambda: None),
        "p2": ("sysmex_xn", "wrong_protocol", lambda port: talking(port, hl7)),
        "p3": ("mindray_bc", "wrong_protocol", lambda port: talking(port, ENQ, b"".join(good))),
        "p4": ("sysmex_xn", "connected_silent", talking),
        "p5": ("sysmex_xn", "no_checksums", lambda port: talking(port, ENQ, *bare)),
        "p6": ("sysmex_xn", "bad_checksums", lambda port: talking(port, ENQ, *wrong)),
        "p7": ("sysmex_xn", "garbage", lambda port: talking(port, noise)),
        "p8": ("sysmex_xn", "not_an_instrument", lambda port: talking(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
        "p9": ("sysmex_xn", "enq_only", lambda port: talking(port, *[ENQ, b"\x04"] * 4, pause_s=0.3)),
        "p10": ("sysmex_xn", "*sender_unknown", lambda port: sending(port, foreign)),
        "p11": ("sysmex_xn", "*no_specimen", lambda port: sending(port, xn(""))),
        "p12": ("sysmex_xn", "*", lambda port: sending(port, xn("SD9", at=time.strftime("%Y%m%d%H%M%S")))),
    }


async def test_misbehaving_peers_of_a_running_gateway(tmp_path: Path) -> None:
    """Each is named for what it is, twelve lines at once; the gateway goes on; what works is not called ill."""
    async with Emr() as emr:
        cases, nobody = peers(), free_port()
        ports = {name: free_port() for name in cases}
        extra = f"""
[instrument.far]
driver = "sysmex_xn"
mapping = "far.toml"
line = {{ kind = "tcp", host = "127.0.0.1", port = {nobody} }}
"""
        for name, (driver, _, _) in cases.items():
            line = f'{{ kind = "tcp-listen", host = "127.0.0.1", port = {ports[name]} }}'
            extra += f'[instrument.{name}]\ndriver = "{driver}"\nmapping = "{name}.toml"\nline = {line}\n'
        site = Site(tmp_path, emr, extra=extra, matching='without_order = "send"')
        for name in (*cases, "far"):
            text = MAPPING.replace('instrument = "xn1"', f'instrument = "{name}"')
            (tmp_path / "mappings" / f"{name}.toml").write_text(text, encoding="utf-8")
        with site.gateway as gateway:
            found = await asyncio.gather(
                *(examined(gateway, name, peer(ports[name]), seconds=5) for name, (_, _, peer) in cases.items())
            )
            for (name, (_, wanted, _)), names in zip(cases.items(), found, strict=True):
                if wanted.startswith("*"):
                    assert wanted == "*" or wanted[1:] in names, (name, names)
                else:
                    assert names[0] == wanted, (name, names)
            ill = {"wrong_protocol", "no_checksums", "bad_checksums", "no_specimen", "nobody_calls", "sender_unknown"}
            assert not ill & set(found[-1]), found[-1]
            await seen(emr, 3)
            refused = gateway.run("doctor", "nobody", "--seconds", "1")
            assert refused.returncode == 1 and 'no instrument "nobody"' in refused.stderr
            said = gateway.run("doctor", "far", "--seconds", "1", "--lang", "vi")
            assert "nên làm:" in said.stdout and said.returncode == 1
            assert (await examined(gateway, "far", lambda: None, seconds=1))[0] == "nobody_listens"
            whole = json.loads(gateway.run("doctor", "--json").stdout)
            assert "not_running" not in {one["finding"] for one in whole["findings"]}
            trying = gateway.run("doctor", "xn1", "--try")
            assert trying.returncode == 1 and "Stop the gateway" in trying.stderr


CONFIG = """\
[instrument.xn1]
driver = "sysmex_xn"
mapping = "xn1.toml"
line = {line}
"""


async def test_without_a_gateway_the_line_is_held_and_nothing_acknowledged(tmp_path: Path) -> None:
    """The instrument may begin, every frame is refused; who waits as we do, and who calls whom we call, are found."""
    port, other = free_port(), free_port()
    gateway = Gateway(tmp_path, CONFIG.format(line=f'{{ kind = "tcp-listen", host = "127.0.0.1", port = {port} }}'))
    answers: list[bytes] = []

    def offer() -> None:
        analyzer = Astm(port)
        analyzer.socket.sendall(ENQ)
        answers.append(analyzer.answer())
        analyzer.socket.sendall(frames_of(xn("SD2"))[0])
        answers.append(analyzer.answer())
        analyzer.close()

    found = await examined(gateway, "xn1", offer)
    assert answers == [b"\x06", b"\x15"]
    assert "nobody_calls" not in found and "no_checksums" not in found

    line = f'{{ kind = "tcp-listen", host = "127.0.0.1", port = {port}, allow = ["127.0.0.2"] }}'
    gateway = Gateway(tmp_path, CONFIG.format(line=line))
    with socket.create_server(("127.0.0.2", port)):
        assert (await examined(gateway, "xn1", lambda: None, seconds=2))[0] == "both_listen"

    gateway = Gateway(tmp_path, CONFIG.format(line=f'{{ kind = "tcp", host = "127.0.0.2", port = {other} }}'))
    calling = talking(other, from_host="127.0.0.2", later_s=2.0)
    assert (await examined(gateway, "xn1", calling, seconds=5))[0] == "both_call"
    taken = Gateway(tmp_path, CONFIG.format(line=f'{{ kind = "tcp-listen", host = "127.0.0.1", port = {port} }}'))
    with socket.create_server(("127.0.0.1", port)):
        assert (await examined(taken, "xn1", lambda: None, seconds=2))[0] == "port_shut"


@contextlib.contextmanager
def serial_peer(baud: int, frame: bytes) -> Iterator[str]:
    """An instrument on a pty that is understood at one speed only: at any other its bytes are garbage."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    end = threading.Event()
    random = Random(3)
    speed = getattr(termios, f"B{baud}")

    def talk() -> None:
        while not end.wait(0.15):
            right = termios.tcgetattr(theirs)[5] == speed
            with contextlib.suppress(BlockingIOError):
                os.write(ours, frame if right else bytes(random.choices(range(128, 256), k=30)))

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield os.ttyname(theirs)
    finally:
        end.set()
        thread.join()
        os.close(ours)
        os.close(theirs)


async def test_a_wrong_baud_rate_is_seen_and_the_right_one_found(tmp_path: Path) -> None:
    """Garbage at 9600; --try finds 19200; a device that is not there is said."""
    frame = next(iter(frames(b"H|\\^&|||    XN-1000^00-24\r")))
    with serial_peer(19200, frame) as device:
        gateway = Gateway(tmp_path, CONFIG.format(line=f'{{ kind = "serial", device = "{device}" }}'))
        assert (await examined(gateway, "xn1", lambda: None, seconds=2))[0] == "wrong_speed"
        ran = await asyncio.to_thread(gateway.run, "doctor", "xn1", "--try", "--json")
        (found,) = json.loads(ran.stdout)["findings"]
        assert found["finding"] == "speed_found" and "baud = 19200" in found["do"]
    gateway = Gateway(tmp_path, CONFIG.format(line='{ kind = "serial", device = "/dev/no-such-port" }'))
    assert (await examined(gateway, "xn1", lambda: None, seconds=2))[0] == "serial_shut"


def test_an_installation_without_a_gateway(tmp_path: Path) -> None:
    """It is said that none runs, and a port that another program holds; nothing is left behind."""
    port = free_port()
    gateway = Gateway(tmp_path, CONFIG.format(line=f'{{ kind = "tcp-listen", host = "127.0.0.1", port = {port} }}'))
    before = sorted(tmp_path.rglob("*"))
    with socket.create_server(("127.0.0.1", port)):
        found = {one["finding"] for one in json.loads(gateway.run("doctor", "--json").stdout)["findings"]}
    assert {"not_running", "ports_taken", "config_bad"} <= found  # the mapping is not there
    assert sorted(tmp_path.rglob("*")) == before
    gateway.config.write_text("[instrument.x]\nnonsense = 1\n")
    assert "config_bad" in gateway.run("doctor").stdout or "mistakes" in gateway.run("doctor").stdout


@pytest.mark.parametrize("args", [["--seconds", "x"], ["--lang", "fr"]])
def test_wrong_calls(args: list[str]) -> None:
    """Exit code 2."""
    done = subprocess.run([sys.executable, "-m", "labgateway", "doctor", *args], check=False, capture_output=True)
    assert done.returncode == 2
