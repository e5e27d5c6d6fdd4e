"""Orders to an HL7 instrument's messages by [orders] of its driver. Pure.

    law   QBP^Q11 -> RSP^K11                        then OML^O33 {MSH [PID] SPM SAC {ORC TQ1 OBR}} -> ORL
    rsp   QBP^Z03 -> RSP^Z02 {MSH MSA QAK QPD {PID {ORC OBR TQ1 SPM}}}
    orr   ORM^O01 -> ORR^O02 {MSH MSA PID ORC OBR {OBX}}
    dsr   QRY^Q02 -> QCK^Q02 {MSH MSA ERR QAK}      then DSR^Q03 {MSH MSA ERR QAK QRD QRF {DSP} DSC} -> ACK

A query always gets its reply: the orders, "no order", or an error. Not here: which orders there are (pipeline), when
they are sent and what the instrument says to them (line).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from labgateway.instruments import text
from labgateway.instruments.encode import Work, patient_id, patient_name, plain
from labgateway.instruments.order_form import Deed, Hl7Form, Hl7OrderForm, NoOrder
from labgateway.instruments.paths import Place, holds
from labgateway.instruments.plan import first_rows
from labgateway.instruments.segments_hl7 import Segment, taken_over
from labgateway.instruments.spec import Driver
from labgateway.protocols import hl7
from labgateway.protocols.mllp import Post
from labgateway.protocols.rows import Row

ControlId = Callable[[], str]

_NEGATIVE = ("MSH", "SPM", "SAC", "ORC")
"""All that a LAW message has that says "no order" (IHE LAW, LAB-28)."""
_PARTS = {
    Hl7Form.LAW: (("PID",), ("SPM", "SAC"), ("ORC", "TQ1", "OBR", "TCD")),
    Hl7Form.RSP: (("PID",), (), ("ORC", "OBR", "TQ1", "SPM")),
    Hl7Form.ORR: (("PID",), ("ORC", "OBR"), ("OBX",)),
    Hl7Form.DSR: ((), (), ()),
}
"""Segments once a patient, once a specimen, once a test."""


def reply(
    driver: Driver, works: Sequence[Work], query: bytes, now: datetime, control_id: ControlId, *, again: bool = False
) -> list[Post]:
    """The messages that answer a query. works: one a specimen, those without codes have no order.

    now: local time. again: the reply has gone out, and what followed was not taken. Raises NotSendableError for an id or
    a code that is not plain ASCII, ValueError for a driver that takes no orders.
    """
    letter = _Letter(driver, query, now, control_id)
    works = [letter.as_sent(work) for work in works]
    done = [work for work in works if work.codes]
    open_ = [work for work in works if not work.codes and work.specimen]
    match letter.form.form:
        case Hl7Form.RSP:
            return [letter.reply(done)]
        case Hl7Form.ORR:
            return [letter.reply(done[:1])]
        case Hl7Form.DSR:
            first, rest = letter.reply(done), letter.data_sets(done)
        case Hl7Form.LAW:
            negative = letter.form.none is NoOrder.DISCONTINUE
            rest = [letter.orders(work, Deed.ASKED) for work in done]
            rest += [letter.orders(work, Deed.NONE) for work in open_] if negative else []
            first = letter.reply(works if rest else [])
    return rest if again or not letter.form.reply_kind else [first, *rest]


def refusal(driver: Driver, query: bytes, now: datetime, control_id: ControlId) -> list[Post]:
    """The reply to a query that could not be answered: an error, so that the instrument does not wait."""
    return [_Letter(driver, query, now, control_id).error()]


def acceptance(driver: Driver, query: bytes, now: datetime, control_id: ControlId) -> list[Post]:
    """The reply to a message that takes queries back: taken, without orders."""
    letter = _Letter(driver, query, now, control_id)
    if letter.form.form is Hl7Form.DSR:
        return [letter.reply([], found=True)]
    return [
        Post(hl7.acknowledge(letter.query, hl7.AckCode.ACCEPT, now=now, control_id=control_id(), profile=driver.ack))
    ]


def announce(driver: Driver, work: Work, deed: Deed, now: datetime, control_id: ControlId) -> list[Post]:
    """The messages that tell new, further or cancelled orders nobody asked for. Raises as ``reply``."""
    letter = _Letter(driver, None, now, control_id)
    if letter.form.form is not Hl7Form.LAW:
        raise ValueError(f"driver {driver.name} takes orders only as the answer to a query")
    work = letter.as_sent(work)
    return [letter.orders(work, deed)] if work.codes else []


def step_of(work: Work, code: str) -> str:
    """The number of an order step (AWOS): the same for the same test of the same order, and for no other."""
    known = work.steps.get(code, "")
    return hashlib.sha256(f"{known or work.specimen}|{code}".encode()).hexdigest()[:16].upper()


class _Letter:
    """What the messages of one answer share."""

    def __init__(self, driver: Driver, query: bytes | None, now: datetime, control_id: ControlId) -> None:
        form = driver.orders
        if not isinstance(form, Hl7OrderForm):
            raise ValueError(f"driver {driver.name} takes no orders")
        self.form = form
        self._driver = driver
        self._is_unasked = query is None
        self.query = hl7.read(_header_of(form) if query is None else query, driver.line.encoding)
        self._asked = next((row for row in self.query.rows if row.name == _query_row(driver)), None)
        self._now = now
        self._control_id = control_id
        self._count = 0
        self._patients = 0

    def as_sent(self, work: Work) -> Work:
        """The work in the words of the instrument; without codes where it could not take it."""
        form = self.form
        codes = work.codes
        if codes and form.needs_patient and not patient_id(work):
            codes = ()
        if codes and form.modes:
            at = first_rows(self.query.rows)
            fits = (
                mode.word
                for mode in form.modes
                if (not mode.any_of or mode.any_of & set(codes))
                and (not mode.when or any(holds(condition, at) for condition in mode.when))
            )
            codes = tuple(word for word in (next(fits, ""),) if word)
        if codes == work.codes:
            return work
        return replace(work, codes=codes)

    def reply(self, works: Sequence[Work], *, found: bool | None = None) -> Post:
        """The reply; in forms whose orders stand in it, with them."""
        is_found = bool(works) if found is None else found
        form = self.form
        code = hl7.AckCode.ACCEPT if is_found or form.form is not Hl7Form.ORR else hl7.AckCode.REJECT
        out = self._beginning(form.reply_kind, code, "OK" if is_found else "NF")
        if form.form in (Hl7Form.RSP, Hl7Form.ORR):
            for work in works:
                out += self._group(work, Deed.ASKED)
        return self._post(out)

    def error(self) -> Post:
        """The reply that says that there is no answer."""
        fault = hl7.Fault(hl7.ErrorCode.INTERNAL_ERROR, "could not be answered, ask again")
        kind = self.form.reply_kind
        if not kind:
            data = hl7.acknowledge(
                self.query, hl7.AckCode.ERROR, now=self._now, control_id=self._control_id(), error=fault,
                profile=self._driver.ack,
            )  # fmt: skip
            return Post(data)
        return self._post(self._beginning(kind, hl7.AckCode.ERROR, "AE", fault))

    def orders(self, work: Work, deed: Deed) -> Post:
        """One specimen's orders as a message that the instrument answers."""
        number = self._control_id()
        self._count = 0
        header = self._header(self.form.kind, number)
        if self._is_unasked:
            header.put_all(self.form.unasked_fields)
        wants_none = header.raw(16) == "NE"
        return self._post([header.text(), *self._group(work, deed)], "" if wants_none else number)

    def data_sets(self, works: Sequence[Work]) -> list[Post]:
        """A DSR for each specimen; DSC says that another one follows. The next one goes when this one was acknowledged."""
        out: list[Post] = []
        for at, work in enumerate(works, 1):
            number = self._control_id()
            rows = [self._header(self.form.kind, number).text(), *self._beginning("", hl7.AckCode.ACCEPT, "OK")]
            rows += [self._echo(row) for row in self.query.rows if row.name in ("QRD", "QRF")]
            rows += [hl7.segment("DSP", str(n), "", words) for n, words in self._lines(work)]
            rows.append("DSC||\r" if at == len(works) else hl7.segment("DSC", str(at)))
            out.append(self._post(rows, number))
        return out

    # Parts

    def _post(self, rows: Iterable[str], number: str = "") -> Post:
        whole = "".join(rows)
        return Post(text.encode(whole, self._encoding()), number)

    def _encoding(self) -> str:
        """As the driver says, else as the query does, else ASCII without marks."""
        said = self.query.header.raw(18)
        declared = self.query.charset if said and said.upper() != "ASCII" else ""
        return self.form.encoding or self._driver.line.encoding or declared or "ascii-fold"

    def _header(self, kind: str, number: str, *, is_reply: bool = False) -> Segment:
        profile = replace(self._driver.ack, msh15="", msh16="", msh21="")
        if not is_reply:
            profile = replace(profile, echo_control_id=False)
        msh = Segment("MSH", hl7.reply_header(self.query, kind, now=self._now, control_id=number, profile=profile))
        if self.form.form is Hl7Form.LAW:
            # LAB-27^IHE asks for what LAB-28^IHE brings; a maker's own profile keeps its name.
            asked_by = self._raw(self.query.header, 21)
            msh.put(Place("MSH", 21), asked_by if is_reply else asked_by.replace("LAB-27", "LAB-28") or "LAB-28^IHE")
            if not is_reply:
                for field, usual in ((15, "NE"), (16, "AL")):
                    msh.put(Place("MSH", field), self._raw(self.query.header, field) or usual)
        msh.put_all(self.form.reply_fields if is_reply else self.form.fields)
        return msh

    def _beginning(self, kind: str, code: hl7.AckCode, status: str, fault: hl7.Fault | None = None) -> list[str]:
        """MSH (unless no kind is given), MSA, ERR, QAK and the query's own row: what every reply begins with."""
        form, profile = self.form, self._driver.ack
        words = profile.accept_text if code is hl7.AckCode.ACCEPT else ""
        faults = () if fault is None else (fault,)
        out = [self._header(kind, self._control_id(), is_reply=True).text()] if kind else []
        msa = replace(profile, mode=hl7.AckMode.ORIGINAL)
        out.append(hl7.reply_msa(self.query, code, words, msa, faults))
        if form.form is Hl7Form.DSR:
            # Mindray BS writes the bare number.
            out.append(hl7.segment("ERR", str(fault.code.value) if fault else "0"))
            return [*out, hl7.segment("QAK", "SR", status)]
        out += hl7.error_segments(faults, self.query.version)
        if form.form is not Hl7Form.ORR:
            asked = self._asked
            name, tag = (self._raw(asked, 1), self._raw(asked, 2)) if asked else ("", "")
            qak = Segment("QAK", hl7.segment("QAK", tag, status, name))
            qak.put_all(form.reply_fields)
            out += [qak.text(), *([self._echo(asked)] if asked else [])]
        return out

    def _group(self, work: Work, deed: Deed) -> Iterator[str]:
        """Patient, specimen and tests of one piece of work."""
        form = self.form
        of_patient, of_specimen, of_test = _PARTS[form.form]
        names = (*of_patient, *of_specimen) if deed is not Deed.NONE else _NEGATIVE[1:3]
        for name in names:
            if row := self._row(name, work, deed, ""):
                yield row
        for at, code in enumerate(work.codes if deed is not Deed.NONE else ("",), 1):
            self._count = at if form.form is Hl7Form.LAW else self._count + 1
            for name in of_test if deed is not Deed.NONE else ("ORC",):
                if row := self._row(name, work, deed, code):
                    yield row

    def _row(self, name: str, work: Work, deed: Deed, code: str) -> str:
        form = self.form
        row = Segment(name)
        said = {**self._said(work, name), **self._of_test(work, deed, code)}
        row.put_all(form.fields)
        for place, source in form.echo:
            if place.row == name and self._asked is not None and not self._is_unasked:
                row.put(place, taken_over(self._asked, source))
        filled = False
        for place, words in said.items():
            if place.row == name and words:
                is_raw = place in (*form.codes_at, form.priority, form.places.get("specimen_type"))
                row.put(place, words if is_raw else hl7.escape(words))
                filled = True
        if form.form is Hl7Form.RSP and name == "PID":
            # Also of nobody: it ends the patient before.
            self._patients += 1
            row.put(Place("PID", 1), str(self._patients))
        elif not filled:
            return ""
        for place in form.numbers:
            if place.row == name:
                row.put(place, str(max(1, self._count)))
        return row.text()

    def _said(self, work: Work, name: str) -> dict[Place, str]:
        form = self.form
        found: dict[Place, str] = {}
        if work.patient is not None and name == "PID":
            found |= dict(self._particulars(work))
        for place in form.specimens:
            found[place] = plain(work.specimen, "a specimen id")
        if (place := form.places.get("specimen_type")) and work.codes:
            words = [form.specimen_types[part] for part in work.specimen_type.split("^") if part in form.specimen_types]
            found[place] = next(iter(words), form.specimen_types.get("", ""))
        return found

    def _of_test(self, work: Work, deed: Deed, code: str) -> dict[Place, str]:
        form = self.form
        found: dict[Place, str] = {}
        if form.action:
            found[form.action] = form.actions[deed]
        if form.sent_at:
            found[form.sent_at] = self._now.strftime("%Y%m%d%H%M%S%z" if self._driver.ack.offset else "%Y%m%d%H%M%S")
        if not code:
            return found
        if form.priority:
            found[form.priority] = form.priorities.get(work.priority.value, "")
        if form.step:
            found[form.step] = step_of(work, code)
        for place in form.codes_at:
            found[place] = hl7.escape(plain(code, "a test code")) + form.after_code
        return found

    def _particulars(self, work: Work) -> Iterator[tuple[Place, str]]:
        patient, places = work.patient, self.form.places
        if patient is None:
            return
        if place := places.get("patient"):
            yield place, plain(patient_id(work), "a patient id")
        if place := places.get("patient_name"):
            for at, part in enumerate(patient_name(patient.pid5)):
                yield replace(place, component=(place.component or 1) + at), part
        date = (patient.birth_date or "")[:8]
        if (place := places.get("birth_date")) and len(date) == 8 and date.isdigit():
            yield place, date
        if place := places.get("sex"):
            yield place, self.form.sexes.get((patient.sex or "").strip().upper(), self.form.sexes.get("", ""))

    def _lines(self, work: Work) -> Iterator[tuple[int, str]]:
        """Number and text of each DSP: fixed lines, filled where something is known, then a line a test."""
        form, patient = self.form, work.patient
        known: dict[int, str] = {place.field: raw for place, raw in form.fields if place.row == "DSP"}

        def put(name: str, words: str) -> None:
            if (place := form.places.get(name)) and words:
                known[place.field] = hl7.escape(words)

        if patient is not None:
            date = (patient.birth_date or "")[:8]
            put("patient", plain(patient_id(work), "a patient id"))
            put("patient_name", " ".join(filter(None, patient_name(patient.pid5))))
            put("birth_date", f"{date}000000" if len(date) == 8 and date.isdigit() else "")
            put("sex", form.sexes.get((patient.sex or "").strip().upper(), form.sexes.get("", "")))
        words = [form.specimen_types[part] for part in work.specimen_type.split("^") if part in form.specimen_types]
        put("specimen_type", next(iter(words), form.specimen_types.get("", "")))
        if form.priority:
            known[form.priority.field] = form.priorities.get(work.priority.value, "")
        known[form.specimen.field] = hl7.escape(plain(work.specimen, "a specimen id"))
        for n in range(1, form.code.field):
            yield n, known.get(n, "")
        for at, code in enumerate(work.codes):
            yield form.code.field + at, hl7.escape(plain(code, "a test code")) + form.after_code

    def _echo(self, row: Row) -> str:
        """A row of the query as it came, in the standard delimiters."""
        return hl7.segment(row.name, *(hl7.recode(raw, row.delimiters) for raw in row.fields[1:]))

    def _raw(self, row: Row, field: int) -> str:
        return hl7.recode(row.raw(field), row.delimiters)


def _query_row(driver: Driver) -> str:
    return driver.query.specimen[0].row if driver.query.specimen else ""


def _header_of(form: Hl7OrderForm) -> bytes:
    """A header of the instrument as it would write it, for messages that answer none: its MSH-3 and 4 are our 5 and 6."""
    said = {place.field: raw for place, raw in (*form.fields, *form.unasked_fields) if place.row == "MSH"}
    theirs = [said.get(n, "") for n in (5, 6, 3, 4)]
    rest = ["", "", "", "", said.get(11, "P"), said.get(12, "2.5.1"), "", "", "", "", "", said.get(18, "")]
    return hl7.segment("MSH", "^~\\&", *theirs, *rest).encode()
