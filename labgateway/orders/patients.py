"""Patients of a message, and what ADT says about them: merged (A40), changed (A08)."""

from __future__ import annotations

from collections.abc import Iterator

from labgateway.model import Patient
from labgateway.orders.fields import NULL, Place, field, place, text
from labgateway.orders.words import OrderRules, PatientMerge
from labgateway.protocols.hl7 import ErrorCode, Fault
from labgateway.protocols.rows import Row

_MERGED_FIELD = {3: 1, 2: 4, 4: 2, 18: 3}
"""Where MRG keeps the earlier value of a PID field (HL7 2.5.1, 3.4.9)."""


def patient(pid: Row | None, pv1: Row | None, rules: OrderRules) -> Patient:
    """Whom a message is about; everything is empty where it has no PID."""
    where = place(rules.patient_id)
    return Patient(
        id=_identifier(pv1 if where[0] == "PV1" else pid, where, rules.patient_id_type),
        pid3=field(pid, 3),
        pid5=field(pid, 5),
        birth_date=text(pid, 7, 1) or None,
        sex=text(pid, 8, 1) or None,
    )


def merges(rows: tuple[Row, ...], rules: OrderRules, *, into_itself: bool) -> tuple[list[PatientMerge], list[Fault]]:
    """Each PID with the MRG behind it (A40; HL7 2.5.1, 3.3.40), or merged into itself (A08); and what is wrong."""
    found: list[PatientMerge] = []
    faults: list[Fault] = []
    own = place(rules.patient_id)
    earlier: Place = ("MRG", _MERGED_FIELD.get(own[1], 1), own[2], own[3])
    for pid, pv1, mrg in _persons(rows):
        survivor = patient(pid, pv1, rules)
        merged = survivor.id if into_itself else _identifier(mrg, earlier, rules.patient_id_type)
        if survivor.id is None:
            faults.append(_missing("No patient identifier.", own, pid.number))
        elif merged is None:
            faults.append(_missing("No prior patient identifier.", earlier, mrg.number if mrg else pid.number))
        else:
            found.append(PatientMerge(survivor, (merged,), field(pv1, 3)))
    if not found and not faults:
        faults.append(Fault(ErrorCode.SEGMENT_SEQUENCE, "No PID: no patient is named.", "PID"))
    return found, faults


def _persons(rows: tuple[Row, ...]) -> Iterator[tuple[Row, Row | None, Row | None]]:
    """PID, PV1 and MRG of each person in turn."""
    pid: Row | None = None
    pv1: Row | None = None
    mrg: Row | None = None
    for row in rows:
        match row.name:
            case "PID":
                if pid is not None:
                    yield pid, pv1, mrg
                pid, pv1, mrg = row, None, None
            case "PV1":
                pv1 = pv1 or row
            case "MRG":
                mrg = mrg or row
            case _:
                pass
    if pid is not None:
        yield pid, pv1, mrg


def _missing(what: str, where: Place, sequence: int) -> Fault:
    segment, number, component, _ = where
    return Fault(ErrorCode.REQUIRED_FIELD_MISSING, what, segment, sequence, number, component or 0)


def _identifier(row: Row | None, where: Place, wanted: str) -> str | None:
    """The identifier in the repetition of this type (CX.5), or in the first when no type is wanted."""
    if row is None:
        return None
    _, number, component, subcomponent = where
    for repetition in range(len(row.repetitions(number))):
        if not wanted or row.value(number, 5, repetition=repetition) == wanted:
            found = row.value(number, component or 1, subcomponent, repetition=repetition).strip()
            return found if found and found != NULL else None
    return None
