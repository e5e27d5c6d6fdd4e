"""What may be asked of an instrument for a specimen: its open orders, when it is certain whose they are. Pure.

The same orders, the same window and the same doubts as when a result looks for its order (attribute.py): what would be
held when it comes back is not asked for in the first place.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from labgateway.errors import Problem, Reason
from labgateway.matching import check_digits, identity
from labgateway.matching.attribute import Policy
from labgateway.matching.windows import Side, side
from labgateway.model import Order, OrderState


def askable(specimen: str, orders: Iterable[Order], policy: Policy, now: datetime) -> tuple[Order, ...] | Problem:
    """The open orders of exactly this specimen id in their window, first come first; () when there are none.

    orders: every order with this id, cancelled ones too. Problem: the orders are not proven to be one patient's, so
    that none of them may be told to anybody. An id that cannot be a patient's has no orders.
    """
    if identity.is_placeholder(specimen):
        return ()
    if policy.specimen_pattern is not None and policy.specimen_pattern.fullmatch(specimen) is None:
        return ()
    if policy.check is not None and not check_digits.keeps(policy.check, specimen):
        return ()
    inside = [order for order in orders if order.specimen == specimen and _is_inside(order, policy, now)]
    opened = [order for order in inside if order.state is OrderState.OPEN]
    if not opened:
        return ()
    if not identity.all_one_patient(inside):
        numbers = ", ".join(str(order.id) for order in inside)
        return Problem(Reason.AMBIGUOUS_ORDER, f"asked for by the instrument; orders {numbers} not of one patient")
    called_off = {(o.placer, o.code) for o in inside if o.state is not OrderState.OPEN and o.placer}
    return tuple(order for order in opened if (order.placer, order.code) not in called_off)


def _is_inside(order: Order, policy: Policy, now: datetime) -> bool:
    if order.received_at is None:
        return False
    where = side(order, now, window_h=policy.window_h, wait_h=policy.wait_h, early_min=policy.early_min)
    return where is Side.INSIDE
