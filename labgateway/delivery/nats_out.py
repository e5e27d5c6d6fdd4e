"""NATS destination: JSON documents into a JetStream stream of a hub, from many sites.

    send -> the one connection, or a new one -> publish with Nats-Msg-Id = our id -> the stream's PubAck -> Accepted
                                                  |  └─ the stream has that id already: Accepted
                                                  └─ no stream, no room, no answer, connection gone: tried again for ever

Only the acknowledgement of the stream settles. The client may not reconnect by itself: what it had not got rid of would
leave it later, behind our back (R17). After any failure it is thrown away, and the outbox sends again.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labgateway.delivery.outcome import Accepted, Outcome, Refused, Silent, Unreachable
from labgateway.delivery.secrets import SecretError, read_secret
from labgateway.delivery.topics import filled, instrument_in
from labgateway.errors import LabgatewayError

CONNECT_S = 10.0
_TELL_S = 5.0


@dataclass(frozen=True, slots=True)
class Hub:
    """How it is reached: the first of the servers that lets us in. One of credentials, token, or user with password."""

    servers: Sequence[str]
    credentials_file: Path | None = None
    token_file: Path | None = None
    user: str = ""
    password_file: Path | None = None
    tls: Callable[[], ssl.SSLContext] | None = None
    tls_name: str | None = None


class _ConnectError(Exception):
    """No connection; words without patient data."""


class _GoneError(Exception):
    """The connection ended while an acknowledgement was awaited."""


@dataclass(slots=True)
class _Link:
    """A client, and a future that is done when its connection has ended."""

    client: Any
    ended: asyncio.Future[None]


class NatsDestination:
    """See above. subject, status_subject: patterns for ``topics.filled``; "" for no status. stream: the one that must
    answer, "" for whichever takes the subject. connections: how many messages may be under way at once.
    """

    def __init__(
        self,
        hub: Hub,
        site: str,
        subject: str,
        *,
        stream: str = "",
        status_subject: str = "",
        answer_s: float = 30.0,
        connections: int = 1,
    ) -> None:
        self._hub = hub
        self._site = site
        self._subject = subject
        self._stream = stream or None
        self._status_subject = status_subject
        self._answer_s = answer_s
        self._connections = max(1, connections)
        self._connecting = asyncio.Lock()
        self._link: _Link | None = None
        self._next = 0
        self._closed = False

    @property
    def connections(self) -> int:
        """How many ``send`` may run at once."""
        return self._connections

    async def send(self, body: bytes, control_id: str) -> Outcome:
        """One attempt."""
        try:
            subject = filled(self._subject, self._site, instrument_in(body))
        except ValueError:
            return Refused(
                "labgateway: these bytes are no document of ours; was the destination of another kind before?"
            )
        try:
            link = await self._connected()
        except _ConnectError as error:
            return Unreachable(str(error))
        if len(body) > link.client.max_payload:
            return Refused(f"labgateway: {len(body)} bytes, and the hub takes {link.client.max_payload} (max_payload)")
        from nats.errors import Error, NoRespondersError
        from nats.js.errors import APIError, NoStreamResponseError

        try:
            ack = await self._published(
                link, subject, body, {"Nats-Msg-Id": control_id, "Site": self._site}, self._answer_s
            )
        except (NoStreamResponseError, NoRespondersError):
            return Silent("no stream of the hub takes this subject: make one there")
        except APIError as error:
            return Silent(f"the stream refuses with error {error.err_code or error.code}")
        except (_GoneError, TimeoutError, Error, OSError) as error:
            await self._drop(link)
            return Silent(
                "the hub broke off; it may have arrived" if isinstance(error, _GoneError) else "no answer of the hub"
            )
        return Accepted(f"{ack.stream} has it already" if ack.duplicate else f"{ack.stream} {ack.seq}")

    async def tell(self, status: Mapping[str, Any], alerts: Mapping[str, Any]) -> None:
        """Publish how the gateway stands. Raises nothing; what could not be told is told the next time."""
        if not self._status_subject:
            return
        body = json.dumps({**status, "alerts": alerts.get("alerts", [])}, ensure_ascii=False).encode()
        try:
            link = await self._connected()
            await self._published(link, filled(self._status_subject, self._site), body, {"Site": self._site}, _TELL_S)
        except Exception:
            return  # the link is judged by deliveries; a status that got lost is old in a minute

    async def close(self) -> None:
        """Disconnect."""
        self._closed = True
        if self._link is not None:
            await self._drop(self._link)

    async def _published(
        self, link: _Link, subject: str, body: bytes, headers: dict[str, str], patience_s: float
    ) -> Any:
        """The stream's acknowledgement. Raises _GoneError as soon as the connection ends, and what nats-py raises."""
        stream = self._stream if headers.get("Nats-Msg-Id") else None
        work = asyncio.ensure_future(
            link.client.jetstream().publish(subject, body, timeout=patience_s, stream=stream, headers=headers)
        )
        try:
            await asyncio.wait({work, link.ended}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            raise _GoneError
        finally:
            work.cancel()

    async def _connected(self) -> _Link:
        """Have a connection. Raises _ConnectError."""
        async with self._connecting:
            if self._link is not None and not self._link.ended.done():
                return self._link
            if self._link is not None:
                await self._drop(self._link)
            if self._closed:
                raise _ConnectError("closed")
            self._link = await self._open()
            return self._link

    async def _open(self) -> _Link:
        try:
            import nats
            from nats.errors import Error
        except ImportError:
            raise _ConnectError("the library nats-py is not installed; `labgateway check` says how") from None
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def over(*_: object) -> None:
            if not ended.done():
                ended.set_result(None)

        async def mute(_: Exception) -> None:
            """Errors come back from the call that had them."""

        server = self._hub.servers[self._next % len(self._hub.servers)]
        try:
            options: dict[str, Any] = {
                "token": read_secret(self._hub.token_file),
                "password": read_secret(self._hub.password_file),
                "user": self._hub.user or None,
                "user_credentials": str(self._hub.credentials_file) if self._hub.credentials_file else None,
            }
            if self._hub.tls is not None:
                options |= {"tls": self._hub.tls(), "tls_hostname": self._hub.tls_name}
            async with asyncio.timeout(CONNECT_S):
                client: Any = await nats.connect(  # pyright: ignore[reportUnknownMemberType]
                    server, allow_reconnect=False, connect_timeout=int(CONNECT_S), name=f"labgateway {self._site}",
                    error_cb=mute, disconnected_cb=over, closed_cb=over, ping_interval=20, max_outstanding_pings=2, **options,
                )  # fmt: skip
        except (SecretError, LabgatewayError) as error:
            raise _ConnectError(str(error)) from None
        except (Error, OSError, TimeoutError, ValueError) as error:
            self._next += 1  # the next attempt calls the next server
            raise _ConnectError(f"the hub does not let us in or does not answer: {type(error).__name__}") from None
        return _Link(client, ended)

    async def _drop(self, link: _Link) -> None:
        """Throw the connection away, and with it all that the library keeps."""
        if self._link is link:
            self._link = None
        try:
            async with asyncio.timeout(0.5):
                await link.client.close()
        except Exception:
            return  # it is of no use any more, whatever it says
