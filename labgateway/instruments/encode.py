"""Orders to an instrument's ASTM records, and back, by [orders] of its driver. Pure. LIS02-A2 (ASTM E1394).

    H|\\^&|||...
    P|1|PATIENT|||NAME||19720815|M           particulars, where the driver has them
    O|1|SPECIMEN||^^^GLU\\^^^CREA|R||||||N||||||||||||||Q
    L|1|N

A specimen without an order is answered in the form that the driver names. Not here: which orders there are
(matching, pipeline), frames (protocols).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from labgateway.instruments import text
from labgateway.instruments.decode import rows_of
from labgateway.instruments.order_form import Deed, NoOrder, OrderForm
from labgateway.instruments.paths import Place
from labgateway.instruments.spec import Driver
from labgateway.model import Patient, Priority
from labgateway.protocols.rows import HL7, Delimiters, Row, unescape

_NOT_SENDABLE = re.compile(r"[^\x20-\x7e]")


class NotSendableError(ValueError):
    """An id or a code that this instrument cannot be told; the text says which kind, never the content."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done on one specimen. codes: the instrument's own, in the order they are asked; none: no order.

    asked: the query's row that this answers; None: nobody asked. steps: code to what tells its order from every other
    order, where it is known.
    """

    specimen: str
    codes: tuple[str, ...] = ()
    patient: Patient | None = None
    priority: Priority = Priority.ROUTINE
    specimen_type: str = ""
    """SPM-4 or OBR-15 as ordered."""
    asked: Row | None = None
    steps: Mapping[str, str] = field(default_factory=dict[str, str])


def encode(driver: Driver, works: Sequence[Work], deed: Deed, now: datetime) -> bytes:
    """The records of one message, each ended by CR, to be cut into frames.

    now: local time of the instrument, for H-14. Raises NotSendableError for an id or a code that is not plain ASCII,
    ValueError for a driver that takes no orders.
    """
    form = driver.orders
    if form is None:
        raise ValueError(f"driver {driver.name} takes no orders")
    done = [work for work in works if work.codes and not (form.needs_patient and not patient_id(work))]
    open_ = [work for work in works if work not in done]
    whole = deed if done else Deed.NONE
    page = _Page(form)
    page.row("H", {form.sent_at: now.strftime("%Y%m%d%H%M%S")} if form.sent_at else {}, whole)
    if whole is Deed.NONE and form.none is not NoOrder.ORDER:
        if form.none is NoOrder.QUERY:
            for work in open_:
                page.refusal(work)
    else:
        for work in done:
            page.order(work, deed)
        for work in open_:
            page.order(replace(work, codes=(), patient=None), Deed.NONE)
    page.row("L", {Place("L", 3): form.ends[whole]}, whole, number=1)
    return text.encode("".join(record + "\r" for record in page.records), _encoding(driver, form))


def _encoding(driver: Driver, form: OrderForm) -> str:
    return form.encoding or driver.line.encoding or "ascii-fold"


def patient_id(work: Work) -> str:
    """Whose it is; empty when the EMR said none."""
    return (work.patient.id or "").strip() if work.patient else ""


class _Page:
    """The records of one message so far."""

    def __init__(self, form: OrderForm) -> None:
        self.records: list[str] = []
        self._form = form
        field, repetition, component, escape = form.delimiters
        self._marks = Delimiters(field, repetition, component, escape)
        self._patients = 0
        self._last: tuple[Patient | None, bool] = (None, False)
        self._orders = 0

    def order(self, work: Work, deed: Deed) -> None:
        """The O record (or one for each test) of a specimen, below a P record of its patient."""
        form = self._form
        if self._last != (work.patient, True):
            self._last = (work.patient, True)
            self._patients += 1
            self._orders = 0
            self.row("P", self._particulars(work), deed, number=self._patients)
        parts = [(code,) for code in work.codes] if form.each and work.codes else [work.codes]
        for codes in parts:
            self._orders += 1
            self.row("O", self._order(work, codes, deed), deed, number=self._orders, asked=work.asked, codes=codes)

    def refusal(self, work: Work) -> None:
        """The query's own row with the status that says no."""
        if work.asked is None:
            return
        fields = [*work.asked.fields, *[""] * (13 - len(work.asked.fields))][:13]
        mine, theirs = self._marks, work.asked.delimiters
        fields = [_recode(raw, theirs, mine) for raw in fields]
        fields[12] = self._form.query_status
        self.records.append(mine.field.join(fields))

    def row(
        self,
        name: str,
        said: Mapping[Place, str],
        deed: Deed,
        *,
        number: int | None = None,
        asked: Row | None = None,
        codes: Iterable[str] = (),
    ) -> None:
        """Add a record: what the driver always says, what it takes over from the query, then what is said now."""
        form, marks = self._form, self._marks
        cells = _Cells(marks)
        is_unasked = deed not in (Deed.ASKED, Deed.NONE)
        for place, raw in (*form.fields, *(form.unasked_fields if is_unasked else ())):
            if place.row == name:
                cells.put(place, raw)
        for place, source in form.echo:
            if place.row == name and asked is not None:
                cells.put(place, self.escaped(source.of(asked)))
        for place, words in said.items():
            if words:
                cells.put(place, self.escaped(words))
        if name == "H":
            cells.put(Place("H", 2), form.delimiters[1:])
        elif number is not None:
            cells.put(Place(name, 2), str(number))
        if codes:
            before = marks.component * ((form.code.component or 1) - 1)
            repeated = marks.repetition.join(
                before + self.escaped(plain(code, "a test code")) + form.after_code for code in codes
            )
            cells.put(Place("O", form.code.field), repeated)
        if name == "O":
            for place, word in ((form.action, form.actions[deed]), (form.report, form.reports[deed])):
                if place and word:
                    cells.put(place, self.escaped(word))
        self.records.append(cells.record(name))

    def escaped(self, words: str) -> str:
        """Text that adds no field and no record (LIS02-A2 5.4.6)."""
        m = self._marks
        table = {ord(m.field): "F", ord(m.component): "S", ord(m.repetition): "R", ord(m.escape): "E"}
        marked = words.translate({char: f"{m.escape}{letter}{m.escape}" for char, letter in table.items()})
        return "".join(" " if ord(c) < 0x20 or c == "\x7f" else c for c in marked)

    def _particulars(self, work: Work) -> dict[Place, str]:
        patient, form = work.patient, self._form
        if patient is None:
            return {}
        places = form.places
        found: dict[Place, str] = {}
        if place := places.get("patient"):
            found[place] = plain((patient.id or "").strip(), "a patient id")
        if place := places.get("patient_name"):
            for at, part in enumerate(patient_name(patient.pid5)):
                found[replace(place, component=(place.component or 1) + at)] = part
        if place := places.get("birth_date"):
            date = (patient.birth_date or "")[:8]
            found[place] = date if len(date) == 8 and date.isdigit() else ""
        if place := places.get("sex"):
            found[place] = form.sexes.get((patient.sex or "").strip().upper(), form.sexes.get("", ""))
        return found

    def _order(self, work: Work, codes: tuple[str, ...], deed: Deed) -> dict[Place, str]:
        form = self._form
        specimen = plain(work.specimen, "a specimen id")
        found = {form.specimen: specimen.rjust(form.width)}
        if form.priority:
            found[form.priority] = form.priorities.get(work.priority.value, "")
        if (place := form.places.get("specimen_type")) and codes:
            words = [form.specimen_types[part] for part in work.specimen_type.split("^") if part in form.specimen_types]
            found[place] = next(iter(words), form.specimen_types.get("", ""))
        return found


