"""A stored message to results, by the words of its driver. Pure, linear, and it never raises.

    bytes -> rows (protocols) -> items with their group (groups) -> Result each

What the driver does not declare is not guessed: that one result carries a problem, the others live.
A defect of ours is a problem of the message, never an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from labgateway.errors import Problem, Reason
from labgateway.instruments import groups, quirks, tables, text
from labgateway.instruments.groups import Item
from labgateway.instruments.layout import LayoutError, rows_of_texts
from labgateway.instruments.paths import Place
from labgateway.instruments.plan import Plan, any_holds, plan_for
from labgateway.instruments.spec import Driver
from labgateway.instruments.times import read_time
from labgateway.model import Attachment, Decoded, Kind, Result, Status
from labgateway.protocols import astm_frames, astm_records, hl7, raw_framing
from labgateway.protocols.rows import Row


def decode(driver: Driver, message: bytes) -> Decoded:
    """The results of one stored message, in message order.

    message: ASTM frames as received one behind another, or bare records; the content of an HL7 block.
    Never raises: a message that cannot be read, and a defect of ours, come back as `Decoded.problem`.
    """
    try:
        return _decode(driver, message)
    except Exception as error:  # one poison message must not stop the line
        return Decoded(driver.name, problem=Problem(Reason.DEFECT, type(error).__name__))


def rows_of(driver: Driver, message: bytes) -> tuple[list[Row], bool, Problem | None]:
    """The rows of a message, whether its encoding was guessed or did not fit, and why it cannot be read."""
    encoding = driver.line.encoding
    own = encoding in text.OWN
    text_quirks = [quirks.TEXT[name] for name in driver.quirks if name in quirks.TEXT]
    match driver.protocol:
        case "hl7":
            if encoding and (own or text_quirks):
                whole = text.decode(message, encoding)
                for quirk in text_quirks:
                    whole = quirk(whole)
                read = hl7.read(whole.encode(), "utf-8")
                return list(read.rows), text.REPLACEMENT in whole, _unless(read.rows)
            read = hl7.read(message, encoding)
            return list(read.rows), read.marked, _unless(read.rows)
        case "astm":
            unframed = astm_frames.unframe(message)
            if unframed.damage:
                return [], False, Problem(Reason.UNREADABLE, unframed.damage[0])
            records = b"".join(unframed.messages)
            if encoding:
                whole = text.decode(records, encoding)
                marked = text.REPLACEMENT in whole
            else:
                whole, marked = text.guess(records)
            for quirk in text_quirks:
                whole = quirk(whole)
            rows = astm_records.read_records(whole)
            return rows, marked, _unless(rows)
        case _:
            return _rows_of_layout(driver, message, text_quirks)


def _rows_of_layout(
    driver: Driver, message: bytes, text_quirks: Sequence[quirks.TextQuirk]
) -> tuple[list[Row], bool, Problem | None]:
    """As `rows_of`, for raw framings and files."""
    layout = driver.layout
    if layout is None:
        return [], False, Problem(Reason.UNREADABLE, f"protocol {driver.protocol}")
    encoding = driver.line.encoding
    marked = False

    def readable(data: bytes) -> str:
        nonlocal marked
        said, guessed = (text.decode(data, encoding), False) if encoding else text.guess(data)
        marked = marked or guessed or text.REPLACEMENT in said
        for quirk in text_quirks:
            said = quirk(said)
        return said

    try:
        if layout.table:
            if tables.is_workbook(message):
                grid = tables.workbook(message, layout.table.sheet)
            else:
                grid = tables.delimited(readable(message), layout.table.delimiter)
            return tables.rows_of_grid(layout, grid), marked, None
        found = raw_framing.unframe(message, raw_framing.FRAMINGS[driver.protocol], one_text=layout.one_text)
        if found.damage:
            return [], False, Problem(Reason.UNREADABLE, found.damage[0])
        rows = rows_of_texts(layout, [readable(each) for each in found.texts])
        return rows, marked, None if found.texts else Problem(Reason.UNREADABLE, "no text")
    except LayoutError as error:
        return [], False, Problem(Reason.UNREADABLE, str(error))


def _unless(rows: Sequence[Row]) -> Problem | None:
    return None if rows else Problem(Reason.UNREADABLE, "no record or segment")


def _decode(driver: Driver, message: bytes) -> Decoded:
    rows, marked, problem = rows_of(driver, message)
    if problem:
        return Decoded(driver.name, problem=problem)
    plan = plan_for(driver)
    plan = plan.variant_for(rows)
    items = (groups.hl7 if driver.protocol == "hl7" else groups.astm)(rows, plan.wanted)
    out: list[Result] = []
    reader = _Reader(plan, marked)
    for item in items:
        if item.row.name == plan.query_row:
            reader.query(item, out)
        else:
            reader.result(item, out)
    sender = "" if driver.layout else rows[0].value(5 if driver.protocol == "astm" else 3, 1).strip()
    return Decoded(driver.name, tuple(out), None, sender)


class _Reader:
    """Reads the items of one message."""

    def __init__(self, plan: Plan, marked: bool) -> None:
        self._plan = plan
        self._marked = marked
        self._times: dict[str, datetime | None] = {}
        self._group: object = None
        self._last_group: object = None
        self._by_code: dict[str, int] = {}
        """Where in the list the last result of each code stands, in the last result's group."""
        self._waiting: list[Attachment] = []
        """Attachments of this group that stand before its first result."""

    def result(self, item: Item, out: list[Result]) -> None:
        """Append the result of a row, or hang the row on the result of its group before it."""
        plan = self._plan
        if self._group is not item.group:
            self._group, self._waiting = item.group, []
        what = "result"
        for conditions, kind in plan.rows:
            if any_holds(conditions, item):
                what = kind
                break
        last = self._last_in(item, out)
        if what == "result" or (what == "comment" and last is None):
            self._append(item, out)
        elif what == "attachment":
            if last is not None:
                out[last] = replace(out[last], attachments=(*out[last].attachments, _attachment(plan, item)))
            else:
                self._waiting.append(_attachment(plan, item))
        elif what == "comment" and last is not None:
            code = plan.texts["code"](item)
            same = self._by_code.get(code, last)
            words = plan.texts["value"](item) or code
            comments = (*out[same].comments, *filter(None, (words, *plan.comments_of(item))))
            out[same] = replace(out[same], comments=comments)

    def _last_in(self, item: Item, out: list[Result]) -> int | None:
        """Where the last result of this row's group stands; None when there is none."""
        is_known = bool(out) and self._last_group is item.group and out[-1].kind is not Kind.QUERY
        return len(out) - 1 if is_known else None

    def query(self, item: Item, out: list[Result]) -> None:
        """Append one QUERY result for each specimen that the row asks for."""
        driver = self._plan.driver
        if driver.query.when and not any_holds(self._plan.query_when, item):
            return
        found = asked_for(item.row, driver.query.specimen)
        where = f"{item.row.name}{item.row.number}"
        for specimen in found or [""]:
            for quirk in self._plan.specimen_quirks:
                specimen = quirk(specimen)  # noqa: PLW2901 - the quirk's answer is the id
            asks_all = driver.query.everything is not None and driver.query.everything.search(specimen)
            problem = None
            if any(pattern.search(specimen) for pattern in driver.words.unreadable):
                problem = Problem(Reason.SPECIMEN_UNREADABLE)
            id_ = None if asks_all or problem or not specimen else specimen
            out.append(Result(Kind.QUERY, id_, "", None, problem=problem, where=where))

    def _append(self, item: Item, out: list[Result]) -> None:
        result: Result | None = self._result(item)
        for quirk in self._plan.result_quirks:
            result = quirk(result, item.row) if result else None
        if result:
            if self._waiting:
                result = replace(result, attachments=tuple(self._waiting))
                self._waiting = []
            if self._last_group is not item.group:
                self._last_group = item.group
                self._by_code = {}
            self._by_code[result.code] = len(out)
            out.append(result)

    def _result(self, item: Item) -> Result:
        plan = self._plan
        driver = plan.driver
        texts = plan.texts
        words = driver.words
        specimen = texts["specimen"](item)
        for quirk in plan.specimen_quirks:
            specimen = quirk(specimen)
        code = texts["code"](item)
        value: str | None = texts["value"](item)
        if not value or value in words.no_result:
            value = None
        unit = texts["unit"](item)
        flags = plan.flags(item)
        status_text = texts["status"](item)
        time_text = texts["measured_at"](item)
        group = item.group
        kind = group.kind if isinstance(group.kind, Kind) else self._kind(item)
        status = _status(driver, status_text)
        measured_at = self._time(time_text) if time_text else None
        problem = (
            _specimen_problem(driver, specimen, kind)
            or _code_problem(plan, code, unit, value)
            or _flag_problem(driver, code, flags)
            or (_at(Reason.STATUS_UNKNOWN, code, status_text) if status is None else None)
            or (Problem(Reason.BAD_TIME, f"code {_short(code)}") if time_text and measured_at is None else None)
        )
        if (
            problem is None
            and not (core := f"{specimen}{code}{value}{unit}{''.join(flags)}").isascii()
            and (self._marked or text.REPLACEMENT in core)
        ):
            problem = Problem(Reason.BAD_TEXT, f"code {_short(code)}" if code.isascii() else "")
        row = item.row
        if group.known is None:
            group.known = {n: known for n, text_of in plan.extras_above if (known := _tidy(n, text_of(item)))}
        extras: dict[str, Any] = group.known
        if plan.extras:
            extras = {**extras, **{n: known for n, text_of in plan.extras if (known := _tidy(n, text_of(item)))}}
        comments = plan.comments_of(item)
        if value in comments:
            comments = tuple(comment for comment in comments if comment != value)
        return Result(
            kind,
            specimen or None,
            code,
            value,
            unit or None,
            flags=flags,
            status=status or Status.UNKNOWN,
            measured_at=measured_at,
            measured_at_text=time_text,
            problem=problem,
            where=f"{row.name}{row.number}",
            comments=comments,
            **extras,
        )

    def _kind(self, item: Item) -> Kind:
        plan = self._plan
        kind = Kind.PATIENT
        if any_holds(plan.control, item):
            kind = Kind.CONTROL
        elif any_holds(plan.calibration, item):
            kind = Kind.CALIBRATION
        if plan.kind_is_above:
            item.group.kind = kind
        return kind

    def _time(self, text: str) -> datetime | None:
        if text not in self._times:
            self._times[text] = read_time(text, self._plan.driver.time_formats)
        return self._times[text]


