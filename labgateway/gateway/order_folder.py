"""A folder into which the EMR writes files of orders: read when they are whole, moved aside when they are taken.

    NAME ── has rested, two looks alike ── take (one transaction) ── commit ──> done/NAME and done/NAME.answer.json
       │                                     └── something was refused ───────> refused/NAME and its answer
       └── hidden, .part, .tmp, still growing: not looked at

Written as NAME.part and renamed is best. A file whose end is missing (no line end, JSON cut off) is refused, not guessed at.
Nothing of a file is lost when the store cannot take it, or the gateway ends between commit and moving: it is read again, which
is harmless.
"""

from __future__ import annotations

import asyncio
import fnmatch
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from labgateway.errors import LabgatewayError, StoreBrokenError, StoreError
from labgateway.pipeline.order_files import MOST_BYTES, FileTaken
from labgateway.transports.channel import Say

ANSWER = ".answer.json"
_EVERY_S = 1.0
_NOT_YET = (".part", ".tmp", ".filepart", ANSWER)
_MOST_AT_ONCE = 100

Take = Callable[[bytes, str], Awaitable[FileTaken]]
"""Handles one file's content (and its name); returns after the commit. Raises StoreError."""
_Seen = tuple[int, int]
"""Size and time of change."""


class OrderFolder:
    """A source of orders, like a listener. name: of the section."""

    def __init__(
        self, name: str, folder: Path, pattern: str, rest_s: float, take: Take, *, say: Say,
        spawn: Callable[[Awaitable[None], str], asyncio.Task[None]],
    ) -> None:  # fmt: skip
        self.trouble = ""
        self._name = name
        self._folder = folder
        self._pattern = pattern
        self._rest_s = rest_s
        self._take = take
        self._say = say
        self._spawn = spawn
        self._seen: dict[str, _Seen] = {}
        self._stuck: dict[str, _Seen] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look. Raises LabgatewayError when the folder cannot be used."""
        try:
            await asyncio.to_thread(self._prepare)
        except OSError as error:
            raise LabgatewayError(
                f"the folder {self._folder} cannot be used ({error.strerror}). It must be there, and this user must "
                "be allowed to read, write and move files in it."
            ) from error
        self._task = self._spawn(self._run(), f"orders from {self._name}")

    async def stop(self) -> None:
        """End; a file that is being taken is taken to its end or read again after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _prepare(self) -> None:
        for name in ("done", "refused"):
            (self._folder / name).mkdir(exist_ok=True)
        if not os.access(self._folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")

    async def _run(self) -> None:
        while True:
            try:
                for path in await asyncio.to_thread(self._whole):
                    await self._one(path)
                self.trouble = ""
            except StoreBrokenError:
                return
            except (OSError, StoreError) as error:
                words = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
                if words != self.trouble:
                    self._say("orders_folder", level="error", source=self._name, why=words)
                self.trouble = words
            await asyncio.sleep(_EVERY_S)

    def _whole(self) -> list[Path]:
        """Files that have not changed since the last look and have rested, oldest first."""
        now, seen, found = time.time(), dict[str, _Seen](), list[tuple[int, str, Path]]()
        with os.scandir(self._folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or name.lower().endswith(_NOT_YET) or not fnmatch.fnmatch(name, self._pattern):
                    continue
                if not entry.is_file(follow_symlinks=False):
                    continue
                stat = entry.stat(follow_symlinks=False)
                seen[name] = (stat.st_size, stat.st_mtime_ns)
                rests = abs(now - stat.st_mtime) >= self._rest_s
                if rests and self._seen.get(name) == seen[name] and self._stuck.get(name) != seen[name]:
                    found.append((stat.st_mtime_ns, name, Path(entry.path)))
        self._seen = seen
        return [path for _, _, path in sorted(found)[:_MOST_AT_ONCE]]

    async def _one(self, path: Path) -> None:
        data = await asyncio.to_thread(_read, path)
        taken = await self._take(data, path.name)
        try:
            await asyncio.to_thread(self._aside, path, taken)
        except OSError:
            # Taken it is; reading it again every second would not help.
            self._stuck[path.name] = self._seen.get(path.name, (0, 0))
            raise

    def _aside(self, path: Path, taken: FileTaken) -> None:
        folder = self._folder / ("refused" if taken.refused else "done")
        name, number = path.name, 1
        while (folder / name).exists():
            number += 1
            name = f"{path.stem}.{number}{path.suffix}"
        answer = folder / (name + ANSWER)
        half = folder / f".{name}{ANSWER}"
        with half.open("wb") as file:
            file.write(taken.answer)
            file.flush()
            os.fsync(file.fileno())
        half.rename(answer)
        path.rename(folder / name)
        for place in (folder, self._folder):
            handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)
