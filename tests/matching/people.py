"""Invented people, orders and results for the tests of matching, and the hours they live in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from labgateway.matching.attribute import Attribution, Candidate, Policy, attribute
from labgateway.matching.versions import Fresh, Place, Prior
from labgateway.model import (
    Kind,
    ObservationState,
    Order,
    OrderState,
    Patient,
    Result,
    ResultLetter,
    Status,
)

DAY = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
PANELS = {"CBC": ("WBC", "HGB", "PLT"), "LIPID": ("CHOL", "TRIG"), "GTT": ("GLU", "GLU2H")}
POLICY = Policy()

LAN = Patient("1001", "1001^^^TH^MR", "TRẦN^THỊ LAN", "19700512", "F")
HUNG = Patient("1002", "1002^^^TH^MR", "NGUYỄN^VĂN HÙNG", "19811130", "M")
NOBODY = Patient(None)


def at(hours: float = 0) -> datetime:
    """So many hours after the day began, aware UTC."""
    return DAY + timedelta(hours=hours)


def order(
    code: str = "GLU",
    *,
    number: int = 1,
    patient: Patient = LAN,
    collected: float | None = 0,
    received: float = 0,
    **more: Any,
) -> Order:
    """An order for specimen A100, collected and received at hour 0 unless told."""
    given: dict[str, Any] = {"source": "emr", "specimen": "A100", "placer": f"P{number}", "id": number} | more
    return Order(
        code=code,
        patient=patient,
        collected_at=None if collected is None else at(collected),
        received_at=at(received),
        **given,
    )


def cancelled(code: str = "GLU", **more: Any) -> Order:
    """The same, cancelled."""
    return order(code, state=OrderState.CANCELLED, **more)


def candidate(*targets: str, received: float = 1, **more: Any) -> Candidate:
    """A glucose of specimen A100 that we received at hour 1 unless told, with no identity but the specimen."""
    given: dict[str, Any] = {"kind": Kind.PATIENT, "specimen": "A100", "code": "GLU-C", "value": "5.10"} | more
    return Candidate(Result(**given), targets or ("GLU",), at(received), "c311")


def judge(what: Candidate, *orders: Order, now: float | None = None, policy: Policy = POLICY) -> Attribution:
    """The attribution, asked at the moment of receipt unless told."""
    return attribute(what, orders, PANELS, policy, what.received_at if now is None else at(now))


HERE = Place(1, "1001")


def fresh(
    value: str | None = "5.10",
    status: Status = Status.FINAL,
    *,
    minute: int | None = None,
    received: float = 1,
    **more: Any,
) -> Fresh:
    """A glucose at order 1; minute: when it was measured, None where the instrument does not say."""
    when = None if minute is None else DAY.replace(tzinfo=None) + timedelta(minutes=minute)
    given: dict[str, Any] = {
        "specimen": "A100",
        "code": "GLU",
        "instrument": "c311",
        "unit": "mmol/L",
        "flags": (),
        "place": HERE,
        "measured_at": when,
        "measured_text": "" if when is None else f"{when:%Y%m%d%H%M%S}",
    } | more
    return Fresh(value=value, status=status, received_at=at(received), **given)


def prior(
    what: Fresh,
    letter: ResultLetter = ResultLetter.FINAL,
    state: ObservationState = ObservationState.RELEASED,
    *,
    name: str = "obs1",
) -> Prior:
    """An observation that came before."""
    return Prior(name, what, letter, state)
