"""The EMR's orders, one row an ordered test, and the messages they came in."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, insert, select, update

from labgateway.model import Order, OrderState, Patient, Priority
from labgateway.store.rows import Statement
from labgateway.store.tables import aliquot, from_us, lab_order, order_message

_PLAIN = [
    field.name
    for field in fields(Order)
    if field.name not in ("patient", "id", "state", "priority", "received_at", "ordered_on")
]
_PATIENT = ("patient_id", "pid3", "pid5", "birth_date", "sex")
_MOMENTS = ("collected_at", "patient_changed_at", "received_at")
_COLUMNS = (*_PLAIN, *_PATIENT, "id", "state", "priority", "received_at")


def keep_message(
    connection: Connection, *, source: str, peer: str, received_at: datetime, raw: bytes, code: str, answer: bytes
) -> int:
    """Keep an order message and what we answered; returns its number."""
    row = connection.execute(
        insert(order_message),
        {
            "source": source, "peer": peer, "received_at": received_at, "raw": raw,
            "sha256": hashlib.sha256(raw).hexdigest(), "code": code, "answer": answer,
        },
    )  # fmt: skip
    return int(row.inserted_primary_key[0])  # type: ignore[index]


def put(connection: Connection, order: Order, now: datetime) -> int:
    """Store a new order or change the one with the same source, specimen, placer and code; returns its number.

    A repeat of the same order is harmless. When it was received first stays as it was; when it got another patient
    is written down, since results that came before that moment must be seen by a person. Of the same patient what it does
    not say stays as it was known (HL7 2.5.1, 2.5.3: not valued is no change): a birth date that is gone compares nothing.
    """
    values = _values(order)
    found = _SAME.rows(connection, source=order.source, placer=order.placer, code=order.code, specimen=order.specimen)
    if found:
        before = _order(found[0])
        same_patient = before.patient == order.patient or (before.patient.id and before.patient.id == order.patient.id)
        values["patient_changed_at"] = before.patient_changed_at if same_patient else now
        told = _patient(order.patient)
        if same_patient:
            values, told = _said(values) | _collected(order), _said(told)
        if any(_patient(before.patient)[name] != value for name, value in told.items()):
            _shown_anew(connection, [order.specimen])
        connection.execute(update(lab_order).where(lab_order.c.id == before.id).values(**values, changed_at=now))
        return before.id
    row = connection.execute(insert(lab_order), {**values, "received_at": order.received_at or now, "changed_at": now})
    return int(row.inserted_primary_key[0])  # type: ignore[index]


def cancel(
    connection: Connection, *, source: str, placer: str, code: str, specimen: str | None, now: datetime
) -> dict[int, str]:
    """Cancel what the EMR names by placer number, and by code and specimen where it says them.

    Returns our number of each such order and the specimen it was on.
    """
    where = [lab_order.c.source == source, lab_order.c.placer == placer]
    if code:
        where.append(lab_order.c.code == code)
    if specimen:
        where.append(lab_order.c.specimen == specimen)
    found = connection.execute(select(lab_order.c.id, lab_order.c.specimen).where(and_(*where))).all()
    if found:
        connection.execute(
            update(lab_order)
            .where(lab_order.c.id.in_([row.id for row in found]))
            .values(state=OrderState.CANCELLED.value, changed_at=now)
        )
    return {int(row.id): row.specimen for row in found}


def move(
    connection: Connection,
    *,
    source: str,
    placer: str,
    to: Collection[tuple[str, str]],
    whole: bool = False,
    now: datetime,
) -> list[str]:
    """A changed order stands as (code, specimen) says and nowhere else: where else it was open it is cancelled now.

    whole: the placer number stands for nothing but what the change names; otherwise other tests under it are left alone.
    Returns the specimens that it left. What is measured on them is held, since the order was withdrawn there.
    """
    row = lab_order.c
    # Not by state: the planner would look at every open order.
    where = and_(row.source == source, row.placer == placer)
    codes = {code for code, _ in to}
    left = [
        one
        for one in connection.execute(select(row.id, row.code, row.specimen, row.state).where(where))
        if one.state == OrderState.OPEN.value and (one.code, one.specimen) not in to and (whole or one.code in codes)
    ]
    if left:
        values = {"state": OrderState.CANCELLED.value, "changed_at": now}
        connection.execute(update(lab_order).where(row.id.in_([one.id for one in left])).values(**values))
    return sorted({one.specimen for one in left})


def merge(connection: Connection, *, source: str, merged: Sequence[str], survivor: Patient, now: datetime) -> list[str]:
    """Orders of the merged patient ids become the survivor's; the specimens they were on.

    A survivor that is among the merged has new particulars only: no order gets another patient by that. Particulars that
    are not said stay as they were. What was sent for the merged is the survivor's from now on, as the EMR does it to its
    own records: what follows it is a version of it.
    """
    where = and_(lab_order.c.source == source, lab_order.c.patient_id.in_(merged))
    found = connection.execute(select(lab_order.c.specimen).where(where)).scalars().all()
    _shown_anew(connection, sorted(set(found)))
    values: dict[str, Any] = {**_said(_patient(survivor)), "changed_at": now}
    connection.execute(update(lab_order).where(where, lab_order.c.patient_id == survivor.id).values(**values))
    others = and_(where, lab_order.c.patient_id != survivor.id) if survivor.id else where
    beside = connection.execute(select(lab_order.c.id).where(others)).scalars().all()
    connection.execute(update(lab_order).where(others).values(**values, patient_changed_at=now))
    for number in beside:
        for old in merged:
            _NOW_OF.run(connection, beside=number, old=old.strip(), new=place_text(survivor))
    return sorted(set(found))


def place_text(patient: Patient) -> str:
    """What tells the patient of a result's place from others: the number, else the whole of PID-3, else the name."""
    return (patient.id or patient.pid3 or patient.pid5).strip()


