"""[orders] of an HL7 driver to Hl7OrderForm, every mistake reported. The keys stand in docs/drivers.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from labgateway.instruments.keys import Table
from labgateway.instruments.order_form import PRIORITIES, SEXES, Deed, Hl7Form, Hl7OrderForm, Mode, NoOrder
from labgateway.instruments.order_keys import deeds, encoding, texts, words
from labgateway.instruments.paths import Condition, Place, read_place

Conditions = Callable[[Table, str], tuple[Condition, ...]]

_USUAL: Mapping[Hl7Form, Mapping[str, str | list[str]]] = {
    Hl7Form.LAW: {
        "specimen": ["SPM-2.1", "SAC-3.1"], "code": "OBR-4.1", "step": "OBR-2", "action": "ORC-1", "sent_at": "ORC-9",
        "priority": "TQ1-9", "numbers": ["SPM-1", "OBR-1"], "patient": "PID-3.1", "patient_name": "PID-5",
        "birth_date": "PID-7", "sex": "PID-8", "specimen_type": "SPM-4", "kind": "OML^O33^OML_O33",
        "reply": "RSP^K11^RSP_K11",
    },
    Hl7Form.RSP: {
        "specimen": "SPM-2.1", "code": "OBR-4.1", "action": "ORC-1", "sent_at": "ORC-9", "priority": "TQ1-9",
        "numbers": ["ORC-2", "OBR-1", "SPM-1"], "patient": "PID-3.1", "patient_name": "PID-5", "birth_date": "PID-7",
        "sex": "PID-8", "specimen_type": "SPM-4.1", "reply": "RSP^Z02",
    },
    Hl7Form.ORR: {
        "specimen": ["OBR-2.1", "ORC-2.1"], "code": "OBX-5", "action": "ORC-1", "numbers": ["OBR-1", "OBX-1"],
        "patient": "PID-3.1", "patient_name": "PID-5", "birth_date": "PID-7", "sex": "PID-8", "reply": "ORR^O02",
    },
    Hl7Form.DSR: {
        "specimen": "DSP-21", "code": "DSP-29", "priority": "DSP-24", "patient": "DSP-1", "patient_name": "DSP-3",
        "birth_date": "DSP-4", "sex": "DSP-5", "specimen_type": "DSP-26", "kind": "DSR^Q03", "reply": "QCK^Q02",
    },
}  # fmt: skip
"""IHE LAW; Cepheid 301-2002; Mindray BC (worklist); Mindray BS (BA20-20-75337)."""
_ACTIONS = {Deed.ASKED: "NW", Deed.UNASKED: "NW", Deed.ADD: "NW", Deed.CANCEL: "CA", Deed.NONE: "DC"}
"""ORC-1 (HL7 table 0119), as IHE LAW uses it."""
_FIELDS = {Hl7Form.LAW: {"SPM-11": "P"}, Hl7Form.RSP: {"SPM-11": "P"}}
"""SPM-11: a patient's specimen (table 0369)."""
_SPECIMENS = {
    "SER": "SER^Serum^HL70487",
    "PLAS": "PLAS^Plasma^HL70487",
    "UR": "UR^Urine^HL70487",
    "CSF": "CSF^Cerebral spinal fluid^HL70487",
    "BLD": "BLD^Whole blood^HL70487",
    "SAL": "SAL^Saliva^HL70487",
}
"""Table 0487, as LAW has it; another kind is not written, though SPM-4 is required there."""
_BY_QUERY = {"QPD": Hl7Form.LAW, "ORC": Hl7Form.ORR, "QRD": Hl7Form.DSR}


