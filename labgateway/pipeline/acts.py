"""What the deeds on observations have in common: was it seen as it stands, was the identity checked, taking back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from labgateway.errors import LabgatewayError, Problem, Reason
from labgateway.mapping.apply import Mapped, Target, apply
from labgateway.matching import identity, versions
from labgateway.matching.windows import Side, side
from labgateway.model import Added, ObservationState, Order, Result
from labgateway.pipeline import review
from labgateway.pipeline.decide import Verdict
from labgateway.pipeline.ids import new_id
from labgateway.pipeline.mendable import BY_RULE, MENDABLE
from labgateway.pipeline.outcome import Outcome, Placed
from labgateway.pipeline.priors import prior_of
from labgateway.pipeline.rules import Rules
from labgateway.pipeline.sending import send
from labgateway.store import orders, results
from labgateway.store.observed import Decided, Stored

NOT_YET = MENDABLE - BY_RULE - {Reason.TWO_READINGS, Reason.NOT_SANE, Reason.SEVERAL_TARGETS}
"""Held for these there is nothing to release yet: the file must be mended first."""

_IDENTITY = frozenset({Reason.IDENTITY_CONFLICT, Reason.ORDER_CHANGED, Reason.NOT_A_PATIENT_ID, Reason.READ_OTHERWISE})
"""Held for these it is in doubt whose the result is."""


@dataclass(slots=True)
class Deed:
    """What was done. words: for the person. reopened: messages to process again.

    identity_checked: the person said so, and it was needed. besides: further audit rows, (action, subject).
    """

    words: str
    state: str
    outcome: Outcome = field(default_factory=Outcome)
    reopened: tuple[int, ...] = ()
    identity_checked: bool = False
    besides: tuple[tuple[str, str], ...] = ()


def seen(connection: Connection, number: str, request: Mapping[str, Any]) -> Stored:
    """The observation, if the person has seen it as it stands. Raises LabgatewayError otherwise."""
    one = results.get(connection, number)
    if one is None:
        raise LabgatewayError(f"There is no observation {number}.")
    version = request.get("version")
    if version is None:
        raise LabgatewayError(
            f"Say which version of observation {number} you decide about: --version N, as labgateway parked and "
            "labgateway trace show it."
        )
    if int(version) != one.row_version:
        raise LabgatewayError(
            f"Observation {number} has changed since you looked at it (you saw version {int(version)}, it is version "
            f"{one.row_version} now). Look again, then decide."
        )
    return one


def checked(connection: Connection, one: Stored, order: Order | None, request: Mapping[str, Any], rules: Rules) -> bool:
    """Whether the person had to say that the identity was checked, and did. Raises LabgatewayError when it was not said.

    order: the one that the result is to answer; None where it stays where it is, or there is none.
    """
    why = _doubt(connection, one, order, rules)
    if why and request.get("identity_checked") is not True:
        raise LabgatewayError(
            f"{why} Compare tube, label, order and patient; when they are proven to belong together, say so: --identity-checked."
        )
    return bool(why)


def _doubt(connection: Connection, one: Stored, order: Order | None, rules: Rules) -> str:
    if one.problem is not None and one.problem.reason in _IDENTITY:
        return one.problem.reason.what
    if order is not None:
        against = [
            name
            for name in identity.differing(one.result, order.patient)
            if name in rules.policy_of(one.instrument).second_ids
        ]
        if against:
            return f"The instrument and the order differ in: {', '.join(against)}."
        if order.patient_changed_at is not None and one.received_at <= order.patient_changed_at:
            return Reason.ORDER_CHANGED.what
        policy = rules.policy_of(one.instrument)
        where = side(order, one.received_at, window_h=policy.window_h, wait_h=policy.wait_h, early_min=policy.early_min)
        if where is not Side.INSIDE:
            return f"The result was {where}: the specimen id may have been used again."
    if one.specimen and not identity.all_one_patient(orders.for_specimen(connection, one.specimen)):
        return "The orders of this specimen id are not proven to be of one patient."
    return ""


def one_tube_speaks(connection: Connection, one: Stored | Decided, order: Order | None) -> None:
    """Raises LabgatewayError while the test of this order stands in the EMR from another tube that belongs to it, or from
    this one when the order was still on the tube that it was taken from.

    Not from this one itself, which is taken back when it is moved.
    """
    if order is None:
        return
    for tube in (order.specimen, *orders.siblings(connection, order.specimen)):
        mine = {o.id for o in orders.for_specimen(connection, tube) if orders.is_same(o, order)} | {order.id}
        if tube == order.specimen:
            mine.remove(order.id)  # its own versions follow each other; not so those of before it was moved here
        told = [
            other
            for other in results.of_specimen(connection, tube)
            if other.order_id in mine and (other.code, other.state) == (one.code, ObservationState.RELEASED)
        ]
        replaced = {other.replaces for other in told}
        stands = [o for o in told if o.id not in {*replaced, one.id} and o.letter not in versions.RETRACTED]
        if stands:
            raise LabgatewayError(
                f"Observation {stands[-1].id} has answered this test of order {order.id} already. Take it back first "
                "(labgateway parked reject), or reject this one."
            )


def place_for(order: Order | None, one: Stored) -> versions.Place:
    """Where versions of the result follow each other when it answers this order."""
    said = (one.result.patient or "").strip() if order is None else orders.place_text(order.patient)
    return versions.Place(None if order is None else order.id, said)


def several(one: Stored, rules: Rules) -> tuple[Target, ...]:
    """The EMR tests of which it is not decided yet which one this is; () where it is decided."""
    instrument = rules.instruments.get(one.instrument)
    if one.order_id is not None or instrument is None or isinstance(instrument.mapping, Problem):
        return ()
    match apply(instrument.mapping, one.result):
        case Mapped(targets=targets) if len(targets) > 1:
            return targets
        case _:
            return ()


def as_decided(one: Stored) -> Decided:
    """The row as it stands, to be changed."""
    return Decided(**{name.name: getattr(one, name.name) for name in fields(Decided)})


def added_for(one: Stored | Decided, order: Order | None, rules: Rules, said: Result) -> Added | None:
    """What goes out beside a value whose order a person has named: the range is that patient's, or none."""
    instrument = rules.instruments.get(one.instrument)
    if instrument is not None and not isinstance(instrument.mapping, Problem):
        mapped = apply(instrument.mapping, said)
        if isinstance(mapped, Mapped) and (mapped.value, mapped.unit) == (one.value, one.unit):
            days = review.collected_between(order, one.received_at, rules.timezone, rules.policy)
            return review.added(instrument.mapping, mapped, one.code, said, order, days, instrument.flag_words)
    return None if one.added is None else replace(one.added, range=None if one.added.range is None else "")


