"""What an instrument that asks is told: the questions of its message, answered from the orders in the store.

    question ── specimen ── orders of it ── whose they are is certain? ── the mapping backwards ──> Work
                                └── none, not certain, not this instrument's ──> Work without codes: "no order"

Reads only; the same question gets the same answer while the orders are the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from labgateway.errors import Problem, Reason
from labgateway.instruments.encode import Work
from labgateway.instruments.queries import Question
from labgateway.instruments.spec import Driver
from labgateway.mapping.reverse import codes_for
from labgateway.mapping.table import Mapping
from labgateway.matching.askable import askable
from labgateway.model import Order, Priority
from labgateway.pipeline.rules import InstrumentRules, Rules
from labgateway.store import asked, orders

MOST_SPECIMENS = 500
"""In one answer; an instrument that asks for everything asks again."""
_URGENCY = (Priority.STAT, Priority.ASAP, Priority.ROUTINE)


@dataclass(slots=True)
class Answer:
    """What is told. works: one a specimen, those without codes have no order. problems: why somebody must look."""

    works: list[Work] = field(default_factory=list[Work])
    problems: list[Problem] = field(default_factory=list[Problem])
    taken_back: bool = False

    @property
    def count(self) -> int:
        """Specimens with something to do."""
        return sum(1 for work in self.works if work.codes)


def answer(
    connection: Connection,
    asked_for: Iterable[Question],
    name: str,
    instrument: InstrumentRules,
    rules: Rules,
    now: datetime,
) -> Answer:
    """The answer to the questions of one message. name: the instrument's. now: UTC, when it asked."""
    told = Answer()
    since = now - timedelta(hours=rules.policy.window_h)
    done: dict[str, None] = {}
    for question in asked_for:
        if question.taken_back:
            told.taken_back = True
            continue
        if question.everything:
            found = asked.not_measured(connection, name, since)
        elif question.until is not None:
            found = asked.between(connection, question.specimens[0], question.until, since)
        else:
            found = list(question.specimens)
        is_list = question.everything or question.until is not None
        for specimen in found:
            if len(done) >= MOST_SPECIMENS:
                break
            if specimen in done:
                continue
            readable = specimen not in question.unreadable
            work = work_for(connection, specimen if readable else "", instrument, rules, now, told.problems)
            if work.codes or not is_list:
                done[specimen] = None
                told.works.append(replace(work, specimen=specimen, asked=None if is_list else question.row))
    return told


def work_for(
    connection: Connection,
    specimen: str,
    instrument: InstrumentRules,
    rules: Rules,
    now: datetime,
    problems: list[Problem],
) -> Work:
    """What this instrument has to do on one specimen; nothing where that is in doubt, and then it is added to problems."""
    if not specimen or isinstance(instrument.mapping, Problem) or isinstance(instrument.driver, Problem):
        return Work(specimen)
    found = askable(specimen, orders.for_specimen(connection, specimen), rules.policy, now)
    if isinstance(found, Problem):
        problems.append(found)
        return Work(specimen)
    return _work(specimen, found, instrument.driver, instrument.mapping, problems)


def _work(specimen: str, found: tuple[Order, ...], driver: Driver, mapping: Mapping, problems: list[Problem]) -> Work:
    codes: dict[str, str] = {}
    mine: list[Order] = []
    for order in found:
        wanted = codes_for(mapping, order.code, order.specimen_type)
        if wanted.doubtful:
            detail = (
                f"several codes lead to {', '.join(wanted.doubtful)}: say in [orders] of the mapping which is asked for"
            )
            problems.append(Problem(Reason.NOT_ASKED, detail))
        if wanted.codes:
            for code in wanted.codes:
                codes.setdefault(code, step_key(order))
            mine.append(order)
    if not mine:
        return Work(specimen)
    if driver.orders and driver.orders.needs_patient and not (mine[-1].patient.id or "").strip():
        problems.append(
            Problem(Reason.NOT_ASKED, "the order has no patient id, and this instrument takes none without")
        )
    return Work(
        specimen,
        tuple(codes),
        mine[-1].patient,
        next(urgency for urgency in _URGENCY if any(order.priority is urgency for order in mine)),
        next((order.specimen_type for order in mine if order.specimen_type), ""),
        steps=codes,
    )


def step_key(order: Order) -> str:
    """What tells an order from every other one, also after a restored store: from it comes the number of its steps."""
    return f"{order.id}.{order.received_at.isoformat() if order.received_at else ''}"
