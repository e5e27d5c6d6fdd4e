"""A file of orders: HL7 messages, FHIR JSON or a CSV table, known by its first character; all of it in one transaction.

    {                ── fhir ──┐
    MSH FHS BHS VT   ── hl7  ──┼── carry_out ── what became of each order ── kept with the file
    anything else    ── table ─┘

What cannot be used is named by its place in the file; the rest is taken. The same file again is harmless.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from labgateway.model import Action
from labgateway.orders import OrderMessage, OrderRules, Refusal, read_orders
from labgateway.orders.fhir import FhirRules, read_fhir
from labgateway.orders.table import read_table
from labgateway.pipeline.order_book import Carried, Taken, carry_out
from labgateway.pipeline.rules import Rules
from labgateway.pipeline.take import Outcome
from labgateway.protocols import hl7
from labgateway.store import audit, orders

MOST_BYTES = 16 * 1024 * 1024
_DID = {Action.NEW: "taken", Action.CHANGE: "taken", Action.CANCEL: "cancelled", Action.DISCONTINUE: "discontinued"}
_ENVELOPE = (b"FHS", b"BHS", b"BTS", b"FTS")


@dataclass(frozen=True, slots=True)
class Said:
    """What became of one order. place: in the file. order: placer number. number: ours. did: in words; ok: it was done."""

    place: str
    did: str
    ok: bool
    order: str = ""
    specimen: str = ""
    test: str = ""
    number: int | None = None


@dataclass(slots=True)
class FileTaken(Taken):
    """What became of a file. answer: `said` as JSON, for the answer file."""

    said: tuple[Said, ...] = ()

    @property
    def refused(self) -> int:
        """How many of its orders or messages could not be done."""
        return sum(not one.ok for one in self.said)


@dataclass(frozen=True, slots=True)
class FileRules:
    """How a file is to be read, whatever it is."""

    hl7: OrderRules
    fhir: FhirRules


@dataclass(slots=True)
class _Part:
    """One message of a file, or all rows of a table. places: of each of its orders. wrong: what was refused before."""

    read: OrderMessage
    places: list[str] = field(default_factory=list[str])
    wrong: list[Said] = field(default_factory=list[Said])


def take_file(
    data: bytes, *, rules: Rules, reading: FileRules, now: datetime, who: str = "", name: str = "file"
) -> Callable[[Connection], FileTaken]:
    """The job for one file. who: a person who brings it (then an audit row says so), empty when the EMR wrote it."""
    parts = list(_parts(data, reading))

    def job(connection: Connection) -> FileTaken:
        said: list[Said] = []
        whole = Carried([], 0, {}, Outcome())
        for part in parts:
            carried = carry_out(connection, part.read, reading.hl7.source, rules, now)
            said += part.wrong + _said(part, carried)
            whole.specimens += carried.specimens
            whole.count += carried.count
            whole.outcome.add(carried.outcome)
        words = json.dumps(
            {"done": sum(one.ok for one in said), "refused": sum(not one.ok for one in said), "orders": [asdict(one) for one in said]},
            ensure_ascii=False, indent=1,
        ).encode()  # fmt: skip
        code = "AE" if any(not one.ok for one in said) else "AA"
        number = orders.keep_message(
            connection, source=reading.hl7.source, peer=name, received_at=now, raw=data, code=code, answer=words
        )
        if who:
            audit.add(
                connection, at=now, who=who, action="import", subject=f"orders {number}", because=f"{len(said)} orders"
            )
        specimens = tuple(dict.fromkeys(whole.specimens))
        return FileTaken(words, code, whole.count, number, whole.outcome, specimens, said=tuple(said))

    return job


def _parts(data: bytes, reading: FileRules) -> Iterable[_Part]:
    start = data.lstrip(b"\xef\xbb\xbf\r\n\t \x0b")
    if len(data) > MOST_BYTES:
        yield _refused("the file", f"is longer than {MOST_BYTES // 1024 // 1024} MB; split it")
    elif not start:
        yield _refused("the file", "is empty")
    elif start[:1] in (b"{", b"["):
        yield _fhir(data, reading.fhir)
    elif start[:3] in (b"MSH", *_ENVELOPE):
        for number, message in enumerate(messages_in(data), 1):
            yield _hl7(message, f"message {number}", reading.hl7)
    else:
        yield _table(data, reading.hl7)


def messages_in(data: bytes) -> list[bytes]:
    """The HL7 messages of a file, with or without MLLP framing and batch envelope (FHS, BHS)."""
    lines = re.split(rb"\r\n|\r|\n", data.replace(b"\x0b", b"").replace(b"\x1c", b"\r").removeprefix(b"\xef\xbb\xbf"))
    found: list[list[bytes]] = []
    for line in lines:
        if line.startswith(b"MSH"):
            found.append([])
        if line.strip() and found and line[:3] not in _ENVELOPE:
            found[-1].append(line)
    return [b"\r".join(message) + b"\r" for message in found]


def _refused(place: str, words: str, order: str = "") -> _Part:
    return _Part(OrderMessage(), wrong=[Said(place, f"refused: {words}", False, order)])


def _hl7(data: bytes, place: str, reading: OrderRules) -> _Part:
    read = read_orders(hl7.read(data), reading)
    if isinstance(read, Refusal):
        part = _Part(OrderMessage())
        for fault in read.faults:
            where = f"{fault.segment}-{fault.field}" if fault.field else fault.segment
            part.wrong.append(Said(place, f"refused: {f'{where}: ' if where else ''}{fault.text}", False))
        return part
    part = _Part(read, [f"{place}, order {one.group + 1}" for one in read.orders])
    part.wrong += [Said(place, "the patient's orders have the new particulars", True) for _ in read.merges]
    return part


def _fhir(data: bytes, reading: FhirRules) -> _Part:
    request = read_fhir(data, reading)
    part = _Part(OrderMessage(request.actions, whole=True, tubes=request.tubes))
    issues = [*request.issues, *(issue for entry in request.entries for issue in entry.issues)]
    for issue in issues:
        is_wrong = issue.severity == "error"
        part.wrong.append(
            Said(issue.where or "the file", f"refused: {issue.text}" if is_wrong else issue.text, not is_wrong)
        )
    if not request.refused:
        part.places = [entry.where for entry in request.entries if not entry.is_refused for _ in entry.actions]
    return part


def _table(data: bytes, reading: OrderRules) -> _Part:
    rows = read_table(data, reading.source, reading.timezone)
    if isinstance(rows, str):
        return _refused("the file", rows)
    part = _Part(OrderMessage(tuple(row.action for row in rows if row.action)))
    part.places = [f"line {row.line}" for row in rows if row.action]
    part.wrong = [
        Said(f"line {r.line}", f"refused: {'; '.join(r.wrong)}", False, r.order) for r in rows if not r.action
    ]
    if not rows:
        part.wrong.append(Said("the file", "refused: it holds a header line and no order", False))
    return part


def _said(part: _Part, carried: Carried) -> list[Said]:
    found: list[Said] = []
    for at, (one, place) in enumerate(zip(part.read.orders, part.places, strict=True)):
        number = carried.numbers.get(at)
        did = _DID[one.action] if number is not None else "refused: no such order is known here"
        found.append(Said(place, did, number is not None, one.order.placer, one.order.specimen, one.order.code, number))
    return found
