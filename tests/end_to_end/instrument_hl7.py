"""An HL7 analyzer written for the tests, independent of labgateway's own protocol code: a blocking socket, text, nothing shared."""

from __future__ import annotations

import contextlib
import socket


def rows(message: str) -> list[list[str]]:
    """Segments, each a list of its fields; of MSH fields[1] is MSH-2."""
    return [line.split("|") for line in message.split("\r") if line]


def field(message: str, name: str, number: int) -> str:
    """A field of the first segment of this name; empty when there is none."""
    row = next((row for row in rows(message) if row[0] == name), [])
    at = number - 1 if name == "MSH" else number
    return row[at] if at < len(row) else ""


def law_query(specimen: str, number: str) -> str:
    """QBP^Q11 of LAB-27."""
    return (
        f"MSH|^~\\&|AN1|LAB|LABGATEWAY|TEST|20261122081500+0700||QBP^Q11^QBP_Q11|{number}|P|2.5.1|||NE|AL||UNICODE UTF-8|||LAB-27^IHE\r"
        f"QPD|WOS^Work Order Step^IHE_LABTF|T{number}|{specimen}\rRCP|I||R\r"
    )


def law_result(specimen: str, number: str, values: dict[str, str], steps: list[str] | None = None) -> str:
    """OUL^R22 of LAB-29, with SAC, INV, runs in OBX-4 and OBX-29."""
    out = [
        f"MSH|^~\\&|AN1|LAB|LABGATEWAY|TEST|20261122083000+0700||OUL^R22^OUL_R22|{number}|P|2.5.1|||NE|AL||UNICODE UTF-8|||LAB-29^IHE",
        f"SPM|1|{specimen}||SER^Serum^HL70487|||||||P^^HL70369",
        f"SAC|||{specimen}|||||||50006|1",
    ]
    for at, (code, value) in enumerate(values.items(), 1):
        step = steps[at - 1] if steps else '""'
        out += [
            f"OBR|{at}|{step}||{code}^{code}^L",
            "ORC|SC||||CM",
            f"OBX|1|NM|{code}^{code}^L^^^IHELAW|1|{value}|||N|||F|||||OP||AN1^M~7^M|20261122082900||||||||||RSLT",
            "INV|200|OK^^HL70383|R1|51193|1|12||||||20270531",
        ]
    return "\r".join(out) + "\r"


class Instrument:
    """One connection to the gateway."""

    def __init__(self, port: int, *, patience_s: float = 10.0, accepted: socket.socket | None = None) -> None:
        self.socket = accepted or socket.create_connection(("127.0.0.1", port), timeout=patience_s)
        self.socket.settimeout(patience_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.count = 0

    def send(self, *messages: str) -> None:
        """All of them in one write."""
        self.socket.sendall(b"".join(b"\x0b" + message.encode() + b"\x1c\r" for message in messages))

    def receive(self) -> str:
        """The next message of the gateway."""
        while b"\x1c\r" not in self.buffer:
            got = self.socket.recv(65536)
            assert got, "the gateway closed the connection"
            self.buffer += got
        block, _, self.buffer = self.buffer.partition(b"\x1c\r")
        assert block.startswith(b"\x0bMSH|")
        assert block.endswith(b"\r")
        return block[1:].decode()

    def ask(self, message: str) -> str:
        """Send and take the next message."""
        self.send(message)
        return self.receive()

    def accept(self, order: str, word: str = "OK") -> None:
        """ORL^O34 (structure ORL_O42 of LAW) to an OML^O33: every order with this word in ORC-1."""
        self.count += 1
        out = [
            f"MSH|^~\\&|AN1|LAB|LABGATEWAY|TEST|20261122081501+0700||ORL^O34^ORL_O42|A{self.count}|P|2.5.1|||NE|NE||UNICODE UTF-8",
            f"MSA|AA|{field(order, 'MSH', 10)}",
        ]
        for row in rows(order):
            match row[0]:
                case "SPM" | "SAC":
                    out.append("|".join(row))
                case "ORC":
                    out.append(f"ORC|{word}||||SC")
                case "OBR":
                    out.append(f"OBR||{row[2]}||{row[4]}")
                case _:
                    pass
        self.send("\r".join(out) + "\r")

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            got = self.socket.recv(65536)
        except TimeoutError:
            return not self.buffer
        finally:
            self.socket.settimeout(before)
        self.buffer += got
        return False

    def __enter__(self) -> Instrument:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()
