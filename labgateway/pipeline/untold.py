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
from labgateway.matching import identity
from labgateway.pipeline.asked import work_for
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
    if gone and work.patient is None:
        rows = orders.for_specimen(connection, specimen)
        if rows and identity.all_one_patient(rows):
            work = replace(work, patient=rows[-1].patient)
    if gone:
        out.append(Untold(Deed.CANCEL, replace(work, codes=gone), kept))
    if new:
        out.append(Untold(Deed.ADD if kept else Deed.UNASKED, replace(work, codes=new), (*kept, *new)))
    return out, problems
