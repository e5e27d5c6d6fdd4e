"""Orders as FHIR R4: a ServiceRequest, or a Bundle of them with their Patient and Specimen, as JSON. Pure.

    ServiceRequest.identifier   placer order number            .status     active: as it stands now (XO)
                  .code         the test                                   revoked, entered-in-error: CA
                  .subject      -> Patient                                 completed: nothing changes
                  .specimen     -> Specimen, or its identifier             anything else: refused
                  .priority     stat, asap, urgent, routine    .intent     order and its kinds; anything else: refused
                  .encounter    -> Encounter: class and ward

References are followed inside the request only (contained, or another entry). What is not there, or could be meant in two
ways, is refused with the place; nothing is guessed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, cast

from labgateway.model import Action, Order, Patient, Priority
from labgateway.orders import fhir_fields as f
from labgateway.orders.fhir_fields import Found, Issue, Json, Pool
from labgateway.orders.words import OrderAction, TakenFrom
from labgateway.protocols.hl7 import components, escape

SPECIMEN_PLACES: Final = ("identifier", "accessionIdentifier", "container.identifier")
"""Where a Specimen may name itself; the first that is filled counts."""

_ACTIONS: Final = {"active": Action.CHANGE, "revoked": Action.CANCEL, "entered-in-error": Action.CANCEL}
_INTENTS: Final = ("order", "original-order", "reflex-order", "filler-order", "instance-order")
_PRIORITIES: Final = {"stat": Priority.STAT, "asap": Priority.ASAP, "urgent": Priority.ASAP}
_SEX: Final = {"male": "M", "female": "F", "other": "O", "unknown": "U"}
_CLASS: Final = {"IMP": "I", "ACUTE": "I", "NONAC": "I", "AMB": "O", "EMER": "E"}
_BUNDLES: Final = ("transaction", "batch", "collection")
_MAX_ISSUES = 50


@dataclass(frozen=True, slots=True)
class FhirRules:
    """How this EMR's resources are to be read. source: the orders section. timezone: of dates without an offset.

    specimen_id: of SPECIMEN_PLACES. Systems: URIs that pick one of several identifiers or codings; empty: the only one, else the
    one typed PLAC (order) or patient_id_type (patient).
    """

    source: str
    timezone: str = "UTC"
    specimen_id: tuple[str, ...] = SPECIMEN_PLACES
    specimen_system: str = ""
    patient_system: str = ""
    patient_id_type: str = "MR"
    order_system: str = ""
    code_system: str = ""


@dataclass(slots=True)
class Entry:
    """One resource of the request and what is to be done for it. actions: () for a Patient, or what changes nothing."""

    where: str
    kind: str
    actions: tuple[OrderAction, ...] = ()
    issues: list[Issue] = field(default_factory=list[Issue])
    tubes: tuple[TakenFrom, ...] = ()

    @property
    def is_refused(self) -> bool:
        """True when nothing of it is used."""
        return any(issue.severity == "error" for issue in self.issues)


@dataclass(slots=True)
class FhirRequest:
    """All that one request asks for. bundle: its type, "" for a ServiceRequest alone. issues: of the request as a whole.

    broken: it is no FHIR at all (HTTP 400); else what is refused is refused for its content (422).
    """

    bundle: Literal["", "transaction", "batch", "collection"] = ""
    entries: list[Entry] = field(default_factory=list[Entry])
    issues: list[Issue] = field(default_factory=list[Issue])
    broken: bool = False

    @property
    def refused(self) -> list[Issue]:
        """Why nothing of the request is used; empty when it is. Of a batch each entry stands for itself."""
        if self.issues or self.bundle == "batch":
            return self.issues
        return [issue for entry in self.entries for issue in entry.issues if issue.severity == "error"]

    @property
    def actions(self) -> tuple[OrderAction, ...]:
        """What is to be done, in the order of the request; nothing when it is refused."""
        if self.refused:
            return ()
        return tuple(action for entry in self.entries if not entry.is_refused for action in entry.actions)

    @property
    def tubes(self) -> tuple[TakenFrom, ...]:
        """Which tubes were taken from which, by Specimen.parent; nothing when the request is refused."""
        if self.refused:
            return ()
        found = [tube for entry in self.entries if not entry.is_refused for tube in entry.tubes]
        return tuple(dict.fromkeys(found))


def read_fhir(data: bytes, rules: FhirRules) -> FhirRequest:
    """What a request asks for. Never raises for what a peer sent."""
    try:
        # Numbers stay text: nothing here may turn 5.10 into 5.1.
        found: object = json.loads(data.decode("utf-8-sig"), parse_float=str, parse_int=str, parse_constant=str)
    except (UnicodeDecodeError, ValueError, RecursionError):
        return _broken("structure", "", "This is no JSON in UTF-8.")
    if not isinstance(found, dict):
        return _broken("structure", "", "A FHIR resource is a JSON object.")
    resource = cast(Json, found)
    if where := f.unfit(resource):
        return _broken("value", where, "A text holds a character 0 or half a character.")
    kind = f.text(resource, "resourceType")
    if kind == "ServiceRequest":
        pool = Pool([Found(resource, "ServiceRequest")])
        return FhirRequest(entries=[_read(resource, "ServiceRequest", 0, pool, rules)])
    if kind != "Bundle":
        return _broken("not-supported", "resourceType", "Only ServiceRequest and Bundle are taken here.")
    said = f.text(resource, "type")
    if said not in _BUNDLES:
        return _broken("not-supported", "Bundle.type", f"Must be one of {', '.join(_BUNDLES)}.")
    return _read_bundle(resource, cast(Any, said), rules)


def _broken(code: str, where: str, text: str) -> FhirRequest:
    return FhirRequest(issues=[Issue(code, where, text)], broken=True)


def _read_bundle(bundle: Json, kind: Literal["transaction", "batch", "collection"], rules: FhirRules) -> FhirRequest:
    request, pool = FhirRequest(kind), Pool()
    for number, entry in f.walk(bundle):
        pool.found.append(
            Found(f.child(entry, "resource"), f"Bundle.entry[{number}].resource", f.text(entry, "fullUrl"))
        )
    for number, (_, entry) in enumerate(f.walk(bundle)):
        one = pool.found[number]
        said = f.text(one.resource, "resourceType")
        method = f.text(f.child(entry, "request"), "method")
        if method not in ("", "POST", "PUT"):
            issue = Issue(
                "not-supported",
                f"Bundle.entry[{number}].request.method",
                "Only POST and PUT are taken here; revoke an order by its status.",
            )
            request.entries.append(Entry(one.where, said, issues=[issue]))
        elif said == "ServiceRequest":
            request.entries.append(_read(one.resource, one.where, number, pool, rules))
        else:
            reading = _Reading({}, one.where, pool, rules)
            tubes = tuple(_taken_from(one, one.resource, reading)) if said == "Specimen" else ()
            request.entries.append(Entry(one.where, said, (), reading.issues, tubes))
    if not any(entry.kind == "ServiceRequest" for entry in request.entries):
        request.issues.append(Issue("required", "Bundle.entry", "No ServiceRequest: nothing is ordered."))
    return request


@dataclass(slots=True)
class _Reading:
    """One ServiceRequest while it is read; the issues collect here."""

    resource: Json
    where: str
    pool: Pool
    rules: FhirRules
    issues: list[Issue] = field(default_factory=list[Issue])

    def wrong(self, code: str, element: str, text: str) -> None:
        if len(self.issues) < _MAX_ISSUES:
            self.issues.append(Issue(code, f"{self.where}.{element}" if element else self.where, text))

    def wrong_at(self, code: str, where: str, text: str) -> None:
        if len(self.issues) < _MAX_ISSUES:
            self.issues.append(Issue(code, where, text))


def _read(resource: Json, where: str, number: int, pool: Pool, rules: FhirRules) -> Entry:
    """One ServiceRequest."""
    reading = _Reading(resource, where, pool, rules)
    entry = Entry(where, "ServiceRequest", issues=reading.issues)
    status = f.text(resource, "status")
    if status == "completed":
        reading.issues.append(Issue("informational", f"{where}.status", "completed: nothing changes.", "information"))
        return entry
    action = _ACTIONS.get(status)
    if action is None:
        taken = ", ".join([*_ACTIONS, "completed"])
        reading.wrong("required" if not status else "not-supported", "status", f"Must be one of {taken}.")
        return entry
    if f.text(resource, "intent") not in _INTENTS:
        reading.wrong(
            "required" if not f.text(resource, "intent") else "not-supported",
            "intent",
            f"Must be one of {', '.join(_INTENTS)}.",
        )
    if resource.get("doNotPerform") is True:
        reading.wrong("not-supported", "doNotPerform", "What is not to be done cannot be ordered.")
    cancels = action is Action.CANCEL
    order = Order(
        source=rules.source,
        specimen="",
        placer=_placer(reading),
        code="",
        patient=_patient(reading, needed=not cancels),
        filler=escape(_filler(resource)),
        priority=_PRIORITIES.get(f.text(resource, "priority"), Priority.ROUTINE),
        **_encounter(reading),
    )
    if cancels:
        # Its number says it all: whatever stands under it is revoked.
        if not entry.is_refused:
            entry.actions = (OrderAction(action, order, number),)
        return entry
    orders = list(_specimens(_test(order, reading), reading))
    inside = [Found(one, f"{where}.contained[{n}]") for n, one in enumerate(f.objects(resource, "contained"))]
    tubes = [one for found in inside for one in _taken_from(found, resource, reading)]
    entry.tubes = tuple(tubes)
    if not entry.is_refused:
        entry.actions = tuple(OrderAction(action, one, number) for one in orders)
    return entry


def _placer(reading: _Reading) -> str:
    identifiers = f.objects(reading.resource, "identifier")
    found = f.pick(identifiers, system=reading.rules.order_system, kind="PLAC", never="FILL")
    if found is None:
        several = len([one for one in identifiers if f.text(one, "value")]) > 1
        reading.wrong(
            "required",
            "identifier",
            "Several could be the placer order number: type one PLAC, or set order_system."
            if several
            else "No placer order number.",
        )
    return escape(found or "")


def _filler(resource: Json) -> str:
    typed = [one for one in f.objects(resource, "identifier") if f.has_type(one, "FILL")]
    return f.text(typed[0], "value") if typed else ""


def _test(order: Order, reading: _Reading) -> Order:
    """The order with its test."""
    codings = f.codings(f.child(reading.resource, "code"))
    wanted = [one for one in codings if f.text(one, "system") == reading.rules.code_system]
    if reading.rules.code_system:
        codings = wanted
    if len({f.text(one, "code") for one in codings}) > 1:
        reading.wrong("code-invalid", "code.coding", "Several codes: set code_system to say which one counts.")
        return order
    if not codings:
        reading.wrong("required", "code.coding", "No test code.")
        return order
    return replace(order, code=f.text(codings[0], "code"), service=f.coded(codings[0]))


def _patient(reading: _Reading, *, needed: bool) -> Patient:
    """The Patient that subject names. Without one there is no order."""
    rules = reading.rules
    subject = f.child(reading.resource, "subject")
    found = reading.pool.resolve(subject, reading.resource, reading.where)
    if found is None:
        said = f.child(subject, "identifier")
        if f.text(said, "value"):
            return Patient(f.text(said, "value"), f.pid3([said]))
        if needed or subject:
            reading.wrong("required", "subject", "Names no Patient of this request, nor a patient identifier.")
        return Patient(None)
    patient = found.resource
    if f.text(patient, "resourceType") != "Patient":
        reading.wrong("structure", "subject", "Is no Patient.")
        return Patient(None)
    identifiers = f.objects(patient, "identifier")
    number = f.pick(identifiers, system=rules.patient_system, kind=rules.patient_id_type)
    if number is None:
        several = len([one for one in identifiers if f.text(one, "value")]) > 1
        reading.wrong_at(
            "required",
            f"{found.where}.identifier",
            "Several could be the patient's number: set patient_system or patient_id_type."
            if several
            else "No patient identifier.",
        )
    born = f.text(patient, "birthDate")
    if born and f.day(born) is None:
        reading.wrong_at("value", f"{found.where}.birthDate", "Is no date.")
    sex = f.text(patient, "gender")
    if sex and sex not in _SEX:
        reading.wrong_at("code-invalid", f"{found.where}.gender", f"Must be one of {', '.join(_SEX)}.")
    return Patient(
        number, f.pid3(identifiers), f.pid5(f.objects(patient, "name")), f.day(born) if born else None, _SEX.get(sex)
    )


def _encounter(reading: _Reading) -> dict[str, Any]:
    """PV1-2 and PV1-3 of the Encounter, where the request holds one."""
    found = reading.pool.resolve(f.child(reading.resource, "encounter"), reading.resource, reading.where)
    if found is None or f.text(found.resource, "resourceType") != "Encounter":
        return {}
    places = [f.child(one, "location") for one in f.objects(found.resource, "location")]
    ward = next(
        (words for one in places if (words := f.text(one, "display") or f.text(f.child(one, "identifier"), "value"))),
        "",
    )
    return {
        "patient_class": _CLASS.get(f.text(f.child(found.resource, "class"), "code"), ""),
        "ward": components(ward),
    }


def _specimens(order: Order, reading: _Reading) -> Iterator[Order]:
    """The order on each of its specimens."""
    references = f.objects(reading.resource, "specimen")
    if not references:
        reading.wrong("required", "specimen", "No specimen: a result could not find this order.")
    seen: set[str] = set()
    for number, reference in enumerate(references):
        place = f"specimen[{number}]"
        found = reading.pool.resolve(reference, reading.resource, reading.where)
        if found is None:
            if one := f.text(f.child(reference, "identifier"), "value"):
                named = replace(order, specimen=one)
            else:
                reading.wrong("required", place, "Names no Specimen of this request, nor a specimen identifier.")
                continue
        elif f.text(found.resource, "resourceType") != "Specimen":
            reading.wrong("structure", place, "Is no Specimen.")
            continue
        elif (named := _specimen(order, found, reading)) is None:
            continue
        if named.specimen not in seen:
            seen.add(named.specimen)
            yield named


def _taken_from(found: Found, holder: Json, reading: _Reading) -> Iterator[TakenFrom]:
    """What Specimen.parent says: the tube of this Specimen was taken from those. holder: where ``#id`` is looked for."""
    if f.text(found.resource, "resourceType") != "Specimen":
        return
    for number, reference in enumerate(f.objects(found.resource, "parent")):
        place = f"{found.where}.parent[{number}]"
        parent = reading.pool.resolve(reference, holder, reading.where)
        named = f.text(f.child(reference, "identifier"), "value")
        if parent is not None and f.text(parent.resource, "resourceType") == "Specimen":
            named = _number(parent, reading) or ""
        elif not named:
            reading.wrong_at("required", place, "Names no Specimen of this request, nor a specimen identifier.")
        tube = _number(found, reading)
        if tube and named and tube != named:
            yield TakenFrom(tube, named)


