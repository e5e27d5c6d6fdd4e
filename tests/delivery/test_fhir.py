"""FHIR: what leaves is valid to judges that are not ours, numbers stay as they stand, and repeats change nothing."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labgateway.delivery import fhir_answers
from labgateway.delivery.fhir import FhirOptions, render
from labgateway.delivery.http_out import HttpDestination
from labgateway.delivery.outcome import Accepted, Refused, Silent
from labgateway.model import Added, Observation, Patient, ResultLetter
from tests.delivery import fhir_judges as judges
from tests.delivery.reports import PERSON, SETTINGS, blood_count, observation, order, report

PLAIN = FhirOptions("urn:labgateway:TH")
FULL = FhirOptions(
    "urn:labgateway:TH", patient_system="https://emr.example/patients", order_system="https://emr.example/orders",
    code_system="https://emr.example/tests", create_patient=True,
)  # fmt: skip


def bundle(*observations: Observation, options: FhirOptions = PLAIN, control_id: str = "LG-1") -> bytes:
    """Rendered; the official schema finds nothing wrong with it."""
    body = render(report(*observations, patient=PERSON), SETTINGS, control_id, options)
    assert not judges.by_schema(body)
    return body


def resources(body: bytes, kind: str) -> list[Any]:
    """Those of one type."""
    return [e["resource"] for e in judges.read(body)["entry"] if e["resource"]["resourceType"] == kind]


def everything() -> bytes:
    """A report in which all that can be said is said."""
    panel = order()
    return bundle(
        observation("WBC", "5.10", of=panel, flags=("H", "*W"), range="4.0-10.0", operator="kimanh", moh="M.1"),
        observation("HGB", None, of=panel, comments=("tan máu nhẹ",)),
        observation("PLT", "<5.0", of=panel, letter=ResultLetter.CORRECTED, replaces="OLD", earlier=("OLD",)),
        observation("GLU", "+++", of=panel, original_value="13.4", original_unit="g/dL", range="1-2"),
        observation("CRP", "5", of=panel, letter=ResultLetter.WRONG, earlier=("OLD2",), replaces="OLD2"),
        observation("UGLU", "neg", of=order("U", filler="", specimen_type="UR&Urine&HL70487^x")),
        observation("X", "1", serial="11001"),
        options=FULL,
    )


def test_the_judges_find_nothing_wrong() -> None:
    """All that can be said, a whole blood count, and a report of a site without orders: valid to schema and npm fhir."""
    alone = render(report(observation(specimen_type="BLD", patient="P1", patient_name="A^B")), SETTINGS, "LG-2", PLAIN)
    bodies = [everything(), alone, render(blood_count(), SETTINGS, "LG-3", replace(PLAIN, references="conditional"))]
    assert [found for body in bodies for found in judges.by_schema(body)] == []
    assert judges.by_npm_fhir(*bodies) == []


def test_the_judges_do_find_something() -> None:
    """They would see a status that is none and a unit that is a number."""
    bad = everything().replace(b'"status":"final"', b'"status":"done"', 1)
    assert judges.by_schema(bad)
    assert judges.by_npm_fhir(bad)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("5.10", {"value": Decimal("5.10")}), ("0.0", {"value": Decimal("0.0")}), ("-1.50", {"value": Decimal("-1.50")}),
        ("<5.0", {"value": Decimal("5.0"), "comparator": "<"}), (">= 10", {"value": Decimal(10), "comparator": ">="}),
        ("+1", "+1 10*9/L"), ("007", "007 10*9/L"), (".5", ".5 10*9/L"), ("1e3", "1e3 10*9/L"), ("8,13", "8,13 10*9/L"),
        ("1:128", "1:128 10*9/L"), ("1234567890123456789", "1234567890123456789 10*9/L"), ("NaN", "NaN 10*9/L"),
    ],
)  # fmt: skip
def test_values_are_exact(value: str, found: str | dict[str, object]) -> None:
    """A number is written with its digits as they stand; what JSON cannot write just so is text, unchanged."""
    (one,) = resources(bundle(observation("WBC", value, of=order())), "Observation")
    if isinstance(found, str):
        assert (one["valueString"], "valueQuantity" in one) == (found, False)
        return
    quantity = {"unit": "10*9/L", "system": "http://unitsofmeasure.org", "code": "10*9/L", **found}
    assert one["valueQuantity"] == quantity
    assert str(one["valueQuantity"]["value"]) == value.lstrip("<>= ")


@settings(max_examples=200, deadline=None)
@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=4), st.text(max_size=20), st.text(min_size=1, max_size=20)
)
def test_no_text_breaks_the_bundle(number: Decimal, comment: str, code: str) -> None:
    """Whatever an analyzer or a mapping writes, it is JSON, and the value is the one that was given."""
    text = f"{number:f}"
    body = render(report(observation(code, text, of=order(), comments=(comment,))), SETTINGS, "LG-1", PLAIN)
    (one,) = resources(body, "Observation")
    said = one["valueQuantity"]["value"] if "valueQuantity" in one else one["valueString"].split(" ")[0]
    assert str(said) == text


def test_what_each_letter_becomes() -> None:
    """P F C X D W, and everything preliminary where the site wants that."""
    panel = order()
    given_: list[Observation] = [
        observation(f"T{letter.value}", None if letter is ResultLetter.NO_RESULT else "1", of=panel, letter=letter)
        for letter in ResultLetter
    ]
    found = {one["code"]["coding"][1]["code"]: one for one in resources(bundle(*given_), "Observation")}
    assert {code: one["status"] for code, one in found.items()} == {
        "TP": "preliminary", "TF": "final", "TC": "corrected", "TX": "cancelled", "TD": "entered-in-error",
        "TW": "entered-in-error",
    }  # fmt: skip
    assert [code for code, one in found.items() if "valueQuantity" not in one] == ["TD", "TW", "TX"]
    early = resources(bundle(*given_, options=replace(PLAIN, status="P")), "Observation")
    assert sorted({one["status"] for one in early}) == ["cancelled", "entered-in-error", "preliminary"]


def test_versions_of_one_value_in_one_message_are_one_resource() -> None:
    """Preliminary and final together: a transaction may name a resource once, and the last version says it all."""
    body = bundle(
        observation("WBC", "5.1", of=order(), letter=ResultLetter.PRELIMINARY, id="A"),
        observation("WBC", "5.2", of=order(), id="B", replaces="A", earlier=("A",)),
    )
    (one,) = resources(body, "Observation")
    assert (one["status"], [i["value"] for i in one["identifier"]]) == ("final", ["A", "B"])


def test_a_barcode_that_comes_again_is_another_specimen() -> None:
    """The same tube id for another patient must never be found as the first one's specimen."""
    other = Patient("000999", "000999^^^TH^MR", "LÊ^AN")
    first, second = (
        render(report(observation(of=order(patient=person)), patient=person), SETTINGS, "LG-1", PLAIN)
        for person in (PERSON, other)
    )
    searches = [
        next(e["request"]["ifNoneExist"] for e in judges.read(body)["entry"] if e["request"]["url"] == "Specimen")
        for body in (first, second)
    ]
    assert searches[0] != searches[1]
    assert all(resources(body, "Specimen")[0]["accessionIdentifier"] == {"value": "A123"} for body in (first, second))


