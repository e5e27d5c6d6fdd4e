"""A peer that dies without a word (a pulled cable, a crashed switch): seen within 10 s, idle or in the middle of an answer.

Needs root, `ip` and `nft`: the peer lives in a network namespace of its own, whose packets are dropped from one moment on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from labgateway.transports.tcp import TcpConnect, TcpListen
from tests.transports.test_tcp import House, until

CALLER = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
s.sendall(b"\\x05")
time.sleep(60)
"""
LISTENER = """
import socket, sys, time
l = socket.create_server(("0.0.0.0", int(sys.argv[2])))
print("up", flush=True)
s, _ = l.accept()
s.sendall(b"\\x05")
time.sleep(60)
"""


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


class Elsewhere:
    """A network namespace behind a pair of virtual interfaces."""

    def __init__(self) -> None:
        number = os.getpid() % 250
        self.name = f"lg{os.getpid()}"
        self.here, self.there = f"10.231.{number}.1", f"10.231.{number}.2"
        self.children: list[subprocess.Popen[bytes]] = []
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", f"h{self.name}", "type", "veth", "peer", "name", "eth9", "netns", self.name)
        run("ip", "addr", "add", f"{self.here}/24", "dev", f"h{self.name}")
        run("ip", "link", "set", f"h{self.name}", "up")
        self.inside("ip", "addr", "add", f"{self.there}/24", "dev", "eth9")
        self.inside("ip", "link", "set", "eth9", "up")

    def inside(self, *words: str) -> None:
        run("ip", "netns", "exec", self.name, *words)

    def start(self, code: str, *args: str) -> subprocess.Popen[bytes]:
        words = ("ip", "netns", "exec", self.name, sys.executable, "-c", code, *args)
        self.children.append(subprocess.Popen(words, stdout=subprocess.PIPE))
        return self.children[-1]

    def cut(self) -> None:
        """From now on nothing comes in or goes out, and nobody is told."""
        self.inside("nft", "add", "table", "inet", "t")
        for hook in ("input", "output"):
            chain = f"{{ type filter hook {hook} priority 0 ; policy drop ; }}"
            self.inside("nft", "add", "chain", "inet", "t", hook, chain)

    def remove(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()
        with contextlib.suppress(subprocess.CalledProcessError):
            run("ip", "link", "del", f"h{self.name}")
        with contextlib.suppress(subprocess.CalledProcessError):
            run("ip", "netns", "del", self.name)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("nft"):
        pytest.skip("needs root, ip and nft")
    try:
        made = Elsewhere()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode()[:100]}")
    try:
        yield made
    finally:
        made.remove()


@pytest.mark.parametrize("answering", [False, True])
async def test_a_caller_that_dies_is_seen(elsewhere: Elsewhere, answering: bool) -> None:
    """An idle line by keepalive, one that is being answered by TCP_USER_TIMEOUT; its place is free again."""
    house = House()
    line = TcpListen(elsewhere.here, 0, house.open, allow=[f"{elsewhere.there}/32"])
    await line.start()
    elsewhere.start(CALLER, elsewhere.here, str(line.port))
    await until(lambda: house.sessions and house.sessions[0].data)
    await asyncio.to_thread(elsewhere.cut)
    began = time.monotonic()
    if answering:
        house.sessions[0].channel.send(b"\x06")
    await until(lambda: house.sessions[0].gone, 12)
    assert time.monotonic() - began < 10
    assert line.trouble == "waiting for the instrument to call"
    await line.stop()


async def test_an_instrument_that_we_called_and_that_dies_is_seen(elsewhere: Elsewhere) -> None:
    """And it is called again."""
    house = House()
    child = elsewhere.start(LISTENER, "", "4123")
    assert child.stdout
    await asyncio.to_thread(child.stdout.readline)
    line = TcpConnect(elsewhere.there, 4123, house.open)
    await line.start()
    await until(lambda: house.sessions and house.sessions[0].data)
    await asyncio.to_thread(elsewhere.cut)
    began = time.monotonic()
    await until(lambda: house.sessions[0].gone, 12)
    assert time.monotonic() - began < 10
    assert "dialling again" in line.trouble
    await line.stop()
