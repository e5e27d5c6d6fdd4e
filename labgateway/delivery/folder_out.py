"""Folder destination: each report a file that is either there, whole and on disk, or not there at all.

    bytes -> .ID.hl7.part, fsync -> linked to ID.hl7, fsync of the folder -> Accepted
                                         └─ a file of that name is there: the same bytes Accepted, others Refused

Names come from our ids only, so that no patient's data stands in one, and the reader knows a repeat by its name. The
reader takes the files away; what starts with a dot is not finished. Nothing is overwritten, and the folder is never
made here: a share that is not mounted must not be filled beside it.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

from labgateway.delivery.outcome import Accepted, Outcome, Refused, Silent, Unreachable
from labgateway.delivery.worker import StuckError, Worker

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
OTHER_THERE = "a file of this name with other content is in the folder; look at it, move it away, then retry"
STUCK = "the folder does not answer: a network share that hangs?"


class FolderDestination:
    """See above. ending: such as ``hl7``. unfit: why these bytes are for a person to deal with, empty: they are not."""

    def __init__(
        self, path: Path, ending: str, *, answer_s: float = 30.0, unfit: Callable[[bytes], str] = lambda _: ""
    ) -> None:
        self._path = path
        self._ending = ending
        self._answer_s = answer_s
        self._unfit = unfit
        self._worker = Worker(f"folder {path.name}")

    @property
    def connections(self) -> int:
        """Files are written one after the other: a reader that sorts by time sees them in order."""
        return 1

    async def send(self, body: bytes, control_id: str) -> Outcome:
        """Put one file there."""
        if not _ID.fullmatch(control_id):
            return Refused("labgateway: an id that cannot name a file")
        if why := self._unfit(body):
            return Refused(why)
        try:
            return await self._worker.run(lambda: self._put(body, control_id), self._answer_s)
        except StuckError:
            return Silent(STUCK)
        except OSError as error:
            return Unreachable(_words(error))

    async def close(self) -> None:
        """End the thread."""
        self._worker.close()

    def _put(self, body: bytes, control_id: str) -> Outcome:
        final = self._path / f"{control_id}.{self._ending}"
        part = self._path / f".{control_id}.{self._ending}.part"
        # Of an attempt that ended suddenly, maybe a second name of the file that the reader has: never written to again.
        part.unlink(missing_ok=True)
        if final.exists():
            return self._there(final, body)
        try:
            with part.open("xb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            if not self._name(part, final):
                return self._there(final, body)
        finally:
            part.unlink(missing_ok=True)
        self._sync_folder()
        return Accepted("written")

    def _name(self, part: Path, final: Path) -> bool:
        """Give the finished file its name; False: another file has it."""
        try:
            os.link(part, final)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # No hard links (FAT, some shares): only we make such names, so that looking first is enough.
            if final.exists():
                return False
            part.rename(final)
        return True

    def _there(self, final: Path, body: bytes) -> Outcome:
        if final.read_bytes() != body:
            return Refused(OTHER_THERE)
        with final.open("rb") as file:
            os.fsync(file.fileno())
        self._sync_folder()
        return Accepted("was there already")

    def _sync_folder(self) -> None:
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _words(error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "the disk of the folder is full: make room there"
        case errno.ENOENT | errno.ENOTDIR:
            return "the folder is not there: make it, or mount its share"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "the folder may not be written by labgateway's user"
        case number:
            return f"the folder cannot be written: {os.strerror(number) if number else type(error).__name__}"
