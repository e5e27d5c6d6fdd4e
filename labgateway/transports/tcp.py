"""TCP lines in both roles: an instrument that calls us, an instrument that we call. Knows no protocol.

    TcpListen   accept -> allowed? -> room? -> session        strangers are closed without a byte
    TcpConnect  resolve -> dial -> session -> lost -> wait -> dial ...

A port that cannot be opened is an error with its cure; an instrument that is away is only waited for.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import random as random_module
import socket
import ssl
from collections.abc import Callable, Iterable

from labgateway.errors import LabgatewayError
from labgateway.transports.channel import OpenSession, Say, Sparing, backoff_s, quiet
from labgateway.transports.connection import Connection, close_all, name_of, tune, words

HANDSHAKE_S = 10.0
DIAL_S = 10.0
ACCEPT_AT_ONCE = 64
BACKLOG = 512
"""Enough for every instrument of a house to call in the moment after a switch came back."""
ACCEPT_PAUSE_S = 1.0
GRACE_S = 1.0
"""So long a caller is kept waiting at the door when all places are taken: an instrument that hangs up and calls again
at once may be here before we have heard that it hung up."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class CannotListenError(LabgatewayError):
    """A listening port cannot be opened. The text says why and what to do; ``code`` is the errno."""

    def __init__(self, host: str, port: int, code: int | None) -> None:
        place = f"port {port} on {host or 'all addresses'}"
        match code:
            case errno.EADDRINUSE:
                text = (
                    f"{place} is in use by another program. "
                    f"See which one with `ss -ltnp 'sport = :{port}'`; stop it or set another port."
                )
            case errno.EACCES:
                text = f"{place} may not be opened by this user. Set a port above 1023."
            case errno.EADDRNOTAVAIL:
                text = f"{place}: this machine does not have that address. Set host to one of its own or to 0.0.0.0."
            case _:
                reason = errno.errorcode.get(code or 0, "the name cannot be resolved")
                text = f"{place} cannot be opened ({reason}). Check host and port."
        super().__init__(text)
        self.code = code


class Admission:
    """How many connections all listeners together may hold; shared by them. Not thread-safe: one loop."""

    __slots__ = ("_taken", "limit")

    def __init__(self, limit: int = 512) -> None:
        self.limit = limit
        self._taken = 0

    @property
    def taken(self) -> int:
        """How many places are taken now."""
        return self._taken

    def take(self) -> bool:
        """Take a place; False when there is none. A taken place must be given back exactly once."""
        if self._taken >= self.limit:
            return False
        self._taken += 1
        return True

    def give(self) -> None:
        """Give a place back."""
        self._taken -= 1


