"""A naive second opinion on matching, written from the words of RELIABILITY sections 7 and 8 and DESIGN 5.1.

It asks every question about every pair and collects every hazard at once; the code under test asks
them in turn. It knows nothing of folds: what a text means is looked up in a list of the texts that the tests use.
Imports no function of matching.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from labgateway.errors import Reason
from labgateway.model import Kind, Order, OrderState, Patient, Result, ResultLetter

NO_IDS = {"0", "000", "UNKNOWN", "QC1", "-"}
IDS = {"1001": "1001", "1002": "1002", " 1001": "1001", None: None, "": None, "0": None, "N/A": None}
BIRTHS = {
    "19700512": "19700512",
    "1970-05-12": "19700512",
    "1970": "1970",
    "19811130": "19811130",
    None: None,
    "00000000": None,
}
SEXES = {"F": "f", "Nữ": "f", "female": "f", "M": "m", "Nam": "m", None: None, "U": None}
NAMES = {
    "TRẦN^THỊ LAN": "lan",
    "TRAN THI LAN": "lan",
    "NGUYỄN^VĂN HÙNG": "hung",
    "Hung Nguyen-Van": "hung",
    None: None,
    "": None,
}
AUTHORITIES = {("1001", "1001^^^TH^MR"): "TH", ("1001", "1001^^^BM^MR"): "BM", ("1002", "1002^^^TH^MR"): "TH"}
"""Who issued the id, by the repetition of PID-3 that holds it."""


Tubes = AbstractSet[tuple[str, str]]
"""(A tube, the one that it was taken from)."""


def with_parents(specimen: str | None, tubes: Tubes) -> set[str | None]:
    """The ids whose orders a result on this one answers: its own, and those it came from, at up to four removes."""
    found = {specimen}
    for _ in range(4):
        found |= {parent for tube, parent in tubes if tube in found}
    return found


@dataclass(frozen=True)
class Opinion:
    """What may happen. hazards: every reason to hold; any of them is right. Without one: what, orders, target."""

    hazards: frozenset[Reason] = frozenset()
    what: str = "held"
    orders: frozenset[int] = frozenset()
    target: str = ""


def means(result: Result) -> dict[str, str | None]:
    """What the instrument says of the patient."""
    return {
        "patient": IDS[result.patient],
        "birth_date": BIRTHS[result.birth_date],
        "sex": SEXES[result.sex],
        "name": NAMES[result.patient_name],
    }


def meant(patient: Patient) -> dict[str, str | None]:
    """What the EMR says of the patient."""
    return {
        "patient": IDS[patient.id],
        "birth_date": BIRTHS[patient.birth_date],
        "sex": SEXES[patient.sex],
        "name": NAMES[patient.pid5],
    }


def conflict(field: str, one: dict[str, str | None], other: dict[str, str | None]) -> bool:
    """Present on both sides and different; a year agrees with a date of that year."""
    a, b = one[field], other[field]
    if a is None or b is None:
        return False
    return a[: len(b)] != b[: len(a)] if field == "birth_date" else a != b


def proven_one(a: Order, b: Order) -> bool:
    """Is it proven that both orders are one person's? Missing identity never proves it."""
    one, other = meant(a.patient), meant(b.patient)
    if any(conflict(f, one, other) for f in ("patient", "birth_date", "sex")):
        return False
    full = one["birth_date"] == other["birth_date"] and len(one["birth_date"] or "") == 8
    if one["patient"] and other["patient"]:
        given = AUTHORITIES.get((one["patient"], a.patient.pid3)), AUTHORITIES.get((other["patient"], b.patient.pid3))
        if None not in given:
            return given[0] == given[1]
        return a.source == b.source or full
    if one["patient"] or other["patient"]:
        return False
    if a.source == b.source and a.patient.pid3 == b.patient.pid3 != "":
        return True
    same_text = a.patient.pid5 == b.patient.pid5 and one["sex"] == other["sex"]
    return bool(full and same_text and one["name"] and one["sex"])


