"""Others' HL7 as judge: clients of python-hl7 and npm play analyzers that ask and send, Wireshark looks at what we put on the wire.

Node packages stand in peers/package.json and are installed once into a folder of the machine's temporary files. What is
not here (node, npm, the registry, tshark) is skipped with its reason.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import hl7 as python_hl7
import pytest
from hl7.client import MLLPClient
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message
from hl7apy.validation import Validator

from labgateway.instruments.encode import Work
from labgateway.instruments.encode_hl7 import announce, reply
from labgateway.instruments.order_form import Deed, Hl7Form
from labgateway.model import Patient
from labgateway.protocols import hl7, mllp
from tests.delivery.emr import Emr
from tests.end_to_end.instrument_hl7 import law_result
from tests.end_to_end.test_hl7_queries import Site, seen
from tests.instruments.test_ack import DRIVERS as HL7_DRIVERS
from tests.instruments.test_encode_hl7 import QUERIES, TAKING, driver_of, form_of, numbers

PEERS = Path(__file__).parent / "peers"
HEADER = "MSH|^~\\&|BC-5380|Mindray|||20261122081500||{}|{}|P|2.3.1||||||UNICODE"
ASKS = [HEADER.format("ORM^O01", n) + f"\rORC|RF||{specimen}||IP" for n, specimen in ((4, "P1001"), (5, "P1009"))]
RESULT = HEADER.format("ORU^R01", 6) + (
    "\rPID|1\rOBR|1||P1001|00001^Automated Count^99MRC|||20261122081400\r"
    "OBX|1|NM|6690-2^WBC^LN||5.21|10*9/L|4.00-10.00|~N|||F"
)
PATIENT = Patient("BN001", pid5="NGUYỄN^VĂN AN", birth_date="19720815", sex="M")


def node_modules() -> Path:
    """The folder with the packages of peers/package.json; skips where they cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    wanted = (PEERS / "package.json").read_bytes()
    folder = Path(tempfile.gettempdir()) / f"labgateway-peers-{os.getuid()}-{hashlib.sha256(wanted).hexdigest()[:12]}"
    if not (folder / "node_modules").is_dir():
        with tempfile.TemporaryDirectory(prefix="labgateway-peers-") as made:
            (Path(made) / "package.json").write_bytes(wanted)
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
            try:
                done = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=120, check=False)
            except subprocess.TimeoutExpired:
                pytest.skip("npm install took longer than two minutes")
            if done.returncode:
                pytest.skip(f"npm install failed: {done.stderr.strip().splitlines()[-1:]}")
            shutil.copytree(made, folder, dirs_exist_ok=True)
    return folder


