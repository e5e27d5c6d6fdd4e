"""Every version of every mapping file: its text, and who put it into use, when, against what.

    mapping-versions/3fa9….toml       the text; the name is its SHA-256, the version that observations name
    mapping-versions/xn1.toml.log     one JSON object a line: what was done with mappings/xn1.toml, oldest first

The gateway keeps what it finds in use, so a file that somebody edited by hand is kept as well. Nothing is ever
changed or deleted here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from labgateway.errors import LabgatewayError

FOLDER = "mapping-versions"


class Deed(StrEnum):
    """What was done. AGREED: the first of two persons. FOUND: the gateway met a version that nobody had accepted."""

    ACCEPTED = "accepted"
    AGREED = "agreed"
    UNDONE = "undone"
    FOUND = "found"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log.

    at: ISO 8601 with zone. version, before: SHA-256 of what is in use from then on and was until then, "" for none; of
    AGREED what shall be and is. who: one or two names. words: against what it was checked, or why it was taken back.
    """

    at: str
    deed: Deed
    version: str
    before: str
    who: str = ""
    words: str = ""


def version_of(raw: bytes) -> str:
    """What a text is called: its SHA-256 in hex."""
    return hashlib.sha256(raw).hexdigest()


@dataclass(frozen=True, slots=True)
class History:
    """The versions kept in a data folder, and the log of one mapping file. name: of that file, such as xn1.toml."""

    data: Path
    name: str

    @property
    def folder(self) -> Path:
        """Where it all stands."""
        return self.data / FOLDER

    def entries(self) -> list[Entry]:
        """What was done with the file, oldest first; a line that was cut off by a full disk is passed over."""
        try:
            lines = self._log.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _cannot(self._log, error) from None
        found: list[Entry] = []
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                said: dict[str, Any] = json.loads(line)
                found.append(Entry(**{**said, "deed": Deed(said["deed"])}))
        return found

    def text(self, version: str) -> bytes:
        """The text of a version. Raises LabgatewayError when it is not kept, or not what it was."""
        try:
            raw = (self.folder / f"{version}.toml").read_bytes()
        except OSError:
            raise LabgatewayError(f"Version {version[:12]} is not kept in {self.folder}.") from None
        if version_of(raw) != version:
            raise LabgatewayError(f"Version {version[:12]} in {self.folder} was changed; its text is not used.")
        return raw

    def keep(self, raw: bytes) -> str:
        """Keep a text, if it is not kept yet; its version."""
        version = version_of(raw)
        path = self.folder / f"{version}.toml"
        if not path.exists():
            self._make_folder()
            write_whole(path, raw, like=self.data)
        return version

    def record(self, entry: Entry) -> None:
        """Write a line of the log; it is on disk when this returns."""
        self._make_folder()
        line = json.dumps(asdict(entry), ensure_ascii=False) + "\n"
        try:
            new = not self._log.exists()
            with self._log.open("ab") as file:
                if file.tell() and not self._log.read_bytes().endswith(b"\n"):
                    line = "\n" + line
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
            if new:
                _own(self._log, self.data)
        except OSError as error:
            raise _cannot(self._log, error) from None

    def found(self, raw: bytes, at: datetime) -> None:
        """The gateway uses this text: keep it, and say so in the log where nobody has accepted it."""
        version = self.keep(raw)
        last = self.last()
        if last is None or last.version != version:
            self.record(Entry(at.isoformat(timespec="seconds"), Deed.FOUND, version, last.version if last else ""))

    def last(self) -> Entry | None:
        """The last entry that put a version into use."""
        return next((entry for entry in reversed(self.entries()) if entry.deed is not Deed.AGREED), None)

    def before(self, version: str) -> str:
        """The version that this one took the place of when it first came; "" when there was none or it is not known."""
        forward = (Deed.ACCEPTED, Deed.FOUND)
        entries = self.entries()
        came = next((e for e in entries if e.version == version and e.deed in forward and e.before != version), None)
        return came.before if came is not None else ""

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def _make_folder(self) -> None:
        if self.folder.is_dir():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        except OSError as error:
            raise _cannot(self.folder, error) from None
        _own(self.folder, self.data)


def write_whole(path: Path, raw: bytes, *, like: Path) -> None:
    """Write a file as a whole or not at all, with the owner of another one (and its mode, when that is a file).

    Raises LabgatewayError in words.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            if like.is_file():
                beside.chmod(like.stat().st_mode & 0o777)
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        _own(beside, like)
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise _cannot(path, error) from None


def _own(path: Path, like: Path) -> None:
    """Root works for others: what it makes belongs to whom the folder belongs."""
    with contextlib.suppress(OSError):
        if os.geteuid() == 0:
            known = like.stat()
            os.chown(path, known.st_uid, known.st_gid)


def _cannot(path: Path, error: OSError) -> LabgatewayError:
    return LabgatewayError(f"{path} cannot be read or written: {error.strerror or type(error).__name__}.")
