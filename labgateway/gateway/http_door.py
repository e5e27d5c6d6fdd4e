"""One connection of the EMR on which orders come by HTTP: who calls is known before a byte of the body is read.

    request line, headers ── token, method, path, kind, length ── no ──> refused, closed
          └── yes ── body (bounded) ── take (reads, stores, matches) ── commit ──> answer
                                            the store cannot ──> 503, to be sent again; nothing if it broke

HTTP/1.1 by h11, which does no I/O; sockets, networks and TLS are the listener's. Errors are OperationOutcomes. Nothing of a
request is ever logged, and no id stands in a path.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from typing import Final

import h11

from labgateway.errors import StoreBrokenError
from labgateway.line.wiring import CallAt, Timer
from labgateway.orders.fhir_answer import outcome
from labgateway.orders.fhir_fields import Issue
from labgateway.transports.channel import Channel, Say

Taken = Callable[[tuple[int, bytes] | None, BaseException | None], None]
Take = Callable[[bytes, str, Taken], None]
"""Handles one request body (and peer); calls back in the loop after the commit with HTTP status and answer."""

MOST_BYTES: Final = 16 * 1024 * 1024
_HEAD_BYTES: Final = 16 * 1024
_REQUEST_S: Final = 30.0
"""A request that has begun must be whole by then."""
_IDLE_S: Final = 75.0
_LINGER_S: Final = 2.0

_PATHS: Final = ("", "fhir", "ServiceRequest", "fhir/ServiceRequest")
_KINDS: Final = ("application/fhir+json", "application/json")
_CAPABILITIES: Final = json.dumps(
    {
        "resourceType": "CapabilityStatement", "status": "active", "date": "2026-11-28", "kind": "instance",
        "fhirVersion": "4.0.1", "format": ["application/fhir+json"],
        "implementation": {"description": "labgateway: orders in"},
        "rest": [{
            "mode": "server",
            "interaction": [{"code": "transaction"}, {"code": "batch"}],
            "resource": [{"type": "ServiceRequest", "interaction": [{"code": "create"}]}],
        }],
    }
).encode()  # fmt: skip


class HttpConversation:
    """A Session. token: what the caller must know, asked for at each request; None: the networks decide alone."""

    __slots__ = (
        "_asks", "_body", "_call_at", "_channel", "_clock", "_gone", "_http", "_say", "_size", "_take", "_taking", "_timer", "_token",
    )  # fmt: skip

    def __init__(
        self,
        channel: Channel,
        take: Take,
        *,
        token: Callable[[], str] | None,
        clock: Callable[[], float],
        call_at: CallAt,
        say: Say,
    ) -> None:
        self._channel = channel
        self._take = take
        self._token = token
        self._clock = clock
        self._call_at = call_at
        self._say = say
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
        self._body: list[bytes] = []
        self._size = 0
        self._asks = False
        self._taking = False
        self._gone = False
        self._timer: Timer | None = None
        self._wait(_IDLE_S)

    def received(self, data: bytes) -> None:
        """See Session."""
        if self._gone:
            return
        self._http.receive_data(data)
        self._pump()

    def disconnected(self, why: str) -> None:
        """See Session. A request that was not answered is the EMR's to send again."""
        self._gone = True
        self._wait(None)

    def _pump(self) -> None:
        while not self._gone and not self._taking:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._refuse(error.error_status_hint, "structure", "This is no HTTP request that can be read.")
                return
            match event:
                case h11.Request():
                    self._wait(_REQUEST_S)
                    if not self._begin(event):
                        return
                case h11.Data(data=data):
                    self._size += len(data)
                    if self._size > MOST_BYTES:
                        self._refuse(413, "too-long", f"The body is longer than {MOST_BYTES // 1024 // 1024} MB.")
                        return
                    self._body.append(bytes(data))
                case h11.EndOfMessage():
                    self._whole()
                case h11.ConnectionClosed():
                    self._close()
                    return
                case _:  # NEED_DATA, PAUSED
                    if self._http.they_are_waiting_for_100_continue:
                        self._send(h11.InformationalResponse(status_code=100, headers=[]))
                    return

    def _begin(self, request: h11.Request) -> bool:
        """Look at the head alone. False when it was refused."""
        headers = {bytes(name).lower(): bytes(value) for name, value in request.headers}
        self._body, self._size = [], 0
        if self._token is not None and not self._knows(headers.get(b"authorization", b"")):
            self._say("orders_not_admitted", level="warning", peer=self._channel.peer)
            self._refuse(401, "login", "Say the token: Authorization: Bearer TOKEN.")
            return False
        method = bytes(request.method).decode("ascii", "replace")
        path = bytes(request.target).split(b"?")[0].decode("ascii", "replace").strip("/")
        self._asks = method == "GET" and path in ("metadata", "fhir/metadata")
        if self._asks:
            return True
        if path not in _PATHS:
            self._refuse(404, "not-found", "Orders are posted to / or /fhir, or to /ServiceRequest below it.")
        elif method != "POST":
            self._refuse(405, "not-supported", "Only POST is taken here.", (b"Allow", b"POST"))
        elif headers.get(b"content-type", b"").split(b";")[0].strip().decode("ascii", "replace").lower() not in _KINDS:
            self._refuse(415, "not-supported", f"The body must be {' or '.join(_KINDS)}.")
        elif int(headers.get(b"content-length", b"0")) > MOST_BYTES:
            self._refuse(413, "too-long", f"The body is longer than {MOST_BYTES // 1024 // 1024} MB.")
        else:
            return True
        return False

    def _knows(self, said: bytes) -> bool:
        """Whether the caller knows the token; takes as long for a wrong one as for a right one."""
        kind, _, token = said.partition(b" ")
        wanted = self._token() if self._token else ""
        return kind.lower() == b"bearer" and bool(wanted) and hmac.compare_digest(token.strip(), wanted.encode())

    def _whole(self) -> None:
        self._wait(None)
        body, self._body = b"".join(self._body), []
        if self._asks:
            self._answer(200, _CAPABILITIES)
            return
        self._taking = True
        self._channel.pause()

        def done(answer: tuple[int, bytes] | None, error: BaseException | None) -> None:
            self._taking = False
            if self._gone:
                return
            self._channel.resume()
            if isinstance(error, StoreBrokenError):
                self._channel.abort()
            elif answer is None:
                issue = Issue("transient", "", "The orders could not be stored; send them again.")
                self._answer(503, outcome([issue]), (b"Retry-After", b"2"))
            else:
                self._answer(*answer)
            self._pump()

        self._take(body, self._channel.peer, done)

    def _refuse(self, status: int, code: str, text: str, *more: tuple[bytes, bytes]) -> None:
        """Say why, and hang up: the rest of the request is thrown away as it comes, so that the answer can be read."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._answer(status, outcome([Issue(code, "", text)]), (b"Connection", b"close"), *more)
        self._gone = True
        self._wait(_LINGER_S)

    def _answer(self, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
        headers = [
            (b"Content-Type", b"application/fhir+json; charset=utf-8"),
            (b"Content-Length", str(len(body)).encode()),
            (b"Cache-Control", b"no-store"),
            *more,
        ]
        self._send(h11.Response(status_code=status, headers=headers))
        self._send(h11.Data(data=body))
        self._send(h11.EndOfMessage())
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._wait(_IDLE_S)
        elif self._http.their_state is not h11.SEND_BODY:
            self._close()

    def _send(self, event: h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage) -> None:
        if not self._gone and (data := self._http.send(event)):
            self._channel.send(data)

    def _close(self) -> None:
        self._gone = True
        self._wait(None)
        self._channel.close()

    def _wait(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._call_at(self._clock() + seconds, self._late)

    def _late(self) -> None:
        """Nothing came, or only half a request, or what was refused is over: the place is for somebody else."""
        self._timer = None
        self._gone = True
        self._channel.abort()
