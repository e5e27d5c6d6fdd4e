"""Files of a folder destination: whole or not there, never overwritten, a repeat changes nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from labgateway.delivery import folder_out
from labgateway.delivery.folder_out import FolderDestination
from labgateway.delivery.outcome import Accepted, Refused, Silent, Unreachable
from labgateway.delivery.worker import StuckError, Worker


async def test_a_file_is_whole_and_a_repeat_changes_nothing(tmp_path: Path) -> None:
    out = FolderDestination(tmp_path, "hl7")
    assert await out.send(b"MSH|1", "ID1") == Accepted("written")
    stamp = (tmp_path / "ID1.hl7").stat().st_mtime_ns
    assert await out.send(b"MSH|1", "ID1") == Accepted("was there already")
    assert await out.send(b"MSH|2", "ID1") == Refused(folder_out.OTHER_THERE)
    assert [p.name for p in tmp_path.iterdir()] == ["ID1.hl7"], "no rest of ours"
    assert (tmp_path / "ID1.hl7").read_bytes() == b"MSH|1"
    assert (tmp_path / "ID1.hl7").stat().st_mtime_ns == stamp
    await out.close()


async def test_what_a_sudden_end_left_goes_away(tmp_path: Path) -> None:
    """Ended between the two names of one file: the one that is not finished goes with the next attempt."""
    out = FolderDestination(tmp_path, "hl7")
    part, final = tmp_path / ".ID1.hl7.part", tmp_path / "ID1.hl7"
    part.write_bytes(b"MSH|1")
    os.link(part, final)
    assert await out.send(b"MSH|1", "ID1") == Accepted("was there already")
    assert [p.name for p in tmp_path.iterdir()] == ["ID1.hl7"]
    await out.close()


async def test_what_a_reader_has_moved_away_is_not_written_again(tmp_path: Path) -> None:
    """Ended likewise, and the reader took the file: what is written under the old name is another file than the reader's."""
    out = FolderDestination(tmp_path, "hl7")
    part, moved = tmp_path / ".ID1.hl7.part", tmp_path / "taken"
    part.write_bytes(b"MSH|1")
    os.link(part, moved)
    stamp = moved.stat().st_mtime_ns
    assert await out.send(b"MSH|1", "ID1") == Accepted("written")
    assert not moved.samefile(tmp_path / "ID1.hl7")
    assert moved.stat().st_mtime_ns == stamp and moved.read_bytes() == b"MSH|1"
    await out.close()


async def test_the_order_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R15: the content is synced before the name appears, the folder after it."""
    deeds: list[str] = []

    def watched(name: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(*args: object) -> None:
            deeds.append(f"{name} {'file' if len(list(tmp_path.glob('*.csv'))) == 0 else 'folder'}")
            real(*args)

        return call

    monkeypatch.setattr(os, "fsync", watched("fsync", os.fsync))
    monkeypatch.setattr(os, "link", watched("link", os.link))
    out = FolderDestination(tmp_path, "csv")
    await out.send(b"x", "ID1")
    assert deeds == ["fsync file", "link file", "fsync folder"]
    await out.close()


async def test_where_no_links_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    out = FolderDestination(tmp_path, "csv")
    assert await out.send(b"x", "ID1") == Accepted("written")
    assert [p.name for p in tmp_path.iterdir()] == ["ID1.csv"]
    await out.close()


async def test_what_is_for_a_person(tmp_path: Path) -> None:
    out = FolderDestination(tmp_path, "xml", unfit=lambda body: "too long" if b"long" in body else "")
    assert await out.send(b"long", "ID1") == Refused("too long")
    assert isinstance(await out.send(b"x", "../ID1"), Refused)
    assert not list(tmp_path.iterdir())
    await out.close()


async def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    out = FolderDestination(tmp_path / "share", "hl7")
    said = await out.send(b"x", "ID1")
    assert said == Unreachable("the folder is not there: make it, or mount its share")
    assert not (tmp_path / "share").exists()
    (tmp_path / "share").mkdir()
    assert await out.send(b"x", "ID1") == Accepted("written")
    await out.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
async def test_a_full_disk_is_said_and_cured_by_room(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (small / "ballast").write_bytes(b"x" * 60_000)
        out = FolderDestination(small, "hl7")
        said = await out.send(b"y" * 20_000, "ID1")
        assert said == Unreachable("the disk of the folder is full: make room there")
        assert [p.name for p in small.iterdir()] == ["ballast"], "no half file is left"
        (small / "ballast").unlink()
        assert await out.send(b"y" * 20_000, "ID1") == Accepted("written")
        await out.close()
    finally:
        subprocess.run(["umount", small], check=True)


async def test_a_share_that_hangs_costs_one_thread_and_no_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    real = os.fsync

    def hang(fd: int) -> None:
        go.wait(10)
        real(fd)

    monkeypatch.setattr(os, "fsync", hang)
    out = FolderDestination(tmp_path, "hl7", answer_s=0.05)
    before = threading.active_count()
    started = time.monotonic()
    for _ in range(5):
        assert await out.send(b"x", "ID1") == Silent(folder_out.STUCK)
    assert time.monotonic() - started < 2
    assert threading.active_count() <= before + 1
    go.set()
    for _ in range(200):
        await asyncio.sleep(0.01)
        if await out.send(b"x", "ID1") == Accepted("was there already"):
            break
    else:
        raise AssertionError("it did not come back")
    await out.close()


async def test_a_worker_hands_back_what_was_raised() -> None:
    worker = Worker("test")
    assert await worker.run(lambda: 5, 5) == 5
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 / 0, 5)
    with pytest.raises(TimeoutError):
        await worker.run(_own_timeout, 5)
    with pytest.raises(StuckError):
        await worker.run(lambda: time.sleep(0.2), 0.01)
    worker.close()


def _own_timeout() -> None:
    raise TimeoutError
