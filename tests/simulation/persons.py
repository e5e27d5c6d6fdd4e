"""A person who knows the truth, with what `labgateway parked` shows: releases, rejects, moves, takes back."""

from __future__ import annotations

from typing import Any

from labgateway.errors import LabgatewayError
from labgateway.pipeline import deeds
from tests.simulation.lab import ASKED, PEOPLE, RULES, Lab, Order, Sent

_ROWS = (
    "SELECT o.id, o.value, o.original_value, o.row_version, l.placer FROM observation o "
    "LEFT JOIN lab_order l ON l.id = o.order_id WHERE {which} ORDER BY o.received_at, o.id"
)
_OUT = "o.state = 'released' AND o.letter NOT IN ('W', 'D')"


def review(lab: Lab, nth: int, *, stale: bool, checked: bool) -> None:
    """Something held: released for its own order, else rejected. checked: the person also says that the identity is."""
    if (seen := _pick(lab, "o.state = 'held'", nth)) is None:
        return
    number, version, sent, _ = seen
    if stale:
        _refused(lab, number, version + 1, ("release", "reject", "relink"))
        return
    mine = _orders(lab, sent)
    if len(mine) == 1:
        wish = {"action": "release", "order": _row(lab, mine[0]), "identity_checked": checked}
        if _does(lab, number, version, wish):
            _by_hand(lab, sent, mine[0])
            return
    assert _does(lab, number, version, {"action": "reject"})


def move(lab: Lab, nth: int, *, out: bool) -> None:
    """Something is moved to an order of the tube that it was measured in. out: of what has gone out."""
    if (seen := _pick(lab, _OUT if out else "o.state IN ('held', 'waiting')", nth)) is None:
        return
    number, version, sent, placer = seen
    for order in _orders(lab, sent):
        wish = {"action": "relink", "order": _row(lab, order), "identity_checked": True}
        if order.placer != placer and _does(lab, number, version, wish):
            _by_hand(lab, sent, order)
            lab.persons_hand.add(placer or "")
            assert out or lab.rows(f"SELECT state FROM observation WHERE id = '{number}'") == [("released",)]
            _refused(lab, number, version, ("relink", "reject"))
            return


def take_back(lab: Lab, nth: int) -> None:
    """Something that has gone out was wrong."""
    if (seen := _pick(lab, _OUT, nth)) is None:
        return
    number, version, sent, placer = seen
    if _does(lab, number, version, {"action": "reject"}):
        lab.persons_hand.add(placer or "")
        assert sent is not None
        sent.tube.disturbed = True


def _pick(lab: Lab, which: str, nth: int) -> tuple[str, int, Sent | None, str | None] | None:
    rows = lab.rows(_ROWS.format(which=which))
    if not rows:
        return None
    number, value, original, version, placer = rows[nth % len(rows)]
    return number, version, lab.values.get(original or value or ""), placer


def _orders(lab: Lab, sent: Sent | None) -> list[Order]:
    """The open orders of the tube that ask for the test, with their own patient."""
    if sent is None:
        return []
    return [
        order
        for order in lab.of(sent.tube)
        if order.is_open and sent.test in ASKED[order.code] and order.history[-1].pid in PEOPLE[order.tube.person]
    ]


def _row(lab: Lab, order: Order) -> int:
    rows = lab.rows(f"SELECT id FROM lab_order WHERE placer = '{order.placer}' AND specimen = '{order.tube.specimen}'")
    return int(rows[0][0]) if rows else 0


def _by_hand(lab: Lab, sent: Sent | None, order: Order) -> None:
    assert sent is not None
    sent.tube.disturbed = True
    lab.by_person.add(sent.value)
    lab.persons_hand.add(order.placer)


def _does(lab: Lab, number: str, version: int, wish: dict[str, Any]) -> bool:
    """Carry it out; a refusal changes nothing."""
    before = lab.fingerprint()
    request = {"id": number, "who": "N. T. Hoa", "because": "looked at the tube", "version": version, **wish}
    try:
        lab.disk.run(deeds.deed(request, RULES, lab.now))
    except LabgatewayError:
        assert lab.fingerprint() == before, "refused, and yet something changed"
        return False
    return True


def _refused(lab: Lab, number: str, version: int, actions: tuple[str, ...]) -> None:
    for action in actions:
        wish = {"action": action, "identity_checked": True}
        assert not _does(lab, number, version, wish), "P9: decided on a row that the person had not seen"
