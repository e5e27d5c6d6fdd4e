"""What must hold after every step, asked of the store and of the EMR's chart (RELIABILITY section 8)."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

from sqlalchemy import text

from labgateway.model import ResultLetter
from tests.matching.reference import FOLLOWS, PERSONS
from tests.simulation.chart import Entry
from tests.simulation.lab import ASKED, PEOPLE, Lab

_UNITS = {"GLU": "mmol/L", "WBC": "10*9/L", "HGB": "g/L"}


def check(lab: Lab) -> None:
    """Every promise, now."""
    _durability(lab)
    _nothing_vanishes(lab)
    _deliveries(lab)
    _chart(lab)


def _rows(lab: Lab, query: str) -> list[Any]:
    return lab.disk.run(lambda c: [tuple(row) for row in c.execute(text(query))])


def _durability(lab: Lab) -> None:
    kept = {number: (bytes(raw), sha) for number, raw, sha in _rows(lab, "SELECT id, raw, sha256 FROM transmission")}
    for number, raw in lab.acked.items():
        assert kept[number] == (raw, hashlib.sha256(raw).hexdigest()), "D1, D3"


def _nothing_vanishes(lab: Lab) -> None:
    assert not _rows(
        lab,
        "SELECT r.id FROM result r LEFT JOIN observation o ON o.result_id = r.id WHERE r.kind <> 'query' "
        "GROUP BY r.id HAVING count(o.id) <> 1",
    ), "E1: a result without its one observation"
    assert not _rows(
        lab,
        "SELECT o.id FROM observation o LEFT JOIN delivery_observation d ON d.observation_id = o.id "
        "WHERE (o.state = 'released') <> (d.delivery_id IS NOT NULL)",
    ), "E1: released without a delivery, or a delivery of what is not released"
    unread = [n for (n,) in _rows(lab, "SELECT id FROM transmission WHERE state = 'stored'")]
    assert sorted(unread) == sorted(lab.queue)
    assert not _rows(lab, "SELECT id FROM observation WHERE state = 'held' AND (reason IS NULL OR reason = '')")


def _deliveries(lab: Lab) -> None:
    rows = _rows(lab, "SELECT id, lane, control_id, body FROM delivery ORDER BY id")
    for _, _, control_id, body in rows:
        if control_id in lab.chart.bodies:
            assert lab.chart.bodies[control_id] == bytes(body), "E2, E6: other bytes under one id"
    arrived = list(lab.chart.bodies)
    for lane in {lane for _, lane, _, _ in rows}:
        mine = [control_id for _, of, control_id, _ in rows if of == lane and control_id in lab.chart.bodies]
        then = [c for c in arrived if c in mine]
        assert lab.lost.intersection(then) or then == mine, "E3: one specimen's messages in another order"


def _chart(lab: Lab) -> None:
    made = {str(control_id): int(number) for number, control_id in _rows(lab, "SELECT id, control_id FROM delivery")}
    said: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in lab.chart.entries:
        if entry.control_id in lab.lost:
            continue
        if entry.control_id in made:
            _identity(lab, entry, made[entry.control_id])
        # An order that was given to another patient begins anew there; what is at the first one is a person's to take back.
        said.setdefault((entry.placer, entry.code, entry.patient), []).append(entry)
    for (placer, _, _), entries in said.items():
        assert len({e.id for e in entries}) == len(entries), "E2: one observation twice under two message ids"
        _lattice(entries, by_person=placer in lab.persons_hand)


def _identity(lab: Lab, entry: Entry, made: int) -> None:
    order = lab.orders[entry.placer]
    sources = [sent for sent in lab.values.values() if (sent.in_emr, sent.test) == (entry.value, entry.code)]
    assert len(sources) == 1, "V1: a value that no instrument sent, or P7: a control's"
    (sent,) = sources
    assert entry.specimen == sent.tube.specimen == order.tube.specimen, "P1: another specimen"
    assert entry.code in ASKED[order.code], "P1: another test"
    assert entry.unit == _UNITS[entry.code], "V3"
    assert entry.patient == order.said_when(made), "P1: not the order's patient"
    if entry.placer in lab.persons_hand:
        return
    assert sent.named in (None, entry.patient), "P1: the instrument named somebody else"
    for before, change in pairwise(order.history):
        moved = before.pid != change.pid and made > change.behind
        assert not (moved and sent.at <= change.at), "P8: measured before the order got another patient"
    assert order.tube is sent.tube or set(PEOPLE[sent.tube.person]) & {entry.patient}, "P1: another person"


def _lattice(entries: list[Entry], *, by_person: bool) -> None:
    allowed = FOLLOWS | PERSONS if by_person else FOLLOWS
    for before, after in pairwise(entries):
        step = (ResultLetter(before.letter), ResultLetter(after.letter))
        assert step in allowed, f"V5: {step[0].name} then {step[1].name}"
        assert after.value or not before.value or by_person, "V5: an empty value erased"
