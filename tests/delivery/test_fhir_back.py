"""What a FHIR server holds is compared with what it was sent: Medplum's server, and servers that do not let themselves be read."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from labgateway.delivery import fhir_answers, fhir_compare
from labgateway.delivery.fhir import FhirOptions, render
from labgateway.delivery.fhir_back import DOUBLED, FhirReader
from labgateway.delivery.http_out import HttpDestination, bearer
from labgateway.delivery.http_read import HttpReader
from labgateway.delivery.outcome import Accepted
from labgateway.delivery.ports import Difference
from labgateway.model import Observation, Patient, ResultLetter
from tests.delivery import fhir_judges as judges
from tests.delivery.reports import PERSON, SETTINGS, observation, order, report

MADE = FhirOptions("urn:labgateway:TH", patient_system="https://emr.example/patients", create_patient=True)
NAMED = replace(MADE, create_patient=False)
OTHER = Patient("000999", "000999^^^TH^MR", "LÊ^AN")


def tube(*observations: Observation, options: FhirOptions = MADE, number: str = "M1", of: Patient = PERSON) -> bytes:
    return render(report(*observations, patient=of), SETTINGS, number, options)


def some(count: int = 30) -> list[Observation]:
    """More than are asked for in one request."""
    return [observation(f"T{n}", f"{n}.50", of=order(), id=f"{n:020}") for n in range(count)]


class There:
    """The server, from outside: what a person of the EMR's may do to it."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def take(self, *bodies: bytes) -> None:
        out = HttpDestination(self.url, content_type="application/fhir+json", judge=fhir_answers.judge)
        for body in bodies:
            assert isinstance(await out.send(body, "M"), Accepted)
        await out.close()

    async def held(self, kind: str) -> dict[str, Any]:
        """By the last of its identifiers."""
        async with self._session.get(f"{self.url}{kind}?_count=1000") as answer:
            entries = (await answer.json(content_type=None)).get("entry", [])
        return {e["resource"]["identifier"][-1]["value"]: e["resource"] for e in entries}

    async def put(self, resource: dict[str, Any]) -> None:
        url = f"{self.url}{resource['resourceType']}/{resource['id']}"
        async with self._session.put(url, json=resource) as answer:
            assert answer.status == 200, await answer.text()

    async def make(self, resource: dict[str, Any]) -> str:
        async with self._session.post(f"{self.url}{resource['resourceType']}", json=resource) as answer:
            assert answer.status == 201, await answer.text()
            return str((await answer.json(content_type=None))["id"])

    async def delete(self, resource: dict[str, Any]) -> None:
        async with self._session.delete(f"{self.url}{resource['resourceType']}/{resource['id']}") as answer:
            assert answer.status < 300

    async def differences(self, *bodies: bytes) -> list[Difference]:
        back = FhirReader(HttpReader(self.url, per_second=1000))
        try:
            return await back.read_back([one for body in bodies for one in back.parts(body).values()])
        finally:
            await back.close()


@asynccontextmanager
async def medplum() -> AsyncIterator[There]:
    with judges.server() as url:
        async with aiohttp.ClientSession() as session:
            yield There(url, session)


async def test_what_was_deleted_changed_or_given_to_another_is_named() -> None:
    """One deleted, one with another value, unit, status and code; one of another patient, one of another tube."""
    body = tube(*some())
    async with medplum() as there:
        await there.take(body)
        assert await there.differences(body) == []
        held = await there.held("Observation")
        ids = [f"{n:020}" for n in range(30)]
        await there.delete(held[ids[1]])
        changed = held[ids[3]]
        changed["valueQuantity"] = {**changed["valueQuantity"], "value": 35, "unit": "g/L"}
        await there.put({**changed, "status": "amended", "code": {"text": "something else"}})
        anybody = {"resourceType": "Patient", "identifier": [{"system": MADE.patient_system, "value": "000999"}]}
        other = f"Patient/{await there.make(anybody)}"
        await there.put({**held[ids[5]], "subject": {"reference": other}})
        own = {"reference": "https://elsewhere.example/Patient/1"}
        await there.put({**held[ids[6]], "subject": own})
        await there.put({k: v for k, v in held[ids[7]].items() if k != "subject"})
        anything = {"resourceType": "Specimen", "identifier": [{"system": "urn:labgateway:TH/specimen", "value": "X"}]}
        await there.put({**held[ids[28]], "specimen": {"reference": f"Specimen/{await there.make(anything)}"}})
        await there.make({k: v for k, v in held[ids[29]].items() if k not in ("id", "meta")})
        assert await there.differences(body) == [
            Difference(ids[1], ()),
            Difference(ids[3], ("status", "value", "unit", "code")),
            Difference(ids[5], ("subject",)),
            Difference(ids[6], ("subject",)),
            Difference(ids[7], ("subject",)),
            Difference(ids[28], ("specimen",)),
            Difference(ids[29], (DOUBLED,)),
        ]