def node(script: str, port: int, messages: list[str]) -> list[str]:
    done = subprocess.run(
        ["node", str(PEERS / script), str(port)],
        input=json.dumps(messages), cwd=node_modules(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def python_client(port: int, messages: list[str]) -> list[str]:
    with MLLPClient("127.0.0.1", port) as client:
        return [client.send_message(message.encode()).decode().strip("\x0b\x1c\r") for message in messages]


def parsed(answer: str) -> python_hl7.Message:
    read = python_hl7.parse(answer)
    assert isinstance(read, python_hl7.Message)
    return read


@pytest.mark.parametrize("peer", ["python-hl7", "node_hl7_client.mjs", "simple_hl7.cjs"])
async def test_a_peer_asks_is_answered_and_sends(tmp_path: Path, peer: str) -> None:
    """Its query gets the orders, the next one "no order", its result an acknowledgment; the EMR has the result."""
    if peer != "python-hl7":
        node_modules()
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway:
            await site.order("P1001")
            messages = [*ASKS, RESULT]
            port = site.ports["bc1"]
            if peer == "python-hl7":
                answers = await asyncio.to_thread(python_client, port, messages)
            else:
                answers = await asyncio.to_thread(node, peer, port, messages)
            read = [parsed(answer) for answer in answers]
            assert [str(one.segment("MSH")[9]) for one in read] == ["ORR^O02", "ORR^O02", "ACK^R01"]
            assert [str(one.segment("MSA")) for one in read] == ["MSA|AA|4", "MSA|AR|5", "MSA|AA|6"]
            assert str(read[0].segment("OBX")[5]) == "CBC"
            assert str(read[0].segment("PID")[3]).startswith("BN001")
            await seen(emr, 1)
            assert {one.value for one in emr.charts.values()} == {"5.21"}


async def test_a_peer_sends_law_results(tmp_path: Path) -> None:
    """OUL^R22 by python-hl7's client: one ACK^R22^ACK each, and the EMR has what was ordered."""
    async with Emr() as emr:
        site = Site(tmp_path, emr)
        with site.gateway:
            await site.order("P2001")
            message = law_result("P2001", "R1", {"WBC": "5.21", "HGB": "134"})
            (answer,) = await asyncio.to_thread(python_client, site.ports["law1"], [message])
            read = parsed(answer)
            assert str(read.segment("MSH")[9]) == "ACK^R22^ACK"
            assert str(read.segment("MSA")) == "MSA|AA|R1"
            await seen(emr, 2)


def everything_we_send() -> list[bytes]:
    """A message of every kind to every instrument: acknowledgments, replies, orders."""
    now = datetime(2026, 11, 22, 8, 15, tzinfo=UTC)
    out: list[bytes] = []
    work = Work("S1", ("770-8", "6690-2"), PATIENT)
    for driver in TAKING:
        query = QUERIES[driver.name].encode()
        for codes in (work.codes, ()):
            out += [p.data for p in reply(driver, [Work("S1", codes, PATIENT)], query, now, numbers())]
        if form_of(driver).form is Hl7Form.LAW:
            for deed in (Deed.UNASKED, Deed.CANCEL):
                out += [post.data for post in announce(driver, work, deed, now, numbers())]
    result = hl7.read(law_result("S1", "R1", {"A": "1"}).encode())
    for driver in HL7_DRIVERS:
        for code in (hl7.AckCode.ACCEPT, hl7.AckCode.ERROR):
            out.append(hl7.acknowledge(result, code, now=now, control_id="C1", profile=driver.ack))
    return out


@pytest.mark.skipif(
    shutil.which("tshark") is None or shutil.which("text2pcap") is None, reason="tshark is not installed"
)
def test_wireshark_sees_every_block_and_segment(tmp_path: Path) -> None:
    """Its HL7 dissector finds in each of our blocks the type, and as many segments as we wrote, the last one too."""
    sent = everything_we_send()
    dump = ""
    for data in sent:
        block = mllp.wrap(data)
        dump += "".join(f"{at:06x} {block[at : at + 16].hex(' ')}\n" for at in range(0, len(block), 16)) + "\n"
    capture = tmp_path / "sent.pcap"
    subprocess.run(
        ["text2pcap", "-q", "-T", "2575,40000", "-", str(capture)], input=dump, text=True, check=True, timeout=60
    )
    seen_ = subprocess.run(
        ["tshark", "-r", str(capture), "-o", "tcp.desegment_tcp_streams:FALSE", "-d", "tcp.port==2575,hl7",
         "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,", "-e", "hl7.message.type", "-e", "hl7.segment"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout.rstrip("\n").split("\n")  # fmt: skip
    assert len(seen_) == len(sent)
    for line, data in zip(seen_, sent, strict=True):
        kind, _, segments = line.partition("\t")
        rows = [row.decode() for row in data.split(b"\r")[:-1]]
        assert kind == rows[0].split("|")[8].split("^")[0], line
        assert len(segments.split(",")) == len(rows), (line, rows)


@pytest.mark.parametrize("name", ["ihe_law", "biosystems_ba400", "roche_molecular"])
def test_hl7apy_finds_our_orders_valid(name: str, tmp_path: Path) -> None:
    """OML^O33 against the structure of 2.5.1: every required field, nothing that may not be there.

    hl7apy takes the second ORC for a prior order, so it misses the group of one that is none.
    """
    work = Work("S1", ("GLU", "CREA"), PATIENT, specimen_type="SER^Serum")
    now = datetime(2026, 11, 22, 8, 15, tzinfo=UTC)
    _, order = reply(driver_of(name), [work], QUERIES[name].encode(), now, numbers())
    message = parse_message(order.data.decode(), validation_level=VALIDATION_LEVEL.TOLERANT)
    report = tmp_path / "report"
    with suppress(HL7apyException):
        Validator.validate(message, report_file=str(report))
    errors = [line for line in report.read_text().splitlines() if line.startswith("Error")]
    assert [error for error in errors if "ORDER_PRIOR" not in error] == []