def asked_for(row: Row, places: tuple[Place, ...]) -> list[str]:
    """The specimens of a query: of each repetition the first place that is filled."""
    found: list[str] = []
    for number in range(max((len(row.repetitions(place.field)) for place in places), default=0)):
        texts = (place.of(row, repetition=number) for place in places)
        if text := next(filter(None, texts), ""):
            found.append(text)
    return found


def _status(driver: Driver, text: str) -> Status | None:
    """What a status word means; None when nobody declared it. Without [words] F and nothing are final."""
    declared = driver.words.status
    if declared and text in declared:
        return declared[text]
    if not text or (declared is None and text == "F"):
        return Status.FINAL
    return None


def _specimen_problem(driver: Driver, specimen: str, kind: Kind) -> Problem | None:
    for pattern in driver.words.unreadable:
        if pattern.search(specimen):
            return Problem(Reason.SPECIMEN_UNREADABLE)
    return Problem(Reason.NO_SPECIMEN) if kind is Kind.PATIENT and not specimen else None


def _code_problem(plan: Plan, code: str, unit: str, value: str | None) -> Problem | None:
    driver = plan.driver
    if not code:
        return Problem(Reason.CODE_UNKNOWN, "no code")
    units = driver.tests.get(code)
    if units is None:
        return None if driver.is_open else Problem(Reason.CODE_UNKNOWN, f"code {_short(code)}")
    if unit in units or not plan.has_unit or (not unit and value is None):
        return None
    return _at(Reason.UNIT_UNKNOWN, code, unit)


