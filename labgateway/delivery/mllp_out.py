"""MLLP destination: an EMR that takes HL7 v2 by TCP and answers each message with an MSA.

    send -> a kept connection, or a new one -> VT message FS CR -> wait -> the answer with our MSA-2 -> Outcome
                                                                    |
                        silence, another MSA-2, garbage, too long, closed: abort the connection -> Silent

One message in flight on a connection. After anything but a good answer the connection is closed, so that a
late answer can never be booked for another message. An answer to a message that this very connection has
already answered (receivers that repeat themselves) says nothing: it is passed over, and the right one must
follow within ``REPEAT_S``.

With ``by_application`` (enhanced mode, MSH-16 AL) CA is only a receipt: the delivery is settled by the AA that
must follow on this connection within ``answer_s``. With ``release2`` every block is answered by a commit block,
``VT 06 FS CR`` or ``VT 15 FS CR`` (MLLP release 2), ours and theirs; 06 alone settles nothing.

Not here: when to try again, what a refusal means for the lane (``sender``), what stands in the message.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable

from labgateway.delivery.answers import NoAnswer, Park, Retry, Settled, classify, read_answer
from labgateway.delivery.outcome import Accepted, Outcome, Refused, Silent, Unreachable
from labgateway.errors import LabgatewayError
from labgateway.protocols.mllp import Block, Reader, Rules, wrap
from labgateway.transports.connection import words

ANSWER_S = 30.0
CONNECT_S = 10.0
ANSWER_BYTES = 1024 * 1024
REPEAT_S = 0.5
_REMEMBERED = 256  # answered messages that a connection remembers, to know a repeated answer
_COMMITTED, _NOT_COMMITTED = b"\x06", b"\x15"  # MLLP release 2
_BROKEN_OFF_S = 5.0  # silence inside an answer


class MllpDestination:
    """An EMR's MLLP port. ``send`` never raises for what the EMR or the network does.

    connections: how many messages may be under way at once, each on a connection of its own.
    answer_s: how long an answer is awaited. tls: gives a client context or raises LabgatewayError; asked for each
    new connection, so a renewed certificate counts from then on. The server is verified before a byte of a message
    is sent. tls_name: the name its certificate must bear, default host.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        connections: int = 1,
        answer_s: float = ANSWER_S,
        connect_s: float = CONNECT_S,
        answer_bytes: int = ANSWER_BYTES,
        tls: Callable[[], ssl.SSLContext] | None = None,
        tls_name: str | None = None,
        by_application: bool = False,
        release2: bool = False,
    ) -> None:
        self._host = host
        self._port = port
        self._connections = max(1, connections)
        self._answer_s = answer_s
        self._connect_s = connect_s
        self._answer_bytes = answer_bytes
        self._tls = tls
        self._tls_name = tls_name
        self._by_application = by_application
        self._release2 = release2
        self._slots = asyncio.Semaphore(self._connections)
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()

    @property
    def connections(self) -> int:
        """How many ``send`` may run at once; more wait for their turn."""
        return self._connections

    async def send(self, body: bytes, control_id: str) -> Outcome:
        """Send one message and wait for its answer.

        body: HL7 without framing, holding no FS. control_id: its MSH-10, which MSA-2 must repeat.
        """
        async with self._slots:
            while self._idle:
                kept = self._idle.pop()
                if kept.closed:
                    continue
                outcome = await self._exchange(kept, body, control_id)
                if not kept.closed_unheard:
                    return outcome
                # Receivers that close after each answer: the close crossed our message, as with any kept
                # connection. Nobody has answered, so the same bytes may go again at once.
                break
            connection = await self._dial()
            if isinstance(connection, Unreachable):
                return connection
            return await self._exchange(connection, body, control_id)

    async def close(self) -> None:
        """Abort every connection; what is under way becomes Silent."""
        for connection in (*self._idle, *self._busy):
            connection.abort()
        self._idle.clear()

    async def _exchange(self, connection: _Connection, body: bytes, control_id: str) -> Outcome:
        self._busy.add(connection)
        try:
            outcome = await connection.exchange(body, control_id, self._answer_s)
        finally:
            self._busy.discard(connection)
        if not connection.closed:
            self._idle.append(connection)
        return outcome

    async def _dial(self) -> _Connection | Unreachable:
        loop = asyncio.get_running_loop()
        try:
            context = self._tls() if self._tls else None
            async with asyncio.timeout(self._connect_s):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._answer_bytes, self._by_application, self._release2),
                    self._host,
                    self._port,
                    ssl=context,
                    server_hostname=(self._tls_name or self._host) if self._tls else None,
                )
        except TimeoutError:
            return Unreachable(f"no connection within {self._connect_s:g} s")
        except OSError as error:
            return Unreachable(words(error))
        except LabgatewayError as error:
            return Unreachable(str(error))
        return connection


