"""Messages of orders as the HL7 instrument understands them, by the paths of [orders]. For tests and the simulator. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from labgateway.instruments.encode import Read
from labgateway.instruments.order_form import Deed, Hl7Form, Hl7OrderForm
from labgateway.instruments.paths import Place
from labgateway.instruments.spec import Driver
from labgateway.protocols import hl7
from labgateway.protocols.rows import Row


@dataclass(slots=True)
class _Reading:
    """What was read of the message so far."""

    specimen: str = ""
    patient: str = ""
    priority: str = ""
    action: str = ""
    codes: tuple[str, ...] = ()


def read_back(driver: Driver, messages: Iterable[bytes]) -> list[Read]:
    """What the instrument understands of messages of ours: one a specimen, also of those that have no order.

    For tests and the simulator; reads by the paths of [orders].
    """
    form = driver.orders
    if not isinstance(form, Hl7OrderForm):
        return []
    found: dict[str, Read] = {}
    for data in messages:
        rows = hl7.read(data, form.encoding or driver.line.encoding).rows
        for one in _read_lines(form, rows) if form.form is Hl7Form.DSR else _read_rows(form, rows):
            before = found.get(one.specimen)
            codes = (*before.codes, *one.codes) if before else one.codes
            found[one.specimen] = Read(
                one.specimen, codes, one.patient, one.priority, is_cancel=one.action == form.actions[Deed.CANCEL]
            )
    return list(found.values())


def _read_rows(form: Hl7OrderForm, rows: Sequence[Row]) -> Iterator[_Reading]:
    specimen_last = form.form is Hl7Form.RSP
    now = _Reading()
    for row in rows:
        texts: Mapping[str, Place | None] = {
            "patient": form.places.get("patient"), "specimen": form.specimen, "priority": form.priority,
            "action": form.action,
        }  # fmt: skip
        if row.name == "PID":
            now = _Reading()
        for name, place in texts.items():
            if place and place.row == row.name:
                setattr(now, name, place.of(row))
        if row.name == form.code.row and (code := form.code.of(row)):
            now.codes = (code,)
        is_last = row.name == (form.specimen.row if specimen_last else form.code.row)
        if is_last and now.specimen and now.codes:
            yield replace(now)
            now.codes = ()
        elif row.name == "ORC" and now.specimen and now.action == form.actions[Deed.NONE] and now.action:
            yield replace(now, codes=())


def _read_lines(form: Hl7OrderForm, rows: Sequence[Row]) -> Iterator[_Reading]:
    lines = {int(row.value(1)): row for row in rows if row.name == "DSP" and row.value(1).isdigit()}

    def at(place: Place | None) -> str:
        row = lines.get(place.field) if place else None
        return row.value(3).strip() if row else ""

    codes = tuple(row.value(3, 1).strip() for n, row in sorted(lines.items()) if n >= form.code.field)
    if codes:
        yield _Reading(at(form.specimen), at(form.places.get("patient")), at(form.priority), "", codes)