class _Cells:
    """The fields of a record, each a list of components, or raw text."""

    def __init__(self, marks: Delimiters) -> None:
        self._marks = marks
        self._fields: dict[int, list[str]] = {}

    def put(self, place: Place, raw: str) -> None:
        if place.component is None:
            self._fields[place.field] = [raw]
            return
        parts = self._fields.setdefault(place.field, [])
        if len(parts) == 1:
            parts[:] = parts[0].split(self._marks.component)
        parts += [""] * (place.component - len(parts))
        parts[place.component - 1] = raw

    def record(self, name: str) -> str:
        last = max(self._fields, default=1)
        fields = [name, *(self._marks.component.join(self._fields.get(n, [])) for n in range(2, last + 1))]
        return self._marks.field.join(fields)


def plain(words: str, what: str) -> str:
    """Ids and codes pass as they are or not at all: a folded one would be another's."""
    if _NOT_SENDABLE.search(words):
        raise NotSendableError(f"{what} has characters that this instrument cannot be sent")
    return words


def patient_name(pid5: str) -> Iterator[str]:
    """Family, given and middle name of PID-5."""
    for part in pid5.split("~", maxsplit=1)[0].split("^")[:3]:
        yield unescape(part.split("&", maxsplit=1)[0], HL7, is_hl7=True)


def _recode(raw: str, theirs: Delimiters, mine: Delimiters) -> str:
    """Raw text of a field with other delimiters."""
    pairs = ((theirs.repetition, mine.repetition), (theirs.component, mine.component), (theirs.escape, mine.escape))
    return raw.translate({ord(a): b for a, b in pairs if a and b})


@dataclass(frozen=True, slots=True)
class Read:
    """What an instrument is told about one specimen. deed: None where its words say none of the driver's."""

    specimen: str
    codes: tuple[str, ...]
    patient: str
    priority: str
    is_cancel: bool


def read_back(driver: Driver, message: bytes) -> list[Read]:
    """What the instrument understands of a message of ours: its O records, those of one specimen together.

    message: frames or bare records. For tests and the simulator; reads by paths, as results are read.
    """
    form = driver.orders
    if form is None:
        return []
    rows, _, _ = rows_of(driver, message)
    found: dict[str, Read] = {}
    patient = ""
    for row in rows:
        if row.name == "P" and (place := form.places.get("patient")):
            patient = place.of(row)
        elif row.name == "O":
            specimen = form.specimen.of(row)
            codes = tuple(form.code.all_of(row))
            before = found.get(specimen)
            action = form.action.of(row) if form.action else ""
            found[specimen] = Read(
                specimen,
                codes if before is None else (*before.codes, *codes),
                patient,
                form.priority.of(row) if form.priority else "",
                is_cancel=bool(action) and action == form.actions[Deed.CANCEL],
            )
    return list(found.values())
