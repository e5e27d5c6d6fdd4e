"""Days without the EMR, and its return: ``python -m bench --only backlog [--results N]``.

The gateway runs as shipped, 50 lines, its EMR away. Analyzers send until N results wait; then the EMR comes back while
analyzers go on. Each specimen has two messages of 18 results, so that their order can be compared. Printed: intake before the
backlog and with it, memory, how fast it is gone as a multiple of LIVE, and how long results of meanwhile took.

LIVE, the live rate: 20,000 results an hour, four times the peak of a big laboratory (5,000 an hour). So that there are enough live results
to look at while the backlog lasts, they come at ten times that.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench import gateways
from bench.messages import CODES, HALF, half_of, specimen_id, value_of

LIVE = 20_000 / 3600
"""Results a second."""
SAMPLED = 10
_LIVE_LINES = 5
_STRIPE = 20_000


def backlog(folder: Path, results: int, seconds: float) -> dict[str, Any]:
    """All figures; seconds: of one slice of the intake."""
    (port,) = gateways.free_ports(1)
    config, ports = gateways.configure(folder, "astm", emrs=[port], orders=None)
    gateway = gateways.launch(config, [])
    emr: subprocess.Popen[str] | None = None
    found: dict[str, Any] = {"results": results, "live_per_hour": LIVE * 3600}
    acked: list[int] = []
    try:
        found["rss_before_mb"] = gateways.rss_mb(gateway.pid)
        first = _load(ports, seconds, 0)
        found["intake_before"] = first["per_second"]
        acked += first["acked"]
        _processed(folder, len(acked))
        began = time.monotonic()
        block = 0
        while (missing := results - len(acked) * HALF) > 0:
            block += 1
            each = max(2, min(_STRIPE, -(-missing // HALF // len(ports))))
            acked += _load(ports, 600, block * 2_000_000, count=each)["acked"]
            _processed(folder, len(acked))
        found["filled_in_s"] = time.monotonic() - began
        found["rss_backlog_mb"] = gateways.rss_mb(gateway.pid)
        more = _load(ports, seconds, 20_000_000)
        found["intake_with_backlog"] = more["per_second"]
        acked += more["acked"]
        _processed(folder, len(acked))
        found["waiting"] = len(acked)
        emr = subprocess.Popen(
            [sys.executable, "-m", "bench.emr", str(folder / "taken.tsv"), str(port)], stdout=subprocess.PIPE, text=True
        )
        assert emr.stdout
        emr.stdout.readline()
        _first_taken(emr)
        rate = SAMPLED * LIVE / HALF / _LIVE_LINES
        live: dict[str, Any] = {"acked": [], "ended": {}}
        block = 0
        while _taken(emr) < len(acked):
            part = _load(ports[:_LIVE_LINES], 600, 40_000_000 + block * 200_000, count=max(2, int(rate * 5)), rate=rate)
            live["acked"] += part["acked"]
            live["ended"] |= part["ended"]
            block += 1
        gateways.drain(emr, len(acked) + len(live["acked"]), time.time())
        found["rss_after_mb"] = gateways.rss_mb(gateway.pid)
        found["rss_most_mb"] = gateways.rss_mb(gateway.pid, most=True)
        emr.send_signal(signal.SIGTERM)
        emr.wait(120)
    finally:
        if emr is not None:
            emr.kill()
            emr.wait()
        gateways.stop(gateway)
    return {**found, **_compare(folder / "taken.tsv", acked, live)}


def _load(ports: list[int], seconds: float, first: int, *, count: int = _STRIPE, rate: float = 0.0) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-m", "bench.load", "astm-halves", ",".join(map(str, ports)), str(len(ports)), str(seconds),
         str(first), str(count), str(rate)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(run.stdout)


def _processed(folder: Path, wanted: int) -> None:
    """Wait until so many deliveries wait."""
    data = next(p for p in folder.rglob("*") if p.suffix in (".db", ".sqlite", ".sqlite3"))
    seen, still = -1, time.monotonic()
    while True:
        store = sqlite3.connect(f"file:{data}?mode=ro", uri=True)
        (count,) = store.execute("SELECT count(*) FROM delivery").fetchone()
        store.close()
        if count >= wanted:
            return
        if count != seen:
            seen, still = count, time.monotonic()
        elif time.monotonic() - still > 60:
            raise SystemExit(f"{count} of {wanted} deliveries were made, and nothing more comes")
        time.sleep(0.3)


def _taken(emr: subprocess.Popen[str]) -> int:
    assert emr.stdout
    emr.send_signal(signal.SIGUSR1)
    return int(emr.stdout.readline())


def _first_taken(emr: subprocess.Popen[str]) -> None:
    """When the gateway has found it again: it tries once in a while, at most every minute."""
    until = time.monotonic() + 180
    while time.monotonic() < until:
        if _taken(emr):
            return
        time.sleep(0.02)
    raise SystemExit("the gateway does not find the EMR again")


def _compare(file: Path, acked: list[int], live: dict[str, Any]) -> dict[str, Any]:
    """Against what was acknowledged: every value, the order within a specimen, and times."""
    owed: dict[tuple[str, str], str] = {}
    for number in (*acked, *live["acked"]):
        for at in half_of(number):
            owed[specimen_id(number // 2), f"E{CODES[at]}"] = value_of(number // 2, at)
    old = {specimen_id(number // 2) for number in acked}
    ids: dict[tuple[str, str], set[str]] = {}
    accepted: dict[str, list[int]] = {}
    wrong = 0
    times: list[float] = []
    waits: list[tuple[float, float]] = []
    for line in file.read_text().splitlines():
        specimen, code, value, observation, at = line.split("\t")
        ids.setdefault((specimen, code), set()).add(observation)
        wrong += owed.get((specimen, code)) != value
        part = CODES.index(code[1:]) // HALF
        accepted.setdefault(specimen, []).append(part)
        if specimen in old:
            times.append(float(at))
        elif code in (f"E{CODES[0]}", f"E{CODES[HALF]}"):
            ended = live["ended"][f"{specimen}/{part}"]
            waits.append((ended, float(at) - ended))
    gone = max(times)
    took = max(0.001, gone - min(times))
    meanwhile = sorted(wait for ended, wait in waits if ended < gone)
    per_second = len(acked) * HALF / took
    return {
        "lost": len(owed.keys() - ids.keys()),
        "doubled": sum(len(one) - 1 for one in ids.values()),
        "wrong": wrong,
        "out_of_order": sum(parts != sorted(parts) for parts in accepted.values()),
        "caught_up_in_s": took,
        "per_second": per_second,
        "times_live": per_second / LIVE,
        "live_messages": len(meanwhile),
        "live_p50_ms": 1000 * meanwhile[len(meanwhile) // 2] if meanwhile else 0.0,
        "live_p95_ms": 1000 * meanwhile[len(meanwhile) * 95 // 100] if meanwhile else 0.0,
        "live_max_ms": 1000 * meanwhile[-1] if meanwhile else 0.0,
    }


def show(found: dict[str, Any]) -> None:
    """In words."""
    print(
        f"\nbacklog: {found['waiting'] * HALF} results in {found['waiting']} deliveries wait, the EMR is away\n"
        f"  memory {found['rss_before_mb']:.0f} MB at the start, {found['rss_backlog_mb']:.0f} with the backlog, "
        f"{found['rss_after_mb']:.0f} after it, {found['rss_most_mb']:.0f} at the most\n"
        f"  intake {found['intake_before']:.0f} messages/s before, {found['intake_with_backlog']:.0f} with the backlog "
        f"({found['intake_with_backlog'] / found['intake_before']:.2f})\n"
        f"  the EMR is back: all taken in {found['caught_up_in_s']:.1f} s, {found['per_second']:.0f} results/s, "
        f"{found['times_live']:.0f} times a live rate of {found['live_per_hour']:.0f} an hour (wanted: 5)\n"
        f"  {found['live_messages']} live messages while the backlog lasted: p50 {found['live_p50_ms']:.0f} ms, "
        f"p95 {found['live_p95_ms']:.0f} ms, the longest {found['live_max_ms']:.0f} ms\n"
        f"  {found['lost']} lost, {found['doubled']} doubled, {found['wrong']} wrong, "
        f"{found['out_of_order']} specimens out of order"
    )
