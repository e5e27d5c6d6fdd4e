"""A watched folder: complete files only, moved aside when they are kept, each once; a hung or missing share only waits."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from labgateway.transports import folder as folder_module
from labgateway.transports.channel import Channel
from labgateway.transports.folder import DONE, REFUSED, FileChannel, FolderWatch
from tests.transports.test_tcp import House, until


class Keeper:
    """Remembers each file and says what the test wants: "" kept, words refused, None not kept."""

    def __init__(self, answers: list[str | None] | None = None) -> None:
        self.files: list[bytes] = []
        self.peers: list[str] = []
        self.gone: list[str] = []
        self._answers = answers or []

    def open(self, channel: Channel) -> Keeper:
        assert isinstance(channel, FileChannel)
        self._channel = channel
        self.peers.append(channel.peer)
        return self

    def received(self, data: bytes) -> None:
        self.files.append(data)
        answer = self._answers.pop(0) if self._answers else ""
        if answer is None:
            self._channel.abort()
        elif answer:
            self._channel.refuse(answer)
        else:
            self._channel.keep()

    def disconnected(self, why: str) -> None:
        self.gone.append(why)


def watch(path: Path, keeper: Keeper, house: House | None = None, **options: object) -> FolderWatch:
    settings: dict[str, object] = {"stable_s": 0.15, "every_s": 0.02, **options}
    return FolderWatch(path, keeper.open, say=(house or House()).say, **settings)  # pyright: ignore[reportArgumentType]


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()} if path.exists() else set()


async def test_a_complete_file_is_kept_and_moved(tmp_path: Path) -> None:
    """It is read once, whole, and stands in done/ afterwards; its session ends."""
    keeper = Keeper()
    line = watch(tmp_path, keeper)
    await line.start()
    (tmp_path / "26110301.csv").write_bytes(b"a;b\n1;2\n")
    await until(lambda: names(tmp_path / DONE) == {"26110301.csv"})
    await asyncio.sleep(0.3)
    await line.stop()
    assert keeper.files == [b"a;b\n1;2\n"]
    assert keeper.gone == ["the file was read"]
    assert names(tmp_path) == {DONE}
    assert "26110301" not in keeper.peers[0]


async def test_a_file_that_grows_is_waited_for(tmp_path: Path) -> None:
    """Nothing is read while it is being written, however slowly; then all of it is."""
    keeper = Keeper()
    line = watch(tmp_path, keeper)
    await line.start()
    with (tmp_path / "r.csv").open("wb") as file:
        for n in range(10):
            file.write(b"line %d\n" % n)
            file.flush()
            await asyncio.sleep(0.05)
            assert keeper.files == []
    await until(lambda: keeper.files)
    await line.stop()
    assert keeper.files == [b"".join(b"line %d\n" % n for n in range(10))]


async def test_a_file_renamed_in_is_taken(tmp_path: Path) -> None:
    """Written under a temporary name, of whatever kind, it is left alone; renamed, it is read."""
    keeper = Keeper()
    line = watch(tmp_path, keeper, pattern="*.CSV")
    await line.start()
    half = ["r.csv.tmp", ".r.csv", "~$r.csv", "r.csv.part", "r.csv~", "r.csv.filepart", "notes.txt"]
    for name in half:
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "sub.csv").mkdir()
    (tmp_path / "elsewhere.csv").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "pipe.csv")
    await asyncio.sleep(0.4)
    assert keeper.files == []
    (tmp_path / "r.csv.tmp").rename(tmp_path / "r.csv")
    await until(lambda: names(tmp_path / DONE) == {"r.csv"})
    await line.stop()
    assert keeper.files == [b"half"]


async def test_what_cannot_be_read_goes_aside_with_the_reason(tmp_path: Path) -> None:
    """refused/ holds the file and, beside it, why; the next file is taken."""
    keeper = Keeper(["no line has the headers", ""])
    line = watch(tmp_path, keeper)
    await line.start()
    (tmp_path / "1.csv").write_bytes(b"one")
    await until(lambda: names(tmp_path / REFUSED) == {"1.csv", "1.csv.why.txt"})
    assert (tmp_path / REFUSED / "1.csv.why.txt").read_text(encoding="utf-8") == "no line has the headers\n"
    (tmp_path / "2.csv").write_bytes(b"two")
    await until(lambda: names(tmp_path / DONE) == {"2.csv"})
    await line.stop()


async def test_what_is_not_kept_stays_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store could not take it: the file is where it was, and goes in later."""
    monkeypatch.setattr(folder_module, "AGAIN_S", 0.2)
    keeper = Keeper([None, ""])
    line = watch(tmp_path, keeper)
    await line.start()
    (tmp_path / "1.csv").write_bytes(b"one")
    await until(lambda: keeper.files)
    assert (tmp_path / "1.csv").exists()
    await until(lambda: names(tmp_path / DONE) == {"1.csv"})
    await line.stop()
    assert keeper.files == [b"one", b"one"]


