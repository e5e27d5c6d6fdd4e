"""The HTTP destination over real sockets: what settles, what is tried again, what parks; and servers that misbehave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from labgateway.delivery.http_out import HttpDestination, basic, bearer
from labgateway.delivery.outcome import Accepted, Outcome, Refused, Silent, Unreachable
from labgateway.transports import tls
from tests.delivery.test_mllp_modes import Pki

Answer = Callable[[web.Request], tuple[int, dict[str, str], bytes]]


@asynccontextmanager
async def answering(answer: Answer, context: Any = None) -> AsyncIterator[str]:
    """A web server that answers each request so; its URL."""

    async def serve(request: web.Request) -> web.Response:
        status, headers, body = answer(request)
        return web.Response(status=status, headers=headers, body=body)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0, ssl_context=context)
    await site.start()
    try:
        yield f"{'https' if context else 'http'}://localhost:{runner.addresses[0][1]}/results"
    finally:
        await runner.cleanup()


async def sent(url: str, **options: Any) -> Outcome:
    """What becomes of one delivery."""
    there = HttpDestination(url, **{"answer_s": 0.5, **options})
    try:
        return await there.send(b'{"a": "\xc3\xa1"}', "LG-1")
    finally:
        await there.close()


@pytest.mark.parametrize(
    ("status", "headers", "body", "outcome"),
    [
        (200, {}, b"", Accepted("200")),
        (202, {}, b"anything", Accepted("202")),
        (204, {}, b"", Accepted("204")),
        (400, {}, b'{"error": "patient\n unknown"}', Refused('400 {"error": "patient unknown"}')),
        (403, {}, b"", Refused("403")),
        (404, {}, b"gone", Refused("404 gone")),
        (409, {}, b"busy with it", Refused("409 busy with it", may_retry=True)),
        (422, {}, b"x" * 1000, Refused("422 " + "x" * 499 + "…")),
        (408, {}, b"", Silent("it answers 408")),
        (429, {"Retry-After": "7"}, b"", Silent("it answers 429", 7.0)),
        (503, {"Retry-After": "Sun, 22 Nov 2026 00:01:00 GMT"}, b"", Silent("it answers 503", 60.0)),
        (503, {"Retry-After": "99999999999"}, b"", Silent("it answers 503", 3600.0)),
        (500, {"Retry-After": "soon"}, b"trace", Silent("it answers 500")),
        (401, {}, b"", Silent("it does not accept our token or password (401)")),
        (302, {"Location": "http://localhost:1/"}, b"", Silent("it points elsewhere (302), and no result follows: correct url")),
    ],
)  # fmt: skip
async def test_what_each_status_means(status: int, headers: dict[str, str], body: bytes, outcome: Outcome) -> None:
    """2xx settles; what may pass is tried for ever, no sooner than asked; what is refused parks with the server's words."""
    async with answering(lambda _: (status, headers, body)) as url:
        assert await sent(url, utcnow=lambda: datetime(2026, 11, 22, tzinfo=UTC)) == outcome


