"""What an EMR said about orders, told once more from its messages alone; naive, for the comparison with the store.

Keeps all that was said and works out what stands by telling it from the beginning. Knows nothing of rows, numbers or
indexes, and imports no function of the store, of orders or of matching.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from labgateway.model import Order, OrderState, Patient
from tests.matching.people import NOBODY
from tests.matching.reference import Tubes

Key = tuple[str, str, str]
"""Specimen it was ordered on, placer number, test."""


@dataclass(frozen=True)
class Said:
    """One thing that the EMR said. word: order, change, cancel, merge, update or from (a tube from a tube)."""

    word: str
    at: datetime
    specimen: str = ""
    placer: str = ""
    code: str = ""
    patient: Patient = NOBODY
    other: str = ""
    """merge: the number that is given up; from: the tube that it was taken from."""


def orders(story: list[Said]) -> dict[Key, Order]:
    """What stands: each order on each tube that it was ever placed on; ids count from 1."""
    book: dict[Key, Order] = {}
    for said in story:
        key = said.specimen, said.placer, said.code
        match said.word:
            case "order" | "change":
                if said.word == "change":
                    for one in [k for k in book if k[1:] == key[1:] and k[0] != said.specimen]:
                        book[one] = replace(book[one], state=OrderState.CANCELLED)
                old = book.get(key)
                new = Order("emr", *key, said.patient, received_at=said.at, id=len(book) + 1)
                if old is not None:
                    is_same = old.patient.id == said.patient.id
                    new = replace(
                        new,
                        id=old.id,
                        received_at=old.received_at,
                        patient=_known(old.patient, said.patient) if is_same else said.patient,
                        patient_changed_at=old.patient_changed_at if is_same else said.at,
                    )
                book[key] = new
            case "cancel" if key in book:
                book[key] = replace(book[key], state=OrderState.CANCELLED)
            case "merge" | "update":
                merged = said.other if said.word == "merge" else said.patient.id
                for one, order in book.items():
                    if order.patient.id == merged:
                        moved = said.at if said.word == "merge" else order.patient_changed_at
                        told = _known(order.patient, said.patient)
                        book[one] = replace(order, patient=told, patient_changed_at=moved)
            case _:
                pass
    return book


def tubes(story: list[Said]) -> Tubes:
    """(tube, the one that it was taken from), as was said."""
    return {(said.specimen, said.other) for said in story if said.word == "from"}


def _known(old: Patient, new: Patient) -> Patient:
    """What the EMR does not say it does not take back."""
    return Patient(
        new.id, new.pid3 or old.pid3, new.pid5 or old.pid5, new.birth_date or old.birth_date, new.sex or old.sex
    )
