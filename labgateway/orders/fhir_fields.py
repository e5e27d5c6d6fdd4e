"""Single elements of FHIR R4 JSON: safe reading, references, identifiers, dates. Plain dicts, nothing is validated in passing.

Every value is looked at before it is used: a peer may send any JSON. Places are FHIRPath as OperationOutcome.expression
has them: ``Bundle.entry[2].resource.specimen[0]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from labgateway.protocols.hl7 import components, escape

Json = dict[str, Any]

_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_DATETIME = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(:(?:[0-5]\d|60)(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)", re.ASCII
)  # fmt: skip
_SYSTEMS: Final = {
    "http://loinc.org": "LN",
    "http://snomed.info/sct": "SCT",
    "http://terminology.hl7.org/CodeSystem/v2-0487": "HL70487",
}
"""How HL7 v2 (table 0396) names the code systems that orders use; another one is sent on as L (local)."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong with an element, or worth saying. code: of FHIR's issue-type value set; no patient data in text."""

    code: str
    where: str
    text: str
    severity: str = "error"


@dataclass(frozen=True, slots=True)
class Found:
    """A resource and where it stands."""

    resource: Json
    where: str
    full_url: str = ""


@dataclass(slots=True)
class Pool:
    """The resources of one request, to follow references in. Nothing is ever fetched from elsewhere."""

    found: list[Found] = field(default_factory=list[Found])

    def resolve(self, reference: Json, holder: Json, where: str) -> Found | None:
        """What a Reference points at: ``#id`` in its own resource, else by full URL, else by type and id. None: not here."""
        target = text(reference, "reference")
        if target.startswith("#"):
            for number, one in enumerate(objects(holder, "contained")):
                if text(one, "id") == target[1:]:
                    return Found(one, f"{where}.contained[{number}]")
            return None
        if not target:
            return None
        for one in self.found:
            if one.full_url == target:
                return one
        kind, _, number = target.rpartition("/")
        kind = kind.rpartition("/")[2]
        by_id = [f for f in self.found if text(f.resource, "resourceType") == kind and text(f.resource, "id") == number]
        return by_id[0] if len(by_id) == 1 and number else None


_UNFIT = re.compile("[\\0\ud800-\udfff]")


def unfit(resource: Json) -> str:
    """Where a text holds what no store keeps: U+0000 or a lone surrogate; empty: nowhere."""
    todo: list[tuple[str, Any]] = [(text(resource, "resourceType"), resource)]
    while todo:
        where, value = todo.pop()
        if isinstance(value, str):
            if _UNFIT.search(value):
                return where if not _UNFIT.search(where) else "Resource"
        elif isinstance(value, dict):
            todo += [(f"{where}.{name}", inner) for name, inner in cast(Json, value).items()]
        elif isinstance(value, list):
            todo += [(f"{where}[{n}]", inner) for n, inner in enumerate(cast(list[Any], value))]
    return ""


def text(holder: Json, name: str) -> str:
    """A string element without outer blanks; empty when it is not there or no string."""
    value = holder.get(name)
    return value.strip() if isinstance(value, str) else ""


def child(holder: Json, name: str) -> Json:
    """An object element; empty when it is not there or something else."""
    value = holder.get(name)
    return cast(Json, value) if isinstance(value, dict) else {}


def objects(holder: Json, name: str) -> list[Json]:
    """A repeating element; what is no object in it is passed over. One object alone counts as one."""
    value = holder.get(name)
    if isinstance(value, dict):
        return [cast(Json, value)]
    return (
        [cast(Json, one) for one in cast(list[Any], value) if isinstance(one, dict)] if isinstance(value, list) else []
    )


def codings(concept: Json) -> list[Json]:
    """The codings of a CodeableConcept that have a code."""
    return [one for one in objects(concept, "coding") if text(one, "code")]


def coded(coding: Json) -> str:
    """A coding as HL7 field text: code^display^system."""
    system = text(coding, "system")
    name = _SYSTEMS.get(system, "L") if system else "L"
    return components(text(coding, "code"), text(coding, "display"), name)


def has_type(identifier: Json, code: str) -> bool:
    """Whether an Identifier says that it is of this type (HL7 table 0203)."""
    return any(text(coding, "code") == code for coding in objects(child(identifier, "type"), "coding"))


def pick(identifiers: list[Json], *, system: str = "", kind: str = "", never: str = "") -> str | None:
    """The one value that is meant. system, kind: as the site says, both must fit when both are given.

    None: none has a value, or several different ones could be meant: nothing is guessed. never: a type that is something else.
    """
    filled = [one for one in identifiers if text(one, "value") and not (never and has_type(one, never))]
    if system:
        filled = [one for one in filled if text(one, "system") == system]
    typed = [one for one in filled if kind and has_type(one, kind)]
    values = {text(one, "value") for one in typed or filled}
    return values.pop() if len(values) == 1 else None


def pid3(identifiers: list[Json]) -> str:
    """Identifiers of a patient as PID-3: value^^^authority^type, the authority by its URI as an HD."""
    return "~".join(_cx(one) for one in identifiers if text(one, "value"))


def _cx(identifier: Json) -> str:
    system = text(identifier, "system")
    kind = next((text(c, "code") for c in objects(child(identifier, "type"), "coding") if text(c, "code")), "")
    authority = f"&{escape(system)}&URI" if system else ""
    return f"{escape(text(identifier, 'value'))}^^^{authority}^{escape(kind)}".rstrip("^")


def pid5(names: list[Json]) -> str:
    """HumanNames as PID-5: family^given^further; a name that is only text stands whole in the first component."""
    return "~".join(one for name in names if (one := _xpn(name)))


def _xpn(name: Json) -> str:
    given = [str(one).strip() for one in cast(list[Any], name.get("given") or []) if isinstance(one, str)] if isinstance(
        name.get("given"), list
    ) else []  # fmt: skip
    family = text(name, "family")
    if not family and not given:
        return components(text(name, "text"))
    return components(family, given[0] if given else "", " ".join(given[1:]))


def day(value: str) -> str | None:
    """A FHIR date as YYYY, YYYYMM or YYYYMMDD; None when it is none."""
    match = _DATE.fullmatch(value)
    if match is None:
        return None
    year, month, of_month = match.groups()
    try:
        date(int(year), int(month or 1), int(of_month or 1))
    except ValueError:
        return None
    return "".join(part for part in match.groups() if part)


def moment(value: str, zone: str) -> tuple[str, datetime | None] | None:
    """A FHIR dateTime as HL7 text and as UTC; None when it is none. A bare day is its first moment at the site; what is
    not exact to the day has no moment."""
    if (plain := day(value)) is not None:
        if len(plain) < 8:
            return plain, None
        local = datetime(int(plain[:4]), int(plain[4:6]), int(plain[6:]), tzinfo=ZoneInfo(zone))
        return plain, local.astimezone(UTC)
    if not _DATETIME.fullmatch(value):
        return None
    try:
        said = datetime.fromisoformat(value.replace(":60", ":59"))
        return said.strftime("%Y%m%d%H%M%S%z"), said.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError):
        return None


def walk(bundle: Json) -> Iterator[tuple[int, Json]]:
    """Entries of a Bundle with their numbers."""
    value = bundle.get("entry")
    for number, one in enumerate(cast(list[Any], value) if isinstance(value, list) else []):
        yield number, cast(Json, one) if isinstance(one, dict) else {}
