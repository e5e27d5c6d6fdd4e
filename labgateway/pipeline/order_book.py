"""Orders from the EMR: stored, answered, and what waited for them judged again, in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection

from labgateway.model import Action, OrderState
from labgateway.orders import OrderMessage, OrderRules, Refusal, answer, read_orders
from labgateway.pipeline.out import watch_what_is_out
from labgateway.pipeline.rules import Rules
from labgateway.pipeline.take import Outcome, judge_again
from labgateway.protocols import hl7
from labgateway.store import orders


@dataclass(slots=True)
class Taken:
    """What became of an order message. code: AA, AE, AR. answer: the bytes for the EMR. count: orders changed.

    specimens: on which.
    """

    answer: bytes
    code: str
    count: int
    number: int
    outcome: Outcome = field(default_factory=Outcome)
    specimens: tuple[str, ...] = ()


def take_orders(
    data: bytes, *, peer: str, rules: Rules, reading: OrderRules, now: datetime, control_id: str
) -> Callable[[Connection], Taken]:
    """The job for one order message; what it returns may be sent to the EMR after the commit."""
    message = hl7.read(data)
    read = read_orders(message, reading)

    def job(connection: Connection) -> Taken:
        outcome = Outcome()
        specimens: list[str] = []
        if isinstance(read, Refusal):
            code, count = read.code.value, 0
            words = answer(message, read, now=now, control_id=control_id)
        else:
            code = hl7.AckCode.ACCEPT.value
            specimens, count, missing = _apply(connection, read, reading.source, now)
            words = answer(message, read, now=now, control_id=control_id, unable=missing)
            outcome = judge_again(connection, specimens, rules, now)
            outcome.doubts = watch_what_is_out(connection, _may_be_in_doubt(read, specimens), rules, now)
        number = orders.keep_message(
            connection, source=reading.source, peer=peer, received_at=now, raw=data, code=code, answer=words
        )
        return Taken(words, code, count, number, outcome, tuple(specimens))

    return job


def _may_be_in_doubt(read: OrderMessage, specimens: list[str]) -> list[str]:
    """Where a result that is out may be another's by now. Not after a merge, which the EMR does to its own records, nor
    after a discontinued order, which is not wanted any more and was right."""
    if any(one.action is not Action.DISCONTINUE for one in read.orders):
        return specimens
    return []


def _apply(
    connection: Connection, read: OrderMessage, source: str, now: datetime
) -> tuple[list[str], int, frozenset[int]]:
    """Carry the message out. Returns the specimens it touches, how many orders, and which of its orders named none of ours."""
    specimens: dict[str, None] = {}
    changed: dict[tuple[str, str], list[str]] = {}
    missing: set[int] = set()
    count = 0
    for at, one in enumerate(read.orders):
        match one.action:
            case Action.NEW | Action.CHANGE:
                orders.put(connection, replace(one.order, received_at=now, state=OrderState.OPEN), now)
                specimens[one.order.specimen] = None
                count += 1
                changed.setdefault((one.order.placer, one.order.code), []).append(one.order.specimen)
            case Action.CANCEL | Action.DISCONTINUE:
                touched = orders.cancel(
                    connection, source=source, placer=one.order.placer, code=one.order.code,
                    specimen=one.order.specimen or None, now=now,
                )  # fmt: skip
                specimens.update(dict.fromkeys(touched))
                count += len(touched)
                if not touched:
                    missing.add(at)
    for placer, code in dict.fromkeys(
        (one.order.placer, one.order.code) for one in read.orders if one.action is Action.CHANGE
    ):
        left = orders.move(connection, source=source, placer=placer, code=code, to=changed[placer, code], now=now)
        specimens.update(dict.fromkeys(left))
    for merge in read.merges:
        touched = orders.merge(connection, source=source, merged=merge.merged, survivor=merge.survivor, now=now)
        specimens.update(dict.fromkeys(touched))
        count += len(touched)
    return list(specimens), count, frozenset(missing)
