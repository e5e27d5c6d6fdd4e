"""Whose result is it: one result, the orders of its specimen id, and one answer. Pure, no score, no guess.

Not here: which tests a code means (mapping), which version it is (versions.py), rows and clocks.
The same values always give the same answer, in whatever order the orders stand or came. First row that
applies wins; *candidates* are the orders, open and cancelled, of exactly this specimen id (code point by
code point, nothing trimmed, padded or folded) in whose window (windows.py) we received the result.

    #   what is found                                                   answer
    1   a QC, calibration or query row                                  Held NOT_A_PATIENT_ID
    2   no specimen id, or blanks                                       Held NO_SPECIMEN
    3   placeholder id, form or check digit wrong                       Held NOT_A_PATIENT_ID
    4   no candidate, without_order = "send", one target                Unordered
                                              several targets           Held SEVERAL_TARGETS
    5   no candidate, received not longer than wait_h ago               Waits
    6   no candidate, longer                                            Held NO_ORDER
    7   candidates not proven to be one patient's (a cancelled one      Held AMBIGUOUS_ORDER
        counts: tube and label may be either's)
    8   a second identifier differs from any candidate's                Held IDENTITY_CONFLICT
    9   a candidate got another patient after the result came           Held ORDER_CHANGED
    10  every candidate is cancelled                                    Held ORDER_CANCELLED
    11  of the targets none is asked for by an open candidate:
          by a cancelled one                                            Held ORDER_CANCELLED
          by none, several targets                                      Held SEVERAL_TARGETS
          by none, not_ordered = "hold"                                 Held NOT_ORDERED
          by none, not_ordered = "leave_out"                            LeftOut
          by none, not_ordered = "send" (the patient must have an id)   Attached, order None
    12  several targets are asked for                                   Held SEVERAL_TARGETS
    13  one target, two different open orders ask for it                Held AMBIGUOUS_ORDER
    14  that order stands once more, cancelled, under its own number    Held ORDER_CANCELLED
    15  one order                                                       Attached

An order asks for a target when it is its code, or a panel that holds it. Two rows are one order when placer number
and code are equal, or, without placer number, all that the EMR said; then the first that came is taken.

When orders of a specimen come or change, judge again everything of that specimen that waits, is left out
as not ordered, or is held for a reason in CURED_BY_ORDERS; in the order in which it was received. For what has
been released already, ``still_stands`` says whether a person must be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from labgateway.errors import Problem, Reason
from labgateway.matching import check_digits, identity
from labgateway.matching.identity import SecondId
from labgateway.matching.policy import Policy
from labgateway.matching.weighing import Weighed, is_timed, side_of, weigh, when_and_id
from labgateway.matching.windows import Side
from labgateway.model import Kind, Order, OrderState, Patient, Result
from labgateway.quick import quick

CURED_BY_ORDERS = frozenset(
    {
        Reason.NO_ORDER,
        Reason.NOT_ORDERED,
        Reason.AMBIGUOUS_ORDER,
        Reason.ORDER_CANCELLED,
        Reason.SEVERAL_TARGETS,
    }
)
"""Held for one of these, a result may find its place when the EMR corrects its orders. A conflict of
identities never: it is a person's to decide."""


@quick
@dataclass(frozen=True, slots=True)
class Candidate:
    """A mapped result that looks for its order.

    targets: the EMR tests that its mapping line offers, at least one. received_at: when we received
    the result, aware UTC; it never changes, however long the result waits.
    """

    result: Result
    targets: tuple[str, ...]
    received_at: datetime
    instrument: str


@quick
@dataclass(frozen=True, slots=True)
class Attached:
    """The result answers target for patient.

    order: the order it answers; None when nobody ordered the test and the site sends such results to
    the patient of the specimen's other orders. beside: that order, or the one whose patient it is. differs: second
    identifiers that differ and that the site does not compare (names, by default); to be shown, not to be held.
    """

    order: Order | None
    target: str
    beside: Order
    differs: tuple[SecondId, ...] = ()

    @property
    def patient(self) -> Patient:
        """Whose result it is, as ordered."""
        return self.beside.patient


@dataclass(frozen=True, slots=True)
class Waits:
    """No order yet. detail: empty, or that orders of this id exist and why none of them counts."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A person must decide. order: the one order that is meant, where there is exactly one; else None."""

    problem: Problem
    order: Order | None = None


