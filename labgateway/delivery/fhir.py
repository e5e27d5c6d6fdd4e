"""A report as a FHIR R4 transaction. Pure: the same report gives the same bytes.

    Bundle (transaction)
      [Patient]              made if it is not there, where the site wants it; else a reference to the EMR's own
      Specimen               made if it is not there
      { Observation }        one each; the first version made if it is not there, later ones in its place
      { DiagnosticReport }   one an order, made if it is not there; names the observations of this message

Every resource of ours bears an identifier of ours (``system``), and the transaction finds it by that, so that the same
bundle may come any number of times and changes nothing more. All versions of one value are one Observation, whose
identifiers are the ids of all versions: a first version that comes late, when a correction has been taken already,
finds it there and changes nothing.

Choices where FHIR leaves room:

- status: P preliminary, F final, C corrected, X cancelled, D and W entered-in-error (without value).
- A value that JSON writes just so is a valueQuantity with the digits as they stand, ``<5`` one with comparator; all
  else is valueString. ``+1``, ``.5`` and more than 18 digits are text, never changed.
- A unit is claimed as UCUM only when UCUM could have written it; an interpretation is coded only when its letter is one
  of HL7's; both texts are kept.
- A range becomes low and high only when it is two plain numbers; its text is kept; a range of the old unit moves into the
  note that says what was measured.
- The identifier of a Specimen holds the patient too: barcodes come again, and a tube must never be found as another
  patient's. Its accessionIdentifier is the specimen id alone.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from labgateway.delivery.facts import (
    WITHOUT_VALUE,
    flags_of,
    letter_of,
    one_patient,
    patient_of,
    range_is_of_old_unit,
    range_of,
    value_of,
)
from labgateway.delivery.flat import local
from labgateway.delivery.json_text import Value, Written, dumps_lean, number, written
from labgateway.model import Observation, Order, Patient, Report, ResultLetter, Settings
from labgateway.protocols.rows import HL7, unescape

LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
_INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_SECTION = "http://terminology.hl7.org/CodeSystem/v2-0074"
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_SPECIMEN = "http://terminology.hl7.org/CodeSystem/v2-0487"

_STATUS = {
    ResultLetter.PRELIMINARY: "preliminary",
    ResultLetter.FINAL: "final",
    ResultLetter.CORRECTED: "corrected",
    ResultLetter.NO_RESULT: "cancelled",
    ResultLetter.DELETED: "entered-in-error",
    ResultLetter.WRONG: "entered-in-error",
}
_FLAGS = frozenset({"N", "L", "H", "LL", "HH", "A", "AA"})  # others mean too many things to too many makers
_GENDER = {"M": "male", "F": "female", "O": "other", "A": "other", "U": "unknown"}  # HL7 table 0001
_COMPARED = re.compile(r"(<=|>=|<|>)\s*(.+)", re.DOTALL)
_RANGE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*-\s*([0-9]+(?:\.[0-9]+)?)\s*")
_UCUM = re.compile(r"[!-\]_-~]+")
_LABORATORY = written([{"coding": [{"system": _CATEGORY, "code": "laboratory"}]}])
_OURS = uuid.UUID("6f1c9e0e-5d0c-4d8a-9d53-0e3c8a1f7b62")  # names of ours as UUIDs, for references inside a bundle

Entry = dict[str, Value]
Resource = dict[str, Value]


@dataclass(frozen=True, slots=True)
class FhirOptions:
    """How one server is written to. system: base of the identifiers of ours; its parts are SYSTEM/observation and so on.

    patient_system, order_system, code_system: of the EMR's patient numbers, placer numbers and test codes, "" none.
    references: the EMR's own Patient and ServiceRequest are named by their identifier, for the EMR to resolve, or
    looked up by the server (conditional reference: the transaction fails when there is not exactly one).
    create_patient: made if it is not there. status: ``as_sent``, or ``P``.
    """

    system: str
    patient_system: str = ""
    order_system: str = ""
    code_system: str = ""
    references: Literal["identifier", "conditional"] = "identifier"
    create_patient: bool = False
    status: str = "as_sent"


@dataclass(frozen=True, slots=True)
class _Sheet:
    """What every resource of one bundle needs. subject, specimen: as they stand in the resources."""

    report: Report
    options: FhirOptions
    zone: ZoneInfo
    control_id: str
    subject: Written
    specimen: Written
    released: str | None


def render(report: Report, settings: Settings, control_id: str, options: FhirOptions) -> bytes:
    """The bundle, UTF-8. Raises ValueError as ``facts.one_patient``."""
    one_patient(report)
    zone = ZoneInfo(settings.timezone)
    person = patient_of(report)
    entries: list[Entry] = []
    subject = _subject(person, options)
    if subject is not None and options.create_patient:
        made = _made("Patient", search(options.patient_system, _id_of(person)), _patient(person, options))
        entries.append(made)
        subject = {"reference": made["fullUrl"]}
    name = f"{report.specimen}.{_id_of(person)}"
    tube = _made(
        "Specimen", search(f"{options.system}/specimen", name), _specimen(report, name, subject, options, zone)
    )
    entries.append(tube)
    specimen = written({"reference": tube["fullUrl"]})
    released = local(report.released_at, zone)
    sheet = _Sheet(report, options, zone, control_id, written(subject), specimen, released)
    groups: dict[object, list[Observation]] = {}
    for o in _last_versions(report.observations):
        order = o.order
        key = (o.instrument, o.model) if order is None else (order.id, order.source, order.placer, order.code)
        groups.setdefault(key, []).append(o)
    for nth, group in enumerate(groups.values(), 1):
        entries.extend(_observed(o, sheet) for o in group)
        entries.append(_reported(nth, group, sheet))
    return dumps_lean(
        {
            "resourceType": "Bundle",
            "identifier": {"system": f"{options.system}/message", "value": control_id},
            "type": "transaction",
            "timestamp": local(report.released_at, zone),
            "entry": list(entries),
        }
    )


def _last_versions(observations: Iterable[Observation]) -> list[Observation]:
    """A transaction may name a resource once: of several versions of one value the last says it all."""
    return list({_first(o): o for o in observations}.values())


def _first(o: Observation) -> str:
    return o.earlier[0] if o.earlier else o.id


# Entries


def _made(kind: str, search: str, resource: Resource) -> Entry:
    """Made if the search finds none."""
    return {
        "fullUrl": _full_url(kind, search),
        "resource": {"resourceType": kind, **resource},
        "request": {"method": "POST", "url": kind, "ifNoneExist": search},
    }


def _search_of(o: Observation, sheet: _Sheet) -> str:
    return search(f"{sheet.options.system}/observation", _first(o))


def _observed(o: Observation, sheet: _Sheet) -> Entry:
    search = _search_of(o, sheet)
    entry = _made("Observation", search, _observation(o, sheet))
    if o.earlier:
        entry["request"] = {"method": "PUT", "url": f"Observation?{search}"}
    return entry


def _reported(nth: int, group: list[Observation], sheet: _Sheet) -> Entry:
    system, value = f"{sheet.options.system}/report", f"{sheet.control_id}.{nth}"
    order = group[0].order
    return _made(
        "DiagnosticReport",
        search(system, value),
        {
            "identifier": [_identifier(system, value)],
            "basedOn": _based_on(order, sheet.options),
            "status": _report_status([letter_of(o, sheet.options.status) for o in group]),
            "category": [{"coding": [{"system": _SECTION, "code": "LAB"}]}],
            "code": _service(order, group[0], sheet.options),
            "subject": sheet.subject,
            "effectiveDateTime": local(order.collected_at, sheet.zone) if order else None,
            "issued": sheet.released,
            "specimen": [sheet.specimen],
            "result": [{"reference": _full_url("Observation", _search_of(o, sheet))} for o in group],
        },
    )


def _report_status(letters: list[ResultLetter]) -> str:
    said = set(letters)
    if ResultLetter.PRELIMINARY in said:
        return "preliminary"
    if said == {ResultLetter.NO_RESULT}:
        return "cancelled"
    if said & {ResultLetter.CORRECTED, ResultLetter.DELETED, ResultLetter.WRONG}:
        return "corrected"
    return "final"


# Resources


def _observation(o: Observation, sheet: _Sheet) -> Resource:
    options = sheet.options
    letter = letter_of(o, options.status)
    value = None if letter in WITHOUT_VALUE else value_of(o, letter)
    system = f"{options.system}/observation"
    return {
        "identifier": [_identifier(system, number_) for number_ in (*o.earlier, o.id)],
        "basedOn": _based_on(o.order, options),
        "status": _STATUS[letter],
        "category": _LABORATORY,
        "code": _code(o.code, o.name, o.loinc, o.moh, options),
        "subject": sheet.subject,
        "effectiveDateTime": local(o.measured_at, sheet.zone),
        "issued": sheet.released,
        "performer": [{"display": o.result.operator}] if o.result.operator else None,
        **_value(value, o.unit),
        "interpretation": [_interpretation(flag) for flag in flags_of(o) if flag.strip()] if value else None,
        "note": [{"text": text} for text in _notes(o, letter)],
        "specimen": sheet.specimen,
        "device": _device(o.instrument, o.model, o.result.serial),
        "referenceRange": _range(o) if value else None,
    }


# A laboratory has a few thousand of each of these; the rest of an Observation differs every time.


@lru_cache(maxsize=4096)
def _code(code: str, name: str, loinc: str, moh: str, options: FhirOptions) -> Written:
    codes: list[Value] = []
    if loinc:
        codes.append({"system": LOINC, "code": loinc})
    codes.append({"system": options.code_system or f"{options.system}/test", "code": code, "display": name})
    if moh:
        codes.append({"system": f"{options.system}/moh", "code": moh})
    return written({"coding": codes, "text": name or code})


@lru_cache(maxsize=1024)
def _device(instrument: str, model: str, serial: str | None) -> Written:
    return written({"display": " ".join(text for text in (instrument, model, serial) if text)})


def _value(value: str | None, unit: str) -> Resource:
    if value is None:
        return {"dataAbsentReason": {"coding": [{"system": _ABSENT, "code": "unknown"}]}}
    compared = _COMPARED.fullmatch(value)
    found = number(compared[2] if compared else value)
    if found is None:
        return {"valueString": f"{value} {unit}" if unit and unit not in value else value}
    return {"valueQuantity": _quantity(found, unit, compared[1] if compared else None)}


def _quantity(found: Value, unit: str, comparator: str | None = None) -> Resource:
    is_ucum = bool(unit) and bool(_UCUM.fullmatch(unit))
    return {
        "value": found,
        "comparator": comparator,
        "unit": unit,
        "system": UCUM if is_ucum else None,
        "code": unit if is_ucum else None,
    }


def _interpretation(flag: str) -> Resource:
    coding: list[Value] = [{"system": _INTERPRETATION, "code": flag}] if flag in _FLAGS else []
    return {"coding": coding, "text": flag}


def _range(o: Observation) -> Value:
    text = range_of(o)
    if not text:
        return None
    found = _RANGE.fullmatch(text)
    low, high = (number(found[1]), number(found[2])) if found else (None, None)
    both: Resource = (
        {"low": _quantity(low, o.unit), "high": _quantity(high, o.unit)} if low is not None and high is not None else {}
    )
    return [{**both, "text": text}]


def _notes(o: Observation, letter: ResultLetter) -> list[str]:
    texts = list(o.result.comments)
    if letter not in WITHOUT_VALUE and (o.original_value is not None or o.original_unit is not None):
        value = o.value if o.original_value is None else o.original_value
        unit = o.unit if o.original_unit is None else o.original_unit
        measured = f"as measured: {value or ''} {unit}".rstrip()
        if range_is_of_old_unit(o) and o.result.range:
            measured += f" (range {o.result.range})"
        texts.append(measured)
    if o.added is not None and letter not in WITHOUT_VALUE:
        texts += o.added.notes
    return texts


def _specimen(report: Report, name: str, subject: Resource | None, options: FhirOptions, zone: ZoneInfo) -> Resource:
    order = next((o.order for o in report.observations if o.order), None)
    said = next((o.result.specimen_type for o in report.observations if o.result.specimen_type), "")
    typed = order.specimen_type.replace("&", "^") if order else ""
    code, text = _coded(typed)
    system = _SPECIMEN if "^HL70487" in typed else None
    coding: list[Value] = [{"system": system, "code": code, "display": text}] if code else []
    collected = local(order.collected_at, zone) if order else None
    return {
        "identifier": [_identifier(f"{options.system}/specimen", name)],
        "accessionIdentifier": {"value": report.specimen},
        "type": {"coding": coding, "text": text or code or said},
        "subject": subject,
        "collection": {"collectedDateTime": collected} if collected else None,
    }


def _patient(person: Patient, options: FhirOptions) -> Resource:
    family, _, given = person.pid5.split("~", 1)[0].partition("^")
    names: list[Value] = [text for part in given.split("^")[:2] if (text := _plain(part))]
    birth = person.birth_date or ""
    return {
        "identifier": [_identifier(options.patient_system, _id_of(person))],
        "name": [{"family": _plain(family), "given": names}],
        "gender": _GENDER.get((person.sex or "").upper()),
        "birthDate": f"{birth[:4]}-{birth[4:6]}-{birth[6:8]}" if re.fullmatch("[0-9]{8}", birth) else None,
    }


# References and identifiers


def _subject(person: Patient, options: FhirOptions) -> Resource | None:
    known = _id_of(person)
    if not known:
        return None
    if options.references == "conditional" and options.patient_system:
        return {"reference": f"Patient?{search(options.patient_system, known)}"}
    return {"type": "Patient", "identifier": _identifier(options.patient_system, known)}


def _based_on(order: Order | None, options: FhirOptions) -> Value:
    placer = _plain(order.placer.split("^", 1)[0]) if order else ""
    if not placer:
        return None
    if options.references == "conditional" and options.order_system:
        return [{"reference": f"ServiceRequest?{search(options.order_system, placer)}"}]
    return [{"type": "ServiceRequest", "identifier": _identifier(options.order_system, placer)}]


def _service(order: Order | None, o: Observation, options: FhirOptions) -> Resource:
    """What was ordered; without an order, what measured."""
    if order is None:
        return {"text": " ".join(text for text in (o.instrument, o.model) if text)}
    code, text = _coded(order.service or order.code)
    system = options.code_system or f"{options.system}/test"
    return {"coding": [{"system": system, "code": code or order.code, "display": text}], "text": text or order.code}


def _id_of(person: Patient) -> str:
    return person.id or _plain(person.pid3.split("~", 1)[0].split("^", 1)[0])


def _identifier(system: str, value: str) -> Resource:
    return {"system": system, "value": value}


def search(system: str, value: str) -> str:
    """``identifier=SYSTEM|VALUE`` as a token search writes it (R4 3.1.1.4.10), percent-encoded."""
    escaped = re.sub(r"([\\$,|])", r"\\\1", value)
    return f"identifier={_quoted(system)}%7C{escaped if escaped.isalnum() and escaped.isascii() else quote(escaped, safe='')}"


@lru_cache(maxsize=64)
def _quoted(system: str) -> str:
    return quote(system, safe=":/.-_~")


def _full_url(kind: str, name: str) -> str:
    return f"urn:uuid:{uuid.uuid5(_OURS, f'{kind} {name}')}"


def _coded(field: str) -> tuple[str, str]:
    """Code and text of an HL7 field of type CE."""
    code, _, rest = field.split("~", 1)[0].partition("^")
    return _plain(code), _plain(rest.split("^", 1)[0])


def _plain(part: str) -> str:
    return unescape(part, HL7, is_hl7=True).strip()
