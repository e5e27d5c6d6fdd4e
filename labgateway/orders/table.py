"""Orders as a table: CSV with a header line, one ordered test a row. Pure.

    order,specimen,test,patient,family,given,birth_date,sex,collected,priority,ward,specimen_type,action
    O-1,24110700123,CBC,BN001,NGUYỄN,VĂN AN,1972-08-15,M,2026-11-22 08:00,S,KHOA-NOI,blood,NW

UTF-8, with comma, semicolon or tab between the columns, as the header line has it. order, specimen, test and patient must be
there and filled (of a cancelled order only order); the others may be missing. A row that cannot be used is named by line
and column; the others are taken.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from labgateway.model import Action, Order, Patient, Priority
from labgateway.orders.fhir_fields import day
from labgateway.orders.fields import read_moment
from labgateway.orders.words import OrderAction
from labgateway.protocols.hl7 import components, escape

NEEDED = ("order", "specimen", "test", "patient")
COLUMNS = (
    *NEEDED, "family", "given", "birth_date", "sex", "collected", "priority", "ward", "specimen_type", "test_name", "authority",
    "action",
)  # fmt: skip

_ACTIONS = {"": Action.NEW, **{action.value: action for action in Action}}
_PRIORITIES = {"": Priority.ROUTINE, **{priority.value: priority for priority in Priority}}
_SEXES = ("", "M", "F", "O", "U")
_TIME = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ]?(\d\d):?(\d\d)(?::?(\d\d))?)?\s*(Z|[+-]\d\d:?\d\d)?", re.ASCII
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row. line: in the file, from 1. action: None when it cannot be used, and wrong says why, by column."""

    line: int
    action: OrderAction | None
    order: str = ""
    wrong: tuple[str, ...] = ()


def read_table(data: bytes, source: str, timezone: str) -> list[TableRow] | str:
    """The rows, or why the file as a whole is no such table. Never raises for what is in it."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "This is no text in UTF-8. Save it as CSV UTF-8."
    head = text.split("\n", 1)[0]
    between = next((c for c in (";", "\t") if c in head and "," not in head), ",")
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)
        header = [name.strip().lower() for name in next(rows, list[str]())]
        if wrong := _header(header):
            return wrong
        return list(_rows(rows, header, source, timezone))
    except csv.Error as error:
        return f"This is no CSV: {error}."


def _header(header: list[str]) -> str:
    if missing := [name for name in NEEDED if name not in header]:
        return f"The header line lacks {', '.join(missing)}. It may name: {', '.join(COLUMNS)}."
    if unknown := [name for name in header if name not in COLUMNS]:
        return (
            f"The header line names {', '.join(unknown)[:80]}, which is no column. It may name: {', '.join(COLUMNS)}."
        )
    if len(set(header)) < len(header):
        return "The header line names a column twice."
    return ""


def _rows(rows: Iterator[list[str]], header: list[str], source: str, timezone: str) -> Iterator[TableRow]:
    line = 2
    for number, cells in enumerate(rows):
        at, line = line, getattr(rows, "line_num", line) + 1
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            yield TableRow(at, None, wrong=(f"{len(cells)} columns instead of {len(header)}",))
            continue
        said = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        yield _row(number, at, {**dict.fromkeys(COLUMNS, ""), **said}, source, timezone)


def _row(number: int, line: int, said: dict[str, str], source: str, timezone: str) -> TableRow:
    action = _ACTIONS.get(said["action"].upper())
    adds = action in (Action.NEW, Action.CHANGE)
    wrong = [f"{name} is empty" for name in (NEEDED if adds else ("order",)) if not said[name]]
    if action is None:
        wrong.append(f"action must be one of {', '.join(a for a in _ACTIONS if a)}")
    wrong += [f"{name} holds a byte 0" for name, cell in said.items() if "\0" in cell]
    priority, sex = _PRIORITIES.get(said["priority"].upper()), said["sex"].upper()
    if priority is None:
        wrong.append("priority must be R, A or S")
    if sex not in _SEXES:
        wrong.append("sex must be M, F, O or U")
    born = day(said["birth_date"]) if "-" in said["birth_date"] else said["birth_date"]
    if born is None or not re.fullmatch(r"(\d{4}(\d\d){0,2})?", born, re.ASCII):
        wrong.append("birth_date must be as 1972-08-15")
    time = _TIME.fullmatch(said["collected"])
    collected = "".join(part or "" for part in time.groups()).replace("Z", "+0000") if time else ""
    moment = read_moment(collected, ZoneInfo(timezone)) if collected else None
    if said["collected"] and moment is None:
        wrong.append("collected must be as 2026-11-22 08:00")
    if wrong or action is None or priority is None:
        return TableRow(line, None, said["order"].replace("\0", ""), tuple(wrong))
    patient = Patient(
        said["patient"] or None,
        components(said["patient"], "", "", said["authority"]),
        components(said["family"], said["given"]),
        born or None,
        sex or None,
    )
    order = Order(
        source=source, specimen=said["specimen"], placer=escape(said["order"]), code=said["test"], patient=patient,
        service=components(said["test"], said["test_name"], "L"), ward=components(said["ward"]),
        specimen_type=components(said["specimen_type"]), collected_at=moment, collected_text=collected.replace(":", ""),
        priority=priority,
    )  # fmt: skip
    return TableRow(line, OrderAction(action, order, number), said["order"])
