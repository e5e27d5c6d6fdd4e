"""Orders from the EMR: stored, answered, and what waited for them judged again, in one transaction.

HL7 message ── take_orders ──┐
FHIR request ── take_fhir ───┼── carry_out: put, cancel, move, merge ── answer ── kept with the answer ── judged again
file ── see files.py ────────┘
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection

from labgateway.model import Action, OrderState
from labgateway.orders import OrderMessage, OrderRules, Refusal, answer, read_orders
from labgateway.orders.fhir import FhirRules, read_fhir
from labgateway.orders.fhir_answer import answer_fhir
from labgateway.pipeline.out import watch_what_is_out
from labgateway.pipeline.rules import Rules
from labgateway.pipeline.take import Outcome, judge_again
from labgateway.protocols import hl7
from labgateway.store import orders


@dataclass(slots=True)
class Taken:
    """What became of an order message. code: AA, AE, AR. answer: the bytes for the EMR. count: orders changed.

    specimens: on which. status: of HTTP, for FHIR.
    """

    answer: bytes
    code: str
    count: int
    number: int
    outcome: Outcome = field(default_factory=Outcome)
    specimens: tuple[str, ...] = ()
    status: int = 200


@dataclass(slots=True)
class Carried:
    """What was carried out of a message. numbers: our order for each of its actions; None: it named none of ours."""

    specimens: list[str]
    count: int
    numbers: dict[int, int | None]
    outcome: Outcome

    @property
    def missing(self) -> frozenset[int]:
        """Which actions named none of ours."""
        return frozenset(at for at, number in self.numbers.items() if number is None)


def take_orders(
    data: bytes, *, peer: str, rules: Rules, reading: OrderRules, now: datetime, control_id: str
) -> Callable[[Connection], Taken]:
    """The job for one HL7 message; what it returns may be sent to the EMR after the commit."""
    message = hl7.read(data)
    read = read_orders(message, reading)

    def job(connection: Connection) -> Taken:
        carried = Carried([], 0, {}, Outcome())
        if isinstance(read, Refusal):
            code = read.code.value
            words = answer(message, read, now=now, control_id=control_id)
        else:
            code = hl7.AckCode.ACCEPT.value
            carried = carry_out(connection, read, reading.source, rules, now)
            words = answer(message, read, now=now, control_id=control_id, unable=carried.missing)
        number = orders.keep_message(
            connection, source=reading.source, peer=peer, received_at=now, raw=data, code=code, answer=words
        )
        return Taken(words, code, carried.count, number, carried.outcome, tuple(carried.specimens))

    return job


def take_fhir(
    data: bytes, *, peer: str, rules: Rules, reading: FhirRules, now: datetime
) -> Callable[[Connection], Taken]:
    """The job for one FHIR request."""
    request = read_fhir(data, reading)

    def job(connection: Connection) -> Taken:
        carried = carry_out(
            connection, OrderMessage(request.actions, whole=True, tubes=request.tubes), reading.source, rules, now
        )
        status, words = answer_fhir(request, carried.numbers)
        code = hl7.AckCode.ERROR if request.refused else hl7.AckCode.ACCEPT
        number = orders.keep_message(
            connection, source=reading.source, peer=peer, received_at=now, raw=data, code=code.value, answer=words
        )
        return Taken(words, code.value, carried.count, number, carried.outcome, tuple(carried.specimens), status)

    return job


def carry_out(connection: Connection, read: OrderMessage, source: str, rules: Rules, now: datetime) -> Carried:
    """Do what a message asks for, then judge again what it may change."""
    carried = _apply(connection, read, source, now)
    carried.outcome = judge_again(connection, carried.specimens, rules, now)
    carried.outcome.doubts = watch_what_is_out(connection, _may_be_in_doubt(read, carried.specimens), rules, now)
    return carried


def _may_be_in_doubt(read: OrderMessage, specimens: list[str]) -> list[str]:
    """Where a result that is out may be another's by now. Not after a merge, which the EMR does to its own records, nor
    after a discontinued order, which is not wanted any more and was right."""
    if any(one.action is not Action.DISCONTINUE for one in read.orders):
        return specimens
    return []


def _apply(connection: Connection, read: OrderMessage, source: str, now: datetime) -> Carried:
    """Carry the message out."""
    specimens: dict[str, None] = {}
    stands: dict[str, set[tuple[str, str]]] = {}
    numbers: dict[int, int | None] = {}
    count = 0
    for at, one in enumerate(read.orders):
        match one.action:
            case Action.NEW | Action.CHANGE:
                numbers[at] = orders.put(connection, replace(one.order, received_at=now, state=OrderState.OPEN), now)
                specimens[one.order.specimen] = None
                count += 1
                stands.setdefault(one.order.placer, set()).add((one.order.code, one.order.specimen))
            case Action.CANCEL | Action.DISCONTINUE:
                cancelled = orders.cancel(
                    connection, source=source, placer=one.order.placer, code=one.order.code,
                    specimen=one.order.specimen or None, now=now,
                )  # fmt: skip
                numbers[at] = next(iter(cancelled), None)
                specimens.update(dict.fromkeys(cancelled.values()))
                count += len(cancelled)
    for tube in read.tubes:
        orders.relate(connection, source=source, specimen=tube.specimen, parent=tube.parent, now=now)
        specimens[tube.specimen] = None
    for placer in dict.fromkeys(one.order.placer for one in read.orders if one.action is Action.CHANGE):
        left = orders.move(connection, source=source, placer=placer, to=stands[placer], whole=read.whole, now=now)
        specimens.update(dict.fromkeys(left))
    for merge in read.merges:
        touched = orders.merge(connection, source=source, merged=merge.merged, survivor=merge.survivor, now=now)
        specimens.update(dict.fromkeys(touched))
        count += len(touched)
    taken = [tube for specimen in specimens for tube in orders.taken_from(connection, specimen)]
    return Carried(list(dict.fromkeys((*specimens, *taken))), count, numbers, Outcome())