async def test_what_the_server_sees() -> None:
    """Our id as Idempotency-Key, the body byte by byte, nothing of it in the URL, no compression asked for, no cookies back."""
    seen: list[web.BaseRequest] = []
    bodies: list[bytes] = []

    async def serve(request: web.Request) -> web.Response:
        seen.append(request)
        bodies.append(await request.read())
        return web.Response(headers={"Set-Cookie": "session=1"})

    app = web.Application()
    app.router.add_route("*", "/results", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    there = HttpDestination(f"http://127.0.0.1:{runner.addresses[0][1]}/results", method="PUT")
    for number in range(3):
        assert await there.send(b'{"specimen": "A123"}', f"LG-{number}") == Accepted("200")
    await there.close()
    await runner.cleanup()
    assert [r.headers["Idempotency-Key"] for r in seen] == ["LG-0", "LG-1", "LG-2"]
    assert {(r.method, r.path_qs, r.headers["Content-Type"]) for r in seen} == {
        ("PUT", "/results", "application/json; charset=utf-8")
    }
    assert not any("Cookie" in r.headers for r in seen)
    assert bodies == [b'{"specimen": "A123"}'] * 3
    assert len({r.transport for r in seen}) == 1, "the connection is kept"


async def test_a_redirect_gets_no_result() -> None:
    """The place it points to hears nothing."""
    heard: list[str] = []

    def note(request: web.Request) -> tuple[int, dict[str, str], bytes]:
        heard.append(request.path)
        return 200, {}, b""

    async with answering(note) as elsewhere, answering(lambda _: (307, {"Location": elsewhere}, b"")) as url:
        assert isinstance(await sent(url), Silent)
    assert not heard


async def test_secrets_come_from_files_as_they_are_now(tmp_path: Path) -> None:
    """A renewed token counts at once; a missing one is said without its content, and costs nothing else."""
    said: list[str] = []

    def note(request: web.Request) -> tuple[int, dict[str, str], bytes]:
        said.append(request.headers.get("Authorization", ""))
        return 200, {}, b""

    token = tmp_path / "token"
    token.write_text("abc\n")
    async with answering(note) as url:
        there = HttpDestination(url, authorization=bearer(token))
        await there.send(b"{}", "1")
        token.write_text("def")
        await there.send(b"{}", "2")
        token.write_text("two\nlines")
        broken = await there.send(b"{}", "3")
        await there.close()
        await sent(url, authorization=basic("lab", token))
        token.unlink()
        missing = await sent(url, authorization=bearer(token))
    assert said == ["Bearer abc", "Bearer def", "Basic bGFiOnR3bwpsaW5lcw=="]
    assert broken == Unreachable("token holds more than a token: one line of plain characters")
    assert isinstance(missing, Unreachable)
    assert "token cannot be read" in missing.why


async def test_tls_with_our_authority_and_a_client_certificate(tmp_path: Path) -> None:
    """Believed with our authority's file, refused without; a server that wants to know us gets our certificate."""
    pki = Pki(tmp_path)
    async with answering(lambda _: (200, {}, b""), pki.server(wants_client=True)) as url:
        mine = tls.Tls(tls.client(pki.ca, pki.certificate, pki.key))
        assert await sent(url, tls=mine, answer_s=5) == Accepted("200")
        stranger = await sent(url, answer_s=5)
        assert isinstance(stranger, Unreachable)
        assert "certificate is not accepted" in stranger.why
        pinned = tls.Tls(tls.client(pinned=pki.pinned, certificate=pki.certificate, key=pki.key))
        assert await sent(url, tls=pinned, answer_s=5) == Accepted("200")
        assert not isinstance(await sent(url, tls=tls.Tls(tls.client(pki.ca)), answer_s=5), Accepted)


# Servers that misbehave, on bare sockets

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def bare(talk: Talk) -> AsyncIterator[str]:
    """A server that reads each request and then does just this."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(len(b'{"a": "\xc3\xa1"}'))
                await talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"


HEAD = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"


async def black_hole(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes it, says nothing."""
    await asyncio.sleep(5)


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte at a time, so that no pause is ever long."""
    for byte in HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


async def huge(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """300 MB of words."""
    writer.write(HEAD + b"Content-Length: 300000000\r\n\r\n")
    for _n in range(300):
        writer.write(b"x" * 1_000_000)
        await writer.drain()


async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """MLLP."""
    writer.write(b"\x0bMSH|^~\\&|\r\x1c\r")


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Cuts."""
    writer.transport.abort()


async def bomb(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A compressed answer that nobody asked for."""
    writer.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08")


@pytest.mark.parametrize(
    ("talk", "outcome"),
    [
        (black_hole, Silent("no whole answer within 0.5 s")),
        (drip, Silent("no whole answer within 0.5 s")),
        (huge, Refused("400 " + "x" * 499 + "…")),
        (reset, Silent("the connection was closed before the answer")),
        (bomb, Refused("400 �\x08")),
    ],
)
async def test_servers_that_misbehave_cost_no_more_than_their_time(talk: Talk, outcome: Outcome) -> None:
    """Each attempt ends within its time, reads no more than its share, and nothing that is no answer settles."""
    start = time.monotonic()
    async with bare(talk) as url:
        assert await sent(url) == outcome
    assert time.monotonic() - start < 3


async def test_garbage_is_no_answer() -> None:
    """Sent again."""
    async with bare(garbage) as url:
        assert isinstance(await sent(url), Silent)


async def test_a_kept_connection_that_was_closed_meanwhile() -> None:
    """The close that crosses the next delivery costs no wait: it goes again at once, with the same id."""
    asked: list[bytes] = []

    async def once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(b"")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.close()

    async with bare(once) as url:
        there = HttpDestination(url, answer_s=2)
        for _n in range(5):
            assert await there.send(b'{"a": "\xc3\xa1"}', "LG-1") == Accepted("204")
            await asyncio.sleep(0.02)
        await there.close()


async def test_nothing_listens_and_names_that_are_none() -> None:
    """Unreachable, in plain words, without the address."""
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    assert await sent(f"http://127.0.0.1:{port}/x") == Unreachable("nothing listens there")
    assert await sent("http://nowhere.invalid/x", answer_s=10) == Unreachable("the name cannot be resolved")


async def test_an_answer_that_says_yes_and_then_drips_is_a_yes() -> None:
    """The status is what counts; the rest is not waited for."""

    async def yes(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        await asyncio.sleep(5)

    async with bare(yes) as url:
        assert await sent(url, answer_s=5) == Accepted("200")
