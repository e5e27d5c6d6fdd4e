"""A folder into which an instrument writes its results: each complete file once, moved aside when it is kept.

    every second: look -> unchanged for 2 s? -> read -> session -> kept -> done/NAME
                                                                `-> kept, but unreadable -> refused/NAME, NAME.why.txt
                                                     `-> not kept: it stays, and is tried again

Looks instead of listening: network shares tell nobody about changes. A file that another one is renamed to has to be
quiet as well. Names that writers give to half a file are left alone, and so are folders within. Reading and moving
happen in threads: a share may hang for minutes, which costs its own line only.

A file's name may be a specimen id, so it is in no log, no status and no message of the journal: ``peer`` is the
beginning of the SHA-256 of its content.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fnmatch
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from labgateway.transports.channel import OpenSession, Say, Session, Sparing, quiet
from labgateway.transports.threads import in_thread

EVERY_S = 1.0
STABLE_S = 2.0
AGAIN_S = 5.0
"""After the store could not take a file."""
MAX_FILE_BYTES = 16 * 1024 * 1024
HEAD_BYTES = 64 * 1024
"""So much of a file that is too long is kept."""
DONE, REFUSED = "done", "refused"

_HALF = (
    ".*", "~*", "*~", "*.tmp", "*.temp", "*.part", "*.partial", "*.filepart", "*.crdownload", "*.download", "*.lock",
    "*.writing", "*.swp", "thumbs.db", "desktop.ini", "*.why.txt",
)  # fmt: skip
"""Names of what is not a finished file, in lower case."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a file looked like: enough to know that it is the same one, unchanged."""

    name: str
    size: int
    changed_ns: int
    inode: int