async def test_the_same_name_again_overwrites_nothing(tmp_path: Path) -> None:
    """An instrument that always writes result.csv: each of its files is kept in done/."""
    keeper = Keeper()
    line = watch(tmp_path, keeper)
    await line.start()
    for n in range(3):
        (tmp_path / "result.csv").write_bytes(b"run %d" % n)
        await until(lambda n=n: len(names(tmp_path / DONE)) == n + 1)
    await line.stop()
    kept = {(tmp_path / DONE / name).read_bytes() for name in names(tmp_path / DONE)}
    assert kept == {b"run 0", b"run 1", b"run 2"}
    assert names(tmp_path / DONE) == {"result.csv", "result (2).csv", "result (3).csv"}


async def test_a_file_that_is_written_to_while_it_is_taken_comes_back(tmp_path: Path) -> None:
    """The instrument appends after we read and before we move: what it added is not lost in done/."""

    class Appends(Keeper):
        def received(self, data: bytes) -> None:
            if not self.files:
                with (tmp_path / "r.csv").open("ab") as file:
                    file.write(b"more")
            super().received(data)

    keeper, house = Appends(), House()
    line = watch(tmp_path, keeper, house)
    await line.start()
    (tmp_path / "r.csv").write_bytes(b"some")
    await until(lambda: len(keeper.files) == 2)
    await until(lambda: names(tmp_path / DONE) == {"r.csv"})
    await line.stop()
    assert keeper.files == [b"some", b"somemore"]
    assert "line.file_changed" in house.events()


async def test_a_folder_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    """Said once with the cure; when it is there, its files are taken."""
    keeper, house = Keeper(), House()
    path = tmp_path / "share"
    line = watch(path, keeper, house)
    await line.start()
    await until(lambda: "create it, or mount the share" in line.trouble)
    path.mkdir()
    (path / "1.csv").write_bytes(b"one")
    await until(lambda: keeper.files)
    assert line.trouble == ""
    assert house.events().count("line.cannot_look") == 1
    await line.stop()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_that_we_may_not_write_to_is_said(tmp_path: Path) -> None:
    """The file is kept once, stays where it is, and the status says what to do."""
    keeper = Keeper()
    (tmp_path / "1.csv").write_bytes(b"one")
    tmp_path.chmod(0o555)
    line = watch(tmp_path, keeper)
    await line.start()
    await until(lambda: "cannot be moved away: no permission" in line.trouble)
    await asyncio.sleep(0.3)
    await line.stop()
    tmp_path.chmod(0o755)
    assert keeper.files == [b"one"]


async def test_a_name_that_is_taken_for_done_is_said(tmp_path: Path) -> None:
    """done is a file: what is kept stays, is not read again, and the status says so."""
    keeper, house = Keeper(), House()
    (tmp_path / DONE).write_bytes(b"")
    line = watch(tmp_path, keeper, house, pattern="*.csv")
    await line.start()
    (tmp_path / "1.csv").write_bytes(b"one")
    await until(lambda: "cannot be moved away" in line.trouble)
    await asyncio.sleep(0.3)
    assert keeper.files == [b"one"]
    assert house.events() == ["line.cannot_move"]
    await line.stop()


async def test_a_file_that_is_too_long_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its beginning is handed over, and its session knows that there is more."""
    monkeypatch.setattr(folder_module, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(folder_module, "HEAD_BYTES", 10)
    seen: list[bool] = []

    class Long(Keeper):
        def received(self, data: bytes) -> None:
            seen.append(self._channel.too_long)
            super().received(data)

    keeper = Long(["too long"])
    line = watch(tmp_path, keeper)
    await line.start()
    (tmp_path / "big.csv").write_bytes(b"x" * 1001)
    await until(lambda: "big.csv" in names(tmp_path / REFUSED))
    await line.stop()
    assert seen == [True]
    assert keeper.files == [b"x" * 10]


async def test_a_share_that_hangs_costs_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one folder's disk does not answer, another line works, and stop does not wait for it."""
    import threading

    hang = threading.Event()
    stuck = watch(tmp_path / "stuck", Keeper())
    monkeypatch.setattr(stuck, "_look", lambda: hang.wait(30) and [])
    (tmp_path / "good").mkdir()
    keeper = Keeper()
    good = watch(tmp_path / "good", keeper)
    await stuck.start()
    await good.start()
    (tmp_path / "good" / "1.csv").write_bytes(b"one")
    await until(lambda: keeper.files)
    async with asyncio.timeout(1):
        await stuck.stop()
        await good.stop()
    hang.set()