def _specimen(order: Order, found: Found, reading: _Reading) -> Order | None:
    """The order on this Specimen, None when it does not say its id or its time is impossible."""
    rules, specimen = reading.rules, found.resource
    number = _number(found, reading)
    if number is None:
        return None
    kinds = f.codings(f.child(specimen, "type"))
    order = replace(order, specimen=number, specimen_type=f.coded(kinds[0]) if kinds else "")
    collection = f.child(specimen, "collection")
    for element, said in (
        ("collection.collectedDateTime", f.text(collection, "collectedDateTime")),
        ("collection.collectedPeriod.start", f.text(f.child(collection, "collectedPeriod"), "start")),
    ):
        if not said:
            continue
        when = f.moment(said, rules.timezone)
        if when is None:
            reading.wrong_at("value", f"{found.where}.{element}", "Is no dateTime; one with a time needs its offset.")
            return None
        return replace(order, collected_text=when[0], collected_at=when[1])
    return order


def _number(found: Found, reading: _Reading) -> str | None:
    """The id on the tube of a Specimen; None, and an issue, when it does not say one."""
    rules = reading.rules
    for path in rules.specimen_id:
        identifiers = _at(found.resource, path)
        if any(f.text(one, "value") for one in identifiers):
            number = f.pick(identifiers, system=rules.specimen_system, kind="PLAC")
            if number is None:
                text = "Several could be the id on the tube: type one PLAC, or set specimen_system."
                reading.wrong_at("required", f"{found.where}.{path}", text)
            return number
    where = f"{found.where}.{rules.specimen_id[0]}"
    reading.wrong_at("required", where, f"No specimen id in {' or '.join(rules.specimen_id)}.")
    return None


def _at(specimen: Json, path: str) -> list[Json]:
    if path == "container.identifier":
        return [one for container in f.objects(specimen, "container") for one in f.objects(container, "identifier")]
    return f.objects(specimen, path)
