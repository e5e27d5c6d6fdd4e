"""The soak of ``make bench``: 60 lines (20 serial at the pace of 9600 baud, 40 TCP) with host queries for a minute.

    bare loop    acknowledges whatever ends a frame, on ports and serial devices alike; cannot answer queries
    labgateway   as shipped: orders in, queries answered, results mapped, matched, sent to an EMR that takes them

Run in alternation, each for the same time. What counts: how much longer a message takes on a serial line.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import gateways
from bench.messages import CODES
from bench.soak_load import STRIPE

SERIAL, TCP = 20, 40
EVERY_S = 5.0
TARGET = 1.05
_QUERY = '[query]\nspecimen = "Q-3.1"\n'


def configure(folder: Path, devices: list[Path], *, emr: int, orders: int) -> tuple[Path, list[int]]:
    """A site of 60 analyzers that ask."""
    driver = folder / "drivers" / "bench_1"
    driver.mkdir(parents=True)
    tests = "\n".join(f'{code} = "mmol/L"' for code in CODES)
    text = gateways.DRIVER.format(protocol="astm", where=gateways.WHERE["astm"], tests=tests)
    (driver / "driver.toml").write_text(text + _QUERY)
    (folder / "mappings").mkdir()
    lines = "\n".join(f'{code} = {{ emr = "E{code}", name = "Test {code}" }}' for code in CODES)
    panel = ", ".join(f'"E{code}"' for code in CODES)
    (folder / "mappings" / "bench.toml").write_text(
        f'instrument = "bench"\nchecked = "bench"\n[tests]\n{lines}\n[panels]\nALL = [{panel}]\n'
    )
    ports = gateways.free_ports(TCP)
    said = '[gateway]\nname = "BENCH"\nfacility = "BENCH"\n'
    for n, device in enumerate(devices):
        said += f'[instrument.s{n:02}]\ndriver = "bench_1"\nmapping = "bench.toml"\nline = {{ kind = "serial", device = "{device}" }}\n'
    for n, port in enumerate(ports):
        said += (
            f'[instrument.t{n:02}]\ndriver = "bench_1"\nmapping = "bench.toml"\n'
            f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {port} }}\n'
        )
    said += f'[orders.emr]\nkind = "mllp-listen"\nhost = "127.0.0.1"\nport = {orders}\n'
    said += f'[destination.emr]\nkind = "mllp"\nhost = "127.0.0.1"\nport = {emr}\n'
    config = folder / "config.toml"
    config.write_text(said)
    return config, ports


def soak(folder: Path, seconds: float) -> dict[str, Any]:
    """Both, one after the other; every figure, and what was lost."""
    per_line = max(3, int(seconds / 2))
    bare = _bare(folder, seconds, per_line)
    ours = _ours(folder, seconds, per_line)
    return {"seconds": seconds, "bare": bare, "labgateway": ours, "ratio": _ratios(bare, ours)}


def _load(
    folder: Path, name: str, seconds: float, per_line: int, *, queries: bool, serve: Callable[[list[Path]], Any]
) -> tuple[dict[str, Any], Any]:
    """Make the devices, start the server on them, play. serve: devices to (ports, its process, what ends it)."""
    place = folder / name
    place.mkdir()
    devices = [place / f"tty{n:02}" for n in range(SERIAL)]
    plan = place / "plan.json"
    load: subprocess.Popen[str] | None = None
    plan.write_text(json.dumps({"devices": [str(d) for d in devices]}))
    server = None
    try:
        # The load reads its plan when it starts, so the ports must be known: they are chosen before the server starts.
        ports, begin = serve(devices)
        plan.write_text(
            json.dumps(
                {
                    "devices": [str(d) for d in devices], "ports": ports, "seconds": seconds, "every_s": EVERY_S,
                    "queries": queries, "per_line": per_line, "first": 0,
                }
            )
        )  # fmt: skip
        load = subprocess.Popen(
            [sys.executable, "-m", "bench.soak_load", str(plan)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert load.stdin and load.stdout
        load.stdout.readline()
        server = begin()
        time.sleep(3.0)  # serial devices are opened within 2 s
        before = server.figures()
        began = time.monotonic()
        load.stdin.write("go\n")
        load.stdin.flush()
        out = load.stdout.readline()
        took = time.monotonic() - began
        after = server.figures()
        found: dict[str, Any] = json.loads(out)
        found["cpu_share"] = (after["cpu_s"] - before["cpu_s"]) / took
        found["rss_mb"] = (before["rss_mb"], after["rss_mb"])
        return found, server
    finally:
        if load is not None:
            load.kill()
            load.wait()


class _Server:
    """A process under load."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def figures(self) -> dict[str, float]:
        """CPU seconds so far and resident memory."""
        return {"cpu_s": gateways.cpu_s(self.process.pid), "rss_mb": gateways.rss_mb(self.process.pid)}


def _bare(folder: Path, seconds: float, per_line: int) -> dict[str, Any]:
    def serve(devices: list[Path]) -> tuple[list[int], Callable[[], _Server]]:
        (port,) = gateways.free_ports(1)

        def begin() -> _Server:
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.soak", str(port), *map(str, devices)], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout
            process.stdout.readline()
            return _Server(process)

        return [port] * TCP, begin

    found, server = _load(folder, "soak-bare", seconds, per_line, queries=False, serve=serve)
    gateways.stop(server.process)
    return _figures(found)


