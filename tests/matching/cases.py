"""A small crowded world of orders and results around every edge: drawn by a seed, many at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeVar

from labgateway.matching.attribute import Attribution, Candidate, Policy, attribute
from labgateway.model import Kind, Order, OrderState, Patient, Result
from tests.matching.people import DAY, PANELS, at
from tests.matching.reference import BIRTHS, IDS, NAMES, SEXES, Opinion, opinion

T = TypeVar("T")

HOURS = (-250.0, -240.0, -100.0, -72.0, -1.0, -0.2, -0.1, 0.0, 0.1, 1.0, 24.0, 71.9, 72.0, 72.1, 200.0, 313.0)
NEAR = (-1.0, -0.1, 0.0, 0.1, 1.0, 24.0)
CODES = ("GLU", "GLU", "GLU2H", "GTT", "HGB", "CBC")
SPECIMENS = ("A101", "a100", "000", "", "QC1", "-", "UNKNOWN")


@dataclass(frozen=True)
class Case:
    """One question to matching. hours: asked so long after receipt."""

    what: Candidate
    orders: tuple[Order, ...]
    policy: Policy
    hours: float = 0

    def ask(self, *orders: Order) -> Attribution:
        """The answer of the code, with these orders besides."""
        now = at(self.hours) + (self.what.received_at - DAY)
        return attribute(self.what, [*self.orders, *orders], PANELS, self.policy, now)

    def opinion(self) -> Opinion:
        """The answer of the reference."""
        now = at(self.hours) + (self.what.received_at - DAY)
        what = self.what
        return opinion(what.result, what.targets, what.received_at, self.orders, PANELS, self.policy, now)


def mostly(rng: Random, usual: T, others: Any, share: float = 0.15) -> T:
    """The usual one; another one in a share of the draws."""
    return rng.choice(list(others)) if rng.random() < share else usual


def a_patient(rng: Random, odd: float) -> Patient:
    """Lan, or somebody who differs from her in a field or two."""
    return Patient(
        id=mostly(rng, "1001", IDS, odd),
        pid3=mostly(rng, "1001^^^TH^MR", ["1001", "", "1002^^^TH^MR", "1001^^^BM^MR"], odd),
        pid5=mostly(rng, "TRẦN^THỊ LAN", [n for n in NAMES if n is not None], odd),
        birth_date=mostly(rng, "19700512", BIRTHS, odd),
        sex=mostly(rng, "F", SEXES, odd),
    )


def an_order(rng: Random, patient: Patient, odd: float, number: int) -> Order:
    """An order of specimen A100, mostly near the result in time."""
    hours = HOURS if rng.random() < odd * 2 else NEAR
    collected = None if rng.random() < 0.3 else at(rng.choice(hours))
    return Order(
        source=mostly(rng, "emr", ["file"], odd),
        specimen=mostly(rng, "A100", SPECIMENS, odd),
        placer=rng.choice(["P1", "P2", "P3", ""]),
        code=rng.choice(CODES),
        patient=patient,
        ward=mostly(rng, "A3", ["B1"], odd),
        collected_at=collected,
        state=mostly(rng, OrderState.OPEN, [OrderState.CANCELLED], odd * 2),
        received_at=at(rng.choice(hours)),
        patient_changed_at=mostly(rng, None, [at(-1), at(1)], odd / 2),
        id=number,
    )


def a_case(rng: Random) -> Case:
    """A question with more or fewer oddities; half of the cases have hardly any."""
    odd = rng.choice([0.0, 0.05, 0.15, 0.3])
    few = [a_patient(rng, odd) for _ in range(rng.choice([1, 1, 2]))]
    orders = [an_order(rng, rng.choice(few), odd, number) for number in range(1, rng.choice([1, 2, 2, 3, 3, 4]))]
    if orders and rng.random() < 0.15:
        orders.append(replace(rng.choice(orders), id=9, received_at=at(rng.choice(NEAR))))
    result = Result(
        kind=mostly(rng, Kind.PATIENT, [Kind.CONTROL], odd / 2),
        specimen=mostly(rng, "A100", [*SPECIMENS, None], odd),
        code="GLU-C",
        value="5.10",
        patient=mostly(rng, None, IDS, 0.3),
        patient_name=mostly(rng, None, NAMES, 0.3),
        birth_date=mostly(rng, None, BIRTHS, 0.3),
        sex=mostly(rng, None, SEXES, 0.3),
    )
    policy = Policy(
        window_h=mostly(rng, 72, [24]),
        wait_h=mostly(rng, 240, [24]),
        without_order=mostly(rng, "wait", ["send"]),
        not_ordered=rng.choice(["hold", "leave_out", "send"]),
        second_ids=rng.choice(
            [("patient", "birth_date", "sex"), ("patient", "birth_date", "sex", "name"), ("name",), ()]
        ),
    )
    targets = rng.choice([("GLU",), ("GLU",), ("HGB",), ("GLU", "GLU2H"), ("CRP",)])
    received = at(rng.choice(HOURS if rng.random() < odd * 2 else NEAR))
    return Case(
        Candidate(result, targets, received, "c311"),
        tuple(orders),
        policy,
        rng.choice([0, 0, -1, 24, 24.1, 240, 240.1]),
    )


def cases(number: int, seed: int = 0) -> Iterator[Case]:
    """So many cases, the same for the same seed."""
    rng = Random(seed)
    for _ in range(number):
        yield a_case(rng)