class FileChannel:
    """One file, as its session sees it. Exactly one of keep, refuse and abort is to be called, when it has been stored."""

    def __init__(self, peer: str, *, too_long: bool = False) -> None:
        self.peer = peer
        self.too_long = too_long
        """What is received is only the beginning of it."""
        self.outcome: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def keep(self) -> None:
        """It is on disk: move it to done/."""
        self._settle("")

    def refuse(self, why: str) -> None:
        """It is on disk, but nobody can read it: move it to refused/ with the reason beside it."""
        self._settle(why)

    def send(self, data: bytes) -> None:
        """See Channel. A file hears nothing."""

    def pause(self) -> None:
        """See Channel. A file comes as a whole."""

    def resume(self) -> None:
        """See Channel."""

    def close(self) -> None:
        """See Channel: it is not kept."""
        self._settle(None)

    def abort(self) -> None:
        """See Channel: it is not kept, and is tried again."""
        self._settle(None)

    def _settle(self, outcome: str | None) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class FolderWatch:
    """Watches one folder. pattern: which files, as a shell would say it, in any case of letters.

    stable_s: so long a file must not change before it counts as complete. every_s: how often it looks.
    """

    def __init__(
        self,
        path: Path,
        open_session: OpenSession,
        *,
        pattern: str = "*",
        stable_s: float = STABLE_S,
        every_s: float = EVERY_S,
        say: Say = quiet,
    ) -> None:
        self.path = path
        self._open_session = open_session
        self._pattern = pattern.lower()
        self._stable_s = stable_s
        self._every_s = every_s
        self._say = say
        self._sparing: Say = say
        self._task: asyncio.Task[None] | None = None
        self._since: dict[_Seen, float] = {}
        """When a file was first seen as it is now."""
        self._stays: dict[_Seen, str] = {}
        """Kept, but it cannot be moved away: why."""
        self._again_at: dict[_Seen, float] = {}
        self._trouble = "not started"

    @property
    def trouble(self) -> str:
        """See Transport."""
        if self._trouble or not self._stays:
            return self._trouble
        why = next(iter(self._stays.values()))
        return f"{len(self._stays)} files of {self.path} are kept, but cannot be moved away: {why}"

    async def start(self) -> None:
        """Begin to look; returns at once. Raises nothing: a share may be mounted tomorrow."""
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._sparing = Sparing(self._say, loop.time)
            self._trouble = "looking"
            self._task = loop.create_task(self._run())

    async def stop(self) -> None:
        """Look no more. A file that is not moved yet is known by its content when it is seen again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._trouble = "stopped"

    async def _run(self) -> None:
        while True:
            try:
                found = await in_thread(self._look)
            except OSError as error:
                self._trouble = f"{self.path}: {_words(error)}"
                self._sparing("line.cannot_look", error=_words(error))
            else:
                self._trouble = ""
                for seen in self._complete(found):
                    await self._take(seen)
            await asyncio.sleep(self._every_s)

    def _look(self) -> list[_Seen]:
        """The files that may be results, as they are now. In a thread. Raises OSError."""
        found: list[_Seen] = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                name = entry.name.lower()
                if any(fnmatch.fnmatchcase(name, half) for half in _HALF):
                    continue
                if not fnmatch.fnmatchcase(name, self._pattern) or not entry.is_file(follow_symlinks=False):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    found.append(_seen(entry.name, entry.stat(follow_symlinks=False)))
        return found

    def _complete(self, found: list[_Seen]) -> list[_Seen]:
        """Those that have not changed for long enough and are not done with, oldest first."""
        now = asyncio.get_running_loop().time()
        self._since = {seen: self._since.get(seen, now) for seen in found}
        self._stays = {seen: why for seen, why in self._stays.items() if seen in self._since}
        self._again_at = {seen: at for seen, at in self._again_at.items() if seen in self._since}
        ready = (
            seen
            for seen, since in self._since.items()
            if seen.size and now - since >= self._stable_s and seen not in self._stays
            and self._again_at.get(seen, now) <= now
        )  # fmt: skip
        return sorted(ready, key=lambda seen: (seen.changed_ns, seen.name))

    async def _take(self, seen: _Seen) -> None:
        """Read one file, have it kept, move it aside."""
        try:
            data = await in_thread(lambda: _read(self.path / seen.name, seen))
        except OSError as error:
            self._trouble = f"a file of {self.path} cannot be read: {_words(error)}"
            self._sparing("line.cannot_read", error=_words(error))
            return
        if data is None:
            return
        peer = f"file {hashlib.sha256(data).hexdigest()[:12]}"
        channel = FileChannel(peer, too_long=seen.size > MAX_FILE_BYTES)
        session: Session | None = None
        try:
            session = self._open_session(channel)
            session.received(data)
            outcome = await channel.outcome
        except Exception as error:
            # A defect above costs this file only for a while; its type alone is said, the text may quote it.
            self._say("line.defect", peer=peer, error=type(error).__name__)
            outcome = None
        finally:
            if session is not None:
                session.disconnected("the file was read")
        if outcome is None:
            self._again_at[seen] = asyncio.get_running_loop().time() + AGAIN_S
            return
        try:
            changed = await in_thread(lambda: self._move(seen, outcome))
        except OSError as error:
            self._stays[seen] = _words(error)
            self._sparing("line.cannot_move", peer=peer, error=_words(error))
            return
        if changed:
            self._sparing("line.file_changed", peer=peer)

    def _move(self, seen: _Seen, refused: str) -> bool:
        """Move a kept file aside; in a thread. Whether it was written to meanwhile: then it is put back. Raises OSError."""
        folder = self.path / (REFUSED if refused else DONE)
        folder.mkdir(exist_ok=True)
        target = _free(folder / seen.name)
        try:
            (self.path / seen.name).rename(target)
        except FileNotFoundError:
            return False
        if _seen(seen.name, target.stat()) != seen:
            target.rename(_free(self.path / seen.name))
            return True
        if refused:
            (folder / f"{target.name}.why.txt").write_text(refused + "\n", encoding="utf-8")
        return False


def _seen(name: str, found: os.stat_result) -> _Seen:
    return _Seen(name, found.st_size, found.st_mtime_ns, found.st_ino)


def _read(path: Path, seen: _Seen) -> bytes | None:
    """The content, or of a file that is too long its beginning; None when it is gone or not what was seen any more."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode) or _seen(seen.name, before) != seen:
            return None
        data = file.read(HEAD_BYTES if seen.size > MAX_FILE_BYTES else seen.size)
        return data if _seen(seen.name, os.fstat(file.fileno())) == seen else None


def _free(path: Path) -> Path:
    """The path, or with a number where that name is taken. Only we move files here."""
    number = 1
    found = path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem} ({number}){path.suffix}")
    return found


def _words(error: OSError) -> str:
    """Why a folder or a file cannot be used, with the cure. Without the name, which OSError's own text holds."""
    match error:
        case FileNotFoundError():
            return "there is no such folder; create it, or mount the share"
        case NotADirectoryError():
            return "it is no folder; correct the path"
        case PermissionError():
            return "no permission; let the service's user read and write there"
        case _ if error.errno == errno.EROFS:
            return "it is read-only for the service; add the folder to ReadWritePaths of its unit"
        case _:
            return os.strerror(error.errno) if error.errno else type(error).__name__