def patient_of_old(connection: Connection, order: Order, place: str) -> Patient:
    """Whom an order named when a result was sent for it, as fully as another order of the same source says it.

    place: as ``place_text`` wrote it then.
    """
    if place_text(order.patient) == place:
        return order.patient
    rows = _OF_PATIENT.rows(connection, source=order.source, patient=place)
    return _order(rows[0]).patient if rows else Patient(id=place)


def _shown_anew(connection: Connection, specimens: Sequence[str]) -> None:
    """Whoever looks at what is held or waits there has seen another patient, or other particulars: P9."""
    for specimen in dict.fromkeys([*specimens, *(one for of in specimens for one in taken_from(connection, of))]):
        _SHOWN_ANEW.run(connection, specimen=specimen)


_SHOWN_ANEW = Statement(
    "UPDATE observation SET row_version = row_version + 1 WHERE specimen = :specimen AND state IN ('held', 'waiting')"
)
_NOW_OF = Statement("UPDATE observation SET place_patient = :new WHERE beside_id = :beside AND place_patient = :old")

_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM lab_order WHERE"  # noqa: S608  # constants
_BY_SPECIMEN = Statement(f"{_SELECT} specimen = :specimen ORDER BY id")
_OF_PATIENT = Statement(f"{_SELECT} source = :source AND patient_id = :patient ORDER BY id DESC LIMIT 1")
_BY_ID = Statement(f"{_SELECT} id = :id")
_SAME = Statement(f"{_SELECT} source = :source AND placer = :placer AND code = :code AND specimen = :specimen")


_PARENTS = Statement("SELECT parent FROM aliquot WHERE specimen = :specimen ORDER BY id")
_LEFT_OF = (
    "b.specimen FROM lab_order a JOIN lab_order b ON b.source = a.source AND b.placer = a.placer "
    "AND b.code = a.code AND b.specimen <> a.specimen WHERE a.specimen = :specimen AND a.placer <> '' "
    "AND a.state || '' = 'open' AND b.state <> 'open'"  # as it stands, SQLite would look at every open order
)
_LEFT = Statement(f"SELECT DISTINCT {_LEFT_OF} ORDER BY b.specimen")
_CHILDREN = Statement("SELECT specimen FROM aliquot WHERE parent = :specimen ORDER BY id")
_KIN = Statement(
    "SELECT 'parent', parent FROM aliquot WHERE specimen = :specimen "  # noqa: S608  # constants
    "UNION ALL SELECT 'child', specimen FROM aliquot WHERE parent = :specimen "
    f"UNION ALL SELECT DISTINCT 'left', {_LEFT_OF}"
)
_MOST_STEPS = 4
"""A tube from a tube from a tube; a circle ends as well."""


@dataclass(frozen=True, slots=True)
class Kin:
    """The tubes nearest to a specimen. parents: it was taken from; children: taken from it; left: those that the EMR
    moved an order away from, onto it."""

    parents: tuple[str, ...]
    children: tuple[str, ...]
    left: tuple[str, ...]


def kin(connection: Connection, specimen: str) -> Kin:
    """In one question, since most tubes have none."""
    near: dict[str, list[str]] = {"parent": [], "child": [], "left": []}
    for kind, other in _KIN.rows(connection, specimen=specimen):
        near[str(kind)].append(str(other))
    return Kin(tuple(near["parent"]), tuple(near["child"]), tuple(sorted(near["left"])))


