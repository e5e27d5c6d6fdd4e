"""A small EMR that takes ORU^R01 by MLLP, reads it with python-hl7 (not our reader), checks and records it.

    async with Emr() as emr:                       # a port of its own on 127.0.0.1
        emr.next(Fault.SILENCE, Fault.AE)          # what it does wrong, message by message; then it is good again
        emr.fault = lambda seen: Fault.AR          # or decided per message
        ...
        assert not emr.complaints                  # everything it found wrong with what it was sent

Used by the tests of delivery, end to end and by whoever needs an EMR. ``python -m tests.delivery.emr PORT``
runs one by itself and prints what it takes. ``check=False`` reads only MSH-10: for measuring speed.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from time import monotonic
from typing import Any, Self

import hl7

STRUCTURE = re.compile(r"MSH PID( PV1)?( ORC OBR( OBX( NTE)*)+ SPM)+")
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
MOMENT = re.compile(r"[0-9]{14}[+-][0-9]{4}")
DATE = re.compile(r"([0-9]{4,14}([+-][0-9]{4})?)?")


class Fault(Enum):
    """What an EMR may do wrong."""

    AE = auto()
    """Refuses the message: a mistake in it."""
    AE_LOCKED = auto()
    """Refuses with ERR-3 206: the record is locked just now."""
    AR = auto()
    """Refuses without having looked."""
    CA = auto()
    """No fault: the commit-level yes of the enhanced mode."""
    SILENCE = auto()
    """Takes it, never answers."""
    WRONG_ID = auto()
    """Answers AA for a message that nobody sent."""
    PREVIOUS_ID = auto()
    """Answers AA for the message before."""
    REPEATS = auto()
    """Repeats every earlier answer of this connection, then gives the right one (node-hl7-server 2.5.0)."""
    TWICE = auto()
    """Gives the right answer twice."""
    LATE = auto()
    """Gives the right answer after ``late_s``."""
    SLOW = auto()
    """Gives the right answer byte by byte over ``late_s``."""
    CLOSE_BEFORE = auto()
    """Takes it, closes without an answer."""
    CLOSE_AFTER = auto()
    """Answers, then closes (hl7apy's server)."""
    HALF = auto()
    """Closes in the middle of the answer."""
    GARBAGE = auto()
    """Answers as a web server would."""
    NO_MSA = auto()
    """Answers HL7 without MSA."""
    HUGE = auto()
    """Answers 300 MB without an end."""
    LOOSE = auto()
    """No fault: a right answer that ends with a bare FS and without CR behind MSA."""


@dataclass(frozen=True)
class Seen:
    """One observation as the EMR understood it, every text unescaped by python-hl7."""

    message: str
    specimen: str
    patient: str
    placer: str
    service: str
    code: str
    value: str
    unit: str
    letter: str
    flags: str
    id: str
    instrument: str
    comments: tuple[str, ...]


@dataclass
class Received:
    """One message that arrived. taken: it was answered with yes, as far as the EMR knows."""

    control_id: str
    raw: bytes
    at: float
    connection: int
    taken: bool = False
    observations: list[Seen] = field(default_factory=list)


class Emr:
    """See the module. received: everything that arrived, repeats included; charts: what it keeps by OBX-21."""

    def __init__(self, *, check: bool = True, late_s: float = 0.3, port: int = 0, closes: bool = False) -> None:
        self.port = port
        self.received: list[Received] = []
        self.charts: dict[str, Seen] = {}
        self.complaints: list[str] = []
        self.fault: Callable[[Received], Fault | None] = lambda _: None
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.huge_bytes = 0
        self._check = check
        self._late_s = late_s
        self._closes = closes
        self._faults: deque[Fault | None] = deque()
        self._bodies: dict[str, bytes] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    def next(self, *faults: Fault | None) -> None:
        """The next messages meet these faults, one each."""
        self._faults.extend(faults)

    @property
    def accepted(self) -> list[str]:
        """Control ids of what it said yes to, in order, repeats included."""
        return [r.control_id for r in self.received if r.taken]

    @property
    def arrivals(self) -> list[str]:
        """Control ids of all that came, in order, repeats included."""
        return [r.control_id for r in self.received]

    async def look(self, *, last: bool = False) -> None:
        """It knows by itself what it was sent."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen on 127.0.0.1; a second start takes the same port again."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**24)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Away: the port is closed and every connection is cut."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server = None

    async def until(self, enough: Callable[[Emr], bool], within_s: float = 10.0) -> None:
        """Wait until the EMR has seen enough; TimeoutError when it does not."""
        async with asyncio.timeout(within_s):
            while not enough(self):
                self._news.clear()
                await self._news.wait()

    # One connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number = self.connections
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        answered: list[bytes] = []
        try:
            while True:
                block = await reader.readuntil(b"\x1c\r")
                if not block.startswith(b"\x0b"):
                    self.complaints.append("a block does not begin with VT")
                if not await self._take(block[1:-2], number, writer, answered):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()  # stop() ends it; streams would log a cancelled task as an error
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _take(self, raw: bytes, number: int, writer: asyncio.StreamWriter, answered: list[bytes]) -> bool:
        """One message; False: the connection ends here."""
        received = Received(self._control_id(raw), raw, monotonic(), number)
        self.received.append(received)
        self._news.set()
        if self._check:
            self._look(received)
        fault = self._faults.popleft() if self._faults else self.fault(received)
        try:
            return await self._answer(received, fault, writer, answered)
        finally:
            self._news.set()

    def _control_id(self, raw: bytes) -> str:
        return raw.split(b"|", 10)[9].decode()

    async def _answer(
        self, received: Received, fault: Fault | None, writer: asyncio.StreamWriter, answered: list[bytes]
    ) -> bool:
        good = acknowledgement("AA", received.control_id)
        match fault:
            case None | Fault.LOOSE | Fault.TWICE | Fault.REPEATS | Fault.CLOSE_AFTER | Fault.CA:
                received.taken = True
            case Fault.LATE | Fault.SLOW:
                received.taken = True
            case _:
                pass
        if received.taken:
            for seen in received.observations:
                self.charts[seen.id] = seen
        match fault:
            case None:
                answer = good
            case Fault.CA:
                answer = acknowledgement("CA", received.control_id)
            case Fault.AE:
                err = "ERR||PID^1^3|204^Unknown key identifier^HL70357|E||||Patient 000123 is not admitted\r"
                answer = acknowledgement("AE", received.control_id, "not taken", err)
            case Fault.AE_LOCKED:
                err = "ERR|||206^Application record locked^HL70357|E\r"
                answer = acknowledgement("AE", received.control_id, "", err)
            case Fault.AR:
                answer = acknowledgement("AR", received.control_id, "come back later")
            case Fault.SILENCE:
                return True
            case Fault.WRONG_ID:
                answer = acknowledgement("AA", "SOMETHING-ELSE")
            case Fault.PREVIOUS_ID:
                answer = answered[-1] if answered else acknowledgement("AA", "NOTHING-BEFORE")
            case Fault.REPEATS:
                answer = b"".join([*answered, good])
            case Fault.TWICE:
                answer = good + good
            case Fault.LATE:
                await asyncio.sleep(self._late_s)
                answer = good
            case Fault.SLOW:
                for n in range(len(good)):
                    writer.write(good[n : n + 1])
                    await writer.drain()
                    await asyncio.sleep(self._late_s / len(good))
                answered.append(good)
                return True
            case Fault.CLOSE_BEFORE:
                return False
            case Fault.CLOSE_AFTER:
                writer.write(good)
                return False
            case Fault.HALF:
                writer.write(good[: len(good) // 2])
                await writer.drain()
                return False
            case Fault.GARBAGE:
                writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html>\x1c\r</html>")
                return True
            case Fault.NO_MSA:
                answer = b"\x0bMSH|^~\\&|EMR|H|||20261122||ACK^R01|1|P|2.5.1\r\x1c\r"
            case Fault.HUGE:
                writer.write(b"\x0bMSH|^~\\&|EMR|H|||20261122||ACK^R01|1|P|2.5.1\rMSA|AA|")
                for _ in range(300):
                    writer.write(b"x" * 1_000_000)
                    await writer.drain()
                    self.huge_bytes += 1_000_000
                return True
            case Fault.LOOSE:
                answer = good.replace(b"\r\x1c\r", b"\x1c")
        answered.append(good)
        writer.write(answer)
        return not self._closes

    # What it thinks of a message

    def _look(self, received: Received) -> None:
        before = self._bodies.setdefault(received.control_id, received.raw)
        if before != received.raw:
            self.complaints.append(f"{received.control_id}: came again with other bytes")
        elif sum(r.control_id == received.control_id for r in self.received[-50:]) > 1:
            received.observations = next(
                (r.observations for r in self.received if r.control_id == received.control_id), []
            )
            return
        try:
            received.observations = self._read(received)
        except Exception as error:
            self.complaints.append(f"{received.control_id}: cannot be read: {error!r}")

    def _read(self, received: Received) -> list[Seen]:
        m: Any = hl7.parse(received.raw.decode())
        say = self.complaints.append
        who = received.control_id

        def text(segment: Any, number: int, component: int = 1) -> str:
            raw = str(segment[number]) if len(segment) > number else ""
            pieces = raw.split("~")[0].split("^")
            return str(m.unescape(pieces[component - 1])) if component <= len(pieces) else ""

        def require(right: bool, what: str) -> None:
            if not right:
                say(f"{who}: {what}")

        names = " ".join(str(s[0]) for s in m)
        require(bool(STRUCTURE.fullmatch(names)), f"structure is {names}")
        msh, pid = m.segment("MSH"), m.segment("PID")
        require(str(msh[9]) == "ORU^R01^ORU_R01", "MSH-9")
        require([str(msh[n]) for n in (2, 11, 12, 18)] == ["^~\\&", "P", "2.5.1", "UNICODE UTF-8"], "MSH-2, 11, 12, 18")
        require(bool(str(msh[3])) and bool(MOMENT.fullmatch(str(msh[7]))), "MSH-3 or MSH-7")
        require(bool(str(pid[3])) and bool(str(pid[5])), "PID-3 and PID-5 are required")
        seen: list[dict[str, Any]] = []
        group: list[dict[str, Any]] = []
        orders = 0
        obr: Any = None
        for segment in m:
            match str(segment[0]):
                case "ORC":
                    require(text(segment, 1) == "RE", "ORC-1")
                    group = []
                case "OBR":
                    obr, orders = segment, orders + 1
                    require(text(segment, 1) == str(orders), "OBR-1 does not count")
                    require(bool(text(segment, 2) or text(segment, 3)) and bool(text(segment, 4)), "OBR-2, 3 or 4")
                    require(
                        bool(DATE.fullmatch(text(segment, 7))) and bool(MOMENT.fullmatch(text(segment, 22))),
                        "OBR-7, 22",
                    )
                    require(text(segment, 25) in ("F", "C", "P", "X"), "OBR-25")
                case "OBX":
                    kind, value, letter = text(segment, 2), str(segment[5]), text(segment, 11)
                    require(text(segment, 1) == str(len(group) + 1), "OBX-1 does not count in its OBR")
                    require(letter in ("P", "F", "C", "D", "W", "X"), f"OBX-11 is {letter!r}")
                    require((letter == "X") <= (not value and not kind), "OBX-11 X with a value")
                    require(bool(kind) == bool(value), "OBX-2 without OBX-5 or the other way round")
                    require((kind == "NM") <= bool(NUMBER.fullmatch(value)), "OBX-2 NM is no number")
                    require(kind in ("", "NM", "ST", "FT", "SN", "ED"), f"OBX-2 is {kind!r}")
                    require(text(segment, 3, 3) == "L" and bool(text(segment, 3)), "OBX-3")
                    require(text(segment, 3, 6) in ("", "LN"), "OBX-3.6")
                    require(bool(text(segment, 21)), "OBX-21 is missing")
                    one = {
                        "message": who,
                        "patient": text(pid, 3),
                        "placer": text(obr, 2),
                        "service": text(obr, 4),
                        "code": text(segment, 3),
                        "value": str(m.unescape(value)),
                        "unit": text(segment, 6),
                        "letter": letter,
                        "flags": str(segment[8]) if len(segment) > 8 else "",
                        "id": text(segment, 21),
                        "instrument": text(segment, 18),
                        "comments": (),
                    }
                    group.append(one)
                    seen.append(one)
                case "NTE":
                    group[-1]["comments"] += (text(segment, 3),)
                case "SPM":
                    require(bool(text(segment, 2)) and bool(text(segment, 4)), "SPM-2 or SPM-4")
                    for one in group:
                        one["specimen"] = text(segment, 2)
        return [Seen(**one) for one in seen]


def acknowledgement(code: str, control_id: str, text: str = "", err: str = "") -> bytes:
    """An ACK^R01 in its MLLP block."""
    msa = f"MSA|{code}|{control_id}|{text}".rstrip("|")
    header = "MSH|^~\\&|EMR|HOSPITAL|LABGATEWAY|TH|20261122081602+0700||ACK^R01^ACK|1|P|2.5.1"
    return f"\x0b{header}\r{msa}\r{err}\x1c\r".encode()


async def _main() -> None:
    check = "--fast" not in sys.argv
    port = next((int(a) for a in sys.argv[1:] if a.isdigit()), 0)
    async with Emr(check=check, port=port) as emr:
        print(emr.port, flush=True)
        while True:
            await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(_main())