def opinion(
    result: Result,
    targets: Sequence[str],
    received: datetime,
    orders: Sequence[Order],
    panels: Mapping[str, Sequence[str]],
    policy: Any,
    now: datetime,
    tubes: Tubes = frozenset(),
) -> Opinion:
    """Everything that speaks against attaching this result; if nothing does, where it goes.

    orders: on whatever tubes. tubes: which was taken from which, as the EMR said.
    """
    specimens = with_parents(result.specimen, tubes)
    hours, ten_minutes = (lambda h: timedelta(hours=h)), timedelta(minutes=10)
    hazards: set[Reason] = set()
    if result.kind is not Kind.PATIENT or result.specimen in NO_IDS:
        hazards.add(Reason.NOT_A_PATIENT_ID)
    if not result.specimen:
        hazards.add(Reason.NO_SPECIMEN)
    if hazards:
        return Opinion(frozenset(hazards))

    known = {
        o
        for o in orders
        if o.specimen in specimens
        and o.collected_at
        and o.collected_at - ten_minutes <= received <= o.collected_at + hours(policy.window_h)
    }
    unknown = {
        o
        for o in orders
        if o.specimen in specimens
        and not o.collected_at
        and o.received_at
        and o.received_at - hours(policy.wait_h) <= received <= o.received_at + hours(policy.window_h)
    }
    inside = known | unknown
    live = {o for o in inside if o.state is OrderState.OPEN}
    if not inside:
        if policy.without_order == "send":
            several = len(set(targets)) > 1
            return (
                Opinion(frozenset({Reason.SEVERAL_TARGETS}))
                if several
                else Opinion(what="unordered", target=targets[0])
            )
        return Opinion(frozenset({Reason.NO_ORDER})) if now - received > hours(policy.wait_h) else Opinion(what="waits")

    if any(not proven_one(a, b) for a, b in product(inside, inside) if len(inside) > 1):
        hazards.add(Reason.AMBIGUOUS_ORDER)
    if any(conflict(f, means(result), meant(o.patient)) for f, o in product(policy.second_ids, inside)):
        hazards.add(Reason.IDENTITY_CONFLICT)
    if any(o.patient_changed_at and o.patient_changed_at >= received for o in inside):
        hazards.add(Reason.ORDER_CHANGED)

    asked = {(t, o) for t, o in product(targets, inside) if t == o.code or t in panels.get(o.code, ())}
    wanted = {(t, o) for t, o in asked if o in live}
    tests = {t for t, _ in wanted}
    if not live or (asked and not wanted):
        hazards.add(Reason.ORDER_CANCELLED)
    if len(tests) > 1 or (not tests and len(set(targets)) > 1):
        hazards.add(Reason.SEVERAL_TARGETS)
    for (_, a), (_, b) in product(wanted, wanted):
        if (a.placer, a.code) != (b.placer, b.code) or (
            not a.placer and everything_but_receipt(a) != everything_but_receipt(b)
        ):
            hazards.add(Reason.AMBIGUOUS_ORDER)
    for (_, a), b in product(wanted, inside - live):
        if a.placer and (a.placer, a.code) == (b.placer, b.code):
            hazards.add(Reason.ORDER_CANCELLED)
    if not wanted and not hazards:
        match policy.not_ordered:
            case "leave_out":
                return Opinion(what="left_out")
            case "send" if all(meant(o.patient)["patient"] for o in inside):
                return Opinion(what="beside", target=targets[0])
            case _:
                hazards.add(Reason.NOT_ORDERED)
    if hazards:
        return Opinion(frozenset(hazards))
    return Opinion(what="attached", orders=frozenset(o.id for _, o in wanted), target=tests.pop())


def everything_but_receipt(order: Order) -> tuple[Any, ...]:
    """What the EMR said, without our number and our time."""
    return tuple(getattr(order, f) for f in Order.__slots__ if f not in ("id", "received_at"))


FOLLOWS = {
    # RELIABILITY section 7: P->P,F,C,X; F->C,W,D; C->C,W,D; W terminal; and the value after an X (versions.py)
    *((ResultLetter.PRELIMINARY, b) for b in (ResultLetter.PRELIMINARY, ResultLetter.FINAL, ResultLetter.CORRECTED)),
    *((ResultLetter.NO_RESULT, b) for b in (ResultLetter.PRELIMINARY, ResultLetter.FINAL, ResultLetter.CORRECTED)),
    (ResultLetter.FINAL, ResultLetter.CORRECTED),
    (ResultLetter.CORRECTED, ResultLetter.CORRECTED),
    *((a, b) for a in (ResultLetter.FINAL, ResultLetter.CORRECTED) for b in (ResultLetter.WRONG, ResultLetter.DELETED)),
}
"""Which letter the EMR may see behind which at one place. P -> X is a person's and stands in PERSONS."""

PERSONS = {
    (ResultLetter.PRELIMINARY, ResultLetter.NO_RESULT),
    *(
        (a, b)
        for a in (ResultLetter.PRELIMINARY, ResultLetter.NO_RESULT)
        for b in (ResultLetter.WRONG, ResultLetter.DELETED)
    ),
    # Behind what was taken back a person begins anew: nothing -> P, F, C, X.
    *(
        (b, a)
        for b in (ResultLetter.WRONG, ResultLetter.DELETED)
        for a in (ResultLetter.PRELIMINARY, ResultLetter.FINAL, ResultLetter.CORRECTED, ResultLetter.NO_RESULT)
    ),
}
"""What only a person does."""
