"""What every form of a report must agree on: whose it is, how final each value is, whether its range still fits."""

from __future__ import annotations

import re
from collections.abc import Iterable

from labgateway.mapping import decimals, units
from labgateway.model import Observation, Patient, Report, ResultLetter
from labgateway.protocols.hl7 import escape

WITHOUT_VALUE = (ResultLetter.NO_RESULT, ResultLetter.DELETED, ResultLetter.WRONG)

TS = re.compile(
    r"[0-9]{4}(?:(?:0[1-9]|1[0-2])(?:(?:0[1-9]|[12][0-9]|3[01])(?:(?:[01][0-9]|2[0-3])"
    r"(?:[0-5][0-9](?:[0-5][0-9](?:\.[0-9]{1,4})?)?)?)?)?)?(?:[+-](?:0[0-9]|1[0-4])[0-5][0-9])?"
)
"""A moment as HL7 v2.5.1 writes it (TS)."""


def one_patient(report: Report) -> None:
    """The last fence before the wire: one message, one patient.

    Raises ValueError for a report without observations, or whose observations name different patients: such a
    report must not exist.
    """
    if not report.observations:
        raise ValueError("a report without observations")
    people = [report.patient] if report.patient else []
    people += [o.order.patient for o in report.observations if o.order]
    ids = {person.id for person in people if person.id}
    if not people:
        ids = {o.result.patient for o in report.observations if o.result.patient}
    if len(ids) > 1:
        raise ValueError("a report with observations of different patients")


def patient_of(report: Report) -> Patient:
    """Whose it is: the order's patient, else who the analyzer says it is. pid3 and pid5 are HL7 field text."""
    ordered = report.patient or next((o.order.patient for o in report.observations if o.order), None)
    return ordered or _own_words(report.observations)


def _own_words(observations: Iterable[Observation]) -> Patient:
    """Who the analyzer says it is: for sites whose EMR sends no orders."""
    results = [o.result for o in observations]
    name = next((r.patient_name for r in results if r.patient_name), "")
    birth = next((r.birth_date for r in results if r.birth_date and TS.fullmatch(r.birth_date)), None)
    return Patient(
        id=next((r.patient for r in results if r.patient), None),
        # family^given^middle^suffix^prefix; a sixth part is no part of a name and stays text
        pid5="^".join(escape(part) for part in name.split("^", 4)),
        birth_date=birth,
        sex=next((r.sex for r in results if r.sex), None),
    )


def letter_of(o: Observation, status: str) -> ResultLetter:
    """OBX-11: no value is X, unless it takes back what was said before. status "P": all that has a value is preliminary."""
    letter = o.letter
    if not o.value:
        return letter if letter in WITHOUT_VALUE else ResultLetter.NO_RESULT
    if status == "P" and letter not in WITHOUT_VALUE:
        return ResultLetter.PRELIMINARY
    return letter


def value_of(o: Observation, letter: ResultLetter) -> str | None:
    """The value that leaves under this letter: none with X."""
    return None if letter is ResultLetter.NO_RESULT else o.value or None


def range_is_of_old_unit(o: Observation) -> bool:
    """The range was not converted with the value: 12-16 g/dL must not stand beside 134 g/L, nor beside 0 g/L."""
    if o.original_unit is None or o.original_unit == o.unit or o.original_value is None:
        return False
    return not units.same(o.original_unit, o.unit) or not _is_rounded(o.original_value, o.value or "")


def _is_rounded(measured: str, value: str) -> bool:
    """Whether the value is what was measured, at most rounded: no factor lies between them."""
    if measured == value:
        return True
    was, now = decimals.read(measured), decimals.read(value)
    if was is None or now is None:
        return False
    places = -int(now.number.as_tuple().exponent)
    return str(decimals.to_places(was, places)) == value


def range_of(o: Observation) -> str | None:
    """The range that may stand beside the value: the lab's where it declares some, else the analyzer's."""
    if o.added is not None and o.added.range is not None:
        return o.added.range or None
    return None if range_is_of_old_unit(o) else o.result.range


def flags_of(o: Observation) -> tuple[str, ...]:
    """Abnormal flags: the analyzer's, unless the lab declares its own."""
    return o.result.flags if o.added is None or o.added.flags is None else o.added.flags
