"""What an instrument is told, from a store on disk: one specimen, a range, everything; and what a person must see."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection

from labgateway.cli.decode_command import shipped_drivers
from labgateway.errors import Reason
from labgateway.instruments.driver import load
from labgateway.instruments.library import Library
from labgateway.instruments.queries import questions
from labgateway.mapping.table import parse
from labgateway.matching.attribute import Policy
from labgateway.model import ObservationState, OrderState, Patient, Priority
from labgateway.pipeline import take
from labgateway.pipeline.asked import MOST_SPECIMENS, Answer, answer
from labgateway.pipeline.rules import InstrumentRules, Rules
from labgateway.store import journal, orders
from labgateway.store.engine import Store
from tests.store import kit

DRIVER = load(shipped_drivers() / "generic_astm")
MAPPING, _ = parse(
    b'[tests]\nWBC = { emr = "WBC" }\nHGB = { emr = "HGB" }\nX1 = { emr = "X" }\nX2 = { emr = "X" }\n'
    b'[panels]\nCBC = ["WBC", "HGB"]\n',
    "xn1.toml",
)


def rules(**policy: object) -> Rules:
    assert MAPPING is not None
    instrument = InstrumentRules(DRIVER, MAPPING, orders="asked")
    return Rules("v", ZoneInfo("UTC"), Policy(**policy), Library([DRIVER]), {"xn1": instrument}, ())  # type: ignore[arg-type]


def message(*rows: str) -> bytes:
    return "\r".join(["H|\\^&|||X", *rows, "L|1|N", ""]).encode()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path}/labgateway.db")
    yield opened
    await opened.close()


async def put(store: Store, specimen: str, code: str = "CBC", **more: object) -> None:
    values: dict[str, object] = {
        "specimen": specimen, "code": code, "placer": f"{specimen}-{code}", "patient": Patient(f"P-{specimen}"),
        "collected_at": kit.NOW - timedelta(hours=1), "received_at": kit.NOW - timedelta(hours=1), **more,
    }  # fmt: skip
    await store.submit(lambda c: orders.put(c, replace(kit.order(), **values), kit.NOW - timedelta(hours=1)))  # type: ignore[arg-type]


async def told(store: Store, *rows: str) -> Answer:
    found = questions(DRIVER, message(*rows))
    using = rules()
    return await store.read(lambda c: answer(c, found, "xn1", using.instruments["xn1"], using, kit.NOW))


async def test_one_specimen(store: Store) -> None:
    """The codes of all its open orders once, its patient, the most urgent priority."""
    await put(store, "S1")
    await put(store, "S1", "WBC", priority=Priority.STAT)
    await put(store, "S1", "ELSEWHERE", priority=Priority.ASAP)
    await put(store, "S1", "HGB", state=OrderState.CANCELLED)
    (work,) = (await told(store, "Q|1|^S1")).works
    assert (work.specimen, work.codes, work.priority) == ("S1", ("WBC", "HGB"), Priority.STAT)
    assert work.patient == Patient("P-S1")


async def test_nothing_to_do(store: Store) -> None:
    """No order, another instrument's tests, an order of last week: the specimen is there, without codes."""
    await put(store, "S2", "ELSEWHERE")
    await put(store, "S3", collected_at=kit.NOW - timedelta(days=7))
    found = await told(store, "Q|1|^S1", "Q|2|^S2", "Q|3|^S3")
    assert [(work.specimen, work.codes, work.patient) for work in found.works] == [
        ("S1", (), None),
        ("S2", (), None),
        ("S3", (), None),
    ]
    assert (found.count, found.problems) == (0, [])


async def test_a_range(store: Store) -> None:
    """Ids of the same length from the first to the last, only those with something to do."""
    for specimen in ("S100", "S101", "S105", "S109", "S110", "S1011", "T105"):
        await put(store, specimen)
    found = await told(store, "Q|1|^S101|^S109")
    assert [work.specimen for work in found.works] == ["S101", "S105", "S109"]
    assert (await told(store, "Q|1|^S9|^S101")).works == []


async def test_everything(store: Store) -> None:
    """All that this instrument has said nothing about yet, oldest first, at most so many."""
    await put(store, "S2")
    await put(store, "S1")
    await put(store, "S3", "ELSEWHERE")

    def measured(connection: Connection) -> None:
        kit.observe(connection, "O1", ObservationState.RELEASED, specimen="S2")

    assert [work.specimen for work in (await told(store, "Q|1|ALL")).works] == ["S2", "S1"]
    await store.submit(measured)
    assert [work.specimen for work in (await told(store, "Q|1|ALL")).works] == ["S1"]
    for number in range(MOST_SPECIMENS + 5):
        await put(store, f"M{number:04}")
    assert len((await told(store, "Q|1|ALL")).works) == MOST_SPECIMENS


async def test_a_query_in_doubt_waits_for_a_person_once(store: Store) -> None:
    """Two patients under one id, or two codes for one test: the query parks; the same doubt again does not."""
    await put(store, "S1")
    await put(store, "S1", "WBC", patient=Patient("P-other"))
    await put(store, "S2", "X")
    reasons: list[str | None] = []
    for row in ("Q|1|^S1", "Q|1|^S2", "Q|1|^S1", "Q|1|^S2", "Q|1|^S9"):
        number = await store.submit(lambda c, row=row: kit.append(c, message(row)))  # type: ignore[misc]
        await store.submit(take.process(number, rules(), kit.NOW))
        kept = await store.read(lambda c, number=number: journal.get(c, number))  # type: ignore[misc]
        assert kept is not None
        reasons.append(kept.problem.reason.name if kept.problem else None)
        if kept.problem:
            assert not re.search(r"S\d|P-", kept.problem.detail)
    assert reasons == [Reason.AMBIGUOUS_ORDER.name, Reason.NOT_ASKED.name, None, None, None]
