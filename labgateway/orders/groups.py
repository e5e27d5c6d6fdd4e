"""Which segments of an order message belong together, before anything is read out of them.

    OML^O21, ORM^O01:  PID [PV1] { ORC [TQ1] { OBR [TCD NTE OBX] } [ { [SPM] { SAC } } ] }
    OML^O33:           PID [PV1] { [SPM] { SAC { ORC [TQ1] { OBR } } } }

EMRs mix both, so what comes first decides, not the message's name: a specimen before the first ORC heads
the orders that follow it; otherwise it closes the run of OBR before it, inside its own ORC. A specimen
never crosses an ORC: an order without its own has none, and is refused by whoever reads it. What could
be read in two ways is a fault, not a guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from labgateway.protocols.hl7 import ErrorCode, Fault
from labgateway.protocols.rows import Row


@dataclass(frozen=True, slots=True)
class Specimen:
    """One specimen as sent: its SPM, None when only containers are named, and its SAC segments."""

    spm: Row | None
    sacs: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """One ORC with one of its OBR, or with none. common: other segments of the ORC; own: those of the OBR."""

    orc: Row
    obr: Row | None
    common: tuple[Row, ...]
    own: tuple[Row, ...]
    specimens: tuple[Specimen, ...]

    def find(self, name: str) -> Row | None:
        """The first such segment of this OBR, else of its ORC."""
        return next((row for row in (*self.own, *self.common) if row.name == name), None)


@dataclass(frozen=True, slots=True)
class Groups:
    """An order message taken apart. faults: what stands where it cannot be understood; then use nothing."""

    pid: Row | None
    pv1: Row | None
    groups: tuple[Group, ...]
    faults: tuple[Fault, ...]


@dataclass(slots=True)
class _Specimen:
    spm: Row | None
    sacs: list[Row]

    def done(self) -> Specimen:
        return Specimen(self.spm, tuple(self.sacs))


@dataclass(slots=True)
class _Run:
    """OBR segments of one ORC up to a specimen, and the specimens that close them."""

    obrs: list[tuple[Row, list[Row]]] = field(default_factory=list[tuple[Row, list[Row]]])
    specimens: list[_Specimen] = field(default_factory=list[_Specimen])


@dataclass(slots=True)
class _Order:
    orc: Row
    head: _Specimen | None
    common: list[Row] = field(default_factory=list[Row])
    leading: list[_Specimen] = field(default_factory=list[_Specimen])
    runs: list[_Run] = field(default_factory=list[_Run])

    def done(self) -> Iterator[Group]:
        common = tuple(self.common)
        outer = [self.head] if self.head else self.leading
        if not self.runs:
            yield Group(self.orc, None, common, (), tuple(s.done() for s in outer))
        for run in self.runs:
            specimens = tuple(s.done() for s in run.specimens or outer)
            for obr, own in run.obrs:
                yield Group(self.orc, obr, common, tuple(own), specimens)


_ORDER_PARTS: Final = frozenset({"ORC", "OBR", "SPM", "SAC"})


def split(rows: tuple[Row, ...]) -> Groups:
    """Take an order message apart. Never raises; every fault of the structure is named at once."""
    first = next((row.name for row in rows if row.name in _ORDER_PARTS), "")
    faults: list[Fault] = []
    pid: Row | None = None
    pv1: Row | None = None
    started = False
    body: list[Row] = []
    for row in rows:
        started = started or row.name in _ORDER_PARTS
        match row.name:
            case "PID" if pid is not None or started:
                faults.append(_wrong(row, "Only one patient a message can be read; send the others apart."))
            case "PID":
                pid = row
            case "PV1" if not started and pv1 is None:
                pv1 = row
            case _ if started:
                body.append(row)
            case _:
                pass
    orders = _by_specimen(body, faults) if first in ("SPM", "SAC") else _by_order(body, faults)
    return Groups(pid, pv1, tuple(group for order in orders for group in order.done()), tuple(faults))


def _by_order(rows: list[Row], faults: list[Fault]) -> list[_Order]:
    orders: list[_Order] = []
    for row in rows:
        if row.name == "ORC":
            orders.append(_Order(row, None))
            continue
        if not orders:
            faults.append(_wrong(row, "An ORC must stand before it."))
            continue
        order = orders[-1]
        run = order.runs[-1] if order.runs else None
        match row.name:
            case "OBR":
                if run is None or run.specimens:
                    run = _Run()
                    order.runs.append(run)
                run.obrs.append((row, []))
            case "SPM":
                if run is not None and order.leading:
                    faults.append(_wrong(row, "A specimen stands before the OBR of this ORC already."))
                specimens = order.leading if run is None else run.specimens
                if any(specimen.spm is None for specimen in specimens):
                    faults.append(_wrong(row, "A SAC stands before its SPM."))
                specimens.append(_Specimen(row, []))
            case "SAC":
                if run is not None and order.leading:
                    faults.append(_wrong(row, "A specimen stands before the OBR of this ORC already."))
                specimens = order.leading if run is None else run.specimens
                if not specimens:
                    specimens.append(_Specimen(None, []))
                specimens[-1].sacs.append(row)
            case _:
                _attach(row, order)
    return orders


def _by_specimen(rows: list[Row], faults: list[Fault]) -> list[_Order]:
    orders: list[_Order] = []
    head: _Specimen | None = None
    is_used = True
    opened: Row | None = None
    for row in rows:
        match row.name:
            case "SPM":
                if opened is not None and not is_used:
                    faults.append(_wrong(opened, "No ORC follows this specimen."))
                head, is_used, opened = _Specimen(row, []), False, row
            case "SAC":
                if head is None or is_used:
                    head, is_used, opened = _Specimen(head.spm if head else None, []), False, row
                head.sacs.append(row)
            case "ORC":
                orders.append(_Order(row, head))
                is_used = True
            case "OBR" if not orders or not is_used:
                faults.append(_wrong(row, "An ORC must stand before it."))
            case "OBR":
                order = orders[-1]
                if not order.runs:
                    order.runs.append(_Run())
                order.runs[-1].obrs.append((row, []))
            case _ if orders and is_used:
                _attach(row, orders[-1])
            case _:
                pass
    if opened is not None and not is_used:
        faults.append(_wrong(opened, "No ORC follows this specimen."))
    return orders


def _attach(row: Row, order: _Order) -> None:
    if not order.runs:
        order.common.append(row)
    elif not order.runs[-1].specimens:
        order.runs[-1].obrs[-1][1].append(row)
    # What follows a specimen (an OBX of its own) says nothing about the order.


def _wrong(row: Row, text: str) -> Fault:
    return Fault(ErrorCode.SEGMENT_SEQUENCE, text, row.name, row.number)