async def test_a_server_that_is_not_ours_takes_it_and_repeats_change_nothing() -> None:
    """First version, correction, then both again and the first once more: one Observation, corrected, and one of each."""
    panel = order()
    first = bundle(observation("WBC", "5.10", of=panel, id="A"), options=FULL, control_id="M1")
    correction = observation(
        "WBC", "5.20", of=panel, id="B", letter=ResultLetter.CORRECTED, replaces="A", earlier=("A",)
    )
    second = bundle(correction, options=FULL, control_id="M2")
    taken_back = observation("WBC", "5.20", of=panel, id="C", letter=ResultLetter.WRONG, earlier=("A", "B"))
    third = bundle(taken_back, options=FULL, control_id="M3")
    with judges.server() as url:
        there = HttpDestination(
            url, content_type="application/fhir+json", judge=fhir_answers.judge, explain=fhir_answers.explain
        )
        async with aiohttp.ClientSession() as session:

            async def held(kind: str) -> list[Any]:
                async with session.get(f"{url}{kind}") as answer:
                    return [e["resource"] for e in (await answer.json(content_type=None)).get("entry", [])]

            for body in (first, first, second, second, first):
                assert isinstance(await there.send(body, "M"), Accepted)
            (one,) = await held("Observation")
            assert (one["status"], one["valueQuantity"]["value"]) == ("corrected", 5.2)
            assert [i["value"] for i in one["identifier"]] == ["A", "B"]
            assert [len(await held(kind)) for kind in ("Patient", "Specimen", "DiagnosticReport")] == [1, 1, 2]
            (tube,) = await held("Specimen")
            assert one["specimen"] == {"reference": f"Specimen/{tube['id']}"}
            reports = await held("DiagnosticReport")
            assert {r["result"][0]["reference"] for r in reports} == {f"Observation/{one['id']}"}
            for body in (third, first, third):
                assert isinstance(await there.send(body, "M"), Accepted)
            (one,) = await held("Observation")
            assert (one["status"], "valueQuantity" in one) == ("entered-in-error", False)
        refused = await there.send(first.replace(b'"status":"final"', b'"statu":"final"', 1), "M4")
        assert isinstance(refused, Refused)
        assert "statu" in refused.words
        await there.close()


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'{"resourceType":"Bundle","entry":[{"response":{"status":"201 Created"}},{"response":{"status":"200"}}]}', Accepted("200")),
        (b'{"resourceType":"Bundle","entry":[{"response":{"status":"201"}},{"response":{"status":"422","outcome":'
         b'{"resourceType":"OperationOutcome","issue":[{"diagnostics":"no such patient"}]}}}]}', Refused("422 no such patient")),
        (b'{"resourceType":"Bundle","entry":[]}', None),
        (b'{"resourceType":"OperationOutcome"}', None),
        (b"<html>login</html>", None),
        (b"", None),
        (b"[" * 100_000, None),
        (b'{"resourceType":"Bundle","entry":[{"response":7}]}', None),
    ],
)  # fmt: skip
def test_a_yes_is_the_answer_to_a_transaction(body: bytes, outcome: object) -> None:
    """A 200 from something else (a proxy, a login page) is no yes; an entry that failed is a no."""
    assert fhir_answers.judge(200, body) == outcome


async def test_what_cannot_be_judged_is_sent_again() -> None:
    """Silent: the same bytes come again."""
    from tests.delivery.test_http_out import answering

    async with answering(lambda _: (200, {}, b"<html>")) as url:
        there = HttpDestination(url, judge=fhir_answers.judge)
        assert isinstance(await there.send(everything(), "LG-1"), Silent)
        await there.close()


def test_the_lab_s_own_range_flags_and_notes() -> None:
    """Not the analyzer's, where the mapping declares its own."""
    one = observation(
        "HGB", "134", of=order(), flags=("H", "*"), range="120-160",
        added=Added(range="130-175", flags=("N", "*"), notes=("call the ward",)),
    )  # fmt: skip
    (said,) = resources(bundle(one), "Observation")
    assert [each["text"] for each in said["interpretation"]] == ["N", "*"]
    assert said["referenceRange"][0]["text"] == "130-175"
    assert said["note"] == [{"text": "call the ward"}]
    (none,) = resources(
        bundle(observation("HGB", "134", of=order(), range="120-160", added=Added(range=""))), "Observation"
    )
    assert "referenceRange" not in none