@dataclass(frozen=True, slots=True)
class Unordered:
    """The site's EMR sends no orders: the result goes out with the instrument's own ids."""

    target: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Stops here: nobody ordered it, and the site wants only what was ordered."""

    reason: Problem


Attribution = Attached | Waits | Held | Unordered | LeftOut


@dataclass(frozen=True, slots=True)
class Seen:
    """One order as the decision saw it, for the journey of a result."""

    order: Order
    side: Side
    differs: tuple[SecondId, ...]
    asks: tuple[str, ...]
    """Which of the targets it asks for."""


def attribute(
    candidate: Candidate,
    orders: Iterable[Order],
    panels: Mapping[str, Sequence[str]],
    policy: Policy,
    now: datetime,
) -> Attribution:
    """The answer of the table above.

    orders: every order in the store with the result's specimen id, open and cancelled, whatever else was already
    reported on it; orders of other ids are passed over. As ``weigh`` made them, they need not be looked through
    again for each result. panels: EMR panel code -> EMR tests that answer it.
    now: aware UTC, only for how long the result has waited. Never raises on what a peer sent.
    """
    result = candidate.result
    targets = tuple(dict.fromkeys(target for target in candidate.targets if target))
    if refused := _refused(result, targets, policy):
        return Held(refused)
    if not isinstance(orders, Weighed) or not orders.fits(result.specimen, candidate.received_at, policy):
        orders = weigh(orders, result.specimen, candidate.received_at, policy)
    if orders.broken is not None:
        return Held(Problem(Reason.DEFECT, f"order {orders.broken} has a time that cannot be compared"))
    inside = orders.inside
    if not inside:
        return _nobody(candidate, targets, orders.mine, policy, now)
    if doubt := _doubt(candidate, orders):
        return Held(doubt, inside[0] if len(inside) == 1 else None)
    return _choose(candidate, targets, inside, panels, policy)


def still_stands(was: Attached, again: Attribution) -> Problem | None:
    """For a result that is out already: what a person must be told after the orders changed; None: nothing.

    was: the attribution that was released. again: the answer of ``attribute`` with the orders of now.
    """
    match again:
        case Attached():
            if not identity.same_patient(
                was.patient, again.patient, same_source=was.beside.source == again.beside.source
            ):
                return Problem(Reason.ORDER_CHANGED)
            if was.order is not None and (again.order is None or not _is_one_order([was.order, again.order])):
                return Problem(Reason.ORDER_CHANGED, "another order of the same patient answers now")
            return None
        case Held(problem):
            return problem
        case Waits() | Unordered() | LeftOut():
            return Problem(Reason.ORDER_CHANGED, "the order does not answer any more")


def seen(
    candidate: Candidate, orders: Iterable[Order], panels: Mapping[str, Sequence[str]], policy: Policy
) -> tuple[Seen, ...]:
    """Every order of the specimen id as the decision saw it, first come first; for the journey, decides nothing."""
    return tuple(
        Seen(
            order,
            side_of(order, candidate.received_at, policy),
            identity.differing(candidate.result, order.patient),
            tuple(target for target in candidate.targets if _asks(order, target, panels)),
        )
        for order in sorted((o for o in orders if is_timed(o)), key=when_and_id)
        if order.specimen == candidate.result.specimen
    )


def _refused(result: Result, targets: tuple[str, ...], policy: Policy) -> Problem | None:
    """Rows 1 to 3: what keeps a result from being a patient's at all."""
    specimen = result.specimen
    if result.kind not in (Kind.PATIENT, Kind.COMPUTED):
        return Problem(Reason.NOT_A_PATIENT_ID, f"a {result.kind} row is no patient's")
    if specimen is None or not specimen.strip():
        return Problem(Reason.NO_SPECIMEN)
    if identity.is_placeholder(specimen):
        return Problem(Reason.NOT_A_PATIENT_ID, "the id is a placeholder")
    if policy.specimen_pattern is not None and policy.specimen_pattern.fullmatch(specimen) is None:
        return Problem(Reason.NOT_A_PATIENT_ID, "the id does not match specimen_pattern")
    if policy.check is not None and not check_digits.keeps(policy.check, specimen):
        return Problem(Reason.NOT_A_PATIENT_ID, f"the check digit ({policy.check}) is wrong")
    if not targets:
        return Problem(Reason.UNMAPPED, result.code)
    return None


