"""What an EMR's message asks for, and the rules by which it is read. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from labgateway.model import Action, Order, Patient
from labgateway.protocols.hl7 import AckCode, Fault


@dataclass(frozen=True, slots=True)
class OrderRules:
    """How this EMR's messages are to be read. Places are ``SEGMENT-FIELD.COMPONENT``, as in config.toml.

    source: the orders section of the config. timezone: of times without an offset. specimen_id: the
    first place that is filled counts. patient_id_type: CX.5 of the repetition that counts, empty: the first.
    """

    source: str
    timezone: str = "UTC"
    specimen_id: tuple[str, ...] = ("SPM-2.1", "SAC-3.1", "OBR-3.1")
    patient_id: str = "PID-3.1"
    patient_id_type: str = ""


@dataclass(frozen=True, slots=True)
class OrderAction:
    """What to do to one order. group: which ORC with its OBR of the message, from 0, for the answer.

    NEW and CHANGE have specimen, placer and code. CANCEL and DISCONTINUE have the placer; specimen and
    code narrow it where the message says them, and empty mean all that the placer number names. A test
    on several specimens is several actions of one group. collected_at of a change that says none is None.
    """

    action: Action
    order: Order
    group: int


@dataclass(frozen=True, slots=True)
class PatientMerge:
    """Orders of the merged ids are the survivor's from now on.

    merged: identifiers as OrderRules.patient_id picks them; only the survivor's own (A08): the same
    patient with new particulars. ward: PV1-3 field text, empty when not said.
    """

    survivor: Patient
    merged: tuple[str, ...]
    ward: str = ""


@dataclass(frozen=True, slots=True)
class TakenFrom:
    """A tube that was taken from another one (aliquot): its id, and the id of the specimen it came from."""

    specimen: str
    parent: str


@dataclass(frozen=True, slots=True)
class OrderMessage:
    """All that one message asks for, in its order.

    whole: a placer number stands for nothing but what the message says of it (FHIR: one ServiceRequest).
    """

    orders: tuple[OrderAction, ...] = ()
    merges: tuple[PatientMerge, ...] = ()
    whole: bool = False
    tubes: tuple[TakenFrom, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing of the message is used. AE: its content, as the faults say. AR: we take no such message."""

    code: AckCode
    faults: tuple[Fault, ...]
