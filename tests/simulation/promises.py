"""What must hold after every step, asked of the store and of the EMR's chart (RELIABILITY section 8)."""

from __future__ import annotations

import hashlib
from itertools import pairwise

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


def _durability(lab: Lab) -> None:
    kept = {number: (bytes(raw), sha) for number, raw, sha in lab.rows("SELECT id, raw, sha256 FROM transmission")}
    for number, raw in lab.acked.items():
        assert kept[number] == (raw, hashlib.sha256(raw).hexdigest()), "D1, D3"


def _nothing_vanishes(lab: Lab) -> None:
    assert not lab.rows(
        "SELECT r.id FROM result r LEFT JOIN observation o ON o.result_id = r.id WHERE r.kind <> 'query' GROUP BY r.id "
        "HAVING count(o.id) - 2 * sum(coalesce(o.letter, '') = 'W') NOT BETWEEN (max(coalesce(o.letter, '')) <> 'W') AND 1"
    ), "E1: a result stands in one place; in none where a person took it back"
    assert not lab.rows(
        "SELECT o.id FROM observation o LEFT JOIN delivery_observation d ON d.observation_id = o.id "
        "WHERE (o.state = 'released') <> (d.delivery_id IS NOT NULL)",
    ), "E1: released without a delivery, or a delivery of what is not released"
    unread = [n for (n,) in lab.rows("SELECT id FROM transmission WHERE state = 'stored'")]
    assert sorted(unread) == sorted(lab.queue)
    assert not lab.rows("SELECT id FROM observation WHERE state = 'held' AND (reason IS NULL OR reason = '')")


def _deliveries(lab: Lab) -> None:
    rows = lab.rows("SELECT id, lane, control_id, body FROM delivery ORDER BY id")
    for _, _, control_id, body in rows:
        if control_id in lab.chart.bodies:
            assert lab.chart.bodies[control_id] == bytes(body), "E2, E6: other bytes under one id"
    arrived = list(lab.chart.bodies)
    for lane in {lane for _, lane, _, _ in rows}:
        mine = [control_id for _, of, control_id, _ in rows if of == lane and control_id in lab.chart.bodies]
        then = [c for c in arrived if c in mine]
        assert lab.lost.intersection(then) or then == mine, "E3: one specimen's messages in another order"


def _chart(lab: Lab) -> None:
    made = {str(control_id): int(number) for number, control_id in lab.rows("SELECT id, control_id FROM delivery")}
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
    said = order.said_when(made)
    if entry.letter == "W":
        assert entry.placer in lab.persons_hand, "V5: taken back by nobody"
        there = (entry.specimen, entry.patient, entry.placer, entry.code, entry.value)
        assert any(
            (e.specimen, e.patient, e.placer, e.code, e.value) == there for e in lab.chart.entries if e.letter != "W"
        )
        return
    assert entry.specimen == sent.tube.specimen == said.tube.specimen, "P1: another specimen"
    assert entry.code in ASKED[order.code], "P1: another test"
    assert entry.unit == _UNITS[entry.code], "V3"
    assert entry.patient == said.pid, "P1: not the order's patient"
    if sent.value in lab.by_person:
        assert said.tube is sent.tube, "P1: another tube than the one that the person looked at"
        return
    assert sent.named in (None, entry.patient), "P1: the instrument named somebody else"
    for before, change in pairwise(order.history):
        moved = before.pid != change.pid and made > change.behind
        assert not (moved and sent.at <= change.at), "P8: measured before the order got another patient"
    assert said.tube is sent.tube or set(PEOPLE[sent.tube.person]) & {entry.patient}, "P1: another person"


def _lattice(entries: list[Entry], *, by_person: bool) -> None:
    allowed = FOLLOWS | PERSONS if by_person else FOLLOWS
    for before, after in pairwise(entries):
        step = (ResultLetter(before.letter), ResultLetter(after.letter))
        assert step in allowed, f"V5: {step[0].name} then {step[1].name}"
        assert after.value or not before.value or by_person, "V5: an empty value erased"
