"""The words of the house: results, orders, observations, reports. Values only, no behaviour of a room.

Text is kept as text from wire to EMR. Times that an analyzer or EMR wrote are kept twice: as the
text it sent and as a datetime; naive datetimes are local to the instrument, aware ones are UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from labgateway.errors import Problem
from labgateway.quick import quick


class Kind(StrEnum):
    """What a row of an analyzer is about. QUERY rows ask the host for orders and carry no value.

    COMPUTED: no row of an analyzer, but worked out from a patient's results as the mapping declares.
    """

    PATIENT = "patient"
    CONTROL = "control"
    CALIBRATION = "calibration"
    QUERY = "query"
    COMPUTED = "computed"


class Status(StrEnum):
    """How final the analyzer says a result is. UNKNOWN: it said something its driver does not know."""

    FINAL = "final"
    CORRECTED = "corrected"
    PRELIMINARY = "preliminary"
    RERUN = "rerun"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Attachment:
    """An image, histogram or other large thing that came beside results. Never a result."""

    code: str
    media_type: str
    text: str
    """As sent (often base64)."""


@quick
@dataclass(frozen=True, slots=True)
class Result:
    """One test as the analyzer said it.

    specimen, patient: as sent, padding stripped, escapes resolved; None when the device sent none.
    code: the bare test code. value: text without outer blanks, None when the device withheld it.
    unit: as sent, None when none. flags: as sent, one entry each.
    measured_at: local time of the instrument; None when it sent none or an impossible one.
    problem: why this result must be parked, None when nothing is wrong with it so far.
    where: the row in the message it came from, such as ``R7`` or ``OBX3`` (7th R, 3rd OBX, counted
    over the whole message from 1).
    """

    kind: Kind
    specimen: str | None
    code: str
    value: str | None
    unit: str | None = None
    patient: str | None = None
    flags: tuple[str, ...] = ()
    status: Status = Status.FINAL
    measured_at: datetime | None = None
    measured_at_text: str = ""
    problem: Problem | None = None
    where: str = ""
    patient_name: str | None = None
    birth_date: str | None = None
    """YYYYMMDD, or as sent when it is not that."""
    sex: str | None = None
    """M, F, or as sent."""
    specimen_type: str | None = None
    range: str | None = None
    operator: str | None = None
    comments: tuple[str, ...] = ()
    run: str | None = None
    dilution: str | None = None
    serial: str | None = None
    """Serial number of the device, when it says so."""
    lot: str | None = None
    """Of a control: lot number."""
    level: str | None = None
    """Of a control: level."""
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one stored message said.

    problem: why nothing of it can be used; results are then empty.
    queries: specimen ids the instrument asks orders for, also present as results of kind QUERY.
    """

    driver: str | None
    results: tuple[Result, ...] = ()
    problem: Problem | None = None
    sender: str = ""


class Priority(StrEnum):
    """How urgent an order is (HL7 table 0485)."""

    ROUTINE = "R"
    STAT = "S"
    ASAP = "A"


class OrderState(StrEnum):
    """OPEN orders may be answered; CANCELLED ones hold whatever comes for them."""

    OPEN = "open"
    CANCELLED = "cancelled"


@quick
@dataclass(frozen=True, slots=True)
class Patient:
    """Whom an order is for.

    id: the identifier that second-identity checks compare, None when the EMR sent none.
    pid3, pid5: HL7 field text (PID-3 with all repetitions, PID-5) in the standard delimiters, sent
    back as ordered. birth_date: YYYYMMDD or longer as sent. sex: as sent.
    """

    id: str | None
    pid3: str = ""
    pid5: str = ""
    birth_date: str | None = None
    sex: str | None = None


