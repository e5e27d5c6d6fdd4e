"""A person moves a result to the specimen and order where it belongs: back at the old place, new at the right one.

    held, waiting     nothing has gone out: the observation itself moves and is released
    released          W goes to the old place behind the original; a new observation of the same result to the new place

Two lanes, each in its own order; both in one transaction with their audit rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from labgateway.errors import LabgatewayError, Problem, Reason
from labgateway.mapping.apply import Mapped, Target, apply
from labgateway.matching import versions
from labgateway.model import Kind, ObservationState, Order, OrderState
from labgateway.pipeline.acts import (
    NOT_YET,
    Deed,
    added_for,
    as_decided,
    one_tube_speaks,
    place_for,
    retraction,
    seen,
    several,
    write,
)
from labgateway.pipeline.decide import Verdict
from labgateway.pipeline.ids import new_id
from labgateway.pipeline.out import panels_of
from labgateway.pipeline.outcome import Outcome, Placed
from labgateway.pipeline.priors import prior_of
from labgateway.pipeline.rules import Rules
from labgateway.pipeline.sending import send
from labgateway.store import orders, results
from labgateway.store.observed import Decided, Stored

_MAY = (ObservationState.HELD, ObservationState.WAITING, ObservationState.RELEASED)
_NO_TEST = frozenset({Reason.NO_SPECIMEN, Reason.SPECIMEN_UNREADABLE, Reason.NOT_A_PATIENT_ID, Reason.SEVERAL_TARGETS})
"""Held for these it is cured by a person who knows specimen and order."""


def relink(
    connection: Connection, number: str, request: Mapping[str, Any], rules: Rules, now: datetime, who: str
) -> Deed:
    """Carry it out. Raises LabgatewayError, in words for the person."""
    one = seen(connection, number, request)
    if one.state not in _MAY or one.letter in versions.RETRACTED:
        raise LabgatewayError(
            f"Observation {number} is {one.state.value} as {one.letter.value}: there is nothing to move."
        )
    if one.result.kind is Kind.COMPUTED:
        raise LabgatewayError("It is computed from other results: move those, and it follows them.")
    if request.get("identity_checked") is not True:
        raise LabgatewayError(
            "Only your word ties the result to the other specimen. Compare tube, label, order and patient, then say so: "
            "--identity-checked."
        )
    mapped, targets = _as_mapped(one, rules)
    order, target = _target(connection, one.instrument, targets, request, rules)
    mapped = replace(mapped, code=target.emr, name=target.name, loinc=target.loinc, moh=target.moh)
    if order.id == one.order_id and one.state is ObservationState.RELEASED:
        raise LabgatewayError(f"Observation {number} answers order {order.id} already.")
    one_tube_speaks(connection, mapped, order)
    decided, verdict = _placed(connection, one, mapped, order, rules, now, who)
    outcome = Outcome()
    if one.state is not ObservationState.RELEASED:
        write(connection, decided, one)
        words, besides = f"Observation {number} is moved to order {order.id} and released.", ()
    else:
        back = retraction(connection, one, rules, now, who, outcome)
        decided = replace(decided, id=new_id())
        results.add_observations(connection, [decided])
        words = f"Observation {number} is taken back by {back}; {decided.id} goes to order {order.id}."
        besides = (("retract", f"observation {back}"), ("relinked", f"observation {decided.id}"))
    send(connection, rules, [Placed(decided, verdict, one.result)], now, outcome)
    return Deed(words, "relinked", outcome, identity_checked=True, besides=besides)


def _as_mapped(one: Stored, rules: Rules) -> tuple[Decided, tuple[Target, ...]]:
    """The row with value and unit as the EMR gets them, and the EMR tests it may answer.

    What is held for want of a readable id, or for several tests, never got its test from the mapping: it does now.
    """
    decided = as_decided(one)
    reason = None if one.problem is None or one.state is ObservationState.RELEASED else one.problem.reason
    if reason not in _NO_TEST and reason in NOT_YET:
        raise LabgatewayError(f"{reason.what} {reason.cure}")
    if reason not in _NO_TEST and not several(one, rules):
        return decided, (Target(one.code, name=one.name, loinc=one.loinc, moh=one.moh),)
    instrument = rules.instruments.get(one.instrument)
    if instrument is None or isinstance(instrument.mapping, Problem):
        raise LabgatewayError("The mapping of this instrument cannot be used: labgateway check says why.")
    match apply(instrument.mapping, replace(one.result, problem=None)):
        case Mapped() as mapped:
            decided = replace(
                decided, value=mapped.value, unit=mapped.unit, original_value=mapped.original_value,
                original_unit=mapped.original_unit, mapping_version=instrument.mapping_version,
            )  # fmt: skip
            return decided, mapped.targets
        case Problem(reason):
            raise LabgatewayError(f"{reason.what} {reason.cure}")
        case _:
            raise LabgatewayError("The mapping leaves this code out; there is nothing to send.")


def _target(
    connection: Connection, instrument: str, targets: tuple[Target, ...], request: Mapping[str, Any], rules: Rules
) -> tuple[Order, Target]:
    """The open order that the person means, and which of the tests it asks for."""
    specimen, number = str(request.get("to") or ""), request.get("order")
    if number is not None and not specimen:
        named = orders.get(connection, int(number))
        specimen = named.specimen if named else ""
    if not specimen:
        raise LabgatewayError("Say where it belongs: --to SPECIMEN, or --order NUMBER.")
    opened = [o for o in orders.for_specimen(connection, specimen) if o.state is OrderState.OPEN]
    panels = panels_of(instrument, rules)
    asking = [(o, t) for o in opened for t in targets if o.code == t.emr or t.emr in panels.get(o.code, ())]
    if number is not None:
        asking = [(o, t) for o, t in asking if o.id == int(number)]
    if len(asking) == 1:
        return asking[0]
    if asking:
        numbers = ", ".join(str(o.id) for o, _ in asking)
        raise LabgatewayError(f"Several orders of that specimen could be meant: say --order NUMBER of {numbers}.")
    raise LabgatewayError("No open order of that specimen asks for this test. Order it in the EMR first.")


def _placed(
    connection: Connection, one: Stored, decided: Decided, order: Order, rules: Rules, now: datetime, who: str
) -> tuple[Decided, Verdict]:
    """The row at its new place, as the version that a person makes of it there."""
    place = place_for(order, one)
    fresh = replace(
        prior_of(one).fresh,
        specimen=order.specimen,
        code=decided.code,
        value=decided.value,
        unit=decided.unit,
        place=place,
    )
    priors = [prior_of(p) for p in results.of_specimen(connection, order.specimen) if p.id != one.id]
    replaces = None
    match versions.by_hand(fresh, priors, window_h=rules.policy.window_h):
        case versions.Correction(of=replaces, letter=letter):
            pass
        case versions.First(letter=letter):
            pass
        case versions.Duplicate(of=of):
            raise LabgatewayError(f"Observation {of} says the same there and has been sent; reject this one.")
        case versions.Hold(problem=problem):
            raise LabgatewayError(f"{problem.reason.what} {problem.reason.cure}")
    decided = replace(
        decided, specimen=order.specimen, order_id=order.id, beside_id=order.id, place_patient=place.patient, letter=letter,
        replaces=replaces, state=ObservationState.RELEASED, problem=None, duplicate_of=None, decided_at=now, decided_by=who,
        added=added_for(decided, order, rules, replace(one.result, problem=None)),
    )  # fmt: skip
    return decided, Verdict(ObservationState.RELEASED, order=order, beside=order, place=place)
