"""Enhanced acknowledgement, MLLP release 2 and TLS, against small EMRs that do just what each test says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from labgateway.delivery.mllp_out import MllpDestination
from labgateway.delivery.outcome import Accepted, Outcome, Refused, Silent, Unreachable
from labgateway.transports import tls
from tests.delivery.emr import acknowledgement
from tests.delivery.test_mllp_out import body

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(answer: Answer, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that treats each connection by ``answer``."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def says(*blocks: bytes, pause_s: float = 0.0) -> Answer:
    """For every message the same blocks, a pause before each but the first."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\x1c\r")
            for number, block in enumerate(blocks):
                if number:
                    await asyncio.sleep(pause_s)
                writer.write(block)

    return answer


async def sent(
    answer: Answer, context: ssl.SSLContext | None = None, host: str = "127.0.0.1", **options: Any
) -> Outcome:
    """What becomes of one message."""
    async with listening(answer, context) as port:
        there = MllpDestination(host, port, **{"answer_s": 0.3, **options})
        try:
            return await there.send(body("A"), "A")
        finally:
            await there.close()


CA, AA, AE = (acknowledgement(code, "A") for code in ("CA", "AA", "AE"))


@pytest.mark.parametrize(
    ("blocks", "by_application", "outcome"),
    [
        ((CA,), False, Accepted("")),
        ((CA, AA), True, Accepted("")),
        ((AA,), True, Accepted("")),
        ((CA, AE), True, Refused("AE")),
        ((acknowledgement("CE", "A"),), True, Refused("CE")),
        ((acknowledgement("CR", "A"),), True, Refused("CR", may_retry=True)),
        ((CA,), True, Silent("no answer within 0.3 s")),
        ((CA, acknowledgement("AA", "B")), True, Silent("the answer belongs to another message (MSA-2)")),
    ],
)
async def test_the_receipt_and_the_answer(blocks: tuple[bytes, ...], by_application: bool, outcome: Outcome) -> None:
    """A receipt settles only where the site says so; else the application's own answer is awaited, and must be ours."""
    assert await sent(says(*blocks, pause_s=0.02), by_application=by_application) == outcome


async def test_each_message_has_its_own_receipt_and_answer() -> None:
    """Many over one connection, receipt and answer each; nothing of one counts for the next."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for n in range(20):
            assert f"|M{n}|".encode() in await reader.readuntil(b"\x1c\r")
            writer.write(acknowledgement("CA", f"M{n}"))
            await asyncio.sleep(0.001)
            writer.write(acknowledgement("AA", f"M{n}"))

    async with listening(answer) as port:
        there = MllpDestination("127.0.0.1", port, answer_s=2, by_application=True)
        assert [await there.send(body(f"M{n}"), f"M{n}") for n in range(20)] == [Accepted("")] * 20
        await there.close()


async def test_release_2_commit_blocks_go_both_ways() -> None:
    """06 for our message settles nothing; its answer does, and we commit that in turn."""
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for n in range(3):
            await reader.readuntil(b"\x1c\r")
            writer.write(b"\x0b\x06\x1c\r")
            await asyncio.sleep(0.01)
            writer.write(acknowledgement("AA", f"M{n}"))
            heard.append(await reader.readuntil(b"\x1c\r"))

    async with listening(answer) as port:
        there = MllpDestination("127.0.0.1", port, answer_s=2, release2=True)
        assert [await there.send(body(f"M{n}"), f"M{n}") for n in range(3)] == [Accepted("")] * 3
        await asyncio.sleep(0.02)
        await there.close()
    assert heard == [b"\x0b\x06\x1c\r"] * 3


@pytest.mark.parametrize("block", [b"\x0b\x06\x1c\r", b"\x0b\x15\x1c\r"])
async def test_release_2_without_an_answer_is_silence(block: bytes) -> None:
    """Kept but not answered, or not even kept: it is sent again, for ever."""
    assert isinstance(await sent(says(block), release2=True), Silent)


# TLS


class Pki:
    """An authority, a server's certificate of it, and a client's."""

    def __init__(self, folder: Path, *, name: str = "localhost") -> None:
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        self.certificate, self.key = folder / "gateway.pem", folder / "gateway.key"
        self.renew()
        self.issued = self.authority.issue_cert(name)
        self.pinned = folder / "emr.pem"
        self.issued.cert_chain_pems[0].write_to_path(self.pinned)

    def renew(self) -> None:
        """A new client certificate in the same files."""
        mine = self.authority.issue_cert("gateway")
        self.certificate.write_bytes(b"".join(pem.bytes() for pem in mine.cert_chain_pems))
        self.key.write_bytes(mine.private_key_pem.bytes())

    def server(self, *, wants_client: bool = False, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """The EMR's context."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.issued.configure_cert(context)
        if newest:
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = newest
            context.set_ciphers("ALL:@SECLEVEL=0")
        if wants_client:
            context.verify_mode = ssl.CERT_REQUIRED
            self.authority.configure_trust(context)
        return context