def _nobody(
    candidate: Candidate, targets: tuple[str, ...], mine: list[Order], policy: Policy, now: datetime
) -> Attribution:
    """Rows 4 to 6: no order in whose window the result came."""
    if policy.without_order == "send":
        first, *others = targets
        return Held(Problem(Reason.SEVERAL_TARGETS, ", ".join(targets))) if others else Unordered(first)
    sides = dict.fromkeys(side_of(o, candidate.received_at, policy) for o in mine)
    detail = "orders with this id exist, but the result was " + "; ".join(sides) if sides else ""
    if now - candidate.received_at > timedelta(hours=policy.wait_h):
        return Held(Problem(Reason.NO_ORDER, detail))
    return Waits(detail)


def _doubt(candidate: Candidate, orders: Weighed) -> Problem | None:
    """Rows 7 to 9: is it one patient's specimen, and this result's patient?"""
    if not orders.is_one_patient:
        return Problem(Reason.AMBIGUOUS_ORDER, f"{len(orders.inside)} orders, not proven to be of one patient")
    against = dict.fromkeys(f for p in orders.patients for f in identity.differing(candidate.result, p))
    if compared := [f for f in against if f in orders.policy.second_ids]:
        return Problem(Reason.IDENTITY_CONFLICT, ", ".join(compared))
    for order in orders.inside:
        if order.patient_changed_at is not None and candidate.received_at <= order.patient_changed_at:
            return Problem(Reason.ORDER_CHANGED, f"order {order.id}")
    return None


def _choose(
    candidate: Candidate,
    targets: tuple[str, ...],
    inside: list[Order],
    panels: Mapping[str, Sequence[str]],
    policy: Policy,
) -> Attribution:
    """Rows 10 to 15: which order of this one patient asks for which target?"""
    opened = [o for o in inside if o.state is OrderState.OPEN]
    cancelled = [o for o in inside if o.state is not OrderState.OPEN]
    asking = {target: [o for o in opened if _asks(o, target, panels)] for target in targets}
    asked = [target for target in targets if asking[target]]
    if not asked:
        called_off = [o for o in cancelled if any(_asks(o, target, panels) for target in targets)]
        if called_off or not opened:
            return Held(Problem(Reason.ORDER_CANCELLED), called_off[0] if len(called_off) == 1 else None)
        first, *others = targets
        if others:
            return Held(Problem(Reason.SEVERAL_TARGETS, f"none ordered of {', '.join(targets)}"))
        return _not_ordered(candidate, first, opened[0], policy)
    if len(asked) > 1:
        return Held(Problem(Reason.SEVERAL_TARGETS, f"ordered: {', '.join(asked)}"))
    target = asked[0]
    rows = asking[target]
    if not _is_one_order(rows):
        numbers = ", ".join(str(o.id) for o in rows)
        return Held(Problem(Reason.AMBIGUOUS_ORDER, f"orders {numbers} both ask for {target}"))
    order = rows[0]
    if any(order.placer and (o.placer, o.code) == (order.placer, order.code) for o in cancelled):
        return Held(Problem(Reason.ORDER_CANCELLED, "one placer number is both open and cancelled"), order)
    return _attached(candidate, order, target, order, policy)


def _not_ordered(candidate: Candidate, target: str, beside: Order, policy: Policy) -> Attribution:
    problem = Problem(Reason.NOT_ORDERED, target)
    match policy.not_ordered:
        case "leave_out":
            return LeftOut(problem)
        case "send" if not identity.says_nothing(beside.patient.id):
            return _attached(candidate, None, target, beside, policy)
        case _:
            return Held(problem)


def _attached(candidate: Candidate, order: Order | None, target: str, beside: Order, policy: Policy) -> Attached:
    against = identity.differing(candidate.result, beside.patient)
    return Attached(order, target, beside, tuple(f for f in against if f not in policy.second_ids))


def _asks(order: Order, target: str, panels: Mapping[str, Sequence[str]]) -> bool:
    return order.code == target or target in panels.get(order.code, ())


def _is_one_order(rows: list[Order]) -> bool:
    """True when all rows are the same order, stored more than once."""
    first = rows[0]
    if len(rows) == 1:
        return True
    if first.placer:
        return all((o.placer, o.code) == (first.placer, first.code) for o in rows)
    said = {replace(o, id=0, received_at=None) for o in rows}
    return len(said) == 1
