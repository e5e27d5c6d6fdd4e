"""The players of the demo: three analyzers, an EMR, and invented patients. Nothing here is used by the gateway."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from labgateway.protocols import hl7, mllp
from labgateway.protocols.astm_frames import frames

CONFIG = """\
[gateway]
name = "LABGATEWAY"
facility = "DEMO"
timezone = "Asia/Ho_Chi_Minh"

[instrument.xn1]
driver = "sysmex_xn"
mapping = "xn1.toml"
line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {xn1} }}

[instrument.c311]
driver = "roche_cobas_classic"
mapping = "c311.toml"
line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {c311} }}

[instrument.bc5]
driver = "mindray_bc"
mapping = "bc5.toml"
line = {{ kind = "tcp-listen", host = "127.0.0.1", port = {bc5} }}

[orders.emr]
kind = "mllp-listen"
host = "127.0.0.1"
port = {orders}

[destination.emr]
kind = "mllp"
host = "127.0.0.1"
port = {emr}
"""

MAPPINGS = {
    "xn1.toml": """\
instrument = "xn1"
checked = "demo"
[tests]
WBC = { emr = "WBC", name = "Số lượng bạch cầu", loinc = "6690-2", unit = "10*9/L", times = 1 }
RBC = { emr = "RBC", name = "Số lượng hồng cầu", loinc = "789-8", unit = "10*12/L", times = 1 }
HGB = { emr = "HGB", name = "Huyết sắc tố", loinc = "718-7", unit = "g/L", times = 10, decimals = 0 }
PLT = { emr = "PLT", name = "Số lượng tiểu cầu", loinc = "777-3", unit = "10*9/L", times = 1 }
[panels]
CBC = ["WBC", "RBC", "HGB", "PLT"]
""",
    "c311.toml": """\
instrument = "c311"
checked = "demo"
[tests]
"767" = { emr = "GLU", name = "Glucose", loinc = "14749-6" }
"690" = { emr = "CREA", name = "Creatinin", loinc = "14682-9" }
"685" = { emr = "ALT", name = "ALT (GPT)", loinc = "1742-6" }
""",
    "bc5.toml": """\
instrument = "bc5"
checked = "demo"
[tests]
"6690-2" = { emr = "WBC", name = "Số lượng bạch cầu", loinc = "6690-2", unit = "10*9/L", times = 1 }
"718-7" = { emr = "HGB", name = "Huyết sắc tố", loinc = "718-7", unit = "g/L", times = 1 }
"777-3" = { emr = "PLT", name = "Số lượng tiểu cầu", loinc = "777-3", unit = "10*9/L", times = 1 }
[panels]
CBC = ["WBC", "HGB", "PLT"]
""",
}

_FAMILY = ("Nguyễn", "Trần", "Lê", "Phạm", "Hoàng", "Huỳnh", "Võ", "Đặng", "Bùi", "Đỗ")
_GIVEN = (
    "Thị Mai",
    "Văn Hùng",
    "Thị Lan",
    "Minh Đức",
    "Thị Hồng",
    "Quốc Bảo",
    "Thị Thu",
    "Văn Nam",
    "Ngọc Ánh",
    "Đình Phong",
)


@dataclass(frozen=True, slots=True)
class Visit:
    """One invented patient with one tube for one analyzer."""

    specimen: str
    patient: str
    name: str
    born: str
    sex: str
    instrument: str
    tests: tuple[str, ...]


def visits(seed: int = 7) -> deque[Visit]:
    """More tubes than the demo can run."""
    chance = random.Random(seed)  # noqa: S311  # invented patients, no secret
    found: deque[Visit] = deque()
    for n in range(400):
        instrument = ("xn1", "c311", "bc5")[n % 3]
        found.append(
            Visit(
                specimen=f"26{1122000000 + n}",
                patient=f"BN{100000 + n}",
                name=f"{chance.choice(_FAMILY)}^{chance.choice(_GIVEN)}",
                born=f"{chance.randint(1935, 2020)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}",
                sex=chance.choice("MF"),
                instrument=instrument,
                tests=("GLU", "CREA", "ALT") if instrument == "c311" else ("CBC",),
            )
        )
    return found


def order_message(visit: Visit, number: int, now: datetime) -> bytes:
    """OML^O21 for one tube."""
    stamp = now.strftime("%Y%m%d%H%M%S")
    lines = [
        f"MSH|^~\\&|EMR|DEMO|LABGATEWAY|DEMO|{stamp}||OML^O21^OML_O21|O{number}|P|2.5.1||||||UNICODE UTF-8",
        f"PID|1||{visit.patient}^^^DEMO^MR||{visit.name}||{visit.born}|{visit.sex}",
        "PV1|1|I|NOI^101^A",
    ]
    for n, test in enumerate(visit.tests, 1):
        lines += [
            f"ORC|NW|{visit.specimen}-{n}",
            f"OBR|{n}|{visit.specimen}-{n}||{test}^{test}^L",
            f"SPM|{n}|{visit.specimen}||BLD^Blood^HL70487",
        ]
    return ("\r".join(lines) + "\r").encode()


def records(visit: Visit, now: datetime, chance: random.Random, *, born: str = "", strange: bool = False) -> bytes:
    """What the visit's analyzer measures, as it would write it. born: another birth date. strange: an unknown code."""
    at = now.strftime("%Y%m%d%H%M%S")
    wbc, hgb, plt = f"{chance.uniform(3, 13):.2f}", chance.uniform(8, 17), str(chance.randint(90, 450))
    match visit.instrument:
        case "xn1":
            rows = [("WBC", wbc, "10*3/uL"), ("RBC", f"{chance.uniform(3, 6):.2f}", "10*6/uL"),
                    ("HGB", f"{hgb:.1f}", "g/dL"), ("PLT", plt, "10*3/uL")]  # fmt: skip
            text = [
                "H|\\^&|||    XN-1000^00-24^22723^^^^BD000001||||||||E1394-97",
                f"P|1|||{visit.patient}|||{born}|",
                f"O|1||^^{visit.specimen:>22}^B|^^^^WBC|||||||N||||||||||||||F",
            ]
            text += [f"R|{n}|^^^^{c}^1|{v}|{u}||N||F||||{at}" for n, (c, v, u) in enumerate(rows, 1)]
        case "c311":
            code = "999" if strange else "685"
            rows = [("767", f"{chance.uniform(3.5, 14):.2f}", "mmol/l"), ("690", str(chance.randint(40, 220)), "umol/l"),
                    (code, f"{chance.uniform(8, 90):.1f}", "U/l")]  # fmt: skip
            text = [
                "H|\\^&|||c311^1|||||host|RSUPL^REAL|P|1",
                "P|1",
                f"O|1|{chance.randint(1, 999)}^{visit.specimen:<22}^1^^004|R1|^^^767/|R||||||N||^^||SC|||||||{at}|||F",
            ]
            text += [f"R|{n}|^^^{c}/|{v}|{u}||N||F|||||P1" for n, (c, v, u) in enumerate(rows, 1)]
        case _:
            text = [
                f"MSH|^~\\&|BC-5380|Mindray|||{at}||ORU^R01|{chance.randint(1, 9999)}|P|2.3.1||||||UNICODE",
                "PID|1||^^^^MR",
                f"OBR|1||{visit.specimen}|00001^Automated Count^99MRC|||{at}",
                f"OBX|1|NM|6690-2^WBC^LN||{wbc}|10*9/L|4.00-10.00|N|||F",
                f"OBX|2|NM|718-7^HGB^LN||{hgb * 10:.0f}|g/L|110-160|N|||F",
                f"OBX|3|NM|777-3^PLT^LN||{plt}|10*9/L|100-300|N|||F",
            ]
            return ("\r".join(text) + "\r").encode()
    return ("\r".join([*text, "L|1|N"]) + "\r").encode()


