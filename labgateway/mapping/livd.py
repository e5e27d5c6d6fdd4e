"""LOINC codes that a maker publishes for its tests, as proposals: LIVD as spreadsheets of IICC (v1, v2) and as a FHIR bundle. Pure.

    LOINC mapping | Manufacturer | Model | Vendor Analyte Code | Vendor Specimen Description | … | LOINC Code | Property
    one code may have several LOINCs: by specimen, by property (mass or moles), by kind of result

IICC says that its descriptions are for people and not for programs; they are shown, never understood. A code is proposed, checked, and
left to a person; nothing here writes a file.

Sources: IICC LIVD v2 (2020-11, draft), sheet `LOINC mapping`, 22 columns; v1 (2017) says `Vendor Transmission Code`; HL7 FHIR LIVD
1.0.0 STU1: ConceptMap.group.element with targets and dependsOn. In one published example element.code names an
ObservationDefinition instead of the vendor's code; both are taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from labgateway.errors import Complaint, ComplaintsError
from labgateway.mapping import catalogue, units
from labgateway.mapping.lint import check_digit_fits

MAX_BYTES = 32 << 20
_CODE = ("vendor analyte code", "vendor transmission code", "vendor analyte identifier")
_COLUMNS = {
    "code": _CODE,
    "name": ("vendor analyte name",),
    "manufacturer": ("manufacturer",),
    "model": ("model",),
    "specimen": ("vendor specimen description",),
    "result": ("vendor result description",),
    "comment": ("vendor comment",),
    "loinc": ("loinc code", "test performed loinc code"),
    "long_name": ("loinc long name", "test performed loinc long name"),
    "property": ("property",),
}
_HEADER_WITHIN = 20
_PROPERTIES = {
    ("g", "L"): "MCnc", ("mol", "L"): "SCnc", ("eq", "L"): "SCnc", ("IU", "L"): "ACnc CCnc", ("U", "L"): "CCnc ACnc", ("", "L"): "NCnc",
    ("L", ""): "EntVol", ("g", ""): "EntMass", ("s", ""): "Time", ("copies", "L"): "NCnc", ("osm", "L"): "Osmol", ("mHg", ""): "PPres",
}  # fmt: skip
"""What is counted above and below the line to the LOINC properties that fit it (LOINC Users' Guide, table of properties)."""
_NUMERIC = frozenset(" ".join(_PROPERTIES.values()).split()) | {
    "NFr",
    "MFr",
    "VFr",
    "SFr",
    "RelTime",
    "Ratio",
    "MRto",
    "SRto",
    "LnCnc",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a publication. specimen, result, comment: for people. row: where it stands, for complaints."""

    code: str
    loinc: str
    name: str = ""
    manufacturer: str = ""
    model: str = ""
    specimen: str = ""
    result: str = ""
    comment: str = ""
    long_name: str = ""
    property: str = ""
    row: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """What is proposed for one code of the instrument. wrong: why a person should not take it as it is, "" when nothing is seen."""

    code: str
    entry: Entry
    unit: str
    wrong: str = ""
    fits: bool = False
    """Whether the property is known to be the unit's."""


def of_grid(grid: Iterable[Sequence[str]], name: str) -> list[Entry]:
    """The entries of a sheet. Raises ComplaintsError when it has no header with a vendor's code and a LOINC code."""
    lines = list(grid)
    headers = ((number, _columns(line)) for number, line in enumerate(lines[:_HEADER_WITHIN]))
    header = next(((number, where) for number, where in headers if where["code"] >= 0 and where["loinc"] >= 0), None)
    if header is None:
        what = "has no row with the headers `Vendor Analyte Code` (or `Vendor Transmission Code`) and `LOINC Code`."
        raise ComplaintsError(
            [Complaint(name, None, "", what, "Take the sheet `LOINC mapping` of a LIVD publication.")]
        )
    at, where = header
    found: list[Entry] = []
    for number, line in enumerate(lines[at + 1 :], at + 2):
        said = {key: line[column].strip() if 0 <= column < len(line) else "" for key, column in where.items()}
        if said["code"] and said["loinc"]:
            found.append(Entry(**said, row=f"row {number}"))
    return found


def _columns(line: Sequence[str]) -> dict[str, int]:
    """The column of each part in a header row, -1 where it has none."""
    titles = {_title(cell): number for number, cell in enumerate(line) if cell}
    return {key: next((titles[t] for t in texts if t in titles), -1) for key, texts in _COLUMNS.items()}


def _title(cell: str) -> str:
    return " ".join(cell.replace("*", " ").split()).casefold()


def of_bundle(raw: bytes, name: str) -> list[Entry]:
    """The entries of a FHIR bundle (or of a ConceptMap alone). Raises ComplaintsError when it is none."""
    try:
        document: Any = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise _no_bundle(name) from None
    resources = _resources(document)
    maps = [one for one in resources if one.get("resourceType") == "ConceptMap"]
    if not maps:
        raise _no_bundle(name)
    tests = {key: one for one in resources if one.get("resourceType") == "ObservationDefinition" for key in _ids(one)}
    devices = [one for one in resources if one.get("resourceType") == "DeviceDefinition"]
    found: list[Entry] = []
    for one in maps:
        for group in _list(one.get("group")):
            for number, element in enumerate(_list(group.get("element")), 1):
                found += _elements(element, tests, devices, f"element {number}")
    return found


def _no_bundle(name: str) -> ComplaintsError:
    what = "holds no FHIR ConceptMap."
    return ComplaintsError([Complaint(name, None, "", what, "Take the LIVD bundle of the maker, in JSON.")])


def _resources(document: Any) -> list[dict[str, Any]]:
    if not isinstance(document, dict):
        return []
    top = cast("dict[str, Any]", document)
    inner = [one.get("resource") for one in _list(top.get("entry"))]
    return [top, *(cast("dict[str, Any]", one) for one in inner if isinstance(one, dict))]


def _list(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    return [cast("dict[str, Any]", one) for one in cast("list[Any]", value) if isinstance(one, dict)]


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _ids(resource: dict[str, Any]) -> list[str]:
    identity = _text(resource.get("id"))
    return [identity, f"ObservationDefinition/{identity}", f"urn:uuid:{identity}"] if identity else []


def _elements(
    element: dict[str, Any], tests: Mapping[str, dict[str, Any]], devices: Sequence[dict[str, Any]], row: str
) -> list[Entry]:
    code, name = _text(element.get("code")), _text(element.get("display"))
    if code in tests:
        concept = cast("dict[str, Any]", tests[code].get("code") or {})
        coding: dict[str, Any] = next(iter(_list(concept.get("coding"))), dict[str, Any]())
        code, name = _text(coding.get("code")) or code, _text(coding.get("display")) or name
    device = devices[0] if len(devices) == 1 else {}
    found: list[Entry] = []
    for target in _list(element.get("target")):
        said = {
            _text(one.get("property")).rsplit("/", 1)[-1]: _text(one.get("value"))
            for one in _list(target.get("dependsOn"))
        }
        loinc = _text(target.get("code"))
        if code and loinc:
            found.append(
                Entry(
                    code,
                    loinc,
                    name,
                    _text(device.get("manufacturerString")),
                    _text(device.get("modelNumber")),
                    said.get("specimen", ""),
                    said.get("result", ""),
                    _text(target.get("comment")),
                    _text(target.get("display")),
                    row=row,
                )
            )
    return found


def offers(entries: Iterable[Entry], tests: Mapping[str, Sequence[str]], model: str = "") -> list[Offer]:
    """What the entries propose for the codes of an instrument. tests: code to the unit that goes out, or may come; model: only of it.

    Codes are compared letter by letter: a vendor's code is what the instrument sends (OBX-3.1).
    """
    found: list[Offer] = []
    for entry in entries:
        if entry.code not in tests or (model and entry.model.casefold() != model.casefold()):
            continue
        known = [unit for unit in tests[entry.code] if unit]
        unit = known[0] if len(known) == 1 else ""
        wrong, fits = _judged(entry, unit)
        found.append(Offer(entry.code, entry, unit, wrong, fits))
    return found


def _judged(entry: Entry, unit: str) -> tuple[str, bool]:
    """Why an entry may not be right for a unit, and whether it is known to be."""
    if not check_digit_fits(entry.loinc):
        return f"{entry.loinc} is no LOINC code: its check digit does not fit.", False
    if not unit:
        return "", False
    if entry.property:
        wanted = properties(unit)
        if wanted and entry.property in _NUMERIC and entry.property not in wanted:
            return f"its property {entry.property} does not fit {unit} ({' or '.join(sorted(wanted))}).", False
        return "", entry.property in wanted
    analyte = catalogue.by_loinc().get(entry.loinc)
    if analyte is not None and analyte.ucum:
        own = analyte.ucum if entry.loinc == analyte.loinc else analyte.conventional_unit
        if (
            units.factor(unit, own) is None
            and properties(unit)
            and properties(own)
            and not properties(unit) & properties(own)
        ):
            return f"it is for {own}, the unit is {unit}.", False
        return "", units.factor(unit, own) is not None
    return "", False


def properties(unit: str) -> frozenset[str]:
    """The LOINC properties that a quantity in this unit may have; none where that is not known."""
    found = units.read(unit)
    if found is None or len(found.above) > 1 or len(found.below) > 1:
        return frozenset()
    above, below = (next(iter(kinds), "") for kinds in (found.above, found.below))
    return frozenset(_PROPERTIES.get((above, below), "").split())