async def test_our_own_authority_is_believed_and_no_other(tmp_path: Path) -> None:
    """With the authority's file the message goes; with another authority, or the machine's, not a byte of it does."""
    pki = Pki(tmp_path)
    (tmp_path / "other").mkdir()
    other = Pki(tmp_path / "other")
    good = tls.Tls(tls.client(pki.ca))
    assert await sent(says(AA), pki.server(), "localhost", tls=good) == Accepted("")
    for files in (tls.client(other.ca), tls.client()):
        outcome = await sent(says(AA), pki.server(), "localhost", tls=tls.Tls(files))
        assert isinstance(outcome, Unreachable)
        assert "its certificate is not accepted" in outcome.why


async def test_the_name_in_the_certificate_counts(tmp_path: Path) -> None:
    """Another name: refused, unless the config says which name the certificate bears."""
    pki = Pki(tmp_path, name="emr.example")
    trust = tls.Tls(tls.client(pki.ca))
    assert isinstance(await sent(says(AA), pki.server(), "localhost", tls=trust), Unreachable)
    assert await sent(says(AA), pki.server(), "localhost", tls=trust, tls_name="emr.example") == Accepted("")


async def test_a_pinned_certificate(tmp_path: Path) -> None:
    """Only this very certificate, whatever its name; another of the same authority is refused."""
    pki = Pki(tmp_path, name="whatever")
    pinned = tls.Tls(tls.client(pinned=pki.pinned))
    assert await sent(says(AA), pki.server(), tls=pinned) == Accepted("")
    pki.issued = pki.authority.issue_cert("whatever")
    assert isinstance(await sent(says(AA), pki.server(), tls=pinned), Unreachable)


async def test_a_client_certificate_renewed_without_a_restart(tmp_path: Path) -> None:
    """An EMR that wants to know who calls: refused without, taken with, and with the renewed files from then on."""
    pki = Pki(tmp_path)
    server = pki.server(wants_client=True)
    assert not isinstance(await sent(says(AA), server, "localhost", tls=tls.Tls(tls.client(pki.ca))), Accepted)
    mine = tls.Tls(tls.client(pki.ca, pki.certificate, pki.key))
    assert await sent(says(AA), server, "localhost", tls=mine) == Accepted("")
    old = pki.certificate.read_bytes()
    pki.renew()
    assert await sent(says(AA), server, "localhost", tls=mine) == Accepted("")
    assert pki.certificate.read_bytes() != old


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
async def test_tls_1_1_is_too_old(tmp_path: Path) -> None:
    """An EMR that speaks nothing newer gets nothing."""
    pki = Pki(tmp_path)
    server = pki.server(newest=ssl.TLSVersion.TLSv1_1)
    outcome = await sent(says(AA), server, "localhost", tls=tls.Tls(tls.client(pki.ca)))
    assert isinstance(outcome, Unreachable)


async def test_a_plain_emr_gets_nothing_where_tls_is_declared(tmp_path: Path) -> None:
    """And a file that is missing costs nothing but this destination: it is said, and tried again."""
    pki = Pki(tmp_path)
    heard = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(100))
        writer.write(AA)

    outcome = await sent(plain, None, "localhost", tls=tls.Tls(tls.client(pki.ca)))
    assert isinstance(outcome, Unreachable)
    assert heard and b"MSH" not in heard
    missing = await sent(plain, None, tls=lambda: tls.context(tls.client(tmp_path / "gone.pem")))
    assert isinstance(missing, Unreachable)
    assert "gone.pem is not there" in missing.why
