"""Encrypted lines and order doors of a running service: who is let in, and certificates renewed without a restart."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from pathlib import Path

import pytest

from tests.delivery.emr import Emr
from tests.end_to_end.analyzer import Astm, Hl7, RefusedError, frames_of, wait_until
from tests.end_to_end.gateway import free_port
from tests.end_to_end.test_first_light import Site, oml, seen, send_astm, xn
from tests.transports.test_tls import Files

SEND = 'without_order = "send"'


def wrapped(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A TLS connection to the service, as localhost."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    return context.wrap_socket(plain, server_hostname="localhost")


class TlsAstm(Astm):
    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock


class TlsHl7(Hl7):
    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.buffer = b""


def trusting(ours: Files, shown: Files | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ours.ca)
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


async def test_lines_and_doors_with_client_certificates(tmp_path: Path) -> None:
    """Who shows a certificate of the right authority is served, by line and by door; everybody else gets no byte."""
    ours, theirs = Files(tmp_path / "gateway"), Files(tmp_path / "analyzers", "xn1.lab")
    stranger = Files(tmp_path / "stranger", "xn1.lab")
    keys = f'tls = {{ certificate_file = "{ours.certificate}", key_file = "{ours.key}", ca_file = "{theirs.ca}" }}'
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        site.gateway.config.write_text(
            site.text.replace(f"port = {site.xn} ", f"port = {site.xn}, {keys} ").replace(
                f"port = {site.orders}", f"port = {site.orders}\n{keys}"
            ),
            encoding="utf-8",
        )
        with site.gateway as gateway:

            def order() -> str:
                return TlsHl7(wrapped(site.orders, trusting(ours, theirs))).send(oml("TLS1"))

            def measure() -> None:
                analyzer = TlsAstm(wrapped(site.xn, trusting(ours, theirs)))
                analyzer.session(frames_of(xn("TLS1")))
                analyzer.close()

            def refused(port: int, context: ssl.SSLContext | None) -> bool:
                try:
                    line = wrapped(port, context) if context else socket.create_connection(("127.0.0.1", port), 10)
                    with line:
                        line.settimeout(10)
                        line.sendall(b"\x05" * 20)
                        return line.recv(1) == b""
                except (ssl.SSLError, ConnectionError):
                    return True

            for port in (site.xn, site.orders):
                for context in (None, trusting(ours), trusting(ours, stranger)):
                    assert await asyncio.to_thread(refused, port, context)
            assert "MSA|AA" in await asyncio.to_thread(order)
            await asyncio.to_thread(measure)
            await seen(emr, 3)
            assert {one.placer for one in emr.charts.values()} == {"P1"}
            assert len(gateway.events("line.handshake_failed")) == 2

            # Renewed on disk: the next call sees the new certificate, an open line would not notice.
            fresh = Files(tmp_path / "fresh")
            ours.certificate.write_bytes(fresh.certificate.read_bytes())
            ours.key.write_bytes(fresh.key.read_bytes())
            renewed = await asyncio.to_thread(wrapped, site.xn, trusting(fresh, theirs))
            renewed.close()
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.to_thread(wrapped, site.xn, trusting(ours, theirs))


async def test_an_instrument_that_we_call_by_tls(tmp_path: Path) -> None:
    """We check whom we call; one with another name is not spoken to, and status says why."""
    theirs = Files(tmp_path / "analyzer", "localhost")
    port = free_port()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(theirs.certificate, theirs.key)
    done: list[bool] = []

    def analyzer() -> None:
        with socket.create_server(("127.0.0.1", port)) as listening:
            while not done:
                plain, _ = listening.accept()
                try:
                    with server.wrap_socket(plain, server_side=True) as line:
                        TlsAstm(line).session(frames_of(xn("TLS2")))
                        done.append(True)
                except (OSError, RefusedError):
                    plain.close()

    thread = threading.Thread(target=analyzer, daemon=True)
    thread.start()
    keys = f'tls = {{ ca_file = "{theirs.ca}", name = "xn1.lab" }}'
    extra = (
        '[instrument.called]\ndriver = "sysmex_xn"\nmapping = "xn1.toml"\n'
        f'line = {{ kind = "tcp", host = "127.0.0.1", port = {port}, {keys} }}\n'
    )
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND, extra=extra)
        with site.gateway as gateway:

            def said() -> bool:
                return "certificate is not accepted" in gateway.status()["lines"]["called"]["trouble"]

            await asyncio.to_thread(wait_until, said, what="the wrong name")
            gateway.config.write_text(site.text.replace("xn1.lab", "localhost"), encoding="utf-8")
            gateway.reload()
            await seen(emr, 3)
            assert {one.specimen for one in emr.charts.values()} == {"TLS2"}


async def test_a_certificate_that_is_not_there_costs_its_own_line(tmp_path: Path) -> None:
    """The others serve; status names the file; when it is there, the port opens by itself."""
    ours = Files(tmp_path / "gateway")
    missing = tmp_path / "later.pem"
    keys = f'tls = {{ certificate_file = "{missing}", key_file = "{ours.key}" }}'
    port = free_port()
    extra = (
        '[instrument.late]\ndriver = "sysmex_xn"\nmapping = "xn1.toml"\n'
        f'line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {port}, {keys} }}\n'
    )
    async with Emr() as emr:
        site = Site(tmp_path, emr, matching=SEND, extra=extra)
        with site.gateway as gateway:
            assert "later.pem is not there" in (await asyncio.to_thread(gateway.status))["lines"]["late"]["trouble"]
            await asyncio.to_thread(send_astm, site.xn, xn("TLS3"))
            missing.write_bytes(ours.certificate.read_bytes())

            def served() -> bool:
                try:
                    wrapped(port, trusting(ours)).close()
                except OSError:
                    return False
                return True

            await asyncio.to_thread(wait_until, served, patience_s=30, what="the port")
            await seen(emr, 3)
