"""Orders as FHIR R4: what is taken, what is refused and where, what is answered."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labgateway.model import Action, Order, Priority
from labgateway.orders.fhir import FhirRules, read_fhir
from labgateway.orders.fhir_answer import answer_fhir

RULES = FhirRules("fhir", "Asia/Ho_Chi_Minh")

PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "identifier": [
        {"type": {"coding": [{"code": "MR"}]}, "system": "urn:hospital", "value": "BN001"},
        {"system": "urn:state", "value": "079072000001"},
    ],
    "name": [{"family": "NGUYỄN", "given": ["VĂN", "AN"]}],
    "birthDate": "1972-08-15",
    "gender": "male",
}
SPECIMEN = {
    "resourceType": "Specimen",
    "id": "s1",
    "identifier": [{"value": "24110700123"}],
    "type": {
        "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0487", "code": "BLD", "display": "Blood"}]
    },
    "collection": {"collectedDateTime": "2026-11-22T08:00:00+07:00"},
}
REQUEST = {
    "resourceType": "ServiceRequest",
    "identifier": [{"type": {"coding": [{"code": "PLAC"}]}, "value": "O-1"}, {"value": "group"}],
    "status": "active",
    "intent": "order",
    "priority": "stat",
    "code": {"coding": [{"system": "http://loinc.org", "code": "58410-2", "display": "CBC"}]},
    "subject": {"reference": "Patient/p1"},
    "specimen": [{"reference": "urn:uuid:s"}],
    "encounter": {"reference": "Encounter/e"},
}
ENCOUNTER = {
    "resourceType": "Encounter", "id": "e", "class": {"code": "IMP"}, "location": [{"location": {"display": "KHOA-NỘI"}}],
}  # fmt: skip


def bundle(*more: Any, kind: str = "transaction", request: Any = REQUEST) -> dict[str, Any]:
    entries: list[dict[str, Any]] = [
        {"fullUrl": "urn:uuid:p", "resource": PATIENT},
        {"fullUrl": "urn:uuid:s", "resource": SPECIMEN},
        {"resource": ENCOUNTER},
        {"resource": request, "request": {"method": "POST", "url": "ServiceRequest"}},
    ]
    return {"resourceType": "Bundle", "type": kind, "entry": [*entries, *({"resource": one} for one in more)]}


def alone(**changes: Any) -> dict[str, Any]:
    request = {**copy.deepcopy(REQUEST), "contained": [PATIENT, SPECIMEN], "subject": {"reference": "#p1"}}
    return {**request, "specimen": [{"reference": "#s1"}], **changes}


def orders(resource: Any, rules: FhirRules = RULES) -> list[Order]:
    request = read_fhir(json.dumps(resource).encode(), rules)
    assert request.refused == []
    return [action.order for action in request.actions]


def refused(resource: Any, rules: FhirRules = RULES) -> list[tuple[str, str]]:
    request = read_fhir(json.dumps(resource).encode(), rules)
    assert request.actions == ()
    status, body = answer_fhir(request, {})
    assert status == (400 if request.broken else 422)
    said = json.loads(body)
    assert said["resourceType"] == "OperationOutcome"
    return [(issue["code"], issue.get("expression", [""])[0]) for issue in said["issue"]]


def test_a_bundle() -> None:
    """Every field that HL7 has, from its resources."""
    (order,) = orders(bundle())
    assert (order.placer, order.code, order.service, order.specimen) == (
        "O-1",
        "58410-2",
        "58410-2^CBC^LN",
        "24110700123",
    )
    assert order.patient.id == "BN001"
    assert order.patient.pid3 == "BN001^^^&urn:hospital&URI^MR~079072000001^^^&urn:state&URI"
    assert (order.patient.pid5, order.patient.birth_date, order.patient.sex) == ("NGUYỄN^VĂN^AN", "19720815", "M")
    assert (order.ward, order.patient_class, order.specimen_type) == ("KHOA-NỘI", "I", "BLD^Blood^HL70487")
    assert (order.priority, order.collected_at) == (Priority.STAT, datetime(2026, 11, 22, 1, 0, tzinfo=UTC))
    assert order.collected_text == "20261122080000+0700"


def test_one_request_alone() -> None:
    (order,) = orders(alone())
    assert (order.specimen, order.patient.id) == ("24110700123", "BN001")
    by_value = alone(
        subject={"identifier": {"value": "BN9"}}, specimen=[{"identifier": {"value": "S9"}}], contained=[],
    )  # fmt: skip
    (order,) = orders(by_value)
    assert (order.specimen, order.patient.id) == ("S9", "BN9")


def test_several_specimens_are_several_orders() -> None:
    two = alone(specimen=[{"identifier": {"value": "S1"}}, {"reference": "#s1"}, {"identifier": {"value": "S1"}}])
    assert [order.specimen for order in orders(two)] == ["S1", "24110700123"]


@pytest.mark.parametrize(
    ("status", "action"),
    [("active", Action.CHANGE), ("revoked", Action.CANCEL), ("entered-in-error", Action.CANCEL), ("completed", None)],
)
def test_status(status: str, action: Action | None) -> None:
    request = read_fhir(json.dumps(alone(status=status)).encode(), RULES)
    assert [one.action for one in request.actions] == ([action] if action else [])
    assert request.refused == []


def test_a_revoked_order_needs_its_number_alone() -> None:
    bare = {"resourceType": "ServiceRequest", "status": "revoked", "intent": "order", "identifier": [{"value": "O-1"}]}
    request = read_fhir(json.dumps(bare).encode(), RULES)
    assert [(one.action, one.order.placer, one.order.specimen) for one in request.actions] == [
        (Action.CANCEL, "O-1", "")
    ]


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (alone(status="draft"), ("not-supported", "ServiceRequest.status")),
        (alone(status=""), ("required", "ServiceRequest.status")),
        (alone(status=["active"]), ("required", "ServiceRequest.status")),
        (alone(intent="proposal"), ("not-supported", "ServiceRequest.intent")),
        (alone(doNotPerform=True), ("not-supported", "ServiceRequest.doNotPerform")),
        (alone(identifier=[]), ("required", "ServiceRequest.identifier")),
        (alone(identifier=[{"value": "A"}, {"value": "B"}]), ("required", "ServiceRequest.identifier")),
        (alone(code={"text": "CBC"}), ("required", "ServiceRequest.code.coding")),
        (alone(code={"coding": [{"code": "A"}, {"code": "B"}]}), ("code-invalid", "ServiceRequest.code.coding")),
        (alone(subject={"display": "somebody"}), ("required", "ServiceRequest.subject")),
        (alone(subject={"reference": "Patient/elsewhere"}), ("required", "ServiceRequest.subject")),
        (alone(subject={"reference": "#s1"}), ("structure", "ServiceRequest.subject")),
        (alone(specimen=[]), ("required", "ServiceRequest.specimen")),
        (alone(specimen=[{"reference": "#p1"}]), ("structure", "ServiceRequest.specimen[0]")),
        (alone(specimen=[{"reference": "Specimen/7"}]), ("required", "ServiceRequest.specimen[0]")),
        ({"resourceType": "Patient"}, ("not-supported", "resourceType")),
        (bundle(kind="message"), ("not-supported", "Bundle.type")),
        ({"resourceType": "Bundle", "type": "batch", "entry": [{"resource": PATIENT}]}, ("required", "Bundle.entry")),
        ([], ("structure", "")),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(resource: Any, expected: tuple[str, str]) -> None:
    assert expected in refused(resource)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"identifier": [{"value": "A"}, {"value": "B"}]}, "contained[1].identifier"),
        ({"identifier": []}, "contained[1].identifier"),
        ({"collection": {"collectedDateTime": "2026-02-30"}}, "contained[1].collection.collectedDateTime"),
        ({"collection": {"collectedDateTime": "2026-11-22T08:00:00"}}, "contained[1].collection.collectedDateTime"),
        ({"collection": {"collectedPeriod": {"start": "yesterday"}}}, "contained[1].collection.collectedPeriod.start"),
    ],
)
def test_what_is_wrong_with_a_specimen(changes: dict[str, Any], where: str) -> None:
    resource = alone(contained=[PATIENT, {**SPECIMEN, **changes}])
    assert f"ServiceRequest.{where}" in [place for _, place in refused(resource)]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"birthDate": "15/08/1972"}, "birthDate"),
        ({"gender": "m"}, "gender"),
        ({"identifier": [{"value": "1"}, {"value": "2"}]}, "identifier"),
    ],
)
def test_what_is_wrong_with_a_patient(changes: dict[str, Any], where: str) -> None:
    resource = alone(contained=[{**PATIENT, **changes}, SPECIMEN])
    assert [place for _, place in refused(resource)] == [f"ServiceRequest.contained[0].{where}"]


def test_systems_say_which_of_several_is_meant() -> None:
    rules = FhirRules(
        "fhir", specimen_system="urn:label", patient_system="urn:state", order_system="urn:o", code_system="urn:local",
    )  # fmt: skip
    resource = alone(
        identifier=[{"value": "X"}, {"system": "urn:o", "value": "O-7"}],
        code={"coding": [{"system": "http://loinc.org", "code": "1"}, {"system": "urn:local", "code": "CBC"}]},
        contained=[PATIENT, {**SPECIMEN, "identifier": [{"value": "A"}, {"system": "urn:label", "value": "B"}]}],
    )
    (order,) = orders(resource, rules)
    assert (order.placer, order.code, order.specimen, order.patient.id) == ("O-7", "CBC", "B", "079072000001")


def test_a_transaction_is_whole_and_a_batch_is_not() -> None:
    bad = alone(status="draft")
    assert ("not-supported", "Bundle.entry[4].resource.status") in refused(bundle(bad))
    request = read_fhir(json.dumps(bundle(bad, kind="batch")).encode(), RULES)
    assert len(request.actions) == 1
    status, body = answer_fhir(request, {0: 17})
    said = json.loads(body)
    assert (status, said["type"]) == (200, "batch-response")
    assert [entry["response"]["status"][:3] for entry in said["entry"]] == ["200", "200", "200", "201", "422"]
    assert said["entry"][3]["response"]["location"] == "ServiceRequest/17"


def test_answers() -> None:
    one = read_fhir(json.dumps(alone()).encode(), RULES)
    assert answer_fhir(one, {0: 5})[0] == 201
    unknown = read_fhir(json.dumps(alone(status="revoked")).encode(), RULES)
    status, body = answer_fhir(unknown, {0: None})
    assert status == 200
    assert json.loads(body)["issue"][0]["severity"] == "warning"


def test_no_text_can_add_a_field() -> None:
    """What is echoed in HL7 is escaped: a bar, a caret, a CR in a name stay text."""
    resource = alone(
        identifier=[{"value": "O|1^2\rOBX"}], contained=[{**PATIENT, "name": [{"family": "A|B^C\rPID"}]}, SPECIMEN]
    )
    (order,) = orders(resource)
    for text in (order.placer, order.patient.pid5):
        assert not set(text) & set("|\r")
    assert order.placer.count("^") == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["active", "#p1", "Patient/p1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["resourceType", "identifier", "value", "coding", "code", "entry", "resource", "reference", "type", "given", "request"]
    ), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.sampled_from(sorted({*REQUEST, *PATIENT, *SPECIMEN, "contained", "doNotPerform"})), JSON, st.booleans())
def test_whatever_stands_in_an_element_nothing_raises(name: str, value: Any, in_bundle: bool) -> None:
    """Refused or taken, never an exception; and what is taken has number, test and specimen."""
    resource = alone(**{name: value})
    whole = bundle(request=resource) if in_bundle else resource
    whole = {**whole, name: value} if in_bundle and name == "identifier" else whole
    request = read_fhir(json.dumps(whole).encode(), RULES)
    answer_fhir(request, dict.fromkeys(range(9), 1))
    for action in request.actions:
        if action.action is Action.CHANGE:
            assert action.order.placer
            assert action.order.code
            assert action.order.specimen


@given(JSON)
def test_whatever_is_sent_nothing_raises(value: Any) -> None:
    for data in (json.dumps(value).encode(), b"[" * 100_000, b"{", b"\xff", b"1" * 5000):
        answer_fhir(read_fhir(data, RULES), {})
    entries = {"resourceType": "Bundle", "type": "transaction", "entry": value}
    answer_fhir(read_fhir(json.dumps(entries).encode(), RULES), {})
