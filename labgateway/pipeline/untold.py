"""What an instrument must be told that nobody asked: the difference between its orders of now and what it was told.

    orders of now     told before      ->
    WBC HGB           nothing          unasked: WBC HGB
    WBC HGB PLT       WBC HGB          add: PLT
    WBC               WBC HGB PLT      cancel: HGB PLT
    in doubt          anything         nothing; the doubt is said

So it may be worked out again at any time: after a restart, or when the instrument was away for a day.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from labgateway.errors import Problem
from labgateway.instruments.encode import Work
from labgateway.instruments.order_form import Deed
from labgateway.mapping.reverse import codes_for
from labgateway.matching import identity
from labgateway.model import Order
from labgateway.pipeline.asked import step_key, work_for
from labgateway.pipeline.rules import InstrumentRules, Rules
from labgateway.store import asked, orders


@dataclass(frozen=True, slots=True)
class Untold:
    """One message to an instrument. then: all codes that it knows of the specimen when it has taken it."""

    deed: Deed
    work: Work
    then: tuple[str, ...]


def untold(
    connection: Connection, name: str, specimen: str, instrument: InstrumentRules, rules: Rules, now: datetime
) -> tuple[list[Untold], list[Problem]]:
    """The messages that are due for one specimen, in their order, and what is in doubt. name: the instrument's."""
    problems: list[Problem] = []
    work = work_for(connection, specimen, instrument, rules, now, problems)
    before = asked.told_codes(connection, name, specimen)
    if problems:
        return [], problems
    gone = tuple(code for code in before if code not in work.codes)
    new = tuple(code for code in work.codes if code not in before)
    kept = tuple(code for code in before if code in work.codes)
    out: list[Untold] = []
    if gone:
        rows = orders.for_specimen(connection, specimen)
        if work.patient is None and rows and identity.all_one_patient(rows):
            work = replace(work, patient=rows[-1].patient)
        steps = {**_steps(rows, gone, instrument), **work.steps}
        out.append(Untold(Deed.CANCEL, replace(work, codes=gone, steps=steps), kept))
    if new:
        out.append(Untold(Deed.ADD if kept else Deed.UNASKED, replace(work, codes=new), (*kept, *new)))
    return out, problems


def _steps(rows: list[Order], gone: tuple[str, ...], instrument: InstrumentRules) -> dict[str, str]:
    """Whose steps the codes were that are not wanted any more: the first order's that led to them, as when it was told."""
    found: dict[str, str] = {}
    if isinstance(instrument.mapping, Problem):
        return found
    for order in rows:
        for code in codes_for(instrument.mapping, order.code, order.specimen_type).codes:
            if code in gone:
                found.setdefault(code, step_key(order))
    return found
