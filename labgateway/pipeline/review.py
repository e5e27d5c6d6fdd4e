"""What the mapping says of a result that has found its place: the lab's range beside it, and whether a person looks first.

Pure; the patient's other values are asked for only where a delta rule is declared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from labgateway.errors import Problem, Reason
from labgateway.mapping import holding, ranges, units
from labgateway.mapping.apply import Mapped
from labgateway.mapping.holding import Delta
from labgateway.mapping.table import Line
from labgateway.mapping.table import Mapping as MappingFile
from labgateway.matching.attribute import Policy
from labgateway.matching.identity import birth_days, sex_of
from labgateway.model import Added, Order, Result
from labgateway.store.observed import Earlier

Neighbours = Callable[[int], tuple[Earlier | None, Earlier | None]]
"""Days to the patient's value before and after, see neighbours.py."""
OF_RANGE = frozenset({"normal", "high", "low"})
_PLAIN_FLAGS = {"N": "normal", "H": "high", "L": "low", "HH": "high", "LL": "low"}


def added(
    mapping: MappingFile, mapped: Mapped, code: str, result: Result, order: Order | None, collected: ranges.Days,
    flag_words: Mapping[str, str] | None = None,
) -> Added | None:  # fmt: skip
    """What goes out beside the value; None when the mapping says nothing.

    code: the EMR test. order: whose patient it is. flag_words: what the driver calls the analyzer's flags, None: it
    declares none. collected: the days between which the specimen was collected.
    """
    line = mapped.line
    if line is None:
        return None
    comma = is_as_sent(mapped, result)
    notes = () if line.holding is None else holding.notes(line.holding, mapped.value, comma=comma)
    declared = mapping.ranges.get(code)
    if declared is None:
        return Added(notes=notes) if notes else None
    chosen = chosen_range(declared, line, order, collected)
    told: tuple[str, ...] | None = None
    if mapping.range_flags:
        words = _PLAIN_FLAGS if flag_words is None else flag_words
        kept = tuple(flag for flag in result.flags if words.get(flag) not in OF_RANGE)
        ours = "" if chosen is None or mapped.value is None else ranges.flag(chosen, mapped.value, comma=comma)
        told = (ours, *kept) if ours else kept
    return Added(range="" if chosen is None else str(chosen), flags=told, notes=notes)


def is_as_sent(mapped: Mapped, result: Result) -> bool:
    """Whether the value still stands as the analyzer wrote it, with a decimal comma."""
    return mapped.line is not None and mapped.line.decimal_comma and mapped.value == result.value


def chosen_range(
    declared: Sequence[ranges.Range], line: Line | None, order: Order | None, collected: ranges.Days
) -> ranges.Range | None:
    """The range for this patient on that day; None where that is not certain, or nothing says which unit it is for."""
    if line is None or (line.unit is None and line.comes is None and not all(one.text for one in declared)):
        return None
    patient = None if order is None else order.patient
    sex = None if patient is None else sex_of(patient.sex)
    born = None if patient is None else birth_days(patient.birth_date)
    return ranges.choose(declared, sex, born, collected)


def collected_between(order: Order | None, received_at: datetime, timezone: ZoneInfo, policy: Policy) -> ranges.Days:
    """The days between which a specimen was collected, by the site's calendar; two where the EMR did not say."""
    if order is not None and order.collected_at is not None:
        day = order.collected_at.astimezone(timezone).date()
        return day, day
    first = received_at - timedelta(hours=policy.window_h + policy.wait_h)
    return first.astimezone(timezone).date(), received_at.astimezone(timezone).date()


def held(mapped: Mapped, result: Result, neighbours: Neighbours | None) -> Problem | None:
    """Why a person must look first: the first rule that says so, with the words of all that do. None: nothing does."""
    line = mapped.line
    if line is None or line.holding is None:
        return None
    comma = is_as_sent(mapped, result)
    found = holding.held(line.holding, line.code, mapped.value, result.flags, comma=comma)
    if line.holding.delta is not None and neighbours is not None and mapped.value is not None:
        found += _deltas(line.code, line.holding.delta, mapped, neighbours, comma=comma)
    if not found:
        return None
    return Problem(found[0].reason, "; ".join(problem.detail for problem in found))


def _deltas(code: str, delta: Delta, mapped: Mapped, neighbours: Neighbours, *, comma: bool) -> list[Problem]:
    before, after = neighbours(delta.days)
    found: list[Problem] = []
    for other, is_before in ((before, True), (after, False)):
        if other is None or other.value is None or not units.same(other.unit, mapped.unit):
            continue
        pair = (mapped.value, other.value) if is_before else (other.value, mapped.value)
        if holding.too_far(delta, *pair, comma=comma):
            which = "the one before" if is_before else "the one after"
            found.append(Problem(Reason.DELTA, f"code {code}: {delta.words}, {which} is {other.id}"))
    return found