async def test_a_patient_named_by_identifier() -> None:
    """The EMR may name its own Patient beside it; both must be the one that was sent."""
    body = tube(*some(3), options=NAMED)
    patient = {"resourceType": "Patient", "identifier": [{"system": MADE.patient_system, "value": PERSON.id}]}
    async with medplum() as there:
        await there.take(body)
        assert await there.differences(body) == []
        held = await there.held("Observation")
        right, wrong = [f"Patient/{await there.make({**patient, 'identifier': [i]})}" for i in (
            {"system": MADE.patient_system, "value": PERSON.id}, {"system": MADE.patient_system, "value": "000999"},
        )]  # fmt: skip
        for n, reference in enumerate((right, wrong)):
            one = held[f"{n:020}"]
            await there.put({**one, "subject": {**one["subject"], "reference": reference}})
        one = held[f"{2:020}"]
        await there.put({**one, "subject": {"identifier": {"system": MADE.patient_system, "value": "000999"}}})
        assert await there.differences(body) == [Difference(f"{n:020}", ("subject",)) for n in (1, 2)]


async def test_a_correction_and_its_original() -> None:
    """What was corrected meanwhile differs in nothing; what is taken back holds no value; text and comparator too."""
    first = tube(
        observation("WBC", "5.10", of=order(), id="A"),
        observation("GLU", "+++", of=order(), id="G"),
        observation("PLT", "<5.0", of=order(), id="P"),
        observation("X", None, of=order(), letter=ResultLetter.NO_RESULT, id="N"),
    )
    corrected = observation("WBC", "5.20", of=order(), id="B", letter=ResultLetter.CORRECTED, earlier=("A",))
    second = tube(corrected, number="M2")
    third = tube(
        observation("WBC", "5.20", of=order(), id="C", letter=ResultLetter.WRONG, earlier=("A", "B")), number="M3"
    )
    async with medplum() as there:
        await there.take(first)
        assert await there.differences(first) == []
        await there.take(second)
        assert await there.differences(first, second) == []
        await there.take(third)
        assert await there.differences(first, second, third) == []
        held = await there.held("Observation")
        await there.put({**held["C"], "valueQuantity": {"value": 5.2}})
        await there.put({**held["P"], "valueQuantity": {**held["P"]["valueQuantity"], "comparator": ">"}})
        await there.put({**held["G"], "valueString": "++"})
        assert await there.differences(first, third) == [
            Difference("G", ("value",)), Difference("P", ("value",)), Difference("C", ("value",)),
        ]  # fmt: skip


