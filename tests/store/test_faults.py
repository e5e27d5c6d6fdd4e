"""Real processes, a real disk that fails: what was acknowledged is there, and nothing succeeds behind a failure."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from labgateway.store import journal
from labgateway.store.engine import Store

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
ROOT = Path(__file__).parents[2]


def child(
    url: str, seconds: float, *, prefix: tuple[str, ...] = (), waiters: int = 20, start: int = 0
) -> subprocess.Popen[str]:
    """The store in a process of its own. start: number of its first message."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "tests.store.child", url, str(seconds), str(waiters), str(start)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def acked(lines: list[str]) -> set[int]:
    """Numbers of the messages that were acknowledged."""
    return {int(line.split()[1]) for line in lines if re.fullmatch(r"ack \d+", line)}


def stored(url: str, *, readonly: bool = False) -> set[int]:
    """Numbers of the messages on disk; each is read whole, against its hash, and stands there once."""
    store = Store.open(url, readonly=readonly)

    def job(connection: Connection) -> list[int]:
        found: list[int] = []
        for number in connection.execute(text("SELECT id FROM transmission")).scalars().all():
            message = journal.get(connection, number)
            assert message is not None and len(message.raw) > 2000
            found.append(int(message.raw.split(b":")[0]))
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        return found

    numbers = store.read_now(job)
    store.close_now()
    assert len(numbers) == len(set(numbers))
    return set(numbers)


@pytest.mark.parametrize("after", [1, 60, 1500])
def test_killed_at_any_moment_nothing_acknowledged_is_lost(url: str, after: int) -> None:
    """kill -9 in the middle of commits: acknowledged is a part of stored, for a reader at once and for the next gateway."""
    process = child(url, 60)
    assert process.stdout
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.strip())
        if len(lines) > after:
            break
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    told = acked([*lines, *rest.splitlines()[:-1]])
    assert len(told) >= after
    assert told <= stored(url, readonly=True), "for the command line, before any gateway has been there again"
    assert told <= stored(url)


@needs_strace
@pytest.mark.parametrize("call", ["fdatasync,fsync", "pwrite64"])
@pytest.mark.parametrize("when", [1, 2, 3, 9])
def test_behind_a_failed_disk_nothing_succeeds(url: str, tmp_path: Path, call: str, when: int) -> None:
    """One EIO, once, from the N-th sync or write: told as broken once, and nobody hears yes any more.

    The disk works again right after it; only a process that must not be trusted could tell.
    """
    Store.open(url).close_now()
    log = tmp_path / "calls"
    process = child(
        url, 0.8, waiters=5,
        prefix=("strace", "-f", "-qq", "-y", "-o", str(log), "-e", f"trace={call}",
                "-e", f"inject={call}:error=EIO:when={when}"),
    )  # fmt: skip
    out, errors = process.communicate(timeout=60)
    lines = out.splitlines()
    failed = [line for line in log.read_text().splitlines() if "(INJECTED)" in line]
    assert failed
    if "ready" in lines and all(f"<{tmp_path}/data>" in line for line in failed):
        # SQLite's own sync of the folder, of which it takes no notice: we have synced it before.
        assert "broken" not in lines and acked(lines)
    elif "ready" not in lines:
        assert process.returncode == 1 and "StoreError: The store at" in errors
    else:
        assert lines.count("broken") == 1, out[-300:] + errors
        refused = next(n for n, line in enumerate(lines) if line in ("no StoreBrokenError", "broken"))
        assert {line for line in lines[refused:] if line.startswith(("ack", "no"))} <= {"no StoreBrokenError"}
        at_the_end = lines[refused:] == ["broken", "end"]  # a checkpoint's sync, of which the last is done at closing
        assert lines.count("no StoreBrokenError") >= 5 or at_the_end
    assert acked(lines) <= stored(url)


@needs_strace
def test_a_failed_checkpoint_is_no_secret(url: str) -> None:
    """The database file cannot be synced: SQLite's own checkpoint would say nothing; ours ends the writer.

    At the latest the one at closing: under a load without a pause SQLite syncs the database only when it must.
    """
    Store.open(url).close_now()
    path = url.removeprefix("sqlite:///")
    process = child(
        url, 1.2, waiters=2,
        prefix=("strace", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", "trace=fdatasync,fsync",
                "-e", "inject=fdatasync,fsync:error=EIO:when=1+"),
    )  # fmt: skip
    out, errors = process.communicate(timeout=60)
    lines = out.splitlines()
    assert lines.count("broken") == 1, out[-300:] + errors
    assert acked(lines)
    assert acked(lines) <= stored(url)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_refuses_and_goes_on_by_itself(small_disk: Path) -> None:
    """Refused as full, never as broken; what was acknowledged is readable; with space again it goes on, same process."""
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 1_000_000)
    url = f"sqlite:///{small_disk}/labgateway.db"
    process = child(url, 2.5, waiters=3)
    assert process.stdout
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.strip())
        if lines.count("no StoreFullError") == 3:
            break
    before = acked(lines)
    assert before
    assert before <= stored(url, readonly=True), "the command line reads on a full disk"
    filler.unlink()
    rest, errors = process.communicate(timeout=60)
    lines += rest.splitlines()
    assert {line for line in lines if line.startswith("no ")} == {"no StoreFullError"}, errors
    assert "broken" not in lines
    assert len(acked(lines)) > len(before)
    filler.write_bytes(b"")  # the next open needs a little room for its own
    told = acked(lines)
    raw = sqlite3.connect(f"file:{small_disk}/labgateway.db?mode=ro", uri=True)
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()
    assert told <= stored(url, readonly=True)


def test_a_file_that_may_not_grow_breaks_the_writer(url: str) -> None:
    """EFBIG is not a full disk that somebody frees: broken, told once, and what was acknowledged is there."""
    Store.open(url).close_now()
    size = Path(url.removeprefix("sqlite:///")).stat().st_size
    process = child(url, 1, waiters=3, prefix=("prlimit", f"--fsize={size + 100_000}"))
    out, errors = process.communicate(timeout=60)
    lines = out.splitlines()
    assert lines.count("broken") == 1, out[-300:] + errors
    assert acked(lines)
    assert {line for line in lines if line.startswith("no ")} == {"no StoreBrokenError"}
    assert acked(lines) <= stored(url)
