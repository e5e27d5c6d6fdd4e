"""When an order may answer for a result. Judged by OUR receipt of the result, never by an analyzer's clock.

    collection known           -10 min [collected ======== window_h ========] late
    collection not known   wait_h before [receipt of the order === window_h ==] late

A result outside is treated as if the order did not exist: a specimen id that is used again never meets the
old order (late), and an old result that still waits never meets the new order (early). Both ends belong to the window.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from labgateway.model import Order


class Side(StrEnum):
    """Where a result lies as seen from one order."""

    INSIDE = "in the order's window"
    EARLY = "received before the specimen of this order was collected"
    LATE = "received after the window of this order had ended"


def side(order: Order, received_at: datetime, *, window_h: float, wait_h: float, early_min: float) -> Side:
    """Where a result that we received at received_at (aware UTC) lies.

    window_h: hours that an order answers for after collection. wait_h: hours that a result may have
    waited for an order without collection time. early_min: minutes by which the EMR's clock may be
    ahead of ours; it is no leave to type the collection later than it was.
    Raises ValueError when the order has no receipt time.
    """
    if order.received_at is None:
        raise ValueError("an order without receipt time cannot be judged")
    collected = order.collected_at
    # differences, not sums: a collection time of the year 9999 must not overflow
    age = received_at - (order.received_at if collected is None else collected)
    early = timedelta(hours=wait_h) if collected is None else timedelta(minutes=early_min)
    if age < -early:
        return Side.EARLY
    return Side.LATE if age > timedelta(hours=window_h) else Side.INSIDE
