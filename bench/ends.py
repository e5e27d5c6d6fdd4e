"""End to end: analyzers send, the gateway maps, matches to orders and delivers, EMRs accept.

``end``: ASTM sessions of 36 results. ``through``: ORU^R01 of 30 OBX in over MLLP, ORU^R01 out. Orders come first. Each is
measured on SQLite and on PostgreSQL, with one destination and with three, at full load and then at half of what it
reached. The bare loop is measured before and after each, so that a machine that changes its mind shows.

Every value is compared at every EMR. A wait is from the last byte of the message (ASTM: EOT) to the last EMR's acceptance.
"""

from __future__ import annotations

import getpass
import importlib
import json
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench import gateways
from bench.messages import OBX, RESULTS

_STRIPE = 20_000
_PACED = 10_000
"""Of a line's stripe of specimens: those from here on are sent at half of the load."""
TESTS = {"astm": RESULTS, "hl7": OBX}
SERVER = f"postgresql+psycopg://{getpass.getuser()}@127.0.0.1:5432"


class NoServerError(Exception):
    """PostgreSQL cannot be measured here; says why."""


@contextmanager
def database() -> Iterator[str]:
    """The address of a new database on the PostgreSQL of this machine, dropped at the end. Raises NoServerError."""
    psycopg: Any = importlib.import_module("psycopg")
    name = f"labgateway_bench_{secrets.token_hex(4)}"
    where = f"host=127.0.0.1 port=5432 user={getpass.getuser()} dbname=postgres connect_timeout=2"
    try:
        server = psycopg.connect(where, autocommit=True)
        server.execute(f"CREATE DATABASE {name}")
    except psycopg.Error as error:
        raise NoServerError(f"no PostgreSQL lets us in on 127.0.0.1:5432 ({type(error).__name__})") from None
    try:
        yield f"{SERVER}/{name}"
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        server.close()


def all_ends(
    folder: Path, protocol: str, seconds: float, bare: Callable[[], float], done: Callable[[str, dict[str, Any]], None]
) -> dict[str, Any]:
    """Each store with one and three destinations. bare: messages/s of the bare loop now. done: told of each."""
    found: dict[str, Any] = {}
    for store in ("sqlite", "postgresql"):
        for destinations in (1, 3):
            name = f"{store}-{destinations}"
            place = folder / name
            place.mkdir(parents=True)
            try:
                with ExitStack() as stack:
                    url = stack.enter_context(database()) if store == "postgresql" else None
                    before = bare()
                    one = end_to_end(place, seconds=seconds, protocol=protocol, destinations=destinations, store=url)
                    one["bare"] = statistics.mean((before, bare()))
            except NoServerError as error:
                one = {"left_out": str(error)}
            found[name] = one
            done(name, one)
    return found


def end_to_end(
    folder: Path, *, seconds: float, protocol: str = "astm", destinations: int = 1, store: str | None = None
) -> dict[str, Any]:
    """50 lines, orders first, mapped, matched, ORU accepted by every EMR: full load, then half of what it reached."""
    emrs: list[subprocess.Popen[str]] = []
    files = [folder / f"taken{n}.tsv" for n in range(destinations)]
    emr_ports: list[int] = []
    for file in files:
        emr = subprocess.Popen([sys.executable, "-m", "bench.emr", str(file)], stdout=subprocess.PIPE, text=True)
        assert emr.stdout
        emrs.append(emr)
        emr_ports.append(int(emr.stdout.readline()))
    (orders,) = gateways.free_ports(1)
    config, ports = gateways.configure(folder, protocol, emrs=emr_ports, orders=orders, store=store)
    gateway = gateways.launch(config, [])
    per_line = max(4, int(seconds * 4))
    try:
        _order(orders, 0, per_line)
        used = gateways.cpu_s(gateway.pid)
        started = time.time()
        load = _load(protocol, ports, 0, per_line, 0.0)
        took = max(gateways.drain(emr, len(load["acked"]), started) for emr in emrs)
        used = gateways.cpu_s(gateway.pid) - used
        rss = gateways.rss_mb(gateway.pid)
        rate = len(load["acked"]) / took / 2 / gateways.LINES
        count = max(2, int(rate * seconds))
        _order(orders, _PACED, count)
        paced = _load(protocol, ports, _PACED, count, rate)
        for emr in emrs:
            gateways.drain(emr, len(load["acked"]) + len(paced["acked"]), time.time())
    finally:
        for emr in emrs:
            emr.send_signal(signal.SIGTERM)
        for emr in emrs:
            emr.wait(60)
        gateways.stop(gateway)
    books = [gateways.ledger(file, [*load["acked"], *paced["acked"]], TESTS[protocol]) for file in files]

    def waits(ended: dict[str, float]) -> dict[str, float]:
        known = (name for name in ended if all(name in book.taken for book in books))
        return gateways.percentiles(max(book.taken[name] for book in books) - ended[name] for name in known)

    return {
        "per_second": len(load["acked"]) / took,
        "intake": load["per_second"],
        "cpu_ms": 1000 * used / max(1, len(load["acked"])),
        "rss_mb": rss,
        "full": waits(load["ended"]),
        "half": waits(paced["ended"]),
        "results": books[0].results,
        "lost": sum(book.lost for book in books),
        "doubled": sum(book.doubled for book in books),
        "wrong": sum(book.wrong for book in books),
    }


def _order(port: int, first: int, count: int) -> None:
    for line in range(gateways.LINES):
        gateways.order(port, range(line * _STRIPE + first, line * _STRIPE + first + count))


def _load(protocol: str, ports: list[int], first: int, count: int, rate: float) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-m", "bench.load", protocol, ",".join(map(str, ports)), str(len(ports)), "600", str(first),
         str(count), str(rate)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(run.stdout)


def title(part: str) -> None:
    """The head of the table; a row for each of ``all_ends``."""
    what = "ORU^R01 of 30 OBX in" if part == "through" else "ASTM of 36 results in"
    print(f"\n{part}: {what} on 50 lines, mapped, matched, ORU accepted; waits: last byte to the last EMR's AA, ms")
    print(f"  {'store, EMRs':13} {'msg/s':>6} {'bare':>6} {'ratio':>6} {'CPU ms/msg':>11}  "
          f"{'full: p50':>9} {'p95':>6} {'p99':>6}  {'half: p50':>9} {'p95':>6} {'p99':>6}  {'MB':>4}  lost doubled wrong")  # fmt: skip


def row(name: str, one: dict[str, Any]) -> None:
    """One row."""
    if "left_out" in one:
        print(f"  {name:13} left out: {one['left_out']}")
        return
    full, half = ([one[load][f"p{n}_ms"] for n in (50, 95, 99)] for load in ("full", "half"))
    print(
        f"  {name:13} {one['per_second']:6.0f} {one['bare']:6.0f} {one['per_second'] / one['bare']:6.3f} "
        f"{one['cpu_ms']:11.2f}  {full[0]:9.0f} {full[1]:6.0f} {full[2]:6.0f}  {half[0]:9.0f} {half[1]:6.0f} "
        f"{half[2]:6.0f}  {one['rss_mb']:4.0f}  {one['lost']} {one['doubled']} {one['wrong']}",
        flush=True,
    )
