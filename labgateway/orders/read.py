"""An EMR's message to what it asks for: orders placed, changed, cancelled; patients merged or changed.

    Message --read_orders--> OrderMessage(orders: NW XO CA DC, merges: A40 A08)
                         \\-> Refusal(AE or AR, every fault with its segment and field)

All or nothing: one fault refuses the whole message, so that the EMR never has to work out which half was
taken. Pure: stores nothing, and answers nothing; that is ``answer``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from labgateway.model import Action, Order, Patient, Priority
from labgateway.orders import fields, patients
from labgateway.orders.groups import Group, Groups, Specimen, split
from labgateway.orders.words import OrderAction, OrderMessage, OrderRules, Refusal, TakenFrom
from labgateway.protocols.hl7 import AckCode, ErrorCode, Fault, Message
from labgateway.protocols.rows import REPLACEMENT, Row

_EVENTS = {"OML": ("O21", "O33"), "ORM": ("O01",), "ADT": ("A40", "A08")}
_ACTIONS = {action.value: action for action in Action}
_PRIORITIES = {
    "S": Priority.STAT, "STAT": Priority.STAT,
    "A": Priority.ASAP, "ASAP": Priority.ASAP, "U": Priority.ASAP, "URGENT": Priority.ASAP,
}  # fmt: skip
"""Table 0485, and the words that are seen instead; whatever else is routine."""
_MAX_FAULTS = 20
_NO_SPECIMEN = Specimen(None, ())


def read_orders(message: Message, rules: OrderRules) -> OrderMessage | Refusal:
    """What an order or ADT message asks for, or why it is refused as a whole. Never raises for the message.

    Orders need a specimen id where the rules say, a placer number (OBR-2, else ORC-2) and a test
    (OBR-4.1); a patient is read when there is one. An impossible collection time stays as text only.
    Raises ZoneInfoNotFoundError and ValueError for rules that the config would not have let pass.
    """
    kind, name = event(message)
    if (refusal := _unsupported(message, kind, name)) is not None:
        return refusal
    if message.marked:
        return _refused([Fault(ErrorCode.DATA_TYPE, "The bytes are not in this character set.", "MSH", 1, 18)])
    if zeros := [*_zeros(message.rows)]:
        return _refused(zeros)
    if kind == "ADT":
        merges, faults = patients.merges(message.rows, rules, into_itself=name == "A08")
        return _refused(faults) if faults else OrderMessage(merges=tuple(merges))
    parts = split(message.rows)
    reading = _Reading(rules, parts, patients.patient(parts.pid, parts.pv1, rules), list(parts.faults))
    actions = [action for number, group in enumerate(parts.groups) for action in _read_group(number, group, reading)]
    if not parts.groups:
        reading.faults.append(Fault(ErrorCode.SEGMENT_SEQUENCE, "No ORC: nothing is ordered.", "ORC"))
    return _refused(reading.faults) if reading.faults else OrderMessage(tuple(actions), tubes=_tubes(parts, rules))


def event(message: Message) -> tuple[str, str]:
    """Message type and event of MSH-9; the event of the structure (9.3) where 9.2 is empty."""
    header = message.header
    return header.value(9, 1), header.value(9, 2) or header.value(9, 3).partition("_")[2]


def _unsupported(message: Message, kind: str, name: str) -> Refusal | None:
    if not message.rows:
        fault = Fault(ErrorCode.UNSUPPORTED_MESSAGE_TYPE, "This is no HL7 message.")
    elif kind not in _EVENTS:
        fault = Fault(ErrorCode.UNSUPPORTED_MESSAGE_TYPE, "Only OML, ORM and ADT are taken here.", "MSH", 1, 9, 1)
    elif name not in _EVENTS[kind]:
        fault = Fault(ErrorCode.UNSUPPORTED_EVENT, f"Of {kind} only {', '.join(_EVENTS[kind])}.", "MSH", 1, 9, 2)
    else:
        return None
    return Refusal(AckCode.REJECT, (fault,))


_READ = frozenset({"PID", "PV1", "MRG", "ORC", "TQ1", "OBR", "SPM", "SAC"})


def _zeros(rows: tuple[Row, ...]) -> Iterator[Fault]:
    """Fields that say a byte 0 by an escape: no text, and no id to find anything by."""
    for row in rows:
        if row.name in _READ:
            for number, field_text in enumerate(row.fields):
                if REPLACEMENT in row.unescape(field_text) and REPLACEMENT not in field_text:
                    yield Fault(ErrorCode.DATA_TYPE, "A byte 0 is no text.", row.name, row.number, number)


def _refused(faults: list[Fault]) -> Refusal:
    return Refusal(AckCode.ERROR, tuple(dict.fromkeys(faults))[:_MAX_FAULTS])


@dataclass(frozen=True, slots=True)
class _Reading:
    """One message while it is read; the faults collect here."""

    rules: OrderRules
    parts: Groups
    patient: Patient
    faults: list[Fault] = field(default_factory=list[Fault])

    def missing(self, text: str, row: Row, number: int, component: int = 0) -> None:
        code = ErrorCode.REQUIRED_FIELD_MISSING
        self.faults.append(Fault(code, text, row.name, row.number, number, component))


def _read_group(number: int, group: Group, reading: _Reading) -> Iterator[OrderAction]:
    orc, obr = group.orc, group.obr
    control = fields.text(orc, 1)
    action = _ACTIONS.get(control)
    if action is None:
        code = ErrorCode.TABLE_VALUE_NOT_FOUND if control else ErrorCode.REQUIRED_FIELD_MISSING
        text = f"Order control must be one of {', '.join(_ACTIONS)}."
        reading.faults.append(Fault(code, text, "ORC", orc.number, 1))
        return
    adds = action in (Action.NEW, Action.CHANGE)
    if adds and obr is None:
        reading.faults.append(Fault(ErrorCode.SEGMENT_SEQUENCE, "No OBR follows this ORC.", "ORC", orc.number))
        return
    order = Order(
        source=reading.rules.source,
        specimen="",
        placer=fields.field(obr, 2) or fields.field(orc, 2),
        code=fields.text(obr, 4, 1),
        patient=reading.patient,
        filler=fields.field(obr, 3) or fields.field(orc, 3),
        service=fields.field(obr, 4),
        ward=fields.field(reading.parts.pv1, 3),
        patient_class=fields.field(reading.parts.pv1, 2),
        priority=_priority(group),
    )
    if not order.placer:
        reading.missing("No placer order number in OBR-2 or ORC-2.", obr if adds and obr else orc, 2)
    if adds and obr and not order.code:
        reading.missing("No test code.", obr, 4, 1)
    seen: set[str] = set()
    for specimen in group.specimens or (_NO_SPECIMEN,):
        ids = _specimen_ids(specimen, group, reading)
        if adds and not ids:
            reading.faults.append(_no_specimen(specimen, group, reading))
        text, moment = _collected(obr, specimen.spm, reading.rules.timezone)
        kind = fields.field(specimen.spm, 4) or fields.field(obr, 15)
        for one in ids:
            if one not in seen:
                seen.add(one)
                whole = replace(order, specimen=one, specimen_type=kind, collected_at=moment, collected_text=text)
                yield OrderAction(action, whole, number)
    if not seen and not adds:
        yield OrderAction(action, order, number)


def _specimen_ids(specimen: Specimen, group: Group, reading: _Reading) -> list[str]:
    """The ids at the first place that is filled: one, or several when the containers are named."""
    for path in reading.rules.specimen_id:
        segment, number, component, subcomponent = fields.place(path)
        rows = _rows_named(segment, specimen, group, reading.parts)
        if ids := [text for row in rows if (text := fields.text(row, number, component, subcomponent))]:
            return ids
    return []


def _tubes(parts: Groups, rules: OrderRules) -> tuple[TakenFrom, ...]:
    """What was taken from what: SPM-2 from SPM-3, where SPM-2 is the id on the tube; a container (SAC-3) from SAC-4."""
    found: dict[TakenFrom, None] = {}
    place = next((p for path in rules.specimen_id if (p := fields.place(path))[:2] == ("SPM", 2)), None)
    for group in parts.groups:
        for specimen in group.specimens:
            pairs = [(fields.text(sac, 3, 1), fields.text(sac, 4, 1)) for sac in specimen.sacs]
            if place is not None and specimen.spm is not None:
                _, number, component, subcomponent = place
                pairs.append(
                    (
                        fields.text(specimen.spm, number, component, subcomponent),
                        fields.text(specimen.spm, 3, component, subcomponent),
                    )
                )
            found.update(
                {TakenFrom(tube, parent): None for tube, parent in pairs if tube and parent and tube != parent}
            )
    return tuple(found)


def _no_specimen(specimen: Specimen, group: Group, reading: _Reading) -> Fault:
    places = reading.rules.specimen_id
    segment, number, component, _ = fields.place(places[0])
    row = (*_rows_named(segment, specimen, group, reading.parts), group.obr or group.orc)[0]
    text = f"No specimen id in {' or '.join(places)} for OBR {group.obr.number if group.obr else 0}."
    return Fault(ErrorCode.REQUIRED_FIELD_MISSING, text, segment, row.number, number, component or 0)


def _rows_named(name: str, specimen: Specimen, group: Group, parts: Groups) -> list[Row]:
    """Segments of this name that belong to this order on this specimen, never another's."""
    match name:
        case "SPM":
            rows = [specimen.spm]
        case "SAC":
            rows = list(specimen.sacs)
        case "OBR":
            rows = [group.obr]
        case "ORC":
            rows = [group.orc]
        case "PID":
            rows = [parts.pid]
        case "PV1":
            rows = [parts.pv1]
        case _:
            rows = [group.find(name)]
    return [row for row in rows if row is not None]


def _priority(group: Group) -> Priority:
    """TQ1-9, else ORC-7.6, else OBR-27.6, else OBR-5 of older versions."""
    places = ((group.find("TQ1"), 9, 1), (group.orc, 7, 6), (group.obr, 27, 6), (group.obr, 5, 1))
    said = next((text for place in places if (text := fields.text(*place))), "")
    return _PRIORITIES.get(said.upper(), Priority.ROUTINE)


def _collected(obr: Row | None, spm: Row | None, zone: str) -> tuple[str, datetime | None]:
    """OBR-7, else SPM-17.1: the first that is a possible time; else the first text, and no time."""
    texts = [text for text in (fields.text(obr, 7, 1), fields.text(spm, 17, 1)) if text]
    for text in texts:
        if (moment := fields.read_moment(text, ZoneInfo(zone))) is not None:
            return text, moment
    return (texts[0] if texts else ""), None