def for_specimen(connection: Connection, specimen: str, near: Kin | None = None) -> list[Order]:
    """Every order that a result with exactly this specimen id may answer, cancelled ones too, first come first.

    Those on the id itself, and those on the specimens that the EMR says the tube was taken from; the latter say where
    they were ordered. near: as ``kin`` says, None: to be asked.
    """
    found = [_order(row) for row in _BY_SPECIMEN.rows(connection, specimen=specimen)]
    if near is None or near.parents:
        for parent in _family(connection, specimen, _PARENTS):
            theirs = [_order(row) for row in _BY_SPECIMEN.rows(connection, specimen=parent)]
            found += [replace(order, specimen=specimen, ordered_on=parent) for order in theirs]
    return sorted(found, key=lambda order: order.id)


def relate(connection: Connection, *, source: str, specimen: str, parent: str, now: datetime) -> None:
    """The EMR says that a tube was taken from another one. Harmless when repeated."""
    if specimen == parent or (parent,) in [tuple(row) for row in _PARENTS.rows(connection, specimen=specimen)]:
        return
    connection.execute(
        insert(aliquot), {"source": source, "specimen": specimen, "parent": parent, "told_at": now}
    )  # fmt: skip


def taken_from(connection: Connection, specimen: str) -> list[str]:
    """The tubes that were taken from a specimen, at any remove."""
    return _family(connection, specimen, _CHILDREN)


def siblings(connection: Connection, specimen: str, near: Kin | None = None) -> list[str]:
    """The other tubes of which a result may have answered the same orders: what it was taken from, what else was, and
    those that the EMR moved an order away from. near: as ``kin`` says, None: to be asked.
    """
    near = near or kin(connection, specimen)
    if not (near.parents or near.children):
        return list(near.left)
    above = _family(connection, specimen, _PARENTS)
    below = [child for one in (specimen, *above) for child in _family(connection, one, _CHILDREN)]
    left = [str(row[0]) for one in (specimen, *above) for row in _LEFT.rows(connection, specimen=one)]
    return [one for one in dict.fromkeys((*above, *below, *left)) if one != specimen]


def is_same(one: Order, other: Order) -> bool:
    """One order of the EMR's, stored on two tubes because it was moved from one to the other."""
    return one.id == other.id or (
        one.placer != ""
        and (one.source, one.placer, one.code) == (other.source, other.placer, other.code)
        and OrderState.OPEN in (one.state, other.state)
        and one.state is not other.state
    )


def _family(connection: Connection, specimen: str, step: Statement) -> list[str]:
    found: dict[str, None] = {}
    edge = [specimen]
    for _ in range(_MOST_STEPS):
        edge = [str(row[0]) for one in edge for row in step.rows(connection, specimen=one)]
        edge = [one for one in edge if one not in found and one != specimen]
        if not edge:
            break
        found.update(dict.fromkeys(edge))
    return list(found)


def seen_from(connection: Connection, number: int, specimen: str | None) -> Order | None:
    """One order, as a result on this specimen id sees it."""
    mine = for_specimen(connection, specimen) if specimen else []
    return next((order for order in mine if order.id == number), None) or get(connection, number)


def get(connection: Connection, number: int) -> Order | None:
    """One order."""
    for row in _BY_ID.rows(connection, id=number):
        return _order(row)
    return None


def _patient(patient: Patient) -> dict[str, Any]:
    return {
        "patient_id": patient.id, "pid3": patient.pid3, "pid5": patient.pid5, "birth_date": patient.birth_date,
        "sex": patient.sex,
    }  # fmt: skip


_MAY_BE_UNSAID = frozenset({
    "pid3", "pid5", "birth_date", "sex", "filler", "ward", "patient_class", "specimen_type", "collected_at", "collected_text",
})  # fmt: skip


def _said(values: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty and may be."""
    return {name: value for name, value in values.items() if value or name not in _MAY_BE_UNSAID}


def _collected(order: Order) -> dict[str, Any]:
    """The collection as one word: a text that is no time leaves no earlier time standing beside it."""
    if not order.collected_text and order.collected_at is None:
        return {}
    return {"collected_at": order.collected_at, "collected_text": order.collected_text}


def _values(order: Order) -> dict[str, Any]:
    return {
        **{name: getattr(order, name) for name in _PLAIN},
        **_patient(order.patient),
        "state": order.state.value,
        "priority": order.priority.value,
    }


def _order(row: Sequence[Any]) -> Order:
    values: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
    patient = Patient(*(values.pop(name) for name in _PATIENT))
    for name in _MOMENTS:
        if values[name] is not None:
            values[name] = from_us(values[name])
    values["state"] = OrderState(values["state"])
    values["priority"] = Priority(values["priority"])
    return Order(patient=patient, **values)
