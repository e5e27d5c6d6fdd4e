"""GET of JSON from one server, for comparing: no redirect, no cookie, nowhere else than below its base, not too fast.

2xx with JSON      the value
404 410            None: there is none
408 425 429 5xx    asked again, three times in all, no sooner than Retry-After says (at most a minute)
any other          OSError, in words that hold neither address nor patient
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import aiohttp

from labgateway.delivery.http_out import CONNECT_S, Authorization
from labgateway.delivery.secrets import SecretError
from labgateway.errors import LabgatewayError

ANSWER_BYTES = 16 * 1024 * 1024
PER_SECOND = 20.0
"""Requests, where the destination has no per_second of its own."""
_TRIES = 3
_LONGEST_WAIT_S = 60.0
_GONE = frozenset({404, 410})
_LATER = frozenset({408, 425, 429})
_LOST = 599  # no status of HTTP


class HttpReader:
    """See the module. base: the server's URL. tls, tls_name, authorization: as ``HttpDestination`` takes them."""

    def __init__(
        self,
        base: str,
        *,
        accept: str = "application/json",
        answer_s: float = 30.0,
        per_second: float | None = None,
        authorization: Authorization | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        tls_name: str | None = None,
    ) -> None:
        self._base = base.rstrip("/")
        self._headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "labgateway"}
        self._timeout = aiohttp.ClientTimeout(total=answer_s, sock_connect=CONNECT_S)
        self._gap_s = 1 / (per_second or PER_SECOND)
        self._authorization = authorization
        self._tls = tls
        self._tls_name = tls_name
        self._session: aiohttp.ClientSession | None = None
        self._next_at = 0.0

    @property
    def base(self) -> str:
        """Without the slash at its end."""
        return self._base

    async def get(self, path: str, what: str) -> Any:
        """What stands at BASE/path; None: nothing. Numbers are Decimal. what: of what kind, for the words of an OSError."""
        left = _TRIES
        while True:
            await self._pace()
            left -= 1
            status, wait_s, body = await self._ask(path)
            if 200 <= status < 300:
                return _value(body, what)
            if status in _GONE:
                return None
            if status not in _LATER and status < 500:
                raise OSError(_refusal(status, what))
            if not left:
                raise OSError(
                    f"it answers {status} when {what} is read" if status != _LOST else "there is no connection"
                )
            await asyncio.sleep(min(max(wait_s, 1.0), _LONGEST_WAIT_S))

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _pace(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._next_at - loop.time())
        self._next_at = loop.time() + self._gap_s

    async def _ask(self, path: str) -> tuple[int, float, bytes]:
        """Status, seconds of Retry-After, body. _LOST: no connection, or lost before the answer."""
        try:
            said = self._authorization() if self._authorization else None
            context = self._tls() if self._tls else True
        except (LabgatewayError, SecretError) as error:
            raise OSError(str(error)) from None
        headers = self._headers if said is None else {**self._headers, "Authorization": said}
        try:
            async with self._open().get(
                f"{self._base}/{path}",
                headers=headers,
                allow_redirects=False,
                ssl=context,
                server_hostname=self._tls_name,
                timeout=self._timeout,
            ) as response:
                after = response.headers.get("Retry-After", "").strip()[:6]
                return response.status, float(after) if after.isdigit() else 0.0, await self._body(response)
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError):
            raise OSError("its certificate is not accepted") from None
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return _LOST, 0.0, b""
        except TimeoutError:
            raise OSError("it does not answer in time") from None
        except (aiohttp.ClientError, ValueError) as error:
            raise OSError(f"the answer is no HTTP ({type(error).__name__})") from None

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        kept = bytearray()
        async for piece in response.content.iter_chunked(64 * 1024):
            kept += piece
            if len(kept) > ANSWER_BYTES:
                response.close()
                raise OSError("the answer is too long")
        return bytes(kept)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        return self._session


def _value(body: bytes, what: str) -> Any:
    try:
        return json.loads(body, parse_float=Decimal, parse_int=Decimal)
    except (ValueError, RecursionError):
        raise OSError(f"the answer to reading {what} is no JSON") from None


def _refusal(status: int, what: str) -> str:
    if 300 <= status < 400:
        return f"it points elsewhere ({status}) when {what} is read, and no redirect is followed"
    if status == 401:
        return f"it does not accept our token or password when {what} is read (401)"
    return f"it does not let us read {what} ({status}): allow that there, or write read_back = false"
