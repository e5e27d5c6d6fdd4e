"""The plug is pulled: a real file system loses what was not synced, and nothing that was acknowledged.

``FS_IOC_SHUTDOWN`` without flushing the log cuts an ext4 or xfs off its disk at once (RELIABILITY, method C4).
Needs root and loop devices.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.test_faults import acked, child, stored

FS_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2


class Disk:
    """A file system on a loop device that can lose its power."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.place = folder / "mounted"
        self._image = folder / "disk.img"
        self.place.mkdir()
        with self._image.open("wb") as image:
            image.truncate(320 << 20)
        quiet = ("-qF",) if kind == "ext4" else ("-qf",)
        subprocess.run([f"mkfs.{kind}", *quiet, str(self._image)], check=True, capture_output=True)
        self.mount()

    def mount(self) -> None:
        """Power on."""
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.place)], check=True, capture_output=True)

    def cut(self) -> None:
        """Power off: whatever was not synced is gone."""
        handle = os.open(self.place, os.O_RDONLY)
        fcntl.ioctl(handle, FS_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        os.close(handle)

    def unmount(self) -> None:
        """Let go of the device."""
        subprocess.run(["umount", str(self.place)], check=True, capture_output=True)


@pytest.fixture(params=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A fresh file system."""
    if os.geteuid() != 0 or not shutil.which(f"mkfs.{request.param}") or not Path("/dev/loop-control").exists():
        pytest.skip("needs root, mkfs and loop devices")
    made = Disk(tmp_path, request.param)
    yield made
    subprocess.run(["umount", "-l", str(made.place)], check=False, capture_output=True)


def test_a_power_cut_loses_nothing_acknowledged(disk: Disk) -> None:
    """Three cuts in the middle of commits and checkpoints, one after the other on the same data."""
    url = f"sqlite:///{disk.place}/data/labgateway.db"
    told: set[int] = set()
    for round_, acks in enumerate((1, 400, 2500)):
        process = child(url, 60, start=round_ * 1_000_000)
        assert process.stdout
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.strip())
            if len(lines) > acks:
                break
        # Stopped first, so that no line is printed on the way out; what it has printed counts as acknowledged.
        process.send_signal(signal.SIGSTOP)
        disk.cut()
        process.send_signal(signal.SIGKILL)
        rest, errors = process.communicate()
        told |= acked([*lines, *(line for line in rest.splitlines() if re.fullmatch(r"ack \d+", line))])
        assert len(told) >= acks, errors
        disk.unmount()
        disk.mount()
        assert told <= stored(url)
