"""HTTP destination: a webhook or a HIS's REST API that takes each delivery as one request.

    POST url   Idempotency-Key: our id of the message, the same on every resend
    2xx                        taken
    408 425 429 5xx            not now: tried again for ever, no sooner than Retry-After says
    409 423                    in the way of something else: tried again, counted, then parked
    3xx 401 407                not this delivery's fault (moved, our token): tried again for ever, the words are ours
    any other                  refused: parked with the server's words

One attempt ends within ``answer_s``, whatever the other side does. No redirect is followed: a result goes to the
configured host only. Of an answer at most ``ANSWER_BYTES`` are read, never unpacked. Connections are kept; when one
is found closed by the other side without an answer, the same bytes go again at once over a new one.

Source: RFC 9110; the Idempotency-Key header, draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp

from labgateway.delivery.outcome import Accepted, Outcome, Refused, Silent, Unreachable
from labgateway.delivery.secrets import SecretError, read_secret
from labgateway.errors import LabgatewayError
from labgateway.transports.connection import words

ANSWER_S = 30.0
CONNECT_S = 10.0
ANSWER_BYTES = 1024 * 1024
WORDS_LENGTH = 500
LONGEST_WAIT_S = 3600.0
"""Retry-After is believed up to this."""
_POLITE_S = 1.0  # for the rest of an answer that says yes
_AGAIN = frozenset({408, 425, 429})
_MAY_PASS = frozenset({409, 423})
_OURS = {401: "it does not accept our token or password (401)", 407: "a proxy wants to know who we are (407)"}

Judge = Callable[[int, bytes], Outcome | None]
"""What a 2xx answer means, from its status and whole body; None: it cannot be judged, ask again."""
Authorization = Callable[[], str | None]
"""The Authorization header of now, None without one. Raises SecretError."""


class HttpDestination:
    """Sends each body to one URL. ``send`` never raises for what the server or the network does.

    headers: beside Content-Type and Idempotency-Key. judge: None: every 2xx is a yes, whatever its body.
    explain: finds the words in the body of a refusal, "" none; None: all of it is words.
    tls: gives a context or raises LabgatewayError, asked before each request; None: http, or https as this machine
    believes. tls_name: the name that the certificate must bear, default the URL's host.
    """

    def __init__(
        self,
        url: str,
        *,
        method: str = "POST",
        content_type: str = "application/json; charset=utf-8",
        headers: Mapping[str, str] | None = None,
        connections: int = 1,
        answer_s: float = ANSWER_S,
        connect_s: float = CONNECT_S,
        answer_bytes: int = ANSWER_BYTES,
        authorization: Authorization | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        tls_name: str | None = None,
        judge: Judge | None = None,
        explain: Callable[[bytes], str] | None = None,
        utcnow: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._url = url
        self._method = method
        self._headers = {
            "Content-Type": content_type,
            "Accept-Encoding": "identity",
            "User-Agent": "labgateway",
            **(headers or {}),
        }
        self._connections = max(1, connections)
        self._timeout = aiohttp.ClientTimeout(total=answer_s, sock_connect=connect_s)
        self._answer_s = answer_s
        self._answer_bytes = answer_bytes
        self._authorization = authorization
        self._tls = tls
        self._tls_name = tls_name
        self._judge = judge
        self._explain = explain
        self._utcnow = utcnow
        self._session: aiohttp.ClientSession | None = None

    @property
    def connections(self) -> int:
        """How many ``send`` may run at once."""
        return self._connections

    async def send(self, body: bytes, control_id: str) -> Outcome:
        """One request. control_id: the Idempotency-Key."""
        outcome = await self._attempt(body, control_id)
        if outcome is None:
            # A kept connection whose close crossed our request: nobody has answered, so the same bytes may go again.
            outcome = await self._attempt(body, control_id)
        return outcome or Silent("the connection was closed before the answer")

    async def close(self) -> None:
        """Close every connection; what is under way becomes Silent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _attempt(self, body: bytes, control_id: str) -> Outcome | None:
        """None: the connection was closed without an answer."""
        try:
            headers = self._headers | {"Idempotency-Key": control_id}
            said = self._authorization() if self._authorization else None
            if said is not None:
                headers["Authorization"] = said
            context = self._tls() if self._tls else True
        except (LabgatewayError, SecretError) as error:
            return Unreachable(str(error))
        try:
            async with self._open().request(
                self._method,
                self._url,
                data=body,
                headers=headers,
                allow_redirects=False,
                ssl=context,
                server_hostname=self._tls_name,
                timeout=self._timeout,
            ) as response:
                return await self._read(response)
        except aiohttp.ConnectionTimeoutError:
            return Unreachable("no connection in time")
        except TimeoutError:
            return Silent(f"no whole answer within {self._answer_s:g} s")
        except aiohttp.ClientConnectorError as error:
            return Unreachable(_words(error))
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return None
        except (aiohttp.ClientError, ValueError) as error:
            return Silent(f"the answer is no HTTP ({type(error).__name__})")

    async def _read(self, response: aiohttp.ClientResponse) -> Outcome:
        status = response.status
        good = 200 <= status < 300
        if good and self._judge is None:
            try:
                async with asyncio.timeout(_POLITE_S):
                    await self._body(response)  # so that the connection can be kept
            except (TimeoutError, aiohttp.ClientError):
                response.close()
            return Accepted(str(status))
        text, whole = await self._body(response)
        if good and self._judge is not None:
            judged = self._judge(status, text) if whole else None
            return judged or Silent("the answer cannot be judged: too long, or not what was asked for")
        wait_s = self._retry_after(response.headers.get("Retry-After"))
        if status in _AGAIN or status >= 500:
            return Silent(f"it answers {status}", wait_s)
        if status in _OURS:
            return Silent(_OURS[status], wait_s)
        if 300 <= status < 400:
            return Silent(f"it points elsewhere ({status}), and no result follows: correct url", wait_s)
        words = cut((self._explain(text) if self._explain else "") or text.decode("utf-8", "replace"))
        return Refused(f"{status} {words}".strip(), may_retry=status in _MAY_PASS)

    async def _body(self, response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
        """What it says, at most ``answer_bytes``; False: there is more, and the connection is closed for it."""
        kept = bytearray()
        async for piece in response.content.iter_chunked(64 * 1024):
            kept += piece
            if len(kept) > self._answer_bytes:
                response.close()
                return bytes(kept[: self._answer_bytes]), False
        return bytes(kept), True

    def _retry_after(self, said: str | None) -> float | None:
        """Seconds, or a date (RFC 9110, 10.2.3); None for neither."""
        if not said:
            return None
        if said.strip().isdigit():
            return min(float(said.strip()[:9]), LONGEST_WAIT_S)
        try:
            when = parsedate_to_datetime(said)
        except ValueError:
            return None
        aware = when if when.tzinfo else when.replace(tzinfo=UTC)
        return min(max((aware - self._utcnow()).total_seconds(), 0.0), LONGEST_WAIT_S)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


def bearer(token_file: Path) -> Authorization:
    """``Bearer TOKEN``, the token as its file holds it now."""

    def header() -> str | None:
        said = read_secret(token_file) or ""
        if not said.isascii() or not said.isprintable():
            raise SecretError(f"{token_file.name} holds more than a token: one line of plain characters")
        return f"Bearer {said}"

    return header


def basic(user: str, password_file: Path | None) -> Authorization:
    """``Basic``, RFC 7617 in UTF-8."""

    def header() -> str | None:
        pair = f"{user}:{read_secret(password_file) or ''}"
        return f"Basic {b64encode(pair.encode()).decode()}"

    return header


def cut(text: str) -> str:
    """The server's words in one line, for a person; may hold patient data."""
    line = " ".join(text.split())
    return line if len(line) <= WORDS_LENGTH else line[: WORDS_LENGTH - 1] + "…"


def _words(error: aiohttp.ClientConnectorError) -> str:
    """Without the host: the status shows where it goes."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inner = error.certificate_error
        return words(inner) if isinstance(inner, OSError) else "its certificate is not accepted"
    return words(error.os_error)
