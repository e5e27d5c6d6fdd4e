"""``make bench``: ours beside the floor and the honest minimum, in alternating slices of one run.

    --seconds N     length of one slice (default 2)
    --rounds N      slices of each kind (default 4); figures are medians over the rounds
    --only NAME     one part only; --only backlog is not part of the others
    --soak N        seconds of the soak (default 60)
    --results N     results that wait in the backlog (default 200000)
    --json FILE     all figures, for the docs

Absolute figures depend on machine and neighbours; the ratios are what counts. Parts:

    intake   ASTM sessions of 40 frames, 36 results: bare ACK loop, minimum, ours; 1 and 50 lines
    slow     the same on 50 lines with every fsync 5 ms slower (strace, where it is installed)
    hl7      ORU^R01 of 30 OBX: bare, minimum, ours; 1 and 50 lines
    end      ASTM on 50 lines, mapped, matched to orders, ORU accepted by one EMR and by three; SQLite and PostgreSQL
    through  the same with ORU^R01 of 30 OBX over MLLP instead of ASTM
    backlog  the EMR is away until so many results wait, then comes back: memory, intake, catch-up, live results
    hostile  300 callers that mean no good at two lines: what 20 others notice of it
    soak     20 serial lines at 9600 baud and 40 TCP lines with host queries, beside the bare loop
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import backlog, ends, gateways, hostile, soak

HERE = Path(__file__).parent
ROOT = HERE.parent
_SLOW = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fdatasync,fsync",
         "-e", "inject=fdatasync,fsync:delay_exit=5000"]  # fmt: skip


class Server:
    """A process under load and what it costs."""

    def __init__(self, name: str, process: subprocess.Popen[str], ports: list[int], pid: int | None = None) -> None:
        self.name = name
        self.process = process
        self.ports = ports
        self.pid = pid or process.pid

    def cpu_s(self) -> float:
        """CPU seconds so far, user and system."""
        return gateways.cpu_s(self.pid)

    def rss_mb(self) -> float:
        """Resident memory now."""
        return gateways.rss_mb(self.pid)


def child_of(pid: int) -> int:
    """The traced process below strace."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.02)
    return pid


@contextmanager
def floor(kind: str, protocol: str, folder: Path, prefix: list[str]) -> Iterator[Server]:
    """bare or minimum; under strace the traced process is ended too."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "bench.floors", kind, protocol, str(folder / f"{kind}-{protocol}.db")],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout
    port = int(process.stdout.readline())
    server = Server(kind, process, [port], child_of(process.pid) if prefix else None)
    yield server
    os.kill(server.pid, signal.SIGKILL)
    process.kill()
    process.wait()


@contextmanager
def ours(kind: str, folder: Path, prefix: list[str]) -> Iterator[Server]:
    """The gateway itself: intake (lines and journal, as shipped) on ASTM or HL7 lines."""
    process, ports = gateways.start(kind, folder, prefix)
    yield Server(kind, process, ports, child_of(process.pid) if prefix else None)
    gateways.stop(process)


def settle(server: Server) -> None:
    """Wait until the server rests: what a slice left in its queues must not slow down the next one's server."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        before = server.cpu_s()
        time.sleep(0.5)
        if server.cpu_s() - before < 0.05:
            return


_first = 0