def _ours(folder: Path, seconds: float, per_line: int) -> dict[str, Any]:
    place = folder / "soak-site"
    place.mkdir()
    emr = subprocess.Popen(
        [sys.executable, "-m", "bench.emr", str(place / "taken.tsv")], stdout=subprocess.PIPE, text=True
    )
    assert emr.stdout
    emr_port = int(emr.stdout.readline())
    (orders,) = gateways.free_ports(1)

    def serve(devices: list[Path]) -> tuple[list[int], Callable[[], _Server]]:
        config, ports = configure(place, devices, emr=emr_port, orders=orders)

        def begin() -> _Server:
            process = gateways.launch(config, [])
            for line in range(SERIAL + TCP):
                gateways.order(orders, range(line * STRIPE, line * STRIPE + per_line))
            return _Server(process)

        return ports, begin

    server = None
    try:
        found, server = _load(folder, "soak-ours", seconds, per_line, queries=True, serve=serve)
        acked = [*found["serial"]["acked"], *found["tcp"]["acked"]]
        gateways.drain(emr, len(acked), time.time())
        emr.send_signal(signal.SIGTERM)
        emr.wait(60)
        proven = gateways.ledger(place / "taken.tsv", acked)
        return {
            **_figures(found), "acked": len(acked), "lost": proven.lost, "doubled": proven.doubled, "wrong": proven.wrong,
        }  # fmt: skip
    finally:
        emr.kill()
        emr.wait()
        if server is not None:
            gateways.stop(server.process)


def _at(sorted_times: list[float], share: float) -> float:
    """Milliseconds below which this share lies."""
    return 1000 * sorted_times[min(len(sorted_times) - 1, int(len(sorted_times) * share))] if sorted_times else 0.0


def _figures(found: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"cpu_share": found["cpu_share"], "rss_mb": found["rss_mb"]}
    for part in ("serial", "tcp"):
        one = found[part]
        out[part] = {
            "messages": len(one["messages"]), "faults": one["faults"], "told": one["told"],
            "message_p50_ms": _at(one["messages"], 0.5), "message_p99_ms": _at(one["messages"], 0.99),
            "turn_p50_ms": _at(one["turns"], 0.5), "turn_p99_ms": _at(one["turns"], 0.99),
            "query_p50_ms": _at(one["queries"], 0.5), "query_p95_ms": _at(one["queries"], 0.95),
            "query_p99_ms": _at(one["queries"], 0.99), "queries": len(one["queries"]),
        }  # fmt: skip
    return out


def _ratios(bare: dict[str, Any], ours: dict[str, Any]) -> dict[str, float]:
    return {
        f"{part}_{key}": ours[part][f"message_{key}_ms"] / bare[part][f"message_{key}_ms"]
        for part in ("serial", "tcp")
        for key in ("p50", "p99")
        if bare[part][f"message_{key}_ms"]
    }


def show(found: dict[str, Any]) -> None:
    """A table, and whether the target is met."""
    print(
        f"\nsoak: {SERIAL} serial lines at 9600 baud and {TCP} TCP lines for {found['seconds']:.0f} s, each asks for its orders "
        "and sends 36 results; the bare loop is not asked"
    )
    print(
        f"  {'':12} {'messages':>9} {'message p50, p99 ms':>22} {'turn p50, p99 ms':>18} {'query p50, p95, p99 ms':>24} {'faults':>7}"
    )
    for name in ("bare", "labgateway"):
        for part in ("serial", "tcp"):
            one = found[name][part]
            asked = (
                f"{one['query_p50_ms']:.1f}, {one['query_p95_ms']:.1f}, {one['query_p99_ms']:.1f}"
                if one["queries"]
                else "-"
            )
            print(
                f"  {name[:5] + ' ' + part:12} {one['messages']:9} {one['message_p50_ms']:13.0f}, {one['message_p99_ms']:7.0f} "
                f"{one['turn_p50_ms']:9.2f}, {one['turn_p99_ms']:7.2f} {asked:>24} {one['faults']:7}"
            )
    for name in ("bare", "labgateway"):
        before, after = found[name]["rss_mb"]
        print(f"  {name:12} {100 * found[name]['cpu_share']:.1f} % of one core, memory {before:.0f} -> {after:.0f} MB")
    ratio = found["ratio"]["serial_p50"]
    print(
        f"  a message on a 9600 baud line takes {ratio:.3f} of the bare loop's time (p99: {found['ratio']['serial_p99']:.3f}); "
        f"wanted: at most {TARGET}: {'met' if ratio <= TARGET else 'NOT met'}; of "
        f"{found['labgateway']['acked']} acknowledged messages {found['labgateway']['lost']} results lost, "
        f"{found['labgateway']['doubled']} doubled, {found['labgateway']['wrong']} wrong"
    )


class _Bare(asyncio.Protocol):
    """ACK for whatever opens a session or ends a frame."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """ENQ or LF: ACK."""
        if data[-1] in (0x05, 0x0A):
            self.transport.write(b"\x06")


async def _serve_bare(port: int, devices: list[str]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Bare, "127.0.0.1", port)
    for device in devices:
        file = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(file)

        def read(file: int = file) -> None:
            data = os.read(file, 65536)
            if data and data[-1] in (0x05, 0x0A):
                os.write(file, b"\x06")

        loop.add_reader(file, read)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve_bare(int(sys.argv[1]), sys.argv[2:]))
