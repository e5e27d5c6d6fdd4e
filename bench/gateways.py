"""The gateway itself as a process under load: config, driver and mapping for the benchmark's analyzers."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.messages import CODES, specimen_id, value_of

LINES = 50

DRIVER = """\
schema = 1
title = "Benchmark"
maker = "Bench"
models = ["1"]
status = "simulated"
protocol = "{protocol}"
sources = ["bench/messages.py"]
[recognise]
sender = 'BENCH.*'
[where]
{where}
[words]
flag = {{ N = "normal" }}
[tests]
{tests}
"""
WHERE = {
    "astm": 'specimen = "O-3.1"\ncode = "R-3.4"\nvalue = "R-4"\nunit = "R-5"\nflag = "R-7"\nstatus = "R-9"\nmeasured_at = "R-13"',
    "hl7": 'specimen = "OBR-3.1"\ncode = "OBX-3.1"\nvalue = "OBX-5"\nunit = "OBX-6"\nflag = "OBX-8"\nstatus = "OBX-11"\n'
    'measured_at = "OBR-7"',
}


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def configure(
    folder: Path, protocol: str, *, emr: int, orders: int | None, destinations: int = 1
) -> tuple[Path, list[int]]:
    """Write a site of 50 analyzers; returns the config and the lines' ports."""
    driver = folder / "drivers" / "bench_1"
    driver.mkdir(parents=True)
    tests = "\n".join(f'{code} = "mmol/L"' for code in CODES)
    (driver / "driver.toml").write_text(DRIVER.format(protocol=protocol, where=WHERE[protocol], tests=tests))
    (folder / "mappings").mkdir()
    lines = "\n".join(f'{code} = {{ emr = "E{code}", name = "Test {code}" }}' for code in CODES)
    panel = ", ".join(f'"E{code}"' for code in CODES)
    (folder / "mappings" / "bench.toml").write_text(
        f'instrument = "bench"\nchecked = "bench"\n[tests]\n{lines}\n[panels]\nALL = [{panel}]\n'
    )
    ports = free_ports(LINES)
    text = '[gateway]\nname = "BENCH"\nfacility = "BENCH"\n'
    text += "[matching]\n" + ('without_order = "wait"\n' if orders else 'without_order = "send"\n')
    for n, port in enumerate(ports):
        text += (
            f'[instrument.a{n:02}]\ndriver = "bench_1"\nmapping = "bench.toml"\n'
            f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {port} }}\n'
        )
    if orders:
        text += f'[orders.emr]\nkind = "mllp-listen"\nhost = "127.0.0.1"\nport = {orders}\n'
    for n in range(destinations):
        text += f'[destination.emr{n}]\nkind = "mllp"\nhost = "127.0.0.1"\nport = {emr}\n'
    config = folder / "config.toml"
    config.write_text(text)
    return config, ports


def launch(config: Path, prefix: list[str]) -> subprocess.Popen[str]:
    """Start and wait for readiness."""
    log = config.with_suffix(".log")
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "labgateway", "run", "--config", str(config)],
        stdout=log.open("w"), stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while '"ready"' not in log.read_text():
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit("the gateway did not start:\n" + log.read_text()[-2000:])
        time.sleep(0.05)
    return process


def start(kind: str, folder: Path, prefix: list[str]) -> tuple[subprocess.Popen[str], list[int]]:
    """``intake-astm`` or ``intake-hl7``: all as shipped; the EMR is away, so that the intake and the pipeline are what runs."""
    protocol = kind.partition("-")[2]
    config, ports = configure(folder, protocol, emr=free_ports(1)[0], orders=None)
    return launch(config, prefix), ports


def stop(process: subprocess.Popen[str]) -> None:
    """SIGKILL: nothing here is worth a clean end, and a backlog would take its time."""
    subprocess.run(["pkill", "-9", "-P", str(process.pid)], check=False)
    process.kill()
    process.wait()


