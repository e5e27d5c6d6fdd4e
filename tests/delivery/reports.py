"""Reports of invented people, made for the tests of what leaves the house."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from labgateway.model import Kind, Observation, Order, Patient, Report, Result, ResultLetter, Settings

SETTINGS = Settings("LABGATEWAY", "THIENHANH", "Asia/Ho_Chi_Minh")
RELEASED = datetime(2026, 11, 22, 1, 16, 2, tzinfo=UTC)
MEASURED = datetime(2026, 11, 22, 1, 15, tzinfo=UTC)
PERSON = Patient("000123", "000123^^^TH^MR~079000000001^^^CCCD^NI", "TRẦN^THỊ B", birth_date="19800229", sex="F")


def order(code: str = "CBC", **changes: Any) -> Order:
    """An order as an EMR would place it; changes replace single fields."""
    known: dict[str, Any] = {
        "source": "emr",
        "specimen": "A123",
        "placer": f"P-{code}",
        "code": code,
        "patient": PERSON,
        "filler": f"F-{code}",
        "service": f"{code}^Xét nghiệm {code}^L",
        "ward": "HSTC^P1^G2",
        "patient_class": "I",
        "specimen_type": "BLD^Máu^HL70487",
        "collected_at": datetime(2026, 11, 22, 0, 50, tzinfo=UTC),
        "id": sum(code.encode()),
    }
    return Order(**(known | changes))


def observation(
    code: str = "WBC", value: str | None = "8.13", *, of: Order | None = None, **changes: Any
) -> Observation:
    """One observation; fields of the analyzer's result by their names, with ``result_`` before those that both have."""
    inner: dict[str, Any] = {"kind": Kind.PATIENT, "specimen": "A123", "code": code, "value": value, "unit": "10*3/uL"}
    for name in ("flags", "range", "operator", "comments", "run", "serial", "attachments", "patient", "patient_name",
                 "birth_date", "sex", "specimen_type"):  # fmt: skip
        if name in changes:
            inner[name] = changes.pop(name)
    known: dict[str, Any] = {
        "id": f"01JD0000000000000000{code}",
        "result": Result(**inner),
        "instrument": "xn1",
        "code": code,
        "value": value,
        "received_at": RELEASED,
        "name": f"Tên {code}",
        "loinc": "6690-2",
        "unit": "10*9/L",
        "order": of,
        "measured_at": MEASURED,
        "model": "Sysmex XN-1000",
    }
    return Observation(**(known | changes))


def report(*observations: Observation, specimen: str = "A123", patient: Patient | None = None) -> Report:
    """A report of one specimen."""
    return Report(specimen, observations, RELEASED, patient)


def blood_count(letter: ResultLetter = ResultLetter.FINAL) -> Report:
    """36 results of one panel, as a haematology analyzer gives them."""
    panel = order()
    return report(
        *(
            observation(f"T{n:02}", f"{n}.{n:02}", of=panel, letter=letter, range="1.0-90.0", flags=("N",))
            for n in range(36)
        ),
        patient=PERSON,
    )