class _Connection(asyncio.Protocol):
    """One TCP connection to the EMR."""

    def __init__(self, answer_bytes: int, by_application: bool, release2: bool) -> None:
        self.closed = False
        self.closed_unheard = False  # closed by the other side after our message, without a byte of answer
        self._answer_bytes = answer_bytes
        self._by_application = by_application
        self._release2 = release2
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = Reader(Rules(max_bytes=answer_bytes, block_idle_s=_BROKEN_OFF_S))
        self._timers: list[asyncio.TimerHandle] = []
        self._waiting: asyncio.Future[Outcome] | None = None
        self._control_id = ""
        self._heard = 0  # bytes since the message was written
        self._answered: deque[str] = deque(maxlen=_REMEMBERED)
        self._repeat = False

    async def exchange(self, body: bytes, control_id: str, answer_s: float) -> Outcome:
        """Write the message, wait for its answer. Afterwards ``closed`` says whether there can be another."""
        if self.closed or self._transport is None:
            self.closed_unheard = True
            return Silent("the connection was closed")
        self._waiting = self._loop.create_future()
        self._control_id, self._heard, self._repeat = control_id, 0, False
        self._after(answer_s, f"no answer within {answer_s:g} s")
        self._transport.write(wrap(body))
        try:
            return await self._waiting
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._waiting = None
            self._stop_timers()

    def abort(self) -> None:
        """Close at once; an answer that is under way is lost, on purpose."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it alive."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  narrows the type; asyncio gives no other here
        self._transport = transport
        sock = transport.get_extra_info("socket")
        if sock is not None:
            _keep_alive(sock)

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer, cut anywhere."""
        self._heard += len(data)
        if self._heard > self._answer_bytes:
            self._fail("the answer is too long")
            return
        self._reader.feed(data, self._loop.time())
        self._take()

    def eof_received(self) -> bool:
        """The EMR closes; a bare FS may have been its last byte."""
        self._reader.lost()
        self._take()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits gets no answer any more."""
        self.closed = True
        self._stop_timers()
        if self._waiting is not None and not self._waiting.done():
            self.closed_unheard = self._heard == 0
            self._settle(Silent("the connection was closed before the answer"))

    # Answers

    def _take(self) -> None:
        while not self.closed and (event := self._reader.next_event()) is not None:
            match event:
                case Block(data):
                    self._block(data)
                case _:
                    self._fail("the answer is not MLLP")
        deadline = self._reader.deadline
        if deadline is not None and not self.closed:
            self._timers.append(self._loop.call_at(deadline, self._tick))

    def _tick(self) -> None:
        self._reader.tick(self._loop.time())
        if not self.closed:
            self._take()

    def _block(self, data: bytes) -> None:
        if self._release2:
            if data == _COMMITTED:
                return
            if data == _NOT_COMMITTED:
                self._fail("the other side could not keep the message (MLLP commit block 15)")
                return
            if self._transport is not None:
                self._transport.write(wrap(_COMMITTED))
        answer = read_answer(data)
        repeated = answer is not None and answer.control_id in self._answered
        if self._waiting is None or self._waiting.done():
            if not repeated:
                self.abort()  # an answer that nobody asked for: what comes next could not be trusted
            return
        match classify(answer, self._control_id):
            case Settled() if self._by_application and answer is not None and answer.code == "CA":
                pass  # kept, not yet taken: the application answers next
            case Settled(said):
                self._settle(Accepted(said))
            case Park(said):
                self._settle(Refused(said))
            case Retry(said):
                self._settle(Refused(said, may_retry=True))
            case NoAnswer(why):
                if not repeated:
                    self._fail(why)
                elif not self._repeat:
                    self._repeat = True
                    self._after(REPEAT_S, why)

    def _settle(self, outcome: Outcome) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._answered.append(self._control_id)
            self._waiting.set_result(outcome)

    def _fail(self, why: str) -> None:
        self._settle(Silent(why))
        self.abort()

    def _after(self, wait_s: float, why: str) -> None:
        self._timers.append(self._loop.call_later(wait_s, self._fail, why))

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


def _keep_alive(sock: socket.socket) -> None:
    """An idle connection to a vanished EMR is closed within half a minute.

    Slower than on analyzers' lines on purpose: a message under way has the answer's own limit, and an EMR
    behind a busy network may take its time.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        option = getattr(socket, name, None)  # Linux has all three; a developer's machine may not
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
