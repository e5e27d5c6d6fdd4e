"""LAB-29 (OUL^R22) and the other result messages of HL7 analyzers: nothing is lost, nothing is anybody else's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.cli.decode_command import shipped_drivers
from labgateway.instruments.decode import decode
from labgateway.instruments.driver import load
from labgateway.model import Kind, Result, Status
from labgateway.protocols import hl7

LAW = load(shipped_drivers() / "ihe_law")
MSH = "MSH|^~\\&|AN1|LAB|LIS|BV|20261122083000+0700||{}|R1|P|2.5.1|||NE|AL||UNICODE UTF-8|||LAB-29^IHE"
OBX = "OBX|{}|NM|{}^{}^L^^^IHELAW|{}|{}|{}||N|||{}|||||OP||AN1^M~7^M|20261122082900||||||||||RSLT"


def obx(code: str, value: str, *, run: str = "1", unit: str = "g/L", status: str = "F", n: int = 1) -> str:
    return OBX.format(n, code, code, run, value, unit, status)


def results(*rows: str, kind: str = "OUL^R22^OUL_R22", driver: str = "ihe_law") -> tuple[Result, ...]:
    message = "\r".join([MSH.format(kind), *rows, ""]).encode()
    decoded = decode(LAW if driver == "ihe_law" else load(shipped_drivers() / driver), message)
    assert decoded.problem is None
    return decoded.results


def test_a_whole_lab_29() -> None:
    """SAC, INV behind the container and behind each result, TCD, runs, supplements: the results alone, each with its run."""
    found = results(
        "PID|1||BN1^^^BV^MR||NGUYỄN^VĂN AN||19720815|M",
        "SPM|1|S1&BARCODE||SER^Serum^HL70487|||||||P^^HL70369",
        "SAC|||S1^BARCODE|||||||50006|1",
        "INV|20391^PCCC1^L|OK^^HL70383|CO^^HL70384",
        'OBR|1|""||GLU^GLU^L',
        "ORC|SC||||CM",
        "TQ1|||||||||R^^HL70485",
        obx("GLU", "5.21", run="1"),
        "TCD|GLU^^L|^1^:^10",
        "INV|2034001|OK^^HL70383~CURRENT^^L|R1|51193|1|12||||||20260531||||861168",
        "INV|2034001|OK^^HL70383~CURRENT^^L|R3|51193|1|12||||||20260531||||861169",
        "NTE|1|L|haemolytic",
        obx("GLU", "5.33", run="2"),
        "OBX|3|DTM|PT^Pipetting^L^S_OTHER^Other Supplemental^IHELAW|1|20260701191426|||N|||F",
        "OBX|4|ED|CURVE^Curve^L|1|^application^octet-stream^Base64^AAAA|||N|||F",
        "OBR|2|AWOS2||CREA^CREA^L",
        "ORC|SC||||CM",
        obx("CREA", "88", unit="umol/L", status="P"),
    )
    assert [(r.code, r.value, r.unit, r.run, r.specimen, r.kind) for r in found] == [
        ("GLU", "5.21", "g/L", "1", "S1", Kind.PATIENT),
        ("GLU", "5.33", "g/L", "2", "S1", Kind.PATIENT),
        ("CREA", "88", "umol/L", "1", "S1", Kind.PATIENT),
    ]
    assert found[0].dilution == "^1^:^10"
    assert found[0].comments == ("haemolytic",)
    assert found[1].comments == ()
    assert found[1].dilution in ("", None)
    assert [one.status for one in found] == [Status.FINAL, Status.FINAL, Status.PRELIMINARY]
    assert [attachment.code for attachment in found[1].attachments] == ["CURVE"]
    assert {one.patient for one in found} == {"BN1"}


def test_the_specimen_stands_in_the_container_alone() -> None:
    """Alinity m has no PID and no SPM-2; each SAC or SPM begins a specimen of its own."""
    found = results(
        "SPM|1||||||||||P", "SAC|||S1", "OBR|1", obx("A", "1"),
        "SPM|2||||||||||P", "SAC|||S2", "OBR|1", obx("A", "2"),
        "SPM|3|S3|||||||||P", "OBR|1", obx("A", "3"),
        "SPM|4||||||||||Q", "SAC|||QC1", "OBR|1", obx("A", "4"),
        "SPM|5||||||||||P", "OBR|1", obx("A", "5"),
    )  # fmt: skip
    assert [(r.specimen, r.value, r.kind) for r in found] == [
        ("S1", "1", Kind.PATIENT), ("S2", "2", Kind.PATIENT), ("S3", "3", Kind.PATIENT), ("QC1", "4", Kind.CONTROL),
        (None, "5", Kind.PATIENT),
    ]  # fmt: skip
    assert found[4].problem is not None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ABC"), st.lists(st.tuples(st.sampled_from(("X", "Y")), st.integers(0, 99)), max_size=4)
        ),
        max_size=6,
    )
)
def test_every_result_is_its_own_specimens(specimens: list[tuple[str, list[tuple[str, int]]]]) -> None:
    """However specimens, orders, runs and reagents follow each other: every OBX once, under the SPM before it."""
    rows: list[str] = []
    wanted: list[tuple[str, str, str, str]] = []
    for n, (name, found) in enumerate(specimens):
        rows += [f"SPM|{n + 1}|{name}{n}|||||||||P", *([f"SAC|||{name}{n}"] if n % 2 else [])]
        for run, (code, value) in enumerate(found, 1):
            rows += [f"OBR|{run}|||{code}", "ORC|SC", obx(code, str(value), run=str(run)), "INV|1|OK", "INV|2|OK"]
            wanted.append((f"{name}{n}", code, str(value), str(run)))
    assert [(r.specimen, r.code, r.value, r.run) for r in results(*rows)] == wanted


@pytest.mark.parametrize(
    ("kind", "driver"),
    [("ORU^R01^ORU_R01", "generic_oru"), ("ORU^R32^ORU_R30", "generic_oru"), ("ORU^R30^ORU_R30", "generic_oru"),
     ("OUL^R22^OUL_R22", "ihe_law"), ("OUL^R21^OUL_R21", "ihe_law")],
)  # fmt: skip
def test_units_and_structures_as_they_come(kind: str, driver: str) -> None:
    """A bare ^ in a unit, unknown segments, Z segments: the bytes are kept, and the result is read."""
    rows = ["SPM|1|S1|||||||||P", "OBR|1||S1|A", "ZXX|1|^^", obx("A", "5.1", unit="10^9/L"), "ZZZ", "XYZ|\\F\\|"]
    if kind.startswith("ORU"):
        rows = [*rows[1:], rows[0]]
    message = "\r".join([MSH.format(kind), *rows, ""]).encode()
    assert hl7.read(message).data == message
    (found,) = results(*rows, kind=kind, driver=driver)
    assert (found.specimen, found.code, found.value) == ("S1", "A", "5.1")


@pytest.mark.parametrize(
    ("containers", "specimen"),
    [
        (["SAC|||S1", "SAC|||S2"], None),
        (["SAC|||S1", "SAC|||S2", "SAC|||S3"], None),
        (["SAC|||S1|S2", "SAC|||S2|S1"], None),
        (["SAC|||S1", "SAC|||S2|S1"], "S2"),  # taken from the other one
        (["SAC|||S2|S1", "SAC|||S1"], "S2"),
        (["SAC|||S1|X", "SAC|||S2|X"], None),
        (["SAC|||S1|||||||R1|1", "SAC|||S1|||||||R1|2"], "S1"),
    ],
)
def test_two_containers_before_one_order(containers: list[str], specimen: str | None) -> None:
    """Two ids for one result: held, unless one says that it was taken from the other; the next specimen is its own again."""
    said = results(
        "SPM|1||||||||||P", *containers, "OBR|1", obx("A", "1"), "OBR|2", obx("B", "2"),
        "SPM|2||||||||||P", "SAC|||S9", "OBR|1", obx("A", "3"),
    )  # fmt: skip
    assert [one.specimen for one in said] == [specimen, specimen, "S9"]
    assert [one.problem and one.problem.reason.name for one in said[:2]] == [None if specimen else "NO_SPECIMEN"] * 2
