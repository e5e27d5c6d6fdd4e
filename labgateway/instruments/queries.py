"""What an instrument asks for: the rows of a host query to questions. Pure, and it never raises.

    Q|1|^S1||ALL||||||||O       one specimen                Q|1|^S1\\^S2\\^S3    several in one row, or a row each
    Q|1|^S1|^S9                 a range                     Q|1|ALL              everything there is to do
    Q|1|^S1||ALL||||||||A       taken back                  Q|1|^^@41            a barcode that could not be read

    QPD|WOS^..|tag|S1           one specimen                QPD|INISEQ^..|tag|17  by a number of its own: names none
    QRD|...|RD|S1|OTH           one specimen                QRD|...|RD|S1|CAN    taken back

Where these stand is the driver's [query]. Not here: what there is to do (the gateway's), how it is written (encode.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from labgateway.instruments import groups
from labgateway.instruments.decode import asked_for, rows_of
from labgateway.instruments.paths import Place
from labgateway.instruments.plan import any_holds, plan_for
from labgateway.instruments.spec import Driver
from labgateway.protocols.rows import Row


@dataclass(frozen=True, slots=True)
class Question:
    """One row that asks for orders.

    specimens: whose, as asked; those whose barcode could not be read too, so that they can be answered; none where it
    names none and is told that there is nothing. unreadable: which of them say that. until: the last of a range that
    begins with the only specimen. everything: of all specimens. taken_back: the instrument does not want an answer any
    more. row: as it came.
    """

    row: Row
    specimens: tuple[str, ...] = ()
    unreadable: frozenset[str] = frozenset()
    until: str | None = None
    everything: bool = False
    taken_back: bool = False


def questions(driver: Driver, message: bytes) -> tuple[Question, ...]:
    """The questions of one stored message, in its order; none when it is no query or cannot be read."""
    if not driver.query.specimen:
        return ()
    try:
        rows, _, problem = rows_of(driver, message)
        if problem:
            return ()
        plan = plan_for(driver).variant_for(rows)
        found = (groups.hl7 if driver.protocol == "hl7" else groups.astm)(rows, frozenset({plan.query_row}))
        return tuple(question for item in found if (question := _question(driver, item)) is not None)
    except Exception:  # the same message goes through decode, which says what is wrong with it
        return ()


def _question(driver: Driver, item: groups.Item) -> Question | None:
    query, plan = driver.query, plan_for(driver)
    row = item.row
    if plan.cancelled and any_holds(plan.cancelled, item):
        return Question(row, _specimens(driver, row, query.specimen), taken_back=True)
    if plan.nameless and any_holds(plan.nameless, item):
        return Question(row)
    if plan.asks_all and any_holds(plan.asks_all, item):
        return Question(row, everything=True)
    if query.when and not any_holds(plan.query_when, item):
        return None
    specimens = _specimens(driver, row, query.specimen)
    if query.everything is not None and any(query.everything.search(specimen) for specimen in specimens):
        return Question(row, everything=True)
    unreadable = frozenset(s for s in specimens if any(pattern.search(s) for pattern in driver.words.unreadable))
    last = _specimens(driver, row, query.until)
    if last and len(specimens) == 1 and last != specimens:
        return Question(row, specimens, unreadable, until=last[0])
    return Question(row, specimens, unreadable)


def _specimens(driver: Driver, row: Row, places: tuple[Place, ...]) -> tuple[str, ...]:
    plan = plan_for(driver)
    found: list[str] = []
    for specimen in asked_for(row, places):
        for quirk in plan.specimen_quirks:
            specimen = quirk(specimen)  # noqa: PLW2901 - the quirk's answer is the id
        found.append(specimen)
    return tuple(dict.fromkeys(filter(None, found)))
