"""An analyzer written for the tests, independent of labgateway's own protocol code: blocking sockets, nothing shared."""

from __future__ import annotations

import contextlib
import socket
import time

ENQ, ACK, NAK, EOT = b"\x05", b"\x06", b"\x15", b"\x04"


class RefusedError(Exception):
    """The host answered something else than ACK; the answer is the argument."""


def frame(number: int, text: bytes, *, last: bool = True) -> bytes:
    """LIS01-A2 6.3: STX FN text ETX|ETB C1 C2 CR LF."""
    body = str(number % 8).encode() + text + (b"\x03" if last else b"\x17")
    return b"\x02" + body + f"{sum(body) % 256:02X}".encode() + b"\r\n"


def frames_of(records: list[str] | str, *, encoding: str = "utf-8") -> list[bytes]:
    """One record a frame."""
    if isinstance(records, str):
        records = [record for record in records.replace("\n", "\r").split("\r") if record]
    return [frame(n, record.encode(encoding) + b"\r") for n, record in enumerate(records, 1)]


class Astm:
    """One connection to the host."""

    def __init__(self, port: int, *, patience_s: float = 10.0, host: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection((host, port), timeout=patience_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def answer(self) -> bytes:
        """The host's next byte; empty when it closed."""
        return self.socket.recv(1)

    def expect_ack(self) -> None:
        """Raises RefusedError for any other answer."""
        got = self.answer()
        if got != ACK:
            raise RefusedError(got)

    def session(self, frames: list[bytes]) -> None:
        """ENQ, each frame awaited, EOT. When it returns, the host has acknowledged every frame.

        When the host wants to send as well (the answer to a query), the instrument wins: it asks again after a second
        (LIS01-A2 8.2.7.1).
        """
        self.socket.sendall(ENQ)
        got = self.answer()
        if got == ENQ:
            time.sleep(1)
            self.socket.sendall(ENQ)
            got = self.answer()
        if got != ACK:
            raise RefusedError(got)
        for one in frames:
            self.socket.sendall(one)
            self.expect_ack()
        self.socket.sendall(EOT)

    def expect_enq(self) -> None:
        """Wait until the host asks for the line."""
        got = self.answer()
        if got != ENQ:
            raise RefusedError(got)

    def receive(self, *, asked: bool = False) -> list[str]:
        """Take one session of the host and return its records. asked: its ENQ is already here."""
        if not asked:
            self.expect_enq()
        self.socket.sendall(ACK)
        text, number = b"", 0
        while (start := self.answer()) != EOT:
            if start != b"\x02":
                raise RefusedError(start)
            got = b""
            while not got.endswith(b"\r\n"):
                got += self.socket.recv(1)
            body, check = got[:-4], got[-4:-2]
            number = (number + 1) % 8
            assert check == f"{sum(body) % 256:02X}".encode()
            assert body[:1] == str(number).encode()
            text += body[1:-1]
            self.socket.sendall(ACK)
        return [record for record in text.decode().split("\r") if record]

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self.socket.close()


class Hl7:
    """An MLLP client that waits for its acknowledgement."""

    def __init__(self, port: int, *, patience_s: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=patience_s)
        self.buffer = b""

    def send(self, message: str | bytes) -> str:
        """Send one message (CR, LF or CRLF segments) and return the answer's text."""
        data = message.encode() if isinstance(message, str) else message
        data = data.replace(b"\r\n", b"\r").replace(b"\n", b"\r")
        self.socket.sendall(b"\x0b" + data + b"\x1c\r")
        while b"\x1c\r" not in self.buffer:
            got = self.socket.recv(65536)
            if not got:
                raise RefusedError(b"closed")
            self.buffer += got
        block, _, self.buffer = self.buffer.partition(b"\x1c\r")
        return block.lstrip(b"\x0b").decode()

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def wait_until(condition, *, patience_s: float = 20.0, what: str = "the condition") -> None:  # pyright: ignore
    """Poll until the condition holds; fail with its name when it does not in time."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"waited {patience_s} s in vain for {what}")