def write(connection: Connection, decided: Decided, one: Stored) -> None:
    """Change the row. Raises LabgatewayError when somebody else did meanwhile."""
    if not results.redecide(connection, decided, one.row_version):
        raise LabgatewayError(f"Observation {one.id} has changed meanwhile. Look again, then decide.")


def take_back(connection: Connection, one: Stored, rules: Rules, now: datetime, who: str) -> Deed:
    """What has gone out is wrong: every destination that was told is told so (W), behind the original."""
    outcome = Outcome()
    number = retraction(connection, one, rules, now, who, outcome)
    words = f"Observation {one.id} is taken back: {number} says W in its place wherever it was sent."
    return Deed(words, "taken back", outcome, besides=(("retract", f"observation {number}"),))


def retraction(connection: Connection, one: Stored, rules: Rules, now: datetime, who: str, outcome: Outcome) -> str:
    """Write and send the retraction of a released observation; its id. Raises LabgatewayError when there is nothing to
    take back.

    It goes in the lane of the original to those destinations that the original is owed to or has reached, so that it
    never comes before it; and to the patient who got the original, whoever the order is for by now.
    """
    version = versions.retract(prior_of(one))
    of_specimen = results.of_specimen(connection, one.specimen or "") if one.specimen else []
    later = [other.id for other in of_specimen if other.replaces == one.id and other.state is ObservationState.RELEASED]
    if later:
        raise LabgatewayError(f"A later version has gone out behind observation {one.id}: decide about {later[-1]}.")
    if not isinstance(version, versions.Correction):
        raise LabgatewayError(f"Observation {one.id} is not out, or was taken back before.")
    order = _as_sent(connection, one.order_id, one)
    beside = _as_sent(connection, one.beside_id, one)
    decided = replace(
        as_decided(one),
        id=new_id(),
        letter=version.letter,
        replaces=one.id,
        problem=None,
        decided_at=now,
        decided_by=who,
    )
    results.add_observations(connection, [decided])
    if one.problem is not None:
        results.doubt(connection, one.id, None)
    verdict = Verdict(ObservationState.RELEASED, order=order, beside=beside)
    send(connection, rules, [Placed(decided, verdict, one.result)], now, outcome)
    return decided.id


def _as_sent(connection: Connection, number: int | None, one: Stored) -> Order | None:
    """The order with the patient whom it named when the result was sent."""
    order = None if number is None else orders.seen_from(connection, number, one.specimen)
    if order is None or one.place_patient is None:
        return order
    return replace(order, patient=orders.patient_of_old(connection, order, one.place_patient))
