"""A file of orders in one transaction: what each kind becomes, and what is said of each order."""

from __future__ import annotations

import json

from labgateway.orders import OrderRules
from labgateway.orders.fhir import FhirRules
from labgateway.pipeline.order_files import FileRules, FileTaken, messages_in, take_file
from labgateway.store import orders
from tests.orders.test_fhir import alone, bundle
from tests.pipeline.lab import Lab

READING = FileRules(OrderRules("files"), FhirRules("files"))
OML = (
    "MSH|^~\\&|HIS||||20261122||OML^O21|{n}|P|2.5.1\rPID|1||P1\rORC|{control}|O{n}\rOBR|1|O{n}||WBC\rSPM|1|{specimen}\r"
)


def take(lab: Lab, data: bytes | str, who: str = "") -> FileTaken:
    raw = data if isinstance(data, bytes) else data.encode()
    return lab.do(take_file(raw, rules=lab.rules, reading=READING, now=lab.now, who=who))


def message(n: int, specimen: str = "S1", control: str = "NW") -> str:
    return OML.format(n=n, specimen=specimen, control=control)


def test_hl7_messages_with_and_without_their_envelopes() -> None:
    """Each message stands for itself; CR, LF, CRLF, MLLP and batch headers make no difference."""
    both = message(1) + message(2, "")
    for data in (
        both, both.replace("\r", "\n"), both.replace("\r", "\r\n"), "FHS|^~\\&\rBHS|^~\\&\r" + both + "BTS|2\rFTS|1\r",
        f"\x0b{message(1)}\x1c\r\x0b{message(2, '')}\x1c\r",
    ):  # fmt: skip
        lab = Lab()
        taken = take(lab, data)
        assert [(one.place, one.ok) for one in taken.said] == [("message 1, order 1", True), ("message 2", False)]
        assert "SPM-2" in taken.said[1].did
        assert (taken.count, taken.refused, taken.code) == (1, 1, "AE")
    assert messages_in(b"no message") == []


def test_what_waited_goes_out_with_the_file() -> None:
    lab = Lab()
    lab.measure("24110700123", ("WBC", "5.1"))
    taken = take(lab, json.dumps(alone(code={"coding": [{"code": "CBC"}]})))
    assert taken.outcome.destinations == {"emr"}
    assert [s.placer for s in lab.owed()] == ["O-1"]
    assert taken.specimens == ("24110700123",)


def test_fhir_files() -> None:
    lab = Lab()
    assert [one.ok for one in take(lab, json.dumps(bundle())).said] == [True]
    draft = take(lab, json.dumps(bundle(alone(status="draft"))))
    assert [one.place for one in draft.said] == ["Bundle.entry[4].resource.status"]
    assert draft.count == 0
    assert take(lab, "{").said[0].did.startswith("refused: This is no JSON")


def test_a_table_and_its_repeat() -> None:
    lab = Lab()
    table = "order,specimen,test,patient,action\nO1,S1,WBC,P1,\nO2,,WBC,P1,\nO9,,,,CA\n"
    take(lab, table)
    taken = take(lab, table)
    assert [(one.place, one.ok) for one in taken.said] == [("line 3", False), ("line 2", True), ("line 4", False)]
    assert len(lab.orders("S1")) == 1
    assert "no such order" in taken.said[2].did
    assert json.loads(taken.answer)["done"] == 1


def test_what_is_no_file_of_orders() -> None:
    lab = Lab()
    for data in (b"", b"\r\n", b"\x00\x01\x02", b"hello"):
        taken = take(lab, data)
        assert (taken.count, taken.code) == (0, "AE")
        assert taken.said[0].did.startswith("refused: ")


def test_a_person_who_brings_a_file_is_written_down() -> None:
    lab = Lab()
    take(lab, "order,specimen,test,patient\nO1,S1,WBC,P1\n", who="Hoa")
    assert lab.audit() == [("Hoa", "import", "orders 1")]
    take(lab, "order,specimen,test,patient\nO1,S1,WBC,P1\n")
    assert len(lab.audit()) == 1


def test_a_fhir_order_with_another_test_or_tube_leaves_nothing_behind() -> None:
    """One ServiceRequest is one order: what it does not name any more is withdrawn."""
    lab = Lab()
    take(lab, json.dumps(alone(code={"coding": [{"code": "WBC"}]})))
    take(lab, json.dumps(alone(code={"coding": [{"code": "HGB"}]}, specimen=[{"identifier": {"value": "S2"}}])))
    found = [o for s in ("24110700123", "S2") for o in lab.do(lambda c, s=s: orders.for_specimen(c, s))]
    assert [(o.code, o.specimen, o.state.value) for o in found] == [
        ("WBC", "24110700123", "cancelled"),
        ("HGB", "S2", "open"),
    ]
