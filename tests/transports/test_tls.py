"""TLS on both roles of a TCP line: who is let in, who is not, what is said, and certificates that are renewed."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from labgateway.transports import tcp as tcp_module
from labgateway.transports import tls
from labgateway.transports.tcp import TcpConnect, TcpListen
from labgateway.transports.tls import Tls, TlsError
from tests.transports.test_tcp import House, until


class Files:
    """An authority and a certificate of it, as files."""

    def __init__(self, folder: Path, name: str = "localhost", ca: trustme.CA | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = ca or trustme.CA()
        self.certificate, self.key, self.ca = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        self.write(self.authority.issue_cert(name))

    def write(self, issued: trustme.LeafCert) -> None:
        self.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())


async def talk(port: int, context: ssl.SSLContext, name: str = "localhost") -> bytes:
    """What comes back of ``hello``; empty when the listener hung up. Raises what the handshake raises."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    try:
        writer.write(b"hello")
        return await asyncio.wait_for(reader.read(5), 5)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "gateway")


async def test_both_roles_speak_tls(files: Files) -> None:
    """A line that calls and a line that listens: bytes go both ways, and on the wire is no plain text."""
    house, instrument = House(), House()
    listen = TcpListen("127.0.0.1", 0, house.open, tls=Tls(tls.server(files.certificate, files.key)))
    await listen.start()
    call = TcpConnect("localhost", listen.port, instrument.open, tls=Tls(tls.client(files.ca)))
    await call.start()
    await until(lambda: instrument.sessions and house.sessions)
    # Both echo: what one says goes to and fro.
    instrument.sessions[0].channel.send(b"hello")
    await until(lambda: house.sessions[0].data.startswith(b"hello") and instrument.sessions[0].data)
    await call.stop()
    await listen.stop()
    assert [len(one.gone) for one in (*house.sessions, *instrument.sessions)] == [1, 1]


async def test_a_caller_without_tls_reaches_no_session(files: Files) -> None:
    """Plain bytes on a TLS port are turned away: no session, one line in the log, the place is free again."""
    house = House()
    listen = TcpListen("127.0.0.1", 0, house.open, tls=Tls(tls.server(files.certificate, files.key)), say=house.say)
    await listen.start()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", listen.port)) as plain:
            plain.sendall(b"\x05hello, this is no handshake at all\r\n")
            plain.settimeout(5)
            await asyncio.to_thread(drain, plain)
    assert house.sessions == []
    assert house.events() == ["line.handshake_failed"]
    client = ssl.create_default_context(cafile=files.ca)
    assert await talk(listen.port, client) == b"hello"
    await listen.stop()


def drain(sock: socket.socket) -> None:
    try:
        while sock.recv(4096):
            pass
    except ConnectionError:
        pass


async def test_a_client_certificate_is_asked_for(tmp_path: Path, files: Files) -> None:
    """With ca only callers whose certificate is of that authority get a session; no certificate, or another's, do not."""
    house = House()
    instruments = Files(tmp_path / "instruments", "xn1.lab")
    others = Files(tmp_path / "others", "xn1.lab")
    listen = TcpListen(
        "127.0.0.1", 0, house.open, connections=9,
        tls=Tls(tls.server(files.certificate, files.key, instruments.ca)),
    )  # fmt: skip
    await listen.start()
    for shown, expected in ((None, b""), (others, b""), (instruments, b"hello")):
        context = ssl.create_default_context(cafile=files.ca)
        if shown is not None:
            context.load_cert_chain(shown.certificate, shown.key)
        try:
            assert await talk(listen.port, context) == expected
        except ssl.SSLError:
            assert expected == b""
    assert len(house.sessions) == 1
    await listen.stop()


async def test_old_tls_is_refused(files: Files) -> None:
    """TLS 1.1 is no TLS; 1.2 is taken."""
    house = House()
    listen = TcpListen("127.0.0.1", 0, house.open, tls=Tls(tls.server(files.certificate, files.key)))
    await listen.start()
    for version, expected in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
        context = ssl.create_default_context(cafile=files.ca)
        with pytest.warns(DeprecationWarning) if not expected else nothing():
            context.minimum_version = context.maximum_version = version
        context.set_ciphers("ALL:@SECLEVEL=0")
        try:
            done = await talk(listen.port, context) == b"hello"
        except (ssl.SSLError, ConnectionError):
            done = False
        assert done is expected
    await listen.stop()


