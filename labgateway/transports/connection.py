"""One open TCP connection: asyncio's protocol below, a Channel for the session above. Opens nothing itself.

Callbacks go straight from asyncio's transport to the session, without streams: a frame's turnaround is
what an analyzer feels, and asyncio's streams double it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import cast

from labgateway.transports.channel import OpenSession, Say, Session

KEEPALIVE_IDLE_S = 2
KEEPALIVE_INTERVAL_S = 1
KEEPALIVE_COUNT = 3
USER_TIMEOUT_MS = 4000
WRITE_LIMIT_BYTES = 1 << 20
"""A peer that lets more than this wait unread is cut off; our longest message to an instrument is far below."""
STOP_S = 1.0


class Connection(asyncio.Protocol):
    """One connection. on_end is called once, when it is over for whatever reason, after the session was told."""

    __slots__ = (
        "_closing",
        "_ended",
        "_loop",
        "_on_end",
        "_open_session",
        "_paused",
        "_say",
        "_session",
        "_transport",
        "gone",
        "last_byte_at",
        "made_at",
        "peer",
    )

    def __init__(
        self,
        open_session: OpenSession,
        peer: str,
        loop: asyncio.AbstractEventLoop,
        say: Say,
        on_end: Callable[[Connection], None],
    ) -> None:
        self.peer = peer
        self.made_at = self.last_byte_at = loop.time()
        self.gone: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._open_session = open_session
        self._say = say
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._closing = False
        self._ended = False
        self._paused = False

    @property
    def heard(self) -> bool:
        """Whether the peer has sent anything."""
        return self.last_byte_at > self.made_at

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  narrows the type; asyncio gives no other here
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_LIMIT_BYTES)
        if self._ended:
            transport.abort()
            return
        if not self.peer:
            self.peer = name_of(transport.get_extra_info("peername"))
        self.made_at = self.last_byte_at = self._loop.time()
        try:
            self._session = self._open_session(self)
        except Exception as error:
            self._defect(error)

    def data_received(self, data: bytes) -> None:
        """Hand the bytes over at once."""
        session = self._session
        if session is None:
            return
        self.last_byte_at = self._loop.time()
        try:
            session.received(data)
        except Exception as error:
            self._defect(error)

    def pause_writing(self) -> None:
        """More than WRITE_LIMIT_BYTES wait: the peer does not read."""
        self.end("the peer does not read what we send")

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed, by whomever."""
        if exc is not None:
            self.end(words(exc))
        else:
            self.end("closed by us" if self._closing else "closed by the peer")
        if not self.gone.done():
            self.gone.set_result(None)

    # the session's side

    def send(self, data: bytes) -> None:
        """See Channel."""
        if not self._ended and self._transport is not None:
            self._transport.write(data)

    def pause(self) -> None:
        """See Channel."""
        if not self._ended and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """See Channel."""
        if not self._ended and self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        """See Channel."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """See Channel."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def end(self, why: str) -> None:
        """Tell the session that it is over, now, and drop the socket. Once; later calls do nothing."""
        if self._ended:
            return
        self._ended = True
        session, self._session = self._session, None
        if self._transport is not None:
            self._transport.abort()
        try:
            if session is not None:
                session.disconnected(why)
        except Exception as error:
            # The place must come free whatever fails above.
            self._say("line.defect", peer=self.peer, error=type(error).__name__)
        self._on_end(self)

    def _defect(self, error: Exception) -> None:
        # A defect above costs this connection only. Only the type is said: an exception's text may quote a message.
        self._say("line.defect", peer=self.peer, error=type(error).__name__)
        self.end("labgateway failed on what this connection sent")


async def close_all(connections: Iterable[Connection], why: str) -> None:
    """Let each send what waits, at most STOP_S; then tell every session."""
    closing = list(connections)
    for connection in closing:
        connection.close()
    waiting = [connection.gone for connection in closing if not connection.gone.done()]
    if waiting:
        await asyncio.wait(waiting, timeout=STOP_S)
    for connection in closing:
        connection.end(why)


def tune(sock: socket.socket) -> None:
    """See a dead peer within about 4 s (research/RELIABILITY.md row 23), and send every frame at once (no Nagle)."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", KEEPALIVE_COUNT),
        ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
    ):
        option = getattr(socket, name, None)  # Linux has all four; a developer's machine may not
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def name_of(address: object) -> str:
    """``10.20.0.31:4001`` or ``[fe80::1]:4001`` from a socket's address."""
    if not isinstance(address, tuple) or len(cast("tuple[object, ...]", address)) < 2:
        return "unknown"
    host, port, *_ = cast("tuple[object, ...]", address)
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def words(error: BaseException) -> str:
    """An I/O error in a few plain words, without the addresses and names that OSError's text may hold."""
    match error:
        case ConnectionRefusedError():
            return "nothing listens there"
        case ConnectionResetError() | BrokenPipeError():
            return "reset by the peer"
        case TimeoutError():
            return "no answer"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {error.verify_message}"
        case ssl.SSLError():
            return f"no TLS agreed on: {(error.reason or 'handshake failed').lower().replace('_', ' ')}"
        case socket.gaierror():
            return "the name cannot be resolved"
        case OSError(errno=int(code)):
            return errno.errorcode.get(code, "I/O error").lower()
        case _:
            return type(error).__name__
