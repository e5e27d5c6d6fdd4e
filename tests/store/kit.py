"""Invented rows for the tests of the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from labgateway.errors import Problem
from labgateway.model import Kind, ObservationState, Order, Patient, Result, ResultLetter
from labgateway.store import journal, results
from labgateway.store.observed import Decided

NOW = datetime(2026, 11, 22, 8, 15, 0, 123456, tzinfo=UTC)


def later(**delta: float) -> datetime:
    """So long after NOW."""
    return NOW + timedelta(**delta)


def append(connection: Connection, raw: bytes = b"H|\\^&\rL|1|N\r", **more: Any) -> int:
    """Keep one message."""
    values: dict[str, Any] = {
        "instrument": "xn1", "protocol": "astm", "peer": "10.20.0.31:4001", "received_at": NOW, **more,
    }  # fmt: skip
    return journal.append(connection, raw=raw, **values)


def result(code: str = "WBC", value: str | None = "8.13", **more: Any) -> Result:
    """One result of a patient's specimen."""
    values: dict[str, Any] = {"specimen": "S1", "unit": "10*3/uL", "where": "R1", **more}
    return Result(kind=Kind.PATIENT, code=code, value=value, **values)


def decided(number: str, result_id: int, transmission_id: int, **more: Any) -> Decided:
    """What became of a result: released, unless said otherwise."""
    values: dict[str, Any] = {
        "id": number, "result_id": result_id, "transmission_id": transmission_id, "instrument": "xn1",
        "specimen": "S1", "order_id": None, "beside_id": None, "place_patient": None, "code": "WBC", "name": "",
        "loinc": "6690-2", "moh": "", "value": "8.13", "unit": "10*9/L", "original_value": None,
        "original_unit": None, "letter": ResultLetter.FINAL, "state": ObservationState.RELEASED, "problem": None,
        "mapping_version": "m1", "replaces": None, "duplicate_of": None, "received_at": NOW, "decided_at": NOW,
        **more,
    }  # fmt: skip
    return Decided(**values)


def observe(
    connection: Connection, number: str, state: ObservationState, problem: Problem | None = None, **more: Any
) -> int:
    """A message with one result that ended in this state; returns the message's number."""
    message = append(connection, number.encode())
    (result_id,) = results.add_results(connection, message, [result()])
    results.add_observations(connection, [decided(number, result_id, message, state=state, problem=problem, **more)])
    return message


def order(**more: Any) -> Order:
    """One ordered test."""
    values: dict[str, Any] = {
        "source": "emr", "specimen": "S1", "placer": "P1", "code": "CBC",
        "patient": Patient("000123", "000123^^^TH^MR", "NGUYEN^VAN A", "19700102", "M"), **more,
    }  # fmt: skip
    return Order(**values)


def count(connection: Connection, table: str) -> int:
    """Rows of a table."""
    return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