def read_orders(table: Table, query_row: str, conditions: Conditions) -> Hl7OrderForm:
    """How the instrument wants its orders. query_row: the segment in which it asks; conditions: reads a condition."""
    form = Hl7Form(table.choice("form", tuple(Hl7Form), _BY_QUERY.get(query_row, Hl7Form.LAW)))
    usual = _USUAL[form]
    specimens = _places(table, "specimen", usual)
    codes = _places(table, "code", usual)
    negative = NoOrder.DISCONTINUE if form is Hl7Form.LAW else NoOrder.NOT_FOUND
    found = Hl7OrderForm(
        form=form,
        specimen=specimens[0],
        specimens=specimens,
        code=codes[0],
        codes_at=codes,
        places={
            name: place
            for name in ("patient", "patient_name", "birth_date", "sex", "specimen_type")
            if (place := _place(table, name, usual))
        },
        action=_place(table, "action", usual),
        priority=_place(table, "priority", usual),
        sent_at=_place(table, "sent_at", usual),
        step=_place(table, "step", usual),
        numbers=_places(table, "numbers", usual),
        none=NoOrder(table.choice("none", (NoOrder.NOT_FOUND, NoOrder.DISCONTINUE), negative)),
        actions=deeds(table, "actions", _ACTIONS),
        priorities=words(table, "priorities", PRIORITIES),
        sexes=words(table, "sexes", SEXES),
        specimen_types=words(table, "specimen_types", _SPECIMENS if form is Hl7Form.LAW else {}),
        fields=_fields(table, "fields", _FIELDS.get(form, {})),
        unasked_fields=_fields(table, "unasked_fields", {"MSH-3": "LABGATEWAY"}),
        reply_fields=_fields(table, "reply_fields", {}),
        after_code=table.text("after_code"),
        echo=_echo(table),
        kind=table.text("kind", str(usual.get("kind", ""))),
        reply_kind=_or_none(table, "reply", str(usual["reply"])),
        modes=tuple(_mode(each, conditions) for each in table.tables("modes")),
        refused=conditions(table, "refused"),
        encoding=encoding(table),
        needs_patient=table.flag("needs_patient", default=False),
        unasked=table.flag("unasked", default=False),
    )
    if found.unasked and form is not Hl7Form.LAW:
        table.wrong("unasked", f"is not possible with form {form}.", "Orders that nobody asked for need form law.")
    if not found.reply_kind and form is not Hl7Form.LAW:
        table.wrong("reply", f"must be a text with form {form}.", 'Write reply = "…": MSH-9 of the reply.')
    table.done()
    return found


def _or_none(table: Table, key: str, usual: str) -> str:
    """A text; "" in the file: none."""
    if table.peek(key) == "":
        table.take(key)
        return ""
    return table.text(key, usual)


def _place(table: Table, key: str, usual: Mapping[str, str | list[str]]) -> Place | None:
    written = _or_none(table, key, str(usual.get(key, "")))
    return _segment_place(table, key, written) if written else None


def _places(table: Table, key: str, usual: Mapping[str, str | list[str]]) -> tuple[Place, ...]:
    standard = usual.get(key, [])
    standard = [standard] if isinstance(standard, str) else standard
    given = table.texts(key, one=True) if table.has(key) else ()
    found = tuple(place for path in given if (place := _segment_place(table, key, path)))
    return found or tuple(place for path in standard if (place := read_place(path)))


def _segment_place(table: Table, key: str, written: str) -> Place | None:
    place = read_place(written)
    if place is None or len(place.row) != 3:
        table.wrong(key, f'"{written}" is no place in a message of ours.', "Write SEGMENT-FIELD.COMPONENT: SPM-2.1.")
        return None
    return place


def _fields(table: Table, key: str, usual: Mapping[str, str]) -> tuple[tuple[Place, str], ...]:
    found = ((_segment_place(table, key, path), said) for path, said in words(table, key, usual).items())
    return tuple((place, said) for place, said in found if place)


def _echo(table: Table) -> tuple[tuple[Place, Place], ...]:
    found: list[tuple[Place, Place]] = []
    for to, source in texts(table, "echo"):
        from_ = _segment_place(table, "echo", source)
        if (place := _segment_place(table, "echo", to)) and from_:
            found.append((place, from_))
    return tuple(found)


def _mode(table: Table, conditions: Conditions) -> Mode:
    mode = Mode(table.text("is", required=True), frozenset(table.texts("any")), conditions(table, "when"))
    table.done()
    return mode
