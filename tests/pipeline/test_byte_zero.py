"""A byte 0 in what instruments and EMRs say: PostgreSQL keeps none. The same on each store: bytes kept, the text marked, nothing lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from labgateway.cli.decode_command import shipped_drivers
from labgateway.instruments.driver import load
from labgateway.instruments.library import Library
from labgateway.matching.attribute import Policy
from labgateway.orders import OrderRules
from labgateway.orders.fhir import FhirRules
from labgateway.pipeline import take
from labgateway.pipeline.ids import new_id
from labgateway.pipeline.order_book import take_fhir, take_orders
from labgateway.pipeline.order_files import FileRules, take_file
from labgateway.pipeline.rules import DestinationRules, InstrumentRules, Rules
from labgateway.store import journal, results
from labgateway.store.engine import Store
from labgateway.store.observed import Stored
from tests.end_to_end.analyzer import frames_of
from tests.pipeline.mapped_lab import START, mapping_of
from tests.postgresql import schema

ASTM, HL7 = (load(shipped_drivers() / name) for name in ("generic_astm", "mindray_bc"))
MAPPING = mapping_of('[tests]\nWBC = { emr = "WBC" }\n"6690-2" = { emr = "WBC" }\n')
RULES = Rules(
    "v", ZoneInfo("UTC"), Policy(), Library([ASTM, HL7]),
    {"a": InstrumentRules(ASTM, MAPPING), "h": InstrumentRules(HL7, MAPPING)},
    (DestinationRules("emr", lambda report, number: b"x"),),
)  # fmt: skip
OML = (
    "MSH|^~\\&|HIS||||20261122||OML^O21|7|P|2.5.1\rPID|1||P1||A^B||19700101|M\r"
    "ORC|NW|O1\rOBR|1|O1||WBC\rSPM|1|S1\r"
)  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def do(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Callable[..., Any]], Any]]:
    """One transaction of either store."""

    def run(url: str) -> Iterator[Callable[[Callable[..., Any]], Any]]:
        store, loop = Store.open(url), asyncio.new_event_loop()

        async def submit(job: Callable[..., Any]) -> Any:
            return await store.submit(job)

        yield lambda job: loop.run_until_complete(submit(job))
        loop.run_until_complete(store.close())
        loop.close()

    if request.param == "sqlite":
        yield from run(f"sqlite:///{tmp_path}/labgateway.db")
    else:
        with schema() as url:
            yield from run(url)


def astm(value: str, comment: str = "c") -> bytes:
    records = ["H|\\^&|||X", "P|1", "O|1|S1||^^^WBC", f"R|1|^^^WBC|{value}", f"C|1|I|{comment}", "L|1|N"]
    return b"".join(frames_of(records))


def hl7(value: str, *, specimen: str = "S1", code: str = "6690-2", comment: str = "c") -> bytes:
    rows = [
        "MSH|^~\\&|Mindray|BC-5380|||20261122||ORU^R01|1|P|2.3.1||||||UNICODE", "PID|1||P1",
        f"OBR|1||{specimen}|00001^Automated Count^99MRC", f"OBX|1|NM|{code}^WBC^LN||{value}|10*9/L|||||F",
        f"NTE|1||{comment}", "",
    ]  # fmt: skip
    return "\r".join(rows).encode()


def measure(do: Callable[..., Any], raw: bytes) -> Stored:
    name = "h" if raw[:3] == b"MSH" else "a"
    number = do(
        lambda c: journal.append(c, instrument=name, protocol=name, peer="", received_at=START, raw=raw)
    )  # fmt: skip
    assert do(take.process(number, RULES, START)).problem is None
    (one,) = do(lambda c: results.of_transmission(c, number))
    assert do(lambda c: journal.get(c, number)).raw == raw
    return one


def order(do: Callable[..., Any], text: str) -> Any:
    data = text.encode("utf-8", "surrogatepass")
    return do(take_orders(data, peer="", rules=RULES, reading=OrderRules("emr"), now=START, control_id=new_id()))


@pytest.mark.parametrize(
    "raw",
    [
        astm("5\x001"), astm("5&X00&1"), hl7("5\x001"), hl7("5\\X00\\1"), hl7("5\\X310031\\"),
        hl7("5.1", specimen="S\x001"), hl7("5.1", specimen="S\\X00\\1"), hl7("5.1", code="66\\X00\\"),
    ],
)  # fmt: skip
def test_a_result_with_one_is_held(do: Callable[..., Any], raw: bytes) -> None:
    """With its text marked, the reason and the cure; the bytes stand in the journal as they came."""
    order(do, OML)
    one = measure(do, raw)
    assert (one.state.value, one.problem and one.problem.reason.name) == ("held", "BAD_TEXT")
    assert "\N{REPLACEMENT CHARACTER}" in f"{one.specimen}{one.code}{one.value}"
    assert measure(do, hl7("7.7", specimen="S2")).state.value == "waiting", "the line goes on"


@pytest.mark.parametrize(
    "raw", [astm("5.1", "a\x00b"), hl7("5.1", comment="a\\X00\\b"), hl7("5.1").replace(b"\r", b"\r\0")]
)
def test_one_beside_a_result_holds_nothing(do: Callable[..., Any], raw: bytes) -> None:
    """A comment shows the mark; bytes 0 between segments mean nothing."""
    order(do, OML)
    one = measure(do, raw)
    assert (one.state.value, one.value) == ("released", "5.1")
    assert one.result.comments in (("a\N{REPLACEMENT CHARACTER}b",), ("c",))


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("A^B", "A\\X00\\^B", "PID-5"), ("|S1", "|S\\X00\\1", "SPM-2"), ("|WBC", "|W\\X00\\C", "OBR-4"), ("P1", "P\\X00\\1", "PID-3"),
        ("O1", "O\\X00\\1", "ORC-2"), ("|S1", "|S\x001", "MSH-18"), ("A^B", "A\ud800^B", "MSH-18"),
    ],
)  # fmt: skip
def test_an_order_with_one_is_refused(do: Callable[..., Any], old: str, new: str, field: str) -> None:
    """With the name of the field, so that the EMR does not send it for ever; the message is kept, the next one is taken."""
    taken = order(do, OML.replace(old, new))
    assert (taken.code, taken.count) == ("AE", 0)
    assert f"|{field}: ".encode() in taken.answer
    assert order(do, OML).code == "AA"


@pytest.mark.parametrize("bad", ["\x00", "\ud800"])
def test_orders_by_fhir_and_table(do: Callable[..., Any], bad: str) -> None:
    """JSON says a zero or half a character by escapes, a table says a zero as it is."""
    request = {
        "resourceType": "ServiceRequest", "status": "active", "intent": "order", "identifier": [{"value": "O1"}],
        "code": {"coding": [{"code": "WBC"}]}, "specimen": [{"identifier": {"value": f"S{bad}1"}}],
        "subject": {"identifier": {"value": "P1"}},
    }  # fmt: skip
    data = json.dumps(request).encode()
    taken = do(take_fhir(data, peer="", rules=RULES, reading=FhirRules("emr"), now=START))
    assert (taken.code, taken.count) == ("AE", 0)
    assert b"ServiceRequest.specimen[0].identifier.value" in taken.answer
    table = b"order,specimen,test,patient\nO\x001,S1,WBC,P1\nO2,S\x002,WBC,P1\nO3,S3,WBC,P1\n"
    both = FileRules(OrderRules("emr"), FhirRules("emr"))
    said = do(take_file(table, rules=RULES, reading=both, now=START)).said
    assert [(one.place, one.ok) for one in said if not one.ok] == [("line 2", False), ("line 3", False)]
    assert [one.specimen for one in said if one.ok] == ["S3"]