class TcpListen:
    """Waits for instruments (or an EMR) to call.

    host: an address of ours, "" or "0.0.0.0" for all. port: 0 lets the system choose, see ``port``.
    allow: networks such as ``10.20.0.0/24`` or single addresses; loopback is always allowed, and with an
    empty allow nothing else. connections: how many at once; when all are taken a new one replaces the
    one that has been silent longest, if that is at least silent_s seconds, else it waits GRACE_S for a place
    and is closed. As many may wait as there are places.
    admission: the cap shared by all listeners. tls: gives the server context of now, see `tls.Tls`; with
    ``verify_mode`` CERT_REQUIRED a client certificate is asked for.

    Raises ValueError for an allow entry that is no network.
    """

    def __init__(
        self,
        host: str,
        port: int,
        open_session: OpenSession,
        *,
        allow: Iterable[str] = (),
        connections: int = 1,
        silent_s: float = 10.0,
        admission: Admission | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        say: Say = quiet,
    ) -> None:
        self.host = host
        self.port = port
        self._open_session = open_session
        self._allow: tuple[Network, ...] = tuple(ipaddress.ip_network(net, strict=False) for net in allow)
        self._connections = connections
        self._silent_s = silent_s
        self._admission = admission or Admission()
        self._tls = tls
        self._say = say
        self._sparing: Say = say
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sockets: list[socket.socket] = []
        self._live: dict[Connection, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[socket.socket, tuple[str, asyncio.TimerHandle]] = {}
        self.turned_away = 0
        """Connections closed at once: strangers, no room, no files."""
        self.last_refused = ""
        """Why, as the log's event has it, and who was the last of them."""

    @property
    def trouble(self) -> str:
        """See Transport."""
        if not self._sockets:
            return "the port is not open"
        return "" if self._live else "waiting for the instrument to call"

    async def start(self) -> None:
        """Open the port. Raises CannotListenError, whose text holds the cure."""
        loop = self._loop = asyncio.get_running_loop()
        self._sparing = Sparing(self._say, loop.time)
        try:
            found = await loop.getaddrinfo(
                self.host or None, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except OSError as error:
            raise CannotListenError(self.host, self.port, None) from error
        opened: list[socket.socket] = []
        try:
            for family, kind, proto, _, address in dict.fromkeys(found):
                port = opened[0].getsockname()[1] if opened and self.port == 0 else self.port
                opened.append(_listening(family, kind, proto, (address[0], port, *address[2:])))
        except OSError as error:
            for sock in opened:
                sock.close()
            raise CannotListenError(self.host, self.port, error.errno) from error
        self._sockets = opened
        self.port = opened[0].getsockname()[1]
        for sock in opened:
            loop.add_reader(sock.fileno(), self._accept, sock)

    async def stop(self) -> None:
        """Close the port and every connection; what was being sent gets STOP_S to leave."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets = []
        for sock, (_, timer) in self._waiting.items():
            timer.cancel()
            sock.close()
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        await close_all(list(self._live), "labgateway closed the line")

    def _accept(self, listening: socket.socket) -> None:
        # An own accept instead of asyncio's server: strangers are closed before they cost a transport, and
        # running out of files is said once a minute instead of on every wake-up (CPython #151615).
        loop = self._loop
        if loop is None:
            return
        for _ in range(ACCEPT_AT_ONCE):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _OUT_OF_FILES:
                    self._sparing("line.out_of_files", port=self.port, code=error.errno)
                    loop.remove_reader(listening.fileno())
                    loop.call_later(ACCEPT_PAUSE_S, self._accept_again, listening)
                return
            peer = name_of(address)
            refusal = self._refusal(str(address[0]), loop.time())
            if refusal == "line.occupied" and len(self._waiting) < self._connections:
                self._waiting[sock] = (peer, loop.call_later(GRACE_S, self._turn_away, sock, peer, refusal))
            elif refusal:
                self._turn_away(sock, peer, refusal)
            else:
                self._welcome(sock, peer, loop)

    def _turn_away(self, sock: socket.socket, peer: str, why: str) -> None:
        self._waiting.pop(sock, None)
        sock.close()
        self.turned_away += 1
        self.last_refused = f"{why} {peer}"
        self._sparing(why, port=self.port, peer=peer)

    def _welcome(self, sock: socket.socket, peer: str, loop: asyncio.AbstractEventLoop) -> None:
        sock.setblocking(False)
        tune(sock)
        connection = Connection(self._open_session, peer, loop, self._sparing, self._ended)
        self._live[connection] = None
        task = loop.create_task(self._adopt(sock, connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _let_in(self) -> None:
        """Who has waited longest at the door gets the place that has become free."""
        loop = self._loop
        if loop is None or not self._waiting or not self._sockets or len(self._live) >= self._connections:
            return
        sock, (peer, timer) = next(iter(self._waiting.items()))
        timer.cancel()
        del self._waiting[sock]
        if self._admission.take():
            self._welcome(sock, peer, loop)
        else:
            self._turn_away(sock, peer, "line.full")

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._sockets and self._loop is not None:
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _refusal(self, address: str, now: float) -> str:
        """Take a place for the caller; else the event that says why there is none."""
        if not allowed(address, self._allow):
            return "line.stranger"
        if len(self._live) >= self._connections:
            quietest = min(self._live, key=lambda connection: connection.last_byte_at)
            if now - quietest.last_byte_at < self._silent_s:
                return "line.occupied"
            quietest.end("replaced by a new connection after a silence")
        return "" if self._admission.take() else "line.full"

    async def _adopt(self, sock: socket.socket, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=self._tls() if self._tls else None,
                ssl_handshake_timeout=HANDSHAKE_S if self._tls else None,
            )
        except (OSError, asyncio.CancelledError) as error:
            sock.close()
            if isinstance(error, OSError):
                self._sparing("line.handshake_failed", port=self.port, peer=connection.peer, error=words(error))
            connection.connection_lost(error if isinstance(error, OSError) else None)
            if isinstance(error, asyncio.CancelledError):
                raise

    def _ended(self, connection: Connection) -> None:
        if self._live.pop(connection, self) is None:
            self._admission.give()
            if self._waiting and self._loop is not None:
                self._loop.call_soon(self._let_in)


class TcpConnect:
    """Calls one instrument and calls again whenever the connection ends.

    The name is resolved anew for each attempt. Between attempts 1 s doubling to 30 s, less some chance; the
    count starts again once the instrument has sent something, so that a box which accepts and closes at
    once is not hammered. random: gives [0, 1). tls: gives the client context of now; the peer's certificate must be
    for server_name, or for ``host`` when that is empty.
    """

    def __init__(
        self,
        host: str,
        port: int,
        open_session: OpenSession,
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        server_name: str = "",
        say: Say = quiet,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self.host = host
        self.port = port
        self._open_session = open_session
        self._tls = tls
        self._server_name = server_name
        self._say = say
        self._sparing: Say = say
        self._random = random
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._trouble = "not started"

    @property
    def trouble(self) -> str:
        """See Transport."""
        return self._trouble

    async def start(self) -> None:
        """Begin to dial; returns at once. Raises nothing: an instrument may be switched on tomorrow."""
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._sparing = Sparing(self._say, loop.time)
            self._trouble = "dialling"
            self._task = loop.create_task(self._run())

    async def stop(self) -> None:
        """Stop dialling and close."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        if self._connection is not None:
            await close_all([self._connection], "labgateway closed the line")
        await asyncio.gather(task, return_exceptions=True)
        self._trouble = "stopped"

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            connection = Connection(self._open_session, "", loop, self._sparing, self._ended)
            try:
                async with asyncio.timeout(DIAL_S):
                    transport, _ = await loop.create_connection(
                        lambda made=connection: made,
                        self.host,
                        self.port,
                        ssl=self._tls() if self._tls else None,
                        server_hostname=(self._server_name or self.host) if self._tls else None,
                        ssl_handshake_timeout=HANDSHAKE_S if self._tls else None,
                    )
            except (OSError, TimeoutError) as error:
                self._trouble = f"cannot connect: {words(error)}"
                self._sparing("line.cannot_connect", host=self.host, port=self.port, error=words(error))
            else:
                sock = transport.get_extra_info("socket")
                if sock is not None:
                    tune(sock)
                self._connection = connection
                self._trouble = ""
                await asyncio.shield(connection.gone)
                self._connection = None
                self._trouble = "the connection ended; dialling again"
                if connection.heard:
                    attempt = 0
            await asyncio.sleep(backoff_s(attempt, self._random))
            attempt += 1

    def _ended(self, connection: Connection) -> None:
        if self._connection is connection:
            self._trouble = "the connection ended; dialling again"


def allowed(address: str, allow: Iterable[Network]) -> bool:
    """Whether a caller's address is loopback or in one of the networks. IPv4 in IPv6 clothes counts as IPv4."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_loopback or any(ip in network for network in allow)


def _listening(family: int, kind: int, proto: int, address: tuple[str | int, ...]) -> socket.socket:
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