def order(port: int, numbers: range) -> None:
    """Order the panel ALL on every specimen of a stripe."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as emr:
        answers = emr.makefile("rb")
        for at in range(0, len(numbers), 32):
            batch = numbers[at : at + 32]
            for n in batch:
                emr.sendall(
                    b"\x0bMSH|^~\\&|HIS|||BENCH|20261122080000||OML^O21^OML_O21|O%d|P|2.5.1\rPID|1||P%d^^^B^MR\r"
                    b"ORC|NW|%d\rOBR|1|%d||ALL^ALL^L\rSPM|1|%b\r\x1c\r" % (n, n, n, n, specimen_id(n).encode())
                )
            for _ in batch:
                block = b""
                while not block.endswith(b"\x1c\r"):
                    block += answers.read(1)
                if b"MSA|AA" not in block:
                    raise SystemExit(f"an order was refused: {block!r}")


def end_to_end(folder: Path, *, seconds: float) -> dict[str, Any]:
    """50 lines, orders first, mapped, matched, ORU accepted: throughput at full load, latency at half of it."""
    emr = subprocess.Popen(
        [sys.executable, "-m", "bench.emr", str(folder / "taken.tsv")], stdout=subprocess.PIPE, text=True
    )
    assert emr.stdout
    emr_port = int(emr.stdout.readline())
    orders = free_ports(1)[0]
    config, ports = configure(folder, "astm", emr=emr_port, orders=orders)
    gateway = launch(config, [])
    per_line = max(4, int(seconds * 8))
    try:
        for line in range(LINES):
            order(orders, range(line * 20_000, line * 20_000 + per_line))
        started = time.time()
        run = subprocess.run(
            [sys.executable, "-m", "bench.load", "astm", ",".join(map(str, ports)), str(LINES), "600", "0", str(per_line), "0"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        load: dict[str, Any] = json.loads(run.stdout)
        took = drain(emr, len(load["acked"]), started)
        rss = rss_mb(gateway.pid)
        # Half of that load, paced, for the latency from EOT to the EMR's acceptance.
        rate = len(load["acked"]) / took / 2 / LINES
        paced_first = 10_000
        count = max(2, int(rate * seconds))
        for line in range(LINES):
            first = line * 20_000 + paced_first
            order(orders, range(first, first + count))
        run = subprocess.run(
            [sys.executable, "-m", "bench.load", "astm", ",".join(map(str, ports)), str(LINES), "600", str(paced_first),
             str(count), str(rate)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        paced: dict[str, Any] = json.loads(run.stdout)
        drain(emr, len(load["acked"]) + len(paced["acked"]), time.time())
    finally:
        emr.send_signal(signal.SIGTERM)
        emr.wait(60)
        stop(gateway)
    return {**ledger(folder / "taken.tsv", load, paced), "per_second": len(load["acked"]) / took, "rss_mb": rss}


def drain(emr: subprocess.Popen[str], wanted: int, started: float) -> float:
    """Wait until the EMR has taken that many messages; seconds since started."""
    assert emr.stdout
    seen, still = -1, time.time()
    while True:
        emr.send_signal(signal.SIGUSR1)
        count = int(emr.stdout.readline())
        if count >= wanted:
            return time.time() - started
        if count != seen:
            seen, still = count, time.time()
        elif time.time() - still > 30:
            raise SystemExit(f"the EMR has {count} of {wanted} messages, and nothing more comes")
        time.sleep(0.05)


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def ledger(file: Path, load: dict[str, Any], paced: dict[str, Any]) -> dict[str, Any]:
    """What was acknowledged to the analyzers against what the EMR took."""
    owed = {
        (specimen_id(n), f"E{code}"): value_of(n, at)
        for n in (*load["acked"], *paced["acked"])
        for at, code in enumerate(CODES)
    }
    ended: dict[str, float] = dict(paced["ended"])
    got: dict[tuple[str, str], set[str]] = {}
    wrong = 0
    waits: list[float] = []
    for line in file.read_text().splitlines():
        specimen, code, value, observation, at = line.split("\t")
        got.setdefault((specimen, code), set()).add(observation)
        wrong += owed.get((specimen, code)) != value
        if code == f"E{CODES[0]}" and specimen in ended:
            waits.append(1000 * (float(at) - ended[specimen]))
    waits.sort()
    return {
        "lost": len(owed.keys() - got.keys()),
        "doubled": sum(len(ids) - 1 for ids in got.values()),
        "wrong": wrong,
        "p50_ms": waits[len(waits) // 2] if waits else 0.0,
        "p95_ms": waits[len(waits) * 95 // 100] if waits else 0.0,
        "results": len(owed),
    }
