"""What a computed value is computed from: the specimen's results as they stand, or why they do not allow it. Pure.

Every input is out, final, a plain number, in the declared unit, of one patient and of one tube. On any doubt there is no
value, and the reason is said. Reasons name tests and units, never values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from labgateway.mapping import decimals, units
from labgateway.mapping.computed import Computed, Input
from labgateway.mapping.formula import evaluate, rounded
from labgateway.matching.attribute import Policy
from labgateway.matching.identity import all_one_patient
from labgateway.matching.versions import RETRACTED
from labgateway.model import Kind, ObservationState, Order, ResultLetter
from labgateway.store.observed import Stored

_LONGEST = 40
_TOO_LARGE = 10**30
_FINAL = (ResultLetter.FINAL, ResultLetter.CORRECTED)
_UNSETTLED = (ObservationState.WAITING, ObservationState.HELD)


@dataclass(frozen=True, slots=True)
class Ready:
    """The value, rounded as declared, and the observations it is computed from."""

    value: str
    inputs: tuple[Stored, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """No value. inputs: those that are there, at least one. why: in words. is_final: waiting alone will not cure it."""

    inputs: tuple[Stored, ...]
    why: str
    is_final: bool

    def has_changed(self, used: AbstractSet[str]) -> bool:
        """Whether one of the observations that were used does not stand any more."""
        return bool(used - {one.id for one in self.inputs})


@dataclass(frozen=True, slots=True)
class TakenBack:
    """An input was taken back, with this letter."""

    letter: ResultLetter
    inputs: tuple[Stored, ...]


def gather(
    line: Computed, instrument: str, rows: Sequence[Stored], of_specimen: Sequence[Order], policy: Policy
) -> Ready | Missing | TakenBack | None:
    """What the specimen's rows allow; None when none of the inputs is out.

    instrument: whose mapping declares the line. rows: in the order of receipt. of_specimen: its orders.
    """
    standing = {one.name: _standing(one, instrument, rows) for one in line.inputs}
    there = tuple(one for one in standing.values() if one is not None)
    if not there:
        return None
    if back := next((one for one in there if one.letter in RETRACTED), None):
        return TakenBack(back.letter, there)
    pending: list[str] = []
    values: dict[str, Decimal] = {}
    for one in line.inputs:
        found = standing[one.name]
        if any(_is_unsettled(row, one, instrument) for row in rows):
            pending.append(f"{one.name} is held or waits")
        elif found is None:
            pending.append(f"{one.name} is missing")
        elif found.letter is ResultLetter.PRELIMINARY:
            pending.append(f"{one.name} is preliminary")
        elif found.problem is not None:
            pending.append(f"{one.name} is in doubt")
    reasons: list[str] = []
    for one in line.inputs:
        found = standing[one.name]
        if found is None:
            continue
        value = _value(one, found)
        if isinstance(value, str):
            reasons.append(value)
        else:
            values[one.name] = value
    reasons += _not_of_one(there, of_specimen, policy)
    if reasons or pending:
        return Missing(there, "; ".join([*reasons, *pending]), bool(reasons))
    try:
        result = evaluate(line.formula, values)
    except ZeroDivisionError:
        return Missing(there, "it would divide by zero", is_final=True)
    if abs(result) >= _TOO_LARGE or line.line.decimals is None:
        return Missing(there, "the value is too large", is_final=True)
    return Ready(rounded(result, line.line.decimals), there)


def _answers(row: Stored, one: Input, instrument: str) -> bool:
    if row.code != one.name or row.result.kind not in (Kind.PATIENT, Kind.COMPUTED):
        return False
    return not one.is_own or row.instrument == instrument


def _standing(one: Input, instrument: str, rows: Iterable[Stored]) -> Stored | None:
    """The newest version that is out."""
    out = [row for row in rows if row.state is ObservationState.RELEASED and _answers(row, one, instrument)]
    behind = {row.replaces for row in out}
    return next((row for row in reversed(out) if row.id not in behind), None)


def _is_unsettled(row: Stored, one: Input, instrument: str) -> bool:
    return row.state in _UNSETTLED and _answers(row, one, instrument)


def _value(one: Input, found: Stored) -> Decimal | str:
    """The number, or why there is none."""
    if one.unit is None:
        return f"nothing says which unit {one.name} has"
    if found.value is None or found.letter is ResultLetter.NO_RESULT:
        return f"{one.name} has no value"
    if not units.same(found.unit, one.unit):
        return f"{one.name} is in {found.unit or 'no unit'}, not in {one.unit}"
    as_sent = one.decimal_comma and found.original_value is None and found.result.kind is Kind.PATIENT
    number = decimals.read(found.value, comma=as_sent) if len(found.value) <= _LONGEST else None
    if number is None or number.sign:
        return f"{one.name} is no plain number"
    if found.letter not in _FINAL and found.letter is not ResultLetter.PRELIMINARY:
        return f"{one.name} is not final"
    return number.number


def _not_of_one(there: Sequence[Stored], of_specimen: Sequence[Order], policy: Policy) -> Iterator[str]:
    """Whether all are of one patient and of one tube, as far as anything can prove it."""
    if len({one.place_patient for one in there}) > 1:
        yield "what it needs is not proven to be of one patient"
        return
    received = [one.received_at for one in there]
    known = {order.id: order for order in of_specimen}
    beside = [known.get(one.beside_id) if one.beside_id is not None else None for one in there]
    if all(order is None for order in beside) and all(one.beside_id is None for one in there):
        is_certain = bool(there[0].place_patient)
        one_message = len({one.transmission_id for one in there}) == 1
        if not one_message and not (is_certain and max(received) - min(received) <= timedelta(hours=policy.window_h)):
            yield "what it needs is not proven to be of one tube"
        return
    of = [order for order in beside if order is not None]
    if len(of) < len(beside) or not all_one_patient(of):
        yield "what it needs is not proven to be of one patient"
    elif (len({order.id for order in of}) > 1 and not _one_collection(of)) or max(received) - min(received) > timedelta(
        hours=policy.window_h + policy.wait_h
    ):
        yield "what it needs is not proven to be of one tube"


def _one_collection(of: Sequence[Order]) -> bool:
    """The same collection; where the EMR does not say when, the same message of orders."""
    collected = {order.collected_at for order in of}
    if len(collected) > 1:
        return False
    return collected != {None} or len({order.received_at for order in of}) == 1
