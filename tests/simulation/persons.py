"""People who decide: they look at the tube, so they know the truth, and they see the row as it was some time ago.

What they release is where it belongs, unless they err, which the model then knows as well.
"""

from __future__ import annotations

from typing import Any

from labgateway.errors import LabgatewayError
from labgateway.pipeline import deeds
from tests.simulation.lab import RULES, Lab
from tests.simulation.truth import ASKED, PEOPLE, Order, Sent, line_of

_OF = "SELECT id, coalesce(original_value, value), row_version, state, specimen FROM observation o WHERE "
_STANDS = (
    "state = 'released' AND letter NOT IN ('W', 'D') AND NOT EXISTS "
    "(SELECT 1 FROM observation l WHERE l.replaces = o.id AND l.state = 'released')"
)


def _decide(lab: Lab, action: str, number: str, version: int, **more: Any) -> bool:
    """Is it done? What went out by it is the person's."""
    wish = {"action": action, "id": number, "who": "N. T. Hoa", "because": "looked at the tube", "version": version}
    before = lab.fingerprint()
    try:
        done = lab.disk.run(deeds.deed({**wish, **more}, RULES, lab.now))
    except LabgatewayError:
        assert lab.fingerprint() == before, "refused, and yet something changed"
        return False
    lab.by_hand |= {number} if action != "reject" else set()
    lab.by_hand |= {about.split(" ")[1] for _, about in done.besides}
    return True


def _belongs(lab: Lab, sent: Sent) -> list[Order]:
    """The open orders of the tube itself, or of what it was taken from, that ask for the test and name the right person."""
    return [
        order
        for tube in line_of(sent.tube)
        for order in lab.of(tube)
        if order.now.is_open and sent.test in ASKED[order.code] and order.now.pid in PEOPLE[tube.person]
    ]


def _row_of(lab: Lab, order: Order) -> int:
    found = lab.rows(
        f"SELECT id FROM lab_order WHERE placer = '{order.placer}' AND specimen = '{order.now.tube.specimen}'"
    )
    return int(found[0][0]) if found else 0


def stale(lab: Lab, nth: int) -> None:
    """P9: whoever decides about another version than the one that stands is refused, whatever the deed."""
    rows = lab.rows(f"{_OF} state IN ('held', 'waiting', 'released') ORDER BY rowid DESC LIMIT 4")
    if not rows:
        return
    number, _, version, *_ = rows[nth % len(rows)]
    before = lab.fingerprint()
    for action in ("release", "reject", "relink"):
        for other in (version + 1, version - 1):
            assert not _decide(lab, action, number, other, identity_checked=True, to="A100"), "P9: a stale page"
    assert lab.fingerprint() == before


def review(lab: Lab, nth: int) -> None:
    """Something held: released for its own order, else rejected."""
    rows = lab.rows(f"{_OF} state = 'held' ORDER BY rowid")
    if not rows:
        return
    number, value, version, *_ = rows[nth % len(rows)]
    sent = lab.values.get(value or "")
    mine = _belongs(lab, sent) if sent else []
    if len(mine) == 1 and _decide(lab, "release", number, version, order=_row_of(lab, mine[0]), identity_checked=True):
        return
    assert _decide(lab, "reject", number, version)


def take_back(lab: Lab, nth: int) -> None:
    """Something that stands in the EMR is said to be wrong (W)."""
    rows = lab.rows(f"{_OF} {_STANDS} ORDER BY rowid DESC LIMIT 4")
    if rows:
        number, _, version, *_ = rows[nth % len(rows)]
        assert _decide(lab, "reject", number, version), "nothing speaks against taking it back"


def relink(lab: Lab, nth: int, *, errs: bool) -> None:
    """A result is moved to the order it belongs to, or, by a person's mistake, to any other that asks for the test."""
    rows = lab.rows(f"{_OF} (state IN ('held', 'waiting') OR {_STANDS}) ORDER BY rowid DESC LIMIT 6")
    known = [(row, sent) for row in rows if (sent := lab.values.get(row[1] or ""))]
    if not known:
        return
    (number, _, version, *_), sent = known[nth % len(known)]
    right = _belongs(lab, sent)
    if errs:
        others = [o for o in lab.orders.values() if o.now.is_open and sent.test in ASKED[o.code] and o not in right]
        right = others[-1:]
    if len(right) != 1:
        return
    (order,) = right
    before = set(lab.by_hand)
    wish = {"to": order.now.tube.specimen, "order": _row_of(lab, order), "identity_checked": True}
    if _decide(lab, "relink", number, version, **wish) and errs:
        lab.mistaken |= (lab.by_hand - before) | {number}
