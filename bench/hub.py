"""A hub of many sites, measured: ``python -m bench.hub [SITES] [REPORTS]``. Starts a nats-server of its own.

Also the smallest reader of a hub that is right: a durable consumer, each result kept once by its id, acknowledged after it
was kept.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nats

from labgateway.delivery import document
from labgateway.delivery.nats_out import Hub, NatsDestination
from labgateway.delivery.outcome import Accepted
from labgateway.model import Settings
from tests.delivery.reports import PERSON, observation, order, report


def _server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    binary = shutil.which("nats-server") or "/usr/sbin/nats-server"
    config = folder / "nats.conf"
    config.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}/js" }}\n')
    return subprocess.Popen([binary, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _body(site: str, number: str, tests: int) -> bytes:
    panel = order()
    found = (observation(f"T{n:02}", f"{n}.{n:02}", of=panel, id=f"{number}{n:04}") for n in range(tests))
    return document.render(report(*found, patient=PERSON), Settings(site, "HOSPITAL", "Asia/Ho_Chi_Minh"), number)


def _cost(pid: int, folder: Path, count: int) -> tuple[float, float]:
    """MiB resident, and bytes on disk a report."""
    rss = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20
    return rss, sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / count


async def read(url: str, count: int) -> tuple[dict[str, int], float]:
    """Read until so many results are kept; results by site, and seconds."""
    link: Any = await nats.connect(url)  # pyright: ignore[reportUnknownMemberType]
    reader = await link.jetstream().pull_subscribe("lab.>", durable="hub")
    kept: dict[str, Any] = {}
    sites: dict[str, int] = {}
    started = time.perf_counter()
    while len(kept) < count:
        for message in await reader.fetch(200, timeout=10):
            found = json.loads(message.data)
            for one in found["results"]:
                if kept.setdefault(one["id"], one) is one:  # a repeat is known by its id
                    sites[found["site"]] = sites.get(found["site"], 0) + 1
            await message.ack()
    seconds = time.perf_counter() - started
    await link.close()
    return sites, seconds


async def measure(sites: int, reports: int, tests: int = 12) -> None:
    """So many sites send so many reports each, all at once."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        server = _server(Path(folder), port)
        url = f"nats://127.0.0.1:{port}"
        try:
            await asyncio.sleep(1.0)
            link: Any = await nats.connect(url)  # pyright: ignore[reportUnknownMemberType]
            await link.jetstream().add_stream(name="LAB", subjects=["lab.*.results"], duplicate_window=3600)
            await link.close()
            ways = [
                NatsDestination(Hub([url]), f"SITE{n:04}", "lab.{site}.results", stream="LAB") for n in range(sites)
            ]
            size = len(_body("SITE0000", "0" * 20, tests))
            started = time.perf_counter()

            async def site(number: int) -> None:
                for k in range(reports):
                    name = f"{number:08}{k:08}"
                    said = await ways[number].send(_body(f"SITE{number:04}", name, tests), name)
                    assert isinstance(said, Accepted), said

            await asyncio.gather(*(site(n) for n in range(sites)))
            seconds = time.perf_counter() - started
            by_site, reading = await read(url, sites * reports * tests)
            assert len(by_site) == sites and set(by_site.values()) == {reports * tests}
            rss, disk = _cost(server.pid, Path(folder), sites * reports)
            print(f"{sites} sites, {reports} reports of {tests} results each, {size} bytes a report")
            print(
                f"accepted  {sites * reports / seconds:8.0f} reports/s  ({sites * reports * tests / seconds:.0f} results/s)"
            )
            print(f"read      {sites * reports / reading:8.0f} reports/s by one consumer, JSON read, repeats dropped")
            print(f"hub       {rss:8.0f} MiB resident, {disk:.0f} bytes on disk a report, {sites} connections")
            for way in ways:
                await way.close()
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    asyncio.run(measure(*(int(one) for one in sys.argv[1:3] or ("200", "20"))))