class nothing:  # noqa: N801 - reads as a word
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("wrong", ["name", "authority"])
async def test_whom_we_call_must_be_who_it_is(
    tmp_path: Path, files: Files, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate for another name, or of another authority: no session, and the status page says why."""
    monkeypatch.setattr(tcp_module, "backoff_s", lambda attempt, random: 0.01)
    house = House()
    listen = TcpListen("127.0.0.1", 0, House().open, tls=Tls(tls.server(files.certificate, files.key)))
    await listen.start()
    ca = files.ca if wrong == "name" else Files(tmp_path / "others").ca
    call = TcpConnect("127.0.0.1" if wrong == "name" else "localhost", listen.port, house.open, tls=Tls(tls.client(ca)))
    await call.start()
    await until(lambda: "certificate is not accepted" in call.trouble)
    assert house.sessions == []
    await call.stop()
    right = TcpConnect("127.0.0.1", listen.port, house.open, tls=Tls(tls.client(files.ca)), server_name="localhost")
    await right.start()
    await until(lambda: house.sessions)
    await right.stop()
    await listen.stop()


async def test_a_renewed_certificate_is_used_from_the_next_call_on(tmp_path: Path, files: Files) -> None:
    """New files are taken without a restart; broken ones are said once and the good ones of before stay."""
    house = House()
    holder = Tls(tls.server(files.certificate, files.key), say=house.say)
    listen = TcpListen("127.0.0.1", 0, house.open, connections=9, tls=holder)
    await listen.start()
    old = ssl.create_default_context(cafile=files.ca)
    assert await talk(listen.port, old) == b"hello"

    renewed = trustme.CA()
    new_ca = tmp_path / "new.pem"
    renewed.cert_pem.write_to_path(new_ca)
    files.write(renewed.issue_cert("localhost"))
    new = ssl.create_default_context(cafile=new_ca)
    assert await talk(listen.port, new) == b"hello"
    with pytest.raises(ssl.SSLCertVerificationError):
        await talk(listen.port, old)

    files.key.write_bytes(b"half a key")
    os.utime(files.key, (1, 1))
    for _ in range(2):
        assert await talk(listen.port, new) == b"hello"
    assert [event for event in house.events() if event.startswith("tls")] == ["tls.renewed", "tls.kept"]
    await listen.stop()


async def test_a_handshake_that_never_comes_gives_its_place_back(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who connects and says nothing is cut off, so that the instrument's place is not taken for ever."""
    monkeypatch.setattr(tcp_module, "HANDSHAKE_S", 0.2)
    house = House()
    listen = TcpListen("127.0.0.1", 0, house.open, tls=Tls(tls.server(files.certificate, files.key)))
    await listen.start()
    silent = socket.create_connection(("127.0.0.1", listen.port))
    silent.settimeout(5)
    assert await asyncio.to_thread(silent.recv, 1) == b""
    assert await talk(listen.port, ssl.create_default_context(cafile=files.ca)) == b"hello"
    silent.close()
    await listen.stop()


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda f: f.certificate.unlink(), "is not there"),
        (lambda f: f.key.unlink(), "is not there"),
        (lambda f: f.certificate.write_text("nothing"), "no certificate (PEM)"),
        (lambda f: f.key.write_bytes(trustme.CA().issue_cert("x").private_key_pem.bytes()), "fits the key"),
        (lambda f: f.ca.write_text("nothing"), "no authority's certificate"),
    ],
)
def test_files_that_cannot_be_used_are_named(files: Files, break_it: Callable[[Files], object], words: str) -> None:
    """The complaint names the file and what is wrong with it, and holds nothing of what is in it."""
    break_it(files)
    with pytest.raises(TlsError) as raised:
        Tls(tls.server(files.certificate, files.key, files.ca))
    assert words in str(raised.value)
    assert ".pem" in str(raised.value)
    assert "BEGIN" not in str(raised.value)


def test_a_key_with_a_password_asks_nobody(files: Files) -> None:
    """An encrypted key is a complaint, not a question at a terminal that nobody sits at."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(TlsError, match="password"):
        Tls(tls.server(files.certificate, files.key))
