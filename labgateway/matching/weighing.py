"""The orders of one specimen id as every result that came at one moment sees them: looked through once, not once a result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from labgateway.matching import identity
from labgateway.matching.policy import Policy
from labgateway.matching.windows import Side, side
from labgateway.model import Order, Patient


@dataclass(frozen=True, slots=True)
class Weighed:
    """The orders of one specimen id, as far as all results of one message see them alike. Made by ``weigh``.

    orders: as they were given. broken: the lowest number of one whose times cannot be compared, None: none is.
    mine: those of exactly this specimen id, first come first. inside: of these the candidates. patients: theirs, each once.
    """

    orders: tuple[Order, ...]
    specimen: str | None
    received_at: datetime
    policy: Policy
    broken: int | None
    mine: list[Order]
    inside: list[Order]
    patients: tuple[Patient, ...]
    is_one_patient: bool

    def __iter__(self) -> Iterator[Order]:
        """The orders themselves."""
        return iter(self.orders)

    def fits(self, specimen: str | None, received_at: datetime, policy: Policy) -> bool:
        """Whether ``weigh`` would make the same for these."""
        return self.policy is policy and self.specimen == specimen and self.received_at == received_at


def weigh(orders: Iterable[Order], specimen: str | None, received_at: datetime, policy: Policy) -> Weighed:
    """What ``attribute`` needs to know of orders, once for all results of a specimen that came together."""
    given = tuple(orders)
    mine = [o for o in given if o.specimen == specimen]
    broken = min((o.id for o in mine if not is_timed(o)), default=None)
    inside: list[Order] = []
    if broken is None:
        mine.sort(key=when_and_id)
        inside = [o for o in mine if side_of(o, received_at, policy) is Side.INSIDE]
    return Weighed(
        given, specimen, received_at, policy, broken, mine, inside, tuple(dict.fromkeys(o.patient for o in inside)),
        identity.all_one_patient(inside),
    )  # fmt: skip


def side_of(order: Order, received_at: datetime, policy: Policy) -> Side:
    """Where a result received at that moment lies, by the site's hours."""
    return side(
        order,
        received_at,
        window_h=policy.window_h,
        wait_h=policy.wait_h,
        early_min=policy.early_min,
    )


def is_timed(order: Order) -> bool:
    """Whether its times can be compared."""
    times = (order.received_at, order.collected_at or order.received_at, order.patient_changed_at or order.received_at)
    return all(time is not None and time.tzinfo is not None for time in times)


def when_and_id(order: Order) -> tuple[datetime, int]:
    """First come first."""
    return (order.received_at or datetime.max.replace(tzinfo=UTC), order.id)
