"""kill -9 at the N-th storage or socket call of a small run: what was acknowledged is there, nothing is doubled.

strace kills the process when a thread of it enters its N-th write, sync or send (RELIABILITY, method C1). In CI a
sample of N; all of them in ``make soak``. The same run with a gateway that acknowledges first must lose something.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from labgateway.store import journal
from labgateway.store.engine import Store
from tests.end_to_end.analyzer import Astm, RefusedError, frames_of
from tests.end_to_end.cuts import strace
from tests.end_to_end.gateway import Gateway, free_port

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

CALLS = "pwrite64,fdatasync,fsync,sendto,ftruncate"
SAMPLE = (5, 47, 53, 60, 75)
MESSAGES = 6


def records(specimen: str) -> list[str]:
    return [
        "H|\\^&|||    XN-1000^00-24^22723^^^^BD000001||||||||E1394-97",
        "P|1",
        f"O|1||^^{specimen:>22}^B|^^^^WBC|||||||N||||||||||||||F",
        "R|1|^^^^WBC^1|5.21|10*3/uL||N||F||||20261122081500",
        "L|1|N",
    ]


def site(folder: Path) -> tuple[str, int]:
    """A site with one analyzer and an EMR that is away."""
    port, nobody = free_port(), free_port()
    (folder / "mappings").mkdir(parents=True)
    (folder / "mappings" / "xn1.toml").write_text(
        'instrument = "xn1"\nchecked = "test"\n[tests]\nWBC = { emr = "WBC" }\n', encoding="utf-8"
    )
    return (
        f"""\
[matching]
without_order = "send"
[instrument.xn1]
driver = "sysmex_xn"
mapping = "xn1.toml"
line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {port} }}
[destination.emr]
kind = "mllp"
host = "127.0.0.1"
port = {nobody}
""",
        port,
    )


def run_until_dead(port: int, died: Callable[[], bool]) -> list[str]:
    """Send message after message until the gateway is dead or all are through; which ones were acknowledged."""
    acknowledged: list[str] = []
    until = time.monotonic() + 20
    analyzer: Astm | None = None
    for number in range(MESSAGES):
        specimen = f"K{number:05}"
        while time.monotonic() < until and not died():
            try:
                if analyzer is None:
                    analyzer = Astm(port, patience_s=5)
                analyzer.session(frames_of(records(specimen)))
            except (OSError, RefusedError):
                analyzer = None
                time.sleep(0.05)
                continue
            acknowledged.append(specimen)
            break
    if analyzer is not None:
        analyzer.close()
    return acknowledged


def one_cut(folder: Path, prepared: Path, n: int, program: list[str]) -> tuple[list[str], list[str], bool]:
    """One run killed at N. Returns acknowledged and stored specimens, and whether it died before the end."""
    text, port = site(folder)
    shutil.copytree(prepared, folder / "data")
    (folder / "config.toml").write_text(text, encoding="utf-8")
    command = [*strace(CALLS, n), *program, "run", "--config", str(folder / "config.toml")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        acknowledged = run_until_dead(port, lambda: process.poll() is not None)
        died = process.poll() is not None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    check = sqlite3.connect(folder / "data" / "labgateway.db")
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()
    store = Store.open(f"sqlite:///{folder}/data/labgateway.db", readonly=True)
    try:
        numbers = store.read_now(lambda c: [int(r[0]) for r in c.exec_driver_sql("SELECT id FROM transmission").all()])
        raws = [store.read_now(lambda c, i=i: journal.get(c, i)) for i in numbers]
    finally:
        store.close_now()
    stored = [
        name
        for raw in raws
        if raw is not None
        for name in (f"K{k:05}" for k in range(MESSAGES))
        if name.encode() in raw.raw
    ]
    return acknowledged, stored, died


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose schema is made already, so that N counts the run and not the migration."""
    folder = tmp_path_factory.mktemp("prepared")
    text, _ = site(folder)
    with Gateway(folder, text) as gateway:
        assert gateway.stop() == 0
    (folder / "data" / "control.sock").unlink(missing_ok=True)
    return folder / "data"


GATEWAY = [sys.executable, "-m", "labgateway"]
ACK_FIRST = [sys.executable, "-m", "tests.end_to_end.ack_first"]


@pytest.mark.parametrize("n", SAMPLE)
def test_nothing_acknowledged_is_lost(tmp_path: Path, prepared: Path, n: int) -> None:
    """Killed at its N-th call, the gateway still has every message that it acknowledged, each once."""
    acknowledged, stored, died = one_cut(tmp_path, prepared, n, GATEWAY)
    assert died, "the kill must have come"
    assert set(acknowledged) <= set(stored)


def test_the_harness_sees_an_early_acknowledgement(tmp_path: Path, prepared: Path) -> None:
    """With the acknowledgement before the commit the same runs lose an acknowledged message."""
    for n in range(44, 80):
        acknowledged, stored, died = one_cut(tmp_path / str(n), prepared, n, ACK_FIRST)
        if died and not set(acknowledged) <= set(stored):
            return
    raise AssertionError("no cut lost anything: this harness would not see an early acknowledgement")


@pytest.mark.soak
def test_every_cut(tmp_path: Path, prepared: Path) -> None:
    """All N until a run survives to its end."""
    for n in range(1, 400):
        acknowledged, stored, died = one_cut(tmp_path / str(n), prepared, n, GATEWAY)
        assert set(acknowledged) <= set(stored), f"cut {n}"
        if not died:
            return
    raise AssertionError("no run survived")