@quick
@dataclass(frozen=True, slots=True)
class Order:
    """One test (or panel) that the EMR asked for on one specimen: one ORC/OBR group.

    placer, filler, service: HL7 field text of OBR-2, OBR-3, OBR-4 in the standard delimiters, sent
    back as ordered. code: OBR-4.1. received_at: our clock, UTC; windows count from it and from
    collected_at. id: the store's number, 0 before it is stored.
    """

    source: str
    specimen: str
    placer: str
    code: str
    patient: Patient
    filler: str = ""
    service: str = ""
    ward: str = ""
    """PV1-3 field text."""
    patient_class: str = ""
    """PV1-2."""
    specimen_type: str = ""
    """SPM-4 or OBR-15 field text."""
    collected_at: datetime | None = None
    """UTC; None when the EMR did not say."""
    collected_text: str = ""
    priority: Priority = Priority.ROUTINE
    state: OrderState = OrderState.OPEN
    received_at: datetime | None = None
    """UTC."""
    id: int = 0
    patient_changed_at: datetime | None = None
    """When the EMR gave this order to another patient (change, merge, move): our clock, UTC; None: never."""
    ordered_on: str = ""
    """The specimen it was ordered on, where ``specimen`` is a tube that the EMR says was taken from it; empty: the same."""


class Action(StrEnum):
    """What an order message does to one order (ORC-1)."""

    NEW = "NW"
    CANCEL = "CA"
    DISCONTINUE = "DC"
    CHANGE = "XO"


class ObservationState(StrEnum):
    """Where an observation stands. Every result ends in exactly one of these.

    WAITING for its order. HELD: a person may release or reject it. RELEASED: deliveries were made.
    LEFT_OUT: the mapping says it stops here. DUPLICATE: the same result came before.
    CONTROL: a QC or calibration result, kept and shown, never sent. REJECTED by a person.
    """

    WAITING = "waiting"
    HELD = "held"
    RELEASED = "released"
    LEFT_OUT = "left_out"
    DUPLICATE = "duplicate"
    CONTROL = "control"
    REJECTED = "rejected"


class ResultLetter(StrEnum):
    """HL7 table 0085, as far as we send it (OBX-11)."""

    PRELIMINARY = "P"
    FINAL = "F"
    CORRECTED = "C"
    DELETED = "D"
    WRONG = "W"
    NO_RESULT = "X"


@dataclass(frozen=True, slots=True)
class Added:
    """What the mapping says beside a value; the analyzer's own words stay in the Result.

    range: the lab's own (OBX-7), "" when it declares ranges and none fits for certain, None when it declares none.
    flags: instead of the analyzer's (OBX-8), None: the analyzer's. notes: sent as comments. formula, inputs: of a
    computed value, and the ids of the observations it was computed from.
    """

    range: str | None = None
    flags: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    formula: str = ""
    inputs: tuple[str, ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class Observation:
    """A result after mapping and matching: what the EMR is to know.

    id: stable and unique (OBX-21); a correction has its own id and names the one it replaces.
    value, unit: after the declared factor; original_* only when the factor changed them.
    order: the order it answers; None on sites without orders.
    measured_at, received_at: aware UTC. result: the analyzer's own words. earlier: ids of all versions before
    it, oldest first, the one it replaces last.
    """

    id: str
    result: Result
    instrument: str
    code: str
    value: str | None
    received_at: datetime
    name: str = ""
    loinc: str = ""
    moh: str = ""
    unit: str = ""
    original_value: str | None = None
    original_unit: str | None = None
    letter: ResultLetter = ResultLetter.FINAL
    order: Order | None = None
    measured_at: datetime | None = None
    replaces: str | None = None
    earlier: tuple[str, ...] = ()
    model: str = ""
    """The instrument's model, for OBX-18."""
    added: Added | None = None
    """What the mapping says beside the value; None: nothing."""


@dataclass(frozen=True, slots=True)
class Report:
    """Observations of one specimen and one patient that go out together.

    specimen: the lane; reports of one lane leave strictly in order. observations are grouped by
    order by whoever renders them.
    """

    specimen: str
    observations: tuple[Observation, ...]
    released_at: datetime
    patient: Patient | None = None
    """None on sites without orders: the instrument's own ids stand in the results."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a rendered message says about us: MSH-3, MSH-4 and the time zone of its times."""

    name: str
    facility: str
    timezone: str
    extra: dict[str, str] = field(default_factory=dict[str, str])