@dataclass(slots=True)
class Tally:
    """What the demo's players saw themselves, to hold against what the gateway says."""

    sent_messages: int = 0
    sent_results: int = 0
    by_instrument: dict[str, int] = field(default_factory=dict[str, int])
    accepted_messages: int = 0
    accepted: dict[str, str] = field(default_factory=dict[str, str])
    repeats: int = 0
    wrong: int = 0


class Analyzer:
    """One analyzer on its line: sends a message and waits for what its protocol promises."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, message: bytes) -> bool:
        """True when the gateway has acknowledged the whole message."""
        if self._open is None:
            self._open = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._open
        async with asyncio.timeout(15):
            if message.startswith(b"MSH"):
                writer.write(mllp.wrap(message))
                return b"MSA|AA" in await reader.readuntil(b"\x1c\r")
            for piece in (b"\x05", *frames(message)):
                writer.write(piece)
                if await reader.readexactly(1) != b"\x06":
                    return False
            writer.write(b"\x04")
            return True

    def close(self) -> None:
        """Hang up."""
        if self._open is not None:
            self._open[1].close()


class Emr:
    """A small EMR: takes ORU^R01, keeps each observation once by OBX-21, answers AA; it may be away for a while."""

    def __init__(self, tally: Tally, expects: Callable[[str], str | None]) -> None:
        self._tally = tally
        self._expects = expects
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def away(self) -> bool:
        """Whether nobody answers."""
        return self._server is None

    async def come(self) -> None:
        """Open the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def leave(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def order(self, port: int, message: bytes) -> bool:
        """Send one order message; True when it was accepted."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(15):
                writer.write(mllp.wrap(message))
                return b"MSA|AA" in await reader.readuntil(b"\x1c\r")
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                message = hl7.read((await reader.readuntil(b"\x1c\r"))[1:-2])
                self._take(message)
                writer.write(
                    mllp.wrap(
                        hl7.acknowledge(
                            message,
                            hl7.AckCode.ACCEPT,
                            now=datetime.now().astimezone(),
                            control_id=f"E{message.control_id}",
                        )
                    )
                )
                await asyncio.sleep(0.05)
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    def _take(self, message: hl7.Message) -> None:
        tally = self._tally
        tally.accepted_messages += 1
        patient, specimen, rows = "", "", list[str]()
        for row in message.rows:
            match row.name:
                case "PID":
                    patient = row.value(3, 1)
                case "OBX":
                    if row.value(21, 1) in tally.accepted:
                        tally.repeats += 1
                    tally.accepted[row.value(21, 1)] = row.value(5)
                    rows.append(row.value(21, 1))
                case "SPM":
                    specimen = row.value(2, 1)
                case _:
                    pass
        if self._expects(specimen) != patient:
            tally.wrong += len(rows)