@asynccontextmanager
async def answering(
    answer: Callable[[web.Request], web.Response], context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[web.Request]]]:
    """A server that answers each GET so; its port and what it was asked."""
    seen: list[web.Request] = []

    async def serve(request: web.Request) -> web.Response:
        seen.append(request)
        return answer(request)

    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1], seen
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "headers", "body", "words"),
    [
        (403, {}, "", "it does not let us read Observation (403): allow that there, or write read_back = false"),
        (405, {}, "", "it does not let us read Observation (405): allow that there, or write read_back = false"),
        (401, {}, "", "it does not accept our token or password when Observation is read (401)"),
        (302, {"Location": "/elsewhere"}, "", "it points elsewhere (302) when Observation is read, and no redirect is followed"),
        (404, {}, "", "it has no Observation that can be searched for (404)"),
        (200, {}, "<html>", "the answer to reading Observation is no JSON"),
        (200, {}, "[1]", "the answer to a search of Observation is none"),
        (503, {}, "", "it answers 503 when Observation is read"),
    ],
)  # fmt: skip
async def test_a_server_that_cannot_be_read(
    status: int, headers: Mapping[str, str], body: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said plainly, and nothing is called missing."""
    monkeypatch.setattr("labgateway.delivery.http_read._LONGEST_WAIT_S", 0.01)
    async with answering(lambda _: web.Response(status=status, headers=headers, text=body)) as (port, seen):
        back = FhirReader(HttpReader(f"http://127.0.0.1:{port}/fhir/", per_second=1000))
        with pytest.raises(OSError) as error:
            await back.read_back(list(back.parts(tube(*some(3))).values()))
        await back.close()
        assert str(error.value) == words
        assert {one.path for one in seen} == {"/fhir/Observation"} and len(seen) == (3 if status == 503 else 1)
        assert not any(str(PERSON.id) in str(one.rel_url) for one in seen)


async def test_nobody_there() -> None:
    back = FhirReader(HttpReader("http://127.0.0.1:9/fhir", per_second=1000))
    with pytest.raises(OSError, match="there is no connection"):
        await back.read_back(list(back.parts(tube(*some(1))).values()))
    await back.close()


async def test_tls_and_token_are_those_of_the_destination(tmp_path: Path) -> None:
    """A certificate that is not believed gets no token; with the right one each request bears it."""
    authority = trustme.CA()
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    (tmp_path / "token").write_text("secret")
    nothing = json.dumps({"resourceType": "Bundle", "type": "searchset"})
    async with answering(lambda _: web.Response(text=nothing), serving) as (port, seen):
        for context, found in ((ssl.create_default_context(), None), (trusting, [Difference(f"{0:020}", ())])):
            reader = HttpReader(
                f"https://127.0.0.1:{port}/fhir", tls=lambda c=context: c, authorization=bearer(tmp_path / "token"),
                per_second=1000,
            )  # fmt: skip
            back = FhirReader(reader)
            wanted = list(back.parts(tube(*some(1))).values())
            if found is None:
                with pytest.raises(OSError, match="its certificate is not accepted"):
                    await back.read_back(wanted)
                assert not seen
            else:
                assert await back.read_back(wanted) == found
                assert {one.headers["Authorization"] for one in seen} == {"Bearer secret"}
            await back.close()


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b"7", b'{"entry": 3}', b'{"entry": [{"resource": 1}, 2]}']))
def test_other_bytes_hold_nothing(body: bytes) -> None:
    assert fhir_compare.expected(body) == {}


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3), st.sampled_from(["", "<", ">="]), st.booleans())
def test_what_was_sent_is_what_is_expected(value: Decimal, comparator: str, conditional: bool) -> None:
    """By every way of naming the patient; a changed digit is seen."""
    options = replace(NAMED, references="conditional") if conditional else MADE
    body = tube(
        observation("GLU", f"{comparator}{value:f}", of=order(patient=OTHER), id="A"), options=options, of=OTHER
    )
    (one,) = fhir_compare.expected(body).values()
    assert (one.patient, one.specimen) == (
        (MADE.patient_system, "000999"), ("urn:labgateway:TH/specimen", "A123.000999"),
    )  # fmt: skip
    (sent,) = [e["resource"] for e in judges.read(body)["entry"] if e["resource"]["resourceType"] == "Observation"]
    sent["subject"], sent["specimen"] = {"reference": "Patient/1"}, {"reference": "Specimen/1"}
    named = {"Patient/1": frozenset([one.patient]), "Specimen/1": frozenset([one.specimen])}
    assert one.patient and one.specimen
    assert fhir_compare.differing(one, sent, named) == []  # pyright: ignore[reportArgumentType]
    if "valueQuantity" in sent:
        sent["valueQuantity"]["value"] += 1
        assert fhir_compare.differing(one, sent, named) == ["value"]  # pyright: ignore[reportArgumentType]
