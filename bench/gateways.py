"""The gateway itself as a process under load: config, driver and mapping for the benchmark's analyzers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.messages import CODES, RESULTS, specimen_id, value_of

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
    folder: Path, protocol: str, *, emrs: Sequence[int], orders: int | None, store: str | None = None
) -> tuple[Path, list[int]]:
    """Write a site of 50 analyzers, a destination for each port of emrs; returns the config and the lines' ports.

    orders: the port of the door for orders; None: the site has none. store: a database's address; None: SQLite.
    """
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
    text += f"[store]\nurl = {json.dumps(store)}\n" if store else ""
    text += "[matching]\n" + ('without_order = "wait"\n' if orders else 'without_order = "send"\n')
    for n, port in enumerate(ports):
        text += (
            f'[instrument.a{n:02}]\ndriver = "bench_1"\nmapping = "bench.toml"\n'
            f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {port} }}\n'
        )
    if orders:
        text += f'[orders.emr]\nkind = "mllp-listen"\nhost = "127.0.0.1"\nport = {orders}\n'
    for n, emr in enumerate(emrs):
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
    config, ports = configure(folder, protocol, emrs=free_ports(1), orders=None)
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


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, user and system, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int, *, most: bool = False) -> float:
    """Resident memory of a process; most: the most that it ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:" if most else "VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was acknowledged to the analyzers against what an EMR took.

    lost, doubled, wrong: results. taken: by specimen, when its first value was accepted.
    """

    results: int
    lost: int
    doubled: int
    wrong: int
    taken: dict[str, float]


def ledger(file: Path, acked: Iterable[int], tests: int = RESULTS) -> Ledger:
    """Compare every value. acked: numbers of the messages that were acknowledged, each of so many tests."""
    owed = {(specimen_id(n), f"E{CODES[at]}"): value_of(n, at) for n in acked for at in range(tests)}
    got: dict[tuple[str, str], set[str]] = {}
    taken: dict[str, float] = {}
    wrong = 0
    for line in file.read_text().splitlines():
        specimen, code, value, observation, at = line.split("\t")
        got.setdefault((specimen, code), set()).add(observation)
        wrong += owed.get((specimen, code)) != value
        taken.setdefault(specimen, float(at))
    return Ledger(len(owed), len(owed.keys() - got.keys()), sum(len(ids) - 1 for ids in got.values()), wrong, taken)


def percentiles(waits: Iterable[float]) -> dict[str, float]:
    """p50, p95 and p99 in ms of waits in seconds; 0 where there are none."""
    known = sorted(waits)
    return {f"p{n}_ms": 1000 * known[len(known) * n // 100] if known else 0.0 for n in (50, 95, 99)}
