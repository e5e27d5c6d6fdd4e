"""What analyzers said and what became of it, as values and as rows; results.py reads and writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Any

from labgateway.errors import Problem
from labgateway.model import Added, Attachment, Kind, ObservationState, Result, ResultLetter, Status
from labgateway.quick import quick
from labgateway.store.journal import problem_of
from labgateway.store.tables import from_us, to_us

_TEXTS = (
    "patient", "measured_at_text", "where", "patient_name", "birth_date", "sex", "specimen_type", "range", "operator",
    "run", "dilution", "serial", "lot", "level",
)  # fmt: skip
_texts_of = attrgetter(*_TEXTS)
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_NOTHING = Added()
_ADDED = tuple(field.name for field in fields(Added))
WORD = {member: member.value for kind in (Kind, ObservationState, ResultLetter) for member in kind}
"""What the driver is given for an enum: it takes plain text only."""


@quick
@dataclass(frozen=True, slots=True)
class Stored:
    """One observation as it stands, with the analyzer's words.

    code, name, loinc, moh, value, unit: what the EMR gets, as far as it is decided. row_version: a person's
    decision must name it.
    """

    id: str
    result: Result
    result_id: int
    transmission_id: int
    instrument: str
    specimen: str | None
    order_id: int | None
    beside_id: int | None
    place_patient: str | None
    code: str
    name: str
    loinc: str
    moh: str
    value: str | None
    unit: str
    original_value: str | None
    original_unit: str | None
    letter: ResultLetter
    state: ObservationState
    problem: Problem | None
    row_version: int
    replaces: str | None
    duplicate_of: str | None
    received_at: datetime
    mapping_version: str | None
    decided_at: datetime
    decided_by: str
    added: Added | None = None


@quick
@dataclass(frozen=True, slots=True)
class Decided:
    """What is written about one result; the fields are the columns of observation."""

    id: str
    result_id: int
    transmission_id: int
    instrument: str
    specimen: str | None
    order_id: int | None
    beside_id: int | None
    place_patient: str | None
    code: str
    name: str
    loinc: str
    moh: str
    value: str | None
    unit: str
    original_value: str | None
    original_unit: str | None
    letter: ResultLetter
    state: ObservationState
    problem: Problem | None
    mapping_version: str | None
    replaces: str | None
    duplicate_of: str | None
    received_at: datetime
    decided_at: datetime
    decided_by: str = ""
    added: Added | None = None


@dataclass(frozen=True, slots=True)
class Earlier:
    """One released value of a patient, as far as a comparison needs it."""

    id: str
    specimen: str
    order_id: int | None
    beside_id: int
    code: str
    value: str | None
    unit: str
    letter: ResultLetter
    replaces: str | None
    received_at: datetime


def pack(said: Result) -> str:
    """Everything of a Result that has no column of its own, as JSON."""
    more: dict[str, Any] = {name: value for name, value in zip(_TEXTS, _texts_of(said), strict=True) if value}
    if said.flags:
        more["flags"] = said.flags
    if said.comments:
        more["comments"] = said.comments
    if said.status is not Status.FINAL:
        more["status"] = said.status.value
    if said.measured_at is not None:
        more["measured_at"] = said.measured_at.isoformat()
    if said.problem is not None:
        more["problem"] = [said.problem.reason.name, said.problem.detail]
    if said.attachments:
        more["attachments"] = [[a.code, a.media_type, a.text] for a in said.attachments]
    return _to_json(more)


def unpack(kind: str, specimen: str | None, code: str, value: str | None, unit: str | None, packed: str) -> Result:
    """The Result that was stored; ``pack``'s counterpart."""
    more: dict[str, Any] = json.loads(packed)
    problem = more.get("problem")
    measured_at = more.get("measured_at")
    named: dict[str, Any] = {name: more[name] for name in _TEXTS if name in more}
    return Result(
        kind=Kind(kind),
        specimen=specimen,
        code=code,
        value=value,
        unit=unit,
        flags=tuple(more.get("flags", ())),
        comments=tuple(more.get("comments", ())),
        status=Status(more.get("status", Status.FINAL.value)),
        measured_at=datetime.fromisoformat(measured_at) if measured_at else None,
        problem=problem_of(problem[0], problem[1]) if problem else None,
        attachments=tuple(Attachment(*a) for a in more.get("attachments", ())),
        **named,
    )


_AS_IT_IS = (
    "id", "result_id", "transmission_id", "instrument", "specimen", "order_id", "beside_id", "place_patient", "code", "name",
    "loinc", "moh", "value", "unit", "original_value", "original_unit",
)  # fmt: skip
COLUMNS = (
    *_AS_IT_IS, "letter", "state", "reason", "detail", "mapping_version", "replaces", "duplicate_of", "received_at",
    "decided_at", "decided_by", "added",
)  # fmt: skip
_as_it_is = attrgetter(*_AS_IT_IS)


def row_of(d: Decided) -> tuple[Any, ...]:
    """Its values, in the order of COLUMNS."""
    problem = d.problem
    return (
        *_as_it_is(d), WORD[d.letter], WORD[d.state], None if problem is None else problem.reason.name,
        "" if problem is None else problem.detail, d.mapping_version, d.replaces, d.duplicate_of, to_us(d.received_at),
        to_us(d.decided_at), d.decided_by, None if d.added is None else _pack_added(d.added),
    )  # fmt: skip


def _pack_added(added: Added) -> str:
    return _to_json({name: value for name in _ADDED if (value := getattr(added, name)) != getattr(_NOTHING, name)})


def _unpack_added(packed: str | None) -> Added | None:
    if packed is None:
        return None
    said: dict[str, Any] = json.loads(packed)
    flags = said.get("flags")
    return Added(
        range=said.get("range"),
        flags=None if flags is None else tuple(flags),
        notes=tuple(said.get("notes", ())),
        formula=said.get("formula", ""),
        inputs=tuple(said.get("inputs", ())),
    )


SELECT = (
    "SELECT o.id, o.result_id, o.transmission_id, o.instrument, o.specimen, o.order_id, o.beside_id, "
    "o.place_patient, o.code, o.name, o.loinc, o.moh, o.value, o.unit, o.original_value, o.original_unit, o.letter, "
    "o.state, o.reason, o.detail, o.row_version, o.replaces, o.duplicate_of, o.received_at, o.mapping_version, "
    "o.decided_at, o.decided_by, o.added, r.kind, r.specimen, r.code, r.value, r.unit, r.more "
    "FROM observation o JOIN result r ON r.id = o.result_id WHERE "
)


def stored_of(row: Sequence[Any]) -> Stored:
    """What SELECT found."""
    (
        number, result_id, transmission_id, instrument, specimen, order_id, beside_id, place_patient, code, name, loinc,
        moh, value, unit, original_value, original_unit, letter, state, reason, detail, row_version, replaces,
        duplicate_of, received_at, mapping_version, decided_at, decided_by, added, *said,
    ) = row  # fmt: skip
    return Stored(
        number, unpack(*said), result_id, transmission_id, instrument, specimen, order_id, beside_id, place_patient,
        code, name, loinc, moh, value, unit, original_value, original_unit, ResultLetter(letter),
        ObservationState(state), problem_of(reason, detail), row_version, replaces, duplicate_of,
        from_us(received_at), mapping_version, from_us(decided_at), decided_by, _unpack_added(added),
    )  # fmt: skip