def _flag_problem(driver: Driver, code: str, flags: tuple[str, ...]) -> Problem | None:
    known = driver.words.flag
    if known is not None:
        for flag in flags:
            if flag not in known:
                return _at(Reason.FLAG_UNKNOWN, code, flag)
    return None


def _at(reason: Reason, code: str, word: str) -> Problem:
    return Problem(reason, f"code {_short(code)}: {_short(word) or 'none'}")


def _short(word: str) -> str:
    return word if len(word) <= 40 else word[:40] + "…"


_SEXES = {"M": "M", "F": "F", "MALE": "M", "FEMALE": "F"}


def _tidy(name: str, found: str) -> str:
    if name == "sex":
        return _SEXES.get(found.upper(), found)
    if name == "birth_date" and found[:8].isdigit() and len(found) >= 8:
        return found[:8]
    return found


def _attachment(plan: Plan, item: Item) -> Attachment:
    """What an attachment row holds; an HL7 ED says its type itself (2.5.1, 2.A.24)."""
    code = plan.texts["code"](item)
    row = item.row
    if row.is_hl7 and row.value(2) == "ED":
        media = "/".join(part for n in (2, 3) if (part := row.value(5, n).strip().lower()))
        return Attachment(code, media or "application/octet-stream", row.value(5, 5).strip())
    return Attachment(code, "text/plain", plan.texts["value"](item))
