"""A serial port that is none: a pseudo-terminal, whose other end a gateway opens by its path. For simulated instruments."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from pathlib import Path

from labgateway.transports.channel import OpenSession, Session

_READ_BYTES = 65536


class PtyPort:
    """Our end of a pseudo-terminal; ``device`` is the other one. link: a path of our own choice that leads to it."""

    def __init__(self, open_session: OpenSession, *, link: Path | None = None) -> None:
        self.device = ""
        self.peer = "the serial port"
        self.trouble = ""
        self._open_session = open_session
        self._link = link
        self._session: Session | None = None
        self._ours = self._theirs = -1
        self._out = bytearray()

    async def start(self) -> None:
        """Make the pair. Raises OSError when the link cannot be made."""
        self._ours, self._theirs = os.openpty()
        # Their end stays open with us, else a gateway that is not there yet would look like an unplugged cable.
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self.device = os.ttyname(self._theirs)
        if self._link is not None:
            if self._link.is_symlink():
                self._link.unlink()
            self._link.symlink_to(self.device)
        asyncio.get_running_loop().add_reader(self._ours, self._read)
        self._session = self._open_session(self)

    async def stop(self) -> None:
        """Unplug it."""
        self.abort()

    def send(self, data: bytes) -> None:
        """See Channel."""
        if self._ours < 0:
            return
        self._out += data
        self._flush()

    def pause(self) -> None:
        """See Channel."""
        asyncio.get_running_loop().remove_reader(self._ours)

    def resume(self) -> None:
        """See Channel."""
        asyncio.get_running_loop().add_reader(self._ours, self._read)

    def close(self) -> None:
        """See Channel."""
        self.abort()

    def abort(self) -> None:
        """See Channel."""
        if self._ours < 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._ours)
        loop.remove_writer(self._ours)
        for file in (self._ours, self._theirs):
            os.close(file)
        self._ours = -1
        if self._link is not None:
            with contextlib.suppress(OSError):
                self._link.unlink()
        session, self._session = self._session, None
        if session is not None:
            session.disconnected("unplugged")

    def _read(self) -> None:
        try:
            data = os.read(self._ours, _READ_BYTES)
        except OSError:
            return
        if data and self._session is not None:
            self._session.received(data)

    def _flush(self) -> None:
        try:
            del self._out[: os.write(self._ours, self._out)]
        except BlockingIOError:
            pass
        loop = asyncio.get_running_loop()
        if self._out:
            loop.add_writer(self._ours, self._flush)
        else:
            loop.remove_writer(self._ours)