def load(server: Server, protocol: str, lines: int, seconds: float) -> dict[str, Any]:
    """One slice of load, and what it left to do; CPU of the server per message, all its work included, is added."""
    global _first  # noqa: PLW0603  # every slice sends specimens of its own
    ports = server.ports[:lines]
    before = server.cpu_s()
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", protocol, ",".join(map(str, ports)), str(lines), str(seconds), str(_first)],
        check=False, capture_output=True, text=True, cwd=ROOT, timeout=seconds + 90,
    )  # fmt: skip
    _first += 1_000_000
    if done.returncode:
        raise SystemExit(f"the load failed on {server.name}:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    settle(server)
    found["cpu_us"] = 1e6 * (server.cpu_s() - before) / max(1, found["messages"])
    del found["acked"], found["ended"]
    return found


def rounds(servers: list[Server], protocol: str, lines: int, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Alternating slices; the median of each figure."""
    taken: dict[str, list[dict[str, Any]]] = {server.name: [] for server in servers}
    for _ in range(args.rounds):
        for server in servers:
            taken[server.name].append(load(server, protocol, lines, args.seconds))
    return {
        name: {
            key: statistics.median(slice_[key] for slice_ in slices)
            for key in ("per_second", "p50_ms", "p99_ms", "cpu_us", "faults")
        }
        for name, slices in taken.items()
    }


def show(title: str, found: dict[str, dict[str, float]], *, against: str, frames: int) -> None:
    """A table with the ratio to one of its rows."""
    print(f"\n{title}")
    print(f"  {'':10} {'messages/s':>11} {'frames/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'CPU us/msg':>11} {'ratio':>7}")
    base = found[against]["per_second"]
    for name, row in found.items():
        print(
            f"  {name:10} {row['per_second']:11.0f} {row['per_second'] * frames:10.0f} {row['p50_ms']:8.2f} "
            f"{row['p99_ms']:8.2f} {row['cpu_us']:11.0f} {row['per_second'] / base:7.2f}"
            + (f"  {row['faults']:.0f} faults" if row["faults"] else "")
        )


def main() -> int:
    """All parts, or one."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--only", choices=("intake", "slow", "hl7", "end", "through", "soak", "backlog", "hostile"))
    parser.add_argument("--results", type=int, default=200_000)
    parser.add_argument("--soak", type=float, default=60.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    figures: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}", "rounds": args.rounds,
        "seconds": args.seconds,
    }  # fmt: skip
    print(f"{figures['machine']}; {args.rounds} slices of {args.seconds} s each, alternating; medians")
    with tempfile.TemporaryDirectory(prefix="labgateway-bench-") as name:
        folder = Path(name)
        for part, protocol, prefix, counts in (
            ("intake", "astm", [], (1, 50)),
            ("slow", "astm", _SLOW, (50,)),
            ("hl7", "hl7", [], (1, 50)),
        ):
            if args.only not in (None, part):
                continue
            if prefix and not shutil.which(prefix[0]):
                print(f"\n{part}: left out, strace is not installed")
                continue
            place = folder / part
            place.mkdir()
            with (
                floor("bare", protocol, place, []) as bare,
                floor("minimum", protocol, place, prefix) as minimum,
                ours(f"intake-{protocol}", place, prefix) as mine,
            ):
                for lines in counts:
                    found = rounds([bare, minimum, mine], protocol, lines, args)
                    figures[f"{part}-{lines}"] = found
                    slow = ", every fsync 5 ms slower" if prefix else ""
                    show(f"{part}: {protocol}, {lines} line(s){slow}; ratio to the minimum", found,
                         against="minimum", frames=40 if protocol == "astm" else 1)  # fmt: skip
                figures[f"{part}-rss-mb"] = mine.rss_mb()
                print(f"  our memory: {mine.rss_mb():.0f} MB")
        for part, protocol in (("end", "astm"), ("through", "hl7")):
            if args.only not in (None, part):
                continue
            place = folder / part
            place.mkdir()
            with floor("bare", protocol, place, []) as bare:

                def pace(bare: Server = bare, protocol: str = protocol) -> float:
                    return load(bare, protocol, 50, args.seconds)["per_second"]

                ends.title(part)
                seconds = max(10.0, args.seconds * args.rounds)
                figures[part] = ends.all_ends(place, protocol, seconds, pace, ends.row)
        if args.only in (None, "hostile"):
            place = folder / "hostile"
            place.mkdir()
            figures["hostile"] = hostile.hostile(place, max(10.0, args.seconds), args.rounds)
            hostile.show(figures["hostile"])
        if args.only in (None, "soak"):
            figures["soak"] = soak.soak(folder, args.soak)
            soak.show(figures["soak"])
        if args.only == "backlog":
            place = folder / "backlog"
            place.mkdir()
            figures["backlog"] = backlog.backlog(place, args.results, args.seconds)
            backlog.show(figures["backlog"])
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
