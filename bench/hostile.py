"""Three hundred callers that mean no good, beside twenty lines at work: ``python -m bench --only hostile``.

    calm       the twenty lines alone
    elsewhere  the same storm at another program of this machine: what the storm itself takes from both
    hostile    the storm at two lines of the gateway, 64 places each

Slices of one run in alternation, the gateway as shipped, each line a message of 40 frames a second. What counts is how
much longer a frame of the twenty waits for its answer.
"""

from __future__ import annotations

import contextlib
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import gateways

LINES, CALLERS, PLACES = 20, 300, 64
RATE = 1.0
"""Messages a second and line: 800 frames a second in all, some 50 times what twenty analyzers send."""
TARGET = 2.0
_SINK = """
import asyncio
class Sink(asyncio.Protocol):
    pass
async def main():
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def hostile(folder: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """All figures. seconds: of one slice."""
    (emr,) = gateways.free_ports(1)
    config, ports = gateways.configure(folder, "astm", emrs=[emr], orders=None)
    bad = gateways.free_ports(2)
    with config.open("a", encoding="utf-8") as more:
        for n, port in enumerate(bad):
            more.write(
                f'[instrument.bad{n}]\ndriver = "bench_1"\nmapping = "bench.toml"\n'
                f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {port}, connections = {PLACES} }}\n'
            )
    gateway = gateways.launch(config, [])
    sink = subprocess.Popen([sys.executable, "-c", _SINK], stdout=subprocess.PIPE, text=True)
    assert sink.stdout
    aims = {"calm": [], "elsewhere": [int(sink.stdout.readline())], "hostile": bad}
    slices: dict[str, list[dict[str, float]]] = {name: [] for name in aims}
    first = 0
    try:
        _load(ports, 2.0, 50_000_000)
        for _ in range(rounds):
            for name, aim in aims.items():
                with _storm(aim) as done:
                    before, began = gateways.cpu_s(gateway.pid), time.monotonic()
                    found = _load(ports, seconds, first)
                    found["cpu_share"] = (gateways.cpu_s(gateway.pid) - before) / (time.monotonic() - began)
                    found["rss_mb"] = gateways.rss_mb(gateway.pid)
                    found["files"] = len(list(Path(f"/proc/{gateway.pid}/fd").iterdir()))
                slices[name].append({**found, **{key: float(count) for key, count in done.items()}})
                first += 1_000_000
        log = config.with_suffix(".log").read_text(encoding="utf-8").splitlines()
    finally:
        sink.kill()
        sink.wait()
        gateways.stop(gateway)
    found = {
        name: {key: statistics.median(one[key] for one in taken) for key in taken[0]} for name, taken in slices.items()
    }
    return {
        "seconds": seconds, "rounds": rounds, **found,
        "ratio": found["hostile"]["p99_ms"] / found["calm"]["p99_ms"],
        "ratio_elsewhere": found["hostile"]["p99_ms"] / found["elsewhere"]["p99_ms"],
        "log_lines": sum('"instrument": "bad' in line or any(f'"port": {port}' in line for port in bad) for line in log),
    }  # fmt: skip


@contextmanager
def _storm(ports: list[int]) -> Iterator[dict[str, int]]:
    """The callers, already calling; what they did is filled in at the end."""
    done: dict[str, int] = {}
    if not ports:
        yield done
        return
    callers = subprocess.Popen(
        [sys.executable, "-m", "bench.hostile_load", ",".join(map(str, ports)), str(CALLERS)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert callers.stdout
    try:
        callers.stdout.readline()
        time.sleep(1.0)
        yield done
        callers.send_signal(signal.SIGTERM)
        with contextlib.suppress(json.JSONDecodeError):
            done |= json.loads(callers.stdout.readline())
    finally:
        callers.kill()
        callers.wait()
    time.sleep(1.0)


def _load(ports: list[int], seconds: float, first: int) -> dict[str, float]:
    run = subprocess.run(
        [sys.executable, "-m", "bench.load", "astm", ",".join(map(str, ports[:LINES])), str(LINES), str(seconds), str(first),
         "20000", str(RATE), str(1 / RATE)],
        capture_output=True, text=True, check=True, timeout=seconds + 90,
    )  # fmt: skip
    found = json.loads(run.stdout)
    return {key: found[key] for key in ("p50_ms", "p99_ms", "messages", "faults")}


def show(found: dict[str, Any]) -> None:
    """The figures as lines."""
    print(
        f"\nhostile: {CALLERS} callers (half frames, a byte a second, garbage) at two lines, {LINES} other lines at work; "
        f"{found['rounds']} slices of {found['seconds']} s each, alternating"
    )
    print(
        f"  {'':10} {'p50 ms':>8} {'p99 ms':>8} {'messages':>9} {'CPU share':>10} {'MB':>6} {'files':>6} {'calls':>7} {'kB':>7}"
    )
    for name in ("calm", "elsewhere", "hostile"):
        row = found[name]
        print(
            f"  {name:10} {row['p50_ms']:8.2f} {row['p99_ms']:8.2f} {row['messages']:9.0f} {row['cpu_share']:10.3f} "
            f"{row['rss_mb']:6.0f} {row['files']:6.0f} {row.get('calls', 0):7.0f} {row.get('bytes', 0) / 1000:7.0f}"
            + (f"  {row['faults']:.0f} faults" if row["faults"] else "")
        )
    print(
        f"  p99 of the other lines: {found['ratio']:.2f} of the calm one (wanted <= {TARGET:.0f}); "
        f"{found['ratio_elsewhere']:.2f} of that with the storm elsewhere; {found['log_lines']} lines in the log about it"
    )
